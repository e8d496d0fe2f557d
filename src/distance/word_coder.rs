//! The word coder: a text as its words, how they are written, and what stands between them.
//!
//! A text is coded as the number of its tokens, then for each token
//!
//! 1. what stands between it and the one before (from those seen so far, else spelled);
//! 2. whether X had the word before, and if so which one it is, from X's own counts;
//! 3. if not, which word it is: with probability λ it is drawn from Y's counts, else from the
//!    pool's word model; a word that neither has is spelled, letter by letter;
//! 4. which of its letters are capitals;
//!
//! and what stands behind the last. The place for Y, λ, is kept when there is no Y, and words that
//! X had already are not excluded in step 3. This costs C(X) about 1 %, and makes the gain a sum
//! over X's distinct words that each depend on nothing else:
//!
//! C(X) − C(X|Y) = Σ log2(1 + λ·n_Y(w) / ((1−λ)·N_Y·p_pool(w))), which is [`super::word_gain_bits`]
//!
//! for X's words that the pool knows. (A word that Y has and the pool doesn't is told by Y's
//! number, and without Y spelled; of this the sum knows only [`WordModel::probability`].)
//! Pairs in scripts without spaces overlap and are coded as if they didn't; reading, the common
//! character is taken once.

use super::Coder;
use super::codebook::{Codebook, Draw, Drawn, Lexicon};
use super::counts::{COUNTED_BYTES, COUNTED_WORDS, LAMBDA, Slots, WordCounts, WordModel, word_counts};
use super::range::{Channel, Cost, Decoder, Encoder, Seen};
use super::spelling::{Capitals, Flag, Gaps, SPELLED_BYTES, Speller, number, spell, with_speller};
use super::tokens::{Kind, Token, decode, fold, kind_of, tokens, word_hash};
use std::collections::HashMap;

/// The word coder, with the pool's word model.
///
/// Of Y it sees which words it has and how often ([`word_counts`], with its bounds): not their
/// order, nor anything between them.
#[derive(Clone, Debug)]
pub struct WordCoder<M> {
    model: M,
    lambda: f64,
}

/// Why a text can't be coded, or a code not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// The probabilities of the word model's words and of the escape are more than 1 together.
    #[error("the word model's probabilities are more than 1 together")]
    Model,
    /// No text has this code, with this model and this Y.
    #[error("no text has this code")]
    Code,
    /// The text is longer than allowed.
    #[error("the text is longer than {0} bytes")]
    Length(usize),
}

impl<M: WordModel> WordCoder<M> {
    /// A coder with λ = [`LAMBDA`].
    pub fn new(model: M) -> Self {
        Self::with_lambda(model, LAMBDA)
    }

    /// A coder that expects the next new word from Y with probability `lambda`, 0 to 0.99.
    pub fn with_lambda(model: M, lambda: f64) -> Self {
        WordCoder { model, lambda: lambda.clamp(0.0, 0.99) }
    }

    /// C(X), in bits.
    #[must_use]
    pub fn bits(&self, x: &[u8]) -> f64 {
        self.bits_given_counts(x, &WordCounts::default())
    }

    /// C(X|Y), in bits.
    #[must_use]
    pub fn bits_given(&self, x: &[u8], y: &[u8]) -> f64 {
        self.bits_given_counts(x, &word_counts(y))
    }

    /// C(X|Y), in bits, where Y may be anything that has word counts: a message, a peer, a folder.
    #[must_use]
    pub fn bits_given_counts(&self, x: &[u8], y: &WordCounts) -> f64 {
        let mut slots = Slots::default();
        slots.fill(y.words.iter().map(|(hash, _)| *hash), |i| y.words.get(i).map(|(hash, _)| *hash));
        let lengths = Lengths { model: &self.model, lambda: self.lambda, y, slots };
        let mut cost = Cost::new();
        with_speller(|speller| Coding::new(speller, x.len()).write(x, &lengths, None, &mut cost));
        cost.bits()
    }
}

impl<L: Lexicon> WordCoder<L> {
    /// The code of `x`, for one who has `y` and the model: C(X|Y) bits, within 1 % and two bytes.
    pub fn encode(&self, x: &[u8], y: Option<&[u8]>) -> Result<Vec<u8>, CodeError> {
        let book = self.book(y)?;
        let mut texts = book.words().map(|(hash, word)| (hash, word.to_vec())).collect();
        let mut out = Encoder::new();
        with_speller(|speller| Coding::new(speller, x.len()).write(x, &book, Some(&mut texts), &mut out));
        Ok(out.finish())
    }

    /// The text of a code, which may have at most `most` bytes.
    pub fn decode(&self, code: &[u8], y: Option<&[u8]>, most: usize) -> Result<Vec<u8>, CodeError> {
        let book = self.book(y)?;
        let mut read = Decoder::new(code);
        with_speller(|speller| Coding::new(speller, code.len()).read(&book, most, &mut read))
    }

    fn book(&self, y: Option<&[u8]>) -> Result<Codebook, CodeError> {
        Codebook::new(&self.model, y.unwrap_or_default(), self.lambda).ok_or(CodeError::Model)
    }
}

impl<M: WordModel + Send + Sync> Coder for WordCoder<M> {
    fn bits(&self, x: &[u8]) -> f64 {
        self.bits(x)
    }

    fn bits_given(&self, x: &[u8], y: &[u8]) -> f64 {
        self.bits_given(x, y)
    }

    fn window(&self) -> usize {
        COUNTED_BYTES
    }
}

/// Draws words without telling them: the lengths alone.
struct Lengths<'a, M> {
    model: &'a M,
    lambda: f64,
    y: &'a WordCounts,
    slots: Slots,
}

impl<M: WordModel> Draw<Cost> for Lengths<'_, M> {
    fn draw(&self, hash: u64, with_y: bool, cost: &mut Cost) -> Drawn {
        let at = |i: usize| self.y.words.get(i).map(|(hash, _)| *hash);
        let count = self.slots.get(hash, at).filter(|_| with_y).and_then(|i| self.y.words.get(i));
        let of_y = count.map_or(0.0, |(_, n)| self.lambda * f64::from(*n) / self.y.total.max(1) as f64);
        let known = self.model.known(hash).or_else(|| count.map(|_| self.model.probability(hash)));
        cost.chance(of_y + (1.0 - self.lambda) * known.unwrap_or_else(|| self.model.escape()));
        known.map_or(Drawn::ToSpell, |_| Drawn::Told(0))
    }
}

/// Words by hash, of which everyone knows the letters.
type Texts = HashMap<u64, Vec<u8>>;

/// A text being coded.
struct Coding<'s> {
    speller: &'s mut Speller,
    gaps: Gaps,
    capitals: Capitals,
    /// X's distinct words so far.
    words: Vec<u64>,
    slots: Slots,
    counts: Seen,
    is_new: Flag,
}

impl<'s> Coding<'s> {
    fn new(speller: &'s mut Speller, length: usize) -> Self {
        let mut slots = Slots::default();
        slots.clear(length / 8);
        Coding {
            speller,
            gaps: Gaps::new(),
            capitals: Capitals::new(),
            words: Vec::with_capacity((length / 10).min(COUNTED_WORDS)),
            slots,
            counts: Seen::default(),
            is_new: Flag::new(60_000),
        }
    }

    /// Codes `x`. `texts` are needed where the code will be read.
    fn write<C: Channel>(
        &mut self,
        x: &[u8],
        new: &impl Draw<C>,
        mut texts: Option<&mut Texts>,
        channel: &mut C,
    ) {
        let all = tokens(x);
        number(all.len() as u64, channel);
        let mut end = 0;
        let mut buffer;
        for token in &all {
            // Nothing if the token begins within the last one.
            let gap = x.get(end..token.start);
            self.gaps.code(gap, usize::MAX, self.speller, channel);
            let word = token.of(x);
            let folded = match &mut texts {
                None if word.is_ascii() => word,
                _ => {
                    buffer = fold(token.kind, word);
                    buffer.as_slice()
                }
            };
            self.word(token, folded, texts.as_deref_mut(), new, channel);
            if token.kind != Kind::Pair {
                let gap = gap.unwrap_or_default();
                self.capitals.code(Some((token.kind, word)), folded, gap, self.speller, channel);
            }
            end = token.end;
        }
        self.gaps.code(x.get(end..), usize::MAX, self.speller, channel);
    }

    /// Codes a word. If no `texts` are given `folded` may be not folded yet.
    fn word<C: Channel>(
        &mut self,
        token: &Token,
        folded: &[u8],
        texts: Option<&mut Texts>,
        new: &impl Draw<C>,
        channel: &mut C,
    ) {
        // Whoever writes two words with one hash gets the second one spelled each time.
        let computed_only = texts.is_none();
        let is_other =
            texts.is_some_and(|t| t.entry(token.hash).or_insert_with(|| folded.to_vec()) != folded);
        let with_y = self.asks_y(token.start);
        let before = self.words.len();
        let index = if is_other { before } else { self.index(token.hash) };
        if !self.is_new.code(index == before, channel) {
            channel.symbol(index, &self.counts);
            self.counts.add(index, 1);
            return;
        }
        // A hash that no word has.
        let hash = if is_other { 0 } else { token.hash };
        if new.draw(hash, with_y, channel) == Drawn::ToSpell {
            if computed_only && token.kind == Kind::Word {
                let small = fold(token.kind, folded);
                spell(self.speller, &small, channel);
            } else {
                spell(self.speller, folded, channel);
            }
        }
        if !is_other {
            self.words.push(token.hash);
            self.counts.push(1);
        }
    }

    fn index(&mut self, hash: u64) -> usize {
        let words = &self.words;
        self.slots.find(hash, |i| words.get(i).copied())
    }

    /// Whether [`word_counts`] would count a new word that begins here.
    fn asks_y(&self, start: usize) -> bool {
        start < COUNTED_BYTES && self.words.len() < COUNTED_WORDS
    }

    fn read(&mut self, book: &Codebook, most: usize, read: &mut Decoder<'_>) -> Result<Vec<u8>, CodeError> {
        let mut texts: Texts = book.words().map(|(hash, word)| (hash, word.to_vec())).collect();
        let mut out = Vec::new();
        for _ in 0..number(0, read) {
            let room = most.saturating_sub(out.len()).saturating_add(1);
            let gap = self.gaps.code(Some(b""), room, self.speller, read).map(<[u8]>::to_vec);
            let before = out.len();
            out.extend(gap.iter().flatten());
            // Where a second one of overlapping pairs begins.
            let start = if gap.is_some() { out.len() } else { last_char(&out) };
            let folded = self.read_word(start, book, &mut texts, read)?;
            if kind_of(&folded) == Kind::Pair {
                let overlap = out.split_off(start);
                if !folded.starts_with(&overlap) {
                    return Err(CodeError::Code);
                }
                out.extend(folded);
            } else {
                let gap = gap.ok_or(CodeError::Code)?;
                let written = self.capitals.code(None, &folded, &gap, self.speller, read);
                out.extend(written.word(&folded));
            }
            if out.len() > most {
                return Err(CodeError::Length(most));
            }
            if out.len() <= before || read.is_spent() {
                return Err(CodeError::Code);
            }
        }
        let room = most.saturating_sub(out.len()).saturating_add(1);
        let gap = self.gaps.code(Some(b""), room, self.speller, read).ok_or(CodeError::Code)?;
        out.extend_from_slice(gap);
        if out.len() > most { Err(CodeError::Length(most)) } else { Ok(out) }
    }

    fn read_word(
        &mut self,
        start: usize,
        book: &Codebook,
        texts: &mut Texts,
        read: &mut Decoder<'_>,
    ) -> Result<Vec<u8>, CodeError> {
        let with_y = self.asks_y(start);
        if !self.is_new.code(false, read) {
            if self.words.is_empty() {
                return Err(CodeError::Code);
            }
            let index = read.symbol(0, &self.counts);
            self.counts.add(index, 1);
            let word = self.words.get(index).and_then(|hash| texts.get(hash));
            return word.cloned().ok_or(CodeError::Code);
        }
        let (hash, word) = match book.draw(0, with_y, read) {
            Drawn::Told(index) => {
                let (hash, word) = book.word(index).ok_or(CodeError::Code)?;
                (hash, word.to_vec())
            }
            Drawn::ToSpell => {
                let word = spell(self.speller, b"", read);
                if word.is_empty() || word.len() > SPELLED_BYTES {
                    return Err(CodeError::Code);
                }
                (word_hash(&word), word)
            }
        };
        if texts.entry(hash).or_insert_with(|| word.clone()) == &word {
            if self.index(hash) < self.words.len() {
                return Err(CodeError::Code);
            }
            self.words.push(hash);
            self.counts.push(1);
        }
        Ok(word)
    }
}

/// Where the last character begins.
fn last_char(text: &[u8]) -> usize {
    let from = text.len().saturating_sub(4);
    (from..text.len())
        .find(|at| decode(text, *at).0.is_some_and(|c| at + c.len_utf8() == text.len()))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests;
