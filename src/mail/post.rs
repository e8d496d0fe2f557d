//! What a person wrote, as a message for the pool.

use super::header::Header;
use super::reading::is_attempt;
use super::structure::{Kind, Structure, leaf_parts};
use super::text::{clean, own_words, printable, to_lines, unwrap_signed};
use super::tokens::cut_tokens;
use super::{Ignored, html};
use mail_parser::{Message, PartType};
use std::fmt;

/// What a person posts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// The subject without `Re:` and its like; empty if there is none.
    pub subject: String,
    /// The text that is new in the mail, lines ending with LF, none after the last.
    pub text: String,
    /// The language that the mail declares, such as `de`.
    pub language: Option<String>,
}

impl Post {
    /// The body of the CMR message: subject, empty line, text; UTF-8 and LF, no line end after
    /// the last line. Without a subject it is the text alone, without a text the subject alone.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let between = if self.subject.is_empty() || self.text.is_empty() { "" } else { "\n\n" };
        [self.subject.as_str(), between, self.text.as_str()].concat().into_bytes()
    }
}

/// Why a mail holds no post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPost {
    /// The mail can't be read for certain.
    Unreadable,
    /// The mail is a report: a bounce or a read receipt.
    Report,
    /// The mail holds CMR messages; they are taken instead.
    Messages,
    /// The mail should hold CMR messages but they are damaged.
    Faults,
    /// The mail ends in the middle of its text.
    CutShort,
    /// The mail is encrypted.
    Encrypted,
    /// Its text is HTML that is too large or too deeply nested to be read.
    Html,
    /// No part of the mail is text.
    NoText,
    /// There is nothing in the mail but quotes or a signature.
    NothingNew,
    /// There is neither text nor a subject.
    Empty,
}

impl fmt::Display for NoPost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoPost::Unreadable => "the mail can't be read for certain",
            NoPost::Report => "the mail is a report about another mail",
            NoPost::Messages => "the mail holds CMR messages, which were taken instead of its text",
            NoPost::Faults => "the CMR message in the mail is damaged",
            NoPost::CutShort => "the mail ends in the middle of its text, so it was cut short on the way",
            NoPost::Encrypted => {
                "the mail is encrypted, and what is posted here is public: please send it unencrypted if you want that"
            }
            NoPost::Html => "its text is HTML that can't be read: please send plain text",
            NoPost::NoText => "the mail holds no text",
            NoPost::NothingNew => "the mail holds nothing but quoted text or a signature",
            NoPost::Empty => "the mail is empty",
        })
    }
}

/// The outcome of looking for a post.
pub(crate) struct Outcome {
    pub(crate) post: Result<Post, NoPost>,
    /// Quotes and signatures that were cut.
    pub(crate) ignored: Vec<Ignored>,
    /// Which leaves were read as text.
    pub(crate) leaves: Vec<usize>,
    /// The text is a CMR message that a mail program has changed beyond reading.
    pub(crate) damaged: bool,
}

/// Looks for a post in the parts of a mail.
pub(crate) fn find(
    structure: &Structure,
    mail: &Message<'_>,
    header: &Header,
    posting: &[String],
) -> Outcome {
    let mut outcome =
        Outcome { post: Err(NoPost::NoText), ignored: Vec::new(), leaves: Vec::new(), damaged: false };
    let (found, unreadable) = texts(structure, mail);
    outcome.leaves = found.iter().map(|text| text.leaf).collect();
    if is_encrypted(structure) {
        outcome.post = Err(NoPost::Encrypted);
        return outcome;
    }
    outcome.damaged = found.iter().any(|text| is_attempt(text.content.as_bytes()));
    if outcome.damaged {
        // It is a message or a fault, never a post.
        outcome.post = Err(NoPost::Faults);
        return outcome;
    }
    let mut own = Vec::new();
    let (mut quoted, mut signature) = (0, 0);
    for text in &found {
        let words = own_words(unwrap_signed(to_lines(&clean(&text.content), text.flowed)));
        quoted += words.quoted;
        signature += words.signature;
        if !words.text.is_empty() {
            own.push(words.text);
        }
    }
    let text = cut_tokens(&own.join("\n\n"), posting);
    if text.lines().any(|line| line.trim_end() == "-----BEGIN PGP MESSAGE-----") {
        outcome.post = Err(NoPost::Encrypted);
        return outcome;
    }
    for (count, one, many, why) in [
        (quoted, "one quoted line", "quoted lines", "only what is new in a mail is posted"),
        (signature, "one line of a signature", "lines of a signature", "a signature is no part of the text"),
    ] {
        match count {
            0 => {}
            1 => outcome.ignored.push(Ignored { what: one.to_owned(), why: why.into() }),
            count => outcome.ignored.push(Ignored { what: format!("{count} {many}"), why: why.into() }),
        }
    }
    let (subject, is_reply) = base_subject(header.subject.as_deref().unwrap_or_default());
    let subject = cut_tokens(subject, posting);
    outcome.post = if !text.is_empty() {
        let language =
            found.first().and_then(|text| text.language.clone()).or_else(|| header.content_language.clone());
        Ok(Post { subject, text, language })
    } else if unreadable {
        Err(NoPost::Html)
    } else if found.is_empty() && structure.leaves.iter().any(|leaf| leaf.cut_short) {
        Err(NoPost::CutShort)
    } else if quoted > 0 || (is_reply && !found.is_empty()) {
        Err(NoPost::NothingNew)
    } else if found.is_empty() && !structure.leaves.is_empty() && subject.is_empty() {
        Err(NoPost::NoText)
    } else if subject.is_empty() {
        Err(if signature > 0 { NoPost::NothingNew } else { NoPost::Empty })
    } else if is_reply {
        Err(NoPost::NothingNew)
    } else {
        // A question in the subject of an otherwise empty mail.
        Ok(Post { subject, text, language: header.content_language.clone() })
    };
    outcome
}

/// A text part, decoded.
pub(super) struct Text {
    leaf: usize,
    pub(super) content: String,
    pub(super) flowed: Option<bool>,
    language: Option<String>,
}

/// The parts that are the text of a mail: text/plain, or HTML if there is none or a blank one;
/// and whether there is HTML that can't be read.
pub(super) fn texts(structure: &Structure, mail: &Message<'_>) -> (Vec<Text>, bool) {
    let leaf_of = |id: &u32| -> Option<usize> {
        let part = mail.part(*id)?;
        leaf_parts(mail).position(|other| std::ptr::eq(other, part))
    };
    let mut unreadable = false;
    let mut html_left = html::MOST_BYTES;
    let mut gather = |ids: &[u32], kind: Kind| -> Vec<Text> {
        ids.iter()
            .filter_map(|id| {
                let number = leaf_of(id)?;
                let leaf =
                    structure.leaves.get(number).filter(|leaf| leaf.kind == kind && !leaf.cut_short)?;
                let content = match &mail.part(*id)?.body {
                    PartType::Text(text) => text.to_string(),
                    PartType::Html(text) => {
                        // The bound is one on the whole mail.
                        let within = html_left.checked_sub(text.len());
                        html_left = within.unwrap_or(0);
                        let text = within.and_then(|_| html::to_text(text));
                        unreadable |= text.is_none();
                        text?
                    }
                    _ => return None,
                };
                let flowed = leaf.flowed.filter(|_| kind == Kind::Plain);
                Some(Text { leaf: number, content, flowed, language: leaf.language.clone() })
            })
            .collect()
    };
    let plain = gather(&mail.text_body, Kind::Plain);
    // A blank one beside HTML stands for it, also where a list added its footer as a part.
    if !plain.is_empty() && plain.iter().all(|text| !text.content.trim().is_empty()) {
        return (plain, false);
    }
    let html = gather(&mail.html_body, Kind::Html);
    (if html.is_empty() { plain } else { html }, unreadable)
}

/// RFC 3156 and RFC 8551. What says nothing about its kind may be enveloped as well.
fn is_encrypted(structure: &Structure) -> bool {
    structure.multiparts.iter().any(|kind| kind == "multipart/encrypted")
        || structure.leaves.iter().any(|leaf| match leaf.media_type.as_str() {
            "application/pgp-encrypted" => true,
            "application/pkcs7-mime" | "application/x-pkcs7-mime" => {
                !matches!(leaf.smime_type.as_deref(), Some("signed-data" | "certs-only" | "compressed-data"))
            }
            _ => false,
        })
}

/// The subject without the marks of replies and forwards at its front, and whether there were
/// any. A `[list]` mark stays: to us it may be all that the subject says.
pub(crate) fn base_subject(subject: &str) -> (&str, bool) {
    const MARKS: [&str; 17] = [
        "re", "fwd", "fw", "aw", "wg", "sv", "vs", "antw", "res", "enc", "tr", "rv", "odp", "ynt", "回复",
        "答复", "转发",
    ];
    let mut rest = subject.trim();
    let mut is_reply = false;
    loop {
        let Some((mark, after)) = rest.split_once([':', '：']) else {
            return (rest, is_reply);
        };
        // `Re[2]:` and `Re^2:` count their depth.
        let word = mark.trim().trim_end_matches(|c: char| c.is_ascii_digit() || "[]()^*".contains(c));
        if !MARKS.iter().any(|known| word.to_lowercase() == *known) {
            return (rest, is_reply);
        }
        is_reply = true;
        rest = after.trim_start();
    }
}

/// `attachment 1 (photo.jpg, image/jpeg, 34 kB)` without its first word.
pub(crate) fn describe(name: Option<&str>, media_type: &str, bytes: usize) -> String {
    let size = if bytes < 1000 { format!("{bytes} bytes") } else { format!("{} kB", bytes.div_ceil(1000)) };
    let media_type = printable(media_type);
    match name {
        Some(name) => format!("({name}, {media_type}, {size})"),
        None => format!("({media_type}, {size})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_stripped_from_subjects_and_nothing_else() {
        for (subject, wanted, is_reply) in [
            ("Re: Planets", "Planets", true),
            ("RE: AW:  Fwd: Re[2]: Planets: which?", "Planets: which?", true),
            ("回复：行星", "行星", true),
            ("Report: Planets", "Report: Planets", false),
            ("[list] Re: Planets", "[list] Re: Planets", false),
            ("R: how do I plot", "R: how do I plot", false),
            ("Re:", "", true),
            ("", "", false),
            (": x", ": x", false),
        ] {
            assert_eq!(base_subject(subject), (wanted, is_reply), "{subject:?}");
        }
    }

    #[test]
    fn a_body_is_subject_blank_line_text() {
        let post = |subject: &str, text: &str| {
            Post { subject: subject.into(), text: text.into(), language: None }.body()
        };
        assert_eq!(post("Planets", "Which is\nthe largest?"), b"Planets\n\nWhich is\nthe largest?");
        assert_eq!(post("", "text"), b"text");
        assert_eq!(post("subject", ""), b"subject");
    }
}
