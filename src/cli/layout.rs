//! How results look to a person: paragraphs that fit into 80 columns, colours where they help.
//!
//! Pure: values in, text out. Every string that is handed in must be escaped already.

/// Columns that a line has.
pub(super) const WIDTH: usize = 80;

/// Colours, or the absence of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Paint {
    /// Whether escape sequences are written.
    pub(super) on: bool,
}

impl Paint {
    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// What a line is about.
    #[must_use]
    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What is beside the point.
    #[must_use]
    pub(super) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// Good news.
    #[must_use]
    pub(super) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Worth a look.
    #[must_use]
    pub(super) fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// Bad news.
    #[must_use]
    pub(super) fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }
}

/// Columns that a text takes, roughly: wide characters (CJK, emoji) count two, combining marks none.
#[must_use]
pub(super) fn columns(text: &str) -> usize {
    text.chars()
        .map(|c| match u32::from(c) {
            0x300..=0x36f | 0xfe00..=0xfe0f => 0,
            0x1100..=0x115f
            | 0x2e80..=0xa4cf
            | 0xac00..=0xd7a3
            | 0xf900..=0xfaff
            | 0xfe30..=0xfe6f
            | 0xff00..=0xff60
            | 0x1f300..=0x1faff
            | 0x20000..=0x3fffd => 2,
            _ => 1,
        })
        .sum()
}

/// Breaks a text between words so that its lines, each with `indent` spaces before it, fit into
/// [`WIDTH`]. A single word that is longer (an address) stays whole: it must be possible to copy it.
/// Ends with a line end, unless the text is empty.
#[must_use]
pub(super) fn paragraph(text: &str, indent: usize) -> String {
    let room = WIDTH.saturating_sub(indent).max(20);
    let mut out = String::new();
    let mut used = 0_usize;
    for word in text.split_whitespace() {
        let width = columns(word);
        if used > 0 && used.saturating_add(width).saturating_add(1) > room {
            out.push('\n');
            used = 0;
        }
        if used == 0 {
            out.extend(std::iter::repeat_n(' ', indent));
        } else {
            out.push(' ');
            used = used.saturating_add(1);
        }
        out.push_str(word);
        used = used.saturating_add(width);
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Each line of a text with `indent` spaces before it, otherwise as it is.
#[must_use]
pub(super) fn indented(text: &str, indent: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

/// Names on the left, values on the right.
#[must_use]
pub(super) fn pairs(rows: &[(&str, String)], paint: Paint) -> String {
    let left = rows.iter().map(|(name, _)| columns(name)).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in rows {
        let gap = left.saturating_sub(columns(name)).saturating_add(2);
        out.push_str(&paint.dim(name));
        // A long value goes on under itself.
        let indent = left.saturating_add(2);
        let body = paragraph(value, indent);
        let body = body.strip_prefix(" ".repeat(indent).as_str()).unwrap_or("\n");
        out.extend(std::iter::repeat_n(' ', gap));
        out.push_str(body);
    }
    out
}

/// A number of bytes for a person.
#[must_use]
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, size) in UNITS {
        if n >= size {
            let tenths = u128::from(n).saturating_mul(10) / u128::from(size);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    count(n, "byte")
}

/// A number of seconds for a person.
#[must_use]
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `1 message`, `2 messages`.
#[must_use]
pub(super) fn count(n: u64, noun: &str) -> String {
    let ending = if noun.ends_with('x') { "es" } else { "s" };
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}{ending}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_fit_and_keep_long_words_whole() {
        let word = "x".repeat(100);
        let text = format!("{} {word} {}", "some words ".repeat(20), "木星 ".repeat(60));
        let out = paragraph(&text, 4);
        let long: Vec<_> = out.lines().filter(|l| columns(l) > WIDTH).collect();
        assert_eq!(long, [format!("    {word}")]);
        assert!(out.lines().all(|l| l.starts_with("    ") && !l.ends_with(' ')));
        assert_eq!(out.split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
        assert_eq!(paragraph("", 4), "");
    }

    #[test]
    fn figures_for_people() {
        for (n, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        for (n, text) in [(0, "0 s"), (61, "1 min 1 s"), (3700, "1 h 1 min"), (90_000, "1 d 1 h")] {
            assert_eq!(duration(n), text);
        }
    }

    #[test]
    fn pairs_line_up() {
        let out = pairs(&[("a", "1".into()), ("long", String::new()), ("b", "2".into())], Paint::default());
        assert_eq!(out, "a     1\nlong  \nb     2\n");
    }

    #[test]
    fn no_colour_unless_it_is_on() {
        assert_eq!(Paint { on: false }.red("x"), "x");
        assert_eq!(Paint { on: true }.red("x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
