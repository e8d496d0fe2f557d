//! Sums by message, for the few thousand messages that one look-up touches.

/// A sum needs no more digits than this.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn single(value: f64) -> f32 {
    value as f32
}

/// log2(1 + z) for z from 0, to about a millionth of a bit: the exponent, and a polynomial of the
/// fraction, interpolated at the zeros of a Chebyshev polynomial.
pub(super) fn log2_of_one_and(z: f32) -> f32 {
    let bits = (1.0 + z).to_bits();
    let exponent = (bits >> 23) as f32 - 127.0;
    let t = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000) - 1.0;
    let polynomial =
        [0.020_016_65, -0.094_626_81, 0.213_943_21, -0.338_377_2, 0.477_496_36, -0.721_144_1, 1.442_693];
    exponent + t * polynomial.into_iter().fold(0.0, |sum, factor| sum * t + factor)
}

/// Open addressing in a table that is twice as large as what may come.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Ordinal plus 1, and the sum.
    places: Vec<(u32, f32)>,
    shift: u32,
    left: usize,
}

impl Tally {
    /// Forgets everything, and makes room for so many messages.
    pub(super) fn clear(&mut self, most: usize) {
        let size = (most.max(8) * 2).next_power_of_two();
        self.places.clear();
        self.places.resize(size, (0, 0.0));
        self.shift = 32 - size.trailing_zeros().min(31);
        self.left = most;
    }

    /// Adds to the sum of a message. Messages beyond the room that was asked for are left out.
    pub(super) fn add(&mut self, ordinal: u32, bits: f32) {
        let key = ordinal.wrapping_add(1);
        let mask = self.places.len() - 1;
        let mut at = (key.wrapping_mul(0x9e37_79b1) >> self.shift) as usize & mask;
        while let Some((kept, sum)) = self.places.get_mut(at) {
            if *kept == key {
                *sum += bits;
                return;
            }
            if *kept == 0 {
                if self.left > 0 {
                    self.left -= 1;
                    (*kept, *sum) = (key, bits);
                }
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// The messages and their sums, in no order.
    pub(super) fn sums(&self) -> impl Iterator<Item = (u32, f32)> {
        self.places.iter().filter(|(key, _)| *key != 0).map(|(key, sum)| (key - 1, *sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_logarithm_is_one() {
        let mut z = 1e-4_f32;
        while z < 1e9 {
            let (is, should) = (f64::from(log2_of_one_and(z)), (1.0 + f64::from(z)).log2());
            assert!((is - should).abs() < 4e-6 * should.max(1.0), "{z}: {is} {should}");
            z *= 1.001;
        }
        assert_eq!(log2_of_one_and(0.0), 0.0);
    }

    #[test]
    fn adds_up() {
        let mut tally = Tally::default();
        tally.clear(100);
        for round in 0..3 {
            for n in 0..100_u32 {
                tally.add(n.wrapping_mul(4096 * 4096), round as f32);
            }
        }
        tally.add(5, 1.0);
        let sums: BTreeMap<u32, f32> = tally.sums().collect();
        assert_eq!(sums.len(), 100, "full is full");
        assert!(sums.values().all(|sum| *sum == 3.0));
    }
}
