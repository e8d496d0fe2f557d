//! Ids: the public one of a message, and the one of each header line with what lies below it.

use super::{Hop, Message, each_body_part};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Appends bytes as lower-case hexadecimal digits.
pub(super) fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0x0f] {
            out.extend(DIGITS.get(usize::from(nibble)));
        }
    }
}

/// The public id of a message: the first 8 bytes of SHA-256 over its oldest header line (time,
/// space, address, without CR LF), written as 16 hexadecimal digits.
///
/// It names a message to people. It takes the time as it is spelled, so 0.1 and 0.10 have two of
/// them; what is known already is decided by [`HopKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MessageId([u8; 8]);

/// Why something is no public id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Wrong number of digits or bytes.
    #[error("a message id has 16 hexadecimal digits (8 bytes), this has {0}")]
    Length(usize),
    /// A character that is no hexadecimal digit.
    #[error("a message id has 16 hexadecimal digits; character {0} of this is none")]
    Digit(usize),
}

impl MessageId {
    /// The id of the message with this oldest header line.
    pub(super) fn of_origin(origin: &Hop) -> Self {
        let mut hash = Sha256::new();
        hash.update(origin.time.as_str());
        hash.update(b" ");
        hash.update(origin.address.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        MessageId([a, b, c, d, e, f, g, h])
    }

    /// The 8 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl From<[u8; 8]> for MessageId {
    fn from(bytes: [u8; 8]) -> Self {
        MessageId(bytes)
    }
}

impl TryFrom<&[u8]> for MessageId {
    type Error = IdError;

    fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
        <[u8; 8]>::try_from(bytes).map(MessageId).map_err(|_| IdError::Length(bytes.len()))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(16);
        push_hex(&mut text, &self.0);
        f.pad(&text)
    }
}

impl FromStr for MessageId {
    type Err = IdError;

    /// Upper-case digits are read too: ids travel through mail addresses (`cmr+good-ID@`) and
    /// through people.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut value: u64 = 0;
        let mut digits = 0_usize;
        for character in text.chars() {
            let Some(digit) = character.to_digit(16) else {
                return Err(IdError::Digit(digits.saturating_add(1)));
            };
            value = (value << 4) | u64::from(digit);
            digits = digits.saturating_add(1);
        }
        if digits == 16 { Ok(MessageId(value.to_be_bytes())) } else { Err(IdError::Length(digits)) }
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for MessageId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

/// What identifies a header line: SHA-256 over its canonical time (no trailing zeros or "."), a
/// space and its address. 0.1 and 0.10 are the same time and so the same key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopKey(pub [u8; 32]);

impl HopKey {
    /// The key of this header line.
    #[must_use]
    pub fn of(hop: &Hop) -> Self {
        let mut hash = Sha256::new();
        hash.update(hop.time.canonical_str());
        hash.update(b" ");
        hash.update(hop.address.as_bytes());
        HopKey(hash.finalize().into())
    }
}

/// A hash of every byte below a header line: the rest of the header, the blank line, the length
/// line and the body. Two messages have the same tail below a line if and only if these bytes
/// are the same.
///
/// For the oldest line it is SHA-256 over those bytes. For any other line it is SHA-256 over the
/// next line (with CR LF) followed by that line's own tail hash: the body is hashed once and not
/// once per header line, which would let one message of 32 lines cost 32 times its size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TailHash(pub [u8; 32]);

/// A body with the hash of what stands below the oldest header line, which no header changes: for who
/// knows the body before the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedBody {
    bytes: Vec<u8>,
    tail: TailHash,
}

impl HashedBody {
    /// Hashes `bytes`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        let tail = body_tail(&bytes);
        HashedBody { bytes, tail }
    }

    /// The body.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The tail of the oldest header line.
    #[must_use]
    pub fn tail(&self) -> TailHash {
        self.tail
    }
}

fn body_tail(body: &[u8]) -> TailHash {
    let mut hash = Sha256::new();
    each_body_part(body, |part| hash.update(part));
    TailHash(hash.finalize().into())
}

/// Keys and tails of all lines, newest first.
pub(super) fn hop_ids(message: &Message) -> Vec<(HopKey, TailHash)> {
    let TailHash(mut tail) = body_tail(&message.body);
    let mut ids = Vec::with_capacity(message.hops.len());
    for hop in message.hops.iter().rev() {
        ids.push((HopKey::of(hop), TailHash(tail)));
        let mut hash = Sha256::new();
        for part in hop.parts() {
            hash.update(part);
        }
        hash.update(tail);
        tail = hash.finalize().into();
    }
    ids.reverse();
    ids
}

macro_rules! hash_bytes {
    ($name:ident) => {
        impl $name {
            /// The 32 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = std::array::TryFromSliceError;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                <[u8; 32]>::try_from(bytes).map($name)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = String::with_capacity(64);
                push_hex(&mut text, &self.0);
                write!(f, concat!(stringify!($name), "({})"), text)
            }
        }
    };
}

hash_bytes!(HopKey);
hash_bytes!(TailHash);
