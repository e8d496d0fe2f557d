//! An import beside a running daemon, and beside another verb.

use super::{counts, import, mail, words, write};
use crate::cli_support::{House, Running};
use cmr_mail::config::Config;
use cmr_mail::gateway::lock::Lock;
use cmr_mail::gateway::{Gateway, clock};
use cmr_mail::receive::filter::{Judge, Passing};
use cmr_mail::receive::{Arrival, Via};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn a_daemon_takes_it_and_answers_with_it_at_once() {
    let house = House::new();
    let root = house.path().join("mail");
    for number in 0..300 {
        write(&root, &format!("cur/{number}:2,"), mail(number, &words(number)));
    }
    write(&root, "cur/bad", "no mail\n");
    let mut command = house.command("serve");
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut daemon = Running(command.spawn().unwrap());
    let lines = BufReader::new(daemon.0.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line == "ready"));
    assert_eq!(counts(&import(&house, &root, "").code(65)), [300, 0, 0, 1, 0]);
    let found = house.run("search --json thing123", b"").code(0).json();
    assert!(found["matches"][0]["excerpt"].as_str().unwrap().contains("thing123"), "{found}");
    assert_eq!(counts(&import(&house, &root, "").code(0)), [0, 0, 0, 0, 301]);
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait(), 0);
    let found = house.run("search --json thing123", b"").code(0).json();
    assert!(found["matches"][0]["excerpt"].as_str().unwrap().contains("thing123"), "after the daemon");
}

#[test]
fn a_daemon_for_short_messages_takes_ordinary_batches() {
    let house = House::with(
        "[smtp]\nlisten = [\"127.0.0.1:0\"]\nmax_message = \"16 KiB\"\n[send]\nsmarthost = \"smtp://127.0.0.1:1\"\n",
    );
    let root = house.path().join("mail");
    for number in 0..100 {
        let text: String = (0..120).map(|line| words(number * 1000 + line) + "\n").collect();
        write(&root, &format!("cur/{number}:2,"), mail(number, &text));
    }
    let mut command = house.command("serve");
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut daemon = Running(command.spawn().unwrap());
    let lines = BufReader::new(daemon.0.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line == "ready"));
    assert_eq!(counts(&import(&house, &root, "").code(0)), [100, 0, 0, 0, 0]);
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait(), 0);
}

/// The same mail, learned on its way through the filter and found in a mailbox, is one message.
#[tokio::test]
async fn what_was_learned_is_known_to_an_import() {
    let house = House::with(
        "[smtp]\nlisten = [\"127.0.0.1:0\"]\n[send]\nsmarthost = \"smtp://127.0.0.1:1\"\n\
         [filter]\nlisten = \"127.0.0.1:0\"\nnext_hop = \"127.0.0.1:1\"\nmode = \"copy\"\nlearn = \"all\"\n",
    );
    let config = Config::load(house.config()).unwrap();
    let mails = [mail(1, &words(1)), mail(2, &words(2)).replace("Mon, 5 Jan 2026", "Mon, 5 Jan 1996")];
    let gateway = Gateway::open(&config).unwrap();
    for raw in &mails {
        let arrival = Arrival {
            proof: None,
            via: Via::Filter,
            peer: None,
            through_relay: true,
            relay: None,
            kept: None,
            helo: None,
            tls: false,
            sender: Some("ann1@a.example".to_owned()),
            recipients: vec!["list@b.example".to_owned()],
            raw: raw.replace('\n', "\r\n").into_bytes(),
            received: clock::now(),
        };
        gateway.judge(Passing { arrival, taken: Vec::new(), whole: true }).await;
    }
    let database = rusqlite::Connection::open(house.data().join("cmr-mail.db")).unwrap();
    let begun = std::time::Instant::now();
    let stored =
        || database.query_row("SELECT count(*) FROM message", [], |row| row.get::<_, i64>(0)).unwrap();
    while stored() < 2 {
        assert!(begun.elapsed().as_secs() < 60, "{} are learned", stored());
        tokio::task::yield_now().await;
    }
    gateway.close();
    drop(gateway);
    for (number, raw) in mails.iter().enumerate() {
        write(house.path(), &format!("m/cur/{number}"), format!("Received: from x\n{raw}"));
    }
    assert_eq!(counts(&import(&house, &house.path().join("m"), "").code(0)), [0, 2, 0, 0, 0]);
    let names: Vec<String> = database
        .prepare("SELECT author || ' ' || scope FROM message ORDER BY seq")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(names, ["mailto:ann1@a.example local", "mailto:ann2@a.example local"]);
}

#[test]
fn another_verb_that_has_the_database_is_named() {
    let house = House::new();
    write(house.path(), "m/cur/1", mail(1, "x"));
    let _lock = Lock::try_acquire(&house.data(), "backup").unwrap();
    let ended = import(&house, &house.path().join("m"), "").code(75);
    assert!(ended.err.contains("is in use by cmr-mail backup"), "{ended:#?}");
}
