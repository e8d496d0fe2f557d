//! The budgets of neighbours, over all transports: what one that shows who it is may bring and be
//! sent, and what goes to an address out of a header that has shown nothing.
//!
//! It knows counts. It must never know what is in a message. What nobody proved uses up nothing of a
//! neighbour: it is counted for the network that it came from (`brake`).

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::Connection;

use super::ways;
use crate::config::Config;
use crate::message::{Address, UnixTime};
use crate::policy::budget::{STRANGE_FOR, STRANGERS, Strange, TO_STRANGER, allowance, may_try};
use crate::policy::{Refusal, contact_group};
use crate::store::limits::{self, Counted};
use crate::store::messages::{self, NewMessage};
use crate::store::peers::{self, Peer};
use crate::store::{StoreError, keys, reputation};
use crate::wire::scheme;

/// How long a line that was counted is remembered; older ones are not counted.
const SEEN_FOR: Duration = Duration::from_secs(7 * 86_400);

/// What new strangers are counted under.
const ALL: &[u8] = b"all";

/// The one name of a neighbour with several addresses.
fn name_of(conn: &Connection, address: &Address) -> Result<Address, StoreError> {
    let others = keys::same_neighbour(conn, address)?;
    Ok(others.into_iter().chain([address.clone()]).min().unwrap_or_else(|| address.clone()))
}

/// Why a message is not taken now of a neighbour that has shown who it is.
///
/// # Errors
/// Those of any read.
pub(super) fn refusal(
    conn: &Connection,
    config: &Config,
    neighbour: &Address,
    now: UnixTime,
) -> Result<Option<Refusal>, StoreError> {
    let standing = peers::get(conn, neighbour)?.map_or(0.0, |peer| reputation::present(&peer, now));
    let rate = allowance(config.policy.peer_at_most, standing);
    let name = name_of(conn, neighbour)?;
    let brought = limits::number_since(conn, Counted::Brought, name.as_bytes(), rate.window_start(now))?;
    Ok((!rate.allows(brought)).then_some(Refusal::TooFast { rate, retry: rate.per }))
}

/// A message of this neighbour was taken.
///
/// # Errors
/// Those of any write.
pub(super) fn brought(tx: &Connection, neighbour: &Address, now: UnixTime) -> Result<(), StoreError> {
    limits::note(tx, Counted::Brought, name_of(tx, neighbour)?.as_bytes(), now)
}

/// Whether its neighbour itself has sent a known message again, under a new line, and that was not counted
/// yet. A copy of what it sent anybody may have made who saw it pass, and nobody loses by what others do.
///
/// # Errors
/// Those of any write.
pub(super) fn is_sent_again(tx: &Connection, new: &NewMessage, now: UnixTime) -> Result<bool, StoreError> {
    let (neighbour, ids) = (new.message().sender(), new.message().hop_ids());
    let Some(top @ (key, _)) = ids.first() else { return Ok(false) };
    let age = now.since(neighbour.time.to_unix());
    if age > SEEN_FOR || messages::known(tx, std::slice::from_ref(top))?.is_some() {
        return Ok(false);
    }
    let line: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
    limits::first_time(tx, neighbour.address.as_bytes(), &line, now)
}

/// What a forward to an address is counted under.
#[derive(Debug)]
pub(super) enum Account {
    /// A neighbour: listed, or known to be who it says it is.
    Neighbour(Address),
    /// An address that has shown nothing, and whether it is sent to for the first time.
    Stranger(Address, bool),
}

/// Whether a forward may go to this address now, and what it is counted under.
///
/// # Errors
/// Those of any read.
pub(super) fn account(
    conn: &Connection,
    config: &Config,
    to: &Address,
    now: UnixTime,
) -> Result<Result<Account, Refusal>, StoreError> {
    if is_neighbour(conn, to)? {
        let (name, rate) = (name_of(conn, to)?, config.policy.peer_at_most);
        let sent = limits::number_since(conn, Counted::Sent, name.as_bytes(), rate.window_start(now))?;
        return Ok(match rate.allows(sent) {
            true => Ok(Account::Neighbour(name)),
            false => Err(Refusal::EnoughTo { address: to.to_string(), rate }),
        });
    }
    let (day, hour) = (now.saturating_sub(STRANGE_FOR), TO_STRANGER.window_start(now));
    let group = contact_group(to).unwrap_or_default();
    let strange = Strange {
        today: limits::number_since(conn, Counted::ToStranger, to.as_bytes(), day)?,
        lately: limits::number_since(conn, Counted::ToStranger, to.as_bytes(), hour)?,
        took: limits::number_since(conn, Counted::StrangerTook, to.as_bytes(), day)? > 0,
        alike: limits::number_since(conn, Counted::StrangerOf, group.as_bytes(), day)?,
        strangers: limits::number_since(conn, Counted::StrangerOf, ALL, STRANGERS.window_start(now))?,
    };
    Ok(may_try(to, &strange).map(|()| Account::Stranger(to.clone(), strange.today == 0)))
}

/// Which of these peers are strangers that were sent enough, and why nothing goes there now: so that the
/// router chooses others.
///
/// # Errors
/// Those of any read.
pub(super) fn spent(
    conn: &Connection,
    config: &Config,
    peers: &[Peer],
    now: UnixTime,
) -> Result<HashMap<Address, String>, StoreError> {
    let mut spent = HashMap::new();
    for peer in peers {
        let standing = ways::standing(Some(peer));
        let is_web = scheme(&peer.address).is_some_and(|it| it.is_http());
        if is_web
            && !standing.configured()
            && !standing.authenticated
            && let Err(no) = account(conn, config, &peer.address, now)?
        {
            spent.insert(peer.address.clone(), no.to_string());
        }
    }
    Ok(spent)
}

/// Whether what goes there counts as a neighbour's: it has shown who it is, or it is no web address.
fn is_neighbour(conn: &Connection, to: &Address) -> Result<bool, StoreError> {
    let standing = ways::standing(peers::get(conn, to)?.as_ref());
    let known = standing.configured() || standing.authenticated || keys::current(conn, to)?.is_some();
    Ok(known || !scheme(to).is_some_and(|it| it.is_http()))
}

impl Account {
    /// Something was queued for it.
    ///
    /// # Errors
    /// Those of any write.
    pub(super) fn note(&self, tx: &Connection, now: UnixTime) -> Result<(), StoreError> {
        match self {
            Account::Neighbour(name) => limits::note(tx, Counted::Sent, name.as_bytes(), now),
            Account::Stranger(address, new) => {
                limits::note(tx, Counted::ToStranger, address.as_bytes(), now)?;
                if *new {
                    let group = contact_group(address).unwrap_or_default();
                    limits::note(tx, Counted::StrangerOf, group.as_bytes(), now)?;
                    limits::note(tx, Counted::StrangerOf, ALL, now)?;
                }
                Ok(())
            }
        }
    }
}
