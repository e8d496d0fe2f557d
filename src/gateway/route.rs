//! The routing worker: takes messages that wait, asks the router, and makes its decision durable
//! together with everything that follows from it.
//!
//! It knows the order of things: decide first, insert into the pool afterwards, commit last. It
//! must never know how a decision is made.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use rusqlite::Connection;
use tracing::{error, info, warn};

use super::texts::StoredTexts;
use super::{Inner, aliases, answers, budget, clock, lock, read, steps, ways, worth};
use crate::config::Config;
use crate::message::{Address, MessageId, UnixTime};
use crate::policy::Scope;
use crate::policy::reputation::BAD;
use crate::pool::{Entry, Texts};
use crate::router::{self, Contact, Decision, Subject, Surroundings};
use crate::store::counters::{self, Counter};
use crate::store::decisions::{self, NewDecision, NewMatch};
use crate::store::keys::KeyOrigin;
use crate::store::limits;
use crate::store::messages::{self, Kind, Stored, Waiting};
use crate::store::peers::{self, Peer};
use crate::store::people;
use crate::store::queue;
use crate::store::{StoreError, bounces, exchanges, keys, reputation};

/// Decisions in one transaction, at most.
const BATCH: usize = 32;

/// No further decision is added to a transaction after this time: what is decided has to become
/// durable, and to leave, even where deciding is slow.
const BATCH_TIME: std::time::Duration = std::time::Duration::from_millis(50);

/// Contacts that are looked at beyond those that may be chosen: some stand in the header.
const IN_HEADERS: usize = 32;

/// Peers that are remembered for their standing; the least recent unproven ones go first.
const PEERS_KEPT: u64 = 100_000;

/// Header lines that are remembered, at most, beyond those of cached messages.
const IDS_KEPT: u64 = 20_000_000;

/// What may wait in the queue, at most, in bytes of its rows. Beyond it nothing is added: messages
/// stay in the pool, and `explain` says what was not sent.
const QUEUE_MAX: u64 = 1 << 30;

/// How long what is over is remembered: counts, seen mails, finished deliveries, closed threads,
/// keys that were replaced.
const PAST_KEPT: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

/// How long a mail that came back counts against its address.
const BOUNCES_KEPT: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);

/// A decision, with all that its transaction needs.
struct Decided {
    stored: Stored,
    decision: Decision,
    junk: bool,
}

/// What a transaction made of a decision.
enum Recorded {
    /// It stands, and so many deliveries were queued.
    Routed(usize),
    /// The message was removed or published meanwhile: the decision was about another state.
    Overtaken,
}

impl Inner {
    /// Routes up to [`BATCH`] messages that wait at `now`; gives how many it took on, 0 if none
    /// waits.
    ///
    /// # Errors
    /// The database can't be used. Nothing is lost: what was not committed still waits.
    pub(super) fn route_batch(&self, now: UnixTime) -> Result<usize, StoreError> {
        let waiting = self.store.read(|conn| messages::next_unrouted(conn, now, BATCH))?;
        if waiting.is_empty() {
            return Ok(0);
        }
        let config = self.config();
        let most = config.routing.policy.contacts.saturating_add(IN_HEADERS);
        let (peers, spent) = self.store.read(|conn| {
            let peers = peers::contacts(conn, most)?;
            let spent = budget::spent(conn, &config, &peers, now)?;
            Ok((peers, spent))
        })?;
        let mut decided = Vec::new();
        let mut taken = 0;
        let started = Instant::now();
        for waits in &waiting {
            if started.elapsed() > BATCH_TIME {
                break;
            }
            taken += 1;
            match panic::catch_unwind(AssertUnwindSafe(|| {
                self.decide_one(&config, (&peers, &spent), *waits, now)
            })) {
                Ok(Ok(Some(one))) => decided.push(one),
                Ok(Ok(None)) => {}
                Ok(Err(failure)) if failure.is_transient() => return Err(failure),
                Ok(Err(failure)) => self.failed(waits.seq, &failure.to_string())?,
                Err(panic) => self.failed(waits.seq, &panic_text(panic.as_ref()))?,
            }
        }
        self.commit_decisions(&config, decided, now)?;
        Ok(taken)
    }

    /// Makes decisions durable, all in one transaction; if one of them is refused, one by one, so
    /// that it fails alone.
    fn commit_decisions(
        &self,
        config: &Config,
        decided: Vec<Decided>,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        if decided.is_empty() {
            return Ok(());
        }
        let all: std::sync::Arc<Vec<Decided>> = decided.into();
        let config = std::sync::Arc::new(config.clone());
        let write = |range: std::ops::Range<usize>| {
            let (these, config) = (std::sync::Arc::clone(&all), std::sync::Arc::clone(&config));
            let span = range.clone();
            let evicted = lock(&self.unevicted).clone();
            let evictions = evicted.len();
            let recorded = self.store.write(move |tx| {
                let recorded = these
                    .iter()
                    .skip(span.start)
                    .take(span.len())
                    .map(|one| record(tx, &config, one, now))
                    .collect::<Result<Vec<_>, _>>()?;
                for seq in evicted {
                    messages::evict(tx, seq, now, now.saturating_add(config.pool.remember_ids))?;
                }
                Ok(recorded)
            })?;
            let mut waiting = lock(&self.unevicted);
            let done = evictions.min(waiting.len());
            waiting.drain(..done);
            drop(waiting);
            let mut queued = 0_usize;
            for (one, recorded) in all.iter().skip(range.start).zip(recorded) {
                match recorded {
                    Recorded::Routed(n) => {
                        self.metrics.routed(1);
                        queued = queued.saturating_add(n);
                    }
                    // The pool must not know what the database does not know, or no longer.
                    Recorded::Overtaken => {
                        self.pool_mut().remove(one.stored.seq);
                    }
                }
            }
            Ok::<usize, StoreError>(queued)
        };
        let mut queued = 0;
        match write(0..all.len()) {
            Ok(n) => queued += n,
            Err(failure) if failure.is_transient() => return Err(failure),
            Err(_) => {
                for (index, one) in all.iter().enumerate() {
                    match write(index..index.saturating_add(1)) {
                        Ok(n) => queued += n,
                        Err(failure) if failure.is_transient() => return Err(failure),
                        Err(failure) => {
                            self.pool_mut().remove(one.stored.seq);
                            self.failed(one.stored.seq, &failure.to_string())?;
                        }
                    }
                }
            }
        }
        if queued > 0 {
            self.queued.notify_one();
        }
        Ok(())
    }

    /// Counts a failure; the third one sets the message aside, so that it blocks nobody.
    fn failed(&self, seq: i64, why: &str) -> Result<(), StoreError> {
        error!(seq, why, "a message could not be routed");
        self.metrics.routing_failed();
        let why = why.to_owned();
        self.store.write(move |tx| messages::record_failure(tx, seq, &why))?;
        Ok(())
    }

    /// Asks the router about one message, then inserts it into the pool. `None`: it is gone.
    fn decide_one(
        &self,
        config: &Config,
        (peers, spent): (&[Peer], &HashMap<Address, String>),
        waiting: Waiting,
        now: UnixTime,
    ) -> Result<Option<Decided>, StoreError> {
        self.store.read(|conn| {
            let Some(stored) = messages::get(conn, waiting.seq)? else { return Ok(None) };
            let Some(text) = &stored.text else { return Ok(None) };
            let message = text.message()?;
            let around = Around {
                inner: self,
                config,
                conn,
                peers: index(peers),
                spent,
                now,
                failure: RefCell::new(None),
                others: RefCell::default(),
                texts: StoredTexts::new(conn),
            };
            let contacts = around.contacts(&message);
            let subject = Subject {
                message: &message,
                id: stored.id,
                scope: stored.scope,
                is_post: stored.kind == Kind::Post,
            };
            let [a, b, c, d, e, f, g, h] = *stored.id.as_bytes();
            let seed = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            let policy = &config.routing.policy;
            let began = Instant::now();
            let mut decision = router::decide(&subject, &self.pool(), &contacts, &around, policy, now, seed);
            let best = decision.matches.iter().map(|it| it.gain_bits).fold(0.0, f64::max);
            self.metrics.decided(began.elapsed(), best);
            if let Some(failure) = around.failure.take() {
                return Err(failure);
            }
            around.texts.answered()?;
            let entry = Entry {
                seq: stored.seq,
                id: stored.id,
                sender: stored.neighbour.clone(),
                hops: message.hops.addresses().cloned().collect(),
                author: stored.author.clone(),
                scope: stored.scope,
            };
            // Decided first, credited to its sender afterwards: else the sender would always know
            // most about it. A message that is routed again (published, or after a failed commit)
            // takes the place of itself.
            let evicted = self.pool_mut().insert(&entry, &message.body);
            let mut unevicted = lock(&self.unevicted);
            unevicted.retain(|seq| *seq != stored.seq);
            unevicted.extend(evicted);
            drop(unevicted);
            let junk = worth::junk(&message.body);
            let is_junk = junk.is_some();
            decision.reasons.extend(junk);
            Ok(Some(Decided { stored, decision, junk: is_junk }))
        })
    }

    /// Forgets what has expired, a little at a time.
    pub(super) fn tidy(&self) -> Result<(), StoreError> {
        const AT_ONCE: usize = 1000;
        let now = clock::now();
        // So that the log does not keep what goes.
        self.store.erase(move |tx| {
            messages::forget_expired(tx, now, AT_ONCE)?;
            messages::forget_beyond(tx, IDS_KEPT, AT_ONCE)?;
            exchanges::forget_expired(tx, now)?;
            keys::forget_old(tx, now.saturating_sub(PAST_KEPT), now.saturating_sub(PAST_KEPT))?;
            crate::store::asides::forget_expired(tx, now, AT_ONCE)?;
            limits::forget(tx, now.saturating_sub(PAST_KEPT))?;
            limits::forget_seen(tx, now.saturating_sub(PAST_KEPT))?;
            queue::forget_finished(tx, now.saturating_sub(PAST_KEPT), AT_ONCE)?;
            bounces::forget(tx, now.saturating_sub(BOUNCES_KEPT))?;
            people::forget_threads(tx, now.saturating_sub(PAST_KEPT))?;
            peers::forget_beyond(tx, PEERS_KEPT)?;
            Ok(())
        })
    }
}

fn index(peers: &[Peer]) -> HashMap<&Address, &Peer> {
    peers.iter().map(|peer| (&peer.address, peer)).collect()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    format!("a panic while routing: {text}")
}

/// What the router asks about the world around a message.
struct Around<'a> {
    inner: &'a Inner,
    config: &'a Config,
    conn: &'a Connection,
    peers: HashMap<&'a Address, &'a Peer>,
    /// Strangers that were sent enough.
    spent: &'a HashMap<Address, String>,
    now: UnixTime,
    /// The first question that the database did not answer: the decision is void then.
    failure: RefCell<Option<StoreError>>,
    /// The answers of [`Surroundings::others`].
    others: RefCell<HashMap<Address, Vec<Address>>>,
    texts: StoredTexts<'a>,
}

impl Around<'_> {
    /// The peers that a message may go to: the pinned ones, then those credited last.
    fn contacts(&self, message: &crate::message::Message) -> Vec<Contact> {
        let mut known: Vec<&&Peer> =
            self.peers.values().filter(|peer| !message.hops.contains(&peer.address)).collect();
        known.sort_by(|a, b| {
            let bad = |peer: &Peer| reputation::present(peer, self.now) <= BAD;
            // Who has brought something useful goes before who was only heard of.
            let rank = |peer: &Peer| {
                let proven = peer.authenticated_at.is_some();
                (peer.pinned || peer.listed, !bad(peer), peer.credited_at, proven, peer.last_seen)
            };
            rank(b).cmp(&rank(a)).then_with(|| a.address.cmp(&b.address))
        });
        let in_header: Vec<&&Peer> =
            message.hops.addresses().filter_map(|address| self.peers.get(address)).collect();
        // Those in the header take nobody's place.
        let most = self.config.routing.policy.contacts.saturating_add(in_header.len());
        let mut offered: Vec<&Address> = Vec::new();
        in_header
            .into_iter()
            .chain(known)
            .filter(|peer| !self.is_own(&peer.address))
            .take(most)
            .map(|peer| {
                let same = self.others(&peer.address);
                let may = self.may_send(&peer.address).and_then(|()| {
                    match offered.iter().find(|other| same.contains(other)) {
                        Some(other) => Err(format!("it is the same neighbour as {other}: their key is one")),
                        None => Ok(()),
                    }
                });
                if may.is_ok() {
                    offered.push(&peer.address);
                }
                Contact {
                    address: peer.address.clone(),
                    pinned: peer.pinned || peer.listed,
                    may_send: may.is_ok(),
                    reason: may.err(),
                    has: false,
                }
            })
            .collect()
    }
}

impl Texts for Around<'_> {
    fn body(&self, seq: i64) -> Option<Vec<u8>> {
        self.texts.body(seq)
    }
}

impl Surroundings for Around<'_> {
    fn is_own(&self, address: &Address) -> bool {
        self.inner.is_own(self.config, address)
    }

    fn has(&self, address: &Address, id: MessageId) -> bool {
        messages::holds(self.conn, id, address).unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            true
        })
    }

    /// What an exchange of keys made is no acquaintance: it shows that somebody is there, not who.
    fn is_acquainted(&self, address: &Address) -> bool {
        let look = || -> Result<bool, StoreError> {
            let asked;
            let peer = match self.peers.get(address) {
                Some(peer) => Some(*peer),
                None => {
                    asked = peers::get(self.conn, address)?;
                    asked.as_ref()
                }
            };
            if peer.is_some_and(|peer| peer.pinned || peer.listed) {
                return Ok(true);
            }
            let keyed = peer.is_some_and(|peer| peer.key != "none");
            Ok(keyed && keys::current(self.conn, address)?.is_some_and(|key| key.origin == KeyOrigin::Manual))
        };
        look().unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            false
        })
    }

    /// Addresses with which the same key is shared.
    fn others(&self, address: &Address) -> Vec<Address> {
        if self.peers.get(address).is_some_and(|peer| peer.key == "none") {
            return Vec::new();
        }
        if let Some(known) = self.others.borrow().get(address) {
            return known.clone();
        }
        let found = keys::same_neighbour(self.conn, address).unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            Vec::new()
        });
        self.others.borrow_mut().insert(address.clone(), found.clone());
        found
    }

    fn may_send(&self, address: &Address) -> Result<(), String> {
        if let Some(why) = self.spent.get(address) {
            return Err(why.clone());
        }
        let asked;
        let peer: Option<&Peer> = match self.peers.get(address) {
            Some(peer) => Some(peer),
            None => {
                asked = peers::get(self.conn, address).map_err(|error| error.to_string())?;
                asked.as_ref()
            }
        };
        let blocks = read(&self.inner.blocks);
        let may = ways::may_send(self.conn, self.config, &blocks, address, peer);
        may.map_err(|error| error.to_string())?.map(drop)
    }
}

pub(super) fn local_domains(config: &Config) -> Vec<String> {
    config
        .smtp
        .recipients
        .iter()
        .filter_map(|address| address.rsplit_once('@'))
        .map(|(_, domain)| domain.to_ascii_lowercase())
        .collect()
}

/// One decision and what follows from it.
///
/// Crash argument: the state `routed`, the decision, the deliveries with their T and Message-IDs,
/// and the evictions are one savepoint of one transaction. Before its commit the message still
/// waits and is decided on again at the next start; afterwards its deliveries are in the queue.
/// Evictions of a transaction that failed are kept for the next one; those of a process that died
/// come about again with the decision, since a start fills the pool from the database.
fn record(
    tx: &Connection,
    config: &Config,
    decided: &Decided,
    now: UnixTime,
) -> Result<Recorded, StoreError> {
    let Decided { stored, decision, junk } = decided;
    // Published since it was read: it waits, and is decided on again as what it is now.
    let same = messages::head(tx, stored.seq)?.is_some_and(|present| present.scope == stored.scope);
    if !same || !messages::mark_routed(tx, stored.seq)? {
        return Ok(Recorded::Overtaken);
    }
    let matches: Vec<NewMatch> = decision
        .matches
        .iter()
        .map(|found| NewMatch {
            other: found.seq,
            gain_bits: found.gain_bits,
            one_sided_bits: found.one_sided_bits,
            distance_raw: found.distance_raw,
        })
        .collect();
    let mut detail = decision.clone();
    // The matches have rows of their own, which go when their message does.
    detail.matches.clear();
    let note = |detail: &Decision| {
        let json = as_json(detail)?;
        let new = NewDecision { decided: now, verdict: &decision.verdict, detail: &json, matches: &matches };
        decisions::record(tx, stored.seq, &new)
    };
    worth::routed(tx, stored, decision, *junk, now)?;
    let mut queued = 0;
    if queue::bytes(tx)? > QUEUE_MAX {
        warn!(id = %stored.id, "the queue is full: nothing is sent because of this message");
        counters::note(tx, Counter::NoRoom)?;
        note(&detail)?;
        return Ok(Recorded::Routed(0));
    }
    let mut kept_back = Vec::new();
    // `max_forwards` holds over all of it: the answer to its author first, then what the router
    // wants, then the people who asked about it before.
    let most = config.routing.policy.max_forwards;
    if most > 0 {
        queued += usize::from(answers::to_author(tx, config, stored, decision, now)?);
    }
    for forward in &decision.forwards {
        if queued < most {
            let others = steps::others(decision, forward, &config.routing.policy);
            match steps::enqueue(tx, config, stored, forward, others, now)? {
                Ok(new) => queued += usize::from(new),
                Err(no) => detail.reasons.push(format!("nothing goes to {}: {no}", forward.to)),
            }
        }
    }
    note(&detail)?;
    if stored.scope == Scope::Public && !junk {
        queued += aliases::hand_on(tx, config, stored, Some(decision), most.saturating_sub(queued), now)?;
        // Whose question it is says its thread: its origin may be a person's own address.
        for found in &decision.matches {
            if queued < most {
                match answers::later(tx, config, stored, found.seq, now)? {
                    answers::Later::Queued => queued += 1,
                    answers::Later::Nothing => {}
                    answers::Later::KeptBack(why) => kept_back
                        .push(format!("{} matches it, but whoever wrote that was not told: {why}", found.id)),
                }
            }
        }
    }
    if !kept_back.is_empty() {
        info!(id = %stored.id, kept_back = kept_back.len(), "limits kept later matches back");
        let mut told = detail;
        told.reasons.extend(kept_back);
        decisions::explain_more(tx, stored.seq, &as_json(&told)?)?;
    }
    info!(id = %stored.id, verdict = decision.verdict, queued, "routed");
    Ok(Recorded::Routed(queued))
}

fn as_json(detail: &Decision) -> Result<serde_json::Value, StoreError> {
    serde_json::to_value(detail).map_err(|error| StoreError::Row(error.to_string()))
}
