//! The relay that takes our mail: where it is, how the connection is secured, who we are there.

use super::login::{Login, Secret};
use native_tls::{Certificate, Protocol, TlsConnector};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use thiserror::Error;

/// How the connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// `smtp://`: not at all. For a smarthost on this machine or in a network of one's own.
    Plain,
    /// `smtp+starttls://`: by STARTTLS (RFC 3207), which the server must offer.
    StartTls,
    /// `smtps://`: TLS from the first byte (RFC 8314).
    Tls,
}

impl Security {
    /// The port when the URL names none: 25, 587 (RFC 6409) or 465 (RFC 8314).
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Security::Plain => 25,
            Security::StartTls => 587,
            Security::Tls => 465,
        }
    }
}

/// [`Security`] with what it needs; made once, for reading the system's authorities takes long.
pub(super) enum Guard {
    Plain,
    StartTls(TlsConnector),
    Tls(TlsConnector),
    /// STARTTLS where it is offered, whoever the certificate is of (RFC 7435): it keeps out who only
    /// listens, and who is asked for no more would else be sent everything in clear.
    Opportunistic(TlsConnector),
}

impl Guard {
    /// [`Guard::Opportunistic`].
    ///
    /// # Errors
    /// When the TLS library does not want to start.
    pub(super) fn opportunistic() -> Result<Guard, SmarthostError> {
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(Protocol::Tlsv12));
        builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
        Ok(Guard::Opportunistic(builder.build()?))
    }
}

/// The relay that takes our mail.
#[derive(Clone, Debug)]
pub struct Smarthost {
    security: Security,
    host: String,
    port: u16,
    login: Option<Login>,
    authorities: Vec<Vec<u8>>,
}

/// Why a smarthost can't be used as configured. Each is a mistake of the configuration.
#[derive(Debug, Error)]
pub enum SmarthostError {
    /// Another scheme, or none.
    #[error("the smarthost {0:?} must begin with smtp://, smtp+starttls:// or smtps://")]
    Scheme(String),
    /// A user in the URL, where it would end up in logs and process lists.
    #[error("the smarthost's user and password have settings of their own, the URL holds only host and port")]
    LoginInUrl,
    /// No host, or one with characters that no host has.
    #[error("the smarthost {0:?} names no usable host")]
    Host(String),
    /// Not a port.
    #[error("the smarthost's port {0:?} is not a number from 1 to 65535")]
    Port(String),
    /// A password would cross a network readably.
    #[error("a password is not sent to {0} unencrypted: use smtp+starttls:// or smtps://")]
    PasswordInClear(String),
    /// A token would be sent without encryption.
    #[error("an access token is not sent to {0} unencrypted: use smtp+starttls:// or smtps://")]
    TokenInClear(String),
    /// The certificate file holds no certificate.
    #[error("the smarthost's ca_file holds no usable certificate")]
    Authority(#[source] Option<native_tls::Error>),
    /// The TLS library does not want to start.
    #[error("TLS can't be set up")]
    Tls(#[from] native_tls::Error),
}

impl Smarthost {
    /// Reads `smtp://host[:port]`, `smtp+starttls://…` or `smtps://…`; an IPv6 address stands in
    /// square brackets.
    ///
    /// # Errors
    /// When it is nothing of that form.
    pub fn parse(url: &str) -> Result<Self, SmarthostError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| SmarthostError::Scheme(url.to_owned()))?;
        let security = match scheme.to_ascii_lowercase().as_str() {
            "smtp" => Security::Plain,
            "smtp+starttls" => Security::StartTls,
            "smtps" => Security::Tls,
            _ => return Err(SmarthostError::Scheme(url.to_owned())),
        };
        let place = rest.strip_suffix('/').unwrap_or(rest);
        if place.contains('@') {
            return Err(SmarthostError::LoginInUrl);
        }
        let bad_host = || SmarthostError::Host(place.to_owned());
        let (host, port) = match place.strip_prefix('[') {
            Some(v6) => {
                let (host, port) = v6.split_once(']').ok_or_else(bad_host)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| bad_host())?;
                match port.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if port.is_empty() => (host, None),
                    None => return Err(bad_host()),
                }
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let usable = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        let literal = host.parse::<IpAddr>().is_ok();
        if host.is_empty() || !(literal || host.chars().all(usable)) {
            return Err(bad_host());
        }
        let port = match port {
            None => security.default_port(),
            Some(text) => text
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| SmarthostError::Port(text.to_owned()))?,
        };
        Ok(Self { security, host: host.to_owned(), port, login: None, authorities: Vec::new() })
    }

    /// A server at this very address, unencrypted.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            security: Security::Plain,
            host: address.ip().to_string(),
            port: address.port(),
            login: None,
            authorities: Vec::new(),
        }
    }

    /// Logs in: with a password by AUTH PLAIN or LOGIN, with an access token by XOAUTH2 or OAUTHBEARER.
    ///
    /// # Errors
    /// When the connection is not encrypted and leaves this machine; with a token when it is not encrypted.
    pub fn with_login(mut self, login: Login) -> Result<Self, SmarthostError> {
        match login.secret {
            _ if self.security != Security::Plain => {}
            Secret::Tokens(_) => return Err(SmarthostError::TokenInClear(self.host)),
            Secret::Password(_) if self.is_loopback() => {}
            Secret::Password(_) => return Err(SmarthostError::PasswordInClear(self.host)),
        }
        self.login = Some(login);
        Ok(self)
    }

    /// Believes these certificate authorities (PEM, one or more) beside those of the system.
    ///
    /// # Errors
    /// When the text holds no certificate that can be read.
    pub fn with_authorities(mut self, pem: &[u8]) -> Result<Self, SmarthostError> {
        let read = Certificate::stack_from_pem(pem).map_err(|e| SmarthostError::Authority(Some(e)))?;
        if read.is_empty() {
            return Err(SmarthostError::Authority(None));
        }
        self.authorities = read.iter().map(Certificate::to_der).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// How the connection is secured.
    #[must_use]
    pub fn security(&self) -> Security {
        self.security
    }

    /// The host's name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who we are there.
    #[must_use]
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// How a connection is made safe, ready for use: TLS 1.2 or later, the name checked.
    ///
    /// # Errors
    /// When the TLS library does not take the certificates.
    pub(super) fn guard(&self) -> Result<Guard, SmarthostError> {
        Ok(match self.security {
            Security::Plain => Guard::Plain,
            Security::StartTls => Guard::StartTls(self.connector()?),
            Security::Tls => Guard::Tls(self.connector()?),
        })
    }

    fn connector(&self) -> Result<TlsConnector, SmarthostError> {
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(Protocol::Tlsv12));
        for der in &self.authorities {
            builder.add_root_certificate(Certificate::from_der(der)?);
        }
        Ok(builder.build()?)
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Smarthost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Password;
    use crate::send::mailto::Tokens;
    use zeroize::Zeroizing;

    #[test]
    fn urls() {
        for (url, security, shown) in [
            ("smtp://127.0.0.1:25", Security::Plain, "127.0.0.1:25"),
            ("smtp://mx.example", Security::Plain, "mx.example:25"),
            ("SMTP://mx.example/", Security::Plain, "mx.example:25"),
            ("smtp+starttls://mx.example", Security::StartTls, "mx.example:587"),
            ("smtps://mx.example", Security::Tls, "mx.example:465"),
            ("smtps://[::1]:4650", Security::Tls, "[::1]:4650"),
            ("smtp://[2001:db8::1]", Security::Plain, "[2001:db8::1]:25"),
        ] {
            let host = Smarthost::parse(url).expect(url);
            assert_eq!(host.security(), security, "{url}");
            assert_eq!(host.to_string(), shown, "{url}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (url, words) in [
            ("mx.example:25", "must begin with smtp://"),
            ("http://mx.example", "must begin with smtp://"),
            ("smtp://", "no usable host"),
            ("smtp://:25", "no usable host"),
            ("smtp://mx example", "no usable host"),
            ("smtp://mx.example/path", "no usable host"),
            ("smtp://[::1", "no usable host"),
            ("smtp://[::1]x", "no usable host"),
            ("smtp://[mx.example]", "no usable host"),
            ("smtp://mx.example:0", "port \"0\""),
            ("smtp://mx.example:99999", "port \"99999\""),
            ("smtp://mx.example:", "port \"\""),
            ("smtp://a:b@mx.example", "settings of their own"),
        ] {
            let error = Smarthost::parse(url).expect_err(url).to_string();
            assert!(error.contains(words), "{url}: {error}");
        }
    }

    #[test]
    fn a_password_is_not_sent_in_clear_and_not_printed() {
        let secret = Secret::Password(Zeroizing::new("open sesame".to_owned()));
        let login = Login { user: "cmr".to_owned(), secret };
        let at = |url: &str| Smarthost::parse(url).expect(url).with_login(login.clone());
        assert!(matches!(at("smtp://mx.example"), Err(SmarthostError::PasswordInClear(_))));
        for url in ["smtp://127.0.0.1", "smtp://localhost", "smtp://[::1]", "smtps://mx.example"] {
            let host = at(url).expect(url);
            let shown = format!("{host:?} {host}");
            assert!(!shown.contains("sesame"), "{shown}");
            assert!(shown.contains("cmr"), "{shown}");
        }
    }

    #[test]
    fn a_token_is_only_sent_encrypted() {
        let secret = Secret::Tokens(Tokens::of(Password::File("/nowhere".into())));
        let login = Login { user: "cmr".to_owned(), secret };
        for (url, good) in
            [("smtp://127.0.0.1", false), ("smtps://127.0.0.1", true), ("smtp+starttls://mx.example", true)]
        {
            let host = Smarthost::parse(url).expect(url).with_login(login.clone());
            assert_eq!(host.is_ok(), good, "{url}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let host = Smarthost::parse("smtps://mx.example").expect("url");
        for pem in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(
                matches!(host.clone().with_authorities(pem.as_bytes()), Err(SmarthostError::Authority(_))),
                "{pem}"
            );
        }
    }
}
