//! Text of others on a terminal: what could move the cursor, change a colour or turn the reading
//! direction is shown as an escape instead of being obeyed.
//!
//! Pure. Everything that came by mail, by the network or out of the database goes through here
//! before it is printed for a person.

use std::fmt::Write as _;

/// Whether a terminal might obey this character instead of showing it, or show nothing at all:
/// controls (C0, DEL, C1), line and paragraph separators, direction marks and overrides, invisible
/// joiners, interlinear annotation, the byte order mark, and tag characters.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}'
            | '\u{061c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_ascii() => {
            let _ = write!(out, "\\x{:02x}", u32::from(c));
        }
        c => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
}

/// For a place inside a line: every active character escaped, line ends and tabs too.
#[must_use]
pub(super) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_active(c) { push_escaped(&mut out, c) } else { out.push(c) }
    }
    out
}

/// For a text of several lines: LF and CR LF end a line, tabs stay, the rest as in [`line`].
#[must_use]
pub(super) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\t' => out.push(c),
            c if is_active(c) => push_escaped(&mut out, c),
            c => out.push(c),
        }
    }
    out
}

/// For an excerpt: white space of any kind becomes one space, the rest as in [`line`].
#[must_use]
pub(super) fn flat(text: &str) -> String {
    line(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The same for JSON text that goes to a terminal. Such characters stand only inside strings
/// there, where `\u` escapes mean the same, so the document does not change its meaning.
/// (C0 characters inside strings are escaped already; those between tokens are line ends.)
#[must_use]
pub(super) fn json(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for c in document.chars() {
        if is_active(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        for (given, shown) in [
            ("plain Größe 木星", "plain Größe 木星"),
            ("\u{1b}[31mred\u{1b}[0m", "\\x1b[31mred\\x1b[0m"),
            ("title\u{1b}]0;x\u{7}", "title\\x1b]0;x\\x07"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\nb\r\nc\td", "a\\nb\\r\\nc\\td"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("del\u{7f}", "del\\x7f"),
            ("nul\0", "nul\\x00"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(line(given), shown);
        }
    }

    #[test]
    fn a_text_keeps_its_lines() {
        assert_eq!(text("a\r\nb\n\tc\rd\u{1b}[2J"), "a\nb\n\tc\\rd\\x1b[2J");
    }

    #[test]
    fn an_excerpt_is_one_line() {
        assert_eq!(flat(" a\r\n\r\n b\t\u{1b}c "), "a b \\x1bc");
    }

    proptest! {
        #[test]
        fn no_active_character_survives(given in any::<String>()) {
            prop_assert!(!line(&given).chars().any(is_active));
            prop_assert!(!flat(&given).chars().any(is_active));
            prop_assert!(!text(&given).chars().any(|c| is_active(c) && c != '\n' && c != '\t'));
        }

        #[test]
        fn json_keeps_its_meaning(given in any::<String>()) {
            let document = serde_json::to_string_pretty(&serde_json::json!({ "k": given })).unwrap();
            let escaped = json(&document);
            prop_assert!(!escaped.chars().any(|c| is_active(c) && c != '\n'));
            let back: serde_json::Value = serde_json::from_str(&escaped).unwrap();
            prop_assert_eq!(back["k"].as_str(), Some(given.as_str()));
        }
    }
}
