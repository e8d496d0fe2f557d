//! A linear support vector machine on TF-IDF, one label against the rest: dual coordinate
//! descent for the squared hinge loss (Hsieh, Chang, Lin, Keerthi, Sundararajan 2008), C = 1, with
//! a bias feature, which is what the usual tools do for text.

use super::vectors::{Vector, Vocabulary};
use crate::evaluate::chance::Chance;
use crate::evaluate::method::{Finder, best};
use std::sync::Arc;

const C: f32 = 1.0;
/// The descent of a label ends when no violation is greater, or after so many rounds.
const TOLERANCE: f32 = 0.01;
const ROUNDS: usize = 100;

/// The classifier.
#[derive(Default)]
pub(in crate::evaluate) struct Svm {
    vocabulary: Vocabulary,
    texts: Vec<(u32, Vector)>,
    labels: usize,
    /// By word and label; the bias behind the last word.
    weights: Vec<f32>,
}

impl Finder for Svm {
    fn learn(&mut self, number: u32, _author: &str, text: &Arc<[u8]>) {
        let counts = self.vocabulary.learn(text);
        self.labels = self.labels.max(number as usize + 1);
        self.texts.push((number, counts));
    }

    fn prepare(&mut self) {
        let bias = u32::try_from(self.vocabulary.len()).unwrap_or(u32::MAX);
        let vectors: Vec<(u32, Vector)> = std::mem::take(&mut self.texts)
            .into_iter()
            .map(|(label, counts)| {
                let mut vector = self.vocabulary.tf_idf(&counts);
                vector.push((bias, 1.0));
                (label, vector)
            })
            .collect();
        let words = self.vocabulary.len() + 1;
        self.weights = vec![0.0; words * self.labels];
        for label in 0..self.labels {
            let own = u32::try_from(label).unwrap_or(u32::MAX);
            for (word, weight) in descend(&vectors, own, words).into_iter().enumerate() {
                if let Some(place) = self.weights.get_mut(word * self.labels + label) {
                    *place = weight;
                }
            }
        }
    }

    fn find(&mut self, text: &[u8], k: usize) -> Vec<u32> {
        let mut vector = self.vocabulary.tf_idf(&self.vocabulary.counts(text));
        vector.push((u32::try_from(self.vocabulary.len()).unwrap_or(u32::MAX), 1.0));
        let mut scores = vec![0.0_f64; self.labels];
        for (word, weight) in vector {
            let row = self.weights.get(word as usize * self.labels..).unwrap_or_default();
            for (score, value) in scores.iter_mut().zip(row) {
                *score -= f64::from(weight * value);
            }
        }
        best(scores.into_iter().zip(0..).collect(), k)
    }

    fn bytes(&self) -> Option<u64> {
        Some(self.vocabulary.bytes() + 4 * self.weights.len() as u64)
    }
}

/// The weights that separate one label from the rest.
fn descend(vectors: &[(u32, Vector)], label: u32, words: usize) -> Vec<f32> {
    let mut weights = vec![0.0_f32; words];
    let mut alpha = vec![0.0_f32; vectors.len()];
    let diagonal = 0.5 / C;
    let squares: Vec<f32> =
        vectors.iter().map(|(_, v)| diagonal + v.iter().map(|(_, w)| w * w).sum::<f32>()).collect();
    let mut order: Vec<usize> = (0..vectors.len()).collect();
    let mut chance = Chance::new(u64::from(label));
    for _ in 0..ROUNDS {
        chance.shuffle(&mut order);
        let mut worst = 0.0_f32;
        for at in &order {
            let (Some((own, vector)), Some(alpha), Some(square)) =
                (vectors.get(*at), alpha.get_mut(*at), squares.get(*at))
            else {
                continue;
            };
            let side = if *own == label { 1.0 } else { -1.0 };
            let dot: f32 =
                vector.iter().map(|(word, w)| w * weights.get(*word as usize).copied().unwrap_or(0.0)).sum();
            let gradient = side * dot - 1.0 + diagonal * *alpha;
            let projected = if *alpha == 0.0 { gradient.min(0.0) } else { gradient };
            worst = worst.max(projected.abs());
            if projected != 0.0 {
                let next = (*alpha - gradient / square).max(0.0);
                let step = (next - *alpha) * side;
                *alpha = next;
                for (word, w) in vector {
                    if let Some(weight) = weights.get_mut(*word as usize) {
                        *weight += step * w;
                    }
                }
            }
        }
        if worst < TOLERANCE {
            break;
        }
    }
    weights
}
