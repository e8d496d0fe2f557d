//! A copy of the database, made while it is written to, and the way back.
//!
//! It knows files and SQLite's online backup. It must never know who asks; the caller of
//! [`restore`] holds the lock of the data directory.
//!
//! A copy holds what the database held at one moment, but no secret of a key exchange under way. It
//! is one file, for its owner alone, and bears the mark that it is a copy: whoever opens it as a
//! database (see [`super::journal`]) does to it what was promised since.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use super::journal::{self, COPIED, Settled};
use super::{FILE_NAME, Snapshot, Store, StoreError, files, meta, migrate, verify};
use crate::message::UnixTime;

/// How long a lock held by another process is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Its size in bytes.
    pub bytes: u64,
    /// The messages in it.
    pub messages: u64,
}

fn place(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Place(format!("{}: {error}", path.display()))
}

/// Copies the database in `data_dir`, which others may be writing to, into the file `to`. An
/// earlier copy there is replaced, nothing else is. `None`: there is no database yet. One of an older version
/// is copied as it is: who is about to bring it up to date wants a copy first.
///
/// Crash argument: the copy gets its name when it is complete and on disk.
///
/// # Errors
/// [`StoreError::Place`] for what is in the way; those of reading and writing.
pub fn backup(data_dir: &Path, to: &Path, now: UnixTime) -> Result<Option<Copied>, StoreError> {
    let Some(snapshot) = Snapshot::open_as_it_is(data_dir)? else { return Ok(None) };
    may_replace(to)?;
    let dir = match to.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
        _ => PathBuf::from("."),
    };
    // 0600 from its first byte on.
    let part =
        tempfile::Builder::new().prefix(".cmr-mail-copy").tempfile_in(&dir).map_err(|e| place(&dir, &e))?;
    let messages = copy(snapshot.conn(), part.path(), now)?;
    drop(snapshot);
    let failed = |error: std::io::Error| place(to, &error);
    part.as_file().sync_all().map_err(failed)?;
    let bytes = part.as_file().metadata().map_err(failed)?.len();
    part.persist(to).map_err(|error| place(to, &error.error))?;
    files::sync_dir(&dir)?;
    Ok(Some(Copied { bytes, messages }))
}

fn copy(from: &Connection, to: &Path, now: UnixTime) -> Result<u64, StoreError> {
    let mut copy =
        Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let done = Backup::new(from, &mut copy)?.step(-1)?;
    if done != StepResult::Done {
        return Err(StoreError::Busy("the copy was not finished".to_owned()));
    }
    // One file and no log; what is deleted is overwritten.
    copy.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0))?;
    copy.pragma_update(None, "secure_delete", true)?;
    let tx = copy.transaction()?;
    tx.execute("DELETE FROM exchange", [])?;
    meta::forget_index(&tx)?;
    meta::set(&tx, COPIED, now)?;
    tx.commit()?;
    Ok(meta::total(&copy, "text")?.0)
}

/// An earlier copy may be replaced. Anything else is somebody's, our own database too.
fn may_replace(to: &Path) -> Result<(), StoreError> {
    let Ok(there) = fs::symlink_metadata(to) else { return Ok(()) };
    if there.is_file() && open_copy(to).is_ok() {
        return Ok(());
    }
    Err(place(to, &"exists and is no copy made by cmr-mail; it is left alone"))
}

/// Opens a copy for reading; `Err` if it is none.
fn open_copy(file: &Path) -> Result<Connection, StoreError> {
    let no_copy = |why: &dyn std::fmt::Display| StoreError::NoCopy(format!("{}: {why}", file.display()));
    // Opening a pipe would wait for somebody to write into it.
    match fs::metadata(file) {
        Ok(there) if !there.is_file() => return Err(no_copy(&"is no file")),
        Ok(_) => {}
        Err(error) => return Err(no_copy(&error)),
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags).map_err(|error| no_copy(&error))?;
    conn.busy_timeout(BUSY)?;
    match migrate::version(&conn) {
        Err(error @ StoreError::Newer { .. }) => return Err(error),
        Err(StoreError::Foreign(_)) | Ok(0) => return Err(no_copy(&"is no copy made by cmr-mail backup")),
        Err(error) => return Err(no_copy(&error)),
        Ok(_) => {}
    }
    match meta::get::<UnixTime>(&conn, COPIED) {
        Ok(Some(_)) => Ok(conn),
        Ok(None) => Err(no_copy(&"is a database and no copy made by cmr-mail backup")),
        Err(error) => Err(no_copy(&error)),
    }
}

/// Everything that is wrong with the copy `file`, a sentence each, and what is in it. That others may read
/// it is wrong: it holds mails and keys.
///
/// # Errors
/// It is no copy, or can't be read.
pub fn verify_copy(file: &Path) -> Result<(Vec<String>, verify::Contents), StoreError> {
    let conn = open_copy(file)?;
    if migrate::version(&conn)? < migrate::latest() {
        let why = "was made by an older version: restore brings it up to date";
        return Err(StoreError::NoCopy(format!("{}: {why}", file.display())));
    }
    let mut wrong = verify::verify(&conn, true)?;
    let there = fs::metadata(file).map_err(|error| place(file, &error))?;
    wrong.extend(open_to_others(file, &there, 0o600));
    Ok((wrong, verify::contents(&conn)?))
}

/// What is wrong if others may do with a file or directory what is not in `allowed`.
fn open_to_others(path: &Path, there: &fs::Metadata, allowed: u32) -> Option<String> {
    let mode = there.mode() & 0o777;
    (mode & !allowed != 0)
        .then(|| format!("{0} is open to others (mode {mode:04o}): chmod {allowed:o} {0}", path.display()))
}

/// Puts a copy into the place of the database in `data_dir`, and does to it what was removed and
/// blocked since it was made. The database that is there is gone then. Nobody may have it open.
///
/// Crash argument: the copy is complete and on disk in data_dir before the old database goes; the
/// old one's log, which must not be taken for one of the new database, goes first. A crash between
/// leaves the old database as it was at its last checkpoint, or the new one.
///
/// # Errors
/// It is no sound copy, or not one of this database; those of reading and writing. The database is
/// untouched then.
pub fn restore(data_dir: &Path, file: &Path) -> Result<Settled, StoreError> {
    files::prepare_dir(data_dir)?;
    let path = data_dir.join(FILE_NAME);
    {
        let conn = open_copy(file)?;
        let check = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        let wrong = check.unwrap_or_else(|error| error.to_string());
        if wrong != "ok" {
            return Err(StoreError::NoCopy(format!("{}: it is damaged: {wrong}", file.display())));
        }
        if path.exists() {
            // Its last promises are noted beside it, if it can still be read.
            match Store::open(data_dir) {
                Ok(store) => store.close(),
                Err(error @ StoreError::Newer { .. }) => return Err(error),
                Err(error) => tracing::warn!(%error, "the database that is replaced can't be opened"),
            }
        }
        journal::same_house(&conn, data_dir)?;
    }
    let new = data_dir.join(format!("{FILE_NAME}.restored"));
    let _ = fs::remove_file(&new);
    copy_file(file, &new)?;
    for old in files::all_files(&path).iter().skip(1) {
        match fs::remove_file(old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(place(old, &error)),
            _ => {}
        }
    }
    files::sync_dir(data_dir)?;
    fs::rename(&new, &path).map_err(|error| place(&path, &error))?;
    files::sync_dir(data_dir)?;
    let store = Store::open(data_dir)?;
    let settled = store.settled().clone();
    store.close();
    Ok(settled)
}

fn copy_file(from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| place(to, &error);
    let mut source = File::open(from).map_err(|error| place(from, &error))?;
    let mut target = File::options().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    std::io::copy(&mut source, &mut target).map_err(failed)?;
    target.sync_all().map_err(failed)
}

/// What is wrong with the files of a database that is in use: who may read them, and whether the
/// promises beside it are those in it.
///
/// # Errors
/// Those of any read.
pub fn verify_place(data_dir: &Path, conn: &Connection) -> Result<Vec<String>, StoreError> {
    let mut wrong = Vec::new();
    let mut look = |path: &Path, allowed: u32| {
        let Ok(there) = fs::symlink_metadata(path) else { return };
        wrong.extend(open_to_others(path, &there, allowed));
    };
    look(data_dir, 0o700);
    if let Ok(entries) = fs::read_dir(data_dir) {
        let mut files: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            look(&file, if file.is_dir() { 0o700 } else { 0o600 });
        }
    }
    wrong.extend(journal::differs(conn, data_dir)?);
    Ok(wrong)
}
