//! Keys in transit (A5) in mails that can't be taken apart: such a mail is kept nowhere as it is.
//!
//! It knows bytes. It must never know what becomes of a mail.

/// Whether the words of a key exchange (A5) stand in a mail, as they are, quoted-printable or in
/// base64, wherever lines are broken. For mails that can't be taken apart for certain.
pub(super) fn may_hold_key(raw: &[u8]) -> bool {
    const WORDS: &[u8] = b"key exchange";
    // The words in base64, at each of the three places in a group of four; the letters at the
    // ends, which depend on what stands beside them, are left out.
    const ENCODED: [&[u8]; 3] = [b"a2V5IGV4Y2hhbmdl", b"tleSBleGNoYW5nZ", b"rZXkgZXhjaGFuZ2"];
    let mut packed = raw.to_vec();
    packed.retain(|byte| !matches!(byte, b'\r' | b'\n' | b' ' | b'\t'));
    if ENCODED.iter().any(|form| contains(&packed, form)) {
        return true;
    }
    let mut plain = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'=', [b'\r', b'\n', more @ ..] | [b'\n', more @ ..]) => rest = more,
            (b'=', [high, low, more @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
                plain.push(digit(*high).unwrap_or(0) << 4 | digit(*low).unwrap_or(0));
                rest = more;
            }
            _ => plain.push(*first),
        }
    }
    contains(raw, WORDS) || contains(&plain, WORDS)
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_words_are_found_in_every_encoding() {
        let secret = "x Clear key exchange=7365637265742d6b6579.";
        for front in 0..3 {
            let encoded = STANDARD.encode(&secret.as_bytes()[front..]);
            let lines: Vec<_> = encoded.as_bytes().chunks(7).map(|line| [line, b"\r\n"].concat()).collect();
            assert!(may_hold_key(&lines.concat()), "{encoded}");
        }
        for (text, wanted) in [
            (secret, true),
            ("Clear ke=\r\ny=20exchange=3D1", true),
            ("Clear ke=\ny ex=63hange", true),
            ("a key, exchanged", false),
            ("key=exchange=", false),
            ("=", false),
            ("", false),
        ] {
            assert_eq!(may_hold_key(text.as_bytes()), wanted, "{text:?}");
        }
    }
}
