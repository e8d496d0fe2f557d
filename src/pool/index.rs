//! Words to messages: the inverted index that nominates what is worth compressing.

use super::slots::Slots;
use std::collections::HashMap;

/// How many distinct words of one message are indexed, the first ones. A page has about 300.
pub(super) const MAX_WORDS: usize = 8192;

/// How many postings of a long list are looked at for counting authors.
const SAMPLE: usize = 128;

#[derive(Debug, Default)]
struct Postings {
    /// Ordinals, ascending; some may be of messages that are gone.
    ordinals: Vec<u32>,
    /// How many of them are not.
    live: usize,
}

/// How common a word is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// About how many authors use it. Messages are not counted: nobody can make the words of
    /// others worthless by repeating them.
    pub(super) authors: f64,
    /// Σ √(messages of the author with this word): for the order of rarity, which has to mean
    /// something in a pool with a single author (an archive) as well.
    pub(super) weight: f64,
}

/// Postings over the messages of one scope.
#[derive(Debug, Default)]
pub(super) struct Index {
    postings: HashMap<u64, Postings>,
    /// How many messages each author has here.
    authors: HashMap<u32, u32>,
    /// Σ √(messages of an author): see [`Usage::weight`].
    weight: f64,
    messages: usize,
    words: u64,
}

impl Index {
    /// A new message with these distinct words. Ordinals must ascend.
    pub(super) fn add(&mut self, ordinal: u32, author: u32, words: &[u64]) {
        for word in words {
            let list = self.postings.entry(*word).or_default();
            list.ordinals.push(ordinal);
            list.live += 1;
        }
        let n = self.authors.entry(author).or_default();
        self.weight += f64::from(*n + 1).sqrt() - f64::from(*n).sqrt();
        *n += 1;
        self.messages += 1;
        self.words += words.len() as u64;
    }

    /// A message is gone; `slots` knows it no more.
    pub(super) fn remove(&mut self, author: u32, words: &[u64], slots: &Slots) {
        for word in words {
            let Some(list) = self.postings.get_mut(word) else {
                continue;
            };
            list.live = list.live.saturating_sub(1);
            if list.live == 0 {
                self.postings.remove(word);
            } else if list.ordinals.len() > 2 * list.live + 8 {
                list.ordinals.retain(|o| slots.is_live(*o));
            }
        }
        if let Some(n) = self.authors.get_mut(&author) {
            self.weight += f64::from(n.saturating_sub(1)).sqrt() - f64::from(*n).sqrt();
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.authors.remove(&author);
            }
        }
        self.messages = self.messages.saturating_sub(1);
        self.words = self.words.saturating_sub(words.len() as u64);
        if self.messages == 0 {
            self.weight = 0.0;
        }
    }

    /// Every ordinal gets the number that `to` gives it; `None` is dropped. `to` must ascend.
    pub(super) fn renumber(&mut self, to: impl Fn(u32) -> Option<u32>) {
        for list in self.postings.values_mut() {
            list.ordinals = list.ordinals.iter().filter_map(|o| to(*o)).collect();
        }
    }

    /// How many live messages have this word.
    pub(super) fn count(&self, word: u64) -> usize {
        self.postings.get(&word).map_or(0, |list| list.live)
    }

    /// The live messages that have this word, newest first.
    pub(super) fn newest<'a>(&'a self, word: u64, slots: &'a Slots) -> impl Iterator<Item = u32> + 'a {
        let list = self.postings.get(&word).map_or(&[][..], |list| &list.ordinals);
        list.iter().rev().copied().filter(|o| slots.is_live(*o))
    }

    /// How common a word is, from the authors of a sample of its messages.
    pub(super) fn usage(&self, word: u64, slots: &Slots) -> Usage {
        let Some(list) = self.postings.get(&word) else {
            return Usage::default();
        };
        if list.live == 1 {
            return Usage { authors: 1.0, weight: 1.0 };
        }
        let step = list.ordinals.len().div_ceil(SAMPLE).max(1);
        let mut seen = 0_usize;
        let mut authors: HashMap<u32, u32> = HashMap::with_capacity(SAMPLE.min(list.live));
        for ordinal in list.ordinals.iter().step_by(step) {
            if let Some(author) = slots.author(*ordinal) {
                *authors.entry(author).or_default() += 1;
                seen += 1;
            }
        }
        let live = list.live as f64;
        if seen == 0 {
            return Usage { authors: live, weight: live };
        }
        let scale = live / seen as f64;
        // Summed in an order of their own: addition of floats depends on the order.
        let mut counts: Vec<u32> = authors.into_values().collect();
        counts.sort_unstable();
        let once = counts.iter().filter(|n| **n == 1).count();
        let sample: f64 = counts.iter().map(|n| f64::from(*n).sqrt()).sum();
        Usage {
            // Who appears twice in a sample is one of few; who appears once stands for many.
            authors: (counts.len() - once) as f64 + once as f64 * scale,
            weight: sample * scale,
        }
    }

    /// How many authors there are.
    pub(super) fn authors(&self) -> usize {
        self.authors.len()
    }

    /// What [`Usage::weight`] of a word that every message has would be.
    pub(super) fn weight(&self) -> f64 {
        self.weight
    }

    /// Mean number of distinct words of a message, at least 1.
    pub(super) fn mean_words(&self) -> f64 {
        if self.messages == 0 { 1.0 } else { (self.words as f64 / self.messages as f64).max(1.0) }
    }
}
