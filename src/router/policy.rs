//! The numbers of the decision: the `[routing]` section of the configuration.

use crate::distance::Metric;
use std::time::Duration;

/// How a message finds its way on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The competitive walk: the first router sends to a few peers, each later one to one, never
    /// back, until a strong match, a match that was posted there, or the length of the header ends it.
    #[default]
    Walk,
    /// Section 3.2 as written: to the best peer, and to those fairly close to it (3.3); if the
    /// best one is a sender, the message is kept and another is sent back.
    Literal,
}

/// What to do when no peer has sent anything that helps to code the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoSignal {
    /// A random peer.
    #[default]
    Random,
    /// Nobody, as section 3.3 has it.
    Discard,
}

/// The `[routing]` section. Everything has a default.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingPolicy {
    /// What "near" means.
    pub metric: Metric,
    /// How many matches are exchanged, and shown in an answer.
    pub matches: usize,
    /// How many of them a gateway on the way sends to where the message comes from. `literal` sends all.
    pub answers: usize,
    /// What pointing back costs, in bits per doubling of the number of messages since.
    pub age: f64,
    /// How many peers the first router sends to; each later one sends to 1.
    pub first_walks: usize,
    /// A message whose header has so many lines walks no further.
    pub max_hops: usize,
    /// A message whose origin is older walks no further.
    pub walk_age: Duration,
    /// When no peer knows anything about it.
    pub no_signal: NoSignal,
    /// How many others are asked, one after the other, when a peer that a walk goes on to is busy.
    pub alternatives: usize,
    /// A match that saves this share of C(X), 0 to 1, ends the walk.
    pub strong_match: f64,
    /// How many peers are considered, pinned ones first.
    pub contacts: usize,
    /// How it finds its way on.
    pub policy: Strategy,
    /// Most forwards that one message causes here, an answer to its author included.
    pub max_forwards: usize,
    /// Whether a best peer that has sent the message gets another one back (section 3.2). Not
    /// set: in `literal` yes, in `walk` no.
    pub compensation: Option<bool>,
    /// In `literal`: peers within this share of C(X), 0 to 1, of the best one are fairly close
    /// (section 3.3) and get it too.
    pub close_margin: f64,
    /// In `literal`: to how many peers at most.
    pub close_peers: usize,
}

impl Default for RoutingPolicy {
    fn default() -> Self {
        RoutingPolicy {
            metric: Metric::Gain,
            matches: 5,
            answers: 2,
            age: 3.0,
            first_walks: 2,
            max_hops: 3,
            walk_age: Duration::from_secs(86_400),
            no_signal: NoSignal::Random,
            alternatives: 2,
            strong_match: 0.12,
            contacts: 48,
            policy: Strategy::Walk,
            max_forwards: 16,
            compensation: None,
            close_margin: 0.05,
            close_peers: 3,
        }
    }
}

impl RoutingPolicy {
    /// Whether a best peer that has sent the message gets another one back.
    #[must_use]
    pub fn compensates(&self) -> bool {
        self.compensation.unwrap_or(self.policy == Strategy::Literal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compensation_belongs_to_the_literal_strategy_unless_it_is_set() {
        let walk = RoutingPolicy::default();
        assert!(!walk.compensates());
        assert!(RoutingPolicy { compensation: Some(true), ..walk.clone() }.compensates());
        let literal = RoutingPolicy { policy: Strategy::Literal, ..walk };
        assert!(literal.compensates());
        assert!(!RoutingPolicy { compensation: Some(false), ..literal }.compensates());
    }
}
