//! Which router is asked, or what stands for one.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::router::{RoutingPolicy, Strategy};

/// How messages spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// As configured: the competitive walk, unless the configuration says otherwise.
    Configured,
    /// Section 3.2 to the letter: the one best peer, compensation if that has sent it.
    Literal,
    /// One index of everything, with the same matcher: what no network can know more than.
    Central,
    /// To all neighbours, so many hops far.
    Flooding(usize),
    /// To a peer drawn by lot, so many times.
    RandomWalk(usize),
    /// As configured, but for one part of it: what that part contributes.
    Without(Part),
}

/// What the walk is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Steps to the best peers; what is left is the exchange of matches.
    Steps,
    /// A strong match ends the walk.
    StrongMatch,
    /// A match goes to where the post comes from.
    Matches,
    /// A post goes to where its matches come from.
    Introductions,
    /// Peers are ranked by what they sent; without it they are drawn by lot.
    Competition,
    /// Gateways learn whom else there is; without it they know their first neighbours only.
    Learning,
    /// Who has a message says so before its body is sent.
    Offers,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 7] = [
        Part::Steps,
        Part::StrongMatch,
        Part::Matches,
        Part::Introductions,
        Part::Competition,
        Part::Learning,
        Part::Offers,
    ];

    fn name(self) -> &'static str {
        match self {
            Part::Steps => "steps",
            Part::StrongMatch => "strong-match",
            Part::Matches => "matches",
            Part::Introductions => "introductions",
            Part::Competition => "competition",
            Part::Learning => "learning",
            Part::Offers => "offers",
        }
    }
}

impl Rule {
    /// Those that are shown beside the configured one.
    pub const BESIDE: [Rule; 4] = [Rule::Central, Rule::Literal, Rule::Flooding(2), Rule::RandomWalk(40)];

    /// Whether it is the configured rule without this part.
    #[must_use]
    pub(super) fn lacks(self, part: Part) -> bool {
        self == Rule::Without(part)
    }

    /// What the router is asked with: a rule that spreads messages itself takes only matches and
    /// the exchange of them from the router.
    #[must_use]
    pub(super) fn policy(self, configured: &RoutingPolicy) -> RoutingPolicy {
        let configured = configured.clone();
        match self {
            Rule::Configured | Rule::Central => configured,
            Rule::Literal => RoutingPolicy {
                policy: Strategy::Literal,
                close_peers: 1,
                close_margin: 0.0,
                walk_age: Duration::MAX,
                ..configured
            },
            Rule::Flooding(_) | Rule::RandomWalk(_) | Rule::Without(Part::Steps) => {
                RoutingPolicy { policy: Strategy::Walk, max_hops: 0, ..configured }
            }
            Rule::Without(Part::StrongMatch) => RoutingPolicy { strong_match: f64::INFINITY, ..configured },
            Rule::Without(_) => configured,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Configured => f.write_str("configured"),
            Rule::Literal => f.write_str("literal"),
            Rule::Central => f.write_str("central"),
            Rule::Flooding(hops) => write!(f, "flooding-{hops}"),
            Rule::RandomWalk(steps) => write!(f, "random-{steps}"),
            Rule::Without(part) => write!(f, "no-{}", part.name()),
        }
    }
}

/// Not the name of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no rule; there are configured, central, literal, flooding-HOPS, random-STEPS, and no-PART, where PART is \
     one of steps, strong-match, matches, introductions, competition, learning, offers"
)]
pub struct UnknownRule(String);

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number =
            |prefix: &str| text.strip_prefix(prefix)?.parse().ok().filter(|n| (1..=1000).contains(n));
        match text {
            "configured" => Ok(Rule::Configured),
            "literal" => Ok(Rule::Literal),
            "central" => Ok(Rule::Central),
            _ => number("flooding-")
                .map(Rule::Flooding)
                .or_else(|| number("random-").map(Rule::RandomWalk))
                .or_else(|| {
                    let part = text.strip_prefix("no-")?;
                    Part::ALL.into_iter().find(|known| known.name() == part).map(Rule::Without)
                })
                .ok_or_else(|| UnknownRule(text.to_owned())),
        }
    }
}
