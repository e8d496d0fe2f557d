//! Mail to the hosts of its recipients: which are tried, in which order, and what their words mean.

use super::scripted::Scripted;
use cmr_mail::dns::LookUpError;
use cmr_mail::send::mailto::{Deadlines, Direct, MailHosts, Mailto, Reuse, Submission, Told};
use cmr_mail::send::outcome::Outcome;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

/// A DNS of a few names.
#[derive(Clone, Default)]
struct Names {
    mx: BTreeMap<String, Vec<(u16, String)>>,
    ips: BTreeMap<String, Vec<IpAddr>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl MailHosts for Names {
    fn mail_hosts<'a>(&'a self, domain: &'a str) -> Told<'a, Vec<(u16, String)>> {
        self.asked.lock().expect("lock").push(format!("MX {domain}"));
        Box::pin(async move {
            match domain {
                "nowhere.test" => Err(LookUpError::NoName),
                "silent.test" => Err(LookUpError::Trouble("SERVFAIL".to_owned())),
                _ => Ok(self.mx.get(domain).cloned().unwrap_or_default()),
            }
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Told<'a, Vec<IpAddr>> {
        self.asked.lock().expect("lock").push(format!("A {host}"));
        Box::pin(async move {
            match host {
                "silent-host.test" => Err(LookUpError::Trouble("nothing in time".to_owned())),
                _ => Ok(self.ips.get(host).cloned().unwrap_or_default()),
            }
        })
    }
}

/// Listeners at addresses of loopback of their own, all at the same port.
fn places<const N: usize>() -> ([TcpListener; N], u16) {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    loop {
        let ips: [Ipv4Addr; N] =
            std::array::from_fn(|_| Ipv4Addr::new(127, 77, NEXT.fetch_add(1, Ordering::Relaxed), 1));
        let first = TcpListener::bind((ips[0], 0)).expect("bind");
        let port = first.local_addr().expect("address").port();
        let mut all = vec![first];
        all.extend(ips[1..].iter().filter_map(|ip| TcpListener::bind((*ip, port)).ok()));
        if let Ok(all) = all.try_into() {
            return (all, port);
        }
    }
}

const HELLO: [&str; 3] = ["S 220 mx", "C EHLO gw.example", "S 250 mx"];
const MAIL: [&str; 8] = [
    "C MAIL FROM:<bounces@gw.example>",
    "S 250 ok",
    "C RCPT TO:<ann@people.test>",
    "S 250 ok",
    "C DATA",
    "S 354 go",
    "M Subject: s\\r\\n\\r\\nhello",
    "S 250 2.0.0 taken",
];

fn steps(parts: &[&[&str]]) -> Vec<String> {
    parts.concat().into_iter().map(str::to_owned).collect()
}

/// In clear: greeted twice, once to ask about TLS.
fn in_clear(rest: &[&str]) -> Vec<String> {
    steps(&[&HELLO, &HELLO[1..], rest])
}

fn mailto(names: &Names, port: u16, networks: &[&str]) -> Mailto {
    let networks = networks.iter().map(|network| network.parse().expect("a network")).collect();
    let direct = Direct { hosts: Arc::new(names.clone()), port, networks };
    Mailto::direct(direct, "gw.example", Deadlines::default(), Reuse::default()).expect("mailto")
}

fn to(recipient: &str, configured: bool) -> Submission {
    Submission {
        envelope_sender: Some("bounces@gw.example".to_owned()),
        recipient: recipient.to_owned(),
        mail: super::MAIL.to_vec(),
        configured,
    }
}

async fn submit(mailto: &Mailto, submission: &Submission) -> String {
    match mailto.submit(submission).await {
        Ok(receipt) => format!("done {}{}", receipt.reply, if receipt.reused { " again" } else { "" }),
        Err(error) => match error.outcome() {
            Outcome::Done(reply) => panic!("an error is done: {reply}"),
            Outcome::Retry { trouble, reason } => format!("retry {trouble} {reason}"),
            Outcome::Fail { reason, reply } => {
                format!("fail {reason} / {}", reply.map(|reply| reply.to_string()).unwrap_or_default())
            }
            Outcome::Unrelated { reason } => panic!("no mail host is asked first: {reason}"),
        },
    }
}

async fn finish(server: Scripted) {
    tokio::task::spawn_blocking(|| server.finish()).await.expect("joined").expect("script");
}

/// The DNS says no, or says where nothing may go: nobody is connected to.
#[tokio::test]
async fn what_the_dns_says_is_the_end() {
    let ([listener], port) = places::<1>();
    listener.set_nonblocking(true).expect("nonblocking");
    let here = listener.local_addr().expect("address").ip();
    let mut names = Names::default();
    let mut add = |domain: &str, mx: &[(u16, &str)]| {
        names.mx.insert(domain.to_owned(), mx.iter().map(|(n, host)| (*n, (*host).to_owned())).collect());
    };
    add("null.test", &[(0, "")]);
    add("loop.test", &[(10, "gw.example"), (20, "mx.private.test")]);
    add("hostless.test", &[(10, "gone.test")]);
    add("slow.test", &[(10, "gone.test"), (20, "silent-host.test")]);
    add("private.test", &[(10, "mx.private.test")]);
    add("inside.test", &[(10, "mx.inside.test"), (20, "mx6.inside.test")]);
    names.ips.insert("mx.private.test".to_owned(), vec![here]);
    names.ips.insert("bare.test".to_owned(), vec![here]);
    names.ips.insert("mx.inside.test".to_owned(), vec!["10.0.0.1".parse().expect("ip")]);
    names.ips.insert("mx6.inside.test".to_owned(), vec!["::ffff:127.0.0.1".parse().expect("ip")]);
    let mailto = mailto(&names, port, &[]);
    for (recipient, expected) in [
        (
            "ann@nowhere.test",
            "fail there is no domain nowhere.test / 550 5.1.2 there is no domain nowhere.test",
        ),
        ("ann@silent.test", "retry network silent.test: no answer from the DNS: SERVFAIL"),
        (
            "ann@null.test",
            "fail null.test takes no mail (null MX, RFC 7505) / 550 5.1.10 null.test takes no mail (null MX, RFC 7505)",
        ),
        (
            "ann@loop.test",
            "fail loop.test names this host as the one that takes its mail, and its mail does not end here / \
             550 5.4.6 loop.test names this host as the one that takes its mail, and its mail does not end here",
        ),
        (
            "ann@hostless.test",
            "fail no mail host of hostless.test has an address / 550 5.4.4 no mail host of hostless.test has an address",
        ),
        (
            "ann@empty.test",
            "fail no mail host of empty.test has an address / 550 5.4.4 no mail host of empty.test has an address",
        ),
        ("ann@slow.test", "retry network silent-host.test: no answer from the DNS: nothing in time"),
    ] {
        assert_eq!(submit(&mailto, &to(recipient, false)).await, expected, "{recipient}");
    }
    for domain in ["private.test", "bare.test", "inside.test"] {
        let got = submit(&mailto, &to(&format!("ann@{domain}"), false)).await;
        assert!(
            got.starts_with("fail mailto:ann@") && got.contains("not reachable from everywhere"),
            "{got}"
        );
        assert!(got.ends_with(" / "), "no report counts against the address: {got}");
    }
    let met = listener.accept();
    assert!(met.is_err(), "somebody was connected to: {met:?}");
}

/// The best host first; who is not there or puts us off leaves it to the next one; a connection is kept
/// for the domain alone.
#[tokio::test]
async fn hosts_are_tried_in_their_order() {
    let ([closed, busy, taking, other], port) = places::<4>();
    let ip = |listener: &TcpListener| vec![listener.local_addr().expect("address").ip()];
    let mut names = Names::default();
    names.ips.insert("mx1.people.test".to_owned(), ip(&closed));
    names.ips.insert("mx2.people.test".to_owned(), ip(&busy));
    names.ips.insert("mx3.people.test".to_owned(), ip(&taking));
    names.ips.insert("other.test".to_owned(), ip(&other));
    drop(closed);
    names.mx.insert(
        "people.test".to_owned(),
        vec![
            (30, "mx3.people.test".to_owned()),
            (10, "mx1.people.test".to_owned()),
            (20, "mx2.people.test".to_owned()),
        ],
    );
    let busy = Scripted::play_at(busy, steps(&[&["S 421 4.3.2 too busy", "X"]]));
    let end = ["C QUIT", "S 221 bye"];
    let taking = Scripted::play_at(taking, in_clear(&[&MAIL[..], &MAIL[..], &end].concat()));
    let to_other: Vec<String> = in_clear(&[&MAIL[..], &end].concat());
    let to_other = to_other.into_iter().map(|step| step.replace("ann@people.test", "bob@other.test"));
    let other = Scripted::play_at(other, to_other.collect());
    let mailto = mailto(&names, port, &["127.0.0.0/8"]);
    assert_eq!(submit(&mailto, &to("ann@people.test", false)).await, "done 250 2.0.0 taken");
    // Without MX records the domain is its own host, and no connection for another one serves it.
    assert_eq!(submit(&mailto, &to("bob@other.test", false)).await, "done 250 2.0.0 taken");
    assert_eq!(submit(&mailto, &to("ann@people.test", false)).await, "done 250 2.0.0 taken again");
    mailto.close().await;
    for server in [busy, taking, other] {
        finish(server).await;
    }
    let asked = names.asked.lock().expect("lock").clone();
    assert_eq!(asked.iter().filter(|it| *it == "MX people.test").count(), 1, "{asked:?}");
}

/// A word for good about the recipient is the end; one that puts us off is asked of the next host as well.
#[tokio::test]
async fn words_of_the_hosts() {
    let refused = [
        "C MAIL FROM:<bounces@gw.example>",
        "S 250 ok",
        "C RCPT TO:<ann@people.test>",
        "S 550 5.1.1 no such user",
    ];
    let put_off = [
        "C MAIL FROM:<bounces@gw.example>",
        "S 250 ok",
        "C RCPT TO:<ann@people.test>",
        "S 450 4.2.0 greylisted",
    ];
    let end = ["C QUIT", "S 221 bye"];
    let table: [(Vec<Vec<String>>, &str); 4] = [
        (
            vec![in_clear(&[&refused[..], &end].concat())],
            "fail RCPT TO: 550 5.1.1 no such user / 550 5.1.1 no such user",
        ),
        (
            vec![in_clear(&[&put_off[..], &end].concat()), in_clear(&[&MAIL[..], &end].concat())],
            "done 250 2.0.0 taken",
        ),
        (
            vec![in_clear(&[&put_off[..], &end].concat()), in_clear(&[&put_off[..], &end].concat())],
            "retry later RCPT TO: 450 4.2.0 greylisted",
        ),
        // Blocked by the first one, which is its own affair.
        (
            vec![steps(&[&["S 554 5.7.1 go away", "H"]]), in_clear(&[&MAIL[..], &end].concat())],
            "done 250 2.0.0 taken",
        ),
    ];
    for (scripts, expected) in table {
        let (listeners, port) = places::<2>();
        let mut names = Names::default();
        let mut servers = Vec::new();
        let mut mx = Vec::new();
        for (number, (listener, script)) in (0_u16..).zip(listeners.into_iter().zip(scripts)) {
            let host = format!("mx{number}.people.test");
            names.ips.insert(host.clone(), vec![listener.local_addr().expect("address").ip()]);
            mx.push((number, host));
            servers.push(Scripted::play_at(listener, script));
        }
        names.mx.insert("people.test".to_owned(), mx);
        // Named by the operator: its hosts may be anywhere.
        let mailto = mailto(&names, port, &[]);
        assert_eq!(submit(&mailto, &to("ann@people.test", true)).await, expected);
        mailto.close().await;
        for server in servers {
            finish(server).await;
        }
    }
}

/// TLS where it is offered, whoever the certificate is of; in clear where it fails.
#[tokio::test]
async fn tls_is_taken_where_it_is_offered() {
    let offers = ["S 220 mx", "C EHLO gw.example", "S 250-mx", "S 250 STARTTLS", "C STARTTLS"];
    let end = ["C QUIT", "S 221 bye"];
    let table = [
        steps(&[&offers, &["S 220 go", "TLS server"], &HELLO[1..], &MAIL, &end]),
        // It offers what it can't.
        steps(&[&offers, &["S 454 4.7.0 no TLS at present", "H", "--"], &HELLO, &MAIL, &end]),
        steps(&[&offers, &["S 220 go", "X", "--"], &HELLO, &MAIL, &end]),
    ];
    for script in table {
        let ([listener], port) = places::<1>();
        let mut names = Names::default();
        names.ips.insert("people.test".to_owned(), vec![listener.local_addr().expect("address").ip()]);
        let server = Scripted::play_at(listener, script.clone());
        let mailto = mailto(&names, port, &["127.0.0.0/8"]);
        let got = submit(&mailto, &to("ann@people.test", false)).await;
        assert_eq!(got, "done 250 2.0.0 taken", "{script:?}");
        mailto.close().await;
        finish(server).await;
    }
}
