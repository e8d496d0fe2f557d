//! What a message was worth, for the reputation of the peer that brought it: its gain, what people
//! say about it, whether it is junk.
//!
//! Only peers that were verified earn and lose: a message whose neighbour is not known for sure
//! says nothing about that neighbour.

use std::sync::LazyLock;

use rusqlite::Connection;

use crate::distance::{Deflate, density};
use crate::message::{MessageId, UnixTime};
use crate::policy::junk;
use crate::policy::reputation::{Cause, VOTES_A_DAY, share};
use crate::router::Decision;
use crate::store::limits::{self, Counted};
use crate::store::messages::{self, Kind, Stored};
use crate::store::people::Person;
use crate::store::{StoreError, peers, reputation};

/// A day, for the bounds of votes.
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

/// What densities are measured with.
static CODER: LazyLock<Deflate> = LazyLock::new(Deflate::default);

/// Whether a text looks like junk, as a reason for `explain`.
pub(super) fn junk(body: &[u8]) -> Option<String> {
    let found = density(&*CODER, body)?;
    junk::is_junk(found, body.len()).then(|| {
        format!(
            "it looks like junk: it costs {:.0} % of its bits, which people's texts of {} bytes do not (score \
             {:.1}); its peer loses by it, and nobody is told of it who has not asked",
            found * 100.0,
            body.len(),
            junk::score(found, body.len())
        )
    })
}

/// Whether the neighbour of a message is known for sure, so that it earns and loses by it.
fn is_verified(stored: &Stored) -> bool {
    stored.kind == Kind::Cmr && stored.authenticity.is_authenticated()
}

/// A message was routed: it is junk, or worth what its best match saves.
///
/// # Errors
/// Those of any write.
pub(super) fn routed(
    tx: &Connection,
    stored: &Stored,
    decision: &Decision,
    is_junk: bool,
    now: UnixTime,
) -> Result<(), StoreError> {
    if !is_verified(stored) {
        return Ok(());
    }
    if is_junk {
        reputation::note(tx, &stored.neighbour, Cause::Junk, 1.0, now)?;
        return Ok(());
    }
    if !decision.matches.is_empty() {
        credit(tx, stored, now)?;
    }
    let shares = decision.matches.iter().map(|found| share(found.gain_bits, found.one_sided_bits));
    let best = shares.fold(0.0, f64::max);
    if best > 0.0 {
        reputation::note(tx, &stored.neighbour, Cause::Gain, best, now)?;
    }
    Ok(())
}

/// A useful message earns credit as a contact for the neighbour that brought it, and for the router that took it
/// from its author. The lines below the first are not signed: who stands there earns by it only once it has brought
/// something useful itself, or if the operator named it.
fn credit(tx: &Connection, stored: &Stored, now: UnixTime) -> Result<(), StoreError> {
    peers::credit(tx, &stored.neighbour, now)?;
    let Some(text) = &stored.text else { return Ok(()) };
    let message = text.message()?;
    let home = message.home_router();
    if *home == stored.neighbour {
        return Ok(());
    }
    match peers::get(tx, home)? {
        Some(peer) if peer.credited_at.is_some() || peer.pinned || peer.listed => {
            peers::credit(tx, home, now)
        }
        _ => Ok(()),
    }
}

/// Why a vote does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoVote {
    /// Nobody has confirmed that the voter is a person.
    #[error("only who has confirmed an address here votes")]
    Unconfirmed,
    /// There is no such message.
    #[error("there is no such message here")]
    Unknown,
    /// One person, one vote.
    #[error("this was voted on before")]
    Again,
    /// It was the voter's own.
    #[error("nobody votes about a message of his own")]
    Own,
    /// Nobody earns or loses by it.
    #[error("nobody is known for sure who brought this message, so nobody earns or loses by it")]
    Nobody,
    /// Enough of that, for a day.
    #[error("there were enough votes about the sender of this message today")]
    Enough,
}

/// A person says that a message was good, or bad. One vote for each person and message; one a day
/// of each domain about the same peer, and a few in all: who makes up a hundred addresses has the
/// weight of one.
///
/// # Errors
/// Those of any write; the inner error is why the vote does not count.
pub fn vote(
    tx: &Connection,
    voter: &Person,
    id: MessageId,
    good: bool,
    now: UnixTime,
) -> Result<Result<(), NoVote>, StoreError> {
    if voter.confirmed_at.is_none() {
        return Ok(Err(NoVote::Unconfirmed));
    }
    let Some(stored) = messages::by_id(tx, id)?.into_iter().next() else { return Ok(Err(NoVote::Unknown)) };
    if stored.person == Some(voter.id) {
        return Ok(Err(NoVote::Own));
    }
    let who = voter.address.to_ascii_lowercase();
    if limits::has_voted(tx, stored.seq, who.as_bytes())? {
        return Ok(Err(NoVote::Again));
    }
    if !is_verified(&stored) {
        return Ok(Err(NoVote::Nobody));
    }
    let since = now.saturating_sub(DAY);
    let peer = stored.neighbour.as_bytes();
    let domain = who.rsplit_once('@').map_or(who.as_str(), |(_, domain)| domain);
    let faction = [domain.as_bytes(), b"\n", peer].concat();
    if limits::number_since(tx, Counted::VoteOfDomain, &faction, since)? > 0
        || limits::number_since(tx, Counted::VoteAbout, peer, since)? >= VOTES_A_DAY
    {
        return Ok(Err(NoVote::Enough));
    }
    limits::vote(tx, stored.seq, who.as_bytes())?;
    limits::note(tx, Counted::VoteOfDomain, &faction, now)?;
    limits::note(tx, Counted::VoteAbout, peer, now)?;
    let cause = if good { Cause::Good } else { Cause::Bad };
    reputation::note(tx, &stored.neighbour, cause, 1.0, now)?;
    Ok(Ok(()))
}
