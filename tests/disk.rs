//! Trouble with the disk and the database: 4xx while it lasts, nothing half stored, and back to
//! work by itself afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use support::client::{Client, Reply};
use support::daemon::{Config, Daemon, House};
use support::messages::Mail;

const TROUBLE: (u16, &str) = (451, "4.3.0 ");

fn house() -> House {
    House::new(&Config::new().trusting_loopback().text("people", "first_post", "publish").text(
        "policy",
        "post_at_most",
        "1000000/s",
    ))
}

/// Sends a mail with this word and of about this length; the reply that settles its fate.
fn send(server: SocketAddr, word: &str, length: usize) -> Reply {
    let mail = Mail::from("Alice <alice@people.test>")
        .field("Message-ID", &format!("<{word}@people.test>"))
        .field("Subject", word)
        .text(&format!("{word} {}\n", "and so on ".repeat(length / 10)));
    let mut client = Client::connect(server).unwrap();
    client.send("alice@people.test", &["cmr@home.test"], &mail.write()).unwrap()
}

fn is_stored(house: &House, word: &str) -> bool {
    let conn = house.read_database();
    let mut select = conn.prepare("SELECT count(*) FROM text WHERE instr(body, ?1) > 0").unwrap();
    let count: i64 = select.query_row([format!("{word} ").as_bytes()], |row| row.get(0)).unwrap();
    assert!(count <= 1, "{word} is stored {count} times");
    count == 1
}

/// While there is trouble mails get 4xx and are not stored; when it is over, the next attempt of
/// the same sender succeeds and is stored once, by the same process.
fn trouble_passes(
    house: &House,
    mut daemon: Daemon,
    reply: (u16, &str),
    begin: impl FnOnce(&Daemon),
    end: impl FnOnce(&Daemon),
) {
    let is_it = |given: &Reply| given.code == reply.0 && given.text.starts_with(reply.1);
    assert_eq!(send(daemon.smtp(), "before", 100).code, 250);
    begin(&daemon);
    for word in ["during", "again"] {
        let refused = send(daemon.smtp(), word, 400_000);
        assert!(is_it(&refused), "{word}: {refused:?} instead of {reply:?}");
        assert!(daemon.is_running());
    }
    // Whoever looks after the house sees it.
    let trouble = &house.json(&["status"])["trouble"];
    assert!(!trouble.as_str().unwrap().is_empty());
    let check = house.run(&["check", "--json"], b"");
    assert!(!check.status.success());
    assert!(String::from_utf8_lossy(&check.stdout).contains("its last attempt to write failed"), "{check:?}");
    end(&daemon);
    for word in ["before", "during", "again", "after"] {
        let taken = send(daemon.smtp(), word, if word == "before" { 100 } else { 400_000 });
        assert_eq!(taken.code, 250, "{word}: {taken:?}");
        assert!(is_stored(house, word), "{word}");
    }
    house.until("everything is routed", |house| (house.json(&["status"])["unrouted"] == 0).then_some(()));
    assert_eq!(house.json(&["status"])["messages"], 4);
    assert_eq!(house.json(&["status"])["trouble"], "");
    assert!(daemon.is_running());
    assert!(daemon.stop().success());
}

#[test]
fn a_locked_database() {
    let house = house();
    let daemon = house.start();
    let conn = rusqlite::Connection::open(house.database()).unwrap();
    trouble_passes(
        &house,
        daemon,
        TROUBLE,
        |_| conn.execute_batch("BEGIN IMMEDIATE").unwrap(),
        |_| conn.execute_batch("ROLLBACK").unwrap(),
    );
}

/// Files may not grow beyond a limit: a write comes back with EFBIG. No rights are needed to set
/// the soft limit, and to lift it again.
#[test]
fn a_file_that_must_not_grow() {
    let house = house();
    // The signal that goes with it is ignored, as a shell's child inherits it.
    let daemon = house.start_after("trap '' XFSZ");
    let limit = |daemon: &Daemon, soft: Option<u64>| {
        let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
        prlimit(pid, Resource::Fsize, Rlimit { current: soft, maximum: None }).unwrap();
    };
    trouble_passes(
        &house,
        daemon,
        TROUBLE,
        |daemon| limit(daemon, Some(16 * 1024)),
        |daemon| limit(daemon, None),
    );
}

/// The library that makes the disk fail, built once per test.
fn shim(dir: &Path) -> PathBuf {
    let library = dir.join("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/shim.c");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .args(["-ldl"])
        .output()
        .unwrap_or_else(|e| panic!("cc can't be run ({e}): apt-get install gcc libc6-dev"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

fn disk_fails(how: &str, reply: (u16, &str)) {
    let house = house();
    let marker = house.dir().join("trouble");
    let data = house.dir().canonicalize().unwrap().join("data");
    let library = shim(house.dir());
    let daemon = house.start_with(|command| {
        command.env("LD_PRELOAD", library).env("CMR_TEST_DISK", &marker).env("CMR_TEST_DIR", data);
    });
    trouble_passes(
        &house,
        daemon,
        reply,
        |_| fs::write(&marker, how).unwrap(),
        |_| fs::remove_file(&marker).unwrap(),
    );
}

#[test]
fn a_full_disk() {
    disk_fails("F", (452, "4.3.1 "));
}

#[test]
fn a_disk_that_fails_to_write() {
    disk_fails("E", TROUBLE);
}

#[test]
fn a_disk_that_fails_to_sync() {
    disk_fails("S", TROUBLE);
}
