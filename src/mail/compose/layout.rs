//! Text for a reader's screen: wrapped, and free of what could forge it.

use crate::mail::text::{clean, printable};

/// The widest line of a text that we write, in characters. RFC 5322, section 2.1.1, allows 78; in
/// quoted-printable a line has 76 (RFC 2045, section 6.7), and what fits needs no soft break.
pub(super) const WIDTH: usize = 72;

/// Words, wrapped to [`WIDTH`]: the first line begins with `first`, the others with `other`, both
/// ASCII. A word that fills more than a line is broken between characters.
pub(super) fn wrap(text: &str, first: &str, other: &str) -> String {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        let mut word = word;
        loop {
            let space = usize::from(!empty);
            let room = WIDTH.saturating_sub(width(&line) + space);
            if width(word) <= room {
                if !empty {
                    line.push(' ');
                }
                line.push_str(word);
                empty = false;
                break;
            }
            if empty {
                let (head, tail) = break_at(word, room.max(1));
                line.push_str(head);
                word = tail;
            }
            lines.push(std::mem::replace(&mut line, other.to_owned()));
            empty = true;
            if word.is_empty() {
                break;
            }
        }
    }
    if !empty || lines.is_empty() {
        lines.push(line);
    }
    lines.join("\n")
}

/// An address on a line of its own, never broken: who copies half of it writes to nobody.
pub(super) fn address(address: &str, indent: &str) -> String {
    format!("{indent}{}", short(address, 320))
}

/// Foreign text, every line wrapped on its own and indented, without control characters and
/// without more than one blank line in a row.
pub(super) fn block(text: &str, indent: &str) -> String {
    let text = clean(text);
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        if !line.is_empty() {
            lines.push(wrap(line, indent, indent));
        } else if lines.last().is_some_and(|last| !last.is_empty()) {
            lines.push(String::new());
        }
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.join("\n")
}

/// At most `most` characters of foreign text, as one line.
pub(super) fn short(text: &str, most: usize) -> String {
    let text = printable(text);
    match text.char_indices().nth(most) {
        None => text,
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default().trim_end()),
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// The first `room` characters of a word, and what follows; a combining mark, a joiner or what a
/// joiner joins is never torn off.
fn break_at(word: &str, room: usize) -> (&str, &str) {
    let holds = |c: char| {
        matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{200d}' | '\u{1f3fb}'..='\u{1f3ff}')
    };
    let characters: Vec<(usize, char)> = word.char_indices().collect();
    let joined = |at: usize| {
        characters.get(at).is_some_and(|(_, c)| holds(*c))
            || at
                .checked_sub(1)
                .and_then(|before| characters.get(before))
                .is_some_and(|(_, c)| *c == '\u{200d}')
    };
    let mut at = room.min(characters.len());
    while at > 1 && joined(at) {
        at -= 1;
    }
    // A cluster longer than a line has to be broken after all.
    let at = if at <= 1 && joined(at) { room } else { at };
    let offset = characters.get(at).map_or(word.len(), |(offset, _)| *offset);
    word.split_at_checked(offset).unwrap_or((word, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_kept_whole_and_long_ones_broken() {
        let text = "aaaa ".repeat(40);
        let wrapped = wrap(&text, "1. ", "   ");
        assert_eq!(wrapped.lines().count(), 3);
        assert!(wrapped.lines().all(|line| {
            line.len() <= WIDTH && line.trim().split(' ').all(|word| word == "aaaa" || word == "1.")
        }));
        let wrapped = wrap(&"x".repeat(200), "", "  ");
        assert_eq!(wrapped.lines().map(str::len).collect::<Vec<_>>(), [72, 72, 60]);
        assert_eq!(wrap("", "- ", "  "), "- ");
    }

    #[test]
    fn a_mark_stays_with_its_letter() {
        let word = "e\u{301}".repeat(60);
        for line in wrap(&word, "", "").lines() {
            assert!(line.starts_with('e') && line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn foreign_text_is_tame() {
        assert_eq!(block("a\u{1b}[2J\r\n\r\n\r\n\r\n\u{202e}b\0\n\n", "    "), "    a[2J\n\n    b");
        assert_eq!(short("one\r\ntwo three", 7), "one two...");
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_no_character_is_lost(text in "[ a\u{301}\u{200d}日\n-]{0,400}") {
            let wrapped = wrap(&text, "  ", "    ");
            prop_assert!(wrapped.lines().all(|line| line.chars().count() <= WIDTH));
            let solid = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(solid(&wrapped), solid(&text));
        }
    }
}
