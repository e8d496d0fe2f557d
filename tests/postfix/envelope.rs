//! The envelope passes as it is: the same mails with and without the filter come to the same.

use std::collections::BTreeSet;

use crate::identity::config;
use crate::mails::numbered;
use crate::server::{Postfix, Setup, can_run, free_port};
use crate::support::client::Client;
use crate::support::daemon::{House, until};
use crate::support::sink::Sink;

/// The lines of the log that say what became of a recipient at the end: who, how, and what was said.
fn ends(log: &str, sender: &str) -> BTreeSet<String> {
    let ids: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("/qmgr[") && line.contains(&format!("from=<{sender}>")))
        .filter_map(|line| line.split("]: ").nth(1)?.split(':').next())
        .collect();
    log.lines()
        .filter(|line| ids.iter().any(|id| line.contains(&format!("]: {id}: to="))))
        .filter(|line| !line.contains("relay=127.0.0.1[127.0.0.1]:") || line.contains("status=bounced"))
        .filter_map(|line| {
            let to = line.split("to=<").nth(1)?.split('>').next()?;
            let status = line.split("status=").nth(1)?.split(' ').next()?;
            let dsn = line.split("dsn=").nth(1)?.split(',').next()?;
            Some(format!("{to} {dsn} {status}"))
        })
        .collect()
}

/// One dialogue: the commands before the text, each with the reply it is to get.
struct Case {
    name: &'static str,
    commands: &'static [&'static str],
    header: &'static str,
}

const CASES: [Case; 5] = [
    Case { name: "null sender", commands: &["MAIL FROM:<>", "RCPT TO:<null@cmr.test>"], header: "" },
    Case {
        name: "smtputf8",
        commands: &["MAIL FROM:<j\u{fc}rgen@cmr.test> SMTPUTF8 BODY=8BITMIME", "RCPT TO:<\u{6797}@cmr.test>"],
        header: "Subject: \u{4f60}\u{597d}\r\n",
    },
    Case {
        name: "notify",
        commands: &[
            "MAIL FROM:<anna@cmr.test> RET=HDRS ENVID=envelope+2B1",
            "RCPT TO:<told@cmr.test> NOTIFY=SUCCESS ORCPT=rfc822;orig@cmr.test",
        ],
        header: "",
    },
    Case {
        name: "one bad of five",
        commands: &[
            "MAIL FROM:<berta@cmr.test>",
            "RCPT TO:<one@cmr.test>",
            "RCPT TO:<two@cmr.test>",
            "RCPT TO:<bad@other.test>",
            "RCPT TO:<four@cmr.test>",
            "RCPT TO:<five@cmr.test>",
        ],
        header: "",
    },
    Case {
        name: "odd addresses",
        commands: &[
            "MAIL FROM:<\"a b\"@cmr.test>",
            "RCPT TO:<\"c\\\"d e\"@cmr.test>",
            "RCPT TO:<f..g@cmr.test>",
            "RCPT TO:<aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@cmr.test>",
        ],
        header: "",
    },
];

/// What came out, without what differs from run to run: times, ids, ports, and the trace lines of
/// one more pass.
fn outcome(postfix: &Postfix, sink: &Sink, expected: usize) -> BTreeSet<String> {
    // Its log says a little later what was delivered.
    let logged = || postfix.log().matches("relay=virtual, ").count();
    let settled = || postfix.queued() == 0 && postfix.delivered() == expected && logged() == expected;
    until(&format!("{expected} mails are delivered, {}", postfix.delivered()), || settled().then_some(()));
    let mut found = BTreeSet::new();
    for (to, mails) in postfix.maildir() {
        for mail in mails {
            let text = String::from_utf8_lossy(&mail).into_owned();
            let kept = |line: &&str| {
                [
                    "Return-Path:",
                    "X-Original-To:",
                    "Subject:",
                    "Action:",
                    "Status:",
                    "Original-Recipient:",
                    "Final-Recipient:",
                    "Original-Envelope-Id:",
                    "Diagnostic-Code:",
                    "From:",
                    "Content-Description:",
                ]
                .iter()
                .any(|name| line.starts_with(name))
            };
            let lines: Vec<&str> = text.lines().filter(kept).collect();
            // A notice that says what was refused names ports.
            let lines = lines.join(" | ").replace(&sink.address().port().to_string(), "PORT");
            found.insert(format!("{to}: {lines}"));
        }
    }
    found
}

#[test]
fn the_envelope_comes_out_as_it_would_without_the_filter() {
    if !can_run() {
        return;
    }
    let run = |filtered: bool| {
        let sink = Sink::start();
        sink.refuse("bad@other.test", &["550 5.1.1 <bad@other.test>: no such user"; 3]);
        let (listen, back) = (free_port(), free_port());
        let setup = Setup { relayhost: Some(sink.address()), ..Setup::filtered_by(listen) };
        let postfix = Postfix::start(&setup, Some(back));
        let house = House::new(&config("copy", listen, back));
        let daemon = house.start();
        let server = if filtered { postfix.entrance } else { postfix.plain };
        let mut client = Client::connect(server).unwrap();
        for case in &CASES {
            for command in case.commands {
                let reply = client.command(command).unwrap();
                assert_eq!(reply.code, 250, "{}: {command}: {reply:?}", case.name);
            }
            assert_eq!(client.command("DATA").unwrap().code, 354);
            client.write(case.header.as_bytes()).unwrap();
            client.write(&crate::support::client::dotted(&numbered(1, 10))).unwrap();
            assert_eq!(client.reply().unwrap().code, 250, "{}", case.name);
        }
        // null 1, utf8 1, told 1 and its notice, four of five and the notice, three odd ones.
        let found = outcome(&postfix, &sink, 12);
        let ends: Vec<_> =
            ["", "anna@cmr.test", "berta@cmr.test"].map(|from| ends(&postfix.log(), from)).into();
        assert!(daemon.stop().success());
        (found, ends)
    };
    let (with, without) = (run(true), run(false));
    assert_eq!(with.0, without.0);
    assert!(
        with.0.iter().any(|it| it.contains("Action: delivered")
            && it.contains("orig@cmr.test")
            && it.contains("envelope+1")),
        "{:#?}",
        with.0
    );
    assert!(
        with.0.iter().any(|it| it.contains("Action: failed") && it.contains("550 5.1.1")),
        "{:#?}",
        with.0
    );
    assert!(!with.0.iter().any(|it| it.contains("Action: relayed")), "{:#?}", with.0);
    assert_eq!(with.1, without.1);
}

/// What Postfix says about its client reaches the judge and the next hop.
#[test]
fn the_original_client_is_told_onward() {
    if !can_run() {
        return;
    }
    let (postfix, house, daemon) = crate::identity::world("copy");
    let mut client = Client::connect(daemon.address("filter")).unwrap();
    for command in [
        "XFORWARD NAME=mail.example ADDR=192.0.2.77 PORT=4711",
        "XFORWARD PROTO=ESMTP HELO=example SOURCE=REMOTE",
    ] {
        assert_eq!(client.command(command).unwrap().code, 250);
    }
    assert_eq!(client.send("a@people.test", &["bob@cmr.test"], &numbered(1, 10)).unwrap().code, 250);
    postfix.wait_until_empty();
    let log = postfix.log();
    assert!(log.contains("client=mail.example[192.0.2.77]"), "{log}");
    assert!(daemon.stop().success());
    drop(house);
}
