//! `cmr-mail poll`: look into the mailboxes now.
//!
//! Where a daemon runs it looks; else it is done here, under the same lock, and what is to be sent
//! because of it is sent before the verb ends.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exit::{CANT_CREATE, Outcome, SOFTWARE, TRY_LATER, UNAVAILABLE, USAGE, fail};
use super::layout::count;
use super::{Context, ask, escape, logging, out};
use crate::config::{Config, Log, LogLevel};
use crate::gateway::Gateway;
use crate::gateway::api::{PolledView, Request, Response};
use crate::gateway::control::{CallError, call, control_path};
use crate::gateway::lock::{Lock, LockError};
use crate::gateway::sender::Sender;
use crate::receive::imap::{self, Looked};
use crate::send::queue;
use crate::store::queue::Lane;

/// How long a daemon is given to look into all folders; it goes on after that.
pub(super) const LOOK: Duration = Duration::from_secs(120);

/// How long the answer of the daemon is waited for.
const ANSWER: Duration = Duration::from_secs(150);

/// How long another verb, or a daemon that is starting, is waited for.
const LOCK: Duration = Duration::from_secs(10);

/// How long what is to be sent may take. What is not sent by then leaves at the next time.
const SEND: Duration = Duration::from_secs(60);

/// Look into the mailboxes of [[imap]] now
///
/// With a running daemon this asks it to look at once. Without one the mailboxes are read here,
/// what was found is routed, and what is to be sent because of it is sent: that is for cron, in
/// houses where no daemon runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail poll --once
  */5 * * * *  cmr-mail --config /etc/cmr-mail/cmr-mail.toml poll --once
                                                         (a line in a crontab)

Exit codes: 0 every mailbox was read, 69 one could not be.")]
pub(super) struct Args {
    /// Look once and end; without it, `serve` is what you want
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    format: super::Format,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    if !args.once {
        return fail(USAGE, "write poll --once; to go on reading the mailboxes: cmr-mail serve");
    }
    let config = context.config()?;
    if config.imap.is_empty() {
        return fail(
            UNAVAILABLE,
            "no mailbox is configured: write a section [[imap]]; docs/imap.md shows some",
        );
    }
    let answer = polled(config)?;
    let all: Vec<PolledView> = serde_json::from_value(answer)
        .or_else(|_| fail(TRY_LATER, "the daemon's answer is not understood"))?;
    if args.format.json {
        out::json(&all)?;
    } else {
        out::text(&all.iter().map(render).collect::<String>())?;
    }
    match all.iter().filter(|one| !one.error.is_empty()).count() {
        0 => Ok(()),
        n => fail(UNAVAILABLE, format!("{} could not be read", count(n as u64, "mailbox"))),
    }
}

fn render(one: &PolledView) -> String {
    let account = escape::line(&one.account);
    if !one.error.is_empty() {
        return format!("{account}: {}\n", escape::flat(&one.error));
    }
    let put_off = if one.put_off > 0 { format!(", {} put off", one.put_off) } else { String::new() };
    format!("{account}: {} taken or kept aside, {} left alone{put_off}\n", one.taken, one.left)
}

/// By the daemon, or here.
fn polled(config: &Config) -> Response {
    let dir = &config.gateway.data_dir;
    let socket = control_path(dir);
    let start = Instant::now();
    loop {
        match call(&socket, &Request::Poll, ANSWER) {
            Ok(response) => return response,
            Err(CallError::NoDaemon { .. }) => {}
            Err(error) => return fail(TRY_LATER, error.to_string()),
        }
        ask::not_as_root(dir)?;
        crate::store::prepare_dir(dir).or_else(|e| fail(CANT_CREATE, e.to_string()))?;
        match Lock::try_acquire(dir, "poll") {
            Ok(lock) => {
                logging::start(quiet(config.log))?;
                return here(config, &lock);
            }
            Err(LockError::Held { .. }) if start.elapsed() < LOCK => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return fail(TRY_LATER, error.to_string()),
        }
    }
}

/// Only a person at a terminal wants to see how it goes; cron would mail it.
fn quiet(log: Log) -> Log {
    let chatty = !matches!(log.level, LogLevel::Error | LogLevel::Warn);
    let level = if chatty && !std::io::stderr().is_terminal() { LogLevel::Warn } else { log.level };
    Log { level, ..log }
}

/// Reads the mailboxes, routes and sends.
fn here(config: &Config, _lock: &Lock) -> Response {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_else(|e| fail(SOFTWARE, format!("cannot start: {e}")))?;
    let gateway = Gateway::open(config).or_else(|e| fail(TRY_LATER, e.to_string()))?;
    let office = Arc::new(gateway.clone());
    let looked = imap::once(&config.imap, &office, config.smtp.max_message, runtime.handle())
        .or_else(|e| fail(SOFTWARE, format!("cannot start: {e}")))?;
    gateway.route_pending()?;
    runtime.block_on(send(&gateway));
    runtime.shutdown_timeout(Duration::from_secs(1));
    gateway.close();
    view(looked)
}

/// Sends what is due, until nothing is or the time is up. What can't be sent is said in the log and
/// waits in the queue.
async fn send(gateway: &Gateway) {
    let sender = {
        let gateway = gateway.clone();
        match tokio::task::spawn_blocking(move || Sender::new(gateway)).await {
            Ok(Ok(sender)) => Arc::new(sender),
            Ok(Err(error)) => return tracing::warn!("nothing is sent: {error}"),
            Err(error) => return tracing::warn!("nothing is sent: {error}"),
        }
    };
    let store = gateway.store().clone();
    let done = || {
        let store = store.clone();
        async move {
            let until = tokio::time::Instant::now() + SEND;
            while tokio::time::Instant::now() < until {
                let now = crate::gateway::clock::now();
                match store.read(|conn| crate::store::queue::is_busy(conn, now)) {
                    Ok(true) => tokio::time::sleep(Duration::from_millis(20)).await,
                    Ok(false) | Err(_) => break,
                }
            }
        }
    };
    let work = |lane| {
        let (settings, wake) = (sender.settings(lane), gateway.queued_in(lane));
        queue::run(store.clone(), Arc::clone(&sender), settings, wake, done())
    };
    tokio::join!(work(Lane::Mail), work(Lane::Direct));
    sender.close().await;
}

/// What the looks have come to, as the verb's result.
pub(super) fn view(looked: Vec<Looked>) -> Response {
    let views: Vec<PolledView> = looked
        .into_iter()
        .map(|Looked { account, result }| {
            let (counts, error) = match result {
                Ok(counts) => (counts, String::new()),
                Err(error) => (imap::Counts::default(), error),
            };
            PolledView { account, taken: counts.taken, left: counts.left, put_off: counts.again, error }
        })
        .collect();
    serde_json::to_value(views).or_else(|e| fail(SOFTWARE, e.to_string()))
}
