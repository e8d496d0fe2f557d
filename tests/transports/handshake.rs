//! The handshake (A4.5) step by step, and whom it can't be turned against.

use std::io::{Read, Write};
use std::net::TcpListener;

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
