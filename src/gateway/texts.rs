//! The bodies of cached messages, lent to the pool out of the database.
//!
//! It knows one connection. It must never know what is looked for in them.

use std::cell::RefCell;

use rusqlite::Connection;

use crate::pool::Texts;
use crate::store::{StoreError, messages};

/// Bodies as the pool asks for them. What the database did not answer is remembered: a search
/// that missed a body for that reason is void, and not just one with a match less.
pub(super) struct StoredTexts<'a> {
    conn: &'a Connection,
    failure: RefCell<Option<StoreError>>,
}

impl<'a> StoredTexts<'a> {
    /// Nothing was asked yet.
    pub(super) fn new(conn: &'a Connection) -> Self {
        StoredTexts { conn, failure: RefCell::new(None) }
    }

    /// Whether all that was asked was answered.
    ///
    /// # Errors
    /// The first question that the database did not answer.
    pub(super) fn answered(&self) -> Result<(), StoreError> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

impl Texts for StoredTexts<'_> {
    fn body(&self, seq: i64) -> Option<Vec<u8>> {
        messages::body(self.conn, seq).unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_does_not_answer_makes_the_search_void() {
        // No tables: no question is answered.
        let conn = Connection::open_in_memory().unwrap();
        let texts = StoredTexts::new(&conn);
        assert!(texts.answered().is_ok(), "nothing was asked");
        assert_eq!(texts.body(1), None);
        assert!(texts.answered().is_err());
    }
}
