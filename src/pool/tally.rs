//! Sums by message, for the few thousand messages that one look-up touches.

/// A sum needs no more digits than this.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn single(value: f64) -> f32 {
    value as f32
}

/// Open addressing in a table that is twice as large as what may come.
#[derive(Debug)]
pub(super) struct Tally {
    /// Ordinal plus 1, and the sum.
    places: Vec<(u32, f32)>,
    shift: u32,
    left: usize,
}

impl Tally {
    /// Room for so many messages.
    pub(super) fn new(most: usize) -> Self {
        let size = (most.max(8) * 2).next_power_of_two();
        Tally { places: vec![(0, 0.0); size], shift: 32 - size.trailing_zeros().min(31), left: most }
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
    fn adds_up() {
        let mut tally = Tally::new(100);
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
