//! The mail host of the demo: it is spoken to by our own submission, over real SMTP.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use cmr_mail::cli::demo::host::{MailHost, MailHostConfig, Step};
use cmr_mail::send::mailto::{Mailto, Receipt, SendError, Smarthost, Submission};
use cmr_mail::send::outcome::Outcome;
use std::net::SocketAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn host(mailboxes: &[&str]) -> MailHost {
    MailHost::start(MailHostConfig::new("mx.example", mailboxes)).expect("a host")
}

async fn submit(to: SocketAddr, recipient: &str, mail: &[u8]) -> Result<Receipt, SendError> {
    let client = Mailto::new(Smarthost::at(to), "gw.example").expect("a client");
    let result = client.submit(&mail_for(recipient, mail)).await;
    client.close().await;
    result
}

fn mail_for(recipient: &str, mail: &[u8]) -> Submission {
    Submission {
        envelope_sender: Some("bounces+4711@gw.example".to_owned()),
        recipient: recipient.to_owned(),
        mail: mail.to_vec(),
        configured: false,
    }
}

fn refusal(result: Result<Receipt, SendError>) -> String {
    match result.expect_err("refused").outcome() {
        Outcome::Fail { reason, .. } | Outcome::Unrelated { reason } => format!("fail {reason}"),
        Outcome::Retry { trouble, reason } => format!("retry {trouble} {reason}"),
        Outcome::Done(reply) => panic!("{reply}"),
    }
}

#[tokio::test]
async fn a_mail_arrives_byte_for_byte() {
    let host = host(&["ann@example.net", "bob@example.net"]);
    let mail = b"Subject: x\r\n\r\n.\r\n..two\r\n.three \xe4\xff\x00\r\n\r\n";
    submit(host.address(), "Ann+tag@Example.NET", mail).await.expect("taken");
    assert_eq!(host.mailbox("ann@example.net"), [mail.to_vec()]);
    assert!(host.mailbox("bob@example.net").is_empty());
    assert!(host.mailbox("nobody@example.net").is_empty());
    let event = host.traffic().next_within(PATIENCE).expect("an event for the mail");
    assert_eq!(event.step, Step::Delivered);
    assert_eq!(event.from, "bounces+4711@gw.example");
    assert_eq!(event.to, "Ann+tag@Example.NET");
    assert_eq!(&event.mail[..], mail);
}

#[tokio::test]
async fn it_is_no_open_relay_and_knows_its_mailboxes() {
    let host = host(&["ann@example.net"]);
    let to = |recipient| submit(host.address(), recipient, b"x\r\n");
    assert_eq!(refusal(to("carl@example.net").await), "fail RCPT TO: 550 5.1.1 no such mailbox here");
    assert_eq!(
        refusal(to("ann@elsewhere.example").await),
        "fail RCPT TO: 550 5.7.1 no route to this domain, and no open relay"
    );
}

#[tokio::test]
async fn the_known_faults_of_its_library_are_still_there() {
    // When one of these goes away, the head comment of the host is out of date.
    let host = host(&["ann@example.net"]);
    let client = Mailto::new(Smarthost::at(host.address()), "gw.example").expect("a client");
    let mut bounce = mail_for("ann@example.net", b"x");
    bounce.envelope_sender = None;
    let reason = refusal(client.submit(&bounce).await);
    assert!(reason.starts_with("fail MAIL FROM: 500"), "{reason}");
}

#[tokio::test]
async fn mail_goes_on_to_the_host_of_its_domain() {
    let ours = host(&["ann@one.example"]);
    let theirs = host(&["bob@two.example"]);
    ours.route("Two.example", theirs.address());
    let mail = b"Subject: on\r\n\r\n.dot\r\n";
    submit(ours.address(), "bob@two.example", mail).await.expect("taken");
    let found = theirs.wait_for(PATIENCE, |m| m.of("bob@two.example").first().cloned());
    assert_eq!(found.as_deref(), Some(&mail[..]));
    let event = ours.traffic().next_within(PATIENCE).expect("an event");
    let next = theirs.address();
    let reply = "250 2.0.0 ok".to_owned();
    assert_eq!(event.step, Step::Relayed { next, reply });
    assert!(ours.mailbox("ann@one.example").is_empty());
}

#[tokio::test]
async fn what_the_next_host_refuses_is_told_as_undelivered() {
    let ours = host(&["ann@one.example"]);
    let theirs = host(&["bob@two.example"]);
    ours.route("two.example", theirs.address());
    submit(ours.address(), "carl@two.example", b"x").await.expect("taken");
    let event = ours.traffic().next_within(PATIENCE).expect("an event");
    let Step::Undelivered { reason } = event.step else {
        panic!("{:?}", event.step);
    };
    assert!(reason.contains("550 5.1.1"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_full_of_sessions_do_not_wait_for_each_other() {
    const MAILS: usize = 60;
    let one = host(&["ann@one.example"]);
    let two = host(&["bob@two.example"]);
    one.route("two.example", two.address());
    two.route("one.example", one.address());
    let to_one = Mailto::new(Smarthost::at(one.address()), "gw.example").expect("client");
    let to_two = Mailto::new(Smarthost::at(two.address()), "gw.example").expect("client");
    let mut tasks = Vec::new();
    for (client, to) in [(&to_one, "bob@two.example"), (&to_two, "ann@one.example")] {
        // Three of the four sessions are kept busy from outside, on both.
        for _ in 0..3 {
            let client = client.clone();
            tasks.push(tokio::spawn(async move {
                for n in 0..MAILS / 3 {
                    let mail = format!("Subject: {n}\r\n\r\nx\r\n");
                    client.submit(&mail_for(to, mail.as_bytes())).await.expect("taken");
                }
            }));
        }
    }
    for task in tasks {
        task.await.expect("all taken");
    }
    for (host, mailbox) in [(&one, "ann@one.example"), (&two, "bob@two.example")] {
        let all = host.wait_for(PATIENCE, |m| (m.of(mailbox).len() == MAILS).then_some(()));
        assert!(all.is_some(), "{mailbox}: {}", host.mailbox(mailbox).len());
    }
}

#[tokio::test]
async fn bounds_are_reached() {
    let mut config = MailHostConfig::new("mx.example", &["ann@example.net"]);
    config.max_mail = 3000;
    config.max_kept = 4000;
    config.max_waiting = 1;
    // Nobody answers there: connections are taken by the system and that is all.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let next = silent.local_addr().expect("address");
    config.routes = vec![("far.example".to_owned(), next)];
    let host = MailHost::start(config).expect("a host");
    let to = |recipient, bytes| {
        let mail = [b"x".repeat(bytes), b"\r\n".to_vec()].concat();
        let address = host.address();
        async move { submit(address, recipient, &mail).await }
    };
    let later = |words: &str| format!("retry later the end of the mail: 421 4.3.{words}");
    assert_eq!(refusal(to("ann@example.net", 3000).await), later("4 too big for this host"));
    to("bob@far.example", 10).await.expect("the one that waits");
    assert_eq!(refusal(to("bob@far.example", 10).await), later("1 too many mails wait here already"));
    to("ann@example.net", 900).await.expect("there is room");
    assert_eq!(refusal(to("ann@example.net", 900).await), later("1 no room for this mail"));
}

#[tokio::test]
async fn maildirs_are_written_and_bad_mailboxes_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = MailHostConfig::new("mx.example", &["ann@example.net"]);
    config.maildirs = Some(folder.path().to_owned());
    let host = MailHost::start(config).expect("a host");
    for n in 0..3 {
        submit(host.address(), "ann@example.net", &[b'0' + n]).await.expect("taken");
    }
    let maildir = folder.path().join("ann@example.net");
    let mut mails: Vec<_> = std::fs::read_dir(maildir.join("new"))
        .expect("new")
        .map(|e| std::fs::read(e.expect("an entry").path()).expect("a mail"))
        .collect();
    mails.sort();
    assert_eq!(mails, [b"0\r\n", b"1\r\n", b"2\r\n"]);
    assert_eq!(std::fs::read_dir(maildir.join("tmp")).expect("tmp").count(), 0);

    for bad in ["ann", "@example.net", "ann@", "../ann@example.net"] {
        let config = MailHostConfig::new("mx.example", &[bad]);
        assert!(MailHost::start(config).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_closed_host_takes_nothing_and_ends_its_traffic() {
    let host = host(&["ann@example.net"]);
    let address = host.address();
    let mut traffic = host.traffic();
    let reader = std::thread::spawn(move || traffic.next_within(Duration::from_secs(3600)));
    drop(host);
    assert!(reader.join().expect("joined").is_none());
    let reason = refusal(submit(address, "ann@example.net", b"x").await);
    assert!(reason.contains("421 4.3.2 closed"), "{reason}");
}
