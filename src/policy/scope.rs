//! What is public, and how sure we are who wrote it.

use crate::message::Address;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Who may see a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Matched, excerpted and forwarded for everyone.
    Public,
    /// Nobody chose to publish it: for the operator and its own author only.
    Local,
}

impl Scope {
    /// The name, as stored and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scope::Public => "public",
            Scope::Local => "local",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope; there are public and local")]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(s: &str) -> Result<Self, UnknownScope> {
        match s {
            "public" => Ok(Scope::Public),
            "local" => Ok(Scope::Local),
            _ => Err(UnknownScope(s.to_owned())),
        }
    }
}

/// What shows who wrote a message. The mail address itself stands beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authenticity {
    /// Nothing does. A From field alone proves nothing.
    Unknown,
    /// Nothing does, though it was looked for.
    Unproven {
        /// What was tried, and what came of it.
        why: String,
        /// The DNS did not answer: it may be known later.
        temporary: bool,
    },
    /// The original client is in a network whose users the operator vouches for.
    TrustedNetwork {
        /// That client.
        client: IpAddr,
    },
    /// A listed relay of ours says so in Authentication-Results (RFC 8601).
    Relay {
        /// The relay's authserv-id.
        authserv_id: String,
        /// What it checked: `dkim`, `spf`, `auth` …
        method: String,
    },
    /// A DKIM signature (RFC 6376) of the author's domain, verified here.
    Dkim {
        /// The signing domain.
        domain: String,
    },
    /// The author's domain lets the client send its mail (SPF, RFC 7208), as was looked up here.
    Spf {
        /// The domain of the envelope sender.
        domain: String,
    },
    /// A listed sealer saw that the author's domain vouches for it, and sealed that (ARC, RFC 8617).
    Arc {
        /// The sealer's domain.
        sealer: String,
        /// What the sealer checked: `dkim`, `spf`.
        method: String,
    },
    /// The transport that brought it: it was fetched from this address (A4.5), or came by an account
    /// that is bound to it.
    Channel {
        /// The address.
        address: Address,
    },
    /// A CMR signature under the key that we share with this neighbour.
    CmrKey {
        /// The neighbour.
        neighbour: Address,
    },
    /// The operator, by the control socket or on the machine itself.
    Operator,
}

impl Authenticity {
    /// Whether the author is known for sure.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        !matches!(self, Authenticity::Unknown | Authenticity::Unproven { .. })
    }

    /// Whether it may be known later: the DNS did not answer.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Authenticity::Unproven { temporary: true, .. })
    }
}

impl fmt::Display for Authenticity {
    /// The evidence, as a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Authenticity::Unknown => f.write_str("nothing shows who wrote it"),
            Authenticity::Unproven { why, .. } => {
                write!(f, "nothing shows who wrote it: {}", why.escape_debug())
            }
            Authenticity::TrustedNetwork { client } => {
                write!(f, "it came from {client}, which is in a trusted network")
            }
            Authenticity::Relay { authserv_id, method } => {
                let (id, method) = (authserv_id.escape_debug(), method.escape_debug());
                write!(f, "the relay {id} vouches for the author by {method}")
            }
            Authenticity::Dkim { domain } => {
                write!(f, "it is signed by {} (DKIM)", domain.escape_debug())
            }
            Authenticity::Spf { domain } => {
                write!(f, "{} lets that client send its mail (SPF)", domain.escape_debug())
            }
            Authenticity::Arc { sealer, method } => {
                let (sealer, method) = (sealer.escape_debug(), method.escape_debug());
                write!(f, "{sealer} saw it by {method} and sealed that (ARC)")
            }
            Authenticity::Channel { address } => {
                write!(f, "the way it came by shows that it is from {address}")
            }
            Authenticity::CmrKey { neighbour } => {
                write!(f, "it is signed with the key that we share with {neighbour}")
            }
            Authenticity::Operator => f.write_str("the operator wrote it"),
        }
    }
}

/// What happens to the first post of a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstPost {
    /// It is answered, but stays local until its author confirms.
    #[default]
    Ask,
    /// It is published: for closed houses.
    Publish,
}

/// What stands in the origin line of a person's post.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// An alias of ours: nobody's address is harvested.
    #[default]
    Alias,
    /// The person's own address: for closed houses.
    Address,
}

/// How a message got here, as far as its scope is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// A CMR message that a peer sent to us.
    Peer,
    /// A person's mail to a posting address; `confirmed` once the author agreed to publishing.
    Post {
        /// Whether the author has confirmed, now or earlier.
        confirmed: bool,
    },
    /// `post` on the command line.
    Operator,
    /// Read from an archive.
    Imported,
    /// Ordinary mail that passed the filter.
    Learned,
    /// Mail found in a polled mailbox, addressed to a posting address or not.
    Polled {
        /// Whether a posting address is among its recipients.
        addressed: bool,
        /// Whether the author has confirmed, now or earlier.
        confirmed: bool,
    },
}

/// The scope of a message: what nobody chose to publish is local. `publish` is the operator's
/// `--publish`, which only concerns mail that was not posted here.
#[must_use]
pub fn scope_of(provenance: Provenance, publish: bool, first_post: FirstPost) -> Scope {
    let public = match provenance {
        Provenance::Peer | Provenance::Operator => true,
        Provenance::Post { confirmed } | Provenance::Polled { addressed: true, confirmed } => {
            confirmed || first_post == FirstPost::Publish
        }
        Provenance::Imported | Provenance::Learned | Provenance::Polled { addressed: false, .. } => publish,
    };
    if public { Scope::Public } else { Scope::Local }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_are_stored() {
        for scope in [Scope::Public, Scope::Local] {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
        assert!("Public".parse::<Scope>().is_err());
    }

    #[test]
    fn only_unknown_is_not_authenticated() {
        let neighbour = Address::try_from("http://bob.example/cmr").unwrap();
        let client = "192.0.2.7".parse().unwrap();
        let known = [
            Authenticity::TrustedNetwork { client },
            Authenticity::Relay { authserv_id: "mx.example.org".into(), method: "dkim".into() },
            Authenticity::Dkim { domain: "example.net".into() },
            Authenticity::CmrKey { neighbour },
            Authenticity::Operator,
        ];
        for a in &known {
            assert!(a.is_authenticated(), "{a}");
            let json = serde_json::to_string(a).unwrap();
            assert_eq!(&serde_json::from_str::<Authenticity>(&json).unwrap(), a, "{json}");
        }
        assert!(!Authenticity::Unknown.is_authenticated());
        assert!(known[0].to_string().contains("192.0.2.7"));
    }

    #[test]
    fn what_nobody_chose_to_publish_is_local() {
        use Provenance::*;
        let table = [
            (Peer, false, FirstPost::Ask, Scope::Public),
            (Operator, false, FirstPost::Ask, Scope::Public),
            (Post { confirmed: false }, false, FirstPost::Ask, Scope::Local),
            (Post { confirmed: false }, true, FirstPost::Ask, Scope::Local),
            (Post { confirmed: true }, false, FirstPost::Ask, Scope::Public),
            (Post { confirmed: false }, false, FirstPost::Publish, Scope::Public),
            (Imported, false, FirstPost::Publish, Scope::Local),
            (Imported, true, FirstPost::Ask, Scope::Public),
            (Learned, false, FirstPost::Publish, Scope::Local),
            (Polled { addressed: false, confirmed: true }, false, FirstPost::Publish, Scope::Local),
            (Polled { addressed: true, confirmed: false }, false, FirstPost::Ask, Scope::Local),
            (Polled { addressed: true, confirmed: true }, false, FirstPost::Ask, Scope::Public),
        ];
        for (provenance, publish, first, scope) in table {
            assert_eq!(scope_of(provenance, publish, first), scope, "{provenance:?} {publish} {first:?}");
        }
    }
}
