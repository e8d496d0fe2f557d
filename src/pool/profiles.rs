//! What peers have sent us: the Yi of specification section 3.2.
//!
//! A peer is the messages that it has sent and that are still here, in two generations: when the
//! younger one has [`GENERATION`] messages it becomes the older one, and what was older counts no
//! more. There is no text: the postings say which messages have a word, and each message which
//! generation it belongs to; only of frequent words and of pairs are there sums ([`super::sums`]). A message counts with the square root of its
//! length, so that one long mail does not outweigh everything else.

use super::clues::ODDS;
use super::index::MANY;
use super::nearest::rounded;
use super::sums::{self, Sums};
use super::tally::single;
use super::{Audience, Pool};
use crate::distance::{Measured, Metric, each_token, word_counts};
use crate::message::Address;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Messages of one generation.
const GENERATION: u32 = 1000;

/// How many messages of a profile count when it is asked which one to give up.
const ESTABLISHED: u64 = 16;

/// A peer is worth asking if it saves at least so many bits.
pub const PEER_MIN_GAIN_BITS: f64 = 2.0;
/// A peer that is worth asking also saves at least this share of C(X).
pub const PEER_MIN_GAIN_SHARE: f64 = 0.01;

/// How many postings are read for one message, about.
const POSTINGS: usize = 10_000;

/// λ/(1−λ) of words: how often the next word of X is expected from what a peer has sent, rather than
/// from what all others have sent. It and the next two were chosen on the last fifth, and on the last
/// two fifths, of the training set of 20 newsgroups.
const WORD_ODDS: f32 = 0.1;
/// The same of pairs of words, which are foretold less often.
const PAIR_ODDS: f32 = 0.03;
/// So much weight has the pool's word model beside what other peers have sent.
const GROUND: f32 = 1000.0;
/// So many pairs of a message count, the first ones.
const MOST_PAIRS: usize = 4096;
/// When so many generations count no more, what is left of them is removed.
const CLOSED: usize = 64;

/// How well what a peer has sent explains X.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerCost {
    /// The peer.
    pub address: Address,
    /// C(X|Yi), bits. C(X) if it knows nothing of it.
    pub bits: f64,
    /// C(X) − C(X|Yi), bits.
    pub gain_bits: f64,
    /// The gain as a share of C(X), 0 to 1.
    pub gain_share: f64,
    /// The distance under the metric that was asked for. Smaller is nearer.
    pub distance: f64,
    /// How many messages it has been credited for.
    pub messages: u64,
    /// How many words it shares with X that not everybody uses.
    pub shared: u32,
    /// Whether the gain says anything: at least [`PEER_MIN_GAIN_BITS`] and
    /// [`PEER_MIN_GAIN_SHARE`], and a shared word that not everybody uses.
    pub signal: bool,
}

/// What a section of so many words weighs: √words, in parts of 1024, so that sums are exact.
pub(super) fn weight(words: u64) -> u32 {
    u32::try_from(words.min(1 << 40).saturating_mul(1 << 20).isqrt()).unwrap_or(u32::MAX)
}

/// A part of a peer's messages.
#[derive(Clone, Copy, Debug, Default)]
struct Generation {
    /// The place of its peer plus 1, 0 if it counts no more.
    owner: u32,
    /// Messages here that belong to it.
    messages: u32,
    /// The sum of their weights.
    weight: u64,
}

#[derive(Debug)]
struct Profile {
    /// Its place among those that are scored.
    place: u32,
    /// How many messages it has been credited for.
    messages: u64,
    /// When, in the order of credits.
    last: u64,
    /// Its generations by number, 0 for none.
    young: u32,
    old: u32,
    /// How many messages the younger one was credited for.
    in_young: u32,
}

/// The profiles, at most so many.
#[derive(Debug)]
pub(super) struct Profiles {
    by_address: HashMap<Address, Profile>,
    /// By number; the first one is nobody's.
    generations: Vec<Generation>,
    free_generations: Vec<u32>,
    /// Generations that count no more, and may have sums yet.
    closed: Vec<u32>,
    pub(super) sums: Sums,
    /// The weight and the words of all messages that were ever counted.
    counted: (u64, u64),
    /// By place: the sum of the weights of the peer's messages.
    weights: Vec<u64>,
    free_places: Vec<u32>,
    pinned: HashSet<Address>,
    most: usize,
    credits: u64,
}

impl Default for Profiles {
    fn default() -> Self {
        Profiles::new(0)
    }
}

impl Profiles {
    pub(super) fn new(most: usize) -> Self {
        Profiles {
            by_address: HashMap::new(),
            generations: vec![Generation::default()],
            free_generations: Vec::new(),
            closed: Vec::new(),
            sums: Sums::default(),
            counted: (0, 0),
            weights: Vec::new(),
            free_places: Vec::new(),
            pinned: HashSet::new(),
            most,
            credits: 0,
        }
    }

    pub(super) fn credited(&self, peer: &Address) -> (u64, u64) {
        self.by_address.get(peer).map_or((0, 0), |p| (p.messages, p.last))
    }

    pub(super) fn pin(&mut self, pinned: HashSet<Address>) {
        self.pinned = pinned;
    }

    /// A message of this weight: credits its sender, and the router that took it if that is
    /// known already; one that takes the place of itself earns nothing new. The generations that
    /// the message belongs to.
    pub(super) fn credit(&mut self, sender: &Address, home: &Address, weight: u32, again: bool) -> [u32; 2] {
        let first = self.add(sender, weight, again);
        let second = home != sender && self.by_address.contains_key(home);
        [first, if second { self.add(home, weight, again) } else { 0 }]
    }

    fn add(&mut self, peer: &Address, weight: u32, again: bool) -> u32 {
        let again = again && self.by_address.contains_key(peer);
        self.credits += u64::from(!again);
        if !self.by_address.contains_key(peer) && !self.make_room() {
            return 0;
        }
        let Profiles { by_address, weights, free_places, credits, .. } = self;
        let profile = by_address.entry(peer.clone()).or_insert_with(|| {
            let place = free_places.pop().unwrap_or_else(|| {
                weights.push(0);
                u32::try_from(weights.len() - 1).unwrap_or(u32::MAX)
            });
            Profile { place, messages: 0, last: 0, young: 0, old: 0, in_young: 0 }
        });
        if !again {
            profile.messages += 1;
            profile.last = *credits;
        }
        if profile.young == 0 || profile.in_young >= GENERATION {
            profile.in_young = 0;
            let gone = std::mem::replace(&mut profile.old, profile.young);
            let new = Generation { owner: profile.place + 1, ..Generation::default() };
            profile.young = match self.free_generations.pop() {
                Some(number) => number,
                None => {
                    self.generations.push(Generation::default());
                    u32::try_from(self.generations.len() - 1).unwrap_or(0)
                }
            };
            if let Some(generation) = self.generations.get_mut(profile.young as usize) {
                *generation = new;
            }
            let (young, place) = (profile.young, profile.place);
            profile.in_young = 1;
            self.close(gone);
            self.count(young, place, weight);
            return young;
        }
        profile.in_young += 1;
        let (young, place) = (profile.young, profile.place);
        self.count(young, place, weight);
        young
    }

    fn count(&mut self, number: u32, place: u32, weight: u32) {
        let weight = u64::from(weight);
        self.counted.0 += weight;
        self.counted.1 += (weight * weight) >> 20;
        if let Some(generation) = self.generations.get_mut(number as usize) {
            generation.messages += 1;
            generation.weight += weight;
        }
        if let Some(sum) = self.weights.get_mut(place as usize) {
            *sum += weight;
        }
    }

    /// This generation counts no more. Its number is given out again when no message names it.
    fn close(&mut self, number: u32) {
        let Some(place) = self.owner(number) else { return };
        let Some(generation) = self.generations.get_mut(number as usize) else { return };
        generation.owner = 0;
        if let Some(sum) = self.weights.get_mut(place) {
            *sum = sum.saturating_sub(generation.weight);
        }
        self.closed.push(number);
        if self.closed.len() >= CLOSED {
            let generations = &self.generations;
            let owner = |number: u32| generations.get(number as usize).map_or(0, |g| g.owner);
            self.sums.retain(|number| owner(number) > 0);
            let (free, closed): (Vec<u32>, Vec<u32>) = self
                .closed
                .drain(..)
                .partition(|number| generations.get(*number as usize).is_some_and(|g| g.messages == 0));
            self.free_generations.extend(free);
            // Some message names these yet; they are few, as messages go.
            self.closed = closed;
        }
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.sums.memory_bytes()
            + self.generations.capacity() * size_of::<Generation>()
            + self.weights.capacity() * 8
            + self.by_address.capacity() * 8 / 7 * (size_of::<(Address, Profile)>() + 1)
    }

    /// The place of the peer of a generation.
    fn owner(&self, generation: u32) -> Option<usize> {
        let owner = self.generations.get(generation as usize)?.owner;
        owner.checked_sub(1).map(|place| place as usize)
    }

    /// A message of these generations is gone.
    pub(super) fn forget(&mut self, generations: [u32; 2], weight: u32) {
        for number in generations.into_iter().filter(|number| *number > 0) {
            let place = self.owner(number);
            let Some(generation) = self.generations.get_mut(number as usize) else { continue };
            generation.messages = generation.messages.saturating_sub(1);
            generation.weight = generation.weight.saturating_sub(u64::from(weight));
            if let Some(sum) = place.and_then(|place| self.weights.get_mut(place)) {
                *sum = sum.saturating_sub(u64::from(weight));
            }
        }
    }

    /// Gives up the profile that is worth least: of those with the fewest messages (up to 16,
    /// beyond which a peer counts as established) the one that was credited longest ago. A flood
    /// of new senders so pushes out one another, not the known peers.
    fn make_room(&mut self) -> bool {
        while self.by_address.len() >= self.most {
            let least = self
                .by_address
                .iter()
                .filter(|(address, _)| !self.pinned.contains(*address))
                .min_by_key(|(_, p)| (p.messages.min(ESTABLISHED), p.last))
                .map(|(address, _)| address.clone());
            match least {
                Some(address) => self.remove(&address),
                None => return false,
            };
        }
        true
    }

    pub(super) fn remove(&mut self, peer: &Address) {
        let Some(profile) = self.by_address.remove(peer) else { return };
        self.close(profile.young);
        self.close(profile.old);
        self.free_places.push(profile.place);
    }
}

impl Pool {
    /// Counts what is not read from postings when peers are scored: words that many messages have,
    /// and pairs of words.
    pub(super) fn sum_up(&mut self, profiles: [u32; 2], many: &[(u64, f32, bool)], body: &[u8]) {
        let Pool { slots, public, profiles: all, .. } = self;
        let lot = u32::try_from(all.credits & 0xffff_ffff).unwrap_or(0);
        let sums = &mut all.sums;
        let profiles = profiles.into_iter().filter(|number| *number > 0);
        for (word, amount, since_now) in many {
            if !since_now {
                profiles.clone().for_each(|number| sums.add(*word, number, *amount, lot));
                continue;
            }
            sums.clear(*word);
            let Some(term) = public.term(*word) else { continue };
            let mut nth = lot;
            public.newest(term, usize::MAX, |at, count| {
                nth = nth.wrapping_add(1);
                let (words, numbers) = slots.profiles(at);
                let amount = f32::from(count) / f32::from(words.max(1)).sqrt();
                for number in numbers.into_iter().filter(|number| *number > 0) {
                    sums.add(*word, number, amount, nth);
                }
            });
        }
        let pairs = pairs(body);
        let amount = 1.0 / (pairs.len().max(1) as f32).sqrt();
        for number in profiles {
            pairs.iter().for_each(|pair| sums.add(*pair, number, amount, lot));
        }
    }

    /// How well each candidate knows X by what it has sent us, in the order of `candidates`.
    #[must_use]
    pub fn peer_costs(&self, body: &[u8], candidates: &[Address]) -> Vec<PeerCost> {
        self.peer_costs_by(body, candidates, Metric::Gain)
    }

    /// [`Pool::peer_costs`] under a metric of choice. C(Yi|X) is not known here, so the symmetric
    /// metrics order peers as the one-sided one does.
    #[must_use]
    pub fn peer_costs_by(&self, body: &[u8], candidates: &[Address], metric: Metric) -> Vec<PeerCost> {
        let asked = self.ask(&word_counts(body), Audience::Public);
        let peers = &self.profiles;
        let mut scores = Scores::new(peers);
        let mut budget = POSTINGS;
        for clue in &asked.clues {
            let [Some(term), _] = &clue.terms else { continue };
            if term.sections < MANY {
                if budget == 0 {
                    continue;
                }
                let read = self.public.newest(term, budget, |ordinal, count| {
                    let (words, profiles) = self.slots.profiles(ordinal);
                    let amount = f32::from(count) / f32::from(words.max(1)).sqrt();
                    profiles.into_iter().for_each(|number| scores.here(number, amount));
                });
                budget = budget.saturating_sub(read);
            } else {
                peers.sums.each(clue.word, |number, sum| scores.here(number, sum));
            }
            scores.end(ODDS / clue.factor, WORD_ODDS, clue.telling);
        }
        let mut pairs = pairs(body);
        pairs.sort_unstable();
        pairs.dedup();
        for pair in pairs {
            peers.sums.each(pair, |number, sum| scores.here(number, sum));
            scores.end(0.0, PAIR_ODDS, false);
        }
        candidates
            .iter()
            .map(|address| {
                let profile = peers.by_address.get(address);
                let known = profile.and_then(|p| scores.gains.get(p.place as usize)).copied();
                let (gain, shared) = known.unwrap_or_default();
                let x_given_y = (asked.bits - gain).max(0.0);
                let m = Measured { x: asked.bits, y: 0.0, x_given_y, y_given_x: 0.0 };
                PeerCost {
                    address: address.clone(),
                    bits: rounded(x_given_y),
                    gain_bits: rounded(m.gain()),
                    gain_share: rounded(m.gain_share()),
                    distance: metric.distance(&m),
                    messages: profile.map_or(0, |p| p.messages),
                    shared,
                    signal: shared > 0
                        && m.gain() >= PEER_MIN_GAIN_BITS
                        && m.gain_share() >= PEER_MIN_GAIN_SHARE,
                }
            })
            .collect()
    }
}

/// Neighbouring words of a body, as far as they count.
fn pairs(body: &[u8]) -> Vec<u64> {
    let mut out = Vec::new();
    let mut before = None;
    each_token(body, |token| {
        out.extend(before.map(|before| sums::pair(before, token.hash)));
        before = Some(token.hash);
        out.len() < MOST_PAIRS
    });
    out
}

/// What each peer saves, summed up feature by feature.
///
/// gain(X|Yi) = Σ log2(1 + λ/(1−λ) · p_i(w)/p_rest(w)): against what all other peers have sent, and
/// the pool's word model as far as they have sent little.
struct Scores<'p> {
    peers: &'p Profiles,
    /// The weight of all peers' messages, and that of one occurrence of a word.
    all: f32,
    one: f32,
    /// Of the present feature, by place; and the places that have it.
    present: Vec<f32>,
    touched: Vec<usize>,
    /// By place: bits, and telling words.
    gains: Vec<(f64, u32)>,
}

impl<'p> Scores<'p> {
    fn new(peers: &'p Profiles) -> Self {
        let places = peers.weights.len();
        let all = peers.weights.iter().sum::<u64>() as f32 / 1024.0;
        let one = peers.counted.0 as f32 / 1024.0 / peers.counted.1.max(1) as f32;
        Scores {
            peers,
            all,
            one,
            present: vec![0.0; places],
            touched: Vec::new(),
            gains: vec![(0.0, 0); places],
        }
    }

    /// A generation has so much of the present feature.
    fn here(&mut self, number: u32, amount: f32) {
        let Some(place) = self.peers.owner(number) else { return };
        let Some(sum) = self.present.get_mut(place) else { return };
        if *sum == 0.0 && amount > 0.0 {
            self.touched.push(place);
        }
        *sum += amount;
    }

    /// That was all of the present feature, of this probability in the pool.
    fn end(&mut self, p_pool: f64, odds: f32, telling: bool) {
        let total: f32 = self.touched.iter().filter_map(|place| self.present.get(*place)).sum();
        for place in self.touched.drain(..) {
            let (Some(sum), Some(own), Some((gain, shared))) =
                (self.present.get_mut(place), self.peers.weights.get(place), self.gains.get_mut(place))
            else {
                continue;
            };
            let own = (*own as f32 / 1024.0).max(*sum);
            let others = (self.all - own).max(0.0);
            let unseen = self.one * others / (others + GROUND);
            let rest = (total - *sum + unseen + GROUND * single(p_pool)) / (others + GROUND);
            let z = odds * (*sum / own) / rest.max(1e-9);
            *gain += f64::from((1.0 + z).log2());
            *shared += u32::from(telling);
            *sum = 0.0;
        }
    }
}
