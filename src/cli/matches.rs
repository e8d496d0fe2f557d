//! How similar messages are shown.

use std::collections::HashSet;

use super::escape;
use super::layout::{Paint, paragraph};
use crate::distance::{marks, tokens};
use crate::gateway::api::{MatchView, SharedView};

/// Numbered, best first, each with its figures and its passage.
pub(super) fn render(matches: &[MatchView], paint: Paint) -> String {
    let mut text = String::new();
    for (n, found) in (1_usize..).zip(matches) {
        text.push_str(&format!(
            "{n:>3}. {}  saves {:.1} bits of {:.1}\n",
            paint.bold(&escape::line(&found.id)),
            found.gain_bits,
            found.gain_bits + found.one_sided_bits,
        ));
        // The decimals tell messages apart for programs; they tell people nothing.
        let time = found.time.split('.').next().unwrap_or_default();
        let by = format!("     {}  {}\n", escape::line(time), escape::line(&found.from));
        text.push_str(&paint.dim(&by));
        match &found.shared {
            None => text.push_str(&paragraph(&escape::flat(&found.excerpt), 5)),
            Some(shared) => text.push_str(&explained(&found.excerpt, shared, paint)),
        }
    }
    text
}

/// Both passages with their shared words marked, what each word saves, and why in a sentence.
fn explained(excerpt: &str, shared: &SharedView, paint: Paint) -> String {
    let words: HashSet<u64> =
        shared.words.iter().flat_map(|it| tokens(it.word.as_bytes())).map(|token| token.hash).collect();
    let mut text = String::new();
    for (title, passage) in [("match:", excerpt), ("this:", &shared.passage)] {
        if passage.is_empty() {
            continue;
        }
        let passage = escape::flat(passage);
        text.push_str(&paint.dim(&format!("     {title}\n")));
        // Colours take no columns, stars do.
        text.push_str(&if paint.on {
            marked(&paragraph(&passage, 7), &words, |word| paint.bold(word))
        } else {
            paragraph(&marked(&passage, &words, |word| format!("*{word}*")), 7)
        });
    }
    let mut saved: Vec<String> =
        shared.words.iter().map(|it| format!("{} {:.1}", escape::flat(&it.word), it.bits)).collect();
    if shared.more_words > 0 {
        saved.push(format!("{} more {:.1}", shared.more_words, shared.more_bits));
    }
    if !saved.is_empty() {
        text.push_str(&paint.dim("     bits saved by word:\n"));
        text.push_str(&paragraph(&saved.join(", "), 7));
    }
    text.push_str(&paragraph(&escape::flat(&shared.why), 5));
    text
}

/// A text with these words marked.
fn marked(text: &str, words: &HashSet<u64>, mark: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut at = 0;
    for place in marks(text, words) {
        out.push_str(text.get(at..place.start).unwrap_or_default());
        out.push_str(&mark(text.get(place.clone()).unwrap_or_default()));
        at = place.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
pub(super) fn sample() -> MatchView {
    MatchView {
        id: "fedcba9876543210".into(),
        gain_bits: 45.25,
        one_sided_bits: 54.75,
        distance_raw: 130.0,
        from: "mailto:b@example.org".into(),
        time: "2026/11/21 09:00:00.0123456789012345".into(),
        excerpt: "Jupiter is the\nlargest \u{1b}[31mplanet".into(),
        shared: None,
    }
}

/// The same with what it shares.
#[cfg(test)]
pub(super) fn explained_sample() -> MatchView {
    let word = |word: &str, bits| crate::gateway::api::SharedWordView {
        word: word.into(),
        bits,
        ..Default::default()
    };
    let shared = SharedView {
        why: "3 words count: “largest” saves 9.0 bits (1 of 3 has it)".into(),
        passage: "What is the LARGEST planet?\u{7}".into(),
        words: vec![word("Largest", 9.0), word("planet", 3.25)],
        more_words: 1,
        more_bits: 0.5,
    };
    MatchView { shared: Some(shared), ..sample() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_is_shown_with_its_figures_and_without_its_controls() {
        assert_eq!(
            render(&[sample()], Paint::default()),
            "  1. fedcba9876543210  saves 45.2 bits of 100.0\n     \
             2026/11/21 09:00:00  mailto:b@example.org\n     \
             Jupiter is the largest \\x1b[31mplanet\n"
        );
    }

    #[test]
    fn shared_wording_is_marked_and_counted() {
        let plain = render(&[explained_sample()], Paint::default());
        for part in [
            "     match:\n       Jupiter is the *largest* \\x1b[31mplanet\n",
            "     this:\n       What is the *LARGEST* *planet*?\\x07\n",
            "     bits saved by word:\n       Largest 9.0, planet 3.2, 1 more 0.5\n",
            "     3 words count: “largest” saves 9.0 bits (1 of 3 has it)\n",
        ] {
            assert!(plain.contains(part), "{part:?} in\n{plain}");
        }
        let coloured = render(&[explained_sample()], Paint { on: true });
        assert!(coloured.contains("the \u{1b}[1mLARGEST\u{1b}[0m \u{1b}[1mplanet\u{1b}[0m?"), "{coloured}");
        assert!(!coloured.contains('*'));
    }

    #[test]
    fn pairs_of_characters_that_overlap_are_one_mark() {
        let words = tokens("最大惑星".as_bytes()).into_iter().map(|token| token.hash).collect();
        assert_eq!(marked("木星は最大惑星です", &words, |word| format!("[{word}]")), "木星は[最大惑星]です");
        assert_eq!(marked("", &words, str::to_owned), "");
    }
}
