//! One gateway of the demo: `cmr-mail serve` as a process of its own, with its configuration
//! and data in a temporary directory. It ends with the demo, whatever happens.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::DemoError;
use crate::gateway::api::{Explained, Request};
use crate::gateway::control;

/// How long a gateway may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a gateway of the demo is told.
pub(super) struct Settings<'a> {
    /// Its domain, for example `bob.example`.
    pub(super) domain: &'a str,
    /// The human behind it.
    pub(super) operator: &'a str,
    /// The mail host that takes its outgoing mail.
    pub(super) smarthost: SocketAddr,
    /// The gateways that its operator listed.
    pub(super) pinned: &'a [&'a str],
}

/// A running `cmr-mail serve`.
#[derive(Debug)]
pub(super) struct GatewayProcess {
    child: Child,
    /// Where it takes mail.
    pub(super) smtp: SocketAddr,
    /// Its configuration file.
    pub(super) config: PathBuf,
    data_dir: PathBuf,
    log: PathBuf,
}

impl GatewayProcess {
    /// Writes its configuration under `dir`, starts it and waits until it says `ready`.
    pub(super) fn start(program: &Path, dir: &Path, settings: &Settings<'_>) -> Result<Self, DemoError> {
        let home = dir.join(settings.domain);
        fs::create_dir_all(&home).map_err(|source| DemoError::Place { path: home.clone(), source })?;
        let config = home.join("cmr-mail.toml");
        let data_dir = home.join("data");
        let log = home.join("serve.log");
        fs::write(&config, configuration(settings)).map_err(|source| DemoError::Place { path: config.clone(), source })?;
        let stderr = fs::File::create(&log).map_err(|source| DemoError::Place { path: log.clone(), source })?;
        let mut child = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|source| DemoError::Start { domain: settings.domain.to_owned(), source })?;
        let smtp = match child.stdout.take().map(|out| await_ready(out)) {
            Some(Some(address)) => address,
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(DemoError::NotReady { domain: settings.domain.to_owned(), said });
            }
        };
        Ok(GatewayProcess { child, smtp, config, data_dir, log })
    }

    /// Why a message went where it went, from the gateway itself.
    pub(super) fn explain(&self, id: &str) -> Option<Explained> {
        let request = Request::Explain { id: id.to_owned() };
        let answer = control::call(&control::socket_path(&self.data_dir), &request, PATIENCE).ok()?;
        serde_json::from_value(answer.ok()?).ok()
    }

    /// What it wrote to its log.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to end and waits until it did.
    fn stop(&mut self) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Reads `listening smtp ADDRESS` and waits for `ready`. The thread that reads goes on to the
/// end of the output, so that the gateway never writes into a closed pipe.
fn await_ready(out: impl io::Read + Send + 'static) -> Option<SocketAddr> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let until = Instant::now() + PATIENCE;
    let mut address = None;
    loop {
        let line = lines.recv_timeout(until.saturating_duration_since(Instant::now())).ok()?;
        if let Some(listening) = line.strip_prefix("listening smtp ") {
            address = listening.trim().parse().ok();
        }
        if line.trim() == "ready" {
            return address;
        }
    }
}

fn configuration(settings: &Settings<'_>) -> String {
    let Settings { domain, operator, smarthost, pinned } = settings;
    let pinned: Vec<String> = pinned.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "# One gateway of the demo. Everything is on this machine, so the mail hosts on\n\
         # loopback are believed about who wrote a mail, and posts are public at once.\n\
         [gateway]\n\
         address = \"mailto:cmr@{domain}\"\n\
         hostname = \"gateway.{domain}\"\n\
         operator = \"{operator}\"\n\
         data_dir = \"data\"\n\
         [smtp]\n\
         listen = [\"127.0.0.1:0\"]\n\
         recipients = [\"cmr@{domain}\"]\n\
         trusted_networks = [\"127.0.0.0/8\"]\n\
         [send]\n\
         smarthost = \"smtp://{smarthost}\"\n\
         from = \"cmr@{domain}\"\n\
         [people]\n\
         first_post = \"publish\"\n\
         [routing]\n\
         first_walks = 1\n\
         pinned = [{}]\n",
        pinned.join(", ")
    )
}
