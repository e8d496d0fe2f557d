//! Where a password comes from: a command or a file. The password itself is never logged,
//! never part of an error, and wiped when it is dropped.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Time that a password command gets.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that are read of a password file or of a command's output.
const MOST: u64 = 64 * 1024;

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// The first line that a shell command writes, run in this directory.
    Command {
        /// For `/bin/sh -c`.
        command: String,
        /// The directory of the configuration.
        directory: PathBuf,
    },
    /// The first line of a file.
    File(PathBuf),
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The shell could not be started, or its output not be read.
    #[error("the command could not run: {0}")]
    Start(std::io::Error),
    /// It ran out of time and was killed.
    #[error("the command did not finish within {} s", .0.as_secs_f32())]
    TooSlow(Duration),
    /// It failed.
    #[error("the command failed ({status}){}", after_colon(.said))]
    Failed {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The first line it wrote to standard error.
        said: String,
    },
    /// Nothing there.
    #[error("the first line of the password is empty")]
    Empty,
    /// Binary.
    #[error("the password is not UTF-8 text")]
    NotText,
    /// Whatever that is, it is no password.
    #[error("more than {MOST} bytes are no password")]
    TooLong,
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl Password {
    /// Reads the password. Blocks, for a command at most [`COMMAND_TIMEOUT`]: not for a thread
    /// that serves others.
    ///
    /// # Errors
    /// [`SecretError`]; no variant holds anything of what the command wrote to standard output
    /// or of what stands in the file.
    pub fn read(&self) -> Result<Zeroizing<String>, SecretError> {
        match self {
            Password::Command { command, directory } => run(command, directory, COMMAND_TIMEOUT),
            Password::File(path) => {
                let wrong = |source| SecretError::File { path: path.clone(), source };
                let file = std::fs::File::open(path).map_err(wrong)?;
                first_line(&read_all(file).map_err(wrong)?)
            }
        }
    }
}

fn read_all(from: impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // Room at once: a vector that grows leaves copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST).unwrap_or(0)));
    from.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_cut(bytes: &[u8]) -> bool {
    u64::try_from(bytes.len()).is_ok_and(|length| length >= MOST)
}

fn first_line(bytes: &[u8]) -> Result<Zeroizing<String>, SecretError> {
    if is_cut(bytes) {
        return Err(SecretError::TooLong);
    }
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = std::str::from_utf8(line).map_err(|_| SecretError::NotText)?;
    match line {
        "" => Err(SecretError::Empty),
        line => Ok(Zeroizing::new(line.to_owned())),
    }
}

/// Runs `command` by the shell and takes the first line of its output.
fn run(command: &str, directory: &Path, timeout: Duration) -> Result<Zeroizing<String>, SecretError> {
    // A configuration that was named without a folder lies in this one, and its folder is "".
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: what the shell started dies with it when time is up.
        .process_group(0)
        .spawn()
        .map_err(SecretError::Start)?;
    let deadline = Instant::now() + timeout;
    let (to_us, output) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        let to_us = to_us.clone();
        std::thread::spawn(move || to_us.send((true, read_all(stdout))));
    }
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || to_us.send((false, read_all(stderr))));
    }
    let (mut written, mut complaint) = (Zeroizing::new(Vec::new()), Zeroizing::new(Vec::new()));
    // Both pipes close when the command is done; only then is waiting for it short.
    for _ in 0..2 {
        match output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((true, bytes)) => written = bytes.map_err(SecretError::Start)?,
            Ok((false, bytes)) => complaint = bytes.map_err(SecretError::Start)?,
            Err(_) => {
                kill_group(&mut child);
                return Err(SecretError::TooSlow(timeout));
            }
        }
    }
    let status = loop {
        match child.try_wait().map_err(SecretError::Start)? {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            None => {
                kill_group(&mut child);
                return Err(SecretError::TooSlow(timeout));
            }
        }
    };
    if is_cut(&written) {
        return Err(SecretError::TooLong);
    }
    if !status.success() {
        let line = String::from_utf8_lossy(&complaint);
        let said =
            line.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(SecretError::Failed { status, said });
    }
    first_line(&written)
}

/// Kills the shell and what it started, and takes the dead shell off the process table.
fn kill_group(child: &mut std::process::Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // Gone already is as good as killed.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(command: &str) -> Result<Zeroizing<String>, SecretError> {
        run(command, Path::new("/"), Duration::from_secs(20))
    }

    #[test]
    fn the_first_line_is_the_password() {
        for (command, password) in [
            ("echo secret", "secret"),
            ("printf 'secret\\r\\nuser: cmr\\n'", "secret"),
            ("printf 'no newline'", "no newline"),
            ("printf ' blanks stay '", " blanks stay "),
            ("pwd", "/"),
        ] {
            assert_eq!(sh(command).unwrap().as_str(), password, "{command}");
        }
    }

    #[test]
    fn a_command_that_fails_says_what_it_said_but_never_what_it_printed() {
        let error = sh("echo hunter2; echo 'gpg: no key' >&2; exit 3").unwrap_err();
        assert_eq!(error.to_string(), "the command failed (exit status: 3): gpg: no key");
        assert!(!format!("{error:?}").contains("hunter2"));
        let error = sh("printf '\\377\\376hunter2'").unwrap_err();
        assert!(matches!(error, SecretError::NotText), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(matches!(sh("true"), Err(SecretError::Empty)));
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let error = run("sleep 60 & echo $! > child; wait", directory.path(), Duration::from_millis(300))
            .unwrap_err();
        assert!(matches!(error, SecretError::TooSlow(_)), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(20), "it was waited for");
        let child = std::fs::read_to_string(directory.path().join("child")).unwrap();
        let child = rustix::process::Pid::from_raw(child.trim().parse().unwrap()).unwrap();
        // A killed process takes a moment to die, and a zombie is dead.
        let alive = || {
            std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while alive() {
            assert!(Instant::now() < deadline, "the child of the shell lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_flood_of_output_is_cut() {
        assert!(matches!(sh("head -c 10000000 /dev/zero | tr '\\0' x"), Err(SecretError::TooLong)));
        assert!(matches!(sh("echo secret; head -c 10000000 /dev/zero"), Err(SecretError::TooLong)));
    }

    #[test]
    fn a_file_gives_its_first_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(Password::File(path.clone()).read().unwrap().as_str(), "one");
        let missing = Password::File(path.with_extension("missing")).read().unwrap_err();
        assert!(missing.to_string().contains("password.missing"), "{missing}");
    }
}
