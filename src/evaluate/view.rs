//! What of a mail is compared.

use super::corpus::Doc;
use crate::mail::{Caps, Reading, Whole, extract, whole};
use crate::message::Limits;
use std::str::FromStr;
use std::sync::Arc;

/// What of a mail is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// From, Subject, and the body with its quotes.
    #[default]
    Mail,
    /// What a post would hold: the subject and the text that is new.
    New,
    /// The body without quoted lines and the lines that introduce them.
    Noq,
    /// As `Noq`, without the signature too.
    NoSig,
    /// As `Noq`, without whatever stands below the last line that is empty or made of dashes,
    /// signature or not: what scikit-learn does to the 20 newsgroups for "headers, footers and
    /// quotes removed".
    Strip,
}

impl View {
    /// All of them.
    pub const ALL: [View; 5] = [View::Mail, View::New, View::Noq, View::NoSig, View::Strip];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            View::Mail => "mail",
            View::New => "new",
            View::Noq => "noq",
            View::Strip => "strip",
            View::NoSig => "nosig",
        }
    }

    /// Reads a mail. One that can't be told apart for certain is taken as it lies there.
    #[must_use]
    pub fn read(self, raw: &[u8]) -> Doc {
        let reading = Reading {
            forwarded: false,
            posting: &[],
            envelope_recipients: &[],
            hostname: "localhost.invalid",
            loop_marker: "none",
            limits: Limits::default(),
            caps: Caps::default(),
        };
        let (readable, mail) = match whole(raw, &reading) {
            Some(mail) => (true, mail),
            None => (false, as_it_lies(raw)),
        };
        let text = match self {
            View::Mail => with_header(&mail),
            View::New if readable => extract(raw, &reading).post.map(|post| post.body()).unwrap_or_default(),
            View::New | View::Noq => unquoted(&mail.text).into_bytes(),
            View::NoSig => unquoted(without_signature(&mail.text)).into_bytes(),
            View::Strip => unquoted(without_footer(&mail.text)).into_bytes(),
        };
        let header = mail.header;
        Doc {
            text: Arc::from(text),
            id: header.message_id,
            related: header.references.into_iter().chain(header.in_reply_to).collect(),
            author: header.from.map(|from| from.address.to_lowercase()).unwrap_or_default(),
            date: header.date,
            readable,
        }
    }
}

/// Not the name of a view.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no view; there are mail, new, noq, nosig and strip")]
pub struct UnknownView(String);

impl FromStr for View {
    type Err = UnknownView;

    fn from_str(s: &str) -> Result<Self, UnknownView> {
        View::ALL.into_iter().find(|view| view.name() == s).ok_or_else(|| UnknownView(s.to_owned()))
    }
}

fn with_header(mail: &Whole) -> Vec<u8> {
    let from = mail.header.from.as_ref().map(|from| match &from.name {
        Some(name) => format!("{name} <{}>", from.address),
        None => from.address.clone(),
    });
    let (from, subject) = (from.unwrap_or_default(), mail.header.subject.as_deref().unwrap_or_default());
    format!("From: {from}\nSubject: {subject}\n\n{}", mail.text).into_bytes()
}

/// The header's text and the body's, not understood.
fn as_it_lies(raw: &[u8]) -> Whole {
    let text = String::from_utf8_lossy(raw).replace("\r\n", "\n");
    let (header, body) = text.split_once("\n\n").unwrap_or(("", &text));
    let field = |name: &str| {
        header.lines().find_map(|line| {
            line.get(..name.len())?.eq_ignore_ascii_case(name).then(|| line.get(name.len()..))?
        })
    };
    let mut whole = Whole { text: body.to_owned(), ..Whole::default() };
    whole.header.subject = field("subject:").map(|value| value.trim().to_owned());
    if let Some(from) = field("from:") {
        whole.header.from = Some(crate::mail::Mailbox { name: None, address: from.trim().to_owned() });
    }
    whole
}

/// A quoted line, or one that introduces a quote, by the rules that are usual for the 20
/// newsgroups.
fn is_quote(line: &str) -> bool {
    const STARTS: [&str; 4] = [">", "|", "In article", "Quoted from"];
    const SAID: [&str; 5] = ["writes in", "writes:", "wrote:", "says:", "said:"];
    STARTS.iter().any(|start| line.starts_with(start)) || SAID.iter().any(|said| line.contains(said))
}

fn unquoted(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !is_quote(line)).collect()
}

/// A longer signature is none.
const SIGNATURE_LINES: usize = 12;

/// Without the signature: what stands below the last line that is `--`, if that is near the end.
fn without_signature(text: &str) -> &str {
    let text = text.trim_end();
    let mut end = text.len();
    for line in text.split_inclusive('\n').rev().take(SIGNATURE_LINES + 1) {
        end -= line.len();
        if line.trim_end() == "--" {
            return text.get(..end).unwrap_or(text);
        }
    }
    text
}

/// Without what stands below the last line that is empty or made of dashes.
fn without_footer(text: &str) -> &str {
    let text = text.trim();
    let mut end = text.len();
    for line in text.split_inclusive('\n').rev() {
        end -= line.len();
        if line.trim().trim_matches('-').is_empty() {
            break;
        }
    }
    // None there, or nothing above it: all of it is text.
    if end == 0 { text } else { text.get(..end).unwrap_or(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_view_shows() {
        let mail = b"From: Ann <Ann@a.example>\nSubject: Re: Moons\nMessage-ID: <2@a.example>\n\
            References: <1@a.example>\nDate: Mon, 5 Jan 2026 10:00:00 +0000\n\n\
            On Monday Bob wrote:\n> How many?\n\nFour large ones.\n\n-- \nAnn\n";
        for (view, text) in [
            (
                View::Mail,
                "From: Ann <Ann@a.example>\nSubject: Re: Moons\n\nOn Monday Bob wrote:\n> How many?\n\nFour large ones.\n\n-- \nAnn\n",
            ),
            (View::New, "Moons\n\nFour large ones."),
            (View::Noq, "\nFour large ones.\n\n-- \nAnn\n"),
            (View::NoSig, "\nFour large ones.\n\n"),
            (View::Strip, "\nFour large ones.\n\n"),
        ] {
            let doc = view.read(mail);
            assert_eq!(String::from_utf8_lossy(&doc.text), text, "{view:?}");
            assert_eq!(doc.id.as_deref(), Some("2@a.example"));
            assert_eq!(doc.related, ["1@a.example"]);
            assert_eq!(doc.author, "ann@a.example");
            assert!(doc.readable && doc.date.is_some());
            assert_eq!(view.name().parse(), Ok(view));
        }
        assert!("body".parse::<View>().unwrap_err().to_string().contains("strip"));
    }

    #[test]
    fn signatures() {
        let long = format!("a\n--\n{}", "b\n".repeat(SIGNATURE_LINES));
        let too_long = format!("{long}b\n");
        for (text, rest) in [
            ("a\n\nb\n", "a\n\nb"),
            ("a\n-- \nb\n\nc\n", "a\n"),
            ("a\n--\nb\n--\nc", "a\n--\nb\n"),
            ("a\n---\nb", "a\n---\nb"),
            ("--\nb", ""),
            ("", ""),
            (long.as_str(), "a\n"),
            (too_long.as_str(), too_long.trim_end()),
        ] {
            assert_eq!(without_signature(text), rest, "{text:?}");
        }
    }

    #[test]
    fn footers() {
        for (text, rest) in [
            ("a\nb", "a\nb"),
            ("a\n\nb", "a\n\n"),
            ("a\n----\nb\nc\n", "a\n----\n"),
            ("", ""),
            ("\n\n-- \n", "--"),
        ] {
            assert!(rest.starts_with(without_footer(text).trim()), "{text:?}: {:?}", without_footer(text));
        }
    }

    #[test]
    fn what_is_no_mail_is_taken_as_it_lies() {
        let doc = View::Mail.read(b"Subject: x\nContent-Type: multipart/mixed\n\n> a\nb");
        assert!(!doc.readable);
        assert_eq!(String::from_utf8_lossy(&doc.text), "From: \nSubject: x\n\n> a\nb");
        assert!(View::Noq.read(b"").text.is_empty());
    }
}
