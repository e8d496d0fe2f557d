//! The SMTP receiver on sockets: how many it serves, whom it refuses, how it stops, and what
//! it does when the handler behind it fails.

// In tests a panic is the report; the lint's own exception knows only `#[test]` functions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmr_mail::config::TlsFiles;
use cmr_mail::listen::bind;
use cmr_mail::process::raise_descriptor_limit;
use cmr_mail::receive::smtp::{Options, serve};
use cmr_mail::receive::{Arrival, Handler, Verdict};
use cmr_mail::smtp::{Limits, Mode, Recipients, Reply, SessionConfig};
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

const ENVELOPE: &str = "HELO a\r\nMAIL FROM:<x@a.example>\r\nRCPT TO:<cmr@example.org>\r\nDATA\r\n";

/// Does what the first word of a mail says.
struct Door {
    arrivals: mpsc::UnboundedSender<Arrival>,
    gate: Arc<Semaphore>,
}

impl Handler for Door {
    async fn admit(&self, arrival: Arrival) -> Verdict {
        let word = arrival.raw.split(|byte| *byte == b'\r').next().unwrap().to_vec();
        match word.as_slice() {
            b"panic" => panic!("the handler fails, as the test wants"),
            b"never" => std::future::pending().await,
            b"wait" => self.gate.acquire().await.unwrap().forget(),
            _ => {}
        }
        self.arrivals.send(arrival).unwrap();
        Reply::stored("Stored").into()
    }
}

struct Receiver {
    address: SocketAddr,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    gate: Arc<Semaphore>,
    options: watch::Sender<Arc<Options>>,
    stop: watch::Sender<bool>,
    ended: JoinHandle<()>,
}

fn session() -> SessionConfig {
    SessionConfig {
        hostname: "mx.example.org".to_owned(),
        mode: Mode::Smtp,
        recipients: Recipients::new(&["cmr@example.org".to_owned()], "mx.example.org").unwrap(),
        relays: Vec::new(),
        starttls: false,
        limits: Limits::default(),
    }
}

fn options() -> Options {
    Options { max_connections_per_ip: 10_000, ..Options::new(session(), None) }
}

fn start(options: Options) -> Receiver {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, arrivals) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let door = Arc::new(Door { arrivals: sender, gate: Arc::clone(&gate) });
    let (options, options_of_it) = watch::channel(Arc::new(options));
    let (stop, stop_of_it) = watch::channel(false);
    let ended = tokio::spawn(serve(vec![listener], options_of_it, door, stop_of_it));
    Receiver { address, arrivals, gate, options, stop, ended }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Client(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// Connected, greeted and let in.
    async fn welcome(address: SocketAddr) -> Self {
        let mut client = Client::connect(address).await;
        assert_eq!(client.line().await, "220 mx.example.org ESMTP");
        client
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.unwrap().unwrap();
        line.trim_end_matches("\r\n").to_owned()
    }

    async fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    async fn ask(&mut self, text: &str) -> String {
        self.say(text).await;
        self.line().await
    }

    /// Up to 354.
    async fn open_mail(&mut self) {
        self.say(ENVELOPE).await;
        for code in ["250 mx", "250 2.1.0", "250 2.1.5", "354 "] {
            let line = self.line().await;
            assert!(line.starts_with(code), "{line}");
        }
    }

    async fn closed(&mut self) -> bool {
        self.line().await.is_empty()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_clients_and_a_trickle_hold_nobody_up() {
    raise_descriptor_limit();
    let receiver = start(Options { max_connections: 1_100, ..options() });
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(Client::welcome(receiver.address).await);
    }
    let mut trickle = Client::welcome(receiver.address).await;
    for byte in ["E", "H", "L"] {
        trickle.say(byte).await;
        let before = Instant::now();
        let mut client = Client::welcome(receiver.address).await;
        client.open_mail().await;
        assert_eq!(client.ask("text\r\n.\r\n").await, "250 2.0.0 Stored");
        assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    }
    // Both ends of all connections are in this process.
    let kilobytes = resident_kilobytes();
    println!("resident with 1,001 idle connections, both ends: {kilobytes} kB");
    assert!(kilobytes < 200 * 1024, "{kilobytes} kB");
    // They are idle, not dead.
    for client in &mut idle {
        assert_eq!(client.ask("NOOP\r\n").await, "250 2.0.0 Done nothing");
    }
}

fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn places_are_counted_and_come_free_again() {
    let receiver = start(Options { max_connections: 2, ..options() });
    let one = Client::welcome(receiver.address).await;
    let _two = Client::welcome(receiver.address).await;
    let mut three = Client::connect(receiver.address).await;
    assert_eq!(three.line().await, "421 4.3.2 Too many connections; try again later");
    assert!(three.closed().await);
    drop(one);
    // The receiver has yet to see that the first one left.
    timeout(PATIENCE, async {
        while !Client::connect(receiver.address).await.line().await.starts_with("220 ") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_client_that_is_idle_for_longest_gives_way() {
    let receiver = start(Options { max_connections: 3, give_way: Duration::ZERO, ..options() });
    let mut busy = Client::welcome(receiver.address).await;
    busy.open_mail().await;
    let mut longest = Client::welcome(receiver.address).await;
    // The clients are to differ in how long they have been idle, which counts milliseconds.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut later = Client::welcome(receiver.address).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let _fourth = Client::welcome(receiver.address).await;
    assert_eq!(longest.line().await, "421 4.3.2 Idle, and others wait for a connection");
    assert!(longest.closed().await);
    assert_eq!(later.ask("NOOP\r\n").await, "250 2.0.0 Done nothing");
    assert_eq!(busy.ask(".\r\n").await, "250 2.0.0 Stored");
}

#[tokio::test]
async fn one_address_gets_its_share_and_relays_get_more() {
    let receiver = start(Options { max_connections_per_ip: 2, ..options() });
    let _one = Client::welcome(receiver.address).await;
    let _two = Client::welcome(receiver.address).await;
    let mut three = Client::connect(receiver.address).await;
    assert_eq!(three.line().await, "421 4.7.0 Too many connections from your address");
    assert!(three.closed().await);
    // A new configuration holds for the connections that begin after it.
    let relays = vec!["127.0.0.0/8".parse().unwrap()];
    let session = SessionConfig { relays, ..session() };
    let options = Options { max_connections_per_ip: 2, ..Options::new(session, None) };
    receiver.options.send(Arc::new(options)).unwrap();
    let _four = Client::welcome(receiver.address).await;
    let _five = Client::welcome(receiver.address).await;
}

#[tokio::test]
async fn a_panic_in_the_handler_is_trouble_for_one_mail_only() {
    let receiver = start(options());
    let mut client = Client::welcome(receiver.address).await;
    for _ in 0..6 {
        client.open_mail().await;
        let reply = client.ask("panic\r\n.\r\n").await;
        assert_eq!(reply, "451 4.3.0 Trouble here; try again later");
    }
    client.open_mail().await;
    assert_eq!(client.ask("fine\r\n.\r\n").await, "250 2.0.0 Stored");
}

#[tokio::test]
async fn a_verdict_that_does_not_come_is_trouble() {
    let receiver = start(Options { answer: Duration::from_millis(50), ..options() });
    let mut client = Client::welcome(receiver.address).await;
    client.open_mail().await;
    assert_eq!(client.ask("never\r\n.\r\n").await, "451 4.3.0 No verdict in time; try again later");
    assert_eq!(client.ask("NOOP\r\n").await, "250 2.0.0 Done nothing");
}

#[tokio::test]
async fn a_mail_is_decided_even_when_its_client_leaves() {
    let mut receiver = start(options());
    let mut client = Client::welcome(receiver.address).await;
    client.open_mail().await;
    client.say("wait\r\n.\r\n").await;
    drop(client);
    receiver.gate.add_permits(1);
    let arrival = timeout(PATIENCE, receiver.arrivals.recv()).await.unwrap().unwrap();
    assert_eq!(arrival.raw, b"wait\r\n");
    assert_eq!(arrival.peer, Some("127.0.0.1".parse().unwrap()));
    assert!(arrival.received.as_secs() > 1_700_000_000);
}

#[tokio::test]
async fn what_was_sent_before_the_client_closed_its_side_is_answered() {
    let mut receiver = start(options());
    let mut client = Client::welcome(receiver.address).await;
    client.say(ENVELOPE).await;
    client.say("text\r\n.\r\nQUIT\r\n").await;
    client.0.get_mut().shutdown().await.unwrap();
    let mut said = String::new();
    timeout(PATIENCE, client.0.read_to_string(&mut said)).await.unwrap().unwrap();
    assert!(said.ends_with("250 2.0.0 Stored\r\n221 2.0.0 Goodbye\r\n"), "{said}");
    assert_eq!(receiver.arrivals.recv().await.unwrap().raw, b"text\r\n");
}

#[tokio::test]
async fn stopping_finishes_what_is_under_way_and_nothing_else() {
    let mut receiver = start(options());
    let mut idle = Client::welcome(receiver.address).await;
    let mut sending = Client::welcome(receiver.address).await;
    sending.open_mail().await;
    let mut waiting = Client::welcome(receiver.address).await;
    waiting.open_mail().await;
    waiting.say("wait\r\n.\r\n").await;
    receiver.stop.send(true).unwrap();
    assert_eq!(idle.line().await, "421 4.3.2 The service stops; try again later");
    assert!(idle.closed().await);
    drop(idle);
    assert_eq!(sending.ask("late\r\n.\r\n").await, "250 2.0.0 Stored");
    assert_eq!(sending.line().await, "421 4.3.2 The service stops; try again later");
    assert!(sending.closed().await);
    drop(sending);
    assert!(TcpStream::connect(receiver.address).await.is_err(), "nobody is accepted any more");
    assert!(!receiver.ended.is_finished());
    receiver.gate.add_permits(1);
    assert_eq!(waiting.line().await, "250 2.0.0 Stored");
    assert!(waiting.line().await.starts_with("421 4.3.2"));
    drop(waiting);
    timeout(PATIENCE, receiver.ended).await.unwrap().unwrap();
    assert_eq!(receiver.arrivals.recv().await.unwrap().raw, b"late\r\n");
    assert_eq!(receiver.arrivals.recv().await.unwrap().raw, b"wait\r\n");
}

#[tokio::test]
async fn stopping_has_an_end() {
    let receiver = start(Options { drain: Duration::from_millis(50), ..options() });
    let mut client = Client::welcome(receiver.address).await;
    client.open_mail().await;
    client.say("never\r\n.\r\n").await;
    let mut sending = Client::welcome(receiver.address).await;
    sending.open_mail().await;
    drop(receiver.stop);
    timeout(PATIENCE, receiver.ended).await.unwrap().unwrap();
    // Cut off without a word: the mail is still the client's.
    assert!(client.closed().await);
    assert!(sending.closed().await);
}

#[tokio::test]
async fn big_mails_wait_when_the_memory_is_used_up() {
    let receiver = start(Options { max_buffered: 300_000, ..options() });
    let mut big = Client::welcome(receiver.address).await;
    big.open_mail().await;
    let text = format!("wait\r\n{}", "x".repeat(250_000));
    big.say(&text).await;
    big.say("\r\n.\r\n").await;
    let mut other = Client::welcome(receiver.address).await;
    other.open_mail().await;
    let reply = other.ask(&format!("{}\r\n.\r\n", "y".repeat(200_000))).await;
    assert_eq!(reply, "452 4.3.1 No room for this mail at present; try again later");
    other.open_mail().await;
    assert_eq!(other.ask("small\r\n.\r\n").await, "250 2.0.0 Stored");
    receiver.gate.add_permits(1);
    assert_eq!(big.line().await, "250 2.0.0 Stored");
    other.open_mail().await;
    let reply = other.ask(&format!("{}\r\n.\r\n", "y".repeat(200_000))).await;
    assert_eq!(reply, "250 2.0.0 Stored");
}

#[tokio::test]
async fn the_last_word_arrives_though_the_client_goes_on_sending() {
    let receiver = start(options());
    for _ in 0..20 {
        let mut client = Client::welcome(receiver.address).await;
        client.say(&"X\r\n".repeat(20_000)).await;
        let mut last = String::new();
        loop {
            let line = client.line().await;
            if line.is_empty() {
                break;
            }
            last = line;
        }
        assert_eq!(last, "421 4.7.0 Too many errors");
    }
}

fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_client_delivers_over_tls() {
    let tls = tls_files("key.pem").acceptor().unwrap().into();
    let mut receiver = start(Options::new(session(), Some(tls)));
    let address = receiver.address;
    let sent = tokio::task::spawn_blocking(move || {
        let tls = TlsParameters::builder("mx.example.org".to_owned())
            .dangerous_accept_invalid_certs(true)
            .build()
            .unwrap();
        let mail = Message::builder()
            .from("ann@a.example".parse().unwrap())
            .to("cmr@example.org".parse().unwrap())
            .subject("hello")
            .body("first\r\n.second\r\n".to_owned())
            .unwrap();
        let transport = SmtpTransport::builder_dangerous("127.0.0.1")
            .port(address.port())
            .tls(Tls::Required(tls))
            .build();
        transport.send(&mail).unwrap();
    });
    let arrival = timeout(PATIENCE, receiver.arrivals.recv()).await.unwrap().unwrap();
    sent.await.unwrap();
    assert!(arrival.tls);
    assert_eq!(arrival.sender.as_deref(), Some("ann@a.example"));
    assert_eq!(arrival.recipients, ["cmr@example.org"]);
    let text = String::from_utf8(arrival.raw).unwrap();
    assert!(text.contains("\r\n\r\nfirst\r\n.second\r\n"), "{text}");
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_loses_only_its_own_connection() {
    let tls = tls_files("key.pem").acceptor().unwrap().into();
    let mut session = session();
    session.limits.handshake = Duration::from_millis(50);
    let receiver = start(Options::new(session, Some(tls)));
    let mut wrong = Client::welcome(receiver.address).await;
    assert_eq!(wrong.ask("STARTTLS\r\n").await, "220 2.0.0 Begin TLS");
    wrong.say("EHLO in clear\r\n").await;
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, wrong.0.read_to_end(&mut rest)).await.unwrap();
    assert!(!rest.starts_with(b"250"), "answered in clear");
    let mut silent = Client::welcome(receiver.address).await;
    assert_eq!(silent.ask("STARTTLS\r\n").await, "220 2.0.0 Begin TLS");
    assert!(silent.closed().await);
    Client::welcome(receiver.address).await;
}

/// The certificate of the tests with one of the keys.
fn tls_files(key: &str) -> TlsFiles {
    TlsFiles { certificate: tls_file("cert.pem"), key: tls_file(key) }
}

#[test]
fn unusable_tls_files_are_named() {
    for (key, said) in [
        ("sec1-key.pem", "openssl pkcs8 -topk8"),
        ("missing.pem", "missing.pem"),
        ("cert.pem", "holds no key"),
        ("other-key.pem", "does not belong to the certificate"),
    ] {
        let error = tls_files(key).acceptor().err().unwrap().to_string();
        assert!(error.contains(said), "{key}: {error}");
    }
    let swapped = TlsFiles { certificate: tls_file("key.pem"), key: tls_file("key.pem") };
    assert!(swapped.acceptor().err().unwrap().to_string().contains("holds no certificate"));
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = first.local_addr().unwrap();
    let error = bind(address).err().unwrap();
    assert_eq!(error.address, address);
    assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")));
}
