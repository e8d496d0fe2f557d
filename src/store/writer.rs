//! Group commit: the one thread that writes.
//!
//! Jobs wait in a queue. The thread opens a transaction, runs what is there, commits once, and only then
//! tells every waiter its result. A failing job is undone alone: each has a savepoint of its own, or, if it
//! can run again, shares one with its neighbours, which are all undone with it and then run again one by
//! one. (A savepoint makes SQLite copy each page that the job changes: a tenth of this thread's work.)
//! Under load many jobs share one sync of the disk; a single job
//! never waits for company. A batch takes in what waits already, and what comes for as long as the last commit
//! took: on a slow disk that makes large batches, of which each sync serves many. On a fast one it
//! leaves some clients for the next batch, so that they talk while this one is committed; if all
//! were taken in, all would wait for the disk and then the disk for all.
//!
//! Crash argument: a waiter hears "done" only after COMMIT returned, and in WAL mode with
//! synchronous=FULL that is after the log was synced. A crash before the sync loses the whole
//! transaction, of which nobody was told; a crash after it loses nothing. The log is emptied
//! only by a checkpoint, which syncs the database file first.
//!
//! A failed commit is told to every waiter of the batch. Whether its bytes reached the disk is
//! then unknown, as it is for a mail server whose connection breaks after the last dot: the
//! sender repeats, and the repeat is a duplicate.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Boundary, Options, StoreError, files};

/// A batch is closed after this time even if jobs keep coming, however slow the disk is: the first
/// one of it waits.
const BATCH_TIME: Duration = Duration::from_millis(100);
/// How long a checkpoint may wait for readers to leave.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(250);
/// How often a checkpoint that readers prevented is tried again.
const CHECKPOINT_AGAIN: Duration = Duration::from_millis(500);

/// What goes through the queue.
pub(super) enum Request {
    /// A job; `scrub`: the log is to be emptied after its commit, because the job removed
    /// something that has to disappear from the disk.
    Job { job: Box<dyn Job>, scrub: bool },
    /// Runs alone, outside a transaction (VACUUM, backup preparation).
    Alone(Box<dyn Job>),
    /// The last request.
    Close(oneshot::Sender<()>),
}

/// A closure with the place where its result waits for the commit.
pub(super) trait Job: Send {
    /// Runs the closure; `Err` means that its writes must be rolled back.
    fn run(&mut self, conn: &Connection) -> Result<(), StoreError>;
    /// Whether it may be run again after its writes were rolled back.
    fn can_run_again(&self) -> bool;
    /// Tells the waiter: its own result, or why the batch failed.
    fn finish(self: Box<Self>, batch: Result<(), StoreError>);
}

/// What a job does.
pub(super) trait Work<R>: Send {
    /// Whether [`Work::run`] may be called again.
    const REPEATABLE: bool;
    /// Does it.
    fn run(&mut self, conn: &Connection) -> Result<R, StoreError>;
}

/// A closure that is used up.
pub(super) struct Once<F>(pub(super) Option<F>);

impl<F, R> Work<R> for Once<F>
where
    F: FnOnce(&Connection) -> Result<R, StoreError> + Send,
{
    const REPEATABLE: bool = false;
    fn run(&mut self, conn: &Connection) -> Result<R, StoreError> {
        self.0.take().map_or(Err(StoreError::Misuse("a job was run twice")), |work| work(conn))
    }
}

/// A closure that changes nothing but the database.
pub(super) struct Repeatable<F>(pub(super) F);

impl<F, R> Work<R> for Repeatable<F>
where
    F: Fn(&Connection) -> Result<R, StoreError> + Send,
{
    const REPEATABLE: bool = true;
    fn run(&mut self, conn: &Connection) -> Result<R, StoreError> {
        (self.0)(conn)
    }
}

/// The only [`Job`].
pub(super) struct Task<W, R> {
    pub(super) work: W,
    pub(super) outcome: Option<Result<R, StoreError>>,
    pub(super) reply: oneshot::Sender<Result<R, StoreError>>,
    /// Held until the waiter was told: it bounds the jobs under way.
    pub(super) permit: OwnedSemaphorePermit,
}

impl<W, R> Job for Task<W, R>
where
    W: Work<R>,
    R: Send,
{
    fn run(&mut self, conn: &Connection) -> Result<(), StoreError> {
        // Safe to go on after a panic: all the job could leave half done is in the database,
        // and that is rolled back.
        let result = catch_unwind(AssertUnwindSafe(|| self.work.run(conn)))
            .unwrap_or_else(|panic| Err(StoreError::Panicked(panic_text(panic.as_ref()))));
        let verdict = result.as_ref().map(|_| ()).map_err(Clone::clone);
        self.outcome = Some(result);
        verdict
    }

    fn can_run_again(&self) -> bool {
        W::REPEATABLE
    }

    fn finish(self: Box<Self>, batch: Result<(), StoreError>) {
        let result = match (batch, self.outcome) {
            // The job's own error says more than the batch's.
            (_, Some(Err(own))) => Err(own),
            (Ok(()), Some(own)) => own,
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(StoreError::Closed),
        };
        drop(self.permit);
        // A waiter that went away does not undo its job.
        let _ = self.reply.send(result);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

/// Why the transaction is gone after a job: after some errors (disk full, I/O, out of memory) SQLite
/// rolls back everything.
fn lost(verdict: Result<(), StoreError>) -> StoreError {
    verdict.err().unwrap_or(StoreError::Misuse("a job ended the shared transaction"))
}

/// Which file a name stands for now.
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// The state of the writer thread.
pub(super) struct Writer {
    /// `None` after a failure that the connection may not have survived, until it is reopened.
    conn: Option<Connection>,
    path: PathBuf,
    /// Device and inode of the file that was opened.
    identity: Option<(u64, u64)>,
    options: Options,
    requests: Receiver<Request>,
    /// A scrubbing checkpoint that readers prevented so far.
    scrub_due: bool,
    /// When the log was last found too long.
    last_shrink: Option<Instant>,
    counters: std::sync::Arc<super::Counters>,
    /// How long a batch takes in what comes while it runs: as long as the last commit took.
    patience: Duration,
}

impl Writer {
    pub(super) fn new(
        conn: Connection,
        path: &Path,
        options: Options,
        requests: Receiver<Request>,
        counters: std::sync::Arc<super::Counters>,
    ) -> Self {
        Writer {
            conn: Some(conn),
            path: path.to_owned(),
            identity: identity(path),
            options,
            requests,
            scrub_due: false,
            last_shrink: None,
            counters,
            patience: Duration::ZERO,
        }
    }

    /// Serves until the last handle is gone or a Close comes, then empties the log and closes.
    pub(super) fn run(mut self) {
        let mut closing = None;
        loop {
            let request = if self.scrub_due {
                match self.requests.recv_timeout(CHECKPOINT_AGAIN) {
                    Ok(request) => request,
                    Err(RecvTimeoutError::Timeout) => {
                        self.scrub();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            } else {
                match self.requests.recv() {
                    Ok(request) => request,
                    Err(_) => break,
                }
            };
            match request {
                Request::Job { job, scrub } => {
                    if let Some(request) = self.batch(job, scrub) {
                        match request {
                            Request::Alone(job) => self.alone(job),
                            Request::Close(done) => {
                                closing = Some(done);
                                break;
                            }
                            Request::Job { .. } => {}
                        }
                    }
                }
                Request::Alone(job) => self.alone(job),
                Request::Close(done) => {
                    closing = Some(done);
                    break;
                }
            }
        }
        self.shut();
        // What was still queued behind the Close hears that it was too late.
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Job { job, .. } | Request::Alone(job) => job.finish(Err(StoreError::Closed)),
                Request::Close(done) => drop(done),
            }
        }
        if let Some(done) = closing {
            let _ = done.send(());
        }
    }

    fn shut(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        self.at(Boundary::BeforeCheckpoint);
        if let Err(error) = checkpoint(&conn, self.options.busy_timeout) {
            tracing::warn!(%error, "the write-ahead log was not emptied at close; the next start reads it");
        }
        self.at(Boundary::AfterCheckpoint);
        if let Err((_, error)) = conn.close() {
            tracing::warn!(%error, "closing the database");
        }
    }

    /// Runs `first` and what waits behind it in one transaction. Returns a request that is not a
    /// job and so ended the batch.
    fn batch(&mut self, first: Box<dyn Job>, first_scrubs: bool) -> Option<Request> {
        let started = Instant::now();
        let mut waiting: Vec<Box<dyn Job>> = Vec::new();
        let mut after = None;
        let mut scrub = false;
        if let Err(error) = self.begin() {
            // Everybody who came while the lock was waited for has waited with us: telling them
            // now is kinder than one busy timeout after the other. All are taken out before
            // anyone is told: who comes after that gets a try of his own.
            self.counters.failed(&error);
            let mut together = vec![first];
            together.extend(self.waiting(usize::MAX, &mut after).into_iter().map(|(job, _)| job));
            for job in together {
                job.finish(Err(error.clone()));
            }
            return after;
        }
        let mut ready = self.waiting(self.options.batch.saturating_sub(1), &mut after);
        let mut next = Some((first, first_scrubs));
        // How many at the end of `waiting` share a savepoint.
        let mut together = 0;
        while let Some((job, scrubs)) = next {
            scrub |= scrubs;
            waiting.push(job);
            if let Err(error) = self.run_last(&mut waiting, &mut together) {
                // The transaction is gone, and with it what the earlier jobs wrote. Those that are
                // still ready would find the same disk.
                waiting.extend(ready.into_iter().map(|(job, _)| job));
                self.abandon(waiting, &error);
                return after;
            }
            self.at(Boundary::JobDone);
            next = ready.pop_front();
            if next.is_none()
                && after.is_none()
                && waiting.len() < self.options.batch
                && started.elapsed() < self.patience
            {
                next = self.waiting(1, &mut after).pop_front();
            }
        }
        let executed = Instant::now();
        self.at(Boundary::BeforeCommit);
        if let Err(error) = self.commit() {
            self.abandon(waiting, &error);
            return after;
        }
        self.counters.committed(waiting.len());
        self.patience = executed.elapsed().min(BATCH_TIME);
        self.at(Boundary::AfterCommit);
        if scrub {
            // Before the waiters hear "removed", so that it is true of the files as well.
            self.scrub();
        }
        for job in waiting {
            job.finish(Ok(()));
        }
        self.at(Boundary::Delivered);
        self.bound_log();
        after
    }

    /// Takes out jobs that wait, up to `most`; another request ends it and goes into `after`.
    fn waiting(&self, most: usize, after: &mut Option<Request>) -> VecDeque<(Box<dyn Job>, bool)> {
        let mut jobs = VecDeque::new();
        while jobs.len() < most
            && after.is_none()
            && let Ok(request) = self.requests.try_recv()
        {
            match request {
                Request::Job { job, scrub } => jobs.push_back((job, scrub)),
                other => *after = Some(other),
            }
        }
        jobs
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        // A commit into a file that was moved or deleted under us would be acknowledged and then
        // be missing after the next start; so the name must still stand for the file we opened.
        if identity(&self.path) != self.identity {
            let gone = format!("{} was moved, deleted or replaced while it was in use", self.path.display());
            tracing::error!("{gone}: nothing is stored until it is back, or until a restart");
            return Err(StoreError::Io(gone));
        }
        if self.conn.is_none() {
            self.conn = Some(files::open_writer(&self.path, &self.options)?);
            tracing::info!("the database was opened again after an error");
        }
        let result = match &self.conn {
            // IMMEDIATE takes the write lock now: a job can't fail half-way because another
            // process holds it.
            Some(conn) => conn.execute_batch("BEGIN IMMEDIATE").map_err(StoreError::from),
            None => Err(StoreError::Closed),
        };
        if let Err(error) = &result {
            tracing::warn!(%error, "no transaction could be started");
            if !matches!(error, StoreError::Busy(_)) {
                self.conn = None;
            }
        }
        result
    }

    /// Runs the last of `jobs`, in the savepoint that it shares with the `together` ones before it if
    /// all of them can run again. `Err`: the whole transaction was lost.
    fn run_last(&self, jobs: &mut [Box<dyn Job>], together: &mut usize) -> Result<(), StoreError> {
        let Some(conn) = &self.conn else {
            return Err(StoreError::Closed);
        };
        let Some((last, before)) = jobs.split_last_mut() else { return Ok(()) };
        if !last.can_run_again() {
            if std::mem::take(together) > 0 {
                conn.prepare_cached("RELEASE together")?.execute([])?;
            }
            return self.in_savepoint(last.as_mut());
        }
        if *together == 0 {
            conn.prepare_cached("SAVEPOINT together")?.execute([])?;
        }
        let verdict = last.run(conn);
        if conn.is_autocommit() {
            return Err(lost(verdict));
        }
        if verdict.is_ok() {
            *together = together.saturating_add(1);
            return Ok(());
        }
        conn.prepare_cached("ROLLBACK TO together")?.execute([])?;
        conn.prepare_cached("RELEASE together")?.execute([])?;
        if *together == 0 {
            return Ok(());
        }
        // The one that failed fails again, if it was no accident.
        let first = before.len().saturating_sub(std::mem::take(together));
        for job in before.iter_mut().skip(first).chain([last]) {
            self.in_savepoint(job.as_mut())?;
        }
        Ok(())
    }

    /// Runs one job. `Err`: the whole transaction was lost.
    fn in_savepoint(&self, job: &mut dyn Job) -> Result<(), StoreError> {
        let Some(conn) = &self.conn else {
            return Err(StoreError::Closed);
        };
        conn.prepare_cached("SAVEPOINT job")?.execute([])?;
        let verdict = job.run(conn);
        if conn.is_autocommit() {
            return Err(lost(verdict));
        }
        if verdict.is_err() {
            conn.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        conn.prepare_cached("RELEASE job")?.execute([])?;
        Ok(())
    }

    fn commit(&self) -> Result<(), StoreError> {
        let Some(conn) = &self.conn else {
            return Err(StoreError::Closed);
        };
        Ok(conn.execute_batch("COMMIT")?)
    }

    /// Rolls the transaction back and tells every waiter why.
    fn abandon(&mut self, waiting: Vec<Box<dyn Job>>, error: &StoreError) {
        tracing::warn!(%error, jobs = waiting.len(), "a transaction was lost");
        if let Some(conn) = &self.conn {
            let healthy = conn.is_autocommit() || conn.execute_batch("ROLLBACK").is_ok();
            // Full and busy pass by themselves. After anything else the connection's own idea
            // of the file is not to be trusted.
            if !healthy || !matches!(error, StoreError::Full(_) | StoreError::Busy(_) | StoreError::Misuse(_))
            {
                self.conn = None;
            }
        }
        self.counters.failed(error);
        for job in waiting {
            job.finish(Err(error.clone()));
        }
    }

    fn alone(&mut self, mut job: Box<dyn Job>) {
        if self.conn.is_none() {
            match files::open_writer(&self.path, &self.options) {
                Ok(conn) => self.conn = Some(conn),
                Err(error) => return job.finish(Err(error)),
            }
        }
        let Some(conn) = &self.conn else {
            return job.finish(Err(StoreError::Closed));
        };
        let verdict = job.run(conn);
        if !conn.is_autocommit() && conn.execute_batch("ROLLBACK").is_err() {
            self.conn = None;
        }
        job.finish(verdict);
    }

    /// Copies the log into the database file and empties it. What readers prevent is tried again
    /// until it works; a start does it too, so a crash in between loses nothing.
    fn scrub(&mut self) {
        let Some(conn) = &self.conn else { return };
        self.at(Boundary::BeforeCheckpoint);
        let done = checkpoint(conn, self.options.busy_timeout);
        self.at(Boundary::AfterCheckpoint);
        self.scrub_due = !matches!(done, Ok(true));
        self.counters.scrub_due(self.scrub_due);
        if let Err(error) = done {
            tracing::warn!(%error, "emptying the write-ahead log");
        }
    }

    /// SQLite restarts the log after a complete checkpoint, but a reader that never leaves
    /// prevents that. When the log is twice its limit, the readers are waited for, briefly.
    fn bound_log(&mut self) {
        let length = std::fs::metadata(files::wal_file(&self.path)).map_or(0, |meta| meta.len());
        if i64::try_from(length).unwrap_or(i64::MAX) <= self.options.wal_bytes.saturating_mul(2) {
            return;
        }
        if self.last_shrink.is_some_and(|at| at.elapsed() < Duration::from_secs(1)) {
            return;
        }
        self.last_shrink = Some(Instant::now());
        let Some(conn) = &self.conn else { return };
        if let Err(error) = checkpoint(conn, self.options.busy_timeout) {
            tracing::warn!(%error, length, "the write-ahead log is long and can't be emptied");
        }
    }

    fn at(&self, boundary: Boundary) {
        if let Some(watch) = &self.options.watch {
            watch(boundary);
        }
    }
}

/// Copies the log into the database file and empties it; says whether readers let that happen.
/// They are waited for only briefly; afterwards the connection waits for `busy_timeout` again.
pub(super) fn checkpoint(conn: &Connection, busy_timeout: Duration) -> Result<bool, StoreError> {
    conn.busy_timeout(CHECKPOINT_WAIT)?;
    let busy = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    conn.busy_timeout(busy_timeout)?;
    Ok(busy? == 0)
}
