//! The small world that `demo` plays in: people with mailboxes, gateways, and the mail servers
//! between them, all on loopback.
//!
//! [`host`] is a mail server, `gateway` a running `cmr-mail serve`, `world` all of them together,
//! `letter` a mail as its reader sees it, `story` what is played and what it has to come to,
//! `show` how that looks, `hand` how to go on by hand. None of them decides anything: gateways do, and are asked why.

mod gateway;
mod hand;
pub mod host;
mod letter;
mod show;
mod story;
mod world;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::exit::{CANT_CREATE, Outcome, SOFTWARE, TRY_LATER, UNAVAILABLE};
use crate::gateway::api::Failure;
use host::HostError;

/// Plays the demo; with `stay` keeps the world running until Ctrl-C.
pub(super) fn run(stay: bool) -> Outcome {
    Ok(story::play(stay)?)
}

/// Why the demo could not be played.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// Ctrl-C, or a supervisor that ends us.
    #[error("interrupted; everything that the demo had started is stopped and removed")]
    Interrupted,
    /// Files can't be written or removed.
    #[error("{} can't be used: {source}", path.display())]
    Place {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The means to wait for signals and mail can't be had.
    #[error("the demo can't start: {0}")]
    Runtime(#[source] io::Error),
    /// A mail server can't be started.
    #[error("{0}: {chain}", chain = std::error::Error::source(.0).map_or_else(String::new, ToString::to_string))]
    Host(#[from] HostError),
    /// A gateway's process can't be started.
    #[error("the gateway of {domain} can't be started: {source}")]
    Start {
        /// Which.
        domain: String,
        /// What the system says.
        source: io::Error,
    },
    /// A gateway's process has ended.
    #[error("the gateway of {domain} has ended; the last lines of its log:{log}")]
    Ended {
        /// Which.
        domain: String,
        /// What it said.
        log: String,
    },
    /// A gateway does not answer a question.
    #[error("the gateway of {domain} does not answer: {why}")]
    Ask {
        /// Which.
        domain: String,
        /// Why not.
        why: String,
    },
    /// A mail can't be written.
    #[error("a mail can't be written: {0}")]
    Write(String),
    /// A mail server did not take a person's mail.
    #[error("the mail server did not take the mail from {from}: {why}")]
    Submit {
        /// Whose.
        from: String,
        /// What it said.
        why: String,
    },
    /// A mail did not arrive.
    #[error("the mail from {from} to {to} was not delivered: {why}")]
    Undelivered {
        /// The envelope's sender.
        from: String,
        /// The envelope's recipient.
        to: String,
        /// What the next mail server said.
        why: String,
    },
    /// Something takes too long.
    #[error("{what} takes longer than {} s; the last lines of each gateway's log:{logs}", after.as_secs())]
    TooLong {
        /// What.
        what: &'static str,
        /// How long it was waited for.
        after: Duration,
        /// What they said.
        logs: String,
    },
    /// The story does not end as it has to.
    #[error("{what}; the last lines of each gateway's log:{logs}")]
    Wrong {
        /// What is not as it has to be.
        what: String,
        /// What they said.
        logs: String,
    },
    /// Standard output can't be written.
    #[error("{}", .0.sentence)]
    Output(Failure),
}

impl From<Failure> for DemoError {
    fn from(failure: Failure) -> Self {
        DemoError::Output(failure)
    }
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        let exit = match &error {
            DemoError::Interrupted => TRY_LATER,
            DemoError::Place { .. } => CANT_CREATE,
            DemoError::Runtime(_) | DemoError::Write(_) => SOFTWARE,
            DemoError::Output(failure) => failure.exit,
            DemoError::Host(_)
            | DemoError::Start { .. }
            | DemoError::Ended { .. }
            | DemoError::Ask { .. }
            | DemoError::Submit { .. }
            | DemoError::Undelivered { .. }
            | DemoError::TooLong { .. }
            | DemoError::Wrong { .. } => UNAVAILABLE,
        };
        Failure { exit, sentence: error.to_string() }
    }
}
