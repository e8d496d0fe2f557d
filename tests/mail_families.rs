//! A person's post out of the mail of each family of clients.
//!
//! `maildir-fixtures/families/NAME.eml` are mails made up in the structure that a family of
//! clients gives its mails: MIME parts, encodings, quoting, signatures, history. Beside each
//! stands the post that it must give (`NAME.txt`). After a change that is meant,
//! `CMR_MAIL_ACCEPT=1` writes these anew; read the diff.
//!
//! Real mails belong to their authors and are no part of this project. Give the path of a folder
//! of them in `CMR_MAIL_CLIENTS_REAL` and run
//! `cargo test --test mail_families -- --ignored --nocapture`; `CMR_MAIL_SHOW=1` prints the posts.
// In tests a panic is the report.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod mail_reading;

use mail_reading::read;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn mails(folder: &Path) -> Vec<PathBuf> {
    let mut mails: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .collect();
    mails.sort();
    mails
}

#[test]
fn each_family_gives_the_post_beside_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("maildir-fixtures/families");
    let mails = mails(&folder);
    assert!(mails.len() >= 30, "{} mails", mails.len());
    let mut differing = Vec::new();
    for path in &mails {
        let found = read(&fs::read(path).unwrap());
        assert!(found.faults.is_empty(), "{}: {:?}", path.display(), found.faults);
        let mut account = match (&found.post, found.no_post) {
            (Some(post), None) => String::from_utf8(post.body()).unwrap() + "\n",
            (None, Some(reason)) => format!("(no post: {reason})\n"),
            other => panic!("neither or both: {other:?}"),
        };
        for ignored in &found.ignored {
            writeln!(account, "(ignored: {}, because {})", ignored.what, ignored.why).unwrap();
        }
        let written = path.with_extension("txt");
        if std::env::var_os("CMR_MAIL_ACCEPT").is_some() {
            fs::write(&written, &account).unwrap();
        } else if fs::read_to_string(&written).unwrap_or_default() != account {
            differing.push(format!("--- {}\n{account}", path.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// What a post must not hold, whoever wrote it.
fn complaint(post: &str) -> Option<String> {
    let lines: Vec<&str> = post.lines().collect();
    let bad = |line: &&str| {
        line.starts_with("> ")
            || *line == "-- "
            || line.starts_with("-----Original Message")
            || line.starts_with("From: ") && line.contains('@')
            || (line.ends_with("wrote:") && line.starts_with("On ") && line.contains('@'))
            || line.contains("Content-Transfer-Encoding:")
            || line.contains("&nbsp;")
            || line.contains('\u{fffd}')
            || line.contains("</")
    };
    lines.iter().find(|line| bad(line)).map(|line| (*line).to_owned())
}

#[test]
#[ignore = "needs a folder of real mails in CMR_MAIL_CLIENTS_REAL"]
fn real_mails_of_every_family_give_their_authors_words() {
    let Some(folder) = std::env::var_os("CMR_MAIL_CLIENTS_REAL") else {
        panic!("CMR_MAIL_CLIENTS_REAL is not set: give it the path of a folder of mails");
    };
    let show = std::env::var_os("CMR_MAIL_SHOW").is_some();
    let mut families: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    let mut complaints = 0;
    let all = mails(Path::new(&folder));
    for path in &all {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let family = name.rsplit_once('-').map_or(name, |(family, _)| family);
        let found = read(&fs::read(path).unwrap());
        let row = families.entry(family.to_owned()).or_default();
        row[0] += 1;
        match &found.post {
            Some(post) => {
                row[1] += 1;
                if let Some(line) = complaint(&post.text) {
                    complaints += 1;
                    row[3] += 1;
                    println!("{name}: still there: {line}");
                }
            }
            None => {
                row[2] += 1;
                println!("{name}: {}", found.no_post.unwrap());
                for fault in &found.faults {
                    println!("    {}", fault.reason);
                }
            }
        }
        if show {
            let text = found.post.map(|post| post.text).unwrap_or_default();
            println!("===== {name}\n{text}\n(ignored: {:?})", found.ignored);
        }
    }
    println!("family, mails, posts, none, with something left:");
    for (family, row) in &families {
        println!("{family}\t{row:?}");
    }
    println!("{} mails, {complaints} with something left", all.len());
    assert!(!all.is_empty() && complaints * 100 <= all.len() * 3, "something is left in {complaints} mails");
}
