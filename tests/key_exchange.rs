//! Two gateways agree on a key by messages (A5), with a postman between them who may lose mail, keep
//! it back, or bring it twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

mod support;

use std::cell::RefCell;
use std::collections::HashSet;

use cmr_mail::keys::exchange::Body;
use cmr_mail::message::{self, Limits, Message};
use serde_json::Value;
use support::client::Client;
use support::daemon::{Config, Daemon, House, until};
use support::messages::{Mail, in_seconds, message};
use support::sink::{self, Sink};

const HOME: &str = "mailto:cmr@home.test";
const OTHER: &str = "mailto:cmr@other.test";

/// One of the two.
struct Side {
    address: &'static str,
    sink: Sink,
    house: House,
    daemon: RefCell<Option<Daemon>>,
    carried: RefCell<HashSet<String>>,
}

impl Side {
    fn new(address: &'static str, peer: &str) -> Side {
        let sink = Sink::start();
        let domain = address.rsplit_once('@').unwrap().1;
        let config = Config::new()
            .text("gateway", "address", address)
            .text("gateway", "hostname", format!("mx.{domain}"))
            .text("gateway", "operator", format!("Olga Operator <olga@{domain}>"))
            .set("routing", "pinned", format!("[{peer:?}]"))
            .smarthost(sink.address());
        let house = House::new(&config.trusting_loopback());
        let daemon = RefCell::new(Some(house.start()));
        Side { address, sink, house, daemon, carried: RefCell::default() }
    }

    fn mailbox(&self) -> &'static str {
        self.address.strip_prefix("mailto:").unwrap()
    }

    /// What has left for a mailbox and was not handed over yet.
    fn outgoing(&self, to: &str) -> Vec<sink::Mail> {
        let mut mails = self.sink.mails();
        mails.retain(|mail| mail.to == [to] && self.carried.borrow_mut().insert(mail.message_id()));
        mails
    }

    fn takes(&self, from: &str, raw: &[u8]) -> (u16, String) {
        let daemon = self.daemon.borrow();
        let (mut client, _) = Client::greeted(daemon.as_ref().unwrap().smtp()).unwrap();
        client.command("EHLO client.test").unwrap();
        let reply = client.send(from, &[self.mailbox()], raw).unwrap();
        (reply.code, reply.text)
    }

    /// A message of the other gateway, made by the test.
    fn takes_message(&self, from: &str, message: &Message) -> (u16, String) {
        let mail = Mail::from(from).attachments(&[("m.cmr", "base64", &message.write())]);
        self.takes(from, &mail.write())
    }

    /// SIGKILL and a new start.
    fn restart(&self) {
        self.daemon.take().unwrap().kill();
        *self.daemon.borrow_mut() = Some(self.house.start());
    }

    /// `keys show` as (state, fingerprint).
    fn keys(&self) -> Vec<(String, String)> {
        let keys = self.house.json(&["keys", "show"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        keys.as_array().unwrap().iter().map(|key| (text(&key["state"]), text(&key["fingerprint"]))).collect()
    }

    fn current(&self) -> Option<String> {
        self.keys().into_iter().find(|(state, _)| state == "current").map(|(_, fingerprint)| fingerprint)
    }

    fn posts(&self, text: &str) {
        let output = self.house.run(&["post", "-"], text.as_bytes());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

struct Two {
    home: Side,
    other: Side,
}

impl Two {
    fn new() -> Two {
        Two { home: Side::new(HOME, OTHER), other: Side::new(OTHER, HOME) }
    }

    /// Hands over what has left, both ways. `false`: there was nothing.
    fn carry(&self) -> bool {
        let mut carried = false;
        for (from, to) in [(&self.home, &self.other), (&self.other, &self.home)] {
            for mail in from.outgoing(to.mailbox()) {
                let (code, text) = to.takes(from.mailbox(), &mail.raw);
                assert_eq!(code, 250, "{} to {}: {text}", from.address, to.address);
                carried = true;
            }
        }
        carried
    }

    /// Carries mail until something is so.
    fn until<T>(&self, what: &str, mut look: impl FnMut(&Two) -> Option<T>) -> T {
        until(what, || {
            self.carry();
            look(self)
        })
    }

    /// Posts on both sides go back and forth until both have one current key, the same.
    fn until_keyed(&self) -> String {
        self.until("the reply comes", |two| {
            (two.home.keys().len().min(two.other.keys().len()) > 0
                && !two
                    .home
                    .keys()
                    .iter()
                    .chain(&two.other.keys())
                    .any(|(state, _)| matches!(state.as_str(), "wanted" | "sent" | "heard")))
            .then_some(())
        });
        let mut number = 0;
        self.until("both sides have one key", |two| {
            number += 1;
            if number < 40 {
                two.home.posts(&format!(
                    "home says that the weather over the sea is fine, for the {number}th time"
                ));
                two.other.posts(&format!(
                    "other hears that the harvest on the hills was good, for the {number}th time"
                ));
            }
            let (home, other) = (two.home.current()?, two.other.current()?);
            (home == other).then_some(home)
        })
    }
}

fn in_mail(mail: &sink::Mail) -> Option<Message> {
    let bytes = mail.parsed().part(0)?.contents().to_vec();
    message::parse(&bytes, &Limits::default()).ok()
}

#[test]
fn a_key_is_asked_for_by_rsa_and_by_diffie_hellman() {
    for method in ["rsa", "dh"] {
        let two = Two::new();
        two.home.house.verb(&["keys", "exchange", OTHER, "--method", method]);
        let first = two.until_keyed();
        let phrase = |side: &Side, peer: &str| {
            let shown = side.house.json(&["keys", "verify", peer]);
            shown.as_array().unwrap().iter().find(|key| key["state"] == "current").unwrap()["phrase"].clone()
        };
        assert_eq!(phrase(&two.home, OTHER), phrase(&two.other, HOME));
        // From now on what is not signed is refused, on both sides.
        let unsigned = message(&[(in_seconds(-9), OTHER)], "nobody signed this");
        let (code, text) = two.home.takes_message("cmr@other.test", &unsigned);
        assert_eq!(code, 550, "{text}");
        // Another key: the other side's operator has to allow it.
        two.home.house.verb(&["keys", "exchange", OTHER, "--method", method]);
        let request = until("the request leaves", || {
            two.home
                .outgoing("cmr@other.test")
                .into_iter()
                .find(|mail| in_mail(mail).is_some_and(|it| Body::parse(&it.body).is_ok()))
        });
        assert!(in_mail(&request).unwrap().signature.is_signed(), "by the old key");
        let (code, text) = two.other.takes(two.home.mailbox(), &request.raw);
        assert!(code == 550 && text.contains("keys allow"), "{code} {text}");
        two.other.house.verb(&["keys", "allow", HOME]);
        assert_eq!(two.other.takes(two.home.mailbox(), &request.raw).0, 250);
        let second = until("both sides have the new key", || {
            two.carry();
            two.home.posts("a new key is as good as an old one");
            two.other.posts("an old key is as good as a new one");
            let (home, other) = (two.home.current()?, two.other.current()?);
            (home == other && home != first).then_some(home)
        });
        assert_ne!(first, second);
        // The secrets of the exchange are gone, and nothing of it is in the pool.
        for side in [&two.home, &two.other] {
            let conn = side.house.read_database();
            let left: i64 = conn
                .query_row("SELECT count(*) FROM exchange WHERE secret IS NOT NULL", [], |row| row.get(0))
                .unwrap();
            assert_eq!(left, 0);
            let found = side.house.json(&["search", "key exchange request"]);
            assert!(!found.to_string().contains("key exchange re"), "{found}");
        }
    }
}

#[test]
fn a_restart_of_either_side_at_any_moment_cuts_nobody_off() {
    let two = Two::new();
    two.home.house.verb(&["keys", "exchange", OTHER]);
    two.home.restart();
    let request = until("the request leaves", || two.home.outgoing("cmr@other.test").pop());
    two.home.restart();
    assert_eq!(two.other.takes(two.home.mailbox(), &request.raw).0, 250);
    two.other.restart();
    let reply = until("the reply leaves", || two.other.outgoing("cmr@home.test").pop());
    two.home.restart();
    two.other.restart();
    assert_eq!(two.home.takes(two.other.mailbox(), &reply.raw).0, 250);
    two.home.restart();
    two.until_keyed();
}

#[test]
fn requests_that_cross_end_in_one_key() {
    let two = Two::new();
    two.home.house.verb(&["keys", "exchange", OTHER, "--method", "dh"]);
    two.other.house.verb(&["keys", "exchange", HOME, "--method", "dh"]);
    // Both have left before either arrives.
    let first = until("home asks", || two.home.outgoing("cmr@other.test").pop());
    let second = until("other asks", || two.other.outgoing("cmr@home.test").pop());
    assert_eq!(two.home.takes(two.other.mailbox(), &second.raw).0, 250);
    assert_eq!(two.other.takes(two.home.mailbox(), &first.raw).0, 250);
    two.until_keyed();
    for side in [&two.home, &two.other] {
        assert_eq!(side.keys().iter().filter(|(state, _)| state != "previous").count(), 1);
    }
}

#[test]
fn a_reply_that_was_lost_or_comes_twice_costs_nothing() {
    let two = Two::new();
    two.home.house.verb(&["keys", "exchange", OTHER]);
    let request = until("the request leaves", || two.home.outgoing("cmr@other.test").pop());
    // The same request twice, as a mail server may deliver it: two replies, the first of which is lost.
    assert_eq!(two.other.takes(two.home.mailbox(), &request.raw).0, 250);
    let lost = until("a reply leaves", || two.other.outgoing("cmr@home.test").pop());
    assert_eq!(two.other.takes(two.home.mailbox(), &request.raw).0, 250);
    let reply = until("another reply leaves", || two.other.outgoing("cmr@home.test").pop());
    assert_ne!(lost.message_id(), reply.message_id());
    assert_eq!(two.home.takes(two.other.mailbox(), &reply.raw).0, 250);
    two.until_keyed();
    // A reply that comes when nobody waits for one changes nothing.
    let (code, text) = two.home.takes(two.other.mailbox(), &reply.raw);
    assert_eq!(code, 550, "{text}");
    assert!(two.home.current().is_some());
}

/// Each with what the other side says, and the number of mails that it causes.
#[test]
fn what_enemies_try() {
    let two = Two::new();
    let home = &two.home;
    let rsa = |n: &str| format!("RSA key exchange request={n},10001.");
    let modulus = "f".repeat(511) + "d";
    let table: Vec<(&str, &str, String, &str)> = vec![
        ("a stranger asks", "mailto:cmr@stranger.test", rsa(&modulus), "nothing shows"),
        ("a key in clear", OTHER, format!("Clear key exchange={}.", "ab".repeat(16)), "in clear"),
        ("a reply to nothing", OTHER, "RSA key exchange reply=abc.".to_owned(), "no key exchange is open"),
        ("a number too large", OTHER, rsa(&"f".repeat(1025)), "larger than"),
        ("capitals", OTHER, rsa("ABC"), "lower-case"),
        ("something after it", OTHER, format!("{} ", rsa("abc")), "a key exchange is one of"),
    ];
    for (what, from, body, says) in table {
        let message = message(&[(in_seconds(-9), from)], body.as_str());
        // Not authenticated as the sender: the mail is of somebody else.
        let (code, text) = home.takes_message("mallory@evil.test", &message);
        assert!(code == 550 || code == 554, "{what}: {code} {text}");
        assert!(text.contains(says), "{what}: {text}");
    }
    // Weak numbers come to nothing, and say why in the log.
    let weak = message(&[(in_seconds(-8), OTHER)], rsa(&("8".to_owned() + &"0".repeat(511))).as_str());
    assert_eq!(home.takes_message("cmr@other.test", &weak).0, 250);
    until("the log says why", || home.house.log().contains("the RSA modulus is even").then_some(()));
    // A flood from a known peer: a handful is answered, the rest is refused.
    let mut taken = 0;
    for number in 0..50 {
        let message =
            message(&[(in_seconds(-7 + number / 20), OTHER)], rsa(&format!("{modulus}{number:02}")).as_str());
        taken += i32::from(home.takes_message("cmr@other.test", &message).0 == 250);
    }
    assert!(taken <= 6, "{taken}");
    home.house.until_idle();
    until("all of it was worked on", || home.keys().iter().all(|(state, _)| state != "heard").then_some(()));
    assert!(home.current().is_none(), "nothing was valid, so nothing is shared");
    let replies = home.outgoing("cmr@other.test").len();
    assert!(replies <= 6, "{replies}");
    assert!(home.sink.mails().iter().all(|mail| mail.to == ["cmr@other.test"]), "nobody else gets anything");
    // And what was valid before stays valid: unsigned messages of the peer are taken.
    let unsigned = message(&[(in_seconds(-2), OTHER)], "as before, without a key");
    assert_eq!(home.takes_message("cmr@other.test", &unsigned).0, 250);
}

/// The other implementation's reader and ours agree on what is a body of A5.
#[test]
fn the_reference_reads_what_we_write() {
    use cmr_core::key_exchange::{KeyExchangeMessage, parse_key_exchange};
    let numbers = [
        "RSA key exchange request=c5,10001.",
        "RSA key exchange reply=1f.",
        "DH key exchange request=b,17,f.",
        "DH key exchange reply=1f.",
        "Clear key exchange=000102030405060708090a0b0c0d0e0f.",
    ];
    for text in numbers {
        let ours = Body::parse(text.as_bytes()).unwrap();
        let theirs: KeyExchangeMessage = parse_key_exchange(&ours.write()).unwrap().unwrap();
        assert_eq!(theirs.render(), text);
        assert_eq!(*ours.write(), text.as_bytes());
    }
}
