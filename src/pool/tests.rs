use super::*;
use crate::distance::Metric;

pub(super) fn address(text: &str) -> Address {
    Address::try_from(text).unwrap()
}

pub(super) fn entry(seq: i64, author: &str, sender: &str, body: &str) -> Entry {
    let (author, sender) = (address(author), address(sender));
    let mut hops = vec![sender.clone()];
    if author != sender {
        hops.push(author.clone());
    }
    Entry {
        seq,
        id: MessageId::from(seq.to_be_bytes()),
        body: body.as_bytes().into(),
        sender,
        hops,
        author,
        origin_time: UnixTime(seq),
        scope: Scope::Public,
        received: UnixTime(seq),
    }
}

fn local(mut e: Entry) -> Entry {
    e.scope = Scope::Local;
    e
}

const UNRELATED: &str = "Dear all, the bakery on the corner will be closed during the first week \
    of August. Orders for birthday cakes that were placed before can be picked up at our other \
    shop in the market street, where you will also find the usual rolls and bread.\n";

const QUESTION: &[u8] = b"What is the largest planet?\n";

fn planets() -> Pool {
    let mut pool = Pool::new(Limits::default());
    let texts = [
        "Hello\n",
        "Mercury is the innermost planet\n",
        "Jupiter is the largest planet.\n",
        UNRELATED,
        "What is it?\n",
    ];
    for (seq, text) in (1..).zip(texts) {
        pool.insert(entry(
            seq,
            "http://dave.example/",
            "http://charlie.example/",
            text,
        ));
    }
    pool
}

#[test]
fn the_question_finds_its_answer() {
    let pool = planets();
    let found = pool.nearest(QUESTION, Audience::Public, 10);
    assert_eq!(found.first().map(|s| s.seq), Some(3), "{found:#?}");
    assert!(found[0].is_match && found[0].gain_bits >= MIN_GAIN_BITS);
    let mercury = found.iter().position(|s| s.seq == 2).unwrap();
    assert!(found[mercury].gain_bits < found[0].gain_bits);
    for other in [1, 4, 5] {
        assert!(
            !found.iter().any(|s| s.seq == other && s.is_match),
            "{other}: {found:#?}"
        );
    }
    for s in &found {
        assert_eq!(s.gain_bits + s.one_sided_bits, pool.coder().bits(QUESTION));
        let m = pool
            .coder()
            .measure(QUESTION, &pool.get(s.seq).unwrap().body);
        assert_eq!((s.distance_raw, s.normalised), (m.raw(), m.normalised()));
    }
}

#[test]
fn every_metric_finds_the_answer_among_equals() {
    let pool = planets();
    for metric in Metric::ALL {
        let query = Query {
            metric,
            ..Query::new(QUESTION, Audience::Public)
        };
        let found = pool.search(&query, 3);
        assert_eq!(
            found.first().map(|s| s.seq),
            Some(3),
            "{metric}: {found:#?}"
        );
    }
}
