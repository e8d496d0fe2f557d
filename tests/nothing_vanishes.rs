//! Every mail, however malformed, ends in one of four ways: taken as messages, taken as a post,
//! refused in the dialogue, or kept aside with the reason, where `status` counts it and `show
//! --aside` shows it. All mails of `tests/mails` come by each way in: SMTP from its author and from a
//! relay, LMTP, a pipe, a mailbox, an archive.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

#[path = "imap/dovecot.rs"]
#[allow(dead_code, reason = "its tests use more of it")]
mod dovecot;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use cmr_mail::gateway::Gateway;
use cmr_mail::mail::{Caps, NoPost, Reading, Submission, extract};
use cmr_mail::message::Limits;
use cmr_mail::receive::{Arrival, Via};
use dovecot::Dovecot;
use serde_json::Value;
use support::client::Client;
use support::daemon::{Config, Daemon, House};
use support::messages::now;

const POSTING: &str = "cmr@example.net";

/// A way in. Whoever brings mail by another one adds it to [`ways`].
struct Way {
    name: &'static str,
    /// What a house needs for it.
    config: Config,
    /// Whether a refusal is heard by who wrote the mail. Else it would become a bounce to somebody whose
    /// address may be forged, or be heard by nobody: what is not taken is kept aside.
    refuses: bool,
    /// What a mail begins with when it arrives.
    front: &'static str,
    give: Give,
}

/// Brings a mail, and waits until it is dealt with; the code and sentence about it where there is one.
type Give = Box<dyn Fn(&House, &Daemon, &[u8]) -> Option<(u16, String)>>;

fn ways() -> [Way; 5] {
    let way = |name, config, give: Give| Way { name, config, refuses: false, front: "", give };
    let dovecot = Dovecot::start();
    let mailbox = dovecot.account("cmr", "after = \"keep\"\nidle = false\npoll = \"1d\"");
    [
        Way { refuses: true, ..way("direct", config(), Box::new(by_smtp)) },
        way("relay", config().set("smtp", "relays", r#"["127.0.0.0/8"]"#), Box::new(by_smtp)),
        way("LMTP", config().set("smtp", "listen", r#"["lmtp://127.0.0.1:0"]"#), Box::new(by_lmtp)),
        way("pipe", config(), Box::new(by_pipe)),
        Way {
            // To whom a mail came is known by what the mail server writes into it.
            front: "Delivered-To: cmr@example.net\r\n",
            ..way(
                "mailbox",
                config().repeated(&mailbox),
                Box::new(move |house, _, mail| {
                    dovecot.deliver("cmr", "INBOX", mail);
                    let looked = &house.json(&["poll", "--once"])[0];
                    let settled = looked["taken"].as_u64().unwrap() + looked["left"].as_u64().unwrap();
                    // The look that a daemon begins with may be the one that finds it.
                    assert!(settled <= 1 && looked["error"] == "", "{looked}");
                    None
                }),
            )
        },
    ]
}

fn by_lmtp(_: &House, daemon: &Daemon, mail: &[u8]) -> Option<(u16, String)> {
    let (mut client, _) = Client::greeted(daemon.address("lmtp")).unwrap();
    client.command("LHLO client.test").unwrap();
    let reply = client.send("alice@example.org", &[POSTING], mail).unwrap();
    Some((reply.code, reply.text))
}

fn by_pipe(house: &House, _: &Daemon, mail: &[u8]) -> Option<(u16, String)> {
    let output = house.run(&["deliver", "-f", "alice@example.org", "-r", POSTING], mail);
    // Never anything of which a mail system makes a bounce.
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    Some((said[..3].parse().unwrap(), said))
}

fn by_smtp(_: &House, daemon: &Daemon, mail: &[u8]) -> Option<(u16, String)> {
    let (mut client, _) = Client::greeted(daemon.smtp()).unwrap();
    client.command("EHLO client.test").unwrap();
    let reply = client.send("alice@example.org", &[POSTING], mail).unwrap();
    Some((reply.code, reply.text))
}

fn config() -> Config {
    Config::new()
        .text("gateway", "address", format!("mailto:{POSTING}"))
        .text("gateway", "hostname", "mx.example.net")
        .set("smtp", "recipients", format!("[\"{POSTING}\"]"))
        .text("policy", "who_may_post", "anyone")
        .text("policy", "post_at_most", "1000/h")
}

fn read(mail: &[u8], envelope: bool) -> Submission {
    let posting = [POSTING.to_owned()];
    let envelope_recipients = if envelope { posting.as_slice() } else { &[] };
    extract(
        mail,
        &Reading {
            posting: &posting,
            envelope_recipients,
            hostname: "mx.example.net",
            loop_marker: "mx.example.net",
            limits: Limits { max_body: 10 << 20, ..Limits::default() },
            caps: Caps::default(),
            forwarded: true,
        },
    )
}

/// What a dialogue makes of a mail: it travels with CR LF, and a line end at its end.
fn travelled(mail: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        let bare = line.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        text.extend_from_slice(bare.unwrap_or(line));
        text.extend_from_slice(b"\r\n");
    }
    text
}

fn reasons(asides: &Value) -> Vec<(String, String)> {
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    asides.as_array().unwrap().iter().map(|it| (text(&it["place"]), text(&it["reason"]))).collect()
}

/// Files with a mail each.
fn mails() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mails");
    let mut mails: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .collect();
    mails.sort();
    mails
}

#[test]
fn every_mail_ends_in_one_of_four_ways() {
    let mails = mails();
    for way in ways() {
        let house = House::new(&way.config);
        fs::write(house.dir().join("password"), "secret\n").unwrap();
        let daemon = house.start();
        let (mut refused, mut kept, mut taken) = (0, 0, 0);
        for path in &mails {
            let mail = [way.front.as_bytes(), &travelled(&fs::read(path).unwrap())].concat();
            let what = format!("{} {}", way.name, path.file_name().unwrap().display());
            let number = |verb: &[&str]| house.json(verb).as_array().unwrap().len();
            let (before, had) = (number(&["show", "--aside"]), messages(&house));
            let reply = (way.give)(&house, &daemon, &mail);
            let asides = house.json(&["show", "--aside"]);
            let new = asides.as_array().unwrap().len() - before;
            assert_eq!(house.json(&["status"])["asides"], asides.as_array().unwrap().len(), "{what}");
            let found = read(&mail, way.front.is_empty());
            // What it asks for is known by its header where there is no envelope: a command, and no post.
            let asks = reply.is_none() && found.tags.iter().any(|tag| tag.eq_ignore_ascii_case("help"));
            let absorbed = found.header.our_loop || found.no_post == Some(NoPost::Report) || asks;
            let mut faults: Vec<(String, String)> =
                found.faults.iter().map(|it| (it.place.clone(), it.reason.clone())).collect();
            if found.messages.is_empty() && faults.is_empty() && !absorbed && found.post.is_none() {
                faults.push(("the mail".to_owned(), found.no_post.unwrap().to_string()));
            }
            // Messages and posts that are good are there; what the parser says of the others may
            // depend on the clock.
            let came = messages(&house) > had;
            let (code, said, ids) = match reply {
                Some((code, said)) => {
                    let said = said.replace('\n', " ");
                    let ids = said.split([' ', ',', ';', ':']).filter(|it| house.is_id(it)).count();
                    (code, said, ids)
                }
                // Nobody is told; what was there before is known.
                None => {
                    let known = found.messages.iter().any(|it| {
                        let message = cmr_mail::message::parse(&it.bytes, &Limits::default());
                        message.is_ok_and(|message| house.is_id(&message.id().to_string()))
                    });
                    (250, String::new(), usize::from(came || known))
                }
            };
            assert!(!came || ids > 0, "{what}: {said}");
            match (code, ids) {
                (250, 0) if absorbed => {
                    assert!(said.is_empty() || said.contains("nothing was stored"), "{what}: {said}");
                    continue;
                }
                (250, 0) => assert!(new > 0 && !way.refuses, "{what}: {said}"),
                (250, _) => taken += 1,
                (500..=599, 0) => {
                    assert!(way.refuses && new == 0, "{what}: {said}");
                    refused += 1;
                }
                _ => panic!("{what}: {code} {said}"),
            }
            for (place, reason) in &faults {
                let told = said.is_empty() || said.contains(reason.as_str()) || said.contains("kept aside");
                assert!(told, "{what}: {said}");
                if !way.refuses || ids > 0 {
                    assert!(reasons(&asides).contains(&(place.clone(), reason.clone())), "{what}: {asides}");
                    kept += 1;
                }
            }
        }
        assert!(taken >= 15, "{}: {taken}", way.name);
        assert_eq!(refused >= 12, way.refuses, "{}: {refused}", way.name);
        assert!(kept >= if way.refuses { 1 } else { 12 }, "{}: {kept}", way.name);
    }
}

/// An archive takes ordinary mail as well; what it can't take lies where it lay, and is named.
#[test]
fn every_mail_of_an_archive_is_taken_or_kept_aside_by_its_place() {
    let (mails, house) = (mails(), House::new(&config()));
    let daemon = house.start();
    let (mut taken, mut failed) = (0, 0);
    for path in &mails {
        let name = path.display().to_string();
        let (before, had) = (house.json(&["status"])["asides"].as_u64().unwrap(), messages(&house));
        let output = house.run(&["import", &name, "--json"], b"");
        let said = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let counts = lines.pop().unwrap();
        assert_eq!(counts["skipped"], 0, "{name}: {counts}");
        let count = |word: &str| counts[word].as_u64().unwrap();
        let sum: u64 = ["messages", "posts", "duplicates", "failed"].into_iter().map(count).sum();
        assert!(sum > 0 && sum == count("mails"), "{name}: {counts}");
        let asides = house.json(&["show", "--aside"]);
        assert_eq!(house.json(&["status"])["asides"], before + count("failed"), "{name}");
        for failure in &lines {
            let is_it = |aside: &&Value| {
                let kept = aside["kept"].as_str().is_some_and(|kept| kept.contains(name.as_str()));
                kept && aside["reason"] == failure["reason"]
            };
            assert_eq!(asides.as_array().unwrap().iter().filter(is_it).count(), 1, "{failure}: {asides}");
        }
        assert!(messages(&house) > had || count("duplicates") > 0 || count("failed") > 0, "{name}: {counts}");
        taken += count("messages") + count("posts");
        failed += count("failed");
    }
    assert!(taken >= 25 && failed >= 10, "{taken} were taken, {failed} were not");
    assert!(daemon.stop().success());
}

/// How many messages were ever stored.
fn messages(house: &House) -> i64 {
    house.read_database().query_row("SELECT count(*) FROM message", [], |row| row.get(0)).unwrap()
}

impl House {
    /// Whether this is the id of a message that is here.
    fn is_id(&self, word: &str) -> bool {
        word.len() == 16 && word.bytes().all(|it| it.is_ascii_hexdigit()) && self.show(word).is_some()
    }
}

/// What lies in a mailbox or an archive stays there: of what is not taken only the place is kept.
#[tokio::test]
async fn what_stays_where_it_lies_is_kept_aside_by_its_place() {
    let house = House::new(&config());
    let config = cmr_mail::config::Config::load(house.dir().join("cmr-mail.toml")).unwrap();
    let gateway = Gateway::open(&config).unwrap();
    let broken =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mails/encrypted-pgp-mime.eml")).unwrap();
    let whole = b"From: alice@example.org\r\nTo: cmr@example.net\r\n\r\nWhich planet is the largest?\r\n";
    for (number, raw) in [broken.as_slice(), whole].into_iter().enumerate() {
        let arrival = Arrival {
            proof: None,
            via: Via::Imap,
            peer: None,
            through_relay: false,
            relay: None,
            helo: None,
            tls: false,
            sender: None,
            recipients: Vec::new(),
            kept: Some(format!("inbox/INBOX/1/{number}")),
            raw: raw.to_vec(),
            received: now(),
        };
        let reply = gateway.admit_arrival(arrival).await.reply;
        assert_eq!(reply.code(), 250, "{reply:?}");
    }
    gateway.close();
    drop(gateway);
    let asides = house.json(&["show", "--aside"]);
    assert_eq!(asides.as_array().unwrap().len(), 1, "{asides}");
    assert_eq!((&asides[0]["kept"], &asides[0]["via"]), (&"inbox/INBOX/1/0".into(), &"imap".into()));
    assert_eq!(asides[0]["bytes"], broken.len());
    assert_eq!(house.json(&["status"])["asides"], 1);
    let number = asides[0]["id"].to_string();
    let shown = house.run(&["show", "--aside", &number, "--raw"], b"");
    assert!(String::from_utf8_lossy(&shown.stderr).contains("they are in inbox/INBOX/1/0"), "{shown:?}");
    // Neither of the mails was copied.
    let (raw, aside): (i64, i64) = house
        .read_database()
        .query_row(
            "SELECT (SELECT count(*) FROM raw_mail), (SELECT sum(length(raw)) FROM aside)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!((raw, aside), (0, 0));
}

/// A mail system that accepted a mail larger than ours is allowed to be gets rid of it, and the
/// operator can see whose it was. A key in transit is not kept for it.
#[test]
fn a_mail_too_large_for_us_is_shown_to_the_operator() {
    let house = House::new(&config().text("smtp", "max_message", "100 KiB"));
    let daemon = house.start();
    let head = "From: alice@example.org\r\nTo: cmr@example.net\r\nSubject: Large\r\n\r\n";
    let mail = format!("{head}{}", "0123456789\r\n".repeat(20_000));
    let key =
        format!("{head}Clear key exchange=7365637265742d6b6579.\r\n{}", "0123456789\r\n".repeat(20_000));
    for mail in [&mail, &key] {
        let output = house.run(&["deliver", "-r", POSTING], mail.as_bytes());
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("552") && said.contains(&format!("{} bytes", mail.len())), "{said}");
    }
    let asides = house.json(&["show", "--aside"]);
    assert_eq!(asides.as_array().unwrap().len(), 1, "{asides}");
    let number = asides[0]["id"].to_string();
    let shown = house.run(&["show", "--aside", &number, "--raw"], b"");
    assert_eq!(shown.stdout, &mail.as_bytes()[..64 << 10]);
    assert!(daemon.stop().success());
}
