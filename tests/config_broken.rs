//! Every mistake of an operator has a folder in `tests/configurations/` and the exact sentences
//! that it produces in the file `expected` there.
//!
//! After a change of a sentence: `CMR_MAIL_WRITE_EXPECTED=1 cargo test --test config_broken`, and
//! read the difference.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use cmr_mail::config::{Config, ConfigError};
use std::fs;
use std::path::{Path, PathBuf};

fn folders() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configurations");
    let mut folders: Vec<_> = fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// What an operator is told, without the way to the folder.
fn told(folder: &Path) -> String {
    let (kind, text) = match Config::load(folder.join("cmr-mail.toml")) {
        Err(error) => ("error", error.to_string()),
        Ok(config) => {
            let lines: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
            ("warning", lines.join("\n"))
        }
    };
    let here = format!("{}/", folder.display());
    text.lines().map(|line| format!("{kind}: {}\n", line.replace(&here, ""))).collect()
}

#[test]
fn every_mistake_gets_its_sentence() {
    let write = std::env::var_os("CMR_MAIL_WRITE_EXPECTED").is_some();
    let mut wrong = Vec::new();
    for folder in folders() {
        let told = told(&folder);
        assert!(!told.is_empty(), "{}: nothing was said", folder.display());
        if write {
            fs::write(folder.join("expected"), &told).unwrap();
        }
        let expected = fs::read_to_string(folder.join("expected")).unwrap_or_default();
        if told != expected {
            wrong.push(format!("{}\nexpected:\n{expected}told:\n{told}", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(folders().len() >= 60, "only {} folders", folders().len());
}

#[test]
fn all_mistakes_are_told_at_once() {
    let folder = folders().into_iter().find(|f| f.ends_with("many-mistakes")).unwrap();
    let Err(ConfigError::Wrong(problems)) = Config::load(folder.join("cmr-mail.toml")) else {
        panic!("it was taken")
    };
    assert_eq!(problems.len(), 6, "{problems:#?}");
    assert!(problems.iter().all(|problem| problem.line.is_some()));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("cmr-mail.toml");
    let said = Config::load(&missing).unwrap_err().to_string();
    assert!(said.starts_with(&format!("{}: cannot be read: No such file", missing.display())), "{said}");
    let said = Config::load(directory.path()).unwrap_err().to_string();
    assert!(said.contains("cannot be read: Is a directory"), "{said}");
    let said = Config::load("/dev/zero").unwrap_err().to_string();
    assert!(said.contains("longer than 1 MiB"), "{said}");
}
