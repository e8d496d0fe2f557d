//! What mail programs do to the lines of a text, undone. Lines may end with LF, CR LF or
//! CR CR LF; what a line ends with is left as it is, unless the line is joined to the next.

use super::super::structure::lines;

/// What a mail program did to the text of a message and what has been undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The text was written in another character set than UTF-8.
    Charset,
    /// `From ` at the start of a line became `>From `.
    FromMarked,
    /// Lines of `>From ` and `>>From ` got one more `>`.
    FromMarkedAgain,
    /// `From ` at the start of a line got a space before it.
    FromStuffed,
    /// Lines that began with a space, or with `From ` or `>`, got a space before them (RFC 3676,
    /// section 4.4).
    Stuffed,
    /// Lines were broken softly, as format=flowed says, and stuffed.
    Flowed,
    /// The same, with a space added at each break (`DelSp=yes`).
    FlowedDelSp,
    /// Lines longer than a mail system takes were broken, with a space after the break.
    Folded,
}

/// A text in which something was undone.
pub(super) struct Undone {
    pub(super) change: Change,
    pub(super) content: Vec<u8>,
    /// Each place that was changed looks exactly as if a mail program had been there.
    pub(super) certain: bool,
}

/// How a part says that its text is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared<'a> {
    /// `format=flowed`, and whether `DelSp=yes` with it.
    pub(crate) flowed: Option<bool>,
    /// The character set, if it is one that is not a part of UTF-8.
    pub(crate) charset: Option<&'a str>,
}

/// `content` with each change undone that may have been made to it, in the order in which they
/// are tried. What would change nothing is left out.
pub(super) fn all<'a>(content: &'a [u8], declared: Declared<'a>) -> impl Iterator<Item = Undone> + 'a {
    let flowed = declared.flowed.is_some();
    let tries: [(Change, bool); 8] = [
        (Change::Charset, declared.charset.is_some()),
        (Change::FromMarked, true),
        (Change::FromMarkedAgain, true),
        (Change::FromStuffed, !flowed),
        (Change::Stuffed, flowed),
        (Change::Flowed, declared.flowed == Some(false)),
        (Change::FlowedDelSp, declared.flowed == Some(true)),
        (Change::Folded, true),
    ];
    tries.into_iter().filter(|(_, may)| *may).filter_map(move |(change, _)| {
        let (undone, certain) = match change {
            Change::None => return None,
            Change::Charset => (recode(content, declared.charset?)?, true),
            Change::FromMarked => (drop_marks(content, |line| line.starts_with(b">From ")), true),
            Change::FromMarkedAgain => (drop_marks(content, is_marked_again), true),
            Change::FromStuffed => (drop_marks(content, |line| line.starts_with(b" From ")), true),
            Change::Stuffed => (drop_marks(content, |line| line.starts_with(b" ")), true),
            Change::Flowed => join_flowed(content, false),
            Change::FlowedDelSp => join_flowed(content, true),
            Change::Folded => join_folded(content),
        };
        (undone != content).then_some(Undone { change, content: undone, certain })
    })
}

/// The text in UTF-8, if every byte of it has a meaning in its character set.
fn recode(content: &[u8], charset: &str) -> Option<Vec<u8>> {
    let decode = mail_parser::decoders::charsets::map::charset_decoder(charset.as_bytes())?;
    // The decoders are another library's; a panic in one is one more text that can't be read.
    let text = std::panic::catch_unwind(|| decode(content)).ok()?;
    (!text.contains('\u{fffd}')).then(|| text.into_bytes())
}

/// Drops the first byte of each line that is marked.
fn drop_marks(content: &[u8], is_marked: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut kept = Vec::with_capacity(content.len());
    for line in lines(content) {
        let unmarked = line.get(1..).filter(|_| is_marked(line));
        kept.extend_from_slice(unmarked.unwrap_or(line));
    }
    kept
}

fn is_marked_again(line: &[u8]) -> bool {
    let marks = line.iter().take_while(|byte| **byte == b'>').count();
    marks > 0 && line.get(marks..).is_some_and(|rest| rest.starts_with(b"From "))
}

/// A line's text and its end.
fn parts(line: &[u8]) -> (&[u8], &[u8]) {
    let text = line.strip_suffix(b"\n").map_or(line, |line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    });
    line.split_at_checked(text.len()).unwrap_or((line, b""))
}

/// Undoes format=flowed. It is certain if each soft break stands where a client breaks lines:
/// near the margin, and where the next word would have gone beyond it. A line that its author
/// ended with a space looks like a soft break, too, but seldom stands there.
fn join_flowed(content: &[u8], delsp: bool) -> (Vec<u8>, bool) {
    let mut joined = Vec::with_capacity(content.len());
    let mut certain = true;
    // The line before, if it ends softly: its length.
    let mut soft: Option<usize> = None;
    let mut all = lines(content).peekable();
    while let Some(line) = all.next() {
        let (text, end) = parts(line);
        let quoted = text.starts_with(b">");
        let own = match text.strip_prefix(b" ") {
            Some(stuffed) => stuffed,
            // The mark of a quote is repeated on each line of a paragraph.
            None if soft.is_some() && quoted => {
                let marks = text.iter().take_while(|byte| **byte == b'>').count();
                let rest = text.get(marks..).unwrap_or_default();
                rest.strip_prefix(b" ").unwrap_or(rest)
            }
            None => text,
        };
        if let Some(length) = soft {
            let word = own.split(|byte| *byte == b' ').next().map_or(0, columns);
            certain &= !quoted && length <= 80 && length + word > 66;
        }
        // The mark of a signature is no soft break.
        let is_soft = own.ends_with(b" ") && own != b"-- " && all.peek().is_some() && !end.is_empty();
        soft = is_soft.then(|| columns(text));
        let kept = if is_soft && delsp { own.strip_suffix(b" ").unwrap_or(own) } else { own };
        joined.extend_from_slice(kept);
        if !is_soft {
            joined.extend_from_slice(end);
        }
    }
    (joined, certain)
}

/// How many characters a text has, if it is UTF-8.
fn columns(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// Joins lines that a mail system broke: Postfix writes 998 bytes, a line end and a space.
fn join_folded(content: &[u8]) -> (Vec<u8>, bool) {
    let mut joined = Vec::with_capacity(content.len());
    let mut broken = false;
    let mut all = lines(content).peekable();
    while let Some(line) = all.next() {
        let line = line.strip_prefix(b" ").filter(|_| broken).unwrap_or(line);
        let (text, end) = parts(line);
        broken = text.len() == 998 && all.peek().is_some_and(|next| next.starts_with(b" "));
        joined.extend_from_slice(text);
        if !broken {
            joined.extend_from_slice(end);
        }
    }
    (joined, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tried(content: &str, declared: Declared<'_>) -> Vec<(Change, String, bool)> {
        all(content.as_bytes(), declared)
            .map(|undone| (undone.change, String::from_utf8(undone.content).expect("text"), undone.certain))
            .collect()
    }

    #[test]
    fn each_change_is_undone_line_by_line() {
        let plain = Declared::default();
        let flowed = Declared { flowed: Some(false), charset: None };
        let delsp = Declared { flowed: Some(true), charset: None };
        let wide = "word ".repeat(14);
        let long = "x".repeat(998);
        let table = [
            ("a\r\n> From b\r\n", plain, Vec::new()),
            (
                ">From a\r\n>>From b\n",
                plain,
                vec![
                    (Change::FromMarked, "From a\r\n>>From b\n", true),
                    (Change::FromMarkedAgain, "From a\r\n>From b\n", true),
                ],
            ),
            (" From a\r\n b\r\n", plain, vec![(Change::FromStuffed, "From a\r\n b\r\n", true)]),
            // A space that nobody needs before `b`: stuffed all the same.
            (
                " From a\r\n b\r\n",
                flowed,
                vec![(Change::Stuffed, "From a\r\nb\r\n", true), (Change::Flowed, "From a\r\nb\r\n", true)],
            ),
            // Short lines that end with a space were written so.
            ("a \r\nb \r\n", flowed, vec![(Change::Flowed, "a b \r\n", false)]),
            ("a \r\r\nb", delsp, vec![(Change::FlowedDelSp, "ab", false)]),
            ("-- \r\nb", flowed, Vec::new()),
            ("> a \r\n> b\r\nc", flowed, vec![(Change::Flowed, "> a b\r\nc", false)]),
        ];
        for (content, declared, wanted) in table {
            let wanted: Vec<_> =
                wanted.into_iter().map(|(change, text, sure)| (change, text.to_owned(), sure)).collect();
            assert_eq!(tried(content, declared), wanted, "{content:?}");
        }
        let broken = format!("{wide}\r\nmore\r\n");
        assert_eq!(tried(&broken, flowed), [(Change::Flowed, format!("{wide}more\r\n"), true)]);
        let folded = format!("{long}\r\n {long}\r\n y\r\n z");
        assert_eq!(tried(&folded, plain), [(Change::Folded, format!("{long}{long}y\r\n z"), true)]);
    }

    #[test]
    fn a_character_set_is_changed_back_if_every_byte_has_a_meaning() {
        let declared = Declared { flowed: None, charset: Some("iso-8859-1") };
        let found: Vec<_> = all(b"Gr\xfc\xdfe", declared).map(|undone| undone.content).collect();
        assert_eq!(found, ["Gr\u{fc}\u{df}e".as_bytes()]);
        let unknown = Declared { flowed: None, charset: Some("x-none") };
        assert_eq!(all(b"Gr\xfc\xdfe", unknown).count(), 0);
        let broken = Declared { flowed: None, charset: Some("shift_jis") };
        assert_eq!(all(b"\x81", broken).count(), 0);
    }

    proptest! {
        #[test]
        fn nothing_panics(content: Vec<u8>, pieces in "( |>|From |\r\n|\n|-- |x){0,40}") {
            for flowed in [None, Some(false), Some(true)] {
                let declared = Declared { flowed, charset: Some("iso-2022-jp") };
                let _ = all(&content, declared).count();
                let _ = all(pieces.as_bytes(), declared).count();
            }
        }
    }
}
