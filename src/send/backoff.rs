//! When a delivery that did not succeed is tried again, and when it is given up.
//!
//! Pure: durations in, durations out. The schedule is a function of the delivery's id and the
//! number of attempts alone, so a restart continues it and a simulated day takes microseconds.

use std::time::Duration;

/// The retry schedule, RFC 5321 section 4.5.4.1: at least 30 minutes apart after the first
/// tries, given up after four to five days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The mean wait after the first attempt; each further wait is twice as long.
    pub first: Duration,
    /// The longest mean wait.
    pub max: Duration,
    /// The age at which a delivery makes its last attempt.
    pub give_up: Duration,
}

impl Default for Schedule {
    /// 5 minutes, doubling to 4 hours, for 5 days.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5 * 60),
            max: Duration::from_secs(4 * 3600),
            give_up: Duration::from_secs(5 * 24 * 3600),
        }
    }
}

/// Waits are spread by this part of their mean to either side, so that what failed together
/// does not come back together.
const SPREAD: f64 = 0.2;

/// Nothing waits longer, whatever the configuration says; the arithmetic below can't overflow.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Schedule {
    /// How long to wait after `attempts` attempts (1 = the first one just failed) of the
    /// delivery with this id: `first` doubled for each further attempt, at most `max`, and
    /// 20 % either way.
    #[must_use]
    pub fn wait(&self, delivery: i64, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let mean = self.first.saturating_mul(1_u32 << doublings).min(self.max.max(self.first)).min(A_YEAR);
        let share = unit_interval(delivery, attempts);
        mean.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * share)
    }

    /// What follows an attempt that failed when the delivery was `age` old: the wait until the
    /// next one, or `None` when it is to be given up.
    ///
    /// The last attempt is made when the age reaches `give_up`, not somewhat before, so that
    /// the peer has all the promised time to come back.
    #[must_use]
    pub fn next(&self, delivery: i64, attempts: u32, age: Duration) -> Option<Duration> {
        let left = self.give_up.checked_sub(age).filter(|d| !d.is_zero())?;
        Some(self.wait(delivery, attempts).min(left))
    }
}

/// A number in [0, 1) that depends on the delivery and the attempt only (splitmix64's mixing).
fn unit_interval(delivery: i64, attempts: u32) -> f64 {
    let mut x =
        delivery.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(attempts));
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    // 32 bits are plenty for a jitter and convert without loss.
    f64::from(u32::try_from(x >> 32).unwrap_or(0)) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_waits(schedule: &Schedule, delivery: i64) -> (Vec<Duration>, Duration) {
        let mut age = Duration::ZERO;
        let mut waits = Vec::new();
        for attempts in 1.. {
            match schedule.next(delivery, attempts, age) {
                Some(wait) => {
                    waits.push(wait);
                    age += wait;
                }
                None => break,
            }
        }
        (waits, age)
    }

    #[test]
    fn five_days_of_retries_double_to_four_hours_and_end_on_the_hour() {
        let schedule = Schedule::default();
        for delivery in 0..1000 {
            let (waits, age) = all_waits(&schedule, delivery);
            assert_eq!(age, schedule.give_up, "the last attempt is at give_up");
            let mut mean = schedule.first;
            for wait in &waits[..waits.len() - 1] {
                assert!(*wait >= mean.mul_f64(0.8) && *wait <= mean.mul_f64(1.2));
                mean = (mean * 2).min(schedule.max);
            }
            assert!((30..45).contains(&waits.len()), "{} attempts", waits.len());
        }
    }

    #[test]
    fn a_day_of_retries() {
        let schedule = Schedule::default();
        let mut age = Duration::ZERO;
        let mut attempts = 1;
        while let Some(wait) = schedule.next(42, attempts, age) {
            if age + wait > Duration::from_secs(24 * 3600) {
                break;
            }
            age += wait;
            attempts += 1;
        }
        // 5+10+20+40+80+160 minutes, then every 4 hours.
        assert!((10..=13).contains(&attempts), "{attempts}");
    }

    #[test]
    fn what_failed_together_comes_back_apart() {
        let schedule = Schedule::default();
        let mut waits: Vec<_> = (0..1000).map(|id| schedule.wait(id, 9)).collect();
        waits.sort();
        let (lowest, highest) = (waits[0], waits[999]);
        assert!(lowest < schedule.max.mul_f64(0.81));
        assert!(highest > schedule.max.mul_f64(1.19));
        let crowd = waits.windows(100).map(|w| w[99] - w[0]).min().expect("windows");
        assert!(crowd > schedule.max.mul_f64(0.02), "spread evenly: {crowd:?}");
    }

    #[test]
    fn the_same_attempt_waits_the_same_after_a_restart() {
        let schedule = Schedule::default();
        assert_eq!(schedule.wait(7, 3), schedule.wait(7, 3));
        assert_ne!(schedule.wait(7, 3), schedule.wait(8, 3));
    }

    #[test]
    fn odd_schedules_stay_finite() {
        let schedule = Schedule {
            first: Duration::from_secs(600),
            max: Duration::from_secs(60),
            give_up: Duration::from_secs(700),
        };
        // max under first: first wins, no wait becomes shorter than asked for.
        assert!(schedule.wait(1, u32::MAX) >= Duration::from_secs(480));
        assert_eq!(schedule.next(1, 1, Duration::from_secs(700)), None);
        assert_eq!(schedule.next(1, 1, Duration::MAX), None);
        assert_eq!(schedule.next(1, 5, Duration::from_secs(699)), Some(Duration::from_secs(1)));
        let huge = Schedule { first: Duration::MAX, max: Duration::MAX, give_up: Duration::from_secs(5) };
        assert_eq!(huge.next(1, 2, Duration::ZERO), Some(Duration::from_secs(5)));
    }
}
