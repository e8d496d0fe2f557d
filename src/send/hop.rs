//! The next mail server behind a filter: a connection on which mail is handed on as it came.
//!
//! It knows the socket and the deadlines. It must never know what is in a mail, and it ends a text
//! only when it is told that all of it was there.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::smtp::{Client, ClientError, GREETING, HOPS_VERB, Heard, Offered, Reply, Stuff};

/// How long each part may take. All are a little shorter than what the mail server in front waits
/// (Postfix: 30 s, 5 min, 3 min, 10 min), so that it hears from us before it gives us up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Connecting.
    pub connect: Duration,
    /// The greeting, and a command and its reply.
    pub command: Duration,
    /// A piece of the text.
    pub text: Duration,
    /// The final dot and its reply: with less, the next hop delivers what we believe lost, and the
    /// mail server in front hands it over again.
    pub dot: Duration,
    /// From the dot of the mail server in front to our reply to it, whatever takes the time: the
    /// verdict, the text, the dot. With less left than [`LEAST_FOR_DOT`], the dot is not said.
    pub in_all: Duration,
}

/// What the next hop needs at least for a text that it has: else it may deliver what the mail
/// server in front has given up and hands over again.
pub const LEAST_FOR_DOT: Duration = Duration::from_secs(20);

impl Default for Patience {
    fn default() -> Self {
        Patience {
            connect: Duration::from_secs(20),
            command: Duration::from_secs(270),
            text: Duration::from_secs(170),
            dot: Duration::from_secs(570),
            in_all: Duration::from_secs(590),
        }
    }
}

/// Whether this word about a mail says that it was taken. A farewell (221) is 2xx as well.
#[must_use]
pub fn takes(heard: &Heard) -> bool {
    (250..260).contains(&heard.code)
}

/// How long the rest of a reply is waited for before it is looked at again.
const PIECES: Duration = Duration::from_millis(5);

/// Why the next hop can't be used.
#[derive(Debug, Error)]
pub enum HopError {
    /// It is not there.
    #[error("can't connect to the next hop {address}: {reason}")]
    Connect {
        /// Where it should be.
        address: SocketAddr,
        /// What the system says.
        reason: String,
    },
    /// It went away.
    #[error("the next hop {address} closed the connection: {reason}")]
    Broken {
        /// Where it is.
        address: SocketAddr,
        /// What the system says.
        reason: String,
    },
    /// It says nothing.
    #[error("the next hop {address} did not answer within {} s", .after.as_secs())]
    Silent {
        /// Where it is.
        address: SocketAddr,
        /// How long we waited.
        after: Duration,
    },
    /// What it says is no SMTP.
    #[error("the next hop {address} does not speak SMTP: {source}")]
    Garbled {
        /// Where it is.
        address: SocketAddr,
        /// What is wrong.
        source: ClientError,
    },
    /// It does not want to speak to us.
    #[error("the next hop {address} says: {}", .heard.text())]
    Refused {
        /// Where it is.
        address: SocketAddr,
        /// What it said.
        heard: Heard,
    },
}

impl HopError {
    /// What the mail server in front is told: to keep the mail, and why.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let (subject, detail) = match self {
            HopError::Connect { .. } => (4, 1),
            HopError::Refused { heard, .. } if heard.lines.iter().any(|line| line.starts_with("4.4.6")) => {
                (4, 6)
            }
            _ => (4, 2),
        };
        Reply::new(451, subject, detail, &self.to_string())
    }
}

/// A connection that has said hello.
#[derive(Debug)]
pub struct Hop {
    stream: TcpStream,
    client: Client,
    offered: Offered,
    address: SocketAddr,
    patience: Patience,
    /// When somebody stops waiting for us.
    by: Option<Instant>,
    chunk: Vec<u8>,
}

impl Hop {
    /// Connects and says hello. `filters`: so many filters like this one are in front of it.
    ///
    /// # Errors
    /// Why it can't be used.
    pub async fn open(
        address: SocketAddr,
        hostname: &str,
        filters: u32,
        patience: Patience,
    ) -> Result<Hop, HopError> {
        let failed = |reason: String| HopError::Connect { address, reason };
        let stream = match timeout(patience.connect, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed(format!("no answer within {} s", patience.connect.as_secs()))),
        };
        // Commands are small and wait for nothing.
        let _ = stream.set_nodelay(true);
        let (client, offered) = (Client::new(), Offered::default());
        let mut hop = Hop { stream, client, offered, address, patience, by: None, chunk: vec![0; 4 * 1024] };
        let greeting = hop.hear(patience.command).await?;
        let refused = |heard| Err(HopError::Refused { address, heard });
        if greeting.code >= 300 {
            return refused(greeting);
        }
        // Another filter hears how many there are, before it connects to its own next hop: so a
        // circle of them comes to an end.
        if greeting.lines.iter().any(|line| line.ends_with(GREETING)) {
            let heard = hop.command(format!("{HOPS_VERB} {}", filters.saturating_add(1)).as_bytes()).await?;
            if heard.code >= 300 {
                return refused(heard);
            }
        }
        let mut heard = hop.command(format!("EHLO {hostname}").as_bytes()).await?;
        hop.offered = Offered::of(&heard);
        if heard.code >= 500 {
            heard = hop.command(format!("HELO {hostname}").as_bytes()).await?;
            hop.offered = Offered::default();
        }
        if heard.code >= 300 { refused(heard) } else { Ok(hop) }
    }

    /// What it offered to EHLO.
    #[must_use]
    pub fn offered(&self) -> &Offered {
        &self.offered
    }

    /// Closes the connection for everybody who holds it.
    pub fn cut(self) {
        let _ = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Both);
    }

    /// Whether it has closed the connection, or said something unasked (which is its farewell).
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit(); 1];
        // Asked of the system, which knows of what came in this moment.
        let there = socket2::SockRef::from(&self.stream).peek(&mut byte);
        !self.client.is_quiet()
            || !matches!(there, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Nothing waits beyond `by` from now on; `None`: only as long as each part may take.
    pub fn until(&mut self, by: Option<Instant>) {
        self.by = by;
    }

    /// So long at most, and not beyond the end of all.
    fn at_most(&self, after: Duration) -> Duration {
        self.by.map_or(after, |by| after.min(by.saturating_duration_since(Instant::now())))
    }

    /// One command, without its CRLF, and the reply to it.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn command(&mut self, line: &[u8]) -> Result<Heard, HopError> {
        let mut wire = Vec::with_capacity(line.len() + 2);
        // What could end the command early is not in there: nobody may speak in our place.
        wire.extend(line.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }));
        wire.extend_from_slice(b"\r\n");
        self.write(&wire).await?;
        self.hear(self.patience.command).await
    }

    /// Hands on so much of what was said about the original client as is asked for here.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn forward(&mut self, attributes: &[String]) -> Result<(), HopError> {
        let Some(wanted) = self.offered.get("XFORWARD") else { return Ok(()) };
        let wanted = |attribute: &&String| {
            let name = attribute.split('=').next().unwrap_or_default();
            wanted.split(' ').any(|it| it.eq_ignore_ascii_case(name))
        };
        let told: Vec<&str> = attributes.iter().filter(wanted).map(String::as_str).collect();
        // Four values of 255 octets are far from the 2,048 octets of a line.
        for some in told.chunks(4) {
            let heard = self.command(format!("XFORWARD {}", some.join(" ")).as_bytes()).await?;
            if heard.code >= 300 {
                tracing::warn!(said = heard.text(), "the next hop does not take XFORWARD");
                return Ok(());
            }
        }
        Ok(())
    }

    /// Begins the text; whoever gets one may send it. `Err` of the inside: the reply to DATA, which
    /// is no 354.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn text(mut self) -> Result<Result<Text, (Hop, Heard)>, HopError> {
        let heard = self.command(b"DATA").await?;
        if heard.code != 354 {
            return Ok(Err((self, heard)));
        }
        Ok(Ok(Text { hop: self, stuff: Stuff::new(), wire: Vec::new() }))
    }

    /// Says goodbye without waiting long for an answer.
    pub async fn quit(mut self) {
        self.patience.command = Duration::from_secs(2);
        let _ = self.command(b"QUIT").await;
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), HopError> {
        let after = self.at_most(self.patience.text);
        match timeout(after, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(&error.to_string())),
            Err(_) => Err(HopError::Silent { address: self.address, after }),
        }
    }

    async fn hear(&mut self, after: Duration) -> Result<Heard, HopError> {
        let (address, after) = (self.address, self.at_most(after));
        let listen = async {
            loop {
                if let Some(heard) = self.client.heard() {
                    return Ok(heard);
                }
                match self.stream.read(&mut self.chunk).await {
                    Ok(0) => return Err(self.broken("no answer")),
                    Ok(length) => {
                        let bytes = self.chunk.get(..length).unwrap_or_default();
                        let is_smtp = self.client.receive(bytes);
                        // What comes before the garbage is a word all the same.
                        if let Some(heard) = self.client.heard() {
                            return Ok(heard);
                        }
                        is_smtp.map_err(|source| HopError::Garbled { address, source })?;
                    }
                    Err(error) => return Err(self.broken(&error.to_string())),
                }
            }
        };
        timeout(after, listen).await.unwrap_or(Err(HopError::Silent { address, after }))
    }

    /// The next reply, left where it is. `None`: it is not there in time, too long to be looked at, or no SMTP.
    async fn look_ahead(&mut self, after: Duration) -> Option<Heard> {
        let by = Instant::now() + after;
        let mut seen = 0;
        loop {
            let left = by.saturating_duration_since(Instant::now());
            let length = timeout(left, self.stream.peek(&mut self.chunk)).await.ok()?.ok()?;
            let mut client = Client::new();
            let is_smtp = client.receive(self.chunk.get(..length)?).is_ok();
            let heard = client.heard();
            if heard.is_some() || !is_smtp || length == 0 || length == self.chunk.len() {
                return heard;
            }
            // The rest of it is on its way. Nothing is taken of it before: half a reply is none to who else holds the
            // connection, or another one.
            if length == seen {
                sleep(PIECES).await;
            }
            seen = length;
        }
    }

    fn broken(&self, reason: &str) -> HopError {
        HopError::Broken { address: self.address, reason: reason.to_owned() }
    }
}

/// A text under way. Dropped before [`Text::end`] it closes the connection without the final dot,
/// and the next hop throws away what it has.
#[derive(Debug)]
pub struct Text {
    hop: Hop,
    stuff: Stuff,
    wire: Vec<u8>,
}

impl Text {
    /// The next bytes of the text, without extra dots.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), HopError> {
        self.wire.clear();
        self.stuff.push(bytes, &mut self.wire);
        self.hop.write(&self.wire).await
    }

    /// The connection on which it goes.
    #[must_use]
    pub fn connection(&self) -> BorrowedFd<'_> {
        self.hop.stream.as_fd()
    }

    /// Whether something was said that nobody has asked for, or the connection is closed: a word about the mail could
    /// not be told from it.
    #[must_use]
    pub fn is_out_of_step(&self) -> bool {
        self.hop.is_stale()
    }

    /// All of the text was there: ends it. The reply says whose the mail is now. `first` gets it before it is taken
    /// off the connection, unless it is longer than 4 KiB: whoever else holds the connection hears what we do not
    /// live to write down.
    ///
    /// # Errors
    /// The connection is of no more use, and nobody knows whose the mail is; or there is too little
    /// time left to hear it, and the mail is not ended.
    pub async fn end(mut self, first: impl FnOnce(&Heard)) -> Result<(Hop, Heard), HopError> {
        let after = self.hop.at_most(self.hop.patience.dot);
        if after < LEAST_FOR_DOT.min(self.hop.patience.dot) {
            return Err(HopError::Silent { address: self.hop.address, after });
        }
        self.wire.clear();
        self.stuff.end(&mut self.wire);
        self.hop.write(&self.wire).await?;
        let by = Instant::now() + after;
        if let Some(heard) = self.hop.look_ahead(after).await {
            first(&heard);
            let heard = self.hop.hear(after).await?;
            return Ok((self.hop, heard));
        }
        let heard = match self.hop.hear(by.saturating_duration_since(Instant::now())).await {
            // It was waited for all of the time, not for what looking ahead has left of it.
            Err(HopError::Silent { address, .. }) => return Err(HopError::Silent { address, after }),
            heard => heard?,
        };
        first(&heard);
        Ok((self.hop, heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A next hop that says these lines at once, and then only listens; gives all that it heard.
    async fn hop_that_says(lines: &'static str) -> (SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut all = Vec::new();
            for line in lines.split_inclusive('\n') {
                stream.write_all(line.as_bytes()).await.unwrap();
                let mut some = [0; 1000];
                let length = stream.read(&mut some).await.unwrap();
                all.extend_from_slice(&some[..length]);
            }
            stream.read_to_end(&mut all).await.unwrap();
            all
        });
        (address, heard)
    }

    #[tokio::test]
    async fn nothing_waits_longer_than_the_mail_server_in_front() {
        let (address, heard) = hop_that_says("220 hello\r\n250 hello\r\n").await;
        let mut hop = Hop::open(address, "mx.test", 0, Patience::default()).await.unwrap();
        hop.until(Some(Instant::now() + Duration::from_millis(50)));
        assert!(matches!(hop.command(b"NOOP").await, Err(HopError::Silent { .. })));
        drop(hop);
        assert_eq!(heard.await.unwrap(), b"EHLO mx.test\r\nNOOP\r\n");
    }

    /// Who else holds the connection finds the word there when it is written down here.
    #[tokio::test]
    async fn the_word_about_a_mail_is_looked_at_before_it_is_taken() {
        let (address, _) = hop_that_says("220 hello\r\n250 hello\r\n354 go on\r\n250 taken\r\n").await;
        let mut hop = Hop::open(address, "mx.test", 0, Patience::default()).await.unwrap();
        hop.patience.dot = Duration::from_secs(60);
        let text = hop.text().await.unwrap().unwrap();
        let other = std::net::TcpStream::from(text.connection().try_clone_to_owned().unwrap());
        let mut seen = None;
        let (hop, heard) = text
            .end(|heard| {
                let mut there = [0; 100];
                seen = Some((heard.code, other.peek(&mut there).unwrap()));
            })
            .await
            .unwrap();
        assert_eq!((seen, heard.code), (Some((250, b"250 taken\r\n".len())), 250));
        let mut none = [0; 1];
        assert!(other.peek(&mut none).is_err(), "it is taken now");
        drop(hop);
    }

    #[tokio::test]
    async fn who_says_nothing_about_a_mail_is_silent_for_all_of_the_time() {
        let (address, _) = hop_that_says("220 hello\r\n250 hello\r\n354 go on\r\n").await;
        let dot = Duration::from_millis(30);
        let hop = Hop::open(address, "mx.test", 0, Patience { dot, ..Patience::default() }).await.unwrap();
        let text = hop.text().await.unwrap().unwrap();
        let mut told = false;
        let ended = text.end(|_| told = true).await;
        assert!(matches!(ended, Err(HopError::Silent { after, .. }) if after == dot), "{ended:?}");
        assert!(!told);
    }

    /// A next hop whose last words come in these pieces after the final dot, each when the one before was seen, and
    /// with `early` behind the 354.
    async fn hop_in_pieces(early: &'static str, pieces: &'static [&'static str]) -> Text {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 1000];
            for said in
                ["220 hello\r\n".to_owned(), "250 hello\r\n".to_owned(), format!("354 go on\r\n{early}")]
            {
                stream.write_all(said.as_bytes()).await.unwrap();
                let _ = stream.read(&mut some).await.unwrap();
            }
            stream.set_nodelay(true).unwrap();
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::time::sleep(PIECES * 3).await;
            }
            let _ = stream.read(&mut some).await;
        });
        let hop = Hop::open(address, "mx.test", 0, Patience::default()).await.unwrap();
        hop.text().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn half_a_reply_stays_on_the_connection_and_garbage_behind_one_is_no_part_of_it() {
        for (pieces, code) in [
            (&["25", "0 2.0.0 queued as ", "4fX\r\n"][..], 250),
            (&["451 4.3.0 the other side said: ", "250 ok but no\r\n"], 451),
            (&["250-one\r\n", "250 two\r\n"], 250),
            (&["250 ok\r\nrubbish\r\n"], 250),
            (&["250 ok\r\n\r\n"], 250),
        ] {
            let text = hop_in_pieces("", pieces).await;
            let other = std::net::TcpStream::from(text.connection().try_clone_to_owned().unwrap());
            let mut seen = Vec::new();
            let (_, heard) = text
                .end(|heard| {
                    let mut there = [0; 100];
                    let length = other.peek(&mut there).unwrap();
                    seen.extend_from_slice(&there[..length]);
                    assert_eq!(heard.code, code, "{pieces:?}");
                })
                .await
                .unwrap();
            assert_eq!((heard.code, String::from_utf8(seen).unwrap()), (code, pieces.concat()));
        }
    }

    #[tokio::test]
    async fn who_speaks_before_the_text_has_ended_is_out_of_step() {
        assert!(!hop_in_pieces("", &[]).await.is_out_of_step());
        assert!(hop_in_pieces("250 early\r\n", &[]).await.is_out_of_step());
    }

    #[test]
    fn a_farewell_is_no_yes() {
        let heard = |code| Heard { code, lines: Vec::new() };
        assert!([250, 251, 259].map(heard).iter().all(takes));
        assert!(![200, 220, 221, 249, 260, 354, 451, 550].map(heard).iter().any(takes));
    }

    /// The next hop would deliver it, and the mail server in front would hand it over again.
    #[tokio::test]
    async fn with_too_little_time_left_a_mail_is_not_ended() {
        let (address, heard) = hop_that_says("220 hello\r\n250 hello\r\n354 go on\r\n").await;
        let hop = Hop::open(address, "mx.test", 0, Patience::default()).await.unwrap();
        let mut text = hop.text().await.unwrap().unwrap();
        text.push(b"a text\r\n").await.unwrap();
        text.hop.until(Some(Instant::now() + LEAST_FOR_DOT / 2));
        assert!(matches!(text.end(|_| {}).await, Err(HopError::Silent { .. })));
        assert_eq!(heard.await.unwrap(), b"EHLO mx.test\r\nDATA\r\na text\r\n");
    }
}
