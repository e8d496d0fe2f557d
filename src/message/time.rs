//! Times: the exact timestamps of the wire, and plain microseconds for everything else.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MICROS: i64 = 1_000_000;
const DAY: i64 = 86_400;
/// 0000/01/01 00:00:00 in seconds since 1970.
const FIRST_SECOND: i64 = -62_167_219_200;
/// 9999/12/31 23:59:59 in seconds since 1970.
const LAST_SECOND: i64 = 253_402_300_799;

/// Microseconds since 1970-01-01 00:00:00 UTC, without leap seconds. Negative before that: the
/// year 0000 is in range. This room never asks what time it is: callers pass times in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// From whole seconds; saturates.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        UnixTime(seconds.saturating_mul(MICROS))
    }

    /// Whole seconds, rounded down (also before 1970).
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// Later by `duration` (microseconds count, the rest is cut off); `None` on overflow.
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let micros = i64::try_from(duration.as_micros()).ok()?;
        self.0.checked_add(micros).map(UnixTime)
    }

    /// Later by `duration`, at most the end of time.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        UnixTime(self.0.saturating_add(micros_of(duration)))
    }

    /// Earlier by `duration`, at least the beginning of time.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        UnixTime(self.0.saturating_sub(micros_of(duration)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: UnixTime) -> Duration {
        u64::try_from(i128::from(self.0) - i128::from(earlier.0))
            .map_or(Duration::ZERO, Duration::from_micros)
    }

    /// RFC 3339 with microseconds, `2008-09-01T00:00:53.420000Z`, for people and JSON. What lies
    /// outside the years 0000 to 9999 is written as the nearest time inside.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let (date, time, micros) = civil(self);
        let (year, month, day) = date;
        let (hour, minute, second) = time;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

impl From<SystemTime> for UnixTime {
    /// Rounded towards 1970, saturating.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => UnixTime(micros_of(after)),
            Err(before) => UnixTime(micros_of(before.duration()).saturating_neg()),
        }
    }
}

fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar. Years are counted from
/// March, so that the leap day is the last of its year and month lengths follow one formula.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9).rem_euclid(12);
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day since 1970-01-01: [`days_from_civil`] backwards.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2).rem_euclid(12) + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

type Three = (i64, i64, i64);

/// Date, time of day and microseconds, moved into the years 0000 to 9999.
fn civil(time: UnixTime) -> (Three, Three, i64) {
    let first = FIRST_SECOND * MICROS;
    let last = LAST_SECOND * MICROS + (MICROS - 1);
    let micros = time.0.clamp(first, last);
    let seconds = micros.div_euclid(MICROS);
    let of_day = seconds.rem_euclid(DAY);
    (
        civil_from_days(seconds.div_euclid(DAY)),
        (of_day / 3_600, of_day / 60 % 60, of_day % 60),
        micros.rem_euclid(MICROS),
    )
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Why bytes are no timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// The pattern is broken: at this byte (from 0) of the timestamp something else must stand.
    #[error("{expected} must stand here: a timestamp has the form YYYY/MM/DD HH:MM:SS[.S*]")]
    Syntax {
        /// Offset inside the timestamp, in bytes.
        at: usize,
        /// What must stand there.
        expected: &'static str,
    },
    /// The pattern is right but there is no such date or time of day.
    #[error("{field} is {value}, which is not from {least} to {most}")]
    Invalid {
        /// Offset inside the timestamp, in bytes.
        at: usize,
        /// Which number.
        field: &'static str,
        /// What it is.
        value: i64,
        /// The least it may be.
        least: i64,
        /// The most it may be, for this month and year.
        most: i64,
    },
}

impl TimeError {
    /// Where in the timestamp, in bytes from its beginning.
    #[must_use]
    pub fn at(&self) -> usize {
        match self {
            TimeError::Syntax { at, .. } | TimeError::Invalid { at, .. } => *at,
        }
    }
}

/// A timestamp of a header line, `YYYY/MM/DD HH:MM:SS[.S*]` (A2), universal time, any number of
/// decimals.
///
/// It keeps its exact text, since the lines of others are forwarded untouched, but is compared by
/// value and never rounded: 0.1 equals 0.10 and is less than 0.10000000000000000001. A trailing
/// "." without digits is read, as A2 allows, and never made.
#[derive(Clone)]
pub struct Timestamp {
    text: Box<str>,
    unix: UnixTime,
}

/// The part of a timestamp before the optional fraction, as a pattern: `d` is a digit.
const PATTERN: &[u8; 19] = b"dddd/dd/dd dd:dd:dd";

impl Timestamp {
    /// Reads a timestamp that fills all of `bytes`.
    ///
    /// # Errors
    /// If the pattern is broken, if anything follows, or if there is no such date (the calendar
    /// is the proleptic Gregorian one, years 0000 to 9999; there is no second 60).
    pub fn parse(bytes: &[u8]) -> Result<Self, TimeError> {
        let (time, length) = Self::parse_prefix(bytes)?;
        if length == bytes.len() {
            return Ok(time);
        }
        Err(TimeError::Syntax { at: length, expected: "the end of the timestamp" })
    }

    /// Reads the timestamp that `bytes` begin with, and says how long it is.
    pub(super) fn parse_prefix(bytes: &[u8]) -> Result<(Self, usize), TimeError> {
        for (at, pattern) in PATTERN.iter().enumerate() {
            let byte = bytes.get(at);
            let (fits, expected) = match pattern {
                b'd' => (byte.is_some_and(u8::is_ascii_digit), "a digit"),
                b'/' => (byte == Some(&b'/'), "\"/\""),
                b':' => (byte == Some(&b':'), "\":\""),
                _ => (byte == Some(&b' '), "a space"),
            };
            if !fits {
                return Err(TimeError::Syntax { at, expected });
            }
        }
        let fraction = match bytes.get(PATTERN.len()..) {
            Some([b'.', rest @ ..]) => rest.iter().take_while(|byte| byte.is_ascii_digit()).count() + 1,
            _ => 0,
        };
        let length = PATTERN.len() + fraction;
        let number = |at: usize, digits: usize| number_of(bytes.iter().skip(at).take(digits));
        let year = number(0, 4);
        let month = within(5, "the month", number(5, 2), 1, 12)?;
        let day = within(8, "the day", number(8, 2), 1, days_in_month(year, month))?;
        let hour = within(11, "the hour", number(11, 2), 0, 23)?;
        let minute = within(14, "the minute", number(14, 2), 0, 59)?;
        let second = within(17, "the second", number(17, 2), 0, 59)?;
        let seconds = days_from_civil(year, month, day) * DAY + hour * 3_600 + minute * 60 + second;
        // Six decimals, filled up with zeros: what lies beyond is cut off.
        let decimals = bytes.iter().take(length).skip(PATTERN.len() + 1);
        let micros = number_of(decimals.chain(std::iter::repeat(&b'0')).take(6));
        let text = bytes.iter().take(length).copied().map(char::from).collect::<String>();
        Ok((Timestamp { text: text.into_boxed_str(), unix: UnixTime(seconds * MICROS + micros) }, length))
    }

    /// A timestamp with the six decimals of `time` and then `extra_decimals` (anything in it but
    /// digits is left out). What lies outside the years 0000 to 9999 becomes the nearest time
    /// inside.
    #[must_use]
    pub fn from_unix(time: UnixTime, extra_decimals: &str) -> Self {
        let ((year, month, day), (hour, minute, second), micros) = civil(time);
        let mut text = format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}");
        text.extend(extra_decimals.chars().filter(char::is_ascii_digit));
        let seconds = days_from_civil(year, month, day) * DAY + hour * 3_600 + minute * 60 + second;
        Timestamp { text: text.into_boxed_str(), unix: UnixTime(seconds * MICROS + micros) }
    }

    /// In microseconds; what lies beyond is cut off, so this is never later than the timestamp.
    #[must_use]
    pub fn to_unix(&self) -> UnixTime {
        self.unix
    }

    /// The first microsecond at which this time is not in the future any more: never earlier than
    /// the timestamp.
    #[must_use]
    pub fn reached_at(&self) -> UnixTime {
        let beyond = self.text.bytes().skip(PATTERN.len() + 1 + 6).any(|digit| digit != b'0');
        UnixTime(self.unix.0.saturating_add(i64::from(beyond)))
    }

    /// The exact text as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The one spelling that all equal timestamps share: no trailing zeros among the decimals and
    /// no trailing ".".
    #[must_use]
    pub fn canonical(&self) -> String {
        self.canonical_str().to_owned()
    }

    /// [`canonical`](Self::canonical) without a copy. Canonical texts sort as their times do: the
    /// first 19 characters have fixed width, and of two fractions the one that goes on is greater.
    pub(super) fn canonical_str(&self) -> &str {
        if self.text.len() > PATTERN.len() {
            self.text.trim_end_matches('0').trim_end_matches('.')
        } else {
            &self.text
        }
    }
}

/// The value of a few decimal digits.
fn number_of<'a>(digits: impl Iterator<Item = &'a u8>) -> i64 {
    digits.fold(0, |value, digit| value * 10 + i64::from(digit.wrapping_sub(b'0')))
}

fn within(at: usize, field: &'static str, value: i64, least: i64, most: i64) -> Result<i64, TimeError> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(TimeError::Invalid { at, field, value, least, most })
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.canonical_str() == other.canonical_str()
    }
}

impl Eq for Timestamp {}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.canonical_str().cmp(other.canonical_str())
    }
}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Timestamp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical_str().hash(state);
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::{civil_from_days, days_from_civil, days_in_month};

    /// Walks the calendar one day at a time, by its month lengths alone.
    #[test]
    fn every_day_of_ten_thousand_years_is_counted_once() {
        let mut days = days_from_civil(0, 1, 1);
        assert_eq!(days, -719_528);
        for year in 0..10_000 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month) {
                    assert_eq!(days_from_civil(year, month, day), days);
                    assert_eq!(civil_from_days(days), (year, month, day));
                    days += 1;
                }
            }
        }
        assert_eq!(days, days_from_civil(9_999, 12, 31) + 1);
        // 400 years of the Gregorian calendar have 146,097 days.
        assert_eq!(days + 719_528, 25 * 146_097);
    }
}
