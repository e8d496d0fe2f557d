//! X as the pool sees it: cut into words and looked up once, whatever is asked about it then.
//!
//! It knows words. It must never know what is done with an answer.

use super::clues::Asked;
use super::cut::Cut;
use super::{Audience, Pool};

/// A text, and what a pool knows about its words.
pub struct Question<'p> {
    pub(super) pool: &'p Pool,
    pub(super) asked: Asked<'p>,
    /// Its pairs of neighbouring words, each once.
    pub(super) pairs: Vec<u64>,
}

impl Pool {
    /// Looks up a text for this audience.
    #[must_use]
    pub fn question(&self, x: &[u8], audience: Audience<'_>) -> Question<'_> {
        let cut = Cut::of(x);
        let asked = self.ask(&cut, audience);
        Question { pool: self, asked, pairs: cut.distinct_pairs() }
    }
}

impl<'p> Question<'p> {
    /// The pool that is asked.
    #[must_use]
    pub fn pool(&self) -> &'p Pool {
        self.pool
    }
}
