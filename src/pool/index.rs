//! Words to messages: the dictionary, and for each word its postings and how common it is.
//!
//! A message that goes leaves its postings behind, as the words of it are not known any more.
//! Whoever reads skips them, and [`Index::sweep`] removes them, a part of the dictionary at a
//! time, so that nobody waits for it.

use super::names::Name;
use super::postings::{List, MAX_COUNT, Postings};
use super::prior;
use crate::distance::WordModel;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

/// Parts of the dictionary: what is swept, or grows, at once. A power of two.
const PARTS: usize = 4096;

/// What a message weighs in the word model that is the first one of its author.
const FULL_WEIGHT: u32 = 64;

/// Of a word in so many sections peers' sums are kept.
pub(super) const MANY: u32 = 64;

/// So many occurrences of a word in one section count in the word model: a message that repeats
/// a word does not make it worthless.
const TIMES: u8 = 8;

/// The weight of an author's n-th message in the word model: √n of his messages are counted, so
/// that nobody makes others' words worthless by repeating them, and an archive with a single
/// author still has frequent and rare words.
pub(super) fn weight(n: u32) -> u8 {
    let weight = (f64::from(FULL_WEIGHT) / f64::from(n.max(1)).sqrt()).round();
    // From 1 to 64.
    (1..=u8::MAX).rev().find(|w| f64::from(*w) <= weight).unwrap_or(1)
}

/// A word of the dictionary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    /// Its occurrences, each as heavy as its message.
    pub(super) mass: u32,
    /// The sections of messages that have it, those not swept yet included.
    pub(super) sections: u32,
    list: List,
}

/// Words are hashed already; the multiplier is drawn when the program starts, so that nobody can
/// write words that all want the same place.
#[derive(Clone, Copy, Default)]
pub(super) struct Spread(u64);

static MULTIPLIER: LazyLock<u64> = LazyLock::new(|| {
    use std::hash::BuildHasher;
    RandomState::new().hash_one(0_u8) | 1
});

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(*MULTIPLIER);
        }
    }

    fn write_u32(&mut self, tag: u32) {
        self.write_u64(u64::from(tag) | 1 << 32);
    }

    fn write_u64(&mut self, word: u64) {
        let spread = word.wrapping_mul(*MULTIPLIER);
        self.0 = spread ^ (spread >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Part = HashMap<u32, Term, BuildHasherDefault<Spread>>;

/// What a word weighs that a section of a message of this weight has so often.
fn mass_of(weight: u8, count: u8) -> u32 {
    u32::from(weight) * u32::from(count.min(TIMES))
}

/// The index of the messages of one scope.
#[derive(Debug)]
pub(super) struct Index {
    parts: Vec<Part>,
    postings: Postings,
    /// The sum of all words' masses.
    mass: u64,
    terms: u64,
    messages: usize,
    /// The sum of their weights.
    weight: u64,
    /// How many of them each author has.
    authors: HashMap<Name, u32>,
    /// Messages that are gone and not yet swept.
    gone: usize,
    /// The part that is swept next, while a round is under way.
    round: Option<usize>,
    /// How many were gone when the round began.
    gone_before: usize,
}

impl Default for Index {
    fn default() -> Self {
        Index {
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            postings: Postings::default(),
            mass: 0,
            terms: 0,
            messages: 0,
            weight: 0,
            authors: HashMap::new(),
            gone: 0,
            round: None,
            gone_before: 0,
        }
    }
}

/// The part, and the name within it. Two words of the same 44 bits are one.
fn place(word: u64) -> (usize, u32) {
    let part = usize::try_from(word >> 52).unwrap_or(0) & (PARTS - 1);
    (part, u32::try_from(word & 0xffff_ffff).unwrap_or(0))
}

impl Term {
    /// Its occurrences, in those of messages of authors with one.
    pub(super) fn occurrences(&self) -> f64 {
        f64::from(self.mass) / f64::from(FULL_WEIGHT)
    }
}

impl Index {
    /// A new message of this author, and its weight; [`Index::add`] follows.
    pub(super) fn admit(&mut self, author: Name) -> u8 {
        let held = self.authors.entry(author).or_default();
        *held += 1;
        let weight = weight(*held);
        self.messages += 1;
        self.weight += u64::from(weight);
        weight
    }

    /// The words of a section of a message of this weight. Ordinals must ascend. `many` gets each
    /// word that many sections have, how often it is here, and whether they are many since now. The
    /// answer is what it costs to code it by what was here before, in bits.
    pub(super) fn add(
        &mut self,
        ordinal: u32,
        weight: u8,
        words: &[(u64, u32)],
        mut many: impl FnMut(u64, u8, bool),
    ) -> f64 {
        let scale = Model::new(self, None).scale;
        // Looking up first lets the memory answer for many words at once.
        let found: Vec<Option<Term>> = words.iter().map(|(word, _)| self.term(*word).copied()).collect();
        let ready = found.iter().flatten().fold(0, |sum: u8, term| sum ^ self.postings.touch(term.list));
        let _ready = std::hint::black_box(ready);
        let mut bits = 0.0;
        for ((word, count), found) in words.iter().zip(&found) {
            let times = f64::from(*count);
            let count = u8::try_from(*count).unwrap_or(MAX_COUNT).max(1);
            let mass = mass_of(weight, count);
            let known = found.map(|term| f64::from(term.mass)).or(prior::is_common(*word).then_some(0.0));
            bits += word_bits(known.map(|mass| of_mass(*word, mass) * scale), times);
            let (part, tag) = place(*word);
            let Some(part) = self.parts.get_mut(part) else { continue };
            match part.get_mut(&tag) {
                Some(term) => {
                    if !self.postings.push(&mut term.list, ordinal, count) {
                        continue;
                    }
                    term.sections = term.sections.saturating_add(1);
                    term.mass = term.mass.saturating_add(mass);
                    if term.sections >= MANY {
                        many(*word, count, term.sections == MANY);
                    }
                }
                None => {
                    part.insert(tag, Term { mass, sections: 1, list: List::new(ordinal, count) });
                    self.terms += 1;
                }
            }
            self.mass += u64::from(mass);
        }
        bits
    }

    /// A message of this author is gone.
    pub(super) fn remove(&mut self, author: Name, weight: u8) {
        self.weight = self.weight.saturating_sub(u64::from(weight));
        if let Some(held) = self.authors.get_mut(&author) {
            *held -= 1;
            if *held == 0 {
                self.authors.remove(&author);
            }
        }
        self.messages = self.messages.saturating_sub(1);
        self.gone += 1;
    }

    /// Whether so many messages are gone that a round of sweeping is worth while, and none is under
    /// way.
    pub(super) fn is_littered(&self) -> bool {
        self.round.is_none() && self.gone * 8 > self.messages + 512
    }

    /// Whether something is left of messages that are gone, and no round is under way.
    pub(super) fn is_unswept(&self) -> bool {
        self.round.is_none() && self.gone > 0
    }

    /// A round of sweeping begins. So much weigh all messages now, each as if those that are gone
    /// had never been: what a word weighs follows part by part.
    pub(super) fn begin(&mut self, weight: u64) {
        self.round = Some(0);
        self.gone_before = self.gone;
        self.weight = weight;
    }

    /// Goes on with a round of sweeping, if one is under way. `still` gives the weight of messages
    /// that are not gone.
    pub(super) fn tidy(&mut self, still: impl Fn(u32) -> Option<u8>) {
        // A round is over before as many again are gone.
        let steps = 1 + PARTS * 16 / (self.messages + 64);
        for _ in 0..steps.min(PARTS) {
            if !self.step(&still) {
                break;
            }
        }
    }

    fn step(&mut self, still: impl Fn(u32) -> Option<u8>) -> bool {
        let Some(part) = self.round else { return false };
        self.rewrite(part, |ordinal| Some((ordinal, still(ordinal)?)));
        if part + 1 < PARTS {
            self.round = Some(part + 1);
            return true;
        }
        self.round = None;
        self.gone = self.gone.saturating_sub(self.gone_before);
        false
    }

    /// Goes on removing what is left of messages that are gone, more of it than
    /// [`Index::tidy`]. Whether there is more.
    pub(super) fn sweep(&mut self, still: impl Fn(u32) -> Option<u8>) -> bool {
        (0..64).all(|_| self.step(&still)) || self.gone > 0
    }

    /// Every ordinal gets the number that `to` gives it, with its weight; `None` is dropped. `to`
    /// must ascend.
    pub(super) fn renumber(&mut self, to: impl Fn(u32) -> Option<(u32, u8)>) {
        for part in 0..PARTS {
            self.rewrite(part, &to);
        }
        self.round = None;
        self.gone = 0;
    }

    fn rewrite(&mut self, part: usize, to: impl Fn(u32) -> Option<(u32, u8)>) {
        let Some(terms) = self.parts.get_mut(part) else { return };
        let before = terms.len();
        let mut old: Vec<(u32, u8)> = Vec::new();
        terms.retain(|_, term| {
            old.clear();
            let (mut same, mut mass) = (true, 0_u32);
            self.postings.each(term.list, usize::MAX, |ordinal, count| {
                let new = to(ordinal);
                same &= new.is_some_and(|(new, _)| new == ordinal);
                mass = mass.saturating_add(mass_of(new.map_or(0, |(_, weight)| weight), count));
                old.push((ordinal, count));
            });
            if same {
                self.mass = self.mass.saturating_sub(u64::from(term.mass)) + u64::from(mass);
                term.mass = mass;
                return true;
            }
            // Blocks come newest first.
            old.sort_unstable();
            self.postings.release(term.list);
            self.mass -= u64::from(term.mass).min(self.mass);
            let mut new: Option<Term> = None;
            for (ordinal, count) in &old {
                let Some((ordinal, weight)) = to(*ordinal) else { continue };
                let mass = mass_of(weight, *count);
                match &mut new {
                    None => new = Some(Term { mass, sections: 1, list: List::new(ordinal, *count) }),
                    Some(term) => {
                        if self.postings.push(&mut term.list, ordinal, *count) {
                            term.sections += 1;
                            term.mass = term.mass.saturating_add(mass);
                        }
                    }
                }
            }
            if let Some(new) = new {
                self.mass += u64::from(new.mass);
                *term = new;
            }
            new.is_some()
        });
        if terms.capacity() > 4 * terms.len() + 16 {
            terms.shrink_to_fit();
        }
        self.terms -= (before - terms.len()) as u64;
    }

    /// What is known about a word.
    pub(super) fn term(&self, word: u64) -> Option<&Term> {
        let (part, tag) = place(word);
        self.parts.get(part)?.get(&tag)
    }

    /// The messages with a word, newest first, as far as whole blocks within a budget, those that
    /// are gone included.
    pub(super) fn newest(&self, term: &Term, budget: usize, found: impl FnMut(u32, u8)) -> usize {
        self.postings.each(term.list, budget, found)
    }

    /// How often these messages, in ascending order, have a word: index and count of those that do.
    pub(super) fn counts(&self, term: &Term, messages: &[u32], found: impl FnMut(usize, u8)) {
        self.postings.find(term.list, messages, found);
    }

    /// How many messages are here.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// The sum of the weights of all messages, in messages of authors with one.
    pub(super) fn weight(&self) -> f64 {
        self.weight as f64 / f64::from(FULL_WEIGHT)
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        // A place of a hash table is its key, its value and a byte; one in eight stays free.
        let places: usize = self.parts.iter().map(|part| part.capacity() * 8 / 7).sum();
        places * (size_of::<(u32, Term)>() + 1)
            + PARTS * size_of::<Part>()
            + self.postings.memory_bytes()
            + self.authors.capacity() * 10
    }
}

/// What it costs to code a word of this probability that occurs so many times, in bits; `None` is
/// a word that has to be spelled.
pub(super) fn word_bits(p: Option<f64>, times: f64) -> f64 {
    SPACE * times + REPEATED * (times - 1.0) + p.map_or(SPELLED, |p| -p.log2())
}

/// What stands between words, a word that X had before, a word that is new: in bits.
const SPACE: f64 = 1.0;
const REPEATED: f64 = 6.0;
const SPELLED: f64 = 24.0;

/// How often a word occurs, with the prior.
fn of_mass(word: u64, mass: f64) -> f64 {
    (mass / f64::from(FULL_WEIGHT) + prior::mass(word)).max(NEVER_SEEN)
}

/// A word that was never seen is as likely as if it had been seen so often.
const NEVER_SEEN: f64 = 0.5;

/// The word model of one or two indexes together, on the ground of [`prior`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Model<'a> {
    indexes: [Option<&'a Index>; 2],
    /// 1 / the mass of all of it.
    scale: f64,
    /// The mass of words that were never seen.
    unseen: f64,
}

impl<'a> Model<'a> {
    pub(super) fn new(public: &'a Index, local: Option<&'a Index>) -> Self {
        let indexes = [Some(public), local];
        let sum = |of: fn(&Index) -> u64| indexes.iter().flatten().map(|i| of(i) as f64).sum::<f64>();
        let full = f64::from(FULL_WEIGHT);
        let seen = sum(|i| i.mass) / full + prior::MASS;
        // As often as a word was new before, the next one is (Witten and Bell's method C).
        let unseen = sum(|i| i.terms) + prior::UNSEEN;
        Model { indexes, scale: 1.0 / (seen + unseen), unseen }
    }

    pub(super) fn indexes(&self) -> impl Iterator<Item = &'a Index> {
        self.indexes.into_iter().flatten()
    }

    /// p_pool of a word that has these terms.
    pub(super) fn of_terms(&self, word: u64, terms: &[Option<Term>]) -> f64 {
        of_mass(word, terms.iter().flatten().map(|term| f64::from(term.mass)).sum()) * self.scale
    }
}

impl WordModel for Model<'_> {
    fn probability(&self, word: u64) -> f64 {
        self.known(word).unwrap_or(NEVER_SEEN * self.scale)
    }

    fn known(&self, word: u64) -> Option<f64> {
        let mut terms = [None; 2];
        for (to, index) in terms.iter_mut().zip(self.indexes()) {
            *to = index.term(word).copied();
        }
        let is_known = terms.iter().any(Option::is_some) || prior::is_common(word);
        is_known.then(|| self.of_terms(word, &terms))
    }

    fn escape(&self) -> f64 {
        self.unseen * self.scale
    }
}
