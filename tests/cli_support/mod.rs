//! What the tests of the command line share: a house of its own for each test, the program run in
//! it, and a daemon that answers what the test wants.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "in tests a panic is the report")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use cmr_mail::gateway::api::{Request, Response};
use cmr_mail::gateway::control::{self, Caller, Limits, Listener};
use cmr_mail::gateway::lock::Lock;
use tokio::sync::watch;

/// A directory with a configuration and a data directory, gone when dropped.
pub(crate) struct House {
    dir: tempfile::TempDir,
}

impl House {
    /// With these lines after the mandatory ones of `[gateway]`.
    pub(crate) fn with(lines: &str) -> House {
        let house = House { dir: tempfile::tempdir().unwrap() };
        house.configure(lines);
        std::fs::create_dir(house.data()).unwrap();
        std::fs::set_permissions(house.data(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        house
    }

    /// Listening on a free port of loopback, with a smarthost that is not there.
    pub(crate) fn new() -> House {
        House::with("[smtp]\nlisten = [\"127.0.0.1:0\"]\n[send]\nsmarthost = \"smtp://127.0.0.1:1\"\n")
    }

    pub(crate) fn configure(&self, lines: &str) {
        let text = format!(
            "[gateway]\naddress = \"mailto:cmr@example.org\"\nhostname = \"mx.example.org\"\n\
             operator = \"operator@example.org\"\n{lines}\n[authentication]\nverify = false\n"
        );
        std::fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("cmr-mail.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The program with these arguments (separated by spaces), in the house.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = program(Path::new(env!("CARGO_BIN_EXE_cmr-mail")), self.path());
        command.args(args.split_whitespace());
        command
    }

    /// Runs it with this on standard input.
    pub(crate) fn run(&self, args: &str, input: &[u8]) -> Ended {
        ended(&mut self.command(args), input)
    }
}

/// A program in a directory, without anything of the tester's environment.
pub(crate) fn program(path: &Path, dir: &Path) -> Command {
    let mut command = Command::new(path);
    command.current_dir(dir).env_clear().env("HOME", dir).stdin(Stdio::null());
    command
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) raw: Vec<u8>,
}

impl Ended {
    /// Insists on an exit code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// Runs a program to its end.
pub(crate) fn ended(command: &mut Command, input: &[u8]) -> Ended {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // The program may end without reading all of it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ended {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
        raw: stdout,
    }
}

/// A child that does not outlive the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> i32 {
        self.0.wait().unwrap().code().unwrap_or(-1)
    }
}

/// The sockets of a daemon with an answer of the test's own behind them.
pub(crate) struct FakeDaemon {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeDaemon {
    /// Has the lock of `data` and listens when this returns.
    pub(crate) fn start(
        data: &Path,
        intake: Option<&Path>,
        limits: Limits,
        answer: impl Fn(Request, Caller) -> Response + Clone + Send + Sync + 'static,
    ) -> FakeDaemon {
        let lock = Lock::try_acquire(data, "serve").unwrap();
        FakeDaemon::under(lock, intake, limits, answer)
    }

    /// The same under a lock that the test holds already.
    pub(crate) fn under(
        lock: Lock,
        intake: Option<&Path>,
        limits: Limits,
        answer: impl Fn(Request, Caller) -> Response + Clone + Send + Sync + 'static,
    ) -> FakeDaemon {
        let intake = intake.map(Path::to_owned);
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let serve = |listener| {
                    let (answer, mut stopped) = (answer.clone(), stopped.clone());
                    let handler = move |request, caller| {
                        let answer = answer.clone();
                        async move {
                            tokio::task::spawn_blocking(move || answer(request, caller)).await.unwrap()
                        }
                    };
                    control::serve(listener, limits.clone(), handler, async move {
                        let _ = stopped.wait_for(|&stopped| stopped).await;
                    })
                };
                let control = serve(Listener::control(&lock).unwrap());
                let intake = intake.map(|path| serve(Listener::intake(&path, &lock).unwrap()));
                ready.send(()).unwrap();
                tokio::join!(control, async {
                    if let Some(intake) = intake {
                        intake.await;
                    }
                });
                drop(lock);
            });
        });
        is_ready.recv_timeout(Duration::from_secs(30)).unwrap();
        FakeDaemon { stop, thread: Some(thread) }
    }

    /// Tells it to stop and waits until it has.
    pub(crate) fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// Limits that no test reaches by accident.
pub(crate) fn limits() -> Limits {
    Limits::control(1 << 20)
}
