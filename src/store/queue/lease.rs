//! Who may send what, and until when.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::{COLUMNS, Delivery, delivery};
use crate::message::UnixTime;
use crate::store::StoreError;
use crate::store::sql::whole;

/// What is worked off by itself, so that one never waits for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// By mail, which all goes through one smarthost.
    Mail,
    /// By the other transports, each to its own peer.
    Direct,
}

/// Every destination of a lane with something due at `now`, the longest waiting first. Jumps from one
/// destination to the next in the index: a backlog of one of them costs the others nothing.
fn due(conn: &Connection, lane: Lane, now: UnixTime) -> Result<Vec<String>, StoreError> {
    let mut select = conn.prepare_cached(
        "WITH RECURSIVE d (name) AS (
             SELECT min(destination) FROM delivery WHERE state = 'ready' AND (transport = 'mailto') = ?2
             UNION ALL
             SELECT (SELECT min(destination) FROM delivery
                      WHERE state = 'ready' AND (transport = 'mailto') = ?2 AND destination > d.name)
               FROM d WHERE d.name IS NOT NULL
         )
         SELECT name, (SELECT min(next_try) FROM delivery
                        WHERE state = 'ready' AND (transport = 'mailto') = ?2 AND destination = name) AS oldest
           FROM d WHERE name IS NOT NULL AND oldest <= ?1 ORDER BY oldest, name",
    )?;
    let rows = select.query_map((now, lane == Lane::Mail), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Leases what is due: fairly between destinations (each gets one before any gets two), the
/// longest waiting first. Leases that nobody reported on count as over from their end.
///
/// Crash argument: a lease is only a note of who is at it. When the process dies, [`recover`] at
/// the next start, or the end of the lease, makes it ready again; then it may be sent twice,
/// which its Message-ID makes harmless.
///
/// # Errors
/// Those of any write.
pub fn lease(
    tx: &Connection,
    lane: Lane,
    now: UnixTime,
    most: usize,
    per_destination: usize,
    lasts: Duration,
) -> Result<Vec<Delivery>, StoreError> {
    expire(tx, now)?;
    let mut leased = Vec::new();
    let mut places = due(tx, lane, now)?;
    let mut under_way =
        tx.prepare_cached("SELECT count(*) FROM delivery WHERE state = 'leased' AND destination = ?1")?;
    let mut first = tx.prepare_cached(
        "SELECT id FROM delivery
          WHERE state = 'ready' AND (transport = 'mailto') = ?3 AND destination = ?1 AND next_try <= ?2
          ORDER BY next_try, id LIMIT 1",
    )?;
    let mut take = tx.prepare_cached(&format!(
        "UPDATE delivery SET state = 'leased', lease_until = ?2, attempts = attempts + 1 WHERE id = ?1
         RETURNING {COLUMNS}"
    ))?;
    let until = now.saturating_add(lasts);
    while leased.len() < most && !places.is_empty() {
        let mut open = Vec::new();
        for place in places {
            if leased.len() >= most {
                break;
            }
            let busy: i64 = under_way.query_row([&place], |row| row.get(0))?;
            if busy >= whole(per_destination) {
                continue;
            }
            let next: Option<i64> =
                first.query_row((&place, now, lane == Lane::Mail), |row| row.get(0)).optional()?;
            let Some(id) = next else { continue };
            leased.push(take.query_row((id, until), delivery)?);
            open.push(place);
        }
        places = open;
    }
    Ok(leased)
}

fn expire(tx: &Connection, now: UnixTime) -> Result<usize, StoreError> {
    Ok(tx
        .prepare_cached("UPDATE delivery SET state = 'ready', lease_until = NULL WHERE state = 'leased' AND lease_until <= ?1")?
        .execute([now])?)
}

/// At a start: nobody is sending, so every lease is over. Returns how many there were.
///
/// # Errors
/// Those of any write.
pub fn recover(tx: &Connection) -> Result<usize, StoreError> {
    Ok(tx.execute("UPDATE delivery SET state = 'ready', lease_until = NULL WHERE state = 'leased'", [])?)
}

/// The same for one lane: at the start of its worker.
///
/// # Errors
/// Those of any write.
pub fn recover_lane(tx: &Connection, lane: Lane) -> Result<usize, StoreError> {
    Ok(tx.execute(
        "UPDATE delivery SET state = 'ready', lease_until = NULL
          WHERE state = 'leased' AND (transport = 'mailto') = ?1",
        [lane == Lane::Mail],
    )?)
}

/// When something of a lane is due next: the earliest `next_try` of what is ready, or end of a lease.
///
/// # Errors
/// Those of any read.
pub fn next_due(conn: &Connection, lane: Lane) -> Result<Option<UnixTime>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT min(at) FROM (
             SELECT min(next_try) AS at FROM delivery WHERE state = 'ready' AND (transport = 'mailto') = ?1
             UNION ALL SELECT min(lease_until) FROM delivery WHERE state = 'leased')",
    )?;
    Ok(select.query_row([lane == Lane::Mail], |row| row.get(0))?)
}
