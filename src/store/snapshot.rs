//! The database as it is at one moment, for a verb that only reads: beside the daemon, or without.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::{StoreError, files, migrate};

/// How long another process may hold a lock that a reader needs.
const BUSY: Duration = Duration::from_secs(10);

/// One read transaction. It keeps the write-ahead log of a running daemon from being emptied, so it
/// is not to be held for ever.
#[derive(Debug)]
pub struct Snapshot(Connection);

impl Snapshot {
    /// Opens the database in `data_dir` as it is now. `None`: there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Older`], [`StoreError::Newer`], [`StoreError::Foreign`], or it can't be read.
    pub fn open(data_dir: &Path) -> Result<Option<Snapshot>, StoreError> {
        let Some(snapshot) = Self::open_as_it_is(data_dir)? else { return Ok(None) };
        let (found, known) = (migrate::version(snapshot.conn())?, migrate::latest());
        if found < known {
            let path = data_dir.join(files::FILE_NAME).display().to_string();
            return Err(StoreError::Older { path, found, known });
        }
        Ok(Some(snapshot))
    }

    /// The same of an older version, too, for who copies it without looking into it.
    ///
    /// # Errors
    /// Those of [`Snapshot::open`], without the first.
    pub(super) fn open_as_it_is(data_dir: &Path) -> Result<Option<Snapshot>, StoreError> {
        let path = data_dir.join(files::FILE_NAME);
        if !path.exists() {
            return Ok(None);
        }
        let conn = files::open_reader(&path, BUSY)?;
        // An empty file: a first start was cut short.
        if migrate::version(&conn)? == 0 {
            return Ok(None);
        }
        conn.execute_batch("BEGIN DEFERRED")?;
        // The transaction begins with the first read.
        conn.query_row("SELECT count(*) FROM total", [], |row| row.get::<_, i64>(0))?;
        Ok(Some(Snapshot(conn)))
    }

    /// The connection, for the functions of this room that read.
    #[must_use]
    pub fn conn(&self) -> &Connection {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, meta};

    #[test]
    fn a_snapshot_does_not_change() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        assert!(Snapshot::open(&data).unwrap().is_none(), "there is nothing");
        let store = Store::open(&data).unwrap();
        store.write(|tx| meta::set(tx, "x", 1)).unwrap();
        let before = Snapshot::open(&data).unwrap().unwrap();
        store.write(|tx| meta::set(tx, "x", 2)).unwrap();
        let read = |snapshot: &Snapshot| meta::get::<i64>(snapshot.conn(), "x").unwrap();
        assert_eq!(read(&before), Some(1));
        assert_eq!(read(&Snapshot::open(&data).unwrap().unwrap()), Some(2));
        assert!(meta::set(before.conn(), "x", 3).is_err(), "it only reads");
    }
}
