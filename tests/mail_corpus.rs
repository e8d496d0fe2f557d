//! Real and malformed mail by the thousand: nothing panics, nothing takes long.
//!
//! Such collections belong to others and are not part of this project. Give the path of a folder
//! of mails, one a file, in `CMR_MAIL_CORPUS` and run
//! `cargo test --release --test mail_corpus -- --ignored --nocapture`.
// In tests a panic is the report.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use cmr_mail::mail::{Caps, Reading, extract};
use cmr_mail::message::Limits;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[test]
#[ignore = "needs a folder of mails in CMR_MAIL_CORPUS"]
fn a_corpus_is_read_without_a_panic() {
    let Some(folder) = std::env::var_os("CMR_MAIL_CORPUS") else {
        panic!("CMR_MAIL_CORPUS is not set: give it the path of a folder of mails, one a file");
    };
    let mut files = Vec::new();
    walk(Path::new(&folder), &mut files);
    let posting = ["cmr@example.org".to_owned()];
    let reading = Reading {
        posting: &posting,
        envelope_recipients: &[],
        hostname: "mx.example.org",
        loop_marker: "mx.example.org",
        limits: Limits::default(),
        caps: Caps::default(),
        forwarded: true,
    };
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut slowest = (Duration::ZERO, PathBuf::new());
    let (mut bytes, mut total) = (0usize, Duration::ZERO);
    for path in &files {
        let raw = std::fs::read(path).unwrap();
        let start = Instant::now();
        let result = std::panic::catch_unwind(|| extract(&raw, &reading));
        let took = start.elapsed();
        let found = result.unwrap_or_else(|_| panic!("{} panics", path.display()));
        bytes += raw.len();
        total += took;
        // 100 ms a megabyte, and a tenth of a second for the smallest.
        let megabytes = u32::try_from(raw.len() / 1_000_000 + 1).unwrap();
        slowest = slowest.max((took / megabytes, path.clone()));
        let outcome = match (&found.post, found.no_post, found.faults.first()) {
            (Some(_), ..) => "post".to_owned(),
            (None, Some(_), Some(fault)) => {
                let reason = fault.reason.split(" (byte").next().unwrap();
                if std::env::var_os("CMR_MAIL_SHOW").is_some() {
                    println!("{}: {}: {}", path.display(), fault.place, fault.reason);
                }
                format!("{}: {reason}", fault.place)
            }
            (None, reason, None) => format!("no post: {}", reason.unwrap()),
            (None, None, _) => panic!("{}: neither a post nor a reason", path.display()),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    for (outcome, count) in &outcomes {
        println!("{count:7}  {outcome}");
    }
    println!("{} mails, {bytes} bytes in {total:?}; slowest {slowest:?}", files.len());
    assert!(files.len() > 1, "no mails in {}", folder.display());
    assert!(slowest.0 < Duration::from_millis(if cfg!(debug_assertions) { 2000 } else { 100 }));
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            walk(&entry.path(), files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
}
