//! The ways to other gateways: which transport an address is for, under which address of ours we
//! speak on it, and whether we may.
//!
//! It knows the configuration and the policy. It must never know how a transport works.

use std::net::IpAddr;

use rusqlite::Connection;

use super::notice::destination;
use super::outgoing::suppressed;
use super::route::local_domains;
use super::{Gateway, admit, blocks_of, read};
use crate::config::Config;
use crate::message::{Address, HopKey, TailHash};
use crate::policy::{self, Block, Standing};
use crate::receive::Via;
use crate::store::keys::{KeyOrigin, StoredKey};
use crate::store::peers::{self, Peer};
use crate::store::queue::{Delivery, DeliveryKind};
use crate::store::{StoreError, bounces, keys, messages};
use crate::wire::{HttpTarget, Scheme, UdpTarget, scheme};

/// How something goes to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The transport's name.
    pub(super) transport: &'static str,
    /// What shares a limit of parallel deliveries: a domain, a host.
    pub(super) destination: String,
}

/// The way to an address.
///
/// # Errors
/// A sentence: there is none.
pub(super) fn way(config: &Config, to: &Address) -> Result<Way, String> {
    let of = |scheme: Scheme, destination: String| Way { transport: scheme.name(), destination };
    match scheme(to) {
        Some(Scheme::Mailto) => match to.mail_address() {
            Some(mailbox) => Ok(of(Scheme::Mailto, destination(mailbox))),
            None => Err(format!("{to} is no plain mail address (mailto:NAME@HOST)")),
        },
        Some(found @ (Scheme::Http | Scheme::Https)) => {
            HttpTarget::parse(to).map(|target| of(found, target.host)).map_err(|error| error.to_string())
        }
        Some(Scheme::Udp) => {
            UdpTarget::parse(to).map(|target| of(Scheme::Udp, target.host)).map_err(|error| error.to_string())
        }
        Some(Scheme::Ssh) => match config.ssh.peers.iter().find(|peer| peer.address == *to) {
            Some(peer) => Ok(of(Scheme::Ssh, peer.destination.clone())),
            None => Err(format!("{to} is no [[ssh_peer]] of the configuration")),
        },
        None => Err(format!("{to} is for no transport that is known here")),
    }
}

/// The address of ours that belongs to the transport of `to`: the one that stands above what goes
/// there, and that the other side answers to.
pub(super) fn own_for<'a>(config: &'a Config, to: &Address) -> &'a Address {
    own_on(config, scheme(to))
}

/// The address of ours that stands above what goes to `to`, signed with this key or unsigned.
///
/// A key of an exchange belongs to one address of ours. Under a key that was set by hand it is our HTTP address above
/// mail, too, once the peer was seen to have the key under that one as well: others learn from our line where we
/// are, and by HTTP they can ask before they send.
pub(super) fn own_above(config: &Config, to: &Address, key: Option<&StoredKey>) -> Address {
    let belongs = key.and_then(StoredKey::belongs_to);
    let by_http = || {
        let seen = key.and_then(StoredKey::was_used_towards);
        // By SSH it is the account that says who we are. Nothing is answered to a datagram: if the peer refuses the
        // address, we would never hear of it. And an address that is ours no more is nobody's.
        let may = scheme(to) == Some(Scheme::Mailto);
        config.http.address.as_ref().filter(|http| may && seen == Some(*http))
    };
    belongs.or_else(by_http).unwrap_or_else(|| own_for(config, to)).clone()
}

/// The address of a neighbour that a message for `to` goes to: of those that share one key the one by HTTP, if anything may
/// go there and the operator named it, because there it can be asked first.
///
/// # Errors
/// Those of any read.
pub(super) fn where_it_can_be_asked(
    conn: &Connection,
    config: &Config,
    to: &Address,
) -> Result<Address, StoreError> {
    if !matches!(scheme(to), Some(Scheme::Mailto | Scheme::Udp)) {
        return Ok(to.clone());
    }
    for other in keys::same_neighbour(conn, to)? {
        if !matches!(scheme(&other), Some(Scheme::Http | Scheme::Https)) {
            continue;
        }
        let peer = peers::get(conn, &other)?;
        let may = may_send(conn, config, &blocks_of(conn)?, &other, peer.as_ref())?;
        if may.is_ok_and(Standing::configured) {
            return Ok(other);
        }
    }
    Ok(to.clone())
}

/// A new message that came this way verified under the key. What comes to our HTTP address was signed by somebody who has
/// the key under that one.
///
/// # Errors
/// Those of any write.
pub(super) fn note_use(
    tx: &Connection,
    config: &Config,
    key: &StoredKey,
    via: &str,
) -> Result<(), StoreError> {
    let (Some(http), true) = (&config.http.address, via == Via::Http.as_str()) else { return Ok(()) };
    // All rows of a key that was set by hand say the same, so mostly there is nothing to write.
    if key.origin != KeyOrigin::Manual || key.was_used_towards() == Some(http) {
        return Ok(());
    }
    // After a refusal it stays with the address by mail.
    keys::used_towards(tx, key.id, http, &config.gateway.address)
}

/// A peer refuses for good what we have sent. The reason may be our HTTP address: somebody else could have sent there what the
/// peer had signed for another one, or the key is not there any more. So that costs one message and not two, the
/// address does not stand there again until the key is set anew.
///
/// `status` is the class and the subject of RFC 3463, if one was given. A wrong or unknown key is 5.7 with us; what is
/// about the size or the content says nothing of the address, and only what we forward bears it.
///
/// # Errors
/// Those of any write.
pub(super) fn note_refusal(
    tx: &Connection,
    config: &Config,
    delivery: &Delivery,
    status: Option<(u8, u16)>,
) -> Result<(), StoreError> {
    if delivery.kind != DeliveryKind::Forward || status.is_some_and(|status| status != (5, 7)) {
        return Ok(());
    }
    let to = &delivery.to;
    match keys::for_signing(tx, to)? {
        Some(key)
            if key.was_used_towards().is_some()
                && own_above(config, to, Some(&key)) != *own_for(config, to) =>
        {
            keys::stays_with(tx, key.id, &config.gateway.address)
        }
        _ => Ok(()),
    }
}

/// The address of ours that something was sent to which came this way.
pub(super) fn own_at<'a>(config: &'a Config, via: Via, transport: Option<&str>) -> &'a Address {
    let came = match via {
        Via::Http => Some(Scheme::Http),
        Via::Udp => Some(Scheme::Udp),
        Via::Bare if transport == Some(Scheme::Ssh.name()) => Some(Scheme::Ssh),
        _ => None,
    };
    own_on(config, came)
}

fn own_on(config: &Config, scheme: Option<Scheme>) -> &Address {
    let found = match scheme {
        Some(Scheme::Http | Scheme::Https) => config.http.address.as_ref(),
        Some(Scheme::Udp) => config.udp.address.as_ref(),
        Some(Scheme::Ssh) => config.ssh.address.as_ref(),
        Some(Scheme::Mailto) | None => None,
    };
    found.unwrap_or(&config.gateway.address)
}

/// How an address stands with us.
pub(super) fn standing(peer: Option<&Peer>) -> Standing {
    Standing {
        listed: peer.is_some_and(|peer| peer.listed),
        pinned: peer.is_some_and(|peer| peer.pinned),
        authenticated: peer.is_some_and(|peer| peer.authenticated_at.is_some()),
        ..Standing::default()
    }
}

/// Whether anything automatic may go to an address now, and how it stands.
///
/// # Errors
/// Those of any read; inside, a sentence: why not.
pub(super) fn may_send(
    conn: &Connection,
    config: &Config,
    blocks: &[Block],
    address: &Address,
    peer: Option<&Peer>,
) -> Result<Result<Standing, String>, StoreError> {
    // The whole list: a block of a host, or of an address by `block`, covers peers as well.
    if let Err(no) = Block::check(blocks, address) {
        return Ok(Err(no.to_string()));
    }
    if let Some(no) = bounces::get(conn, address)?.as_ref().and_then(suppressed) {
        return Ok(Err(no));
    }
    let mut standing = standing(peer);
    if scheme(address) == Some(Scheme::Udp) && !standing.authenticated {
        // A key that was set by hand is the operator's word as well.
        standing.authenticated = keys::current(conn, address)?.is_some();
    }
    if let Err(no) = policy::may_send_to(address, standing, &local_domains(config)) {
        return Ok(Err(no.to_string()));
    }
    if let (false, Ok(target)) = (standing.configured(), HttpTarget::parse(address))
        && let Err(no) = policy::is_web_port(address, target.port)
    {
        return Ok(Err(no.to_string()));
    }
    Ok(way(config, address).map(|_| standing))
}

impl crate::receive::http::Office for Gateway {
    /// A stranger's address is fetched from only where anybody could be sent to.
    async fn may_fetch(&self, from: &Address) -> Result<bool, String> {
        let (config, address) = (self.config(), from.clone());
        let blocks = std::sync::Arc::clone(&read(&self.0.blocks));
        let look = move |conn: &Connection| {
            let peer = peers::get(conn, &address)?;
            may_send(conn, &config, &blocks, &address, peer.as_ref())
        };
        let looked = self.store().read_async(look).await;
        looked.map_err(|failure| failure.to_string())?.map(Standing::configured)
    }

    /// The same that a duplicate is told by. A host that is blocked hears nothing of that either.
    async fn is_known(&self, ids: Vec<(HopKey, TailHash)>, client: Option<IpAddr>) -> Result<bool, String> {
        if client.is_some_and(|client| read(&self.0.blocks).iter().any(|block| admit::is_host(block, client)))
        {
            return Ok(false);
        }
        let looked = self.store().read_async(move |conn| messages::known(conn, &ids)).await;
        let known = looked.map_err(|failure| failure.to_string())?.is_some();
        if known {
            self.metrics().messages(Via::Http.as_str(), "not_sent", 1);
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        [gateway]
        address = "mailto:cmr@home.test"
        hostname = "mx.home.test"
        operator = "Olga <olga@home.test>"
        [http]
        address = "https://home.test/cmr"
        [ssh]
        address = "ssh://cmr@home.test/"
        [[ssh_peer]]
        address = "ssh://cmr@peer.example/"
        destination = "cmr@peer.example"
        "#;

    #[test]
    fn each_address_has_its_way_and_its_own() {
        let config = Config::parse(CONFIG, "/tmp/cmr-mail.toml").unwrap();
        let table = [
            ("mailto:a@B.example", Ok(("mailto", "b.example")), "mailto:cmr@home.test"),
            ("mailto:a@b.example?bcc=c", Err("no plain mail address"), "mailto:cmr@home.test"),
            ("http://B.example:8080/x", Ok(("http", "b.example")), "https://home.test/cmr"),
            ("https://b.example", Ok(("https", "b.example")), "https://home.test/cmr"),
            ("http://u@b.example/", Err("a user"), "https://home.test/cmr"),
            // Without an address of its own the gateway's own one stands there.
            ("udp://b.example:9/cmr", Ok(("udp", "b.example")), "mailto:cmr@home.test"),
            ("udp://b.example/cmr", Err("no port"), "mailto:cmr@home.test"),
            ("ssh://cmr@peer.example/", Ok(("ssh", "cmr@peer.example")), "ssh://cmr@home.test/"),
            ("ssh://cmr@peer.example/-oProxyCommand=x", Err("no [[ssh_peer]]"), "ssh://cmr@home.test/"),
            ("ssh://-oProxyCommand=x/", Err("no [[ssh_peer]]"), "ssh://cmr@home.test/"),
            ("gopher://b.example/", Err("no transport"), "mailto:cmr@home.test"),
        ];
        for (text, expected, ours) in table {
            let to = Address::try_from(text).unwrap();
            let got = way(&config, &to);
            match (&got, expected) {
                (Ok(way), Ok((transport, destination))) => {
                    assert_eq!((way.transport, way.destination.as_str()), (transport, destination), "{text}");
                }
                (Err(why), Err(words)) => assert!(why.contains(words), "{text}: {why}"),
                _ => panic!("{text}: {got:?}"),
            }
            assert_eq!(own_for(&config, &to).to_string(), ours, "{text}");
        }
        // What a key belongs to, or was used towards.
        let key = |origin, ours: Option<&str>| StoredKey {
            id: 1,
            address: Address::try_from("mailto:a@b.example").unwrap(),
            state: keys::KeyState::Current,
            scheme: crate::keys::Scheme::Hmac,
            scheme_pinned: false,
            derivation: crate::keys::exchange::Derivation::Raw,
            key: crate::keys::Key::from_text("secret").unwrap(),
            ours: ours.map(|text| Address::try_from(text).unwrap()),
            origin,
            created: crate::message::UnixTime::from_secs(0),
            verified: None,
        };
        let (mail, http) = ("mailto:cmr@home.test", "https://home.test/cmr");
        let table = [
            ("mailto:a@b.example", KeyOrigin::Manual, None, mail),
            ("mailto:a@b.example", KeyOrigin::Manual, Some(http), http),
            ("mailto:a@b.example", KeyOrigin::Manual, Some(mail), mail),
            // A refusal would never be heard.
            ("udp://b.example:9/cmr", KeyOrigin::Manual, Some(http), mail),
            ("ssh://cmr@peer.example/", KeyOrigin::Manual, Some(http), "ssh://cmr@home.test/"),
            // An address that we had before.
            ("mailto:a@b.example", KeyOrigin::Manual, Some("http://old.test/"), mail),
            ("https://b.example/", KeyOrigin::Manual, Some("http://old.test/"), http),
            ("mailto:a@b.example", KeyOrigin::Rsa, Some(http), http),
            ("https://b.example/", KeyOrigin::Dh, Some(mail), mail),
        ];
        for (to, origin, ours, expected) in table {
            let to = Address::try_from(to).unwrap();
            let got = own_above(&config, &to, Some(&key(origin, ours)));
            assert_eq!(got.to_string(), expected, "{to} {origin} {ours:?}");
            assert_eq!(own_above(&config, &to, None), *own_for(&config, &to), "unsigned");
        }
        let at = |via, transport| own_at(&config, via, transport).to_string();
        assert_eq!(at(Via::Http, None), "https://home.test/cmr");
        assert_eq!(at(Via::Udp, None), "mailto:cmr@home.test");
        assert_eq!(at(Via::Bare, Some("ssh")), "ssh://cmr@home.test/");
        assert_eq!(at(Via::Bare, Some("receive")), "mailto:cmr@home.test");
        assert_eq!(at(Via::Smtp, None), "mailto:cmr@home.test");
    }

    #[test]
    fn a_neighbour_is_sent_to_where_it_can_be_asked() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(dir.path()).unwrap();
        let config = Config::parse(CONFIG, "/tmp/cmr-mail.toml").unwrap();
        let [mail, udp, http, other] =
            ["mailto:cmr@b.example", "udp://b.example:99/cmr", "https://b.example/cmr", "mailto:c@b.example"]
                .map(|text| Address::try_from(text).unwrap());
        let now = crate::message::UnixTime::from_secs(0);
        let asked = store.write(move |tx| {
            let ways = |tx: &Connection| {
                [&mail, &udp, &http, &other].map(|to| where_it_can_be_asked(tx, &config, to).unwrap())
            };
            let key = crate::keys::Key::from_text("secret").unwrap();
            for address in [&mail, &udp, &http] {
                keys::set(tx, address, &key, None, now)?;
            }
            keys::set(tx, &other, &crate::keys::Key::from_text("another").unwrap(), None, now)?;
            let mut asked = vec![ways(tx)];
            peers::set_pinned(tx, &http, true, now)?;
            asked.push(ways(tx));
            crate::store::blocks::add(tx, crate::store::blocks::BlockKind::Peer, http.as_bytes(), "", now)?;
            asked.push(ways(tx));
            Ok(([mail, udp, http, other].map(|it| it.to_string()), asked))
        });
        let (names, asked) = asked.unwrap();
        let [_, _, http, other] = names.clone();
        let by_http = [http.clone(), http.clone(), http, other];
        let text = |all: &[Address; 4]| all.clone().map(|it| it.to_string());
        assert_eq!(asked.iter().map(text).collect::<Vec<_>>(), [names.clone(), by_http, names]);
    }
}
