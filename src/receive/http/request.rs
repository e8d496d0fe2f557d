//! One request and its answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

use super::{FETCHES, Handshakes, Inquiries, Office, Options};
use crate::listen::{Budget, Places, Share, network_of};
use crate::message::{Address, UnixTime};
use crate::receive::{Arrival, Via};
use crate::smtp::Reply;
use crate::wire::handshake::{Question, question};
use crate::wire::inquiry::{self, Said};
use crate::wire::{multipart, scheme};

/// What an upload may be longer than its message: the header of its part, and other parts.
const AROUND: usize = 64 << 10;

/// The longest time for fetching a message: who offers one is waiting for that.
const FETCH: Duration = Duration::from_secs(20);

type Answer = Response<Full<Bytes>>;

/// What answers the requests of one connection.
pub(super) struct Desk<O> {
    /// Who is connected.
    pub(super) ip: IpAddr,
    pub(super) office: Arc<O>,
    pub(super) handshakes: Handshakes,
    /// The bytes that all requests hold.
    pub(super) budget: Arc<Budget>,
    pub(super) inquiries: Arc<Inquiries>,
    /// Turns to fetch what a stranger offers.
    pub(super) fetching: Arc<Places>,
    /// Turns to fetch what somebody offers whom the operator named.
    pub(super) fetching_named: Arc<Places>,
    pub(super) options: Arc<Options>,
}

/// Why a body was not read.
enum Unread {
    Long,
    Late,
    NoRoom,
    Broken,
}

impl<O: Office> Desk<O> {
    /// The answer to a request.
    pub(super) async fn answer(&self, request: Request<Incoming>, tls: bool) -> Answer {
        if request.uri().path() != self.options.path {
            return refuse(StatusCode::NOT_FOUND, "there is nothing here");
        }
        let (client, secret) = self.client(request.headers(), tls);
        let asks = |headers: &HeaderMap| {
            headers
                .get(CONTENT_TYPE)
                .is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(inquiry::MEDIA_TYPE.as_bytes()))
        };
        let answer = match *request.method() {
            Method::POST if asks(request.headers()) => self.inquiry(request, client).await,
            Method::POST => self.take(request, client, secret).await,
            Method::GET => self.handshake(request.uri().query(), client, secret).await,
            _ => {
                let mut answer = refuse(StatusCode::METHOD_NOT_ALLOWED, "a CMR message is sent here by POST");
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
                answer
            }
        };
        let invited = self.inquiries.allows(client.unwrap_or(self.ip), false, Instant::now());
        if invited && !answer.headers().contains_key(inquiry::FIELD) {
            saying(answer, Said::Ask)
        } else {
            answer
        }
    }

    /// The original client, if it is known, and whether nobody on the way could read.
    fn client(&self, headers: &HeaderMap, tls: bool) -> (Option<IpAddr>, bool) {
        if !self.options.is_proxy(self.ip) {
            return (Some(self.ip), tls);
        }
        // The last one is what the proxy itself saw; those before it anybody may have written.
        let last = |name: &str| {
            let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
            value.rsplit(',').next().map(|one| one.trim().to_owned())
        };
        let client =
            last("X-Forwarded-For").and_then(|text| text.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        let secret = last("X-Forwarded-Proto").map_or(tls, |proto| proto.eq_ignore_ascii_case("https"));
        (client.map(|ip| ip.to_canonical()), secret)
    }

    /// A message by POST.
    async fn take(&self, request: Request<Incoming>, client: Option<IpAddr>, secret: bool) -> Answer {
        let content_type =
            request.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).map(str::to_owned);
        let most = self.options.max_message.saturating_add(AROUND);
        let declared =
            request.headers().get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > u64::try_from(most).unwrap_or(u64::MAX)) {
            return self.too_long();
        }
        let (body, _room) = match self.read(request.into_body(), client, most).await {
            Ok(read) => read,
            Err(Unread::Long) => return self.too_long(),
            Err(Unread::Late) => {
                return closing(refuse(StatusCode::REQUEST_TIMEOUT, "the body took too long"));
            }
            Err(Unread::NoRoom) => return closing(busy("too much is being received at present")),
            Err(Unread::Broken) => return closing(refuse(StatusCode::BAD_REQUEST, "the body broke off")),
        };
        let message = match multipart::read(content_type.as_deref(), &body) {
            Ok(message) if message.len() > self.options.max_message => return self.too_long(),
            Ok(message) => message.to_vec(),
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        drop(body);
        let reply = self.admit(arrival(client, secret, None, message)).await;
        said(&reply)
    }

    fn too_long(&self) -> Answer {
        let why = format!("a message has {} bytes at most here", self.options.max_message);
        closing(refuse(StatusCode::PAYLOAD_TOO_LARGE, &why))
    }

    /// The ids of a message that somebody would send.
    async fn inquiry(&self, request: Request<Incoming>, client: Option<IpAddr>) -> Answer {
        if !self.inquiries.allows(client.unwrap_or(self.ip), true, Instant::now()) {
            let why = "this network has asked too often within a minute; messages may be sent all the same";
            let mut answer = closing(refuse(StatusCode::TOO_MANY_REQUESTS, why));
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
            return answer;
        }
        let Ok((body, _room)) = self.read(request.into_body(), client, inquiry::MOST).await else {
            return closing(refuse(
                StatusCode::BAD_REQUEST,
                "the inquiry is too long, too slow, or broke off",
            ));
        };
        let ids = match inquiry::read(&body) {
            Ok(ids) => ids,
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        match self.office.is_known(ids, client).await {
            Ok(true) => saying(plain(StatusCode::OK, line("it is here")), Said::Yes),
            Ok(false) => saying(plain(StatusCode::OK, line("it is not here")), Said::No),
            Err(why) => busy(&why),
        }
    }

    /// Reads a body within its bounds. The room for it is taken while it comes: what a client only
    /// says that it will send takes none.
    async fn read(
        &self,
        mut body: Incoming,
        client: Option<IpAddr>,
        most: usize,
    ) -> Result<(Vec<u8>, Share), Unread> {
        let begun = Instant::now();
        let mut room = self.budget.share(client.map(network_of));
        let mut read = Vec::new();
        while !body.is_end_stream() {
            let earned = Duration::from_secs(u64::try_from(read.len() >> 14).unwrap_or(u64::MAX));
            let until = begun + self.options.body.saturating_add(earned);
            let frame = match timeout_at(until, body.frame()).await {
                Err(_) => return Err(Unread::Late),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Unread::Broken),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            let length = read.len().saturating_add(data.len());
            if length > most {
                return Err(Unread::Long);
            }
            // What is read is kept twice for a moment: as it came, and taken out of its wrapping.
            if !room.hold(length.saturating_mul(2), self.options.max_buffered) {
                return Err(Unread::NoRoom);
            }
            read.extend_from_slice(&data);
        }
        Ok((read, room))
    }

    /// The verdict. The work goes on to its end even when the client goes away.
    async fn admit(&self, arrival: Arrival) -> Reply {
        let office = Arc::clone(&self.office);
        let work = tokio::spawn(async move { office.admit(arrival).await });
        match timeout(self.options.answer, work).await {
            Ok(Ok(verdict)) => verdict.reply,
            Ok(Err(error)) => {
                tracing::error!(%error, "an error in the program while a message was taken");
                Reply::trouble("an error in the program")
            }
            Err(_) => Reply::trouble("this takes too long at present; please try again later"),
        }
    }

    /// A question of the handshake.
    async fn handshake(&self, query: Option<&str>, client: Option<IpAddr>, secret: bool) -> Answer {
        match question(query) {
            Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
            Ok(Question::Take { key }) => match self.handshakes.offers.take(&key) {
                None => refuse(StatusCode::NOT_FOUND, "nothing is kept under this key"),
                Some((message, taken)) => {
                    // Who offered it may have stopped waiting; then it is sent again.
                    let _ = taken.send(());
                    plain(StatusCode::OK, message.into())
                }
            },
            Ok(Question::Fetch { sender, key }) => self.fetch(sender, key, client, secret).await,
        }
    }

    /// Bob's part: says yes, and fetches the message from where it is said to come from, which has to
    /// be where the request came from. Nobody can make us ask a third party for anything.
    async fn fetch(&self, sender: Address, key: String, client: Option<IpAddr>, secret: bool) -> Answer {
        let Some(client) = client else {
            return refuse(StatusCode::BAD_REQUEST, "it is not known here who asks");
        };
        let configured = match self.office.may_fetch(&sender).await {
            Ok(configured) => configured,
            Err(why) => return refuse(StatusCode::FORBIDDEN, &why),
        };
        // Strangers can't take the turns of those whom the operator named. The look-up is a part of it.
        let turns = if configured { &self.fetching_named } else { &self.fetching };
        let Some(turn) = turns.enter(Some(client), FETCHES) else {
            return busy("too many messages are being fetched at present");
        };
        if !self.handshakes.client.leads_to(&sender, client).await {
            let why = format!("{sender} does not lead to {client}, from where this request came");
            return refuse(StatusCode::FORBIDDEN, &why);
        }
        // Its own TLS has to be as good as the request's: the channel is that of the fetching.
        let secret = secret && scheme(&sender).is_some_and(crate::wire::Scheme::is_secret);
        let (office, client_of) = (Arc::clone(&self.office), self.handshakes.client.clone());
        let most = self.options.max_message;
        tokio::spawn(async move {
            let _turn = turn;
            let fetched = client_of.fetch(&sender, (client, configured), &key, most);
            let Ok(fetched) = timeout(FETCH, fetched).await else {
                tracing::info!(%sender, "fetching took too long");
                return;
            };
            match fetched {
                Ok(answer) if answer.status == 200 => {
                    let shown = sender.to_string();
                    let reply =
                        office.admit(arrival(Some(client), secret, Some(sender), answer.body)).await.reply;
                    if reply.code() >= 300 {
                        tracing::info!(sender = shown, why = reply.text(), "a fetched message was not taken");
                    }
                }
                Ok(answer) => tracing::info!(%sender, status = answer.status, "nothing could be fetched"),
                Err(error) => tracing::info!(%sender, %error, "nothing could be fetched"),
            }
        });
        plain(StatusCode::OK, Bytes::new())
    }
}

fn arrival(client: Option<IpAddr>, secret: bool, proof: Option<Address>, raw: Vec<u8>) -> Arrival {
    let now = UnixTime::from(SystemTime::now());
    Arrival { peer: client, tls: secret, proof, ..Arrival::new(Via::Http, raw, now) }
}

/// The answer that says what a reply says.
fn said(reply: &Reply) -> Answer {
    let text = reply.text();
    let status = match reply.code() {
        200..=299 => StatusCode::OK,
        450 => StatusCode::TOO_MANY_REQUESTS,
        552 => StatusCode::PAYLOAD_TOO_LARGE,
        554 => StatusCode::BAD_REQUEST,
        500..=599 => StatusCode::FORBIDDEN,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut answer =
        if status == StatusCode::OK { plain(status, line(&text)) } else { refuse(status, &text) };
    if status == StatusCode::OK {
        answer.headers_mut().insert("X-CMR-Accepted", HeaderValue::from_static("1"));
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("300"));
    }
    answer
}

fn busy(why: &str) -> Answer {
    let mut answer = refuse(StatusCode::SERVICE_UNAVAILABLE, why);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
    answer
}

fn refuse(status: StatusCode, why: &str) -> Answer {
    let mut answer = plain(status, line(why));
    let headers = answer.headers_mut();
    headers.insert("X-CMR-Accepted", HeaderValue::from_static("0"));
    let visible: String =
        why.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
    if let Ok(value) = HeaderValue::from_str(&visible) {
        headers.insert("X-CMR-Drop-Reason", value);
    }
    answer
}

/// The answer with this word to whoever asks before it sends.
fn saying(mut answer: Answer, said: Said) -> Answer {
    if let Ok(value) = HeaderValue::from_str(&said.to_string()) {
        answer.headers_mut().insert(inquiry::FIELD, value);
    }
    answer
}

/// The rest of the request is not read: the connection can't be used again.
fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn line(text: &str) -> Bytes {
    Bytes::from(format!("{text}\n"))
}

fn plain(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert("X-Content-Type-Options", HeaderValue::from_static("nosniff"));
    answer
}
