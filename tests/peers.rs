//! What is thought of other gateways, and what an operator can say about them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

mod support;

use cmr_mail::gateway::worth::{NoVote, vote};
use cmr_mail::message::{MessageId, UnixTime};
use cmr_mail::store::people::{self, NewPerson};
use cmr_mail::store::{Store, limits, reputation};
use support::client::Client;
use support::daemon::{Config, Daemon, House};
use support::messages::{Mail, in_seconds, message, now};
use support::sink::Sink;

const PEER: &str = "mailto:cmr@peer.test";

fn send(daemon: &Daemon, from: &str, to: &str, mail: &[u8]) -> String {
    let (mut client, _) = Client::greeted(daemon.smtp()).unwrap();
    client.command("EHLO client.test").unwrap();
    let reply = client.send(from, &[to], mail).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    reply.text.replace('\n', " ")
}

/// A message of the peer, by its own mail; its id.
fn from_peer(daemon: &Daemon, author: &str, seconds: i64, text: &str) -> String {
    let bytes = message(&[(in_seconds(seconds), PEER)], text).write();
    let mail = Mail::from(author).attachments(&[("a.cmr", "base64", &bytes)]).write();
    let said = send(daemon, author, "cmr@home.test", &mail);
    said.split_whitespace().find(|word| word.len() == 16).unwrap().to_owned()
}

fn value(house: &House) -> f64 {
    house.until_idle();
    house.json(&["peers", "show", PEER])["reputation"].as_f64().unwrap()
}

const WHALES: &str = "Blue whales feed almost wholly on krill, small animals like shrimps that live in the cold \
                      waters of the Southern Ocean, and swallow tons of them a day in summer.";

#[test]
fn a_peer_that_was_verified_earns_and_loses() {
    let house = House::new(&Config::new().trusting_loopback());
    let daemon = house.start();
    from_peer(&daemon, "cmr@peer.test", -90, WHALES);
    assert_eq!(value(&house), 0.0, "the first message resembles nothing");
    from_peer(&daemon, "cmr@peer.test", -80, &format!("{WHALES} So it is said."));
    let good = value(&house);
    assert!(good > 0.001, "{good}");
    let noise: String = (0_u32..400).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761) >> 7)).collect();
    let id = from_peer(&daemon, "cmr@peer.test", -70, &noise);
    assert!(value(&house) < good - 0.03);
    let why = house.json(&["explain", &id])["reasons"].to_string();
    assert!(why.contains("looks like junk"), "{why}");
    assert!(house.show(&id).is_some(), "never dropped for it");
    let causes: Vec<String> = house
        .json(&["peers", "history", PEER])
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["cause"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(causes, ["junk", "gain"]);

    // Who is not the peer can't ruin it: not by junk in its name, nor by what it sent, again.
    let before = value(&house);
    for n in 0..5 {
        from_peer(&daemon, "eve@else.test", -60 + n, &format!("{noise}{n}"));
    }
    assert!((value(&house) - before).abs() < 1e-6);
}

/// Vote stuffing: a crowd of made-up addresses has the weight of one, and a day has few votes.
#[test]
fn votes_are_few_and_of_people() {
    let house = House::new(&Config::new().trusting_loopback());
    let daemon = house.start();
    let ids: Vec<MessageId> = (0..30)
        .map(|n| from_peer(&daemon, "cmr@peer.test", -90 + n, &format!("{n} {WHALES}")).parse().unwrap())
        .collect();
    let strange = from_peer(&daemon, "eve@else.test", -5, "an other thing").parse().unwrap();
    house.until_idle();
    drop(daemon);
    let store = Store::open(&house.dir().join("data")).unwrap();
    let peer = PEER.try_into().unwrap();
    let outcome = store
        .write(move |tx| {
            let now = now();
            let person = |name: &str, domain: &str| {
                let address = format!("{name}@{domain}");
                let (token, confirm) = (format!("t-{address}"), format!("c-{address}"));
                let new = NewPerson { address: &address, name, token: &token, confirm_token: &confirm };
                people::ensure(tx, &new, now)?;
                Ok::<_, cmr_mail::store::StoreError>(people::confirm(tx, &confirm, now)?.unwrap())
            };
            let value = || {
                Ok::<_, cmr_mail::store::StoreError>(
                    cmr_mail::store::peers::get(tx, &peer)?.map(|it| reputation::present(&it, now)).unwrap(),
                )
            };
            let before = value()?;
            let ann = person("ann", "people.test")?;
            let mut seen = vec![vote(tx, &ann, ids[0], false, now)?];
            seen.push(vote(tx, &ann, ids[0], true, now)?);
            seen.push(vote(tx, &ann, strange, false, now)?);
            let mut stranger = ann.clone();
            (stranger.confirmed_at, stranger.id) = (None, 99);
            seen.push(vote(tx, &stranger, ids[1], false, now)?);
            // However long ago that was.
            let next_month = UnixTime(now.0 + 30 * 86_400_000_000);
            limits::forget(tx, next_month)?;
            seen.push(vote(tx, &ann, ids[0], true, next_month)?);
            let one = value()?;
            // A hundred names at one domain, and then a name at each of a hundred domains.
            for n in 0..100 {
                let _ = vote(tx, &person(&format!("eve{n}"), "evil.test")?, ids[2], false, now)?;
            }
            let crowd = value()?;
            for n in 0..100 {
                let _ = vote(tx, &person("eve", &format!("evil{n}.test"))?, ids[3], false, now)?;
            }
            Ok((seen, [before, one, crowd, value()?]))
        })
        .unwrap();
    let (seen, [before, one, crowd, worst]) = outcome;
    assert_eq!(
        seen,
        [Ok(()), Err(NoVote::Again), Err(NoVote::Nobody), Err(NoVote::Unconfirmed), Err(NoVote::Again)]
    );
    assert!(one < before - 0.09, "{before} {one}");
    assert!(crowd < one && crowd > one - 0.15, "{one} {crowd}");
    assert!(worst > -0.5, "a day of the worst votes: {worst}");
    assert!(store.read(move |conn| reputation::history(conn, &PEER.try_into().unwrap())).unwrap().len() >= 2);
}

#[test]
fn what_finds_nothing_to_change_says_so() {
    let house = House::new(&Config::new().trusting_loopback());
    let daemon = house.start();
    from_peer(&daemon, "cmr@peer.test", -9, WHALES);
    house.until_idle();
    #[rustfmt::skip]
    let table: [(&[&str], i32, &str); 18] = [
        (&["peers", "pin", "mailto:cmr@home.test"], 64, "this gateway itself"),
        (&["peers", "pin", "mailto:CMR+x@HOME.test"], 64, "this gateway itself"),
        (&["peers", "unpin", PEER], 0, "was not pinned"),
        (&["peers", "unblock", PEER], 0, "was not blocked"),
        (&["peers", "unsuppress", PEER], 0, "was not suppressed"),
        (&["keys", "forget", PEER], 0, "no key was shared"),
        (&["block", "peer.test", "--undo"], 0, "was not refused"),
        (&["remove", "--author", "nobody@else.test"], 0, "nothing was erased"),
        (&["peers", "forget", "mailto:nobody@else.test"], 0, "not known as a peer"),
        (&["peers", "history", "mailto:nobody@else.test"], 69, "not known as a peer"),
        (&["block", "peer.test"], 0, "is refused from now on"),
        (&["block", "peer.test"], 0, "was refused already"),
        (&["peers", "unblock", PEER], 0, "stays refused"),
        (&["block", "peer.test", "--undo"], 0, "is no longer refused"),
        (&["keys", "set", PEER, "--text", "a secret of sixteen"], 0, "a key is shared"),
        (&["peers", "forget", PEER], 69, "a key is shared with it"),
        (&["keys", "forget", PEER], 0, "no key is shared with"),
        (&["peers", "forget", PEER], 0, "is forgotten"),
    ];
    for (args, code, words) in table {
        let ended = house.run(args, b"");
        let said =
            format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(ended.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
        if args == ["block", "peer.test"] {
            assert_eq!(house.json(&["peers", "show", PEER])["blocked"], true, "by its host");
        }
    }
    assert_eq!(house.json(&["peers"]).as_array().unwrap().len(), 0);
}

/// `[people] origin = "address"`: what comes later is sent to who asked, as with aliases.
#[test]
fn later_matches_come_whatever_the_origin_is() {
    for origin in ["alias", "address"] {
        let sink = Sink::start();
        let config = Config::new()
            .trusting_loopback()
            .smarthost(sink.address())
            .text("people", "origin", origin)
            .text("people", "first_post", "publish");
        let house = House::new(&config);
        let daemon = house.start();
        let ask = Mail::from("ann@people.test").field("Subject", "krill").text(WHALES);
        send(&daemon, "ann@people.test", "cmr@home.test", &ask.write());
        house.until_idle();
        from_peer(&daemon, "cmr@peer.test", -1, &format!("{WHALES} And in winter they fast."));
        house.until_idle();
        let got = sink.mails().iter().filter(|mail| mail.to[0] == "ann@people.test").count();
        assert_eq!(got, 2, "{origin}: the answer, and what came later");
    }
}
