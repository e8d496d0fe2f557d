//! CMR over SSH, outwards: the system's ssh, with the message on standard input.
//!
//! Where it goes, as whom and what runs there stands in the configuration; nothing of it comes from a
//! header. ssh asks nobody anything (BatchMode) and speaks only with hosts whose keys it knows.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::outcome::{Outcome, Reply, Trouble};

/// What is read of what the far end says.
const SAYS: u64 = 4096;

/// How one peer is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The program: `ssh`.
    pub program: PathBuf,
    /// `[user@]host`, or a name of ssh's own configuration.
    pub destination: String,
    /// The port, if it is not what ssh takes by itself.
    pub port: Option<u16>,
    /// What runs at the far end.
    pub command: String,
    /// The private key.
    pub identity: Option<PathBuf>,
    /// The host keys that are believed; those of the user and the system if none is named.
    pub known_hosts: Option<PathBuf>,
    /// How long it may take in all.
    pub limit: Duration,
}

impl Way {
    /// The arguments of the program.
    fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = ["-T", "-x", "-a"].map(OsString::from).to_vec();
        for option in
            ["BatchMode=yes", "StrictHostKeyChecking=yes", "ClearAllForwardings=yes", "PermitLocalCommand=no"]
        {
            all.extend([OsString::from("-o"), OsString::from(option)]);
        }
        if let Some(file) = &self.known_hosts {
            let mut option = OsString::from("UserKnownHostsFile=");
            option.push(quoted(file));
            all.extend([OsString::from("-o"), option]);
        }
        if let Some(file) = &self.identity {
            all.extend([
                OsString::from("-i"),
                file.into(),
                OsString::from("-o"),
                OsString::from("IdentitiesOnly=yes"),
            ]);
        }
        if let Some(port) = self.port {
            all.extend([OsString::from("-p"), OsString::from(port.to_string())]);
        }
        all.extend([OsString::from("--"), OsString::from(&self.destination), OsString::from(&self.command)]);
        all
    }
}

/// ssh takes blanks in this option for the ends of file names.
fn quoted(file: &std::path::Path) -> OsString {
    let mut text = OsString::from("\"");
    text.push(file);
    text.push("\"");
    text
}

/// Sends a message. The far end says by its exit code what became of it: 0 taken, 65 refused for
/// good (sysexits: bad data), anything else later.
pub async fn send(way: &Way, message: &[u8]) -> Outcome {
    match tokio::time::timeout(way.limit, run(way, message)).await {
        Ok(Ok((code, said))) => judge(code, &said),
        Ok(Err(error)) => {
            let reason = format!("{}: {error}", way.program.display());
            Outcome::Retry { trouble: Trouble::Configuration, reason }
        }
        Err(_) => Outcome::Retry {
            trouble: Trouble::Network,
            reason: format!("ssh took longer than {} s", way.limit.as_secs()),
        },
    }
}

async fn run(way: &Way, message: &[u8]) -> std::io::Result<(Option<i32>, String)> {
    let mut child = Command::new(&way.program)
        .args(way.arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (input, output) = (child.stdin.take(), child.stderr.take());
    let write = async {
        if let Some(mut input) = input {
            // Who does not read it says why by its exit code.
            let _ = input.write_all(message).await;
        }
    };
    let read = async {
        let mut said = Vec::new();
        if let Some(mut output) = output {
            let _ = (&mut output).take(SAYS).read_to_end(&mut said).await;
            // Read to the end, so that the program is not held up.
            let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
        }
        said
    };
    let ((), said) = tokio::join!(write, read);
    let status = child.wait().await?;
    Ok((status.code(), one_line(&said)))
}

fn judge(code: Option<i32>, said: &str) -> Outcome {
    let colon = if said.is_empty() { "" } else { ": " };
    match code {
        Some(0) => Outcome::Done(Reply { code: 200, text: said.to_owned() }),
        Some(65) => Outcome::Fail { reason: format!("the far end refused it{colon}{said}"), reply: None },
        Some(255) => Outcome::Retry { trouble: Trouble::Network, reason: format!("ssh failed{colon}{said}") },
        Some(75) => {
            Outcome::Retry { trouble: Trouble::Later, reason: format!("the far end says later{colon}{said}") }
        }
        Some(code) => Outcome::Retry {
            trouble: Trouble::Later,
            reason: format!("the command at the far end ended with exit code {code}{colon}{said}"),
        },
        None => Outcome::Retry { trouble: Trouble::Network, reason: format!("ssh was killed{colon}{said}") },
    }
}

fn one_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(program: &str, command: &str) -> Way {
        Way {
            program: program.into(),
            destination: "cmr@peer.example".to_owned(),
            port: None,
            command: command.to_owned(),
            identity: None,
            known_hosts: None,
            limit: Duration::from_secs(30),
        }
    }

    #[test]
    fn nothing_that_is_configured_can_be_an_option() {
        let way = Way {
            destination: "-oProxyCommand=evil".to_owned(),
            port: Some(2222),
            identity: Some("/etc/key".into()),
            known_hosts: Some("/etc/known hosts".into()),
            ..way("ssh", "-x")
        };
        let arguments: Vec<String> =
            way.arguments().iter().map(|it| it.to_string_lossy().into_owned()).collect();
        assert_eq!(arguments.last().map(String::as_str), Some("-x"));
        let end = arguments.iter().position(|it| it == "--").unwrap();
        assert_eq!(end + 3, arguments.len(), "{arguments:?}");
        assert!(arguments.contains(&"BatchMode=yes".to_owned()));
        assert!(arguments.contains(&"StrictHostKeyChecking=yes".to_owned()));
        assert!(arguments.contains(&"UserKnownHostsFile=\"/etc/known hosts\"".to_owned()));
    }

    /// A program in place of ssh that does what stands behind `--` and the destination.
    fn played(dir: &std::path::Path) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = dir.join("ssh");
        std::fs::write(&path, "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nexec sh -c \"$3\"\n")
            .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_string_lossy().into_owned()
    }

    #[tokio::test]
    async fn what_the_far_end_says() {
        let dir = tempfile::tempdir().unwrap();
        let program = played(dir.path());
        let into = dir.path().join("came");
        let table = [
            (format!("cat > {}", into.display()), "done "),
            ("cat >/dev/null; echo known >&2".to_owned(), "done known"),
            ("echo 'no\u{1b}[1m good' >&2; exit 65".to_owned(), "never the far end refused it: no [1m good"),
            ("exit 75".to_owned(), "later the far end says later"),
            ("exit 3".to_owned(), "later the command at the far end ended with exit code 3"),
            ("echo 'no route' >&2; exit 255".to_owned(), "network ssh failed: no route"),
            ("kill -9 $$".to_owned(), "network ssh was killed"),
        ];
        let message = vec![b'x'; 200_000];
        for (command, expected) in table {
            let got = match send(&way(&program, &command), &message).await {
                Outcome::Done(reply) => format!("done {}", reply.text),
                Outcome::Fail { reason, .. } | Outcome::Unrelated { reason } => format!("never {reason}"),
                Outcome::Retry { trouble, reason } => format!("{trouble} {reason}"),
            };
            assert_eq!(got, expected, "{command}");
        }
        assert_eq!(std::fs::read(into).unwrap(), message);
        let slow = Way { limit: Duration::from_millis(50), ..way(&program, "sleep 100") };
        let Outcome::Retry { trouble: Trouble::Network, reason } = send(&slow, b"").await else { panic!() };
        assert!(reason.contains("took longer"), "{reason}");
        let none = send(&way("/nowhere/ssh", "true"), b"").await;
        assert!(matches!(none, Outcome::Retry { trouble: Trouble::Configuration, .. }), "{none:?}");
    }
}
