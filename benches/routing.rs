//! What a routing decision costs, on real mail: `cargo bench --bench routing`.
//!
//! `CMR_MAIL_BENCH_MBOX` names the mails: files or folders with a colon between. Optional:
//! `CMR_MAIL_BENCH_SIZES` (pools, default 10000,100000,1000000), `CMR_MAIL_BENCH_PLOTS` (a folder
//! for two plots), `CMR_MAIL_BENCH_REFERENCE` (the program `cmr-compressor` of the reference
//! implementation, version 0.2.0) and `CMR_MAIL_BENCH_PARTS` (of what follows only these:
//! pools,peers,hostile,sustained,reference).
//!
//! Times are CPU time of one thread, except where two threads are meant to work. The mails are
//! taken in the order of their dates; the newest 2,000 are the questions and in no pool. Where the
//! mails do not suffice, recombined ones come first (`cmr_mail::evaluate::synthetic`), and the
//! table says how many.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on has nothing better to do"
)]

#[path = "routing/reference.rs"]
mod reference;
#[path = "routing/sustained.rs"]
mod sustained;

use cmr_mail::distance::{Metric, words};
use cmr_mail::evaluate::plot::Plot;
use cmr_mail::evaluate::synthetic::Recombined;
use cmr_mail::evaluate::{Doc, Settings, Times, View, address, cpu, deflate_scan, entry, growth, read_mails};
use cmr_mail::message::{Address, Hop, Message, MessageId, Timestamp, UnixTime};
use cmr_mail::policy::Scope;
use cmr_mail::pool::{Entry, Limits, Pool, Texts};
use cmr_mail::router::{Contact, Decision, RoutingPolicy, Subject, Surroundings, decide};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const QUESTIONS: usize = 2_000;
/// Peers that a decision considers, as many as `[routing] contacts` has by default.
const CONTACTS: usize = 48;
const SETTINGS: Settings = Settings { metric: Metric::Gain, age: 1.0 };

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("routing: measures only under `cargo bench`");
        return;
    }
    let Some(paths) = std::env::var_os("CMR_MAIL_BENCH_MBOX") else {
        println!(
            "routing: nothing is measured, because CMR_MAIL_BENCH_MBOX is not set. It names mails, files or \
             folders with a colon between, such as mailing-list archives of 10,000 mails and more."
        );
        return;
    };
    let paths: Vec<PathBuf> = std::env::split_paths(&paths).collect();
    let mut docs = read_mails(&paths, View::Mail, &mut Vec::new(), &mut || {}).unwrap();
    docs.sort_by_key(|doc| doc.date);
    assert!(docs.len() > 2 * QUESTIONS, "{} mails in {paths:?}: too few", docs.len());
    let questions: Vec<Doc> = docs.split_off(docs.len() - QUESTIONS);
    let bytes: usize = docs.iter().map(|doc| doc.text.len()).sum();
    println!(
        "{} real mails for pools, {QUESTIONS} later ones as questions; view mail, mean {} bytes; {} processors",
        docs.len(),
        bytes / docs.len(),
        std::thread::available_parallelism().unwrap()
    );
    println!(
        "C(X) by deflate 6, once: {:.1} µs a question\n",
        deflate_scan(&[b""], &questions.iter().map(|doc| doc.text.as_ref()).collect::<Vec<_>>()).0
    );
    let parts = std::env::var("CMR_MAIL_BENCH_PARTS").ok();
    let wanted = |part: &str| parts.as_ref().is_none_or(|parts| parts.split(',').any(|it| it.trim() == part));
    if wanted("pools") {
        pools(&docs, &questions);
    }
    if wanted("peers") {
        peers(&docs, &questions);
    }
    if wanted("hostile") {
        hostile(&docs);
    }
    if wanted("sustained") {
        sustained::run(&docs);
    }
    if wanted("reference") {
        reference::run(&docs, &questions);
    }
    if let Some(folder) = std::env::var_os("CMR_MAIL_BENCH_PLOTS") {
        plots(&PathBuf::from(folder), &docs, &questions);
    }
}

fn sizes() -> Vec<usize> {
    let text = std::env::var("CMR_MAIL_BENCH_SIZES").unwrap_or_else(|_| "10000,100000,1000000".to_owned());
    text.split(',').map(|size| size.trim().parse().expect("CMR_MAIL_BENCH_SIZES: numbers")).collect()
}

/// The newest `size` mails, with recombined ones before them if there are not enough, and how many
/// of them are real.
fn pool_of(docs: &[Doc], size: usize) -> (Vec<Doc>, usize) {
    let real = size.min(docs.len());
    let mut all: Vec<Doc> = Recombined::new(docs, 1).take(size - real).collect();
    all.extend_from_slice(&docs[docs.len() - real..]);
    (all, real)
}

pub(crate) fn limits() -> Limits {
    Limits { max_messages: usize::MAX, max_bytes: u64::MAX, share_percent: 100, ..Limits::default() }
}

/// Who sent a mail: one of the contacts, by its author, so that each has a profile.
pub(crate) fn sender(doc: &Doc) -> Address {
    let hash = words(doc.author.as_bytes()).first().map_or(0, |word| word.hash);
    contact(usize::try_from(hash % CONTACTS as u64).unwrap())
}

fn contact(n: usize) -> Address {
    address(&format!("peer {n}")).unwrap()
}

pub(crate) fn insert(pool: &mut Pool, seq: usize, doc: &Doc) {
    let author = address(&doc.author).unwrap();
    pool.insert(&entry(i64::try_from(seq).unwrap(), &sender(doc), &author), &doc.text);
}

/// Everybody may be sent to, nobody has anything yet; bodies are lent by number.
struct Open<'a>(Lender<'a>);

pub(crate) type Lender<'a> = &'a dyn Fn(usize) -> Option<&'a Doc>;

impl Texts for Open<'_> {
    fn body(&self, seq: i64) -> Option<Vec<u8>> {
        (self.0)(usize::try_from(seq).ok()?).map(|doc| doc.text.to_vec())
    }
}

impl Surroundings for Open<'_> {
    fn is_own(&self, _: &Address) -> bool {
        false
    }

    fn has(&self, _: &Address, _: MessageId) -> bool {
        false
    }

    fn is_acquainted(&self, _: &Address) -> bool {
        true
    }

    fn may_send(&self, _: &Address) -> Result<(), String> {
        Ok(())
    }
}

pub(crate) fn contacts() -> Vec<Contact> {
    (0..CONTACTS)
        .map(|n| Contact { address: contact(n), pinned: false, may_send: true, reason: None, has: false })
        .collect()
}

/// A whole decision about a mail that came from somebody else.
pub(crate) fn decision(
    pool: &Pool,
    doc: &Doc,
    contacts: &[Contact],
    policy: &RoutingPolicy,
    lender: Lender<'_>,
) -> Decision {
    let time = Timestamp::parse(b"2026/01/01 00:00:00").unwrap();
    let from = Address::try_from("mailto:cmr@far.example.org").unwrap();
    let message = Message::new(Hop::new(time, from), doc.text.to_vec());
    let subject = Subject { message: &message, id: message.id(), scope: Scope::Public, is_post: false };
    decide(&subject, pool, contacts, &Open(lender), policy, UnixTime(1_767_225_600_000_000), 1)
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn pools(docs: &[Doc], questions: &[Doc]) {
    println!(
        "| pool | real | decision mean | p50 | p99 | max | deflate scan, one by one | ratio | start-up from texts / from the index on disk | insert | memory beside the text |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (contacts, policy) = (contacts(), RoutingPolicy::default());
    for size in sizes() {
        let (all, real) = pool_of(docs, size);
        let bytes: usize = all.iter().map(|doc| doc.text.len()).sum();
        // Who wrote a mail, and who sent it, is made up here, and no part of an insert.
        let made_up: Vec<Entry> = all
            .iter()
            .zip(0..)
            .map(|(doc, seq)| entry(seq, &sender(doc), &address(&doc.author).unwrap()))
            .collect();
        let before = resident();
        let (begin, wall) = (cpu(), Instant::now());
        let mut pool = Pool::new(limits());
        for (entry, doc) in made_up.iter().zip(&all) {
            pool.restore(entry, &doc.text);
        }
        let (spent, started) = (cpu() - begin, wall.elapsed());
        // The pool holds no text, so what was added is the index, entries included.
        let memory = resident().saturating_sub(before) as f64 / size as f64;
        let (size_on_disk, from_disk);
        (pool, size_on_disk, from_disk) = written_and_read(pool, &folder.path().join("index"));
        let mut times = Times::default();
        // A decision of more than a few milliseconds is asked less often.
        let begun = Instant::now();
        for doc in questions {
            let begin = cpu();
            std::hint::black_box(decision(&pool, doc, &contacts, &policy, &|seq| all.get(seq)));
            times.push(cpu() - begin);
            if begun.elapsed() > Duration::from_secs(60) {
                break;
            }
        }
        let texts: Vec<&[u8]> = all.iter().map(|doc| doc.text.as_ref()).collect();
        let asked: Vec<&[u8]> = questions.iter().map(|doc| doc.text.as_ref()).collect();
        let (scan, pairs) = deflate_scan(&texts, &asked);
        println!(
            "| {size} | {real} | {:.0} µs | {:.0} µs | {:.0} µs | {:.0} µs | {:.0} ms (from {pairs} pairs) | {:.0} | {:.1} s / {:.1} s, {} MB | {:.1} µs/KB | {:.0} bytes |",
            times.mean(),
            times.quantile(0.5),
            times.quantile(0.99),
            times.quantile(1.0),
            scan / 1000.0,
            scan / times.mean(),
            started.as_secs_f64(),
            from_disk.as_secs_f64(),
            size_on_disk >> 20,
            spent.as_secs_f64() * 1e6 / (bytes as f64 / 1024.0),
            memory
        );
    }
    println!();
}

/// The pool as it comes back from disk, what it takes there, and how long reading and comparing its
/// checksum takes.
fn written_and_read(pool: Pool, path: &std::path::Path) -> (Pool, u64, Duration) {
    let mut to = std::io::BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    pool.save(&mut to).unwrap();
    to.into_inner().unwrap().sync_all().unwrap();
    drop(pool);
    let size = std::fs::metadata(path).unwrap().len();
    let begin = Instant::now();
    let mut hash = Sha256::new();
    std::io::copy(&mut File::open(path).unwrap(), &mut Hashing(&mut hash)).unwrap();
    std::hint::black_box(hash.finalize());
    let mut from = std::io::BufReader::with_capacity(1 << 20, File::open(path).unwrap());
    let pool = Pool::load(&mut from, limits()).unwrap();
    (pool, size, begin.elapsed())
}

struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// All peers scored, without anything else.
fn peers(docs: &[Doc], questions: &[Doc]) {
    let texts: Vec<Arc<[u8]>> = questions.iter().take(500).map(|doc| doc.text.clone()).collect();
    let asked: Vec<&[u8]> = texts.iter().map(AsRef::as_ref).collect();
    let (deflate, _) = deflate_scan(&[b""], &asked);
    println!(
        "| peers (authors; beyond their number, runs of an author's mails) | mean | p99 | relative to deflate 6 of X |"
    );
    println!("|---|---|---|---|");
    for point in growth::by_peers(docs, &[20, 1_000, 10_000], &texts, SETTINGS, &mut |_| {}) {
        println!(
            "| {} | {:.1} µs | {:.1} µs | {:.2} |",
            point.size,
            point.mean,
            point.p99,
            point.mean / deflate
        );
    }
    println!();
}

/// Messages made to be slow, each beside ordinary wording of the same length.
fn hostile(docs: &[Doc]) {
    let (all, _) = pool_of(docs, docs.len().min(100_000));
    let mut pool = Pool::new(limits());
    for (seq, doc) in all.iter().enumerate() {
        insert(&mut pool, seq, doc);
    }
    let policy = RoutingPolicy::default();
    let bytes = |texts: &mut dyn Iterator<Item = Vec<u8>>, length: usize| {
        let mut out = Vec::new();
        while out.len() < length {
            out.extend(texts.next().expect("endless"));
        }
        out.truncate(length);
        out
    };
    let footer = |doc: &Doc| {
        let lines: Vec<&[u8]> = doc.text.split_inclusive(|byte| *byte == b'\n').collect();
        lines[lines.len().saturating_sub(4)..].concat()
    };
    println!(
        "| hostile message, pool of {} | length | decision and insert | ordinary wording | times |",
        all.len()
    );
    println!("|---|---|---|---|---|");
    for length in [10_000, 100_000, 1_000_000] {
        let common: Vec<u8> = b"the and for that with this not you are from have was but ".to_vec();
        let kinds: [(&str, Vec<u8>); 5] = [
            ("one word, repeated", bytes(&mut std::iter::repeat(b"linux ".to_vec()), length)),
            ("distinct words", bytes(&mut (0_u32..).map(|n| format!("w{n:x} ").into_bytes()), length)),
            ("frequent words", bytes(&mut std::iter::repeat(common), length)),
            ("every mail's footer", bytes(&mut all.iter().cycle().map(footer), length)),
            ("no word at all", vec![0xff; length]),
        ];
        let ordinary = bytes(&mut all.iter().cycle().map(|doc| doc.text.to_vec()), length);
        let usual = cost(&mut pool, ordinary, &all, &policy);
        for (name, text) in kinds {
            let time = cost(&mut pool, text, &all, &policy);
            println!(
                "| {name} | {length} | {:.2} ms | {:.2} ms | {:.1} |",
                time * 1e3,
                usual * 1e3,
                time / usual
            );
        }
    }
    println!();
}

/// CPU seconds to decide about a text and to insert it; the least of three.
fn cost(pool: &mut Pool, text: Vec<u8>, all: &[Doc], policy: &RoutingPolicy) -> f64 {
    let contacts = contacts();
    let doc = Doc { text: Arc::from(text), author: "hostile@example.org".to_owned(), ..Doc::default() };
    let mut least = f64::MAX;
    for _ in 0..3 {
        let begin = cpu();
        std::hint::black_box(decision(pool, &doc, &contacts, policy, &|seq| all.get(seq)));
        insert(pool, 1 << 40, &doc);
        least = least.min((cpu() - begin).as_secs_f64());
        pool.remove(1 << 40);
    }
    least
}

fn plots(folder: &std::path::Path, docs: &[Doc], questions: &[Doc]) {
    std::fs::create_dir_all(folder).unwrap();
    let texts: Vec<Arc<[u8]>> = questions.iter().take(200).map(|doc| doc.text.clone()).collect();
    let most = sizes().into_iter().max().unwrap();
    let (all, _) = pool_of(docs, most);
    let points = growth::by_messages(&all, &growth::sizes(1_000, most), &texts, SETTINGS, &mut |_| {});
    std::fs::write(folder.join("routing-messages.svg"), Plot::of_growth("messages", &points).svg()).unwrap();
    let points = growth::by_peers(docs, &growth::sizes(10, 10_000), &texts, SETTINGS, &mut |_| {});
    std::fs::write(folder.join("routing-peers.svg"), Plot::of_growth("peers", &points).svg()).unwrap();
    println!("plots: {}", folder.display());
}
