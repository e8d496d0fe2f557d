//! What the figures find in an archive that was made for it, and what the page does with texts
//! that are made against it.

#![allow(clippy::cast_possible_truncation, reason = "numbers that are small")]

use super::*;

const DAY: i64 = 86_400_000_000;

fn mail(at: usize, subject: &str, text: &str) -> Mail {
    let mut id = [0; 8];
    id.copy_from_slice(&(at as u64).to_be_bytes());
    Mail {
        id: MessageId::try_from(&id[..]).unwrap(),
        author: format!("Author {}", at % 5),
        folder: "inbox".to_owned(),
        subject: subject.to_owned(),
        time: Some(UnixTime(1_600_000_000_000_000 + at as i64 * DAY)),
        thread: Some(at as i64),
        text: format!("{subject}\n\n{text}").into_bytes(),
        bytes: 1000 + at as u64,
    }
}

const TOPICS: [&str; 4] = [
    "planet orbit jupiter telescope moon comet eclipse saturn",
    "flour yeast oven dough bread butter kneading crust",
    "socket packet router kernel driver ethernet checksum latency",
    "violin sonata chord tempo orchestra melody cello harmony",
];

/// Mails about four things, each in words of its own.
fn archive(mails: usize) -> Vec<Mail> {
    let mut luck = 12345_u64;
    let mut next = move |n: usize| {
        luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (luck >> 33) as usize % n
    };
    (0..mails)
        .map(|at| {
            let words: Vec<&str> = TOPICS[at % 4].split(' ').collect();
            let text: Vec<String> =
                (0..12).map(|_| format!("{} w{}", words[next(words.len())], next(500))).collect();
            mail(at, &format!("about {}", words[0]), &text.join(" "))
        })
        .collect()
}

fn look(mails: Vec<Mail>) -> Figures {
    figures(mails, 2, &mut |_| {})
}

#[test]
fn what_is_about_the_same_lies_together() {
    let figures = look(archive(200));
    // Nearest on the map: of the same topic, where chance would give a quarter.
    let same =
        |a: usize, b: usize| figures.mails[a].id.as_bytes()[7] % 4 == figures.mails[b].id.as_bytes()[7] % 4;
    let mut right = 0;
    for (a, [x, y]) in figures.map.iter().enumerate() {
        let far = |b: &usize| (figures.map[*b][0] - x).powi(2) + (figures.map[*b][1] - y).powi(2);
        let nearest = (0..200).filter(|b| *b != a).min_by(|b, c| far(b).total_cmp(&far(c))).unwrap();
        right += usize::from(same(a, nearest));
        assert!((0.0..=1.0).contains(x) && (0.0..=1.0).contains(y));
    }
    assert!(right > 180, "{right} of 200");
    let pure = figures.clusters.iter().filter(|it| {
        it.words
            .iter()
            .all(|w| TOPICS.iter().any(|t| t.contains(w.as_str())) || w.starts_with('w') || w == "about")
    });
    assert!(pure.count() >= 4, "{:?}", figures.clusters);
    assert_eq!(figures.cluster.len(), 200);
    let again = look(archive(200));
    assert_eq!(again.map, figures.map, "the same every time");
    let one = super::figures(archive(200), 1, &mut |_| {});
    assert_eq!(one.map, figures.map, "with any number of threads");
}

#[test]
fn near_duplicates_junk_and_open_questions() {
    let mut mails = archive(60);
    let long = "The committee met on Tuesday to talk about the garden fence, the broken gate and the hedge that \
        nobody wants to cut this year, and decided that Walter will buy paint, nails and a new lock. ";
    mails.push(mail(60, "minutes", &format!("{long}Thursday.")));
    mails.push(mail(61, "minutes again", &format!("{long}Friday.")));
    let noise: String =
        (0..400_u64).map(|n| char::from(b'!' + (n.wrapping_mul(n * n + 7919) >> 3) as u8 % 90)).collect();
    mails.push(mail(62, "x", &"buy now ".repeat(300)));
    mails.push(mail(63, "y", &noise));
    let asked = "Which varnish keeps a mahogany rudder from cracking in salt water?";
    mails.push(mail(64, "Rudder", asked));
    mails.push(Mail {
        author: "Somebody".to_owned(),
        ..mail(65, "Boats", "A mahogany rudder wants epoxy varnish, else salt water goes on cracking it.")
    });
    let figures = look(mails);
    let id = |at: u32| u64::from_be_bytes(*figures.mails[at as usize].id.as_bytes());
    let pair: Vec<u64> = figures.doubles[0].mails.iter().map(|at| id(*at)).collect();
    assert_eq!((pair, figures.doubles[0].saves), (vec![60, 61], 1060), "{:?}", figures.doubles);
    let junk: Vec<u64> = figures.junk.iter().map(|it| id(it.mail)).collect();
    assert_eq!(junk, [63, 62], "{:?}", figures.junk);
    let open: Vec<(u64, u64)> = figures.open.iter().map(|it| (id(it.question), id(it.answer))).collect();
    assert_eq!(open, [(64, 65)]);
    assert_eq!(figures.people.len(), 5);
    assert!(figures.people.iter().all(|it| it.like.iter().all(|(other, _)| *other != it.author)));
}

/// Of words that everybody uses an exact copy saves little, and is one all the same.
#[test]
fn near_duplicates_in_ordinary_words() {
    let words: Vec<String> =
        (0..300).map(|n| format!("{}{}", ["ba", "ke", "lo", "mi", "su"][n % 5], n)).collect();
    let mut luck = 99_u64;
    let mut text = || -> String {
        let drawn = (0..250).map(|_| {
            luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Some far more often than others.
            let at = (luck >> 33) as usize % 300;
            words[at * at / 300].as_str()
        });
        drawn.collect::<Vec<_>>().join(" ")
    };
    let mut mails: Vec<Mail> = (0..120).map(|at| mail(at, "news", &text())).collect();
    let first = String::from_utf8(mails[7].text.clone()).unwrap();
    mails.push(mail(120, "news", &first.replace("news\n\n", "Dear Walter, ")));
    mails.push(mail(121, "offer", &first));
    let figures = look(mails);
    let share = figures.graph[121][0].share;
    assert!(share < 0.3, "the case that is meant: {share}");
    let found: Vec<&[u32]> = figures.doubles.iter().map(|it| it.mails.as_slice()).collect();
    assert_eq!(found, [&[7, 120, 121]]);
}

#[test]
fn a_large_archive_is_sampled_evenly() {
    let sampled = sample(archive(1000), 100);
    assert_eq!(sampled.len(), 100);
    let days: Vec<i64> = sampled.iter().map(|mail| mail.time.unwrap().0 / DAY).collect();
    assert!(days.windows(2).all(|two| two[1] - two[0] == 10), "{days:?}");
    assert!(look(Vec::new()).map.is_empty(), "nothing is no fault");
}

#[test]
fn a_text_stays_a_text() {
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u{202e}\"'&";
    let mut mails = archive(8);
    for mail in &mut mails {
        mail.subject = evil.to_owned();
        mail.author = evil.to_owned();
        mail.folder = evil.to_owned();
        mail.text = format!("{evil}\n\n{evil} words").into_bytes();
    }
    let totals = Totals {
        paths: vec![evil.to_owned()],
        folders: vec![(evil.to_owned(), 1)],
        months: vec![("2026-01".to_owned(), 8), ("-".to_owned(), 1)],
        mails: 8,
        ..Totals::default()
    };
    let page = page(&totals, &look(mails)).unwrap();
    assert_eq!(page.matches("<script").count(), 2, "the data and our own");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<img") && !page.contains('\u{202e}'));
    assert!(page.contains("&lt;&#x2f;script&gt;"), "it is shown as what it is");
    assert!(
        !page.contains("http://")
            || page.matches("http://").count() == page.matches("http://www.w3.org/2000/svg").count()
    );
    assert!(!page.contains("https://"));
    let policy =
        page.split("Content-Security-Policy\" content=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(
        policy.starts_with("default-src &#x27;none&#x27;") || policy.starts_with("default-src 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[test]
fn the_page_is_small_whatever_the_mails_hold() {
    let wide = "\u{1f4a9}<&\"\u{4e2d}".repeat(200);
    let mails: Vec<Mail> = (0..MOST)
        .map(|at| Mail { author: wide.clone(), folder: wide.clone(), ..mail(at, &wide, &wide) })
        .collect();
    let near = |at: usize| -> Vec<Near> {
        (1..=12)
            .map(|by| Near { mail: ((at + by) % MOST) as u32, bits: 9.0, share: 0.5, is_match: true })
            .collect()
    };
    let cluster = Cluster { number: 0, mails: MOST, typical: 0, words: vec![wide.clone(); 8] };
    let likeness = Likeness { author: wide.clone(), mails: 9, like: vec![(wide.clone(), 0.5); 3] };
    let figures = Figures {
        graph: (0..MOST).map(near).collect(),
        map: vec![[0.5, 0.5]; MOST],
        clusters: vec![cluster; 60],
        cluster: vec![12_345; MOST],
        doubles: (0..5000).map(|at| Double { mails: vec![at, at + 1, at + 2], saves: 9 }).collect(),
        junk: (0..5000).map(|mail| Junk { mail, density: 0.9, score: 9.0 }).collect(),
        people: vec![likeness; 40],
        open: vec![Open { question: 1, answer: 2, bits: 9.0, share: 0.5 }; 40],
        mails,
    };
    let totals = Totals {
        paths: vec![wide.clone(); 100],
        folders: vec![(wide.clone(), 9); 5000],
        months: (0..5000).map(|at| (format!("{:04}-{:02}", at / 12, at % 12 + 1), 7)).collect(),
        ..Totals::default()
    };
    let page = page(&totals, &figures).unwrap();
    assert!(page.len() < PAGE, "{} bytes", page.len());
}
