//! The dialogues of `tests/dialogues`, each once against the session alone, with a clock of
//! the test's own, and once more over a real socket where it needs no such clock; and what
//! must hold for every dialogue. `tests/dialogues/README.md` explains the files.
// In tests a panic is the report; the lint's own exception knows only `#[test]` functions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod memory;
mod properties;
mod script;
mod socket;

use std::path::{Path, PathBuf};

use script::Script;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    paths
}

/// Plays every script and tells all failures together; returns how many were played.
fn play_all(play: impl Fn(&Script) -> Option<Result<(), String>>) -> usize {
    let mut failures = Vec::new();
    let mut played = 0;
    for path in scripts() {
        let script = Script::read(&path);
        match play(&script) {
            None => {}
            Some(Ok(())) => played += 1,
            Some(Err(failure)) => failures.push(format!("{}: {failure}", path.display())),
        }
    }
    assert!(failures.is_empty(), "{} dialogues fail:\n{}", failures.len(), failures.join("\n"));
    played
}

#[test]
fn the_session_alone_keeps_every_dialogue() {
    let played = play_all(|script| Some(script.play(&mut memory::World::new(script))));
    assert!(played >= 60, "only {played} dialogues were played");
}

#[test]
fn a_real_socket_keeps_every_dialogue_without_a_clock() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let played = play_all(|script| {
        if script.needs_the_session_alone() {
            return None;
        }
        let mut world = socket::World::new(script, runtime.handle());
        Some(script.play(&mut world))
    });
    assert!(played >= 45, "only {played} dialogues were played");
}
