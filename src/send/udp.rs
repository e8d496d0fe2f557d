//! CMR over UDP, outwards (A4.4): one datagram with a tag.
//!
//! Nobody says that it arrived: a delivery is done when the datagram has left. What must not get lost
//! goes another way, or is asked for again by who misses it.

use std::net::SocketAddr;

use tokio::net::UdpSocket;

use super::outcome::{Outcome, Reply, Trouble};
use super::resolve::{Resolve, ResolveError, reachable};
use crate::message::Address;
use crate::wire::{UdpTarget, datagram};

/// Sends a message. `configured`: the operator named the address, so that it may be in any network.
pub async fn send(resolver: &dyn Resolve, to: &Address, configured: bool, message: &[u8]) -> Outcome {
    let never = |reason: String| Outcome::Fail { reason, reply: None };
    let target = match UdpTarget::parse(to) {
        Ok(target) => target,
        Err(error) => return never(error.to_string()),
    };
    let datagram = match datagram::write(&target.tag, message) {
        Ok(datagram) => datagram,
        Err(error) => return never(error.to_string()),
    };
    let network = |reason: String| Outcome::Retry { trouble: Trouble::Network, reason };
    let places = match reachable(resolver, to, (&target.host, target.port), configured).await {
        Ok(places) => places,
        Err(error @ ResolveError::Refused(_)) => return never(error.to_string()),
        Err(error) => return network(error.to_string()),
    };
    let mut last = "there is nothing to send to".to_owned();
    for place in places {
        match send_to(place, &datagram).await {
            Ok(()) => {
                let text = format!(
                    "{} bytes have left in one datagram; nobody says whether they arrived",
                    datagram.len()
                );
                return Outcome::Done(Reply { code: 200, text });
            }
            Err(error) => last = format!("UDP to {place}: {error}"),
        }
    }
    network(last)
}

async fn send_to(place: SocketAddr, datagram: &[u8]) -> std::io::Result<()> {
    let any: SocketAddr = if place.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    // Connected, so that a port where nobody listens shows where the system can tell.
    socket.connect(place).await?;
    socket.send(datagram).await?;
    match socket.take_error()? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
