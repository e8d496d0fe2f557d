//! The handshake (A4.5) step by step, and whom it can't be turned against.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cmr_mail::message::{Address, HopKey, TailHash};
use cmr_mail::receive::http::{Handshakes, Office, Options, serve};
use cmr_mail::receive::{Arrival, Handler, Verdict};
use cmr_mail::send::http::{self as client, Client, Offers};
use cmr_mail::send::resolve::{Found, Resolve};
use cmr_mail::smtp::Reply;
use tokio::sync::watch;

use crate::gate::{Gate, ask, free, own_ip, read};
use crate::support::daemon::{Config, until};
use crate::support::messages::{in_seconds, message};

fn get(query: &str) -> Vec<u8> {
    format!("GET /cmr{query} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

/// Bob's part: the message is fetched from where it is said to come from.
#[test]
fn a_message_is_fetched_from_its_sender() {
    // The client of the test connects from this address.
    let alice = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/alice", alice.local_addr().unwrap());
    let bob = Gate::new("bob", |config: Config| {
        config.text("http", "listen", "127.0.0.1:0").set("routing", "pinned", format!("[{address:?}]"))
    });
    bob.start();
    let answer = ask(bob.at("http"), &get(&format!("?request={address}&key=foo")));
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{}", answer.head);
    let (mut stream, _) = alice.accept().unwrap();
    let mut request = [0; 1000];
    let length = stream.read(&mut request).unwrap();
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    assert!(request.starts_with("GET /alice?reply=foo HTTP/1.1\r\n"), "{request}");
    let sent = message(&[(in_seconds(-3), &address)], "Neptune is blue.");
    let bytes = sent.write();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", bytes.len());
    stream.write_all(&[head.as_bytes(), &bytes].concat()).unwrap();
    let proof = bob.proof(&sent.id().to_string());
    assert_eq!(proof, format!("the way it came by shows that it is from {address}"));
    // The same by upload shows nothing.
    let other = message(&[(in_seconds(-2), &address)], "Neptune is windy, too.");
    assert_eq!(ask(bob.at("http"), &crate::gate::post("/cmr", "", &other.write())).status, 200);
    assert_eq!(bob.proof(&other.id().to_string()), "nothing shows who wrote it");
}

/// Nobody can make us ask a third party, or look into our own network.
#[test]
fn nobody_is_asked_for_a_stranger() {
    let victim = TcpListener::bind((own_ip(), 0)).unwrap();
    victim.set_nonblocking(true).unwrap();
    let at = victim.local_addr().unwrap();
    let listed = format!("http://{at}/listed");
    let gate = Gate::new("bob", |config: Config| {
        config.text("http", "listen", "127.0.0.1:0").set("routing", "pinned", format!("[{listed:?}]"))
    });
    gate.start();
    let table = [
        (format!("?request=http://{at}/secret&key=a"), 403, "not reachable from everywhere"),
        ("?request=http://127.0.0.1:80/&key=a".to_owned(), 403, "not reachable from everywhere"),
        ("?request=http://169.254.169.254/latest/meta-data&key=a".to_owned(), 403, "not reachable"),
        ("?request=http://[::1]/&key=a".to_owned(), 403, "not reachable"),
        ("?request=http://2130706433/&key=a".to_owned(), 403, "a name for a local network"),
        ("?request=http://localhost/&key=a".to_owned(), 403, "a name for a local network"),
        ("?request=https://192.168.0.1/&key=a".to_owned(), 403, "not reachable"),
        ("?request=ssh://-oProxyCommand=x/&key=a".to_owned(), 403, "ssh://-oProxyCommand=x/"),
        ("?request=udp://8.8.8.8:53/x&key=a".to_owned(), 403, "never sent anything authenticated"),
        ("?request=mailto:a@b.example?bcc=c@d.example&key=a".to_owned(), 403, "can be sent to"),
        ("?request=file:///etc/passwd&key=a".to_owned(), 403, "can be sent to"),
        // Somebody listed, in whose name somebody else asks.
        (format!("?request={listed}&key=a"), 403, "does not lead to 127.0.0.1"),
        // A public address, but not the one that asks.
        ("?request=http://8.8.8.8/&key=a".to_owned(), 403, "does not lead to 127.0.0.1"),
        (format!("?request={listed}&key=a%0d%0aX"), 400, "a key has 1 to 128"),
        ("?request=http://a.example/%0d%0a&key=a".to_owned(), 400, "the http or https address"),
        // Another service than the web, on a public address.
        ("?request=http://8.8.8.8:25/&key=a".to_owned(), 403, "port 25"),
        ("?request=http://[2001:4860:4860::8888]evil.example/&key=a".to_owned(), 403, "can be sent to"),
        ("?reply=unknown".to_owned(), 404, "nothing is kept"),
        ("?reply=..%2f".to_owned(), 400, "a key has 1 to 128"),
        (String::new(), 400, "sent here by POST"),
    ];
    for (query, status, words) in table {
        let answer = ask(gate.at("http"), &get(&query));
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert!(answer.text().contains(words), "{query}: {}", answer.text());
    }
    let met = victim.accept();
    assert!(met.is_err(), "somebody was asked: {met:?}");
}

/// A resolver that never answers, and counts who waits for it.
#[derive(Clone, Default)]
struct Silent(Arc<AtomicUsize>);

impl Resolve for Silent {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Found<'a> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }
}

/// A house that would fetch from anybody.
struct Anybody;

impl Handler for Anybody {
    async fn admit(&self, _: Arrival) -> Verdict {
        Reply::stored("stored").into()
    }
}

impl Office for Anybody {
    async fn may_fetch(&self, _: &Address) -> Result<bool, String> {
        Ok(false)
    }

    async fn is_known(&self, _: Vec<(HopKey, TailHash)>, _: Option<IpAddr>) -> Result<bool, String> {
        Ok(false)
    }
}

/// Who names hosts whose name servers never answer gets a quarter of the turns, and no more look-ups
/// are under way than there are turns.
#[tokio::test]
async fn look_ups_for_strangers_are_bounded() {
    let names = Silent::default();
    let client =
        Client::with(client::Options::default(), Offers::default(), Arc::new(names.clone())).unwrap();
    let listener = cmr_mail::listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = listener.local_addr().unwrap();
    let (_told, options) = watch::channel(Arc::new(Options::new("/cmr", 1 << 20)));
    let (_with, handshakes) = watch::channel(Handshakes { client, offers: Offers::default() });
    let (_stop, stopping) = watch::channel(false);
    tokio::spawn(serve(listener, options, Arc::new(Anybody), handshakes, stopping));
    let mut waiting = Vec::new();
    let mut refused = 0;
    for number in 0..40_u8 {
        // Eight clients, five requests each.
        let from = SocketAddr::from(([127, 0, 0, number % 8 + 1], 0));
        let request = get(&format!("?request=http://h{number}.example/&key=a"));
        let asked = tokio::task::spawn_blocking(move || {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.bind(&from.into()).unwrap();
            socket.connect(&at.into()).unwrap();
            let mut stream: std::net::TcpStream = socket.into();
            stream.write_all(&request).unwrap();
            stream
        });
        let mut stream = asked.await.unwrap();
        // Either it is refused, or it waits for the resolver.
        let before = waiting.len();
        loop {
            if names.0.load(Ordering::SeqCst) > before {
                waiting.push((number, stream));
                break;
            }
            stream.set_nonblocking(true).unwrap();
            match stream.peek(&mut [0; 1]) {
                Ok(_) => {
                    stream.set_nonblocking(false).unwrap();
                    let answer = tokio::task::spawn_blocking(move || read(&mut stream)).await.unwrap();
                    assert_eq!(answer.status, 503, "{}", answer.text());
                    refused += 1;
                    break;
                }
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            }
        }
    }
    assert_eq!((waiting.len(), refused), (16, 24));
    for client in 0..8 {
        let of = waiting.iter().filter(|(number, _)| number % 8 == client).count();
        assert!(of <= 4, "{of} of one client");
    }
}

/// Alice's part: what we offer is handed out once, and only then it counts as sent.
#[test]
fn an_offer_is_taken_once() {
    let bob = TcpListener::bind((own_ip(), 0)).unwrap();
    let peer = format!("http://{}/bob?x=1", bob.local_addr().unwrap());
    let at = free(own_ip());
    let alice = Gate::new("alice", |config: Config| {
        config
            .set("routing", "pinned", format!("[{peer:?}]"))
            .text("http", "listen", at.to_string())
            .text("http", "address", format!("http://{at}/cmr"))
            .set("http", "handshake", "true")
    });
    alice.start();
    let id = alice.posts("Uranus lies on its side.");
    let (mut stream, _) = bob.accept().unwrap();
    let mut request = [0; 1000];
    let length = stream.read(&mut request).unwrap();
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let line = request.lines().next().unwrap();
    let (question, key) = line.strip_suffix(" HTTP/1.1").unwrap().split_once("&key=").unwrap();
    let own = at.to_string().replace(':', "%3A");
    assert_eq!(question, format!("GET /bob?x=1&request=http%3A%2F%2F{own}%2Fcmr"));
    assert!(key.len() >= 20, "{key}");
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(alice.queued(&peer)[0]["state"], "leased", "not sent before it was fetched");
    let mut fetching = std::net::TcpStream::connect(at).unwrap();
    fetching.write_all(&get(&format!("?reply={key}"))).unwrap();
    let answer = read(&mut fetching);
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain\r\n"), "{}", answer.head);
    let message = cmr_mail::message::parse(&answer.body, &cmr_mail::message::Limits::default()).unwrap();
    assert_eq!(message.id().to_string(), id);
    assert!(!message.signature.is_signed());
    until("it counts as sent", || (alice.queued(&peer)[0]["state"] == "sent").then_some(()));
    assert_eq!(ask(at, &get(&format!("?reply={key}"))).status, 404, "once");
}
