//! The demo as a person runs it: what it prints, how it ends, and that nothing of it is left,
//! whatever way it ends.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What the demo promises.
const LONGEST: Duration = Duration::from_secs(30);

/// A demo that runs with a temporary directory of its own.
struct Demo {
    child: Child,
    out: BufReader<ChildStdout>,
    err: ChildStderr,
    tmp: tempfile::TempDir,
    started: Instant,
}

struct Ended {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Demo {
    fn start(args: &[&str]) -> Demo {
        Demo::start_in(tempfile::Builder::new().prefix("d-").tempdir().unwrap(), args)
    }

    fn start_in(tmp: tempfile::TempDir, args: &[&str]) -> Demo {
        let mut child =
            command(tmp.path(), args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let err = child.stderr.take().unwrap();
        Demo { child, out, err, tmp, started: Instant::now() }
    }

    /// Reads on until a line holds this; gives what was read.
    fn read_to(&mut self, end: &str) -> String {
        let mut read = String::new();
        while !read.contains(end) {
            let n = self.out.read_line(&mut read).unwrap();
            assert!(n > 0, "it ended before {end:?}:\n{read}");
        }
        read
    }

    fn signal(&self, signal: Signal) {
        kill(self.child.id(), signal);
    }

    /// The processes that it started.
    fn gateways(&self) -> Vec<u32> {
        children_of(self.child.id())
    }

    /// Waits for its end and insists that nothing is left.
    fn end(mut self) -> Ended {
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        self.err.read_to_string(&mut err).unwrap();
        let status = self.child.wait().unwrap();
        let took = self.started.elapsed();
        println!("the demo took {:.1} s", took.as_secs_f64());
        assert!(took < LONGEST, "{took:?}");
        assert_nothing_is_left(self.tmp.path());
        Ended { status, out, err }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Only a test that fails comes here with a demo that still runs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(tmp: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cmr-mail"));
    command.arg("demo").args(args).env_clear().env("TMPDIR", tmp).stdin(Stdio::null());
    command
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// The running processes, as `/proc` has them: number, parent, command line.
fn processes() -> Vec<(u32, u32, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        // Each of them may end while we look.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        // "pid (name) state parent ...", and the name may hold anything.
        let parent = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
        all.push((pid, parent, String::from_utf8_lossy(&line).replace('\0', " ")));
    }
    all
}

fn children_of(pid: u32) -> Vec<u32> {
    processes().into_iter().filter(|(_, parent, _)| *parent == pid).map(|(child, ..)| child).collect()
}

/// No file, and no process whose command line names the directory: each gateway's does.
#[track_caller]
fn assert_nothing_is_left(tmp: &Path) {
    let files: Vec<_> = fs::read_dir(tmp).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(files.is_empty(), "{files:?}");
    let name = tmp.to_string_lossy();
    let left: Vec<_> = processes().into_iter().filter(|(.., line)| line.contains(&*name)).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The told mails, each with all its lines, as one line of single spaces.
fn told(out: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in out.lines() {
        let numbered = line.trim_start().split_once(".  ").is_some_and(|(n, _)| n.parse::<u32>().is_ok());
        if numbered && line.starts_with("  ") {
            all.push(String::new());
        }
        if let Some(last) = all.last_mut()
            && (numbered || line.starts_with("       "))
        {
            last.push_str(&format!(" {}", line.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    all
}

#[test]
fn alice_gets_her_answer_and_nothing_is_left() {
    let ended = Demo::start(&[]).end();
    let out = &ended.out;
    println!("{out}");
    assert!(ended.status.success(), "{}\n{out}\n{}", ended.status, ended.err);
    assert_eq!(ended.err, "");

    // The answer, in its thread.
    let answer = out.split_once("The answer, as Alice's mail client shows it").unwrap().1;
    for part in
        ["Subject   Re: A question\n", "…Jupiter is the largest planet.\n", ".cmr (application/octet-stream"]
    {
        assert!(answer.contains(part), "{part:?} in\n{answer}");
    }
    let flat = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(r#"@post.example>: "A question" of "#), "{flat}");
    assert_eq!(answer.matches("\n  yes  ").count(), 3, "{answer}");
    assert!(!answer.contains("\n  NO "), "{answer}");
    assert!(
        flat.contains(
            "The way it came: Dave -> Dave's gateway -> Charlie's gateway -> Bob's gateway -> Alice."
        ),
        "{flat}"
    );

    // How it went: a real choice, twice, and both that are close to it hear of each other.
    let told = told(out);
    let find = |parts: &[&str]| {
        let found = told.iter().position(|mail| parts.iter().all(|part| mail.contains(part)));
        found.unwrap_or_else(|| panic!("{parts:?} in\n{told:#?}"))
    };
    let question = "\"What is the largest planet?\"";
    let jupiter = "\"Jupiter is the largest planet.\"";
    let known = "bits -> Charlie's gateway";
    find(&[
        "Dave's gateway -> Charlie's gateway",
        jupiter,
        known,
        "bits Bob's gateway: it has sent nothing yet",
    ]);
    let way = [
        find(&["Alice -> Bob's gateway", question]),
        find(&[
            "Bob's gateway -> Charlie's gateway",
            question,
            known,
            "bits Dave's gateway: nothing it has sent is about this",
        ]),
        find(&["gateway -> Bob's gateway", jupiter]),
        find(&["Bob's gateway -> Alice", "Something similar to your message has arrived:", jupiter]),
    ];
    assert!(way.is_sorted(), "{way:?} in\n{told:#?}");
    find(&["Charlie's gateway -> Bob's gateway", jupiter, "which this router took from its author"]);
    find(&["Bob's gateway -> Dave's gateway", question, "which this router took from its author"]);
    find(&["Dave's gateway -> Dave", question]);
    // Bob's gateway had no answer of its own, or there would be nothing to show.
    find(&["Bob's gateway -> Alice", "Nothing that is known here is close enough to it."]);
    let asked = way[0];
    let had = told[..asked].iter().any(|mail| mail.contains("-> Bob's gateway") && mail.contains(jupiter));
    assert!(!had, "{told:#?}");

    // For any terminal.
    assert!(!out.contains('\u{1b}'), "colours without a terminal");
    let wide: Vec<_> = out.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:#?}");
}

/// The sockets of the gateways have paths that can't be longer than about a hundred bytes.
#[test]
fn a_long_name_of_the_temporary_directory_is_no_obstacle() {
    let tmp = tempfile::Builder::new().prefix(&"long-".repeat(20)).tempdir().unwrap();
    let ended = Demo::start_in(tmp, &[]).end();
    assert!(ended.status.success(), "{}", ended.err);
}

/// A line by hand, as the demo says it, and the way out of it.
#[test]
fn it_stays_until_it_is_told_to_stop() {
    let mut demo = Demo::start(&["--stay"]);
    let out = demo.read_to("ask explain");
    let server =
        out.lines().find_map(|line| line.trim().strip_prefix("the people's mail server")).unwrap().trim();
    assert_eq!(demo.gateways().len(), 3);
    let mail = "From: Alice <alice@post.example>\r\nTo: cmr@bob.example\r\nSubject: Sowing tomatoes\r\n\
                Message-ID: <by-hand@post.example>\r\n\r\nWhen are tomatoes sown indoors?\r\n.";
    let mut client = BufReader::new(TcpStream::connect(server).unwrap());
    let lines =
        ["EHLO hand", "MAIL FROM:<alice@post.example>", "RCPT TO:<cmr@bob.example>", "DATA", mail, "QUIT"];
    for line in lines {
        reply(&mut client);
        client.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }
    demo.read_to("Alice -> Bob's gateway");
    let what = demo.read_to("Sowing tomatoes: ");
    assert!(what.contains("\"When are tomatoes sown indoors?\""), "{what}");
    demo.read_to("Bob's gateway -> Alice");
    demo.read_to("Re: Sowing tomatoes: ");

    // The other lines are run as they stand.
    let script: String =
        out.lines().filter(|line| line.starts_with("    ask")).map(|l| format!("{l}\n")).collect();
    let said = Command::new("sh").args(["-e", "-c", &script]).env_clear().output().unwrap();
    let (said, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    for part in ["Jupiter is the largest planet.", "Peers, best first", "mailto:cmr@charlie.example"] {
        assert!(said.contains(part), "{part:?} in\n{script}\n{said}\n{err}");
    }

    demo.signal(Signal::INT);
    let ended = demo.end();
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.err);
    assert!(ended.out.contains("Everything is stopped and removed."), "{}", ended.out);
}

/// Reads a whole SMTP reply.
fn reply(client: &mut BufReader<TcpStream>) {
    loop {
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        assert!(line.starts_with(['2', '3']), "{line:?}");
        if line.as_bytes()[3] != b'-' {
            return;
        }
    }
}

#[test]
fn interrupted_in_the_middle_it_leaves_nothing() {
    for (signal, at) in [
        (Signal::INT, "Starting"),
        (Signal::TERM, "They are ready"),
        (Signal::HUP, "Dave writes about Jupiter"),
        (Signal::INT, "Alice -> Bob's gateway"),
    ] {
        let mut demo = Demo::start(&[]);
        demo.read_to(at);
        demo.signal(signal);
        let ended = demo.end();
        // The end may have been nearer than the signal.
        let finished = ended.out.contains("Everything is stopped and removed.");
        assert_eq!(ended.status.code(), Some(if finished { 0 } else { 75 }), "{}\n{}", ended.out, ended.err);
        assert!(finished || ended.err.contains("interrupted"), "{}", ended.err);
    }
}

#[test]
fn a_gateway_that_dies_ends_it_with_its_last_words() {
    let mut demo = Demo::start(&["--stay"]);
    demo.read_to("ask explain");
    kill(demo.gateways()[1], Signal::KILL);
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(69), "{}", ended.err);
    assert!(ended.err.contains(".example has ended; the last lines of its log:\n  "), "{}", ended.err);
    assert!(ended.err.contains("routed id="), "{}", ended.err);
}

#[test]
fn without_room_it_says_so() {
    let tmp = tempfile::tempdir().unwrap();
    let nowhere = tmp.path().join("nowhere");
    let output = command(&nowhere, &[]).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{err}");
    assert!(err.contains(&*nowhere.to_string_lossy()), "{err}");

    // An output that can't be written, with everything running already.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(tmp.path(), &[]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(73), "{}", String::from_utf8_lossy(&output.stderr));
    assert_nothing_is_left(tmp.path());
}

#[test]
fn nobody_has_to_read_it_to_its_end() {
    let mut demo = Demo::start(&[]);
    demo.read_to("Who is who");
    drop(std::mem::replace(&mut demo.out, BufReader::new(empty())));
    assert!(demo.end().status.success());
}

/// An output that is at its end.
fn empty() -> ChildStdout {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    child.wait().unwrap();
    out
}
