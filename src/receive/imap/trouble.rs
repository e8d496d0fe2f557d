//! What can go wrong with an account, as the sentence that its owner reads, and what kind of wait
//! it calls for.

use std::io;

use super::wire::{Broken, shown};
use crate::config::SecretError;

/// Whose trouble it is: that decides how soon it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The network, or the server.
    Network,
    /// The login: trying again and again would lock the account.
    Login,
    /// The folder is not there, or not as it should be.
    Folder,
    /// Our own database.
    Here,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the name of the server can't be resolved: {0}")]
    Resolve(io::Error),
    #[error("the server can't be reached: {0}")]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("this is no IMAP server that can be used: {0}")]
    Greeting(String),
    #[error("the server says goodbye: {0}")]
    Bye(String),
    #[error("the connection was closed by the server")]
    Lost,
    #[error("{0}")]
    Broken(Broken),
    #[error("the connection broke: {0}")]
    Io(io::Error),
    #[error("the server's answer to {0} can't be understood")]
    Nonsense(&'static str),
    #[error("{doing}: the server refuses: {said}")]
    Refused { doing: &'static str, said: String },
    #[error("the login is refused: {0}")]
    Login(String),
    #[error("the server offers no way to log in that can be used here: {0}")]
    NoWayToLogIn(&'static str),
    #[error("no password: {0}")]
    Secret(#[from] SecretError),
    #[error("the folder {folder:?} can't be opened: {said}")]
    Folder { folder: String, said: String },
    #[error("the folder {0:?} can only be read, and what was taken can't be marked there")]
    ReadOnly(String),
    #[error("the server gives the folder no UIDVALIDITY, so nothing in it can be told apart")]
    NoValidity,
    #[error("the folder {0:?} was replaced by another one while it was read (UIDVALIDITY changed)")]
    Replaced(String),
    #[error("{0}")]
    Here(String),
    #[error("told to stop")]
    Stopped,
}

impl Trouble {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Trouble::Login(_) | Trouble::NoWayToLogIn(_) | Trouble::Secret(_) => Kind::Login,
            Trouble::Folder { .. } | Trouble::NoValidity | Trouble::ReadOnly(_) => Kind::Folder,
            Trouble::Refused { .. } => Kind::Folder,
            Trouble::Here(_) => Kind::Here,
            _ => Kind::Network,
        }
    }

    /// What an error of the stream means.
    pub(super) fn of_io(error: io::Error) -> Trouble {
        let broken = error.get_ref().and_then(|inner| inner.downcast_ref::<Broken>()).cloned();
        match broken {
            Some(broken) => Trouble::Broken(broken),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Trouble::Lost,
            None => Trouble::Io(error),
        }
    }

    /// What an error of the library means, where `doing` was under way.
    pub(super) fn of(error: imap::Error, doing: &'static str) -> Trouble {
        match error {
            imap::Error::Io(error) => Trouble::of_io(error),
            imap::Error::ConnectionLost => Trouble::Lost,
            imap::Error::No(no) => Trouble::Refused { doing, said: shown(&no.information) },
            imap::Error::Bad(bad) => Trouble::Refused { doing, said: shown(&bad.information) },
            // The library calls whatever it can't parse a goodbye without an explanation.
            imap::Error::Bye(bye) if bye.information == "no explanation given" => Trouble::Nonsense(doing),
            imap::Error::Bye(bye) => Trouble::Bye(shown(&bye.information)),
            imap::Error::Append => Trouble::Refused { doing, said: "it does not want the mail".to_owned() },
            _ => Trouble::Nonsense(doing),
        }
    }
}
