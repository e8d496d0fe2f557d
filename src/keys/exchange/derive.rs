//! From the secret of an exchange to the key that signs.

use hkdf::Hkdf;
use num_bigint::BigUint;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Pair;
use crate::keys::Key;

/// How a key is exchanged (A5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A one-time RSA key (A5.1).
    Rsa,
    /// Diffie-Hellman (A5.2).
    Dh,
    /// The key itself, over a channel that is secure already (A5.3).
    Clear,
}

impl Method {
    /// `rsa`, `dh` or `clear`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Method::Rsa => "rsa",
            Method::Dh => "dh",
            Method::Clear => "clear",
        }
    }
}

/// How the shared key comes out of the secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Derivation {
    /// HKDF-SHA-256 (RFC 5869), bound to the kind of exchange and to both addresses, as the other
    /// implementation does it.
    #[default]
    Hkdf,
    /// The secret as it is: what the specification says.
    Raw,
}

impl Derivation {
    /// `hkdf` or `raw`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Derivation::Hkdf => "hkdf",
            Derivation::Raw => "raw",
        }
    }
}

/// The key of both sides, from the secret as bytes, big endian without leading zeros. `None` for an
/// empty secret.
#[must_use]
pub fn derive(method: Method, pair: Pair<'_>, secret: &[u8]) -> Option<Key> {
    match pair.derivation {
        Derivation::Raw => Key::from_bytes(secret).ok(),
        Derivation::Hkdf if secret.is_empty() => None,
        Derivation::Hkdf => {
            let (ours, theirs) = (pair.ours.as_bytes(), pair.theirs.as_bytes());
            let (first, second) = if ours <= theirs { (ours, theirs) } else { (theirs, ours) };
            let parts: [&[u8]; 7] = [b"cmr", b"\0", method.name().as_bytes(), b"\0", first, b"\0", second];
            let mut key = Zeroizing::new(vec![0_u8; 32]);
            Hkdf::<Sha256>::new(Some(b"cmr-v1-key-exchange"), secret)
                .expand_multi_info(&parts, &mut key)
                .ok()?;
            Key::from_bytes(std::mem::take(&mut *key)).ok()
        }
    }
}

/// Twenty digits that both operators see if, and only if, they share this key under these
/// addresses: read out over the telephone they show that nobody sits in between. 66 bits: who sits
/// in between would have to try 2^65 exchanges for one that shows the same to both.
#[must_use]
pub fn phrase(one: &crate::message::Address, other: &crate::message::Address, key: &Key) -> String {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    let mut hash = Sha256::new();
    for part in [b"cmr-mail key phrase".as_slice(), first, second, key.as_bytes()] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let number = digest.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let digits = format!("{:020}", number % 100_000_000_000_000_000_000);
    let groups: Vec<&str> = (0..4).filter_map(|at| digits.get(at * 5..at * 5 + 5)).collect();
    groups.join(" ")
}

/// Numbers that nobody can guess, from 32 bytes that nobody can guess.
pub(super) struct Chance(ChaCha20Rng);

impl Chance {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        Chance(ChaCha20Rng::from_seed(*seed))
    }

    pub(super) fn rng(&mut self) -> &mut ChaCha20Rng {
        &mut self.0
    }

    /// From `low` up to, and without, `high`, all alike to one part in 2^64. `low` if there is
    /// nothing between.
    pub(super) fn between(&mut self, low: &BigUint, high: &BigUint) -> BigUint {
        if high <= low {
            return low.clone();
        }
        let span = high - low;
        let length = usize::try_from(span.bits().div_ceil(8)).unwrap_or(0).saturating_add(8);
        let mut bytes = Zeroizing::new(vec![0_u8; length]);
        self.0.fill_bytes(&mut bytes);
        low + BigUint::from_bytes_be(&bytes) % span
    }
}

/// A secret of 32 bytes.
pub(super) fn random_secret(seed: &[u8; 32]) -> Vec<u8> {
    let mut bytes = vec![0_u8; 32];
    Chance::new(seed).0.fill_bytes(&mut bytes);
    bytes
}
