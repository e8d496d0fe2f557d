//! The map: a place in the plane for each mail, so that what is near in bits is near to the eye.
//!
//! Mails attract those that are nearest to them and give way to all others (a neighbour graph
//! layout by stochastic gradient descent, as UMAP and LargeVis do). It begins with the clusters,
//! laid out in the same way, and their mails around them. Nothing but the graph goes in.

use super::near::Graph;
use std::collections::HashMap;

/// Places, each coordinate from 0 to 1.
pub type Map = Vec<[f32; 2]>;

/// How often a strong edge is looked at.
const ROUNDS: usize = 200;
/// For each of these, so many mails are given way to.
const OTHERS: usize = 5;
/// How steep the attraction is: about one unit apart is near.
const STEEP: f32 = 1.6;
/// No step is longer.
const STEP: f32 = 4.0;

/// An edge between two mails, and how strong it is: 0 to 1.
type Edge = (u32, u32, f32);

/// Luck that is the same every time (xorshift).
struct Luck(u64);

impl Luck {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % n.max(1)
    }

    fn unit(&mut self) -> f32 {
        self.below(1 << 20) as f32 / (1 << 20) as f32
    }
}

/// With fewer digits.
#[allow(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn single(value: f64) -> f32 {
    value as f32
}

/// The strength of each pair that is near in one direction or both.
pub(super) fn edges(graph: &Graph) -> Vec<Edge> {
    let mut strong: HashMap<(u32, u32), f32> = HashMap::new();
    for (from, near) in (0_u32..).zip(graph) {
        let best = near.first().map_or(1.0, |it| it.bits).max(1e-9);
        for it in near {
            let share = single((it.bits / best) * (it.bits / best));
            let key = (from.min(it.mail), from.max(it.mail));
            let known = strong.entry(key).or_default();
            // Either direction is enough; both are more.
            *known += share - *known * share;
        }
    }
    let mut edges: Vec<Edge> = strong.into_iter().map(|((a, b), w)| (a, b, w)).collect();
    edges.sort_by_key(|(a, b, _)| (*a, *b));
    edges
}

/// The map of a graph and its clusters.
pub(super) fn map(graph: &Graph, cluster: &[u32]) -> Map {
    let edges = edges(graph);
    let mut luck = Luck(0x9e37_79b9_7f4a_7c15);
    let groups = cluster.iter().copied().max().map_or(0, |most| most as usize + 1);
    let mut between: HashMap<(u32, u32), f32> = HashMap::new();
    for (a, b, w) in &edges {
        if let (Some(a), Some(b)) = (cluster.get(*a as usize), cluster.get(*b as usize))
            && a != b
        {
            *between.entry((*a.min(b), *a.max(b))).or_default() += w;
        }
    }
    let most = between.values().copied().fold(0.0_f32, f32::max).max(1e-9);
    let mut coarse: Vec<Edge> = between.into_iter().map(|((a, b), w)| (a, b, (w / most).sqrt())).collect();
    coarse.sort_by_key(|(a, b, _)| (*a, *b));
    let mut random = |n: usize, wide: f32| -> Map {
        (0..n).map(|_| [(luck.unit() - 0.5) * wide, (luck.unit() - 0.5) * wide]).collect()
    };
    let mut centres = random(groups, 20.0);
    let mut places = random(graph.len(), 2.0);
    settle(&mut centres, &coarse);
    for (place, group) in places.iter_mut().zip(cluster) {
        let centre = centres.get(*group as usize).copied().unwrap_or_default();
        *place = [place[0] + centre[0] * 1.5, place[1] + centre[1] * 1.5];
    }
    settle(&mut places, &edges);
    fit(places)
}

/// Moves places until near ones are near.
fn settle(places: &mut Map, edges: &[Edge]) {
    let count = places.len();
    let mut luck = Luck(0x2545_f491_4f6c_dd1d);
    // A weak edge is looked at less often.
    let mut due: Vec<f32> = edges.iter().map(|(_, _, w)| 1.0 - w.clamp(0.0, 1.0)).collect();
    for round in 0..ROUNDS {
        let rate = 1.0 - round as f32 / ROUNDS as f32;
        for ((a, b, weight), due) in edges.iter().zip(&mut due) {
            *due += weight;
            if *due < 1.0 {
                continue;
            }
            *due -= 1.0;
            let (a, b) = (*a as usize, *b as usize);
            pull(places, a, b, rate, true);
            for _ in 0..OTHERS {
                let other = luck.below(count);
                if other != a && other != b {
                    pull(places, a, other, rate, false);
                }
            }
        }
    }
}

fn pull(places: &mut Map, a: usize, b: usize, rate: f32, together: bool) {
    let (Some(&[ax, ay]), Some(&[bx, by])) = (places.get(a), places.get(b)) else { return };
    let (dx, dy) = (ax - bx, ay - by);
    let square = dx * dx + dy * dy;
    let force = if together {
        -2.0 * STEEP / (1.0 + STEEP * square)
    } else {
        2.0 / ((0.01 + square) * (1.0 + STEEP * square))
    };
    let (x, y) = ((force * dx).clamp(-STEP, STEP) * rate, (force * dy).clamp(-STEP, STEP) * rate);
    if let Some(place) = places.get_mut(a) {
        *place = [ax + x, ay + y];
    }
    if together && let Some(place) = places.get_mut(b) {
        *place = [bx - x, by - y];
    }
}

/// Into the unit square; what lies far outside is brought to its edge, so that one stray mail does
/// not make a dot of all others.
fn fit(mut places: Map) -> Map {
    let bounds = |axis: usize| {
        let mut all: Vec<f32> = places.iter().filter_map(|place| place.get(axis).copied()).collect();
        all.sort_by(f32::total_cmp);
        let cut = all.len() / 500;
        let low = all.get(cut).copied().unwrap_or(0.0);
        let high = all.get(all.len().saturating_sub(cut + 1)).copied().unwrap_or(1.0);
        (low, (high - low).max(1e-6))
    };
    let bounds = [bounds(0), bounds(1)];
    for place in &mut places {
        for (value, (low, wide)) in place.iter_mut().zip(bounds) {
            *value = ((*value - low) / wide * 0.96 + 0.02).clamp(0.0, 1.0);
        }
    }
    places
}
