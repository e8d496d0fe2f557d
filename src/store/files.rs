//! The files of the database: where they are, who may read them, and how a connection to them
//! is set up.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{Options, StoreError, migrate};

/// The database's file name in data_dir.
pub const FILE_NAME: &str = "cmr-mail.db";

fn place(path: &Path, what: &str, error: &io::Error) -> StoreError {
    StoreError::Place(format!("{}: {what}: {error}", path.display()))
}

/// Makes `dir` ours: 0700, created if need be.
///
/// A directory that is open to others is closed when it is empty or holds our database. Any
/// other one is refused: somebody who writes `data_dir = "/tmp"` must not lose /tmp for all.
pub fn prepare_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => {
            Err(StoreError::Place(format!("{} is not a directory; data_dir has to name one", dir.display())))
        }
        Ok(meta) if meta.mode() & 0o077 == 0 => Ok(()),
        Ok(meta) => {
            let mut entries = fs::read_dir(dir).map_err(|e| place(dir, "can't be listed", &e))?;
            if !dir.join(FILE_NAME).exists() && entries.next().is_some() {
                return Err(StoreError::Place(format!(
                    "{} is open to other users (mode {:04o}) and holds files of others; \
                     choose a directory of its own for data_dir, or run: chmod 700 {}",
                    dir.display(),
                    meta.mode() & 0o7777,
                    dir.display()
                )));
            }
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
                .map_err(|e| place(dir, "can't be closed to other users (chmod 700)", &e))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Each one that is made has its name in the one above, which a power cut must not lose.
            let made: Vec<&Path> =
                dir.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|e| place(dir, "can't be created", &e))?;
            made.into_iter().try_for_each(|made| sync_dir(above(made)))
        }
        Err(error) => Err(place(dir, "can't be used", &error)),
    }
}

/// Creates the database file with mode 0600, or closes it to others. SQLite gives its -wal and
/// -shm files the mode of the database file.
pub(super) fn prepare_file(path: &Path) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all().map_err(|e| place(path, "can't be written", &e))?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            for file in all_files(path) {
                let Ok(meta) = fs::metadata(&file) else {
                    continue;
                };
                if meta.mode() & 0o077 != 0 {
                    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
                        .map_err(|e| place(&file, "can't be closed to other users (chmod 600)", &e))?;
                }
            }
        }
        Err(error) => return Err(place(path, "can't be created", &error)),
    }
    // SQLite syncs the directory for its journals, not for the database file itself: without this
    // a power cut could lose the name of a file full of acknowledged mail. At every start, because
    // the one that made the file may have died just here.
    sync_dir(above(path))
}

/// Makes durable what a killed process had written to the log and not synced. Without it the next
/// one could answer "known already" about a message that it read from the system's memory alone,
/// and a power cut would make that untrue.
pub(super) fn sync_log(path: &Path) -> Result<(), StoreError> {
    let log = wal_file(path);
    match File::open(&log) {
        Ok(file) => file.sync_all().map_err(|e| place(&log, "can't be synced", &e)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(place(&log, "can't be opened", &error)),
    }
}

/// The directory that holds a name.
fn above(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| place(dir, "can't be synced", &e))
}

/// The database file, its write-ahead log and the index of that log.
pub(super) fn all_files(path: &Path) -> [PathBuf; 3] {
    [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")]
}

/// The write-ahead log of `path`.
pub(super) fn wal_file(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// What all connections have in common.
fn common(conn: &Connection, busy_timeout: Duration) -> rusqlite::Result<()> {
    conn.busy_timeout(busy_timeout)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    // Plans do not depend on values. Without this SQLite prepares statements anew whenever a value
    // is bound that might, which costs more than running them.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// Prepared statements kept per connection; more than there are in this room.
const STATEMENTS: usize = 256;

/// A connection that may write. The only one of the process is the writer thread's.
pub(super) fn open_writer(path: &Path, options: &Options) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    common(&conn, options.busy_timeout)?;
    // A newer or foreign file must not even have its journal mode changed.
    migrate::version(&conn)?;
    // Before the first change, so that nothing is ever written in another mode.
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Place(format!(
            "{}: the file system does not support a write-ahead log (journal mode {mode}); \
             data_dir has to be on a local disk",
            path.display()
        )));
    }
    // FULL: every commit syncs the log. EXTRA would add nothing in WAL mode.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // Deleted rows are overwritten with zeros: what was removed must not be found in the file.
    conn.pragma_update(None, "secure_delete", true)?;
    // A checkpoint costs two syncs and writes each changed page once: rarer is cheaper, and the
    // log stays bounded by the limit below.
    conn.pragma_update(None, "wal_autocheckpoint", options.wal_pages)?;
    conn.pragma_update(None, "journal_size_limit", options.wal_bytes)?;
    // Not larger: each commit that split an index page walks the whole cache (SQLite moves pages
    // by way of a page number beyond the file's end, and then looks for more of those). The
    // system's own cache holds the rest.
    conn.pragma_update(None, "cache_size", -16 * 1024)?;
    // What a savepoint needs to undo a job would else go through a file in /tmp.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(conn)
}

/// A connection that can't write.
pub(super) fn open_reader(path: &Path, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    common(&conn, busy_timeout)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}
