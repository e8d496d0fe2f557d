//! `[web]`: the pages, and who may see and change what.

use super::build::{tls, warn_if_readable};
use super::fault::Fault;
use super::keys;
use super::reader::Reader;
use super::sections::{Gateway, TlsFiles};
use super::{files, names};
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The pages.
#[derive(Debug, Clone, PartialEq)]
pub struct Web {
    /// Where they are; none: nowhere.
    pub listen: Option<SocketAddr>,
    /// The names under which they are asked for, in lower case, beside that of the address itself.
    pub hosts: Vec<String>,
    /// Servers in front that speak TLS and say who asks.
    pub proxies: Vec<IpNet>,
    /// Who may log in.
    pub users: Option<PathBuf>,
    /// TLS of our own.
    pub tls: Option<TlsFiles>,
}

impl Web {
    /// Whether the pages can be read without a login: nobody but who is on this machine gets there.
    #[must_use]
    pub fn reads_openly(&self) -> bool {
        self.listen.is_some_and(|listen| listen.ip().is_loopback()) && self.proxies.is_empty()
    }
}

pub(super) fn web(r: &mut Reader<'_>, gateway: Option<&Gateway>) -> Option<Web> {
    let listen = r.text(&keys::WEB_LISTEN);
    let listen = r.check(&keys::WEB_LISTEN, listen, |text| names::listen(text));
    let hosts = r.list(&keys::WEB_HOSTS);
    let hosts = match hosts {
        None => gateway.map(|g| vec![g.hostname.clone()]),
        some => r.check_each(&keys::WEB_HOSTS, some, names::host_name).map(|found| found.value),
    };
    let proxies = r.list(&keys::WEB_PROXIES);
    let proxies = r.check_each(&keys::WEB_PROXIES, proxies, names::network);
    let users = r.text(&keys::WEB_USERS).map(|found| found.with(r.beside(&found.value)));
    if let Some(found) = &users {
        match files::read(&found.value) {
            Ok(_) => warn_if_readable(r, &keys::WEB_USERS, found.line, &found.value),
            Err(error) => r.error(&keys::WEB_USERS, found.line, error.into()),
        }
    }
    let tls = r.tls(&keys::WEB_TLS).map(|found| tls(r, &keys::WEB_TLS, &found));
    let web = Web {
        listen: listen.as_ref().map(|found| found.value),
        hosts: hosts?.iter().map(|host| host.to_ascii_lowercase()).collect(),
        proxies: proxies?.value,
        users: users.map(|found| found.value),
        tls,
    };
    if let Some(listen) = &listen
        && !listen.value.ip().is_loopback()
        && web.tls.is_none()
        && web.proxies.is_empty()
    {
        let fault = Fault::WebInTheOpen(listen.value.to_string());
        r.error(&keys::WEB_LISTEN, listen.line, fault);
    }
    if listen.is_some() && !web.reads_openly() && web.users.is_none() {
        let line = listen.as_ref().and_then(|found| found.line);
        r.error(&keys::WEB_LISTEN, line, Fault::WebWithoutUsers);
    }
    Some(web)
}
