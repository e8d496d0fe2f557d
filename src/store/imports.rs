//! Files that mail was imported from, and what became of each mail in them.
//!
//! Crash argument: what became of a mail, and how far its file was read, are written in the
//! transaction that stores the mail. After a crash either all of it or nothing is there, and the
//! next run goes on behind what is there.

use std::collections::HashMap;

use rusqlite::Connection;

use super::StoreError;
use super::sql::{count, whole, words};

words! {
    /// What became of an imported mail.
    pub enum Fate {
        /// A CMR message, taken as it is.
        Message => "message",
        /// A mail, taken as a local message.
        Post => "post",
        /// It was here before.
        Duplicate => "duplicate",
        /// It was not wanted.
        Skipped => "skipped",
        /// It could not be taken.
        Failed => "failed",
    }
}

/// A file, and how far it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name here: bytes of a path.
    pub name: Vec<u8>,
    /// Its length in bytes.
    pub size: u64,
    /// When it was changed last, in nanoseconds since 1970.
    pub modified: i64,
    /// What was to be taken: another wish reads the file again.
    pub options: String,
    /// Up to which byte of its content it was read.
    pub done: u64,
    /// To its end.
    pub complete: bool,
}

/// One mail of a file, or one CMR message in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The byte at which the mail begins, in an mbox.
    pub at: u64,
    /// Which message of the mail.
    pub part: usize,
    /// What became of it.
    pub fate: Fate,
    /// The message that it became, or that it is a copy of.
    pub seq: Option<i64>,
    /// A hash of what its thread began with.
    pub thread: Option<i64>,
    /// The length of the whole mail.
    pub bytes: u64,
    /// Why it was not taken.
    pub reason: Option<String>,
}

/// The files that are known, by name.
///
/// # Errors
/// Those of any read.
pub fn files(conn: &Connection) -> Result<HashMap<Vec<u8>, File>, StoreError> {
    let mut select = conn.prepare("SELECT name, size, modified, options, done, complete FROM import_file")?;
    let rows = select.query_map([], |row| {
        Ok(File {
            name: row.get(0)?,
            size: count(row.get(1)?),
            modified: row.get(2)?,
            options: row.get(3)?,
            done: count(row.get(4)?),
            complete: row.get(5)?,
        })
    })?;
    let mut found = HashMap::new();
    for file in rows {
        let file = file?;
        found.insert(file.name.clone(), file);
    }
    Ok(found)
}

/// Notes how far a file was read; with `anew` what is known of its mails is forgotten first. The
/// answer is its number.
///
/// # Errors
/// Those of any write.
pub fn note_file(tx: &Connection, file: &File, anew: bool) -> Result<i64, StoreError> {
    let id: i64 = tx
        .prepare_cached(
            "INSERT INTO import_file (name, size, modified, options, done, complete) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (name) DO UPDATE SET size = excluded.size, modified = excluded.modified,
                 options = excluded.options, done = excluded.done, complete = excluded.complete
             RETURNING id",
        )?
        .query_row(
            (
                &file.name,
                whole_of(file.size),
                file.modified,
                &file.options,
                whole_of(file.done),
                file.complete,
            ),
            |row| row.get(0),
        )?;
    if anew {
        tx.prepare_cached("DELETE FROM import_mail WHERE file = ?1")?.execute([id])?;
    }
    Ok(id)
}

/// Notes what became of a mail of a file. Noting it again replaces it.
///
/// # Errors
/// Those of any write.
pub fn note_mail(tx: &Connection, file: i64, row: &Row) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO import_mail (file, at, part, fate, seq, thread, bytes, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute((
        file,
        whole_of(row.at),
        whole(row.part),
        row.fate,
        row.seq,
        row.thread,
        whole_of(row.bytes),
        &row.reason,
    ))?;
    Ok(())
}

/// Every mail that is known, with the name of its file, in the order of names and places.
///
/// # Errors
/// Those of any read, and those of `take`.
pub fn each(
    conn: &Connection,
    mut take: impl FnMut(&[u8], Row) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut select = conn.prepare(
        "SELECT f.name, m.at, m.part, m.fate, m.seq, m.thread, m.bytes, m.reason
           FROM import_file f JOIN import_mail m ON m.file = f.id ORDER BY f.name, m.at, m.part",
    )?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let found = Row {
            at: count(row.get(1)?),
            part: usize::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
            fate: row.get(3)?,
            seq: row.get(4)?,
            thread: row.get(5)?,
            bytes: count(row.get(6)?),
            reason: row.get(7)?,
        };
        take(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?, found)?;
    }
    Ok(())
}

fn whole_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_file_that_is_read_anew_forgets_its_mails() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data")).unwrap();
        let file = File {
            name: b"/m/\xff".to_vec(),
            size: 10,
            modified: 1,
            options: "new".into(),
            done: 5,
            complete: false,
        };
        let row = |at, fate| Row { at, part: 0, fate, seq: None, thread: Some(-1), bytes: 5, reason: None };
        let again = file.clone();
        store
            .write(move |tx| {
                let id = note_file(tx, &again, true)?;
                note_mail(tx, id, &row(0, Fate::Failed))?;
                note_mail(tx, id, &row(0, Fate::Post))?;
                assert_eq!(note_file(tx, &File { done: 10, complete: true, ..again }, false)?, id);
                note_mail(tx, id, &row(5, Fate::Skipped))
            })
            .unwrap();
        let all = |store: &Store| {
            store
                .read(|conn| {
                    let mut rows = Vec::new();
                    each(conn, |name, row| {
                        assert_eq!(name, b"/m/\xff");
                        rows.push((row.at, row.fate));
                        Ok(())
                    })?;
                    Ok(rows)
                })
                .unwrap()
        };
        assert_eq!(all(&store), [(0, Fate::Post), (5, Fate::Skipped)]);
        let known = store.read(files).unwrap();
        assert_eq!(known[&b"/m/\xff"[..]], File { done: 10, complete: true, ..file.clone() });
        store.write(move |tx| note_file(tx, &file, true)).unwrap();
        assert_eq!(all(&store), []);
    }
}
