//! A step of a walk whose peer is busy goes to the next best one; what belongs to one peer waits for it.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::gate::{Gate, ask, free, own_ip, post, request};
use crate::support::daemon::{Config, until};
use crate::support::dns::NameServer;
use crate::support::messages::{in_seconds, message};
use crate::support::sink::Sink;

/// A gateway that others reach by HTTP at a place of its own.
struct Neighbour {
    gate: Gate,
    place: SocketAddr,
    address: String,
}

impl Neighbour {
    /// Not started yet. It takes so many unproven messages of a network.
    fn new(name: &'static str, takes: &str, change: impl FnOnce(Config) -> Config) -> Neighbour {
        let place = free(own_ip());
        let address = format!("http://{place}/cmr");
        let gate = Gate::new(name, |config| {
            change(config.text("http", "listen", place.to_string()).text("http", "address", &address).text(
                "policy",
                "unproven_at_most",
                takes,
            ))
        });
        Neighbour { gate, place, address }
    }

    /// It has taken one message, which with a limit of one is all that it takes.
    fn fill(&self) {
        let text = message(&[(in_seconds(-9), "http://stranger.example/")], "A stranger was here before.");
        assert_eq!(ask(self.place, &post("/cmr", "", &text.write())).status, 200);
    }

    fn got(&self, id: &str) -> bool {
        self.gate.house.show(id).is_some()
    }
}

/// A home that knows these peers; each has sent it a text, and walks go to one of them.
fn home(peers: &[(&str, &str)], alternatives: usize, change: impl FnOnce(Config) -> Config) -> Gate {
    let pinned: Vec<&str> = peers.iter().map(|(address, _)| *address).collect();
    let gate = Gate::new("home", |config| {
        change(
            config
                .text("http", "listen", "127.0.0.1:0")
                .set("routing", "pinned", format!("{pinned:?}"))
                .set("routing", "first_walks", "1")
                .set("routing", "alternatives", alternatives.to_string())
                // What the peers have sent is to show who is best, and not to end the walk.
                .set("routing", "strong_match", "1.0")
                .set("routing", "matches", "0"),
        )
    });
    gate.start();
    for (address, text) in peers {
        // Too old to walk on to the others.
        let sent = message(&[(in_seconds(-200_000), address)], *text);
        assert_eq!(ask(gate.at("http"), &post("/cmr", "", &sent.write())).status, 200);
        gate.until_routed();
    }
    gate
}

/// What the peers have sent, the best one first for [`POST`].
const KNOWN: [&str; 3] = [
    "Sourdough starter, rye flour and patience: the crust of the loaf cracks when the oven is hot enough.",
    "Sourdough starter wants feeding; rye flour wakes it up.",
    "Sourdough keeps for a week.",
];
const POST: &str = "My sourdough starter with rye flour gives a loaf whose crust never cracks in the oven.";

/// The deliveries of a message: to whom, how far, and what was said last.
fn deliveries(gate: &Gate, id: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = gate.house.json(&["queue", "list", "--all"]);
    let rows = all.as_array().unwrap().iter().filter(|row| row["id"] == id);
    rows.map(|row| (text(&row["to"]), text(&row["state"]), text(&row["last_error"]))).collect()
}

/// How far the delivery to this peer is; nothing if there is none.
fn state(gate: &Gate, id: &str, to: &str) -> Option<(String, String)> {
    let found = deliveries(gate, id).into_iter().find(|(address, ..)| address == to);
    found.map(|(_, state, said)| (state, said))
}

#[test]
fn the_next_best_peer_is_asked_and_the_last_one_is_waited_for() {
    let [first, second, third] =
        ["first", "second", "third"].map(|name| Neighbour::new(name, "1/h", |config| config));
    for neighbour in [&first, &second, &third] {
        neighbour.gate.start();
    }
    first.fill();
    let peers = [&first, &second, &third];
    let known: Vec<(&str, &str)> = peers.iter().map(|it| it.address.as_str()).zip(KNOWN).collect();
    let gate = home(&known, 2, |config| config);
    let id = gate.posts(POST);
    until("somebody has it", || second.got(&id).then_some(()));
    until("that is known", || (state(&gate, &id, &second.address)?.0 == "sent").then_some(()));
    let (over, said) = state(&gate, &id, &first.address).unwrap();
    assert_eq!(over, "failed");
    let expected = format!("busy, so {} is asked instead: HTTP 429", second.address);
    assert!(said.starts_with(&expected), "{said}");
    assert_eq!(deliveries(&gate, &id).len(), 2);
    assert!(!first.got(&id) && !third.got(&id));
    let explained = gate.house.json(&["explain", &id]);
    let why = explained["forwards"].as_array().unwrap().iter().find(|it| it["to"] == second.address.as_str());
    let why = why.unwrap()["why"].as_str().unwrap();
    let expected = format!("in the place of {}, which is busy: what it has sent saves", first.address);
    assert!(why.starts_with(&expected), "{why}");

    // The second one has taken what it takes, so the third one is asked; then nobody is left, and the
    // last one is tried again until it takes the message.
    let id = gate.posts(&format!("{POST} What do I do?"));
    until("the third has it", || third.got(&id).then_some(()));
    let id = gate.posts(&format!("{POST} Is it too dry?"));
    let waits = until("the third is asked again", || {
        let (state, said) = state(&gate, &id, &third.address)?;
        let row = gate.queued(&third.address).into_iter().find(|row| row["id"] == id.as_str())?;
        (row["attempts"].as_u64()? > 1 && state == "ready").then_some(said)
    });
    assert!(waits.starts_with("HTTP 429"), "{waits}");
    assert_eq!(deliveries(&gate, &id).len(), 3);
    let changed = third.gate.config.clone().text("policy", "unproven_at_most", "600/h");
    third.gate.house.configure(&changed);
    third.gate.daemon.borrow().as_ref().unwrap().reload();
    until("it has taken it", || third.got(&id).then_some(()));
    assert!(!first.got(&id) && !second.got(&id));
}

/// The bound, and whoever may not be sent to is not asked.
#[test]
fn no_more_are_asked_than_configured_and_nobody_blocked() {
    let [first, second, third] =
        ["first", "second", "third"].map(|name| Neighbour::new(name, "1/h", |config| config));
    for neighbour in [&first, &second, &third] {
        neighbour.gate.start();
        neighbour.fill();
    }
    let peers = [&first, &second, &third];
    let known: Vec<(&str, &str)> = peers.iter().map(|it| it.address.as_str()).zip(KNOWN).collect();
    let one = home(&known, 1, |config| config);
    let id = one.posts(POST);
    until("the second is asked again", || {
        let row = one.queued(&second.address).into_iter().find(|row| row["id"] == id.as_str())?;
        (row["attempts"].as_u64()? > 1).then_some(())
    });
    assert_eq!(state(&one, &id, &third.address), None);
    let none = home(&known, 0, |config| config);
    let id = none.posts(POST);
    until("the first is asked again", || {
        let row = none.queued(&first.address).into_iter().find(|row| row["id"] == id.as_str())?;
        (row["attempts"].as_u64()? > 1).then_some(())
    });
    assert_eq!(deliveries(&none, &id).len(), 1);
    // Blocked between the decision and the answer: the first is asked while it is down.
    let gate = home(&known, 2, |config| config.text("send", "retry_first", "100ms"));
    first.gate.daemon.take().unwrap().kill();
    let id = gate.posts(POST);
    until("the first is not there", || {
        let (state, said) = state(&gate, &id, &first.address)?;
        (state == "ready" && said.contains("connecting")).then_some(())
    });
    gate.house.verb(&["peers", "block", &second.address]);
    first.gate.start();
    until("the third is asked", || state(&gate, &id, &third.address));
    assert_eq!(state(&gate, &id, &second.address), None);
}

/// Matches go to where they belong, however long that takes.
#[test]
fn an_exchange_of_matches_waits_for_its_peer() {
    let [busy, free] = ["busy", "free"].map(|name| Neighbour::new(name, "1/h", |config| config));
    busy.gate.start();
    // The busy one takes a message from its author, and nothing more.
    let written = (in_seconds(-9), "http://author.example/");
    assert_eq!(ask(busy.place, &post("/cmr", "", &message(&[written], POST).write())).status, 200);
    free.gate.start();
    let gate = home(&[(&free.address, KNOWN[0])], 2, |config| {
        let pinned = format!("{:?}", [&busy.address, &free.address]);
        config.set("routing", "matches", "5").set("routing", "pinned", pinned)
    });
    // It comes from the busy one, and is like what was sent here before: that goes back to the busy one.
    let asked = message(&[(in_seconds(-5), busy.address.as_str()), written], POST);
    assert_eq!(ask(gate.at("http"), &post("/cmr", "", &asked.write())).status, 200);
    let row = until("the match is tried twice", || {
        let row = gate.queued(&busy.address).pop()?;
        (row["attempts"].as_u64()? > 1 && row["state"] == "ready").then_some(row)
    });
    assert!(row["last_error"].as_str().unwrap().starts_with("HTTP 429"), "{row}");
    let of_match = row["id"].as_str().unwrap();
    assert_ne!(of_match, asked.id().to_string());
    assert_eq!(deliveries(&gate, of_match).len(), 1, "{:?}", deliveries(&gate, of_match));
}

/// A peer that says yes to the connection and nothing else until it is told to: then that it is busy.
fn slow_and_busy(at: SocketAddr) -> (Receiver<Vec<u8>>, std::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind(at).unwrap();
    let ((asked, heard), (go, wait)) = (channel(), channel::<()>());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some((_, body)) = request(&mut stream) else { continue };
            if asked.send(body).is_err() || wait.recv().is_err() {
                return;
            }
            let _ =
                stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy");
        }
    });
    (heard, go)
}

/// Killed while the busy peer is asked, and once more when the next one is: each step is one step.
#[test]
fn a_crash_in_between_neither_loses_nor_doubles_a_step() {
    let place = free(own_ip());
    let busy = format!("http://{place}/cmr");
    let (heard, go) = slow_and_busy(place);
    let next = Neighbour::new("next", "600/h", |config| config);
    let gate = home(&[(&busy, KNOWN[0]), (&next.address, KNOWN[1])], 2, |config| config);
    let id = gate.posts(POST);
    let first = heard.recv().unwrap();
    gate.restart();
    // The connection of the one that died is answered, too.
    go.send(()).unwrap();
    let again = heard.recv().unwrap();
    let message_of = |body: &[u8]| {
        let text = String::from_utf8_lossy(body).into_owned();
        text.split("\r\n\r\n").nth(1).unwrap().to_owned()
    };
    assert_eq!(message_of(&first), message_of(&again), "the same bytes, under the same time");
    assert_eq!(deliveries(&gate, &id).len(), 1);
    go.send(()).unwrap();
    // The next one is not there yet.
    until("the next one is tried", || {
        let row = gate.queued(&next.address).pop()?;
        (row["attempts"].as_u64()? > 0).then_some(())
    });
    gate.restart();
    next.gate.start();
    until("the next one has it", || next.got(&id).then_some(()));
    until("that is known", || (state(&gate, &id, &next.address)?.0 == "sent").then_some(()));
    let all = deliveries(&gate, &id);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(state(&gate, &id, &busy).unwrap().0, "failed");
    assert!(heard.try_recv().is_err(), "nobody has asked the busy one again");
    assert_eq!(next.gate.house.show(&id).unwrap()["hops"].as_array().unwrap().len(), 2);
}

/// By mail to its own hosts a peer's 450 is its own word; the next best one is asked by HTTP, which another
/// worker does.
#[test]
fn a_busy_mail_host_is_heard_where_it_is_spoken_to_itself() {
    let at = own_ip();
    let std::net::IpAddr::V4(ip) = at else { panic!("{at}") };
    let place = free(at);
    let busy = Gate::new("busy", |config| {
        config
            .set("smtp", "listen", format!("[\"{place}\"]"))
            .set("smtp", "recipients", "[\"cmr@busy.test\"]")
            .text("policy", "unproven_at_most", "1/h")
    });
    busy.start();
    let dns = NameServer::start();
    dns.exchanger("busy.test", 10, "mx.busy.test").host("mx.busy.test", ip);
    let next = Neighbour::new("next", "600/h", |config| config);
    next.gate.start();
    let by_mail = |config: Config| {
        config
            .without("send", "smarthost")
            .set("send", "direct", "true")
            .set("send", "direct_port", place.port().to_string())
            .set("send", "direct_networks", "[\"127.0.0.0/8\"]")
            .set("authentication", "dns", format!("[\"{}\"]", dns.address()))
    };
    let known = [("mailto:cmr@busy.test", KNOWN[0]), (next.address.as_str(), KNOWN[1])];
    let gate = home(&known, 2, by_mail);
    // The first message is all that it takes.
    let id = gate.posts(POST);
    until("it has taken one", || busy.house.show(&id));
    let id = gate.posts(&format!("{POST} What do I do?"));
    until("the next one has it", || next.got(&id).then_some(()));
    let (over, said) = state(&gate, &id, "mailto:cmr@busy.test").unwrap();
    assert_eq!(over, "failed");
    assert!(said.contains("is asked instead") && said.contains("450 4.7.1"), "{said}");
    assert!(busy.house.show(&id).is_none());
}

/// A smarthost is heard about the mailbox of a peer. What it says about itself, or about us, waits for it.
#[test]
fn a_full_mailbox_behind_a_smarthost_is_heard() {
    let relay = Sink::start();
    let next = Neighbour::new("next", "600/h", |config| config);
    next.gate.start();
    let (full, mailbox) = ("mailto:cmr@full.test", "cmr@full.test");
    let known = [(full, KNOWN[0]), (next.address.as_str(), KNOWN[1])];
    let gate = home(&known, 2, |config| config.smarthost(relay.address()));
    relay.refuse(mailbox, &["452 4.2.2 the mailbox is full"]);
    let id = gate.posts(POST);
    until("the next one has it", || next.got(&id).then_some(()));
    let (over, said) = state(&gate, &id, full).unwrap();
    assert_eq!(over, "failed");
    assert!(said.contains("is asked instead") && said.contains("452 4.2.2"), "{said}");
    assert!(relay.mails().is_empty());
    relay.refuse(mailbox, &["450 4.7.1 you send too fast", "452 4.3.1 no room"]);
    let id = gate.posts(&format!("{POST} What do I do?"));
    relay.wait_for(mailbox, |_| true);
    until("that is known", || (state(&gate, &id, full)?.0 == "sent").then_some(()));
    assert_eq!(gate.queued(full).iter().find(|row| row["id"] == id.as_str()).unwrap()["attempts"], 3);
    assert_eq!(deliveries(&gate, &id).len(), 1);
    assert!(!next.got(&id));
}
