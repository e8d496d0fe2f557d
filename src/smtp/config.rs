//! What a session is told at its start, and the numbers that bound it.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::Recipients;

/// Which protocol a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// RFC 5321: HELO and EHLO, one reply after the data.
    #[default]
    Smtp,
    /// RFC 2033: LHLO, and after the data one reply per accepted recipient.
    Lmtp,
}

/// Everything that all sessions of a listener share.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Our name in the greeting and in EHLO's reply.
    pub hostname: String,
    /// SMTP or LMTP.
    pub mode: Mode,
    /// Which recipients are accepted; all others are refused, so this is never a relay.
    pub recipients: Recipients,
    /// Clients to which XFORWARD is offered, and whose own address therefore is never the
    /// author's.
    pub relays: Vec<IpNet>,
    /// Whether STARTTLS is offered.
    pub starttls: bool,
    /// The bounds.
    pub limits: Limits,
}

impl SessionConfig {
    /// True when `client` is one of the relays. An IPv4 address mapped into IPv6, as a
    /// dual-stack listener reports it, counts as the IPv4 address that it is.
    pub fn is_relay(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.relays.iter().any(|net| net.contains(&client))
    }
}

/// The bounds of one session. The defaults suit a receiver that faces the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message after the dots are undone, said in EHLO's SIZE. Default 10 MiB.
    pub max_message: usize,
    /// Bytes of a command line with its CRLF. Default 4,096 (RFC 5321 section 4.5.3.1.4 and
    /// the extensions' additions come to about 2,000).
    pub max_command: usize,
    /// Bytes of one line without an end, thrown away after `max_command`, before the
    /// connection is closed. Default 64 KiB.
    pub max_endless_line: usize,
    /// Recipients of one mail. Default 100, the least that RFC 5321 section 4.5.3.1.8 allows.
    pub max_recipients: usize,
    /// Refused commands in one session before it is closed. Default 20.
    pub max_errors: u32,
    /// Commands since the last accepted mail (recipients and data of an open mail are not
    /// counted) before the session is closed. Default 100.
    pub max_commands: u32,
    /// Bytes kept while they can't be looked at, because a mail is being answered; from
    /// there on [`Session::wants_read`](super::Session::wants_read) is false. Default 16 KiB.
    pub max_waiting: usize,
    /// The next command must be complete within this time. Default 5 minutes (RFC 5321
    /// section 4.5.3.2.7).
    pub command: Duration,
    /// From 354 to the final dot. Default 10 minutes.
    pub data: Duration,
    /// During data, every such span must bring at least `progress_bytes`. Default 1 minute.
    pub progress: Duration,
    /// See `progress`. Default 1,024.
    pub progress_bytes: usize,
    /// The TLS handshake. Default 30 seconds.
    pub handshake: Duration,
    /// From the connection, or from the reply to the last mail, to the next mail's final
    /// dot, whatever happens between. Default 15 minutes.
    pub turn: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message: 10 * 1024 * 1024,
            max_command: 4_096,
            max_endless_line: 64 * 1024,
            max_recipients: 100,
            max_errors: 20,
            max_commands: 100,
            max_waiting: 16 * 1024,
            command: Duration::from_secs(5 * 60),
            data: Duration::from_secs(10 * 60),
            progress: Duration::from_secs(60),
            progress_bytes: 1_024,
            handshake: Duration::from_secs(30),
            turn: Duration::from_secs(15 * 60),
        }
    }
}
