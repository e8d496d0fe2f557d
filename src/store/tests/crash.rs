//! Crash safety by enumeration. A scenario of steps runs once; at every boundary of every
//! transaction and checkpoint the files are copied as a power cut would leave them (the index of
//! the log is not copied: it lives in memory). Each copy is opened: every step that was
//! acknowledged is there, the one under way is there completely or not at all, the database is
//! sound, and work goes on from there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;

use super::*;
use crate::keys::exchange::Derivation;
use crate::keys::{Key, Scheme};
use crate::store::asides::{self, NewAside};
use crate::store::decisions::{self, NewDecision, NewMatch};
use crate::store::keys::{self, KeyOrigin, KeyState, NewKey};
use crate::store::people::{self, NewPerson, NewThread};
use crate::store::queue::{self, DeliveryKind, DeliveryState, NewDelivery};
use crate::store::{Boundary, FILE_NAME, messages, meta, removal, verify};

/// One half-done state of the gateway: what makes it, and how one sees that it was made. Each
/// step has messages and addresses of its own, so what it made stays visible to the end.
struct Step {
    name: &'static str,
    prepare: fn(&Connection) -> Result<(), StoreError>,
    act: fn(&Connection) -> Result<(), StoreError>,
    done: fn(&Connection) -> bool,
}

fn take(conn: &Connection, n: usize) -> Result<i64, StoreError> {
    match admit(conn, &nth(n))? {
        Admitted::New(seq) => Ok(seq),
        other => panic!("{other:?}"),
    }
}

fn seq_of(conn: &Connection, n: usize) -> Option<i64> {
    messages::known(conn, &nth(n).message().hop_ids()).unwrap()
}

fn state_of(conn: &Connection, n: usize) -> Option<messages::State> {
    seq_of(conn, n).map(|seq| messages::head(conn, seq).unwrap().unwrap().state)
}

fn forward(n: usize, seq: i64) -> NewDelivery {
    NewDelivery {
        kind: DeliveryKind::Forward,
        seq: Some(seq),
        thread: None,
        to: address(&format!("mailto:peer{n}@example.net")),
        transport: "mailto".into(),
        destination: format!("d{n}.example.net"),
        stamp: None,
        message_id: format!("<{n}@here.example>"),
        detail: None,
        why: "the best peer".into(),
        next_try: at(i64::try_from(n).unwrap()),
    }
}

fn queued(conn: &Connection, n: usize) -> Option<queue::Delivery> {
    queue::by_message_id(conn, &format!("<{n}@here.example>")).unwrap()
}

fn in_state(conn: &Connection, n: usize, state: DeliveryState) -> bool {
    queued(conn, n).is_some_and(|delivery| delivery.state == state)
}

fn enqueue(conn: &Connection, n: usize) -> Result<(), StoreError> {
    let seq = take(conn, n)?;
    queue::enqueue(conn, &forward(n, seq), NOON).map(|_| ())
}

fn nothing(_: &Connection) -> Result<(), StoreError> {
    Ok(())
}

fn peer() -> crate::message::Address {
    address("mailto:keyed@example.net")
}

const STEPS: &[Step] = &[
    Step {
        name: "a message is admitted",
        prepare: nothing,
        act: |tx| take(tx, 1).map(|_| ()),
        done: |c| state_of(c, 1) == Some(messages::State::Unrouted),
    },
    Step {
        name: "a message is held",
        prepare: nothing,
        act: |tx| {
            let mut held = nth(2);
            held.held_until = Some(at(60));
            admit(tx, &held).map(|_| ())
        },
        done: |c| state_of(c, 2) == Some(messages::State::Held),
    },
    Step {
        name: "the router failed once",
        prepare: |tx| take(tx, 3).map(|_| ()),
        act: |tx| messages::record_failure(tx, seq_of(tx, 3).unwrap(), "once").map(|_| ()),
        done: |c| messages::head(c, seq_of(c, 3).unwrap()).unwrap().unwrap().attempts == 1,
    },
    Step {
        name: "the router failed for good",
        prepare: |tx| {
            let seq = take(tx, 4)?;
            messages::record_failure(tx, seq, "once")?;
            messages::record_failure(tx, seq, "twice").map(|_| ())
        },
        act: |tx| messages::record_failure(tx, seq_of(tx, 4).unwrap(), "thrice").map(|_| ()),
        done: |c| state_of(c, 4) == Some(messages::State::Failed),
    },
    Step {
        name: "a message is routed",
        prepare: |tx| take(tx, 5).map(|_| ()),
        act: |tx| {
            let seq = seq_of(tx, 5).unwrap();
            assert!(messages::mark_routed(tx, seq)?);
            let t = meta::take_time(tx, at(500))?;
            assert!(t >= at(500));
            let other = NewMatch {
                other: seq_of(tx, 1).unwrap(),
                gain_bits: 1.0,
                one_sided_bits: 2.0,
                distance_raw: 3.0,
            };
            let detail = serde_json::json!({});
            let decision = NewDecision { decided: NOON, verdict: "sent", detail: &detail, matches: &[other] };
            decisions::record(tx, seq, &decision)?;
            queue::enqueue(tx, &forward(5, seq), NOON).map(|_| ())
        },
        done: |c| {
            let seq = seq_of(c, 5).unwrap();
            let parts = [
                state_of(c, 5) == Some(messages::State::Routed),
                decisions::get(c, seq).unwrap().is_some_and(|decision| decision.matches.len() == 1),
                queued(c, 5).is_some(),
                meta::last_time(c).unwrap().is_some(),
            ];
            assert!(parts.iter().all(|part| *part == parts[0]), "half of it: {parts:?}");
            parts[0]
        },
    },
    Step {
        name: "a delivery is leased",
        prepare: |tx| enqueue(tx, 6),
        // Only this one is due: each is due a second after the one before, and number 5 is held.
        act: |tx| {
            queue::hold(tx, queued(tx, 5).unwrap().id)?;
            let leased = queue::lease(tx, queue::Lane::Mail, at(6), 9, 9, Duration::from_secs(60))?;
            assert_eq!(leased.len(), 1);
            Ok(())
        },
        done: |c| in_state(c, 6, DeliveryState::Leased),
    },
    Step {
        name: "a delivery is sent",
        prepare: |tx| enqueue(tx, 7),
        act: |tx| queue::succeed(tx, queued(tx, 7).unwrap().id, at(9)).map(|_| ()),
        done: |c| {
            let sent = in_state(c, 7, DeliveryState::Sent);
            let holders = messages::holders(c, seq_of(c, 7).unwrap()).unwrap();
            assert_eq!(holders.contains(&address("mailto:peer7@example.net")), sent);
            sent
        },
    },
    Step {
        name: "a delivery is put off",
        prepare: |tx| enqueue(tx, 8),
        act: |tx| queue::retry(tx, queued(tx, 8).unwrap().id, at(5000), "busy").map(|_| ()),
        done: |c| queued(c, 8).unwrap().next_try == at(5000),
    },
    Step {
        name: "a person asks",
        prepare: nothing,
        act: |tx| {
            let new = NewPerson { address: "ann@example.org", name: "ann", token: "t", confirm_token: "c" };
            let person = people::ensure(tx, &new, NOON)?;
            let mut post = nth(9);
            (post.kind, post.person) = (messages::Kind::Post, Some(person.id));
            let Admitted::New(seq) = admit(tx, &post)? else { panic!() };
            people::open_thread(
                tx,
                &NewThread {
                    person: person.id,
                    seq: Some(seq),
                    message_id: None,
                    references: vec![],
                    subject: "planets".into(),
                    language: None,
                    ignored: vec![],
                    authenticated: true,
                    opened: NOON,
                    until: at(9999),
                },
            )
            .map(|_| ())
        },
        done: |c| {
            let person = people::by_address(c, "ann@example.org").unwrap();
            let thread = seq_of(c, 9).and_then(|seq| people::thread_of_message(c, seq).unwrap());
            assert_eq!(person.is_some(), thread.is_some());
            person.is_some()
        },
    },
    Step {
        name: "a person confirms",
        prepare: nothing,
        act: |tx| {
            let person = people::confirm(tx, "c", at(1))?.unwrap();
            assert_eq!(messages::publish_posts_of(tx, person.id)?.len(), 1);
            Ok(())
        },
        done: |c| {
            let Some(person) = people::by_address(c, "ann@example.org").unwrap() else { return false };
            let post = messages::head(c, seq_of(c, 9).unwrap()).unwrap().unwrap();
            let public = post.scope == crate::policy::Scope::Public;
            assert_eq!(person.confirmed_at.is_some(), public);
            public
        },
    },
    Step {
        name: "a key is pending",
        prepare: |tx| keys::set(tx, &peer(), &Key::from_text("old").unwrap(), None, NOON).map(|_| ()),
        act: |tx| {
            let key = Key::from_text("new").unwrap();
            let new = NewKey {
                key: &key,
                scheme: Scheme::Hmac,
                derivation: Derivation::Hkdf,
                ours: None,
                origin: KeyOrigin::Dh,
            };
            keys::add_pending(tx, &peer(), &new, NOON).map(|_| ())
        },
        done: |c| {
            let all = keys::for_verifying(c, &peer()).unwrap();
            // Never without a key that works.
            assert!(all.iter().any(|key| key.state == KeyState::Current));
            all.iter().any(|key| key.key.as_bytes() == b"new")
        },
    },
    Step {
        name: "a message verifies under the new key",
        prepare: nothing,
        act: |tx| {
            let all = keys::for_verifying(tx, &peer())?;
            let pending = all.iter().find(|key| key.state == KeyState::Pending).unwrap();
            keys::verified(tx, pending.id, Scheme::Sha256, NOON).map(|_| ())
        },
        done: |c| {
            let all = keys::for_verifying(c, &peer()).unwrap();
            let previous =
                all.iter().any(|key| key.state == KeyState::Previous && key.key.as_bytes() == b"old");
            let current =
                all.iter().any(|key| key.state == KeyState::Current && key.key.as_bytes() == b"new");
            assert_eq!(previous, current);
            current
        },
    },
    Step {
        name: "a message is evicted",
        prepare: |tx| take(tx, 13).map(|_| ()),
        act: |tx| messages::evict(tx, seq_of(tx, 13).unwrap(), NOON, at(9999)).map(|_| ()),
        done: |c| {
            let stored = messages::get(c, seq_of(c, 13).unwrap()).unwrap().unwrap();
            assert_eq!(stored.text.is_none(), stored.state == messages::State::Evicted);
            stored.text.is_none()
        },
    },
    Step {
        name: "a message is removed",
        prepare: |tx| enqueue(tx, 14),
        act: |tx| removal::remove_by_id(tx, nth(14).id(), NOON).map(|_| ()),
        done: |c| {
            let gone = seq_of(c, 14).is_none();
            let hop = nth(14).message().origin().key();
            assert_eq!(removal::is_removed(c, &hop, nth(14).id()).unwrap(), gone);
            assert_eq!(queued(c, 14).is_none(), gone);
            gone
        },
    },
    Step {
        name: "something is put aside",
        prepare: nothing,
        act: |tx| {
            let aside = NewAside {
                reason: "no CMR message",
                place: "the body",
                raw: b"????",
                kept: None,
                author: None,
                id: None,
                received: NOON,
                via: "smtp",
                forget_after: at(9999),
                source: "192.0.2.0/24",
            };
            asides::put(tx, &aside, 1 << 20).map(|_| ())
        },
        done: |c| !asides::list(c, 9).unwrap().is_empty(),
    },
    Step {
        name: "a large batch spills into the log before its commit",
        prepare: |tx| Ok(tx.execute_batch("PRAGMA cache_size = 10")?),
        act: |tx| (2000..2300).try_for_each(|n| take(tx, n).map(|_| ())),
        done: |c| {
            let there = (2000..2300).filter(|n| seq_of(c, *n).is_some()).count();
            assert!(there == 0 || there == 300, "{there}");
            there == 300
        },
    },
];

/// The files at one boundary.
struct Copy {
    boundary: Boundary,
    /// Steps acknowledged by then.
    acknowledged: usize,
    dir: tempfile::TempDir,
    /// Length of its log in bytes.
    log: u64,
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for name in [FILE_NAME.to_owned(), format!("{FILE_NAME}-wal")] {
        if from.join(&name).exists() {
            std::fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

/// Where the scenario is: the step under way, if its transaction has begun.
type Under = Arc<Mutex<Option<usize>>>;

/// Runs the scenario and returns the copies.
fn run() -> Vec<Copy> {
    let copies = Arc::new(Mutex::new(Vec::new()));
    let under = Under::default();
    let place: Arc<Mutex<Option<std::path::PathBuf>>> = Arc::default();
    let watch = {
        let (copies, under, place) = (Arc::clone(&copies), Arc::clone(&under), Arc::clone(&place));
        Arc::new(move |boundary| {
            let mut under = under.lock().unwrap();
            let Some(acknowledged) = *under else { return };
            let dir = tempfile::tempdir().unwrap();
            copy_files(place.lock().unwrap().as_ref().unwrap(), &dir.path().join("data"));
            let log =
                std::fs::metadata(dir.path().join("data").join(format!("{FILE_NAME}-wal"))).unwrap().len();
            copies.lock().unwrap().push(Copy { boundary, acknowledged, dir, log });
            if boundary == Boundary::Delivered {
                *under = None;
            }
        })
    };
    let temp = temp_with(Options { watch: Some(watch), ..Options::default() });
    *place.lock().unwrap() = Some(temp.data());
    for (index, step) in STEPS.iter().enumerate() {
        temp.store.write(step.prepare).unwrap();
        assert!(!temp.store.read(|conn| Ok((step.done)(conn))).unwrap(), "{} before it was done", step.name);
        // Set on the writer's thread, so that the end of the preparation is not taken for ours.
        let (act, begin) = (step.act, Arc::clone(&under));
        let job = move |tx: &Connection| {
            *begin.lock().unwrap() = Some(index);
            act(tx)
        };
        if index % 3 == 0 {
            temp.store.erase(job).unwrap();
        } else {
            temp.store.write(job).unwrap();
        }
        // When this one is under way, the writer is past the last boundary of the step.
        temp.store.write(|_| Ok(())).unwrap();
        assert!(temp.store.read(|conn| Ok((step.done)(conn))).unwrap(), "{}", step.name);
    }
    std::mem::take(&mut *copies.lock().unwrap())
}

/// How many of the first steps are done; panics if one behind an undone one is.
fn done_prefix(conn: &Connection, upto: usize) -> usize {
    let done: Vec<bool> = STEPS[..upto].iter().map(|step| (step.done)(conn)).collect();
    let prefix = done.iter().take_while(|done| **done).count();
    assert!(!done[prefix..].iter().any(|done| *done), "a later step without an earlier one: {done:?}");
    prefix
}

#[test]
fn at_every_boundary_the_acknowledged_is_kept_and_the_rest_is_all_or_nothing() {
    let copies = run();
    let mut seen = std::collections::HashMap::new();
    for copy in &copies {
        *seen.entry(copy.boundary).or_insert(0) += 1;
        let what = format!("{:?} of \"{}\"", copy.boundary, STEPS[copy.acknowledged].name);
        let store =
            Store::open(&copy.dir.path().join("data")).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (wrong, done) = store
            .read(|conn| Ok((verify(conn, true)?, done_prefix(conn, copy.acknowledged + 1))))
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(wrong, Vec::<String>::new(), "{what}");
        let expected = match copy.boundary {
            Boundary::JobDone | Boundary::BeforeCommit => copy.acknowledged,
            _ => copy.acknowledged + 1,
        };
        assert_eq!(done, expected, "{what}");
        // The step is repeated by whoever was not told, and the gateway's start goes on.
        if done == copy.acknowledged {
            store.write(STEPS[copy.acknowledged].act).unwrap();
        }
        store.write(queue::recover).unwrap();
        assert_eq!(store.read(queue::counts).unwrap().leased, 0, "{what}");
        if copy.acknowledged > 6 {
            // Number 6 had a lease when the power went; it is sent now.
            let due = store
                .write(|tx| queue::lease(tx, queue::Lane::Mail, at(6), 9, 9, Duration::from_secs(1)))
                .unwrap();
            assert_eq!(due.len(), 1, "{what}");
        }
        put(&store, nth(999));
    }
    println!("{} points: {seen:?}", copies.len());
    assert!(copies.len() >= 4 * STEPS.len(), "{}", copies.len());
    // The last one had uncommitted pages in its log when it was copied.
    let spilled = copies.iter().rfind(|copy| copy.boundary == Boundary::BeforeCommit).unwrap();
    assert!(spilled.log > 100_000);
    assert_eq!(seen.len(), 6, "every kind of boundary: {seen:?}");
}

#[test]
fn a_log_that_was_not_written_to_its_end_gives_an_earlier_state_and_never_a_mixed_one() {
    const COMMITS: usize = 40;
    let temp = temp();
    for n in 0..COMMITS {
        temp.store.write(move |tx| enqueue(tx, n)).unwrap();
    }
    let source = tempfile::tempdir().unwrap();
    copy_files(&temp.data(), &source.path().join("data"));
    let name = format!("{FILE_NAME}-wal");
    let bytes = std::fs::read(source.path().join("data").join(&name)).unwrap();
    assert!(bytes.len() > COMMITS * 4096, "{}", bytes.len());
    let mut states = std::collections::BTreeSet::new();
    let cuts = 60;
    for cut in 0..=cuts {
        // What lies behind the cut is missing, or it was allocated and holds something else.
        for garbled in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let data = dir.path().join("data");
            copy_files(&source.path().join("data"), &data);
            // Odd lengths: inside frames and inside their headers.
            let length = (bytes.len() * cut / cuts).saturating_sub(cut * 7);
            let mut torn = bytes[..length].to_vec();
            if garbled {
                torn.resize(bytes.len(), 0x5a);
            }
            std::fs::write(data.join(&name), torn).unwrap();
            let store = Store::open(&data).unwrap();
            assert_eq!(store.read(|conn| verify(conn, true)).unwrap(), Vec::<String>::new());
            let messages = number(&store, "SELECT count(*) FROM message");
            assert_eq!(number(&store, "SELECT ifnull(max(seq), 0) FROM message"), messages);
            assert_eq!(number(&store, "SELECT count(*) FROM delivery"), messages);
            states.insert(messages);
            put(&store, nth(999));
        }
    }
    println!("{} states", states.len());
    assert!(states.len() > COMMITS / 2, "{states:?}");
    assert!(states.contains(&0), "{states:?}");
}
