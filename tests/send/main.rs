//! Submission against a server that follows a script: every file in `dialogues/` is one.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::string_slice
)]

#[path = "../support/scripted.rs"]
mod scripted;

mod connections;
mod direct;
mod queue;

use cmr_mail::config::Password;
use cmr_mail::send::mailto::{
    Deadlines, Login, Mailto, Reuse, Secret, Security, Smarthost, Submission, Tokens,
};
use cmr_mail::send::outcome::Outcome;
use scripted::{Scripted, unescape};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MAIL: &[u8] = b"Subject: s\r\n\r\nhello\r\n";

/// A dialogue file: settings, the server's steps, and what became of each submission.
#[derive(Default)]
struct Dialogue {
    security: Option<Security>,
    distrust: bool,
    login: Option<(String, String)>,
    /// A user and the access tokens that its command prints, one after the other; the last for ever.
    tokens: Option<(String, Vec<String>)>,
    sender_null: bool,
    recipient: Option<String>,
    mail: Option<Vec<u8>>,
    deadlines: Deadlines,
    reuse: Option<Reuse>,
    steps: Vec<String>,
    outcomes: Vec<String>,
}

impl Dialogue {
    fn read(path: &Path) -> Self {
        let mut dialogue = Self::default();
        for line in std::fs::read_to_string(path).expect("readable").lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "" | "#" => {}
                "security" => {
                    dialogue.security = Some(match rest {
                        "starttls" => Security::StartTls,
                        "tls" => Security::Tls,
                        other => panic!("{other}"),
                    });
                }
                "distrust" => dialogue.distrust = true,
                "login" => {
                    let (user, password) = rest.split_once(' ').expect("user and password");
                    dialogue.login = Some((user.to_owned(), password.to_owned()));
                }
                "tokens" => {
                    let mut words = rest.split(' ').map(str::to_owned);
                    dialogue.tokens = Some((words.next().expect("a user"), words.collect()));
                }
                "sender-null" => dialogue.sender_null = true,
                "recipient" => dialogue.recipient = Some(rest.to_owned()),
                "mail" => dialogue.mail = Some(unescape(rest)),
                // The one deadline that the dialogue is about, and no other: a machine under load
                // must not meet one before.
                "command-ms" => dialogue.deadlines.command = milliseconds(rest),
                "dot-ms" => dialogue.deadlines.dot = milliseconds(rest),
                "mails-per-connection" => {
                    dialogue.reuse =
                        Some(Reuse { mails: rest.parse().expect("a number"), ..Reuse::default() });
                }
                "=" => dialogue.outcomes.push(rest.to_owned()),
                _ => dialogue.steps.push(line.to_owned()),
            }
        }
        assert!(!dialogue.outcomes.is_empty(), "{} expects nothing", path.display());
        dialogue
    }

    async fn run(self) -> Result<(), String> {
        let server = Scripted::play(self.steps);
        let port = server.address.port();
        let scheme = match self.security {
            None | Some(Security::Plain) => "smtp",
            Some(Security::StartTls) => "smtp+starttls",
            Some(Security::Tls) => "smtps",
        };
        let mut host = Smarthost::parse(&format!("{scheme}://127.0.0.1:{port}")).expect("url");
        if !self.distrust {
            let ca = include_bytes!("../data/tls/ca.pem");
            host = host.with_authorities(ca).expect("authorities");
        }
        if let Some((user, password)) = self.login {
            let secret = Secret::Password(password.into());
            host = host.with_login(Login { user, secret }).expect("login");
        }
        let place = tempfile::tempdir().expect("a directory");
        if let Some((user, tokens)) = self.tokens {
            std::fs::write(place.path().join("tokens"), tokens.join("\n") + "\n").expect("written");
            let command = "echo x >> asked; head -n $(wc -l < asked) tokens | tail -n 1".to_owned();
            let command = Password::Command { command, directory: place.path().to_owned() };
            let secret = Secret::Tokens(Tokens::of(command));
            host = host.with_login(Login { user, secret }).expect("login");
        }
        let reuse = self.reuse.unwrap_or_default();
        let mailto = Mailto::with(host, "gw.example", self.deadlines, reuse).expect("mailto");
        let submission = Submission {
            envelope_sender: (!self.sender_null).then(|| "bounces@gw.example".to_owned()),
            recipient: self.recipient.unwrap_or("ann@example.net".to_owned()),
            mail: self.mail.unwrap_or(MAIL.to_vec()),
            configured: false,
        };
        for expected in self.outcomes {
            let got = match mailto.submit(&submission).await {
                Ok(receipt) => format!("done {}", receipt.reply),
                Err(error) => match mailto.outcome(&error) {
                    Outcome::Done(reply) => panic!("an error is done: {reply}"),
                    Outcome::Retry { trouble, reason } => format!("retry {trouble} {reason}"),
                    Outcome::Fail { reason, .. } | Outcome::Unrelated { reason } => format!("fail {reason}"),
                },
            };
            // An ellipsis stands for what the system's libraries word.
            let fits = match expected.split_once('…') {
                Some((start, end)) => got.starts_with(start) && got.ends_with(end),
                None => got == expected,
            };
            if !fits {
                return Err(format!("expected {expected:?}, got {got:?}"));
            }
        }
        mailto.close().await;
        drop(mailto);
        tokio::task::spawn_blocking(|| server.finish()).await.expect("joined")
    }
}

fn milliseconds(text: &str) -> Duration {
    Duration::from_millis(text.parse().expect("ms"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialogues() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/send/dialogues");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let mut faults = Vec::new();
    let mut tasks = Vec::new();
    for file in &files {
        let dialogue = Dialogue::read(file);
        tasks.push((file, tokio::spawn(dialogue.run())));
    }
    for (file, task) in tasks {
        if let Err(fault) = task.await.expect("no panic") {
            faults.push(format!("{}: {fault}", file.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(files.len() >= 40, "only {} dialogues", files.len());
    println!("{} dialogues", files.len());
}
