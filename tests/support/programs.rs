//! Mail programs of others that deliver to us: swaks, and Python's smtplib.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::client::Reply;

/// A program that submits mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Swaks,
    Smtplib,
}

/// Submits the mail on standard input, as smtplib's `sendmail` does, and prints the reply that
/// settled its fate.
const SMTPLIB: &str = r#"
import smtplib, sys
host, port, sender, recipient = sys.argv[1:5]
mail = sys.stdin.buffer.read()
s = smtplib.SMTP(host, int(port), local_hostname="client.test", timeout=120)
s.ehlo_or_helo_if_needed()
options = ["size=%d" % len(mail)] if s.has_extn("size") else []
code, text = s.mail(sender, options)
if code == 250:
    code, text = s.rcpt(recipient)
    if code in (250, 251):
        code, text = s.data(mail)
sys.stdout.write("%d %s\n" % (code, text.decode("ascii").replace("\n", " ")))
try:
    s.quit()
except smtplib.SMTPServerDisconnected:
    pass
"#;

impl Program {
    pub(crate) const ALL: [Program; 2] = [Program::Swaks, Program::Smtplib];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Program::Swaks => "swaks",
            Program::Smtplib => "smtplib",
        }
    }

    /// Submits a mail; the reply that settled its fate. An empty sender is the null sender.
    pub(crate) fn submit(self, server: SocketAddr, from: &str, to: &str, mail: &[u8]) -> Reply {
        match self {
            Program::Swaks => swaks(server, from, to, mail),
            Program::Smtplib => smtplib(server, from, to, mail),
        }
    }
}

/// Runs a program that must be there. `package`: the one of Debian that brings it.
fn run(command: &mut Command, package: &str, input: &[u8]) -> (String, String) {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{name} can't be run ({e}): apt-get install {package}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feed = std::thread::spawn(move || {
        // A program that has heard enough closes its input.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn swaks(server: SocketAddr, from: &str, to: &str, mail: &[u8]) -> Reply {
    let (out, err) = run(
        Command::new("swaks")
            .args(["--server", &server.ip().to_string(), "--port", &server.port().to_string()])
            .args(["--from", if from.is_empty() { "<>" } else { from }])
            .args(["--to", to, "--helo", "client.test", "--timeout", "120", "--data", "-"]),
        "swaks",
        mail,
    );
    // The transcript marks what it heard with "<-", and with "<**" where it did not like it.
    let mut heard: Vec<(&str, bool)> = Vec::new();
    for line in out.lines() {
        if let Some(rest) = line.strip_prefix("<** ") {
            heard.push((rest.trim(), false));
        } else if let Some(rest) = line.strip_prefix("<-  ") {
            heard.push((rest.trim(), true));
        }
    }
    let refused = heard.iter().find(|(_, liked)| !liked);
    // The last but one: "221" follows it.
    let settled = refused.or_else(|| heard.iter().rev().find(|(text, _)| !text.starts_with("221")));
    let Some((text, _)) = settled else { panic!("swaks heard nothing:\n{out}\n{err}") };
    reply(text).unwrap_or_else(|| panic!("no reply: {text:?}\n{out}\n{err}"))
}

fn smtplib(server: SocketAddr, from: &str, to: &str, mail: &[u8]) -> Reply {
    let (out, err) = run(
        Command::new("python3").args(["-c", SMTPLIB]).args([
            &server.ip().to_string(),
            &server.port().to_string(),
            from,
            to,
        ]),
        "python3",
        mail,
    );
    reply(out.trim()).unwrap_or_else(|| panic!("smtplib heard nothing:\n{out}\n{err}"))
}

fn reply(line: &str) -> Option<Reply> {
    let code = line.get(..3)?.parse().ok()?;
    Some(Reply { code, text: line.get(4..).unwrap_or_default().to_owned() })
}
