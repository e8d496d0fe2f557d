use std::time::Duration;

use super::*;
use crate::store::tests::{NOON, Temp, address, at, nth, number, put, temp};

const LEASE: Duration = Duration::from_secs(60);

fn delivery_to(seq: Option<i64>, to: &str, due: UnixTime) -> NewDelivery {
    NewDelivery {
        kind: DeliveryKind::Forward,
        seq,
        thread: None,
        to: address(to),
        transport: "mailto".into(),
        destination: to.rsplit('@').next().unwrap().into(),
        stamp: Some(Timestamp::parse(b"2023/11/14 12:00:00.1234567890").unwrap()),
        message_id: format!("<{seq:?}.{to}>"),
        detail: Some(serde_json::json!({"matches": [1, 2]})),
        why: "the best peer".into(),
        next_try: due,
    }
}

/// Queues something and insists that it is new.
fn add(temp: &Temp, seq: Option<i64>, to: &str, due: UnixTime) -> i64 {
    let new = delivery_to(seq, to, due);
    match temp.store.write(move |tx| enqueue(tx, &new, NOON)).unwrap() {
        Enqueued::New(id) => id,
        other => panic!("{other:?}"),
    }
}

fn lease_ids(temp: &Temp, now: UnixTime, most: usize, per_destination: usize) -> Vec<i64> {
    let leased =
        temp.store.write(move |tx| lease(tx, Lane::Mail, now, most, per_destination, LEASE)).unwrap();
    leased.iter().map(|delivery| delivery.id).collect()
}

fn one(temp: &Temp, id: i64) -> Delivery {
    temp.store.read(|conn| get(conn, id)).unwrap().unwrap()
}

#[test]
fn a_delivery_is_queued_once() {
    let temp = temp();
    let seq = put(&temp.store, nth(1));
    let new = delivery_to(Some(seq), "mailto:a@example.net", at(5));
    let id = add(&temp, Some(seq), "mailto:a@example.net", at(5));
    let row = one(&temp, id);
    assert_eq!(
        row,
        Delivery {
            id,
            kind: new.kind,
            seq: new.seq,
            thread: None,
            to: new.to.clone(),
            transport: new.transport.clone(),
            destination: "example.net".into(),
            stamp: new.stamp.clone(),
            message_id: new.message_id.clone(),
            detail: new.detail.clone(),
            why: new.why.clone(),
            state: DeliveryState::Ready,
            attempts: 0,
            next_try: at(5),
            lease_until: None,
            last_error: None,
            created: NOON,
            finished: None,
            about: Some(nth(1).id()),
        }
    );
    assert_eq!(row.stamp.unwrap().as_str(), "2023/11/14 12:00:00.1234567890");
    // The decision is made again after a crash: another T, another Message-ID, the same thing.
    let again = NewDelivery { message_id: "<other>".into(), stamp: None, why: "again".into(), ..new.clone() };
    for state in ["ready", "sent"] {
        let copy = again.clone();
        let result = temp.store.write(move |tx| enqueue(tx, &copy, at(9))).unwrap();
        assert_eq!(result, Enqueued::Already(id), "{state}");
        temp.store.write(move |tx| succeed(tx, id, at(9))).unwrap();
    }
    assert_eq!(one(&temp, id).message_id, new.message_id);
    // Another kind, another recipient, another message are others.
    let other = put(&temp.store, nth(2));
    add(&temp, Some(seq), "mailto:b@example.net", NOON);
    add(&temp, Some(other), "mailto:a@example.net", NOON);
    let kind = NewDelivery { kind: DeliveryKind::Answer, message_id: "<answer>".into(), ..new.clone() };
    assert!(matches!(temp.store.write(move |tx| enqueue(tx, &kind, NOON)).unwrap(), Enqueued::New(_)));
    // Without a message, the Message-ID decides.
    let notice = add(&temp, None, "mailto:op@example.net", NOON);
    let new = delivery_to(None, "mailto:op@example.net", NOON);
    assert_eq!(temp.store.write(move |tx| enqueue(tx, &new, NOON)).unwrap(), Enqueued::Already(notice));
    // A message that is gone can't be queued.
    let gone = delivery_to(Some(99), "mailto:a@example.net", NOON);
    let refused = temp.store.write(move |tx| enqueue(tx, &gone, NOON));
    assert!(matches!(refused, Err(StoreError::Constraint(_))), "{refused:?}");
}

#[test]
fn leases_are_fair_bounded_and_end_by_themselves() {
    let temp = temp();
    // A backlog of one destination, older than everything else.
    let busy: Vec<i64> =
        (0..50).map(|n| add(&temp, None, &format!("mailto:u{n}@busy.example"), at(n))).collect();
    let calm = add(&temp, None, "mailto:u@calm.example", at(100));
    let later = add(&temp, None, "mailto:u@later.example", at(1000));
    assert_eq!(lease_ids(&temp, at(-1), 10, 3), Vec::<i64>::new());
    assert_eq!(lease_ids(&temp, at(200), 10, 3), [busy[0], calm, busy[1], busy[2]]);
    assert_eq!(one(&temp, calm).attempts, 1);
    assert_eq!(one(&temp, calm).lease_until, Some(at(260)));
    // The limit counts those under way.
    assert_eq!(lease_ids(&temp, at(201), 10, 3), Vec::<i64>::new());
    let done = busy[0];
    temp.store.write(move |tx| succeed(tx, done, at(202))).unwrap();
    assert_eq!(lease_ids(&temp, at(203), 10, 3), [busy[3]]);
    // `most` counts, too.
    assert_eq!(lease_ids(&temp, at(203), 2, 50), [busy[4], busy[5]]);
    // Nobody reports: at the end of the lease they are due again, those waiting longest first.
    assert_eq!(temp.store.read(|conn| next_due(conn, Lane::Mail)).unwrap(), Some(at(6)));
    assert_eq!(lease_ids(&temp, at(260), 2, 50), [busy[1], calm]);
    assert_eq!(one(&temp, calm).attempts, 2);
    // At a start nobody is at it.
    assert_eq!(temp.store.read(counts).unwrap().leased, 5);
    let temp = temp.reopen();
    assert_eq!(temp.store.write(recover).unwrap(), 5);
    assert_eq!(temp.store.read(counts).unwrap().leased, 0);
    let everything = lease_ids(&temp, at(5000), 1000, 1000);
    assert_eq!(everything.len(), 51);
    assert!(everything.contains(&later));
    assert_eq!(temp.store.read(|conn| next_due(conn, Lane::Mail)).unwrap(), Some(at(5060)));
}

#[test]
fn many_destinations_each_get_one_before_any_gets_two() {
    let temp = temp();
    for n in 0..40 {
        for d in 0..10 {
            add(&temp, None, &format!("mailto:u{n}@d{d}.example"), at(n));
        }
    }
    let leased = temp.store.write(|tx| lease(tx, Lane::Mail, at(50), 25, 4, LEASE)).unwrap();
    for d in 0..10 {
        let name = format!("d{d}.example");
        let number = leased.iter().filter(|delivery| delivery.destination == name).count();
        assert!((2..=3).contains(&number), "{name}: {number}");
    }
    assert_eq!(lease_ids(&temp, at(50), 100, 4).len(), 15);
}

#[test]
fn a_days_life_of_deliveries() {
    let temp = temp();
    let seq = put(&temp.store, nth(1));
    let good = add(&temp, Some(seq), "mailto:good@example.net", NOON);
    let slow = add(&temp, Some(seq), "mailto:slow@example.net", NOON);
    let dead = add(&temp, Some(seq), "mailto:dead@example.net", NOON);
    let held = add(&temp, Some(seq), "mailto:held@example.net", NOON);
    let dropped = add(&temp, Some(seq), "mailto:dropped@example.net", NOON);
    assert_eq!(lease_ids(&temp, NOON, 3, 9), [good, slow, dead]);
    temp.store
        .write(move |tx| {
            assert!(succeed(tx, good, at(1))?);
            assert!(!succeed(tx, good, at(2))?);
            assert!(retry(tx, slow, at(300), "450 busy")?);
            assert!(fail(tx, dead, at(1), "550 no such user")?);
            assert!(!fail(tx, dead, at(2), "again")?);
            assert!(!retry(tx, dead, at(2), "again")?);
            assert!(hold(tx, held)?);
            assert!(!hold(tx, good)?);
            assert!(drop_delivery(tx, dropped, at(1))?);
            assert!(!hold(tx, 99)? && !succeed(tx, 99, NOON)? && !drop_delivery(tx, 99, NOON)?);
            Ok(())
        })
        .unwrap();
    let expected = Counts { ready: 1, leased: 0, held: 1, sent: 1, failed: 2, oldest: Some(NOON) };
    assert_eq!(temp.store.read(counts).unwrap(), expected);
    assert_eq!(expected.queued(), 2);
    let slow_row = one(&temp, slow);
    assert_eq!((slow_row.next_try, slow_row.last_error.as_deref()), (at(300), Some("450 busy")));
    assert_eq!(one(&temp, dead).last_error.as_deref(), Some("550 no such user"));
    assert_eq!(one(&temp, dropped).last_error.as_deref(), Some("dropped by the operator"));
    assert_eq!(one(&temp, good).finished, Some(at(1)));
    let ids = |all| -> Vec<i64> {
        temp.store.read(|conn| list(conn, all, 100)).unwrap().iter().map(|d| d.id).collect()
    };
    assert_eq!(ids(false), [slow, held]);
    assert_eq!(ids(true), [good, slow, dead, held, dropped]);
    assert_eq!(temp.store.read(|conn| list(conn, true, 2)).unwrap().len(), 2);
    assert_eq!(temp.store.read(|conn| of_message(conn, seq)).unwrap().len(), 5);
    // The recipient is known to have it now.
    let holders = temp.store.read(|conn| messages::holders(conn, seq)).unwrap();
    assert!(holders.contains(&address("mailto:good@example.net")));
    assert!(!holders.contains(&address("mailto:dead@example.net")));
    // The operator's verbs.
    assert_eq!(lease_ids(&temp, at(10), 9, 9), Vec::<i64>::new());
    temp.store
        .write(move |tx| {
            assert_eq!(retry_now(tx, None, at(10))?, 1);
            assert_eq!(release(tx, Some(slow), at(10))?, 0);
            assert_eq!(release(tx, None, at(10))?, 1);
            assert_eq!(retry_now(tx, Some(dead), at(10))?, 1);
            assert_eq!(retry_now(tx, Some(good), at(10))?, 0);
            Ok(())
        })
        .unwrap();
    assert_eq!(lease_ids(&temp, at(10), 9, 9), [slow, dead, held]);
    // Under way: put back untried, or held meanwhile.
    temp.store
        .write(move |tx| {
            assert!(unlease(tx, slow)?);
            assert!(!unlease(tx, good)?);
            assert!(hold(tx, dead)?);
            assert!(retry(tx, dead, at(20), "451")?);
            assert!(hold(tx, held)?);
            assert!(succeed(tx, held, at(20))?);
            Ok(())
        })
        .unwrap();
    assert_eq!((one(&temp, slow).state, one(&temp, slow).attempts), (DeliveryState::Ready, 1));
    assert_eq!(one(&temp, dead).state, DeliveryState::Held);
    assert_eq!(one(&temp, held).state, DeliveryState::Sent);
    // After a restore nothing leaves until the operator says so.
    assert_eq!(temp.store.write(hold_all).unwrap(), 2);
    assert_eq!(lease_ids(&temp, at(9999), 9, 9), Vec::<i64>::new());
    // What is finished is forgotten, some at a time.
    assert_eq!(temp.store.write(|tx| forget_finished(tx, at(20), 1)).unwrap(), 1);
    assert_eq!(temp.store.write(|tx| forget_finished(tx, at(20), 9)).unwrap(), 1);
    assert_eq!(ids(true), [slow, dead, held]);
    assert_eq!(number(&temp.store, "SELECT items FROM total WHERE what = 'delivery'"), 3);
}

#[test]
fn leasing_from_a_long_queue_uses_its_indexes() {
    let temp = temp();
    add(&temp, None, "mailto:u@example.net", NOON);
    for sql in [
        "SELECT id FROM delivery WHERE state = 'ready' AND (transport = 'mailto') = ?3 AND destination = ?1 AND next_try <= ?2
          ORDER BY next_try, id LIMIT 1",
        "SELECT min(destination) FROM delivery WHERE state = 'ready' AND (transport = 'mailto') = ?1 AND destination > 'x'",
        "SELECT min(next_try) FROM delivery WHERE state = 'ready' AND (transport = 'mailto') = ?1",
        "SELECT min(next_try) FROM delivery WHERE state = 'ready' AND (transport = 'mailto') = ?1 AND destination = 'x'",
        "SELECT count(*) FROM delivery WHERE state = 'leased' AND destination = ?1",
        "SELECT d.id FROM delivery d JOIN thread t ON t.id = d.thread WHERE d.kind = 'answer' AND d.seq IS NULL
            AND d.state = 'ready' AND d.attempts = 0 AND d.next_try > d.created AND t.person = ?1",
        "SELECT seq FROM message WHERE state = 'unrouted' ORDER BY attempts, seq LIMIT 5",
        "SELECT seq FROM message WHERE state = 'held' AND held_until <= 5 ORDER BY held_until LIMIT 5",
        "SELECT seq FROM message WHERE state = 'evicted' AND forget_after < 5 ORDER BY forget_after LIMIT 5",
        "SELECT seq, tail FROM hop WHERE hop_key = ?1",
        "SELECT seq FROM message WHERE origin_address = ?1 AND origin_address <> author",
        "SELECT number FROM tally WHERE kind = ?1 AND who = ?2 AND at > ?3 ORDER BY at, number LIMIT 1",
        "SELECT at, number FROM tally WHERE kind = ?1 AND who = ?2 ORDER BY at DESC, number DESC LIMIT 1",
    ] {
        let plan: Vec<String> = temp
            .store
            .read(|conn| {
                let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                let parameters = vec![0; explain.parameter_count()];
                let rows = explain.query_map(rusqlite::params_from_iter(parameters), |row| row.get(3))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .unwrap();
        assert!(
            plan.iter().all(|line| {
                (line.contains("INDEX") || line.contains("PRIMARY KEY")) && !line.contains("TEMP B-TREE")
            }),
            "{sql}: {plan:?}"
        );
    }
}

/// A long queue at the smarthost is nobody else's, and the other way round.
#[test]
fn lanes_are_worked_off_side_by_side() {
    let temp = temp();
    let mail = add(&temp, None, "mailto:a@example.net", at(5));
    let http = NewDelivery {
        transport: "http".into(),
        message_id: "<http>".into(),
        ..delivery_to(None, "http://example.net/cmr", at(3))
    };
    let Enqueued::New(http) = temp.store.write(move |tx| enqueue(tx, &http, NOON)).unwrap() else { panic!() };
    let due = |lane| temp.store.read(move |conn| next_due(conn, lane)).unwrap();
    assert_eq!((due(Lane::Mail), due(Lane::Direct)), (Some(at(5)), Some(at(3))));
    let leased = |lane| {
        let leased = temp.store.write(move |tx| lease(tx, lane, at(9), 9, 9, LEASE)).unwrap();
        leased.iter().map(|delivery| delivery.id).collect::<Vec<_>>()
    };
    assert_eq!(leased(Lane::Direct), [http]);
    assert_eq!(leased(Lane::Mail), [mail]);
    // The worker of one lane that starts anew does not take the leases of the other for its own.
    assert_eq!(temp.store.write(|tx| recover_lane(tx, Lane::Mail)).unwrap(), 1);
    assert_eq!(
        (one(&temp, mail).state, one(&temp, http).state),
        (DeliveryState::Ready, DeliveryState::Leased)
    );
}
