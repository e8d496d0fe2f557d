//! Power is lost: from one recorded run, every directory that could be found afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cmr_mail::config::Config;
use cmr_mail::gateway::Gateway;
use cmr_mail::message::{Limits, MessageId, Timestamp, UnixTime, parse};
use cmr_mail::store::{Store, messages, meta};
use rusqlite::Connection;

use crate::play::{Play, Told, ids};
use crate::replay::{Files, Point, Record, Replay, note, read_files, read_trace};
use crate::shim::CrashAt;
use crate::story::{KEY_SET, REMOVED, Story, config, story};
use crate::support::daemon::House;
use crate::support::sink::{Mail, Sink};
use crate::world::{self, bare};
use crate::{is_full, place};

/// Between the syncs, every so many operations are looked behind.
const STRIDE: usize = 20;

/// How many states are looked at after a kill.
const AFTER_A_KILL: usize = 60;

/// How a note begins that a mail arrived: what follows is its Message-ID, and our T if it has one.
const ARRIVED: &str = "arrived ";

/// The T in a forward of ours.
fn our_time(mail: &Mail) -> Option<Timestamp> {
    let message = parse(&mail.part(0)?, &Limits::default()).ok()?;
    Some(message.sender().time.clone())
}

/// A story that was told and recorded.
struct Recorded {
    house: House,
    story: Story,
    told: Told,
    records: Vec<Record>,
    /// Where states are laid out, and the same house with its data there.
    scratch: PathBuf,
    there: Config,
}

fn record(home: &Path, crash: CrashAt) -> Recorded {
    let story = story();
    let trace = home.join("trace");
    let sink = {
        let trace = trace.clone();
        Sink::telling(move |mail| {
            let time = our_time(mail).map_or_else(String::new, |time| time.to_string());
            note(&trace, &format!("{ARRIVED}{} {time}", mail.message_id()));
        })
    };
    let house = House::new_in(home, &config(&sink));
    let play = Play { house: &house, story: &story, trace: trace.clone(), crash, all_recorded: true };
    let told = play.tell().unwrap();
    let records = read_trace(&trace).unwrap();

    let scratch = home.join("scratch");
    let (end, acked) = Replay::new(records.clone(), &scratch).end();
    let recorded: BTreeSet<String> = acked.iter().flat_map(|text| ids(text).collect::<Vec<_>>()).collect();
    assert!(recorded.is_superset(&told.acked), "the recorder missed an acknowledgement");
    let left = read_files(&house.dir().join("data"));
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert!(end == left, "the recorder missed a write: {:?} and {:?}", names(&end), names(&left));

    let text = std::fs::read_to_string(house.dir().join("cmr-mail.toml")).unwrap();
    let text = text.replace("\"data\"", &format!("{:?}", scratch.to_str().unwrap()));
    let there = Config::parse(&text, home.join("cmr-mail.toml")).unwrap();
    assert_eq!(there.gateway.data_dir, scratch);
    Recorded { house, story, told, records, scratch, there }
}

/// What was seen on the way through some states.
#[derive(Default)]
struct Seen {
    points: usize,
    after_an_acknowledgement: usize,
    with_something_to_route: usize,
    faults: Vec<String>,
}

impl Seen {
    fn look(&mut self, point: &Point, recorded: &Recorded) {
        self.points += 1;
        self.after_an_acknowledgement += usize::from(!point.acked.is_empty());
        match look_at(point, &recorded.there, &recorded.story.removed) {
            Ok(waited) => self.with_something_to_route += usize::from(waited > 0),
            Err(fault) => {
                self.faults.push(format!("after operation {}, {:?}: {fault}", point.op, point.variant));
            }
        }
    }

    fn assert_whole(&self) {
        let first: Vec<&String> = self.faults.iter().take(5).collect();
        assert!(first.is_empty(), "{} faults, of them: {first:#?}", self.faults.len());
    }
}

#[test]
fn what_was_not_synced_may_be_gone_and_nothing_is_lost() {
    let begun = Instant::now();
    let home = tempfile::tempdir_in(place()).unwrap();
    let recorded = record(home.path(), CrashAt::Never);
    let Recorded { records, scratch, .. } = &recorded;

    // Without its syncs the same run can lose what it acknowledged: that is found.
    let unsynced = |record: &Record| !matches!(record, Record::SyncBegin { .. } | Record::SyncEnd { .. });
    let without: Vec<Record> = records.iter().filter(|record| unsynced(record)).cloned().collect();
    let found = Replay::new(without, scratch)
        .every(usize::MAX)
        .filter_map(|point| look_at(&point, &recorded.there, &recorded.story.removed).err())
        .find(|fault| fault.contains("is lost") || fault.contains("the queue does not know"));
    assert!(found.is_some(), "this test would not see a lost message");

    let mut replay = Replay::new(records.clone(), scratch).every(if is_full() { 1 } else { STRIDE });
    let mut seen = Seen::default();
    for point in replay.by_ref() {
        seen.look(&point, &recorded);
    }
    println!(
        "{} states around {} operations, {} of them different and opened ({} after the first acknowledgement, {} with \
         something left to route) in {:.0} s",
        replay.considered,
        records.len(),
        seen.points,
        seen.after_an_acknowledgement,
        seen.with_something_to_route,
        begun.elapsed().as_secs_f64()
    );
    seen.assert_whole();
    assert!(seen.points > 300 && seen.after_an_acknowledgement > 200 && seen.with_something_to_route > 10);
}

/// What a killed process had written is still there for the next one, which may acknowledge what
/// it finds, and yet none of it need be on the disk.
#[test]
fn power_may_be_lost_after_a_kill() {
    let begun = Instant::now();
    let (mut kills, mut seen) = (BTreeMap::new(), Seen::default());
    let step = if is_full() { 1 } else { 7 };
    for k in (3..).step_by(step) {
        let home = tempfile::tempdir_in(place()).unwrap();
        let recorded = record(home.path(), CrashAt::Before(k));
        let Some(step) = recorded.told.crashed_in else { break };
        *kills.entry(step).or_insert(0) += 1;
        let crash = recorded.records.iter().position(|record| matches!(record, Record::Crash(_))).unwrap();
        let replay = Replay::new(recorded.records.clone(), &recorded.scratch).every(usize::MAX).from(crash);
        for point in replay.take(AFTER_A_KILL) {
            seen.look(&point, &recorded);
        }
        drop(recorded.house);
    }
    println!(
        "{} states after {} kills ({kills:?}) in {:.0} s",
        seen.points,
        kills.values().sum::<usize>(),
        begun.elapsed().as_secs_f64()
    );
    seen.assert_whole();
    assert!(kills.values().sum::<usize>() >= 5 && seen.points > 200);
}

/// What is wrong with a state; else how many messages waited for the router in it.
fn look_at(point: &Point, config: &Config, removed: &str) -> Result<usize, String> {
    let text = |e: &dyn std::error::Error| e.to_string();
    std::fs::set_permissions(&point.directory, std::fs::Permissions::from_mode(0o700)).expect("ours");
    let acked: BTreeSet<String> = point.acked.iter().flat_map(|text| ids(text).collect::<Vec<_>>()).collect();
    let arrived: BTreeMap<String, Option<Timestamp>> = point
        .notes
        .iter()
        .filter_map(|note| note.strip_prefix(ARRIVED)?.split_once(' '))
        .map(|(id, time)| (id.to_owned(), Timestamp::parse(time.as_bytes()).ok()))
        .collect();
    let is_noted = |what: &str| point.notes.iter().any(|note| note == what);

    // First the store alone: what is there, before anything is done with it.
    let store = Store::open(&point.directory).map_err(|e| text(&e))?;
    let waited = store
        .read(|conn| {
            let mut faults = world::faults(conn, &acked, removed);
            faults.extend(departures(conn, &arrived));
            if is_noted(KEY_SET) && count(conn, "SELECT count(*) FROM key WHERE state = 'current'") != 1 {
                faults.push("the key was set and is lost".to_owned());
            }
            if is_noted(REMOVED) {
                let id: MessageId = removed.parse().expect("an id");
                let versions = messages::by_id(conn, id)?.len();
                if versions > 0 || count(conn, "SELECT count(*) FROM removed") == 0 {
                    faults.push("what was removed is back".to_owned());
                }
            }
            Ok((faults, count(conn, "SELECT count(*) FROM message WHERE state IN ('unrouted', 'held')")))
        })
        .map_err(|e| text(&e))?;
    let (faults, waiting) = waited;
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    // The next T is later than every one that was seen outside, even if the clock went back.
    let latest = arrived.values().flatten().map(Timestamp::to_unix).max();
    let next = store.write(|tx| meta::take_time(tx, UnixTime(0))).map_err(|e| text(&e))?;
    if latest.is_some_and(|latest| next <= latest) {
        return Err(format!("T goes back from {latest:?} to {next:?}"));
    }
    store.close();

    // Then the gateway goes on with it.
    let gateway = Gateway::open(config).map_err(|e| text(&e))?;
    gateway.route_pending().map_err(|e| text(&e))?;
    let unrouted = gateway
        .store()
        .read(|conn| {
            let mut faults = world::faults(conn, &acked, removed);
            if count(conn, "SELECT count(*) FROM message WHERE state IN ('unrouted', 'held', 'failed')") > 0 {
                faults.push("something is not routed".to_owned());
            }
            faults.extend(departures(conn, &arrived));
            Ok(faults)
        })
        .map_err(|e| text(&e))?;
    gateway.close();
    if unrouted.is_empty() { Ok(waiting) } else { Err(format!("once routed: {}", unrouted.join("; "))) }
}

fn count(conn: &Connection, query: &str) -> usize {
    usize::try_from(conn.query_row(query, [], |row| row.get::<_, i64>(0)).expect("a count")).expect("a count")
}

/// What is wrong with the queue, when these mails have arrived outside.
fn departures(conn: &Connection, arrived: &BTreeMap<String, Option<Timestamp>>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut select = conn.prepare("SELECT message_id, state, stamp FROM delivery").expect("a queue");
    let rows = select
        .query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?))
        })
        .expect("a queue");
    let queued: BTreeMap<String, (String, Option<String>)> =
        rows.map(|row| row.expect("a row")).map(|(id, state, stamp)| (bare(&id), (state, stamp))).collect();
    for (id, (state, _)) in &queued {
        if state == "sent" && !arrived.contains_key(id) {
            faults.push(format!("{id} is recorded as sent and nobody has it"));
        }
    }
    // The deliveries of what was removed are gone with it.
    let removed = count(conn, "SELECT count(*) FROM removed") > 0;
    for (id, time) in arrived {
        match queued.get(id) {
            None if removed => {}
            None => faults.push(format!("{id} has arrived, and the queue does not know it")),
            Some((_, stamp)) => {
                let stamp = stamp.as_ref().and_then(|stamp| Timestamp::parse(stamp.as_bytes()).ok());
                if stamp != *time {
                    faults.push(format!("{id} has arrived with {time:?}, and is queued with {stamp:?}"));
                }
            }
        }
    }
    faults
}
