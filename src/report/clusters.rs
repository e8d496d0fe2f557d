//! What belongs together: groups of mails that are nearer to each other than to the rest.
//!
//! Groups are found by modularity (Blondel and others, 2008): each mail joins the group that it has
//! most to do with, beyond what chance would give; then groups join groups.

use super::Mail;
use super::layout::edges;
use super::near::Graph;
use crate::distance::{LAMBDA, WordModel, shared_wording};
use std::collections::{BTreeMap, HashMap};

/// So many groups are described.
pub(super) const DESCRIBED: usize = 60;
/// A smaller one is not worth describing.
const SMALLEST: usize = 3;
/// The wording of a group is read off so many of its mails.
const READ: usize = 40;
/// So many words are named.
const WORDS: usize = 8;
/// Of each text, so many bytes are read for that.
const TEXT: usize = 8 << 10;

/// A group of mails.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its number.
    pub number: u32,
    /// How many mails are in it.
    pub mails: usize,
    /// The one that saves most on the others.
    pub typical: u32,
    /// The words that they share, those that save most first.
    pub words: Vec<String>,
}

/// The group of each mail, numbered from the largest.
pub(super) fn of(graph: &Graph) -> Vec<u32> {
    let mut links: Vec<Vec<(u32, f32)>> = vec![Vec::new(); graph.len()];
    for (a, b, w) in edges(graph) {
        for (from, to) in [(a, b), (b, a)] {
            if let Some(links) = links.get_mut(from as usize) {
                links.push((to, w));
            }
        }
    }
    let mut group: Vec<u32> = (0..).take(graph.len()).collect();
    // Three levels: more would only join what few edges hold together.
    for _ in 0..3 {
        let moved = moved(&links);
        let count = moved.iter().copied().max().map_or(0, |most| most as usize + 1);
        let stays = count == links.len();
        for own in &mut group {
            *own = moved.get(*own as usize).copied().unwrap_or(0);
        }
        if stays {
            break;
        }
        let mut joined: Vec<BTreeMap<u32, f32>> = vec![BTreeMap::new(); count];
        for (from, to) in links.iter().zip(&moved) {
            for (other, w) in from {
                let other = moved.get(*other as usize).copied().unwrap_or(0);
                if let Some(joined) = joined.get_mut(*to as usize) {
                    *joined.entry(other).or_default() += w;
                }
            }
        }
        links = joined.into_iter().map(|all| all.into_iter().collect()).collect();
    }
    by_size(&group)
}

/// One level: a new group for each node, numbered without gaps.
fn moved(links: &[Vec<(u32, f32)>]) -> Vec<u32> {
    let degree: Vec<f32> = links.iter().map(|all| all.iter().map(|(_, w)| w).sum()).collect();
    let all: f32 = degree.iter().sum::<f32>().max(1e-9);
    let mut group: Vec<u32> = (0..).take(links.len()).collect();
    let mut weight = degree.clone();
    for _ in 0..20 {
        let mut changed = false;
        for (node, near) in links.iter().enumerate() {
            let (Some(own), Some(degree)) = (group.get(node).copied(), degree.get(node).copied()) else {
                continue;
            };
            if let Some(weight) = weight.get_mut(own as usize) {
                *weight -= degree;
            }
            let mut to: BTreeMap<u32, f32> = BTreeMap::new();
            for (other, w) in near.iter().filter(|(other, _)| *other as usize != node) {
                *to.entry(group.get(*other as usize).copied().unwrap_or(0)).or_default() += w;
            }
            let worth =
                |group: u32, w: f32| w - weight.get(group as usize).copied().unwrap_or(0.0) * degree / all;
            let mut best = (own, worth(own, to.get(&own).copied().unwrap_or(0.0)));
            for (group, w) in to {
                let worth = worth(group, w);
                if worth > best.1 + 1e-6 {
                    best = (group, worth);
                }
            }
            if let Some(weight) = weight.get_mut(best.0 as usize) {
                *weight += degree;
            }
            if best.0 != own
                && let Some(own) = group.get_mut(node)
            {
                *own = best.0;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    group
        .iter()
        .map(|own| {
            let next = u32::try_from(numbers.len()).unwrap_or(0);
            *numbers.entry(*own).or_insert(next)
        })
        .collect()
}

fn by_size(group: &[u32]) -> Vec<u32> {
    let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
    group.iter().for_each(|own| *sizes.entry(*own).or_default() += 1);
    let mut order: Vec<(u32, usize)> = sizes.into_iter().collect();
    order.sort_by_key(|(number, size)| (std::cmp::Reverse(*size), *number));
    let numbers: HashMap<u32, u32> = (0..).zip(&order).map(|(new, (old, _))| (*old, new)).collect();
    group.iter().map(|own| numbers.get(own).copied().unwrap_or(0)).collect()
}

/// The largest groups in words.
pub(super) fn describe(
    mails: &[Mail],
    graph: &Graph,
    cluster: &[u32],
    model: &dyn WordModel,
) -> Vec<Cluster> {
    let mut members: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (at, own) in (0..).zip(cluster) {
        members.entry(*own).or_default().push(at);
    }
    let mut saves = vec![0.0; mails.len()];
    for (near, own) in graph.iter().zip(cluster) {
        for it in near.iter().filter(|it| cluster.get(it.mail as usize) == Some(own)) {
            if let Some(sum) = saves.get_mut(it.mail as usize) {
                *sum += it.bits;
            }
        }
    }
    let large = members.into_iter().filter(|(_, all)| all.len() >= SMALLEST).take(DESCRIBED);
    large
        .filter_map(|(number, all)| {
            let saved = |at: &u32| saves.get(*at as usize).copied().unwrap_or(0.0);
            let typical = *all.iter().max_by(|a, b| saved(a).total_cmp(&saved(b)).then(b.cmp(a)))?;
            let words = wording(mails, &all, typical, model);
            Some(Cluster { number, mails: all.len(), typical, words })
        })
        .collect()
}

/// The words of the typical mail that save most on the others.
fn wording(mails: &[Mail], all: &[u32], typical: u32, model: &dyn WordModel) -> Vec<String> {
    let text = |at: u32| {
        let text = mails.get(at as usize).map(|mail| mail.text.as_slice()).unwrap_or_default();
        text.get(..TEXT).unwrap_or(text)
    };
    let mut bits: HashMap<String, f64> = HashMap::new();
    for other in all.iter().step_by(all.len() / READ + 1).filter(|other| **other != typical) {
        for shared in shared_wording(text(typical), text(*other), model, LAMBDA) {
            let word = shared.word.to_lowercase();
            if word.chars().count() > 2 && word.chars().any(char::is_alphabetic) {
                *bits.entry(word).or_default() += shared.bits;
            }
        }
    }
    let mut words: Vec<(String, f64)> = bits.into_iter().collect();
    words.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    words.into_iter().take(WORDS).map(|(word, _)| word).collect()
}
