//! Whether the database is sound: SQLite's own checks, and what this program relies on beyond
//! them.

use rusqlite::Connection;

use serde::Serialize;

use super::sql::{count, whole};
use super::{StoreError, blocks, messages, meta, queue, removal};
use crate::policy;

/// What must be true, as queries that count the exceptions.
const RULES: &[(&str, &str)] = &[
    (
        "cached messages without their text",
        "SELECT count(*) FROM message m WHERE state <> 'evicted' AND NOT EXISTS (SELECT 1 FROM text WHERE seq = m.seq)",
    ),
    (
        "evicted messages with a text",
        "SELECT count(*) FROM message m JOIN text t ON t.seq = m.seq WHERE m.state = 'evicted'",
    ),
    (
        "messages without header lines",
        "SELECT count(*) FROM message m WHERE NOT EXISTS (SELECT 1 FROM hop WHERE seq = m.seq AND position = 0)",
    ),
    (
        "messages whose oldest header line is another one than remembered",
        "SELECT count(*) FROM message m WHERE m.origin_key <>
             (SELECT hop_key FROM hop WHERE seq = m.seq ORDER BY position DESC LIMIT 1)",
    ),
    (
        "raw mails that no message came in",
        "SELECT count(*) FROM raw_mail r WHERE NOT EXISTS (SELECT 1 FROM message WHERE raw = r.id)",
    ),
    (
        "wrong counts of texts",
        "SELECT (SELECT items FROM total WHERE what = 'text') <> (SELECT count(*) FROM text)
             OR (SELECT bytes FROM total WHERE what = 'text') <>
                (SELECT ifnull(sum(length(header) + length(body)), 0) FROM text)",
    ),
    (
        "wrong counts of raw mails",
        "SELECT (SELECT items FROM total WHERE what = 'raw_mail') <> (SELECT count(*) FROM raw_mail)
             OR (SELECT bytes FROM total WHERE what = 'raw_mail') <> (SELECT ifnull(sum(length(raw)), 0) FROM raw_mail)",
    ),
    (
        "wrong counts of asides",
        "SELECT (SELECT items FROM total WHERE what = 'aside') <> (SELECT count(*) FROM aside)
             OR (SELECT bytes FROM total WHERE what = 'aside') <> (SELECT ifnull(sum(256 + length(raw) + ifnull(length(kept), 0)), 0) FROM aside)",
    ),
    (
        "wrong counts of deliveries",
        "SELECT (SELECT items FROM total WHERE what = 'delivery') <> (SELECT count(*) FROM delivery)",
    ),
    (
        "wrong counts of header lines",
        "SELECT (SELECT items FROM total WHERE what = 'hop') <> (SELECT count(*) FROM hop)
             OR (SELECT bytes FROM total WHERE what = 'hop') <> (SELECT ifnull(sum(256 + length(address)), 0) FROM hop)",
    ),
];

/// How much there is of what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Messages with their text.
    pub messages: u64,
    /// Their headers and bodies in bytes.
    pub bytes: u64,
    /// Messages of which only the ids are remembered.
    pub remembered: u64,
    /// Peers.
    pub peers: u64,
    /// Deliveries that have not left.
    pub queued: u64,
    /// Hashes of what was removed for good.
    pub removed: u64,
    /// Authors, peers and hosts that are refused.
    pub blocked: u64,
}

/// What is in the database.
///
/// # Errors
/// Those of any read.
pub fn contents(conn: &Connection) -> Result<Contents, StoreError> {
    let number = |query: &str| conn.query_row(query, [], |row| row.get(0)).map(count);
    let (messages, bytes) = meta::total(conn, "text")?;
    Ok(Contents {
        messages,
        bytes,
        remembered: number("SELECT count(*) FROM message WHERE state = 'evicted'")?,
        peers: number("SELECT count(*) FROM peer")?,
        queued: queue::counts(conn)?.queued(),
        removed: number("SELECT count(*) FROM removed")?,
        blocked: u64::try_from(blocks::list(conn)?.len()).unwrap_or(u64::MAX),
    })
}

/// Everything that is wrong, a sentence each; empty: sound. `deep` also reads every cached
/// message and compares it with its remembered ids, which takes as long as reading the file.
///
/// # Errors
/// Those of any read; damage that SQLite can't step over.
pub fn verify(conn: &Connection, deep: bool) -> Result<Vec<String>, StoreError> {
    let mut wrong = Vec::new();
    let mut check = conn.prepare("PRAGMA integrity_check")?;
    for line in check.query_map([], |row| row.get::<_, String>(0))? {
        let line = line?;
        if line != "ok" {
            wrong.push(line);
        }
    }
    let orphans: i64 =
        conn.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
    if orphans > 0 {
        wrong.push(format!("{orphans} rows whose parent is gone"));
    }
    for (what, query) in RULES {
        let number: i64 = conn.query_row(query, [], |row| row.get(0))?;
        if number > 0 {
            wrong.push(format!("{what}: {number}"));
        }
    }
    if deep {
        texts(conn, &mut wrong)?;
    }
    Ok(wrong)
}

fn texts(conn: &Connection, wrong: &mut Vec<String>) -> Result<(), StoreError> {
    let mut seqs = conn.prepare("SELECT seq FROM text ORDER BY seq")?;
    for seq in seqs.query_map([], |row| row.get::<_, i64>(0))? {
        let seq = seq?;
        let Some(stored) = messages::get(conn, seq)? else { continue };
        if removal::is_removed(conn, &stored.origin_key, stored.id)? {
            wrong.push(format!("message {seq} ({}) was removed here for good, and is here", stored.id));
        }
        let Some(text) = stored.text else { continue };
        if policy::is_key_exchange(&text.body) {
            wrong.push(format!("message {seq} ({}) is a key exchange, and in the pool", stored.id));
        }
        let message = match text.message() {
            Ok(message) => message,
            Err(error) => {
                wrong.push(format!("message {seq} ({}): {error}", stored.id));
                continue;
            }
        };
        let remembered: Vec<_> =
            messages::hops(conn, seq)?.into_iter().map(|hop| (hop.key, hop.tail)).collect();
        if message.hop_ids() != remembered || message.id() != stored.id {
            wrong.push(format!("message {seq} ({}) is not the one that its ids were made of", stored.id));
        }
        let bytes = text.header.len().saturating_add(text.body.len());
        if i64::try_from(stored.bytes).ok() != Some(whole(bytes)) {
            wrong.push(format!("message {seq} ({}) has {bytes} bytes, not {}", stored.id, stored.bytes));
        }
    }
    Ok(())
}
