//! The parts of a mail, found twice: by a strict scan of ours, in which a boundary is a whole
//! line, and by mail-parser, which accepts one anywhere in a line. A mail that the two read
//! differently is not interpreted: what one of them takes for text the other may take for a
//! part, and whoever wrote the mail would choose who sees what.
//!
//! The scan comes first and bounds what mail-parser is given, because that has no bounds of its
//! own on the number of parts.

use super::reading::Declared;
use mail_parser::{HeaderName, Message, MessageParser, MimeHeaders, PartType};
use std::ops::Range;

/// The bounds on a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// The most parts, those of mails inside included.
    pub parts: usize,
    /// How deep multiparts and mails inside mails may nest.
    pub depth: usize,
    /// The most bytes of one header.
    pub header_bytes: usize,
    /// The most fields of one header.
    pub header_fields: usize,
    /// The most encoded words (RFC 2047) in one header.
    pub encoded_words: usize,
    /// The most addresses in From, Sender, To and Cc together.
    pub addresses: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Caps {
            parts: 200,
            depth: 12,
            header_bytes: 256 << 10,
            header_fields: 1000,
            encoded_words: 4000,
            addresses: 1000,
        }
    }
}

/// Why a mail's structure can't be told for certain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StructureError {
    #[error("it has no header")]
    NoHeader,
    #[error("it has more than {0} parts")]
    Parts(usize),
    #[error("its parts are nested more than {0} deep")]
    Depth(usize),
    #[error("a header in it is longer than {0} bytes")]
    HeaderBytes(usize),
    #[error("a header in it has more than {0} fields")]
    HeaderFields(usize),
    #[error("a header in it has more than {0} encoded words")]
    EncodedWords(usize),
    #[error("it has more than {0} addresses")]
    Addresses(usize),
    #[error("it says that it has several parts, but the boundary between them is missing (byte {0})")]
    NoBoundary(usize),
    #[error("the header of a part has no end (byte {0})")]
    HeaderUnfinished(usize),
    #[error("the field {field} stands twice in a header (byte {at})")]
    FieldTwice { field: &'static str, at: usize },
    #[error("the boundary between its parts also stands inside a line (byte {0})")]
    BoundaryInLine(usize),
    #[error("a mail inside it is encoded, which MIME forbids (byte {0})")]
    EncodedMail(usize),
    #[error("the mail reader gave up on it")]
    GaveUp,
    #[error("two readers disagree about where its parts begin and end (byte {0})")]
    Disagreement(usize),
}

/// What a leaf part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Html,
    /// A mail inside the mail.
    Mail,
    Other,
}

/// A part that is not a multipart.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// Its body's bytes, as they are encoded.
    pub(crate) body: Range<usize>,
    pub(crate) kind: Kind,
    /// `type/subtype`, in lower case.
    pub(crate) media_type: String,
    /// The Content-Transfer-Encoding, in lower case, without comments; `7bit` if absent.
    pub(crate) encoding: String,
    /// Its file name, if it has one.
    pub(crate) name: Option<String>,
    /// Content-Disposition says `attachment`.
    pub(crate) attachment: bool,
    /// `format=flowed` (RFC 3676), and whether `delsp=yes` with it.
    pub(crate) flowed: Option<bool>,
    /// The character set, if one is declared that is not a part of UTF-8.
    pub(crate) charset: Option<String>,
    /// `smime-type`, in lower case.
    pub(crate) smime_type: Option<String>,
    pub(crate) language: Option<String>,
    /// It stands in a multipart whose next boundary is missing: the mail was cut short.
    pub(crate) cut_short: bool,
}

impl Leaf {
    /// How it says that its text is to be read.
    pub(crate) fn declared(&self) -> Declared<'_> {
        Declared { flowed: self.flowed, charset: self.charset.as_deref() }
    }
}

/// The parts of a mail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Structure {
    /// In the order of the mail. Parts of mails inside are not among them.
    pub(crate) leaves: Vec<Leaf>,
    /// The types of the multiparts, outermost first, in lower case.
    pub(crate) multiparts: Vec<String>,
}

/// The end of the header that begins at `range.start`: the offset after its empty line.
pub(crate) fn header_end(raw: &[u8], range: &Range<usize>) -> Option<usize> {
    let mut at = range.start;
    for line in lines(raw.get(range.clone()).unwrap_or_default()) {
        at += line.len();
        if matches!(line, b"\r\n" | b"\n") {
            return Some(at);
        }
    }
    None
}

/// Lines with their ends. A line ends with LF; a bare CR is data.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

/// mail-parser's reading of a whole mail.
///
/// It claims never to panic, but its debug assertions fail on some mails (a mail inside a mail
/// that a digest ends), so a panic in it is one more reason not to interpret a mail.
pub(crate) fn parse(raw: &[u8]) -> Result<Message<'_>, StructureError> {
    std::panic::catch_unwind(|| MessageParser::default().parse(raw))
        .map_err(|_| StructureError::GaveUp)?
        .ok_or(StructureError::NoHeader)
}

/// mail-parser's reading of a header, `None` if it finds no field. Same caution.
pub(crate) fn parse_header(header: &[u8]) -> Result<Option<Message<'_>>, StructureError> {
    std::panic::catch_unwind(|| MessageParser::default().parse_headers(header))
        .map_err(|_| StructureError::GaveUp)
}

impl Structure {
    /// Scans `raw` strictly.
    pub(crate) fn scan(raw: &[u8], caps: &Caps) -> Result<Structure, StructureError> {
        let mut scan = Scan { raw, caps, parts: 0, structure: Structure::default() };
        scan.entity(0..raw.len(), &Place { depth: 0, inside: false, digest: false, cut_short: false })?;
        Ok(scan.structure)
    }

    /// Whether mail-parser found the same parts.
    pub(crate) fn agrees(&self, mail: &Message<'_>) -> Result<(), StructureError> {
        let theirs = leaf_parts(mail).map(|part| {
            let mail = matches!(part.body, PartType::Message(_));
            (part.raw_body_offset(), part.raw_end_offset(), mail)
        });
        let mut ours = self.leaves.iter();
        for (start, end, mail) in theirs {
            let at = usize::try_from(start).unwrap_or(usize::MAX);
            let Some(leaf) = ours.next() else {
                return Err(StructureError::Disagreement(at));
            };
            let same_end = usize::try_from(end) == Ok(leaf.body.end) || (mail && leaf.kind == Kind::Mail);
            if at != leaf.body.start || !same_end {
                return Err(StructureError::Disagreement(leaf.body.start.min(at)));
            }
        }
        match ours.next() {
            Some(leaf) => Err(StructureError::Disagreement(leaf.body.start)),
            None => Ok(()),
        }
    }
}

/// mail-parser's parts that are not multiparts, in the order of the mail.
pub(crate) fn leaf_parts<'x, 'm>(
    mail: &'m Message<'x>,
) -> impl Iterator<Item = &'m mail_parser::MessagePart<'x>> {
    mail.parts.iter().filter(|part| !matches!(part.body, PartType::Multipart(_)))
}

/// Where an entity stands.
struct Place {
    depth: usize,
    /// In a mail inside the mail: scanned, but not kept.
    inside: bool,
    /// In a multipart/digest, where the default type is a mail (RFC 2046, section 5.1.5).
    digest: bool,
    cut_short: bool,
}

struct Scan<'a> {
    raw: &'a [u8],
    caps: &'a Caps,
    parts: usize,
    structure: Structure,
}

impl Scan<'_> {
    fn entity(&mut self, range: Range<usize>, place: &Place) -> Result<(), StructureError> {
        self.parts += 1;
        if self.parts > self.caps.parts {
            return Err(StructureError::Parts(self.caps.parts));
        }
        if place.depth > self.caps.depth {
            return Err(StructureError::Depth(self.caps.depth));
        }
        let body_start = match header_end(self.raw, &range) {
            Some(end) => end,
            // A mail may be a header alone; a part without the empty line is malformed.
            None if range.start == 0 => range.end,
            None => return Err(StructureError::HeaderUnfinished(range.start)),
        };
        let body = body_start..range.end;
        let header = self.raw.get(range.start..body_start).unwrap_or_default();
        check_bounds(header, self.caps)?;
        check_fields(header, range.start)?;
        let parsed = parse_header(header)?;
        let part = parsed.as_ref().map(Message::root_part);
        let content_type = part.and_then(|part| part.content_type());
        let media_type = match content_type {
            Some(found) => {
                format!("{}/{}", found.ctype(), found.subtype().unwrap_or_default()).to_ascii_lowercase()
            }
            None if place.digest => "message/rfc822".to_owned(),
            None => "text/plain".to_owned(),
        };
        if media_type.starts_with("multipart/") {
            let boundary = content_type.and_then(|found| found.attribute("boundary")).unwrap_or_default();
            return self.multipart(body, boundary.as_bytes(), media_type, place);
        }
        let encoding = part
            .and_then(|part| part.content_transfer_encoding())
            .map_or_else(|| "7bit".to_owned(), |text| strip_comments(text).to_ascii_lowercase());
        let kind = match media_type.as_str() {
            "text/plain" => Kind::Plain,
            "text/html" => Kind::Html,
            "message/rfc822" | "message/global" => Kind::Mail,
            _ => Kind::Other,
        };
        if kind == Kind::Mail {
            if matches!(encoding.as_str(), "base64" | "quoted-printable") {
                return Err(StructureError::EncodedMail(range.start));
            }
            let depth = place.depth + 1;
            self.entity(body.clone(), &Place { depth, inside: true, digest: false, cut_short: false })?;
        }
        if place.inside {
            return Ok(());
        }
        let attribute = |name| content_type.and_then(|found| found.attribute(name));
        let flowed = attribute("format").is_some_and(|format| format.eq_ignore_ascii_case("flowed"));
        let delsp = attribute("delsp").is_some_and(|delsp| delsp.eq_ignore_ascii_case("yes"));
        self.structure.leaves.push(Leaf {
            body,
            kind,
            media_type,
            encoding,
            name: part
                .and_then(|part| part.attachment_name())
                .map(clean_name)
                .filter(|name| !name.is_empty()),
            attachment: part
                .and_then(|part| part.content_disposition())
                .is_some_and(|found| found.is_attachment()),
            flowed: flowed.then_some(delsp),
            charset: attribute("charset")
                .map(|name| name.trim().to_ascii_lowercase())
                .filter(|name| !matches!(name.as_str(), "" | "utf-8" | "utf8" | "us-ascii" | "ascii")),
            smime_type: attribute("smime-type").map(str::to_ascii_lowercase),
            language: part.and_then(|part| {
                part.content_language()
                    .as_text_list()
                    .and_then(|list| list.first())
                    .map(|l| l.to_string())
                    .or_else(|| part.content_language().as_text().map(str::to_owned))
            }),
            cut_short: place.cut_short,
        });
        Ok(())
    }

    fn multipart(
        &mut self,
        body: Range<usize>,
        boundary: &[u8],
        media_type: String,
        place: &Place,
    ) -> Result<(), StructureError> {
        if boundary.is_empty() {
            return Err(StructureError::NoBoundary(body.start));
        }
        let digest = media_type == "multipart/digest";
        if !place.inside {
            self.structure.multiparts.push(media_type);
        }
        let (parts, closed) = split(self.raw, &body, boundary)?;
        let last = parts.len().saturating_sub(1);
        for (number, part) in parts.into_iter().enumerate() {
            let cut_short = place.cut_short || (!closed && number == last);
            let depth = place.depth + 1;
            self.entity(part, &Place { depth, inside: place.inside, digest, cut_short })?;
        }
        Ok(())
    }
}

/// The parts of a multipart's body, and whether the closing boundary is there.
///
/// The line end before a boundary belongs to the boundary (RFC 2046, section 5.1.1).
fn split(
    raw: &[u8],
    body: &Range<usize>,
    boundary: &[u8],
) -> Result<(Vec<Range<usize>>, bool), StructureError> {
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    let mut at = body.start;
    for line in lines(raw.get(body.clone()).unwrap_or_default()) {
        let start = at;
        at += line.len();
        let Some(offset) = find_delimiter(line, boundary) else {
            continue;
        };
        if offset != 0 {
            return Err(StructureError::BoundaryInLine(start + offset));
        }
        let rest = line.get(boundary.len() + 2..).unwrap_or_default();
        let (rest, closing) = match rest.strip_prefix(b"--") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        // Only white space may follow: anything else is a longer boundary, or text.
        if !rest.iter().all(u8::is_ascii_whitespace) {
            return Err(StructureError::BoundaryInLine(start));
        }
        if let Some(from) = open.take() {
            let end = match raw.get(from..start) {
                Some([.., b'\r', b'\n']) => start - 2,
                Some([.., b'\n']) => start - 1,
                _ => start,
            };
            parts.push(from..end);
        }
        if closing {
            return Ok((parts, true));
        }
        open = Some(at);
    }
    match open {
        Some(from) => parts.push(from..body.end),
        None => return Err(StructureError::NoBoundary(body.start)),
    }
    Ok((parts, false))
}

/// Where `--boundary` stands in a line.
fn find_delimiter(line: &[u8], boundary: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(rest) = line.get(from..) {
        let dash = rest.iter().position(|byte| *byte == b'-')?;
        let after = rest.get(dash..).and_then(|found| found.strip_prefix(b"--"));
        if after.is_some_and(|after| after.starts_with(boundary)) {
            return Some(from + dash);
        }
        from += dash + 1;
    }
    None
}

/// The bounds on a header.
pub(crate) fn check_bounds(header: &[u8], caps: &Caps) -> Result<(), StructureError> {
    if header.len() > caps.header_bytes {
        return Err(StructureError::HeaderBytes(caps.header_bytes));
    }
    if field_lines(header).count() > caps.header_fields {
        return Err(StructureError::HeaderFields(caps.header_fields));
    }
    if header.windows(2).filter(|window| window == b"=?").count() > caps.encoded_words {
        return Err(StructureError::EncodedWords(caps.encoded_words));
    }
    Ok(())
}

/// No field that shapes the mail stands twice in a header that begins at `at`: readers differ
/// about which of two counts.
fn check_fields(header: &[u8], at: usize) -> Result<(), StructureError> {
    let once = ["Content-Type", "Content-Transfer-Encoding", "Content-Disposition"];
    let mut seen = [false; 3];
    for line in field_lines(header) {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
        for (field, seen) in once.iter().zip(seen.iter_mut()) {
            if name.eq_ignore_ascii_case(field.as_bytes()) {
                if *seen {
                    return Err(StructureError::FieldTwice { field, at });
                }
                *seen = true;
            }
        }
    }
    Ok(())
}

/// The first lines of a header's fields, without the lines that continue them.
fn field_lines(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines(header).filter(|line| {
        !line.starts_with(b" ") && !line.starts_with(b"\t") && !matches!(line, [b'\r', b'\n'] | [b'\n'])
    })
}

/// The text without comments (RFC 5322, section 3.2.2) and surrounding white space.
pub(crate) fn strip_comments(text: &str) -> String {
    let mut depth = 0usize;
    let mut quoted = false;
    let mut kept = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                let escaped = characters.next();
                if depth == 0 {
                    kept.extend(escaped);
                }
            }
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth > 0 => depth -= 1,
            _ if depth == 0 => kept.push(character),
            _ => {}
        }
    }
    kept.trim().to_owned()
}

/// A file name that is fit to be shown: without directories, control characters and length.
fn clean_name(name: &str) -> String {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    super::text::printable(base).chars().take(80).collect::<String>().trim().to_owned()
}

/// All fields of this name, whatever its case.
pub(crate) fn fields<'m, 'x>(
    part: &'m mail_parser::MessagePart<'x>,
    name: &'m HeaderName<'static>,
) -> impl Iterator<Item = &'m mail_parser::HeaderValue<'x>> {
    part.headers
        .iter()
        .filter(move |header| header.name.as_str().eq_ignore_ascii_case(name.as_str()))
        .map(|header| &header.value)
}
