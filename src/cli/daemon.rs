//! The parts of a running daemon: what is started, in which order, and how it ends.
//!
//! Order matters. Everything that a mistake can keep from working (addresses, certificates,
//! sockets) is tried before anything is accepted; the gateway is open before the first mail can
//! come; and at the end the doors close before the gateway does.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::bound::{Bound, hand_over};
use super::exit::{CANT_CREATE, CONFIG, Outcome, SOFTWARE, TRY_LATER, UNAVAILABLE, fail};
use super::pages::{self, Pages};
use super::poll;
use super::pulse::Pulse;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::gateway::api::{Failure, Request, Response};
use crate::gateway::control::{self, Caller, Door, Limits, Listener};
use crate::gateway::lock::Lock;
use crate::gateway::sender::Sender;
use crate::receive::imap::Poller;
use crate::receive::{filter, http, smtp, udp};
use crate::send::queue;
use crate::smtp::{Mode, Recipients, SessionConfig};
use crate::store::queue::Lane;

/// A running daemon.
pub(super) struct Daemon {
    gateway: Gateway,
    sender: Arc<Sender>,
    listening: Vec<(&'static str, SocketAddr)>,
    /// What new SMTP sessions are told.
    smtp: watch::Sender<Arc<smtp::Options>>,
    /// What new LMTP sessions are told.
    lmtp: watch::Sender<Arc<smtp::Options>>,
    /// What new connections of the filter are told.
    filter: watch::Sender<Arc<filter::Options>>,
    /// What new connections of the HTTP listener are told.
    http: watch::Sender<Arc<http::Options>>,
    /// What the HTTP listener fetches with.
    handshakes: watch::Sender<http::Handshakes>,
    /// The pages, if there are any.
    pages: Option<Pages>,
    /// The mailboxes that are read.
    poller: Arc<OnceLock<Poller>>,
    /// Becomes true when no new work is to be taken.
    stopping: watch::Sender<bool>,
    /// Each part, by name; none of them ends before it is told to.
    parts: JoinSet<&'static str>,
}

impl Daemon {
    /// Starts everything that the configuration asks for. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// What could not be started, and why; nothing is left running then.
    pub(super) async fn start(config: Arc<Config>, bound: Bound, lock: &Lock) -> Outcome<Daemon> {
        let options = Arc::new(smtp_options(&config, Mode::Smtp)?);
        let lmtp_options = Arc::new(smtp_options(&config, Mode::Lmtp)?);
        let http_options = Arc::new(http_options(&config)?);
        let web = match &bound.web {
            None => None,
            Some(listener) => {
                let listen = pages::address(listener)?;
                Some((listen, pages::Settings::read(&config, listen)?))
            }
        };
        let doors = doors(&config, lock)?;
        let listening = bound.addresses()?;
        let listeners = hand_over(bound.smtp)?;
        let lmtp_listeners = hand_over(bound.lmtp)?;
        let filter_listeners = hand_over(bound.filter)?;
        let http_listener = hand_over(bound.http)?.pop();
        let web_listener = hand_over(bound.web)?.pop();
        let udp_socket = bound.udp.map(tokio::net::UdpSocket::from_std).transpose();
        let udp_socket = udp_socket.or_else(|e| fail(UNAVAILABLE, e.to_string()))?;
        let gateway = {
            let config = Arc::clone(&config);
            blocking(move || Gateway::start(&config)).await?.or_else(|e| fail(TRY_LATER, e.to_string()))?
        };
        let sender = {
            let gateway = gateway.clone();
            blocking(move || Sender::new(gateway)).await?.or_else(|e| fail(CONFIG, e.to_string()))?
        };
        let handshakes = sender.handshakes();
        let mut daemon = Daemon {
            gateway,
            sender: Arc::new(sender),
            listening,
            smtp: watch::Sender::new(options),
            lmtp: watch::Sender::new(lmtp_options),
            filter: watch::Sender::new(Arc::new(filter_options(&config))),
            http: watch::Sender::new(http_options),
            handshakes: watch::Sender::new(handshakes),
            pages: None,
            poller: Arc::default(),
            stopping: watch::Sender::new(false),
            parts: JoinSet::new(),
        };
        daemon.open_doors(doors);
        daemon.start_sending(Lane::Mail);
        daemon.start_sending(Lane::Direct);
        daemon.receive(listeners, daemon.smtp.subscribe(), "the SMTP receiver");
        daemon.receive(lmtp_listeners, daemon.lmtp.subscribe(), "the LMTP receiver");
        for listener in filter_listeners {
            let (options, stop) = (daemon.filter.subscribe(), daemon.stopping.subscribe());
            let judge = Arc::new(daemon.gateway.clone());
            daemon.parts.spawn(async move {
                filter::serve(listener, options, judge, stop).await;
                "the content filter"
            });
        }
        if let (Some((listen, settings)), Some(listener)) = (web, web_listener) {
            let pages = Pages::new(daemon.gateway.clone(), listen, settings);
            let stop = daemon.stopping.subscribe();
            daemon.pages = Some(pages.clone());
            daemon.parts.spawn(async move {
                pages.serve(listener, stop).await;
                "the pages"
            });
        }
        if let Some(listener) = http_listener {
            let (options, handshakes) = (daemon.http.subscribe(), daemon.handshakes.subscribe());
            let (office, stop) = (Arc::new(daemon.gateway.clone()), daemon.stopping.subscribe());
            daemon.parts.spawn(async move {
                http::serve(listener, options, office, handshakes, stop).await;
                "the HTTP listener"
            });
        }
        if let Some(socket) = udp_socket {
            let (handler, stop) = (Arc::new(daemon.gateway.clone()), daemon.stopping.subscribe());
            let service = config.udp.service.clone();
            daemon.parts.spawn(async move {
                udp::serve(socket, service, handler, stop).await;
                "the UDP listener"
            });
        }
        daemon.start_polling(&config)?;
        Ok(daemon)
    }

    /// Begins to receive mail.
    fn receive(
        &mut self,
        listeners: Vec<TcpListener>,
        options: watch::Receiver<Arc<smtp::Options>>,
        name: &'static str,
    ) {
        if listeners.is_empty() {
            return;
        }
        let (handler, stop) = (Arc::new(self.gateway.clone()), self.stopping.subscribe());
        self.parts.spawn(async move {
            smtp::serve(listeners, options, handler, stop).await;
            name
        });
    }

    /// Begins to read the mailboxes, each by a thread of its own.
    fn start_polling(&mut self, config: &Config) -> Outcome {
        let office = Arc::new(self.gateway.clone());
        let runtime = tokio::runtime::Handle::current();
        let started = Poller::start(&config.imap, &office, config.smtp.max_message, &runtime);
        let poller = started.or_else(|e| fail(UNAVAILABLE, format!("the mailboxes can't be read: {e}")))?;
        // It is empty: this is called once.
        let _ = self.poller.set(poller);
        Ok(())
    }

    /// Begins to work off a lane of the queue.
    fn start_sending(&mut self, lane: Lane) {
        let (sender, store) = (Arc::clone(&self.sender), self.gateway.store().clone());
        let (settings, wake) = (self.sender.settings(lane), self.gateway.queued_in(lane));
        let mut stop = self.stopping.subscribe();
        self.parts.spawn(async move {
            let stopped = async move {
                let _ = stop.wait_for(|&stop| stop).await;
            };
            let drained = queue::run(store, Arc::clone(&sender), settings, wake, stopped).await;
            sender.close().await;
            if drained.cut_off > 0 {
                tracing::warn!(
                    deliveries = drained.cut_off,
                    "cut off while being sent; they go out after the next start"
                );
            }
            "the queue"
        });
    }

    /// Begins to answer on the control and the intake socket.
    fn open_doors(&mut self, doors: Vec<(&'static str, Listener, Limits)>) {
        for (name, listener, limits) in doors {
            let mut stop = self.stopping.subscribe();
            let gateway = self.gateway.clone();
            let poller = Arc::clone(&self.poller);
            let handler =
                move |request, caller| handle(gateway.clone(), Arc::clone(&poller), request, caller);
            self.parts.spawn(async move {
                let stopped = async {
                    // An error means that the daemon is gone: time to stop as well.
                    let _ = stop.wait_for(|&stop| stop).await;
                };
                control::serve(listener, limits, handler, stopped).await;
                name
            });
        }
    }

    /// Tells whether the daemon works.
    pub(super) fn pulse(&self) -> Pulse {
        Pulse::of(self.gateway.clone())
    }

    /// What is listened on, for the lines on standard output.
    pub(super) fn listening(&self) -> &[(&'static str, SocketAddr)] {
        &self.listening
    }

    /// Takes up what can change while the daemon runs: sessions that begin from now on.
    ///
    /// # Errors
    /// What is wrong with the new configuration; nothing has changed then.
    pub(super) fn reload(&mut self, config: &Config) -> Outcome {
        let (smtp, lmtp) = (smtp_options(config, Mode::Smtp)?, smtp_options(config, Mode::Lmtp)?);
        let http = http_options(config)?;
        let pages = self.pages.as_ref().map(|pages| pages.settings(config)).transpose()?;
        self.gateway.reload(config).or_else(|e| fail(TRY_LATER, e.to_string()))?;
        self.sender.reload().or_else(|e| fail(CONFIG, e.to_string()))?;
        self.handshakes.send_replace(self.sender.handshakes());
        self.http.send_replace(Arc::new(http));
        self.smtp.send_replace(Arc::new(smtp));
        self.lmtp.send_replace(Arc::new(lmtp));
        self.filter.send_replace(Arc::new(filter_options(config)));
        if let (Some(pages), Some(settings)) = (&self.pages, pages) {
            pages.change(settings);
        }
        Ok(())
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

    /// Takes no new work, waits until what is under way is finished, and closes the gateway.
    pub(super) async fn stop(mut self) {
        self.stopping.send_replace(true);
        let poller = Arc::clone(&self.poller);
        if let Some(poller) = poller.get() {
            poller.begin_to_stop();
        }
        while self.parts.join_next().await.is_some() {}
        // Its threads use the database; they stop at the next step.
        let _ = blocking(move || poller.get().map(Poller::join)).await;
        let gateway = self.gateway;
        // A panic in there has been reported, and there is nothing left to be done about it.
        let _ = blocking(move || gateway.close()).await;
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Outcome<T> {
    tokio::task::spawn_blocking(work).await.or_else(|e| fail(SOFTWARE, format!("the daemon failed: {e}")))
}

/// The control socket, and the intake socket if there is to be one.
fn doors(config: &Config, lock: &Lock) -> Outcome<Vec<(&'static str, Listener, Limits)>> {
    let max_message = config.smtp.max_message;
    let failed = |e: control::ListenError| Failure { exit: CANT_CREATE, sentence: e.to_string() };
    let control = Listener::control(lock).map_err(failed)?;
    let mut doors = vec![("the control socket", control, Limits::control(max_message))];
    if let Some(path) = &config.gateway.intake_socket {
        let intake = Listener::intake(path, lock).map_err(failed)?;
        doors.push(("the intake socket", intake, Limits::intake(max_message)));
    }
    Ok(doors)
}

/// What the receiver is told by the configuration.
fn smtp_options(config: &Config, mode: Mode) -> Outcome<smtp::Options> {
    let settings = &config.smtp;
    let recipients = Recipients::new(&settings.recipients, &config.gateway.hostname)
        .or_else(|e| fail(CONFIG, e.to_string()))?;
    let tls = match &settings.tls {
        None => None,
        Some(files) => Some(files.acceptor().or_else(|e| fail(CONFIG, e.to_string()))?.into()),
    };
    let session = SessionConfig {
        hostname: config.gateway.hostname.clone(),
        mode,
        recipients,
        relays: settings.relays.clone(),
        starttls: tls.is_some(),
        limits: crate::smtp::Limits { max_message: settings.max_message, ..Default::default() },
    };
    Ok(smtp::Options {
        max_connections: settings.max_connections,
        max_connections_per_ip: settings.max_connections_per_ip,
        ..smtp::Options::new(session, tls)
    })
}

/// What the HTTP listener is told by the configuration.
fn http_options(config: &Config) -> Outcome<http::Options> {
    let settings = &config.http;
    let tls = match &settings.tls {
        None => None,
        Some(files) => Some(files.acceptor().or_else(|e| fail(CONFIG, e.to_string()))?.into()),
    };
    let proxies = settings.proxies.clone();
    Ok(http::Options { tls, proxies, ..http::Options::new(&settings.path, config.smtp.max_message) })
}

/// What the filter is told by the configuration.
fn filter_options(config: &Config) -> filter::Options {
    let settings = &config.filter;
    let spool = config.gateway.data_dir.clone();
    filter::Options {
        clients: settings.clients.clone(),
        on_error: settings.on_error,
        pass_refusals: settings.pass_refusals,
        // What runs now, also when the file has been replaced by a newer one.
        witness: Some("/proc/self/exe".into()),
        ..filter::Options::new(&config.gateway.hostname, settings.next_hop, spool)
    }
}

/// Carries a request out and records who asked for it, but never what stands in it.
async fn handle(
    gateway: Gateway,
    poller: Arc<OnceLock<Poller>>,
    request: Request,
    caller: Caller,
) -> Response {
    if matches!(request, Request::Poll) {
        let look = move || poller.get().map(|poller| poller.look_now(poll::LOOK)).unwrap_or_default();
        return poll::view(blocking(look).await?);
    }
    if caller.door == Door::Intake {
        tracing::info!(uid = caller.uid, pid = caller.pid, "mail by the intake socket");
    }
    blocking(move || gateway.handle(request)).await?
}
