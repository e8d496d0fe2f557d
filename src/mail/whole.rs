//! A mail as its reader sees it: for looking at mail, not for posting it.

use super::header::Header;
use super::structure::{self, Structure};
use super::text::{clean, to_lines};
use super::{Reading, extract::as_it_travelled, post};

/// The header and the whole text of a mail.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whole {
    /// The facts of its header.
    pub header: Header,
    /// All its text, quotes and signature included, decoded, lines ending with LF. Quoted lines
    /// begin with `>`. Empty if it has none.
    pub text: String,
}

/// Reads the header and the whole text of a mail; `None` if that can't be told for certain, see
/// [`extract`](super::extract()).
#[must_use]
pub fn whole(raw: &[u8], reading: &Reading<'_>) -> Option<Whole> {
    let raw = as_it_travelled(raw);
    let header = Header::read(&raw, reading).ok()?;
    let structure = Structure::scan(&raw, &reading.caps).ok()?;
    let mail = structure::parse(&raw).ok()?;
    structure.agrees(&mail).ok()?;
    let mut text = String::new();
    for part in post::texts(&structure, &mail).0 {
        let content = clean(&part.content);
        if part.flowed.is_none() {
            text.push_str(&content);
        } else {
            for line in to_lines(&content, part.flowed) {
                text.extend(std::iter::repeat_n('>', line.depth));
                text.push_str(if line.depth > 0 { " " } else { "" });
                text.push_str(&line.text);
                text.push('\n');
            }
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Some(Whole { header, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Caps;
    use crate::message::Limits;

    #[test]
    fn quotes_and_signatures_stay() {
        let reading = Reading {
            forwarded: true,
            posting: &[],
            envelope_recipients: &[],
            hostname: "example.org",
            loop_marker: "x",
            limits: Limits::default(),
            caps: Caps::default(),
        };
        let head = "From: a@b.example\nSubject: Re: x\nReferences: <1@b.example>\nMIME-Version: 1.0\n";
        for (fields, body, text) in [
            ("", "> a\nb\n-- \nme\n", "> a\nb\n-- \nme\n"),
            ("Content-Type: text/plain; charset=iso-8859-1\n", "gr=FC\u{df}e", ""),
            (
                "Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain; charset=iso-8859-1\n",
                "gr=FC=\nn",
                "grün\n",
            ),
            ("Content-Type: text/plain; format=flowed\n", ">> a \n>> b\nc \nd\n", ">> a b\nc d\n"),
            ("Content-Type: image/png\n", "x", ""),
        ] {
            let found = whole(format!("{head}{fields}\n{body}").as_bytes(), &reading).unwrap();
            assert_eq!(found.header.references, ["1@b.example"]);
            if !text.is_empty() {
                assert_eq!(found.text, text, "{fields}");
            }
        }
        assert_eq!(whole(b"", &reading), None);
    }
}
