//! The command line as a newcomer and as a script meets it: help, usage errors, exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod cli_support;

use std::process::Stdio;

use cli_support::{House, ended, limits};
use serde_json::json;

const VERBS: [&str; 43] = [
    "demo",
    "init",
    "check",
    "serve",
    "post",
    "search",
    "show",
    "explain",
    "trace",
    "evaluate",
    "simulate",
    "backup",
    "verify",
    "restore",
    "status",
    "block",
    "remove",
    "deliver",
    "filter",
    "receive",
    "web-user",
    "queue",
    "queue list",
    "queue show",
    "queue retry",
    "queue hold",
    "queue release",
    "queue drop",
    "peers",
    "peers list",
    "peers show",
    "peers pin",
    "peers unpin",
    "peers block",
    "peers unblock",
    "peers forget",
    "peers history",
    "peers bounced",
    "peers unsuppress",
    "keys",
    "keys set",
    "keys forget",
    "keys show",
];

#[test]
fn every_verb_explains_itself_within_80_columns() {
    let house = House::new();
    for verb in VERBS.iter().chain(&[""]) {
        for help in ["--help", "-h"] {
            let ended = house.run(&format!("{verb} {help}"), b"").code(0);
            assert!(ended.out.contains("Usage: cmr-mail"), "{verb}: {}", ended.out);
            assert_eq!(ended.err, "", "{verb}");
            let long: Vec<_> = ended.out.lines().filter(|line| line.chars().count() > 80).collect();
            assert!(long.is_empty(), "{verb}: {long:#?}");
            assert!(!ended.out.contains('\u{1b}'), "{verb}");
        }
        let top_level = !verb.contains(' ');
        if top_level && !verb.is_empty() {
            let ended = house.run(&format!("{verb} --help"), b"");
            assert!(ended.out.contains("Examples:"), "{verb} has no examples");
        }
    }
    let version = house.run("--version", b"").code(0);
    assert_eq!(version.out, format!("cmr-mail {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_64_and_speaks_to_standard_error() {
    let house = House::new();
    for args in [
        "",
        "nonsense",
        "--nonsense",
        "post",
        "post --nonsense x",
        "search",
        "search -n 0 x",
        "search -n many x",
        "show",
        "show 123",
        "show 0123456789abcdeg",
        "show 0123456789abcdef --raw --json",
        "show 0123456789abcdef --aside",
        "explain",
        "evaluate",
        "evaluate --train x --pool 3",
        "remove",
        "remove 0123456789abcdef --author a@b",
        "block",
        "keys",
        "keys set mailto:a@b",
        "keys set mailto:a@b --hex 00 --text x",
        "keys set mailto:a@b --hex 00 --scheme md5",
        "keys set --hex 00",
        "peers pin",
        "peers love mailto:a@b",
        "queue hold",
        "queue drop many",
        "status now",
        "serve --fast",
        "init a b",
        "check everything",
        "--config",
    ] {
        let ended = house.run(args, b"").code(64);
        assert_eq!(ended.out, "", "{args}");
        assert!(ended.err.contains("Usage:") || ended.err.contains("--help"), "{args}: {}", ended.err);
    }
}

#[test]
fn a_wrong_configuration_is_78_for_every_verb_that_needs_one() {
    let house = House::new();
    house.configure("[smtp]\nlisten = 5\n");
    for verb in [
        "serve",
        "check",
        "post x",
        "search x",
        "status",
        "queue",
        "peers",
        "keys show",
        "block a@b",
        "evaluate --threads x --pool 3",
    ] {
        let ended = house.run(verb, b"").code(78);
        let said = format!("{}{}", ended.out, ended.err);
        assert!(said.contains("listen"), "{verb}: {said}");
    }
    std::fs::remove_file(house.config()).unwrap();
    for verb in ["serve", "status"] {
        let ended = house.run(verb, b"").code(78);
        assert!(ended.err.contains("cmr-mail init"), "{verb}: {}", ended.err);
    }
    let named = house.run("--config none.toml status", b"").code(78);
    assert!(named.err.contains("none.toml"), "{}", named.err);
}

/// Rules of mail systems: any other code becomes a bounce, to a sender that may be forged.
#[test]
fn deliver_ends_in_0_or_75_whatever_happens() {
    let house = House::new();
    let mail = b"From: a@b\r\n\r\nx\r\n";
    // Wrong usage.
    for args in [
        "deliver --nonsense",
        "deliver -r",
        "deliver extra",
        "deliver -f a -f b",
        "--nonsense deliver",
        "--config none.toml deliver",
        "deliver --config",
    ] {
        house.run(args, mail).code(75);
    }
    house.run("deliver --help", mail).code(0);
    // No mail, too much mail.
    house.run("deliver", b"").code(75);
    house.configure("[smtp]\nmax_message = \"1 KiB\"\n");
    let ended = house.run("deliver", &[b'x'; 1025]).code(0);
    assert!(ended.err.contains("1025 bytes"), "{}", ended.err);
    // Broken configurations of several kinds.
    for text in ["[gateway", "", "\u{0}", "[gateway]\naddress = 7\nintake_socket = \"none\"\n"] {
        std::fs::write(house.config(), text).unwrap();
        let ended = house.run("deliver", mail).code(75);
        assert_ne!(ended.err, "", "{text:?}");
    }
    std::fs::write(house.config(), b"\xff").unwrap();
    house.run("deliver", mail).code(75);
    std::fs::remove_file(house.config()).unwrap();
    std::fs::create_dir(house.config()).unwrap();
    house.run("deliver", mail).code(75);
    // No data directory, or something else in its place.
    let house = House::new();
    std::fs::remove_dir(house.data()).unwrap();
    house.run("deliver", mail).code(75);
    std::fs::write(house.data(), "x").unwrap();
    house.run("deliver", mail).code(75);
    // Nobody reads what it says.
    let mut child = house
        .command("deliver")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(75));
}

#[test]
fn receive_ends_in_0_65_or_75_whatever_happens() {
    let house = House::new();
    for args in ["receive --nonsense", "receive extra", "receive --transport", "--config none.toml receive"] {
        house.run(args, b"x").code(75);
    }
    house.run("receive", b"").code(65);
    house.configure("[smtp]\nmax_message = \"1 KiB\"\n");
    house.run("receive", &[b'x'; 1025]).code(65);
    std::fs::write(house.config(), "[gateway").unwrap();
    house.run("receive", b"x").code(75);
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let house = House::new();
    let _daemon = cli_support::FakeDaemon::start(&house.data(), None, limits(), |_, _| {
        let hop = json!({"time": "t", "address": "a".repeat(1_000_000)});
        Ok(json!([{"id": "0123456789abcdef", "scope": "public", "conflicts": 0, "hops": [hop],
                   "body_utf8": "x", "bytes": 1, "received": "", "via": "", "state": "",
                   "authenticity": ""}]))
    });
    for args in ["show 0123456789abcdef", "show 0123456789abcdef --json", "show --help"] {
        let mut child = house.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{args}");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{args}");
    }
}

#[test]
fn an_output_that_is_full_is_73() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let house = House::new();
    let _daemon = cli_support::FakeDaemon::start(&house.data(), None, limits(), |_, _| Ok(json!([])));
    let mut command = house.command("queue --json");
    let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(73));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("cannot write the result"));
}

/// `script` gives the program a terminal.
#[test]
fn colours_and_pages_of_json_are_for_terminals_only() {
    let house = House::new();
    let _daemon = cli_support::FakeDaemon::start(&house.data(), None, limits(), |_, _| {
        Ok(json!([{"address": "mailto:a@b\u{9b}", "messages": 1, "bytes": 1, "reputation": 0.0,
                   "key": "none", "last_seen": "", "blocked": true, "pinned": false}]))
    });
    let on_terminal = |args: &str, environment: &[(&str, &str)]| {
        let program = env!("CARGO_BIN_EXE_cmr-mail");
        let mut command = cli_support::program("script".as_ref(), house.path());
        command.env("PATH", "/usr/bin:/bin").env("TERM", "xterm").envs(environment.iter().copied()).args([
            "-qec",
            &format!("{program} {args}"),
            "/dev/null",
        ]);
        ended(&mut command, b"").code(0).out
    };
    let plain = house.run("peers", b"").code(0).out;
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    assert!(plain.contains("mailto:a@b\\u{9b}"), "{plain:?}");
    assert!(on_terminal("peers", &[]).contains("\u{1b}[31mblocked"), "red on a terminal");
    assert!(!on_terminal("peers", &[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(!on_terminal("peers", &[("TERM", "dumb")]).contains('\u{1b}'));
    let one_line = house.run("peers --json", b"").code(0);
    assert_eq!(one_line.out.lines().count(), 1);
    assert!(!one_line.out.contains('\u{9b}'), "{:?}", one_line.out);
    assert_eq!(one_line.json()[0]["address"], "mailto:a@b\u{9b}");
    assert!(on_terminal("peers --json", &[]).lines().count() > 5);
}
