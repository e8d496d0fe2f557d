//! IP addresses: who is a trusted client, and what may be connected to.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an original client is in a trusted network. An empty list trusts nobody.
#[must_use]
pub fn is_trusted(client: Option<IpAddr>, trusted: &[IpNet]) -> bool {
    client.is_some_and(|ip| is_in(trusted, ip.to_canonical()))
}

fn is_in(networks: &[IpNet], ip: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&ip))
}

/// Whether an address is one of the public Internet: not private, local, documentation,
/// multicast, reserved or a tunnel to one of these (RFC 6890 and the IANA special-purpose
/// registries). Addresses that wrap an IPv4 address are judged by that one.
#[must_use]
pub fn is_globally_routable(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_global_v4(ip),
        IpAddr::V6(ip) => is_global_v6(ip),
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = a == 0                                  // this network
        || a == 10                                        // private
        || a == 127                                       // loopback
        || (a == 100 && (64..128).contains(&b))           // shared by carriers
        || (a == 169 && b == 254)                         // link local, cloud metadata
        || (a == 172 && (16..32).contains(&b))            // private
        || (a == 192 && b == 0 && (c == 0 || c == 2))     // protocol assignments, documentation
        || (a == 192 && b == 88 && c == 99)               // 6to4 relays
        || (a == 192 && b == 168)                         // private
        || (a == 198 && (b == 18 || b == 19))             // benchmarks
        || (a == 198 && b == 51 && c == 100)              // documentation
        || (a == 203 && b == 0 && c == 113)               // documentation
        || a >= 224; // multicast, reserved, broadcast
    !special
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let wrapped = |high: u16, low: u16| {
        let ([p, q], [r, s]) = (high.to_be_bytes(), low.to_be_bytes());
        is_global_v4(Ipv4Addr::new(p, q, r, s))
    };
    if (a, b, c, d, e, f) == (0x64, 0xff9b, 0, 0, 0, 0) {
        return wrapped(g, h); // NAT64
    }
    if a == 0x2002 {
        return wrapped(b, c); // 6to4
    }
    let special = (a == 0x2001 && (b < 0x0200 || b == 0x0db8)) // protocols, Teredo; documentation
        || (a == 0x3fff && b < 0x1000); // documentation
    // Everything in use lies in 2000::/3; the rest is local, multicast or not assigned.
    (0x2000..0x4000).contains(&a) && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    #[test]
    fn nobody_is_trusted_unless_listed() {
        let office = ["10.1.0.0/16".parse().unwrap()];
        assert!(is_trusted(Some(ip("10.1.2.3")), &office));
        assert!(is_trusted(Some(ip("::ffff:10.1.2.3")), &office));
        assert!(!is_trusted(Some(ip("10.2.2.3")), &office));
        assert!(!is_trusted(None, &office));
        assert!(!is_trusted(Some(ip("127.0.0.1")), &[]));
    }

    #[test]
    fn only_the_public_internet_is_routable() {
        let public = [
            "8.8.8.8",
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2a00:1450:4001::1",
            "2606:4700::1",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "::ffff:8.8.8.8",
        ];
        for text in public {
            assert!(is_globally_routable(ip(text)), "{text}");
        }
        let not = [
            "0.0.0.0",
            "10.0.0.1",
            "127.0.0.1",
            "100.64.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "5f00::1",
            "4000::1",
            "fec0::1",
        ];
        for text in not {
            assert!(!is_globally_routable(ip(text)), "{text}");
        }
    }
}
