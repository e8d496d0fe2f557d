//! Whether removed bytes are really gone from the files.
//!
//! SQLite's secure_delete overwrites what is deleted. But when it moves rows from one page to
//! another, a copy can stay behind in the free space of the old page, and deleting the row later
//! does not find that copy. It is rare (a few of a thousand removals leave an index entry, texts
//! hardly ever); a promise to erase can't rest on "rare". So samples of what is removed are
//! looked for in the files afterwards, and if one is found the database is rewritten.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::Connection;

use super::blocks::{self, BlockKind};
use super::{StoreError, peers};
use crate::message::{Address, MessageId, UnixTime};
use crate::store::removal::{Removal, remove_by_author, remove_by_id};
use crate::store::{Store, files};

/// Length of a sample in bytes: long enough not to stand anywhere by chance.
const SAMPLE: usize = 24;
/// Samples of one text: from its beginning, since what stays behind is the part of a row that
/// stands in its table page.
const PER_TEXT: usize = 4;
/// Most samples of one removal.
const SAMPLES: usize = 256;
/// Databases up to this size are rewritten at once, in memory; for larger ones that is the
/// operator's decision, who knows when minutes of waiting do no harm.
pub(super) const IN_MEMORY: u64 = 128 << 20;

/// What is to be erased.
#[derive(Debug, Clone)]
pub enum What {
    /// Every version of a message.
    Message(MessageId),
    /// Everything of an author.
    Author(Address),
}

/// What [`Store::remove`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// What was erased.
    pub removal: Removal,
    /// The database was rewritten, because a trace was left in free space.
    pub rewritten: bool,
    /// Samples of it are still found. After a rewrite: somebody else's message holds the same
    /// words. Without one: perhaps a trace in free space, until [`Store::vacuum`].
    pub still_found: bool,
}

impl Store {
    /// Erases for good, and looks whether it is gone from the files, too.
    ///
    /// # Errors
    /// Those of any write. After an error the removal may or may not be done; doing it again is
    /// harmless.
    pub fn remove(&self, what: What, now: UnixTime) -> Result<Erased, StoreError> {
        let (removal, samples) = self.erase(move |tx| {
            let mut samples = Vec::new();
            let removal = match &what {
                What::Message(id) => {
                    collect(tx, "public_id = ?1", id.as_bytes(), &mut samples)?;
                    remove_by_id(tx, *id, now)?
                }
                What::Author(author) => {
                    collect(tx, "author = ?1", author.as_bytes(), &mut samples)?;
                    let removal = remove_by_author(tx, author, now)?;
                    // Where the operator keeps the address, it is no trace.
                    if !blocks::contains(tx, BlockKind::Author, author.as_bytes())?
                        && peers::get(tx, author)?.is_none()
                    {
                        samples.push(author.as_bytes().to_vec());
                    }
                    removal
                }
            };
            Ok((removal, samples))
        })?;
        self.note_promises()?;
        let mut erased = Erased { removal, still_found: self.traces(&samples)?, ..Erased::default() };
        let size = std::fs::metadata(self.path()).map_or(u64::MAX, |meta| meta.len());
        if erased.still_found && size <= IN_MEMORY {
            self.vacuum()?;
            erased.rewritten = true;
            erased.still_found = self.traces(&samples)?;
        }
        Ok(erased)
    }

    /// Whether any of these byte strings stands in the database file or its log. Reads all of
    /// both.
    ///
    /// # Errors
    /// [`StoreError::Io`] if a file can't be read.
    pub fn traces(&self, samples: &[Vec<u8>]) -> Result<bool, StoreError> {
        let path = self.path();
        let found = scan(self.raw_file()?, samples).map_err(|error| unreadable(path, &error))?;
        if found {
            return Ok(true);
        }
        let log = files::wal_file(path);
        match File::open(&log) {
            Ok(file) => scan(&file, samples).map_err(|error| unreadable(&log, &error)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(unreadable(&log, &error)),
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io(format!("{}: {error}", path.display()))
}

/// Takes samples of the messages that `condition` names: their origin times, which nobody else
/// has, and their texts' beginnings.
fn collect(
    conn: &Connection,
    condition: &str,
    value: &[u8],
    samples: &mut Vec<Vec<u8>>,
) -> Result<(), StoreError> {
    let mut select = conn.prepare(&format!(
        "SELECT (SELECT time FROM hop WHERE seq = m.seq ORDER BY position DESC LIMIT 1),
                substr(t.body, 1, 4096), substr(r.raw, 1, 4096)
           FROM message m LEFT JOIN text t ON t.seq = m.seq LEFT JOIN raw_mail r ON r.id = m.raw
          WHERE m.{condition}"
    ))?;
    let mut rows = select.query([value])?;
    while let Some(row) = rows.next()? {
        if let Some(time) = row.get::<_, Option<String>>(0)?.filter(|time| time.len() >= SAMPLE) {
            samples.push(time.into_bytes());
        }
        for column in [1, 2] {
            if let Some(text) = row.get::<_, Option<Vec<u8>>>(column)? {
                samples.extend(
                    text.chunks_exact(SAMPLE).filter(|s| telling(s)).take(PER_TEXT).map(<[u8]>::to_vec),
                );
            }
        }
        if samples.len() >= SAMPLES {
            samples.truncate(SAMPLES);
            break;
        }
    }
    Ok(())
}

/// Whether a sample is more than a run of the same few characters, which stands everywhere.
fn telling(sample: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in sample {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    }
    seen.iter().filter(|seen| **seen).count() >= 8
}

/// How much is read at once.
const BLOCK: usize = 1 << 20;

pub(super) fn scan(file: &File, samples: &[Vec<u8>]) -> std::io::Result<bool> {
    let Some(longest) = samples.iter().map(Vec::len).max() else { return Ok(false) };
    // By their first two bytes: hardly any position of the file gets past this one look.
    let mut by_head: Vec<Vec<&[u8]>> = vec![Vec::new(); 1 << 16];
    for sample in samples {
        if let [first, second, ..] = sample[..]
            && let Some(candidates) = by_head.get_mut(usize::from(u16::from_be_bytes([first, second])))
        {
            candidates.push(sample);
        }
    }
    let mut buffer = Vec::with_capacity(BLOCK.saturating_add(longest));
    let mut offset = 0;
    loop {
        let kept = buffer.len();
        buffer.resize(kept.saturating_add(BLOCK), 0);
        let read = file.read_at(buffer.get_mut(kept..).unwrap_or_default(), offset)?;
        buffer.truncate(kept.saturating_add(read));
        offset = offset.saturating_add(read as u64);
        let found = buffer.windows(2).enumerate().any(|(at, head)| {
            let [first, second] = head else { return false };
            let candidates = by_head.get(usize::from(u16::from_be_bytes([*first, *second])));
            candidates.is_some_and(|candidates| {
                !candidates.is_empty() && {
                    let rest = buffer.get(at..).unwrap_or_default();
                    candidates.iter().any(|sample| rest.starts_with(sample))
                }
            })
        });
        if found {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        // What may be the beginning of a sample stays for the next round.
        let keep = buffer.len().saturating_sub(longest.saturating_sub(1));
        buffer.drain(..keep);
    }
}
