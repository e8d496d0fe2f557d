//! What was promised beside the database: a file with every removal, every block and every stop, so that
//! a restore of an older copy of the database does not undo them.
//!
//! It knows one small file in data_dir and when the database is older than it. It must never
//! know what was removed: only salted hashes stand in it.
//!
//! The database counts its promises, and the file bears the number that it was written at.
//! Crash argument: the file is written after the commit and before anybody is told. A file with a
//! smaller number is behind by that crash, and is written again from the database. A file with a
//! larger number means that the database is an older copy, however it came here (`restore`, `cp`, a
//! snapshot of the file system): then what it says is done to the database, in one transaction
//! with the new number.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::blocks::{self, BlockKind, Blocked};
use super::{Store, StoreError, files, meta, people, queue, removal};
use crate::message::UnixTime;

/// Its name in data_dir.
pub(super) const FILE: &str = "removals";

/// In `meta` of a copy of the database: when it was made.
pub(super) const COPIED: &str = "copied at";

/// In `meta` after a restore: keys are to be agreed upon anew.
const RENEW: &str = "renew keys";

/// What opening the database found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// It is an older copy: what was promised since has been done to it, and its queue is held.
    pub restored: bool,
    /// Messages that had been removed since the copy was made, and were removed again.
    pub removed: usize,
    /// Deliveries that are held.
    pub held: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Journal {
    salt: Vec<u8>,
    number: i64,
    removed: Vec<([u8; 32], UnixTime)>,
    blocks: Vec<Blocked>,
    stopped: Vec<([u8; 32], UnixTime)>,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Journal { salt: String, number: i64 },
    Removed { hash: String, at: UnixTime },
    Block { kind: BlockKind, value: String, reason: String, at: UnixTime },
    Stopped { hash: String, at: UnixTime },
}

impl Journal {
    fn of(conn: &Connection) -> Result<Journal, StoreError> {
        Ok(Journal {
            salt: meta::get(conn, "salt")?.unwrap_or_default(),
            number: meta::promises(conn)?,
            removed: removal::hashes(conn)?,
            blocks: blocks::list(conn)?,
            stopped: people::stopped(conn)?,
        })
    }

    fn read(dir: &Path) -> Result<Option<Journal>, StoreError> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&path, &error.to_string())),
        };
        let mut lines = text.lines().map(serde_json::from_str::<Line>);
        let Some(Ok(Line::Journal { salt, number })) = lines.next() else {
            return Err(unreadable(&path, "it does not begin as it should"));
        };
        let bytes = |text: &str| STANDARD.decode(text).map_err(|e| unreadable(&path, &e.to_string()));
        let hash = |text: &str| {
            bytes(text)?.try_into().map_err(|_| unreadable(&path, "a hash is not as long as it should be"))
        };
        let mut journal = Journal {
            salt: bytes(&salt)?,
            number,
            removed: Vec::new(),
            blocks: Vec::new(),
            stopped: Vec::new(),
        };
        for line in lines {
            match line.map_err(|error| unreadable(&path, &error.to_string()))? {
                Line::Journal { .. } => return Err(unreadable(&path, "it begins twice")),
                Line::Removed { hash: of, at } => journal.removed.push((hash(&of)?, at)),
                Line::Stopped { hash: of, at } => journal.stopped.push((hash(&of)?, at)),
                Line::Block { kind, value, reason, at } => {
                    journal.blocks.push(Blocked { kind, value: bytes(&value)?, reason, created: at });
                }
            }
        }
        Ok(Some(journal))
    }

    fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(FILE);
        let failed = |error: io::Error| StoreError::Io(format!("{}: {error}", path.display()));
        let mut text = String::new();
        let head = Line::Journal { salt: STANDARD.encode(&self.salt), number: self.number };
        let removed =
            self.removed.iter().map(|(hash, at)| Line::Removed { hash: STANDARD.encode(hash), at: *at });
        let blocks = self.blocks.iter().map(|block| Line::Block {
            kind: block.kind,
            value: STANDARD.encode(&block.value),
            reason: block.reason.clone(),
            at: block.created,
        });
        let stopped =
            self.stopped.iter().map(|(hash, at)| Line::Stopped { hash: STANDARD.encode(hash), at: *at });
        for line in [head].into_iter().chain(removed).chain(blocks).chain(stopped) {
            text.push_str(&serde_json::to_string(&line).map_err(|error| failed(error.into()))?);
            text.push('\n');
        }
        let mut new = tempfile::Builder::new().prefix(".removals").tempfile_in(dir).map_err(failed)?;
        new.write_all(text.as_bytes()).and_then(|()| new.as_file().sync_all()).map_err(failed)?;
        // By the C library: the harness that plays power failures sees no system call that goes past it.
        let kept = new.into_temp_path().keep().map_err(|error| failed(error.error))?;
        if let Err(error) = fs::rename(&kept, &path) {
            drop(fs::remove_file(&kept));
            return Err(failed(error));
        }
        files::sync_dir(dir)
    }
}

fn unreadable(path: &Path, why: &str) -> StoreError {
    StoreError::Place(format!(
        "{}: {why}; it holds what was removed, blocked and stopped, and a restored database needs it: mend it, or move it \
         away and do again what was removed since the copy was made",
        path.display()
    ))
}

/// The salt of the file beside a database that has none yet.
pub(super) fn salt(dir: &Path) -> Option<Vec<u8>> {
    Journal::read(dir).ok().flatten().map(|journal| journal.salt)
}

/// Whether the file says the same as the database; the sentence says what differs.
pub(super) fn differs(conn: &Connection, dir: &Path) -> Result<Option<String>, StoreError> {
    let ours = Journal::of(conn)?;
    Ok(match Journal::read(dir) {
        Err(error) => Some(error.to_string()),
        Ok(None) if ours.number == 0 => None,
        Ok(None) => Some(format!("{FILE} is missing beside the database: the next start writes it")),
        Ok(Some(journal)) if journal == ours => None,
        Ok(Some(_)) => Some(format!("{FILE} and the database disagree: the next start settles that")),
    })
}

/// Refuses a copy that is of another database than the file in `dir`.
pub(super) fn same_house(conn: &Connection, dir: &Path) -> Result<(), StoreError> {
    let Some(journal) = Journal::read(dir)? else { return Ok(()) };
    match meta::get::<Vec<u8>>(conn, "salt")? {
        Some(salt) if salt != journal.salt => Err(StoreError::NoCopy(format!(
            "{} is about another database, so it can't be said what was removed since this one was made: move it \
             away if that is meant",
            dir.join(FILE).display()
        ))),
        _ => Ok(()),
    }
}

/// Brings the database and the file into accord, when the database is opened.
pub(super) fn settle(conn: &mut Connection, dir: &Path) -> Result<Settled, StoreError> {
    let copied = meta::get::<UnixTime>(conn, COPIED)?;
    let number = meta::promises(conn)?;
    let journal = match Journal::read(dir) {
        Ok(journal) => journal,
        Err(error) if copied.is_some() => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "written again from the database");
            None
        }
    };
    if journal.is_some() {
        same_house(conn, dir)?;
    }
    let behind = journal.as_ref().is_some_and(|journal| journal.number > number);
    let mut settled = Settled { restored: copied.is_some() || behind, ..Settled::default() };
    let mut erased = false;
    if settled.restored {
        let tx = conn.transaction()?;
        if let Some(journal) = journal.as_ref().filter(|journal| journal.number >= number) {
            let removal = removal::enforce(&tx, &journal.removed)?;
            settled.removed = removal.seqs.len();
            erased = !removal.seqs.is_empty() || removal.asides + removal.authors > 0;
            blocks::replace(&tx, &journal.blocks)?;
            people::replace_stopped(&tx, &journal.stopped)?;
            meta::set_promises(&tx, journal.number.max(meta::promises(&tx)?).saturating_add(1))?;
        }
        settled.held = queue::hold_all(&tx)?;
        tx.execute("DELETE FROM exchange", [])?;
        tx.execute("DELETE FROM meta WHERE name = ?1", [COPIED])?;
        meta::forget_index(&tx)?;
        meta::set(&tx, RENEW, 1)?;
        tx.commit()?;
        if erased {
            // What was erased may stand in free space that the copy brought along.
            conn.pragma_update(None, "temp_store", "FILE")?;
            let done = conn.execute_batch("VACUUM");
            conn.pragma_update(None, "temp_store", "MEMORY")?;
            done?;
        }
    }
    let number = meta::promises(conn)?;
    if number > 0 && journal.is_none_or(|journal| journal.number != number) {
        Journal::of(conn)?.write(dir)?;
    }
    Ok(settled)
}

/// Whether keys are to be agreed upon anew, because the database was restored. It is asked once.
///
/// # Errors
/// Those of any write.
pub fn take_renewal(tx: &Connection) -> Result<bool, StoreError> {
    Ok(tx.execute("DELETE FROM meta WHERE name = ?1", [RENEW])? > 0)
}

impl Store {
    /// As [`Store::write`], for a job that blocks or unblocks: it is noted beside the database, too,
    /// so that it survives a restore.
    ///
    /// # Errors
    /// As [`Store::write`]. [`StoreError::Io`] if the file can't be written: the job is done then,
    /// and noted at the next start at the latest.
    pub fn promise<R, F>(&self, job: F) -> Result<R, StoreError>
    where
        F: FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
        R: Send + 'static,
    {
        let result = self.write(job)?;
        self.note_promises()?;
        Ok(result)
    }

    /// Writes the file anew, after a transaction that promised something ([`people::stop`],
    /// [`people::resume`]). Blocks the thread.
    ///
    /// # Errors
    /// As [`Store::promise`].
    pub fn note_promises(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.journal().lock().unwrap_or_else(PoisonError::into_inner);
        let journal = self.read(Journal::of)?;
        journal.write(&self.dir())
    }

    fn dir(&self) -> PathBuf {
        self.path().parent().map_or_else(PathBuf::new, Path::to_path_buf)
    }
}
