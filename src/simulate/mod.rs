//! A network of many routers in one process: real mail replayed through the router's own decision.
//!
//! Each gateway of the network is a [`crate::pool::Pool`], a table of contacts and a clock that is
//! a little wrong; what it does with a message is [`crate::router::decide`], and what it may send
//! where is [`crate::policy`]: there is no second implementation of either. Events are worked off
//! in the order of their time, and whatever chance decides comes from a seed, so that a run can be
//! repeated to the last figure.
//!
//! This room knows mail archives, pools, the router and a wish for a network ([`Scenario`]). It
//! must never know a socket, the database, the daemon or the command line.

mod alternatives;
mod contacts;
mod gateway;
mod network;
mod page;
mod rule;
mod scenario;
mod score;
pub mod trace;
mod traffic;

pub use page::page;
pub use rule::{Part, Rule, UnknownRule};
pub use scenario::{Deaths, Named, Poison, Routing, Scenario, ScenarioError, Spam};
pub use score::{Row, Way};
pub use trace::{Trace, TraceError};
pub use traffic::{Post, Traffic};

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::router::RoutingPolicy;

/// What a run found.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Outcome {
    /// By what it can be repeated: version, configuration, scenario, seed and the numbers of the rule.
    pub conditions: String,
    /// Routers in the network.
    pub gateways: usize,
    /// Authors, each at home with one of them.
    pub clients: usize,
    /// Posts that were replayed.
    pub mails: usize,
    /// A row for each rule, in the order in which they were asked for.
    pub rows: Vec<Row>,
}

/// The seed, and the numbers of the rule that is configured.
fn conditions(scenario: &Scenario, policy: &RoutingPolicy) -> String {
    let p = scenario.routing.over(policy);
    format!(
        "cmr-mail {}; seed {}; matches {}, answers {}, first_walks {}, max_hops {}, strong_match {}, contacts {}",
        env!("CARGO_PKG_VERSION"),
        scenario.seed,
        p.matches,
        p.answers,
        p.first_walks,
        p.max_hops,
        p.strong_match,
        p.contacts
    )
}

/// Told how far a rule is: its name, posts done, all posts.
pub type Progress<'a> = &'a (dyn Fn(Rule, usize, usize) + Sync);

/// Replays the traffic under each rule. Rules run side by side, as many as there are `threads`; the
/// figures do not depend on how many that are.
#[must_use]
pub fn simulate(
    traffic: &Traffic,
    scenario: &Scenario,
    policy: &RoutingPolicy,
    rules: &[Rule],
    threads: usize,
    progress: Progress<'_>,
) -> Outcome {
    let rows = rows((traffic, None), scenario, policy, rules, threads, progress);
    Outcome {
        conditions: conditions(scenario, policy),
        gateways: scenario.gateways,
        clients: traffic.authors,
        mails: traffic.posts.len(),
        rows,
    }
}

/// Replays what was posted in a network of real gateways: first comes what that network reached,
/// then what each rule reaches with the same posts at the same gateways, which know the same others.
#[must_use]
pub fn replay(
    trace: &Trace,
    seed: u64,
    policy: &RoutingPolicy,
    rules: &[Rule],
    threads: usize,
    progress: Progress<'_>,
) -> Outcome {
    let (traffic, scenario) = (trace.traffic(), trace.scenario(seed));
    let mut found = vec![trace.row(&traffic)];
    found.extend(rows((&traffic, Some(trace)), &scenario, policy, rules, threads, progress));
    Outcome {
        conditions: conditions(&scenario, policy),
        gateways: scenario.gateways,
        clients: traffic.authors,
        mails: traffic.posts.len(),
        rows: found,
    }
}

/// A row for each rule.
fn rows(
    (traffic, trace): (&Traffic, Option<&Trace>),
    scenario: &Scenario,
    policy: &RoutingPolicy,
    rules: &[Rule],
    threads: usize,
    progress: Progress<'_>,
) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(rule) = rules.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut told = |posts| progress(*rule, posts, traffic.posts.len());
            done.push((*rule, network::run((traffic, trace), scenario, policy, *rule, &mut told)));
        }
        done
    };
    let mut found: Vec<(Rule, Row)> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads.clamp(1, rules.len().max(1))).map(|_| scope.spawn(work)).collect();
        all.into_iter().flat_map(|one| one.join().unwrap_or_default()).collect()
    });
    let place = |rule: &Rule| rules.iter().position(|other| other == rule);
    found.sort_by_key(|(rule, _)| place(rule));
    found.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests;
