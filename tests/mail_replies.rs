//! How often quoted text or a signature is left in a post, or text is lost: over the fixtures of
//! reply parsers, whose lines `tests/data/replies/lines.tsv` tells apart.
//!
//! The fixtures belong to others. Give the folder that holds those projects in
//! `CMR_MAIL_MIME_FIXTURES` and run `cargo test --test mail_replies -- --ignored --nocapture`;
//! `tests/data/replies/others.py` prints the same figures of other parsers.
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
use std::path::Path;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Own,
    Signature,
    Neither,
    Quoted,
}

fn kind(row: &[&str], number: usize) -> Is {
    let stands_in = |ranges: &str| {
        ranges.split(',').filter(|range| *range != "-").any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            (first.parse().unwrap()..=last.parse().unwrap()).contains(&number)
        })
    };
    match row {
        [_, own, ..] if stands_in(own) => Is::Own,
        [_, _, signature, ..] if stands_in(signature) => Is::Signature,
        [_, _, _, neither] if stands_in(neither) => Is::Neither,
        _ => Is::Quoted,
    }
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
#[ignore = "needs the reply parsers' fixtures in CMR_MAIL_MIME_FIXTURES"]
fn quotes_and_signatures_are_cut_and_no_text_is_lost() {
    let folder = std::env::var_os("CMR_MAIL_MIME_FIXTURES")
        .expect("CMR_MAIL_MIME_FIXTURES is not set: give it the path of the folder of fixtures");
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/replies/lines.tsv");
    let table = std::fs::read_to_string(table).unwrap();
    let (mut mails, mut exact, mut left_mails, mut lost_mails) = (0, 0, 0, 0);
    let (mut own, mut lost, mut quoted, mut quoted_left, mut signature, mut signature_left) =
        (0, 0, 0, 0, 0, 0);
    for row in table.lines().filter(|line| !line.starts_with('#')) {
        let row: Vec<&str> = row.split('\t').collect();
        let text = std::fs::read_to_string(Path::new(&folder).join(row[0])).unwrap();
        let mail = format!(
            "From: a@example.org\r\nTo: cmr@example.org\r\nSubject: Re: x\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{}",
            text.replace("\r\n", "\n").replace('\n', "\r\n")
        );
        let found = read(mail.as_bytes()).post.map(|post| post.text).unwrap_or_default();
        let mut kept: Vec<String> = found.lines().map(words).filter(|line| !line.is_empty()).collect();
        let lines: Vec<(Is, String)> = text
            .lines()
            .enumerate()
            .map(|(at, line)| (kind(&row, at + 1), words(line)))
            .filter(|(_, line)| !line.is_empty())
            .collect();
        // Own lines first: a line that stands in a quote as well is theirs.
        let (mut here_lost, mut here_left) = (0, 0);
        for wanted in [Is::Own, Is::Neither, Is::Signature, Is::Quoted] {
            for (_, line) in lines.iter().filter(|(is, _)| *is == wanted) {
                let at = kept.iter().position(|other| other == line);
                if let Some(at) = at {
                    kept.remove(at);
                }
                let counts = match wanted {
                    Is::Own => [&mut own, &mut lost],
                    Is::Signature => [&mut signature, &mut signature_left],
                    Is::Quoted => [&mut quoted, &mut quoted_left],
                    Is::Neither => continue,
                };
                let [all, bad] = counts;
                *all += 1;
                if at.is_none() == (wanted == Is::Own) {
                    *bad += 1;
                    *(if wanted == Is::Own { &mut here_lost } else { &mut here_left }) += 1;
                    let what = if wanted == Is::Own { "lost" } else { "left" };
                    println!("{}: {what}: {line}", row[0]);
                }
            }
        }
        for other in &kept {
            println!("{}: unknown: {other}", row[0]);
        }
        mails += 1;
        exact += usize::from(here_lost == 0 && here_left == 0);
        left_mails += usize::from(here_left > 0);
        lost_mails += usize::from(here_lost > 0);
    }
    println!(
        "{mails} mails: {exact} exact, something left in {left_mails}, something lost in {lost_mails}\n\
         lines: {lost} of {own} own lost, {quoted_left} of {quoted} quoted left, {signature_left} of {signature} of signatures left"
    );
    assert!(mails >= 59 && lost_mails == 0 && exact * 100 >= mails * 85, "worse than it was");
}
