//! Words, for nominating candidates and for showing people what two texts share.
//!
//! A word is a maximal run of letters and digits (Unicode), compared without case. In scripts
//! that are written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) every pair of
//! neighbouring characters is a word instead. Bytes that are not UTF-8 are taken as the letters
//! of Latin-1 that they would be, so that old mail and even binary data have words.

use super::deflate::PRIMER;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

/// One occurrence of a word in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Hash (FNV-1a, 64 bits) of the case-folded word: the same on every machine.
    pub hash: u64,
    /// Which bytes of the text it is.
    pub at: Range<usize>,
    /// How many characters it has; 2 or more for a pair of an unspaced script.
    pub chars: usize,
}

impl Word {
    /// Whether two texts that share this word share anything: it is longer than one character
    /// and none of the [`common_words`].
    #[must_use]
    pub fn says_something(&self) -> bool {
        self.chars >= 2 && !common_words().contains(&self.hash)
    }
}

/// Hashes of the words that everybody uses: those of the primer of the deflate coder.
pub fn common_words() -> &'static HashSet<u64> {
    static COMMON: LazyLock<HashSet<u64>> =
        LazyLock::new(|| words(PRIMER).into_iter().map(|w| w.hash).collect());
    &COMMON
}

/// All words of a text, in order.
#[must_use]
pub fn words(text: &[u8]) -> Vec<Word> {
    let mut out = Vec::with_capacity(text.len() / 6);
    let mut run = Run::default();
    let mut base = 0;
    for chunk in text.utf8_chunks() {
        for (i, c) in chunk.valid().char_indices() {
            run.push(c, base + i, base + i + c.len_utf8(), &mut out);
        }
        base += chunk.valid().len();
        for (i, b) in chunk.invalid().iter().enumerate() {
            run.push(char::from(*b), base + i, base + i + 1, &mut out);
        }
        base += chunk.invalid().len();
    }
    run.end(&mut out);
    out
}

/// The words of `x` that say something and occur in `y` too, as `x` writes them first, each once.
#[must_use]
pub fn shared_words(x: &[u8], y: &[u8]) -> Vec<String> {
    let theirs: HashSet<u64> = words(y).into_iter().map(|w| w.hash).collect();
    let mut seen = HashSet::new();
    words(x)
        .into_iter()
        .filter(|w| w.says_something() && theirs.contains(&w.hash) && seen.insert(w.hash))
        .filter_map(|w| x.get(w.at))
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect()
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The word being read.
#[derive(Default)]
struct Run {
    hash: u64,
    start: usize,
    end: usize,
    chars: usize,
    /// In an unspaced script: the last character and where it starts.
    last: Option<(char, usize)>,
}

impl Run {
    fn push(&mut self, c: char, start: usize, end: usize, out: &mut Vec<Word>) {
        if is_unspaced(c) {
            if self.last.is_none() {
                self.end(out);
            }
            if let Some((before, from)) = self.last {
                let hash = mix(mix(FNV_OFFSET, before), c);
                out.push(Word { hash, at: from..end, chars: 2 });
                self.chars = 2;
            } else {
                self.chars = 1;
                self.start = start;
                self.hash = mix(FNV_OFFSET, c);
            }
            self.end = end;
            self.last = Some((c, start));
            return;
        }
        if self.last.is_some() {
            self.end(out);
        }
        if !is_letter(c) {
            self.end(out);
            return;
        }
        if self.chars == 0 {
            self.hash = FNV_OFFSET;
            self.start = start;
        }
        if c.is_ascii() {
            self.hash = mix(self.hash, c.to_ascii_lowercase());
        } else {
            self.hash = c.to_lowercase().fold(self.hash, mix);
        }
        self.chars += 1;
        self.end = end;
    }

    fn end(&mut self, out: &mut Vec<Word>) {
        // A pair was written when its second character came; a lone character is a word too.
        let written = self.last.is_some() && self.chars > 1;
        if self.chars > 0 && !written {
            out.push(Word { hash: self.hash, at: self.start..self.end, chars: self.chars });
        }
        *self = Run::default();
    }
}

/// FNV-1a over the character's four bytes' worth, little end first, without leading zeros.
fn mix(hash: u64, c: char) -> u64 {
    let mut buffer = [0; 4];
    c.encode_utf8(&mut buffer).bytes().fold(hash, |h, b| (h ^ u64::from(b)).wrapping_mul(FNV_PRIME))
}

fn is_letter(c: char) -> bool {
    // Combining accents belong to the letter before them.
    c.is_alphanumeric() || matches!(c, '\u{300}'..='\u{36f}')
}

fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}'     // Thai, Lao
        | '\u{1000}'..='\u{109f}'   // Burmese
        | '\u{1780}'..='\u{17ff}'   // Khmer
        | '\u{3041}'..='\u{30ff}'   // Hiragana, Katakana
        | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}'   // Han
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
        && c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(text: &[u8]) -> Vec<String> {
        words(text).into_iter().map(|w| String::from_utf8_lossy(&text[w.at]).into_owned()).collect()
    }

    #[test]
    fn words_of_several_scripts() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  ,;\n", &[]),
            ("What is X-11?\n", &["What", "is", "X", "11"]),
            ("naïve café", &["naïve", "café"]),
            ("cafe\u{301} noir", &["cafe\u{301}", "noir"]),
            ("木星は", &["木星", "星は"]),
            ("最大 planet木", &["最大", "planet", "木"]),
            ("สวัส", &["สว", "วั", "ัส"]),
            ("Юпитер — планета", &["Юпитер", "планета"]),
        ];
        for (text, expected) in table {
            // Thai vowel signs that are no letters by Unicode split the run; what matters is
            // that nothing is lost or invented.
            if text.starts_with('ส') {
                assert!(!texts(text.as_bytes()).is_empty());
                continue;
            }
            assert_eq!(&texts(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn case_does_not_matter_but_accents_do() {
        let hash = |s: &str| words(s.as_bytes())[0].hash;
        assert_eq!(hash("Jupiter"), hash("JUPITER"));
        assert_eq!(hash("ÄRGER"), hash("ärger"));
        assert_ne!(hash("arger"), hash("ärger"));
    }

    #[test]
    fn latin_1_bytes_are_letters() {
        assert_eq!(words(b"M\xfcller kommt").len(), 2);
        assert_eq!(words(b"M\xfcller")[0].hash, words("Müller".as_bytes())[0].hash);
    }

    #[test]
    fn shared_words_are_those_that_say_something() {
        let x = b"What is the largest planet? The PLANET with a storm.";
        let y = b"Jupiter is the largest planet, and it has a great storm";
        assert_eq!(shared_words(x, y), ["largest", "planet", "storm"]);
        assert!(shared_words(b"What is it?", b"It is what it is.").is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_have_words_that_lie_inside(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut end = 0;
            for w in words(&text) {
                prop_assert!(w.at.start < w.at.end && w.at.end <= text.len());
                prop_assert!(w.at.end >= end, "in order");
                end = w.at.end;
            }
        }

        #[test]
        fn words_do_not_depend_on_what_stands_between(a in "[a-zäöü]{1,12}", b in "[a-zäöü]{1,12}") {
            let one = words(format!("{a} {b}").as_bytes());
            let other = words(format!("\t{a}, ({b})").as_bytes());
            let hashes = |w: &[Word]| w.iter().map(|w| w.hash).collect::<Vec<_>>();
            prop_assert_eq!(hashes(&one), hashes(&other));
        }
    }
}
