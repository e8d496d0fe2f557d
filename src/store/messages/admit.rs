//! The one way into the message table.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::{Kind, State};
use crate::message::{
    Address, HashedBody, Hop, HopKey, Message, MessageId, Signature, TailHash, Timestamp, UnixTime,
};
use crate::policy::{Authenticity, Scope};
use crate::store::asides::{self, NewRaw};
use crate::store::removal;
use crate::store::sql::{Json, whole};
use crate::store::{StoreError, meta};

/// Holders of a message that are remembered beside its header.
const HOLDERS_MAX: usize = 128;

/// What a header line counts for beside its address, in bytes; as the trigger `hop_gone` has it.
const HOP_ROW: usize = 256;

/// A message that asks to be stored. Its hashes are computed when it is made, on the caller's
/// thread: the writer's is shared by all.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Shared, so that a job that may run again has its copy for nothing.
    message: Arc<Message>,
    hop_ids: Vec<(HopKey, TailHash)>,
    id: MessageId,
    header: Vec<u8>,
    /// Who wrote it, as far as known.
    pub author: Address,
    /// What it is to us.
    pub kind: Kind,
    /// Who may see it.
    pub scope: Scope,
    /// What is known about who wrote or brought it.
    pub authenticity: Authenticity,
    /// Its signature was verified under a key shared with the neighbour in its first line.
    pub verified: bool,
    /// When it came.
    pub received: UnixTime,
    /// Dated ahead of our clock: not to be routed before this.
    pub held_until: Option<UnixTime>,
    /// How it came.
    pub via: String,
    /// The person behind a post.
    pub person: Option<i64>,
    /// It is for the pool alone: nothing is to be decided about it, and nothing sent.
    pub settled: bool,
}

impl NewMessage {
    /// A message in CMR form from an unverified neighbour: local, its author the origin address.
    /// Change the fields where more is known.
    pub fn new(message: Message, received: UnixTime, via: impl Into<String>) -> Self {
        let hop_ids = message.hop_ids();
        Self::with_ids(message, hop_ids, received, via.into())
    }

    /// A message of one header line, whose body was hashed before.
    pub fn of_one_line(line: Hop, body: &HashedBody, received: UnixTime, via: impl Into<String>) -> Self {
        let hop_ids = vec![(line.key(), body.tail())];
        let message = Message::new(line, body.as_bytes().to_vec());
        Self::with_ids(message, hop_ids, received, via.into())
    }

    fn with_ids(message: Message, hop_ids: Vec<(HopKey, TailHash)>, received: UnixTime, via: String) -> Self {
        NewMessage {
            hop_ids,
            id: message.id(),
            header: message.header_bytes(),
            author: message.origin().address.clone(),
            kind: Kind::Cmr,
            scope: Scope::Local,
            authenticity: Authenticity::Unknown,
            verified: false,
            received,
            held_until: None,
            via,
            person: None,
            settled: false,
            message: Arc::new(message),
        }
    }

    /// The message itself.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Its public id.
    pub fn id(&self) -> MessageId {
        self.id
    }
}

/// What became of a message at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// Stored under this number.
    New(i64),
    /// Known: an equal header line with equal bytes below it. `seq` is `None` if its text was
    /// evicted.
    Duplicate {
        /// Its number, while it is cached.
        seq: Option<i64>,
    },
    /// Stored, although another message stands under one of its ids: a verified neighbour's own
    /// version. Both are flagged.
    Conflict {
        /// Its number.
        seq: i64,
        /// The oldest of the others.
        with: i64,
    },
    /// Not stored: another message stands under one of its ids, and the neighbour is not
    /// verified, or has its version already. The caller puts it aside.
    ConflictAside {
        /// The oldest of the others.
        with: i64,
    },
    /// Not stored: it was removed here for good.
    Removed,
}

/// A remembered header line that a new message shares.
struct Shared {
    seq: i64,
    same_tail: bool,
}

fn shared(conn: &Connection, ids: &[(HopKey, TailHash)]) -> Result<Vec<Shared>, StoreError> {
    let mut select = conn.prepare_cached("SELECT seq, tail FROM hop WHERE hop_key = ?1")?;
    let mut all = Vec::new();
    for (key, tail) in ids {
        let rows = select.query_map([key], |row| Ok((row.get(0)?, row.get::<_, TailHash>(1)?)))?;
        for row in rows {
            let (seq, found) = row?;
            all.push(Shared { seq, same_tail: found == *tail });
        }
    }
    Ok(all)
}

/// What [`admit`] would say to a message with these ids that is neither removed nor in conflict:
/// the number of the message that it is a duplicate of, cached or not. For asking before costly
/// work is done; only [`admit`]'s answer counts.
///
/// # Errors
/// Those of any read.
pub fn known(conn: &Connection, ids: &[(HopKey, TailHash)]) -> Result<Option<i64>, StoreError> {
    Ok(shared(conn, ids)?.into_iter().find(|hop| hop.same_tail).map(|hop| hop.seq))
}

/// Whether [`admit`] would take this message for one that is here already.
///
/// # Errors
/// Those of any read.
pub fn is_known(conn: &Connection, new: &NewMessage) -> Result<bool, StoreError> {
    Ok(known(conn, &new.hop_ids)?.is_some())
}

/// The time of a post of `author` that came after `since` and whose time has the same decimals as
/// `time`. These are made of a mail's Message-ID and text, so it is the same mail, sent again: of
/// a mail without a usable date they are all that does not change. Looks at every post of the
/// author.
///
/// # Errors
/// Those of any read.
pub fn post_again(
    conn: &Connection,
    author: &Address,
    time: &Timestamp,
    since: UnixTime,
) -> Result<Option<Timestamp>, StoreError> {
    let Some((_, decimals)) = time.as_str().split_once('.') else { return Ok(None) };
    let mut select = conn.prepare_cached(
        "SELECT h.time FROM message m JOIN hop h ON h.seq = m.seq
          WHERE m.author = ?1 AND m.kind = 'post' AND m.received > ?2 AND m.origin_time % 1000000 = ?3
            AND substr(h.time, instr(h.time, '.') + 1) = ?4
          ORDER BY m.seq LIMIT 1",
    )?;
    let micros = time.to_unix().0 % 1_000_000;
    let found: Option<String> =
        select.query_row((author, since, micros, decimals), |row| row.get(0)).optional()?;
    found
        .map(|text| Timestamp::parse(text.as_bytes()))
        .transpose()
        .map_err(|error| StoreError::Row(format!("a stored timestamp: {error}")))
}

/// Stores a message, unless it is known, removed or in conflict.
///
/// "Known" is decided here, inside the transaction of the insert and by the one thread that
/// writes: of two sessions that bring the same message at the same time, one stores it and the
/// other finds it, even in the same transaction. Crash argument: message, text and header lines
/// are within one savepoint of one transaction; there is no moment at which one is durable without the
/// others, and the caller acknowledges only after the commit. A crash before it leaves the
/// message with its sender, who repeats it.
///
/// # Errors
/// Those of any write.
pub fn admit(tx: &Connection, new: &NewMessage) -> Result<Admitted, StoreError> {
    admit_in(tx, new, None)
}

/// The same for the one message of a mail, which is kept with it: the mail, and the bytes that all kept ones
/// may have.
///
/// # Errors
/// Those of any write.
pub fn admit_in(
    tx: &Connection,
    new: &NewMessage,
    mail: Option<(&NewRaw<'_>, u64)>,
) -> Result<Admitted, StoreError> {
    if let Some((origin, _)) = new.hop_ids.last()
        && removal::is_removed(tx, origin, new.id)?
    {
        return Ok(Admitted::Removed);
    }
    let shared = shared(tx, &new.hop_ids)?;
    if let Some(same) = shared.iter().find(|hop| hop.same_tail) {
        return duplicate(tx, new, same.seq);
    }
    let Some(with) = shared.iter().map(|hop| hop.seq).min() else {
        return Ok(Admitted::New(insert(tx, new, mail, false)?));
    };
    if !new.verified || has_version(tx, &shared, &new.message.sender().address)? {
        return Ok(Admitted::ConflictAside { with });
    }
    let seq = insert(tx, new, mail, true)?;
    let mut flag = tx.prepare_cached("UPDATE message SET conflict = 1 WHERE seq = ?1")?;
    for other in &shared {
        flag.execute([other.seq])?;
    }
    Ok(Admitted::Conflict { seq, with })
}

/// A duplicate is news all the same: everybody in its header has the message, says a neighbour who
/// is verified. Of all others only the neighbour itself is remembered, of the first few: anybody
/// could write a header that keeps a message from everybody, or fills the disk.
fn duplicate(tx: &Connection, new: &NewMessage, seq: i64) -> Result<Admitted, StoreError> {
    let cached = tx.prepare_cached("SELECT 1 FROM text WHERE seq = ?1")?.exists([seq])?;
    if !cached {
        return Ok(Admitted::Duplicate { seq: None });
    }
    let said = if new.verified { new.message.hops.len() } else { 1 };
    let known: usize = tx
        .prepare_cached("SELECT count(*) FROM holder WHERE seq = ?1")?
        .query_row([seq], |row| row.get::<_, i64>(0))?
        .try_into()
        .unwrap_or(usize::MAX);
    for address in new.message.hops.addresses().take(said.min(HOLDERS_MAX.saturating_sub(known))) {
        super::add_holder(tx, seq, address, new.received)?;
    }
    Ok(Admitted::Duplicate { seq: Some(seq) })
}

/// Whether this verified neighbour brought one of these messages already: it gets one version.
fn has_version(conn: &Connection, shared: &[Shared], neighbour: &Address) -> Result<bool, StoreError> {
    let mut select =
        conn.prepare_cached("SELECT 1 FROM message WHERE seq = ?1 AND neighbour = ?2 AND verified = 1")?;
    for hop in shared {
        if select.query_row((hop.seq, neighbour), |_| Ok(())).optional()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn insert(
    tx: &Connection,
    new: &NewMessage,
    mail: Option<(&NewRaw<'_>, u64)>,
    conflict: bool,
) -> Result<i64, StoreError> {
    let raw = mail.map(|(mail, most)| asides::put_raw(tx, mail, most)).transpose()?.flatten();
    let message = &new.message;
    let origin = message.origin();
    let state = match (new.held_until, new.settled) {
        (_, true) => State::Routed,
        (Some(_), false) => State::Held,
        (None, false) => State::Unrouted,
    };
    let bytes = new.header.len().saturating_add(message.body.len());
    tx.prepare_cached(
        "INSERT INTO message (public_id, origin_key, origin_address, origin_time, author, neighbour, kind, scope, state,
                              held_until, received, via, authenticity, verified, conflict, person, raw, bytes)
         VALUES (:public_id, :origin_key, :origin_address, :origin_time, :author, :neighbour, :kind, :scope, :state,
                 :held_until, :received, :via, :authenticity, :verified, :conflict, :person, :raw, :bytes)",
    )?
    .execute(rusqlite::named_params! {
        ":public_id": new.id,
        ":origin_key": origin.key(),
        ":origin_address": origin.address,
        ":origin_time": origin.time.to_unix(),
        ":author": new.author,
        ":neighbour": message.sender().address,
        ":kind": new.kind,
        ":scope": new.scope,
        ":state": state,
        ":held_until": new.held_until.filter(|_| !new.settled),
        ":received": new.received,
        ":via": new.via,
        ":authenticity": Json(&new.authenticity),
        ":verified": new.verified,
        ":conflict": conflict,
        ":person": new.person,
        ":raw": raw,
        ":bytes": whole(bytes),
    })?;
    let seq = tx.last_insert_rowid();
    let signature = match &message.signature {
        Signature::Unsigned => None,
        Signature::Signed(digest) => Some(&digest[..]),
    };
    tx.prepare_cached("INSERT INTO text (seq, signature, header, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute((seq, signature, &new.header, &message.body))?;
    meta::add_to_total(tx, "text", bytes)?;
    let mut hop_insert = tx.prepare_cached(
        "INSERT INTO hop (seq, position, hop_key, tail, time, address) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (position, (hop, (key, tail))) in message.hops.iter().zip(&new.hop_ids).enumerate() {
        hop_insert.execute((seq, whole(position), key, tail, hop.time.as_str(), &hop.address))?;
        meta::add_to_total(tx, "hop", HOP_ROW.saturating_add(hop.address.as_bytes().len()))?;
    }
    Ok(seq)
}
