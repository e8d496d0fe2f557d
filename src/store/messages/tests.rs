use super::*;
use crate::message::{Hop, Hops, Signature};
use crate::policy::{Authenticity, Scope};
use crate::store::asides::{self, NewRaw};
use crate::store::decisions::{self, NewDecision, NewMatch};
use crate::store::queue::{self, DeliveryKind, DeliveryState, NewDelivery};
use crate::store::tests::{NOON, address, at, message, new, nth, number, put, temp};
use crate::store::{Store, verify};

const ORIGIN: (&str, &str) = ("12:00:00.5", "mailto:author@example.org");

fn admit_to(store: &Store, new: NewMessage) -> Admitted {
    store.write(move |tx| admit(tx, &new)).unwrap()
}

fn head_of(store: &Store, seq: i64) -> Stored {
    store.read(|conn| head(conn, seq)).unwrap().unwrap()
}

#[test]
fn a_post_that_is_sent_again_is_known_by_its_decimals() {
    let temp = temp();
    let mut post = new(&[("12:00:07.1234567890", "mailto:alias@example.org")], "text");
    post.kind = Kind::Post;
    post.author = address("mailto:anna@example.org");
    let time = post.message().origin().time.clone();
    put(&temp.store, post.clone());
    let again = |author: &str, clock: &str, since| {
        let time = message(&[(clock, "x")], "").origin().time.clone();
        let author = address(author);
        temp.store.read(|conn| post_again(conn, &author, &time, since)).unwrap()
    };
    let before = at(-1);
    assert_eq!(again("mailto:anna@example.org", "12:59:59.1234567890", before), Some(time));
    for (author, clock, since) in [
        ("mailto:anna@example.org", "12:00:07.1234567891", before),
        ("mailto:anna@example.org", "12:00:07.1234577890", before),
        ("mailto:ben@example.org", "12:00:07.1234567890", before),
        ("mailto:anna@example.org", "12:00:07.1234567890", post.received),
    ] {
        assert_eq!(again(author, clock, since), None, "{author} {clock}");
    }
}

#[test]
fn what_goes_in_comes_out_byte_for_byte() {
    let temp = temp();
    let bodies: [&[u8]; 4] = [b"", b"text", &[0, 13, 10, 255, b'\''], &[b'x'; 300_000]];
    for (n, body) in bodies.into_iter().enumerate() {
        let hops = vec![
            Hop::new(
                message(&[(&format!("12:00:09.{n}00"), "x")], "").origin().time.clone(),
                address("odd address, ü"),
            ),
            Hop::new(
                message(&[(&format!("12:00:0{n}."), "x")], "").origin().time.clone(),
                Address::new(b"\xff\x00\t".to_vec()).unwrap(),
            ),
        ];
        let wire = Message {
            signature: Signature::Signed([7; 32]),
            hops: Hops::new(hops).unwrap(),
            body: body.to_vec(),
        };
        let mut new = NewMessage::new(wire.clone(), at(3), "smtp");
        new.author = address("mailto:somebody@example.org");
        new.kind = Kind::Learned;
        new.scope = Scope::Public;
        new.authenticity = Authenticity::Dkim { domain: "example.org".into() };
        new.verified = true;
        let seq = put(&temp.store, new.clone());
        let stored = temp.store.read(|conn| get(conn, seq)).unwrap().unwrap();
        let text = stored.text.clone().unwrap();
        assert_eq!(text.wire(), wire.write());
        assert_eq!(text.message().unwrap(), wire);
        assert_eq!(
            Stored { text: None, ..stored },
            Stored {
                seq,
                id: wire.id(),
                origin_key: wire.origin().key(),
                origin: wire.origin().address.clone(),
                origin_time: wire.origin().time.to_unix(),
                author: address("mailto:somebody@example.org"),
                neighbour: address("odd address, ü"),
                kind: Kind::Learned,
                scope: Scope::Public,
                state: State::Unrouted,
                held_until: None,
                received: at(3),
                via: "smtp".into(),
                authenticity: Authenticity::Dkim { domain: "example.org".into() },
                verified: true,
                conflict: false,
                person: None,
                attempts: 0,
                last_error: None,
                bytes: u64::try_from(wire.header_bytes().len() + body.len()).unwrap(),
                text: None,
            }
        );
        let lines = temp.store.read(|conn| hops_of(conn, seq)).unwrap();
        assert_eq!(lines, wire.hop_ids());
        assert_eq!(temp.store.read(|conn| by_id(conn, wire.id())).unwrap().len(), 1);
    }
    assert_eq!(temp.store.read(|conn| get(conn, 77)).unwrap(), None);
    // What the pool is filled with at a start.
    let mut cached = Vec::new();
    temp.store
        .read(|conn| {
            each_cached(conn, |one| {
                cached.push(one);
                Ok(())
            })
        })
        .unwrap();
    assert_eq!(cached.iter().map(|c| &c.body[..]).collect::<Vec<_>>(), bodies);
    assert!(
        cached
            .iter()
            .all(|c| c.hops == [address("odd address, ü"), Address::new(b"\xff\x00\t".to_vec()).unwrap()])
    );
    let stopped = temp.store.read(|conn| each_cached(conn, |_| Err(StoreError::Missing("room"))));
    assert_eq!(stopped, Err(StoreError::Missing("room")));
}

fn hops_of(conn: &Connection, seq: i64) -> Result<Vec<(HopKey, TailHash)>, StoreError> {
    Ok(hops(conn, seq)?.into_iter().map(|hop| (hop.key, hop.tail)).collect())
}

/// A copy that came over these routers (newest first), and who it is.
fn copy(over: &[(&str, &str)], body: &str) -> NewMessage {
    let mut hops = over.to_vec();
    hops.push(ORIGIN);
    new(&hops, body)
}

#[test]
fn known_is_who_shares_any_line_and_all_bytes_below_it() {
    let a = ("12:00:02", "mailto:a@example.net");
    let b = ("12:00:03", "mailto:b@example.net");
    let table: &[(&str, NewMessage, Option<bool>)] = &[
        ("the same again", copy(&[b, a], "text"), Some(true)),
        ("from its author", copy(&[], "text"), Some(true)),
        ("one router less", copy(&[a], "text"), Some(true)),
        ("another router on top", copy(&[("12:00:09", "mailto:c@example.net"), b, a], "text"), Some(true)),
        ("another way", copy(&[("12:00:02", "mailto:z@example.net")], "text"), Some(true)),
        ("another spelling of the time", new(&[b, a, ("12:00:00.500", ORIGIN.1)], "text"), Some(true)),
        ("another body", copy(&[b, a], "other"), Some(false)),
        ("another body from its author", copy(&[], "Text"), Some(false)),
        (
            "a router's line over another message",
            new(&[a, ("12:00:01", "mailto:x@example.org")], "text"),
            Some(false),
        ),
        ("another time", new(&[b, ("12:00:00.51", ORIGIN.1)], "text"), Some(false)),
        ("the same text by somebody else", new(&[("12:00:00.5", "mailto:z@example.org")], "text"), None),
        ("the same text at another time", new(&[("12:00:00.51", ORIGIN.1)], "text"), None),
    ];
    for (what, second, expected) in table {
        let temp = temp();
        let first = put(&temp.store, copy(&[b, a], "text"));
        let known = temp.store.read(|conn| known(conn, &second.message().hop_ids())).unwrap();
        let admitted = admit_to(&temp.store, second.clone());
        match expected {
            Some(true) => {
                assert_eq!(admitted, Admitted::Duplicate { seq: Some(first) }, "{what}");
                assert_eq!(known, Some(first), "{what}");
            }
            Some(false) => assert_eq!(admitted, Admitted::ConflictAside { with: first }, "{what}"),
            None => assert_eq!(admitted, Admitted::New(first + 1), "{what}"),
        }
        if *expected != Some(true) {
            assert_eq!(known, None, "{what}");
        }
    }
}

#[test]
fn a_duplicate_tells_who_has_the_message() {
    let temp = temp();
    let seq = put(&temp.store, copy(&[("12:00:02", "mailto:a@example.net")], "text"));
    let mut again =
        copy(&[("12:00:03", "mailto:c@example.net"), ("12:00:02", "mailto:b@example.net")], "text");
    again.verified = true;
    admit_to(&temp.store, again);
    // Who is not verified can only speak for itself.
    admit_to(
        &temp.store,
        copy(&[("12:00:05", "mailto:e@example.net"), ("12:00:04", "mailto:d@example.net")], "text"),
    );
    let mut holders: Vec<_> =
        temp.store.read(|conn| holders(conn, seq)).unwrap().iter().map(ToString::to_string).collect();
    holders.sort();
    assert_eq!(
        holders,
        [
            "mailto:a@example.net",
            "mailto:author@example.org",
            "mailto:b@example.net",
            "mailto:c@example.net",
            "mailto:e@example.net"
        ]
    );
    // A holder of a message that is gone is nobody.
    temp.store.write(|tx| add_holder(tx, 99, &address("x"), NOON)).unwrap();
    assert_eq!(number(&temp.store, "SELECT count(*) FROM holder WHERE seq = 99"), 0);
}

#[test]
fn each_verified_neighbour_has_one_version_of_a_conflict() {
    let temp = temp();
    let from = |neighbour: &str, body: &str, verified: bool| {
        let mut version = copy(&[("12:00:05", neighbour)], body);
        version.verified = verified;
        version
    };
    let first = put(&temp.store, from("mailto:eve@example.net", "forged", false));
    let with = first;
    let steps = [
        ("mailto:mallory@example.net", "also forged", false, None),
        ("mailto:good@example.net", "genuine", true, Some(())),
        ("mailto:good@example.net", "changed its mind", true, None),
        ("mailto:other@example.net", "its version", true, Some(())),
        // The first one was not verified, so this is eve's first verified version.
        ("mailto:eve@example.net", "now with a key", true, Some(())),
        ("mailto:eve@example.net", "again", true, None),
    ];
    for (neighbour, body, verified, kept) in steps {
        let admitted = admit_to(&temp.store, from(neighbour, body, verified));
        match (kept, admitted) {
            (None, Admitted::ConflictAside { with: found }) => assert_eq!(found, with),
            (Some(()), Admitted::Conflict { with: found, .. }) => assert_eq!(found, with),
            other => panic!("{neighbour} {body}: {other:?}"),
        }
    }
    // Each version is a duplicate of itself.
    let again = admit_to(&temp.store, from("mailto:third@example.net", "genuine", false));
    assert_eq!(again, Admitted::Duplicate { seq: Some(first + 1) });
    let versions = temp.store.read(|conn| by_id(conn, nth_id())).unwrap();
    assert_eq!(versions.len(), 4);
    assert!(versions.iter().all(|version| version.conflict));
    assert_eq!(temp.store.read(|conn| verify(conn, true)).unwrap(), Vec::<String>::new());
}

fn nth_id() -> MessageId {
    copy(&[], "").id()
}

#[test]
fn a_held_message_is_routed_when_its_time_comes() {
    let temp = temp();
    let mut held = nth(1);
    held.held_until = Some(at(60));
    let held = put(&temp.store, held);
    let plain = put(&temp.store, nth(2));
    let waiting = |now| -> Vec<i64> {
        temp.store.read(|conn| next_unrouted(conn, now, 10)).unwrap().iter().map(|w| w.seq).collect()
    };
    assert_eq!(head_of(&temp.store, held).state, State::Held);
    assert_eq!(waiting(at(59)), [plain]);
    assert_eq!(temp.store.read(next_held).unwrap(), Some(at(60)));
    assert_eq!(waiting(at(60)), [held, plain]);
    assert_eq!(temp.store.read(|conn| next_unrouted(conn, at(60), 1)).unwrap().len(), 1);
    assert!(temp.store.write(move |tx| mark_routed(tx, held)).unwrap());
    assert_eq!(head_of(&temp.store, held).state, State::Routed);
    assert_eq!(temp.store.read(next_held).unwrap(), None);
    // Once is once.
    assert!(!temp.store.write(move |tx| mark_routed(tx, held)).unwrap());
    assert!(!temp.store.write(|tx| mark_routed(tx, 99)).unwrap());
}

#[test]
fn a_message_that_fails_three_times_is_set_aside_and_blocks_nobody() {
    let temp = temp();
    let bad = put(&temp.store, nth(1));
    let good = put(&temp.store, nth(2));
    let first = || temp.store.read(|conn| next_unrouted(conn, NOON, 10)).unwrap();
    assert_eq!(first()[0], Waiting { seq: bad, attempts: 0 });
    for attempt in 1..=3 {
        let state = temp.store.write(move |tx| record_failure(tx, bad, "no such word")).unwrap();
        let expected = if attempt == 3 { State::Failed } else { State::Unrouted };
        assert_eq!(state, Some(expected), "{attempt}");
        assert_eq!(first()[0].seq, good, "those that never failed come first");
    }
    assert_eq!(first().len(), 1);
    let stored = head_of(&temp.store, bad);
    assert_eq!((stored.attempts, stored.last_error.as_deref()), (3, Some("no such word")));
    // A failure too many changes nothing; the operator may try again.
    assert_eq!(temp.store.write(move |tx| record_failure(tx, bad, "x")).unwrap(), Some(State::Failed));
    assert!(temp.store.write(move |tx| route_again(tx, bad)).unwrap());
    assert_eq!(first().len(), 2);
    assert!(!temp.store.write(move |tx| route_again(tx, bad)).unwrap());
    assert_eq!(temp.store.write(|tx| record_failure(tx, 99, "x")).unwrap(), None);
}

#[test]
fn publishing_hands_a_message_to_the_router_again() {
    let temp = temp();
    let seq = put(&temp.store, nth(1));
    assert_eq!(head_of(&temp.store, seq).scope, Scope::Local, "what nobody chose to publish is local");
    temp.store.write(move |tx| mark_routed(tx, seq)).unwrap();
    assert!(temp.store.write(move |tx| publish(tx, seq)).unwrap());
    let stored = head_of(&temp.store, seq);
    assert_eq!((stored.scope, stored.state), (Scope::Public, State::Unrouted));
    assert!(!temp.store.write(move |tx| publish(tx, seq)).unwrap());
}

#[test]
fn whoever_imports_a_post_does_not_publish_it() {
    let temp = temp();
    for (number, kind, opened) in [(1, Kind::Cmr, true), (2, Kind::Learned, true), (3, Kind::Post, false)] {
        let mut new = nth(number);
        new.kind = kind;
        let seq = put(&temp.store, new);
        assert_eq!(temp.store.write(move |tx| open_up(tx, seq)).unwrap(), opened, "{kind}");
        let scope = if opened { Scope::Public } else { Scope::Local };
        assert_eq!(head_of(&temp.store, seq).scope, scope, "{kind}");
        assert!(!temp.store.write(move |tx| open_up(tx, seq)).unwrap(), "{kind}: once");
    }
}

fn forward(seq: i64, to: &str) -> NewDelivery {
    NewDelivery {
        kind: DeliveryKind::Forward,
        seq: Some(seq),
        thread: None,
        to: address(to),
        transport: "mailto".into(),
        destination: "example.net".into(),
        stamp: None,
        message_id: format!("<{seq}.{to}@here>"),
        detail: None,
        why: "best".into(),
        next_try: NOON,
    }
}

#[test]
fn the_evicted_are_remembered_for_a_while() {
    let temp = temp();
    let seq = put(&temp.store, copy(&[("12:00:02", "mailto:a@example.net")], "text"));
    let other = put(&temp.store, nth(2));
    temp.store
        .write(move |tx| {
            let raw = NewRaw { raw: b"the mail", received: NOON, via: "smtp", forget_after: at(999) };
            // Both came in the same mail.
            asides::keep_raw(tx, &[seq, other], &raw, 1 << 20)?;
            let detail = serde_json::json!({});
            for (one, its) in [(seq, other), (other, seq)] {
                let found = [NewMatch { other: its, gain_bits: 1.0, one_sided_bits: 1.0, distance_raw: 1.0 }];
                let decision = NewDecision { decided: NOON, verdict: "v", detail: &detail, matches: &found };
                decisions::record(tx, one, &decision)?;
            }
            queue::enqueue(tx, &forward(seq, "mailto:x@example.net"), NOON)?;
            let queue::Enqueued::New(sent) = queue::enqueue(tx, &forward(seq, "mailto:y@example.net"), NOON)?
            else {
                panic!()
            };
            queue::succeed(tx, sent, NOON)?;
            assert!(evict(tx, seq, at(1), at(100))?);
            Ok(())
        })
        .unwrap();
    assert!(!temp.store.write(move |tx| evict(tx, seq, at(1), at(100))).unwrap());
    let stored = temp.store.read(|conn| get(conn, seq)).unwrap().unwrap();
    assert_eq!((stored.state, stored.text), (State::Evicted, None));
    assert_eq!(number(&temp.store, "SELECT count(*) FROM text"), 1);
    assert_eq!(number(&temp.store, "SELECT count(*) FROM match"), 0);
    assert_eq!(number(&temp.store, "SELECT count(*) FROM decision"), 1);
    assert_eq!(temp.store.read(|conn| raw(conn, seq)).unwrap(), None);
    assert_eq!(temp.store.read(|conn| raw(conn, other)).unwrap().unwrap(), b"the mail");
    let queue = temp.store.read(|conn| queue::of_message(conn, seq)).unwrap();
    assert_eq!(
        queue.iter().map(|d| d.state).collect::<Vec<_>>(),
        [DeliveryState::Failed, DeliveryState::Sent]
    );
    // It is a duplicate by any of its lines, and a conflict with other bytes.
    assert_eq!(admit_to(&temp.store, copy(&[], "text")), Admitted::Duplicate { seq: None });
    assert_eq!(admit_to(&temp.store, copy(&[], "other")), Admitted::ConflictAside { with: seq });
    // Nothing happens to it any more.
    assert!(!temp.store.write(move |tx| publish(tx, seq)).unwrap());
    assert!(!temp.store.write(move |tx| route_again(tx, seq)).unwrap());
    // When its time is over it is new again, under a new number.
    assert_eq!(temp.store.write(|tx| forget_expired(tx, at(100), 10)).unwrap(), 0);
    assert_eq!(temp.store.write(|tx| forget_expired(tx, at(101), 10)).unwrap(), 1);
    assert_eq!(admit_to(&temp.store, copy(&[], "text")), Admitted::New(other + 1));
    // With the last message the mail goes, too.
    temp.store.write(move |tx| evict(tx, other, at(1), at(100))).unwrap();
    assert_eq!(number(&temp.store, "SELECT count(*) FROM raw_mail"), 0);
    assert_eq!(temp.store.read(|conn| verify(conn, true)).unwrap(), Vec::<String>::new());
}

#[test]
fn remembered_lines_are_bounded() {
    let temp = temp();
    for n in 0..10 {
        let seq = put(&temp.store, nth(n));
        if n < 6 {
            let until = at(100 - i64::try_from(n).unwrap());
            temp.store.write(move |tx| evict(tx, seq, NOON, until)).unwrap();
        }
    }
    assert_eq!(temp.store.write(|tx| forget_beyond(tx, 8, 100)).unwrap(), 2);
    // Those with the least time left went first.
    assert_eq!(
        number(&temp.store, "SELECT 10 * min(seq) + max(seq) FROM message WHERE state = 'evicted'"),
        14
    );
    assert_eq!(temp.store.write(|tx| forget_beyond(tx, 0, 1)).unwrap(), 1);
    // Cached ones stay, whatever the bound says.
    assert_eq!(temp.store.write(|tx| forget_beyond(tx, 0, 100)).unwrap(), 3);
    assert_eq!(temp.store.stats().unwrap().hops, 4);
}
