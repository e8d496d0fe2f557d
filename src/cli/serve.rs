//! `cmr-mail serve`: the daemon's frame. Signals, the lines on standard output, the log and what
//! the service manager is told; the parts that run inside stand in [`super::daemon`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::bound::Bound;
use super::daemon::Daemon;
use super::exit::{CANT_CREATE, Outcome, SOFTWARE, TRY_LATER, fail};
use super::logging::{self, Logging};
use super::{Context, out, settings};
use crate::config::Config;
use crate::gateway::lock::{Lock, LockError};
use crate::process::{self, Confined, Owner, raise_descriptor_limit};

/// What is under way when the daemon is told to stop may take this long.
const DRAIN: Duration = Duration::from_secs(30);

/// A verb that works on the database without a daemon is soon done.
const LOCK: Duration = Duration::from_secs(10);

/// How long threads that do not end are waited for, once everything else has ended.
const THREADS: Duration = Duration::from_secs(1);

/// Run the gateway: receive mail, route it, send mail
///
/// Prints a line for each address that it listens on, then `ready`; the log goes to standard
/// error. Stays in the foreground: systemd or another supervisor is meant to run it.
///
/// SIGTERM and SIGINT: what is under way is finished, for 30 seconds at most. SIGHUP: the
/// configuration is read again; a wrong one is refused and the old one stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail serve
  cmr-mail --config /etc/cmr-mail/cmr-mail.toml serve

Exit code 78 means a wrong configuration: starting it again would not help.")]
pub(super) struct Args {}

pub(super) fn run(context: &Context, _: &Args) -> Outcome {
    let config = context.config()?;
    let log = logging::start(config.log)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if let Some((says, mend)) = super::check::too_few_descriptors(config, raise_descriptor_limit()) {
        tracing::warn!("{says}; {mend}");
    }
    let (bound, lock) = settle_in(config)?;
    // The database's writer is a thread of its own, so that one processor is left to it. Two that
    // share connections on two processors spend more on waking each other than they gain.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.saturating_sub(1).max(1))
        .enable_all()
        .build()
        .or_else(|e| fail(SOFTWARE, format!("cannot start: {e}")))?;
    let outcome = runtime.block_on(serve(Arc::new(config.clone()), bound, &lock, &log));
    runtime.shutdown_timeout(THREADS);
    drop(lock);
    outcome
}

/// Binds the addresses, takes the data directory, and gives up everything that was needed for that: root,
/// capabilities, writing elsewhere. No other thread runs yet.
fn settle_in(config: &Config) -> Outcome<(Bound, Lock)> {
    let dir = &config.gateway.data_dir;
    let settled = match Owner::of(dir) {
        // Root binds, and what is made in the directory is its owner's already.
        Some(owner) => {
            let bound = Bound::new(config)?;
            owner.become_it().or_else(|e| fail(SOFTWARE, e.to_string()))?;
            tracing::info!(user = owner.user(), "root no longer: the user that data_dir belongs to");
            (bound, lock(dir)?)
        }
        None => {
            crate::store::prepare_dir(dir).or_else(|e| fail(CANT_CREATE, e.to_string()))?;
            let lock = lock(dir)?;
            (Bound::new(config)?, lock)
        }
    };
    if rustix::process::geteuid().is_root() {
        tracing::warn!("this runs as root, because data_dir is root's: give it to a user of its own (chown)");
    }
    if let Err(error) = process::give_up_privileges() {
        tracing::warn!(%error, "the capabilities of this process can't be given up");
    }
    if let Err(error) = process::keep_memory_private() {
        tracing::warn!(%error, "core dumps can't be switched off");
    }
    let mut writable = vec![dir.clone()];
    writable.extend(config.gateway.intake_socket.iter().filter_map(|path| path.parent().map(Path::to_owned)));
    writable.extend(config.gateway.writable.iter().cloned());
    writable.extend(process::temporary_places());
    match process::confine(&writable) {
        Ok(Confined::Wholly) => tracing::info!("confined by Landlock"),
        Ok(Confined::Partly) => tracing::info!("confined by Landlock, as far as this kernel can"),
        Ok(Confined::Not) => tracing::info!("not confined: this kernel has no Landlock"),
        Err(error) => tracing::warn!(%error, "not confined"),
    }
    Ok(settled)
}

/// Another daemon will not be done in a moment; a verb will.
fn lock(dir: &Path) -> Outcome<Lock> {
    let failed = match Lock::try_acquire(dir, "serve") {
        Err(LockError::Held { holder, .. }) if holder.as_ref().is_none_or(|h| h.role != "serve") => {
            Lock::acquire(dir, "serve", LOCK)
        }
        other => other,
    };
    failed.or_else(|e| fail(TRY_LATER, e.to_string()))
}

async fn serve(config: Arc<Config>, bound: Bound, lock: &Lock, log: &Logging) -> Outcome {
    let mut signals = Signals::new().or_else(|e| fail(SOFTWARE, format!("cannot start: {e}")))?;
    let mut daemon = tokio::select! {
        daemon = Daemon::start(Arc::clone(&config), bound, lock) => daemon?,
        () = signals.stop() => return Ok(()),
    };
    let mut lines = String::new();
    for (name, address) in daemon.listening() {
        lines.push_str(&format!("listening {name} {address}\n"));
    }
    lines.push_str("ready\n");
    // A supervisor that does not listen is no reason not to serve.
    if let Err(failure) = out::text(&lines) {
        tracing::warn!("{}", failure.sentence);
    }
    tell(&[NotifyState::Ready]);
    if let Some((says, mend)) = super::check::nobody_can_post(&config) {
        tracing::warn!("{says}; {mend}");
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "ready");

    // Until the very end: finishing takes its time, too.
    if let Some(every) = sd_notify::watchdog_enabled() {
        tokio::spawn(daemon.pulse().watch(every, || tell(&[NotifyState::Watchdog])));
    }
    let mut config = config;
    let outcome = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Told::Stop => break Ok(()),
                Told::Reload => {
                    tell(&[
                        NotifyState::Reloading,
                        NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0)),
                    ]);
                    if let Some(new) = reload(&config, &mut daemon, log) {
                        config = new;
                    }
                    tell(&[NotifyState::Ready]);
                }
            },
            failure = daemon.broken() => break Err(failure),
        }
    };

    tell(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    tokio::select! {
        drained = timeout(DRAIN, daemon.stop()) => {
            if drained.is_err() {
                tracing::warn!(seconds = DRAIN.as_secs(), "not everything was finished in time");
            }
        }
        () = signals.stop() => tracing::warn!("told to stop twice: not everything was finished"),
    }
    tracing::info!("stopped");
    outcome
}

/// Reads the configuration again. `None`: it is wrong, and the old one stays.
fn reload(old: &Config, daemon: &mut Daemon, log: &Logging) -> Option<Arc<Config>> {
    let refused = |why: &str| {
        tracing::error!("the old configuration stays: {why}");
        None
    };
    let new = match Config::load(&old.path) {
        Ok(new) => new,
        Err(error) => return refused(&settings::sentence(&error)),
    };
    if let Err(failure) = daemon.reload(&new) {
        return refused(&failure.sentence);
    }
    for warning in &new.warnings {
        tracing::warn!("{warning}");
    }
    for key in old.needs_restart(&new) {
        tracing::warn!(key, "changes at the next start only");
    }
    log.set_level(new.log.level);
    tracing::info!(path = %new.path.display(), "configuration read again");
    Some(Arc::new(new))
}

/// Tells the service manager, if there is one.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

enum Told {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hang_up.recv() => Told::Reload,
        }
    }

    /// Until told to stop; being told to reload meanwhile changes nothing.
    async fn stop(&mut self) {
        while !matches!(self.next().await, Told::Stop) {}
    }
}
