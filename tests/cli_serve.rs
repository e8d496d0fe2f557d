//! The daemon as its supervisor sees it: lines on standard output, signals, exit codes, and what
//! systemd is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod cli_support;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{ChildStderr, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use cli_support::{House, Running};
use rustix::process::Signal;

struct Serving {
    child: Running,
    listening: Vec<(String, SocketAddr)>,
    log: Lines<BufReader<ChildStderr>>,
    out: Lines<BufReader<ChildStdout>>,
}

impl Serving {
    fn start(house: &House, environment: &[(&str, &str)]) -> Serving {
        let mut child = house
            .command("serve")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut listening = Vec::new();
        let child = Running(child);
        loop {
            let line = out.next().expect("it ended without ready").unwrap();
            if line == "ready" {
                return Serving { child, listening, log, out };
            }
            let words: Vec<_> = line.split(' ').collect();
            let ["listening", name, address] = words[..] else { panic!("{line}") };
            listening.push((name.to_owned(), address.parse().unwrap()));
        }
    }

    /// Reads the log until a line holds this.
    fn wait_for(&mut self, text: &str) -> String {
        self.log.by_ref().map(Result::unwrap).find(|line| line.contains(text)).expect(text)
    }

    fn stop(mut self) -> i32 {
        self.child.signal(Signal::TERM);
        let code = self.child.wait();
        assert!(self.out.next().is_none(), "nothing after ready");
        code
    }
}

#[test]
fn it_says_where_it_listens_and_then_ready_and_ends_with_0() {
    let house = House::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut serving = Serving::start(&house, &[]);
        let [(name, address)] = &serving.listening[..] else { panic!("{:?}", serving.listening) };
        assert_eq!(name, "smtp");
        assert_ne!(address.port(), 0, "the port it got, not the one that was asked for");
        let mut greeting = String::new();
        BufReader::new(TcpStream::connect(address).unwrap()).read_line(&mut greeting).unwrap();
        assert!(greeting.starts_with("220 mx.example.org "), "{greeting}");
        serving.child.signal(signal);
        assert_eq!(serving.child.wait(), 0);
        assert!(TcpStream::connect(*address).is_err());
    }
}

#[test]
fn several_addresses_or_none() {
    let house = House::with("[smtp]\nlisten = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\n");
    let serving = Serving::start(&house, &[]);
    assert_eq!(serving.listening.len(), 2);
    assert_eq!(serving.stop(), 0);
    let house = House::with("[smtp]\nlisten = []\n");
    let serving = Serving::start(&house, &[]);
    assert!(serving.listening.is_empty());
    assert_eq!(serving.stop(), 0);
}

#[test]
fn a_wrong_configuration_is_refused_by_hang_up_and_the_old_one_stays() {
    let house = House::new();
    let mut serving = Serving::start(&house, &[]);
    let address = serving.listening[0].1;
    serving.wait_for("ready");
    let good = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), good.replace("[smtp]", "[smtp]\nmax_message = 7")).unwrap();
    serving.child.signal(Signal::HUP);
    serving.wait_for("the old configuration stays");
    serving.wait_for("max_message");
    let size = |address: SocketAddr| {
        let stream = TcpStream::connect(address).unwrap();
        let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
        lines.next().unwrap();
        (&stream).write_all(b"EHLO me.example.org\r\n").unwrap();
        let line = lines.find(|line| line.contains("SIZE")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(size(address), 10 << 20);
    let better = good.replace("[smtp]", "[smtp]\nmax_message = \"2 MiB\"");
    let better = better.replace("127.0.0.1:0", "127.0.0.2:0");
    std::fs::write(house.config(), better).unwrap();
    serving.child.signal(Signal::HUP);
    let doubt = serving.wait_for("next start");
    assert!(doubt.contains("[smtp] listen"), "{doubt}");
    serving.wait_for("configuration read again");
    assert_eq!(size(address), 2 << 20, "new sessions go by the new configuration");
    assert_eq!(serving.stop(), 0);
}

/// Where systemd would listen, and what it is told next.
fn systemd(house: &House) -> (String, impl Fn() -> String) {
    let path = house.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let told = move || {
        let mut buffer = [0; 1000];
        let n = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n]).trim().to_owned()
    };
    (path.into_os_string().into_string().unwrap(), told)
}

#[test]
fn systemd_is_told() {
    let house = House::new();
    let (path, told) = systemd(&house);
    let serving = Serving::start(&house, &[("NOTIFY_SOCKET", path.as_str())]);
    assert_eq!(told(), "READY=1");
    serving.child.signal(Signal::HUP);
    let reloading = told();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(), "READY=1");
    assert_eq!(serving.stop(), 0);
    assert_eq!(told(), "STOPPING=1");
}

#[test]
fn the_watchdog_hears_of_it_until_the_end() {
    let house = House::new();
    let (path, told) = systemd(&house);
    let wanted = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "200000")];
    let serving = Serving::start(&house, &wanted);
    assert_eq!(told(), "READY=1");
    for _ in 0..3 {
        assert_eq!(told(), "WATCHDOG=1");
    }
    assert_eq!(serving.stop(), 0);
}

#[test]
fn what_cannot_start_says_why_and_leaves_nothing_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let house = House::with(&format!("[smtp]\nlisten = [\"{address}\"]\n"));
    let ended = house.run("serve", b"").code(69);
    assert!(ended.err.contains(&address.to_string()), "{}", ended.err);
    assert_eq!(ended.out, "");
    assert!(!house.data().join("control.sock").exists());

    let house = House::with("intake_socket = \"none/intake.sock\"\n[smtp]\nlisten = []\n");
    let ended = house.run("serve", b"").code(73);
    assert!(ended.err.contains("none/intake.sock"), "{}", ended.err);

    let house = House::with("[smtp]\nlisten = []\n");
    std::fs::write(house.data().join("photo"), "of others").unwrap();
    std::fs::set_permissions(house.data(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ended = house.run("serve", b"").code(73);
    assert!(ended.err.contains("chmod 700"), "{}", ended.err);
}

#[test]
fn the_log_goes_to_standard_error_in_the_form_that_is_asked_for() {
    let house = House::with("[smtp]\nlisten = []\n[log]\nformat = \"json\"\n");
    let mut serving = Serving::start(&house, &[]);
    let line = serving.wait_for("ready");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"ready".into()));
    assert_eq!(serving.stop(), 0);

    let house = House::with("[smtp]\nlisten = []\n[log]\nlevel = \"error\"\n");
    let mut serving = Serving::start(&house, &[]);
    serving.child.signal(Signal::TERM);
    assert_eq!(serving.child.wait(), 0);
    assert_eq!(serving.log.map(Result::unwrap).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn it_serves_although_nobody_reads_what_it_says() {
    let house = House::new();
    let mut child = house.command("serve").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut child = Running(child);
    let mut lines = log.lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("ready")));
    drop(lines);
    child.signal(Signal::HUP);
    child.signal(Signal::TERM);
    assert_eq!(child.wait(), 0);
}

/// A mail that is just coming in is finished; its client is not cut off in the middle of it.
#[test]
fn a_mail_under_way_is_finished_before_the_end() {
    let house = House::new();
    let mut serving = Serving::start(&house, &[]);
    let mut stream = TcpStream::connect(serving.listening[0].1).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    let mut reply = |of: &str| {
        let mut line = String::new();
        while line.as_bytes().get(3) != Some(&b' ') {
            line.clear();
            replies.read_line(&mut line).unwrap();
            assert_ne!(line, "", "no reply to {of}");
        }
        line
    };
    reply("the connection");
    for command in ["EHLO me.example.org", "MAIL FROM:<a@example.com>", "RCPT TO:<cmr@example.org>", "DATA"] {
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let line = reply(command);
        assert!(line.starts_with('2') || line.starts_with('3'), "{command}: {line}");
    }
    stream.write_all(b"From: a@example.com\r\nSubject: x\r\n\r\n").unwrap();
    serving.child.signal(Signal::TERM);
    serving.wait_for("stopping");
    stream.write_all(b"Which planet?\r\n.\r\n").unwrap();
    let answer = reply("the mail");
    assert!(answer.starts_with('2') || answer.starts_with('4') || answer.starts_with('5'), "{answer}");
    let start = Instant::now();
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(serving.child.wait(), 0);
    assert!(start.elapsed() < Duration::from_secs(30));
}
