//! The demo's world: three gateways, the mail server of the people, one for the outgoing mail of
//! each gateway, and everything that happens to any of them, in one stream of news.
//!
//! It knows processes, ports and when all is quiet. It must never know what is said in a mail.
//! Whatever way it goes out of scope, it takes everything along.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::DemoError;
use super::gateway::{GatewayProcess, Settings, Sign, data_dir};
use super::host::{Event, MailHost, MailHostConfig, Step};
use crate::gateway::control::{MAX_SOCKET_PATH, control_path};
use crate::send::mailto::{Deadlines, Mailto, Reuse, Smarthost, Submission};

/// How long the gateways may take to start, and the mail of one scene to settle.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether all is quiet. There is no event for that.
const LOOK: Duration = Duration::from_millis(20);

/// Sessions of each mail server: more than a gateway keeps open at a time.
const SESSIONS: u32 = 12;

/// A mail that has gone one step, from a sender's hand into a mailbox or into a gateway.
#[derive(Debug)]
pub(super) struct Passage {
    /// What its mail server says about it.
    pub(super) event: Event,
}

impl Passage {
    /// What the one who took it said, if that was not a mailbox.
    pub(super) fn reply(&self) -> &str {
        match &self.event.step {
            Step::Relayed { reply, .. } => reply,
            _ => "",
        }
    }
}

enum News {
    Mail(Event),
    Gateway(usize, Sign),
    Stop,
}

/// Where all news come in.
pub(super) struct Ears {
    tell: Sender<News>,
    news: Receiver<News>,
}

impl Ears {
    /// From now on being told to end is news, and no end without tidying up.
    pub(super) fn open() -> Result<Ears, DemoError> {
        let (tell, news) = mpsc::channel();
        heed_signals(tell.clone())?;
        Ok(Ears { tell, news })
    }
}

/// All of it. Dropping it stops and removes everything.
pub(super) struct World {
    // Dropped from top to bottom: gateways may still want to send while they end.
    gateways: Vec<GatewayProcess>,
    /// The mailboxes of the people.
    post: MailHost,
    /// The outgoing mail server of each gateway.
    outgoing: Vec<MailHost>,
    news: Receiver<News>,
    /// Events that were taken out of `news`.
    heard: usize,
    runtime: Runtime,
    dir: Option<TempDir>,
}

impl World {
    /// Starts the mail server of the people's domain with these mailboxes, and the gateways,
    /// and waits until all of them take mail.
    pub(super) fn start(
        ears: Ears,
        post_domain: &str,
        mailboxes: &[&str],
        cast: &[Settings<'_>],
    ) -> Result<World, DemoError> {
        let Ears { tell, news } = ears;
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(DemoError::Runtime)?;
        let dir = directory(cast)?;
        let post = MailHost::start(MailHostConfig {
            maildirs: Some(dir.path().join("mail")),
            sessions: SESSIONS,
            ..MailHostConfig::new(post_domain, mailboxes)
        })?;
        watch(&post, &tell)?;
        let mut world = World {
            gateways: Vec::new(),
            post,
            outgoing: Vec::new(),
            news,
            heard: 0,
            runtime,
            dir: Some(dir),
        };
        world.start_gateways(post_domain, cast, &tell)?;
        Ok(world)
    }

    fn start_gateways(
        &mut self,
        post_domain: &str,
        cast: &[Settings<'_>],
        tell: &Sender<News>,
    ) -> Result<(), DemoError> {
        let program = std::env::current_exe().map_err(DemoError::Runtime)?;
        for (number, settings) in cast.iter().enumerate() {
            let name = format!("mail.{}", settings.domain);
            let host =
                MailHost::start(MailHostConfig { sessions: SESSIONS, ..MailHostConfig::new(&name, &[]) })?;
            watch(&host, tell)?;
            let tell = tell.clone();
            let said = move |sign| {
                // Nobody listens any more: the demo is ending.
                let _ = tell.send(News::Gateway(number, sign));
            };
            let gateway = GatewayProcess::start(&program, self.dir(), *settings, host.address(), said)?;
            self.gateways.push(gateway);
            self.outgoing.push(host);
        }
        let end = Instant::now() + PATIENCE;
        while !self.gateways.iter().all(GatewayProcess::is_ready) {
            // No mail travels yet.
            if self.next(end)?.is_none() && Instant::now() >= end {
                return Err(self.too_long("the start of the gateways"));
            }
        }
        for host in std::iter::once(&self.post).chain(&self.outgoing) {
            for gateway in &self.gateways {
                if let Some(address) = gateway.smtp {
                    host.route(&gateway.domain, address);
                }
            }
        }
        for host in &self.outgoing {
            host.route(post_domain, self.post.address());
        }
        Ok(())
    }

    /// Hands a mail to the people's mail server, by SMTP like any mail client.
    pub(super) fn submit(&self, from: &str, to: &str, mail: Vec<u8>) -> Result<(), DemoError> {
        let failed = |why: String| DemoError::Submit { from: from.to_owned(), why };
        let deadlines = Deadlines {
            connect: Duration::from_secs(5),
            command: Duration::from_secs(10),
            dot: Duration::from_secs(10),
            ..Deadlines::default()
        };
        let server = Smarthost::at(self.post.address());
        let client = Mailto::with(server, "client.example", deadlines, Reuse::NEVER)
            .map_err(|error| failed(error.to_string()))?;
        let submission = Submission {
            envelope_sender: Some(from.to_owned()),
            recipient: to.to_owned(),
            mail,
            configured: true,
        };
        let sent = self.runtime.block_on(client.submit(&submission));
        sent.map(drop).map_err(|error| failed(error.chain()))
    }

    /// Hands every mail that travels to `tell`, until nothing is under way any more.
    pub(super) fn until_quiet(
        &mut self,
        mut tell: impl FnMut(&World, &Passage) -> Result<(), DemoError>,
    ) -> Result<(), DemoError> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(passage) = self.next(end.min(Instant::now() + LOOK))? {
                tell(self, &passage)?;
            } else if self.is_quiet()? {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(self.too_long("the conversation"));
            }
        }
    }

    /// Hands every mail that travels to `tell`, until we are told to stop.
    pub(super) fn until_stopped(
        &mut self,
        mut tell: impl FnMut(&World, &Passage) -> Result<(), DemoError>,
    ) -> Result<(), DemoError> {
        loop {
            match self.next(Instant::now() + PATIENCE) {
                Ok(Some(passage)) => tell(self, &passage)?,
                Ok(None) => {}
                Err(DemoError::Interrupted) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The next mail that went a step; `None` after a sign of something else, or at the end of
    /// the time.
    fn next(&mut self, end: Instant) -> Result<Option<Passage>, DemoError> {
        match self.news.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(News::Mail(event)) => {
                self.heard = self.heard.saturating_add(1);
                // Between two mail servers: it will be seen again in its mailbox.
                let between = matches!(event.step, Step::Relayed { next, .. } if next == self.post.address());
                Ok((!between).then_some(Passage { event }))
            }
            Ok(News::Gateway(number, Sign::Line(line))) => {
                if let Some(gateway) = self.gateways.get_mut(number) {
                    gateway.hears(&line);
                }
                Ok(None)
            }
            Ok(News::Gateway(number, Sign::Ended)) => {
                let gateway = self.gateways.get(number);
                let (domain, log) =
                    gateway.map(|gateway| (gateway.domain.clone(), gateway.last_words())).unwrap_or_default();
                Err(DemoError::Ended { domain, log })
            }
            Ok(News::Stop) => Err(DemoError::Interrupted),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    /// Whether nothing is under way. A mail is always in a gateway (waiting for its decision, or
    /// in the queue) or in a mail server; what moves from one that has not been looked at yet to
    /// one that has leaves an event behind.
    fn is_quiet(&self) -> Result<bool, DemoError> {
        let heard_all = || {
            let all: usize = self.hosts().map(MailHost::happened).sum();
            all == self.heard
        };
        if !heard_all() {
            return Ok(false);
        }
        for gateway in &self.gateways {
            if !gateway.is_idle()? {
                return Ok(false);
            }
        }
        Ok(self.hosts().all(|host| host.waiting() == 0) && heard_all())
    }

    fn hosts(&self) -> impl Iterator<Item = &MailHost> {
        std::iter::once(&self.post).chain(&self.outgoing)
    }

    /// The gateway of the domain of a mail address.
    pub(super) fn gateway_of(&self, address: &str) -> Option<&GatewayProcess> {
        let (_, domain) = address.rsplit_once('@')?;
        self.gateways.iter().find(|gateway| gateway.domain == domain)
    }

    /// All gateways.
    pub(super) fn gateways(&self) -> &[GatewayProcess] {
        &self.gateways
    }

    /// Where people hand their mail in.
    pub(super) fn submission(&self) -> SocketAddr {
        self.post.address()
    }

    /// What lies in a person's mailbox, oldest first.
    pub(super) fn mailbox(&self, address: &str) -> Vec<Vec<u8>> {
        self.post.mailbox(address)
    }

    /// The maildirs of the people.
    pub(super) fn maildirs(&self) -> PathBuf {
        self.dir().join("mail")
    }

    fn dir(&self) -> &Path {
        self.dir.as_ref().map_or(Path::new(""), TempDir::path)
    }

    /// The last words of all gateways.
    pub(super) fn last_words(&self) -> String {
        let words = |gateway: &GatewayProcess| format!("\n {}{}", gateway.domain, gateway.last_words());
        self.gateways.iter().map(words).collect()
    }

    fn too_long(&self, what: &'static str) -> DemoError {
        DemoError::TooLong { what, after: PATIENCE, logs: self.last_words() }
    }

    /// Stops and removes everything.
    ///
    /// # Errors
    /// The files can't be removed.
    pub(super) fn end(mut self) -> Result<(), DemoError> {
        self.stop();
        self.hosts().for_each(MailHost::close);
        let path = self.dir().to_owned();
        let closed = self.dir.take().map_or(Ok(()), TempDir::close);
        closed.map_err(|source| DemoError::Place { path, source })
    }

    /// All gateways end at the same time.
    fn stop(&mut self) {
        self.gateways.iter().for_each(GatewayProcess::tell_to_stop);
        self.gateways.clear();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A new directory for all files: in the system's place for such (TMPDIR), or, if the paths of the
/// gateways' sockets would become too long there, in `/tmp`.
fn directory(cast: &[Settings<'_>]) -> Result<TempDir, DemoError> {
    const PREFIX: &str = "cmr-demo-";
    let mut place = std::env::temp_dir();
    let too_long = cast.iter().any(|settings| {
        let home = place.join(format!("{PREFIX}xxxxxx")).join(settings.domain);
        control_path(&data_dir(&home)).as_os_str().len() > MAX_SOCKET_PATH
    });
    if too_long {
        place = PathBuf::from("/tmp");
    }
    let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&place);
    made.map_err(|source| DemoError::Place { path: place, source })
}

/// Sends what happens at a mail server to the news, on a thread of its own.
fn watch(host: &MailHost, tell: &Sender<News>) -> Result<(), DemoError> {
    let (traffic, tell) = (host.traffic(), tell.clone());
    let watch = move || {
        for event in traffic {
            if tell.send(News::Mail(event)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("traffic".to_owned()).spawn(watch).map(drop).map_err(DemoError::Runtime)
}

/// Sends the first signal that asks us to end to the news.
fn heed_signals(tell: Sender<News>) -> Result<(), DemoError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(DemoError::Runtime)?;
    let entered = runtime.enter();
    let heed = |kind| signal(kind).map_err(DemoError::Runtime);
    let mut interrupt = heed(SignalKind::interrupt())?;
    let mut terminate = heed(SignalKind::terminate())?;
    let mut hang_up = heed(SignalKind::hangup())?;
    drop(entered);
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        // Nobody listens any more: the demo is ending anyway.
        let _ = tell.send(News::Stop);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop).map_err(DemoError::Runtime)
}
