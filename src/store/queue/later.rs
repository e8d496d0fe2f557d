//! Later matches: what waits for one thread leaves as one mail.

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use super::{COLUMNS, Delivery, delivery};
use crate::message::UnixTime;
use crate::store::sql::Json;
use crate::store::{StoreError, messages};

/// The later match that waits for this thread and that nobody has tried to send yet: what is due
/// at the same time may join it.
///
/// # Errors
/// Those of any read.
pub fn waiting_later(conn: &Connection, thread: i64) -> Result<Option<Delivery>, StoreError> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM delivery WHERE thread = ?1 AND kind = 'later_match' AND state = 'ready' AND attempts = 0
          ORDER BY id LIMIT 1"
    ))?;
    Ok(select.query_row([thread], delivery).optional()?)
}

/// When the newest later match of this thread was due, sent or not.
///
/// # Errors
/// Those of any read.
pub fn last_later(conn: &Connection, thread: i64) -> Result<Option<UnixTime>, StoreError> {
    let mut select =
        conn.prepare_cached("SELECT max(next_try) FROM delivery WHERE thread = ?1 AND kind = 'later_match'")?;
    Ok(select.query_row([thread], |row| row.get(0))?)
}

/// Puts more into a later match that [`waiting_later`] gave in the same transaction. It is about
/// several messages then, and stays when one of them is removed. `false` if it has left.
///
/// # Errors
/// Those of any write.
pub fn join_later(tx: &Connection, id: i64, detail: &Value) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE delivery SET seq = NULL, detail = ?2 WHERE id = ?1 AND state = 'ready' AND attempts = 0",
        )?
        .execute((id, Json(detail)))?;
    Ok(changed > 0)
}

const WAITING: &str = "SELECT d.id FROM delivery d INDEXED BY delivery_waits CROSS JOIN thread t
          WHERE t.id = d.thread AND d.kind = 'answer' AND d.seq IS NULL AND d.state = 'ready' AND d.attempts = 0
            AND d.next_try > d.created AND d.next_try > ?2 AND t.person = ?1";

/// Makes due what waits for the decisions about a person's posts, if all of these were made.
/// Returns how many.
///
/// This comes after each decision, so it must not look at all that a person has ever posted: a list
/// that is one person has as many threads as posts. It begins with what waits, which is next to nothing: CROSS
/// JOIN keeps SQLite from beginning with the person's threads, half a millisecond for 15,000 posts of one author.
///
/// # Errors
/// Those of any write.
pub fn hasten(tx: &Connection, person: i64, now: UnixTime) -> Result<usize, StoreError> {
    let mut select = tx.prepare_cached(WAITING)?;
    let waiting = select.query_map((person, now), |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    if waiting.is_empty() || !messages::all_routed_of(tx, person)? {
        return Ok(0);
    }
    let mut due = tx.prepare_cached("UPDATE delivery SET next_try = ?2 WHERE id = ?1")?;
    for id in &waiting {
        due.execute((id, now))?;
    }
    Ok(waiting.len())
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_waits_is_looked_at_and_not_all_threads_of_a_person() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../migrations/0001.sql")).unwrap();
        let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {}", super::WAITING)).unwrap();
        let first: String = plan.query_row((1, 2), |row| row.get(3)).unwrap();
        assert_eq!(first, "SCAN d USING INDEX delivery_waits");
    }
}
