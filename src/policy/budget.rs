//! What one neighbour may bring and be sent, and what goes to an address that has shown nothing.

use super::reputation::BAD;
use super::sending::{LEARNED_PER_GROUP, contact_group};
use super::{Rate, Refusal};
use crate::message::Address;
use std::time::Duration;

/// The share of its budget that a neighbour of bad reputation keeps: one over this.
const SPOILT: u32 = 10;

/// What a neighbour of this reputation may bring of `rate`: all of it, or a tenth where what it
/// brought was worth nothing (section 4: messages of peers with poor reputations are rejected).
#[must_use]
pub fn allowance(rate: Rate, reputation: f64) -> Rate {
    if reputation <= BAD { Rate { count: (rate.count / SPOILT).max(1), ..rate } } else { rate }
}

/// How long an address that has shown nothing counts for the limits below.
pub const STRANGE_FOR: Duration = Duration::from_secs(86_400);

/// Addresses that have shown nothing and are sent to for the first time, in an hour.
pub const STRANGERS: Rate = Rate { count: 30, per: Duration::from_secs(3600) };

/// What is sent in a day to an address that has shown nothing, and has never taken anything.
pub const TRIALS: u32 = 3;

/// What is sent to an address that has shown nothing, and takes what it gets.
pub const TO_STRANGER: Rate = Rate { count: 60, per: Duration::from_secs(3600) };

/// An address out of a header that nobody listed and that has shown nothing, and what was sent around
/// it lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strange {
    /// What was sent to it within [`STRANGE_FOR`].
    pub today: u32,
    /// The same within the period of [`TO_STRANGER`].
    pub lately: u32,
    /// Whether it took something within [`STRANGE_FOR`].
    pub took: bool,
    /// Other addresses of its corner that were sent to within [`STRANGE_FOR`].
    pub alike: u32,
    /// Addresses of any corner that were sent to for the first time, within the period of
    /// [`STRANGERS`].
    pub strangers: u32,
}

/// Whether something is sent to such an address: anybody can write anybody's address into a header,
/// and what follows from it has to be nothing to whom it belongs to.
///
/// # Errors
/// [`Refusal::TooManyAlike`], [`Refusal::Strangers`] or [`Refusal::EnoughTo`].
pub fn may_try(address: &Address, strange: &Strange) -> Result<(), Refusal> {
    let Some(group) = contact_group(address) else {
        return Err(Refusal::NoRecipient { address: address.to_string() });
    };
    if strange.today == 0 {
        if usize::try_from(strange.alike).unwrap_or(usize::MAX) >= LEARNED_PER_GROUP {
            return Err(Refusal::TooManyAlike { address: address.to_string(), group });
        }
        if !STRANGERS.allows(strange.strangers) {
            return Err(Refusal::Strangers { rate: STRANGERS });
        }
    }
    let most = if strange.took { TO_STRANGER } else { Rate { count: TRIALS, per: STRANGE_FOR } };
    let sent = if strange.took { strange.lately } else { strange.today };
    if most.allows(sent) {
        return Ok(());
    }
    Err(Refusal::EnoughTo { address: address.to_string(), rate: most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_reputation_costs_most_of_the_budget() {
        let rate: Rate = "100/h".parse().unwrap();
        for (reputation, count) in [(1.0, 100), (0.0, 100), (-0.49, 100), (-0.5, 10), (-1.0, 10)] {
            assert_eq!(allowance(rate, reputation), Rate { count, ..rate }, "{reputation}");
        }
        let one: Rate = "3/h".parse().unwrap();
        assert_eq!(allowance(one, -1.0).count, 1, "never nothing: it could not mend");
    }

    #[test]
    fn little_goes_to_who_has_shown_nothing() {
        let new = Strange::default();
        let (once, thrice) = (Strange { today: 1, lately: 1, ..new }, Strange { today: 3, lately: 3, ..new });
        #[rustfmt::skip]
        let table = [
            (new, None),
            (Strange { alike: 1, ..new }, None),
            (Strange { alike: 2, ..new }, Some("2 other contacts at victim.example")),
            // It was one of these two.
            (Strange { alike: 2, ..once }, None),
            (Strange { strangers: 29, ..new }, None),
            (Strange { strangers: 30, ..new }, Some("30/h")),
            (Strange { strangers: 30, ..once }, None),
            (Strange { today: 2, ..once }, None),
            (thrice, Some("3/d")),
            (Strange { took: true, ..thrice }, None),
            (Strange { took: true, today: 500, lately: 59, ..new }, None),
            (Strange { took: true, today: 500, lately: 60, ..new }, Some("60/h")),
        ];
        let address = Address::try_from("http://www.victim.example/upload").unwrap();
        for (strange, expected) in table {
            let got = may_try(&address, &strange).map_err(|no| no.to_string());
            match (&got, expected) {
                (Ok(()), None) => {}
                (Err(no), Some(words)) if no.contains(words) => {}
                _ => panic!("{strange:?}: {got:?}, expected {expected:?}"),
            }
        }
    }
}
