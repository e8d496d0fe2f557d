//! Reading a message: strict by A2, by bytes alone, in one pass from the first byte to the last.

use super::error::quote;
use super::time::TimeError;
use super::{Address, FormatError, Hop, Hops, Message, Rule, Signature, Timestamp};
use std::collections::HashMap;

/// The bounds on a message. The specification has none; without them a header alone could fill
/// the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most header lines. 32: far more than a walk has hops.
    pub max_hops: usize,
    /// The most bytes of a line, without its CR LF. 4 KiB.
    pub max_line: usize,
    /// The most bytes of a body. 10 MiB.
    pub max_body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_hops: 32, max_line: 4096, max_body: 10 << 20 }
    }
}

/// Reads a message that fills all of `bytes`. What depends on the recipient and the time is left
/// to [`Message::accept`].
///
/// Leading zeros of the length are refused. A2 says "a decimal number"; if `014` were read, the
/// same message would have several spellings under one id, and a router on the way that writes
/// the length anew would break signatures and make duplicates look like conflicts.
///
/// # Errors
/// The first broken rule, reading from the front.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Message, FormatError> {
    let head = head(bytes, limits, true)?;
    let rest = bytes.get(head.body_at..).unwrap_or_default();
    let Some((body, surplus)) = rest.split_at_checked(head.length) else {
        return Err(FormatError::new(
            Rule::BodyShort,
            bytes.len(),
            format!(
                "the body is {} shorter than its declared length of {}",
                count(head.length.saturating_sub(rest.len()), "byte"),
                head.length
            ),
        ));
    };
    if !surplus.is_empty() {
        return Err(FormatError::new(
            Rule::BodyLong,
            bytes.len().saturating_sub(surplus.len()),
            format!(
                "{} after the body's declared length of {}, where the message must end",
                follow(surplus.len()),
                head.length
            ),
        ));
    }
    Ok(Message { signature: head.signature, hops: head.hops, body: body.to_vec() })
}

/// Where the message that `bytes` begin with should end: the offset just past its last body byte.
/// It is more than `bytes.len()` if the body is cut short, and less if something follows.
///
/// `None` unless a well-formed signature line, header and length line stand at the front (within
/// the default limits on lines). Only their form is looked at: that times descend and addresses
/// differ is left to [`parse`], whose reason is the better one to give.
#[must_use]
pub fn declared_end(bytes: &[u8]) -> Option<usize> {
    let limits = Limits { max_body: usize::MAX, ..Limits::default() };
    let head = head(bytes, &limits, false).ok()?;
    head.body_at.checked_add(head.length)
}

/// Whether `bytes` are meant to be a message, well-formed or not: the first line is `0`, or `1`
/// and 64 hexadecimal digits, and the second begins like a timestamp.
///
/// Lines may end with LF alone and the first may have blanks at its end: that is what mail on its
/// way does to a message, and its author should hear that it arrived damaged, not see it taken
/// for a text.
#[must_use]
pub fn looks_like(bytes: &[u8]) -> bool {
    let digits = match bytes {
        [b'0', ..] => 1,
        [b'1', rest @ ..] if rest.iter().take_while(|b| b.is_ascii_hexdigit()).count() == 64 => 65,
        _ => return false,
    };
    let line_end = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r');
    let mut rest = bytes.iter().skip(digits).skip_while(line_end);
    rest.next() == Some(&b'\n')
        && b"dddd/dd/dd dd:dd".iter().all(|pattern| {
            rest.next().is_some_and(|byte| match pattern {
                b'd' => byte.is_ascii_digit(),
                other => byte == other,
            })
        })
}

/// Everything above the body.
struct Head {
    signature: Signature,
    hops: Hops,
    /// The declared length of the body.
    length: usize,
    /// Where the body begins.
    body_at: usize,
}

fn head(bytes: &[u8], limits: &Limits, compare: bool) -> Result<Head, FormatError> {
    let mut lines = Lines { bytes, at: 0, limits };
    let signature = signature(&mut lines)?;
    let hops = header(&mut lines, compare)?;
    let length = length(&mut lines)?;
    Ok(Head { signature, hops, length, body_at: lines.at })
}

/// Lines that end with CR LF, one after the other.
struct Lines<'a> {
    bytes: &'a [u8],
    /// Where the next line begins.
    at: usize,
    limits: &'a Limits,
}

impl<'a> Lines<'a> {
    /// The next line without its CR LF, and the offset at which it begins. `what` names it.
    fn next(&mut self, what: &str) -> Result<(&'a [u8], usize), FormatError> {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let found = rest
            .iter()
            .take(self.limits.max_line.saturating_add(1))
            .position(|byte| matches!(byte, b'\r' | b'\n'));
        let Some(end) = found else {
            if rest.len() > self.limits.max_line {
                return Err(FormatError::new(
                    Rule::LineLength,
                    start.saturating_add(self.limits.max_line),
                    format!("{what} is longer than {} bytes", self.limits.max_line),
                ));
            }
            return Err(self.ends_inside(what));
        };
        let (line, ending) = rest.split_at_checked(end).unwrap_or_default();
        match ending {
            [b'\r', b'\n', ..] => {
                self.at = start.saturating_add(end).saturating_add(2);
                Ok((line, start))
            }
            [b'\r'] => Err(self.ends_inside(what)),
            _ => {
                let (name, other) = if ending.first() == Some(&b'\r') { ("CR", "LF") } else { ("LF", "CR") };
                Err(FormatError::new(
                    Rule::LineEnd,
                    start.saturating_add(end),
                    format!("{what} has a {name} without {other}; lines end with CR LF"),
                ))
            }
        }
    }

    fn ends_inside(&self, what: &str) -> FormatError {
        FormatError::new(
            Rule::Truncated,
            self.bytes.len(),
            format!("the message ends before the end of {what}"),
        )
    }
}

fn signature(lines: &mut Lines<'_>) -> Result<Signature, FormatError> {
    // Looked at before the line is: what is no message at all should not hear about line ends.
    match lines.bytes.first() {
        Some(b'0' | b'1') => {}
        None => {
            return Err(FormatError::new(Rule::SignatureVersion, 0, "the message is empty"));
        }
        Some(other) => {
            return Err(FormatError::new(
                Rule::SignatureVersion,
                0,
                format!(
                    "the message begins with {}; it must begin with version 0 (unsigned) or 1 (signed)",
                    quote(&[*other])
                ),
            ));
        }
    }
    let (line, start) = lines.next("the signature line")?;
    let (version, digits) = line.split_first().unwrap_or((&b'0', &[]));
    let digits_at = start.saturating_add(1);
    if *version == b'0' {
        if digits.is_empty() {
            return Ok(Signature::Unsigned);
        }
        return Err(FormatError::new(
            Rule::SignatureDigits,
            digits_at,
            format!("{} the version 0 of an unsigned message", follow(digits.len())),
        ));
    }
    let mut digest = [0_u8; 32];
    let mut slots = digest.iter_mut();
    let mut high: Option<u8> = None;
    for (index, byte) in digits.iter().enumerate().take(64) {
        let value = match byte {
            b'0'..=b'9' => byte.wrapping_sub(b'0'),
            b'a'..=b'f' => byte.wrapping_sub(b'a').wrapping_add(10),
            _ => {
                let hint = if byte.is_ascii_hexdigit() { " (upper case is not allowed)" } else { "" };
                return Err(FormatError::new(
                    Rule::SignatureDigits,
                    digits_at.saturating_add(index),
                    format!("{} in the signature is not one of 0-9 and a-f{hint}", quote(&[*byte])),
                ));
            }
        };
        match high.take() {
            None => high = Some(value << 4),
            Some(high) => {
                if let Some(slot) = slots.next() {
                    *slot = high | value;
                }
            }
        }
    }
    if digits.len() != 64 {
        return Err(FormatError::new(
            Rule::SignatureDigits,
            digits_at.saturating_add(digits.len().min(64)),
            format!("the signature has {}, not 64", count(digits.len(), "digit")),
        ));
    }
    Ok(Signature::Signed(digest))
}

fn header(lines: &mut Lines<'_>, compare: bool) -> Result<Hops, FormatError> {
    let mut hops: Vec<Hop> = Vec::new();
    let mut seen: HashMap<&[u8], usize> = HashMap::new();
    loop {
        let number = hops.len().saturating_add(1);
        let what = if hops.is_empty() {
            "header line 1".to_owned()
        } else {
            format!("header line {number} (or the blank line)")
        };
        let (line, start) = lines.next(&what)?;
        if line.is_empty() {
            return Hops::new(hops).ok_or_else(|| {
                FormatError::new(Rule::HeaderMissing, start, "there is no header line before the blank line")
            });
        }
        if line.iter().all(u8::is_ascii_digit) && !hops.is_empty() {
            return Err(FormatError::new(
                Rule::BlankLine,
                start,
                format!("the blank line between the header and the length {} is missing", quote(line)),
            ));
        }
        if hops.len() >= lines.limits.max_hops {
            return Err(FormatError::new(
                Rule::HeaderLines,
                start,
                format!("the header has more than {}", count(lines.limits.max_hops, "line")),
            ));
        }
        let (hop, address_at) = hop(line, start, number)?;
        if compare {
            if let Some(above) = hops.last().filter(|above| hop.time >= above.time) {
                return Err(FormatError::new(
                    Rule::TimeOrder,
                    start,
                    format!(
                        "header line {number} must be earlier than the line above it, but {} is not before {}",
                        quote(hop.time.as_str().as_bytes()),
                        quote(above.time.as_str().as_bytes())
                    ),
                ));
            }
            let address = line.get(address_at.saturating_sub(start)..).unwrap_or_default();
            if let Some(first) = seen.insert(address, number) {
                return Err(FormatError::new(
                    Rule::AddressTwice,
                    address_at,
                    format!(
                        "the address {} of header line {number} stands in line {first} already",
                        quote(address)
                    ),
                ));
            }
        }
        hops.push(hop);
    }
}

/// One header line, and the offset at which its address begins.
fn hop(line: &[u8], start: usize, number: usize) -> Result<(Hop, usize), FormatError> {
    let (time, length) = Timestamp::parse_prefix(line).map_err(|error| {
        let rule = match error {
            TimeError::Syntax { .. } => Rule::TimeSyntax,
            TimeError::Invalid { .. } => Rule::TimeValid,
        };
        let at = start.saturating_add(error.at());
        FormatError::new(rule, at, format!("in the timestamp of header line {number} {error}"))
    })?;
    let rest = line.get(length..).unwrap_or_default();
    let Some((b' ', address)) = rest.split_first() else {
        return Err(FormatError::new(
            Rule::TimeSyntax,
            start.saturating_add(length),
            format!(
                "in header line {number} a space and an address must follow the timestamp {}",
                quote(time.as_str().as_bytes())
            ),
        ));
    };
    let address_at = start.saturating_add(length).saturating_add(1);
    let address = Address::new(address).map_err(|error| {
        FormatError::new(Rule::AddressMissing, address_at, format!("header line {number}: {error}"))
    })?;
    Ok((Hop { time, address }, address_at))
}

fn length(lines: &mut Lines<'_>) -> Result<usize, FormatError> {
    let (line, start) = lines.next("the line with the body's length")?;
    let wrong = |at: usize, detail: String| {
        Err(FormatError::new(Rule::LengthSyntax, start.saturating_add(at), detail))
    };
    if line.is_empty() {
        return wrong(0, "the line with the body's length is empty".to_owned());
    }
    if let Some(at) = line.iter().position(|byte| !byte.is_ascii_digit()) {
        return wrong(
            at,
            format!("the body's length {} is not written in decimal digits alone", quote(line)),
        );
    }
    if line.len() > 1 && line.first() == Some(&b'0') {
        return wrong(0, format!("the body's length {} has leading zeros", quote(line)));
    }
    let most = lines.limits.max_body;
    line.iter()
        .try_fold(0_usize, |value, digit| {
            value.checked_mul(10)?.checked_add(usize::from(digit.wrapping_sub(b'0')))
        })
        .filter(|length| *length <= most)
        .ok_or_else(|| {
            FormatError::new(
                Rule::LengthLimit,
                start,
                format!("the body's declared length {} is over the limit of {most} bytes", quote(line)),
            )
        })
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn follow(number: usize) -> String {
    let verb = if number == 1 { "follows" } else { "follow" };
    format!("{} {verb}", count(number, "byte"))
}
