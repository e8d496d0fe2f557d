//! What a run is worth, and what it cost.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;

use super::rule::Rule;
use super::traffic::Traffic;

/// One transfer of a post, for the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// From this gateway.
    pub from: u32,
    /// To that one.
    pub to: u32,
    /// Header lines at its arrival, less the author's own: 1 for the first transfer.
    pub hop: usize,
    /// A step of a walk; else it was sent because of a match.
    pub walk: bool,
}

/// What one rule reached. Shares are 0 to 1.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The rule.
    pub policy: String,
    /// Of all pairs of an author and a message of somebody else in a thread that the author wrote
    /// in: the share that reached the author.
    pub recall: f64,
    /// Of all messages that reached authors: the share from threads that they wrote in.
    pub precision: f64,
    /// Whole messages sent between gateways, for each post.
    pub bodies_per_post: f64,
    /// Of these: steps of walks.
    pub steps_per_post: f64,
    /// Of these: matches that went to where the post they match comes from. The rest are posts that
    /// went to where one of their matches comes from.
    pub matches_per_post: f64,
    /// Transfers that ended before the body, for each post: with "known already", or misdirected.
    pub offers_per_post: f64,
    /// Of these: transfers to who is named as a first router, and did not have what it is said to have taken
    /// from its author.
    pub misdirected_per_post: f64,
    /// The hops that a body had made at its arrival, on average.
    pub hops_mean: f64,
    /// The share of all posts that visited the busiest gateway.
    pub load_max_share: f64,
    /// Posts at the busiest gateway over posts at the average one.
    pub load_max_over_mean: f64,
    /// "Busy" answers, for each post.
    pub busy_per_post: f64,
    /// Bodies that broke a rule of the format, for each post.
    pub refused_per_post: f64,
    /// Of all messages that reached authors: the share that is spam.
    pub spam_share: f64,
    /// Of all bodies: the share that went to an address that forged lines name.
    pub named_bodies_share: f64,
    /// Of all entries in contact tables: the share that is such an address.
    pub named_contacts_share: f64,
    /// Recall by tenths of the traffic: of the pairs that became possible in each.
    pub recall_by_tenth: Vec<f64>,
    /// How many posts visited each gateway, the busiest first, at most 1,000 of them evenly spaced.
    pub load: Vec<usize>,
    /// Bytes of the pool of an average gateway, at the end.
    pub pool_bytes_mean: usize,
    /// Seconds that the run took.
    pub seconds: f64,
    /// The way of one post, for the picture.
    pub way: Vec<Way>,
}

/// What is counted during a run.
#[derive(Debug, Default)]
pub(super) struct Score {
    /// Author and post.
    delivered: HashSet<(u32, u32)>,
    pub(super) bodies: u64,
    pub(super) steps: u64,
    pub(super) matches: u64,
    pub(super) offers: u64,
    pub(super) misdirected: u64,
    pub(super) busy: u64,
    pub(super) refused: u64,
    pub(super) named: u64,
    pub(super) hops: u64,
}

/// Who wrote in a thread, by the number of the post.
#[derive(Debug, Default)]
struct Thread {
    /// The first post of each author.
    first: BTreeMap<u32, usize>,
    /// All posts, and who wrote them.
    posts: Vec<(usize, u32)>,
}

impl Score {
    /// This post reached that author.
    pub(super) fn deliver(&mut self, author: u32, post: u32) {
        self.delivered.insert((author, post));
    }

    /// The figures that need the whole traffic: recall, by tenths, precision, share of spam.
    pub(super) fn judge(&self, traffic: &Traffic, row: &mut Row) {
        const TENTHS: usize = 10;
        let mut threads: BTreeMap<u32, Thread> = BTreeMap::new();
        for (at, post) in traffic.posts.iter().enumerate() {
            let Some(thread) = post.thread else { continue };
            let thread = threads.entry(thread).or_default();
            thread.first.entry(post.author).or_insert(at);
            thread.posts.push((at, post.author));
        }
        let mut wanted = [0_u64; TENTHS];
        let mut got = [0_u64; TENTHS];
        for Thread { first, posts } in threads.values() {
            for (author, since) in first {
                for (at, _) in posts.iter().filter(|(_, by)| by != author) {
                    let tenth = (at.max(since) * TENTHS).checked_div(traffic.posts.len()).unwrap_or(0);
                    let post = u32::try_from(*at).unwrap_or(u32::MAX);
                    if let (Some(wanted), Some(got)) = (wanted.get_mut(tenth), got.get_mut(tenth)) {
                        *wanted += 1;
                        *got += u64::from(self.delivered.contains(&(*author, post)));
                    }
                }
            }
        }
        let wrote_in: BTreeSet<(u32, u32)> = threads
            .iter()
            .flat_map(|(number, thread)| thread.first.keys().map(|author| (*author, *number)))
            .collect();
        let (mut right, mut spam) = (0_u64, 0_u64);
        for (author, post) in &self.delivered {
            match traffic.posts.get(*post as usize).map(|post| post.thread) {
                Some(Some(thread)) => right += u64::from(wrote_in.contains(&(*author, thread))),
                _ => spam += 1,
            }
        }
        let delivered = self.delivered.len() as u64;
        row.recall = share(got.iter().sum(), wanted.iter().sum());
        row.recall_by_tenth = got.iter().zip(wanted).map(|(got, wanted)| share(*got, wanted)).collect();
        row.precision = share(right, delivered);
        row.spam_share = share(spam, delivered);
        let posts = traffic.posts.len() as u64;
        row.bodies_per_post = share(self.bodies, posts);
        row.steps_per_post = share(self.steps, posts);
        row.matches_per_post = share(self.matches, posts);
        row.offers_per_post = share(self.offers, posts);
        row.busy_per_post = share(self.busy, posts);
        row.misdirected_per_post = share(self.misdirected, posts);
        row.refused_per_post = share(self.refused, posts);
        row.named_bodies_share = share(self.named, self.bodies);
        row.hops_mean = share(self.hops, self.bodies);
    }
}

/// `part` of `all`; 0 of nothing.
pub(super) fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

impl Row {
    pub(super) fn of(rule: Rule) -> Row {
        Row { policy: rule.to_string(), ..Row::default() }
    }

    /// What the gateways say: how many posts visited each.
    pub(super) fn loads(&mut self, mut visited: Vec<usize>, posts: usize) {
        const SHOWN: usize = 1000;
        visited.sort_unstable_by(|a, b| b.cmp(a));
        let most = visited.first().copied().unwrap_or(0) as u64;
        let all: u64 = visited.iter().map(|posts| *posts as u64).sum();
        self.load_max_share = share(most, posts as u64);
        self.load_max_over_mean = share(most * visited.len() as u64, all);
        self.load = visited.iter().step_by(visited.len().div_ceil(SHOWN).max(1)).copied().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::UnixTime;
    use crate::simulate::Post;
    use std::sync::Arc;

    #[test]
    fn pairs_of_authors_and_messages_of_others() {
        let post = |author, thread| Post { author, at: UnixTime(0), thread, text: Arc::from(&b"x"[..]) };
        // Two people in thread 0 (0 wrote twice), one alone in thread 1, and spam.
        let posts =
            vec![post(0, Some(0)), post(1, Some(0)), post(0, Some(0)), post(2, Some(1)), post(3, None)];
        let traffic = Traffic { posts, authors: 4 };
        let mut score = Score::default();
        score.deliver(0, 1);
        score.deliver(1, 0);
        score.deliver(2, 4);
        score.deliver(2, 0);
        score.bodies = 10;
        let mut row = Row::default();
        score.judge(&traffic, &mut row);
        // Wanted are (0,1), (1,0), (1,2).
        assert!((row.recall - 2.0 / 3.0).abs() < 1e-9, "{}", row.recall);
        assert!((row.precision - 0.5).abs() < 1e-9);
        assert!((row.spam_share - 0.25).abs() < 1e-9);
        assert!((row.bodies_per_post - 2.0).abs() < 1e-9);
        row.loads(vec![1, 4, 1], 5);
        assert!((row.load_max_share - 0.8).abs() < 1e-9);
        assert!((row.load_max_over_mean - 2.0).abs() < 1e-9);
        assert_eq!(row.load, [4, 1, 1]);
    }
}
