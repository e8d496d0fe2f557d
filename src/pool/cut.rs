//! The words of a text, cut once: counted, and by neighbouring pairs.

use super::prior;
use crate::distance::{COUNTED_BYTES, COUNTED_WORDS, WordCounts, distinct, word_counts, word_counts_with};

/// So many words of a text count for its pairs, the first ones.
const MOST_PAIRED: usize = 4096;

/// A message with more words is indexed in sections.
const LONG: u64 = 1024;
/// Words of a section, about.
const SECTION: u64 = 512;
/// Sections of a message, at most; those of a longer one are longer.
const SECTIONS: u64 = 128;

/// The words of a part of a text.
pub(super) struct Section {
    pub(super) counts: WordCounts,
    /// How often each of its words occurs in the prior.
    pub(super) priors: Vec<f64>,
}

impl Section {
    fn of(text: &[u8]) -> Self {
        let counts = word_counts(text);
        let priors = counts.words.iter().map(|(word, _)| prior::mass(*word)).collect();
        Section { counts, priors }
    }
}

/// The words of a text.
pub(super) struct Cut {
    pub(super) counts: WordCounts,
    /// How often each of its words occurs in the prior.
    pub(super) priors: Vec<f64>,
    /// Neighbouring words, but for two that everybody uses.
    pub(super) pairs: Vec<u64>,
    /// Every occurrence: which of the distinct words it is, and where it begins.
    order: Vec<(u32, u32)>,
}

impl Cut {
    /// Those that count.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut order: Vec<(u32, u32)> = Vec::with_capacity(text.len().min(COUNTED_BYTES) / 6);
        let counts = word_counts_with(text, |word, start| {
            order.push((word, u32::try_from(start).unwrap_or(u32::MAX)));
        });
        let priors: Vec<f64> = counts.words.iter().map(|(word, _)| prior::mass(*word)).collect();
        let mut pairs = Vec::with_capacity(order.len().min(MOST_PAIRED));
        let mut before: Option<(u64, bool)> = None;
        for (word, _) in order.iter().take(MOST_PAIRED) {
            let at = *word as usize;
            let (Some((word, _)), Some(prior)) = (counts.words.get(at), priors.get(at)) else { continue };
            let is_common = *prior > 0.0;
            if let Some((before, was_common)) = before
                && !(was_common && is_common)
            {
                pairs.push(pair(before, *word));
            }
            before = Some((*word, is_common));
        }
        Cut { counts, priors, pairs, order }
    }

    /// The words in sections, and the pairs: a short question is not lost in a long mail. `text` is what
    /// was cut.
    pub(super) fn sections(self, text: &[u8]) -> (Vec<Section>, Vec<u64>) {
        let Cut { counts, priors, pairs, order } = self;
        if counts.total <= LONG {
            return (vec![Section { counts, priors }], pairs);
        }
        let wanted = usize::try_from((counts.total / SECTION).min(SECTIONS)).unwrap_or(1);
        let length = text.len().div_ceil(wanted);
        let (mut ends, mut end, mut between_words) = (Vec::with_capacity(wanted), 0, true);
        while end < text.len() {
            let tail = text.get(end + length..).unwrap_or_default();
            // To the end of a word, unless that is far away.
            let blank = tail.iter().take(64).position(u8::is_ascii_whitespace);
            between_words &= blank.is_some() || tail.is_empty();
            end = (end + length + blank.unwrap_or(0)).min(text.len());
            ends.push(end);
        }
        let whole = counts.words.len() < COUNTED_WORDS;
        let sections = if between_words && whole {
            counted(&counts.words, &priors, &order, &ends)
        } else {
            let starts = std::iter::once(0).chain(ends.iter().copied());
            starts
                .zip(&ends)
                .map(|(start, end)| Section::of(text.get(start..*end).unwrap_or_default()))
                .collect()
        };
        (sections.into_iter().filter(|section| section.counts.total > 0).collect(), pairs)
    }

    /// The pairs, each once.
    pub(super) fn distinct_pairs(self) -> Vec<u64> {
        distinct(self.pairs)
    }
}

/// The words of each section, which end at these bytes: cutting the text again would find the same ones.
fn counted(words: &[(u64, u32)], priors: &[f64], order: &[(u32, u32)], ends: &[usize]) -> Vec<Section> {
    // By word: the last section that had it, and where it stands there.
    let mut seen = vec![(usize::MAX, 0_usize); words.len()];
    let mut left = order;
    let sections = ends.iter().enumerate().map(|(nth, end)| {
        let here = left.partition_point(|(_, start)| (*start as usize) < *end);
        let (these, after) = left.split_at_checked(here).unwrap_or_default();
        left = after;
        let mut counts = WordCounts { words: Vec::with_capacity(here), total: here as u64 };
        let mut its_priors = Vec::with_capacity(here);
        for (word, _) in these {
            let Some((section, at)) = seen.get_mut(*word as usize) else { continue };
            if *section == nth {
                if let Some((_, n)) = counts.words.get_mut(*at) {
                    *n += 1;
                }
            } else if let (Some((hash, _)), Some(prior)) =
                (words.get(*word as usize), priors.get(*word as usize))
            {
                (*section, *at) = (nth, counts.words.len());
                counts.words.push((*hash, 1));
                its_priors.push(*prior);
            }
        }
        Section { counts, priors: its_priors }
    });
    sections.collect()
}

/// The feature that two words are, one behind the other.
fn pair(first: u64, second: u64) -> u64 {
    first.rotate_left(21).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ second
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sections_are_what_cutting_each_by_itself_finds(
            words in proptest::collection::vec("[a-zA-Zé木0-9+/=.]{1,12}( |\n|, )", 500..4000),
            longest in 200_usize..30_000,
        ) {
            let mut text = words.concat().into_bytes();
            text.truncate(longest);
            let cut = Cut::of(&text);
            let Cut { counts, order, .. } = Cut::of(&text);
            let long = counts.total > LONG;
            let (sections, pairs) = cut.sections(&text);
            prop_assert_eq!(&pairs, &Cut::of(&text).pairs);
            prop_assert_eq!(order.len() as u64, counts.total);
            prop_assert_eq!(sections.iter().map(|section| section.counts.total).sum::<u64>(), counts.total);
            prop_assert_eq!(sections.len() > 1, long);
            if long {
                // Blanks are never far, so that each ends at one.
                let length = text.len().div_ceil(usize::try_from(counts.total / SECTION).unwrap());
                let mut rest = &text[..];
                for section in &sections {
                    let after = rest.get(length..).unwrap_or_default();
                    let blank = after.iter().position(u8::is_ascii_whitespace).unwrap_or(after.len());
                    let (this, after) = rest.split_at(rest.len() - after.len() + blank);
                    prop_assert_eq!(&word_counts(this), &section.counts);
                    prop_assert_eq!(&Section::of(this).priors, &section.priors);
                    rest = after;
                }
                prop_assert_eq!(word_counts(rest).total, 0);
            }
        }
    }

    #[test]
    fn where_a_section_may_end_within_a_word_each_is_cut_by_itself() {
        // No blank far and wide, and more words than are counted of a whole.
        let unbroken = "木星は太陽系で一番大きい惑星です。".repeat(1200);
        let many: String = (0..COUNTED_WORDS + 500).map(|n| format!("w{n:x} ")).collect();
        for text in [unbroken.as_bytes(), many.as_bytes()] {
            let cut = Cut::of(text);
            let wanted = usize::try_from((cut.counts.total / SECTION).min(SECTIONS)).unwrap();
            let (sections, _) = cut.sections(text);
            let length = text.len().div_ceil(wanted);
            let mut rest = text;
            for section in &sections {
                let after = rest.get(length..).unwrap_or_default();
                let blank = after.iter().take(64).position(u8::is_ascii_whitespace).unwrap_or(0);
                let (this, after) = rest.split_at((length + blank).min(rest.len()));
                assert_eq!(&word_counts(this), &section.counts);
                rest = after;
            }
            assert!(sections.len() > 8 && rest.is_empty());
        }
    }

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
