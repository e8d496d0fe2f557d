//! Folders that are read by IMAP: how far, and what has still to happen to their mails; and how the
//! accounts are doing.
//!
//! What became of a mail belongs into the transaction that stores what was in it. Then a crash
//! leaves either neither, and the mail is fetched again, or both, and it is not.

use rusqlite::{Connection, OptionalExtension};

use super::StoreError;
use super::sql::{count, words};
use crate::message::UnixTime;

/// Mails that have waited for something to happen to them and are returned at once, at most.
const AFTER_AT_ONCE: u32 = 10_000;

/// Mails that are due again and are returned at once, at most.
const AGAIN_AT_ONCE: u32 = 250;

words! {
    /// What became of a mail in a folder.
    pub enum MailState {
        /// Settled: nothing will happen to it.
        Left => "left",
        /// Stored; what is configured has still to happen to it.
        After => "after",
        /// Not taken for the time being.
        Again => "again",
    }
}

/// What names a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderName<'a> {
    /// The name of the account here.
    pub account: &'a str,
    /// Its user and server.
    pub server: &'a str,
    /// The folder.
    pub folder: &'a str,
}

/// What is known of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    /// Its number.
    pub id: i64,
    /// All UIDs below are settled, but for the mails below.
    pub next: u32,
    /// Stored; something has still to happen to them. Not all, if there are very many.
    pub after: Vec<u32>,
    /// From `next` on, settled all the same.
    pub settled: Vec<u32>,
    /// Put off, and due. Not all, if there are very many.
    pub again: Vec<u32>,
}

/// What is known of a folder of this UIDVALIDITY; a new one, if it was another. The second value:
/// the UIDVALIDITY that it had before, if it is a new one because of that.
///
/// # Errors
/// Those of any write.
pub fn open(
    tx: &Connection,
    name: &FolderName<'_>,
    validity: u32,
    now: UnixTime,
) -> Result<(Folder, Option<u32>), StoreError> {
    let found: Option<(i64, String, u32, u32)> = tx
        .prepare_cached(
            "SELECT id, server, uidvalidity, next_uid FROM imap_folder WHERE account = ?1 AND folder = ?2",
        )?
        .query_row((name.account, name.folder), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let (id, next) = match &found {
        Some((id, server, was, next)) if server == name.server && *was == validity => (*id, *next),
        _ => {
            forget(tx, name)?;
            let id = tx
                .prepare_cached(
                    "INSERT INTO imap_folder (account, server, folder, uidvalidity, next_uid)
                     VALUES (?1, ?2, ?3, ?4, 1)",
                )?
                .insert((name.account, name.server, name.folder, validity))?;
            let was = found.and_then(|(_, server, was, _)| (server == name.server).then_some(was));
            return Ok((Folder { id, next: 1, ..Folder::default() }, was));
        }
    };
    let uids = |sql: &str, last: i64, most: u32| -> Result<Vec<u32>, StoreError> {
        let mut select = tx.prepare_cached(sql)?;
        let rows = select.query_map((id, last, most), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    let after = uids(
        "SELECT uid FROM imap_mail WHERE folder = ?1 AND state = 'after' AND due <= ?2 ORDER BY uid LIMIT ?3",
        i64::MAX,
        AFTER_AT_ONCE,
    )?;
    let settled = uids(
        "SELECT uid FROM imap_mail WHERE folder = ?1 AND uid >= ?2 ORDER BY uid LIMIT ?3",
        i64::from(next),
        u32::MAX,
    )?;
    let again = uids(
        "SELECT uid FROM imap_mail WHERE folder = ?1 AND state = 'again' AND due <= ?2 ORDER BY due LIMIT ?3",
        now.0,
        AGAIN_AT_ONCE,
    )?;
    Ok((Folder { id, next, after, settled, again }, None))
}

/// Forgets how far a folder was read.
///
/// # Errors
/// Those of any write.
pub fn forget(tx: &Connection, name: &FolderName<'_>) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM imap_folder WHERE account = ?1 AND folder = ?2")?
        .execute((name.account, name.folder))?;
    Ok(())
}

/// What became of a mail. Belongs into the transaction that stores what was in it.
///
/// # Errors
/// Those of any write; the folder is another one by now.
pub fn note(
    tx: &Connection,
    folder: i64,
    uid: u32,
    state: MailState,
    due: UnixTime,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO imap_mail (folder, uid, state, due) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (folder, uid) DO UPDATE SET state = excluded.state, due = excluded.due",
    )?
    .execute((folder, uid, state, due))?;
    Ok(())
}

/// Whether it is written down what became of a mail, and it was not put off: a second copy of the
/// job that takes it has nothing to do.
///
/// # Errors
/// Those of any read.
pub fn is_settled(conn: &Connection, folder: i64, uid: u32) -> Result<bool, StoreError> {
    Ok(conn
        .prepare_cached(
            "SELECT 1 FROM imap_folder f WHERE f.id = ?1 AND NOT EXISTS
                 (SELECT 1 FROM imap_mail m WHERE m.folder = f.id AND m.uid = ?2 AND m.state = 'again')
               AND (f.next_uid > ?2
                 OR EXISTS (SELECT 1 FROM imap_mail m WHERE m.folder = f.id AND m.uid = ?2))",
        )?
        .exists((folder, uid))?)
}

/// All UIDs below `next` are settled.
///
/// # Errors
/// Those of any write.
pub fn settle(tx: &Connection, folder: i64, next: u32) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE imap_folder SET next_uid = max(next_uid, ?2) WHERE id = ?1")?
        .execute((folder, next))?;
    tx.prepare_cached("DELETE FROM imap_mail WHERE folder = ?1 AND uid < ?2 AND state = 'left'")?
        .execute((folder, next))?;
    Ok(())
}

/// Nothing more will happen to these mails: what is configured has, or they are gone.
///
/// # Errors
/// Those of any write.
pub fn done(tx: &Connection, folder: i64, uids: &[u32]) -> Result<(), StoreError> {
    // Those that are not behind `next_uid` yet stay settled.
    let mut settled =
        tx.prepare_cached("UPDATE imap_mail SET state = 'left' WHERE folder = ?1 AND uid = ?2")?;
    let mut gone = tx.prepare_cached(
        "DELETE FROM imap_mail WHERE folder = ?1 AND uid = ?2
            AND uid < (SELECT next_uid FROM imap_folder WHERE id = ?1)",
    )?;
    for uid in uids {
        if gone.execute((folder, uid))? == 0 {
            settled.execute((folder, uid))?;
        }
    }
    Ok(())
}

/// How an account is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name here.
    pub name: String,
    /// Its folder.
    pub folder: String,
    /// When the folder was looked through for the last time.
    pub looked: Option<UnixTime>,
    /// When it is spoken to again, at the latest.
    pub next_try: UnixTime,
    /// Whether the server tells when mail comes.
    pub idle: bool,
    /// Mails, at most, that have not been looked at.
    pub behind: u64,
    /// Mails that were larger than may be, in the last look that found any.
    pub too_large: u64,
    /// How long the last mail that was taken had been in the mailbox, in milliseconds.
    pub lag: Option<u64>,
    /// What is wrong.
    pub error: Option<String>,
    /// Since when something is.
    pub error_since: Option<UnixTime>,
}

/// What an account was found to be like. `looked`: its folder was looked through.
///
/// # Errors
/// Those of any write.
pub fn report(tx: &Connection, account: &Account, looked: bool, now: UnixTime) -> Result<(), StoreError> {
    let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    tx.prepare_cached(
        "INSERT INTO imap_account
             (name, folder, tried, looked, next_try, idle, behind, too_large, lag, error, error_since, copied_at, copied)
         VALUES (?1, ?2, ?3, CASE WHEN ?4 THEN ?3 END, ?5, ?6, ?7, ?8, ?9, ?10, CASE WHEN ?10 IS NOT NULL THEN ?3 END, ?3, 0)
         ON CONFLICT (name) DO UPDATE SET
             folder = ?2, tried = ?3, looked = CASE WHEN ?4 THEN ?3 ELSE looked END, next_try = ?5, idle = ?6,
             behind = CASE WHEN ?4 THEN ?7 ELSE behind END,
             too_large = CASE WHEN ?8 > 0 THEN ?8 ELSE too_large END,
             lag = ifnull(?9, lag), error = ?10,
             error_since = CASE WHEN ?10 IS NULL THEN NULL ELSE ifnull(error_since, ?3) END",
    )?
    .execute((
        &account.name,
        &account.folder,
        now,
        looked,
        account.next_try,
        account.idle,
        whole(account.behind),
        whole(account.too_large),
        account.lag.map(whole),
        &account.error,
    ))?;
    Ok(())
}

/// So many mails of the account have not been looked at yet: what is known of it while it is read for the
/// first time.
///
/// # Errors
/// Those of any write.
pub fn behind(tx: &Connection, folder: i64, behind: u64, now: UnixTime) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO imap_account (name, folder, tried, next_try, idle, behind, too_large, copied_at, copied)
         SELECT account, folder, ?3, ?3, 0, ?2, 0, ?3, 0 FROM imap_folder WHERE id = ?1
         ON CONFLICT (name) DO UPDATE SET behind = excluded.behind",
    )?
    .execute((folder, i64::try_from(behind).unwrap_or(i64::MAX), now))?;
    Ok(())
}

/// The account of this name, if it was ever spoken to.
///
/// # Errors
/// Those of any read.
pub fn account(conn: &Connection, name: &str) -> Result<Option<Account>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT name, folder, looked, next_try, idle, behind, too_large, lag, error, error_since
           FROM imap_account WHERE name = ?1",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Account {
            name: row.get(0)?,
            folder: row.get(1)?,
            looked: row.get(2)?,
            next_try: row.get(3)?,
            idle: row.get(4)?,
            behind: count(row.get(5)?),
            too_large: count(row.get(6)?),
            lag: row.get::<_, Option<i64>>(7)?.map(count),
            error: row.get(8)?,
            error_since: row.get(9)?,
        })
    };
    Ok(select.query_row([name], read).optional()?)
}

/// Mails to people that were sent after the last one of which a copy was made for this account, in
/// that order. An account that was never spoken to gets copies of nothing old.
///
/// # Errors
/// Those of any read.
pub fn uncopied(conn: &Connection, account: &str, most: u32) -> Result<Vec<i64>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT d.id FROM delivery d, imap_account a
          WHERE a.name = ?1 AND d.finished IS NOT NULL AND d.state = 'sent' AND d.kind IN ('answer', 'later_match')
            AND (d.finished, d.id) > (a.copied_at, a.copied)
          ORDER BY d.finished, d.id LIMIT ?2",
    )?;
    let rows = select.query_map((account, most), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A copy of this delivery was made, or can't be made any more.
///
/// # Errors
/// Those of any write.
pub fn copied(tx: &Connection, account: &str, delivery: i64) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE imap_account SET copied_at = d.finished, copied = d.id
           FROM delivery d WHERE d.id = ?2 AND d.finished IS NOT NULL AND name = ?1",
    )?
    .execute((account, delivery))?;
    Ok(())
}
