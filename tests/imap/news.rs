//! News: by IDLE, by polling; and what a person gets back.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::dovecot::Dovecot;
use super::reading::{house, post};
use super::support::daemon::{Config, House, until};
use super::support::dns::NameServer;
use super::support::messages::Mail;
use super::support::sink::Sink;

/// Neither IDLE nor MOVE nor UIDPLUS.
pub(crate) const OLD_SERVER: &str = "protocol imap {\n  imap_capability = IMAP4rev1 LITERAL+ ID ENABLE\n}\n";

#[test]
fn a_mail_is_taken_when_it_comes_and_not_when_it_is_looked_for() {
    let dovecot = Dovecot::start();
    let house = house(&dovecot.config("cmr", "poll = \"1d\""));
    let daemon = house.start();
    // The folder was looked through, and the server is to tell.
    house.until("IDLE", |house| (house.json(&["status"])["mailboxes"][0]["state"] == "idle").then_some(()));
    for n in 1..=3 {
        let begun = Instant::now();
        dovecot.deliver("cmr", "INBOX", &post(n).write());
        house.until("the mail", |house| (house.json(&["status"])["messages"] == n as u64).then_some(()));
        println!("in the pool after {} ms", begun.elapsed().as_millis());
        dovecot.until_flagged("cmr", "INBOX", 'S', n);
    }
    let begun = Instant::now();
    assert!(daemon.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(20), "an IDLE is no reason to linger");
}

/// Passes everything on to a server. When the first command that holds `word` comes, `meanwhile`
/// happens before the server gets it.
fn proxy(server: u16, word: &'static str, meanwhile: impl FnOnce() + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut meanwhile = Some(meanwhile);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).unwrap();
            let (mut back, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut back, &mut to_client);
                let _ = to_client.shutdown(Shutdown::Both);
            });
            for line in BufReader::new(client).lines().map_while(Result::ok) {
                if line.contains(word)
                    && let Some(meanwhile) = meanwhile.take()
                {
                    meanwhile();
                }
                if server.write_all(format!("{line}\r\n").as_bytes()).is_err() {
                    break;
                }
            }
            let _ = server.shutdown(Shutdown::Both);
        }
    });
    port
}

#[test]
fn a_mail_that_comes_during_a_look_is_taken_at_once() {
    let dovecot = Dovecot::start();
    let new = dovecot.make("cmr", "INBOX").join("new");
    dovecot.deliver("cmr", "INBOX", &post(1).write());
    // The server tells of the second mail in its answer to what marks the first one, and never again.
    let proxy = proxy(dovecot.imap, "UID STORE", move || {
        std::fs::write(new.join("1800000000.second.test"), post(2).write()).unwrap();
    });
    let account = format!(
        "[[imap]]\nname = \"cmr\"\nhost = \"127.0.0.1\"\nport = {proxy}\nsecurity = \"none\"\nuser = \"cmr\"\n\
         password_command = \"cat password\"\npoll = \"1d\"\n"
    );
    let house = house(&Config::new().text("policy", "who_may_post", "anyone").repeated(&account));
    let daemon = house.start();
    dovecot.until_flagged("cmr", "INBOX", 'S', 2);
    assert_eq!(house.json(&["status"])["messages"], 2);
    assert!(daemon.stop().success());
}

#[test]
fn a_server_that_cannot_tell_is_asked() {
    let dovecot = Dovecot::with(OLD_SERVER);
    let house = house(&dovecot.config("cmr", "poll = \"1s\""));
    let daemon = house.start();
    house.until("a look", |house| {
        (house.json(&["status"])["mailboxes"][0]["state"] == "polled").then_some(())
    });
    dovecot.deliver("cmr", "INBOX", &post(1).write());
    dovecot.until_flagged("cmr", "INBOX", 'S', 1);
    assert!(daemon.stop().success());
}

#[test]
fn a_daemon_that_is_asked_looks_at_once() {
    let dovecot = Dovecot::start();
    let house = house(&dovecot.config("cmr", "poll = \"1d\"\nidle = false"));
    let daemon = house.start();
    house.until("a look", |house| {
        (house.json(&["status"])["mailboxes"][0]["state"] == "polled").then_some(())
    });
    dovecot.deliver("cmr", "INBOX", &post(1).write());
    let said = house.json(&["poll", "--once"]);
    assert_eq!(said[0]["taken"], 1, "{said}");
    assert!(daemon.stop().success());
}

/// Mail to the people of the test goes into their mailboxes. Mail to the gateway goes into its own,
/// as its provider delivers it: without Authentication-Results that came with it, if it is `careful`.
fn people(dovecot: &Dovecot, careful: bool) -> Sink {
    let inbox: PathBuf = dovecot.make("alice", "INBOX");
    let ours: PathBuf = dovecot.make("cmr", "INBOX");
    Sink::telling(move |mail| {
        if mail.to.iter().any(|to| to.starts_with("cmr+probe-")) {
            let text = String::from_utf8(mail.raw.clone()).unwrap();
            let from = if careful { text.find("From: ").unwrap() } else { 0 };
            std::fs::write(ours.join("new").join("1600000000.probe.test"), &text[from..]).unwrap();
        }
        if mail.to.iter().any(|to| to == "alice@people.test") {
            let name = format!("{}.answer.test", 1_800_000_000);
            std::fs::write(inbox.join("new").join(name), &mail.raw).unwrap();
        }
    })
}

/// A house that believes what the mail server of its mailbox says about who wrote a mail.
fn believing(dovecot: &Dovecot, sink: &Sink, dns: &NameServer, more: &str) -> Config {
    let more = format!("authserv_id = \"mx.home.test\"\n{more}");
    Config::new()
        .set("authentication", "verify", "true")
        .set("authentication", "dns", format!("[\"{}\"]", dns.address()))
        .smarthost(sink.address())
        .repeated(&dovecot.account("cmr", &more))
}

/// Shows that the provider removes forged results, or that it does not.
fn probe(house: &House, sink: &Sink) -> String {
    let output = house.run(&["check", "--probe-relay", &sink.address().to_string(), "--json"], b"");
    sink.forget();
    String::from_utf8(output.stdout).unwrap()
}

fn proven(id: &str, mail: &Mail) -> Vec<u8> {
    let says = format!(
        "Authentication-Results: {id};\r\n\tspf=pass smtp.mailfrom=alice@people.test;\r\n\tdmarc=pass header.from=people.test\r\n"
    );
    [says.as_bytes(), &mail.write()].concat()
}

fn question() -> Mail {
    Mail::from("Alice <alice@people.test>")
        .field("Subject", "The comet")
        .field("Message-ID", "<question@people.test>")
        .text("Has anybody else seen the comet over the harbour last night?\n")
}

#[test]
fn the_answer_is_in_the_persons_thread_and_a_copy_of_it_where_it_is_wanted() {
    let dovecot = Dovecot::start();
    let (sink, dns) = (people(&dovecot, true), NameServer::start());
    // Her own copy of what she wrote.
    dovecot.deliver("alice", "INBOX", &question().write());
    dovecot.make("cmr", "Sent");
    let config = believing(&dovecot, &sink, &dns, "sent = \"Sent\"\npoll = \"1s\"");
    let house = house(&config);
    let daemon = house.start();
    house.until("IDLE", |house| (house.json(&["status"])["mailboxes"][0]["state"] == "idle").then_some(()));
    assert!(probe(&house, &sink).contains("removes forged"), "{}", house.log());
    dovecot.deliver("cmr", "INBOX", &proven("mx.home.test", &question()));
    sink.wait_for("alice@people.test", |_| true);
    let thread = until("a thread of two", || {
        let said = dovecot.dialogue("alice", &["SELECT INBOX", "UID THREAD REFERENCES UTF-8 ALL"]);
        let line = said.lines().find(|line| line.starts_with("* THREAD"))?.to_owned();
        line.contains('2').then_some(line)
    });
    assert_eq!(thread, "* THREAD (1 2)");
    let copies = until("a copy", || {
        let copies = dovecot.mails("cmr", "Sent");
        (!copies.is_empty()).then_some(copies)
    });
    let text = String::from_utf8_lossy(&copies[0].1).into_owned();
    assert!(text.contains("In-Reply-To: <question@people.test>") && copies[0].0.contains('S'), "{text}");
    // Our own mail in the folder is recognised and left alone, and there is one copy.
    dovecot.deliver("cmr", "INBOX", &copies[0].1);
    dovecot.deliver("cmr", "INBOX", &proven("mx.home.test", &post(1)));
    dovecot.until_flagged("cmr", "INBOX", 'S', 3);
    assert_eq!(dovecot.flagged("cmr", "INBOX", 'S'), (3, 4));
    assert_eq!(dovecot.mails("cmr", "Sent").len(), 1);
    assert_eq!(sink.mails().iter().filter(|mail| mail.to == ["alice@people.test"]).count(), 1);
    assert!(daemon.stop().success());
}

#[test]
fn only_the_topmost_results_of_the_named_server_are_believed() {
    let dovecot = Dovecot::start();
    let (sink, dns) = (people(&dovecot, true), NameServer::start());
    let house = house(&believing(&dovecot, &sink, &dns, ""));
    // Before anything was shown nothing is believed.
    dovecot.deliver("cmr", "INBOX", &proven("mx.home.test", &question()));
    house.json(&["poll", "--once"]);
    assert_eq!(house.json(&["status"])["messages"], 0);
    let daemon = house.start();
    house.until("IDLE", |house| (house.json(&["status"])["mailboxes"][0]["state"] == "idle").then_some(()));
    assert!(probe(&house, &sink).contains("removes forged"));
    assert!(daemon.stop().success());
    let with = |n: usize| {
        let mut mail = question();
        mail.fields.retain(|(name, _)| name != "Message-ID");
        mail.field("Message-ID", &format!("<question-{n}@people.test>"))
    };
    let says_no = "Authentication-Results: mx.home.test; spf=fail smtp.mailfrom=people.test\r\n";
    for mail in [
        with(1).write(),
        proven("mx.elsewhere.test", &with(2)),
        [says_no.as_bytes(), &proven("mx.home.test", &with(3))].concat(),
    ] {
        dovecot.deliver("cmr", "INBOX", &mail);
    }
    house.json(&["poll", "--once"]);
    assert_eq!(house.json(&["status"])["messages"], 0);
    // What nobody proves is kept for the operator, as from a relay, and put off if that may change.
    assert_eq!(sink.count(), 0);
    dovecot.deliver("cmr", "INBOX", &proven("mx.home.test", &with(4)));
    house.json(&["poll", "--once"]);
    assert_eq!(house.json(&["status"])["messages"], 1);
    assert_eq!(sink.count(), 1, "poll --once sends the answer before it ends");
}

#[test]
fn a_provider_that_lets_forged_results_through_is_not_believed() {
    let dovecot = Dovecot::start();
    let (sink, dns) = (people(&dovecot, false), NameServer::start());
    let house = house(&believing(&dovecot, &sink, &dns, ""));
    let daemon = house.start();
    house.until("IDLE", |house| (house.json(&["status"])["mailboxes"][0]["state"] == "idle").then_some(()));
    assert!(probe(&house, &sink).contains("lets forged"), "{}", house.log());
    dovecot.deliver("cmr", "INBOX", &proven("mx.home.test", &question()));
    dovecot.until_flagged("cmr", "INBOX", 'S', 2);
    assert_eq!(house.json(&["status"])["messages"], 0);
    assert!(daemon.stop().success());
}
