//! What was not taken, kept for the operator to look at: within a byte limit, for some days.
//! And the raw mails of what was taken, under the same terms.

use rusqlite::{Connection, OptionalExtension, Row};

use super::sql::{count, whole};
use super::{StoreError, meta};
use crate::message::{Address, MessageId, UnixTime};

/// What an aside counts for beside its bytes, as the triggers have it.
const ROW: u64 = 256;

/// Something to put aside.
#[derive(Debug, Clone)]
pub struct NewAside<'a> {
    /// Why, in a sentence.
    pub reason: &'a str,
    /// Which part of the mail: "the body", "attachment 2 (hello.cmr)".
    pub place: &'a str,
    /// Its bytes.
    pub raw: &'a [u8],
    /// Where these bytes lie, if they stay there: they are not copied then.
    pub kept: Option<&'a str>,
    /// Whose it is, if anybody knows: it goes when this author is removed.
    pub author: Option<&'a Address>,
    /// The public id that it bears, if it bears one: it goes when this message is removed.
    pub id: Option<MessageId>,
    /// When it came.
    pub received: UnixTime,
    /// How it came.
    pub via: &'a str,
    /// Until when it is kept.
    pub forget_after: UnixTime,
    /// Where it came from, as far as that can't be made up: a client's network, or the transport.
    pub source: &'a str,
}

/// Something kept aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Its number.
    pub id: i64,
    /// Why.
    pub reason: String,
    /// Which part of the mail.
    pub place: String,
    /// Whose.
    pub author: Option<Address>,
    /// The public id that it bears.
    pub public_id: Option<MessageId>,
    /// When it came.
    pub received: UnixTime,
    /// How it came.
    pub via: String,
    /// Until when it is kept.
    pub forget_after: UnixTime,
    /// Its length in bytes.
    pub bytes: u64,
    /// Where it lies, if that is not here.
    pub kept: Option<String>,
    /// Its bytes; `None` in lists, and if they are not here.
    pub raw: Option<Vec<u8>>,
}

/// Puts something aside. Until all of them are at most `most_bytes` long together, the oldest of the
/// source that holds most go: nobody pushes out what others sent.
/// Returns its number; `None` if it was not kept: it alone is longer than that.
///
/// What is here already, from the same place and for the same reason, keeps its number: a sender
/// that never heard our 250 repeats the mail, and a peer that repeats it for days fills nothing.
///
/// # Errors
/// Those of any write.
pub fn put(tx: &Connection, new: &NewAside<'_>, most_bytes: u64) -> Result<Option<i64>, StoreError> {
    let raw = if new.kept.is_some() { &[] } else { new.raw };
    let bytes = raw.len().saturating_add(new.kept.map_or(0, str::len));
    if count(whole(bytes)).saturating_add(ROW) > most_bytes {
        return Ok(None);
    }
    let known = tx
        .prepare_cached(
            "SELECT id FROM aside
              WHERE length(raw) = ?1 AND raw = ?2 AND place = ?3 AND reason = ?4 AND kept IS ?5 LIMIT 1",
        )?
        .query_row((whole(raw.len()), raw, new.place, new.reason, new.kept), |row| row.get(0))
        .optional()?;
    if known.is_some() {
        return Ok(known);
    }
    tx.prepare_cached(
        "INSERT INTO aside (reason, place, raw, kept, length, author, public_id, received, via, forget_after, source)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute((
        new.reason,
        new.place,
        raw,
        new.kept,
        whole(new.raw.len()),
        new.author,
        new.id,
        new.received,
        new.via,
        new.forget_after,
        new.source,
    ))?;
    let id = tx.last_insert_rowid();
    // The new one is the youngest of its source and fits alone. It goes only if it is all that its source
    // has, and no other source holds more.
    while meta::total(tx, "aside")?.1 > most_bytes {
        tx.prepare_cached(
            "DELETE FROM aside WHERE id = (
                 SELECT min(id) FROM aside
                  WHERE source = (SELECT source FROM aside_share ORDER BY bytes DESC, source LIMIT 1))",
        )?
        .execute([])?;
    }
    let kept = tx.prepare_cached("SELECT 1 FROM aside WHERE id = ?1")?.exists([id])?;
    Ok(kept.then_some(id))
}

const SELECT: &str =
    "SELECT id, reason, place, author, public_id, received, via, forget_after, length, kept FROM aside";

fn aside(row: &Row<'_>) -> rusqlite::Result<Aside> {
    Ok(Aside {
        id: row.get(0)?,
        reason: row.get(1)?,
        place: row.get(2)?,
        author: row.get(3)?,
        public_id: row.get(4)?,
        received: row.get(5)?,
        via: row.get(6)?,
        forget_after: row.get(7)?,
        bytes: count(row.get(8)?),
        kept: row.get(9)?,
        raw: None,
    })
}

/// The youngest asides, without their bytes.
///
/// # Errors
/// Those of any read.
pub fn list(conn: &Connection, limit: usize) -> Result<Vec<Aside>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{SELECT} ORDER BY id DESC LIMIT ?1"))?;
    Ok(select.query_map([whole(limit)], aside)?.collect::<Result<_, _>>()?)
}

/// One aside with its bytes.
///
/// # Errors
/// Those of any read.
pub fn get(conn: &Connection, id: i64) -> Result<Option<Aside>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let Some(mut found) = select.query_row([id], aside).optional()? else {
        return Ok(None);
    };
    let mut bytes = conn.prepare_cached("SELECT raw FROM aside WHERE id = ?1 AND kept IS NULL")?;
    found.raw = bytes.query_row([id], |row| row.get(0)).optional()?;
    Ok(Some(found))
}

/// Drops one aside. `false` if there is none.
///
/// # Errors
/// Those of any write.
pub fn drop_aside(tx: &Connection, id: i64) -> Result<bool, StoreError> {
    Ok(tx.prepare_cached("DELETE FROM aside WHERE id = ?1")?.execute([id])? > 0)
}

/// A raw mail to be kept beside the messages that came in it.
#[derive(Debug, Clone)]
pub struct NewRaw<'a> {
    /// Its bytes.
    pub raw: &'a [u8],
    /// When it came.
    pub received: UnixTime,
    /// How it came.
    pub via: &'a str,
    /// Until when it is kept.
    pub forget_after: UnixTime,
}

/// Keeps a raw mail for the messages `seqs`; the oldest mails go until all of them are at most
/// `most_bytes` long together. Returns its number; `None` if it was not kept: it is too long, or
/// there is no such message.
///
/// # Errors
/// Those of any write.
pub fn keep_raw(
    tx: &Connection,
    seqs: &[i64],
    new: &NewRaw<'_>,
    most_bytes: u64,
) -> Result<Option<i64>, StoreError> {
    if seqs.is_empty() {
        return Ok(None);
    }
    let Some(id) = put_raw(tx, new, most_bytes)? else { return Ok(None) };
    let mut attached = 0;
    let mut attach =
        tx.prepare_cached("UPDATE message SET raw = ?2 WHERE seq = ?1 AND state <> 'evicted'")?;
    for seq in seqs {
        attached += attach.execute((seq, id))?;
    }
    if attached == 0 {
        tx.prepare_cached("DELETE FROM raw_mail WHERE id = ?1")?.execute([id])?;
        return Ok(None);
    }
    Ok(Some(id))
}

/// The same for a message that is about to be stored, which saves changing its row afterwards.
///
/// # Errors
/// Those of any write.
pub(super) fn put_raw(tx: &Connection, new: &NewRaw<'_>, most_bytes: u64) -> Result<Option<i64>, StoreError> {
    if count(whole(new.raw.len())) > most_bytes {
        return Ok(None);
    }
    tx.prepare_cached("INSERT INTO raw_mail (raw, received, via, forget_after) VALUES (?1, ?2, ?3, ?4)")?
        .execute((new.raw, new.received, new.via, new.forget_after))?;
    let id = tx.last_insert_rowid();
    meta::add_to_total(tx, "raw_mail", new.raw.len())?;
    while meta::total(tx, "raw_mail")?.1 > most_bytes {
        tx.prepare_cached("DELETE FROM raw_mail WHERE id = (SELECT min(id) FROM raw_mail)")?.execute([])?;
    }
    Ok(Some(id))
}

/// Drops asides and raw mails whose time is over, at most `limit` of each. Returns how many.
///
/// # Errors
/// Those of any write.
pub fn forget_expired(tx: &Connection, now: UnixTime, limit: usize) -> Result<usize, StoreError> {
    let asides = tx
        .prepare_cached(
            "DELETE FROM aside WHERE id IN (
                 SELECT id FROM aside WHERE forget_after < ?1 ORDER BY forget_after LIMIT ?2)",
        )?
        .execute((now, whole(limit)))?;
    let mails = tx
        .prepare_cached(
            "DELETE FROM raw_mail WHERE id IN (
                 SELECT id FROM raw_mail WHERE forget_after < ?1 ORDER BY forget_after LIMIT ?2)",
        )?
        .execute((now, whole(limit)))?;
    Ok(asides + mails)
}
