//! Key exchange by messages (A5): what their bodies say, the numbers in them, and what follows.
//!
//! It knows bodies, numbers and keys. It must never know how a message travelled, what is stored,
//! the time, or where chance is from: random bytes are arguments.
//!
//! num-bigint neither wipes its numbers nor takes the same time for each: everything secret here is
//! for one exchange, made anew, and forgotten with it. Where a number is stored it is in
//! [`Zeroizing`] bytes.

mod body;
mod derive;
mod dh;
mod rsa;
#[cfg(test)]
mod tests;

use num_bigint::BigUint;
use zeroize::Zeroizing;

pub use body::{Body, BodyError, MAX_DIGITS};
pub use derive::{Derivation, Method, derive, phrase};

use super::Key;
use crate::message::Address;

/// The smallest modulus that is used or accepted, in bits.
pub const MIN_BITS: u64 = 2048;

/// The largest modulus that is accepted, in bits: beyond it, answering costs more than it is worth.
pub const MAX_BITS: u64 = 4096;

/// Why a number in a key exchange is not accepted. What is refused makes no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// The modulus is too small to keep a secret, or too large to be worth the work.
    #[error("the modulus has {0} bits; from {MIN_BITS} to {MAX_BITS} are accepted")]
    Size(u64),
    /// An RSA modulus that anybody can take apart.
    #[error("the RSA modulus is even, prime, or has a factor below {0}: anybody could read the key")]
    WeakModulus(u32),
    /// An RSA exponent that hides nothing or has no inverse.
    #[error("the RSA exponent must be odd, above 2 and of at most 256 bits")]
    Exponent,
    /// The Diffie-Hellman modulus is no safe prime.
    #[error("the Diffie-Hellman modulus is no safe prime (p and (p-1)/2 both prime)")]
    NotSafePrime,
    /// A generator, or a public number, that gives the key away.
    #[error("a Diffie-Hellman number is not between 2 and p-2")]
    OutOfRange,
    /// An RSA reply that is no encrypted key.
    #[error("the reply is not a number that our RSA key can have encrypted for a secret key")]
    Ciphertext,
    /// What was stored of an exchange can't be read.
    #[error("the stored numbers of this exchange are damaged")]
    Stored,
    /// The reply belongs to another kind of exchange.
    #[error("the reply is for another kind of key exchange than the one that was asked for")]
    OtherKind,
}

/// Whose key it is: the exact texts of both addresses as they stand in headers, and how the key
/// comes out of the secret.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// One side.
    pub ours: &'a Address,
    /// The other side.
    pub theirs: &'a Address,
    /// How.
    pub derivation: Derivation,
}

/// A request of ours: what is sent, and what has to be remembered to understand the reply.
#[derive(Debug)]
pub struct Request {
    /// The body that is sent.
    pub body: Body,
    /// Our side's secret, to be stored until the reply comes. For [`Method::Clear`] there is none.
    pub secret: Zeroizing<Vec<u8>>,
    /// With [`Method::Clear`], the key itself.
    pub key: Option<Key>,
}

/// Begins an exchange. `seed`: 32 bytes that nobody can guess, used for nothing else.
///
/// An RSA key takes a good part of a second to make: not on a thread that others wait for.
#[must_use]
pub fn request(method: Method, pair: Pair<'_>, seed: &[u8; 32]) -> Request {
    match method {
        Method::Rsa => {
            let made = rsa::generate(seed);
            let body = Body::RsaRequest { n: made.n.clone(), e: BigUint::from(rsa::EXPONENT) };
            Request { body, secret: rsa::to_stored(&made), key: None }
        }
        Method::Dh => {
            let (secret, public) = dh::begin(seed);
            let body = Body::DhRequest { g: dh::generator(), p: dh::modulus(), a: public };
            Request { body, secret: Zeroizing::new(secret.to_bytes_be()), key: None }
        }
        Method::Clear => {
            let secret = Zeroizing::new(derive::random_secret(seed));
            let body = Body::Clear(secret.clone());
            Request { body, key: derive(Method::Clear, pair, &secret), secret: Zeroizing::default() }
        }
    }
}

/// Answers a request, or takes a Clear key: the body to reply with (none for Clear), and the key
/// that both sides have then. `Ok(None)`: it is no request.
///
/// # Errors
/// Which number is not accepted, and why.
pub fn answer(
    request: &Body,
    pair: Pair<'_>,
    seed: &[u8; 32],
) -> Result<Option<(Option<Body>, Key)>, NumberError> {
    let (reply, method, secret) = match request {
        Body::RsaRequest { n, e } => {
            rsa::check(n, e)?;
            let (secret, c) = rsa::encrypt_new(n, e, seed);
            (Some(Body::RsaReply { c }), Method::Rsa, Zeroizing::new(secret.to_bytes_be()))
        }
        Body::DhRequest { g, p, a } => {
            dh::check(g, p, a)?;
            let (secret, public) = dh::answer(g, p, seed);
            let shared = a.modpow(&secret, p);
            (Some(Body::DhReply { b: public }), Method::Dh, Zeroizing::new(shared.to_bytes_be()))
        }
        Body::Clear(secret) => (None, Method::Clear, secret.clone()),
        Body::RsaReply { .. } | Body::DhReply { .. } => return Ok(None),
    };
    Ok(derive(method, pair, &secret).map(|key| (reply, key)))
}

/// The key that a reply to our request makes, with the secret of [`Request`].
///
/// # Errors
/// Why it makes none.
pub fn learn(reply: &Body, pair: Pair<'_>, secret: &[u8]) -> Result<Key, NumberError> {
    let (method, shared) = match reply {
        Body::RsaReply { c } => (Method::Rsa, rsa::decrypt(&rsa::from_stored(secret)?, c)?),
        Body::DhReply { b } => (Method::Dh, dh::finish(&BigUint::from_bytes_be(secret), b)?),
        _ => return Err(NumberError::OtherKind),
    };
    let shared = Zeroizing::new(shared.to_bytes_be());
    derive(method, pair, &shared).ok_or(NumberError::Ciphertext)
}

/// Of two requests that crossed, whether ours is the one that counts: that of the side whose
/// address is the smaller, byte by byte. Both sides come to the same answer without a word.
#[must_use]
pub fn ours_counts(ours: &Address, theirs: &Address) -> bool {
    ours.as_bytes() < theirs.as_bytes()
}
