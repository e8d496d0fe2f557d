//! What the gateway counts of itself: where each number comes from.
//!
//! It knows the pool, the store and the names of the metrics. It must never know who reads them.

use std::time::Duration;

use super::ask::Outcome as Asked;
use super::ask::{UNAVAILABLE, fail};
use super::refused::Refused;
use super::{Gateway, clock};
use crate::metrics::{self, Depth, Described, Mailbox, Metrics, State, float};
use crate::policy::Refusal;
use crate::store::queue;

impl Refused {
    /// Why, in one of a few words: what stands in a label must not grow with what comes in.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Refused::Format(_) => "format",
            Refused::Unreadable(_) => "unreadable",
            Refused::Signature(_) => "signature",
            Refused::NoKey(_) => "no-key",
            Refused::Policy(
                Refusal::NotOneMailbox { .. }
                | Refusal::NotAuthenticated { .. }
                | Refusal::NotKnownYet { .. }
                | Refusal::NotListed { .. }
                | Refusal::OtherAddress { .. }
                | Refusal::DkimRecipient
                | Refusal::DkimPartial
                | Refusal::DkimOld { .. }
                | Refusal::DkimUnaligned
                | Refusal::Replayed,
            ) => "author",
            Refused::Policy(Refusal::Blocked { .. }) => "blocked",
            Refused::Policy(
                Refusal::TooFast { .. } | Refusal::TooFastFrom { .. } | Refusal::Backlog { .. },
            ) => "too-fast",
            Refused::Policy(_) => "policy",
            Refused::NothingToPost(_) => "nothing",
            Refused::KeyExchange(_) | Refused::KeyInPost | Refused::NoExchange(_) => "key-exchange",
            Refused::Conflict(_) => "conflict",
            Refused::NoSuchToken | Refused::NoSuchTicket | Refused::NotYours => "token",
            Refused::UnknownCommand(_) => "command",
            Refused::Removed(_) => "removed",
            Refused::NoRoom => "room",
        }
    }
}

impl Gateway {
    /// The gateway's counters.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The metrics as they are now, in the OpenMetrics format.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn scrape(&self) -> Asked<String> {
        let (status, now) = (self.status()?, clock::now());
        let stats = self.store().stats()?;
        let depths = self.store().read(queue::depths)?;
        let number = |what: &'static Described, value: u64| (what, float(value));
        let state = State {
            numbers: vec![
                number(&metrics::POOL_MESSAGES, status.messages),
                number(&metrics::POOL_BYTES, status.bytes),
                number(
                    &metrics::POOL_MEMORY,
                    u64::try_from(self.0.pool().memory_bytes()).unwrap_or(u64::MAX),
                ),
                number(&metrics::RESIDENT, resident()),
                number(&metrics::UNROUTED, status.unrouted),
                number(&metrics::FAILED, status.failed),
                number(&metrics::ASIDES, status.asides),
                number(&metrics::PEERS, status.peers),
                number(&metrics::DATABASE, stats.database_bytes.saturating_add(stats.log_bytes)),
                number(&metrics::FREE, status.free_bytes.unwrap_or(0)),
                number(&metrics::TROUBLE, u64::from(!status.trouble.is_empty())),
                number(&metrics::STARTED, status.uptime_seconds),
            ],
            queue: depths
                .into_iter()
                .map(|depth| Depth {
                    transport: depth.transport,
                    state: depth.state.to_string(),
                    number: depth.number,
                    oldest: now.since(depth.oldest),
                })
                .collect(),
            mailboxes: status
                .mailboxes
                .into_iter()
                .map(|mailbox| Mailbox {
                    failing: mailbox.state == "failing",
                    account: mailbox.account,
                    behind: mailbox.behind,
                    lag: mailbox.lag_milliseconds.map(Duration::from_millis),
                })
                .collect(),
        };
        self.0.metrics.text(&state).map_err(|error| fail(UNAVAILABLE, format!("no metrics: {error}")))
    }
}

/// What this process takes in memory, in bytes; 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}
