//! One process at a time on a data directory, between processes, and what others are told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod cli_support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use cli_support::{FakeDaemon, House, Running, limits};
use cmr_mail::gateway::control::control_path;
use cmr_mail::gateway::lock::Lock;

/// A daemon that has said `ready`.
fn serve(house: &House) -> Running {
    let mut child = house.command("serve").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let running = Running(child);
    assert!(out.lines().map_while(Result::ok).any(|line| line == "ready"), "it ended without ready");
    running
}

#[test]
fn a_second_daemon_is_told_who_the_first_one_is() {
    let house = House::new();
    let first = serve(&house);
    let start = Instant::now();
    let second = house.run("serve", b"").code(75);
    assert!(start.elapsed() < Duration::from_secs(9), "no use in waiting for a daemon");
    let who = format!("in use by cmr-mail serve (process {}, since 20", first.0.id());
    assert!(second.err.contains(&who), "{}", second.err);
    assert_eq!(second.out, "", "not ready");
}

#[test]
fn a_killed_daemon_holds_nothing_up() {
    let house = House::new();
    let mut first = serve(&house);
    first.signal(rustix::process::Signal::KILL);
    first.wait();
    assert!(control_path(&house.data()).exists(), "a dead socket stays behind");
    let mut second = serve(&house);
    second.signal(rustix::process::Signal::TERM);
    assert_eq!(second.wait(), 0);
    assert!(!control_path(&house.data()).exists());
    assert_eq!(Lock::holder(&house.data()).unwrap(), None);
}

#[test]
fn a_verb_waits_ten_seconds_for_another_process_and_no_longer() {
    let house = House::new();
    let lock = Lock::try_acquire(&house.data(), "import").unwrap();
    let start = Instant::now();
    let ended = house.run("status", b"").code(75);
    let who = format!("in use by cmr-mail import (process {}", std::process::id());
    assert!(ended.err.contains(&who), "{}", ended.err);
    assert!(start.elapsed() >= Duration::from_secs(10));
    drop(lock);
}

/// The daemon has its lock before its socket: whoever asks in between is not turned away.
#[test]
fn a_verb_finds_a_daemon_that_is_just_starting() {
    let house = House::new();
    let lock = Lock::try_acquire(&house.data(), "serve").unwrap();
    let verb = house.command("queue --json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let answer = |_, _| Ok(serde_json::json!([]));
    let _daemon = FakeDaemon::under(lock, None, limits(), answer);
    let ended = verb.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "[]\n");
}
