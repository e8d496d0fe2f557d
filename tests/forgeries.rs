//! What forged senders earn their victims: each row is an attack on the whole program, with the
//! number of mails that leave because of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

mod support;

use support::client::{Client, Reply};
use support::daemon::{Config, Daemon, House};
use support::dns::{NameServer, Signer};
use support::messages::{Mail, in_seconds, message};
use support::sink::Sink;

/// What most signers sign.
const USUAL: &[&str] = &["From", "To", "Cc", "Subject", "Date", "Message-ID"];

/// A gateway, the names that it looks up, and the mailboxes of the world.
struct World {
    house: House,
    daemon: Daemon,
    dns: NameServer,
    sink: Sink,
}

impl World {
    fn new(change: impl FnOnce(Config) -> Config) -> World {
        let (dns, sink) = (NameServer::start(), Sink::start());
        dns.text("people.test", "v=spf1 ip4:192.0.2.7 -all")
            .text("here.test", "v=spf1 ip4:127.0.0.1 -all")
            .text("evil.test", "v=spf1 +all");
        let config = Config::new()
            .smarthost(sink.address())
            .set("authentication", "verify", "true")
            .set("authentication", "dns", format!("[\"{}\"]", dns.address()))
            .text("authentication", "deadline", "2s");
        let house = House::new(&change(config));
        let daemon = house.start();
        World { house, daemon, dns, sink }
    }

    /// Sends a mail from loopback; the last reply.
    fn send(&self, from: &str, to: &str, mail: &[u8]) -> Reply {
        let (mut client, _) = Client::greeted(self.daemon.smtp()).unwrap();
        client.command("EHLO client.test").unwrap();
        client.send(from, &[to], mail).unwrap()
    }

    /// The same as a relay that says where it is from.
    fn relayed(&self, client: &str, from: &str, to: &str, mail: &[u8]) -> Reply {
        let (mut relay, _) = Client::greeted(self.daemon.smtp()).unwrap();
        relay.command("EHLO relay.test").unwrap();
        assert_eq!(relay.command(&format!("XFORWARD ADDR={client}")).unwrap().code, 250);
        relay.send(from, &[to], mail).unwrap()
    }

    /// How many mails have left when everything is done.
    fn left(&self) -> usize {
        self.house.until_idle();
        self.sink.count()
    }
}

fn relay(config: Config) -> Config {
    config.set("smtp", "relays", r#"["127.0.0.0/8"]"#)
}

fn anyone(config: Config) -> Config {
    config.text("policy", "who_may_post", "anyone")
}

fn victim() -> Mail {
    Mail::from("Victoria <victim@people.test>")
        .field("Message-ID", "<v@people.test>")
        .text("I never wrote this.")
}

/// Config, mail, envelope sender, the reply's code, words of the reply, mails that leave.
#[test]
fn a_forged_from_earns_its_victim_nothing() {
    type Change = fn(Config) -> Config;
    let stop = victim().field("Subject", "stop");
    let forged = |results: &str| victim().field("Authentication-Results", results);
    #[rustfmt::skip]
    let table: Vec<(&str, Change, Mail, &str, u16, &str, usize)> = vec![
        ("directly", |c| c, victim(), "victim@people.test", 550, "does not allow 127.0.0.1", 0),
        ("where everybody may post", anyone, victim(), "victim@people.test", 250, "stored", 0),
        ("from a domain of one's own", |c| c, victim(), "eve@evil.test", 550, "not the domain in From", 0),
        ("by a relay on loopback", relay, victim(), "victim@people.test", 250, "kept aside", 0),
        ("with Authentication-Results", |c| c, forged("mx.home.test; spf=pass smtp.mailfrom=people.test"), "victim@people.test", 550, "nothing shows", 0),
        ("with these, by a relay", relay, forged("mx.home.test; auth=pass smtp.auth=victim@people.test"), "victim@people.test", 250, "kept aside", 0),
        ("to stop somebody's mail", |c| c, stop.clone(), "victim@people.test", 550, "nothing shows", 0),
        ("to stop it by a relay", relay, stop, "victim@people.test", 250, "nothing shows", 0),
        ("as nobody", |c| c, victim(), "", 550, "nothing shows", 0),
        // Its own author is answered, once.
        ("and the truth", |c| c, Mail::from("ann@here.test").text("I wrote this."), "ann@here.test", 250, "stored", 1),
    ];
    for (what, change, mail, sender, code, words, leave) in table {
        let world = World::new(change);
        let reply = world.send(sender, "cmr@home.test", &mail.write());
        assert_eq!(reply.code, code, "{what}: {reply:?}");
        let said = reply.text.replace('\n', " ");
        assert!(said.contains(words), "{what}: {said}");
        assert_eq!(world.left(), leave, "{what}");
    }
}

/// A name server that is silent is no proof, and no reason to lose a mail.
#[test]
fn without_an_answer_of_the_dns_a_mail_may_come_again() {
    let plain: fn(Config) -> Config = |config| config;
    for (change, is_relay, code) in [(plain, false, 451), (relay, true, 451), (anyone, false, 250)] {
        let world = World::new(change);
        let mail = Mail::from("ann@silent.test").text("x").write();
        let reply = if is_relay {
            world.relayed("192.0.2.1", "ann@silent.test", "cmr@home.test", &mail)
        } else {
            world.send("ann@silent.test", "cmr@home.test", &mail)
        };
        assert_eq!(reply.code, code, "{reply:?}");
        assert_eq!(world.left(), 0);
        if code == 250 {
            let id = reply.text.split_whitespace().find(|word| word.len() == 16).unwrap();
            let why = world.house.json(&["explain", id]);
            let said = why["authenticity"].as_str().unwrap();
            assert!(said.contains("did not answer about SPF of silent.test"), "{why}");
        }
    }
}

/// Rule 3: a signed mail counts once, whoever sends its copies and whatever they add to them.
#[test]
fn copies_of_a_signed_mail_are_no_new_mails() {
    let world = World::new(relay);
    let signer = Signer::new("people.test", &world.dns);
    let signed = signer.sign(&victim().field("Subject", "whales").write(), USUAL);
    let send = |to: &str, mail: &[u8]| {
        let reply = world.relayed("192.0.2.66", "eve@evil.test", to, mail);
        (reply.code, reply.text.replace('\n', " "))
    };
    let (code, said) = send("cmr@home.test", &signed);
    assert!(code == 250 && said.contains("stored"), "{said}");
    let id = said.split_whitespace().find(|word| word.len() == 16).unwrap().to_owned();
    assert_eq!(world.left(), 1, "its author is answered");
    let evidence = world.house.json(&["explain", &id])["authenticity"].as_str().unwrap().to_owned();
    assert_eq!(evidence, "it is signed by people.test (DKIM)");

    let text = String::from_utf8(signed.clone()).unwrap();
    let on_top = |fields: &str| format!("{fields}\r\n{text}").into_bytes();
    #[rustfmt::skip]
    let copies = [
        ("the same", "cmr@home.test", signed.clone(), "already known"),
        ("with a field more", "cmr@home.test", on_top("X-Copy: 1"), "already known"),
        ("to stop", "cmr+stop@home.test", signed.clone(), "nothing shows"),
        ("to a tag", "cmr+good-0123456789abcdef@home.test", signed.clone(), "not"),
        ("as another mail", "cmr@home.test", on_top("Message-ID: <other@people.test>"), "was taken before"),
        ("under another subject", "cmr@home.test", on_top("Subject: stop"), "nothing shows"),
        ("with another text", "cmr@home.test", text.replace("never", "always").into_bytes(), "nothing shows"),
    ];
    for (what, to, mail, words) in copies {
        let (code, said) = send(to, &mail);
        assert_eq!(code, 250, "{what}: {said}");
        assert!(said.contains(words), "{what}: {said}");
        assert_eq!(world.left(), 1, "{what}");
    }

    // A text that says something else under the same Message-ID: the author's own, and refused all
    // the same, because nobody could tell it from a copy.
    let again = Mail::from("victim@people.test").field("Message-ID", "<v@people.test>");
    let again = again.field("Subject", "dolphins").text("Something else.").write();
    let (_, said) = send("cmr@home.test", &signer.sign(&again, USUAL));
    assert!(said.contains("was taken before"), "{said}");
    assert_eq!(world.left(), 1);
}

/// A signed "stop" works once: afterwards a copy of it ends nothing.
#[test]
fn a_copy_of_an_old_stop_ends_nothing() {
    let world = World::new(relay);
    let signer = Signer::new("people.test", &world.dns);
    let write = |subject: &str, id: &str| {
        let mail =
            Mail::from("ann@people.test").field("Subject", subject).field("Message-ID", id).text(subject);
        signer.sign(&mail.write(), USUAL)
    };
    let send = |mail: &[u8]| world.relayed("192.0.2.66", "x@evil.test", "cmr@home.test", mail).text;
    let stopped = || {
        let conn = world.house.read_database();
        let asked = "SELECT stopped_at IS NOT NULL FROM person";
        conn.query_row(asked, [], |row| row.get::<_, bool>(0)).unwrap()
    };
    send(&write("whales", "<1@people.test>"));
    let stop = write("stop", "<2@people.test>");
    assert!(send(&stop).contains("stopped"));
    assert!(stopped());
    send(&write("dolphins", "<3@people.test>"));
    assert!(!stopped());
    assert!(send(&stop).contains("was here before"));
    assert!(!stopped());
}

/// A signed command is answered once: who has a copy can't have its author written to with it.
#[test]
fn a_copy_of_a_signed_command_is_not_answered() {
    let world = World::new(relay);
    let signer = Signer::new("people.test", &world.dns);
    for (n, subject) in (1..).zip(["help", "status", "search"]) {
        let id = format!("<{n}@people.test>");
        let mail =
            Mail::from("ann@people.test").field("Subject", subject).field("Message-ID", &id).text("whales");
        let signed = signer.sign(&mail.write(), USUAL);
        for copy in 0..4 {
            let extra = [format!("X-Copy: {copy}\r\n").into_bytes(), signed.clone()].concat();
            world.relayed("192.0.2.66", "x@evil.test", "cmr@home.test", &extra);
        }
        assert_eq!(world.left(), n, "{subject}");
    }
}

/// Rule 2: what a relay says is believed once a probe has shown that it removes what others say in
/// its name.
#[test]
fn a_relay_is_believed_after_a_probe() {
    for removes in [true, false] {
        let world = World::new(relay);
        let claim = "mx.home.test; auth=pass smtp.auth=ann@people.test";
        let genuine = Mail::from("ann@people.test").text("hello").write();
        let genuine = [format!("Authentication-Results: {claim}\r\n").as_bytes(), &genuine].concat();
        let said = world.send("ann@people.test", "cmr@home.test", &genuine).text;
        assert!(said.contains("nothing shows"), "{said}");

        // The sink is the relay here; what it took is handed on by hand.
        let at = world.sink.address().to_string();
        let checked = std::thread::scope(|scope| {
            let check = scope.spawn(|| world.house.run(&["check", "--probe-relay", &at, "--json"], b""));
            let mut probe = None;
            while probe.is_none() {
                probe = world.sink.mails().into_iter().find(|mail| mail.to[0].contains("+probe-"));
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            let probe = probe.unwrap();
            let raw = String::from_utf8(probe.raw).unwrap();
            assert_eq!(raw.to_lowercase().matches("authentication-results:").count(), 3);
            let kept = if removes { raw.find("From:").unwrap() } else { 0 };
            // A stranger's probe, and one that did not come by the relay's way, change nothing.
            world.send(
                "x@evil.test",
                "cmr+probe-00000000000000000000000000000000@home.test",
                b"From: x@evil.test\r\n\r\n",
            );
            let reply = world.send(&probe.from, &probe.to[0], &raw.as_bytes()[kept..]);
            assert!(reply.text.contains("the probe came back"), "{reply:?}");
            check.join().unwrap()
        });
        let line: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
        let line = &line["lines"][0];
        assert_eq!(line["state"], if removes { "ok" } else { "warn" }, "{line}");

        let said = world.send("ann@people.test", "cmr@home.test", &genuine).text;
        assert_eq!(said.contains("stored"), removes, "{said}");
        // What one relay does says nothing about another.
        let other = Mail::from("ann@people.test").text("hello by the other relay").write();
        let other = [format!("Authentication-Results: {claim}\r\n").as_bytes(), &other].concat();
        let (mut relay, _) = Client::greeted_from([127, 0, 0, 2].into(), world.daemon.smtp()).unwrap();
        relay.command("EHLO relay.test").unwrap();
        let said = relay.send("ann@people.test", &["cmr@home.test"], &other).unwrap().text;
        assert!(said.contains("nothing shows"), "{said}");
        let probes = 1;
        assert_eq!(world.left(), probes + usize::from(removes));
    }
}

/// Rule 6: whatever stands in the header of a CMR message, nothing goes there.
#[test]
fn addresses_in_a_header_get_no_mail() {
    let world = World::new(|c| c);
    let hostile = [
        "mailto:victim@people.test",
        "mailto:victim@people.test?bcc=other@people.test",
        "mailto:victim@people.test,other@people.test",
        "mailto:victim@[192.0.2.7]",
        "mailto:\"victim\"@people.test",
        "mailto:staff@home.test",
        "mailto:postmaster@home.test",
        "mailto:victim%40people.test@home.test",
        "MAILTO:victim@people.test",
    ];
    for (n, victim) in (0_i64..).zip(hostile) {
        // The peer itself is known for sure; those whom it names are not.
        let hops = [
            (in_seconds(-10 - 10 * n), "mailto:cmr@here.test"),
            (in_seconds(-12 - 10 * n), victim),
            (in_seconds(-14 - 10 * n), "mailto:origin@else.test"),
        ];
        let bytes = message(&hops, format!("whales and dolphins, {n}")).write();
        let mail = Mail::from("cmr@here.test").attachments(&[("a.cmr", "base64", &bytes)]).write();
        let reply = world.send("cmr@here.test", "cmr@home.test", &mail);
        assert_eq!(reply.code, 250, "{victim}: {reply:?}");
    }
    assert_eq!(world.left(), 0, "{:?}", world.sink.mails().iter().map(|m| m.to.clone()).collect::<Vec<_>>());
}

/// Two programs that answer each other: silence after a few.
#[test]
fn an_autoresponder_that_does_not_say_so_gets_a_few_answers() {
    let world = World::new(|c| c);
    let first = Mail::from("away@here.test").field("Subject", "whales").field("Message-ID", "<0@here.test>");
    world.send("away@here.test", "cmr@home.test", &first.text("Where do they live?").write());
    for n in 1..20 {
        let before = world.left();
        if before < n {
            break;
        }
        let answer = world.sink.mails().last().unwrap().message_id();
        let mail = Mail::from("away@here.test")
            .field("Subject", "Re: whales")
            .field("Message-ID", &format!("<{n}@here.test>"))
            .field("In-Reply-To", &format!("<{answer}>"))
            .text(&format!("I am away, number {n}."));
        world.send("away@here.test", "cmr@home.test", &mail.write());
    }
    // The question, and what it said to our answer; saying that again gets nothing.
    assert_eq!(world.left(), 2);
}
