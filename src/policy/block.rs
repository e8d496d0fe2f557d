//! The operator's block list.

use super::Refusal;
use crate::message::Address;
use std::fmt;

/// One entry of the block list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// One address, in any spelling of case that reaches the same place.
    Address(Address),
    /// A host and all below it.
    Host(String),
}

impl Block {
    /// Reads what an operator types: an address (with a scheme, or a bare mail address), else a
    /// host name or IP address. `None` if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // `Bob <bob@example.net>` would be an address that nobody has.
        if text.contains(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | ',')) {
            return None;
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Some(Block::Host(text.to_ascii_lowercase()));
        }
        if text.contains('@') && !text.contains(':') {
            return Address::new(format!("mailto:{text}")).ok().map(Block::Address);
        }
        if text.contains(':') {
            return Address::new(text).ok().map(Block::Address);
        }
        let host = text.trim_start_matches('@').trim_matches('.');
        let good =
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        // Four numbers that are no IP address are no name either.
        let good = good && host.bytes().any(|b| b.is_ascii_alphabetic());
        good.then(|| Block::Host(host.to_ascii_lowercase()))
    }

    /// Whether this entry blocks that address.
    #[must_use]
    pub fn covers(&self, address: &Address) -> bool {
        match self {
            Block::Address(blocked) => blocked.same_place(address),
            Block::Host(host) => address.host().is_some_and(|of| is_below(of, host)),
        }
    }

    /// Refuses an address that any entry covers.
    ///
    /// # Errors
    /// [`Refusal::Blocked`].
    pub fn check(list: &[Block], address: &Address) -> Result<(), Refusal> {
        match list.iter().find(|block| block.covers(address)) {
            Some(block) => Err(Refusal::Blocked { what: block.to_string() }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Block::Address(address) => address.fmt(f),
            Block::Host(host) => f.write_str(host),
        }
    }
}

/// Whether `name` is `host` or ends in `.host`.
fn is_below(name: &str, host: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.strip_suffix(host).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_block_covers() {
        let table = [
            ("eve@example.net", "mailto:eve@example.net", true),
            ("eve@example.net", "mailto:EVE@Example.Net", true),
            ("eve@example.net", "mailto:eve2@example.net", false),
            ("mailto:eve@example.net", "mailto:eve@example.net", true),
            ("http://evil.example/cmr", "http://EVIL.example/cmr/", true),
            ("http://evil.example/cmr", "http://evil.example/other", false),
            ("evil.example", "http://evil.example/cmr", true),
            ("evil.example", "mailto:a@mx.EVIL.example", true),
            ("evil.example", "http://notevil.example/", false),
            ("192.0.2.7", "udp://192.0.2.7:53/x", true),
            ("2001:db8::7", "http://[2001:db8::7]/cmr", true),
        ];
        for (block, address, covered) in table {
            let block = Block::parse(block).unwrap();
            let address = Address::try_from(address).unwrap();
            assert_eq!(block.covers(&address), covered, "{block} {address}");
        }
        for nothing in ["", "  ", "a b", "."] {
            assert_eq!(Block::parse(nothing), None, "{nothing:?}");
        }
        let list = [Block::Host("evil.example".into())];
        let refusal = Block::check(&list, &Address::try_from("mailto:x@evil.example").unwrap());
        assert!(refusal.unwrap_err().to_string().contains("evil.example is blocked"));
    }
}
