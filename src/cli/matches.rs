//! How similar messages are shown.

use super::escape;
use super::layout::{Paint, paragraph};
use crate::gateway::api::MatchView;

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
        text.push_str(&paragraph(&escape::flat(&found.excerpt), 5));
    }
    text
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
    }
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
}
