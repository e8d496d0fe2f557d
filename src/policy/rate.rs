//! How often.

use super::human;
use crate::message::UnixTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// At most `count` times within any period of length `per`. Written `20/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How often; 0 is never.
    pub count: u32,
    /// Within how long.
    pub per: Duration,
}

impl Rate {
    /// Whether one more is allowed when there were `in_window` within the last period.
    #[must_use]
    pub fn allows(&self, in_window: u32) -> bool {
        in_window < self.count
    }

    /// When the period that ends `now` began: what happened after it counts.
    #[must_use]
    pub fn window_start(&self, now: UnixTime) -> UnixTime {
        let micros = i64::try_from(self.per.as_micros()).unwrap_or(i64::MAX);
        UnixTime(now.0.saturating_sub(micros))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            3600 => "h",
            86_400 => "d",
            _ => return write!(f, "{}/{}", self.count, human::show_duration(self.per)),
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl FromStr for Rate {
    type Err = human::HumanError;

    fn from_str(s: &str) -> Result<Self, human::HumanError> {
        human::rate(s)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        human::rate(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// The last moments at which something happened, for a [`Rate`]. Holds at most `rate.count` of
/// them. A sliding window: no burst of twice the rate around a boundary.
#[derive(Clone, Debug)]
pub struct RateWindow {
    rate: Rate,
    times: VecDeque<UnixTime>,
}

impl RateWindow {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        RateWindow { rate, times: VecDeque::new() }
    }

    /// Whether one more is allowed now.
    ///
    /// # Errors
    /// How long to wait; the whole period if the rate is zero.
    pub fn check(&self, now: UnixTime) -> Result<(), Duration> {
        let start = self.rate.window_start(now);
        let inside = self.times.iter().filter(|t| **t > start).count();
        if u32::try_from(inside).is_ok_and(|n| self.rate.allows(n)) {
            return Ok(());
        }
        let oldest = self.times.iter().find(|t| **t > start);
        Err(oldest.map_or(self.rate.per, |t| {
            Duration::from_micros(t.0.saturating_sub(start.0).unsigned_abs()).min(self.rate.per)
        }))
    }

    /// It happened. Times must not run backwards; an earlier one counts as the latest so far.
    pub fn record(&mut self, now: UnixTime) {
        let now = self.times.back().map_or(now, |last| (*last).max(now));
        self.times.push_back(now);
        let start = self.rate.window_start(now);
        let limit = usize::try_from(self.rate.count).unwrap_or(usize::MAX);
        while self.times.len() > limit || self.times.front().is_some_and(|t| *t <= start) {
            self.times.pop_front();
        }
    }

    /// Whether nothing of what is kept matters any more, so that the window can be dropped.
    #[must_use]
    pub fn is_idle(&self, now: UnixTime) -> bool {
        let start = self.rate.window_start(now);
        self.times.iter().all(|t| *t <= start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    #[test]
    fn a_window_slides() {
        let mut w = RateWindow::new("2/h".parse().unwrap());
        let t = |minutes| UnixTime(minutes * MINUTE);
        assert_eq!(w.check(t(0)), Ok(()));
        w.record(t(0));
        w.record(t(50));
        assert_eq!(w.check(t(59)), Err(Duration::from_secs(60)));
        assert_eq!(w.check(t(60)), Ok(()));
        w.record(t(60));
        // Around the full hour there is no room for a double burst.
        assert_eq!(w.check(t(61)), Err(Duration::from_secs(49 * 60)));
        assert!(!w.is_idle(t(61)));
        assert!(w.is_idle(t(200)));
    }

    #[test]
    fn holds_no_more_than_the_count() {
        let mut w = RateWindow::new(Rate { count: 3, per: Duration::from_secs(86_400) });
        for second in 0..1000 {
            w.record(UnixTime(second));
        }
        assert_eq!(w.times.len(), 3);
        assert!(w.check(UnixTime(1001)).is_err());
    }

    #[test]
    fn zero_is_never() {
        let mut w = RateWindow::new(Rate { count: 0, per: Duration::from_secs(60) });
        assert_eq!(w.check(UnixTime(0)), Err(Duration::from_secs(60)));
        w.record(UnixTime(0));
        assert_eq!(w.times.len(), 0);
    }

    #[test]
    fn is_written_as_in_the_configuration() {
        for text in ["20/h", "5/m", "10/d", "1/s"] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.to_string(), text);
            let json = serde_json::to_string(&rate).unwrap();
            assert_eq!(serde_json::from_str::<Rate>(&json).unwrap(), rate);
        }
        assert!(serde_json::from_str::<Rate>("20").is_err());
    }
}
