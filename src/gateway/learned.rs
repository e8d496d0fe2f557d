//! An ordinary mail as a message of this gateway's archive, by whatever way it comes: the same mail,
//! learned on its way through the filter and imported from a mailbox, is one message.
//!
//! It knows the header of a mail and the text that was read out of it. It must never know how the
//! mail came, nor who may see it: it is for the operator alone until somebody decides otherwise.

use std::time::Duration;

use super::{clock, people};
use crate::config::Config;
use crate::mail::Header;
use crate::message::{Address, AddressError, Hop, Message, UnixTime};
use crate::store::messages::{Kind, NewMessage};

/// What begins the tag of its origin.
const ARCHIVE_TAG: &str = "archive";

/// The time of a mail without a Date that can be true. The moment of its reading would make two
/// messages of what is read twice.
const UNDATED: UnixTime = UnixTime(1_000_000);

/// The address under which the mails of others stand in the pool: nobody answers there, and
/// nobody's own address is in it.
///
/// # Errors
/// The posting address holds a line end.
pub fn archive_address(config: &Config) -> Result<Address, AddressError> {
    let posting = config.posting_address();
    Address::new(format!("mailto:{}", people::tagged(posting, ARCHIVE_TAG)))
}

/// A mail with this text as a message: its author, date and subject are the first lines. Its Date is
/// believed unless it lies further ahead of `now` than `skew`.
#[must_use]
pub fn learned(
    header: &Header,
    text: &str,
    archive: &Address,
    now: UnixTime,
    skew: Duration,
    via: &str,
) -> NewMessage {
    let date = header.date.filter(|date| (UnixTime(0)..=now.saturating_add(skew)).contains(date));
    let mut body = String::with_capacity(text.len() + 200);
    let line = |body: &mut String, name: &str, value: &str| {
        body.push_str(name);
        body.push_str(value);
        body.push('\n');
    };
    if let Some(from) = &header.from {
        let name = from.name.as_ref().map(|name| format!("{name} <{}>", from.address));
        line(&mut body, "From: ", name.as_deref().unwrap_or(&from.address));
    }
    if let Some(date) = date {
        // Cut into words that are not rare: the hour of a mail is nothing that it shares with others.
        let text = date.rfc3339().chars().take(19).collect::<String>().replace('T', " ") + " UTC";
        line(&mut body, "Date: ", &text);
    }
    if let Some(subject) = header.subject.as_ref().filter(|subject| !subject.is_empty()) {
        line(&mut body, "Subject: ", subject);
    }
    if !text.is_empty() {
        body.push('\n');
        body.push_str(text);
    }
    let body = body.into_bytes();
    let time = clock::mail_stamp(date.unwrap_or(UNDATED), header.message_id.as_deref(), &body);
    let message = Message::new(Hop::new(time, archive.clone()), body);
    let mut new = NewMessage::new(message, now, via);
    if let Some(from) = &header.from
        && let Ok(author) = Address::new(format!("mailto:{}", crate::store::people::canonical(&from.address)))
    {
        new.author = author;
    }
    new.kind = Kind::Learned;
    new
}
