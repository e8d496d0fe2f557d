//! The asking side: blocking, for verbs.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use zeroize::Zeroizing;

use super::{MAX_RESPONSE, MAX_SOCKET_PATH, socket_path};
use crate::gateway::api::{Request, Response};

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No socket, or nobody behind it: nothing was asked.
    #[error("no cmr-mail daemon answers on {}", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
    },
    /// The socket (or its directory) belongs to somebody else: nothing was asked.
    #[error("no permission to open {}", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// Neither the path nor its file name fits into a socket address.
    #[error("{} is too long for a socket (at most {MAX_SOCKET_PATH} bytes)", path.display())]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
    /// It took too long. The request may still be carried out.
    #[error("the daemon did not answer within {} s; the request may still be carried out", waited.as_secs())]
    Timeout {
        /// How long it was waited for.
        waited: Duration,
    },
    /// More than [`MAX_RESPONSE`] bytes.
    #[error("the daemon's answer is longer than {MAX_RESPONSE} bytes")]
    ResponseTooLarge,
    /// The answer is not what this version understands.
    #[error("the daemon's answer is not understood (byte {at}): is it of another version?")]
    Garbled {
        /// Where it stops making sense, from 0.
        at: usize,
    },
    /// The daemon went away. The request may have been carried out.
    #[error("the daemon closed the connection before it answered")]
    Closed,
    /// The operating system refused.
    #[error("cannot {doing} the daemon: {source}")]
    Io {
        /// `ask` or `hear`.
        doing: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// Asks the daemon behind the socket `path`; blocks for at most `timeout`.
///
/// # Errors
/// [`CallError::NoDaemon`] and [`CallError::Forbidden`] mean that nothing was asked; after every
/// other one the request may or may not have been carried out.
pub fn call(path: &Path, request: &Request, timeout: Duration) -> Result<Response, CallError> {
    let deadline = Deadline { at: Instant::now().checked_add(timeout), waited: timeout };
    // A request may carry a key: its text is wiped as far as that can be done.
    let mut line = Zeroizing::new(Vec::new());
    serde_json::to_writer(&mut *line, request)
        .map_err(|e| CallError::Io { doing: "ask", source: e.into() })?;
    line.push(b'\n');
    let mut stream = connect(path, &deadline)?;
    // A daemon that refuses early (too long, too many connections) answers and closes while we
    // still write: its answer counts, not our failed write.
    let written = write(&mut stream, &line, &deadline);
    match (read(&mut stream, &deadline), written) {
        (Ok(answer), _) => parse(&answer),
        (Err(_), Err(error)) => Err(error),
        (Err(error), Ok(())) => Err(error),
    }
}

struct Deadline {
    at: Option<Instant>,
    waited: Duration,
}

impl Deadline {
    /// What is left, never zero (zero would mean "for ever" to the operating system).
    fn left(&self) -> Result<Duration, CallError> {
        let timeout = CallError::Timeout { waited: self.waited };
        let Some(at) = self.at else { return Ok(self.waited) };
        match at.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left.max(Duration::from_millis(1))),
            _ => Err(timeout),
        }
    }

    fn name(&self, doing: &'static str, source: io::Error) -> CallError {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => CallError::Timeout { waited: self.waited },
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => CallError::Closed,
            _ => CallError::Io { doing, source },
        }
    }
}

fn connect(path: &Path, deadline: &Deadline) -> Result<UnixStream, CallError> {
    let name = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
            CallError::NoDaemon { path: path.to_owned() }
        }
        io::ErrorKind::PermissionDenied => CallError::Forbidden { path: path.to_owned() },
        _ => deadline.name("ask", source),
    };
    let Some(short) = socket_path(path).map_err(name)? else {
        return Err(CallError::TooLong { path: path.to_owned() });
    };
    let address = SockAddr::unix(&short.path).map_err(name)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(name)?;
    // On Linux the send timeout covers a connect that waits in a full backlog.
    socket.set_write_timeout(Some(deadline.left()?)).map_err(name)?;
    socket.connect(&address).map_err(name)?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

fn write(stream: &mut UnixStream, mut rest: &[u8], deadline: &Deadline) -> Result<(), CallError> {
    let name = |source| deadline.name("ask", source);
    while !rest.is_empty() {
        stream.set_write_timeout(Some(deadline.left()?)).map_err(name)?;
        match stream.write(rest) {
            Ok(0) => return Err(CallError::Closed),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(name(e)),
        }
    }
    Ok(())
}

/// Reads one line, without its LF.
fn read(stream: &mut UnixStream, deadline: &Deadline) -> Result<Vec<u8>, CallError> {
    let name = |source| deadline.name("hear", source);
    let mut answer = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        stream.set_read_timeout(Some(deadline.left()?)).map_err(name)?;
        let n = match stream.read(&mut chunk) {
            Ok(0) => return Err(CallError::Closed),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(name(e)),
        };
        let new = chunk.get(..n).unwrap_or_default();
        if let Some(end) = new.iter().position(|&b| b == b'\n') {
            answer.extend_from_slice(new.get(..end).unwrap_or_default());
            return Ok(answer);
        }
        answer.extend_from_slice(new);
        if answer.len() > MAX_RESPONSE {
            return Err(CallError::ResponseTooLarge);
        }
    }
}

fn parse(answer: &[u8]) -> Result<Response, CallError> {
    // One line, so the column is the byte.
    serde_json::from_slice(answer).map_err(|e| CallError::Garbled { at: e.column().saturating_sub(1) })
}
