//! The words of a text, cut once: counted, and by neighbouring pairs.

use super::prior;
use crate::distance::{WordCounts, word_counts_with};

/// So many words of a text count for its pairs, the first ones.
const MOST_PAIRED: usize = 4096;

/// The words of a text.
pub(super) struct Cut {
    pub(super) counts: WordCounts,
    /// Neighbouring words, but for two that everybody uses.
    pub(super) pairs: Vec<u64>,
}

impl Cut {
    /// Those that count.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut order: Vec<u32> = Vec::with_capacity((text.len() / 6).min(MOST_PAIRED));
        let counts = word_counts_with(text, |word| {
            if order.len() < MOST_PAIRED {
                order.push(word);
            }
        });
        let words: Vec<(u64, bool)> =
            counts.words.iter().map(|(word, _)| (*word, prior::is_common(*word))).collect();
        let mut pairs = Vec::with_capacity(order.len());
        let mut before: Option<(u64, bool)> = None;
        for word in order {
            let Some(this) = words.get(word as usize).copied() else { continue };
            if let Some(before) = before
                && !(before.1 && this.1)
            {
                pairs.push(pair(before.0, this.0));
            }
            before = Some(this);
        }
        Cut { counts, pairs }
    }

    /// The pairs, each once, ascending.
    pub(super) fn distinct_pairs(self) -> Vec<u64> {
        let mut pairs = self.pairs;
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }
}

/// The feature that two words are, one behind the other.
fn pair(first: u64, second: u64) -> u64 {
    first.rotate_left(21).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_neighbours_of_which_one_says_something() {
        let of = |text: &str| Cut::of(text.as_bytes());
        assert_eq!(of("").pairs, [0; 0]);
        assert_eq!(of("rhubarb").pairs.len(), 0);
        assert_eq!(of("rhubarb pie, rhubarb pie").pairs.len(), 3);
        assert_eq!(of("rhubarb pie, rhubarb pie").distinct_pairs().len(), 2);
        assert_ne!(of("rhubarb pie").pairs, of("pie rhubarb").pairs);
        assert_eq!(of("of the").pairs.len(), 0, "both are everybody's");
        assert_eq!(of("of the pie").pairs.len(), 1);
        assert_eq!(of(&"rhubarb pie ".repeat(MOST_PAIRED)).pairs.len(), MOST_PAIRED - 1);
    }
}
