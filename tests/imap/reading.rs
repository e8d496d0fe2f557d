//! What is taken out of a folder, and what is left alone.

use cmr_mail::keys::Scheme;
use serde_json::Value;

use super::dovecot::Dovecot;
use super::support::client::Client;
use super::support::daemon::{Config, House};
use super::support::messages::{self, Mail, in_seconds};

/// A house with the password in it.
pub(crate) fn house(config: &Config) -> House {
    let house = House::new(config);
    std::fs::write(house.dir().join("password"), "secret\n").unwrap();
    house
}

/// `poll --once` without a daemon; what it says of the only account.
pub(crate) fn poll(house: &House) -> Value {
    house.json(&["poll", "--once"])[0].clone()
}

/// A person's post, with a number in it so that it is its own.
pub(crate) fn post(number: usize) -> Mail {
    Mail::from(&format!("person{number}@people.test"))
        .field("Subject", &format!("Question {number}"))
        .field("Message-ID", &format!("<post-{number}@people.test>"))
        .text(&format!("What became of the comet number {number} that was seen over the harbour?\n"))
}

fn number_of_messages(house: &House) -> u64 {
    house.json(&["status"])["messages"].as_u64().unwrap()
}

#[test]
fn posts_and_messages_are_taken_and_the_rest_is_untouched() {
    let dovecot = Dovecot::start();
    let message = messages::message(&[(in_seconds(-60), "mailto:cmr@peer.test")], "a body of a peer");
    let wire = message.write();
    let attached = |mail: Mail| mail.attachments(&[("m.cmr", "base64", &wire)]);
    let to_us: [(&str, Mail); 4] = [
        ("To", post(1)),
        ("Cc", {
            let mut mail = post(2);
            mail.fields.retain(|(name, _)| name != "To");
            mail.field("To", "somebody@else.test").field("Cc", "Us <cmr@home.test>")
        }),
        ("Delivered-To", {
            let mut mail = post(3);
            mail.fields.retain(|(name, _)| name != "To");
            mail.field("Delivered-To", "cmr@home.test").field("To", "a list <list@else.test>")
        }),
        ("a message in a mail to somebody else", {
            let mut mail = Mail::from("friend@else.test");
            mail.fields.retain(|(name, _)| name != "To");
            attached(mail.field("To", "owner@else.test"))
        }),
    ];
    let private = |n: usize| {
        let mut mail = post(100 + n);
        mail.fields.retain(|(name, _)| name != "To");
        mail.field("To", "owner@else.test")
    };
    let not_ours: [(&str, Mail); 4] = [
        ("private mail", private(1)),
        ("without anybody", {
            let mut mail = post(200);
            mail.fields.retain(|(name, _)| name != "To");
            mail
        }),
        ("our own mail", private(2).field("X-CMR-Loop", "mx.home.test")),
        ("an attachment that only looks like a message", {
            let mut mail = Mail::from("friend@else.test");
            mail.fields.retain(|(name, _)| name != "To");
            mail.field("To", "owner@else.test").attachments(&[("m.cmr", "base64", b"not a message")])
        }),
    ];
    for (_, mail) in not_ours.iter().chain(&to_us) {
        dovecot.deliver("cmr", "INBOX", &mail.write());
    }
    let house = house(&dovecot.config("cmr", "after = \"seen\""));
    let said = poll(&house);
    assert_eq!((said["taken"].as_u64(), said["left"].as_u64()), (Some(4), Some(4)), "{said}");
    assert_eq!(number_of_messages(&house), 4);
    for (flags, mail) in dovecot.mails("cmr", "INBOX") {
        let is = |(_, it): &&(&str, Mail)| it.write() == mail;
        let what = to_us.iter().find(is).map(|(what, _)| *what);
        assert_eq!(flags.contains('S'), what.is_some(), "{what:?}: {flags:?}\n{}", mail.escape_ascii());
    }
    let shown = house.show(&message.id().to_string()).expect("the message of the peer");
    assert_eq!(shown["via"], "imap");
    // Nobody chose to publish what stood in a mail to somebody else.
    assert_eq!(shown["scope"], "local");
    assert_eq!(shown["authenticity"], "nothing shows who wrote it", "{shown}");
    // Nothing is new: nothing is read again.
    let said = poll(&house);
    assert_eq!((said["taken"].as_u64(), said["left"].as_u64()), (Some(0), Some(0)), "{said}");
}

#[test]
fn a_mail_to_somebody_else_is_left_where_nothing_in_it_was_of_use() {
    let dovecot = Dovecot::start();
    let to_the_owner = |body: &str, key: Option<&str>| {
        let message = messages::message(&[(in_seconds(-60), "mailto:cmr@peer.test")], body);
        let message = match key {
            Some(key) => messages::signed(message, Scheme::Hmac, key),
            None => message,
        };
        let mut mail = Mail::from("friend@else.test");
        mail.fields.retain(|(name, _)| name != "To");
        mail.field("To", "owner@else.test").attachments(&[("m.cmr", "base64", &message.write())]).write()
    };
    let clear = format!("Clear key exchange={}.", "ab".repeat(16));
    let private = [to_the_owner(&clear, None), to_the_owner("a body", Some("a key that nobody knows"))];
    private.iter().for_each(|mail| dovecot.deliver("cmr", "INBOX", mail));
    dovecot.deliver("cmr", "INBOX", &to_the_owner("a body that is taken", None));
    let house = house(&dovecot.config("cmr", "after = \"delete\""));
    let said = poll(&house);
    assert_eq!((said["taken"].as_u64(), said["left"].as_u64()), (Some(1), Some(2)), "{said}");
    let mut there: Vec<Vec<u8>> = dovecot
        .mails("cmr", "INBOX")
        .into_iter()
        .map(|(flags, mail)| {
            assert_eq!(flags, "", "it is not touched");
            mail
        })
        .collect();
    there.sort();
    let mut private = private.to_vec();
    private.sort();
    assert!(there == private, "{} are left", there.len());
    let asides: i64 =
        house.read_database().query_row("SELECT count(*) FROM aside", [], |row| row.get(0)).unwrap();
    assert_eq!(asides, 0, "nothing of them is kept here");
}

#[test]
fn the_same_mail_by_two_ways_is_one_message() {
    let dovecot = Dovecot::start();
    let house = house(&dovecot.config("cmr", ""));
    let daemon = house.start();
    let mail = post(1).write();
    let (mut client, _) = Client::greeted(daemon.smtp()).unwrap();
    client.command("EHLO client.test").unwrap();
    let reply = client.send("person1@people.test", &["cmr@home.test"], &mail).unwrap();
    assert_eq!(reply.code, 250, "{}", reply.text);
    // The mailbox system adds its lines.
    let stored = [
        &b"Return-Path: <person1@people.test>\r\nReceived: from x by y; Fri, 20 Nov 2026 10:00:00 +0000\r\n"
            [..],
        &mail,
    ];
    dovecot.deliver("cmr", "INBOX", &stored.concat());
    dovecot.until_flagged("cmr", "INBOX", 'S', 1);
    assert_eq!(number_of_messages(&house), 1);
    assert!(daemon.stop().success());
}

#[test]
fn another_uidvalidity_is_read_from_the_beginning_and_nothing_is_taken_twice() {
    let mut dovecot = Dovecot::start();
    for n in 1..=5 {
        dovecot.deliver("cmr", "INBOX", &post(n).write());
    }
    let house = house(&dovecot.config("cmr", "after = \"keep\""));
    assert_eq!(poll(&house)["taken"], 5);
    dovecot.stop();
    let root = dovecot.folder("cmr", "INBOX");
    for entry in std::fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("dovecot") {
            std::fs::remove_file(path).unwrap();
        }
    }
    dovecot.run();
    dovecot.deliver("cmr", "INBOX", &post(6).write());
    let output = house.run(&["poll", "--once", "--json"], b"");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said[0]["taken"], 6, "{said}");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("UIDVALIDITY changed"), "{log}");
    assert_eq!(number_of_messages(&house), 6);
}

#[test]
fn mails_before_a_day_and_mails_that_are_too_large_are_left() {
    let dovecot = Dovecot::start();
    for n in 1..=3 {
        dovecot.deliver("cmr", "INBOX", &post(n).write());
    }
    // The file's time is what Dovecot takes for INTERNALDATE.
    let new = dovecot.folder("cmr", "INBOX").join("new");
    let mut names: Vec<_> = std::fs::read_dir(&new).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    std::fs::File::options().write(true).open(&names[0]).unwrap().set_modified(old).unwrap();
    let mut large = post(4);
    large.body = b"many words ".repeat(1000);
    dovecot.deliver("cmr", "INBOX", &large.write());
    let config = dovecot.config("cmr", "since = \"2021-01-01\"").text("smtp", "max_message", "4 KiB");
    let house = house(&config);
    assert_eq!(poll(&house)["taken"], 2);
    let status = house.json(&["status"]);
    assert_eq!(status["mailboxes"][0]["too_large"], 1, "{status}");
    assert_eq!(dovecot.flagged("cmr", "INBOX", 'S'), (2, 4));
}

#[test]
fn a_folder_with_another_alphabet_in_its_name() {
    let dovecot = Dovecot::start();
    // "Fragen & Grüße" in modified UTF-7.
    let on_disk = "Fragen &- Gr&APwA3w-e";
    dovecot.deliver("cmr", on_disk, &post(1).write());
    dovecot.make("cmr", "Erledigt \"1\"");
    let house =
        house(&dovecot.config("cmr", "folder = \"Fragen & Gr\u{fc}\u{df}e\"\nafter = 'move:Erledigt \"1\"'"));
    assert_eq!(poll(&house)["taken"], 1);
    assert_eq!(dovecot.mails("cmr", on_disk).len(), 0);
    assert_eq!(dovecot.mails("cmr", "Erledigt \"1\"").len(), 1);
}
