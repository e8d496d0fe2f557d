//! A house: a directory with a configuration and its data, in which the daemon is started,
//! stopped and killed, and the verbs are run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Nothing that a daemon or a verb does takes this long, however loaded the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cmr-mail");

/// A configuration file in the making. It begins as a house on loopback that nobody trusts.
#[derive(Clone)]
pub(crate) struct Config {
    sections: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    /// Sections in double brackets.
    repeated: String,
}

impl Config {
    pub(crate) fn new() -> Config {
        Config { sections: BTreeMap::new(), repeated: String::new() }
            .text("gateway", "address", "mailto:cmr@home.test")
            .text("gateway", "hostname", "mx.home.test")
            .text("gateway", "operator", "Olga Operator <olga@home.test>")
            .text("gateway", "data_dir", "data")
            .set("smtp", "listen", r#"["127.0.0.1:0"]"#)
            // Nobody listens on port 1.
            .text("send", "smarthost", "smtp://127.0.0.1:1")
            .text("send", "retry_first", "100ms")
            .text("send", "retry_max", "1s")
            // Nothing waits to be gathered, so that an idle house is one that has said everything.
            .text("people", "digest", "0s")
            // The names of the tests are in no DNS.
            .set("authentication", "verify", "false")
            .text("log", "level", "info")
    }

    /// A key with its value as TOML.
    pub(crate) fn set(mut self, section: &'static str, key: &'static str, toml: impl Into<String>) -> Config {
        self.sections.entry(section).or_default().insert(key, toml.into());
        self
    }

    /// A key with a text as its value.
    pub(crate) fn text(self, section: &'static str, key: &'static str, text: impl AsRef<str>) -> Config {
        let quoted = toml::Value::String(text.as_ref().to_owned()).to_string();
        self.set(section, key, quoted)
    }

    /// Without this key.
    pub(crate) fn without(mut self, section: &str, key: &str) -> Config {
        if let Some(keys) = self.sections.get_mut(section) {
            keys.remove(key);
        }
        self
    }

    /// A section in double brackets, as it stands in the file.
    pub(crate) fn repeated(mut self, text: &str) -> Config {
        self.repeated.push_str(text);
        self
    }

    /// Clients on loopback are believed about who wrote their mail.
    pub(crate) fn trusting_loopback(self) -> Config {
        self.set("smtp", "trusted_networks", r#"["127.0.0.0/8"]"#)
    }

    /// What goes out goes there.
    pub(crate) fn smarthost(self, address: SocketAddr) -> Config {
        self.text("send", "smarthost", format!("smtp://{address}"))
    }

    fn write(&self) -> String {
        let mut out = String::new();
        for (section, keys) in &self.sections {
            writeln!(out, "[{section}]").unwrap();
            for (key, value) in keys {
                writeln!(out, "{key} = {value}").unwrap();
            }
        }
        out + &self.repeated
    }
}

/// The directory of one gateway.
pub(crate) struct House {
    dir: tempfile::TempDir,
}

impl House {
    pub(crate) fn new(config: &Config) -> House {
        House::new_in(&std::env::temp_dir(), config)
    }

    /// A house in a directory that may be on another disk.
    pub(crate) fn new_in(place: &Path, config: &Config) -> House {
        let dir = tempfile::Builder::new().prefix("cmr-house-").tempdir_in(place).unwrap();
        let house = House { dir };
        house.configure(config);
        house
    }

    /// Replaces the configuration file.
    pub(crate) fn configure(&self, config: &Config) {
        fs::write(self.config_file(), config.write()).unwrap();
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn config_file(&self) -> PathBuf {
        self.dir().join("cmr-mail.toml")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir().join("data/cmr-mail.db")
    }

    /// Opens the database for reading only, as nobody but a test should while the daemon runs.
    pub(crate) fn read_database(&self) -> rusqlite::Connection {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let conn = rusqlite::Connection::open_with_flags(self.database(), flags).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn
    }

    /// What the daemon has written to standard error so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.dir().join("daemon.log")
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub(crate) fn start(&self) -> Daemon {
        self.start_with(|_| {})
    }

    /// As [`House::start`], with an environment or whatever else the command is to have.
    pub(crate) fn start_with(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        self.try_start_with(change).unwrap_or_else(|status| panic!("not ready: {status}\n{}", self.log()))
    }

    /// As [`House::start_with`], for a daemon that may end before it is ready: how it ended.
    pub(crate) fn try_start_with(&self, change: impl FnOnce(&mut Command)) -> Result<Daemon, ExitStatus> {
        let mut command = Command::new(PROGRAM);
        change(&mut command);
        self.launch(command)
    }

    /// Starts the daemon out of a shell, after `prelude` was done there.
    pub(crate) fn start_after(&self, prelude: &str) -> Daemon {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("{prelude}; exec \"$0\" \"$@\"")).arg(PROGRAM);
        self.launch(command).unwrap_or_else(|status| panic!("not ready: {status}\n{}", self.log()))
    }

    fn launch(&self, mut command: Command) -> Result<Daemon, ExitStatus> {
        let log = File::options().append(true).create(true).open(self.log_file()).unwrap();
        let mut child = command
            .arg("--config")
            .arg(self.config_file())
            .arg("serve")
            .current_dir(self.dir())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = child.stdout.take().unwrap();
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let mut daemon = Daemon { child, lines, listening: Vec::new(), log: self.log_file() };
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    /// Runs a verb with this standard input and returns whatever came of it.
    pub(crate) fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(PROGRAM)
            .arg("--config")
            .arg(self.config_file())
            .args(args)
            .current_dir(self.dir())
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A verb that does not read its input may be gone by now.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// Runs a verb that has to succeed; its standard output.
    pub(crate) fn verb(&self, args: &[&str]) -> Vec<u8> {
        let output = self.run(args, b"");
        assert!(
            output.status.success(),
            "cmr-mail {args:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Runs a verb with `--json`; its result.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let stdout = self.verb(&args);
        serde_json::from_slice(&stdout)
            .unwrap_or_else(|e| panic!("cmr-mail {args:?}: {e}: {}", String::from_utf8_lossy(&stdout)))
    }

    /// `show` of this id, or nothing if there is no such message.
    pub(crate) fn show(&self, id: &str) -> Option<Value> {
        let output = self.run(&["show", id, "--json"], b"");
        match output.status.code() {
            Some(0) => Some(serde_json::from_slice(&output.stdout).unwrap()),
            Some(65 | 69) => None,
            _ => panic!("show {id}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// Asks again and again until the answer is this one.
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut(&House) -> Option<T>) -> T {
        until(what, || look(self))
    }

    /// Waits until every message has been decided on and nothing waits to leave, for as long as
    /// that makes progress.
    pub(crate) fn until_idle(&self) {
        let (mut least, mut since) = (u64::MAX, Instant::now());
        loop {
            let status = self.json(&["status"]);
            let left = status["unrouted"].as_u64().unwrap() + status["queued"].as_u64().unwrap();
            if left == 0 {
                return;
            }
            if left < least {
                (least, since) = (left, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "nothing is routed or sent any more: {status}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.get(lines.len().saturating_sub(100)..).unwrap_or_default();
            println!("--- the daemon's last words ---\n{}\n---", last.join("\n"));
        }
    }
}

/// Looks again and again, until there is something or patience ends.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        // Not to make two things happen in order, only to leave the processor to others.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
    listening: Vec<(String, SocketAddr)>,
    log: PathBuf,
}

impl Daemon {
    fn wait_until_ready(&mut self) -> Result<(), ExitStatus> {
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return Err(self.child.wait().unwrap()),
                Err(RecvTimeoutError::Timeout) => {
                    let log = fs::read_to_string(&self.log).unwrap_or_default();
                    panic!("the daemon is not ready, and says nothing\n{log}");
                }
            };
            if line == "ready" {
                return Ok(());
            }
            let words: Vec<&str> = line.split(' ').collect();
            let ["listening", name, address] = words[..] else {
                panic!("unexpected line on standard output: {line:?}");
            };
            self.listening.push((name.to_owned(), address.parse().unwrap()));
        }
    }

    /// Where the SMTP receiver listens.
    pub(crate) fn smtp(&self) -> SocketAddr {
        self.address("smtp")
    }

    /// Where this part of it listens: `smtp`, `lmtp`, `filter`.
    pub(crate) fn address(&self, part: &str) -> SocketAddr {
        let found = self.listening.iter().find(|(name, _)| name == part);
        found.unwrap_or_else(|| panic!("the daemon names no {part} listener")).1
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGHUP.
    pub(crate) fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// SIGTERM; the end is still to be waited for.
    pub(crate) fn begin_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("the daemon ends", || self.child.try_wait().unwrap())
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops every thread where it stands, as SIGKILL would, but leaves the process to be
    /// looked at.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        until("every thread stands still", || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).ok()?;
            for task in tasks {
                let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
                // The state follows the name, which is in parentheses and may hold anything.
                let state = stat.rsplit_once(") ")?.1.chars().next()?;
                if !matches!(state, 'T' | 't' | 'Z' | 'X') {
                    return None;
                }
            }
            Some(())
        });
    }

    /// A number out of `/proc/PID/status`, in KiB.
    pub(crate) fn memory_kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
