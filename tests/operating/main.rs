//! What an operator does and looks at, with the program itself: copies and restores, removal, what
//! became of a mail, metrics, pages, configuration, packages.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod copies;
mod day;
mod manual;
mod metrics;
mod names;
mod package;
mod pages;
mod process;
mod trace;

use std::path::{Path, PathBuf};

use support::client::Client;
use support::daemon::Daemon;
use support::messages::Mail;

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The files below a directory in which these bytes stand.
fn holding(dir: &Path, words: &[u8]) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        // Sockets can't be read, and what is being replaced may be gone.
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(words.len()).any(|part| part == words))
    };
    files(dir).into_iter().filter(holds).collect()
}

/// A person posts by mail; the ids that the reply names.
fn post(daemon: &Daemon, author: &str, subject: &str, text: &str) -> String {
    let mail = Mail::from(author)
        .field("Subject", subject)
        .field("Message-ID", &format!("<{}@a.test>", subject.replace(' ', ".")))
        .text(text)
        .write();
    let mut client = Client::connect(daemon.smtp()).unwrap();
    let reply = client.send(author, &["cmr@home.test"], &mail).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    let text = reply.text;
    let id =
        text.split_whitespace().find(|word| word.len() == 16 && word.chars().all(|c| c.is_ascii_hexdigit()));
    id.unwrap_or_else(|| panic!("no id in {text:?}")).to_owned()
}
