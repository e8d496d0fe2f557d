//! What arrives is what was sent, but for Postfix's own trace lines and our one header.

use std::fs;
use std::time::{Duration, Instant};

use cmr_mail::authenticate::{Authenticator, Question};
use cmr_mail::message::UnixTime;
use cmr_mail::policy::Authenticity;

use crate::mails::{added, crlf, mails, names, recipient, send, send_all, signed};
use crate::server::{Postfix, Setup, can_run, free_port};
use crate::support::client::Client;
use crate::support::daemon::{Config, Daemon, House};
use crate::support::dns::NameServer;
use crate::support::messages::Mail;

/// A gateway whose filter listens here and hands mail on there.
pub(crate) fn config(mode: &str, listen: std::net::SocketAddr, next_hop: std::net::SocketAddr) -> Config {
    Config::new()
        .text("filter", "listen", listen.to_string())
        .text("filter", "next_hop", next_hop.to_string())
        .text("filter", "mode", mode)
}

/// A Postfix and the gateway that filters for it.
pub(crate) fn world(mode: &str) -> (Postfix, House, Daemon) {
    let (listen, back) = (free_port(), free_port());
    let postfix = Postfix::start(&Setup::filtered_by(listen), Some(back));
    let house = House::new(&config(mode, listen, back));
    let daemon = house.start();
    (postfix, house, daemon)
}

const TRACE: [&str; 4] = ["Return-Path", "X-Original-To", "Delivered-To", "Received"];

#[test]
fn every_mail_comes_out_as_it_went_in() {
    if !can_run() {
        return;
    }
    let number = if crate::full() { 2_000 } else { 400 };
    let mails = mails(number);
    let (postfix, house, daemon) = world("copy");
    let start = Instant::now();
    send_all(postfix.entrance, &mails);
    postfix.wait_until_empty();
    let took = start.elapsed();
    let found = postfix.maildir();
    let mut marked = 0;
    let mut wrong = Vec::new();
    for (at, sent) in mails.iter().enumerate() {
        let copies = found.get(&recipient(at)).map(Vec::as_slice).unwrap_or_default();
        let [delivered] = copies else {
            wrong.push(format!("{at}: {} copies", copies.len()));
            continue;
        };
        match added(delivered, sent) {
            Ok(top) => {
                let ours = names(&top).into_iter().filter(|name| *name == "X-CMR").count();
                let others =
                    names(&top).into_iter().filter(|name| *name != "X-CMR").all(|name| TRACE.contains(&name));
                if ours > 1 || !others {
                    wrong.push(format!("{at}: {top}"));
                }
                // Ours stood above all others when the mail left us.
                let below =
                    top.split_once("X-CMR").map_or(0, |(_, below)| below.matches("Received:").count());
                if ours == 1 && below != 1 {
                    wrong.push(format!("{at}: {top}"));
                }
                marked += ours;
            }
            Err(why) => wrong.push(format!("{at}: {why}")),
        }
    }
    let shown = wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {number} are not as they were sent:\n{shown}", wrong.len());
    assert!(marked > 0 && marked < number, "{marked} mails hold CMR messages");
    println!("{number} mails through Postfix, filter and Postfix in {took:?}, {marked} of them with X-CMR");
    assert!(daemon.memory_kib("VmHWM") < 400 << 10, "{} KiB", daemon.memory_kib("VmHWM"));
    assert!(daemon.stop().success());
    drop(house);
}

#[test]
fn shadow_changes_nothing_and_says_what_would_be() {
    if !can_run() {
        return;
    }
    let (postfix, house, daemon) = world("shadow");
    let mut mails = mails(320);
    if !crate::full() {
        // Some of every kind.
        mails = mails.into_iter().step_by(4).collect();
    }
    send_all(postfix.entrance, &mails);
    let post = Mail::from("Alice <alice@people.test>")
        .field("Message-ID", "<p@people.test>")
        .text("Where?\n")
        .write();
    let mut client = Client::connect(postfix.entrance).unwrap();
    // The gateway's own posting address, at another domain: Postfix sends it onward, to nobody here.
    send(&mut client, "alice@people.test", "cmr@home.test", &post);
    house
        .until("the filter has seen the post", |house| house.log().contains("posting address").then_some(()));
    crate::support::daemon::until("all but the post are delivered", || {
        (postfix.delivered() == mails.len()).then_some(())
    });
    let found = postfix.maildir();
    for (at, sent) in mails.iter().enumerate() {
        let top = added(&found[&recipient(at)][0], sent).unwrap();
        assert!(!names(&top).contains(&"X-CMR"), "{at}: {top}");
    }
    assert!(house.log().contains("would be processed: it is for a posting address"), "{}", house.log());
    assert!(house.log().contains("would be processed: it holds CMR messages"));
    let status = house.json(&["status"]);
    assert_eq!(
        (&status["messages"], &status["asides"], &status["queued"]),
        (&0.into(), &0.into(), &0.into())
    );
    assert!(daemon.stop().success());
}

/// The same signatures verify behind the filter as before it, with our line above them.
#[test]
fn signatures_hold_behind_the_filter() {
    if !can_run() {
        return;
    }
    let (listen, back) = (free_port(), free_port());
    let postfix = Postfix::start(&Setup::filtered_by(listen), Some(back));
    // The recipients are posting addresses, so that every mail is processed and gets its mark.
    let config = config("copy", listen, back).set("smtp", "recipients", r#"["all@cmr.test"]"#);
    let house = House::new(&config);
    let daemon = house.start();
    let mut samples: Vec<_> = fs::read_dir(signed())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "eml"))
        .collect();
    samples.sort();
    let mut client = Client::connect(postfix.entrance).unwrap();
    for (at, path) in samples.iter().enumerate() {
        send(&mut client, "ann@example.net", &format!("all+{at}@cmr.test"), &crlf(&fs::read(path).unwrap()));
    }
    postfix.wait_until_empty();
    let dns = NameServer::start();
    for line in fs::read_to_string(signed().join("keys.tsv")).unwrap().lines() {
        let (name, text) = line.split_once('\t').unwrap();
        dns.text(name, text);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deadline = Duration::from_secs(20);
    let authenticator = runtime.block_on(async { Authenticator::new(&[dns.address()], deadline) }).unwrap();
    let found = postfix.maildir();
    assert_eq!(samples.len(), 8);
    for (at, path) in samples.iter().enumerate() {
        let delivered = &found[&format!("all+{at}@cmr.test")][0];
        let top = added(delivered, &fs::read(path).unwrap()).unwrap();
        assert_eq!(names(&top).into_iter().filter(|name| *name == "X-CMR").count(), 1, "{top}");
        let posting = ["cmr@home.test".to_owned()];
        let examined = runtime.block_on(authenticator.examine(&Question {
            raw: &crlf(delivered),
            client: None,
            helo: None,
            sender: None,
            recipients: &posting,
            posting: &posting,
            hostname: "mx.home.test",
            relay: None,
            sealers: &[],
            // A minute after the samples were signed.
            now: UnixTime::from_secs(1_735_722_060),
            deadline,
        }));
        let wanted = Authenticity::Dkim { domain: "example.net".to_owned() };
        assert_eq!(examined.evidence.authenticity, wanted, "{}", path.display());
    }
    assert!(daemon.stop().success());
}

/// 50 MB go through, and do not lie in memory; 20 MB where there is little time.
#[test]
fn a_large_mail_passes_without_lying_in_memory() {
    if !can_run() {
        return;
    }
    let (postfix, _house, daemon) = world("copy");
    let line = b"many megabytes of lines like this one, each of which ends\r\n";
    let bytes = if crate::full() { 50_000_000 } else { 20_000_000 };
    let mail =
        [b"From: a@people.test\r\nSubject: large\r\n\r\n".to_vec(), line.repeat(bytes / line.len())].concat();
    let before = daemon.memory_kib("VmHWM");
    let mut client = Client::connect(postfix.entrance).unwrap();
    send(&mut client, "anna@people.test", "large@cmr.test", &mail);
    postfix.wait_until_empty();
    let found = postfix.maildir();
    assert!(added(&found["large@cmr.test"][0], &mail).is_ok());
    let grown = daemon.memory_kib("VmHWM").saturating_sub(before);
    println!("a mail of {bytes} bytes: {grown} KiB more memory");
    assert!(grown < 10 << 10, "{grown} KiB more");
    assert!(daemon.stop().success());
}
