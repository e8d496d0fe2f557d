//! A person's words out of a text part: format=flowed undone, signature, quotes and the line
//! above them cut, our tokens cut.

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
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
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

/// What the author wrote: without the signature, quotes, and the attribution above each quote.
pub(crate) fn own_words(lines: Vec<Line>) -> OwnWords {
    let mut lines = unmark_from(lines);
    let mut words = OwnWords::default();
    if let Some(mark) = lines.iter().position(|line| line.depth == 0 && line.text == "-- ") {
        words.signature = lines.iter().skip(mark + 1).filter(|line| line.depth == 0).count();
        words.quoted += lines.iter().skip(mark + 1).filter(|line| line.depth > 0).count();
        lines.truncate(mark);
    }
    if let Some(mark) = lines.iter().position(|line| line.depth == 0 && is_history_mark(&line.text)) {
        words.quoted += lines.len() - mark;
        lines.truncate(mark);
    }
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

/// `>From ` among unquoted lines was written `From ` and marked by a mail store or a client.
fn unmark_from(mut lines: Vec<Line>) -> Vec<Line> {
    let depths: Vec<usize> = lines.iter().map(|line| line.depth).collect();
    for (at, line) in lines.iter_mut().enumerate() {
        let neighbour = |at: Option<usize>| at.and_then(|at| depths.get(at)).copied().unwrap_or(0);
        let alone = neighbour(at.checked_sub(1)) == 0 && neighbour(at.checked_add(1)) == 0;
        if line.depth == 1 && alone && line.text.starts_with("From ") {
            line.depth = 0;
        }
    }
    lines
}

/// The line that clients put above a whole mail that they quote without marks.
fn is_history_mark(line: &str) -> bool {
    const WORDS: [&str; 6] = [
        "original message",
        "ursprüngliche nachricht",
        "message d'origine",
        "mensaje original",
        "messaggio originale",
        "oprindelig meddelelse",
    ];
    let inner = line.trim().trim_matches('-').trim().to_lowercase();
    line.trim().starts_with("--") && line.trim().ends_with("--") && WORDS.contains(&inner.as_str())
}

/// A line that phones and web mailers add: `Sent from my iPhone`.
pub(crate) fn is_device_signature(line: &str) -> bool {
    const STARTS: [&str; 2] = ["Sent from my ", "Sent from Mail for Windows"];
    line.len() <= 80 && STARTS.iter().any(|start| line.starts_with(start))
}

/// Takes the attribution (`On Monday Alice wrote:`) off the end of the lines kept so far, with
/// the blank line that may follow it, and says how many lines it had.
fn drop_attribution(kept: &mut Vec<&str>) -> usize {
    let blanks = kept.iter().rev().take_while(|line| line.is_empty()).count();
    let text = kept.len() - blanks;
    // Wrapped attributions have two lines, seldom three.
    let block = kept.iter().take(text).rev().take(3).take_while(|line| !line.is_empty()).count();
    let paragraph: Vec<&str> = kept.iter().take(text).skip(text - block).copied().collect();
    let Some(first) = attribution_start(&paragraph) else {
        return 0;
    };
    let dropped = block - first;
    kept.truncate(text - dropped);
    dropped
}

/// At which of these lines an attribution starts that ends with the last of them.
fn attribution_start(paragraph: &[&str]) -> Option<usize> {
    let last = paragraph.last()?.trim_end();
    if is_too_long(paragraph) || !last.ends_with([':', '：']) {
        return None;
    }
    // The shortest run of lines at the end that opens like one and says who or when; else the
    // shortest that says who.
    let run = |start: usize| paragraph.iter().skip(start).copied().collect::<Vec<_>>().join(" ");
    let when = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit()) || text.contains('@');
    let opening = (0..paragraph.len()).rev().find(|start| {
        let text = run(*start);
        opens_attribution(&text) && (says_who(&text) || when(&text))
    });
    opening.or_else(|| {
        (0..paragraph.len()).rev().find(|start| {
            let text = run(*start);
            says_who(&text) && (when(&text) || text.len() <= 80)
        })
    })
}

fn is_too_long(paragraph: &[&str]) -> bool {
    paragraph.iter().map(|line| line.len()).sum::<usize>() > 400
}

/// How attributions begin in the languages of common clients.
fn opens_attribution(text: &str) -> bool {
    const OPENINGS: [&str; 16] = [
        "On ",
        "Am ",
        "Le ",
        "El ",
        "Il ",
        "Op ",
        "Em ",
        "Den ",
        "W dniu ",
        "Dne ",
        "På ",
        "Den ",
        "Il giorno ",
        "Quoting ",
        "* ",
        "В ",
    ];
    let text = text.trim_start();
    OPENINGS.iter().any(|opening| text.starts_with(opening)) || text.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether it says that somebody wrote.
fn says_who(text: &str) -> bool {
    const VERBS: [&str; 22] = [
        "wrote",
        "writes",
        "schrieb",
        "écrit",
        "escribió",
        "ha scritto",
        "schreef",
        "skrev",
        "escreveu",
        "napsal",
        "napisał",
        "pisze",
        "kirjoitti",
        "написал",
        "пише",
        "писал",
        "写道",
        "寫道",
        "のメール",
        "書きました",
        "said",
        "Quoting",
    ];
    VERBS.iter().any(|verb| text.contains(verb))
}

/// `text` with tags cut off our posting addresses: they are tokens, and whoever reads a token in
/// a published text could use it (`cmr+TOKEN@example.org` becomes `cmr@example.org`). Rather too
/// much is cut than too little: inside URLs, percent-encoded, in front of other words.
pub(crate) fn cut_tokens(text: &str, posting: &[String]) -> String {
    let mut result = text.to_owned();
    for address in posting {
        let Some((local, domain)) = address.rsplit_once('@') else {
            continue;
        };
        if !local.is_empty() && !domain.is_empty() {
            result = cut_tags(&result, &local.to_ascii_lowercase(), &domain.to_ascii_lowercase());
        }
    }
    result
}

/// `local` and `domain` are in lower case.
fn cut_tags(text: &str, local: &str, domain: &str) -> String {
    // Only ASCII changes its case, so offsets into one text are offsets into the other.
    let lower = text.to_ascii_lowercase();
    let tags = [format!("{local}+"), format!("{local}%2b")];
    let mut result = String::with_capacity(text.len());
    let mut copied = 0;
    for (at, mark) in signs(&lower) {
        let ours = lower.get(at + mark..).is_some_and(|after| after.starts_with(domain));
        let Some(before) = lower.get(copied..at).filter(|_| ours) else {
            continue;
        };
        // No address is longer, and the work stays bounded in a text without white space.
        let near = before.floor_char_boundary(before.len().saturating_sub(320));
        let word =
            before.get(near..).and_then(|last| last.rfind(char::is_whitespace)).map_or(near, |at| near + at);
        // The first in the word: whatever follows it may be a part of the token.
        let start = tags.iter().filter_map(|tag| before.get(word..)?.find(tag.as_str())).min();
        if let Some(start) = start {
            let end = copied + word + start + local.len();
            result.push_str(text.get(copied..end).unwrap_or_default());
            copied = at;
        }
    }
    result.push_str(text.get(copied..).unwrap_or_default());
    result
}

/// Where `@` or `%40` stands, and its length.
fn signs(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let bytes = text.as_bytes();
    (0..bytes.len()).filter_map(move |at| match bytes.get(at..)? {
        [b'@', ..] => Some((at, 1)),
        [b'%', b'4', b'0', ..] => Some((at, 3)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            ("Hello\n--\nno signature", "Hello\n--\nno signature", 0, 0),
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
            ("  \n\t\n", "", 0, 0),
        ] {
            let found = words(text, None);
            let wanted = OwnWords { text: wanted.to_owned(), quoted, signature };
            assert_eq!(found, wanted, "{text:?}");
        }
    }

    #[test]
    fn tokens_are_cut_and_nothing_else() {
        let posting = ["cmr@example.org".to_owned()];
        for (text, wanted) in [
            ("write to cmr+yes.3fA9@example.org now", "write to cmr@example.org now"),
            ("<CMR+x@EXAMPLE.org>, cmr%2By%40example.org", "<CMR@EXAMPLE.org>, cmr%40example.org"),
            ("mailto:cmr+x@example.org.", "mailto:cmr@example.org."),
            ("http://x/?to=cmr+x@example.org&u", "http://x/?to=cmr@example.org&u"),
            ("cmr+a@example.orgcmr+b@example.org", "cmr@example.orgcmr@example.org"),
            (
                "cmr+x @example.org cmr@example.org me+cmr@example.org",
                "cmr+x @example.org cmr@example.org me+cmr@example.org",
            ),
            ("cmr+x@example.com \u{fc}+x@example.org", "cmr+x@example.com \u{fc}+x@example.org"),
            ("cmr+a@b@example.org", "cmr@example.org"),
        ] {
            assert_eq!(cut_tokens(text, &posting), wanted);
        }
    }

    #[test]
    fn what_could_forge_a_text_is_gone() {
        assert_eq!(clean("a\r\nb\rc\0\u{1b}[31md\u{202e}\te\u{feff}"), "a\nb\nc[31md\te");
        assert_eq!(printable(" a\r\nb\u{9b}\tc "), "a b c");
    }

    proptest! {
        #[test]
        fn nothing_panics_and_no_token_survives(text in "(cmr|[+>@. \n]|%2b|x|ü|-- |example.org){0,40}") {
            let posting = ["cmr@example.org".to_owned()];
            for flowed in [None, Some(false), Some(true)] {
                let found = words(&clean(&text), flowed).text;
                let cut = cut_tokens(&found, &posting);
                prop_assert_eq!(&cut_tokens(&cut, &posting), &cut);
            }
        }
    }
}
