//! The one-time RSA key of A5.1. Its primes are of crypto-primes (sieve, Miller-Rabin, strong
//! Lucas); the rest is arithmetic.
//!
//! The encryption is A5's: a number to a power, without padding. That holds here because what is
//! encrypted is a random number of the modulus' own size, once.

use crypto_bigint::{BoxedUint, Resize};
use crypto_primes::{Flavor, is_prime, random_prime};
use num_bigint::BigUint;
use zeroize::Zeroizing;

use super::derive::Chance;
use super::{MAX_BITS, MIN_BITS, NumberError};

/// The public exponent that we use.
pub(super) const EXPONENT: u32 = 65_537;

/// Divisors below this are looked for in another's modulus.
const SMALL: u32 = 10_000;

/// The most bits of another's exponent.
const MAX_EXPONENT_BITS: u64 = 256;

/// What a key of ours consists of.
pub(super) struct Private {
    pub(super) n: BigUint,
    d: BigUint,
}

/// A key with a modulus of 2048 bits. Takes some tenths of a second.
pub(super) fn generate(seed: &[u8; 32]) -> Private {
    let mut chance = Chance::new(seed);
    let e = BigUint::from(EXPONENT);
    loop {
        let p = prime(&mut chance);
        let q = prime(&mut chance);
        let n = &p * &q;
        // Two primes of 1024 bits may make 2047; the other implementation wants 2048 exactly. Two
        // that are close together could be found by Fermat's method; by chance they never are.
        if n.bits() != MIN_BITS || p == q {
            continue;
        }
        let one = BigUint::from(1_u8);
        let (p1, q1) = (&p - &one, &q - &one);
        let lambda = &p1 * &q1 / gcd(p1.clone(), q1.clone());
        if let Some(d) = e.modinv(&lambda) {
            return Private { n, d };
        }
    }
}

fn prime(chance: &mut Chance) -> BigUint {
    let bits = 1024;
    let prime: BoxedUint = random_prime(chance.rng(), Flavor::Any, bits);
    BigUint::from_bytes_be(&Zeroizing::new(prime.to_be_bytes()))
}

fn gcd(mut one: BigUint, mut other: BigUint) -> BigUint {
    let zero = BigUint::default();
    while other != zero {
        let rest = &one % &other;
        one = other;
        other = rest;
    }
    one
}

/// The key as bytes: four bytes with the length of n, n, d.
pub(super) fn to_stored(key: &Private) -> Zeroizing<Vec<u8>> {
    let (n, d) = (key.n.to_bytes_be(), Zeroizing::new(key.d.to_bytes_be()));
    let mut stored = Zeroizing::new(Vec::with_capacity(n.len().saturating_add(d.len()).saturating_add(4)));
    stored.extend_from_slice(&u32::try_from(n.len()).unwrap_or(0).to_be_bytes());
    stored.extend_from_slice(&n);
    stored.extend_from_slice(&d);
    stored
}

/// The key that [`to_stored`] wrote.
pub(super) fn from_stored(stored: &[u8]) -> Result<Private, NumberError> {
    let (length, rest) = stored.split_first_chunk::<4>().ok_or(NumberError::Stored)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| NumberError::Stored)?;
    let (n, d) = rest.split_at_checked(length).ok_or(NumberError::Stored)?;
    let (n, d) = (BigUint::from_bytes_be(n), BigUint::from_bytes_be(d));
    if n.bits() < MIN_BITS || n.bits() > MAX_BITS || d >= n {
        return Err(NumberError::Stored);
    }
    Ok(Private { n, d })
}

/// Whether another's public key may be used.
pub(super) fn check(n: &BigUint, e: &BigUint) -> Result<(), NumberError> {
    if !(MIN_BITS..=MAX_BITS).contains(&n.bits()) {
        return Err(NumberError::Size(n.bits()));
    }
    if !e.bit(0) || *e <= BigUint::from(2_u8) || e.bits() > MAX_EXPONENT_BITS {
        return Err(NumberError::Exponent);
    }
    let zero = BigUint::default();
    let has_small = (2..SMALL).any(|divisor| n % divisor == zero);
    if has_small || boxed(n).is_some_and(|n| is_prime(Flavor::Any, &n)) {
        return Err(NumberError::WeakModulus(SMALL));
    }
    Ok(())
}

/// As the library of primes has it.
pub(super) fn boxed(number: &BigUint) -> Option<BoxedUint> {
    let bytes = number.to_bytes_be();
    let bits = u32::try_from(bytes.len().checked_mul(8)?).ok()?;
    let number = BoxedUint::from_be_slice(&bytes, bits).ok()?;
    let whole = bits.next_multiple_of(64);
    Some(number.resize(whole))
}

/// A new secret number under the modulus, and what it is encrypted.
pub(super) fn encrypt_new(n: &BigUint, e: &BigUint, seed: &[u8; 32]) -> (BigUint, BigUint) {
    let low = BigUint::from(1_u8) << (n.bits().saturating_sub(64));
    let secret = Chance::new(seed).between(&low, n);
    let encrypted = secret.modpow(e, n);
    (secret, encrypted)
}

/// What was encrypted for us. A reply that somebody made up without having seen our key comes out
/// as a number like any other: that it is the right one shows when a message verifies under it.
pub(super) fn decrypt(key: &Private, c: &BigUint) -> Result<BigUint, NumberError> {
    let one = BigUint::from(1_u8);
    if *c <= one || *c >= &key.n - &one {
        return Err(NumberError::Ciphertext);
    }
    let secret = c.modpow(&key.d, &key.n);
    // Fewer bits than a key should have: it could be guessed.
    if secret.bits() < 128 { Err(NumberError::Ciphertext) } else { Ok(secret) }
}

#[cfg(test)]
pub(super) fn exponent_inverts(key: &Private) -> bool {
    let text = BigUint::from(123_456_789_u32);
    text.modpow(&BigUint::from(EXPONENT), &key.n).modpow(&key.d, &key.n) == text
}
