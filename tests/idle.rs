//! Many who say nothing, and the next one who has something to say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

mod support;

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::client::Client;
use support::daemon::{Config, House};
use support::messages::Mail;

const IDLE: usize = 1_000;

/// What a thousand idle sessions may cost, with everything else that the daemon holds.
const MEMORY_KIB: u64 = 200 * 1024;

/// How soon the next client is served. The goal is a second, and it is held to it at full scale; on
/// a machine that is busy with other things the short run must not fail over the clock.
fn soon() -> Duration {
    Duration::from_secs(if std::env::var_os("CMR_MAIL_FULL").is_some() { 1 } else { 10 })
}

/// A thousand connections need more descriptors than many shells allow. The daemon, started from
/// here, would inherit the higher limit; it gets the old one and has to help itself.
fn raise_descriptors() -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
    setrlimit(Resource::Nofile, wanted).unwrap();
    assert!(
        before.maximum.is_none_or(|most| most >= 4_096),
        "the hard limit of open files is {:?}; this test needs 4096 (ulimit -Hn)",
        before.maximum
    );
    before
}

fn config() -> Config {
    Config::new().trusting_loopback().text("people", "first_post", "publish")
}

fn deliver(client: &mut Client, number: usize) {
    let mail = Mail::from("Alice <alice@people.test>")
        .field("Message-ID", &format!("<{number}@people.test>"))
        .field("Subject", "Is anybody there?")
        .text(&format!("This is mail number {number}.\n"));
    let reply = client.send("alice@people.test", &["cmr@home.test"], &mail.write()).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

#[test]
fn a_thousand_idle_clients_and_a_slow_one_do_not_keep_the_next_one_waiting() {
    let before = raise_descriptors();
    let house = House::new(
        &config().set("smtp", "max_connections", "1100").set("smtp", "max_connections_per_ip", "1100").text(
            "policy",
            "post_at_most",
            "1000000/s",
        ),
    );
    let soft = before.current.map_or_else(|| "unlimited".to_owned(), |soft| soft.to_string());
    let daemon = house.start_after(&format!("ulimit -Sn {soft}"));
    let memory_before = daemon.memory_kib("VmRSS");

    let mut idle: Vec<Client> = (0..IDLE)
        .map(|n| Client::connect(daemon.smtp()).unwrap_or_else(|e| panic!("idle client {n}: {e}")))
        .collect();
    // One that sends its mail a byte at a time, and never comes to the end of it.
    let mut slow = Client::connect(daemon.smtp()).unwrap();
    for line in ["MAIL FROM:<slow@people.test>", "RCPT TO:<cmr@home.test>"] {
        assert_eq!(slow.command(line).unwrap().code, 250);
    }
    assert_eq!(slow.command("DATA").unwrap().code, 354);

    let mut worst = Duration::ZERO;
    for number in 0..5 {
        slow.write(b"x").unwrap();
        let start = Instant::now();
        let mut client = Client::connect(daemon.smtp()).unwrap();
        deliver(&mut client, number);
        worst = worst.max(start.elapsed());
    }
    let (memory, peak) = (daemon.memory_kib("VmRSS"), daemon.memory_kib("VmHWM"));
    println!(
        "with {IDLE} idle clients and one that trickles, a new one was served within {worst:.1?} (the slowest of 5); \
         resident memory {memory} KiB, at most {peak} KiB, before they came {memory_before} KiB"
    );
    assert!(worst < soon(), "{worst:?}");
    assert!(peak < MEMORY_KIB, "{peak} KiB");

    // The idle ones were not sent away for it, nor was the slow one.
    for client in &mut idle {
        assert_eq!(client.command("NOOP").unwrap().code, 250);
    }
    slow.write(b"\r\n.\r\n").unwrap();
    assert_ne!(slow.reply().unwrap().code, 421);
    drop(idle);
    assert!(daemon.stop().success());
}

#[test]
fn one_client_too_many_is_told_so() {
    raise_descriptors();
    for (key, places, words) in
        [("max_connections_per_ip", 5, "from your address"), ("max_connections", 5, "Too many connections")]
    {
        let house = House::new(&config().set("smtp", key, places.to_string()));
        let daemon = house.start();
        let mut inside: Vec<Client> = (0..places)
            .map(|n| Client::connect(daemon.smtp()).unwrap_or_else(|e| panic!("{key}, client {n}: {e}")))
            .collect();
        let (mut refused, greeting) = Client::greeted(daemon.smtp()).unwrap();
        assert_eq!(greeting.code, 421, "{key}: {greeting:?}");
        assert!(greeting.text.contains(words) && greeting.text.starts_with("4."), "{key}: {greeting:?}");
        assert!(refused.command("NOOP").is_err(), "{key}: the connection is closed after 421");

        // Those inside are served, and a place that becomes free can be taken.
        deliver(&mut inside[0], places);
        let mut leaving = inside.pop().unwrap();
        assert_eq!(leaving.command("QUIT").unwrap().code, 221);
        drop(leaving);
        let mut next = support::daemon::until("the free place", || Client::connect(daemon.smtp()).ok());
        deliver(&mut next, places + 1);
        assert!(daemon.stop().success());
    }
}
