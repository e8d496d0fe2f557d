//! What the tests of the whole program share: the daemon as a child process, a client and a sink
//! that speak SMTP, and messages to send.
//!
//! Nothing in here knows the inside of the program: it is started, spoken to and killed as any
//! operator could.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "each test uses a part of it, and in tests a panic is the report"
)]

pub(crate) mod client;
pub(crate) mod daemon;
pub(crate) mod dns;
pub(crate) mod messages;
pub(crate) mod programs;
pub(crate) mod scene;
pub(crate) mod sink;
pub(crate) mod threading;
pub(crate) mod wal;

/// SplitMix64: the same sequence on every machine.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `n` − 1.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}
