//! The whole program under the recorder: mails come in by SMTP, answers leave by SMTP, and every
//! state that a crash could have left of its data directory is opened again.

use super::replay::{Point, Record, Replay, read_files, read_trace};
use super::shim::{self, CRASHED, CrashAt};
use cmr_mail::cli::demo::host::{MailHost, MailHostConfig};
use cmr_mail::message::MessageId;
use cmr_mail::store::{FILE_NAME, Store, messages, queue};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Sessions at a time and mails in each: several in one commit, and commits one after another.
const SESSIONS: usize = 3;
const MAILS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the answers go.
const ASKER: &str = "ann@people.example";

struct Daemon {
    child: Child,
    smtp: SocketAddr,
}

impl Daemon {
    /// Starts `serve` in `work`, recorded; `None` if it ended itself before it was ready.
    fn start(work: &Path, smarthost: SocketAddr, trace: &Path, crash: CrashAt) -> Option<Self> {
        let data = work.join("data");
        if !data.exists() {
            std::fs::DirBuilder::new().mode(0o700).create(&data).expect("a data directory");
        }
        let config = work.join("cmr-mail.toml");
        let text = format!(
            r#"
[gateway]
address = "mailto:cmr@gw.example"
hostname = "gw.example"
operator = "Operator <{ASKER}>"
data_dir = "data"
[smtp]
listen = ["127.0.0.1:0"]
recipients = ["cmr@gw.example"]
trusted_networks = ["127.0.0.0/8"]
[send]
smarthost = "smtp://{smarthost}"
[people]
first_post = "publish"
"#
        );
        std::fs::write(&config, text).expect("a configuration");
        let mut command = Command::new(env!("CARGO_BIN_EXE_cmr-mail"));
        command.arg("--config").arg(config).arg("serve").stdout(Stdio::piped()).stderr(Stdio::null());
        shim::record(&mut command, &data, trace, crash);
        let mut child = command.spawn().expect("started");
        let mut smtp = None;
        for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
            let line = line.expect("text");
            if let Some(address) = line.strip_prefix("listening smtp ") {
                smtp = Some(address.parse().expect("an address"));
            }
            if line == "ready" {
                return Some(Daemon { child, smtp: smtp.expect("it listens") });
            }
        }
        assert_eq!(child.wait().expect("ended").code(), Some(CRASHED), "it ended by itself");
        None
    }

    /// SIGTERM, and what it exits with.
    fn stop(mut self) -> Option<i32> {
        let id = rustix::process::Pid::from_child(&self.child);
        // It may have ended itself already.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        self.child.wait().expect("ended").code()
    }
}

/// A sender as simple as it gets: returns the ids that it got a 250 for, until the daemon dies.
fn send_mails(smtp: SocketAddr, session: usize, round: &str) -> Vec<String> {
    let mut acked = Vec::new();
    let Ok(mut stream) = TcpStream::connect(smtp) else { return acked };
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut replies = BufReader::new(stream.try_clone().expect("a clone")).lines();
    let mut reply =
        move || replies.by_ref().map_while(Result::ok).find(|line| line.as_bytes().get(3) == Some(&b' '));
    let mut say = |text: &str| stream.write_all(text.as_bytes()).is_ok();
    let mut talk = || {
        reply()?;
        say("EHLO client.example\r\n");
        reply()?;
        for n in 0..MAILS {
            let id = format!("{round}.{session}.{n}@people.example");
            for command in ["MAIL FROM:<ann@people.example>\r\n", "RCPT TO:<cmr@gw.example>\r\n", "DATA\r\n"]
            {
                say(command);
                let answer = reply()?;
                assert!(answer.starts_with(['2', '3']), "{command}: {answer}");
            }
            say(&format!(
                "From: {ASKER}\r\nTo: cmr@gw.example\r\nSubject: planets {id}\r\nMessage-ID: <{id}>\r\n\r\n\
                 Which planet of the solar system is number {n} by its size, and who has seen it in {session}?\r\n.\r\n"
            ));
            let answer = reply()?;
            let stored = answer.strip_prefix("250 2.0.0 ").unwrap_or_else(|| panic!("refused: {answer}"));
            acked.push(stored.to_owned());
        }
        Some(())
    };
    talk();
    acked
}

fn send_all(smtp: SocketAddr, round: &str) -> Vec<String> {
    std::thread::scope(|scope| {
        let sessions: Vec<_> =
            (0..SESSIONS).map(|session| scope.spawn(move || send_mails(smtp, session, round))).collect();
        sessions.into_iter().flat_map(|s| s.join().expect("a session")).collect()
    })
}

/// The id in the text of an acknowledgement.
fn id_of(ack: &str) -> Option<MessageId> {
    ack.split_whitespace().find_map(|word| word.parse().ok())
}

fn smarthost() -> MailHost {
    let mut config = MailHostConfig::new("people.example", &[ASKER]);
    config.sessions = 16;
    MailHost::start(config).expect("a mail host")
}

/// The Message-IDs of what the mail host took.
fn arrived(host: &MailHost) -> BTreeSet<String> {
    let id = |mail: Vec<u8>| {
        let text = String::from_utf8_lossy(&mail).into_owned();
        let line = text.lines().find(|l| l.to_ascii_lowercase().starts_with("message-id:"));
        line.and_then(|l| l.split_once(": ")).map(|(_, id)| id.trim().trim_matches(['<', '>']).to_owned())
    };
    host.mailbox(ASKER).into_iter().filter_map(id).collect()
}

/// What is wrong with a data directory: an acknowledged message that is not there, a delivery
/// marked as sent that nobody got, or a database that is damaged.
fn check(data: &Path, acked: &[String], arrived: &BTreeSet<String>) -> Result<(), String> {
    let acked: Vec<MessageId> = acked.iter().filter_map(|ack| id_of(ack)).collect();
    if !data.join(FILE_NAME).exists() {
        return if acked.is_empty() { Ok(()) } else { Err("the database is gone".to_owned()) };
    }
    let store = Store::open(data).map_err(|e| e.to_string())?;
    let outcome = store.read(|conn| {
        let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        let orphans: i64 =
            conn.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
        let mut faults = Vec::new();
        if verdict != "ok" || orphans > 0 {
            faults.push(format!("{verdict}, {orphans} orphans"));
        }
        for id in &acked {
            if messages::by_id(conn, *id)?.is_empty() {
                faults.push(format!("{id} was acknowledged and is lost"));
            }
        }
        for delivery in queue::list(conn, true, 1000)? {
            if delivery.state == queue::DeliveryState::Sent && !arrived.contains(&delivery.message_id) {
                faults.push(format!("{} is marked as sent and did not arrive", delivery.message_id));
            }
        }
        Ok(faults)
    });
    store.close();
    match outcome {
        Ok(faults) if faults.is_empty() => Ok(()),
        Ok(faults) => Err(faults.join("; ")),
        Err(error) => Err(error.to_string()),
    }
}

/// Waits until the queue of a stopped or running daemon is empty, as the mail host sees it.
fn settled(host: &MailHost, at_least: usize) {
    host.wait_for(PATIENCE, |m| (m.of(ASKER).len() >= at_least).then_some(()))
        .unwrap_or_else(|| panic!("only {} answers", host.mailbox(ASKER).len()));
}

#[test]
fn no_crash_of_the_daemon_loses_what_it_acknowledged() {
    let work = tempfile::tempdir().expect("a folder");
    let host = smarthost();
    let trace = work.path().join("trace");
    let daemon = Daemon::start(work.path(), host.address(), &trace, CrashAt::Never).expect("ready");
    let acked = send_all(daemon.smtp, "first");
    assert_eq!(acked.len(), SESSIONS * MAILS);
    assert!(acked.iter().all(|ack| id_of(ack).is_some()), "{acked:?}");
    settled(&host, SESSIONS * MAILS);
    assert_eq!(daemon.stop(), Some(0));

    let records = read_trace(&trace).expect("a trace that can be believed");
    let scratch = work.path().join("scratch");
    let (end, recorded) = Replay::new(records.clone(), &scratch).end();
    let end: BTreeSet<_> = end.into_iter().collect();
    let real: BTreeSet<_> = read_files(&work.path().join("data")).into_iter().collect();
    assert!(end == real, "the recorder missed a write");
    let recorded: BTreeSet<_> = recorded.iter().filter_map(|ack| id_of(ack)).collect();
    assert_eq!(recorded, acked.iter().filter_map(|ack| id_of(ack)).collect());

    std::fs::create_dir_all(&scratch).expect("the scratch folder");
    std::fs::set_permissions(&scratch, std::fs::Permissions::from_mode(0o700)).expect("its mode");
    let arrived = arrived(&host);
    let syncs = records.iter().filter(|r| matches!(r, Record::SyncEnd { .. })).count();
    let mut replay = Replay::new(records, &scratch).every(25);
    let mut points = 0;
    let mut faults = Vec::new();
    for Point { op, variant, acked, directory, .. } in replay.by_ref() {
        points += 1;
        if let Err(fault) = check(&directory, &acked, &arrived) {
            faults.push(format!("after operation {op}, {variant:?}: {fault}"));
        }
    }
    println!(
        "the daemon: {} states at the boundaries of {syncs} syncs, {points} of them different, {} faults",
        replay.considered,
        faults.len()
    );
    faults.truncate(10);
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(syncs > 20, "{syncs} syncs");
    assert!(points > 100, "{points} points");
}

#[test]
fn a_daemon_that_dies_at_any_sync_goes_on_at_the_next_start() {
    let mut deaths = 0;
    let mut before_ready = 0;
    for crash_at in [CrashAt::Before, CrashAt::After] {
        for k in 1.. {
            let work = tempfile::tempdir().expect("a folder");
            let host = smarthost();
            let trace = work.path().join("trace");
            let mut acked = Vec::new();
            match Daemon::start(work.path(), host.address(), &trace, crash_at(k)) {
                None => before_ready += 1,
                Some(daemon) => {
                    acked = send_all(daemon.smtp, "first");
                    if acked.len() == SESSIONS * MAILS {
                        // It survived all the mails: the syncs behind them are the other test's.
                        let _ = daemon.stop();
                        break;
                    }
                    assert_eq!(daemon.stop(), Some(CRASHED), "{k}");
                }
            }
            deaths += 1;

            let trace = work.path().join("trace2");
            let daemon =
                Daemon::start(work.path(), host.address(), &trace, CrashAt::Never).expect("the next start");
            acked.extend(send_all(daemon.smtp, "second"));
            settled(&host, SESSIONS * MAILS);
            assert_eq!(daemon.stop(), Some(0), "{k}");
            check(&work.path().join("data"), &acked, &arrived(&host))
                .unwrap_or_else(|fault| panic!("{k}: {fault}"));
        }
    }
    println!("{deaths} deaths at a sync, {before_ready} of them before the daemon was ready");
    assert!(deaths > 10, "only {deaths}");
}
