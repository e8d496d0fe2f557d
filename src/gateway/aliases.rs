//! Mail to an alias of ours: it is for the person behind it, who is hidden, and so it is handed on
//! by us or by nobody.
//!
//! It knows people and their threads. It must never know what a mail says, nor how a message is
//! matched with others.

use rusqlite::Connection;

use super::{answers, worth};
use crate::config::Config;
use crate::message::UnixTime;
use crate::policy::{self, Scope};
use crate::router::Decision;
use crate::store::StoreError;
use crate::store::limits::{self, Counted};
use crate::store::messages::{self, Kind, State, Stored};
use crate::store::people;

/// The time of the limits.
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

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
        let Some(question) = question(tx, person, decision, now)? else { continue };
        // A neighbour may write whatever it likes into an origin: it is the one that is known.
        let by = if stored.kind == Kind::Cmr { &stored.neighbour } else { &stored.author };
        let pair = [by.as_bytes(), b"\n", person.to_string().as_bytes()].concat();
        let since = now.saturating_sub(DAY);
        if limits::number_since(tx, Counted::Handed, &pair, since)? >= policy::LATER_PER_AUTHOR {
            continue;
        }
        if matches!(answers::later(tx, config, stored, question, now)?, answers::Later::Queued) {
            limits::note(tx, Counted::Handed, &pair, now)?;
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
fn question(
    conn: &Connection,
    person: i64,
    decision: Option<&Decision>,
    now: UnixTime,
) -> Result<Option<i64>, StoreError> {
    for found in decision.map_or(&[][..], |decision| decision.matches.as_slice()) {
        let thread = people::thread_of_message(conn, found.seq)?;
        if thread.is_some_and(|it| it.person == person && it.authenticated && it.until > now) {
            return Ok(Some(found.seq));
        }
    }
    people::newest_question(conn, person, now)
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
