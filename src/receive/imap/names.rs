//! Folders, UIDs and days as they are written on the wire.
//!
//! Pure. It knows RFC 3501's modified UTF-7 and its sequence sets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The name of a folder as a quoted string, in modified UTF-7 (RFC 3501, section 5.1.3).
pub(super) fn quoted(folder: &str) -> String {
    let escaped = encoded(folder).replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// The name of a folder in modified UTF-7.
pub(super) fn encoded(folder: &str) -> String {
    let mut out = String::with_capacity(folder.len());
    let mut waiting: Vec<u8> = Vec::new();
    let flush = |waiting: &mut Vec<u8>, out: &mut String| {
        if !waiting.is_empty() {
            out.push('&');
            out.push_str(&STANDARD_NO_PAD.encode(&*waiting).replace('/', ","));
            out.push('-');
            waiting.clear();
        }
    };
    for c in folder.chars() {
        if (' '..='~').contains(&c) {
            flush(&mut waiting, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut units = [0u16; 2];
            waiting.extend(c.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    flush(&mut waiting, &mut out);
    out
}

/// A set of UIDs, `1,3:5`. They are sorted here.
pub(super) fn set(uids: &[u32]) -> String {
    let mut sorted = uids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for uid in sorted {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(uid) => *last = uid,
            _ => ranges.push((uid, uid)),
        }
    }
    let shown = ranges.iter().map(
        |(first, last)| {
            if first == last { first.to_string() } else { format!("{first}:{last}") }
        },
    );
    shown.collect::<Vec<_>>().join(",")
}

/// A day for SEARCH: `1-Nov-2026`.
pub(super) fn day((year, month, day): (u16, u8, u8)) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.get(usize::from(month).saturating_sub(1)).copied().unwrap_or("Jan");
    format!("{day}-{month}-{year}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders() {
        for (folder, written) in [
            ("INBOX", "\"INBOX\""),
            ("A&B", "\"A&-B\""),
            ("say \"hi\"\\", "\"say \\\"hi\\\"\\\\\""),
            ("Entw\u{fc}rfe", "\"Entw&APw-rfe\""),
            // The examples of RFC 3501, section 5.1.3.
            ("~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}", "\"~peter/mail/&U,BTFw-/&ZeVnLIqe-\""),
            ("\u{1f600}", "\"&2D3eAA-\""),
            ("a\r\nb", "\"a&AA0ACg-b\""),
        ] {
            assert_eq!(quoted(folder), written, "{folder}");
        }
    }

    #[test]
    fn sets() {
        for (uids, written) in [
            (&[][..], ""),
            (&[7], "7"),
            (&[1, 2, 3], "1:3"),
            (&[9, 1, 3, 2, 3, u32::MAX], "1:3,9,4294967295"),
            (&[u32::MAX, u32::MAX - 1], "4294967294:4294967295"),
        ] {
            assert_eq!(set(uids), written);
        }
        assert_eq!(day((2026, 11, 1)), "1-Nov-2026");
        assert_eq!(day((2026, 12, 31)), "31-Dec-2026");
    }
}
