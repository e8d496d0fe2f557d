//! The SMTP and LMTP receiver on sockets: accepts, bounds how many come in, and gives each
//! connection a session.

mod budget;
mod connection;
mod places;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_native_tls::TlsAcceptor;

use self::budget::Budget;
use self::connection::Connection;
use self::places::Places;
use super::{Handler, ListenError};
use crate::smtp::{Reply, SessionConfig};

/// Connections that the system may keep waiting for us.
const BACKLOG: i32 = 1_024;
/// Waits between attempts to accept when the system has no descriptors or memory left.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

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

/// Listens on `address`; port 0 takes a free one.
///
/// To be called inside a tokio runtime; [`listen`] needs none.
///
/// # Errors
/// The system's word: the address is taken, not ours, or needs a privilege.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let listener = listen(address)?;
    TcpListener::from_std(listener).map_err(|source| ListenError { address, source })
}

/// As [`bind`], for a listener that is handed to a runtime later (it does not block).
///
/// # Errors
/// As [`bind`].
pub fn listen(address: SocketAddr) -> Result<std::net::TcpListener, ListenError> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    listen().map_err(|source| ListenError { address, source })
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
        let mut stop = self.stop.clone();
        let mut connections = JoinSet::new();
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = ACCEPT_PAUSE.0;
                    self.admit(stream, peer, &mut connections);
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, ?pause, "cannot accept a connection");
                    tokio::select! {
                        _ = stop.wait_for(|stop| *stop) => break,
                        () = sleep(pause) => {}
                    }
                    pause = pause.saturating_mul(2).min(ACCEPT_PAUSE.1);
                }
            }
        }
        let drain = self.options.borrow().drain;
        // New clients are refused by the system while the last mails are finished.
        drop(self.listener);
        let finish = async { while connections.join_next().await.is_some() {} };
        if timeout(drain, finish).await.is_err() {
            tracing::warn!(left = connections.len(), "connections cut off while stopping");
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        let options = Arc::clone(&self.options.borrow());
        let address = peer.ip().to_canonical();
        let place = match self.places.enter(address, &options) {
            Ok(place) => place,
            Err(reply) => {
                tracing::debug!(%address, %reply, "connection refused");
                refuse(stream, &reply);
                return;
            }
        };
        // Replies are small and wait for nothing.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let connection = Connection {
            share: self
                .budget
                .share((!options.session.is_relay(address)).then(|| places::network_of(address))),
            place,
            options,
            handler: Arc::clone(&self.handler),
            stop: self.stop.clone(),
            address,
        };
        connections.spawn(connection.run(stream));
    }
}

/// Errors of accept that concern one connection only and say nothing about the next one.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Says why and closes, without waiting for anything: the socket's buffer is empty and takes
/// these few bytes, or they are lost.
fn refuse(stream: TcpStream, reply: &Reply) {
    use std::io::Write as _;
    let written = stream.into_std().and_then(|mut stream| stream.write(&reply.to_bytes()));
    if let Err(error) = written {
        tracing::debug!(%error, "refusal not sent");
    }
}
