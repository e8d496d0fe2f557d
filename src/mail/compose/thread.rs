//! The fields that put a mail into the thread of another one.

use super::layout::short;
use super::{ComposeError, Robot, begin, robot_mailbox, to_mailbox};
use crate::mail::Mailbox;
use crate::mail::header::is_message_id;
use crate::mail::post::base_subject;
use crate::message::UnixTime;
use lettre::message::MessageBuilder;

/// How many References an answer has at most: the first and the last ones.
const MAX_REFERENCES: usize = 20;

/// A mail in the thread of a person's mail.
pub(super) struct Threaded<'a> {
    pub(super) robot: Robot<'a>,
    pub(super) to: &'a Mailbox,
    pub(super) message_id: &'a str,
    pub(super) date: UnixTime,
    /// The person's subject.
    pub(super) subject: Option<&'a str>,
    /// The person's Message-ID.
    pub(super) in_reply_to: Option<&'a str>,
    /// The person's References.
    pub(super) references: &'a [String],
}

/// The header of an answer: `Re: ` and their subject, In-Reply-To and References.
pub(super) fn begin_threaded(mail: &Threaded<'_>) -> Result<MessageBuilder, ComposeError> {
    let (base, _) = base_subject(mail.subject.unwrap_or_default());
    let base = short(base, 200);
    let subject = if base.is_empty() { "Re: (no subject)".to_owned() } else { format!("Re: {base}") };
    let from = robot_mailbox(&mail.robot)?;
    let builder = begin(from, to_mailbox(mail.to)?, mail.message_id, mail.date, mail.robot.loop_marker)?
        .subject(subject);
    Ok(match mail.in_reply_to.filter(|id| is_message_id(id)) {
        Some(id) => builder.in_reply_to(format!("<{id}>")).references(references(mail.references, id)),
        None => builder,
    })
}

/// RFC 5322, section 3.6.4: the References of the mail that is answered, then its Message-ID.
/// Of a long thread the first ones and the last ones are kept, which is enough to find it.
fn references(theirs: &[String], id: &str) -> String {
    let known: Vec<&str> =
        theirs.iter().map(String::as_str).filter(|other| is_message_id(other) && *other != id).collect();
    let kept = kept_references(&known).copied().chain([id]);
    kept.map(|id| format!("<{id}>")).collect::<Vec<_>>().join(" ")
}

/// Of the References of a mail those that an answer to it repeats.
pub fn kept_references<T>(all: &[T]) -> impl Iterator<Item = &T> {
    let first = all.len().min(3);
    let last = all.len().saturating_sub(MAX_REFERENCES - 1 - first).max(first);
    all.iter().take(first).chain(all.iter().skip(last))
}
