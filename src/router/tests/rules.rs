//! The rules of the decision, one by one.

use super::*;

const ANSWER: &str = "Jupiter is the largest planet.\n";
const QUESTION: &str = "What is the largest planet?\n";
const BREAD: &str = "The bakery sells rye bread and poppy seed rolls on Saturdays.\n";
const HOME: &str = "http://home.example/";
const NEIGHBOUR: &str = "http://neighbour.example/";
const CLIENT: &str = "mailto:asker@client.example";
const WISE: &str = "http://wise.example/";
const BAKER: &str = "http://baker.example/";

fn asked() -> Message {
    message(&[NEIGHBOUR, HOME, CLIENT], 60 * SECOND, QUESTION)
}

/// 1: of `WISE`, which got it from another router; 2: of `BAKER`.
fn library() -> Vec<Message> {
    vec![
        message(&[WISE, "http://observatory.example/", "mailto:dave@sky.example"], DAY, ANSWER),
        message(&[BAKER], DAY, BREAD),
    ]
}

fn contacts() -> Vec<Contact> {
    vec![contact(BAKER), contact(WISE), contact(NEIGHBOUR)]
}

/// A weak match does not end the walk.
fn walking() -> RoutingPolicy {
    RoutingPolicy { first_walks: 3, max_hops: 6, answers: 3, strong_match: 1.0, ..RoutingPolicy::default() }
}

#[test]
fn matches_are_exchanged_through_home_routers() {
    let pool = pool(&library());
    let d = decide_on(&asked(), &pool, &contacts(), &Around::default(), &walking());
    assert_eq!(d.matches.len(), 1, "{d:#?}");
    assert_eq!(cached_to(&d), [(HOME.to_owned(), 1)]);
    // X goes on to the best peer. To the home router of the match it goes from where it was posted …
    assert_eq!(goes_to(&d), [WISE]);
    assert!(d.verdict.starts_with("1 match, goes on to 1 of 3 peers; 2 forwards"), "{}", d.verdict);
    let posted = message(&[CLIENT], 60 * SECOND, QUESTION);
    let one = RoutingPolicy { first_walks: 1, ..walking() };
    let d = decide_on(&posted, &pool, &contacts(), &Around::default(), &one);
    assert_eq!(goes_to(&d), [WISE, "http://observatory.example/"]);
    // … and from everywhere by the letter of A3.
    let literal = RoutingPolicy { policy: Strategy::Literal, ..walking() };
    let d = decide_on(&asked(), &pool, &contacts(), &Around::default(), &literal);
    assert_eq!(goes_to(&d), [WISE, "http://observatory.example/"]);
}

#[test]
fn the_nearest_matches_are_sent_back_and_all_by_the_letter() {
    let pool = pool(&eight());
    let found = |policy: &RoutingPolicy| {
        let d = decide_on(&asked(), &pool, &contacts(), &Around::default(), policy);
        (d.matches.len(), cached_to(&d).len())
    };
    assert_eq!(found(&walking()), (5, 3));
    assert_eq!(found(&RoutingPolicy { answers: 4, ..walking() }), (5, 4));
    assert_eq!(found(&RoutingPolicy { policy: Strategy::Literal, ..walking() }), (5, 5));
}

#[test]
fn the_neighbour_stands_in_for_a_home_router_that_cannot_be_sent_to() {
    let pool = pool(&library());
    let mut around = Around::default();
    around.refused.insert(address(HOME), "not listed, nothing authenticated yet".into());
    let d = decide_on(&asked(), &pool, &contacts(), &around, &walking());
    assert_eq!(cached_to(&d), [(NEIGHBOUR.to_owned(), 1)]);
    assert!(d.reasons.iter().any(|r| r.contains("not listed, nothing authenticated yet")), "{d:#?}");
    // If it has the match, it is served, and nobody stands in for it.
    let mut around = Around::default();
    around.has.insert((address(HOME), library()[0].id()));
    let d = decide_on(&asked(), &pool, &contacts(), &around, &walking());
    assert_eq!(cached_to(&d), []);
}

/// Lines below the first are signed by nobody: a stranger that says it took a message from its author is only
/// believed about authors of its own domain.
#[test]
fn a_stranger_is_the_home_of_its_own_people_alone() {
    let strangers =
        |all: &[&str]| Around { strangers: all.iter().map(|it| address(it)).collect(), ..Around::default() };
    let far = "http://observatory.example/";
    let all = strangers(&[HOME, NEIGHBOUR, far]);
    let pool = pool(&library());
    let d = decide_on(&asked(), &pool, &contacts(), &all, &walking());
    // The match goes to the author itself, and the walk ends here.
    assert_eq!(cached_to(&d), [(CLIENT.to_owned(), 1)]);
    assert_eq!(goes_to(&d), [""; 0], "{d:#?}");
    assert!(
        d.reasons.iter().any(|r| r.contains("nothing shows that http://home.example/ took it")),
        "{d:#?}"
    );
    // If the author can't be reached, a neighbour that is no stranger stands in.
    for (known, wanted) in [(true, vec![(NEIGHBOUR.to_owned(), 1)]), (false, vec![])] {
        let mut around = strangers(if known { &[HOME] } else { &[HOME, NEIGHBOUR] });
        around.refused.insert(address(CLIENT), "a stranger".into());
        let d = decide_on(&asked(), &pool, &contacts(), &around, &walking());
        assert_eq!(cached_to(&d), wanted);
    }
    // Nor is it believed about what is cached.
    let posted = message(&[CLIENT], 60 * SECOND, QUESTION);
    let one = RoutingPolicy { first_walks: 1, ..walking() };
    let to = goes_to(&decide_on(&posted, &pool, &contacts(), &all, &one));
    assert_eq!(to, [WISE, "mailto:dave@sky.example"]);
    // By the letter of A3 every line is believed.
    let literal = RoutingPolicy { policy: Strategy::Literal, ..walking() };
    let d = decide_on(&asked(), &pool, &contacts(), &all, &literal);
    assert_eq!(cached_to(&d), [(HOME.to_owned(), 1)]);
    // Of one domain with its author, it is believed.
    let at_home = message(&[NEIGHBOUR, HOME, "mailto:asker@home.example"], 60 * SECOND, QUESTION);
    let d = decide_on(&at_home, &pool, &contacts(), &all, &walking());
    assert_eq!((cached_to(&d), goes_to(&d)), (vec![(HOME.to_owned(), 1)], vec![WISE.to_owned()]));
}

/// Whoever gets something because of a message that a header says it has can be asked whether it has that.
#[test]
fn what_is_exchanged_says_because_of_what() {
    let pool = pool(&library());
    let asks = |x: &Message, pool: &Pool| {
        let one = RoutingPolicy { first_walks: 1, ..walking() };
        let d = decide_on(x, pool, &contacts(), &Around::default(), &one);
        let to_routers = d.forwards.iter().filter(|f| f.to != address(CLIENT));
        to_routers.map(|f| (f.to.to_string(), f.because.clone())).collect::<Vec<_>>()
    };
    let row = |to: &str, because: &[What]| (to.to_owned(), because.to_vec());
    assert_eq!(asks(&asked(), &pool), [row(HOME, &[What::This]), row(WISE, &[])]);
    let posted = message(&[CLIENT], 60 * SECOND, QUESTION);
    let far = "http://observatory.example/";
    assert_eq!(asks(&posted, &pool), [row(WISE, &[]), row(far, &[What::Match(1)])]);
    // Each of several reasons is enough.
    let mut two = library();
    two.push(message(
        &[BAKER, far, "mailto:eve@sky.example"],
        DAY,
        "Jupiter is the largest planet of all.\n",
    ));
    assert_eq!(asks(&posted, &super::pool(&two)).last(), Some(&row(far, &[What::Match(3), What::Match(1)])));
}

#[test]
fn nothing_goes_where_it_has_been() {
    let pool = pool(&library());
    // The wise one is in the header already, the baker is known to have it.
    let x = message(&[WISE, HOME, CLIENT], 60 * SECOND, QUESTION);
    let mut peers = contacts();
    peers[0].has = true;
    let d = decide_on(&x, &pool, &peers, &Around::default(), &walking());
    assert_eq!(goes_to(&d), [NEIGHBOUR]);
    assert_eq!(peer(&d, WISE).why, "it is in the header");
    assert_eq!(peer(&d, BAKER).why, "it is known to have it");
    assert_eq!(peer(&d, WISE).rank, 1, "it is shown where it would have been");
    // Nor to another spelling of it.
    let shouted = [contact("HTTP://Wise.Example")];
    let policy = RoutingPolicy { matches: 0, ..walking() };
    let d = decide_on(&x, &pool, &shouted, &Around::default(), &policy);
    assert_eq!(d.forwards, []);
    // The match has been at the home router of the asker.
    let mut library = library();
    library[0] = message(&[WISE, HOME, "mailto:dave@sky.example"], DAY, ANSWER);
    let d = decide_on(&asked(), &super::pool(&library), &contacts(), &Around::default(), &walking());
    assert_eq!(cached_to(&d), []);
    assert_eq!(goes_to(&d), [WISE], "nor does the question go back home");
}

/// What a gateway on the way has seen together it has exchanged: X to the home of Y, and Y to that of X.
#[test]
fn what_met_before_is_not_exchanged_again() {
    let policy = RoutingPolicy { policy: Strategy::Literal, compensation: Some(false), ..walking() };
    let far = "http://observatory.example/";
    let with = |hops: &[&str]| [message(hops, DAY, ANSWER)];
    let sent = |x: &Message, library: &[Message], around: &Around| {
        let d = decide_on(x, &pool(library), &[], around, &policy);
        (cached_to(&d).len(), goes_to(&d).len())
    };
    let by_others = with(&[WISE, far, "mailto:dave@sky.example"]);
    assert_eq!(sent(&asked(), &by_others, &Around::default()), (1, 1));
    assert_eq!(
        sent(&asked(), &with(&[NEIGHBOUR, far, "mailto:dave@sky.example"]), &Around::default()),
        (0, 0)
    );
    assert_eq!(
        sent(&asked(), &with(&[WISE, HOME, far, "mailto:dave@sky.example"]), &Around::default()),
        (0, 0)
    );
    for gateway in [NEIGHBOUR, HOME] {
        let mut around = Around::default();
        around.has.insert((address(gateway), by_others[0].id()));
        assert_eq!(sent(&asked(), &by_others, &around), (0, 0), "{gateway} has it");
        let around = Around {
            same: vec![address(gateway), address("mailto:cmr@another.example")],
            ..Around::default()
        };
        let library = with(&["mailto:cmr@another.example", far, "mailto:dave@sky.example"]);
        assert_eq!(sent(&asked(), &library, &around), (0, 0), "under another address");
    }
    // What was posted here goes to the home of X, which nobody else sends it to.
    let mut around = Around::default();
    around.own.insert(address(far));
    around.has.insert((address(NEIGHBOUR), by_others[0].id()));
    assert_eq!(sent(&asked(), &by_others, &around), (1, 0));
    // The same if its author is a peer that sent it to us: nobody else lets it know.
    let author = with(&[WISE]);
    let mut around = Around::default();
    around.has.insert((address(NEIGHBOUR), author[0].id()));
    assert_eq!(sent(&asked(), &author, &around), (1, 1));
    // Who wrote both is no gateway; and a post has come by nobody.
    assert_eq!(sent(&asked(), &with(&[WISE, far, CLIENT]), &Around::default()), (1, 1));
}

/// A gateway that has proved that it has several addresses is one peer, whichever of them stands where.
#[test]
fn nothing_goes_to_another_address_of_where_it_has_been() {
    const WISE_TOO: &str = "mailto:cmr@wise.example";
    let pool = pool(&library());
    let mut around = Around { same: vec![address(WISE), address(WISE_TOO)], ..Around::default() };
    let x = message(&[WISE_TOO, HOME, CLIENT], 60 * SECOND, QUESTION);
    let d = decide_on(&x, &pool, &contacts(), &around, &walking());
    assert_eq!(peer(&d, WISE).why, "it is in the header");
    around.has.insert((address(WISE_TOO), asked().id()));
    let d = decide_on(&asked(), &pool, &contacts(), &around, &walking());
    assert_eq!(peer(&d, WISE).why, "it is known to have it");
    // The walk goes there; the match was written there, under another address.
    around.has.clear();
    let library = [message(&[BAKER, WISE_TOO, "mailto:dave@sky.example"], DAY, ANSWER)];
    let peers = [contact(WISE), contact(NEIGHBOUR)];
    let d = decide_on(&asked(), &super::pool(&library), &peers, &around, &walking());
    assert_eq!(goes_to(&d), [WISE], "{d:#?}");
    // A match that it has under either of them does not go there.
    let x = message(&[NEIGHBOUR, WISE, CLIENT], 60 * SECOND, QUESTION);
    assert_eq!(cached_to(&decide_on(&x, &super::pool(&library), &[], &around, &walking())), []);
}

#[test]
fn a_peer_that_cannot_be_sent_to_is_listed_with_the_reason() {
    let pool = pool(&library());
    let mut peers = contacts();
    peers[1].may_send = false;
    peers[1].reason = Some("blocked".into());
    let d = decide_on(&asked(), &pool, &peers, &Around::default(), &walking());
    assert_eq!(peer(&d, WISE).why, "blocked");
    assert!(!peer(&d, WISE).chosen);
    assert!(!goes_to(&d).contains(&WISE.to_owned()));
}

#[test]
fn nothing_goes_to_ourselves() {
    let pool = pool(&library());
    let mut around = Around::default();
    for own in [HOME, WISE, "http://observatory.example/"] {
        around.own.insert(address(own));
    }
    let d = decide_on(&asked(), &pool, &contacts(), &around, &walking());
    assert_eq!(cached_to(&d), []);
    assert_eq!(goes_to(&d), Vec::<String>::new());
    let new = message(&[CLIENT], 60 * SECOND, QUESTION);
    let posted = decide_on(&new, &pool, &contacts(), &around, &walking());
    assert_eq!(
        BTreeSet::from_iter(goes_to(&posted)),
        BTreeSet::from([BAKER.to_owned(), NEIGHBOUR.to_owned()])
    );
    assert!(!d.peers.iter().any(|p| p.address == address(WISE)), "we are no peer of ours");
    assert!(d.matches[0].ours, "the match was posted here");
}

#[test]
fn local_messages_go_nowhere_and_match_for_nobody() {
    let x = asked();
    let subject = Subject { message: &x, id: x.id(), scope: Scope::Local, is_post: true };
    let mut cache = pool(&library());
    let policy = RoutingPolicy::default();
    let d = decide(&subject, &cache, &contacts(), &Around::default(), &policy, NOW, 7);
    assert_eq!((d.forwards.len(), d.peers.len()), (0, 0));
    assert_eq!(d.matches.len(), 1, "it is answered from the pool at once");
    // And a local message is no match for anybody.
    cache.remove(1);
    cache.insert(&entry(3, &library()[0], Scope::Local), &library()[0].body);
    let d = decide_on(&x, &cache, &contacts(), &Around::default(), &policy);
    assert_eq!(d.matches, []);
    assert_eq!(cached_to(&d), []);
}

#[test]
fn the_walk_ends() {
    let cache = pool(&library());
    let policy = RoutingPolicy { strong_match: 0.3, ..walking() };
    let says = |d: &Decision, words: &str| {
        assert!(d.reasons.iter().any(|r| r.contains(words)), "{words}: {d:#?}");
        assert!(d.peers.iter().all(|p| !p.chosen), "{d:#?}");
        assert_eq!(d.peers.len(), 3, "all are shown");
    };
    // By a strong match here (which still goes to where the question was asked).
    let d = decide_on(&asked(), &cache, &contacts(), &Around::default(), &policy);
    says(&d, "strong_match = 30 %");
    assert_eq!(cached_to(&d), [(HOME.to_owned(), 1)]);
    // By the length of the header.
    let five: Vec<String> = (0..6).map(|i| format!("http://r{i}.example/")).collect();
    let five: Vec<&str> = five.iter().map(String::as_str).collect();
    let d = decide_on(
        &message(&five, 60 * SECOND, QUESTION),
        &cache,
        &contacts(),
        &Around::default(),
        &walking(),
    );
    says(&d, "header has 6 lines (max_hops = 6)");
    let d = decide_on(
        &message(&five[1..], 60 * SECOND, QUESTION),
        &cache,
        &contacts(),
        &Around::default(),
        &walking(),
    );
    assert!(d.peers.iter().any(|p| p.chosen));
    // By age.
    let old = message(&[NEIGHBOUR, HOME, CLIENT], DAY + 3600 * SECOND, QUESTION);
    let d = decide_on(&old, &cache, &contacts(), &Around::default(), &walking());
    says(&d, "1d1h old (walk_age = 1d)");
    assert_eq!(cached_to(&d).len(), 1, "an old message is still answered");
    let young = message(&[NEIGHBOUR, HOME, CLIENT], DAY, QUESTION);
    let d = decide_on(&young, &cache, &contacts(), &Around::default(), &walking());
    assert!(peer(&d, WISE).chosen);
}

#[test]
fn who_has_come_to_where_a_match_was_posted_walks_no_further() {
    let mut around = Around::default();
    around.own.insert(address("http://observatory.example/"));
    let decided = |x: &Message| decide_on(x, &pool(&library()), &contacts(), &around, &walking());
    let d = decided(&asked());
    assert!(d.reasons.iter().any(|r| r.contains("it has come to where")), "{d:#?}");
    assert_eq!(goes_to(&d), Vec::<String>::new());
    // Where it is new it goes out all the same.
    let d = decided(&message(&[CLIENT], 60 * SECOND, QUESTION));
    assert!(d.peers.iter().any(|p| p.chosen), "{d:#?}");
    // A match of the same author is no place to have come to.
    let mut own = library();
    own[0] = message(&[WISE, "http://observatory.example/", CLIENT], DAY, ANSWER);
    let d = decide_on(&asked(), &pool(&own), &contacts(), &around, &walking());
    assert!(d.peers.iter().any(|p| p.chosen), "{d:#?}");
}

#[test]
fn an_own_earlier_message_does_not_end_the_walk() {
    let cache = pool(&[message(&[NEIGHBOUR, CLIENT], 1000 * SECOND, QUESTION), library().remove(1)]);
    let d = decide_on(
        &asked(),
        &cache,
        &contacts(),
        &Around::default(),
        &RoutingPolicy { strong_match: 0.3, ..walking() },
    );
    assert!(d.matches[0].gain_share > 0.3);
    assert!(d.peers.iter().any(|p| p.chosen), "{d:#?}");
}

#[test]
fn the_first_router_starts_three_walks_and_later_ones_go_on_with_one() {
    let cache = pool(&library());
    let peers: Vec<Contact> =
        (0..10).map(|i| contact(&format!("http://peer{i}.example/"))).chain(contacts()).collect();
    let chosen = |d: &Decision| d.peers.iter().filter(|p| p.chosen).count();
    let around = Around::default();
    let one_line = message(&[CLIENT], SECOND, QUESTION);
    let d = decide_on(&one_line, &cache, &peers, &around, &walking());
    assert_eq!(chosen(&d), 3, "{d:#?}");
    assert_eq!(d.peers[0].address, address(WISE));
    assert!(d.peers[0].chosen && d.peers[1].why.contains("by lot"), "{d:#?}");
    let d = decide_on(&asked(), &cache, &peers, &around, &walking());
    assert_eq!(chosen(&d), 1);
    let subject = Subject { message: &one_line, id: one_line.id(), scope: Scope::Public, is_post: true };
    let two = RoutingPolicy { first_walks: 2, ..walking() };
    let d = decide(&subject, &cache, &peers, &around, &two, NOW, 7);
    assert_eq!(chosen(&d), 2);
}

#[test]
fn without_a_signal_it_is_a_random_peer_or_nobody() {
    let cache = pool(&library());
    let peers: Vec<Contact> = (0..20).map(|i| contact(&format!("http://peer{i}.example/"))).collect();
    let x = message(&[NEIGHBOUR, CLIENT], SECOND, "Zebra finches sing at dawn.\n");
    let around = Around::default();
    let mut drawn = BTreeSet::new();
    for seed in 0..200 {
        let subject = Subject { message: &x, id: x.id(), scope: Scope::Public, is_post: false };
        let d = decide(&subject, &cache, &peers, &around, &RoutingPolicy::default(), NOW, seed);
        assert_eq!(goes_to(&d).len(), 1);
        drawn.extend(goes_to(&d));
    }
    assert_eq!(drawn.len(), 20, "everybody's turn comes");
    let discard = RoutingPolicy { no_signal: NoSignal::Discard, ..walking() };
    let d = decide_on(&x, &cache, &peers, &around, &discard);
    assert_eq!(d.forwards, []);
    // With a signal, discarding only drops the walks that would have gone by lot.
    let d = decide_on(&asked(), &cache, &contacts(), &around, &discard);
    assert!(peer(&d, WISE).chosen && !peer(&d, BAKER).chosen);
}

/// Who may get X in the place of a busy peer: whoever a walk could have chosen, and nobody by the letter.
#[test]
fn spare_peers_are_those_that_a_walk_might_have_gone_to() {
    let cache = pool(&library());
    let spare = |contacts: &[Contact], policy: &RoutingPolicy| {
        let d = decide_on(&asked(), &cache, contacts, &Around::default(), policy);
        d.peers.iter().filter(|p| p.spare).map(|p| p.address.to_string()).collect::<Vec<_>>()
    };
    let refused = |text: &str| Contact { may_send: false, ..contact(text) };
    let has = |text: &str| Contact { has: true, ..contact(text) };
    let walks = walking();
    let table = [
        // One stands in the header, and one is chosen.
        (contacts(), walks.clone(), vec![BAKER]),
        (vec![refused(BAKER), contact(WISE)], walks.clone(), vec![]),
        (vec![has(BAKER), contact(WISE)], walks.clone(), vec![]),
        (contacts(), RoutingPolicy { no_signal: NoSignal::Discard, ..walks.clone() }, vec![]),
        (contacts(), RoutingPolicy { max_hops: 2, ..walks.clone() }, vec![]),
        (contacts(), RoutingPolicy { policy: Strategy::Literal, ..walks.clone() }, vec![]),
    ];
    for (contacts, policy, expected) in table {
        assert_eq!(spare(&contacts, &policy), expected, "{contacts:?} {policy:?}");
    }
}

/// Messages that all match, of eight home routers.
fn eight() -> Vec<Message> {
    (0..8)
        .map(|i| {
            let (a, b) = (format!("http://a{i}.example/"), format!("http://b{i}.example/"));
            message(&[&a, &b, "mailto:x@y.example"], DAY + i * SECOND, ANSWER)
        })
        .collect()
}

#[test]
fn the_budget_caps_everything() {
    let texts = eight();
    let cache = pool(&texts);
    for max_forwards in 0..12 {
        let policy = RoutingPolicy { max_forwards, answers: 5, ..walking() };
        let d = decide_on(&asked(), &cache, &contacts(), &Around::default(), &policy);
        assert_eq!(d.forwards.len(), max_forwards.min(6), "{d:#?}");
        // Answers come first.
        assert_eq!(cached_to(&d).len(), max_forwards.min(5));
    }
    // For a post the answer that we give ourselves counts.
    let x = message(&[CLIENT], SECOND, QUESTION);
    let subject = Subject { message: &x, id: x.id(), scope: Scope::Public, is_post: true };
    let policy = RoutingPolicy { max_forwards: 3, ..walking() };
    let d = decide(&subject, &cache, &contacts(), &Around::default(), &policy, NOW, 7);
    assert_eq!(d.forwards.len(), 2);
}

#[test]
fn at_most_so_many_contacts_are_considered_pinned_ones_first() {
    let cache = pool(&library());
    let mut peers: Vec<Contact> = (0..60).map(|i| contact(&format!("http://peer{i:02}.example/"))).collect();
    peers.push(contact(WISE));
    peers[59].pinned = true;
    let policy = RoutingPolicy { contacts: 2, ..walking() };
    let d = decide_on(&asked(), &cache, &peers, &Around::default(), &policy);
    let considered: BTreeSet<String> = d.peers.iter().map(|p| p.address.to_string()).collect();
    assert_eq!(considered, BTreeSet::from([WISE.to_owned(), "http://peer59.example/".to_owned()]));
    assert!(d.reasons.iter().any(|r| r.contains("59 of 61 contacts are not considered")), "{d:#?}");
}

#[test]
fn the_id_of_x_is_no_match_of_x() {
    let x = asked();
    let cache = pool(std::slice::from_ref(&x));
    let d = decide_on(&x, &cache, &[], &Around::default(), &walking());
    assert_eq!(d.matches, []);
}

#[test]
fn a_key_exchange_is_nobodys_business() {
    let x = message(&[NEIGHBOUR, CLIENT], SECOND, "RSA key exchange request=c5,10001.");
    let d = decide_on(&x, &pool(&library()), &contacts(), &Around::default(), &walking());
    assert_eq!((d.forwards, d.peers, d.matches), (vec![], vec![], vec![]));
}

#[test]
fn the_literal_rule_sends_to_the_single_best_peer() {
    let literal = RoutingPolicy { policy: Strategy::Literal, matches: 0, ..RoutingPolicy::default() };
    let cache = pool(&library());
    let d = decide_on(&asked(), &cache, &contacts(), &Around::default(), &literal);
    assert_eq!(goes_to(&d), [WISE]);
    // Two that know the same are fairly close (3.3).
    let mut texts = library();
    texts.push(message(&["http://twin.example/"], DAY + SECOND, ANSWER));
    let mut peers = contacts();
    peers.push(contact("http://twin.example/"));
    let d = decide_on(&asked(), &pool(&texts), &peers, &Around::default(), &literal);
    assert_eq!(goes_to(&d).len(), 2);
    let single = RoutingPolicy { close_peers: 1, ..literal };
    let d = decide_on(&asked(), &pool(&texts), &peers, &Around::default(), &single);
    assert_eq!(goes_to(&d).len(), 1);
}

#[test]
fn the_literal_rule_keeps_what_the_best_peer_has_sent_and_compensates() {
    let literal = RoutingPolicy { policy: Strategy::Literal, matches: 0, ..RoutingPolicy::default() };
    let saturn = "Saturn is the second largest planet and has rings of ice.\n";
    let mut texts = library();
    texts.push(message(&["http://other.example/"], DAY, saturn));
    texts.push(message(&["http://other.example/"], DAY + SECOND, "Tram lines are closed for repair.\n"));
    let cache = pool(&texts);
    let bodies = (1..).zip(&texts).map(|(seq, m)| (seq, m.body.clone())).collect();
    let around = Around { bodies, ..Around::default() };
    let x = message(&[WISE, CLIENT], SECOND, QUESTION);
    let d = decide_on(&x, &cache, &contacts(), &around, &literal);
    assert_eq!(goes_to(&d), Vec::<String>::new(), "{d:#?}");
    assert_eq!(cached_to(&d), [(WISE.to_owned(), 3)], "{d:#?}");
    assert!(d.reasons.iter().any(|r| r.starts_with("it is kept")), "{d:#?}");
    // Selectable, in both directions.
    let without = RoutingPolicy { compensation: Some(false), ..literal };
    assert_eq!(decide_on(&x, &cache, &contacts(), &around, &without).forwards, []);
    let walk = RoutingPolicy { compensation: Some(true), matches: 0, ..walking() };
    let d = decide_on(&x, &cache, &contacts(), &around, &walk);
    assert_eq!(cached_to(&d), [(WISE.to_owned(), 3)]);
    assert_eq!(goes_to(&d).len(), 1, "the walk goes on to somebody else");
}

#[test]
fn a_decision_survives_json() {
    let d = decide_on(&asked(), &pool(&library()), &contacts(), &Around::default(), &walking());
    let json = serde_json::to_string(&d).unwrap();
    assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), d);
    assert!(!json.contains("Jupiter"), "no wording of messages is kept");
}
