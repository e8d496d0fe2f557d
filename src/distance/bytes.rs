//! The byte context model: the next byte from the 1 to N bytes before it, mixed.

use super::range::{CHANCE_BITS, Channel, Cost};
use super::{Coder, PRIMER, newest};
use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

/// How much of Y the byte context model reads: its newest 64 KiB.
pub const BYTES_SEEN: usize = 64 * 1024;

/// Predictions of single bits in the contexts of the last 1, 2, … N bytes, and of the bits of the
/// byte itself that are known already. They are added up as logarithms of odds, with weights that
/// are learnt on the way, others for each number of contexts that were seen before.
#[derive(Clone, Debug)]
pub(super) struct ByteModel<const N: usize> {
    /// By hash of the context: 12 bits of probability, 4 of how often it was seen.
    slots: Vec<u16>,
    weights: Vec<[i32; N]>,
    /// The last eight bytes.
    last: u64,
    /// What to put back to be as before, if wanted.
    changes: Option<Vec<(u32, u16)>>,
}

/// One, as a weight.
const ONE: i32 = 1 << 16;

impl<const N: usize> ByteModel<N> {
    /// A model that knows nothing, with room for the contexts of about so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let size = (bytes.clamp(256, 1 << 19) * N * 8).next_power_of_two();
        ByteModel {
            slots: vec![1 << 15; size],
            weights: vec![[ONE * 2 / 5; N]; N + 1],
            last: 0,
            changes: None,
        }
    }

    /// Begins to write down changes, to be undone by [`ByteModel::undo`].
    pub(super) fn mark(&mut self) -> (Vec<[i32; N]>, u64) {
        self.changes.get_or_insert_default().clear();
        (self.weights.clone(), self.last)
    }

    /// As it was at the [`ByteModel::mark`].
    pub(super) fn undo(&mut self, mark: (Vec<[i32; N]>, u64)) {
        (self.weights, self.last) = mark;
        for (place, before) in self.changes.iter_mut().flat_map(|c| c.drain(..).rev()) {
            if let Some(slot) = self.slots.get_mut(place as usize) {
                *slot = before;
            }
        }
    }

    /// Sets what counts as the bytes before the next one.
    pub(super) fn begin(&mut self, last: u8) {
        self.last = last.into();
    }

    /// Codes a byte, and learns.
    pub(super) fn byte(&mut self, byte: u8, channel: &mut impl Channel) -> u8 {
        let logits = &*LOGITS;
        let mut so_far = 1_usize;
        for half in [0, 1] {
            let bases = self.bases(if half == 0 { 0 } else { so_far });
            let mut node = 1_usize;
            for bit in (0..4_u32).rev() {
                let wanted = byte >> (bit + 4 * (1 - half)) & 1 == 1;
                let got = self.bit(wanted, &bases, node, logits, channel);
                node = node << 1 | usize::from(got);
            }
            so_far = so_far << 4 | (node & 15);
        }
        let byte = (so_far & 255).to_le_bytes()[0];
        self.last = self.last << 8 | u64::from(byte);
        byte
    }

    /// Where the 16 slots of each context begin, for the first half byte or, with the first
    /// one's bits, for the second.
    fn bases(&self, half: usize) -> [usize; N] {
        let shift = 64 - self.slots.len().trailing_zeros();
        let mut bases = [0; N];
        for (order, base) in (1_u32..).zip(bases.iter_mut()) {
            let context = self.last & u64::MAX.checked_shr(64 - 8 * order).unwrap_or(u64::MAX);
            let key =
                (context ^ u64::from(order) << 56 ^ (half as u64) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            // The upper bits of a product depend on all bits of its factors.
            *base = usize::try_from(key >> shift).unwrap_or(0) & !15;
        }
        bases
    }

    fn bit(
        &mut self,
        wanted: bool,
        bases: &[usize; N],
        node: usize,
        logits: &Logits,
        channel: &mut impl Channel,
    ) -> bool {
        let mut inputs = [0_i32; N];
        let mut known = 0;
        for (base, input) in bases.iter().zip(&mut inputs) {
            let slot = self.slots.get(base + node).copied().unwrap_or(1 << 15);
            *input = logits.of(slot >> 4);
            known += usize::from(slot & 15 > 0);
        }
        let mut none = [0; N];
        let weights = self.weights.get_mut(known).unwrap_or(&mut none);
        let sum: i64 = inputs.iter().zip(weights.iter()).map(|(i, w)| i64::from(*i) * i64::from(*w)).sum();
        let chance = logits.chance(sum >> 16);
        let bit = channel.bit(wanted, chance);
        let error = (if bit { 1 << CHANCE_BITS } else { 0 }) - i32::try_from(chance).unwrap_or(0);
        for ((base, input), weight) in bases.iter().zip(inputs).zip(weights) {
            // Learns by 1/256 of input times error, both as fractions.
            *weight = (*weight + ((input * (error >> 4)) >> 12)).clamp(-2 * ONE, 4 * ONE);
            let place = base + node;
            if let Some(slot) = self.slots.get_mut(place) {
                if let Some(changes) = &mut self.changes {
                    changes.push((u32::try_from(place).unwrap_or(0), *slot));
                }
                *slot = learnt(*slot, bit);
            }
        }
        bit
    }
}

/// The slot after a bit: quickly at first, then by 1/16 of what was wrong.
fn learnt(slot: u16, bit: bool) -> u16 {
    /// 65536/1.2, then /2.5, /3.5 …: the first sight of a context says much.
    const RATES: [i32; 16] = [
        54_613, 26_214, 18_725, 14_564, 11_916, 10_082, 8_738, 7_710, 6_899, 6_242, 5_699, 5_243, 4_855,
        4_520, 4_228, 4_096,
    ];
    let seen = slot & 15;
    let chance = i32::from(slot >> 4);
    let aim = if bit { 4095 } else { 0 };
    let rate = RATES.get(usize::from(seen)).copied().unwrap_or(4_096);
    let chance = (chance + (((aim - chance) * rate) >> 16)).clamp(1, 4095);
    u16::try_from(chance).unwrap_or(2048) << 4 | (seen + 1).min(15)
}

/// ln(p/(1−p)) and back, in steps of 1/256.
struct Logits {
    of_chance: Vec<i16>,
    to_chance: Vec<u16>,
}

/// The largest logit, 12 · 256.
const FAR: i64 = 12 * 256;

static LOGITS: LazyLock<Logits> = LazyLock::new(|| {
    #[allow(clippy::cast_possible_truncation, reason = "rounded to whole steps within the range")]
    let of_chance = (0..4096)
        .map(|p| {
            let p = (f64::from(p) + 0.5) / 4096.0;
            ((p / (1.0 - p)).ln() * 256.0).round() as i16
        })
        .collect();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 65535")]
    let to_chance = (-FAR..=FAR)
        .map(|x| (65536.0 / (1.0 + (-(x as f64) / 256.0).exp())).round().clamp(16.0, 65520.0) as u16)
        .collect();
    Logits { of_chance, to_chance }
});

impl Logits {
    fn of(&self, chance: u16) -> i32 {
        self.of_chance.get(usize::from(chance)).copied().unwrap_or(0).into()
    }

    fn chance(&self, logit: i64) -> u32 {
        let place = usize::try_from(logit.clamp(-FAR, FAR) + FAR).unwrap_or(0);
        self.to_chance.get(place).copied().unwrap_or(1 << 15).into()
    }
}

/// A model of the contexts of the last N bytes that has read [`PRIMER`], so that letters have
/// their usual lengths from the beginning.
pub(super) fn primed<const N: usize>(room: usize) -> ByteModel<N> {
    let mut model = ByteModel::new(room);
    for byte in PRIMER {
        model.byte(*byte, &mut Cost::new());
    }
    model
}

/// The byte context model as a coder: orders 1 to 5, mixed, behind the same primer as deflate.
///
/// Of Y it sees the newest [`BYTES_SEEN`], every byte of them, as if X were written right behind.
/// Better than deflate at small texts; some hundred times slower than words.
#[derive(Clone, Debug)]
pub struct ByteCoder {
    fresh: Arc<ByteModel<5>>,
}

impl Default for ByteCoder {
    fn default() -> Self {
        ByteCoder { fresh: Arc::new(primed(BYTES_SEEN / 4)) }
    }
}

impl Coder for ByteCoder {
    fn bits(&self, x: &[u8]) -> f64 {
        self.bits_given(x, b"")
    }

    fn bits_given(&self, x: &[u8], y: &[u8]) -> f64 {
        thread_local! {
            static WORKING: RefCell<Option<ByteModel<5>>> = const { RefCell::new(None) };
        }
        WORKING.with_borrow_mut(|working| {
            let model = working.get_or_insert_with(|| (*self.fresh).clone());
            let mark = model.mark();
            for byte in newest(y, BYTES_SEEN) {
                model.byte(*byte, &mut Cost::new());
            }
            let mut cost = Cost::new();
            for byte in x {
                model.byte(*byte, &mut cost);
            }
            model.undo(mark);
            cost.bits()
        })
    }

    fn window(&self) -> usize {
        BYTES_SEEN
    }
}

#[cfg(test)]
mod tests {
    use super::super::range::{Decoder, Encoder};
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = include_bytes!("../../LICENSE-APACHE");

    fn encoded(mut model: ByteModel<5>, text: &[u8]) -> Vec<u8> {
        let mut out = Encoder::new();
        for byte in text {
            model.byte(*byte, &mut out);
        }
        out.finish()
    }

    #[test]
    fn the_length_is_that_of_a_code_which_decodes() {
        let coder = ByteCoder::default();
        let (y, x) = TEXT.split_at(TEXT.len() / 2);
        let code = encoded((*coder.fresh).clone(), x);
        let computed = coder.bits(x);
        assert!((code.len() as f64 * 8.0 - computed).abs() < computed * 0.001 + 16.0);
        let mut model = (*coder.fresh).clone();
        let mut read = Decoder::new(&code);
        let back: Vec<u8> = x.iter().map(|_| model.byte(0, &mut read)).collect();
        assert_eq!(back, x);
        // The same again: nothing stays of what was coded before.
        assert_eq!(coder.bits_given(x, y), coder.bits_given(x, y));
        assert_eq!(coder.bits(x), computed);
        assert!(coder.bits_given(x, y) < computed * 0.95);
        // A text that is known already costs less than a third.
        assert!(coder.bits_given(x, x) < computed / 3.0, "{} {computed}", coder.bits_given(x, x));
    }

    #[test]
    fn it_beats_deflate() {
        let (bytes, deflate) = (ByteCoder::default(), super::super::Deflate::primed(6));
        assert!(bytes.bits(TEXT) < 0.92 * deflate.bits(TEXT), "{} {}", bytes.bits(TEXT), deflate.bits(TEXT));
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let fresh = ByteModel::<5>::new(300);
            let code = encoded(fresh.clone(), &text);
            let mut model = fresh;
            let mut read = Decoder::new(&code);
            let back: Vec<u8> = text.iter().map(|_| model.byte(0, &mut read)).collect();
            prop_assert_eq!(back, text);
        }
    }
}
