//! What was said on a connection, for the operator who wants to know why a mail did not go out.
//!
//! Pure: bytes of both sides in, lines out. It never holds what a login says nor what a mail
//! holds, and it is bounded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is kept of one transaction, in bytes.
const MOST: usize = 4096;
/// What is kept of a line.
const LINE: usize = 512;
/// Lines at the beginning that stay when there are too many: connecting and the greeting.
const FIRST: usize = 6;

/// What the client's next bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Client {
    #[default]
    Command,
    /// The answer to a challenge (334).
    Secret,
    /// The mail (after 354).
    Mail,
}

#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    bytes: usize,
    left_out: usize,
    client: Client,
    partial: Vec<u8>,
    mail: usize,
}

/// A transcript that a connection writes and its user reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript(Arc<Mutex<Said>>);

impl Transcript {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another transaction begins on the same connection.
    pub(crate) fn begin_again(&self) {
        let mut said = self.said();
        *said = Said::default();
        said.line("(on a connection that was open already)".to_owned());
    }

    /// Something that no side said.
    pub(super) fn note(&self, line: &str) {
        self.said().line(format!("({line})"));
    }

    /// What we sent, in whatever pieces.
    pub(super) fn client(&self, bytes: &[u8]) {
        let mut said = self.said();
        if said.client == Client::Mail {
            said.mail = said.mail.saturating_add(bytes.len());
            return;
        }
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut said.partial);
                let text = match said.client {
                    Client::Secret => "> ***".to_owned(),
                    _ => command(&line),
                };
                said.line(text);
            } else if said.partial.len() < LINE {
                said.partial.push(byte);
            }
        }
    }

    /// A line of the server, in order.
    pub(super) fn server(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        let mut said = self.said();
        if said.mail > 0 {
            let mail = std::mem::take(&mut said.mail);
            said.line(format!("> (the mail, {mail} bytes)"));
        }
        said.client = match line.split_at_checked(3) {
            Some(("354", _)) => Client::Mail,
            Some(("334", _)) => Client::Secret,
            _ => Client::Command,
        };
        // A challenge may hold what is secret, too.
        let shown = if said.client == Client::Secret { "334 ***" } else { line };
        said.line(format!("< {shown}"));
    }

    /// All of it, a line each; empty if nothing was said.
    pub(crate) fn text(&self) -> String {
        let mut said = self.said();
        if said.mail > 0 {
            let mail = std::mem::take(&mut said.mail);
            said.line(format!("> (the mail, {mail} bytes, without an answer)"));
        }
        let mut lines = said.lines.clone();
        if said.left_out > 0 {
            lines.insert(FIRST.min(lines.len()), format!("({} lines are left out)", said.left_out));
        }
        lines.join("\n")
    }
}

impl Said {
    fn line(&mut self, mut line: String) {
        while line.len() > LINE {
            line.pop();
        }
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push(line);
        while self.bytes > MOST && self.lines.len() > FIRST {
            let gone = self.lines.remove(FIRST);
            self.bytes = self.bytes.saturating_sub(gone.len());
            self.left_out = self.left_out.saturating_add(1);
        }
    }
}

/// A command as it is shown: of a login only the mechanism.
fn command(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let clean: String = text.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let mut words = clean.split_whitespace();
    match words.next() {
        Some(verb) if verb.eq_ignore_ascii_case("AUTH") => {
            format!("> AUTH {} ***", words.next().unwrap_or_default())
        }
        _ => format!("> {clean}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_login_nor_a_mail_is_kept() {
        let transcript = Transcript::default();
        transcript.server(b"220 mx.example.net ESMTP\r\n");
        transcript.client(b"EHLO us\r\n");
        transcript.server(b"250-mx\r\n");
        transcript.server(b"250 AUTH PLAIN LOGIN\r\n");
        transcript.client(b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n");
        transcript.server(b"334 Y2hhbGxlbmdl\r\n");
        transcript.client(b"c2VjcmV0");
        transcript.client(b"\r\nMAIL FROM:<x>\r\n");
        transcript.server(b"235 ok\r\n");
        transcript.client(b"DATA\r\n");
        transcript.server(b"354 go on\r\n");
        transcript.client(b"Subject: secret\r\n\r\nAUTH secret words\r\n");
        transcript.client(b".\r\n");
        transcript.server(b"550 5.7.1 spam\r\n");
        transcript.client(b"QUIT\r\n");
        let text = transcript.text();
        assert_eq!(
            text,
            "< 220 mx.example.net ESMTP\n> EHLO us\n< 250-mx\n< 250 AUTH PLAIN LOGIN\n> AUTH PLAIN ***\n< 334 ***\n\
             > ***\n> ***\n< 235 ok\n> DATA\n< 354 go on\n> (the mail, 41 bytes)\n< 550 5.7.1 spam\n> QUIT"
        );
        transcript.begin_again();
        assert_eq!(transcript.text(), "(on a connection that was open already)");
    }

    #[test]
    fn it_is_bounded_and_keeps_both_ends() {
        let transcript = Transcript::default();
        transcript.server(b"220 first\r\n");
        for n in 0..10_000 {
            transcript.server(format!("250-{n} {}\r\n", "\u{e9}".repeat(1000)).as_bytes());
        }
        transcript.client(&vec![b'x'; 1 << 20]);
        transcript.server(b"550 last\r\n");
        let text = transcript.text();
        assert!(text.len() < MOST + 2 * LINE, "{}", text.len());
        assert!(text.starts_with("< 220 first\n") && text.ends_with("\n< 550 last"), "{text}");
        assert!(text.contains("lines are left out"), "{text}");
    }
}
