//! The verbs `import` and `export` on archives of every form, by the program itself.
//!
//! Collections of mail that belong to others are read where `CMR_MAIL_MIME_FIXTURES` and
//! `CMR_MAIL_SPAM` name folders of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

#[path = "../cli_support/mod.rs"]
mod cli_support;

mod beside;
mod commits;
mod export;
mod refused;
mod walk;

use cli_support::{Ended, House};
use serde_json::Value;
use std::path::Path;

/// An ordinary mail.
fn mail(number: usize, text: &str) -> String {
    format!(
        "From: Ann {number} <ann{number}@a.example>\nTo: list@b.example\nDate: Mon, 5 Jan 2026 10:{:02}:00 +0000\n\
         Subject: About {number}\nMessage-ID: <{number}@a.example>\n\n{text}\n",
        number % 60
    )
}

fn write(root: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// The last line of `--json`, and the failures before it.
#[track_caller]
fn result(ended: &Ended) -> (Value, Vec<Value>) {
    let mut lines: Vec<Value> = ended
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {ended:#?}")))
        .collect();
    let last = lines.pop().unwrap_or_else(|| panic!("{ended:#?}"));
    let sum: u64 = ["messages", "posts", "duplicates", "skipped", "failed"]
        .iter()
        .map(|name| last[*name].as_u64().unwrap())
        .sum();
    assert_eq!(last["mails"], sum, "the counts add up: {last}");
    assert_eq!(last["failed"], lines.len(), "each failure has its line: {ended:#?}");
    assert!(lines.iter().all(|line| line["path"].is_string() && line["reason"].is_string()), "{lines:?}");
    (last, lines)
}

/// These counts of a run: posts, duplicates, skipped, failed, unchanged.
#[track_caller]
fn counts(ended: &Ended) -> [u64; 5] {
    let (last, _) = result(ended);
    ["posts", "duplicates", "skipped", "failed", "unchanged"].map(|name| last[name].as_u64().unwrap())
}

fn import(house: &House, path: &Path, more: &str) -> Ended {
    let mut command = house.command(&format!("import --json {more}"));
    command.arg(path);
    cli_support::ended(&mut command, b"")
}

/// A text of its own for each number.
fn words(number: usize) -> String {
    format!("Nobody else speaks of thing{number} and of matter{} here.", number * 7)
}
