//! When a certificate ends: the one date in its DER (X.509, RFC 5280 section 4.1) that is needed
//! here. Whether the certificate is sound is decided by the TLS library.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0]`, where the version stands unless it is 1.
const VERSION: u8 = 0xa0;

/// The end of the first certificate of a PEM file, in seconds since 1970. `None`: not found.
pub(super) fn of_pem(pem: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(pem);
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (inside, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let base64: String = inside.split_whitespace().collect();
    of_der(&STANDARD.decode(base64).ok()?)
}

fn of_der(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (tbs, _) = element(certificate, SEQUENCE)?;
    let rest = element(tbs, VERSION).map_or(tbs, |(_, rest)| rest);
    let (_serial, rest) = element(rest, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (_issuer, rest) = element(rest, SEQUENCE)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_begin, rest) = time(validity)?;
    let (end, _) = time(rest)?;
    Some(end)
}

/// The content of the element that begins here, if it is of this kind, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    if first != tag {
        return None;
    }
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // Up to four bytes of length; no certificate has more.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (bytes.iter().fold(0, |n: usize, &b| (n << 8) | usize::from(b)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// `YYMMDDHHMMSSZ` (two digits: 1950 to 2049) or `YYYYMMDDHHMMSSZ`.
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (text, century, rest) = match element(der, UTC_TIME) {
        Some((text, rest)) => {
            let century = if text.first()? >= &b'5' { "19" } else { "20" };
            (text, century, rest)
        }
        None => {
            let (text, rest) = element(der, GENERALIZED_TIME)?;
            (text, "", rest)
        }
    };
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?);
    let digits = text.strip_suffix('Z').filter(|d| d.len() == 14)?;
    let number = |from, to| digits.get(from..to)?.parse::<i64>().ok();
    let days = days(number(0, 4)?, number(4, 6)?, number(6, 8)?)?;
    let seconds = number(8, 10)? * 3600 + number(10, 12)? * 60 + number(12, 14)?;
    Some((days * 86_400 + seconds, rest))
}

/// Days from 1970-01-01 in the Gregorian calendar, with the year beginning in March so that the
/// leap day is its last one.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn days_are_counted_by_the_calendar() {
        for ((y, m, d), n) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 22), 20_779),
            ((1969, 12, 31), -1),
        ] {
            assert_eq!(days(y, m, d), Some(n), "{y}-{m}-{d}");
        }
        assert_eq!(days(2026, 13, 1), None);
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        let der = |tag: u8, text: &str| {
            let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
            der.extend(text.as_bytes());
            der
        };
        for (tag, text, end) in [
            (UTC_TIME, "700101000001Z", Some(1)),
            (UTC_TIME, "261122000000Z", Some(20_779 * 86_400)),
            (GENERALIZED_TIME, "20261122010203Z", Some(20_779 * 86_400 + 3723)),
            (UTC_TIME, "2611220000Z", None),
            (UTC_TIME, "26x122000000Z", None),
        ] {
            assert_eq!(time(&der(tag, text)).map(|(end, _)| end), end, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = of_der(&bytes);
            let _ = of_pem(&bytes);
        }
    }
}
