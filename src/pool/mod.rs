//! The cached messages, searchable: which are nearest to a text, and which peer knows it best.
//!
//! This room knows messages as bodies with an author, a neighbour and a scope, in memory. It must
//! never know the database, the transports, the clock or why somebody asks.
//!
//! **Order.** A message is decided about first and inserted afterwards: its sender is credited by
//! [`Pool::insert`], and whoever has just sent X would otherwise always know X best.
//!
//! **Scope.** Local messages have an index of their own. Nothing that is asked for everybody
//! ([`Audience::Public`]) reads it, not even for counting how rare a word is.
//!
//! **Bounds.** See [`Limits`].

mod holders;
mod index;
mod nearest;
mod profile;
mod slots;
#[cfg(test)]
mod tests;

pub use nearest::{
    MIN_GAIN_BITS, MIN_GAIN_SHARE, NOMINEES, PEER_MIN_GAIN_BITS, PEER_MIN_GAIN_SHARE, PEER_NOMINEES,
    PeerCost, Query, Scored, VIEW,
};

use crate::distance::{Coder, Deflate, oldest, words};
use crate::message::{Address, MessageId, UnixTime};
use crate::policy::{Scope, is_key_exchange};
use holders::{Holders, Measure, Part};
use index::Index;
use profile::Profiles;
use slots::{Slots, Stored};
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// What the pool may hold.
///
/// When there is more, messages go one by one until it fits: the oldest one of the largest holder
/// as long as somebody (an author, or a neighbour by all it sent) holds more than `share_percent`
/// of the limit, else the oldest of all. While the pool is over nine tenths full, whoever holds
/// more than this share pays for each of its own new messages with its oldest one, so that the
/// last tenth is not the loudest one's either. In an emptier pool nobody is held to a share: with
/// a single neighbour that would only leave it empty. A holder of one message is never over its
/// share, so a message is never refused for its own size unless it exceeds `max_bytes` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most messages.
    pub max_messages: usize,
    /// Most bytes of bodies and addresses.
    pub max_bytes: u64,
    /// The share of both that one author or neighbour may hold, in percent.
    pub share_percent: u64,
    /// Most peers whose sent text is remembered.
    pub max_profiles: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_messages: 1_000_000, max_bytes: 8 << 30, share_percent: 5, max_profiles: 1024 }
    }
}

/// A cached message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the store; one message per number.
    pub seq: i64,
    /// Its public id.
    pub id: MessageId,
    /// Its body.
    pub body: Arc<[u8]>,
    /// The neighbour that sent it, or its author if it was posted here.
    pub sender: Address,
    /// All addresses of its header, newest first.
    pub hops: Vec<Address>,
    /// Who wrote it: the origin line's address.
    pub author: Address,
    /// The time of the origin line.
    pub origin_time: UnixTime,
    /// Who may see it.
    pub scope: Scope,
    /// When it came.
    pub received: UnixTime,
}

impl Entry {
    /// What it counts for [`Limits::max_bytes`].
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let hops: usize = self.hops.iter().map(|a| a.as_bytes().len()).sum();
        (self.body.len() + hops) as u64
    }

    /// The router that took it from its author: the second oldest address, else the origin's.
    #[must_use]
    pub fn home_router(&self) -> &Address {
        self.hops.iter().rev().nth(1).or_else(|| self.hops.last()).unwrap_or(&self.author)
    }
}

/// On whose behalf something is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience<'a> {
    /// Everybody: public messages only.
    Public,
    /// The operator: everything.
    Operator,
    /// A local author: public messages and his own local ones.
    Author(&'a Address),
}

/// The cached messages. Deterministic: the same calls in the same order give the same answers.
pub struct Pool {
    coder: Arc<dyn Coder>,
    limits: Limits,
    slots: Slots,
    public: Index,
    local: Index,
    holders: Holders,
    profiles: Profiles,
    bytes: u64,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("messages", &self.slots.len())
            .field("bytes", &self.bytes)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// An empty pool, measured by deflate.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Pool::with_coder(limits, Arc::new(Deflate::default()))
    }

    /// An empty pool, measured by this coder.
    #[must_use]
    pub fn with_coder(limits: Limits, coder: Arc<dyn Coder>) -> Self {
        Pool {
            coder,
            limits,
            slots: Slots::default(),
            public: Index::default(),
            local: Index::default(),
            holders: Holders::default(),
            profiles: Profiles::new(limits.max_profiles),
            bytes: 0,
        }
    }

    /// The coder.
    #[must_use]
    pub fn coder(&self) -> &dyn Coder {
        self.coder.as_ref()
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of bodies and addresses.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A message by its number.
    #[must_use]
    pub fn get(&self, seq: i64) -> Option<&Entry> {
        Some(&self.slots.get(self.slots.ordinal(seq)?)?.entry)
    }

    /// All messages, in the order in which they were inserted.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.slots.iter().map(|stored| &stored.entry)
    }

    /// Adds a message as the newest one and credits its sender; also the router that took it from
    /// its author, if that has sent us something itself before (header lines below the first are
    /// not signed, so a mention alone earns nothing). Local messages credit nobody.
    ///
    /// The answer are the numbers of the messages that had to go: its own among them if it can't
    /// be kept (a body of a key exchange, or larger than the whole pool). A number that is here
    /// already is replaced.
    pub fn insert(&mut self, entry: Entry) -> Vec<i64> {
        let (author, sender) = (entry.author.clone(), entry.sender.clone());
        if let Some(refused) = self.add(entry) {
            return vec![refused];
        }
        let mut evicted: Vec<i64> = self.payment(&author, &sender).into_iter().collect();
        evicted.extend(self.make_room());
        evicted
    }

    /// As [`Pool::insert`], for a message that was here before the program was started: nobody
    /// pays for it again, else every start would cost the loudest ones some of theirs. The answer
    /// is empty unless the limits have become narrower.
    pub fn restore(&mut self, entry: Entry) -> Vec<i64> {
        match self.add(entry) {
            Some(refused) => vec![refused],
            None => self.make_room(),
        }
    }

    /// Adds a message, if it can be kept; else the answer is its number.
    fn add(&mut self, entry: Entry) -> Option<i64> {
        let (seq, size) = (entry.seq, entry.bytes());
        self.remove(seq);
        if is_key_exchange(&entry.body) || size > self.limits.max_bytes || self.limits.max_messages == 0 {
            return Some(seq);
        }
        if self.slots.is_sparse() {
            let to = self.slots.renumber();
            self.public.renumber(&to);
            self.local.renumber(&to);
            self.holders.renumber(&to);
        }
        if entry.scope == Scope::Public {
            self.profiles.credit(&entry.sender, seq, &entry.author, &entry.body);
            let home = entry.home_router();
            if *home != entry.sender && self.profiles.get(home).is_some() {
                self.profiles.credit(home, seq, &entry.author, &entry.body);
            }
        }
        let distinct = distinct_words(&entry.body);
        let ordinal = self.slots.next();
        let author = self.holders.add(Part::Author, &entry.author, ordinal, size);
        self.holders.add(Part::Neighbour, &entry.sender, ordinal, size);
        self.index(entry.scope).add(ordinal, author, &distinct);
        let stored = Stored { entry, words: distinct.len(), bits: OnceLock::new() };
        self.slots.push(stored, author);
        self.bytes += size;
        None
    }

    /// Forgets a message. What its sender is known for stays: that ages by itself.
    pub fn remove(&mut self, seq: i64) -> Option<Entry> {
        self.take(self.slots.ordinal(seq)?)
    }

    /// Erases a message for good: from what its sender is known for as well, even if the message
    /// itself was evicted before.
    pub fn erase(&mut self, seq: i64) -> Option<Entry> {
        self.profiles.erase_message(seq);
        self.remove(seq)
    }

    /// Erases everything by an author for good. The numbers of the messages that were here.
    pub fn erase_author(&mut self, author: &Address) -> Vec<i64> {
        self.profiles.erase_author(author);
        let held = self.holders.held(Part::Author, author);
        held.into_iter().filter_map(|ordinal| self.take(ordinal)).map(|entry| entry.seq).collect()
    }

    /// These peers' profiles are never given up for others'.
    pub fn pin(&mut self, peers: impl IntoIterator<Item = Address>) {
        self.profiles.pin(peers.into_iter().collect::<HashSet<Address>>());
    }

    /// How many messages a peer has been credited for, and when last in the order of credits
    /// (0 for never).
    #[must_use]
    pub fn credited(&self, peer: &Address) -> (u64, u64) {
        let messages = self.profiles.get(peer).map_or(0, |p| p.messages);
        (messages, self.profiles.last_credit(peer))
    }

    fn index(&mut self, scope: Scope) -> &mut Index {
        match scope {
            Scope::Public => &mut self.public,
            Scope::Local => &mut self.local,
        }
    }

    fn take(&mut self, ordinal: u32) -> Option<Entry> {
        let (stored, author) = self.slots.take(ordinal)?;
        let entry = stored.entry;
        let distinct = distinct_words(&entry.body);
        let index = match entry.scope {
            Scope::Public => &mut self.public,
            Scope::Local => &mut self.local,
        };
        index.remove(author, &distinct, &self.slots);
        let size = entry.bytes();
        self.holders.remove(Part::Author, &entry.author, ordinal, size);
        self.holders.remove(Part::Neighbour, &entry.sender, ordinal, size);
        self.bytes = self.bytes.saturating_sub(size);
        Some(entry)
    }

    /// What more than its share is, of messages and of bytes.
    fn measures(&self) -> [(Measure, u64); 2] {
        let Limits { max_messages, max_bytes, share_percent, .. } = self.limits;
        let share =
            |of: u64| u64::try_from(u128::from(of) * u128::from(share_percent) / 100).unwrap_or(of).max(1);
        [(Measure::Messages, share(max_messages as u64)), (Measure::Bytes, share(max_bytes))]
    }

    /// What `author` or `sender` pays for having added a message to a pool that is nearly full.
    fn payment(&mut self, author: &Address, sender: &Address) -> Option<i64> {
        let Limits { max_messages, max_bytes, .. } = self.limits;
        let nearly = |have: u64, of: u64| u128::from(have) * 10 > u128::from(of) * 9;
        if !nearly(self.len() as u64, max_messages as u64) && !nearly(self.bytes, max_bytes) {
            return None;
        }
        let parts = [(Part::Author, author), (Part::Neighbour, sender)];
        let pays = self.measures().iter().find_map(|(measure, share)| {
            parts.iter().find_map(|(part, who)| self.holders.oldest_if_over(*part, who, *measure, *share))
        })?;
        Some(self.take(pays)?.seq)
    }

    /// Evicts until the limits hold.
    fn make_room(&mut self) -> Vec<i64> {
        let Limits { max_messages, max_bytes, .. } = self.limits;
        let measures = self.measures();
        let mut evicted = Vec::new();
        while self.len() > max_messages || self.bytes > max_bytes {
            let over = if self.len() > max_messages {
                &measures
            } else {
                &{
                    let [messages, bytes] = measures;
                    [bytes, messages]
                }
            };
            let victim = over
                .iter()
                .find_map(|(measure, share)| self.holders.oldest_of_largest(*measure, *share))
                .or_else(|| self.slots.oldest());
            match victim.and_then(|ordinal| self.take(ordinal)) {
                Some(entry) => evicted.push(entry.seq),
                None => break,
            }
        }
        evicted
    }
}

/// How many bytes of a body are read for its words, its beginning.
const INDEXED: usize = 256 * 1024;

/// The distinct words of a body, in the order of their first appearance, as far as they are
/// indexed.
fn distinct_words(body: &[u8]) -> Vec<u64> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for word in words(oldest(body, INDEXED)) {
        if seen.insert(word.hash) {
            out.push(word.hash);
            if out.len() == index::MAX_WORDS {
                break;
            }
        }
    }
    out
}
