use super::*;
use crate::message::MessageId;
use crate::store::asides::{self, NewAside, NewRaw};
use crate::store::decisions::{self, NewDecision, NewMatch};
use crate::store::people::{self, NewPerson, NewThread};
use crate::store::queue::{self, DeliveryKind, NewDelivery};
use crate::store::{What, messages, peers, removal, verify};

/// A text that stands nowhere else: the nth secret.
fn secret(n: usize) -> String {
    format!("SECRET-{n:05}-{:016x}", (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn id_of(store: &Store, seq: i64) -> MessageId {
    store.read(|conn| messages::head(conn, seq)).unwrap().unwrap().id
}

/// A person's post with everything that can hang on it, and a stranger's message that matches.
/// Every word that belongs to the person has SECRET in it.
fn furnished(temp: &Temp) -> (i64, i64) {
    let other = put(&temp.store, nth(7));
    let seq = temp
        .store
        .write(move |tx| {
            let person = people::ensure(
                tx,
                &NewPerson {
                    address: "SECRET-person@example.org",
                    name: "SECRETname",
                    token: "SECRETtoken",
                    confirm_token: "SECRETconfirm",
                },
                NOON,
            )?;
            let mut post = new(
                &[("12:00:00.7777", "mailto:cmr+SECRETname.SECRETtoken@here.example")],
                "SECRET-words of the body",
            );
            post.author = address("mailto:SECRET-person@example.org");
            post.kind = messages::Kind::Post;
            post.person = Some(person.id);
            let Admitted::New(seq) = admit(tx, &post)? else { panic!() };
            let raw = NewRaw {
                raw: b"Subject: SECRET-subject of the mail\r\n\r\nSECRET",
                received: NOON,
                via: "smtp",
                forget_after: at(100),
            };
            asides::keep_raw(tx, &[seq], &raw, 1 << 20)?.unwrap();
            let aside = NewAside {
                reason: "another version",
                place: "the body",
                raw: b"SECRET-aside",
                kept: None,
                author: None,
                id: Some(post.id()),
                received: NOON,
                via: "smtp",
                forget_after: at(100),
                source: "192.0.2.0/24",
            };
            asides::put(tx, &aside, 1 << 20)?.unwrap();
            let author = post.author.clone();
            let by_author = NewAside { id: None, author: Some(&author), raw: b"SECRET-too", ..aside };
            asides::put(tx, &by_author, 1 << 20)?.unwrap();
            let thread = people::open_thread(
                tx,
                &NewThread {
                    person: person.id,
                    seq: Some(seq),
                    message_id: Some("<SECRET-id@example.org>".into()),
                    references: vec!["<SECRET-ref@example.org>".into()],
                    subject: "SECRET-subject".into(),
                    language: None,
                    ignored: vec!["SECRET.pdf".into()],
                    authenticated: true,
                    opened: NOON,
                    until: at(1000),
                },
            )?;
            let numbers = NewMatch { other, gain_bits: 1.0, one_sided_bits: 2.0, distance_raw: 3.0 };
            let detail = serde_json::json!({"reasons": ["SECRET-reason"]});
            let decision = NewDecision {
                decided: NOON,
                verdict: "SECRET-verdict",
                detail: &detail,
                matches: &[numbers],
            };
            decisions::record(tx, seq, &decision)?;
            let theirs = serde_json::json!({});
            decisions::record(
                tx,
                other,
                &NewDecision {
                    decided: NOON,
                    verdict: "routed",
                    detail: &theirs,
                    matches: &[NewMatch { other: seq, ..numbers }],
                },
            )?;
            for (kind, seq, to, message_id) in [
                (DeliveryKind::Forward, Some(seq), "mailto:peer@example.net", "<1@here>"),
                (DeliveryKind::Answer, Some(seq), "mailto:SECRET-person@example.org", "<2@here>"),
                (DeliveryKind::Notice, None, "mailto:SECRET-person@example.org", "<3@here>"),
                (DeliveryKind::Forward, Some(other), "mailto:peer@example.net", "<4@here>"),
            ] {
                let delivery = NewDelivery {
                    kind,
                    seq,
                    thread: (kind == DeliveryKind::Answer).then_some(thread),
                    to: address(to),
                    transport: "mailto".into(),
                    destination: to.split('@').nth(1).unwrap().into(),
                    stamp: None,
                    message_id: message_id.into(),
                    detail: None,
                    why: if seq == Some(other) { "a match".into() } else { "SECRET-why".into() },
                    next_try: NOON,
                };
                queue::enqueue(tx, &delivery, NOON)?;
            }
            messages::add_holder(tx, other, &author, NOON)?;
            peers::received(tx, &author, 10, NOON)?;
            Ok(seq)
        })
        .unwrap();
    (seq, other)
}

fn rows(store: &Store) -> Vec<i64> {
    [
        "message", "text", "hop", "raw_mail", "aside", "thread", "decision", "match", "delivery", "person",
        "peer",
    ]
    .iter()
    .map(|table| {
        let sql = format!("SELECT count(*) FROM {table}");
        store.read(move |conn| Ok(conn.query_row(&sql, [], |row| row.get(0))?)).unwrap()
    })
    .collect()
}

#[test]
fn a_removed_message_is_gone_everywhere_and_stays_away() {
    let temp = temp();
    let (seq, other) = furnished(&temp);
    assert_eq!(rows(&temp.store), [2, 2, 2, 1, 2, 1, 2, 2, 4, 1, 1]);
    let id = id_of(&temp.store, seq);
    let erased = temp.store.remove(What::Message(id), NOON).unwrap();
    assert_eq!(erased.removal, removal::Removal { seqs: vec![seq], asides: 1, authors: 0 });
    assert!(!erased.still_found);
    // What is left: the other message with its own decision and forward; and of the person what
    // does not belong to this message.
    assert_eq!(rows(&temp.store), [1, 1, 1, 0, 1, 0, 1, 0, 2, 1, 1]);
    for word in
        ["SECRET-words", "SECRET-subject", "SECRET-verdict", "SECRET-aside", "SECRET-id", "SECRET.pdf"]
    {
        assert!(!in_files(&temp.data(), word.as_bytes()), "{word}");
    }
    assert_eq!(temp.store.read(|conn| verify(conn, true)).unwrap(), Vec::<String>::new());
    // It comes again: the same, and the same line with another spelling of the time.
    let temp = temp.reopen();
    let alias = "mailto:cmr+SECRETname.SECRETtoken@here.example";
    for time in ["12:00:00.7777", "12:00:00.77770"] {
        let again =
            new(&[("12:00:05", "mailto:peer@example.net"), (time, alias)], "SECRET-words of the body");
        assert_eq!(temp.store.write(move |tx| admit(tx, &again)).unwrap(), Admitted::Removed, "{time}");
    }
    // Twice is once.
    let again = temp.store.remove(What::Message(id), NOON).unwrap();
    assert_eq!(again.removal.seqs, Vec::<i64>::new());
    assert!(temp.store.read(|conn| messages::get(conn, other)).unwrap().is_some());
}

#[test]
fn a_removed_author_is_gone_everywhere() {
    for by in ["mailto:SECRET-person@example.org", "mailto:cmr+SECRETname.SECRETtoken@here.example"] {
        let temp = temp();
        let (seq, other) = furnished(&temp);
        // One more, evicted meanwhile.
        let mut evicted = new(&[("12:00:01.1", by)], "SECRET-evicted");
        evicted.author = address(by);
        let evicted = put(&temp.store, evicted);
        temp.store.write(move |tx| messages::evict(tx, evicted, NOON, at(100))).unwrap();
        let erased = temp.store.remove(What::Author(address(by)), NOON).unwrap();
        assert_eq!(erased.removal.seqs, [seq, evicted]);
        assert!(temp.store.read(|conn| messages::get(conn, other)).unwrap().is_some());
        assert_eq!(temp.store.read(|conn| verify(conn, true)).unwrap(), Vec::<String>::new());
        if by.contains("person") {
            assert_eq!(rows(&temp.store), [1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0]);
            assert!(!in_files(&temp.data(), b"SECRET"));
        }
    }
}

#[test]
fn a_pinned_peer_survives_the_removal_of_what_it_wrote() {
    let temp = temp();
    let peer = address("mailto:peer@example.net");
    put(&temp.store, new(&[("12:00:00.1", "mailto:peer@example.net")], "text"));
    let keep = peer.clone();
    temp.store.write(move |tx| peers::set_pinned(tx, &keep, true, NOON)).unwrap();
    let erased = temp.store.remove(What::Author(peer.clone()), NOON).unwrap();
    assert_eq!(erased.removal.seqs.len(), 1);
    assert!(temp.store.read(|conn| peers::get(conn, &peer)).unwrap().unwrap().pinned);
}

#[test]
fn an_id_that_is_not_here_yet_is_refused_from_now_on() {
    let temp = temp();
    let id = nth(1).id();
    temp.store.remove(What::Message(id), NOON).unwrap();
    assert_eq!(temp.store.write(|tx| admit(tx, &nth(1))).unwrap(), Admitted::Removed);
    put(&temp.store, nth(2));
}

#[test]
fn removals_are_carried_over_a_restore() {
    let temp = temp();
    for n in 0..4 {
        put(&temp.store, nth(n));
    }
    // A backup, then a removal, then the restore.
    let backup = temp.dir.path().join("restored");
    std::fs::create_dir(&backup).unwrap();
    let target = backup.join(crate::store::FILE_NAME);
    let target = target.to_str().unwrap().to_owned();
    rusqlite::Connection::open(temp.store.path()).unwrap().execute("VACUUM INTO ?1", [target]).unwrap();
    temp.store.remove(What::Message(nth(2).id()), NOON).unwrap();
    let hashes = temp.store.read(removal::hashes).unwrap();
    assert_eq!(hashes.len(), 2);
    let restored = Store::open(&backup).unwrap();
    assert_eq!(number(&restored, "SELECT count(*) FROM message"), 4);
    let gone = restored.erase(move |tx| removal::enforce(tx, &hashes)).unwrap();
    assert_eq!(gone.seqs.len(), 1);
    assert_eq!(restored.write(|tx| admit(tx, &nth(2))).unwrap(), Admitted::Removed);
    assert_eq!(number(&restored, "SELECT count(*) FROM message"), 3);
    assert!(!in_files(&backup, b"text of message 2"));
}

#[test]
fn a_removed_author_stays_away_after_a_restore_and_may_write_again() {
    let temp = temp();
    let eve = || address("mailto:eve@example.org");
    put(&temp.store, new(&[("12:00:00.1", "mailto:eve@example.org")], "text of eve"));
    put(&temp.store, nth(1));
    let person = |store: &Store| {
        let made = |tx: &rusqlite::Connection| {
            let new = NewPerson { address: "eve@example.org", name: "eve", token: "t", confirm_token: "c" };
            people::ensure(tx, &new, NOON).map(|_| ())
        };
        store.write(made).unwrap();
    };
    person(&temp.store);
    let copy = |to: &str| {
        let dir = temp.dir.path().join(to);
        std::fs::create_dir(&dir).unwrap();
        let target = dir.join(crate::store::FILE_NAME);
        let target = target.to_str().unwrap().to_owned();
        rusqlite::Connection::open(temp.store.path()).unwrap().execute("VACUUM INTO ?1", [target]).unwrap();
        dir
    };
    let older = copy("older");
    temp.store.remove(What::Author(eve()), NOON).unwrap();
    let hashes = temp.store.read(removal::hashes).unwrap();
    let enforce = |dir: &Path| {
        let (store, hashes) = (Store::open(dir).unwrap(), hashes.clone());
        let gone = store.erase(move |tx| removal::enforce(tx, &hashes)).unwrap();
        (store, gone)
    };
    let (restored, gone) = enforce(&older);
    assert_eq!((gone.seqs.len(), gone.authors), (1, 1));
    assert_eq!(number(&restored, "SELECT count(*) FROM person"), 0);
    assert_eq!(number(&restored, "SELECT count(*) FROM message"), 1);
    assert!(!in_files(&older, b"eve@example.org"));
    // What she wrote after the removal is hers, in a copy that was made after it.
    person(&temp.store);
    put(&temp.store, new(&[("12:00:02.1", "mailto:eve@example.org")], "another text of eve"));
    let (restored, gone) = enforce(&copy("newer"));
    assert_eq!((gone.seqs.len(), gone.authors), (0, 0));
    assert_eq!(number(&restored, "SELECT count(*) FROM person"), 1);
    assert_eq!(number(&restored, "SELECT count(*) FROM message"), 2);
}

#[test]
fn a_reader_delays_the_end_of_the_traces_but_does_not_prevent_it() {
    let temp = temp();
    put(&temp.store, new(&[("12:00:00.1", "mailto:a@example.org")], "SECRET-words of the body"));
    let id = id_of(&temp.store, 1);
    temp.store
        .read(|conn| {
            let _: i64 = conn.query_row("SELECT count(*) FROM text", [], |row| row.get(0))?;
            temp.store.erase(move |tx| removal::remove_by_id(tx, id, NOON))?;
            assert!(temp.store.stats()?.scrub_due);
            assert!(in_files(&temp.data(), b"SECRET-words"));
            Ok(())
        })
        .unwrap();
    // The writer tries again by itself; nobody writes.
    let started = std::time::Instant::now();
    while temp.store.stats().unwrap().scrub_due && started.elapsed().as_secs() < 20 {
        std::thread::yield_now();
    }
    assert!(!in_files(&temp.data(), b"SECRET-words"));
}

#[test]
fn whatever_moved_in_the_file_removed_words_are_not_found_in_it() {
    // Many inserts and evictions of all sizes move rows between pages; removals in between must
    // leave nothing, whichever copies SQLite left behind.
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let temp = temp();
    let mut live = Vec::new();
    let (mut removed, mut rewritten) = (0, 0);
    for round in 0..12usize {
        let batch: Vec<_> = (0..40)
            .map(|i| {
                let n = round * 40 + i;
                let size = [20, 200, 900, 3000, 9000][random(5)];
                let body = format!("{} {}", secret(n), "y".repeat(random(size)));
                let time =
                    format!("12:{:02}:{:02}.{}", n / 60 % 60, n % 60, secret(n + 70_000).len() + n * 1000);
                let author = format!("mailto:{}@example.org", secret(n + 50_000));
                (n, new(&[(&time, &author)], &body))
            })
            .collect();
        let seqs = temp
            .store
            .write(move |tx| {
                batch.iter().map(|(n, new)| Ok((*n, admit(tx, new)?))).collect::<Result<Vec<_>, StoreError>>()
            })
            .unwrap();
        live.extend(seqs.into_iter().map(|(n, admitted)| match admitted {
            Admitted::New(seq) => (n, seq),
            other => panic!("{other:?}"),
        }));
        let evicted: Vec<i64> = (0..15).map(|_| live.swap_remove(random(live.len())).1).collect();
        temp.store
            .write(move |tx| {
                for seq in evicted {
                    messages::evict(tx, seq, NOON, at(10))?;
                }
                messages::forget_expired(tx, at(100), 1000)
            })
            .unwrap();
        let (n, _) = live.swap_remove(random(live.len()));
        let author = address(&format!("mailto:{}@example.org", secret(n + 50_000)));
        assert!(in_files(&temp.data(), secret(n).as_bytes()), "the search itself is broken");
        let erased = temp.store.remove(What::Author(author), NOON).unwrap();
        assert_eq!(erased.removal.seqs.len(), 1);
        assert!(!erased.still_found);
        removed += 1;
        rewritten += usize::from(erased.rewritten);
        assert!(!in_files(&temp.data(), secret(n).as_bytes()), "text {n}");
        assert!(!in_files(&temp.data(), secret(n + 50_000).as_bytes()), "author {n}");
    }
    println!("{removed} removals, {rewritten} of them rewrote the database");
}

#[test]
fn words_that_another_message_holds_too_are_reported() {
    let temp = temp();
    let words = "these very words stand in two messages, one quotes the other";
    put(&temp.store, new(&[("12:00:00.1", "mailto:a@example.org")], words));
    let second = put(&temp.store, new(&[("12:00:00.2", "mailto:b@example.org")], words));
    let erased = temp.store.remove(What::Author(address("mailto:a@example.org")), NOON).unwrap();
    assert!(erased.rewritten && erased.still_found, "{erased:?}");
    let id = id_of(&temp.store, second);
    let erased = temp.store.remove(What::Message(id), NOON).unwrap();
    assert!(!erased.still_found, "{erased:?}");
    assert!(!in_files(&temp.data(), words.as_bytes()));
}

#[test]
fn a_trace_is_found_wherever_it_stands() {
    let temp = temp();
    let sample = b"a sample that crosses the edge of a block".to_vec();
    let wal = crate::store::files::wal_file(temp.store.path());
    for at in [0usize, 1, (1 << 20) - 41, (1 << 20) - 40, (1 << 20) - 1, 1 << 20, (2 << 20) + 17] {
        let mut bytes = vec![b'a'; 3 << 20];
        bytes[at..at + sample.len()].copy_from_slice(&sample);
        let path = temp.dir.path().join("haystack");
        std::fs::write(&path, &bytes).unwrap();
        assert!(
            super::super::traces::scan(
                &std::fs::File::open(&path).unwrap(),
                &[b"nowhere at all".to_vec(), sample.clone()]
            )
            .unwrap(),
            "{at}"
        );
    }
    assert!(!temp.store.traces(&[sample]).unwrap());
    assert!(!temp.store.traces(&[]).unwrap());
    assert!(wal.exists());
}
