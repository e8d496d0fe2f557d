//! One connection to an HTTP server, or to a proxy before it: made, used, kept for the next request.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::proxy::Proxy;
use super::{Answer, HttpError, Inner};
use crate::message::Address;
use crate::policy::may_connect;
use crate::send::resolve::{ResolveError, reachable};
use crate::wire::{HttpTarget, inquiry};

/// Connections that are kept without a request, at most.
const KEPT: usize = 32;

/// Header lines of an answer, at most, and their bytes.
const HEAD: (usize, usize) = (64, 32 << 10);

const AGENT: &str = concat!("cmr-mail/", env!("CARGO_PKG_VERSION"));

/// What is wanted of a connection.
pub(super) struct Asked<'a> {
    pub(super) to: &'a Address,
    pub(super) target: &'a HttpTarget,
    /// The operator named the address.
    pub(super) configured: bool,
    /// The one IP address to connect to, where that is known already.
    pub(super) only: Option<IpAddr>,
    /// The longest answer.
    pub(super) most: usize,
    /// How long request and answer may take.
    pub(super) limit: Duration,
}

/// How long a kept connection may take to be ready for the next request.
const READY: Duration = Duration::from_millis(100);

/// A connection that is ready for a request.
pub(super) struct Kept {
    place: (bool, String, u16),
    /// It was made for an address that the operator named, and may lead into any network.
    configured: bool,
    /// The request line names the whole URL: a proxy reads it.
    forwarded: Option<Option<HeaderValue>>,
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl Kept {
    /// Whether it takes another request; waits a moment for that.
    pub(super) async fn is_ready(&mut self) -> bool {
        matches!(timeout(READY, self.sender.ready()).await, Ok(Ok(())))
    }

    /// What stands in the request line.
    pub(super) fn uri(&self, path: &str, target: &HttpTarget) -> String {
        if self.forwarded.is_some() {
            format!("http://{}{path}", target.authority())
        } else {
            path.to_owned()
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

fn place(target: &HttpTarget) -> (bool, String, u16) {
    (target.secure, target.host.clone(), target.port)
}

fn broken(error: hyper::Error) -> HttpError {
    // hyper says the cause behind its own words.
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    HttpError::Broken(format!("{error}{cause}"))
}

impl Inner {
    /// A kept connection to the same server. One that was made into somebody's network, because the
    /// operator named an address there, serves no other address.
    pub(super) fn keep(&self, asked: &Asked<'_>) -> Option<Kept> {
        if asked.only.is_some() {
            return None;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = self.deadlines.idle;
        kept.retain(|it| it.since.elapsed() < idle && !it.sender.is_closed());
        let wanted = place(asked.target);
        let at = kept.iter().position(|it| it.place == wanted && it.configured == asked.configured)?;
        Some(kept.swap_remove(at))
    }

    /// A new connection.
    pub(super) async fn connect(&self, asked: &Asked<'_>) -> Result<Kept, HttpError> {
        let limit = self.deadlines.connect;
        let connecting = self.connect_unbounded(asked);
        timeout(limit, connecting).await.unwrap_or(Err(HttpError::Late("connecting", limit.as_secs())))
    }

    async fn connect_unbounded(&self, asked: &Asked<'_>) -> Result<Kept, HttpError> {
        let target = asked.target;
        // Judged whether or not a proxy makes the connection.
        let proxy = self.proxies.of(target);
        let places = match proxy {
            _ if let Some(ip) = asked.only => {
                may_connect(asked.to, ip, asked.configured).map_err(ResolveError::from)?;
                vec![SocketAddr::new(ip, target.port)]
            }
            // Who is named by the operator is looked up by the proxy, as usual.
            Some(_) if asked.configured => Vec::new(),
            _ => {
                reachable(self.resolver.as_ref(), asked.to, (&target.host, target.port), asked.configured)
                    .await?
            }
        };
        let mut forwarded = None;
        let stream: Box<dyn Stream> = match proxy {
            None => Box::new(dial(&places).await?),
            Some(proxy) => {
                let login = proxy.login.as_ref().and_then(|login| {
                    let mut value = HeaderValue::from_str(login).ok()?;
                    value.set_sensitive(true);
                    Some(value)
                });
                let near = dial_proxy(proxy).await?;
                if target.secure || !places.is_empty() {
                    // By the IP address that was judged: the proxy looks nothing up.
                    let to = match places.first() {
                        Some(place) => place.to_string(),
                        None => format!("{}:{}", crate::wire::bracketed(&target.host), target.port),
                    };
                    tunnel(near, &to, login).await?
                } else {
                    forwarded = Some(login);
                    Box::new(near)
                }
            }
        };
        let stream: Box<dyn Stream> = if target.secure {
            let tls = tokio_native_tls::TlsConnector::from(self.tls.clone());
            Box::new(tls.connect(&target.host, stream).await.map_err(HttpError::Tls)?)
        } else {
            stream
        };
        let (sender, connection) = http1::Builder::new()
            .max_headers(HEAD.0)
            .max_buf_size(HEAD.1)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        // Ends with the connection, which ends with its sender.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP connection broke");
            }
        });
        let configured = asked.configured;
        Ok(Kept { place: place(target), configured, forwarded, sender, since: Instant::now() })
    }

    /// One request and its answer; the connection is kept if it can serve again.
    pub(super) async fn send(
        &self,
        mut kept: Kept,
        request: Request<Bytes>,
        asked: &Asked<'_>,
    ) -> Result<Answer, HttpError> {
        let until = Instant::now() + asked.limit;
        let late = |_| HttpError::Late("the answer", asked.limit.as_secs());
        let (mut head, body) = request.into_parts();
        let host = HeaderValue::from_str(&asked.target.authority());
        head.headers.insert(HOST, host.map_err(|error| HttpError::Broken(error.to_string()))?);
        head.headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(Some(login)) = &kept.forwarded {
            head.headers.insert(PROXY_AUTHORIZATION, login.clone());
        }
        let sending = kept.sender.send_request(Request::from_parts(head, Full::new(body)));
        let answer = timeout_at(until, sending).await.map_err(late)?.map_err(broken)?;
        let status = answer.status().as_u16();
        let dropped = answer.headers().get("X-CMR-Drop-Reason");
        let dropped = dropped.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let known = answer.headers().get(inquiry::FIELD);
        let known = known.and_then(|value| value.to_str().ok()?.parse().ok());
        let closes =
            answer.headers().get(CONNECTION).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"close"));
        let reading = Limited::new(answer.into_body(), asked.most).collect();
        let body = match timeout_at(until, reading).await.map_err(late)? {
            Ok(body) => body.to_bytes().to_vec(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(HttpError::Long(asked.most));
            }
            Err(error) => return Err(HttpError::Broken(error.to_string())),
        };
        if !closes && asked.only.is_none() {
            let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() < KEPT {
                kept.since = Instant::now();
                all.push(kept);
            }
        }
        Ok(Answer { status, dropped, known, body })
    }
}

/// The first of these that takes a connection.
async fn dial(places: &[SocketAddr]) -> Result<TcpStream, HttpError> {
    let mut last = io::Error::other("there is nothing to connect to");
    for place in places {
        match TcpStream::connect(place).await {
            Ok(stream) => {
                // Requests are whole writes.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY");
                }
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(HttpError::Connect(last))
}

/// A proxy is the operator's, wherever it is.
async fn dial_proxy(proxy: &Proxy) -> Result<TcpStream, HttpError> {
    TcpStream::connect((proxy.host.as_str(), proxy.port)).await.map_err(HttpError::Connect)
}

/// A tunnel through a proxy (RFC 9110, section 9.3.6).
async fn tunnel(near: TcpStream, to: &str, login: Option<HeaderValue>) -> Result<Box<dyn Stream>, HttpError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(HEAD.0)
        .max_buf_size(HEAD.1)
        .handshake(TokioIo::new(near))
        .await
        .map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to the proxy broke");
        }
    });
    let mut request =
        Request::builder().method(Method::CONNECT).uri(to).header(HOST, to).header(USER_AGENT, AGENT);
    if let Some(login) = login {
        request = request.header(PROXY_AUTHORIZATION, login);
    }
    let request =
        request.body(Empty::<Bytes>::new()).map_err(|error| HttpError::Broken(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    if !answer.status().is_success() {
        return Err(HttpError::Proxy(answer.status().as_u16()));
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(broken)?;
    Ok(Box::new(TokioIo::new(upgraded)))
}
