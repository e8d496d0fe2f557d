//! The mails that we write: a forward to a peer, an answer to a person, a notice to the operator.
//!
//! lettre builds them. Nothing here asks for the time or for chance: the same values always give
//! the same bytes, so that a repeated delivery is the same mail.

mod answer;
mod keep;
mod layout;
mod thread;
mod word;

pub use answer::{AnswerMail, Handing, List, Match, Occasion, Publication, answer, answer_text};
pub use keep::{KeepMail, keep};
pub use thread::kept_references;
pub use word::{WordMail, word, word_text};

use super::{LOOP_HEADER, Mailbox, text};
use crate::message::UnixTime;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox as LettreMailbox, Message, MessageBuilder, SinglePart};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Why a mail can't be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// An address has a form that must not stand in a header.
    #[error("{0:?} is no mail address that can be written to")]
    Address(String),
    /// A Message-ID has a form that must not stand in a header.
    #[error("{0:?} is no Message-ID")]
    MessageId(String),
    /// The mail can't be built.
    #[error("the mail can't be built: {0}")]
    Build(String),
}

/// Who writes our mails.
#[derive(Clone, Copy, Debug)]
pub struct Robot<'a> {
    /// The address in From, such as `cmr@example.org`.
    pub address: &'a str,
    /// The human who runs the gateway: `The Operator <operator@example.org>`.
    pub operator: &'a str,
    /// The gateway's host name.
    pub hostname: &'a str,
    /// The value of [`LOOP_HEADER`].
    pub loop_marker: &'a str,
}

/// A CMR message to be sent to a peer.
#[derive(Clone, Copy, Debug)]
pub struct ForwardMail<'a> {
    /// The address in From: the one by which the peer knows us.
    pub from: &'a str,
    /// The peer's address.
    pub to: &'a str,
    /// The Message-ID, without angle brackets; the same at every attempt.
    pub message_id: &'a str,
    /// The Date.
    pub date: UnixTime,
    /// The value of [`LOOP_HEADER`].
    pub loop_marker: &'a str,
    /// The message's exact bytes.
    pub message: &'a [u8],
}

/// A mail to the operator.
#[derive(Clone, Copy, Debug)]
pub struct NoticeMail<'a> {
    /// Who writes; the mail goes to its `operator`.
    pub robot: Robot<'a>,
    /// The Message-ID, without angle brackets.
    pub message_id: &'a str,
    /// The Date.
    pub date: UnixTime,
    /// The subject.
    pub subject: &'a str,
    /// The text. Lines within a paragraph are joined and wrapped.
    pub paragraphs: &'a [String],
}

/// A mail whose only part is the message in base64 (specification A4.1): the reference
/// implementation reads the first part of a mail and no quoted-printable.
///
/// # Errors
/// An address or the Message-ID has no proper form.
pub fn forward(mail: &ForwardMail<'_>) -> Result<Vec<u8>, ComposeError> {
    let builder = begin(
        mailbox(None, mail.from)?,
        mailbox(None, mail.to)?,
        mail.message_id,
        mail.date,
        mail.loop_marker,
    )?
    .subject("cmr");
    let message = builder.singlepart(octets(SinglePart::builder(), mail.message)?).map_err(build_error)?;
    Ok(message.formatted())
}

/// A mail that tells the operator something, by a program and not to be answered.
///
/// # Errors
/// An address or the Message-ID has no proper form.
pub fn notice(mail: &NoticeMail<'_>) -> Result<Vec<u8>, ComposeError> {
    let operator = operator(mail.robot.operator)?;
    let builder =
        begin(robot_mailbox(&mail.robot)?, operator, mail.message_id, mail.date, mail.robot.loop_marker)?
            .subject(layout::short(mail.subject, 200))
            .raw_header(raw("Auto-Submitted", "auto-generated".to_owned()));
    let paragraphs: Vec<String> =
        mail.paragraphs.iter().map(|paragraph| layout::wrap(&text::printable(paragraph), "", "")).collect();
    let message = builder.singlepart(plain(&paragraphs.join("\n\n"))?).map_err(build_error)?;
    Ok(message.formatted())
}

/// The fields that all our mails have.
fn begin(
    from: LettreMailbox,
    to: LettreMailbox,
    message_id: &str,
    date: UnixTime,
    loop_marker: &str,
) -> Result<MessageBuilder, ComposeError> {
    if !super::header::is_message_id(message_id) {
        return Err(ComposeError::MessageId(message_id.to_owned()));
    }
    Ok(Message::builder()
        .message_id(Some(format!("<{message_id}>")))
        .date(system_time(date))
        .from(from)
        .to(to)
        .raw_header(raw(LOOP_HEADER, text::printable(loop_marker))))
}

fn raw(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// The time as lettre wants it, moved into the years that a Date can have there (1970 to 9999).
fn system_time(date: UnixTime) -> SystemTime {
    let seconds = u64::try_from(date.as_secs()).unwrap_or(0).min(253_402_300_799);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn mailbox(name: Option<&str>, address: &str) -> Result<LettreMailbox, ComposeError> {
    let wrong = || ComposeError::Address(layout::short(address, 100));
    // lettre takes what it can't write in ASCII as well, and literals, to which nothing may go.
    if !address.bytes().all(|byte| byte.is_ascii_graphic())
        || address.contains(['[', '"', '<', '>', ',', ';', '%', '!'])
    {
        return Err(wrong());
    }
    let address = address.parse().map_err(|_| wrong())?;
    let name = name.map(|name| layout::short(name, 100)).filter(|name| !name.is_empty());
    Ok(LettreMailbox::new(name, address))
}

/// `The Operator <operator@example.org>` or a bare address.
fn operator(text: &str) -> Result<LettreMailbox, ComposeError> {
    match text.trim().strip_suffix('>').and_then(|text| text.split_once('<')) {
        Some((name, address)) => mailbox(Some(name.trim().trim_matches('"')), address.trim()),
        None => mailbox(None, text.trim()),
    }
}

/// The robot's name tells that it is one and who runs it (RFC 3834, section 3.1.1).
fn robot_mailbox(robot: &Robot<'_>) -> Result<LettreMailbox, ComposeError> {
    let human = operator(robot.operator)?;
    // Without commas or other signs, which lettre turns into base64 that old clients show as it is.
    let name = match human.name {
        Some(name) => format!("CMR gateway run by {name}"),
        None => format!("CMR gateway of {}", human.email.domain()),
    };
    mailbox(Some(&name), robot.address)
}

fn to_mailbox(to: &Mailbox) -> Result<LettreMailbox, ComposeError> {
    mailbox(to.name.as_deref(), &to.address)
}

fn octets(builder: lettre::message::SinglePartBuilder, bytes: &[u8]) -> Result<SinglePart, ComposeError> {
    let octet_stream = ContentType::parse("application/octet-stream").map_err(build_error)?;
    let body = Body::new_with_encoding(bytes.to_vec(), ContentTransferEncoding::Base64)
        .map_err(|_| ComposeError::Build("base64".to_owned()))?;
    Ok(builder.header(octet_stream).body(body))
}

/// A text part. The line end after the last line comes with the end of the part.
fn plain(text: &str) -> Result<SinglePart, ComposeError> {
    let text = text.trim_end_matches('\n').to_owned();
    let body = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable)
        .map_err(|_| ComposeError::Build("quoted-printable".to_owned()))?;
    Ok(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(body))
}

fn build_error(error: impl std::fmt::Display) -> ComposeError {
    ComposeError::Build(error.to_string())
}

/// A boundary that stands in no part: neither quoted-printable nor base64 can hold `=_`.
fn boundary(message_id: &str) -> String {
    let hash = Sha256::digest(message_id.as_bytes());
    hash.iter().take(12).fold("=_cmr_".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
