//! The site on a socket: HTTP/1.1 by hyper, with TLS or without.
//!
//! It knows connections, and what each may cost. It must never know what a page holds.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_native_tls::TlsAcceptor;

use super::answer::{Ask, Method, Reply};
use super::site::{House, Site};
use crate::listen::{self, Most, Places};

/// What the listener may cost.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections at the same time, and of these from one network; those of proxies count in all only.
    /// One more is closed.
    pub connections: Most,
    /// Requests that are worked on at the same time: each may search the pool.
    pub at_once: usize,
    /// How long the head of a request, a TLS handshake, or a body may take.
    pub read: Duration,
    /// The longest form, in bytes.
    pub form: usize,
}

impl Default for Options {
    /// 64 connections, 16 of one network, 4 requests at once, 10 seconds, 64 KiB.
    fn default() -> Self {
        let connections = Most { all: 64, of_network: 16 };
        Options { connections, at_once: 4, read: Duration::from_secs(10), form: 64 << 10 }
    }
}

/// How long requests under way are waited for when the daemon stops.
const DRAIN: Duration = Duration::from_secs(25);

/// The bytes of a request's head, at most.
const HEAD: usize = 32 << 10;

struct Desk<H> {
    site: Arc<Site<H>>,
    options: Options,
    turns: Semaphore,
}

/// Serves until `stop` is true; what is under way is finished. `tls` may change: it holds for the
/// connections that begin afterwards.
pub async fn serve<H: House>(
    listener: TcpListener,
    tls: watch::Receiver<Option<TlsAcceptor>>,
    site: Arc<Site<H>>,
    options: Options,
    stop: watch::Receiver<bool>,
) {
    let desk = Arc::new(Desk { site, options, turns: Semaphore::new(options.at_once) });
    let places = Arc::new(Places::default());
    let stopping = stop.clone();
    let admit = move |stream, peer: SocketAddr, _| {
        let ip = peer.ip().to_canonical();
        let place = places.enter((!desk.site.is_proxy(ip)).then_some(ip), options.connections);
        let Some(place) = place else {
            tracing::debug!(%ip, "too many connections to the pages");
            return None;
        };
        let (desk, tls, stop) = (Arc::clone(&desk), tls.borrow().clone(), stopping.clone());
        Some(async move {
            let _place = place;
            match tls {
                None => connection(stream, peer.ip(), false, desk, stop).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = timeout(desk.options.read, tls.accept(stream)).await {
                        connection(stream, peer.ip(), true, desk, stop).await;
                    }
                }
            }
        })
    };
    // Each ends by itself soon after it was told to.
    listen::accept(listener, stop, admit, || DRAIN).await;
}

async fn connection<H: House>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    tls: bool,
    desk: Arc<Desk<H>>,
    mut stop: watch::Receiver<bool>,
) {
    let read = desk.options.read;
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(respond(request, peer, tls, desk).await) }
    });
    // Who asks and never reads would else hold its connection for ever.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(read));
    let stream = Box::pin(stream);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(read)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // A client that goes away, or is too slow, is no matter for a log.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|&stop| stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(read, connection).await;
}

async fn respond<H: House>(
    request: hyper::Request<Incoming>,
    peer: IpAddr,
    tls: bool,
    desk: Arc<Desk<H>>,
) -> hyper::Response<Full<Bytes>> {
    let head_only = request.method() == hyper::Method::HEAD;
    let reply = match read(request, peer, tls, desk.options).await {
        Err(reply) => reply,
        Ok(ask) => {
            // It is never closed.
            let _turn = desk.turns.acquire().await.ok();
            let worker = Arc::clone(&desk);
            let answered = tokio::task::spawn_blocking(move || worker.site.answer(&ask)).await;
            answered.unwrap_or_else(|error| {
                tracing::error!(%error, "a page failed");
                Reply::text(500, "this failed; the log says why")
            })
        }
    };
    let mut response =
        hyper::Response::builder().status(reply.status).header(header::CONTENT_TYPE, reply.media_type);
    if tls {
        response = response.header(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    for (name, value) in &reply.fields {
        response = response.header(*name, value);
    }
    if head_only {
        response = response.header(header::CONTENT_LENGTH, reply.body.len());
    }
    let body = if head_only { Vec::new() } else { reply.body };
    response.body(Full::new(body.into())).unwrap_or_else(|error| {
        tracing::error!(%error, "a reply can't be written");
        hyper::Response::new(Full::new(Bytes::new()))
    })
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

async fn read(
    request: hyper::Request<Incoming>,
    peer: IpAddr,
    tls: bool,
    options: Options,
) -> Result<Ask, Reply> {
    let (head, body) = request.into_parts();
    let method = match head.method {
        hyper::Method::GET | hyper::Method::HEAD => Method::Get,
        hyper::Method::POST => Method::Post,
        _ => Method::Other,
    };
    let mut form = Vec::new();
    if method == Method::Post {
        let limited = Limited::new(body, options.form);
        let collected = timeout(options.read, limited.collect())
            .await
            .map_err(|_| Reply::text(408, "the form came too slowly"))?
            .map_err(|_| Reply::text(413, "the form is too long"))?;
        form = form_urlencoded::parse(&collected.to_bytes()).into_owned().collect();
    }
    let path = percent(head.uri.path()).ok_or_else(|| Reply::text(400, "the path is not understood"))?;
    let headers = &head.headers;
    let host = match head.uri.authority() {
        Some(authority) => Some(authority.to_string()),
        None => text(headers, header::HOST),
    };
    Ok(Ask {
        method,
        path,
        query: form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
        form,
        host,
        cookie: text(headers, header::COOKIE),
        authorization: text(headers, header::AUTHORIZATION),
        origin: text(headers, header::ORIGIN),
        fetch_site: text(headers, HeaderName::from_static("sec-fetch-site")),
        forwarded_for: text(headers, HeaderName::from_static("x-forwarded-for")),
        forwarded_proto: text(headers, HeaderName::from_static("x-forwarded-proto")),
        peer,
        tls,
    })
}

/// A path without percent signs. A plus sign is itself here.
fn percent(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (high, low) = (char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
