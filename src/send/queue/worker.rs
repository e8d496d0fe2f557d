//! The loop: lease, carry, write down; wake up when something is due or somebody says so.

use super::{End, Event, House, Next, Settings, decide};
use crate::message::UnixTime;
use crate::send::outcome::{Outcome, Trouble};
use crate::store::queue::{Delivery, DeliveryState};
use crate::store::{Store, StoreError, queue};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// However long nothing is due, the queue is looked at once in a while: the clock may be set,
/// and another process may write to the database.
const LOOK_AFTER: Duration = Duration::from_secs(60);
/// The same while something due waits for its destination.
const LOOK_AFTER_WHEN_BUSY: Duration = Duration::from_secs(2);
/// The first wait when the database does not answer, and the longest.
const STORE_WAIT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// What was left at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Deliveries whose end was awaited after the shutdown began.
    pub finished: usize,
    /// Deliveries that were cut off; they go out after the next start.
    pub cut_off: usize,
}

/// Works until `shutdown` is ready, then lets what is under way finish for `settings.drain`.
///
/// `wake` is to be notified by whoever puts something into the queue that is due at once.
/// One worker at a time for a lane of a store: at the start all leases are taken for those of a process
/// that died.
pub async fn run<H: House>(
    store: Store,
    house: Arc<H>,
    settings: Settings,
    wake: Arc<Notify>,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let worker = Worker { store, house, settings };
    tokio::pin!(shutdown);
    tokio::select! {
        biased;
        () = &mut shutdown => return Drained::default(),
        _ = worker.insist(move |tx| queue::recover_lane(tx, settings.lane)) => {}
    }
    let mut under_way = JoinSet::new();
    loop {
        let round = worker.round(&mut under_way, &wake);
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = round => {}
        }
    }
    worker.drain(under_way).await
}

struct Worker<H> {
    store: Store,
    house: Arc<H>,
    settings: Settings,
}

impl<H> Clone for Worker<H> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), house: Arc::clone(&self.house), settings: self.settings }
    }
}

impl<H: House> Worker<H> {
    /// Starts what is due and waits for the next change.
    ///
    /// May be dropped at any await: what is leased by then and not started is found by
    /// `recover` at the next start.
    async fn round(&self, under_way: &mut JoinSet<()>, wake: &Notify) {
        // Asked for before the queue is looked at: what is put in afterwards wakes us.
        let woken = wake.notified();
        let now = self.house.now();
        let free = self.settings.total.saturating_sub(under_way.len());
        let lane = self.settings.lane;
        let due = self.insist_read(move |conn| queue::next_due(conn, lane)).await;
        let mut look_after = LOOK_AFTER;
        if free > 0 && due.is_some_and(|at| at <= now) {
            let Settings { per_destination, lease, .. } = self.settings;
            let leased =
                self.insist(move |tx| queue::lease(tx, lane, now, free, per_destination, lease)).await;
            let found = !leased.is_empty();
            for delivery in leased {
                under_way.spawn(self.clone().attempt(delivery));
            }
            if found {
                return;
            }
            // What is due waits for a turn at its destination, which ends with a task of ours;
            // but it hides what becomes due next elsewhere.
            look_after = LOOK_AFTER_WHEN_BUSY;
        }
        let latest = now.saturating_add(look_after);
        let until = due.filter(|at| *at > now).map_or(latest, |at| at.min(latest));
        tokio::select! {
            () = woken => {}
            Some(_) = under_way.join_next() => {}
            () = self.house.sleep_until(until) => {}
        }
    }

    /// Carries one delivery and writes down what became of it.
    async fn attempt(self, delivery: Delivery) {
        let outcome = self.carried(&delivery).await;
        let transcript = self.house.transcript(&delivery);
        let now = self.house.now();
        let next = decide(&delivery, outcome, &self.settings.schedule, now);
        let next = self.mark(&delivery, next, transcript, now).await;
        self.house.tell(&Event::Attempt { delivery: &delivery, next: &next });
    }

    async fn carried(&self, delivery: &Delivery) -> Outcome {
        let limit = self.settings.attempt();
        // A task of its own, so that a fault of this program at one delivery ends nothing else;
        // in a set, because that ends the task when this future is dropped.
        let mut task = JoinSet::new();
        let (house, subject) = (Arc::clone(&self.house), delivery.clone());
        task.spawn(async move { house.carry(&subject).await });
        match tokio::time::timeout(limit, task.join_next()).await {
            Ok(Some(Ok(outcome))) => outcome,
            Ok(Some(Err(error))) => Outcome::Retry {
                trouble: Trouble::Later,
                reason: format!("an error in the program while sending: {error}"),
            },
            Ok(None) | Err(_) => Outcome::Retry {
                trouble: Trouble::Network,
                reason: format!("the attempt took longer than {} s", limit.as_secs_f32()),
            },
        }
    }

    /// Writes down what became of a delivery, and gives what that was in the end. What the house adds is
    /// left out if the database will never take it: the mark itself must stand, or the delivery would be
    /// sent for ever.
    async fn mark(&self, delivery: &Delivery, next: Next, transcript: Option<String>, now: UnixTime) -> Next {
        for with_house in [true, false] {
            let house = with_house.then(|| Arc::clone(&self.house));
            let (delivery, next, transcript) = (delivery.clone(), next.clone(), transcript.clone());
            // An error undoes all of it: what is transient is repeated, what is not is done without the house.
            let job = move |tx: &rusqlite::Connection| {
                write_down(tx, house.as_deref(), (&delivery, &next, &transcript), now)
            };
            match self.insist_while(StoreError::is_transient, job).await {
                Ok(next) => return next,
                Err(error) => self.house.tell(&Event::StoreTrouble { error: &error }),
            }
        }
        next
    }

    /// Repeats a job until the database takes it. A full disk must not lose what was sent; while
    /// this waits, the lease holds the delivery.
    async fn insist<R, F>(&self, job: F) -> R
    where
        F: Fn(&rusqlite::Connection) -> Result<R, StoreError> + Send + Sync + 'static,
        R: Send + 'static,
    {
        let job = Arc::new(job);
        loop {
            let job = Arc::clone(&job);
            if let Ok(result) = self.insist_while(|_| true, move |tx| job(tx)).await {
                return result;
            }
        }
    }

    /// The same for as long as its errors are such; else the error.
    async fn insist_while<R, F>(&self, passes: fn(&StoreError) -> bool, job: F) -> Result<R, StoreError>
    where
        F: Fn(&rusqlite::Connection) -> Result<R, StoreError> + Send + Sync + 'static,
        R: Send + 'static,
    {
        let job = Arc::new(job);
        let mut wait = STORE_WAIT.0;
        loop {
            let job = Arc::clone(&job);
            match self.store.write_async(move |tx| job(tx)).await {
                Ok(result) => return Ok(result),
                Err(error) if passes(&error) => wait = self.pause(&error, wait).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn insist_read<R: Send + 'static>(
        &self,
        work: impl Fn(&rusqlite::Connection) -> Result<R, StoreError> + Copy + Send + 'static,
    ) -> R {
        let mut wait = STORE_WAIT.0;
        loop {
            match self.store.read_async(work).await {
                Ok(result) => return result,
                Err(error) => wait = self.pause(&error, wait).await,
            }
        }
    }

    async fn pause(&self, error: &StoreError, wait: Duration) -> Duration {
        self.house.tell(&Event::StoreTrouble { error });
        self.house.sleep_until(self.house.now().saturating_add(wait)).await;
        (wait * 2).min(STORE_WAIT.1)
    }

    async fn drain(&self, mut under_way: JoinSet<()>) -> Drained {
        while under_way.try_join_next().is_some() {}
        let total = under_way.len();
        let all = async { while under_way.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(self.settings.drain, all).await;
        let cut_off = under_way.len();
        under_way.shutdown().await;
        Drained { finished: total.saturating_sub(cut_off), cut_off }
    }
}

/// One transaction: the delivery's mark and what the house adds to it. Gives what became of it.
fn write_down<H: House>(
    tx: &rusqlite::Connection,
    house: Option<&H>,
    (delivery, next, transcript): (&Delivery, &Next, &Option<String>),
    now: UnixTime,
) -> Result<Next, StoreError> {
    let next = match (house, next) {
        (Some(house), Next::Again { trouble: Trouble::Busy, reason, .. }) if is_leased(tx, delivery.id)? => {
            match house.elsewhere(tx, delivery, now)? {
                Some(to) => Next::Over(End::Elsewhere { to, reason: reason.clone() }),
                None => next.clone(),
            }
        }
        // What it is sent for was added to while the peer was asked: it is asked again.
        (_, Next::Over(End::Unrelated { reason }))
            if queue::get(tx, delivery.id)?.is_some_and(|row| row.detail != delivery.detail) =>
        {
            Next::Again { at: now, trouble: Trouble::Later, reason: reason.clone() }
        }
        _ => next.clone(),
    };
    queue::note_attempt(tx, delivery.id, &next.attempt(transcript.clone(), now))?;
    match &next {
        Next::Sent(_) => queue::succeed(tx, delivery.id, now).map(drop)?,
        Next::Again { at, reason, .. } => queue::retry(tx, delivery.id, *at, reason).map(drop)?,
        Next::Over(end) => {
            let ended = queue::fail(tx, delivery.id, now, &end.sentence())?;
            if let Some(house) = house.filter(|_| ended && !matches!(end, End::Elsewhere { .. })) {
                house.ended(tx, delivery, end, now)?;
            }
        }
    }
    Ok(next)
}

/// Whether nobody has held or dropped it meanwhile: then nobody else is to get it either.
fn is_leased(tx: &rusqlite::Connection, id: i64) -> Result<bool, StoreError> {
    Ok(queue::get(tx, id)?.is_some_and(|row| row.state == DeliveryState::Leased))
}
