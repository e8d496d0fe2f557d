//! Words that can be told by a number: the pool's, with the text of each, and those of Y.

use super::counts::{COUNTED_BYTES, Slots, WordModel, word_counts};
use super::range::{Channel, MOST, Table};
use super::tokens::{each_token, fold, word_hash};
use std::collections::{HashMap, HashSet};

/// A word model that can spell its words, so that what was coded with it can be decoded.
pub trait Lexicon: WordModel {
    /// The words that [`WordModel::known`] knows, as [`fold`] writes them, always in the same
    /// order, each once, none empty.
    fn spellings(&self) -> Vec<&[u8]>;
}

impl<L: Lexicon + ?Sized> Lexicon for &L {
    fn spellings(&self) -> Vec<&[u8]> {
        (**self).spellings()
    }
}

impl<M: WordModel + ?Sized> WordModel for &M {
    fn probability(&self, hash: u64) -> f64 {
        (**self).probability(hash)
    }

    fn known(&self, hash: u64) -> Option<f64> {
        (**self).known(hash)
    }

    fn escape(&self) -> f64 {
        (**self).escape()
    }
}

/// What one word that a [`Vocabulary`] doesn't know gets of the probability of all of them.
const UNKNOWN_SHARE: f64 = 1.0 / 1_048_576.0;

/// The word model of some texts: p(w) = n(w)/(N+D), where D of N words were different; a word
/// that is none of them has D/(N+D) (I. H. Witten and T. C. Bell, 1991, method C).
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    slots: Slots,
    hashes: Vec<u64>,
    words: Vec<(Vec<u8>, u64)>,
    total: u64,
}

impl Vocabulary {
    /// Counts the words of the texts, all of each.
    pub fn of<'t>(texts: impl IntoIterator<Item = &'t [u8]>) -> Self {
        let mut vocabulary = Vocabulary::default();

        for text in texts {
            vocabulary.add(text);
        }
        vocabulary
    }

    /// Counts the words of another text.
    pub fn add(&mut self, text: &[u8]) {
        each_token(text, |token| {
            let hashes = &self.hashes;
            let index = self.slots.find(token.hash, |i| hashes.get(i).copied());
            match self.words.get_mut(index) {
                Some((_, count)) => *count += 1,
                None => {
                    self.hashes.push(token.hash);
                    self.words.push((fold(token.kind, token.of(text)), 1));
                }
            }
            self.total += 1;
            true
        });
    }

    fn all(&self) -> f64 {
        (self.total + self.words.len() as u64).max(1) as f64
    }
}

impl WordModel for Vocabulary {
    fn probability(&self, hash: u64) -> f64 {
        self.known(hash).unwrap_or(self.escape() * UNKNOWN_SHARE)
    }

    fn known(&self, hash: u64) -> Option<f64> {
        let (_, count) = self.words.get(self.slots.get(hash, |i| self.hashes.get(i).copied())?)?;
        Some(*count as f64 / self.all())
    }

    fn escape(&self) -> f64 {
        if self.words.is_empty() { 1.0 } else { self.words.len() as f64 / self.all() }
    }
}

impl Lexicon for Vocabulary {
    fn spellings(&self) -> Vec<&[u8]> {
        self.words.iter().map(|(word, _)| word.as_slice()).collect()
    }
}

/// How a word that is new in X was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drawn {
    /// By its number, which means this word (nothing if the lengths are only computed).
    Told(usize),
    /// As one that has no number; its letters follow.
    ToSpell,
}

/// Where words come from that are new in X.
pub(super) trait Draw<C: Channel> {
    /// Codes the word, or that it has none. `with_y`: whether Y is asked too.
    fn draw(&self, hash: u64, with_y: bool, channel: &mut C) -> Drawn;
}

/// All words that have a number, with and without Y, as shares of [`MOST`].
#[derive(Debug)]
pub(super) struct Codebook {
    index: HashMap<u64, usize>,
    words: Vec<(u64, Vec<u8>)>,
    plain: Shares,
    with_y: Shares,
}

/// Sums of shares; the one after the last word is the escape's.
#[derive(Debug, Default)]
struct Shares(Vec<u64>);

impl Codebook {
    /// `None` if the model's probabilities are more than 1 together.
    pub(super) fn new(model: &impl Lexicon, y: &[u8], lambda: f64) -> Option<Codebook> {
        let counts = word_counts(y);
        let in_y: HashMap<u64, u32> = counts.words.iter().copied().collect();
        let mut words: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut seen = HashSet::new();
        for spelling in model.spellings() {
            let hash = word_hash(spelling);
            if !spelling.is_empty() && model.known(hash).is_some() && seen.insert(hash) {
                words.push((hash, spelling.to_vec()));
            }
        }
        let of_the_pool = words.len();
        each_token(y, |token| {
            if in_y.contains_key(&token.hash) && seen.insert(token.hash) {
                words.push((token.hash, fold(token.kind, token.of(y))));
            }
            token.start < COUNTED_BYTES
        });
        let (mut plain, mut with_y) = (Shares::default(), Shares::default());
        // What words that only Y has get from the pool's model is taken from the unknown ones.
        let mut escape = (1.0 - lambda) * model.escape();
        let escape_plain = escape;
        for (index, (hash, _)) in words.iter().enumerate() {
            let pool = (1.0 - lambda) * model.probability(*hash);
            let count = in_y.get(hash).copied().unwrap_or(0);
            if index < of_the_pool {
                plain.push(pool);
            } else {
                plain.push(0.0);
                escape -= pool;
            }
            with_y.push(pool + lambda * f64::from(count) / counts.total.max(1) as f64);
        }
        plain.push(escape_plain);
        with_y.push(escape.max(f64::MIN_POSITIVE));
        let index = words.iter().enumerate().map(|(index, (hash, _))| (*hash, index)).collect();
        (plain.sum() <= MOST && with_y.sum() <= MOST).then_some(Codebook { index, words, plain, with_y })
    }

    pub(super) fn word(&self, index: usize) -> Option<(u64, &[u8])> {
        self.words.get(index).map(|(hash, word)| (*hash, word.as_slice()))
    }

    pub(super) fn words(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.words.iter().map(|(hash, word)| (*hash, word.as_slice()))
    }
}

impl<C: Channel> Draw<C> for Codebook {
    fn draw(&self, hash: u64, with_y: bool, channel: &mut C) -> Drawn {
        let shares = if with_y { &self.with_y } else { &self.plain };
        let escape = self.words.len();
        let wanted = self.index.get(&hash).copied().filter(|i| shares.size(*i) > 0).unwrap_or(escape);
        match channel.symbol(wanted, shares) {
            told if told < escape => Drawn::Told(told),
            _ => Drawn::ToSpell,
        }
    }
}

/// Kept free, because shares are rounded, and none is less than 1.
const SLACK: u64 = MOST >> 16;

impl Shares {
    fn push(&mut self, probability: f64) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to MOST")]
        let share = (probability.clamp(0.0, 1.0) * (MOST - SLACK) as f64).round() as u64;
        let share = if probability > 0.0 { share.max(1) } else { 0 };
        self.0.push(self.sum().saturating_add(share));
    }

    fn sum(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }
}

impl Table for Shares {
    fn total(&self) -> u64 {
        MOST
    }

    fn size(&self, symbol: usize) -> u64 {
        self.0.get(symbol).map_or(0, |end| end - self.start(symbol))
    }

    fn start(&self, symbol: usize) -> u64 {
        symbol.checked_sub(1).and_then(|before| self.0.get(before)).copied().unwrap_or(0)
    }

    fn at(&self, point: u64) -> usize {
        // What is left over means nothing in a proper code, and here the escape.
        self.0.partition_point(|end| *end <= point).min(self.0.len().saturating_sub(1))
    }
}
