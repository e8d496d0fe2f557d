//! The typed configuration: what the other rooms take from here.

use super::login::Secret;
use crate::filter::{Learn, Mode, OnError};
use crate::message::Address;
use crate::policy::{FirstPost, Origin, Rate, WhoMayPost};
use crate::router::RoutingPolicy;
use ipnet::IpNet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[gateway]`: who this gateway is.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// Our CMR address, of the kind `mailto:NAME@DOMAIN`.
    pub address: Address,
    /// The mail address in it.
    pub mail_address: String,
    /// Our full host name, lower case.
    pub hostname: String,
    /// The human behind it.
    pub operator: Operator,
    /// Where the database lives; an absolute path.
    pub data_dir: PathBuf,
    /// Where other users hand mail in; an absolute path outside of `data_dir`.
    pub intake_socket: Option<PathBuf>,
    /// Directories beside `data_dir` that the daemon and the programs it runs may write to; absolute.
    pub writable: Vec<PathBuf>,
}

/// The human behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// As configured: `Name <address>`, or the address alone.
    pub text: String,
    /// The name, if there is one.
    pub name: Option<String>,
    /// The mail address.
    pub address: String,
}

/// `[smtp]`: the receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct Smtp {
    /// Where to listen by SMTP. Port 0 is a free one.
    pub listen: Vec<SocketAddr>,
    /// Where to listen by LMTP.
    pub lmtp: Vec<SocketAddr>,
    /// The posting addresses, never empty; the domains in lower case.
    pub recipients: Vec<String>,
    /// Original clients in here are believed about the author.
    pub trusted_networks: Vec<IpNet>,
    /// Mail servers in front of this one.
    pub relays: Vec<IpNet>,
    /// The name that a relay writes into Authentication-Results.
    pub authserv_id: String,
    /// The largest mail, in bytes.
    pub max_message: usize,
    /// Sessions at the same time.
    pub max_connections: usize,
    /// Sessions at the same time from one address that is no relay.
    pub max_connections_per_ip: usize,
    /// For STARTTLS.
    pub tls: Option<TlsFiles>,
}

/// `[filter]`: the content filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// Where to listen; none for no listener.
    pub listen: Option<SocketAddr>,
    /// Who gets every mail next.
    pub next_hop: SocketAddr,
    /// Who may hand mail in.
    pub clients: Vec<IpNet>,
    /// What is done with mail that concerns the gateway.
    pub mode: Mode,
    /// What happens to it when there is trouble.
    pub on_error: OnError,
    /// Whether a refusal for good by the next hop is passed on as such.
    pub pass_refusals: bool,
    /// Which other mail goes into the pool.
    pub learn: Learn,
}

/// `[authentication]`: how it is found out who wrote a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Whether the DNS is asked at all.
    pub verify: bool,
    /// The name servers; empty for those of the system.
    pub dns: Vec<SocketAddr>,
    /// How long they may take for one mail.
    pub deadline: Duration,
    /// The domains whose ARC seals are believed, in lower case.
    pub arc_sealers: Vec<String>,
}

/// A certificate chain and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those that lead to its root.
    pub certificate: PathBuf,
    /// The key, PKCS #8 without a passphrase.
    pub key: PathBuf,
}

/// `[send]`: the smarthost and its queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Send {
    /// Who takes all outgoing mail, unless it goes directly.
    pub smarthost: Smarthost,
    /// To the mail hosts of its recipients, without a smarthost.
    pub direct: Option<Direct>,
    /// The From of our mail.
    pub from: String,
    /// Certificates to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The login at the smarthost.
    pub login: Option<Login>,
    /// The wait after the first failure.
    pub retry_first: Duration,
    /// The longest wait.
    pub retry_max: Duration,
    /// When a mail is given up.
    pub give_up: Duration,
}

/// `[send] direct`: mail finds its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direct {
    /// The port of mail hosts.
    pub port: u16,
    /// Networks inside which mail hosts may be.
    pub networks: Vec<IpNet>,
}

/// A name and what shows that it is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// What shows that it is ours.
    pub secret: Secret,
}

/// A mail server and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smarthost {
    /// How it is encrypted.
    pub security: Security,
    /// A host name, or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Smarthost {
    /// The URL, with its port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.security {
            Security::None => "smtp",
            Security::StartTls => "smtp+starttls",
            Security::Tls => "smtps",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// How a connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// `smtp://`: not at all.
    None,
    /// `smtp+starttls://`: STARTTLS or nothing.
    StartTls,
    /// `smtps://`: TLS from the first byte.
    Tls,
}

/// `[policy]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Who may post.
    pub who_may_post: WhoMayPost,
    /// Mail addresses, or `@domain`; domains in lower case.
    pub listed: Vec<String>,
    /// Automatic mails to one person.
    pub answer_at_most: Rate,
    /// Posts of one author.
    pub post_at_most: Rate,
    /// What nothing proves, of one network of clients.
    pub unproven_at_most: Rate,
    /// Messages of one peer that shows who it is, over all transports.
    pub peer_at_most: Rate,
    /// Whether CMR messages are taken out of mails inside mails.
    pub read_forwarded: bool,
    /// How far ahead of our clock a message may be dated.
    pub clock_skew: Duration,
}

/// `[people]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    /// What happens to an author's first post.
    pub first_post: FirstPost,
    /// What the world sees as the sender of a post.
    pub origin: Origin,
    /// How long after a post its author is sent later matches.
    pub later_matches: Duration,
    /// How long later matches in one thread are gathered after the last ones.
    pub digest: Duration,
}

/// `[routing]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    /// The numbers that the decision is made by.
    pub policy: RoutingPolicy,
    /// The operator's contacts.
    pub pinned: Vec<Address>,
}

/// `[pool]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Messages to keep.
    pub max_messages: usize,
    /// Bytes of messages to keep.
    pub max_bytes: u64,
    /// How long ids are remembered after their message was dropped.
    pub remember_ids: Duration,
    /// How long raw mails and asides are kept.
    pub keep_raw: Duration,
}

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// What is logged.
    pub level: LogLevel,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What went wrong.
    Error,
    /// What looks wrong.
    Warn,
    /// What happened.
    Info,
    /// Why.
    Debug,
    /// Everything.
    Trace,
}
