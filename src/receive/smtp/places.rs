//! Who is connected: how many in all, how many from one address, and who has been idle for
//! longest and gives way when all places are taken.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Options;
use crate::listen::network_of;
use crate::smtp::Reply;

/// The mark of a client that is not idle.
const BUSY: u64 = u64::MAX;

/// All places of a receiver.
#[derive(Debug)]
pub(super) struct Places {
    start: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    seats: HashMap<u64, Arc<Seat>>,
    per_network: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Seat {
    /// Milliseconds from the receiver's start to the client's last command, or [`BUSY`].
    idle_since: AtomicU64,
    give_way: Notify,
}

/// One connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    seat: Arc<Seat>,
    id: u64,
    network: IpAddr,
}

impl Default for Places {
    fn default() -> Self {
        Places { start: Instant::now(), taken: Mutex::default() }
    }
}

impl Places {
    /// A place for a client at `address`, or the reply that refuses it.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, options: &Options) -> Result<Place, Reply> {
        let network = network_of(address);
        let mut taken = self.lock();
        let from_there = taken.per_network.get(&network).copied().unwrap_or(0);
        if from_there >= options.max_connections_per_ip && !options.session.is_relay(address) {
            return Err(Reply::enough("Too many connections from your address"));
        }
        let max = options.max_connections;
        if taken.seats.len() >= max {
            // Those asked to leave may take a moment; an eighth more is the end in any case.
            let most = max.saturating_add(max / 8).saturating_add(1);
            if taken.seats.len() >= most || !self.ask_one_to_leave(&taken, options.give_way) {
                return Err(Reply::unavailable("Too many connections; try again later"));
            }
        }
        let id = taken.next;
        taken.next = id.wrapping_add(1);
        let seat = Arc::new(Seat { idle_since: AtomicU64::new(BUSY), give_way: Notify::new() });
        taken.seats.insert(id, Arc::clone(&seat));
        *taken.per_network.entry(network).or_insert(0) += 1;
        Ok(Place { places: Arc::clone(self), seat, id, network })
    }

    fn ask_one_to_leave(&self, taken: &Taken, give_way: Duration) -> bool {
        let latest = millis(self.start.elapsed().saturating_sub(give_way));
        let longest = taken
            .seats
            .values()
            .map(|seat| (seat.idle_since.load(Ordering::Relaxed), seat))
            .filter(|(since, _)| *since < latest)
            .min_by_key(|(since, _)| *since);
        let Some((_, seat)) = longest else {
            return false;
        };
        // Asked once is enough.
        seat.idle_since.store(BUSY, Ordering::Relaxed);
        seat.give_way.notify_one();
        true
    }

    /// Nothing between lock and unlock can leave the tables half done, so a poisoned lock is
    /// as good as any.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Notes since when the client is idle; `None`: it has a mail under way.
    pub(super) fn idle_since(&self, since: Option<Instant>) {
        let since = since.map_or(BUSY, |since| millis(since.saturating_duration_since(self.places.start)));
        self.seat.idle_since.store(since, Ordering::Relaxed);
    }

    /// Comes back when this client is to be sent away.
    pub(super) async fn give_way(&self) {
        self.seat.give_way.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.seats.remove(&self.id);
        if let Some(count) = taken.per_network.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                taken.per_network.remove(&self.network);
            }
        }
    }
}

fn millis(span: Duration) -> u64 {
    // One less than BUSY, in half a billion years.
    u64::try_from(span.as_millis()).unwrap_or(BUSY).min(BUSY - 1)
}
