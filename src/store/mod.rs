//! The database: one SQLite file that holds everything a restart must not lose.
//!
//! It knows the schema, its migrations, and for each change why a crash at any point loses
//! nothing. One thread writes ([`Store::write`], group commit); a few connections read
//! ([`Store::read`]). Beside that there is one module of plain functions over a connection per
//! noun: [`messages`], [`peers`], [`keys`], [`people`], [`queue`], ... They are called inside
//! such a job, so that several of them make one transaction.
//!
//! It must never know transports, the configuration or what routing means, and never asks for
//! the time: the present is passed in.

mod backup;
mod block_on;
mod error;
mod files;
mod handle;
mod journal;
mod migrate;
mod readers;
mod snapshot;
mod sql;
mod traces;
mod verify;
mod writer;

pub mod asides;
pub mod blocks;
pub mod bounces;
pub mod counters;
pub mod decisions;
pub mod exchanges;
pub mod imports;
pub mod keys;
pub mod limits;
pub mod mailboxes;
pub mod messages;
pub mod meta;
pub mod peers;
pub mod people;
pub mod queue;
pub mod removal;
pub mod reputation;

pub use backup::{Copied, backup, restore, verify_copy, verify_place};
pub use error::StoreError;
pub use files::{FILE_NAME, prepare_dir};
pub use handle::{Boundary, Options, Stats, Store};
pub use journal::{Settled, take_renewal};
pub use migrate::latest as schema_version;
pub use snapshot::Snapshot;
pub use traces::{Erased, What};
pub use verify::{Contents, contents, verify};

pub(crate) use handle::Counters;

#[cfg(test)]
mod tests;
