//! The witness: a small process beside the filter's. While the next hop makes up its mind about a mail, the witness
//! holds the connection as well. When the filter dies in that moment (`kill -9`, or the system for want of memory), the
//! connection stays open, the witness hears the next hop's word in the filter's place and writes the receipt, and
//! then ends. Without it nobody would know whose the mail is, the mail server in front would hand it over again, and it
//! would come twice (RFC 1047).
//!
//! It knows connections, names of mails and receipts. It must never know what is in a mail, and it says nothing to
//! anybody.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};

use super::receipts::{self, Name};
use crate::send::hop::takes;
use crate::smtp::Client;

/// So long the next hop is listened to after the filter has died. The filter that is started then waits for that,
/// before it hands anything on.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Connections that are held at most; of others nothing is heard. The filter has fewer.
const MOST: usize = 4_096;

/// A witness that has ended is replaced at most this often.
const AGAIN: Duration = Duration::from_secs(10);

/// Bytes of what the witness is told: of which kind, which number, which mail.
const LENGTH: usize = 1 + 8 + 16;

/// What the witness is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The final dot of this mail goes out on the connection that comes along.
    Ends(u64, Name),
    /// The word about it was heard.
    Heard(u64),
}

impl Told {
    fn to_bytes(self) -> [u8; LENGTH] {
        let (kind, number, name) = match self {
            Told::Ends(number, name) => (1, number, name),
            Told::Heard(number) => (2, number, Name::default()),
        };
        let mut bytes = [kind; LENGTH];
        let parts = number.to_be_bytes().into_iter().chain(name);
        bytes.iter_mut().skip(1).zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    fn of(bytes: &[u8]) -> Option<Told> {
        let (kind, rest) = bytes.split_first()?;
        let (number, name) = rest.split_first_chunk()?;
        let number = u64::from_be_bytes(*number);
        match kind {
            1 => Some(Told::Ends(number, *name.first_chunk()?)),
            2 => Some(Told::Heard(number)),
            _ => None,
        }
    }
}

/// The witness, from the filter's side. It ends when this is dropped, and when the filter dies.
#[derive(Debug)]
pub(super) struct Witness {
    program: PathBuf,
    receipts: File,
    running: Mutex<Running>,
    /// The number of the next mail.
    next: AtomicU64,
}

#[derive(Debug)]
struct Running {
    socket: OwnedFd,
    child: Option<Child>,
    since: Instant,
    /// It did not take what it was told, and that was said.
    lost: bool,
}

impl Witness {
    /// Starts `program`, which is this one, as the witness. It gets `receipts` with the lock that is on them.
    pub(super) fn start(program: &Path, receipts: &File) -> io::Result<Witness> {
        let receipts = receipts.try_clone()?;
        let running = Mutex::new(Running::start(program, &receipts)?);
        Ok(Witness { program: program.to_owned(), receipts, running, next: AtomicU64::new(0) })
    }

    /// The final dot of this mail is about to go out on this connection. What comes back is told when the word
    /// about it is known here and written down, or given up; until then, and if that never happens, the witness holds the
    /// connection.
    pub(super) fn hold(&self, connection: BorrowedFd<'_>, name: Name) -> Option<Held<'_>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.tell(Told::Ends(number, name), Some(connection)).then_some(Held { witness: self, number })
    }

    fn tell(&self, told: Told, connection: Option<BorrowedFd<'_>>) -> bool {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.tell(told, connection) {
            Ok(()) => {
                running.lost = false;
                true
            }
            Err(error) => {
                if !running.lost {
                    running.lost = true;
                    tracing::warn!(%error, "the witness does not listen: a mail may come twice if this process is killed");
                }
                // It has ended: another one serves from the next mail on.
                let has_ended =
                    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
                if has_ended && running.since.elapsed() > AGAIN {
                    running.since = Instant::now();
                    match Running::start(&self.program, &self.receipts) {
                        Ok(new) => {
                            *running = new;
                            tracing::info!("a new witness listens");
                        }
                        Err(error) => tracing::warn!(%error, "no new witness"),
                    }
                }
                false
            }
        }
    }
}

impl Running {
    fn start(program: &Path, receipts: &File) -> io::Result<Running> {
        let (socket, its) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new(program);
        // In a group of its own: Ctrl-C in a terminal is for the filter, which ends what it has begun.
        command.arg0("cmr-witness").arg("witness").stdin(Stdio::from(its)).process_group(0);
        let child = Some(command.stdout(Stdio::from(receipts.try_clone()?)).spawn()?);
        Ok(Running { socket, child, since: Instant::now(), lost: false })
    }

    fn tell(&self, told: Told, connection: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        let connections: Vec<BorrowedFd<'_>> = connection.into_iter().collect();
        if !connections.is_empty() && !along.push(SendAncillaryMessage::ScmRights(&connections)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // Nobody waits for the witness: it is there for what nearly never happens.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.socket, &[IoSlice::new(&told.to_bytes())], &mut along, flags)?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended leaves nothing behind; one that listens to the end is not waited for.
        if let Some(child) = &mut self.child {
            let _ = child.try_wait();
        }
    }
}

/// The witness holds a connection. Dropped without [`Held::heard`], because what waited for the word was cut off, the
/// witness goes on holding it.
#[derive(Debug)]
#[must_use]
pub(super) struct Held<'w> {
    witness: &'w Witness,
    number: u64,
}

impl Held<'_> {
    /// The word was heard and written down, or will not come. `false`: the witness does not know that, and would take the
    /// next word on this connection for this one, so that nothing more may be said on it.
    pub(super) fn heard(self) -> bool {
        self.witness.tell(Told::Heard(self.number), None)
    }
}

/// What the witness does: to be called by a process that a filter has started with the socket as its
/// standard input and the receipts as its standard output. Comes back when the filter is gone and nothing is to be
/// heard any more; gives how many receipts were written.
///
/// # Errors
/// It was started by somebody else, or the receipts can't be written.
pub fn testify() -> io::Result<usize> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let is_socket = matches!(sockopt::socket_type(&socket), Ok(SocketType::SEQPACKET));
    if !is_socket || !file.metadata()?.is_file() {
        return Err(io::Error::other("serve starts it, nobody else: it was given no filter to listen to"));
    }
    let held = listen(&socket);
    if held.is_empty() {
        return Ok(0);
    }
    let mut next = receipts::next(&file)?;
    hear(held, PATIENCE, |name| {
        // Each at once: this process may be killed as well while it listens to others.
        receipts::write(&file, next, name)?;
        next = next.saturating_add(1);
        Ok(())
    })
}

/// Listens to the filter until it is gone: the mails about which no word was heard until then.
fn listen(socket: &OwnedFd) -> Vec<(Name, TcpStream)> {
    let mut held: BTreeMap<u64, (Name, TcpStream)> = BTreeMap::new();
    loop {
        let mut bytes = [0; LENGTH];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut along, RecvFlags::CMSG_CLOEXEC);
        let length = match got {
            Ok(got) => got.bytes,
            Err(rustix::io::Errno::INTR) => continue,
            // Nothing comes from the filter any more, whatever the reason.
            Err(_) => 0,
        };
        let connection = along.drain().find_map(|it| match it {
            RecvAncillaryMessage::ScmRights(mut connections) => connections.next(),
            _ => None,
        });
        match (Told::of(bytes.get(..length).unwrap_or_default()), connection) {
            _ if length == 0 => break,
            (Some(Told::Ends(number, name)), Some(connection)) if held.len() < MOST => {
                held.insert(number, (name, TcpStream::from(connection)));
            }
            (Some(Told::Heard(number)), _) => {
                held.remove(&number);
            }
            _ => {}
        }
    }
    held.into_values().collect()
}

/// Hears what the next hop says of each of these mails, for so long at most; `taken` gets those that it has taken. How
/// many there were.
fn hear(
    held: Vec<(Name, TcpStream)>,
    patience: Duration,
    mut taken: impl FnMut(Name) -> io::Result<()>,
) -> io::Result<usize> {
    let by = Instant::now() + patience;
    let mut number = 0;
    let mut failed = Ok(());
    let held = held.into_iter().filter(|(_, stream)| stream.set_nonblocking(true).is_ok());
    let mut held: Vec<(Name, TcpStream, Client)> =
        held.map(|(name, stream)| (name, stream, Client::new())).collect();
    let mut chunk = [0; 4 * 1024];
    while !held.is_empty() {
        // At the end once more, without waiting.
        let left = by.saturating_duration_since(Instant::now());
        let is_last = left.is_zero();
        let mut waited: Vec<PollFd<'_>> =
            held.iter().map(|(_, stream, _)| PollFd::new(stream, PollFlags::IN)).collect();
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut waited, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(waited);
        held.retain_mut(|(name, stream, client)| match stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(length) => {
                let is_smtp = client.receive(chunk.get(..length).unwrap_or_default()).is_ok();
                let heard = client.heard();
                if heard.as_ref().is_some_and(takes) {
                    number += 1;
                    if let Err(error) = taken(*name) {
                        failed = Err(error);
                    }
                }
                is_smtp && heard.is_none()
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        });
        if is_last {
            break;
        }
    }
    failed.map(|()| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::TcpListener;

    fn witness() -> (Witness, OwnedFd) {
        let (socket, its) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let running = Running { socket, child: None, since: Instant::now(), lost: false };
        let receipts = tempfile::tempfile().unwrap();
        let program = PathBuf::from("/nowhere/at/all");
        (Witness { program, receipts, running: Mutex::new(running), next: AtomicU64::new(0) }, its)
    }

    /// A connection to a next hop, and the next hop's end of it.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    #[test]
    fn what_is_told_is_read() {
        for told in [Told::Ends(7, [9; 16]), Told::Heard(u64::MAX)] {
            assert_eq!(Told::of(&told.to_bytes()), Some(told));
        }
        for broken in [&[][..], &[3; LENGTH], &[1; 24], &[1; 8]] {
            assert_eq!(Told::of(broken), None);
        }
    }

    #[test]
    fn what_the_filter_did_not_live_to_hear_is_heard() {
        let (filter, socket) = witness();
        let (names, mut hops): (Vec<Name>, Vec<TcpStream>) = (1..=7)
            .map(|nth| {
                let (ours, hop) = connection();
                let held = filter.hold(ours.as_fd(), [nth; 16]).unwrap();
                // Of the others nobody says that the word was heard: whoever waited for it is cut off.
                assert!(nth > 1 || held.heard());
                ([nth; 16], hop)
            })
            .unzip();
        drop(filter);
        let held = listen(&socket);
        assert_eq!(held.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names[1..]);
        for (hop, word) in hops.iter_mut().zip([
            "",
            "250 2.0.0 queued\r\n",
            "451 later\r\n",
            "250-2.0.0\r\n",
            "221 bye\r\n",
            "?",
            "",
        ]) {
            hop.write_all(word.as_bytes()).unwrap();
        }
        hops[3].write_all(b"250 queued\r\n").unwrap();
        // One hangs up, and one says nothing to the end.
        hops.pop();
        let mut taken = Vec::new();
        let heard = hear(held, Duration::from_millis(50), |name| {
            taken.push(name);
            Ok(())
        });
        assert_eq!((heard.unwrap(), taken), (2, vec![[2; 16], [4; 16]]));
    }

    #[test]
    fn a_witness_that_is_gone_stops_nobody() {
        let (filter, socket) = witness();
        let (ours, _hop) = connection();
        let held = filter.hold(ours.as_fd(), [1; 16]).unwrap();
        drop(socket);
        assert!(!held.heard(), "the connection is of no more use");
        assert!(filter.hold(ours.as_fd(), [1; 16]).is_none());
    }
}
