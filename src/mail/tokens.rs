//! Our tokens cut out of texts that will be public: they stand in addresses of ours, and whoever reads
//! one could use it.
//!
//! It knows what an address with a tag looks like, whole or broken over lines. It must never know what a
//! tag is good for.

/// Letters that are taken for a tag at most: no local part has more than 64.
const LONGEST: usize = 80;

/// Letters that a secret has at least. What is shorter is a word (`cmr+help`).
const SECRET: usize = 16;

/// What stands in a tag beside letters and digits.
const MARKS: &str = "+-._=";

/// `text` with tags cut off our posting addresses (`cmr+TOKEN@example.org` becomes `cmr@example.org`),
/// and with what looks like a token behind the name alone. Rather too much is cut than too little: inside
/// URLs, percent-encoded, in front of other words, and where a mail program broke the line.
pub(crate) fn cut_tokens(text: &str, posting: &[String]) -> String {
    let mut result = text.to_owned();
    for address in posting {
        let Some((local, domain)) = address.rsplit_once('@') else {
            continue;
        };
        if !local.is_empty() && !domain.is_empty() {
            let (local, domain) = (local.to_ascii_lowercase(), domain.to_ascii_lowercase());
            result = cut_tags(&cut_broken(&result, &local, &domain), &local, &domain);
        }
    }
    result
}

/// Cuts tags whose address is broken over lines, and tokens without the rest of an address. `local` and
/// `domain` are in lower case.
fn cut_broken(text: &str, local: &str, domain: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if !lower.contains('+') && !lower.contains("%2b") {
        return text.to_owned();
    }
    let mut result = String::with_capacity(text.len());
    let (mut copied, mut inside) = (0, false);
    for (at, letter) in lower.char_indices() {
        let was_inside = std::mem::replace(&mut inside, letter.is_alphanumeric());
        if at < copied || !local.starts_with(letter) {
            continue;
        }
        let Some(name) = eat(&lower, at, local) else { continue };
        let Some(plus) = eat(&lower, name, "+").or_else(|| eat(&lower, name, "%2b")) else { continue };
        let (tag, end) = tag(&lower, plus);
        let sign = eat(&lower, end, "@").or_else(|| eat(&lower, end, "%40"));
        let is_ours = sign.is_some_and(|after| eat(&lower, after, domain).is_some());
        let is_secret = || {
            let word = tag.split_once('-').map(|(word, _)| word);
            let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
            !was_inside && tag.len() >= SECRET && word.is_some_and(is_word)
        };
        if is_ours || is_secret() {
            result.push_str(text.get(copied..name).unwrap_or_default());
            // What ends a sentence is no part of a token.
            let sentence = |text: &str| text.trim_end_matches(|c| MARKS.contains(c)).len();
            copied = if is_ours { end } else { lower.get(..end).map_or(end, sentence) };
        }
    }
    result.push_str(text.get(copied..).unwrap_or_default());
    result
}

/// Where `pattern` ends, if it stands at `at`, however it is broken.
fn eat(text: &str, at: usize, pattern: &str) -> Option<usize> {
    let mut at = at;
    for (nth, letter) in pattern.char_indices() {
        if nth > 0 || !text.get(at..)?.starts_with(letter) {
            at += gap(text.get(at..)?);
        }
        at = text.get(at..)?.starts_with(letter).then_some(at + letter.len_utf8())?;
    }
    Some(at)
}

/// The letters of a tag from `at` on, without what breaks it, and where it ends.
fn tag(text: &str, at: usize) -> (String, usize) {
    let (mut tag, mut end) = (String::new(), at);
    while tag.len() < LONGEST {
        let Some(rest) = text.get(end..) else { break };
        let gap = gap(rest);
        match rest.get(gap..).and_then(|rest| rest.chars().next()) {
            Some(letter) if letter.is_ascii_alphanumeric() || MARKS.contains(letter) => {
                tag.push(letter);
                end += gap + 1;
            }
            _ => break,
        }
    }
    (tag, end)
}

/// How long the break at the beginning of `text` is: the end of a line, with the blanks and quote marks
/// around it, or letters that nobody sees. 0 if there is none; blanks alone are none.
fn gap(text: &str) -> usize {
    const MOST: usize = 200;
    let (mut gap, mut line) = (0, false);
    for (at, letter) in text.char_indices().take(MOST) {
        line |= letter == '\n';
        match letter {
            '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' if line || gap == at => {}
            '>' if line => {}
            blank if blank.is_whitespace() && line => {}
            blank if blank.is_whitespace() => continue,
            _ => break,
        }
        gap = at + letter.len_utf8();
    }
    gap
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

    fn cut(text: &str) -> String {
        cut_tokens(text, &["cmr@example.org".to_owned()])
    }

    #[test]
    fn tokens_are_cut_and_nothing_else() {
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
            assert_eq!(cut(text), wanted);
        }
    }

    #[test]
    fn tokens_are_cut_where_a_mail_program_broke_them() {
        for (text, wanted) in [
            ("to cmr+yes-3fa9bcdf\nghjkmnpq@example.org now", "to cmr@example.org now"),
            ("to cmr+yes-3fa9bcdfghjkmnpq\n@example.org now", "to cmr\n@example.org now"),
            ("to cmr+yes-3fa9bcdfghjkmnpq@\nexample.org now", "to cmr@\nexample.org now"),
            ("to cmr+yes-3fa9bcdfghjkmnpq@exam\nple.org now", "to cmr@exam\nple.org now"),
            ("to cmr\n+yes-3fa9bcdfghjkmnpq@example.org now", "to cmr@example.org now"),
            ("to c\nmr+ye\n s-3fa9bcdf\n>> ghjkm \nnpq\n@example\n.org", "to c\nmr\n@example\n.org"),
            ("to cmr%2byes-3fa9bcdf=\nghjkmnpq%40example.org", "to cmr%40example.org"),
            ("to cmr+yes-3fa9\u{200b}bcdf\u{ad}ghjkmnpq@example\u{200b}.org", "to cmr@example\u{200b}.org"),
            // Without the rest of the address.
            ("my word is cmr+yes-3fa9bcdfghjkmnpq, thanks", "my word is cmr, thanks"),
            ("my word is cmr+yes-3fa9bcdfghjkmnpq. Thanks", "my word is cmr. Thanks"),
            ("cmr+good-0123456789abcdef-\n17.3fa9bcdfghjkmnpq", "cmr"),
            // Nothing of ours.
            ("cmr+help\nis a word", "cmr+help\nis a word"),
            ("the parts cmr+motor-and-a-long-name", "the parts cmr"),
            ("xcmr+yes-3fa9bcdfghjkmnpq", "xcmr+yes-3fa9bcdfghjkmnpq"),
            ("cmr+python is good; me@example.org", "cmr+python is good; me@example.org"),
            ("cmr\n+1 from me@example.org", "cmr\n+1 from me@example.org"),
            ("cmr+1234567890123456-7890", "cmr+1234567890123456-7890"),
        ] {
            assert_eq!(cut(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_text_of_nothing_but_beginnings_takes_no_time() {
        let begun = std::time::Instant::now();
        for piece in ["cmr+", "c\n", "cmr+\n\n", "c\u{200b}", "cmr+yes-", "\n \n "] {
            cut(&piece.repeat(100_000 / piece.len()));
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    proptest! {
        #[test]
        fn nothing_panics_and_no_token_survives(
            text in "(cmr|[+>@. \n]|%2b|x|ü|yes-0123456789abcdef|-- |exam|ple|.org|example.org){0,40}"
        ) {
            let cut_once = cut(&text);
            prop_assert_eq!(&cut(&cut_once), &cut_once);
            // However its lines are put together again.
            let mut joined = cut_once.to_ascii_lowercase();
            for end in ["\n>", "\n ", " \n"] {
                while joined.contains(end) {
                    joined = joined.replace(end, "\n");
                }
            }
            let joined = joined.replace('\n', "");
            for rest in joined.split("cmr+").skip(1) {
                let after =
                    rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "+-._=".contains(c));
                prop_assert!(!after.starts_with("@example.org"), "{:?} of {:?}", cut_once, text);
            }
        }
    }
}
