//! How many are connected: in all, and from one network.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::Options;

/// All places of a listener.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// One connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    network: Option<IpAddr>,
}

impl Places {
    /// A place for a client, if there is one.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr, options: &Options) -> Option<Place> {
        let network = (!options.is_proxy(ip)).then(|| network_of(ip));
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_network = network.and_then(|network| taken.of.get(&network)).copied().unwrap_or(0);
        if taken.all >= options.max_connections || of_network >= options.max_connections_per_ip {
            return None;
        }
        taken.all = taken.all.saturating_add(1);
        if let Some(network) = network {
            taken.of.insert(network, of_network.saturating_add(1));
        }
        Some(Place { places: Arc::clone(self), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        let Some(network) = self.network else { return };
        match taken.of.get_mut(&network) {
            Some(number) if *number > 1 => *number -= 1,
            _ => drop(taken.of.remove(&network)),
        }
    }
}

/// What one client can have many of counts as one: an IPv6 /64.
pub(super) fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_and_given_back() {
        let places = Arc::new(Places::default());
        let options = Options {
            max_connections: 4,
            max_connections_per_ip: 2,
            proxies: vec!["127.0.0.1/32".parse().unwrap()],
            ..Options::new("/", 1)
        };
        let enter = |ip: &str| places.enter(ip.parse().unwrap(), &options);
        let first = enter("2001:db8::1").unwrap();
        let _second = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8::3").is_none(), "two from one network");
        let _third = enter("127.0.0.1").unwrap();
        let _fourth = enter("127.0.0.1").unwrap();
        assert!(enter("192.0.2.1").is_none(), "four in all");
        drop(first);
        let _again = enter("2001:db8::3").unwrap();
        assert!(enter("127.0.0.1").is_none());
        drop((_second, _third, _fourth, _again));
        assert_eq!(places.0.lock().unwrap().all, 0);
        assert!(places.0.lock().unwrap().of.is_empty());
    }
}
