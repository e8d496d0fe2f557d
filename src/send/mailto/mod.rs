//! Submission of mails, to the smarthost or to the mail hosts of their recipients: one mail, one
//! recipient, one transaction.
//!
//! It knows the smarthost, its TLS and its login, deadlines, and when a connection can serve
//! another mail. It must never know what a mail holds, nor keep one beyond its submission.

mod direct;
mod error;
pub mod lines;
mod login;
mod mx;
pub mod replies;
mod session;
mod smarthost;
mod transcript;
mod wire;

pub use direct::{Direct, MailHost, MailHosts, Told};
pub use error::SendError;
pub use login::{Login, Secret, Tokens};
pub use mx::MxError;
pub use smarthost::{Security, Smarthost, SmarthostError};

use crate::config::COMMAND_TIMEOUT;
use crate::send::outcome::{Outcome, Reply, Trouble, is_busy, is_mailbox_busy};
use lettre::transport::smtp::extension::ClientId;
use login::{Refusals, Shown};
use session::{Place, Serves, Session};
use smarthost::Guard;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;
use transcript::Transcript;

/// How long each part of a dialogue may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Connecting, and a TLS handshake.
    pub connect: Duration,
    /// A command and its reply.
    pub command: Duration,
    /// The final dot and its reply.
    pub dot: Duration,
    /// The slowest that a server may take a mail, in bytes a second; the time that this gives is
    /// added to `dot`.
    pub slowest: u32,
}

impl Default for Deadlines {
    /// RFC 5321 section 4.5.3.2: 5 minutes for a command, 10 minutes for the final dot (with
    /// less the server still delivers what the client believes lost, and sends again); 30
    /// seconds to connect, 4 KiB a second at least.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            command: Duration::from_secs(5 * 60),
            dot: Duration::from_secs(10 * 60),
            slowest: 4096,
        }
    }
}

impl Deadlines {
    /// The longest that an attempt with a mail of so many bytes can last. A lease must be longer.
    #[must_use]
    pub fn attempt(&self, bytes: usize) -> Duration {
        // Connect, handshake; STARTTLS, EHLO, AUTH, MAIL, RCPT, DATA; twice, for a kept
        // connection that turns out to be stale may cost all of it before the fresh one. An access
        // token may have to be asked for twice, each time behind a run for somebody else.
        let dialogue = self.connect * 2 + self.command * 6;
        (dialogue * 2 + COMMAND_TIMEOUT * 4).saturating_add(self.body(bytes))
    }

    fn body(&self, bytes: usize) -> Duration {
        let seconds = bytes / usize::try_from(self.slowest).unwrap_or(usize::MAX).max(1);
        let transfer = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
        self.dot.saturating_add(transfer)
    }
}

/// How long a connection is kept for further mails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// Mails for one connection.
    pub mails: u32,
    /// Time without a mail after which it is closed.
    pub idle: Duration,
    /// Connections kept at a time.
    pub connections: usize,
}

impl Default for Reuse {
    fn default() -> Self {
        Self { mails: 100, idle: Duration::from_secs(30), connections: 8 }
    }
}

impl Reuse {
    /// A connection for each mail.
    pub const NEVER: Reuse = Reuse { mails: 1, idle: Duration::ZERO, connections: 0 };
}

/// Follows a submission: what is said on its connection, for whoever has to find out why it failed.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<Option<Transcript>>>);

impl Heard {
    fn set(&self, transcript: &Transcript) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(transcript.clone());
    }

    /// What was said so far, a line each: without what a login says and what the mail holds.
    #[must_use]
    pub fn text(&self) -> String {
        let transcript = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        transcript.as_ref().map(Transcript::text).unwrap_or_default()
    }
}

/// One mail for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Where bounces go; `None` is the null sender `<>`.
    pub envelope_sender: Option<String>,
    /// The recipient, a plain addr-spec.
    pub recipient: String,
    /// The mail, header and body; line ends are brought to CRLF.
    pub mail: Vec<u8>,
    /// The operator named the recipient: its mail host may be in any network. The smarthost takes care
    /// of that itself.
    pub configured: bool,
}

/// The server's word that it took responsibility for the mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The reply to the final dot.
    pub reply: Reply,
    /// Whether a kept connection carried it.
    pub reused: bool,
}

/// An envelope whose addresses were checked.
#[derive(Clone, Debug)]
struct Envelope {
    sender: Option<lettre::Address>,
    recipient: lettre::Address,
}

impl Envelope {
    fn of(submission: &Submission) -> Result<Self, SendError> {
        let sender = submission.envelope_sender.as_deref();
        Ok(Self { sender: sender.map(address).transpose()?, recipient: address(&submission.recipient)? })
    }

    fn is_ascii(&self) -> bool {
        let text: &str = self.recipient.as_ref();
        text.is_ascii() && self.sender.as_ref().is_none_or(|s| AsRef::<str>::as_ref(s).is_ascii())
    }
}

/// An address that is one word on the wire: whatever could end the command or the path is out,
/// before the library has its say about the rest.
fn address(text: &str) -> Result<lettre::Address, SendError> {
    let bad = || SendError::BadAddress { address: text.to_owned() };
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || "<>".contains(c)) {
        return Err(bad());
    }
    text.parse().map_err(|_| bad())
}

/// The adapter: a handle that can be cloned and used by many tasks at a time.
#[derive(Clone)]
pub struct Mailto {
    inner: Arc<Inner>,
}

/// Who takes the mails.
enum Way {
    /// The smarthost takes all.
    Smarthost(Box<Smarthost>),
    /// The hosts of each recipient's domain.
    Direct(Direct),
}

struct Inner {
    way: Way,
    guard: Guard,
    hostname: String,
    hello: ClientId,
    deadlines: Deadlines,
    reuse: Reuse,
    kept: Mutex<Kept>,
    refusals: Mutex<Refusals>,
}

#[derive(Default)]
struct Kept {
    sessions: Vec<Session>,
    closing: bool,
    reaper_runs: bool,
}

impl Mailto {
    /// Prepares submission to this smarthost; nothing is connected yet. `hostname` is what EHLO
    /// says.
    ///
    /// # Errors
    /// When TLS can't be set up as configured.
    pub fn new(smarthost: Smarthost, hostname: &str) -> Result<Self, SmarthostError> {
        Self::with(smarthost, hostname, Deadlines::default(), Reuse::default())
    }

    /// The same with deadlines and reuse of one's own.
    ///
    /// # Errors
    /// When TLS can't be set up as configured.
    pub fn with(
        smarthost: Smarthost,
        hostname: &str,
        deadlines: Deadlines,
        reuse: Reuse,
    ) -> Result<Self, SmarthostError> {
        let guard = smarthost.guard()?;
        Ok(Self::made(Way::Smarthost(Box::new(smarthost)), guard, hostname, deadlines, reuse))
    }

    /// Prepares submission to the mail hosts of the recipients.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn direct(
        direct: Direct,
        hostname: &str,
        deadlines: Deadlines,
        reuse: Reuse,
    ) -> Result<Self, SmarthostError> {
        Ok(Self::made(Way::Direct(direct), Guard::opportunistic()?, hostname, deadlines, reuse))
    }

    fn made(way: Way, guard: Guard, hostname: &str, deadlines: Deadlines, reuse: Reuse) -> Self {
        Self {
            inner: Arc::new(Inner {
                way,
                guard,
                hostname: hostname.to_owned(),
                hello: ClientId::Domain(hostname.to_owned()),
                deadlines,
                reuse,
                kept: Mutex::default(),
                refusals: Mutex::default(),
            }),
        }
    }

    /// The deadlines in force.
    #[must_use]
    pub fn deadlines(&self) -> Deadlines {
        self.inner.deadlines
    }

    /// Submits the mail and returns when the server took responsibility or refused.
    ///
    /// Dropping the future before it is ready closes the connection; whether the server took
    /// the mail is not known then, as after a crash.
    ///
    /// # Errors
    /// Each by its cause; [`SendError::outcome`] says what it means for the delivery.
    pub async fn submit(&self, submission: &Submission) -> Result<Receipt, SendError> {
        self.submit_heard(submission, &Heard::default()).await
    }

    /// As [`Mailto::submit`]; what is said meanwhile can be read in `heard`.
    ///
    /// # Errors
    /// As [`Mailto::submit`].
    pub async fn submit_heard(&self, submission: &Submission, heard: &Heard) -> Result<Receipt, SendError> {
        let envelope = Envelope::of(submission)?;
        let mail = lines::canonical(&submission.mail);
        let serves = self.inner.serves(submission);
        if let Some(session) = self.kept_session(&serves).await {
            session.transcript.begin_again();
            heard.set(&session.transcript);
            match self.attempt(session, &envelope, &mail).await {
                // The server had closed it, as it may at any time; that is nobody's failure.
                Err(error) if error.may_be_stale() => {}
                Err(error) => return Err(error),
                Ok(reply) => {
                    return Ok(Receipt { reply, reused: true });
                }
            }
        }
        let reply = match &self.inner.way {
            Way::Smarthost(smarthost) => {
                let session = self.open(smarthost, heard).await?;
                self.attempt(session, &envelope, &mail).await?
            }
            Way::Direct(direct) => {
                self.submit_directly(direct, (submission, serves), (&envelope, &mail), heard).await?
            }
        };
        Ok(Receipt { reply, reused: false })
    }

    /// What an error means for the delivery. A recipient's own mail host speaks of its own limits; those of a
    /// smarthost would hold for whoever else is written to as well, so from it only a word about the mailbox counts.
    #[must_use]
    pub fn outcome(&self, error: &SendError) -> Outcome {
        let busy = match (&self.inner.way, error) {
            (Way::Direct(_), SendError::Refused { reply, .. }) => is_busy(reply),
            (Way::Smarthost(_), SendError::Refused { stage, reply }) => is_mailbox_busy(*stage, reply),
            _ => false,
        };
        if busy {
            return Outcome::Retry { trouble: Trouble::Busy, reason: error.chain() };
        }
        error.outcome()
    }

    /// To the first mail host that takes it. A word for good about the mail or its recipient is the end;
    /// who is not there, or puts us off, leaves it to the next one.
    async fn submit_directly(
        &self,
        direct: &Direct,
        (submission, serves): (&Submission, Serves),
        (envelope, mail): (&Envelope, &[u8]),
        heard: &Heard,
    ) -> Result<Reply, SendError> {
        let inner = &self.inner;
        let places = direct.places(&submission.recipient, &inner.hostname, submission.configured).await?;
        let mut last = None;
        for host in places {
            let place = Place {
                shown: format!("{} ({})", host.name, host.at),
                name: host.name,
                port: host.at.port(),
                at: Some(host.at),
            };
            let mut opened = inner.connect(&place, &inner.guard, None, heard).await;
            if opened.as_ref().is_err_and(SendError::is_without_tls) {
                // Better in clear than not at all: nobody has promised TLS for this domain.
                opened = inner.connect(&place, &Guard::Plain, None, heard).await;
            }
            let tried = match opened {
                Ok(mut session) => {
                    session.serves.clone_from(&serves);
                    self.attempt(session, envelope, mail).await
                }
                Err(error) => Err(error),
            };
            match tried {
                Err(error) if error.leaves_other_hosts() => last = Some(error),
                ended => return ended,
            }
        }
        Err(last.unwrap_or_else(|| SendError::NoHost { domain: submission.recipient.clone() }))
    }

    /// Connects to the smarthost, greets and logs in without sending anything: what a check of the
    /// configuration needs. Without a smarthost there is nothing to be tried, see [`Mailto::probe_for`].
    ///
    /// # Errors
    /// As [`Mailto::submit`] up to AUTH.
    pub async fn probe(&self) -> Result<(), SendError> {
        if let Way::Smarthost(smarthost) = &self.inner.way {
            let session = self.open(smarthost, &Heard::default()).await?;
            session.quit().await;
        }
        Ok(())
    }

    /// Looks for the mail hosts of this recipient and greets them, without sending anything; the one that
    /// answers. With a smarthost: none is asked for.
    ///
    /// # Errors
    /// As [`Mailto::submit`] up to EHLO.
    pub async fn probe_for(&self, recipient: &str) -> Result<Option<MailHost>, SendError> {
        let inner = &self.inner;
        let Way::Direct(direct) = &inner.way else { return Ok(None) };
        let mut last = None;
        for host in direct.places(recipient, &inner.hostname, true).await? {
            let shown = format!("{} ({})", host.name, host.at);
            let place = Place { name: host.name.clone(), port: host.at.port(), at: Some(host.at), shown };
            match inner.connect(&place, &inner.guard, None, &Heard::default()).await {
                Ok(session) => {
                    session.quit().await;
                    return Ok(Some(host));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| SendError::NoHost { domain: recipient.to_owned() }))
    }

    /// Says QUIT on all kept connections; from now on each mail has a connection of its own.
    pub async fn close(&self) {
        let sessions = {
            let mut kept = self.inner.kept();
            kept.closing = true;
            std::mem::take(&mut kept.sessions)
        };
        for session in sessions {
            session.quit().await;
        }
    }

    async fn open(&self, smarthost: &Smarthost, heard: &Heard) -> Result<Session, SendError> {
        let inner = &self.inner;
        let place = Place {
            name: smarthost.host().to_owned(),
            port: smarthost.port(),
            at: None,
            shown: smarthost.to_string(),
        };
        let connect = |shown| inner.connect(&place, &inner.guard, shown, heard);
        let Some(login) = smarthost.login() else { return connect(None).await };
        inner.refusals().allow(Instant::now())?;
        let shown = login.shown().await?;
        let mut opened = connect(Some(&shown)).await;
        if opened.as_ref().is_err_and(|error| error.refused_login().is_some()) {
            // A token may have run out on the way, and the next one be good.
            let other = login.shown().await?;
            if other != shown {
                opened = connect(Some(&other)).await;
            }
        }
        match &opened {
            Ok(_) => inner.refusals().welcomed(),
            Err(error) => {
                if let Some(reply) = error.refused_login() {
                    inner.refusals().refused(reply, Instant::now());
                }
            }
        }
        opened
    }

    /// A kept connection that is ready for a mail.
    async fn kept_session(&self, serves: &Serves) -> Option<Session> {
        let mut session = self.inner.take(serves)?;
        if session.needs_reset && !session.reset().await {
            return None;
        }
        Some(session)
    }

    async fn attempt(
        &self,
        mut session: Session,
        envelope: &Envelope,
        mail: &[u8],
    ) -> Result<Reply, SendError> {
        let result = session.submit(envelope, mail).await;
        match &result {
            Ok(_) => {}
            Err(error) if error.leaves_session_usable() => session.needs_reset = true,
            Err(_) => return result,
        }
        // The mail's fate is known and does not wait for the farewell.
        if let Some(surplus) = self.inner.put_back(session) {
            tokio::spawn(surplus.quit());
        }
        result
    }
}

impl Inner {
    async fn connect(
        &self,
        place: &Place,
        guard: &Guard,
        login: Option<&Shown>,
        heard: &Heard,
    ) -> Result<Session, SendError> {
        let transcript = Transcript::default();
        heard.set(&transcript);
        Session::open(place, guard, &self.hello, self.deadlines, login, transcript).await
    }

    /// Which kept connections can carry a mail.
    fn serves(&self, submission: &Submission) -> Serves {
        match &self.way {
            Way::Smarthost(_) => None,
            Way::Direct(_) => {
                let domain = submission.recipient.rsplit_once('@').map(|(_, domain)| domain);
                Some((domain.unwrap_or_default().to_ascii_lowercase(), submission.configured))
            }
        }
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection for such mails that was used last, if it is fresh enough.
    fn take(&self, serves: &Serves) -> Option<Session> {
        let mut kept = self.kept();
        let at = kept.sessions.iter().rposition(|session| session.serves == *serves)?;
        let session = kept.sessions.remove(at);
        if session.last_used.elapsed() < self.reuse.idle {
            Some(session)
        } else {
            // All others like it are older still; the reaper closes them.
            kept.sessions.insert(at, session);
            None
        }
    }

    /// Keeps the connection for the next mail, or gives it back to be closed.
    fn put_back(self: &Arc<Self>, mut session: Session) -> Option<Session> {
        let mut kept = self.kept();
        if kept.closing || session.mails >= self.reuse.mails || kept.sessions.len() >= self.reuse.connections
        {
            return Some(session);
        }
        session.last_used = Instant::now();
        kept.sessions.push(session);
        if !kept.reaper_runs {
            kept.reaper_runs = true;
            tokio::spawn(reap(Arc::downgrade(self), self.reuse.idle));
        }
        None
    }

    /// Takes out what has been idle for too long, and says when the next one will have been.
    fn expired(&self) -> (Vec<Session>, Option<Instant>) {
        let mut kept = self.kept();
        let sessions = std::mem::take(&mut kept.sessions);
        let (old, fresh) = sessions.into_iter().partition(|s| s.last_used.elapsed() >= self.reuse.idle);
        kept.sessions = fresh;
        let next = kept.sessions.iter().map(|s| s.last_used).min();
        kept.reaper_runs = next.is_some();
        (old, next.map(|t| t + self.reuse.idle))
    }
}

/// Closes kept connections when their time is over, and ends when none is left.
async fn reap(inner: Weak<Inner>, idle: Duration) {
    let mut next = Some(Instant::now() + idle);
    while let Some(at) = next {
        tokio::time::sleep_until(at).await;
        let Some(inner) = inner.upgrade() else { return };
        let (old, then) = inner.expired();
        drop(inner);
        for session in old {
            session.quit().await;
        }
        next = then;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_end_a_command_is_no_address() {
        for good in [
            "ann@example.net",
            "cmr+tag.4711@example.net",
            "o'neil/x=y@example.net",
            "ann@[192.0.2.1]",
            "j\u{fc}rgen@example.net",
        ] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "ann",
            "@example.net",
            "ann@",
            "ann@example.net>\r\nRCPT TO:<bob@example.net",
            "ann@example.net\n",
            "ann@example.net SIZE=1",
            "ann@example.net>",
            "<ann@example.net>",
            "ann@example.net,bob@example.net",
            "\"a b\"@example.net",
            "ann\0@example.net",
            "ann@exam\u{2028}ple.net",
            "@relay.example:ann@example.net",
        ] {
            assert!(matches!(address(bad), Err(SendError::BadAddress { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_lease_covers_the_longest_attempt() {
        let deadlines = Deadlines::default();
        let small = deadlines.attempt(2000);
        assert!(small > deadlines.dot + deadlines.command * 6);
        let big = deadlines.attempt(10 * 1024 * 1024);
        assert!(big > small && big < Duration::from_secs(2 * 3600 - 60), "{big:?}");
        assert!(deadlines.attempt(usize::MAX) > big);
    }
}
