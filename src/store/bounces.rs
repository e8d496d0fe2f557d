//! Addresses that our mail came back from, and those to which nothing goes any more because of it.

use rusqlite::{Connection, OptionalExtension};

use super::StoreError;
use super::sql::{count, whole};
use crate::message::{Address, UnixTime};

/// What is known of an address whose mail came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounced {
    /// The address.
    pub address: Address,
    /// Mails in a row that say that nobody is there.
    pub failures: u32,
    /// The last of them.
    pub last: UnixTime,
    /// What it said.
    pub status: String,
    /// Since when nothing goes there.
    pub suppressed: Option<UnixTime>,
}

/// A delivery came back: remembered once. `false`: it had come back before.
///
/// # Errors
/// Those of any write.
pub fn came_back(tx: &Connection, delivery: i64, now: UnixTime) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached("UPDATE delivery SET bounced = ?2 WHERE id = ?1 AND bounced IS NULL")?
        .execute((delivery, now))?;
    Ok(changed > 0)
}

/// One more mail says that nobody is at this address; at the `most`th nothing goes there any more.
/// Belongs into the transaction of [`came_back`], so that each delivery counts once.
///
/// # Errors
/// Those of any write.
pub fn failed(
    tx: &Connection,
    address: &Address,
    status: &str,
    most: u32,
    now: UnixTime,
) -> Result<bool, StoreError> {
    tx.prepare_cached(
        "INSERT INTO bounce (address, failures, last, status) VALUES (?1, 1, ?2, ?3)
         ON CONFLICT (address) DO UPDATE SET failures = failures + 1, last = ?2, status = ?3",
    )?
    .execute((address, now, status))?;
    let changed = tx
        .prepare_cached(
            "UPDATE bounce SET suppressed = ?2 WHERE address = ?1 AND failures >= ?3 AND suppressed IS NULL",
        )?
        .execute((address, now, most))?;
    Ok(changed > 0)
}

/// The address is alive, or the operator says so: what was counted is forgotten. `false`: nothing
/// was.
///
/// # Errors
/// Those of any write.
pub fn forgive(tx: &Connection, address: &Address) -> Result<bool, StoreError> {
    Ok(tx.prepare_cached("DELETE FROM bounce WHERE address = ?1")?.execute([address])? > 0)
}

/// What is known of an address.
///
/// # Errors
/// Those of any read.
pub fn get(conn: &Connection, address: &Address) -> Result<Option<Bounced>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT address, failures, last, status, suppressed FROM bounce WHERE address = ?1",
    )?;
    Ok(select.query_row([address], bounced).optional()?)
}

/// All of them, the suppressed ones first, at most `limit`.
///
/// # Errors
/// Those of any read.
pub fn list(conn: &Connection, limit: usize) -> Result<Vec<Bounced>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT address, failures, last, status, suppressed FROM bounce
          ORDER BY suppressed IS NULL, last DESC, address LIMIT ?1",
    )?;
    Ok(select.query_map([whole(limit)], bounced)?.collect::<Result<_, _>>()?)
}

/// Forgets failures before `before` that have suppressed nothing. Returns how many.
///
/// # Errors
/// Those of any write.
pub fn forget(tx: &Connection, before: UnixTime) -> Result<usize, StoreError> {
    Ok(tx.prepare_cached("DELETE FROM bounce WHERE suppressed IS NULL AND last < ?1")?.execute([before])?)
}

fn bounced(row: &rusqlite::Row<'_>) -> rusqlite::Result<Bounced> {
    Ok(Bounced {
        address: row.get(0)?,
        failures: u32::try_from(count(row.get(1)?)).unwrap_or(u32::MAX),
        last: row.get(2)?,
        status: row.get(3)?,
        suppressed: row.get(4)?,
    })
}
