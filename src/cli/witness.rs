//! `cmr-mail witness`: hears what the next hop of the content filter says when the filter was killed. Started by
//! `serve`, by nobody else.

use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Outcome, UNAVAILABLE};
use super::out;
use crate::gateway::api::Failure;
use crate::receive::filter;

/// Hear the next hop's word in the place of a content filter that was killed
///
/// `serve` starts it and tells it what to listen to. It ends when `serve` does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Outcome {
    let failed = |error: std::io::Error| Failure {
        exit: UNAVAILABLE,
        sentence: format!("the witness of the filter: {error}"),
    };
    // Who ends the service ends the filter, which ends what it has begun; the witness ends by itself after it. The
    // runtime is there to swallow the signals, which it does from now on, to the end of this process.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let guard = runtime.enter();
    let _swallowed = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    drop(guard);
    let taken = filter::testify().map_err(failed)?;
    if taken > 0 {
        out::note(&format!("the filter was killed; the next hop took {taken} of its mails in that moment"));
    }
    Ok(())
}
