//! The handle that everybody holds.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::block_on::block_on;
use super::journal::{self, Settled};
use super::readers::Readers;
use super::writer::{Job, Once, Repeatable, Request, Task, Work, Writer, checkpoint};
use super::{StoreError, files, meta, migrate};

/// Moments of a transaction, for harnesses that crash or copy the files there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Boundary {
    /// A job ran; nothing is committed.
    JobDone,
    /// All jobs of the batch ran; COMMIT comes next.
    BeforeCommit,
    /// The log is synced; no waiter was told.
    AfterCommit,
    /// Every waiter was told.
    Delivered,
    /// The log is about to be copied into the database file.
    BeforeCheckpoint,
    /// It was, as far as readers allowed.
    AfterCheckpoint,
}

/// How a database is opened. The default is what a gateway uses.
#[derive(Clone)]
pub struct Options {
    /// How long a lock held by another process is waited for.
    pub busy_timeout: Duration,
    /// Jobs that may be queued or running; further ones wait for their turn.
    pub jobs: usize,
    /// Most jobs of one transaction.
    pub batch: usize,
    /// Most connections that read at the same time.
    pub readers: usize,
    /// Pages in the write-ahead log after which it is copied into the database file.
    pub wal_pages: u32,
    /// The size in bytes that the log is cut to when it starts anew. At twice that size readers
    /// are waited for.
    pub wal_bytes: i64,
    /// Called by the writer thread at each [`Boundary`].
    pub watch: Option<Arc<dyn Fn(Boundary) + Send + Sync>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            busy_timeout: Duration::from_secs(5),
            jobs: 1024,
            batch: 256,
            readers: 4,
            wal_pages: 24_000,
            wal_bytes: 128 << 20,
            watch: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("busy_timeout", &self.busy_timeout)
            .field("jobs", &self.jobs)
            .field("batch", &self.batch)
            .field("readers", &self.readers)
            .finish_non_exhaustive()
    }
}

/// What the writer counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    jobs: AtomicU64,
    failures: AtomicU64,
    scrub_due: AtomicBool,
    /// Why the last transaction was lost; none if it was not.
    trouble: Mutex<Option<String>>,
}

impl Counters {
    pub(super) fn committed(&self, jobs: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.jobs.fetch_add(u64::try_from(jobs).unwrap_or(u64::MAX), Ordering::Relaxed);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn failed(&self, error: &StoreError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    fn trouble(&self) -> String {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    pub(super) fn scrub_due(&self, due: bool) {
        self.scrub_due.store(due, Ordering::Relaxed);
    }
}

/// How much there is, and how the writer fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Cached messages (with their text).
    pub messages: u64,
    /// Their header and body bytes.
    pub bytes: u64,
    /// Header lines remembered, of cached and of evicted messages.
    pub hops: u64,
    /// Raw mails kept, and their bytes.
    pub raw_mails: u64,
    /// Bytes of raw mails.
    pub raw_bytes: u64,
    /// Things kept aside.
    pub asides: u64,
    /// Their bytes.
    pub aside_bytes: u64,
    /// Rows of the queue, finished ones included.
    pub deliveries: u64,
    /// Size of the database file in bytes.
    pub database_bytes: u64,
    /// Size of the write-ahead log in bytes.
    pub log_bytes: u64,
    /// Transactions committed since the start.
    pub commits: u64,
    /// Jobs in these transactions.
    pub jobs: u64,
    /// Transactions lost since the start (disk full, ...).
    pub lost: u64,
    /// Why the last transaction was lost; empty if it was not.
    pub trouble: String,
    /// Removed bytes may still be in the log, because a reader holds it.
    pub scrub_due: bool,
}

/// The open database. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.0.path).finish_non_exhaustive()
    }
}

struct Inner {
    path: PathBuf,
    /// The database file, opened for looking at its bytes. Once open it stays so until all
    /// connections are closed: POSIX drops a process's locks on a file, SQLite's too, when the
    /// process closes any descriptor of it.
    raw_file: OnceLock<File>,
    readers: Readers,
    requests: Mutex<Option<Sender<Request>>>,
    room: Arc<Semaphore>,
    writer: Mutex<Option<JoinHandle<()>>>,
    writer_id: ThreadId,
    busy_timeout: Duration,
    counters: Arc<Counters>,
    settled: Settled,
    /// Held while the file of promises is written.
    journal: Mutex<()>,
}

impl Store {
    /// Opens (or creates, and migrates) the database in `data_dir`.
    ///
    /// # Errors
    /// [`StoreError::Place`] for a directory that can't be ours, [`StoreError::Newer`],
    /// [`StoreError::Foreign`], [`StoreError::Corrupt`], [`StoreError::Busy`], ...
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(data_dir, Options::default())
    }

    /// As [`Store::open`] with other options.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(data_dir: &Path, options: Options) -> Result<Self, StoreError> {
        files::prepare_dir(data_dir)?;
        let path = data_dir.join(files::FILE_NAME);
        files::prepare_file(&path)?;
        files::sync_log(&path)?;
        let mut conn = files::open_writer(&path, &options)?;
        migrate::migrate(&mut conn)?;
        meta::ensure_salt(&conn, journal::salt(data_dir))?;
        let settled = journal::settle(&mut conn, data_dir)?;
        // Finishes a scrub that a crash cut short, and keeps the log from growing over starts.
        // That it can't be done (a full disk, another process) is no reason not to start.
        if let Err(error) = checkpoint(&conn, options.busy_timeout) {
            tracing::warn!(%error, "the write-ahead log was not emptied at the start");
        }
        Self::start(path, conn, options, settled)
    }

    fn start(
        path: PathBuf,
        conn: Connection,
        options: Options,
        settled: Settled,
    ) -> Result<Self, StoreError> {
        let (sender, receiver) = channel();
        let counters = Arc::new(Counters::default());
        let busy_timeout = options.busy_timeout;
        let readers = Readers::new(&path, options.readers, options.busy_timeout);
        let room = Arc::new(Semaphore::new(options.jobs.clamp(1, Semaphore::MAX_PERMITS)));
        let writer = Writer::new(conn, &path, options, receiver, Arc::clone(&counters));
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Io(format!("the writer thread can't be started: {error}")))?;
        Ok(Store(Arc::new(Inner {
            path,
            raw_file: OnceLock::new(),
            readers,
            requests: Mutex::new(Some(sender)),
            room,
            writer_id: thread.thread().id(),
            writer: Mutex::new(Some(thread)),
            busy_timeout,
            counters,
            settled,
            journal: Mutex::new(()),
        })))
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What was found when it was opened.
    pub fn settled(&self) -> &Settled {
        &self.0.settled
    }

    /// To be held while the file of promises is written.
    pub(super) fn journal(&self) -> &Mutex<()> {
        &self.0.journal
    }

    /// The database file for reading its bytes. Nothing in this program may open and close that
    /// file while a store is open; see the field.
    pub(super) fn raw_file(&self) -> Result<&File, StoreError> {
        if self.0.raw_file.get().is_none() {
            let file = File::open(&self.0.path)
                .map_err(|error| StoreError::Io(format!("{}: {error}", self.0.path.display())))?;
            // The loser of a race must not be closed either.
            if let Err(file) = self.0.raw_file.set(file) {
                std::mem::forget(file);
            }
        }
        self.0.raw_file.get().ok_or(StoreError::Closed)
    }

    /// Runs `job` in a transaction and waits until it is durable. `Ok` means: committed, and
    /// synced to the disk. `Err` from the job undoes what it wrote, and nothing else.
    ///
    /// The job runs on the writer thread and holds everybody up: no waiting, no heavy computing.
    /// It must not end or start transactions, and can't call `write` itself.
    ///
    /// # Errors
    /// The job's own, or why the shared transaction was lost.
    pub fn write<R, F>(&self, job: F) -> Result<R, StoreError>
    where
        F: FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
        R: Send + 'static,
    {
        block_on(self.submit(Once(Some(job)), |job| Request::Job { job, scrub: false }))
    }

    /// As [`Store::write`], for async callers. Dropping the future before it was polled does
    /// nothing; dropping it later does not undo the job.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_async<R, F>(&self, job: F) -> impl Future<Output = Result<R, StoreError>> + Send + 'static
    where
        F: FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
        R: Send + 'static,
    {
        self.submit(Once(Some(job)), |job| Request::Job { job, scrub: false })
    }

    /// As [`Store::write_async`], for a job that may run more than once and changes nothing but the
    /// database: if it or a neighbour in the same transaction fails, they are undone and run again, once.
    /// That makes it cheaper. (A line that it writes to the log may come twice.)
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_repeatable_async<R, F>(
        &self,
        job: F,
    ) -> impl Future<Output = Result<R, StoreError>> + Send + 'static
    where
        F: Fn(&Connection) -> Result<R, StoreError> + Send + 'static,
        R: Send + 'static,
    {
        self.submit(Repeatable(job), |job| Request::Job { job, scrub: false })
    }

    /// As [`Store::write`], for jobs that remove something for good: before it returns, the
    /// write-ahead log is emptied, so that the removed bytes are not left there. If a reader
    /// prevents that, it is done as soon as the reader leaves (`stats().scrub_due` until then).
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn erase<R, F>(&self, job: F) -> Result<R, StoreError>
    where
        F: FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
        R: Send + 'static,
    {
        block_on(self.submit(Once(Some(job)), |job| Request::Job { job, scrub: true }))
    }

    /// Rewrites the whole database file without its free space. Takes as long as copying it;
    /// writers wait meanwhile. Up to 128 MiB it needs that much memory; a larger database needs
    /// that much room in SQLite's directory for temporary files (SQLITE_TMPDIR, else /var/tmp)
    /// and in data_dir.
    ///
    /// # Errors
    /// [`StoreError::Full`] above all.
    pub fn vacuum(&self) -> Result<(), StoreError> {
        let size = std::fs::metadata(self.path()).map_or(u64::MAX, |meta| meta.len());
        let in_file = size > super::traces::IN_MEMORY;
        let busy_timeout = self.0.busy_timeout;
        let job = move |conn: &Connection| {
            if in_file {
                conn.pragma_update(None, "temp_store", "FILE")?;
            }
            let done = conn.execute_batch("VACUUM");
            conn.pragma_update(None, "temp_store", "MEMORY")?;
            done?;
            checkpoint(conn, busy_timeout)?;
            Ok(())
        };
        block_on(self.submit(Once(Some(job)), Request::Alone))
    }

    fn submit<R, W>(
        &self,
        work: W,
        wrap: impl FnOnce(Box<dyn Job>) -> Request + Send + 'static,
    ) -> impl Future<Output = Result<R, StoreError>> + Send + 'static
    where
        W: Work<R> + 'static,
        R: Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        async move {
            if thread::current().id() == inner.writer_id {
                return Err(StoreError::Misuse("a job can't wait for another write"));
            }
            let permit = Arc::clone(&inner.room).acquire_owned().await.map_err(|_| StoreError::Closed)?;
            let (reply, result) = oneshot::channel();
            let request = wrap(Box::new(Task { work, outcome: None, reply, permit }));
            inner.send(request)?;
            drop(inner);
            result.await.unwrap_or(Err(StoreError::Closed))
        }
    }

    /// Reads, on this thread, in one read transaction: all queries of `work` see the same
    /// moment, and only what is durable. Waits while all reading connections are in use.
    ///
    /// # Errors
    /// The closure's own, or that no connection could be opened.
    pub fn read<R>(&self, work: impl FnOnce(&Connection) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.0.readers.with(work)
    }

    /// As [`Store::read`], on tokio's threads for blocking work.
    ///
    /// # Errors
    /// As [`Store::read`]; [`StoreError::Panicked`] if the closure panicked.
    pub async fn read_async<R, F>(&self, work: F) -> Result<R, StoreError>
    where
        F: FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
        R: Send + 'static,
    {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || store.read(work)).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Panicked(error.to_string())),
        }
    }

    /// How many more jobs may be queued now.
    pub fn free_room(&self) -> usize {
        self.0.room.available_permits()
    }

    /// How much there is.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn stats(&self) -> Result<Stats, StoreError> {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        let mut stats = Stats {
            database_bytes: size(&self.0.path),
            log_bytes: size(&files::wal_file(&self.0.path)),
            commits: self.0.counters.commits.load(Ordering::Relaxed),
            jobs: self.0.counters.jobs.load(Ordering::Relaxed),
            lost: self.0.counters.failures.load(Ordering::Relaxed),
            trouble: self.0.counters.trouble(),
            scrub_due: self.0.counters.scrub_due.load(Ordering::Relaxed),
            ..Stats::default()
        };
        self.read(|conn| {
            let total = |what| meta::total(conn, what);
            (stats.messages, stats.bytes) = total("text")?;
            (stats.hops, _) = total("hop")?;
            (stats.raw_mails, stats.raw_bytes) = total("raw_mail")?;
            (stats.asides, stats.aside_bytes) = total("aside")?;
            (stats.deliveries, _) = total("delivery")?;
            Ok(())
        })?;
        Ok(stats)
    }

    /// Finishes what is queued, empties the write-ahead log and closes the files. Other handles
    /// get [`StoreError::Closed`] from now on. Closing again does nothing.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn send(&self, request: Request) -> Result<(), StoreError> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.as_ref().and_then(|sender| sender.send(request).ok()).ok_or(StoreError::Closed)
    }

    fn close(&self) {
        let sender = self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            let (done, _) = oneshot::channel();
            let _ = sender.send(Request::Close(done));
        }
        if thread::current().id() == self.writer_id {
            // The last handle went away inside a job: the thread ends by itself.
            return;
        }
        self.readers.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
