//! Open questions: what was asked and not answered in its own thread, while something that came
//! later, elsewhere in the archive, is close to it.

use super::Mail;
use super::near::Graph;
use std::collections::HashMap;

/// So many are named.
const NAMED: usize = 40;

/// A question, and what may answer it.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// The question.
    pub question: u32,
    /// What came later and is close to it.
    pub answer: u32,
    /// C(question) − C(question | answer), in bits.
    pub bits: f64,
    /// As a share.
    pub share: f64,
}

/// The questions, those first whose answer saves most.
pub(super) fn of(mails: &[Mail], graph: &Graph) -> Vec<Open> {
    let mut last: HashMap<i64, u32> = HashMap::new();
    for (at, mail) in (0..).zip(mails) {
        if let Some(thread) = mail.thread {
            last.insert(thread, at);
        }
    }
    let mut found: Vec<Open> = (0..)
        .zip(mails.iter().zip(graph))
        .filter(|(at, (mail, _))| {
            let unanswered = mail.thread.is_some_and(|thread| last.get(&thread) == Some(at));
            unanswered && mail.time.is_some() && asks(mail)
        })
        .filter_map(|(question, (mail, near))| {
            let later = near.iter().find(|it| {
                mails.get(it.mail as usize).is_some_and(|other| {
                    it.is_match
                        && other.time > mail.time
                        && other.thread != mail.thread
                        && other.author != mail.author
                        && base(&other.subject) != base(&mail.subject)
                })
            })?;
            Some(Open { question, answer: later.mail, bits: later.bits, share: later.share })
        })
        .collect();
    found.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.question.cmp(&b.question)));
    found.truncate(NAMED);
    found
}

/// Whether a mail asks something: it begins a thread, and a question mark ends a line or a word.
fn asks(mail: &Mail) -> bool {
    let begins = base(&mail.subject).len() == mail.subject.trim().len();
    let marks = |text: &[u8]| {
        text.windows(2).any(|two| two.starts_with(b"?") && two.iter().skip(1).all(u8::is_ascii_whitespace))
    };
    begins && (mail.text.ends_with(b"?") || marks(&mail.text) || mail.subject.trim_end().ends_with('?'))
}

/// A subject without `Re:`.
fn base(subject: &str) -> &str {
    let mut rest = subject.trim();
    while let Some((mark, after)) = rest.split_once(':') {
        if !["re", "aw", "fwd", "fw", "sv"].contains(&mark.trim().to_lowercase().as_str()) {
            break;
        }
        rest = after.trim();
    }
    rest
}
