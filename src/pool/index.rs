//! Words to messages: the dictionary, and for each word its postings and how common it is.
//!
//! A message that goes leaves its postings behind, as the words of it are not known any more.
//! Whoever reads skips them, and [`Index::sweep`] removes them, a part of the dictionary at a
//! time, so that nobody waits for it.

pub(super) use super::dictionary::Term;

use super::codec::{Damaged, Reader, Writer};
use super::cut::Section;
use super::dictionary::{Dictionary, Found};
use super::names::Name;
use super::postings::{List, MAX_COUNT, Postings};
use super::prior;
use crate::distance::{WordCounts, WordModel};
use std::collections::HashMap;
use std::io;

/// A word in the dictionary, its place in a table that may just have grown.
const BYTES_OF_WORD: usize = 32;

/// What a message weighs in the word model that is the first one of its author.
const FULL_WEIGHT: u32 = 64;

/// Of a word in so many sections peers' sums are kept.
pub(super) const MANY: u32 = 32;

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

/// What a word weighs that a section of a message of this weight has so often.
fn mass_of(weight: u8, count: u8) -> u32 {
    u32::from(weight) * u32::from(count.min(TIMES))
}

/// The index of the messages of one scope.
#[derive(Debug)]
pub(super) struct Index {
    words: Dictionary,
    postings: Postings,
    /// The sum of all words' masses.
    mass: u64,
    messages: usize,
    /// The sum of their weights.
    weight: u64,
    /// How many of them each author has.
    authors: HashMap<Name, u32>,
    /// Messages that are gone and not yet swept.
    gone: usize,
    /// At most about so many words.
    most_words: usize,
    /// The part that is swept next, while a round is under way.
    round: Option<usize>,
    /// How many were gone when the round began.
    gone_before: usize,
}

impl Default for Index {
    fn default() -> Self {
        Index::new(u64::MAX)
    }
}

impl Term {
    /// Its occurrences, in those of messages of authors with one.
    pub(super) fn occurrences(&self) -> f64 {
        f64::from(self.mass) / f64::from(FULL_WEIGHT)
    }
}

impl Index {
    /// An empty index, whose dictionary has at most so many bytes.
    pub(super) fn new(dictionary_bytes: u64) -> Self {
        Index {
            words: Dictionary::new(dictionary_bytes),
            postings: Postings::default(),
            mass: 0,
            messages: 0,
            weight: 0,
            authors: HashMap::new(),
            gone: 0,
            most_words: usize::try_from(dictionary_bytes).unwrap_or(usize::MAX) / BYTES_OF_WORD,
            round: None,
            gone_before: 0,
        }
    }

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
    /// word that many sections have and not everybody uses, how often it is here, and whether they are many since now. The
    /// answer is what it costs to code it by what was here before, in bits.
    pub(super) fn add(
        &mut self,
        ordinal: u32,
        weight: u8,
        section: &Section,
        mut many: impl FnMut(u64, u8, bool),
    ) -> f64 {
        let Section { counts: WordCounts { words, .. }, priors } = section;
        let scale = Model::new(self, None).scale;
        // Looking up first lets the memory answer for many words at once.
        let ready = words.iter().fold(0, |sum, (word, _)| sum ^ self.words.touch(*word));
        let found: Vec<Option<Found>> = words.iter().map(|(word, _)| self.words.find(*word)).collect();
        let lists = found.iter().flatten().map(|found| found.term.list);
        let ready = lists.fold(ready, |sum, list| sum ^ u32::from(self.postings.touch(list)));
        let _ready = std::hint::black_box(ready);
        let mut cost = WordCost::default();
        for (((word, count), prior), found) in words.iter().zip(priors).zip(&found) {
            let times = f64::from(*count);
            let count = u8::try_from(*count).unwrap_or(MAX_COUNT).max(1);
            let mass = mass_of(weight, count);
            let known = found.map(|found| f64::from(found.term.mass)).or((*prior > 0.0).then_some(0.0));
            cost.add(known.map(|mass| of_mass(*prior, mass) * scale), times);
            match self.words.get_found(*word, found.as_ref()) {
                Some(term) => {
                    if !self.postings.push(&mut term.list, ordinal, count) {
                        continue;
                    }
                    term.sections = term.sections.saturating_add(1);
                    term.mass = term.mass.saturating_add(mass);
                    if term.sections >= MANY && *prior == 0.0 {
                        many(*word, count, term.sections == MANY);
                    }
                }
                None => {
                    let new = Term { mass, sections: 1, list: List::new(ordinal, count) };
                    let gone = if self.words.len() < self.most_words {
                        self.words.insert(*word, new);
                        0
                    } else if let Some(old) = self.words.displace(*word, new) {
                        u64::from(old.mass)
                    } else {
                        continue;
                    };
                    self.mass = self.mass.saturating_sub(gone);
                }
            }
            self.mass += u64::from(mass);
        }
        cost.bits()
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
        let parts = self.words.parts();
        let steps = 1 + parts * 16 / (self.messages + 64);
        for _ in 0..steps.min(parts) {
            if !self.step(&still) {
                break;
            }
        }
    }

    fn step(&mut self, still: impl Fn(u32) -> Option<u8>) -> bool {
        let Some(part) = self.round else { return false };
        self.rewrite(part, |ordinal| Some((ordinal, still(ordinal)?)));
        if part + 1 < self.words.parts() {
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
        for part in 0..self.words.parts() {
            self.rewrite(part, &to);
        }
        self.round = None;
        self.gone = 0;
    }

    fn rewrite(&mut self, part: usize, to: impl Fn(u32) -> Option<(u32, u8)>) {
        let mut old: Vec<(u32, u8)> = Vec::new();
        let Index { words, postings, mass: all, .. } = self;
        words.retain(part, |term| {
            old.clear();
            let (mut same, mut mass) = (true, 0_u32);
            postings.each(term.list, usize::MAX, |ordinal, count| {
                let new = to(ordinal);
                same &= new.is_some_and(|(new, _)| new == ordinal);
                mass = mass.saturating_add(mass_of(new.map_or(0, |(_, weight)| weight), count));
                old.push((ordinal, count));
            });
            if same {
                *all = all.saturating_sub(u64::from(term.mass)) + u64::from(mass);
                term.mass = mass;
                return true;
            }
            // Blocks come newest first.
            old.sort_unstable();
            postings.release(term.list);
            *all -= u64::from(term.mass).min(*all);
            let mut new: Option<Term> = None;
            for (ordinal, count) in &old {
                let Some((ordinal, weight)) = to(*ordinal) else { continue };
                let mass = mass_of(weight, *count);
                match &mut new {
                    None => new = Some(Term { mass, sections: 1, list: List::new(ordinal, *count) }),
                    Some(term) => {
                        if postings.push(&mut term.list, ordinal, *count) {
                            term.sections += 1;
                            term.mass = term.mass.saturating_add(mass);
                        }
                    }
                }
            }
            if let Some(new) = new {
                *all += u64::from(new.mass);
                *term = new;
            }
            new.is_some()
        });
    }

    /// Reads where a word is looked for, so that it is at hand.
    pub(super) fn touch(&self, word: u64) -> u32 {
        self.words.touch(word)
    }

    /// Reads where the messages with a word are, so that it is at hand.
    pub(super) fn touch_list(&self, term: &Term) -> u8 {
        self.postings.touch(term.list)
    }

    /// What is known about a word.
    pub(super) fn term(&self, word: u64) -> Option<&Term> {
        self.words.get(word)
    }

    /// The messages with a word, newest first, as far as whole blocks within a budget, those that
    /// are gone included.
    pub(super) fn newest(&self, term: &Term, budget: usize, found: impl FnMut(u32, u8)) -> usize {
        self.postings.each(term.list, budget, found)
    }

    /// The same, or fewer if `found` says no.
    pub(super) fn newest_until(&self, term: &Term, budget: usize, found: impl FnMut(u32, u8) -> bool) {
        self.postings.each_until(term.list, budget, found);
    }

    /// How often these messages, in ascending order, have a word: index and count of those that do.
    /// The answer is how many postings were looked at.
    pub(super) fn counts(&self, term: &Term, messages: &[u32], found: impl FnMut(usize, u8)) -> usize {
        self.postings.find(term.list, messages, found)
    }

    /// How many messages are here.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// The sum of the weights of all messages, in messages of authors with one.
    pub(super) fn weight(&self) -> f64 {
        self.weight as f64 / f64::from(FULL_WEIGHT)
    }

    /// Bytes of the dictionary in memory.
    #[cfg(test)]
    pub(super) fn dictionary_bytes(&self) -> usize {
        self.words.memory_bytes()
    }

    /// Bytes in memory, of the dictionary and of the postings.
    pub(super) fn memory_parts(&self) -> (usize, usize) {
        (self.words.memory_bytes() + self.authors.capacity() * 10, self.postings.memory_bytes())
    }
}

impl Index {
    /// Writes all of it down, but for what the messages themselves tell.
    pub(super) fn save(&self, out: &mut Writer<'_>) -> io::Result<()> {
        for number in
            [self.mass, self.messages as u64, self.weight, self.gone as u64, self.gone_before as u64]
        {
            out.u64(number);
        }
        out.u64(self.round.map_or(0, |part| part as u64 + 1));
        out.end()?;
        self.words.save(out)?;
        self.postings.save(out)
    }

    /// What was written down. [`Index::known`] follows for every message.
    pub(super) fn load(input: &mut Reader<'_>, dictionary_bytes: u64) -> Result<Self, Damaged> {
        let mut index = Index::new(dictionary_bytes);
        input.next()?;
        index.mass = input.u64()?;
        index.messages = input.size()?;
        index.weight = input.u64()?;
        index.gone = input.size()?;
        index.gone_before = input.size()?;
        index.round = input.size()?.checked_sub(1);
        index.words = Dictionary::load(input)?;
        index.postings = Postings::load(input)?;
        Ok(index)
    }

    /// A message of this author is here.
    pub(super) fn known(&mut self, author: Name) {
        *self.authors.entry(author).or_default() += 1;
    }
}

/// What it costs to code words.
#[derive(Clone, Copy, Debug)]
pub(super) struct WordCost {
    bits: f64,
    /// The product of the words' probabilities: one logarithm for many of them.
    product: f64,
}

impl Default for WordCost {
    fn default() -> Self {
        WordCost { bits: 0.0, product: 1.0 }
    }
}

impl WordCost {
    /// One more word, of this probability, that occurs so many times; `None` is a word that has to be spelled.
    pub(super) fn add(&mut self, p: Option<f64>, times: f64) {
        self.bits += SPACE * times + REPEATED * (times - 1.0);
        match p {
            Some(p) => self.product *= p,
            None => self.bits += SPELLED,
        }
        // Far from where numbers end: no word is rarer than once in 10^18.
        if self.product < 1e-280 {
            *self = WordCost { bits: self.bits(), product: 1.0 };
        }
    }

    /// In bits.
    pub(super) fn bits(&self) -> f64 {
        self.bits - self.product.log2()
    }
}

/// What stands between words, a word that X had before, a word that is new: in bits.
const SPACE: f64 = 1.0;
const REPEATED: f64 = 6.0;
const SPELLED: f64 = 24.0;

/// How often a word occurs, with the prior.
fn of_mass(prior: f64, mass: f64) -> f64 {
    (mass / f64::from(FULL_WEIGHT) + prior).max(NEVER_SEEN)
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
        let unseen = sum(|i| i.words.len() as u64) + prior::UNSEEN;
        Model { indexes, scale: 1.0 / (seen + unseen), unseen }
    }

    pub(super) fn indexes(&self) -> impl Iterator<Item = &'a Index> {
        self.indexes.into_iter().flatten()
    }

    /// Reads where a word is looked for, so that it is at hand.
    pub(super) fn touch(&self, word: u64) -> u32 {
        self.indexes().fold(0, |sum, index| sum ^ index.touch(word))
    }

    /// p_pool of a word that has these terms, and occurs so often in the prior.
    pub(super) fn of_terms(&self, prior: f64, terms: &[Option<Term>]) -> f64 {
        of_mass(prior, terms.iter().flatten().map(|term| f64::from(term.mass)).sum()) * self.scale
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
        let prior = prior::mass(word);
        let is_known = terms.iter().any(Option::is_some) || prior > 0.0;
        is_known.then(|| self.of_terms(prior, &terms))
    }

    fn escape(&self) -> f64 {
        self.unseen * self.scale
    }
}
