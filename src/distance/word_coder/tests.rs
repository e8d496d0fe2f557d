//! The word coder writes what it computes, and reads it back.

use super::super::{fold, word_gain_bits};
use super::*;
use proptest::prelude::*;
use std::path::Path;

/// Texts of this repository: prose, tables, a licence, mails with headers and quotes.
fn texts() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md"), root.join("LICENSE-APACHE")];
    let mut folders = vec![root.join("maildir-fixtures"), root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { paths.push(path) }
        }
    }
    paths.sort();
    paths.into_iter().map(|p| std::fs::read(p).unwrap()).filter(|t| t.len() < 20_000).step_by(3).collect()
}

/// A pool that has a part of everything.
fn pool(texts: &[Vec<u8>]) -> super::super::Vocabulary {
    super::super::Vocabulary::of(texts.iter().map(|t| &t[..t.len() * 2 / 3]))
}

#[test]
fn computed_and_written_lengths_are_the_same() {
    let texts = texts();
    let model = pool(&texts);
    let coder = WordCoder::new(&model);
    let (mut checked, mut overhead) = (0, 0.0_f64);
    for (i, x) in texts.iter().enumerate() {
        for y in [None, texts.get(i / 2), texts.get(i)] {
            let y = y.map(Vec::as_slice);
            let computed = y.map_or_else(|| coder.bits(x), |y| coder.bits_given(x, y));
            let code = coder.encode(x, y).unwrap();
            let written = code.len() as f64 * 8.0;
            // Whole bytes and the end of the code are two bytes: of shorter codes more than 1 %.
            if computed > 1_600.0 {
                assert!((written - computed).abs() <= 0.01 * computed, "{written} {computed}");
                checked += 1;
            }
            overhead = overhead.max(written - computed);
            assert_eq!(&coder.decode(&code, y, x.len()).unwrap(), x);
        }
    }
    assert!(checked > 60, "{checked}");
    // Two bytes, whatever is coded.
    assert!(overhead <= 16.0, "{overhead}");
}

#[test]
fn the_sum_over_shared_words_is_what_the_coder_saves() {
    let texts = texts();
    let model = super::super::Vocabulary::of(texts.iter().map(Vec::as_slice));
    let (mut positive, mut pairs) = (0, 0);
    for lambda in [0.01, LAMBDA, 0.5] {
        let coder = WordCoder::with_lambda(&model, lambda);
        for (x, y) in texts.iter().zip(texts.iter().skip(3)) {
            let saved = coder.bits(x) - coder.bits_given(x, y);
            let sum = word_gain_bits(&word_counts(x), &word_counts(y), &model, lambda);
            assert!((saved - sum).abs() < 1e-6 * (1.0 + sum), "{saved} {sum}");
            // Two files may have no word in common; few do.
            assert!(sum >= 0.0);
            positive += usize::from(sum > 0.0);
            pairs += 1;
        }
    }
    assert!(positive * 10 >= pairs * 9, "{positive} of {pairs}");
}

#[test]
fn beyond_the_bounds_y_is_not_asked() {
    let x: String = (0..COUNTED_WORDS + 50).map(|i| format!("{i:x} ")).collect();
    let model = super::super::Vocabulary::of([x.as_bytes()]);
    let coder = WordCoder::new(&model);
    let y = x.get(x.len() - 2000..).unwrap();
    let saved = coder.bits(x.as_bytes()) - coder.bits_given(x.as_bytes(), y.as_bytes());
    let sum = word_gain_bits(&word_counts(x.as_bytes()), &word_counts(y.as_bytes()), &model, LAMBDA);
    assert!((saved - sum).abs() < 1e-6 * sum, "{saved} {sum}");
    let code = coder.encode(x.as_bytes(), Some(y.as_bytes())).unwrap();
    assert!(coder.decode(&code, Some(y.as_bytes()), x.len()).unwrap() == x.as_bytes());
}

#[test]
fn shorter_than_deflate() {
    let texts = texts();
    let model = pool(&texts);
    let coder = WordCoder::new(&model);
    let deflate = super::super::Deflate::primed(6);
    let (words, deflated) = texts
        .iter()
        .fold((0.0, 0.0), |(words, deflated), x| (words + coder.bits(x), deflated + deflate.bits(x)));
    assert!(words < 0.95 * deflated, "{words} {deflated}");
}

#[test]
fn all_ways_to_write_a_word_come_back() {
    let vocabulary =
        super::super::Vocabulary::of([b"jupiter iphone stra\xc3\x9fe \xe6\x9c\xa8\xe6\x98\x9f".as_slice()]);
    let coder = WordCoder::new(&vocabulary);
    for text in [
        "",
        " ",
        "a",
        "A",
        "I",
        "X11 x11 X11",
        "jupiter Jupiter JUPITER juPiter JuPiteR",
        "iPhone IPHONE",
        "Straße STRASSE STRAßE straße",
        "ΟΔΟΣ οδος Οδός",
        "İstanbul ISTANBUL",
        "Dž dž DŽ ǆ ǅ",
        "木星は 木星 木は",
        "木a星 木 星",
        "สวัสดี",
        "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24s twfu",
        "\0\0 \0a\0",
        "ﬁ ﬀ FI",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        for y in [None, Some("x11 ΟΔΟΣ straße 木星 aaaaaaaaaaaaaaaa".as_bytes())] {
            let code = coder.encode(text.as_bytes(), y).unwrap();
            let back = coder.decode(&code, y, text.len()).unwrap();
            assert_eq!(String::from_utf8(back).unwrap(), text);
        }
    }
}

#[test]
fn texts_have_an_end() {
    let coder = WordCoder::new(super::super::Vocabulary::default());
    let text = "word ".repeat(1000);
    let code = coder.encode(text.as_bytes(), None).unwrap();
    assert_eq!(coder.decode(&code, None, 100), Err(CodeError::Length(100)));
    // A code of nothing but ones would mean a text of very many words.
    assert_eq!(coder.decode(b"", None, 100), Err(CodeError::Code));
}

/// Counts what is coded: the work, on every machine the same.
struct Work(u64);

impl Channel for Work {
    fn symbol(&mut self, symbol: usize, _: &impl super::super::range::Table) -> usize {
        self.0 += 1;
        symbol
    }

    fn bit(&mut self, bit: bool, _: u32) -> bool {
        self.0 += 1;
        bit
    }
}

struct Unknown;

impl Draw<Work> for Unknown {
    fn draw(&self, _: u64, _: bool, work: &mut Work) -> Drawn {
        work.0 += 1;
        Drawn::ToSpell
    }
}

#[test]
fn no_text_is_much_more_work_than_prose_of_its_length() {
    let work = |x: &[u8]| {
        let mut work = Work(0);
        let steps = with_speller(|speller| {
            let mut coding = Coding::new(speller, x.len());
            coding.write(x, &Unknown, None, &mut work);
            coding.slots.steps
        });
        work.0 + steps
    };
    let n = 256 * 1024;
    let sized = |text: Vec<u8>| text.into_iter().cycle().take(n).collect::<Vec<u8>>();
    let prose = work(&sized(texts().concat()));
    let mut state = 1_u64;
    let mut random = |below: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from((state >> 33) % u64::from(below)).unwrap()
    };
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("one word", b"word ".to_vec()),
        ("one letter", b"a ".to_vec()),
        ("distinct words", (0..n / 6).flat_map(|i| format!("{i:05x} ").into_bytes()).collect()),
        ("random bytes", (0..n).map(|_| random(256).to_le_bytes()[0]).collect()),
        (
            "Han",
            (0..n / 3).filter_map(|_| char::from_u32(0x4e00 + random(20_000))).collect::<String>().into(),
        ),
        ("signs", (0..n).map(|_| b" .,;:!?()[]{}<>-"[random(16) as usize]).collect()),
        ("capitals", b"aBcDeF gHiJ ".to_vec()),
    ];
    for (name, text) in hostile {
        let work = work(&sized(text));
        assert!(work <= 10 * prose, "{name}: {work}, prose {prose}");
    }
}

struct Sure(super::super::Vocabulary);

impl WordModel for Sure {
    fn probability(&self, _: u64) -> f64 {
        0.9
    }
}

impl Lexicon for Sure {
    fn spellings(&self) -> Vec<&[u8]> {
        self.0.spellings()
    }
}

#[test]
fn a_model_that_is_none_is_an_error() {
    let coder = WordCoder::new(Sure(super::super::Vocabulary::of([b"two words".as_slice()])));
    assert_eq!(coder.encode(b"two words", None), Err(CodeError::Model));
}

/// Anything, but with words, other scripts and junk more often than chance has it.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        "[a-dA-D]{1,4}".prop_map(String::into_bytes),
        "[ .,\n]{1,3}".prop_map(String::into_bytes),
        "\\PC{0,8}".prop_map(String::into_bytes),
        "[木星は最大のสวัส]{1,5}".prop_map(String::into_bytes),
        "[A-Za-z0-9+/]{20,80}".prop_map(String::into_bytes),
        "[äÖßİſΣςǅК]{1,5}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_bytes_come_back(x in text(), y in proptest::option::of(text()), pool in text()) {
        let vocabulary = super::super::Vocabulary::of([pool.as_slice()]);
        let coder = WordCoder::new(&vocabulary);
        let code = coder.encode(&x, y.as_deref()).unwrap();
        let computed = y.as_ref().map_or_else(|| coder.bits(&x), |y| coder.bits_given(&x, y));
        prop_assert!((code.len() as f64 * 8.0 - computed).abs() <= 0.01 * computed + 16.0);
        prop_assert_eq!(coder.decode(&code, y.as_deref(), x.len()).unwrap(), x);
    }

    #[test]
    fn no_code_makes_trouble(code in proptest::collection::vec(any::<u8>(), 0..60), y in text()) {
        let vocabulary = super::super::Vocabulary::of([y.as_slice()]);
        if let Ok(text) = WordCoder::new(&vocabulary).decode(&code, Some(&y), 10_000) {
            prop_assert!(text.len() <= 10_000);
        }
    }

    #[test]
    fn folding_twice_is_folding_once(x in text()) {
        for token in tokens(&x) {
            let once = fold(token.kind, token.of(&x));
            prop_assert_eq!(word_hash(&once), token.hash);
        }
    }
}
