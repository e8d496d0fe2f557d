//! Mails whose author only their signature shows: anybody can send a copy of one, so it authorises once.
//!
//! It knows what was seen. It must never know what a mail asks for.

use rusqlite::Connection;

use crate::mail::Header;
use crate::message::UnixTime;
use crate::store::{StoreError, limits};

/// A mail that is believed for its signature alone: once.
pub(super) struct Signed<'a> {
    author: String,
    once: &'a [String],
    /// It was here before: this may be a copy that somebody else sends.
    pub(super) seen: bool,
}

impl<'a> Signed<'a> {
    /// What is known of it; none where something else shows the author.
    ///
    /// # Errors
    /// Those of any read.
    pub(super) fn new(
        tx: &Connection,
        header: &Header,
        once: &'a [String],
    ) -> Result<Option<Self>, StoreError> {
        let Some(from) = header.from.as_ref().filter(|_| !once.is_empty()) else { return Ok(None) };
        let author = from.address.to_ascii_lowercase();
        let mut seen = false;
        for one in once {
            seen |= limits::was_seen(tx, author.as_bytes(), one)?;
        }
        Ok(Some(Signed { author, once, seen }))
    }

    /// What it authorised was done.
    ///
    /// # Errors
    /// Those of any write.
    pub(super) fn note(&self, tx: &Connection, now: UnixTime) -> Result<(), StoreError> {
        for one in self.once {
            limits::first_time(tx, self.author.as_bytes(), one, now)?;
        }
        Ok(())
    }
}
