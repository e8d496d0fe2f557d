//! Key exchanges under way (A5): what a restart must not lose.
//!
//! Each step is a row that is changed in one transaction with what follows from it (a key, a
//! delivery). Crash argument: before the commit the step is done again from the same row. Doing it
//! again makes another secret, and nobody has seen the first; what was sent before stays understood,
//! because a key that was made stays pending until it expires.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};
use zeroize::Zeroizing;

use super::sql::{count, whole, words};
use super::{StoreError, peers};
use crate::keys::exchange::{Derivation, Method};
use crate::message::{Address, UnixTime};

/// Messages with key exchanges that wait to be worked on, at most, for each peer.
pub const HEARD_PER_PEER: u64 = 2;

/// The same for all peers together.
pub const HEARD: u64 = 200;

/// Pending keys of a peer, at most: the oldest go first, but never one that we sign with.
pub const PENDING_PER_PEER: usize = 4;

words! {
    /// Who began.
    pub enum Role {
        /// We did.
        Asked => "asked",
        /// The peer did, or it replied to us.
        Answered => "answered",
    }
}

words! {
    /// How far an exchange is.
    pub enum Step {
        /// The operator wants a key; nothing was sent yet.
        Wanted => "wanted",
        /// Our request is on its way, or there; the secret for the reply is kept.
        Sent => "sent",
        /// The peer replied, and we sign with the new key. It is pending until the peer does, too.
        Learnt => "learnt",
        /// A message of the peer's waits to be worked on.
        Heard => "heard",
        /// We replied; the new key is pending until the peer signs with it.
        Replied => "replied",
        /// The operator lets the peer ask for a new key, once.
        Allowed => "allowed",
    }
}

/// An exchange.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Its number.
    pub id: i64,
    /// With whom.
    pub address: Address,
    /// The address of ours that it is about.
    pub ours: Address,
    /// How.
    pub method: Method,
    /// Who began.
    pub role: Role,
    /// How far.
    pub step: Step,
    /// How the key comes out of the secret.
    pub derivation: Derivation,
    /// Our side's secret, while we wait for the reply.
    pub secret: Option<Zeroizing<Vec<u8>>>,
    /// The body that was sent, or heard.
    pub body: Option<Zeroizing<Vec<u8>>>,
    /// The key that it made.
    pub key: Option<i64>,
    /// How often our request was sent.
    pub attempts: u32,
    /// When it is to be sent again.
    pub next_try: Option<UnixTime>,
    /// Since when.
    pub created: UnixTime,
    /// When it is forgotten.
    pub expires: UnixTime,
}

const SELECT: &str = "SELECT e.id, p.address, e.kind, e.role, e.state, e.derivation, e.secret, e.sent, e.key, \
     e.attempts, e.next_try, e.created, e.expires, e.ours FROM exchange e JOIN peer p ON p.id = e.peer";

fn exchange(row: &Row<'_>) -> rusqlite::Result<Exchange> {
    let wiped = |bytes: Option<Vec<u8>>| bytes.map(Zeroizing::new);
    Ok(Exchange {
        id: row.get(0)?,
        address: row.get(1)?,
        method: row.get(2)?,
        role: row.get(3)?,
        step: row.get(4)?,
        derivation: row.get(5)?,
        secret: wiped(row.get(6)?),
        body: wiped(row.get(7)?),
        key: row.get(8)?,
        attempts: row.get(9)?,
        next_try: row.get(10)?,
        created: row.get(11)?,
        expires: row.get(12)?,
        ours: row.get(13)?,
    })
}

/// What a new row says.
struct New<'a> {
    method: Method,
    role: Role,
    step: Step,
    derivation: Derivation,
    body: Option<&'a [u8]>,
}

fn insert(
    tx: &Connection,
    (address, ours): (&Address, &Address),
    new: &New<'_>,
    now: UnixTime,
    keep: Duration,
) -> Result<i64, StoreError> {
    let peer = peers::ensure(tx, address, now)?;
    tx.prepare_cached(
        "INSERT INTO exchange (peer, kind, role, state, derivation, sent, next_try, created, expires, ours)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9)",
    )?
    .execute((
        peer,
        new.method,
        new.role,
        new.step,
        new.derivation,
        new.body,
        now,
        now.saturating_add(keep),
        ours,
    ))?;
    Ok(tx.last_insert_rowid())
}

/// The operator wants a key shared with a peer. What was asked before and not answered is dropped.
///
/// # Errors
/// Those of any write.
pub fn want(
    tx: &Connection,
    (address, ours): (&Address, &Address),
    method: Method,
    derivation: Derivation,
    now: UnixTime,
    keep: Duration,
) -> Result<i64, StoreError> {
    withdraw(tx, address)?;
    let new = New { method, role: Role::Asked, step: Step::Wanted, derivation, body: None };
    insert(tx, (address, ours), &new, now, keep)
}

/// The operator lets a peer ask for a new key, once, for as long as `keep`.
///
/// # Errors
/// Those of any write.
pub fn allow(
    tx: &Connection,
    (address, ours): (&Address, &Address),
    derivation: Derivation,
    now: UnixTime,
    keep: Duration,
) -> Result<i64, StoreError> {
    take_allowance(tx, address)?;
    // The peer chooses the method; the column wants one.
    let (method, role) = (Method::Rsa, Role::Answered);
    let new = New { method, role, step: Step::Allowed, derivation, body: None };
    insert(tx, (address, ours), &new, now, keep)
}

/// The operator's allowance for this peer to ask for a new key, if there is one.
///
/// # Errors
/// Those of any read.
pub fn allowance(
    conn: &Connection,
    address: &Address,
    now: UnixTime,
) -> Result<Option<Exchange>, StoreError> {
    Ok(of(conn, address)?.into_iter().find(|it| it.step == Step::Allowed && it.expires > now))
}

/// The allowance is used up. `false` if there was none.
///
/// # Errors
/// Those of any write.
pub fn take_allowance(tx: &Connection, address: &Address) -> Result<bool, StoreError> {
    delete(tx, address, "state = 'allowed'")
}

/// A body came from a peer, to be worked on later. `false` if too many wait already.
///
/// # Errors
/// Those of any write.
pub fn heard(
    tx: &Connection,
    (address, ours): (&Address, &Address),
    (method, derivation): (Method, Derivation),
    body: &[u8],
    now: UnixTime,
    keep: Duration,
) -> Result<bool, StoreError> {
    let (all, of_peer): (i64, i64) = tx
        .prepare_cached(
            "SELECT count(*), count(CASE p.address WHEN ?1 THEN 1 END)
               FROM exchange e JOIN peer p ON p.id = e.peer WHERE e.state = 'heard'",
        )?
        .query_row([address], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (all, of_peer) = (count(all), count(of_peer));
    if all >= HEARD || of_peer >= HEARD_PER_PEER {
        return Ok(false);
    }
    let new = New { method, role: Role::Answered, step: Step::Heard, derivation, body: Some(body) };
    insert(tx, (address, ours), &new, now, keep)?;
    Ok(true)
}

/// What is to be done at `now`, oldest first: wanted, heard, or to be sent again.
///
/// # Errors
/// Those of any read.
pub fn due(conn: &Connection, now: UnixTime) -> Result<Option<Exchange>, StoreError> {
    let mut select = conn.prepare_cached(&format!(
        "{SELECT} WHERE e.expires > ?1 AND e.state IN ('wanted', 'heard', 'sent') AND e.next_try <= ?1
          ORDER BY e.next_try, e.id LIMIT 1"
    ))?;
    Ok(select.query_row([now], exchange).optional()?)
}

/// When the next one is due.
///
/// # Errors
/// Those of any read.
pub fn next_due(conn: &Connection) -> Result<Option<UnixTime>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT min(next_try) FROM exchange WHERE state IN ('wanted', 'heard', 'sent') AND next_try < expires",
    )?;
    Ok(select.query_row([], |row| row.get(0))?)
}

/// The exchanges with a peer, newest first.
///
/// # Errors
/// Those of any read.
pub fn of(conn: &Connection, address: &Address) -> Result<Vec<Exchange>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{SELECT} WHERE p.address = ?1 ORDER BY e.id DESC"))?;
    Ok(select.query_map([address], exchange)?.collect::<Result<_, _>>()?)
}

/// All of them, by address.
///
/// # Errors
/// Those of any read.
pub fn list(conn: &Connection, most: usize) -> Result<Vec<Exchange>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{SELECT} ORDER BY p.address, e.id LIMIT ?1"))?;
    Ok(select.query_map([whole(most)], exchange)?.collect::<Result<_, _>>()?)
}

/// The one with this number.
///
/// # Errors
/// Those of any read.
pub fn get(conn: &Connection, id: i64) -> Result<Option<Exchange>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{SELECT} WHERE e.id = ?1"))?;
    Ok(select.query_row([id], exchange).optional()?)
}

/// What is kept of a request that goes out.
#[derive(Debug, Clone, Copy)]
pub enum Kept<'a> {
    /// What understands the reply.
    Secret(&'a [u8]),
    /// A key in clear (A5.3), by its number: it is pending until the peer signs with it, and we sign with
    /// it as soon as the peer has it ([`delivered`]).
    Key(i64),
}

/// Our request `body` goes out. `next_try`: when it is sent again. `false` if the exchange is gone.
///
/// # Errors
/// Those of any write.
pub fn sent(
    tx: &Connection,
    id: i64,
    kept: Kept<'_>,
    body: &[u8],
    next_try: UnixTime,
) -> Result<bool, StoreError> {
    let (secret, key) = match kept {
        Kept::Secret(secret) => (Some(secret), None),
        Kept::Key(key) => (None, Some(key)),
    };
    let changed = tx
        .prepare_cached(
            "UPDATE exchange SET state = 'sent', secret = ?2, key = ?3, sent = ?4, attempts = 1, next_try = ?5
              WHERE id = ?1 AND state = 'wanted'",
        )?
        .execute((id, secret, key, body, next_try))?;
    Ok(changed > 0)
}

/// The message of exchange `id` has arrived. A key in clear is the peer's from then on, and wants no
/// reply; of the others nothing follows. `false` if nothing changed.
///
/// # Errors
/// Those of any write.
pub fn delivered(tx: &Connection, id: i64) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE exchange SET state = 'learnt', sent = NULL, next_try = NULL
              WHERE id = ?1 AND kind = 'clear' AND state = 'sent' AND key IS NOT NULL",
        )?
        .execute([id])?;
    Ok(changed > 0)
}

/// Our request goes out once more; `None`: for the last time.
///
/// # Errors
/// Those of any write.
pub fn sent_again(tx: &Connection, id: i64, next_try: Option<UnixTime>) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE exchange SET attempts = attempts + 1, next_try = ?2 WHERE id = ?1 AND state = 'sent'",
        )?
        .execute((id, next_try))?;
    Ok(changed > 0)
}

/// The reply made a key: the secret is forgotten, and the row stays as long as the key is pending.
///
/// # Errors
/// Those of any write.
pub fn learnt(tx: &Connection, id: i64, key: i64) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE exchange SET state = 'learnt', key = ?2, secret = NULL, sent = NULL, next_try = NULL
              WHERE id = ?1 AND state = 'sent'",
        )?
        .execute((id, key))?;
    forget_pending_beyond(tx, key)?;
    Ok(changed > 0)
}

/// A request was worked on: this is our reply, if one belongs to it, and the key that it made.
///
/// # Errors
/// Those of any write.
pub fn replied(tx: &Connection, id: i64, reply: Option<&[u8]>, key: i64) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE exchange SET state = 'replied', key = ?2, sent = ?3, next_try = NULL
              WHERE id = ?1 AND state = 'heard'",
        )?
        .execute((id, key, reply))?;
    forget_pending_beyond(tx, key)?;
    Ok(changed > 0)
}

/// What is left of an exchange goes, its secret with it.
///
/// # Errors
/// Those of any write.
pub fn remove(tx: &Connection, id: i64) -> Result<bool, StoreError> {
    Ok(tx.prepare_cached("DELETE FROM exchange WHERE id = ?1")?.execute([id])? > 0)
}

/// Our unanswered requests to a peer are taken back.
///
/// # Errors
/// Those of any write.
pub fn withdraw(tx: &Connection, address: &Address) -> Result<bool, StoreError> {
    delete(tx, address, "state IN ('wanted', 'sent')")
}

fn delete(tx: &Connection, address: &Address, condition: &str) -> Result<bool, StoreError> {
    let sql =
        format!("DELETE FROM exchange WHERE {condition} AND peer = (SELECT id FROM peer WHERE address = ?1)");
    Ok(tx.prepare_cached(&sql)?.execute([address])? > 0)
}

/// Forgets the exchanges that expired; one whose key we sign with stays as long as the key. Returns
/// how many.
///
/// # Errors
/// Those of any write.
pub fn forget_expired(tx: &Connection, now: UnixTime) -> Result<usize, StoreError> {
    Ok(tx
        .prepare_cached("DELETE FROM exchange WHERE expires <= ?1 AND (state <> 'learnt' OR key IS NULL)")?
        .execute([now])?)
}

/// Of the pending keys of the peer of `key`, the oldest go, beyond a number.
fn forget_pending_beyond(tx: &Connection, key: i64) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM key WHERE state = 'pending' AND id IN (
             SELECT id FROM key WHERE state = 'pending' AND peer = (SELECT peer FROM key WHERE id = ?1)
                AND NOT EXISTS (SELECT 1 FROM exchange e WHERE e.key = key.id AND e.state = 'learnt')
              ORDER BY id DESC LIMIT -1 OFFSET ?2)",
    )?
    .execute((key, whole(PENDING_PER_PEER)))?;
    Ok(())
}
