//! How many mails a second are accepted, durably, by this program and by Postfix, on the same
//! disk in the same run: `cargo bench --bench receive`.
//!
//! Postfix's own `smtp-source` sends the same mails with the same options to both, in turns.
//! While it receives, each of them goes on with its other work as usual: Postfix delivers from its
//! queue, and this program decides where the messages go. Postfix's queue is empty again before it
//! is our turn; our daemon starts anew for each round and has ended before it is Postfix's turn.
//!
//! Needs the Debian package `postfix`, and root, because Postfix starts as root only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on has nothing better to do"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::client::Client;
use support::daemon::{Config, House, until};

const SESSIONS: usize = 20;
const LENGTH: usize = 2_048;
const ROUNDS: usize = 5;
/// Enough for several seconds of either of them.
const MAILS_POSTFIX: usize = 3_000;
const MAILS_OURS: usize = 15_000;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("receive: measures only under `cargo bench`");
        return;
    }
    let disk = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let scratch = tempfile::Builder::new().prefix("receive-").tempdir_in(&disk).unwrap();
    // Postfix's processes run as another user and have to get through.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    println!(
        "{} processors, {} in {}; mails of {LENGTH} bytes, {SESSIONS} sessions",
        std::thread::available_parallelism().unwrap(),
        file_system(scratch.path()),
        disk.display()
    );

    let postfix = Postfix::start(&scratch.path().join("postfix"));
    let config = Config::new()
        .trusting_loopback()
        .text("policy", "who_may_post", "anyone")
        .text("policy", "post_at_most", "4000000000/s")
        .text("people", "first_post", "publish")
        .text("log", "level", "warn");

    for (kind, flags) in [("one connection for each mail", &[][..]), ("connections kept open", &["-d"][..])] {
        println!("\n{kind}: smtp-source -s {SESSIONS} -l {LENGTH} {}", flags.join(" "));
        println!("{:>7} {:>12} {:>12} {:>12} {:>14}", "round", "Postfix", "cmr-mail", "routed", "memory");
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            let their_rate = source(postfix.address, MAILS_POSTFIX, flags);
            postfix.wait_until_empty();

            let house = House::new_in(scratch.path(), &config);
            let daemon = house.start();
            let our_rate = source(daemon.smtp(), MAILS_OURS, flags);
            let status = house.json(&["status"]);
            let number = |field: &str| status[field].as_u64().unwrap();
            let routed = number("messages") - number("unrouted");
            println!(
                "{round:>7} {their_rate:>10.0}/s {our_rate:>10.0}/s {routed:>12} {:>10} MiB",
                daemon.memory_kib("VmHWM") / 1_024
            );
            assert_eq!(number("messages"), u64::try_from(MAILS_OURS).unwrap(), "what was accepted is stored");
            assert!(daemon.stop().success());
            theirs.push(their_rate);
            ours.push(our_rate);
        }
        let (their_rate, our_rate) = (median(&mut theirs), median(&mut ours));
        println!(
            "{:>7} {their_rate:>10.0}/s {our_rate:>10.0}/s   {:.1} times Postfix",
            "median",
            our_rate / their_rate
        );
    }
}

/// Sends so many mails and returns how many were accepted in a second.
fn source(server: SocketAddr, mails: usize, flags: &[&str]) -> f64 {
    let start = Instant::now();
    let output = Command::new("smtp-source")
        .args(["-s", &SESSIONS.to_string(), "-l", &LENGTH.to_string(), "-m", &mails.to_string()])
        .args(["-f", "alice@people.test", "-t", "cmr@home.test", "-M", "client.test"])
        .args(flags)
        .arg(format!("inet:{server}"))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("smtp-source can't be run ({e}): apt-get install postfix"));
    let took = start.elapsed();
    // It stops at the first reply that is not a success.
    assert!(output.status.success(), "smtp-source: {}", String::from_utf8_lossy(&output.stderr));
    let mails = u32::try_from(mails).unwrap();
    f64::from(mails) / took.as_secs_f64()
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// The type of the file system that holds this directory.
fn file_system(dir: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let dir = dir.canonicalize().unwrap();
    let under = |mount: &str| dir.starts_with(mount);
    let mut fields = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, mount, kind) = (words.next()?, words.next()?, words.next()?);
        under(mount).then(|| (mount.len(), kind.to_owned()))
    });
    let first = fields.next();
    let longest = fields.fold(first, |best, next| best.max(Some(next)));
    longest.map_or_else(|| "unknown file system".to_owned(), |(_, kind)| kind)
}

/// A Postfix of our own: it takes mail for one domain into its queue, as safely as it always
/// does, and throws it away from there.
struct Postfix {
    config: PathBuf,
    queue: PathBuf,
    address: SocketAddr,
}

impl Postfix {
    fn start(dir: &Path) -> Postfix {
        let port = {
            let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            probe.local_addr().unwrap().port()
        };
        let (config, queue, data) = (dir.join("config"), dir.join("queue"), dir.join("data"));
        for sub in [&config, &queue, &data] {
            fs::create_dir_all(sub).unwrap();
        }
        let chown = Command::new("chown").arg("postfix").arg(&data).status().unwrap();
        assert!(chown.success(), "there is no user postfix: apt-get install postfix");
        fs::write(config.join("main.cf"), main_cf(&queue, &data, dir)).unwrap();
        fs::write(config.join("master.cf"), master_cf(port)).unwrap();
        let postfix = Postfix { config, queue, address: (Ipv4Addr::LOCALHOST, port).into() };
        let output = postfix.control("start");
        assert!(
            output.status.success(),
            "postfix start (it needs root): {}",
            String::from_utf8_lossy(&output.stderr)
        );
        until("Postfix answers", || Client::connect(postfix.address).ok());
        postfix
    }

    fn control(&self, verb: &str) -> std::process::Output {
        Command::new("postfix")
            .arg("-c")
            .arg(&self.config)
            .arg(verb)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("postfix can't be run ({e}): apt-get install postfix"))
    }

    fn wait_until_empty(&self) {
        until("Postfix's queue is empty", || {
            let empty = |name| files(&self.queue.join(name)) == 0;
            ["maildrop", "incoming", "active", "deferred"].into_iter().all(empty).then_some(())
        });
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = self.control("stop");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// How many files there are under a directory; those that disappear meanwhile do not count.
fn files(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 })
        .sum()
}

fn main_cf(queue: &Path, data: &Path, log: &Path) -> String {
    let settings = [
        ("compatibility_level", "3.6".to_owned()),
        ("queue_directory", queue.display().to_string()),
        ("data_directory", data.display().to_string()),
        ("maillog_file_prefixes", log.display().to_string()),
        ("maillog_file", log.join("log").display().to_string()),
        ("myhostname", "mx.home.test".to_owned()),
        ("inet_interfaces", "127.0.0.1".to_owned()),
        ("inet_protocols", "ipv4".to_owned()),
        ("mynetworks", "127.0.0.0/8".to_owned()),
        ("mydestination", "home.test".to_owned()),
        // Any local part exists, and is thrown away.
        ("local_recipient_maps", String::new()),
        ("local_transport", "discard:".to_owned()),
        ("default_transport", "discard:".to_owned()),
        ("alias_maps", String::new()),
        ("alias_database", String::new()),
        ("smtp_dns_support_level", "disabled".to_owned()),
        ("smtpd_peername_lookup", "no".to_owned()),
        // Nothing that would slow it down on purpose.
        ("default_process_limit", "100".to_owned()),
        ("smtpd_client_connection_count_limit", "0".to_owned()),
        ("smtpd_client_connection_rate_limit", "0".to_owned()),
        ("smtpd_error_sleep_time", "0".to_owned()),
        ("in_flow_delay", "0".to_owned()),
    ];
    settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

/// The services, unprivileged and not in a chroot: name, type, private, wakeup, limit, program.
fn master_cf(port: u16) -> String {
    let smtpd = format!("127.0.0.1:{port}");
    let services = [
        (smtpd.as_str(), "inet", "n", "-", "-", "smtpd"),
        ("pickup", "unix", "n", "60", "1", "pickup"),
        ("cleanup", "unix", "n", "-", "0", "cleanup"),
        ("qmgr", "unix", "n", "300", "1", "qmgr"),
        ("rewrite", "unix", "-", "-", "-", "trivial-rewrite"),
        ("bounce", "unix", "-", "-", "0", "bounce"),
        ("defer", "unix", "-", "-", "0", "bounce"),
        ("trace", "unix", "-", "-", "0", "bounce"),
        ("verify", "unix", "-", "-", "1", "verify"),
        ("flush", "unix", "n", "1000?", "0", "flush"),
        ("proxymap", "unix", "-", "-", "-", "proxymap"),
        ("error", "unix", "-", "-", "-", "error"),
        ("retry", "unix", "-", "-", "-", "error"),
        ("discard", "unix", "-", "-", "-", "discard"),
        ("anvil", "unix", "-", "-", "1", "anvil"),
        ("showq", "unix", "n", "-", "-", "showq"),
        ("postlog", "unix-dgram", "n", "-", "1", "postlogd"),
    ];
    services
        .iter()
        .map(|(name, kind, private, wakeup, limit, program)| {
            format!("{name} {kind} {private} - n {wakeup} {limit} {program}\n")
        })
        .collect()
}
