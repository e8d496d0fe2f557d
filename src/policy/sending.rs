//! What may be sent where without anybody asking for it.

use super::{Refusal, is_globally_routable};
use crate::message::Address;
use std::net::IpAddr;
use std::time::Duration;

/// How an address stands with us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The operator listed it.
    pub listed: bool,
    /// The operator pinned it as a contact.
    pub pinned: bool,
    /// This exact address has sent us something authenticated.
    pub authenticated: bool,
    /// A pinned peer vouches for it, and today's quota for that is not used up.
    pub vouched: bool,
    /// It answered from where it says it is: a UDP cookie came back, or it proved a handshake.
    pub returned: bool,
}

impl Standing {
    /// The operator meant it.
    #[must_use]
    pub fn configured(self) -> bool {
        self.listed || self.pinned
    }
}

/// Whether a connection may be made to what the host of an address was found to be. A name may lead
/// anywhere, so this is asked about each IP address that is connected to, however the name looked.
/// `configured`: the operator named the address.
///
/// # Errors
/// [`Refusal::NotRoutable`].
pub fn may_connect(address: &Address, ip: IpAddr, configured: bool) -> Result<(), Refusal> {
    if configured || is_globally_routable(ip) {
        return Ok(());
    }
    Err(Refusal::NotRoutable { address: address.to_string(), ip })
}

/// Whether a stranger's address may have this port: what is sent there holds lines that the stranger
/// wrote, and mail servers and their like listen below 1024.
///
/// # Errors
/// [`Refusal::NoWebPort`].
pub fn is_web_port(address: &Address, port: u16) -> Result<(), Refusal> {
    if matches!(port, 80 | 443 | 1024..) {
        return Ok(());
    }
    Err(Refusal::NoWebPort { address: address.to_string(), port })
}

/// Whether anything automatic (a forward, a probe, a key exchange, an offer) may go to an address.
///
/// - `mailto:` only with one plain addr-spec, and only if the address wrote first and proved it,
///   the operator named it, or a pinned peer vouches for it; in our own domains only if the
///   operator named it. Everybody else would be a victim of a forged header.
/// - `http`, `https`: to hosts of the public Internet (the resolved address must be looked at
///   again by [`is_globally_routable`]), or listed ones.
/// - `udp` likewise, and only once the address was named, proved itself or returned a cookie.
/// - `ssh` only if the operator named it.
///
/// # Errors
/// [`Refusal::NoRecipient`], [`Refusal::Stranger`], [`Refusal::LocalDomain`],
/// [`Refusal::NotRoutable`], [`Refusal::LocalName`].
pub fn may_send_to(address: &Address, standing: Standing, local_domains: &[String]) -> Result<(), Refusal> {
    let shown = || address.to_string();
    let scheme = address.scheme().map(str::to_ascii_lowercase);
    let stranger = || Err(Refusal::Stranger { address: shown() });
    let Some(host) = address.host() else {
        return Err(Refusal::NoRecipient { address: shown() });
    };
    match scheme.as_deref() {
        Some("mailto") => {
            if standing.configured() {
                return Ok(());
            }
            if local_domains.iter().any(|domain| is_at_or_below(host, domain)) {
                return Err(Refusal::LocalDomain { address: shown() });
            }
            if standing.authenticated || standing.vouched { Ok(()) } else { stranger() }
        }
        Some("ssh") => {
            if standing.configured() {
                Ok(())
            } else {
                stranger()
            }
        }
        Some("http" | "https") => public_host(address, host, standing),
        Some("udp") => {
            if standing.configured() || standing.authenticated || standing.returned {
                public_host(address, host, standing)
            } else {
                stranger()
            }
        }
        _ => Err(Refusal::NoRecipient { address: shown() }),
    }
}

/// A host that anybody may name: an IP address of the public Internet, or a name with a dot that
/// is not for local networks (RFC 6761, RFC 6762, RFC 8375).
fn public_host(address: &Address, host: &str, standing: Standing) -> Result<(), Refusal> {
    if standing.configured() {
        return Ok(());
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        if is_globally_routable(ip) {
            return Ok(());
        }
        return Err(Refusal::NotRoutable { address: address.to_string(), ip });
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    // A last label of digits (or 0x…) is an IPv4 address in a spelling of inet_aton.
    let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    let local = ["localhost", "local", "internal", "lan", "home", "corp", "onion", "localdomain"];
    if !name.contains('.') || numeric || local.contains(&last) || name.ends_with("home.arpa") {
        return Err(Refusal::LocalName { address: address.to_string() });
    }
    Ok(())
}

fn is_at_or_below(host: &str, domain: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let domain = domain.trim_matches('.').to_ascii_lowercase();
    host.strip_suffix(domain.as_str()).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

/// At most so many contacts are learned per domain or network.
pub const LEARNED_PER_GROUP: usize = 2;

/// The corner of the Internet that an address belongs to: /24 (IPv4) or /48 (IPv6) of an IP
/// address, else the registered domain as far as its shape tells (two labels; three under a
/// country's short second level such as `co.uk`). `None` without a host.
#[must_use]
pub fn contact_group(address: &Address) -> Option<String> {
    let host = address.host()?.trim_end_matches('.').to_ascii_lowercase();
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            return Some(format!("{a}.{b}.{c}.0/24"));
        }
        Ok(IpAddr::V6(ip)) => {
            let [a, b, c, ..] = ip.segments();
            return Some(format!("{a:x}:{b:x}:{c:x}::/48"));
        }
        Err(_) => {}
    }
    let mut labels = host.rsplit('.');
    let (top, second) = (labels.next()?, labels.next());
    let Some(second) = second else {
        return Some(host);
    };
    let third = if top.len() == 2 && second.len() <= 3 { labels.next() } else { None };
    Some(match third {
        Some(third) => format!("{third}.{second}.{top}"),
        None => format!("{second}.{top}"),
    })
}

/// Whether an address out of a header may become a contact beside those learned before.
///
/// # Errors
/// [`Refusal::TooManyAlike`], or [`Refusal::NoRecipient`] without a host.
pub fn may_learn<'a>(
    address: &Address,
    learned: impl IntoIterator<Item = &'a Address>,
) -> Result<(), Refusal> {
    let Some(group) = contact_group(address) else {
        return Err(Refusal::NoRecipient { address: address.to_string() });
    };
    let alike = learned
        .into_iter()
        .filter(|other| *other != address && contact_group(other).as_ref() == Some(&group))
        .count();
    if alike >= LEARNED_PER_GROUP {
        return Err(Refusal::TooManyAlike { address: address.to_string(), group });
    }
    Ok(())
}

/// Later matches that a person gets a day at most.
pub const LATER_PER_DAY: u32 = 10;
/// Of these, how many one author may cause.
pub const LATER_PER_AUTHOR: u32 = 3;

/// What matters for sending a person a match that came after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaterMatch {
    /// Time since the person's post.
    pub age: Duration,
    /// For how long later matches are sent (`later_matches`).
    pub window: Duration,
    /// How many the person got within the last day.
    pub sent_today: u32,
    /// How many of these the author of this match caused.
    pub of_author_today: u32,
    /// The person said stop.
    pub stopped: bool,
}

/// Whether a later match may be sent to a person.
///
/// # Errors
/// [`Refusal::Stopped`], [`Refusal::PostTooOld`], [`Refusal::EnoughToday`] or
/// [`Refusal::EnoughOfAuthor`].
pub fn may_send_later(later: &LaterMatch) -> Result<(), Refusal> {
    if later.stopped {
        return Err(Refusal::Stopped);
    }
    if later.age > later.window {
        return Err(Refusal::PostTooOld { age: later.age, window: later.window });
    }
    if later.sent_today >= LATER_PER_DAY {
        return Err(Refusal::EnoughToday { sent: later.sent_today });
    }
    if later.of_author_today >= LATER_PER_AUTHOR {
        return Err(Refusal::EnoughOfAuthor { sent: later.of_author_today });
    }
    Ok(())
}

/// Whether a body is one of the key exchanges of A5, which are never pooled, matched or forwarded.
/// Judged by its beginning alone: a body that only looks like one is not worth the risk.
#[must_use]
pub fn is_key_exchange(body: &[u8]) -> bool {
    let prefixes: [&[u8]; 3] = [b"RSA key exchange ", b"DH key exchange ", b"Clear key exchange="];
    prefixes.iter().any(|prefix| body.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::try_from(text).unwrap()
    }

    const NOBODY: Standing =
        Standing { listed: false, pinned: false, authenticated: false, vouched: false, returned: false };

    #[test]
    fn hostile_mail_addresses_are_never_sent_to() {
        // Not even if the operator listed them: a listing is by address, and these are none.
        let all = Standing { listed: true, pinned: true, authenticated: true, vouched: true, returned: true };
        let hostile = [
            "mailto:a?bcc=b",
            "mailto:a@b.example?bcc=c@d.example",
            "mailto:a,b@c",
            "mailto:a@b.example,c@d.example",
            "mailto:a@[127.0.0.1]",
            "mailto:a@127.0.0.1",
            "mailto:root",
            "mailto:",
            "mailto:@example.net",
            "mailto:a@",
            "mailto:a@example.net.",
            "mailto:a@.example.net",
            "mailto:a b@example.net",
            "mailto:a@example.net\0",
            "mailto:\"a\"@example.net",
            "mailto:a@b@example.net",
            "mailto:-oProxyCommand@example.net",
            "mailto:a%40b@example.net",
            "mailto:b.example!a@example.net",
            "mailto:<a@example.net>",
            "mailto:a@example.net#x",
            "mailto:ä@example.net",
            "file:///etc/passwd",
            "gopher://example.net/1",
            "javascript:alert(1)",
            "example.net",
            "http://",
            "http:///cmr",
            "http://a@b@example.net/",
            "Alice",
        ];
        for text in hostile {
            let got = may_send_to(&address(text), all, &[]);
            assert!(matches!(got, Err(Refusal::NoRecipient { .. })), "{text}: {got:?}");
        }
        let latin = Address::new(b"mailto:a\xe4@example.net".as_slice()).unwrap();
        assert!(matches!(may_send_to(&latin, all, &[]), Err(Refusal::NoRecipient { .. })));
    }

    #[test]
    fn standing_decides_about_mail() {
        let local = ["example.org".to_owned()];
        let listed = Standing { listed: true, ..NOBODY };
        let pinned = Standing { pinned: true, ..NOBODY };
        let authenticated = Standing { authenticated: true, ..NOBODY };
        let vouched = Standing { vouched: true, ..NOBODY };
        let returned = Standing { returned: true, ..NOBODY };
        #[rustfmt::skip]
        let table = [
            ("mailto:bob@example.net", NOBODY, Err("never sent")),
            ("mailto:bob@example.net", returned, Err("never sent")),
            ("mailto:bob@example.net", authenticated, Ok(())),
            ("mailto:bob@example.net", vouched, Ok(())),
            ("mailto:bob@example.net", listed, Ok(())),
            ("MAILTO:Bob@Example.NET", authenticated, Ok(())),
            ("mailto:bob@EXAMPLE.org", authenticated, Err("domain of this house")),
            ("mailto:bob@mx.example.org", vouched, Err("domain of this house")),
            ("mailto:bob@example.org", listed, Ok(())),
            ("mailto:bob@example.org", pinned, Ok(())),
            ("mailto:bob@notexample.org", authenticated, Ok(())),
            ("http://cmr.example.net/cmr", NOBODY, Ok(())),
            ("https://8.8.8.8/cmr", NOBODY, Ok(())),
            ("http://127.0.0.1:8025/cmr", authenticated, Err("127.0.0.1")),
            ("http://127.0.0.1:8025/cmr", pinned, Ok(())),
            ("http://[::1]/cmr", NOBODY, Err("::1")),
            ("http://[::ffff:10.0.0.1]/", NOBODY, Err("not reachable")),
            ("http://169.254.169.254/latest/meta-data", NOBODY, Err("not reachable")),
            ("http://localhost/cmr", NOBODY, Err("local network")),
            ("http://LOCALHOST./cmr", NOBODY, Err("local network")),
            ("http://printer.local/", NOBODY, Err("local network")),
            ("http://intranet/", NOBODY, Err("local network")),
            ("http://2130706433/", NOBODY, Err("local network")),
            ("http://127.1/", NOBODY, Err("local network")),
            ("http://0x7f.1/", NOBODY, Err("local network")),
            ("http://10.0.0.0x1/", NOBODY, Err("local network")),
            ("udp://8.8.8.8:53/x", NOBODY, Err("never sent")),
            ("udp://8.8.8.8:53/x", vouched, Err("never sent")),
            ("udp://8.8.8.8:53/x", returned, Ok(())),
            ("udp://10.0.0.1:53/x", returned, Err("not reachable")),
            ("udp://10.0.0.1:53/x", listed, Ok(())),
            ("ssh://cmr@peer.example/", authenticated, Err("never sent")),
            ("ssh://cmr@peer.example/", listed, Ok(())),
        ];
        for (text, standing, expected) in table {
            let got = may_send_to(&address(text), standing, &local);
            match (&got, expected) {
                (Ok(()), Ok(())) => {}
                (Err(refusal), Err(words)) => {
                    assert!(refusal.to_string().contains(words), "{text}: {refusal}");
                }
                _ => panic!("{text} {standing:?}: {got:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn two_contacts_are_learned_per_corner() {
        let groups = [
            ("mailto:a@mx.example.net", Some("example.net")),
            ("http://a.b.EXAMPLE.net:80/x", Some("example.net")),
            ("http://shop.firm.co.uk/", Some("firm.co.uk")),
            ("http://other.co.uk/", Some("other.co.uk")),
            ("http://x.orf.at/", Some("x.orf.at")),
            ("http://8.8.4.9/", Some("8.8.4.0/24")),
            ("http://[2a00:1450:4001:81b::1]/", Some("2a00:1450:4001::/48")),
            ("http://intranet/", Some("intranet")),
            ("mailto:a,b", None),
        ];
        for (text, group) in groups {
            assert_eq!(contact_group(&address(text)).as_deref(), group, "{text}");
        }
        let known = [address("http://a.example.net/"), address("mailto:b@example.net")];
        assert!(may_learn(&address("http://c.example.net/"), &known).is_err());
        assert!(may_learn(&address("http://c.example.com/"), &known).is_ok());
        // Learning again what is known is no third one.
        assert!(may_learn(&known[0], &known).is_ok());
        assert!(may_learn(&address("http://c.example.net/"), &known[..1]).is_ok());
    }

    #[test]
    fn later_matches_end() {
        let day = Duration::from_secs(86_400);
        let good =
            LaterMatch { age: 30 * day, window: 30 * day, sent_today: 9, of_author_today: 2, stopped: false };
        assert_eq!(may_send_later(&good), Ok(()));
        let bad = [
            LaterMatch { age: 30 * day + Duration::from_secs(1), ..good },
            LaterMatch { sent_today: 10, ..good },
            LaterMatch { of_author_today: 3, ..good },
            LaterMatch { stopped: true, ..good },
        ];
        let words = ["30d", "10 are", "3 are", "asked for no more"];
        for (later, words) in bad.iter().zip(words) {
            let refusal = may_send_later(later).unwrap_err().to_string();
            assert!(refusal.contains(words), "{refusal}");
        }
    }

    #[test]
    fn key_exchanges_are_recognised() {
        for body in [
            "RSA key exchange request=a,b.",
            "RSA key exchange reply=c.",
            "DH key exchange request=b,17,f.",
            "Clear key exchange=666f6f.",
        ] {
            assert!(is_key_exchange(body.as_bytes()), "{body}");
        }
        for body in ["", "About RSA key exchange request=", "rsa key exchange request=1,2."] {
            assert!(!is_key_exchange(body.as_bytes()), "{body}");
        }
    }
}
