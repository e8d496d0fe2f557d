//! `kill -9` at random moments under load: what was acknowledged is there after the restart, and
//! what was queued leaves under one Message-ID with one text.
//!
//! `CMR_SEED=N` repeats the messages and the pauses of an earlier run (its moments depend on the
//! machine as well). `CMR_KILLS=N` asks for more than the usual number.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cmr_mail::keys::{self, Key, Scheme};
use cmr_mail::message::{Limits, UnixTime, parse};
use support::Random;
use support::client::{Client, dotted};
use support::daemon::{Config, House};
use support::messages::{Mail, in_seconds, message, signed};
use support::sink::Sink;
use support::wal;

const KILLS: u64 = 60;
const SESSIONS: u64 = 6;
/// The longest pause of a session before it sends a text, in microseconds.
const THINKING: u64 = 50_000;
const FEEDER: &str = "mailto:cmr@feed.test";
const PEERS: [&str; 3] = ["mailto:cmr@one.test", "mailto:cmr@two.test", "mailto:cmr@three.test"];
const KEY: &str = "a secret that only two of them share";

/// One of the mails of the load. Everything about it follows from its number.
struct Load {
    seed: u64,
    start: UnixTime,
}

impl Load {
    /// Every third is a person's post, the others are signed CMR messages of a neighbour.
    fn is_post(number: u64) -> bool {
        number.is_multiple_of(3)
    }

    /// Stands in the text of mail `number` and of no other.
    fn token(&self, number: u64) -> String {
        format!("token-{:016x}-{number}-", self.seed)
    }

    /// Words as in a language: some are in every text, most are rare.
    fn text(&self, number: u64) -> String {
        const SYLLABLES: [&str; 16] = [
            "pla", "net", "or", "bit", "queue", "let", "ter", "har", "bour", "si", "gnal", "rou", "ting",
            "moon", "win", "gar",
        ];
        let mut random = Random(self.seed ^ number.wrapping_mul(0x9e37_79b9));
        let mut text = self.token(number);
        for _ in 0..20 + random.below(120) {
            text.push_str(if random.below(12) == 0 { "\n" } else { " " });
            let rank = (0..3).fold(65_536, |below, _| random.below(below) + 1) - 1;
            for digit in [rank % 16, rank / 16 % 16, rank / 256 % 16, rank / 4_096] {
                text.push_str(SYLLABLES[usize::try_from(digit).unwrap()]);
            }
        }
        text
    }

    /// The CMR message; nothing in it is left to chance.
    fn message(&self, number: u64) -> cmr_mail::message::Message {
        let at = |seconds: i64| UnixTime(self.start.0 - seconds * 1_000_000 + i64::try_from(number).unwrap());
        let author = format!("mailto:author{}@feed.test", number % 50);
        let hops = [(at(1), FEEDER), (at(2), author.as_str())];
        signed(message(&hops, self.text(number)), Scheme::Hmac, KEY)
    }

    fn mail(&self, number: u64) -> Vec<u8> {
        if Load::is_post(number) {
            return Mail::from(&format!("Person {0} <person{0}@people.test>", number % 50))
                .field("Message-ID", &format!("<{number}.{:x}@people.test>", self.seed))
                .field("Subject", "a note")
                .text(&self.text(number))
                .write();
        }
        Mail::from("cmr@feed.test")
            .attachments(&[("message.cmr", "base64", &self.message(number).write())])
            .write()
    }
}

/// What the sessions share.
#[derive(Default)]
struct Shared {
    next: u64,
    /// To be sent again: their sessions broke before an answer came.
    waiting: BTreeSet<u64>,
    /// Sent up to the final dot in this round and not answered.
    in_doubt: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
}

impl Shared {
    fn take(&mut self) -> u64 {
        self.waiting.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next
        })
    }
}

/// One session until its connection breaks: mails without end, each envelope in the same packet
/// as the text of the mail before it. Between the mails it thinks: all that was accepted has to
/// be routed in the end, and that takes longer.
fn session(server: SocketAddr, load: &Load, shared: &Mutex<Shared>, mut random: Random) -> io::Result<()> {
    let mut client = Client::connect(server)?;
    let mut number = shared.lock().unwrap().take();
    let opened = client.write(&envelope(number));
    loop {
        let ready = match &opened {
            Ok(()) => expect(&mut client, &[250, 250, 354]),
            Err(error) => Err(error.kind().into()),
        };
        let mut all = shared.lock().unwrap();
        if let Err(error) = ready {
            all.waiting.insert(number);
            return Err(error);
        }
        let next = all.take();
        drop(all);
        std::thread::sleep(Duration::from_micros(random.below(THINKING)));
        let mut packet = dotted(&load.mail(number));
        packet.extend_from_slice(&envelope(next));
        let answered = client.write(&packet).and_then(|()| expect(&mut client, &[250]));
        let mut all = shared.lock().unwrap();
        if let Err(error) = answered {
            all.waiting.extend([number, next]);
            all.in_doubt.insert(number);
            return Err(error);
        }
        all.acknowledged.insert(number);
        drop(all);
        number = next;
    }
}

fn envelope(number: u64) -> Vec<u8> {
    let from = if Load::is_post(number) { "person@people.test" } else { "cmr@feed.test" };
    format!("MAIL FROM:<{from}>\r\nRCPT TO:<cmr@home.test>\r\nDATA\r\n").into_bytes()
}

/// Reads replies with these codes. Any other one is a fault of the daemon.
fn expect(client: &mut Client, codes: &[u16]) -> io::Result<()> {
    for code in codes {
        let reply = client.reply()?;
        assert_eq!(reply.code, *code, "{reply:?}");
    }
    Ok(())
}

/// The mails whose messages are in the pool. Each is there once and as it was sent.
fn stored(house: &House, load: &Load, look_at: &BTreeSet<u64>) -> BTreeSet<u64> {
    let conn = house.read_database();
    let mut select = conn
        .prepare("SELECT lower(hex(m.public_id)), t.body FROM message m JOIN text t ON t.seq = m.seq")
        .unwrap();
    let rows = select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))).unwrap();
    let mut found = BTreeSet::new();
    for row in rows {
        let (id, body) = row.unwrap();
        let text = String::from_utf8(body).unwrap();
        let token = text.split_once(&format!("token-{:016x}-", load.seed)).expect("a text of ours").1;
        let number: u64 = token.split('-').next().unwrap().parse().unwrap();
        assert!(found.insert(number), "mail {number} is stored twice");
        if look_at.contains(&number) {
            if Load::is_post(number) {
                assert_eq!(text, format!("a note\n\n{}", load.text(number)), "post {number}");
            } else {
                assert_eq!(text, load.text(number), "mail {number}");
                assert_eq!(id, load.message(number).id().to_string(), "mail {number}");
            }
        }
    }
    found
}

#[test]
fn what_was_acknowledged_survives_and_what_was_queued_leaves_under_one_name() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("CMR_SEED").unwrap_or_else(|| u64::try_from(in_seconds(0).0).unwrap());
    let kills = number("CMR_KILLS").unwrap_or(KILLS);
    println!("seed {seed}: CMR_SEED={seed} repeats the messages and the pauses");

    let sink = Sink::start();
    // So that some mails have left when the daemon is killed, and it does not know.
    sink.hesitate(Duration::from_millis(10));
    let config = Config::new()
        .trusting_loopback()
        .smarthost(sink.address())
        .text("people", "first_post", "publish")
        .text("policy", "post_at_most", "1000000/s")
        .text("policy", "answer_at_most", "1000000/s")
        .text("people", "later_matches", "0s")
        .set("routing", "first_walks", "1")
        .text("log", "level", "warn")
        .set("routing", "pinned", format!("{PEERS:?}"));
    let house = House::new(&config);
    let daemon = house.start();
    for neighbour in [FEEDER, PEERS[0]] {
        house.verb(&["keys", "set", neighbour, "--text", KEY, "--scheme", "hmac"]);
    }
    assert!(daemon.stop().success());

    let load = Load { seed, start: in_seconds(0) };
    let shared = Mutex::new(Shared::default());
    let mut random = Random(seed);
    let started = Instant::now();
    let (mut inside, mut frozen, mut torn, mut only_stored, mut in_doubt) = (0, 0, 0, 0, 0);
    let mut checked = BTreeSet::new();
    for kill in 0..kills {
        let daemon = house.start();
        {
            let all = shared.lock().unwrap();
            let new = all.acknowledged.difference(&checked).copied().collect();
            let stored = stored(&house, &load, &new);
            let lost: Vec<u64> = all.acknowledged.difference(&stored).copied().collect();
            assert!(lost.is_empty(), "acknowledged and lost after kill {kill}: {lost:?}");
            only_stored += stored.intersection(&all.in_doubt).count();
            checked.extend(new);
        }
        shared.lock().unwrap().in_doubt.clear();
        // Mostly short lives, and some that are long enough for mails to be routed and sent.
        let longest = if random.below(4) == 0 { 500_000 } else { 100_000 };
        let pause = Duration::from_micros(20_000 + random.below(longest));
        let server = daemon.smtp();
        let was_writing = std::thread::scope(|scope| {
            for _ in 0..SESSIONS {
                // Every session ends with an error: the daemon is killed.
                let (load, shared, random) = (&load, &shared, Random(random.next()));
                scope.spawn(move || session(server, load, shared, random));
            }
            std::thread::sleep(pause);
            // Half of the time the daemon is stopped first, so that it can be seen whether it
            // holds the write lock; half of the time it is killed at once, and what it left
            // behind tells. Both are the same to it: it is not asked.
            if kill % 2 == 0 {
                daemon.freeze();
                let writing = wal::is_writing(&house.database(), daemon.pid());
                frozen += u32::from(writing);
                daemon.kill();
                writing
            } else {
                daemon.kill();
                let unpublished = wal::has_unpublished_frames(&house.database());
                torn += u32::from(unpublished);
                unpublished
            }
        });
        let waited = shared.lock().unwrap().in_doubt.len();
        in_doubt += waited;
        inside += u32::from(was_writing && waited > 0);
    }

    // The senders repeat what was not answered, and everything is left to settle.
    sink.hesitate(Duration::ZERO);
    let daemon = house.start();
    let mut client = Client::connect(daemon.smtp()).unwrap();
    let all = shared.into_inner().unwrap();
    for number in &all.waiting {
        client.write(&envelope(*number)).unwrap();
        expect(&mut client, &[250, 250, 354]).unwrap();
        client.write(&dotted(&load.mail(*number))).unwrap();
        expect(&mut client, &[250]).unwrap();
    }
    let killing = started.elapsed();
    house.until_idle();
    let everything: BTreeSet<u64> = all.acknowledged.union(&all.waiting).copied().collect();
    assert_eq!(stored(&house, &load, &everything), everything);
    let left = departures(&house, &load, &sink);
    println!(
        "{kills} kills in {:.0} s (and {:.0} s to settle), {inside} of them inside a transaction and with a mail sent but not answered \
         ({frozen} held the write lock when stopped, {torn} left frames of a COMMIT that had not ended); \
         {} mails acknowledged, {in_doubt} in doubt, {only_stored} of these stored; \
         {} forwards and {} answers left, {} of them more than once",
        killing.as_secs_f64(),
        (started.elapsed() - killing).as_secs_f64(),
        all.acknowledged.len(),
        left.forwards,
        left.answers,
        left.repeated
    );
    assert!(inside > 10, "only {inside} kills fell inside a transaction: that proves little");
    assert!(left.forwards > 0 && left.answers > 0);
    assert!(left.repeated > 0, "no mail was under way in any of {kills} kills: that proves little");
    assert!(daemon.stop().success());
}

#[derive(Default)]
struct Departures {
    forwards: usize,
    answers: usize,
    repeated: usize,
}

/// Compares the queue with what arrived.
fn departures(house: &House, load: &Load, sink: &Sink) -> Departures {
    let mut arrived: HashMap<String, Vec<support::sink::Mail>> = HashMap::new();
    for mail in sink.mails() {
        arrived.entry(mail.message_id()).or_default().push(mail);
    }
    let conn = house.read_database();
    let mut select = conn
        .prepare(
            "SELECT d.message_id, d.kind, d.state, CAST(d.to_address AS TEXT), lower(hex(m.public_id))
               FROM delivery d LEFT JOIN message m ON m.seq = d.seq",
        )
        .unwrap();
    let rows = select.query_map([], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, String>(3)?,
            row.get::<_, Option<String>>(4)?,
        ))
    });
    let mut left = Departures::default();
    let mut told = BTreeMap::new();
    for row in rows.unwrap() {
        let (message_id, kind, state, to, id) = row.unwrap();
        assert_eq!(state, "sent", "{kind} {message_id} to {to}");
        let mails = arrived.remove(&message_id).unwrap_or_default();
        let Some(first) = mails.first() else { panic!("{kind} {message_id} to {to} never arrived") };
        for mail in &mails {
            assert_eq!(mail.to, first.to, "{message_id}");
            assert_eq!(
                String::from_utf8_lossy(&mail.raw),
                String::from_utf8_lossy(&first.raw),
                "{message_id} left twice and not alike"
            );
        }
        left.repeated += usize::from(mails.len() > 1);
        if kind != "forward" {
            left.answers += 1;
            continue;
        }
        left.forwards += 1;
        assert_eq!(first.to, [to.strip_prefix("mailto:").unwrap()]);
        let wire = first.part(0).unwrap();
        let message = parse(&wire, &Limits::default()).unwrap();
        assert_eq!(Some(message.id().to_string()), id);
        let token = format!("token-{:016x}-", load.seed);
        assert!(String::from_utf8_lossy(&message.body).contains(&token));
        if to == PEERS[0] {
            keys::verify(&Key::from_text(KEY).unwrap(), &message, Scheme::Hmac, true).unwrap();
        }
        let other = told.insert((message.id(), to.clone()), message_id.clone());
        assert_eq!(other, None, "{message_id} repeats another forward to {to}");
    }
    assert!(arrived.is_empty(), "nobody queued these: {:?}", arrived.keys());
    left
}
