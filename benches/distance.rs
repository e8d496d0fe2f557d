//! What each coder costs, in microseconds per KB, beside deflate 6 of the same texts in the same
//! run: `cargo bench --bench distance [-- FOLDER]`. The texts are the files of the folder, without
//! one the text files of this repository, cut into messages of about 2 KB; the last table has
//! texts made to be slow, of the same length.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on has nothing better to do"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cmr_mail::distance::{
    ByteCoder, Coder, Deflate, LAMBDA, LzText, Vocabulary, WordCoder, WordCounts, Zstd, each_token,
    shared_wording, word_counts, word_gain_bits,
};

/// Bytes of a message; longer files are cut.
const MESSAGE: usize = 2048;
/// So many messages at most.
const MESSAGES: usize = 4000;
/// Each measurement takes about so long, three times; the fastest counts.
const LONG: Duration = Duration::from_millis(150);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|a| a == "--bench") {
        println!("distance: measures only under `cargo bench`");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    match args.iter().find(|a| !a.starts_with("--")) {
        Some(folder) => files(Path::new(folder), &mut paths),
        None => {
            for part in ["README.md", "docs", "src", "maildir-fixtures"] {
                files(&root.join(part), &mut paths);
            }
        }
    }
    paths.sort();
    let step = (paths.len() / MESSAGES).max(1);
    let texts: Vec<Vec<u8>> = paths
        .iter()
        .step_by(step)
        .flat_map(|p| std::fs::read(p).unwrap().chunks(MESSAGE).map(<[u8]>::to_vec).collect::<Vec<_>>())
        .filter(|t| t.len() > MESSAGE / 4)
        .take(MESSAGES)
        .collect();
    let bytes: usize = texts.iter().map(Vec::len).sum();
    println!("{} messages, {:.2} KB each\n", texts.len(), bytes as f64 / 1024.0 / texts.len() as f64);

    let model = Vocabulary::of(texts.iter().map(Vec::as_slice));
    let words = WordCoder::new(&model);
    let (deflate, byte, zstd3) = (Deflate::primed(6), ByteCoder::default(), Zstd::new(3));
    let counts: Vec<WordCounts> = texts.iter().map(|t| word_counts(t)).collect();
    let parsed: Vec<LzText> = texts.iter().map(|t| LzText::new(t)).collect();
    let other = |i: usize| (i * 7 + 1) % texts.len();

    println!(
        "{:<44} {:>8} {:>10} {:>10} {:>9}",
        "of one text", "µs/KB", "µs/message", "deflate=1", "bits/byte"
    );
    let measure = |run: &dyn Fn(usize) -> f64| timed(&texts, run);
    let yardstick = measure(&|i| deflate.bits(&texts[i]));
    let row = |name: &str, (micros, bits): (f64, f64), shows_bits: bool| {
        let kb = bytes as f64 / 1024.0 / texts.len() as f64;
        let shown = if shows_bits { format!("{:.3}", bits / bytes as f64) } else { String::new() };
        println!("{name:<44} {:>8.2} {micros:>10.2} {:>10.3} {shown:>9}", micros / kb, micros / yardstick.0);
    };
    row("deflate 6, primed", yardstick, true);
    row("deflate 6, plain", measure(&|i| Deflate::plain(6).bits(&texts[i])), true);
    row("tokens and their hashes", measure(&|i| tokens(&texts[i])), false);
    row("word counts", measure(&|i| word_counts(&texts[i]).total as f64), false);
    row("C(X), word coder", measure(&|i| words.bits(&texts[i])), true);
    row("C(X), byte model behind the LZ parse", measure(&|i| LzText::new(&texts[i]).bits()), true);
    row("C(X), byte context model", measure(&|i| byte.bits(&texts[i])), true);
    row("C(X), zstd 3", measure(&|i| zstd3.bits(&texts[i])), true);
    println!(
        "\n{:<44} {:>8} {:>10} {:>10} {:>9}",
        "of a pair", "µs/KB", "µs/message", "deflate=1", "bits/byte"
    );
    row(
        "gain, counts ready",
        measure(&|i| word_gain_bits(&counts[i], &counts[other(i)], &model, LAMBDA)),
        false,
    );
    row("LZ parse, X ready", measure(&|i| parsed[i].bits_given(&texts[other(i)])), true);
    row("C(X|Y), word coder", measure(&|i| words.bits_given(&texts[i], &texts[other(i)])), true);
    row("C(X|Y), byte context model", measure(&|i| byte.bits_given(&texts[i], &texts[other(i)])), true);
    row("C(X|Y), deflate 6", measure(&|i| deflate.bits_given(&texts[i], &texts[other(i)])), true);
    row("C(X|Y), zstd 3", measure(&|i| zstd3.bits_given(&texts[i], &texts[other(i)])), true);
    row(
        "shared wording",
        measure(&|i| shared_wording(&texts[i], &texts[other(i)], &model, LAMBDA).len() as f64),
        false,
    );

    println!("\nmade to be slow, 256 KB each: times what as much ordinary text costs");
    println!("{:<44} {:>8} {:>10} {:>10} {:>9}", "", "counts", "C(X)", "LZ, X", "LZ, pair");
    let ordinary = sized(texts.concat());
    let base = costs(&ordinary, &words);
    let shown = base.map(|c| format!("{c:.0} µs"));
    println!("{:<44} {:>8} {:>10} {:>10} {:>9}", "ordinary text", shown[0], shown[1], shown[2], shown[3]);
    for (name, text) in hostile() {
        let text = sized(text);
        let cost = costs(&text, &words);
        let times: Vec<String> = cost.iter().zip(base).map(|(c, b)| format!("{:.2}", c / b)).collect();
        println!("{name:<44} {:>8} {:>10} {:>10} {:>9}", times[0], times[1], times[2], times[3]);
    }
}

fn tokens(text: &[u8]) -> f64 {
    let mut sum = 0;
    each_token(text, |t| {
        sum ^= t.hash;
        true
    });
    sum as f64
}

fn costs(text: &[u8], words: &WordCoder<&Vocabulary>) -> [f64; 4] {
    let texts = [text.to_vec()];
    let parsed = LzText::new(text);
    [
        timed(&texts, &|_| word_counts(text).total as f64).0,
        timed(&texts, &|_| words.bits(text)).0,
        timed(&texts, &|_| LzText::new(text).bits()).0,
        timed(&texts, &|_| parsed.bits_given(text)).0,
    ]
}

fn sized(text: Vec<u8>) -> Vec<u8> {
    text.iter().copied().cycle().take(256 * 1024).collect()
}

fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let n = 256 * 1024;
    let bytes: Vec<u8> = (0..n).map(|_| random().to_le_bytes()[3]).collect();
    let letters = |c: u64| char::from(b"abcdefghijklmnopqrstuvwxyz"[(c % 26) as usize]);
    vec![
        ("one word again and again", b"word ".repeat(n / 5)),
        ("one letter again and again", b"a ".repeat(n / 2)),
        ("one byte again and again", vec![b'a'; n]),
        ("distinct words", (0..n / 6).flat_map(|i| format!("{i:05x} ").into_bytes()).collect()),
        (
            "random words of three letters",
            (0..n / 4)
                .flat_map(|_| [letters(random()), letters(random()), letters(random()), ' '])
                .collect::<String>()
                .into(),
        ),
        ("random bytes", bytes.clone()),
        (
            "random bytes as base64",
            bytes.iter().map(|b| b"ABCDEFGHIJabcdefghij0123456789+/"[usize::from(b % 32)]).collect(),
        ),
        (
            "only what stands between words",
            bytes.iter().map(|b| b" .,;:!?()[]{}<>-"[usize::from(b % 16)]).collect(),
        ),
        (
            "Han characters",
            (0..n / 3)
                .map(|_| char::from_u32(0x4e00 + (random() % 20000) as u32).unwrap())
                .collect::<String>()
                .into(),
        ),
        (
            "letters with accents",
            (0..n / 2)
                .map(|_| char::from_u32(0xe0 + (random() % 22) as u32).unwrap())
                .collect::<String>()
                .into(),
        ),
        ("CaPiTaLs", b"aBcDeF gHiJ ".repeat(n / 12)),
        ("a/b/c/d", b"ab/".repeat(n / 3)),
    ]
}

/// Mean microseconds a text, fastest of three, and the sum of what was returned.
fn timed(texts: &[Vec<u8>], run: &dyn Fn(usize) -> f64) -> (f64, f64) {
    let sum = (0..texts.len()).map(run).sum();
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < LONG && done < 10 * texts.len() {
            for i in done..done + 16 {
                black_box(run(i % texts.len()));
            }
            done += 16;
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / done as f64);
    }
    (best, sum)
}

fn files(path: &Path, out: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            files(&entry.unwrap().path(), out);
        }
    } else {
        out.push(path.to_path_buf());
    }
}
