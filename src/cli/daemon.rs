//! The parts of a running daemon: what is started, in which order, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::exit::{CANT_CREATE, Outcome, SOFTWARE, UNAVAILABLE, fail};
use crate::config::Config;
use crate::gateway::api::{Failure, Request, Response};
use crate::gateway::control::{self, Caller, Door, Limits, Listener};
use crate::gateway::lock::Lock;

/// A running daemon.
pub(super) struct Daemon {
    listening: Vec<(&'static str, SocketAddr)>,
    /// Becomes true when no new work is to be taken.
    stopping: watch::Sender<bool>,
    /// Each part, by name; none of them ends before it is told to.
    parts: JoinSet<&'static str>,
}

impl Daemon {
    /// Starts everything that the configuration asks for. Nothing is accepted before the
    /// gateway is open, and nothing is left running when this fails.
    ///
    /// # Errors
    /// What could not be started, and why.
    pub(super) async fn start(config: Arc<Config>, lock: &Lock) -> Outcome<Daemon> {
        let (stopping, _) = watch::channel(false);
        let mut daemon = Daemon { listening: Vec::new(), stopping, parts: JoinSet::new() };
        daemon.sockets(&config, lock)?;
        Ok(daemon)
    }

    /// The control socket, and the intake socket if there is one.
    fn sockets(&mut self, config: &Config, lock: &Lock) -> Outcome {
        let max_message = config.smtp.max_message;
        let failed = |e: control::ListenError| Failure { exit: CANT_CREATE, sentence: e.to_string() };
        let listener = Listener::control(lock).map_err(failed)?;
        let mut doors = vec![("control", listener, Limits::control(max_message))];
        if let Some(path) = &config.gateway.intake_socket {
            let listener = Listener::intake(path, lock).map_err(failed)?;
            doors.push(("intake", listener, Limits::intake(max_message)));
        }
        for (name, listener, limits) in doors {
            let stopped = self.stopped();
            self.parts.spawn(async move {
                control::serve(listener, limits, handle, stopped).await;
                name
            });
        }
        Ok(())
    }

    /// What is listened on, for the lines on standard output.
    pub(super) fn listening(&self) -> &[(&'static str, SocketAddr)] {
        &self.listening
    }

    /// Takes up what can change while the daemon runs.
    pub(super) fn reload(&mut self, config: &Arc<Config>) {
        let _ = config;
    }

    /// Waits for a part to end that should not have.
    pub(super) async fn broken(&mut self) -> Failure {
        let sentence = match self.parts.join_next().await {
            Some(Ok(part)) => format!("{part} ended by itself"),
            Some(Err(error)) => format!("a part of the daemon failed: {error}"),
            None => "nothing runs".to_owned(),
        };
        Failure { exit: SOFTWARE, sentence }
    }

    /// Takes no new work and waits until what is under way is finished.
    pub(super) async fn stop(mut self) {
        let _ = self.stopping.send(true);
        while self.parts.join_next().await.is_some() {}
    }

    /// Done when the daemon is told to stop.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.stopping.subscribe();
        async move {
            // An error means that the daemon is gone: time to stop as well.
            let _ = stopping.wait_for(|&stopping| stopping).await;
        }
    }
}

/// Carries a request out and records who asked for it, but never what stands in it.
async fn handle(request: Request, caller: Caller) -> Response {
    if caller.door == Door::Intake {
        tracing::info!(uid = caller.uid, pid = caller.pid, "mail by the intake socket");
    }
    let work = tokio::task::spawn_blocking(move || answer(&request));
    match work.await {
        Ok(response) => response,
        Err(error) => fail(SOFTWARE, format!("the daemon failed over this request: {error}")),
    }
}

/// The gateway's answer.
fn answer(request: &Request) -> Response {
    let _ = request;
    fail(UNAVAILABLE, "this part is not there yet")
}
