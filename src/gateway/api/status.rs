//! How the gateway is doing.

use serde::{Deserialize, Serialize};

use super::MailboxView;

/// Result of [`Request::Status`](super::Request::Status).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Messages in the pool.
    pub messages: u64,
    /// Their headers and bodies, in bytes.
    pub bytes: u64,
    /// Peers known.
    pub peers: u64,
    /// Deliveries that wait.
    pub queued: u64,
    /// Age of the oldest of them in seconds.
    pub oldest_queued_seconds: u64,
    /// Time since start in seconds; 0 when no daemon runs.
    pub uptime_seconds: u64,
    /// Messages that wait for a decision.
    pub unrouted: u64,
    /// Messages whose decision failed three times.
    pub failed: u64,
    /// Things kept aside.
    pub asides: u64,
    /// Mails to people that a limit kept back, since the database was made.
    #[serde(default)]
    pub silenced: u64,
    /// Mails of our own that came back and were dropped, since then.
    #[serde(default)]
    pub came_back: u64,
    /// Messages of which nothing was sent, not even an answer, because the queue was full.
    #[serde(default)]
    pub unsent: u64,
    /// Why the last attempt to write to the database failed; empty if it did not.
    #[serde(default)]
    pub trouble: String,
    /// Room left for the database, in bytes; none when that can't be found out.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// Whether a daemon answered.
    pub daemon: bool,
    /// The mailboxes that are read.
    #[serde(default)]
    pub mailboxes: Vec<MailboxView>,
}
