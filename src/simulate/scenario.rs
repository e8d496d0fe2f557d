//! What the network is like: the numbers of a scenario file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::router::RoutingPolicy;

/// A network, and what happens to it. Every number has a default; a scenario file names those
/// that are different.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Routers.
    pub gateways: usize,
    /// The luck of all that is drawn.
    pub seed: u64,
    /// Neighbours of a gateway in the first graph, which is random.
    pub degree: usize,
    /// Most messages in a gateway's pool.
    pub cache: usize,
    /// How long a transfer takes, in milliseconds: at least and at most.
    pub latency_ms: [u64; 2],
    /// The share of transfers that fail and are tried again by the queue, 0 to 1.
    pub loss: f64,
    /// By how much clocks are wrong at most, in seconds, either way.
    pub skew_s: u64,
    /// Whether who has a message says so before its body is sent.
    pub offers: bool,
    /// How many other peers are asked when one does not want a step of a walk, because it has the
    /// message, is busy or does not answer. Bounded, because each is a question.
    pub alternatives: usize,
    /// Most messages that a gateway accepts in an hour; 0 for any number. Beyond it says "busy".
    pub cap_per_hour: usize,
    /// For how many days an author gets what comes later.
    pub later_days: u32,
    /// Gateways that die, and return.
    pub deaths: Deaths,
    /// Posts that nobody asked for.
    pub spam: Spam,
    /// Gateways that forge header lines.
    pub poison: Poison,
    /// Numbers of the router that differ from the configured ones.
    pub routing: Routing,
}

impl Default for Scenario {
    fn default() -> Self {
        Scenario {
            gateways: 30,
            seed: 1,
            degree: 6,
            cache: 1000,
            latency_ms: [200, 20_000],
            loss: 0.0,
            skew_s: 2,
            offers: true,
            alternatives: RoutingPolicy::default().alternatives,
            cap_per_hour: 0,
            later_days: 30,
            deaths: Deaths::default(),
            spam: Spam::default(),
            poison: Poison::default(),
            routing: Routing::default(),
        }
    }
}

/// Who dies and when, in shares of all posts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deaths {
    /// The share of the gateways, 0 to 1.
    pub share: f64,
    /// Those with the most load instead of any.
    pub busiest: bool,
    /// After so much of the traffic, 0 to 1.
    pub at: f64,
    /// They return after so much of it; never if it is 0 or 1.
    pub until: f64,
}

/// Posts without a thread.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spam {
    /// The share of all posts, 0 to below 1.
    pub share: f64,
    /// Copies of lines of what was posted last, instead of lines of anything.
    pub copies: bool,
}

/// Gateways that write other lines below their own.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Poison {
    /// The share of the gateways, 0 to 1.
    pub share: f64,
    /// Whom they name as the router that took the message from its author.
    pub names: Named,
}

/// Whom a forged line names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Named {
    /// The first gateway, which has nothing to do with it.
    #[default]
    Victim,
    /// The poisoner itself: it wants to be the home of every message.
    Attacker,
}

/// Numbers of the `[routing]` section.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// `matches`
    pub matches: Option<usize>,
    /// `answers`
    pub answers: Option<usize>,
    /// `first_walks`
    pub first_walks: Option<usize>,
    /// `max_hops`
    pub max_hops: Option<usize>,
    /// `strong_match`
    pub strong_match: Option<f64>,
    /// `contacts`
    pub contacts: Option<usize>,
    /// `walk_age`, in hours
    pub walk_age_h: Option<u64>,
    /// `walk_age`, in seconds, instead
    pub walk_age_s: Option<u64>,
    /// `max_forwards`
    pub max_forwards: Option<usize>,
    /// `age`, in bits
    pub age: Option<f64>,
}

impl Routing {
    /// These numbers over those of `policy`.
    #[must_use]
    pub fn over(&self, policy: &RoutingPolicy) -> RoutingPolicy {
        let mut policy = policy.clone();
        policy.matches = self.matches.unwrap_or(policy.matches);
        policy.answers = self.answers.unwrap_or(policy.answers);
        policy.first_walks = self.first_walks.unwrap_or(policy.first_walks);
        policy.max_hops = self.max_hops.unwrap_or(policy.max_hops);
        policy.strong_match = self.strong_match.unwrap_or(policy.strong_match);
        policy.contacts = self.contacts.unwrap_or(policy.contacts);
        let hours = self.walk_age_h.map(|h| h.saturating_mul(3600));
        policy.walk_age = self.walk_age_s.or(hours).map_or(policy.walk_age, Duration::from_secs);
        policy.max_forwards = self.max_forwards.unwrap_or(policy.max_forwards);
        policy.age = self.age.unwrap_or(policy.age);
        policy
    }
}

/// Most gateways of a network: what fits into memory on a large machine.
const MOST_GATEWAYS: usize = 100_000;

/// Why a scenario can't be played.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// It is not the TOML that is expected.
    #[error("{0}")]
    Toml(String),
    /// A number is out of its range.
    #[error("{name} = {found}: {wanted} is needed")]
    Range {
        /// The key.
        name: &'static str,
        /// What it says.
        found: String,
        /// What it could say.
        wanted: &'static str,
    },
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// [`ScenarioError`]: not TOML, a key that there is not, or a number out of its range.
    pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario =
            toml::from_str(text).map_err(|error| ScenarioError::Toml(error.to_string()))?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Whether every number is in its range.
    ///
    /// # Errors
    /// [`ScenarioError::Range`] names the first one that is not.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let range = |name, found: String, good: bool, wanted| {
            if good { Ok(()) } else { Err(ScenarioError::Range { name, found, wanted }) }
        };
        let share = |name, value: f64| {
            range(name, value.to_string(), (0.0..=1.0).contains(&value), "a share from 0 to 1")
        };
        let gateways = (1..=MOST_GATEWAYS).contains(&self.gateways);
        range("gateways", self.gateways.to_string(), gateways, "a number from 1 to 100,000")?;
        range(
            "degree",
            self.degree.to_string(),
            (1..=1000).contains(&self.degree),
            "a number from 1 to 1,000",
        )?;
        range("cache", self.cache.to_string(), self.cache > 0, "a number above 0")?;
        let [least, most] = self.latency_ms;
        let latency = least <= most && most <= 86_400_000;
        range("latency_ms", format!("{:?}", self.latency_ms), latency, "[LEAST, MOST] up to a day")?;
        range("loss", self.loss.to_string(), (0.0..=0.9).contains(&self.loss), "a share from 0 to 0.9")?;
        range("skew_s", self.skew_s.to_string(), self.skew_s <= 86_400, "at most a day")?;
        share("deaths.share", self.deaths.share)?;
        share("deaths.at", self.deaths.at)?;
        share("deaths.until", self.deaths.until)?;
        share("poison.share", self.poison.share)?;
        let spam = (0.0..=0.9).contains(&self.spam.share);
        range("spam.share", self.spam.share.to_string(), spam, "a share from 0 to 0.9")
    }

    /// The longest and the shortest transfer.
    pub(super) fn latency(&self) -> (Duration, Duration) {
        let [least, most] = self.latency_ms;
        (Duration::from_millis(least), Duration::from_millis(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_what_is_different() {
        let text = "gateways = 1000\n[deaths]\nshare = 0.3\nat = 0.5\n[routing]\nmax_hops = 10\n";
        let scenario = Scenario::parse(text).unwrap();
        assert_eq!((scenario.gateways, scenario.degree, scenario.deaths.share), (1000, 6, 0.3));
        let policy = scenario.routing.over(&RoutingPolicy::default());
        assert_eq!((policy.max_hops, policy.matches), (10, 5));
    }

    #[test]
    fn what_can_not_be_is_said() {
        for (text, said) in [
            ("gateways = 0", "gateways = 0: a number from 1 to 100,000 is needed"),
            ("gateways = 100001", "gateways = 100001"),
            ("loss = 1.0", "loss = 1"),
            ("latency_ms = [5, 1]", "latency_ms = [5, 1]"),
            ("[spam]\nshare = nan", "spam.share = NaN"),
            ("[deaths]\nshare = 1.5", "deaths.share = 1.5"),
            ("gatways = 5", "gatways"),
            ("[poison]\nnames = \"me\"", "victim"),
        ] {
            let error = Scenario::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
