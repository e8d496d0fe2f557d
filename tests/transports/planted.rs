//! Messages that enemies plant or copy: another body under an id that is about to come, and what a peer
//! has signed, again and again.

use crate::gate::{Answer, Gate, ask, post};
use crate::support::daemon::Config;
use crate::support::messages::{in_seconds, message, signed};
use cmr_mail::keys::Scheme;
use cmr_mail::message::Message;

const PEER: &str = "http://keyed.example/cmr";
const ENEMY: &str = "http://enemy.example/cmr";

fn gate() -> Gate {
    let gate = Gate::new("home", |config: Config| config.text("http", "listen", "127.0.0.1:0"));
    gate.start();
    gate.house.verb(&["keys", "set", PEER, "--text", "secret"]);
    gate
}

fn upload(gate: &Gate, message: &Message) -> Answer {
    ask(gate.at("http"), &post("/cmr", "", &message.write()))
}

fn of_peer(message: Message) -> Message {
    signed(message, Scheme::Hmac, "secret")
}

#[test]
fn a_planted_id_stops_nothing() {
    let gate = gate();
    let (above, line, below) = (in_seconds(-20), in_seconds(-30), in_seconds(-40));
    // The enemy has guessed the line that the peer is about to write, and has a body for it.
    let planted = message(&[(above, ENEMY), (line, PEER)], "What the enemy says that the peer says.");
    assert_eq!(upload(&gate, &planted).status, 200, "nobody can know yet");
    let real = of_peer(message(&[(line, PEER)], "What the peer says."));
    let answer = upload(&gate, &real);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let shown = gate.gets(&real.id().to_string());
    assert!(shown["conflicts"].as_u64() >= Some(1), "{shown}");
    gate.until_routed();
    let search = gate.house.json(&["search", "What the peer says", "-n", "5"]).to_string();
    assert!(search.contains("What the peer says."), "{search}");
    // The other way round the first one stays.
    let first = of_peer(message(&[(below, PEER)], "The peer was the first."));
    assert_eq!(upload(&gate, &first).status, 200);
    for late in [
        message(&[(above, ENEMY), (below, PEER)], "The enemy comes late."),
        message(&[(in_seconds(-10), ENEMY), (in_seconds(-35), "http://x.example/"), (below, PEER)], "Later."),
    ] {
        let answer = upload(&gate, &late);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(
            answer.text().starts_with("kept aside: the message: another message has the id"),
            "{}",
            answer.text()
        );
        assert_eq!(gate.house.json(&["show", &first.id().to_string()])["conflicts"], 0);
    }
    assert_eq!(gate.gets(&first.id().to_string())["body_utf8"], "The peer was the first.");
    // Nobody guesses ours: 53 bits in 16 decimals behind the microseconds.
    let times: Vec<String> = (0..3)
        .map(|number| {
            let id = gate.posts(&format!("Our own message {number}."));
            gate.gets(&id)["hops"][0]["time"].as_str().unwrap().to_owned()
        })
        .collect();
    let decimals: Vec<&str> = times.iter().map(|time| time.split_once('.').unwrap().1).collect();
    assert!(decimals.iter().all(|it| it.len() >= 20), "{times:?}");
    assert!(decimals[0][6..] != decimals[1][6..] && decimals[1][6..] != decimals[2][6..], "{times:?}");
}

#[test]
fn copies_of_a_signed_message_cost_nothing() {
    let gate = gate();
    let standing = || {
        let all = gate.house.json(&["peers"]);
        let peer = all.as_array().unwrap().iter().find(|peer| peer["address"] == PEER).unwrap().clone();
        (peer["reputation"].as_f64().unwrap(), peer["messages"].as_u64().unwrap())
    };
    let sent = of_peer(message(&[(in_seconds(-60), PEER)], "A message of the peer."));
    assert_eq!(upload(&gate, &sent).status, 200);
    gate.until_routed();
    let before = standing();
    for _ in 0..100 {
        let answer = upload(&gate, &sent);
        assert_eq!((answer.status, answer.text().contains("known")), (200, true), "{}", answer.text());
    }
    assert_eq!(standing(), before);
    // The peer itself sends again what it knows that we have: that counts, and copies of it do not.
    let origin = (in_seconds(-90), "http://origin.example/");
    let forward = |seconds| of_peer(message(&[(in_seconds(seconds), PEER), origin], "It was here before."));
    assert_eq!(upload(&gate, &forward(-50)).status, 200);
    gate.until_routed();
    let before = standing();
    let again = forward(-40);
    for _ in 0..100 {
        assert_eq!(upload(&gate, &again).status, 200);
    }
    let after = standing();
    let lost = before.0 - after.0;
    assert!((0.001..0.003).contains(&lost), "{before:?} {after:?}");
    assert_eq!(before.1, after.1);
}
