//! A session: its state, its entry points and its deadlines. What each command does is in
//! `verbs`.

mod verbs;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::command::{self, Hello};
use super::data::{Data, End, Progress};
use super::xforward::Forwarded;
use super::{Mode, Reply, SessionConfig};

/// What the owner of the socket is to do next, in the order it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes. They may be gathered until [`Session::poll`] has nothing more.
    Send(Vec<u8>),
    /// Write what was gathered, then let the client begin TLS, then call
    /// [`Session::tls_started`]. Bytes that came in clear behind the command are gone.
    StartTls,
    /// A mail is here: decide about it and call [`Session::answer`]. Meanwhile the session
    /// looks at no input.
    Deliver(Transaction),
    /// Write what was gathered and close the connection. Nothing comes after this.
    Close,
}

/// One mail with its envelope, as the client gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The envelope's sender without brackets; `None` is the null sender.
    pub sender: Option<String>,
    /// The accepted recipients, 1 to [`Limits::max_recipients`](super::Limits), in order and
    /// as they were given, but for quotes without need. `<Postmaster>` has our hostname.
    pub recipients: Vec<String>,
    /// The message: dots undone, each line ended by CRLF, no LF without its CR.
    pub raw: Vec<u8>,
    /// The ORIGINAL client: the peer of a direct connection, or what a relay said by
    /// XFORWARD. `None` when that is unknown; it is never the relay itself.
    pub origin: Option<IpAddr>,
    /// Whether one of the configured relays handed this over.
    pub through_relay: bool,
    /// The name the original client gave, if it is known.
    pub helo: Option<String>,
    /// Whether this connection is under TLS.
    pub tls: bool,
    /// Whether the client asked for SMTPUTF8.
    pub utf8: bool,
}

/// The envelope of an open mail.
#[derive(Debug)]
struct Envelope {
    sender: Option<String>,
    utf8: bool,
    recipients: Vec<String>,
}

/// What the session waits for.
#[derive(Debug)]
enum Phase {
    /// A command line.
    Command,
    /// The end of a line that is too long; so many bytes of it are gone.
    LongLine(usize),
    /// The text of a mail.
    Data(Data),
    /// The verdict about a mail for so many recipients.
    Answer(usize),
    /// The end of the TLS handshake.
    Handshake,
    /// Nothing.
    Closed,
}

/// One connection's dialogue, the server's side.
///
/// `now` is always the time since one arbitrary start and never goes back; a smaller value
/// than before counts as no time passed. After every call that takes input or time, call
/// [`Session::poll`] until it returns `None`.
#[derive(Debug)]
pub struct Session {
    config: Arc<SessionConfig>,
    client: Option<IpAddr>,
    relay: bool,
    input: Vec<u8>,
    taken: usize,
    actions: VecDeque<Action>,
    phase: Phase,
    hello: Option<(Hello, String)>,
    tls: bool,
    forwarded: Forwarded,
    envelope: Option<Envelope>,
    errors: u32,
    commands: u32,
    /// When the phase began; a command's phase begins anew with each command.
    phase_since: Duration,
    /// The connection's start, or the last mail's answer.
    turn_since: Duration,
    /// The present span of minimum progress: its start, and the bytes it brought.
    window: (Duration, usize),
    /// What to say and close with as soon as no mail is under way.
    finish: Option<Reply>,
}

impl Session {
    /// A session for a client that has just connected; the greeting is its first action.
    ///
    /// `client` is the peer's address, `None` where there is none (a Unix socket).
    pub fn new(config: Arc<SessionConfig>, client: impl Into<Option<IpAddr>>, now: Duration) -> Self {
        let client = client.into().map(|address: IpAddr| address.to_canonical());
        let relay = client.is_some_and(|address| config.is_relay(address));
        let protocol = match config.mode {
            Mode::Smtp => "ESMTP",
            Mode::Lmtp => "LMTP",
        };
        let greeting = Reply::plain(220, vec![format!("{} {protocol}", config.hostname)]);
        Session {
            config,
            client,
            relay,
            input: Vec::new(),
            taken: 0,
            actions: VecDeque::from([Action::Send(greeting.to_bytes())]),
            phase: Phase::Command,
            hello: None,
            tls: false,
            forwarded: Forwarded::default(),
            envelope: None,
            errors: 0,
            commands: 0,
            phase_since: now,
            turn_since: now,
            window: (now, 0),
            finish: None,
        }
    }

    /// Takes bytes that came from the client, any number, cut anywhere.
    ///
    /// All are kept until [`poll`](Session::poll) has looked at them; read on only while
    /// [`wants_read`](Session::wants_read), or memory grows. Bytes that come between
    /// [`Action::StartTls`] and [`tls_started`](Session::tls_started), or after
    /// [`Action::Close`], are thrown away.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !matches!(self.phase, Phase::Handshake | Phase::Closed) {
            self.input.extend_from_slice(bytes);
        }
    }

    /// True while more input is of use. False during the handshake, after the end, and while
    /// a mail is being answered and [`Limits::max_waiting`](super::Limits) bytes wait behind
    /// it.
    pub fn wants_read(&self) -> bool {
        match self.phase {
            Phase::Handshake | Phase::Closed => false,
            _ => self.waiting().len() < self.config.limits.max_waiting,
        }
    }

    /// What is to be done next; `None` when the session waits for bytes, for an answer or
    /// for its deadline.
    pub fn poll(&mut self, now: Duration) -> Option<Action> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            if !self.step(now) {
                self.tidy();
                return None;
            }
        }
    }

    /// The verdict about the mail of the last [`Action::Deliver`].
    ///
    /// SMTP sends the first of `replies`; LMTP one per recipient, the last one again where
    /// there are too few. None at all counts as 451. A 421 closes the session. Ignored when
    /// no mail waits for an answer.
    pub fn answer(&mut self, replies: &[Reply], now: Duration) {
        let Phase::Answer(recipients) = self.phase else {
            return;
        };
        let trouble = [Reply::trouble("No verdict; try again later")];
        let replies = if replies.is_empty() { &trouble } else { replies };
        self.begin(Phase::Command, now);
        self.turn_since = now;
        if replies.iter().any(|reply| reply.code() < 300) {
            self.commands = 0;
        }
        self.reply_to_mail(replies, recipients, !self.relay);
        if replies.iter().any(|reply| reply.code() == 421) {
            self.close();
        }
    }

    /// The handshake that [`Action::StartTls`] asked for succeeded. The client starts again
    /// with its hello (RFC 3207 section 4.2). When it failed, drop the session instead.
    pub fn tls_started(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Handshake) {
            self.tls = true;
            self.begin(Phase::Command, now);
        }
    }

    /// When [`expired`](Session::expired) is to be called, if nothing happens before. `None`
    /// while a mail is being answered and after the end.
    pub fn deadline(&self) -> Option<Duration> {
        let limits = &self.config.limits;
        let turn = self.turn_since.saturating_add(limits.turn);
        let since = |span| self.phase_since.saturating_add(span);
        match self.phase {
            Phase::Command | Phase::LongLine(_) => Some(turn.min(since(limits.command))),
            Phase::Data(_) => {
                let progress = self.window.0.saturating_add(limits.progress);
                Some(turn.min(since(limits.data)).min(progress))
            }
            Phase::Handshake => Some(turn.min(since(limits.handshake))),
            Phase::Answer(_) | Phase::Closed => None,
        }
    }

    /// Time has passed. Does nothing before the [`deadline`](Session::deadline); at or after
    /// it the client is told 421 and the session ends, or, when enough of a mail came in
    /// this span, a new span begins.
    pub fn expired(&mut self, now: Duration) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let limits = &self.config.limits;
        let since = |span| self.phase_since.saturating_add(span);
        let turn = self.turn_since.saturating_add(limits.turn);
        let text = match self.phase {
            Phase::Data(_) => {
                let only_progress = now < turn && now < since(limits.data);
                if only_progress && self.window.1 >= limits.progress_bytes {
                    self.window = (now, 0);
                    return;
                }
                "The mail comes too slowly"
            }
            Phase::Handshake => {
                self.close();
                return;
            }
            _ if now >= turn => "No mail for too long",
            _ => "No command for too long",
        };
        self.end(&Reply::new(421, 4, 2, text));
    }

    /// As soon as no mail is under way (now, or after the answer to the one whose text has
    /// begun), sends `reply`, a 421, and closes.
    pub fn finish(&mut self, reply: Reply) {
        self.finish.get_or_insert(reply);
    }

    /// There is no room for the mail whose text is coming: it is read to its end, thrown
    /// away and answered 452 4.3.1. Without effect at other times.
    pub fn no_room(&mut self) {
        if let Phase::Data(data) = &mut self.phase {
            data.no_room();
        }
    }

    /// When the client last completed a command, if it is its turn to send one and it could
    /// be sent away without loss.
    pub fn idle_since(&self) -> Option<Duration> {
        match self.phase {
            Phase::Command | Phase::LongLine(_) => Some(self.phase_since),
            _ => None,
        }
    }

    /// Bytes of memory that this session holds of what the client sent.
    pub fn buffered(&self) -> usize {
        let data = match &self.phase {
            Phase::Data(data) => data.buffered(),
            _ => 0,
        };
        self.input.capacity().saturating_add(data)
    }

    /// Does one thing with what is there. False when there is nothing to do.
    fn step(&mut self, now: Duration) -> bool {
        if self.idle_since().is_some()
            && let Some(reply) = self.finish.take()
        {
            self.end(&reply);
            return true;
        }
        match &self.phase {
            Phase::Command => self.step_command(now),
            Phase::LongLine(_) => self.step_long_line(now),
            Phase::Data(_) => self.step_data(now),
            Phase::Answer(_) | Phase::Handshake | Phase::Closed => false,
        }
    }

    fn step_command(&mut self, now: Duration) -> bool {
        let max = self.config.limits.max_command;
        let waiting = self.waiting();
        let Some(at) = waiting.iter().position(|&byte| byte == b'\n') else {
            if waiting.len() > max {
                self.phase = Phase::LongLine(0);
                return true;
            }
            return false;
        };
        if at >= max {
            self.phase = Phase::LongLine(0);
            return true;
        }
        let parsed = match waiting.get(..at).unwrap_or_default().strip_suffix(b"\r") {
            Some(line) => command::parse(line),
            None => Err(Reply::new(500, 5, 2, "A command ends with CR LF, not with LF alone")),
        };
        self.taken = self.taken.saturating_add(at).saturating_add(1);
        self.phase_since = now;
        match parsed {
            Ok(command) => self.execute(command, now),
            Err(reply) => self.refuse(&reply),
        }
        true
    }

    /// Drops a line that is too long up to its end.
    fn step_long_line(&mut self, now: Duration) -> bool {
        let Phase::LongLine(gone) = self.phase else {
            return false;
        };
        let end = self.waiting().iter().position(|&byte| byte == b'\n').map(|at| at + 1);
        let length = end.unwrap_or(self.waiting().len());
        self.taken = self.taken.saturating_add(length);
        let gone = gone.saturating_add(length);
        if gone > self.config.limits.max_endless_line {
            self.end(&Reply::enough("A line without an end"));
        } else if end.is_some() {
            self.begin(Phase::Command, now);
            let max = self.config.limits.max_command;
            self.refuse(&Reply::new(500, 5, 2, &format!("Line too long: at most {max} octets")));
        } else {
            self.phase = Phase::LongLine(gone);
            return false;
        }
        true
    }

    fn step_data(&mut self, now: Duration) -> bool {
        let Phase::Data(data) = &mut self.phase else {
            return false;
        };
        let waiting = self.input.get(self.taken..).unwrap_or_default();
        if waiting.is_empty() {
            return false;
        }
        let max = self.config.limits.max_message;
        let length = waiting.len();
        let (used, end) = match data.push(waiting) {
            Progress::More => {
                self.taken = self.taken.saturating_add(length);
                self.window.1 = self.window.1.saturating_add(length);
                return true;
            }
            Progress::Overrun => {
                self.end(&Reply::too_big(&format!("The mail is bigger than {max} bytes")));
                return true;
            }
            Progress::Ended(used, end) => (used, end),
        };
        self.taken = self.taken.saturating_add(used);
        let transaction = self.end_transaction();
        let recipients = transaction.recipients.len();
        let refusal = match end {
            End::Message(raw) => {
                self.begin(Phase::Answer(recipients), now);
                self.actions.push_back(Action::Deliver(Transaction { raw, ..transaction }));
                return true;
            }
            End::BareLf => {
                Reply::malformed_mail("The mail has an LF without its CR; each line must end with CR LF")
            }
            End::TooBig => Reply::too_big(&format!("The mail is bigger than {max} bytes")),
            End::NoRoom => Reply::no_room("No room for this mail at present; try again later"),
        };
        self.begin(Phase::Command, now);
        self.turn_since = now;
        self.reply_to_mail(&[refusal], recipients, true);
        true
    }

    /// The replies to a mail: one, or for LMTP one per recipient.
    fn reply_to_mail(&mut self, replies: &[Reply], recipients: usize, counts: bool) {
        let times = match self.config.mode {
            Mode::Smtp => 1,
            Mode::Lmtp => recipients,
        };
        let mut out = Vec::new();
        let mut given = replies.iter();
        let mut last = None;
        for _ in 0..times {
            last = given.next().or(last);
            if let Some(reply) = last {
                out.extend_from_slice(&reply.to_bytes());
            }
        }
        self.actions.push_back(Action::Send(out));
        if counts && replies.first().is_some_and(|reply| reply.code() >= 500) {
            self.count_error();
        }
    }

    fn send(&mut self, reply: &Reply) {
        self.actions.push_back(Action::Send(reply.to_bytes()));
    }

    /// Sends a refusal that counts as a mistake of the client's.
    fn refuse(&mut self, reply: &Reply) {
        self.send(reply);
        self.count_error();
    }

    fn count_error(&mut self) {
        self.errors = self.errors.saturating_add(1);
        if self.errors >= self.config.limits.max_errors {
            self.end(&Reply::enough("Too many errors"));
        }
    }

    /// Counts a command that need not lead to a mail; false when it was one too many.
    fn count_command(&mut self) -> bool {
        self.commands = self.commands.saturating_add(1);
        if self.commands > self.config.limits.max_commands {
            self.end(&Reply::enough("Too many commands without a mail"));
            return false;
        }
        true
    }

    /// Says a last word and closes.
    fn end(&mut self, reply: &Reply) {
        self.send(reply);
        self.close();
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.actions.push_back(Action::Close);
        self.input = Vec::new();
        self.taken = 0;
    }

    fn begin(&mut self, phase: Phase, now: Duration) {
        self.phase = phase;
        self.phase_since = now;
        self.window = (now, 0);
    }

    fn waiting(&self) -> &[u8] {
        self.input.get(self.taken..).unwrap_or_default()
    }

    /// Gives back the memory of input that has been dealt with.
    fn tidy(&mut self) {
        let left = self.waiting().len();
        if left == 0 {
            self.input.clear();
        } else {
            self.input.drain(..self.taken.min(self.input.len()));
        }
        self.taken = 0;
        // A buffer that once was needed is not kept for a client that idles.
        if self.input.capacity() > 1_024 && left < 512 {
            self.input.shrink_to(left);
        }
    }
}
