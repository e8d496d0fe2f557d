//! The CMR wire format (specification A2): parse, write, timestamps, addresses, ids.
//!
//! This room knows bytes and values. It must never know sockets, the clock or the database:
//! the present time and the recipient's own addresses are passed in.

mod address;
mod id;
mod parse;
mod time;

pub use address::Address;
pub use id::{HopKey, MessageId, TailHash};
pub use parse::{FormatError, Limits, Recipient, Rule, parse};
pub use time::{Timestamp, UnixTime};

use std::fmt;

/// The signature line (A2): version 0 is unsigned, version 1 carries 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// `0`
    Unsigned,
    /// `1` and 64 lower-case hexadecimal digits.
    Signed([u8; 32]),
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Signature::Unsigned => f.write_str("Unsigned"),
            Signature::Signed(_) => f.write_str("Signed(..)"),
        }
    }
}

/// One line of the routing header: sent at `time` by `address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// When it was sent.
    pub time: Timestamp,
    /// Who sent it.
    pub address: Address,
}

/// A CMR message. `hops` is never empty; newest first, the last one is the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The signature line.
    pub signature: Signature,
    /// The routing header, newest first.
    pub hops: Vec<Hop>,
    /// The n body bytes.
    pub body: Vec<u8>,
}

impl Message {
    /// A new, unsigned message with one header line: what a client creates (A1).
    pub fn new(origin: Hop, body: Vec<u8>) -> Self {
        Message { signature: Signature::Unsigned, hops: vec![origin], body }
    }
}
