//! The words of X, and how much each of them says.

use super::cut::Cut;
use super::index::{Index, Model, Term, WordCost};
use super::names::Name;
use super::tally::{log2_of_one_and, single};
use super::{Audience, Pool};
use crate::distance::LAMBDA;

/// How many distinct words of X count, the rarest, and of equally rare ones the first.
const MOST: usize = 4096;

/// A word that more than one in so many messages has says nothing …
const FREQUENT: usize = 5;
/// … unless only so many authors use it, among the newest ones of a sample.
const FEW: usize = 4;
const SAMPLE: usize = 128;

/// A word is looked at unless it occurs more often than once in so many messages, the messages of
/// one author counting less the more there are …
const TOO_FREQUENT: f64 = 50.0;
/// … or so rarely, in a small pool.
const RARE: f64 = 100.0;

/// A word of X that some message has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clue {
    pub(super) word: u64,
    /// How often X has it.
    pub(super) times: f64,
    /// λ / ((1 − λ)·p_pool): a message with n of its N words being this one saves
    /// log2(1 + factor·n/N) bits.
    pub(super) factor: f64,
    /// How many sections of messages have it.
    pub(super) sections: usize,
    /// How often it occurs, an author with many messages counting less.
    pub(super) occurrences: f64,
    /// Everybody uses it.
    pub(super) common: bool,
    /// Two texts that share it share something.
    pub(super) telling: bool,
    /// In the public index, and in the local one.
    pub(super) terms: [Option<Term>; 2],
}

impl Clue {
    /// The bits saved by a message of `total` words of which `count` are this one.
    pub(super) fn bits(&self, count: f64, total: f64) -> f64 {
        f64::from(log2_of_one_and(single(self.factor * count / total)))
    }
}

/// λ / (1 − λ): what a word's probability in Y weighs against that in the pool.
pub(super) const ODDS: f64 = LAMBDA / (1.0 - LAMBDA);

/// X, and what the pool knows about its words.
pub(super) struct Asked<'p> {
    pub(super) model: Model<'p>,
    /// Its distinct words, rarest first.
    pub(super) clues: Vec<Clue>,
    /// How many words it has.
    pub(super) words: f64,
    /// C(X)
    pub(super) bits: f64,
}

impl Asked<'_> {
    /// The words that are not too frequent to be looked at. The others save hardly anything, and
    /// would cost most of the time.
    pub(super) fn rare(&self) -> impl Iterator<Item = &Clue> {
        let all: f64 = self.model.indexes().map(Index::weight).sum();
        let most = (all / TOO_FREQUENT).max(RARE);
        self.clues.iter().filter(move |clue| clue.occurrences <= most || clue.sections as f64 <= most)
    }
}

impl Pool {
    /// Looks up the words of X for this audience.
    pub(super) fn ask(&self, cut: &Cut, audience: Audience<'_>) -> Asked<'_> {
        let x = &cut.counts;
        let model = self.model(audience);
        let all: usize = model.indexes().map(Index::messages).sum();
        // An author's own local messages are in no index of his, so every word may be in them.
        let unknown_too = matches!(audience, Audience::Author(_));
        // Looking up first lets the memory answer for many words at once.
        let ready = x.words.iter().fold(0, |sum, (word, _)| sum ^ model.touch(*word));
        let _ready = std::hint::black_box(ready);
        let mut cost = WordCost::default();
        let mut clues: Vec<Clue> = Vec::with_capacity(x.words.len());
        for ((word, count), prior) in x.words.iter().zip(&cut.priors) {
            let mut terms = [None; 2];
            for (to, index) in terms.iter_mut().zip(model.indexes()) {
                *to = index.term(*word).copied();
            }
            let sections: usize = terms.iter().flatten().map(|term| term.sections as usize).sum();
            let occurrences = terms.iter().flatten().map(Term::occurrences).sum();
            let p = model.of_terms(*prior, &terms);
            let common = *prior > 0.0;
            let times = f64::from(*count);
            cost.add((sections > 0 || common).then_some(p), times);
            if sections == 0 && !unknown_too {
                continue;
            }
            let mut telling = !common;
            if telling && sections > FEW && sections > all / FREQUENT {
                let lists =
                    model.indexes().zip(&terms).filter_map(|(index, term)| Some((index, term.as_ref()?)));
                telling = lists.map(|(index, term)| self.users(index, term)).sum::<usize>() <= FEW;
            }
            clues.push(Clue {
                word: *word,
                times,
                factor: ODDS / p,
                sections,
                occurrences,
                common,
                telling,
                terms,
            });
        }
        // By their keys, which are a tenth of what would have to be moved; of equal ones the first.
        let mut order: Vec<u64> =
            (0..).zip(&clues).map(|(at, clue): (u64, &Clue)| (clue.sections as u64) << 32 | at).collect();
        order.sort_unstable();
        let sorted = order.iter().take(MOST).filter_map(|key| clues.get((key & 0xffff_ffff) as usize));
        let clues = sorted.copied().collect();
        Asked { model, clues, words: x.total as f64, bits: cost.bits() }
    }

    /// How many authors, up to a few, a word has among the newest messages with it. Messages are not counted:
    /// nobody can make the words of others worthless by repeating them.
    fn users(&self, index: &Index, term: &Term) -> usize {
        // More than a few is many.
        let mut authors: Vec<Name> = Vec::with_capacity(FEW + 1);
        index.newest_until(term, SAMPLE, |ordinal, _| {
            if let Some(slot) = self.slots.get(ordinal)
                && !authors.contains(&slot.author)
            {
                authors.push(slot.author);
            }
            authors.len() <= FEW
        });
        authors.len()
    }
}
