//! Nearest texts by shared words: BM25 and the cosine of TF-IDF.

use super::vectors::{Vector, Vocabulary};
use crate::evaluate::method::{Finder, best};
use std::collections::HashMap;
use std::sync::Arc;

/// How shared words count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::evaluate) enum Weighting {
    /// Robertson and Zaragoza 2009, k1 = 1.2, b = 0.75.
    Bm25,
    /// The same with squared IDF.
    Bm25Squared,
    /// Cosine of (1 + ln tf) · idf.
    Cosine,
}

const K1: f32 = 1.2;
const B: f32 = 0.75;

/// For labels: so many nearest texts vote, each with its score.
const VOTERS: usize = 20;

/// An inverted index.
pub(in crate::evaluate) struct Neighbours {
    weighting: Weighting,
    /// Whether the owners of the nearest texts are asked for, rather than the texts.
    vote: bool,
    vocabulary: Vocabulary,
    /// By word: texts and counts.
    postings: Vec<Vec<(u32, f32)>>,
    /// By text: who owns it, and how many words it has.
    owners: Vec<u32>,
    lengths: Vec<f32>,
    words: f32,
    /// By text: 1 over the length of its vector, with the IDF of when it was prepared.
    norms: Vec<f32>,
    counts: Vec<Vector>,
    scores: Vec<f32>,
}

impl Neighbours {
    pub(in crate::evaluate) fn new(weighting: Weighting, vote: bool) -> Self {
        Neighbours {
            weighting,
            vote,
            vocabulary: Vocabulary::default(),
            postings: Vec::new(),
            owners: Vec::new(),
            lengths: Vec::new(),
            words: 0.0,
            norms: Vec::new(),
            counts: Vec::new(),
            scores: Vec::new(),
        }
    }

    fn norm(&self, counts: &Vector) -> f32 {
        let sum: f32 =
            counts.iter().map(|(w, c)| (1.0 + c.ln()) * self.vocabulary.idf(*w)).map(|w| w * w).sum();
        if sum > 0.0 { 1.0 / sum.sqrt() } else { 0.0 }
    }

    /// The IDF of BM25, never negative.
    fn rarity(&self, word: u32) -> f32 {
        let with = self.vocabulary.texts_with.get(word as usize).copied().unwrap_or(0) as f32;
        let idf = (1.0 + (self.vocabulary.texts as f32 - with + 0.5) / (with + 0.5)).ln();
        if self.weighting == Weighting::Bm25Squared { idf * idf } else { idf }
    }
}

impl Finder for Neighbours {
    fn learn(&mut self, number: u32, _author: &str, text: &Arc<[u8]>) {
        let counts = self.vocabulary.learn(text);
        let place = u32::try_from(self.owners.len()).unwrap_or(u32::MAX);
        self.postings.resize_with(self.vocabulary.len(), Vec::new);
        for (word, count) in &counts {
            if let Some(list) = self.postings.get_mut(*word as usize) {
                list.push((place, *count));
            }
        }
        self.owners.push(number);
        let length: f32 = counts.iter().map(|(_, count)| count).sum();
        self.lengths.push(length);
        self.words += length;
        self.scores.push(0.0);
        if self.weighting == Weighting::Cosine {
            self.norms.push(self.norm(&counts));
            self.counts.push(counts);
        }
    }

    fn prepare(&mut self) {
        self.norms = self.counts.iter().map(|counts| self.norm(counts)).collect();
        self.counts = Vec::new();
    }

    fn find(&mut self, text: &[u8], k: usize) -> Vec<u32> {
        let mean = self.words / (self.owners.len().max(1)) as f32;
        let mut touched: Vec<u32> = Vec::new();
        for (word, count) in self.vocabulary.counts(text) {
            let rarity = self.rarity(word);
            let idf = self.vocabulary.idf(word);
            for (place, theirs) in self.postings.get(word as usize).into_iter().flatten() {
                let at = *place as usize;
                let (Some(score), Some(length)) = (self.scores.get_mut(at), self.lengths.get(at)) else {
                    continue;
                };
                if *score == 0.0 {
                    touched.push(*place);
                }
                *score += match self.weighting {
                    Weighting::Cosine => {
                        let norm = self.norms.get(at).copied().unwrap_or(0.0);
                        (1.0 + count.ln()) * (1.0 + theirs.ln()) * idf * idf * norm
                    }
                    _ => rarity * theirs * (K1 + 1.0) / (theirs + K1 * (1.0 - B + B * length / mean)),
                };
            }
        }
        let order = touched
            .iter()
            .filter_map(|place| {
                let score = std::mem::take(self.scores.get_mut(*place as usize)?);
                Some((-f64::from(score), *place))
            })
            .collect::<Vec<_>>();
        let owner = |place: u32| self.owners.get(place as usize).copied();
        if !self.vote {
            return best(order, k).into_iter().filter_map(owner).collect();
        }
        let score: HashMap<u32, f64> = order.iter().map(|(score, place)| (*place, *score)).collect();
        let mut votes: HashMap<u32, f64> = HashMap::new();
        for place in best(order, VOTERS) {
            if let Some(owner) = owner(place) {
                *votes.entry(owner).or_default() += score.get(&place).copied().unwrap_or(0.0);
            }
        }
        best(votes.into_iter().map(|(owner, score)| (score, owner)).collect(), k)
    }

    fn bytes(&self) -> Option<u64> {
        let postings: usize = self.postings.iter().map(|list| list.capacity() * 8 + 24).sum();
        Some(self.vocabulary.bytes() + postings as u64 + 16 * self.owners.len() as u64)
    }
}
