//! CMR over HTTP and HTTPS, inwards: uploads and bare messages by POST (A4.2), the handshake by GET
//! (A4.5), in both of its roles, and whoever asks before it sends ([`crate::wire::inquiry`]).
//!
//! It knows HTTP, TLS and how much a client may cost. It must never know what a message says. What a
//! request costs is bounded before it is read: connections in all and from one network, header lines,
//! the length of the body, the bytes of all bodies together, and time.

mod inquiries;
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
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_native_tls::TlsAcceptor;

use self::inquiries::Inquiries;
use self::request::Desk;
use super::Handler;
use crate::listen::{self, Budget, Most, Places};
use crate::message::{Address, HopKey, TailHash};
use crate::send::http::{Client, Offers};

/// Messages that are fetched from somewhere else at the same time, because somebody asked for it; the
/// look-ups of their names count from the start. A network of clients has a quarter of the turns: who
/// names hosts whose name servers never answer must not keep the others from being heard.
const FETCHES: Most = Most { all: 16, of_network: 4 };

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
    /// Bytes of bodies that all requests together hold, each of them twice: as it came, and taken out of
    /// its wrapping. Default 64 MiB, the clients of one network a quarter of it; beyond it bodies of more
    /// than 32 KiB are answered 503.
    pub max_buffered: usize,
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
            max_buffered: 64 << 20,
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
    stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Places::default());
    let budget = Arc::new(Budget::default());
    let inquiries = Arc::new(Inquiries::default());
    let (fetching, fetching_named) = (Arc::default(), Arc::default());
    let (told, stopping) = (options.clone(), stop.clone());
    let admit = move |stream, peer: SocketAddr, _| {
        let options = Arc::clone(&told.borrow());
        let ip = peer.ip().to_canonical();
        let most = Most { all: options.max_connections, of_network: options.max_connections_per_ip };
        let Some(place) = places.enter((!options.is_proxy(ip)).then_some(ip), most) else {
            tracing::debug!(%ip, "too many HTTP connections");
            return None;
        };
        let desk = Desk {
            ip,
            office: Arc::clone(&office),
            handshakes: handshakes.borrow().clone(),
            budget: Arc::clone(&budget),
            inquiries: Arc::clone(&inquiries),
            fetching: Arc::clone(&fetching),
            fetching_named: Arc::clone(&fetching_named),
            options,
        };
        let stop = stopping.clone();
        Some(async move {
            let _place = place;
            connection(stream, Arc::new(desk), stop).await;
        })
    };
    let left = listen::accept(listener, stop, admit, move || options.borrow().drain).await;
    if left > 0 {
        tracing::warn!(left, "HTTP connections cut off while stopping");
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
