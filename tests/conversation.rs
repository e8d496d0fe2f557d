//! Whole conversations between people and a gateway: what is asked, agreed to, found later and
//! answered hangs together in every mail program, and what was hidden is told once it is not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

mod support;

use std::collections::HashMap;

use support::client::Client;
use support::daemon::{Config, House};
use support::messages::{Mail, in_seconds, message};
use support::scene::{Scene, python};
use support::threading::{Entry, parents};

const ANN: &str = "Ann Asker <ann@people.test>";

fn by(author: &str, id: &str, subject: &str, text: &str) -> Mail {
    Mail::from(author).field("Message-ID", &format!("<{id}>")).field("Subject", subject).text(text)
}

/// As mail programs reply: In-Reply-To, and the References of the other mail with its id.
fn reply(to: &support::sink::Mail, id: &str, text: &str) -> Mail {
    let parent = to.message_id();
    let references = to.field("References").unwrap_or_default();
    Mail::from(ANN)
        .field("Message-ID", &format!("<{id}>"))
        .field("In-Reply-To", &format!("<{parent}>"))
        .field("References", format!("{references} <{parent}>").trim())
        .field("Subject", &to.field("Subject").unwrap())
        .text(text)
}

/// Question, answer, agreement, its answer, a later match, a reply to it, the answer to that: one
/// thread, in which each mail hangs below the one that it answers.
#[test]
fn a_conversation_is_one_thread_in_a_mail_program() {
    let scene = Scene::new(Config::new());
    scene.peer_sends(&message(
        &[(in_seconds(-60), "mailto:cmr@peer.test")],
        "Jupiter is the largest planet of the solar system.\n",
    ));
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut says = |mail: &Mail, to: &str| {
        sent.push(mail.write());
        scene.takes("ann@people.test", to, mail);
    };
    let text = "Which is the largest planet of the solar system?";
    says(&by(ANN, "question@people.test", "Planets", text), "cmr@home.test");
    let answer = scene.to_people().remove(0);
    says(&reply(&answer, "yes@people.test", "Yes, please."), &answer.address("cmr+yes-"));
    let agreed = scene.to_people().remove(1);
    scene.peer_sends(&message(
        &[(in_seconds(-30), "mailto:cmr@peer.test")],
        "The largest planet of the solar system has ninety-seven moons.\n",
    ));
    let later = scene.to_people().remove(2);
    let text = "Thank you. Which of the moons of the largest planet is the largest one?";
    says(&reply(&later, "thanks@people.test", text), "cmr@home.test");
    let again = scene.to_people().remove(3);
    says(&reply(&again, "status@people.test", "status"), "cmr@home.test");
    let status = scene.to_people().remove(4);

    let ours = [&answer, &agreed, &later, &again, &status];
    for mail in ours {
        python(&mail.raw);
        assert_eq!(mail.field("Subject").unwrap(), "Re: Planets");
    }
    let entries: Vec<Entry> =
        sent.iter().map(|raw| Entry::of(raw)).chain(ours.iter().map(|mail| Entry::of(&mail.raw))).collect();
    let found = parents(&entries);
    let question = "question@people.test".to_owned();
    let tree: HashMap<String, Option<String>> = [
        (question.clone(), None),
        (answer.message_id(), Some(question.clone())),
        ("yes@people.test".to_owned(), Some(answer.message_id())),
        (agreed.message_id(), Some("yes@people.test".to_owned())),
        (later.message_id(), Some(question)),
        ("thanks@people.test".to_owned(), Some(later.message_id())),
        (again.message_id(), Some("thanks@people.test".to_owned())),
        ("status@people.test".to_owned(), Some(again.message_id())),
        (status.message_id(), Some("status@people.test".to_owned())),
    ]
    .into();
    assert_eq!(found, tree);
}

/// Rule 11: what was hidden while nobody had agreed is told when somebody has.
#[test]
fn who_agrees_hears_so_and_what_was_hidden_before() {
    let scene = Scene::new(Config::new());
    let text = "Four comets were seen near Ganymede with the telescope of Arcetri last winter.";
    scene.takes("ann@people.test", "cmr@home.test", &by(ANN, "a@people.test", "Comets", text));
    let text = "Who saw comets near Ganymede with the telescope of Arcetri last winter?";
    scene.takes("bob@people.test", "cmr@home.test", &by("bob@people.test", "b@people.test", "Comets?", text));
    let mails = scene.left();
    assert_eq!(mails.len(), 2);
    assert!(mails.iter().all(|mail| mail.attachments().is_empty()), "both are hidden from each other");
    let yes = |who: usize, from: &str| {
        scene.takes(from, &mails[who].address("cmr+yes-"), &Mail::from(from).text("yes"));
        scene.left().pop().unwrap()
    };
    // Bob has not agreed: Ann hears that hers is public, and nothing of Bob's.
    let to_ann = yes(0, "ann@people.test");
    assert_eq!(to_ann.to, ["ann@people.test"]);
    assert!(
        to_ann.flat().starts_with("Your message is public now, and what you post from now on"),
        "{}",
        to_ann.text()
    );
    assert!(to_ann.attachments().is_empty() && !to_ann.text().contains("Who saw comets"));
    // Bob agrees: he hears of Ann's, under her alias.
    let before = scene.left().len();
    scene.takes("bob@people.test", &mails[1].address("cmr+yes-"), &Mail::from("bob@people.test").text("yes"));
    let new = scene.left().split_off(before);
    let to_bob = new.iter().find(|mail| mail.to == ["bob@people.test"]).unwrap();
    assert!(to_bob.flat().contains("Since the first answer this has become known"), "{}", to_bob.text());
    assert!(
        to_bob.text().contains("Four comets were seen") && to_bob.text().contains("cmr+ann."),
        "{}",
        to_bob.text()
    );
    assert!(!String::from_utf8_lossy(&to_bob.raw).contains("ann@people.test"));
    assert_eq!(to_bob.attachments().len(), 1);
    // Ann gets Bob's question as a later match, once.
    assert_eq!(new.iter().filter(|mail| mail.to == ["ann@people.test"]).count(), 1);
    assert_eq!(new.len(), 2);
    // A second yes is answered plainly, and the same mail twice is one.
    let again = Mail::from("bob@people.test").field("Message-ID", "<again@people.test>").text("yes");
    for _ in 0..2 {
        scene.takes("bob@people.test", &mails[1].address("cmr+yes-"), &again);
    }
    let last = scene.left().split_off(before + 2);
    assert_eq!(last.len(), 1);
    assert!(last[0].flat().contains("You agreed before"), "{}", last[0].text());
}

/// Rule 15: what comes at the same time leaves as one mail, and no author causes more than a few.
#[test]
fn later_matches_are_gathered_and_limited() {
    let scene = Scene::new(Config::new().text("people", "digest", "2s"));
    scene.known_person("ann@people.test");
    // A question in twenty parts, and each newcomer knows of another one.
    let mut random = support::Random(3);
    let mut part = || -> String {
        let mut word =
            || (0..9).map(|_| char::from(b'a' + u8::try_from(random.below(26)).unwrap())).collect::<String>();
        (0..8).map(|_| word()).collect::<Vec<_>>().join(" ")
    };
    let parts: Vec<String> = (0..20).map(|_| part()).collect();
    scene.takes(
        "ann@people.test",
        "cmr@home.test",
        &by(ANN, "question@people.test", "Parts", &parts.join("\n")),
    );
    let before = scene.to_people().len();
    let mut parts = parts.into_iter();
    let mut send = |author: &str, number: i64| {
        let wire =
            message(&[(in_seconds(-number), &format!("mailto:{author}@peer.test"))], parts.next().unwrap())
                .write();
        let mail = Mail::from("cmr@peer.test").attachments(&[("m.cmr", "base64", &wire)]);
        let (code, told) = scene.gives("cmr@peer.test", "cmr@home.test", &mail.write());
        assert_eq!(code, 250, "{told}");
    };
    // Six by the first author, five each by two others. The first match leaves at once.
    send("one", 1);
    assert_eq!(scene.to_people().len(), before + 1);
    for number in 2..=6 {
        send("one", number);
    }
    for number in 1..=5 {
        send("two", number);
        send("three", number);
    }
    let mails = scene.to_people().split_off(before);
    let holds: Vec<usize> = mails.iter().map(|mail| mail.attachments().len()).collect();
    assert_eq!(holds.iter().sum::<usize>(), 9, "three of each author: {holds:?}");
    assert!(holds[0] == 1 && holds.len() < 9 && holds.iter().any(|number| *number > 1), "{holds:?}");
    let gathered = mails.iter().find(|mail| mail.attachments().len() > 1).unwrap();
    assert!(gathered.flat().contains("texts similar to your message have arrived:"), "{}", gathered.text());
    assert!(
        gathered.field("List-Id").is_some() && gathered.field("Auto-Submitted").unwrap() == "auto-generated"
    );
    let all: String = mails.iter().map(support::sink::Mail::text).collect();
    for author in ["one", "two", "three"] {
        let of_author = all.matches(&format!(" {author}@peer.test,")).count();
        assert!(of_author == 3, "{author}: {of_author}\n{all}");
    }
    // And a day has ten, whoever else comes.
    for number in 1..=3 {
        send("four", number);
    }
    let mails = scene.to_people().split_off(before);
    assert_eq!(mails.iter().map(|mail| mail.attachments().len()).sum::<usize>(), 10);
    assert_eq!(scene.house.json(&["status"])["silenced"], 3 + 2 + 2 + 2);
}

/// Rule 14: what is removed is in no mail any more, also not in one that waits.
#[test]
fn what_is_removed_is_taken_out_of_what_waits() {
    let scene = Scene::new(Config::new().text("people", "digest", "1h"));
    scene.known_person("ann@people.test");
    let text = "Which is the largest planet of the solar system, and how many moons has it?";
    scene.takes("ann@people.test", "cmr@home.test", &by(ANN, "question@people.test", "Planets", text));
    let mut ids = Vec::new();
    for (number, word) in [(30, "hydrogen"), (20, "zebrafinch"), (10, "helium")] {
        let found = message(
            &[(in_seconds(-number), &format!("mailto:{word}@peer.test"))],
            format!("The largest planet of the solar system has moons and {word}.\n"),
        );
        let mail = Mail::from("cmr@peer.test").attachments(&[("m.cmr", "base64", &found.write())]);
        assert_eq!(scene.gives("cmr@peer.test", "cmr@home.test", &mail.write()).0, 250);
        ids.push(found.id().to_string());
        let routed =
            |house: &support::daemon::House| (house.json(&["status"])["unrouted"] == 0).then_some(());
        scene.house.until("it is routed", routed);
    }
    scene.sink.wait_for("ann@people.test", |mail| mail.text().contains("hydrogen"));
    scene.house.verb(&["remove", &ids[1]]);
    scene.house.verb(&["queue", "retry"]);
    let mail = scene.sink.wait_for("ann@people.test", |mail| mail.text().contains("helium"));
    assert!(!String::from_utf8_lossy(&mail.raw).contains("zebrafinch"), "{}", mail.text());
    assert_eq!(mail.attachments().len(), 1);
}

/// Rule 14: a blocked author is neither taken nor answered, and who is removed is forgotten.
#[test]
fn who_is_blocked_or_removed_gets_nothing() {
    let scene = Scene::new(Config::new());
    let text = "Which is the largest planet of the solar system?";
    scene.takes("ann@people.test", "cmr@home.test", &by(ANN, "question@people.test", "Planets", text));
    let answer = scene.left().remove(0);
    scene.house.verb(&["remove", "--author", "ann@people.test"]);
    for tag in ["cmr+yes-", "cmr+stop-"] {
        let (code, told) = scene.gives(
            "ann@people.test",
            &answer.address(tag),
            &Mail::from("ann@people.test").text("").write(),
        );
        assert_eq!(code, 550, "{told}");
    }
    scene.house.verb(&["block", "ann@people.test"]);
    for subject in ["Planets", "help", "status", "search"] {
        let mail = by(ANN, &format!("{subject}@people.test"), subject, text).write();
        let (code, told) = scene.gives("ann@people.test", "cmr@home.test", &mail);
        assert!(code == 550 && told.contains("blocked"), "{subject}: {code} {told}");
    }
    assert_eq!(scene.left().len(), 1);
}

/// Rule 12: an alias is an address. What somebody who is known for sure writes to it is handed on, and
/// nobody learns who is behind it.
#[test]
fn mail_to_an_alias_reaches_the_person_behind_it() {
    let scene = Scene::new(Config::new());
    for person in ["ann@people.test", "bob@people.test"] {
        scene.known_person(person);
    }
    let text = "Which is the largest planet of the solar system?";
    scene.takes("ann@people.test", "cmr@home.test", &by(ANN, "q@people.test", "Planets", text));
    let to_ann = |number: usize| {
        let mails: Vec<_> =
            scene.to_people().into_iter().filter(|mail| mail.to == ["ann@people.test"]).collect();
        assert_eq!(mails.len(), number);
        mails.into_iter().next_back().unwrap()
    };
    to_ann(1);
    // Nothing in it is close to her question.
    let (alias, to_bob) = (scene.alias("ann@people.test"), scene.alias("bob@people.test"));
    let word = "Come to the old harbour on Sunday at noon, I bring bread and cheese.";
    let mail = by("Bob <bob@people.test>", "b1@people.test", "Sunday", word);
    scene.takes("bob@people.test", &alias, &mail);
    let handed = to_ann(2);
    python(&handed.raw);
    assert!(handed.flat().starts_with("This was written to you, at the alias"), "{}", handed.text());
    assert!(
        handed.text().contains("harbour on Sunday") && handed.text().contains(&to_bob),
        "{}",
        handed.text()
    );
    assert!(!String::from_utf8_lossy(&handed.raw).contains("bob@people.test"));
    assert_eq!(handed.field("In-Reply-To").unwrap(), "<q@people.test>");
    assert_eq!(handed.field("Auto-Submitted").unwrap(), "auto-generated");
    let told = scene.sink.wait_for("bob@people.test", |mail| mail.text().contains("sent on"));
    assert!(told.flat().contains("It was sent on to the person to whom you wrote it."), "{}", told.text());
    assert!(!String::from_utf8_lossy(&told.raw).contains("ann@people.test"));
    // She answers in the same way.
    scene.takes("ann@people.test", &to_bob, &by(ANN, "a1@people.test", "Re: Sunday", "Gladly, and wine."));
    let back = scene.sink.wait_for("bob@people.test", |mail| mail.text().contains("Gladly"));
    assert!(back.text().contains(&alias), "{}", back.text());
    assert_eq!(back.field("In-Reply-To").unwrap(), "<b1@people.test>");

    // Who has not agreed to publishing is asked first.
    let mail = by("Carl <carl@people.test>", "c1@people.test", "Cats", "My cat sleeps on your roof.");
    scene.takes("carl@people.test", &alias, &mail);
    let asked = scene.sink.wait_for("carl@people.test", |_| true);
    assert!(
        asked.flat().contains("when you have agreed to this: Your message is not public"),
        "{}",
        asked.text()
    );
    to_ann(3);
    let confirm = asked.address("cmr+yes-");
    scene.takes("carl@people.test", &confirm, &Mail::from("carl@people.test").text("yes"));
    assert!(to_ann(4).text().contains("sleeps on your roof"));

    // A peer answers her by her alias, as gateways do with each other; once, however often it comes.
    let wire = message(&[(in_seconds(-9), "mailto:cmr@peer.test")], "Sailing boats want a windy harbour.");
    for _ in 0..2 {
        let mail = Mail::from("cmr@peer.test").attachments(&[("m.cmr", "base64", &wire.write())]);
        scene.takes("cmr@peer.test", &alias, &mail);
        assert!(to_ann(5).text().contains("windy harbour"));
    }
    // What was known before is hers as well.
    let known = message(&[(in_seconds(-8), "mailto:cmr@peer.test")], "Kites fly best above the dunes.");
    scene.peer_sends(&known);
    to_ann(5);
    let mail = Mail::from("cmr@peer.test").attachments(&[("m.cmr", "base64", &known.write())]);
    scene.takes("cmr@peer.test", &alias, &mail);
    assert!(to_ann(6).text().contains("above the dunes"));
    // Three a day, whatever authors it names.
    for number in 1..4 {
        let origin = format!("mailto:author{number}@else.test");
        let hops = [(in_seconds(-6), "mailto:cmr@peer.test"), (in_seconds(-7 - number), origin.as_str())];
        let wire = message(&hops, format!("Letter {number} about lighthouses.")).write();
        let mail = Mail::from("cmr@peer.test").attachments(&[("m.cmr", "base64", &wire)]);
        scene.takes("cmr@peer.test", &alias, &mail);
    }
    assert!(to_ann(7).text().contains("Letter 1 about"));

    // Programs reach nobody, and no list does.
    for (name, value) in [("Auto-Submitted", "auto-replied"), ("List-Id", "<talk.people.test>")] {
        let mut mail =
            by("bob@people.test", &format!("{name}@people.test"), "Away", "I am away.").field(name, value);
        mail.fields.retain(|(name, _)| name != "To");
        scene.takes("bob@people.test", &alias, &mail);
    }
    to_ann(7);
    // And stop is stop.
    scene.takes("ann@people.test", "cmr+stop@home.test", &Mail::from(ANN).text(""));
    to_ann(8);
    let mail = by("bob@people.test", "b3@people.test", "Monday", "Then come on Monday evening.");
    scene.takes("bob@people.test", &alias, &mail);
    to_ann(8);
    let told = scene.sink.wait_for("bob@people.test", |mail| mail.text().contains("not sent on"));
    assert!(told.flat().contains("who takes no mail about it now"), "{}", told.text());
}

/// Rule 5: who can't show who he is reaches nobody by an alias either.
#[test]
fn a_forged_mail_to_an_alias_reaches_nobody() {
    let config = Config::new()
        .text("policy", "who_may_post", "anyone")
        .set("smtp", "trusted_networks", r#"["127.0.0.1/32"]"#)
        .set("smtp", "relays", r#"["127.0.0.2/32"]"#);
    let scene = Scene::with(config, false);
    for person in ["ann@people.test", "bob@people.test"] {
        scene.known_person(person);
    }
    let alias = scene.alias("ann@people.test");
    let wire =
        message(&[(in_seconds(-9), "mailto:cmr@peer.test")], "Sailing boats want a windy harbour.").write();
    let mails = [
        by("bob@people.test", "b@people.test", "Sunday", "Come to the old harbour on Sunday."),
        Mail::from("cmr@peer.test").attachments(&[("m.cmr", "base64", &wire)]),
    ];
    for mail in mails {
        let (mut relay, _) = Client::greeted_from([127, 0, 0, 2].into(), scene.daemon.smtp()).unwrap();
        relay.command("EHLO relay.test").unwrap();
        assert_eq!(relay.command("XFORWARD ADDR=192.0.2.66").unwrap().code, 250);
        let said = relay.send("eve@evil.test", &[&alias], &mail.write()).unwrap();
        assert!(said.code == 250 && said.text.contains("stored"), "{said:?}");
    }
    assert_eq!(scene.left().len(), 0);
}

/// Rule 14, by verb and by mail: whom the operator refuses can do nothing here with any kind of mail,
/// nor with an address that was given out before; and all of it works again afterwards.
#[test]
fn whom_the_operator_refuses_can_do_nothing() {
    let peers = r#"["mailto:cmr@peer.test", "mailto:cmr@other.test"]"#;
    let scene = Scene::new(Config::new().set("routing", "pinned", peers));
    scene.peer_sends(&message(
        &[(in_seconds(-99), "mailto:cmr@peer.test")],
        "Jupiter is the largest planet of the solar system.",
    ));
    let text = "Which is the largest planet of the solar system?";
    scene.takes("ann@people.test", "cmr@home.test", &by(ANN, "q@people.test", "Planets", text));
    let answer = scene.to_people().into_iter().find(|mail| mail.to == ["ann@people.test"]).unwrap();
    let mut number = 0;
    // What each of them tries; the codes of the replies.
    let mut tries = || -> Vec<u16> {
        number += 1;
        let id = |what: &str| format!("{what}{number}@people.test");
        let wire = |from: &str, hops: &[&str]| {
            let hops: Vec<_> =
                (0_i64..).zip(hops).map(|(i, hop)| (in_seconds(-20 - i - number * 5), *hop)).collect();
            let wire = message(&hops, format!("{text} number {number}")).write();
            (
                from.to_owned(),
                "cmr@home.test".to_owned(),
                Mail::from(from).attachments(&[("m.cmr", "base64", &wire)]),
            )
        };
        let post = |from: &str, subject: &str| {
            let mail = by(from, &id(&format!("{subject}.{from}")), subject, &format!("{text} {number}"));
            (from.to_owned(), "cmr@home.test".to_owned(), mail)
        };
        let token = |tag: &str| {
            let mail = by("ann@people.test", &id(tag), "x", "x");
            ("ann@people.test".to_owned(), answer.address(tag), mail)
        };
        let mails = [
            post("ann@people.test", "Planets"),
            post("ann@people.test", "help"),
            token("cmr+good-"),
            token("cmr+bad-"),
            token("cmr+yes-"),
            wire("cmr@peer.test", &["mailto:cmr@peer.test"]),
            // Brought by another, written by the one who is refused.
            wire("cmr@other.test", &["mailto:cmr@other.test", "mailto:cmr@peer.test"]),
        ];
        let given = mails.iter().map(|(from, to, mail)| scene.gives(from, to, &mail.write()).0).collect();
        scene.left();
        given
    };
    let people = [550, 550, 550, 550, 550];
    let fine = [250, 250, 250, 250, 250, 250, 250];
    for (what, wanted) in [
        ("ann@people.test", [&people[..], &[250, 250]].concat()),
        ("people.test", [&people[..], &[250, 250]].concat()),
        ("mailto:cmr@peer.test", [&[250; 5][..], &[550, 550]].concat()),
        ("peer.test", [&[250; 5][..], &[550, 550]].concat()),
    ] {
        scene.house.verb(&["block", what]);
        let before = scene.left().len();
        assert_eq!(tries(), wanted, "{what}");
        let host = what.rsplit('@').next().unwrap();
        let got: Vec<_> = scene
            .left()
            .split_off(before)
            .into_iter()
            .flat_map(|mail| mail.to)
            .filter(|to| to.ends_with(host))
            .collect();
        assert!(got.is_empty(), "{what}: {got:?}");
        scene.house.verb(&["block", "--undo", what]);
    }
    assert_eq!(tries(), fine);
    // A client is refused by its address, whatever it brings but a "stop".
    scene.house.verb(&["block", "127.0.0.1"]);
    let mail = by(ANN, "host@people.test", "Planets", "Anything else?");
    let (code, told) = scene.gives("ann@people.test", "cmr@home.test", &mail.write());
    assert!(code == 550 && told.contains("127.0.0.1"), "{code} {told}");
    scene.takes("ann@people.test", &answer.address("cmr+stop-"), &Mail::from(ANN).text("stop"));
}

/// Rule 14: what is removed is gone for the verbs, for mails and for good.
#[test]
fn what_is_removed_is_gone_for_verbs_and_for_mails() {
    let scene = Scene::new(Config::new());
    let words = "The zebrafinch sings in the largest garden of the town.";
    let bird = message(&[(in_seconds(-99), "mailto:cmr@peer.test")], words);
    scene.peer_sends(&bird);
    let id = bird.id().to_string();
    let mut number = 0;
    let mut search = |scene: &Scene| {
        number += 1;
        let mail = by(ANN, &format!("s{number}@people.test"), "search", words);
        scene.takes("ann@people.test", "cmr@home.test", &mail);
        let by_mail = scene.left().pop().unwrap();
        let by_verb = scene.house.json(&["search", words]);
        (by_mail.text().contains("zebrafinch"), by_verb["matches"].as_array().unwrap().len())
    };
    assert_eq!(search(&scene), (true, 1));
    scene.house.verb(&["remove", &id]);
    let again = Mail::from("cmr@peer.test").attachments(&[("m.cmr", "base64", &bird.write())]).write();
    let mut gone = |scene: &Scene| {
        assert_eq!(search(scene), (false, 0));
        let (code, told) = scene.gives("cmr@peer.test", "cmr@home.test", &again);
        assert!(code == 550 && told.contains("was removed here by the operator"), "{told}");
        assert!(scene.house.show(&id).is_none());
    };
    gone(&scene);
    let sink = scene.sink.clone();
    let house = scene.end();
    let daemon = house.start();
    gone(&Scene { sink, house, daemon });
}

/// Rule 21: a full queue takes nothing more in, loses nothing that came, and `status` says so.
#[test]
fn a_full_queue_sends_nothing_more_and_says_so() {
    let scene = Scene::new(Config::new());
    let sink = scene.sink.clone();
    let house = scene.end();
    let weigh = |house: &House, change: &str| {
        let database = rusqlite::Connection::open(house.database()).unwrap();
        let set = format!("UPDATE total SET bytes = bytes {change} WHERE what = 'delivery'");
        assert_eq!(database.execute(&set, []).unwrap(), 1);
    };
    // As if that much waited.
    weigh(&house, "+ 2147483648");
    let scene = Scene { daemon: house.start(), sink, house };
    let mail = |id: &str| by(ANN, id, "Planets", &format!("Which is the largest planet, {id}?"));
    let said = scene.takes("ann@people.test", "cmr@home.test", &mail("q1@people.test"));
    assert!(said.contains("stored"), "{said}");
    assert_eq!(scene.left().len(), 0);
    let status = scene.house.json(&["status"]);
    assert_eq!(
        (&status["unsent"], &status["messages"], &status["unrouted"]),
        (&1.into(), &1.into(), &0.into())
    );
    let sink = scene.sink.clone();
    let house = scene.end();
    weigh(&house, "- 2147483648");
    let scene = Scene { daemon: house.start(), sink, house };
    scene.takes("ann@people.test", "cmr@home.test", &mail("q2@people.test"));
    assert_eq!(scene.left().len(), 1);
}
