//! Making room: the text goes, the ids stay for a while.

use rusqlite::Connection;

use crate::message::UnixTime;
use crate::store::StoreError;
use crate::store::sql::whole;

/// Evicts message `seq`: its text, raw mail, decision and matches go; its header lines stay
/// known until `forget_after`, so that it remains a duplicate when it comes again. A question's
/// thread stays open. `false` if it is gone or evicted already.
///
/// What still waits in the queue can't be sent any more and is given up with that reason.
///
/// # Errors
/// Those of any write.
pub fn evict(tx: &Connection, seq: i64, now: UnixTime, forget_after: UnixTime) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE message SET state = 'evicted', held_until = NULL, forget_after = ?2
              WHERE seq = ?1 AND state <> 'evicted'",
        )?
        .execute((seq, forget_after))?;
    if changed == 0 {
        return Ok(false);
    }
    tx.prepare_cached("DELETE FROM text WHERE seq = ?1")?.execute([seq])?;
    tx.prepare_cached("DELETE FROM decision WHERE seq = ?1")?.execute([seq])?;
    tx.prepare_cached("DELETE FROM match WHERE seq = ?1 OR other = ?1")?.execute([seq])?;
    tx.prepare_cached("DELETE FROM holder WHERE seq = ?1")?.execute([seq])?;
    drop_raw(tx, seq)?;
    tx.prepare_cached(
        "UPDATE delivery SET state = 'failed', lease_until = NULL, finished = ?2,
                last_error = 'the message was evicted from the pool before it could be sent'
          WHERE seq = ?1 AND kind = 'forward' AND state IN ('ready', 'held')",
    )?
    .execute((seq, now))?;
    Ok(true)
}

/// Takes the raw mail away from message `seq`; the mail goes when no other message is left that
/// came in it.
fn drop_raw(tx: &Connection, seq: i64) -> Result<(), StoreError> {
    let raw: Option<i64> =
        tx.prepare_cached("SELECT raw FROM message WHERE seq = ?1")?.query_row([seq], |row| row.get(0))?;
    if let Some(raw) = raw {
        tx.prepare_cached("UPDATE message SET raw = NULL WHERE seq = ?1")?.execute([seq])?;
        tx.prepare_cached(
            "DELETE FROM raw_mail WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE message.raw = ?1)",
        )?
        .execute([raw])?;
    }
    Ok(())
}

/// Forgets the ids of evicted messages whose time is over, at most `limit` of them (0.1 s of the
/// writer's time is about 2,000). Returns how many.
///
/// # Errors
/// Those of any write.
pub fn forget_expired(tx: &Connection, now: UnixTime, limit: usize) -> Result<usize, StoreError> {
    Ok(tx
        .prepare_cached(
            "DELETE FROM message WHERE seq IN (
                 SELECT seq FROM message WHERE state = 'evicted' AND forget_after < ?1 ORDER BY forget_after LIMIT ?2)",
        )?
        .execute((now, whole(limit)))?)
}

/// Forgets the ids of evicted messages, those with the least time left first, until at most
/// `most` header lines are remembered in all; at most `limit` messages. Returns how many. Cached
/// messages are never forgotten.
///
/// # Errors
/// Those of any write.
pub fn forget_beyond(tx: &Connection, most: u64, limit: usize) -> Result<usize, StoreError> {
    let mut forgotten = 0;
    let mut select =
        tx.prepare_cached("SELECT seq FROM message WHERE state = 'evicted' ORDER BY forget_after LIMIT 1")?;
    let mut delete = tx.prepare_cached("DELETE FROM message WHERE seq = ?1")?;
    while forgotten < limit && crate::store::meta::total(tx, "hop")?.0 > most {
        let mut rows = select.query([])?;
        let Some(row) = rows.next()? else { break };
        let seq: i64 = row.get(0)?;
        drop(rows);
        delete.execute([seq])?;
        forgotten += 1;
    }
    Ok(forgotten)
}
