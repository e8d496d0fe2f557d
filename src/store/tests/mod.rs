//! What the tests of this room share.

mod crash;
mod erase;
mod exchanges;
mod failures;
mod group_commit;
mod migrations;
mod nouns;
mod places;

use std::path::Path;

use super::messages::{Admitted, NewMessage, admit};
use super::{Options, Store, StoreError};
use crate::message::{Address, Hop, Hops, Message, Signature, Timestamp, UnixTime};

/// A moment to start from.
pub(super) const NOON: UnixTime = UnixTime(1_700_000_000_000_000);

pub(super) fn at(seconds: i64) -> UnixTime {
    UnixTime(NOON.0 + seconds * 1_000_000)
}

/// A database in a directory that goes away with the test.
pub(super) struct Temp {
    pub(super) dir: tempfile::TempDir,
    pub(super) store: Store,
}

pub(super) fn temp() -> Temp {
    temp_with(Options::default())
}

pub(super) fn temp_with(options: Options) -> Temp {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(&dir.path().join("data"), options).unwrap();
    Temp { dir, store }
}

impl Temp {
    pub(super) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Closes and opens again.
    pub(super) fn reopen(self) -> Temp {
        self.store.close();
        let store = Store::open(&self.data()).unwrap();
        Temp { dir: self.dir, store }
    }
}

pub(super) fn address(text: &str) -> Address {
    Address::try_from(text).unwrap()
}

pub(super) fn hop(time: &str, from: &str) -> Hop {
    Hop::new(Timestamp::parse(time.as_bytes()).unwrap(), address(from))
}

/// A message with these header lines (newest first), all of 2023-11-14.
pub(super) fn message(hops: &[(&str, &str)], body: &str) -> Message {
    let hops = hops.iter().map(|(time, from)| hop(&format!("2023/11/14 {time}"), from)).collect();
    Message { signature: Signature::Unsigned, hops: Hops::new(hops).unwrap(), body: body.into() }
}

pub(super) fn new(hops: &[(&str, &str)], body: &str) -> NewMessage {
    NewMessage::new(message(hops, body), NOON, "test")
}

/// The nth of many messages that have nothing in common.
pub(super) fn nth(n: usize) -> NewMessage {
    let time = format!("12:{:02}:{:02}.{n}", n / 60 % 60, n % 60);
    new(&[(&time, &format!("mailto:author{}@example.org", n % 7))], &format!("the text of message {n}"))
}

/// Stores a message and insists that it is new.
pub(super) fn put(store: &Store, new: NewMessage) -> i64 {
    match store.write(move |tx| admit(tx, &new)).unwrap() {
        Admitted::New(seq) => seq,
        other => panic!("{other:?}"),
    }
}

/// One number out of the database.
pub(super) fn number(store: &Store, sql: &'static str) -> i64 {
    store.read(|conn| Ok(conn.query_row(sql, [], |row| row.get(0))?)).unwrap()
}

/// Whether `needle` (ASCII) stands anywhere in the files of a data directory.
pub(super) fn in_files(dir: &Path, needle: &[u8]) -> bool {
    let needle = std::str::from_utf8(needle).unwrap();
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        String::from_utf8_lossy(&bytes).contains(needle)
    })
}

/// A job's own error, for tests of what a failing job leaves behind.
pub(super) fn own_error() -> StoreError {
    StoreError::Misuse("the test's own error")
}
