//! The memory that all clients of a listener hold together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What one client may always hold, however much the others do.
const ALWAYS: usize = 64 * 1024;

/// The part of it all that the clients of one network may hold together: one over this.
const PART: usize = 4;

/// Bytes held by all.
#[derive(Debug, Default)]
pub struct Budget {
    used: AtomicUsize,
    by_network: Mutex<HashMap<IpAddr, usize>>,
}

/// One client's part of it; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    /// Whose network it counts for; none for those who may hold everything.
    network: Option<IpAddr>,
    mine: usize,
}

impl Budget {
    /// The share of a client of `network`, which can't take everything from the others; none for a
    /// relay, by which all mail may come.
    pub fn share(self: &Arc<Self>, network: Option<IpAddr>) -> Share {
        Share { budget: Arc::clone(self), network, mine: 0 }
    }

    /// A client of `network` holds `now` in place of `before`; what all of them hold then.
    fn count(&self, network: IpAddr, before: usize, now: usize) -> usize {
        let mut all = self.by_network.lock().unwrap_or_else(PoisonError::into_inner);
        let held = all.entry(network).or_default();
        *held = held.saturating_sub(before).saturating_add(now);
        let held = *held;
        if held == 0 {
            all.remove(&network);
        }
        held
    }
}

impl Share {
    /// Now holds `bytes`. False when that is over 64 KiB and all together hold more than `max`,
    /// or several of its network more than a quarter of it.
    pub fn hold(&mut self, bytes: usize, max: usize) -> bool {
        if bytes == self.mine {
            return true;
        }
        let used = &self.budget.used;
        let before = if bytes >= self.mine {
            used.fetch_add(bytes - self.mine, Ordering::Relaxed)
        } else {
            used.fetch_sub(self.mine - bytes, Ordering::Relaxed)
        };
        let total = before.saturating_sub(self.mine).saturating_add(bytes);
        let near = self.network.map_or(0, |network| self.budget.count(network, self.mine, bytes));
        self.mine = bytes;
        // One mail alone may be as long as all of it.
        let by_itself = near <= bytes;
        bytes <= ALWAYS || (total <= max && (near <= max / PART || by_itself))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.mine, Ordering::Relaxed);
        if let Some(network) = self.network {
            self.budget.count(network, self.mine, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_add_up_and_small_ones_always_fit() {
        let budget = Arc::new(Budget::default());
        let (mut one, mut two) = (budget.share(None), budget.share(None));
        assert!(one.hold(600_000, 1_000_000));
        assert!(two.hold(400_000, 1_000_000));
        assert!(!two.hold(400_001, 1_000_000));
        assert!(two.hold(ALWAYS, 1_000_000));
        assert!(one.hold(900_000, 1_000_000));
        assert!(two.hold(ALWAYS, 900_000));
        assert!(!two.hold(ALWAYS + 1, 900_000));
        drop(one);
        assert!(two.hold(1_000_000, 1_000_000));
        drop(two);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_network_takes_everything_from_the_others() {
        let budget = Arc::new(Budget::default());
        let (greedy, other) = ("192.0.2.1".parse().unwrap(), "198.51.100.1".parse().unwrap());
        let mut many: Vec<Share> = (0..5).map(|_| budget.share(Some(greedy))).collect();
        let fits = many.iter_mut().map(|share| share.hold(100_000, 1_600_000)).collect::<Vec<_>>();
        assert_eq!(fits, [true, true, true, true, false]);
        assert!(budget.share(Some(other)).hold(400_000, 1_600_000));
        assert!(many[4].hold(ALWAYS, 1_600_000));
        many.truncate(2);
        assert!(many[1].hold(300_000, 1_600_000));
        assert!(!many[1].hold(300_001, 1_600_000));
        many.remove(0);
        assert!(many[0].hold(1_600_000, 1_600_000), "one mail alone");
        drop(many);
        assert!(budget.by_network.lock().unwrap().is_empty());
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
