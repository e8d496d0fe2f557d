//! Real and malformed mail by the thousand: nothing panics, and each mail ends in exactly one of
//! three ways: its CMR messages are taken, it is taken as a post, or it is refused for a reason.
//! (What becomes of a refused mail is not decided here: it is answered in the dialogue, or the
//! mail is kept aside with the reason.)
//!
//! The mails of this repository are always read. Larger collections belong to others and are not
//! part of this project: give the path of a folder of mails, one a file, in
//! `CMR_MAIL_MIME_FIXTURES` and run
//! `cargo test --release --test mail_corpus -- --ignored --nocapture`. It prints the time as
//! well; `CMR_MAIL_SHOW=1` names the mails that can't be read.
// In tests a panic is the report.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod mail_reading;

use cmr_mail::mail::NoPost;
use mail_reading::read;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[test]
fn each_mail_of_the_repository_ends_in_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["maildir-fixtures", "tests/mails"] {
        walk(&root.join(folder), &mut files);
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    assert!(files.len() > 200, "{} mails", files.len());
    let outcomes = read_all(&files);
    // Each way is gone.
    for way in ["taken", "post", "refused"] {
        assert!(outcomes.keys().any(|outcome| outcome.starts_with(way)), "{way}: {outcomes:?}");
    }
}

#[test]
#[ignore = "needs a folder of mails in CMR_MAIL_MIME_FIXTURES"]
fn each_mail_of_a_collection_ends_in_one_way() {
    let Some(folder) = std::env::var_os("CMR_MAIL_MIME_FIXTURES") else {
        panic!("CMR_MAIL_MIME_FIXTURES is not set: give it the path of a folder of mails, one a file");
    };
    let mut files = Vec::new();
    walk(Path::new(&folder), &mut files);
    assert!(files.len() > 1, "no mails in {}", folder.display());
    for (outcome, count) in read_all(&files) {
        println!("{count:7}  {outcome}");
    }
}

/// How many of these mails end in which way.
fn read_all(files: &[PathBuf]) -> BTreeMap<String, usize> {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut slowest = (0, PathBuf::new());
    let (mut bytes, mut total) = (0usize, Duration::ZERO);
    for path in files {
        let raw = std::fs::read(path).unwrap();
        let start = Instant::now();
        let result = std::panic::catch_unwind(|| read(&raw));
        let took = start.elapsed();
        let found = result.unwrap_or_else(|_| panic!("{} panics", path.display()));
        bytes += raw.len();
        total += took;
        // Microseconds a megabyte, of mails that are large enough to tell.
        let megabyte = took.as_micros() * 1_000_000 / raw.len().max(100_000) as u128;
        slowest = slowest.max((megabyte, path.clone()));
        let outcome = match (&found.post, found.no_post) {
            (Some(post), None) => {
                assert!(found.messages.is_empty() && found.faults.is_empty() && !post.body().is_empty());
                "post".to_owned()
            }
            (None, Some(NoPost::Messages)) => {
                assert!(!found.messages.is_empty());
                let and = if found.faults.is_empty() { "" } else { ", in part" };
                format!("taken{and}")
            }
            (None, Some(NoPost::Faults | NoPost::Unreadable)) => {
                assert!(
                    found.messages.is_empty() && found.faults.iter().all(|fault| !fault.reason.is_empty())
                );
                if std::env::var_os("CMR_MAIL_SHOW").is_some() {
                    println!("{}: {:?}", path.display(), found.faults);
                }
                let fault = found.faults.first().unwrap();
                format!("refused: {}: {}", fault.place, fault.reason.split([';', '(']).next().unwrap())
            }
            (None, Some(reason)) => {
                assert!(found.messages.is_empty() && found.faults.is_empty());
                format!("refused: {reason}")
            }
            other => panic!("{}: both or neither: {other:?}", path.display()),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    let rate = total.as_millis() * 1_000_000 / bytes.max(1) as u128;
    println!(
        "{} mails, {bytes} bytes, {rate} ms a megabyte; the slowest of 100 kB and more (smaller count as such): {} ms a megabyte, {}",
        files.len(),
        slowest.0 / 1000,
        slowest.1.display()
    );
    outcomes
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
