//! Stored mail: mbox files, maildirs, and folders with a mail in each file, as a stream of mails.
//!
//! This room knows how mails lie in files: the `From ` lines of an mbox and how lines of mails
//! are quoted there, the folders of a Maildir. It reads, one mail at a time, and never writes.
//! It must never know what a mail says: neither MIME nor CMR, nor what anybody wants with it.
//!
//! **Bounds.** One mail at a time is in memory, of at most the length that the caller names; a
//! longer one is reported and passed over, in memory that does not grow with it. Folders are
//! walked [`DEEPEST`] deep; only regular files are opened, so that a pipe or a device in a folder
//! stops nobody. What is compressed is unpacked as it is read, never as a whole.
//!
//! **Order** is the same on every machine: an mbox from its beginning, folders by name.

mod mbox;
mod tree;
mod unpack;
mod walk;

pub use mbox::{Mbox, Quoting};
pub use tree::{Tree, Unit, tree};
pub use walk::{Content, DEEPEST, Input, Mails, folders, mails};

use std::fmt;
use std::path::PathBuf;

/// A mail as it was before it was stored: without the `From ` line of an mbox and its quoting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The mail, with the line ends that the file has.
    pub bytes: Vec<u8>,
    /// Where it lies.
    pub place: Place,
}

/// Where a mail lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// In an mbox: the byte at which its `From ` line begins.
    pub at: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{}:{at}", self.path.display()),
            None => self.path.display().fmt(f),
        }
    }
}

/// Why a mail, or a folder of them, can't be read. The others can.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There is nothing of this name.
    #[error("{}: there is no such file or folder", .0.display())]
    Missing(PathBuf),
    /// The system does not let us.
    #[error("{place}: {source}")]
    Unreadable {
        /// What.
        place: Place,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither a file nor a folder.
    #[error("{}: is neither a file nor a folder", .0.display())]
    Special(PathBuf),
    /// A mail is longer than the caller allows.
    #[error("{place}: the mail has more than {most} bytes")]
    TooLong {
        /// Which.
        place: Place,
        /// The most that was allowed.
        most: usize,
    },
    /// A symbolic link, below the folder that was named.
    #[error("{}: is a symbolic link, which is not followed", .0.display())]
    Link(PathBuf),
    /// A file of some program, beside the folders of a Maildir.
    #[error("{}: lies beside the folders of a Maildir and does not begin like a mail", .0.display())]
    Beside(PathBuf),
    /// A folder where only mails can be.
    #[error("{}: is a folder within the cur or new of a Maildir, which holds files only", .0.display())]
    FolderInMaildir(PathBuf),
    /// A part of a Maildir was named.
    #[error("{}: is a part of a Maildir; name the Maildir itself, the folder that it lies in", .0.display())]
    Part(PathBuf),
    /// A folder is nested too deep.
    #[error("{}: lies more than {DEEPEST} folders deep", .0.display())]
    TooDeep(PathBuf),
    /// A file that should be an mbox does not begin like one.
    #[error("{}: begins neither with a line \"From \" nor with the header of a mail", .0.display())]
    NoMail(PathBuf),
}

impl ArchiveError {
    /// Where the fault is.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::Missing(path)
            | Self::Special(path)
            | Self::Link(path)
            | Self::Beside(path)
            | Self::FolderInMaildir(path)
            | Self::Part(path)
            | Self::TooDeep(path)
            | Self::NoMail(path) => Place { path: path.clone(), at: None },
            Self::Unreadable { place, .. } | Self::TooLong { place, .. } => place.clone(),
        }
    }
}

/// Whether a file that begins so may be a mail or an mbox: with the name of a header field, or with
/// a `From ` line.
#[must_use]
pub fn begins_like_mail(begin: &[u8]) -> bool {
    if begin.starts_with(b"From ") || begin.starts_with(b">From ") {
        return true;
    }
    let name = begin.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte)).count();
    let after = begin.get(name..).unwrap_or_default();
    // Some old programs wrote blanks before the colon.
    name > 0 && after.iter().find(|byte| !matches!(byte, b' ' | b'\t')) == Some(&b':')
}
