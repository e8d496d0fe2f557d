//! What ends a wait early: a stop, or the wish to look into the folder now.
//!
//! It knows a pair of sockets and poll(2). Many may wake; one thread waits.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long what is under way may go on after a stop: a server that is well answers in that time.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// The end that wakes, and what is wanted.
#[derive(Clone, Debug)]
pub(super) struct Waker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    out: UnixStream,
    /// When what is under way has to be over.
    end: OnceLock<Instant>,
    /// How often somebody wanted the folder to be looked at.
    asked: AtomicU64,
}

/// The end that waits.
#[derive(Debug)]
pub(super) struct Sleeper {
    waker: Waker,
    inward: UnixStream,
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There is something to read.
    Readable,
    /// Somebody wants something.
    Called,
    /// Time is up.
    TimeUp,
}

/// A pair.
///
/// # Errors
/// There are no more descriptors.
pub(super) fn pair() -> io::Result<(Waker, Sleeper)> {
    let (out, inward) = UnixStream::pair()?;
    out.set_nonblocking(true)?;
    inward.set_nonblocking(true)?;
    let inner = Inner { out, end: OnceLock::new(), asked: AtomicU64::new(0) };
    let waker = Waker(Arc::new(inner));
    Ok((waker.clone(), Sleeper { waker, inward }))
}

impl Waker {
    /// From now on no wait lasts, and no answer takes longer than [`GRACE`].
    pub(super) fn stop(&self) {
        let _ = self.0.end.set(Instant::now() + GRACE);
        self.call();
    }

    /// Look into the folder now. Returns the number of this wish.
    pub(super) fn ask(&self) -> u64 {
        let asked = self.0.asked.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        self.call();
        asked
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.end.get().is_some()
    }

    /// How often was asked so far.
    pub(super) fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::SeqCst)
    }

    fn call(&self) {
        // Full: it will wake up anyway.
        let _ = (&self.0.out).write(&[1]);
    }
}

impl Sleeper {
    /// When what is under way has to be over, after a stop.
    pub(super) fn end(&self) -> Option<Instant> {
        self.waker.0.end.get().copied()
    }

    /// Waits until there is something to read at `socket`, somebody calls, or the time is up.
    pub(super) fn wait(&self, socket: Option<BorrowedFd<'_>>, time: Duration) -> io::Result<Woken> {
        let until = Instant::now().checked_add(time);
        if self.waker.is_stopped() {
            return Ok(Woken::Called);
        }
        let mut all = vec![PollFd::from_borrowed_fd(self.inward.as_fd(), PollFlags::IN)];
        all.extend(socket.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)));
        loop {
            let left = until.map_or(time, |until| until.saturating_duration_since(Instant::now()));
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            match poll(&mut all, Some(&left)) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let is = |at: usize| all.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let (called, readable) = (is(0), is(1));
        if called {
            let mut calls = [0u8; 64];
            while (&self.inward).read(&mut calls).is_ok_and(|read| read == calls.len()) {}
            return Ok(Woken::Called);
        }
        Ok(if readable { Woken::Readable } else { Woken::TimeUp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_somebody_calls_or_the_time_is_up() {
        let (waker, sleeper) = pair().unwrap();
        assert_eq!(sleeper.wait(None, Duration::from_millis(1)).unwrap(), Woken::TimeUp);
        waker.ask();
        waker.ask();
        let long = Duration::from_secs(60);
        assert_eq!(sleeper.wait(None, long).unwrap(), Woken::Called);
        assert_eq!(waker.asked(), 2);
        assert_eq!(sleeper.wait(None, Duration::from_millis(1)).unwrap(), Woken::TimeUp, "calls are used up");
        let (mut far, near) = UnixStream::pair().unwrap();
        far.write_all(b"x").unwrap();
        assert_eq!(sleeper.wait(Some(near.as_fd()), long).unwrap(), Woken::Readable);
        waker.stop();
        for _ in 0..3 {
            assert_eq!(sleeper.wait(Some(near.as_fd()), long).unwrap(), Woken::Called, "a stop is for good");
        }
    }
}
