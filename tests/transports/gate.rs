//! A gateway with public addresses on several transports, each at a place that nobody else has.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::Value;

use crate::support::daemon::{Config, Daemon, House, PATIENCE, until};

/// An address of loopback that is this process's alone.
pub(crate) fn own_ip() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = u16::try_from(std::process::id() % 60_000).unwrap().to_be_bytes();
    Ipv4Addr::new(127, high.saturating_add(1), low, number).into()
}

/// A free place at this address.
pub(crate) fn free(ip: IpAddr) -> SocketAddr {
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

pub(crate) fn free_udp(ip: IpAddr) -> SocketAddr {
    UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// One gateway.
pub(crate) struct Gate {
    pub(crate) name: &'static str,
    pub(crate) house: House,
    pub(crate) daemon: RefCell<Option<Daemon>>,
    pub(crate) config: Config,
}

impl Gate {
    /// A gateway with this configuration, not started yet.
    pub(crate) fn new(name: &'static str, change: impl FnOnce(Config) -> Config) -> Gate {
        let config = Config::new()
            .text("gateway", "address", format!("mailto:cmr@{name}.test"))
            .text("gateway", "hostname", format!("mx.{name}.test"))
            .text("gateway", "operator", format!("Olga Operator <olga@{name}.test>"))
            .set("smtp", "listen", "[]");
        let config = change(config);
        let house = House::new(&config);
        Gate { name, house, daemon: RefCell::default(), config }
    }

    pub(crate) fn start(&self) {
        *self.daemon.borrow_mut() = Some(self.house.start());
    }

    /// SIGKILL and a new start.
    pub(crate) fn restart(&self) {
        self.daemon.take().unwrap().kill();
        self.start();
    }

    /// Where this part listens.
    pub(crate) fn at(&self, part: &str) -> SocketAddr {
        self.daemon.borrow().as_ref().unwrap().address(part)
    }

    /// A public message of the operator; its id.
    pub(crate) fn posts(&self, text: &str) -> String {
        let posted = self.house.json(&["post", text]);
        posted["id"].as_str().unwrap().to_owned()
    }

    /// The message, once it is here.
    pub(crate) fn gets(&self, id: &str) -> Value {
        until(&format!("{id} comes to {}", self.name), || self.house.show(id))
    }

    /// How the message with this id was proven to come from its sender.
    pub(crate) fn proof(&self, id: &str) -> String {
        self.gets(id)["authenticity"].as_str().unwrap().to_owned()
    }

    /// Waits until everything is routed, whether or not it can be sent.
    pub(crate) fn until_routed(&self) {
        until("everything is routed", || (self.house.json(&["status"])["unrouted"] == 0).then_some(()));
    }

    /// The keys shared with a peer as (state, origin, fingerprint).
    pub(crate) fn keys(&self, peer: &str) -> Vec<(String, String, String)> {
        let all = self.house.json(&["keys", "show"]);
        let of = all.as_array().unwrap().iter().filter(|key| key["address"] == peer);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        of.map(|key| (text(&key["state"]), text(&key["origin"]), text(&key["fingerprint"]))).collect()
    }

    /// The fingerprint of the key of this state.
    pub(crate) fn key(&self, peer: &str, state: &str) -> Option<String> {
        self.keys(peer).into_iter().find(|(found, ..)| found == state).map(|(.., fingerprint)| fingerprint)
    }

    /// The queue's row about this peer, finished ones too.
    pub(crate) fn queued(&self, to: &str) -> Vec<Value> {
        let all = self.house.json(&["queue", "list", "--all"]);
        all.as_array().unwrap().iter().filter(|row| row["to"] == to).cloned().collect()
    }
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

/// Sends these bytes and reads until the server closes, or has said all that its Content-Length promises.
pub(crate) fn ask(at: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who says no early does not read to the end.
    let _ = stream.write_all(request);
    read(&mut stream)
}

/// Reads one answer.
pub(crate) fn read(stream: &mut TcpStream) -> Answer {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    let head = loop {
        if let Some(end) = all.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
        let read = stream.read(&mut buffer).unwrap_or(0);
        assert!(read > 0, "no answer: {}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&buffer[..read]);
    };
    let mut body = all.split_off(head);
    let head = String::from_utf8(all).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
    while body.len() < length {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the body broke off");
        body.extend_from_slice(&buffer[..read]);
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body }
}

/// A request with a body.
pub(crate) fn post(path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut request =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{fields}\r\n", body.len())
            .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A whole request that came in: its head, and as much body as that says. `None`: the client is gone.
pub(crate) fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}
