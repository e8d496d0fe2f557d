//! One connection to the smarthost: from connecting to QUIT.

use super::error::{SendError, from_client};
use super::login::Shown;
use super::smarthost::Guard;
use super::transcript::Transcript;
use super::wire::{Carrier, Wire};
use super::{Deadlines, Envelope};
use crate::send::outcome::{Reply, Stage};
use crate::smtp::Bearer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Ehlo, Mail, Quit, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use native_tls::TlsConnector;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// How long a QUIT and the answer to it may take; nothing depends on them.
const QUIT_WITHIN: Duration = Duration::from_secs(2);

/// Bytes of a command line with its end (RFC 5321, section 4.5.3.1.4).
const LONGEST_COMMAND: usize = 512;

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The host's name, or its address: whose certificate it must be.
    pub(super) name: String,
    /// Its port.
    pub(super) port: u16,
    /// Where it was found to be; none where the system looks it up.
    pub(super) at: Option<SocketAddr>,
    /// As it is named to people.
    pub(super) shown: String,
}

/// What a connection can carry: mail for anybody (`None`), or for this domain, and whether its recipients
/// were named by the operator.
pub(super) type Serves = Option<(String, bool)>;

/// A connection that has said EHLO (and AUTH) and waits for mails.
pub(super) struct Session {
    client: AsyncSmtpConnection,
    host: String,
    deadlines: Deadlines,
    pub(super) mails: u32,
    /// The last transaction ended in a refusal and stands open.
    pub(super) needs_reset: bool,
    pub(super) last_used: Instant,
    pub(super) transcript: Transcript,
    pub(super) serves: Serves,
}

impl Session {
    /// Connects, and logs in with what shows that the login there is ours, if there is one.
    pub(super) async fn open(
        place: &Place,
        guard: &Guard,
        hello: &ClientId,
        deadlines: Deadlines,
        login: Option<&Shown>,
        transcript: Transcript,
    ) -> Result<Self, SendError> {
        let host = place.shown.clone();
        let stream = connect(place, deadlines.connect).await?;
        transcript.note(&format!("connected to {host}"));
        let wire = match guard {
            Guard::Plain => Wire::new(Carrier::Plain(stream), transcript.clone()),
            Guard::Tls(connector) => {
                let tls = handshake(place, connector, stream, deadlines.connect).await?;
                Wire::new(tls, transcript.clone())
            }
            Guard::StartTls(connector) | Guard::Opportunistic(connector) => {
                let limit = deadlines.command;
                let asked = within(Stage::Tls, limit, ask_for_tls(stream, &host, hello, &transcript)).await?;
                let carrier = match asked {
                    Asked::Go(stream) => handshake(place, connector, stream, deadlines.connect).await?,
                    Asked::NotOffered(stream) if matches!(guard, Guard::Opportunistic(_)) => {
                        Carrier::Plain(stream)
                    }
                    Asked::NotOffered(_) => return Err(SendError::NoStartTls { host }),
                };
                Wire::greeted(carrier, transcript.clone())
                    .map_err(|fault| SendError::Garbled { stage: Stage::Tls, reason: fault.to_string() })?
            }
        };
        let greeting = AsyncSmtpConnection::connect_with_transport(Box::new(wire), hello);
        let client = client_step(Stage::Hello, deadlines.command, greeting).await?;
        let mut session = Self {
            client,
            host,
            deadlines,
            mails: 0,
            needs_reset: false,
            last_used: Instant::now(),
            transcript,
            serves: None,
        };
        match login {
            None => {}
            Some(Shown::Password { user, password }) => {
                let credentials = Credentials::new(user.clone(), password.to_string());
                session.authenticate(&credentials).await?;
            }
            Some(Shown::Token { user, token }) => {
                let bearer = session.bearer(hello).await?;
                let first = bearer.first(user, (&place.name, place.port), token).ok_or_else(|| {
                    let reason = "what the command printed, or the user, has a character that can't be sent";
                    SendError::NoToken { reason: reason.to_owned() }
                })?;
                session.show_token(bearer, &STANDARD.encode(first.as_bytes())).await?;
            }
        }
        Ok(session)
    }

    async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), SendError> {
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        let offered = self.client.server_info();
        if offered.get_auth_mechanism(&mechanisms).is_none() {
            return Err(SendError::NoAuth { host: self.host.clone(), ways: ["PLAIN", "LOGIN"] });
        }
        let auth = self.client.auth(&mechanisms, credentials);
        let reply = client_step(Stage::Auth, self.deadlines.command, auth).await?;
        wanted(Stage::Auth, &reply, 200..=299).map(drop)
    }

    /// The mechanism for a token that the server offers.
    async fn bearer(&mut self, hello: &ClientId) -> Result<Bearer, SendError> {
        if self.client.server_info().supports_auth_mechanism(Mechanism::Xoauth2) {
            return Ok(Bearer::Xoauth2);
        }
        // The client library has forgotten the mechanisms that it does not know: it is asked again.
        let asked = self.client.command(Ehlo::new(hello.clone()));
        let offer = client_step(Stage::Hello, self.deadlines.command, asked).await?;
        let is_offered = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            words.next().is_some_and(|word| word.eq_ignore_ascii_case("AUTH"))
                && words.any(|word| word.eq_ignore_ascii_case(Bearer::OauthBearer.name()))
        };
        let ways = [Bearer::Xoauth2.name(), Bearer::OauthBearer.name()];
        if offer.message().any(is_offered) {
            Ok(Bearer::OauthBearer)
        } else {
            Err(SendError::NoAuth { host: self.host.clone(), ways })
        }
    }

    /// Shows a token. The client library would give up where the server asks for an answer to its refusal.
    async fn show_token(&mut self, bearer: Bearer, first: &str) -> Result<(), SendError> {
        let name = bearer.name();
        let (command, mut rest) = match format!("AUTH {name} {first}\r\n") {
            whole if whole.len() <= LONGEST_COMMAND => (whole, None),
            // RFC 4954, section 4: what is too long for a command is the answer to a challenge.
            _ => (format!("AUTH {name}\r\n"), Some(format!("{first}\r\n"))),
        };
        let mut reply = self.auth_step(&command).await?;
        if reply.code == 334
            && let Some(first) = rest.take()
        {
            reply = self.auth_step(&first).await?;
        }
        if reply.code == 334 {
            let resigned = format!("{}\r\n", STANDARD.encode(bearer.resigned()));
            reply = self.auth_step(&resigned).await?;
        }
        if (200..=299).contains(&reply.code) {
            Ok(())
        } else {
            Err(SendError::Refused { stage: Stage::Auth, reply })
        }
    }

    async fn auth_step(&mut self, line: &str) -> Result<Reply, SendError> {
        let said = client_step(Stage::Auth, self.deadlines.command, self.client.command(line)).await?;
        wanted(Stage::Auth, &said, 200..=399)
    }

    /// One mail to one recipient. The mail is canonical (`lines::canonical`).
    pub(super) async fn submit(&mut self, envelope: &Envelope, mail: &[u8]) -> Result<Reply, SendError> {
        let limit = self.deadlines.command;
        let parameters = self.parameters(envelope, mail)?;
        let command = Mail::new(envelope.sender.clone(), parameters);
        let reply = client_step(Stage::Mail, limit, self.client.command(command)).await?;
        wanted(Stage::Mail, &reply, 200..=299)?;

        let command = Rcpt::new(envelope.recipient.clone(), Vec::new());
        let reply = client_step(Stage::Rcpt, limit, self.client.command(command)).await?;
        wanted(Stage::Rcpt, &reply, 200..=299)?;

        let reply = client_step(Stage::Data, limit, self.client.command(Data)).await?;
        wanted(Stage::Data, &reply, 354..=354)?;

        self.mails = self.mails.saturating_add(1);
        let limit = self.deadlines.body(mail.len());
        let sent = client_step(Stage::Body, limit, self.client.message(mail)).await;
        let reply = match sent {
            // A server that refuses in the middle of the mail says why and closes; the failed
            // write hides what it said.
            Err(SendError::Broken { stage, reason }) => {
                let last_word = self.client.read_response();
                match client_step(Stage::Body, QUIT_WITHIN, last_word).await {
                    Err(refused @ SendError::Refused { .. }) => return Err(refused),
                    _ => return Err(SendError::Broken { stage, reason }),
                }
            }
            other => other?,
        };
        wanted(Stage::Body, &reply, 200..=299)
    }

    /// Brings the dialogue back to the start after a refusal; says whether that worked.
    pub(super) async fn reset(&mut self) -> bool {
        let reset = self.client.command(Rset);
        let done = client_step(Stage::Mail, self.deadlines.connect, reset).await;
        self.needs_reset = done.is_err();
        done.is_ok()
    }

    /// Says goodbye and closes; a server that does not listen any more is no error.
    pub(super) async fn quit(mut self) {
        let farewell = async {
            let _ = self.client.command(Quit).await;
        };
        let _ = timeout(QUIT_WITHIN, farewell).await;
    }

    fn parameters(&self, envelope: &Envelope, mail: &[u8]) -> Result<Vec<MailParameter>, SendError> {
        let needs = |extension, keyword| {
            if self.client.server_info().supports_feature(extension) {
                Ok(())
            } else {
                Err(SendError::NeedsExtension { host: self.host.clone(), extension: keyword })
            }
        };
        let mut parameters = Vec::new();
        if !mail.is_ascii() {
            needs(Extension::EightBitMime, "8BITMIME")?;
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        if !envelope.is_ascii() {
            needs(Extension::SmtpUtfEight, "SMTPUTF8")?;
            parameters.push(MailParameter::SmtpUtfEight);
        }
        Ok(parameters)
    }
}

async fn connect(place: &Place, limit: Duration) -> Result<TcpStream, SendError> {
    let failed = |source| SendError::Connect { host: place.shown.clone(), source };
    let connecting = async {
        match place.at {
            Some(at) => TcpStream::connect(at).await,
            None => TcpStream::connect((place.name.as_str(), place.port)).await,
        }
    };
    let stream = timeout(limit, connecting)
        .await
        .map_err(|_| SendError::Timeout { stage: Stage::Connect, after: limit })?
        .map_err(failed)?;
    // The final dot is a write of its own: with Nagle's algorithm it waits for the peer's
    // delayed acknowledgement, 40 ms for each mail.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

async fn handshake(
    place: &Place,
    connector: &TlsConnector,
    stream: TcpStream,
    limit: Duration,
) -> Result<Carrier, SendError> {
    let connector = tokio_native_tls::TlsConnector::from(connector.clone());
    let stream = timeout(limit, connector.connect(&place.name, stream))
        .await
        .map_err(|_| SendError::Timeout { stage: Stage::Tls, after: limit })?
        .map_err(|source| SendError::Tls { host: place.shown.clone(), source })?;
    Ok(Carrier::Tls(Box::new(stream)))
}

/// What a server says about TLS.
enum Asked {
    /// The handshake may begin.
    Go(TcpStream),
    /// It has none; it was greeted.
    NotOffered(TcpStream),
}

/// Greeting, EHLO and STARTTLS on the naked connection, and nothing else.
///
/// Not left to the client library: it would keep what was sent behind the answer to STARTTLS
/// in its buffer and believe it after the handshake.
async fn ask_for_tls(
    stream: TcpStream,
    host: &str,
    hello: &ClientId,
    transcript: &Transcript,
) -> Result<Asked, SendError> {
    let mut wire = Wire::new(Carrier::Plain(stream), transcript.clone());
    let (greeting, _) = read_reply(&mut wire, Stage::Hello).await?;
    positive(Stage::Hello, greeting)?;
    write(&mut wire, Stage::Hello, &format!("EHLO {hello}\r\n")).await?;
    let (offer, lines) = read_reply(&mut wire, Stage::Hello).await?;
    positive(Stage::Hello, offer)?;
    let offered = |line: &String| line.trim().eq_ignore_ascii_case("STARTTLS");
    let injected = || SendError::Injected { host: host.to_owned() };
    if !lines.iter().skip(1).any(offered) {
        return wire.into_plain().map(Asked::NotOffered).ok_or_else(injected);
    }
    write(&mut wire, Stage::Tls, "STARTTLS\r\n").await?;
    let (go, _) = read_reply(&mut wire, Stage::Tls).await?;
    positive(Stage::Tls, go)?;
    if !wire.is_drained() {
        return Err(injected());
    }
    wire.into_plain().map(Asked::Go).ok_or_else(injected)
}

async fn write(wire: &mut Wire, stage: Stage, line: &str) -> Result<(), SendError> {
    wire.write_all(line.as_bytes()).await.map_err(|e| broken(stage, &e))
}

async fn read_reply(wire: &mut Wire, stage: Stage) -> Result<(Reply, Vec<String>), SendError> {
    let mut texts = Vec::new();
    loop {
        let line = wire
            .line()
            .await
            .map_err(|e| broken(stage, &e))?
            .ok_or_else(|| SendError::Broken { stage, reason: "closed by the server".to_owned() })?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let parsed =
            line.split_at_checked(3).and_then(|(code, rest)| Some((code.parse::<u16>().ok()?, rest)));
        let Some((code, rest)) = parsed else {
            return Err(SendError::Garbled { stage, reason: format!("{line:?}") });
        };
        let text = rest.strip_prefix(['-', ' ']).unwrap_or(rest);
        texts.push(text.to_owned());
        if !rest.starts_with('-') {
            let text = texts.join(" ");
            return Ok((Reply { code, text }, texts));
        }
    }
}

fn broken(stage: Stage, error: &io::Error) -> SendError {
    let reason = error.to_string();
    if error.kind() == io::ErrorKind::InvalidData {
        SendError::Garbled { stage, reason }
    } else {
        SendError::Broken { stage, reason }
    }
}

fn positive(stage: Stage, reply: Reply) -> Result<(), SendError> {
    if (200..=299).contains(&reply.code) { Ok(()) } else { Err(SendError::Refused { stage, reply }) }
}

async fn within<T>(
    stage: Stage,
    limit: Duration,
    step: impl Future<Output = Result<T, SendError>>,
) -> Result<T, SendError> {
    timeout(limit, step).await.unwrap_or(Err(SendError::Timeout { stage, after: limit }))
}

async fn client_step<T>(
    stage: Stage,
    limit: Duration,
    step: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
) -> Result<T, SendError> {
    within(stage, limit, async { step.await.map_err(|e| from_client(stage, &e)) }).await
}

/// The client library takes any 2xx or 3xx for success; only one class is it at each stage.
fn wanted(
    stage: Stage,
    response: &Response,
    codes: std::ops::RangeInclusive<u16>,
) -> Result<Reply, SendError> {
    let lines: Vec<&str> = response.message().collect();
    let reply = Reply { code: response.code().into(), text: lines.join(" ") };
    if codes.contains(&reply.code) { Ok(reply) } else { Err(SendError::Refused { stage, reply }) }
}
