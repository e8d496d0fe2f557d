//! What a peer's messages turned out to be worth: a number from −1 to 1 that fades.
//!
//! Pure arithmetic. It hangs on identities that were verified; whoever asks must know that the
//! thing was done by that peer. What others can do to a peer (votes) is bounded for each day, so
//! that no crowd can ruin it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// After this time half of it is forgotten, the good and the bad.
pub const HALF_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// At or below this a peer is asked last.
pub const BAD: f64 = -0.5;

/// Votes about the messages of one peer that count within a day, all voters together.
pub const VOTES_A_DAY: u32 = 5;

/// What moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// A message of the peer saves bits on others, or others on it.
    Gain,
    /// It sent again what it knew that we have.
    Duplicate,
    /// A message that depends on nothing, or on itself alone: random, encrypted, repeated.
    Junk,
    /// A person found a message good.
    Good,
    /// A person found a message bad.
    Bad,
}

impl Cause {
    /// The share of the way to 1 (or −1) that one such thing moves it, with its sign.
    fn weight(self) -> f64 {
        match self {
            Cause::Gain => 0.02,
            Cause::Duplicate => -0.002,
            Cause::Junk => -0.05,
            Cause::Good => 0.1,
            Cause::Bad => -0.1,
        }
    }
}

/// What is left of `value` after this time.
#[must_use]
pub fn faded(value: f64, since: Duration) -> f64 {
    bounded(value) * (-since.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
}

/// `value` after one more thing of this kind; `strength` from 0 to 1 says how much of one it is (the
/// share of a message's bits that were saved). The nearer to the end, the smaller the step: nobody
/// gets beyond ±1, and one good thing after many bad ones weighs more than one after many good ones.
#[must_use]
pub fn moved(value: f64, cause: Cause, strength: f64) -> f64 {
    let value = bounded(value);
    let weight = cause.weight() * if strength.is_finite() { strength.clamp(0.0, 1.0) } else { 0.0 };
    bounded(value + weight.abs() * (weight.signum() - value))
}

/// How much of its bits a message saves: its gain as a share of what it costs alone.
#[must_use]
pub fn share(gain_bits: f64, one_sided_bits: f64) -> f64 {
    let whole = gain_bits + one_sided_bits;
    if whole > 0.0 && gain_bits > 0.0 { (gain_bits / whole).min(1.0) } else { 0.0 }
}

fn bounded(value: f64) -> f64 {
    if value.is_finite() { value.clamp(-1.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(start: f64, causes: &[(Cause, usize)]) -> f64 {
        causes.iter().fold(start, |value, (cause, times)| {
            (0..*times).fold(value, |value, _| moved(value, *cause, 1.0))
        })
    }

    #[test]
    fn it_moves_as_far_as_the_thing_is_worth() {
        assert!((after(0.0, &[(Cause::Gain, 1)]) - 0.02).abs() < 1e-12);
        assert!((moved(0.0, Cause::Gain, 0.5) - 0.01).abs() < 1e-12);
        assert!((after(0.0, &[(Cause::Junk, 1)]) + 0.05).abs() < 1e-12);
        // A few junk messages among many good ones are no catastrophe; many junk messages are.
        assert!(after(0.0, &[(Cause::Gain, 100), (Cause::Junk, 2)]) > 0.6);
        assert!(after(0.0, &[(Cause::Gain, 100), (Cause::Junk, 50)]) < BAD);
        // A day of the worst votes does not make a good peer a bad one, nor an unknown one.
        let votes = usize::try_from(VOTES_A_DAY).unwrap();
        assert!(after(0.8, &[(Cause::Bad, votes)]) > 0.0);
        assert!(after(0.0, &[(Cause::Bad, votes)]) > BAD);
    }

    #[test]
    fn it_fades() {
        assert!((faded(0.8, HALF_LIFE) - 0.4).abs() < 1e-12);
        assert!((faded(-0.8, HALF_LIFE * 2) + 0.2).abs() < 1e-12);
        assert_eq!(faded(f64::NAN, HALF_LIFE), 0.0);
    }

    #[test]
    fn a_share_is_between_nothing_and_all() {
        assert_eq!(share(50.0, 150.0), 0.25);
        assert_eq!(share(-5.0, 150.0), 0.0);
        assert_eq!(share(0.0, 0.0), 0.0);
    }

    proptest! {
        #[test]
        fn it_stays_in_its_bounds(
            steps in proptest::collection::vec((0..5_usize, -1.0..2.0_f64, 0..100_u64), 0..200)
        ) {
            let causes = [Cause::Gain, Cause::Duplicate, Cause::Junk, Cause::Good, Cause::Bad];
            let mut value = 0.0;
            for (cause, strength, days) in steps {
                value = moved(faded(value, Duration::from_secs(days * 86_400)), causes[cause], strength);
                prop_assert!((-1.0..=1.0).contains(&value));
            }
        }
    }
}
