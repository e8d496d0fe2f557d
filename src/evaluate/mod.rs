//! How well and how fast mail is routed, by any method, on mail whose right answer is known.
//!
//! Two questions are asked, those of the router: which peer knows a message best (labelled mail: a
//! peer for each label), and which cached message is closest (threads: a mail of the same thread).
//! The configured router answers through [`crate::pool`], the same code as in the daemon; beside it
//! stand plain compressors and what the field uses for the same purpose ([`Method`]), on the same
//! mails, in the same run, one thread.
//!
//! This room knows mail, the pool and a clock of CPU time. It is batch work: it must never know the
//! database, a socket, the daemon or the command line.
//!
//! Whatever chance decides comes from the seed, so that a run can be repeated.

pub mod attract;
mod baseline;
mod chance;
mod clock;
mod corpus;
pub mod growth;
mod method;
pub mod plot;
mod report;
mod run;
pub mod synthetic;
mod threshold;
mod view;

pub use chance::Chance;
pub use clock::cpu;
pub use corpus::{Corpus, Doc, Labels, Skipped, Threads, Wish, conversations, labelled, read_mails, threads};
pub use method::{Finder, Method, PoolFinder, Settings, UnknownMethod, address, entry};
pub use report::{Report, Row, Times};
pub use run::{Options, Progress, Task, deflate_scan, evaluate};
pub use threshold::{Threshold, Thresholds, thresholds};
pub use view::{UnknownView, View};

use crate::archive::ArchiveError;

/// The longest mail that is read, bytes.
pub const LONGEST_MAIL: usize = 64 << 20;

/// Why nothing can be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The mails can't be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is nothing to choose among.
    #[error("{0}: at least two folders with mail are needed, a folder for each label; {1} found")]
    Labels(std::path::PathBuf, usize),
    /// Nothing to ask.
    #[error("{0}: no mail in a folder whose name is among the labels of the training mail")]
    NoTest(std::path::PathBuf),
    /// Too few mails for the pool and for questions after it.
    #[error(
        "{path}: {mails} mails can be read, and a pool of {pool} leaves none to ask about; choose a smaller --pool"
    )]
    TooFew {
        /// Where.
        path: std::path::PathBuf,
        /// How many there are.
        mails: usize,
        /// What was asked for.
        pool: usize,
    },
    /// No later mail has its thread in the pool.
    #[error("{0}: none of the mails after the pool belongs to a thread in it")]
    NoThreads(std::path::PathBuf),
}
