//! The numbers of the decision: the `[routing]` section of the configuration.

use crate::distance::Metric;
use crate::policy::human::duration_text;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a message finds its way on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The competitive walk: the first router sends to a few peers, each later one to one, never
    /// back, until a strong match or the length of the header ends it.
    #[default]
    Walk,
    /// Section 3.2 as written: to the single best peer; if that is one of the senders, the
    /// message is kept and another is sent back.
    Literal,
}

/// What to do when no peer has sent anything that helps to code the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoSignal {
    /// A random peer.
    #[default]
    Random,
    /// Nobody, as section 3.3 has it.
    Discard,
}

/// The `[routing]` section. Everything has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingPolicy {
    /// What "near" means.
    pub metric: Metric,
    /// How many matches are exchanged, and shown in an answer.
    pub matches: usize,
    /// What pointing back costs, in bits per doubling of the number of messages since.
    pub age: f64,
    /// How many peers the first router sends to; each later one sends to 1.
    pub first_walks: usize,
    /// A message whose header has so many lines walks no further.
    pub max_hops: usize,
    /// A message whose origin is older walks no further.
    #[serde(with = "duration_text")]
    pub walk_age: Duration,
    /// When no peer knows anything about it.
    pub no_signal: NoSignal,
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
            age: 1.0,
            first_walks: 3,
            max_hops: 6,
            walk_age: Duration::from_secs(86_400),
            no_signal: NoSignal::Random,
            strong_match: 0.3,
            contacts: 48,
            policy: Strategy::Walk,
            max_forwards: 16,
            compensation: None,
            close_margin: 0.05,
            close_peers: 3,
        }
    }
}

/// A number that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("routing.{key} = {value} is not possible; {range}")]
pub struct OutOfRange {
    /// The key.
    pub key: &'static str,
    /// What stood there.
    pub value: f64,
    /// What is possible.
    pub range: &'static str,
}

impl RoutingPolicy {
    /// Looks for numbers that make no sense.
    ///
    /// # Errors
    /// The first one.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        let share = "it is a share, from 0 to 1";
        let shares = [("strong_match", self.strong_match), ("close_margin", self.close_margin)];
        for (key, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(OutOfRange { key, value, range: share });
            }
        }
        if !(0.0..=1000.0).contains(&self.age) {
            let range = "it is a number of bits, from 0 to 1000";
            return Err(OutOfRange { key: "age", value: self.age, range });
        }
        if self.max_hops == 0 {
            let range = "a message has at least one header line, so 1 is the least";
            return Err(OutOfRange { key: "max_hops", value: 0.0, range });
        }
        Ok(())
    }

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
    fn reads_the_configuration() {
        let text = r#"
            metric = "one-sided"
            matches = 3
            age = 2.5
            first_walks = 2
            max_hops = 3
            walk_age = "12h"
            no_signal = "discard"
            strong_match = 0.4
            contacts = 24
            policy = "literal"
            max_forwards = 8
        "#;
        let policy: RoutingPolicy = toml::from_str(text).unwrap();
        assert_eq!(policy.metric, Metric::OneSided);
        assert_eq!(policy.walk_age, Duration::from_secs(12 * 3600));
        assert_eq!((policy.no_signal, policy.policy), (NoSignal::Discard, Strategy::Literal));
        assert_eq!(policy.validate(), Ok(()));
        assert!(policy.compensates());
        assert_eq!(toml::from_str::<RoutingPolicy>("").unwrap(), RoutingPolicy::default());
        let back = toml::to_string(&policy).unwrap();
        assert_eq!(toml::from_str::<RoutingPolicy>(&back).unwrap(), policy);
        assert!(toml::from_str::<RoutingPolicy>("max_hop = 3").is_err());
        assert!(toml::from_str::<RoutingPolicy>("walk_age = 5").is_err());
    }

    #[test]
    fn nonsense_is_named() {
        let nonsense = [
            RoutingPolicy { strong_match: 1.5, ..RoutingPolicy::default() },
            RoutingPolicy { close_margin: -0.1, ..RoutingPolicy::default() },
            RoutingPolicy { age: f64::NAN, ..RoutingPolicy::default() },
            RoutingPolicy { max_hops: 0, ..RoutingPolicy::default() },
        ];
        let keys = ["strong_match", "close_margin", "age", "max_hops"];
        for (policy, key) in nonsense.iter().zip(keys) {
            let fault = policy.validate().unwrap_err();
            assert!(fault.to_string().starts_with(&format!("routing.{key} = ")), "{fault}");
        }
        assert!(!RoutingPolicy::default().compensates());
    }
}
