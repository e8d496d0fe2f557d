//! The wording that two texts share, in bits.

use super::counts::{WordModel, word_counts, word_gain_of};
use super::excerpt::passage;
use super::tokens::{Token, each_token};
use super::{COUNTED_BYTES, COUNTED_WORDS};
use std::collections::HashMap;
use std::ops::Range;

/// Of a word that a text has very often, so many places are listed.
pub const PLACES: usize = 64;

/// A word that X and Y share.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedWord {
    /// The word as X writes it first; bytes that are not UTF-8 as U+FFFD.
    pub word: String,
    /// Its hash, [`Token::hash`].
    pub hash: u64,
    /// What Y saves by it when X is coded, in bits.
    pub bits: f64,
    /// Its places in X, the first [`PLACES`] of them, as byte ranges.
    pub in_x: Vec<Range<usize>>,
    /// Its places in Y, likewise.
    pub in_y: Vec<Range<usize>>,
}

/// The words that make the gain of Y, those that save most first. Their bits add up to
/// [`super::word_gain_bits`].
#[must_use]
pub fn shared_wording(x: &[u8], y: &[u8], model: &dyn WordModel, lambda: f64) -> Vec<SharedWord> {
    let counts = word_counts(y);
    let total = counts.total as f64;
    let in_y: HashMap<u64, u32> = counts.words.into_iter().collect();
    let mut index: HashMap<u64, usize> = HashMap::new();
    let mut shared: Vec<SharedWord> = Vec::new();
    let mut distinct = 0;
    each_token(x, |token| {
        if token.start >= COUNTED_BYTES {
            return false;
        }
        let known = index.get(&token.hash).copied();
        if known.is_none() {
            if distinct >= COUNTED_WORDS {
                return false;
            }
            distinct += 1;
            index.insert(token.hash, usize::MAX);
        }
        match (known, in_y.get(&token.hash)) {
            (Some(place), Some(_)) => note(shared.get_mut(place).map(|s| &mut s.in_x), token),
            (None, Some(n)) => {
                index.insert(token.hash, shared.len());
                shared.push(SharedWord {
                    word: String::from_utf8_lossy(token.of(x)).into_owned(),
                    hash: token.hash,
                    bits: word_gain_of(f64::from(*n), total, model.probability(token.hash), lambda),
                    in_x: std::iter::once(token.start..token.end).collect(),
                    in_y: Vec::new(),
                });
            }
            (_, None) => {}
        }
        true
    });
    each_token(y, |token| {
        if let Some(place) = index.get(&token.hash) {
            note(shared.get_mut(*place).map(|s| &mut s.in_y), token);
        }
        token.start < COUNTED_BYTES
    });
    shared.sort_by(|a, b| b.bits.total_cmp(&a.bits));
    shared
}

fn note(places: Option<&mut Vec<Range<usize>>>, token: Token) {
    if let Some(places) = places.filter(|p| p.len() < PLACES) {
        places.push(token.start..token.end);
    }
}

/// The passage of `y`, at most `max_chars` characters, whose words save the most bits.
#[must_use]
pub fn shared_passage(y: &[u8], shared: &[SharedWord], max_chars: usize) -> String {
    let bits: HashMap<u64, f64> = shared.iter().map(|s| (s.hash, s.bits)).collect();
    passage(y, max_chars, &|hash| bits.get(&hash).copied().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::{LAMBDA, Vocabulary, word_gain_bits};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rare_words_save_most_and_are_found_in_both() {
        let x = b"Which planet is the largest? The LARGEST planet, I mean, is it Saturn?";
        let y =
            b"Dear all, the cake is good and the weather is fine. Jupiter is the largest planet. The end.";
        let prose = "the is the it is a the which and is it ".repeat(50);
        let model = Vocabulary::of([x.as_slice(), y, prose.as_bytes()]);
        let shared = shared_wording(x, y, &model, LAMBDA);
        let words: Vec<&str> = shared.iter().map(|s| s.word.as_str()).collect();
        assert_eq!(words, ["planet", "largest", "the", "is"]);
        let largest = &shared[1];
        let texts: Vec<&[u8]> = largest.in_x.iter().map(|r| &x[r.clone()]).collect();
        assert_eq!(texts, [b"largest", b"LARGEST"]);
        assert_eq!(largest.in_y.iter().map(|r| &y[r.clone()]).collect::<Vec<_>>(), [b"largest"]);
        let sum: f64 = shared.iter().map(|s| s.bits).sum();
        let gain = word_gain_bits(&word_counts(x), &word_counts(y), &model, LAMBDA);
        assert!((sum - gain).abs() < 1e-9);
        assert_eq!(shared_passage(y, &shared, 40), "…Jupiter is the largest planet. The…");
    }

    #[test]
    fn a_word_without_end_has_a_bounded_list_of_places() {
        let text = "word ".repeat(1000);
        let shared =
            shared_wording(text.as_bytes(), text.as_bytes(), &Vocabulary::of([text.as_bytes()]), LAMBDA);
        assert_eq!((shared.len(), shared[0].in_x.len(), shared[0].in_y.len()), (1, PLACES, PLACES));
    }

    proptest! {
        #[test]
        fn the_bits_add_up(
            x in proptest::collection::vec(any::<u8>(), 0..400),
            y in proptest::collection::vec(any::<u8>(), 0..400),
            max in 2_usize..60,
        ) {
            let model = Vocabulary::of([y.as_slice()]);
            let shared = shared_wording(&x, &y, &model, LAMBDA);
            let sum: f64 = shared.iter().map(|s| s.bits).sum();
            let gain = word_gain_bits(&word_counts(&x), &word_counts(&y), &model, LAMBDA);
            prop_assert!((sum - gain).abs() < 1e-6);
            for word in &shared {
                prop_assert!(!word.in_x.is_empty() && !word.in_y.is_empty());
            }
            prop_assert!(shared_passage(&y, &shared, max).chars().count() <= max);
        }
    }
}
