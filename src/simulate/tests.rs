use super::*;
use crate::evaluate::{Chance, Doc};
use crate::message::UnixTime;
use std::sync::Arc;

/// Conversations about different things: each thread has words of its own, and some that are
/// everybody's.
fn conversations(threads: u32, posts: u32) -> Traffic {
    let mut chance = Chance::new(11);
    let (mut mails, mut numbers) = (Vec::new(), Vec::new());
    for at in 0..posts {
        // A thread lives for a while: one of the five that are open.
        let newest = at * threads / posts;
        let thread = newest.saturating_sub(u32::try_from(chance.below(5)).unwrap());
        let mut text = String::new();
        for _ in 0..24 {
            let word = match chance.below(3) {
                0 => format!("topic{thread}word{} ", chance.below(12)),
                _ => format!("common{} ", chance.below(300)),
            };
            text.push_str(&word);
        }
        text.push('\n');
        mails.push(Doc {
            text: Arc::from(text.as_bytes()),
            author: format!("a{}", (thread * 7 + u32::try_from(chance.below(4)).unwrap()) % 60),
            date: Some(UnixTime::from_secs(1_700_000_000 + i64::from(at) * 600)),
            ..Doc::default()
        });
        numbers.push(thread);
    }
    Traffic::new(&mails, &numbers)
}

fn run(traffic: &Traffic, scenario: &Scenario, rules: &[Rule]) -> Vec<Row> {
    let mut rows = simulate(traffic, scenario, &RoutingPolicy::default(), rules, 2, &|_, _, _| {}).rows;
    for row in &mut rows {
        row.seconds = 0.0;
    }
    rows
}

/// Walks that leave most of a small network unvisited.
fn short() -> Routing {
    Routing { first_walks: Some(2), max_hops: Some(3), ..Routing::default() }
}

fn json(rows: &[Row]) -> String {
    serde_json::to_string(rows).unwrap()
}

#[test]
fn the_walk_finds_threads_and_a_run_can_be_repeated() {
    let traffic = conversations(10, 80);
    let scenario = Scenario { gateways: 24, routing: short(), ..Scenario::default() };
    let rules = [Rule::Configured, Rule::Central, Rule::Flooding(2), Rule::RandomWalk(6), Rule::Literal];
    let rows = run(&traffic, &scenario, &rules);
    let again = |scenario| json(&run(&traffic, scenario, &[Rule::Configured]));
    assert_eq!(json(rows.get(..1).unwrap()), again(&scenario), "the same seed, the same figures");
    assert_ne!(json(rows.get(..1).unwrap()), again(&Scenario { seed: 2, ..scenario.clone() }));
    let [walk, central, flooding, random, literal] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(central.bodies_per_post, 0.0);
    assert_eq!(central.load_max_share, 1.0);
    assert!(central.recall > 0.5, "{central:?}");
    assert!(walk.recall > 0.5 * central.recall, "{walk:?} {central:?}");
    assert!(literal.hops_mean > 0.0, "{literal:?}");
    assert!(flooding.bodies_per_post > walk.bodies_per_post, "{flooding:?} {walk:?}");
    assert!(random.hops_mean > 2.0, "{random:?}");
    for row in &rows {
        assert_eq!(row.refused_per_post, 0.0, "no message comes twice to the same gateway: {row:?}");
        assert!(row.load.iter().all(|posts| *posts <= traffic.posts.len()), "{row:?}");
    }
    assert!(!walk.way.is_empty(), "the picture has a way to show");
}

#[test]
fn what_happens_to_the_network_shows_in_the_figures() {
    let traffic = conversations(8, 60);
    let calm = Scenario { gateways: 24, routing: short(), ..Scenario::default() };
    let walk = |scenario: &Scenario| run(&traffic, scenario, &[Rule::Configured]).remove(0);
    let before = walk(&calm);

    let lossy = walk(&Scenario { loss: 0.3, ..calm.clone() });
    assert!(lossy.recall > 0.9 * before.recall, "the queue tries again: {lossy:?} {before:?}");

    let silent = walk(&Scenario { offers: false, ..calm.clone() });
    assert_eq!(silent.offers_per_post, 0.0);
    assert!(silent.bodies_per_post > before.bodies_per_post);

    let capped = walk(&Scenario { cap_per_hour: 2, ..calm.clone() });
    assert!(capped.busy_per_post > 0.0 && capped.load_max_share <= before.load_max_share, "{capped:?}");

    let deaths = Deaths { share: 0.5, at: 0.5, until: 1.0, busiest: false };
    let dead = walk(&Scenario { deaths, ..calm.clone() });
    let late = |row: &Row| row.recall_by_tenth.iter().skip(5).sum::<f64>();
    assert!(dead.recall > 0.0 && late(&dead) < late(&before), "{dead:?} {before:?}");
    // Which is not the same as half of the network taken out from the start.
    assert_eq!(dead.recall_by_tenth.first(), before.recall_by_tenth.first());

    let poison = Poison { share: 0.2, names: Named::Victim };
    let poisoned = walk(&Scenario { poison, ..calm.clone() });
    assert!(poisoned.misdirected_per_post > 0.0, "its neighbours believe it, and it is asked: {poisoned:?}");
    assert!(poisoned.named_bodies_share < poisoned.named_contacts_share, "{poisoned:?}");
    // Who names itself becomes no home of others, and makes nobody's walk begin anew.
    let poison = Poison { share: 0.2, names: Named::Attacker };
    let usurped = walk(&Scenario { poison, ..calm.clone() });
    assert!(usurped.named_bodies_share > 0.0, "{usurped:?}");
    assert!(usurped.bodies_per_post < 1.2 * before.bodies_per_post, "{usurped:?} {before:?}");

    let off = walk(&Scenario { skew_s: 25, ..calm.clone() });
    assert_eq!(off.refused_per_post, 0.0, "within the skew a message waits: {off:?}");
    let wrong = walk(&Scenario { skew_s: 7200, ..calm });
    assert!(wrong.refused_per_post > 0.0, "beyond it it is refused: {wrong:?}");
}

#[test]
fn a_part_that_is_left_out_is_missing() {
    let traffic = conversations(6, 50);
    let scenario = Scenario { gateways: 12, routing: short(), ..Scenario::default() };
    let parts =
        [Part::Steps, Part::Matches, Part::Introductions, Part::Competition, Part::Learning, Part::Offers];
    let rules: Vec<Rule> =
        [Rule::Configured].into_iter().chain(parts.into_iter().map(Rule::Without)).collect();
    let rows = run(&traffic, &scenario, &rules);
    let introductions = |row: &Row| row.bodies_per_post - row.steps_per_post - row.matches_per_post;
    let [all, steps, matches, alone, lot, known, offers] = rows.as_slice() else { panic!("{rows:?}") };
    assert!(all.steps_per_post > 0.0 && all.matches_per_post > 0.0 && introductions(all) > 0.0, "{all:?}");
    assert_eq!(steps.steps_per_post, 0.0);
    assert_eq!(matches.matches_per_post, 0.0);
    assert!(introductions(alone).abs() < 1e-9, "{alone:?}");
    assert!(lot.steps_per_post > 0.0 && lot.way != all.way, "as many steps, to others: {lot:?}");
    assert_ne!(json(std::slice::from_ref(known)), json(std::slice::from_ref(all)));
    assert_eq!(offers.offers_per_post, 0.0);
}

#[test]
fn spam_is_told_apart_from_posts() {
    let traffic = conversations(10, 100).with_spam(0.2, true, 5);
    let row = run(&traffic, &Scenario { gateways: 10, ..Scenario::default() }, &[Rule::Configured]).remove(0);
    assert!(row.spam_share > 0.0 && row.spam_share < 0.5, "{row:?}");
}

#[test]
fn the_page_has_every_rule_and_nothing_from_elsewhere() {
    let traffic = conversations(6, 60);
    let outcome = |gateways| {
        let scenario = Scenario { gateways, ..Scenario::default() };
        let rules = [Rule::Configured, Rule::Central];
        simulate(&traffic, &scenario, &RoutingPolicy::default(), &rules, 1, &|_, _, _| {})
    };
    let html = page("<b>", &[outcome(5), outcome(10)]).unwrap();
    for part in [
        "&lt;b&gt;",
        "configured",
        "central",
        "5 gateways",
        "10 gateways",
        "<svg",
        "Growth",
        "the way of one post",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("http"), "the page loads nothing");
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
}

#[test]
fn rules_have_names() {
    for name in ["configured", "central", "literal", "flooding-3", "random-40"] {
        assert_eq!(name.parse::<Rule>().unwrap().to_string(), name);
    }
    for part in Part::ALL {
        assert_eq!(Rule::Without(part).to_string().parse(), Ok(Rule::Without(part)));
    }
    for name in ["", "flooding", "flooding-0", "random-1001", "walk", "no-", "no-walk"] {
        assert!(name.parse::<Rule>().is_err(), "{name}");
    }
}

#[test]
fn a_replay_has_the_gateways_of_its_trace() {
    let traffic = conversations(6, 60);
    // Each author at one of five gateways, which know each other; but for one, which nobody knows.
    let home = |author: u32| author % 5;
    let seat = |number: u32, asked| trace::Seat {
        transport: "http".to_owned(),
        asked,
        knows: (0..5).filter(|other| *other != number && *other != 4 && number != 4).collect(),
    };
    let posted = |post: &Post| trace::Posted {
        at: post.at.0,
        author: post.author,
        home: home(post.author),
        thread: post.thread,
        text: String::from_utf8(post.text.to_vec()).unwrap(),
    };
    let of = |asked| Trace {
        numbers: trace::Numbers { cache: 1000, latency_ms: [1, 9], routing: short() },
        gateways: (0..5).map(|number| seat(number, asked)).collect(),
        posts: traffic.posts.iter().map(posted).collect(),
        ..Trace::default()
    };
    let play = |trace: &Trace| {
        let rules = [Rule::Configured, Rule::Central];
        replay(trace, 1, &RoutingPolicy::default(), &rules, 2, &|_, _, _| {}).rows
    };
    let rows = play(&of(true));
    let names: Vec<&str> = rows.iter().map(|row| row.policy.as_str()).collect();
    assert_eq!(names, ["trace", "configured", "central"]);
    let (real, simulated) = (rows.first().unwrap(), rows.get(1).unwrap());
    assert_eq!((real.recall, real.bodies_per_post), (0.0, 0.0), "nothing was sent in it");
    assert!(simulated.recall > 0.5 && simulated.offers_per_post > 0.0, "{simulated:?}");
    let alone = traffic.posts.iter().filter(|post| home(post.author) == 4).count();
    assert_eq!(simulated.load.last(), Some(&alone), "{simulated:?}");
    let silent = play(&of(false));
    let silent = silent.get(1).unwrap();
    assert_eq!(silent.offers_per_post, 0.0);
    assert!(silent.bodies_per_post > simulated.bodies_per_post);
}
