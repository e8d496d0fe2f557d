//! `search` as people use it: short and long texts, scripts, junk and nothing; and `explain`, which
//! marks what two texts share.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

mod cli_support;

use cli_support::House;
use serde_json::Value;

/// Mails that somebody may look for, by name.
const MAILS: [(&str, &str); 10] = [
    ("cellar", "Dear all,\n\nthe key of the cellar hangs behind the fuse box in the hallway.\n\nAnn"),
    ("lock", "The lock at Rotterdam opens at six in the morning, from May on at five."),
    ("raid", "mdadm refuses to assemble the array because the event counts of two disks differ."),
    ("jupiter-ja", "はい、木星は太陽系で一番大きい惑星です。質量は地球の約318倍です。"),
    ("jupiter-ru", "Юпитер — самая большая планета Солнечной системы, его масса в 318 раз больше земной."),
    ("bread-el", "Το ψωμί ψήνεται σαράντα λεπτά στους διακόσιους βαθμούς."),
    ("library-ar", "تغلق المكتبة أبوابها في الساعة السابعة مساء كل يوم خميس."),
    ("market-th", "ตลาดน้ำเปิดทุกวันเสาร์ตั้งแต่เช้า"),
    ("invoice-de", "Größere Rechnungen storniert man in der Buchhaltung unter Belege."),
    ("heron", "The heron nests behind the pump house of the canal; please keep dogs on a lead there."),
];

/// Prose about nothing that anybody asks for.
fn filler(words: usize) -> String {
    const STOCK: [&str; 24] = [
        "meeting",
        "minutes",
        "agenda",
        "treasurer",
        "report",
        "spring",
        "budget",
        "vote",
        "members",
        "summer",
        "party",
        "chairs",
        "tables",
        "coffee",
        "newsletter",
        "printer",
        "paper",
        "stamps",
        "letters",
        "list",
        "names",
        "doors",
        "windows",
        "paint",
    ];
    (0..words).map(|n| STOCK[n * n % 23 + usize::from(n % 7 == 0)]).collect::<Vec<_>>().join(" ")
}

fn post(house: &House, text: &str) -> String {
    let posted = house.run("post --json -", text.as_bytes()).code(0).json();
    posted["id"].as_str().unwrap().to_owned()
}

fn found(house: &House, query: &[u8]) -> Vec<Value> {
    house.run("search --json -", query).code(0).json()["matches"].as_array().unwrap().clone()
}

#[test]
fn what_people_look_for_comes_first_with_its_passage() {
    let house = House::new();
    let mut ids: Vec<(String, &str)> = MAILS.iter().map(|(name, text)| (post(&house, text), *name)).collect();
    // A mail of some thousand words with one sentence that somebody needs.
    let long =
        format!("{}. The piano tuner comes on the second of March at noon. {}.", filler(3000), filler(3000));
    ids.push((post(&house, &long), "long"));
    let name = |found: &Value| ids.iter().find(|(id, _)| found["id"] == id.as_str()).map(|(_, name)| *name);
    let asks_long =
        format!("{}. Does anybody know when the lock at Rotterdam opens? {}.", filler(200), filler(200));
    for (query, first, passage) in [
        ("cellar key", "cellar", "key of the cellar"),
        ("WHERE IS THE CELLAR KEY???", "cellar", "key of the cellar"),
        ("when does the piano tuner come", "long", "piano tuner comes on the second of March"),
        (&asks_long, "long", ""),
        ("opening time of the Rotterdam lock", "lock", "Rotterdam opens"),
        ("一番大きい惑星は木星ですか", "jupiter-ja", "木星は太陽系で一番大きい惑星"),
        ("какая планета САМАЯ БОЛЬШАЯ", "jupiter-ru", "самая большая планета"),
        ("ψωμί στους διακόσιους", "bread-el", "ψωμί"),
        ("متى تغلق المكتبة", "library-ar", "المكتبة"),
        ("ตลาดน้ำเปิดวันไหน", "market-th", "ตลาดน้ำ"),
        ("GRÖSSERE rechnungen stornieren buchhaltung", "invoice-de", "Rechnungen storniert"),
        ("dogs\u{0}\u{7}\u{1b}[31mheron\u{202e}", "heron", "heron nests"),
    ] {
        let found = found(&house, query.as_bytes());
        assert_eq!(found.first().and_then(name), Some(first), "{query}: {found:#?}");
        let excerpt = found[0]["excerpt"].as_str().unwrap();
        assert!(excerpt.contains(passage) && excerpt.chars().count() <= 240, "{query}: {excerpt}");
        let gains: Vec<f64> = found.iter().map(|it| it["gain_bits"].as_f64().unwrap()).collect();
        assert!(gains.iter().all(|gain| *gain > 0.0), "{query}: {gains:?}");
    }
    // The short mail is not lost behind the long one that has the question's filler.
    let names: Vec<_> = found(&house, asks_long.as_bytes()).iter().filter_map(name).collect();
    assert!(names.contains(&"lock"), "{names:?}");

    // Nothing, next to nothing, and junk: an answer, no more, and no crash.
    let mut state = 1_u32;
    let junk: String = (0..20_000)
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            if n % 77 == 76 { '\n' } else { char::from(letters[(state >> 26) as usize]) }
        })
        .collect();
    for query in ["?!…", "zzzz", &junk, &"a".repeat(100_000), "\u{fffd}\u{0}"] {
        let found = found(&house, query.as_bytes());
        assert!(found.is_empty(), "{:?}: {found:#?}", query.get(..20));
    }
    // Three words that everybody uses save less than a quarter of a single telling one.
    let common = found(&house, b"the of is");
    let rare = found(&house, b"heron")[0]["gain_bits"].as_f64().unwrap();
    assert!(common.iter().all(|it| it["gain_bits"].as_f64() < Some(rare / 4.0)), "{rare} {common:#?}");
    for nothing in ["", " \r\n\t"] {
        let said = house.run("search --json -", nothing.as_bytes()).code(64);
        assert!(said.err.contains("there is no text"), "{}", said.err);
    }
    let text = house.run("search ?!", b"").code(0);
    assert!(text.out.starts_with("The pool holds nothing that is like it.\n"), "{}", text.out);
    // Bytes that are no text are refused with a reason, or compared; never a crash.
    let bytes = house.run("search --json -", b"\xff\xfe\x80heron");
    assert!([0, 65].contains(&bytes.code), "{} {}", bytes.out, bytes.err);
}

#[test]
fn explain_marks_what_two_messages_share() {
    let house = House::new();
    let heron = post(&house, MAILS[9].1);
    post(&house, MAILS[1].1);
    let id = post(&house, "Does the heron by the pump house of the canal nest in April?");
    let explained = house.run(&format!("explain --json {id}"), b"").code(0).json();
    assert!(explained["code_bits"].as_f64() > Some(50.0), "{explained}");
    let best = &explained["matches"][0];
    assert_eq!(best["id"], heron.as_str(), "{explained}");
    let shared = &best["shared"];
    let words: Vec<&str> =
        shared["words"].as_array().unwrap().iter().map(|word| word["word"].as_str().unwrap()).collect();
    for word in ["heron", "pump", "canal"] {
        assert!(words.contains(&word), "{shared}");
    }
    let bits: Vec<f64> =
        shared["words"].as_array().unwrap().iter().map(|word| word["bits"].as_f64().unwrap()).collect();
    assert!(bits.is_sorted_by(|a, b| a >= b) && bits.iter().all(|bits| *bits > 0.0), "{bits:?}");
    let first = &shared["words"][0];
    let (from, to) = (&first["in_y"][0][0], &first["in_y"][0][1]);
    let range =
        usize::try_from(from.as_u64().unwrap()).unwrap()..usize::try_from(to.as_u64().unwrap()).unwrap();
    assert_eq!(MAILS[9].1[range].to_lowercase(), first["word"].as_str().unwrap().to_lowercase());
    assert!(shared["why"].as_str().unwrap().contains(words[0]), "{shared}");

    let text = house.run(&format!("explain {id}"), b"").code(0);
    for part in ["*heron*", "*pump*", "bits saved by word", "word coder"] {
        assert!(text.out.contains(part), "{part} in\n{}", text.out);
    }
    assert!(text.out.lines().all(|line| line.chars().count() <= 80), "{}", text.out);
    // What is gone is not shown any more.
    house.run(&format!("remove {heron}"), b"").code(0);
    let explained = house.run(&format!("explain --json {id}"), b"").code(0);
    assert!(!explained.out.contains("pump house of the canal; please"), "{}", explained.out);
}
