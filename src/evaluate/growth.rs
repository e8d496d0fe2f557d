//! How the time of a decision grows with the pool and with the number of peers.

use super::{Doc, Finder, PoolFinder, Settings, Times, cpu, deflate_scan};
use std::collections::HashMap;
use std::sync::Arc;

/// The time of a question at one size, microseconds of CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// How many messages, or peers.
    pub size: usize,
    /// Mean.
    pub mean: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The exhaustive deflate-6 scan of the same, extrapolated.
    pub scan: f64,
}

/// 1, 2, 5, 10, 20 … times `from`, up to and with `to`.
#[must_use]
pub fn sizes(from: usize, to: usize) -> Vec<usize> {
    let steps = [1, 2, 5].into_iter();
    let mut all: Vec<usize> = (0..12)
        .flat_map(|power| steps.clone().map(move |step| from.saturating_mul(step * 10_usize.pow(power))))
        .take_while(|size| *size < to)
        .collect();
    all.push(to);
    all
}

/// Nearest messages: every question is asked at every size.
#[must_use]
pub fn by_messages(
    docs: &[Doc],
    sizes: &[usize],
    questions: &[Arc<[u8]>],
    settings: Settings,
    at: &mut dyn FnMut(usize),
) -> Vec<Point> {
    let mut finder = PoolFinder::new(settings, false);
    let mut learned = 0;
    let asked: Vec<&[u8]> = questions.iter().map(AsRef::as_ref).collect();
    let mut points = Vec::new();
    for size in sizes.iter().copied().filter(|size| *size <= docs.len()) {
        for (number, doc) in (0..).zip(docs).take(size).skip(learned) {
            finder.learn(number, &doc.author, &doc.text);
        }
        learned = size;
        at(size);
        let texts: Vec<&[u8]> = docs.iter().take(size).map(|doc| doc.text.as_ref()).collect();
        points.push(ask(&mut finder, size, &asked, deflate_scan(&texts, &asked).0));
    }
    points
}

/// Best peers: the authors who wrote most, each a peer. Where there are fewer authors than peers
/// are wanted, runs of an author's mails are peers.
#[must_use]
pub fn by_peers(
    docs: &[Doc],
    sizes: &[usize],
    questions: &[Arc<[u8]>],
    settings: Settings,
    at: &mut dyn FnMut(usize),
) -> Vec<Point> {
    let asked: Vec<&[u8]> = questions.iter().map(AsRef::as_ref).collect();
    let mut points = Vec::new();
    for size in sizes.iter().copied() {
        let Some(peers) = peers(docs, size) else { break };
        at(size);
        let mut finder = PoolFinder::new(settings, true);
        let mut window: Vec<Vec<u8>> = vec![Vec::new(); size];
        for (doc, number) in docs.iter().zip(peers) {
            let Some(text) = window.get_mut(number as usize) else { continue };
            finder.learn(number, &doc.author, &doc.text);
            {
                text.extend_from_slice(&doc.text);
                text.drain(..text.len().saturating_sub(32 * 1024));
            }
        }
        let texts: Vec<&[u8]> = window.iter().map(Vec::as_slice).collect();
        points.push(ask(&mut finder, size, &asked, deflate_scan(&texts, &asked).0));
    }
    points
}

/// The peer of each mail, numbered from the one who wrote most; `None` if there are too few mails.
fn peers(docs: &[Doc], wanted: usize) -> Option<Vec<u32>> {
    // As long runs as will do.
    let run = std::iter::successors(Some(usize::MAX), |run| (*run > 1).then(|| (*run).min(2048) / 2));
    run.into_iter().find_map(|run| {
        let mut written: HashMap<&str, usize> = HashMap::new();
        let keys: Vec<(&str, usize)> = docs
            .iter()
            .map(|doc| {
                let nth = written.entry(doc.author.as_str()).or_default();
                *nth += 1;
                (doc.author.as_str(), (*nth - 1) / run)
            })
            .collect();
        let mut mails: HashMap<(&str, usize), usize> = HashMap::new();
        for key in &keys {
            *mails.entry(*key).or_default() += 1;
        }
        if mails.len() < wanted {
            return None;
        }
        let mut order: Vec<_> = mails.into_iter().map(|(key, n)| (n, key)).collect();
        order.sort_by(|a, b| b.cmp(a));
        let number: HashMap<_, u32> = order.into_iter().map(|(_, key)| key).zip(0..).collect();
        Some(keys.iter().filter_map(|key| number.get(key).copied()).collect())
    })
}

fn ask(finder: &mut PoolFinder, size: usize, questions: &[&[u8]], scan: f64) -> Point {
    let mut times = Times::default();
    for question in questions {
        let begin = cpu();
        std::hint::black_box(finder.find(question, 32));
        times.push(cpu().saturating_sub(begin));
    }
    Point { size, mean: times.mean(), p99: times.quantile(0.99), scan }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::Metric;

    #[test]
    fn sizes_grow_by_ones_twos_and_fives() {
        assert_eq!(sizes(10, 300), [10, 20, 50, 100, 200, 300]);
        assert_eq!(sizes(10, 10), [10]);
        assert_eq!(sizes(10, 5), [5]);
    }

    #[test]
    fn every_size_has_its_point() {
        let docs: Vec<Doc> = (0..30)
            .map(|n: usize| Doc {
                text: Arc::from(format!("mail {n} about word{}", n % 7).into_bytes()),
                author: (n % 5).to_string(),
                ..Doc::default()
            })
            .collect();
        let questions = [Arc::from(&b"which mail is about word3?"[..])];
        let settings = Settings { metric: Metric::Gain, age: 1.0 };
        let mut seen = Vec::new();
        let points = by_messages(&docs, &[10, 20, 40], &questions, settings, &mut |size| seen.push(size));
        assert_eq!(seen, [10, 20], "40 are not there");
        assert!(points.iter().all(|point| point.mean > 0.0 && point.scan > 0.0 && point.p99 > 0.0));
        assert_eq!(by_peers(&docs, &[2, 5, 9, 31], &questions, settings, &mut |_| {}).len(), 3);
        let numbers = peers(&docs, 9).unwrap();
        let most = numbers.iter().max().unwrap();
        assert!(numbers.len() == 30 && (8..20).contains(most), "{numbers:?}");
        assert_eq!(peers(&docs, 5).unwrap().iter().max(), Some(&4));
    }
}
