//! Decision, insert and commit together: what the routing worker and the store do for a message
//! that has been accepted, the decisions on one thread and the commits on the store's.

use crate::{contacts, decision, insert, limits};
use cmr_mail::evaluate::Doc;
use cmr_mail::message::{Address, Hop, Message, Timestamp, UnixTime};
use cmr_mail::pool::Pool;
use cmr_mail::router::{Decision, RoutingPolicy};
use cmr_mail::store::decisions::{self, NewDecision, NewMatch};
use cmr_mail::store::messages::{Admitted, NewMessage, admit, mark_routed};
use cmr_mail::store::{Store, StoreError};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const POOL: usize = 100_000;
/// How long at most.
const TIME: Duration = Duration::from_secs(20);
/// Decisions in one transaction, as the routing worker has them.
const BATCH: usize = 32;
const NOW: UnixTime = UnixTime(1_767_225_600_000_000);

/// A message of its own, though mails are used again; 0.1 and 0.10 would be one time.
fn message(nth: usize, doc: &Doc) -> Message {
    let time = Timestamp::parse(format!("2026/01/01 00:00:00.{nth}1").as_bytes()).unwrap();
    Message::new(Hop::new(time, Address::try_from("mailto:cmr@far.example.org").unwrap()), doc.text.to_vec())
}

pub(crate) fn run(docs: &[Doc]) {
    let (filled, arriving) = docs.split_at(POOL.min(docs.len() - docs.len() / 10));
    let mut pool = Pool::new(limits());
    for (seq, doc) in filled.iter().enumerate() {
        insert(&mut pool, seq, doc);
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(&folder.path().join("data")).unwrap();
    // What has been accepted stands in the database before it is decided about.
    let arriving: Vec<&Doc> = arriving.iter().cycle().take(50_000).collect();
    let mut seqs: Vec<i64> = Vec::new();
    for (from, some) in (0..).step_by(1000).zip(arriving.chunks(1000)) {
        let new: Vec<NewMessage> =
            (from..).zip(some).map(|(nth, doc)| NewMessage::new(message(nth, doc), NOW, "bench")).collect();
        let admitted =
            store.write(move |tx| new.iter().map(|new| admit(tx, new)).collect::<Result<Vec<_>, _>>());
        seqs.extend(admitted.unwrap().into_iter().map(|admitted| match admitted {
            Admitted::New(seq) => seq,
            other => panic!("{other:?}"),
        }));
    }
    let (contacts, policy) = (contacts(), RoutingPolicy::default());
    let (decided, written) = mpsc::sync_channel::<Vec<(i64, Decision)>>(8);
    let begin = Instant::now();
    let (routed, committed) = std::thread::scope(|scope| {
        let store = &store;
        let writer = scope.spawn(move || write(store, &written));
        let mut routed = 0;
        let mut batch = Vec::with_capacity(BATCH);
        for (doc, seq) in arriving.iter().zip(&seqs) {
            let decision = decision(&pool, doc, &contacts, &policy, &|seq| docs.get(seq));
            batch.push((*seq, decision));
            insert(&mut pool, filled.len() + routed, doc);
            routed += 1;
            if batch.len() == BATCH {
                decided.send(std::mem::take(&mut batch)).unwrap();
                if begin.elapsed() > TIME {
                    break;
                }
            }
        }
        decided.send(batch).unwrap();
        drop(decided);
        (routed, writer.join().unwrap())
    });
    let elapsed = begin.elapsed();
    store.close();
    assert_eq!(routed, committed);
    println!(
        "Sustained: {:.0} messages/s, decision, insert and durable commit through the store in groups of {BATCH}, \
         pool of {}, {routed} messages\n",
        routed as f64 / elapsed.as_secs_f64(),
        filled.len()
    );
}

/// Records what was decided.
fn write(store: &Store, decided: &mpsc::Receiver<Vec<(i64, Decision)>>) -> usize {
    let mut committed = 0;
    while let Ok(batch) = decided.recv() {
        committed += batch.len();
        store
            .write(move |tx| batch.iter().try_for_each(|(seq, decision)| record(tx, *seq, decision)))
            .unwrap();
    }
    committed
}

fn record(tx: &rusqlite::Connection, seq: i64, decision: &Decision) -> Result<(), StoreError> {
    assert!(mark_routed(tx, seq)?, "{seq} was not waiting");
    let matches: Vec<NewMatch> = decision
        .matches
        .iter()
        .map(|found| NewMatch {
            other: found.seq,
            gain_bits: found.gain_bits,
            one_sided_bits: found.one_sided_bits,
            distance_raw: found.distance_raw,
        })
        .collect();
    let mut detail = decision.clone();
    detail.matches.clear();
    let detail = serde_json::to_value(&detail).unwrap();
    let new = NewDecision { decided: NOW, verdict: &decision.verdict, detail: &detail, matches: &matches };
    decisions::record(tx, seq, &new)
}
