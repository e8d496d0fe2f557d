//! The reference's router (`cmr-core`) in process, behind sockets of the test: what the matrix of
//! `reference.rs` shows with its whole daemon, for each change.

use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};

use cmr_core::policy::RoutingPolicy;
use cmr_core::protocol::{CmrMessage, CmrTimestamp, MessageId, Signature, TransportKind};
use cmr_core::router::{ClientMessagePlan, CompressionError, CompressionOracle, Router};
use cmr_mail::wire::{datagram, multipart};

use crate::gate::{Gate, free, free_udp, own_ip, post, read, request};
use crate::support::daemon::{Config, until};

/// A compressor to which nothing is like anything else, and all is prose.
struct Oracle;

impl CompressionOracle for Oracle {
    fn compression_distance(&self, left: &[u8], right: &[u8]) -> Result<f64, CompressionError> {
        Ok(1e6 + left.len() as f64 + right.len() as f64)
    }

    fn intrinsic_dependence(&self, _: &[u8], _: i64) -> Result<f64, CompressionError> {
        Ok(0.5)
    }
}

/// The reference's side.
#[derive(Clone)]
struct Theirs {
    address: String,
    ours: String,
    our_place: String,
    router: Arc<Mutex<Router<Oracle>>>,
    got: Arc<Mutex<Vec<String>>>,
}

impl Theirs {
    fn start(transport: &str, address: &str, place: &str, ours: &str, our_place: &str) -> Theirs {
        let theirs = Theirs {
            address: address.to_owned(),
            ours: ours.to_owned(),
            our_place: our_place.to_owned(),
            router: Arc::new(Mutex::new(new_router(address))),
            got: Arc::default(),
        };
        let side = theirs.clone();
        if transport == "udp" {
            let socket = UdpSocket::bind(place).unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while let Ok(length) = socket.recv(&mut buffer) {
                    side.takes(datagram::read("cmr", &buffer[..length]).unwrap(), TransportKind::Udp);
                }
            });
        } else {
            let listener = TcpListener::bind(place).unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let side = side.clone();
                    std::thread::spawn(move || side.serves(stream));
                }
            });
        }
        theirs
    }

    fn serves(&self, mut stream: TcpStream) {
        while let Some((head, body)) = request(&mut stream) {
            let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).map(str::to_owned);
            let message = multipart::read(kind.as_deref(), &body).unwrap();
            let refused = self.takes(message, TransportKind::Http);
            let answer = match refused {
                None => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
                Some(why) => {
                    format!("HTTP/1.1 400 Bad\r\nX-CMR-Drop-Reason: {why}\r\nContent-Length: 0\r\n\r\n")
                }
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// A message for its router; why it was dropped, if it was. What follows from it is sent, as the
    /// daemon does, before anything is answered.
    fn takes(&self, message: &[u8], by: TransportKind) -> Option<String> {
        let outcome = self.router.lock().unwrap().process_incoming(message, by, CmrTimestamp::now_utc());
        if outcome.accepted && !outcome.key_exchange_control {
            let body = outcome.parsed_message.unwrap().body;
            self.got.lock().unwrap().push(String::from_utf8(body).unwrap());
        }
        for plan in &outcome.client_plans {
            self.follows(plan);
        }
        outcome.drop_reason.map(|why| why.to_string())
    }

    fn follows(&self, plan: &ClientMessagePlan) {
        assert_eq!(plan.destination, self.ours);
        self.sends(plan.body.clone(), plan.signing_key.clone());
    }

    fn sends(&self, body: Vec<u8>, key: Option<Vec<u8>>) {
        let address = MessageId { timestamp: CmrTimestamp::now_utc(), address: self.address.clone() };
        let mut message = CmrMessage { signature: Signature::Unsigned, header: vec![address], body };
        if let Some(key) = key {
            message.sign_with_key(&key);
        }
        if self.ours.starts_with("udp:") {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(&datagram::write("cmr", &message.to_bytes()).unwrap(), &self.our_place).unwrap();
            return;
        }
        let (kind, body) = multipart::write("theirs", &message.to_bytes());
        let mut stream = TcpStream::connect(&self.our_place).unwrap();
        stream.write_all(&post("/cmr", &format!("Content-Type: {kind}\r\n"), &body)).unwrap();
        let answer = read(&mut stream);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// A text, signed if there is a key.
    fn says(&self, text: &str) {
        let key = self.router.lock().unwrap().shared_key(&self.ours).map(<[u8]>::to_vec);
        self.sends(text.as_bytes().to_vec(), key);
    }

    fn restarts(&self) {
        *self.router.lock().unwrap() = new_router(&self.address);
    }
}

fn new_router(address: &str) -> Router<Oracle> {
    Router::new(address.to_owned(), RoutingPolicy::default(), Oracle)
}

fn matrix(transport: &'static str) {
    let (ours, theirs) = match transport {
        "udp" => (free_udp(own_ip()).to_string(), free_udp(own_ip()).to_string()),
        _ => (free(own_ip()).to_string(), free(own_ip()).to_string()),
    };
    let (our_address, their_address) =
        (format!("{transport}://{ours}/cmr"), format!("{transport}://{theirs}/cmr"));
    let side = Theirs::start(transport, &their_address, &theirs, &our_address, &ours);
    let gate = Gate::new("ours", |config: Config| {
        let config = config.set("routing", "pinned", format!("[{their_address:?}]"));
        config.text(transport, "listen", &ours).text(transport, "address", &our_address)
    });
    gate.start();
    let both = |what: &str, expected: &str| {
        let text = format!("{what}: from ours to theirs.");
        gate.posts(&text);
        until("theirs has it", || side.got.lock().unwrap().contains(&text).then_some(()));
        let text = format!("{what}: from theirs to ours.");
        side.says(&text);
        let proof = until("ours has it", || {
            let found = gate.house.json(&["search", &text, "-n", "1"]);
            let shown = gate.house.show(found["matches"][0]["id"].as_str()?)?;
            (shown["body_utf8"] == text.as_str()).then(|| shown["authenticity"].as_str().unwrap().to_owned())
        });
        assert_eq!(proof, expected, "{transport} {what}");
    };
    let signed = format!("it is signed with the key that we share with {their_address}");
    both("Unsigned", "nothing shows who wrote it");
    for method in ["rsa", "dh"] {
        gate.house.verb(&["keys", "forget", &their_address]);
        side.restarts();
        gate.house.verb(&["keys", "exchange", &their_address, "--method", method]);
        until("the key is made", || gate.key(&their_address, "pending"));
        both(&format!("Under a key by {method}"), &signed);
    }
    // Theirs forgets its keys: a signature of ours is refused, and by UDP nobody says so.
    side.restarts();
    if transport == "http" {
        let id = gate.posts("Theirs can't verify this any more.");
        let failed = until("it is refused", || {
            gate.queued(&their_address).into_iter().find(|row| row["state"] == "failed")
        });
        assert!(failed["last_error"].as_str().unwrap().starts_with("HTTP 400: "), "{id} {failed}");
    }
    gate.house.verb(&["keys", "forget", &their_address]);
    gate.house.verb(&["keys", "exchange", &their_address]);
    until("the key is made", || gate.key(&their_address, "pending"));
    both("After their restart", &signed);
}

#[test]
fn the_reference_router_by_http() {
    matrix("http");
}

#[test]
fn the_reference_router_by_udp() {
    matrix("udp");
}
