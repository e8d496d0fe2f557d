//! What happened how often since the database was made: mails that were not sent.

use rusqlite::Connection;

use super::{StoreError, meta};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Mails to people that a limit kept back.
    Silenced,
    /// Mails of our own that came back.
    CameBack,
    /// Messages of which nothing was sent, because the queue was full.
    NoRoom,
}

impl Counter {
    fn name(self) -> &'static str {
        match self {
            Counter::Silenced => "count silenced",
            Counter::CameBack => "count came back",
            Counter::NoRoom => "count no room",
        }
    }
}

/// Once more.
///
/// # Errors
/// Those of any write.
pub fn note(tx: &Connection, what: Counter) -> Result<(), StoreError> {
    let before = get(tx, what)?;
    meta::set(tx, what.name(), i64::try_from(before.saturating_add(1)).unwrap_or(i64::MAX))
}

/// How often so far.
///
/// # Errors
/// Those of any read.
pub fn get(conn: &Connection, what: Counter) -> Result<u64, StoreError> {
    let number: Option<i64> = meta::get(conn, what.name())?;
    Ok(number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0))
}
