//! The worker against a real database and a house that is played.

mod busy;

use super::*;
use crate::message::Address;
use crate::store::queue::{
    DeliveryKind, DeliveryState, Enqueued, NewDelivery, enqueue, get, list, set_detail,
};
use crate::store::{Options, Store};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, Semaphore};

const START: UnixTime = UnixTime(1_800_000_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn delivery(n: usize, domain: &str) -> NewDelivery {
    NewDelivery {
        kind: DeliveryKind::Answer,
        seq: None,
        thread: None,
        to: Address::new(format!("mailto:p{n}@{domain}")).unwrap(),
        transport: "mailto".to_owned(),
        destination: domain.to_owned(),
        stamp: None,
        message_id: format!("<{n}.{domain}@gw.example>"),
        detail: None,
        why: "a test".to_owned(),
        next_try: START,
    }
}

async fn put(store: &Store, new: NewDelivery) -> i64 {
    match store.write_async(move |tx| enqueue(tx, &new, START)).await.unwrap() {
        Enqueued::New(id) | Enqueued::Already(id) => id,
    }
}

async fn row(store: &Store, id: i64) -> Delivery {
    store.read_async(move |c| get(c, id)).await.unwrap().unwrap()
}

type Script = dyn Fn(&Delivery, usize) -> Outcome + Send + Sync;

/// A house whose time is played and whose next hop follows a script.
struct Played {
    now: AtomicI64,
    /// Whether time jumps to whatever is waited for; else it stands still.
    jumps: bool,
    script: Box<Script>,
    /// Each carry takes a permit, if there is a gate.
    gate: Option<Arc<Semaphore>>,
    carried: Mutex<Vec<(i64, UnixTime)>>,
    ended: Mutex<Vec<(i64, End)>>,
    under_way: Mutex<BTreeMap<String, usize>>,
    most: AtomicUsize,
    most_at_one: AtomicUsize,
    end_faults: AtomicUsize,
    /// Whether there is somebody else for what a busy peer does not take.
    others: bool,
    store_troubles: AtomicUsize,
    told: AtomicUsize,
    changed: Notify,
}

impl Played {
    fn new(script: impl Fn(&Delivery, usize) -> Outcome + Send + Sync + 'static) -> Self {
        Played {
            now: AtomicI64::new(START.0),
            jumps: false,
            script: Box::new(script),
            gate: None,
            carried: Mutex::default(),
            ended: Mutex::default(),
            under_way: Mutex::default(),
            most: AtomicUsize::new(0),
            most_at_one: AtomicUsize::new(0),
            end_faults: AtomicUsize::new(0),
            others: false,
            store_troubles: AtomicUsize::new(0),
            told: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }

    fn carried(&self) -> usize {
        self.carried.lock().unwrap().len()
    }

    /// What the house adds to an end fails as often as is wished.
    fn fault(&self) -> Result<(), StoreError> {
        match self.end_faults.load(Ordering::SeqCst) {
            0 => Ok(()),
            // Two faults that pass, or one that does not.
            n @ 1..=2 => {
                self.end_faults.store(n - 1, Ordering::SeqCst);
                Err(StoreError::Full("played".to_owned()))
            }
            _ => Err(StoreError::Constraint("played".to_owned())),
        }
    }

    /// Waits until the condition holds; looked at after every event.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it never came to that");
    }
}

/// Takes itself out of the count even when its task is cut off.
struct UnderWay<'a>(&'a Played, String);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        *self.0.under_way.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

impl House for Played {
    fn now(&self) -> UnixTime {
        UnixTime(self.now.load(Ordering::SeqCst))
    }

    async fn sleep_until(&self, at: UnixTime) {
        if !self.jumps {
            return std::future::pending().await;
        }
        // What was just leased gets as far as being carried first.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        // Time does not jump while an attempt is under way, except by the short waits for the
        // database, which are a part of one.
        let changed = self.changed.notified();
        let open = self.carried() > self.told.load(Ordering::SeqCst);
        if open && at.since(self.now()) > Duration::from_secs(30) {
            return changed.await;
        }
        self.now.fetch_max(at.0, Ordering::SeqCst);
    }

    async fn carry(&self, delivery: &Delivery) -> Outcome {
        let _under_way = {
            let mut places = self.under_way.lock().unwrap();
            let here = places.entry(delivery.destination.clone()).or_default();
            *here += 1;
            self.most_at_one.fetch_max(*here, Ordering::SeqCst);
            self.most.fetch_max(places.values().sum(), Ordering::SeqCst);
            UnderWay(self, delivery.destination.clone())
        };
        let n = {
            let mut carried = self.carried.lock().unwrap();
            carried.push((delivery.id, self.now()));
            carried.iter().filter(|(id, _)| *id == delivery.id).count()
        };
        self.changed.notify_waiters();
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        (self.script)(delivery, n)
    }

    fn ended(
        &self,
        tx: &rusqlite::Connection,
        delivery: &Delivery,
        end: &End,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let mut notice = super::tests::delivery(0, "operator.example");
        notice.kind = DeliveryKind::Notice;
        notice.message_id = format!("<given-up.{}@gw.example>", delivery.id);
        enqueue(tx, &notice, now)?;
        self.fault()?;
        self.ended.lock().unwrap().push((delivery.id, end.clone()));
        Ok(())
    }

    fn elsewhere(
        &self,
        tx: &rusqlite::Connection,
        delivery: &Delivery,
        now: UnixTime,
    ) -> Result<Option<Address>, StoreError> {
        if !self.others {
            return Ok(None);
        }
        let other = super::tests::delivery(usize::try_from(delivery.id).unwrap(), "other.example");
        enqueue(tx, &other, now)?;
        self.fault()?;
        Ok(Some(other.to))
    }

    fn tell(&self, event: &Event<'_>) {
        let count = match event {
            Event::StoreTrouble { .. } => &self.store_troubles,
            Event::Attempt { .. } => &self.told,
        };
        count.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
}

fn done(_: &Delivery, _: usize) -> Outcome {
    Outcome::Done(Reply { code: 250, text: "2.0.0 ok".to_owned() })
}

fn later(_: &Delivery, _: usize) -> Outcome {
    Outcome::Retry { trouble: Trouble::Later, reason: "450 not now".to_owned() }
}

struct Bench {
    store: Store,
    house: Arc<Played>,
    wake: Arc<Notify>,
    stop: Arc<Notify>,
    task: Option<tokio::task::JoinHandle<Drained>>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(house: Played) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { busy_timeout: Duration::from_millis(1), ..Options::default() };
        let store = Store::open_with(&folder.path().join("data"), options).unwrap();
        Bench {
            store,
            house: Arc::new(house),
            wake: Arc::default(),
            stop: Arc::default(),
            task: None,
            folder,
        }
    }

    fn start(&mut self, settings: Settings) {
        let stop = Arc::clone(&self.stop);
        self.task = Some(tokio::spawn(run(
            self.store.clone(),
            Arc::clone(&self.house),
            settings,
            Arc::clone(&self.wake),
            async move { stop.notified().await },
        )));
    }

    async fn stop(&mut self) -> Drained {
        self.stop.notify_one();
        self.task.take().unwrap().await.unwrap()
    }

    /// Waits until nothing is left that has not ended.
    async fn until_empty(&self) {
        loop {
            let changed = self.house.changed.notified();
            let left = self.store.read_async(|c| list(c, false, 10)).await.unwrap();
            if left.is_empty() {
                return;
            }
            tokio::time::timeout(Duration::from_secs(20), changed)
                .await
                .expect("something stays in the queue");
        }
    }
}

#[test]
fn what_follows_from_an_outcome() {
    let d = Delivery {
        id: 7,
        kind: DeliveryKind::Answer,
        seq: None,
        thread: None,
        to: Address::new("mailto:p@a.example").unwrap(),
        transport: "mailto".to_owned(),
        destination: "a.example".to_owned(),
        stamp: None,
        message_id: "<1@gw.example>".to_owned(),
        detail: None,
        why: String::new(),
        state: DeliveryState::Leased,
        attempts: 1,
        next_try: START,
        lease_until: None,
        last_error: None,
        created: START,
        finished: None,
        about: None,
    };
    let schedule = Schedule::default();
    let at = |hours: u32| START.saturating_add(HOUR * hours);
    assert!(matches!(decide(&d, done(&d, 1), &schedule, at(0)), Next::Sent(r) if r.code == 250));
    let Next::Again { at: then, trouble: Trouble::Later, reason } =
        decide(&d, later(&d, 1), &schedule, at(0))
    else {
        panic!("not again")
    };
    assert_eq!(reason, "450 not now");
    assert_eq!(then, START.saturating_add(schedule.wait(7, 1)));
    assert!(matches!(
        decide(&d, later(&d, 1), &schedule, at(120)),
        Next::Over(End::GivenUp { trouble: Trouble::Later, .. })
    ));
    // A clock that was set back does not end anything.
    assert!(matches!(decide(&d, later(&d, 1), &schedule, UnixTime(0)), Next::Again { .. }));
    let refusal = Outcome::Fail { reason: "550".to_owned(), reply: None };
    assert!(matches!(decide(&d, refusal, &schedule, at(0)), Next::Over(End::Refused { .. })));
}

#[tokio::test]
async fn five_days_of_retries_end_in_one_notice() {
    let mut house = Played::new(|d, n| match d.kind {
        DeliveryKind::Notice => done(d, n),
        _ => later(d, n),
    });
    house.jumps = true;
    let mut bench = Bench::new(house);
    let id = put(&bench.store, delivery(1, "a.example")).await;
    bench.start(Settings::default());
    bench.until_empty().await;
    bench.stop().await;

    let failed = row(&bench.store, id).await;
    assert_eq!(failed.state, DeliveryState::Failed);
    assert_eq!(failed.last_error.as_deref(), Some("given up: 450 not now"));
    let attempts: Vec<UnixTime> =
        bench.house.carried.lock().unwrap().iter().filter(|(i, _)| *i == id).map(|(_, at)| *at).collect();
    assert_eq!(u32::try_from(attempts.len()).unwrap(), failed.attempts);
    assert!((30..45).contains(&attempts.len()), "{}", attempts.len());
    assert_eq!(attempts.last().unwrap().since(START), Schedule::default().give_up);
    let ends = bench.house.ended.lock().unwrap();
    assert!(matches!(ends.as_slice(), [(i, End::GivenUp { .. })] if *i == id), "{ends:?}");
    let all = bench.store.read(|c| list(c, true, 10)).unwrap();
    let notices: Vec<_> = all.iter().filter(|d| d.kind == DeliveryKind::Notice).collect();
    assert!(matches!(notices.as_slice(), [n] if n.state == DeliveryState::Sent), "{notices:?}");
}

#[tokio::test]
async fn a_reason_that_comes_while_the_peer_is_asked_counts() {
    let store: Arc<std::sync::OnceLock<Store>> = Arc::default();
    let filled = Arc::clone(&store);
    let mut house = Played::new(move |d, n| {
        if d.kind == DeliveryKind::Notice {
            return done(d, n);
        }
        if d.attempts == 1 {
            let (id, detail) = (d.id, serde_json::json!({ "because": [1, 2] }));
            filled.get().unwrap().write(move |tx| set_detail(tx, id, Some(&detail))).unwrap();
        }
        Outcome::Unrelated { reason: "it has none of them".to_owned() }
    });
    house.jumps = true;
    let mut bench = Bench::new(house);
    store.set(bench.store.clone()).unwrap();
    let id = put(&bench.store, delivery(1, "a.example")).await;
    bench.start(Settings::default());
    bench.until_empty().await;
    bench.stop().await;
    let over = row(&bench.store, id).await;
    assert_eq!((over.state, over.attempts), (DeliveryState::Failed, 2));
    let ends = bench.house.ended.lock().unwrap();
    assert!(matches!(ends.as_slice(), [(i, End::Unrelated { .. })] if *i == id), "{ends:?}");
}

#[tokio::test]
async fn a_refusal_is_final_and_others_are_not_touched() {
    let mut bench = Bench::new(Played::new(|d, n| match d.to.as_str() {
        Some("mailto:p1@a.example") => Outcome::Fail {
            reason: "RCPT TO: 550 5.1.1 no such user".to_owned(),
            reply: Some(Reply { code: 550, text: "5.1.1 no such user".to_owned() }),
        },
        _ => done(d, n),
    }));
    let bad = put(&bench.store, delivery(1, "a.example")).await;
    let good = put(&bench.store, delivery(2, "a.example")).await;
    bench.start(Settings::default());
    bench.until_empty().await;
    bench.stop().await;
    let bad = row(&bench.store, bad).await;
    assert_eq!((bad.state, bad.attempts), (DeliveryState::Failed, 1));
    assert_eq!(bad.last_error.as_deref(), Some("RCPT TO: 550 5.1.1 no such user"));
    assert_eq!(row(&bench.store, good).await.state, DeliveryState::Sent);
}

#[tokio::test]
async fn limits_in_all_and_for_a_destination_are_reached_and_kept() {
    let gate = Arc::new(Semaphore::new(0));
    let mut house = Played::new(done);
    house.gate = Some(Arc::clone(&gate));
    let mut bench = Bench::new(house);
    for n in 0..10 {
        for domain in ["a.example", "b.example", "c.example"] {
            put(&bench.store, delivery(n, domain)).await;
        }
    }
    let settings = Settings { total: 5, per_destination: 2, ..Settings::default() };
    bench.start(settings);
    bench.house.until(|h| h.carried() == 5).await;
    gate.add_permits(1);
    bench.house.until(|h| h.carried() == 6).await;
    gate.add_permits(100);
    bench.until_empty().await;
    bench.stop().await;
    assert_eq!(bench.house.carried(), 30);
    assert_eq!(bench.house.most.load(Ordering::SeqCst), 5);
    assert_eq!(bench.house.most_at_one.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_word_is_enough_to_wake_it() {
    // Time stands still and nothing that is slept for ever comes: only the word helps.
    let mut bench = Bench::new(Played::new(done));
    bench.start(Settings::default());
    for n in 1..20 {
        put(&bench.store, delivery(n, "a.example")).await;
        bench.wake.notify_one();
        bench.house.until(|h| h.carried() == n).await;
    }
    bench.until_empty().await;
    assert_eq!(bench.stop().await.cut_off, 0);
}

#[tokio::test]
async fn what_is_not_due_waits() {
    let mut bench = Bench::new(Played::new(done));
    let mut not_yet = delivery(1, "a.example");
    not_yet.next_try = START.saturating_add(HOUR);
    let id = put(&bench.store, not_yet).await;
    put(&bench.store, delivery(2, "a.example")).await;
    bench.start(Settings::default());
    bench.house.until(|h| h.carried() == 1).await;
    bench.stop().await;
    assert_eq!(row(&bench.store, id).await.attempts, 0);
}

#[tokio::test]
async fn a_shutdown_lets_finish_what_is_under_way_and_starts_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let mut house = Played::new(done);
    house.gate = Some(Arc::clone(&gate));
    let mut bench = Bench::new(house);
    let settings = Settings { total: 1, ..Settings::default() };
    let first = put(&bench.store, delivery(1, "a.example")).await;
    let second = put(&bench.store, delivery(2, "a.example")).await;
    bench.start(settings);
    bench.house.until(|h| h.carried() == 1).await;
    bench.stop.notify_one();
    gate.add_permits(10);
    let drained = bench.task.take().unwrap().await.unwrap();
    // The gate may have been passed before the stop was seen; then it was not under way.
    assert_eq!(drained.cut_off, 0);
    assert_eq!(row(&bench.store, first).await.state, DeliveryState::Sent);
    if drained.finished == 1 {
        assert_eq!(row(&bench.store, second).await.state, DeliveryState::Ready);
    }
}

#[tokio::test]
async fn what_was_cut_off_goes_out_at_the_next_start_under_the_same_message_id() {
    let gate = Arc::new(Semaphore::new(0));
    let mut house = Played::new(done);
    house.gate = Some(Arc::clone(&gate));
    let mut bench = Bench::new(house);
    let id = put(&bench.store, delivery(1, "a.example")).await;
    let before = row(&bench.store, id).await;
    let settings = Settings { drain: Duration::from_millis(20), ..Settings::default() };
    bench.start(settings);
    bench.house.until(|h| h.carried() == 1).await;
    assert_eq!(bench.stop().await, Drained { finished: 0, cut_off: 1 });
    assert_eq!(row(&bench.store, id).await.state, DeliveryState::Leased);

    gate.add_permits(1);
    bench.start(settings);
    bench.until_empty().await;
    bench.stop().await;
    let after = row(&bench.store, id).await;
    assert_eq!((after.state, after.attempts), (DeliveryState::Sent, 2));
    assert_eq!(after.message_id, before.message_id);
    assert_eq!(after.stamp, before.stamp);
}

#[tokio::test]
async fn an_attempt_ends_before_its_lease() {
    let mut house = Played::new(done);
    house.gate = Some(Arc::new(Semaphore::new(0)));
    let mut bench = Bench::new(house);
    let id = put(&bench.store, delivery(1, "a.example")).await;
    bench.start(Settings { lease: Duration::from_millis(50), ..Settings::default() });
    bench.house.until(|h| h.carried() == 1).await;
    loop {
        let changed = bench.house.changed.notified();
        if row(&bench.store, id).await.last_error.is_some() {
            break;
        }
        changed.await;
    }
    bench.stop().await;
    let row = row(&bench.store, id).await;
    assert_eq!(row.state, DeliveryState::Ready);
    assert_eq!(row.last_error.as_deref(), Some("the attempt took longer than 0.045 s"));
}

#[tokio::test]
async fn an_error_in_the_program_delays_one_delivery_and_no_other() {
    let mut bench = Bench::new(Played::new(|d, n| {
        assert!(d.destination != "bad.example", "played");
        done(d, n)
    }));
    let bad = put(&bench.store, delivery(1, "bad.example")).await;
    let good = put(&bench.store, delivery(2, "a.example")).await;
    bench.start(Settings { total: 1, ..Settings::default() });
    bench.house.until(|h| h.carried() == 2).await;
    bench.stop().await;
    assert_eq!(row(&bench.store, good).await.state, DeliveryState::Sent);
    let bad = row(&bench.store, bad).await;
    assert_eq!(bad.state, DeliveryState::Ready);
    assert!(bad.next_try > START);
    let error = bad.last_error.unwrap();
    assert!(error.contains("error in the program"), "{error}");
}

fn refuse_all_but_notices(d: &Delivery, n: usize) -> Outcome {
    match d.kind {
        DeliveryKind::Notice => done(d, n),
        _ => Outcome::Fail { reason: "550".to_owned(), reply: None },
    }
}

#[tokio::test]
async fn an_end_and_its_notice_are_written_together_or_not_at_all() {
    let mut house = Played::new(refuse_all_but_notices);
    house.jumps = true;
    house.end_faults = AtomicUsize::new(2);
    let mut bench = Bench::new(house);
    put(&bench.store, delivery(1, "a.example")).await;
    bench.start(Settings::default());
    bench.until_empty().await;
    bench.stop().await;
    assert_eq!(bench.house.store_troubles.load(Ordering::SeqCst), 2);
    assert_eq!(bench.house.ended.lock().unwrap().len(), 1);
    assert_eq!(bench.house.carried(), 2, "the mail once, the notice once");
}

#[tokio::test]
async fn a_notice_that_can_not_be_written_does_not_keep_the_delivery_alive() {
    let mut house = Played::new(refuse_all_but_notices);
    house.end_faults = AtomicUsize::new(usize::MAX);
    let mut bench = Bench::new(house);
    let id = put(&bench.store, delivery(1, "a.example")).await;
    bench.start(Settings::default());
    bench.until_empty().await;
    bench.stop().await;
    assert_eq!(row(&bench.store, id).await.state, DeliveryState::Failed);
    assert_eq!(bench.house.store_troubles.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_locked_database_delays_and_loses_nothing() {
    let mut house = Played::new(done);
    house.jumps = true;
    let mut bench = Bench::new(house);
    let id = put(&bench.store, delivery(1, "a.example")).await;
    let path = bench.folder.path().join("data").join(crate::store::FILE_NAME);
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    bench.start(Settings::default());
    bench.house.until(|h| h.store_troubles.load(Ordering::SeqCst) >= 3).await;
    assert_eq!(bench.house.carried(), 0);
    other.execute_batch("ROLLBACK").unwrap();
    bench.until_empty().await;
    bench.stop().await;
    assert_eq!(row(&bench.store, id).await.state, DeliveryState::Sent);
    assert_eq!(bench.house.carried(), 1);
}
