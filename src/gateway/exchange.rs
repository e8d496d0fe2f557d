//! Key exchanges (A5) by messages: what is done when one comes, inside the transaction, and the
//! work on it afterwards, on a thread of its own, because making numbers takes long.
//!
//! It knows the store, the policy and the engine of `keys::exchange`. It must never know how a
//! message travels. Nothing here writes a secret to the log, the pool or the asides.

use std::panic::{self, AssertUnwindSafe};
use std::sync::PoisonError;
use std::time::Duration;

use rusqlite::Connection;
use tracing::{error, info, warn};

use super::route::local_domains;
use super::{Inner, clock, lock, people as names, ways};
use crate::config::Config;
use crate::keys::exchange::{self, Body, Derivation, Method, NumberError, Pair};
use crate::mail;
use crate::message::{Address, UnixTime};
use crate::policy::exchange::{Asker, NoExchange, may_ask, may_reply};
use crate::policy::{self, Standing};
use crate::store::exchanges::{self, Exchange, Kept, Role, Step};
use crate::store::keys::{self as stored_keys, KeyOrigin, KeyState, NewKey};
use crate::store::limits::{self, Counted};
use crate::store::queue::{self, DeliveryKind, NewDelivery};
use crate::store::{StoreError, meta, peers};

/// How long a request waits for its reply, an allowance for its request, and a reply for a message
/// under its key.
const KEEP: Duration = Duration::from_secs(7 * 86_400);

/// When a request without a reply is sent again: after so long, then twice as long, and so on.
const FIRST_RETRY: Duration = Duration::from_secs(3600);

/// How often a request is sent, at most.
const ATTEMPTS: u32 = 6;

/// Key exchanges of one peer in an hour that are answered, and of all peers.
const AN_HOUR: (u32, u32) = (6, 60);

/// How a message with a key exchange came.
#[derive(Debug)]
pub(super) struct Heard<'a> {
    /// Whose it is: the sender in its header.
    pub(super) neighbour: &'a Address,
    /// The address of ours that it was sent to.
    pub(super) ours: &'a Address,
    /// Nobody on the way could read it, and the channel itself shows that it comes from the sender.
    pub(super) by_secret_channel: bool,
    /// The body as it came.
    pub(super) bytes: &'a [u8],
    /// A key other than pending ones is shared.
    pub(super) keyed: bool,
    /// It verified under a key, or the mail is known to be of this address.
    pub(super) proven: bool,
    pub(super) now: UnixTime,
}

/// A message with a key exchange came. What it asks for is written down, to be worked on; the
/// sentence says so.
///
/// # Errors
/// Those of any write; inside, why nothing is done.
pub(super) fn hear(
    tx: &Connection,
    config: &Config,
    body: &Body,
    heard: &Heard<'_>,
) -> Result<Result<String, NoExchange>, StoreError> {
    let Heard { neighbour, ours, by_secret_channel, bytes, keyed, proven, now } = *heard;
    let standing = ways::standing(peers::get(tx, neighbour)?.as_ref());
    let allowance = exchanges::allowance(tx, neighbour, now)?;
    let asker = Asker { standing, keyed, proven, allowed: allowance.is_some() };
    // Where nothing automatic may go, no reply goes. Who is a stranger is judged below.
    let reached = Standing { authenticated: true, ..standing };
    if ways::way(config, neighbour).is_err()
        || policy::may_send_to(neighbour, reached, &local_domains(config)).is_err()
    {
        return Ok(Err(NoExchange::Unreachable));
    }
    let asked = exchanges::of(tx, neighbour)?.into_iter().find(|it| it.role == Role::Asked);
    let derivation = if body.is_reply() {
        let Some(open) = asked.filter(|it| it.step == Step::Sent && it.method == body.method()) else {
            return Ok(Err(NoExchange::NobodyAsked));
        };
        // By mail who was known before shows itself again. By the other transports a key or a handshake
        // did, and an upload shows nothing without the one: what protects the reply is that nobody else
        // has read the request.
        let shows_itself = neighbour.mail_address().is_some();
        let standing = Standing { authenticated: standing.authenticated && shows_itself, ..standing };
        if let Err(no) = may_reply(Asker { standing, ..asker }) {
            return Ok(Err(no));
        }
        open.derivation
    } else {
        // By mail everybody on the way could read it, and nothing shows who sent it.
        if body.method() == Method::Clear && !by_secret_channel {
            return Ok(Err(NoExchange::Clear));
        }
        if let Err(no) = may_ask(asker) {
            return Ok(Err(no));
        }
        // Nobody who can't show who he is pushes out a key that the peer may be about to use.
        let keys = stored_keys::for_verifying(tx, neighbour)?;
        let pending = keys.iter().filter(|key| key.state == KeyState::Pending).count();
        let heard = exchanges::of(tx, neighbour)?.iter().filter(|it| it.step == Step::Heard).count();
        if !(proven || asker.allowed) && pending.saturating_add(heard) >= exchanges::PENDING_PER_PEER {
            return Ok(Err(NoExchange::TooMany));
        }
        let crossed = asked.filter(|it| matches!(it.step, Step::Wanted | Step::Sent) && it.ours == *ours);
        if crossed.is_some() && exchange::ours_counts(ours, neighbour) {
            return Ok(Ok(format!("{} crossed ours, which counts", body.name())));
        }
        match (&allowance, &crossed) {
            (Some(allowed), _) => allowed.derivation,
            (None, Some(crossed)) => crossed.derivation,
            (None, None) => Derivation::default(),
        }
    };
    let since = now.saturating_sub(Duration::from_secs(3600));
    let of_peer = limits::number_since(tx, Counted::KeyExchange, neighbour.as_bytes(), since)?;
    let of_all = limits::number_since(tx, Counted::KeyExchange, b"", since)?;
    let waits = (body.method(), derivation);
    if of_peer >= AN_HOUR.0
        || of_all >= AN_HOUR.1
        || !exchanges::heard(tx, (neighbour, ours), waits, bytes, now, KEEP)?
    {
        return Ok(Err(NoExchange::TooMany));
    }
    for who in [neighbour.as_bytes(), b"".as_slice()] {
        limits::note(tx, Counted::KeyExchange, who, now)?;
    }
    if !body.is_reply() {
        // A request that anybody may have made ends none of ours: ours gets its reply, or expires.
        if proven {
            exchanges::withdraw(tx, neighbour)?;
        }
        exchanges::take_allowance(tx, neighbour)?;
    }
    Ok(Ok(format!("{} is being worked on", body.name())))
}

/// What came out of the work on one exchange.
enum Worked {
    /// Our request, with the secret for its reply.
    Request { body: Body, secret: zeroize::Zeroizing<Vec<u8>> },
    /// A key in clear, and the body that brings it.
    Clear { body: Body, key: crate::keys::Key },
    /// The same request again.
    Repeat,
    /// Our reply to a request, and the key that it makes.
    Reply { body: Option<Body>, key: crate::keys::Key },
    /// The reply to our request `asked` made a key.
    Key { asked: i64, key: crate::keys::Key },
    /// Nothing comes of it, and why.
    Nothing(String),
}

impl Inner {
    /// Somebody wants a key exchange worked on.
    pub(super) fn wake_exchanger(&self) {
        lock(&self.exchange_signal).work = true;
        self.exchange_signalled.notify_all();
    }

    /// The thread of the key exchanges: works off what is due, sleeps until more is.
    pub(super) fn exchange_until_stopped(&self) {
        const LONGEST: Duration = Duration::from_secs(60);
        loop {
            let worked = panic::catch_unwind(AssertUnwindSafe(|| self.work_exchanges()));
            let wait = match worked {
                Ok(Ok(next)) => {
                    next.map_or(LONGEST, |at| at.since(clock::now())).clamp(Duration::from_millis(1), LONGEST)
                }
                Ok(Err(failure)) => {
                    warn!(%failure, "key exchanges wait for the database");
                    Duration::from_secs(1)
                }
                Err(_) => {
                    error!("a key exchange ended in a panic; it is tried again in a minute");
                    LONGEST
                }
            };
            let idle = |signal: &mut super::Signal| !signal.stop && !signal.work;
            let signal = lock(&self.exchange_signal);
            let slept = self.exchange_signalled.wait_timeout_while(signal, wait, idle);
            let mut signal = slept.unwrap_or_else(PoisonError::into_inner).0;
            signal.work = false;
            if signal.stop {
                return;
            }
        }
    }

    /// Works off the exchanges that are due. Returns when the next one is.
    ///
    /// # Errors
    /// The database can't be used.
    pub(super) fn work_exchanges(&self) -> Result<Option<UnixTime>, StoreError> {
        loop {
            let now = clock::now();
            let Some(due) = self.store.read(move |conn| exchanges::due(conn, now))? else {
                return self.store.read(exchanges::next_due);
            };
            self.work_exchange(due, now)?;
        }
    }

    fn work_exchange(&self, due: Exchange, now: UnixTime) -> Result<(), StoreError> {
        let config = self.config();
        let seed = clock::random().map_err(|error| StoreError::Io(format!("no random numbers: {error}")))?;
        let asked = self.store.read(|conn| exchanges::of(conn, &due.address))?;
        let asked = asked.into_iter().find(|it| it.step == Step::Sent && it.method == due.method);
        let worked = work(&due, asked.as_ref(), &seed);
        let (peer, method) = (due.address.to_string(), due.method.name());
        let said = match &worked {
            Worked::Request { .. } => "a key exchange is asked for",
            Worked::Clear { .. } => "a key is sent in clear, by a channel that nobody else reads",
            Worked::Repeat => "a key exchange is asked for again",
            Worked::Reply { .. } => "a key exchange was replied to",
            Worked::Key { .. } => "the reply to a key exchange made a key",
            Worked::Nothing(why) => {
                warn!(peer, method, why, "a key exchange comes to nothing");
                ""
            }
        };
        self.store.write(move |tx| write_down(tx, &config, &due, worked, now))?;
        if !said.is_empty() {
            info!(peer, method, "{said}");
            self.queued.notify_one();
        }
        Ok(())
    }
}

/// The next step of an exchange: arithmetic, and nothing else.
fn work(due: &Exchange, asked: Option<&Exchange>, seed: &[u8; 32]) -> Worked {
    let pair = Pair { ours: &due.ours, theirs: &due.address, derivation: due.derivation };
    match due.step {
        Step::Wanted => {
            let request = exchange::request(due.method, pair, seed);
            match request.key {
                Some(key) => Worked::Clear { body: request.body, key },
                None => Worked::Request { body: request.body, secret: request.secret },
            }
        }
        Step::Sent => Worked::Repeat,
        Step::Heard => {
            let Some(Ok(body)) = due.body.as_ref().map(|body| Body::parse(body)) else {
                return Worked::Nothing(NumberError::Stored.to_string());
            };
            match exchange::answer(&body, pair, seed) {
                Ok(Some((reply, key))) => Worked::Reply { body: reply, key },
                Ok(None) => {
                    let Some((asked, secret)) = asked.and_then(|it| Some((it, it.secret.as_ref()?))) else {
                        return Worked::Nothing(NoExchange::NobodyAsked.to_string());
                    };
                    match exchange::learn(&body, pair, secret) {
                        Ok(key) => Worked::Key { asked: asked.id, key },
                        Err(error) => Worked::Nothing(error.to_string()),
                    }
                }
                Err(error) => Worked::Nothing(error.to_string()),
            }
        }
        Step::Learnt | Step::Replied | Step::Allowed => Worked::Nothing("there is nothing to do".to_owned()),
    }
}

/// One transaction: the step, the key that it made, and the message that goes out.
fn write_down(
    tx: &Connection,
    config: &Config,
    due: &Exchange,
    worked: Worked,
    now: UnixTime,
) -> Result<(), StoreError> {
    let pending = |key: &crate::keys::Key| {
        let origin = match due.method {
            Method::Rsa => KeyOrigin::Rsa,
            Method::Dh => KeyOrigin::Dh,
            Method::Clear => KeyOrigin::Clear,
        };
        let scheme = stored_keys::current(tx, &due.address)?.map(|key| key.scheme).unwrap_or_default();
        let new = NewKey { key, scheme, derivation: due.derivation, ours: Some(&due.ours), origin };
        stored_keys::add_pending(tx, &due.address, &new, now)
    };
    match worked {
        Worked::Request { body, secret } => {
            let next = now.saturating_add(FIRST_RETRY);
            if exchanges::sent(tx, due.id, Kept::Secret(&secret), &body.write(), next)? {
                enqueue(tx, config, due, body.name(), now)?;
            }
        }
        Worked::Clear { body, key } => {
            let (key, next) = (pending(&key)?, now.saturating_add(FIRST_RETRY));
            if exchanges::sent(tx, due.id, Kept::Key(key), &body.write(), next)? {
                enqueue(tx, config, due, body.name(), now)?;
            }
        }
        Worked::Repeat => {
            let wait = FIRST_RETRY.saturating_mul(1_u32.checked_shl(due.attempts).unwrap_or(u32::MAX));
            let again = due.attempts.saturating_add(1) < ATTEMPTS;
            if exchanges::sent_again(tx, due.id, again.then(|| now.saturating_add(wait)))? {
                enqueue(tx, config, due, "a key exchange request, once more", now)?;
            }
        }
        Worked::Reply { body, key } => {
            let key = pending(&key)?;
            let reply = body.as_ref().map(Body::write);
            if exchanges::replied(tx, due.id, reply.as_ref().map(|it| it.as_slice()), key)?
                && let Some(body) = &body
            {
                enqueue(tx, config, due, body.name(), now)?;
            }
        }
        Worked::Key { asked, key } => {
            let key = pending(&key)?;
            exchanges::learnt(tx, asked, key)?;
            exchanges::remove(tx, due.id)?;
        }
        Worked::Nothing(_) => {
            exchanges::remove(tx, due.id)?;
        }
    }
    Ok(())
}

/// Queues the message of an exchange. Its body is read from the exchange when it leaves.
fn enqueue(
    tx: &Connection,
    config: &Config,
    due: &Exchange,
    why: &str,
    now: UnixTime,
) -> Result<(), StoreError> {
    let Ok(way) = ways::way(config, &due.address) else {
        return Ok(());
    };
    let random = clock::random().map_err(|error| StoreError::Io(format!("no random numbers: {error}")))?;
    let stamp = clock::stamp(meta::take_time(tx, now)?, random);
    let unique = names::token(&clock::digest(Some(stamp.as_str()), due.address.as_bytes()));
    let delivery = NewDelivery {
        kind: DeliveryKind::KeyExchange,
        seq: None,
        thread: None,
        to: due.address.clone(),
        transport: way.transport.to_owned(),
        destination: way.destination,
        stamp: Some(stamp),
        message_id: mail::message_id(&format!("k-{unique}"), &config.gateway.hostname),
        detail: Some(serde_json::json!({ "exchange": due.id })),
        why: why.to_owned(),
        next_try: now,
    };
    queue::enqueue(tx, &delivery, now)?;
    Ok(())
}

/// The operator asks a peer for a key.
///
/// # Errors
/// Those of any write; inside, why it can't be asked.
pub(super) fn want(
    tx: &Connection,
    config: &Config,
    address: &Address,
    (method, derivation): (Method, Derivation),
    now: UnixTime,
) -> Result<Result<(), policy::Refusal>, StoreError> {
    // The operator names the address: that is a listing.
    let standing = Standing { listed: true, ..Standing::default() };
    if let Err(no) = policy::may_send_to(address, standing, &local_domains(config)) {
        return Ok(Err(no));
    }
    let ours = ours_towards(tx, config, address)?;
    exchanges::want(tx, (address, &ours), method, derivation, now, KEEP)?;
    Ok(Ok(()))
}

/// After a restore: every key that was agreed upon by messages is agreed upon anew, asked for by us
/// and signed under what is known. A peer that has replaced it meanwhile needs its operator's word.
///
/// # Errors
/// Those of any write.
pub(super) fn renew(tx: &Connection, config: &Config, now: UnixTime) -> Result<(), StoreError> {
    for key in stored_keys::list(tx)?.into_iter().filter(|key| key.state == KeyState::Current) {
        let method = match key.origin {
            KeyOrigin::Rsa => Method::Rsa,
            KeyOrigin::Dh => Method::Dh,
            KeyOrigin::Manual | KeyOrigin::Clear => continue,
        };
        if let Err(no) = want(tx, config, &key.address, (method, key.derivation), now)? {
            warn!(peer = %key.address, %no, "its key is not renewed");
        }
    }
    Ok(())
}

/// The operator lets a peer ask for a new key.
///
/// # Errors
/// Those of any write.
pub(super) fn allow(
    tx: &Connection,
    config: &Config,
    address: &Address,
    derivation: Derivation,
    now: UnixTime,
) -> Result<(), StoreError> {
    let ours = ours_towards(tx, config, address)?;
    exchanges::allow(tx, (address, &ours), derivation, now, KEEP).map(drop)
}

/// The address of ours that a peer knows us under.
fn ours_towards(conn: &Connection, config: &Config, peer: &Address) -> Result<Address, StoreError> {
    let key = stored_keys::current(conn, peer)?;
    let known = key.as_ref().and_then(|key| key.belongs_to());
    Ok(known.unwrap_or_else(|| ways::own_for(config, peer)).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    const CONFIG: &str = r#"
        [gateway]
        address = "mailto:cmr@home.test"
        hostname = "mx.home.test"
        operator = "Olga <olga@home.test>"
        data_dir = "data"
        [send]
        smarthost = "smtp://127.0.0.1:1"
        "#;

    fn hours(hours: i64) -> UnixTime {
        UnixTime((1_700_000_000 + hours * 3600) * 1_000_000)
    }

    fn other() -> Address {
        Address::try_from("mailto:cmr@other.test").unwrap()
    }

    /// A week without a reply: the request is sent six times, further and further apart, and given up.
    #[test]
    fn a_request_without_a_reply_is_sent_again_and_then_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let config = Config::parse(CONFIG, dir.path().join("cmr-mail.toml")).unwrap();
        store
            .write(move |tx| {
                let how = (Method::Dh, Derivation::Hkdf);
                want(tx, &config, &other(), how, hours(0))?.unwrap();
                let mut sent = Vec::new();
                let mut bodies = std::collections::BTreeSet::new();
                for hour in 0..24 * 8 {
                    let now = hours(hour);
                    while let Some(due) = exchanges::due(tx, now)? {
                        let worked = work(&due, None, &[7; 32]);
                        write_down(tx, &config, &due, worked, now)?;
                        sent.push(hour);
                        let open = exchanges::get(tx, due.id)?.unwrap();
                        bodies.insert(open.body.unwrap().to_vec());
                    }
                    exchanges::forget_expired(tx, now)?;
                }
                assert_eq!(sent, [0, 1, 3, 7, 15, 31]);
                assert_eq!(bodies.len(), 1, "the same request each time, so that any reply fits");
                assert_eq!(queue::list(tx, true, 100)?.len(), 6);
                assert!(exchanges::of(tx, &other())?.is_empty(), "given up, and its secret with it");
                Ok(())
            })
            .unwrap();
    }

    /// Forged requests in a peer's name neither push out the key that the peer was given, nor the one
    /// that we were.
    #[test]
    fn unproven_requests_push_out_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let config = Config::parse(CONFIG, dir.path().join("cmr-mail.toml")).unwrap();
        store
            .write(move |tx| {
                let peer = other();
                peers::set_pinned(tx, &peer, true, hours(0))?;
                let ours = config.gateway.address.clone();
                let pair = Pair { ours: &peer, theirs: &ours, derivation: Derivation::Hkdf };
                let mut given = None;
                let mut refused = 0;
                for number in 0..12 {
                    let body = exchange::request(Method::Dh, pair, &[number; 32]).body;
                    let (bytes, now) = (body.write(), hours(i64::from(number)));
                    let heard = Heard {
                        neighbour: &peer,
                        ours: &ours,
                        by_secret_channel: false,
                        bytes: &bytes,
                        keyed: false,
                        proven: false,
                        now,
                    };
                    match hear(tx, &config, &body, &heard)? {
                        Ok(_) => {}
                        Err(why) => {
                            assert_eq!(why, NoExchange::TooMany);
                            refused += 1;
                            continue;
                        }
                    }
                    let due = exchanges::due(tx, now)?.unwrap();
                    let worked = work(&due, None, &[100 + number; 32]);
                    write_down(tx, &config, &due, worked, now)?;
                    let newest = stored_keys::for_verifying(tx, &peer)?.into_iter().next().map(|key| key.id);
                    given = given.or(newest);
                }
                assert_eq!(refused, 12 - exchanges::PENDING_PER_PEER);
                let left = stored_keys::for_verifying(tx, &peer)?;
                assert!(left.iter().any(|key| Some(key.id) == given), "the first is still there");
                Ok(())
            })
            .unwrap();
    }

    /// What can't be worked on is taken away, or it would be tried for ever before all others.
    #[test]
    fn what_makes_no_key_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let config = Config::parse(CONFIG, dir.path().join("cmr-mail.toml")).unwrap();
        store
            .write(move |tx| {
                for body in ["RSA key exchange request=4,3.", "DH key exchange reply=5.", "rubbish"] {
                    let how = (Method::Rsa, Derivation::Hkdf);
                    assert!(exchanges::heard(
                        tx,
                        (&other(), &config.gateway.address),
                        how,
                        body.as_bytes(),
                        hours(0),
                        KEEP
                    )?);
                    let due = exchanges::due(tx, hours(0))?.unwrap();
                    let worked = work(&due, None, &[7; 32]);
                    assert!(matches!(worked, Worked::Nothing(_)), "{body}");
                    write_down(tx, &config, &due, worked, hours(0))?;
                    assert!(exchanges::due(tx, hours(0))?.is_none(), "{body}");
                }
                assert!(stored_keys::list(tx)?.is_empty() && queue::list(tx, true, 1)?.is_empty());
                Ok(())
            })
            .unwrap();
    }
}
