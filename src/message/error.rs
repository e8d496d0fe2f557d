//! Why bytes are no message for us: the rule, the byte, and a sentence for a person.

use std::fmt;

/// The rules of A2, and the bounds that we add to them. Each has a name that is stable: it stands
/// in refusals and may be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The message begins with a version: `0` (unsigned) or `1` (signed).
    SignatureVersion,
    /// After version 0 the line ends; after version 1 stand 64 lower-case hexadecimal digits.
    SignatureDigits,
    /// A line ends with CR LF; neither stands anywhere else in a line.
    LineEnd,
    /// A line has at most [`Limits::max_line`](super::Limits::max_line) bytes (ours).
    LineLength,
    /// The bytes do not end inside a line.
    Truncated,
    /// The routing header has at least one line.
    HeaderMissing,
    /// The routing header has at most [`Limits::max_hops`](super::Limits::max_hops) lines (ours).
    HeaderLines,
    /// A timestamp has the form `YYYY/MM/DD HH:MM:SS[.S*]` and one space follows it.
    TimeSyntax,
    /// A timestamp is a date of the proleptic Gregorian calendar and a time of day.
    TimeValid,
    /// A line's time is earlier than that of the line above it.
    TimeOrder,
    /// No time is in the future.
    TimeFuture,
    /// An address is at least one byte.
    AddressMissing,
    /// No address stands twice.
    AddressTwice,
    /// The recipient's own address does not stand in the header.
    AddressOwn,
    /// A blank line follows the header.
    BlankLine,
    /// The length of the body is written in decimal digits alone, without leading zeros.
    LengthSyntax,
    /// The body has at most [`Limits::max_body`](super::Limits::max_body) bytes (ours).
    LengthLimit,
    /// The body has as many bytes as its length says.
    BodyShort,
    /// Nothing follows the body.
    BodyLong,
}

impl Rule {
    /// Every rule, in the order in which a message can break them.
    pub const ALL: [Rule; 19] = [
        Rule::SignatureVersion,
        Rule::SignatureDigits,
        Rule::LineEnd,
        Rule::LineLength,
        Rule::Truncated,
        Rule::HeaderMissing,
        Rule::HeaderLines,
        Rule::TimeSyntax,
        Rule::TimeValid,
        Rule::TimeOrder,
        Rule::TimeFuture,
        Rule::AddressMissing,
        Rule::AddressTwice,
        Rule::AddressOwn,
        Rule::BlankLine,
        Rule::LengthSyntax,
        Rule::LengthLimit,
        Rule::BodyShort,
        Rule::BodyLong,
    ];

    /// The rule's name: lower-case words with hyphens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Rule::SignatureVersion => "signature-version",
            Rule::SignatureDigits => "signature-digits",
            Rule::LineEnd => "line-end",
            Rule::LineLength => "line-length",
            Rule::Truncated => "truncated",
            Rule::HeaderMissing => "header-missing",
            Rule::HeaderLines => "header-lines",
            Rule::TimeSyntax => "time-syntax",
            Rule::TimeValid => "time-valid",
            Rule::TimeOrder => "time-order",
            Rule::TimeFuture => "time-future",
            Rule::AddressMissing => "address-missing",
            Rule::AddressTwice => "address-twice",
            Rule::AddressOwn => "address-own",
            Rule::BlankLine => "blank-line",
            Rule::LengthSyntax => "length-syntax",
            Rule::LengthLimit => "length-limit",
            Rule::BodyShort => "body-short",
            Rule::BodyLong => "body-long",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Bytes that are no well-formed message, or a message that this recipient must refuse.
///
/// Its text is one line of printable ASCII of bounded length whatever the bytes were, so it can
/// stand in an SMTP reply or on a terminal as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail} (byte {at}, rule {rule})")]
pub struct FormatError {
    /// Which rule is broken.
    pub rule: Rule,
    /// Where: the offset of the first wrong byte, from 0; the number of bytes if they end early.
    pub at: usize,
    /// What is wrong, in a sentence with the numbers.
    pub detail: String,
}

impl FormatError {
    pub(super) fn new(rule: Rule, at: usize, detail: impl Into<String>) -> Self {
        FormatError { rule, at, detail: detail.into() }
    }
}

/// Bytes of a message as they may stand in a sentence: printable ASCII, quoted, not too many.
pub(super) fn quote(bytes: &[u8]) -> String {
    const MOST: usize = 60;
    let (shown, more) =
        bytes.split_at_checked(MOST).map_or((bytes, false), |(shown, rest)| (shown, !rest.is_empty()));
    let dots = if more { "..." } else { "" };
    format!("\"{}{dots}\"", shown.escape_ascii())
}
