//! HTML mail as text, by the library html2text. Quoted passages come out as lines with quote
//! marks, so that what is cut from plain text is cut from them in the same way.
//!
//! The library's work grows faster than the depth of nesting, and a panic in it is not ruled
//! out: what it is given is bounded, and a panic is one more text that can't be read.

use html2text::render::{TaggedLine, TextDecorator};

/// The most bytes of HTML in a mail.
pub(crate) const MOST_BYTES: usize = 256 << 10;

/// The most tags in them.
const MOST_TAGS: usize = 20_000;

/// How deep elements may nest.
const MOST_DEPTH: usize = 200;

/// Lines are not wrapped.
const WIDTH: usize = 100_000;

/// Elements that have no end tag, or whose end tag may be missing: they do not nest by themselves.
const FLAT: [&str; 25] = [
    "area", "base", "br", "col", "hr", "img", "input", "link", "meta", "wbr", "p", "li", "td", "th", "tr",
    "tbody", "thead", "tfoot", "dt", "dd", "option", "source", "colgroup", "html", "body",
];

/// The text of an HTML part; `None` if it is too large, too deeply nested, or beyond the library.
pub(crate) fn to_text(html: &str) -> Option<String> {
    if !is_within_bounds(html) {
        return None;
    }
    let render = || {
        html2text::config::with_decorator(Plain)
            .raw_mode(true)
            .allow_width_overflow()
            .string_from_read(html.as_bytes(), WIDTH)
            .ok()
    };
    let text = std::panic::catch_unwind(render).ok()??.replace('\u{a0}', " ");
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        // Nested blocks would each leave a blank line.
        if !(line.is_empty() && lines.last().is_none_or(|last| last.is_empty())) {
            lines.push(line);
        }
    }
    Some(lines.join("\n").trim_end().to_owned())
}

/// Bounds that ordinary mail is far from.
fn is_within_bounds(html: &str) -> bool {
    let (mut tags, mut depth) = (0usize, 0usize);
    if html.len() > MOST_BYTES {
        return false;
    }
    for tag in html.split('<').skip(1) {
        let closing = tag.starts_with('/');
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        tags += 1;
        if !name.is_empty() && !FLAT.contains(&name.as_str()) {
            depth = if closing { depth.saturating_sub(1) } else { depth + 1 };
        }
        if tags > MOST_TAGS || depth > MOST_DEPTH {
            return false;
        }
    }
    true
}

/// Nothing is added to the words but quote marks and the marks of lists.
#[derive(Clone, Debug)]
struct Plain;

impl TextDecorator for Plain {
    type Annotation = ();

    fn decorate_link_start(&mut self, _: &str) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_link_end(&mut self) -> String {
        String::new()
    }
    fn decorate_em_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_em_end(&self) -> String {
        String::new()
    }
    fn decorate_strong_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_strong_end(&self) -> String {
        String::new()
    }
    fn decorate_strikeout_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_strikeout_end(&self) -> String {
        String::new()
    }
    fn decorate_code_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_code_end(&self) -> String {
        String::new()
    }
    fn decorate_preformat_first(&self) {}
    fn decorate_preformat_cont(&self) {}
    fn decorate_image(&mut self, _: &str, _: &str) -> (String, ()) {
        (String::new(), ())
    }
    fn header_prefix(&self, _: usize) -> String {
        String::new()
    }
    fn quote_prefix(&self) -> String {
        "> ".to_owned()
    }
    fn unordered_item_prefix(&self) -> String {
        "- ".to_owned()
    }
    fn ordered_item_prefix(&self, number: i64) -> String {
        format!("{number}. ")
    }
    fn make_subblock_decorator(&self) -> Self {
        Plain
    }
    fn decorate_superscript_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_superscript_end(&self) -> String {
        String::new()
    }
    fn finalise(&mut self, _: Vec<String>) -> Vec<TaggedLine<()>> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn html_becomes_text_and_quotes_are_marked() {
        for (html, text) in [
            ("<p>One &amp; two</p><p>three</p>", "One & two\n\nthree"),
            ("<div>a<br>b</div><div>c</div>", "a\nb\nc"),
            (
                "<head><title>x</title><style>p {}</style></head><body>Hi<!-- <p>hidden</p> --> there</body>",
                "Hi there",
            ),
            (
                "Yes.<blockquote>What?<blockquote>Deep</blockquote></blockquote>No.",
                "Yes.\n\n> What?\n>\n> > Deep\n\nNo.",
            ),
            ("a&nbsp;b <script>alert(1)</script><img alt=x src=y><a href=z>link</a>", "a b link"),
            ("<ul><li>one<li>two</ul><table><tr><td>1<td>2</table>", "- one\n- two\n\n1\n2"),
            ("<pre>  kept\n  as is</pre>", "  kept\n  as is"),
        ] {
            assert_eq!(to_text(html).as_deref(), Some(text), "{html}");
        }
    }

    #[test]
    fn every_bound_is_reached() {
        assert!(to_text(&"x".repeat(MOST_BYTES)).is_some());
        assert_eq!(to_text(&"x".repeat(MOST_BYTES + 1)), None);
        assert!(to_text(&"<br>".repeat(MOST_TAGS)).is_some());
        assert_eq!(to_text(&"<br>".repeat(MOST_TAGS + 1)), None);
        assert!(to_text(&"<div>".repeat(MOST_DEPTH)).is_some());
        assert_eq!(to_text(&"<div>".repeat(MOST_DEPTH + 1)), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(html in "(<|>|/|!--|-->|blockquote|div|table|td|sup|li|rowspan=|&|;|#x?[0-9]{0,9}|ü|[a-z ]|\"){0,60}") {
            let _ = to_text(&html);
        }
    }
}
