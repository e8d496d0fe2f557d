//! Encryption and logins.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::dovecot::{CERTIFICATE, Dovecot};
use super::reading::{house, post};
use super::support::daemon::Config;

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
        ("a command that fails", format!("host = \"localhost\"\nport = {imaps}\nca_file = {CERTIFICATE:?}\npassword_command = \"echo no key >&2; exit 1\""), Some("the password command failed (exit status: 1): no key")),
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
        assert_eq!(said, "box: 1 taken, 0 left alone\n", "{mechanism}\n{}", dovecot.log());
        std::fs::write(house.dir().join("token"), token("cmr", b"another key")).unwrap();
        let output = house.run(&["poll", "--once"], b"");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with("box: the login is refused: "), "{mechanism}: {said}");
        let shown = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!shown.contains("eyJ"), "a token is never shown: {shown}");
    }
}
