//! When an account is spoken to: how long news are waited for, and how long after a failure it is
//! tried again.
//!
//! A function of what happened, the time and a random number that are passed in: a day of failures
//! is tested in milliseconds.

use std::time::Duration;

use super::trouble::Kind;

/// A server may end an IDLE after 30 minutes (RFC 9051, section 5.4); ours ends before that,
/// whatever random part is added.
const IDLE: Duration = Duration::from_secs(26 * 60);

/// A connection that does nothing is kept for a poll this far away.
const KEEP: Duration = Duration::from_secs(10 * 60);

/// A session that lasted this long was a good one: what failed before it is forgotten.
const GOOD: Duration = Duration::from_secs(60);

/// The first wait after a failure, and the longest.
fn waits(kind: Kind) -> (Duration, Duration) {
    let minutes = |n: u64| Duration::from_secs(n * 60);
    match kind {
        Kind::Network => (Duration::from_secs(2), minutes(10)),
        // Servers lock accounts after a few wrong passwords in a short time.
        Kind::Login => (minutes(5), minutes(240)),
        Kind::Folder => (minutes(1), minutes(30)),
        Kind::Here => (Duration::from_secs(1), minutes(1)),
    }
}

/// What to do when the folder has been looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Let the server tell, for so long; then look again.
    Idle(Duration),
    /// Keep the connection, and look after so long.
    Sleep(Duration),
    /// Close the connection, and come back after so long.
    Leave(Duration),
}

/// The times of one account.
#[derive(Debug)]
pub(super) struct Schedule {
    poll: Duration,
    /// Whether to use IDLE where it is offered.
    idle: bool,
    /// Whether something else than news has to be done at every poll.
    errands: bool,
    failures: u32,
    last: Option<Kind>,
}

impl Schedule {
    pub(super) fn new(poll: Duration, idle: bool, errands: bool) -> Schedule {
        Schedule { poll, idle, errands, failures: 0, last: None }
    }

    /// The folder was looked through. `offers_idle`: the server can tell.
    pub(super) fn rest(&self, offers_idle: bool, random: u64) -> Rest {
        if self.idle && offers_idle {
            let longest = jittered(IDLE, random);
            return Rest::Idle(if self.errands { longest.min(self.poll) } else { longest });
        }
        if self.poll <= KEEP { Rest::Sleep(self.poll) } else { Rest::Leave(self.poll) }
    }

    /// A session ended in a failure, so long after its login succeeded (none: it never did).
    /// Returns how long to wait before the next one.
    pub(super) fn failed(&mut self, kind: Kind, lasted: Option<Duration>, random: u64) -> Duration {
        if lasted.is_some_and(|lasted| lasted >= GOOD) || self.last != Some(kind) {
            self.failures = 0;
        }
        self.last = Some(kind);
        let (first, longest) = waits(kind);
        let factor = 1u32.checked_shl(self.failures.min(16)).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        jittered(first.saturating_mul(factor).min(longest), random)
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// All is well again.
    pub(super) fn succeeded(&mut self, lasted: Duration) {
        if lasted >= GOOD {
            (self.failures, self.last) = (0, None);
        }
    }
}

/// A tenth less to a tenth more: many accounts of one server that was away don't come back at once.
fn jittered(time: Duration, random: u64) -> Duration {
    let part = u32::try_from(random % 201).unwrap_or(100);
    time.saturating_mul(900 + part) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// How often is tried in a day of nothing but this failure, and the longest wait.
    fn day(kind: Kind, lasted: Option<Duration>) -> (u32, Duration, Vec<Duration>) {
        let mut schedule = Schedule::new(Duration::from_secs(300), true, false);
        let (mut now, mut tries, mut longest, mut waits) = (Duration::ZERO, 0, Duration::ZERO, Vec::new());
        let mut random = 7u64;
        while now < DAY {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            tries += 1;
            let wait = schedule.failed(kind, lasted, random >> 33);
            (now, longest) = (now + wait, longest.max(wait));
            waits.push(wait);
        }
        (tries, longest, waits)
    }

    #[test]
    fn a_day_without_a_server() {
        let (tries, longest, waits) = day(Kind::Network, None);
        assert!((140..180).contains(&tries), "{tries}");
        assert!(longest <= Duration::from_secs(660), "{longest:?}");
        assert!(waits[0] < Duration::from_secs(3), "a short interruption is short: {:?}", waits[0]);
    }

    #[test]
    fn a_day_of_wrong_passwords_locks_nobody_out() {
        let (tries, _, waits) = day(Kind::Login, None);
        assert!(tries <= 12, "{tries}");
        let ten_minutes: Duration = waits.iter().take(2).sum();
        assert!(ten_minutes > Duration::from_secs(600), "three tries take longer: {ten_minutes:?}");
    }

    #[test]
    fn a_server_that_hangs_up_at_once_is_not_hammered() {
        let (tries, ..) = day(Kind::Network, Some(Duration::from_secs(1)));
        assert!(tries < 180, "{tries}");
        // One that hangs up now and then is tried again at once.
        let (_, longest, _) = day(Kind::Network, Some(Duration::from_secs(1800)));
        assert!(longest < Duration::from_secs(3), "{longest:?}");
    }

    #[test]
    fn what_failed_before_is_forgotten_after_a_good_session() {
        let mut schedule = Schedule::new(Duration::from_secs(300), true, false);
        for _ in 0..8 {
            schedule.failed(Kind::Network, None, 100);
        }
        schedule.succeeded(Duration::from_secs(1));
        assert!(schedule.failures() > 0, "a look is no good session yet");
        schedule.succeeded(GOOD);
        assert_eq!(schedule.failures(), 0);
        assert_eq!(schedule.failed(Kind::Network, None, 100), Duration::from_secs(2));
        assert_eq!(schedule.failed(Kind::Login, None, 100), Duration::from_secs(300), "another trouble");
    }

    #[test]
    fn the_server_tells_or_is_asked() {
        let short = Duration::from_secs(300);
        for random in 0..1000 {
            let Rest::Idle(time) = Schedule::new(short, true, false).rest(true, random) else { panic!() };
            assert!(time < Duration::from_secs(29 * 60) && time > Duration::from_secs(20 * 60), "{time:?}");
        }
        assert_eq!(Schedule::new(short, true, true).rest(true, 0), Rest::Idle(short));
        assert_eq!(Schedule::new(short, false, false).rest(true, 0), Rest::Sleep(short));
        assert_eq!(Schedule::new(short, true, false).rest(false, 0), Rest::Sleep(short));
        let hour = Duration::from_secs(3600);
        assert_eq!(Schedule::new(hour, true, false).rest(false, 0), Rest::Leave(hour));
    }
}
