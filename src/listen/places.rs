//! How many there are at the same time: in all, and of one network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::network_of;

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// In all.
    pub all: usize,
    /// Of one IPv4 address or one IPv6 /64.
    pub of_network: usize,
}

/// Places for connections, or for anything else that clients may take up.
#[derive(Debug, Default)]
pub struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// One place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    network: Option<IpAddr>,
}

impl Places {
    /// A place for a client, if there is one. `None` as a client: one by which many come (a proxy), or
    /// whom nobody knows; only the number in all counts for it.
    pub fn enter(self: &Arc<Self>, client: Option<IpAddr>, most: Most) -> Option<Place> {
        let network = client.map(network_of);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_network = network.and_then(|network| taken.of.get(&network)).copied().unwrap_or(0);
        if taken.all >= most.all || (network.is_some() && of_network >= most.of_network) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_and_given_back() {
        let places = Arc::new(Places::default());
        let most = Most { all: 4, of_network: 2 };
        let enter = |ip: &str| places.enter(Some(ip.parse().unwrap()), most);
        let first = enter("2001:db8::1").unwrap();
        let _second = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8::3").is_none(), "two from one network");
        let _third = places.enter(None, most).unwrap();
        let _fourth = places.enter(None, most).unwrap();
        assert!(enter("192.0.2.1").is_none(), "four in all");
        assert!(places.enter(None, most).is_none());
        drop(first);
        let _again = enter("2001:db8::3").unwrap();
        assert!(places.enter(None, most).is_none());
        drop((_second, _third, _fourth, _again));
        assert_eq!(places.0.lock().unwrap().all, 0);
        assert!(places.0.lock().unwrap().of.is_empty());
    }
}
