//! Reverse-paths and forward-paths (RFC 5321 section 4.1.2), read before the command parser
//! sees them: it loses the quotes of a local part and the word `Postmaster`.
//!
//! More is accepted than the grammar allows (`a..b@x`, an underscore in a domain): such
//! addresses exist, and bounces to them must find their way.

use std::fmt;

use thiserror::Error;

/// Octets of an address. RFC 5321 asks for 256 with the brackets; signed bounce addresses
/// are longer.
const MAX_ADDRESS: usize = 320;

/// A local part, unquoted, and a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    local: String,
    domain: String,
}

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// There is no `<` at the start, or no `>` that ends it.
    #[error("an address stands between < and >")]
    Brackets,
    /// Longer than 320 octets.
    #[error("an address has at most 320 octets")]
    TooLong,
    /// There is no `@`.
    #[error("the address has no domain")]
    NoDomain,
    /// The part before the `@` is empty, or has a character that needs quotes.
    #[error("the part before the @ is not well formed")]
    Local,
    /// The part behind the `@` is no domain and no address literal.
    #[error("the domain is not well formed")]
    Domain,
}

/// What stood between `<` and `>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// `<>`
    Null,
    /// `<Postmaster>`, in any case, without a domain.
    Postmaster,
    /// Anything else.
    Mailbox(Mailbox),
}

impl Mailbox {
    /// Reads `local@domain` without brackets.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_ADDRESS {
            return Err(PathError::TooLong);
        }
        let (local, domain) = match text.strip_prefix('"') {
            Some(quoted) => read_quoted(quoted)?,
            None => {
                let (local, domain) = text.split_once('@').ok_or(PathError::NoDomain)?;
                if local.is_empty() || !local.chars().all(is_dot_text) {
                    return Err(PathError::Local);
                }
                (local.to_owned(), domain)
            }
        };
        if !is_domain(domain) {
            return Err(PathError::Domain);
        }
        Ok(Mailbox { local, domain: domain.to_owned() })
    }

    /// The part before the `@`, without quotes and backslashes.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The part behind the `@`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// True when the address may only be spoken after SMTPUTF8 (RFC 6531).
    pub fn needs_utf8(&self) -> bool {
        !(self.local.is_ascii() && self.domain.is_ascii())
    }
}

impl fmt::Display for Mailbox {
    /// The address with quotes only where it needs them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.local.is_empty() && self.local.chars().all(is_dot_text) {
            return write!(f, "{}@{}", self.local, self.domain);
        }
        f.write_str("\"")?;
        for c in self.local.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\"@{}", self.domain)
    }
}

/// An address as it stands between the brackets of a command: with quotes if its local part needs
/// them and has none.
#[must_use]
pub fn path_of(address: &str) -> String {
    if Mailbox::parse(address).is_ok() {
        return address.to_owned();
    }
    let (local, domain) = match address.rsplit_once('@') {
        Some((local, domain)) => (local, domain),
        None => (address, ""),
    };
    let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    if quoted || (!local.is_empty() && local.chars().all(is_dot_text)) {
        return address.to_owned();
    }
    let mailbox = Mailbox { local: local.to_owned(), domain: domain.to_owned() }.to_string();
    mailbox.strip_suffix('@').map_or(mailbox.clone(), str::to_owned)
}

/// Splits `<path>rest` at the bracket that ends the path, which may hold brackets in quotes.
pub(super) fn split(text: &str) -> Result<(&str, &str), PathError> {
    let inner = text.strip_prefix('<').ok_or(PathError::Brackets)?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => {
                let (path, rest) = inner.split_at_checked(at).ok_or(PathError::Brackets)?;
                return Ok((path, rest.strip_prefix('>').unwrap_or(rest)));
            }
            _ => {}
        }
    }
    Err(PathError::Brackets)
}

/// Reads what stands between the brackets. A source route is dropped, as RFC 5321
/// appendix C asks.
pub(super) fn parse(inner: &str) -> Result<Path, PathError> {
    let inner = inner.trim_matches(' ');
    let inner = match inner.strip_prefix('@') {
        Some(route) => route.split_once(':').map(|(_, path)| path).ok_or(PathError::Domain)?,
        None => inner,
    };
    if inner.is_empty() {
        return Ok(Path::Null);
    }
    if inner.eq_ignore_ascii_case("postmaster") {
        return Ok(Path::Postmaster);
    }
    Mailbox::parse(inner).map(Path::Mailbox)
}

/// Reads a quoted local part behind its first quote, and the domain behind it.
fn read_quoted(text: &str) -> Result<(String, &str), PathError> {
    let mut local = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            c if c.is_control() => return Err(PathError::Local),
            c if escaped => {
                local.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => {
                let (_, rest) = text.split_at_checked(at).ok_or(PathError::Local)?;
                let domain = rest.strip_prefix("\"@").ok_or(PathError::NoDomain)?;
                return Ok((local, domain));
            }
            c => local.push(c),
        }
    }
    Err(PathError::Local)
}

/// atext and the dot, and beyond ASCII whatever is not a control character.
fn is_dot_text(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~.".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

fn is_domain(text: &str) -> bool {
    if let Some(literal) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return !literal.is_empty()
            && literal.chars().all(|c| c.is_ascii_alphanumeric() || ".:-".contains(c));
    }
    text.len() <= 255
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| {
                    c.is_ascii_alphanumeric()
                        || c == '-'
                        || c == '_'
                        || (!c.is_ascii() && c.is_alphanumeric())
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_read_with_their_quotes() {
        let rows = [
            ("<>", "", ""),
            ("<a@b.c>", "a@b.c", ""),
            ("<a@b.c> SIZE=1", "a@b.c", " SIZE=1"),
            ("<a..b@x>", "a..b@x", ""),
            ("<\"a b\"@c.d>", "\"a b\"@c.d", ""),
            ("<\"a\"@c.d>", "a@c.d", ""),
            ("<\"a>b\"@c.d> X", "\"a>b\"@c.d", " X"),
            ("<\"a\\\"b\\\\\"@c.d>", "\"a\\\"b\\\\\"@c.d", ""),
            ("<\"\"@c.d>", "\"\"@c.d", ""),
            ("<@r1.example,@r2.example:a@b.c>", "a@b.c", ""),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]", ""),
            ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", ""),
            ("<grün@bücher.example>", "grün@bücher.example", ""),
        ];
        for (text, want, want_rest) in rows {
            let (inner, rest) = split(text).unwrap();
            let got = match parse(inner).unwrap() {
                Path::Null => String::new(),
                Path::Postmaster => "postmaster".to_owned(),
                Path::Mailbox(mailbox) => mailbox.to_string(),
            };
            assert_eq!((got.as_str(), rest), (want, want_rest), "{text}");
        }
        assert_eq!(parse("pOSTMASTER"), Ok(Path::Postmaster));
    }

    #[test]
    fn an_address_gets_the_quotes_it_needs() {
        for (address, path) in [
            ("a@b.c", "a@b.c"),
            ("root", "root"),
            ("a..b@c", "a..b@c"),
            ("a b@c.d", "\"a b\"@c.d"),
            ("\"a b\"@c.d", "\"a b\"@c.d"),
            ("a\"b@c.d", "\"a\\\"b\"@c.d"),
            ("a>b@c.d", "\"a>b\"@c.d"),
            ("a@b@c.d", "\"a@b\"@c.d"),
            ("a b", "\"a b\""),
        ] {
            assert_eq!(path_of(address), path);
        }
    }

    #[test]
    fn what_is_no_path_says_why() {
        let long = format!("{}@x.example", "a".repeat(311));
        let rows = [
            ("root", PathError::NoDomain),
            ("@b.c", PathError::Domain),
            ("a b@c.d", PathError::Local),
            ("a@b@c", PathError::Domain),
            ("a@", PathError::Domain),
            ("a@.c", PathError::Domain),
            ("a@b.c.", PathError::Domain),
            ("a@-b.c", PathError::Domain),
            ("a@[]", PathError::Domain),
            ("\"a", PathError::Local),
            ("\"a\"b@c.d", PathError::NoDomain),
            ("\"a\u{7}\"@c.d", PathError::Local),
            (&long, PathError::TooLong),
        ];
        for (text, want) in rows {
            assert_eq!(parse(text), Err(want), "{text}");
        }
        for text in ["a@b.c", "<a@b.c", "<\"a>@b.c", ""] {
            assert_eq!(split(text), Err(PathError::Brackets), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_address_written_is_read_back(local in "[ -~äß]{0,40}", domain in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}") {
            let mailbox = Mailbox { local, domain };
            let text = mailbox.to_string();
            prop_assert_eq!(Mailbox::parse(&text), Ok(mailbox));
            let bracketed = format!("<{text}> X");
            prop_assert_eq!(split(&bracketed), Ok((text.as_str(), " X")));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            if let Ok((inner, _)) = split(&text) {
                let _ = parse(inner);
            }
            let _ = parse(&text);
        }
    }
}
