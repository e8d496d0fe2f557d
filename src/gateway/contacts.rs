//! What verbs ask about other gateways: who is known, what is thought of them, which keys are
//! shared, and whose mail came back.
//!
//! A change that finds nothing to change is no failure: it says so, and counts 0.

use std::sync::Arc;

use super::api::{BounceView, KeyAction, KeyPhrase, PeerAction, PeerView, ReputationView, Response};
use super::ask::{BAD_DATA, ROWS, UNAVAILABLE, USAGE, address, done, fail, json};
use super::{Gateway, clock, exchange, read, view, ways};
use crate::keys::exchange::{Derivation, Method, phrase};
use crate::keys::{Key, Scheme};
use crate::message::{Address, UnixTime};
use crate::policy::Block;
use crate::store::blocks::{self, BlockKind};
use crate::store::peers::Peer;
use crate::store::{bounces, exchanges, keys, peers, reputation};

impl Gateway {
    /// The peers, or a change to one of them.
    pub(super) fn peers(&self, action: PeerAction) -> Response {
        let now = clock::now();
        match action {
            PeerAction::List => {
                let (peers, bounced) =
                    self.store().read(|conn| Ok((peers::list(conn)?, bounces::list(conn, ROWS)?)))?;
                let of = |peer: &Peer| bounced.iter().find(|it| it.address == peer.address);
                json(&peers.iter().map(|peer| self.shown(peer, of(peer), now)).collect::<Vec<_>>())
            }
            PeerAction::Show { address: text } => {
                let wanted = address(&text)?;
                let (peer, bounced) = self
                    .store()
                    .read(|conn| Ok((peers::get(conn, &wanted)?, bounces::get(conn, &wanted)?)))?;
                let peer = peer.ok_or_else(|| unknown(&wanted))?;
                json(&[self.shown(&peer, bounced.as_ref(), now)])
            }
            PeerAction::History { address: text } => {
                let wanted = address(&text)?;
                let (peer, rows) = self
                    .store()
                    .read(|conn| Ok((peers::get(conn, &wanted)?, reputation::history(conn, &wanted)?)))?;
                peer.ok_or_else(|| unknown(&wanted))?;
                json(&rows.iter().map(ReputationView::from).collect::<Vec<_>>())
            }
            PeerAction::Bounced => {
                let rows = self.store().read(|conn| bounces::list(conn, ROWS))?;
                json(&rows.iter().map(BounceView::from).collect::<Vec<_>>())
            }
            PeerAction::Unsuppress { address: text } => {
                let wanted = address(&text)?;
                let changed = self.store().write(move |tx| bounces::forgive(tx, &wanted))?;
                let what = if changed { "may be written to again" } else { "was not suppressed" };
                done(u64::from(changed), format!("{text} {what}"))
            }
            PeerAction::Pin { address: text } => {
                let peer = address(&text)?;
                if self.0.is_own(&self.config(), &peer) {
                    return Err(fail(
                        USAGE,
                        format!("{peer} is this gateway itself: nothing is sent to oneself"),
                    ));
                }
                let reached = ways::way(&self.config(), &peer);
                self.store().write(move |tx| peers::set_pinned(tx, &peer, true, now))?;
                let sentence = match reached {
                    Ok(way) => format!("{text} is pinned: messages may be sent there by {}", way.transport),
                    Err(why) => format!("{text} is pinned, but nothing can be sent there: {why}"),
                };
                done(1, sentence)
            }
            PeerAction::Unpin { address: text } => self.unpin(&text, now),
            PeerAction::Forget { address: text } => self.forget_peer(&text),
            PeerAction::Block { address: text } => {
                let blocked = address(&text)?;
                self.store().promise(move |tx| {
                    peers::ensure(tx, &blocked, now)?;
                    blocks::add(tx, BlockKind::Peer, blocked.as_bytes(), "by the operator", now)
                })?;
                self.read_blocks_again()?;
                done(1, format!("{text} is blocked: nothing is taken from it, and nothing sent to it"))
            }
            PeerAction::Unblock { address: text } => self.unblock(&text),
        }
    }

    /// A peer, with what the present block list says about it.
    fn shown(&self, peer: &Peer, bounced: Option<&bounces::Bounced>, now: UnixTime) -> PeerView {
        let blocks = Arc::clone(&read(&self.0.blocks));
        PeerView {
            blocked: peer.blocked || Block::check(&blocks, &peer.address).is_err(),
            reputation: reputation::present(peer, now),
            bounces: bounced.map_or(0, |it| it.failures),
            suppressed: view::time(bounced.and_then(|it| it.suppressed)),
            ..view::peer(peer)
        }
    }

    fn unpin(&self, text: &str, now: UnixTime) -> Response {
        let wanted = address(text)?;
        let peer = self.store().read(|conn| peers::get(conn, &wanted))?;
        let Some(peer) = peer.filter(|peer| peer.pinned || peer.listed) else {
            return done(0, format!("{text} was not pinned: nothing was changed"));
        };
        self.store().write(move |tx| peers::set_pinned(tx, &wanted, false, now))?;
        let still = if peer.listed { "; it stays one of [routing] pinned in the configuration" } else { "" };
        done(u64::from(peer.pinned), format!("{text} is no longer pinned by the verb{still}"))
    }

    fn unblock(&self, text: &str) -> Response {
        let wanted = address(text)?;
        let bytes = wanted.as_bytes().to_vec();
        let changed = self.store().promise(move |tx| blocks::remove(tx, BlockKind::Peer, &bytes))?;
        self.read_blocks_again()?;
        let still = Block::check(&read(&self.0.blocks), &wanted).err();
        let sentence = match (changed, still) {
            (true, None) => format!("{text} is no longer blocked"),
            (false, None) => format!("{text} was not blocked: nothing was changed"),
            (_, Some(no)) => format!("{text} stays refused, because {no}: cmr-mail block --undo"),
        };
        done(u64::from(changed), sentence)
    }

    /// Forgets a peer: what it sent stays, what is known of it goes.
    fn forget_peer(&self, text: &str) -> Response {
        let wanted = address(text)?;
        let peer = self.store().read(|conn| peers::get(conn, &wanted))?;
        let Some(peer) = peer else {
            return done(0, format!("{text} is not known as a peer: nothing was changed"));
        };
        let why_not = if peer.listed {
            Some("it stands in [routing] pinned: take it out there first")
        } else if peer.key != "none" {
            Some("a key is shared with it: cmr-mail keys forget first")
        } else {
            None
        };
        if let Some(why) = why_not {
            return Err(fail(UNAVAILABLE, format!("{text} is not forgotten, because {why}")));
        }
        let changed = self.store().erase(move |tx| {
            bounces::forgive(tx, &wanted)?;
            peers::forget(tx, &wanted)
        })?;
        done(u64::from(changed), format!("{text} is forgotten; what it sent is still here"))
    }

    /// The keys, or a change to one of them.
    pub(super) fn keys(&self, action: KeyAction) -> Response {
        let now = clock::now();
        match action {
            KeyAction::Show => {
                let (keys, open) =
                    self.store().read(|conn| Ok((keys::list(conn)?, exchanges::list(conn, ROWS)?)))?;
                // An exchange that made a key shows as that key.
                let open = open.iter().filter(|it| it.key.is_none());
                json(&keys.iter().map(view::key).chain(open.map(view::exchange)).collect::<Vec<_>>())
            }
            KeyAction::Exchange { address: text, method, derivation } => {
                let peer = address(&text)?;
                if self.0.is_own(&self.config(), &peer) {
                    return Err(fail(USAGE, format!("{peer} is this gateway itself: it needs no key")));
                }
                let how = (self::method(&method)?, self::derivation(&derivation)?);
                let config = self.config();
                ways::way(&config, &peer).map_err(|why| fail(USAGE, why))?;
                if how.0 == Method::Clear && !crate::wire::scheme(&peer).is_some_and(|it| it.is_secret()) {
                    return Err(fail(
                        USAGE,
                        format!(
                            "a key in clear goes to https:// and ssh:// addresses alone, and {peer} is none"
                        ),
                    ));
                }
                let asked = self.store().write(move |tx| exchange::want(tx, &config, &peer, how, now))?;
                asked.map_err(|no| fail(UNAVAILABLE, no.to_string()))?;
                self.0.wake_exchanger();
                done(
                    1,
                    format!("{text} is asked for a key by {method}; what comes of it: cmr-mail keys show"),
                )
            }
            KeyAction::Allow { address: text, derivation } => {
                let peer = address(&text)?;
                let derivation = self::derivation(&derivation)?;
                let config = self.config();
                self.store().write(move |tx| exchange::allow(tx, &config, &peer, derivation, now))?;
                done(1, format!("{text} may ask for a new key once, within 7 days"))
            }
            KeyAction::Verify { address: text } => {
                let peer = address(&text)?;
                let config = self.config();
                let shared = self.store().read(|conn| keys::for_verifying(conn, &peer))?;
                if shared.is_empty() {
                    return Err(fail(
                        UNAVAILABLE,
                        format!(
                            "no key is shared with {text}; whether one was asked for: cmr-mail keys show"
                        ),
                    ));
                }
                json(
                    &shared
                        .iter()
                        .map(|key| KeyPhrase {
                            address: text.clone(),
                            state: key.state.to_string(),
                            phrase: phrase(
                                key.belongs_to().unwrap_or_else(|| ways::own_for(&config, &peer)),
                                &peer,
                                &key.key,
                            ),
                        })
                        .collect::<Vec<_>>(),
                )
            }
            KeyAction::Set { address: text, hex, scheme } => {
                let peer = address(&text)?;
                let key = Key::from_hex(&hex).map_err(|error| fail(BAD_DATA, error.to_string()))?;
                let scheme: Option<Scheme> = scheme
                    .map(|name| name.parse())
                    .transpose()
                    .map_err(|_| fail(USAGE, "the schemes are hmac and sha256"))?;
                let fingerprint = key.fingerprint();
                let short = if key.is_short() { "; it is short: 16 bytes or more are wise" } else { "" };
                self.store().write(move |tx| keys::set(tx, &peer, &key, scheme, now))?;
                done(1, format!("a key is shared with {text}, fingerprint {fingerprint}{short}"))
            }
            KeyAction::Forget { address: text } => {
                let peer = address(&text)?;
                let changed = self.store().erase(move |tx| keys::forget(tx, &peer))?;
                let sentence = match changed {
                    true => format!("no key is shared with {text} any more"),
                    false => format!("no key was shared with {text}: nothing was changed"),
                };
                done(u64::from(changed), sentence)
            }
        }
    }
}

fn method(name: &str) -> Result<Method, super::api::Failure> {
    [Method::Rsa, Method::Dh, Method::Clear]
        .into_iter()
        .find(|method| method.name() == name)
        .ok_or_else(|| fail(USAGE, "keys are agreed on by rsa, dh or clear"))
}

fn derivation(name: &str) -> Result<Derivation, super::api::Failure> {
    [Derivation::Hkdf, Derivation::Raw]
        .into_iter()
        .find(|derivation| derivation.name() == name)
        .ok_or_else(|| fail(USAGE, "the derivations are hkdf and raw"))
}

fn unknown(address: &Address) -> super::api::Failure {
    fail(UNAVAILABLE, format!("{address} is not known as a peer"))
}
