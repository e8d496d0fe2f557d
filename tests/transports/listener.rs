//! What the HTTP listener answers, and what it costs.

use std::io::Write;
use std::net::TcpStream;

use crate::gate::{Gate, ask, post, read};
use crate::support::daemon::{Config, PATIENCE, until};
use crate::support::messages::{in_seconds, message, signed};
use cmr_mail::keys::Scheme;
use cmr_mail::wire::multipart;

const PEER: &str = "http://peer.example/cmr";

fn gate() -> Gate {
    let gate = Gate::new("home", |config: Config| {
        config
            .text("http", "listen", "127.0.0.1:0")
            .text("http", "address", "https://home.test/cmr")
            .text("smtp", "max_message", "1 MiB")
            .text("policy", "unproven_at_most", "100000/h")
            .set("http", "proxies", "[\"127.0.0.9\"]")
    });
    gate.start();
    gate
}

#[test]
fn every_request_gets_its_answer() {
    let gate = gate();
    let at = gate.at("http");
    gate.house.verb(&["keys", "set", "http://keyed.example/", "--text", "secret"]);
    let good = |body: &str| message(&[(in_seconds(-5), PEER)], body);
    let keyed = message(&[(in_seconds(-5), "http://keyed.example/")], "Something under a key.");
    let (kind, upload) = multipart::write("token", &good("An upload of a file.").write());
    let content_type = format!("Content-Type: {kind}\r\n");
    let first = good("A bare message.").write();
    let ours = message(&[(in_seconds(-5), PEER), (in_seconds(-9), "https://home.test/cmr")], "It was here.");
    let reflected = message(&[(in_seconds(-5), "https://home.test/cmr")], "DH key exchange reply=5.");
    let mut multibyte = good("x").write();
    multibyte.splice(3..5, "\u{fc}".bytes());
    let long = vec![b'x'; (1 << 20) + 1];
    let table: [(&str, Vec<u8>, u16, &str); 20] = [
        ("an upload", post("/cmr", &content_type, &upload), 200, "stored"),
        ("a bare message", post("/cmr", "Content-Type: text/plain\r\n", &first), 200, "stored"),
        ("the same again", post("/cmr", "", &first), 200, "known"),
        ("a query is no other path", post("/cmr?x", "", &first), 200, "known"),
        ("another path", post("/", "", &first), 404, "nothing here"),
        ("a path with a slash", post("/cmr/", "", &first), 404, "nothing here"),
        (
            "another method",
            b"PUT /cmr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_vec(),
            405,
            "by POST",
        ),
        ("no message", post("/cmr", "", b""), 400, "not a well-formed CMR message"),
        ("rubbish", post("/cmr", "", b"hello"), 400, "not a well-formed CMR message"),
        ("multi-byte characters in a timestamp", post("/cmr", "", &multibyte), 400, "not a well-formed"),
        ("no boundary", post("/cmr", "Content-Type: multipart/form-data\r\n", &upload), 400, "boundary"),
        (
            "another boundary",
            post("/cmr", "Content-Type: multipart/form-data; boundary=b\r\n", &upload),
            400,
            "no part",
        ),
        ("a message of ours", post("/cmr", "", &ours.write()), 400, "not a well-formed"),
        ("our own key exchange, reflected", post("/cmr", "", &reflected.write()), 400, "the recipient's own"),
        ("a downgrade to unsigned", post("/cmr", "", &keyed.write()), 403, "unsigned"),
        (
            "a wrong signature",
            post("/cmr", "", &signed(keyed.clone(), Scheme::Hmac, "guess").write()),
            403,
            "signature",
        ),
        (
            "the right one",
            post("/cmr", "", &signed(keyed.clone(), Scheme::Hmac, "secret").write()),
            200,
            "stored",
        ),
        (
            "a stranger's signature",
            post("/cmr", "", &signed(good("By nobody known."), Scheme::Hmac, "x").write()),
            403,
            "no key is shared",
        ),
        ("too long", post("/cmr", "", &long), 413, "1048576 bytes at most"),
        (
            "a clear key of a stranger",
            post("/cmr", "", &good("Clear key exchange=666f6f626172313233666f6f62617231.").write()),
            403,
            "only over a channel that proves who sends it",
        ),
    ];
    for (name, request, status, words) in table {
        let answer = ask(at, &request);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert!(answer.text().contains(words), "{name}: {}", answer.text());
        let accepted = if status == 200 { "x-cmr-accepted: 1" } else { "x-cmr-accepted: 0" };
        assert!(answer.head.contains(accepted), "{name}: {}", answer.head);
        assert_eq!(answer.head.contains("x-cmr-drop-reason: "), status != 200, "{name}");
    }
    assert!(gate.keys(PEER).is_empty());
    // One connection serves many.
    let mut stream = TcpStream::connect(at).unwrap();
    for number in 0..20 {
        stream.write_all(&post("/cmr", "", &good(&format!("Message {number} of many.")).write())).unwrap();
        assert_eq!(read(&mut stream).status, 200);
    }
    // Chunked, and slower than it could be.
    let chunked = good("In pieces.").write();
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(b"POST /cmr HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for piece in chunked.chunks(7) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
        stream.write_all(&[piece, b"\r\n"].concat()).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(read(&mut stream).status, 200);
    let head: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    assert_eq!(ask(at, &post("/cmr", &head, b"")).status, 431, "too many lines");
}

/// 200 MB cost no memory, whether their length is said before or not, and whoever is served meanwhile
/// does not notice.
#[test]
fn a_huge_request_costs_nothing() {
    let gate = gate();
    let at = gate.at("http");
    let memory = || gate.daemon.borrow().as_ref().unwrap().memory_kib("VmHWM:");
    let before = memory();
    let answer = ask(at, b"POST /cmr HTTP/1.1\r\nHost: x\r\nContent-Length: 209715200\r\n\r\n");
    assert_eq!(answer.status, 413, "before a byte of it was read");
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    let flood = |chunked: bool| {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let piece = vec![b'x'; 1 << 20];
        let head = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 209715200" };
        let _ = stream.write_all(format!("POST /cmr HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n").as_bytes());
        for _ in 0..200 {
            let sent = if chunked {
                stream
                    .write_all(b"100000\r\n")
                    .and_then(|()| stream.write_all(&piece))
                    .and_then(|()| stream.write_all(b"\r\n"))
            } else {
                stream.write_all(&piece)
            };
            if sent.is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for number in 0..20 {
            scope.spawn(move || flood(number % 2 == 0));
        }
    });
    let good = message(&[(in_seconds(-5), PEER)], "In the middle of it.");
    assert_eq!(ask(at, &post("/cmr", "", &good.write())).status, 200);
    let grown = memory() - before;
    println!("20 requests of 200 MB: {grown} KiB more at most");
    assert!(grown < 160 << 10, "{grown} KiB");
}

/// A client that sends much and slowly holds a quarter of the room for bodies, and the others have theirs.
#[test]
fn slow_clients_leave_room_for_others() {
    let gate = Gate::new("home", |config: Config| {
        config.text("http", "listen", "127.0.0.1:0").text("smtp", "max_message", "10 MiB")
    });
    gate.start();
    let at = gate.at("http");
    let begins = |from: [u8; 4]| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&at.into()).unwrap();
        let mut stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"POST /cmr HTTP/1.1\r\nHost: x\r\nContent-Length: 8388608\r\n\r\n").unwrap();
        // All but the last byte; who is refused does not read to the end.
        let _ = stream.write_all(&vec![b'x'; (8 << 20) - 1]);
        stream
    };
    // Ends its body, and is told what became of it.
    let ends = |mut stream: TcpStream| {
        let _ = stream.write_all(b"x");
        read(&mut stream).status
    };
    let greedy: Vec<_> = (0..5).map(|_| begins([127, 0, 0, 1])).collect();
    let others: Vec<_> = (2..5).map(|n| begins([127, 0, 0, n])).collect();
    for other in others {
        assert_eq!(ends(other), 400, "it was read to its end");
    }
    let greedy: Vec<_> = greedy.into_iter().map(ends).collect();
    // Each alone has the whole quarter.
    assert!(greedy.iter().filter(|status| **status == 503).count() >= 4, "of one network: {greedy:?}");
    let small = message(&[(in_seconds(-5), PEER)], "A small one.").write();
    assert_eq!(ask(at, &post("/cmr", "", &small)).status, 200);
}

/// Who a client is behind a web server of the house: what that one says, and nobody else.
#[test]
fn only_listed_proxies_name_clients() {
    let gate = gate();
    let at = gate.at("http");
    gate.house.verb(&["block", "203.0.113.7"]);
    let fields = "X-Forwarded-For: 192.0.2.1, 203.0.113.7\r\nX-Forwarded-Proto: https\r\n";
    let send = |from: [u8; 4], body: &str| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&at.into()).unwrap();
        let mut stream: TcpStream = socket.into();
        stream.write_all(&post("/cmr", fields, &message(&[(in_seconds(-5), PEER)], body).write())).unwrap();
        read(&mut stream)
    };
    let behind = send([127, 0, 0, 9], "Behind a proxy.");
    assert_eq!(behind.status, 403, "{}", behind.text());
    assert!(behind.text().contains("203.0.113.7 is blocked"), "{}", behind.text());
    assert_eq!(send([127, 0, 0, 8], "Says that it is one.").status, 200);
}

/// A stop in the middle of a request lets it finish.
#[test]
fn a_request_under_way_is_finished_at_the_end() {
    let gate = gate();
    let body = message(&[(in_seconds(-5), PEER)], "It came in two halves.").write();
    let request = post("/cmr", "", &body);
    let (first, second) = request.split_at(request.len() - 10);
    let mut stream = TcpStream::connect(gate.at("http")).unwrap();
    stream.write_all(first).unwrap();
    // The listener has begun with it as soon as another request was answered after it.
    ask(gate.at("http"), b"GET /cmr HTTP/1.1\r\nHost: x\r\n\r\n");
    let at = gate.at("http");
    let daemon = gate.daemon.borrow();
    daemon.as_ref().unwrap().begin_to_stop();
    until("nobody else gets in", || TcpStream::connect(at).err());
    stream.write_all(second).unwrap();
    assert_eq!(read(&mut stream).status, 200);
}
