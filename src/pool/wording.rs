//! Why a message is near: the words that two texts share, and what each of them saves.

use super::cut::Cut;
use super::{Audience, Pool};
use crate::distance::{LAMBDA, SharedWord, WordCoder, shared_wording};
use std::collections::HashSet;

impl Pool {
    /// The wording of `x` that a message with the body `y` has too, what saves most first, in bits
    /// by what is known about words now. They add up to [`super::Scored::gain_bits`], unless the
    /// message is so long that its best section saves more than the whole of it.
    #[must_use]
    pub fn wording(&self, x: &[u8], y: &[u8], audience: Audience<'_>) -> Vec<SharedWord> {
        let asked = self.ask(&Cut::of(x), audience);
        let counted: HashSet<u64> = asked.rare().map(|clue| clue.word).collect();
        let mut shared = shared_wording(x, y, &asked.model, LAMBDA);
        shared.retain(|word| counted.contains(&word.hash));
        shared
    }

    /// How many messages of this audience have a word, by its hash.
    #[must_use]
    pub fn messages_with(&self, word: u64, audience: Audience<'_>) -> usize {
        let model = self.model(audience);
        model.indexes().filter_map(|index| index.term(word)).map(|term| term.sections as usize).sum()
    }

    /// C(X) by the coder itself, in bits: what `x` would take, written by the words that are known
    /// here. What is summed up for [`super::Scored`] leaves out what stands between the words and
    /// how unknown words are spelled.
    #[must_use]
    pub fn code_bits(&self, x: &[u8], audience: Audience<'_>) -> f64 {
        WordCoder::new(self.model(audience)).bits(x)
    }
}
