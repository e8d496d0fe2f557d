//! Mails a second through Postfix with this content filter, with a relay of the same listener that
//! decides nothing, and with the pipe: `cargo bench --bench filter`.
//!
//! The same Postfix, the same mails (2 KiB and real ones), one after the other, in turns. From the
//! first MAIL to the last mail in the maildir: everything that Postfix does is counted in each.
//!
//! Needs the Debian package `postfix`, and root, because Postfix starts as root only.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark that cannot go on has nothing better to do"
)]

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "../tests/postfix/mails.rs"]
mod mails;
#[path = "../tests/postfix/server.rs"]
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use cmr_mail::filter::Judgement;
use cmr_mail::listen::bind;
use cmr_mail::receive::filter::{Judge, Options, Passing, serve};
use cmr_mail::smtp::Reply;
use server::{Postfix, Setup, free_port};
use support::daemon::{Config, House, PROGRAM};
use tokio::sync::watch;

const ROUNDS: usize = 3;
const MAILS: usize = 600;
const MAILS_PIPE: usize = 100;

/// Passes everything, and looks at nothing.
struct Nothing;

impl Judge for Nothing {
    fn takes(&self, _: &str, _: Option<u64>) -> bool {
        false
    }

    fn most(&self) -> usize {
        0
    }

    async fn judge(&self, _: Passing) -> Judgement {
        Judgement::Go { stamp: None, taken: Reply::stored("") }
    }
}

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("filter: measures only under `cargo bench`");
        return;
    }
    println!("{} processors", std::thread::available_parallelism().unwrap());
    for (kind, pattern) in [("mails of 2 KiB", small()), ("real mails and made ones", real())] {
        println!(
            "\n{kind}: {MAILS} by each filter, {MAILS_PIPE} by the pipe; mails a second, from MAIL to the maildir"
        );
        println!("{:>7} {:>10} {:>10} {:>10} {:>10}", "round", "no filter", "relay", "filter", "pipe");
        let mut rates: [Vec<f64>; 4] = Default::default();
        for round in 1..=ROUNDS {
            let row = [without(&pattern), relayed(&pattern), filtered(&pattern), piped(&pattern)];
            println!("{round:>7} {:>10.1} {:>10.1} {:>10.1} {:>10.1}", row[0], row[1], row[2], row[3]);
            for (all, rate) in rates.iter_mut().zip(row) {
                all.push(rate);
            }
        }
        let [none, relay, filter, pipe] = rates.map(|mut all| {
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        });
        println!("{:>7} {none:>10.1} {relay:>10.1} {filter:>10.1} {pipe:>10.1}", "median");
        println!("the filter: {:.2} of the relay, {:.1} times the pipe", filter / relay, filter / pipe);
    }
}

fn small() -> Vec<Vec<u8>> {
    (0..MAILS).map(|at| mails::numbered(at, 1_900)).collect()
}

fn real() -> Vec<Vec<u8>> {
    let mut all = mails::mails(MAILS + 40);
    // The few large ones would drown the others.
    all.retain(|mail| mail.len() < 100_000);
    all.truncate(MAILS);
    all
}

fn rate(postfix: &Postfix, entrance: SocketAddr, mails: &[Vec<u8>]) -> f64 {
    let start = Instant::now();
    mails::send_all(entrance, mails);
    postfix.wait_until_empty();
    let took = start.elapsed();
    assert_eq!(postfix.delivered(), mails.len());
    mails.len() as f64 / took.as_secs_f64()
}

fn without(mails: &[Vec<u8>]) -> f64 {
    let postfix = Postfix::start(&Setup::default(), None);
    rate(&postfix, postfix.plain, mails)
}

fn relayed(mails: &[Vec<u8>]) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (listen, back) = (free_port(), free_port());
    let postfix = Postfix::start(&Setup::filtered_by(listen), Some(back));
    let spool = tempfile::tempdir().unwrap();
    let options = Options::new("cmr.test", back, spool.path().to_owned());
    let (stop, stopping) = watch::channel(false);
    let listener = runtime.block_on(async { bind(listen) }).unwrap();
    let (_told, options) = watch::channel(Arc::new(options));
    let serving = runtime.spawn(serve(listener, options, Arc::new(Nothing), stopping));
    let rate = rate(&postfix, postfix.entrance, mails);
    stop.send_replace(true);
    runtime.block_on(serving).unwrap();
    rate
}

fn config(listen: SocketAddr, back: SocketAddr) -> Config {
    Config::new()
        .text("filter", "listen", listen.to_string())
        .text("filter", "next_hop", back.to_string())
        .text("filter", "mode", "copy")
        .text("log", "level", "warn")
}

fn filtered(mails: &[Vec<u8>]) -> f64 {
    let (listen, back) = (free_port(), free_port());
    let postfix = Postfix::start(&Setup::filtered_by(listen), Some(back));
    let house = House::new(&config(listen, back));
    let daemon = house.start();
    let rate = rate(&postfix, postfix.entrance, mails);
    assert!(daemon.stop().success());
    rate
}

fn piped(mails: &[Vec<u8>]) -> f64 {
    use std::os::unix::fs::PermissionsExt as _;
    let back = free_port();
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    open(dir.path());
    let program = dir.path().join("cmr-mail");
    std::fs::copy(PROGRAM, &program).unwrap();
    let intake = dir.path().join("intake.sock");
    let house =
        House::new(&config(free_port(), back).text("gateway", "intake_socket", intake.to_str().unwrap()));
    open(house.dir());
    let daemon = house.start();
    let setup = Setup {
        filter: Some("cmrpipe:dummy".to_owned()),
        master: format!(
            "cmrpipe unix - n n - 20 pipe\n  flags=Rq user=nobody null_sender=\n  \
             argv={} --config {} filter --by smtp -f ${{sender}} -- ${{recipient}}\n",
            program.display(),
            house.dir().join("cmr-mail.toml").display()
        ),
        ..Setup::default()
    };
    let postfix = Postfix::start(&setup, Some(back));
    let mails = &mails[..mails.len().min(MAILS_PIPE)];
    let rate = rate(&postfix, postfix.entrance, mails);
    assert!(daemon.stop().success());
    rate
}
