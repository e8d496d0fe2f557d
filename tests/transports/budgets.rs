//! The budget of a peer: one for all its addresses and transports, and used up by nobody else.

use std::net::UdpSocket;

use crate::gate::{Gate, ask, post};
use crate::support::client::Client;
use crate::support::daemon::{Config, until};
use crate::support::messages::{Mail, in_seconds, message, signed};
use cmr_mail::keys::Scheme;
use cmr_mail::message::Message;
use cmr_mail::wire::datagram;

const WEB: &str = "http://peer.example/cmr";
const MAIL: &str = "mailto:cmr@peer.example";
const UDP: &str = "udp://peer.example:9/cmr";
const SSH: &str = "ssh://cmr@peer.example/";

fn gate() -> Gate {
    let gate = Gate::new("home", |config: Config| {
        config
            .set("smtp", "listen", r#"["127.0.0.1:0"]"#)
            .text("http", "listen", "127.0.0.1:0")
            .text("udp", "listen", "127.0.0.1:0")
            .text("udp", "service", "cmr")
            .text("policy", "peer_at_most", "6/h")
    });
    gate.start();
    gate
}

/// A message of one who holds this key.
fn by(from: &str, key: &str, number: usize) -> Message {
    let plain = message(&[(in_seconds(-100), from)], format!("Message {number} of {from} under {key}."));
    signed(plain, Scheme::Hmac, key)
}

#[test]
fn a_peer_has_one_budget_over_all_transports() {
    let gate = gate();
    for address in [WEB, MAIL, UDP, SSH] {
        gate.house.verb(&["keys", "set", address, "--text", "the peer's own secret"]);
    }
    gate.house.verb(&["keys", "set", "http://other.example/cmr", "--text", "another secret"]);
    let upload = |message: &Message| ask(gate.at("http"), &post("/cmr", "", &message.write()));
    // What is forged in its name is refused, and uses up nothing: under a wrong key, unsigned, and by
    // a stranger whose address looks like it.
    for number in 0..20 {
        assert_eq!(upload(&by(WEB, "guess", number)).status, 403);
        let unsigned = message(&[(in_seconds(-50), WEB)], format!("Forged {number}."));
        assert_eq!(upload(&unsigned).status, 403);
        let stranger = message(&[(in_seconds(-50), "http://peer.example/CMR")], format!("Alike {number}."));
        assert_eq!(upload(&stranger).status, 200);
    }
    let own = |from, number| by(from, "the peer's own secret", number);
    let (first, second) = (own(WEB, 1), own(WEB, 2));
    assert_eq!(upload(&first).status, 200);
    assert_eq!(upload(&second).status, 200);
    // What is known already is no further one.
    assert_eq!(upload(&first).status, 200);
    let datagram = own(UDP, 3);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&datagram::write("cmr", &datagram.write()).unwrap(), gate.at("udp")).unwrap();
    gate.gets(&datagram.id().to_string());
    let by_ssh = own(SSH, 4);
    let receive = ["receive", "--transport", "ssh", "--bound-to", SSH];
    assert!(gate.house.run(&receive, &by_ssh.write()).status.success());
    let mail = |message: &Message| {
        let mail = Mail::from("cmr@peer.example").bytes(message.write()).write();
        let mut client = Client::connect(gate.at("smtp")).unwrap();
        client.send("cmr@peer.example", &["cmr@home.test"], &mail).unwrap()
    };
    assert_eq!(mail(&own(MAIL, 5)).code, 250);
    assert_eq!(upload(&own(WEB, 6)).status, 200);

    // That were six, by four ways.
    let refused = upload(&own(WEB, 7));
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.text().contains("more than 6/h is too fast"), "{}", refused.text());
    let reply = mail(&own(MAIL, 8));
    assert_eq!(reply.code, 450, "{}", reply.text);
    assert_eq!(gate.house.run(&receive, &own(SSH, 9).write()).status.code(), Some(75));
    let late = own(UDP, 10);
    socket.send_to(&datagram::write("cmr", &late.write()).unwrap(), gate.at("udp")).unwrap();
    until("the datagram was judged", || gate.house.log().contains("a datagram was not taken").then_some(()));
    assert!(gate.house.show(&late.id().to_string()).is_none());
    assert_eq!(upload(&first).status, 200, "who never heard the answer hears it now");

    // Nobody else is held back by it.
    assert_eq!(upload(&by("http://other.example/cmr", "another secret", 1)).status, 200);
    let stranger = message(&[(in_seconds(-50), "http://third.example/")], "A stranger's.");
    assert_eq!(upload(&stranger).status, 200);
}

/// What goes to a peer has one budget as well, whichever of its addresses it goes to.
#[test]
fn a_peer_is_sent_one_budget_over_its_transports() {
    let gate = Gate::new("home", |config: Config| {
        config
            .text("http", "listen", "127.0.0.1:0")
            .text("policy", "peer_at_most", "4/h")
            // What the peer brings is not what is counted here.
            .set("routing", "max_hops", "1")
    });
    gate.start();
    // Posted while nobody is known who could get it.
    let topics = [
        "Glaciers grind the rock beneath them to powder and leave long lakes behind when they melt.",
        "Violins are tuned in fifths, and their players learn where the fingers stop the strings.",
        "The beekeeper counts the frames with brood and decides which colony is strong enough to divide.",
        "Paper was made of rags for centuries, until the mills tried to make it out of wood.",
        "Submarine cables carry what continents say, and fishing anchors cut them every week.",
        "Chess engines evaluate positions, and still the endgame tables know some answers better.",
    ];
    for text in topics {
        gate.posts(text);
    }
    gate.until_routed();
    for address in [WEB, MAIL] {
        gate.house.verb(&["keys", "set", address, "--text", "the peer's own secret"]);
    }
    gate.house.verb(&["keys", "set", "http://other.example/cmr", "--text", "another secret"]);
    // Each question has two of the posts as its matches, which go back to where it comes from.
    let asks = |from: &str, key: &str, text: String| {
        let question = signed(message(&[(in_seconds(-100), from)], text), Scheme::Hmac, key);
        assert_eq!(ask(gate.at("http"), &post("/cmr", "", &question.write())).status, 200, "{from}");
        gate.until_routed();
        gate.house.json(&["explain", &question.id().to_string()])["reasons"].to_string()
    };
    let own = "the peer's own secret";
    let sent = || [WEB, MAIL, "http://other.example/cmr"].map(|to| gate.queued(to).len());
    asks(WEB, own, format!("{} {}", topics[0], topics[1]));
    assert_eq!(sent(), [2, 0, 0]);
    asks(MAIL, own, format!("{} {}", topics[2], topics[3]));
    assert_eq!(sent(), [2, 2, 0]);
    assert_eq!(gate.queued(WEB)[0]["transport"], "http");
    assert_eq!(gate.queued(MAIL)[0]["transport"], "mailto");
    // That were four, by two ways.
    let reasons = asks(WEB, own, format!("{} {}", topics[4], topics[5]));
    assert_eq!(sent(), [2, 2, 0]);
    assert!(reasons.contains(&format!("nothing goes to {WEB}: {WEB} was sent 4/h")), "{reasons}");
    // Nobody else is sent less by it.
    asks("http://other.example/cmr", "another secret", format!("{} {}", topics[5], topics[0]));
    let [web, mail, other] = sent();
    assert!((web, mail) == (2, 2) && other >= 2, "{other}");
}

/// The reputation of a peer moves by what it signed, by whatever way that came, and by nothing else;
/// where it is bad, most of its budget is gone.
#[test]
fn reputation_hangs_on_what_a_peer_signed() {
    let gate = Gate::new("home", |config: Config| {
        config.text("http", "listen", "127.0.0.1:0").text("policy", "peer_at_most", "30/h")
    });
    gate.start();
    for address in [WEB, "http://other.example/cmr"] {
        gate.house.verb(&["keys", "set", address, "--text", address]);
    }
    let reputation = |address: &str| {
        gate.until_routed();
        let all = gate.house.json(&["peers"]);
        let of = all.as_array().unwrap().iter().find(|peer| peer["address"] == address).cloned();
        of.and_then(|peer| peer["reputation"].as_f64()).unwrap_or(0.0)
    };
    // Random bytes, which are worth nothing to anybody.
    let junk = |number: u64| {
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let bytes = (0..600).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        });
        bytes.collect::<Vec<u8>>()
    };
    let upload = |message: &Message| ask(gate.at("http"), &post("/cmr", "", &message.write())).status;
    for number in 0..20 {
        let forged = message(&[(in_seconds(-90), WEB)], junk(number));
        assert_eq!(upload(&forged), 403);
        assert_eq!(upload(&signed(forged, Scheme::Hmac, "guess")), 403);
    }
    assert!(reputation(WEB).abs() < f64::EPSILON, "others' junk");
    let mut taken = 0;
    while upload(&signed(message(&[(in_seconds(-90), WEB)], junk(1000 + taken)), Scheme::Hmac, WEB)) == 200 {
        taken += 1;
        if taken % 5 == 0 {
            println!("{taken}: {}", reputation(WEB));
        }
        assert!(taken < 30, "the whole budget");
    }
    let bad = reputation(WEB);
    println!("after {taken} of 30: {bad}");
    assert!(bad <= -0.5 && taken < 30, "{bad} after {taken}");
    assert!(reputation("http://other.example/cmr").abs() < f64::EPSILON, "the other one has done nothing");
    let good = message(&[(in_seconds(-90), "http://other.example/cmr")], "Jupiter is the largest planet.");
    assert_eq!(upload(&signed(good, Scheme::Hmac, "http://other.example/cmr")), 200);
}
