//! The mail in which a CMR message is kept outside the gateway, for any mail program to show.

use super::{ComposeError, boundary, build_error, mailbox, octets, plain, system_time};
use crate::mail::reading::is_attempt;
use crate::mail::text;
use crate::message::UnixTime;
use lettre::message::header::ContentDisposition;
use lettre::message::{Message, MultiPart, SinglePart};

/// As much of a text is shown beside the message.
const SHOWN: usize = 64 << 10;

/// A CMR message to be kept in a mail.
#[derive(Clone, Copy, Debug)]
pub struct KeepMail<'a> {
    /// The address in From and To: the gateway's.
    pub gateway: &'a str,
    /// The gateway's host name, for the Message-ID.
    pub hostname: &'a str,
    /// The public id.
    pub id: &'a str,
    /// The Date.
    pub date: UnixTime,
    /// Its body, to be read.
    pub body: &'a [u8],
    /// Its exact bytes.
    pub message: &'a [u8],
}

/// The body as text, and the message itself attached in base64. What can't be shown without being
/// taken for something else is attached only.
///
/// # Errors
/// An address has no proper form.
pub fn keep(mail: &KeepMail<'_>) -> Result<Vec<u8>, ComposeError> {
    let gateway = mailbox(None, mail.gateway)?;
    let message_id = format!("keep-{}@{}", mail.id, mail.hostname);
    let shown = std::str::from_utf8(mail.body).ok().filter(|text| text.len() <= SHOWN).map(lines);
    let shown = shown.filter(|text| !text.trim().is_empty() && !is_attempt(text.as_bytes()));
    let first = shown.as_deref().and_then(|text| text.lines().find(|line| !line.trim().is_empty()));
    let builder = Message::builder()
        .message_id(Some(format!("<{message_id}>")))
        .date(system_time(mail.date))
        .from(gateway.clone())
        .to(gateway)
        .subject(super::layout::short(first.unwrap_or(mail.id), 200));
    let disposition = ContentDisposition::attachment(&format!("{}.cmr", mail.id));
    let attached = octets(SinglePart::builder().header(disposition), mail.message)?;
    let message = match &shown {
        Some(text) => builder.multipart(
            MultiPart::mixed().boundary(boundary(&message_id)).singlepart(plain(text)?).singlepart(attached),
        ),
        None => builder.singlepart(attached),
    };
    Ok(message.map_err(build_error)?.formatted())
}

/// Without the characters that are no text.
fn lines(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !text::is_control(*c)).collect()
}
