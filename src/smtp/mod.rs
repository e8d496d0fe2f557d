//! SMTP and LMTP, the server's side, as sessions without sockets and without a clock.
//!
//! A [`Session`] is a function of (bytes, time): what the client sent goes in by
//! [`Session::receive`], what is to be done comes out of [`Session::poll`]. Whoever owns the
//! socket carries bytes, upgrades to TLS, hands mails over and reads the clock.
//!
//! This room knows RFC 5321 and its extensions, and the bounds a hostile client is held to.
//! It must never know tokio, sockets, the wall clock, CMR, or what becomes of a mail.

mod command;
mod config;
mod data;
mod path;
mod recipients;
mod reply;
mod session;
mod xforward;

pub use config::{Limits, Mode, SessionConfig};
pub use path::{Mailbox, PathError};
pub use recipients::{Recipients, RecipientsError};
pub use reply::{Reply, Severity};
pub use session::{Action, Session, Transaction};
