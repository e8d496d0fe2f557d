//! SMTP and LMTP, the server's side, as sessions without sockets and without a clock.
//!
//! A [`Session`] is a function of (bytes, time): what the client sent goes in by
//! [`Session::receive`], what is to be done comes out of [`Session::poll`]. Whoever owns the
//! socket carries bytes, upgrades to TLS, hands mails over and reads the clock.
//!
//! A [`RelaySession`] is the same for mail that is passed on, and [`Client`] hears what the next
//! server says.
//!
//! This room knows RFC 5321 and its extensions, and the bounds a hostile client is held to.
//! It must never know tokio, sockets, the wall clock, CMR, or what becomes of a mail.

mod client;
mod command;
mod config;
mod data;
mod path;
mod recipients;
mod relay;
mod reply;
mod sasl;
mod session;
mod text;
mod xforward;

pub use client::{Client, ClientError, Heard, Offered};
pub use config::{Limits, Mode, SessionConfig};
pub use path::{Mailbox, PathError, path_of};
pub use recipients::{Recipients, RecipientsError};
pub use relay::{GREETING, HOPS_VERB, MOST_FILTERS, MailLine, RcptLine, RelaySession, Step};
pub use reply::{Reply, Severity};
pub use sasl::Bearer;
pub use session::{Action, Session, Transaction};
pub use text::{Stuff, Unstuff};
