//! CMR over HTTP and HTTPS, outwards: the upload of RFC 1867 (A4.2), both questions of the handshake
//! (A4.5), and asking before sending ([`crate::wire::inquiry`]).
//!
//! It knows HTTP, TLS, proxies and when a connection serves once more. It must never know what a
//! message says. Redirects are never followed: what an address of a header leads to is judged once,
//! before anything is connected to.

mod askable;
mod connection;
mod proxy;

pub use proxy::{Proxies, ProxyError};

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::body::Bytes;
use hyper::{Method, Request};
use native_tls::{Certificate, Protocol, TlsConnector};
use thiserror::Error;
use tokio::sync::oneshot;

use super::outcome::{Outcome, Reply, Trouble};
use super::resolve::{Resolve, ResolveError, System, reachable};
use crate::message::{Address, HopKey, TailHash, UnixTime};
use crate::wire::handshake::{self, Waiting};
use crate::wire::inquiry::{self, Said};
use crate::wire::{HttpTarget, TargetError, multipart};
use askable::Askable;
pub use askable::{Announced, Keep};
use connection::{Asked, Kept};

/// How long the parts of a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Looking up, connecting and the TLS handshake.
    pub connect: Duration,
    /// The request and its answer: a peer may forward the message before it answers. For the body a
    /// second more for each 16 KiB.
    pub answer: Duration,
    /// How long a connection without a request is kept.
    pub idle: Duration,
}

impl Default for Deadlines {
    /// 15 s, 60 s, 5 s.
    fn default() -> Self {
        Deadlines {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            idle: Duration::from_secs(5),
        }
    }
}

/// How long a peer may take to say whether a message is there.
const INQUIRY: Duration = Duration::from_secs(10);
/// Questions before a message, at most: about itself, and about those because of which it is sent.
const QUESTIONS: u32 = 9;

impl Deadlines {
    fn with(self, bytes: usize) -> Duration {
        self.answer.saturating_add(Duration::from_secs(u64::try_from(bytes >> 14).unwrap_or(u64::MAX)))
    }

    /// The longest that an attempt with so many bytes lasts. A lease must be longer.
    #[must_use]
    pub fn attempt(self, bytes: usize) -> Duration {
        // A kept connection that turns out to be stale costs one more; a handshake waits to be asked.
        let sends = self.connect.saturating_add(self.with(bytes)).saturating_mul(2);
        let question = self.connect.saturating_add(INQUIRY);
        sends.saturating_add(question.saturating_mul(QUESTIONS))
    }
}

/// What a client is told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Certificates of authorities (PEM) to trust beside those of the system.
    pub authorities: Option<Vec<u8>>,
    /// The proxies to use.
    pub proxies: Proxies,
    /// The times.
    pub deadlines: Deadlines,
    /// What peers have announced before.
    pub announced: Announced,
}

/// Why there can be no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The TLS library does not take it.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] native_tls::Error),
    /// The file of authorities holds none.
    #[error("ca_file holds no certificate that can be read")]
    Authorities,
}

/// Why a request came to nothing.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The address is none that HTTP goes to.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// Nothing that may be connected to.
    #[error("{0}")]
    Resolve(#[from] ResolveError),
    /// Nobody listens, or the network does not reach it.
    #[error("connecting: {0}")]
    Connect(io::Error),
    /// The handshake of TLS, or the certificate.
    #[error("TLS: {0}")]
    Tls(native_tls::Error),
    /// The proxy does not want it.
    #[error("the proxy answered {0}")]
    Proxy(u16),
    /// No HTTP, or the connection broke.
    #[error("HTTP: {0}")]
    Broken(String),
    /// It took too long.
    #[error("{0} took longer than {1} s")]
    Late(&'static str, u64),
    /// The answer is longer than what is asked for can be.
    #[error("the answer is longer than {0} bytes")]
    Long(usize),
}

impl HttpError {
    /// What it means for a delivery.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let reason = self.to_string();
        match self {
            HttpError::Target(_) | HttpError::Resolve(ResolveError::Refused(_)) => {
                Outcome::Fail { reason, reply: None }
            }
            HttpError::Proxy(_) => Outcome::Retry { trouble: Trouble::Configuration, reason },
            _ => Outcome::Retry { trouble: Trouble::Network, reason },
        }
    }
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Why a message was not taken, as the answer's head says it (`X-CMR-Drop-Reason`).
    pub dropped: Option<String>,
    /// What it says about asking before sending.
    pub known: Option<Said>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// What it means for a delivery.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let said = self.sentence();
        let reason = format!("HTTP {}{}{said}", self.status, if said.is_empty() { "" } else { ": " });
        match self.status {
            200..=299 => Outcome::Done(Reply { code: self.status, text: said }),
            // Some refuse what they have already, and we may not have heard the first answer.
            _ if said.to_ascii_lowercase().contains("duplicate") => {
                Outcome::Done(Reply { code: self.status, text: said })
            }
            300..=399 => {
                Outcome::Fail { reason: format!("{reason} (redirects are not followed)"), reply: None }
            }
            // RFC 6585: too many requests.
            429 | 503 => Outcome::Retry { trouble: Trouble::Busy, reason },
            // RFC 9110: request timeout; RFC 8470: too early.
            408 | 425 | 500..=599 => Outcome::Retry { trouble: Trouble::Later, reason },
            407 => Outcome::Retry { trouble: Trouble::Configuration, reason },
            400..=499 => Outcome::Fail { reason, reply: None },
            _ => Outcome::Retry { trouble: Trouble::Network, reason },
        }
    }

    /// Why, in one short line without anything that a terminal could take for more.
    fn sentence(&self) -> String {
        let text = match &self.dropped {
            Some(dropped) => dropped.clone(),
            None if self.body.len() <= 2000 => String::from_utf8_lossy(&self.body).into_owned(),
            None => String::new(),
        };
        let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        clean.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// The messages of ours that wait to be fetched (A4.5). Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Offers(Arc<Mutex<Waiting<oneshot::Sender<()>>>>);

impl Offers {
    fn put(&self, key: String, message: Vec<u8>) -> oneshot::Receiver<()> {
        let (fetched, wait) = oneshot::channel();
        self.lock().put(key, message, fetched, present());
        wait
    }

    /// The message that waits under this key, once; and who is to be told that it was handed out.
    #[must_use]
    pub fn take(&self, key: &str) -> Option<(Vec<u8>, oneshot::Sender<()>)> {
        self.lock().take(key, present())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting<oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a peer says about a message before any is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knows {
    /// It has it.
    Yes,
    /// It has it not.
    No,
    /// It was not asked, or gave no answer that says so.
    NotTold,
    /// It has no time for questions now.
    Busy(String),
    /// It can't be reached: what that means for what would have been sent.
    Unreachable(Outcome),
}

/// A message for a peer, and what is known about the peer.
#[derive(Clone, Copy, Debug)]
pub struct Parcel<'a> {
    /// Where to.
    pub to: &'a Address,
    /// The operator named the address, so that it may be in any network.
    pub configured: bool,
    /// The message.
    pub message: &'a [u8],
}

/// Who is asked.
struct To<'a> {
    address: &'a Address,
    /// The operator named it.
    configured: bool,
    /// The one IP address to connect to.
    only: Option<IpAddr>,
}

impl<'a> To<'a> {
    fn of(parcel: &Parcel<'a>) -> Self {
        To { address: parcel.to, configured: parcel.configured, only: None }
    }
}

/// The client. Clones share its connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    tls: TlsConnector,
    resolver: Arc<dyn Resolve>,
    proxies: Proxies,
    deadlines: Deadlines,
    kept: Mutex<Vec<Kept>>,
    offers: Offers,
    askable: Askable,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client with the system's resolver. `offers`: where our listener looks for what is fetched.
    ///
    /// # Errors
    /// TLS can't be set up as told.
    pub fn new(options: Options, offers: Offers) -> Result<Self, ClientError> {
        Self::with(options, offers, Arc::new(System))
    }

    /// The same with another resolver.
    ///
    /// # Errors
    /// TLS can't be set up as told.
    pub fn with(options: Options, offers: Offers, resolver: Arc<dyn Resolve>) -> Result<Self, ClientError> {
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(Protocol::Tlsv12));
        if let Some(pem) = &options.authorities {
            let read = Certificate::stack_from_pem(pem).map_err(|_| ClientError::Authorities)?;
            if read.is_empty() {
                return Err(ClientError::Authorities);
            }
            for authority in read {
                builder.add_root_certificate(authority);
            }
        }
        let (proxies, deadlines, kept) = (options.proxies, options.deadlines, Mutex::default());
        let (tls, askable) = (builder.build()?, Askable::new(options.announced));
        Ok(Client(Arc::new(Inner { tls, resolver, proxies, deadlines, kept, offers, askable })))
    }

    /// The times in force.
    #[must_use]
    pub fn deadlines(&self) -> Deadlines {
        self.0.deadlines
    }

    /// Sends a message by upload.
    pub async fn upload(&self, parcel: &Parcel<'_>) -> Outcome {
        let token = match token() {
            Ok(token) => token,
            Err(error) => return no_luck(&error),
        };
        let (content_type, body) = multipart::write(&token, parcel.message);
        let asked = |path: String, body: Bytes| {
            Request::builder()
                .method(Method::POST)
                .uri(path)
                .header("Content-Type", content_type.as_str())
                .body(body)
        };
        match self.ask(&To::of(parcel), None, Bytes::from(body), asked, 64 << 10).await {
            Ok(answer) => {
                self.0.heard(parcel.to, &answer);
                answer.outcome()
            }
            Err(error) => error.outcome(),
        }
    }

    /// Asks a peer that has invited us to, whether it has the message with these ids, which are those of
    /// what would be sent: if so, or if it can't be reached, that is the outcome, and nothing is sent.
    /// `None`: the message is to be sent. Nothing depends on the answer but work that is saved: who says yes
    /// without having it could as well throw the message away, and who does not answer gets the message.
    pub async fn inquire(&self, parcel: &Parcel<'_>, ids: &[(HopKey, TailHash)]) -> Option<Outcome> {
        match self.knows(parcel, ids).await {
            Knows::Yes => {
                let text = "it is there already: only its ids were sent".to_owned();
                Some(Outcome::Done(Reply { code: 200, text }))
            }
            Knows::No | Knows::NotTold | Knows::Busy(_) => None,
            Knows::Unreachable(outcome) => Some(outcome),
        }
    }

    /// Asks a peer that has invited us to, whether it has one of these messages, because of which it is to get the
    /// parcel. `None`: it has, or nothing says that it has not, and the parcel is to be sent. Else it is not: there
    /// is an outcome if the peer can't be reached, and none if it has none of them.
    pub async fn relates(
        &self,
        parcel: &Parcel<'_>,
        because: &[Vec<(HopKey, TailHash)>],
    ) -> Option<Option<Outcome>> {
        let mut unrelated = false;
        for ids in because {
            match self.knows(parcel, ids).await {
                Knows::Yes | Knows::NotTold => return None,
                Knows::No => unrelated = true,
                Knows::Unreachable(outcome) => return Some(Some(outcome)),
                Knows::Busy(reason) => return Some(Some(Outcome::Retry { trouble: Trouble::Later, reason })),
            }
        }
        unrelated.then_some(None)
    }

    /// Asks the peer of a parcel, if it has invited us to, whether it has a message with these ids. Without ids
    /// nothing is asked.
    pub async fn knows(&self, parcel: &Parcel<'_>, ids: &[(HopKey, TailHash)]) -> Knows {
        if ids.is_empty() || !self.0.askable.is(parcel.to, present()) {
            return Knows::NotTold;
        }
        let asked = |path: String, body: Bytes| {
            let question = Request::builder().method(Method::POST).uri(path);
            question.header("Content-Type", inquiry::MEDIA_TYPE).body(body)
        };
        let to = To::of(parcel);
        let asking = self.ask(&to, None, Bytes::from(inquiry::write(ids)), asked, 4 << 10);
        let limit = self.0.deadlines.connect.saturating_add(INQUIRY);
        match tokio::time::timeout(limit, asking).await {
            Ok(Ok(Answer { status: 200, known: Some(Said::Yes), .. })) => Knows::Yes,
            Ok(Ok(Answer { status: 200, known: Some(Said::No), .. })) => Knows::No,
            // It has no time for questions now, and will say when it has.
            Ok(Ok(answer @ Answer { status: 429 | 503, .. })) => {
                self.0.heard(parcel.to, &answer);
                Knows::Busy(format!("HTTP {} to a question", answer.status))
            }
            Ok(Ok(_)) | Ok(Err(HttpError::Broken(_) | HttpError::Late(..) | HttpError::Long(_))) | Err(_) => {
                self.0.askable.failed(parcel.to, present());
                Knows::NotTold
            }
            Ok(Err(error)) => Knows::Unreachable(error.outcome()),
        }
    }

    /// Sends an unsigned message by handshake: the peer is told to fetch it, and the delivery is done
    /// when it did. `ours`: the address that our listener answers at.
    pub async fn offer(&self, parcel: &Parcel<'_>, ours: &Address) -> Outcome {
        let key = match token() {
            Ok(key) => key,
            Err(error) => return no_luck(&error),
        };
        let fetched = self.0.offers.put(key.clone(), parcel.message.to_vec());
        let question = handshake::ask_to_fetch(ours, &key);
        let asked = |path: String, body: Bytes| Request::builder().method(Method::GET).uri(path).body(body);
        let answer = self.ask(&To::of(parcel), Some(&question), Bytes::new(), asked, 64 << 10).await;
        let wait = self.0.deadlines.with(parcel.message.len());
        match answer {
            Ok(answer) if (200..=299).contains(&answer.status) => self.0.heard(parcel.to, &answer),
            Ok(answer) => return answer.outcome(),
            Err(error) => return error.outcome(),
        }
        match tokio::time::timeout(wait, fetched).await {
            Ok(Ok(())) => Outcome::Done(Reply { code: 200, text: "fetched".to_owned() }),
            _ => {
                // Nobody fetches it any more.
                drop(self.0.offers.take(&key));
                let reason = format!("the peer did not fetch the message within {} s", wait.as_secs());
                Outcome::Retry { trouble: Trouble::Later, reason }
            }
        }
    }

    /// Fetches the message that `sender` offers under this key, of `most` bytes at most, from this IP
    /// address: the one to which the sender's address leads ([`Client::leads_to`]). Looked up once more
    /// it could lead to somebody else.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn fetch(
        &self,
        sender: &Address,
        (ip, configured): (IpAddr, bool),
        key: &str,
        most: usize,
    ) -> Result<Answer, HttpError> {
        let asked = |path: String, body: Bytes| Request::builder().method(Method::GET).uri(path).body(body);
        let to = To { address: sender, configured, only: Some(ip) };
        self.ask(&to, Some(&handshake::ask_for(key)), Bytes::new(), asked, most).await
    }

    /// Whether the host of an address is at this IP address.
    pub async fn leads_to(&self, address: &Address, ip: IpAddr) -> bool {
        let Ok(target) = HttpTarget::parse(address) else { return false };
        // Whether it may be connected to is asked when that is done.
        let found = reachable(self.0.resolver.as_ref(), address, (&target.host, target.port), true).await;
        found.is_ok_and(|all| all.iter().any(|place| place.ip().to_canonical() == ip))
    }

    /// One request, by a kept connection if there is one.
    async fn ask(
        &self,
        to: &To<'_>,
        question: Option<&str>,
        body: Bytes,
        make: impl Fn(String, Bytes) -> hyper::http::Result<Request<Bytes>>,
        most: usize,
    ) -> Result<Answer, HttpError> {
        let target = HttpTarget::parse(to.address)?;
        let path = question.map_or_else(|| target.path.clone(), |question| target.asking(question));
        let limit = self.0.deadlines.with(body.len());
        let To { address, configured, only } = *to;
        let asked = Asked { to: address, target: &target, configured, only, most, limit };
        let broken = |error: hyper::http::Error| HttpError::Broken(error.to_string());
        if let Some(mut kept) = self.0.keep(&asked)
            // Right after an answer it takes the connection a moment to be ready for the next request.
            && kept.is_ready().await
        {
            let request = make(kept.uri(&path, &target), body.clone()).map_err(broken)?;
            match self.0.send(kept, request, &asked).await {
                Ok(answer) => return Ok(answer),
                // The server may have closed it at any time; once more, on a fresh one.
                Err(HttpError::Broken(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let fresh = self.0.connect(&asked).await?;
        let request = make(fresh.uri(&path, &target), body).map_err(broken)?;
        self.0.send(fresh, request, &asked).await
    }
}

impl Inner {
    /// What an answer to anything but a question says about asking.
    fn heard(&self, from: &Address, answer: &Answer) {
        self.askable.heard(from, answer.known == Some(Said::Ask), present());
    }
}

/// The wall clock's time: what peers announce is remembered across restarts.
fn present() -> UnixTime {
    UnixTime::from(SystemTime::now())
}

fn no_luck(error: &getrandom::Error) -> Outcome {
    Outcome::Retry { trouble: Trouble::Later, reason: format!("no random numbers: {error}") }
}

/// 24 characters that nobody can guess.
fn token() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 18];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_means() {
        let answer = |status, dropped: Option<&str>, body: &str| Answer {
            status,
            dropped: dropped.map(str::to_owned),
            known: None,
            body: body.as_bytes().to_vec(),
        };
        let table = [
            (answer(200, None, ""), "done "),
            (answer(204, None, ""), "done "),
            (answer(202, None, "taken\r\n"), "done taken"),
            (answer(400, Some("duplicate message id in cache"), ""), "done duplicate message id in cache"),
            (answer(400, Some("bad \u{1b}[31m signature"), "x"), "never HTTP 400: bad [31m signature"),
            (answer(404, None, ""), "never HTTP 404"),
            (answer(413, None, "too long"), "never HTTP 413: too long"),
            (answer(301, None, ""), "never HTTP 301 (redirects are not followed)"),
            (answer(307, None, ""), "never HTTP 307 (redirects are not followed)"),
            (answer(408, None, ""), "later HTTP 408"),
            (answer(429, None, "slow down"), "busy HTTP 429: slow down"),
            (answer(500, None, ""), "later HTTP 500"),
            (answer(503, None, "full"), "busy HTTP 503: full"),
            (answer(407, None, ""), "configuration HTTP 407"),
            (answer(600, None, ""), "network HTTP 600"),
        ];
        for (answer, expected) in table {
            let got = match answer.outcome() {
                Outcome::Done(reply) => format!("done {}", reply.text),
                Outcome::Fail { reason, .. } | Outcome::Unrelated { reason } => format!("never {reason}"),
                Outcome::Retry { trouble, reason } => format!("{trouble} {reason}"),
            };
            assert_eq!(got, expected);
        }
    }
}
