//! The CMR wire format (specification A2): parse, write, timestamps, addresses, ids.
//!
//! This room knows bytes and values. It must never know sockets, the clock or the database:
//! the present time and the recipient's own addresses are passed in.
//!
//! One message has exactly one spelling here: what [`parse`] accepts, [`Message::write`] gives
//! back byte for byte. Ids, conflicts ("same id, other bytes") and signatures all rest on that.

mod accept;
mod address;
mod error;
mod id;
mod parse;
mod property;
mod time;

#[cfg(test)]
mod tests;

pub use accept::{Acceptance, Recipient};
pub use address::{Address, AddressError};
pub use error::{FormatError, Rule};
pub use id::{HashedBody, HopKey, IdError, MessageId, TailHash};
pub use parse::{Limits, declared_end, looks_like, parse};
#[doc(hidden)]
pub use property::parse_and_write_agree;
pub use time::{TimeError, Timestamp, UnixTime};

use std::fmt;

/// The signature line (A2): version 0 is unsigned, version 1 carries 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// `0`
    Unsigned,
    /// `1` and 64 lower-case hexadecimal digits.
    Signed([u8; 32]),
}

impl Signature {
    /// Whether the message carries a signature (valid or not).
    #[must_use]
    pub fn is_signed(&self) -> bool {
        matches!(self, Signature::Signed(_))
    }

    /// The signature line as it stands on the wire, without its CR LF.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Signature::Unsigned => "0".to_owned(),
            Signature::Signed(digest) => {
                let mut line = String::with_capacity(65);
                line.push('1');
                id::push_hex(&mut line, digest);
                line
            }
        }
    }
}

/// The digits stay out of logs: with the old scheme a digest is worth something to an attacker
/// who guesses at short keys.
impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Signature::Unsigned => f.write_str("Unsigned"),
            Signature::Signed(_) => f.write_str("Signed(..)"),
        }
    }
}

/// One line of the routing header: sent at `time` by `address` (A2, "message ID").
///
/// Equal are two lines with the same time by value and the same address, as their keys are: what
/// must be the same byte for byte is compared as [`Message::write`] has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// When it was sent.
    pub time: Timestamp,
    /// Who sent it.
    pub address: Address,
}

impl Hop {
    /// A header line of these two.
    #[must_use]
    pub fn new(time: Timestamp, address: Address) -> Self {
        Hop { time, address }
    }

    /// The line's pieces as they stand on the wire, CR LF included.
    fn parts(&self) -> [&[u8]; 4] {
        [self.time.as_str().as_bytes(), b" ", self.address.as_bytes(), b"\r\n"]
    }

    /// The length of the line on the wire in bytes, CR LF included.
    fn wire_len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// What identifies this line: its time by value and its address by bytes.
    #[must_use]
    pub fn key(&self) -> HopKey {
        HopKey::of(self)
    }

    /// The public id of a message whose oldest line this is.
    #[must_use]
    pub fn message_id(&self) -> MessageId {
        MessageId::of_origin(self)
    }
}

/// The routing header: one or more lines, newest first. That it is never empty is held by its
/// shape; that times descend and no address stands twice is [`parse`]'s to see to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hops {
    /// All lines above the oldest one, newest first.
    newer: Vec<Hop>,
    /// The oldest line: the client that created the message.
    origin: Hop,
}

/// Walks over header lines, newest first.
pub type HopIter<'a> = std::iter::Chain<std::slice::Iter<'a, Hop>, std::iter::Once<&'a Hop>>;

impl Hops {
    /// A header of these lines, newest first; `None` if there are none.
    #[must_use]
    pub fn new(mut newest_first: Vec<Hop>) -> Option<Self> {
        let origin = newest_first.pop()?;
        Some(Hops { newer: newest_first, origin })
    }

    /// The lines, newest first (reversible).
    pub fn iter(&self) -> HopIter<'_> {
        self.newer.iter().chain(std::iter::once(&self.origin))
    }

    /// The number of lines, at least 1.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.newer.len().saturating_add(1)
    }

    /// The newest line: the neighbour that sent the message.
    #[must_use]
    pub fn first(&self) -> &Hop {
        self.newer.first().unwrap_or(&self.origin)
    }

    /// The oldest line: the origin.
    #[must_use]
    pub fn last(&self) -> &Hop {
        &self.origin
    }

    /// Whether exactly this address stands in the header.
    #[must_use]
    pub fn contains(&self, address: &Address) -> bool {
        self.iter().any(|hop| hop.address == *address)
    }

    /// The addresses, newest first.
    pub fn addresses(&self) -> impl DoubleEndedIterator<Item = &Address> + Clone {
        self.iter().map(|hop| &hop.address)
    }
}

impl<'a> IntoIterator for &'a Hops {
    type Item = &'a Hop;
    type IntoIter = HopIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A CMR message: signature, routing header, body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The signature line.
    pub signature: Signature,
    /// The routing header, newest first, never empty.
    pub hops: Hops,
    /// The n body bytes.
    pub body: Vec<u8>,
}

/// The blank line, the length line and the body: what stands below the last header line.
fn each_body_part(body: &[u8], mut take: impl FnMut(&[u8])) {
    take(b"\r\n");
    take(body.len().to_string().as_bytes());
    take(b"\r\n");
    take(body);
}

impl Message {
    /// A new, unsigned message with one header line: what a client creates (A1).
    #[must_use]
    pub fn new(origin: Hop, body: Vec<u8>) -> Self {
        Message { signature: Signature::Unsigned, hops: Hops { newer: Vec::new(), origin }, body }
    }

    /// The whole message as it goes on the wire.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.wire_len());
        out.extend_from_slice(self.signature.line().as_bytes());
        out.extend_from_slice(b"\r\n");
        self.each_signed_part(|part| out.extend_from_slice(part));
        out
    }

    /// What a signature covers: the header lines, the blank line, the length line and the body.
    /// No bytes come between the key and these (A2).
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.wire_len());
        self.each_signed_part(|part| out.extend_from_slice(part));
        out
    }

    /// Hands out [`signed_bytes`](Self::signed_bytes) piece by piece, so that a hash needs no
    /// copy of a large body.
    pub fn each_signed_part(&self, mut take: impl FnMut(&[u8])) {
        self.hops.iter().flat_map(Hop::parts).for_each(&mut take);
        each_body_part(&self.body, take);
    }

    /// The header lines with their CR LF, without the blank line that follows them.
    #[must_use]
    pub fn header_bytes(&self) -> Vec<u8> {
        self.hops.iter().flat_map(Hop::parts).flatten().copied().collect()
    }

    /// The length of [`write`](Self::write) in bytes.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        let signature = if self.signature.is_signed() { 67 } else { 3 };
        let mut length: usize = signature;
        self.each_signed_part(|part| length = length.saturating_add(part.len()));
        length
    }

    /// The public id: of the oldest header line.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.origin().message_id()
    }

    /// The oldest header line: the client that created the message, and when.
    #[must_use]
    pub fn origin(&self) -> &Hop {
        self.hops.last()
    }

    /// The newest header line: the neighbour that sent the message, whose key signs it.
    #[must_use]
    pub fn sender(&self) -> &Hop {
        self.hops.first()
    }

    /// The router that took the message from its author: the second oldest line's address if
    /// there is one, else the origin's.
    #[must_use]
    pub fn home_router(&self) -> &Address {
        &self.hops.newer.last().unwrap_or(&self.hops.origin).address
    }

    /// For each header line, newest first, what identifies it and the hash of everything below
    /// it. A2: "No two messages that contain matching IDs anywhere in their routing headers
    /// should differ anywhere in the remainder of the header or in the body." Known is who
    /// shares a key and its tail; who shares a key with another tail is a conflict.
    #[must_use]
    pub fn hop_ids(&self) -> Vec<(HopKey, TailHash)> {
        id::hop_ids(self)
    }

    /// The message with our line on top and no signature: steps 1 and 3 of A3. The caller sees
    /// to it that the time is later than every time below and the address not among them.
    #[must_use]
    pub fn stamped(&self, hop: Hop) -> Message {
        let mut newer = Vec::with_capacity(self.hops.len());
        newer.push(hop);
        newer.extend(self.hops.newer.iter().cloned());
        Message {
            signature: Signature::Unsigned,
            hops: Hops { newer, origin: self.hops.origin.clone() },
            body: self.body.clone(),
        }
    }

    /// The message under this signature line: step 4 of A3.
    #[must_use]
    pub fn with_signature(mut self, signature: Signature) -> Message {
        self.signature = signature;
        self
    }
}
