//! One mail, taken apart: the messages that it becomes.

use super::Wish;
use crate::config::Config;
use crate::gateway::import::Content;
use crate::gateway::learned::{archive_address, learned};
use crate::mail::{self, Caps, Header, NoPost, Reading};
use crate::message::{self, Address, AddressError, Limits, Message, MessageId, UnixTime};
use crate::policy::Scope;
use crate::store::messages::{Kind, NewMessage};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::time::Duration;

/// What of a mail becomes its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// What is new in it: the text without quotes and signature.
    #[default]
    New,
    /// All its text.
    Full,
}

impl View {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            View::New => "new",
            View::Full => "full",
        }
    }
}

/// What this gateway is to a mail.
#[derive(Clone, Debug)]
pub struct House {
    posting: Vec<String>,
    hostname: String,
    archive: Address,
    max_message: usize,
    forwarded: bool,
    now: UnixTime,
    skew: Duration,
}

impl House {
    /// As it is configured, at this time.
    ///
    /// # Errors
    /// The posting address holds a line end.
    pub fn new(config: &Config, now: UnixTime) -> Result<House, AddressError> {
        Ok(House {
            posting: config.smtp.recipients.clone(),
            hostname: config.gateway.hostname.clone(),
            archive: archive_address(config)?,
            max_message: config.smtp.max_message,
            forwarded: config.policy.read_forwarded,
            now,
            skew: config.policy.clock_skew,
        })
    }

    fn limits(&self) -> Limits {
        Limits { max_body: self.max_message, ..Limits::default() }
    }

    fn reading(&self) -> Reading<'_> {
        Reading {
            posting: &self.posting,
            envelope_recipients: &[],
            hostname: &self.hostname,
            loop_marker: &self.hostname,
            limits: self.limits(),
            caps: Caps::default(),
            forwarded: self.forwarded,
        }
    }
}

/// What an export says about one of its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Who may see it.
    pub scope: Scope,
    /// What it is.
    pub kind: Kind,
    /// Who wrote it.
    pub author: Address,
}

/// What an export says about its messages, by id and SHA-256 of all their bytes, in hexadecimal.
pub type Restored = HashMap<(MessageId, String), Known>;

/// What a mail becomes, and a hash of what its thread began with.
#[must_use]
pub fn take(raw: &[u8], house: &House, wish: &Wish, restored: &Restored) -> (Content, Option<i64>) {
    if let Ok(message) = message::parse(raw, &house.limits()) {
        return (messages(vec![message], house, wish, restored), None);
    }
    let submission = mail::extract(raw, &house.reading());
    let header = &submission.header;
    let thread = thread(header);
    let failed = |reason: &str| (Content::Failed(reason.to_owned()), thread);
    if submission.faults.iter().any(|fault| fault.place == "the mail") {
        let reason = submission.faults.first().map_or("", |fault| fault.reason.as_str());
        // What follows is advice for who has sent it.
        return failed(reason.split("; nothing was taken from it").next().unwrap_or(reason));
    }
    if !is_mail(header) {
        return failed("it is no mail: its header has no From, To, Subject, Date or Message-ID");
    }
    if let Some(reason) = wish.unwanted(header) {
        return (Content::Skipped(reason), thread);
    }
    if !submission.messages.is_empty() {
        let parsed = submission.messages.iter().map(|found| message::parse(&found.bytes, &house.limits()));
        return match parsed.collect::<Result<Vec<_>, _>>() {
            Ok(all) => (messages(all, house, wish, restored), thread),
            Err(error) => failed(&error.to_string()),
        };
    }
    if let Some(fault) = submission.faults.first() {
        return failed(&format!("{}: {}", fault.place, fault.reason));
    }
    if wish.no_posts {
        return (Content::Skipped("it holds no CMR message".to_owned()), thread);
    }
    let text = match (wish.view, &submission.post, submission.no_post) {
        (View::New, Some(post), _) => post.text.clone(),
        (_, None, Some(NoPost::Encrypted)) => String::new(),
        (View::Full, ..) | (_, None, Some(NoPost::Report)) => {
            mail::whole(raw, &house.reading()).map(|whole| whole.text).unwrap_or_default()
        }
        // What has no words of its own is known by who wrote it, when, and about what.
        _ => String::new(),
    };
    match local(header, &text, house, wish) {
        Ok(new) => (Content::Messages(vec![new]), thread),
        Err(reason) => failed(&reason),
    }
}

fn is_mail(header: &Header) -> bool {
    header.from_count > 0
        || !header.to.is_empty()
        || header.subject.is_some()
        || header.date.is_some()
        || header.message_id.is_some()
}

/// What a thread began with, as far as this mail knows.
fn thread(header: &Header) -> Option<i64> {
    let root = header.references.first().or(header.in_reply_to.first()).or(header.message_id.as_ref())?;
    let digest: [u8; 32] = Sha256::digest(root.as_bytes()).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    Some(i64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// CMR messages as they are.
fn messages(all: Vec<Message>, house: &House, wish: &Wish, restored: &Restored) -> Content {
    let mut new = Vec::new();
    for message in all {
        let latest = house.now.saturating_add(house.skew);
        if message.sender().time.to_unix() > latest {
            return Content::Failed(format!(
                "its time, {}, lies ahead of our clock",
                message.sender().time.to_unix().rfc3339()
            ));
        }
        let origin = message.origin();
        let author = origin.address.mail_address().unwrap_or_default().to_owned();
        if !wish.is_time(Some(origin.time.to_unix())) || !wish.is_address(&author) {
            return Content::Skipped("neither its time nor its author was asked for".to_owned());
        }
        let known = (!restored.is_empty())
            .then(|| restored.get(&(message.id(), hexadecimal(&message.write()))))
            .flatten();
        let mut one = NewMessage::new(message, house.now, "import");
        one.scope = if wish.publish { Scope::Public } else { Scope::Local };
        one.settled = !wish.forward;
        if let Some(known) = known {
            (one.scope, one.kind, one.author) = (known.scope, known.kind, known.author.clone());
        }
        new.push(one);
    }
    Content::Messages(new)
}

/// SHA-256, in hexadecimal.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An ordinary mail as a message of our archive.
fn local(header: &Header, text: &str, house: &House, wish: &Wish) -> Result<NewMessage, String> {
    let mut new = learned(header, text, &house.archive, house.now, house.skew, "import");
    let bytes = new.message().body.len();
    if bytes > house.max_message {
        return Err(format!("its text has {bytes} bytes, more than smtp.max_message allows"));
    }
    new.scope = if wish.publish { Scope::Public } else { Scope::Local };
    new.settled = !wish.forward;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Hop;

    fn house() -> House {
        House {
            posting: vec!["cmr@example.org".to_owned()],
            hostname: "mx.example.org".to_owned(),
            archive: Address::new("mailto:cmr+archive@example.org").unwrap(),
            max_message: 2000,
            forwarded: true,
            now: UnixTime(1_800_000_000_000_000),
            skew: Duration::from_secs(60),
        }
    }

    fn taken(raw: &str, wish: &Wish) -> String {
        match take(raw.as_bytes(), &house(), wish, &Restored::new()).0 {
            Content::Messages(all) => all
                .iter()
                .map(|new| {
                    let origin = new.message().origin();
                    format!(
                        "{} {} by {}: {}",
                        new.kind,
                        origin.address,
                        new.author,
                        String::from_utf8_lossy(&new.message().body)
                    )
                })
                .collect::<Vec<_>>()
                .join("|"),
            Content::Skipped(reason) => format!("skipped: {reason}"),
            Content::Failed(reason) => format!("failed: {reason}"),
        }
    }

    const MAIL: &str = "From: Ann <Ann@a.example>\nDate: Mon, 5 Jan 2026 10:00:00 +0000\nSubject: Re: Moons\n\
        Message-ID: <2@a.example>\nReferences: <1@a.example>\n\nOn Monday Bob wrote:\n> How many?\n\nFour.\n\n-- \nAnn\n";

    #[test]
    fn what_a_mail_becomes() {
        let head = "From: Ann <Ann@a.example>\nDate: 2026-01-05 10:00:00 UTC\nSubject: Re: Moons\n";
        let by = "learned mailto:cmr+archive@example.org by mailto:Ann@a.example: ";
        let wish = Wish::default();
        let full = Wish { view: View::Full, ..Wish::default() };
        let only = Wish { no_posts: true, ..Wish::default() };
        assert_eq!(taken(MAIL, &wish), format!("{by}{head}\nFour."));
        assert_eq!(
            taken(MAIL, &full),
            format!("{by}{head}\nOn Monday Bob wrote:\n> How many?\n\nFour.\n\n-- \nAnn\n")
        );
        assert_eq!(taken(MAIL, &only), "skipped: it holds no CMR message");
        let quotes = MAIL.replace("Four.\n\n-- \nAnn\n", "");
        assert_eq!(taken(&quotes, &wish), format!("{by}{head}"), "nothing new in it");
        for (raw, said) in [
            ("", "failed: "),
            ("hello\n", "failed: it can't be read for certain, because it has no header"),
            ("X-A: b\n\nhello\n", "failed: it is no mail"),
            (
                "Subject: x\n\ny\n",
                "learned mailto:cmr+archive@example.org by mailto:cmr+archive@example.org: Subject: x\n\ny",
            ),
        ] {
            assert!(taken(raw, &wish).starts_with(said), "{raw:?}: {}", taken(raw, &wish));
        }
        let long = MAIL.replace("Four.", &"x y ".repeat(600));
        assert!(taken(&long, &wish).starts_with("failed: its text has 24"), "{}", taken(&long, &wish));
    }

    #[test]
    fn the_same_mail_is_the_same_message_whenever_it_is_taken() {
        let id = |raw: &str| match take(raw.as_bytes(), &house(), &Wish::default(), &Restored::new()).0 {
            Content::Messages(all) => all[0].id(),
            other => panic!("{other:?}"),
        };
        let first = id(MAIL);
        assert_eq!(id(&format!("Received: from x\n{MAIL}")), first);
        assert_eq!(id(&MAIL.replace('\n', "\r\n")), first);
        assert_ne!(id(&MAIL.replace("<2@a", "<3@a")), first);
        let undated = MAIL.replace("Date: Mon, 5 Jan 2026", "Date: Mon, 5 Jan 2066");
        assert_eq!(id(&undated), id(&undated));
        assert!(!taken(&undated, &Wish::default()).contains("Date:"), "a date that can't be true is none");
    }

    #[test]
    fn cmr_messages_stay_what_they_are() {
        let time = crate::message::Timestamp::parse(b"2026/01/05 10:00:00.123").unwrap();
        let hop = Hop::new(time, Address::new("mailto:cmr@example.org").unwrap());
        let wire = Message::new(hop, b"hello".to_vec()).write();
        let said = "cmr mailto:cmr@example.org by mailto:cmr@example.org: hello";
        let bare = String::from_utf8(wire.clone()).unwrap();
        assert_eq!(taken(&bare, &Wish::default()), said, "our own ones are taken back");
        let key = (message::parse(&wire, &Limits::default()).unwrap().id(), hexadecimal(&wire));
        let author = Address::new("mailto:b@c.example").unwrap();
        let known = Known { scope: Scope::Public, kind: Kind::Post, author: author.clone() };
        let restored = Restored::from([(key, known)]);
        let (content, _) = take(&wire, &house(), &Wish::default(), &restored);
        let Content::Messages(all) = content else { panic!("{content:?}") };
        assert_eq!((all[0].scope, all[0].kind, &all[0].author), (Scope::Public, Kind::Post, &author));
        let ahead = bare.replace("2026/", "2066/");
        assert!(taken(&ahead, &Wish::default()).contains("ahead of our clock"));
    }
}
