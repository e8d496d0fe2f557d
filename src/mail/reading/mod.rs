//! How the content of a part is read as a CMR message.
//!
//! Mail programs change what they carry. Each change below was seen in a real client; each
//! reading undoes one of them, and fits only if the length that the message declares is then
//! right to the byte. Line ends first, in this order:
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
//! Then the same again, each with one change to the text undone (`undo`): the character set made
//! UTF-8 again, `>From ` and ` From ` unmarked, space-stuffing and the soft breaks of format=flowed
//! undone (with DelSp or without), lines joined that a mail system had broken at 998 bytes. And
//! each of these with a footer left out that follows the message (`footer`).
//!
//! Which one is taken:
//!
//! - 1, 2 and 5 before all others: the header's CR LF says that nothing else was converted. What
//!   fits besides is kept among the alternatives.
//! - Of the others, one is taken only if no second one fits with other bytes, and only if
//!   everything in the text that looks like a mail program's work is undone by it: 4 and 6 change
//!   every line, so that a mail program's own changes can add up to the same length
//!   (Thunderbird's soft line breaks did).
//! - Where the message is signed, its signature decides: whatever fits is handed on, and the
//!   reader that has the sender's key takes the one that the signature fits.
//!
//! What cannot be undone (lines wrapped for good, no-break spaces in place of spaces, spaces lost
//! at line ends) is refused with a sentence that says so.

mod footer;
mod undo;

use crate::message::{FormatError, Limits, looks_like, parse};
use std::borrow::Cow;
use std::fmt;

pub use undo::Change;
pub(crate) use undo::Declared;

/// The most readings that are handed on for a signature to choose from.
const MOST_READINGS: usize = 6;

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
    /// What else was changed back.
    pub change: Change,
    /// How many bytes of line ends after the message's last byte were left out.
    pub appended: usize,
    /// How many bytes of a footer after the message were left out, line ends before it included.
    pub footer: usize,
}

impl ReadAs {
    /// The bytes as they are.
    pub const AS_SENT: ReadAs = ReadAs { lines: Lines::AsSent, change: Change::None, appended: 0, footer: 0 };
}

impl fmt::Display for ReadAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.lines {
            Lines::AsSent if self.change == Change::None => "as sent",
            Lines::AsSent => "",
            Lines::HeaderFromLf => "header lines ended with LF, made CR LF",
            Lines::AllFromLf => "all lines ended with LF, made CR LF",
            Lines::FromCrCrLf => "all lines ended with CR CR LF, made CR LF",
            Lines::BodyToLf => "lines of the body ended with CR LF, made LF as its length says",
        })?;
        if self.lines != Lines::AsSent && self.change != Change::None {
            f.write_str("; ")?;
        }
        f.write_str(match self.change {
            Change::None => "",
            Change::Charset => "another character set, made UTF-8",
            Change::FromMarked => "lines of \">From \" made \"From \"",
            Change::FromMarkedAgain => "one mark taken off lines of \">From \" and \">>From \"",
            Change::FromStuffed => "lines of \" From \" made \"From \"",
            Change::Stuffed => "the space taken off lines that format=flowed had put there",
            Change::Flowed => "lines joined that format=flowed had broken",
            Change::FlowedDelSp => "lines joined that format=flowed with DelSp had broken",
            Change::Folded => "lines joined that a mail system had broken",
        })?;
        match self.appended {
            0 => {}
            n => write!(f, "; {n} bytes of line ends after it left out")?,
        }
        match self.footer {
            0 => Ok(()),
            n => write!(f, "; {n} bytes of a footer after it left out"),
        }
    }
}

/// Why content that looks like a message is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0}")]
    Format(FormatError),
    #[error("it says that its body has {declared} bytes, but {found} follow{hint}")]
    Length { declared: usize, found: usize, hint: &'static str },
    #[error("its lines end in different ways, so a mail program has changed it")]
    MixedLines,
    #[error(
        "its lines were changed on the way, and its length of {0} bytes does not tell for certain how{1}"
    )]
    Uncertain(usize, &'static str),
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

/// A message that fits, and whether everything in it that looks like a mail program's work is
/// undone.
struct Fit {
    read_as: ReadAs,
    bytes: Vec<u8>,
    certain: bool,
}

/// The messages that `content` can be, most likely first, never none: all well-formed, and so
/// chosen that the first is certain enough to be taken, or else signed.
pub(crate) fn read(
    content: &[u8],
    declared: Declared<'_>,
    limits: &Limits,
) -> Result<Vec<Candidate>, ReadError> {
    if !looks_like(content) {
        return Err(ReadError::TextBefore);
    }
    let Some(whole) = header(content, limits)? else {
        // No length can be found: the strict parser says what is wrong with the header.
        return match parse(content, limits) {
            Ok(_) => Ok(vec![(ReadAs::AS_SENT, content.to_vec())]),
            Err(error) => Err(ReadError::Format(error)),
        };
    };
    let mut found: Vec<Fit> = Vec::new();
    gather(content, &whole, Change::None, declared.flowed.is_none(), &mut found);
    let signed = !content.starts_with(b"0");
    // What comes before all others needs no other, unless a signature is to choose.
    let settled = !signed && found.first().is_some_and(Fit::is_first);
    for undone in undo::all(content, declared).take_while(|_| !settled) {
        // Each is a copy of the message: no more of them than a signature may choose from.
        if found.len() >= MOST_READINGS {
            break;
        }
        // Undoing may change the header as well: a line of it can be broken like any other.
        if let Ok(Some(whole)) = header(&undone.content, limits) {
            gather(&undone.content, &whole, undone.change, undone.certain, &mut found);
        }
    }
    let body = content.get(whole.source_len..).unwrap_or_default();
    let mut broken = None;
    found.retain(|fit| match parse(&fit.bytes, limits) {
        Ok(_) => true,
        Err(error) => {
            broken.get_or_insert(ReadError::Format(error));
            false
        }
    });
    let decided = match found.as_slice() {
        [] => {
            let hint = match cause(body, whole.length, declared) {
                "" if body.len() < whole.length => {
                    ": something is missing, or a mail program has changed its lines"
                }
                "" => ": something was added, or a mail program has changed its lines",
                cause => cause,
            };
            return Err(broken.unwrap_or(ReadError::Length {
                declared: whole.length,
                found: body.len(),
                hint,
            }));
        }
        [first, ..] if first.is_first() => true,
        [only] => only.certain,
        _ => false,
    };
    if !decided && !signed {
        return Err(ReadError::Uncertain(whole.length, cause(body, whole.length, declared)));
    }
    found.truncate(MOST_READINGS);
    Ok(found.into_iter().map(|fit| (fit.read_as, fit.bytes)).collect())
}

impl Fit {
    /// Whether it comes before all others.
    fn is_first(&self) -> bool {
        let ReadAs { lines, change, footer, .. } = self.read_as;
        matches!(lines, Lines::AsSent | Lines::FromCrCrLf) && change == Change::None && footer == 0
    }
}

/// Adds the readings of `content` that fit and say something new.
fn gather(content: &[u8], whole: &Header, change: Change, undone: bool, found: &mut Vec<Fit>) {
    let signed = !content.starts_with(b"0");
    let body = content.get(whole.source_len..).unwrap_or_default();
    let (first, second) = match whole.ends {
        Ends::CrLf => (Lines::AsSent, Some(Lines::BodyToLf)),
        Ends::Lf => (Lines::HeaderFromLf, Some(Lines::AllFromLf)),
        Ends::CrCrLf => (Lines::FromCrCrLf, None),
    };
    for lines in std::iter::once(first).chain(second) {
        let Some((appended, footer, fitting)) = fit(body, lines, whole.length) else {
            continue;
        };
        let certain = match change {
            // To undo two changes at once is to guess, and to undo line ends instead of the
            // declared format=flowed as well; a signature may tell.
            Change::None if Some(lines) == second && !undone && !signed => continue,
            _ if lines == Lines::BodyToLf && change != Change::None && !signed => continue,
            Change::None if Some(lines) == second => undone && !may_be_rewritten(body),
            Change::None => true,
            _ if lines == Lines::BodyToLf => false,
            // Where format=flowed is undone or a line of 998 bytes is joined, that is the wrap.
            Change::Stuffed | Change::Flowed | Change::FlowedDelSp | Change::Folded => {
                undone && !has_no_break_space(body)
            }
            _ => undone && !has_no_break_space(body) && !may_be_wrapped(body),
        };
        let mut bytes = whole.normalised.clone();
        bytes.extend_from_slice(&fitting);
        if !found.iter().any(|other| other.bytes == bytes) {
            found.push(Fit { read_as: ReadAs { lines, change, appended, footer }, bytes, certain });
        }
    }
}

/// The header and length line of a message, whatever its lines end with.
struct Header {
    /// With CR LF.
    normalised: Vec<u8>,
    /// How many bytes it has in the content.
    source_len: usize,
    /// How its lines end there.
    ends: Ends,
    /// The length of the body that it declares.
    length: usize,
}

/// The header and the length line; `None` if no length is found.
fn header(content: &[u8], limits: &Limits) -> Result<Option<Header>, ReadError> {
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
            return Ok(length.map(|length| Header { normalised, source_len, ends: found, length }));
        }
        blank = text.is_empty();
    }
    Ok(None)
}

/// The first `declared` bytes of the body after `lines` is undone, if what follows them is
/// nothing but line ends, or a footer; and how many bytes of each there are.
fn fit(body: &[u8], lines: Lines, declared: usize) -> Option<(usize, usize, Vec<u8>)> {
    let (undone, end) = match lines {
        Lines::AsSent => (Cow::Borrowed(body), &b"\r\n"[..]),
        Lines::HeaderFromLf => (Cow::Borrowed(body), &b"\n"[..]),
        Lines::AllFromLf => (lf_to_crlf(body).into(), &b"\r\n"[..]),
        Lines::FromCrCrLf => (drop_before(body, b"\r\r\n").into(), &b"\r\n"[..]),
        Lines::BodyToLf => (drop_before(body, b"\r\n").into(), &b"\n"[..]),
    };
    let (message, after) = undone.split_at_checked(declared)?;
    // A CR LF of the body is never cut in two.
    if message.ends_with(b"\r") && after.starts_with(b"\n") {
        return None;
    }
    if after.chunks(end.len()).all(|chunk| chunk == end) {
        return Some((after.len(), 0, message.to_vec()));
    }
    let at_line_start = message.is_empty() || message.ends_with(b"\n") || after.starts_with(end);
    (at_line_start && footer::is_footer(after)).then(|| (0, after.len(), message.to_vec()))
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
    let marked = texts(body)
        .any(|line| [&b">From "[..], b" From ", b" >", b"  "].iter().any(|mark| line.starts_with(mark)));
    marked || may_be_wrapped(body) || has_no_break_space(body)
}

/// Clients wrap near column 72, at a space. One line that they would have wrapped and did not
/// shows that they did not; without lines near the margin there was nothing to wrap.
fn may_be_wrapped(body: &[u8]) -> bool {
    let unwrapped =
        |line: &[u8]| line.len() > 100 && line.get(..66).is_some_and(|start| start.contains(&b' '));
    texts(body).any(|line| line.len() > 60) && !texts(body).any(unwrapped)
}

fn has_no_break_space(body: &[u8]) -> bool {
    body.windows(2).any(|window| window == b"\xc2\xa0")
}

/// Lines without their ends and the blanks before those.
fn texts(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    super::structure::lines(body).map(<[u8]>::trim_ascii_end)
}

/// What a mail program seems to have done, as a part of a sentence; empty if nothing shows.
fn cause(body: &[u8], length: usize, declared: Declared<'_>) -> &'static str {
    let marked = |line: &[u8]| line.starts_with(b">From ") || line.starts_with(b" From ");
    let near_margin = texts(body).filter(|line| (60..=80).contains(&line.len())).count();
    if has_no_break_space(body) {
        " and some spaces have become no-break spaces, as mail programs do that compose in HTML"
    } else if declared.flowed.is_some() {
        ": a mail program has sent it as format=flowed and lost spaces at the ends of its lines"
    } else if texts(body).any(marked) {
        " and a line that began with \"From \" has been marked, as some mail programs do"
    } else if body.len() > length && near_margin > 2 && texts(body).all(|line| line.len() <= 80) {
        " and its lines end near column 72: a mail program has wrapped them"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests;
