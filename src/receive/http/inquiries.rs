//! How often a network of clients may ask what is here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::listen::network_of;

/// Inquiries of one network in a minute, at most. Each looks up to 32 ids up and nothing else, which
/// is far less than a message costs; whoever asks more often is not invited to, and sends messages,
/// within the limits of these.
const A_MINUTE: u32 = 6000;

/// Networks that are counted; those beyond are not invited to ask in this minute.
const NETWORKS: usize = 4096;

const MINUTE: Duration = Duration::from_secs(60);

/// The counts of the present minute.
#[derive(Debug, Default)]
pub(super) struct Inquiries(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    since: Option<Instant>,
    of: HashMap<IpAddr, u32>,
}

impl Inquiries {
    /// Whether a client may ask; a question that it asks now counts.
    pub(super) fn allows(&self, client: IpAddr, asks: bool, now: Instant) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.since.is_none_or(|since| now.duration_since(since) >= MINUTE) {
            *counts = Counts { since: Some(now), of: HashMap::new() };
        }
        let network = network_of(client);
        let before = counts.of.get(&network).copied();
        if before.unwrap_or(0) >= A_MINUTE || (before.is_none() && counts.of.len() >= NETWORKS) {
            return false;
        }
        if asks {
            counts.of.insert(network, before.unwrap_or(0).saturating_add(1));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn so_many_a_minute_and_so_many_networks() {
        let (inquiries, start) = (Inquiries::default(), Instant::now());
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..A_MINUTE {
            assert!(inquiries.allows(one, true, start));
        }
        assert!(!inquiries.allows(one, true, start) && !inquiries.allows(one, false, start));
        for _ in 0..2 * A_MINUTE {
            assert!(inquiries.allows(other, false, start), "only questions count");
        }
        assert!(inquiries.allows(one, true, start + MINUTE));

        let (inquiries, number) = (Inquiries::default(), u32::try_from(NETWORKS).unwrap());
        let client = |n: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + n));
        assert!((0..number).all(|n| inquiries.allows(client(n), true, start)));
        assert!(!inquiries.allows(client(number), false, start), "nobody new");
        assert!(inquiries.allows(client(0), true, start));
        assert!(inquiries.allows(client(number), true, start + MINUTE));
    }
}
