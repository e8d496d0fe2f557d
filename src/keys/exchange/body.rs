//! The bodies of A5, byte for byte: ASCII, numbers in lower-case hexadecimal, ended by a full stop
//! with nothing after it.

use num_bigint::BigUint;
use zeroize::Zeroizing;

use super::{MAX_BITS, Method};
use crate::keys::{Key, KeyError};

/// The most digits of one number, leading zeros included.
pub const MAX_DIGITS: usize = 2048;

/// Fewest and most bytes of a Clear key.
const CLEAR_BYTES: std::ops::RangeInclusive<usize> = Key::SHORT..=1024;

/// What a body of A5 says.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// `RSA key exchange request=n,e.` (A5.1)
    RsaRequest {
        /// The modulus.
        n: BigUint,
        /// The public exponent.
        e: BigUint,
    },
    /// `RSA key exchange reply=c.` (A5.1)
    RsaReply {
        /// The encrypted key.
        c: BigUint,
    },
    /// `DH key exchange request=g,p,A.` (A5.2)
    DhRequest {
        /// The generator.
        g: BigUint,
        /// The modulus.
        p: BigUint,
        /// The asker's public number.
        a: BigUint,
    },
    /// `DH key exchange reply=B.` (A5.2)
    DhReply {
        /// The answerer's public number.
        b: BigUint,
    },
    /// `Clear key exchange=k.` (A5.3): the secret itself.
    Clear(Zeroizing<Vec<u8>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({})", self.name())
    }
}

/// Why a body that begins like a key exchange is none. Nothing of it is repeated here: there may be
/// a key in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// None of the five forms of A5.
    #[error(
        "a key exchange is one of: RSA key exchange request=n,e. | RSA key exchange reply=c. | DH key exchange \
         request=g,p,A. | DH key exchange reply=B. | Clear key exchange=k."
    )]
    Form,
    /// Another number of numbers.
    #[error("the key exchange has {found} numbers where {wanted} belong")]
    Numbers {
        /// How many there are.
        found: usize,
        /// How many belong there.
        wanted: usize,
    },
    /// Something that is no lower-case hexadecimal number.
    #[error("number {0} of the key exchange is not in lower-case hexadecimal digits")]
    Digits(usize),
    /// A number that nobody needs.
    #[error("number {0} of the key exchange is larger than {MAX_BITS} bits")]
    Large(usize),
    /// The key of a Clear exchange.
    #[error("the key of a Clear exchange must have from 16 to 1024 bytes, two digits each")]
    ClearKey,
}

const RSA_REQUEST: &str = "RSA key exchange request=";
const RSA_REPLY: &str = "RSA key exchange reply=";
const DH_REQUEST: &str = "DH key exchange request=";
const DH_REPLY: &str = "DH key exchange reply=";
const CLEAR: &str = "Clear key exchange=";

impl Body {
    /// Reads a body.
    ///
    /// # Errors
    /// Why it is no key exchange.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let text = std::str::from_utf8(body).map_err(|_| BodyError::Form)?;
        let text = text.strip_suffix('.').ok_or(BodyError::Form)?;
        if let Some(rest) = text.strip_prefix(RSA_REQUEST) {
            let [n, e] = numbers(rest)?;
            Ok(Body::RsaRequest { n, e })
        } else if let Some(rest) = text.strip_prefix(RSA_REPLY) {
            let [c] = numbers(rest)?;
            Ok(Body::RsaReply { c })
        } else if let Some(rest) = text.strip_prefix(DH_REQUEST) {
            let [g, p, a] = numbers(rest)?;
            Ok(Body::DhRequest { g, p, a })
        } else if let Some(rest) = text.strip_prefix(DH_REPLY) {
            let [b] = numbers(rest)?;
            Ok(Body::DhReply { b })
        } else if let Some(digits) = text.strip_prefix(CLEAR) {
            clear(digits).map(Body::Clear)
        } else {
            Err(BodyError::Form)
        }
    }

    /// The bytes of the body.
    #[must_use]
    pub fn write(&self) -> Zeroizing<Vec<u8>> {
        let hex = |number: &BigUint| number.to_str_radix(16);
        let text = match self {
            Body::RsaRequest { n, e } => format!("{RSA_REQUEST}{},{}.", hex(n), hex(e)),
            Body::RsaReply { c } => format!("{RSA_REPLY}{}.", hex(c)),
            Body::DhRequest { g, p, a } => format!("{DH_REQUEST}{},{},{}.", hex(g), hex(p), hex(a)),
            Body::DhReply { b } => format!("{DH_REPLY}{}.", hex(b)),
            Body::Clear(secret) => {
                // Reserved at once: growing would leave copies of the key behind.
                let room = CLEAR.len().saturating_add(secret.len().saturating_mul(2)).saturating_add(1);
                let mut text = String::with_capacity(room);
                text.push_str(CLEAR);
                for byte in secret.iter() {
                    for half in [byte >> 4, byte & 15] {
                        text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
                    }
                }
                text.push('.');
                text
            }
        };
        Zeroizing::new(text.into_bytes())
    }

    /// Which exchange it belongs to.
    #[must_use]
    pub fn method(&self) -> Method {
        match self {
            Body::RsaRequest { .. } | Body::RsaReply { .. } => Method::Rsa,
            Body::DhRequest { .. } | Body::DhReply { .. } => Method::Dh,
            Body::Clear(_) => Method::Clear,
        }
    }

    /// Whether it answers a request of ours.
    #[must_use]
    pub fn is_reply(&self) -> bool {
        matches!(self, Body::RsaReply { .. } | Body::DhReply { .. })
    }

    /// What it is, for a log: no number of it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Body::RsaRequest { .. } => "an RSA key exchange request",
            Body::RsaReply { .. } => "an RSA key exchange reply",
            Body::DhRequest { .. } => "a Diffie-Hellman key exchange request",
            Body::DhReply { .. } => "a Diffie-Hellman key exchange reply",
            Body::Clear(_) => "a Clear key exchange",
        }
    }
}

fn numbers<const N: usize>(text: &str) -> Result<[BigUint; N], BodyError> {
    let found = text.split(',').count();
    if found != N {
        return Err(BodyError::Numbers { found, wanted: N });
    }
    let mut numbers = Vec::with_capacity(N);
    for (place, digits) in text.split(',').enumerate() {
        numbers.push(number(digits, place.saturating_add(1))?);
    }
    numbers.try_into().map_err(|_| BodyError::Form)
}

fn number(digits: &str, place: usize) -> Result<BigUint, BodyError> {
    if digits.is_empty() || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(BodyError::Digits(place));
    }
    if digits.len() > MAX_DIGITS {
        return Err(BodyError::Large(place));
    }
    let number = BigUint::parse_bytes(digits.as_bytes(), 16).ok_or(BodyError::Digits(place))?;
    if number.bits() > MAX_BITS { Err(BodyError::Large(place)) } else { Ok(number) }
}

fn clear(digits: &str) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    if digits.bytes().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_whitespace()) {
        return Err(BodyError::Digits(1));
    }
    if digits.len() > CLEAR_BYTES.end().saturating_mul(2) {
        return Err(BodyError::ClearKey);
    }
    let key = Key::from_hex(digits).map_err(|error| match error {
        KeyError::Digit(_) => BodyError::Digits(1),
        KeyError::Empty | KeyError::Odd(_) => BodyError::ClearKey,
    })?;
    if CLEAR_BYTES.contains(&key.len()) {
        Ok(Zeroizing::new(key.as_bytes().to_vec()))
    } else {
        Err(BodyError::ClearKey)
    }
}
