//! What peers have sent us: the Yi of specification section 3.2.
//!
//! A peer is the messages that it has sent and that are still here, in two generations: when the
//! younger one has [`GENERATION`] messages it becomes the older one, and what was older counts no
//! more. There is no text and no table of its own: the postings say which messages have a word,
//! and each message which generation it belongs to. A message counts with the square root of its
//! length, so that one long mail does not outweigh everything else.

use super::nearest::rounded;
use super::{Audience, Pool};
use crate::distance::{Measured, Metric, word_counts};
use crate::message::Address;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Messages of one generation.
const GENERATION: u32 = 1000;

/// How many messages of a profile count when it is asked which one to give up.
const ESTABLISHED: u64 = 16;

/// A peer is worth asking if it saves at least so many bits.
pub const PEER_MIN_GAIN_BITS: f64 = 4.0;
/// A peer that is worth asking also saves at least this share of C(X).
pub const PEER_MIN_GAIN_SHARE: f64 = 0.01;

/// How many postings are read for one message, about.
const POSTINGS: usize = 10_000;

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
        if let Some(generation) = self.generations.get_mut(number as usize) {
            generation.messages += 1;
            generation.weight += u64::from(weight);
        }
        if let Some(sum) = self.weights.get_mut(place as usize) {
            *sum += u64::from(weight);
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
        if generation.messages == 0 {
            self.free_generations.push(number);
        }
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
            match place {
                Some(place) => {
                    if let Some(sum) = self.weights.get_mut(place) {
                        *sum = sum.saturating_sub(u64::from(weight));
                    }
                }
                None if generation.messages == 0 => self.free_generations.push(number),
                None => {}
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
    /// How well each candidate knows X by what it has sent us, in the order of `candidates`.
    #[must_use]
    pub fn peer_costs(&self, body: &[u8], candidates: &[Address]) -> Vec<PeerCost> {
        self.peer_costs_by(body, candidates, Metric::Gain)
    }

    /// [`Pool::peer_costs`] under a metric of choice.
    #[must_use]
    pub fn peer_costs_by(&self, body: &[u8], candidates: &[Address], metric: Metric) -> Vec<PeerCost> {
        let asked = self.ask(&word_counts(body), Audience::Public);
        let x_bits = asked.bits;
        let peers = &self.profiles;
        // Per peer: the gain, and how many telling words.
        let mut gains = vec![(0.0_f64, 0_u32); peers.weights.len()];
        let mut here = vec![0.0_f64; peers.weights.len()];
        let mut touched: Vec<usize> = Vec::new();
        let mut budget = POSTINGS;
        for clue in &asked.clues {
            for term in clue.terms.iter().take(1).flatten() {
                let read = self.public.newest(term, budget, |ordinal, count| {
                    let (words, profiles) = self.slots.profiles(ordinal);
                    let weight = f64::from(count) / f64::from(words.max(1)).sqrt();
                    for place in profiles.iter().filter_map(|g| peers.owner(*g)) {
                        let Some(sum) = here.get_mut(place) else { continue };
                        if *sum == 0.0 {
                            touched.push(place);
                        }
                        *sum += weight;
                    }
                });
                budget = budget.saturating_sub(read);
            }
            for place in touched.drain(..) {
                let (Some(sum), Some(total), Some((gain, shared))) =
                    (here.get_mut(place), peers.weights.get(place), gains.get_mut(place))
                else {
                    continue;
                };
                *gain += clue.bits(*sum, (*total as f64 / 1024.0).max(*sum));
                *shared += u32::from(clue.telling);
                *sum = 0.0;
            }
            if budget == 0 {
                break;
            }
        }
        candidates
            .iter()
            .map(|address| {
                let profile = peers.by_address.get(address);
                let known = profile.and_then(|p| gains.get(p.place as usize)).copied();
                let (gain, shared) = known.unwrap_or_default();
                let x_given_y = (x_bits - gain).max(0.0);
                let m = Measured { x: x_bits, y: 0.0, x_given_y, y_given_x: 0.0 };
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
