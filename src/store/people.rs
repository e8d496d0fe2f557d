//! People: who wrote to a posting address, and the threads in which they are answered.

use rusqlite::{Connection, OptionalExtension, Row};

use std::collections::HashMap;

use super::sql::Json;
use super::{StoreError, meta};
use crate::message::UnixTime;

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Its number here.
    pub id: i64,
    /// The mail address, in the form of [`canonical`].
    pub address: String,
    /// NAME of the alias `cmr+NAME.TOKEN@host`.
    pub name: String,
    /// TOKEN of the alias.
    pub token: String,
    /// What a reply has to hold to confirm publishing.
    pub confirm_token: String,
    /// When the person first wrote.
    pub created: UnixTime,
    /// When publishing was confirmed.
    pub confirmed_at: Option<UnixTime>,
    /// When the person said stop; `None` after a later question.
    pub stopped_at: Option<UnixTime>,
}

/// What makes a person known.
#[derive(Debug, Clone)]
pub struct NewPerson<'a> {
    /// The mail address.
    pub address: &'a str,
    /// NAME of the alias.
    pub name: &'a str,
    /// TOKEN of the alias, which nobody can guess.
    pub token: &'a str,
    /// The confirmation token, another one.
    pub confirm_token: &'a str,
}

/// The form under which a mail address is kept: the domain in lower case (RFC 5321, 2.4: domains
/// know no case, local parts may).
pub fn canonical(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.to_ascii_lowercase()),
        None => address.to_owned(),
    }
}

const PERSON: &str =
    "SELECT id, address, name, token, confirm_token, created, confirmed_at, stopped_at FROM person";

fn person(row: &Row<'_>) -> rusqlite::Result<Person> {
    Ok(Person {
        id: row.get(0)?,
        address: row.get(1)?,
        name: row.get(2)?,
        token: row.get(3)?,
        confirm_token: row.get(4)?,
        created: row.get(5)?,
        confirmed_at: row.get(6)?,
        stopped_at: row.get(7)?,
    })
}

/// The person with this number.
///
/// # Errors
/// Those of any read.
pub fn get(conn: &Connection, id: i64) -> Result<Option<Person>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{PERSON} WHERE id = ?1"))?;
    Ok(select.query_row([id], person).optional()?)
}

/// The person with this mail address.
///
/// # Errors
/// Those of any read.
pub fn by_address(conn: &Connection, address: &str) -> Result<Option<Person>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{PERSON} WHERE address = ?1"))?;
    Ok(select.query_row([canonical(address)], person).optional()?)
}

/// The person behind an alias token.
///
/// # Errors
/// Those of any read.
pub fn by_token(conn: &Connection, token: &str) -> Result<Option<Person>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{PERSON} WHERE token = ?1"))?;
    Ok(select.query_row([token], person).optional()?)
}

/// The person behind a confirmation token.
///
/// # Errors
/// Those of any read.
pub fn by_confirm_token(conn: &Connection, token: &str) -> Result<Option<Person>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{PERSON} WHERE confirm_token = ?1"))?;
    Ok(select.query_row([token], person).optional()?)
}

/// The person with this address; made known with the given name and tokens if it is not. A
/// person keeps the first ones for good: an alias in public headers never changes hands.
///
/// # Errors
/// [`StoreError::Constraint`] if a token is taken by somebody else.
pub fn ensure(tx: &Connection, new: &NewPerson<'_>, now: UnixTime) -> Result<Person, StoreError> {
    tx.prepare_cached(
        "INSERT INTO person (address, name, token, confirm_token, created) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (address) DO NOTHING",
    )?
    .execute((canonical(new.address), new.name, new.token, new.confirm_token, now))?;
    by_address(tx, new.address)?.ok_or(StoreError::Missing("person"))
}

/// Confirms publishing by the person's confirmation token. `None`: nobody has this token. Goes
/// with [`super::messages::publish_posts_of`]. A second time changes nothing.
///
/// # Errors
/// Those of any write.
pub fn confirm(tx: &Connection, confirm_token: &str, now: UnixTime) -> Result<Option<Person>, StoreError> {
    let Some(mut found) = by_confirm_token(tx, confirm_token)? else { return Ok(None) };
    if found.confirmed_at.is_none() {
        tx.prepare_cached("UPDATE person SET confirmed_at = ?2 WHERE id = ?1")?.execute((found.id, now))?;
        found.confirmed_at = Some(now);
    }
    Ok(Some(found))
}

/// The person said stop: all threads are closed, later matches that wait in the queue are given
/// up. Answers to what was asked still go out. Returns how many threads were open.
///
/// # Errors
/// Those of any write.
pub fn stop(tx: &Connection, id: i64, now: UnixTime) -> Result<usize, StoreError> {
    meta::note_promise(tx)?;
    close(tx, id, now)
}

fn close(tx: &Connection, id: i64, now: UnixTime) -> Result<usize, StoreError> {
    tx.prepare_cached("UPDATE person SET stopped_at = ?2 WHERE id = ?1")?.execute((id, now))?;
    let closed = tx
        .prepare_cached("UPDATE thread SET until = ?2 WHERE person = ?1 AND until > ?2")?
        .execute((id, now))?;
    tx.prepare_cached(
        "UPDATE delivery SET state = 'failed', lease_until = NULL, finished = ?2, last_error = 'the person said stop'
          WHERE kind = 'later_match' AND state IN ('ready', 'held')
            AND thread IN (SELECT id FROM thread WHERE person = ?1)",
    )?
    .execute((id, now))?;
    Ok(closed)
}

/// The person asked anew: what [`stop`] said is over. Its threads stay closed.
///
/// # Errors
/// Those of any write.
pub fn resume(tx: &Connection, id: i64) -> Result<(), StoreError> {
    meta::note_promise(tx)?;
    open_again(tx, id)
}

/// Who said stop, as salted hashes, and when: what a restore must not undo.
pub(super) fn stopped(conn: &Connection) -> Result<Vec<([u8; 32], UnixTime)>, StoreError> {
    let mut select = conn
        .prepare_cached("SELECT address, stopped_at FROM person WHERE stopped_at IS NOT NULL ORDER BY id")?;
    let rows = select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    rows.map(|row| {
        let (address, at) = row?;
        Ok((stop_hash(conn, &address)?, at))
    })
    .collect()
}

/// Takes in what [`stopped`] said (made under the same salt): who is in it is stopped, and nobody else.
pub(super) fn replace_stopped(tx: &Connection, all: &[([u8; 32], UnixTime)]) -> Result<(), StoreError> {
    let since: HashMap<_, _> = all.iter().copied().collect();
    let mut select = tx.prepare("SELECT id, address, stopped_at FROM person")?;
    let rows = select.query_map([], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<UnixTime>>(2)?))
    })?;
    for row in rows.collect::<Result<Vec<_>, _>>()? {
        let (id, address, stopped_at) = row;
        match since.get(&stop_hash(tx, &address)?) {
            Some(at) => drop(close(tx, id, *at)?),
            None if stopped_at.is_some() => open_again(tx, id)?,
            None => {}
        }
    }
    Ok(())
}

fn stop_hash(conn: &Connection, address: &str) -> Result<[u8; 32], StoreError> {
    meta::salted(conn, &[b"stopped", address.to_ascii_lowercase().as_bytes()])
}

fn open_again(tx: &Connection, id: i64) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE person SET stopped_at = NULL WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// A question, and the mail thread that its answers join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its number here.
    pub id: i64,
    /// Whose.
    pub person: i64,
    /// The question's message.
    pub seq: Option<i64>,
    /// The RFC 5322 Message-ID of the person's mail, if it had one.
    pub message_id: Option<String>,
    /// Its References.
    pub references: Vec<String>,
    /// Its Subject.
    pub subject: String,
    /// The language that it is in, if anybody knows.
    pub language: Option<String>,
    /// What the answer says was ignored.
    pub ignored: Vec<String>,
    /// The person's address was authenticated: only then may an answer go there.
    pub authenticated: bool,
    /// When it was asked.
    pub opened: UnixTime,
    /// Until when later matches are sent.
    pub until: UnixTime,
}

/// A question to be opened: as [`Thread`], before it has a number.
#[derive(Debug, Clone)]
pub struct NewThread {
    /// Whose.
    pub person: i64,
    /// The question's message; `None` if nothing was posted (a search, a command).
    pub seq: Option<i64>,
    /// The RFC 5322 Message-ID of the person's mail.
    pub message_id: Option<String>,
    /// Its References.
    pub references: Vec<String>,
    /// Its Subject.
    pub subject: String,
    /// Its language.
    pub language: Option<String>,
    /// What the answer says was ignored.
    pub ignored: Vec<String>,
    /// The person's address was authenticated.
    pub authenticated: bool,
    /// When it was asked.
    pub opened: UnixTime,
    /// Until when later matches are sent.
    pub until: UnixTime,
}

const THREAD: &str = "SELECT t.id, t.person, t.seq, t.message_id, t.thread_refs, t.subject, t.language, t.ignored, \
     t.authenticated, t.opened, t.until FROM thread t";

fn thread(row: &Row<'_>) -> rusqlite::Result<Thread> {
    Ok(Thread {
        id: row.get(0)?,
        person: row.get(1)?,
        seq: row.get(2)?,
        message_id: row.get(3)?,
        references: row.get::<_, Json<Vec<String>>>(4)?.0,
        subject: row.get(5)?,
        language: row.get(6)?,
        ignored: row.get::<_, Json<Vec<String>>>(7)?.0,
        authenticated: row.get(8)?,
        opened: row.get(9)?,
        until: row.get(10)?,
    })
}

/// Opens a thread; belongs into the transaction that stores the question. A question that has
/// its thread already keeps it (the mail came twice).
///
/// # Errors
/// Those of any write.
pub fn open_thread(tx: &Connection, new: &NewThread) -> Result<i64, StoreError> {
    if let Some(seq) = new.seq
        && let Some(open) = thread_of_message(tx, seq)?
    {
        return Ok(open.id);
    }
    tx.prepare_cached(
        "INSERT INTO thread (person, seq, message_id, thread_refs, subject, language, ignored, authenticated, opened, until)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(rusqlite::params![
        new.person,
        new.seq,
        new.message_id,
        Json(&new.references),
        new.subject,
        new.language,
        Json(&new.ignored),
        new.authenticated,
        new.opened,
        new.until,
    ])?;
    Ok(tx.last_insert_rowid())
}

/// The thread with this number.
///
/// # Errors
/// Those of any read.
pub fn get_thread(conn: &Connection, id: i64) -> Result<Option<Thread>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{THREAD} WHERE t.id = ?1"))?;
    Ok(select.query_row([id], thread).optional()?)
}

/// The thread of the question `seq`.
///
/// # Errors
/// Those of any read.
pub fn thread_of_message(conn: &Connection, seq: i64) -> Result<Option<Thread>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{THREAD} WHERE t.seq = ?1"))?;
    Ok(select.query_row([seq], thread).optional()?)
}

/// The thread that a mail of ours with this Message-ID went to: what a reply's In-Reply-To or
/// References name.
///
/// # Errors
/// Those of any read.
pub fn thread_of_sent(conn: &Connection, message_id: &str) -> Result<Option<Thread>, StoreError> {
    let mut select =
        conn.prepare_cached(&format!("{THREAD} JOIN delivery d ON d.thread = t.id WHERE d.message_id = ?1"))?;
    Ok(select.query_row([message_id], thread).optional()?)
}

/// A person's threads that are open now, newest first.
///
/// # Errors
/// Those of any read.
pub fn open_threads_of(conn: &Connection, person: i64, now: UnixTime) -> Result<Vec<Thread>, StoreError> {
    let mut select =
        conn.prepare_cached(&format!("{THREAD} WHERE t.person = ?1 AND t.until > ?2 ORDER BY t.id DESC"))?;
    Ok(select.query_map((person, now), thread)?.collect::<Result<_, _>>()?)
}

/// The message of a person's newest question that is open now and may be answered.
///
/// # Errors
/// Those of any read.
pub fn newest_question(conn: &Connection, person: i64, now: UnixTime) -> Result<Option<i64>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT seq FROM thread WHERE person = ?1 AND until > ?2 AND authenticated AND seq IS NOT NULL
          ORDER BY id DESC LIMIT 1",
    )?;
    Ok(select.query_row((person, now), |row| row.get(0)).optional()?)
}

/// Every thread that is open now, oldest first.
///
/// # Errors
/// Those of any read.
pub fn open_threads(conn: &Connection, now: UnixTime) -> Result<Vec<Thread>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{THREAD} WHERE t.until > ?1 ORDER BY t.id"))?;
    Ok(select.query_map([now], thread)?.collect::<Result<_, _>>()?)
}

/// Message `seq` was written to this person, at the person's alias. `false` if that was known.
///
/// # Errors
/// Those of any write.
pub fn address_to(tx: &Connection, seq: i64, person: i64) -> Result<bool, StoreError> {
    let added = tx
        .prepare_cached("INSERT INTO addressed (seq, person) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((seq, person))?;
    Ok(added > 0)
}

/// To whom message `seq` was written, and whether it was handed on.
///
/// # Errors
/// Those of any read.
pub fn addressees(conn: &Connection, seq: i64) -> Result<Vec<(i64, bool)>, StoreError> {
    let mut select =
        conn.prepare_cached("SELECT person, handed FROM addressed WHERE seq = ?1 ORDER BY person")?;
    Ok(select.query_map([seq], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// Message `seq` was handed on to this person.
///
/// # Errors
/// Those of any write.
pub fn handed_on(tx: &Connection, seq: i64, person: i64) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE addressed SET handed = 1 WHERE seq = ?1 AND person = ?2")?
        .execute((seq, person))?;
    Ok(())
}

/// Closes one thread.
///
/// # Errors
/// Those of any write.
pub fn close_thread(tx: &Connection, id: i64, now: UnixTime) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE thread SET until = ?2 WHERE id = ?1 AND until > ?2")?.execute((id, now))?;
    Ok(())
}

/// Forgets one thread, in which nothing was sent.
///
/// # Errors
/// Those of any write.
pub fn drop_thread(tx: &Connection, id: i64) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM thread WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Forgets threads that were closed before `before`. Returns how many.
///
/// # Errors
/// Those of any write.
pub fn forget_threads(tx: &Connection, before: UnixTime) -> Result<usize, StoreError> {
    Ok(tx.prepare_cached("DELETE FROM thread WHERE until < ?1")?.execute([before])?)
}
