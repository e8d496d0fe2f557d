//! The keys shared with peers.
//!
//! The rule that shapes it: what was valid stays valid until a message verifies under the new
//! key. So a key that an exchange made is `pending` first; [`verified`] moves it to `current`
//! and what was current to `previous`, in the transaction that stores the message.

use rusqlite::{Connection, OptionalExtension, Row};

use super::sql::words;
use super::{StoreError, peers};
use crate::keys::exchange::Derivation;
use crate::keys::{Key, Scheme};
use crate::message::{Address, UnixTime};

words! {
    /// A key's place in a peer's life.
    pub enum KeyState {
        /// What we sign with.
        Current => "current",
        /// From an exchange; no message was verified under it yet.
        Pending => "pending",
        /// What was current before: still accepted.
        Previous => "previous",
    }
}

words! {
    /// Where a key is from.
    pub enum KeyOrigin {
        /// The operator typed it.
        Manual => "manual",
        /// An RSA exchange (A5.1).
        Rsa => "rsa",
        /// A Diffie-Hellman exchange (A5.2).
        Dh => "dh",
        /// Sent over a secure channel (A5.3).
        Clear => "clear",
    }
}

/// A stored key.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Its number.
    pub id: i64,
    /// The peer's address.
    pub address: Address,
    /// Its place.
    pub state: KeyState,
    /// The scheme that the peer was last seen to use, or the pinned one.
    pub scheme: Scheme,
    /// Whether the operator pinned it.
    pub scheme_pinned: bool,
    /// How the key came out of the secret.
    pub derivation: Derivation,
    /// The secret.
    pub key: Key,
    /// An address of ours: the one that an exchanged key belongs to, as it comes out of both addresses; the one under
    /// which the peer was seen to have a key that was set by hand ([`used_towards`]).
    pub ours: Option<Address>,
    /// Where it is from.
    pub origin: KeyOrigin,
    /// Since when we have it.
    pub created: UnixTime,
    /// When a message last verified under it.
    pub verified: Option<UnixTime>,
}

impl StoredKey {
    /// The address of ours that the key belongs to, and no other one; none if it was set by hand.
    #[must_use]
    pub fn belongs_to(&self) -> Option<&Address> {
        self.ours.as_ref().filter(|_| self.origin != KeyOrigin::Manual)
    }

    /// The address of ours under which the peer was seen to have this key, which was set by hand.
    #[must_use]
    pub fn was_used_towards(&self) -> Option<&Address> {
        self.ours.as_ref().filter(|_| self.origin == KeyOrigin::Manual)
    }
}

const SELECT: &str = "SELECT k.id, p.address, k.state, k.scheme, k.scheme_pinned, k.derivation, k.secret, k.origin, \
     k.created, k.verified, k.ours FROM key k JOIN peer p ON p.id = k.peer";

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredKey> {
    let secret: Vec<u8> = row.get(6)?;
    let key = Key::from_bytes(secret).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(6, rusqlite::types::Type::Blob, error.into())
    })?;
    Ok(StoredKey {
        id: row.get(0)?,
        address: row.get(1)?,
        state: row.get(2)?,
        scheme: row.get(3)?,
        scheme_pinned: row.get(4)?,
        derivation: row.get(5)?,
        key,
        origin: row.get(7)?,
        created: row.get(8)?,
        verified: row.get(9)?,
        ours: row.get(10)?,
    })
}

/// The keys under which a message of this peer may be signed, in the order to try: current,
/// pending (newest first), previous. Empty: the peer has no key, and unsigned messages are all
/// there can be.
///
/// # Errors
/// Those of any read.
pub fn for_verifying(conn: &Connection, address: &Address) -> Result<Vec<StoredKey>, StoreError> {
    let mut select = conn.prepare_cached(&format!(
        "{SELECT} WHERE p.address = ?1
          ORDER BY CASE k.state WHEN 'current' THEN 0 WHEN 'pending' THEN 1 ELSE 2 END, k.id DESC"
    ))?;
    Ok(select.query_map([address], stored)?.collect::<Result<_, _>>()?)
}

/// Whether a key is shared with a peer whose address is this one in another spelling.
///
/// # Errors
/// Those of any read.
pub fn is_spelled_otherwise(conn: &Connection, address: &Address) -> Result<bool, StoreError> {
    let mut select =
        conn.prepare_cached("SELECT DISTINCT p.address FROM key k JOIN peer p ON p.id = k.peer")?;
    let keyed: Vec<Address> = select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(keyed.iter().any(|other| other != address && other.same_place(address)))
}

/// The key to sign with, if there is one: the newest of an exchange that we began and the peer
/// replied to, else the current one. Somebody has to be the first to sign with a new key; who
/// replied knows it already.
///
/// # Errors
/// Those of any read.
pub fn for_signing(conn: &Connection, address: &Address) -> Result<Option<StoredKey>, StoreError> {
    let mut select = conn.prepare_cached(&format!(
        "{SELECT} WHERE p.address = ?1
            AND (k.state = 'current' OR EXISTS (SELECT 1 FROM exchange e WHERE e.key = k.id AND e.state = 'learnt'))
          ORDER BY k.state = 'pending' DESC, k.id DESC LIMIT 1"
    ))?;
    Ok(select.query_row([address], stored).optional()?)
}

/// The key that both sides have for certain, if there is one: what signs a key exchange (A5.1: the
/// old key).
///
/// # Errors
/// Those of any read.
pub fn current(conn: &Connection, address: &Address) -> Result<Option<StoredKey>, StoreError> {
    let mut select =
        conn.prepare_cached(&format!("{SELECT} WHERE p.address = ?1 AND k.state = 'current'"))?;
    Ok(select.query_row([address], stored).optional()?)
}

/// The other addresses that share the very key of this one: nobody but the same neighbour has it, since
/// each pair has a key of its own (A5).
///
/// # Errors
/// Those of any read.
pub fn same_neighbour(conn: &Connection, address: &Address) -> Result<Vec<Address>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT q.address FROM peer p JOIN key k ON k.peer = p.id AND k.state = 'current'
           JOIN key o ON o.secret = k.secret AND o.state = 'current' AND o.peer <> k.peer
           JOIN peer q ON q.id = o.peer WHERE p.address = ?1 ORDER BY q.address",
    )?;
    Ok(select.query_map([address], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// An address, and the others of the same neighbour.
///
/// # Errors
/// Those of any read.
pub fn neighbour(conn: &Connection, address: &Address) -> Result<Vec<Address>, StoreError> {
    let mut all = vec![address.clone()];
    all.extend(same_neighbour(conn, address)?);
    Ok(all)
}

/// All keys, by address.
///
/// # Errors
/// Those of any read.
pub fn list(conn: &Connection) -> Result<Vec<StoredKey>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{SELECT} ORDER BY p.address, k.state, k.id"))?;
    Ok(select.query_map([], stored)?.collect::<Result<_, _>>()?)
}

/// The operator's key for a peer: it takes the place of every other key at once, exchanges under
/// way included, and where it was used before is forgotten ([`used_towards`]). `scheme: None` leaves the scheme to what the peer uses, `hmac` until then.
///
/// # Errors
/// Those of any write.
pub fn set(
    tx: &Connection,
    address: &Address,
    key: &Key,
    scheme: Option<Scheme>,
    now: UnixTime,
) -> Result<i64, StoreError> {
    let peer = peers::ensure(tx, address, now)?;
    tx.prepare_cached("DELETE FROM exchange WHERE peer = ?1")?.execute([peer])?;
    tx.prepare_cached("DELETE FROM key WHERE peer = ?1")?.execute([peer])?;
    // It is the key that is set anew, wherever else it stands: the neighbour is one, and so is what is known of it.
    tx.prepare_cached("UPDATE key SET ours = NULL WHERE origin = 'manual' AND secret = ?1")?
        .execute([key.as_bytes()])?;
    let new = NewKey {
        key,
        scheme: scheme.unwrap_or_default(),
        derivation: Derivation::Raw,
        ours: None,
        origin: KeyOrigin::Manual,
    };
    insert(tx, peer, KeyState::Current, &new, scheme.is_some(), now)
}

/// A key that an exchange made.
#[derive(Debug)]
pub struct NewKey<'a> {
    /// The secret.
    pub key: &'a Key,
    /// The scheme to begin with.
    pub scheme: Scheme,
    /// How it came out of the secret.
    pub derivation: Derivation,
    /// The address of ours that it belongs to.
    pub ours: Option<&'a Address>,
    /// Which exchange.
    pub origin: KeyOrigin,
}

/// Adds a pending key: messages under it are accepted, nothing is signed with it yet. A scheme
/// pinned for the current key stays pinned.
///
/// # Errors
/// Those of any write.
pub fn add_pending(
    tx: &Connection,
    address: &Address,
    new: &NewKey<'_>,
    now: UnixTime,
) -> Result<i64, StoreError> {
    let peer = peers::ensure(tx, address, now)?;
    let pinned: Option<Scheme> = tx
        .prepare_cached("SELECT scheme FROM key WHERE peer = ?1 AND state = 'current' AND scheme_pinned = 1")?
        .query_row([peer], |row| row.get(0))
        .optional()?;
    let new = NewKey { scheme: pinned.unwrap_or(new.scheme), ..*new };
    insert(tx, peer, KeyState::Pending, &new, pinned.is_some(), now)
}

fn insert(
    tx: &Connection,
    peer: i64,
    state: KeyState,
    new: &NewKey<'_>,
    pinned: bool,
    now: UnixTime,
) -> Result<i64, StoreError> {
    tx.prepare_cached(
        "INSERT INTO key (peer, state, scheme, scheme_pinned, derivation, secret, origin, created, ours)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute((
        peer,
        state,
        new.scheme,
        pinned,
        new.derivation,
        new.key.as_bytes(),
        new.origin,
        now,
        new.ours,
    ))?;
    Ok(tx.last_insert_rowid())
}

/// A message verified under key `id` by `scheme`: the scheme is remembered (unless pinned), and
/// a pending key becomes the current one, the current one the previous. Other pending keys stay:
/// exchanges may cross. `false` if the key is gone.
///
/// # Errors
/// Those of any write.
pub fn verified(tx: &Connection, id: i64, scheme: Scheme, now: UnixTime) -> Result<bool, StoreError> {
    let found: Option<(i64, KeyState)> = tx
        .prepare_cached("SELECT peer, state FROM key WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((peer, state)) = found else {
        return Ok(false);
    };
    tx.prepare_cached(
        "UPDATE key SET verified = ?2, scheme = CASE scheme_pinned WHEN 1 THEN scheme ELSE ?3 END WHERE id = ?1",
    )?
    .execute((id, now, scheme))?;
    if state == KeyState::Pending {
        tx.prepare_cached("DELETE FROM key WHERE peer = ?1 AND state = 'previous'")?.execute([peer])?;
        tx.prepare_cached("UPDATE key SET state = 'previous' WHERE peer = ?1 AND state = 'current'")?
            .execute([peer])?;
        tx.prepare_cached("UPDATE key SET state = 'current' WHERE id = ?1")?.execute([id])?;
        tx.prepare_cached("DELETE FROM exchange WHERE key = ?1")?.execute([id])?;
    }
    Ok(true)
}

/// The peer of key `id`, which was set by hand, has it under this address of ours, whichever of the peer's addresses the key
/// stands under here. Once [`stays_with`] said `unless` of it nothing changes: one key has one answer, so that all of its
/// rows are asked.
///
/// # Errors
/// Those of any write.
pub fn used_towards(tx: &Connection, id: i64, ours: &Address, unless: &Address) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE key SET ours = ?2 WHERE origin = 'manual' AND secret = (SELECT secret FROM key WHERE id = ?1)
            AND ours IS NOT ?2 AND NOT EXISTS (
                SELECT 1 FROM key k WHERE k.origin = 'manual' AND k.secret = key.secret AND k.ours = ?3)",
    )?
    .execute((id, ours, unless))?;
    Ok(())
}

/// What is signed with key `id`, which was set by hand, bears this address of ours until the key is set anew.
///
/// # Errors
/// Those of any write.
pub fn stays_with(tx: &Connection, id: i64, ours: &Address) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE key SET ours = ?2 WHERE origin = 'manual' AND secret = (SELECT secret FROM key WHERE id = ?1)",
    )?
    .execute((id, ours))?;
    Ok(())
}

/// Forgets every key shared with a peer, and exchanges under way. `false` if there was none.
///
/// What the key has shown goes with it: from a peer that is known to prove itself an exchange takes
/// no reply without a proof, and one whose only proof was the key could never agree on another. Who
/// has more to show does so with the next message.
///
/// # Errors
/// Those of any write.
pub fn forget(tx: &Connection, address: &Address) -> Result<bool, StoreError> {
    tx.prepare_cached("DELETE FROM exchange WHERE peer = (SELECT id FROM peer WHERE address = ?1)")?
        .execute([address])?;
    let gone = tx
        .prepare_cached("DELETE FROM key WHERE peer = (SELECT id FROM peer WHERE address = ?1)")?
        .execute([address])?;
    if gone > 0 {
        tx.prepare_cached("UPDATE peer SET authenticated_at = NULL WHERE address = ?1")?
            .execute([address])?;
    }
    Ok(gone > 0)
}

/// Forgets pending keys made before `pending_before` that we do not sign with, and previous ones whose successor was made
/// before `previous_before`. Returns how many.
///
/// # Errors
/// Those of any write.
pub fn forget_old(
    tx: &Connection,
    pending_before: UnixTime,
    previous_before: UnixTime,
) -> Result<usize, StoreError> {
    let pending = tx
        .prepare_cached(
            "DELETE FROM key WHERE state = 'pending' AND created < ?1
                AND NOT EXISTS (SELECT 1 FROM exchange e WHERE e.key = key.id AND e.state = 'learnt')",
        )?
        .execute([pending_before])?;
    let previous = tx
        .prepare_cached(
            "DELETE FROM key WHERE state = 'previous' AND EXISTS (
                 SELECT 1 FROM key c WHERE c.peer = key.peer AND c.state = 'current' AND c.created < ?1)",
        )?
        .execute([previous_before])?;
    Ok(pending + previous)
}
