//! `[http]`, `[udp]`, `[ssh]` and `[[ssh_peer]]`: CMR by other ways than mail.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::fault::Fault;
use super::keys;
use super::reader::Reader;
use super::sections::TlsFiles;
use super::{build, files, names};
use crate::message::Address;
use crate::wire::{HttpTarget, Scheme, UdpTarget, scheme};

/// `[http]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// Where to listen; none for no listener.
    pub listen: Option<SocketAddr>,
    /// The path that messages are sent to.
    pub path: String,
    /// Our public address on this transport.
    pub address: Option<Address>,
    /// For HTTPS.
    pub tls: Option<TlsFiles>,
    /// Servers in front of this one, believed about the client that they name.
    pub proxies: Vec<IpNet>,
    /// Certificates to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether proxies are taken out of the environment.
    pub proxy_of_environment: bool,
    /// Whether unsigned messages are offered to be fetched, and not sent.
    pub handshake: bool,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// `[udp]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Udp {
    /// Where to listen; none for no listener.
    pub listen: Option<SocketAddr>,
    /// The tag of datagrams that are for us.
    pub service: String,
    /// Our public address on this transport.
    pub address: Option<Address>,
}

/// `[ssh]` and `[[ssh_peer]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ssh {
    /// Our address on this transport.
    pub address: Option<Address>,
    /// The program.
    pub program: PathBuf,
    /// The private key.
    pub identity_file: Option<PathBuf>,
    /// The host keys that are believed.
    pub known_hosts: Option<PathBuf>,
    /// How long a message may take.
    pub timeout: Duration,
    /// Who is reached by it.
    pub peers: Vec<SshPeer>,
}

/// One `[[ssh_peer]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct SshPeer {
    /// The peer's address, as it stands in headers.
    pub address: Address,
    /// `[user@]host`, as ssh takes it.
    pub destination: String,
    /// The port, if it is not ssh's own.
    pub port: Option<u16>,
    /// What runs at the far end.
    pub command: String,
}

pub(super) fn http(r: &mut Reader<'_>) -> Option<Http> {
    let listen = r.text(&keys::HTTP_LISTEN);
    let listen = r.check(&keys::HTTP_LISTEN, listen, |text| names::listen(text));
    let path = r.text(&keys::HTTP_PATH);
    let path = r.check(&keys::HTTP_PATH, path, |text| self::path(text));
    let address = own(r, &keys::HTTP_ADDRESS, &[Scheme::Http, Scheme::Https]);
    let tls = r.tls(&keys::HTTP_TLS).map(|found| build::tls(r, &keys::HTTP_TLS, &found));
    let proxies = r.list(&keys::HTTP_PROXIES);
    let proxies = r.check_each(&keys::HTTP_PROXIES, proxies, names::network);
    if let Some(proxies) = &proxies
        && let Some(all) = proxies.value.iter().find(|network| network.prefix_len() == 0)
    {
        r.error(&keys::HTTP_PROXIES, proxies.line, Fault::EverybodyIsBelieved(names::network_text(all)));
    }
    let ca_file = r.text(&keys::HTTP_CA_FILE).map(|found| found.with(r.beside(&found.value)));
    if let Some(found) = &ca_file
        && let Err(error) = files::check_certificates(&found.value)
    {
        r.error(&keys::HTTP_CA_FILE, found.line, error.into());
    }
    let proxy = r.choice(&keys::HTTP_PROXY, &[("none", false), ("environment", true)]);
    let handshake = r.truth(&keys::HTTP_HANDSHAKE);
    if let Some(found) = handshake.as_ref().filter(|found| found.value)
        && (listen.is_none() || address.is_none())
    {
        r.error(&keys::HTTP_HANDSHAKE, found.line, Fault::NobodyCanFetch);
    }
    let timeout = r.duration(&keys::HTTP_TIMEOUT);
    Some(Http {
        listen: listen.map(|found| found.value),
        path: path?.value,
        address,
        tls,
        proxies: proxies?.value,
        ca_file: ca_file.map(|found| found.value),
        proxy_of_environment: proxy?.value,
        handshake: handshake?.value,
        timeout: timeout?.value,
    })
}

pub(super) fn udp(r: &mut Reader<'_>) -> Option<Udp> {
    let listen = r.text(&keys::UDP_LISTEN);
    let listen = r.check(&keys::UDP_LISTEN, listen, |text| names::listen(text));
    let service = r.text(&keys::UDP_SERVICE);
    let service = r.check(&keys::UDP_SERVICE, service, |text| {
        let good = |b: u8| b.is_ascii_graphic() && !b"\"#<>?\\^`{|}".contains(&b);
        let is_tag = text.len() <= 200 && text.bytes().all(good) && !text.starts_with('/');
        if is_tag { Ok(text.clone()) } else { Err(Fault::NotTag(text.clone())) }
    });
    let address = own(r, &keys::UDP_ADDRESS, &[Scheme::Udp]);
    if let (Some(service), Some(address)) = (&service, &address)
        && let Ok(target) = UdpTarget::parse(address)
        && target.tag != service.value
    {
        let line = r.line(&keys::UDP_ADDRESS);
        r.warn(&keys::UDP_ADDRESS, line, Fault::OtherTag { tag: target.tag, service: service.value.clone() });
    }
    Some(Udp { listen: listen.map(|found| found.value), service: service?.value, address })
}

pub(super) fn ssh(r: &mut Reader<'_>) -> Option<Ssh> {
    let address = own(r, &keys::SSH_ADDRESS, &[Scheme::Ssh]);
    // A name is looked for in PATH, a path is seen from the configuration.
    let program = r.text(&keys::SSH_PROGRAM);
    let program =
        program.map(|it| if it.value.contains('/') { r.beside(&it.value) } else { it.value.into() });
    let file = |r: &mut Reader<'_>, key| r.text(key).map(|found| found.with(r.beside(&found.value)));
    let identity = file(r, &keys::SSH_IDENTITY_FILE);
    let known_hosts = file(r, &keys::SSH_KNOWN_HOSTS);
    for (key, found) in [(&keys::SSH_IDENTITY_FILE, &identity), (&keys::SSH_KNOWN_HOSTS, &known_hosts)] {
        if let Some(found) = found
            && let Err(error) = files::read(&found.value)
        {
            r.error(key, found.line, error.into());
        }
    }
    let timeout = r.duration(&keys::SSH_TIMEOUT);
    let number = r.repeated("ssh_peer");
    let mut peers: Vec<SshPeer> = Vec::new();
    for nth in 0..number {
        r.turn_to(nth);
        let Some(peer) = ssh_peer(r) else { continue };
        if peers.iter().any(|other| other.address.same_place(&peer.address)) {
            let line = r.line(&keys::SSH_PEER_ADDRESS);
            r.error(&keys::SSH_PEER_ADDRESS, line, Fault::Twice(peer.address.to_string()));
        }
        peers.push(peer);
    }
    Some(Ssh {
        address,
        program: program?,
        identity_file: identity.map(|found| found.value),
        known_hosts: known_hosts.map(|found| found.value),
        timeout: timeout?.value,
        peers,
    })
}

fn ssh_peer(r: &mut Reader<'_>) -> Option<SshPeer> {
    let address = r.text(&keys::SSH_PEER_ADDRESS);
    let address = r.check(&keys::SSH_PEER_ADDRESS, address, |text| own_address(text, &[Scheme::Ssh]));
    let destination = r.text(&keys::SSH_PEER_DESTINATION);
    let destination = r.check(&keys::SSH_PEER_DESTINATION, destination, |text| {
        let good = !text.starts_with('-') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        if good { Ok(text.clone()) } else { Err(Fault::NotSshDestination(text.clone())) }
    });
    let port = r.integer(&keys::SSH_PEER_PORT);
    let command = r.text(&keys::SSH_PEER_COMMAND);
    Some(SshPeer {
        address: address?.value,
        destination: destination?.value,
        port: port.and_then(|found| u16::try_from(found.value).ok()),
        command: command?.value,
    })
}

/// An address of ours.
fn own(r: &mut Reader<'_>, key: &'static keys::Key, schemes: &[Scheme]) -> Option<Address> {
    let text = r.text(key);
    r.check(key, text, |text| own_address(text, schemes)).map(|found| found.value)
}

fn own_address(text: &str, schemes: &[Scheme]) -> Result<Address, Fault> {
    let names: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
    let wrong = |why: String| Fault::NotAddressOf { value: text.to_owned(), why };
    let address = Address::new(text).map_err(|error| wrong(error.to_string()))?;
    let Some(found) = scheme(&address).filter(|found| schemes.contains(found)) else {
        return Err(wrong(format!("it has to begin with {}", names.join(" or "))));
    };
    reached(&address, found).map_err(wrong)?;
    Ok(address)
}

/// An address of another gateway, of any transport.
pub(super) fn peer_address(text: &str) -> Result<Address, Fault> {
    let address = Address::new(text).map_err(|_| names::not_cmr_address(text))?;
    match scheme(&address) {
        None | Some(Scheme::Mailto) => names::cmr_address(text).map(|(address, _)| address),
        Some(found) => {
            let wrong = |why: String| Fault::NotAddressOf { value: text.to_owned(), why };
            reached(&address, found).map_err(wrong)?;
            Ok(address)
        }
    }
}

fn reached(address: &Address, scheme: Scheme) -> Result<(), String> {
    match scheme {
        Scheme::Mailto => Ok(()),
        Scheme::Http | Scheme::Https => HttpTarget::parse(address).map(drop).map_err(|e| e.to_string()),
        Scheme::Udp => UdpTarget::parse(address).map(drop).map_err(|e| e.to_string()),
        Scheme::Ssh => address.host().map(drop).ok_or_else(|| "it names no host".to_owned()),
    }
}

fn path(text: &str) -> Result<String, Fault> {
    let good = |b: u8| b.is_ascii_graphic() && !b"\"#<>?\\^`{|}".contains(&b);
    if text.starts_with('/') && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err(Fault::NotPath(text.to_owned()))
    }
}

/// Whom the configuration names as a peer: `[routing] pinned`, and who is reached by ssh.
pub(super) fn listed(pinned: &[Address], ssh: &Ssh) -> Vec<Address> {
    let reached = ssh.peers.iter().map(|peer| &peer.address).filter(|it| !pinned.contains(it));
    pinned.iter().chain(reached).cloned().collect()
}
