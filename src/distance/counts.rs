//! The words of a text as counts, and the bits that one text's counts save on another.

use super::tokens::each_token;
use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;

/// [`word_counts`] looks at the words that begin within so many bytes from the beginning.
pub const COUNTED_BYTES: usize = 256 * 1024;
/// [`word_counts`] stops at the first word after so many distinct ones.
pub const COUNTED_WORDS: usize = 16 * 1024;

/// λ of [`word_gain_bits`]: how often the coder expects the next new word of X to come from Y.
pub const LAMBDA: f64 = 0.05;

/// Distinct words of a text in order of first appearance with their counts, and how many words
/// there are in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordCounts {
    /// Hash of the word ([`super::word_hash`]) and how often it occurs.
    pub words: Vec<(u64, u32)>,
    /// The sum of the counts.
    pub total: u64,
}

impl WordCounts {
    /// How often the word occurs; looks through all of them.
    #[must_use]
    pub fn count(&self, hash: u64) -> u32 {
        self.words.iter().find(|(h, _)| *h == hash).map_or(0, |(_, n)| *n)
    }
}

/// What the pool knows about words.
///
/// Probabilities are those of the next word of some message, of which nothing is known but the
/// pool that it comes to. Together they are at most 1, the words that the model doesn't know
/// ([`WordModel::escape`]) included.
pub trait WordModel {
    /// p_pool(w): above 0 for every word, those unknown included.
    fn probability(&self, hash: u64) -> f64;

    /// p_pool(w) of a word that the model knows, `None` for one that has to be spelled. Without
    /// an implementation all words count as known.
    fn known(&self, hash: u64) -> Option<f64> {
        Some(self.probability(hash))
    }

    /// The probability that a word is unknown to the model.
    fn escape(&self) -> f64 {
        1.0 / 64.0
    }
}

/// The words of a text, within [`COUNTED_BYTES`] and [`COUNTED_WORDS`].
#[must_use]
pub fn word_counts(text: &[u8]) -> WordCounts {
    word_counts_with(text, |_, _| {})
}

/// As [`word_counts`]; `each` gets every occurrence as the index of its word among the distinct
/// ones and its first byte's place in the text, in the order of the text.
pub fn word_counts_with(text: &[u8], mut each: impl FnMut(u32, usize)) -> WordCounts {
    thread_local! {
        static TABLE: RefCell<Slots> = RefCell::new(Slots::default());
    }
    TABLE.with_borrow_mut(|slots| {
        slots.clear(text.len().min(COUNTED_BYTES) / 8);
        let mut counts =
            WordCounts { words: Vec::with_capacity(text.len().min(COUNTED_BYTES) / 10), total: 0 };
        each_token(text, |token| {
            if token.start >= COUNTED_BYTES {
                return false;
            }
            let index = slots.find(token.hash, |index| counts.words.get(index).map(|(hash, _)| *hash));
            match counts.words.get_mut(index) {
                Some((_, n)) => *n += 1,
                None if index >= COUNTED_WORDS => return false,
                None => counts.words.push((token.hash, 1)),
            }
            counts.total += 1;
            each(u32::try_from(index).unwrap_or(u32::MAX), token.start);
            true
        });
        counts
    })
}

/// Hashes, each once, in the order in which they first come. Nobody can choose hashes for which it takes long.
#[must_use]
pub fn distinct(mut hashes: Vec<u64>) -> Vec<u64> {
    thread_local! {
        static TABLE: RefCell<Slots> = RefCell::new(Slots::default());
    }
    TABLE.with_borrow_mut(|slots| {
        slots.clear(hashes.len());
        let mut kept: Vec<u64> = Vec::with_capacity(hashes.len());
        for hash in hashes.drain(..) {
            if slots.find(hash, |index| kept.get(index).copied()) == kept.len() {
                kept.push(hash);
            }
        }
        kept
    })
}

/// gain(X|Y): the bits that Y's counts save when X is coded (see [`super::WordCoder`]).
///
/// Σ over the distinct words w of X of log2(1 + λ·n_Y(w) / ((1−λ)·N_Y·p_pool(w))).
#[must_use]
pub fn word_gain_bits(x: &WordCounts, y: &WordCounts, model: &dyn WordModel, lambda: f64) -> f64 {
    let mut slots = Slots::default();
    slots.fill(y.words.iter().map(|(hash, _)| *hash), |i| y.words.get(i).map(|(hash, _)| *hash));
    x.words
        .iter()
        .filter_map(|(hash, _)| {
            let at = |index: usize| y.words.get(index).map(|(hash, _)| *hash);
            let (_, count) = y.words.get(slots.get(*hash, at)?)?;
            let p_pool = model.probability(*hash);
            Some(word_gain_of(f64::from(*count), y.total as f64, p_pool, lambda))
        })
        .sum()
}

/// One word's term of [`word_gain_bits`]: log2(1 + λ·n_Y(w) / ((1−λ)·N_Y·p_pool(w))).
///
/// 0 when Y has no such word, or no words at all. `lambda` is between 0 and 1, `p_pool` above 0.
#[must_use]
pub fn word_gain_of(count_in_y: f64, total_y: f64, p_pool: f64, lambda: f64) -> f64 {
    if count_in_y <= 0.0 || total_y <= 0.0 || p_pool <= 0.0 {
        return 0.0;
    }
    (lambda * count_in_y / ((1.0 - lambda) * total_y * p_pool)).ln_1p() * std::f64::consts::LOG2_E
}

/// Where the words of a list are, by hash: open addressing in a table that is reused.
///
/// The place of a hash depends on a number drawn when the program starts, so that nobody can
/// write words that all want the same place. What is found doesn't depend on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    /// 0: free; else the index plus 1.
    places: Vec<u32>,
    used: usize,
    shift: u32,
    /// Places looked at, for the tests of what hostile input costs.
    pub(super) steps: u64,
}

static MULTIPLIER: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0_u8) | 1);

impl Slots {
    /// Forgets everything, and makes room for about so many.
    pub(super) fn clear(&mut self, expected: usize) {
        let size = (expected.max(32) * 2).next_power_of_two();
        self.places.clear();
        self.places.resize(size, 0);
        self.shift = 64 - size.trailing_zeros();
        self.used = 0;
    }

    /// Keeps the indices of these hashes, of which none comes twice.
    pub(super) fn fill(
        &mut self,
        hashes: impl ExactSizeIterator<Item = u64>,
        hash_at: impl Fn(usize) -> Option<u64>,
    ) {
        self.clear(hashes.len());
        for (index, hash) in hashes.enumerate() {
            self.find(hash, |i| hash_at(i).filter(|_| i < index));
        }
    }

    /// The index kept for the hash, if there is one. `hash_at` says whose hash an index has.
    pub(super) fn get(&self, hash: u64, hash_at: impl Fn(usize) -> Option<u64>) -> Option<usize> {
        let mut place = self.place(hash);
        loop {
            let index = (*self.places.get(place)?).checked_sub(1)? as usize;
            if hash_at(index) == Some(hash) {
                return Some(index);
            }
            place = (place + 1) & (self.places.len() - 1);
        }
    }

    /// The index kept for the hash, or the next free index, kept for it from now on.
    pub(super) fn find(&mut self, hash: u64, hash_at: impl Fn(usize) -> Option<u64>) -> usize {
        if self.used * 2 >= self.places.len() {
            self.grow(&hash_at);
        }
        let mut place = self.place(hash);
        loop {
            self.steps += 1;
            let Some(kept) = self.places.get_mut(place) else { return self.used };
            match kept.checked_sub(1) {
                None => {
                    self.used += 1;
                    *kept = u32::try_from(self.used).unwrap_or(0);
                    return self.used - 1;
                }
                Some(index) if hash_at(index as usize) == Some(hash) => return index as usize,
                Some(_) => place = (place + 1) & (self.places.len() - 1),
            }
        }
    }

    fn place(&self, hash: u64) -> usize {
        usize::try_from(hash.wrapping_mul(*MULTIPLIER) >> self.shift).unwrap_or(0)
    }

    fn grow(&mut self, hash_at: &impl Fn(usize) -> Option<u64>) {
        let used = self.used;
        let steps = self.steps;
        self.clear(self.places.len());
        self.steps = steps;
        for index in 0..used {
            let mut place = self.place(hash_at(index).unwrap_or(0));
            while let Some(kept) = self.places.get_mut(place) {
                if *kept == 0 {
                    *kept = u32::try_from(index + 1).unwrap_or(0);
                    break;
                }
                place = (place + 1) & (self.places.len() - 1);
            }
        }
        self.used = used;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    struct Flat(f64);

    impl WordModel for Flat {
        fn probability(&self, _: u64) -> f64 {
            self.0
        }
    }

    fn word(text: &str) -> u64 {
        tokens(text.as_bytes())[0].hash
    }

    #[test]
    fn counts_come_in_order_of_first_appearance() {
        let counts = word_counts(b"To be, or not to be");
        let expected = [("to", 2), ("be", 2), ("or", 1), ("not", 1)].map(|(w, n)| (word(w), n));
        assert_eq!(counts, WordCounts { words: expected.to_vec(), total: 6 });
        assert_eq!(counts.count(word("BE")), 2);
        assert_eq!(counts.count(word("bee")), 0);
        assert_eq!(word_counts(b" ... "), WordCounts::default());
    }

    #[test]
    fn a_huge_text_is_counted_up_to_the_bounds() {
        let same = "word ".repeat(COUNTED_BYTES);
        assert_eq!(word_counts(same.as_bytes()).total, COUNTED_BYTES.div_ceil(5) as u64);
        let different: String = (0..2 * COUNTED_WORDS).map(|i| format!("{i} ")).collect();
        let counts = word_counts(different.as_bytes());
        assert_eq!((counts.words.len(), counts.total), (COUNTED_WORDS, COUNTED_WORDS as u64));
        // A word counts where it begins.
        let long = format!("{}word", "-".repeat(COUNTED_BYTES));
        assert_eq!(word_counts(long.as_bytes()), WordCounts::default());
    }

    #[test]
    fn the_gain_is_the_formula() {
        let x = word_counts(b"the largest planet is the largest");
        let y = word_counts(b"Jupiter is a planet, a planet");
        let flat = Flat(0.001);
        let expected = (1.0 + 0.05 * 1.0 / (0.95 * 6.0 * 0.001_f64)).log2()
            + (1.0 + 0.05 * 2.0 / (0.95 * 6.0 * 0.001_f64)).log2();
        assert!((word_gain_bits(&x, &y, &flat, LAMBDA) - expected).abs() < 1e-9);
        assert_eq!(word_gain_bits(&x, &WordCounts::default(), &flat, LAMBDA), 0.0);
        assert_eq!(word_gain_bits(&WordCounts::default(), &y, &flat, LAMBDA), 0.0);
        assert_eq!(word_gain_of(1.0, 0.0, 0.1, LAMBDA), 0.0);
    }

    proptest! {
        #[test]
        fn each_hash_is_kept_once(hashes in proptest::collection::vec(0_u64..200, 0..400)) {
            let mut seen = std::collections::HashSet::new();
            let once: Vec<u64> = hashes.iter().copied().filter(|hash| seen.insert(*hash)).collect();
            prop_assert_eq!(distinct(hashes), once);
        }

        #[test]
        fn counting_is_counting(text in proptest::collection::vec("[a-e]{1,3}", 0..400)) {
            let counts = word_counts(text.join(" ").as_bytes());
            let mut expected: HashMap<u64, u32> = HashMap::new();
            for w in &text {
                *expected.entry(word(w)).or_default() += 1;
            }
            prop_assert_eq!(counts.total, text.len() as u64);
            prop_assert_eq!(counts.words.iter().copied().collect::<HashMap<_, _>>(), expected);
        }

        #[test]
        fn more_of_a_shared_word_saves_more(n in 1_u32..50, more in 1_u32..50, p in 1e-9_f64..1.0) {
            let few = word_gain_of(f64::from(n), 100.0, p, LAMBDA);
            prop_assert!(few > 0.0 && few.is_finite());
            prop_assert!(word_gain_of(f64::from(n + more), 100.0, p, LAMBDA) > few);
        }
    }
}
