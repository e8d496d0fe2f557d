//! Who knows most.

use super::*;

const BOB: &str = "http://bob.example/";
const CHARLIE: &str = "http://charlie.example/";
const DAVE: &str = "mailto:dave@sky.example";

fn costs(pool: &Kept, body: &[u8], peers: &[&str]) -> Vec<PeerCost> {
    let peers: Vec<Address> = peers.iter().map(|p| address(p)).collect();
    pool.peer_costs(body, &peers)
}

#[test]
fn who_has_sent_the_most_about_it_codes_it_best() {
    let mut pool = Kept::new(Limits::default());
    pool.insert(entry(1, BOB, BOB, "Hello\n"));
    pool.insert(entry(2, CHARLIE, CHARLIE, "Mercury is the innermost planet\n"));
    pool.insert(entry(3, "http://x.example/", "http://x.example/", "Jupiter is the largest planet.\n"));
    let got = costs(&pool, QUESTION, &[BOB, CHARLIE, "http://x.example/", "http://new.example/"]);
    let [bob, charlie, x, new] = got.as_slice() else { panic!("{got:?}") };
    let alone = bob.bits;
    assert_eq!((bob.bits, bob.signal), (alone, false));
    assert_eq!((new.bits, new.signal, new.messages), (alone, false, 0));
    assert!(charlie.signal && x.signal);
    assert!(x.bits < charlie.bits && charlie.bits < alone, "{got:#?}");
}

#[test]
fn the_sender_is_credited_by_inserting_not_before() {
    let mut pool = Kept::new(Limits::default());
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
    let mut pool = Kept::new(Limits::default());
    let via = |seq, body: &str| {
        let mut e = entry(seq, DAVE, BOB, body);
        e.entry.hops = vec![address(BOB), address(CHARLIE), address(DAVE)];
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
    let mut pool = Kept::new(Limits::default());
    pool.insert(local(entry(1, BOB, BOB, "Jupiter is the largest planet.\n")));
    assert_eq!(pool.credited(&address(BOB)), (0, 0));
    assert_eq!(costs(&pool, QUESTION, &[BOB])[0].gain_bits, 0.0);
}

#[test]
fn a_profile_ages_by_generations() {
    let mut pool = Kept::new(Limits::default());
    let mut dice = Dice(3);
    pool.insert(entry(1, BOB, BOB, "Jupiter is the largest planet.\n"));
    assert!(costs(&pool, QUESTION, &[BOB])[0].signal);
    // One long message does not push it out, nor do a thousand.
    pool.insert(entry(2, BOB, BOB, &dice.prose(30_000)));
    for seq in 3..=2000 {
        pool.insert(entry(seq, BOB, BOB, "Hello\n"));
    }
    assert!(costs(&pool, QUESTION, &[BOB])[0].shared > 0);
    // With the third generation the first one is forgotten, and nothing else.
    pool.insert(entry(2001, BOB, BOB, "The tram is late.\n"));
    assert_eq!(costs(&pool, QUESTION, &[BOB])[0].shared, 0);
    assert!(costs(&pool, b"late tram", &[BOB])[0].shared > 0);
    assert_eq!(pool.nearest(QUESTION, Audience::Public, 1)[0].seq, 1, "the message is here");
    assert_eq!(pool.credited(&address(BOB)).0, 2001);
}

#[test]
fn what_is_gone_is_known_to_nobody() {
    let mut pool = Kept::new(Limits { max_messages: 3, ..Limits::default() });
    pool.insert(entry(1, DAVE, BOB, "Jupiter is the largest planet.\n"));
    assert!(costs(&pool, QUESTION, &[BOB])[0].signal);
    for seq in 2..=4 {
        let author = format!("http://a{seq}.example/");
        pool.insert(entry(seq, &author, BOB, "Saturn has rings.\n"));
    }
    assert!(pool.get(1).is_none(), "evicted");
    assert!(!costs(&pool, QUESTION, &[BOB])[0].signal);
    assert!(!pool.sent_by(&address(BOB), 10).contains(&1));

    pool.insert(entry(9, DAVE, CHARLIE, "Jupiter is the largest planet.\n"));
    assert_eq!(pool.sent_by(&address(CHARLIE), 10), [9]);
    assert_eq!(pool.erase_author(&address(DAVE)), [9]);
    assert!(pool.nearest(QUESTION, Audience::Operator, 5).iter().all(|s| s.seq != 9));
    assert_eq!(pool.sent_by(&address(CHARLIE), 10), [0; 0]);
    // What an author is known for as a peer goes with it.
    pool.insert(entry(10, BOB, BOB, "Jupiter is the largest planet.\n"));
    pool.erase_author(&address(BOB));
    assert_eq!(pool.credited(&address(BOB)), (0, 0));
}

#[test]
fn a_flood_of_new_senders_does_not_push_out_known_peers() {
    let mut pool = Kept::new(Limits { max_profiles: 10, ..Limits::default() });
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
fn all_peers_are_measured_at_once() {
    let mut pool = Kept::new(Limits::default());
    let names: Vec<String> = (0..40).map(|i| format!("http://p{i:02}.example/")).collect();
    for (seq, name) in (1..).zip(&names) {
        let body = if seq == 33 { "Jupiter is the largest planet.\n" } else { "some planet\n" };
        pool.insert(entry(seq, name, name, body));
    }
    // Many others who speak of something else, so that the planet is nobody's commonplace.
    for seq in 100..900 {
        let name = format!("http://q{seq}.example/");
        pool.insert(entry(seq, &name, &name, &format!("rye bread {seq}\n")));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let got = costs(&pool, QUESTION, &names);
    assert!(got.iter().all(|c| c.shared > 0 && c.signal), "{got:#?}");
    let best = got.iter().min_by(|a, b| a.bits.total_cmp(&b.bits)).unwrap();
    assert_eq!(best.address, address("http://p32.example/"));
}

#[test]
fn of_many_peers_none_is_nearer_because_it_came_before_others_who_say_the_same() {
    for peers in [40, 120, 300] {
        let mut pool = Kept::new(Limits::default());
        let names: Vec<String> = (0..peers).map(|i| format!("http://p{i:03}.example/")).collect();
        for (seq, name) in (0..).zip(names.iter().cycle().take(600)) {
            pool.insert(entry(seq, name, name, "zebra crossings everywhere\n"));
        }
        pool.insert(entry(1000, BOB, BOB, "zebra crossings and quaggas\n"));
        let last = &names[names.len() - 1];
        let got = costs(&pool, b"zebra crossings and quaggas\n", &[&names[0], last, BOB]);
        let [first, last, bob] = &got[..] else { panic!("{got:?}") };
        assert!(
            (first.gain_bits - last.gain_bits).abs() < 0.2 && first.shared == last.shared,
            "{peers}: {got:?}"
        );
        assert!(bob.signal && bob.gain_bits > first.gain_bits + 5.0, "{peers}: {got:?}");
    }
}

#[test]
fn of_whom_nothing_is_here_any_more_nothing_is_known() {
    let mut pool = Kept::new(Limits::default());
    for seq in 0..80 {
        pool.insert(entry(seq, CHARLIE, CHARLIE, "Jupiter is the largest planet\n"));
    }
    pool.insert(entry(100, BOB, BOB, "Jupiter is the largest planet\n"));
    assert!(costs(&pool, QUESTION, &[BOB])[0].gain_bits > 0.0);
    pool.remove(100);
    assert_eq!(costs(&pool, QUESTION, &[BOB])[0].gain_bits, 0.0);
}
