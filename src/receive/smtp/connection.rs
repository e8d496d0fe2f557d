//! One connection: carries bytes between its socket and its session.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Options;
use super::places::Place;
use crate::listen::Share;
use crate::message::UnixTime;
use crate::receive::{Arrival, Handler, Verdict, Via};
use crate::smtp::{Action, Mode, Reply, Session, Transaction};

/// Bytes read at once.
const CHUNK: usize = 8 * 1024;
/// After the last word, what the client still sends is thrown away, so much and so long at
/// most: closing on unread bytes would destroy the reply on its way.
const LINGER: (usize, Duration) = (256 * 1024, Duration::from_secs(2));

/// How a stretch of dialogue ended.
enum End {
    /// The client went away.
    Gone,
    /// We close.
    Close,
    /// TLS begins.
    StartTls,
}

type Pending = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// What one connection is served with.
pub(super) struct Connection<H> {
    pub(super) share: Share,
    pub(super) place: Place,
    pub(super) options: Arc<Options>,
    pub(super) handler: Arc<H>,
    pub(super) stop: watch::Receiver<bool>,
    /// The other end of the socket.
    pub(super) address: IpAddr,
}

impl<H: Handler> Connection<H> {
    /// Serves the client to the end.
    pub(super) async fn run(mut self, mut stream: TcpStream) {
        let start = Instant::now();
        let config = Arc::clone(&self.options.session);
        let address = self.address;
        let mut session = Session::new(config, address, Duration::ZERO);
        let ended = match self.converse(&mut stream, &mut session, start).await {
            Ok(End::StartTls) => self.run_tls(stream, &mut session, start).await,
            Ok(End::Close) => linger(&mut stream).await,
            Ok(End::Gone) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::debug!(%address, %error, "connection lost");
        }
    }

    async fn run_tls(&mut self, stream: TcpStream, session: &mut Session, start: Instant) -> io::Result<()> {
        let Some(acceptor) = self.options.tls.clone() else {
            return Ok(());
        };
        let deadline = session.deadline().unwrap_or_default();
        let mut stream =
            timeout_at(start + deadline, acceptor.accept(stream)).await?.map_err(io::Error::other)?;
        session.tls_started(start.elapsed());
        if let End::Close = self.converse(&mut stream, session, start).await? {
            linger(&mut stream).await?;
        }
        Ok(())
    }

    /// The dialogue, until it ends or TLS begins.
    async fn converse<S>(&mut self, stream: &mut S, session: &mut Session, start: Instant) -> io::Result<End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut chunk = vec![0; CHUNK];
        let mut out = Vec::new();
        let mut pending: Option<Pending> = None;
        let mut delivering = 0;
        let (mut told, mut gone) = (false, false);
        loop {
            let mut end = None;
            while let Some(action) = session.poll(start.elapsed()) {
                match action {
                    Action::Send(bytes) => out.extend_from_slice(&bytes),
                    Action::StartTls => end = Some(End::StartTls),
                    Action::Close => end = Some(End::Close),
                    Action::Deliver(transaction) => {
                        delivering = transaction.raw.capacity();
                        pending = Some(self.deliver(transaction));
                    }
                }
            }
            self.account(session, delivering);
            if !out.is_empty() {
                timeout(self.options.write, stream.write_all(&out)).await??;
                timeout(self.options.write, stream.flush()).await??;
                out = Vec::new();
            }
            if let Some(end) = end {
                // Neither a handshake nor a goodbye is to be disturbed.
                self.place.idle_since(None);
                return Ok(end);
            }
            if gone && pending.is_none() {
                return Ok(End::Gone);
            }
            self.place.idle_since(session.idle_since().map(|since| start + since));
            let deadline = session.deadline();
            tokio::select! {
                read = stream.read(&mut chunk), if !gone && session.wants_read() => {
                    let length = read?;
                    gone = length == 0;
                    session.receive(chunk.get(..length).unwrap_or_default());
                }
                verdict = wait_for(&mut pending), if pending.is_some() => {
                    pending = None;
                    delivering = 0;
                    session.answer(&[verdict.reply], start.elapsed());
                }
                () = sleep_until(start + deadline.unwrap_or_default()), if deadline.is_some() => {
                    session.expired(start.elapsed());
                }
                _ = self.stop.wait_for(|stop| *stop), if !told => {
                    told = true;
                    session.finish(Reply::unavailable("The service stops; try again later"));
                }
                () = self.place.give_way(), if !told => {
                    told = true;
                    session.finish(Reply::unavailable("Idle, and others wait for a connection"));
                }
            }
        }
    }

    /// Counts the memory held, and lets go of a mail that there is no room for.
    fn account(&mut self, session: &mut Session, delivering: usize) {
        let max = self.options.max_buffered;
        if !self.share.hold(session.buffered().saturating_add(delivering), max) {
            tracing::warn!(address = %self.address, "no room in memory for a mail: too much is under way");
            session.no_room();
            self.share.hold(session.buffered().saturating_add(delivering), max);
        }
    }

    /// Asks the handler, on a task of its own: neither a panic there nor the client's going
    /// away here may reach the other side.
    fn deliver(&self, transaction: Transaction) -> Pending {
        let via = match self.options.session.mode {
            Mode::Smtp => Via::Smtp,
            Mode::Lmtp => Via::Lmtp,
        };
        let arrival = Arrival {
            peer: transaction.origin,
            through_relay: transaction.through_relay,
            relay: transaction.through_relay.then_some(self.address),
            helo: transaction.helo,
            tls: transaction.tls,
            sender: transaction.sender,
            recipients: transaction.recipients,
            ..Arrival::new(via, transaction.raw, UnixTime::from(SystemTime::now()))
        };
        let handler = Arc::clone(&self.handler);
        let limit = self.options.answer;
        let task = tokio::spawn(async move { handler.admit(arrival).await });
        Box::pin(async move {
            match timeout(limit, task).await {
                Ok(Ok(verdict)) => verdict,
                Ok(Err(error)) => {
                    tracing::error!(%error, "the handler of a mail failed");
                    Reply::trouble("Trouble here; try again later").into()
                }
                Err(_) => {
                    tracing::error!(?limit, "no verdict about a mail in time");
                    Reply::trouble("No verdict in time; try again later").into()
                }
            }
        })
    }
}

/// The pending verdict; never ready when there is none.
async fn wait_for(pending: &mut Option<Pending>) -> Verdict {
    match pending {
        Some(pending) => pending.await,
        None => std::future::pending().await,
    }
}

/// Closes our side, and reads what the client still sends for a short while.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    let (most, longest) = LINGER;
    let swallow = async {
        stream.shutdown().await?;
        let mut chunk = vec![0; CHUNK];
        let mut left = most;
        loop {
            match stream.read(&mut chunk).await? {
                0 => return Ok(()),
                length if length >= left => return Ok(()),
                length => left -= length,
            }
        }
    };
    timeout(longest, swallow).await.unwrap_or(Ok(()))
}
