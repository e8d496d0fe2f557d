//! From admitted to routed.

use rusqlite::Connection;

use super::State;
use crate::message::UnixTime;
use crate::store::StoreError;
use crate::store::sql::{count, whole};

/// A message on which the router failed this often is set aside as `failed`.
pub const FAILURES_MAX: u32 = 3;

/// A message that waits for the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub seq: i64,
    /// How often the router failed on it.
    pub attempts: u32,
}

/// The messages that wait for the router, held ones whose time has come among them. Those on
/// which it never failed come first, oldest first: a message that fails does not block others.
///
/// Nothing is marked: until [`mark_routed`] or [`record_failure`] commits, a message stays in
/// this list, and a crash in between makes the next start find it again.
///
/// # Errors
/// Those of any read.
pub fn next_unrouted(conn: &Connection, now: UnixTime, limit: usize) -> Result<Vec<Waiting>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT seq, attempts FROM (
             SELECT * FROM (SELECT seq, attempts FROM message WHERE state = 'unrouted' ORDER BY attempts, seq LIMIT ?2)
             UNION ALL
             SELECT * FROM (SELECT seq, attempts FROM message WHERE state = 'held' AND held_until <= ?1
                             ORDER BY held_until LIMIT ?2)
         ) ORDER BY attempts, seq LIMIT ?2",
    )?;
    let rows = select
        .query_map((now, whole(limit)), |row| Ok(Waiting { seq: row.get(0)?, attempts: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many messages wait for the router, `most` at most: that many rows are looked at.
///
/// # Errors
/// Those of any read.
pub fn unrouted_up_to(conn: &Connection, most: usize) -> Result<usize, StoreError> {
    let mut select = conn
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM message WHERE state = 'unrouted' LIMIT ?1)")?;
    let number: i64 = select.query_row([whole(most)], |row| row.get(0))?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// When the next held message's time comes.
///
/// # Errors
/// Those of any read.
pub fn next_held(conn: &Connection) -> Result<Option<UnixTime>, StoreError> {
    let mut select = conn.prepare_cached("SELECT min(held_until) FROM message WHERE state = 'held'")?;
    Ok(select.query_row([], |row| row.get(0))?)
}

/// The router has decided on message `seq`. Belongs into one transaction with the decision and
/// the deliveries. `false` if the message is gone or was routed before: then nothing of the
/// decision may be kept, and the caller returns without enqueueing.
///
/// Crash argument: either the deliveries and the new state are durable, or neither is, and the
/// message is routed once more at the next start; enqueueing is idempotent besides.
///
/// # Errors
/// Those of any write.
pub fn mark_routed(tx: &Connection, seq: i64) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE message SET state = 'routed', held_until = NULL WHERE seq = ?1 AND state IN ('unrouted', 'held')",
        )?
        .execute([seq])?;
    Ok(changed > 0)
}

/// The router failed on message `seq`: counts it, and sets the message aside the third time.
/// Returns its state then; `None` if it is gone.
///
/// # Errors
/// Those of any write.
pub fn record_failure(tx: &Connection, seq: i64, error: &str) -> Result<Option<State>, StoreError> {
    tx.prepare_cached(
        "UPDATE message
            SET attempts = attempts + 1, last_error = ?2, held_until = NULL,
                state = CASE WHEN attempts + 1 >= ?3 THEN 'failed' ELSE 'unrouted' END
          WHERE seq = ?1 AND state IN ('unrouted', 'held')",
    )?
    .execute((seq, error, FAILURES_MAX))?;
    Ok(super::head(tx, seq)?.map(|message| message.state))
}

/// Lets the router try a failed (or routed) message again. `false` if it can't: gone, evicted.
///
/// # Errors
/// Those of any write.
pub fn route_again(tx: &Connection, seq: i64) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE message SET state = 'unrouted', attempts = 0, last_error = NULL
              WHERE seq = ?1 AND state IN ('failed', 'routed')",
        )?
        .execute([seq])?;
    Ok(changed > 0)
}

/// Makes a local message public and hands it to the router again. `false` if it is public
/// already, or gone.
///
/// # Errors
/// Those of any write.
pub fn publish(tx: &Connection, seq: i64) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE message SET scope = 'public' WHERE seq = ?1 AND scope = 'local' AND state <> 'evicted'",
        )?
        .execute([seq])?;
    if changed > 0 {
        route_again(tx, seq)?;
    }
    Ok(changed > 0)
}

/// Makes a local message public and leaves it where it is on its way: whoever imports it once more
/// and wants it public wants nothing sent. A person's post only its author makes public. `false` if
/// it is one, public already, or gone.
///
/// # Errors
/// Those of any write.
pub fn open_up(tx: &Connection, seq: i64) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE message SET scope = 'public'
              WHERE seq = ?1 AND scope = 'local' AND kind <> 'post' AND state <> 'evicted'",
        )?
        .execute([seq])?;
    Ok(changed > 0)
}

/// Publishes the posts of a person who has just confirmed. Returns their numbers.
///
/// # Errors
/// Those of any write.
pub fn publish_posts_of(tx: &Connection, person: i64) -> Result<Vec<i64>, StoreError> {
    let mut select = tx.prepare_cached(
        "SELECT seq FROM message WHERE person = ?1 AND kind = 'post' AND scope = 'local' AND state <> 'evicted' ORDER BY seq",
    )?;
    let posts = select.query_map([person], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    for seq in &posts {
        publish(tx, *seq)?;
    }
    Ok(posts)
}

/// Whether the router has decided about all that this person posted.
///
/// # Errors
/// Those of any read.
pub fn all_routed_of(conn: &Connection, person: i64) -> Result<bool, StoreError> {
    Ok(conn
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM message WHERE person = ?1 AND state = 'unrouted')")?
        .query_row([person], |row| row.get(0))?)
}

/// How many messages are in the states that an operator cares about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that wait for the router, held ones among them.
    pub unrouted: u64,
    /// Those on which it failed three times.
    pub failed: u64,
}

/// How many messages wait or failed.
///
/// # Errors
/// Those of any read.
pub fn counts(conn: &Connection) -> Result<Counts, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT (SELECT count(*) FROM message WHERE state = 'unrouted')
              + (SELECT count(*) FROM message WHERE state = 'held'),
                (SELECT count(*) FROM message WHERE state = 'failed')",
    )?;
    Ok(select.query_row([], |row| Ok(Counts { unrouted: count(row.get(0)?), failed: count(row.get(1)?) }))?)
}
