//! What ends here and what does not: the posting addresses' copies, and everybody else's.

use crate::identity::config;
use crate::mails::{added, names, numbered};
use crate::server::{Postfix, Setup, can_run, free_port};
use crate::support::client::Client;
use crate::support::daemon::{Config, Daemon, House};
use crate::support::messages::Mail;
use crate::support::sink::Sink;

/// A gateway that takes mail for `cmr@cmr.test` in front of everybody else there.
fn taking(change: impl FnOnce(Config) -> Config) -> (Postfix, House, Daemon) {
    let (listen, back) = (free_port(), free_port());
    let postfix = Postfix::start(&Setup::filtered_by(listen), Some(back));
    let config = config("take", listen, back)
        .set("smtp", "recipients", r#"["cmr@cmr.test"]"#)
        .text("gateway", "address", "mailto:cmr@cmr.test")
        .text("policy", "who_may_post", "anyone")
        .text("people", "first_post", "publish");
    let house = House::new(&change(config));
    let daemon = house.start();
    (postfix, house, daemon)
}

fn post(words: &str) -> Vec<u8> {
    Mail::from("Alice <alice@people.test>")
        .field("Message-ID", &format!("<{}@people.test>", words.replace(' ', "-")))
        .field("Subject", words)
        .text(&format!("{words} and more\n"))
        .write()
}

#[test]
fn only_the_posting_addresses_copy_ends_here() {
    if !can_run() {
        return;
    }
    let (postfix, house, daemon) = taking(|config| config);
    let mut client = Client::connect(postfix.entrance).unwrap();
    let mail = post("the great whales");
    let to = ["bob@cmr.test", "cmr@cmr.test", "carol@cmr.test", "cmr+tagless@people.cmr.test"];
    let reply = client.send("alice@people.test", &to[..3], &mail).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    postfix.wait_until_empty();
    let found = postfix.maildir();
    assert_eq!(found.keys().filter(|to| to.starts_with("cmr")).count(), 0, "{:?}", found.keys());
    for to in ["bob@cmr.test", "carol@cmr.test"] {
        let top = added(&found[to][0], &mail).unwrap();
        assert_eq!(names(&top).iter().filter(|name| **name == "X-CMR").count(), 1, "{top}");
        assert!(top.contains("verdict=taken (250 2.0.0)"), "{top}");
    }
    house.until("the post is stored", |house| (house.json(&["status"])["messages"] == 1).then_some(()));
    // Alone, with no copy for anybody else: nothing comes back.
    let reply = client.send("alice@people.test", &["CMR@cmr.test"], &post("the little shrimps")).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    postfix.wait_until_empty();
    assert_eq!((postfix.delivered(), house.json(&["status"])["messages"].as_u64()), (2, Some(2)));
    // Ordinary mail passes.
    let mail = numbered(1, 100);
    client.send("alice@people.test", &["bob@cmr.test"], &mail).unwrap();
    postfix.wait_until_empty();
    let found = postfix.maildir();
    assert!(found["bob@cmr.test"].iter().any(|it| added(it, &mail).is_ok_and(|top| !top.contains("X-CMR"))));
    assert!(daemon.stop().success());
}

/// While the database does not answer, mail for the posting address waits, and is taken once
/// afterwards; mail for others is passed.
#[test]
fn trouble_here_keeps_what_is_ours_and_passes_what_is_not() {
    if !can_run() {
        return;
    }
    for on_error in ["defer", "pass"] {
        let (postfix, house, daemon) = taking(|config| config.text("filter", "on_error", on_error));
        let conn = rusqlite::Connection::open(house.database()).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut client = Client::connect(postfix.entrance).unwrap();
        let (ours, both, other) = (post("for us alone"), post("for both of us"), numbered(1, 10));
        client.send("alice@people.test", &["cmr@cmr.test"], &ours).unwrap();
        client.send("alice@people.test", &["cmr@cmr.test", "bob@cmr.test"], &both).unwrap();
        client.send("alice@people.test", &["carol@cmr.test"], &other).unwrap();
        house.until("it has been tried", |_| {
            let log = postfix.log();
            let tried = log.contains("status=deferred") || on_error == "pass";
            (tried && postfix.maildir().contains_key("carol@cmr.test")).then_some(())
        });
        if on_error == "defer" {
            assert_eq!(postfix.delivered(), 1);
            conn.execute_batch("ROLLBACK").unwrap();
            postfix.wait_until_empty();
            assert_eq!(postfix.maildir()["bob@cmr.test"].len(), 1);
            house.until("both are stored", |house| (house.json(&["status"])["messages"] == 2).then_some(()));
        } else {
            // Postfix delivers to `cmr` itself, here to the maildir that takes everything.
            postfix.wait_until_empty();
            let found = postfix.maildir();
            assert_eq!(found["cmr@cmr.test"].len(), 2);
            assert!(!added(&found["bob@cmr.test"][0], &both).unwrap().contains("X-CMR"));
            conn.execute_batch("ROLLBACK").unwrap();
        }
        drop(conn);
        assert!(daemon.stop().success());
    }
}

/// LMTP to the filter: each recipient has a reply of its own, so nobody waits for anybody.
#[test]
fn by_lmtp_each_recipient_has_a_reply_of_its_own() {
    if !can_run() {
        return;
    }
    let (postfix, house, daemon) = taking(|config| config);
    let conn = rusqlite::Connection::open(house.database()).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (mut client, _) = Client::greeted(daemon.address("filter")).unwrap();
    assert_eq!(client.command("LHLO client.test").unwrap().code, 250);
    for command in ["MAIL FROM:<alice@people.test>", "RCPT TO:<bob@cmr.test>", "RCPT TO:<cmr@cmr.test>"] {
        assert_eq!(client.command(command).unwrap().code, 250);
    }
    assert_eq!(client.command("DATA").unwrap().code, 354);
    client.write(&crate::support::client::dotted(&post("by lmtp"))).unwrap();
    assert_eq!(client.reply().unwrap().code, 250);
    assert_eq!(client.reply().unwrap().code, 451);
    conn.execute_batch("ROLLBACK").unwrap();
    postfix.wait_until_empty();
    assert_eq!(postfix.maildir()["bob@cmr.test"].len(), 1);
    assert!(daemon.stop().success());
}

/// What the gateway itself writes passes its own filter on the way out, and is no news to it.
#[test]
fn our_own_mail_passes_our_own_filter() {
    if !can_run() {
        return;
    }
    let (listen, back, sink) = (free_port(), free_port(), Sink::start());
    let postfix =
        Postfix::start(&Setup { relayhost: Some(sink.address()), ..Setup::filtered_by(listen) }, Some(back));
    let config = config("copy", listen, back)
        .set("smtp", "recipients", r#"["cmr@cmr.test"]"#)
        .text("gateway", "address", "mailto:cmr@cmr.test")
        .text("people", "first_post", "publish")
        .trusting_loopback()
        .smarthost(postfix.entrance);
    let house = House::new(&config);
    let daemon = house.start();
    let mut client = Client::connect(daemon.smtp()).unwrap();
    let reply = client.send("alice@people.test", &["cmr@cmr.test"], &post("a question")).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    let answer = sink.wait_for("alice@people.test", |_| true);
    assert!(answer.field("X-CMR").is_none(), "{answer:?}");
    assert_eq!(house.json(&["status"])["messages"], 1);
    assert!(daemon.stop().success());
}

/// `learn`: passing mail goes into the pool, for the operator alone.
#[test]
fn what_is_learned_is_local() {
    if !can_run() {
        return;
    }
    let (postfix, house, daemon) = taking(|config| config.set("filter", "learn", r#"["users.lists.test"]"#));
    let mut client = Client::connect(postfix.entrance).unwrap();
    let listed = [b"List-Id: Users <users.lists.test>\r\n".to_vec(), post("herrings in the baltic")].concat();
    for mail in [&listed, &post("not of the list"), &listed] {
        assert_eq!(client.send("l@people.test", &["bob@cmr.test"], mail).unwrap().code, 250);
    }
    postfix.wait_until_empty();
    house.until("it is learned", |house| (house.json(&["status"])["messages"] == 1).then_some(()));
    let found = house.json(&["search", "herrings in the baltic"]);
    let shown = house.show(found["matches"][0]["id"].as_str().unwrap()).unwrap();
    let shown = if shown.is_array() { shown[0].clone() } else { shown };
    assert_eq!(shown["scope"], "local");
    let body = shown["body_utf8"].as_str().unwrap();
    assert!(body.starts_with("From: Alice <alice@people.test>\nDate: "), "{body}");
    assert_eq!(
        (&house.json(&["status"])["messages"], &house.json(&["status"])["queued"]),
        (&1.into(), &0.into())
    );
    let found = postfix.maildir();
    assert!(found["bob@cmr.test"].iter().all(|mail| !String::from_utf8_lossy(mail).contains("X-CMR")));
    assert!(daemon.stop().success());
}
