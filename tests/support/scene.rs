//! A gateway with everybody who writes to it: a house, its daemon, and the place where all its mail
//! goes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use cmr_mail::message::Message;
use serde_json::Value;

use super::client::Client;
use super::daemon::{Config, Daemon, House};
use super::messages::Mail;
use super::sink::{self, Sink};

pub(crate) struct Scene {
    pub(crate) sink: Sink,
    pub(crate) house: House,
    pub(crate) daemon: Daemon,
}

impl Scene {
    /// A house that believes its clients about who they are.
    pub(crate) fn new(config: Config) -> Scene {
        Scene::with(config, true)
    }

    pub(crate) fn with(config: Config, believing: bool) -> Scene {
        let sink = Sink::start();
        let config = config.smarthost(sink.address());
        let house = House::new(&if believing { config.trusting_loopback() } else { config });
        let daemon = house.start();
        Scene { sink, house, daemon }
    }

    /// The reply to a mail.
    pub(crate) fn gives(&self, from: &str, to: &str, mail: &[u8]) -> (u16, String) {
        let (mut client, _) = Client::greeted(self.daemon.smtp()).unwrap();
        client.command("EHLO client.test").unwrap();
        let reply = client.send(from, &[to], mail).unwrap();
        (reply.code, reply.text)
    }

    /// A mail that has to be taken.
    pub(crate) fn takes(&self, from: &str, to: &str, mail: &Mail) -> String {
        let (code, text) = self.gives(from, to, &mail.write());
        assert_eq!(code, 250, "{text}");
        self.house.until_idle();
        text
    }

    /// A message of a peer, as peers send them.
    pub(crate) fn peer_sends(&self, message: &Message) {
        let mail = Mail::from("cmr@peer.test").attachments(&[("m.cmr", "base64", &message.write())]);
        self.takes("cmr@peer.test", "cmr@home.test", &mail);
    }

    /// Makes somebody known who has agreed to publishing; forgets the mails of that.
    pub(crate) fn known_person(&self, author: &str) {
        let mail =
            Mail::from(author).field("Subject", "Hello").text("I am new here, and curious about all of you.");
        self.takes(author, "cmr@home.test", &mail);
        let confirm = self.to_people().pop().unwrap().address("cmr+yes-");
        self.takes(author, &confirm, &Mail::from(author).text("yes"));
        self.left();
        self.sink.forget();
    }

    /// Where mail to this person goes, for those who know no more than an alias.
    pub(crate) fn alias(&self, author: &str) -> String {
        let conn = self.house.read_database();
        let (name, token): (String, String) = conn
            .query_row("SELECT name, token FROM person WHERE address = ?1", [author], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        format!("cmr+{name}.{token}@home.test")
    }

    /// Everything that has left, once nothing waits any more.
    pub(crate) fn left(&self) -> Vec<sink::Mail> {
        self.house.until_idle();
        self.sink.mails()
    }

    /// What of it went to people, and not to a peer.
    pub(crate) fn to_people(&self) -> Vec<sink::Mail> {
        self.left().into_iter().filter(|mail| mail.to != ["cmr@peer.test"]).collect()
    }

    /// Stops the daemon; its house.
    pub(crate) fn end(self) -> House {
        assert!(self.daemon.stop().success());
        self.house
    }
}

/// What Python's email package says about a mail of ours, which has no defects.
pub(crate) fn python(mail: &[u8]) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/read_mail.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 reads the mails that we write: please install it");
    child.stdin.take().unwrap().write_all(mail).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["defects"], serde_json::json!([]), "{}", mail.escape_ascii());
    found
}
