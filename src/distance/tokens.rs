//! What a word is. This is part of C: two peers that cut differently measure differently.
//!
//! - A **word** is a run of Unicode letters and digits with the marks that belong to them, compared
//!   without case (`char::to_lowercase`, final sigma as sigma; no normalisation). Bytes that are
//!   not UTF-8 are letters, so that text in an old encoding has words too.
//! - In scripts **without spaces** (Chinese, Japanese, Thai, Lao, Khmer, Burmese) every **pair** of
//!   neighbouring characters is a word; a character alone is one too.
//! - What is **no wording** (base64, hexadecimal digests: see [`RUN_BYTES`]; words of more than
//!   [`WORD_BYTES`]) is cut into pieces of [`PIECE_BYTES`], each compared byte for byte. A text of
//!   junk has fewer words than prose of its length.
//! - Everything else lies between words.

/// A longer run of letters is cut into pieces.
pub const WORD_BYTES: usize = 40;
/// A run of `A–Z a–z 0–9 + / =` that is at least this long is no wording if at every fourth byte
/// or more often a small letter is followed by a capital, or a letter by a digit, or a digit by a
/// letter.
pub const RUN_BYTES: usize = 24;
/// The pieces that such runs are cut into.
pub const PIECE_BYTES: usize = 16;

/// How a token is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Letters and digits; the case does not matter.
    Word,
    /// One or two characters of a script without spaces. The first one may be the last one of the
    /// token before.
    Pair,
    /// A piece of something that is no wording; every byte matters.
    Piece,
}

/// One occurrence of a word in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// [`word_hash`] of the token as [`fold`] writes it: the same on every machine.
    pub hash: u64,
    /// First byte of the text that belongs to it.
    pub start: usize,
    /// One after the last byte.
    pub end: usize,
    /// How it is written.
    pub kind: Kind,
}

impl Token {
    /// Its bytes in the text that it was found in.
    #[must_use]
    pub fn of<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// All tokens of a text, in order.
#[must_use]
pub fn tokens(text: &[u8]) -> Vec<Token> {
    let mut out = Vec::with_capacity(text.len() / 5);
    each_token(text, |t| {
        out.push(t);
        true
    });
    out
}

/// Calls `found` with every token of the text, in order, until it returns false.
pub fn each_token(text: &[u8], mut found: impl FnMut(Token) -> bool) {
    let mut at = 0;
    let mut folded = Vec::new();
    while let Some(&byte) = text.get(at) {
        let next = match class(byte) {
            BETWEEN => Some(at + 1),
            HIGH => unicode(text, at, &mut folded, &mut found),
            _ => ascii(text, at, &mut folded, &mut found),
        };
        match next {
            Some(next) => at = next,
            None => return,
        }
    }
}

/// Hash of a word that is folded already.
#[must_use]
pub fn word_hash(folded: &[u8]) -> u64 {
    let mut hash = SEED ^ folded.len() as u64;
    for chunk in folded.chunks(8) {
        let mut eight = [0; 8];
        for (to, from) in eight.iter_mut().zip(chunk) {
            *to = *from;
        }
        hash = mixed(hash ^ u64::from_le_bytes(eight), MULTIPLIER);
    }
    mixed(hash, FINISH)
}

/// The bytes that [`Token::hash`] is the hash of: a word in small letters, anything else as it is.
#[must_use]
pub fn fold(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    if kind == Kind::Word {
        let mut at = 0;
        while at < bytes.len() {
            let (c, length) = decode(bytes, at);
            fold_char(c, bytes, at, &mut out);
            at += length;
        }
    } else {
        out.extend_from_slice(bytes);
    }
    out
}

/// Whether a folded token is a pair; of what isn't, words and pieces look alike.
pub(super) fn kind_of(folded: &[u8]) -> Kind {
    if decode(folded, 0).0.is_some_and(is_unspaced) { Kind::Pair } else { Kind::Word }
}

const SEED: u64 = 0x2d35_8dcc_aa6c_78a5;
const MULTIPLIER: u64 = 0x8bb8_4b93_962e_acc9;
const FINISH: u64 = 0x4b33_a62e_d433_d4a3;

/// The full product of two words, its halves folded together.
fn mixed(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[allow(clippy::cast_possible_truncation, reason = "both halves are taken")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

const BETWEEN: u8 = 0;
const SMALL: u8 = 1;
const CAPITAL: u8 = 2;
const DIGIT: u8 = 4;
const SIGN: u8 = 8;
const HIGH: u8 = 16;

const CLASSES: [u8; 256] = classes();

#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "runs at compile time")]
const fn classes() -> [u8; 256] {
    let mut table = [BETWEEN; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = match i as u8 {
            b'a'..=b'z' => SMALL,
            b'A'..=b'Z' => CAPITAL,
            b'0'..=b'9' => DIGIT,
            b'+' | b'/' | b'=' => SIGN,
            128.. => HIGH,
            _ => BETWEEN,
        };
        i += 1;
    }
    table
}

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(BETWEEN)
}

/// The bits of eight bytes that mark those that are ASCII letters or digits, each its uppermost one.
fn letters_of(eight: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x80 * ONES;
    // Of bytes below 128 a sum with 128 − n has the uppermost bit if they are n or more.
    let from = |bytes: u64, least: u8| bytes + ONES * (0x80 - u64::from(least));
    let digits = eight & !TOP;
    let letters = digits | (0x20 * ONES);
    let is_letter = from(letters, b'a') & !from(letters, b'z' + 1);
    let is_digit = from(digits, b'0') & !from(digits, b'9' + 1);
    (is_letter | is_digit) & !eight & TOP
}

/// A word of at most fifteen ASCII letters and digits at `at`, its hash and where it ends: most words are.
/// All others, and those that may go on, are left to [`ascii`].
fn short_word(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let eight = |at: usize| Some(u64::from_le_bytes(text.get(at..at + 8)?.try_into().ok()?));
    let length_of = |eight: u64| (!letters_of(eight) & 0x8080_8080_8080_8080).trailing_zeros() / 8;
    let first = eight(at)?;
    let (mut length, mut last) = (length_of(first), first);
    if length == 8 {
        last = eight(at + 8)?;
        length += length_of(last);
    }
    let rest = length % 8;
    if length == 0 || length == 16 {
        return None;
    }
    let next = (last >> (8 * rest)).to_le_bytes().first().copied().unwrap_or_default();
    if class(next) != BETWEEN {
        return None;
    }
    let mut hash = SEED ^ u64::from(length);
    if length >= 8 {
        hash = mixed(hash ^ (first | SPACES), MULTIPLIER);
    }
    if rest > 0 {
        let mask = (1 << (8 * rest)) - 1;
        hash = mixed(hash ^ ((last | SPACES) & mask), MULTIPLIER);
    }
    Some((mixed(hash, FINISH), at + length as usize))
}

/// Setting bit 5 makes capitals small and leaves small letters and digits alone.
const SPACES: u64 = 0x2020_2020_2020_2020;

/// A run of ASCII letters, digits and `+ / =` from `at` on; returns where to go on.
fn ascii(
    text: &[u8],
    at: usize,
    folded: &mut Vec<u8>,
    found: &mut impl FnMut(Token) -> bool,
) -> Option<usize> {
    if let Some((hash, end)) = short_word(text, at) {
        return found(Token { hash, start: at, end, kind: Kind::Word }).then_some(end);
    }
    let mut all = 0;
    let mut length = 0;
    let rest = text.get(at..)?;
    for byte in rest {
        let class = class(*byte);
        if class & (SMALL | CAPITAL | DIGIT | SIGN) == 0 {
            break;
        }
        all |= class;
        length += 1;
    }
    let end = at + length;
    let goes_on = text.get(end).is_some_and(|b| class(*b) == HIGH);
    if length >= RUN_BYTES && is_junk(text.get(at..end)?) {
        return pieces(text, at, end, found);
    }
    if all & SIGN == 0 && !goes_on {
        return ascii_word(text, at, end, found);
    }
    let mut start = at;
    while start < end {
        let run = text.get(start..end)?;
        let letters = run.iter().take_while(|b| class(**b) != SIGN).count();
        if letters == 0 {
            start += 1;
        } else if start + letters == end && goes_on {
            return unicode(text, start, folded, found);
        } else {
            ascii_word(text, start, start + letters, found)?;
            start += letters;
        }
    }
    Some(end)
}

fn ascii_word(text: &[u8], start: usize, end: usize, found: &mut impl FnMut(Token) -> bool) -> Option<usize> {
    let length = end - start;
    if length > WORD_BYTES {
        return pieces(text, start, end, found);
    }
    let mut hash = SEED ^ length as u64;
    let mut at = start;
    while at < end {
        let here = (end - at).min(8);
        let eight = match text.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()) {
            Some(eight) => u64::from_le_bytes(eight),
            None => {
                text.get(at..end)?.iter().take(8).rev().fold(0, |all: u64, byte| all << 8 | u64::from(*byte))
            }
        };
        let mask = u64::MAX >> (8 * (8 - here));
        hash = mixed(hash ^ ((eight | SPACES) & mask), MULTIPLIER);
        at += here;
    }
    let hash = mixed(hash, FINISH);
    found(Token { hash, start, end, kind: Kind::Word }).then_some(end)
}

/// A word or a run of pairs that has bytes above 127; returns where to go on.
fn unicode(
    text: &[u8],
    start: usize,
    folded: &mut Vec<u8>,
    found: &mut impl FnMut(Token) -> bool,
) -> Option<usize> {
    let (first, length) = decode(text, start);
    if let Some(c) = first.filter(|c| is_unspaced(*c)) {
        return pairs(text, start, c, found);
    }
    if !first.is_none_or(is_letter) {
        return Some(start + length);
    }
    folded.clear();
    let mut end = start;
    while end < text.len() {
        let (c, length) = decode(text, end);
        if c.is_some_and(|c| !is_letter(c) || is_unspaced(c)) {
            break;
        }
        if end + length - start <= WORD_BYTES {
            fold_char(c, text, end, folded);
        }
        end += length;
    }
    if end - start > WORD_BYTES {
        return pieces(text, start, end, found);
    }
    found(Token { hash: word_hash(folded), start, end, kind: Kind::Word }).then_some(end)
}

fn pairs(text: &[u8], start: usize, first: char, found: &mut impl FnMut(Token) -> bool) -> Option<usize> {
    let mut before = start;
    let mut at = start + first.len_utf8();
    let mut go_on = |start, end| {
        let hash = word_hash(text.get(start..end).unwrap_or_default());
        found(Token { hash, start, end, kind: Kind::Pair })
    };
    let mut alone = true;
    while let (Some(c), length) = decode(text, at) {
        if !is_unspaced(c) {
            break;
        }
        if !go_on(before, at + length) {
            return None;
        }
        alone = false;
        before = at;
        at += length;
    }
    if alone && !go_on(start, at) {
        return None;
    }
    Some(at)
}

fn pieces(text: &[u8], start: usize, end: usize, found: &mut impl FnMut(Token) -> bool) -> Option<usize> {
    let mut at = start;
    for piece in text.get(start..end)?.chunks(PIECE_BYTES) {
        let end = at + piece.len();
        if !found(Token { hash: word_hash(piece), start: at, end, kind: Kind::Piece }) {
            return None;
        }
        at = end;
    }
    Some(end)
}

fn is_junk(run: &[u8]) -> bool {
    let changes = run
        .windows(2)
        .filter(|pair| {
            let (a, b) = (pair.first().map_or(0, |b| class(*b)), pair.last().map_or(0, |b| class(*b)));
            // A capital before small letters is how words begin, a sign how they are joined.
            a != b && !(a == CAPITAL && b == SMALL) && a | b < SIGN
        })
        .count();
    changes * 4 >= run.len()
}

/// The character at `at`; `None` with length 1 for a byte that is not UTF-8 or past the end.
pub(super) fn decode(text: &[u8], at: usize) -> (Option<char>, usize) {
    let Some(&lead) = text.get(at) else { return (None, 1) };
    let length = match lead {
        0..=0x7f => return (Some(char::from(lead)), 1),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return (None, 1),
    };
    let mut code = u32::from(lead) & (0x7f >> length);
    let Some(rest) = text.get(at + 1..at + length) else { return (None, 1) };
    for byte in rest {
        if byte & 0xc0 != 0x80 {
            return (None, 1);
        }
        code = code << 6 | u32::from(byte & 0x3f);
    }
    match char::from_u32(code).filter(|c| c.len_utf8() == length) {
        Some(c) => (Some(c), length),
        None => (None, 1),
    }
}

fn fold_char(c: Option<char>, text: &[u8], at: usize, out: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    match c {
        None => out.extend(text.get(at)),
        Some(c) if c.is_ascii() => out.extend(text.get(at).map(u8::to_ascii_lowercase)),
        Some('ς' | 'Σ') => out.extend_from_slice('σ'.encode_utf8(&mut buffer).as_bytes()),
        Some(c) => {
            for small in c.to_lowercase() {
                out.extend_from_slice(small.encode_utf8(&mut buffer).as_bytes());
            }
        }
    }
}

fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    c.is_alphanumeric()
        || matches!(c,
            '\u{300}'..='\u{36f}'                       // accents that combine
            | '\u{900}'..='\u{963}' | '\u{966}'..='\u{dff}' // signs inside the words of India
            | '\u{200c}' | '\u{200d}') // joiners inside words
}

fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e01}'..='\u{0e3a}' | '\u{0e40}'..='\u{0e4e}'   // Thai
        | '\u{0e81}'..='\u{0ecd}'   // Lao
        | '\u{1000}'..='\u{1049}' | '\u{1050}'..='\u{109f}' // Burmese
        | '\u{1780}'..='\u{17d3}'   // Khmer
        | '\u{3005}'..='\u{3007}'
        | '\u{3041}'..='\u{309f}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}' // Kana
        | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}'   // Han
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &[u8]) -> Vec<String> {
        tokens(text).iter().map(|t| String::from_utf8_lossy(t.of(text)).into_owned()).collect()
    }

    #[test]
    fn words_of_several_scripts() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  ,;\n", &[]),
            ("What is X-11?\n", &["What", "is", "X", "11"]),
            ("a+b=c and/or", &["a", "b", "c", "and", "or"]),
            ("naïve café/thé", &["naïve", "café", "thé"]),
            ("cafe\u{301} noir", &["cafe\u{301}", "noir"]),
            ("木星は", &["木星", "星は"]),
            ("最大 planet木。", &["最大", "planet", "木"]),
            ("สวัส", &["สว", "วั", "ัส"]),
            ("Юпитер — планета", &["Юпитер", "планета"]),
            ("हिन्दी में", &["हिन्दी", "में"]),
            ("“quoted”", &["quoted"]),
        ];
        for (text, expected) in table {
            assert_eq!(&shown(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn case_does_not_matter_but_accents_do() {
        let hash = |s: &str| tokens(s.as_bytes())[0].hash;
        for (one, other) in
            [("Jupiter", "JUPITER"), ("ÄRGER", "ärger"), ("ΟΔΟΣ", "οδός"), ("ΟΔΟΣ", "οδος"), ("X11", "x11")]
        {
            let accent = other == "οδός";
            assert_eq!(hash(one) == hash(other), !accent, "{one} {other}");
        }
        assert_ne!(hash("arger"), hash("ärger"));
        assert_ne!(hash("a"), hash("aa"));
    }

    #[test]
    fn text_in_an_old_encoding_has_words() {
        assert_eq!(tokens(b"M\xfcller kommt").len(), 2);
        assert_eq!(tokens(b"M\xfcller")[0].hash, tokens(b"m\xfcLLER")[0].hash);
        // "привет, мир" in KOI8-R
        assert_eq!(tokens(b"\xd0\xd2\xc9\xd7\xc5\xd4, \xcd\xc9\xd2").len(), 2);
    }

    #[test]
    fn what_is_no_wording_is_cut_into_pieces() {
        let base64 = "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24sIGJ1dCBieSB0aGlz";
        let hex = "d41d8cd98f00b204e9800998ecf8427e";
        let long = "a".repeat(100);
        for junk in [base64, hex, &long] {
            let all = tokens(junk.as_bytes());
            assert!(all.iter().all(|t| t.kind == Kind::Piece), "{junk}");
            assert_eq!(all.len(), junk.len().div_ceil(PIECE_BYTES));
        }
        for words in [
            "http://www.example.org/archive/mailing/list/thread/message",
            "getElementByIdentifierAndReturnValue",
            "Donaudampfschifffahrtsgesellschaft",
            "20240131120000",
        ] {
            assert!(tokens(words.as_bytes()).iter().all(|t| t.kind == Kind::Word), "{words}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_tokens_in_order_whose_hash_is_that_of_the_fold(
            text in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'a'), Just(b'B'), Just(b' '), Just(0xc3)], 0..400),
        ) {
            let mut before = Token { hash: 0, start: 0, end: 0, kind: Kind::Word };
            for t in tokens(&text) {
                prop_assert!(t.start < t.end && t.end <= text.len());
                let overlaps = t.start < before.end;
                prop_assert!(!overlaps || (t.kind == Kind::Pair && before.kind == Kind::Pair && t.start > before.start));
                prop_assert_eq!(t.hash, word_hash(&fold(t.kind, t.of(&text))));
                before = t;
            }
        }

        #[test]
        fn eight_bytes_at_once_are_as_each_by_itself(bytes in any::<[u8; 8]>()) {
            let each = bytes.map(|byte| if byte.is_ascii_alphanumeric() { 0x80 } else { 0 });
            prop_assert_eq!(letters_of(u64::from_le_bytes(bytes)).to_le_bytes(), each);
        }

        #[test]
        fn words_do_not_depend_on_what_stands_between(a in "[a-zäöü木星]{1,12}", b in "[a-zäöü]{1,12}") {
            let one = tokens(format!("{a} {b}").as_bytes());
            let other = tokens(format!("\t{a}, ({b})").as_bytes());
            let hashes = |all: &[Token]| all.iter().map(|t| t.hash).collect::<Vec<_>>();
            prop_assert_eq!(hashes(&one), hashes(&other));
        }

        #[test]
        fn there_is_at_most_one_token_for_a_character(text in ".{0,200}") {
            prop_assert!(tokens(text.as_bytes()).len() <= text.chars().count());
        }
    }
}
