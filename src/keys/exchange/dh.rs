//! The numbers of the Diffie-Hellman exchange of A5.2.
//!
//! We ask in one group that everybody can look up: group 14 of RFC 3526. Its usual generator 2 is
//! no primitive root, which A5.2 asks for and the other implementation checks; 11 is. Of others we
//! take any safe prime of a sensible size.

use std::sync::LazyLock;

use crypto_primes::{Flavor, is_prime};
use num_bigint::BigUint;

use super::derive::Chance;
use super::rsa::boxed;
use super::{MAX_BITS, MIN_BITS, NumberError};

/// RFC 3526, section 3: the prime of 2048 bits.
const GROUP_14: &[u8] = b"ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74\
020bbea63b139b22514a08798e3404ddef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6\
f44c42e9a637ed6b0bff5cb6f406b7edee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf05\
98da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804\
f1746c08ca18217c32905e462e36ce3be39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf695581718\
3995497cea956ae515d2261898fa051015728e5a8aacaa68ffffffffffffffff";

static MODULUS: LazyLock<BigUint> = LazyLock::new(|| BigUint::parse_bytes(GROUP_14, 16).unwrap_or_default());

/// The modulus that we ask with.
pub(super) fn modulus() -> BigUint {
    MODULUS.clone()
}

/// The generator that we ask with: a primitive root of [`modulus`].
pub(super) fn generator() -> BigUint {
    BigUint::from(11_u8)
}

/// Our secret and our public number, to ask with.
pub(super) fn begin(seed: &[u8; 32]) -> (BigUint, BigUint) {
    answer(&generator(), &MODULUS, seed)
}

/// Our secret and our public number in a group that was checked.
pub(super) fn answer(g: &BigUint, p: &BigUint, seed: &[u8; 32]) -> (BigUint, BigUint) {
    let mut chance = Chance::new(seed);
    loop {
        let secret = chance.between(&BigUint::from(2_u8), &(p - 2_u8));
        let public = g.modpow(&secret, p);
        if is_inside(&public, p) {
            return (secret, public);
        }
    }
}

/// The shared number, when the reply to our request comes.
pub(super) fn finish(secret: &BigUint, b: &BigUint) -> Result<BigUint, NumberError> {
    if !is_inside(b, &MODULUS) {
        return Err(NumberError::OutOfRange);
    }
    Ok(b.modpow(secret, &MODULUS))
}

/// Whether another's group and public number may be used. The test for a prime takes some
/// hundredths of a second, except for the group that everybody has.
pub(super) fn check(g: &BigUint, p: &BigUint, a: &BigUint) -> Result<(), NumberError> {
    if !(MIN_BITS..=MAX_BITS).contains(&p.bits()) {
        return Err(NumberError::Size(p.bits()));
    }
    if !is_inside(g, p) || !is_inside(a, p) {
        return Err(NumberError::OutOfRange);
    }
    if *p == *MODULUS || boxed(p).is_some_and(|p| is_prime(Flavor::Safe, &p)) {
        Ok(())
    } else {
        Err(NumberError::NotSafePrime)
    }
}

/// Between 2 and p-2: in a group of a safe prime everything there has an order of (p-1)/2 or p-1.
fn is_inside(number: &BigUint, p: &BigUint) -> bool {
    *number > BigUint::from(1_u8) && *p > BigUint::from(2_u8) && *number < p - 1_u8
}
