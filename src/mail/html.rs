//! HTML mail as text. mail-parser turns the HTML into text; before that, what is quoted is cut
//! and the ends of blocks become line breaks, neither of which it does.

use mail_parser::decoders::html::html_to_text;

/// Elements that start and end a line.
const BLOCKS: [&str; 17] = [
    "div",
    "p",
    "tr",
    "li",
    "ul",
    "ol",
    "table",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "pre",
    "blockquote",
    "hr",
    "section",
];

/// The text of an HTML part and how many quoted passages (`<blockquote>`) were cut from it.
pub(crate) fn to_text(html: &str) -> (String, usize) {
    let (unquoted, cut) = prepare(html);
    let text = html_to_text(&unquoted).replace('\u{a0}', " ");
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        // Nested blocks would each leave a blank line.
        if !(line.is_empty() && lines.last().is_none_or(|last| last.is_empty())) {
            lines.push(line);
        }
    }
    (lines.join("\n").trim_end().to_owned(), cut)
}

fn prepare(html: &str) -> (String, usize) {
    let mut result = String::with_capacity(html.len());
    let mut depth = 0usize;
    let mut cut = 0;
    let mut rest = html;
    // Whether there are words in the current line: nested blocks end it only once.
    let mut words = false;
    while let Some(at) = rest.find('<') {
        let (before, from_tag) = rest.split_at_checked(at).unwrap_or((rest, ""));
        let comment = from_tag.starts_with("<!--");
        let end = if comment {
            from_tag.find("-->").map(|end| end + 3)
        } else {
            from_tag.find('>').map(|end| end + 1)
        };
        let (tag, after) = from_tag.split_at_checked(end.unwrap_or(from_tag.len())).unwrap_or((from_tag, ""));
        if depth == 0 {
            result.push_str(before);
            words |= !before.trim().is_empty();
        }
        rest = after;
        if comment {
            continue;
        }
        let inner = tag.trim_start_matches('<').trim_end_matches('>');
        let closing = inner.starts_with('/');
        let name: String = inner
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if name == "blockquote" {
            if closing {
                depth = depth.saturating_sub(1);
            } else {
                cut += usize::from(depth == 0);
                depth += 1;
            }
        }
        if depth == 0 {
            if !BLOCKS.contains(&name.as_str()) {
                result.push_str(tag);
            } else if words {
                // A paragraph has a blank line after it.
                let paragraph = closing && matches!(name.as_str(), "p" | "h1" | "h2" | "h3" | "blockquote");
                result.push_str(if paragraph { "<br><br>" } else { "<br>" });
                words = false;
            }
        }
    }
    if depth == 0 {
        result.push_str(rest);
    }
    (result, cut)
}

#[cfg(test)]
mod tests {
    use super::to_text;
    use proptest::prelude::*;

    #[test]
    fn blocks_become_lines_and_quotes_go() {
        for (html, text, cut) in [
            ("<p>One &amp; two</p><p>three</p>", "One & two\n\nthree", 0),
            ("<div>a<br>b</div><div>c</div>", "a\nb\nc", 0),
            ("<head><title>x</title></head><body>Hi<!-- <p>hidden</p> --> there</body>", "Hi there", 0),
            ("Yes.<blockquote>What?<blockquote>Deep</blockquote></blockquote>No.", "Yes.\n\nNo.", 1),
            ("Yes.<blockquote>never closed", "Yes.", 1),
            ("a&nbsp;b <b", "a b", 0),
        ] {
            assert_eq!(to_text(html), (text.to_owned(), cut), "{html}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(html in "(<|>|/|!--|-->|blockquote|div|&|;|#x?[0-9]{0,9}|ü|[a-z ]|\"){0,60}") {
            let _ = to_text(&html);
        }
    }
}
