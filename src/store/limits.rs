//! How often somebody did something lately, and which mails were seen: remembered as salted
//! hashes, so that no list of people's addresses grows here.
//!
//! Both belong into the transaction of what they count: a crash then loses neither the thing nor
//! its count alone.

use rusqlite::{Connection, OptionalExtension};

use super::sql::words;
use super::{StoreError, meta};
use crate::message::UnixTime;

words! {
    /// What is counted.
    pub enum Counted {
        /// A post of an author.
        Post => "post",
        /// A message that nothing proves, of a network of clients.
        Unproven => "unproven",
        /// An automatic mail to a person.
        Answer => "answer",
        /// An answer within one conversation.
        AnswerInThread => "answer_in_thread",
        /// An answer to a mail that answers one of ours.
        AnswerToAnswer => "answer_to_answer",
        /// A later match to a person.
        LaterMatch => "later_match",
        /// A later match that an author caused.
        LaterMatchBy => "later_match_by",
        /// An address that a peer vouched for.
        Vouch => "vouch",
        /// The one notice that says "slow down".
        SlowDown => "slow_down",
        /// A whole message that a person got by a token.
        Whole => "whole",
        /// The text of an answer to a mail of ours.
        Text => "text",
        /// A mail to an alias that was handed on.
        Handed => "handed",
        /// A vote of somebody of a domain about a peer.
        VoteOfDomain => "vote_of_domain",
        /// A vote about a peer.
        VoteAbout => "vote_about",
        /// A message with a key exchange that is worked on.
        KeyExchange => "key_exchange",
        /// A message of a neighbour that has shown who it is.
        Brought => "brought",
        /// A forward to a neighbour.
        Sent => "sent",
        /// A forward to an address that has shown nothing.
        ToStranger => "to_stranger",
        /// It took one.
        StrangerTook => "stranger_took",
        /// Such an address was sent to for the first time: of its corner, and of all.
        StrangerOf => "stranger_of",
        /// A report about a mail that we never sent.
        ForgedReport => "forged_report",
    }
}

fn hash(conn: &Connection, what: Counted, who: &[u8]) -> Result<[u8; 32], StoreError> {
    meta::salted(conn, &[b"tally", what.as_str().as_bytes(), who])
}

/// The latest of `who`: when, and its number.
fn latest(conn: &Connection, what: Counted, who: &[u8; 32]) -> Result<Option<(UnixTime, i64)>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT at, number FROM tally WHERE kind = ?1 AND who = ?2 ORDER BY at DESC, number DESC LIMIT 1",
    )?;
    Ok(select.query_row((what, who), |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// What was counted of somebody, for one who may do it once more in the same transaction.
#[derive(Debug)]
pub struct Count {
    what: Counted,
    who: [u8; 32],
    latest: Option<(UnixTime, i64)>,
}

/// Looks up what is counted of `who`.
///
/// # Errors
/// Those of any read.
pub fn count(conn: &Connection, what: Counted, who: &[u8]) -> Result<Count, StoreError> {
    let who = hash(conn, what, who)?;
    Ok(Count { what, who, latest: latest(conn, what, &who)? })
}

impl Count {
    /// How often it was after `since`. Takes the same time however often that was.
    ///
    /// # Errors
    /// Those of any read.
    pub fn since(&self, conn: &Connection, since: UnixTime) -> Result<u32, StoreError> {
        let Some((_, last)) = self.latest else { return Ok(0) };
        let mut select = conn.prepare_cached(
            "SELECT number FROM tally WHERE kind = ?1 AND who = ?2 AND at > ?3 ORDER BY at, number LIMIT 1",
        )?;
        let first: Option<i64> =
            select.query_row((self.what, self.who, since), |row| row.get(0)).optional()?;
        let number = first.map_or(0, |first| last.saturating_sub(first).saturating_add(1));
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// Once more. Nothing else may have been counted of the same one since it was looked up.
    ///
    /// # Errors
    /// Those of any write.
    pub fn one_more(self, tx: &Connection, at: UnixTime) -> Result<(), StoreError> {
        let Count { what, who, latest } = self;
        if latest.is_some_and(|(latest, _)| latest > at) {
            // The clock was set back. What it called the future is now, or it would count for too long.
            tx.prepare_cached("UPDATE tally SET at = ?3 WHERE kind = ?1 AND who = ?2 AND at > ?3")?
                .execute((what, who, at))?;
        }
        let number = latest.map_or(1, |(_, number)| number.saturating_add(1));
        tx.prepare_cached("INSERT INTO tally (kind, who, at, number) VALUES (?1, ?2, ?3, ?4)")?
            .execute((what, who, at, number))?;
        Ok(())
    }
}

/// `who` did `what` once more.
///
/// # Errors
/// Those of any write.
pub fn note(tx: &Connection, what: Counted, who: &[u8], at: UnixTime) -> Result<(), StoreError> {
    count(tx, what, who)?.one_more(tx, at)
}

/// How often `who` did `what` after `since`.
///
/// # Errors
/// Those of any read.
pub fn number_since(
    conn: &Connection,
    what: Counted,
    who: &[u8],
    since: UnixTime,
) -> Result<u32, StoreError> {
    count(conn, what, who)?.since(conn, since)
}

/// Forgets what was before `before`. Returns how many.
///
/// # Errors
/// Those of any write.
pub fn forget(tx: &Connection, before: UnixTime) -> Result<usize, StoreError> {
    Ok(tx.prepare_cached("DELETE FROM tally WHERE at < ?1")?.execute([before])?)
}

/// Whether this (author, Message-ID) was remembered by [`first_time`].
///
/// # Errors
/// Those of any read.
pub fn was_seen(conn: &Connection, author: &[u8], message_id: &str) -> Result<bool, StoreError> {
    let hash = meta::salted(conn, &[b"mail seen", author, message_id.as_bytes()])?;
    Ok(conn.prepare_cached("SELECT 1 FROM mail_seen WHERE hash = ?1")?.exists([hash])?)
}

/// Whether this (author, Message-ID) is new; it is remembered from now on. A signed mail
/// authorises once: who replays it is told so.
///
/// # Errors
/// Those of any write.
pub fn first_time(
    tx: &Connection,
    author: &[u8],
    message_id: &str,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let hash = meta::salted(tx, &[b"mail seen", author, message_id.as_bytes()])?;
    let added = tx
        .prepare_cached("INSERT INTO mail_seen (hash, seen) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING")?
        .execute((hash, now))?;
    Ok(added > 0)
}

/// Whether `who` has voted about the message `seq`.
///
/// # Errors
/// Those of any read.
pub fn has_voted(conn: &Connection, seq: i64, who: &[u8]) -> Result<bool, StoreError> {
    let who = meta::salted(conn, &[b"vote", who])?;
    Ok(conn.prepare_cached("SELECT 1 FROM vote WHERE seq = ?1 AND who = ?2")?.exists((seq, who))?)
}

/// `who` votes about the message `seq`; remembered for as long as the message is known.
///
/// # Errors
/// Those of any write.
pub fn vote(tx: &Connection, seq: i64, who: &[u8]) -> Result<(), StoreError> {
    let who = meta::salted(tx, &[b"vote", who])?;
    tx.prepare_cached("INSERT INTO vote (seq, who) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((seq, who))?;
    Ok(())
}

/// Forgets the mails seen before `before`, which must be longer ago than a signature is good
/// for. Returns how many.
///
/// # Errors
/// Those of any write.
pub fn forget_seen(tx: &Connection, before: UnixTime) -> Result<usize, StoreError> {
    Ok(tx.prepare_cached("DELETE FROM mail_seen WHERE seen < ?1")?.execute([before])?)
}
