//! What is known about words before the first message comes: so that in a pool of three mails a
//! word is as rare as it is in the world, and the numbers mean the same from the start.

use crate::distance::{PRIMER, word_counts};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

/// The prior counts as so many words of text.
pub(super) const MASS: f64 = 200_000.0;
/// So many of them were new: as in a text of that length.
pub(super) const UNSEEN: f64 = 20_000.0;
/// The words that everybody uses make up this share of a text.
const COMMON: f64 = 0.5;

/// How often each of the words that everybody uses, those of the primer, occurs in the prior.
static WORDS: LazyLock<HashMap<u64, f64, BuildHasherDefault<Spread>>> = LazyLock::new(|| {
    let counts = word_counts(PRIMER);
    let each = MASS * COMMON / counts.total.max(1) as f64;
    counts.words.into_iter().map(|(word, n)| (word, f64::from(n) * each)).collect()
});

/// Words are hashed already.
#[derive(Clone, Copy, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How often a word occurs in the prior: above 0 if everybody uses it.
pub(super) fn mass(word: u64) -> f64 {
    WORDS.get(&word).copied().unwrap_or(0.0)
}
