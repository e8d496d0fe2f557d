//! How the verbs speak to a running daemon: one JSON line asks, one JSON line answers, then the
//! connection ends. Two Unix sockets: *control* (everything; the owner's alone) and *intake*
//! (mail in, nothing else; for other users of the machine).
//!
//! This room knows sockets, sizes and deadlines. It must never know what a request means beyond
//! whether the door lets it in, and it never logs what stands in one: requests carry keys and mail.

mod client;
mod server;

pub use client::{CallError, call};
pub use server::{Caller, Limits, Listener, serve};

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::api::Request;

/// Name of the control socket in `data_dir`.
pub const CONTROL_SOCKET: &str = "control.sock";

/// Longest path of a Unix socket on Linux: `sun_path` has 108 bytes, one of them the final NUL.
pub const MAX_SOCKET_PATH: usize = 107;

/// Longest answer that is read: far above the list of a full queue.
pub const MAX_RESPONSE: usize = 256 << 20;

/// Which socket a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `data_dir/control.sock`, mode 0600: every request.
    Control,
    /// `[gateway] intake_socket`, mode 0666: [`Request::Deliver`],
    /// [`Request::Filter`] and [`Request::Receive`] only.
    Intake,
}

impl Door {
    /// Whether a request may come in here.
    #[must_use]
    pub fn lets_in(self, request: &Request) -> bool {
        match self {
            Door::Control => true,
            Door::Intake => {
                matches!(
                    request,
                    Request::Deliver { .. } | Request::Receive { bound: None, .. } | Request::Filter { .. }
                )
            }
        }
    }
}

/// Why a socket could not be opened for listening.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process answers there.
    #[error("{} is in use by another process: choose another path", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is in the way; it is left alone.
    #[error("{} exists and is no socket: move it away or choose another path", path.display())]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// Neither the path nor its file name fits into a socket address.
    #[error("{} is too long for a socket (at most {MAX_SOCKET_PATH} bytes): choose a shorter path", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot listen on {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// The control socket of a data directory.
#[must_use]
pub fn control_path(data_dir: &Path) -> PathBuf {
    data_dir.join(CONTROL_SOCKET)
}

/// A path that fits into a socket address and means the same socket.
struct SocketPath {
    path: PathBuf,
    /// Keeps `/proc/self/fd/N` meaning the directory.
    _directory: Option<OwnedFd>,
}

/// Shortens a path that does not fit by going through a descriptor of its directory, which works
/// wherever `/proc` is mounted. `Ok(None)`: it can't be shortened.
fn socket_path(path: &Path) -> io::Result<Option<SocketPath>> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    if path.as_os_str().len() <= MAX_SOCKET_PATH {
        return Ok(Some(SocketPath { path: path.to_owned(), _directory: None }));
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, parent, flags, Mode::empty())?;
    let mut short = OsString::from(format!("/proc/self/fd/{}/", directory.as_raw_fd()));
    short.push(name);
    if short.len() > MAX_SOCKET_PATH || !Path::new("/proc/self/fd").exists() {
        return Ok(None);
    }
    Ok(Some(SocketPath { path: short.into(), _directory: Some(directory) }))
}
