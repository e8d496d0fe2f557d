//! What of a text is no known word: letters of unknown words, capitals, what stands between.

use super::PRIMER;
use super::bytes::ByteModel;
use super::counts::Slots;
use super::range::{CHANCE_BITS, Channel, Cost, Seen, Table};
use super::tokens::{Kind, decode, each_token, fold, word_hash};
use std::cell::RefCell;

/// No word is longer than this when folded.
pub(super) const SPELLED_BYTES: usize = 256;

/// So many letters of a text are foretold by the ones before them. Those after them, in a text with
/// more unknown words than any prose has, take 8 bits each: so they cost little time.
pub(super) const FORETOLD_BYTES: usize = 8 * 1024;

/// Letters, one after another.
#[derive(Debug)]
pub(super) struct Speller {
    model: ByteModel<2>,
    /// How many more are foretold.
    left: usize,
}

impl Speller {
    fn begin(&mut self, last: u8) {
        self.model.begin(last);
    }

    fn byte(&mut self, byte: u8, channel: &mut impl Channel) -> u8 {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                self.model.byte(byte, channel)
            }
            None => channel.symbol(byte.into(), &Flat).to_le_bytes()[0],
        }
    }
}

/// Bytes of which nothing is known.
struct Flat;

impl Table for Flat {
    fn total(&self) -> u64 {
        256
    }

    fn size(&self, _: usize) -> u64 {
        1
    }

    fn start(&self, symbol: usize) -> u64 {
        symbol as u64
    }

    fn at(&self, point: u64) -> usize {
        usize::try_from(point).unwrap_or(0)
    }
}

/// Probability of a bit that nothing is known of.
const HALF: u32 = 1 << (CHANCE_BITS - 1);

/// Runs with a speller that knows [`PRIMER`] and nothing else.
pub(super) fn with_speller<R>(run: impl FnOnce(&mut Speller) -> R) -> R {
    thread_local! {
        static SPELLER: RefCell<Option<Speller>> = const { RefCell::new(None) };
    }
    let mut speller = SPELLER.take().unwrap_or_else(|| {
        let mut speller = Speller { model: ByteModel::new(4 * 1024), left: PRIMER.len() * 2 };
        each_token(PRIMER, |token| {
            spell(&mut speller, &fold(token.kind, token.of(PRIMER)), &mut Cost::new());
            true
        });
        speller
    });
    let mark = speller.model.mark();
    speller.left = FORETOLD_BYTES;
    let result = run(&mut speller);
    speller.model.undo(mark);
    SPELLER.set(Some(speller));
    result
}

/// A word and its end; what was read may be too long, or empty, if the code is none.
pub(super) fn spell(speller: &mut Speller, word: &[u8], channel: &mut impl Channel) -> Vec<u8> {
    speller.begin(b' ');
    let mut read = Vec::new();
    let mut letters = word.iter();
    loop {
        // No letter is 0, so 0 is the end.
        let got = speller.byte(letters.next().copied().unwrap_or(0), channel);
        if got == 0 || read.len() > SPELLED_BYTES {
            return read;
        }
        read.push(got);
    }
}

/// Any number, in about twice its bits (P. Elias's γ code, 1975).
pub(super) fn number(wanted: u64, channel: &mut impl Channel) -> u64 {
    let wanted = wanted.saturating_add(1);
    let mut bits = 0;
    while bits < 63 && channel.bit(bits < wanted.ilog2(), HALF) {
        bits += 1;
    }
    let mut read = 1;
    for bit in (0..bits).rev() {
        read = read << 1 | u64::from(channel.bit(wanted >> bit & 1 == 1, HALF));
    }
    read - 1
}

/// A yes or no whose probability is learnt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag(u32);

impl Flag {
    /// `chance` of 2^16.
    pub(super) fn new(chance: u32) -> Self {
        Flag(chance)
    }

    pub(super) fn code(&mut self, wanted: bool, channel: &mut impl Channel) -> bool {
        let got = channel.bit(wanted, self.0);
        let aim = if got { 65_535 } else { 0 };
        self.0 = (self.0 * 31 + aim).div_ceil(32).clamp(64, 65_472);
        got
    }
}

/// What stands between words.
#[derive(Debug)]
pub(super) struct Gaps {
    seen: Seen,
    slots: Slots,
    /// From the third symbol on.
    texts: Vec<(u64, Vec<u8>)>,
    /// The last one that was spelled.
    spelled: Vec<u8>,
}

/// Symbol of a gap that has to be spelled.
const SPELLED: usize = 0;
/// Symbol of a token that begins within the one before it.
const OVERLAP: usize = 1;
/// Gaps that everybody uses, with the counts that they begin with.
const USUAL: [(&[u8], u32); 20] = [
    (b" ", 600),
    (b"", 20),
    (b"\n", 80),
    (b", ", 40),
    (b". ", 25),
    (b".\n", 12),
    (b"\n\n", 10),
    (b".\n\n", 10),
    (b"'", 15),
    (b"-", 15),
    (b".", 20),
    (b"/", 8),
    (b"@", 4),
    (b": ", 10),
    (b",\n", 6),
    (b"\n> ", 8),
    (b" (", 6),
    (b") ", 4),
    (b"://", 2),
    (b"? ", 3),
];
/// What one more occurrence counts.
const MORE: u32 = 12;
/// Longer gaps are spelled each time.
const KEPT_BYTES: usize = 256;
/// So many different ones are kept.
const KEPT: usize = 4096;

impl Gaps {
    pub(super) fn new() -> Self {
        let mut gaps = Gaps {
            seen: Seen::new(&[8, 8]),
            slots: Slots::default(),
            texts: Vec::with_capacity(2 * USUAL.len()),
            spelled: Vec::new(),
        };
        gaps.slots.clear(4 * USUAL.len());
        for (text, count) in USUAL {
            gaps.keep(text, count);
        }
        gaps
    }

    fn keep(&mut self, text: &[u8], count: u32) {
        let hash = word_hash(text);
        let texts = &self.texts;
        let index = self.slots.find(hash, |i| texts.get(i).map(|(hash, _)| *hash));
        if index == self.texts.len() {
            self.texts.push((hash, text.to_vec()));
            self.seen.push(count);
        }
    }

    /// Codes what is between two tokens, `None` if the second begins within the first. Reading,
    /// at most `most` bytes are believed.
    pub(super) fn code(
        &mut self,
        wanted: Option<&[u8]>,
        most: usize,
        speller: &mut Speller,
        channel: &mut impl Channel,
    ) -> Option<&[u8]> {
        let symbol = match wanted {
            None => OVERLAP,
            Some(text) => {
                let hash = word_hash(text);
                self.slots
                    .get(hash, |i| self.texts.get(i).map(|(hash, _)| *hash))
                    .filter(|i| self.texts.get(*i).is_some_and(|(_, kept)| kept == text))
                    .map_or(SPELLED, |i| i + 2)
            }
        };
        let symbol = channel.symbol(symbol, &self.seen);
        self.seen.add(symbol, MORE);
        match symbol {
            OVERLAP => None,
            SPELLED => {
                let text = wanted.unwrap_or_default();
                let length = usize::try_from(number(text.len() as u64, channel)).unwrap_or(usize::MAX);
                self.spelled.clear();
                speller.begin(0);
                let mut bytes = text.iter();
                for _ in 0..length.min(most) {
                    self.spelled.push(speller.byte(bytes.next().copied().unwrap_or(0), channel));
                }
                if length <= KEPT_BYTES && self.texts.len() < KEPT {
                    let text = std::mem::take(&mut self.spelled);
                    self.keep(&text, MORE);
                    self.spelled = text;
                }
                Some(&self.spelled)
            }
            _ => Some(self.texts.get(symbol - 2).map(|(_, text)| text.as_slice()).unwrap_or_default()),
        }
    }
}

/// Which letters of a word are capitals.
#[derive(Debug)]
pub(super) struct Capitals {
    /// By what the last word was and whether a sentence or line begins.
    seen: Vec<Seen>,
    last: usize,
    letters: Flag,
}

/// None: the word is written as it is folded.
const NONE: usize = 0;
/// The first letter.
const FIRST: usize = 1;
/// All letters.
const ALL: usize = 2;
/// Some of the letters, all of them ASCII: a bit for each byte follows.
const SOME: usize = 3;
/// None of this gives the word: it is spelled as it is.
const OTHER: usize = 4;

impl Capitals {
    pub(super) fn new() -> Self {
        let usual = [
            [90, 8, 1, 1, 1],
            [30, 20, 2, 1, 1],
            [20, 6, 12, 2, 1],
            [30, 60, 2, 1, 1],
            [20, 40, 4, 1, 1],
            [20, 20, 15, 2, 1],
        ];
        Capitals { seen: usual.iter().map(|u| Seen::new(u)).collect(), last: 0, letters: Flag::new(1 << 15) }
    }

    /// Codes how `wanted`, whose fold is `folded`, is written, and returns the word as it is
    /// written. `gap` is what stands before it.
    pub(super) fn code(
        &mut self,
        wanted: Option<(Kind, &[u8])>,
        folded: &[u8],
        gap: &[u8],
        speller: &mut Speller,
        channel: &mut impl Channel,
    ) -> Written {
        let begins = gap.iter().any(|b| matches!(b, b'\n' | b'.' | b'?' | b'!'));
        let context = self.last.min(2) + if begins { 3 } else { 0 };
        let symbol = wanted.map_or(NONE, |(kind, word)| symbol(kind, word, folded));
        let Some(seen) = self.seen.get_mut(context) else { return Written::AsFolded };
        let symbol = channel.symbol(symbol, seen);
        seen.add(symbol, 8);
        self.last = symbol;
        let word = wanted.map_or(folded, |(_, word)| word);
        match symbol {
            NONE => Written::AsFolded,
            FIRST => Written::FirstCapital,
            ALL => Written::AllCapitals,
            SOME => {
                let letters = word.iter().map(|b| {
                    let capital = self.letters.code(b.is_ascii_uppercase(), channel);
                    if capital { b.to_ascii_uppercase() } else { *b }
                });
                Written::As(letters.collect())
            }
            _ => Written::As(spell(speller, word, channel)),
        }
    }
}

/// How a word is written, given how it is folded.
#[derive(Debug)]
pub(super) enum Written {
    AsFolded,
    FirstCapital,
    AllCapitals,
    As(Vec<u8>),
}

impl Written {
    pub(super) fn word(self, folded: &[u8]) -> Vec<u8> {
        match self {
            Written::AsFolded => folded.to_vec(),
            Written::FirstCapital => capitals(folded, false),
            Written::AllCapitals => capitals(folded, true),
            Written::As(word) => word,
        }
    }
}

fn symbol(kind: Kind, word: &[u8], folded: &[u8]) -> usize {
    if kind == Kind::Piece {
        return NONE;
    }
    if word.is_ascii() {
        let first = word.first().is_some_and(u8::is_ascii_uppercase);
        let rest = word.iter().skip(1);
        return match rest.clone().filter(|b| b.is_ascii_uppercase()).count() {
            0 if !first => NONE,
            0 => FIRST,
            _ if !word.iter().any(u8::is_ascii_lowercase) => ALL,
            _ => SOME,
        };
    }
    if word == folded {
        NONE
    } else if capitals(folded, false) == word {
        FIRST
    } else if capitals(folded, true) == word {
        ALL
    } else {
        OTHER
    }
}

/// The word with its first letter, or all of them, as capitals.
fn capitals(folded: &[u8], all: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(folded.len());
    let mut at = 0;
    while at < folded.len() {
        let (c, length) = decode(folded, at);
        let as_it_is = folded.get(at..at + length).unwrap_or_default();
        match c.filter(|_| all || at == 0) {
            None => out.extend_from_slice(as_it_is),
            Some(c) => {
                let mut buffer = [0; 4];
                for big in c.to_uppercase() {
                    out.extend_from_slice(big.encode_utf8(&mut buffer).as_bytes());
                }
            }
        }
        at += length;
    }
    out
}
