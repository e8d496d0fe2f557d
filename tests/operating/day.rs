//! Twenty-four hours of mixed traffic, lived through by a clock that is moved: with reloads, backups,
//! a smarthost that puts mail off, and retention. Nothing is left behind at the end, nothing has grown,
//! and the metrics are what was sent.
//!
//! The gateway is the real one, in this process, on a real database; mail leaves by SMTP. `CMR_MAIL_FULL`
//! asks for ten times the mail.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmr_mail::config::Config;
use cmr_mail::gateway::api::Request;
use cmr_mail::gateway::sender::Sender;
use cmr_mail::gateway::{Gateway, clock};
use cmr_mail::receive::{Arrival, Via};
use cmr_mail::send::queue;
use cmr_mail::store::queue::Lane;
use cmr_mail::{message, store};
use tokio::sync::watch;

use super::metrics::sum;
use super::support::Random;
use super::support::daemon::PATIENCE;
use super::support::messages::{self, Mail, rfc2822};
use super::support::sink::Sink;

const STEP: Duration = Duration::from_secs(600);
const STEPS: usize = 144;
/// Steps after which everything that has a bound has reached it.
const SETTLED: usize = 60;
const AUTHORS: u64 = 40;
const POOL: u64 = 200;

/// What was handed in.
#[derive(Default)]
struct Sent {
    smtp: u64,
    lmtp: u64,
    pipe: u64,
    http: u64,
    udp: u64,
    new: u64,
    known: u64,
}

struct Town {
    gateway: Gateway,
    sender: Arc<Sender>,
    sink: Sink,
    dir: tempfile::TempDir,
    random: Random,
    number: u64,
    sent: Sent,
    last_post: Vec<u8>,
}

fn configuration(dir: &std::path::Path, smarthost: std::net::SocketAddr, matches: usize) -> Config {
    let text = format!(
        "[gateway]\naddress = \"mailto:cmr@home.test\"\nhostname = \"mx.home.test\"\n\
         operator = \"Olga <olga@home.test>\"\ndata_dir = \"data\"\n\
         [smtp]\ntrusted_networks = [\"127.0.0.0/8\"]\n[authentication]\nverify = false\n\
         [send]\nsmarthost = \"smtp://{smarthost}\"\n\
         [policy]\nanswer_at_most = \"100/h\"\nunproven_at_most = \"100000/h\"\n\
         [routing]\nmatches = {matches}\npinned = [\"mailto:cmr@peer.test\"]\n\
         [pool]\nmax_messages = {POOL}\nkeep_raw = \"1h\"\nremember_ids = \"2h\"\n"
    );
    Config::parse(&text, dir.join("cmr-mail.toml")).unwrap()
}

impl Town {
    fn words(&mut self, number: usize) -> String {
        const WORDS: [&str; 24] = [
            "jupiter", "saturn", "planet", "moon", "ring", "orbit", "bread", "oven", "flour", "violin",
            "string", "bow", "river", "bridge", "stone", "wall", "apple", "tree", "garden", "winter",
            "harbour", "ship", "rope", "anchor",
        ];
        let mut text = String::new();
        for _ in 0..number {
            let word = WORDS[usize::try_from(self.random.below(24)).unwrap()];
            text.push_str(word);
            text.push(' ');
        }
        text
    }

    async fn arrive(&mut self, via: Via, author: &str, to: &str, raw: Vec<u8>) -> u16 {
        let counter = match via {
            Via::Lmtp => &mut self.sent.lmtp,
            Via::Pipe => &mut self.sent.pipe,
            Via::Http => &mut self.sent.http,
            Via::Udp => &mut self.sent.udp,
            _ => &mut self.sent.smtp,
        };
        *counter += 1;
        let known = matches!(via, Via::Smtp);
        let arrival = Arrival {
            via,
            peer: known.then(|| "127.0.0.1".parse().unwrap()),
            through_relay: false,
            relay: None,
            helo: None,
            tls: false,
            proof: None,
            sender: via.knows_the_sender().then(|| author.to_owned()),
            recipients: vec![to.to_owned()],
            kept: None,
            raw,
            received: clock::now(),
        };
        self.gateway.admit_arrival(arrival).await.reply.code()
    }

    fn mail(&mut self, author: &str, subject: &str, text: &str) -> Vec<u8> {
        self.number += 1;
        let mail = Mail {
            fields: vec![
                ("From".into(), author.into()),
                ("To".into(), "cmr@home.test".into()),
                ("Date".into(), rfc2822(clock::now())),
            ],
            body: Vec::new(),
        };
        mail.field("Subject", subject)
            .field("Message-ID", &format!("<{}@a.test>", self.number))
            .text(text)
            .write()
    }

    /// A message as another gateway sends it, which nobody has signed.
    fn foreign(&mut self, sound: bool) -> Vec<u8> {
        let now = clock::now();
        self.number += 1;
        let text = format!("{} {}", self.words(12), self.number);
        let at = |ago: i64| message::UnixTime(now.0 - ago * 1_000_000);
        let hops = [(at(2), "mailto:cmr@peer.test"), (at(3), "mailto:cmr+someone@peer.test")];
        let mut wire = messages::message(&hops, text).write();
        if !sound {
            wire.truncate(wire.len() / 2);
        }
        wire
    }

    async fn one(&mut self) {
        let author = format!("ann{}@a.test", self.random.below(AUTHORS));
        match self.random.below(12) {
            // The same mail once more, by another hop.
            0 if !self.last_post.is_empty() => {
                let raw = self.last_post.clone();
                assert_eq!(self.arrive(Via::Smtp, "again@a.test", "cmr@home.test", raw).await, 250);
                self.sent.known += 1;
            }
            // Nobody can tell who wrote it, and there is nobody to tell: kept aside.
            1 => {
                let text = self.words(10);
                let raw = self.mail("x@y.test", "Aside", &text);
                self.arrive(Via::Pipe, "", "cmr@home.test", raw).await;
            }
            2 => {
                let text = self.words(10);
                let raw = self.mail("x@y.test", "By LMTP", &text);
                assert_eq!(self.arrive(Via::Lmtp, "x@y.test", "cmr@home.test", raw).await, 250);
            }
            3 => {
                let raw = self.foreign(true);
                assert_eq!(self.arrive(Via::Http, "", "cmr@home.test", raw).await, 250);
                self.sent.new += 1;
            }
            4 => {
                let raw = self.foreign(false);
                assert_eq!(self.arrive(Via::Udp, "", "cmr@home.test", raw).await, 554);
            }
            5 => {
                let text = self.words(3);
                let raw = self.mail(&author, &text, "");
                assert_eq!(self.arrive(Via::Smtp, &author, "cmr+search@home.test", raw).await, 250);
            }
            6 => {
                let raw = self.mail("unwanted@u.test", "Buy", "Buy this now, it is cheap.");
                assert_eq!(self.arrive(Via::Smtp, "unwanted@u.test", "cmr@home.test", raw).await, 550);
            }
            _ => {
                let (subject, text) = (self.words(2), self.words(15));
                let raw = self.mail(&author, &subject, &text);
                assert_eq!(self.arrive(Via::Smtp, &author, "cmr@home.test", raw.clone()).await, 250);
                self.sent.new += 1;
                self.last_post = raw;
            }
        }
    }

    fn number(&self, query: &str) -> u64 {
        let conn = rusqlite::Connection::open_with_flags(
            self.dir.path().join("data/cmr-mail.db"),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        );
        let conn = conn.unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn.query_row(query, [clock::now().0], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
    }

    /// Until nothing waits that is due.
    async fn rest(&self) {
        let start = Instant::now();
        loop {
            self.gateway.queued_in(Lane::Mail).notify_one();
            let due = self.number(
                "SELECT count(*) FROM delivery WHERE state = 'leased' OR (state = 'ready' AND next_try <= ?1)",
            );
            let unrouted = self.number("SELECT count(*) FROM message WHERE state = 'unrouted' AND ?1 > 0");
            if due + unrouted == 0 {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{due} deliveries and {unrouted} messages wait for ever");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn size(&self) -> u64 {
        std::fs::metadata(self.dir.path().join("data/cmr-mail.db")).unwrap().len()
    }
}

/// What this process takes of the memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn day(each: u64) {
    let sink = Sink::start();
    let dir = tempfile::tempdir().unwrap();
    let config = configuration(dir.path(), sink.address(), 5);
    store::prepare_dir(&config.gateway.data_dir).unwrap();
    let gateway = Gateway::start(&config).unwrap();
    let sender = Arc::new(Sender::new(gateway.clone()).unwrap());
    let (stop, stopped) = watch::channel(false);
    let workers: Vec<_> = [Lane::Mail, Lane::Direct]
        .into_iter()
        .map(|lane| {
            let mut stopped = stopped.clone();
            let until = async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            let (store, settings) = (gateway.store().clone(), sender.settings(lane));
            tokio::spawn(queue::run(store, Arc::clone(&sender), settings, gateway.queued_in(lane), until))
        })
        .collect();
    gateway.handle(Request::Block { value: "unwanted@u.test".into(), undo: false }).unwrap();
    let mut town = Town {
        gateway,
        sender,
        sink,
        dir,
        random: Random(7),
        number: 0,
        sent: Sent::default(),
        last_post: Vec::new(),
    };
    let began = clock::now();
    let (mut memory, mut disk, mut delivered) = (0, 0, 0);
    for step in 0..STEPS {
        for _ in 0..each {
            town.one().await;
        }
        if step % 20 == 5 {
            // The smarthost puts some off, twice.
            let someone = format!("ann{}@a.test", town.random.below(AUTHORS));
            town.sink.refuse(&someone, &["451 4.3.0 not now", "451 4.3.0 not now"]);
        }
        town.rest().await;
        // The sink is in this process and keeps what it gets: that is none of the gateway's memory.
        delivered += town.sink.count();
        town.sink.forget();
        if step % 6 == 0 {
            let config = configuration(town.dir.path(), town.sink.address(), 3 + step % 5);
            town.gateway.reload(&config).unwrap();
            town.sender.reload().unwrap();
        }
        if step % 18 == 0 {
            let copy = town.dir.path().join("copy");
            let data = town.dir.path().join("data");
            store::backup(&data, &copy, clock::now()).unwrap().unwrap();
            let (wrong, _) = store::verify_copy(&copy).unwrap();
            assert_eq!(wrong, Vec::<String>::new(), "after {step} steps");
        }
        if step == SETTLED {
            (memory, disk) = (resident(), town.size());
        }
        clock::move_ahead(STEP);
    }
    assert!(clock::now().since(began) >= Duration::from_secs(24 * 3600));
    let (memory_now, disk_now) = (resident(), town.size());
    println!(
        "memory {memory} KiB after 10 hours, {memory_now} KiB after 24; database {disk} and {disk_now} bytes; \
         {} messages, {} mails sent",
        town.sent.new, delivered
    );
    assert!(memory_now <= memory + memory / 10 + 2048, "{memory} KiB have become {memory_now}");
    // What was sent stays in the list of deliveries for a month, so the file does grow a little.
    let pooled = town.number("SELECT count(*) FROM message WHERE state <> 'evicted' AND ?1 > 0");
    assert_eq!(pooled, POOL, "messages in the database");

    // The rest of what was put off, and of what is gathered, leaves; nothing more comes.
    for _ in 0..36 {
        clock::move_ahead(STEP);
        town.rest().await;
    }
    assert_eq!(
        town.number("SELECT count(*) FROM delivery WHERE finished IS NULL AND ?1 > 0"),
        0,
        "the queue"
    );
    // Whatever comes lets the router look round, and tidy up.
    let raw = town.mail("ann1@a.test", "Evening", "Good night to everybody in this house.");
    assert_eq!(town.arrive(Via::Smtp, "ann1@a.test", "cmr@home.test", raw).await, 250);
    town.sent.new += 1;
    let start = Instant::now();
    loop {
        town.rest().await;
        let expired = town.number(
            "SELECT (SELECT count(*) FROM raw_mail WHERE forget_after < ?1)
                  + (SELECT count(*) FROM aside WHERE forget_after < ?1)",
        );
        if expired == 0 {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{expired} things were to be forgotten");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    clock::move_ahead(STEP * 3);
    town.rest().await;

    // An attempt is counted when it is written down: a moment after the database says that nothing waits.
    let delivered = u64::try_from(delivered + town.sink.count()).unwrap();
    let start = Instant::now();
    let text = loop {
        let text = town.gateway.scrape().unwrap();
        let counted = sum(&text, "cmr_mail_delivery_attempts_total", &["ended=\"sent\""]);
        if counted >= delivered || start.elapsed() > PATIENCE {
            break text;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let total = |name: &str, labels: &[&str]| sum(&text, name, labels);
    for (via, number) in [
        ("smtp", town.sent.smtp),
        ("lmtp", town.sent.lmtp),
        ("pipe", town.sent.pipe),
        ("http", town.sent.http),
        ("udp", town.sent.udp),
    ] {
        assert!(number > 0, "{via}");
        let label = format!("via=\"{via}\"");
        assert_eq!(total("cmr_mail_arrivals_total", &[&label]), number, "{via}");
    }
    assert_eq!(total("cmr_mail_messages_total", &["fate=\"new\""]), town.sent.new);
    assert_eq!(total("cmr_mail_messages_total", &["fate=\"known\""]), town.sent.known);
    assert_eq!(total("cmr_mail_routed_total", &[]), town.sent.new);
    assert_eq!(total("cmr_mail_decision_seconds_count", &[]), town.sent.new);
    assert_eq!(total("cmr_mail_pool_messages", &[]), POOL);
    assert_eq!(total("cmr_mail_unrouted_messages", &[]), 0);
    assert_eq!(total("cmr_mail_queue_deliveries", &[]), 0);
    assert_eq!(total("cmr_mail_delivery_attempts_total", &["ended=\"sent\""]), delivered);
    assert!(total("cmr_mail_delivery_attempts_total", &["ended=\"again\""]) > 0, "some were put off");
    let wrong = store::verify_copy(&town.dir.path().join("copy")).unwrap().0;
    assert_eq!(wrong, Vec::<String>::new());
    stop.send_replace(true);
    for worker in workers {
        worker.await.unwrap();
    }
    town.gateway.close();
}

#[test]
fn nothing_grows_and_nothing_is_left_after_24_hours() {
    const HERE: &str = "CMR_MAIL_DAY";
    if std::env::var_os(HERE).is_some() {
        let each = if std::env::var_os("CMR_MAIL_FULL").is_some() { 60 } else { 6 };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(day(each));
        return;
    }
    // The clock and the memory are those of a process: it has one of its own.
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "day::nothing_grows_and_nothing_is_left_after_24_hours", "--nocapture"])
        .env(HERE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success(), "{said}");
    let line = said.lines().find(|line| line.starts_with("memory ")).unwrap_or(&said);
    println!("{line}");
}
