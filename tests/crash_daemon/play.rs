//! Playing the story: a daemon that may die at any moment, a client that sends again what nobody
//! acknowledged, an operator who types again what did not succeed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cmr_mail::gateway::api::{Request, Status};
use cmr_mail::gateway::control::{call, control_path};

use crate::replay::note;
use crate::shim::{self, CRASHED, CrashAt};
use crate::story::{Step, Story};
use crate::support::client::Client;
use crate::support::daemon::{Daemon, House, PATIENCE};
use crate::support::messages::Mail;
use crate::world;

/// One telling of the story.
pub(crate) struct Play<'a> {
    pub(crate) house: &'a House,
    pub(crate) story: &'a Story,
    /// Where the first daemon's recorder writes, and when it ends itself.
    pub(crate) trace: PathBuf,
    pub(crate) crash: CrashAt,
    /// Whether the daemon after it is recorded as well, and nobody else touches its files.
    pub(crate) all_recorded: bool,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The ids in the replies that said 250.
    pub(crate) acked: BTreeSet<String>,
    /// In which step the daemon ended itself.
    pub(crate) crashed_in: Option<&'static str>,
}

/// A daemon at work.
struct Running {
    daemon: Daemon,
    client: Option<Client>,
}

impl Play<'_> {
    /// Tells the story to its end; at the end everything rests and nothing runs.
    ///
    /// # Errors
    /// What is wrong with what the daemon left when it died.
    pub(crate) fn tell(&self) -> Result<Told, String> {
        let data = self.data();
        if !data.exists() {
            std::fs::create_dir(&data).expect("a data directory");
        }
        let mut told = Told::default();
        let mut running = self.first("the start", &mut told)?;
        for step in &self.story.steps {
            while !self.step(step, &mut running, &mut told)? {
                running = self.again(running, step.name(), &mut told)?;
            }
        }
        running.client = None;
        running.daemon.begin_to_stop();
        let status = running.daemon.wait();
        if !status.success() {
            running = self.again(running, "the end", &mut told)?;
            if !self.rest(&mut running)? || !running.daemon.stop().success() {
                return Err(format!("it ended again\n{}", self.house.log()));
            }
        }
        Ok(told)
    }

    fn data(&self) -> PathBuf {
        self.house.dir().join("data")
    }

    /// The daemon under the recorder; if it ends before it is ready, the one after it.
    fn first(&self, when: &'static str, told: &mut Told) -> Result<Running, String> {
        let started = self.house.try_start_with(|command| {
            shim::record(command, &self.data(), &self.trace, self.crash);
        });
        match started {
            Ok(daemon) => Ok(Running { daemon, client: None }),
            Err(status) => {
                self.as_told(status.code(), when, told)?;
                self.second(told)
            }
        }
    }

    /// The daemon after the one that has ended.
    fn again(&self, mut old: Running, when: &'static str, told: &mut Told) -> Result<Running, String> {
        old.client = None;
        let status = old.daemon.wait();
        self.as_told(status.code(), when, told)?;
        self.second(told)
    }

    fn as_told(&self, status: Option<i32>, when: &'static str, told: &mut Told) -> Result<(), String> {
        if status == Some(CRASHED) && self.crash != CrashAt::Never && told.crashed_in.is_none() {
            told.crashed_in = Some(when);
            return Ok(());
        }
        Err(format!("the daemon ended with {status:?} in {when:?}:\n{}", self.house.log()))
    }

    /// A daemon that nobody ends, on what the other one left.
    fn second(&self, told: &Told) -> Result<Running, String> {
        let daemon = self
            .house
            .try_start_with(|command| {
                if self.all_recorded {
                    shim::record(command, &self.data(), &self.trace, CrashAt::Never);
                }
            })
            .map_err(|status| format!("it does not start again: {status}\n{}", self.house.log()))?;
        let conn = world::open(&self.house.database())?;
        let faults = world::faults(&conn, &told.acked, &self.story.removed);
        if faults.is_empty() { Ok(Running { daemon, client: None }) } else { Err(faults.join("\n")) }
    }

    /// Does one step; `false` if the daemon died over it.
    fn step(&self, step: &Step, running: &mut Running, told: &mut Told) -> Result<bool, String> {
        match step {
            Step::Mail { name, from, to, raw } => self.send(running, told, name, from, to, raw),
            Step::Confirm { name, person } => {
                let to = confirmation(&self.house.database(), person);
                let mail = Mail::from(person).text("yes").write();
                self.send(running, told, name, person, &to, &mail)
            }
            Step::Verb { name, request, .. } if self.all_recorded => {
                // A verb that finds no daemon would work on the database itself.
                match call(&control_path(&self.data()), request, PATIENCE) {
                    Ok(Ok(_)) => {
                        note(&self.trace, name);
                        Ok(true)
                    }
                    Ok(Err(failure)) => Err(format!("{name}: {failure:?}")),
                    Err(_) => Ok(false),
                }
            }
            Step::Verb { name, args, .. } => {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let output = self.house.run(&args, b"");
                if output.status.success() {
                    note(&self.trace, name);
                    return Ok(true);
                }
                // It may have been asked when it was about to die.
                if running.daemon.wait().code() == Some(CRASHED) {
                    return Ok(false);
                }
                Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)))
            }
            Step::Rest => self.rest(running),
        }
    }

    fn send(
        &self,
        running: &mut Running,
        told: &mut Told,
        name: &str,
        from: &str,
        to: &str,
        raw: &[u8],
    ) -> Result<bool, String> {
        let connected = running.client.take().map_or_else(|| Client::connect(running.daemon.smtp()), Ok);
        let Ok(client) = connected else { return Ok(false) };
        let client = running.client.insert(client);
        let Ok(reply) = client.send(from, &[to], raw) else { return Ok(false) };
        let text = reply.text.strip_prefix("2.0.0 ").filter(|_| reply.code == 250);
        let Some(text) = text else { return Err(format!("{name}: {reply:?}\n{}", self.house.log())) };
        told.acked.extend(ids(text));
        Ok(true)
    }

    /// Waits until every message is decided on and every delivery is over.
    fn rest(&self, running: &mut Running) -> Result<bool, String> {
        let start = Instant::now();
        let socket = control_path(&self.data());
        loop {
            if let Ok(Ok(status)) = call(&socket, &Request::Status, PATIENCE) {
                let status: Status = serde_json::from_value(status).expect("a status");
                if status.unrouted == 0 && status.queued == 0 {
                    return Ok(true);
                }
            } else if !running.daemon.is_running() {
                return Ok(false);
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("it never rests\n{}", self.house.log()));
            }
            // Only to leave the processor to the daemon.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Where a person's agreement to being published goes.
pub(crate) fn confirmation(database: &Path, person: &str) -> String {
    let token: String = world::open(database)
        .expect("a database")
        .query_row("SELECT confirm_token FROM person WHERE address = ?1", [person], |row| row.get(0))
        .expect("a person");
    format!("cmr+yes-{token}@home.test")
}

/// The ids in a text.
pub(crate) fn ids(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() == 16 && word.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(str::to_owned)
}
