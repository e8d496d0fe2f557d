//! A bounded pool of connections that only read.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::{StoreError, files};

pub(super) struct Readers {
    path: PathBuf,
    busy_timeout: Duration,
    most: usize,
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    idle: Vec<Connection>,
    open: usize,
    closed: bool,
}

impl Readers {
    pub(super) fn new(path: &Path, most: usize, busy_timeout: Duration) -> Self {
        Readers {
            path: path.to_owned(),
            busy_timeout,
            most: most.max(1),
            state: Mutex::new(State { idle: Vec::new(), open: 0, closed: false }),
            returned: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is only counters and a list; a panic elsewhere can't leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one read transaction: all its queries see the same moment.
    pub(super) fn with<R>(
        &self,
        work: impl FnOnce(&Connection) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let conn = self.take()?;
        let result = catch_unwind(AssertUnwindSafe(|| {
            conn.execute_batch("BEGIN DEFERRED")?;
            let result = work(&conn);
            conn.execute_batch("COMMIT")?;
            result
        }));
        match result {
            Ok(result) => {
                let usable = conn.is_autocommit() || conn.execute_batch("ROLLBACK").is_ok();
                let broken = matches!(result, Err(StoreError::Io(_) | StoreError::Corrupt(_)));
                self.give_back((usable && !broken).then_some(conn));
                result
            }
            Err(panic) => {
                drop(conn);
                self.give_back(None);
                resume_unwind(panic)
            }
        }
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(StoreError::Closed);
            }
            if let Some(conn) = state.idle.pop() {
                return Ok(conn);
            }
            if state.open < self.most {
                state.open += 1;
                drop(state);
                let opened = files::open_reader(&self.path, self.busy_timeout);
                if opened.is_err() {
                    self.give_back(None);
                }
                return opened;
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, conn: Option<Connection>) {
        let mut state = self.lock();
        match conn {
            Some(conn) if !state.closed => state.idle.push(conn),
            _ => state.open = state.open.saturating_sub(1),
        }
        drop(state);
        self.returned.notify_all();
    }

    /// Closes the idle connections; no new ones are given out. Waits for those in use.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        state.open = state.open.saturating_sub(idle.len());
        drop(idle);
        self.returned.notify_all();
        while state.open > 0 {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
