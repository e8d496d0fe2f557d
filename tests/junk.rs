//! How well junk is told from people's texts: what is random, encrypted or repeats itself, and
//! ordinary spam.
//!
//! The collection belongs to others and is no part of this project: a folder whose subfolders' names
//! hold `ham` or `spam`, a mail a file. Give its path in `CMR_MAIL_SPAM` and run
//! `cargo test --test junk -- --ignored --nocapture`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cmr_mail::distance::{Coder, DENSITY_MIN, Deflate, density};
use cmr_mail::mail::{Caps, Reading, extract};
use cmr_mail::message::Limits;
use cmr_mail::policy::junk;

/// SplitMix64: the same sequence on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// The kinds of junk that can be made, at this length.
fn made(random: &mut Random, length: usize) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = random.bytes(length);
    let letters: Vec<u8> = (0..length)
        .map(|_| if random.below(6) == 0 { b' ' } else { b"abcdefghijklmnopqrstuvwxyz"[random.below(26)] })
        .collect();
    let phrases = ["Buy now! ", "aaaaaaaaaa", "make money fast, ask me how; ", "0123456789 "];
    let phrase = phrases[random.below(phrases.len())];
    let lines: String =
        STANDARD.encode(&bytes).as_bytes().chunks(76).fold(String::new(), |mut text, line| {
            text.push_str(std::str::from_utf8(line).unwrap());
            text.push('\n');
            text
        });
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut out = vec![
        ("random bytes", bytes),
        ("base64", lines.into_bytes()),
        ("hexadecimal", hex.into_bytes()),
        ("random letters", letters),
        ("repeated", phrase.repeat(length / phrase.len() + 1).into_bytes()),
    ];
    for (_, text) in &mut out {
        text.truncate(length);
    }
    out
}

/// The area under the ROC curve: the chance that one of `junk` scores higher than one of `good`.
fn area(good: &[f64], junk: &[f64]) -> f64 {
    let mut good = good.to_vec();
    good.sort_by(f64::total_cmp);
    let below = |score: f64| {
        let (less, not_more) =
            (good.partition_point(|it| *it < score), good.partition_point(|it| *it <= score));
        (less + not_more) as f64 / 2.0
    };
    junk.iter().map(|score| below(*score)).sum::<f64>() / (good.len() * junk.len()) as f64
}

fn share(scores: &[f64], over: f64) -> f64 {
    scores.iter().filter(|score| **score > over).count() as f64 / scores.len() as f64
}

#[test]
fn an_area_is_what_it_is_called() {
    assert_eq!(area(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
    assert_eq!(area(&[1.0, 2.0], &[1.0, 2.0]), 0.5);
    assert_eq!(area(&[3.0], &[1.0]), 0.0);
}

#[test]
fn made_junk_is_found_and_a_page_of_text_is_not() {
    let coder = Deflate::default();
    let mut random = Random(1);
    let pages = [include_str!("../docs/decisions.md"), include_str!("../docs/performance.md")];
    for length in [400, 2000, 10_000] {
        for (kind, text) in made(&mut random, length) {
            let found = density(&coder, &text).unwrap();
            assert!(junk::is_junk(found, length), "{kind} of {length} bytes: {found:.3}");
        }
        for page in pages {
            for start in (0..page.len().saturating_sub(length)).step_by(page.len() / 5) {
                let text = &page.as_bytes()[start..start + length];
                let found = density(&coder, text).unwrap();
                assert!(!junk::is_junk(found, length), "{length} bytes of prose: {found:.3}");
            }
        }
    }
    assert_eq!(density(&coder, &[0; DENSITY_MIN - 1]), None);
}

#[test]
#[ignore = "needs a folder of ham and spam in CMR_MAIL_SPAM"]
fn ham_and_spam() {
    let folder = std::env::var_os("CMR_MAIL_SPAM").expect("CMR_MAIL_SPAM: a folder of ham and spam");
    let (mut ham, mut spam) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let into = if name.contains("ham") { &mut ham } else { &mut spam };
        texts(&path, into);
    }
    println!("posts: {} of ham, {} of spam", ham.len(), spam.len());
    let coder = Deflate::default();
    measure("deflate", &coder, &ham, &spam);
}

fn measure(name: &str, coder: &dyn Coder, ham: &[Vec<u8>], spam: &[Vec<u8>]) {
    let densities = |texts: &[Vec<u8>]| {
        texts.iter().filter_map(|text| Some((density(coder, text)?, text.len()))).collect::<Vec<_>>()
    };
    let score = |found: &[(f64, usize)]| {
        found.iter().map(|(density, length)| junk::score(*density, *length)).collect::<Vec<f64>>()
    };
    let (ham, spam) = (densities(ham), densities(spam));
    for (low, high) in [(100, 300), (300, 1000), (1000, 3000), (3000, usize::MAX)] {
        let mut some: Vec<f64> =
            ham.iter().filter(|(_, n)| (low..high).contains(n)).map(|(d, _)| *d).collect();
        some.sort_by(f64::total_cmp);
        let at = |thousandths: usize| some[(some.len() - 1) * thousandths / 1000];
        println!(
            "{name}: ham of {low} bytes and more ({}): density {:.3} {:.3} {:.3} {:.3} {:.3} (0, 0.5, 50, 99.5, 100 %)",
            some.len(),
            at(0),
            at(5),
            at(500),
            at(995),
            at(1000)
        );
    }
    let (ham, spam) = (score(&ham), score(&spam));
    println!(
        "{name}: spam: area {:.3}, over the threshold {:.1} %",
        area(&ham, &spam),
        100.0 * share(&spam, 1.0)
    );
    println!("{name}: ham over the threshold: {:.2} % of {}", 100.0 * share(&ham, 1.0), ham.len());
    let mut random = Random(2);
    for length in [150, 500, 2000, 10_000] {
        let mut kinds: Vec<(&str, Vec<f64>)> = Vec::new();
        for _ in 0..200 {
            for (kind, text) in made(&mut random, length) {
                let score = junk::score(density(coder, &text).unwrap(), text.len());
                match kinds.iter_mut().find(|(name, _)| *name == kind) {
                    Some((_, scores)) => scores.push(score),
                    None => kinds.push((kind, vec![score])),
                }
            }
        }
        for (kind, scores) in kinds {
            println!(
                "{name}: {kind} of {length} bytes: area {:.4}, found {:.1} %",
                area(&ham, &scores),
                100.0 * share(&scores, 1.0)
            );
        }
    }
}

/// What each mail would be as a post.
fn texts(folder: &Path, into: &mut Vec<Vec<u8>>) {
    let posting = ["cmr@example.org".to_owned()];
    let reading = Reading {
        forwarded: true,
        posting: &posting,
        envelope_recipients: &posting,
        hostname: "mx.example.org",
        loop_marker: "mx.example.org",
        limits: Limits::default(),
        caps: Caps::default(),
    };
    for entry in std::fs::read_dir(folder).unwrap() {
        let raw = std::fs::read(entry.unwrap().path()).unwrap();
        if let Some(post) = extract(&raw, &reading).post {
            into.push(post.body());
        }
    }
}
