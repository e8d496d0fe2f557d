//! Many of something: what one peer's name suffers from it, and what it costs.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::gate::{Gate, ask, post, read};
use crate::support::daemon::Config;
use crate::support::messages::{in_seconds, message, signed};
use cmr_mail::keys::Scheme;
use cmr_mail::keys::exchange::{Derivation, Method, Pair, request};
use cmr_mail::message::Address;

const VICTIM: &str = "http://victim.example/cmr";

fn gate() -> Gate {
    let gate = Gate::new("home", |config: Config| {
        config.text("http", "listen", "127.0.0.1:0").set("routing", "pinned", format!("[{VICTIM:?}]"))
    });
    gate.start();
    gate
}

fn full(count: usize, some: usize) -> usize {
    if std::env::var_os("CMR_MAIL_FULL").is_some() { count } else { some }
}

/// Processor time of the daemon so far.
fn cpu(gate: &Gate) -> Duration {
    let stat =
        std::fs::read_to_string(format!("/proc/{}/stat", gate.daemon.borrow().as_ref().unwrap().pid()))
            .unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// A thousand messages in a keyed peer's name cost it nothing.
#[test]
fn forged_senders_do_not_harm_their_victim() {
    let gate = gate();
    gate.house.verb(&["keys", "set", VICTIM, "--text", "secret"]);
    let look = || {
        gate.house
            .json(&["peers"])
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["address"] == VICTIM)
            .unwrap()
            .clone()
    };
    let before = look();
    let mut stream = TcpStream::connect(gate.at("http")).unwrap();
    for number in 0..1000 {
        let forged = message(&[(in_seconds(-100), VICTIM)], format!("Forged message {number}."));
        let forged = if number % 2 == 0 { forged } else { signed(forged, Scheme::Hmac, "guess") };
        stream.write_all(&post("/cmr", "", &forged.write())).unwrap();
        assert_eq!(read(&mut stream).status, 403);
    }
    let after = look();
    for field in ["reputation", "messages", "key", "blocked"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let good = signed(message(&[(in_seconds(-5), VICTIM)], "The real one."), Scheme::Hmac, "secret");
    assert_eq!(ask(gate.at("http"), &post("/cmr", "", &good.write())).status, 200);
    assert_eq!(
        gate.proof(&good.id().to_string()),
        format!("it is signed with the key that we share with {VICTIM}")
    );
}

/// Requests for keys without end: some are worked on, and then no more until an hour has passed.
#[test]
fn key_requests_without_end_cost_little() {
    let number = full(100_000, 3000);
    let gate = gate();
    let address = |text: &str| Address::try_from(text).unwrap();
    let (ours, victim) = (address("mailto:cmr@home.test"), address(VICTIM));
    let pair = Pair { ours: &victim, theirs: &ours, derivation: Derivation::Hkdf };
    let body = request(Method::Dh, pair, &[3; 32]).body.write();
    let before = cpu(&gate);
    let began = Instant::now();
    let mut counts = std::collections::BTreeMap::new();
    let mut stream = TcpStream::connect(gate.at("http")).unwrap();
    for n in 0..number {
        // In the name of a pinned peer, and of strangers.
        let stranger = format!("http://s{n}.example/");
        let from = if n % 2 == 0 { VICTIM } else { &stranger };
        let asks = message(&[(in_seconds(-100), from)], body.to_vec());
        stream.write_all(&post("/cmr", "", &asks.write())).unwrap();
        *counts.entry(read(&mut stream).status).or_insert(0) += 1;
    }
    let spent = cpu(&gate) - before;
    println!("{number} key requests in {:?}, {spent:?} of processor time: {counts:?}", began.elapsed());
    let worked_on = counts.get(&200).copied().unwrap_or(0);
    assert!((1..=6).contains(&worked_on), "{counts:?}");
    assert!(gate.keys(VICTIM).len() <= 4, "{:?}", gate.keys(VICTIM));
    let each = spent.as_micros() / u128::try_from(number).unwrap();
    assert!(each < 5000, "{each} µs for each");
}
