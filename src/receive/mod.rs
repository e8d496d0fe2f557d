//! How mail comes in: one adapter per transport, each of which turns what it received into an
//! [`Arrival`], asks the one [`Handler`] there is, and tells the sender the [`Verdict`]. The filter also
//! hands mail on, by what its [`Judge`](filter::Judge) says.
//!
//! This room knows sockets, TLS and the clocks. It must never know what a mail means, where
//! it is stored or how it is routed.

pub mod filter;
pub mod http;
pub mod imap;
pub mod smtp;
pub mod udp;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;

pub use crate::listen::ListenError;

use crate::message::{Address, UnixTime};
use crate::smtp::Reply;

/// By which way a mail came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// The SMTP receiver.
    Smtp,
    /// The LMTP receiver.
    Lmtp,
    /// A mail on standard input.
    Pipe,
    /// A bare CMR message on standard input.
    Bare,
    /// The content filter, by SMTP or by a pipe.
    Filter,
    /// A polled mailbox.
    Imap,
    /// CMR over HTTP.
    Http,
    /// CMR over UDP.
    Udp,
}

impl Via {
    /// Whether a missing envelope sender is the null sender, and not only unknown.
    pub fn knows_the_sender(self) -> bool {
        matches!(self, Via::Smtp | Via::Lmtp | Via::Filter)
    }

    /// The word for it in records and JSON, `smtp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Via::Smtp => "smtp",
            Via::Lmtp => "lmtp",
            Via::Pipe => "pipe",
            Via::Bare => "bare",
            Via::Filter => "filter",
            Via::Imap => "imap",
            Via::Http => "http",
            Via::Udp => "udp",
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A mail that came in, with what its transport knows about where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The way it came.
    pub via: Via,
    /// The ORIGINAL client: the peer of a direct connection, or what a listed relay said by
    /// XFORWARD; never a relay itself. `None` when it is not known.
    pub peer: Option<IpAddr>,
    /// Whether a listed relay handed it over. Faults of content are not refused to such.
    pub through_relay: bool,
    /// The address that this relay connected from, if it did.
    pub relay: Option<IpAddr>,
    /// The name the original client gave in its hello.
    pub helo: Option<String>,
    /// Whether it came under TLS, or by another way that nobody else reads (SSH).
    pub tls: bool,
    /// The CMR address that the transport itself has shown it to come from (a handshake, an account
    /// that is bound to an address), and not only what stands in it.
    pub proof: Option<Address>,
    /// The envelope's sender without brackets; `None` is the null sender, by [`Via::Pipe`] perhaps
    /// an unknown one.
    pub sender: Option<String>,
    /// The envelope's recipients, none if they are unknown; those of the SMTP receiver are all ours.
    pub recipients: Vec<String>,
    /// Where the mail lies and stays (a file's path, a polled mailbox with its number there), if it
    /// does: what is not taken of it is kept aside by this reference, and not copied.
    pub kept: Option<String>,
    /// The mail: dots undone, lines ended by CRLF, without a Received line of ours. For
    /// [`Via::Bare`], [`Via::Http`] and [`Via::Udp`] a CMR message, byte for byte.
    pub raw: Vec<u8>,
    /// When its last byte had come.
    pub received: UnixTime,
}

impl Arrival {
    /// What came by this way just now, of which nothing else is known.
    #[must_use]
    pub fn new(via: Via, raw: Vec<u8>, received: UnixTime) -> Self {
        Arrival {
            via,
            peer: None,
            through_relay: false,
            relay: None,
            helo: None,
            tls: false,
            proof: None,
            sender: None,
            recipients: Vec::new(),
            kept: None,
            raw,
            received,
        }
    }
}

/// What is said about an arrival. A success promises that it is stored durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// In SMTP's terms; other transports go by its severity and text.
    pub reply: Reply,
}

impl From<Reply> for Verdict {
    fn from(reply: Reply) -> Self {
        Verdict { reply }
    }
}

/// The door behind the transports.
pub trait Handler: Send + Sync + 'static {
    /// Decides about one mail.
    ///
    /// The future runs to its end even when the sender goes away meanwhile; a panic in it
    /// counts as trouble (451).
    fn admit(&self, arrival: Arrival) -> impl Future<Output = Verdict> + Send;
}
