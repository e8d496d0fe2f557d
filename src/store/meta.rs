//! Single values: the salt, our last time T.

use rusqlite::types::{FromSql, ToSql};
use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use super::StoreError;
use super::sql::whole;
use crate::message::UnixTime;

/// The value called `name`.
///
/// # Errors
/// [`StoreError::Row`] if it is of another type.
pub fn get<T: FromSql>(conn: &Connection, name: &str) -> Result<Option<T>, StoreError> {
    let mut select = conn.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    Ok(select.query_row([name], |row| row.get(0)).optional()?)
}

/// Sets the value called `name`.
///
/// # Errors
/// Those of any write.
pub fn set<T: ToSql>(tx: &Connection, name: &str, value: T) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?
    .execute((name, value))?;
    Ok(())
}

/// Makes the salt if there is none yet. Crash argument: a salt that was lost before its commit
/// has salted nothing yet.
///
/// `before`: the salt of a database that was here before, whose removals are to hold for this one.
pub(super) fn ensure_salt(conn: &Connection, before: Option<Vec<u8>>) -> Result<(), StoreError> {
    if get::<Vec<u8>>(conn, "salt")?.is_some() {
        return Ok(());
    }
    let mut salt = vec![0u8; 32];
    match before {
        Some(before) => salt = before,
        None => getrandom::fill(&mut salt)
            .map_err(|error| StoreError::Io(format!("no random numbers: {error}")))?,
    }
    conn.execute(
        "INSERT INTO meta (name, value) VALUES ('salt', ?1) ON CONFLICT (name) DO NOTHING",
        [&salt[..]],
    )?;
    Ok(())
}

/// The salted hash under which something is remembered without being kept: SHA-256 over the
/// database's salt and each part with its length before it.
pub(super) fn salted(conn: &Connection, parts: &[&[u8]]) -> Result<[u8; 32], StoreError> {
    let salt: Vec<u8> =
        get(conn, "salt")?.ok_or_else(|| StoreError::Corrupt("the salt is missing".to_owned()))?;
    let mut hash = Sha256::new();
    hash.update(&salt);
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    Ok(hash.finalize().into())
}

/// The SHA-256 of the pool's index on disk; none if what is there is worth nothing.
///
/// # Errors
/// Those of any read.
pub fn index_digest(conn: &Connection) -> Result<Option<Vec<u8>>, StoreError> {
    get(conn, "pool_index")
}

/// Remembers the SHA-256 of the pool's index, which must be on disk by now.
///
/// # Errors
/// Those of any write.
pub fn set_index_digest(tx: &Connection, digest: &[u8; 32]) -> Result<(), StoreError> {
    set(tx, "pool_index", &digest[..])
}

/// How often something was erased for good: an index that was begun before holds it.
///
/// # Errors
/// Those of any read.
pub fn erasures(conn: &Connection) -> Result<i64, StoreError> {
    Ok(get(conn, "erasures")?.unwrap_or(0))
}

/// Something is erased: the index on disk is worth nothing from now on.
pub(super) fn note_erasure(tx: &Connection) -> Result<(), StoreError> {
    set(tx, "erasures", erasures(tx)?.saturating_add(1))?;
    note_promise(tx)?;
    forget_index(tx)
}

/// The index on disk is worth nothing from now on.
pub(super) fn forget_index(tx: &Connection) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM meta WHERE name = 'pool_index'")?.execute([])?;
    Ok(())
}

/// How often something was removed, blocked or unblocked.
pub(super) fn promises(conn: &Connection) -> Result<i64, StoreError> {
    Ok(get(conn, "promises")?.unwrap_or(0))
}

/// Something is removed, blocked or unblocked.
pub(super) fn note_promise(tx: &Connection) -> Result<(), StoreError> {
    set_promises(tx, promises(tx)?.saturating_add(1))
}

/// Takes up the count of a newer database.
pub(super) fn set_promises(tx: &Connection, number: i64) -> Result<(), StoreError> {
    set(tx, "promises", number)
}

/// Items and bytes of `what` ("text", "raw_mail", "aside", "delivery", "hop").
pub(super) fn total(conn: &Connection, what: &str) -> Result<(u64, u64), StoreError> {
    let mut select = conn.prepare_cached("SELECT items, bytes FROM total WHERE what = ?1")?;
    let (items, bytes) =
        select.query_row([what], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    Ok((u64::try_from(items).unwrap_or(0), u64::try_from(bytes).unwrap_or(0)))
}

/// One more of `what`, with so many bytes: for the inserts that no trigger counts. Belongs right beside
/// the insert.
pub(super) fn add_to_total(tx: &Connection, what: &str, bytes: usize) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE total SET items = items + 1, bytes = bytes + ?2 WHERE what = ?1")?
        .execute((what, whole(bytes)))?;
    Ok(())
}

/// The last time T that we wrote into a header line.
///
/// # Errors
/// Those of any read.
pub fn last_time(conn: &Connection) -> Result<Option<UnixTime>, StoreError> {
    get(conn, "last_t")
}

/// Remembers T. Belongs into the transaction that queues what bears it; it never goes back.
///
/// Crash argument: T and the delivery that bears it are durable together, so no later start can
/// give the same T to something else.
///
/// # Errors
/// Those of any write.
pub fn set_last_time(tx: &Connection, time: UnixTime) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO meta (name, value) VALUES ('last_t', ?1)
         ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
    )?
    .execute([time])?;
    Ok(())
}

/// Takes our next T: `now`, but later than every one before, across restarts and clocks that go
/// back; and remembers it.
///
/// # Errors
/// Those of any write.
pub fn take_time(tx: &Connection, now: UnixTime) -> Result<UnixTime, StoreError> {
    let time = match last_time(tx)? {
        Some(last) if last >= now => UnixTime(last.0.saturating_add(1)),
        _ => now,
    };
    set_last_time(tx, time)?;
    Ok(time)
}
