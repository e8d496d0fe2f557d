//! The passage of a text that has most to do with another.

use super::tokens::each_token;
use super::words::{Word, words};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// How much of Y is looked through, so that a huge one costs no more than a big one.
const LOOKED_AT: usize = 256 * 1024;

/// The passage of `y`, at most `max_chars` characters, with the most and the rarest wording that
/// `x` has too.
///
/// Without a pool to say what is rare, a word weighs the more the longer it is and the less often
/// `y` uses it; the words that everybody uses weigh nothing. With nothing shared it is the
/// beginning of `y`. White space and control characters become single spaces; "…" stands where
/// text was cut off.
#[must_use]
pub fn excerpt(y: &[u8], x: &[u8], max_chars: usize) -> String {
    let seen = super::oldest(y, LOOKED_AT);
    let mut count: HashMap<u64, u32> = HashMap::new();
    for w in words(seen) {
        *count.entry(w.hash).or_default() += 1;
    }
    excerpt_by(y, x, max_chars, &|w: &Word| {
        let times = f64::from(count.get(&w.hash).copied().unwrap_or(1));
        w.chars.min(12) as f64 / times
    })
}

/// [`excerpt()`] with the weight of a shared word given by the caller (not negative).
#[must_use]
pub fn excerpt_by(y: &[u8], x: &[u8], max_chars: usize, weight: &dyn Fn(&Word) -> f64) -> String {
    let text = String::from_utf8_lossy(super::oldest(y, LOOKED_AT));
    let mine: HashSet<u64> = words(x).into_iter().filter(Word::says_something).map(|w| w.hash).collect();
    let spans: Vec<Span> = words(text.as_bytes())
        .into_iter()
        .filter(|w| mine.contains(&w.hash))
        .map(|w| Span { hash: w.hash, weight: weight(&w), at: w.at })
        .collect();
    // Two places are for the marks of what was cut off.
    let (from, to) = best_window(&spans, max_chars.saturating_sub(2));
    shown(&text, from, to, max_chars)
}

/// The passage of `y`, at most `max_chars` characters, with the greatest sum of `weight`s, each
/// word (by its hash, [`super::Token::hash`]) counted once; negative weights count as 0. Text is
/// shown as [`excerpt()`] shows it.
#[must_use]
pub fn passage(y: &[u8], max_chars: usize, weight: &dyn Fn(u64) -> f64) -> String {
    let text = String::from_utf8_lossy(super::oldest(y, LOOKED_AT));
    let mut spans = Vec::new();
    each_token(text.as_bytes(), |t| {
        spans.push(Span { hash: t.hash, weight: weight(t.hash), at: t.start..t.end });
        true
    });
    let (from, to) = best_window(&spans, max_chars.saturating_sub(2));
    shown(&text, from, to, max_chars)
}

/// A word in the text, and what it is worth to show it.
struct Span {
    hash: u64,
    weight: f64,
    at: Range<usize>,
}

/// Byte range of the words no further apart than `max_chars` bytes with the greatest sum of
/// weights, each word counted once.
fn best_window(spans: &[Span], max_chars: usize) -> (usize, usize) {
    let mut inside: HashMap<u64, u32> = HashMap::new();
    let mut sum = 0.0;
    let mut best = (0.0, 0, 0);
    let mut firsts = spans.iter().filter(|s| s.weight > 0.0).peekable();
    for word in spans.iter().filter(|s| s.weight > 0.0) {
        let n = inside.entry(word.hash).or_default();
        *n += 1;
        if *n == 1 {
            sum += word.weight;
        }
        let mut start = word.at.start;
        while let Some(old) = firsts.peek() {
            start = old.at.start;
            let again = inside.get(&old.hash).is_some_and(|n| *n > 1);
            let fits = word.at.end.saturating_sub(start) <= max_chars;
            if start >= word.at.start || fits && !again {
                break;
            }
            if let Some(n) = inside.get_mut(&old.hash) {
                *n -= 1;
                if *n == 0 {
                    sum -= old.weight;
                }
            }
            firsts.next();
        }
        // Strictly more, beyond rounding: of equals the first.
        if sum > best.0 + 1e-9 {
            best = (sum, start, word.at.end);
        }
    }
    (best.1, best.2)
}

/// The text from about `from` to about `to`, begun where a sentence or line begins if that is
/// near, filled up to `max_chars`.
fn shown(text: &str, from: usize, to: usize, max_chars: usize) -> String {
    let spare = max_chars.saturating_sub(to.saturating_sub(from) + 2);
    let start = start_near(text, from, spare);
    let rest = text.get(start..).unwrap_or_default();
    let mut out = String::new();
    let mut used = 0;
    if start > 0 && !text.get(..start).unwrap_or_default().trim().is_empty() {
        out.push('…');
        used += 1;
    }
    let mut gap = false;
    let mut chars = rest.chars();
    for c in chars.by_ref() {
        if c.is_whitespace() || c.is_control() {
            gap = used > 1 || !out.is_empty() && !out.starts_with('…');
            continue;
        }
        let needs = 1 + usize::from(gap);
        // One place is kept for the mark that says there is more.
        if used + needs + 1 > max_chars {
            if !gap {
                back_to_a_word(&mut out);
            }
            out.push('…');
            return out;
        }
        if gap {
            out.push(' ');
            gap = false;
        }
        out.push(c);
        used += needs;
    }
    out
}

/// Takes off a word that was cut, unless it is a long one or has no spaces before it.
fn back_to_a_word(out: &mut String) {
    if let Some((space, _)) = out.char_indices().rev().take(16).find(|(_, c)| *c == ' ') {
        out.truncate(space);
    }
}

/// The nearest beginning of a sentence or line at most `spare` bytes before `from`; else of a word.
fn start_near(text: &str, from: usize, spare: usize) -> usize {
    let lowest = from.saturating_sub(spare);
    let mut word = from;
    let mut before: Option<char> = None;
    for (i, c) in text.get(..from).unwrap_or_default().char_indices().rev() {
        if c == '\n' || (matches!(c, '.' | '?' | '!' | '。') && before.is_some_and(char::is_whitespace)) {
            return i + c.len_utf8();
        }
        if i < lowest {
            return word;
        }
        if before.is_some_and(|b| !b.is_whitespace()) && c.is_whitespace() {
            word = i + c.len_utf8();
        }
        before = Some(c);
    }
    if from <= spare { 0 } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONG: &str = "Dear friends of the sky,\n\nthe last meeting was well attended and the cake \
        was good. Minutes are attached. Somebody asked about the planets. Jupiter is the largest \
        planet, with a storm that is older than the society.\n\nThe next meeting is in March. Please \
        bring chairs, and the key to the cellar, which was not returned after the summer party.\n";

    #[test]
    fn shows_the_passage_that_matches() {
        let e = excerpt(LONG.as_bytes(), b"Which planet is the largest, and has a storm?", 90);
        assert_eq!(
            e,
            "…Jupiter is the largest planet, with a storm that is older than the society. The next…"
        );
        let e = excerpt(LONG.as_bytes(), b"who has the cellar key", 70);
        assert!(e.contains("key to the cellar"), "{e}");
    }

    #[test]
    fn without_anything_shared_it_is_the_beginning() {
        let e = excerpt(LONG.as_bytes(), b"zebra", 30);
        assert_eq!(e, "Dear friends of the sky, the…");
        assert_eq!(excerpt(b"short\r\n text \x1b[31m", b"", 30), "short text [31m");
        assert_eq!(excerpt(b"", b"anything", 30), "");
    }

    #[test]
    fn a_word_that_y_repeats_counts_less_than_a_rare_one() {
        let y =
            format!("{} The heron nests here. {}", "Pump, pump, pump. ".repeat(40), "Pump pump. ".repeat(40));
        let e = excerpt(y.as_bytes(), b"pump heron", 40);
        assert!(e.contains("heron"), "{e}");
    }

    proptest! {
        #[test]
        fn never_longer_never_a_control_character(
            y in proptest::collection::vec(any::<u8>(), 0..600),
            x in proptest::collection::vec(any::<u8>(), 0..80),
            max in 2_usize..200,
        ) {
            let e = excerpt(&y, &x, max);
            prop_assert!(e.chars().count() <= max, "{} > {}: {:?}", e.chars().count(), max, e);
            prop_assert!(!e.chars().any(char::is_control));
        }
    }
}
