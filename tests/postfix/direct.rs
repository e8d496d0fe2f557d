//! Mail straight to the mail hosts of its recipients: the DNS says where, and a Postfix takes it.

use std::net::{IpAddr, Ipv4Addr};

use crate::server::{Postfix, Setup, can_run};
use crate::support::client::Client;
use crate::support::daemon::{Config, Daemon, House, until};
use crate::support::dns::NameServer;
use crate::support::messages::Mail;

fn config(dns: &NameServer, port: u16, networks: &str) -> Config {
    Config::new()
        .trusting_loopback()
        .without("send", "smarthost")
        .set("send", "direct", "true")
        .set("send", "direct_port", port.to_string())
        .set("send", "direct_networks", networks)
        .set("authentication", "dns", format!("[\"{}\"]", dns.address()))
}

/// A post of this person, which is answered.
fn asks(daemon: &Daemon, author: &str) {
    let mail = Mail::from(author)
        .field("Message-ID", &format!("<1.{author}>"))
        .field("Subject", "Planets")
        .text("What is the largest planet of the solar system?")
        .write();
    let mut client = Client::connect(daemon.smtp()).unwrap();
    assert_eq!(client.send(author, &["cmr@home.test"], &mail).unwrap().code, 250);
}

#[test]
fn answers_go_to_the_mail_hosts_of_their_recipients() {
    if !can_run() {
        return;
    }
    let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");
    let setup = Setup::default()
        .main("smtpd_tls_security_level", "may")
        .main("smtpd_tls_received_header", "yes")
        .main("smtpd_tls_cert_file", &format!("{tls}/server.pem"))
        .main("smtpd_tls_key_file", &format!("{tls}/server.key"));
    let postfix = Postfix::start(&setup, None);
    let IpAddr::V4(at) = postfix.plain.ip() else { panic!("{}", postfix.plain) };
    let dns = NameServer::start();
    // Nobody listens at the best host's address; the next one is Postfix.
    dns.exchanger("cmr.test", 20, "mx.cmr.test").exchanger("cmr.test", 10, "first.cmr.test");
    dns.host("mx.cmr.test", at).host("first.cmr.test", Ipv4Addr::new(127, 99, 0, 1));
    dns.exchanger("null.test", 0, "");
    dns.exchanger("inside.test", 10, "mx.inside.test").host("mx.inside.test", Ipv4Addr::new(10, 0, 0, 1));
    let house = House::new(&config(&dns, postfix.plain.port(), "[\"127.0.0.0/8\"]"));
    let daemon = house.start();
    for author in ["bob@cmr.test", "ann@null.test", "eve@nowhere.test", "ida@inside.test"] {
        asks(&daemon, author);
    }
    let row = |to: &str| {
        let to = format!("mailto:{to}");
        until(&format!("the mail to {to} is over, or was tried"), || {
            let all = house.json(&["queue", "list", "--all"]);
            let found = all.as_array()?.iter().find(|row| row["to"] == to)?.clone();
            let said = found["last_error"].as_str().is_some_and(|said| !said.is_empty());
            (found["state"] == "sent" || said).then_some(found)
        })
    };
    assert_eq!(row("bob@cmr.test")["state"], "sent");
    postfix.wait_until_empty();
    let mails = postfix.maildir();
    let [answer] = mails["bob@cmr.test"].as_slice() else { panic!("{:?}", mails.keys()) };
    let answer = String::from_utf8_lossy(answer);
    // The certificate is nobody's here, and that is no reason to send in clear.
    assert!(answer.contains("using TLSv1.") && answer.contains("from mx.home.test"), "{answer}");
    for (to, state, words) in [
        ("ann@null.test", "failed", "takes no mail (null MX"),
        ("eve@nowhere.test", "failed", "there is no domain nowhere.test"),
        ("ida@inside.test", "failed", "(10.0.0.1); list it as a peer"),
    ] {
        let row = row(to);
        let said = row["last_error"].as_str().unwrap_or_default();
        assert!(said.contains(words) && row["state"] == state, "{to}: {row}");
    }
    // An address that can't get mail gets no more, as after a report of the smarthost.
    let bounced = house.json(&["peers", "bounced"]).to_string();
    assert!(bounced.contains("ann@null.test") && bounced.contains("5.1.10"), "{bounced}");
    assert!(!bounced.contains("ida@inside.test"), "{bounced}");
    // `check` greets the operator's own mail host.
    let check = house.run(&["check"], b"");
    let said = String::from_utf8_lossy(&check.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("direct") && said.contains("there is no domain home.test"), "{said}");
    dns.exchanger("house.test", 10, "mx.cmr.test");
    let moved = config(&dns, postfix.plain.port(), "[]").text("gateway", "operator", "olga@house.test");
    house.configure(&moved);
    let check = house.run(&["check"], b"");
    let said = String::from_utf8_lossy(&check.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = format!("mail to olga@house.test would go to mx.cmr.test ({})", postfix.plain);
    assert!(said.contains(&expected), "{said}");
    assert!(daemon.stop().success());

    // Without a word of the operator nothing goes to loopback, but for the operator's own notices.
    let house = House::new(&config(&dns, postfix.plain.port(), "[]"));
    let daemon = house.start();
    let before = postfix.delivered();
    asks(&daemon, "bob@cmr.test");
    let refused = until("it is refused", || {
        let all = house.json(&["queue", "list", "--all"]);
        all.as_array()?.iter().find(|row| row["state"] == "failed").cloned()
    });
    assert!(refused["last_error"].as_str().unwrap().contains("not reachable from everywhere"), "{refused}");
    postfix.wait_until_empty();
    assert_eq!(postfix.delivered(), before);
    assert!(daemon.stop().success());
}
