//! Why a message matches, in words and numbers.
//!
//! It knows two bodies and the pool that says how rare a word is. It must never know who asked.

use super::api::{SharedView, SharedWordView};
use crate::distance::{self, SharedWord};
use crate::pool::{Audience, Pool};

/// Longest excerpt in a result, in characters.
const EXCERPT: usize = 240;
/// So many words are told one by one.
const WORDS: usize = 12;
/// So many of their places.
const PLACES: usize = 8;
/// So many are named in the sentence.
const NAMED: usize = 3;

/// The passage of `y` that saves most when `x` is coded.
pub(super) fn excerpt(pool: &Pool, x: &[u8], y: &[u8]) -> String {
    passage(y, x, &pool.wording(x, y, Audience::Operator))
}

fn passage(of: &[u8], other: &[u8], shared: &[SharedWord]) -> String {
    if shared.is_empty() {
        return distance::excerpt(of, other, EXCERPT);
    }
    distance::shared_passage(of, shared, EXCERPT)
}

/// What `x` and `y` share, and the passage of `y` with most of it.
pub(super) fn shared(pool: &Pool, x: &[u8], y: &[u8]) -> (String, SharedView) {
    let shared = pool.wording(x, y, Audience::Operator);
    let told = shared.get(..WORDS).unwrap_or(&shared);
    let more = shared.get(told.len()..).unwrap_or_default();
    let words: Vec<SharedWordView> = told.iter().map(|word| view(pool, word)).collect();
    let view = SharedView {
        why: why(&words, &shared, pool.len()),
        passage: passage(x, y, &shared),
        words,
        more_words: more.len(),
        more_bits: tenths(sum(more)),
    };
    (passage(y, x, &shared), view)
}

fn view(pool: &Pool, word: &SharedWord) -> SharedWordView {
    let places = |all: &[std::ops::Range<usize>]| all.iter().take(PLACES).map(|r| [r.start, r.end]).collect();
    SharedWordView {
        word: word.word.clone(),
        bits: tenths(word.bits),
        messages: pool.messages_with(word.hash, Audience::Operator),
        in_x: places(&word.in_x),
        in_y: places(&word.in_y),
    }
}

/// In a sentence.
fn why(words: &[SharedWordView], shared: &[SharedWord], messages: usize) -> String {
    let all = sum(shared);
    let count = shared.len();
    let Some(first) = words.first() else {
        return "no word of it counts any more: all that they share are words that many messages have".into();
    };
    let named: Vec<String> = words
        .iter()
        .take(NAMED)
        .map(|word| {
            let have = if word.messages == 1 { "has" } else { "have" };
            let (parts, text) = (word.messages, &word.word);
            // A long message counts once for each of its parts, so there may be more than messages.
            if parts > messages {
                return format!(
                    "“{text}” saves {:.1} bits ({parts} parts of {messages} {have} it)",
                    word.bits
                );
            }
            format!("“{text}” saves {:.1} bits ({parts} of {messages} {have} it)", word.bits)
        })
        .collect();
    let words = if count == 1 { "one word counts".to_owned() } else { format!("{count} words count") };
    let most = if first.bits * 2.0 > all && count > 1 { ", most of it by the first" } else { "" };
    format!("{words}, {all:.1} bits by what is known now{most}: {}", named.join(", "))
}

fn sum(shared: &[SharedWord]) -> f64 {
    shared.iter().map(|word| word.bits).sum()
}

fn tenths(bits: f64) -> f64 {
    (bits * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Address, MessageId};
    use crate::policy::Scope;
    use crate::pool::{Entry, Limits};

    fn pool(texts: &[&str]) -> Pool {
        let mut pool = Pool::new(Limits::default());
        for (seq, text) in (1_i64..).zip(texts) {
            let author = Address::new(format!("mailto:a{seq}@example.org")).unwrap();
            let entry = Entry {
                seq,
                id: MessageId::from(seq.to_be_bytes()),
                sender: author.clone(),
                hops: vec![author.clone()],
                author,
                scope: Scope::Public,
            };
            assert!(pool.insert(&entry, text.as_bytes()).is_empty());
        }
        pool
    }

    #[test]
    fn the_words_their_bits_and_their_places() {
        let y = "Dear all, the cake is good.\n\nJupiter is the largest planet. The end.";
        let pool = pool(&[y, "which planet is the smallest", "what is it"]);
        let x = "Which planet is the largest? I mean the LARGEST planet.";
        let (excerpt, shared) = shared(&pool, x.as_bytes(), y.as_bytes());
        assert!(excerpt.contains("Jupiter is the largest planet"), "{excerpt}");
        assert!(shared.passage.contains("Which planet is the largest?"), "{shared:?}");
        let told: Vec<(&str, usize)> = shared.words.iter().map(|w| (w.word.as_str(), w.messages)).collect();
        assert_eq!(told.first(), Some(&("largest", 1)), "{shared:?}");
        assert!(told.contains(&("planet", 2)), "{shared:?}");
        let largest = &shared.words[0];
        let texts: Vec<&str> = largest.in_x.iter().filter_map(|[from, to]| x.get(*from..*to)).collect();
        assert_eq!(texts, ["largest", "LARGEST"]);
        assert_eq!(y.get(largest.in_y[0][0]..largest.in_y[0][1]), Some("largest"));
        assert!(shared.why.contains("“largest” saves") && shared.why.contains("1 of 3 has it"), "{shared:?}");
        // As the search sees it.
        let found = pool.nearest(x.as_bytes(), Audience::Operator, 1, &|_| None);
        let sum: f64 = shared.words.iter().map(|word| word.bits).sum::<f64>() + shared.more_bits;
        assert!((sum - found[0].gain_bits).abs() < 0.1 * told.len() as f64, "{sum} {found:?}");
    }

    #[test]
    fn nothing_shared_is_said() {
        let pool = pool(&["ein Satz ohne Bezug"]);
        let (excerpt, shared) = shared(&pool, b"quite another", b"ein Satz ohne Bezug");
        assert_eq!((excerpt.as_str(), shared.words.len(), shared.more_words), ("ein Satz ohne Bezug", 0, 0));
        assert!(shared.why.contains("no word"), "{shared:?}");
    }

    #[test]
    fn a_long_list_is_summed_up() {
        let text: String = (0..40).map(|n| format!("word{n} ")).collect();
        let pool = pool(&[&text]);
        let (_, shared) = shared(&pool, text.as_bytes(), text.as_bytes());
        assert_eq!((shared.words.len(), shared.more_words), (WORDS, 40 - WORDS));
        assert!(shared.more_bits > 0.0);
        let excerpt = super::excerpt(&pool, text.as_bytes(), text.as_bytes());
        assert!((EXCERPT - 16..=EXCERPT).contains(&excerpt.chars().count()), "{excerpt}");
    }
}
