//! One gateway of the demo: `cmr-mail serve` as a process of its own, with its configuration
//! and data under the demo's directory. It ends with the demo, whatever happens to that.
//!
//! It knows processes, their output and the control socket. It must never know the story.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;

use super::DemoError;
use crate::gateway::api::{Explained, Request, Status};
use crate::gateway::control;

/// How long a gateway may take to answer, and to stop when it is told to.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many of the last lines of its log are shown when it failed.
const LINES: usize = 8;

/// What a gateway of the demo is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a> {
    /// Its domain, for example `bob.example`.
    pub(super) domain: &'a str,
    /// The human behind it.
    pub(super) operator: &'a str,
    /// The domains of the gateways that its operator listed.
    pub(super) listed: &'a [&'a str],
    /// To how many of them it sends a new message.
    pub(super) first_walks: usize,
}

/// What a gateway's process has to say.
#[derive(Debug)]
pub(super) enum Sign {
    /// A line on its standard output.
    Line(String),
    /// It has ended.
    Ended,
}

/// A running `cmr-mail serve`.
#[derive(Debug)]
pub(super) struct GatewayProcess {
    /// Its domain.
    pub(super) domain: String,
    /// Its configuration file.
    pub(super) config: PathBuf,
    /// Where it takes mail, as soon as it has said so.
    pub(super) smtp: Option<SocketAddr>,
    ready: bool,
    child: Child,
    ended: Receiver<()>,
    data_dir: PathBuf,
    log: PathBuf,
}

impl GatewayProcess {
    /// Writes its configuration under `dir` and starts it. What it says afterwards is handed to
    /// `tell` on a thread, for [`GatewayProcess::hears`].
    pub(super) fn start(
        program: &Path,
        dir: &Path,
        settings: Settings<'_>,
        smarthost: SocketAddr,
        tell: impl Fn(Sign) + Send + 'static,
    ) -> Result<Self, DemoError> {
        let domain = settings.domain.to_owned();
        let home = dir.join(&domain);
        let (config, log) = (home.join("cmr-mail.toml"), home.join("serve.log"));
        let stderr = fs::create_dir_all(&home)
            .and_then(|()| fs::write(&config, configuration(settings, smarthost)))
            .and_then(|()| fs::File::create(&log))
            .map_err(|source| DemoError::Place { path: home.clone(), source })?;
        let mut child = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            // A service manager that started the demo means the demo.
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // Ctrl-C goes to the demo alone, which then ends its gateways one after the other.
            .process_group(0)
            .spawn()
            .map_err(|source| DemoError::Start { domain: domain.clone(), source })?;
        let (end, ended) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            let name = format!("out-{domain}");
            let listen = thread::Builder::new().name(name).spawn(move || {
                listen(out, &tell);
                drop(end);
            });
            if let Err(source) = listen {
                let _ = child.kill();
                let _ = child.wait();
                return Err(DemoError::Start { domain, source });
            }
        }
        Ok(GatewayProcess {
            domain,
            config,
            smtp: None,
            ready: false,
            child,
            ended,
            data_dir: data_dir(&home),
            log,
        })
    }

    /// Takes note of a line that it wrote.
    pub(super) fn hears(&mut self, line: &str) {
        if let Some(listening) = line.strip_prefix("listening smtp ") {
            self.smtp = listening.trim().parse().ok();
        }
        self.ready |= line.trim() == "ready";
    }

    /// Whether it takes mail.
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Why a message went where it went.
    pub(super) fn explain(&self, id: &str) -> Result<Explained, DemoError> {
        self.ask(&Request::Explain { id: id.to_owned() })
    }

    /// Whether nothing waits in it: no message for a decision, no mail for its way out.
    pub(super) fn is_idle(&self) -> Result<bool, DemoError> {
        let status: Status = self.ask(&Request::Status)?;
        Ok(status.unrouted == 0 && status.queued == 0)
    }

    /// The last lines of its log, each after two spaces.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.iter().skip(lines.len().saturating_sub(LINES));
        last.map(|line| format!("\n  {line}")).collect()
    }

    fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, DemoError> {
        let failed = |why: String| DemoError::Ask { domain: self.domain.clone(), why };
        let answer = control::call(&control::control_path(&self.data_dir), request, PATIENCE)
            .map_err(|error| failed(error.to_string()))?
            .map_err(|failure| failed(failure.sentence))?;
        serde_json::from_value(answer).map_err(|error| failed(error.to_string()))
    }

    /// Tells it to finish what is under way and to end. Does not wait for that.
    pub(super) fn tell_to_stop(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits until it has ended, and makes it end if that takes too long.
    fn stop(&mut self) {
        // Until `wait` has been called the number of the process is not given to another one.
        self.tell_to_stop();
        // Nothing is ever sent: this waits for the end of its output.
        if self.ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where a gateway keeps its data, as its configuration says.
pub(super) fn data_dir(home: &Path) -> PathBuf {
    home.join("data")
}

fn listen(out: impl Read, tell: &impl Fn(Sign)) {
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        tell(Sign::Line(line));
    }
    tell(Sign::Ended);
}

fn configuration(settings: Settings<'_>, smarthost: SocketAddr) -> String {
    let Settings { domain, operator, listed, first_walks } = settings;
    let pinned: Vec<String> = listed.iter().map(|domain| format!("\"mailto:cmr@{domain}\"")).collect();
    format!(
        "# One gateway of the demo. Everything is on this machine, so that the mail servers on\n\
         # loopback are believed about who wrote a mail, and posts are public at once.\n\
         [gateway]\n\
         address = \"mailto:cmr@{domain}\"\n\
         hostname = \"gateway.{domain}\"\n\
         operator = \"{operator}\"\n\
         data_dir = \"data\"\n\
         \n\
         [smtp]\n\
         listen = [\"127.0.0.1:0\"]\n\
         recipients = [\"cmr@{domain}\"]\n\
         trusted_networks = [\"127.0.0.0/8\"]\n\
         \n\
         [send]\n\
         smarthost = \"smtp://{smarthost}\"\n\
         from = \"cmr@{domain}\"\n\
         retry_first = \"1s\"\n\
         retry_max = \"5s\"\n\
         give_up = \"1m\"\n\
         \n\
         [people]\n\
         first_post = \"publish\"\n\
         \n\
         [routing]\n\
         pinned = [{}]\n\
         # A net of three: a message makes one step at a time, and one step reaches everybody.\n\
         first_walks = {first_walks}\n\
         max_hops = 2\n",
        pinned.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn its_configuration_is_a_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cmr-mail.toml");
        let settings = Settings {
            domain: "bob.example",
            operator: "Bob <bob@post.example>",
            listed: &["charlie.example", "dave.example"],
            first_walks: 1,
        };
        fs::write(&path, configuration(settings, SocketAddr::from(([127, 0, 0, 1], 2525)))).unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.routing.pinned.len(), 2);
        assert_eq!(config.routing.policy.first_walks, 1);
        assert_eq!(config.send.smarthost.port, 2525);
    }
}
