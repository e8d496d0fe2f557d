//! From the host of an address to the IP addresses that may be connected to.
//!
//! It knows the resolver and asks the policy. A name is looked up once for each attempt, and what was
//! judged is what is connected to: a name that leads elsewhere the second time gains nothing.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use thiserror::Error;

use crate::message::Address;
use crate::policy::{self, Refusal};

/// How long a look-up may take.
const LOOK_UP: Duration = Duration::from_secs(10);

/// What a resolver comes to.
pub type Found<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Looks names up.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a host (a name, or an IP address without brackets) with this port.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Found<'a>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Resolve for System {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Found<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Why there is nothing to connect to.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// What the name leads to is nothing that may be connected to.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The name was not found now.
    #[error("{host} was not found: {why}")]
    NotFound {
        /// The host.
        host: String,
        /// What the resolver said.
        why: String,
    },
}

/// The IP addresses behind `host` that a connection for `address` may be made to, at least one.
/// `configured`: the operator named the address, so that it may be in any network.
///
/// # Errors
/// There is none.
pub async fn reachable(
    resolver: &dyn Resolve,
    address: &Address,
    (host, port): (&str, u16),
    configured: bool,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let not_found = |why: String| ResolveError::NotFound { host: host.to_owned(), why };
    // An IP address is what it is, whatever a resolver makes of it.
    let found = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => match tokio::time::timeout(LOOK_UP, resolver.resolve(host, port)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(not_found(error.to_string())),
            Err(_) => return Err(not_found(format!("no answer in {} s", LOOK_UP.as_secs()))),
        },
    };
    let mut refused = None;
    let mut good = Vec::new();
    for place in found {
        match policy::may_connect(address, place.ip(), configured) {
            Ok(()) => good.push(place),
            Err(no) => refused = refused.or(Some(no)),
        }
    }
    match (good.is_empty(), refused) {
        (false, _) => Ok(good),
        (true, Some(no)) => Err(no.into()),
        (true, None) => Err(not_found("the name has no address".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A resolver that knows a few names of an enemy.
    struct Names;

    impl Resolve for Names {
        fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Found<'a> {
            let ips: &[&str] = match host {
                "good.example" => &["93.184.216.34", "2606:4700::1"],
                "loopback.example" => &["127.0.0.1"],
                "loopback6.example" => &["::1"],
                "mapped.example" => &["::ffff:127.0.0.1"],
                "private.example" => &["10.1.2.3", "192.168.0.1", "172.16.0.1", "fd00::1"],
                "metadata.example" => &["169.254.169.254"],
                "carrier.example" => &["100.64.0.1"],
                "nat64.example" => &["64:ff9b::7f00:1"],
                "mixed.example" => &["127.0.0.1", "93.184.216.34"],
                // What getaddrinfo makes of spellings of inet_aton.
                "2130706433" | "0x7f.1" | "127.1" => &["127.0.0.1"],
                "empty.example" => &[],
                _ => return Box::pin(async { Err(io::Error::other("no such name")) }),
            };
            let found = ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect();
            Box::pin(async move { Ok(found) })
        }
    }

    #[tokio::test]
    async fn names_that_lead_into_somebodys_network() {
        let address = Address::try_from("http://whatever.example/cmr").unwrap();
        let look = async |host: &str, configured| {
            let found = reachable(&Names, &address, (host, 80), configured).await;
            found
                .map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
                .map_err(|e| e.to_string())
        };
        let good = ["93.184.216.34:80", "[2606:4700::1]:80"].map(str::to_owned).to_vec();
        assert_eq!(look("good.example", false).await, Ok(good));
        for host in [
            "loopback.example",
            "loopback6.example",
            "mapped.example",
            "private.example",
            "metadata.example",
            "carrier.example",
            "nat64.example",
            "2130706433",
            "0x7f.1",
            "127.1",
            "127.0.0.1",
            "::1",
            "169.254.169.254",
        ] {
            let refused = look(host, false).await.unwrap_err();
            assert!(refused.contains("not reachable from everywhere"), "{host}: {refused}");
            assert!(look(host, true).await.is_ok(), "{host}: the operator named it");
        }
        // Of a name with both only what everybody reaches is used.
        assert_eq!(look("mixed.example", false).await, Ok(vec!["93.184.216.34:80".to_owned()]));
        assert!(look("empty.example", true).await.unwrap_err().contains("has no address"));
        assert!(look("nowhere.example", true).await.unwrap_err().contains("no such name"));
    }
}
