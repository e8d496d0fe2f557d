//! What a hostile world tries, against the whole program: each test is a door that was found open.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cmr_mail::keys::{self, Key, Scheme};
use serde_json::Value;
use support::client::Client;
use support::daemon::{Config, Daemon, House};
use support::messages::{Mail, in_seconds, message};
use support::scene::Scene;
use support::sink::Sink;

fn send(daemon: &Daemon, from: &str, to: &str, mail: &[u8]) -> (u16, String) {
    let (mut client, _) = Client::greeted(daemon.smtp()).unwrap();
    client.command("EHLO client.test").unwrap();
    let reply = client.send(from, &[to], mail).unwrap();
    (reply.code, reply.text)
}

/// Rule 20: a body with an A5 prefix is never pooled, kept raw or aside.
#[test]
fn a_key_in_transit_leaves_no_trace_in_any_disguise() {
    for config in
        [Config::new().trusting_loopback(), Config::new().set("smtp", "relays", r#"["127.0.0.0/8"]"#)]
    {
        let house = House::new(&config.text("policy", "who_may_post", "anyone"));
        let daemon = house.start();
        let secret = "Clear key exchange=7365637265742d6b6579.";
        let good = message(&[(in_seconds(-9), "mailto:w@peer.test")], "a good one").write();
        let key = message(&[(in_seconds(-8), "mailto:w@peer.test")], secret).write();
        let bad = message(&[(in_seconds(-7), "mailto:w@peer.test")], "bad").write();
        // Its length is wrong, so it can't be read as a message.
        let broken = [key.as_slice(), b"more"].concat();
        let tail = [bad.as_slice(), b"more"].concat();
        let mails = [
            Mail::from("al@people.test").text(secret),
            Mail::from("al@people.test").field("Subject", secret).text(""),
            Mail::from("al@people.test").attachments(&[
                ("a.cmr", "base64", &good),
                ("b.cmr", "base64", &key),
                ("c.cmr", "base64", &tail),
            ]),
            Mail::from("al@people.test").attachments(&[("a.cmr", "base64", &broken)]),
            Mail::from("al@people.test").attachments(&[("a.cmr", "quoted-printable", &broken)]),
            Mail::from("al@people.test").attachments(&[("a.cmr", "7bit", &broken)]),
        ];
        for mail in &mails {
            send(&daemon, "al@people.test", "cmr@home.test", &mail.write());
        }
        let asides = house.json(&["show", "--aside"]);
        for aside in asides.as_array().unwrap() {
            assert!(aside["bytes"].as_u64().unwrap() < 200, "a whole mail was kept: {aside}");
        }
        drop(daemon);
        let encoded = STANDARD.encode("7365637265742d6b6579");
        for entry in std::fs::read_dir(house.dir().join("data")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
            for word in ["7365637265742d6b6579", encoded.get(..20).unwrap()] {
                assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
            }
        }
    }
}

/// Rule 14: what was erased does not come back as something kept aside.
#[test]
fn what_was_removed_is_not_kept_aside_when_a_relay_brings_it_again() {
    let house = House::new(&Config::new().set("smtp", "relays", r#"["127.0.0.0/8"]"#));
    let daemon = house.start();
    let erased = message(&[(in_seconds(-9), "mailto:w@peer.test")], "zebrafinch").write();
    let other = message(&[(in_seconds(-8), "mailto:w@peer.test")], "a good one").write();
    let alone = Mail::from("w@peer.test").attachments(&[("a.cmr", "7bit", &erased)]).write();
    let (_, text) = send(&daemon, "w@peer.test", "cmr@home.test", &alone);
    let id = text.split_whitespace().find(|word| word.len() == 16).unwrap().to_owned();
    house.until_idle();
    house.verb(&["remove", &id]);
    let both = [("a.cmr", "7bit", erased.as_slice()), ("b.cmr", "7bit", other.as_slice())];
    let both = Mail::from("w@peer.test").attachments(&both).write();
    for mail in [&alone, &both] {
        assert_eq!(send(&daemon, "w@peer.test", "cmr@home.test", mail).0, 250);
    }
    assert_eq!(house.json(&["show", "--aside"]), Value::Array(Vec::new()));
    house.until_idle();
    drop(daemon);
    for entry in std::fs::read_dir(house.dir().join("data")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!bytes.windows(10).any(|window| window == b"zebrafinch"));
    }
}

/// Rule 11: a person confirms, not a program, and not who has seen the stop address in a mail that
/// was passed on. And "stop" is a command (mail-behaviour.md, 21), not a post.
#[test]
fn only_a_person_publishes_and_the_stop_address_does_not() {
    let sink = Sink::start();
    let house = House::new(&Config::new().trusting_loopback().smarthost(sink.address()));
    let daemon = house.start();
    let post = Mail::from("bo@people.test").field("Subject", "penguins").text("Where do they live?").write();
    assert_eq!(send(&daemon, "bo@people.test", "cmr@home.test", &post).0, 250);
    let answer = sink.wait_for("bo@people.test", |_| true).text();
    let address = |tag: &str| {
        let at = answer.find(tag).unwrap();
        answer.get(at..).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    let (confirm, stop) = (address("cmr+yes-"), address("cmr+stop-"));
    let confirmed = || {
        house
            .read_database()
            .query_row("SELECT confirmed_at IS NOT NULL, stopped_at IS NOT NULL FROM person", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap()
    };

    let away = Mail::from("bo@people.test").field("Auto-Submitted", "auto-replied").text("away").write();
    let plain = Mail::from("bo@people.test").text("hello").write();
    send(&daemon, "bo@people.test", &confirm, &away);
    send(&daemon, "", &confirm, &plain);
    send(&daemon, "bo@people.test", &stop.replace("+stop-", "+yes-"), &plain);
    assert_eq!(confirmed(), (false, false));

    let (code, text) = send(
        &daemon,
        "bo@people.test",
        "cmr@home.test",
        &Mail::from("bo@people.test").field("Subject", "Re: Stop").text("").write(),
    );
    assert!(code == 250 && text.contains("stopped"), "{text}");
    assert_eq!(confirmed(), (false, true));
    send(&daemon, "bo@people.test", &confirm, &plain);
    assert_eq!(confirmed(), (true, true));
    let (code, _) = send(&daemon, "else@people.test", &stop, &plain);
    assert_eq!(code, 250);
}

/// Rule 5 and 21: who is not verified can't say who has a message, nor fill the disk by it.
#[test]
fn a_forged_header_of_a_duplicate_makes_nobody_a_holder() {
    let house = House::new(&Config::new());
    let daemon = house.start();
    let origin = (in_seconds(-60), "mailto:w@peer.test");
    for n in 0..5_i64 {
        let victims: Vec<String> = (0..10).map(|i| format!("mailto:victim{i}.{n}@peer.test")).collect();
        let mut hops = vec![(in_seconds(-2), "mailto:liar@peer.test")];
        hops.extend((3_i64..).zip(&victims).map(|(i, victim)| (in_seconds(-i), victim.as_str())));
        hops.push(origin);
        let bytes = message(if n == 0 { &hops[hops.len() - 1..] } else { &hops }, "whales").write();
        let mail = Mail::from("liar@peer.test").attachments(&[("a.cmr", "base64", &bytes)]).write();
        assert_eq!(send(&daemon, "liar@peer.test", "cmr@home.test", &mail).0, 250);
    }
    let holders: i64 =
        house.read_database().query_row("SELECT count(*) FROM holder", [], |row| row.get(0)).unwrap();
    assert!(holders <= 2, "{holders} holders");
}

/// Another spelling is neither another neighbour without a key nor another author with limits of
/// its own.
#[test]
fn another_spelling_opens_nothing() {
    let config = Config::new().trusting_loopback().text("policy", "post_at_most", "1/h");
    let house = House::new(&config);
    let daemon = house.start();
    house.verb(&["keys", "set", "mailto:peer@keyed.test", "--text", "a secret of sixteen"]);
    for (address, code) in [
        ("mailto:peer@keyed.test", 550),
        ("mailto:Peer@Keyed.test", 550),
        ("MAILTO:peer@keyed.test", 550),
        ("mailto:peer2@keyed.test", 250),
    ] {
        let bytes = message(&[(in_seconds(-5), address)], "words").write();
        let mail = Mail::from("x@people.test").attachments(&[("a.cmr", "base64", &bytes)]).write();
        let (found, text) = send(&daemon, "x@people.test", "cmr@home.test", &mail);
        assert_eq!(found, code, "{address}: {text}");
    }
    for (author, code) in [("al@people.test", 250), ("AL@people.test", 450), ("al@PEOPLE.test", 450)] {
        let mail = Mail::from(author).text(author).write();
        let (found, text) = send(&daemon, "al@people.test", "cmr@home.test", &mail);
        assert_eq!(found, code, "{author}: {text}");
    }
}

/// Rule 5: what is unverified can't make somebody lose.
#[test]
fn a_forged_from_uses_up_nothing_of_its_victim() {
    let config = Config::new()
        .text("policy", "who_may_post", "anyone")
        .text("policy", "post_at_most", "1/h")
        .set("smtp", "trusted_networks", r#"["192.0.2.0/24"]"#)
        .set("smtp", "relays", r#"["127.0.0.0/8"]"#);
    let house = House::new(&config);
    let daemon = house.start();
    let forged = Mail::from("al@people.test").text("forged").write();
    assert_eq!(send(&daemon, "al@people.test", "cmr@home.test", &forged).0, 250);
    let (mut client, _) = Client::greeted(daemon.smtp()).unwrap();
    client.command("EHLO relay.test").unwrap();
    assert_eq!(client.command("XFORWARD ADDR=192.0.2.7").unwrap().code, 250);
    let own = Mail::from("al@people.test").text("by the author").write();
    assert_eq!(client.send("al@people.test", &["cmr@home.test"], &own).unwrap().code, 250);
}

/// Addresses cost nothing, networks do: a flood of strangers ends at a limit, and is told to come
/// again; whoever can be told apart from it is not held back by it.
#[test]
fn a_flood_of_strangers_is_slowed_down_and_nobody_else() {
    let config = Config::new()
        .text("policy", "unproven_at_most", "3/h")
        .set("smtp", "trusted_networks", r#"["192.0.2.0/24"]"#)
        .set("smtp", "relays", r#"["127.0.0.0/8"]"#);
    let house = House::new(&config);
    let daemon = house.start();
    house.verb(&["keys", "set", "mailto:friend@keyed.test", "--text", "a secret of sixteen"]);
    let send_from = |client: &str, parts: &[&[u8]]| {
        let attachments: Vec<_> = parts.iter().map(|bytes| ("a.cmr", "base64", *bytes)).collect();
        let mail = Mail::from("x@people.test").attachments(&attachments).write();
        let (mut session, _) = Client::greeted(daemon.smtp()).unwrap();
        session.command("EHLO relay.test").unwrap();
        assert_eq!(session.command(&format!("XFORWARD ADDR={client}")).unwrap().code, 250);
        let reply = session.send("x@people.test", &["cmr@home.test"], &mail).unwrap();
        (reply.code, reply.text)
    };
    let stranger = |number: i64| {
        let address = format!("mailto:s{number}@flood{number}.test");
        message(&[(in_seconds(-100 + number), &address)], format!("flood {number}")).write()
    };
    let first = stranger(0);
    for (client, bytes, code) in [
        ("198.51.100.1", &first, 250),
        ("198.51.100.2", &stranger(1), 250),
        ("198.51.100.3", &stranger(2), 250),
        // Another address of the same network, and of the sender too.
        ("198.51.100.4", &stranger(3), 450),
        // Who never heard our 250 hears it now.
        ("198.51.100.4", &first, 250),
        ("203.0.113.4", &stranger(4), 250),
        ("192.0.2.4", &stranger(5), 250),
    ] {
        let (found, text) = send_from(client, &[bytes]);
        assert_eq!(found, code, "{client}: {text}");
        assert!(found == 250 || text.contains("198.51.100.0/24"), "{text}");
    }
    let friend = message(&[(in_seconds(-3), "mailto:friend@keyed.test")], "signed");
    let key = Key::from_bytes(b"a secret of sixteen".to_vec()).unwrap();
    let friend = keys::sign_message(Scheme::Hmac, &key, friend).write();
    assert_eq!(send_from("198.51.100.5", &[&friend]).0, 250);
    // One mail with both: it comes again whole, nothing of it is kept aside meanwhile, and what was
    // taken of it is known then.
    let other = message(&[(in_seconds(-2), "mailto:friend@keyed.test")], "signed too");
    let other = keys::sign_message(Scheme::Hmac, &key, other).write();
    for _ in 0..2 {
        let (code, text) = send_from("198.51.100.6", &[&other, &stranger(6)]);
        assert_eq!(code, 450, "{text}");
    }
    assert_eq!(house.json(&["status"])["asides"], 0);
    let bodies: i64 = house
        .read_database()
        .query_row("SELECT count(*) FROM text WHERE body = x'7369676e656420746f6f'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(bodies, 1);
}

/// What leaves because of an attack.
struct Attack {
    name: &'static str,
    /// Mails that leave at most, and to whom: nobody else gets anything.
    most: usize,
    to: &'static [&'static str],
    play: fn(&Scene),
}

fn asks(author: &str, id: &str, text: &str) -> Mail {
    Mail::from(author).field("Message-ID", &format!("<{id}>")).field("Subject", "Planets").text(text)
}

/// Every mail that has left and was not looked at yet is answered by `reply`, until nothing new
/// comes, or a hundred times.
fn bounce_to_and_fro(scene: &Scene, mut reply: impl FnMut(&support::sink::Mail) -> Option<Mail>) {
    let mut seen = 0;
    for _ in 0..100 {
        let mails = scene.left();
        let new = &mails[seen..];
        if new.is_empty() {
            return;
        }
        seen = mails.len();
        for mail in new {
            if let Some(reply) = reply(mail) {
                scene.gives("ann@people.test", "cmr@home.test", &reply.write());
            }
        }
    }
}

const ATTACKS: [Attack; 12] = [
    Attack {
        name: "an autoresponder that does not say what it is, and answers each answer",
        // The answers to its question and to what it said first: it says nothing else afterwards.
        most: 2,
        to: &["ann@people.test"],
        play: |scene| {
            scene.gives(
                "ann@people.test",
                "cmr@home.test",
                &asks("ann@people.test", "q0@people.test", "planets").write(),
            );
            let mut number = 0;
            bounce_to_and_fro(scene, |mail| {
                number += 1;
                let mail =
                    asks("ann@people.test", &format!("auto{number}@people.test"), "I am away until Monday.")
                        .field("In-Reply-To", &format!("<{}>", mail.message_id()));
                Some(mail)
            });
        },
    },
    Attack {
        name: "one that answers each answer with other words",
        // The answer to its question, three an hour to mails that answer ours, and "slow down" once.
        most: 5,
        to: &["ann@people.test"],
        play: |scene| {
            scene.gives(
                "ann@people.test",
                "cmr@home.test",
                &asks("ann@people.test", "q0@people.test", "planets").write(),
            );
            let mut random = support::Random(5);
            bounce_to_and_fro(scene, |mail| {
                let words: String =
                    (0..30).map(|_| char::from(b'a' + u8::try_from(random.below(26)).unwrap())).collect();
                let mail = asks("ann@people.test", &format!("{words}@people.test"), &words)
                    .field("In-Reply-To", &format!("<{}>", mail.message_id()));
                Some(mail)
            });
        },
    },
    Attack {
        name: "one that begins a new thread each time",
        // No more than any person gets in an hour, and "slow down" once.
        most: 21,
        to: &["ann@people.test"],
        play: |scene| {
            scene.gives(
                "ann@people.test",
                "cmr@home.test",
                &asks("ann@people.test", "q0@people.test", "planets").write(),
            );
            let mut number = 0;
            bounce_to_and_fro(scene, |_| {
                number += 1;
                Some(asks("ann@people.test", &format!("auto{number}@people.test"), "I am away until Monday."))
            });
        },
    },
    Attack {
        name: "an autoresponder that says what it is",
        most: 1,
        to: &["ann@people.test"],
        play: |scene| {
            scene.gives(
                "ann@people.test",
                "cmr@home.test",
                &asks("ann@people.test", "q0@people.test", "planets").write(),
            );
            bounce_to_and_fro(scene, |mail| {
                let mail = asks("ann@people.test", "auto@people.test", "I am away until Monday.")
                    .field("In-Reply-To", &format!("<{}>", mail.message_id()))
                    .field("Auto-Submitted", "auto-replied (vacation)");
                Some(mail)
            });
        },
    },
    Attack {
        name: "a list that sets Reply-To to itself",
        most: 0,
        to: &[],
        play: |scene| {
            for number in 0..5 {
                let mut mail =
                    asks("ann@people.test", &format!("l{number}@people.test"), "Which planet is largest?")
                        .field("List-Id", "<talk.people.test>")
                        .field("Reply-To", "talk@people.test");
                mail.fields.retain(|(name, _)| name != "To");
                let mail = mail.field("To", "talk@people.test");
                scene.gives("talk-bounces@people.test", "cmr@home.test", &mail.write());
            }
        },
    },
    Attack {
        name: "such a list, and we stand in Cc",
        most: 1,
        to: &["ann@people.test"],
        play: |scene| {
            let mail = asks("ann@people.test", "l@people.test", "Which planet is largest?")
                .field("List-Id", "<talk.people.test>")
                .field("Cc", "talk@people.test")
                .field("Reply-To", "talk@people.test");
            scene.gives("talk-bounces@people.test", "cmr@home.test", &mail.write());
        },
    },
    Attack {
        name: "a thousand strangers in the headers of CMR messages",
        most: 0,
        to: &[],
        play: |scene| {
            for number in 0..40_i64 {
                let strangers: Vec<String> =
                    (0..25).map(|i| format!("mailto:victim{number}.{i}@victims.test")).collect();
                let hops: Vec<_> = (1_i64..)
                    .zip(&strangers)
                    .map(|(i, victim)| (in_seconds(-i - number * 30), victim.as_str()))
                    .collect();
                let wire = message(&hops, format!("planets and whales, number {number}")).write();
                let mail = Mail::from("liar@peer.test").attachments(&[("a.cmr", "base64", &wire)]);
                let (code, text) = scene.gives("liar@peer.test", "cmr@home.test", &mail.write());
                assert_eq!(code, 250, "{text}");
            }
        },
    },
    Attack {
        name: "votes by who has no token, or that of somebody else, or for something else",
        // Its own answer, from which it knows what tokens look like.
        most: 1,
        to: &["eve@people.test"],
        play: |scene| {
            scene.peer_sends(&message(
                &[(in_seconds(-60), "mailto:cmr@peer.test")],
                "Jupiter is the largest planet of the solar system.",
            ));
            let text = "Which is the largest planet of the solar system?";
            scene.takes("eve@people.test", "cmr@home.test", &asks("eve@people.test", "e@people.test", text));
            let good = scene.left()[0].address("cmr+good-");
            let (id, rest) = good.strip_prefix("cmr+good-").unwrap().split_once('-').unwrap();
            let (person, check) = rest.split_once('@').unwrap().0.split_once('.').unwrap();
            for tag in [
                format!("good-{id}"),
                format!("good-{id}-"),
                format!("good-{id}-{person}."),
                format!("bad-{id}-{person}.{check}"),
                format!("good-{id}-2.{check}"),
                format!("good-{}-{person}.{check}", "0".repeat(16)),
                format!("get-{id}-{person}.{check}"),
            ] {
                let mail = Mail::from("eve@people.test").text("").write();
                let (code, told) = scene.gives("eve@people.test", &format!("cmr+{tag}@home.test"), &mail);
                assert_eq!(code, 550, "{tag}: {told}");
            }
            // Again and again with the right one: no mail leaves.
            for number in 0..20 {
                let mail =
                    Mail::from("eve@people.test").field("Message-ID", &format!("<v{number}@people.test>"));
                assert_eq!(scene.gives("eve@people.test", &good, &mail.text("").write()).0, 250);
            }
        },
    },
    Attack {
        name: "unsubscribing somebody else, without the token",
        most: 1,
        to: &["ann@people.test"],
        play: |scene| {
            scene.takes(
                "ann@people.test",
                "cmr@home.test",
                &asks("ann@people.test", "q@people.test", "planets"),
            );
            let stop = scene.left()[0].address("cmr+stop-");
            let (before, _) = stop.split_once('.').unwrap();
            for guess in [
                format!("{before}.x@home.test"),
                format!("{before}.@home.test"),
                "cmr+stop-1@home.test".to_owned(),
            ] {
                let (code, told) = scene.gives(
                    "eve@people.test",
                    &guess,
                    &Mail::from("eve@people.test").text("stop").write(),
                );
                assert_eq!(code, 550, "{told}");
            }
            let stopped: bool = scene
                .house
                .read_database()
                .query_row("SELECT stopped_at IS NOT NULL FROM person", [], |row| row.get(0))
                .unwrap();
            assert!(!stopped);
        },
    },
    Attack {
        name: "somebody else's stop address, used again and again",
        // The answer, and one word that it has stopped.
        most: 2,
        to: &["ann@people.test"],
        play: |scene| {
            scene.takes(
                "ann@people.test",
                "cmr@home.test",
                &asks("ann@people.test", "q@people.test", "planets"),
            );
            let stop = scene.left()[0].address("cmr+stop-");
            for number in 0..20 {
                let mail = asks("eve@people.test", &format!("s{number}@people.test"), "stop");
                assert_eq!(scene.gives("eve@people.test", &stop, &mail.write()).0, 250);
            }
        },
    },
    Attack {
        name: "much mail to somebody's alias, under other names as well",
        // Three of each author and ten in all reach her; the others get their own answers.
        most: 10 + 5 * 21,
        to: &[
            "ann@people.test",
            "eve0@people.test",
            "eve1@people.test",
            "eve2@people.test",
            "eve3@people.test",
            "eve4@people.test",
        ],
        play: |scene| {
            let eves: Vec<String> = (0..5).map(|number| format!("eve{number}@people.test")).collect();
            for eve in &eves {
                scene.known_person(eve);
            }
            scene.known_person("ann@people.test");
            let alias = scene.alias("ann@people.test");
            for eve in &eves {
                for number in 0..10 {
                    let mail = asks(
                        eve,
                        &format!("{number}.{eve}"),
                        &format!("Buy this, {number} times, says {eve}."),
                    );
                    scene.gives(eve, &alias, &mail.write());
                }
            }
            let to_ann = scene.left().iter().filter(|mail| mail.to == ["ann@people.test"]).count();
            assert!((1..=10).contains(&to_ann), "{to_ann}");
        },
    },
    Attack {
        name: "mail in our own name",
        most: 0,
        to: &[],
        play: |scene| {
            for from in ["cmr@home.test", "CMR <cmr+help@home.test>", "cmr+someone.x@home.test"] {
                for subject in ["Planets", "help", "status", "stop"] {
                    let mail = Mail::from(from).field("Subject", subject).text("planets");
                    scene.gives("cmr@home.test", "cmr@home.test", &mail.write());
                }
            }
        },
    },
];

/// Items 5, 6, 22 and 24 of what people may expect, as somebody who wants to do harm tries them.
#[test]
fn what_leaves_because_of_an_attack() {
    for Attack { name, most, to, play } in ATTACKS {
        let scene = Scene::new(Config::new());
        play(&scene);
        let mails = scene.left();
        let got: Vec<_> = mails.iter().flat_map(|mail| mail.to.clone()).collect();
        assert!(got.len() <= most && got.iter().all(|it| to.contains(&it.as_str())), "{name}: {got:?}");
    }
}

/// Forged names earn their victims nothing, whatever is asked in them.
#[test]
fn nothing_leaves_for_a_forged_from() {
    let houses = [
        Config::new(),
        Config::new().text("policy", "who_may_post", "anyone"),
        Config::new().set("smtp", "relays", r#"["127.0.0.0/8"]"#),
        Config::new().set("smtp", "relays", r#"["127.0.0.0/8"]"#).text("policy", "who_may_post", "anyone"),
    ];
    for config in houses {
        let scene = Scene::with(config, false);
        for (number, subject) in
            ["Planets", "help", "search", "status", "stop", "post", "subscribe"].iter().enumerate()
        {
            for text in ["Which planet is largest?", ""] {
                let mail = Mail::from("victim@people.test")
                    .field("Message-ID", &format!("<f{number}{}@people.test>", text.len()))
                    .field("Subject", subject)
                    .text(text);
                scene.gives("victim@people.test", "cmr@home.test", &mail.write());
                for tag in
                    ["help", "search", "status", "stop", "post", "yes-x", "stop-1.x", "get-x", "good-x"]
                {
                    scene.gives("victim@people.test", &format!("cmr+{tag}@home.test"), &mail.write());
                }
            }
        }
        assert_eq!(scene.left().len(), 0);
    }
}

/// Two gateways, each of which takes the other for a person that it believes.
#[test]
fn two_gateways_do_not_write_to_each_other_for_ever() {
    let here = Scene::new(Config::new());
    let there = Scene::new(
        Config::new()
            .text("gateway", "address", "mailto:cmr@there.test")
            .text("gateway", "hostname", "mx.there.test")
            .text("gateway", "operator", "Theo <theo@there.test>"),
    );
    // Somebody writes to the one in the name of the other.
    for number in 0..5 {
        let mail = asks("cmr@there.test", &format!("spoof{number}@there.test"), "Which planet is largest?");
        here.gives("cmr@there.test", "cmr@home.test", &mail.write());
    }
    let (mut from_here, mut from_there) = (0, 0);
    for _ in 0..50 {
        let (a, b) = (here.left(), there.left());
        if a.len() == from_here && b.len() == from_there {
            break;
        }
        for mail in &a[from_here..] {
            there.gives(&mail.from, &mail.to[0], &mail.raw);
        }
        for mail in &b[from_there..] {
            here.gives(&mail.from, &mail.to[0], &mail.raw);
        }
        (from_here, from_there) = (a.len(), b.len());
    }
    // The five are answered, and no answer is.
    assert_eq!((here.left().len(), there.left().len()), (5, 0));
}
