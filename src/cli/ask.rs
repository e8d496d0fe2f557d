//! How a request reaches the gateway: by the control socket of the running daemon; if none runs,
//! by opening the database here, under the same lock; for mail of users who may do neither, by the
//! intake socket.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::exit::{CONFIG, Outcome, TRY_LATER, UNAVAILABLE, fail};
use super::settings;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::gateway::api::{Failure, Request, Response};
use crate::gateway::control::{CallError, Door, call, control_path};
use crate::gateway::lock::{Lock, LockError};
use crate::process::Owner;

/// How long the daemon may take: longer than it lets itself take, so that its own words arrive.
const ANSWER: Duration = Duration::from_secs(180);

/// How long to wait for a lock that another verb, or a daemon that is starting, holds.
const LOCK: Duration = Duration::from_secs(10);

/// How often to look again meanwhile.
const POLL: Duration = Duration::from_millis(50);

/// Asks the gateway of this configuration.
///
/// # Errors
/// What the gateway says, or why it can't be asked: 69 (not this user's), 75, 78.
pub(super) fn ask(config: &Config, request: &Request) -> Response {
    let dir = &config.gateway.data_dir;
    let socket = control_path(dir);
    let start = Instant::now();
    loop {
        match call(&socket, request, ANSWER) {
            Ok(response) => return response,
            Err(CallError::NoDaemon { .. }) => {}
            Err(error @ CallError::Forbidden { .. }) => return foreign(config, request, &error),
            Err(error @ CallError::TooLong { .. }) => return fail(CONFIG, error.to_string()),
            Err(error) => return fail(TRY_LATER, error.to_string()),
        }
        as_owner(dir)?;
        // A lock in a directory that turns out to be somebody else's would be litter.
        if dir.exists() {
            crate::store::prepare_dir(dir).or_else(|e| fail(CONFIG, e.to_string()))?;
        }
        match Lock::try_acquire(dir, name(request)) {
            Ok(lock) => return in_process(config, request, &lock),
            // A daemon that is just starting has the lock before it has its socket; a verb has it
            // for a moment: in both cases looking again helps.
            Err(LockError::Held { .. }) if start.elapsed() < LOCK => std::thread::sleep(POLL),
            Err(error @ LockError::Forbidden { .. }) => return foreign(config, request, &error),
            Err(error @ LockError::Missing { .. }) => return fail(CONFIG, error.to_string()),
            Err(error @ (LockError::Held { .. } | LockError::Io { .. })) => {
                return fail(TRY_LATER, error.to_string());
            }
        }
    }
}

/// Hands mail in without a usable configuration, if there is a way; else says what was wrong with
/// the configuration.
///
/// # Errors
/// As [`ask`], or `failure`.
pub(super) fn without_configuration(named: Option<&Path>, request: &Request, failure: Failure) -> Response {
    match settings::intake_socket(named) {
        Some(socket) if Door::Intake.lets_in(request) => intake(&socket, request),
        _ => Err(failure),
    }
}

/// The data directory is another user's: mail may go by the intake socket, nothing else may.
fn foreign(config: &Config, request: &Request, why: &dyn std::error::Error) -> Response {
    if !Door::Intake.lets_in(request) {
        let dir = config.gateway.data_dir.display();
        return fail(UNAVAILABLE, format!("{why}: run this as the user who owns {dir}"));
    }
    match &config.gateway.intake_socket {
        Some(socket) => intake(socket, request),
        None => {
            fail(TRY_LATER, format!("{why}; for other users to hand mail in, set [gateway] intake_socket"))
        }
    }
}

fn intake(socket: &Path, request: &Request) -> Response {
    match call(socket, request, ANSWER) {
        Ok(response) => response,
        Err(error) => fail(TRY_LATER, error.to_string()),
    }
}

/// Root becomes the user that the directory belongs to: what root created there (a write-ahead log) the
/// daemon could not open any more. For verbs that touch no other files; before any thread is started.
pub(super) fn as_owner(dir: &Path) -> Outcome {
    match Owner::of(dir) {
        None => Ok(()),
        Some(owner) => owner.become_it().or_else(|error| fail(TRY_LATER, error.to_string())),
    }
}

/// Root may open every database, but what it creates there (a write-ahead log) would then belong
/// to root, and the daemon could not open it any more.
pub(super) fn not_as_root(dir: &Path) -> Outcome {
    let Ok(there) = std::fs::metadata(dir) else { return Ok(()) };
    let (owner, dir) = (there.uid(), dir.display());
    if owner == 0 || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    fail(
        TRY_LATER,
        format!(
            "{dir} belongs to user {owner}; what root creates there the daemon could not open any \
             more: run this as that user (sudo -u '#{owner}' cmr-mail ...)"
        ),
    )
}

/// Carries a request out here, without a daemon, under the lock.
fn in_process(config: &Config, request: &Request, _lock: &Lock) -> Response {
    let gateway = Gateway::open(config).or_else(|e| fail(TRY_LATER, e.to_string()))?;
    let response = gateway.handle(request.clone());
    gateway.close();
    response
}

/// For the lock's holder, as others see it.
fn name(request: &Request) -> &'static str {
    match request {
        Request::Post { .. } => "post",
        Request::Search { .. } => "search",
        Request::Show { .. } | Request::ShowRaw { .. } | Request::Asides { .. } => "show",
        Request::Explain { .. } => "explain",
        Request::Trace { .. } => "trace",
        Request::Peers { .. } => "peers",
        Request::Keys { .. } => "keys",
        Request::Queue { .. } => "queue",
        Request::Remove { .. } | Request::RemoveAuthor { .. } => "remove",
        Request::Block { .. } => "block",
        Request::Poll => "poll",
        Request::Status => "status",
        Request::ProbeRelay { .. } => "check",
        Request::Import(_) => "import",
        Request::Deliver { .. } => "deliver",
        Request::Filter { .. } => "filter",
        Request::Receive { .. } => "receive",
    }
}
