//! Which peers can be asked before something is sent to them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::message::Address;

/// Peers that are remembered, at most; beyond that all are forgotten and invite us again.
const MOST: usize = 4096;

/// How long a peer is not asked that invited us and then did not answer as it should.
const REST: Duration = Duration::from_secs(3600);

/// What is known of the peers. A restart forgets it, which costs each of them one whole message.
#[derive(Debug, Default)]
pub(super) struct Askable(Mutex<HashMap<Address, State>>);

#[derive(Clone, Copy, Debug)]
enum State {
    Invited,
    NotBefore(Instant),
}

impl Askable {
    /// Whether it can be asked.
    pub(super) fn is(&self, peer: &Address) -> bool {
        matches!(self.lock().get(peer), Some(State::Invited))
    }

    /// It answered something: whether the answer invites us to ask.
    pub(super) fn heard(&self, peer: &Address, invites: bool, now: Instant) {
        let mut all = self.lock();
        let known = all.get(peer).copied();
        match (known, invites) {
            (Some(State::NotBefore(then)), _) if now < then => {}
            (Some(State::Invited), true) => {}
            (_, true) => {
                if all.len() >= MOST {
                    all.clear();
                }
                all.insert(peer.clone(), State::Invited);
            }
            (_, false) => drop(all.remove(peer)),
        }
    }

    /// It was asked, and gave no answer that is one.
    pub(super) fn failed(&self, peer: &Address, now: Instant) {
        self.lock().insert(peer.clone(), State::NotBefore(now + REST));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Address, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invited_forgotten_and_distrusted() {
        let (askable, start) = (Askable::default(), Instant::now());
        let peer = Address::try_from("http://a.example/cmr").unwrap();
        assert!(!askable.is(&peer));
        askable.heard(&peer, true, start);
        assert!(askable.is(&peer));
        askable.heard(&peer, false, start);
        assert!(!askable.is(&peer), "it may be another program by now");
        askable.heard(&peer, true, start);
        askable.failed(&peer, start);
        askable.heard(&peer, true, start);
        assert!(!askable.is(&peer), "what it says is not believed for a while");
        askable.heard(&peer, true, start + REST);
        assert!(askable.is(&peer));
    }

    #[test]
    fn a_bounded_number_of_peers() {
        let (askable, start) = (Askable::default(), Instant::now());
        let peer = |n: usize| Address::new(format!("http://a{n}.example/")).unwrap();
        for number in 0..3 * MOST {
            askable.heard(&peer(number), true, start);
            assert!(askable.lock().len() <= MOST);
        }
        assert!(askable.is(&peer(3 * MOST - 1)));
    }
}
