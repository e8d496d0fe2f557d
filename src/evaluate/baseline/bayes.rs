//! Complement naive Bayes (Rennie, Shih, Teevan, Karger 2003) on TF-IDF.

use super::vectors::{Vector, Vocabulary};
use crate::evaluate::method::{Finder, best};
use std::sync::Arc;

/// What every word is counted beside what is seen, as usual for this data.
const ALPHA: f32 = 0.1;

/// The classifier.
#[derive(Default)]
pub(in crate::evaluate) struct Bayes {
    vocabulary: Vocabulary,
    texts: Vec<(u32, Vector)>,
    labels: usize,
    /// By word and label: how much less the word belongs to the other labels.
    weights: Vec<f32>,
}

impl Finder for Bayes {
    fn learn(&mut self, number: u32, _author: &str, text: &Arc<[u8]>) {
        let counts = self.vocabulary.learn(text);
        self.labels = self.labels.max(number as usize + 1);
        self.texts.push((number, counts));
    }

    fn prepare(&mut self) {
        let (words, labels) = (self.vocabulary.len(), self.labels);
        let mut sums = vec![0.0_f32; words * labels];
        for (label, counts) in std::mem::take(&mut self.texts) {
            for (word, weight) in self.vocabulary.tf_idf(&counts) {
                if let Some(sum) = sums.get_mut(word as usize * labels + label as usize) {
                    *sum += weight;
                }
            }
        }
        let mut others = vec![ALPHA * words as f32; labels];
        for row in sums.chunks(labels.max(1)) {
            let all: f32 = row.iter().sum();
            for (total, own) in others.iter_mut().zip(row) {
                *total += all - own;
            }
        }
        for row in sums.chunks_mut(labels.max(1)) {
            let all: f32 = row.iter().sum();
            for (own, total) in row.iter_mut().zip(&others) {
                *own = ((all - *own + ALPHA) / total).ln();
            }
        }
        self.weights = sums;
    }

    fn find(&mut self, text: &[u8], k: usize) -> Vec<u32> {
        let mut scores = vec![0.0_f64; self.labels];
        for (word, weight) in self.vocabulary.tf_idf(&self.vocabulary.counts(text)) {
            let row = self.weights.get(word as usize * self.labels..).unwrap_or_default();
            for (score, value) in scores.iter_mut().zip(row) {
                *score += f64::from(weight * value);
            }
        }
        best(scores.into_iter().zip(0..).collect(), k)
    }

    fn bytes(&self) -> Option<u64> {
        Some(self.vocabulary.bytes() + 4 * self.weights.len() as u64)
    }
}
