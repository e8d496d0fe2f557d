//! An answer to a person.

use super::layout::{address, block, short, wrap};
use super::thread::{Threaded, begin_threaded};
use super::{ComposeError, Robot, boundary, build_error, octets, plain, raw};
use crate::mail::{Fault, Ignored, Mailbox};
use crate::message::{MessageId, UnixTime};
use lettre::message::header::ContentDisposition;
use lettre::message::{MultiPart, SinglePart};

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
    /// What others wrote to the person's alias.
    Handed,
    /// So many posts became public, because their author agreed.
    Published(usize),
    /// One message, which was asked for.
    Whole,
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

/// What becomes of a text that was written to somebody's alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handing {
    /// It was handed on.
    Done,
    /// It will be, when its author has agreed to publishing.
    Waits,
    /// It was not: that person waits for nothing at present, or got enough mail today.
    Not,
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
    /// The length of the whole message.
    pub bytes: usize,
    /// The whole message, to be attached; none for a summary.
    pub message: Option<&'a [u8]>,
    /// The addresses that say that it is good, and bad.
    pub votes: Option<(&'a str, &'a str)>,
    /// The address that sends the whole message, if it is not attached.
    pub whole: &'a str,
}

/// What makes a mail one that was subscribed to.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    /// RFC 2919: the identifier, without angle brackets.
    pub id: &'a str,
    /// RFC 2369: the address that explains it.
    pub help: &'a str,
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
    /// The pool holds nothing else at all.
    pub alone: bool,
    /// What was not taken from the person's mail.
    pub ignored: &'a [Ignored],
    /// What should have been a CMR message and was none.
    pub faults: &'a [Fault],
    /// Who can read it.
    pub publication: Publication<'a>,
    /// It was written to somebody's alias.
    pub handing: Option<Handing>,
    /// For how many days later matches are sent; 0 for none.
    pub later_days: u32,
    /// The address that stops all mail to the person.
    pub stop: &'a str,
    /// The person did not ask for this mail, but for mails of its kind.
    pub list: Option<List<'a>>,
}

/// An answer in the thread of the person's mail: a text, then the CMR messages as attachments.
///
/// # Errors
/// An address or the Message-ID has no proper form.
pub fn answer(mail: &AnswerMail<'_>) -> Result<Vec<u8>, ComposeError> {
    // RFC 3834, sections 3.1.7 and 5.2.
    let unasked = matches!(mail.occasion, Occasion::Later | Occasion::Handed);
    let automatic = if unasked { "auto-generated" } else { "auto-replied" };
    let mut builder = begin_threaded(&Threaded {
        robot: mail.robot,
        to: mail.to,
        message_id: mail.message_id,
        date: mail.date,
        subject: mail.subject,
        in_reply_to: mail.in_reply_to,
        references: mail.references,
    })?
    .raw_header(raw("Auto-Submitted", automatic.to_owned()));
    if let Some(list) = mail.list {
        // No List-Unsubscribe-Post (RFC 8058): it needs an https address, and there is none here.
        builder = builder
            .raw_header(raw("List-Id", format!("Later matches <{}>", list.id)))
            .raw_header(raw("List-Help", format!("<mailto:{}>", list.help)))
            .raw_header(raw("List-Unsubscribe", format!("<mailto:{}>", mail.stop)));
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

/// The text of an answer: LF line ends, lines that need no soft break.
#[must_use]
pub fn answer_text(mail: &AnswerMail<'_>) -> String {
    let mut paragraphs = vec![wrap(&opening(mail), "", "")];
    for (number, found) in mail.matches.iter().enumerate() {
        paragraphs.push(result(number + 1, found));
    }
    let attached = mail.matches.iter().filter(|found| found.message.is_some()).count();
    match (attached, mail.matches.len()) {
        (0, _) => {}
        (1, 1) => paragraphs.push("The complete CMR message is attached.".to_owned()),
        (some, all) if some == all => {
            paragraphs.push("The complete CMR messages are attached.".to_owned());
        }
        (some, all) => paragraphs.push(wrap(
            &format!(
                "{some} of the {all} CMR messages are attached; the others are too large, and are sent \
                 to who asks for them."
            ),
            "",
            "",
        )),
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
    let handing = mail.handing.map(|handing| match handing {
        Handing::Done => "It was sent on to the person to whom you wrote it.",
        Handing::Waits => {
            "It will be sent on to the person to whom you wrote it when you have agreed to this:"
        }
        Handing::Not => {
            "It was not sent on to the person to whom you wrote it, who takes no mail about it now."
        }
    });
    paragraphs.extend(handing.map(|told| wrap(told, "", "")));
    paragraphs.extend(publication(mail.publication));
    if mail.later_days > 0 {
        let days = mail.later_days;
        paragraphs.push(wrap(
            &format!("What is similar and arrives within {days} days will be sent to you in this thread."),
            "",
            "",
        ));
    }
    format!("{}\n\n-- \n{}\n", paragraphs.join("\n\n"), footer(&mail.robot, mail.stop))
}

fn opening(mail: &AnswerMail<'_>) -> String {
    let some = !mail.matches.is_empty();
    let closest = match (some, mail.alone) {
        (true, _) => "Closest to it is:",
        (false, true) => "Nothing else is known here yet.",
        (false, false) => "Nothing that is known here is close enough to it.",
    };
    match mail.occasion {
        Occasion::Posted => format!("Your message is stored. {closest}"),
        Occasion::Searched => {
            format!("Your question was compared with what is known here and not stored. {closest}")
        }
        Occasion::Taken(1) => format!("The CMR message in your mail is stored. {closest}"),
        Occasion::Taken(count) => format!("The {count} CMR messages in your mail are stored. {closest}"),
        Occasion::NotPosted(reason) => {
            format!("Nothing was stored: {}.", short(reason, 400))
        }
        Occasion::Handed => "This was written to you, at the alias that stands for you here:".to_owned(),
        Occasion::Later if mail.matches.len() > 1 => {
            format!("{} texts similar to your message have arrived:", mail.matches.len())
        }
        Occasion::Later => "Something similar to your message has arrived:".to_owned(),
        Occasion::Published(posts) => {
            let what = match posts {
                0 => "You agreed before, and nothing was left to be published.".to_owned(),
                1 => {
                    "Your message is public now, and what you post from now on is public at once.".to_owned()
                }
                posts => format!(
                    "Your {posts} messages are public now, and what you post from now on is public at once."
                ),
            };
            let new =
                if some { "Since the first answer this has become known, and is close to it:" } else { "" };
            format!("{what} {new}")
        }
        Occasion::Whole => "Here is the whole message that you asked for:".to_owned(),
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
    let closeness = if bits > 0.0 || percent > 0.0 {
        format!("{percent} % of your text is known from it ({bits} bits), id {}", found.id)
    } else {
        format!("id {}", found.id)
    };
    let mut lines = vec![
        wrap(&format!("{}, {minute} UTC", short(found.author, 120)), &first, &indent),
        wrap(&closeness, &indent, &indent),
    ];
    let excerpt = block(found.excerpt, &" ".repeat(first.len() + 3));
    if !excerpt.is_empty() {
        lines.extend([String::new(), excerpt]);
    }
    if !found.shared.is_empty() {
        let shared: Vec<String> = found.shared.iter().take(20).map(|words| short(words, 60)).collect();
        lines.extend([String::new(), wrap(&format!("In common: {}", shared.join(", ")), &indent, &indent)]);
    }
    if found.message.is_none() {
        let kilobytes = found.bytes.div_ceil(1000);
        lines.push(String::new());
        lines.push(wrap(
            &format!("Not attached ({kilobytes} kB); to get it whole, write to"),
            &indent,
            &indent,
        ));
        lines.push(address(found.whole, &indent));
    }
    if let Some((good, bad)) = found.votes {
        lines.push(String::new());
        for (word, to) in [("Good? ", good), ("Bad?  ", bad)] {
            lines.push(address(to, &format!("{indent}{word}")));
        }
    }
    lines.join("\n")
}

fn publication(publication: Publication<'_>) -> Option<String> {
    const PUBLIC: &str = "other gateways get copies, show them to people who write something similar, and keep them; \
         nobody can take them all back.";
    match publication {
        Publication::Silent => None,
        Publication::Public => Some(wrap(&format!("Your message is public: {PUBLIC}"), "", "")),
        Publication::Local { confirm } => Some(
            [
                wrap(
                    &format!(
                        "Your message is not public yet: until you agree, only this gateway's operator can read it. \
                         Once it is public, {PUBLIC} It names an alias made by this gateway, not your address."
                    ),
                    "",
                    "",
                ),
                wrap("To publish it and what you post from now on, send a mail with any text to", "", ""),
                address(confirm, "   "),
            ]
            .join("\n"),
        ),
    }
}

/// Who wrote the mail, who runs that, and how to end it.
pub(super) fn footer(robot: &Robot<'_>, stop: &str) -> String {
    [
        wrap(&format!("Written by a program: the CMR gateway at {}.", short(robot.hostname, 120)), "", ""),
        wrap(&format!("It is run by {}.", short(robot.operator, 200)), "", ""),
        wrap("To get no more mail from it, write to", "", ""),
        address(stop, ""),
    ]
    .join("\n")
}
