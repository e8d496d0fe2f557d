//! What each peer saves of X, summed up feature by feature for all of them at once.
//!
//! It knows profiles and postings. It must never know how a peer is chosen.

use super::clues::{Asked, ODDS};
use super::index::MANY;
use super::nearest::rounded;
use super::profiles::Profiles;
use super::tally::{log2_of_one_and, single};
use super::{Audience, Pool, Question};
use crate::distance::{Measured, Metric};
use crate::message::Address;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

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

impl PeerCost {
    fn new(address: &Address, x: f64, gain: f64, shared: u32, messages: u64, metric: Metric) -> Self {
        let m = Measured { x, y: 0.0, x_given_y: (x - gain).max(0.0), y_given_x: 0.0 };
        PeerCost {
            address: address.clone(),
            bits: rounded(m.x_given_y),
            gain_bits: rounded(m.gain()),
            gain_share: rounded(m.gain_share()),
            distance: metric.distance(&m),
            messages,
            shared,
            signal: shared > 0 && m.gain() >= PEER_MIN_GAIN_BITS && m.gain_share() >= PEER_MIN_GAIN_SHARE,
        }
    }
}

impl Pool {
    /// How well each candidate knows X by what it has sent us, in the order of `candidates`.
    #[must_use]
    pub fn peer_costs(&self, body: &[u8], candidates: &[Address]) -> Vec<PeerCost> {
        self.question(body, Audience::Public).peer_costs_by(candidates, Metric::Gain)
    }

    /// The `n` peers of all that know X best, best first; only such as know anything of it.
    #[must_use]
    pub fn best_peers(&self, body: &[u8], n: usize, metric: Metric) -> Vec<PeerCost> {
        self.question(body, Audience::Public).with_scores(|x, scores| {
            let mut best: Vec<(f32, u32, usize)> = (0..)
                .zip(&scores.gains)
                .filter(|(_, (gain, _))| *gain > 0.0)
                .map(|(place, (gain, shared))| (*gain, *shared, place))
                .collect();
            let order =
                |a: &(f32, u32, usize), b: &(f32, u32, usize)| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2));
            if best.len() > n && n > 0 {
                best.select_nth_unstable_by(n - 1, order);
            }
            best.truncate(n);
            best.sort_unstable_by(order);
            let cost = |(gain, shared, place): (f32, u32, usize)| {
                let (address, messages) = self.profiles.peer_at(place)?;
                Some(PeerCost::new(address, x, f64::from(gain), shared, messages, metric))
            };
            best.into_iter().filter_map(cost).collect()
        })
    }

    fn score(&self, asked: &Asked<'_>, pairs: &[u64], scores: &mut Scores) {
        let peers = &self.profiles;
        // What pairs and frequent words are looked for in comes while the rare words are counted.
        let ready = pairs.iter().fold(0, |sum, pair| sum ^ peers.sums.touch(*pair));
        let _ready = std::hint::black_box(ready);
        scores.begin(peers);
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
                    profiles.into_iter().for_each(|number| scores.here(peers, number, amount));
                });
                budget = budget.saturating_sub(read);
            } else {
                peers.sums.each(clue.word, |number, sum| scores.here(peers, number, sum));
            }
            scores.end(single(ODDS / clue.factor), WORD_ODDS, clue.telling);
        }
        for pair in pairs {
            peers.sums.each(*pair, |number, sum| scores.here(peers, number, sum));
            scores.end(0.0, PAIR_ODDS, false);
        }
    }
}

impl Question<'_> {
    /// [`Pool::peer_costs`] under a metric of choice. C(Yi|X) is not known here, so the symmetric
    /// metrics order peers as the one-sided one does. Public messages count alone, whoever asks.
    #[must_use]
    pub fn peer_costs_by(&self, candidates: &[Address], metric: Metric) -> Vec<PeerCost> {
        self.with_scores(|x, scores| {
            let cost = |address| {
                let (place, messages) = self.pool.profiles.place_of(address);
                let (gain, shared) =
                    place.and_then(|place| scores.gains.get(place)).copied().unwrap_or_default();
                PeerCost::new(address, x, f64::from(gain), shared, messages, metric)
            };
            candidates.iter().map(cost).collect()
        })
    }

    /// Scores all peers, and lends C(X) and the scores.
    fn with_scores<R>(&self, then: impl FnOnce(f64, &Scores) -> R) -> R {
        thread_local! {
            static SCORES: RefCell<Scores> = RefCell::new(Scores::default());
        }
        SCORES.with_borrow_mut(|scores| {
            self.pool.score(&self.asked, &self.pairs, scores);
            then(self.asked.bits, scores)
        })
    }
}

/// What a peer's messages weigh, as its score needs it.
#[derive(Clone, Copy, Debug, Default)]
struct Weights {
    /// (others + GROUND) / own
    rarity: f32,
    /// What one occurrence is worth among all others' messages, times (others + GROUND).
    unseen: f32,
}

/// What each peer saves, summed up feature by feature.
///
/// gain(X|Yi) = Σ log2(1 + λ/(1−λ) · p_i(w)/p_rest(w)): against what all other peers have sent, and
/// the pool's word model as far as they have sent little.
#[derive(Debug, Default)]
struct Scores {
    weights: Vec<Weights>,
    /// Of the present feature, by place; and the places that have it.
    present: Vec<f32>,
    touched: Vec<u32>,
    /// By place: bits, and telling words.
    gains: Vec<(f32, u32)>,
}

impl Scores {
    fn begin(&mut self, peers: &Profiles) {
        let (all, one) = peers.weight();
        let places = peers.weights();
        self.present.clear();
        self.present.resize(places.len(), 0.0);
        self.gains.clear();
        self.gains.resize(places.len(), (0.0, 0));
        self.touched.clear();
        self.weights.clear();
        self.weights.extend(places.iter().map(|own| {
            let own = (*own as f32 / 1024.0).max(1.0 / 1024.0);
            let others = (all - own).max(0.0);
            Weights { rarity: (others + GROUND) / own, unseen: one * others / (others + GROUND) }
        }));
    }

    /// A generation has so much of the present feature.
    fn here(&mut self, peers: &Profiles, number: u32, amount: f32) {
        let Some(place) = peers.owner(number) else { return };
        let Some(sum) = self.present.get_mut(place as usize) else { return };
        if *sum == 0.0 && amount > 0.0 {
            self.touched.push(place);
        }
        *sum += amount;
    }

    /// That was all of the present feature, of this probability in the pool.
    fn end(&mut self, p_pool: f32, odds: f32, telling: bool) {
        let Scores { weights, present, touched, gains } = self;
        let total: f32 = touched.iter().filter_map(|place| present.get(*place as usize)).sum();
        let ground = GROUND * p_pool;
        for place in touched.drain(..) {
            let place = place as usize;
            let (Some(sum), Some(own), Some((gain, shared))) =
                (present.get_mut(place), weights.get(place), gains.get_mut(place))
            else {
                continue;
            };
            let rest = total - *sum + own.unseen + ground;
            let z = odds * own.rarity * *sum / rest.max(1e-6);
            *gain += log2_of_one_and(z);
            *shared += u32::from(telling);
            *sum = 0.0;
        }
    }
}
