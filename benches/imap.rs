//! How fast a folder is read, and how long a new mail takes into the pool: `cargo bench --bench imap`.
//!
//! A private Dovecot on loopback holds the mails in Maildirs on the same disk. Needs the Debian
//! package `dovecot-imapd`. `CMR_MAIL_BENCH_MAILS=100000` measures the first run over a folder of so
//! many mails instead: killed in the middle, and once more with `since`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    dead_code,
    reason = "a benchmark that cannot go on has nothing better to do, and uses a part of what the tests have"
)]

#[path = "../tests/imap/dovecot.rs"]
mod dovecot;
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use dovecot::Dovecot;
use support::daemon::{House, until};
use support::messages::Mail;

const MAILS: usize = 10_000;
const NEWS: usize = 50;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("imap: measures only under `cargo bench`");
        return;
    }
    println!("{} processors", std::thread::available_parallelism().unwrap());
    if let Ok(mails) = std::env::var("CMR_MAIL_BENCH_MAILS") {
        return first_run(mails.parse().expect("CMR_MAIL_BENCH_MAILS is a number"));
    }
    for after in ["seen", "move:Done"] {
        let dovecot = Dovecot::start();
        dovecot.make("cmr", "Done");
        for n in 1..=MAILS {
            dovecot.deliver("cmr", "INBOX", &post(n));
        }
        let house = House::new(&dovecot.config("cmr", &format!("after = \"{after}\"")));
        std::fs::write(house.dir().join("password"), "secret\n").unwrap();
        let begun = Instant::now();
        let daemon = house.start();
        let (folder, flag) = if after == "seen" { ("INBOX", Some('S')) } else { ("Done", None) };
        until("all of them", || {
            let (flagged, all) = dovecot.flagged("cmr", folder, flag.unwrap_or('S'));
            (if flag.is_some() { flagged } else { all } >= MAILS).then_some(())
        });
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{after}: {MAILS} mails in {seconds:.1} s, {:.0} a second, {} MiB",
            MAILS as f64 / seconds,
            daemon.memory_kib("VmHWM") >> 10
        );
        assert!(daemon.stop().success());
        if after == "seen" {
            news(&dovecot, &house);
        }
    }
}

/// The first run over a large folder: nine tenths of its mails are old.
fn first_run(mails: usize) {
    let dovecot = Dovecot::start();
    for n in 1..=mails {
        dovecot.deliver("cmr", "INBOX", &post(n));
    }
    let recent = mails / 10;
    let new = dovecot.folder("cmr", "INBOX").join("new");
    let mut names: Vec<_> = std::fs::read_dir(&new).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in &names[..mails - recent] {
        // INTERNALDATE is the time of the file: 13 September 2020.
        let old = std::time::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
    let house = |more: &str| {
        let house = House::new(&dovecot.config("cmr", more));
        std::fs::write(house.dir().join("password"), "secret\n").unwrap();
        house
    };
    let mailbox = |house: &House| house.json(&["status"])["mailboxes"][0].clone();
    // `keep`, so that the next house finds the folder as this one did.
    let whole = house("after = \"keep\"");
    let begun = Instant::now();
    let mut daemon = whole.start();
    let mut peak = 0;
    let half = 1..=mails as u64 / 2;
    until_long("half of them", || half.contains(&mailbox(&whole)["behind"].as_u64()?).then_some(()));
    let (took, behind) = (begun.elapsed(), mailbox(&whole)["behind"].as_u64().unwrap());
    println!("what a person sees:\n{}", String::from_utf8_lossy(&whole.verb(&["status"])));
    peak = daemon.memory_kib("VmHWM").max(peak);
    daemon.kill();
    let first = mails as u64 - behind;
    println!(
        "{first} mails in {:.1} s, {:.0} a second, then killed",
        took.as_secs_f64(),
        first as f64 / took.as_secs_f64()
    );
    let stored = || -> i64 {
        whole.read_database().query_row("SELECT count(*) FROM message", [], |row| row.get(0)).unwrap()
    };
    let (before, begun) = (stored(), Instant::now());
    daemon = whole.start();
    let start = begun.elapsed();
    let read = |house: &House| !mailbox(house)["last_success"].as_str().unwrap().is_empty();
    until_long("all of them", || read(&whole).then_some(()));
    let seconds = begun.elapsed().as_secs_f64();
    let rest = stored() - before;
    println!(
        "{rest} more in {seconds:.1} s (the start {:.1} s), {:.0} a second",
        start.as_secs_f64(),
        rest as f64 / seconds
    );
    peak = daemon.memory_kib("VmHWM").max(peak);
    println!("{} messages of {mails} mails, {} MiB at most", stored(), peak >> 10);
    assert!(daemon.stop().success());
    for line in whole.log().lines().filter(|line| line.contains("folder")) {
        println!("{line}");
    }
    let begun = Instant::now();
    let some = house("after = \"keep\"\nsince = \"2021-01-01\"");
    let daemon = some.start();
    until_long("the recent ones", || read(&some).then_some(()));
    let messages = some.json(&["status"])["messages"].as_u64().unwrap();
    println!(
        "since: {messages} mails in {:.1} s, {} MiB",
        begun.elapsed().as_secs_f64(),
        daemon.memory_kib("VmHWM") >> 10
    );
    assert_eq!(messages, recent as u64);
    assert!(daemon.stop().success());
}

/// As `until`, for as long as it takes.
fn until_long(what: &str, mut look: impl FnMut() -> Option<()>) {
    let begun = Instant::now();
    while look().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(3600), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// From the moment when a mail stands in the mailbox to the commit that stores it, by IDLE.
fn news(dovecot: &Dovecot, house: &House) {
    let daemon = house.start();
    until("IDLE", || (house.json(&["status"])["mailboxes"][0]["state"] == "idle").then_some(()));
    let database = house.read_database();
    let count =
        || -> i64 { database.query_row("SELECT count(*) FROM message", [], |row| row.get(0)).unwrap() };
    let mut lags = Vec::new();
    for n in 1..=NEWS {
        let before = count();
        dovecot.deliver("cmr", "INBOX", &post(MAILS + n));
        let begun = Instant::now();
        while count() == before {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not come");
            std::thread::sleep(Duration::from_millis(1));
        }
        lags.push(begun.elapsed());
        // IDLE begins again before the next one comes.
        dovecot.until_flagged("cmr", "INBOX", 'S', MAILS + n);
        std::thread::sleep(Duration::from_millis(100));
    }
    lags.sort();
    println!(
        "{NEWS} new mails, each in the pool after {} ms in the middle, {} ms at most",
        lags[NEWS / 2].as_millis(),
        lags[NEWS - 1].as_millis()
    );
    assert!(daemon.stop().success());
}

fn post(number: usize) -> Vec<u8> {
    Mail::from(&format!("person{number}@people.test"))
        .field("Subject", &format!("Question {number}"))
        .field("Message-ID", &format!("<post-{number}@people.test>"))
        .text(&format!("What became of the comet number {number} that was seen over the harbour?\n"))
        .write()
}
