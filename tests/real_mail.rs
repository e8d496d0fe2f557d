//! Mail programs of others deliver to the running daemon, and what it says, stores, answers and
//! sends on is what was promised.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

mod support;

use std::collections::BTreeSet;

use cmr_core::protocol as theirs;
use cmr_mail::keys::Scheme;
use cmr_mail::message::{Address, Message};
use support::daemon::{Config, Daemon, House};
use support::messages::{Mail, in_seconds, message, signed};
use support::programs::Program;
use support::sink::Sink;

const PEER: &str = "mailto:cmr@peer.test";
const OLD_PEER: &str = "mailto:cmr@old.test";
const KEY: &str = "a secret that only two of them share";
/// Addresses that share one key with us are one neighbour, who gets one copy.
const OTHER_KEY: &str = "a secret that only two others share";

/// What there has to be after a mail was answered.
enum Then {
    /// Nothing new.
    Nothing,
    /// Exactly one new message: of a person.
    Post { scope: &'static str, body: String },
    /// Exactly these new messages.
    Messages(Vec<Message>),
}

/// A mail, the reply that it has to get, and what it leaves behind.
struct Row {
    name: &'static str,
    from: &'static str,
    to: &'static str,
    mail: Vec<u8>,
    /// The code, and what the text begins with.
    reply: (u16, &'static str),
    /// A word that stands in the text.
    says: &'static str,
    then: Then,
    asides: i64,
}

impl Row {
    fn new(name: &'static str, mail: Mail, reply: (u16, &'static str), then: Then) -> Row {
        Row {
            name,
            from: "alice@people.test",
            to: "cmr@home.test",
            mail: mail.write(),
            reply,
            says: "",
            then,
            asides: 0,
        }
    }

    fn from(mut self, from: &'static str) -> Row {
        self.from = from;
        self
    }

    fn to(mut self, to: &'static str) -> Row {
        self.to = to;
        self
    }

    fn says(mut self, word: &'static str) -> Row {
        self.says = word;
        self
    }

    fn asides(mut self, number: i64) -> Row {
        self.asides = number;
        self
    }
}

const STORED: (u16, &str) = (250, "2.0.0 ");
const MALFORMED: (u16, &str) = (554, "5.6.0 ");
const NOT_ALLOWED: (u16, &str) = (550, "5.7.1 ");
const WRONG_SIGNATURE: (u16, &str) = (550, "5.7.7 ");

/// The ids of all messages, in the order of their arrival.
fn ids(house: &House) -> Vec<String> {
    let conn = house.read_database();
    let mut select = conn.prepare("SELECT lower(hex(public_id)) FROM message ORDER BY seq").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Submits the mail of each row by a program of others and looks at what it left behind.
fn play(house: &House, daemon: &Daemon, program: Program, rows: Vec<Row>) {
    for row in rows {
        let name = format!("{} by {}", row.name, program.name());
        let before = ids(house);
        let asides = house.json(&["status"])["asides"].as_i64().unwrap();
        let reply = program.submit(daemon.smtp(), row.from, row.to, &row.mail);
        let (code, begin) = row.reply;
        assert!(
            reply.code == code && reply.text.starts_with(begin) && reply.text.contains(row.says),
            "{name}: {reply:?} instead of {code} {begin}... {:?}",
            row.says
        );
        let after = ids(house);
        let new: Vec<&String> = after.get(before.len()..).unwrap().iter().collect();
        let status = house.json(&["status"]);
        assert_eq!(status["messages"], after.len(), "{name}");
        assert_eq!(status["asides"].as_i64().unwrap() - asides, row.asides, "{name}: {status}");
        match &row.then {
            Then::Nothing => assert!(new.is_empty(), "{name} left {new:?}"),
            Then::Post { scope, body } => {
                let [id] = new[..] else { panic!("{name} left {new:?}") };
                let shown = house.show(id).unwrap();
                assert_eq!(shown["scope"], *scope, "{name}: {shown}");
                assert_eq!(shown["body_utf8"], body.as_str(), "{name}: {shown}");
                assert_eq!(shown["via"], "smtp", "{name}: {shown}");
                assert_eq!(shown["hops"].as_array().unwrap().len(), 1, "{name}: {shown}");
                // Nobody's address is published (but the author is known here, by another name).
                let origin = shown["hops"][0]["address"].as_str().unwrap();
                assert!(origin.starts_with("mailto:cmr+alice."), "{name}: {shown}");
                assert!(!origin.contains("people.test"), "{name}: {shown}");
                until_routed(house, id);
            }
            Then::Messages(expected) => {
                let wanted: Vec<String> = expected.iter().map(|message| message.id().to_string()).collect();
                assert_eq!(new, wanted.iter().collect::<Vec<_>>(), "{name}");
                for message in expected {
                    let id = message.id().to_string();
                    let shown = house.show(&id).unwrap();
                    assert_eq!(shown["scope"], "public", "{name}: {shown}");
                    assert_eq!(shown["bytes"], message.body.len(), "{name}: {shown}");
                    let hops: Vec<(&str, &str)> = shown["hops"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|hop| (hop["time"].as_str().unwrap(), hop["address"].as_str().unwrap()))
                        .collect();
                    let sent: Vec<(&str, &str)> = message
                        .hops
                        .iter()
                        .map(|hop| (hop.time.as_str(), hop.address.as_str().unwrap()))
                        .collect();
                    assert_eq!(hops, sent, "{name}: {shown}");
                    assert_eq!(house.verb(&["show", &id, "--raw"]), message.write(), "{name}");
                    until_routed(house, &id);
                }
            }
        }
    }
}

/// Every message that is taken is decided on, and the decision can be asked for.
fn until_routed(house: &House, id: &str) {
    house
        .until("the message is routed", |house| (house.show(id).unwrap()["state"] == "routed").then_some(()));
    let explained = house.json(&["explain", id]);
    assert_eq!(explained["id"], id);
    assert!(!explained["verdict"].as_str().unwrap().is_empty(), "{explained}");
    assert!(!explained["reasons"].as_array().unwrap().is_empty(), "{explained}");
}

/// A message of the peer, seconds old, whose text nobody else has.
fn from_peer(peer: &str, age: i64, body: impl Into<Vec<u8>>) -> Message {
    // Of somebody who is at home at the peer.
    let author =
        Address::try_from(peer).unwrap().host().map(|host| format!("http://{host}/someone")).unwrap();
    message(&[(in_seconds(-age), peer), (in_seconds(-age - 5), author.as_str())], body)
}

/// Mail of a peer with this message attached.
fn attached(message: &Message) -> Mail {
    Mail::from("cmr@peer.test").attachments(&[("message.cmr", "base64", &message.write())])
}

/// The table: everything that a mail may hold, in a house that believes its clients.
fn rows(by: &str) -> Vec<Row> {
    let tell = |text: &str| format!("{text}, says {by}");
    let alice = || Mail::from("Alice Example <alice@people.test>");
    let mut rows = Vec::new();

    let question = tell("Which planet is the largest one");
    rows.push(Row::new(
        "a plain question",
        alice()
            .field("Message-ID", &format!("<question-{by}@people.test>"))
            .field("Subject", "Planets")
            .text(&format!("{question}?\n")),
        STORED,
        Then::Post { scope: "public", body: format!("Planets\n\n{question}?") },
    ));
    // The same mail again, after a lost reply for example.
    let again = rows.last().unwrap().mail.clone();
    rows.push(Row { mail: again, ..Row::new("the question again", alice(), STORED, Then::Nothing) });

    let lf = from_peer("mailto:lf@peer.test", 100, tell("Lines that end\nwith LF alone\n"));
    rows.push(Row::new(
        "a message as the body, LF",
        Mail::from("lf@peer.test")
            .bytes(String::from_utf8(lf.write()).unwrap().replace("\r\n", "\n").replace('\n', "\r\n")),
        STORED,
        Then::Messages(vec![lf]),
    ));
    let crlf = from_peer("mailto:crlf@peer.test", 100, tell("Lines that end\r\nwith CR and LF\r\n"));
    rows.push(Row::new(
        "a message as the body, CRLF",
        Mail::from("crlf@peer.test").bytes(crlf.write()),
        STORED,
        Then::Messages(vec![crlf.clone()]),
    ));
    rows.push(Row::new("a duplicate", attached(&crlf), STORED, Then::Nothing));
    let mut other = crlf;
    other.body = tell("Other words under the same id").into_bytes();
    rows.push(
        Row::new("a conflicting message", attached(&other), STORED, Then::Nothing)
            .says("kept aside")
            .asides(1),
    );

    let bytes: Vec<u8> = (0..=255).chain(by.bytes()).collect();
    for (number, (name, encoding)) in
        [("a base64 attachment", "base64"), ("a quoted-printable attachment", "quoted-printable")]
            .into_iter()
            .enumerate()
    {
        let any = from_peer("mailto:bytes@peer.test", 90 - i64::try_from(number).unwrap(), bytes.clone());
        rows.push(Row::new(
            name,
            Mail::from("bytes@peer.test").attachments(&[("any.cmr", encoding, &any.write())]),
            STORED,
            Then::Messages(vec![any]),
        ));
    }

    let good = from_peer("mailto:several@peer.test", 80, tell("The good one"));
    let better = from_peer("mailto:several@peer.test", 79, tell("Another good one"));
    rows.push(Row::new(
        "two messages in a mail",
        Mail::from("several@peer.test").attachments(&[
            ("1.cmr", "base64", &good.write()),
            ("2.cmr", "quoted-printable", &better.write()),
        ]),
        STORED,
        Then::Messages(vec![good, better]),
    ));
    let good = from_peer("mailto:several@peer.test", 70, tell("The good one beside a bad one"));
    let wire = from_peer("mailto:several@peer.test", 69, tell("The bad one")).write();
    let cut = &wire[..wire.len() - 1];
    rows.push(
        Row::new(
            "a good one and a bad one",
            Mail::from("several@peer.test")
                .attachments(&[("bad.cmr", "base64", cut), ("good.cmr", "base64", &good.write())]),
            STORED,
            Then::Messages(vec![good]),
        )
        .asides(1),
    );
    rows.push(Row::new(
        "a bad one alone",
        Mail::from("several@peer.test").attachments(&[("bad.cmr", "base64", cut)]),
        MALFORMED,
        Then::Nothing,
    ));
    let mut ascending = from_peer("mailto:several@peer.test", 60, tell("Times that go the wrong way"));
    ascending.hops = message(
        &[(in_seconds(-65), "mailto:several@peer.test"), (in_seconds(-60), "http://origin.test/cmr")],
        "",
    )
    .hops;
    rows.push(
        Row::new("times that ascend", attached(&ascending), MALFORMED, Then::Nothing).says("header line 2"),
    );

    for (scheme, peer, age) in [(Scheme::Hmac, PEER, 50), (Scheme::Sha256, OLD_PEER, 50)] {
        let name = if scheme == Scheme::Hmac { "signed, hmac" } else { "signed, sha256" };
        let good = signed(from_peer(peer, age, tell("This is signed")), scheme, KEY);
        rows.push(Row::new(name, attached(&good), STORED, Then::Messages(vec![good])));
        let mut forged = signed(from_peer(peer, age - 1, tell("This is forged")), scheme, KEY);
        forged.body[0] ^= 1;
        rows.push(Row::new("a forged one", attached(&forged), WRONG_SIGNATURE, Then::Nothing));
        let other_key = signed(from_peer(peer, age - 2, tell("Another key")), scheme, "another secret");
        rows.push(Row::new("signed by somebody else", attached(&other_key), WRONG_SIGNATURE, Then::Nothing));
        let unsigned = from_peer(peer, age - 3, tell("Not signed at all"));
        rows.push(Row::new(
            "unsigned, of a keyed neighbour",
            attached(&unsigned),
            WRONG_SIGNATURE,
            Then::Nothing,
        ));
    }
    let stranger = signed(from_peer("mailto:cmr@stranger.test", 40, tell("Who is this")), Scheme::Hmac, KEY);
    rows.push(Row::new("signed by a stranger", attached(&stranger), WRONG_SIGNATURE, Then::Nothing));

    let future = message(&[(in_seconds(3_600), "mailto:future@peer.test")], tell("Not yet written"));
    rows.push(
        Row::new("an hour ahead", attached(&future), MALFORMED, Then::Nothing).says("ahead of our clock"),
    );

    for (name, body, says) in [
        ("an RSA key request", "RSA key exchange request=c5,3.", "key exchange"),
        ("a DH key request", "DH key exchange request=5,17,8.", "key exchange"),
        ("a key in clear", "Clear key exchange=0123456789abcdef0123456789abcdef.", "a key in clear"),
    ] {
        let exchange = from_peer("mailto:keys@peer.test", 30, body);
        rows.push(Row::new(name, attached(&exchange), NOT_ALLOWED, Then::Nothing).says(says));
    }

    let ours = from_peer("mailto:circle@peer.test", 20, tell("Round and round"));
    rows.push(Row::new(
        "a mail of our own that comes back",
        attached(&ours).field("X-CMR-Loop", "mx.home.test"),
        STORED,
        Then::Nothing,
    ));
    let through_us = message(
        &[(in_seconds(-20), "mailto:circle@peer.test"), (in_seconds(-21), "mailto:cmr@home.test")],
        tell("Our own address in the header"),
    );
    rows.push(
        Row::new("a message that was here before", attached(&through_us), MALFORMED, Then::Nothing)
            .says("own"),
    );

    let report = Mail::from("MAILER-DAEMON@people.test")
        .field("Auto-Submitted", "auto-replied")
        .field("MIME-Version", "1.0")
        .field("Content-Type", "multipart/report; report-type=delivery-status; boundary=\"=_r\"")
        .bytes(
            "--=_r\r\nContent-Type: text/plain\r\n\r\nNot delivered.\r\n--=_r\r\n\
             Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.people.test\r\n\r\n\
             Final-Recipient: rfc822; bob@people.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--=_r--\r\n",
        );
    rows.push(Row::new("a bounce", report, STORED, Then::Nothing).from(""));
    rows.push(
        Row::new("an unknown address", alice().text("Hello?\n"), (550, "5.1.1 "), Then::Nothing)
            .to("nobody@home.test"),
    );
    rows.push(
        Row::new("no relay", alice().text("Hello?\n"), (550, "5.1.1 "), Then::Nothing).to("bob@people.test"),
    );
    rows.push(
        Row::new("the postmaster", alice().field("Subject", "Help").text("Help!\n"), STORED, Then::Nothing)
            .to("postmaster@home.test")
            .asides(1),
    );
    rows.push(Row::new(
        "more than fits",
        alice().text(&"0123456789\n".repeat(3_000)),
        (552, "5.3.4 "),
        Then::Nothing,
    ));
    rows
}

fn open_house() -> Config {
    Config::new()
        .trusting_loopback()
        .text("people", "first_post", "publish")
        .text("smtp", "max_message", "32 KiB")
        .text("policy", "post_at_most", "1000/h")
}

#[test]
fn every_mail_gets_its_reply_and_leaves_what_it_should() {
    let sink = Sink::start();
    let house = House::new(&open_house().smarthost(sink.address()));
    let daemon = house.start();
    house.verb(&["keys", "set", PEER, "--text", KEY, "--scheme", "hmac"]);
    house.verb(&["keys", "set", OLD_PEER, "--text", KEY, "--scheme", "sha256"]);
    for program in Program::ALL {
        play(&house, &daemon, program, rows(program.name()));
    }
    // The operator hears of the mails to the postmaster.
    let notice = sink.wait_for("olga@home.test", |_| true);
    assert_eq!(notice.field("Auto-Submitted").as_deref(), Some("auto-generated"));
    house.until_idle();
    // Of what was refused in the dialogue nothing is known afterwards.
    let asides = house.json(&["show", "--aside"]);
    let asides = asides.as_array().unwrap();
    assert_eq!(asides.len(), 2 * 3, "{asides:#?}");
    let said =
        |word: &str| asides.iter().filter(|aside| aside["reason"].as_str().unwrap().contains(word)).count();
    assert_eq!((said("postmaster"), said("id")), (2, 2), "{asides:#?}");
    assert!(daemon.stop().success());
}

#[test]
fn who_may_not_post_is_told_so() {
    let mail = |by: &str, number: u32| {
        Mail::from("Alice Example <alice@people.test>")
            .field("Message-ID", &format!("<{number}-{by}@people.test>"))
            .text(&format!("Post number {number} by {by}.\n"))
    };
    let post = |by: &str, number: u32| Then::Post {
        scope: "public",
        body: format!("Post number {number} by {by}."),
    };
    // Nobody is believed.
    let house = House::new(&Config::new());
    let daemon = house.start();
    for program in Program::ALL {
        let by = program.name();
        play(
            &house,
            &daemon,
            program,
            vec![Row::new("not authenticated", mail(by, 1), NOT_ALLOWED, Then::Nothing)],
        );
    }
    // Others are listed.
    let house = House::new(&open_house().text("policy", "who_may_post", "listed").set(
        "policy",
        "listed",
        r#"["@home.test"]"#,
    ));
    let daemon_of_listed = house.start();
    for program in Program::ALL {
        let by = program.name();
        play(
            &house,
            &daemon_of_listed,
            program,
            vec![Row::new("not listed", mail(by, 1), NOT_ALLOWED, Then::Nothing)],
        );
    }
    // Two an hour, by whatever program, and a third one later.
    let house = House::new(&open_house().text("policy", "post_at_most", "2/h"));
    let daemon_of_slow = house.start();
    let [swaks, smtplib] = Program::ALL;
    let row = |by: &str, number| Row::new("within the limit", mail(by, number), STORED, post(by, number));
    play(&house, &daemon_of_slow, swaks, vec![row("swaks", 1), row("swaks", 2)]);
    for program in [swaks, smtplib] {
        let by = program.name();
        let row = Row::new("over the limit", mail(by, 3), (450, "4.7.1 "), Then::Nothing);
        play(&house, &daemon_of_slow, program, vec![row]);
    }
    for daemon in [daemon, daemon_of_listed, daemon_of_slow] {
        assert!(daemon.stop().success());
    }
}

#[test]
fn faults_of_content_that_a_relay_brings_are_kept_aside() {
    let house = House::new(&open_house().set("smtp", "relays", r#"["127.0.0.0/8"]"#));
    let daemon = house.start();
    house.verb(&["keys", "set", PEER, "--text", KEY]);
    for program in Program::ALL {
        let by = program.name();
        let wire = from_peer("mailto:several@peer.test", 69, format!("cut, by {by}")).write();
        let cut = &wire[..wire.len() - 1];
        let forged = signed(from_peer(PEER, 50, format!("forged, by {by}")), Scheme::Hmac, "another secret");
        let exchange =
            from_peer("mailto:keys@peer.test", 30, "Clear key exchange=0123456789abcdef0123456789abcdef.");
        play(
            &house,
            &daemon,
            program,
            vec![
                Row::new(
                    "a bad one",
                    Mail::from("several@peer.test").attachments(&[("bad.cmr", "base64", cut)]),
                    STORED,
                    Then::Nothing,
                )
                .asides(1),
                Row::new("a forged one", attached(&forged), STORED, Then::Nothing).asides(1),
                // A key is not even kept aside.
                Row::new("a key exchange", attached(&exchange), STORED, Then::Nothing),
                // Behind a relay everybody comes from loopback, which proves nothing.
                Row::new(
                    "an author nobody knows",
                    Mail::from("Alice <alice@people.test>").text("Hello from behind a relay.\n"),
                    STORED,
                    Then::Nothing,
                )
                .asides(1),
            ],
        );
    }
    assert!(daemon.stop().success());
}

#[test]
fn a_message_that_is_ahead_of_our_clock_waits_for_it() {
    let house = House::new(&open_house());
    let daemon = house.start();
    for program in Program::ALL {
        // Far enough ahead to be seen waiting even on a slow machine, within the usual 60 s.
        let time = in_seconds(6);
        let early = message(&[(time, "mailto:early@peer.test")], format!("Early, by {}", program.name()));
        let reply =
            program.submit(daemon.smtp(), "cmr@peer.test", "cmr@home.test", &attached(&early).write());
        assert_eq!(reply.code, 250, "{reply:?}");
        let id = early.id().to_string();
        let shown = house.show(&id).unwrap();
        if in_seconds(0) < time {
            assert_eq!(shown["state"], "held", "{shown}");
        }
        until_routed(&house, &id);
        assert!(in_seconds(0) >= time, "routed before its time");
    }
    assert!(daemon.stop().success());
}

#[test]
fn the_answer_arrives_in_the_thread_of_the_question() {
    let sink = Sink::start();
    let house = House::new(&open_house().smarthost(sink.address()));
    let daemon = house.start();
    let jupiter = from_peer(
        "mailto:cmr@peer.test",
        100,
        "Jupiter is the largest planet of the solar system.\r\n.\r\nIt is a gas giant \u{2643}.\n".as_bytes(),
    );
    let reply =
        Program::Smtplib.submit(daemon.smtp(), "cmr@peer.test", "cmr@home.test", &attached(&jupiter).write());
    assert_eq!(reply.code, 250, "{reply:?}");
    until_routed(&house, &jupiter.id().to_string());

    for program in Program::ALL {
        let by = program.name();
        let person = format!("{by}@people.test");
        let question = Mail::from(&format!("Bob Asker <{person}>"))
            .field("Message-ID", &format!("<question-{by}@people.test>"))
            .field("References", &format!("<first-{by}@people.test>"))
            .field("In-Reply-To", &format!("<first-{by}@people.test>"))
            // Answers never go there.
            .field("Reply-To", "somebody.else@people.test")
            .field("Cc", "many@people.test")
            .field("Subject", "Planets")
            .text("Which is the largest planet of the solar system?\n");
        let reply = program.submit(daemon.smtp(), &person, "cmr@home.test", &question.write());
        assert_eq!(reply.code, 250, "{reply:?}");

        let answer = sink.wait_for(&person, |_| true);
        assert_eq!(answer.to, std::slice::from_ref(&person));
        let field = |name: &str| answer.field(name).unwrap_or_default();
        assert_eq!(field("In-Reply-To"), format!("<question-{by}@people.test>"));
        assert_eq!(field("References"), format!("<first-{by}@people.test> <question-{by}@people.test>"));
        assert_eq!(field("Subject"), "Re: Planets");
        assert_eq!(field("Auto-Submitted"), "auto-replied");
        let parsed = answer.parsed();
        let from = parsed.from().and_then(|from| from.first()).unwrap();
        assert!(from.name().unwrap().contains("Olga Operator"), "{from:?}");
        assert_eq!(from.address(), Some("cmr@home.test"));
        assert!(field("To").contains(&person) && field("Cc").is_empty());
        // What cannot be delivered comes back to an address that is never answered.
        assert!(answer.from.is_empty() || answer.from.starts_with("cmr+bounce-"), "{}", answer.from);
        let text = answer.text();
        assert!(text.contains("largest planet"), "{text}");
        assert!(text.contains(&jupiter.id().to_string()), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 78), "{text}");
        assert!(
            answer.attachments().contains(&jupiter.write()),
            "the message is attached, byte for byte: {}",
            String::from_utf8_lossy(&answer.raw)
        );
    }
    house.until_idle();
    for mail in sink.mails() {
        assert!(!mail.to.contains(&"somebody.else@people.test".to_owned()), "answered to Reply-To");
        assert!(!mail.to.contains(&"many@people.test".to_owned()), "answered to Cc");
    }
    assert!(daemon.stop().success());
}

/// Parses as the reference implementation does for a recipient with this address.
fn read_by_reference(wire: &[u8], recipient: &str) -> theirs::CmrMessage {
    let now = theirs::CmrTimestamp::parse("2100/01/01 00:00:00").unwrap();
    theirs::parse_message(wire, &theirs::ParseContext::secure(now, Some(recipient)))
        .unwrap_or_else(|e| panic!("{e}: {}", wire.escape_ascii()))
}

#[test]
fn forwards_are_signed_for_who_shares_a_key_and_the_reference_verifies_them() {
    let sink = Sink::start();
    let peers = ["mailto:cmr@hmac.test", "mailto:cmr@sha.test", "mailto:cmr@plain.test"];
    let config = open_house().smarthost(sink.address()).set("routing", "pinned", format!("{peers:?}")).set(
        "routing",
        "first_walks",
        "3",
    );
    for program in Program::ALL {
        let house = House::new(&config);
        let daemon = house.start();
        house.verb(&["keys", "set", peers[0], "--text", KEY, "--scheme", "hmac"]);
        house.verb(&["keys", "set", peers[1], "--text", OTHER_KEY, "--scheme", "sha256"]);
        let by = program.name();
        let body = format!("Is there life on Europa? asks {by}");
        let question = Mail::from("Alice <alice@people.test>")
            .field("Message-ID", &format!("<europa-{by}@people.test>"))
            .text(&body);
        let before = ids(&house).len();
        let reply = program.submit(daemon.smtp(), "alice@people.test", "cmr@home.test", &question.write());
        assert_eq!(reply.code, 250, "{reply:?}");
        let id = ids(&house).split_off(before).pop().unwrap();
        let original = house.verb(&["show", &id, "--raw"]);

        for peer in peers {
            let to = peer.strip_prefix("mailto:").unwrap();
            let is_it = |mail: &support::sink::Mail| {
                mail.part(0).is_some_and(|wire| String::from_utf8_lossy(&wire).contains(&body))
            };
            let mail = sink.wait_for(to, is_it);
            assert_eq!(mail.to, [to]);
            assert_eq!(mail.parsed().parts.len(), 1, "the message is the only part");
            assert_eq!(mail.field("Content-Transfer-Encoding").as_deref(), Some("base64"));
            assert_eq!(mail.field("Subject").as_deref(), Some("cmr"));
            assert_eq!(mail.field("MIME-Version").as_deref(), Some("1.0"));
            assert!(mail.field("Message-ID").is_some());

            let wire = mail.part(0).unwrap();
            let mut read = read_by_reference(&wire, peer);
            let payload = read.payload_without_signature_line();
            match peer {
                "mailto:cmr@hmac.test" => assert!(read.signature.verifies(&payload, Some(KEY.as_bytes()))),
                "mailto:cmr@sha.test" => {
                    use sha2::Digest as _;
                    let digest =
                        sha2::Sha256::new().chain_update(OTHER_KEY).chain_update(&payload).finalize();
                    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                    assert!(wire.starts_with(format!("1{hex}\r\n").as_bytes()));
                }
                _ => assert_eq!(read.signature, theirs::Signature::Unsigned),
            }
            // Our line came on top; below it everything is as it was.
            assert_eq!(read.header.len(), 2);
            assert!(read.header[0].line_without_crlf().ends_with(" mailto:cmr@home.test"));
            read.make_unsigned();
            read.header.remove(0);
            assert_eq!(
                String::from_utf8(read.to_bytes()).unwrap(),
                String::from_utf8(original.clone()).unwrap()
            );
        }
        house.until_idle();
        let explained = house.json(&["explain", &id]);
        let told: BTreeSet<&str> = explained["forwards"]
            .as_array()
            .unwrap()
            .iter()
            .map(|forward| {
                assert_eq!(forward["state"], "sent", "{explained}");
                forward["to"].as_str().unwrap()
            })
            .filter(|to| *to != "mailto:alice@people.test")
            .collect();
        assert_eq!(told, BTreeSet::from(peers), "{explained}");
        assert!(daemon.stop().success());
    }
}

#[test]
fn a_first_post_is_nobodys_before_it_is_confirmed() {
    let sink = Sink::start();
    let config = open_house().smarthost(sink.address()).text("people", "first_post", "ask").set(
        "routing",
        "pinned",
        r#"["mailto:cmr@peer.test"]"#,
    );
    for program in Program::ALL {
        let house = House::new(&config);
        let daemon = house.start();
        let by = program.name();
        let text = format!("The {by} telescope of Arcetri saw four comets near Ganymede last winter");
        let alice = format!("alice-{by}@people.test");
        let bob = |number: u32| format!("bob-{by}-{number}@people.test");
        let ask = |number: u32| {
            let bob = bob(number);
            let question = Mail::from(&format!("Bob <{bob}>"))
                .field("Message-ID", &format!("<bob-{number}-{by}@people.test>"))
                .field("Subject", "Comets")
                .text(&format!(
                    "Who saw four comets near Ganymede with the {by} telescope of Arcetri last winter?\n"
                ));
            let reply = program.submit(daemon.smtp(), &bob, "cmr@home.test", &question.write());
            assert_eq!(reply.code, 250, "{reply:?}");
            sink.wait_for(&bob, |_| true)
        };
        let forwards = || {
            let to_peer = |mail: &&support::sink::Mail| mail.to.contains(&"cmr@peer.test".to_owned());
            sink.mails()
                .iter()
                .filter(to_peer)
                .filter(|mail| {
                    mail.part(0).is_some_and(|wire| String::from_utf8_lossy(&wire).contains(&text))
                })
                .count()
        };

        let before = ids(&house).len();
        let post = Mail::from(&format!("Alice <{alice}>"))
            .field("Message-ID", &format!("<alice-{by}@people.test>"))
            .text(&format!("{text}.\n"));
        let reply = program.submit(daemon.smtp(), &alice, "cmr@home.test", &post.write());
        assert_eq!(reply.code, 250, "{reply:?}");
        let id = ids(&house).split_off(before).pop().unwrap();
        let answer = sink.wait_for(&alice, |_| true);
        let confirm = answer
            .text()
            .split_whitespace()
            .find(|word| word.starts_with("cmr+yes-"))
            .unwrap_or_else(|| panic!("the answer says how to confirm: {}", answer.text()))
            .trim_end_matches(['.', ','])
            .to_owned();
        assert!(answer.text().contains("public"), "{}", answer.text());

        // It is decided on, and stays here.
        until_routed(&house, &id);
        house.until_idle();
        assert_eq!(house.show(&id).unwrap()["scope"], "local");
        assert_eq!(forwards(), 0);
        let told = ask(1);
        assert!(!told.text().contains("telescope of Arcetri saw"), "{}", told.text());
        assert!(!told.attachments().iter().any(|a| String::from_utf8_lossy(a).contains(&text)));
        // The operator finds it.
        let found = house.json(&["search", &text]);
        assert!(found["matches"].as_array().unwrap().iter().any(|m| m["id"] == id.as_str()), "{found}");

        // Somebody guesses.
        let wrong = "cmr+yes-00000000000000000000000000@home.test";
        let guess = Mail::from("Eve <eve@people.test>").text("yes\n").write();
        assert_eq!(program.submit(daemon.smtp(), "eve@people.test", wrong, &guess).code, 550);
        assert_eq!(house.show(&id).unwrap()["scope"], "local");

        // Alice answers the answer.
        let yes = Mail::from(&format!("Alice <{alice}>"))
            .field("In-Reply-To", &format!("<{}>", answer.message_id()))
            .field("Subject", "Re: Re: yes")
            .text("Yes, please.\n");
        let reply = program.submit(daemon.smtp(), &alice, &confirm, &yes.write());
        assert_eq!(reply.code, 250, "{reply:?}");
        assert_eq!(house.show(&id).unwrap()["scope"], "public");
        house.until("the post is sent to the peer", |_| (forwards() > 0).then_some(()));
        house.until_idle();
        assert_eq!(forwards(), 1);
        let told = ask(2);
        assert!(
            told.attachments().iter().any(|a| String::from_utf8_lossy(a).contains(&text)),
            "{}",
            told.text()
        );
        // The confirmation itself is no post, and Alice's next post needs none.
        let count = ids(&house).len();
        let next = Mail::from(&format!("Alice <{alice}>"))
            .field("Message-ID", &format!("<next-{by}@people.test>"))
            .text("Another thing that I noticed.\n");
        let reply = program.submit(daemon.smtp(), &alice, "cmr@home.test", &next.write());
        assert_eq!(reply.code, 250, "{reply:?}");
        let new = ids(&house).split_off(count);
        assert_eq!(new.len(), 1);
        assert_eq!(house.show(&new[0]).unwrap()["scope"], "public");
        assert!(daemon.stop().success());
    }
}
