//! The gateways: real processes that know and trust each other, each by the transport that it prefers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cmr_mail::gateway::api::{KeyAction, Request};
use cmr_mail::gateway::control::{call, control_path};

use super::relay::Relay;
use crate::gate::{free, free_udp, own_ip};
use crate::support::client::Client;
use crate::support::daemon::{Config, Daemon, House, PATIENCE};
use crate::support::messages::{now, rfc2822};

/// The transports of a network, in turn. All take mail; those by HTTP and UDP are sent to by that.
const MIX: [&str; 6] = ["http", "http", "mail", "http", "http", "udp"];

/// A gateway.
pub(super) struct Gateway {
    pub(super) transport: &'static str,
    /// Its addresses; others send to the first.
    pub(super) addresses: Vec<String>,
    pub(super) house: House,
    pub(super) daemon: Option<Daemon>,
    /// The connection of those who post here.
    client: Option<Client>,
    database: rusqlite::Connection,
}

/// All of them, and the mail between them.
pub(super) struct Network {
    pub(super) gateways: Vec<Gateway>,
    pub(super) relay: Relay,
    /// The gateway behind an address.
    pub(super) by_address: HashMap<String, usize>,
}

/// What a network is started with.
pub(super) struct Wish {
    pub(super) gateways: usize,
    /// Keys of `[routing]`.
    pub(super) routing: Vec<(&'static str, String)>,
    /// Where their directories are.
    pub(super) place: PathBuf,
}

fn config(number: usize, addresses: &[Vec<String>], wish: &Wish, relay: &Relay) -> Config {
    let pinned: Vec<&String> = addresses
        .iter()
        .enumerate()
        .filter(|(it, _)| *it != number)
        .filter_map(|(_, all)| all.first())
        .collect();
    let mut config = Config::new()
        .text("gateway", "address", format!("mailto:cmr@g{number}.test"))
        .text("gateway", "hostname", format!("mx.g{number}.test"))
        .text("gateway", "operator", format!("Olga Operator <olga@g{number}.test>"))
        .text("send", "retry_max", "400ms")
        .text("people", "first_post", "publish")
        // What takes days is over in minutes here.
        .text("policy", "post_at_most", "1000000/h")
        .text("policy", "answer_at_most", "1000000/h")
        .text("log", "level", "warn")
        .trusting_loopback()
        .smarthost(relay.address())
        .set("routing", "pinned", format!("{pinned:?}"))
        .set("routing", "contacts", "100");
    let own = &addresses[number][0];
    for transport in ["http", "udp"] {
        if let Some(at) = own.strip_prefix(&format!("{transport}://")) {
            config =
                config.text(transport, "listen", at.trim_end_matches("/cmr")).text(transport, "address", own);
        }
    }
    wish.routing.iter().fold(config, |config, (key, value)| config.set("routing", key, value))
}

impl Network {
    pub(super) fn start(wish: &Wish) -> Network {
        let relay = Relay::start(wish.gateways);
        let addresses: Vec<Vec<String>> = (0..wish.gateways)
            .map(|number| {
                let mail = format!("mailto:cmr@g{number}.test");
                match MIX[number % MIX.len()] {
                    "http" => vec![format!("http://{}/cmr", free(own_ip())), mail],
                    "udp" => vec![format!("udp://{}/cmr", free_udp(own_ip())), mail],
                    _ => vec![mail],
                }
            })
            .collect();
        let gateways: Vec<Gateway> = (0..wish.gateways)
            .map(|number| {
                let house = House::new_in(&wish.place, &config(number, &addresses, wish, &relay));
                let daemon = house.start();
                relay.is_at(number, Some(daemon.smtp()));
                Gateway {
                    transport: MIX[number % MIX.len()],
                    addresses: addresses[number].clone(),
                    database: house.read_database(),
                    house,
                    daemon: Some(daemon),
                    client: None,
                }
            })
            .collect();
        let by_address = addresses
            .into_iter()
            .enumerate()
            .flat_map(|(number, all)| all.into_iter().map(move |address| (address, number)))
            .collect();
        let network = Network { gateways, relay, by_address };
        network.share_keys();
        network
    }

    /// Each pair shares a key, which shows that all addresses of a gateway are one neighbour's.
    fn share_keys(&self) {
        let addresses: Vec<&[String]> = self.gateways.iter().map(|it| it.addresses.as_slice()).collect();
        let addresses = &addresses;
        std::thread::scope(|scope| {
            for (number, gateway) in self.gateways.iter().enumerate() {
                let socket = control_path(&gateway.house.dir().join("data"));
                scope.spawn(move || {
                    let others = addresses.iter().enumerate().filter(|(other, _)| *other != number);
                    for (other, address) in
                        others.flat_map(|(other, all)| all.iter().map(move |it| (other, it)))
                    {
                        let hex = format!("{:032x}{:032x}", 1 + number.min(other), 1 + number.max(other));
                        let action = KeyAction::Set { address: address.clone(), hex, scheme: None };
                        let set = call(&socket, &Request::Keys { action }, PATIENCE).unwrap();
                        assert!(set.is_ok(), "{address}: {set:?}");
                    }
                });
            }
        });
    }

    /// Somebody posts a text at a gateway; the id of the message, if it was taken.
    pub(super) fn post(&mut self, gateway: usize, author: u32, number: usize, text: &str) -> Posted {
        let Some(daemon) = &self.gateways[gateway].daemon else { return Posted::Later };
        let place = daemon.smtp();
        let (subject, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let subject = subject.replace('\n', " ");
        let encoded = STANDARD.encode(body.replace('\n', "\r\n"));
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
        // An encoded word has 75 characters at most.
        let words: Vec<String> = subject
            .chars()
            .collect::<Vec<_>>()
            .chunks(10)
            .map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word.iter().collect::<String>())))
            .collect();
        let mail = format!(
            "From: a{author}@people.test\r\nTo: cmr@g{gateway}.test\r\nDate: {}\r\nMessage-ID: <p{number}@people.test>\r\n\
             Subject: {}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            rfc2822(now()),
            words.join("\r\n "),
            lines.join("\r\n"),
        );
        let client = &mut self.gateways[gateway].client;
        let to = format!("cmr@g{gateway}.test");
        for _ in 0..2 {
            if client.is_none() {
                *client = Client::connect(place).ok();
            }
            let from = format!("a{author}@people.test");
            match client.as_mut().map(|client| client.send(&from, &[&to], mail.as_bytes())) {
                Some(Ok(reply)) if reply.code == 250 => {
                    let words = reply.text.split(|c: char| !c.is_ascii_hexdigit());
                    let id = words.rev().find(|word| word.len() == 16);
                    return id.map_or(Posted::Refused, |id| Posted::As(id.to_owned()));
                }
                Some(Ok(reply)) if reply.code / 100 == 5 => return Posted::Refused,
                _ => *client = None,
            }
        }
        Posted::Later
    }

    /// Waits until nothing waits any more: no decision, no delivery, no mail. While some are dead, what
    /// was tried once waits for them.
    pub(super) fn until_quiet(&self) {
        let dead = self.gateways.iter().filter(|gateway| gateway.daemon.is_none()).count();
        let (start, mut quiet) = (Instant::now(), 0);
        while quiet < 2 {
            let busy = self.relay.is_busy(dead)
                || self.gateways.iter().any(|it| it.daemon.is_some() && it.is_busy(dead > 0));
            quiet = if busy { 0 } else { quiet + 1 };
            assert!(start.elapsed() < PATIENCE, "it never becomes quiet: {:?}", self.busy());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn busy(&self) -> Vec<usize> {
        (0..self.gateways.len()).filter(|number| self.gateways[*number].is_busy(false)).collect()
    }

    /// SIGKILL to these.
    pub(super) fn kill(&mut self, gateways: &[usize]) {
        for number in gateways {
            self.relay.is_at(*number, None);
            if let Some(daemon) = self.gateways[*number].daemon.take() {
                daemon.kill();
            }
        }
    }

    /// Starts them again.
    pub(super) fn revive(&mut self, gateways: &[usize]) {
        for number in gateways {
            let daemon = self.gateways[*number].house.start();
            self.relay.is_at(*number, Some(daemon.smtp()));
            self.gateways[*number].daemon = Some(daemon);
        }
    }
}

/// What became of a post.
pub(super) enum Posted {
    /// It is the message with this id.
    As(String),
    /// It was refused for good.
    Refused,
    /// Nobody answered.
    Later,
}

impl Gateway {
    pub(super) fn database(&self) -> &rusqlite::Connection {
        &self.database
    }

    fn is_busy(&self, some_are_dead: bool) -> bool {
        let sql = "SELECT EXISTS (SELECT 1 FROM message WHERE state = 'unrouted')
            OR EXISTS (SELECT 1 FROM message WHERE state = 'held')
            OR EXISTS (SELECT 1 FROM delivery WHERE state = 'leased')
            OR EXISTS (SELECT 1 FROM delivery WHERE state = 'ready' AND (attempts = 0 OR NOT ?1))";
        let mut select = self.database.prepare_cached(sql).unwrap();
        select.query_row([some_are_dead], |row| row.get(0)).unwrap()
    }
}
