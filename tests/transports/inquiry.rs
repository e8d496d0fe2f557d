//! Asking before sending: what is asked of whom, what is answered, and that nothing depends on it.

use cmr_mail::message::{Address, HopKey, Message, TailHash};
use cmr_mail::send::http::{Client, Parcel, Proxies};
use cmr_mail::send::outcome::Outcome;
use cmr_mail::wire::inquiry;

use crate::client::{Act, Names, OK, client, server};
use crate::gate::{Gate, ask, post};
use crate::support::daemon::{Config, until};
use crate::support::messages::{in_seconds, message};

const PEER: &str = "http://peer.example/cmr";

/// An answer that invites to ask.
const INVITES: Act = Act::Say("HTTP/1.1 200 OK\r\nX-CMR-Known: ask\r\nContent-Length: 0\r\n\r\n");
const YES: Act = Act::Say("HTTP/1.1 200 OK\r\nX-CMR-Known: yes\r\nContent-Length: 0\r\n\r\n");
const NO: Act = Act::Say("HTTP/1.1 200 OK\r\nX-CMR-Known: no\r\nContent-Length: 0\r\n\r\n");

/// What the queue does with one message.
async fn sends(client: &Client, to: &str) -> String {
    let to = Address::try_from(to).unwrap();
    let parcel = Parcel { to: &to, configured: true, message: b"0\r\nmessage" };
    let ids = [(HopKey([1; 32]), TailHash([2; 32]))];
    let outcome = match client.inquire(&parcel, &ids).await {
        Some(outcome) => outcome,
        None => client.upload(&parcel).await,
    };
    match outcome {
        Outcome::Done(reply) => format!("done {}", reply.text),
        Outcome::Fail { reason, .. } | Outcome::Unrelated { reason } => format!("never: {reason}"),
        Outcome::Retry { reason, .. } => format!("later: {reason}"),
    }
}

/// Each row: what a server answers, one request after the other, and which of the requests were
/// questions. Each message arrives, whatever is answered.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_gets_the_message() {
    let no_inquiry = Act::Say("HTTP/1.1 400 No\r\nContent-Length: 4\r\n\r\nwhat");
    let bare = Act::Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let strange = Act::Say("HTTP/1.1 200 OK\r\nX-CMR-Known: perhaps\r\nContent-Length: 0\r\n\r\n");
    let too_often = Act::Say("HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n");
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}", "x".repeat(9999));
    let long = Act::Say(Box::leak(long.into_boxed_str()));
    let table: [(&str, Vec<Vec<Act>>, usize, &str); 10] = [
        ("it knows nothing of it", vec![vec![OK, OK, OK]], 3, "mmm"),
        ("it has it", vec![vec![INVITES, YES, YES]], 3, "m??"),
        ("it has it not", vec![vec![INVITES, NO, INVITES, YES]], 3, "m?m?"),
        ("it is another program now", vec![vec![INVITES, no_inquiry, INVITES, INVITES]], 3, "m?mm"),
        ("it takes questions for messages", vec![vec![INVITES, bare, INVITES, INVITES]], 3, "m?mm"),
        ("it lies about the extension", vec![vec![INVITES, strange, INVITES, INVITES]], 3, "m?mm"),
        ("it is asked too often", vec![vec![INVITES, too_often, OK, INVITES, YES]], 4, "m?mm?"),
        ("its answers are too long", vec![vec![INVITES, long], vec![INVITES, INVITES]], 3, "m?mm"),
        // A kept connection may be stale, so the question comes twice.
        (
            "it breaks off",
            vec![vec![INVITES, Act::Close], vec![Act::Close], vec![INVITES, INVITES]],
            3,
            "m??mm",
        ),
        ("it says nothing", vec![vec![INVITES, Act::Silence], vec![INVITES, INVITES]], 3, "m?mm"),
    ];
    for (name, plays, messages, expected) in table {
        let (at, asked) = server(plays);
        let client = client(&Names::default(), Proxies::default());
        for number in 0..messages {
            let sent = sends(&client, &format!("http://{at}/cmr")).await;
            assert!(sent.starts_with("done "), "{name}, message {number}: {sent}");
        }
        drop(client);
        let asked: Vec<String> = asked.iter().map(|it| it.1).collect();
        let kind = |request: &String| if request.contains(inquiry::MEDIA_TYPE) { '?' } else { 'm' };
        assert_eq!(asked.iter().map(kind).collect::<String>(), expected, "{name}");
        for request in asked.iter().filter(|it| kind(it) == '?') {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("POST /cmr HTTP/1.1\r\n"), "{name}: {head}");
            assert_eq!(body, format!("{} {}\r\n", "01".repeat(32), "02".repeat(32)), "{name}");
        }
    }
    // Who can't be reached is not sent anything either.
    let (at, asked) = server(vec![vec![INVITES]]);
    let client = client(&Names::default(), Proxies::default());
    let to = format!("http://{at}/cmr");
    assert!(sends(&client, &to).await.starts_with("done "));
    assert_eq!(asked.iter().count(), 1);
    let sent = sends(&client, &to).await;
    assert!(sent.starts_with("later: ") || sent.starts_with("done "), "{sent}");
}

/// An answer tells no more than the one to the whole message does.
#[test]
fn what_is_here_is_told_to_who_has_it() {
    let gate = Gate::new("home", |config: Config| {
        config.text("http", "listen", "127.0.0.1:0").text("http", "address", "https://home.test/cmr")
    });
    gate.start();
    let at = gate.at("http");
    let kind = format!("Content-Type: {}\r\n", inquiry::MEDIA_TYPE);
    let says = |body: &[u8]| {
        let answer = ask(at, &post("/cmr", &kind, body));
        let word = answer.head.lines().find_map(|line| line.strip_prefix("x-cmr-known: ")).map(str::to_owned);
        (answer.status, word.unwrap_or_default())
    };
    let word = |text: &str| (200, text.to_owned());
    let here = message(&[(in_seconds(-5), PEER), (in_seconds(-9), "http://far.example/")], "It is here.");
    let other = message(&[(in_seconds(-6), PEER), (in_seconds(-8), "http://far.example/")], "It is not.");
    assert_eq!(says(&inquiry::write(&here.hop_ids())), word("no"));
    let taken = ask(at, &post("/cmr", "", &here.write()));
    assert!(taken.status == 200 && taken.head.contains("x-cmr-known: ask\r\n"), "{}", taken.head);
    let (ids, others) = (here.hop_ids(), other.hop_ids());
    let forged: Vec<_> = ids.iter().map(|(key, _)| (*key, others[0].1)).collect();
    let far = message(
        &[(in_seconds(-3), "http://way.example/"), (in_seconds(-9), "http://far.example/")],
        "It is here.",
    );
    let mut by_another_way = here.clone();
    by_another_way.hops =
        cmr_mail::message::Hops::new(vec![far.sender().clone(), here.hops.iter().last().unwrap().clone()])
            .unwrap();
    let table = [
        ("all of its lines", ids.clone(), "yes"),
        ("its oldest line", ids[1..].to_vec(), "yes"),
        ("it came by another way as well", by_another_way.hop_ids(), "yes"),
        ("among others", [others.clone(), ids.clone()].concat(), "yes"),
        ("another message", others.clone(), "no"),
        ("its lines above other bytes", forged, "no"),
        ("the hash of its bytes below another line", vec![(others[1].0, ids[1].1)], "no"),
    ];
    for (name, ids, expected) in table {
        assert_eq!(says(&inquiry::write(&ids)), word(expected), "{name}");
    }
    for no_inquiry in [&b""[..], b"x", &here.write(), &[b'0'; inquiry::MOST + 1]] {
        let (status, word) = says(no_inquiry);
        assert_eq!((status, word.as_str()), (400, "ask"));
    }
    let elsewhere = ask(at, &post("/", &kind, &inquiry::write(&ids)));
    assert!(elsewhere.status == 404 && !elsewhere.head.contains("x-cmr-known"), "{}", elsewhere.head);
    // Nobody became known by asking, and nothing was stored.
    let status = gate.house.json(&["status"]);
    assert_eq!((&status["messages"], &status["asides"]), (&1.into(), &0.into()), "{status}");
    // Who would be refused with the message hears nothing about it, and what was removed is not here.
    gate.house.verb(&["block", "127.0.0.1"]);
    assert_eq!(says(&inquiry::write(&ids)), word("no"));
    gate.house.verb(&["block", "127.0.0.1", "--undo"]);
    assert_eq!(says(&inquiry::write(&ids)), word("yes"));
    gate.house.verb(&["remove", &here.id().to_string()]);
    assert_eq!(says(&inquiry::write(&ids)), word("no"));
}

/// What a peer has announced is known after a restart, whether by SIGHUP or by SIGKILL and a new start.
#[test]
fn an_invitation_outlives_a_restart() {
    let (at, asked) = server(vec![vec![INVITES], vec![YES], vec![NO, INVITES]]);
    let peer = format!("http://{at}/cmr");
    let gate = Gate::new("home", |config: Config| {
        config.text("http", "listen", "127.0.0.1:0").set("routing", "pinned", format!("[{peer:?}]"))
    });
    gate.start();
    let kind = || {
        let (_, request) = asked.recv_timeout(crate::support::daemon::PATIENCE).unwrap();
        if request.contains(inquiry::MEDIA_TYPE) { '?' } else { 'm' }
    };
    gate.posts("The first post is sent as it is.");
    assert_eq!(kind(), 'm');
    until("it is written down", || {
        let kept = gate.house.read_database().query_row(
            "SELECT askable_until - 1000000 * unixepoch() FROM peer WHERE address = ?1",
            [peer.as_bytes()],
            |row| row.get::<_, Option<i64>>(0),
        );
        let days = kept.unwrap()? / 86_400_000_000;
        assert!((6..=7).contains(&days), "{days} days");
        Some(())
    });
    gate.restart();
    let known = gate.posts("The second one is asked about, and is there.");
    assert_eq!(kind(), '?');
    until("that is its end", || {
        gate.queued(&peer)
            .iter()
            .any(|row| row["id"] == known.as_str() && row["state"] == "sent")
            .then_some(())
    });
    gate.daemon.borrow().as_ref().unwrap().reload();
    until("it is read again", || gate.house.log().contains("configuration read again").then_some(()));
    gate.posts("The third one is asked about, and sent.");
    assert_eq!((kind(), kind()), ('?', 'm'));
}

/// A gateway with one peer, which is asked about matches alone; what the peer is asked comes out of the other end.
fn beside(plays: Vec<Act>) -> (Gate, String, impl Fn() -> Vec<(HopKey, TailHash)>) {
    let (at, asked) = server(vec![plays]);
    let peer = format!("http://{at}/cmr");
    let gate = Gate::new("home", |config: Config| {
        let config = config.text("http", "listen", "127.0.0.1:0");
        config.set("routing", "pinned", format!("[{peer:?}]")).set("routing", "max_hops", "1")
    });
    gate.start();
    let question = move || {
        let (_, request) = asked.recv_timeout(crate::support::daemon::PATIENCE).unwrap();
        match request.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains(inquiry::MEDIA_TYPE) => {
                inquiry::read(body.as_bytes()).unwrap()
            }
            _ => Vec::new(),
        }
    };
    (gate, peer, question)
}

/// A message by these hops, from anybody.
fn brought(gate: &Gate, hops: &[&str], text: &str) -> Message {
    let hops: Vec<_> = (1..).zip(hops).map(|(n, hop)| (in_seconds(-3 * n), *hop)).collect();
    let message = message(&hops, text);
    assert_eq!(ask(gate.at("http"), &post("/cmr", "", &message.write())).status, 200);
    gate.until_routed();
    message
}

fn ended(gate: &Gate, peer: &str, id: &str, state: &str) -> serde_json::Value {
    until("the delivery is over", || {
        gate.queued(peer).into_iter().find(|row| row["id"] == id && row["state"] == state)
    })
}

/// Who is only named as a first router, by a line that anybody may have written, is asked whether it has that
/// message, and left in peace if not.
#[test]
fn who_never_had_it_gets_nothing_because_of_it() {
    let (gate, peer, question) = beside(vec![INVITES, NO, YES, NO, INVITES]);
    let author = "http://author.example/";
    brought(&gate, &[&peer, author], "Poppy seed rolls are baked on Saturdays.");
    let asks = gate.posts("When are poppy seed rolls baked?");
    assert_eq!(question(), [], "it has not said yet that it can be asked");
    ended(&gate, &peer, &asks, "sent");
    let planet =
        brought(&gate, &["http://way.example/", &peer, author], "Jupiter is the largest planet of all.");
    let asks = gate.posts("Is Jupiter the largest planet of all?");
    assert_eq!(question(), planet.hop_ids(), "the message that it is said to have taken");
    let row = ended(&gate, &peer, &asks, "failed");
    assert!(
        row["last_error"].as_str().unwrap().contains("that line may be made up, so nothing was sent"),
        "{row}"
    );
    let asks = gate.posts("Why is Jupiter the largest planet of all?");
    assert_eq!(question(), planet.hop_ids());
    assert_ne!(question(), [], "then about what would be sent");
    assert_eq!(question(), []);
    ended(&gate, &peer, &asks, "sent");
}

/// A made-up reason does not keep anybody from getting the same message for a true one.
#[test]
fn a_made_up_reason_spoils_no_true_one() {
    let (gate, peer, question) = beside(vec![INVITES, NO, YES, NO, INVITES]);
    let author = "http://author.example/";
    let bread = gate.posts("When are poppy seed rolls baked?");
    brought(&gate, &[&peer, author], "Poppy seed rolls are baked on Saturdays.");
    assert_eq!(question(), []);
    ended(&gate, &peer, &bread, "sent");
    let planet = gate.posts("Is Jupiter the largest planet of all?");
    let made_up =
        brought(&gate, &["http://way.example/", &peer, author], "Jupiter is the largest planet of all.");
    assert_eq!(question(), made_up.hop_ids());
    ended(&gate, &peer, &planet, "failed");
    let text = "Which is the largest planet of all, Jupiter or Saturn?";
    let true_one = brought(&gate, &["http://other.example/", &peer, author], text);
    assert_eq!(question(), true_one.hop_ids());
    assert_ne!(question(), [], "then about what would be sent");
    assert_eq!(question(), []);
    ended(&gate, &peer, &planet, "sent");
    assert!(gate.queued(&peer).iter().all(|row| row["state"] == "sent"));
}

/// Beyond the bound nobody is invited, and a message is taken all the same.
#[test]
fn questions_are_bounded() {
    let gate = Gate::new("home", |config: Config| config.text("http", "listen", "127.0.0.1:0"));
    gate.start();
    let at = gate.at("http");
    let kind = format!("Content-Type: {}\r\n", inquiry::MEDIA_TYPE);
    let question = post("/cmr", &kind, &inquiry::write(&[(HopKey([1; 32]), TailHash([2; 32]))]));
    let mut stream = std::net::TcpStream::connect(at).unwrap();
    let refused = (0..20_000).find_map(|_| {
        std::io::Write::write_all(&mut stream, &question).unwrap();
        let answer = crate::gate::read(&mut stream);
        (answer.status != 200).then_some(answer)
    });
    let refused = refused.expect("6,000 a minute");
    assert_eq!(refused.status, 429);
    assert!(!refused.head.contains("x-cmr-known"), "{}", refused.head);
    let taken = ask(at, &post("/cmr", "", &message(&[(in_seconds(-5), PEER)], "It comes in.").write()));
    assert!(taken.status == 200 && !taken.head.contains("x-cmr-known"), "{} {}", taken.head, taken.text());
}
