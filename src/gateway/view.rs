//! What is stored, as it is told: the reply to an arrival, and the results of verbs.
//!
//! It knows outcomes and rows. It must never know who asked.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;

use super::api::{
    AsideView, BounceView, DeliveryView, Explained, ExplainedForward, ExplainedPeer, HopView, KeyView,
    MatchView, PeerView, ReputationView, Shown,
};
use super::commit::Outcome;
use super::wording;
use crate::message::UnixTime;
use crate::pool::{Audience, Pool};
use crate::router::{Decision, What};
use crate::smtp::Reply;
use crate::store::asides::Aside;
use crate::store::bounces::Bounced;
use crate::store::exchanges::Exchange;
use crate::store::keys::{self, StoredKey};
use crate::store::messages::{self, Stored};
use crate::store::peers::Peer;
use crate::store::queue::{self, Delivery};
use crate::store::reputation::Moved;
use crate::store::{StoreError, decisions};
use crate::wire::{Scheme, scheme};

/// The reply to an arrival. `in_dialogue`: a refusal reaches the sender itself.
pub(super) fn reply(outcome: &Outcome, in_dialogue: bool) -> Reply {
    let mut parts = Vec::new();
    if !outcome.taken.is_empty() {
        parts.push(format!("stored {}", list(&outcome.taken)));
    }
    if !outcome.known.is_empty() {
        parts.push(format!("already known {}", list(&outcome.known)));
    }
    parts.extend(outcome.note.clone());
    let sentences = |kept: bool| {
        let told = outcome.refused.iter().filter(|part| part.kept == kept);
        told.map(|part| format!("{}: {}", part.place, part.why)).collect::<Vec<_>>().join("; ")
    };
    let (kept, not_taken) = (sentences(true), sentences(false));
    // Who is told to come again, even a relay, brings the same mail: what was taken of it is known
    // then. Towards a relay nothing else is a refusal: it would become a bounce to somebody whose
    // address may be forged.
    let passes = outcome.refused.iter().map(|part| &part.why).find(|why| why.is_temporary());
    let nothing = parts.is_empty() && kept.is_empty() && in_dialogue;
    let for_good = outcome.refused.first().map(|part| &part.why).filter(|_| nothing);
    if let Some(why) = passes.or(for_good) {
        parts.push(not_taken);
        return why.reply(&parts.join("; "));
    }
    if !kept.is_empty() {
        parts.push(format!("kept aside: {kept}"));
    }
    if !not_taken.is_empty() {
        parts.push(format!("not taken: {not_taken}"));
    }
    if parts.is_empty() {
        parts.push("nothing to store".to_owned());
    }
    Reply::stored(&parts.join("; "))
}

/// The ids of what was taken or known.
pub(super) fn ids(outcome: &Outcome) -> Vec<String> {
    outcome.taken.iter().chain(&outcome.known).map(ToString::to_string).collect()
}

fn list(ids: &[crate::message::MessageId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// One message as `show` gives it.
pub(super) fn shown(conn: &Connection, stored: &Stored, conflicts: usize) -> Result<Shown, StoreError> {
    let hops = messages::hops(conn, stored.seq)?;
    let body = stored.text.as_ref().map(|text| text.body.clone()).unwrap_or_default();
    let bytes = body.len();
    let (body_utf8, body_base64) = match String::from_utf8(body) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
    };
    Ok(Shown {
        id: stored.id.to_string(),
        scope: stored.scope.to_string(),
        conflicts,
        hops: hops
            .iter()
            .map(|hop| HopView { time: hop.time.to_string(), address: hop.address.to_string() })
            .collect(),
        body_utf8,
        body_base64,
        bytes,
        received: stored.received.rfc3339(),
        via: stored.via.clone(),
        state: stored.state.to_string(),
        author: stored.author.to_string(),
        authenticity: stored.authenticity.to_string(),
    })
}

/// A match, with the passage of it that shares most with `x`. `None`: it is gone.
pub(super) fn matched(
    conn: &Connection,
    pool: &Pool,
    x: &[u8],
    seq: i64,
    (gain_bits, one_sided_bits, distance_raw): (f64, f64, f64),
) -> Result<Option<MatchView>, StoreError> {
    let Some(stored) = messages::get(conn, seq)? else { return Ok(None) };
    let Some(text) = &stored.text else { return Ok(None) };
    let time = messages::hops(conn, seq)?.last().map_or_else(String::new, |hop| hop.time.to_string());
    Ok(Some(MatchView {
        id: stored.id.to_string(),
        gain_bits,
        one_sided_bits,
        distance_raw,
        from: stored.origin.to_string(),
        time,
        excerpt: wording::excerpt(pool, x, &text.body),
        shared: None,
    }))
}

/// A match, with what it shares with `x`. `None`: it is gone.
pub(super) fn with_shared(
    conn: &Connection,
    pool: &Pool,
    x: &[u8],
    seq: i64,
    numbers: (f64, f64, f64),
) -> Result<Option<MatchView>, StoreError> {
    let Some(mut told) = matched(conn, pool, x, seq, numbers)? else { return Ok(None) };
    if let Some(text) = messages::get(conn, seq)?.and_then(|stored| stored.text) {
        let (excerpt, shared) = wording::shared(pool, x, &text.body);
        (told.excerpt, told.shared) = (excerpt, Some(shared));
    }
    Ok(Some(told))
}

/// A recorded match, with what it shares with `x`.
fn explained_match(
    conn: &Connection,
    pool: &Pool,
    x: &[u8],
    found: &decisions::Match,
) -> Result<Option<MatchView>, StoreError> {
    with_shared(conn, pool, x, found.other, (found.gain_bits, found.one_sided_bits, found.distance_raw))
}

/// The decision on a message, with what became of its deliveries.
pub(super) fn explained(conn: &Connection, pool: &Pool, stored: &Stored) -> Result<Explained, StoreError> {
    let (id, authenticity) = (stored.id.to_string(), stored.authenticity.to_string());
    let Some(found) = decisions::get(conn, stored.seq)? else {
        let verdict = match &stored.last_error {
            Some(error) => {
                format!("no decision: {} after {} attempts: {error}", stored.state, stored.attempts)
            }
            None => format!("no decision: it is {}", stored.state),
        };
        return Ok(Explained {
            id,
            authenticity,
            verdict,
            reasons: Vec::new(),
            peers: Vec::new(),
            matches: Vec::new(),
            forwards: Vec::new(),
            code_bits: None,
        });
    };
    let decision: Decision = serde_json::from_value(found.detail)
        .map_err(|error| StoreError::Row(format!("a decision: {error}")))?;
    let body = stored.text.as_ref().map(|text| text.body.clone()).unwrap_or_default();
    let matches = found
        .matches
        .iter()
        .filter_map(|it| explained_match(conn, pool, &body, it).transpose())
        .collect::<Result<_, _>>()?;
    let own = queue::of_message(conn, stored.seq)?;
    let mut forwards: Vec<ExplainedForward> = own.iter().map(forwarded).collect();
    // What was decided and stands in no row: there was no room, or it is over and forgotten; and
    // what was sent because of this message, but is another: matches that went to its author.
    let mut of_others: HashMap<i64, Vec<Delivery>> = HashMap::new();
    for forward in &decision.forwards {
        // It may have gone to another address of the same neighbour (`where_it_can_be_asked`).
        let same = keys::neighbour(conn, &forward.to)?;
        let other = match forward.what {
            What::Match(other) => other,
            What::This if own.iter().any(|delivery| same.contains(&delivery.to)) => continue,
            What::This => stored.seq,
        };
        let deliveries = match of_others.get(&other) {
            Some(deliveries) => deliveries,
            None => {
                let deliveries = queue::of_message(conn, other)?;
                of_others.entry(other).or_insert(deliveries)
            }
        };
        let sent = deliveries.iter().find(|delivery| same.contains(&delivery.to) && delivery.stamp.is_some());
        let to = sent.map_or(&forward.to, |delivery| &delivery.to);
        forwards.push(ExplainedForward {
            to: to.to_string(),
            transport: scheme(to).unwrap_or(Scheme::Mailto).name().to_owned(),
            state: sent.map_or_else(|| "gone".to_owned(), |delivery| delivery.state.to_string()),
            why: forward.why.clone(),
        });
    }
    Ok(Explained {
        id,
        authenticity,
        verdict: found.verdict,
        reasons: decision.reasons,
        peers: decision
            .peers
            .into_iter()
            .map(|peer| ExplainedPeer {
                address: peer.address.to_string(),
                bits: peer.bits.is_finite().then_some(peer.bits),
                rank: peer.rank,
                chosen: peer.chosen,
                why: peer.why,
            })
            .collect(),
        matches,
        forwards,
        code_bits: stored.text.is_some().then(|| pool.code_bits(&body, Audience::Operator).round()),
    })
}

fn forwarded(delivery: &Delivery) -> ExplainedForward {
    ExplainedForward {
        to: delivery.to.to_string(),
        transport: delivery.transport.clone(),
        state: delivery.state.to_string(),
        why: delivery.why.clone(),
    }
}

/// A peer as `peers` gives it.
pub(super) fn peer(peer: &Peer) -> PeerView {
    PeerView {
        address: peer.address.to_string(),
        messages: peer.messages,
        bytes: peer.bytes,
        reputation: peer.reputation,
        key: peer.key.clone(),
        last_seen: time(peer.last_seen),
        blocked: peer.blocked,
        pinned: peer.pinned || peer.listed,
        bounces: 0,
        suppressed: String::new(),
    }
}

/// A key as `keys show` gives it: never the secret.
pub(super) fn key(key: &StoredKey) -> KeyView {
    KeyView {
        address: key.address.to_string(),
        state: key.state.to_string(),
        scheme: key.scheme.to_string(),
        scheme_pinned: key.scheme_pinned,
        origin: key.origin.to_string(),
        fingerprint: key.key.fingerprint(),
        created: key.created.rfc3339(),
    }
}

/// An exchange that has made no key yet, as `keys show` gives it.
pub(super) fn exchange(exchange: &Exchange) -> KeyView {
    KeyView {
        address: exchange.address.to_string(),
        state: exchange.step.to_string(),
        scheme: String::new(),
        scheme_pinned: false,
        origin: exchange.method.name().to_owned(),
        fingerprint: String::new(),
        created: exchange.created.rfc3339(),
    }
}

/// A delivery as `queue` gives it.
pub(super) fn delivery(delivery: &Delivery) -> DeliveryView {
    let waits = delivery.finished.is_none();
    DeliveryView {
        delivery: delivery.id,
        id: delivery.about.map_or_else(String::new, |id| id.to_string()),
        to: delivery.to.to_string(),
        transport: delivery.transport.clone(),
        kind: delivery.kind.as_str().replace('_', "-"),
        state: delivery.state.to_string(),
        attempts: delivery.attempts,
        next_try: if waits { delivery.next_try.rfc3339() } else { String::new() },
        last_error: delivery.last_error.clone().unwrap_or_default(),
        tried: Vec::new(),
    }
}

/// Something kept aside, with its bytes if they were read.
pub(super) fn aside(aside: &Aside) -> AsideView {
    AsideView {
        id: aside.id,
        received: aside.received.rfc3339(),
        via: aside.via.clone(),
        place: aside.place.clone(),
        reason: aside.reason.clone(),
        bytes: usize::try_from(aside.bytes).unwrap_or(usize::MAX),
        kept: aside.kept.clone(),
        raw: aside.raw.as_ref().map(|raw| STANDARD.encode(raw)),
    }
}

pub(super) fn time(time: Option<UnixTime>) -> String {
    time.map_or_else(String::new, UnixTime::rfc3339)
}

impl From<&Moved> for ReputationView {
    fn from(moved: &Moved) -> Self {
        ReputationView {
            time: moved.at.rfc3339(),
            cause: moved.cause,
            number: moved.number,
            change: moved.change,
            reputation: moved.value,
        }
    }
}

impl From<&Bounced> for BounceView {
    fn from(bounced: &Bounced) -> Self {
        BounceView {
            address: bounced.address.to_string(),
            bounces: bounced.failures,
            last: bounced.last.rfc3339(),
            status: bounced.status.clone(),
            suppressed: time(bounced.suppressed),
        }
    }
}
