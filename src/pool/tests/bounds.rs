//! What goes when there is too much.

use super::*;

fn limits(max_messages: usize) -> Limits {
    Limits { max_messages, ..Limits::default() }
}

fn shares(pool: &Kept) -> HashMap<String, usize> {
    let mut count = HashMap::new();
    for e in pool.iter() {
        *count.entry(e.author.to_string()).or_default() += 1;
    }
    count
}

#[test]
fn among_equals_the_oldest_goes_first() {
    let mut pool = Kept::new(limits(100));
    let mut evicted = Vec::new();
    for seq in 1..=250 {
        let author = format!("http://a{}.example/", seq % 50);
        evicted.extend(pool.insert(entry(seq, &author, &author, &format!("text {seq}"))));
        assert!(pool.len() <= 100);
    }
    assert_eq!(evicted, (1..=150).collect::<Vec<i64>>());
    assert_eq!(pool.iter().map(|e| e.seq).collect::<Vec<_>>(), (151..=250).collect::<Vec<i64>>());
}

#[test]
fn the_loudest_goes_first() {
    let mut pool = Kept::new(limits(100));
    // A flood fills the pool while nobody else is there.
    for seq in 1..=100 {
        pool.insert(entry(seq, "http://loud.example/", "http://loud.example/", &format!("buy {seq}")));
    }
    assert_eq!(pool.len(), 90, "the last tenth is not his");
    // Others come, with two messages each; every one of theirs stays.
    for seq in 101..=200 {
        let author = format!("http://a{}.example/", (seq - 101) / 2);
        let evicted = pool.insert(entry(seq, &author, &author, &format!("text {seq}")));
        assert!(
            evicted.iter().all(|gone| *gone <= 100 || shares(&pool)["http://loud.example/"] <= 5),
            "{seq}: {evicted:?}"
        );
    }
    let shares = shares(&pool);
    assert!(shares.get("http://loud.example/").copied().unwrap_or(0) <= 5, "{shares:?}");
    assert_eq!(pool.len(), 100);
    // And he does not get in again beyond his share, whatever he sends.
    for seq in 201..=400 {
        pool.insert(entry(seq, "http://loud.example/", "http://loud.example/", &format!("buy {seq}")));
        assert!(self::shares(&pool)["http://loud.example/"] <= 6);
    }
}

#[test]
fn a_start_finds_what_the_last_run_held() {
    let mut pool = Kept::new(limits(100));
    for seq in 1..=98 {
        // A loud one between others: over its share when the pool is nearly full.
        let author = if seq % 2 == 0 { "loud".to_owned() } else { format!("a{seq}") };
        let author = format!("http://{author}.example/");
        pool.insert(entry(seq, &author, &author, &format!("text {seq}")));
    }
    let held: Vec<Entry> = pool.iter().collect();
    let mail = |e: &Entry| Mail { entry: e.clone(), body: pool.bodies[&e.seq].clone() };
    assert!(held.len() > 90 && shares(&pool)["http://loud.example/"] > 5);
    let mut again = Kept::new(limits(100));
    for entry in &held {
        assert_eq!(again.restore(mail(entry)), [0; 0], "{}", entry.seq);
    }
    assert_eq!(again.iter().collect::<Vec<_>>(), held);
    // Limits that have become narrower hold at once.
    let mut narrower = Kept::new(limits(50));
    let gone: Vec<i64> = held.iter().flat_map(|entry| narrower.restore(mail(entry))).collect();
    assert_eq!((narrower.len(), gone.len()), (50, held.len() - 50));
}

#[test]
fn a_neighbour_is_held_to_its_share_whoever_the_authors_are() {
    let mut pool = Kept::new(limits(100));
    for seq in 1..=60 {
        let author = format!("http://a{seq}.example/");
        pool.insert(entry(seq, &author, &author, &format!("text {seq}")));
    }
    // Invented authors do not help who sends it all.
    for seq in 1001..=2000 {
        let author = format!("http://invented{seq}.example/");
        pool.insert(entry(seq, &author, "http://loud.example/", &format!("buy {seq}")));
    }
    let honest = pool.iter().filter(|e| e.seq <= 60).count();
    assert_eq!(honest, 60);
    assert_eq!(pool.iter().filter(|e| e.seq > 1000).count(), 30, "what was free, less the last tenth");
}

#[test]
fn a_single_neighbour_may_fill_the_pool() {
    let mut pool = Kept::new(limits(100));
    for seq in 1..=500 {
        let author = format!("http://a{seq}.example/");
        pool.insert(entry(seq, &author, "http://only.example/", &format!("text {seq}")));
    }
    assert_eq!(pool.len(), 90);
    assert_eq!(pool.iter().next().map(|e| e.seq), Some(411));
}

#[test]
fn bytes_are_bounded_too() {
    let mut pool = Kept::new(Limits { max_bytes: 10_000, ..Limits::default() });
    let mut evicted = Vec::new();
    for seq in 1..=60 {
        let author = format!("http://a{seq}.example/");
        evicted.extend(pool.insert(entry(seq, &author, &author, &"x".repeat(400))));
        assert!(pool.bytes() <= 10_000);
    }
    let left = i64::try_from(pool.len()).unwrap();
    assert_eq!(evicted, (1..=60 - left).collect::<Vec<_>>());
    assert!(left >= 20);
    // A big one is kept at the price of the oldest, one that is bigger than all is not.
    let gone = pool.insert(entry(100, "http://big.example/", "http://big.example/", &"y".repeat(5000)));
    assert!(gone.len() > 5 && !gone.contains(&100));
    let before = pool.len();
    assert_eq!(
        pool.insert(entry(101, "http://big.example/", "http://big.example/", &"y".repeat(20_000))),
        [101]
    );
    assert_eq!(pool.len(), before);
    // Bytes count for the share: two big ones of one author, the older goes, not the newer.
    let gone = pool.insert(entry(102, "http://big.example/", "http://big.example/", &"z".repeat(5000)));
    assert_eq!(gone, [100]);
}

#[test]
fn the_dictionary_is_bounded_and_known_words_stay() {
    let most = 1 << 20;
    let mut pool = Kept::new(Limits { max_dictionary: most, ..Limits::default() });
    let fill = |pool: &mut Kept, from: i64| {
        for seq in from..from + 300 {
            let new: String = (0..1000).map(|n| format!("new{seq}x{n} ")).collect();
            let author = format!("http://a{}.example/", seq % 50);
            let known = if seq % 30 == 0 { "rhubarb quince" } else { "" };
            pool.insert(entry(seq, &author, &author, &format!("{new} {known}")));
        }
    };
    fill(&mut pool, 0);
    let once = pool.public.dictionary_bytes();
    fill(&mut pool, 1000);
    let (twice, fixed) =
        (pool.public.dictionary_bytes(), Kept::new(Limits::default()).public.dictionary_bytes());
    // Every table may have grown a little beyond what it needs.
    assert!(once <= fixed + usize::try_from(most).unwrap() * 2, "{once}");
    assert!(twice <= once * 11 / 10, "{once} {twice}");
    assert_eq!(pool.nearest(b"rhubarb quince", Audience::Public, 5).len(), 5);
    assert_eq!(
        pool.nearest(b"new1299x3 new1299x999 new1299x500 new1299x700", Audience::Public, 5)[0].seq,
        1299
    );
}

#[test]
fn the_same_number_again_replaces() {
    let mut pool = Kept::new(Limits::default());
    pool.insert(entry(1, "http://a.example/", "http://a.example/", "rhubarb pie"));
    assert!(pool.insert(entry(1, "http://a.example/", "http://a.example/", "walnut bread")).is_empty());
    assert_eq!(pool.len(), 1);
    assert!(pool.nearest(b"rhubarb pie", Audience::Public, 5).is_empty());
    assert_eq!(pool.nearest(b"walnut bread", Audience::Public, 5).len(), 1);
}

#[test]
fn an_empty_pool_and_key_exchanges_keep_nothing() {
    let mut pool = Kept::new(limits(0));
    assert_eq!(pool.insert(entry(1, "http://a.example/", "http://a.example/", "text")), [1]);
    let mut pool = Kept::new(Limits::default());
    let body = "DH key exchange request=b,17,f.";
    assert_eq!(pool.insert(entry(1, "http://a.example/", "http://a.example/", body)), [1]);
    assert!(pool.is_empty());
    assert_eq!(pool.credited(&address("http://a.example/")), (0, 0));
}

#[test]
fn removing_counts_back_to_nothing() {
    let mut pool = Kept::new(Limits::default());
    for seq in 1..=20 {
        pool.insert(entry(seq, "http://a.example/", "http://b.example/", &format!("word{seq} again")));
    }
    for seq in 1..=20 {
        assert_eq!(pool.remove(seq).map(|e| e.seq), Some(seq));
        assert_eq!(pool.remove(seq), None);
    }
    assert_eq!((pool.len(), pool.bytes()), (0, 0));
    assert!(pool.nearest(b"word7 again", Audience::Public, 5).is_empty());
}

#[test]
fn numbers_are_closed_up_while_one_old_message_stays() {
    let mut pool = Kept::new(limits(10));
    // One holder with a single old message, and a stream of two others who push out each other.
    pool.insert(entry(0, "http://old.example/", "http://old.example/", "the old oak stands"));
    for seq in 1..20_000 {
        let author = format!("http://a{}.example/", seq % 2);
        pool.insert(entry(seq, &author, &author, &format!("leaf {seq} falls")));
    }
    assert!(pool.get(0).is_some(), "it is nobody's surplus");
    assert!(pool.slots.next() < 10_000, "{}", pool.slots.next());
    assert_eq!(pool.nearest(b"an old oak", Audience::Public, 1)[0].seq, 0);
    let newest = pool.iter().next_back().unwrap().seq;
    let found = pool.nearest(format!("leaf {newest} falls").as_bytes(), Audience::Public, 1);
    assert_eq!(found[0].seq, newest);
    // And the books still balance.
    for seq in pool.iter().map(|e| e.seq).collect::<Vec<_>>() {
        pool.remove(seq);
    }
    assert_eq!((pool.len(), pool.bytes()), (0, 0));
}
