//! How much of each frequent word and of each pair of words every generation of a peer's messages
//! has, summed up: scoring peers by these must not read all the postings of frequent words.
//!
//! One table of 8-byte entries, a feature's entries side by side. When it is full, what is new is
//! left out.

/// At most so many entries: 32 MB.
const MOST: usize = 1 << 22;
/// So many entries are looked at for a feature. What more peers have than that tells them apart
/// no better.
const PROBES: usize = 96;
/// A sum is kept in parts of one in so many.
const UNIT: f32 = 64.0;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    tag: u32,
    /// 0 for a free entry.
    generation: u16,
    sum: u16,
}

/// The sums.
#[derive(Debug)]
pub(super) struct Sums {
    entries: Vec<Entry>,
    used: usize,
}

impl Default for Sums {
    fn default() -> Self {
        Sums { entries: vec![Entry::default(); 1 << 10], used: 0 }
    }
}

/// The name of a feature in the table.
fn tag(feature: u64) -> u32 {
    let mixed = feature.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::try_from(mixed >> 32).unwrap_or(0)
}

/// The feature that two words are, one behind the other.
pub(super) fn pair(first: u64, second: u64) -> u64 {
    first.rotate_left(21).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ second
}

/// The whole part, at most what an entry holds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(parts: f32) -> u16 {
    parts.clamp(0.0, f32::from(u16::MAX)) as u16
}

impl Sums {
    fn places(&self, tag: u32) -> impl Iterator<Item = usize> + use<> {
        let (size, mask) = (self.entries.len(), self.entries.len() - 1);
        let start = tag as usize >> (32 - size.trailing_zeros());
        (0..PROBES.min(size)).map(move |step| (start + step) & mask)
    }

    /// Adds to a feature's sum of a generation.
    pub(super) fn add(&mut self, feature: u64, generation: u32, amount: f32, seed: u32) {
        let Some(generation) = u16::try_from(generation).ok().filter(|g| *g > 0) else { return };
        let tag = tag(feature);
        // Rounded up or down by a lot that is always the same, so that many small amounts add up.
        let lot = (tag ^ seed).wrapping_mul(0x85eb_ca6b) >> 8;
        let parts = amount * UNIT + lot as f32 / (1 << 24) as f32;
        let parts = whole(parts);
        if parts == 0 {
            return;
        }
        let room = self.used * 2 < self.entries.len();
        for at in self.places(tag) {
            let Some(entry) = self.entries.get_mut(at) else { return };
            if entry.generation == 0 {
                if room {
                    *entry = Entry { tag, generation, sum: parts };
                    self.used += 1;
                }
                break;
            }
            if entry.tag == tag && entry.generation == generation {
                entry.sum = entry.sum.saturating_add(parts);
                return;
            }
        }
        if !room && self.entries.len() < MOST {
            self.rebuild(self.entries.len() * 2, |_| true);
            self.add(feature, u32::from(generation), amount, seed);
        }
    }

    /// Forgets a feature.
    pub(super) fn clear(&mut self, feature: u64) {
        let tag = tag(feature);
        for at in self.places(tag) {
            match self.entries.get_mut(at) {
                Some(entry) if entry.generation == 0 => return,
                Some(entry) if entry.tag == tag => entry.sum = 0,
                _ => {}
            }
        }
    }

    /// The sums of a feature by generation.
    pub(super) fn each(&self, feature: u64, mut found: impl FnMut(u32, f32)) {
        let tag = tag(feature);
        for entry in self.places(tag).filter_map(|at| self.entries.get(at)) {
            if entry.generation == 0 {
                return;
            }
            if entry.tag == tag {
                found(u32::from(entry.generation), f32::from(entry.sum) / UNIT);
            }
        }
    }

    /// Forgets generations.
    pub(super) fn retain(&mut self, still: impl Fn(u32) -> bool) {
        self.rebuild(self.entries.len(), still);
    }

    fn rebuild(&mut self, size: usize, still: impl Fn(u32) -> bool) {
        let old = std::mem::replace(&mut self.entries, vec![Entry::default(); size]);
        self.used = 0;
        let kept =
            old.into_iter().filter(|e| e.generation > 0 && e.sum > 0 && still(u32::from(e.generation)));
        for entry in kept {
            for at in self.places(entry.tag) {
                let Some(place) = self.entries.get_mut(at) else { break };
                if place.generation == 0 {
                    *place = entry;
                    self.used += 1;
                    break;
                }
            }
        }
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.len() * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums_of(sums: &Sums, feature: u64) -> Vec<(u32, f32)> {
        let mut out = Vec::new();
        sums.each(feature, |generation, sum| out.push((generation, sum)));
        out.sort_by_key(|(generation, _)| *generation);
        out
    }

    #[test]
    fn adds_up_and_forgets() {
        let mut sums = Sums::default();
        for n in 0..20_000_u64 {
            sums.add(n % 5000, 1 + u32::try_from(n % 3).unwrap(), 0.5, 7);
        }
        // Small amounts are rounded fairly.
        for seed in 0..10_000 {
            sums.add(9999, 1, 0.01, seed);
        }
        assert!((90.0..110.0).contains(&sums_of(&sums, 9999)[0].1), "{:?}", sums_of(&sums, 9999));
        assert_eq!(sums_of(&sums, 7), [(1, 0.5), (2, 1.0), (3, 0.5)]);
        sums.clear(7);
        assert!(sums_of(&sums, 7).iter().all(|(_, sum)| *sum == 0.0));
        sums.retain(|generation| generation != 2);
        assert!(sums_of(&sums, 8).iter().all(|(generation, _)| *generation != 2));
        assert_eq!(sums_of(&sums, 123_456), []);
    }

    #[test]
    fn what_everybody_has_is_left_out_at_some_time() {
        let mut sums = Sums::default();
        for generation in 1..60_000 {
            sums.add(1, generation, 1.0, 0);
        }
        assert!(sums_of(&sums, 1).len() <= PROBES);
        for feature in 0..3000 {
            sums.add(feature, 5, 1.0, 0);
        }
        assert_eq!((0..3000).filter(|f| sums_of(&sums, *f).iter().any(|s| s.0 == 5)).count() / 100, 29);
    }
}
