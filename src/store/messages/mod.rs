//! Messages: what is cached, what is remembered, and how far each one is on its way.

mod admit;
mod evict;
mod progress;
#[cfg(test)]
mod tests;

use rusqlite::{Connection, OptionalExtension, Row};

use super::StoreError;
use super::sql::{Json, count, words};
use crate::message::{
    Address, HopKey, Limits, Message, MessageId, Signature, TailHash, Timestamp, UnixTime, parse,
};
use crate::policy::{Authenticity, Scope};

pub use admit::{Admitted, NewMessage, admit, admit_in, is_known, known, post_again};
pub use evict::{evict, forget_beyond, forget_expired};
pub use progress::{
    Counts, FAILURES_MAX, Waiting, all_routed_of, counts, mark_routed, next_held, next_unrouted, open_up,
    publish, publish_posts_of, record_failure, route_again, unrouted_up_to,
};

words! {
    /// How far a message is on its way.
    pub enum State {
        /// Dated ahead of our clock, within the skew: waits for it.
        Held => "held",
        /// In the pool; the router has not seen it.
        Unrouted => "unrouted",
        /// The router has decided.
        Routed => "routed",
        /// The router failed on it three times.
        Failed => "failed",
        /// Its text is gone; its ids are remembered.
        Evicted => "evicted",
    }
}

words! {
    /// What a message is to us.
    pub enum Kind {
        /// It came as a CMR message.
        Cmr => "cmr",
        /// We wrote it on a person's behalf.
        Post => "post",
        /// Imported or learned from passing mail: its author is never a recipient.
        Learned => "learned",
    }
}

/// The bytes of a cached message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The signature it came with.
    pub signature: Signature,
    /// The header lines with their CR LFs, without the blank line.
    pub header: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

impl Text {
    /// The message's exact bytes, as they came.
    pub fn wire(&self) -> Vec<u8> {
        let mut wire = self.signature.line().into_bytes();
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(&self.header);
        wire.extend_from_slice(format!("\r\n{}\r\n", self.body.len()).as_bytes());
        wire.extend_from_slice(&self.body);
        wire
    }

    /// The message.
    ///
    /// # Errors
    /// [`StoreError::Row`] if the bytes are damaged.
    pub fn message(&self) -> Result<Message, StoreError> {
        // What is stored was within the limits of its day; they may have become narrower since.
        let limits = Limits { max_hops: usize::MAX, max_line: usize::MAX, max_body: usize::MAX };
        parse(&self.wire(), &limits).map_err(|error| StoreError::Row(format!("a stored message: {error}")))
    }
}

/// A row of the message table, with the text where there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its number here; never used again for another message.
    pub seq: i64,
    /// Its public id.
    pub id: MessageId,
    /// The key of its oldest header line.
    pub origin_key: HopKey,
    /// The address in its oldest header line.
    pub origin: Address,
    /// The time in its oldest header line, cut to microseconds.
    pub origin_time: UnixTime,
    /// Who wrote it, as far as known: for a post the person and not the alias.
    pub author: Address,
    /// The address in its newest header line: who brought it.
    pub neighbour: Address,
    /// What it is to us.
    pub kind: Kind,
    /// Who may see it.
    pub scope: Scope,
    /// How far it is.
    pub state: State,
    /// For [`State::Held`]: until when.
    pub held_until: Option<UnixTime>,
    /// When it came.
    pub received: UnixTime,
    /// How it came: `smtp`, `pipe`, `post`, ...
    pub via: String,
    /// What is known about who wrote or brought it.
    pub authenticity: Authenticity,
    /// Its signature was verified under a key shared with the neighbour.
    pub verified: bool,
    /// Another message under one of its ids is here, too.
    pub conflict: bool,
    /// The person behind a post.
    pub person: Option<i64>,
    /// How often the router failed on it.
    pub attempts: u32,
    /// The router's last failure.
    pub last_error: Option<String>,
    /// Header and body in bytes.
    pub bytes: u64,
    /// Its bytes; `None` after eviction, or if only the row was asked for.
    pub text: Option<Text>,
}

/// A remembered header line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHop {
    /// The line's identity.
    pub key: HopKey,
    /// The hash of all below it.
    pub tail: TailHash,
    /// Its exact timestamp.
    pub time: Timestamp,
    /// Its address.
    pub address: Address,
}

const COLUMNS: &str = "m.seq, m.public_id, m.origin_key, m.origin_address, m.origin_time, m.author, m.neighbour, m.kind, \
     m.scope, m.state, m.held_until, m.received, m.via, m.authenticity, m.verified, m.conflict, m.person, m.attempts, \
     m.last_error, m.bytes";

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        seq: row.get(0)?,
        id: row.get(1)?,
        origin_key: row.get(2)?,
        origin: row.get(3)?,
        origin_time: row.get(4)?,
        author: row.get(5)?,
        neighbour: row.get(6)?,
        kind: row.get(7)?,
        scope: row.get(8)?,
        state: row.get(9)?,
        held_until: row.get(10)?,
        received: row.get(11)?,
        via: row.get(12)?,
        authenticity: row.get::<_, Json<Authenticity>>(13)?.0,
        verified: row.get(14)?,
        conflict: row.get(15)?,
        person: row.get(16)?,
        attempts: row.get(17)?,
        last_error: row.get(18)?,
        bytes: count(row.get(19)?),
        text: None,
    })
}

fn signature(bytes: Option<Vec<u8>>) -> Signature {
    match bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
        Some(digest) => Signature::Signed(digest),
        None => Signature::Unsigned,
    }
}

/// The text of message `seq`, if it is cached.
///
/// # Errors
/// Those of any read.
pub fn text(conn: &Connection, seq: i64) -> Result<Option<Text>, StoreError> {
    let mut select = conn.prepare_cached("SELECT signature, header, body FROM text WHERE seq = ?1")?;
    let text = select
        .query_row([seq], |row| {
            Ok(Text { signature: signature(row.get(0)?), header: row.get(1)?, body: row.get(2)? })
        })
        .optional()?;
    Ok(text)
}

/// Message `seq` without its text.
///
/// # Errors
/// Those of any read.
pub fn head(conn: &Connection, seq: i64) -> Result<Option<Stored>, StoreError> {
    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM message m WHERE m.seq = ?1"))?;
    Ok(select.query_row([seq], stored).optional()?)
}

/// How many messages are cached.
///
/// # Errors
/// Those of any read.
pub fn number(conn: &Connection) -> Result<u64, StoreError> {
    Ok(super::meta::total(conn, "text")?.0)
}

/// Message `seq`, with its text if that is cached.
///
/// # Errors
/// Those of any read.
pub fn get(conn: &Connection, seq: i64) -> Result<Option<Stored>, StoreError> {
    let Some(mut message) = head(conn, seq)? else {
        return Ok(None);
    };
    message.text = text(conn, seq)?;
    Ok(Some(message))
}

/// All messages under a public id, oldest first: several if they conflict.
///
/// # Errors
/// Those of any read.
pub fn by_id(conn: &Connection, id: MessageId) -> Result<Vec<Stored>, StoreError> {
    let mut select = conn
        .prepare_cached(&format!("SELECT {COLUMNS} FROM message m WHERE m.public_id = ?1 ORDER BY m.seq"))?;
    let mut found = select.query_map([id], stored)?.collect::<Result<Vec<_>, _>>()?;
    for message in &mut found {
        message.text = text(conn, message.seq)?;
    }
    Ok(found)
}

/// The header lines of message `seq`, newest first; after eviction too.
///
/// # Errors
/// Those of any read.
pub fn hops(conn: &Connection, seq: i64) -> Result<Vec<StoredHop>, StoreError> {
    let mut select =
        conn.prepare_cached("SELECT hop_key, tail, time, address FROM hop WHERE seq = ?1 ORDER BY position")?;
    let rows = select.query_map([seq], |row| {
        let time: String = row.get(2)?;
        Ok((row.get(0)?, row.get(1)?, time, row.get(3)?))
    })?;
    rows.map(|row| {
        let (key, tail, time, address) = row?;
        let time = Timestamp::parse(time.as_bytes())
            .map_err(|error| StoreError::Row(format!("a stored timestamp: {error}")))?;
        Ok(StoredHop { key, tail, time, address })
    })
    .collect()
}

/// Who has the message beside the addresses in its header, and since when.
///
/// # Errors
/// Those of any read.
pub fn held_by(conn: &Connection, seq: i64) -> Result<Vec<(Address, UnixTime)>, StoreError> {
    let mut select =
        conn.prepare_cached("SELECT address, since FROM holder WHERE seq = ?1 ORDER BY since, address")?;
    Ok(select.query_map([seq], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// Every address known to have message `seq`: those in its header, senders of duplicates, and
/// whom we sent it to.
///
/// # Errors
/// Those of any read.
pub fn holders(conn: &Connection, seq: i64) -> Result<Vec<Address>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT address FROM hop WHERE seq = ?1 UNION SELECT address FROM holder WHERE seq = ?1",
    )?;
    Ok(select.query_map([seq], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The body of a cached message, `None` if it is gone.
///
/// # Errors
/// Those of any read.
pub fn body(conn: &Connection, seq: i64) -> Result<Option<Vec<u8>>, StoreError> {
    let mut select = conn.prepare_cached("SELECT body FROM text WHERE seq = ?1")?;
    Ok(select.query_row([seq], |row| row.get(0)).optional()?)
}

/// Whether `address` is known to have the message `id` by something else than its header: it sent
/// it once more, or we sent it there.
///
/// # Errors
/// Those of any read.
pub fn holds(conn: &Connection, id: MessageId, address: &Address) -> Result<bool, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT 1 FROM message m JOIN holder h ON h.seq = m.seq WHERE m.public_id = ?1 AND h.address = ?2",
    )?;
    Ok(select.exists((id, address))?)
}

/// Remembers that `address` has message `seq`. A message that is gone is no error.
///
/// # Errors
/// Those of any write.
pub fn add_holder(tx: &Connection, seq: i64, address: &Address, since: UnixTime) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO holder (seq, address, since) SELECT seq, ?2, ?3 FROM message WHERE seq = ?1
         ON CONFLICT (seq, address) DO NOTHING",
    )?
    .execute((seq, address, since))?;
    Ok(())
}

/// The raw mail that message `seq` came in, if it is still kept.
///
/// # Errors
/// Those of any read.
pub fn raw(conn: &Connection, seq: i64) -> Result<Option<Vec<u8>>, StoreError> {
    let mut select =
        conn.prepare_cached("SELECT r.raw FROM message m JOIN raw_mail r ON r.id = m.raw WHERE m.seq = ?1")?;
    Ok(select.query_row([seq], |row| row.get(0)).optional()?)
}

/// What the pool has to know of a cached message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Its number.
    pub seq: i64,
    /// Its public id.
    pub id: MessageId,
    /// Who brought it.
    pub neighbour: Address,
    /// Who wrote it.
    pub author: Address,
    /// The addresses in its header, newest first.
    pub hops: Vec<Address>,
    /// The time of its oldest line.
    pub origin_time: UnixTime,
    /// When it came.
    pub received: UnixTime,
    /// What it is to us.
    pub kind: Kind,
    /// Who may see it.
    pub scope: Scope,
    /// How far it is.
    pub state: State,
    /// Its body.
    pub body: Vec<u8>,
}

/// Hands out every cached message, oldest first, one at a time: what a start fills the pool
/// with. Stops at the first error of `take`.
///
/// # Errors
/// Those of any read, and those of `take`.
pub fn each_cached(
    conn: &Connection,
    mut take: impl FnMut(Cached) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut select = conn.prepare(&format!("{CACHED} ORDER BY t.seq"))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        take(cached_row(row)?)?;
    }
    Ok(())
}

const CACHED: &str = "SELECT m.seq, m.public_id, m.neighbour, m.author, t.header, m.origin_time, m.received, m.kind, m.scope, \
     m.state, t.body FROM text t JOIN message m ON m.seq = t.seq";

fn cached_row(row: &Row<'_>) -> Result<Cached, StoreError> {
    let header = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
    Ok(Cached {
        seq: row.get(0)?,
        id: row.get(1)?,
        neighbour: row.get(2)?,
        author: row.get(3)?,
        hops: header_addresses(header)?,
        origin_time: row.get(5)?,
        received: row.get(6)?,
        kind: row.get(7)?,
        scope: row.get(8)?,
        state: row.get(9)?,
        body: row.get(10)?,
    })
}

/// One cached message as [`each_cached`] hands it out; `None` if it is gone.
///
/// # Errors
/// Those of any read.
pub fn cached(conn: &Connection, seq: i64) -> Result<Option<Cached>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{CACHED} WHERE t.seq = ?1"))?;
    let mut rows = select.query([seq])?;
    rows.next()?.map(cached_row).transpose()
}

/// Hands out the number, the id and the scope of every message that was routed and is cached, by
/// number.
///
/// # Errors
/// Those of any read.
pub fn each_routed(conn: &Connection, mut take: impl FnMut(i64, MessageId, Scope)) -> Result<(), StoreError> {
    let mut select =
        conn.prepare("SELECT seq, public_id, scope FROM message WHERE state = 'routed' ORDER BY seq")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        take(row.get(0)?, row.get(1)?, row.get(2)?);
    }
    Ok(())
}

/// Hands out every cached message with its bytes, oldest first. Stops at the first error of `take`.
///
/// # Errors
/// Those of any read, and those of `take`.
pub fn each_whole<E: From<StoreError>>(
    conn: &Connection,
    mut take: impl FnMut(&Stored, &Text) -> Result<(), E>,
) -> Result<(), E> {
    let of = |error: rusqlite::Error| E::from(StoreError::from(error));
    let mut select = conn
        .prepare(&format!(
            "SELECT {COLUMNS}, t.signature, t.header, t.body FROM text t JOIN message m ON m.seq = t.seq ORDER BY t.seq"
        ))
        .map_err(of)?;
    let mut rows = select.query([]).map_err(of)?;
    while let Some(row) = rows.next().map_err(of)? {
        let head = stored(row).map_err(of)?;
        let text =
            (|| Ok(Text { signature: signature(row.get(20)?), header: row.get(21)?, body: row.get(22)? }))();
        take(&head, &text.map_err(of)?)?;
    }
    Ok(())
}

/// The addresses in stored header lines: what follows the second space (the first one stands
/// between date and time).
fn header_addresses(header: &[u8]) -> Result<Vec<Address>, StoreError> {
    header
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let address = line.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default();
            Address::new(address).map_err(|error| StoreError::Row(format!("a stored header line: {error}")))
        })
        .collect()
}
