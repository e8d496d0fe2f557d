//! How fast a folder is read, and how long a new mail takes into the pool: `cargo bench --bench imap`.
//!
//! A private Dovecot on loopback holds the mails in Maildirs on the same disk. Needs the Debian
//! package `dovecot-imapd`.
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
