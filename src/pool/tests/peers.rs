//! Who knows most.

use super::*;
use crate::distance::Metric;

const BOB: &str = "http://bob.example/";
const CHARLIE: &str = "http://charlie.example/";
const DAVE: &str = "mailto:dave@sky.example";

fn costs(pool: &Pool, body: &[u8], peers: &[&str]) -> Vec<PeerCost> {
    let peers: Vec<Address> = peers.iter().map(|p| address(p)).collect();
    pool.peer_costs(body, &peers)
}

#[test]
fn who_has_sent_the_most_about_it_codes_it_best() {
    let mut pool = Pool::new(Limits::default());
    pool.insert(entry(1, BOB, BOB, "Hello\n"));
    pool.insert(entry(2, CHARLIE, CHARLIE, "Mercury is the innermost planet\n"));
    pool.insert(entry(3, "http://x.example/", "http://x.example/", "Jupiter is the largest planet.\n"));
    let got = costs(&pool, QUESTION, &[BOB, CHARLIE, "http://x.example/", "http://new.example/"]);
    let [bob, charlie, x, new] = got.as_slice() else { panic!("{got:?}") };
    let alone = pool.coder().bits(QUESTION);
    assert_eq!((bob.bits, bob.signal), (alone, false));
    assert_eq!((new.bits, new.signal, new.messages), (alone, false, 0));
    assert!(charlie.signal && x.signal);
    assert!(x.bits < charlie.bits && charlie.bits < alone, "{got:#?}");
    assert_eq!(x.bits, pool.coder().bits_given(QUESTION, b"Jupiter is the largest planet.\n"));
}

#[test]
fn the_sender_is_credited_by_inserting_not_before() {
    let mut pool = Pool::new(Limits::default());
    let before = costs(&pool, QUESTION, &[BOB]);
    pool.insert(entry(1, BOB, BOB, "What is the largest planet?\n"));
    let after = costs(&pool, QUESTION, &[BOB]);
    assert!(!before[0].signal && after[0].signal);
    assert_eq!(pool.credited(&address(BOB)), (1, 1));
    // Once, however often it is inserted.
    pool.insert(entry(1, BOB, BOB, "What is the largest planet?\n"));
    assert_eq!(pool.credited(&address(BOB)), (1, 1));
}

#[test]
fn a_home_router_earns_only_once_it_has_sent_something_itself() {
    let mut pool = Pool::new(Limits::default());
    let via = |seq, body: &str| {
        let mut e = entry(seq, DAVE, BOB, body);
        e.hops = vec![address(BOB), address(CHARLIE), address(DAVE)];
        e
    };
    pool.insert(via(1, "Jupiter is the largest planet.\n"));
    assert_eq!(pool.credited(&address(CHARLIE)), (0, 0), "a mention earns nothing");
    pool.insert(entry(2, CHARLIE, CHARLIE, "Hello\n"));
    pool.insert(via(3, "Saturn has rings of ice.\n"));
    assert_eq!(pool.credited(&address(CHARLIE)).0, 2);
    assert!(costs(&pool, b"Which planet has rings of ice?", &[CHARLIE])[0].signal);
    assert_eq!(pool.credited(&address(DAVE)), (0, 0));
}

#[test]
fn local_messages_earn_nothing() {
    let mut pool = Pool::new(Limits::default());
    pool.insert(local(entry(1, BOB, BOB, "Jupiter is the largest planet.\n")));
    assert_eq!(pool.credited(&address(BOB)), (0, 0));
    assert_eq!(costs(&pool, QUESTION, &[BOB])[0].gain_bits, 0.0);
}

#[test]
fn a_profile_ages_and_is_bounded() {
    let mut pool = Pool::new(Limits::default());
    pool.insert(entry(1, BOB, BOB, "Jupiter is the largest planet.\n"));
    assert!(costs(&pool, QUESTION, &[BOB])[0].signal);
    let mut dice = Dice(3);
    // One long message does not push it out …
    pool.insert(entry(2, BOB, BOB, &dice.prose(30_000)));
    assert!(costs(&pool, QUESTION, &[BOB])[0].signal);
    // … forty kilobytes of others do.
    for seq in 3..20 {
        pool.insert(entry(seq, BOB, BOB, &dice.prose(800)));
    }
    assert!(!costs(&pool, QUESTION, &[BOB])[0].signal);
    assert!(pool.sent_by(&address(BOB)).len() <= 32 * 1024);
    assert!(pool.sent_by(&address(BOB)).len() > 16 * 1024);
}

#[test]
fn what_is_erased_is_known_to_nobody() {
    let mut pool = Pool::new(Limits { max_messages: 3, ..Limits::default() });
    pool.insert(entry(1, DAVE, BOB, "Jupiter is the largest planet.\n"));
    for seq in 2..=4 {
        let author = format!("http://a{seq}.example/");
        pool.insert(entry(seq, &author, BOB, "Saturn has rings.\n"));
    }
    assert!(pool.get(1).is_none(), "evicted");
    assert!(costs(&pool, QUESTION, &[BOB])[0].signal, "but still known to be his");
    assert!(pool.erase(1).is_none());
    assert!(!costs(&pool, QUESTION, &[BOB])[0].signal);
    assert!(!pool.sent_by(&address(BOB)).windows(7).any(|w| w == b"Jupiter"));

    pool.insert(entry(9, DAVE, CHARLIE, "Jupiter is the largest planet.\n"));
    assert_eq!(pool.erase_author(&address(DAVE)), [9]);
    assert!(pool.nearest(QUESTION, Audience::Operator, 5).iter().all(|s| s.seq != 9));
    assert_eq!(pool.sent_by(&address(CHARLIE)), b"");
}

#[test]
fn a_flood_of_new_senders_does_not_push_out_known_peers() {
    let mut pool = Pool::new(Limits { max_profiles: 10, ..Limits::default() });
    for seq in 0..5 {
        pool.insert(entry(seq, BOB, BOB, "Jupiter is the largest planet.\n"));
    }
    pool.pin([address(CHARLIE)]);
    pool.insert(entry(5, CHARLIE, CHARLIE, "Mercury is the innermost planet\n"));
    for seq in 10..200 {
        let author = format!("http://flood{seq}.example/");
        pool.insert(entry(seq, &author, &author, "buy my planet\n"));
    }
    assert_eq!(pool.credited(&address(BOB)).0, 5);
    assert_eq!(pool.credited(&address(CHARLIE)).0, 1, "pinned");
    assert_eq!(pool.credited(&address("http://flood199.example/")).0, 1);
    assert_eq!(pool.credited(&address("http://flood50.example/")).0, 0);
}

#[test]
fn only_the_most_promising_peers_are_measured() {
    let mut pool = Pool::new(Limits::default());
    let names: Vec<String> = (0..40).map(|i| format!("http://p{i:02}.example/")).collect();
    for (seq, name) in (1..).zip(&names) {
        let body = if seq == 33 { "Jupiter is the largest planet.\n" } else { "some planet\n" };
        pool.insert(entry(seq, name, name, body));
    }
    // Many others who speak of something else, so that the planet is nobody's commonplace.
    for seq in 100..400 {
        let name = format!("http://q{seq}.example/");
        pool.insert(entry(seq, &name, &name, &format!("rye bread {seq}\n")));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let got = costs(&pool, QUESTION, &names);
    assert_eq!(got.iter().filter(|c| c.signal).count(), PEER_NOMINEES);
    assert!(got.iter().all(|c| c.shared > 0 && c.signal == c.measured));
    let best = got.iter().min_by(|a, b| a.bits.total_cmp(&b.bits)).unwrap();
    assert_eq!(best.address, address("http://p32.example/"));
}

#[test]
fn the_raw_metric_measures_both_ways() {
    let mut pool = Pool::new(Limits::default());
    let sent = "Jupiter is the largest planet.\n";
    pool.insert(entry(1, BOB, BOB, sent));
    let got = pool.peer_costs_by(QUESTION, &[address(BOB)], Metric::Raw);
    assert_eq!(got[0].distance, pool.coder().measure(QUESTION, sent.as_bytes()).raw());
}
