//! What a message must be for this recipient at this time: none of our own addresses in its
//! header, and nothing from the future.

use super::error::quote;
use super::{Address, FormatError, Message, Rule, UnixTime};
use std::fmt;
use std::time::Duration;

/// Who receives, and when.
#[derive(Clone, Copy)]
pub struct Recipient<'a> {
    /// The present time.
    pub now: UnixTime,
    /// How far ahead of our clock a message may be dated and still be held instead of refused.
    pub skew: Duration,
    /// Our own addresses, one for each transport. They are compared by
    /// [`Address::same_place`], not by bytes alone.
    pub own: &'a [Address],
    /// Says of further addresses whether they are ours.
    ///
    /// Aliases (`mailto:cmr+NAME@host`) stand as origin below our own line in everything that we
    /// send out for people, so with our line they are found by `own`. An alias without our line
    /// above it is a forgery or lost our stamp on the way; whether that counts as our own address
    /// is the caller's decision, made here.
    pub is_own: Option<&'a dyn Fn(&Address) -> bool>,
}

impl fmt::Debug for Recipient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient")
            .field("now", &self.now)
            .field("skew", &self.skew)
            .field("own", &self.own)
            .field("is_own", &self.is_own.is_some())
            .finish()
    }
}

impl<'a> Recipient<'a> {
    /// A recipient with these addresses, no skew and no predicate.
    #[must_use]
    pub fn new(now: UnixTime, own: &'a [Address]) -> Self {
        Recipient { now, skew: Duration::ZERO, own, is_own: None }
    }

    /// Whether this address is one of ours.
    #[must_use]
    pub fn owns(&self, address: &Address) -> bool {
        self.own.iter().any(|own| own.same_place(address))
            || self.is_own.is_some_and(|is_own| is_own(address))
    }
}

/// What to do with a message that may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It is good now.
    Now,
    /// It is dated ahead of our clock, within the skew: good from this time on.
    HeldUntil(UnixTime),
}

impl Message {
    /// The rules of A2 that depend on who receives and when.
    ///
    /// # Errors
    /// If one of our own addresses stands in the header, or its newest time is further ahead of
    /// our clock than the skew. Offsets are those of [`Message::write`], which are those of the
    /// bytes that were parsed.
    pub fn accept(&self, recipient: &Recipient<'_>) -> Result<Acceptance, FormatError> {
        let mut line_at = self.signature.line().len().saturating_add(2);
        let newest = self.sender();
        let good_at = newest.time.reached_at();
        if good_at > recipient.now.saturating_add(recipient.skew) {
            return Err(FormatError::new(
                Rule::TimeFuture,
                line_at,
                format!(
                    "header line 1 is dated {}, {} ahead of our clock ({} s are allowed)",
                    quote(newest.time.as_str().as_bytes()),
                    ahead(good_at.since(recipient.now)),
                    recipient.skew.as_secs_f64()
                ),
            ));
        }
        for (index, hop) in self.hops.iter().enumerate() {
            if recipient.owns(&hop.address) {
                let time = hop.time.as_str().len();
                return Err(FormatError::new(
                    Rule::AddressOwn,
                    line_at.saturating_add(time).saturating_add(1),
                    format!(
                        "the address {} of header line {} is the recipient's own",
                        quote(hop.address.as_bytes()),
                        index.saturating_add(1)
                    ),
                ));
            }
            line_at = line_at.saturating_add(hop.wire_len());
        }
        Ok(if good_at > recipient.now { Acceptance::HeldUntil(good_at) } else { Acceptance::Now })
    }
}

/// A span of time as people say it.
fn ahead(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} microseconds", span.as_micros()),
        1..=119 => format!("{} s", span.as_secs_f64()),
        120..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
