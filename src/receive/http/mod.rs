//! CMR over HTTP and HTTPS, inwards: uploads and bare messages by POST (A4.2), the handshake by GET
//! (A4.5), in both of its roles, and whoever asks before it sends ([`crate::wire::inquiry`]).
//!
//! It knows HTTP, TLS and how much a client may cost. It must never know what a message says. What a
//! request costs is bounded before it is read: connections in all and from one network, header lines,
//! the length of the body, the bytes of all bodies together, and time.

mod inquiries;
mod places;
mod request;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_native_tls::TlsAcceptor;

use self::inquiries::Inquiries;
use self::places::Places;
use self::request::Desk;
use super::Handler;
use crate::message::{Address, HopKey, TailHash};
use crate::send::http::{Client, Offers};

/// Waits between attempts to accept when the system has no descriptors or memory left.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Messages that are fetched from somewhere else at the same time, because somebody asked for it.
const FETCHES: usize = 16;

/// The longest wait for a client that does not read its answer.
const UNREAD: Duration = Duration::from_secs(20);

/// The bytes of a request's head, at most, and the lines of its header.
const HEAD: (usize, usize) = (32 << 10, 64);

/// Everything that a listener is told. A new one may come while it runs: it holds for the connections
/// that begin afterwards.
#[derive(Clone)]
pub struct Options {
    /// For HTTPS.
    pub tls: Option<TlsAcceptor>,
    /// The path that is answered.
    pub path: String,
    /// The longest message.
    pub max_message: usize,
    /// Servers in front of this one.
    pub proxies: Vec<IpNet>,
    /// Connections at the same time. Default 500.
    pub max_connections: usize,
    /// Of these from one IPv4 address or one IPv6 /64; those of `proxies` are exempt. Default 50.
    pub max_connections_per_ip: usize,
    /// KiB of bodies that all requests together hold. Default 64 MiB; beyond it they are answered 503.
    pub max_buffered_kib: usize,
    /// How long a TLS handshake and the head of a request may take, and a connection without one.
    /// Default 10 s.
    pub head: Duration,
    /// How long a body may take, and a second more for each 16 KiB that has come. Default 30 s.
    pub body: Duration,
    /// The longest wait for the handler's verdict; then the client is told 503, and the handler goes
    /// on. Default 50 s: others wait 60.
    pub answer: Duration,
    /// How long requests under way are waited for when the listener stops. Default 25 s.
    pub drain: Duration,
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new(path: &str, max_message: usize) -> Self {
        Options {
            tls: None,
            path: path.to_owned(),
            max_message,
            proxies: Vec::new(),
            max_connections: 500,
            max_connections_per_ip: 50,
            max_buffered_kib: 64 << 10,
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            answer: Duration::from_secs(50),
            drain: Duration::from_secs(25),
        }
    }

    fn is_proxy(&self, ip: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&ip))
    }
}

/// The door behind the listener, which also says whom a message may be fetched from, and what is here.
pub trait Office: Handler {
    /// Whether anything may be fetched from an address that a stranger names: `true` if the operator
    /// named it, so that it may be in any network.
    ///
    /// # Errors
    /// A sentence for the stranger.
    fn may_fetch(&self, from: &Address) -> impl Future<Output = Result<bool, String>> + Send;

    /// Whether a message with one of these ids is here, as far as `client` would hear that if it
    /// brought the message.
    ///
    /// # Errors
    /// A sentence: it can't be found out now.
    fn is_known(
        &self,
        ids: Vec<(HopKey, TailHash)>,
        client: Option<IpAddr>,
    ) -> impl Future<Output = Result<bool, String>> + Send;
}

/// What the handshake needs.
#[derive(Clone, Debug)]
pub struct Handshakes {
    /// Fetches what others offer.
    pub client: Client,
    /// What we offer.
    pub offers: Offers,
}

/// Receives on this listener until `stop` is true, or its sender is gone. Then no connection is
/// accepted any more, and requests under way are finished and answered, for [`Options::drain`] at most.
pub async fn serve<O: Office>(
    listener: TcpListener,
    options: watch::Receiver<Arc<Options>>,
    office: Arc<O>,
    handshakes: watch::Receiver<Handshakes>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Places::default());
    let buffered = Arc::new(Semaphore::new(options.borrow().max_buffered_kib));
    let inquiries = Arc::new(Inquiries::default());
    let fetching = Arc::new(Semaphore::new(FETCHES));
    let fetching_named = Arc::new(Semaphore::new(FETCHES));
    let mut connections = JoinSet::new();
    let mut pause = ACCEPT_PAUSE.0;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = ACCEPT_PAUSE.0;
                let options = Arc::clone(&options.borrow());
                let ip = peer.ip().to_canonical();
                let Some(place) = places.enter(ip, &options) else {
                    tracing::debug!(%ip, "too many HTTP connections");
                    continue;
                };
                let desk = Desk {
                    ip,
                    office: Arc::clone(&office),
                    handshakes: handshakes.borrow().clone(),
                    buffered: Arc::clone(&buffered),
                    inquiries: Arc::clone(&inquiries),
                    fetching: Arc::clone(&fetching),
                    fetching_named: Arc::clone(&fetching_named),
                    options,
                };
                let stop = stop.clone();
                connections.spawn(async move {
                    let _place = place;
                    connection(stream, Arc::new(desk), stop).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, ?pause, "cannot accept an HTTP connection");
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => break,
                    () = sleep(pause) => {}
                }
                pause = pause.saturating_mul(2).min(ACCEPT_PAUSE.1);
            }
        }
    }
    let drain = options.borrow().drain;
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if timeout(drain, finish).await.is_err() {
        tracing::warn!(left = connections.len(), "HTTP connections cut off while stopping");
    }
}

async fn connection<O: Office>(stream: TcpStream, desk: Arc<Desk<O>>, stop: watch::Receiver<bool>) {
    // Answers are small and wait for nothing.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    match desk.options.tls.clone() {
        None => requests(stream, desk, false, stop).await,
        Some(tls) => match timeout(desk.options.head, tls.accept(stream)).await {
            Ok(Ok(stream)) => requests(stream, desk, true, stop).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        },
    }
}

async fn requests<O: Office, S>(stream: S, desk: Arc<Desk<O>>, tls: bool, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let head = desk.options.head;
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, std::convert::Infallible>(desk.answer(request, tls).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD.0)
        .max_headers(HEAD.1)
        .serve_connection(TokioIo::new(unread(stream)), service);
    let mut serving = std::pin::pin!(serving);
    let stopped = async {
        // An error means that the daemon is gone: time to stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = stopped => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection broke");
    }
}

/// The stream, on which a write fails after a while that nobody reads: the connection of a client that
/// asks and never reads would else be held for ever.
fn unread<S: AsyncRead + AsyncWrite>(stream: S) -> std::pin::Pin<Box<TimeoutStream<S>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(UNREAD));
    Box::pin(stream)
}

/// Listens on `address`; port 0 takes a free one. To be called inside a tokio runtime.
///
/// # Errors
/// The system's word.
pub fn bind(address: SocketAddr) -> Result<TcpListener, super::ListenError> {
    super::smtp::bind(address)
}
