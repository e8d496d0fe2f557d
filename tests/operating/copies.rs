//! Copies of the database, restores, and what is removed for good.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::support::client::Client;
use super::support::daemon::{Config, House};
use super::support::messages::Mail;
use super::support::sink::Sink;
use super::{files, holding, post};

/// No file.
const NOWHERE: [std::path::PathBuf; 0] = [];

const SECRET: &str = "Zaunkoenig-4711 sings in the mangrove at dawn";

fn house() -> (House, Sink) {
    let sink = Sink::start();
    let config = Config::new().trusting_loopback().smarthost(sink.address());
    (House::new(&config), sink)
}

#[test]
fn what_was_removed_and_blocked_after_a_copy_stays_so_when_it_is_restored() {
    let (house, _sink) = house();
    let daemon = house.start();
    let kept = post(&daemon, "ann@a.test", "Planets", "Jupiter is the largest planet of all.");
    let gone = post(&daemon, "bob@b.test", "Birds", &format!("{SECRET}, says the keeper of birds."));
    let also_gone = post(&daemon, "eve@e.test", "Rocks", "Gneiss-9001 lies below the old pier.");
    house.verb(&["block", "unwanted@u.test"]);
    house.until_idle();

    // Beside the running daemon.
    let copy = house.dir().join("copy");
    let copied = house.json(&["backup", "copy"]);
    assert_eq!(copied["messages"], 3, "{copied}");
    assert_eq!(std::fs::metadata(&copy).unwrap().mode() & 0o777, 0o600);
    assert!(!house.dir().join("copy-wal").exists(), "a copy is one file");
    assert_eq!(house.json(&["verify", "copy"])["sound"], true);
    assert!(!holding(house.dir(), SECRET.as_bytes()).is_empty(), "the test would find it");

    house.verb(&["remove", &gone]);
    house.verb(&["remove", "--author", "eve@e.test"]);
    house.verb(&["block", "junk.test"]);
    house.verb(&["block", "--undo", "unwanted@u.test"]);
    post(&daemon, "ann@a.test", "Later", "Saturn has rings, as is well known.");
    house.until_idle();
    let sound = house.json(&["verify"]);
    assert_eq!((&sound["sound"], &sound["blocked"]), (&true.into(), &1.into()), "{sound}");
    let data = house.dir().join("data");
    assert_eq!(holding(&data, b"Zaunkoenig-4711"), NOWHERE);
    assert_eq!(holding(&data, b"Gneiss-9001"), NOWHERE);

    let refused = house.run(&["restore", "copy"], b"");
    assert_eq!(refused.status.code(), Some(75), "{refused:?}");
    assert!(daemon.stop().success());
    let restored = house.json(&["restore", "copy"]);
    assert_eq!(restored["removed"], 2, "{restored}");
    for words in [&b"Zaunkoenig-4711"[..], b"Gneiss-9001"] {
        assert_eq!(holding(&data, words), NOWHERE, "after the restore");
    }
    let daemon = house.start();
    assert!(house.show(&kept).is_some());
    assert!(house.show(&gone).is_none() && house.show(&also_gone).is_none());
    let sound = house.json(&["verify"]);
    assert_eq!(
        (&sound["sound"], &sound["messages"], &sound["blocked"]),
        (&true.into(), &1.into(), &1.into())
    );
    let log = house.log();
    assert!(!log.contains("Zaunkoenig-4711"), "bodies are not logged");
    // It is refused when it comes again, and so is who was blocked.
    let blocked = house.run(&["block", "junk.test"], b"");
    assert!(String::from_utf8_lossy(&blocked.stdout).contains("was refused already"), "{blocked:?}");
    assert!(daemon.stop().success());
}

#[test]
fn who_said_stop_after_a_copy_stays_stopped_when_it_is_restored() {
    let (house, _sink) = house();
    let daemon = house.start();
    post(&daemon, "ann@a.test", "Planets", "Jupiter is the largest planet of all.");
    post(&daemon, "bob@b.test", "Birds", "The wren is the smallest of them here.");
    house.until_idle();
    house.json(&["backup", "copy"]);
    let stop =
        Mail::from("ann@a.test").field("Subject", "stop").field("Message-ID", "<s@a.test>").text("stop");
    let reply = Client::connect(daemon.smtp())
        .unwrap()
        .send("ann@a.test", &["cmr+stop@home.test"], &stop.write())
        .unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    house.until_idle();
    assert_eq!(house.json(&["verify"])["sound"], true);
    assert!(daemon.stop().success());
    house.json(&["restore", "copy"]);
    let conn = rusqlite::Connection::open(house.dir().join("data/cmr-mail.db")).unwrap();
    let stopped: Vec<String> = conn
        .prepare("SELECT address FROM person WHERE stopped_at IS NOT NULL")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(stopped, ["ann@a.test"]);
    let open: i64 = conn
        .query_row(
            "SELECT count(*) FROM thread t JOIN person p ON p.id = t.person
              WHERE p.address = 'ann@a.test' AND t.until > (unixepoch() + 60) * 1000000",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(open, 0, "no later matches for who said stop");
}

/// Not by the verb: by `cp`, as one restores a file system. The database is then older than what
/// stands beside it, and says nothing of being a copy.
#[test]
fn an_older_database_that_comes_back_by_any_way_is_noticed() {
    let (house, sink) = house();
    let daemon = house.start();
    let gone = post(&daemon, "bob@b.test", "Birds", &format!("{SECRET}, says the keeper of birds."));
    house.until_idle();
    assert!(daemon.stop().success());
    let older = house.dir().join("older.db");
    std::fs::copy(house.database(), &older).unwrap();
    house.verb(&["remove", &gone]);
    std::fs::copy(&older, house.database()).unwrap();
    // Something that was waiting in the older one.
    let conn = rusqlite::Connection::open(house.database()).unwrap();
    conn.execute("UPDATE delivery SET state = 'ready', finished = NULL, next_try = 0", []).unwrap();
    let waiting: i64 = conn.query_row("SELECT count(*) FROM delivery", [], |row| row.get(0)).unwrap();
    assert!(waiting > 0);
    drop(conn);
    sink.forget();
    let daemon = house.start();
    assert!(house.show(&gone).is_none());
    assert_eq!(holding(&house.dir().join("data"), b"Zaunkoenig-4711"), NOWHERE);
    assert!(house.log().contains("is a copy that was put back"), "{}", house.log());
    for delivery in house.json(&["queue", "list"]).as_array().unwrap() {
        assert_eq!(delivery["state"], "held", "{delivery}");
    }
    assert_eq!(sink.count(), 0, "nothing was sent once more");
    assert_eq!(house.json(&["verify"])["sound"], true);
    assert!(daemon.stop().success());
}

#[test]
fn what_is_no_copy_is_refused_and_nothing_else_is_overwritten() {
    let (house, _sink) = house();
    let daemon = house.start();
    post(&daemon, "ann@a.test", "Planets", "Jupiter is the largest planet of all.");
    house.until_idle();
    std::fs::write(house.dir().join("letter"), "Dear Ann").unwrap();
    for target in ["letter", "data/cmr-mail.db", "no/such/folder/copy", "data"] {
        let ended = house.run(&["backup", target], b"");
        assert_eq!(ended.status.code(), Some(73), "{target}: {ended:?}");
    }
    assert_eq!(std::fs::read(house.dir().join("letter")).unwrap(), b"Dear Ann");
    house.verb(&["backup", "copy"]);
    house.verb(&["backup", "copy"]);
    assert!(daemon.stop().success());
    // Nobody ever writes into this pipe.
    assert!(Command::new("mkfifo").arg(house.dir().join("pipe")).status().unwrap().success());
    for source in ["letter", "data/cmr-mail.db", "nothing", "pipe", "data"] {
        for verb in ["restore", "verify"] {
            let ended = house.run(&[verb, source], b"");
            assert_eq!(ended.status.code(), Some(65), "{verb} {source}: {ended:?}");
        }
    }
    // Damage in the middle of a copy is found, and the database stays.
    let copy = house.dir().join("copy");
    let mut bytes = std::fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xee);
    std::fs::write(&copy, bytes).unwrap();
    let ended = house.run(&["verify", "copy", "--json"], b"");
    assert_eq!(ended.status.code(), Some(65), "{ended:?}");
    assert_eq!(house.run(&["restore", "copy"], b"").status.code(), Some(65));
    assert_eq!(house.json(&["verify"])["sound"], true);

    // A copy of another gateway: what was removed in it nobody here can tell.
    let (other, _sink) = self::house();
    let daemon = other.start();
    let id = post(&daemon, "ann@a.test", "Moons", "Ganymede is the largest moon.");
    other.verb(&["remove", &id]);
    other.verb(&["backup", "copy"]);
    assert!(daemon.stop().success());
    house.verb(&["block", "junk.test"]);
    let copy = other.dir().join("copy");
    let ended = house.run(&["restore", copy.to_str().unwrap()], b"");
    assert_eq!(ended.status.code(), Some(65), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("is about another database"), "{ended:?}");
}

/// What nobody wants to keep goes by itself: raw mails and asides after `keep_raw`.
#[test]
fn raw_mails_and_asides_leave_no_words_behind() {
    let sink = Sink::start();
    let config = Config::new().trusting_loopback().smarthost(sink.address()).text("pool", "keep_raw", "0s");
    let house = House::new(&config);
    let daemon = house.start();
    // The text of a post stays, the fields of its mail are in the raw mail only.
    let mail = super::Mail::from("ann@a.test")
        .field("Subject", "Planets")
        .field("Message-ID", "<1@a.test>")
        .field("X-Mailer", "Trommelbube-77 for pocket calculators")
        .text("Jupiter is the largest planet of all.")
        .write();
    let mut client = super::Client::connect(daemon.smtp()).unwrap();
    assert_eq!(client.send("ann@a.test", &["cmr@home.test"], &mail).unwrap().code, 250);
    // By a pipe nobody can tell whose it is: kept aside.
    house.run(&["deliver"], &mail.split(|b| *b == b'\r').collect::<Vec<_>>().concat());
    house.until_idle();
    let data = house.dir().join("data");
    assert!(!holding(&data, b"Trommelbube-77").is_empty(), "the test would find it");
    assert!(daemon.stop().success());
    // The daemon forgets what has expired at its start and every ten minutes.
    let daemon = house.start();
    house.until("nothing of it is in any file", |_| {
        holding(&data, b"Trommelbube-77").is_empty().then_some(())
    });
    let conn = house.read_database();
    let query = "SELECT (SELECT count(*) FROM raw_mail) + (SELECT count(*) FROM aside)";
    assert_eq!(conn.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    drop(conn);
    assert_eq!(house.json(&["verify"])["sound"], true);
    assert!(daemon.stop().success());
}

#[test]
fn no_file_is_for_others() {
    let (house, _sink) = house();
    let daemon = house.start();
    let id = post(&daemon, "ann@a.test", "Planets", "Jupiter is the largest planet of all.");
    house.verb(&["remove", &id]);
    house.verb(&["backup", "copy"]);
    house.verb(&["backup", "data/copy"]);
    std::fs::set_permissions(house.dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let data = house.dir().join("data");
    assert_eq!(std::fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
    let mut all = files(&data);
    all.push(house.dir().join("copy"));
    assert!(all.iter().any(|file| file.ends_with("removals")), "{all:?}");
    for file in &all {
        let mode = std::fs::metadata(file).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
    if rustix::process::geteuid().is_root() {
        for file in &all {
            let read = Command::new("cat").arg(file).uid(65534).gid(65534).output().unwrap();
            assert!(!read.status.success() && read.stdout.is_empty(), "{}", file.display());
        }
    } else {
        println!("not root: that other users can't read the files is not tried");
    }
    // `verify` sees when somebody has opened them.
    std::fs::set_permissions(house.dir().join("copy"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let ended = house.run(&["verify", "copy"], b"");
    assert_eq!(ended.status.code(), Some(65));
    assert!(
        String::from_utf8_lossy(&ended.stdout).contains("copy is open to others (mode 0640)"),
        "{ended:?}"
    );
    std::fs::set_permissions(data.join("removals"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let ended = house.run(&["verify"], b"");
    assert_eq!(ended.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&ended.stdout).contains("is open to others (mode 0644)"), "{ended:?}");
    assert!(daemon.stop().success());
}
