use super::*;
use num_bigint::BigUint;

const ALICE: &str = "mailto:cmr@alice.example";
const BOB: &str = "mailto:cmr@bob.example";

fn address(text: &str) -> Address {
    Address::try_from(text).unwrap()
}

fn pair<'a>(ours: &'a Address, theirs: &'a Address, derivation: Derivation) -> Pair<'a> {
    Pair { ours, theirs, derivation }
}

#[test]
fn both_sides_come_to_one_key_by_every_method_and_derivation() {
    let (alice, bob) = (address(ALICE), address(BOB));
    for derivation in [Derivation::Hkdf, Derivation::Raw] {
        for method in [Method::Rsa, Method::Dh, Method::Clear] {
            let asked = request(method, pair(&alice, &bob, derivation), &[1; 32]);
            let wire = asked.body.write();
            let heard = Body::parse(&wire).unwrap();
            assert_eq!(heard.method(), method);
            let theirs = pair(&bob, &alice, derivation);
            let (reply, key) = answer(&heard, theirs, &[2; 32]).unwrap().unwrap();
            let learnt = match reply {
                Some(reply) => {
                    assert!(reply.is_reply());
                    let reply = Body::parse(&reply.write()).unwrap();
                    assert!(answer(&reply, theirs, &[3; 32]).unwrap().is_none(), "a reply is no request");
                    learn(&reply, pair(&alice, &bob, derivation), &asked.secret).unwrap()
                }
                None => asked.key.unwrap(),
            };
            assert_eq!(learnt.as_bytes(), key.as_bytes(), "{method:?} {derivation:?}");
            assert_eq!(key.len() == 32, derivation == Derivation::Hkdf || method == Method::Clear);
            assert_eq!(phrase(&alice, &bob, &key), phrase(&bob, &alice, &learnt));
        }
    }
}

#[test]
fn our_group_is_what_it_is_said_to_be() {
    let p = dh::modulus();
    assert_eq!(p.bits(), 2048);
    assert!(crypto_primes::is_prime(crypto_primes::Flavor::Safe, &rsa::boxed(&p).unwrap()));
    let half: BigUint = (&p - 1_u8) >> 1_u8;
    assert_eq!(dh::generator().modpow(&half, &p), &p - 1_u8, "11 is a primitive root");
    assert_eq!(BigUint::from(2_u8).modpow(&half, &p), BigUint::from(1_u8), "2 is not");
}

#[test]
fn an_rsa_key_is_a_key_and_survives_storage() {
    let key = rsa::generate(&[7; 32]);
    assert_eq!(key.n.bits(), 2048);
    assert!(rsa::exponent_inverts(&key));
    rsa::check(&key.n, &BigUint::from(rsa::EXPONENT)).unwrap();
    let stored = rsa::to_stored(&key);
    assert!(rsa::exponent_inverts(&rsa::from_stored(&stored).unwrap()));
    for damaged in [&stored[..0], &stored[..3], &stored[..100], &[0_u8; 600][..], &[255_u8; 600][..]] {
        assert_eq!(rsa::from_stored(damaged).err(), Some(NumberError::Stored));
    }
    assert!(rsa::generate(&[8; 32]).n != key.n);
}

#[test]
fn weak_numbers_are_refused_with_the_reason() {
    let key = rsa::generate(&[9; 32]);
    let e = BigUint::from(rsa::EXPONENT);
    let one = BigUint::from(1_u8);
    let p = dh::modulus();
    let table: [(&str, BigUint, BigUint, NumberError); 7] = [
        ("small", &key.n >> 1_u8, e.clone(), NumberError::Size(2047)),
        ("large", &key.n << 2100_u32, e.clone(), NumberError::Size(4148)),
        ("even", &key.n - &one, e.clone(), NumberError::WeakModulus(10_000)),
        ("a small factor", (&key.n * 9973_u32) << 0_u8, e.clone(), NumberError::WeakModulus(10_000)),
        ("prime", p.clone(), e.clone(), NumberError::WeakModulus(10_000)),
        ("exponent 1", key.n.clone(), one.clone(), NumberError::Exponent),
        ("even exponent", key.n.clone(), BigUint::from(4_u8), NumberError::Exponent),
    ];
    for (name, n, e, why) in table {
        assert_eq!(rsa::check(&n, &e), Err(why), "{name}");
    }
    for c in [BigUint::default(), one.clone(), &key.n - &one, key.n.clone()] {
        assert_eq!(rsa::decrypt(&key, &c), Err(NumberError::Ciphertext));
    }
    let short = BigUint::from(77_u8).modpow(&e, &key.n);
    assert_eq!(rsa::decrypt(&key, &short), Err(NumberError::Ciphertext), "a key that can be guessed");
    let g = dh::generator();
    let a = BigUint::from(5_u8);
    let table: [(&str, BigUint, BigUint, BigUint, NumberError); 7] = [
        ("small", g.clone(), &p >> 1_u8, a.clone(), NumberError::Size(2047)),
        ("g 1", one.clone(), p.clone(), a.clone(), NumberError::OutOfRange),
        ("g p-1", &p - &one, p.clone(), a.clone(), NumberError::OutOfRange),
        ("a 0", g.clone(), p.clone(), BigUint::default(), NumberError::OutOfRange),
        ("a p-1", g.clone(), p.clone(), &p - &one, NumberError::OutOfRange),
        ("composite", g.clone(), key.n.clone(), a.clone(), NumberError::NotSafePrime),
        ("even", g.clone(), &p + &one, a.clone(), NumberError::NotSafePrime),
    ];
    for (name, g, p, a, why) in table {
        assert_eq!(dh::check(&g, &p, &a), Err(why), "{name}");
    }
    dh::check(&g, &p, &a).unwrap();
}

#[test]
fn bodies_are_read_to_the_letter() {
    let table = [
        ("RSA key exchange request=c5,10001.", None),
        ("RSA key exchange reply=00c5.", None),
        ("DH key exchange request=b,17,f.", None),
        ("DH key exchange reply=1f.", None),
        ("Clear key exchange=000102030405060708090a0b0c0d0e0f.", None),
        ("", Some(BodyError::Form)),
        ("RSA key exchange request=c5,10001", Some(BodyError::Form)),
        ("RSA key exchange request=c5,10001.\r\n", Some(BodyError::Form)),
        ("RSA key exchange=c5.", Some(BodyError::Form)),
        ("RSA key exchange request=c5.", Some(BodyError::Numbers { found: 1, wanted: 2 })),
        ("DH key exchange request=1,2,3,4.", Some(BodyError::Numbers { found: 4, wanted: 3 })),
        ("RSA key exchange request=C5,10001.", Some(BodyError::Digits(1))),
        ("RSA key exchange request=c5,.", Some(BodyError::Digits(2))),
        ("RSA key exchange request=c5,+1.", Some(BodyError::Digits(2))),
        ("RSA key exchange request=c5, 1.", Some(BodyError::Digits(2))),
        ("Clear key exchange=666f6f.", Some(BodyError::ClearKey)),
        ("Clear key exchange=.", Some(BodyError::ClearKey)),
        ("Clear key exchange=0.", Some(BodyError::ClearKey)),
        ("Clear key exchange=FF0102030405060708090a0b0c0d0e0f.", Some(BodyError::Digits(1))),
    ];
    for (text, error) in table {
        assert_eq!(Body::parse(text.as_bytes()).err(), error, "{text}");
    }
    let long = |digits: usize| format!("RSA key exchange reply={}.", "f".repeat(digits));
    assert!(Body::parse(long(1024).as_bytes()).is_ok());
    assert_eq!(Body::parse(long(1025).as_bytes()), Err(BodyError::Large(1)));
    assert_eq!(Body::parse(long(MAX_DIGITS + 1).as_bytes()), Err(BodyError::Large(1)));
    let zeros = format!("RSA key exchange reply={}1.", "0".repeat(MAX_DIGITS - 1));
    assert!(Body::parse(zeros.as_bytes()).is_ok(), "leading zeros are only digits");
    let keys = |bytes: usize| format!("Clear key exchange={}.", "ab".repeat(bytes));
    assert!(Body::parse(keys(1024).as_bytes()).is_ok());
    assert_eq!(Body::parse(keys(1025).as_bytes()), Err(BodyError::ClearKey));
}

#[test]
fn a_clear_key_is_not_printed() {
    let body = Body::parse(b"Clear key exchange=ababababababababababababababab00.").unwrap();
    assert!(!format!("{body:?}").contains("ab00"));
}

#[test]
fn of_two_crossing_requests_the_same_one_counts_on_both_sides() {
    let (alice, bob) = (address(ALICE), address(BOB));
    assert!(ours_counts(&alice, &bob));
    assert!(!ours_counts(&bob, &alice));
}

/// Worked out by another implementation of RFC 5869 (Python's hmac), over the text that
/// the other CMR implementation uses.
#[test]
fn the_derivation_is_the_published_one() {
    let (alice, bob) = (address(ALICE), address(BOB));
    let key = derive(Method::Dh, pair(&bob, &alice, Derivation::Hkdf), b"secret").unwrap();
    let hex: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "fcfdb18e28539bbeaf6861f61c85edf3a0cf6e5b4d9bee1af5d221440e04e7b0");
    assert!(derive(Method::Dh, pair(&bob, &alice, Derivation::Hkdf), b"").is_none());
}

proptest::proptest! {
    #[test]
    fn no_body_panics(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = Body::parse(&body);
        let mut like = b"DH key exchange request=".to_vec();
        like.extend_from_slice(&body);
        let _ = Body::parse(&like);
    }

    #[test]
    fn what_is_written_is_read(a in 0_u128.., b in 0_u128..) {
        let body = Body::DhRequest { g: b.into(), p: a.into(), a: (a ^ b).into() };
        proptest::prop_assert_eq!(Body::parse(&body.write()).unwrap(), body);
    }
}
