//! How the content of a part is read as a CMR message.
//!
//! Mail programs change what they carry. Each change below was seen in a real client; each
//! reading undoes one of them, and is taken only if the length that the message declares then
//! fits to the byte. In this order:
//!
//! 1. The bytes as they are.
//! 2. The bytes without line ends that a client appended after the last one (Claws, Evolution,
//!    Emacs and swaks do; SMTP itself does, if the message has none at its end).
//! 3. Header lines that end with LF, made CR LF; the body as it is, with or without line ends
//!    after it. The sender wrote the message with an editor and counted its bytes.
//! 4. The same with the body's LF made CR LF: the whole message was converted to LF.
//! 5. Lines that end with CR CR LF, made CR LF (mutt, s-nail, mailutils, git send-email, given
//!    CR LF, take the CR for text and add a line end of their own).
//! 6. The body's CR LF made LF: the body had LF, and mail knows only CR LF.
//!
//! 3 and 4 exclude each other: if both fit and differ, nothing is taken. 1 and 2 come before 6
//! although both can fit: a body of a single line, "x CR LF" with one appended CR LF, has the
//! length of "x LF LF". Header lines with CR LF say that nothing was converted, so the second is
//! no guess on equal terms; it is kept among the alternatives, where a signature can choose it.
//!
//! 4 and 6 change every line of the body, so that a mail program's own changes can add up to the
//! same length (Thunderbird's soft line breaks did). They are taken only if nothing in the body
//! looks like such a change: no format=flowed, no marked lines, nothing that may be a wrap.
//!
//! What else clients do (`>From `, space-stuffing, format=flowed, hard wraps, footers) is not
//! undone here: the length does not fit, and the message is refused with a sentence.

use crate::message::{Limits, looks_like, parse};
use std::fmt;

/// What was done to the line ends of a message and has been undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Nothing.
    AsSent,
    /// The header's lines ended with LF.
    HeaderFromLf,
    /// All lines ended with LF.
    AllFromLf,
    /// All lines ended with CR CR LF.
    FromCrCrLf,
    /// The body's LF had become CR LF.
    BodyToLf,
}

/// How the content of a part was read: its text says so to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAs {
    /// Which line ends were changed back.
    pub lines: Lines,
    /// How many bytes of line ends after the message's last byte were left out.
    pub appended: usize,
}

impl fmt::Display for ReadAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.lines {
            Lines::AsSent => "as sent",
            Lines::HeaderFromLf => "header lines ended with LF, made CR LF",
            Lines::AllFromLf => "all lines ended with LF, made CR LF",
            Lines::FromCrCrLf => "all lines ended with CR CR LF, made CR LF",
            Lines::BodyToLf => "lines of the body ended with CR LF, made LF as its length says",
        })?;
        match self.appended {
            0 => Ok(()),
            n => write!(f, "; {n} bytes of line ends after it left out"),
        }
    }
}

/// Why content that looks like a message is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0}")]
    Format(String),
    #[error("it says that its body has {declared} bytes, but {found} follow{hint}")]
    Length { declared: usize, found: usize, hint: &'static str },
    #[error("its lines end in different ways, so a mail program has changed it")]
    MixedLines,
    #[error("its lines were changed on the way, and its length of {0} bytes fits two different messages")]
    Uncertain(usize),
    #[error("there is text before it, so it can't be told where it begins")]
    TextBefore,
}

/// A message and how it was read.
pub(crate) type Candidate = (ReadAs, Vec<u8>);

/// Whether `content` is meant to be a CMR message, whatever mail programs did to it: such
/// content is never taken for a person's text.
pub(crate) fn is_attempt(content: &[u8]) -> bool {
    looks_like(content) || looks_like(without_front(content))
}

/// Without the blank lines, blanks, NBSPs, quote marks and byte order mark that may have come to
/// stand before the first line.
fn without_front(mut content: &[u8]) -> &[u8] {
    loop {
        content = match content {
            [b'\r' | b'\n' | b' ' | b'\t' | b'>', rest @ ..] => rest,
            [0xc2, 0xa0, rest @ ..] | [0xef, 0xbb, 0xbf, rest @ ..] => rest,
            _ => return content,
        }
    }
}

/// How the lines of a message's header end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    CrLf,
    Lf,
    CrCrLf,
}

/// The messages that `content` can be, most likely first, never none: all well-formed, and so
/// chosen that the first is certain enough to be taken.
///
/// `flowed` says that the part is declared as format=flowed.
pub(crate) fn read(content: &[u8], flowed: bool, limits: &Limits) -> Result<Vec<Candidate>, ReadError> {
    if !looks_like(content) {
        return Err(ReadError::TextBefore);
    }
    let Some((header, ends, declared)) = header(content, limits)? else {
        // No length can be found: the strict parser says what is wrong with the header.
        return match parse(content, limits) {
            Ok(_) => Ok(vec![(ReadAs { lines: Lines::AsSent, appended: 0 }, content.to_vec())]),
            Err(error) => Err(ReadError::Format(error.to_string())),
        };
    };
    let body = content.get(header.source_len..).unwrap_or_default();
    let (first, second) = match ends {
        Ends::CrLf => (Lines::AsSent, Some(Lines::BodyToLf)),
        Ends::Lf => (Lines::HeaderFromLf, Some(Lines::AllFromLf)),
        Ends::CrCrLf => (Lines::FromCrCrLf, None),
    };
    let mut found: Vec<Candidate> = Vec::new();
    for lines in std::iter::once(first).chain(second) {
        if Some(lines) == second && (flowed || may_be_rewritten(body)) {
            continue;
        }
        let fitting = fit(body, lines, declared);
        let Some((appended, body)) = fitting else {
            continue;
        };
        let mut bytes = header.normalised.clone();
        bytes.extend_from_slice(&body);
        if !found.iter().any(|(_, other)| *other == bytes) {
            found.push((ReadAs { lines, appended }, bytes));
        }
    }
    if ends == Ends::Lf && found.len() > 1 {
        return Err(ReadError::Uncertain(declared));
    }
    let Some((_, bytes)) = found.first() else {
        let hint = hint(body, declared);
        return Err(ReadError::Length { declared, found: body.len(), hint });
    };
    match parse(bytes, limits) {
        Ok(_) => Ok(found),
        Err(error) => Err(ReadError::Format(error.to_string())),
    }
}

/// The header and length line of a message, whatever its lines end with.
struct Header {
    /// With CR LF.
    normalised: Vec<u8>,
    /// How many bytes it has in the content.
    source_len: usize,
}

/// The header, how its lines end, and the length it declares; `None` if no length is found.
fn header(content: &[u8], limits: &Limits) -> Result<Option<(Header, Ends, usize)>, ReadError> {
    let mut normalised = Vec::new();
    let mut source_len = 0;
    let mut ends = None;
    let mut blank = false;
    // The signature, the header, the blank line and the length; one more hop for `parse` to name.
    for line in super::structure::lines(content).take(limits.max_hops.saturating_add(4)) {
        let (text, found) = match line {
            [text @ .., b'\r', b'\r', b'\n'] => (text, Ends::CrCrLf),
            [text @ .., b'\r', b'\n'] => (text, Ends::CrLf),
            [text @ .., b'\n'] => (text, Ends::Lf),
            _ => return Ok(None),
        };
        if *ends.get_or_insert(found) != found {
            return Err(ReadError::MixedLines);
        }
        source_len += line.len();
        normalised.extend_from_slice(text);
        normalised.extend_from_slice(b"\r\n");
        if blank {
            let length =
                std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            let length = length.and_then(|text| text.parse().ok());
            return Ok(length.map(|length| (Header { normalised, source_len }, found, length)));
        }
        blank = text.is_empty();
    }
    Ok(None)
}

/// The first `declared` bytes of the body after `lines` is undone, if what follows them is
/// nothing but line ends; and how many bytes that is.
fn fit(body: &[u8], lines: Lines, declared: usize) -> Option<(usize, Vec<u8>)> {
    let (undone, end) = match lines {
        Lines::AsSent => (body.to_vec(), &b"\r\n"[..]),
        Lines::HeaderFromLf => (body.to_vec(), &b"\n"[..]),
        Lines::AllFromLf => (lf_to_crlf(body), &b"\r\n"[..]),
        Lines::FromCrCrLf => (drop_before(body, b"\r\r\n"), &b"\r\n"[..]),
        Lines::BodyToLf => (drop_before(body, b"\r\n"), &b"\n"[..]),
    };
    let (message, after) = undone.split_at_checked(declared)?;
    let only_line_ends = after.chunks(end.len()).all(|chunk| chunk == end);
    // A CR LF of the body is never cut in two.
    let cut = message.ends_with(b"\r") && after.starts_with(b"\n");
    (only_line_ends && !cut).then(|| (after.len(), message.to_vec()))
}

/// Every LF that has no CR before it becomes CR LF.
#[must_use]
pub fn lf_to_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut converted = Vec::with_capacity(bytes.len() + bytes.len() / 32);
    let mut last = 0;
    for byte in bytes {
        if *byte == b'\n' && last != b'\r' {
            converted.push(b'\r');
        }
        converted.push(*byte);
        last = *byte;
    }
    converted
}

/// Drops the first byte of every occurrence of `sequence`.
fn drop_before(bytes: &[u8], sequence: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut kept = Vec::with_capacity(bytes.len());
    while let Some((byte, after)) = rest.split_first() {
        if !rest.starts_with(sequence) {
            kept.push(*byte);
        }
        rest = after;
    }
    kept
}

/// Whether a mail program may have added bytes inside the body: `>From `, a space before what
/// RFC 3676, section 4.4, stuffs, no-break spaces, or line breaks where it wraps.
fn may_be_rewritten(body: &[u8]) -> bool {
    let lines = || super::structure::lines(body).map(<[u8]>::trim_ascii_end);
    let marked = lines()
        .any(|line| [&b">From "[..], b" From ", b" >", b"  "].iter().any(|mark| line.starts_with(mark)));
    // Clients wrap near column 72, at a space. One line that they would have wrapped and did not
    // shows that they did not; without lines near the margin there was nothing to wrap.
    let unwrapped =
        |line: &[u8]| line.len() > 100 && line.get(..66).is_some_and(|start| start.contains(&b' '));
    let wrapped = lines().any(|line| line.len() > 60) && !lines().any(unwrapped);
    marked || wrapped || has(body, b"\xc2\xa0")
}

fn has(body: &[u8], sequence: &[u8]) -> bool {
    body.windows(sequence.len()).any(|window| window == sequence)
}

/// What a mail program seems to have done, as a part of a sentence.
fn hint(body: &[u8], declared: usize) -> &'static str {
    let marked = |line: &[u8]| line.starts_with(b">From ") || line.starts_with(b" From ");
    if has(body, b"\xc2\xa0") {
        " and some spaces have become no-break spaces, as mail programs do that compose in HTML"
    } else if super::structure::lines(body).any(marked) {
        " and a line that began with \"From \" has been marked, as some mail programs do"
    } else if body.len() < declared {
        ": something is missing, or a mail program has changed its lines"
    } else {
        ": something was added, or a mail program has changed its lines"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "0\r\n2026/11/21 10:00:00.5 mailto:a@x\r\n2026/11/21 09:59:59 mailto:b@x\r\n\r\n";

    fn one(content: &str) -> (Lines, usize, String, usize) {
        let mut found = read(content.as_bytes(), false, &Limits::default()).expect("it is certain");
        let (read_as, bytes) = found.remove(0);
        (read_as.lines, read_as.appended, String::from_utf8(bytes).expect("text"), found.len())
    }

    fn message(body: &str) -> String {
        format!("{HEAD}{}\r\n{body}", body.len())
    }

    #[test]
    fn each_change_is_undone() {
        let two = message("one\r\ntwo\r\n");
        let unix = message("one\ntwo");
        let table = [
            (two.clone(), Lines::AsSent, 0, &two),
            (format!("{two}\r\n"), Lines::AsSent, 2, &two),
            (format!("{two}\r\n\r\n\r\n"), Lines::AsSent, 6, &two),
            (two.replace("\r\n", "\n"), Lines::AllFromLf, 0, &two),
            (format!("{}\n", two.replace("\r\n", "\n")), Lines::AllFromLf, 2, &two),
            (two.replace("\r\n", "\r\r\n"), Lines::FromCrCrLf, 0, &two),
            (format!("{}\r\n", two.replace("\r\n", "\r\r\n")), Lines::FromCrCrLf, 2, &two),
            (unix.clone(), Lines::AsSent, 0, &unix),
            (unix.replace("\r\n", "\n"), Lines::HeaderFromLf, 0, &unix),
            (format!("{}\n\n", unix.replace("\r\n", "\n")), Lines::HeaderFromLf, 2, &unix),
            (format!("{}one\r\ntwo\r\n", unix.trim_end_matches("one\ntwo")), Lines::BodyToLf, 1, &unix),
        ];
        for (content, lines, appended, wanted) in table {
            let (found, left_out, text, _) = one(&content);
            assert_eq!((found, left_out, &text), (lines, appended, wanted), "{content:?}");
        }
    }

    #[test]
    fn an_appended_line_end_goes_before_a_converted_one_and_the_other_is_kept() {
        let content = format!("{}\r\n", message("x\r\n"));
        assert_eq!(one(&content), (Lines::AsSent, 2, message("x\r\n"), 1));
        let found = read(content.as_bytes(), false, &Limits::default()).expect("certain enough");
        let (read_as, bytes) = found.get(1).expect("an alternative");
        assert_eq!((read_as.lines, bytes.as_slice()), (Lines::BodyToLf, message("x\n\n").as_bytes()));
    }

    #[test]
    fn what_is_not_certain_is_refused_with_a_sentence() {
        let limits = Limits::default();
        for (content, start) in [
            (
                message("x\r\n").replace("\r\n", "\n") + "\n",
                "its lines were changed on the way, and its length of 3",
            ),
            (
                message("one two").replace("one", "on"),
                "it says that its body has 7 bytes, but 6 follow: something is missing",
            ),
            (
                message("one two").replace("one", "oone"),
                "it says that its body has 7 bytes, but 8 follow: something was added",
            ),
            (
                message("one two").replace(" two", "\u{a0}two"),
                "it says that its body has 7 bytes, but 8 follow and some spaces",
            ),
            (
                message("a\r\nFrom b").replace("From", ">From"),
                "it says that its body has 9 bytes, but 10 follow and a line that",
            ),
            (
                message("ab") + "\r\n-- \r\nme",
                "it says that its body has 2 bytes, but 11 follow: something was added",
            ),
            (message("ab").replacen("\r\n", "\n", 1), "its lines end in different ways"),
            (format!("> {}", message("ab")), "there is text before it"),
            (format!("{HEAD}two\r\nab"), "the body's length"),
            (HEAD.replace("09:59:59", "10:59:59") + "2\r\nab", "header line 2 must be earlier"),
        ] {
            let error = read(content.as_bytes(), false, &limits).expect_err(&content).to_string();
            assert!(error.starts_with(start), "{content:?}: {error}");
            assert!(is_attempt(content.as_bytes()), "{content:?}");
        }
    }

    #[test]
    fn a_persons_text_is_no_attempt() {
        for text in ["", "0", "0\r\nis the answer", "1 2 3", "What is CMR?\r\n2026/11/21 10:00:00 x"] {
            assert!(!is_attempt(text.as_bytes()), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_exactly(body: Vec<u8>) {
            let mut content = format!("{HEAD}{}\r\n", body.len()).into_bytes();
            content.extend_from_slice(&body);
            let found = read(&content, false, &Limits::default()).expect("it is exact");
            prop_assert_eq!(&found[0], &(ReadAs { lines: Lines::AsSent, appended: 0 }, content));
        }

        #[test]
        fn nothing_panics(tail: Vec<u8>, front in 0usize..80) {
            let mut content = HEAD.as_bytes()[..front.min(HEAD.len())].to_vec();
            content.extend_from_slice(&tail);
            let _ = is_attempt(&content);
            if let Ok(found) = read(&content, false, &Limits::default()) {
                prop_assert!(found.iter().all(|(_, bytes)| parse(bytes, &Limits::default()).is_ok()));
            }
        }
    }
}
