//! Whom the operator refuses. What a block covers is policy; this is only the list.

use rusqlite::Connection;

use super::sql::words;
use super::{StoreError, meta};
use crate::message::UnixTime;

words! {
    /// What a block is about.
    pub enum BlockKind {
        /// An author's address.
        Author => "author",
        /// A peer's address.
        Peer => "peer",
        /// A host and all below it.
        Host => "host",
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// What it is about.
    pub kind: BlockKind,
    /// The address or host.
    pub value: Vec<u8>,
    /// Why, for the operator's memory.
    pub reason: String,
    /// Since when.
    pub created: UnixTime,
}

/// Adds an entry. `false` if it was there; it stays as it was then.
///
/// # Errors
/// Those of any write.
pub fn add(
    tx: &Connection,
    kind: BlockKind,
    value: &[u8],
    reason: &str,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let added = tx
        .prepare_cached(
            "INSERT INTO block (kind, value, reason, created) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (kind, value) DO NOTHING",
        )?
        .execute((kind, value, reason, now))?;
    if added > 0 {
        meta::note_promise(tx)?;
    }
    Ok(added > 0)
}

/// Takes these entries in the place of all others.
///
/// # Errors
/// Those of any write.
pub(super) fn replace(tx: &Connection, all: &[Blocked]) -> Result<(), StoreError> {
    tx.execute("DELETE FROM block", [])?;
    for block in all {
        add(tx, block.kind, &block.value, &block.reason, block.created)?;
    }
    Ok(())
}

/// Takes an entry away. `false` if there was none.
///
/// # Errors
/// Those of any write.
pub fn remove(tx: &Connection, kind: BlockKind, value: &[u8]) -> Result<bool, StoreError> {
    let gone =
        tx.prepare_cached("DELETE FROM block WHERE kind = ?1 AND value = ?2")?.execute((kind, value))? > 0;
    if gone {
        meta::note_promise(tx)?;
    }
    Ok(gone)
}

/// Whether exactly this entry is there.
///
/// # Errors
/// Those of any read.
pub fn contains(conn: &Connection, kind: BlockKind, value: &[u8]) -> Result<bool, StoreError> {
    Ok(conn.prepare_cached("SELECT 1 FROM block WHERE kind = ?1 AND value = ?2")?.exists((kind, value))?)
}

/// All entries, oldest first.
///
/// # Errors
/// Those of any read.
pub fn list(conn: &Connection) -> Result<Vec<Blocked>, StoreError> {
    let mut select =
        conn.prepare_cached("SELECT kind, value, reason, created FROM block ORDER BY created, kind, value")?;
    let rows = select.query_map([], |row| {
        Ok(Blocked { kind: row.get(0)?, value: row.get(1)?, reason: row.get(2)?, created: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
