//! What happens between mails: idle connections, speed, many tasks at a time.

use super::scripted::Scripted;
use cmr_mail::send::mailto::{Deadlines, Mailto, Reuse, Smarthost, Submission};
use std::time::{Duration, Instant};

fn submission() -> Submission {
    Submission {
        envelope_sender: Some("bounces@gw.example".to_owned()),
        recipient: "ann@example.net".to_owned(),
        mail: vec![b'x'; 2000],
        configured: false,
    }
}

fn steps(mails: usize, end: &[&str]) -> Vec<String> {
    let hello = ["S 220 mx", "C EHLO gw.example", "S 250 mx"];
    let mail = [
        "C MAIL FROM:<bounces@gw.example>",
        "S 250 ok",
        "C RCPT TO:<ann@example.net>",
        "S 250 ok",
        "C DATA",
        "S 354 go",
        "M",
        "S 250 ok",
    ];
    let mut steps: Vec<&str> = hello.to_vec();
    steps.extend(mail.repeat(mails));
    steps.extend(end);
    steps.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn an_idle_connection_says_goodbye_by_itself() {
    let server = Scripted::play(steps(1, &["C QUIT", "S 221 bye"]));
    let reuse = Reuse { idle: Duration::from_millis(50), ..Reuse::default() };
    let mailto = Mailto::with(Smarthost::at(server.address), "gw.example", Deadlines::default(), reuse)
        .expect("mailto");
    assert!(!mailto.submit(&submission()).await.expect("taken").reused);
    tokio::task::spawn_blocking(|| server.finish()).await.expect("joined").expect("QUIT without being asked");
}

#[tokio::test]
async fn mails_do_not_wait_for_delayed_acknowledgements() {
    const MAILS: usize = 95;
    let server = Scripted::play(steps(MAILS, &["H"]));
    let mailto = Mailto::new(Smarthost::at(server.address), "gw.example").expect("mailto");
    let mut times = Vec::new();
    for n in 0..MAILS {
        let start = Instant::now();
        let receipt = mailto.submit(&submission()).await.expect("taken");
        times.push(start.elapsed());
        assert_eq!(receipt.reused, n > 0);
    }
    times.sort();
    // With Nagle's algorithm nearly every mail takes 40 ms; on a machine under load some may.
    let quarter = times[MAILS / 4];
    println!("a quarter of {MAILS} mails over one connection took {quarter:?} at most");
    assert!(quarter < Duration::from_millis(25), "{quarter:?}");
    mailto.close().await;
    server.finish().expect("script");
}

#[tokio::test]
async fn nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    drop(listener);
    let mailto = Mailto::new(Smarthost::at(address), "gw.example").expect("mailto");
    let error = mailto.submit(&submission()).await.expect_err("nobody");
    assert!(error.chain().contains("refused"), "{}", error.chain());
    let error = mailto.probe().await.expect_err("nobody");
    assert!(error.to_string().contains(&address.to_string()));
}

#[tokio::test]
async fn forty_mails_leave_over_eight_connections_of_five() {
    let mut script = Vec::new();
    for n in 0..8 {
        if n > 0 {
            script.push("--".to_owned());
        }
        script.extend(steps(5, &["C QUIT", "S 221 bye"]));
    }
    let server = Scripted::play(script);
    let reuse = Reuse { mails: 5, connections: 1, ..Reuse::default() };
    let mailto = Mailto::with(Smarthost::at(server.address), "gw.example", Deadlines::default(), reuse)
        .expect("mailto");
    for _ in 0..40 {
        mailto.submit(&submission()).await.expect("taken");
    }
    mailto.close().await;
    tokio::task::spawn_blocking(|| server.finish()).await.expect("joined").expect("script");
}
