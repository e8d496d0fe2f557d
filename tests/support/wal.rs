//! What SQLite's files say about the moment in which their owner was stopped.
//!
//! In WAL mode a writer holds a lock on one byte of the `-shm` file from BEGIN IMMEDIATE to the
//! end of its transaction. COMMIT appends frames to the `-wal` file, syncs it, and only then
//! publishes their number in the `-shm` file, which outlives its process.
//! (<https://sqlite.org/walformat.html>)

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::process::{Flock, FlockType, fcntl_getlk};

/// The byte that stands for the right to write: the first of the lock bytes.
const WRITE_LOCK: u64 = 120;

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether this process has a write transaction open.
pub(crate) fn is_writing(database: &Path, pid: u32) -> bool {
    let Ok(file) = File::options().read(true).write(true).open(beside(database, "-shm")) else {
        return false;
    };
    let mut lock = Flock::from(FlockType::WriteLock);
    lock.start = WRITE_LOCK;
    lock.length = 1;
    let holder = fcntl_getlk(&file, &lock).unwrap();
    holder.and_then(|lock| lock.pid).is_some_and(|holder| holder.as_raw_pid().unsigned_abs() == pid)
}

/// Whether the log has frames of a transaction whose COMMIT did not come to its end: their
/// number was not published.
pub(crate) fn has_unpublished_frames(database: &Path) -> bool {
    let Ok(log) = fs::read(beside(database, "-wal")) else { return false };
    let Ok(index) = fs::read(beside(database, "-shm")) else { return false };
    let (Some(header), Some(page), Some(published), Some(salt)) =
        (log.get(..32), be32(&log, 8), ne32(&index, 16), index.get(32..40))
    else {
        return false;
    };
    // A log that begins anew has new salts; until the first commit into it is published, the
    // index still has the old ones.
    let published = if &header[16..24] == salt { usize::try_from(published).unwrap() } else { 0 };
    let frame = 24 + usize::try_from(page).unwrap();
    let first = 32 + published * frame;
    log.get(first..).is_some_and(|rest| rest.get(8..16) == Some(&header[16..24]))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn ne32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
