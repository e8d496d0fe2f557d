//! What the router decided and why: `explain` reads it.

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use super::StoreError;
use super::sql::{Json, whole};
use crate::message::{MessageId, UnixTime};

/// A decision to be recorded.
#[derive(Debug, Clone)]
pub struct NewDecision<'a> {
    /// When it was made.
    pub decided: UnixTime,
    /// In one sentence.
    pub verdict: &'a str,
    /// Everything else but the matches (reasons, peers), as JSON. No text of other messages: a
    /// removal would not reach it.
    pub detail: &'a Value,
    /// The matches, best first.
    pub matches: &'a [NewMatch],
}

/// A match to be recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewMatch {
    /// The message that matched.
    pub other: i64,
    /// C(X) − C(X|Y) in bits.
    pub gain_bits: f64,
    /// C(X|Y) in bits.
    pub one_sided_bits: f64,
    /// D(X, Y) in bits.
    pub distance_raw: f64,
}

/// A recorded decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// When it was made.
    pub decided: UnixTime,
    /// In one sentence.
    pub verdict: String,
    /// Reasons, peers, ... as JSON.
    pub detail: Value,
    /// The matches that are still here, best first.
    pub matches: Vec<Match>,
}

/// A recorded match.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// The message that matched.
    pub other: i64,
    /// Its public id.
    pub id: MessageId,
    /// C(X) − C(X|Y) in bits.
    pub gain_bits: f64,
    /// C(X|Y) in bits.
    pub one_sided_bits: f64,
    /// D(X, Y) in bits.
    pub distance_raw: f64,
}

/// Replaces the reasons, peers and so on of a recorded decision: what followed from it is part of them.
///
/// # Errors
/// Those of any write.
pub fn explain_more(tx: &Connection, seq: i64, detail: &Value) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE decision SET detail = ?2 WHERE seq = ?1")?.execute((seq, Json(detail)))?;
    Ok(())
}

/// Records the decision on message `seq`, in the place of an earlier one. Matches with messages
/// that are gone by now are left out.
///
/// # Errors
/// [`StoreError::Constraint`] if message `seq` itself is gone.
pub fn record(tx: &Connection, seq: i64, new: &NewDecision<'_>) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO decision (seq, decided, verdict, detail) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (seq) DO UPDATE SET decided = excluded.decided, verdict = excluded.verdict, detail = excluded.detail",
    )?
    .execute((seq, new.decided, new.verdict, Json(new.detail)))?;
    tx.prepare_cached("DELETE FROM match WHERE seq = ?1")?.execute([seq])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO match (seq, other, rank, gain_bits, one_sided_bits, distance_raw)
         SELECT ?1, seq, ?3, ?4, ?5, ?6 FROM message WHERE seq = ?2 AND state <> 'evicted'
         ON CONFLICT (seq, other) DO NOTHING",
    )?;
    for (rank, found) in new.matches.iter().enumerate() {
        insert.execute((
            seq,
            found.other,
            whole(rank),
            found.gain_bits,
            found.one_sided_bits,
            found.distance_raw,
        ))?;
    }
    Ok(())
}

/// The decision on message `seq`, if there is one.
///
/// # Errors
/// Those of any read.
pub fn get(conn: &Connection, seq: i64) -> Result<Option<Decision>, StoreError> {
    let mut select = conn.prepare_cached("SELECT decided, verdict, detail FROM decision WHERE seq = ?1")?;
    let decision = select
        .query_row([seq], |row| {
            Ok(Decision {
                decided: row.get(0)?,
                verdict: row.get(1)?,
                detail: row.get::<_, Json<Value>>(2)?.0,
                matches: Vec::new(),
            })
        })
        .optional()?;
    let Some(mut decision) = decision else {
        return Ok(None);
    };
    let mut select = conn.prepare_cached(
        "SELECT x.other, m.public_id, x.gain_bits, x.one_sided_bits, x.distance_raw
           FROM match x JOIN message m ON m.seq = x.other WHERE x.seq = ?1 ORDER BY x.rank",
    )?;
    let rows = select.query_map([seq], |row| {
        Ok(Match {
            other: row.get(0)?,
            id: row.get(1)?,
            gain_bits: row.get(2)?,
            one_sided_bits: row.get(3)?,
            distance_raw: row.get(4)?,
        })
    })?;
    decision.matches = rows.collect::<Result<_, _>>()?;
    Ok(Some(decision))
}
