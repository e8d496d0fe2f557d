//! Mail that comes back: whom it stops, whom it does not, and that it never causes a mail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

mod support;

use serde_json::Value;
use support::client::Client;
use support::daemon::{Config, Daemon, House};
use support::messages::Mail;
use support::sink::{self, Sink};

const PEER: &str = "cmr@peer.test";

struct World {
    house: House,
    daemon: Daemon,
    sink: Sink,
    posts: usize,
}

impl World {
    fn new() -> World {
        let sink = Sink::start();
        let pinned = format!("[\"mailto:{PEER}\"]");
        let config =
            Config::new().smarthost(sink.address()).trusting_loopback().set("routing", "pinned", pinned);
        let house = House::new(&config);
        let daemon = house.start();
        World { house, daemon, sink, posts: 0 }
    }

    fn send(&self, from: &str, to: &str, mail: &[u8]) -> (u16, String) {
        let (mut client, _) = Client::greeted(self.daemon.smtp()).unwrap();
        client.command("EHLO client.test").unwrap();
        let reply = client.send(from, &[to], mail).unwrap();
        (reply.code, reply.text.replace('\n', " "))
    }

    /// Posts something that the peer gets; the mail, if it left.
    fn forward(&mut self) -> Option<sink::Mail> {
        self.posts += 1;
        let before = self.sink.count();
        let text = format!("an other thing about whales, number {}, and {0} of them", self.posts);
        self.house.verb(&["post", &text]);
        self.house.until_idle();
        let mails = self.sink.mails();
        mails.into_iter().skip(before).find(|mail| mail.to[0] == PEER)
    }

    fn peer(&self) -> Value {
        self.house.json(&["peers", "show", &format!("mailto:{PEER}")])
    }
}

/// A report in the form of RFC 3464.
fn report(to: &str, status: &str) -> Vec<u8> {
    let fields = format!(
        "--edge\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n\
         --edge\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.peer.test\r\n\r\n\
         Final-Recipient: rfc822; {PEER}\r\nAction: failed\r\nStatus: {status}\r\n\r\n--edge--\r\n"
    );
    let mut mail = Mail::from("MAILER-DAEMON@mx.peer.test")
        .field("Subject", "Undelivered Mail Returned to Sender")
        .field("Auto-Submitted", "auto-replied")
        .field("MIME-Version", "1.0")
        .field("Content-Type", "multipart/report; report-type=delivery-status; boundary=edge")
        .bytes(fields);
    mail.fields[1].1 = to.to_owned();
    mail.write()
}

/// mail-behaviour.md, 26.
#[test]
fn three_dead_letters_end_the_mail_to_an_address() {
    let mut world = World::new();
    let mut envelopes = Vec::new();
    for n in 1..=3 {
        let mail = world.forward().expect("the peer is alive so far");
        let before = world.sink.count();
        let sent = report(&mail.from, "5.1.1");
        // Once for each mail, however often it is told.
        for _ in 0..3 {
            let (code, said) = world.send("", &mail.from, &sent);
            assert!(code == 250 && said.contains("nothing was stored"), "{said}");
        }
        let peer = world.peer();
        assert_eq!(peer["bounces"], n, "{peer}");
        assert_eq!(peer["suppressed"].as_str().unwrap().is_empty(), n < 3, "{peer}");
        world.house.until_idle();
        assert_eq!(world.sink.count(), before, "a report causes no mail");
        envelopes.push(mail.from);
    }
    assert!(world.forward().is_none());
    let rows = world.house.json(&["peers", "bounced"]);
    assert_eq!(
        (&rows[0]["address"], &rows[0]["status"]),
        (&format!("mailto:{PEER}").into(), &"5.1.1".into())
    );
    // The operator may say otherwise.
    world.house.verb(&["peers", "unsuppress", &format!("mailto:{PEER}")]);
    assert!(world.forward().is_some());
    // And what was counted once does not count again.
    world.send("", &envelopes[0], &report(&envelopes[0], "5.1.1"));
    assert_eq!(world.peer()["bounces"], 0);
}

#[test]
fn what_passes_and_what_is_not_wanted_suppress_nothing() {
    for status in ["4.4.7", "4.2.2", "5.7.1", "5.6.0", "2.0.0"] {
        let mut world = World::new();
        for _ in 0..4 {
            let mail = world.forward().expect(status);
            world.send("", &mail.from, &report(&mail.from, status));
        }
        assert_eq!(world.peer()["bounces"], 0, "{status}");
    }
}

/// The next hop may know at once what another server tells in a report.
#[test]
fn a_refused_recipient_counts_like_a_report() {
    let mut world = World::new();
    world.sink.refuse(PEER, &["550 5.1.1 no such user", "550 5.1.1 no such user", "550 5.1.1 no such user"]);
    for _ in 0..3 {
        assert!(world.forward().is_none());
    }
    assert!(!world.peer()["suppressed"].as_str().unwrap().is_empty(), "{}", world.peer());
}

/// Whoever writes is there.
#[test]
fn a_person_who_writes_is_answered_again() {
    let world = World::new();
    let ask = |n: usize| {
        let mail = Mail::from("ann@people.test").field("Subject", "whales").text(&format!("Question {n}"));
        world.send("ann@people.test", "cmr@home.test", &mail.write());
        world.house.until_idle();
        world.sink.mails().into_iter().filter(|mail| mail.to[0] == "ann@people.test").collect::<Vec<_>>()
    };
    for n in 1..=5 {
        let answers = ask(n);
        assert_eq!(answers.len(), n);
        let from = &answers[n - 1].from;
        world.send("", from, &report(from, "5.2.1"));
    }
}

/// Reports that somebody made up: counted, and nothing else.
#[test]
fn a_flood_of_forged_reports_does_nothing() {
    let mut world = World::new();
    let mail = world.forward().unwrap();
    let (number, _) = mail.from.split_once("bounce-").unwrap().1.split_once('-').unwrap();
    let before = world.sink.count();
    for n in 0..200 {
        let to = format!("cmr+bounce-{number}-{n:08}@home.test");
        let (code, said) = world.send("", &to, &report(&to, "5.1.1"));
        assert!(code == 250 && said.contains("no mail of ours"), "{said}");
    }
    // A report to the posting address itself is one about nothing.
    world.send("", "cmr@home.test", &report("cmr@home.test", "5.1.1"));
    world.house.until_idle();
    assert_eq!(world.sink.count(), before);
    assert_eq!(world.peer()["bounces"], 0);
    assert!(world.forward().is_some());
}
