//! Encryption and logins.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::dovecot::{CERTIFICATE, Dovecot};
use super::reading::{house, post};
use super::scripted::Scripted;
use super::support::daemon::{Config, House};

/// The section of an account with these lines only.
fn account(lines: &str) -> Config {
    Config::new()
        .text("policy", "who_may_post", "anyone")
        .repeated(&format!("[[imap]]\nname = \"box\"\nuser = \"cmr\"\n{lines}\n"))
}

#[test]
fn encryption_is_as_configured_or_nothing_is_said() {
    let dovecot = Dovecot::start();
    dovecot.deliver("cmr", "INBOX", &post(1).write());
    let (imap, imaps) = (dovecot.imap, dovecot.imaps);
    let trusted = format!("ca_file = {CERTIFICATE:?}\npassword_command = \"cat password\"");
    #[rustfmt::skip]
    let table = [
        ("TLS", format!("host = \"localhost\"\nport = {imaps}\n{trusted}"), None),
        ("TLS by address", format!("host = \"127.0.0.1\"\nport = {imaps}\n{trusted}"), None),
        ("STARTTLS", format!("host = \"localhost\"\nport = {imap}\nsecurity = \"starttls\"\n{trusted}"), None),
        ("nothing", format!("host = \"localhost\"\nport = {imap}\nsecurity = \"none\"\npassword_command = \"cat password\""), None),
        ("a file", format!("host = \"localhost\"\nport = {imap}\nsecurity = \"none\"\npassword_file = \"password\""), None),
        ("an unknown authority", format!("host = \"localhost\"\nport = {imaps}\npassword_command = \"cat password\""), Some("certificate verify failed")),
        ("an unknown authority by STARTTLS", format!("host = \"localhost\"\nport = {imap}\nsecurity = \"starttls\"\npassword_command = \"cat password\""), Some("certificate verify failed")),
        ("TLS where there is none", format!("host = \"localhost\"\nport = {imap}\n{trusted}"), Some("TLS: ")),
        ("a wrong password", format!("host = \"localhost\"\nport = {imaps}\nca_file = {CERTIFICATE:?}\npassword_command = \"echo wrong\""), Some("the login is refused: ")),
        ("a command that fails", format!("host = \"localhost\"\nport = {imaps}\nca_file = {CERTIFICATE:?}\npassword_command = \"echo no key >&2; exit 1\""), Some("no password: the command failed (exit status: 1): no key")),
        ("nobody there", "host = \"localhost\"\nport = 1\npassword_command = \"cat password\"".to_owned(), Some("can't be reached")),
    ];
    for (what, lines, trouble) in table {
        let house = house(&account(&format!("{lines}\nafter = \"keep\"")));
        let output = house.run(&["poll", "--once", "--json"], b"");
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let check = house.run(&["check", "--json"], b"");
        let check: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
        let line =
            check["lines"].as_array().unwrap().iter().find(|line| line["name"] == "mailbox").unwrap().clone();
        match trouble {
            None => {
                assert_eq!(said[0]["taken"], 1, "{what}: {said}");
                assert_eq!(line["state"], "ok", "{what}: {line}");
            }
            Some(words) => {
                assert!(said[0]["error"].as_str().unwrap().contains(words), "{what}: {said}");
                assert_eq!(output.status.code(), Some(69), "{what}");
                assert!(
                    line["state"] == "fail" && line["says"].as_str().unwrap().contains(words),
                    "{what}: {line}"
                );
            }
        }
    }
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let mut dovecot = Dovecot::start();
    dovecot.stop();
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
    dovecot.set_certificate(&tls.join("other.pem"), &tls.join("other.key"));
    dovecot.run();
    let ca = tls.join("ca.pem");
    let lines = format!(
        "host = \"localhost\"\nport = {}\nca_file = {ca:?}\npassword_command = \"cat password\"",
        dovecot.imaps
    );
    let output = house(&account(&lines)).run(&["poll", "--once"], b"");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("TLS: ") && said.to_ascii_lowercase().contains("hostname mismatch"), "{said}");
}

/// A token that Dovecot takes: a JWT under the key that stands in its directory.
fn token(user: &str, key: &[u8]) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let head = part(r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = part(&format!(r#"{{"sub":"{user}","email":"{user}","iat":1700000000,"exp":4000000000}}"#));
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(format!("{head}.{claims}").as_bytes());
    format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[test]
fn a_smarthost_takes_the_token_too() {
    let said = |token: &str| STANDARD.encode(format!("user=cmr@home.test\u{1}auth=Bearer {token}\u{1}\u{1}"));
    let session = |token: &str, rest: &[&str]| {
        let login = format!("C AUTH XOAUTH2 {}", said(token));
        let hello =
            ["TLS server", "S 220 mx", "C EHLO mx.home.test", "S 250-mx", "S 250 AUTH LOGIN XOAUTH2", &login];
        [&hello, rest].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let mail = [
        "S 235 ok",
        "L",
        "S 250 ok",
        "C RCPT TO:<cmr@peer.test>",
        "S 250 ok",
        "C DATA",
        "S 354 go",
        "M",
        "S 250 ok",
        "H",
    ];
    let next = || vec!["--".to_owned()];
    let smarthost = Scripted::play(
        [
            session("good", &["S 235 ok", "C QUIT", "S 221 bye"]),
            next(),
            session("bad", &["S 334 e30=", "C", "S 535 5.7.8 not accepted", "H"]),
            next(),
            session("good", &mail),
        ]
        .concat(),
    );
    let ca = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls/ca.pem");
    let config = |command: &str| {
        Config::new()
            .text("send", "smarthost", format!("smtps://{}", smarthost.address))
            .text("send", "ca_file", ca.display().to_string())
            .text("send", "user", "cmr@home.test")
            .text("send", "oauth2_command", command)
            .set("routing", "pinned", r#"["mailto:cmr@peer.test"]"#)
    };
    let house = House::new(&config("cat token"));
    let check = |house: &House| {
        let output = house.run(&["check", "--json"], b"");
        let check: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let lines = check["lines"].as_array().unwrap();
        let line = lines.iter().find(|line| line["name"] == "smarthost").unwrap();
        (line["state"].as_str().unwrap().to_owned(), line["says"].as_str().unwrap().to_owned())
    };
    let (state, says) = check(&house);
    assert!(
        state == "fail" && says.contains("no access token: the command failed (exit status: 1)"),
        "{says}"
    );
    let write = |token: &str| std::fs::write(house.dir().join("token"), token).unwrap();
    write("good\n");
    let (state, says) = check(&house);
    assert!(state == "ok" && says.ends_with("greets, encrypted, and lets us log in"), "{says}");
    write("bad\n");
    let (state, says) = check(&house);
    assert!(state == "fail" && says.ends_with("AUTH: 535 5.7.8 not accepted"), "{says}");
    // A daemon starts without a token, and sends as soon as there is one.
    std::fs::remove_file(house.dir().join("token")).unwrap();
    let daemon = house.start();
    house.json(&["post", "What became of the comet over the harbour?"]);
    house.until("a failure", |house| {
        let queue = house.json(&["queue"]);
        queue[0]["last_error"].as_str().is_some_and(|error| error.contains("no access token")).then_some(())
    });
    write("good\n");
    house.until_idle();
    assert!(daemon.stop().success());
    smarthost.finish().unwrap();
    assert!(!house.log().contains(&said("good")), "a token is never shown");
}

#[test]
fn access_tokens_by_either_mechanism() {
    let key = b"a key that only the tests know, long enough";
    for mechanism in ["xoauth2", "oauthbearer"] {
        let dovecot = Dovecot::with_files(
            &format!(
                "auth_mechanisms = plain {mechanism}\n\
                 passdb {{\n  driver = oauth2\n  mechanisms = {mechanism}\n  args = $DIR/oauth2.conf\n}}\n"
            ),
            &[
                (
                    "oauth2.conf",
                    "introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix=$DIR/keys/\nusername_attribute = email\n",
                ),
                ("keys/default/HS256/default", &STANDARD.encode(key)),
            ],
        );
        dovecot.deliver("cmr", "INBOX", &post(1).write());
        let lines = |command: &str| {
            format!(
                "host = \"localhost\"\nport = {}\nca_file = {CERTIFICATE:?}\noauth2_command = \"{command}\"",
                dovecot.imaps
            )
        };
        let house = house(&account(&lines("cat token")));
        std::fs::write(house.dir().join("token"), token("cmr", key)).unwrap();
        let output = house.run(&["poll", "--once"], b"");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, "box: 1 taken or kept aside, 0 left alone\n", "{mechanism}\n{}", dovecot.log());
        // The first one ran out; the command has another one.
        std::fs::write(house.dir().join("old"), token("cmr", b"another key")).unwrap();
        std::fs::write(house.dir().join("get"), "test -e asked && cat token || { touch asked; cat old; }")
            .unwrap();
        house.configure(&account(&lines("sh get")));
        let output = house.run(&["poll", "--once"], b"");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, "box: 0 taken or kept aside, 0 left alone\n", "{mechanism}\n{}", dovecot.log());
        house.configure(&account(&lines("cat token")));
        std::fs::write(house.dir().join("token"), token("cmr", b"another key")).unwrap();
        let output = house.run(&["poll", "--once"], b"");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with("box: the login is refused: "), "{mechanism}: {said}");
        let shown = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!shown.contains("eyJ"), "a token is never shown: {shown}");
    }
}
