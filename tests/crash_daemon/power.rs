//! Power is lost: from one recorded run, every directory that could be found afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use cmr_mail::config::Config;
use cmr_mail::gateway::Gateway;
use cmr_mail::message::{Limits, MessageId, Timestamp, UnixTime, parse};
use cmr_mail::store::{Store, messages, meta};
use rusqlite::Connection;

use crate::play::{Play, ids};
use crate::replay::{Point, Replay, note, read_files, read_trace};
use crate::shim::CrashAt;
use crate::story::{KEY_SET, REMOVED, config, story};
use crate::support::daemon::House;
use crate::support::sink::{Mail, Sink};
use crate::world::{self, bare};
use crate::{is_full, place};

/// Between the syncs, every so many operations are looked behind.
const STRIDE: usize = 40;

/// How a note begins that a mail arrived: what follows is its Message-ID, and our T if it has one.
const ARRIVED: &str = "arrived ";

/// The T in a forward of ours.
fn our_time(mail: &Mail) -> Option<Timestamp> {
    let message = parse(&mail.part(0)?, &Limits::default()).ok()?;
    Some(message.sender().time.clone())
}

#[test]
fn what_was_not_synced_may_be_gone_and_nothing_is_lost() {
    let begun = Instant::now();
    let story = story();
    let home = tempfile::tempdir_in(place()).unwrap();
    let trace = home.path().join("trace");
    let sink = {
        let trace = trace.clone();
        Sink::telling(move |mail| {
            let time = our_time(mail).map_or_else(String::new, |time| time.to_string());
            note(&trace, &format!("{ARRIVED}{} {time}", mail.message_id()));
        })
    };
    let house = House::new_in(home.path(), &config(&sink));
    let play = Play { house: &house, story: &story, trace: trace.clone(), crash: CrashAt::Never };
    let told = play.tell().unwrap();
    let records = read_trace(&trace).unwrap();

    let scratch = home.path().join("scratch");
    let (end, acked) = Replay::new(records.clone(), &scratch).end();
    let recorded: BTreeSet<String> = acked.iter().flat_map(|text| ids(text).collect::<Vec<_>>()).collect();
    assert_eq!(recorded, told.acked, "the recorder saw every acknowledgement");
    let left = read_files(&house.dir().join("data"));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert!(end == left, "the recorder missed a write: {:?} and {:?}", names(&end), names(&left));

    // The same house, with another data directory.
    let text = std::fs::read_to_string(house.dir().join("cmr-mail.toml")).unwrap();
    let text = text.replace("\"data\"", &format!("{:?}", scratch.to_str().unwrap()));
    let house_of_scratch = Config::parse(&text, home.path().join("cmr-mail.toml")).unwrap();
    assert_eq!(house_of_scratch.gateway.data_dir, scratch);

    let operations = records.len();
    let mut replay = Replay::new(records, &scratch).every(if is_full() { 1 } else { STRIDE });
    let (mut points, mut with_acks, mut unrouted, mut faults) = (0, 0, 0, Vec::new());
    for point in replay.by_ref() {
        points += 1;
        with_acks += usize::from(!point.acked.is_empty());
        match look_at(&point, &house_of_scratch, &story.removed) {
            Ok(waited) => unrouted += usize::from(waited > 0),
            Err(fault) => faults.push(format!("after operation {}, {:?}: {fault}", point.op, point.variant)),
        }
    }
    println!(
        "{} states around {operations} operations, {points} of them different and opened ({with_acks} after the first \
         acknowledgement, {unrouted} with something left to route) in {:.0} s",
        replay.considered,
        begun.elapsed().as_secs_f64()
    );
    let first: Vec<String> = faults.iter().take(5).cloned().collect();
    assert!(faults.is_empty(), "{} faults, of them:\n{}", faults.len(), first.join("\n"));
    assert!(points > 300 && with_acks > 200 && unrouted > 10);
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
