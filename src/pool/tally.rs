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
    // Signed, which the processor turns into a float at once.
    let exponent = (bits >> 23).cast_signed() as f32 - 127.0;
    let t = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000) - 1.0;
    let polynomial =
        [0.020_016_65, -0.094_626_81, 0.213_943_21, -0.338_377_2, 0.477_496_36, -0.721_144_1, 1.442_693];
    exponent + t * polynomial.into_iter().fold(0.0, |sum, factor| sum * t + factor)
}

/// Sums by number, from 0 on.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sums: Vec<f32>,
    /// Which of them are not 0, and how many.
    taken: Vec<u32>,
    len: usize,
}

impl Tally {
    /// Forgets everything, and makes room for so many additions to so many sums.
    pub(super) fn clear(&mut self, sums: usize, additions: usize) {
        for at in self.taken.iter().take(self.len) {
            if let Some(sum) = self.sums.get_mut(*at as usize) {
                *sum = 0.0;
            }
        }
        self.len = 0;
        if self.sums.len() < sums {
            self.sums.resize(sums, 0.0);
        }
        self.taken.resize(additions, 0);
    }

    /// Adds to a sum. More additions than were asked for are left out.
    pub(super) fn add(&mut self, at: u32, amount: f32) {
        // Without a branch: whether a sum is new can't be foretold.
        if let (Some(sum), Some(taken)) = (self.sums.get_mut(at as usize), self.taken.get_mut(self.len)) {
            *taken = at;
            self.len += usize::from(*sum == 0.0);
            *sum += amount;
        }
    }

    /// The sums that are not 0, in the order in which they came to be.
    pub(super) fn sums(&self) -> impl Iterator<Item = (u32, f32)> {
        let taken = self.taken.iter().take(self.len);
        taken.filter_map(|at| Some((*at, self.sums.get(*at as usize).copied()?)))
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
        for additions in [300, 50, 299] {
            tally.clear(1000, additions);
            for round in 1..=3 {
                (0..100_u32).for_each(|n| tally.add(n * 9, round as f32));
            }
            tally.add(1001, 1.0);
            let sums: BTreeMap<u32, f32> = tally.sums().collect();
            let all = additions >= 300;
            assert_eq!(sums.len(), additions.min(100), "what is more than was asked for is left out");
            assert!(!all || sums.iter().all(|(at, sum)| at % 9 == 0 && *sum == 6.0));
        }
    }
}
