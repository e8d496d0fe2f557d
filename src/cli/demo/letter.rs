//! A mail as people have it: written in a mail client, read in a mail client.
//!
//! It reads with mail-parser and not with our own extraction, so that what it shows is what a mail
//! client of another make would make of our mails. It knows mail, and that an attachment may be a
//! CMR message. It must never know who is believed or where a mail comes from.

use std::time::SystemTime;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message as Draft};
use mail_parser::{Addr, Address, HeaderValue, MessageParser, MimeHeaders, PartType};

use super::DemoError;
use crate::gateway::clock;
use crate::message::{self, Limits, Message};

/// A mail in a mail client.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Letter {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) date: String,
    /// Without angle brackets, like those below.
    pub(super) message_id: String,
    pub(super) in_reply_to: Vec<String>,
    pub(super) references: Vec<String>,
    /// The text, decoded; empty if there is none.
    pub(super) text: String,
    pub(super) attachments: Vec<Attachment>,
}

/// A part that is no text to be shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attachment {
    pub(super) name: String,
    /// `application/octet-stream`
    pub(super) kind: String,
    pub(super) bytes: usize,
    /// The CMR message, if it is one.
    pub(super) message: Option<Message>,
}

/// A mail to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paper<'a> {
    /// `Alice <alice@post.example>`
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) subject: &'a str,
    pub(super) text: &'a str,
}

/// Writes a mail; gives it and its Message-ID without angle brackets.
pub(super) fn write(paper: Paper<'_>) -> Result<(Vec<u8>, String), DemoError> {
    let failed = |error: &dyn std::fmt::Display| DemoError::Write(error.to_string());
    let from: Mailbox = paper.from.parse().map_err(|error| failed(&error))?;
    let to: Mailbox = paper.to.parse().map_err(|error| failed(&error))?;
    let random: [u8; 8] = clock::random().map_err(|error| failed(&error))?;
    let id = format!("{:016x}@{}", u64::from_be_bytes(random), from.email.domain());
    let mail = Draft::builder()
        .message_id(Some(format!("<{id}>")))
        .date(SystemTime::now())
        .from(from)
        .to(to)
        .subject(paper.subject)
        .header(ContentType::TEXT_PLAIN)
        .body(paper.text.to_owned())
        .map_err(|error| failed(&error))?;
    Ok((mail.formatted(), id))
}

/// Reads a mail. What can't be read is empty.
pub(super) fn read(raw: &[u8]) -> Letter {
    let Some(mail) = MessageParser::default().parse(raw) else { return Letter::default() };
    let attachments = mail.parts.iter().filter(|part| {
        matches!(part.body, PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Message(_))
    });
    Letter {
        from: shown(mail.from()),
        to: shown(mail.to()),
        subject: mail.subject().unwrap_or_default().to_owned(),
        date: mail.date().map_or_else(String::new, mail_parser::DateTime::to_rfc822),
        message_id: mail.message_id().unwrap_or_default().to_owned(),
        in_reply_to: ids(mail.in_reply_to()),
        references: ids(mail.references()),
        text: mail.body_text(0).unwrap_or_default().into_owned(),
        attachments: attachments
            .map(|part| Attachment {
                name: part.attachment_name().unwrap_or("without a name").to_owned(),
                kind: part.content_type().map_or_else(String::new, |kind| {
                    format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())
                }),
                bytes: part.contents().len(),
                message: message::parse(part.contents(), &Limits::default()).ok(),
            })
            .collect(),
    }
}

impl Letter {
    /// The CMR messages in it.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Message> {
        self.attachments.iter().filter_map(|attachment| attachment.message.as_ref())
    }

    /// The CMR message that the mail is nothing but the envelope of.
    pub(super) fn carries(&self) -> Option<&Message> {
        if self.text.trim().is_empty() { self.messages().next() } else { None }
    }
}

fn shown(addresses: Option<&Address<'_>>) -> String {
    let one = |addr: &Addr<'_>| match (addr.name(), addr.address()) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (None, Some(address)) => address.to_owned(),
        (name, None) => name.unwrap_or_default().to_owned(),
    };
    addresses.map_or_else(String::new, |all| all.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn ids(value: &HeaderValue<'_>) -> Vec<String> {
    match value {
        HeaderValue::TextList(all) => all.iter().map(ToString::to_string).collect(),
        one => one.as_text().map(str::to_owned).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::compose::{self, ForwardMail};
    use crate::message::{Hop, Timestamp, UnixTime};

    #[test]
    fn what_is_written_is_read() {
        let paper =
            Paper { from: "Ann <ann@a.example>", to: "bob@b.example", subject: "Größe", text: "Ä\nö\n" };
        let (mail, id) = write(paper).unwrap();
        let letter = read(&mail);
        assert_eq!((letter.from.as_str(), letter.to.as_str()), ("Ann <ann@a.example>", "bob@b.example"));
        assert_eq!((letter.subject.as_str(), letter.message_id.as_str()), ("Größe", id.as_str()));
        assert_eq!(letter.text.replace("\r\n", "\n"), "Ä\nö\n");
        assert!(letter.carries().is_none() && letter.in_reply_to.is_empty());
        assert_ne!(write(paper).unwrap().1, write(paper).unwrap().1);
    }

    #[test]
    fn a_forward_carries_its_message() {
        let time = Timestamp::from_unix(UnixTime::from_secs(1_700_000_000), "");
        let origin = Hop::new(time, "mailto:a@b.example".try_into().unwrap());
        let message = Message::new(origin, b"text\0\xff".to_vec());
        let mail = compose::forward(&ForwardMail {
            from: "cmr@a.example",
            to: "cmr@b.example",
            message_id: "x@a.example",
            date: UnixTime::from_secs(1_700_000_000),
            loop_marker: "a.example",
            message: &message.write(),
        });
        assert_eq!(read(&mail.unwrap()).carries(), Some(&message));
    }

    #[test]
    fn threading_is_read() {
        let letter = read(b"In-Reply-To: <b@x>\r\nReferences: <a@x>\r\n <b@x>\r\n\r\ntext\r\n");
        assert_eq!(letter.in_reply_to, ["b@x"]);
        assert_eq!(letter.references, ["a@x", "b@x"]);
        assert_eq!(read(b"").text, "");
    }
}
