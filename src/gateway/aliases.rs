//! Mail to an alias of ours: it is for the person behind it, who is hidden, and so it is handed on
//! by us or by nobody.
//!
//! It knows people and their threads. It must never know what a mail says, nor how a message is
//! matched with others.

use rusqlite::Connection;

use super::{answers, worth};
use crate::config::Config;
use crate::message::UnixTime;
use crate::policy::Scope;
use crate::router::Decision;
use crate::store::StoreError;
use crate::store::messages::{self, State, Stored};
use crate::store::people::{self, Thread};

/// Persons that one mail is for, at most.
const ADDRESSEES: usize = 3;

/// The token of an alias `NAME.TOKEN`, if a tag may be one.
fn token(tag: &str) -> Option<&str> {
    let (name, token) = tag.split_once('.')?;
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_plain(name) && is_plain(token)).then_some(token)
}

/// The persons behind the aliases that a mail came to.
///
/// # Errors
/// Those of any read.
pub(super) fn behind(conn: &Connection, tags: &[String]) -> Result<Vec<i64>, StoreError> {
    let mut persons = Vec::new();
    for token in tags.iter().filter_map(|tag| token(tag)).take(ADDRESSEES) {
        if let Some(person) = people::by_token(conn, &token.to_ascii_lowercase())?
            && !persons.contains(&person.id)
        {
            persons.push(person.id);
        }
    }
    Ok(persons)
}

/// Hands a message on to those for whom it is: each in the thread of a question of theirs that
/// is still open, the one that it is closest to, within the limits of later matches. Gives how many
/// mails were queued, at most `most`.
///
/// # Errors
/// Those of any write.
pub(super) fn hand_on(
    tx: &Connection,
    config: &Config,
    stored: &Stored,
    decision: Option<&Decision>,
    most: usize,
    now: UnixTime,
) -> Result<usize, StoreError> {
    let mut queued = 0;
    for (person, handed) in people::addressees(tx, stored.seq)? {
        if handed || queued >= most || stored.person == Some(person) {
            continue;
        }
        let open = people::open_threads_of(tx, person, now)?;
        let Some(question) = question(&open, decision) else { continue };
        if answers::later(tx, config, stored, question, now)? {
            people::handed_on(tx, stored.seq, person)?;
            queued += 1;
        }
    }
    Ok(queued)
}

/// A message that is here already came again, to aliases of these persons this time. Gives whether
/// a mail was queued.
///
/// # Errors
/// Those of any write.
pub(super) fn known_again(
    tx: &Connection,
    config: &Config,
    seq: i64,
    persons: &[i64],
    now: UnixTime,
) -> Result<bool, StoreError> {
    let mut new = false;
    for person in persons {
        new |= people::address_to(tx, seq, *person)?;
    }
    let Some(stored) = (if new { messages::get(tx, seq)? } else { None }) else { return Ok(false) };
    let Some(text) = stored.text.as_ref().filter(|_| stored.state == State::Routed) else {
        // The router sees to it.
        return Ok(false);
    };
    let fit = stored.scope == Scope::Public && worth::junk(&text.body).is_none();
    Ok(fit && hand_on(tx, config, &stored, None, ADDRESSEES, now)? > 0)
}

/// Of a person's open questions the one that a message is closest to, else the newest.
fn question(open: &[Thread], decision: Option<&Decision>) -> Option<i64> {
    let mut questions = open.iter().filter(|thread| thread.authenticated).filter_map(|thread| thread.seq);
    let is_one = |seq: i64| open.iter().any(|thread| thread.authenticated && thread.seq == Some(seq));
    let matches = decision.map_or(&[][..], |decision| decision.matches.as_slice());
    matches.iter().map(|found| found.seq).find(|seq| is_one(*seq)).or_else(|| questions.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_may_be_aliases() {
        for (tag, wanted) in [
            ("ann.3fa9", Some("3fa9")),
            ("someone.3FA9", Some("3FA9")),
            ("ann", None),
            ("ann.", None),
            (".3fa9", None),
            ("stop-7.abc", None),
            ("good-0123456789abcdef-1.abc", None),
            ("ann.b.c", None),
            ("", None),
        ] {
            assert_eq!(token(tag), wanted, "{tag}");
        }
    }
}
