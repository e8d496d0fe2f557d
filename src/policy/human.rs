//! Durations, sizes and rates as people write them in a configuration: `5m`, `10 MiB`, `20/h`.

use super::Rate;
use std::time::Duration;

/// Why a text is no duration, size or rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HumanError {
    /// Not a duration.
    #[error(
        "{0:?} is no duration; write a number with its unit (ms, s, m, h, d or w), for example \"5m\" or \"1h30m\""
    )]
    Duration(String),
    /// Not a size.
    #[error(
        "{0:?} is no size; write a number with its unit (B, kB, KiB, MB, MiB, GB, GiB, TB, TiB), for example \"10 MiB\""
    )]
    Size(String),
    /// Not a rate.
    #[error("{0:?} is no rate; write a count per s, m, h or d, for example \"20/h\"")]
    Rate(String),
    /// A number with no room for it.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// Splits `12ab…` into the number, the unit (letters) and the rest.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits)?;
    let rest = rest.trim_start();
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(letters)?;
    Some((number.parse().ok()?, unit, rest.trim_start()))
}

/// `500ms`, `90s`, `5m`, `4h`, `30d`, `1w`, or several of them, the largest first: `1h30m`.
///
/// # Errors
/// If it is none of these, or longer than 584 million years.
pub fn duration(text: &str) -> Result<Duration, HumanError> {
    let wrong = || HumanError::Duration(text.to_owned());
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    let mut before = u64::MAX;
    loop {
        let (number, unit, after) = number_and_unit(rest).ok_or_else(wrong)?;
        let factor: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(wrong()),
        };
        if factor >= before {
            return Err(wrong());
        }
        before = factor;
        millis = number
            .checked_mul(factor)
            .and_then(|n| millis.checked_add(n))
            .ok_or_else(|| HumanError::TooLarge(text.to_owned()))?;
        if after.is_empty() {
            return Ok(Duration::from_millis(millis));
        }
        rest = after;
    }
}

/// A duration as [`duration`] reads it, with the two largest units that are needed; parts of a
/// millisecond are left out.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let mut out = String::new();
    let mut written = 0;
    for (factor, name) in units {
        let n = millis / factor;
        millis %= factor;
        if n > 0 {
            out.push_str(&format!("{n}{name}"));
            written += 1;
        } else if written > 0 {
            written = 2;
        }
        if written == 2 {
            break;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// `10 MiB`, `8GiB`, `500 kB`, `4096`: bytes. Units are read without regard to case; with `i`
/// they are powers of 1024, else of 1000.
///
/// # Errors
/// If it is none of these, or more than 2^64 − 1 bytes.
pub fn size(text: &str) -> Result<u64, HumanError> {
    let wrong = || HumanError::Size(text.to_owned());
    let (number, unit, after) = number_and_unit(text.trim()).ok_or_else(wrong)?;
    if !after.is_empty() {
        return Err(wrong());
    }
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(|| HumanError::TooLarge(text.to_owned()))
}

/// A size as [`size`] reads it, exactly, in the largest binary unit that divides it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    for (shift, name) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{} {name}", bytes >> shift);
        }
    }
    format!("{bytes} B")
}

/// `20/h`, `5/m`, `10/d`, `100/s`.
///
/// # Errors
/// If it is not a count, a slash and one of these units.
pub fn rate(text: &str) -> Result<Rate, HumanError> {
    let wrong = || HumanError::Rate(text.to_owned());
    let (count, unit) = text.trim().split_once('/').ok_or_else(wrong)?;
    let count = count.trim_end();
    if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let count = count.parse().map_err(|_| HumanError::TooLarge(text.to_owned()))?;
    let seconds = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    Ok(Rate { count, per: Duration::from_secs(seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let good = [
            ("500ms", 500),
            ("60s", 60_000),
            ("5m", 300_000),
            ("4h", 14_400_000),
            ("1d", 86_400_000),
            ("30 d", 2_592_000_000),
            ("2w", 1_209_600_000),
            ("1h30m", 5_400_000),
            (" 1d 12h ", 129_600_000),
            ("0s", 0),
        ];
        for (text, millis) in good {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "m", "-5m", "5 minutes", "1.5h", "5m,", "30m1h", "5m5m", "٣s", "5M"] {
            assert!(
                matches!(duration(text), Err(HumanError::Duration(_) | HumanError::TooLarge(_))),
                "{text}"
            );
        }
        assert!(matches!(duration("99999999999999999d"), Err(HumanError::TooLarge(_))));
        assert!(duration("").unwrap_err().to_string().contains("5m"));
    }

    #[test]
    fn sizes() {
        let good = [
            ("10 MiB", 10 << 20),
            ("8 GiB", 8 << 30),
            ("8gib", 8 << 30),
            ("500 kB", 500_000),
            ("4096", 4096),
            ("0 B", 0),
            ("1 TiB", 1 << 40),
        ];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1 MiB extra", "-1", "1.5 GiB", "10 M", "ten"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(matches!(size("99999999 TiB"), Err(HumanError::TooLarge(_))));
    }

    #[test]
    fn rates() {
        assert_eq!(rate("20/h"), Ok(Rate { count: 20, per: Duration::from_secs(3600) }));
        assert_eq!(rate("5 / m").unwrap().per.as_secs(), 60);
        assert_eq!(rate("10/d").unwrap().per.as_secs(), 86_400);
        for text in ["", "20", "20/", "/h", "20/w", "-1/h", "+1/h", "1/2h", "99999999999/h"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(n in 0_u64..1000, unit in 0_usize..6) {
            let text = format!("{n}{}", ["ms", "s", "m", "h", "d", "w"][unit]);
            let d = duration(&text).unwrap();
            prop_assert_eq!(duration(&show_duration(d)).unwrap(), d);
        }

        #[test]
        fn sizes_read_back(n in any::<u64>(), shift in 0_u32..50) {
            let bytes = n >> 14 << shift.min(14);
            prop_assert_eq!(size(&show_size(bytes)).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_an_answer(text in "\\PC{0,20}") {
            let _ = (duration(&text), size(&text), rate(&text));
        }
    }
}
