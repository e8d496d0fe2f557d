//! Mails that another implementation signed (dkimpy, `tests/dkim/sign.py`): each signature holds,
//! and none holds after the mail was changed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use cmr_mail::authenticate::{Authenticator, Question};
use cmr_mail::message::UnixTime;
use cmr_mail::policy::{Authenticity, Evidence};
use support::dns::NameServer;

/// A minute after the mails were signed.
const NOW: i64 = 1_735_722_060;

struct World {
    runtime: tokio::runtime::Runtime,
    authenticator: Authenticator,
}

impl World {
    fn new() -> World {
        let dns = NameServer::start();
        for line in fs::read_to_string(folder().join("keys.tsv")).unwrap().lines() {
            let (name, text) = line.split_once('\t').unwrap();
            dns.text(name, text);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let deadline = Duration::from_secs(20);
        let authenticator = runtime.block_on(async { Authenticator::new(&[dns.address()], deadline) });
        World { runtime, authenticator: authenticator.unwrap() }
    }

    fn examine(&self, mail: &[u8]) -> Evidence {
        let posting = ["cmr@home.test".to_owned()];
        let question = Question {
            raw: mail,
            client: None,
            helo: Some("client.test"),
            sender: None,
            recipients: &posting,
            posting: &posting,
            hostname: "mx.home.test",
            relay: None,
            sealers: &[],
            now: UnixTime::from_secs(NOW),
            deadline: Duration::from_secs(20),
        };
        self.runtime.block_on(self.authenticator.examine(&question)).evidence
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dkim")
}

fn mails() -> Vec<(String, Vec<u8>)> {
    let mut mails: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    mails.sort();
    mails
}

fn replaced(mail: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
    let at = mail.windows(from.len()).position(|window| window == from.as_bytes())?;
    Some([&mail[..at], to.as_bytes(), &mail[at + from.len()..]].concat())
}

#[test]
fn what_another_program_signed_holds_until_it_is_changed() {
    let world = World::new();
    let mails = mails();
    assert_eq!(mails.len(), 8, "no mail is lost");
    for (name, mail) in &mails {
        let found = world.examine(mail);
        let wanted = Authenticity::Dkim { domain: "example.net".to_owned() };
        assert_eq!(found.authenticity, wanted, "{name}: {}", found.authenticity);
        assert_eq!(found.once, [format!("<{name}@example.net>")]);
        let simple_header = name.ends_with("simple") && !name.contains("relaxed") || name == "rsa-4096";
        let simple_header = simple_header || name == "ed25519-empty";
        let mut changes = 0;
        for (from, to) in [
            ("whales,", "whalez,"),
            ("Ann =?", "Eve =?"),
            ("ann@example.net", "eve@example.net"),
            ("08:59:00", "08:59:01"),
            ("live?", "live!"),
            ("live=3F", "live=21"),
            ("; t=1735722000", "; t=1735722001"),
            ("bh=", "bh=A"),
            ("b=", "b=A"),
            ("To: cmr@", "To: bob@"),
            ("\r\n\r\n", "\r\n\r\nmore\r\n"),
            // What `simple` is strict about and `relaxed` is not.
            ("Subject: ", if simple_header { "Subject:  " } else { "Subject: x" }),
        ] {
            let Some(changed) = replaced(mail, from, to) else { continue };
            let found = world.examine(&changed);
            assert!(!found.authenticity.is_authenticated(), "{name}, {from:?}: {}", found.authenticity);
            changes += 1;
        }
        assert!(changes >= 10, "{name}: {changes}");
        // White space that `relaxed` lets a mail system change.
        let spaced = replaced(mail, "Subject: ", "Subject:   ").unwrap();
        assert_eq!(world.examine(&spaced).authenticity.is_authenticated(), !simple_header, "{name}");
    }
}

/// A signature of one mail is none of another.
#[test]
fn a_signature_does_not_fit_another_mail() {
    let world = World::new();
    let mails = mails();
    for (name, mail) in &mails {
        for (other, victim) in &mails {
            let end = |mail: &[u8]| mail.windows(6).position(|window| window == b"From: ").unwrap();
            let moved = [&mail[..end(mail)], &victim[end(victim)..]].concat();
            let holds = world.examine(&moved).authenticity.is_authenticated();
            assert_eq!(holds, name == other, "{name} on {other}");
        }
    }
}
