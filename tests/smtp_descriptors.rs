//! When the process has no descriptors left, the receiver waits without spinning and goes on
//! when there are some again. A test of its own, since the limit is the whole process's.

// In tests a panic is the report; the lint's own exception knows only `#[test]` functions.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmr_mail::listen::bind;
use cmr_mail::receive::smtp::{Options, serve};
use cmr_mail::receive::{Arrival, Handler, Verdict};
use cmr_mail::smtp::{Limits, Mode, Recipients, Reply, SessionConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;

struct Door;

impl Handler for Door {
    async fn admit(&self, _arrival: Arrival) -> Verdict {
        Reply::stored("Stored").into()
    }
}

#[test]
fn without_descriptors_the_receiver_waits_and_recovers() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let session = SessionConfig {
        hostname: "mx.example.org".to_owned(),
        mode: Mode::Smtp,
        recipients: Recipients::new(&["cmr@example.org".to_owned()], "mx.example.org").unwrap(),
        relays: Vec::new(),
        starttls: false,
        limits: Limits::default(),
    };
    let (_options, options) = watch::channel(Arc::new(Options::new(session, None)));
    let (_stop, stop) = watch::channel(false);
    runtime.spawn(serve(vec![listener], options, Arc::new(Door), stop));

    let mut stat = File::open("/proc/self/stat").unwrap();
    let limit = Rlimit { current: Some(100), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let client = TcpStream::connect(address).unwrap();
    let mut greeting = String::new();
    // Kept to the end: a session that closes meanwhile would give the receiver a descriptor.
    let mut first = BufReader::new(client);
    first.read_line(&mut greeting).unwrap();
    let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(hoard.len() > 10, "the descriptors were not used up");
    // One for the client; none is left for the receiver's side of its connection.
    hoard.pop();
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let before = cpu_ticks(&mut stat);
    let mut reader = BufReader::new(client);
    let mut line = String::new();
    assert!(reader.read_line(&mut line).is_err(), "accepted without a descriptor: {line}");
    // Spinning would use about 30 of these ticks.
    let ticks = cpu_ticks(&mut stat) - before;
    assert!(ticks < 10, "{ticks} ticks of CPU time while waiting");

    drop(hoard);
    drop(first);
    let start = Instant::now();
    reader.get_ref().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, greeting);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// The process's CPU time in ticks of 1/100 second, from its file that is open already.
fn cpu_ticks(stat: &mut File) -> u64 {
    let mut text = String::new();
    stat.rewind().unwrap();
    stat.read_to_string(&mut text).unwrap();
    let fields = text.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}
