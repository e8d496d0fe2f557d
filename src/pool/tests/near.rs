//! What is found.

use super::*;
use crate::distance::Metric;
use proptest::prelude::*;

const UNRELATED: &str = "Dear all, the bakery on the corner will be closed during the first week \
    of August. Orders for birthday cakes that were placed before can be picked up at our other \
    shop in the market street, where you will also find the usual rolls and bread.\n";

const DAVE: &str = "http://dave.example/";
const CHARLIE: &str = "http://charlie.example/";

fn planets() -> Kept {
    let mut pool = Kept::new(Limits::default());
    let texts = [
        "Hello\n",
        "Mercury is the innermost planet\n",
        "Jupiter is the largest planet.\n",
        UNRELATED,
        "What is it?\n",
    ];
    for (seq, text) in (1..).zip(texts) {
        pool.insert(entry(seq, DAVE, CHARLIE, text));
    }
    pool
}

fn seqs(found: &[Scored]) -> Vec<i64> {
    found.iter().map(|s| s.seq).collect()
}

fn matching(found: &[Scored]) -> Vec<i64> {
    found.iter().filter(|s| s.is_match).map(|s| s.seq).collect()
}

#[test]
fn the_question_finds_its_answer() {
    let pool = planets();
    let found = pool.nearest(QUESTION, Audience::Public, 10);
    assert_eq!(found.first().map(|s| s.seq), Some(3), "{found:#?}");
    let mercury = found.iter().find(|s| s.seq == 2).unwrap();
    assert!(mercury.gain_bits < found[0].gain_bits);
    for other in [1, 4, 5] {
        assert!(!matching(&found).contains(&other), "{other}: {found:#?}");
    }
    for s in &found {
        assert!((s.gain_share - s.gain_bits / (s.gain_bits + s.one_sided_bits)).abs() < 0.001, "{s:?}");
        assert!(s.distance_raw > s.one_sided_bits && (0.0..1.0).contains(&s.normalised), "{s:?}");
    }
}

#[test]
fn every_metric_finds_the_answer_among_equals() {
    let mut pool = Kept::new(Limits::default());
    let texts =
        ["Jupiter is the largest planet.\n", "Saturn has the finest rings.\n", "Where is the tram depot?\n"];
    for (seq, text) in (3..).zip(texts) {
        pool.insert(entry(seq, DAVE, CHARLIE, text));
    }
    for metric in Metric::ALL {
        let query = Query { metric, ..Query::new(QUESTION, Audience::Public) };
        let found = pool.search(&query, 3);
        assert_eq!(found.first().map(|s| s.seq), Some(3), "{metric}: {found:#?}");
    }
}

/// Question, its answer, and what is about something else in the same language.
#[test]
fn real_looking_mails_find_their_answers() {
    #[rustfmt::skip]
    let pairs = [
        ("My RAID5 array does not start after the second disk failed, mdadm says the superblock is fine but the event counts differ. Can I force it without losing data?",
         "Use mdadm --assemble --force, it will bump the event count of the freshest failed disk and start the array degraded. Copy your data first."),
        ("Kann mir jemand sagen, wie man eine Rechnung in der neuen Buchhaltung storniert?",
         "Eine Rechnung storniert man in der Buchhaltung unter Belege, dann rechts auf Storno klicken. Danach muss der Beleg noch freigegeben werden."),
        ("Where can I park a bicycle near the central station overnight?",
         "There is a guarded bicycle garage under the central station, open all night, two euros a day."),
        ("木星は太陽系で一番大きい惑星ですか",
         "はい、木星は太陽系で一番大きい惑星です。質量は地球の約318倍です。"),
        ("Does the new GNU Radio source block support the B210 at 56 MHz bandwidth over USB3?",
         "The B210 does 56 MHz over USB3 only with one channel; the UHD source block in GNU Radio will print overflows otherwise."),
        ("Looking for a recipe for lentil soup without meat",
         "My grandmother's lentil soup: lentils, carrots, celery, a bay leaf, vinegar at the end. No meat needed."),
    ];
    let mut pool = Kept::new(Limits::default());
    for (seq, (_, answer)) in (1..).zip(pairs) {
        pool.insert(entry(seq, &format!("mailto:a{seq}@x.example"), CHARLIE, answer));
    }
    pool.insert(entry(100, DAVE, CHARLIE, UNRELATED));
    for (seq, (question, _)) in (1..).zip(pairs) {
        let found = pool.nearest(question.as_bytes(), Audience::Public, 10);
        assert_eq!(matching(&found), [seq], "{question}: {found:#?}");
    }
}

#[test]
fn what_says_nothing_finds_nothing() {
    let pool = planets();
    for body in ["", " \r\n", "What is it?", "is the a of", "?!", "\0\0\0", "zzzz qqqq"] {
        let found = pool.nearest(body.as_bytes(), Audience::Public, 5);
        assert_eq!(matching(&found), Vec::<i64>::new(), "{body:?}: {found:#?}");
    }
    assert!(Kept::new(Limits::default()).nearest(QUESTION, Audience::Public, 5).is_empty());
    assert!(pool.nearest(QUESTION, Audience::Public, 0).is_empty());
}

#[test]
fn of_equals_the_newer_is_nearer_by_the_cost_of_pointing_back() {
    let mut pool = Kept::new(Limits::default());
    let answer = "Jupiter is the largest planet.\n";
    pool.insert(entry(1, DAVE, CHARLIE, answer));
    let mut dice = Dice(5);
    for seq in 2..500 {
        pool.insert(entry(seq, CHARLIE, CHARLIE, &dice.text(8)));
    }
    pool.insert(entry(500, DAVE, CHARLIE, answer));
    let found = pool.nearest(QUESTION, Audience::Public, 2);
    assert_eq!(seqs(&found), [500, 1]);
    assert_eq!(found[0].gain_bits, found[1].gain_bits, "the age is not in the gain");
    let ago = found[1].score - found[0].score;
    assert!((8.9..9.0).contains(&ago), "log2 of 500: {ago}");
    // A better one wins in spite of its age, unless age costs more than it gains.
    pool.insert(entry(501, DAVE, CHARLIE, "Is Mars a planet?\n"));
    assert_eq!(pool.nearest(QUESTION, Audience::Public, 1)[0].seq, 500);
    let query = Query { age: 1000.0, ..Query::new(QUESTION, Audience::Public) };
    assert_eq!(pool.search(&query, 1)[0].seq, 501);
}

#[test]
fn local_messages_are_for_the_operator_and_their_author() {
    let mut pool = planets();
    let ann = address("mailto:ann@example.net");
    let answer = "Jupiter is by far the largest planet, says my diary.\n";
    pool.insert(local(entry(10, "mailto:ann@example.net", "mailto:ann@example.net", answer)));
    let dave = address(DAVE);
    let found = |audience| seqs(&pool.nearest(QUESTION, audience, 10));
    assert!(!found(Audience::Public).contains(&10));
    assert!(!found(Audience::Author(&dave)).contains(&10));
    assert!(found(Audience::Operator).contains(&10));
    assert!(found(Audience::Author(&ann)).contains(&10));
    assert!(found(Audience::Author(&ann)).contains(&3), "public ones too");
    // Nor are they shown.
    assert_eq!(pool.excerpt(10, QUESTION, Audience::Public, 80), "");
    assert!(pool.excerpt(10, QUESTION, Audience::Author(&ann), 80).contains("diary"));
    assert!(pool.excerpt(10, QUESTION, Audience::Operator, 80).contains("Jupiter"));
    assert!(pool.excerpt(3, QUESTION, Audience::Public, 80).contains("Jupiter"));
}

#[test]
fn local_messages_do_not_count_for_others() {
    let mut pool = planets();
    let before = pool.nearest(QUESTION, Audience::Public, 10);
    for seq in 100..200 {
        let author = format!("mailto:a{seq}@example.net");
        pool.insert(local(entry(seq, &author, &author, "the largest planet of all planets\n")));
    }
    let after = pool.nearest(QUESTION, Audience::Public, 10);
    // A hundred messages later the pointer costs more, and nothing else is different.
    let plain = |found: Vec<Scored>| -> Vec<Scored> {
        found.into_iter().map(|s| Scored { score: 0.0, pointer_bits: 0.0, ..s }).collect()
    };
    assert_eq!(plain(before), plain(after));
}

#[test]
fn one_author_cannot_make_a_word_worthless() {
    let mut pool = planets();
    // More messages than all others together, all about the largest planet …
    for seq in 100..400 {
        pool.insert(entry(
            seq,
            "mailto:eve@evil.example",
            "http://evil.example/",
            "largest planet jupiter\n",
        ));
    }
    let found = pool.nearest(QUESTION, Audience::Public, 50);
    assert!(found.iter().all(|s| s.shared > 0), "the words still tell something");
}

#[test]
fn a_word_that_everybody_uses_tells_nothing() {
    let mut pool = planets();
    for seq in 100..160 {
        let author = format!("http://a{seq}.example/");
        let body = format!("{seq}{seq} planet {seq}x{seq}");
        pool.insert(entry(seq, &author, &author, &body));
    }
    let found = pool.nearest(b"planet", Audience::Public, 10);
    assert_eq!(matching(&found), Vec::<i64>::new(), "{found:#?}");
    assert_eq!(matching(&pool.nearest(QUESTION, Audience::Public, 10)), [3]);
}

#[test]
fn a_passage_deep_in_a_long_message_is_found() {
    let mut pool = planets();
    pool.remove(3);
    pool.remove(2);
    let mut dice = Dice(11);
    for at in [0, 40_000, 100_000, 250_000] {
        let mut body = dice.prose(80_000);
        body.insert_str(at, " Jupiter is the largest planet, he said. ");
        pool.insert(entry(10, DAVE, CHARLIE, &body));
        let found = pool.nearest(QUESTION, Audience::Public, 3);
        assert_eq!(matching(&found), [10], "{at}: {found:#?}");
        assert!(pool.excerpt(10, QUESTION, Audience::Public, 60).contains("Jupiter"), "{at}");
    }
}

#[test]
fn the_pool_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&planets());
}

#[test]
fn huge_and_hostile_bodies_cost_a_bounded_time() {
    let mut pool = planets();
    let mut dice = Dice(9);
    let many_words = dice.text(200_000);
    let one_word = "planet ".repeat(200_000);
    let bytes: Vec<u8> = (0..1_000_000).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect();
    pool.insert(entry(10, DAVE, CHARLIE, &many_words));
    pool.insert(entry(11, DAVE, CHARLIE, &one_word));
    let mut noise = entry(12, DAVE, CHARLIE, "");
    noise.body = bytes.clone();
    pool.insert(noise);
    for (seq, body) in [(10, many_words.as_bytes()), (11, one_word.as_bytes()), (12, &bytes)] {
        let found = pool.nearest(body, Audience::Public, 5);
        assert_eq!(found.first().map(|s| s.seq), Some(seq), "it finds itself: {found:#?}");
    }
    assert_eq!(matching(&pool.nearest(QUESTION, Audience::Public, 1)), [3]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever came and went, what is there is found as if it had come alone.
    #[test]
    fn removing_leaves_no_trace(seed in 1..u64::MAX, keep in proptest::collection::vec(any::<bool>(), 40)) {
        let mut dice = Dice(seed);
        let texts: Vec<String> = (0..40).map(|_| dice.text(12)).collect();
        let mut all = Kept::new(Limits::default());
        let mut some = Kept::new(Limits::default());
        for (i, text) in (0..).zip(&texts) {
            let author = format!("http://a{i}.example/");
            let e = entry(i, &author, &author, text);
            all.insert(e.clone());
            if keep[usize::try_from(i).unwrap()] {
                some.insert(e);
            }
        }
        for (i, keep) in (0..).zip(&keep) {
            if !keep {
                prop_assert!(all.remove(i).is_some());
            }
        }
        all.sweep_all();
        prop_assert_eq!((all.len(), all.bytes()), (some.len(), some.bytes()));
        // C(Y) is remembered as it was.
        let found = |pool: &Kept, text: &str| -> Vec<(i64, f64, f64)> {
            let query = Query { age: 0.0, ..Query::new(text.as_bytes(), Audience::Public) };
            pool.search(&query, 20).iter().map(|s| (s.seq, s.gain_bits, s.one_sided_bits)).collect()
        };
        for text in &texts {
            prop_assert_eq!(found(&all, text), found(&some, text));
        }
    }
}

/// The daemon rebuilds the pool when it is started.
#[test]
fn a_pool_that_is_restored_answers_as_before() {
    let mut dice = Dice(23);
    let mails: Vec<Mail> = (1..400)
        .map(|seq| {
            let (author, sender) = (dice.roll(12), dice.roll(4));
            entry(seq, &format!("mailto:a{author}@x.example"), &format!("http://s{sender}/"), &dice.text(40))
        })
        .collect();
    let questions: Vec<String> = (0..40).map(|_| dice.text(25)).collect();
    let peers: Vec<Address> = (0..4).map(|n| address(&format!("http://s{n}/"))).collect();
    let mut first = Kept::new(Limits::default());
    mails.iter().for_each(|mail| assert!(first.insert(mail.clone()).is_empty()));
    let mut second = Kept::new(Limits::default());
    mails.iter().for_each(|mail| assert!(second.restore(mail.clone()).is_empty()));
    for question in &questions {
        let ask = |pool: &Kept| {
            let found = pool.nearest(question.as_bytes(), Audience::Public, 10);
            (found, pool.peer_costs(question.as_bytes(), &peers))
        };
        assert_eq!(ask(&first), ask(&second));
    }
    // Those that have gone leave nothing behind that would make the others weigh otherwise; what a
    // text cost when it came is the one thing that is not known afterwards.
    for seq in 1..80 {
        first.remove(seq);
    }
    first.sweep_all();
    let mut third = Kept::new(Limits::default());
    mails.iter().skip(79).for_each(|mail| assert!(third.restore(mail.clone()).is_empty()));
    for question in &questions {
        let ask = |pool: &Kept| -> Vec<(i64, f64)> {
            let found = pool.nearest(question.as_bytes(), Audience::Public, 10);
            found.into_iter().map(|scored| (scored.seq, scored.gain_bits)).collect()
        };
        assert_eq!(ask(&first), ask(&third));
        assert!(!ask(&first).is_empty());
    }
}
