//! Which messages are nearest.
//!
//! X's rarest words nominate, within a budget of postings; for the nominees the gain over all
//! words of X is computed and decides.

use super::clues::{Asked, Clue};
use super::holders::Part;
use super::slots::Slot;
use super::tally::{Tally, log2_of_one_and, single};
use super::{Audience, Entry, Pool, Question, Texts};
use crate::distance::{Measured, Metric, excerpt_by, word_counts};
use crate::message::{Address, MessageId};
use crate::policy::Scope;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

/// How many messages the words nominate.
pub const NOMINEES: usize = 32;

/// How many postings one look-up reads for nominating, about: so many, and one more for so many
/// messages, as the lists of the rarest words grow. Chosen on two mailing lists (5,000 mails of linux-raid,
/// of usrp-users), where 1,500 to 10,000 find the same.
const POSTINGS: usize = 2_500;
const MESSAGES_OF_A_POSTING: usize = 200;

/// Words in more sections than these are looked up for so many of the nominees, the closest by the
/// other words.
const SHORT: usize = 2048;
const CLOSEST: usize = 12;
/// How many postings are looked at for measuring the nominees, about.
const WEIGHED: usize = 200_000;

/// A match saves so many bits more than it costs to say which message it is, log2 of how many
/// messages ago it came: among many, some save a little by chance. Chosen on the threads of a
/// mailing list (`cmr-mail evaluate --thresholds`, `docs/performance.md`).
pub const NET_BITS: f64 = 4.0;
/// It saves at least so many bits if it shares more than one telling word with X …
pub const MIN_GAIN_BITS: f64 = 7.0;
/// … or so many if it shares only one.
pub const ONE_WORD_BITS: f64 = 16.0;

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
    /// Answer with matches only, see [`Scored::is_match`].
    pub matches: bool,
}

impl<'a> Query<'a> {
    /// By gain, with the honest cost of pointing back.
    #[must_use]
    pub fn new(body: &'a [u8], audience: Audience<'a>) -> Self {
        Query { body, audience, except: None, metric: Metric::Gain, age: 1.0, matches: false }
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
    /// What it costs to say which message it is, in bits: log2 of how many messages ago it came.
    pub pointer_bits: f64,
    /// Whether it is near enough to be called a match, see [`Scored::is_match_from`].
    pub is_match: bool,
}

impl Scored {
    /// Whether it is a match if one has to save at least so many bits beyond what it costs to say
    /// which message it is; [`NET_BITS`] is in use.
    ///
    /// It also saves at least [`MIN_GAIN_BITS`] if they share several words that not everybody
    /// uses, [`ONE_WORD_BITS`] if they share one.
    #[must_use]
    pub fn is_match_from(&self, net_bits: f64) -> bool {
        let enough = match self.shared {
            0 => f64::INFINITY,
            1 => ONE_WORD_BITS,
            _ => MIN_GAIN_BITS,
        };
        self.gain_bits >= enough && self.gain_bits - self.pointer_bits >= net_bits
    }
}

/// A message that may be near.
#[derive(Clone, Copy, Debug)]
struct Nominee {
    ordinal: u32,
    /// C(X) − C(X|Y)
    gain: f64,
    /// C(Y) − C(Y|X)
    back: f64,
    shared: u32,
}

/// A section of a nominee.
struct Section {
    /// Which one.
    owner: usize,
    /// It is the whole message.
    alone: bool,
    ordinal: u32,
    words: f64,
    gain: f64,
}

impl Nominee {
    fn new(ordinal: u32) -> Self {
        Nominee { ordinal, gain: 0.0, back: 0.0, shared: 0 }
    }

    /// One more word that both have, Y so often among so many; `back` is what it saves of Y.
    fn add(&mut self, clue: &Clue, back: f64, count: f64, words: f64) {
        self.gain += clue.bits(count, words);
        self.back += back;
        self.shared += u32::from(clue.telling);
    }
}

impl Pool {
    /// The `n` nearest messages by gain, best first; see [`Pool::search`].
    #[must_use]
    pub fn nearest(&self, body: &[u8], audience: Audience<'_>, n: usize, texts: &dyn Texts) -> Vec<Scored> {
        self.search(&Query::new(body, audience), n, texts)
    }

    /// The `n` nearest messages, best first. They share at least one word with X and save at
    /// least one bit; look at [`Scored::is_match`] for whether that is near enough.
    #[must_use]
    pub fn search(&self, query: &Query<'_>, n: usize, texts: &dyn Texts) -> Vec<Scored> {
        self.question(query.body, query.audience).search(query, n, texts)
    }

    /// The passage of a cached message with this body, at most `max_chars` characters, with the
    /// most and, for this audience, rarest wording of `x`.
    #[must_use]
    pub fn excerpt(
        &self,
        seq: i64,
        body: &[u8],
        x: &[u8],
        audience: Audience<'_>,
        max_chars: usize,
    ) -> String {
        if !self.get(seq).is_some_and(|entry| is_for(&entry, audience)) {
            return String::new();
        }
        excerpt_by(body, x, max_chars, &|word| word.chars.min(12) as f64)
    }

    /// log2 of how many messages ago it came.
    fn ago(&self, ordinal: u32) -> f64 {
        f64::from(self.slots.next().saturating_sub(ordinal)).max(1.0).log2()
    }

    /// The best candidates by the rarest words of X, within the budget of postings.
    fn nominate(&self, asked: &Asked<'_>, query: &Query<'_>) -> Vec<Nominee> {
        let wanted: usize = asked.rare().map(|clue| clue.sections).sum();
        let budget = POSTINGS + self.len() / MESSAGES_OF_A_POSTING;
        thread_local! {
            static TALLY: RefCell<Tally> = RefCell::new(Tally::default());
        }
        let mut best = TALLY.with_borrow_mut(|tally| {
            tally.clear(self.slots.span(), wanted.min(budget + 256));
            self.tally(asked, query.age, budget, tally)
        });
        let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1));
        // Sections of one message are one, and X itself is none.
        let most = 2 * NOMINEES;
        if best.len() > most {
            best.select_nth_unstable_by(most, order);
            best.truncate(most);
        }
        best.sort_unstable_by(order);
        let mut seen = HashSet::new();
        best.into_iter()
            .map(|(_, section)| self.slots.first(section))
            .filter(|first| self.slots.get(*first).is_some_and(|slot| Some(slot.id) != query.except))
            .filter(|first| seen.insert(*first))
            .take(NOMINEES)
            .map(Nominee::new)
            .collect()
    }

    /// The bits that sections save by the rarest words, less what pointing back costs.
    fn tally(&self, asked: &Asked<'_>, age: f64, mut budget: usize, tally: &mut Tally) -> Vec<(f32, u32)> {
        // Looking at all lists first lets the memory answer for many of them at once.
        let lists = asked.rare().flat_map(|clue| asked.model.indexes().zip(&clue.terms));
        let ready =
            lists.fold(0, |sum, (index, term)| sum ^ term.as_ref().map_or(0, |term| index.touch_list(term)));
        let _ready = std::hint::black_box(ready);
        for clue in asked.rare() {
            let factor = single(clue.factor);
            for (index, term) in asked.model.indexes().zip(&clue.terms) {
                let Some(term) = term else { continue };
                let read = index.newest(term, budget, |ordinal, count| {
                    let (at, words) = self.slots.at_and_words(ordinal);
                    if words > 0 {
                        let z = factor * f32::from(count) / f32::from(words);
                        tally.add(at, log2_of_one_and(z));
                    }
                });
                budget = budget.saturating_sub(read);
            }
            if budget == 0 {
                break;
            }
        }
        let (base, next, age) = (self.slots.base(), self.slots.next(), single(age));
        let ago = |ordinal: u32| log2_of_one_and(next.saturating_sub(ordinal).saturating_sub(1) as f32);
        let sums = tally.sums().map(|(at, bits)| (base.saturating_add(at), bits));
        sums.map(|(ordinal, bits)| (bits - age * ago(ordinal), ordinal)).collect()
    }

    /// The gain of each nominee over the words of X that are not too frequent: that of the whole
    /// message, or that of its best section if it is greater. Words that many messages have, the
    /// last ones to be looked up, are looked up for the closest by then alone, and within a budget.
    fn weigh(&self, asked: &Asked<'_>, age: f64, nominees: &mut [Nominee]) {
        nominees.sort_unstable_by_key(|nominee| nominee.ordinal);
        let mut parts: Vec<Section> = Vec::with_capacity(nominees.len());
        for (owner, nominee) in nominees.iter().enumerate() {
            let from = parts.len();
            parts.extend(self.slots.sections(nominee.ordinal).map(|ordinal| Section {
                owner,
                alone: false,
                ordinal,
                words: f64::from(self.slots.words(ordinal)),
                gain: 0.0,
            }));
            if let Some([only]) = parts.get_mut(from..) {
                only.alone = true;
            }
        }
        let ordinals_of = |parts: &[Section]| parts.iter().map(|part| part.ordinal).collect();
        let mut ordinals: Vec<u32> = ordinals_of(&parts);
        let words: Vec<f64> = nominees
            .iter()
            .map(|nominee| self.slots.get(nominee.ordinal).map_or(1.0, |slot| f64::from(slot.words.max(1))))
            .collect();
        // The gain of each one's best section.
        let mut best = vec![0.0_f64; nominees.len()];
        let settle = |best: &mut [f64], part: &Section| {
            if let Some(best) = best.get_mut(part.owner) {
                *best = best.max(part.gain);
            }
        };
        let mut counts = vec![0.0_f64; nominees.len()];
        let mut touched: Vec<usize> = Vec::new();
        let (mut budget, mut everybody) = (WEIGHED, true);
        for clue in asked.rare() {
            if everybody && clue.sections > SHORT {
                everybody = false;
                parts.iter().for_each(|part| settle(&mut best, part));
                let mut order: Vec<(f64, usize)> = (0..)
                    .zip(nominees.iter().zip(&best))
                    .map(|(at, (nominee, best))| {
                        (nominee.gain.max(*best) - age * self.ago(nominee.ordinal), at)
                    })
                    .collect();
                order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
                order.truncate(CLOSEST);
                parts.retain(|part| order.iter().any(|(_, at)| *at == part.owner));
                ordinals = ordinals_of(&parts);
            }
            let back = clue.bits(clue.times, asked.words);
            for (index, term) in asked.model.indexes().zip(&clue.terms) {
                let Some(term) = term else { continue };
                let read = index.counts(term, &ordinals, |at, count| {
                    let Some(part) = parts.get_mut(at) else { return };
                    let count = f64::from(count);
                    if part.alone {
                        if let Some(nominee) = nominees.get_mut(part.owner) {
                            nominee.add(clue, back, count, part.words);
                        }
                        return;
                    }
                    part.gain += clue.bits(count, part.words);
                    if let Some(sum) = counts.get_mut(part.owner) {
                        if *sum == 0.0 {
                            touched.push(part.owner);
                        }
                        *sum += count;
                    }
                });
                budget = budget.saturating_sub(read);
            }
            for owner in touched.drain(..) {
                let (Some(nominee), Some(sum), Some(words)) =
                    (nominees.get_mut(owner), counts.get_mut(owner), words.get(owner))
                else {
                    continue;
                };
                nominee.add(clue, back, *sum, *words);
                *sum = 0.0;
            }
            if budget == 0 {
                break;
            }
        }
        parts.iter().for_each(|part| settle(&mut best, part));
        for (nominee, best) in nominees.iter_mut().zip(best) {
            nominee.gain = nominee.gain.max(best);
        }
    }

    /// An author's own local messages are in no index of his: the newest ones are read.
    fn nominate_own(&self, asked: &Asked<'_>, author: &Address, found: &mut Vec<Nominee>, texts: &dyn Texts) {
        let Some(name) = self.addresses.number(author) else { return };
        let own = self.holders.held(Part::Author, name);
        let local = own.into_iter().rev().filter_map(|ordinal| {
            let slot = self.slots.get(ordinal)?;
            (slot.scope == Scope::Local).then_some((ordinal, slot))
        });
        for (ordinal, slot) in local.take(NOMINEES) {
            let Some(body) = texts.body(slot.seq) else { continue };
            let y = word_counts(&body);
            let theirs: HashMap<u64, u32> = y.words.iter().copied().collect();
            let mut nominee = Nominee::new(ordinal);
            for clue in &asked.clues {
                if let Some(count) = theirs.get(&clue.word) {
                    let back = clue.bits(clue.times, asked.words);
                    nominee.add(clue, back, f64::from(*count), y.total as f64);
                }
            }
            found.push(nominee);
        }
    }
}

impl Question<'_> {
    /// [`Pool::search`] for a query about this text and audience.
    #[must_use]
    pub fn search(&self, query: &Query<'_>, n: usize, texts: &dyn Texts) -> Vec<Scored> {
        let Question { pool, asked, .. } = self;
        let mut nominees = pool.nominate(asked, query);
        pool.weigh(asked, query.age, &mut nominees);
        if let Audience::Author(author) = query.audience {
            pool.nominate_own(asked, author, &mut nominees, texts);
        }
        let mut scored: Vec<(Scored, u32)> = nominees
            .into_iter()
            .filter_map(|nominee| {
                let slot = pool.slots.get(nominee.ordinal)?;
                let (x, y) = (asked.bits, f64::from(slot.bits));
                let measured = Measured {
                    x,
                    y,
                    x_given_y: (x - nominee.gain).max(0.0),
                    y_given_x: (y - nominee.back).max(0.0),
                };
                let last = pool.slots.sections(nominee.ordinal).last().unwrap_or(nominee.ordinal);
                let pointer = pool.ago(last);
                let mut score = query.metric.distance(&measured);
                if query.metric != Metric::Normalised {
                    score += query.age * pointer;
                }
                let scored = describe(slot, &measured, score, pointer, nominee.shared);
                let good = nominee.gain > 0.0 && (scored.is_match || !query.matches);
                good.then_some((scored, nominee.ordinal))
            })
            .collect();
        scored.sort_by(|(a, ao), (b, bo)| {
            let nearer = a.score.partial_cmp(&b.score).unwrap_or(Ordering::Equal);
            nearer.then(bo.cmp(ao))
        });
        scored.truncate(n);
        scored.into_iter().map(|(scored, _)| scored).collect()
    }
}

/// Whether a message is any of this audience's business.
fn is_for(entry: &Entry, audience: Audience<'_>) -> bool {
    match (entry.scope, audience) {
        (Scope::Public, _) | (_, Audience::Operator) => true,
        (Scope::Local, Audience::Author(author)) => entry.author == *author,
        (Scope::Local, Audience::Public) => false,
    }
}

/// What is told has no more digits than it is worth, and is the same after a way through JSON.
pub(super) fn rounded(bits: f64) -> f64 {
    (bits * 1000.0).round() / 1000.0
}

fn describe(slot: &Slot, m: &Measured, score: f64, pointer: f64, shared: u32) -> Scored {
    let mut scored = Scored {
        seq: slot.seq,
        id: slot.id,
        gain_bits: rounded(m.gain()),
        gain_share: rounded(m.gain_share()),
        one_sided_bits: rounded(m.x_given_y),
        distance_raw: rounded(m.raw()),
        normalised: rounded(m.normalised()),
        score,
        shared,
        pointer_bits: rounded(pointer),
        is_match: false,
    };
    scored.is_match = scored.is_match_from(NET_BITS);
    scored
}
