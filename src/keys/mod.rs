//! Signatures of CMR messages: keys shared with neighbours, and the two schemes in the field.
//!
//! This room knows key bytes and what a signature covers. It must never know transports, the
//! database, or which neighbour a key belongs to: that is remembered by its callers.
//!
//! Nothing here shows a key: [`Key`] has no readable `Debug` and is wiped when dropped. That is
//! best effort; copies inside the hash functions' own state are theirs.

use crate::message::{Message, Signature};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub mod exchange;
#[cfg(test)]
mod tests;

/// How a signature is computed. Both are written the same way on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// HMAC-SHA-256 (RFC 2104) under the key. The default towards new neighbours.
    #[default]
    Hmac,
    /// SHA-256 over the key followed by the bytes, as A2 has it. That a hash of this form can be
    /// extended does no harm here: the length of the body is among the bytes, so a message with
    /// something added does not parse.
    Sha256,
}

impl Scheme {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Scheme::Hmac => Scheme::Sha256,
            Scheme::Sha256 => Scheme::Hmac,
        }
    }

    /// `hmac` or `sha256`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Hmac => "hmac",
            Scheme::Sha256 => "sha256",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Not the name of a signature scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signature scheme is hmac or sha256")]
pub struct UnknownScheme;

impl FromStr for Scheme {
    type Err = UnknownScheme;

    fn from_str(text: &str) -> Result<Self, UnknownScheme> {
        match text {
            "hmac" => Ok(Scheme::Hmac),
            "sha256" => Ok(Scheme::Sha256),
            _ => Err(UnknownScheme),
        }
    }
}

/// Why something is no key. Says nothing of what it contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No bytes. A2 lets a key be of any length, but under an empty one anybody can sign.
    #[error("the key is empty: anybody could sign with it")]
    Empty,
    /// Half a byte is missing.
    #[error("the key has {0} hexadecimal digits; two make a byte, so their number must be even")]
    Odd(usize),
    /// Something that is no hexadecimal digit (its place, counted from 1).
    #[error("character {0} of the key is not a hexadecimal digit")]
    Digit(usize),
}

/// A secret shared with one neighbour. Any length but zero.
///
/// Not comparable: equality of secrets is only ever asked through [`verify`].
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// Below this many bytes a key can be guessed by trying; see [`is_short`](Self::is_short).
    pub const SHORT: usize = 16;

    /// A key of these bytes.
    ///
    /// # Errors
    /// If there are none.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(bytes.into());
        if bytes.is_empty() { Err(KeyError::Empty) } else { Ok(Key(bytes)) }
    }

    /// A key of the bytes of a text, none added or taken away.
    ///
    /// # Errors
    /// If it is empty.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        Key::from_bytes(text)
    }

    /// A key from hexadecimal digits, two for a byte, in upper or lower case. White space at both
    /// ends is left out.
    ///
    /// # Errors
    /// If there are none, an odd number, or something else among them.
    pub fn from_hex(digits: &str) -> Result<Self, KeyError> {
        let digits = digits.trim();
        // Reserved at once: growing would leave copies of the key behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len().div_ceil(2)));
        let mut high: Option<u8> = None;
        let mut number = 0_usize;
        for character in digits.chars() {
            number = number.saturating_add(1);
            let value = character
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
                .ok_or(KeyError::Digit(number))?;
            match high.take() {
                None => high = Some(value << 4),
                Some(high) => bytes.push(high | value),
            }
        }
        if high.is_some() {
            return Err(KeyError::Odd(number));
        }
        if bytes.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Key(bytes))
    }

    /// The secret itself, to be stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number of bytes, at least 1.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the key is under 16 bytes: worth a warning.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.len() < Self::SHORT
    }

    /// 16 hexadecimal digits by which two operators can see that they hold the same key. They are
    /// of a hash with a label of its own, so no signature can ever show the same digits. A short
    /// key can be guessed from them by trying, as from any signature under it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"cmr-mail key fingerprint\0");
        hash.update(self.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The message is unsigned, though we share a key with its sender.
    #[error("the message is unsigned, but a key is shared with its sender")]
    Missing,
    /// It matches under neither scheme.
    #[error("the signature does not match the message under the key shared with its sender")]
    Wrong,
    /// It matches, but under the scheme that is not the one pinned.
    #[error("the signature is made by the scheme {found}, but {pinned} is pinned for its sender")]
    WrongScheme {
        /// The scheme that matches.
        found: Scheme,
        /// The scheme that is pinned.
        pinned: Scheme,
    },
}

/// The signature line for these bytes (see [`Message::signed_bytes`]).
#[must_use]
pub fn sign(scheme: Scheme, key: &Key, signed_bytes: &[u8]) -> Signature {
    Signature::Signed(digest(scheme, key, |take| take(signed_bytes)))
}

/// The message under its signature: step 4 of A3.
#[must_use]
pub fn sign_message(scheme: Scheme, key: &Key, message: Message) -> Message {
    let signature = Signature::Signed(digest_of(scheme, key, &message));
    message.with_signature(signature)
}

/// Checks a message's signature under the key shared with its sender, in constant time.
///
/// The scheme that the neighbour was last seen to use goes first, then the other one, unless the
/// scheme is pinned. Returns the scheme that matched, to be remembered and answered in.
///
/// # Errors
/// See [`SignatureError`].
pub fn verify(
    key: &Key,
    message: &Message,
    preferred: Scheme,
    pinned: bool,
) -> Result<Scheme, SignatureError> {
    let Signature::Signed(given) = message.signature else {
        return Err(SignatureError::Missing);
    };
    let matches = |scheme| bool::from(digest_of(scheme, key, message).ct_eq(&given));
    if matches(preferred) {
        return Ok(preferred);
    }
    let other = preferred.other();
    match (matches(other), pinned) {
        (true, false) => Ok(other),
        (true, true) => Err(SignatureError::WrongScheme { found: other, pinned: preferred }),
        (false, _) => Err(SignatureError::Wrong),
    }
}

fn digest_of(scheme: Scheme, key: &Key, message: &Message) -> [u8; 32] {
    digest(scheme, key, |take| message.each_signed_part(take))
}

/// The digest over the pieces that `feed` hands out.
fn digest(scheme: Scheme, key: &Key, feed: impl FnOnce(&mut dyn FnMut(&[u8]))) -> [u8; 32] {
    match scheme {
        Scheme::Sha256 => {
            let mut hash = Sha256::new();
            hash.update(key.as_bytes());
            feed(&mut |part| hash.update(part));
            hash.finalize().into()
        }
        Scheme::Hmac => {
            let mut mac = Hmac::<Sha256>::new((&*block(key)).into());
            feed(&mut |part| mac.update(part));
            mac.finalize().into_bytes().into()
        }
    }
}

/// RFC 2104, section 2: the key as one block of the hash, filled up with zeros; a key longer than
/// the block is hashed first.
fn block(key: &Key) -> Zeroizing<[u8; 64]> {
    let mut block = Zeroizing::new([0_u8; 64]);
    if key.len() > block.len() {
        let hashed: Zeroizing<[u8; 32]> = Zeroizing::new(Sha256::digest(key.as_bytes()).into());
        block.iter_mut().zip(hashed.iter()).for_each(|(to, from)| *to = *from);
    } else {
        block.iter_mut().zip(key.as_bytes()).for_each(|(to, from)| *to = *from);
    }
    block
}
