//! Exit codes, by name: those of `sysexits.h` that are used here.

use crate::gateway::api::Failure;

/// The command line is wrong.
pub(super) const USAGE: u8 = 64;
/// What was handed in is wrong.
pub(super) const BAD_DATA: u8 = 65;
/// Something that is needed is not there.
pub(super) const UNAVAILABLE: u8 = 69;
/// A fault of this program.
pub(super) const SOFTWARE: u8 = 70;
/// Something can't be created or written.
pub(super) const CANT_CREATE: u8 = 73;
/// It may work later.
pub(super) const TRY_LATER: u8 = 75;
/// The configuration is wrong.
pub(super) const CONFIG: u8 = 78;

/// What a verb ends with.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// Ends a verb.
///
/// # Errors
/// Always: that is its purpose.
pub(super) fn fail<T>(exit: u8, sentence: impl Into<String>) -> Outcome<T> {
    Err(Failure { exit, sentence: sentence.into() })
}
