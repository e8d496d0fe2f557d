//! Why a submission did not succeed, by cause.

use super::mx::MxError;
use crate::policy::Refusal;
use crate::send::outcome::{Outcome, Reply, Stage, Trouble, judge};
use std::error::Error as _;
use std::time::Duration;
use thiserror::Error;

/// Why a submission did not succeed.
#[derive(Debug, Error)]
pub enum SendError {
    /// An address of ours or theirs can't stand in an SMTP envelope.
    #[error("{address:?} can't stand in an SMTP envelope")]
    BadAddress {
        /// The address.
        address: String,
    },
    /// The recipient's domain does not exist.
    #[error("there is no domain {domain}")]
    NoDomain {
        /// The domain.
        domain: String,
    },
    /// The domain takes no mail from us.
    #[error("{domain} {why}")]
    NoRoute {
        /// The domain.
        domain: String,
        /// Why not.
        why: MxError,
    },
    /// None of the domain's mail hosts has an address.
    #[error("no mail host of {domain} has an address")]
    NoHost {
        /// The domain.
        domain: String,
    },
    /// The DNS does not answer.
    #[error("{host}: {reason}")]
    LookUp {
        /// What was looked for.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The mail hosts are where nothing may go.
    #[error("{0}")]
    Unreachable(Refusal),
    /// The smarthost is not there.
    #[error("can't connect to {host}")]
    Connect {
        /// Name and port.
        host: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// TLS failed: a wrong certificate, no common version.
    #[error("TLS with {host} failed")]
    Tls {
        /// Name and port.
        host: String,
        /// What the TLS library says.
        source: native_tls::Error,
    },
    /// STARTTLS is configured and the server does not offer it (any more).
    #[error("{host} does not offer STARTTLS; nothing is sent to it unencrypted")]
    NoStartTls {
        /// Name and port.
        host: String,
    },
    /// Somebody on the way added bytes to the answer to STARTTLS.
    #[error("{host} sent more than its answer to STARTTLS before the handshake")]
    Injected {
        /// Name and port.
        host: String,
    },
    /// A login is configured and the server takes none of the ways that we know.
    #[error("{host} offers neither AUTH {} nor AUTH {}", .ways[0], .ways[1])]
    NoAuth {
        /// Name and port.
        host: String,
        /// Those ways.
        ways: [&'static str; 2],
    },
    /// The command that prints the access token failed, or printed something else.
    #[error("no access token: {reason}")]
    NoToken {
        /// What went wrong.
        reason: String,
    },
    /// A login was refused a short while ago. To try again and again would lock the account.
    #[error("the login was refused, and is not tried again for {} s: {reply}", .wait.as_secs())]
    Refusing {
        /// How long.
        wait: Duration,
        /// What the server said to the login.
        reply: Reply,
    },
    /// The mail, or an address, has bytes above 127 and the server takes none.
    #[error("{host} does not offer {extension}, which this mail needs")]
    NeedsExtension {
        /// Name and port.
        host: String,
        /// `8BITMIME` or `SMTPUTF8`.
        extension: &'static str,
    },
    /// No answer in time.
    #[error("no answer within {} s at {stage}", .after.as_secs_f32())]
    Timeout {
        /// Where the dialogue was.
        stage: Stage,
        /// How long we waited.
        after: Duration,
    },
    /// The connection ended.
    #[error("the connection broke at {stage}: {reason}")]
    Broken {
        /// Where the dialogue was.
        stage: Stage,
        /// What the system says.
        reason: String,
    },
    /// What came was no SMTP reply.
    #[error("not an SMTP reply at {stage}: {reason}")]
    Garbled {
        /// Where the dialogue was.
        stage: Stage,
        /// What was wrong with it.
        reason: String,
    },
    /// The server answered, and not what was asked for.
    #[error("{stage}: {reply}")]
    Refused {
        /// Where the dialogue was.
        stage: Stage,
        /// What it said.
        reply: Reply,
    },
}

impl SendError {
    /// What becomes of the delivery.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let retry = |trouble| Outcome::Retry { trouble, reason: self.chain() };
        match self {
            SendError::BadAddress { .. } | SendError::Unreachable(_) => {
                Outcome::Fail { reason: self.chain(), reply: None }
            }
            // What a smarthost would say in its report (RFC 7505; RFC 3463, sections 3.2 and 3.5).
            SendError::NoDomain { .. } => self.fails("5.1.2"),
            SendError::NoRoute { why: MxError::TakesNoMail, .. } => self.fails("5.1.10"),
            SendError::NoRoute { why: MxError::LoopsBack, .. } => self.fails("5.4.6"),
            SendError::NoHost { .. } => self.fails("5.4.4"),
            SendError::LookUp { .. } => retry(Trouble::Network),
            SendError::Connect { .. }
            | SendError::Timeout { .. }
            | SendError::Broken { .. }
            | SendError::Garbled { .. } => retry(Trouble::Network),
            SendError::Tls { .. }
            | SendError::NoStartTls { .. }
            | SendError::Injected { .. }
            | SendError::NoAuth { .. }
            | SendError::NoToken { .. }
            | SendError::Refusing { .. }
            | SendError::NeedsExtension { .. } => retry(Trouble::Configuration),
            SendError::Refused { stage, reply } => judge(*stage, reply),
        }
    }

    /// For good, with this status.
    fn fails(&self, status: &str) -> Outcome {
        let reason = self.chain();
        let reply = Reply { code: 550, text: format!("{status} {reason}") };
        Outcome::Fail { reason, reply: Some(reply) }
    }

    /// The sentence with its causes, for the queue's `last_error`.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        text
    }

    /// What the server said, if it refused the login for good.
    pub(super) fn refused_login(&self) -> Option<&Reply> {
        match self {
            SendError::Refused { stage: Stage::Auth, reply } if reply.code >= 500 => Some(reply),
            _ => None,
        }
    }

    /// Whether the connection can be used for another mail after a RSET.
    pub(super) fn leaves_session_usable(&self) -> bool {
        match self {
            SendError::BadAddress { .. } | SendError::NeedsExtension { .. } => true,
            // A 421 announces that the server closes (RFC 5321 section 3.8); after a positive
            // reply of the wrong kind nobody knows where the dialogue stands.
            SendError::Refused { reply, .. } => reply.code >= 400 && reply.code != 421,
            _ => false,
        }
    }

    /// Whether another host of the same domain may take the mail: nothing was said about it for good,
    /// and it was not handed over.
    pub(super) fn leaves_other_hosts(&self) -> bool {
        match self {
            SendError::Refused { stage, reply } => {
                *stage < Stage::Mail || (reply.code < 500 && *stage < Stage::Body)
            }
            SendError::Broken { stage, .. }
            | SendError::Garbled { stage, .. }
            | SendError::Timeout { stage, .. } => *stage < Stage::Body,
            SendError::Connect { .. }
            | SendError::Tls { .. }
            | SendError::Injected { .. }
            | SendError::NeedsExtension { .. } => true,
            _ => false,
        }
    }

    /// Whether TLS itself did not come about, while the server is there.
    pub(super) fn is_without_tls(&self) -> bool {
        match self {
            SendError::Tls { .. } => true,
            SendError::Refused { stage, .. }
            | SendError::Broken { stage, .. }
            | SendError::Timeout { stage, .. } => *stage == Stage::Tls,
            _ => false,
        }
    }

    /// Whether this may be a kept connection's end and nothing else: the mail was not offered
    /// yet, so a fresh connection may try at once.
    pub(super) fn may_be_stale(&self) -> bool {
        match self {
            SendError::Broken { stage, .. } | SendError::Garbled { stage, .. } => *stage < Stage::Body,
            SendError::Timeout { stage, .. } => *stage == Stage::Mail,
            SendError::Refused { stage, reply } => reply.code == 421 && *stage < Stage::Body,
            _ => false,
        }
    }
}

/// Names the cause of what the client library reports.
pub(super) fn from_client(stage: Stage, error: &lettre::transport::smtp::Error) -> SendError {
    let said = error.source().map(ToString::to_string).unwrap_or_default();
    if let Some(code) = error.status() {
        return SendError::Refused { stage, reply: Reply { code: code.into(), text: said } };
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return if io.kind() == std::io::ErrorKind::InvalidData {
                SendError::Garbled { stage, reason: io.to_string() }
            } else {
                SendError::Broken { stage, reason: io.to_string() }
            };
        }
        cause = inner.source();
    }
    // The library's word for an end of stream where a reply was due.
    if said == "incomplete response" {
        return SendError::Broken { stage, reason: "closed by the server".to_owned() };
    }
    SendError::Garbled { stage, reason: if said.is_empty() { error.to_string() } else { said } }
}
