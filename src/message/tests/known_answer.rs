//! The message that the specification itself gives.

use super::{EXAMPLE, read};
use crate::keys::{self, Key, Scheme};

#[test]
fn the_specifications_example_reads_verifies_and_writes_back() {
    let message = read(EXAMPLE);
    assert_eq!(message.write(), EXAMPLE);
    assert_eq!(message.body, b"Hello World!\r\n");
    assert_eq!(message.sender().address.as_bytes(), b"http://alice.com/cmr");
    assert_eq!(message.home_router().as_bytes(), b"udp://192.168.0.102:53/dns-tunnel");
    assert_eq!(message.origin().address.as_bytes(), b"https://www.charlie.com/messages.pl");
    let key = Key::from_text("foo").unwrap();
    let signature = keys::sign(Scheme::Sha256, &key, &message.signed_bytes());
    assert_eq!(signature, message.signature);
    assert_eq!(keys::verify(&key, &message, Scheme::Hmac, false), Ok(Scheme::Sha256));
}
