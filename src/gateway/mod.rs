//! The gateway ties the rooms together: the one door in ([`Gateway::admit_arrival`]), the routing
//! worker, the composer of what goes out, what verbs ask, start-up and shutdown.
//!
//! It knows messages, the pool, the store and the policy, and it reads the wall clock.
//! It must never know the details of any transport: mail comes in as bytes with an envelope,
//! and leaves through the queue.

mod admit;
mod aliases;
mod answers;
pub mod api;
mod ask;
mod bounce;
mod brake;
mod budget;
pub mod clock;
mod commands;
mod commit;
mod contacts;
pub mod control;
mod exchange;
mod figures;
mod filling;
mod filtering;
pub mod import;
mod keys_within;
pub mod learned;
pub mod lock;
mod notice;
pub mod origin;
mod outgoing;
mod pace;
pub mod people;
mod polling;
mod refused;
mod reply;
mod rounds;
mod route;
mod say;
pub mod sender;
mod signed;
mod snapshot;
mod steps;
mod tags;
mod texts;
mod trace;
mod view;
mod ways;
mod wording;
mod words;

#[cfg(test)]
mod tests;
pub mod worth;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tracing::{error, info, warn};

use commit::Outcome;
pub use outgoing::{Composed, Outgoing, Parcel};

use crate::authenticate::Authenticator;
use crate::config::Config;
use crate::message::Address;
use crate::metrics::Metrics;
use crate::policy::Block;
use crate::pool::{Limits, Pool};
use crate::receive::imap::Fate;
use crate::receive::{Arrival, Handler, Verdict};
use crate::smtp::Reply;
use crate::store::queue::{self, Lane};
use crate::store::{self, Store, StoreError, blocks, peers};

/// A mail above this is read on a thread for long work, so that the others of the runtime go on
/// answering.
const LONG_MAIL: usize = 128 << 10;

/// Long mails that are read at the same time, in KiB of their bytes: each takes several times its
/// size while it is taken apart. More wait for their turn, which costs them nothing: there are not
/// more processors.
const LONG_MAILS_AT_ONCE: u32 = 32 << 10;

/// Passing mails that are learned at the same time.
const LEARNED_AT_ONCE: usize = 64;

/// Why a gateway can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The database can't be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A thread can't be started.
    #[error("the routing thread can't be started: {0}")]
    Thread(std::io::Error),
}

/// A running gateway. Clones are the same gateway.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("store", &self.0.store).finish_non_exhaustive()
    }
}

struct Inner {
    config: RwLock<Arc<Config>>,
    store: Store,
    pool: RwLock<Pool>,
    /// The pool's index on disk.
    snapshot: snapshot::Snapshot,
    /// What has left the pool and not yet the database: written down with the next decisions.
    unevicted: Mutex<Vec<i64>>,
    /// Our own addresses, one per transport.
    own: Vec<Address>,
    blocks: RwLock<Arc<Vec<Block>>>,
    /// Asks the DNS who wrote a mail; none if the configuration does not want that.
    authenticator: Option<Authenticator>,
    /// Turns for long mails, see [`LONG_MAILS_AT_ONCE`].
    long_mails: Semaphore,
    /// Places for passing mails that are learned, see [`LEARNED_AT_ONCE`].
    learning: Arc<Semaphore>,
    /// How often something came in that waits for the router.
    accepted: AtomicU64,
    /// Whether the router is to look for work, or to end.
    signal: Mutex<Signal>,
    signalled: Condvar,
    /// Tells the sender that something was queued.
    queued: sender::Bells,
    worker: Mutex<Option<JoinHandle<()>>>,
    /// Whether the thread of the key exchanges is to look for work, or to end.
    exchange_signal: Mutex<Signal>,
    exchange_signalled: Condvar,
    exchanger: Mutex<Option<JoinHandle<()>>>,
    started: Option<Instant>,
    /// When the routing thread last began a round; none before it runs.
    round: Mutex<Option<Instant>>,
    metrics: Metrics,
}

#[derive(Clone, Copy, Debug, Default)]
struct Signal {
    work: bool,
    stop: bool,
}

impl Gateway {
    /// Opens the database of this configuration and fills the pool from it, for one verb: what
    /// that verb stores is routed before it ends, and sent by the next daemon. The caller holds
    /// the [`lock::Lock`] of the data directory.
    ///
    /// # Errors
    /// The database can't be used.
    pub fn open(config: &Config) -> Result<Gateway, GatewayError> {
        Self::open_with(config, store::Options::default())
    }

    /// As [`Gateway::open`], with other options for the database.
    ///
    /// # Errors
    /// As [`Gateway::open`].
    pub fn open_with(config: &Config, options: store::Options) -> Result<Gateway, GatewayError> {
        Self::build(config, options, false)
    }

    /// As [`Gateway::open`], with the routing thread running, until [`Gateway::close`].
    ///
    /// # Errors
    /// The database can't be used, or no thread can be started.
    pub fn start(config: &Config) -> Result<Gateway, GatewayError> {
        let gateway = Self::build(config, store::Options::default(), true)?;
        let inner = Arc::clone(&gateway.0);
        let worker = thread::Builder::new()
            .name("router".to_owned())
            .spawn(move || inner.route_until_stopped())
            .map_err(GatewayError::Thread)?;
        *lock(&gateway.0.worker) = Some(worker);
        let inner = Arc::clone(&gateway.0);
        let exchanger = thread::Builder::new()
            .name("key exchange".to_owned())
            .spawn(move || inner.exchange_until_stopped())
            .map_err(GatewayError::Thread)?;
        *lock(&gateway.0.exchanger) = Some(exchanger);
        Ok(gateway)
    }

    fn build(config: &Config, options: store::Options, daemon: bool) -> Result<Gateway, GatewayError> {
        let store = Store::open_with(&config.gateway.data_dir, options)?;
        let own = config.own_addresses();
        let limits = Limits {
            max_messages: config.pool.max_messages,
            max_bytes: config.pool.max_bytes,
            ..Limits::default()
        };
        let now = clock::now();
        let listed = config.listed();
        let settled = store.settled();
        if settled.restored {
            warn!(
                removed_again = settled.removed,
                held = settled.held,
                "the database is a copy that was put back: its queue is held (cmr-mail queue release)"
            );
        }
        let for_renewal = config.clone();
        store.write(move |tx| {
            queue::recover(tx)?;
            if store::take_renewal(tx)? {
                exchange::renew(tx, &for_renewal, now)?;
            }
            peers::set_all_listed(tx, &listed, now)
        })?;
        let snapshot = snapshot::Snapshot::new(&config.gateway.data_dir);
        let mut pool = filling::load(&store, config, limits, &snapshot)?;
        pool.pin(config.listed());
        let blocks = read_blocks(&store)?;
        Ok(Gateway(Arc::new(Inner {
            config: RwLock::new(Arc::new(config.clone())),
            store,
            pool: RwLock::new(pool),
            snapshot,
            unevicted: Mutex::default(),
            own,
            blocks: RwLock::new(Arc::new(blocks)),
            authenticator: origin::authenticator(config),
            long_mails: Semaphore::new(usize::try_from(LONG_MAILS_AT_ONCE).unwrap_or(usize::MAX)),
            learning: Arc::new(Semaphore::new(LEARNED_AT_ONCE)),
            accepted: AtomicU64::new(0),
            signal: Mutex::new(Signal { work: true, stop: false }),
            signalled: Condvar::new(),
            queued: sender::Bells::default(),
            worker: Mutex::new(None),
            exchange_signal: Mutex::new(Signal { work: true, stop: false }),
            exchange_signalled: Condvar::new(),
            exchanger: Mutex::new(None),
            started: daemon.then(Instant::now),
            round: Mutex::new(None),
            metrics: Metrics::default(),
        })))
    }

    /// Takes up a new configuration: policy, people, routing and the From of our mail at once. What
    /// [`Config::needs_restart`] names waits for the next start.
    ///
    /// # Errors
    /// The list of pinned peers can't be stored; the old configuration stays.
    pub fn reload(&self, config: &Config) -> Result<(), StoreError> {
        let (listed, now) = (config.listed(), clock::now());
        self.0.store.write(move |tx| peers::set_all_listed(tx, &listed, now))?;
        self.0.pool_mut().pin(config.listed());
        let mut new = config.clone();
        let old = self.0.config();
        new.gateway = old.gateway.clone();
        new.http.address.clone_from(&old.http.address);
        new.udp.address.clone_from(&old.udp.address);
        new.ssh.address.clone_from(&old.ssh.address);
        *write(&self.0.config) = Arc::new(new);
        Ok(())
    }

    /// The present configuration.
    pub fn config(&self) -> Arc<Config> {
        self.0.config()
    }

    /// How long ago the routing thread last began a round, at rest a minute at most; none if it does not
    /// run.
    pub fn router_rests(&self) -> Option<Duration> {
        lock(&self.0.round).map(|then| then.elapsed())
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Notified when something was put into the queue, for the worker of this lane.
    pub fn queued_in(&self, lane: Lane) -> Arc<Notify> {
        self.0.queued.of(lane)
    }

    /// Ends the routing thread after the messages it is at, and closes the database.
    pub fn close(&self) {
        lock(&self.0.signal).stop = true;
        self.0.signalled.notify_all();
        let worker = lock(&self.0.worker).take();
        if let Some(worker) = worker
            && worker.join().is_err()
        {
            error!("the routing thread ended in a panic");
        }
        lock(&self.0.exchange_signal).stop = true;
        self.0.exchange_signalled.notify_all();
        let exchanger = lock(&self.0.exchanger).take();
        if let Some(exchanger) = exchanger
            && exchanger.join().is_err()
        {
            error!("the thread of the key exchanges ended in a panic");
        }
        if self.0.started.is_some() {
            self.0.snapshot.save(&self.0, true);
        }
        self.0.store.close();
    }

    /// Routes what waits, here and now: for a verb without a daemon.
    ///
    /// # Errors
    /// The database can't be used.
    pub fn route_pending(&self) -> Result<(), StoreError> {
        while self.0.route_batch(clock::now())? > 0 {}
        Ok(())
    }

    /// The one door in: reads, judges and stores an arrival. Success is said after the commit.
    pub async fn admit_arrival(&self, arrival: Arrival) -> Verdict {
        self.admit_counted(arrival, None).await.0
    }

    /// As [`Gateway::admit_arrival`], with the ids of what was taken or known.
    /// `transport` is the name of the way it came by where its kind does not say it (`ssh`).
    pub(crate) async fn admit_counted(
        &self,
        arrival: Arrival,
        transport: Option<String>,
    ) -> (Verdict, Vec<String>) {
        let (verdict, ids, _) = self.admit_found(arrival, transport, None).await;
        (verdict, ids)
    }

    /// As [`Gateway::admit_counted`], for a mail that was found in a folder: what became of it is
    /// written down in the same transaction, and told if that is known.
    async fn admit_found(
        &self,
        arrival: Arrival,
        transport: Option<String>,
        found: Option<polling::Found>,
    ) -> (Verdict, Vec<String>, Option<Fate>) {
        let config = self.0.config();
        let blocks = Arc::clone(&read(&self.0.blocks));
        let now = clock::now();
        let via = arrival.via;
        let mailbox = found.as_ref().map(|found| found.account.clone());
        let finding = self.examine(&config, &arrival, mailbox.as_deref()).await;
        // After the questions to the DNS: a stranger's slow name server must not hold up others.
        let _turn = self.turn(arrival.raw.len()).await;
        let plan = if arrival.raw.len() > LONG_MAIL {
            let (config, inner) = (Arc::clone(&config), Arc::clone(&self.0));
            let work = move || admit::plan(&config, &inner.own, &blocks, arrival, finding, now);
            match polling::at_length(work, mailbox.is_some()).await {
                Ok(plan) => plan,
                Err(failed) => {
                    error!(%failed, "reading a mail failed");
                    let reply = Reply::trouble("this mail can't be read here at present");
                    return (reply.into(), Vec::new(), None);
                }
            }
        } else {
            admit::plan(&config, &self.0.own, &blocks, arrival, finding, now)
        };
        let plan = match self.looked_up(plan).await {
            Ok(plan) => admit::Plan { mailbox, ..plan },
            Err(failure) => {
                warn!(%failure, "a search failed");
                let reply =
                    Reply::trouble("nothing can be looked for here at present; please try again later");
                return (reply.into(), Vec::new(), None);
            }
        };
        let in_dialogue = plan.is_in_dialogue();
        let (size, client) = (plan.arrival.raw.len(), plan.arrival.peer);
        let author = plan.header.from.as_ref().map(|from| from.address.escape_debug().to_string());
        let job = move |tx: &rusqlite::Connection| {
            if found.as_ref().map_or(Ok(false), |found| found.is_settled(tx))? {
                return Ok((Outcome::default(), Some(Fate::Left)));
            }
            let outcome = plan.commit(&config, transport.as_deref(), tx)?;
            let fate = found.as_ref().map(|found| found.note(tx, &outcome, now)).transpose()?;
            Ok((outcome, fate))
        };
        match self.0.store.write_repeatable_async(job).await {
            Ok((outcome, fate)) => {
                if outcome.promises {
                    // Before anybody is told. What can't be noted now is noted at the next start.
                    let store = self.0.store.clone();
                    let noted = tokio::task::spawn_blocking(move || store.note_promises()).await;
                    if let Ok(Err(failure)) = noted {
                        warn!(%failure, "a stop could not be noted beside the database");
                    }
                }
                if outcome.wakes_router {
                    self.0.wake_router();
                }
                if outcome.wakes_sender {
                    self.0.queued.notify_one();
                }
                if outcome.wakes_exchange {
                    self.0.wake_exchanger();
                }
                let reply = view::reply(&outcome, in_dialogue);
                let ids = view::ids(&outcome);
                if fate == Some(Fate::Left) {
                    return (reply.into(), ids, fate);
                }
                let metrics = &self.0.metrics;
                metrics.arrived(via.as_str(), reply.code());
                metrics.messages(via.as_str(), "new", outcome.taken.len());
                metrics.messages(via.as_str(), "known", outcome.known.len());
                outcome.refused.iter().for_each(|part| metrics.refused(part.why.reason()));
                // Why something was refused is in the reply; an operator who is asked "where is my
                // mail?" finds it here, with who it was from.
                info!(
                    via = via.as_str(),
                    bytes = size,
                    code = reply.code(),
                    ids = ids.join(","),
                    client = client.map(|ip| ip.to_string()),
                    author,
                    refused = outcome.refused.len(),
                    why = if outcome.refused.is_empty() { String::new() } else { reply.text() },
                    "arrived"
                );
                (reply.into(), ids, fate)
            }
            Err(failure) => {
                warn!(via = via.as_str(), %failure, "nothing was stored");
                self.0.metrics.arrived(via.as_str(), 451);
                let reply = match failure {
                    StoreError::Full(_) => {
                        Reply::no_room("there is no room here at present; please try again later")
                    }
                    _ => {
                        Reply::trouble("the database does not answer here at present; please try again later")
                    }
                };
                (reply.into(), Vec::new(), None)
            }
        }
    }
}

impl Gateway {
    /// Waits until a mail of `bytes` may be taken apart; to be held until it is stored.
    async fn turn(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        if bytes <= LONG_MAIL {
            return None;
        }
        let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).min(LONG_MAILS_AT_ONCE);
        // It is never closed.
        self.0.long_mails.acquire_many(kib).await.ok()
    }

    /// Asks the pool what an arrival wants to know of it: on a thread for long work, and before the
    /// transaction, because all wait for that.
    async fn looked_up(&self, mut plan: admit::Plan) -> Result<admit::Plan, String> {
        if plan.search().is_none() {
            return Ok(plan);
        }
        let inner = Arc::clone(&self.0);
        let search = move || {
            if let Some((author, query, hits)) = plan.search() {
                *hits = inner.search_for(author, query).map_err(|failure| failure.to_string())?;
            }
            Ok(plan)
        };
        tokio::task::spawn_blocking(search).await.map_err(|failed| failed.to_string())?
    }
}

impl Handler for Gateway {
    async fn admit(&self, arrival: Arrival) -> Verdict {
        self.admit_arrival(arrival).await
    }
}

impl Inner {
    fn config(&self) -> Arc<Config> {
        Arc::clone(&read(&self.config))
    }

    fn pool(&self) -> RwLockReadGuard<'_, Pool> {
        read(&self.pool)
    }

    fn pool_mut(&self) -> RwLockWriteGuard<'_, Pool> {
        write(&self.pool)
    }

    fn wake_router(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        // Once is enough: a rush would otherwise wake a resting router thousands of times a second.
        if !std::mem::replace(&mut lock(&self.signal).work, true) {
            self.signalled.notify_all();
        }
    }

    /// Whether an address is ours: the gateway's own ones, posting addresses and aliases.
    fn is_own(&self, config: &Config, address: &Address) -> bool {
        self.own.iter().any(|own| own.same_place(address))
            || address
                .mail_address()
                .is_some_and(|mailbox| crate::mail::is_ours(&config.smtp.recipients, mailbox))
    }
}

fn read_blocks(store: &Store) -> Result<Vec<Block>, StoreError> {
    store.read(blocks_of)
}

/// Whom the operator refuses, by the database.
pub(crate) fn blocks_of(conn: &rusqlite::Connection) -> Result<Vec<Block>, StoreError> {
    let list = blocks::list(conn)?;
    Ok(list.iter().filter_map(|blocked| Block::parse(&String::from_utf8_lossy(&blocked.value))).collect())
}

/// The path of the control socket of a configuration.
pub fn control_path(config: &Config) -> PathBuf {
    control::control_path(&config.gateway.data_dir)
}

// A thread that panicked while it held one of these left a value that is still good: each is
// replaced whole, or is the pool, whose changes are single calls.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
