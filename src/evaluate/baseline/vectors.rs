//! Texts as vectors: words, their counts, TF-IDF.

use crate::distance::words;
use std::collections::HashMap;

/// A sparse vector: number of the word and weight, by number.
pub(super) type Vector = Vec<(u32, f32)>;

/// The words that were met, with the number of texts that have them.
#[derive(Default)]
pub(super) struct Vocabulary {
    numbers: HashMap<u64, u32>,
    /// Texts with the word, by number.
    pub(super) texts_with: Vec<u32>,
    pub(super) texts: u32,
}

impl Vocabulary {
    /// The counts of a text that is learned.
    pub(super) fn learn(&mut self, text: &[u8]) -> Vector {
        let counts = counts(text, |hash| {
            let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
            let number = *self.numbers.entry(hash).or_insert(next);
            if number == next {
                self.texts_with.push(0);
            }
            Some(number)
        });
        self.texts += 1;
        for (word, _) in &counts {
            if let Some(texts) = self.texts_with.get_mut(*word as usize) {
                *texts += 1;
            }
        }
        counts
    }

    /// The counts of a text that is asked about: words that are unknown count nothing.
    pub(super) fn counts(&self, text: &[u8]) -> Vector {
        counts(text, |hash| self.numbers.get(&hash).copied())
    }

    /// ln of how rare a word is, plus 1, with one text more that has every word: the usual smooth
    /// IDF.
    pub(super) fn idf(&self, word: u32) -> f32 {
        let with = self.texts_with.get(word as usize).copied().unwrap_or(0);
        ((1.0 + self.texts as f32) / (1.0 + with as f32)).ln() + 1.0
    }

    /// 1 + ln of the count, times IDF, to length 1.
    pub(super) fn tf_idf(&self, counts: &Vector) -> Vector {
        let weigh = |(word, count): &(u32, f32)| (*word, (1.0 + count.ln()) * self.idf(*word));
        let mut vector: Vector = counts.iter().map(weigh).collect();
        let length = vector.iter().map(|(_, w)| w * w).sum::<f32>().sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|(_, w)| *w /= length);
        }
        vector
    }

    pub(super) fn len(&self) -> usize {
        self.texts_with.len()
    }

    /// Memory of the dictionary, about.
    pub(super) fn bytes(&self) -> u64 {
        (self.numbers.capacity() * 17 + self.texts_with.capacity() * 4) as u64
    }
}

fn counts(text: &[u8], mut number: impl FnMut(u64) -> Option<u32>) -> Vector {
    let mut found: Vec<u32> =
        words(text).into_iter().filter(|word| word.chars >= 2).filter_map(|word| number(word.hash)).collect();
    found.sort_unstable();
    found.chunk_by(|a, b| a == b).filter_map(|run| Some((*run.first()?, run.len() as f32))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_weights() {
        let mut vocabulary = Vocabulary::default();
        assert_eq!(vocabulary.learn(b"one two two a"), [(0, 1.0), (1, 2.0)]);
        assert_eq!(vocabulary.learn(b"two three"), [(1, 1.0), (2, 1.0)]);
        assert_eq!(vocabulary.counts(b"three four TWO"), [(1, 1.0), (2, 1.0)]);
        assert_eq!((vocabulary.texts, vocabulary.texts_with.as_slice()), (2, &[1, 2, 1][..]));
        assert_eq!(vocabulary.idf(1), 1.0);
        let unit = vocabulary.tf_idf(&vec![(0, 1.0), (1, 3.0)]);
        let length: f32 = unit.iter().map(|(_, w)| w * w).sum();
        assert!((length - 1.0).abs() < 1e-6);
        assert!(vocabulary.tf_idf(&Vec::new()).is_empty());
    }
}
