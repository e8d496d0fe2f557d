use super::*;
use crate::keys::exchange::Derivation;
use crate::keys::{Key, Scheme};
use crate::store::asides::{self, NewAside, NewRaw};
use crate::store::blocks::{self, BlockKind};
use crate::store::decisions::{self, NewDecision, NewMatch};
use crate::store::keys::{self, KeyOrigin, KeyState, NewKey};
use crate::store::limits::{self, Counted};
use crate::store::people::{self, NewPerson, NewThread};
use crate::store::queue::{self, DeliveryKind, DeliveryState, NewDelivery};
use crate::store::{messages, peers};

/// Runs a test's body as one job.
fn within(body: impl FnOnce(&rusqlite::Connection) -> Result<(), StoreError> + Send + 'static) {
    temp().store.write(body).unwrap();
}

#[test]
fn peers_come_about_grow_and_are_bounded() {
    within(|tx| {
        let (a, b) = (address("http://a.example/cmr"), address("mailto:b@example.net"));
        assert_eq!(peers::get(tx, &a)?, None);
        peers::received(tx, &a, 100, at(10))?;
        peers::received(tx, &a, 50, at(5))?;
        let peer = peers::get(tx, &a)?.unwrap();
        assert_eq!(
            (peer.messages, peer.bytes, peer.first_seen, peer.last_seen),
            (2, 150, at(10), Some(at(10)))
        );
        assert_eq!(peer.key, "none");
        assert!(!peer.pinned && !peer.listed && !peer.blocked && peer.authenticated_at.is_none());
        peers::authenticated(tx, &b, at(20))?;
        peers::authenticated(tx, &b, at(15))?;
        peers::returned(tx, &b, at(21))?;
        peers::set_reputation(tx, &b, -0.5, at(22))?;
        peers::credit(tx, &b, at(23))?;
        let peer = peers::get(tx, &b)?.unwrap();
        assert_eq!((peer.authenticated_at, peer.returned_at), (Some(at(20)), Some(at(21))));
        assert_eq!(
            (peer.reputation, peer.reputation_at, peer.credited_at),
            (-0.5, Some(at(22)), Some(at(23)))
        );
        // Vouching: the first one stays, and is counted in its window.
        let voucher = address("mailto:pinned@example.net");
        assert!(peers::vouch(tx, &a, &voucher, at(30))?);
        assert!(!peers::vouch(tx, &a, &b, at(31))?);
        assert_eq!(peers::get(tx, &a)?.unwrap().vouched_by, Some(voucher.clone()));
        assert_eq!(peers::vouched_since(tx, &voucher, at(29))?, 1);
        assert_eq!(peers::vouched_since(tx, &voucher, at(30))?, 0);
        // The lists of the configuration.
        peers::set_all_listed(tx, std::slice::from_ref(&a), NOON)?;
        peers::set_all_listed(tx, &[b.clone(), address("mailto:c@example.net")], NOON)?;
        assert!(!peers::get(tx, &a)?.unwrap().listed && peers::get(tx, &b)?.unwrap().listed);
        peers::set_pinned(tx, &a, true, NOON)?;
        assert_eq!(peers::list(tx)?.first().unwrap().address, a);
        peers::set_pinned(tx, &a, false, NOON)?;
        blocks::add(tx, BlockKind::Peer, a.as_bytes(), "spam", NOON)?;
        assert!(peers::get(tx, &a)?.unwrap().blocked);
        // Strangers out of headers are forgotten first, whatever means something never.
        for n in 0..10 {
            peers::ensure(tx, &address(&format!("mailto:stranger{n}@example.com")), at(n))?;
        }
        assert_eq!(peers::number(tx)?, 13);
        assert_eq!(peers::forget_beyond(tx, 13)?, 0);
        assert_eq!(peers::forget_beyond(tx, 8)?, 5);
        assert!(peers::get(tx, &address("mailto:stranger4@example.com"))?.is_none());
        assert!(peers::get(tx, &address("mailto:stranger5@example.com"))?.is_some());
        assert_eq!(peers::forget_beyond(tx, 0)?, 5);
        assert_eq!(peers::number(tx)?, 3);
        Ok(())
    });
}

#[test]
fn a_key_is_current_once_a_message_verified_under_it() {
    within(|tx| {
        let peer = address("mailto:peer@example.net");
        let secret = |text: &str| Key::from_text(text).unwrap();
        assert!(keys::for_verifying(tx, &peer)?.is_empty() && keys::for_signing(tx, &peer)?.is_none());
        let shape = |tx: &rusqlite::Connection| -> Result<Vec<(KeyState, String)>, StoreError> {
            let all = keys::for_verifying(tx, &address("mailto:peer@example.net"))?;
            Ok(all.iter().map(|k| (k.state, String::from_utf8(k.key.as_bytes().to_vec()).unwrap())).collect())
        };
        // By hand: at once.
        keys::set(tx, &peer, &secret("one"), None, NOON)?;
        let key = keys::for_signing(tx, &peer)?.unwrap();
        assert_eq!((key.scheme, key.scheme_pinned, key.derivation), (Scheme::Hmac, false, Derivation::Raw));
        assert_eq!((key.origin, key.verified), (KeyOrigin::Manual, None));
        // The neighbour's scheme is remembered.
        assert!(keys::verified(tx, key.id, Scheme::Sha256, at(1))?);
        let key = keys::for_signing(tx, &peer)?.unwrap();
        assert_eq!((key.scheme, key.verified), (Scheme::Sha256, Some(at(1))));
        assert_eq!(peers::get(tx, &peer)?.unwrap().key, "sha256");
        // Two exchanges cross; the old key is signed with until one of the new ones is used.
        let [two, three, four, six] = ["two", "three", "four", "six"].map(secret);
        let new = |key| NewKey {
            key,
            scheme: Scheme::Hmac,
            derivation: Derivation::Hkdf,
            ours: None,
            origin: KeyOrigin::Rsa,
        };
        keys::add_pending(tx, &peer, &new(&two), at(2))?;
        let third = keys::add_pending(tx, &peer, &new(&three), at(3))?;
        let of = |state, text: &str| (state, text.to_owned());
        use KeyState::{Current, Pending, Previous};
        assert_eq!(shape(tx)?, [of(Current, "one"), of(Pending, "three"), of(Pending, "two")]);
        assert_eq!(keys::for_signing(tx, &peer)?.unwrap().key.as_bytes(), b"one");
        assert!(keys::verified(tx, third, Scheme::Hmac, at(4))?);
        assert_eq!(shape(tx)?, [of(Current, "three"), of(Pending, "two"), of(Previous, "one")]);
        // The other side settles on the other one; the one before the previous goes.
        let pending = keys::for_verifying(tx, &peer)?[1].id;
        assert!(keys::verified(tx, pending, Scheme::Hmac, at(5))?);
        assert_eq!(shape(tx)?, [of(Current, "two"), of(Previous, "three")]);
        // Old ones end: pending ones by their own age, previous ones by their successor's.
        keys::add_pending(tx, &peer, &new(&four), at(6))?;
        assert_eq!(keys::forget_old(tx, at(6), at(2))?, 0);
        assert_eq!(keys::forget_old(tx, at(7), at(3))?, 2);
        assert_eq!(shape(tx)?, [of(Current, "two")]);
        // By hand again: everything else goes, pinned is pinned, and exchanges inherit that.
        keys::set(tx, &peer, &secret("five"), Some(Scheme::Sha256), at(8))?;
        assert_eq!(shape(tx)?, [of(Current, "five")]);
        let key = keys::for_signing(tx, &peer)?.unwrap();
        keys::verified(tx, key.id, Scheme::Hmac, at(9))?;
        assert_eq!(keys::for_signing(tx, &peer)?.unwrap().scheme, Scheme::Sha256);
        keys::add_pending(tx, &peer, &new(&six), at(10))?;
        let pending = &keys::for_verifying(tx, &peer)?[1];
        assert_eq!((pending.scheme, pending.scheme_pinned), (Scheme::Sha256, true));
        assert_eq!(keys::list(tx)?.len(), 2);
        assert!(!format!("{:?}", keys::list(tx)?).contains("five"), "secrets stay out of logs");
        assert!(keys::forget(tx, &peer)? && !keys::forget(tx, &peer)?);
        assert!(!keys::verified(tx, key.id, Scheme::Hmac, NOON)?);
        assert!(peers::get(tx, &peer)?.is_some());
        Ok(())
    });
}

/// Where a key set by hand was used: known of all addresses that share it, and of no exchanged key.
#[test]
fn a_key_is_used_towards_an_address_of_ours() {
    within(|tx| {
        let [mail, web, other] =
            ["mailto:cmr@peer.test", "http://peer.test/", "mailto:cmr@other.test"].map(address);
        let ours = address("http://home.test/");
        let secret = |text: &str| Key::from_text(text).unwrap();
        keys::set(tx, &mail, &secret("one"), None, NOON)?;
        keys::set(tx, &web, &secret("one"), None, NOON)?;
        keys::set(tx, &other, &secret("two"), None, NOON)?;
        let bound = address("mailto:cmr@home.test");
        let six = secret("six");
        let new = NewKey {
            key: &six,
            scheme: Scheme::Hmac,
            derivation: Derivation::Hkdf,
            ours: Some(&bound),
            origin: KeyOrigin::Rsa,
        };
        let pending = keys::add_pending(tx, &other, &new, NOON)?;
        let used = |tx: &rusqlite::Connection, peer| -> Result<Option<Address>, StoreError> {
            Ok(keys::current(tx, peer)?.and_then(|key| key.was_used_towards().cloned()))
        };
        assert_eq!(used(tx, &mail)?, None);
        keys::used_towards(tx, keys::current(tx, &web)?.unwrap().id, &ours, &bound)?;
        keys::used_towards(tx, pending, &ours, &bound)?;
        assert_eq!([used(tx, &mail)?, used(tx, &web)?], [Some(ours.clone()), Some(ours.clone())]);
        assert_eq!(used(tx, &other)?, None);
        let key = keys::current(tx, &mail)?.unwrap();
        assert_eq!(key.belongs_to(), None);
        let exchanged = &keys::for_verifying(tx, &other)?[1];
        assert_eq!((exchanged.belongs_to(), exchanged.was_used_towards()), (Some(&bound), None));
        // Another key was never used.
        keys::set(tx, &web, &secret("three"), None, NOON)?;
        assert_eq!(used(tx, &web)?, None);
        Ok(())
    });
}

/// One key has one answer, whenever it was set under which address.
#[test]
fn a_key_that_is_set_anew_was_used_towards_nothing() {
    within(|tx| {
        let [mail, web, bound, ours, old] = [
            "mailto:cmr@peer.test",
            "http://peer.test/",
            "mailto:cmr@home.test",
            "http://home.test/",
            "http://old.test/",
        ]
        .map(address);
        let secret = Key::from_text("one").unwrap();
        let both = |tx: &rusqlite::Connection| -> Result<[Option<Address>; 2], StoreError> {
            let of = |peer| -> Result<_, StoreError> {
                Ok(keys::current(tx, peer)?.and_then(|key| key.was_used_towards().cloned()))
            };
            Ok([of(&mail)?, of(&web)?])
        };
        let id = |tx: &rusqlite::Connection, peer| keys::current(tx, peer).unwrap().unwrap().id;
        let all = |address: &Address| [Some(address.clone()), Some(address.clone())];
        keys::set(tx, &mail, &secret, None, NOON)?;
        keys::used_towards(tx, id(tx, &mail), &ours, &bound)?;
        // The second address comes later: nothing is known, of neither.
        keys::set(tx, &web, &secret, None, NOON)?;
        assert_eq!(both(tx)?, [None, None]);
        keys::used_towards(tx, id(tx, &web), &old, &bound)?;
        assert_eq!(both(tx)?, all(&old));
        keys::used_towards(tx, id(tx, &mail), &ours, &bound)?;
        assert_eq!(both(tx)?, all(&ours));
        keys::stays_with(tx, id(tx, &mail), &bound)?;
        for peer in [&mail, &web] {
            keys::used_towards(tx, id(tx, peer), &ours, &bound)?;
            assert_eq!(both(tx)?, all(&bound));
        }
        // What one row alone says is true of all.
        tx.execute("UPDATE key SET ours = NULL WHERE id = ?1", [id(tx, &web)])?;
        keys::used_towards(tx, id(tx, &web), &ours, &bound)?;
        assert_eq!(both(tx)?, [Some(bound.clone()), None]);
        tx.execute("UPDATE key SET ours = ?2 WHERE id = ?1", (id(tx, &mail), &ours))?;
        keys::used_towards(tx, id(tx, &mail), &ours, &bound)?;
        assert_eq!(both(tx)?, all(&ours));
        keys::stays_with(tx, id(tx, &web), &bound)?;
        keys::set(tx, &web, &secret, None, NOON)?;
        assert_eq!(both(tx)?, [None, None]);
        Ok(())
    });
}

fn ann() -> NewPerson<'static> {
    NewPerson { address: "Ann@Example.ORG", name: "ann", token: "alias1", confirm_token: "confirm1" }
}

fn thread(person: i64, seq: Option<i64>) -> NewThread {
    NewThread {
        person,
        seq,
        message_id: Some("<q@example.org>".into()),
        references: vec!["<a@b>".into(), "<c@d>".into()],
        subject: "Größter Planet?".into(),
        language: Some("de".into()),
        ignored: vec!["photo.jpg".into()],
        authenticated: true,
        opened: at(1),
        until: at(100),
    }
}

#[test]
fn people_keep_their_alias_and_confirm_once() {
    within(|tx| {
        let person = people::ensure(tx, &ann(), NOON)?;
        assert_eq!(person.address, "Ann@example.org", "domains know no case, local parts may");
        let other = NewPerson { token: "x", confirm_token: "y", name: "other", address: "Ann@EXAMPLE.org" };
        assert_eq!(people::ensure(tx, &other, at(5))?, person);
        assert_eq!(people::by_token(tx, "alias1")?, Some(person.clone()));
        assert_eq!(people::by_address(tx, "Ann@eXample.org")?, Some(person.clone()));
        assert_eq!(people::get(tx, person.id)?, Some(person.clone()));
        assert_eq!(people::by_token(tx, "confirm1")?, None);
        // A token that is taken is an error and not somebody else's alias.
        let thief = NewPerson { address: "eve@example.org", confirm_token: "z", ..ann() };
        assert!(matches!(people::ensure(tx, &thief, NOON), Err(StoreError::Constraint(_))));
        // Posts stay local until they are confirmed.
        let mut post = nth(1);
        (post.kind, post.person) = (messages::Kind::Post, Some(person.id));
        let mut second = nth(2);
        (second.kind, second.person) = (messages::Kind::Post, Some(person.id));
        let mut learned = nth(3);
        (learned.kind, learned.person) = (messages::Kind::Learned, Some(person.id));
        let (Admitted::New(one), Admitted::New(two)) = (admit(tx, &post)?, admit(tx, &second)?) else {
            panic!()
        };
        admit(tx, &learned)?;
        assert_eq!(people::confirm(tx, "alias1", at(6))?, None);
        let confirmed = people::confirm(tx, "confirm1", at(6))?.unwrap();
        assert_eq!(confirmed.confirmed_at, Some(at(6)));
        assert_eq!(messages::publish_posts_of(tx, person.id)?, [one, two]);
        assert_eq!(people::confirm(tx, "confirm1", at(7))?.unwrap().confirmed_at, Some(at(6)));
        assert_eq!(messages::publish_posts_of(tx, person.id)?, Vec::<i64>::new());
        Ok(())
    });
}

#[test]
fn threads_open_join_and_stop() {
    within(|tx| {
        let person = people::ensure(tx, &ann(), NOON)?.id;
        let Admitted::New(seq) = admit(tx, &nth(1))? else { panic!() };
        let id = people::open_thread(tx, &thread(person, Some(seq)))?;
        assert_eq!(people::open_thread(tx, &thread(person, Some(seq)))?, id, "the mail came twice");
        let search = people::open_thread(tx, &thread(person, None))?;
        assert_ne!(search, people::open_thread(tx, &thread(person, None))?);
        let found = people::get_thread(tx, id)?.unwrap();
        assert_eq!(people::thread_of_message(tx, seq)?, Some(found.clone()));
        let new = thread(person, Some(seq));
        assert_eq!(
            (found.subject, found.references, found.ignored),
            (new.subject, new.references, new.ignored)
        );
        assert_eq!(
            (found.message_id, found.language, found.authenticated),
            (new.message_id, new.language, true)
        );
        assert_eq!((found.opened, found.until, found.seq), (at(1), at(100), Some(seq)));
        assert_eq!(people::open_threads(tx, at(99))?.len(), 3);
        assert_eq!(people::open_threads(tx, at(100))?.len(), 0);
        assert_eq!(people::open_threads_of(tx, person, at(99))?.last().unwrap().id, id);
        people::close_thread(tx, search, at(50))?;
        assert_eq!(people::open_threads_of(tx, person, at(60))?.len(), 2);
        // What waits for the person.
        let delivery = |kind, message_id: &str| NewDelivery {
            kind,
            seq: None,
            thread: Some(id),
            to: address("mailto:Ann@example.org"),
            transport: "mailto".into(),
            destination: "example.org".into(),
            stamp: None,
            message_id: message_id.into(),
            detail: None,
            why: "asked".into(),
            next_try: NOON,
        };
        queue::enqueue(tx, &delivery(DeliveryKind::Answer, "<answer@here>"), NOON)?;
        queue::enqueue(tx, &delivery(DeliveryKind::LaterMatch, "<later@here>"), NOON)?;
        assert_eq!(people::thread_of_sent(tx, "<answer@here>")?.unwrap().id, id);
        assert_eq!(people::thread_of_sent(tx, "<other@here>")?, None);
        assert_eq!(people::stop(tx, person, at(60))?, 2);
        assert_eq!(people::get(tx, person)?.unwrap().stopped_at, Some(at(60)));
        assert_eq!(people::open_threads(tx, at(60))?, []);
        let state = |message_id: &str| queue::by_message_id(tx, message_id).unwrap().unwrap().state;
        assert_eq!(state("<answer@here>"), DeliveryState::Ready);
        assert_eq!(state("<later@here>"), DeliveryState::Failed);
        people::resume(tx, person)?;
        assert_eq!(people::get(tx, person)?.unwrap().stopped_at, None);
        // The question is evicted: its thread stays as it is. Later both are forgotten.
        messages::evict(tx, seq, NOON, at(1000))?;
        assert_eq!(people::thread_of_message(tx, seq)?.unwrap().id, id);
        assert_eq!(people::forget_threads(tx, at(55))?, 1);
        assert_eq!(people::forget_threads(tx, at(61))?, 2);
        assert!(queue::by_message_id(tx, "<answer@here>")?.is_none());
        Ok(())
    });
}

#[test]
fn asides_and_raw_mails_have_a_byte_limit_and_an_end() {
    within(|tx| {
        let author = address("mailto:a@example.org");
        let aside = |raw: &'static [u8], until| NewAside {
            reason: "not well-formed: line 2",
            place: "attachment 2 (hello.cmr)",
            raw,
            kept: None,
            author: None,
            id: None,
            received: at(1),
            via: "smtp",
            forget_after: until,
            source: "192.0.2.0/24",
        };
        let put = |raw, until| asides::put(tx, &aside(raw, until), 100 + 2 * 256).unwrap();
        assert_eq!(put(&[b'x'; 101 + 256], at(50)), None, "one alone is too long");
        let first = put(&[b'a'; 60], at(50)).unwrap();
        let second = put(&[b'b'; 40], at(60)).unwrap();
        assert_eq!(put(&[b'b'; 40], at(90)), Some(second), "sent again, it is here already");
        assert_eq!(asides::list(tx, 9)?.len(), 2);
        let third = put(&[b'c'; 1], at(70)).unwrap();
        assert_eq!(asides::list(tx, 9)?.iter().map(|a| a.id).collect::<Vec<_>>(), [third, second]);
        assert_eq!(asides::get(tx, first)?, None);
        let found = asides::get(tx, second)?.unwrap();
        assert_eq!((found.raw.as_deref(), found.bytes), (Some(&[b'b'; 40][..]), 40));
        assert_eq!(
            (found.reason.as_str(), found.place.as_str()),
            ("not well-formed: line 2", "attachment 2 (hello.cmr)")
        );
        assert_eq!(asides::list(tx, 1)?.len(), 1);
        assert!(asides::drop_aside(tx, third)? && !asides::drop_aside(tx, third)?);
        assert_eq!(asides::forget_expired(tx, at(60), 9)?, 0);
        assert_eq!(asides::forget_expired(tx, at(61), 9)?, 1);
        let marked = NewAside { author: Some(&author), id: Some(nth(1).id()), ..aside(b"x", at(99)) };
        let id = asides::put(tx, &marked, 999)?.unwrap();
        let found = asides::get(tx, id)?.unwrap();
        assert_eq!((found.author, found.public_id), (Some(author.clone()), Some(nth(1).id())));
        // The source that holds most gives way, and nobody's small share.
        for id in asides::list(tx, 100)?.iter().map(|it| it.id) {
            asides::drop_aside(tx, id)?;
        }
        let from = |source, raw| {
            let aside = NewAside { source, ..aside(raw, at(99)) };
            asides::put(tx, &aside, 100 + 3 * 256).unwrap()
        };
        let small = from("the relay", &[b'r'; 20]).unwrap();
        const FLOOD: [[u8; 30]; 6] = [[1; 30], [2; 30], [3; 30], [4; 30], [5; 30], [6; 30]];
        let flood: Vec<_> = FLOOD.iter().map(|raw| from("a stranger", raw)).collect();
        assert!(flood.iter().all(Option::is_some));
        let left: Vec<_> = asides::list(tx, 100)?.iter().map(|it| it.id).collect();
        assert_eq!(left, [flood[5].unwrap(), flood[4].unwrap(), small]);
        for id in left {
            asides::drop_aside(tx, id)?;
        }
        // What stays where it lies is not copied, and its row counts all the same.
        let place = "/archive/cur/1.eml";
        let there = NewAside { kept: Some(place), ..aside(&[b'k'; 5000], at(99)) };
        assert_eq!(asides::put(tx, &there, 256)?, None);
        let id = asides::put(tx, &there, 999)?.unwrap();
        assert_eq!(asides::put(tx, &there, 999)?, Some(id));
        let found = asides::get(tx, id)?.unwrap();
        assert_eq!((found.kept.as_deref(), found.bytes, found.raw), (Some(place), 5000, None));
        assert!(asides::drop_aside(tx, id)?);
        // Raw mails.
        let mut seqs = Vec::new();
        for n in 0..3 {
            let Admitted::New(seq) = admit(tx, &nth(n))? else { panic!() };
            seqs.push(seq);
        }
        let raw = |raw: &'static [u8]| NewRaw { raw, received: at(1), via: "smtp", forget_after: at(50) };
        assert_eq!(asides::keep_raw(tx, &[], &raw(b"x"), 100)?, None);
        assert_eq!(asides::keep_raw(tx, &[99], &raw(b"x"), 100)?, None, "no such message");
        assert_eq!(asides::keep_raw(tx, &seqs, &raw(&[0; 101]), 100)?, None);
        asides::keep_raw(tx, &seqs[..2], &raw(&[1; 60]), 100)?.unwrap();
        asides::keep_raw(tx, &seqs[2..], &raw(&[2; 60]), 100)?.unwrap();
        assert_eq!(messages::raw(tx, seqs[0])?, None, "the oldest one went for the newest one");
        assert_eq!(messages::raw(tx, seqs[2])?.unwrap(), [2; 60]);
        assert_eq!(asides::forget_expired(tx, at(51), 9)?, 1);
        assert_eq!(messages::raw(tx, seqs[2])?, None);
        Ok(())
    });
}

#[test]
fn blocks_are_a_list() {
    within(|tx| {
        assert!(blocks::add(tx, BlockKind::Host, b"evil.example", "spam", at(1))?);
        assert!(!blocks::add(tx, BlockKind::Host, b"evil.example", "again", at(2))?);
        assert!(blocks::add(tx, BlockKind::Author, b"mailto:e@evil.example", "", at(3))?);
        assert!(blocks::contains(tx, BlockKind::Host, b"evil.example")?);
        assert!(!blocks::contains(tx, BlockKind::Peer, b"evil.example")?);
        let list = blocks::list(tx)?;
        assert_eq!(list.iter().map(|b| b.reason.as_str()).collect::<Vec<_>>(), ["spam", ""]);
        assert!(blocks::remove(tx, BlockKind::Host, b"evil.example")?);
        assert!(!blocks::remove(tx, BlockKind::Host, b"evil.example")?);
        assert_eq!(blocks::list(tx)?.len(), 1);
        Ok(())
    });
}

#[test]
fn a_decision_is_kept_with_its_numbers() {
    within(|tx| {
        let mut seqs = Vec::new();
        for n in 0..4 {
            let Admitted::New(seq) = admit(tx, &nth(n))? else { panic!() };
            seqs.push(seq);
        }
        let found =
            |other, gain_bits| NewMatch { other, gain_bits, one_sided_bits: 0.1, distance_raw: 1e300 };
        let detail = serde_json::json!({"reasons": ["first", "second"], "peers": [{"bits": 12.5}]});
        let matches = [found(seqs[2], 9.5), found(seqs[1], 7.25), found(999, 1.0), found(seqs[3], 0.5)];
        assert_eq!(decisions::get(tx, seqs[0])?, None);
        let decision =
            NewDecision { decided: at(1), verdict: "sent to 2 peers", detail: &detail, matches: &matches };
        decisions::record(tx, seqs[0], &decision)?;
        let kept = decisions::get(tx, seqs[0])?.unwrap();
        assert_eq!((kept.decided, kept.verdict.as_str(), &kept.detail), (at(1), "sent to 2 peers", &detail));
        // In order, without the one that is gone.
        let others: Vec<_> = kept.matches.iter().map(|m| (m.other, m.gain_bits)).collect();
        assert_eq!(others, [(seqs[2], 9.5), (seqs[1], 7.25), (seqs[3], 0.5)]);
        assert_eq!((kept.matches[0].id, kept.matches[0].distance_raw), (nth(2).id(), 1e300));
        // A match that is evicted or removed disappears from it.
        messages::evict(tx, seqs[1], NOON, at(9))?;
        crate::store::removal::remove_by_id(tx, nth(3).id(), NOON)?;
        assert_eq!(decisions::get(tx, seqs[0])?.unwrap().matches.len(), 1);
        // The second decision takes the place of the first.
        let again =
            NewDecision { decided: at(2), verdict: "again", matches: &[found(seqs[1], 1.0)], ..decision };
        decisions::record(tx, seqs[0], &again)?;
        let kept = decisions::get(tx, seqs[0])?.unwrap();
        assert_eq!((kept.verdict.as_str(), kept.matches.len()), ("again", 0));
        assert!(matches!(decisions::record(tx, 999, &again), Err(StoreError::Constraint(_))));
        Ok(())
    });
}

#[test]
fn limits_count_in_a_window_and_know_nobody_by_name() {
    let temp = temp();
    temp.store
        .write(|tx| {
            let who = b"mailto:somebody@example.org";
            for n in 0..5 {
                limits::note(tx, Counted::Post, who, at(n * 10))?;
            }
            limits::note(tx, Counted::Answer, who, at(40))?;
            limits::note(tx, Counted::Post, b"mailto:other@example.org", at(40))?;
            let since = |what, seconds| limits::number_since(tx, what, who, at(seconds)).unwrap();
            assert_eq!(since(Counted::Post, -1), 5);
            assert_eq!(since(Counted::Post, 20), 2, "the window's beginning is not in it");
            assert_eq!(since(Counted::Answer, 0), 1);
            assert_eq!(since(Counted::LaterMatch, 0), 0);
            assert_eq!(limits::forget(tx, at(30))?, 3);
            assert_eq!(since(Counted::Post, -1), 2);
            // The clock is set back by 20 seconds: what it called the future is the present.
            limits::note(tx, Counted::Post, who, at(25))?;
            assert_eq!(since(Counted::Post, -1), 3);
            assert_eq!(since(Counted::Post, 24), 3);
            assert_eq!(since(Counted::Post, 25), 0);
            limits::note(tx, Counted::Post, who, at(26))?;
            assert_eq!(since(Counted::Post, 25), 1);
            assert_eq!(since(Counted::Post, -1), 4);
            // A signed mail authorises once.
            assert!(limits::first_time(tx, who, "<1@example.org>", at(1))?);
            assert!(!limits::first_time(tx, who, "<1@example.org>", at(2))?);
            assert!(limits::first_time(tx, who, "<2@example.org>", at(2))?);
            assert!(limits::first_time(tx, b"mailto:other@example.org", "<1@example.org>", at(2))?);
            // Where one ends and the other begins is part of it.
            assert!(limits::first_time(tx, b"ab", "c", at(2))? && limits::first_time(tx, b"a", "bc", at(2))?);
            assert_eq!(limits::forget_seen(tx, at(2))?, 1);
            assert!(limits::first_time(tx, who, "<1@example.org>", at(3))?);
            Ok(())
        })
        .unwrap();
    assert!(!in_files(&temp.data(), b"somebody@example"));
}
