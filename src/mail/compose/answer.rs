//! An answer to a person.

use super::layout::{block, short, wrap};
use super::{
    ComposeError, Robot, begin, boundary, build_error, octets, plain, raw, robot_mailbox, to_mailbox,
};
use crate::mail::header::is_message_id;
use crate::mail::post::base_subject;
use crate::mail::{Fault, Ignored, Mailbox};
use crate::message::{MessageId, UnixTime};
use lettre::message::header::ContentDisposition;
use lettre::message::{MultiPart, SinglePart};

/// How many References an answer has at most: the first and the last ones.
const MAX_REFERENCES: usize = 20;

/// What an answer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion<'a> {
    /// A text was posted.
    Posted,
    /// This many CMR messages were taken from a mail.
    Taken(usize),
    /// Nothing was taken, for this reason (the end of a sentence: `the mail is empty`).
    NotPosted(&'a str),
    /// A text was only compared with the pool, not stored.
    Searched,
    /// Something similar to an earlier post has arrived.
    Later,
}

/// Who can read what was posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication<'a> {
    /// Nothing was posted, or nothing has to be said.
    Silent,
    /// It is public.
    Public,
    /// It is kept here; a mail to this address publishes it (rule: ask before the first post).
    Local {
        /// A posting address with a token nobody can guess.
        confirm: &'a str,
    },
}

/// A message that is close to what the person wrote.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a> {
    /// Its id.
    pub id: MessageId,
    /// Its author, as it shall be shown.
    pub author: &'a str,
    /// When it was written.
    pub time: UnixTime,
    /// By how many bits it shortens the person's text.
    pub gain_bits: f64,
    /// That gain as a share of the text's own size, 0 to 1.
    pub share: f64,
    /// The passage that is closest; lines end with LF.
    pub excerpt: &'a str,
    /// The wording that both share, most telling first.
    pub shared: &'a [String],
    /// The whole message, to be attached; none for a summary.
    pub message: Option<&'a [u8]>,
}

/// An answer to a person.
#[derive(Clone, Copy, Debug)]
pub struct AnswerMail<'a> {
    /// Who writes.
    pub robot: Robot<'a>,
    /// The person.
    pub to: &'a Mailbox,
    /// The Message-ID, without angle brackets; the same at every attempt.
    pub message_id: &'a str,
    /// The Date.
    pub date: UnixTime,
    /// The person's subject.
    pub subject: Option<&'a str>,
    /// The person's Message-ID.
    pub in_reply_to: Option<&'a str>,
    /// The person's References.
    pub references: &'a [String],
    /// What is answered.
    pub occasion: Occasion<'a>,
    /// What the pool holds, closest first.
    pub matches: &'a [Match<'a>],
    /// What was not taken from the person's mail.
    pub ignored: &'a [Ignored],
    /// What should have been a CMR message and was none.
    pub faults: &'a [Fault],
    /// Who can read it.
    pub publication: Publication<'a>,
    /// For how many days later matches are sent; 0 for none.
    pub later_days: u32,
    /// The address that stops all mail to the person.
    pub stop: &'a str,
}

/// An answer in the thread of the person's mail: a text, then the CMR messages as attachments.
///
/// # Errors
/// An address or the Message-ID has no proper form.
pub fn answer(mail: &AnswerMail<'_>) -> Result<Vec<u8>, ComposeError> {
    let (base, _) = base_subject(mail.subject.unwrap_or_default());
    let base = short(base, 200);
    let subject = if base.is_empty() { "Re: (no subject)".to_owned() } else { format!("Re: {base}") };
    // RFC 3834, sections 3.1.7 and 5.2.
    let automatic = if mail.occasion == Occasion::Later { "auto-generated" } else { "auto-replied" };
    let mut builder = begin(
        robot_mailbox(&mail.robot)?,
        to_mailbox(mail.to)?,
        mail.message_id,
        mail.date,
        mail.robot.loop_marker,
    )?
    .subject(subject)
    .raw_header(raw("Auto-Submitted", automatic.to_owned()));
    if let Some(id) = mail.in_reply_to.filter(|id| is_message_id(id)) {
        builder = builder.in_reply_to(format!("<{id}>")).references(references(mail.references, id));
    }
    let text = plain(&answer_text(mail))?;
    let mut attached = mail.matches.iter().filter_map(|found| Some((found.id, found.message?))).peekable();
    if attached.peek().is_none() {
        return Ok(builder.singlepart(text).map_err(build_error)?.formatted());
    }
    let mut parts = MultiPart::mixed().boundary(boundary(mail.message_id)).singlepart(text);
    for (id, message) in attached {
        let disposition = ContentDisposition::attachment(&format!("{id}.cmr"));
        parts = parts.singlepart(octets(SinglePart::builder().header(disposition), message)?);
    }
    Ok(builder.multipart(parts).map_err(build_error)?.formatted())
}

/// RFC 5322, section 3.6.4: the References of the mail that is answered, then its Message-ID.
/// Of a long thread the first ones and the last ones are kept, which is enough to find it.
fn references(theirs: &[String], id: &str) -> String {
    let known: Vec<&str> =
        theirs.iter().map(String::as_str).filter(|other| is_message_id(other) && *other != id).collect();
    let first = known.len().min(3);
    let last = known.len().saturating_sub(MAX_REFERENCES - 1 - first).max(first);
    let kept = known.iter().take(first).chain(known.iter().skip(last)).copied().chain([id]);
    kept.map(|id| format!("<{id}>")).collect::<Vec<_>>().join(" ")
}

/// The text of an answer: LF line ends, at most 78 columns.
#[must_use]
pub fn answer_text(mail: &AnswerMail<'_>) -> String {
    let mut paragraphs = vec![wrap(&opening(mail), "", "")];
    for (number, found) in mail.matches.iter().enumerate() {
        paragraphs.push(result(number + 1, found));
    }
    if mail.matches.iter().any(|found| found.message.is_some()) {
        paragraphs.push(wrap("The complete CMR messages are attached.", "", ""));
    }
    if !mail.faults.is_empty() {
        let lines = mail.faults.iter().map(|fault| {
            wrap(&format!("{}: {}.", short(&fault.place, 120), short(&fault.reason, 500)), "- ", "  ")
        });
        paragraphs.push(
            std::iter::once("This could not be read as a CMR message:".to_owned())
                .chain(lines)
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
    if !mail.ignored.is_empty() {
        let lines = mail
            .ignored
            .iter()
            .map(|ignored| wrap(&format!("{}: {}.", short(&ignored.what, 200), ignored.why), "- ", "  "));
        paragraphs.push(
            std::iter::once("Not taken from your mail:".to_owned())
                .chain(lines)
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
    paragraphs.extend(publication(mail.publication));
    if mail.later_days > 0 {
        let days = mail.later_days;
        paragraphs.push(wrap(
            &format!("What is similar and arrives within {days} days will be sent to you in this thread."),
            "",
            "",
        ));
    }
    format!("{}\n\n-- \n{}\n", paragraphs.join("\n\n"), footer(mail))
}

fn opening(mail: &AnswerMail<'_>) -> String {
    let some = !mail.matches.is_empty();
    let closest = if some { "Closest to it is:" } else { "Nothing similar to it is known here yet." };
    match mail.occasion {
        Occasion::Posted => format!("Your message is stored. {closest}"),
        Occasion::Searched => {
            format!("Your question was compared with what is known here and not stored. {closest}")
        }
        Occasion::Taken(1) => format!("The CMR message in your mail is stored. {closest}"),
        Occasion::Taken(count) => format!(
            "The {count} CMR messages in your mail are stored. {}",
            if some { "Closest to them is:" } else { "Nothing similar to them is known here yet." }
        ),
        Occasion::NotPosted(reason) => {
            format!("Nothing was stored, because {}.", short(reason, 400))
        }
        Occasion::Later => "Something similar to your message has arrived:".to_owned(),
    }
}

/// Author, time, how close, id, excerpt, shared wording.
fn result(number: usize, found: &Match<'_>) -> String {
    let time = found.time.rfc3339();
    let minute = time.get(..16).unwrap_or_default().replace('T', " ");
    let percent = (found.share.clamp(0.0, 1.0) * 100.0).round();
    let bits = found.gain_bits.max(0.0).round();
    let first = format!("{number}. ");
    let indent = " ".repeat(first.len());
    let mut lines = vec![
        wrap(&format!("{}, {minute} UTC", short(found.author, 120)), &first, &indent),
        wrap(
            &format!("{percent} % of your text is known from it ({bits} bits), id {}", found.id),
            &indent,
            &indent,
        ),
    ];
    let excerpt = block(found.excerpt, &" ".repeat(first.len() + 3));
    if !excerpt.is_empty() {
        lines.extend([String::new(), excerpt]);
    }
    if !found.shared.is_empty() {
        let shared: Vec<String> = found.shared.iter().take(20).map(|words| short(words, 60)).collect();
        lines.extend([String::new(), wrap(&format!("In common: {}", shared.join(", ")), &indent, &indent)]);
    }
    lines.join("\n")
}

fn publication(publication: Publication<'_>) -> Option<String> {
    match publication {
        Publication::Silent => None,
        Publication::Public => Some(wrap("Your message is public.", "", "")),
        Publication::Local { confirm } => Some(
            [
                wrap(
                    "Your message is not public yet: until you confirm, only this gateway's operator can read it. \
                     Once it is public, other gateways get copies, show them to people who write something similar, \
                     and keep them; nobody can take them all back. It names an alias made by this gateway, not your \
                     address.",
                    "",
                    "",
                ),
                wrap("To publish it and what you post from now on, send a mail, with any text, to", "", ""),
                wrap(confirm, "   ", "   "),
            ]
            .join("\n"),
        ),
    }
}

fn footer(mail: &AnswerMail<'_>) -> String {
    [
        wrap(
            &format!("Written by a program: the CMR gateway at {}.", short(mail.robot.hostname, 120)),
            "",
            "",
        ),
        wrap(&format!("It is run by {}.", short(mail.robot.operator, 200)), "", ""),
        wrap(&format!("To get no more mail from it, write to {}", short(mail.stop, 200)), "", ""),
    ]
    .join("\n")
}
