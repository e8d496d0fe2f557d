//! Later matches: what waits for one thread leaves as one mail.

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use super::{COLUMNS, Delivery, delivery};
use crate::message::UnixTime;
use crate::store::StoreError;
use crate::store::sql::Json;

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

/// Makes due what waits for the decisions about a person's posts, if all of these were made.
/// Returns how many.
///
/// # Errors
/// Those of any write.
pub fn hasten(tx: &Connection, person: i64, now: UnixTime) -> Result<usize, StoreError> {
    Ok(tx
        .prepare_cached(
            "UPDATE delivery SET next_try = ?2
              WHERE thread IN (SELECT id FROM thread WHERE person = ?1) AND kind = 'answer' AND seq IS NULL
                AND state = 'ready' AND attempts = 0 AND next_try > ?2
                AND NOT EXISTS (SELECT 1 FROM message WHERE person = ?1 AND state = 'unrouted')",
        )?
        .execute((person, now))?)
}
