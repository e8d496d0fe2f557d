//! Tests of keys and signatures.

use super::{Key, KeyError, Scheme, SignatureError, UnknownScheme, sign, sign_message, verify};
use crate::message::{Limits, Message, Signature, parse};

const TEXT: &str = "0\r\n2008/09/01 00:00:53 http://alice.com/cmr\r\n\r\n2\r\nhi";

fn message() -> Message {
    parse(TEXT.as_bytes(), &Limits::default()).unwrap()
}

fn key(text: &str) -> Key {
    Key::from_text(text).unwrap()
}

fn hex(signature: Signature) -> String {
    signature.line().get(1..).unwrap().to_owned()
}

/// RFC 4231, test cases 1, 2, 3, 4, 6 and 7: keys shorter than a block, and longer.
#[test]
fn hmac_gives_the_known_answers() {
    let counting: Vec<u8> = (1..=25).collect();
    let rows: [(Vec<u8>, &[u8], &str); 6] = [
        (vec![0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe".to_vec(), b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (vec![0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (counting, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (vec![0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First", "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        (vec![0xaa; 131], b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.", "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
    ];
    for (bytes, data, digest) in rows {
        let key = Key::from_bytes(bytes).unwrap();
        assert_eq!(hex(sign(Scheme::Hmac, &key, data)), digest);
    }
}

#[test]
fn a_key_of_exactly_one_block_is_not_hashed() {
    // SHA-256 of the 64 bytes as a key gives another digest than the 64 bytes themselves.
    let block = Key::from_bytes([0xaa; 64]).unwrap();
    let longer = Key::from_bytes([0xaa; 65]).unwrap();
    assert_ne!(sign(Scheme::Hmac, &block, b"x"), sign(Scheme::Hmac, &longer, b"x"));
    // HMAC-SHA-256 under 64 bytes of 0xaa, computed with another implementation.
    assert_eq!(
        hex(sign(Scheme::Hmac, &block, b"x")),
        "ce3c639dcb9d8baae5d44c3b8b5e233faab4d1860e07489af5c84f213998bd79"
    );
}

#[test]
fn the_older_scheme_is_sha256_of_key_and_bytes() {
    // SHA-256("abc"), however it is divided.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hex(sign(Scheme::Sha256, &key("a"), b"bc")), digest);
    assert_eq!(hex(sign(Scheme::Sha256, &key("abc"), b"")), digest);
}

#[test]
fn each_scheme_is_found_unless_the_other_is_pinned() {
    use Scheme::{Hmac, Sha256};
    let rows = [
        // made by, preferred, pinned
        (Hmac, Hmac, false, Ok(Hmac)),
        (Hmac, Hmac, true, Ok(Hmac)),
        (Hmac, Sha256, false, Ok(Hmac)),
        (Hmac, Sha256, true, Err(SignatureError::WrongScheme { found: Hmac, pinned: Sha256 })),
        (Sha256, Sha256, false, Ok(Sha256)),
        (Sha256, Sha256, true, Ok(Sha256)),
        (Sha256, Hmac, false, Ok(Sha256)),
        (Sha256, Hmac, true, Err(SignatureError::WrongScheme { found: Sha256, pinned: Hmac })),
    ];
    for (made, preferred, pinned, expected) in rows {
        let signed = sign_message(made, &key("foo"), message());
        assert_eq!(signed.signature, sign(made, &key("foo"), &message().signed_bytes()));
        assert_eq!(verify(&key("foo"), &signed, preferred, pinned), expected);
        assert_eq!(verify(&key("fop"), &signed, preferred, pinned), Err(SignatureError::Wrong));
        assert_eq!(verify(&key("foo"), &message(), preferred, pinned), Err(SignatureError::Missing));
    }
}

#[test]
fn every_bit_of_a_signed_message_counts() {
    for scheme in [Scheme::Hmac, Scheme::Sha256] {
        let bytes = sign_message(scheme, &key("foo"), message()).write();
        let mut tried = 0;
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(message) = parse(&damaged, &Limits::default()) {
                    tried += 1;
                    let verdict = verify(&key("foo"), &message, scheme, false);
                    assert_eq!(verdict, Err(SignatureError::Wrong), "bit {bit} of byte {at}");
                }
            }
        }
        assert!(tried > 200, "only {tried} damaged messages could be read");
    }
}

#[test]
fn keys_are_read_from_digits_and_from_words() {
    for digits in ["666f6f", "666F6F", " 666f6f\n"] {
        assert_eq!(Key::from_hex(digits).unwrap().as_bytes(), b"foo");
    }
    assert_eq!(Key::from_text(" foo\n").unwrap().as_bytes(), b" foo\n");
    assert_eq!(Key::from_hex("00").unwrap().as_bytes(), [0]);
    let rows = [
        ("", KeyError::Empty),
        ("  ", KeyError::Empty),
        ("6", KeyError::Odd(1)),
        ("666f6", KeyError::Odd(5)),
        ("0x66", KeyError::Digit(2)),
        ("66 6f", KeyError::Digit(3)),
        ("foo", KeyError::Digit(2)),
        ("\u{0661}\u{0661}", KeyError::Digit(1)),
    ];
    for (digits, error) in rows {
        assert_eq!(Key::from_hex(digits).unwrap_err(), error, "{digits:?}");
    }
    assert_eq!(Key::from_text("").unwrap_err(), KeyError::Empty);
    assert_eq!(Key::from_bytes(Vec::new()).unwrap_err(), KeyError::Empty);
    assert!(key("fifteen bytes..").is_short());
    assert!(!key("sixteen bytes...").is_short());
}

#[test]
fn nothing_shows_a_key() {
    let secret = key("open sesame");
    let shown = format!("{secret:?} {:#?}", Some(&secret));
    assert!(!shown.contains("sesame") && !shown.contains("111"), "{shown}");
    for error in [Key::from_hex("open sesame").unwrap_err(), Key::from_hex("abcdef0").unwrap_err()] {
        let text = error.to_string();
        assert!(!text.contains("sesame") && !text.contains("abcdef0"), "{text}");
    }
    let print = secret.fingerprint();
    assert_eq!(print.len(), 16);
    assert_eq!(print, key("open sesame").fingerprint());
    assert_ne!(print, key("open sesam").fingerprint());
    // It is no beginning of a plain hash of the key, which others might publish.
    assert!(!hex(sign(Scheme::Sha256, &secret, b"")).starts_with(&print));
}

#[test]
fn schemes_have_names() {
    for scheme in [Scheme::Hmac, Scheme::Sha256] {
        assert_eq!(scheme.to_string().parse(), Ok(scheme));
        assert_eq!(serde_json::to_string(&scheme).unwrap(), format!("\"{scheme}\""));
        assert_eq!(scheme.other().other(), scheme);
    }
    assert_eq!("HMAC".parse::<Scheme>(), Err(UnknownScheme));
    assert_eq!(Scheme::default(), Scheme::Hmac);
}
