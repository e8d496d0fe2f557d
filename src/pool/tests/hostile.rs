//! Messages made to attract everybody, and messages made to be slow.

use super::*;

const EVE: &str = "http://eve.example/";

/// Messages of ten topics, with words of their own, and a footer that all have.
fn topics(dice: &mut Dice, n: i64) -> Kept {
    let mut pool = Kept::new(Limits::default());
    for seq in 0..n {
        let author = format!("http://a{}.example/", seq % 50);
        pool.insert(entry(seq, &author, &author, &on_topic(dice, seq % 10)));
    }
    pool
}

fn on_topic(dice: &mut Dice, topic: i64) -> String {
    let mut text = dice.prose(60);
    for _ in 0..12 {
        text.push_str(&format!(" topic{topic}word{}", dice.roll(45) * dice.roll(45)));
    }
    text + "\nThis list is archived. To unsubscribe, visit the page of the list and follow its footer.\n"
}

/// Of so many questions, how many have this as their nearest message.
fn taken(pool: &Kept, dice: &mut Dice, first: i64) -> usize {
    let ask = |dice: &mut Dice, n: i64| pool.nearest(on_topic(dice, n % 10).as_bytes(), Audience::Public, 1);
    (0..100).filter(|n| ask(dice, *n).first().is_some_and(|s| s.seq >= first)).count()
}

#[test]
fn what_is_made_to_attract_is_not_the_nearest_of_everybody() {
    let mut dice = Dice(17);
    // A vocabulary as wide as that of a language: with a few hundred words a dictionary IS cut.
    let mut all_words: Vec<String> =
        (0..2000).flat_map(|w| (0..10).map(move |t| format!("topic{t}word{}", w * 1201 % 2003))).collect();
    all_words.extend(dice.prose(4000).split_whitespace().map(str::to_owned));
    let lines = "This list is archived. To unsubscribe, visit the page of the list.\n".repeat(40);
    let copy = on_topic(&mut dice, 3);
    let table = [
        ("a dictionary of all words", all_words.join(" "), 10),
        ("the most common lines", lines, 0),
        ("a copy of present wording", copy, 10),
    ];
    for (name, body, most) in table {
        let mut pool = topics(&mut dice, 600);
        for seq in 10_000..10_010 {
            pool.insert(entry(seq, EVE, EVE, &body));
        }
        let taken = taken(&pool, &mut dice, 10_000);
        assert!(taken <= most, "{name}: {taken} of 100 answers");
    }
}

#[test]
fn a_footer_is_no_match() {
    let mut dice = Dice(23);
    let pool = topics(&mut dice, 600);
    let found = pool.nearest(
        b"To unsubscribe, visit the page of the list and follow its footer.",
        Audience::Public,
        10,
    );
    assert!(found.iter().all(|s| !s.is_match), "{found:#?}");
}

/// The postings that a message adds, and those that looking it up reads, are what time goes to.
#[test]
fn no_message_is_slow_for_its_length() {
    let mut dice = Dice(29);
    let footer = "This list is archived. To unsubscribe, visit the page of the list.\n";
    let million: String = (0..1_000_000).map(|n| format!("w{n} ")).collect();
    let table = [
        ("one word", "planet ".repeat(30_000)),
        ("distinct words", million),
        ("footers", footer.repeat(3000)),
    ];
    let work = |body: &str| -> usize {
        Cut::of(body.as_bytes()).sections(body.as_bytes()).0.iter().map(|s| s.counts.words.len()).sum()
    };
    let ordinary = dice.text(40_000);
    for (name, body) in table {
        let of = |body: &str| work(body) as f64 / body.len().min(COUNTED_BYTES) as f64;
        assert!(of(&body) <= 10.0 * of(&ordinary), "{name}: {} against {}", of(&body), of(&ordinary));
    }
}

/// What one look-up reads does not grow with the pool, nor with what X is made of.
#[test]
fn no_message_reads_more_postings_than_the_budgets() {
    let mut dice = Dice(31);
    let mut pool = Kept::new(Limits::default());
    // Words of all degrees of rarity, so that many lists are as long as can be.
    let texts: Vec<String> = (0..3000).map(|_| dice.text(120)).collect();
    for (seq, text) in (0..).zip(&texts) {
        let author = format!("http://a{}.example/", seq % 50);
        pool.insert(entry(seq, &author, &author, text));
    }
    let peers: Vec<Address> = (0..50).map(|n| address(&format!("http://a{n}.example/"))).collect();
    let glued: String = texts.iter().map(|text| text.get(..80).unwrap_or(text)).collect();
    let table = [
        ("one word", "thr ".repeat(30_000)),
        ("everybody's footers", glued),
        ("everything", texts.concat()),
        ("distinct words", (0..100_000).map(|n| format!("w{n} ")).collect()),
        ("frequent words", dice.prose(30_000)),
        ("an ordinary one", dice.text(120)),
    ];
    for (name, text) in table {
        let read = || super::super::postings::READ.with(|read| read.replace(0));
        read();
        drop(pool.nearest(text.as_bytes(), Audience::Public, 32));
        let near = read();
        drop(pool.peer_costs(text.as_bytes(), &peers));
        let costs = read();
        // A budget may be exceeded by the last list that is read; a few postings of every frequent
        // word tell how many use it.
        let few = 4096 * 8;
        assert!(near <= 10_000 + 200_000 + 3000 + few, "{name}: {near}");
        assert!(costs <= 10_000 + 3000 + few, "{name}: {costs}");
        assert!(name != "everything" || near > 10_000, "{near}: this is no test");
    }
}
