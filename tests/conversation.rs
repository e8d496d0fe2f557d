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

use support::daemon::Config;
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
    // A question in sixteen parts, and each newcomer knows of another one.
    let mut random = support::Random(3);
    let mut part = || -> String {
        let mut word =
            || (0..9).map(|_| char::from(b'a' + u8::try_from(random.below(26)).unwrap())).collect::<String>();
        (0..8).map(|_| word()).collect::<Vec<_>>().join(" ")
    };
    let parts: Vec<String> = (0..16).map(|_| part()).collect();
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
    // Six by the first author, five each by two others.
    for number in 1..=6 {
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
