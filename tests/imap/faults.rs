//! Servers that go away, are cut off, change their certificate or refuse the password.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::dovecot::{CERTIFICATE, Dovecot};
use super::reading::{house, post};
use super::support::daemon::{Config, House};

fn mailbox(house: &House, number: usize) -> serde_json::Value {
    house.json(&["status"])["mailboxes"][number].clone()
}

fn until_failing(house: &House, number: usize, words: &str) {
    house.until(&format!("the trouble {words:?}"), |house| {
        let found = mailbox(house, number);
        found["error"].as_str().unwrap().contains(words).then_some(())
    });
}

fn until_messages(house: &House, messages: u64) {
    house.until(&format!("{messages} messages"), |house| {
        (house.json(&["status"])["messages"] == messages).then_some(())
    });
}

#[test]
fn a_server_that_stops_is_found_again_and_delays_nobody() {
    let (mut first, second) = (Dovecot::start(), Dovecot::start());
    first.deliver("cmr", "INBOX", &post(1).write());
    let config = first.config("cmr", "").repeated(&second.account("alice", ""));
    let house = house(&config);
    let daemon = house.start();
    until_messages(&house, 1);
    first.stop();
    house.until("the trouble", |house| (mailbox(house, 0)["state"] == "failing").then_some(()));
    let begun = Instant::now();
    second.deliver("alice", "INBOX", &post(2).write());
    until_messages(&house, 2);
    assert!(begun.elapsed() < Duration::from_secs(30), "the other account waits: {:?}", begun.elapsed());
    assert_eq!(mailbox(&house, 1)["error"], "");
    first.deliver("cmr", "INBOX", &post(3).write());
    first.run();
    until_messages(&house, 3);
    house.until("no trouble", |house| (mailbox(house, 0)["error"] == "").then_some(()));
    assert!(daemon.stop().success());
}

/// Passes everything on, but hangs up after so many bytes from the server; each connection gets
/// further than the one before.
fn cutter(server: SocketAddr, first: u64, step: u64) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let nth = counted.fetch_add(1, Ordering::SeqCst);
            let mut left = first + nth * step;
            let Ok(server) = TcpStream::connect(server) else { continue };
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_client, &mut to_server);
            });
            std::thread::spawn(move || {
                let (mut server, mut client) = (server, client);
                let mut bytes = [0; 512];
                while let Ok(read) = server.read(&mut bytes) {
                    let pass = usize::try_from(left).unwrap_or(usize::MAX).min(read);
                    if read == 0 || client.write_all(&bytes[..pass]).is_err() {
                        break;
                    }
                    left -= pass as u64;
                    if left == 0 {
                        break;
                    }
                }
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    (address, connections)
}

#[test]
fn a_connection_that_is_cut_anywhere_loses_and_repeats_nothing() {
    let dovecot = Dovecot::start();
    const MAILS: usize = 60;
    for n in 1..=MAILS {
        dovecot.deliver("cmr", "INBOX", &post(n).write());
    }
    dovecot.make("cmr", "Done");
    let (cutter, connections) = cutter((Ipv4Addr::LOCALHOST, dovecot.imap).into(), 50, 997);
    let config = Config::new().text("policy", "who_may_post", "anyone").repeated(&format!(
        "[[imap]]\nname = \"cut\"\nhost = \"127.0.0.1\"\nport = {}\nsecurity = \"none\"\nuser = \"cmr\"\n\
         password_command = \"cat password\"\nafter = \"move:Done\"\n",
        cutter.port()
    ));
    let house = house(&config);
    let begun = Instant::now();
    loop {
        let output = house.run(&["poll", "--once"], b"");
        if output.status.success() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(connections.load(Ordering::SeqCst) > 10, "it was cut");
    assert_eq!(house.json(&["status"])["messages"], MAILS as u64);
    assert_eq!((dovecot.mails("cmr", "INBOX").len(), dovecot.mails("cmr", "Done").len()), (0, MAILS));
}

#[test]
fn another_certificate_is_not_spoken_to() {
    let mut dovecot = Dovecot::start();
    let lines = format!(
        "[[imap]]\nname = \"box\"\nhost = \"localhost\"\nport = {}\nuser = \"cmr\"\nca_file = {CERTIFICATE:?}\n\
         password_command = \"cat password\"\n",
        dovecot.imaps
    );
    let house = house(&Config::new().text("policy", "who_may_post", "anyone").repeated(&lines));
    let daemon = house.start();
    house.until("IDLE", |house| (mailbox(house, 0)["state"] == "idle").then_some(()));
    dovecot.stop();
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
    dovecot.set_certificate(&tls.join("server.pem"), &tls.join("server.key"));
    dovecot.run();
    until_failing(&house, 0, "certificate verify failed");
    // The session of before is over: what comes now can only be read by a new one.
    dovecot.deliver("cmr", "INBOX", &post(1).write());
    let output = house.run(&["poll", "--once"], b"");
    assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(
        dovecot.log().matches("Login: user=").count(),
        1,
        "no password for a stranger:\n{}",
        dovecot.log()
    );
    assert_eq!(house.json(&["status"])["messages"], 0);
    dovecot.stop();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    dovecot.set_certificate(&own.join("cert.pem"), &own.join("key.pem"));
    dovecot.run();
    until_messages(&house, 1);
    assert!(daemon.stop().success());
}

#[test]
fn a_refused_password_is_not_tried_again_and_again() {
    let mut dovecot = Dovecot::start();
    let house = house(&dovecot.config("cmr", ""));
    let daemon = house.start();
    house.until("IDLE", |house| (mailbox(house, 0)["state"] == "idle").then_some(()));
    dovecot.stop();
    dovecot.set_password("changed");
    dovecot.run();
    dovecot.deliver("cmr", "INBOX", &post(1).write());
    until_failing(&house, 0, "the login is refused");
    let next = mailbox(&house, 0)["next_try"].as_str().unwrap().to_owned();
    let wait = mail_parser::DateTime::parse_rfc3339(&next).unwrap().to_timestamp()
        - super::support::messages::now().as_secs();
    assert!((200..=330).contains(&wait), "the next try is in {wait} s");
    // Whoever mends it need not wait.
    std::fs::write(house.dir().join("password"), "changed\n").unwrap();
    let said = house.json(&["poll", "--once"]);
    assert_eq!(said[0]["error"], "", "{said}");
    until_messages(&house, 1);
    assert!(daemon.stop().success());
}
