//! The answering side: tokio, for the daemon.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{Door, ListenError, control_path, socket_path};
use crate::gateway::api::{Failure, Request, Response};
use crate::gateway::lock::Lock;

/// What one socket takes at most. Every field is a bound, none is a tuning knob.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest request line in bytes, its LF not counted.
    pub request: usize,
    /// Connections at a time; more wait in the operating system's backlog.
    pub connections: usize,
    /// Connections at a time of one user of the machine; more are told to come back (75).
    pub connections_per_user: usize,
    /// How long a whole request may take to arrive.
    pub read: Duration,
    /// How long the handler may take.
    pub answer: Duration,
    /// How long the asker may take to fetch the answer.
    pub write: Duration,
}

impl Limits {
    /// For the control socket: a `post` of `max_message` bytes fits however JSON escapes it
    /// in practice (each byte twice), and so does a batch of an import whatever `max_message` is:
    /// the messages out of one mail of the longest kind (64 MiB) and what was in the batch before
    /// it, in base64. Only the owner of the data can ask here.
    #[must_use]
    pub fn control(max_message: usize) -> Limits {
        Limits {
            request: max_message.saturating_mul(2).saturating_add(64 << 10).max(96 << 20),
            connections: 32,
            connections_per_user: 32,
            read: Duration::from_secs(30),
            answer: Duration::from_secs(120),
            write: Duration::from_secs(60),
        }
    }

    /// For the intake socket: a mail of `max_message` bytes in base64. Fewer connections, since
    /// every user of the machine may come.
    #[must_use]
    pub fn intake(max_message: usize) -> Limits {
        Limits {
            request: max_message.div_ceil(3).saturating_mul(4).saturating_add(64 << 10),
            connections: 8,
            connections_per_user: 4,
            ..Limits::control(max_message)
        }
    }
}

/// Who asks, as the operating system says (`SO_PEERCRED`), not as the asker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The socket that was used.
    pub door: Door,
    /// User id of the asking process.
    pub uid: u32,
    /// Its process id, where the system tells.
    pub pid: Option<i32>,
}

/// A listening socket; its file is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the file that we made, so that nobody else's is removed.
    made: (u64, u64),
    door: Door,
}

impl Listener {
    /// Opens `control.sock` in the locked directory. Must be called inside a tokio runtime.
    ///
    /// The lock proves that no other daemon of this directory lives, so a socket that lies there
    /// is a dead one's and is replaced.
    ///
    /// # Errors
    /// When the path is taken, too long or not writable.
    pub fn control(lock: &Lock) -> Result<Listener, ListenError> {
        Self::open(control_path(lock.dir()), Door::Control, 0o600)
    }

    /// Opens the intake socket, for every user of the machine. `_lock` as for
    /// [`Listener::control`]; another data directory's daemon on the same path is an error.
    ///
    /// # Errors
    /// When the path is taken, too long or not writable.
    pub fn intake(path: &Path, _lock: &Lock) -> Result<Listener, ListenError> {
        Self::open(path.to_owned(), Door::Intake, 0o666)
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A socket is made under another name, given its mode and then moved into place: at no time
    /// does a socket of the final name have the wrong mode, and a stale one is replaced at once.
    fn open(path: PathBuf, door: Door, mode: u32) -> Result<Listener, ListenError> {
        let failed = |source| ListenError::Io { path: path.clone(), source };
        let too_long = || ListenError::TooLong { path: path.clone() };
        let name = path.file_name().ok_or_else(too_long)?;
        if let Ok(there) = std::fs::symlink_metadata(&path) {
            if !there.file_type().is_socket() {
                return Err(ListenError::NoSocket { path });
            }
            if answers(&path).map_err(failed)? {
                return Err(ListenError::InUse { path });
            }
        }
        let mut new_name = std::ffi::OsString::from(".");
        new_name.push(name);
        let new = path.with_file_name(new_name);
        match std::fs::symlink_metadata(&new) {
            Ok(there) if there.file_type().is_socket() => {
                std::fs::remove_file(&new).map_err(failed)?;
            }
            Ok(_) => return Err(ListenError::NoSocket { path: new }),
            Err(_) => {}
        }
        let short = socket_path(&new).map_err(failed)?.ok_or_else(too_long)?;
        let socket = UnixListener::bind(&short.path).map_err(failed)?;
        let made = std::fs::set_permissions(&new, PermissionsExt::from_mode(mode))
            .and_then(|()| std::fs::rename(&new, &path))
            .and_then(|()| std::fs::symlink_metadata(&path));
        match made {
            Ok(there) => Ok(Listener { socket, path, made: (there.dev(), there.ino()), door }),
            Err(source) => {
                let _ = std::fs::remove_file(&new);
                Err(failed(source))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.made);
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a living process listens on this socket.
fn answers(path: &Path) -> io::Result<bool> {
    let Some(short) = socket_path(path)? else { return Ok(false) };
    match std::os::unix::net::UnixStream::connect(&short.path) {
        Ok(_) => Ok(true),
        Err(e) => Ok(!matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)),
    }
}

/// Answers requests until `shutdown` is done; then takes no new ones, lets those that are being
/// handled finish (each within its deadlines), closes the socket and returns.
///
/// The handler runs in a task of its own: if it panics or takes longer than `limits.answer`, the
/// asker gets 75 and the others notice nothing.
pub async fn serve<H, F>(listener: Listener, limits: Limits, handler: H, shutdown: impl Future<Output = ()>)
where
    H: Fn(Request, Caller) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let limits = Arc::new(limits);
    let slots = Arc::new(Semaphore::new(limits.connections.max(1)));
    let users = Users::default();
    let (closing, closed) = watch::channel(false);
    let mut open = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = open.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else { break };
        let Ok(credentials) = stream.peer_cred() else { continue };
        let caller = Caller { door: listener.door, uid: credentials.uid(), pid: credentials.pid() };
        let (limits, handler, closed) = (Arc::clone(&limits), handler.clone(), closed.clone());
        let seat = users.sit(caller.uid, limits.connections_per_user);
        open.spawn(async move {
            let _slot = slot;
            let _seat = seat.as_ref();
            if seat.is_some() {
                connection(stream, caller, &limits, handler, closed).await;
            } else {
                answer(stream, &limits, &busy()).await;
            }
        });
    }
    let _ = closing.send(true);
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// Waits for a free slot first and for a connection second, so that connections beyond the bound
/// cost this process nothing. `None`: the semaphore was closed (never done here).
async fn accept(
    listener: &Listener,
    slots: &Arc<Semaphore>,
) -> Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    loop {
        match listener.socket.accept().await {
            Ok((stream, _)) => return Some((stream, slot)),
            Err(error) => {
                // No descriptors left, as a rule: they come back by themselves.
                tracing::warn!(socket = %listener.path.display(), %error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection<H, F>(
    mut stream: UnixStream,
    caller: Caller,
    limits: &Limits,
    handler: H,
    mut closed: watch::Receiver<bool>,
) where
    H: Fn(Request, Caller) -> F,
    F: Future<Output = Response> + Send + 'static,
{
    let read = timeout(limits.read, read_line(&mut stream, limits.request));
    let line = tokio::select! {
        line = read => line,
        // A request that has not arrived whole is not under way: the asker tries again.
        _ = closed.wait_for(|&closing| closing) => return,
    };
    let response = match line {
        Err(_) => failure(75, format!("the request took longer than {} s", limits.read.as_secs())),
        Ok(Err(ReadError::TooLong)) => failure(
            65,
            format!("the request is longer than {} bytes, which is all that is taken", limits.request),
        ),
        // Nobody is there any more to be answered.
        Ok(Err(ReadError::Gone)) => return,
        Ok(Ok(line)) => match parse(&line, caller.door) {
            Ok(request) => handled(handler(request, caller), limits.answer).await,
            Err(refusal) => Err(refusal),
        },
    };
    answer(stream, limits, &response).await;
}

async fn handled<F>(work: F, deadline: Duration) -> Response
where
    F: Future<Output = Response> + Send + 'static,
{
    match timeout(deadline, tokio::spawn(work)).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => failure(75, "the daemon failed over this request; its log says more".into()),
        Err(_) => failure(
            75,
            format!(
                "the daemon did not finish within {} s; the request may still be carried out",
                deadline.as_secs()
            ),
        ),
    }
}

async fn answer(mut stream: UnixStream, limits: &Limits, response: &Response) {
    let mut line = match serde_json::to_vec(response) {
        Ok(line) => line,
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            return;
        }
    };
    line.push(b'\n');
    let write = async {
        stream.write_all(&line).await?;
        stream.shutdown().await
    };
    if timeout(limits.write, write).await.is_err() {
        tracing::info!("an asker did not fetch its answer");
    }
}

enum ReadError {
    TooLong,
    Gone,
}

/// One line without its LF. Never holds more than `limit` bytes and one chunk.
async fn read_line(stream: &mut UnixStream, limit: usize) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let mut line = Zeroizing::new(Vec::new());
    let mut chunk = Zeroizing::new(vec![0; 16 << 10]);
    loop {
        let n = match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return Err(ReadError::Gone),
            Ok(n) => n,
        };
        let new = chunk.get(..n).unwrap_or_default();
        let end = new.iter().position(|&b| b == b'\n');
        let new = new.get(..end.unwrap_or(n)).unwrap_or_default();
        if line.len().saturating_add(new.len()) > limit {
            return Err(ReadError::TooLong);
        }
        line.extend_from_slice(new);
        if end.is_some() {
            return Ok(line);
        }
    }
}

/// The refusal never quotes the request: serde's own words would.
fn parse(line: &[u8], door: Door) -> Result<Request, Failure> {
    let request: Request = serde_json::from_slice(line).map_err(|e| Failure {
        exit: 65,
        sentence: if e.is_data() {
            "the daemon does not know this request: is it of another version?".into()
        } else {
            format!("the request is not JSON (byte {})", e.column().saturating_sub(1))
        },
    })?;
    if door.lets_in(&request) {
        return Ok(request);
    }
    Err(Failure { exit: 69, sentence: "the intake socket takes deliver, filter and receive only".into() })
}

fn failure(exit: u8, sentence: String) -> Response {
    Err(Failure { exit, sentence })
}

fn busy() -> Response {
    failure(75, "too many requests of this user at a time: try again".into())
}

/// How many connections each user has.
#[derive(Clone, Default)]
struct Users(Arc<Mutex<HashMap<u32, usize>>>);

/// One connection of a user, until dropped.
struct Seat {
    users: Users,
    uid: u32,
}

impl Users {
    fn sit(&self, uid: u32, at_most: usize) -> Option<Seat> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(uid).or_default();
        if *count >= at_most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Seat { users: self.clone(), uid })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.users.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}
