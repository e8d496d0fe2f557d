//! Two gateways of ours: every transport, unsigned and with every kind of key.

use cmr_mail::keys::Scheme;

use crate::gate::{Gate, ask, free, free_udp, own_ip, post as upload};
use crate::support::daemon::{Config, until};
use crate::support::messages::{in_seconds, message, signed};

struct Two {
    one: Gate,
    two: Gate,
    one_address: String,
    two_address: String,
}

impl Two {
    fn start(transport: &'static str) -> Two {
        let addresses = ["one", "two"].map(|_| match transport {
            "udp" => format!("udp://{}/cmr", free_udp(own_ip())),
            // What the tests' certificate is for.
            "https" => format!("https://{}/cmr", free([127, 0, 0, 1].into())),
            // Connections come from this address.
            "handshake" => format!("http://{}/cmr", free([127, 0, 0, 1].into())),
            _ => format!("http://{}/cmr", free(own_ip())),
        });
        let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");
        let make = |name, own: &String, peer: &String| {
            let gate = Gate::new(name, |config: Config| {
                let config = config.set("routing", "pinned", format!("[{peer:?}]"));
                let place = own.split('/').nth(2).unwrap();
                match transport {
                    "udp" => config.text("udp", "listen", place).text("udp", "address", own),
                    "https" => config
                        .text("http", "listen", place)
                        .text("http", "address", own)
                        .text("http", "ca_file", format!("{tls}/ca.pem"))
                        .set(
                            "http",
                            "tls",
                            format!("{{ certificate = \"{tls}/server.pem\", key = \"{tls}/server.key\" }}"),
                        ),
                    _ => config.text("http", "listen", place).text("http", "address", own).set(
                        "http",
                        "handshake",
                        (transport == "handshake").to_string(),
                    ),
                }
            });
            gate.start();
            gate
        };
        let [one_address, two_address] = addresses;
        Two {
            one: make("one", &one_address, &two_address),
            two: make("two", &two_address, &one_address),
            one_address,
            two_address,
        }
    }

    /// A message each way; how each was proven.
    fn exchange(&self, text: &str) -> [String; 2] {
        let id = self.one.posts(&format!("{text}, from one to two"));
        let there = self.two.proof(&id);
        let id = self.two.posts(&format!("{text}, from two to one"));
        [there, self.one.proof(&id)]
    }

    /// A key by this method, until both sides sign with it.
    fn agree(&self, method: &str) {
        for (gate, peer) in [(&self.one, &self.two_address), (&self.two, &self.one_address)] {
            gate.house.verb(&["keys", "forget", peer]);
        }
        self.one.house.verb(&["keys", "exchange", &self.two_address, "--method", method]);
        until("the key is made", || self.one.key(&self.two_address, "pending"));
        if method == "clear" {
            // Ours counts as soon as the other side has it; there it waits for our first message.
            until("the key is there", || self.two.key(&self.one_address, "pending"));
            until("it was handed over", || {
                let sent = self.one.queued(&self.two_address);
                sent.iter().all(|row| row["state"] == "sent").then_some(())
            });
        }
        let proofs = self.exchange(&format!("Something under a key by {method}"));
        assert_eq!(
            proofs,
            [&self.one_address, &self.two_address]
                .map(|peer| format!("it is signed with the key that we share with {peer}")),
            "{method}"
        );
        let ours = self.one.key(&self.two_address, "current").expect("a current key");
        assert_eq!(self.two.key(&self.one_address, "current"), Some(ours), "{method}");
        for (gate, peer) in [(&self.one, &self.two_address), (&self.two, &self.one_address)] {
            assert_eq!(gate.keys(peer).iter().map(|it| it.1.as_str()).collect::<Vec<_>>(), [method]);
        }
    }

    fn phrases(&self) {
        let phrase = |gate: &Gate, peer: &str| {
            let all = gate.house.json(&["keys", "verify", peer]);
            all[0]["phrase"].as_str().unwrap().to_owned()
        };
        assert_eq!(phrase(&self.one, &self.two_address), phrase(&self.two, &self.one_address));
    }
}

const NOTHING: &str = "nothing shows who wrote it";

#[test]
fn by_http() {
    let two = Two::start("http");
    let id = two.one.posts("The largest planet of all is Jupiter.");
    let got = two.two.gets(&id);
    assert_eq!((got["via"].as_str(), got["authenticity"].as_str()), (Some("http"), Some(NOTHING)));
    assert_eq!(got["hops"][0]["address"], two.one_address.as_str(), "our address on this transport");
    let sent = two.one.queued(&two.two_address);
    assert_eq!((sent[0]["transport"].as_str(), sent[0]["state"].as_str()), (Some("http"), Some("sent")));
    two.agree("rsa");
    two.phrases();
    // A restart of either side cuts nothing off.
    two.one.restart();
    two.exchange("After a restart of one");
    two.two.restart();
    two.exchange("After a restart of two");
    two.agree("dh");
    // A key is not sent where everybody on the way could read it.
    let refused = two.one.house.run(&["keys", "exchange", &two.two_address, "--method", "clear"], b"");
    assert_eq!(refused.status.code(), Some(64));
}

#[test]
fn by_https() {
    let two = Two::start("https");
    assert_eq!(two.exchange("Saturn has rings")[0], NOTHING);
    two.agree("rsa");
    two.agree("dh");
}

#[test]
fn by_udp() {
    let two = Two::start("udp");
    let id = two.one.posts("Mars is red.");
    assert_eq!(two.two.gets(&id)["via"], "udp");
    two.agree("rsa");
    two.agree("dh");
    // What fits into no datagram is given up at once.
    let long: String = (0..12_000).map(|n| format!("word{n} ")).collect();
    let id = two.one.house.json(&["post", &long])["id"].as_str().unwrap().to_owned();
    let failed = until("it is given up", || {
        two.one.queued(&two.two_address).into_iter().find(|row| row["state"] == "failed")
    });
    assert!(failed["last_error"].as_str().unwrap().contains("a datagram takes 65507"), "{failed}");
    assert!(two.two.house.show(&id).is_none());
}

/// A message that is fetched from its sender is known to be the sender's (A4.5).
#[test]
fn by_handshake() {
    let two = Two::start("handshake");
    let [there, back] = two.exchange("Venus is hot");
    assert_eq!(there, format!("the way it came by shows that it is from {}", two.one_address));
    assert_eq!(back, format!("the way it came by shows that it is from {}", two.two_address));
    // With a key messages are signed, and so uploaded.
    two.agree("dh");
}

/// A peer with several addresses is one neighbour where its key shows it, and gets a message once.
#[test]
fn one_key_is_one_neighbour() {
    let [http, udp] = [format!("http://{}/cmr", free(own_ip())), format!("udp://{}/cmr", free_udp(own_ip()))];
    let gate = Gate::new("home", |config: Config| {
        config.set("routing", "pinned", format!("[{http:?}, {udp:?}]")).text("send", "retry_first", "1h")
    });
    gate.start();
    let forwards = |id: &str| {
        until("it is routed", || (gate.house.json(&["status"])["unrouted"] == 0).then_some(()));
        let explained = gate.house.json(&["explain", id]);
        explained["forwards"].as_array().unwrap().len()
    };
    assert_eq!(forwards(&gate.posts("Bees dance to tell where the flowers are.")), 2);
    for address in [&http, &udp] {
        gate.house.verb(&["keys", "set", address, "--text", "one secret for both"]);
    }
    assert_eq!(forwards(&gate.posts("Ships were built of oak, and masts of pine.")), 1);
    gate.house.verb(&["keys", "set", &udp, "--text", "another secret"]);
    assert_eq!(forwards(&gate.posts("The choir rehearses on Thursdays in the old mill.")), 2);
}

/// What was decided for one address of a neighbour and goes to another one is told once, as what it is.
#[test]
fn a_forward_that_goes_by_http_instead_is_told_once() {
    let (udp, http) = (format!("udp://{}/cmr", free_udp(own_ip())), format!("http://{}/cmr", free(own_ip())));
    let gate = Gate::new("home", |config: Config| {
        config.set("routing", "pinned", format!("[{udp:?}, {http:?}]")).text("send", "retry_first", "1h")
    });
    gate.start();
    for address in [&udp, &http] {
        gate.house.verb(&["keys", "set", address, "--hex", &"6b".repeat(32)]);
    }
    // What it has written under that address is what a match is sent to.
    let of_it = message(
        &[(in_seconds(-60), &udp)],
        "The ferry leaves when the tide allows it, and never before noon.",
    );
    let of_it = signed(of_it, Scheme::Hmac, &"k".repeat(32));
    assert!(gate.house.run(&["receive"], &of_it.write()).status.success());
    let id = gate.posts("Does the ferry leave before noon when the tide allows it?");
    until("it is routed", || (gate.house.json(&["status"])["unrouted"] == 0).then_some(()));
    let explained = gate.house.json(&["explain", &id]);
    let forwards = explained["forwards"].as_array().unwrap();
    let told: Vec<_> = forwards.iter().map(|it| (it["to"].as_str(), it["transport"].as_str())).collect();
    assert_eq!(told, [(Some(http.as_str()), Some("http"))], "{explained}");
    assert_ne!(forwards[0]["state"], "gone");
}

/// Who is reached by HTTP as well stands with that address in what goes by mail, once the other side was seen to have the
/// key under it; and no more once what bears it was refused, until the key is set anew.
#[test]
fn the_address_by_http_stands_above_mail_that_is_signed() {
    let (web, post) = (free(own_ip()), free(own_ip()));
    let by_http = format!("http://{web}/cmr");
    let (by_mail, two_address) = ("mailto:cmr@one.test", "mailto:cmr@two.test");
    let one = Gate::new("one", |config| {
        config.text("http", "listen", web.to_string()).text("http", "address", &by_http).smarthost(post).set(
            "routing",
            "pinned",
            format!("[{two_address:?}]"),
        )
    });
    let two = Gate::new("two", |config| {
        config
            .set("smtp", "listen", format!("[\"{post}\"]"))
            .set("smtp", "recipients", "[\"cmr@two.test\"]")
            .set("routing", "pinned", format!("[{by_http:?}]"))
    });
    one.start();
    two.start();
    let secret = "6b".repeat(32);
    one.house.verb(&["keys", "set", two_address, "--hex", &secret]);
    for address in [by_http.as_str(), by_mail] {
        two.house.verb(&["keys", "set", address, "--hex", &secret]);
    }
    let shown = |text: &str| {
        let id = one.posts(text);
        let got = two.gets(&id);
        assert_eq!(got["via"], "smtp");
        let address = got["hops"][0]["address"].as_str().unwrap().to_owned();
        let proof = format!("it is signed with the key that we share with {address}");
        assert_eq!(got["authenticity"], proof.as_str());
        address
    };
    assert_eq!(shown("Herons stand in the shallow water and wait."), by_mail);
    // A copy of what came by another way is nobody's word.
    let copied = message(&[(in_seconds(-60), two_address)], "Saw mills stood at every weir.");
    let copied = signed(copied, Scheme::Hmac, &"k".repeat(32));
    assert!(one.house.run(&["receive"], &copied.write()).status.success());
    let answer = ask(web, &upload("/cmr", "", &copied.write()));
    assert!(answer.status == 200 && answer.text().contains("known"), "{answer:?}");
    assert_eq!(shown("The bridge was widened when the tram came."), by_mail);
    let id = two.posts("Locomotives of that class burned wood before they were rebuilt.");
    assert_eq!(one.proof(&id), format!("it is signed with the key that we share with {two_address}"));
    assert_eq!(shown("A kiln cools for two days before anybody may open it."), by_http);
    one.restart();
    assert_eq!(shown("Cartographers left the interior white."), by_http);
    let phrase = |gate: &Gate, peer: &str| {
        gate.house.json(&["keys", "verify", peer])[0]["phrase"].as_str().unwrap().to_owned()
    };
    assert_eq!(phrase(&one, two_address), phrase(&two, by_mail));
    // The key is gone under that address: what bears it is refused, and what follows bears the other one.
    two.house.verb(&["keys", "forget", &by_http]);
    let id = one.posts("Bees dislike the smell of sweat.");
    until("it is refused", || {
        let row = one.queued(two_address).into_iter().find(|row| row["id"] == id.as_str())?;
        (row["state"] == "failed").then_some(())
    });
    assert_eq!(shown("The choir rehearses on Thursdays in the gymnasium."), by_mail);
    // It is not tried once more, whatever comes.
    two.house.verb(&["keys", "set", &by_http, "--hex", &secret]);
    let id = two.posts("Asphalt softens above fifty degrees.");
    one.gets(&id);
    assert_eq!(shown("Nobody has ever counted the steps to the reservoir."), by_mail);
    one.house.verb(&["keys", "set", two_address, "--hex", &secret]);
    let id = two.posts("Wolves avoid roads in daylight.");
    one.gets(&id);
    assert_eq!(shown("Old typewriters have no key for the digit one."), by_http);
}
