//! What a vote by mail does.
//!
//! It knows who votes and about what. It must never know how the vote came.

use rusqlite::Connection;

use crate::message::{MessageId, UnixTime};
use crate::store::StoreError;
use crate::store::people::Person;

/// Why a vote does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoVote {
    /// Nothing is done about votes in this version.
    #[error("nobody earns or loses by votes here yet")]
    Nobody,
}

/// A person says that a message was good, or bad.
///
/// # Errors
/// Those of any write; the inner error is why the vote does not count.
#[allow(clippy::unnecessary_wraps, reason = "reputation will write")]
pub(super) fn vote(
    _tx: &Connection,
    _voter: &Person,
    _id: MessageId,
    _good: bool,
    _now: UnixTime,
) -> Result<Result<(), NoVote>, StoreError> {
    Ok(Err(NoVote::Nobody))
}
