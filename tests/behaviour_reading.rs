//! What a person or a peer may expect of the reading of mail, item by item, through the whole
//! program: how a text is found, what becomes of the mail and its attachments, and which of several
//! readings of a message is taken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

mod support;

use cmr_mail::keys::Scheme;
use support::client::{Client, Reply};
use support::daemon::{Config, Daemon, House};
use support::messages::{Mail, in_seconds, message, signed};
use support::sink::Sink;

struct World {
    house: House,
    daemon: Daemon,
    sink: Sink,
}

impl World {
    fn new() -> World {
        let sink = Sink::start();
        let house = House::new(&Config::new().smarthost(sink.address()).trusting_loopback());
        let daemon = house.start();
        World { house, daemon, sink }
    }

    fn send(&self, mail: &[u8]) -> Reply {
        let (mut client, _) = Client::greeted(self.daemon.smtp()).unwrap();
        client.command("EHLO client.test").unwrap();
        client.send("ann@people.test", &["cmr@home.test"], mail).unwrap()
    }

    /// The body of the one message that came of a mail, and the answer to its author.
    fn post(&self, mail: &[u8]) -> (String, String) {
        let reply = self.send(mail);
        assert_eq!(reply.code, 250, "{reply:?}");
        let id = id_in(&reply).unwrap_or_else(|| panic!("{reply:?}"));
        let before = self.sink.count();
        self.house.until_idle();
        let answer = self.sink.mails().last().map(sink_text).unwrap_or_default();
        assert!(self.sink.count() >= before);
        (self.house.show(&id).unwrap()["body_utf8"].as_str().unwrap().to_owned(), answer)
    }
}

fn sink_text(mail: &support::sink::Mail) -> String {
    mail.text().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn id_in(reply: &Reply) -> Option<String> {
    let is_id = |word: &&str| word.len() == 16 && word.bytes().all(|it| it.is_ascii_hexdigit());
    reply.text.split(|c: char| !c.is_ascii_alphanumeric()).find(is_id).map(str::to_owned)
}

fn ann(number: usize) -> Mail {
    Mail::from("ann@people.test")
        .field("Message-ID", &format!("<reading{number}@people.test>"))
        .field("Subject", "Re: Planets")
        .field("MIME-Version", "1.0")
}

#[test]
fn item_18_the_question_is_what_the_author_wrote_anew() {
    let world = World::new();
    let plain = "text/plain; charset=utf-8";
    let alternative = "--e\r\nContent-Type: text/html\r\n\r\n<p>The HTML\r\n--e\r\nContent-Type: text/plain\r\n\r\n\
                       The plain text\r\n--e--\r\n";
    #[rustfmt::skip]
    let table: Vec<(&str, &str, &str, &str)> = vec![
        ("multipart/alternative; boundary=e", alternative, "Planets\n\nThe plain text", ""),
        ("text/html; charset=utf-8", "<p>Which is the <b>largest</b> planet?</p><blockquote>Saturn</blockquote>", "Planets\n\nWhich is the largest planet?", "one quoted line"),
        ("text/plain; format=flowed; delsp=yes", "Which is the larg \r\nest planet?\r\n", "Planets\n\nWhich is the largest planet?", ""),
        ("text/plain; format=flowed", "Which is the \r\nlargest planet?\r\n  stuffed\r\n", "Planets\n\nWhich is the largest planet?\n stuffed", ""),
        (plain, "Is it Jupiter?\r\n-- \r\nAnn\r\nPhone 1\r\n", "Planets\n\nIs it Jupiter?", "signature"),
        (plain, "Is it Saturn?\r\n\r\nOn Sat, Nov 21, 2026 at 7:49 PM Bob <bob@b.test>\r\nwrote:\r\n\r\n> Which is\r\n> the largest?\r\n", "Planets\n\nIs it Saturn?", "4 quoted lines"),
    ];
    for (number, (media, text, wanted, ignored)) in table.into_iter().enumerate() {
        let (body, answer) = world.post(&ann(number).field("Content-Type", media).bytes(text).write());
        assert_eq!(body.trim_end(), wanted, "{media}: {text}");
        assert!(answer.contains(ignored), "{answer}");
    }
    // Nothing is left: nothing is posted, and who wrote it hears why.
    let left = world.house.json(&["status"])["messages"].clone();
    let quotes = ann(99).text("> Which is\n> the largest?\n-- \nAnn\n").write();
    let reply = world.send(&quotes);
    assert!(reply.code == 554 && reply.text.contains("nothing but quoted text"), "{reply:?}");
    assert_eq!(world.house.json(&["status"])["messages"], left);
}

#[test]
fn item_19_the_raw_mail_is_kept_untouched() {
    let world = World::new();
    let mail = ann(0).field("X-Odd", "kept \t as it is").text("New.\n\n> quoted\n-- \nAnn\n").write();
    let (body, _) = world.post(&mail);
    assert_eq!(body.trim_end(), "Planets\n\nNew.");
    let kept: Vec<u8> =
        world.house.read_database().query_row("SELECT raw FROM raw_mail", [], |row| row.get(0)).unwrap();
    assert!(kept.ends_with(&mail), "{}", kept.escape_ascii());
}

#[test]
fn item_20_attachments_that_are_messages_are_taken_and_others_named() {
    let world = World::new();
    let first = message(&[(in_seconds(-60), "mailto:cmr@peer.test")], "whales and dolphins");
    let second = message(&[(in_seconds(-50), "mailto:cmr@peer.test")], b"\x00\xff\r\n.\r\n".to_vec());
    let photo = ("photo.jpg", "base64", &b"\xff\xd8\xff"[..]);
    let (a, b) = (first.write(), second.write());
    let mail =
        Mail::from("cmr@peer.test").attachments(&[("a.cmr", "base64", &a), photo, ("b", "base64", &b)]);
    let reply = world.send(&mail.write());
    assert_eq!(reply.code, 250, "{reply:?}");
    for one in [&first, &second] {
        assert_eq!(world.house.verb(&["show", &one.id().to_string(), "--raw"]), one.write());
    }
    let mut mail = ann(0).attachments(&[photo]);
    mail.fields.dedup_by(|later, first| later.0 == first.0);
    let (body, answer) = world.post(&mail.write());
    assert!(body.contains("See the attachment"), "{body}");
    assert!(answer.contains("photo.jpg"), "{answer}");
}

/// A message as a client sent it: its fields, and the text that became of the body.
struct Sent {
    what: &'static str,
    media: &'static str,
    body: &'static str,
    /// What was done to the whole message.
    change: fn(String) -> String,
}

/// What clients did to messages whose declared length fits in two ways.
const AMBIGUOUS: [Sent; 5] = [
    Sent {
        what: "a mark before From, or LF made CR LF",
        media: "text/plain; charset=utf-8",
        body: "a\r\nFrom b",
        change: |text| text.replace("\r\nFrom", "\r\n>From"),
    },
    Sent {
        what: "the same, and a footer",
        media: "text/plain; charset=utf-8",
        body: "a\r\nFrom b",
        change: |text| text.replace("\r\nFrom", "\r\n>From") + "\r\n-- \r\nA list of people",
    },
    Sent {
        what: "the same, with a space",
        media: "text/plain; charset=utf-8",
        body: "a\r\nFrom b",
        change: |text| text.replace("\r\nFrom", "\r\n From"),
    },
    Sent {
        what: "a soft break where no client breaks lines",
        media: "text/plain; charset=utf-8; format=flowed",
        body: "one two three",
        change: |text| text.replace("one two", "one \r\ntwo"),
    },
    Sent {
        what: "lines of 70 columns, or wrapped there",
        media: "text/plain; charset=utf-8",
        body: "0123456 0123456 0123456 0123456 0123456 0123456 0123456 0123456 012345\r\nFrom b\r\n",
        change: |text| text.replace("\r\nFrom", "\r\n>From"),
    },
];

#[test]
fn a_signature_decides_between_readings_and_without_one_none_is_taken() {
    const KEY: &str = "a secret of sixteen";
    for (number, Sent { what, media, body, change }) in (1..).zip(AMBIGUOUS) {
        let plain = message(&[(in_seconds(-60 * number), "mailto:cmr@peer.test")], body);
        let sent = |wire: Vec<u8>| {
            let text = change(String::from_utf8(wire).unwrap());
            Mail::from("cmr@peer.test")
                .field("MIME-Version", "1.0")
                .field("Content-Type", media)
                .bytes(text)
                .write()
        };
        let world = World::new();
        let reply = world.send(&sent(plain.write()));
        assert!(reply.code == 554 && reply.text.contains("as an attachment"), "{what}: {reply:?}");
        assert_eq!(world.house.json(&["status"])["messages"], 0, "{what}");

        world.house.verb(&["keys", "set", "mailto:cmr@peer.test", "--text", KEY]);
        for scheme in [Scheme::Hmac, Scheme::Sha256] {
            let other = signed(plain.clone(), scheme, "another of sixteen");
            let reply = world.send(&sent(other.write()));
            assert_eq!(reply.code, 550, "{what}: {reply:?}");
        }
        let good = signed(plain.clone(), Scheme::Hmac, KEY);
        let reply = world.send(&sent(good.write()));
        assert_eq!(reply.code, 250, "{what}: {reply:?}");
        assert_eq!(world.house.verb(&["show", &good.id().to_string(), "--raw"]), good.write(), "{what}");
        assert_eq!(world.house.json(&["status"])["messages"], 1, "{what}");
        assert_eq!(world.sink.count(), 0, "{what}");
    }
}
