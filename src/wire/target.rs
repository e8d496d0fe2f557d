//! What an address says about the way to it.
//!
//! Addresses come out of headers that anybody may have written, so a URL is read strictly: what two
//! readers of URLs could understand differently is no target at all.

use std::fmt;

use crate::message::Address;

/// A transport of A4, by the scheme of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `mailto:` (A4.1).
    Mailto,
    /// `http://` (A4.2).
    Http,
    /// `https://` (A4.3).
    Https,
    /// `udp://` (A4.4).
    Udp,
    /// `ssh://`: not in the specification's list, but named in A5.3.
    Ssh,
}

impl Scheme {
    /// As it is written, and as the transport is called in records: `mailto`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Mailto => "mailto",
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Udp => "udp",
            Scheme::Ssh => "ssh",
        }
    }

    /// Whether it is the web's: HTTP, or HTTPS.
    #[must_use]
    pub fn is_http(self) -> bool {
        matches!(self, Scheme::Http | Scheme::Https)
    }

    /// Whether nobody on the way can read what is sent, and the receiver is known for sure (A5.3).
    #[must_use]
    pub fn is_secret(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Ssh)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The transport of an address, if it is one of those that are spoken.
#[must_use]
pub fn scheme(address: &Address) -> Option<Scheme> {
    let written = address.scheme()?;
    [Scheme::Mailto, Scheme::Http, Scheme::Https, Scheme::Udp, Scheme::Ssh]
        .into_iter()
        .find(|scheme| scheme.name().eq_ignore_ascii_case(written))
}

/// Why an address is not one that can be sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Another scheme, or no host.
    #[error("{0} is no {1} address with a host")]
    Other(String, &'static str),
    /// Characters that no URL has.
    #[error("{0} has characters that no URL has")]
    Characters(String),
    /// A user, a password or a fragment.
    #[error("{0} names a user or a fragment, which has no place in an address of this kind")]
    Extra(String),
    /// No port, or none that there is.
    #[error("{0} names no port from 1 to 65535")]
    Port(String),
    /// `udp://host:port` without what tells the servers behind the port apart.
    #[error("{0} has no name behind the port, which a udp address needs")]
    Tag(String),
}

/// Where a message goes by HTTP or HTTPS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpTarget {
    /// Whether TLS is spoken.
    pub secure: bool,
    /// A name, or an IP address without brackets; lower case.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query: what stands in the request line. Begins with "/".
    pub path: String,
}

impl HttpTarget {
    /// Reads `http://host[:port][/path][?query]`, or https.
    ///
    /// # Errors
    /// Why nothing can be sent there.
    pub fn parse(address: &Address) -> Result<Self, TargetError> {
        let secure = match scheme(address) {
            Some(Scheme::Http) => false,
            Some(Scheme::Https) => true,
            _ => return Err(TargetError::Other(address.to_string(), "http")),
        };
        let url = Url::parse(address, "http")?;
        let port = match url.port {
            Some(port) => port,
            None if secure => 443,
            None => 80,
        };
        let path = if url.rest.starts_with('/') { url.rest.to_owned() } else { format!("/{}", url.rest) };
        Ok(HttpTarget { secure, host: url.host, port, path })
    }

    /// What stands in the Host field (RFC 9110, section 7.2): the port only if it is not the usual
    /// one.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = bracketed(&self.host);
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// The same target, asked with these parameters added to its query.
    #[must_use]
    pub fn asking(&self, parameters: &str) -> String {
        let joint = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{joint}{parameters}", self.path)
    }
}

/// A host as it stands in a URL.
#[must_use]
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Where a message goes by UDP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UdpTarget {
    /// A name, or an IP address without brackets; lower case.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What tells the servers behind the port apart (A4.4).
    pub tag: String,
}

impl UdpTarget {
    /// Reads `udp://host:port/tag`.
    ///
    /// # Errors
    /// Why nothing can be sent there.
    pub fn parse(address: &Address) -> Result<Self, TargetError> {
        if scheme(address) != Some(Scheme::Udp) {
            return Err(TargetError::Other(address.to_string(), "udp"));
        }
        let url = Url::parse(address, "udp")?;
        let port = url.port.ok_or_else(|| TargetError::Port(address.to_string()))?;
        let tag = url.rest.strip_prefix('/').unwrap_or_default();
        if tag.is_empty() || tag.starts_with('/') || tag.contains('?') {
            return Err(TargetError::Tag(address.to_string()));
        }
        Ok(UdpTarget { host: url.host, port, tag: tag.to_owned() })
    }
}

/// The parts of a URL with a host.
struct Url<'a> {
    host: String,
    port: Option<u16>,
    rest: &'a str,
}

impl<'a> Url<'a> {
    fn parse(address: &'a Address, kind: &'static str) -> Result<Self, TargetError> {
        let shown = || address.to_string();
        let other = || TargetError::Other(shown(), kind);
        // `host` refuses what can be read in two ways.
        let host = address.host().ok_or_else(other)?;
        let text = address.as_str().ok_or_else(other)?;
        let good = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
        if !text.bytes().all(good) {
            return Err(TargetError::Characters(shown()));
        }
        let (_, after) = text.split_once("://").ok_or_else(other)?;
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, rest) = after.split_at_checked(end).ok_or_else(other)?;
        if authority.contains('@') || rest.contains('#') {
            return Err(TargetError::Extra(shown()));
        }
        let bare = authority.rsplit_once(']').map_or(authority, |(_, port)| port);
        let port = match bare.split_once(':') {
            None => None,
            Some((_, port)) => {
                let number: Option<u16> = port.parse().ok().filter(|port| *port != 0);
                Some(number.ok_or_else(|| TargetError::Port(shown()))?)
            }
        };
        Ok(Url { host: host.to_ascii_lowercase(), port, rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::try_from(text).unwrap()
    }

    #[test]
    fn what_a_url_says() {
        let table = [
            ("http://peer.example", false, "peer.example", 80, "/", "peer.example"),
            ("HTTP://Peer.Example/", false, "peer.example", 80, "/", "peer.example"),
            ("https://peer.example/cmr", true, "peer.example", 443, "/cmr", "peer.example"),
            (
                "http://peer.example:8080/a/b.pl?x=1",
                false,
                "peer.example",
                8080,
                "/a/b.pl?x=1",
                "peer.example:8080",
            ),
            ("https://[2001:DB8::1]:80/", true, "2001:db8::1", 80, "/", "[2001:db8::1]:80"),
            ("http://192.0.2.1?q", false, "192.0.2.1", 80, "/?q", "192.0.2.1"),
            ("https://peer.example:443/%7Ecmr", true, "peer.example", 443, "/%7Ecmr", "peer.example"),
        ];
        for (text, secure, host, port, path, authority) in table {
            let target = HttpTarget::parse(&address(text)).unwrap();
            let expected = HttpTarget { secure, host: host.to_owned(), port, path: path.to_owned() };
            assert_eq!(target, expected, "{text}");
            assert_eq!(target.authority(), authority, "{text}");
        }
        let udp = UdpTarget::parse(&address("udp://192.168.0.102:53/dns-tunnel")).unwrap();
        assert_eq!((udp.host.as_str(), udp.port, udp.tag.as_str()), ("192.168.0.102", 53, "dns-tunnel"));
        let udp = UdpTarget::parse(&address("UDP://[::1]:9/a/b")).unwrap();
        assert_eq!((udp.host.as_str(), udp.port, udp.tag.as_str()), ("::1", 9, "a/b"));
    }

    #[test]
    fn what_is_no_target() {
        let table = [
            ("http://", "no http address"),
            ("http:///cmr", "no http address"),
            ("ftp://peer.example/", "no http address"),
            ("mailto:cmr@peer.example", "no http address"),
            ("http://user@peer.example/", "a user or a fragment"),
            ("http://user:secret@peer.example/", "a user or a fragment"),
            ("http://peer.example/#x", "a user or a fragment"),
            ("http://peer.example:0/", "no port"),
            ("http://peer.example:65536/", "no port"),
            ("http://peer.example:/", "no port"),
            ("http://peer.example/a b", "characters"),
            ("http://peer.example/\u{e4}", "characters"),
            ("http://peer.example\\@victim.example/", "no http address"),
            ("http://peer.example/\\..", "characters"),
        ];
        for (text, words) in table {
            let error = HttpTarget::parse(&address(text)).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let table = [
            ("udp://peer.example", "no port"),
            ("udp://peer.example/cmr", "no port"),
            ("udp://peer.example:53", "no name"),
            ("udp://peer.example:53/", "no name"),
            ("udp://peer.example:53//x", "no name"),
            ("udp://peer.example:53/x?y", "no name"),
            ("udp://a@peer.example:53/x", "a user"),
            ("http://peer.example:53/x", "no udp address"),
        ];
        for (text, words) in table {
            let error = UdpTarget::parse(&address(text)).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn parameters_join_a_query_that_is_there() {
        let ask = |text: &str| HttpTarget::parse(&address(text)).unwrap().asking("reply=k");
        assert_eq!(ask("http://peer.example"), "/?reply=k");
        assert_eq!(ask("http://peer.example/cmr"), "/cmr?reply=k");
        assert_eq!(ask("http://peer.example/cmr.pl?x=1"), "/cmr.pl?x=1&reply=k");
    }

    #[test]
    fn schemes_are_read_without_regard_to_case() {
        for (text, expected) in [
            ("mailto:a@b.example", Some(Scheme::Mailto)),
            ("HTTPS://b.example/", Some(Scheme::Https)),
            ("uDp://b.example:1/x", Some(Scheme::Udp)),
            ("ssh://b.example", Some(Scheme::Ssh)),
            ("gopher://b.example/", None),
            ("b.example", None),
        ] {
            assert_eq!(scheme(&address(text)), expected, "{text}");
        }
    }
}
