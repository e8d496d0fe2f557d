//! Addresses: bytes as they stand in a header line, and what can be told from them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A server address (A2): any bytes but CR and LF, at least one; usually a URL.
///
/// It is the exact header text, since that is what signatures cover; equality and order are
/// bytewise. It is not assumed to be UTF-8. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Address(Arc<[u8]>);

/// Why bytes are no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing there.
    #[error("the address is empty")]
    Empty,
    /// A line end inside.
    #[error("the address has a CR or LF at its byte {0}")]
    LineEnd(usize),
}

impl Address {
    /// An address of these bytes.
    ///
    /// # Errors
    /// If there are none, or a CR or LF is among them.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, AddressError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(AddressError::Empty);
        }
        match bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            Some(at) => Err(AddressError::LineEnd(at)),
            None => Ok(Address(bytes.into())),
        }
    }

    /// The bytes as they stand in a header line.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The scheme as it is written, without its ":" (RFC 3986, section 3.1; compare it without
    /// regard to case).
    #[must_use]
    pub fn scheme(&self) -> Option<&str> {
        let (scheme, _) = self.as_str()?.split_once(':')?;
        let mut bytes = scheme.bytes();
        let good = bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        good.then_some(scheme)
    }

    /// What follows the scheme's ":" if the scheme is this one.
    fn after_scheme(&self, scheme: &str) -> Option<&str> {
        let found = self.scheme().filter(|found| found.eq_ignore_ascii_case(scheme))?;
        self.as_str()?.get(found.len().saturating_add(1)..)
    }

    /// The mail address of a `mailto:` address that is exactly one plain addr-spec (RFC 5322,
    /// section 3.4.1): a dot-atom, "@" and a domain name, all ASCII.
    ///
    /// `None` for everything that a mail system might read as more than one recipient, as a
    /// header, a route or an option: `?` and what follows it (RFC 6068), a comma, quoted local
    /// parts, domain literals and bare IP addresses, `%` (percent-encoding, or a route through
    /// another host), `!` (a route again), a "-" at the front.
    #[must_use]
    pub fn mail_address(&self) -> Option<&str> {
        let address = self.after_scheme("mailto")?;
        let (local, domain) = address.split_once('@')?;
        let good = (1..=64).contains(&local.len())
            && !local.starts_with('-')
            && local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
            && is_domain(domain);
        good.then_some(address)
    }

    /// The host as it is written: the domain of a plain mail address, or the host of
    /// `scheme://user@host:port/…` without brackets. `None` where there is none, or where two
    /// readers of URLs might disagree about which it is.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        if let Some(address) = self.mail_address() {
            return address.split_once('@').map(|(_, domain)| domain);
        }
        let rest = self.as_str()?.get(self.scheme()?.len()..)?.strip_prefix("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        if !authority.bytes().all(is_authority) {
            return None;
        }
        let server = match authority.split_once('@') {
            Some((_, server)) if server.contains('@') => return None,
            Some((_, server)) => server,
            None => authority,
        };
        let (host, port) = match server.strip_prefix('[') {
            Some(literal) => {
                let (host, port) = literal.split_once(']')?;
                let address = host.contains(':')
                    && host.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
                (address.then_some(host)?, port.strip_prefix(':').or(port.is_empty().then_some(""))?)
            }
            None => server.split_once(':').unwrap_or((server, "")),
        };
        let good = !host.is_empty() && !host.contains(['[', ']']) && port.bytes().all(|b| b.is_ascii_digit());
        good.then_some(host)
    }

    /// Whether both reach the same place as far as spelling can tell: equal bytes, or equal but
    /// for the case of a mail address, or for the case of scheme and host and for slashes at the
    /// end of a URL.
    ///
    /// Only for recognising our own addresses: another spelling of one must not make a message
    /// come back to us as if it had never been here. Two addresses of others are the same only if
    /// their bytes are.
    #[must_use]
    pub fn same_place(&self, other: &Address) -> bool {
        if self == other {
            return true;
        }
        // Nearly all pairs: cheap to see, and nothing of what follows overlooks more than this.
        let bare = |address: &Address| {
            let bytes = address.as_bytes();
            bytes.len() - bytes.iter().rev().take_while(|byte| **byte == b'/').count()
        };
        let (mine, its) = (self.as_bytes().get(..bare(self)), other.as_bytes().get(..bare(other)));
        if !mine.zip(its).is_some_and(|(mine, its)| mine.eq_ignore_ascii_case(its)) {
            return false;
        }
        match (self.mail_address(), other.mail_address()) {
            (Some(one), Some(two)) => return one.eq_ignore_ascii_case(two),
            (None, None) => {}
            _ => return false,
        }
        match (self.place(), other.place()) {
            (Some((one, path)), Some((two, other_path))) => {
                one.eq_ignore_ascii_case(two) && path == other_path
            }
            _ => false,
        }
    }

    /// Whether both are at one host, or one at a host below the domain that the other names: who has
    /// `example.org` decides who has `cmr.example.org`. Where a domain gives names to anybody, those share it with
    /// the domain itself, and not with each other. Two IP addresses have to be equal.
    #[must_use]
    pub fn shares_domain(&self, other: &Address) -> bool {
        let (Some(one), Some(two)) = (self.host(), other.host()) else { return false };
        let below = |name: &str, domain: &str| {
            let rest = name.len().checked_sub(domain.len()).and_then(|at| name.split_at_checked(at));
            let named = domain.contains('.') && is_domain(domain) && is_domain(name);
            rest.is_some_and(|(sub, rest)| named && sub.ends_with('.') && rest.eq_ignore_ascii_case(domain))
        };
        one.eq_ignore_ascii_case(two) || below(one, two) || below(two, one)
    }

    /// Scheme and authority, and the path without slashes at its end.
    fn place(&self) -> Option<(&str, &str)> {
        self.host()?;
        let text = self.as_str()?;
        let authority_at = self.scheme()?.len().saturating_add(3);
        let length = text.get(authority_at..)?.find(['/', '?', '#']);
        let (front, path) = match length {
            Some(length) => text.split_at_checked(authority_at.saturating_add(length))?,
            None => (text, ""),
        };
        Some((front, path.trim_end_matches('/')))
    }
}

/// RFC 5322, section 3.2.3, without `%` and `!`.
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"#$&'*+-/=^_`{|}~".contains(&byte)
}

/// A domain name (RFC 1123, section 2.1) whose last label is not a number: an IP address is no
/// domain.
fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.len() <= 253
        && domain.split('.').all(label)
        && !domain.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

/// What may stand between `//` and the path. A backslash may not: some readers of URLs take it
/// for a slash and so see another host.
fn is_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:@[]".contains(&byte)
}

impl fmt::Display for Address {
    /// The text, with control and direction-changing characters and bytes that are not UTF-8
    /// escaped: safe on a terminal. Not meant to be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || is_invisible(character) {
                    write!(f, "{}", character.escape_unicode())?;
                } else {
                    f.write_char(character)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Characters that show nothing, break lines or turn the direction of what follows.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl TryFrom<&str> for Address {
    type Error = AddressError;

    fn try_from(text: &str) -> Result<Self, AddressError> {
        Address::new(text)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        Address::new(text)
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Address::new(text)
    }
}

impl From<Address> for String {
    /// As [`Display`](fmt::Display) shows it: for JSON, not for the wire.
    fn from(address: Address) -> String {
        address.to_string()
    }
}
