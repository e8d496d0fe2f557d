//! A mail host for people on loopback: mailboxes in memory, and a relay to other hosts.
//!
//! It stands in for the servers of the correspondents, in the demo and in the tests, and is
//! built on mailin-embedded, which nobody should put on a network: see the limits below. It
//! knows envelopes and bytes. It must never know what a mail means, nor anything of CMR.
//!
//! What mailin-embedded is known to do, and what is done about it here: `MAIL FROM:<>` and
//! parameters such as `SIZE=` get 500 (our submissions use neither); a refusal at the end of
//! DATA would leave its session inside DATA (only 421, which closes, is used there); sessions
//! are a fixed pool; the listener can't be stopped (a dropped host answers 421 until the process
//! ends).

mod relay;

use mailin_embedded::{Handler, Response, Server, response};
use relay::Waiting;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};

/// Recipients of one mail; RFC 5321 section 4.5.3.1.8 asks for a hundred.
const MOST_RECIPIENTS: usize = 100;
/// What a mail is counted with beside its bytes.
const OVERHEAD: usize = 1024;

/// What a host serves and how much of it.
#[derive(Clone, Debug)]
pub struct MailHostConfig {
    /// What it calls itself.
    pub name: String,
    /// The full addresses that it keeps mail for; `ann+tag@…` belongs to `ann@…`.
    pub mailboxes: Vec<String>,
    /// Where mail for other domains goes; [`MailHost::route`] adds to them.
    pub routes: Vec<(String, SocketAddr)>,
    /// Where it listens; port 0 chooses a free one.
    pub listen: SocketAddr,
    /// A folder that gets a maildir for each mailbox.
    pub maildirs: Option<PathBuf>,
    /// Sessions at a time; a further client waits for its greeting.
    pub sessions: u32,
    /// Bytes of one mail.
    pub max_mail: usize,
    /// Bytes of all mails that are kept, mailboxes and traffic together.
    pub max_kept: usize,
    /// Mails that wait to be relayed.
    pub max_waiting: usize,
}

impl MailHostConfig {
    /// A host of this name with these mailboxes, on a free port of loopback.
    #[must_use]
    pub fn new(name: &str, mailboxes: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            mailboxes: mailboxes.iter().map(|&m| m.to_owned()).collect(),
            routes: Vec::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            maildirs: None,
            sessions: 4,
            max_mail: 10 * 1024 * 1024,
            max_kept: 256 * 1024 * 1024,
            max_waiting: 1000,
        }
    }
}

/// Why a host can't start.
#[derive(Debug, Error)]
pub enum HostError {
    /// The port can't be had.
    #[error("the mail host can't listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A thread can't be started.
    #[error("the mail host's threads can't be started")]
    Thread(#[source] io::Error),
    /// A mailbox without a domain, or with a character that no folder should have.
    #[error("{0:?} can't be a mailbox")]
    Mailbox(String),
    /// The maildirs can't be made.
    #[error("the maildir {path} can't be made")]
    Maildir {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What happened to a mail, once for each recipient.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// The envelope sender.
    pub from: String,
    /// The recipient.
    pub to: String,
    /// The mail as it came, dots unstuffed.
    pub mail: Arc<[u8]>,
    /// What became of it.
    pub step: Step,
}

/// What became of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It lies in its mailbox.
    Delivered,
    /// The next host took it.
    Relayed {
        /// Where it went.
        next: SocketAddr,
        /// What that host said.
        reply: String,
    },
    /// The next host refused it, or was not there for too long. Nobody is told.
    Undelivered {
        /// Why.
        reason: String,
    },
}

/// What lies in the mailboxes; see [`MailHost::wait_for`].
#[derive(Debug, Default)]
pub struct Mailboxes {
    mails: BTreeMap<String, Vec<Arc<[u8]>>>,
    events: Vec<Event>,
    bytes: usize,
}

impl Mailboxes {
    /// The mails of one mailbox, oldest first; none for an address that is not kept here.
    #[must_use]
    pub fn of(&self, address: &str) -> &[Arc<[u8]>] {
        self.mails.get(&mailbox_name(address)).map_or(&[], Vec::as_slice)
    }

    /// Everything that happened, oldest first.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

/// A running host. Dropping it makes it refuse everything; its threads end with the process.
pub struct MailHost {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    config: MailHostConfig,
    state: Mutex<Mailboxes>,
    changed: Condvar,
    routes: Mutex<HashMap<String, SocketAddr>>,
    /// `None` when the host is closed.
    relay: Mutex<Option<mpsc::UnboundedSender<Waiting>>>,
    /// A permit for each mail that waits to be relayed; they bound the channel.
    room: Arc<Semaphore>,
    serial: AtomicU64,
}

impl MailHost {
    /// Listens and serves, on threads of its own.
    ///
    /// # Errors
    /// When the port, a thread or a maildir can't be had.
    pub fn start(config: MailHostConfig) -> Result<Self, HostError> {
        let mut mailboxes = Mailboxes::default();
        for address in &config.mailboxes {
            if domain(address).is_none() || address.contains(['/', '\0']) {
                return Err(HostError::Mailbox(address.clone()));
            }
            mailboxes.mails.insert(mailbox_name(address), Vec::new());
        }
        if let Some(folder) = &config.maildirs {
            for name in mailboxes.mails.keys() {
                make_maildir(&folder.join(name))?;
            }
        }
        let listener = TcpListener::bind(config.listen)
            .map_err(|source| HostError::Listen { address: config.listen, source })?;
        let address = listener.local_addr().map_err(HostError::Thread)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let routes = config.routes.iter();
        let shared = Arc::new(Shared {
            routes: Mutex::new(routes.map(|(d, a)| (d.to_ascii_lowercase(), *a)).collect()),
            state: Mutex::new(mailboxes),
            changed: Condvar::new(),
            relay: Mutex::new(Some(sender)),
            room: Arc::new(Semaphore::new(config.max_waiting)),
            serial: AtomicU64::new(0),
            config,
        });
        relay::spawn(&shared, receiver)?;
        spawn_server(&shared, listener)?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends mail for this domain to that host from now on.
    pub fn route(&self, domain: &str, next: SocketAddr) {
        let mut routes = lock(&self.shared.routes);
        routes.insert(domain.to_ascii_lowercase(), next);
    }

    /// A copy of what lies in a mailbox, oldest first.
    #[must_use]
    pub fn mailbox(&self, address: &str) -> Vec<Vec<u8>> {
        let state = lock(&self.shared.state);
        state.of(address).iter().map(|m| m.to_vec()).collect()
    }

    /// Looks now and after every change until `look` finds something or the time is over.
    pub fn wait_for<T>(&self, timeout: Duration, mut look: impl FnMut(&Mailboxes) -> Option<T>) -> Option<T> {
        let end = Instant::now() + timeout;
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(found) = look(&state) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many events there are so far.
    #[must_use]
    pub fn happened(&self) -> usize {
        lock(&self.shared.state).events.len()
    }

    /// How many mails wait to go on to another host, or are being handed over. Each of them
    /// becomes an [`Event`] before it is not counted any more.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.config.max_waiting.saturating_sub(self.shared.room.available_permits())
    }

    /// From now on it takes nothing any more.
    pub fn close(&self) {
        // Under the lock that a waiting reader holds until it sleeps, or it would miss this.
        let _state = lock(&self.shared.state);
        lock(&self.shared.relay).take();
        self.shared.changed.notify_all();
    }

    /// All that happens to mails at this host, from its start on.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic { shared: Arc::clone(&self.shared), next: 0 }
    }
}

impl Drop for MailHost {
    fn drop(&mut self) {
        self.close();
    }
}

/// A reader of a host's events; see [`MailHost::traffic`]. As an iterator it waits for each, and
/// ends when the host is closed.
pub struct Traffic {
    shared: Arc<Shared>,
    next: usize,
}

impl Traffic {
    /// The next event, waiting for it so long. `None` also as soon as the host is closed.
    pub fn next_within(&mut self, timeout: Duration) -> Option<Event> {
        self.next_until(Instant::now().checked_add(timeout))
    }

    /// `None` for `end`: without end.
    fn next_until(&mut self, end: Option<Instant>) -> Option<Event> {
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(event) = state.events.get(self.next) {
                self.next += 1;
                return Some(event.clone());
            }
            if lock(&self.shared.relay).is_none() {
                return None;
            }
            let changed = &self.shared.changed;
            state = match end {
                None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.checked_duration_since(Instant::now())?;
                    changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Iterator for Traffic {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.next_until(None)
    }
}

impl Shared {
    /// Where a mail for this recipient goes, or the refusal.
    fn place(&self, recipient: &str) -> Result<Place, Response> {
        let state = lock(&self.state);
        let name = mailbox_name(recipient);
        if state.mails.contains_key(&name) {
            return Ok(Place::Mailbox(name));
        }
        let Some(domain) = domain(recipient) else {
            return Err(reply(550, "5.1.3 no domain in this address"));
        };
        if state.mails.keys().any(|m| m.ends_with(&format!("@{domain}"))) {
            return Err(reply(550, "5.1.1 no such mailbox here"));
        }
        drop(state);
        match lock(&self.routes).get(&domain) {
            Some(next) => Ok(Place::Next(*next)),
            None => Err(reply(550, "5.7.1 no route to this domain, and no open relay")),
        }
    }

    fn is_closed(&self) -> bool {
        lock(&self.relay).is_none()
    }

    /// Takes a mail for all its recipients or for none.
    fn take(&self, from: &str, recipients: &[String], mail: &Arc<[u8]>) -> Result<(), Response> {
        let mut inboxes = Vec::new();
        let mut onward = Vec::new();
        for to in recipients {
            match self.place(to)? {
                Place::Mailbox(name) => inboxes.push((name, to)),
                Place::Next(next) => onward.push((next, to)),
            }
        }
        let relay = lock(&self.relay).clone();
        let relay = relay.ok_or_else(|| reply(421, "4.3.2 closed"))?;
        let mut waiting = Vec::new();
        for (next, to) in onward {
            waiting.push(Waiting {
                from: from.to_owned(),
                to: to.clone(),
                mail: Arc::clone(mail),
                next,
                room: Arc::clone(&self.room)
                    .try_acquire_owned()
                    .map_err(|_| reply(421, "4.3.1 too many mails wait here already"))?,
            });
        }
        let mut state = lock(&self.state);
        let bytes = state.bytes.saturating_add(mail.len() + OVERHEAD);
        if bytes > self.config.max_kept {
            return Err(reply(421, "4.3.1 no room for this mail"));
        }
        state.bytes = bytes;
        for (name, to) in inboxes {
            if let Some(folder) = &self.config.maildirs
                && let Err(error) = self.write_maildir(&folder.join(&name), mail)
            {
                tracing::warn!(%error, mailbox = name, "the maildir copy can't be written");
            }
            if let Some(mailbox) = state.mails.get_mut(&name) {
                mailbox.push(Arc::clone(mail));
            }
            state.events.push(event(from, to, mail, Step::Delivered));
        }
        drop(state);
        self.changed.notify_all();
        for mail in waiting {
            relay.send(mail).map_err(|_| reply(421, "4.3.2 the relay has stopped"))?;
        }
        Ok(())
    }

    fn write_maildir(&self, maildir: &Path, mail: &[u8]) -> io::Result<()> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let name = format!("{serial:06}.{}.{}", std::process::id(), self.config.name);
        let draft = maildir.join("tmp").join(&name);
        std::fs::write(&draft, mail)?;
        std::fs::rename(draft, maildir.join("new").join(name))
    }

    fn note(&self, waiting: &Waiting, step: Step) {
        let Waiting { from, to, mail, .. } = waiting;
        lock(&self.state).events.push(event(from, to, mail, step));
        self.changed.notify_all();
    }
}

enum Place {
    Mailbox(String),
    Next(SocketAddr),
}

fn event(from: &str, to: &str, mail: &Arc<[u8]>, step: Step) -> Event {
    Event { at: SystemTime::now(), from: from.to_owned(), to: to.to_owned(), mail: Arc::clone(mail), step }
}

/// One session's side of mailin-embedded: it clones the first for every connection.
#[derive(Clone)]
struct Reception {
    shared: Arc<Shared>,
    recipients: usize,
    from: String,
    to: Vec<String>,
    mail: Vec<u8>,
    too_big: bool,
}

impl Handler for Reception {
    fn helo(&mut self, _ip: IpAddr, _domain: &str) -> Response {
        if self.shared.is_closed() {
            return reply(421, "4.3.2 closed");
        }
        response::OK
    }

    fn mail(&mut self, _ip: IpAddr, _domain: &str, _from: &str) -> Response {
        if self.shared.is_closed() {
            return reply(421, "4.3.2 closed");
        }
        self.recipients = 0;
        response::OK
    }

    fn rcpt(&mut self, to: &str) -> Response {
        if self.recipients >= MOST_RECIPIENTS {
            return reply(452, "4.5.3 too many recipients");
        }
        match self.shared.place(to) {
            Ok(_) => {
                self.recipients += 1;
                response::OK
            }
            Err(refusal) => refusal,
        }
    }

    fn data_start(&mut self, _domain: &str, from: &str, _8bit: bool, to: &[String]) -> Response {
        self.from = from.to_owned();
        self.to = to.to_vec();
        self.mail = Vec::new();
        self.too_big = false;
        response::OK
    }

    /// Never fails: an error here would be answered line by line, and then by 250.
    fn data(&mut self, line: &[u8]) -> io::Result<()> {
        if self.mail.len() + line.len() > self.shared.config.max_mail {
            self.too_big = true;
            self.mail = Vec::new();
        }
        if !self.too_big {
            self.mail.extend_from_slice(line);
        }
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        if self.too_big {
            return reply(421, "4.3.4 too big for this host");
        }
        let mail: Arc<[u8]> = std::mem::take(&mut self.mail).into();
        match self.shared.take(&self.from, &self.to, &mail) {
            Ok(()) => reply(250, "2.0.0 ok"),
            Err(refusal) if refusal.code == 421 => refusal,
            // Any other code would keep the session inside DATA.
            Err(_) => reply(421, "4.2.1 a mailbox went away meanwhile"),
        }
    }
}

fn reply(code: u16, text: &str) -> Response {
    Response::custom(code, text.to_owned())
}

fn spawn_server(shared: &Arc<Shared>, listener: TcpListener) -> Result<(), HostError> {
    let mut server = Server::new(Reception {
        shared: Arc::clone(shared),
        recipients: 0,
        from: String::new(),
        to: Vec::new(),
        mail: Vec::new(),
        too_big: false,
    });
    server
        .with_name(shared.config.name.clone())
        .with_num_threads(shared.config.sessions.max(1))
        .with_tcp_listener(listener);
    let serve = move || {
        if let Err(error) = server.serve() {
            tracing::warn!(%error, "the mail host stopped");
        }
    };
    std::thread::Builder::new().name("mail-host".to_owned()).spawn(serve).map(drop).map_err(HostError::Thread)
}

fn make_maildir(maildir: &Path) -> Result<(), HostError> {
    for part in ["tmp", "new", "cur"] {
        let path = maildir.join(part);
        std::fs::create_dir_all(&path).map_err(|source| HostError::Maildir { path, source })?;
    }
    Ok(())
}

/// The domain of an address in lower case.
fn domain(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    (!local.is_empty() && !domain.is_empty()).then(|| domain.to_ascii_lowercase())
}

/// The name under which a mailbox is found: lower case, without what follows a plus.
fn mailbox_name(address: &str) -> String {
    let lower = address.to_ascii_lowercase();
    match lower.rsplit_once('@') {
        Some((local, domain)) => {
            let local = local.split('+').next().unwrap_or(local);
            format!("{local}@{domain}")
        }
        None => lower,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
