//! Tests of the decision as a whole: a small network, the rules one by one, and properties.

mod property;
mod rules;
mod story;

use super::*;
use crate::message::{Hop, Hops, Signature, Timestamp};
use crate::pool::{Entry, Limits};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;
/// 2025-06-01 12:00:00
pub(super) const NOW: UnixTime = UnixTime(1_748_779_200 * SECOND);

pub(super) fn address(text: &str) -> Address {
    Address::try_from(text).unwrap()
}

/// A message whose header has these addresses, newest first, a second apart, the origin `age`
/// microseconds before [`NOW`].
pub(super) fn message(addresses: &[&str], age: i64, body: &str) -> Message {
    let origin = NOW.0 - age;
    let n = i64::try_from(addresses.len()).unwrap();
    let hops = (1..).zip(addresses).map(|(i, a)| {
        let time = Timestamp::from_unix(UnixTime(origin + (n - i) * SECOND), "");
        Hop::new(time, address(a))
    });
    Message {
        signature: Signature::Unsigned,
        hops: Hops::new(hops.collect()).unwrap(),
        body: body.as_bytes().to_vec(),
    }
}

/// The pool's view of a message.
pub(super) fn entry(seq: i64, message: &Message, scope: Scope) -> Entry {
    Entry {
        seq,
        id: message.id(),
        sender: message.sender().address.clone(),
        hops: message.hops.addresses().cloned().collect(),
        author: message.origin().address.clone(),
        scope,
    }
}

pub(super) fn contact(text: &str) -> Contact {
    Contact { address: address(text), pinned: false, may_send: true, reason: None, has: false }
}

/// Surroundings out of lists.
#[derive(Default)]
pub(super) struct Around {
    pub(super) bodies: BTreeMap<i64, Vec<u8>>,
    pub(super) own: BTreeSet<Address>,
    pub(super) has: BTreeSet<(Address, MessageId)>,
    pub(super) refused: BTreeMap<Address, String>,
    /// Addresses of one neighbour.
    pub(super) same: Vec<Address>,
    /// Who was not named by the operator, and shares no key.
    pub(super) strangers: BTreeSet<Address>,
}

impl Texts for Around {
    fn body(&self, seq: i64) -> Option<Vec<u8>> {
        self.bodies.get(&seq).cloned()
    }
}

impl Surroundings for Around {
    fn is_own(&self, address: &Address) -> bool {
        self.own.contains(address)
    }

    fn has(&self, address: &Address, id: MessageId) -> bool {
        self.has.contains(&(address.clone(), id))
    }

    fn others(&self, address: &Address) -> Vec<Address> {
        let same = self.same.iter().filter(|_| self.same.contains(address));
        same.filter(|other| *other != address).cloned().collect()
    }

    fn is_acquainted(&self, address: &Address) -> bool {
        !self.strangers.contains(address)
    }

    fn may_send(&self, address: &Address) -> Result<(), String> {
        self.refused.get(address).cloned().map_or(Ok(()), Err)
    }
}

/// A pool of these messages, numbered from 1.
pub(super) fn pool(messages: &[Message]) -> Pool {
    let mut pool = Pool::new(Limits::default());
    for (seq, message) in (1..).zip(messages) {
        assert!(pool.insert(&entry(seq, message, Scope::Public), &message.body).is_empty());
    }
    pool
}

/// A decision about a public message that came from outside.
pub(super) fn decide_on(
    message: &Message,
    pool: &Pool,
    peers: &[Contact],
    around: &Around,
    policy: &RoutingPolicy,
) -> Decision {
    let subject = Subject { message, id: message.id(), scope: Scope::Public, is_post: false };
    decide(&subject, pool, peers, around, policy, NOW, 7)
}

/// Who gets X.
pub(super) fn goes_to(decision: &Decision) -> Vec<String> {
    let to = decision.forwards.iter().filter(|f| f.what == What::This);
    to.map(|f| f.to.to_string()).collect()
}

/// Who gets which cached message.
pub(super) fn cached_to(decision: &Decision) -> Vec<(String, i64)> {
    let sent = decision.forwards.iter();
    sent.filter_map(|f| match f.what {
        What::This => None,
        What::Match(seq) => Some((f.to.to_string(), seq)),
    })
    .collect()
}

pub(super) fn peer<'a>(decision: &'a Decision, text: &str) -> &'a PeerScore {
    let found = decision.peers.iter().find(|p| p.address == address(text));
    found.unwrap_or_else(|| panic!("{text} is not among {:#?}", decision.peers))
}
