//! A word of the robot about itself, or about what it was asked to do.

use super::answer::footer;
use super::layout::{address, wrap};
use super::thread::{Threaded, begin_threaded};
use super::{ComposeError, Robot, build_error, plain, raw};
use crate::mail::{Mailbox, text};
use crate::message::UnixTime;

/// An answer without matches, in paragraphs.
#[derive(Clone, Copy, Debug)]
pub struct WordMail<'a> {
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
    /// The text: paragraphs of lines. A line that begins with blanks keeps them.
    pub paragraphs: &'a [String],
    /// The address that stops all mail to the person.
    pub stop: &'a str,
}

/// The mail: in the thread of the person's, automatic, with the footer of all answers.
///
/// # Errors
/// An address or the Message-ID has no proper form.
pub fn word(mail: &WordMail<'_>) -> Result<Vec<u8>, ComposeError> {
    let builder = begin_threaded(&Threaded {
        robot: mail.robot,
        to: mail.to,
        message_id: mail.message_id,
        date: mail.date,
        subject: mail.subject,
        in_reply_to: mail.in_reply_to,
        references: mail.references,
    })?
    .raw_header(raw("Auto-Submitted", "auto-replied".to_owned()));
    Ok(builder.singlepart(plain(&word_text(mail))?).map_err(build_error)?.formatted())
}

/// The text of such a mail: LF line ends, lines that need no soft break.
#[must_use]
pub fn word_text(mail: &WordMail<'_>) -> String {
    let paragraphs: Vec<String> = mail.paragraphs.iter().map(|paragraph| lines(paragraph)).collect();
    format!("{}\n\n-- \n{}\n", paragraphs.join("\n\n"), footer(&mail.robot, mail.stop))
}

fn lines(paragraph: &str) -> String {
    let one = |line: &str| {
        let rest = line.trim_start_matches(' ');
        let indent = " ".repeat(line.len() - rest.len());
        let rest = text::printable(rest);
        // An address in two lines is none.
        if rest.contains('@') && !rest.contains(' ') {
            address(&rest, &indent)
        } else {
            wrap(&rest, &indent, &indent)
        }
    };
    paragraph.lines().map(one).collect::<Vec<_>>().join("\n")
}
