//! What real mail clients make of two CMR messages, and what is read out of it: each mail in
//! `maildir-fixtures/clients/new` against its row in `maildir-fixtures/clients/table.tsv`.
//!
//! A row says `exact` and how the message was read, or `refused` and the start of the sentence
//! that the sender gets. Nothing but the exact message may ever come out.
// In tests a panic is the report.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use cmr_mail::mail::{Caps, Reading, extract, extract_messages};
use cmr_mail::message::Limits;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

#[test]
fn every_client_gives_what_the_table_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("maildir-fixtures/clients");
    let simple = fs::read(folder.join("simple.cmr")).unwrap();
    let hard = fs::read(folder.join("hard.cmr")).unwrap();
    let mut names: Vec<String> = fs::read_dir(folder.join("new"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 128, "no mail is lost");
    let posting = ["inbox@cmr.test".to_owned()];
    let reading = Reading {
        posting: &posting,
        envelope_recipients: &[],
        hostname: "cmr.test",
        loop_marker: "cmr.test",
        limits: Limits::default(),
        caps: Caps::default(),
        forwarded: true,
    };
    let mut table = String::new();
    for name in &names {
        let wanted = if name.contains("-hard-") { &hard } else { &simple };
        for stored in [Stored::AsSent, Stored::WithLf] {
            let mail = stored.mail(&fs::read(folder.join("new").join(name)).unwrap());
            let found = extract(&mail, &reading);
            assert_eq!(extract_messages(&mail, &reading).1, found.messages, "{name}");
            assert_eq!(found.post, None, "{name}: a message must never become a text");
            assert!(found.messages.len() + found.faults.len() > 0, "{name}: {found:?}");
            let mut rows = Vec::new();
            for message in &found.messages {
                // Evolution's mails with an attachment have a message in the body as well.
                let which = match &message.bytes {
                    bytes if *bytes == simple => "simple",
                    bytes if *bytes == hard => "hard",
                    _ => panic!("{name}: read as {} but wrong", message.read_as),
                };
                assert!(message.place == "the body" || message.bytes == *wanted, "{name}");
                let (place, encoding) = (&message.place, &message.encoding);
                rows.push(format!("exact\t{which}\t{place}\t{encoding}, {}", message.read_as));
            }
            for fault in &found.faults {
                let reason = fault.reason.split(';').next().unwrap();
                rows.push(format!("refused\t-\t{}\t{reason}", fault.place));
            }
            for row in rows.iter().filter(|_| stored == Stored::AsSent) {
                writeln!(table, "{name}\t{row}").unwrap();
            }
        }
    }
    let path = folder.join("table.tsv");
    let written = fs::read_to_string(&path).unwrap_or_default();
    if written != table {
        let actual = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-table.tsv");
        fs::write(&actual, &table).unwrap();
        panic!("{} says something else: compare {}", path.display(), actual.display());
    }
}

/// How a mail store keeps a mail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    AsSent,
    WithLf,
}

impl Stored {
    fn mail(self, sent: &[u8]) -> Vec<u8> {
        match self {
            Stored::AsSent => sent.to_vec(),
            Stored::WithLf => {
                let mut stored = Vec::new();
                for line in sent.split_inclusive(|byte| *byte == b'\n') {
                    stored.extend_from_slice(line.strip_suffix(b"\r\n").unwrap_or(line));
                    if line.ends_with(b"\r\n") {
                        stored.push(b'\n');
                    }
                }
                stored
            }
        }
    }
}
