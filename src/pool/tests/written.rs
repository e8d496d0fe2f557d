//! What is written down is read as it was.

use super::*;
use crate::pool::sums::Found;
use proptest::prelude::*;

fn bytes_of(pool: &Pool) -> Vec<u8> {
    let mut bytes = Vec::new();
    pool.save(&mut bytes).unwrap();
    bytes
}

fn again(pool: &Pool) -> Pool {
    Pool::load(&mut bytes_of(pool).as_slice(), pool.limits).unwrap()
}

/// A pool in which messages came, went, and were erased: `n` steps.
fn lively(seed: u64, n: i64) -> Kept {
    let mut dice = Dice(seed | 1);
    let mut pool = Kept::new(Limits { max_messages: 100, max_profiles: 12, ..Limits::default() });
    for seq in 0..n {
        let author = format!("http://a{}.example/", dice.roll(20));
        let neighbour = format!("http://n{}.example/", dice.roll(15));
        let words = usize::try_from(dice.roll(40) * dice.roll(40)).unwrap();
        let mut mail = entry(seq, &author, &neighbour, &dice.text(words));
        if dice.roll(5) == 0 {
            mail = local(mail);
        }
        pool.insert(mail);
        match dice.roll(12) {
            0 => drop(pool.remove(i64::try_from(dice.roll(n.cast_unsigned())).unwrap())),
            1 if seq > n / 2 => {
                pool.sweep();
            }
            2 if dice.roll(9) == 0 => drop(pool.erase_author(&address(&author))),
            _ => {}
        }
    }
    pool
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_pool_that_was_read_goes_on_as_if_nothing_had_been(seed in any::<u64>(), n in 0_i64..250) {
        let mut pool = lively(seed, n);
        let mut copy = again(&pool);
        prop_assert!(bytes_of(&copy) == bytes_of(&pool));
        let peers: Vec<Address> = (0..15).map(|n| address(&format!("http://n{n}.example/"))).collect();
        let mut dice = Dice(seed | 3);
        for seq in 10_000..10_030 {
            let text = dice.text(80);
            let body = text.as_bytes();
            let texts = |seq: i64| pool.bodies.get(&seq).cloned();
            for audience in [Audience::Public, Audience::Operator, Audience::Author(&peers[0])] {
                let query = Query::new(body, audience);
                prop_assert_eq!(pool.search(&query, 10), copy.search(&query, 10, &texts));
            }
            prop_assert_eq!(pool.peer_costs(body, &peers), copy.peer_costs(body, &peers));
            let mail = entry(seq, "http://new.example/", &format!("http://n{}.example/", seq % 15), &text);
            prop_assert_eq!(copy.insert(&mail.entry, &mail.body), pool.insert(mail));
            let gone = i64::try_from(dice.roll(250)).unwrap();
            prop_assert_eq!(pool.remove(gone), copy.remove(gone));
        }
        // Where things lie may differ by now; what they say may not.
        prop_assert!(copy.iter().eq(pool.iter()));
        prop_assert_eq!((copy.len(), copy.bytes()), (pool.len(), pool.bytes()));
    }
}

/// Whoever changes how words are cut or weighed, or how they are written, raises [`FORMAT`] and puts
/// the new digest here: else an index of before would be taken for one of now.
#[test]
fn what_is_written_is_of_this_format() {
    use sha2::{Digest, Sha256};
    let mut pool = Kept::new(Limits::default());
    let texts = [
        "Jupiter is the LARGEST planet; it's 11 times as wide as the Earth.\n",
        "Größe der Planeten: Ю́питер, 木星は太陽系で一番大きい惑星です。\n",
        "0123456789abcdef \u{fffd}\u{0} VGhpcyBpcyBubyB0ZXh0\n",
    ];
    for (seq, text) in (0..140).zip(texts.iter().cycle()) {
        let author = format!("http://a{}.example/", seq % 7);
        // From so many peers that what all of them say has a row.
        pool.insert(entry(seq, &author, &format!("http://b{}.example/", seq % 11), text));
    }
    pool.insert(local(entry(900, "http://c.example/", "http://c.example/", &"a long text. ".repeat(900))));
    pool.remove(5);
    let digest: String = Sha256::digest(bytes_of(&pool)).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        (super::super::snapshot::FORMAT & 0xffff, digest.as_str()),
        (4, "2855b94bca7ee3230c8923d8b6aabdcd202d16723ddd476d59171636b554ac25")
    );
}

#[test]
fn bytes_that_end_early_or_are_of_another_version_are_no_pool() {
    let pool = lively(5, 60);
    let bytes = bytes_of(&pool);
    for end in (0..bytes.len()).step_by(bytes.len() / 40) {
        assert!(Pool::load(&mut &bytes[..end], pool.limits).is_err(), "{end}");
    }
    let mut other = bytes.clone();
    other[8] ^= 1;
    assert!(matches!(Pool::load(&mut other.as_slice(), pool.limits), Err(Damaged::Format)));
}

#[test]
fn nothing_of_what_was_erased_is_written() {
    let pool_of = |erased: bool| {
        let mut pool = Kept::new(Limits::default());
        for seq in 0..200 {
            let author = format!("http://a{}.example/", seq % 7);
            pool.insert(entry(
                seq,
                &author,
                "http://b.example/",
                &format!("a harmless {seq} text number {seq}"),
            ));
        }
        if erased {
            let body = "an embarrassing rhubarb confession about quinces";
            pool.insert(entry(900, "http://eve.example/", "http://b.example/", body));
            pool.pool.unlearn(900, body.as_bytes());
            pool.remove(900);
            pool.erase_author(&address("http://eve.example/"));
        }
        pool.sweep_all();
        pool
    };
    let (with, without) = (pool_of(true), pool_of(false));
    // Words and pairs, by their hashes.
    let traces = |pool: &Pool| {
        let words = crate::distance::word_counts(b"embarrassing rhubarb confession quinces");
        let known = words.words.iter().filter(|(word, _)| pool.public.term(*word).is_some()).count();
        let cut = Cut::of(b"an embarrassing rhubarb confession about quinces");
        let mut sums = 0;
        for pair in cut.pairs {
            sums += usize::from(!matches!(pool.profiles.sums.of(pair), Found::None));
        }
        (known, sums)
    };
    assert_eq!(traces(&with), (0, 0));
    assert_eq!(traces(&without), (0, 0));
    let written = bytes_of(&with);
    assert!(!written.windows(3).any(|bytes| bytes == b"eve"), "nor who wrote it");
    let mut kept = pool_of(false);
    kept.insert(entry(900, "http://eve.example/", "http://b.example/", "a rhubarb confession"));
    assert!(bytes_of(&kept).windows(3).any(|bytes| bytes == b"eve"), "this test would see it");
}
