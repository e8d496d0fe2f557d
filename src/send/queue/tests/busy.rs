//! A peer that is busy, and somebody else who is not.

use super::*;

/// The peers of `a.example` are always busy.
fn busy_at_a(delivery: &Delivery, n: usize) -> Outcome {
    match delivery.destination.as_str() {
        "a.example" => Outcome::Retry { trouble: Trouble::Busy, reason: "HTTP 429".to_owned() },
        _ => done(delivery, n),
    }
}

/// Both or neither: the end of the one delivery, and the other one in the queue.
#[tokio::test]
async fn what_is_too_much_for_one_goes_to_another() {
    // The last number: faults of the database that pass, or one that does not.
    for (others, faults, expected) in [
        (true, 0, "failed busy, so mailto:p1@other.example is asked instead: HTTP 429"),
        (true, 2, "failed busy, so mailto:p1@other.example is asked instead: HTTP 429"),
        (true, 3, "ready HTTP 429"),
        (false, 0, "ready HTTP 429"),
    ] {
        let mut house = Played::new(busy_at_a);
        (house.others, house.jumps) = (others, faults == 2);
        house.end_faults = AtomicUsize::new(faults);
        let mut bench = Bench::new(house);
        let id = put(&bench.store, delivery(9, "a.example")).await;
        bench.start(Settings::default());
        let moved = expected.starts_with("failed");
        bench.house.until(|house| house.told.load(Ordering::SeqCst) > usize::from(moved)).await;
        bench.stop().await;
        let tried = row(&bench.store, id).await;
        assert_eq!(format!("{} {}", tried.state, tried.last_error.unwrap_or_default()), expected);
        let all = bench.store.read(|c| list(c, true, 10)).unwrap();
        let sent = all.iter().filter(|d| d.state == DeliveryState::Sent && d.destination == "other.example");
        assert_eq!((sent.count(), all.len()), (usize::from(moved), 1 + usize::from(moved)), "{all:?}");
        assert!(bench.house.ended.lock().unwrap().is_empty(), "nobody is told");
        let attempts = bench.store.read(move |c| crate::store::queue::attempts(c, id)).unwrap();
        assert_eq!(attempts.len(), 1);
        assert_eq!(attempts[0].ended, if moved { Ended::Failed } else { Ended::Again });
    }
}

/// What was taken back while the busy peer was asked is nobody's any more.
#[tokio::test]
async fn nobody_else_gets_what_the_operator_dropped_or_holds() {
    for held in [true, false] {
        let mut house = Played::new(busy_at_a);
        let gate = Arc::new(Semaphore::new(0));
        (house.others, house.gate) = (true, Some(Arc::clone(&gate)));
        let mut bench = Bench::new(house);
        let id = put(&bench.store, delivery(9, "a.example")).await;
        bench.start(Settings::default());
        bench.house.until(|house| house.carried() == 1).await;
        let change = move |tx: &rusqlite::Connection| match held {
            true => crate::store::queue::hold(tx, id),
            false => crate::store::queue::drop_delivery(tx, id, START),
        };
        assert!(bench.store.write_async(change).await.unwrap());
        gate.add_permits(1);
        bench.house.until(|house| house.told.load(Ordering::SeqCst) == 1).await;
        bench.stop().await;
        let expected = if held { DeliveryState::Held } else { DeliveryState::Failed };
        assert_eq!(row(&bench.store, id).await.state, expected);
        assert_eq!(bench.store.read(|c| list(c, true, 10)).unwrap().len(), 1);
    }
}
