//! Erasing for good: a message, or everything of an author.
//!
//! What goes: text, raw mail, header lines, decision, matches (its own, and those of others that
//! name it), deliveries, thread, holders, what was put aside of it, what became of the mails that
//! it was imported from. What stays: a salted hash, so that the message is refused when it comes
//! again, and one of a removed author's address, so that a restored older copy gives nothing of them
//! back; and of an import the names of the files that were read, because the next run goes by
//! them (the files themselves are the operator's). Callers use [`super::Store::erase`], so
//! that the bytes leave the write-ahead log, too; in the database file deleted rows are
//! overwritten (secure_delete).
//!
//! Crash argument: one transaction; after a crash either all of it or nothing is gone, and
//! nobody was told "removed" before the commit.

use std::collections::HashMap;

use rusqlite::Connection;

use super::traces::What;
use super::{StoreError, meta};
use crate::message::{Address, HopKey, MessageId, UnixTime};

/// What was erased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// The messages' numbers, evicted ones included: the pool has to drop them.
    pub seqs: Vec<i64>,
    /// How many asides went.
    pub asides: usize,
    /// How many authors went with what was known of them.
    pub authors: usize,
}

fn hash_of_id(conn: &Connection, id: MessageId) -> Result<[u8; 32], StoreError> {
    meta::salted(conn, &[b"removed id", id.as_bytes()])
}

fn hash_of_origin(conn: &Connection, origin: &HopKey) -> Result<[u8; 32], StoreError> {
    meta::salted(conn, &[b"removed origin", origin.as_bytes()])
}

/// An author keeps no mark but this one: it says that all that was here of them at that time is gone.
fn hash_of_author(conn: &Connection, author: &Address) -> Result<[u8; 32], StoreError> {
    let mailbox = author.mail_address().map(super::people::canonical);
    let name = mailbox.as_ref().map_or(author.as_bytes(), String::as_bytes);
    meta::salted(conn, &[b"removed author", name])
}

/// Whether a message with this oldest header line was removed here.
///
/// # Errors
/// Those of any read.
pub fn is_removed(conn: &Connection, origin: &HopKey, id: MessageId) -> Result<bool, StoreError> {
    // Asked about every message, and nearly everywhere nothing was ever removed.
    if !conn.prepare_cached("SELECT 1 FROM removed LIMIT 1")?.exists([])? {
        return Ok(false);
    }
    let mut select = conn.prepare_cached("SELECT 1 FROM removed WHERE hash IN (?1, ?2)")?;
    Ok(select.exists((hash_of_id(conn, id)?, hash_of_origin(conn, origin)?))?)
}

/// The numbers of the messages that this names.
///
/// # Errors
/// Those of any read.
pub fn named(conn: &Connection, what: &What) -> Result<Vec<i64>, StoreError> {
    let seqs = match what {
        What::Message(id) => conn
            .prepare_cached("SELECT seq FROM message WHERE public_id = ?1")?
            .query_map([id], |row| row.get(0))?
            .collect::<Result<_, _>>()?,
        What::Author(author) => conn
            .prepare_cached(
                "SELECT seq FROM message WHERE author = ?1
                 UNION SELECT seq FROM message WHERE origin_address = ?1 AND origin_address <> author
                 UNION SELECT seq FROM message WHERE person = (SELECT id FROM person WHERE address = ?2)",
            )?
            .query_map((author, author.mail_address().map(super::people::canonical)), |row| row.get(0))?
            .collect::<Result<_, _>>()?,
    };
    Ok(seqs)
}

/// Erases every message under a public id (all versions of a conflict), and refuses it from now
/// on, whether or not it is here.
///
/// # Errors
/// Those of any write.
pub fn remove_by_id(tx: &Connection, id: MessageId, now: UnixTime) -> Result<Removal, StoreError> {
    let seqs = named(tx, &What::Message(id))?;
    meta::note_erasure(tx)?;
    let mut removal = Removal::default();
    refuse(tx, &hash_of_id(tx, id)?, now)?;
    for seq in seqs {
        remove_one(tx, seq, now, &mut removal)?;
    }
    removal.asides += tx.prepare_cached("DELETE FROM aside WHERE public_id = ?1")?.execute([id])?;
    Ok(removal)
}

/// Erases everything of an author: the messages whose author this address is, or whose oldest
/// header line it stands in (an alias); the person, with threads; what waits in the queue for
/// it; what was put aside of it; and the peer, unless it is pinned, listed or shares a key.
/// Limits and seen Message-IDs are hashes and end by themselves.
///
/// This does not keep the author from writing again: that is a block.
///
/// # Errors
/// Those of any write.
pub fn remove_by_author(tx: &Connection, author: &Address, now: UnixTime) -> Result<Removal, StoreError> {
    let mut removal = Removal::default();
    let person = author.mail_address().map(super::people::canonical);
    let seqs = named(tx, &What::Author(author.clone()))?;
    meta::note_erasure(tx)?;
    refuse(tx, &hash_of_author(tx, author)?, now)?;
    removal.authors = 1;
    for seq in seqs {
        remove_one(tx, seq, now, &mut removal)?;
    }
    removal.asides += tx.prepare_cached("DELETE FROM aside WHERE author = ?1")?.execute([author])?;
    tx.prepare_cached("DELETE FROM person WHERE address = ?1")?.execute([&person])?;
    tx.prepare_cached(
        "DELETE FROM delivery WHERE to_address = ?1
            AND NOT EXISTS (SELECT 1 FROM peer WHERE peer.address = ?1 AND (pinned = 1 OR listed = 1))",
    )?
    .execute([author])?;
    tx.prepare_cached("DELETE FROM bounce WHERE address = ?1")?.execute([author])?;
    tx.prepare_cached("DELETE FROM holder WHERE address = ?1")?.execute([author])?;
    tx.prepare_cached(
        "DELETE FROM peer WHERE address = ?1 AND pinned = 0 AND listed = 0
            AND NOT EXISTS (SELECT 1 FROM key WHERE key.peer = peer.id)",
    )?
    .execute([author])?;
    Ok(removal)
}

fn refuse(tx: &Connection, hash: &[u8; 32], now: UnixTime) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO removed (hash, created) VALUES (?1, ?2)
         ON CONFLICT (hash) DO UPDATE SET created = max(created, excluded.created)",
    )?
    .execute((hash, now))?;
    Ok(())
}

fn remove_one(tx: &Connection, seq: i64, now: UnixTime, removal: &mut Removal) -> Result<(), StoreError> {
    let (id, origin, raw): (MessageId, HopKey, Option<i64>) = tx
        .prepare_cached("SELECT public_id, origin_key, raw FROM message WHERE seq = ?1")?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    refuse(tx, &hash_of_id(tx, id)?, now)?;
    refuse(tx, &hash_of_origin(tx, &origin)?, now)?;
    removal.asides += tx.prepare_cached("DELETE FROM aside WHERE public_id = ?1")?.execute([id])?;
    // The mail holds the text as well, even if other messages came in the same one.
    tx.prepare_cached("DELETE FROM raw_mail WHERE id = ?1")?.execute([raw])?;
    tx.prepare_cached("DELETE FROM import_mail WHERE seq = ?1")?.execute([seq])?;
    // The rest follows by ON DELETE CASCADE.
    tx.prepare_cached("DELETE FROM message WHERE seq = ?1")?.execute([seq])?;
    removal.seqs.push(seq);
    Ok(())
}

/// Every salted hash with its time: for carrying removals over a restore of an older backup.
///
/// # Errors
/// Those of any read.
pub fn hashes(conn: &Connection) -> Result<Vec<([u8; 32], UnixTime)>, StoreError> {
    let mut select = conn.prepare_cached("SELECT hash, created FROM removed")?;
    Ok(select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// Takes in the hashes of [`hashes`] (made under the same salt) and erases what they name:
/// after a restore, before anything is served.
///
/// # Errors
/// Those of any write.
pub fn enforce(tx: &Connection, hashes: &[([u8; 32], UnixTime)]) -> Result<Removal, StoreError> {
    let mut last = UnixTime(0);
    let mut new = HashMap::new();
    let mut known = tx.prepare("SELECT 1 FROM removed WHERE hash = ?1 AND created >= ?2")?;
    for (hash, created) in hashes {
        if !known.exists((hash, created))? {
            new.insert(*hash, *created);
        }
        refuse(tx, hash, *created)?;
        last = last.max(*created);
    }
    drop(known);
    let mut gone = Vec::new();
    let mut select = tx.prepare("SELECT seq, public_id, origin_key FROM message")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        if is_removed(tx, &row.get(2)?, row.get(1)?)? {
            gone.push(row.get(0)?);
        }
    }
    drop(rows);
    meta::note_erasure(tx)?;
    let mut removal = Removal::default();
    for seq in gone {
        remove_one(tx, seq, last, &mut removal)?;
    }
    // Who is known here and was removed after this database was copied: all of it is older than that.
    for author in addresses(tx)? {
        if let Some(created) = new.get(&hash_of_author(tx, &author)?) {
            let of_author = remove_by_author(tx, &author, *created)?;
            removal.seqs.extend(of_author.seqs);
            removal.asides += of_author.asides;
            removal.authors += 1;
        }
    }
    Ok(removal)
}

/// Everybody of whom something may be known.
fn addresses(tx: &Connection) -> Result<Vec<Address>, StoreError> {
    let mut select = tx.prepare(
        "SELECT CAST('mailto:' || address AS BLOB) FROM person
         UNION SELECT author FROM message UNION SELECT origin_address FROM message
         UNION SELECT address FROM peer UNION SELECT address FROM bounce UNION SELECT address FROM holder
         UNION SELECT to_address FROM delivery UNION SELECT author FROM aside WHERE author IS NOT NULL",
    )?;
    let rows = select.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
