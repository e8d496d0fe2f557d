//! Peers: the addresses that we exchange messages with, or may.

use rusqlite::{Connection, OptionalExtension, Row};

use super::StoreError;
use super::sql::{count, whole};
use crate::message::{Address, UnixTime};

/// What is known of a peer.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// Its number here.
    pub id: i64,
    /// Its CMR address.
    pub address: Address,
    /// When we first heard of it.
    pub first_seen: UnixTime,
    /// When it last sent something.
    pub last_seen: Option<UnixTime>,
    /// Messages received from it.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its reputation as of `reputation_at`; decay is the reader's business.
    pub reputation: f64,
    /// When that was computed.
    pub reputation_at: Option<UnixTime>,
    /// The operator chose it as a contact for good.
    pub pinned: bool,
    /// The operator allowed to write to it.
    pub listed: bool,
    /// When it last sent something that was proven to come from this very address.
    pub authenticated_at: Option<UnixTime>,
    /// When it last returned a cookie or a handshake from where it says it is.
    pub returned_at: Option<UnixTime>,
    /// The pinned peer that vouches for it.
    pub vouched_by: Option<Address>,
    /// Since when.
    pub vouched_at: Option<UnixTime>,
    /// When it last earned credit as a contact.
    pub credited_at: Option<UnixTime>,
    /// The operator refuses exactly this address. (Hosts: see `blocks`.)
    pub blocked: bool,
    /// `none`, `pending`, or the scheme of the current key.
    pub key: String,
}

const SELECT: &str = "SELECT p.id, p.address, p.first_seen, p.last_seen, p.messages, p.bytes, p.reputation, \
     p.reputation_at, p.pinned, p.listed, p.authenticated_at, p.returned_at, p.vouched_by, p.vouched_at, p.credited_at, \
     EXISTS (SELECT 1 FROM block b WHERE b.kind = 'peer' AND b.value = p.address), \
     ifnull((SELECT k.scheme FROM key k WHERE k.peer = p.id AND k.state = 'current'), \
            CASE WHEN EXISTS (SELECT 1 FROM key k WHERE k.peer = p.id AND k.state = 'pending') \
                 THEN 'pending' ELSE 'none' END) \
     FROM peer p";

fn peer(row: &Row<'_>) -> rusqlite::Result<Peer> {
    Ok(Peer {
        id: row.get(0)?,
        address: row.get(1)?,
        first_seen: row.get(2)?,
        last_seen: row.get(3)?,
        messages: count(row.get(4)?),
        bytes: count(row.get(5)?),
        reputation: row.get(6)?,
        reputation_at: row.get(7)?,
        pinned: row.get(8)?,
        listed: row.get(9)?,
        authenticated_at: row.get(10)?,
        returned_at: row.get(11)?,
        vouched_by: row.get(12)?,
        vouched_at: row.get(13)?,
        credited_at: row.get(14)?,
        blocked: row.get(15)?,
        key: row.get(16)?,
    })
}

/// The peer with this address.
///
/// # Errors
/// Those of any read.
pub fn get(conn: &Connection, address: &Address) -> Result<Option<Peer>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{SELECT} WHERE p.address = ?1"))?;
    Ok(select.query_row([address], peer).optional()?)
}

/// All peers, those that sent most recently first.
///
/// # Errors
/// Those of any read.
pub fn list(conn: &Connection) -> Result<Vec<Peer>, StoreError> {
    let mut select = conn.prepare_cached(&format!(
        "{SELECT} ORDER BY p.pinned DESC, ifnull(p.last_seen, p.first_seen) DESC, p.id"
    ))?;
    Ok(select.query_map([], peer)?.collect::<Result<_, _>>()?)
}

/// The peers that a message may be sent to, those credited last first, then those that were never
/// credited and heard last, at most `limit` of them; then, up to `limit` in all, those heard last among the others, so that `explain` can say
/// why nothing goes there. Pinned and listed ones are never cut off by the limit.
///
/// # Errors
/// Those of any read.
pub fn contacts(conn: &Connection, limit: usize) -> Result<Vec<Peer>, StoreError> {
    let mut chosen = conn.prepare_cached(&format!(
        "{SELECT} WHERE p.pinned = 1 OR p.listed = 1
          ORDER BY p.credited_at DESC, p.last_seen DESC, p.id"
    ))?;
    let mut all = chosen.query_map([], peer)?.collect::<Result<Vec<_>, _>>()?;
    let mut proven = conn.prepare_cached(&format!(
        "{SELECT} WHERE p.authenticated_at IS NOT NULL AND p.pinned = 0 AND p.listed = 0
          ORDER BY p.credited_at DESC, p.last_seen DESC LIMIT ?1"
    ))?;
    let room = |all: &Vec<Peer>| whole(limit.saturating_sub(all.len()));
    for row in proven.query_map([room(&all)], peer)? {
        all.push(row?);
    }
    let mut heard = conn.prepare_cached(&format!("{SELECT} ORDER BY p.last_seen DESC LIMIT ?1"))?;
    let last = heard.query_map([whole(limit)], peer)?.collect::<Result<Vec<_>, _>>()?;
    for other in last {
        if all.len() < limit && all.iter().all(|known| known.id != other.id) {
            all.push(other);
        }
    }
    Ok(all)
}

/// How many peers are known.
///
/// # Errors
/// Those of any read.
pub fn number(conn: &Connection) -> Result<u64, StoreError> {
    Ok(count(conn.prepare_cached("SELECT count(*) FROM peer")?.query_row([], |row| row.get(0))?))
}

/// The number of the peer with this address; made known if it is not.
///
/// # Errors
/// Those of any write.
pub fn ensure(tx: &Connection, address: &Address, now: UnixTime) -> Result<i64, StoreError> {
    let known = tx
        .prepare_cached("SELECT id FROM peer WHERE address = ?1")?
        .query_row([address], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO peer (address, first_seen) VALUES (?1, ?2)")?.execute((address, now))?;
    Ok(tx.last_insert_rowid())
}

/// A message of `bytes` bytes came from this peer.
///
/// # Errors
/// Those of any write.
pub fn received(tx: &Connection, address: &Address, bytes: usize, now: UnixTime) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO peer (address, first_seen, last_seen, messages, bytes) VALUES (?1, ?2, ?2, 1, ?3)
         ON CONFLICT (address) DO UPDATE SET last_seen = max(ifnull(last_seen, ?2), ?2), messages = messages + 1,
                                             bytes = bytes + ?3",
    )?
    .execute((address, now, whole(bytes)))?;
    Ok(())
}

/// Something was proven to come from this very address: from now on we may write to it.
///
/// # Errors
/// Those of any write.
pub fn authenticated(tx: &Connection, address: &Address, now: UnixTime) -> Result<(), StoreError> {
    let id = ensure(tx, address, now)?;
    tx.prepare_cached(
        "UPDATE peer SET authenticated_at = max(ifnull(authenticated_at, ?2), ?2) WHERE id = ?1",
    )?
    .execute((id, now))?;
    Ok(())
}

/// The peer returned a cookie or a handshake from where it says it is.
///
/// # Errors
/// Those of any write.
pub fn returned(tx: &Connection, address: &Address, now: UnixTime) -> Result<(), StoreError> {
    let id = ensure(tx, address, now)?;
    tx.prepare_cached("UPDATE peer SET returned_at = max(ifnull(returned_at, ?2), ?2) WHERE id = ?1")?
        .execute((id, now))?;
    Ok(())
}

/// Pins or unpins a contact.
///
/// # Errors
/// Those of any write.
pub fn set_pinned(tx: &Connection, address: &Address, pinned: bool, now: UnixTime) -> Result<(), StoreError> {
    let id = ensure(tx, address, now)?;
    tx.prepare_cached("UPDATE peer SET pinned = ?2 WHERE id = ?1")?.execute((id, pinned))?;
    Ok(())
}

/// Allows or forbids to write to an address that never wrote to us.
///
/// # Errors
/// Those of any write.
pub fn set_listed(tx: &Connection, address: &Address, listed: bool, now: UnixTime) -> Result<(), StoreError> {
    let id = ensure(tx, address, now)?;
    tx.prepare_cached("UPDATE peer SET listed = ?2 WHERE id = ?1")?.execute((id, listed))?;
    Ok(())
}

/// Makes exactly these addresses the listed ones: what the configuration says at a start.
///
/// # Errors
/// Those of any write.
pub fn set_all_listed(tx: &Connection, listed: &[Address], now: UnixTime) -> Result<(), StoreError> {
    tx.execute("UPDATE peer SET listed = 0 WHERE listed = 1", [])?;
    for address in listed {
        set_listed(tx, address, true, now)?;
    }
    Ok(())
}

/// The peer `by` vouches for `address`. The first voucher stays. `false` if it had one.
///
/// # Errors
/// Those of any write.
pub fn vouch(tx: &Connection, address: &Address, by: &Address, now: UnixTime) -> Result<bool, StoreError> {
    let id = ensure(tx, address, now)?;
    let changed = tx
        .prepare_cached(
            "UPDATE peer SET vouched_by = ?2, vouched_at = ?3 WHERE id = ?1 AND vouched_by IS NULL",
        )?
        .execute((id, by, now))?;
    Ok(changed > 0)
}

/// For how many addresses `by` has vouched after `since`.
///
/// # Errors
/// Those of any read.
pub fn vouched_since(conn: &Connection, by: &Address, since: UnixTime) -> Result<u64, StoreError> {
    let mut select =
        conn.prepare_cached("SELECT count(*) FROM peer WHERE vouched_by = ?1 AND vouched_at > ?2")?;
    Ok(count(select.query_row((by, since), |row| row.get(0))?))
}

/// Sets a reputation and the moment it is of.
///
/// # Errors
/// Those of any write.
pub fn set_reputation(
    tx: &Connection,
    address: &Address,
    value: f64,
    now: UnixTime,
) -> Result<(), StoreError> {
    let id = ensure(tx, address, now)?;
    tx.prepare_cached("UPDATE peer SET reputation = ?2, reputation_at = ?3 WHERE id = ?1")?
        .execute((id, value, now))?;
    Ok(())
}

/// The peer earned credit as a contact.
///
/// # Errors
/// Those of any write.
pub fn credit(tx: &Connection, address: &Address, now: UnixTime) -> Result<(), StoreError> {
    let id = ensure(tx, address, now)?;
    tx.prepare_cached("UPDATE peer SET credited_at = ?2 WHERE id = ?1")?.execute((id, now))?;
    Ok(())
}

/// The peer says that it can be asked before something is sent, which is believed until then; or says so no
/// more. Of who is no peer nothing is kept.
///
/// # Errors
/// Those of any write.
pub fn set_askable(tx: &Connection, address: &Address, until: Option<UnixTime>) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE peer SET askable_until = ?2 WHERE address = ?1")?.execute((address, until))?;
    Ok(())
}

/// The peers that can be asked at `now`, and until when that is believed, at most `limit`.
///
/// # Errors
/// Those of any read.
pub fn askable(
    conn: &Connection,
    now: UnixTime,
    limit: usize,
) -> Result<Vec<(Address, UnixTime)>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT address, askable_until FROM peer WHERE askable_until > ?1 ORDER BY askable_until DESC LIMIT ?2",
    )?;
    let rows = select.query_map((now, whole(limit)), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets a peer that shares no key. `false`: there was none.
///
/// # Errors
/// Those of any write.
pub fn forget(tx: &Connection, address: &Address) -> Result<bool, StoreError> {
    let gone = tx
        .prepare_cached(
            "DELETE FROM peer WHERE address = ?1 AND NOT EXISTS (SELECT 1 FROM key WHERE key.peer = peer.id)",
        )?
        .execute([address])?;
    Ok(gone > 0)
}

/// Forgets the unimportant peers with the oldest signs of life until at most `most` are left:
/// those that are not pinned, listed, authenticated or blocked and share no key. Returns how
/// many. A table that headers of strangers fill needs a bound.
///
/// # Errors
/// Those of any write.
pub fn forget_beyond(tx: &Connection, most: u64) -> Result<usize, StoreError> {
    let excess = number(tx)?.saturating_sub(most);
    if excess == 0 {
        return Ok(0);
    }
    Ok(tx
        .prepare_cached(
            "DELETE FROM peer WHERE id IN (
                 SELECT p.id FROM peer p
                  WHERE p.pinned = 0 AND p.listed = 0 AND p.authenticated_at IS NULL
                    AND NOT EXISTS (SELECT 1 FROM key WHERE key.peer = p.id)
                    AND NOT EXISTS (SELECT 1 FROM block WHERE block.kind = 'peer' AND block.value = p.address)
                  ORDER BY ifnull(p.last_seen, p.first_seen), p.id LIMIT ?1)",
        )?
        .execute([i64::try_from(excess).unwrap_or(i64::MAX)])?)
}
