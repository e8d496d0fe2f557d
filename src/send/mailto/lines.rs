//! Line ends of a mail that is about to go through SMTP. Pure.

/// The mail with CRLF as its only line end, and without the last one.
///
/// A bare LF (or CR) that reaches the wire is a line end for some servers and none for others,
/// and a dot behind it smuggles a second mail in; so both become CRLF. The last CRLF is taken
/// away because the client writes CRLF, dot, CRLF after the mail: what arrives is byte for byte
/// what was meant.
#[must_use]
pub fn canonical(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + mail.len() / 32 + 2);
    let mut after_cr = false;
    for &byte in mail {
        match byte {
            b'\r' => out.extend_from_slice(b"\r\n"),
            b'\n' if after_cr => {}
            b'\n' => out.extend_from_slice(b"\r\n"),
            other => out.push(other),
        }
        after_cr = byte == b'\r';
    }
    if out.ends_with(b"\r\n") {
        out.truncate(out.len() - 2);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::canonical;
    use proptest::prelude::*;

    #[test]
    fn table() {
        for (mail, expected) in [
            (&b""[..], &b""[..]),
            (b"\r\n", b""),
            (b"a", b"a"),
            (b"a\r\n", b"a"),
            (b"a\r\n\r\n", b"a\r\n"),
            (b"a\nb\n", b"a\r\nb"),
            (b"a\rb", b"a\r\nb"),
            (b"a\r\r\nb\r\n", b"a\r\n\r\nb"),
            (b"a\n\r\nb", b"a\r\n\r\nb"),
            (b"a\n.\nMAIL FROM:<x>\n", b"a\r\n.\r\nMAIL FROM:<x>"),
            (b"a\r\n.\rb", b"a\r\n.\r\nb"),
        ] {
            assert_eq!(canonical(mail), expected, "{:?}", String::from_utf8_lossy(mail));
        }
    }

    proptest! {
        #[test]
        fn no_line_end_but_crlf_and_nothing_else_changed(
            mail in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..200)
        ) {
            let out = canonical(&mail);
            let text = |b: &[u8]| b.iter().copied().filter(|b| !b"\r\n".contains(b)).collect::<Vec<_>>();
            prop_assert_eq!(text(&out), text(&mail));
            for (i, &byte) in out.iter().enumerate() {
                if byte == b'\r' { prop_assert_eq!(out.get(i + 1), Some(&b'\n')); }
                if byte == b'\n' { prop_assert!(i > 0 && out[i - 1] == b'\r'); }
            }
            let mut whole = out.clone();
            whole.extend_from_slice(b"\r\n");
            prop_assert_eq!(canonical(&whole), out);
        }
    }
}
