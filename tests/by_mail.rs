//! `docs/by-mail.md` is true: the answer that stands there is one that comes, and every command in
//! it does what it says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

mod support;

use support::daemon::Config;
use support::messages::{Mail, in_seconds, message};
use support::scene::{Scene, python};
use support::sink;

const PAGE: &str = include_str!("../docs/by-mail.md");
const QUESTION: &str = "Which is the largest planet of the solar system?\n";

fn scene() -> Scene {
    let scene = Scene::new(
        Config::new()
            .text("gateway", "address", "mailto:cmr@example.org")
            .text("gateway", "hostname", "mx.example.org")
            .text("gateway", "operator", "Olga Operator <olga@example.org>"),
    );
    let dave = "mailto:cmr+dave.5gz3kq0w7hfmxv1t@there.example";
    let text = "Jupiter is the largest planet of the solar system.\nIt is a gas giant.\n";
    let wire = message(&[(in_seconds(-60), dave)], text).write();
    let mail = Mail::from("cmr@there.example").attachments(&[("m.cmr", "base64", &wire)]);
    scene.takes("cmr@there.example", "cmr@example.org", &mail);
    scene
}

fn question() -> Mail {
    Mail::from("ann@people.example")
        .field("Message-ID", "<question@people.example>")
        .field("Subject", "Planets")
        .text(QUESTION)
}

/// A text with all that differs from day to day made the same: times, ids, tokens and numbers.
fn masked(text: &str) -> String {
    let mut out = String::new();
    for line in text.replace("\r\n", "\n").lines() {
        for (at, word) in line.split(' ').enumerate() {
            if at > 0 {
                out.push(' ');
            }
            let tag = word.split_once('+').and_then(|(_, tag)| tag.split_once('@'));
            let is_id = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            match tag {
                Some((tag, host)) => {
                    let name = tag.split(['-', '.']).next().unwrap();
                    out.push_str(&format!("cmr+{name}@{host}"));
                }
                None if is_id(word) => out.push_str("ID"),
                None => out.extend(word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c })),
            }
        }
        out.push('\n');
    }
    // Of a number only that it is one.
    while out.contains("00") {
        out = out.replace("00", "0");
    }
    out
}

#[test]
fn the_answer_on_the_page_is_one_that_comes() {
    let scene = scene();
    scene.takes("ann@people.example", "cmr@example.org", &question());
    let answer = scene.left().pop().unwrap();
    let block = PAGE.split_once("```text\n").unwrap().1.split_once("\n```").unwrap().0;
    let (header, text) = block.split_once("\n\n").unwrap();
    let read = python(&answer.raw);
    for line in header.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        let fields = read["headers"].as_array().unwrap();
        assert!(fields.iter().any(|field| field[0] == name && field[1] == value), "{line}: {fields:?}");
    }
    assert_eq!(masked(answer.text().trim_end()), masked(text), "\n{}", answer.text());
    assert!(block.lines().all(|line| line.chars().count() <= 78));
}

/// What stands between backquotes in the first column of the tables.
fn cells(heading: &str) -> Vec<Vec<String>> {
    let table = PAGE.split_once(heading).unwrap().1;
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).skip(1).collect())
        .collect()
}

#[test]
fn every_command_on_the_page_does_what_it_says() {
    let commands = cells("\n| word | address | what it does |\n");
    let says = |word: &str, mail: &sink::Mail| {
        let wanted = match word {
            "help" => "Here is a mail address with a memory",
            "search" => "compared with what is known here and not stored. Closest to it is:",
            "post" => "Your message is stored. Closest to it is:",
            "status" => "In public you are cmr+someone.",
            "stop" => "You get no more mail from here",
            other => panic!("what does {other} do?"),
        };
        assert!(mail.flat().contains(wanted), "{word}: {}", mail.text());
    };
    assert_eq!(commands.len(), 5, "{commands:?}");
    for row in commands {
        let (word, address) = (row[0].as_str(), row[1].as_str());
        let mail = |to: &str| Mail::from("ann@people.example").field("X-To", to);
        let ways = [
            ("cmr@example.org", mail("").field("Subject", word).text(QUESTION)),
            ("cmr@example.org", mail("").field("Subject", &format!("Re: {word}")).text(QUESTION)),
            ("cmr@example.org", mail("").field("Subject", "Planets").text(&format!("{word}\n{QUESTION}"))),
            (address, mail("").field("Subject", "Planets").text(QUESTION)),
        ];
        for (to, mail) in ways {
            let scene = scene();
            // Known here, so that there is something to stop and to tell.
            let hello = Mail::from("ann@people.example").field("Subject", "Hello").text("I am new here.");
            scene.takes("ann@people.example", "cmr@example.org", &hello);
            let before = scene.left().len();
            scene.takes("ann@people.example", to, &mail);
            let new = scene.left().split_off(before);
            assert_eq!(new.len(), 1, "{word} to {to}");
            says(word, &new[0]);
        }
    }
}

#[test]
fn every_address_with_a_token_on_the_page_does_what_it_says() {
    let tickets = cells("\n| address | what it does |\n");
    assert_eq!(tickets.len(), 5, "{tickets:?}");
    for row in tickets {
        let beginning = row[0].split(['I', 'T']).next().unwrap().to_owned();
        let scene = scene();
        let mut asked = question();
        if beginning == "cmr+get-" {
            // Something too large to be attached is the closest.
            let mut random = support::Random(7);
            let mut long = "Four comets were seen near Ganymede with the telescope of Arcetri.\n".to_owned();
            while long.len() < 300_000 {
                long.push_str(&format!("{:x} ", random.next()));
            }
            let wire = message(&[(in_seconds(-30), "mailto:eve@there.example")], long).write();
            let mail = Mail::from("cmr@there.example").attachments(&[("m.cmr", "base64", &wire)]);
            scene.takes("cmr@there.example", "cmr@example.org", &mail);
            let text = "Who saw four comets near Ganymede with the telescope of Arcetri?";
            asked = Mail::from("ann@people.example").field("Message-ID", "<c@people.example>").text(text);
        }
        scene.takes("ann@people.example", "cmr@example.org", &asked);
        let answer = scene.left().pop().unwrap();
        let address = answer.address(&beginning);
        let reply = scene.takes("ann@people.example", &address, &Mail::from("ann@people.example").text(""));
        let told = scene.left().into_iter().rfind(|mail| mail.to == ["ann@people.example"]).unwrap();
        match beginning.as_str() {
            "cmr+yes-" => assert!(told.flat().contains("Your message is public now"), "{}", told.text()),
            "cmr+stop-" => assert!(told.flat().contains("You get no more mail"), "{}", told.text()),
            "cmr+good-" | "cmr+bad-" => assert!(reply.contains("your vote"), "{reply}"),
            "cmr+get-" => {
                assert!(told.flat().contains("Here is the whole message"), "{}", told.text());
                assert_eq!(told.attachments().len(), 1);
            }
            other => panic!("what does {other} do?"),
        }
    }
}
