//! Crash safety of the whole program by enumeration: `cmr-mail serve` plays one small story, and
//! dies at every boundary at which a disk makes something durable.
//!
//! - `abort`: the process ends itself right before and right after each sync; it is started
//!   again, the client sends again what was not acknowledged, and at the end the database and
//!   the correspondents' mailboxes are those of a run in which nothing happened.
//! - `power`: one run is recorded, and every directory that a loss of power could have left of it
//!   is opened and looked at.
//! - `commits`: within one process, at every moment of every transaction of the gateway.
//!
//! By default the first two look at a sample, evenly; `CMR_MAIL_FULL=1` asks for everything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/replay.rs"]
mod replay;
#[path = "../support/shim.rs"]
mod shim;

mod abort;
mod commits;
mod play;
mod power;
mod story;
mod world;

use std::path::PathBuf;

/// Whether everything is asked for.
fn is_full() -> bool {
    std::env::var_os("CMR_MAIL_FULL").is_some_and(|value| value == "1")
}

/// A place in memory if there is one: a sync there costs nothing, and these tests are about what
/// happens around a sync and not about the disk beneath it.
fn place() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if tempfile::tempdir_in(&memory).is_ok() { memory } else { std::env::temp_dir() }
}
