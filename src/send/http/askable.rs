//! Which peers can be asked before something is sent to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::message::{Address, UnixTime};

/// Peers that are remembered, at most; beyond that all are forgotten and invite us again.
const MOST: usize = 4096;

/// How long a peer is not asked that invited us and then did not answer as it should.
const REST: Duration = Duration::from_secs(3600);

/// How long an invitation is believed. Each answer that has one renews it, once half of that is over.
const BELIEVED: Duration = Duration::from_secs(7 * 86_400);

/// Is told of each invitation, and until when it is believed; none: it is over.
pub type Keep = Arc<dyn Fn(&Address, Option<UnixTime>) + Send + Sync>;

/// What peers announced before this process, and who keeps what they announce for the next one.
#[derive(Clone, Default)]
pub struct Announced {
    /// Who can be asked, and until when that is believed.
    pub before: Vec<(Address, UnixTime)>,
    /// Nobody: a restart forgets it, which costs each of them one whole message.
    pub keep: Option<Keep>,
}

impl std::fmt::Debug for Announced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Announced").field("before", &self.before).finish_non_exhaustive()
    }
}

/// What is known of the peers.
pub(super) struct Askable {
    all: Mutex<HashMap<Address, State>>,
    keep: Option<Keep>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    InvitedUntil(UnixTime),
    NotBefore(UnixTime),
}

impl Askable {
    pub(super) fn new(announced: Announced) -> Self {
        let before = announced.before.into_iter().take(MOST);
        let all = before.map(|(peer, until)| (peer, State::InvitedUntil(until))).collect();
        Askable { all: Mutex::new(all), keep: announced.keep }
    }

    /// Whether it can be asked.
    pub(super) fn is(&self, peer: &Address, now: UnixTime) -> bool {
        matches!(self.lock().get(peer), Some(State::InvitedUntil(until)) if now < *until)
    }

    /// It answered something: whether the answer invites us to ask.
    pub(super) fn heard(&self, peer: &Address, invites: bool, now: UnixTime) {
        let mut all = self.lock();
        match (all.get(peer).copied(), invites) {
            (Some(State::NotBefore(then)), _) if now < then => {}
            (Some(State::InvitedUntil(until)), true) if until.since(now) > BELIEVED / 2 => {}
            (_, true) => {
                if all.len() >= MOST {
                    all.clear();
                }
                let until = now.saturating_add(BELIEVED);
                all.insert(peer.clone(), State::InvitedUntil(until));
                self.tell(peer, Some(until));
            }
            (Some(_), false) => {
                all.remove(peer);
                self.tell(peer, None);
            }
            (None, false) => {}
        }
    }

    /// It was asked, and gave no answer that is one.
    pub(super) fn failed(&self, peer: &Address, now: UnixTime) {
        self.lock().insert(peer.clone(), State::NotBefore(now.saturating_add(REST)));
        self.tell(peer, None);
    }

    fn tell(&self, peer: &Address, until: Option<UnixTime>) {
        if let Some(keep) = &self.keep {
            keep(peer, until);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Address, State>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime(1_800_000_000_000_000);

    fn empty() -> Askable {
        Askable::new(Announced::default())
    }

    #[test]
    fn invited_forgotten_and_distrusted() {
        let askable = empty();
        let peer = Address::try_from("http://a.example/cmr").unwrap();
        assert!(!askable.is(&peer, START));
        askable.heard(&peer, true, START);
        assert!(askable.is(&peer, START));
        askable.heard(&peer, false, START);
        assert!(!askable.is(&peer, START), "it may be another program by now");
        askable.heard(&peer, true, START);
        askable.failed(&peer, START);
        askable.heard(&peer, true, START);
        assert!(!askable.is(&peer, START), "what it says is not believed for a while");
        let later = START.saturating_add(REST);
        askable.heard(&peer, true, later);
        assert!(askable.is(&peer, later));
    }

    /// What is told to whoever keeps it, and that it is believed for a time and no longer.
    #[test]
    fn an_invitation_is_kept_renewed_and_expires() {
        let told: Arc<Mutex<Vec<Option<i64>>>> = Arc::default();
        let teller = Arc::clone(&told);
        let keep: Keep = Arc::new(move |_, until| teller.lock().unwrap().push(until.map(|it| it.as_secs())));
        let peer = Address::try_from("http://a.example/cmr").unwrap();
        let day = |n: u32| START.saturating_add(Duration::from_secs(86_400) * n);
        let askable = Askable::new(Announced { before: vec![(peer.clone(), day(2))], keep: Some(keep) });
        assert!(askable.is(&peer, day(1)) && !askable.is(&peer, day(2)));
        askable.heard(&peer, true, day(1));
        for n in 2..5 {
            askable.heard(&peer, true, day(n));
        }
        assert!(askable.is(&peer, day(7)) && !askable.is(&peer, day(8)));
        askable.heard(&peer, true, day(6));
        assert!(askable.is(&peer, day(12)) && !askable.is(&peer, day(13)));
        askable.failed(&peer, day(7));
        askable.heard(&peer, false, day(8));
        askable.heard(&peer, false, day(8));
        let until = |n: u32| Some(day(n).as_secs());
        assert_eq!(*told.lock().unwrap(), [until(8), until(13), None, None]);
    }

    #[test]
    fn a_bounded_number_of_peers() {
        let askable = empty();
        let peer = |n: usize| Address::new(format!("http://a{n}.example/")).unwrap();
        for number in 0..3 * MOST {
            askable.heard(&peer(number), true, START);
            assert!(askable.lock().len() <= MOST);
        }
        assert!(askable.is(&peer(3 * MOST - 1), START));
        let many = (0..2 * MOST).map(|n| (peer(n), START)).collect();
        assert_eq!(Askable::new(Announced { before: many, keep: None }).lock().len(), MOST);
    }
}
