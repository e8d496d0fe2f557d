//! One process at a time works on a `data_dir`: a lock that says who holds it.
//!
//! The lock is the operating system's (it ends with the process, however that ends); the file's
//! text is only there for people. The daemon holds it while it runs; a verb that finds no daemon
//! holds it for as long as it works on the database itself.
//! This file must never know what is done under the lock.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::clock;

/// Name of the lock file in `data_dir`.
pub const LOCK_FILE: &str = "lock";

/// How often a waiting process looks again.
const POLL: Duration = Duration::from_millis(50);

/// Longest text that is read out of a lock file.
const MAX_TEXT: u64 = 512;

/// Who holds a lock, as far as its file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Since when, RFC 3339.
    pub since: String,
    /// The verb, for example `serve`.
    pub role: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cmr-mail {} (process {}, since {})", self.role, self.pid, self.since)
    }
}

impl Holder {
    /// Reads `pid since role`, one line. `None` for anything else (an empty file of a process that
    /// is just about to write it, or a file of somebody else).
    fn parse(text: &str) -> Option<Holder> {
        let mut words = text.lines().next()?.splitn(3, ' ');
        let pid = words.next()?.parse().ok()?;
        let since = words.next()?.to_owned();
        let role = words.next()?.to_owned();
        let plain = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        (plain(&since) && plain(&role)).then_some(Holder { pid, since, role })
    }
}

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("{} is in use by {}", dir.display(), holder.as_ref().map_or_else(|| "another process".to_owned(), Holder::to_string))]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// Who; `None` if the file does not say.
        holder: Option<Holder>,
    },
    /// There is no such directory yet.
    #[error("{} does not exist: `cmr-mail serve` creates it", dir.display())]
    Missing {
        /// The data directory.
        dir: PathBuf,
    },
    /// The directory belongs to somebody else.
    #[error("no permission to work in {}: run this as the user who owns it", dir.display())]
    Forbidden {
        /// The data directory.
        dir: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// The right to work on a `data_dir`, until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    dir: PathBuf,
}

impl Lock {
    /// Takes the lock if it is free. `role` is the verb, for the sentence that others see.
    ///
    /// # Errors
    /// [`LockError::Held`] at once when another process (or this one, elsewhere) has it.
    pub fn try_acquire(dir: &Path, role: &str) -> Result<Lock, LockError> {
        let path = dir.join(LOCK_FILE);
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => LockError::Missing { dir: dir.to_owned() },
            io::ErrorKind::PermissionDenied => LockError::Forbidden { dir: dir.to_owned() },
            _ => LockError::Io { path: path.clone(), source },
        };
        // Never truncated on opening: until the lock is ours, the text is the holder's.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { dir: dir.to_owned(), holder: read(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(LockError::Io { path, source }),
        }
        let text = format!("{} {} {role}\n", std::process::id(), clock::now().rfc3339());
        // The text is for people; a full disk must not keep the daemon from starting.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
        Ok(Lock { file, dir: dir.to_owned() })
    }

    /// Takes the lock, waiting for up to `wait` while somebody else has it.
    ///
    /// # Errors
    /// As [`Lock::try_acquire`], [`LockError::Held`] only after `wait`.
    pub fn acquire(dir: &Path, role: &str, wait: Duration) -> Result<Lock, LockError> {
        let start = Instant::now();
        loop {
            match Self::try_acquire(dir, role) {
                Err(LockError::Held { .. }) if start.elapsed() < wait => {
                    std::thread::sleep(POLL.min(wait.saturating_sub(start.elapsed())));
                }
                other => return other,
            }
        }
    }

    /// Who holds the lock of `dir` right now, without taking it. `None`: nobody.
    /// `Some(None)`: somebody who did not write who it is.
    ///
    /// # Errors
    /// When the file exists but can't be read. A missing file or directory is `None`.
    pub fn holder(dir: &Path) -> Result<Option<Option<Holder>>, LockError> {
        let path = dir.join(LOCK_FILE);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                return Err(LockError::Forbidden { dir: dir.to_owned() });
            }
            Err(source) => return Err(LockError::Io { path, source }),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(read(&mut file))),
            Err(TryLockError::Error(source)) => Err(LockError::Io { path, source }),
        }
    }

    /// The directory that is locked.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file stays: unlinking it would let two processes lock two files of the same name.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn read(file: &mut File) -> Option<Holder> {
    file.rewind().ok()?;
    let mut text = String::new();
    file.take(MAX_TEXT).read_to_string(&mut text).ok()?;
    Holder::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_the_first_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::try_acquire(dir.path(), "serve").unwrap();
        assert_eq!(lock.dir(), dir.path());
        let error = Lock::try_acquire(dir.path(), "post").unwrap_err();
        let sentence = error.to_string();
        assert!(sentence.contains("cmr-mail serve"), "{sentence}");
        assert!(sentence.contains(&format!("process {}", std::process::id())), "{sentence}");
        assert!(sentence.contains("since 20"), "{sentence}");
        let holder = Lock::holder(dir.path()).unwrap().unwrap().unwrap();
        assert_eq!((holder.role.as_str(), holder.pid), ("serve", std::process::id()));
    }

    #[test]
    fn a_released_lock_is_free_and_names_nobody() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Lock::holder(dir.path()).unwrap(), None, "no file yet");
        drop(Lock::try_acquire(dir.path(), "serve").unwrap());
        assert_eq!(Lock::holder(dir.path()).unwrap(), None);
        let again = Lock::try_acquire(dir.path(), "post").unwrap();
        let holder = Lock::holder(dir.path()).unwrap().unwrap().unwrap();
        assert_eq!(holder.role, "post", "the text of the former holder is gone");
        drop(again);
    }

    #[test]
    fn waiting_ends_with_the_holder_or_with_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::try_acquire(dir.path(), "serve").unwrap();
        let start = Instant::now();
        let held = Lock::acquire(dir.path(), "post", Duration::from_millis(120)).unwrap_err();
        assert!(matches!(held, LockError::Held { .. }));
        assert!(start.elapsed() >= Duration::from_millis(120));
        let path = dir.path().to_owned();
        let waiting = std::thread::spawn(move || Lock::acquire(&path, "post", Duration::from_secs(60)));
        drop(lock);
        assert!(waiting.join().unwrap().is_ok());
    }

    #[test]
    fn a_missing_directory_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = Lock::try_acquire(&dir.path().join("none"), "serve").unwrap_err();
        assert!(matches!(error, LockError::Missing { .. }));
        assert!(error.to_string().contains("cmr-mail serve"));
    }

    #[test]
    fn the_file_is_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let _lock = Lock::try_acquire(dir.path(), "serve").unwrap();
        let mode = std::fs::metadata(dir.path().join(LOCK_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_foreign_text_names_nobody() {
        for text in ["", "x", "12", "12 now", "-1 now serve", "12 now \u{1b}[31m", "12  serve"] {
            assert_eq!(Holder::parse(text), None, "{text:?}");
        }
    }
}
