//! The session of a mail server that hands its mail through us to the next one: the server's side,
//! in which nothing is decided. Every question of the envelope goes to the owner, who asks the next
//! hop; the text is given out in pieces as it comes; the end of the text waits for the owner's word.
//!
//! The client is a mail server of the same house, which has judged its mail already. So every
//! address that it lets through passes (`root`, quoted local parts, `a..b@x`), commands pass as
//! they are written, parameters included, and there are no limits against strangers.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::client::Offered;
use super::path;
use super::text::Unstuff;
use super::xforward::{self, Forwarded};
use super::{Mailbox, Reply};

/// What a filter says in its greeting behind its name. Another filter that meets it says how many
/// filters the mail has passed ([`HOPS_VERB`]), before its hello.
pub const GREETING: &str = "cmr-mail filter";
/// The command by which a filter tells another how many filters are in front of it.
pub const HOPS_VERB: &str = "XCMRHOPS";
/// Filters in a row before it is a circle.
pub const MOST_FILTERS: u32 = 3;

/// Bytes of a command line. RFC 5321 and the extensions come to about 2,000; Postfix reads 2,048.
const MAX_LINE: usize = 12 * 1024;
/// Refused commands in a session before it is closed.
const MAX_ERRORS: u32 = 20;
/// Recipients of one mail. The next hop's own limit comes long before.
const MAX_RECIPIENTS: usize = 10_000;

/// `MAIL`, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailLine {
    /// The whole command without its CRLF.
    pub line: Vec<u8>,
    /// The address without brackets, quotes only where they are needed; `None` is the null sender.
    pub address: Option<String>,
    /// SIZE, if it was declared.
    pub size: Option<u64>,
}

/// `RCPT`, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RcptLine {
    /// The whole command without its CRLF.
    pub line: Vec<u8>,
    /// The address without brackets, quotes only where they are needed.
    pub address: String,
}

/// What the owner of the socket is to do next, in the order it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write these bytes. They may be gathered until [`RelaySession::poll`] has nothing more.
    Send(Vec<u8>),
    /// The client says hello, behind so many filters. Call [`RelaySession::offer`] with what the
    /// next hop offers, or [`RelaySession::answer`] with the reason why not.
    Hello(u32),
    /// A mail begins; call [`RelaySession::answer`].
    Mail(MailLine),
    /// A recipient; call [`RelaySession::answer`].
    Rcpt(RcptLine),
    /// The mail under way is given up by the client.
    Abandon,
    /// The next bytes of the mail, dots undone.
    Text(Vec<u8>),
    /// The mail is whole; call [`RelaySession::settle`]. `true`: it is not clear to every server
    /// where it ends ([`Unstuff::is_doubtful`]).
    Whole(bool),
    /// Write what was gathered and close the connection. Nothing comes after this.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hello {
    Helo,
    Ehlo,
    Lhlo,
}

#[derive(Debug)]
enum Phase {
    Command,
    /// The owner is asked about a hello, a sender or a recipient.
    Hello(Hello),
    Mail,
    Rcpt,
    Text(Unstuff),
    Whole,
    Closed,
}

/// One connection's dialogue, the server's side.
#[derive(Debug)]
pub struct RelaySession {
    hostname: String,
    input: Vec<u8>,
    taken: usize,
    steps: VecDeque<Step>,
    phase: Phase,
    hello: Option<Hello>,
    filters: u32,
    forwarded: Forwarded,
    attributes: Vec<String>,
    /// The recipients accepted of the open mail; `None`: no mail is open.
    accepted: Option<usize>,
    errors: u32,
    finish: Option<Reply>,
}

impl RelaySession {
    /// A session for a client that has just connected; the greeting is its first step.
    #[must_use]
    pub fn new(hostname: &str) -> Self {
        let greeting = Reply::plain(220, vec![format!("{hostname} ESMTP {GREETING}")]);
        RelaySession {
            hostname: hostname.to_owned(),
            input: Vec::new(),
            taken: 0,
            steps: VecDeque::from([Step::Send(greeting.to_bytes())]),
            phase: Phase::Command,
            hello: None,
            filters: 0,
            forwarded: Forwarded::default(),
            attributes: Vec::new(),
            accepted: None,
            errors: 0,
            finish: None,
        }
    }

    /// Takes bytes that came from the client, cut anywhere. Read on only after
    /// [`poll`](RelaySession::poll) has nothing more.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !matches!(self.phase, Phase::Closed) {
            self.input.extend_from_slice(bytes);
        }
    }

    /// What is to be done next; `None` when the session waits for bytes or for the owner's word.
    pub fn poll(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return Some(step);
            }
            if !self.step() {
                self.input.drain(..self.taken.min(self.input.len()));
                self.taken = 0;
                return None;
            }
        }
    }

    /// The answer to the client's hello: what the next hop offers, as far as it can be passed on.
    /// CHUNKING, STARTTLS and AUTH never are.
    pub fn offer(&mut self, next: &Offered) {
        let Phase::Hello(kind) = self.phase else { return };
        let mut lines = vec![self.hostname.clone()];
        if kind != Hello::Helo {
            lines.push("PIPELINING".to_owned());
            for name in ["SIZE", "8BITMIME", "SMTPUTF8", "DSN"] {
                match next.get(name) {
                    Some("") => lines.push(name.to_owned()),
                    Some(parameters) => lines.push(format!("{name} {parameters}")),
                    None => {}
                }
            }
            lines.push("ENHANCEDSTATUSCODES".to_owned());
            lines.push(xforward::KEYWORD.to_owned());
        }
        self.hello = Some(kind);
        self.phase = Phase::Command;
        self.steps.push_back(Step::Send(Reply::plain(250, lines).to_bytes()));
    }

    /// The answer to [`Step::Mail`], [`Step::Rcpt`], or the refusal of a [`Step::Hello`]. A 421
    /// ends the session.
    pub fn answer(&mut self, reply: &Reply) {
        let good = reply.code() < 300;
        match self.phase {
            Phase::Hello(_) => {}
            Phase::Mail if good => self.accepted = Some(0),
            Phase::Rcpt if good => self.accepted = self.accepted.map(|number| number.saturating_add(1)),
            Phase::Mail => self.forget(),
            Phase::Rcpt => {}
            _ => return,
        }
        self.phase = Phase::Command;
        if reply.code() == 421 { self.end(reply) } else { self.send(reply) }
    }

    /// What became of the mail of [`Step::Whole`]: the first reply, or for a client that speaks
    /// LMTP one for each accepted recipient, the last one again where there are too few.
    pub fn settle(&mut self, replies: &[Reply]) {
        if !matches!(self.phase, Phase::Whole) {
            return;
        }
        let times = if self.hello == Some(Hello::Lhlo) { self.accepted.unwrap_or(0) } else { 1 };
        let trouble = Reply::trouble("No verdict; try again later");
        let last = replies.last().unwrap_or(&trouble);
        for reply in replies.iter().chain(std::iter::repeat(last)).take(times) {
            self.steps.push_back(Step::Send(reply.to_bytes()));
        }
        self.forget();
        self.phase = Phase::Command;
    }

    /// As soon as no mail is under way, sends `reply`, a 421, and closes.
    pub fn finish(&mut self, reply: Reply) {
        self.finish.get_or_insert(reply);
    }

    /// Whether the client has said its farewell already, behind a mail that is still to be answered.
    /// Then it may have closed its side, and still waits for the answer.
    #[must_use]
    pub fn says_farewell(&self) -> bool {
        let waiting = self.input.get(self.taken..).unwrap_or_default();
        waiting.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"QUIT"))
    }

    /// Whether every recipient gets a reply of its own behind the text (LMTP).
    #[must_use]
    pub fn is_lmtp(&self) -> bool {
        self.hello == Some(Hello::Lhlo)
    }

    /// The original client and the name that it gave, as far as the client of this session said.
    #[must_use]
    pub fn origin(&self) -> (Option<IpAddr>, Option<&str>) {
        (self.forwarded.client, self.forwarded.helo.as_deref())
    }

    /// What the client said about the original client, `NAME=value` each, as it was written.
    #[must_use]
    pub fn attributes(&self) -> &[String] {
        &self.attributes
    }

    fn step(&mut self) -> bool {
        if matches!(self.phase, Phase::Command)
            && self.accepted.is_none()
            && let Some(reply) = self.finish.take()
        {
            self.end(&reply);
            return true;
        }
        match &mut self.phase {
            Phase::Command => self.command(),
            Phase::Text(unstuff) => {
                let waiting = self.input.get(self.taken..).unwrap_or_default();
                if waiting.is_empty() {
                    return false;
                }
                let mut text = Vec::with_capacity(waiting.len());
                let end = unstuff.push(waiting, &mut text);
                let doubtful = unstuff.is_doubtful();
                self.taken = self.taken.saturating_add(end.unwrap_or(waiting.len()));
                if !text.is_empty() {
                    self.steps.push_back(Step::Text(text));
                }
                if end.is_some() {
                    self.phase = Phase::Whole;
                    self.steps.push_back(Step::Whole(doubtful));
                }
                true
            }
            _ => false,
        }
    }

    /// Takes one command line.
    fn command(&mut self) -> bool {
        let waiting = self.input.get(self.taken..).unwrap_or_default();
        let Some(at) = waiting.iter().position(|&byte| byte == b'\n') else {
            if waiting.len() > MAX_LINE {
                self.end(&Reply::enough("A line without an end"));
                return true;
            }
            return false;
        };
        let line = waiting.get(..at).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii_end().to_vec();
        self.taken = self.taken.saturating_add(at).saturating_add(1);
        if at > MAX_LINE {
            self.refuse(&Reply::new(500, 5, 2, "The line is too long"));
        } else if line.iter().any(u8::is_ascii_control) {
            self.refuse(&Reply::new(500, 5, 2, "A command has no control characters"));
        } else {
            self.execute(line);
        }
        true
    }

    fn execute(&mut self, line: Vec<u8>) {
        let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
        let (verb, rest) = line.split_at_checked(end).unwrap_or((&line, &[]));
        let rest = rest.trim_ascii();
        match verb.to_ascii_uppercase().as_slice() {
            b"EHLO" => self.say_hello(Hello::Ehlo),
            b"LHLO" => self.say_hello(Hello::Lhlo),
            b"HELO" => self.say_hello(Hello::Helo),
            b"MAIL" => match after_keyword(rest, b"FROM").and_then(read_path) {
                _ if self.hello.is_none() => self.refuse(&Reply::new(503, 5, 1, "Say EHLO first")),
                _ if self.accepted.is_some() => {
                    self.refuse(&Reply::new(503, 5, 1, "A mail is open already"));
                }
                Some((path, parameters)) => {
                    let size = parameters.split(|&byte| byte == b' ').find_map(|parameter| {
                        let (name, value) = parameter.split_at_checked(5)?;
                        let value = std::str::from_utf8(value).ok()?;
                        if name.eq_ignore_ascii_case(b"SIZE=") { value.parse().ok() } else { None }
                    });
                    let address = (!path.trim_ascii().is_empty()).then(|| plain(path));
                    self.phase = Phase::Mail;
                    self.steps.push_back(Step::Mail(MailLine { address, size, line }));
                }
                None => self.refuse(&Reply::new(501, 5, 4, "Syntax: MAIL FROM:<address> [parameters]")),
            },
            b"RCPT" => match after_keyword(rest, b"TO").and_then(read_path) {
                _ if self.accepted.is_none() => {
                    self.refuse(&Reply::new(503, 5, 1, "MAIL comes before RCPT"));
                }
                _ if self.accepted.is_some_and(|number| number >= MAX_RECIPIENTS) => {
                    self.send(&Reply::new(452, 5, 3, "Too many recipients of one mail"));
                }
                Some((path, _)) => {
                    let address = plain(path);
                    self.phase = Phase::Rcpt;
                    self.steps.push_back(Step::Rcpt(RcptLine { address, line }));
                }
                None => self.refuse(&Reply::new(501, 5, 4, "Syntax: RCPT TO:<address> [parameters]")),
            },
            b"DATA" if rest.is_empty() => match self.accepted {
                None => self.refuse(&Reply::new(503, 5, 1, "MAIL and RCPT come before DATA")),
                Some(0) => self.send(&Reply::new(554, 5, 1, "No valid recipients")),
                Some(_) => {
                    let text = "Send the mail, end it with <CR><LF>.<CR><LF>".to_owned();
                    self.send(&Reply::plain(354, vec![text]));
                    self.phase = Phase::Text(Unstuff::new());
                }
            },
            b"XFORWARD" => self.xforward(rest),
            verb if verb == HOPS_VERB.as_bytes() => self.hops(rest),
            b"RSET" => {
                self.abandon();
                self.send(&Reply::new(250, 0, 0, "Reset"));
            }
            b"NOOP" => self.send(&Reply::new(250, 0, 0, "Done nothing")),
            b"VRFY" => self.send(&Reply::new(252, 0, 0, "Send the mail and see")),
            b"QUIT" => {
                self.abandon();
                self.end(&Reply::new(221, 0, 0, "Goodbye"));
            }
            // A chunk follows, and its lines must not run as commands.
            b"BDAT" => self.end(&Reply::new(502, 5, 1, "BDAT is not offered here")),
            _ => self.refuse(&Reply::new(502, 5, 1, "Not offered here")),
        }
    }

    fn say_hello(&mut self, kind: Hello) {
        self.abandon();
        self.hello = None;
        self.phase = Phase::Hello(kind);
        self.steps.push_back(Step::Hello(self.filters));
    }

    fn hops(&mut self, rest: &[u8]) {
        let number = std::str::from_utf8(rest).ok().and_then(|text| text.parse::<u32>().ok());
        match number {
            Some(number) if number > MOST_FILTERS => {
                let text = format!("A circle: this mail would pass {number} filters like this one");
                self.end(&Reply::new(421, 4, 6, &text));
            }
            Some(number) => {
                self.filters = number;
                self.send(&Reply::new(250, 0, 0, "Noted"));
            }
            None => self.refuse(&Reply::new(501, 5, 4, "A number is wanted")),
        }
    }

    fn xforward(&mut self, rest: &[u8]) {
        let Ok(text) = std::str::from_utf8(rest) else {
            return self.refuse(&Reply::new(501, 5, 4, "XFORWARD is ASCII"));
        };
        if self.accepted.is_some() {
            return self.refuse(&Reply::new(503, 5, 1, "XFORWARD comes before MAIL"));
        }
        // What can't be understood here says nothing about the client, and is passed on all the same.
        if self.forwarded.take(text).is_err() {
            self.forwarded = Forwarded::default();
        }
        for attribute in text.split(' ').filter(|text| !text.is_empty()) {
            let name = |text: &str| text.split('=').next().unwrap_or_default().to_ascii_uppercase();
            self.attributes.retain(|earlier| name(earlier) != name(attribute));
            self.attributes.push(attribute.to_owned());
        }
        self.send(&Reply::new(250, 0, 0, "Noted"));
    }

    fn abandon(&mut self) {
        if self.accepted.is_some() {
            self.steps.push_back(Step::Abandon);
        }
        self.forget();
    }

    /// The mail is over; the next one's client is unknown until it is named.
    fn forget(&mut self) {
        self.accepted = None;
        self.forwarded = Forwarded::default();
        self.attributes.clear();
    }

    fn send(&mut self, reply: &Reply) {
        self.steps.push_back(Step::Send(reply.to_bytes()));
    }

    fn refuse(&mut self, reply: &Reply) {
        self.send(reply);
        self.errors = self.errors.saturating_add(1);
        if self.errors >= MAX_ERRORS {
            self.end(&Reply::enough("Too many errors"));
        }
    }

    fn end(&mut self, reply: &Reply) {
        self.send(reply);
        self.phase = Phase::Closed;
        self.steps.push_back(Step::Close);
        self.input.clear();
        self.taken = 0;
    }
}

/// `FROM : <x>` with any spaces about the colon.
fn after_keyword<'a>(text: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (word, rest) = text.split_at_checked(keyword.len())?;
    if !word.eq_ignore_ascii_case(keyword) {
        return None;
    }
    Some(rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
}

/// What stands between the brackets, which may be quoted in there, and what follows.
fn read_path(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"<")?;
    let (mut quoted, mut escaped) = (false, false);
    let end = inner.iter().position(|&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' => return !quoted,
            _ => {}
        }
        false
    })?;
    let (path, rest) = inner.split_at_checked(end)?;
    let rest = rest.strip_prefix(b">")?;
    (rest.is_empty() || rest.starts_with(b" ")).then_some((path, rest))
}

/// An address as it is compared and told: a source route dropped, quotes only where they are needed.
fn plain(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    match path::parse(&text) {
        Ok(path::Path::Mailbox(mailbox)) => Mailbox::to_string(&mailbox),
        _ => text.into_owned(),
    }
}

#[cfg(test)]
mod tests;
