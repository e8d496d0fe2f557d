//! An import beside a running daemon, and beside another verb.

use super::{counts, import, mail, words, write};
use crate::cli_support::{House, Running};
use cmr_mail::gateway::lock::Lock;
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
fn another_verb_that_has_the_database_is_named() {
    let house = House::new();
    write(house.path(), "m/cur/1", mail(1, "x"));
    let _lock = Lock::try_acquire(&house.data(), "backup").unwrap();
    let ended = import(&house, &house.path().join("m"), "").code(75);
    assert!(ended.err.contains("is in use by cmr-mail backup"), "{ended:#?}");
}
