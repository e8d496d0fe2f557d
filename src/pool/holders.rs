//! Who holds how much of the pool.

use super::names::Name;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

/// In which part somebody holds a message: he wrote it, or he sent it to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Author,
    Neighbour,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Messages,
    Bytes,
}

/// Amount, oldest message (an older one is greater), number of the holder.
type Key = (u64, Reverse<u32>, u32);

#[derive(Debug)]
struct Row {
    part: Part,
    name: Name,
    bytes: u64,
    /// Ordinals of the messages.
    held: BTreeSet<u32>,
}

impl Row {
    /// Its places in the orders by messages and by bytes.
    fn keys(&self, id: u32) -> (Key, Key) {
        let oldest = Reverse(self.held.first().copied().unwrap_or(u32::MAX));
        ((self.held.len() as u64, oldest, id), (self.bytes, oldest, id))
    }
}

/// All holders, ordered by what they hold; of equal ones the one with the oldest message is the
/// larger.
#[derive(Debug, Default)]
pub(super) struct Holders {
    ids: HashMap<(Part, Name), u32>,
    rows: HashMap<u32, Row>,
    next: u32,
    by_messages: BTreeSet<Key>,
    by_bytes: BTreeSet<Key>,
}

impl Holders {
    fn change(&mut self, id: u32, change: impl FnOnce(&mut Row)) {
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        let (messages, bytes) = row.keys(id);
        self.by_messages.remove(&messages);
        self.by_bytes.remove(&bytes);
        change(row);
        if row.held.is_empty() {
            if let Some(row) = self.rows.remove(&id) {
                self.ids.remove(&(row.part, row.name));
            }
        } else {
            let (messages, bytes) = row.keys(id);
            self.by_messages.insert(messages);
            self.by_bytes.insert(bytes);
        }
    }

    /// `name` holds one more message.
    pub(super) fn add(&mut self, part: Part, name: Name, ordinal: u32, bytes: u64) {
        let id = *self.ids.entry((part, name)).or_insert_with(|| {
            self.next = self.next.wrapping_add(1);
            self.next
        });
        self.rows.entry(id).or_insert_with(|| Row { part, name, bytes: 0, held: BTreeSet::new() });
        self.change(id, |row| {
            row.held.insert(ordinal);
            row.bytes += bytes;
        });
    }

    pub(super) fn remove(&mut self, part: Part, name: Name, ordinal: u32, bytes: u64) {
        if let Some(id) = self.ids.get(&(part, name)).copied() {
            self.change(id, |row| {
                row.held.remove(&ordinal);
                row.bytes = row.bytes.saturating_sub(bytes);
            });
        }
    }

    /// The oldest message of the largest holder that has more than `share` and more than one
    /// message.
    pub(super) fn oldest_of_largest(&self, measure: Measure, share: u64) -> Option<u32> {
        let order = match measure {
            Measure::Messages => &self.by_messages,
            Measure::Bytes => &self.by_bytes,
        };
        order
            .iter()
            .rev()
            .take_while(|(amount, _, _)| *amount > share)
            .filter_map(|(_, _, id)| self.rows.get(id))
            .find(|row| row.held.len() > 1)
            .and_then(|row| row.held.first().copied())
    }

    /// The oldest message of this holder, if it holds more than `share` and more than one message.
    pub(super) fn oldest_if_over(&self, part: Part, name: Name, measure: Measure, share: u64) -> Option<u32> {
        let row = self.rows.get(self.ids.get(&(part, name))?)?;
        let amount = match measure {
            Measure::Messages => row.held.len() as u64,
            Measure::Bytes => row.bytes,
        };
        if amount > share && row.held.len() > 1 { row.held.first().copied() } else { None }
    }

    /// The messages of one holder, oldest first.
    pub(super) fn held(&self, part: Part, name: Name) -> Vec<u32> {
        self.ids
            .get(&(part, name))
            .and_then(|id| self.rows.get(id))
            .map(|row| row.held.iter().copied().collect())
            .unwrap_or_default()
    }

    pub(super) fn renumber(&mut self, to: impl Fn(u32) -> Option<u32>) {
        self.by_messages.clear();
        self.by_bytes.clear();
        for (id, row) in &mut self.rows {
            row.held = row.held.iter().filter_map(|o| to(*o)).collect();
            let (messages, bytes) = row.keys(*id);
            self.by_messages.insert(messages);
            self.by_bytes.insert(bytes);
        }
    }
    /// Bytes in memory, about: the trees hold what they hold in nodes two thirds full.
    pub(super) fn memory_bytes(&self) -> usize {
        let held: usize = self.rows.values().map(|row| row.held.len() * 6).sum();
        let each = size_of::<Row>() + 2 * size_of::<Key>() * 3 / 2 + 48;
        self.rows.len() * each + held
    }
}
