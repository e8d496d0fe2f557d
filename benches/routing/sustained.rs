//! Decision, insert and commit together: what the routing worker and the store do for a message,
//! the decisions on one thread and the commits on another.

use crate::{contacts, decision, insert, limits};
use cmr_mail::evaluate::Doc;
use cmr_mail::pool::Pool;
use cmr_mail::router::RoutingPolicy;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const POOL: usize = 100_000;
/// How long at most.
const TIME: Duration = Duration::from_secs(20);

pub(crate) fn run(docs: &[Doc]) {
    let (filled, arriving) = docs.split_at(POOL.min(docs.len() - docs.len() / 10));
    let mut pool = Pool::new(limits());
    for (seq, doc) in filled.iter().enumerate() {
        insert(&mut pool, seq, doc);
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (contacts, policy) = (contacts(), RoutingPolicy::default());
    let (decided, written) = mpsc::sync_channel::<(usize, String, Vec<u8>)>(10_000);
    let path = folder.path().join("routed.sqlite");
    let begin = Instant::now();
    let (routed, committed) = std::thread::scope(|scope| {
        let writer = scope.spawn(move || write(&path, &written));
        let mut routed = 0;
        for doc in arriving.iter().cycle().take_while(|_| begin.elapsed() < TIME) {
            let verdict = decision(&pool, doc, &contacts, &policy, &|seq| docs.get(seq));
            decided.send((filled.len() + routed, verdict.verdict, doc.text.to_vec())).unwrap();
            insert(&mut pool, filled.len() + routed, doc);
            routed += 1;
            if routed == arriving.len() {
                break;
            }
        }
        drop(decided);
        (routed, writer.join().unwrap())
    });
    assert_eq!(routed, committed);
    println!(
        "Sustained: {:.0} messages/s, decision, insert and durable commit in groups, pool of {}, {routed} messages\n",
        routed as f64 / begin.elapsed().as_secs_f64(),
        filled.len()
    );
}

/// Writes what was decided, with one durable commit for all that waits, as the store's writer does.
fn write(path: &std::path::Path, decided: &mpsc::Receiver<(usize, String, Vec<u8>)>) -> usize {
    let mut database = rusqlite::Connection::open(path).unwrap();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database.pragma_update(None, "synchronous", "FULL").unwrap();
    database.execute_batch("CREATE TABLE routed (seq INTEGER PRIMARY KEY, verdict TEXT, body BLOB)").unwrap();
    let mut committed = 0;
    while let Ok(first) = decided.recv() {
        let transaction = database.transaction().unwrap();
        {
            let mut statement = transaction.prepare_cached("INSERT INTO routed VALUES (?1, ?2, ?3)").unwrap();
            for (seq, verdict, body) in std::iter::once(first).chain(decided.try_iter().take(500)) {
                statement.execute((i64::try_from(seq).unwrap(), verdict, body)).unwrap();
                committed += 1;
            }
        }
        transaction.commit().unwrap();
    }
    committed
}
