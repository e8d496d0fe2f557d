//! The verbs on a real gateway: without a daemon, beside one, and by other users of the machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

mod cli_support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cli_support::{Ended, House, Running, ended, program};
use rustix::process::Signal;

fn serve(house: &House) -> Running {
    let mut child = house.command("serve").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let running = Running(child);
    assert!(out.lines().map_while(Result::ok).any(|line| line == "ready"), "it ended without ready");
    running
}

fn post(house: &House, text: &str) -> String {
    let posted = house.run(&format!("post --json {text}"), b"").code(0).json();
    posted["id"].as_str().unwrap().to_owned()
}

/// What one way stores the other way finds, in every order.
#[test]
fn the_pool_is_the_same_with_and_without_a_daemon() {
    let house = House::new();
    let alone = post(&house, "Jupiter is the largest planet");
    let status = house.run("status --json", b"").code(0).json();
    assert_eq!((&status["daemon"], &status["messages"]), (&false.into(), &1.into()));

    let mut daemon = serve(&house);
    let status = house.run("status --json", b"").code(0).json();
    assert_eq!((&status["daemon"], &status["messages"]), (&true.into(), &1.into()));
    let beside = post(&house, "Which planet is the largest?");
    // Searches find what is routed, and a daemon does that after the answer to who posts.
    let routed = |_: &usize| house.run("status --json", b"").code(0).json()["unrouted"] == 0;
    assert!((0..1000).find(routed).is_some(), "it is never routed");
    let found = house.run("search --json largest planet", b"").code(0).json();
    let ids: Vec<_> = found["matches"].as_array().unwrap().iter().map(|m| m["id"].clone()).collect();
    assert!(ids.contains(&alone.clone().into()) && ids.contains(&beside.clone().into()), "{found}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), 0);

    for id in [&alone, &beside] {
        let shown = house.run(&format!("show --json {id}"), b"").code(0).json();
        assert_eq!((&shown["id"], &shown["via"]), (&id.as_str().into(), &"post".into()));
        let raw = house.run(&format!("show --raw {id}"), b"").code(0).raw;
        assert!(raw.starts_with(b"0\r\n"), "an unsigned message");
        house.run(&format!("explain --json {id}"), b"").code(0);
    }
    house.run(&format!("remove {alone}"), b"").code(0);
    house.run(&format!("show {alone}"), b"").code(69);
}

#[test]
fn nobody_blocks_the_gateway_itself() {
    let house = House::new();
    for own in ["cmr@example.org", "MAILTO:cmr@EXAMPLE.org", "example.org"] {
        house.run(&format!("block {own}"), b"").code(64);
    }
    house.run("block other@example.org", b"").code(0);
}

#[test]
fn nothing_is_sent_to_who_is_blocked() {
    for blocked in ["mailto:cmr@junk.example", "junk.example"] {
        let house = House::new();
        house.run("peers pin mailto:cmr@junk.example", b"").code(0);
        post(&house, "Mercury is the innermost planet");
        let queued = house.run("queue --json", b"").code(0).json();
        assert_eq!(queued.as_array().unwrap().len(), 1, "a pinned peer gets a post: {queued}");

        house.run(&format!("block {blocked}"), b"").code(0);
        let id = post(&house, "Venus is the second planet");
        let explained = house.run(&format!("explain --json {id}"), b"").code(0).json();
        assert_eq!(explained["forwards"], serde_json::json!([]), "{blocked}");
        let why = explained["peers"][0]["why"].as_str().unwrap();
        assert!(why.contains("is blocked here"), "{why}");

        house.run(&format!("block --undo {blocked}"), b"").code(0);
        let id = post(&house, "Earth is the third planet");
        let explained = house.run(&format!("explain --json {id}"), b"").code(0).json();
        assert_eq!(explained["forwards"].as_array().unwrap().len(), 1, "{blocked}");
    }
}

#[test]
fn an_unknown_thing_is_69() {
    let house = House::new();
    let _daemon = serve(&house);
    for args in [
        "show 0123456789abcdef",
        "show --raw 0123456789abcdef",
        "show --aside 99",
        "explain 0123456789abcdef",
        "peers show mailto:nobody@example.org",
        "queue show 99",
    ] {
        let ended = house.run(args, b"").code(69);
        assert!(ended.err.starts_with("cmr-mail: "), "{args}: {}", ended.err);
    }
}

/// The program as another user: `nobody`, from a copy that it may run. `None` when this test does
/// not run as root.
struct Nobody {
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl Nobody {
    fn new() -> Option<Nobody> {
        if !rustix::process::geteuid().is_root() {
            println!("not root: what other users may do is not tried");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let program = dir.path().join("cmr-mail");
        std::fs::copy(env!("CARGO_BIN_EXE_cmr-mail"), &program).unwrap();
        Some(Nobody { program, dir })
    }

    fn run(&self, config: &Path, args: &str, input: &[u8]) -> Ended {
        let mut command = program(&self.program, self.dir.path());
        command.uid(65534).gid(65534).arg("--config").arg(config).args(args.split_whitespace());
        ended(&mut command, input)
    }
}

const MAIL: &[u8] = b"From: anna@example.com\r\nTo: cmr@example.org\r\nMessage-ID: <1@example.com>\r\n\
                      Subject: a question\r\n\r\nWhich planet is the largest?\r\n";

#[test]
fn other_users_hand_mail_in_and_do_nothing_else() {
    let Some(nobody) = Nobody::new() else { return };
    let intake = "intake_socket = \"intake.sock\"\n";
    let smtp = "[smtp]\nlisten = []\n";
    let house = House::with(&format!("{intake}{smtp}"));
    std::fs::set_permissions(house.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let config = house.config();

    // No daemon: later. The database is not theirs to open.
    assert!(nobody.run(&config, "deliver", MAIL).code(75).err.contains("no cmr-mail daemon answers"));
    nobody.run(&config, "receive", b"x").code(75);
    let daemon = serve(&house);
    assert!(nobody.run(&config, "deliver", MAIL).code(0).err.contains("250 "));
    let asides = house.run("show --aside --json", b"").code(0).json();
    assert_eq!(asides.as_array().unwrap().len(), 1, "unauthenticated, so kept aside: {asides}");
    assert!(nobody.run(&config, "receive", b"x").code(65).err.contains("554 "));
    for args in ["status", "post x", "keys show", "peers", "queue", "block a@example.org"] {
        let ended = nobody.run(&config, args, b"").code(69);
        assert!(ended.err.contains("run this as the user who owns"), "{args}: {}", ended.err);
    }

    // A configuration that they can read but not use, because of a key that is not theirs.
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    let key = house.path().join("key.pem");
    std::fs::copy(tls.join("key.pem"), &key).unwrap();
    std::fs::copy(tls.join("cert.pem"), house.path().join("cert.pem")).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    house.configure(&format!("{intake}{smtp}tls = {{ certificate = \"cert.pem\", key = \"key.pem\" }}\n"));
    nobody.run(&config, "deliver", &MAIL.replace("<1@", "<2@")).code(0);
    nobody.run(&config, "status", b"").code(78);

    // No intake socket at all.
    house.configure(smtp);
    let ended = nobody.run(&config, "deliver", MAIL).code(75);
    assert!(ended.err.contains("intake_socket"), "{}", ended.err);
    drop(daemon);
}

/// What root would create in it, the daemon could not open any more: root becomes its owner for that,
/// or, where a verb has files of root's to read or write beside it, says who has to do it.
#[test]
fn root_leaves_no_files_in_the_data_of_another_user() {
    let Some(nobody) = Nobody::new() else { return };
    let house = House::with("[smtp]\nlisten = []\n");
    std::fs::set_permissions(house.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(house.data(), Some(65534), Some(65534)).unwrap();
    for args in ["backup copy", "restore copy", "verify", "import x", "export out --format mbox"] {
        let ended = house.run(args, MAIL).code(75);
        assert!(ended.err.contains("belongs to user 65534"), "{args}: {}", ended.err);
    }
    assert_eq!(std::fs::read_dir(house.data()).unwrap().count(), 0, "nothing was created");
    for args in ["status", "deliver", "keys show"] {
        house.run(args, MAIL).code(0);
    }
    assert!(std::fs::read_dir(house.data()).unwrap().count() > 0);
    for file in std::fs::read_dir(house.data()).unwrap() {
        let file = file.unwrap();
        let owner = std::os::unix::fs::MetadataExt::uid(&file.metadata().unwrap());
        assert_eq!(owner, 65534, "{}", file.path().display());
    }
    nobody.run(&house.config(), "status", b"").code(0);
}

trait Replace {
    fn replace(&self, from: &str, to: &str) -> Vec<u8>;
}

impl Replace for [u8] {
    fn replace(&self, from: &str, to: &str) -> Vec<u8> {
        String::from_utf8(self.to_vec()).unwrap().replace(from, to).into_bytes()
    }
}
