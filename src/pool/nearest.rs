//! Which messages are nearest, and which peers know most.
//!
//! Shared words, weighted by how rare they are among authors, nominate; what the coder saves
//! decides. Both work on views of bodies: deflate can't see more than [`VIEW`] bytes anyway.

use super::holders::Part;
use super::index::Index;
use super::slots::Stored;
use super::{Audience, Entry, Pool, distinct_words};
use crate::distance::{Measured, Metric, Word, excerpt_by, oldest, words};
use crate::message::{Address, MessageId};
use crate::policy::Scope;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};

/// At most so many bytes of a body are compared: of X its beginning, of a longer cached message
/// the passage that shares most with X. A little less than deflate's window, so that the beginning
/// of a passage is still in sight when X is coded after it.
pub const VIEW: usize = 30 * 1024;

/// A passage has [`PASSAGE_FACTOR`] times the length of X, from so many bytes up to [`VIEW`]: a
/// short question is not lost in a long mail, where pointing back far costs more than it saves.
const PASSAGE: usize = 1024;
const PASSAGE_FACTOR: usize = 8;

/// In what part of a long cached message the passage is looked for.
const SEARCHED: usize = super::INDEXED;

/// How many messages the words nominate for measuring.
pub const NOMINEES: usize = 32;

/// How many peers the words nominate for measuring. A full profile costs one to two milliseconds,
/// and the first few decide.
pub const PEER_NOMINEES: usize = 8;

/// How many postings one look-up reads.
const POSTINGS: usize = 20_000;

/// How many distinct words of the body that is looked up count.
const QUERY_WORDS: usize = 4096;

/// A message is a match if it saves at least so many bits: 5 bytes, which is one rare word.
pub const MIN_GAIN_BITS: f64 = 40.0;
/// A match also saves at least this share of C(X).
pub const MIN_GAIN_SHARE: f64 = 0.1;
/// A peer is worth asking if it saves at least so many bits.
pub const PEER_MIN_GAIN_BITS: f64 = 16.0;
/// A peer that is worth asking also saves at least this share of C(X).
pub const PEER_MIN_GAIN_SHARE: f64 = 0.03;

/// A word that more than this share of all authors use says nothing about a message, once more
/// than [`FEW`] authors use it.
const FREQUENT: f64 = 0.2;
const FEW: f64 = 4.0;

/// What is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// X
    pub body: &'a [u8],
    /// On whose behalf.
    pub audience: Audience<'a>,
    /// Never answer with this message: X itself.
    pub except: Option<MessageId>,
    /// What "near" means.
    pub metric: Metric,
    /// What pointing back costs, in bits per doubling of the number of messages since.
    pub age: f64,
}

impl<'a> Query<'a> {
    /// By gain, with the honest cost of pointing back.
    #[must_use]
    pub fn new(body: &'a [u8], audience: Audience<'a>) -> Self {
        Query { body, audience, except: None, metric: Metric::Gain, age: 1.0 }
    }
}

/// A cached message, measured against X.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Its number.
    pub seq: i64,
    /// Its public id.
    pub id: MessageId,
    /// C(X) − C(X|Y), bits.
    pub gain_bits: f64,
    /// The gain as a share of C(X), 0 to 1.
    pub gain_share: f64,
    /// C(X|Y), bits.
    pub one_sided_bits: f64,
    /// D(X,Y) = C(Y|X) + C(X|Y), bits.
    pub distance_raw: f64,
    /// D(X,Y) / (C(X) + C(Y)).
    pub normalised: f64,
    /// What the order is by: the metric's distance plus the cost of pointing back. Smaller is
    /// nearer.
    pub score: f64,
    /// How many words they share that not everybody uses.
    pub shared: u32,
    /// Whether it is near enough to be called a match: at least [`MIN_GAIN_BITS`], at least
    /// [`MIN_GAIN_SHARE`] of C(X), and at least one shared word that not everybody uses.
    pub is_match: bool,
}

/// How well what a peer has sent explains X.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerCost {
    /// The peer.
    pub address: Address,
    /// C(X|Yi), bits. C(X) if it was not measured.
    pub bits: f64,
    /// C(X) − C(X|Yi), bits.
    pub gain_bits: f64,
    /// The gain as a share of C(X), 0 to 1.
    pub gain_share: f64,
    /// The distance under the metric that was asked for. Smaller is nearer.
    pub distance: f64,
    /// How many messages it has been credited for.
    pub messages: u64,
    /// How many words its text shares with X that not everybody uses.
    pub shared: u32,
    /// Whether it was measured: the [`PEER_NOMINEES`] that share most are.
    pub measured: bool,
    /// Whether the gain says anything: at least [`PEER_MIN_GAIN_BITS`] and
    /// [`PEER_MIN_GAIN_SHARE`], and a shared word that not everybody uses.
    pub signal: bool,
}

/// A word of X and how much it says.
struct Clue {
    hash: u64,
    /// log2 of how many times rarer it is than a word that everybody uses.
    rarity: f64,
    messages: usize,
    /// Not everybody's word.
    telling: bool,
}

impl Pool {
    /// The `n` nearest messages by gain, best first; see [`Pool::search`].
    #[must_use]
    pub fn nearest(&self, body: &[u8], audience: Audience<'_>, n: usize) -> Vec<Scored> {
        self.search(&Query::new(body, audience), n)
    }

    /// The `n` nearest messages, best first. They share at least one word with X and save at
    /// least one bit; look at [`Scored::is_match`] for whether that is near enough.
    #[must_use]
    pub fn search(&self, query: &Query<'_>, n: usize) -> Vec<Scored> {
        let x = oldest(query.body, VIEW);
        let clues = self.clues(x, query.audience);
        let nominees = self.nominate(&clues, query);
        let x_bits = self.coder.bits(x);
        let newest = self.slots.next();
        let width = x.len().saturating_mul(PASSAGE_FACTOR).clamp(PASSAGE, VIEW);
        let mut scored: Vec<(Scored, u32)> = nominees
            .into_iter()
            .filter_map(|(ordinal, shared)| {
                let stored = self.slots.get(ordinal)?;
                let y = passage(&stored.entry.body, &clues, width);
                let measured = self.measure(x, x_bits, stored, y, query.metric.is_symmetric());
                let ago = f64::from(newest.saturating_sub(ordinal)).max(1.0);
                let mut score = query.metric.distance(&measured);
                if query.metric != Metric::Normalised {
                    score += query.age * ago.log2();
                }
                (measured.gain() > 0.0).then(|| (describe(&stored.entry, &measured, score, shared), ordinal))
            })
            .collect();
        scored.sort_by(|(a, ao), (b, bo)| {
            let nearer = a.score.partial_cmp(&b.score).unwrap_or(Ordering::Equal);
            nearer.then(bo.cmp(ao))
        });
        scored.truncate(n);
        // The other half of D is dear and, where it does not decide, only reported.
        for (found, ordinal) in &mut scored {
            if !query.metric.is_symmetric()
                && let Some(stored) = self.slots.get(*ordinal)
            {
                let y = passage(&stored.entry.body, &clues, width);
                let measured = self.measure(x, x_bits, stored, y, true);
                found.distance_raw = measured.raw();
                found.normalised = measured.normalised();
            }
        }
        scored.into_iter().map(|(found, _)| found).collect()
    }

    /// How well each candidate knows X by what it has sent us, in the order of `candidates`.
    #[must_use]
    pub fn peer_costs(&self, body: &[u8], candidates: &[Address]) -> Vec<PeerCost> {
        self.peer_costs_by(body, candidates, Metric::Gain)
    }

    /// [`Pool::peer_costs`] under a metric of choice. Measured are the candidates that share a
    /// telling word with X, at most [`PEER_NOMINEES`], those with the most and rarest first.
    #[must_use]
    pub fn peer_costs_by(&self, body: &[u8], candidates: &[Address], metric: Metric) -> Vec<PeerCost> {
        let x = oldest(body, VIEW);
        let x_bits = self.coder.bits(x);
        let clues = self.clues_of(x, &[&self.public], true);
        let mut sharing: Vec<(f64, u32, &Address)> = candidates
            .iter()
            .filter_map(|address| {
                let seen = self.profiles.get(address)?.seen(self.coder());
                let (weight, shared) = clues
                    .iter()
                    .filter(|clue| clue.telling && seen.words.contains(&clue.hash))
                    .fold((0.0, 0), |(weight, n), clue| (weight + clue.rarity, n + 1));
                (shared > 0).then_some((weight, shared, address))
            })
            .collect();
        sharing.sort_by(|(a, _, at), (b, _, bt)| {
            b.partial_cmp(a).unwrap_or(Ordering::Equal).then_with(|| at.cmp(bt))
        });
        let sharing: HashMap<&Address, (u32, bool)> = sharing
            .into_iter()
            .enumerate()
            .map(|(place, (_, shared, address))| (address, (shared, place < PEER_NOMINEES)))
            .collect();
        candidates
            .iter()
            .map(|address| {
                let profile = self.profiles.get(address);
                let seen = profile.map(|p| p.seen(self.coder()));
                let (y, y_bits) = seen.map_or((&b""[..], 0.0), |s| (&s.text, s.bits));
                let (shared, known) = sharing.get(address).copied().unwrap_or_default();
                let x_given_y = if known { self.coder.bits_after(x, y, y_bits).min(x_bits) } else { x_bits };
                let y_given_x = if metric.is_symmetric() && !y.is_empty() {
                    self.coder.bits_after(y, x, x_bits)
                } else {
                    y_bits
                };
                let m = Measured { x: x_bits, y: y_bits, x_given_y, y_given_x };
                PeerCost {
                    address: address.clone(),
                    bits: x_given_y,
                    gain_bits: m.gain(),
                    gain_share: m.gain_share(),
                    distance: metric.distance(&m),
                    messages: profile.map_or(0, |p| p.messages),
                    shared,
                    measured: known,
                    signal: known && m.gain() >= PEER_MIN_GAIN_BITS && m.gain_share() >= PEER_MIN_GAIN_SHARE,
                }
            })
            .collect()
    }

    /// The text of a peer as far as it counts, for measuring something else against it.
    #[must_use]
    pub fn sent_by(&self, peer: &Address) -> &[u8] {
        self.profiles.get(peer).map_or(&[], |profile| &profile.seen(self.coder()).text)
    }

    /// The passage of a cached message, at most `max_chars` characters, with the most and, for
    /// this audience, rarest wording of `x`.
    #[must_use]
    pub fn excerpt(&self, seq: i64, x: &[u8], audience: Audience<'_>, max_chars: usize) -> String {
        let Some(entry) = self.get(seq).filter(|entry| is_for(entry, audience)) else {
            return String::new();
        };
        let rarity: HashMap<u64, f64> =
            self.clues(oldest(x, VIEW), audience).into_iter().map(|c| (c.hash, c.rarity)).collect();
        excerpt_by(&entry.body, x, max_chars, &|word: &Word| {
            rarity.get(&word.hash).copied().unwrap_or(0.0).max(0.01)
        })
    }

    fn indexes(&self, audience: Audience<'_>) -> Vec<&Index> {
        match audience {
            Audience::Public | Audience::Author(_) => vec![&self.public],
            Audience::Operator => vec![&self.public, &self.local],
        }
    }

    fn clues(&self, x: &[u8], audience: Audience<'_>) -> Vec<Clue> {
        // An author's own local messages are in no index of his, so every word may be in them.
        let all = matches!(audience, Audience::Author(_));
        self.clues_of(x, &self.indexes(audience), all)
    }

    /// The distinct words of `x`, rarest first; with `all` also those that no message has.
    fn clues_of(&self, x: &[u8], indexes: &[&Index], all: bool) -> Vec<Clue> {
        let everybody: f64 = indexes.iter().map(|i| i.weight()).sum();
        let authors = indexes.iter().map(|i| i.authors()).sum::<usize>() as f64;
        let mut seen = HashSet::new();
        let mut counted: Vec<(Word, usize)> = words(x)
            .into_iter()
            .filter(|word| seen.insert(word.hash))
            .map(|word| {
                let messages = indexes.iter().map(|i| i.count(word.hash)).sum();
                (word, messages)
            })
            .filter(|(_, messages)| all || *messages > 0)
            .collect();
        counted.sort_by_key(|(word, messages)| (*messages, word.hash));
        counted.truncate(QUERY_WORDS);
        let mut clues: Vec<Clue> = counted
            .into_iter()
            .map(|(word, messages)| {
                let usage = indexes.iter().map(|i| i.usage(word.hash, &self.slots));
                let (users, weight) =
                    usage.fold((0.0, 0.0), |(users, weight), u| (users + u.authors, weight + u.weight));
                let common = !word.says_something();
                let frequent = users > FEW && users > FREQUENT * authors;
                let rarity = (1.0 + everybody.max(1.0) / weight.max(0.5)).log2();
                Clue {
                    hash: word.hash,
                    rarity: if common { rarity / 4.0 } else { rarity },
                    messages,
                    telling: !common && !frequent,
                }
            })
            .collect();
        clues.sort_by(|a, b| {
            let rarer = b.rarity.partial_cmp(&a.rarity).unwrap_or(Ordering::Equal);
            rarer.then(a.messages.cmp(&b.messages)).then(a.hash.cmp(&b.hash))
        });
        clues
    }

    /// The best candidates by shared words, with the number of telling ones, rarest words first
    /// within the budget of postings.
    fn nominate(&self, clues: &[Clue], query: &Query<'_>) -> Vec<(u32, u32)> {
        let indexes = self.indexes(query.audience);
        let mut found: HashMap<u32, (f64, u32)> = HashMap::new();
        let mut budget = POSTINGS;
        for clue in clues {
            for index in &indexes {
                for ordinal in index.newest(clue.hash, &self.slots).take(budget) {
                    let (weight, shared) = found.entry(ordinal).or_default();
                    *weight += clue.rarity * clue.rarity;
                    *shared += u32::from(clue.telling);
                    budget -= 1;
                }
            }
            if budget == 0 {
                break;
            }
        }
        if let Audience::Author(author) = query.audience {
            self.nominate_own(clues, author, &mut found);
        }
        let messages: f64 = indexes.iter().map(|i| i.mean_words()).sum();
        let mean = messages / indexes.len().max(1) as f64;
        let mut best: Vec<(f64, u32, u32)> = found
            .into_iter()
            .filter_map(|(ordinal, (weight, shared))| {
                let stored = self.slots.get(ordinal)?;
                let same = query.except == Some(stored.entry.id);
                // Long messages share words by chance (the length norm of BM25, b = 0.4).
                let length = 0.6 + 0.4 * stored.words as f64 / mean;
                (!same).then_some((weight / (1.0 + 1.2 * length), ordinal, shared))
            })
            .collect();
        best.sort_by(|(a, ao, _), (b, bo, _)| b.partial_cmp(a).unwrap_or(Ordering::Equal).then(bo.cmp(ao)));
        best.truncate(NOMINEES);
        best.into_iter().map(|(_, ordinal, shared)| (ordinal, shared)).collect()
    }

    /// An author's own local messages: few, so they are read through, the newest ones.
    fn nominate_own(&self, clues: &[Clue], author: &Address, found: &mut HashMap<u32, (f64, u32)>) {
        let own = self.holders.held(Part::Author, author);
        let local = own.into_iter().rev().filter_map(|ordinal| {
            let stored = self.slots.get(ordinal)?;
            (stored.entry.scope == Scope::Local).then_some((ordinal, stored))
        });
        for (ordinal, stored) in local.take(NOMINEES) {
            let theirs: HashSet<u64> = distinct_words(&stored.entry.body).into_iter().collect();
            for clue in clues.iter().filter(|clue| theirs.contains(&clue.hash)) {
                let (weight, shared) = found.entry(ordinal).or_default();
                *weight += clue.rarity * clue.rarity;
                *shared += u32::from(clue.telling);
            }
        }
    }

    /// Measures X against the passage `y` of a cached message. C(Y|X) only if it is asked for;
    /// else C(Y) stands for it.
    fn measure(&self, x: &[u8], x_bits: f64, stored: &Stored, y: &[u8], both: bool) -> Measured {
        let whole = y.len() == stored.entry.body.len();
        let y_bits = if whole { *stored.bits.get_or_init(|| self.coder.bits(y)) } else { self.coder.bits(y) };
        Measured {
            x: x_bits,
            y: y_bits,
            x_given_y: self.coder.bits_after(x, y, y_bits).min(x_bits),
            y_given_x: if both { self.coder.bits_after(y, x, x_bits) } else { y_bits },
        }
    }
}

/// Of a long body the passage of `width` bytes with the most and rarest words of X; of equals the
/// first. Passages are looked for in steps of half their length.
fn passage<'b>(body: &'b [u8], clues: &[Clue], width: usize) -> &'b [u8] {
    if body.len() <= width {
        return body;
    }
    let rarity: HashMap<u64, f64> =
        clues.iter().filter(|c| c.telling).map(|c| (c.hash, c.rarity * c.rarity)).collect();
    let half = (width / 2).max(1);
    let mut best: (&[u8], f64) = (oldest(body, width), -1.0);
    let mut before: (usize, BTreeSet<u64>) = (0, BTreeSet::new());
    for (block, bytes) in oldest(body, SEARCHED).chunks(half).enumerate() {
        let found: BTreeSet<u64> =
            words(bytes).into_iter().map(|w| w.hash).filter(|h| rarity.contains_key(h)).collect();
        let sum: f64 = before.1.union(&found).filter_map(|h| rarity.get(h)).sum();
        if sum > best.1 {
            let passage = body.get(before.0..).unwrap_or_default();
            best = (oldest(passage, width), sum);
        }
        before = (block.saturating_mul(half), found);
    }
    best.0
}

/// Whether a message is any of this audience's business.
fn is_for(entry: &Entry, audience: Audience<'_>) -> bool {
    match (entry.scope, audience) {
        (Scope::Public, _) | (_, Audience::Operator) => true,
        (Scope::Local, Audience::Author(author)) => entry.author == *author,
        (Scope::Local, Audience::Public) => false,
    }
}

fn describe(entry: &Entry, m: &Measured, score: f64, shared: u32) -> Scored {
    Scored {
        seq: entry.seq,
        id: entry.id,
        gain_bits: m.gain(),
        gain_share: m.gain_share(),
        one_sided_bits: m.x_given_y,
        distance_raw: m.raw(),
        normalised: m.normalised(),
        score,
        shared,
        is_match: shared > 0 && m.gain() >= MIN_GAIN_BITS && m.gain_share() >= MIN_GAIN_SHARE,
    }
}
