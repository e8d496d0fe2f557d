//! What each attempt at a delivery came to, and what was said when it failed.

use rusqlite::Connection;

use crate::message::UnixTime;
use crate::store::StoreError;
use crate::store::sql::words;

words! {
    /// How an attempt ended.
    pub enum Ended {
        /// The next hop took it.
        Sent => "sent",
        /// It is tried again.
        Again => "again",
        /// It is over.
        Failed => "failed",
    }
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended.
    pub at: UnixTime,
    /// How.
    pub ended: Ended,
    /// The next hop's reply, or what went wrong.
    pub said: String,
    /// The dialogue of one that failed, without what a login or the mail holds.
    pub transcript: Option<String>,
}

/// Attempts that are remembered of one delivery: the first, and the last of all others.
const KEPT: i64 = 5;

/// Writes an attempt down, in the transaction that marks the delivery; of one that is gone nothing.
///
/// # Errors
/// Those of any write.
pub fn note(tx: &Connection, delivery: i64, attempt: &Attempt) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO attempt (delivery, at, ended, said, transcript)
         SELECT id, ?2, ?3, ?4, ?5 FROM delivery WHERE id = ?1",
    )?
    .execute((delivery, attempt.at, attempt.ended, &attempt.said, &attempt.transcript))?;
    tx.prepare_cached(
        "DELETE FROM attempt WHERE delivery = ?1
            AND id > (SELECT min(id) FROM attempt WHERE delivery = ?1)
            AND id NOT IN (SELECT id FROM attempt WHERE delivery = ?1 ORDER BY id DESC LIMIT ?2)",
    )?
    .execute((delivery, KEPT - 1))?;
    Ok(())
}

/// The remembered attempts at a delivery, oldest first.
///
/// # Errors
/// Those of any read.
pub fn of(conn: &Connection, delivery: i64) -> Result<Vec<Attempt>, StoreError> {
    let mut select = conn
        .prepare_cached("SELECT at, ended, said, transcript FROM attempt WHERE delivery = ?1 ORDER BY id")?;
    let rows = select.query_map([delivery], |row| {
        Ok(Attempt { at: row.get(0)?, ended: row.get(1)?, said: row.get(2)?, transcript: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
