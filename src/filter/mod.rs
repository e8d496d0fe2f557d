//! The content filter's decisions: which recipients are ours, whether a mail is processed, marked
//! or learned, and what is said of it, given what the door said.
//!
//! Everything here is a function of bytes and settings. This room knows mail and replies. It must
//! never know sockets, the clock, the database, or how a mail is handed on.

mod decide;
mod trace;

pub use decide::{Intent, Judgement, Look, intend, look, settle, stamp};
pub use trace::{MOST_RECEIVED, Trace};

/// What the filter does with the mails that concern the gateway: those to a posting address, and
/// those that hold CMR messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Decide and say so in the log; stamp nothing, change nothing, store nothing.
    #[default]
    Shadow,
    /// Process them, and pass them on as well.
    Copy,
    /// Process them; the copies for posting addresses end here, all others are passed on.
    Take,
}

impl Mode {
    /// The word for it in the configuration and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Shadow => "shadow",
            Mode::Copy => "copy",
            Mode::Take => "take",
        }
    }
}

/// What happens to a mail that can't be processed because of trouble here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The mail server keeps it and tries again.
    #[default]
    Defer,
    /// It is passed on without being processed.
    Pass,
}

/// Which ordinary mail goes into the pool, for the operator's eyes alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Learn {
    /// None.
    #[default]
    Nothing,
    /// All that passes.
    All,
    /// That of mailing lists with one of these List-Ids.
    Lists(Vec<String>),
}
