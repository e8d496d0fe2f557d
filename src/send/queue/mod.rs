//! The queue's worker: leases what is due, has it carried, writes down what became of it.
//!
//! It knows deliveries, their schedule and how many may be under way. It must never know what is
//! in a delivery, nor how a transport works: the [`House`] makes and carries it.
//!
//! Crash argument: a delivery is leased in one transaction, carried, and marked in another,
//! after the next hop's 250. A crash before the lease: it is still due. A crash between lease and
//! 250, or between 250 and mark: the lease is over at the next start, and it goes out (again)
//! with the same T, the same bytes and the same Message-ID; the repeat is harmless. A crash after
//! the mark: done. There is no other moment.

mod carrier;
mod worker;

#[cfg(test)]
mod tests;

pub use carrier::{ComposeFault, MailCarrier};
pub use worker::{Drained, run};

use crate::message::{Address, UnixTime};
use crate::send::backoff::Schedule;
use crate::send::outcome::{Outcome, Reply, Trouble};
use crate::store::StoreError;
use crate::store::queue::{Attempt, Delivery, Ended, Lane};
use std::future::Future;
use std::time::Duration;

/// How much the worker does at a time, and for how long it tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which deliveries are worked off.
    pub lane: Lane,
    /// Deliveries under way in all.
    pub total: usize,
    /// Deliveries under way for one destination (a domain, a host).
    pub per_destination: usize,
    /// When to come back, and when to give up.
    pub schedule: Schedule,
    /// How long a lease lasts. An attempt is ended a minute before, so that it must be longer
    /// than the longest attempt that may succeed (`Deadlines::attempt`).
    pub lease: Duration,
    /// How long what is under way may take at a shutdown.
    pub drain: Duration,
}

impl Default for Settings {
    /// Mail; 8 at a time, 2 for one destination, leases of 2 hours, 25 seconds to drain.
    fn default() -> Self {
        Self {
            lane: Lane::Mail,
            total: 8,
            per_destination: 2,
            schedule: Schedule::default(),
            lease: Duration::from_secs(2 * 3600),
            drain: Duration::from_secs(25),
        }
    }
}

impl Settings {
    /// When an attempt is ended: a minute before its lease, or a tenth of it if that is less.
    pub(super) fn attempt(&self) -> Duration {
        self.lease.saturating_sub(Duration::from_secs(60).min(self.lease / 10))
    }
}

/// What the worker asks of the house that it works for.
pub trait House: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> UnixTime;

    /// Waits until then; may return early.
    fn sleep_until(&self, at: UnixTime) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(at.since(self.now()))
    }

    /// Makes the delivery's mail (or datagram, or request) and hands it to the next hop. Done
    /// means that the next hop took responsibility. The future may be dropped at any point; the
    /// delivery is carried again then.
    fn carry(&self, delivery: &Delivery) -> impl Future<Output = Outcome> + Send;

    /// What was said at the attempt that has just ended, if it failed; asked once.
    fn transcript(&self, _delivery: &Delivery) -> Option<String> {
        None
    }

    /// Called in the transaction that ends a delivery without success, so that a notice to the
    /// operator can be queued with it: both or neither, and one notice however often the process
    /// dies. An error undoes both, and it is tried again.
    ///
    /// # Errors
    /// Those of any write.
    fn ended(
        &self,
        tx: &rusqlite::Connection,
        delivery: &Delivery,
        end: &End,
        now: UnixTime,
    ) -> Result<(), StoreError>;

    /// The peer is busy. Called in the transaction that marks the attempt: if the house queues the delivery
    /// for somebody else, this one is over with it, both or neither. `None`: it is tried again later.
    ///
    /// # Errors
    /// Those of any write.
    fn elsewhere(
        &self,
        _tx: &rusqlite::Connection,
        _delivery: &Delivery,
        _now: UnixTime,
    ) -> Result<Option<Address>, StoreError> {
        Ok(None)
    }

    /// Something happened that a log or a counter may want to know.
    fn tell(&self, event: &Event<'_>);
}

/// How a delivery ended without success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The next hop refused it for good.
    Refused {
        /// A sentence for the operator.
        reason: String,
        /// What the next hop said, if it was asked.
        reply: Option<Reply>,
    },
    /// The peer has none of the messages because of which it was to get this one.
    Unrelated {
        /// A sentence for the operator.
        reason: String,
    },
    /// It was tried for as long as configured.
    GivenUp {
        /// What the last attempt met.
        reason: String,
        /// Whose trouble that was.
        trouble: Trouble,
    },
    /// The peer is busy, and another one is asked instead.
    Elsewhere {
        /// Who that is.
        to: Address,
        /// What the busy one said.
        reason: String,
    },
}

impl End {
    /// The sentence for the queue's `last_error`.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            End::Refused { reason, .. } | End::Unrelated { reason } => reason.clone(),
            End::GivenUp { reason, .. } => format!("given up: {reason}"),
            End::Elsewhere { to, reason } => format!("busy, so {to} is asked instead: {reason}"),
        }
    }
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is sent.
    Sent(Reply),
    /// It is tried again then.
    Again {
        /// When.
        at: UnixTime,
        /// Whose trouble it is.
        trouble: Trouble,
        /// A sentence for the operator.
        reason: String,
    },
    /// It is over.
    Over(End),
}

impl Next {
    /// The attempt that led to it, to be written down.
    fn attempt(&self, transcript: Option<String>, at: UnixTime) -> Attempt {
        let (ended, said) = match self {
            Next::Sent(reply) => (Ended::Sent, reply.to_string()),
            Next::Again { reason, .. } => (Ended::Again, reason.clone()),
            Next::Over(end) => (Ended::Failed, end.sentence()),
        };
        Attempt { at, ended, said, transcript: transcript.filter(|_| ended != Ended::Sent) }
    }
}

/// What happened, for logs and counters.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// An attempt is over, and what it led to is durable.
    Attempt {
        /// The delivery as it was leased.
        delivery: &'a Delivery,
        /// What became of it.
        next: &'a Next,
    },
    /// The database does not take what has to be written; it is tried again.
    StoreTrouble {
        /// What it says.
        error: &'a StoreError,
    },
}

/// What follows from an attempt's outcome. Pure.
#[must_use]
pub fn decide(delivery: &Delivery, outcome: Outcome, schedule: &Schedule, now: UnixTime) -> Next {
    match outcome {
        Outcome::Done(reply) => Next::Sent(reply),
        Outcome::Fail { reason, reply } => Next::Over(End::Refused { reason, reply }),
        Outcome::Unrelated { reason } => Next::Over(End::Unrelated { reason }),
        Outcome::Retry { trouble, reason } => {
            let age = now.since(delivery.created);
            match schedule.next(delivery.id, delivery.attempts, age) {
                Some(wait) => Next::Again { at: now.saturating_add(wait), trouble, reason },
                None => Next::Over(End::GivenUp { reason, trouble }),
            }
        }
    }
}
