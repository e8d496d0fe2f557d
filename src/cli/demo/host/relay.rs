//! The part of a mail host that hands mails on to other hosts.
//!
//! It knows where a mail has to go and what became of it there. It must never know mailboxes.

use super::{HostError, Shared, Step};
use crate::send::backoff::Schedule;
use crate::send::mailto::{Deadlines, Mailto, Reuse, Smarthost, SmarthostError, Submission};
use crate::send::outcome::Outcome;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How long and how often a host tries to relay: an impatient one, for demos and tests.
const RELAY_SCHEDULE: Schedule = Schedule {
    first: Duration::from_millis(100),
    max: Duration::from_secs(2),
    give_up: Duration::from_secs(20),
};

/// A mail that has to go on.
pub(super) struct Waiting {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) mail: Arc<[u8]>,
    pub(super) next: SocketAddr,
    /// Its place among those that wait, free again when this is dropped.
    #[allow(dead_code, reason = "held, never read")]
    pub(super) room: OwnedSemaphorePermit,
}

/// Starts the relay of a host. It has a thread of its own: a session must never wait for another host's session,
/// which may be waiting for ours.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    mut receiver: mpsc::UnboundedReceiver<Waiting>,
) -> Result<(), HostError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HostError::Thread)?;
    let shared = Arc::clone(shared);
    let relay = async move {
        let mut clients: HashMap<SocketAddr, (Mailto, Arc<Semaphore>)> = HashMap::new();
        while let Some(waiting) = receiver.recv().await {
            let (client, turn) = match clients.get(&waiting.next) {
                Some(known) => known.clone(),
                None => match client(&shared.config.name, waiting.next) {
                    Ok(client) => {
                        clients.entry(waiting.next).or_insert((client, Arc::new(Semaphore::new(2)))).clone()
                    }
                    Err(error) => {
                        let reason = error.to_string();
                        shared.note(&waiting, Step::Undelivered { reason });
                        continue;
                    }
                },
            };
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let Ok(_turn) = turn.acquire_owned().await else {
                    return;
                };
                let step = pass_on(&client, &waiting).await;
                shared.note(&waiting, step);
            });
        }
    };
    std::thread::Builder::new()
        .name("mail-host-relay".to_owned())
        .spawn(move || runtime.block_on(relay))
        .map(drop)
        .map_err(HostError::Thread)
}

/// Few connections, kept for a moment only: the next host has few sessions to give.
fn client(name: &str, next: SocketAddr) -> Result<Mailto, SmarthostError> {
    let reuse = Reuse { idle: Duration::from_millis(500), connections: 1, ..Reuse::default() };
    let deadlines =
        Deadlines { command: Duration::from_secs(10), dot: Duration::from_secs(20), ..Deadlines::default() };
    Mailto::with(Smarthost::at(next), name, deadlines, reuse)
}

async fn pass_on(client: &Mailto, waiting: &Waiting) -> Step {
    let submission = Submission {
        envelope_sender: Some(waiting.from.clone()).filter(|from| !from.is_empty()),
        recipient: waiting.to.clone(),
        mail: waiting.mail.to_vec(),
        configured: true,
    };
    let started = Instant::now();
    for attempts in 1.. {
        let reason = match client.submit(&submission).await {
            Ok(receipt) => {
                return Step::Relayed { next: waiting.next, reply: receipt.reply.to_string() };
            }
            Err(error) => match error.outcome() {
                Outcome::Retry { reason, .. } => reason,
                _ => {
                    let reason = error.chain();
                    return Step::Undelivered { reason };
                }
            },
        };
        match RELAY_SCHEDULE.next(0, attempts, started.elapsed()) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Step::Undelivered { reason },
        }
    }
    Step::Undelivered { reason: "tried too often".to_owned() }
}
