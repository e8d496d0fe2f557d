//! What moved the reputation of each peer, day by day.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension};

use super::sql::{UnknownWord, count, whole};
use super::{StoreError, peers};
use crate::message::{Address, UnixTime};
use crate::policy::reputation::{Cause, faded, moved};

/// Rows that are kept for each peer, the newest ones.
const KEPT: usize = 100;

/// What happened on one day for one reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// The last time.
    pub at: UnixTime,
    /// Why.
    pub cause: Cause,
    /// How often.
    pub number: u64,
    /// How much it moved in all.
    pub change: f64,
    /// What it was afterwards.
    pub value: f64,
}

impl ToSql for Cause {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(word(*self).into())
    }
}

impl FromSql for Cause {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        let all = [Cause::Gain, Cause::Duplicate, Cause::Junk, Cause::Good, Cause::Bad];
        let found = all.into_iter().find(|cause| word(*cause) == text);
        found.ok_or_else(|| FromSqlError::other(UnknownWord(text.to_owned(), "cause")))
    }
}

fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::Gain => "gain",
        Cause::Duplicate => "duplicate",
        Cause::Junk => "junk",
        Cause::Good => "good",
        Cause::Bad => "bad",
    }
}

/// One thing moves the reputation of a peer; a peer that is not known has none. Gives what it is
/// now.
///
/// # Errors
/// Those of any write.
pub fn note(
    tx: &Connection,
    peer: &Address,
    cause: Cause,
    strength: f64,
    now: UnixTime,
) -> Result<Option<f64>, StoreError> {
    let Some(known) = peers::get(tx, peer)? else { return Ok(None) };
    let before = present(&known, now);
    let value = moved(before, cause, strength);
    tx.prepare_cached("UPDATE peer SET reputation = ?2, reputation_at = ?3 WHERE id = ?1")?
        .execute((known.id, value, now))?;
    let last: Option<(i64, Cause, UnixTime)> = tx
        .prepare_cached("SELECT id, cause, at FROM reputation WHERE peer = ?1 ORDER BY id DESC LIMIT 1")?
        .query_row([known.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let day = |time: UnixTime| time.as_secs().div_euclid(86_400);
    match last {
        // One row for what happens again and again, so that the history stays worth reading.
        Some((id, same, at)) if same == cause && day(at) == day(now) => {
            tx.prepare_cached(
                "UPDATE reputation SET at = ?2, number = number + 1, change = change + ?3, value = ?4 WHERE id = ?1",
            )?
            .execute((id, now, value - before, value))?;
        }
        _ => {
            tx.prepare_cached(
                "INSERT INTO reputation (peer, at, cause, number, change, value) VALUES (?1, ?2, ?3, 1, ?4, ?5)",
            )?
            .execute((known.id, now, cause, value - before, value))?;
            tx.prepare_cached(
                "DELETE FROM reputation WHERE peer = ?1 AND id <=
                     (SELECT id FROM reputation WHERE peer = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute((known.id, whole(KEPT)))?;
        }
    }
    Ok(Some(value))
}

/// What a peer's reputation is now.
#[must_use]
pub fn present(peer: &peers::Peer, now: UnixTime) -> f64 {
    peer.reputation_at.map_or(0.0, |at| faded(peer.reputation, now.since(at)))
}

/// What moved it, newest first.
///
/// # Errors
/// Those of any read.
pub fn history(conn: &Connection, peer: &Address) -> Result<Vec<Moved>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT r.at, r.cause, r.number, r.change, r.value FROM reputation r JOIN peer p ON p.id = r.peer
          WHERE p.address = ?1 ORDER BY r.id DESC",
    )?;
    let rows = select.query_map([peer], |row| {
        Ok(Moved {
            at: row.get(0)?,
            cause: row.get(1)?,
            number: count(row.get(2)?),
            change: row.get(3)?,
            value: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
