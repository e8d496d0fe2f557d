use super::*;
use std::time::Duration;

use crate::keys::exchange::{Derivation, Method};
use crate::keys::{Key, Scheme};
use crate::store::exchanges::{self, HEARD, HEARD_PER_PEER, Kept};
use crate::store::keys::{self, KeyOrigin, KeyState, NewKey};

const DAY: Duration = Duration::from_secs(86_400);
const HOW: (Method, Derivation) = (Method::Rsa, Derivation::Hkdf);

fn pending(
    tx: &rusqlite::Connection,
    peer: &Address,
    secret: &str,
    now: UnixTime,
) -> Result<i64, StoreError> {
    let key = Key::from_text(secret).unwrap();
    let new = NewKey {
        key: &key,
        scheme: Scheme::Hmac,
        derivation: Derivation::Hkdf,
        ours: None,
        origin: KeyOrigin::Rsa,
    };
    keys::add_pending(tx, peer, &new, now)
}

fn house() -> Address {
    address("mailto:cmr@home.test")
}

#[test]
fn what_waits_to_be_worked_on_is_bounded_for_each_and_for_all() {
    let temp = temp();
    temp.store
        .write(|tx| {
            let one = address("mailto:one@example.net");
            for _ in 0..HEARD_PER_PEER {
                assert!(exchanges::heard(tx, (&one, &house()), HOW, b"body", NOON, DAY)?);
            }
            assert!(!exchanges::heard(tx, (&one, &house()), HOW, b"body", NOON, DAY)?);
            for n in HEARD_PER_PEER..HEARD {
                let peer = address(&format!("mailto:peer{n}@example.net"));
                assert!(exchanges::heard(tx, (&peer, &house()), HOW, b"body", NOON, DAY)?);
            }
            assert!(!exchanges::heard(
                tx,
                (&address("mailto:last@example.net"), &house()),
                HOW,
                b"body",
                NOON,
                DAY
            )?);
            Ok(())
        })
        .unwrap();
}

#[test]
fn pending_keys_are_bounded_and_the_one_that_we_sign_with_stays() {
    let temp = temp();
    temp.store
        .write(|tx| {
            let peer = address("mailto:peer@example.net");
            for n in 0..6 {
                assert!(exchanges::heard(tx, (&peer, &house()), HOW, b"request", NOON, DAY)?);
                let heard = exchanges::due(tx, NOON)?.unwrap();
                let key = pending(tx, &peer, &format!("key {n}"), NOON)?;
                assert!(exchanges::replied(tx, heard.id, Some(b"reply"), key)?);
            }
            let left = keys::for_verifying(tx, &peer)?;
            let texts: Vec<&[u8]> = left.iter().map(|key| key.key.as_bytes()).collect();
            assert_eq!(texts, [b"key 5", b"key 4", b"key 3", b"key 2"]);
            // Who replied does not sign with a new key until it was used; who asked does.
            assert!(keys::for_signing(tx, &peer)?.is_none());
            exchanges::want(tx, (&peer, &house()), Method::Rsa, Derivation::Hkdf, NOON, DAY)?;
            let wanted = exchanges::due(tx, NOON)?.unwrap();
            assert!(exchanges::sent(tx, wanted.id, Kept::Secret(b"secret"), b"request", at(60))?);
            let ours = pending(tx, &peer, "ours", NOON)?;
            assert!(exchanges::learnt(tx, wanted.id, ours)?);
            assert_eq!(exchanges::get(tx, wanted.id)?.unwrap().secret, None);
            assert_eq!(keys::for_signing(tx, &peer)?.unwrap().key.as_bytes(), b"ours");
            assert!(keys::current(tx, &peer)?.is_none());
            for n in 0..6 {
                let key = pending(tx, &peer, &format!("later {n}"), NOON)?;
                assert!(exchanges::heard(tx, (&peer, &house()), HOW, b"request", NOON, DAY)?);
                let heard = exchanges::due(tx, NOON)?.unwrap();
                assert!(exchanges::replied(tx, heard.id, None, key)?);
            }
            assert_eq!(keys::for_signing(tx, &peer)?.unwrap().key.as_bytes(), b"ours");
            // However long the peer says nothing: else our messages would be unsigned again.
            let year = NOON.saturating_add(DAY * 365);
            keys::forget_old(tx, year, year)?;
            exchanges::forget_expired(tx, year)?;
            assert_eq!(keys::for_signing(tx, &peer)?.unwrap().key.as_bytes(), b"ours");
            assert_eq!(keys::for_verifying(tx, &peer)?.len(), 1);
            // Once it is used the exchange is over.
            assert!(keys::verified(tx, ours, Scheme::Hmac, year)?);
            assert_eq!(keys::current(tx, &peer)?.unwrap().state, KeyState::Current);
            assert!(exchanges::get(tx, wanted.id)?.is_none());
            Ok(())
        })
        .unwrap();
}

#[test]
fn an_allowance_counts_once_and_not_for_ever() {
    let temp = temp();
    temp.store
        .write(|tx| {
            let peer = address("mailto:peer@example.net");
            assert!(exchanges::allowance(tx, &peer, NOON)?.is_none());
            exchanges::allow(tx, (&peer, &house()), Derivation::Raw, NOON, DAY)?;
            exchanges::allow(tx, (&peer, &house()), Derivation::Raw, NOON, DAY)?;
            assert_eq!(exchanges::allowance(tx, &peer, NOON)?.unwrap().derivation, Derivation::Raw);
            assert!(exchanges::allowance(tx, &peer, NOON.saturating_add(DAY))?.is_none());
            assert!(exchanges::take_allowance(tx, &peer)?);
            assert!(
                !exchanges::take_allowance(tx, &peer)? && exchanges::allowance(tx, &peer, NOON)?.is_none()
            );
            Ok(())
        })
        .unwrap();
}
