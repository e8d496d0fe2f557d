//! A range coder (arithmetic coding with bytes, after G. N. N. Martin, 1979), and the one way in
//! which the models speak to it: a [`Channel`] that writes, reads, or only adds up what writing
//! would cost. So each model is written once, and its computed lengths are those of its codes.

use std::f64::consts::LOG2_E;

/// Totals of a [`Table`] are at most this.
pub(super) const MOST: u64 = 1 << 40;

/// The range never is below this, so a share of 1/[`MOST`] still has 2^16 codes.
const LEAST: u64 = 1 << 56;

/// Bits of a binary probability.
pub(super) const CHANCE_BITS: u32 = 16;

/// Symbols 0, 1, … with a share each.
pub(super) trait Table {
    /// Sum of all shares, 1 to [`MOST`].
    fn total(&self) -> u64;
    /// The symbol's share; 0 if there is no such symbol.
    fn size(&self, symbol: usize) -> u64;
    /// The sum of the shares before it.
    fn start(&self, symbol: usize) -> u64;
    /// The symbol with start ≤ point < start + size.
    fn at(&self, point: u64) -> usize;
}

/// Where symbols go to, or come from.
pub(super) trait Channel {
    /// Writes `symbol` and returns it, or returns the one that was read.
    fn symbol(&mut self, symbol: usize, table: &impl Table) -> usize;

    /// The same for a bit that is 1 with a probability of `chance` of 2^[`CHANCE_BITS`], neither
    /// 0 nor all.
    fn bit(&mut self, bit: bool, chance: u32) -> bool;

    /// Whether there is no more to read: what is read from here on means nothing.
    fn is_spent(&self) -> bool {
        false
    }
}

/// Adds up the bits.
#[derive(Debug)]
pub(super) struct Cost {
    bits: f64,
    /// Product of the probabilities not yet in `bits`: a multiplication instead of a logarithm.
    product: f64,
}

impl Cost {
    pub(super) fn new() -> Self {
        Cost { bits: 0.0, product: 1.0 }
    }

    /// An event of this probability, above 0.
    pub(super) fn chance(&mut self, probability: f64) {
        self.product *= probability;
        if self.product < 1e-200 {
            self.bits = self.bits();
            self.product = 1.0;
        }
    }

    pub(super) fn bits(&self) -> f64 {
        self.bits - self.product.max(f64::MIN_POSITIVE).ln() * LOG2_E
    }
}

impl Channel for Cost {
    fn symbol(&mut self, symbol: usize, table: &impl Table) -> usize {
        self.chance(table.size(symbol) as f64 / table.total() as f64);
        symbol
    }

    fn bit(&mut self, bit: bool, chance: u32) -> bool {
        const ALL: u32 = 1 << CHANCE_BITS;
        let share = if bit { chance } else { ALL - chance };
        self.chance(f64::from(share) * (1.0 / f64::from(ALL)));
        bit
    }
}

/// Writes.
#[derive(Debug)]
pub(super) struct Encoder {
    low: u64,
    range: u64,
    out: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Encoder { low: 0, range: u64::MAX, out: Vec::new() }
    }

    fn narrow(&mut self, start: u64, size: u64, unit: u64) {
        let (low, carry) = self.low.overflowing_add(unit * start);
        self.low = low;
        if carry {
            self.carry();
        }
        self.range = unit * size;
        while self.range < LEAST {
            self.out.push(self.low.to_be_bytes()[0]);
            self.low <<= 8;
            self.range <<= 8;
        }
    }

    fn carry(&mut self) {
        for byte in self.out.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return;
            }
        }
    }

    /// The code. What is read behind its end is zeros, so as few bytes as tell the last range
    /// from others are written.
    pub(super) fn finish(mut self) -> Vec<u8> {
        for keep in 1..=8_u32 {
            let mask = u64::MAX.checked_shr(8 * keep).unwrap_or(0);
            let (rounded, carry) = self.low.overflowing_add(mask);
            let value = rounded & !mask;
            if value.wrapping_sub(self.low) < self.range {
                if carry {
                    self.carry();
                }
                self.out.extend(value.to_be_bytes().iter().take(keep as usize));
                break;
            }
        }
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

impl Channel for Encoder {
    fn symbol(&mut self, symbol: usize, table: &impl Table) -> usize {
        let unit = self.range / table.total();
        self.narrow(table.start(symbol), table.size(symbol), unit);
        symbol
    }

    fn bit(&mut self, bit: bool, chance: u32) -> bool {
        let unit = self.range >> CHANCE_BITS;
        let chance = u64::from(chance);
        if bit {
            self.narrow(0, chance, unit);
        } else {
            self.narrow(chance, (1 << CHANCE_BITS) - chance, unit);
        }
        bit
    }
}

/// Reads what an [`Encoder`] has written, or any other bytes.
#[derive(Debug)]
pub(super) struct Decoder<'c> {
    /// Where the code is above the low end of the range.
    above: u64,
    range: u64,
    rest: std::slice::Iter<'c, u8>,
    /// How many zeros were read behind the end.
    zeros: u32,
}

impl<'c> Decoder<'c> {
    pub(super) fn new(code: &'c [u8]) -> Self {
        let mut decoder = Decoder { above: 0, range: u64::MAX, rest: code.iter(), zeros: 0 };
        for _ in 0..8 {
            decoder.next_byte();
        }
        decoder
    }

    fn next_byte(&mut self) {
        let byte = self.rest.next().copied().unwrap_or_else(|| {
            self.zeros = self.zeros.saturating_add(1);
            0
        });
        self.above = self.above << 8 | u64::from(byte);
    }

    fn narrow(&mut self, start: u64, size: u64, unit: u64) {
        self.above = self.above.saturating_sub(unit * start);
        self.range = unit * size.max(1);
        while self.range < LEAST {
            self.next_byte();
            self.range <<= 8;
        }
    }
}

impl Channel for Decoder<'_> {
    fn symbol(&mut self, _: usize, table: &impl Table) -> usize {
        let unit = self.range / table.total();
        let symbol = table.at((self.above / unit).min(table.total() - 1));
        self.narrow(table.start(symbol), table.size(symbol), unit);
        symbol
    }

    fn bit(&mut self, _: bool, chance: u32) -> bool {
        let unit = self.range >> CHANCE_BITS;
        let chance = u64::from(chance);
        let bit = self.above / unit < chance;
        if bit {
            self.narrow(0, chance, unit);
        } else {
            self.narrow(chance, (1 << CHANCE_BITS) - chance, unit);
        }
        bit
    }

    fn is_spent(&self) -> bool {
        // Of a proper code the decoder never needs more than the bytes that `finish` left out:
        // zeros, of which a run may have been long. What is beyond all doubt is enough here.
        self.zeros > 1 << 16
    }
}

/// Shares that grow with what was seen: a Fenwick tree (P. M. Fenwick, 1994).
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    counts: Vec<u32>,
    tree: Vec<u64>,
    total: u64,
}

impl Seen {
    pub(super) fn new(counts: &[u32]) -> Self {
        let mut seen = Seen::default();
        for count in counts {
            seen.push(*count);
        }
        seen
    }

    pub(super) fn push(&mut self, count: u32) {
        self.counts.push(count);
        self.total += u64::from(count);
        let place = self.counts.len();
        // What the new node of the tree covers: itself and the nodes right below it.
        let mut sum = u64::from(count);
        let mut below = place - 1;
        let lowest = place & (place - 1);
        while below > lowest {
            sum += self.tree.get(below - 1).copied().unwrap_or(0);
            below &= below - 1;
        }
        self.tree.push(sum);
    }

    pub(super) fn add(&mut self, symbol: usize, more: u32) {
        let Some(count) = self.counts.get_mut(symbol) else { return };
        let Some(sum) = count.checked_add(more) else { return };
        *count = sum;
        self.total += u64::from(more);
        let mut place = symbol + 1;
        while let Some(node) = self.tree.get_mut(place - 1) {
            *node += u64::from(more);
            place += place & place.wrapping_neg();
        }
    }
}

impl Table for Seen {
    fn total(&self) -> u64 {
        self.total.max(1)
    }

    fn size(&self, symbol: usize) -> u64 {
        self.counts.get(symbol).copied().unwrap_or(0).into()
    }

    fn start(&self, symbol: usize) -> u64 {
        let mut place = symbol;
        let mut sum = 0;
        while place > 0 {
            sum += self.tree.get(place - 1).copied().unwrap_or(0);
            place &= place - 1;
        }
        sum
    }

    fn at(&self, point: u64) -> usize {
        let mut place = 0;
        let mut left = point;
        let mut step = (self.counts.len() + 1).next_power_of_two();
        while step > 0 {
            if let Some(node) = self.tree.get(place + step - 1).filter(|node| **node <= left) {
                left -= node;
                place += step;
            }
            step /= 2;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(
            counts in proptest::collection::vec(1_u32..1000, 1..40),
            symbols in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 1_u32..65536), 0..300),
        ) {
            let mut table = Seen::new(&counts);
            let symbols: Vec<_> = symbols.into_iter()
                .map(|(i, bit, chance)| (i.index(counts.len()), bit, chance.min(65535)))
                .collect();
            let (mut out, mut cost) = (Encoder::new(), Cost::new());
            for (symbol, bit, chance) in &symbols {
                for channel in [true, false] {
                    if channel {
                        out.symbol(*symbol, &table);
                        out.bit(*bit, *chance);
                    } else {
                        cost.symbol(*symbol, &table);
                        cost.bit(*bit, *chance);
                    }
                }
                table.add(*symbol, 7);
            }
            let code = out.finish();
            prop_assert!(code.len() as f64 * 8.0 <= cost.bits() + 8.1, "{} {}", code.len() * 8, cost.bits());
            let mut table = Seen::new(&counts);
            let mut read = Decoder::new(&code);
            for (symbol, bit, chance) in &symbols {
                prop_assert_eq!(read.symbol(0, &table), *symbol);
                prop_assert_eq!(read.bit(false, *chance), *bit);
                table.add(*symbol, 7);
            }
        }

        #[test]
        fn a_tree_is_a_list_of_sums(counts in proptest::collection::vec(1_u32..9, 1..60)) {
            let table = Seen::new(&counts);
            let mut start = 0;
            for (symbol, count) in counts.iter().enumerate() {
                prop_assert_eq!(table.start(symbol), start);
                for point in start..start + u64::from(*count) {
                    prop_assert_eq!(table.at(point), symbol);
                }
                start += u64::from(*count);
            }
            prop_assert_eq!(table.total(), start);
        }
    }

    #[test]
    fn a_carry_goes_through() {
        // Nearly all the range is below: many bytes of 255, then a carry.
        let table = Seen::new(&[u32::MAX - 1, 1]);
        let mut symbols = vec![1; 40];
        symbols.extend([0; 5]);
        symbols.extend([1; 3]);
        let mut out = Encoder::new();
        for symbol in &symbols {
            out.symbol(*symbol, &table);
        }
        let code = out.finish();
        let mut read = Decoder::new(&code);
        for symbol in symbols {
            assert_eq!(read.symbol(0, &table), symbol);
        }
    }
}
