//! How often somebody did something lately, and which mails were seen: remembered as salted
//! hashes, so that no list of people's addresses grows here.
//!
//! Both belong into the transaction of what they count: a crash then loses neither the thing nor
//! its count alone.

use rusqlite::Connection;

use super::sql::words;
use super::{StoreError, meta};
use crate::message::UnixTime;

words! {
    /// What is counted.
    pub enum Counted {
        /// A post of an author.
        Post => "post",
        /// An automatic mail to a person.
        Answer => "answer",
        /// A later match to a person.
        LaterMatch => "later_match",
        /// A later match that an author caused.
        LaterMatchBy => "later_match_by",
        /// An address that a peer vouched for.
        Vouch => "vouch",
        /// The one notice that says "slow down".
        SlowDown => "slow_down",
    }
}

fn hash(conn: &Connection, what: Counted, who: &[u8]) -> Result<[u8; 32], StoreError> {
    meta::salted(conn, &[b"tally", what.as_str().as_bytes(), who])
}

/// `who` did `what` once more.
///
/// # Errors
/// Those of any write.
pub fn note(tx: &Connection, what: Counted, who: &[u8], at: UnixTime) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO tally (kind, who, at) VALUES (?1, ?2, ?3)")?.execute((
        what,
        hash(tx, what, who)?,
        at,
    ))?;
    Ok(())
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
    let mut select =
        conn.prepare_cached("SELECT count(*) FROM tally WHERE kind = ?1 AND who = ?2 AND at > ?3")?;
    let number: i64 = select.query_row((what, hash(conn, what, who)?, since), |row| row.get(0))?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Forgets what was before `before`. Returns how many.
///
/// # Errors
/// Those of any write.
pub fn forget(tx: &Connection, before: UnixTime) -> Result<usize, StoreError> {
    Ok(tx.prepare_cached("DELETE FROM tally WHERE at < ?1")?.execute([before])?)
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

/// Forgets the mails seen before `before`, which must be longer ago than a signature is good
/// for. Returns how many.
///
/// # Errors
/// Those of any write.
pub fn forget_seen(tx: &Connection, before: UnixTime) -> Result<usize, StoreError> {
    Ok(tx.prepare_cached("DELETE FROM mail_seen WHERE seen < ?1")?.execute([before])?)
}
