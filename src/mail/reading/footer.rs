//! What may stand after a message in the same part: a mailing list's footer, a signature.

use super::super::history::is_device_signature;
use super::super::structure::lines;

/// A longer footer is none.
const MOST_BYTES: usize = 8 << 10;

/// Whether `after`, which begins at the start of a line or with a line end, is a footer: its
/// first line that is not blank is a mark that separates.
pub(super) fn is_footer(after: &[u8]) -> bool {
    let first = lines(after).map(<[u8]>::trim_ascii).find(|line| !line.is_empty());
    after.len() <= MOST_BYTES && first.is_some_and(is_mark) && !has_message(after)
}

/// `-- `, a rule of ten or more characters as lists draw it, or a line as phones add it.
fn is_mark(line: &[u8]) -> bool {
    let rule = |byte: u8| line.len() >= 10 && line.iter().all(|other| *other == byte);
    line == b"--"
        || b"_-=~*#".iter().any(|byte| rule(*byte))
        || std::str::from_utf8(line).is_ok_and(is_device_signature)
}

/// Another message after the first is no footer.
fn has_message(after: &[u8]) -> bool {
    let mut rest = after;
    while !rest.is_empty() {
        if crate::message::looks_like(rest) {
            return true;
        }
        rest = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .and_then(|end| rest.get(end + 1..))
            .unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_begins_with_a_mark() {
        for (after, wanted) in [
            ("\r\n_______________________________________________\r\nlist mailing list\r\n", true),
            ("-- \r\nMe\r\n", true),
            ("\n\n----------\nTo unsubscribe\n", true),
            ("\r\nSent from my iPhone\r\n", true),
            ("\r\nmore of the text\r\n", false),
            ("---------\r\nnine are too few\r\n", false),
            ("-- \r\n0\r\n2026/11/21 10:00:00.5 mailto:a@x\r\n\r\n2\r\nab", false),
            ("", false),
        ] {
            assert_eq!(is_footer(after.as_bytes()), wanted, "{after:?}");
        }
        assert!(!is_footer(format!("-- \r\n{}", "x".repeat(MOST_BYTES)).as_bytes()));
    }
}
