//! The durable queue of what has to go out.
//!
//! At least once: a delivery is leased, sent, and then marked sent. A crash between the last two
//! sends it again, byte for byte the same (its T is fixed when it is made) under the same
//! Message-ID, which makes the repeat harmless. Nothing is lost: every state but `sent` and
//! `failed` leads back to `ready`.

mod attempts;
mod later;
mod lease;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use super::limits::{self, Counted};
use super::sql::{Json, count, whole, words};
use super::{StoreError, exchanges, messages, meta};
use crate::message::{Address, MessageId, Timestamp, UnixTime};

pub use attempts::{Attempt, Ended, note as note_attempt, of as attempts};
pub use later::{hasten, join_later, last_later, waiting_later};
pub use lease::{Lane, lease, next_due, recover, recover_lane};

words! {
    /// What is sent.
    pub enum DeliveryKind {
        /// A message, to a peer.
        Forward => "forward",
        /// A key exchange (A5), to a peer.
        KeyExchange => "key_exchange",
        /// What a person asked for.
        Answer => "answer",
        /// Something that came later, to a person with an open thread.
        LaterMatch => "later_match",
        /// A word to the operator, or a confirmation to a person.
        Notice => "notice",
    }
}

words! {
    /// How far a delivery is.
    pub enum DeliveryState {
        /// Waits for its time.
        Ready => "ready",
        /// Somebody is sending it.
        Leased => "leased",
        /// The next hop took it.
        Sent => "sent",
        /// Given up.
        Failed => "failed",
        /// The operator holds it back.
        Held => "held",
    }
}

/// Something to be sent.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// What it is.
    pub kind: DeliveryKind,
    /// The message that it is about.
    pub seq: Option<i64>,
    /// The person's thread that it joins.
    pub thread: Option<i64>,
    /// Where to.
    pub to: Address,
    /// Name of the transport: `mailto`, ...
    pub transport: String,
    /// What shares a limit of parallel deliveries: a domain, a host.
    pub destination: String,
    /// Our header line's time.
    pub stamp: Option<Timestamp>,
    /// The mail's stable Message-ID.
    pub message_id: String,
    /// What the composer needs beside the message: numbers and seqs, never text.
    pub detail: Option<Value>,
    /// Why it is sent, for `explain`.
    pub why: String,
    /// Not before this.
    pub next_try: UnixTime,
}

/// A row of the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its number.
    pub id: i64,
    /// What it is.
    pub kind: DeliveryKind,
    /// The message that it is about.
    pub seq: Option<i64>,
    /// The person's thread that it joins.
    pub thread: Option<i64>,
    /// Where to.
    pub to: Address,
    /// Name of the transport.
    pub transport: String,
    /// What shares a limit of parallel deliveries.
    pub destination: String,
    /// Our header line's time.
    pub stamp: Option<Timestamp>,
    /// The mail's stable Message-ID.
    pub message_id: String,
    /// What the composer needs beside the message.
    pub detail: Option<Value>,
    /// Why it is sent.
    pub why: String,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was leased.
    pub attempts: u32,
    /// When it is due.
    pub next_try: UnixTime,
    /// For a leased one: when the lease ends by itself.
    pub lease_until: Option<UnixTime>,
    /// What the last attempt met.
    pub last_error: Option<String>,
    /// Since when it waits.
    pub created: UnixTime,
    /// When it was sent or given up.
    pub finished: Option<UnixTime>,
    /// The public id of the message that it is about: it stands in every line of the log.
    pub about: Option<MessageId>,
}

const COLUMNS: &str = "id, kind, seq, thread, to_address, transport, destination, stamp, message_id, detail, why, state, \
     attempts, next_try, lease_until, last_error, created, finished, \
     (SELECT public_id FROM message WHERE message.seq = delivery.seq)";

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let stamp: Option<String> = row.get(7)?;
    let stamp = stamp.map(|text| Timestamp::parse(text.as_bytes())).transpose().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(7, rusqlite::types::Type::Text, error.into())
    })?;
    Ok(Delivery {
        id: row.get(0)?,
        kind: row.get(1)?,
        seq: row.get(2)?,
        thread: row.get(3)?,
        to: row.get(4)?,
        transport: row.get(5)?,
        destination: row.get(6)?,
        stamp,
        message_id: row.get(8)?,
        detail: row.get::<_, Option<Json<Value>>>(9)?.map(|json| json.0),
        why: row.get(10)?,
        state: row.get(11)?,
        attempts: row.get(12)?,
        next_try: row.get(13)?,
        lease_until: row.get(14)?,
        last_error: row.get(15)?,
        created: row.get(16)?,
        finished: row.get(17)?,
        about: row.get(18)?,
    })
}

/// What became of a delivery at [`enqueue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It waits under this number.
    New(i64),
    /// There is one already, in whatever state: for (message, recipient, kind), or under its
    /// Message-ID.
    Already(i64),
}

/// A day.
const DAY: Duration = Duration::from_secs(86_400);

/// Queues a delivery, once: there is one per (message, recipient, kind), and one per Message-ID.
///
/// Belongs into the transaction that makes the reason for it durable (a decision with
/// [`messages::mark_routed`]). Crash argument: both or neither; if the decision is made again,
/// the row that is there stays, with its T and its Message-ID.
///
/// # Errors
/// [`StoreError::Constraint`] if the message or the thread is gone.
pub fn enqueue(tx: &Connection, new: &NewDelivery, now: UnixTime) -> Result<Enqueued, StoreError> {
    let known = tx
        .prepare_cached(
            "SELECT id FROM delivery WHERE (seq = ?1 AND to_address = ?2 AND kind = ?3)
             UNION ALL SELECT id FROM delivery WHERE message_id = ?4 LIMIT 1",
        )?
        .query_row((new.seq, &new.to, new.kind, &new.message_id), |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(Enqueued::Already(id));
    }
    tx.prepare_cached(
        "INSERT INTO delivery (kind, seq, thread, to_address, transport, destination, stamp, message_id, detail, why,
                               state, next_try, created)
         VALUES (:kind, :seq, :thread, :to_address, :transport, :destination, :stamp, :message_id, :detail, :why,
                 'ready', :next_try, :created)",
    )?
    .execute(rusqlite::named_params! {
        ":kind": new.kind,
        ":seq": new.seq,
        ":thread": new.thread,
        ":to_address": new.to,
        ":transport": new.transport,
        ":destination": new.destination,
        ":stamp": new.stamp.as_ref().map(Timestamp::as_str),
        ":message_id": new.message_id,
        ":detail": new.detail.as_ref().map(Json),
        ":why": new.why,
        ":next_try": new.next_try,
        ":created": now,
    })?;
    Ok(Enqueued::New(tx.last_insert_rowid()))
}

/// The next hop took it. For a forward, the recipient is remembered as a holder of the message; for a
/// key in clear, that the peer has it.
/// Of an answer that is about no message the detail is dropped: a person's search is not kept.
/// `false` if the row is gone or was sent before. A delivery that was held or given up while it
/// was under way is sent all the same: that is the truth.
///
/// # Errors
/// Those of any write.
pub fn succeed(tx: &Connection, id: i64, now: UnixTime) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE delivery SET state = 'sent', lease_until = NULL, finished = ?2, last_error = NULL,
                    detail = CASE WHEN kind = 'answer' AND seq IS NULL THEN NULL ELSE detail END
              WHERE id = ?1 AND state <> 'sent'",
        )?
        .execute((id, now))?;
    if changed == 0 {
        return Ok(false);
    }
    let Some(sent) = get(tx, id)? else { return Ok(true) };
    match (sent.kind, sent.seq) {
        (DeliveryKind::Forward, Some(seq)) => {
            messages::add_holder(tx, seq, &sent.to, now)?;
            // Who never took anything is sent little, see `policy::budget`. One sign a day is enough.
            if limits::number_since(tx, Counted::ToStranger, sent.to.as_bytes(), now.saturating_sub(DAY))? > 0
                && limits::number_since(
                    tx,
                    Counted::StrangerTook,
                    sent.to.as_bytes(),
                    now.saturating_sub(DAY / 2),
                )? == 0
            {
                limits::note(tx, Counted::StrangerTook, sent.to.as_bytes(), now)?;
            }
        }
        (DeliveryKind::KeyExchange, _) => {
            let number = sent.detail.as_ref().and_then(|it| it.get("exchange")).and_then(Value::as_i64);
            if let Some(number) = number {
                exchanges::delivered(tx, number)?;
            }
        }
        _ => {}
    }
    Ok(true)
}

/// It did not work and is tried again at `next_try`. One that was held meanwhile stays held.
///
/// # Errors
/// Those of any write.
pub fn retry(tx: &Connection, id: i64, next_try: UnixTime, error: &str) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE delivery SET next_try = ?2, last_error = ?3, lease_until = NULL,
                    state = CASE state WHEN 'leased' THEN 'ready' ELSE state END
              WHERE id = ?1 AND state IN ('ready', 'leased', 'held')",
        )?
        .execute((id, next_try, error))?;
    Ok(changed > 0)
}

/// It did not work and never will. `false` if it was finished before.
///
/// # Errors
/// Those of any write.
pub fn fail(tx: &Connection, id: i64, now: UnixTime, error: &str) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE delivery SET state = 'failed', lease_until = NULL, finished = ?2, last_error = ?3
              WHERE id = ?1 AND finished IS NULL",
        )?
        .execute((id, now, error))?;
    Ok(changed > 0)
}

/// Puts a leased delivery back untried (at shutdown): as if it had not been leased.
///
/// # Errors
/// Those of any write.
pub fn unlease(tx: &Connection, id: i64) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE delivery SET state = 'ready', lease_until = NULL, attempts = max(attempts - 1, 0)
              WHERE id = ?1 AND state = 'leased'",
        )?
        .execute([id])?;
    Ok(changed > 0)
}

/// Holds a delivery back until [`release`]. If it is just being sent, that is not undone. `false`
/// if it is finished or gone.
///
/// # Errors
/// Those of any write.
pub fn hold(tx: &Connection, id: i64) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE delivery SET state = 'held', lease_until = NULL WHERE id = ?1 AND finished IS NULL",
        )?
        .execute([id])?;
    Ok(changed > 0)
}

/// Holds everything back: after a restore, when the rows may be older than what was sent.
///
/// # Errors
/// Those of any write.
pub fn hold_all(tx: &Connection) -> Result<usize, StoreError> {
    Ok(tx.execute("UPDATE delivery SET state = 'held', lease_until = NULL WHERE finished IS NULL", [])?)
}

/// Undoes [`hold`], for one delivery or for all that are held; they are due at `now`. Returns how
/// many.
///
/// # Errors
/// Those of any write.
pub fn release(tx: &Connection, id: Option<i64>, now: UnixTime) -> Result<usize, StoreError> {
    Ok(tx
        .prepare_cached(
            "UPDATE delivery SET state = 'ready', next_try = ?2 WHERE state = 'held' AND (?1 IS NULL OR id = ?1)",
        )?
        .execute((id, now))?)
}

/// Makes one delivery, or all that wait, due at `now`. A given-up one, named by its number, gets
/// another life. Returns how many.
///
/// # Errors
/// Those of any write.
pub fn retry_now(tx: &Connection, id: Option<i64>, now: UnixTime) -> Result<usize, StoreError> {
    Ok(match id {
        None => {
            tx.prepare_cached("UPDATE delivery SET next_try = ?1 WHERE state = 'ready'")?.execute([now])?
        }
        Some(id) => tx
            .prepare_cached(
                "UPDATE delivery SET state = 'ready', next_try = ?2, finished = NULL
                  WHERE id = ?1 AND state IN ('ready', 'failed')",
            )?
            .execute((id, now))?,
    })
}

/// The operator gives a delivery up. Its row stays, so that it is not queued again. `false` if it
/// is finished or gone.
///
/// # Errors
/// Those of any write.
pub fn drop_delivery(tx: &Connection, id: i64, now: UnixTime) -> Result<bool, StoreError> {
    fail(tx, id, now, "dropped by the operator")
}

/// Changes what the composer needs beside the message. `false` if the row is gone.
///
/// # Errors
/// Those of any write.
pub fn set_detail(tx: &Connection, id: i64, detail: Option<&Value>) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached("UPDATE delivery SET detail = ?2 WHERE id = ?1")?
        .execute((id, detail.map(Json)))?;
    Ok(changed > 0)
}

/// Forgets a delivery that ended without success, so that another one may take its place. `false` if it is no such.
///
/// # Errors
/// Those of any write.
pub fn forget(tx: &Connection, id: i64) -> Result<bool, StoreError> {
    Ok(tx.prepare_cached("DELETE FROM delivery WHERE id = ?1 AND state = 'failed'")?.execute([id])? > 0)
}

/// The delivery with this number.
///
/// # Errors
/// Those of any read.
pub fn get(conn: &Connection, id: i64) -> Result<Option<Delivery>, StoreError> {
    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM delivery WHERE id = ?1"))?;
    Ok(select.query_row([id], delivery).optional()?)
}

/// The delivery that went out, or will, under this Message-ID.
///
/// # Errors
/// Those of any read.
pub fn by_message_id(conn: &Connection, message_id: &str) -> Result<Option<Delivery>, StoreError> {
    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM delivery WHERE message_id = ?1"))?;
    Ok(select.query_row([message_id], delivery).optional()?)
}

/// Everything that goes out, or went, because of message `seq`, oldest first.
///
/// # Errors
/// Those of any read.
pub fn of_message(conn: &Connection, seq: i64) -> Result<Vec<Delivery>, StoreError> {
    let mut select =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM delivery WHERE seq = ?1 ORDER BY id"))?;
    Ok(select.query_map([seq], delivery)?.collect::<Result<_, _>>()?)
}

/// The queue, oldest first: what has not left yet, or (`all`) the finished ones too.
///
/// # Errors
/// Those of any read.
pub fn list(conn: &Connection, all: bool, limit: usize) -> Result<Vec<Delivery>, StoreError> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM delivery WHERE ?1 OR finished IS NULL ORDER BY id LIMIT ?2"
    ))?;
    Ok(select.query_map((all, whole(limit)), delivery)?.collect::<Result<_, _>>()?)
}

/// How many deliveries are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for their time.
    pub ready: u64,
    /// Being sent.
    pub leased: u64,
    /// Held back.
    pub held: u64,
    /// Sent, and not forgotten yet.
    pub sent: u64,
    /// Given up, and not forgotten yet.
    pub failed: u64,
    /// Since when the oldest one waits that has not left yet.
    pub oldest: Option<UnixTime>,
}

impl Counts {
    /// All that has not left yet.
    pub fn queued(&self) -> u64 {
        self.ready.saturating_add(self.leased).saturating_add(self.held)
    }
}

/// Whether something is being sent, or due.
///
/// # Errors
/// Those of any read.
pub fn is_busy(conn: &Connection, now: UnixTime) -> Result<bool, StoreError> {
    Ok(conn
        .prepare_cached(
            "SELECT 1 FROM delivery WHERE state = 'leased' OR (state = 'ready' AND next_try <= ?1) LIMIT 1",
        )?
        .exists([now])?)
}

/// Counts the queue.
///
/// # Errors
/// Those of any read.
pub fn counts(conn: &Connection) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    let mut select =
        conn.prepare_cached("SELECT state, count(*), min(created) FROM delivery GROUP BY state")?;
    let rows =
        select.query_map([], |row| Ok((row.get(0)?, count(row.get(1)?), row.get::<_, UnixTime>(2)?)))?;
    for row in rows {
        let (state, number, oldest) = row?;
        let waits = match state {
            DeliveryState::Ready => &mut counts.ready,
            DeliveryState::Leased => &mut counts.leased,
            DeliveryState::Held => &mut counts.held,
            DeliveryState::Sent => &mut counts.sent,
            DeliveryState::Failed => &mut counts.failed,
        };
        *waits = number;
        if !matches!(state, DeliveryState::Sent | DeliveryState::Failed) {
            counts.oldest = Some(counts.oldest.map_or(oldest, |before| before.min(oldest)));
        }
    }
    Ok(counts)
}

/// How many deliveries of one transport are equally far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depth {
    /// Name of the transport.
    pub transport: String,
    /// How far they are.
    pub state: DeliveryState,
    /// How many.
    pub number: u64,
    /// Since when the oldest one waits.
    pub oldest: UnixTime,
}

/// What has not left yet, by transport and state.
///
/// # Errors
/// Those of any read.
pub fn depths(conn: &Connection) -> Result<Vec<Depth>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT transport, state, count(*), min(created) FROM delivery WHERE finished IS NULL
          GROUP BY transport, state ORDER BY transport, state",
    )?;
    let rows = select.query_map([], |row| {
        Ok(Depth {
            transport: row.get(0)?,
            state: row.get(1)?,
            number: count(row.get(2)?),
            oldest: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What the queue takes in bytes, as far as its rows grow with what is queued.
///
/// # Errors
/// Those of any read.
pub fn bytes(conn: &Connection) -> Result<u64, StoreError> {
    Ok(meta::total(conn, "delivery")?.1)
}

/// Forgets deliveries that were finished before `before`, at most `limit`. Returns how many.
///
/// # Errors
/// Those of any write.
pub fn forget_finished(tx: &Connection, before: UnixTime, limit: usize) -> Result<usize, StoreError> {
    Ok(tx
        .prepare_cached(
            "DELETE FROM delivery WHERE id IN (
                 SELECT id FROM delivery WHERE finished IS NOT NULL AND finished < ?1 ORDER BY finished LIMIT ?2)",
        )?
        .execute((before, whole(limit)))?)
}
