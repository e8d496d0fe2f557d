//! Addresses, hosts and networks as an operator writes them.

use super::fault::Fault;
use super::sections::{Operator, Security, Smarthost};
use crate::message::Address;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// `mailto:NAME@DOMAIN`, and the mail address in it.
pub(super) fn cmr_address(text: &str) -> Result<(Address, String), Fault> {
    let wrong = |hint: &str| Fault::NotCmrAddress { value: text.to_owned(), hint: hint.to_owned() };
    let address = Address::new(text).map_err(|_| wrong(""))?;
    if let Some(mail) = address.mail_address() {
        let mail = with_lower_domain(mail);
        return Ok((address, mail));
    }
    if mail_address(text).is_ok() {
        return Err(wrong(&format!("; did you mean \"mailto:{text}\"?")));
    }
    match address.scheme().map(str::to_ascii_lowercase).as_deref() {
        Some(scheme @ ("http" | "https" | "udp" | "ssh")) => Err(wrong(&format!(
            "; an address of {scheme} stands in [{}] address",
            scheme.replace("https", "http")
        ))),
        _ => Err(wrong("")),
    }
}

/// That something is no CMR address at all.
pub(super) fn not_cmr_address(text: &str) -> Fault {
    Fault::NotCmrAddress { value: text.to_owned(), hint: String::new() }
}

/// One plain mail address, its domain in lower case.
pub(super) fn mail_address(text: &str) -> Result<String, Fault> {
    let wrong = || Fault::NotMailAddress(text.to_owned());
    let address = Address::new(format!("mailto:{text}")).map_err(|_| wrong())?;
    address.mail_address().map(with_lower_domain).ok_or_else(wrong)
}

fn with_lower_domain(mail: &str) -> String {
    match mail.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.to_ascii_lowercase()),
        None => mail.to_owned(),
    }
}

/// A mail address without a tag.
pub(super) fn posting_address(text: &str) -> Result<String, Fault> {
    let address = mail_address(text)?;
    match address.rsplit_once('@').and_then(|(local, domain)| Some((local.split_once('+')?.0, domain))) {
        Some((local, domain)) => {
            Err(Fault::Tagged { value: text.to_owned(), plain: format!("{local}@{domain}") })
        }
        None => Ok(address),
    }
}

/// A mail address, or `@DOMAIN` for all of a domain.
pub(super) fn author(text: &str) -> Result<String, Fault> {
    match text.strip_prefix('@') {
        Some(domain) => Ok(format!("@{}", host_name(domain)?)),
        None => mail_address(text),
    }
}

/// `Name <address>`, or an address alone.
pub(super) fn operator(text: &str) -> Result<Operator, Fault> {
    let text = text.trim();
    let Some(rest) = text.strip_suffix('>') else {
        return Ok(Operator { text: text.to_owned(), name: None, address: mail_address(text)? });
    };
    let Some((name, address)) = rest.rsplit_once('<') else {
        return Err(Fault::NotMailAddress(text.to_owned()));
    };
    let name = name.trim();
    let name = name.strip_prefix('"').and_then(|n| n.strip_suffix('"')).unwrap_or(name).trim();
    let name = (!name.is_empty()).then(|| name.to_owned());
    Ok(Operator { text: text.to_owned(), name, address: mail_address(address.trim())? })
}

/// A host name by RFC 1123, section 2.1, in lower case.
pub(super) fn host_name(text: &str) -> Result<String, Fault> {
    let wrong = |why| Err(Fault::NotHostName { value: text.to_owned(), why });
    if text.contains(char::is_whitespace) {
        return wrong("there is a blank in it");
    }
    if text.parse::<IpAddr>().is_ok() {
        return wrong("it is an IP address");
    }
    if text.len() > 253 {
        return wrong("it has more than 253 characters");
    }
    for label in text.split('.') {
        if label.is_empty() || label.len() > 63 {
            return wrong("between its dots stand 1 to 63 characters");
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return wrong("only letters, digits, hyphens and dots may stand in it");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return wrong("no part of it begins or ends with a hyphen");
        }
    }
    Ok(text.to_ascii_lowercase())
}

/// `IP:PORT`.
pub(super) fn listen(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let why = if port.is_empty() || host.is_empty() {
            "an IP address and a port are wanted".to_owned()
        } else if port.parse::<u16>().is_err() {
            format!("{port} is no port from 0 to 65535")
        } else if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
            "an IPv6 address stands in brackets".to_owned()
        } else {
            format!("{host} is no IP address")
        };
        Fault::NotListen { value: text.to_owned(), why }
    })
}

/// `IP:PORT` or `lmtp://IP:PORT`; whether it is the latter.
pub(super) fn mail_listen(text: &str) -> Result<(bool, SocketAddr), Fault> {
    match text.split_once("://") {
        Some(("lmtp", address)) => Ok((true, listen(address)?)),
        Some(("smtp", address)) => Ok((false, listen(address)?)),
        _ => Ok((false, listen(text)?)),
    }
}

/// `IP:PORT` of a mail server.
pub(super) fn next_hop(text: &str) -> Result<SocketAddr, Fault> {
    match listen(text) {
        Ok(address) if address.port() == 0 => {
            Err(Fault::NotListen { value: text.to_owned(), why: "nobody listens on port 0".to_owned() })
        }
        other => other,
    }
}

/// What stands between the angle brackets of a List-Id field, with them or without.
pub(super) fn list_id(text: &str) -> Result<String, Fault> {
    let id = text.rsplit_once('<').map_or(text, |(_, id)| id).trim_end_matches('>').trim();
    if id.is_empty() || id.contains(char::is_whitespace) {
        return Err(Fault::NotListId(text.to_owned()));
    }
    Ok(id.to_ascii_lowercase())
}

/// `IP` or `IP:PORT` of a name server.
pub(super) fn name_server(text: &str) -> Result<SocketAddr, Fault> {
    match text.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, 53)),
        Err(_) => listen(text),
    }
}

/// An IP network, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, Fault> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip));
    }
    let network: IpNet = text.parse().map_err(|_| Fault::NotNetwork(text.to_owned()))?;
    if network.trunc() == network {
        Ok(network)
    } else {
        Err(Fault::HostBits { value: text.to_owned(), network: network_text(&network.trunc()) })
    }
}

/// A network as it would be written: one address without its prefix length.
pub(super) fn network_text(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

/// `smtp://HOST:PORT` and its siblings.
pub(super) fn smarthost(text: &str) -> Result<Smarthost, Fault> {
    // What stands before an @ may be a password: it is not repeated.
    let value = match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        _ => text.to_owned(),
    };
    let wrong = |why: String| Fault::NotSmarthost { value: value.clone(), why };
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(wrong("it does not begin with smtp://".to_owned()));
    };
    let (security, usual) = match scheme.to_ascii_lowercase().as_str() {
        "smtp" => (Security::None, 25),
        "smtp+starttls" => (Security::StartTls, 587),
        "smtps" => (Security::Tls, 465),
        _ => return Err(wrong(format!("{scheme}:// is not spoken here"))),
    };
    if rest.contains('@') {
        return Err(wrong("the login goes into user and password_command".to_owned()));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port = match port {
        None => usual,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err(wrong(format!("{port} is no port from 1 to 65535"))),
            Ok(port) => port,
        },
    };
    let host = match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_string(),
        Err(_) => host_name(host).map_err(|_| wrong(format!("\"{host}\" is no host")))?,
    };
    Ok(Smarthost { security, host, port })
}

/// Whether a host is this machine, as far as its name tells.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
