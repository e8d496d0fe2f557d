//! The memory that all sessions of a receiver hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What one session may always hold, however much the others do.
const ALWAYS: usize = 64 * 1024;

/// Bytes held by all.
#[derive(Debug, Default)]
pub(super) struct Budget {
    used: AtomicUsize,
}

/// One session's part of it; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    mine: usize,
}

impl Budget {
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), mine: 0 }
    }
}

impl Share {
    /// Now holds `bytes`. False when that is over 64 KiB and all together hold more than
    /// `max`.
    pub(super) fn hold(&mut self, bytes: usize, max: usize) -> bool {
        let used = &self.budget.used;
        let before = if bytes >= self.mine {
            used.fetch_add(bytes - self.mine, Ordering::Relaxed)
        } else {
            used.fetch_sub(self.mine - bytes, Ordering::Relaxed)
        };
        let total = before.saturating_sub(self.mine).saturating_add(bytes);
        self.mine = bytes;
        bytes <= ALWAYS || total <= max
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.mine, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_add_up_and_small_ones_always_fit() {
        let budget = Arc::new(Budget::default());
        let (mut one, mut two) = (budget.share(), budget.share());
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
}
