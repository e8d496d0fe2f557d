//! The crash harness tried on a small program: rows through SQLite, each acknowledged after its
//! commit. It must find nothing where nothing can be lost, and the loss where something can.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::indexing_slicing)]

#[path = "../support/replay.rs"]
mod replay;
#[path = "../support/shim.rs"]
mod shim;

mod daemon;

use replay::{Point, Record, Replay, read_files, read_trace};
use rusqlite::Connection;
use shim::{CRASHED, CrashAt};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

const ROWS: u32 = 24;
const DATABASE: &str = "rows.db";
/// Set in the process that writes: journal mode and synchronous.
const WRITER: &str = "CMR_CRASH_WRITER";

/// Not a test of its own: the program under the recorder, when the environment says so.
#[test]
fn writer() {
    let Ok(settings) = std::env::var(WRITER) else {
        return;
    };
    let (journal, synchronous) = settings.split_once(' ').expect("two settings");
    let folder = std::env::var_os("CMR_CRASH_DIR").expect("a folder");
    let path = Path::new(&folder).join(DATABASE);
    if journal == "copied" {
        // Within the kernel, past the recorder.
        std::fs::copy(std::env::current_exe().expect("this program"), path).expect("copied");
        return;
    }
    let mut db = Connection::open(path).expect("open");
    db.pragma_update(None, "journal_mode", journal).expect("journal mode");
    db.pragma_update(None, "synchronous", synchronous).expect("synchronous");
    db.pragma_update(None, "wal_autocheckpoint", 12).expect("checkpoints on the way");
    db.execute_batch("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")
        .expect("a table");
    for _ in 0..ROWS {
        let tx = db.transaction().expect("begin");
        tx.execute("INSERT INTO rows (body) VALUES (zeroblob(?1))", [3000 + tx.last_insert_rowid() * 100])
            .expect("insert");
        let id = tx.last_insert_rowid();
        tx.commit().expect("commit");
        let mut out = std::io::stdout().lock();
        writeln!(out, "250 2.0.0 {id}").expect("the reader is there");
        out.flush().expect("flushed");
    }
}

/// One run of the writer under the recorder: how it ended and what the reader saw.
fn run(folder: &Path, trace: &Path, settings: &str, crash: CrashAt) -> (Option<i32>, Vec<String>) {
    let (mut reader, writer) = UnixStream::pair().expect("a socket pair");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "writer", "--nocapture", "--test-threads=1"])
        .env(WRITER, settings)
        .stdout(Stdio::from(OwnedFd::from(writer)))
        .stderr(Stdio::null());
    shim::record(&mut command, folder, trace, crash);
    let mut child = command.spawn().expect("started");
    // The command holds our copy of the writing end; without this the reader never ends.
    drop(command);
    let mut said = String::new();
    reader.read_to_string(&mut said).expect("read");
    let status = child.wait().expect("ended");
    let acked =
        said.lines().filter_map(|l| l.split_once("250 2.0.0 ")).map(|(_, id)| id.to_owned()).collect();
    (status.code(), acked)
}

/// What is wrong with a directory in which these rows had been acknowledged.
fn check(directory: &Path, acked: &[String]) -> Result<(), String> {
    let path = directory.join(DATABASE);
    if !path.exists() {
        return if acked.is_empty() { Ok(()) } else { Err("the database is gone".to_owned()) };
    }
    let db = Connection::open(path).map_err(|e| e.to_string())?;
    db.pragma_update(None, "synchronous", "OFF").map_err(|e| e.to_string())?;
    let verdict: String =
        db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(|e| e.to_string())?;
    if verdict != "ok" {
        return Err(verdict);
    }
    let present: BTreeSet<String> = match db.prepare("SELECT id FROM rows") {
        Ok(mut select) => select
            .query_map([], |row| row.get::<_, i64>(0))
            .map_err(|e| e.to_string())?
            .map(|id| id.map(|id| id.to_string()))
            .collect::<Result<_, _>>()
            .map_err(|e| e.to_string())?,
        // No table yet.
        Err(_) => BTreeSet::new(),
    };
    let lost: Vec<&String> = acked.iter().filter(|id| !present.contains(*id)).collect();
    if lost.is_empty() { Ok(()) } else { Err(format!("acknowledged and lost: {lost:?}")) }
}

struct Verdict {
    points: usize,
    syncs: usize,
    faults: Vec<String>,
}

/// Records a run with these settings and checks all that a crash could leave of it.
fn enumerate(settings: &str) -> Verdict {
    let work = tempfile::tempdir().expect("a folder");
    let folder = work.path().join("data");
    std::fs::create_dir(&folder).expect("a folder in it");
    enumerate_in(work.path(), &folder, settings, 1)
}

fn enumerate_in(work: &Path, folder: &Path, settings: &str, stride: usize) -> Verdict {
    let trace = work.join("trace");
    let before = read_files(folder);
    let (status, acked) = run(folder, &trace, settings, CrashAt::Never);
    assert_eq!(status, Some(0));
    assert_eq!(acked.len(), usize::try_from(ROWS).expect("small"));
    let records = read_trace(&trace).expect("a trace that can be believed");
    let scratch = work.join("scratch");

    let (end, recorded) = Replay::new(records.clone(), &scratch).on(&before).end();
    assert_eq!(recorded, acked, "the recorder saw every acknowledgement");
    assert!(end == read_files(folder), "the recorder missed a write");

    let synced = |r: &&Record| matches!(r, Record::SyncEnd { .. });
    let syncs = records.iter().filter(synced).count();
    let mut replay = Replay::new(records, &scratch).on(&before).every(stride);
    let mut points = 0;
    let mut faults = Vec::new();
    for Point { op, variant, acked, directory, .. } in replay.by_ref() {
        points += 1;
        if let Err(fault) = check(&directory, &acked) {
            faults.push(format!("after operation {op}, {variant:?}: {fault}"));
        }
    }
    println!(
        "{settings}: {} states at the boundaries of {syncs} syncs, {points} of them different, {} faults",
        replay.considered,
        faults.len()
    );
    Verdict { points, syncs, faults }
}

#[test]
fn nothing_is_lost_in_wal_with_full_sync() {
    let verdict = enumerate("WAL FULL");
    assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
    assert!(verdict.syncs > 30, "{} syncs", verdict.syncs);
    assert!(verdict.points > 200, "{} points", verdict.points);
}

#[test]
fn nothing_is_lost_with_a_rollback_journal_and_the_directory_synced() {
    let verdict = enumerate("DELETE EXTRA");
    assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
    assert!(verdict.points > 200, "{} points", verdict.points);
}

#[test]
fn a_run_can_begin_on_an_old_database_and_be_looked_at_in_strides() {
    let work = tempfile::tempdir().expect("a folder");
    let folder = work.path().join("data");
    std::fs::create_dir(&folder).expect("a folder in it");
    let (status, _) = run(&folder, &work.path().join("trace0"), "WAL FULL", CrashAt::Never);
    assert_eq!(status, Some(0));
    let verdict = enumerate_in(work.path(), &folder, "WAL FULL", 5);
    assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
    assert!(verdict.points > 100, "{} points", verdict.points);
}

#[test]
fn a_trace_with_a_hole_is_refused() {
    let work = tempfile::tempdir().expect("a folder");
    let folder = work.path().join("data");
    std::fs::create_dir(&folder).expect("a folder in it");
    let trace = work.path().join("trace");
    let (status, _) = run(&folder, &trace, "copied -", CrashAt::Never);
    assert_eq!(status, Some(0));
    let fault = read_trace(&trace).expect_err("a hole");
    assert!(fault.contains("is not modelled"), "{fault}");
}

#[test]
fn the_harness_finds_what_can_be_lost() {
    // No sync at all; no sync at commit; no sync of the directory after the journal's removal,
    // which is what SQLite's documentation names as the difference between FULL and EXTRA.
    for settings in ["WAL OFF", "WAL NORMAL", "DELETE FULL"] {
        let verdict = enumerate(settings);
        let lost = |fault: &String| fault.contains("acknowledged and lost");
        assert!(verdict.faults.iter().any(lost), "{settings}: nothing found");
    }
}

#[test]
fn a_process_that_ends_at_any_sync_leaves_what_it_acknowledged() {
    let mut ends = 0;
    for crash_at in [CrashAt::Before, CrashAt::After] {
        for k in 1.. {
            let work = tempfile::tempdir().expect("a folder");
            let folder = work.path().join("data");
            std::fs::create_dir(&folder).expect("a folder in it");
            let trace = work.path().join("trace");
            let (status, mut acked) = run(&folder, &trace, "WAL FULL", crash_at(k));
            if status == Some(0) {
                break;
            }
            assert_eq!(status, Some(CRASHED), "{k}");
            ends += 1;
            let records = read_trace(&trace).expect("a trace");
            assert!(matches!(records.last(), Some(Record::Crash(serial)) if *serial == k));
            let (end, _) = Replay::new(records, &work.path().join("scratch")).end();
            assert!(end == read_files(&folder), "the recorder missed a write");

            // The next start finds what was acknowledged and goes on from there.
            let (status, more) = run(&folder, &work.path().join("trace2"), "WAL FULL", CrashAt::Never);
            assert_eq!(status, Some(0), "{k}");
            acked.extend(more);
            check(&folder, &acked).unwrap_or_else(|fault| panic!("{k}: {fault}"));
            let distinct: BTreeSet<&String> = acked.iter().collect();
            assert_eq!(distinct.len(), acked.len(), "no id was given twice");
        }
    }
    println!("{ends} ends of the process at a sync");
    assert!(ends > 60, "only {ends}");
}
