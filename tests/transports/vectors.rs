//! The test vectors in `docs/vectors`, which other programs have made.

use std::fs;
use std::path::Path;

use cmr_mail::keys::exchange::{Derivation, Method, Pair, derive};
use cmr_mail::keys::{self, Key, Scheme};
use cmr_mail::message::{self, Address, Limits, Message};
use cmr_mail::wire::{datagram, inquiry, multipart};

fn file(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vectors").join(name)).unwrap()
}

fn parsed(bytes: &[u8]) -> Message {
    message::parse(bytes, &Limits::default()).unwrap()
}

#[test]
fn messages_are_what_the_vectors_say() {
    let unsigned = file("unsigned.cmr");
    let message = parsed(&unsigned);
    assert_eq!(message.write(), unsigned);
    assert_eq!(message.body, b"Hello World!\r\n");
    let readme = String::from_utf8(file("README.md")).unwrap();
    assert!(readme.contains(&format!("its id is `{}`", message.id())));
    let key = Key::from_text("foo").unwrap();
    for (name, scheme) in [("hmac-foo.cmr", Scheme::Hmac), ("sha256-foo.cmr", Scheme::Sha256)] {
        let signed = file(name);
        assert_eq!(keys::verify(&key, &parsed(&signed), Scheme::Hmac, false).ok(), Some(scheme), "{name}");
        assert_eq!(keys::sign_message(scheme, &key, message.clone()).write(), signed, "{name}");
    }
    assert_eq!(datagram::read("cmr", &file("datagram-cmr.udp")), Some(unsigned.as_slice()));
    assert_eq!(datagram::write("cmr", &unsigned).unwrap(), file("datagram-cmr.udp"));
    let kind = Some("multipart/form-data; boundary=boundary");
    assert_eq!(multipart::read(kind, &file("upload.body")).unwrap(), unsigned);
    assert_eq!(inquiry::write(&message.hop_ids()), file("inquiry.txt"));
}

#[test]
fn keys_come_out_of_secrets_as_the_vectors_say() {
    let text = String::from_utf8(file("derivation.tsv")).unwrap();
    let mut number = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [label, one, other, secret, key] = fields[..] else { panic!("{line}") };
        let method =
            [Method::Rsa, Method::Dh, Method::Clear].into_iter().find(|it| it.name() == label).unwrap();
        let secret = Key::from_hex(secret).unwrap();
        // The exchanges hand over the number without leading zeros, a key in clear as it is.
        let bytes = secret.as_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0 && method != Method::Clear).count();
        let (ours, theirs) = (Address::try_from(one).unwrap(), Address::try_from(other).unwrap());
        let pair = Pair { ours: &ours, theirs: &theirs, derivation: Derivation::Hkdf };
        let made = derive(method, pair, &bytes[zeros..]).unwrap();
        assert_eq!(made.as_bytes(), Key::from_hex(key).unwrap().as_bytes(), "{line}");
        number += 1;
    }
    assert_eq!(number, 5);
}
