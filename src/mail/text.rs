//! A person's words out of a text part: format=flowed undone, signature, quotes and the line
//! above them cut.

use super::history;

/// One line of a text and how deep it is quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) depth: usize,
    pub(crate) text: String,
}

/// A text without what its author did not write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnWords {
    pub(crate) text: String,
    /// How many lines were quotes, attribution lines included.
    pub(crate) quoted: usize,
    /// How many lines the signature had.
    pub(crate) signature: usize,
}

/// `text` with LF line ends and without characters that have no place in a text: NUL and other
/// controls except tab, and byte order marks.
pub(crate) fn clean(text: &str) -> String {
    let unbroken = !text.as_bytes().contains(&b'\r');
    let text = if unbroken { text.to_owned() } else { text.replace("\r\n", "\n").replace('\r', "\n") };
    // Nearly every text: nothing in it is to go.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        return text;
    }
    text.chars().filter(|c| !is_control(*c) || matches!(c, '\n' | '\t')).collect()
}

/// `text` as one line that is safe to be shown: controls and white space become single spaces.
pub(crate) fn printable(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if is_control(c) { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Controls (C0, DEL, C1), byte order marks, line separators, and the characters that turn the
/// direction of writing: in a text of somebody else they can forge what a reader sees.
pub(crate) fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Lines with their quote depth. `flowed` is `Some(delsp)` for a text in format=flowed, which is
/// undone as RFC 3676, section 4, says: quote marks, then space-stuffing, then soft line breaks.
pub(crate) fn to_lines(text: &str, flowed: Option<bool>) -> Vec<Line> {
    let Some(delsp) = flowed else {
        return text.lines().map(plain_line).collect();
    };
    let mut joined: Vec<Line> = Vec::new();
    let mut soft = false;
    for line in text.lines() {
        let unquoted = line.trim_start_matches('>');
        let depth = line.len() - unquoted.len();
        let content = unquoted.strip_prefix(' ').unwrap_or(unquoted);
        // The signature mark ends with a space but not softly (section 4.3 there).
        let is_mark = content == "-- ";
        let ends_soft = content.ends_with(' ') && !is_mark;
        let kept = if ends_soft && delsp { content.strip_suffix(' ').unwrap_or(content) } else { content };
        match joined.last_mut() {
            // A change of depth ends a paragraph whatever the line before ends with.
            Some(last) if soft && last.depth == depth && !is_mark => last.text.push_str(kept),
            _ => joined.push(Line { depth, text: kept.to_owned() }),
        }
        soft = ends_soft;
    }
    joined
}

/// `> > text`, `>> text`: marks with at most a space between them.
fn plain_line(line: &str) -> Line {
    let mut depth = 0;
    let mut rest = line;
    while let Some(after) = rest.strip_prefix('>') {
        depth += 1;
        rest = after.strip_prefix(' ').filter(|next| next.starts_with('>')).unwrap_or(after);
    }
    Line { depth, text: rest.to_owned() }
}

/// A clear-signed text without its armour (RFC 9580, section 7): the marks, the hash headers and
/// the signature go, escaped dashes come back.
pub(crate) fn unwrap_signed(lines: Vec<Line>) -> Vec<Line> {
    let is = |line: &Line, mark: &str| line.depth == 0 && line.text.trim_end() == mark;
    let Some(begin) = lines.iter().position(|line| is(line, "-----BEGIN PGP SIGNED MESSAGE-----")) else {
        return lines;
    };
    let mut kept = Vec::with_capacity(lines.len());
    let mut in_headers = false;
    let mut in_signature = false;
    for (at, mut line) in lines.into_iter().enumerate() {
        if at == begin {
            in_headers = true;
        } else if in_headers {
            in_headers = !line.text.trim().is_empty();
        } else if is(&line, "-----BEGIN PGP SIGNATURE-----") {
            in_signature = true;
        } else if is(&line, "-----END PGP SIGNATURE-----") {
            in_signature = false;
        } else if !in_signature {
            if let Some(unescaped) = line.text.strip_prefix("- ").filter(|_| at > begin) {
                line.text = unescaped.to_owned();
            }
            kept.push(line);
        }
    }
    kept
}

/// What the author wrote: without the signature, the history, quotes, and the attribution above
/// each quote.
pub(crate) fn own_words(lines: Vec<Line>) -> OwnWords {
    let mut lines = join_wrapped(mark_bars(unmark_from(split_inline(lines))));
    let mut words = OwnWords::default();
    let end = own_end(&lines, &mut words);
    lines.truncate(end);
    // The rule that clients draw above a history.
    while words.quoted > 0
        && lines
            .pop_if(|line| line.depth == 0 && (line.text.trim().is_empty() || is_rule(&line.text)))
            .is_some()
    {}
    let mut kept: Vec<&str> = Vec::new();
    let mut in_quote = false;
    for line in &lines {
        if line.depth > 0 {
            if !in_quote {
                words.quoted += drop_attribution(&mut kept);
            }
            in_quote = true;
            words.quoted += 1;
            continue;
        }
        let text = line.text.trim_end();
        // Around a quote that is gone one blank line is enough.
        if text.is_empty() && in_quote && kept.last().is_none_or(|last| last.is_empty()) {
            continue;
        }
        in_quote = in_quote && text.is_empty();
        kept.push(text);
    }
    words.text = kept.join("\n").trim_matches('\n').to_owned();
    if words.text.trim().is_empty() {
        words.text.clear();
    }
    words
}

/// Where the author's part ends, because a signature, a footer or a history begins there; what
/// follows is counted.
fn own_end(lines: &[Line], words: &mut OwnWords) -> usize {
    let mut end = None;
    let mut in_history = false;
    for (at, line) in lines.iter().enumerate() {
        if line.depth > 0 {
            words.quoted += usize::from(end.is_some());
            continue;
        }
        // A history without marks; what stands above marked quotes is left to `drop_attribution`.
        if !in_history && history_begins(lines, at) {
            in_history = true;
            end.get_or_insert(at);
        }
        let rest = lines.get(at..).unwrap_or_default();
        if end.is_none() && (is_signature_mark(rest) || is_footer(rest)) {
            end = Some(at);
            // The mark itself is no line of it.
            continue;
        }
        if end.is_none() && history::is_device_signature(&line.text) && is_below(lines, at) {
            end = Some(at);
        }
        match end {
            Some(_) if in_history => words.quoted += 1,
            Some(_) => words.signature += usize::from(!line.text.trim().is_empty()),
            None => {}
        }
    }
    end.unwrap_or(lines.len())
}

/// Whether a history without quote marks begins at line `at`.
fn history_begins(lines: &[Line], at: usize) -> bool {
    if !lines.get(at).is_some_and(|line| history::may_begin(&line.text)) {
        return false;
    }
    let open: Vec<&str> = lines
        .iter()
        .skip(at)
        .take_while(|line| line.depth == 0)
        .take(12)
        .map(|line| line.text.as_str())
        .collect();
    if !history::begins(&open) {
        return false;
    }
    // A mark or an attribution right above a marked quote belongs to that quote alone.
    let block = open.iter().take_while(|line| !line.trim().is_empty()).count();
    let next = lines.iter().skip(at + block).find(|line| line.depth > 0 || !line.text.trim().is_empty());
    let paragraph = open.get(..block).unwrap_or_default();
    let belongs = paragraph.last().is_some_and(|line| history::is_mark(line))
        || history::attribution_start(paragraph).is_some();
    !(belongs && next.is_some_and(|line| line.depth > 0))
}

/// `-- ` (RFC 3676, section 4.3); or the same without its space, as clients leave it that cut
/// blanks at line ends, if no more follows it than a signature has.
fn is_signature_mark(rest: &[Line]) -> bool {
    const MOST: usize = 8;
    let below = rest.iter().skip(1).take_while(|line| line.depth == 0);
    let texts = below.filter(|line| !line.text.trim().is_empty()).take(MOST + 1);
    match rest.first().map(|line| line.text.as_str()) {
        Some("-- ") => true,
        Some("--") => (1..=MOST).contains(&texts.count()),
        _ => false,
    }
}

/// A mailing list's footer: a rule, then a few lines that name the list or an address, then
/// nothing.
fn is_footer(rest: &[Line]) -> bool {
    const MOST: usize = 10;
    let names = |line: &Line| {
        let text = line.text.to_lowercase();
        ["mailing list", "unsubscribe", "http://", "https://"].iter().any(|word| text.contains(word))
    };
    if !rest.first().is_some_and(|line| is_rule(&line.text)) {
        return false;
    }
    let texts = rest.iter().skip(1).filter(|line| !line.text.trim().is_empty());
    let below: Vec<&Line> = texts.take(MOST + 1).collect();
    (1..=MOST).contains(&below.len())
        && below.iter().all(|line| line.depth == 0)
        && below.iter().any(|line| names(line))
}

/// A line of ten or more of the same mark.
fn is_rule(line: &str) -> bool {
    let line = line.trim();
    let mark = line.chars().next();
    line.len() >= 10 && mark.is_some_and(|mark| "_-=~*#─".contains(mark) && line.chars().all(|c| c == mark))
}

/// Whether the line stands below a text and ends a paragraph.
fn is_below(lines: &[Line], at: usize) -> bool {
    let next = lines.get(at + 1);
    let ends = next.is_none_or(|line| line.depth > 0 || line.text.trim().is_empty() || is_rule(&line.text));
    ends && lines.iter().take(at).any(|line| !line.text.trim().is_empty())
}

/// Lines that s-nail quotes with ` |`, below its attribution of two lines.
fn mark_bars(mut lines: Vec<Line>) -> Vec<Line> {
    let mut above = "";
    let mut starts = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if line.depth == 0 && above.ends_with(" wrote in") && line.text.trim_end().ends_with(">:") {
            starts.push(at + 1);
        }
        above = line.text.trim_end();
    }
    for start in starts {
        for line in lines.iter_mut().skip(start).take_while(|line| line.text.starts_with(" |")) {
            line.depth = 1;
        }
    }
    lines
}

/// An attribution in the middle of a line, as Yahoo's web mailer writes it: the words before it
/// and the history after it become lines of their own.
fn split_inline(lines: Vec<Line>) -> Vec<Line> {
    let mut split = Vec::with_capacity(lines.len());
    for line in lines {
        let parts = if line.depth == 0 { history::inline_attribution(&line.text) } else { None };
        match parts {
            Some(parts) => split.extend(parts.map(|text| Line { depth: 0, text: text.to_owned() })),
            None => split.push(line),
        }
    }
    split
}

/// Quoted lines that a client wrapped, so that their ends lost the quote mark: a line between
/// quoted ones that goes on in the middle of a sentence.
fn join_wrapped(mut lines: Vec<Line>) -> Vec<Line> {
    let wrapped: Vec<usize> = lines
        .windows(3)
        .enumerate()
        .filter_map(|(at, window)| {
            let [above, line, below] = window else { return None };
            let goes_on = above.depth > 0
                && above.text.len() >= 60
                && !above.text.trim_end().ends_with(['.', '?', '!', ':', ';']);
            let continued = line.depth == 0 && line.text.starts_with(char::is_lowercase);
            (goes_on && continued && below.depth > 0).then_some(at + 1)
        })
        .collect();
    for at in wrapped {
        if let Some(line) = lines.get_mut(at) {
            line.depth = 1;
        }
    }
    lines
}

/// `>From ` among unquoted lines was written `From ` and marked by a mail store or a client.
fn unmark_from(mut lines: Vec<Line>) -> Vec<Line> {
    let depths: Vec<usize> = lines.iter().map(|line| line.depth).collect();
    for (at, line) in lines.iter_mut().enumerate() {
        let neighbour = |at: Option<usize>| at.and_then(|at| depths.get(at)).copied().unwrap_or(0);
        let alone = neighbour(at.checked_sub(1)) == 0 && neighbour(at.checked_add(1)) == 0;
        if line.depth == 1 && alone && line.text.starts_with("From ") {
            line.depth = 0;
        }
        // The end of an attribution that was wrapped after its address.
        if line.depth == 1 && line.text.trim() == ":" {
            *line = Line { depth: 0, text: ">:".to_owned() };
        }
    }
    lines
}

/// Takes the attribution (`On Monday Alice wrote:`) off the end of the lines kept so far, with
/// the blank line that may follow it, and says how many lines it had.
fn drop_attribution(kept: &mut Vec<&str>) -> usize {
    // Two where the client's language and the author's differ.
    let first = drop_one_attribution(kept);
    if first == 0 { 0 } else { first + drop_one_attribution(kept) }
}

fn drop_one_attribution(kept: &mut Vec<&str>) -> usize {
    let blanks = kept.iter().rev().take_while(|line| line.is_empty()).count();
    let text = kept.len() - blanks;
    // Wrapped attributions have two lines, seldom more.
    let block = kept.iter().take(text).rev().take(4).take_while(|line| !line.is_empty()).count();
    let paragraph: Vec<&str> = kept.iter().take(text).skip(text - block).copied().collect();
    let mark = paragraph.last().filter(|line| history::is_mark(line)).map(|_| block - 1);
    let Some(first) = mark.or_else(|| history::attribution_start(&paragraph)) else {
        return 0;
    };
    let dropped = block - first;
    kept.truncate(text - dropped);
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, flowed: Option<bool>) -> OwnWords {
        own_words(to_lines(text, flowed))
    }

    #[test]
    fn flowed_text_is_joined_as_rfc_3676_says() {
        let line = |depth, text: &str| Line { depth, text: text.to_owned() };
        for (text, delsp, wanted) in [
            ("one \ntwo \nthree\nfour", false, vec![line(0, "one two three"), line(0, "four")]),
            ("Wort\u{e4}n \nderung", true, vec![line(0, "Wort\u{e4}nderung")]),
            (" From me\n  two spaces", false, vec![line(0, "From me"), line(0, " two spaces")]),
            (
                ">> deep \n>> er\n> less \nmine",
                false,
                vec![line(2, "deep er"), line(1, "less "), line(0, "mine")],
            ),
            ("end \n-- \nsig", false, vec![line(0, "end "), line(0, "-- "), line(0, "sig")]),
            (" >not a quote", false, vec![line(0, ">not a quote")]),
        ] {
            assert_eq!(to_lines(text, Some(delsp)), wanted, "{text:?}");
        }
    }

    #[test]
    fn quotes_attributions_and_signatures_are_cut() {
        for (text, wanted, quoted, signature) in [
            ("Hello\n-- \nMe\nMy street", "Hello", 0, 2),
            ("Hello\n--\nMe", "Hello", 0, 1),
            ("Hello\n--\n1\n2\n3\n4\n5\n6\n7\n8\n9", "Hello\n--\n1\n2\n3\n4\n5\n6\n7\n8\n9", 0, 0),
            ("Yes.\n\nOn Mon, Alice wrote:\n> What?\n> Really?\n", "Yes.", 3, 0),
            (
                "Yes.\n\nOn Mon, 2 Nov 2026 at 10:00, Alice Example <\nalice@example.org> wrote:\n\n> What?\n",
                "Yes.",
                3,
                0,
            ),
            ("> What?\nYes.\n> And?\nNo.", "Yes.\nNo.", 2, 0),
            ("> a\n\nOne.\n\n> b\n\nTwo.", "One.\n\nTwo.", 2, 0),
            ("I like this:\n> What?\n", "I like this:", 1, 0),
            ("Am 02.11.26 um 10:00 schrieb Alice:\n> Was?\nDas.", "Das.", 2, 0),
            ("Alice <alice@example.org> writes:\n> What?\nThat.", "That.", 2, 0),
            ("Le 2 nov. 2026 à 10:00, Alice a écrit :\n> Quoi ?\nCela.", "Cela.", 2, 0),
            ("See\n>From here on\nit goes", "See\nFrom here on\nit goes", 0, 0),
            ("> See\n>From here\nmine", "mine", 2, 0),
            ("Top.\n\n-----Original Message-----\nFrom: Bob\nSubject: x\n\nold", "Top.", 5, 0),
            ("> only\n> quotes\n\n", "", 2, 0),
            ("-----Original Message-----\n> old\n\nMine, below.", "Mine, below.", 2, 0),
            (
                "Top.\nSent from Yahoo Mail on Android\n \n  On Fri, Nov 27, 2026 at 2:20 PM, Bob<bob@example.org> wrote:   old\nold",
                "Top.",
                3,
                1,
            ),
            (
                "Yes.\n\nOn 2026-11-02 10:00, Bob wrote:\nLe 02.11.2026 10:00, Bob a \u{e9}crit :\n> old",
                "Yes.",
                3,
                0,
            ),
            (
                "Yes.\n\nSent from my iPhone\n\nOn Nov 2, 2026, at 10:00, Bob <bob@example.org> wrote:\n\nold",
                "Yes.",
                3,
                1,
            ),
            (
                "Yes.\n________________________________\nFrom: Bob\nSent: Monday\nTo: Ann\nSubject: x\n\nold",
                "Yes.",
                6,
                0,
            ),
            ("Yes.\n\n____________________\nplanets mailing list\nhttp://example.org/planets", "Yes.", 0, 2),
            (
                "> a quoted line that a client wrapped at its end since it was too\nlong for it\n> and so on\nMine.",
                "Mine.",
                3,
                0,
            ),
            (
                "> a question that is as long as the one above and that ends well?\nyes, it does\n> and so on",
                "yes, it does",
                2,
                0,
            ),
            ("  \n\t\n", "", 0, 0),
        ] {
            let found = words(text, None);
            let wanted = OwnWords { text: wanted.to_owned(), quoted, signature };
            assert_eq!(found, wanted, "{text:?}");
        }
    }

    #[test]
    fn what_could_forge_a_text_is_gone() {
        assert_eq!(clean("a\r\nb\rc\0\u{1b}[31md\u{202e}\te\u{feff}"), "a\nb\nc[31md\te");
        assert_eq!(printable(" a\r\nb\u{9b}\tc "), "a b c");
    }
}
