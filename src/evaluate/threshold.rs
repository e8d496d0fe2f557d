//! From how many bits on an answer is a match: how often the answers are right that would be given,
//! and how many of the right ones that would be, for one threshold after the other.

use super::corpus::Threads;
use super::method::{Finder, PoolFinder, Settings};
use super::run::{Progress, Task};
use super::{Chance, Method};
use crate::pool::{Audience, NET_BITS, Query, Scored};
use serde::Serialize;

/// The thresholds that are tried, in bits beyond the cost of pointing back.
const BITS: [f64; 12] = [-4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, 32.0];
/// The shares of C(X) that are tried for a match that ends the walk.
const SHARES: [f64; 8] = [0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3];

/// One threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Threshold {
    /// In bits, or as a share of C(X).
    pub from: f64,
    /// Answers that reach it.
    pub answers: usize,
    /// The share of them that are right.
    pub precision: f64,
    /// The share of all right answers that reach it.
    pub recall: f64,
    /// 2 · precision · recall / (precision + recall).
    pub f1: f64,
    /// The share of questions that have an answer.
    pub answered: f64,
    /// Whether it is the one in use.
    pub in_use: bool,
}

/// What thresholds would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Thresholds {
    /// How many questions were asked.
    pub questions: usize,
    /// How many answers there were, matches or not.
    pub answers: usize,
    /// By the bits saved beyond what pointing back costs.
    pub bits: Vec<Threshold>,
    /// Of the strongest match of each question, by the share of C(X) that it saves.
    pub strong: Vec<Threshold>,
}

/// Asks for the nearest `most` messages of each question, as the router does, and tries every
/// threshold on the answers. `strong` is the share in use.
#[must_use]
pub fn thresholds(
    threads: &Threads,
    settings: Settings,
    (most, strong): (usize, f64),
    (sample, seed): (Option<usize>, u64),
    progress: Progress<'_>,
) -> Thresholds {
    let mut chosen = threads.questions.clone();
    Chance::new(seed).shuffle(&mut chosen);
    chosen.truncate(sample.unwrap_or(usize::MAX));
    chosen.sort_unstable();
    let mut finder = PoolFinder::new(settings, false);
    let mut learned = 0;
    let mut asked: Vec<Vec<(Scored, bool)>> = Vec::with_capacity(chosen.len());
    for (nth, at) in chosen.iter().enumerate() {
        for (number, doc) in threads.mails.iter().enumerate().take(*at).skip(learned) {
            finder.learn(u32::try_from(number).unwrap_or(u32::MAX), &doc.author, &doc.text);
        }
        learned = learned.max(*at);
        let (Some(doc), Some(thread)) = (threads.mails.get(*at), threads.thread.get(*at)) else { continue };
        let text = |seq: i64| threads.mails.get(usize::try_from(seq).ok()?).map(|doc| doc.text.to_vec());
        let query =
            Query { metric: settings.metric, age: settings.age, ..Query::new(&doc.text, Audience::Public) };
        let found = finder.pool().search(&query, most, &text);
        let right = |scored: &Scored| {
            usize::try_from(scored.seq).is_ok_and(|seq| threads.thread.get(seq) == Some(thread))
        };
        asked.push(found.into_iter().map(|scored| (scored, right(&scored))).collect());
        progress(Task::Ask(Method::Default), nth, chosen.len());
    }
    let strongest: Vec<Vec<(Scored, bool)>> = asked
        .iter()
        .map(|answers| {
            let matches = answers.iter().filter(|(scored, _)| scored.is_match);
            matches.max_by(|a, b| a.0.gain_share.total_cmp(&b.0.gain_share)).copied().into_iter().collect()
        })
        .collect();
    Thresholds {
        questions: asked.len(),
        answers: asked.iter().map(Vec::len).sum(),
        bits: with(&BITS, NET_BITS)
            .map(|(from, in_use)| tried(&asked, from, in_use, |scored| scored.is_match_from(from)))
            .collect(),
        strong: with(&SHARES, strong)
            .map(|(from, in_use)| tried(&strongest, from, in_use, |scored| scored.gain_share >= from))
            .collect(),
    }
}

/// These thresholds and the one in use, in their order.
fn with(tried: &[f64], in_use: f64) -> impl Iterator<Item = (f64, bool)> {
    let mut all: Vec<f64> = tried.iter().copied().chain([in_use]).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all.into_iter().map(move |from| (from, from == in_use))
}

fn tried(
    asked: &[Vec<(Scored, bool)>],
    from: f64,
    in_use: bool,
    reaches: impl Fn(&Scored) -> bool,
) -> Threshold {
    let all = asked.iter().flatten();
    let given: Vec<bool> =
        all.clone().filter(|(scored, _)| reaches(scored)).map(|(_, right)| *right).collect();
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    let right = given.iter().filter(|right| **right).count();
    let precision = share(right, given.len());
    let recall = share(right, all.filter(|(_, right)| *right).count());
    let sum = precision + recall;
    let answered = asked.iter().filter(|answers| answers.iter().any(|(scored, _)| reaches(scored))).count();
    Threshold {
        from,
        answers: given.len(),
        precision,
        recall,
        f1: if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 },
        answered: share(answered, asked.len()),
        in_use,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::Metric;
    use crate::evaluate::Doc;
    use std::sync::Arc;

    #[test]
    fn a_higher_threshold_gives_fewer_answers() {
        let texts = [
            "the heron nests behind the pump house of the canal",
            "who repairs organ pipes of lead and tin in winter",
            "a compiler of regular expressions for telegraph code",
            "does the heron by the pump house of the canal nest in april",
            "an organ builder repairs pipes of tin and lead, telegraph him",
        ];
        let threads = Threads {
            mails: texts.map(|text| Doc { text: Arc::from(text.as_bytes()), ..Doc::default() }).to_vec(),
            thread: vec![0, 1, 2, 0, 1],
            pool: 3,
            questions: vec![3, 4],
            skipped: Vec::new(),
        };
        let settings = Settings { metric: Metric::Gain, age: 1.0 };
        let found = thresholds(&threads, settings, (5, 0.3), (None, 1), &mut |_, _, _| {});
        assert_eq!(found.questions, 2);
        assert!(found.bits.is_sorted_by(|a, b| a.from < b.from && a.answers >= b.answers), "{found:#?}");
        let used: Vec<&Threshold> = found.bits.iter().filter(|row| row.in_use).collect();
        assert_eq!(used.iter().map(|row| row.from).collect::<Vec<_>>(), [NET_BITS]);
        assert_eq!((used[0].precision, used[0].recall, used[0].answered), (1.0, 1.0, 1.0), "{found:#?}");
        assert!(found.strong.iter().any(|row| row.in_use && row.from == 0.3));
        let none = thresholds(&threads, settings, (0, 0.3), (Some(1), 1), &mut |_, _, _| {});
        assert_eq!((none.questions, none.answers, none.bits[0].f1), (1, 0, 0.0));
    }
}
