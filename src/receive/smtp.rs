//! The SMTP and LMTP receiver on sockets: accepts, bounds how many come in, and gives each
//! connection a session.

mod connection;
mod places;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_native_tls::TlsAcceptor;

use self::connection::Connection;
use self::places::Places;
use super::Handler;
use crate::listen::{self, Budget, network_of};
use crate::smtp::SessionConfig;

/// Everything a receiver is told. A new one may come while it runs: it holds for the
/// connections that begin afterwards.
#[derive(Clone)]
pub struct Options {
    /// What each session is told.
    pub session: Arc<SessionConfig>,
    /// For STARTTLS.
    pub tls: Option<TlsAcceptor>,
    /// Connections at the same time. Default 1,000. When all places are taken, the client
    /// that has been idle for longest, and for at least `give_way`, is sent away.
    pub max_connections: usize,
    /// Of these from one IPv4 address or one IPv6 /64. Default 50. Relays are exempt.
    pub max_connections_per_ip: usize,
    /// Bytes of mails that all sessions together hold. Default 256 MiB. Beyond it, mails
    /// over 64 KiB are answered 452.
    pub max_buffered: usize,
    /// See `max_connections`. Default 10 seconds.
    pub give_way: Duration,
    /// The longest wait for the handler's verdict; then the client is told 451, and the
    /// handler goes on. Default 4 minutes (clients wait 10, RFC 5321 section 4.5.3.2.6).
    pub answer: Duration,
    /// The longest that a client may take to receive a reply. Default 1 minute.
    pub write: Duration,
    /// The longest that mails under way are waited for when the receiver stops. Default 30
    /// seconds.
    pub drain: Duration,
}

impl Options {
    /// The defaults. STARTTLS is offered exactly if `tls` is there.
    pub fn new(session: SessionConfig, tls: Option<TlsAcceptor>) -> Self {
        Options {
            session: Arc::new(SessionConfig { starttls: tls.is_some(), ..session }),
            tls,
            max_connections: 1_000,
            max_connections_per_ip: 50,
            max_buffered: 256 * 1024 * 1024,
            give_way: Duration::from_secs(10),
            answer: Duration::from_secs(4 * 60),
            write: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}

/// Receives mail on all `listeners` until `stop` is true, or its sender is gone.
///
/// Then no connection is accepted any more, clients without a mail under way are told 421,
/// mails whose text has begun are finished and answered, for [`Options::drain`] at most; what
/// is not finished then is cut off without an answer, and so still the sender's.
pub async fn serve<H: Handler>(
    listeners: Vec<TcpListener>,
    options: watch::Receiver<Arc<Options>>,
    handler: Arc<H>,
    stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Places::default());
    let budget = Arc::new(Budget::default());
    let mut loops = JoinSet::new();
    for listener in listeners {
        let door = Door {
            listener,
            options: options.clone(),
            handler: Arc::clone(&handler),
            places: Arc::clone(&places),
            budget: Arc::clone(&budget),
            stop: stop.clone(),
        };
        loops.spawn(door.serve());
    }
    while let Some(ended) = loops.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a listener ended");
        }
    }
}

/// One listener and what its connections share.
struct Door<H> {
    listener: TcpListener,
    options: watch::Receiver<Arc<Options>>,
    handler: Arc<H>,
    places: Arc<Places>,
    budget: Arc<Budget>,
    stop: watch::Receiver<bool>,
}

impl<H: Handler> Door<H> {
    async fn serve(self) {
        let Door { listener, options, handler, places, budget, stop } = self;
        let (told, stopping) = (options.clone(), stop.clone());
        let admit = move |stream, peer: SocketAddr, _| {
            let options = Arc::clone(&told.borrow());
            let address = peer.ip().to_canonical();
            let place = match places.enter(address, &options) {
                Ok(place) => place,
                Err(reply) => {
                    tracing::debug!(%address, %reply, "connection refused");
                    listen::dismiss(stream, &reply.to_bytes());
                    return None;
                }
            };
            // Replies are small and wait for nothing.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY");
            }
            let network = (!options.session.is_relay(address)).then(|| network_of(address));
            let connection = Connection {
                share: budget.share(network),
                place,
                options,
                handler: Arc::clone(&handler),
                stop: stopping.clone(),
                address,
            };
            Some(connection.run(stream))
        };
        let left = listen::accept(listener, stop, admit, move || options.borrow().drain).await;
        if left > 0 {
            tracing::warn!(left, "connections cut off while stopping");
        }
    }
}
