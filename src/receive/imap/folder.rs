//! One look through a folder: what is known of it and what the server says go in, the next step
//! comes out.
//!
//! Pure. It knows UIDs, and what must be durable before what: mails are settled before anything
//! happens to them in the folder. It must never know mails, sockets or the database.

use std::collections::{BTreeSet, VecDeque};

/// UIDs that a search spans at first.
const SPAN: u32 = 20_000;

/// UIDs that a search spans at most: where nothing was found, the next one reaches further.
const WIDEST: u32 = 200_000;

/// Mails between two settlements.
pub(super) const BATCH: usize = 250;

/// What the server says about a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// UIDVALIDITY.
    pub(super) validity: u32,
    /// UIDNEXT, if it is told.
    pub(super) next: Option<u32>,
    /// How many mails there are.
    pub(super) exists: u32,
    /// Nothing in it can be changed.
    pub(super) read_only: bool,
}

/// What is remembered of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The number under which it is remembered.
    pub folder: i64,
    /// All UIDs below this one are settled.
    pub next: u32,
    /// Mails that are stored, and to which what is configured has still to happen.
    pub after: Vec<u32>,
    /// Mails from `next` on that are settled already: a look was interrupted.
    pub settled: Vec<u32>,
    /// Mails that were not taken for the time being, and are due again.
    pub again: Vec<u32>,
}

/// What became of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was for us, and is stored as far as it ever will be.
    Taken,
    /// It is not for us, or our own.
    Left,
    /// It may be taken later.
    Again,
    /// Nothing is known about it: the database failed, say.
    Unknown(String),
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for the highest UID: the server did not say which comes next.
    Highest,
    /// Ask which of these UIDs there are, both ends included; [`Look::found`].
    Search(u32, u32),
    /// Ask how large they are; [`Look::sized`].
    Sizes(Vec<u32>),
    /// Fetch a mail of this size and hand it over. Its fate is told before the next settlement.
    Take(u32, u32),
    /// Wait for the fates of all that was taken, [`Look::fate`], and remember that all UIDs below
    /// this one are settled.
    Settle(u32),
    /// Do with them what is configured, then [`Look::after`]. `interrupted`: it may have been begun
    /// before.
    After { uids: Vec<u32>, interrupted: bool },
    /// The folder is looked through.
    Rest,
}

/// A look under way.
#[derive(Debug)]
pub(super) struct Look {
    next: u32,
    /// The first UID that is not looked at: what comes later is for the next look.
    end: Option<u32>,
    span: u32,
    largest: u32,
    /// Whether anything happens to mails that were taken.
    changes: bool,
    settled: BTreeSet<u32>,
    /// From an earlier look.
    interrupted: VecDeque<u32>,
    again: VecDeque<u32>,
    /// Found and not yet sized.
    found: VecDeque<u32>,
    /// The last UID of the search that found them.
    searched: Option<u32>,
    /// Sized and not yet taken.
    sized: VecDeque<(u32, u32)>,
    /// Where `next` is once the present batch is settled.
    goal: Option<u32>,
    taken: Vec<u32>,
    pub(super) counts: Counts,
}

/// What a look has come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Mails that were taken.
    pub taken: u64,
    /// Mails that are not for us.
    pub left: u64,
    /// Mails that are larger than may be.
    pub too_large: u64,
    /// Mails that may be taken later.
    pub again: u64,
    /// Mails, at most, that have not been looked at yet.
    pub behind: u64,
}

/// Whether the server has broken its word that UIDs only grow (RFC 9051, section 2.3.1.1): it was
/// restored from an old copy, perhaps.
pub(super) fn went_back(known: &Known, facts: &Facts) -> bool {
    facts.next.is_some_and(|next| next < known.next)
}

/// Whether a folder of which `seen` was said before a look may hold mails, by what is said `now`, that
/// the look did not reach.
pub(super) fn is_news(seen: &Facts, now: &Facts) -> bool {
    let came = match (seen.next, now.next) {
        (Some(seen), Some(now)) => seen != now,
        _ => seen.exists != now.exists,
    };
    came || seen.validity != now.validity
}

impl Look {
    /// `changes`: something happens to mails that were taken. `largest`: larger mails are left alone.
    pub(super) fn new(known: &Known, facts: &Facts, changes: bool, largest: usize) -> Look {
        let changes = changes && !facts.read_only;
        let mut look = Look {
            next: known.next.max(1),
            end: facts.next,
            span: SPAN,
            largest: u32::try_from(largest).unwrap_or(u32::MAX),
            changes,
            settled: known.settled.iter().copied().collect(),
            interrupted: if changes { known.after.iter().copied().collect() } else { VecDeque::new() },
            again: known.again.iter().copied().collect(),
            found: VecDeque::new(),
            searched: None,
            sized: VecDeque::new(),
            goal: None,
            taken: Vec::new(),
            counts: Counts::default(),
        };
        if facts.exists == 0 && look.end.is_none() {
            look.end = Some(look.next);
        }
        look.counts.behind = match look.end {
            Some(end) => u64::from(end.saturating_sub(look.next)).min(u64::from(facts.exists)),
            None => u64::from(facts.exists),
        };
        look
    }

    /// The next step.
    pub(super) fn step(&mut self) -> Step {
        if !self.interrupted.is_empty() {
            let uids = self.interrupted.drain(..self.interrupted.len().min(BATCH)).collect();
            return Step::After { uids, interrupted: true };
        }
        if let Some((uid, size)) = self.sized.pop_front() {
            return Step::Take(uid, size);
        }
        if let Some(goal) = self.goal.take() {
            return Step::Settle(goal);
        }
        if !self.taken.is_empty() && self.changes {
            return Step::After { uids: std::mem::take(&mut self.taken), interrupted: false };
        }
        self.taken.clear();
        if !self.again.is_empty() {
            self.goal = Some(self.next);
            return Step::Sizes(self.again.drain(..self.again.len().min(BATCH)).collect());
        }
        if !self.found.is_empty() {
            let batch: Vec<u32> = self.found.drain(..self.found.len().min(BATCH)).collect();
            let last = batch.last().copied().unwrap_or(self.next);
            let reached =
                if self.found.is_empty() { self.searched.take().unwrap_or(last).max(last) } else { last };
            self.goal = Some(reached.saturating_add(1));
            return Step::Sizes(batch);
        }
        if let Some(searched) = self.searched.take() {
            return Step::Settle(searched.saturating_add(1));
        }
        let Some(end) = self.end else { return Step::Highest };
        if self.next >= end {
            self.counts.behind = 0;
            return Step::Rest;
        }
        let to = self.next.saturating_add(self.span.saturating_sub(1)).min(end.saturating_sub(1));
        Step::Search(self.next, to)
    }

    /// The highest UID there is, none in an empty folder.
    pub(super) fn highest(&mut self, uid: Option<u32>) {
        self.end = Some(uid.map_or(self.next, |uid| uid.saturating_add(1)));
    }

    /// What a search up to `to` found. UIDs that were not asked for don't count: servers answer `7:*`
    /// with the last one, whatever it is.
    pub(super) fn found(&mut self, uids: Vec<u32>, to: u32) {
        self.span = if uids.is_empty() { self.span.saturating_mul(2).min(WIDEST) } else { SPAN };
        let asked = self.next..=to;
        let unique: BTreeSet<u32> =
            uids.into_iter().filter(|uid| asked.contains(uid) && !self.settled.contains(uid)).collect();
        self.found = unique.into_iter().collect();
        self.searched = Some(to);
        if let Some(end) = self.end {
            let most =
                u64::from(end.saturating_sub(1).saturating_sub(to)).saturating_add(number(self.found.len()));
            self.counts.behind = self.counts.behind.min(most);
        }
    }

    /// How large mails are; those that are gone are left out.
    pub(super) fn sized(&mut self, sizes: Vec<(u32, u32)>) {
        let (small, large): (Vec<_>, Vec<_>) = sizes.into_iter().partition(|(_, size)| *size <= self.largest);
        self.counts.too_large = self.counts.too_large.saturating_add(number(large.len()));
        self.counts.behind = self.counts.behind.saturating_sub(number(large.len()));
        self.sized = small.into();
    }

    /// What became of a mail that was handed over.
    pub(super) fn fate(&mut self, uid: u32, fate: &Fate) {
        let count = match fate {
            Fate::Taken => {
                self.taken.push(uid);
                &mut self.counts.taken
            }
            Fate::Left => &mut self.counts.left,
            Fate::Again | Fate::Unknown(_) => &mut self.counts.again,
        };
        *count = count.saturating_add(1);
        self.counts.behind = self.counts.behind.saturating_sub(1);
    }

    /// All below is settled, durably.
    pub(super) fn settled(&mut self, next: u32) {
        self.next = self.next.max(next);
        self.settled = self.settled.split_off(&self.next);
    }

    /// What is configured could not be done: it is left for the next look.
    pub(super) fn gave_up_after(&mut self) {
        self.interrupted.clear();
        self.changes = false;
    }
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
