//! What each command does.

use std::time::Duration;

use super::{Action, Envelope, Phase, Session, Transaction};
use crate::smtp::command::{Command, Hello};
use crate::smtp::data::Data;
use crate::smtp::path::{Mailbox, Path};
use crate::smtp::xforward::{self, Forwarded};
use crate::smtp::{Mode, Reply};

impl Session {
    pub(super) fn execute(&mut self, command: Command, now: Duration) {
        match command {
            Command::Rcpt { to } => return self.rcpt(to),
            Command::Data => return self.data(now),
            Command::Quit => return self.end(&Reply::new(221, 0, 0, "Goodbye")),
            _ => {}
        }
        if !self.count_command() {
            return;
        }
        match command {
            Command::Hello { kind, name } => self.hello(kind, name),
            Command::Mail { from, size, utf8 } => self.mail(from, size, utf8),
            Command::StartTls => self.start_tls(now),
            Command::Xforward { attributes } => self.xforward(&attributes),
            Command::Rset => {
                self.reset();
                self.send(&Reply::new(250, 0, 0, "Reset"));
            }
            Command::Noop => self.send(&Reply::new(250, 0, 0, "Done nothing")),
            Command::Help => {
                self.send(&Reply::new(214, 0, 0, "RFC 5321 is spoken here; postmaster reaches a person"))
            }
            Command::Vrfy => {
                self.send(&Reply::new(252, 0, 0, "Send the mail and see; nobody is looked up"));
            }
            Command::NotOffered => self.refuse(&Reply::new(502, 5, 1, "Not offered here")),
            Command::Bdat => {
                // A chunk follows, and its lines must not run as commands.
                self.end(&Reply::new(502, 5, 1, "BDAT is not offered here"));
            }
            Command::Http => self.end(&Reply::new(554, 5, 1, "This is SMTP, not HTTP")),
            Command::Rcpt { .. } | Command::Data | Command::Quit => {}
        }
    }

    fn hello(&mut self, kind: Hello, name: String) {
        if (kind == Hello::Lhlo) != (self.config.mode == Mode::Lmtp) {
            let right = if self.config.mode == Mode::Lmtp { "LHLO" } else { "EHLO" };
            return self.refuse(&Reply::new(500, 5, 1, &format!("Say {right} here")));
        }
        self.reset();
        let mut lines = vec![self.config.hostname.clone()];
        if kind != Hello::Helo {
            lines.push("PIPELINING".to_owned());
            lines.push(format!("SIZE {}", self.config.limits.max_message));
            lines.push("8BITMIME".to_owned());
            lines.push("SMTPUTF8".to_owned());
            lines.push("ENHANCEDSTATUSCODES".to_owned());
            if self.config.starttls && !self.tls {
                lines.push("STARTTLS".to_owned());
            }
            if self.relay {
                lines.push(xforward::KEYWORD.to_owned());
            }
        }
        self.hello = Some((kind, name));
        self.send(&Reply::plain(250, lines));
    }

    fn mail(&mut self, from: Path, size: u64, utf8: bool) {
        if self.hello.is_none() {
            let right = if self.config.mode == Mode::Lmtp { "LHLO" } else { "EHLO" };
            return self.refuse(&Reply::new(503, 5, 1, &format!("Say {right} first")));
        }
        if self.envelope.is_some() {
            return self.refuse(&Reply::new(503, 5, 1, "A mail is open already"));
        }
        let max = self.config.limits.max_message;
        if usize::try_from(size).map_or(true, |size| size > max) {
            let text = format!("The mail has {size} bytes by SIZE, at most {max} are taken");
            return self.refuse(&Reply::too_big(&text));
        }
        let sender = match from {
            Path::Null => None,
            Path::Postmaster => Some(self.own_postmaster()),
            Path::Mailbox(mailbox) => Some(mailbox.to_string()),
        };
        self.envelope = Some(Envelope { sender, utf8, recipients: Vec::new() });
        self.send(&Reply::new(250, 1, 0, "Sender ok"));
    }

    fn rcpt(&mut self, to: Path) {
        let max = self.config.limits.max_recipients;
        let Some(envelope) = &self.envelope else {
            return self.refuse(&Reply::new(503, 5, 1, "MAIL comes before RCPT"));
        };
        if envelope.recipients.len() >= max {
            if self.count_command() {
                let text = format!("At most {max} recipients; send the others another mail");
                self.send(&Reply::new(452, 5, 3, &text));
            }
            return;
        }
        let recipient = match to {
            Path::Null => {
                return self.refuse(&Reply::new(501, 1, 3, "A recipient can't be empty"));
            }
            Path::Postmaster => self.own_postmaster(),
            Path::Mailbox(mailbox) => {
                if mailbox.needs_utf8() && !envelope.utf8 {
                    let text = "This recipient needs SMTPUTF8 behind MAIL";
                    return self.refuse(&Reply::new(553, 6, 7, text));
                }
                if !self.config.recipients.accepts(&mailbox) {
                    return self.refuse(&no_such_address(&mailbox));
                }
                mailbox.to_string()
            }
        };
        if let Some(envelope) = &mut self.envelope {
            envelope.recipients.push(recipient);
        }
        self.send(&Reply::new(250, 1, 5, "Recipient ok"));
    }

    fn data(&mut self, now: Duration) {
        match &self.envelope {
            None => self.refuse(&Reply::new(503, 5, 1, "MAIL and RCPT come before DATA")),
            Some(envelope) if envelope.recipients.is_empty() => {
                self.refuse(&Reply::new(554, 5, 1, "No valid recipients"));
            }
            Some(_) => {
                let text = "Send the mail, end it with <CR><LF>.<CR><LF>".to_owned();
                self.send(&Reply::plain(354, vec![text]));
                self.begin(Phase::Data(Data::new(self.config.limits.max_message)), now);
            }
        }
    }

    fn start_tls(&mut self, now: Duration) {
        if !self.config.starttls {
            return self.refuse(&Reply::new(502, 5, 1, "STARTTLS is not offered here"));
        }
        if self.tls {
            return self.refuse(&Reply::new(503, 5, 1, "TLS is active already"));
        }
        if self.envelope.is_some() {
            return self.refuse(&Reply::new(503, 5, 1, "Not while a mail is open"));
        }
        self.send(&Reply::new(220, 0, 0, "Begin TLS"));
        self.actions.push_back(Action::StartTls);
        // Whatever stands behind the command came in clear and could be anyone's.
        self.input = Vec::new();
        self.taken = 0;
        self.reset();
        self.hello = None;
        self.begin(Phase::Handshake, now);
    }

    fn xforward(&mut self, attributes: &str) {
        if !self.relay {
            return self.refuse(&Reply::new(500, 5, 1, "Command not recognised"));
        }
        if self.envelope.is_some() {
            return self.refuse(&Reply::new(503, 5, 1, "XFORWARD comes before MAIL"));
        }
        match self.forwarded.take(attributes) {
            Ok(()) => self.send(&Reply::new(250, 0, 0, "Noted")),
            Err(reason) => self.refuse(&Reply::new(501, 5, 4, reason)),
        }
    }

    /// Forgets the open mail, and whom the relay said it is from: the next mail's client is
    /// unknown until the relay names it.
    fn reset(&mut self) {
        self.envelope = None;
        self.forwarded = Forwarded::default();
    }

    /// Takes the open mail's envelope; its text is still to be put in.
    pub(super) fn end_transaction(&mut self) -> Transaction {
        let Forwarded { client, helo } = std::mem::take(&mut self.forwarded);
        let (origin, helo) = match (self.relay, self.config.mode) {
            // A relay is no author, and neither is what was handed in on its own machine.
            (true, _) => {
                (client.filter(|client| !client.is_loopback() && !self.config.is_relay(*client)), helo)
            }
            // What hands mail over by LMTP is a neighbour on this machine, not its author.
            (false, Mode::Lmtp) => (None, None),
            (false, Mode::Smtp) => (self.client, self.hello.as_ref().map(|(_, name)| name.clone())),
        };
        let envelope = self.envelope.take();
        let (sender, recipients, utf8) = match envelope {
            Some(envelope) => (envelope.sender, envelope.recipients, envelope.utf8),
            None => (None, Vec::new(), false),
        };
        Transaction {
            sender,
            recipients,
            raw: Vec::new(),
            origin,
            through_relay: self.relay,
            helo,
            tls: self.tls,
            utf8,
        }
    }

    fn own_postmaster(&self) -> String {
        format!("postmaster@{}", self.config.hostname)
    }
}

fn no_such_address(mailbox: &Mailbox) -> Reply {
    Reply::no_such_address(&format!("No such address here: {mailbox}"))
}
