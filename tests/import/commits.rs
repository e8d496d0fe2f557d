//! Killed at any commit and run again, the result is the same as without the kill: at each moment
//! of each transaction and checkpoint the files of the database are copied as a power cut would
//! leave them, and the import is run again on each copy.

use super::{mail, words, write};
use crate::cli_support::House;
use cmr_mail::config::Config;
use cmr_mail::gateway::api::Failure;
use cmr_mail::gateway::import::{Batch, Ended};
use cmr_mail::gateway::{Gateway, clock};
use cmr_mail::import::{Counts, Here, House as Reading, Restored, Run, Sink, Wish};
use cmr_mail::store::{Boundary, FILE_NAME, Options, Snapshot, imports};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// Small batches, so that there are many commits.
struct Small(Here);

impl Sink for Small {
    fn take(&mut self, batch: Batch) -> Result<Vec<Ended>, Failure> {
        self.0.take(batch)
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.0.end()
    }

    fn mails(&self) -> usize {
        7
    }
}

type Files = Vec<(&'static str, Vec<u8>)>;

fn files(data: &Path) -> Files {
    // The index of the log lives in memory; whoever opens the files makes it anew.
    [FILE_NAME, "cmr-mail.db-wal"]
        .into_iter()
        .filter_map(|name| Some((name, std::fs::read(data.join(name)).ok()?)))
        .collect()
}

fn config(house: &House, data: &Path) -> Config {
    let mut config = Config::load(house.config()).unwrap();
    config.gateway.data_dir = data.to_owned();
    config
}

fn run(config: &Config, root: &Path, options: Options) -> Counts {
    let snapshot = Snapshot::open(&config.gateway.data_dir).unwrap();
    let known = snapshot.as_ref().map(|it| imports::files(it.conn()).unwrap()).unwrap_or_default();
    drop(snapshot);
    let gateway = Gateway::open_with(config, options).unwrap();
    let mut sink = Small(Here::new(gateway).unwrap());
    let paths = [root.to_owned()];
    let (house, wish) = (Reading::new(config, clock::now()).unwrap(), Wish::default());
    let restored = Restored::new();
    let run =
        Run { paths: &paths, house: &house, wish: &wish, restored: &restored, known: &known, threads: 2 };
    run.run(&mut sink, &AtomicBool::new(false), &mut |_| {}).unwrap().counts
}

/// Everything but the times of the run.
fn rows(data: &Path) -> Vec<String> {
    let database = rusqlite::Connection::open(data.join(FILE_NAME)).unwrap();
    let mut found = Vec::new();
    for (select, columns) in [
        (
            "SELECT m.seq, hex(m.public_id), m.author, m.kind, m.scope, m.state, m.bytes, t.header, t.body
               FROM message m JOIN text t ON t.seq = m.seq ORDER BY m.seq",
            9,
        ),
        ("SELECT seq, position, hex(hop_key), hex(tail) FROM hop ORDER BY seq, position", 4),
        ("SELECT id, name, size, modified, options, done, complete FROM import_file ORDER BY id", 7),
        ("SELECT file, at, part, fate, seq, thread, bytes, reason FROM import_mail", 8),
        ("SELECT reason, place, source FROM aside ORDER BY id", 3),
        ("SELECT what, items, bytes FROM total", 3),
    ] {
        let mut select = database.prepare(select).unwrap();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let row: Vec<String> = (0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect();
            found.push(row.join(" "));
        }
    }
    found
}

#[test]
fn an_import_that_was_killed_at_any_commit_ends_the_same() {
    let house = House::new();
    let root = house.path().join("mail");
    for number in 0..30 {
        write(&root, &format!("cur/{number:03}:2,"), mail(number, &words(number)));
    }
    write(&root, "cur/bad", "no mail\n");
    write(&root, "cur/same", mail(3, &words(3)));
    let line = "From x@y.example Mon Jan  5 10:00:00 2026\n";
    let mbox: String = (100..130).map(|n| format!("{line}{}\n", mail(n, &words(n)))).collect();
    write(&root, "old/box", mbox);
    let copies: Arc<Mutex<Vec<(Boundary, Files)>>> = Arc::default();
    let data = house.path().join("first");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let (to, from) = (Arc::clone(&copies), data.clone());
    let watch = move |boundary| to.lock().unwrap().push((boundary, files(&from)));
    let options = Options { watch: Some(Arc::new(watch)), ..Options::default() };
    let counts = run(&config(&house, &data), &root, options);
    assert_eq!((counts.mails, counts.posts, counts.duplicates, counts.failed), (62, 60, 1, 1));
    let expected = rows(&data);
    let copies = std::mem::take(&mut *copies.lock().unwrap());
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let (mut tried, mut went_on) = (0, 0);
    let mut last: Option<&Files> = None;
    for (boundary, files) in &copies {
        *seen.entry(format!("{boundary:?}")).or_default() += 1;
        if last == Some(files) {
            continue;
        }
        last = Some(files);
        let data: PathBuf = house.path().join(format!("copy-{tried}"));
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        for (name, bytes) in files {
            std::fs::write(data.join(name), bytes).unwrap();
        }
        let counts = run(&config(&house, &data), &root, Options::default());
        assert_eq!(rows(&data), expected, "{boundary:?}, copy {tried}");
        tried += 1;
        went_on += usize::from(counts.mails < 62);
        std::fs::remove_dir_all(data).unwrap();
    }
    println!("{} moments, {tried} different states: {seen:?}", copies.len());
    // That there was something to try.
    assert!(tried > 10, "{tried}");
    assert!(went_on > 8, "only {went_on} began with something");
    for boundary in ["JobDone", "BeforeCommit", "AfterCommit", "Delivered", "AfterCheckpoint"] {
        assert!(seen.contains_key(boundary), "{boundary}: {seen:?}");
    }
}
