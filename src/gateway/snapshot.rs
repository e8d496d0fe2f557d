//! The pool's index on disk, so that a start need not read and cut every message again.
//!
//! It knows one file beside the database, and the database's word for it. It must never know what
//! is in an index.
//!
//! **What counts is the database.** The file is used only if its SHA-256 is the one that the
//! database remembers; a damaged one, one of another version, of another database or of a restored
//! backup is deleted, and the pool is filled from the texts. What the file and the database do not
//! agree about (messages that came, went or were published since) is settled message by message.
//!
//! **What is erased does not survive in it.** The transaction that erases forgets the SHA-256, the
//! file is deleted, and what the pool writes down afterwards holds nothing of what was erased.
//! While something is erased nothing is written.
//!
//! Crash argument: the file is complete and on disk under its name before the database knows its
//! SHA-256; until then it is worth nothing. A file that the database does not know, whole or begun,
//! is deleted by the next start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::filling::entry;
use super::{Inner, lock};
use crate::pool::{Limits, Pool};
use crate::store::{Store, StoreError, messages, meta};

/// Its name in `data_dir`.
const FILE: &str = "pool-index";

/// A smaller pool is filled from the texts in no time.
const WORTH_IT: usize = 1000;

/// While the daemon runs the index is written at most so often …
const EVERY: Duration = Duration::from_secs(3600);
/// … and if one message in so many has come or gone since.
const CHANGED: u64 = 20;

/// What was written last.
#[derive(Debug)]
struct Last {
    when: Instant,
    /// [`Pool::changes`] at that time.
    changes: u64,
}

/// The file.
#[derive(Debug)]
pub(super) struct Snapshot {
    path: PathBuf,
    /// Held while the file is written, and while something is erased.
    last: Mutex<Last>,
}

/// Counts and hashes what goes through it.
struct Hashed<T> {
    inner: T,
    hash: Sha256,
}

impl<T> Hashed<T> {
    fn new(inner: T) -> Self {
        Hashed { inner, hash: Sha256::new() }
    }
}

impl<T: Read> Read for Hashed<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

impl<T: Write> Write for Hashed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..n).unwrap_or_default());
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Snapshot {
    /// That of this directory.
    pub(super) fn new(data_dir: &Path) -> Self {
        let last = Last { when: Instant::now(), changes: 0 };
        Snapshot { path: data_dir.join(FILE), last: Mutex::new(last) }
    }

    /// The pool as it was written down and as the database has it now; `None` if there is nothing
    /// that can be used. The second answer are messages that had to go.
    ///
    /// # Errors
    /// The database can't be used.
    pub(super) fn load(&self, store: &Store, limits: Limits) -> Result<Option<(Pool, Vec<i64>)>, StoreError> {
        let started = Instant::now();
        remove(&self.unfinished());
        let Some(pool) = self.read(store, limits)? else {
            remove(&self.path);
            return Ok(None);
        };
        let (read, held) = (started.elapsed(), pool.len());
        let mut pool = pool;
        let evicted = settle(store, &mut pool)?;
        info!(
            messages = pool.len(),
            changed = pool.changes(),
            milliseconds = started.elapsed().as_millis(),
            reading = read.as_millis(),
            held,
            "the pool was read from its index on disk"
        );
        Ok(Some((pool, evicted)))
    }

    fn read(&self, store: &Store, limits: Limits) -> Result<Option<Pool>, StoreError> {
        let Some(expected) = store.read(meta::index_digest)? else { return Ok(None) };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) => {
                info!(%error, "there is no index on disk");
                return Ok(None);
            }
        };
        let mut from = Hashed::new(BufReader::with_capacity(1 << 20, file));
        let pool = match Pool::load(&mut from, limits) {
            Ok(pool) => pool,
            Err(error) => {
                warn!(%error, "the index on disk is not used");
                return Ok(None);
            }
        };
        let at_end = matches!(from.read(&mut [0]), Ok(0));
        if !at_end || from.hash.finalize().as_slice() != expected {
            warn!("the index on disk is damaged, or not this database's: it is not used");
            return Ok(None);
        }
        Ok(Some(pool))
    }

    /// Nothing is written until this is dropped, and [`Erasing::done`] deletes what was.
    pub(super) fn erasing(&self) -> Erasing<'_> {
        Erasing { snapshot: self, _last: lock(&self.last) }
    }

    fn unfinished(&self) -> PathBuf {
        self.path.with_extension("new")
    }

    /// Writes the pool down if that is worth while: `now`, or in a daemon that goes on running.
    pub(super) fn save(&self, inner: &Inner, now: bool) {
        let mut last = lock(&self.last);
        let (changes, messages) = {
            let pool = inner.pool();
            (pool.changes(), pool.len())
        };
        let changed = changes.wrapping_sub(last.changes);
        let due = last.when.elapsed() > EVERY && changed > messages as u64 / CHANGED;
        if messages < WORTH_IT || changed == 0 || !(now || due) {
            return;
        }
        let started = Instant::now();
        match self.write(inner) {
            Ok(Some(bytes)) => {
                let milliseconds = started.elapsed().as_millis();
                info!(messages, bytes, milliseconds, "the index of the pool was written");
                *last = Last { when: Instant::now(), changes };
            }
            Ok(None) => info!("the index is not written: something is being erased"),
            Err(error) => {
                warn!(%error, "the index of the pool can't be written; the next start takes longer")
            }
        }
    }

    /// `None` if something was erased meanwhile.
    fn write(&self, inner: &Inner) -> Result<Option<u64>, Failed> {
        // What was erased leaves the lists first.
        while inner.pool_mut().sweep() {}
        let erasures = inner.store.read(meta::erasures)?;
        let unfinished = self.unfinished();
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        let mut to = BufWriter::with_capacity(1 << 20, Hashed::new(file));
        inner.pool().save(&mut to)?;
        let Hashed { inner: file, hash } = to.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(&unfinished, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        let digest: [u8; 32] = hash.finalize().into();
        let stands = inner.store.write(move |tx| {
            let stands = meta::erasures(tx)? == erasures;
            if stands {
                meta::set_index_digest(tx, &digest)?;
            }
            Ok(stands)
        })?;
        if !stands {
            fs::remove_file(&self.path)?;
        }
        Ok(stands.then_some(bytes))
    }
}

/// Something is being erased.
pub(super) struct Erasing<'a> {
    snapshot: &'a Snapshot,
    _last: MutexGuard<'a, Last>,
}

impl Erasing<'_> {
    /// It is gone from the database and from the pool: deletes the file.
    pub(super) fn done(self) {
        remove(&self.snapshot.path);
        remove(&self.snapshot.unfinished());
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(%error, path = %path.display(), "an index can't be deleted");
        }
        _ => {}
    }
}

/// Why it was not written.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Brings the pool to what the database has.
fn settle(store: &Store, pool: &mut Pool) -> Result<Vec<i64>, StoreError> {
    store.read(|conn| {
        let (mut kept, mut missing) = (Vec::with_capacity(pool.len()), Vec::new());
        messages::each_routed(conn, |seq, id, scope| {
            if pool.holds(seq, id, scope) { kept.push(seq) } else { missing.push(seq) }
        })?;
        if kept.len() < pool.len() {
            let gone: Vec<i64> = pool.numbers().filter(|seq| kept.binary_search(seq).is_err()).collect();
            for seq in gone {
                pool.remove(seq);
            }
        }
        let mut evicted = Vec::new();
        let mut told = Instant::now();
        for (nth, seq) in missing.iter().enumerate() {
            if told.elapsed() > Duration::from_secs(1) {
                told = Instant::now();
                info!(done = nth, of = missing.len(), "bringing the pool up to the database");
            }
            if let Some(mut cached) = messages::cached(conn, *seq)? {
                let body = std::mem::take(&mut cached.body);
                evicted.extend(pool.restore(&entry(cached), &body));
            }
        }
        Ok(evicted)
    })
}

impl Inner {
    /// Takes back what was learnt of messages that are about to be erased, while their texts are
    /// there: sums can't tell afterwards what was whose.
    pub(super) fn unlearn(&self, what: &crate::store::What) -> Result<(), StoreError> {
        let seqs = self.store.read(|conn| crate::store::removal::named(conn, what))?;
        for seq in seqs {
            if let Some(body) = self.store.read(|conn| messages::body(conn, seq))? {
                self.pool_mut().unlearn(seq, &body);
            }
        }
        Ok(())
    }
}
