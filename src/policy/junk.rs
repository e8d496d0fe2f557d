//! When a text is junk: when it depends on nothing, or on itself alone.
//!
//! The density of a text (what it costs alone, as a share of its bits) is about the same for all
//! that people write, in whatever language: the shorter it is, the less there is to depend on. What
//! is random or encrypted lies above, what repeats itself far below. Ordinary spam is people's text
//! and lies between: this test does not find it, and is not for it.
//!
//! A score is evidence, not a verdict: it moves a reputation and an order, and never drops anything.

/// Above this score a text is taken for junk. Measured: `docs/performance.md`.
pub const THRESHOLD: f64 = 1.0;

/// How far a density lies outside of what people write, for a text of so many bytes: 0 in the
/// middle, 1 at the edge, beyond which 0.12 % of people's texts lie.
#[must_use]
pub fn score(density: f64, length: usize) -> f64 {
    if !density.is_finite() {
        return 0.0;
    }
    let short = 1.0 / (length.max(1) as f64).sqrt();
    // The median and the edges of 4,244 posts, under deflate behind its primer.
    let middle = 0.44 + 1.9 * short;
    if density > middle { (density - middle) / (0.05 + 2.1 * short) } else { (middle - density) / LOW }
}

/// How far below the middle people's texts go: tables, logs and quotations of quotations repeat
/// themselves, whatever their length.
const LOW: f64 = 0.32;

/// Whether a text of this density and length is taken for junk.
#[must_use]
pub fn is_junk(density: f64, length: usize) -> bool {
    score(density, length) > THRESHOLD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_in_the_middle() {
        for (density, length, junk) in [
            (0.58, 200, false),
            (0.48, 1700, false),
            (0.46, 6000, false),
            (0.78, 200, true),
            (0.76, 500, true),
            (0.76, 10_000, true),
            (1.0, 100, true),
            (0.02, 500, true),
            (0.01, 10_000, true),
            (f64::NAN, 10, false),
        ] {
            assert_eq!(is_junk(density, length), junk, "{density} {length}: {}", score(density, length));
        }
    }
}
