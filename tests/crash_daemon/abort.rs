//! The daemon ends itself at each sync.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use crate::play::{Play, Told};
use crate::replay::{Record, read_trace};
use crate::shim::CrashAt;
use crate::story::{Story, config, story};
use crate::support::daemon::House;
use crate::support::sink::Sink;
use crate::world::World;
use crate::{is_full, place};

/// How many points are looked at, at least.
const POINTS: usize = 72;

/// How many stories are told at the same time: much of each is waiting.
const AT_ONCE: usize = 3;

/// A house in which the story was told, and what is in it now.
struct Ended {
    told: Told,
    world: World,
    syncs: u64,
}

fn tell(story: &Story, crash: CrashAt) -> Result<Ended, String> {
    let sink = Sink::start();
    let house = House::new_in(&place(), &config(&sink));
    let play = Play { house: &house, story, trace: house.dir().join("trace"), crash, all_recorded: false };
    let told = play.tell()?;
    let world = World::of(&house.database(), &sink.mails())?;
    let records = read_trace(&play.trace)?;
    let syncs = records.iter().filter(|record| matches!(record, Record::SyncEnd { .. })).count();
    Ok(Ended { told, world, syncs: u64::try_from(syncs).unwrap() })
}

/// At least so many of them, evenly, and of both kinds: an odd step meets each kind every other
/// time.
fn sample(all: Vec<CrashAt>, least: usize) -> Vec<CrashAt> {
    let step = if is_full() { 1 } else { (all.len() / least).saturating_sub(1) | 1 };
    all.into_iter().step_by(step).collect()
}

#[test]
fn a_daemon_that_ends_at_any_sync_loses_nothing_and_repeats_nothing_differently() {
    let begun = Instant::now();
    let story = story();
    let reference = tell(&story, CrashAt::Never).unwrap();
    let world = &reference.world;
    for (what, number) in [
        ("message ", 10),
        ("delivery forward", 7),
        ("delivery answer", 2),
        ("arrived: forward", 4),
        ("arrived: answer", 2),
        ("arrived: later_match", 1),
        ("arrived: postmaster", 1),
        ("aside ", 2),
        ("key of ", 1),
    ] {
        assert!(world.count(what) >= number, "the story has {} of {what:?}", world.count(what));
    }
    let differs = tell(&story, CrashAt::Never).unwrap().world.differs_from(world);
    assert!(differs.is_empty(), "two runs without a crash differ: {differs:#?}");

    let all: Vec<CrashAt> =
        (1..=reference.syncs).flat_map(|k| [CrashAt::Before(k), CrashAt::After(k)]).collect();
    let (there, chosen) = (all.len(), sample(all, POINTS));
    let tried = chosen.len();
    let waiting = Mutex::new(chosen.into_iter());
    let (faults, ended) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::<_, usize>::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(crash) = { waiting.lock().unwrap().next() } {
                    match tell(&story, crash) {
                        Ok(now) => {
                            let differs = now.world.differs_from(world);
                            if !differs.is_empty() {
                                faults.lock().unwrap().push(format!("{crash:?}: {differs:#?}"));
                            }
                            let step = now.told.crashed_in.unwrap_or("(it did not come to that)");
                            *ended.lock().unwrap().entry(step).or_default() += 1;
                        }
                        Err(fault) => faults.lock().unwrap().push(format!("{crash:?}: {fault}")),
                    }
                }
            });
        }
    });
    let ended = ended.into_inner().unwrap();
    println!(
        "{there} boundaries at the {} syncs of the story, {tried} of them tried in {:.0} s; where it ended: {ended:?}",
        reference.syncs,
        begun.elapsed().as_secs_f64()
    );
    let faults = faults.into_inner().unwrap();
    let first: Vec<String> = faults.iter().take(3).cloned().collect();
    assert!(faults.is_empty(), "{} faults, of them:\n{}", faults.len(), first.join("\n"));
    let crashed: usize = tried - ended.get("(it did not come to that)").copied().unwrap_or(0);
    assert!(crashed >= 40, "only {crashed} crashes");
}
