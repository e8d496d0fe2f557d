//! The fragments of `deploy/postfix`, each loaded by a real Postfix, and what `check` says of them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::identity::config;
use crate::mails::{added, numbered};
use crate::server::{Postfix, Setup, can_run, free_port};
use crate::support::client::Client;
use crate::support::daemon::{Config, House, PROGRAM, until};

pub(crate) fn fragment(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/postfix").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The settings of a fragment for main.cf.
pub(crate) fn settings(name: &str, change: &[(&str, &str)]) -> Vec<(String, String)> {
    let text = change.iter().fold(fragment(name), |text, (from, to)| text.replace(from, to));
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// What Postfix says about a configuration that it does not like.
pub(crate) fn warnings(postfix: &Postfix) -> String {
    let output = postfix.control("check");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let log = postfix.log();
    let wrong = log.lines().filter(|line| line.contains("warning:") || line.contains("fatal:"));
    wrong
        .filter(|line| !line.contains("connect to") && !line.contains("not owned by"))
        .collect::<Vec<_>>()
        .join("\n")
        + &said
}

/// The filter's own fragment, with ports of our own.
fn filtered(listen: SocketAddr, back: SocketAddr) -> Postfix {
    let master = fragment("filter.master.cf").replace("127.0.0.1:10026", &back.to_string());
    let setup = Setup {
        main: settings("filter.main.cf", &[("10025", &listen.port().to_string())]),
        // The harness has its own transport and way back; here those of the fragment are wanted.
        replaces_transport: Some(master),
        ..Setup::default()
    };
    Postfix::start(&setup, Some(back))
}

fn check(house: &House, postfix: &Postfix) -> Vec<(String, String)> {
    let output = Command::new(PROGRAM)
        .args(["--config", house.dir().join("cmr-mail.toml").to_str().unwrap(), "check", "--json"])
        .env("MAIL_CONFIG", postfix.etc())
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let lines = report["lines"].as_array().unwrap().iter().filter(|line| line["name"] == "postfix");
    lines.map(|line| (text(&line["state"]), text(&line["says"]))).collect()
}

/// From nothing to shadow, to copy, to take, and out again, as docs/postfix.md has it.
#[test]
fn the_filters_fragments_work_and_check_agrees() {
    if !can_run() {
        return;
    }
    let (listen, back) = (free_port(), free_port());
    let postfix = filtered(listen, back);
    let house = House::new(&config("shadow", listen, back));
    let daemon = house.start();
    assert_eq!(warnings(&postfix), "");
    let said = check(&house, &postfix);
    assert!(said.len() == 1 && said[0].0 == "ok" && said[0].1.contains("shadow"), "{said:?}");
    let mut client = Client::connect(postfix.entrance).unwrap();
    for (number, mode) in ["shadow", "copy", "take"].into_iter().enumerate() {
        house.configure(&config(mode, listen, back));
        daemon.reload();
        let read = || house.log().matches("configuration read again").count();
        until("it is read again", || (read() > number).then_some(()));
        let mail = numbered(number, 2_000);
        assert_eq!(client.send("a@people.test", &["bob@cmr.test"], &mail).unwrap().code, 250);
        postfix.wait_until_empty();
        let all = &postfix.maildir()["bob@cmr.test"];
        assert!(all.iter().any(|it| added(it, &mail).is_ok()), "{mode}");
    }
    // Out again: the line is removed, and mail goes by itself, with the daemon stopped.
    let status = Command::new("postconf")
        .args(["-c", postfix.etc().to_str().unwrap(), "-X", "content_filter"])
        .status();
    assert!(status.unwrap().success());
    assert!(postfix.control("reload").status.success());
    assert!(daemon.stop().success());
    until("mail goes without the filter", || {
        let mut client = Client::connect(postfix.entrance).ok()?;
        client.send("a@people.test", &["out@cmr.test"], &numbered(9, 10)).ok()?;
        std::thread::sleep(std::time::Duration::from_millis(200));
        postfix.maildir().contains_key("out@cmr.test").then_some(())
    });
    let said = check(&house, &postfix);
    assert!(
        said.iter().any(|(state, says)| state == "warn" && says.contains("no content_filter is set")),
        "{said:?}"
    );
}

/// A wiring that returns or changes mail is seen.
#[test]
fn check_says_what_is_missing() {
    if !can_run() {
        return;
    }
    let (listen, back) = (free_port(), free_port());
    let postfix = filtered(listen, back);
    let house = House::new(&config("shadow", listen, back));
    let etc = postfix.etc();
    let edit = |arguments: &[&str]| {
        let status = Command::new("postconf").arg("-c").arg(&etc).args(arguments).status();
        assert!(status.unwrap().success());
    };
    for (change, undo, word) in [
        (
            format!("{back}/inet/content_filter=cmrfilter:[127.0.0.1]:{}", listen.port()),
            format!("{back}/inet/content_filter="),
            "round in a circle",
        ),
        (
            "cmrfilter/unix/disable_mime_output_conversion=no".to_owned(),
            "cmrfilter/unix/disable_mime_output_conversion=yes".to_owned(),
            "8-bit mails",
        ),
        (
            "cmrfilter/unix/smtp_line_length_limit=998".to_owned(),
            "cmrfilter/unix/smtp_line_length_limit=0".to_owned(),
            "998",
        ),
    ] {
        edit(&["-P", &change]);
        let said = check(&house, &postfix);
        assert!(said.iter().any(|(_, says)| says.contains(word)), "{change}: {said:?}");
        edit(&["-P", &undo]);
    }
    assert_eq!(check(&house, &postfix)[0].0, "ok");
}

/// Mail to the posting address alone, by SMTP and by LMTP; all other mail does not come near us.
#[test]
fn the_transports_fragments_work() {
    if !can_run() {
        return;
    }
    std::thread::scope(|scope| {
        for way in ["smtp", "lmtp"] {
            scope.spawn(move || transported(way));
        }
    });
}

fn transported(way: &'static str) {
    let port = free_port();
    let transport = fragment(&format!("{way}.transport"))
        .replace("cmr@example.org", "cmr@cmr.test")
        .replace(if way == "smtp" { "2525" } else { "2424" }, &port.port().to_string());
    let setup = Setup { master: fragment(&format!("{way}.master.cf")), ..Setup::default() };
    let dir = tempfile::Builder::new().prefix("cmr-transport-").tempdir().unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let file = dir.path().join("cmr-transport");
    fs::write(&file, transport).unwrap();
    let main = settings(&format!("{way}.main.cf"), &[("/etc/postfix/cmr-transport", file.to_str().unwrap())]);
    let postfix = Postfix::start(&Setup { main, ..setup }, None);
    let listen = if way == "smtp" { port.to_string() } else { format!("lmtp://{port}") };
    let house = House::new(
        &Config::new()
            .set("smtp", "listen", format!("[\"{listen}\"]"))
            .set("smtp", "recipients", r#"["cmr@cmr.test"]"#)
            .set("smtp", "relays", r#"["127.0.0.1"]"#)
            .text("gateway", "address", "mailto:cmr@cmr.test")
            .text("policy", "who_may_post", "anyone"),
    );
    let daemon = house.start();
    assert_eq!(daemon.address(way), port);
    let mut client = Client::connect(postfix.entrance).unwrap();
    let mail = numbered(1, 100);
    let to = ["bob@cmr.test", "cmr@cmr.test"];
    assert_eq!(client.send("a@people.test", &to, &mail).unwrap().code, 250);
    postfix.wait_until_empty();
    assert_eq!(warnings(&postfix), "", "{way}");
    let found = postfix.maildir();
    assert!(added(&found["bob@cmr.test"][0], &mail).is_ok());
    assert_eq!(found.len(), 1, "{way}: {:?}", found.keys());
    assert!(house.json(&["status"])["messages"].as_u64() >= Some(1), "{way}");
    assert!(!postfix.log().contains("status=bounced"), "{way}: {}", postfix.log());
    assert!(daemon.stop().success());
}

/// `deliver` as Postfix's local(8) runs it for a line in an alias file.
#[test]
fn an_alias_delivers() {
    if !can_run() {
        return;
    }
    let dir = tempfile::Builder::new().prefix("cmr-alias-").tempdir().unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = dir.path().join("cmr-mail");
    fs::copy(PROGRAM, &program).unwrap();
    let house = House::new(
        &Config::new()
            .text("gateway", "intake_socket", dir.path().join("intake.sock").to_str().unwrap())
            .set("smtp", "recipients", r#"["cmr@alias.test"]"#)
            .text("gateway", "address", "mailto:cmr@alias.test")
            .text("policy", "who_may_post", "anyone"),
    );
    fs::set_permissions(house.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let aliases = dir.path().join("aliases");
    let config = house.dir().join("cmr-mail.toml");
    fs::write(&aliases, format!("cmr: \"|{} --config {} deliver\"\n", program.display(), config.display()))
        .unwrap();
    let built = Command::new("postalias").arg(format!("hash:{}", aliases.display())).status();
    assert!(built.unwrap().success());
    let setup = Setup { master: "local unix - n n - - local\n".to_owned(), ..Setup::default() }
        .main("mydestination", "alias.test")
        .main("recipient_delimiter", "+")
        .main("default_privs", "nobody")
        .main("alias_maps", &format!("hash:{}", aliases.display()));
    let postfix = Postfix::start(&setup, None);
    let daemon = house.start();
    let mut client = Client::connect(postfix.entrance).unwrap();
    let reply = client.send("a@people.test", &["cmr@alias.test"], &numbered(1, 100)).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    postfix.wait_until_empty();
    assert_eq!(house.json(&["status"])["messages"], 1, "{}", postfix.log());
    // While the daemon is down it waits.
    assert!(daemon.stop().success());
    client.send("a@people.test", &["cmr@alias.test"], &numbered(2, 100)).unwrap();
    until("it has been tried", || postfix.log().contains("status=deferred").then_some(()));
    let daemon = house.start();
    postfix.wait_until_empty();
    assert_eq!(house.json(&["status"])["messages"], 2);
    assert!(!postfix.log().contains("status=bounced"));
    assert!(daemon.stop().success());
}
