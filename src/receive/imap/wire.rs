//! The connection under the library that speaks IMAP: deadlines over whole answers below TLS,
//! bounds on what comes above it.
//!
//! The library reads until it has what it wants, however long that takes and however much it is.
//! Here every answer has one deadline and [`Bounds`]; once one is broken the connection is dead.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use imap::extensions::idle::SetReadTimeout;
use native_tls::{Certificate, HandshakeError, Protocol, TlsConnector, TlsStream};

use super::framing::{Bounds, Framing, TooMuch};
use super::trouble::Trouble;
use super::wake::{Sleeper, Woken};
use crate::config::{Imap, Security};

/// How long connecting to one address may take.
const CONNECT: Duration = Duration::from_secs(20);

/// How long a read or a write goes on before it looks whether it may.
const SLICE: Duration = Duration::from_millis(500);

/// The longest line in a dialogue before TLS.
const PLAIN_LINE: usize = 4096;

/// Why a connection can't be used any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("no complete answer in time")]
    Deadline,
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

/// What the stream and whoever uses it share.
#[derive(Debug)]
struct State {
    framing: Framing,
    deadline: Instant,
    /// Waiting for news is no failure: the end of it is a time-out that leaves the stream whole.
    idling: bool,
    broken: Option<Broken>,
}

/// The handle by which deadlines and bounds are set.
#[derive(Clone)]
pub(super) struct Reins(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// How long an answer may take where the library asks by itself.
    answer: Duration,
    sleeper: Arc<Sleeper>,
}

impl fmt::Debug for Reins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reins").finish_non_exhaustive()
    }
}

impl Reins {
    pub(super) fn new(sleeper: Arc<Sleeper>, answer: Duration) -> Reins {
        let state = State {
            framing: Framing::new(Bounds::SHORT),
            deadline: Instant::now() + answer,
            idling: false,
            broken: None,
        };
        Reins(Arc::new(Shared { state: Mutex::new(state), answer, sleeper }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next answer has to be complete within this time and these bounds.
    pub(super) fn expect(&self, bounds: Bounds, within: Duration) {
        let mut state = self.state();
        state.framing.expect(bounds);
        state.deadline = Instant::now() + within;
        state.idling = false;
    }

    /// Why the connection is dead, if it is.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.state().broken.clone()
    }

    /// What the server said when it said goodbye, if it did.
    pub(super) fn goodbye(&self) -> Option<String> {
        self.state().framing.goodbye().map(shown)
    }

    /// How long the next read may take.
    fn left(&self) -> io::Result<(Duration, bool)> {
        // A library that panicked has lost its place in the stream; what it reads while it
        // cleans up would make it panic again.
        if std::thread::panicking() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut state = self.state();
        if let Some(broken) = &state.broken {
            return Err(io::Error::other(broken.clone()));
        }
        if let Some(end) = self.0.sleeper.end() {
            state.deadline = state.deadline.min(end);
        }
        let left = state.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() && state.idling {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if left.is_zero() {
            state.broken = Some(Broken::Deadline);
            return Err(io::Error::other(Broken::Deadline));
        }
        Ok((left, state.idling))
    }

    fn fail(&self, broken: Broken) -> io::Error {
        self.state().broken = Some(broken.clone());
        io::Error::other(broken)
    }
}

/// A socket whose reads and writes end at the deadline.
pub(super) struct Timed {
    socket: TcpStream,
    reins: Reins,
}

impl fmt::Debug for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let (left, idling) = self.reins.left()?;
            if idling {
                match self.reins.0.sleeper.wait(Some(self.socket.as_fd()), left)? {
                    Woken::Readable => {}
                    // For OpenSSL "would block" is the one error after which it can go on.
                    Woken::Called | Woken::TimeUp => return Err(io::ErrorKind::WouldBlock.into()),
                }
            }
            self.socket.set_read_timeout(Some(left.min(SLICE)))?;
            match self.socket.read(into) {
                Err(error) if is_time_out(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let (left, _) = self.reins.left()?;
            self.socket.set_write_timeout(Some(left.min(SLICE)))?;
            match self.socket.write(bytes) {
                Err(error) if is_time_out(&error) => {}
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The stream that the library reads and writes.
#[derive(Debug)]
pub(super) struct Wire {
    inner: Inner,
    reins: Reins,
}

#[derive(Debug)]
enum Inner {
    Plain(Timed),
    Tls(Box<TlsStream<Timed>>),
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.inner {
            Inner::Plain(stream) => stream.read(into)?,
            Inner::Tls(stream) => stream.read(into)?,
        };
        let came = into.get(..read).unwrap_or_default();
        let good = self.reins.state().framing.take(came);
        good.map_err(|too_much| self.reins.fail(too_much.into()))?;
        Ok(read)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(stream) => stream.write(bytes),
            Inner::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::Plain(stream) => stream.flush(),
            Inner::Tls(stream) => stream.flush(),
        }
    }
}

impl SetReadTimeout for Wire {
    /// The library sets a time before it waits for news, and none when it is done with that: then
    /// the answer to its DONE has a deadline as any other.
    fn set_read_timeout(&mut self, time: Option<Duration>) -> imap::Result<()> {
        match time {
            Some(time) => {
                let mut state = self.reins.state();
                state.deadline = Instant::now() + time;
                state.idling = true;
            }
            None => self.reins.expect(Bounds::SHORT, self.reins.0.answer),
        }
        Ok(())
    }
}

/// Connects, encrypts as configured, and reads the greeting.
///
/// # Errors
/// Whatever is in the way.
pub(super) fn connect(account: &Imap, reins: &Reins) -> Result<Wire, Trouble> {
    let connector = match account.security {
        Security::None => None,
        Security::Tls | Security::StartTls => Some(connector(account)?),
    };
    let (host, port, within) = (account.host.clone(), account.port, account.timeout.min(CONNECT));
    let socket = unless_stopped(&reins.0.sleeper, move || dial(&host, port, within))?;
    socket.set_nodelay(true).map_err(Trouble::Connect)?;
    // Greeting, STARTTLS and the handshake together.
    reins.expect(Bounds::SHORT, account.timeout);
    let mut timed = Timed { socket, reins: reins.clone() };
    if account.security == Security::StartTls {
        start_tls(&mut timed)?;
    }
    let inner = match connector {
        None => Inner::Plain(timed),
        Some(connector) => match connector.connect(&account.host, timed) {
            Ok(stream) => Inner::Tls(Box::new(stream)),
            Err(HandshakeError::Failure(error)) => {
                return Err(reins.broken().map_or_else(|| Trouble::Tls(chain(&error)), Trouble::Broken));
            }
            Err(HandshakeError::WouldBlock(_)) => return Err(Trouble::Broken(Broken::Deadline)),
        },
    };
    let mut wire = Wire { inner, reins: reins.clone() };
    if account.security != Security::StartTls {
        greeting(&line(&mut wire)?)?;
    }
    Ok(wire)
}

/// Does what no stop can end on a thread of its own, which is left alone after a stop.
fn unless_stopped<T: Send + 'static>(
    sleeper: &Sleeper,
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    let (tell, told) = channel();
    let thread = thread::Builder::new().name("imap connect".to_owned());
    // Nobody listens: it took too long.
    thread.spawn(move || drop(tell.send(work()))).map_err(Trouble::Connect)?;
    loop {
        match told.recv_timeout(SLICE) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) if sleeper.end().is_none() => {}
            Err(RecvTimeoutError::Timeout) => return Err(Trouble::Stopped),
            Err(RecvTimeoutError::Disconnected) => return Err(Trouble::Lost),
        }
    }
}

/// Tries each address of the host in turn.
fn dial(host: &str, port: u16, within: Duration) -> Result<TcpStream, Trouble> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(Trouble::Resolve)?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, within) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(Trouble::Connect(last))
}

fn connector(account: &Imap) -> Result<TlsConnector, Trouble> {
    let wrong = |error: native_tls::Error| Trouble::Tls(chain(&error));
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    if let Some(path) = &account.ca_file {
        let pem =
            std::fs::read(path).map_err(|error| Trouble::Tls(format!("{}: {error}", path.display())))?;
        for authority in Certificate::stack_from_pem(&pem).map_err(wrong)? {
            builder.add_root_certificate(authority);
        }
    }
    builder.build().map_err(wrong)
}

/// Asks for TLS. What the server says beyond its OK before the handshake would be taken for TLS and
/// fail there, so nobody in between can slip in an answer.
fn start_tls(stream: &mut Timed) -> Result<(), Trouble> {
    greeting(&line(stream)?)?;
    stream.write_all(b"T1 STARTTLS\r\n").map_err(Trouble::Connect)?;
    loop {
        let answer = line(stream)?;
        if answer.starts_with("* ") {
            continue;
        }
        return match answer.strip_prefix("T1 ") {
            Some(said) if said.to_ascii_uppercase().starts_with("OK") => Ok(()),
            _ => Err(Trouble::Tls(format!("STARTTLS is refused: {}", shown(&answer)))),
        };
    }
}

/// One line, byte by byte: nothing beyond it may be taken off the stream.
fn line(stream: &mut impl Read) -> Result<String, Trouble> {
    let mut line = Vec::new();
    let mut byte = [0u8; 1];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return Err(Trouble::Lost),
            Ok(_) => line.extend_from_slice(&byte),
            Err(error) => return Err(Trouble::of_io(error)),
        }
        if line.ends_with(b"\n") {
            return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        if line.len() > PLAIN_LINE {
            return Err(Trouble::Broken(TooMuch::Line(PLAIN_LINE as u64).into()));
        }
    }
}

fn greeting(line: &str) -> Result<(), Trouble> {
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next().map(str::to_ascii_uppercase).as_deref()) {
        (Some("*"), Some("OK")) => Ok(()),
        (Some("*"), Some("BYE")) => Err(Trouble::Bye(shown(words.next().unwrap_or_default()))),
        // Somebody between us and the server could have said so to keep us from STARTTLS.
        (Some("*"), Some("PREAUTH")) => Err(Trouble::Greeting("it wants no login (PREAUTH)".to_owned())),
        _ => Err(Trouble::Greeting(format!("it greets with {:?}", shown(line)))),
    }
}

/// What a server said, short enough for a line of a log and without control characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect::<String>().trim().to_owned()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

impl Drop for Wire {
    fn drop(&mut self) {
        let timed = match &self.inner {
            Inner::Plain(timed) => timed,
            Inner::Tls(stream) => stream.get_ref(),
        };
        // Without this a server that is stuck would keep its half of the connection.
        let _ = timed.socket.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::imap::wake;

    #[test]
    fn a_stop_does_not_wait_for_a_host_that_does_not_answer() {
        let (waker, sleeper) = wake::pair().unwrap();
        assert_eq!(unless_stopped(&sleeper, || Ok(7)).unwrap(), 7);
        let refused = unless_stopped(&sleeper, || Err::<(), _>(Trouble::Lost));
        assert!(matches!(refused, Err(Trouble::Lost)), "{refused:?}");
        let (hold, held) = channel::<()>();
        waker.stop();
        let stopped = unless_stopped(&sleeper, move || held.recv().map_err(|_| Trouble::Lost));
        assert!(matches!(stopped, Err(Trouble::Stopped)), "{stopped:?}");
        drop(hold);
    }
}
