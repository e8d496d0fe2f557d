//! The rounds of the routing thread: it works off what waits, rests, and tidies up.
//!
//! It knows when there is work and how long there may be none. It must never know how a message is
//! decided about.

use std::panic::{self, AssertUnwindSafe};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::{Inner, clock, lock, pace};
use crate::message::UnixTime;
use crate::store::messages;

/// The routing thread's nice value: it gives way to the threads that receive and commit.
const ROUTER_NICE: i32 = 10;

/// How often expired things are forgotten, beside the start.
const TIDY: Duration = Duration::from_secs(600);

impl Inner {
    /// The routing thread: works off what waits, sleeps until there is more, tidies up.
    pub(super) fn route_until_stopped(&self) {
        // Deciding can wait; who delivers a mail is waiting. On Linux this is the thread's own.
        if let Err(error) = rustix::process::setpriority_process(None, ROUTER_NICE) {
            warn!(%error, "routing has the priority of receiving");
        }
        let mut tidied: Option<UnixTime> = None;
        loop {
            *lock(&self.round) = Some(Instant::now());
            let (began, before) = (Instant::now(), self.accepted.load(Ordering::Relaxed));
            let more = panic::catch_unwind(AssertUnwindSafe(|| self.route_batch(clock::now())));
            let mut rest = Duration::ZERO;
            let wait = match more {
                Ok(Ok(0)) => self.until_next_held(),
                Ok(Ok(decided)) => {
                    let accepted = self.accepted.load(Ordering::Relaxed).wrapping_sub(before);
                    rest = pace::rest_after(began.elapsed(), accepted, decided as u64);
                    Duration::ZERO
                }
                Ok(Err(failure)) => {
                    warn!(%failure, "routing waits for the database");
                    Duration::from_secs(1)
                }
                Err(_) => {
                    error!("routing ended in a panic; it goes on with the next messages");
                    Duration::from_millis(100)
                }
            };
            let now = clock::now();
            // A clock that was set back is no reason to wait for longer.
            if tidied.is_none_or(|then| now < then || now.since(then) > TIDY) {
                let first = tidied.replace(now).is_none();
                if let Err(failure) = self.tidy() {
                    warn!(%failure, "expired things could not be forgotten");
                }
                if !first {
                    self.snapshot.save(self, false);
                }
            }
            let mut signal = lock(&self.signal);
            if !rest.is_zero() {
                // Only the end of the gateway cuts a rest short; work is why there is one.
                let slept = self.signalled.wait_timeout_while(signal, rest, |signal| !signal.stop);
                signal = slept.unwrap_or_else(PoisonError::into_inner).0;
            }
            if !signal.stop && !signal.work && !wait.is_zero() {
                let slept = self.signalled.wait_timeout(signal, wait);
                signal = slept.unwrap_or_else(PoisonError::into_inner).0;
            }
            signal.work = false;
            if signal.stop {
                return;
            }
        }
    }

    /// How long the router may sleep when nothing waits: until a held message's time comes.
    fn until_next_held(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(60);
        match self.store.read(messages::next_held) {
            Ok(Some(time)) => time.since(clock::now()).clamp(Duration::from_millis(1), LONGEST),
            Ok(None) => LONGEST,
            Err(_) => Duration::from_secs(1),
        }
    }
}
