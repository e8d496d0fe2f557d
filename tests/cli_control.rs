//! The sockets between the verbs and the daemon: what they take, what they refuse, and that
//! nothing that is done to them keeps the next asker waiting.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod cli_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use cli_support::{FakeDaemon, House, limits};
use cmr_mail::gateway::api::{KeyAction, Request, Response};
use cmr_mail::gateway::control::{CallError, Caller, Door, Limits, Listener, call, control_path};
use cmr_mail::gateway::lock::Lock;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

fn echo(request: Request, caller: Caller) -> Response {
    Ok(json!({ "request": serde_json::to_value(&request).unwrap(), "uid": caller.uid,
               "intake": caller.door == Door::Intake }))
}

fn deliver(mail: &str) -> Request {
    Request::Deliver { sender: None, recipient: None, mail: mail.into(), cut_from: None }
}

/// Sends bytes as they are and returns the answer's line.
fn raw(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The other side may refuse before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut line = String::new();
    let _ = BufReader::new(stream).read_line(&mut line);
    line
}

fn refusal(line: &str) -> (u64, String) {
    let answer: serde_json::Value = serde_json::from_str(line).unwrap();
    (answer["Err"]["exit"].as_u64().unwrap(), answer["Err"]["sentence"].as_str().unwrap().into())
}

#[test]
fn a_request_goes_there_and_its_answer_comes_back() {
    let house = House::new();
    let _daemon = FakeDaemon::start(&house.data(), None, limits(), echo);
    let socket = control_path(&house.data());
    let request = Request::Post { text: "ä\n\u{0}\u{1b}\"".into(), from: None };
    let answer = call(&socket, &request, PATIENCE).unwrap().unwrap();
    assert_eq!(answer["request"]["verb"], "post");
    assert_eq!(answer["request"]["text"], "ä\n\u{0}\u{1b}\"");
    assert_eq!(answer["uid"], rustix::process::geteuid().as_raw());
    assert_eq!(answer["intake"], false);
}

#[test]
fn a_failure_comes_back_with_its_exit_code_and_sentence() {
    let house = House::new();
    let _daemon = FakeDaemon::start(&house.data(), None, limits(), |_, _| {
        Err(cmr_mail::gateway::api::Failure { exit: 65, sentence: "no such message".into() })
    });
    let failure = call(&control_path(&house.data()), &Request::Status, PATIENCE).unwrap().unwrap_err();
    assert_eq!((failure.exit, failure.sentence.as_str()), (65, "no such message"));
}

#[test]
fn what_is_no_request_is_refused_without_repeating_it() {
    let house = House::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let _daemon = FakeDaemon::start(&house.data(), None, limits(), move |request, caller| {
        counted.fetch_add(1, Ordering::SeqCst);
        echo(request, caller)
    });
    let socket = control_path(&house.data());
    for (bytes, word) in [
        (&b"\n"[..], "not JSON"),
        (b"GET / HTTP/1.1\n", "not JSON"),
        (b"{\"verb\":\"status\"\n", "not JSON"),
        (b"\xff\xfe\x00\n", "not JSON"),
        (b"{}\n", "another version"),
        (b"[]\n", "another version"),
        (b"{\"verb\":\"SECRETverb\"}\n", "another version"),
        (
            b"{\"verb\":\"keys\",\"action\":{\"action\":\"set\",\"address\":1,\"hex\":\"SECRET\"}}\n",
            "another version",
        ),
        (b"{\"verb\":\"status\"} SECRET\n", "not JSON"),
    ] {
        let (exit, sentence) = refusal(&raw(&socket, bytes));
        assert_eq!(exit, 65, "{sentence}");
        assert!(sentence.contains(word), "{sentence}");
        assert!(!sentence.contains("SECRET"), "{sentence}");
    }
    let deep = [vec![b'['; 100_000], vec![b'\n']].concat();
    assert_eq!(refusal(&raw(&socket, &deep)).0, 65, "nesting does not overflow the stack");
    assert_eq!(raw(&socket, b""), "", "nothing asked, nothing answered");
    assert_eq!(raw(&socket, b"{\"verb\":\"status\"}"), "", "a line without its end is half a request");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[test]
fn a_request_is_taken_up_to_the_limit_and_not_beyond() {
    let house = House::new();
    let empty = serde_json::to_vec(&deliver("")).unwrap().len();
    let limits = Limits { request: 200_000, ..limits() };
    let _daemon = FakeDaemon::start(&house.data(), None, limits, echo);
    let socket = control_path(&house.data());
    let fits = deliver(&"x".repeat(200_000 - empty));
    assert!(call(&socket, &fits, PATIENCE).unwrap().is_ok());
    for more in [1, 50_000_000] {
        let too_long = deliver(&"x".repeat(200_000 - empty + more));
        let failure = call(&socket, &too_long, PATIENCE).unwrap().unwrap_err();
        assert_eq!(failure.exit, 65);
        assert!(failure.sentence.contains("200000 bytes"), "{}", failure.sentence);
    }
    // Without a line end nothing is ever collected beyond the limit either.
    let (exit, _) = refusal(&raw(&socket, &vec![b'x'; 1_000_000]));
    assert_eq!(exit, 65);
}

#[test]
fn a_slow_asker_is_told_so_and_keeps_nobody_waiting() {
    let house = House::new();
    let limits = Limits { read: Duration::from_millis(300), ..limits() };
    let _daemon = FakeDaemon::start(&house.data(), None, limits, echo);
    let socket = control_path(&house.data());
    let mut slow = UnixStream::connect(&socket).unwrap();
    slow.write_all(b"{\"verb\":").unwrap();
    assert!(call(&socket, &Request::Status, PATIENCE).unwrap().is_ok());
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    BufReader::new(slow).read_line(&mut line).unwrap();
    let (exit, sentence) = refusal(&line);
    assert_eq!(exit, 75);
    assert!(sentence.contains("longer than"), "{sentence}");
}

#[test]
fn idle_askers_take_all_places_for_no_longer_than_their_deadline() {
    let house = House::new();
    let limits = Limits { connections: 3, read: Duration::from_millis(400), ..limits() };
    let _daemon = FakeDaemon::start(&house.data(), None, limits, echo);
    let socket = control_path(&house.data());
    let idle: Vec<_> = (0..20).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    assert!(call(&socket, &Request::Status, PATIENCE).unwrap().is_ok());
    drop(idle);
}

#[test]
fn one_user_cannot_take_all_places() {
    let house = House::new();
    let limits = Limits { connections: 8, connections_per_user: 2, ..limits() };
    let (entered, waits) = mpsc::channel();
    let gate = Arc::new(Barrier::new(3));
    let held = Arc::clone(&gate);
    let _daemon = FakeDaemon::start(&house.data(), None, limits, move |_, _| {
        entered.send(()).unwrap();
        held.wait();
        Ok(json!(null))
    });
    let socket = control_path(&house.data());
    let ask = || {
        let socket = socket.clone();
        std::thread::spawn(move || call(&socket, &Request::Status, PATIENCE).unwrap())
    };
    let first = [ask(), ask()];
    for _ in 0..2 {
        waits.recv_timeout(PATIENCE).unwrap();
    }
    let failure = ask().join().unwrap().unwrap_err();
    assert_eq!(failure.exit, 75);
    assert!(failure.sentence.contains("too many"), "{}", failure.sentence);
    gate.wait();
    for asked in first {
        assert!(asked.join().unwrap().is_ok());
    }
    // The places are free again.
    let again = ask();
    waits.recv_timeout(PATIENCE).unwrap();
    let other = ask();
    waits.recv_timeout(PATIENCE).unwrap();
    gate.wait();
    assert!(again.join().unwrap().is_ok() && other.join().unwrap().is_ok());
}

#[test]
fn a_handler_that_panics_or_hangs_is_75_for_its_asker_alone() {
    let house = House::new();
    let limits = Limits { answer: Duration::from_millis(300), ..limits() };
    let (go, gone) = mpsc::channel::<()>();
    let gone = Arc::new(Mutex::new(gone));
    let _daemon = FakeDaemon::start(&house.data(), None, limits, move |request, caller| match request {
        Request::Search { .. } => panic!("on purpose"),
        Request::Explain { .. } => {
            let _ = gone.lock().unwrap().recv();
            Ok(json!(null))
        }
        request => echo(request, caller),
    });
    let socket = control_path(&house.data());
    let search = Request::Search { text: "x".into(), limit: 1, shared: false };
    let failure = call(&socket, &search, PATIENCE).unwrap().unwrap_err();
    assert_eq!(failure.exit, 75);
    let failure = call(&socket, &Request::Explain { id: "x".into() }, PATIENCE).unwrap().unwrap_err();
    assert_eq!(failure.exit, 75);
    assert!(failure.sentence.contains("may still be carried out"), "{}", failure.sentence);
    assert!(call(&socket, &Request::Status, PATIENCE).unwrap().is_ok());
    drop(go);
}

#[test]
fn an_asker_that_goes_away_disturbs_nobody() {
    let house = House::new();
    let _daemon = FakeDaemon::start(&house.data(), None, limits(), |_, _| Ok(json!("x".repeat(1_000_000))));
    let socket = control_path(&house.data());
    for _ in 0..50 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"{\"verb\":\"status\"}\n").unwrap();
    }
    // While the answers to those who went away are still being written, all places may be taken.
    let served = (0..1_000).any(|_| call(&socket, &Request::Status, PATIENCE).unwrap().is_ok());
    assert!(served);
}

#[test]
fn the_sockets_differ_in_who_may_come_and_with_what() {
    let house = House::new();
    let intake = house.path().join("intake.sock");
    let _daemon = FakeDaemon::start(&house.data(), Some(&intake), limits(), echo);
    let control = control_path(&house.data());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&control), mode(&intake)), (0o600, 0o666));

    let receive = Request::Receive { transport: "ssh".into(), message: "eA==".into(), bound: None };
    for request in [deliver("eA=="), receive] {
        let answer = call(&intake, &request, PATIENCE).unwrap().unwrap();
        assert_eq!(answer["intake"], true);
        assert!(call(&control, &request, PATIENCE).unwrap().is_ok());
    }
    let id = || "0123456789abcdef".to_owned();
    let set = KeyAction::Set { address: "a".into(), hex: "00".into(), scheme: None };
    for request in [
        Request::Status,
        Request::Post { text: "x".into(), from: None },
        Request::Search { text: "x".into(), limit: 1, shared: false },
        Request::Show { id: id() },
        Request::ShowRaw { id: id() },
        Request::Asides { id: None },
        Request::Explain { id: id() },
        Request::Keys { action: KeyAction::Show },
        Request::Keys { action: set },
        Request::Remove { id: id() },
        Request::RemoveAuthor { author: "a".into() },
        Request::Block { value: "a".into(), undo: true },
    ] {
        let failure = call(&intake, &request, PATIENCE).unwrap().unwrap_err();
        assert_eq!(failure.exit, 69);
        assert!(failure.sentence.contains("deliver, filter and receive only"), "{}", failure.sentence);
        assert!(call(&control, &request, PATIENCE).unwrap().is_ok());
    }
}

#[test]
fn a_dead_socket_is_replaced_and_ours_is_removed() {
    let house = House::new();
    let socket = control_path(&house.data());
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "what a killed daemon leaves behind");
    let error = call(&socket, &Request::Status, PATIENCE).unwrap_err();
    assert!(matches!(error, CallError::NoDaemon { .. }), "{error}");
    let mut daemon = FakeDaemon::start(&house.data(), None, limits(), echo);
    assert!(call(&socket, &Request::Status, PATIENCE).unwrap().is_ok());
    daemon.stop();
    assert!(!socket.exists());
    let error = call(&socket, &Request::Status, PATIENCE).unwrap_err();
    assert!(matches!(error, CallError::NoDaemon { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_dead_socket_is_left_alone() {
    let house = House::new();
    let lock = Lock::try_acquire(&house.data(), "serve").unwrap();
    let taken = house.path().join("taken.sock");
    let _alive = std::os::unix::net::UnixListener::bind(&taken).unwrap();
    let error = Listener::intake(&taken, &lock).unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    let file = house.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let error = Listener::intake(&file, &lock).unwrap_err().to_string();
    assert!(error.contains("is no socket"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let error = Listener::intake(&house.path().join("none/x"), &lock).unwrap_err().to_string();
    assert!(error.contains("cannot listen"), "{error}");
}

#[tokio::test]
async fn a_removed_or_replaced_socket_is_not_removed_again() {
    let house = House::new();
    let lock = Lock::try_acquire(&house.data(), "serve").unwrap();
    let path = house.path().join("s");
    let listener = Listener::intake(&path, &lock).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "somebody else's").unwrap();
    drop(listener);
    assert!(path.exists());
}

#[test]
fn a_path_that_is_too_long_for_a_socket_works_through_its_directory() {
    let house = House::new();
    let deep = house.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let _daemon = FakeDaemon::start(&deep, None, limits(), echo);
    assert!(call(&control_path(&deep), &Request::Status, PATIENCE).unwrap().is_ok());
    let error = call(&house.path().join("n".repeat(120)), &Request::Status, PATIENCE).unwrap_err();
    assert!(matches!(error, CallError::TooLong { .. }), "{error}");
}

#[test]
fn stopping_finishes_what_is_being_handled_and_takes_nothing_more() {
    let house = House::new();
    let (entered, waits) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Arc::new(Mutex::new(may_go));
    let mut daemon = FakeDaemon::start(&house.data(), None, limits(), move |_, _| {
        entered.send(()).unwrap();
        may_go.lock().unwrap().recv().unwrap();
        Ok(json!("finished"))
    });
    let socket = control_path(&house.data());
    // One that has asked for nothing yet must not hold the end up.
    let mut idle = UnixStream::connect(&socket).unwrap();
    let asked = {
        let socket = socket.clone();
        std::thread::spawn(move || call(&socket, &Request::Status, PATIENCE))
    };
    waits.recv_timeout(PATIENCE).unwrap();
    let stopping = std::thread::spawn(move || daemon.stop());
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "closed");
    let error = call(&socket, &Request::Status, PATIENCE).unwrap_err();
    assert!(matches!(error, CallError::NoDaemon { .. } | CallError::Closed), "{error}");
    go.send(()).unwrap();
    assert_eq!(asked.join().unwrap().unwrap().unwrap(), "finished");
    stopping.join().unwrap();
}

#[test]
fn an_asker_does_not_wait_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let patience = Duration::from_millis(300);
    let start = Instant::now();
    let error = call(&path, &Request::Status, patience).unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    assert!(error.to_string().contains("may still be carried out"), "{error}");
    // A request that nobody reads, larger than the socket's buffer.
    let error = call(&path, &deliver(&"x".repeat(20_000_000)), patience).unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    assert!(start.elapsed() < PATIENCE);
    drop(listener);
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    for (answer, expected) in [
        (&b""[..], "closed the connection"),
        (b"{\"Ok\":1}", "closed the connection"),
        (b"nonsense\n", "not understood"),
        (b"{\"Ok\":1,\"Err\":2}\n", "not understood"),
        (b"\xff\n", "not understood"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let daemon = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            (&stream).write_all(answer).unwrap();
        });
        let error = call(&path, &Request::Status, PATIENCE).unwrap_err().to_string();
        assert!(error.contains(expected), "{answer:?}: {error}");
        daemon.join().unwrap();
    }
}
