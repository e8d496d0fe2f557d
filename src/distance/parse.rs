//! An LZ parse: X as copies from Y and as bytes that the byte context model foretells.
//!
//! It sees what words don't: whole sentences in their order, as quotes and headers have them. A
//! text is prepared once ([`LzText`]) and then coded given one Y after another.

use super::bytes::{ByteModel, primed};
use super::oldest;
use super::range::Cost;
use std::cell::RefCell;

/// How much of X and of Y the parse sees: their first 16 KiB.
pub const PARSED_BYTES: usize = 16 * 1024;

/// The shortest copy.
const SHORTEST: usize = 5;
/// A copy that is this long is not left for another.
const LONG: usize = 32;
/// Bits to say that a byte follows, and that a copy does: probabilities 15/16 and 1/16.
const BYTE: f32 = 0.093;
const COPY: f32 = 4.0;

/// A text with what it costs without any other.
#[derive(Clone, Debug)]
pub struct LzText {
    bytes: Vec<u8>,
    /// Of each byte, behind those before it.
    costs: Vec<f32>,
    /// Of the [`SHORTEST`] bytes from each place on.
    keys: Vec<u32>,
}

#[derive(Default)]
struct Scratch {
    /// By key, one more than the last place in Y.
    places: Vec<u16>,
    /// For each place of X, the longest copy that begins there.
    lengths: Vec<u16>,
    best: Vec<f32>,
    /// Bytes compared, for the test of what hostile input costs.
    #[cfg(test)]
    compared: usize,
}

thread_local! {
    static MODEL: RefCell<Option<ByteModel<2>>> = const { RefCell::new(None) };
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl LzText {
    /// Prepares a text, of which its first [`PARSED_BYTES`] are seen.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        let bytes = oldest(text, PARSED_BYTES).to_vec();
        let costs = MODEL.with_borrow_mut(|model| {
            let model = model.get_or_insert_with(|| primed(PARSED_BYTES / 4));
            let mark = model.mark();
            let mut cost = Cost::new();
            let mut before = 0.0;
            let costs = bytes.iter().map(|byte| {
                model.byte(*byte, &mut cost);
                let all = cost.bits();
                #[allow(clippy::cast_possible_truncation, reason = "a few bits")]
                let bits = (all - before) as f32 + BYTE;
                before = all;
                bits
            });
            let costs = costs.collect();
            model.undo(mark);
            costs
        });
        let keys = (0..bytes.len()).filter_map(|at| key(&bytes, at)).collect();
        LzText { bytes, costs, keys }
    }

    /// C(X), in bits.
    #[must_use]
    pub fn bits(&self) -> f64 {
        self.costs.iter().map(|c| f64::from(*c)).sum()
    }

    /// C(X|Y), in bits; never more than C(X). Of Y its first [`PARSED_BYTES`] are seen.
    #[must_use]
    pub fn bits_given(&self, y: &[u8]) -> f64 {
        SCRATCH.with_borrow_mut(|scratch| self.parse(oldest(y, PARSED_BYTES), scratch))
    }

    fn parse(&self, y: &[u8], scratch: &mut Scratch) -> f64 {
        let bits = y.len().max(256).next_power_of_two().trailing_zeros();
        scratch.places.clear();
        scratch.places.resize(1 << bits, 0);
        for at in 0..y.len() {
            let Some(key) = key(y, at) else { break };
            if let Some(place) = scratch.places.get_mut((key >> (32 - bits)) as usize) {
                *place = u16::try_from(at + 1).unwrap_or(0);
            }
        }
        self.find(y, bits, scratch);
        self.cheapest(y.len(), scratch)
    }

    fn find(&self, y: &[u8], bits: u32, scratch: &mut Scratch) {
        scratch.lengths.clear();
        // The copy of the place before, one byte later.
        let (mut from, mut length) = (0, 0_usize);
        for (at, key) in self.keys.iter().enumerate() {
            (from, length) = (from + 1, length.saturating_sub(1));
            let place = scratch.places.get((key >> (32 - bits)) as usize).copied().unwrap_or(0);
            if place > 0 && length < LONG {
                let other = usize::from(place) - 1;
                let longer =
                    same(self.bytes.get(at..).unwrap_or_default(), y.get(other..).unwrap_or_default());
                #[cfg(test)]
                {
                    scratch.compared += longer;
                }
                if longer > length {
                    (from, length) = (other, longer);
                }
            }
            scratch.lengths.push(u16::try_from(length).unwrap_or(u16::MAX));
        }
        let _ = from;
    }

    /// The shortest way through X from behind, of those that take each copy whole.
    fn cheapest(&self, y_bytes: usize, scratch: &mut Scratch) -> f64 {
        #[allow(clippy::cast_possible_truncation, reason = "a few bits")]
        let copy = COPY + (y_bytes.max(1) as f32).log2();
        let n = self.bytes.len();
        scratch.best.clear();
        scratch.best.resize(n + 1, 0.0);
        let mut next = 0.0;
        for (at, cost) in self.costs.iter().enumerate().rev() {
            let mut best = cost + next;
            let length = usize::from(scratch.lengths.get(at).copied().unwrap_or(0));
            if length >= SHORTEST {
                // The length in Elias' γ code.
                #[allow(clippy::cast_precision_loss, reason = "at most 14")]
                let told = copy + (2 * (length - SHORTEST + 1).ilog2() + 1) as f32;
                let behind = scratch.best.get(at + length).copied().unwrap_or(0.0);
                best = best.min(told + behind);
            }
            if let Some(kept) = scratch.best.get_mut(at) {
                *kept = best;
            }
            next = best;
        }
        next.into()
    }
}

/// A hash of the [`SHORTEST`] bytes at `at`.
fn key(text: &[u8], at: usize) -> Option<u32> {
    let five = match text.get(at..at + 8).and_then(|eight| eight.try_into().ok()) {
        Some(eight) => u64::from_le_bytes(eight) << 24,
        None => text.get(at..at + SHORTEST)?.iter().rev().fold(0, |all, b| all << 8 | u64::from(*b)) << 24,
    };
    u32::try_from(five.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).ok()
}

/// How many bytes at the beginning are the same.
fn same(a: &[u8], b: &[u8]) -> usize {
    let mut n = 0;
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        if a != b {
            break;
        }
        n += 8;
    }
    let rest = a.get(n..).into_iter().flatten().zip(b.get(n..).into_iter().flatten());
    n + rest.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = include_bytes!("../../LICENSE-APACHE");

    #[test]
    fn a_quote_saves_nearly_all_of_itself() {
        let (quote, other) = (&TEXT[1000..1800], &TEXT[3000..7000]);
        let mut x = b"I do not think so, see below.\n\n".to_vec();
        x.extend(quote);
        let text = LzText::new(&x);
        let with = LzText::new(b"I do not think so, see below.\n\n").bits();
        let mut y = other.to_vec();
        y.extend(quote);
        assert!(text.bits_given(&y) < with + 60.0, "{} {with}", text.bits_given(&y));
        assert!(text.bits_given(other) > 0.8 * text.bits());
        assert_eq!(text.bits_given(b""), text.bits_given(b"zzz"));
        assert!((text.bits() - text.bits_given(b"")).abs() < 0.01 * text.bits());
    }

    #[test]
    fn one_text_after_another_is_as_each_alone() {
        let a = LzText::new(&TEXT[..2000]).bits();
        let _ = LzText::new(&TEXT[2000..]);
        assert_eq!(LzText::new(&TEXT[..2000]).bits(), a);
    }

    #[test]
    fn no_text_makes_it_compare_for_long() {
        let of = |x: &[u8], y: &[u8]| {
            let mut scratch = Scratch::default();
            let _ = LzText::new(x).parse(y, &mut scratch);
            scratch.compared
        };
        let n = 8_000;
        let alike: Vec<u8> = TEXT.iter().copied().cycle().take(n).collect();
        let ones = vec![b'a'; n];
        let period: Vec<u8> = b"abcdefg".iter().copied().cycle().take(n).collect();
        let broken: Vec<u8> = (0..n).map(|i| if i % 31 == 0 { b'-' } else { b'a' }).collect();
        for (x, y) in [
            (&alike, &alike),
            (&ones, &ones),
            (&period, &period),
            (&broken, &ones),
            (&ones, &broken),
            (&broken, &broken),
        ] {
            assert!(of(x, y) <= 40 * n, "{}", of(x, y));
        }
    }

    proptest! {
        #[test]
        fn y_never_costs(
            x in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'a')], 0..300),
            y in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'a')], 0..300),
        ) {
            let text = LzText::new(&x);
            let given = text.bits_given(&y);
            prop_assert!(given >= 0.0 && given <= text.bits() * 1.0001 + 0.01);
            // As a whole it is found in itself.
            if x.len() > 60 {
                let whole = text.bits_given(&x);
                prop_assert!(whole <= 30.0 + text.bits() * 0.5, "{} {}", whole, text.bits());
            }
        }

        #[test]
        fn same_is_the_common_beginning(a in "[ab]{0,40}", b in "[ab]{0,40}") {
            let expected = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(same(a.as_bytes(), b.as_bytes()), expected);
        }
    }
}
