//! The cached messages, searchable: which are nearest to a text, and which peer knows it best.
//!
//! This room knows messages as words with an author, a neighbour and a scope, in memory. It must
//! never know the database, the transports, the clock or why somebody asks.
//!
//! **Postings.** A message is kept as an entry in the lists of its words, about 2 bytes each; its
//! text stays with the caller, who lends it ([`Texts`]) where a text itself is needed.
//!
//! **Order.** A message is decided about first and inserted afterwards: its sender is credited by
//! [`Pool::insert`], and whoever has just sent X would otherwise always know X best.
//!
//! **Scope.** Local messages have an index of their own. Nothing that is asked for everybody
//! ([`Audience::Public`]) reads it, not even for counting how rare a word is.
//!
//! **Bounds.** See [`Limits`].

mod clues;
mod codec;
mod cut;
mod dictionary;
mod holders;
mod index;
mod line;
mod names;
mod nearest;
mod postings;
mod prior;
mod profiles;
mod question;
mod row;
mod scores;
mod slots;
mod snapshot;
mod sums;
mod tally;
#[cfg(test)]
mod tests;
mod texts;
mod wording;

pub use codec::Damaged;
pub use nearest::{MIN_GAIN_BITS, NET_BITS, NOMINEES, ONE_WORD_BITS, Query, Scored};
pub use question::Question;
pub use scores::{PEER_MIN_GAIN_BITS, PEER_MIN_GAIN_SHARE, PeerCost};
pub use texts::Texts;

use crate::distance::{COUNTED_BYTES, oldest};
use crate::message::{Address, MessageId};
use crate::policy::{Scope, is_key_exchange};
use cut::Cut;
use holders::{Holders, Measure, Part};
use index::{Index, Model};
use names::{Name, Names};
use profiles::Profiles;
use slots::{Slot, Slots};
use std::collections::HashSet;
use std::fmt;

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
    /// Most bytes of the dictionary. When it is full, a new word takes the place of an old one that
    /// a single message has, or is left out.
    pub max_dictionary: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_messages: 1_000_000,
            max_bytes: 8 << 30,
            share_percent: 5,
            max_profiles: 1024,
            max_dictionary: 1 << 30,
        }
    }
}

/// A cached message, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the store; one message per number.
    pub seq: i64,
    /// Its public id.
    pub id: MessageId,
    /// The neighbour that sent it, or its author if it was posted here.
    pub sender: Address,
    /// All addresses of its header, newest first.
    pub hops: Vec<Address>,
    /// Who wrote it: the origin line's address.
    pub author: Address,
    /// Who may see it.
    pub scope: Scope,
}

impl Entry {
    /// What it counts for [`Limits::max_bytes`] with this body.
    fn bytes(&self, body: &[u8]) -> u64 {
        let hops: usize = self.hops.iter().map(|a| a.as_bytes().len()).sum();
        (body.len() + hops) as u64
    }

    /// The oldest address.
    #[must_use]
    pub fn origin(&self) -> &Address {
        self.hops.last().unwrap_or(&self.author)
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
#[derive(Default)]
pub struct Pool {
    limits: Limits,
    slots: Slots,
    addresses: Names<Address>,
    headers: Names<Box<[Name]>>,
    public: Index,
    local: Index,
    holders: Holders,
    profiles: Profiles,
    bytes: u64,
    /// Messages that came or went.
    changes: u64,
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
    /// An empty pool.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let index = || Index::new(limits.max_dictionary);
        let (public, local, profiles) = (index(), index(), Profiles::new(limits.max_profiles));
        Pool { limits, profiles, public, local, ..Pool::default() }
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

    /// How many messages came or went since it was made or loaded.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether this very message is here, in this scope.
    #[must_use]
    pub fn holds(&self, seq: i64, id: MessageId, scope: Scope) -> bool {
        let slot = self.slots.ordinal(seq).and_then(|ordinal| self.slots.get(ordinal));
        slot.is_some_and(|slot| slot.id == id && slot.scope == scope)
    }

    /// The numbers of all messages, in the order in which they were inserted.
    pub fn numbers(&self) -> impl Iterator<Item = i64> {
        self.slots.iter().map(|slot| slot.seq)
    }

    /// Bytes of bodies and addresses.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes in memory, computed from what the parts hold.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory_parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// Bytes in memory, part by part.
    #[must_use]
    pub fn memory_parts(&self) -> [(&'static str, usize); 6] {
        let names = self.addresses.memory_bytes(|address| address.as_bytes().len() + 16)
            + self.headers.memory_bytes(|header| header.len() * 2 * size_of::<Name>() + 32);
        let [public, local] = [&self.public, &self.local].map(Index::memory_parts);
        [
            ("messages", self.slots.memory_bytes()),
            ("words", public.0 + local.0),
            ("postings", public.1 + local.1),
            ("holders", self.holders.memory_bytes()),
            ("peers", self.profiles.memory_bytes()),
            ("addresses", names),
        ]
    }

    /// A message by its number.
    #[must_use]
    pub fn get(&self, seq: i64) -> Option<Entry> {
        self.entry(self.slots.get(self.slots.ordinal(seq)?)?)
    }

    fn entry(&self, slot: &Slot) -> Option<Entry> {
        let address = |name: &Name| self.addresses.value(*name).cloned();
        Some(Entry {
            seq: slot.seq,
            id: slot.id,
            sender: address(&slot.sender)?,
            hops: self.headers.value(slot.header)?.iter().filter_map(address).collect(),
            author: address(&slot.author)?,
            scope: slot.scope,
        })
    }

    /// All messages, in the order in which they were inserted.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Entry> {
        self.slots.iter().filter_map(|slot| self.entry(slot))
    }

    /// Adds a message as the newest one and credits its sender; also the router that took it from
    /// its author, if that has sent us something itself before (header lines below the first are
    /// not signed, so a mention alone earns nothing). Local messages credit nobody.
    ///
    /// The answer are the numbers of the messages that had to go: its own among them if it can't
    /// be kept (a body of a key exchange, or larger than the whole pool). A number that is here
    /// already is replaced.
    pub fn insert(&mut self, entry: &Entry, body: &[u8]) -> Vec<i64> {
        if !self.add(entry, body) {
            return vec![entry.seq];
        }
        let mut evicted: Vec<i64> = self.payment(&entry.author, &entry.sender).into_iter().collect();
        evicted.extend(self.make_room());
        evicted
    }

    /// As [`Pool::insert`], for a message that was here before the program was started: nobody
    /// pays for it again, else every start would cost the loudest ones some of theirs. The answer
    /// is empty unless the limits have become narrower.
    pub fn restore(&mut self, entry: &Entry, body: &[u8]) -> Vec<i64> {
        if self.add(entry, body) { self.make_room() } else { vec![entry.seq] }
    }

    /// Adds a message. Whether it can be kept.
    fn add(&mut self, entry: &Entry, body: &[u8]) -> bool {
        let size = entry.bytes(body);
        let again = self.remove(entry.seq).is_some_and(|old| old.sender == entry.sender);
        if is_key_exchange(body) || size > self.limits.max_bytes || self.limits.max_messages == 0 {
            return false;
        }
        if self.slots.is_sparse() {
            let to = self.slots.renumber();
            self.public.renumber(&to);
            self.local.renumber(&to);
            self.holders.renumber(|ordinal| to(ordinal).map(|(ordinal, _)| ordinal));
        }
        let body = oldest(body, COUNTED_BYTES);
        let (sections, pairs) = Cut::of(body).sections(body);
        let lengths: Vec<u64> = sections.iter().map(|section| section.counts.total).collect();
        let profile_weight = lengths.iter().map(|words| profiles::weight(*words)).sum();
        let profiles = match entry.scope {
            Scope::Public => self.profiles.credit(&entry.sender, entry.home_router(), profile_weight, again),
            Scope::Local => [0; 2],
        };
        let ordinal = self.slots.next();
        let author = self.addresses.hold(&entry.author);
        let sender = self.addresses.hold(&entry.sender);
        let hops: Box<[Name]> = entry.hops.iter().map(|hop| self.addresses.hold(hop)).collect();
        let header = self.headers.hold(&hops);
        self.holders.add(Part::Author, author, ordinal, size);
        self.holders.add(Part::Neighbour, sender, ordinal, size);
        let mut many: Vec<(u64, f32, bool)> = Vec::new();
        let index = self.index(entry.scope);
        let weight = index.admit(author);
        let mut bits = 0.0;
        for (at, section) in (ordinal..).zip(&sections) {
            let length = (section.counts.total.max(1) as f32).sqrt();
            bits += index.add(at, weight, section, |word, count, since_now| {
                many.push((word, f32::from(count) / length, since_now));
            });
        }
        let slot = Slot {
            seq: entry.seq,
            id: entry.id,
            author,
            sender,
            header,
            bytes: u32::try_from(size).unwrap_or(u32::MAX),
            words: u32::try_from(lengths.iter().sum::<u64>()).unwrap_or(u32::MAX),
            profile_weight,
            profiles,
            bits: tally::single(bits),
            weight,
            scope: entry.scope,
        };
        self.slots.push(slot, &lengths);
        if profiles != [0; 2] {
            self.sum_up(profiles, &many, &pairs);
        }
        self.bytes += size;
        self.changes += 1;
        self.begin_rounds(Index::is_littered);
        self.public.tidy(|ordinal| self.slots.weight(ordinal));
        self.local.tidy(|ordinal| self.slots.weight(ordinal));
        true
    }

    /// Forgets a message, and what its sender is known for by it.
    pub fn remove(&mut self, seq: i64) -> Option<Entry> {
        self.take(self.slots.ordinal(seq)?)
    }

    /// Takes back what the profiles of peers have learnt from a message with this body that is here
    /// and about to be erased: their sums can't tell what was whose.
    pub fn unlearn(&mut self, seq: i64, body: &[u8]) {
        let Some(slot) = self.slots.ordinal(seq).and_then(|ordinal| self.slots.get(ordinal)) else { return };
        let profiles = slot.profiles;
        let body = oldest(body, COUNTED_BYTES);
        let (sections, pairs) = Cut::of(body).sections(body);
        for section in sections {
            self.profiles.unlearn_words(profiles, &section.counts);
        }
        self.profiles.unlearn_pairs(profiles, &pairs);
    }

    /// Erases everything by an author for good, and what it is known for as a peer. The numbers of
    /// the messages that were here.
    pub fn erase_author(&mut self, author: &Address) -> Vec<i64> {
        self.profiles.remove(author);
        let held = self.addresses.number(author).map(|name| self.holders.held(Part::Author, name));
        let held = held.unwrap_or_default();
        held.into_iter().filter_map(|ordinal| self.take(ordinal)).map(|entry| entry.seq).collect()
    }

    /// Removes some of what is left in memory of messages that are gone. Whether there is more.
    /// [`Pool::insert`] does this by and by; who erases something calls it until all is done.
    pub fn sweep(&mut self) -> bool {
        self.begin_rounds(Index::is_unswept);
        let still = |ordinal| self.slots.weight(ordinal);
        self.public.sweep(still) | self.local.sweep(still)
    }

    /// Begins a round of sweeping where it is worth while.
    fn begin_rounds(&mut self, worth_while: fn(&Index) -> bool) {
        for scope in [Scope::Public, Scope::Local] {
            if worth_while(self.index(scope)) {
                let weight = self.slots.reweigh(scope, index::weight);
                self.index(scope).begin(weight);
            }
        }
    }

    /// These peers' profiles are never given up for others'.
    pub fn pin(&mut self, peers: impl IntoIterator<Item = Address>) {
        self.profiles.pin(peers.into_iter().collect::<HashSet<Address>>());
    }

    /// How many messages a peer has been credited for, and when last in the order of credits
    /// (0 for never).
    #[must_use]
    pub fn credited(&self, peer: &Address) -> (u64, u64) {
        self.profiles.credited(peer)
    }

    /// The numbers of the newest public messages that a neighbour has sent, newest first.
    #[must_use]
    pub fn sent_by(&self, peer: &Address, most: usize) -> Vec<i64> {
        let held = self.addresses.number(peer).map(|name| self.holders.held(Part::Neighbour, name));
        let held = held.unwrap_or_default();
        let slots = held.into_iter().rev().filter_map(|ordinal| self.slots.get(ordinal));
        slots.filter(|slot| slot.scope == Scope::Public).take(most).map(|slot| slot.seq).collect()
    }

    fn index(&mut self, scope: Scope) -> &mut Index {
        match scope {
            Scope::Public => &mut self.public,
            Scope::Local => &mut self.local,
        }
    }

    /// The word model for this audience.
    fn model(&self, audience: Audience<'_>) -> Model<'_> {
        match audience {
            Audience::Public | Audience::Author(_) => Model::new(&self.public, None),
            Audience::Operator => Model::new(&self.public, Some(&self.local)),
        }
    }

    fn take(&mut self, ordinal: u32) -> Option<Entry> {
        let entry = self.entry(self.slots.get(ordinal)?);
        let slot = self.slots.take(ordinal)?;
        self.index(slot.scope).remove(slot.author, slot.weight);
        let size = u64::from(slot.bytes);
        self.holders.remove(Part::Author, slot.author, ordinal, size);
        self.holders.remove(Part::Neighbour, slot.sender, ordinal, size);
        self.profiles.forget(slot.profiles, slot.profile_weight);
        let hops = self.headers.value(slot.header).cloned().unwrap_or_default();
        self.headers.release(slot.header);
        for name in hops.iter().copied().chain([slot.author, slot.sender]) {
            self.addresses.release(name);
        }
        self.bytes = self.bytes.saturating_sub(size);
        self.changes += 1;
        entry
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
            parts.iter().find_map(|(part, who)| {
                let name = self.addresses.number(who)?;
                self.holders.oldest_if_over(*part, name, *measure, *share)
            })
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
