//! Where the cached messages are: numbered in the order in which they came.

use super::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::OnceLock;

/// A cached message and what is computed once for it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) entry: Entry,
    /// Number of distinct indexed words.
    pub(super) words: usize,
    /// C(Y), computed when first needed.
    pub(super) bits: OnceLock<f64>,
}

/// The messages by ordinal and by sequence number. An ordinal is given once, ascending.
#[derive(Debug, Default)]
pub(super) struct Slots {
    base: u32,
    slots: VecDeque<Option<Box<Stored>>>,
    /// Author numbers beside the slots: counting authors must not touch the messages.
    authors: VecDeque<u32>,
    by_seq: HashMap<i64, u32>,
    live: usize,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// The ordinal that the next message will get.
    pub(super) fn next(&self) -> u32 {
        self.base.saturating_add(u32::try_from(self.slots.len()).unwrap_or(u32::MAX))
    }

    /// Whether so many numbers are taken by messages that are gone that [`Slots::renumber`] pays.
    pub(super) fn is_sparse(&self) -> bool {
        self.slots.len() > 4 * self.live + 4096 || self.next() >= u32::MAX - 1
    }

    pub(super) fn push(&mut self, stored: Stored, author: u32) -> u32 {
        let ordinal = self.next();
        self.by_seq.insert(stored.entry.seq, ordinal);
        self.slots.push_back(Some(Box::new(stored)));
        self.authors.push_back(author);
        self.live += 1;
        ordinal
    }

    fn at(&self, ordinal: u32) -> Option<usize> {
        usize::try_from(ordinal.checked_sub(self.base)?).ok()
    }

    pub(super) fn get(&self, ordinal: u32) -> Option<&Stored> {
        self.slots.get(self.at(ordinal)?)?.as_deref()
    }

    pub(super) fn is_live(&self, ordinal: u32) -> bool {
        self.get(ordinal).is_some()
    }

    pub(super) fn author(&self, ordinal: u32) -> Option<u32> {
        let at = self.at(ordinal)?;
        self.slots.get(at)?.as_ref()?;
        self.authors.get(at).copied()
    }

    pub(super) fn ordinal(&self, seq: i64) -> Option<u32> {
        self.by_seq.get(&seq).copied()
    }

    pub(super) fn take(&mut self, ordinal: u32) -> Option<(Stored, u32)> {
        let at = self.at(ordinal)?;
        let stored = self.slots.get_mut(at)?.take()?;
        let author = self.authors.get(at).copied()?;
        self.by_seq.remove(&stored.entry.seq);
        self.live -= 1;
        while matches!(self.slots.front(), Some(None)) {
            self.slots.pop_front();
            self.authors.pop_front();
            self.base = self.base.saturating_add(1);
        }
        Some((*stored, author))
    }

    /// The oldest message.
    pub(super) fn oldest(&self) -> Option<u32> {
        // `take` leaves no empty slot in front.
        (self.live > 0).then_some(self.base)
    }

    /// All messages, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Stored> {
        self.slots.iter().filter_map(|slot| slot.as_deref())
    }

    /// Closes the gaps. The answer tells the new ordinal of an old one.
    pub(super) fn renumber(&mut self) -> impl Fn(u32) -> Option<u32> + use<> {
        let old_base = self.base;
        let mut next = 0_u32;
        let map: Vec<Option<u32>> = self
            .slots
            .iter()
            .map(|slot| {
                slot.as_ref()?;
                next += 1;
                Some(next - 1)
            })
            .collect();
        let mut live = map.iter().map(Option::is_some);
        self.authors.retain(|_| live.next().unwrap_or(false));
        self.slots.retain(Option::is_some);
        self.base = 0;
        let to = move |ordinal: u32| {
            let at = usize::try_from(ordinal.checked_sub(old_base)?).ok()?;
            map.get(at).copied().flatten()
        };
        for ordinal in self.by_seq.values_mut() {
            *ordinal = to(*ordinal).unwrap_or(0);
        }
        to
    }
}
