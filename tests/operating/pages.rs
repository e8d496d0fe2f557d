//! The pages of a running daemon, as a client on the wire sees them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::post;
use super::support::daemon::{Config, House, PATIENCE};
use super::support::sink::Sink;

fn config(sink: &Sink) -> Config {
    Config::new().trusting_loopback().smarthost(sink.address()).text("web", "listen", "127.0.0.1:0").text(
        "web",
        "users",
        "web-users",
    )
}

/// A house whose pages Anna may log in to.
pub(crate) fn house() -> (House, Sink) {
    let sink = Sink::start();
    let house = House::new(&config(&sink));
    let line = house.run(&["web-user", "anna"], b"a long password\n");
    assert!(line.status.success(), "{line:?}");
    let users = house.dir().join("web-users");
    std::fs::write(&users, line.stdout).unwrap();
    std::fs::set_permissions(&users, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    (house, sink)
}

/// What is answered to these bytes, until the connection is closed.
fn say(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who is refused early may be gone before all is written.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: SocketAddr, path: &str) -> String {
    say(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// A connection from this address of this machine.
fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether a page is given on this connection.
fn asks(mut stream: TcpStream) -> bool {
    let to = stream.peer_addr().unwrap();
    let head = format!("GET /login HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200 OK\r\n")
}

/// One client can't take all connections to the pages.
#[test]
fn nobody_takes_all_connections() {
    let (house, _sink) = house();
    let daemon = house.start();
    let web = daemon.address("web");
    let held: Vec<_> = (0..16).map(|_| connect([127, 0, 0, 5], web)).collect();
    assert!(!asks(connect([127, 0, 0, 5], web)), "the seventeenth of one client");
    assert!(asks(connect([127, 0, 0, 6], web)), "another client");
    drop(held);
    house.until("there is room again", |_| asks(connect([127, 0, 0, 5], web)).then_some(()));
    assert!(daemon.stop().success());
}

#[test]
fn the_pages_show_what_the_gateway_has_and_change_the_queue() {
    let (house, sink) = house();
    let daemon = house.start();
    let web = daemon.address("web");
    sink.refuse("ann@a.test", &["451 4.3.0 not now"; 1000]);
    let id = post(&daemon, "ann@a.test", "Planets", "Jupiter is the largest planet of all.");
    house.until("it was tried", |house| {
        house.json(&["queue", "list"])[0]["last_error"].as_str().filter(|it| !it.is_empty()).map(|_| ())
    });

    let page = get(web, "/search?q=the%20LARGEST+planet");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("<mark>largest</mark>"), "{page}");
    let page = get(web, &format!("/m/{id}"));
    for part in
        ["Jupiter is the largest planet of all.", "The way it came", "The decision", "What happened to it"]
    {
        assert!(page.contains(part), "{part} in {page}");
    }
    let page = get(web, "/queue/1");
    assert!(page.contains("&lt; 451 4.3.0 not now") && page.contains("&gt; EHLO mx.home.test"), "{page}");
    for path in ["/", "/now", "/queue", "/peers", "/asides", "/mailboxes", "/login", "/api/openapi.json"] {
        assert!(get(web, path).starts_with("HTTP/1.1 200 OK\r\n"), "{path}");
    }
    // The JSON of the verbs.
    let body = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    let shown: serde_json::Value =
        serde_json::from_str(&body(&get(web, &format!("/api/messages/{id}")))).unwrap();
    assert_eq!(shown[0]["id"], id.as_str());
    let change = |credentials: &str| {
        say(
            web,
            &format!(
                "POST /api/queue/1/hold HTTP/1.1\r\nHost: {web}\r\n{credentials}Content-Length: 0\r\nConnection: close\r\n\r\n"
            ),
        )
    };
    assert!(change("").starts_with("HTTP/1.1 401 "));
    assert!(change("Authorization: Basic YW5uYTpndWVzcw==\r\n").starts_with("HTTP/1.1 401 "), "anna:guess");
    // anna:a long password
    let answer = change("Authorization: Basic YW5uYTphIGxvbmcgcGFzc3dvcmQ=\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    house.until("it is held", |house| (house.json(&["queue", "list"])[0]["state"] == "held").then_some(()));
    assert!(daemon.stop().success());
    let log = house.log();
    assert!(log.contains("a login to the pages failed") && log.contains("changed by the pages"), "{log}");
    assert!(!log.contains("a long password") && !log.contains("guess") && !log.contains("LARGEST"), "{log}");
}

#[test]
fn hostile_clients_cost_little_and_others_notice_nothing() {
    let (house, _sink) = house();
    let daemon = house.start();
    let web = daemon.address("web");
    let long = "x".repeat(100_000);
    for (request, answer) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: {web}\r\n\r\n"), "HTTP/1.1 4"),
        (format!("GET / HTTP/1.1\r\nHost: {web}\r\nX: {long}\r\n\r\n"), "HTTP/1.1 431"),
        (
            format!(
                "POST /login HTTP/1.1\r\nHost: {web}\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n{long}"
            ),
            "HTTP/1.1 413",
        ),
        (format!("PUT / HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n"), "HTTP/1.1 405"),
        (format!("GET /%zz HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n"), "HTTP/1.1 400"),
        (
            format!("GET /static/../../etc/passwd HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n"),
            "HTTP/1.1 404",
        ),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(), "HTTP/1.1 421"),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "HTTP/1.0 421"),
        ("\u{16}\u{3}\u{1} this is no HTTP\r\n\r\n".to_owned(), "HTTP/1.1 400"),
    ] {
        let said = say(web, &request);
        assert!(said.starts_with(answer), "{answer} to {:.60}: {said}", request);
    }
    // However many connections a client holds and says nothing, others have theirs; and so has it, once
    // its own are closed for that.
    let mut silent: Vec<TcpStream> = (0..80).map(|_| connect([127, 0, 0, 5], web)).collect();
    assert!(get(web, "/").starts_with("HTTP/1.1 200 OK"));
    let begun = Instant::now();
    for stream in &mut silent {
        let _ = stream.read(&mut [0; 1]);
    }
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    house.until("there is room again", |_| asks(connect([127, 0, 0, 5], web)).then_some(()));
    let head = say(web, &format!("HEAD / HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n"));
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(daemon.stop().success());
}

#[test]
fn in_the_open_there_is_tls_and_a_login() {
    let (house, sink) = house();
    let tls = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    for file in ["cert.pem", "key.pem"] {
        std::fs::copy(tls.join(file), house.dir().join(file)).unwrap();
    }
    house.configure(&config(&sink).text("web", "listen", "0.0.0.0:0").set(
        "web",
        "tls",
        r#"{ certificate = "cert.pem", key = "key.pem" }"#,
    ));
    let daemon = house.start();
    let web = SocketAddr::from(([127, 0, 0, 1], daemon.address("web").port()));
    let connector = native_tls::TlsConnector::builder().danger_accept_invalid_certs(true).build().unwrap();
    let ask = |path: &str, more: &str| {
        let mut stream = connector.connect("localhost", TcpStream::connect(web).unwrap()).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: mx.home.test\r\n{more}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = ask("/now", "");
    assert!(answer.starts_with("HTTP/1.1 303") && answer.contains("location: /login"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age="), "{answer}");
    assert!(ask("/metrics", "").starts_with("HTTP/1.1 401"));
    let known = "Authorization: Basic YW5uYTphIGxvbmcgcGFzc3dvcmQ=\r\n";
    assert!(ask("/metrics", known).contains("cmr_mail_uptime_seconds"));
    assert!(!get(web, "/now").contains("200 OK"), "nothing without TLS");
    assert!(daemon.stop().success());
}

#[test]
fn users_names_and_certificates_are_read_again_and_the_address_waits_for_a_restart() {
    let (house, sink) = house();
    let daemon = house.start();
    let web = daemon.address("web");
    let ask = |host: &str, login: &str| {
        let request = format!("GET /api/status HTTP/1.1\r\nHost: {host}\r\n{login}Connection: close\r\n\r\n");
        say(web, &request)
    };
    // anna:a long password, bob:another long password
    let anna = "Authorization: Basic YW5uYTphIGxvbmcgcGFzc3dvcmQ=\r\n";
    let bob = "Authorization: Basic Ym9iOmFub3RoZXIgbG9uZyBwYXNzd29yZA==\r\n";
    assert!(ask("localhost", anna).starts_with("HTTP/1.1 200 "));
    assert!(ask("pages.test", "").starts_with("HTTP/1.1 421 "));
    let changed = config(&sink).set("web", "hosts", r#"["pages.test"]"#);

    // What can't be used changes nothing.
    let users = house.dir().join("web-users");
    let old = std::fs::read(&users).unwrap();
    std::fs::write(&users, "no line of a user\n").unwrap();
    house.configure(&changed);
    daemon.reload();
    house.until("it is refused", |house| house.log().contains("the old configuration stays").then_some(()));
    assert!(ask("localhost", anna).starts_with("HTTP/1.1 200 "));
    assert!(ask("pages.test", "").starts_with("HTTP/1.1 421 "));
    std::fs::write(&users, old).unwrap();

    let line = house.run(&["web-user", "bob"], b"another long password\n");
    std::fs::write(&users, line.stdout).unwrap();
    house.configure(&changed.clone().text("web", "listen", "127.0.0.1:1"));
    daemon.reload();
    house.until("it was read again", |house| house.log().contains("read again").then_some(()));
    assert!(ask("pages.test", anna).starts_with("HTTP/1.1 401 "));
    assert!(ask("pages.test", bob).starts_with("HTTP/1.1 200 "));
    let log = house.log();
    let named: Vec<&str> = log.lines().filter(|line| line.contains("at the next start only")).collect();
    assert!(named.len() == 1 && named[0].contains("[web] listen"), "{named:?}");

    // A proxy in front from now on, and a certificate.
    let tls = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    for file in ["cert.pem", "key.pem"] {
        std::fs::copy(tls.join(file), house.dir().join(file)).unwrap();
    }
    let pair = r#"{ certificate = "cert.pem", key = "key.pem" }"#;
    house.configure(&changed.set("web", "tls", pair));
    daemon.reload();
    let connector = native_tls::TlsConnector::builder().danger_accept_invalid_certs(true).build().unwrap();
    house.until("it speaks TLS", |_| {
        connector.connect("localhost", TcpStream::connect(web).unwrap()).ok().map(drop)
    });
    assert!(daemon.stop().success());
}
