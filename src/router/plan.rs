//! What is going to be sent, and the rules that hold for all of it.

use super::{Contact, Forward, Subject, Surroundings, What};
use crate::message::{Address, MessageId};
use crate::pool;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Why something is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum No {
    /// It is one of our own addresses.
    Ourselves,
    /// It stands in the header of what would be sent.
    InHeader,
    /// It has it already.
    Has,
    /// It gets it already by this decision.
    Twice,
    /// `max_forwards` is used up.
    Budget(usize),
    /// It can't or must not be sent to.
    Cannot(String),
}

impl fmt::Display for No {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            No::Ourselves => f.write_str("that is ourselves"),
            No::InHeader => f.write_str("it is in the header"),
            No::Has => f.write_str("it is known to have it"),
            No::Twice => f.write_str("it gets it already"),
            No::Budget(most) => write!(f, "max_forwards = {most} is used up"),
            No::Cannot(why) => f.write_str(why),
        }
    }
}

/// The forwards so far. Every forward goes through [`Plan::check`].
pub(super) struct Plan<'a> {
    subject: &'a Subject<'a>,
    contacts: BTreeMap<&'a Address, &'a Contact>,
    around: &'a dyn Surroundings,
    most: usize,
    left: usize,
    sent: BTreeSet<(Address, What)>,
    forwards: Vec<Forward>,
    reasons: Vec<String>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        subject: &'a Subject<'a>,
        contacts: &'a [Contact],
        around: &'a dyn Surroundings,
        most: usize,
    ) -> Self {
        let mut by_address: BTreeMap<&Address, &Contact> = BTreeMap::new();
        for contact in contacts {
            // Of two that say different things about one address the stricter one holds, so that
            // the order does not matter.
            let strict = |c: &'a Contact| (c.may_send, !c.has, c.reason.as_deref(), !c.pinned);
            match by_address.entry(&contact.address) {
                Entry::Vacant(free) => {
                    free.insert(contact);
                }
                Entry::Occupied(mut known) if strict(contact) < strict(known.get()) => {
                    known.insert(contact);
                }
                Entry::Occupied(_) => {}
            }
        }
        Plan {
            subject,
            contacts: by_address,
            around,
            most,
            left: most,
            sent: BTreeSet::new(),
            forwards: Vec::new(),
            reasons: Vec::new(),
        }
    }

    pub(super) fn subject(&self) -> &'a Subject<'a> {
        self.subject
    }

    /// The contacts, each once, by address.
    pub(super) fn contacts(&self) -> Vec<&'a Contact> {
        self.contacts.values().copied().collect()
    }

    pub(super) fn around(&self) -> &'a dyn Surroundings {
        self.around
    }

    pub(super) fn is_own(&self, address: &Address) -> bool {
        self.around.is_own(address)
    }

    /// Whether a router took a message from this author, as a header says: it does if both are of one domain,
    /// or if the router is no stranger. Whoever could write itself into the place of every home would get the
    /// answers to everything that passes by. (Who writes another origin as well has made another message.)
    pub(super) fn believes(&self, home: &Address, origin: &Address) -> bool {
        home == origin || home.shares_domain(origin) || self.around.is_acquainted(home)
    }

    /// One more sentence of explanation.
    pub(super) fn say(&mut self, sentence: String) {
        self.reasons.push(sentence);
    }

    /// Keeps so many forwards for what is sent outside of this plan.
    pub(super) fn reserve(&mut self, n: usize) {
        self.left = self.left.saturating_sub(n);
    }

    /// Whether X may go there.
    pub(super) fn check_subject(&self, to: &Address) -> Result<(), No> {
        let has = self.contacts.get(to).is_some_and(|contact| contact.has);
        self.check(to, What::This, self.subject.id, self.subject.message.hops.addresses(), has)
    }

    /// Whether a cached message may go there.
    pub(super) fn check_cached(&self, to: &Address, y: &pool::Entry) -> Result<(), No> {
        self.check(to, What::Match(y.seq), y.id, y.hops.iter(), false)
    }

    pub(super) fn send_subject(
        &mut self,
        to: &Address,
        because: Option<What>,
        why: String,
    ) -> Result<(), No> {
        let checked = self.check_subject(to);
        self.push(
            checked,
            Forward { to: to.clone(), what: What::This, because: because.into_iter().collect(), why },
        )
    }

    pub(super) fn send_cached(
        &mut self,
        to: &Address,
        y: &pool::Entry,
        because: Option<What>,
        why: String,
    ) -> Result<(), No> {
        let (checked, what) = (self.check_cached(to, y), What::Match(y.seq));
        self.push(checked, Forward { to: to.clone(), what, because: because.into_iter().collect(), why })
    }

    pub(super) fn done(self) -> (Vec<String>, Vec<Forward>) {
        (self.reasons, self.forwards)
    }

    fn check<'h>(
        &self,
        to: &Address,
        what: What,
        id: MessageId,
        mut header: impl Iterator<Item = &'h Address>,
        has: bool,
    ) -> Result<(), No> {
        if self.around.is_own(to) {
            return Err(No::Ourselves);
        }
        // Another spelling of an address in the header, or another address, is the same peer.
        let others = self.around.others(to);
        if header.any(|address| address.same_place(to) || others.contains(address)) {
            return Err(No::InHeader);
        }
        if has || std::iter::once(to).chain(&others).any(|one| self.around.has(one, id)) {
            return Err(No::Has);
        }
        if std::iter::once(to).chain(&others).any(|one| self.sent.contains(&(one.clone(), what))) {
            return Err(No::Twice);
        }
        match self.contacts.get(to) {
            Some(contact) if contact.may_send => Ok(()),
            Some(contact) => {
                let why = contact.reason.clone();
                Err(No::Cannot(why.unwrap_or_else(|| "it can't be sent to".to_owned())))
            }
            None => self.around.may_send(to).map_err(No::Cannot),
        }
    }

    fn push(&mut self, checked: Result<(), No>, forward: Forward) -> Result<(), No> {
        if checked == Err(No::Twice) {
            // One reason may be made up and the other true: any of them is enough.
            let others = self.around.others(&forward.to);
            let same = |it: &&mut Forward| {
                it.what == forward.what && (it.to == forward.to || others.contains(&it.to))
            };
            if let Some(other) = self.forwards.iter_mut().find(same).filter(|it| !it.because.is_empty()) {
                other.because.extend(forward.because);
            }
            return Err(No::Twice);
        }
        checked?;
        if self.left == 0 {
            return Err(No::Budget(self.most));
        }
        self.left -= 1;
        self.sent.insert((forward.to.clone(), forward.what));
        self.forwards.push(forward);
        Ok(())
    }
}
