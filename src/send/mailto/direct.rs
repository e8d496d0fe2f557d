//! Mail handed to the hosts of its recipient's domain themselves, without a smarthost.
//!
//! It knows the DNS by what it asks, and the policy about what may be connected to. What was judged is
//! what is connected to.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use ipnet::IpNet;

use super::error::SendError;
use super::mx;
use crate::dns::{LookUpError, Resolver};
use crate::message::Address;
use crate::policy;

/// IP addresses that are tried for one mail, at most.
const PLACES: usize = 12;

/// What a look-up comes to.
pub type Told<'a, T> = Pin<Box<dyn Future<Output = Result<T, LookUpError>> + Send + 'a>>;

/// Says where the mail of a domain goes.
pub trait MailHosts: Send + Sync + 'static {
    /// The MX records of a domain as preference and host; none if it has none.
    fn mail_hosts<'a>(&'a self, domain: &'a str) -> Told<'a, Vec<(u16, String)>>;

    /// The IP addresses of a host; none if it has none.
    fn addresses<'a>(&'a self, host: &'a str) -> Told<'a, Vec<IpAddr>>;
}

impl MailHosts for Resolver {
    fn mail_hosts<'a>(&'a self, domain: &'a str) -> Told<'a, Vec<(u16, String)>> {
        Box::pin(Resolver::mail_hosts(self, domain))
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Told<'a, Vec<IpAddr>> {
        Box::pin(Resolver::addresses(self, host))
    }
}

/// How mail finds its own way.
#[derive(Clone)]
pub struct Direct {
    /// Who is asked where it goes.
    pub hosts: Arc<dyn MailHosts>,
    /// The port of mail hosts, 25.
    pub port: u16,
    /// Networks that are not reachable from everywhere, in which mail hosts may be all the same.
    pub networks: Vec<IpNet>,
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").field("port", &self.port).finish_non_exhaustive()
    }
}

/// A mail host at one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailHost {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub at: SocketAddr,
}

impl Direct {
    /// Where the mail of this recipient may be handed over, the best host first; at least one place.
    /// `own`: our host name. `configured`: the operator named the recipient, so that its host may be in
    /// any network.
    ///
    /// # Errors
    /// There is none, for good or for now.
    pub async fn places(
        &self,
        recipient: &str,
        own: &str,
        configured: bool,
    ) -> Result<Vec<MailHost>, SendError> {
        let bad = || SendError::BadAddress { address: recipient.to_owned() };
        let domain =
            recipient.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase()).ok_or_else(bad)?;
        let address = Address::new(format!("mailto:{recipient}")).map_err(|_| bad())?;
        let failed = |why: LookUpError| match why {
            LookUpError::NoName => SendError::NoDomain { domain: domain.clone() },
            why => SendError::LookUp { host: domain.clone(), reason: why.to_string() },
        };
        let records = self.hosts.mail_hosts(&domain).await.map_err(failed)?;
        let lot = || {
            let mut bytes = [0; 8];
            // Without luck the order is that of the answer.
            let _ = getrandom::fill(&mut bytes);
            u64::from_ne_bytes(bytes)
        };
        let names = mx::hosts(&domain, &records, own, lot)
            .map_err(|why| SendError::NoRoute { domain: domain.clone(), why })?;
        let mut places = Vec::new();
        let mut missed = None;
        for name in names {
            match self.hosts.addresses(&name).await {
                Ok(found) => {
                    for ip in found.into_iter().map(|ip| ip.to_canonical()) {
                        let allowed = configured || self.networks.iter().any(|network| network.contains(&ip));
                        match policy::may_connect(&address, ip, allowed) {
                            Ok(()) => places
                                .push(MailHost { name: name.clone(), at: SocketAddr::new(ip, self.port) }),
                            Err(no) => missed = missed.or(Some(SendError::Unreachable(no))),
                        }
                    }
                }
                // Later it may be found: not the end, whatever the other hosts are.
                Err(why) => missed = Some(SendError::LookUp { host: name, reason: why.to_string() }),
            }
        }
        places.truncate(PLACES);
        match missed {
            Some(missed) if places.is_empty() => Err(missed),
            None if places.is_empty() => Err(SendError::NoHost { domain }),
            _ => Ok(places),
        }
    }
}
