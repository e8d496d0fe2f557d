//! What a person who mails a gateway gets, item by item: each test is named after one thing that
//! anybody may expect of a robot that answers mail (RFC 3834). What is not here (how a text is
//! found, bounces, who is believed) has its tests where it is done.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

mod support;

use std::time::{Duration, Instant};

use support::client::Client;
use support::daemon::Config;
use support::messages::{Mail, in_seconds, message, quoted_printable_lines};
use support::scene::{Scene, python};

const JUPITER: &str = "Jupiter is the largest planet of the solar system.\nIt is a gas giant.\n";
const QUESTION: &str = "Which is the largest planet of the solar system?\n";

fn question(author: &str) -> Mail {
    Mail::from(author)
        .field("Message-ID", "<question@people.test>")
        .field("Subject", "Planets")
        .text(QUESTION)
}

/// A house in which a message about Jupiter is known and public.
fn with_jupiter() -> Scene {
    let scene = Scene::new(Config::new());
    scene.peer_sends(&message(&[(in_seconds(-60), "mailto:cmr@peer.test")], JUPITER));
    scene
}

#[test]
fn item_01_one_answer_to_one_address() {
    let scene = with_jupiter();
    let mail = question("Ann <ann@people.test>")
        .field("To", "bob@people.test, carl@people.test")
        .field("Cc", "many@people.test, cmr@home.test")
        .field("Reply-To", "dora@people.test");
    scene.takes("ann@people.test", "cmr@home.test", &mail);
    let mails = scene.left();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, ["ann@people.test"]);
    assert!(mails[0].field("Cc").is_none() && mails[0].field("Bcc").is_none());
    assert_eq!(mails[0].field("To").unwrap(), "ann@people.test");
}

#[test]
fn item_02_to_the_author_and_never_to_reply_to() {
    let scene = with_jupiter();
    // The envelope sender may be an address for reports; the author stands in From.
    let mail = question("ann@people.test").field("Reply-To", "dora@people.test");
    scene.takes("bounces-17@people.test", "cmr@home.test", &mail);
    assert_eq!(scene.left().iter().flat_map(|mail| mail.to.clone()).collect::<Vec<_>>(), ["ann@people.test"]);
}

#[test]
fn item_03_programs_are_not_answered() {
    for (value, answers) in [
        ("no", 1),
        ("No (a person wrote this; auto-replied)", 1),
        ("auto-replied", 0),
        ("(no) auto-generated; owner-email=\"x\"", 0),
        ("auto-notified (no)", 0),
        ("garbage; no", 0),
    ] {
        let scene = with_jupiter();
        let mail = question("ann@people.test").field("Auto-Submitted", value);
        scene.takes("ann@people.test", "cmr@home.test", &mail);
        assert_eq!(scene.left().len(), answers, "{value}");
    }
}

#[test]
fn item_04_mail_systems_and_lists_are_not_answered() {
    for (sender, from) in [
        ("", "ann@people.test"),
        ("MAILER-DAEMON@people.test", "ann@people.test"),
        ("owner-talk@people.test", "ann@people.test"),
        ("talk-request@people.test", "ann@people.test"),
        ("ann@people.test", "Mailer-Daemon@people.test"),
        ("ann@people.test", "talk-request@people.test"),
    ] {
        let scene = with_jupiter();
        scene.takes(sender, "cmr@home.test", &question(from));
        assert_eq!(scene.left().len(), 0, "{sender:?} {from}");
    }
}

#[test]
fn item_05_lists_are_answered_only_if_they_name_us_and_stored_all_the_same() {
    let list = |to: &str, field: &str, value: &str| {
        let mut mail = question("ann@people.test").field(field, value);
        mail.fields.retain(|(name, _)| name != "To");
        mail.field("To", to)
    };
    for (mail, answers) in [
        (list("talk@people.test", "List-Id", "<talk.people.test>"), 0),
        (list("talk@people.test", "List-Unsubscribe", "<mailto:x@people.test>"), 0),
        (list("talk@people.test", "Precedence", "bulk"), 0),
        (list("talk@people.test", "Precedence", "list"), 0),
        (list("talk@people.test", "Precedence", "Junk"), 0),
        (list("talk@people.test, cmr@home.test", "List-Id", "<talk.people.test>"), 1),
        (list("cmr@home.test", "Precedence", "bulk"), 1),
    ] {
        let scene = with_jupiter();
        let reply = scene.takes("ann@people.test", "cmr@home.test", &mail);
        assert!(reply.contains("stored"), "{reply}");
        assert_eq!(scene.left().len(), answers, "{:?}", mail.fields);
    }
}

#[test]
fn item_06_our_own_mail_is_dropped_and_counted() {
    let scene = with_jupiter();
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    let answer = scene.left().remove(0);
    let messages = scene.house.json(&["status"])["messages"].clone();
    let own_id = question("ann@people.test").field("X-Was", "x");
    let mut own_id = own_id;
    own_id.fields.retain(|(name, _)| name != "Message-ID");
    let own_id = own_id.field("Message-ID", &format!("<{}>", answer.message_id()));
    let marked = question("ann@people.test").field("X-CMR-Loop", "mx.home.test");
    for raw in [
        answer.raw.clone(),
        own_id.write(),
        marked.write(),
        question("cmr@home.test").write(),
        question("Somebody <cmr+someone.abc@home.test>").write(),
    ] {
        let (code, text) = scene.gives("ann@people.test", "cmr@home.test", &raw);
        assert!(code == 250 && text.contains("our own"), "{code} {text}");
    }
    assert_eq!(scene.left().len(), 1, "only the first answer");
    let status = scene.house.json(&["status"]);
    assert_eq!(status["came_back"], 5);
    assert_eq!(status["messages"], messages);
}

#[test]
fn item_07_automatic_mail_says_so() {
    let scene = with_jupiter();
    scene.known_person("ann@people.test");
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    scene.peer_sends(&message(
        &[(in_seconds(-30), "mailto:cmr@peer.test")],
        "The largest planet of the solar system has ninety-seven moons.\n",
    ));
    let mails = scene.to_people();
    let said: Vec<_> = mails.iter().map(|mail| mail.field("Auto-Submitted").unwrap()).collect();
    assert_eq!(said, ["auto-replied", "auto-generated"]);
}

#[test]
fn item_08_the_robot_and_its_human_are_named() {
    let scene = with_jupiter();
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    let found = python(&scene.left()[0].raw);
    assert_eq!(found["from"], serde_json::json!([["CMR gateway run by Olga Operator", "cmr@home.test"]]));
    let text = scene.left()[0].text().replace("\r\n", "\n");
    let footer = text.split_once("\n-- \n").unwrap().1;
    assert!(footer.contains("Olga Operator <olga@home.test>") && footer.contains("mx.home.test"), "{footer}");
}

#[test]
fn item_09_what_cannot_be_delivered_is_never_answered() {
    let scene = with_jupiter();
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    let sender = scene.left()[0].from.clone();
    assert!(sender.is_empty() || sender.starts_with("cmr+bounce-"), "{sender}");
    if !sender.is_empty() {
        scene.takes("ann@people.test", &sender, &question("ann@people.test").field("Subject", "help"));
        scene.takes("", &sender, &question("Mail System <MAILER-DAEMON@people.test>"));
    }
    assert_eq!(scene.left().len(), 1);
}

#[test]
fn item_10_the_answer_stands_under_the_question() {
    for (fields, references) in [
        (vec![("Message-ID", "<q@x>")], Some("<q@x>")),
        (
            vec![("Message-ID", "<q@x>"), ("References", "<a@x> <b@x>"), ("In-Reply-To", "<b@x>")],
            Some("<a@x> <b@x> <q@x>"),
        ),
        // RFC 5322, section 3.6.4: one In-Reply-To stands in for missing References.
        (vec![("Message-ID", "<q@x>"), ("In-Reply-To", "<b@x>")], Some("<b@x> <q@x>")),
        (vec![("Message-ID", "<q@x>"), ("In-Reply-To", "<b@x> <c@x>")], Some("<q@x>")),
        (vec![], None),
    ] {
        let scene = with_jupiter();
        let mut mail = Mail::from("ann@people.test").field("Subject", "Planets");
        for (name, value) in &fields {
            mail = mail.field(name, value);
        }
        scene.takes("ann@people.test", "cmr@home.test", &mail.text(QUESTION));
        let answer = scene.left().remove(0);
        assert_eq!(answer.field("References").as_deref(), references, "{fields:?}");
        assert_eq!(answer.field("In-Reply-To").is_some(), references.is_some());
    }
}

#[test]
fn item_11_the_subject_is_theirs_behind_one_re() {
    for (theirs, ours) in [
        (Some("Planets"), "Re: Planets"),
        (Some("Re: Planets"), "Re: Planets"),
        (Some("AW: Re: Planets"), "Re: Planets"),
        (Some("[talk] Planets"), "Re: [talk] Planets"),
        (None, "Re: (no subject)"),
    ] {
        let scene = with_jupiter();
        let mut mail = Mail::from("ann@people.test");
        if let Some(subject) = theirs {
            mail = mail.field("Subject", subject);
        }
        scene.takes("ann@people.test", "cmr@home.test", &mail.text(QUESTION));
        assert_eq!(scene.left()[0].field("Subject").unwrap(), ours);
    }
}

#[test]
fn item_12_later_matches_join_the_thread_for_thirty_days() {
    let scene = with_jupiter();
    scene.known_person("ann@people.test");
    let mail = question("ann@people.test").field("References", "<first@people.test>");
    scene.takes("ann@people.test", "cmr@home.test", &mail);
    scene.peer_sends(&message(
        &[(in_seconds(-30), "mailto:cmr@peer.test")],
        "The largest planet of the solar system has ninety-seven moons.\n",
    ));
    let later = scene.to_people().pop().unwrap();
    assert!(later.text().contains("ninety-seven moons"), "{}", later.text());
    assert_eq!(later.field("In-Reply-To").unwrap(), "<question@people.test>");
    assert_eq!(later.field("References").unwrap(), "<first@people.test> <question@people.test>");
    assert_eq!(later.field("Subject").unwrap(), "Re: Planets");
    assert_eq!(later.to, ["ann@people.test"]);
    let days: i64 = scene
        .house
        .read_database()
        .query_row("SELECT (until - opened) / 86400000000 FROM thread WHERE seq IS NOT NULL", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(days, 30);
}

#[test]
fn item_13_an_answer_comes_within_a_minute_even_if_nothing_is_known() {
    let scene = Scene::new(Config::new());
    let start = Instant::now();
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    let answer = scene.sink.wait_for("ann@people.test", |_| true);
    assert!(start.elapsed() < Duration::from_secs(60));
    assert!(answer.text().contains("Nothing else is known here yet."), "{}", answer.text());
    // Something is known, but not about this.
    let scene = with_jupiter();
    let mail = Mail::from("ann@people.test").field("Subject", "Tax").text("Wann ist die Steuer zu zahlen?\n");
    scene.takes("ann@people.test", "cmr@home.test", &mail);
    let text = scene.left()[0].flat();
    assert!(text.contains("Nothing that is known here is close enough to it."), "{text}");
}

#[test]
fn item_14_short_plain_text() {
    let scene = with_jupiter();
    scene.peer_sends(&message(
        &[(in_seconds(-50), "mailto:cmr@peer.test")],
        "Größter Planet: the largest planet of the solar system, ".repeat(12),
    ));
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    let answer = scene.left().remove(0);
    let found = python(&answer.raw);
    let part = &found["parts"][0];
    assert_eq!(part["type"], "text/plain");
    assert_eq!(part["encoding"], "quoted-printable");
    assert_eq!(part["charset"], "utf-8");
    let text = part["text"].as_str().unwrap();
    assert!(text.contains("Größter") && text.lines().all(|line| line.chars().count() <= 78), "{text}");
    assert!(text.len() < 4000, "{} bytes", text.len());
    // Who looks at the source sees lines and no soft breaks in them.
    let lines = quoted_printable_lines(&answer.raw);
    assert!(
        lines.iter().filter(|line| line.is_ascii() && !line.contains("=C3")).all(|line| !line.ends_with('='))
    );
}

#[test]
fn item_15_each_result_says_who_when_how_close_and_what() {
    let scene = Scene::new(Config::new());
    let jupiter = message(&[(in_seconds(-60), "mailto:dave@peer.test")], JUPITER);
    scene.peer_sends(&jupiter);
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    let answer = scene.left().remove(0);
    let text = answer.text();
    let time = jupiter.origin().time.to_unix().rfc3339()[..16].replace('T', " ");
    for part in [
        "1. dave@peer.test, ".to_owned(),
        format!("{time} UTC"),
        " % of your text is known from it (".to_owned(),
        format!("id {}", jupiter.id()),
        "Jupiter is the largest planet of the solar system.".to_owned(),
        "In common: ".to_owned(),
        "largest".to_owned(),
    ] {
        assert!(text.contains(&part), "{part:?} in\n{text}");
    }
    let found = python(&answer.raw);
    let attached = &found["parts"][1];
    assert_eq!(attached["disposition"], "attachment");
    assert_eq!(attached["filename"], format!("{}.cmr", jupiter.id()));
    assert_eq!(attached["encoding"], "base64");
    assert_eq!(answer.attachments(), [jupiter.write()]);
}

#[test]
fn item_16_much_goes_to_who_is_known_and_asks_for_it() {
    // Not known: nothing at all.
    let scene = Scene::with(Config::new().text("policy", "who_may_post", "anyone"), false);
    scene.peer_sends(&message(&[(in_seconds(-60), "mailto:cmr@peer.test")], JUPITER));
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    assert_eq!(scene.left().len(), 0);
    // Known: a summary, and the address that sends the rest.
    let scene = Scene::new(Config::new());
    let mut random = support::Random(7);
    let mut long = JUPITER.to_owned();
    while long.len() < 300_000 {
        long.push_str(&format!("{:x} ", random.next()));
    }
    let long = message(&[(in_seconds(-60), "mailto:cmr@peer.test")], long);
    scene.peer_sends(&long);
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    let answer = scene.left().remove(0);
    assert!(answer.raw.len() < 8000 && answer.attachments().is_empty(), "{} bytes", answer.raw.len());
    assert!(
        answer.text().contains("largest planet") && answer.text().contains("Not attached (30"),
        "{}",
        answer.text()
    );
    let get = answer.address("cmr+get-");
    let (code, _) =
        scene.gives("eve@people.test", &get.replace(".", "x"), &question("eve@people.test").write());
    assert_eq!(code, 550);
    scene.takes("ann@people.test", &get, &Mail::from("ann@people.test").text("the rest, please"));
    let mails = scene.left();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[1].attachments(), [long.write()]);
}

/// Who has nothing to show but a token of ours can read the mail of its person, so that person gets a
/// summary, and more by another token: once a day, since a token stands in mails that are passed on.
#[test]
fn item_16_who_has_only_a_token_gets_a_summary_and_asks_for_the_rest() {
    let config = Config::new().set("smtp", "trusted_networks", r#"["127.0.0.1/32"]"#).set(
        "smtp",
        "relays",
        r#"["127.0.0.2/32"]"#,
    );
    let scene = Scene::with(config, false);
    let by_relay = |to: &str, id: &str| {
        let (mut relay, _) = Client::greeted_from([127, 0, 0, 2].into(), scene.daemon.smtp()).unwrap();
        relay.command("EHLO relay.test").unwrap();
        assert_eq!(relay.command("XFORWARD ADDR=192.0.2.66").unwrap().code, 250);
        let mail = Mail::from("ann@elsewhere.test").field("Message-ID", id).text("yes").write();
        assert_eq!(relay.send("ann@elsewhere.test", &[to], &mail).unwrap().code, 250);
        scene.house.until_idle();
    };
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    let yes = scene.left()[0].address("cmr+yes-");
    scene.peer_sends(&message(&[(in_seconds(-60), "mailto:cmr@peer.test")], JUPITER));
    by_relay(&yes, "<1@elsewhere.test>");
    let told = scene.to_people().remove(1);
    assert_eq!(told.to, ["ann@people.test"]);
    assert!(told.text().contains("Jupiter") && told.attachments().is_empty(), "{}", told.text());
    assert!(told.raw.len() < 4000, "{} bytes", told.raw.len());
    let get = told.address("cmr+get-");
    for number in 2..5 {
        by_relay(&get, &format!("<{number}@elsewhere.test>"));
        by_relay(&yes, &format!("<{number}.again@elsewhere.test>"));
    }
    let mails = scene.to_people();
    assert_eq!(mails.len(), 3, "the whole message, once");
    assert_eq!(mails[2].attachments().len(), 1);
    // She herself gets it as often as she likes.
    scene.takes("ann@people.test", &get, &Mail::from("ann@people.test").text("again, please"));
    assert_eq!(scene.to_people().len(), 4);
}

#[test]
fn item_17_nobody_gets_back_what_he_wrote() {
    let scene = Scene::new(Config::new());
    scene.known_person("ann@people.test");
    let mail = |id: &str| {
        Mail::from("ann@people.test").field("Message-ID", id).field("Subject", "Fjords").attachments(&[
            ("holiday.jpg", "base64", b"a picture of a fjord"),
            ("note.txt", "7bit", b"a note"),
        ])
    };
    let text = b"The Sognefjord is the longest fjord of Norway, and the deepest one as well.";
    for id in ["<one@people.test>", "<two@people.test>"] {
        let mut mail = mail(id);
        let covering = b"See the attachment.";
        let at = mail.body.windows(covering.len()).position(|window| window == covering).unwrap();
        mail.body.splice(at..at + covering.len(), text.iter().copied());
        scene.takes("ann@people.test", "cmr@home.test", &mail);
    }
    let mails = scene.to_people();
    assert_eq!(mails.len(), 2);
    for mail in &mails {
        assert!(!mail.text().contains("Sognefjord"), "{}", mail.text());
        assert!(mail.attachments().is_empty());
        assert!(mail.text().contains("holiday.jpg"), "it is named as ignored: {}", mail.text());
    }
}

#[test]
fn item_21_commands_are_whole_subjects_whole_first_lines_or_addresses() {
    struct Row(&'static str, &'static str, &'static str, &'static str, bool);
    // To, subject, text, what the answer says, whether it is stored.
    let rows = [
        Row("cmr@home.test", "help", "", "Here is a mail address with a memory", false),
        Row("cmr@home.test", "Re: HELP", "", "Here is a mail address with a memory", false),
        Row("cmr@home.test", "Planets", "help", "Here is a mail address with a memory", false),
        Row("cmr+help@home.test", "Planets", QUESTION, "Here is a mail address with a memory", false),
        Row("cmr@home.test", "search", QUESTION, "not stored. Closest to it is:", false),
        Row(
            "cmr@home.test",
            "",
            "search\nWhich is the largest planet of the solar system?",
            "Closest to it is:",
            false,
        ),
        Row("cmr+search@home.test", "Planets", QUESTION, "Closest to it is:", false),
        Row(
            "cmr@home.test",
            "AW: search",
            "Wann ist die Steuer zu zahlen?",
            "Nothing that is known here is close",
            false,
        ),
        Row("cmr@home.test", "search", "", "Nothing was stored: there was nothing to look for.", false),
        Row("cmr@home.test", "status", "", "What you post is not public", false),
        Row("cmr+status@home.test", "", "", "What you post is not public", false),
        Row("cmr@home.test", "post", QUESTION, "Your message is stored. Closest", true),
        Row("cmr+post@home.test", "help", QUESTION, "Your message is stored. Closest", true),
        Row("cmr@home.test", "Search engines", QUESTION, "Your message is stored.", true),
        Row("cmr@home.test", "Help!", QUESTION, "Your message is stored.", true),
        Row("cmr@home.test", "Planets", "Please\nhelp", "Your message is stored.", true),
    ];
    for Row(to, subject, text, says, stored) in rows {
        let scene = with_jupiter();
        let mut mail = Mail::from("ann@people.test");
        if !subject.is_empty() {
            mail = mail.field("Subject", subject);
        }
        scene.takes("ann@people.test", to, &mail.text(text));
        let mails = scene.left();
        assert_eq!(mails.len(), 1, "{to} {subject:?} {text:?}");
        let told = mails[0].flat();
        assert!(told.contains(says), "{to} {subject:?} {text:?}: {told}");
        assert_eq!(scene.house.json(&["status"])["messages"], if stored { 2 } else { 1 }, "{to} {subject:?}");
        python(&mails[0].raw);
    }
}

#[test]
fn item_21_status_tells_what_is_known_of_a_person() {
    let scene = with_jupiter();
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    let status = |id: &str| {
        let mail = Mail::from("ann@people.test").field("Message-ID", id).field("Subject", "status").text("");
        scene.takes("ann@people.test", "cmr@home.test", &mail);
        scene.left().pop().unwrap()
    };
    let before = status("<s1@people.test>");
    let confirm = before.address("cmr+yes-");
    assert!(
        before.flat().contains("Planets of 20") && before.flat().contains("not public, until"),
        "{}",
        before.text()
    );
    scene.takes("ann@people.test", &confirm, &Mail::from("ann@people.test").text("yes"));
    let after = status("<s2@people.test>");
    assert!(after.flat().contains("What you post is public; you agreed"), "{}", after.text());
    assert!(
        after.flat().contains("UTC, public, until") && after.text().contains("cmr+someone."),
        "{}",
        after.text()
    );
    assert!(!after.text().contains("cmr+yes-"));
    scene.takes("ann@people.test", "cmr+stop@home.test", &Mail::from("ann@people.test").text(""));
    let stopped = status("<s3@people.test>");
    assert!(stopped.flat().contains("You asked for no more mail"), "{}", stopped.text());
    assert!(stopped.flat().contains("None of your posts waits"), "{}", stopped.text());
}

/// What is asked for is not kept: not in the pool, and after the answer nowhere.
#[test]
fn item_21_a_search_is_not_kept() {
    let scene = with_jupiter();
    let mail = Mail::from("ann@people.test")
        .field("Subject", "search")
        .text("largest planet of the solar system zebrafinch");
    scene.takes("ann@people.test", "cmr@home.test", &mail);
    assert_eq!(scene.left().len(), 1);
    let house = scene.end();
    for entry in std::fs::read_dir(house.dir().join("data")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!bytes.windows(10).any(|window| window == b"zebrafinch"));
    }
}

#[test]
fn item_22_a_token_or_the_person_stops_at_once_and_hears_so() {
    let later = || {
        message(
            &[(in_seconds(-30), "mailto:cmr@peer.test")],
            "The largest planet of the solar system has ninety-seven moons.\n",
        )
    };
    type Stop = fn(&Scene, &str);
    let ways: [(&str, Stop); 5] = [
        ("subject", |scene, _| {
            scene.takes(
                "ann@people.test",
                "cmr@home.test",
                &Mail::from("ann@people.test").field("Subject", "Re: Unsubscribe").text(""),
            );
        }),
        ("first line", |scene, _| {
            scene.takes(
                "ann@people.test",
                "cmr@home.test",
                &Mail::from("ann@people.test").text("stop\nthank you"),
            );
        }),
        ("address", |scene, _| {
            scene.takes(
                "ann@people.test",
                "cmr+unsubscribe@home.test",
                &Mail::from("ann@people.test").text(""),
            );
        }),
        ("token", |scene, token| {
            scene.takes("ann@people.test", token, &Mail::from("ann@people.test").text(""));
        }),
        ("token from another address", |scene, token| {
            scene.takes("ann@elsewhere.test", token, &Mail::from("ann@elsewhere.test").text(""));
        }),
    ];
    for (way, stop) in ways {
        let scene = with_jupiter();
        scene.known_person("ann@people.test");
        scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
        let token = scene.to_people().pop().unwrap().address("cmr+stop-");
        stop(&scene, &token);
        scene.peer_sends(&later());
        let mails = scene.to_people();
        assert_eq!(mails.len(), 2, "{way}: the answer, and that it stops");
        assert_eq!(mails[1].to, ["ann@people.test"], "{way}");
        assert!(mails[1].flat().contains("You get no more mail"), "{way}: {}", mails[1].text());
    }
    // A guess stops nothing.
    let scene = with_jupiter();
    scene.known_person("ann@people.test");
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    let token = scene.to_people().pop().unwrap().address("cmr+stop-");
    let guess = format!("{}x@home.test", token.split('@').next().unwrap());
    assert_eq!(
        scene.gives("eve@people.test", &guess, &Mail::from("eve@people.test").text("").write()).0,
        550
    );
    scene.peer_sends(&later());
    assert_eq!(scene.to_people().len(), 2, "the answer and the later match");
}

#[test]
fn item_23_standing_matches_can_be_unsubscribed_from() {
    let scene = with_jupiter();
    scene.known_person("ann@people.test");
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    scene.peer_sends(&message(
        &[(in_seconds(-30), "mailto:cmr@peer.test")],
        "The largest planet of the solar system has ninety-seven moons.\n",
    ));
    let mails = scene.to_people();
    let (answer, later) = (&mails[0], &mails[1]);
    assert!(answer.field("List-Id").is_none() && answer.field("List-Unsubscribe").is_none());
    assert_eq!(later.field("List-Id").unwrap(), "Later matches <matches.mx.home.test>");
    assert_eq!(later.field("List-Help").unwrap(), "<mailto:cmr+help@home.test>");
    assert!(later.field("List-Unsubscribe-Post").is_none(), "RFC 8058 is about https");
    let unsubscribe = later.field("List-Unsubscribe").unwrap();
    let address = unsubscribe.strip_prefix("<mailto:").unwrap().strip_suffix('>').unwrap().to_owned();
    // As mail programs do it: empty, and maybe marked as automatic.
    let mail = Mail::from("ann@people.test")
        .field("Subject", "unsubscribe")
        .field("Auto-Submitted", "auto-generated");
    scene.takes("ann@people.test", &address, &mail.text(""));
    scene.peer_sends(&message(
        &[(in_seconds(-20), "mailto:cmr@peer.test")],
        "The largest planet of the solar system is mostly hydrogen.\n",
    ));
    let mails = scene.to_people();
    assert!(mails.iter().skip(2).all(|mail| !mail.text().contains("hydrogen")), "it ended");
}

#[test]
fn item_24_slow_down_is_said_once() {
    let scene = Scene::new(Config::new().text("policy", "answer_at_most", "3/h"));
    for number in 0..8 {
        let mail = Mail::from("ann@people.test")
            .field("Message-ID", &format!("<n{number}@people.test>"))
            .field("Subject", "status")
            .text("");
        scene.takes("ann@people.test", "cmr@home.test", &mail);
    }
    let mails = scene.left();
    assert_eq!(mails.len(), 4);
    assert!(mails[3].flat().contains("too many within a short time"), "{}", mails[3].text());
    assert_eq!(scene.house.json(&["status"])["silenced"], 5);
    // One conversation has its own limit, below that of the person.
    let scene = Scene::new(Config::new().text("policy", "answer_at_most", "1000/h"));
    for number in 0..14 {
        let mail = Mail::from("ann@people.test")
            .field("Message-ID", &format!("<n{number}@people.test>"))
            .field("References", "<root@people.test>")
            .field("Subject", "status")
            .text("");
        scene.takes("ann@people.test", "cmr@home.test", &mail);
    }
    assert_eq!(scene.left().len(), 11);
}

#[test]
fn item_25_malformed_mail_is_refused_in_the_dialogue_or_kept_and_never_bounced() {
    let wire = message(&[(in_seconds(-9), "mailto:cmr@peer.test")], "cut short").write();
    let cut = &wire[..wire.len() - 1];
    let mail = Mail::from("ann@people.test").attachments(&[("bad.cmr", "base64", cut)]).write();
    let scene = Scene::new(Config::new());
    let (code, text) = scene.gives("ann@people.test", "cmr@home.test", &mail);
    assert!(code == 554 && text.contains("bad.cmr"), "{code} {text}");
    assert_eq!(scene.left().len(), 0);
    let scene = Scene::with(Config::new().set("smtp", "relays", r#"["127.0.0.0/8"]"#), false);
    let (code, text) = scene.gives("ann@people.test", "cmr@home.test", &mail);
    assert!(code == 250 && text.contains("kept aside"), "{code} {text}");
    assert_eq!(scene.left().len(), 0);
    assert_eq!(scene.house.json(&["show", "--aside"]).as_array().unwrap().len(), 1);
}

#[test]
fn item_27_postmaster_and_abuse_reach_people() {
    let scene = Scene::new(Config::new());
    for local in ["postmaster", "abuse"] {
        let (code, text) = scene.gives(
            "ann@people.test",
            &format!("{local}@home.test"),
            &question("ann@people.test").write(),
        );
        assert!(code == 250 && text.contains("postmaster"), "{local}: {code} {text}");
    }
    let mails = scene.left();
    assert!(!mails.is_empty() && mails.iter().all(|mail| mail.to == ["olga@home.test"]));
}

#[test]
fn item_29_no_read_receipts() {
    let scene = with_jupiter();
    let mail = question("ann@people.test")
        .field("Disposition-Notification-To", "ann@people.test")
        .field("Return-Receipt-To", "ann@people.test")
        .field("X-Confirm-Reading-To", "ann@people.test");
    scene.takes("ann@people.test", "cmr@home.test", &mail);
    let mails = scene.left();
    assert_eq!(mails.len(), 1);
    let raw = String::from_utf8_lossy(&mails[0].raw).to_lowercase();
    assert!(!raw.contains("disposition-notification") && !raw.contains("receipt-to"), "{raw}");
}

#[test]
fn item_30_the_first_answer_says_what_public_means_and_asks() {
    let scene = Scene::new(Config::new().set("routing", "pinned", r#"["mailto:cmr@peer.test"]"#));
    scene.takes("ann@people.test", "cmr@home.test", &question("ann@people.test"));
    let mails = scene.left();
    assert_eq!(mails.len(), 1, "nothing goes to the peer yet");
    let text = mails[0].flat();
    for part in [
        "Your message is not public yet: until you agree, only this gateway's operator can read it.",
        "other gateways get copies, show them to people who write something similar, and keep them",
        "nobody can take them all back",
        "an alias made by this gateway, not your address",
        "To publish it and what you post from now on, send a mail with any text to cmr+yes-",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    scene.takes("ann@people.test", &mails[0].address("cmr+yes-"), &Mail::from("ann@people.test").text("yes"));
    let mails = scene.left();
    let to_peer: Vec<_> = mails.iter().filter(|mail| mail.to == ["cmr@peer.test"]).collect();
    assert_eq!(to_peer.len(), 1);
    let wire = String::from_utf8(to_peer[0].part(0).unwrap()).unwrap();
    assert!(wire.contains("mailto:cmr+someone.") && !wire.contains("ann@people.test"), "{wire}");
}
