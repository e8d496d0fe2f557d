//! The UDP listener: what it takes, and that nothing ever comes back.

use std::net::UdpSocket;
use std::time::Duration;

use crate::gate::Gate;
use crate::support::daemon::Config;
use crate::support::messages::{in_seconds, message};
use cmr_mail::wire::datagram;

#[test]
fn nothing_is_answered_to_a_datagram() {
    let gate = Gate::new("home", |config: Config| {
        config.text("udp", "listen", "127.0.0.1:0").text("udp", "service", "cmr")
    });
    gate.start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = format!("udp://{}/x", socket.local_addr().unwrap());
    let good = message(&[(in_seconds(-5), from.as_str())], "A datagram with a message in it.");
    let asks = message(
        &[(in_seconds(-4), from.as_str())],
        // A well-formed request: the reply would go to whoever stands in the header.
        cmr_mail::keys::exchange::request(
            cmr_mail::keys::exchange::Method::Dh,
            cmr_mail::keys::exchange::Pair {
                ours: &from.as_str().try_into().unwrap(),
                theirs: &"mailto:cmr@home.test".try_into().unwrap(),
                derivation: cmr_mail::keys::exchange::Derivation::Hkdf,
            },
            &[7; 32],
        )
        .body
        .write()
        .to_vec(),
    );
    let last = message(&[(in_seconds(-3), from.as_str())], "The last one.");
    let send = |tag: &str, bytes: &[u8]| {
        socket.send_to(&datagram::write(tag, bytes).unwrap(), gate.at("udp")).unwrap();
    };
    let other = message(&[(in_seconds(-2), from.as_str())], "For somebody else.");
    for tag in ["cm", "cmrx", "CMR", ""] {
        send(tag, &other.write());
    }
    for rubbish in [b"".as_slice(), b"0", b"0\r\n", b"GET / HTTP/1.0\r\n\r\n", &[0xff; 60_000]] {
        send("cmr", rubbish);
    }
    send("cmr", &good.write());
    send("cmr", &good.write());
    send("cmr", &asks.write());
    send("cmr", &last.write());
    let got = gate.gets(&good.id().to_string());
    assert_eq!(
        (got["via"].as_str(), got["authenticity"].as_str()),
        (Some("udp"), Some("nothing shows who wrote it"))
    );
    gate.gets(&last.id().to_string());
    assert!(gate.house.show(&other.id().to_string()).is_none());
    assert!(gate.keys(&from).is_empty(), "a stranger's request");
    gate.house.until_idle();
    assert!(gate.queued(&from).is_empty(), "nothing goes to an address that anybody could have written");
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(socket.recv(&mut [0; 10]).is_err(), "something came back");
}
