//! The first steps of an operator: `init`, and `check` on what can be wrong with a machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod cli_support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cli_support::{Ended, House, ended, program};
use cmr_mail::config::Config;

fn init(dir: &Path, args: &[&str]) -> Ended {
    let mut command = program(Path::new(env!("CARGO_BIN_EXE_cmr-mail")), dir);
    ended(command.arg("init").args(args), b"")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_writes_a_configuration_that_works_and_says_what_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let ended = init(dir.path(), &["--hostname", "mx.example.org"]).code(0);
    for words in ["Wrote cmr-mail.toml", "cmr-mail check", "cmr-mail serve"] {
        assert!(ended.out.contains(words), "{}", ended.out);
    }
    let config = Config::load(dir.path().join("cmr-mail.toml")).unwrap();
    assert_eq!(config.gateway.mail_address, "cmr@mx.example.org");
    assert_eq!(config.gateway.operator.address, "postmaster@mx.example.org");
    assert_eq!(config.gateway.data_dir, dir.path().join("data"));
    assert_eq!(mode(&config.gateway.data_dir), 0o700);
    assert_eq!(mode(&config.gateway.data_dir.join("cmr-mail.db")), 0o600);
}

#[test]
fn init_takes_what_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "--hostname",
        "mail.example.net",
        "--address",
        "talk@example.net",
        "--operator",
        "Anna O'Hara \"A\" <anna@example.net>",
        "--data-dir",
        "state/cmr",
        "etc/deep/gate.toml",
    ];
    let ended = init(dir.path(), &args).code(0);
    assert!(ended.out.contains("--config etc/deep/gate.toml check"), "{}", ended.out);
    let config = Config::load(dir.path().join("etc/deep/gate.toml")).unwrap();
    assert_eq!(config.gateway.mail_address, "talk@example.net");
    assert_eq!(config.gateway.hostname, "mail.example.net");
    assert_eq!(config.gateway.operator.address, "anna@example.net");
    // Relative to where it was typed, not to the file.
    assert_eq!(config.gateway.data_dir, dir.path().join("state/cmr"));
    // A directory as the path, and --config instead of a path.
    init(dir.path(), &["--hostname", "a.example.net", "--data-dir", "two", "etc"]).code(0);
    assert!(dir.path().join("etc/cmr-mail.toml").exists());
    init(dir.path(), &["--config", "three.toml", "--hostname", "a.example.net"]).code(0);
    assert!(dir.path().join("three.toml").exists());
}

#[test]
fn init_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cmr-mail.toml");
    std::fs::write(&file, "precious").unwrap();
    let ended = init(dir.path(), &["--hostname", "mx.example.org"]).code(73);
    assert!(ended.err.contains("exists already"), "{}", ended.err);
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    assert!(!dir.path().join("data").exists(), "nothing was created");
    // Nor through a link that leads nowhere.
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("elsewhere", &file).unwrap();
    init(dir.path(), &["--hostname", "mx.example.org"]).code(73);
    assert!(!dir.path().join("elsewhere").exists());
    // A database is kept, and so is what is in a directory of others.
    std::fs::remove_file(&file).unwrap();
    init(dir.path(), &["--hostname", "mx.example.org"]).code(0);
    std::fs::remove_file(&file).unwrap();
    let ended = init(dir.path(), &["--hostname", "mx.example.org"]).code(0);
    assert!(ended.out.contains("Kept the database"), "{}", ended.out);
}

#[test]
fn init_refuses_what_would_not_work() {
    let dir = tempfile::tempdir().unwrap();
    for (args, words) in [
        (&["--hostname", "not a host"][..], "[gateway] hostname"),
        (&["--hostname", "mx.example.org", "--address", "no address"], "[gateway] address"),
        (&["--hostname", "mx.example.org", "--address", "http://x/"], "[gateway] address"),
        (&["--hostname", "mx.example.org", "--operator", "nobody"], "[gateway] operator"),
        (
            &["--hostname", "mx.example.org", "--address", "a@b.org", "--operator", "a@b.org"],
            "[gateway] operator",
        ),
    ] {
        let ended = init(dir.path(), args).code(64);
        assert!(ended.err.contains(words), "{args:?}: {}", ended.err);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{args:?}");
    }
    std::fs::write(dir.path().join("file"), "").unwrap();
    let hostname = ["--hostname", "mx.example.org"];
    init(dir.path(), &[&hostname[..], &["--data-dir", "file"]].concat()).code(64);
    init(dir.path(), &[&hostname[..], &["--data-dir", "file/data"]].concat()).code(73);
    init(dir.path(), &[&hostname[..], &["file/cmr-mail.toml"]].concat()).code(73);
    let open = dir.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::write(open.join("photo"), "").unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    init(dir.path(), &[&hostname[..], &["--data-dir", "open"]].concat()).code(73);
    assert_eq!(mode(&open), 0o755);
    assert!(!dir.path().join("cmr-mail.toml").exists());
}

/// A mail server that greets and says what it is told to every command.
fn smarthost(replies: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for reply in replies {
                if (&stream).write_all(reply.as_bytes()).is_err() {
                    break;
                }
                lines.next();
            }
        }
    });
    port
}

const GREETS: &[&str] = &["220 smart ESMTP\r\n", "250-smart\r\n250 SIZE\r\n", "221 bye\r\n"];

/// The lines about one thing, as `STATE: says -> mend`.
fn about(report: &Ended, name: &str) -> Vec<String> {
    let report = report.json();
    let lines = report["lines"].as_array().unwrap().iter().filter(|line| line["name"] == name);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    lines.map(|l| format!("{}: {} -> {}", text(&l["state"]), text(&l["says"]), text(&l["mend"]))).collect()
}

/// One thing wrong at a time; the rest of the machine is as it should be.
#[test]
fn check_names_what_is_wrong_and_how_to_mend_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    let tls = |certificate: &str, key: &str| {
        format!("tls = {{ certificate = \"{0}/{certificate}\", key = \"{0}/{key}\" }}", tls.display())
    };
    type Break = fn(&House);
    let nothing: Break = |_| ();
    for (smtp, send, intake, spoil, code, name, expected) in [
        ("", GREETS, "", nothing, 0, "smarthost", "ok: smtp://127.0.0.1:PORT greets"),
        ("", &["554 no\r\n"], "", nothing, 69, "smarthost", "fail: smtp://127.0.0.1:PORT: "),
        ("", &["nonsense\r\n"], "", nothing, 69, "smarthost", "fail: smtp://127.0.0.1:PORT: "),
        (
            "",
            GREETS,
            "",
            |h| {
                std::fs::set_permissions(h.data(), PermissionsExt::from_mode(0o750)).unwrap();
            },
            78,
            "data_dir",
            "fail: DATA is open to other users (mode 0750) -> chmod 700 DATA",
        ),
        (
            "",
            GREETS,
            "",
            |h| std::fs::remove_dir_all(h.data()).unwrap(),
            0,
            "data_dir",
            "warn: DATA does not exist yet -> cmr-mail serve creates it",
        ),
        (
            "",
            GREETS,
            "",
            |h| std::fs::remove_file(h.data().join("cmr-mail.db")).unwrap(),
            0,
            "database",
            "warn: DATA/cmr-mail.db does not exist yet -> cmr-mail serve creates it",
        ),
        (
            "",
            GREETS,
            "",
            |h| std::fs::write(h.data().join("cmr-mail.db"), "x".repeat(9000)).unwrap(),
            69,
            "database",
            "fail: DATA/cmr-mail.db cannot be read: file is not a database",
        ),
        (
            "",
            GREETS,
            "",
            |h| {
                let db = rusqlite::Connection::open(h.data().join("cmr-mail.db")).unwrap();
                db.pragma_update(None, "user_version", 9999).unwrap();
            },
            78,
            "database",
            "fail: DATA/cmr-mail.db is of a newer version of cmr-mail (schema 9999)",
        ),
        (
            "",
            GREETS,
            "",
            |h| {
                let path = h.data().join("cmr-mail.db");
                let mut bytes = std::fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle..].fill(0xa5);
                std::fs::write(path, bytes).unwrap();
            },
            69,
            "database",
            "fail: DATA/cmr-mail.db is damaged: ",
        ),
        ("listen = []", GREETS, "", nothing, 0, "listen", "warn: no address to listen on"),
        (
            "listen = [\"TAKEN\"]",
            GREETS,
            "",
            nothing,
            69,
            "listen",
            "fail: TAKEN is taken by another program -> find it: ss -ltnp",
        ),
        (
            "listen = [\"192.0.2.1:2525\"]",
            GREETS,
            "",
            nothing,
            78,
            "listen",
            "fail: 192.0.2.1:2525 is no address of this machine",
        ),
        ("", GREETS, "intake_socket = \"data/intake\"", nothing, 78, "configuration", "fail: cmr-mail.toml:"),
        ("", GREETS, "intake_socket = \"intake\"", nothing, 0, "intake", "ok: "),
        (
            "",
            GREETS,
            "intake_socket = \"intake\"",
            |h| std::fs::set_permissions(h.path(), PermissionsExt::from_mode(0o700)).unwrap(),
            0,
            "intake",
            "warn: ",
        ),
        ("", GREETS, "intake_socket = \"none/intake\"", nothing, 78, "intake", "fail: "),
        (tls("cert.pem", "key.pem").as_str(), GREETS, "", nothing, 0, "tls", "ok: "),
        (tls("cert.pem", "other-key.pem").as_str(), GREETS, "", nothing, 78, "configuration", "fail: "),
        (tls("none.pem", "key.pem").as_str(), GREETS, "", nothing, 78, "configuration", "fail: "),
        (
            "listen = [\"127.0.0.1:0\"]\n[web]\nlisten = \"TAKEN\"",
            GREETS,
            "",
            nothing,
            69,
            "listen",
            "fail: TAKEN is taken by another program -> find it: ss -ltnp",
        ),
        (
            "listen = [\"127.0.0.1:0\"]\n[web]\nlisten = \"127.0.0.1:0\"",
            GREETS,
            "",
            nothing,
            0,
            "pages",
            "ok: anybody on this machine reads them",
        ),
        (
            "listen = [\"127.0.0.1:0\"]\n[web]\nlisten = \"127.0.0.1:0\"\nusers = \"who\"",
            GREETS,
            "",
            |h| {
                std::fs::write(h.path().join("who"), "anna:secret\n").unwrap();
                std::fs::set_permissions(h.path().join("who"), PermissionsExt::from_mode(0o600)).unwrap();
            },
            78,
            "pages",
            "fail: ",
        ),
        ("lisen = 1", GREETS, "", nothing, 78, "configuration", "fail: cmr-mail.toml:"),
    ] {
        let port = smarthost(send);
        let smtp = smtp.replace("TAKEN", &taken.to_string());
        let listen = if smtp.contains("listen") { "" } else { "listen = [\"127.0.0.1:0\"]\n" };
        let house = House::with("");
        house.run("status", b"").code(0);
        house.configure(&format!(
            "{intake}\n[smtp]\n{listen}{smtp}\n[send]\nsmarthost = \"smtp://127.0.0.1:{port}\"\n"
        ));
        spoil(&house);
        let report = house.run("check --json", b"").code(code);
        assert_eq!(report.json()["ok"], code == 0);
        let expected = expected
            .replace("PORT", &port.to_string())
            .replace("TAKEN", &taken.to_string())
            .replace("DATA", house.data().to_str().unwrap());
        let lines = about(&report, name);
        assert!(lines.iter().any(|line| line.starts_with(&expected)), "{expected}\n{lines:#?}");
        let text = house.run("check", b"").code(code).out;
        assert!(text.lines().count() >= report.json()["lines"].as_array().unwrap().len());
    }
}

#[test]
fn check_knows_a_daemon_that_runs_from_one_that_hangs() {
    let port = smarthost(GREETS);
    let house = House::with(&format!(
        "[smtp]\nlisten = [\"127.0.0.1:0\"]\n[send]\nsmarthost = \"smtp://127.0.0.1:{port}\"\n"
    ));
    house.run("status", b"").code(0);
    let none = house.run("check --json", b"").code(0);
    assert!(about(&none, "daemon")[0].starts_with("ok: none is running"));
    let lock = cmr_mail::gateway::lock::Lock::try_acquire(&house.data(), "serve").unwrap();
    let hangs = house.run("check --json", b"").code(69);
    assert!(about(&hangs, "daemon")[0].contains("does not answer"));
    let daemon =
        cli_support::FakeDaemon::under(lock, None, cli_support::limits(), |_, _| Ok(serde_json::Value::Null));
    let runs = house.run("check --json", b"").code(0);
    assert!(about(&runs, "daemon")[0].starts_with("ok: cmr-mail serve (process "));
    drop(daemon);
    let _lock = cmr_mail::gateway::lock::Lock::try_acquire(&house.data(), "import").unwrap();
    let busy = house.run("check --json", b"").code(0);
    assert!(about(&busy, "daemon")[0].starts_with("warn: cmr-mail import"));
}
