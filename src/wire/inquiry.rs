//! Asking before sending: an extension of ours for HTTP, which others may ignore.
//!
//! Whoever understands it says so in each answer, [`Said::Ask`]. From then on it is asked with the
//! ids of a message, and says whether the message is there, before the message itself is sent. The
//! ids are those that tell a duplicate: for each header line its key and the hash of all bytes below
//! it ([`crate::message::Message::hop_ids`]). Nobody who has not got the message, or was asked about it, can know these hashes, so that an
//! answer tells no more than the one to the whole message.

use std::fmt;
use std::str::FromStr;

use crate::message::{HopKey, TailHash};

/// The field of an answer's head that says [`Said`].
pub const FIELD: &str = "X-CMR-Known";

/// The Content-Type of an inquiry.
pub const MEDIA_TYPE: &str = "application/x-cmr-ids";

/// Lines of an inquiry, at most: as many as a header has.
pub const LINES: usize = 32;

/// Bytes of an inquiry, at most.
pub const MOST: usize = LINES * LINE;

/// Two times 64 digits, a blank and a line end.
const LINE: usize = 131;

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// To whatever came: I can be asked.
    Ask,
    /// To an inquiry: the message is here.
    Yes,
    /// To an inquiry: it is not, send it.
    No,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Said::Ask => "ask",
            Said::Yes => "yes",
            Said::No => "no",
        })
    }
}

/// Not one of the three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{FIELD} says ask, yes or no")]
pub struct UnknownWord;

impl FromStr for Said {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let all = [Said::Ask, Said::Yes, Said::No];
        all.into_iter().find(|said| said.to_string() == text).ok_or(UnknownWord)
    }
}

/// Why a body is no inquiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InquiryError {
    /// No line, or more than a header has.
    #[error("an inquiry has 1 to {LINES} lines")]
    Lines,
    /// A line that is not two hashes.
    #[error("line {0} of the inquiry is not two times 64 hexadecimal digits with a blank between")]
    Line(usize),
}

/// An inquiry about the message with these ids, newest first; of more than [`LINES`] the oldest.
#[must_use]
pub fn write(ids: &[(HopKey, TailHash)]) -> Vec<u8> {
    let oldest = ids.get(ids.len().saturating_sub(LINES)..).unwrap_or_default();
    let mut text = String::with_capacity(oldest.len().saturating_mul(LINE));
    for (HopKey(key), TailHash(tail)) in oldest {
        push_hex(&mut text, key);
        text.push(' ');
        push_hex(&mut text, tail);
        text.push_str("\r\n");
    }
    text.into_bytes()
}

/// The ids in an inquiry.
///
/// # Errors
/// Why it is none.
pub fn read(body: &[u8]) -> Result<Vec<(HopKey, TailHash)>, InquiryError> {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').take(LINES + 1).collect();
    if body.is_empty() || lines.len() > LINES {
        return Err(InquiryError::Lines);
    }
    let line = |(number, line): (usize, &&[u8])| {
        ids(line.strip_suffix(b"\r").unwrap_or(line)).ok_or(InquiryError::Line(number + 1))
    };
    lines.iter().enumerate().map(line).collect()
}

fn ids(line: &[u8]) -> Option<(HopKey, TailHash)> {
    let (key, rest) = line.split_at_checked(64)?;
    Some((HopKey(hash(key)?), TailHash(hash(rest.strip_prefix(b" ")?)?)))
}

fn hash(digits: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for half in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.extend(char::from_digit(u32::from(half), 16));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(first: u8, second: u8) -> (HopKey, TailHash) {
        (HopKey([first; 32]), TailHash([second; 32]))
    }

    #[test]
    fn what_is_written_is_read() {
        let (a, b) = ("0a".repeat(32), "ff".repeat(32));
        let text = format!("{a} {b}\r\n{b} {a}\r\n");
        let ids = vec![of(10, 255), of(255, 10)];
        assert_eq!(write(&ids), text.as_bytes());
        assert_eq!(read(text.as_bytes()), Ok(ids.clone()));
        // As others may write it.
        assert_eq!(read(format!("{} {b}\n{b} {a}", a.to_uppercase()).as_bytes()), Ok(ids));
    }

    #[test]
    fn what_is_no_inquiry() {
        let (good, half) = (format!("{0} {0}", "1f".repeat(32)), "1f".repeat(32));
        let lines = |n: usize| vec![good.as_str(); n].join("\r\n");
        for (text, expected) in [
            (String::new(), Err(InquiryError::Lines)),
            ("\n".to_owned(), Err(InquiryError::Lines)),
            (lines(LINES), Ok(LINES)),
            (lines(LINES + 1), Err(InquiryError::Lines)),
            ("\n".repeat(5000), Err(InquiryError::Lines)),
            (format!("{good}\r\n\r\n{good}"), Err(InquiryError::Line(2))),
            (half.clone(), Err(InquiryError::Line(1))),
            (format!("{half} {}", "1f".repeat(31)), Err(InquiryError::Line(1))),
            (format!("{good}0"), Err(InquiryError::Line(1))),
            (format!("{half}  {half}"), Err(InquiryError::Line(1))),
            (format!("{half} {}g", "1".repeat(63)), Err(InquiryError::Line(1))),
            (
                "0\r\n2020/01/01 00:00:00.5 mailto:a@b.example\r\n\r\n1\r\nx".to_owned(),
                Err(InquiryError::Line(1)),
            ),
        ] {
            assert_eq!(read(text.as_bytes()).map(|ids| ids.len()), expected, "{text:?}");
        }
    }

    #[test]
    fn the_oldest_lines_count() {
        let ids: Vec<_> = (0..40).map(|n| of(n, n)).collect();
        let written = write(&ids);
        assert_eq!(written.len(), MOST);
        assert_eq!(read(&written).unwrap(), ids.get(8..).unwrap());
    }

    #[test]
    fn three_words() {
        for said in [Said::Ask, Said::Yes, Said::No] {
            assert_eq!(said.to_string().parse(), Ok(said));
        }
        assert!("1".parse::<Said>().is_err());
    }

    proptest! {
        #[test]
        fn any_ids_come_back(pairs in prop::collection::vec(any::<([u8; 32], [u8; 32])>(), 1..=LINES)) {
            let ids: Vec<_> = pairs.into_iter().map(|(key, tail)| (HopKey(key), TailHash(tail))).collect();
            prop_assert_eq!(read(&write(&ids)), Ok(ids));
        }

        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(ids) = read(&bytes) {
                prop_assert!((1..=LINES).contains(&ids.len()));
            }
        }
    }
}
