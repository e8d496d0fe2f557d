use std::collections::HashSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;

use rusqlite::Connection;

use super::*;
use crate::store::{Boundary, messages, meta};

/// Holds the writer thread inside a job until it is let go, so that others queue up behind it.
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn close(store: &Store) -> (Gate, thread::JoinHandle<Result<(), StoreError>>) {
        let state = Arc::new((Mutex::new(false), Condvar::new()));
        let (entered, inside) = channel();
        let (gate, store) = (Arc::clone(&state), store.clone());
        let waiter = thread::spawn(move || {
            store.write(move |_| {
                entered.send(()).unwrap();
                let mut open = gate.0.lock().unwrap();
                while !*open {
                    open = gate.1.wait(open).unwrap();
                }
                Ok(())
            })
        });
        inside.recv().unwrap();
        (Gate(state), waiter)
    }

    fn open(self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

#[test]
fn many_writers_share_commits_and_each_gets_its_own_result() {
    const THREADS: usize = 20;
    const WRITES: usize = 100;
    let temp = temp();
    let before = temp.store.stats().unwrap();
    let start = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|t| {
            let (store, start) = (temp.store.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                (0..WRITES)
                    .map(|w| {
                        let n = t * WRITES + w;
                        let new = nth(n);
                        // Every tenth job fails after it has written.
                        let result = store.write(move |tx| {
                            let admitted = admit(tx, &new)?;
                            if n % 10 == 3 { Err(own_error()) } else { Ok((n, admitted)) }
                        });
                        match (n % 10 == 3, result) {
                            (true, Err(error)) => {
                                assert_eq!(error, own_error());
                                None
                            }
                            (false, Ok((same, Admitted::New(seq)))) => {
                                assert_eq!(same, n);
                                Some((n, seq))
                            }
                            (_, other) => panic!("{n}: {other:?}"),
                        }
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let results: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).flatten().collect();
    assert_eq!(results.len(), THREADS * WRITES * 9 / 10);
    assert_eq!(results.iter().map(|(_, seq)| seq).collect::<HashSet<_>>().len(), results.len());
    let stats = temp.store.stats().unwrap();
    let (commits, jobs) = (stats.commits - before.commits, stats.jobs - before.jobs);
    assert_eq!(jobs, u64::try_from(THREADS * WRITES).unwrap());
    assert!(commits < jobs / 2, "{commits} commits for {jobs} jobs");
    // What each was told is what is there, and nothing else.
    let temp = temp.reopen();
    for (n, seq) in results {
        let stored = temp.store.read(|conn| messages::get(conn, seq)).unwrap().unwrap();
        assert_eq!(stored.text.unwrap().body, nth(n).message().body);
    }
    assert_eq!(number(&temp.store, "SELECT count(*) FROM message"), 1800);
    assert_eq!(number(&temp.store, "SELECT count(*) FROM text"), 1800);
    assert_eq!(number(&temp.store, "SELECT items FROM total WHERE what = 'text'"), 1800);
}

/// What a job of [`jobs_that_can_run_again_share_what_undoes_them`] does after it has written.
#[derive(Clone, Copy)]
enum Then {
    Succeeds,
    Fails,
    Panics,
    /// Fails when it runs for the first time.
    FailsOnce,
}

#[test]
fn jobs_that_can_run_again_share_what_undoes_them() {
    use Then::{Fails, FailsOnce, Panics, Succeeds};
    // Whether it can run again, what it does, and how often it runs: with those that share a savepoint with
    // one that fails, and then alone.
    let table = [
        (true, Succeeds, 2),
        (true, Succeeds, 2),
        (true, Fails, 2),
        (true, Panics, 1),
        (false, Succeeds, 1),
        (true, Succeeds, 1),
        (false, Fails, 1),
        (true, Succeeds, 2),
        (true, FailsOnce, 2),
        (true, Succeeds, 1),
    ];
    let temp = temp();
    let before = temp.store.stats().unwrap().commits;
    let runs: Arc<Vec<AtomicUsize>> = Arc::new(table.iter().map(|_| AtomicUsize::new(0)).collect());
    let (gate, first) = Gate::close(&temp.store);
    let mut waiting = Vec::new();
    for (n, (repeatable, then, _)) in table.into_iter().enumerate() {
        let (new, runs) = (nth(n), Arc::clone(&runs));
        let job = move |tx: &Connection| {
            let run = runs[n].fetch_add(1, Ordering::SeqCst);
            let admitted = admit(tx, &new)?;
            match then {
                Fails => Err(own_error()),
                Panics => panic!("the job of message {n} is broken"),
                FailsOnce if run == 0 => Err(own_error()),
                Succeeds | FailsOnce => Ok(admitted),
            }
        };
        let mut future: Pin<Box<dyn Future<Output = _>>> = if repeatable {
            Box::pin(temp.store.write_repeatable_async(job))
        } else {
            Box::pin(temp.store.write_async(job))
        };
        // Polled once, it is in the queue.
        let polled = future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(polled.is_pending());
        waiting.push(future);
    }
    gate.open();
    first.join().unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (n, (future, (_, then, times))) in waiting.into_iter().zip(table).enumerate() {
        match (then, runtime.block_on(future)) {
            (Fails, Err(error)) => assert_eq!(error, own_error()),
            (Panics, Err(StoreError::Panicked(text))) => {
                assert_eq!(text, format!("the job of message {n} is broken"));
            }
            (Succeeds | FailsOnce, Ok(Admitted::New(_))) => {}
            (_, other) => panic!("{n}: {other:?}"),
        }
        assert_eq!(runs[n].load(Ordering::SeqCst), times, "runs of {n}");
    }
    assert_eq!(temp.store.stats().unwrap().commits - before, 2, "one for the gate, one for all behind it");
    let temp = temp.reopen();
    assert_eq!(number(&temp.store, "SELECT count(*) FROM message"), 7);
    assert_eq!(number(&temp.store, "SELECT items FROM total WHERE what = 'text'"), 7);
    assert_eq!(temp.store.read(|conn| crate::store::verify(conn, true)).unwrap(), Vec::<String>::new());
}

#[test]
fn what_waits_together_is_one_transaction_and_a_failing_job_is_undone_alone() {
    let temp = temp();
    let before = temp.store.stats().unwrap().commits;
    let (gate, first) = Gate::close(&temp.store);
    let (queued, all_queued) = channel();
    let jobs: Vec<_> = (0..10)
        .map(|n| {
            let (store, queued) = (temp.store.clone(), queued.clone());
            thread::spawn(move || {
                let new = nth(n);
                let future = store.write_async(move |tx| {
                    let admitted = admit(tx, &new)?;
                    match n {
                        4 => Err(own_error()),
                        5 => panic!("the job of message {n} is broken"),
                        _ => Ok(admitted),
                    }
                });
                // Polled once, it is in the queue.
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    let mut future = Box::pin(future);
                    std::future::poll_fn(|cx| {
                        assert!(future.as_mut().poll(cx).is_pending());
                        std::task::Poll::Ready(())
                    })
                    .await;
                    queued.send(()).unwrap();
                    future.await
                })
            })
        })
        .collect();
    for _ in 0..10 {
        all_queued.recv().unwrap();
    }
    gate.open();
    first.join().unwrap().unwrap();
    for (n, job) in jobs.into_iter().enumerate() {
        match (n, job.join().unwrap()) {
            (4, Err(error)) => assert_eq!(error, own_error()),
            (5, Err(StoreError::Panicked(text))) => assert_eq!(text, "the job of message 5 is broken"),
            (_, Ok(Admitted::New(_))) => {}
            (_, other) => panic!("{n}: {other:?}"),
        }
    }
    // One for the job that held the gate, one for all that waited behind it.
    assert_eq!(temp.store.stats().unwrap().commits - before, 2);
    assert_eq!(number(&temp.store, "SELECT count(*) FROM message"), 8);
}

#[test]
fn of_two_sessions_with_the_same_message_one_stores_it() {
    let temp = temp();
    for round in 0..20 {
        let start = Arc::new(Barrier::new(4));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (store, start) = (temp.store.clone(), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    store.write(move |tx| admit(tx, &nth(round))).unwrap()
                })
            })
            .collect();
        let results: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        let new: Vec<_> = results
            .iter()
            .filter_map(|r| if let Admitted::New(seq) = r { Some(*seq) } else { None })
            .collect();
        assert_eq!(new.len(), 1, "{results:?}");
        let same = results.iter().filter(|r| **r == Admitted::Duplicate { seq: Some(new[0]) }).count();
        assert_eq!(same, 3, "{results:?}");
    }
}

#[test]
fn a_waiter_is_told_after_the_commit_only() {
    let committed = Arc::new(AtomicBool::new(false));
    let commits = Arc::new(AtomicUsize::new(0));
    let watch = {
        let (committed, commits) = (Arc::clone(&committed), Arc::clone(&commits));
        Arc::new(move |boundary| match boundary {
            Boundary::JobDone => committed.store(false, Ordering::SeqCst),
            Boundary::AfterCommit => {
                committed.store(true, Ordering::SeqCst);
                commits.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        })
    };
    let temp = temp_with(Options { watch: Some(watch), ..Options::default() });
    for n in 0..50 {
        put(&temp.store, nth(n));
        assert!(committed.load(Ordering::SeqCst));
    }
    assert_eq!(commits.load(Ordering::SeqCst), 50);
}

#[test]
fn the_queue_of_jobs_is_bounded_and_its_waiters_come_through() {
    let temp = temp_with(Options { jobs: 2, batch: 1, ..Options::default() });
    let (gate, first) = Gate::close(&temp.store);
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let store = temp.store.clone();
            thread::spawn(move || put(&store, nth(n)))
        })
        .collect();
    // One permit is the gate's, the other is some thread's; nobody else can be in the queue.
    let mut extra = Box::pin(temp.store.write_async(|_| Ok(())));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    while temp.store.free_room() > 0 {
        thread::yield_now();
    }
    assert!(extra.as_mut().poll(&mut context).is_pending());
    gate.open();
    first.join().unwrap().unwrap();
    for t in threads {
        t.join().unwrap();
    }
    // batch = 1: every job had its own commit.
    assert_eq!(number(&temp.store, "SELECT count(*) FROM message"), 8);
    drop(extra);
}

#[test]
fn a_waiter_that_goes_away_undoes_nothing() {
    let temp = temp();
    let (gate, first) = Gate::close(&temp.store);
    let mut future = Box::pin(temp.store.write_async(|tx| admit(tx, &nth(1))));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    drop(future);
    gate.open();
    first.join().unwrap().unwrap();
    temp.store.write(|_| Ok(())).unwrap();
    assert_eq!(number(&temp.store, "SELECT count(*) FROM message"), 1);
}

#[test]
fn wrong_use_is_an_error_and_not_a_deadlock() {
    let temp = temp();
    let store = temp.store.clone();
    let nested = temp.store.write(move |_| store.write(|_| Ok(())));
    assert!(matches!(nested, Err(StoreError::Misuse(_))), "{nested:?}");
    // A job that ends the shared transaction.
    let ended = temp.store.write(|tx| Ok(tx.execute_batch("COMMIT")?));
    assert!(matches!(ended, Err(StoreError::Misuse(_))), "{ended:?}");
    put(&temp.store, nth(1));
    // A job that leaves a savepoint of its own open: it is undone or kept with the job.
    temp.store.write(|tx| Ok(tx.execute_batch("SAVEPOINT mine")?)).unwrap();
    put(&temp.store, nth(2));
    // A reader can't write.
    let refused = temp.store.read(|conn| meta::set(conn, "x", 1));
    assert!(refused.is_err());
}

#[test]
fn a_closed_store_says_so() {
    let temp = temp();
    let other = temp.store.clone();
    put(&temp.store, nth(1));
    temp.store.close();
    temp.store.close();
    assert_eq!(other.write(|_| Ok(())), Err(StoreError::Closed));
    assert_eq!(other.read(|_| Ok(())), Err(StoreError::Closed));
    assert_eq!(other.vacuum(), Err(StoreError::Closed));
}

#[test]
fn the_last_handle_may_go_away_inside_a_job() {
    let temp = temp();
    let data = temp.data();
    let store = temp.store.clone();
    let future = temp.store.write_async(move |tx| {
        admit(tx, &nth(1))?;
        drop(store);
        Ok(())
    });
    drop(temp.store);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _ = runtime.block_on(future);
    // Whoever opens it next finds the message.
    let store = Store::open(&data).unwrap();
    assert_eq!(number(&store, "SELECT count(*) FROM message"), 1);
}

#[test]
fn readers_see_one_moment_and_are_bounded() {
    let temp = temp_with(Options { readers: 2, ..Options::default() });
    put(&temp.store, nth(0));
    temp.store
        .read(|conn| {
            let count = |conn: &rusqlite::Connection| -> Result<i64, StoreError> {
                Ok(conn.query_row("SELECT count(*) FROM message", [], |row| row.get(0))?)
            };
            assert_eq!(count(conn)?, 1);
            put(&temp.store, nth(1));
            assert_eq!(count(conn)?, 1);
            assert_eq!(temp.store.read(count)?, 2);
            Ok(())
        })
        .unwrap();
    // Twice as many readers as connections.
    let inside = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (store, inside, most) = (temp.store.clone(), Arc::clone(&inside), Arc::clone(&most));
            thread::spawn(move || {
                for _ in 0..50 {
                    store
                        .read(|_| {
                            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                            Ok(())
                        })
                        .unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    // A reader that panics costs nobody a connection.
    for _ in 0..5 {
        let store = temp.store.clone();
        assert!(thread::spawn(move || store.read(|_| -> Result<(), _> { panic!("reader") })).join().is_err());
    }
    assert_eq!(number(&temp.store, "SELECT count(*) FROM message"), 2);
}

/// Figures, not a verdict: `cargo test --release --lib how_fast -- --ignored --nocapture`.
#[test]
#[ignore = "measures; run it by hand on a quiet machine"]
fn how_fast_messages_are_stored() {
    use std::io::Write;
    use std::time::Instant;
    let temp = temp();
    let mut file = std::fs::File::create(temp.dir.path().join("probe")).unwrap();
    let started = Instant::now();
    for _ in 0..200 {
        file.write_all(&[0; 8192]).unwrap();
        file.sync_data().unwrap();
    }
    println!("append 8 KiB and fdatasync: {:?}", started.elapsed() / 200);
    let new = |n: usize| {
        let time = format!("12:{:02}:{:02}.{n:09}", n / 60 % 60, n % 60);
        let text = format!("{n} {}", "some words of a mail, two kilobytes of them; ".repeat(45));
        super::new(
            &[(&format!("13:00:00.{n:09}"), "mailto:peer@example.net"), (&time, "mailto:author@example.org")],
            &text,
        )
    };
    for (threads, each) in [(1, 300), (20, 500), (100, 100)] {
        let before = temp.store.stats().unwrap();
        let started = Instant::now();
        let workers: Vec<_> = (0..threads)
            .map(|t| {
                let store = temp.store.clone();
                thread::spawn(move || {
                    for w in 0..each {
                        let new = new(threads * 100_000 + t * each + w);
                        put(&store, new);
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        let seconds = started.elapsed().as_secs_f64();
        let after = temp.store.stats().unwrap();
        let jobs = after.jobs - before.jobs;
        println!(
            "{threads} threads: {:.0} messages/s, {:.1} per commit, {:.0} commits/s",
            jobs as f64 / seconds,
            jobs as f64 / (after.commits - before.commits) as f64,
            (after.commits - before.commits) as f64 / seconds,
        );
    }
}
