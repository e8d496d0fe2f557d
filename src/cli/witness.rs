//! `cmr-mail witness`: hears what the next hop of the content filter says when the filter was killed. Started by
//! `serve`, by nobody else.

use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Outcome, UNAVAILABLE};
use crate::gateway::api::Failure;
use crate::process;
use crate::receive::filter;

/// SIGABRT, for which the library has no name.
const ABORT: i32 = 6;

/// Hear the next hop's word in the place of a content filter that was killed
///
/// `serve` starts it and tells it what to listen to. It ends when `serve` does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Outcome {
    // It holds connections on which mail goes, like the daemon.
    let _ = process::keep_memory_private();
    let _ = rustix::thread::set_name(c"cmr-witness");
    process::raise_descriptor_limit();
    let failed = |error: std::io::Error| Failure {
        exit: UNAVAILABLE,
        sentence: format!("the witness of the filter: {error}"),
    };
    // Who ends the service ends the filter, which ends what it has begun; the witness ends by itself after it. The
    // runtime is there to swallow the signals, which it does from now on, to the end of this process.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let guard = runtime.enter();
    // SIGABRT is what a service manager's watchdog sends, to all of a service.
    let all = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()];
    let _swallowed = all.into_iter().chain([SignalKind::from_raw(ABORT)]).map(signal).collect::<Vec<_>>();
    drop(guard);
    // It says nothing: the log is the daemon's, and in the daemon's form.
    filter::testify().map(|_| ()).map_err(failed)
}
