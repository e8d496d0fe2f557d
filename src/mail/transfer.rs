//! Content transfer encodings (RFC 2045, section 6), undone to the byte or not at all.
//!
//! mail-parser decodes as well, but what it can't decode it hands over as text, and bare CRs get
//! lost in its quoted-printable; a CMR message is right to the last byte or worthless.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

/// Padding may be missing and unused bits need not be zero: neither makes the bytes uncertain.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Why a part can't be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransferError {
    #[error("its base64 is damaged")]
    Base64(#[from] base64::DecodeError),
    #[error("its quoted-printable text is damaged (at byte {0} of it)")]
    QuotedPrintable(usize),
    #[error("its transfer encoding {0:?} is unknown")]
    Unknown(String),
}

/// The bytes of a part whose Content-Transfer-Encoding is `encoding` (lower case).
pub(crate) fn decode<'a>(encoding: &str, encoded: &'a [u8]) -> Result<Cow<'a, [u8]>, TransferError> {
    match encoding {
        "" | "7bit" | "8bit" | "binary" => Ok(Cow::Borrowed(encoded)),
        "base64" => base64(encoded).map(Cow::Owned),
        "quoted-printable" => quoted_printable(encoded).map(Cow::Owned),
        other => Err(TransferError::Unknown(other.chars().take(40).collect())),
    }
}

fn base64(encoded: &[u8]) -> Result<Vec<u8>, TransferError> {
    let symbols: Vec<u8> = encoded.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    Ok(BASE64.decode(symbols)?)
}

/// Section 6.7 there: white space at the end of a line was added on the way (rule 3), `=` at the
/// end of a line joins it to the next (rule 5).
fn quoted_printable(encoded: &[u8]) -> Result<Vec<u8>, TransferError> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut at = 0;
    for line in super::structure::lines(encoded) {
        let (text, end) = match line {
            [text @ .., b'\r', b'\n'] => (text, b"\r\n".as_slice()),
            [text @ .., b'\n'] => (text, b"\n".as_slice()),
            text => (text, b"".as_slice()),
        };
        let kept = text.len() - text.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let mut rest = text.get(..kept).unwrap_or_default();
        let soft = rest.ends_with(b"=");
        if soft {
            rest = rest.strip_suffix(b"=").unwrap_or(rest);
        }
        let length = rest.len();
        while let Some((byte, after)) = rest.split_first() {
            if *byte != b'=' {
                decoded.push(*byte);
                rest = after;
                continue;
            }
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let value = match after {
                [high, low, ..] => digit(*high).zip(digit(*low)),
                _ => None,
            };
            let Some((high, low)) = value else {
                return Err(TransferError::QuotedPrintable(at + length - rest.len()));
            };
            decoded.push(high << 4 | low);
            rest = after.get(2..).unwrap_or_default();
        }
        if !soft {
            decoded.extend_from_slice(end);
        }
        at += line.len();
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quoted_printable_is_undone_to_the_byte() {
        for (encoded, wanted) in [
            (&b"a=3D=0D=0Ab"[..], &b"a=\r\nb"[..]),
            (b"caf=C3=a9 \t\r\nx", b"caf\xc3\xa9\r\nx"),
            (b"long=\r\nline= \t\r\n!", b"longline!"),
            (b"bare\rCR=0D\r\n", b"bare\rCR\r\r\n"),
            (b"unix=20\nline=\n.", b"unix \nline."),
            (b"end=", b"end"),
            (b"", b""),
        ] {
            assert_eq!(decode("quoted-printable", encoded).unwrap(), wanted);
        }
    }

    #[test]
    fn damage_is_named() {
        for (encoding, encoded, sentence) in [
            ("quoted-printable", &b"ab\r\nc=4"[..], "its quoted-printable text is damaged (at byte 5 of it)"),
            ("quoted-printable", b"=G0", "its quoted-printable text is damaged (at byte 0 of it)"),
            ("base64", b"YWJj!", "its base64 is damaged"),
            ("base64", b"YWJj-- \r\nlist footer", "its base64 is damaged"),
            ("x-uuencode", b"begin", "its transfer encoding \"x-uuencode\" is unknown"),
        ] {
            assert_eq!(decode(encoding, encoded).unwrap_err().to_string(), sentence);
        }
    }

    #[test]
    fn base64_may_lack_its_padding() {
        assert_eq!(decode("base64", b"YQ\r\n").unwrap(), &b"a"[..]);
        assert_eq!(decode("base64", b" YW Jj\r\n\r\n").unwrap(), &b"abc"[..]);
    }

    proptest! {
        #[test]
        fn base64_round_trips(bytes: Vec<u8>) {
            let encoded = BASE64.encode(&bytes);
            prop_assert_eq!(decode("base64", encoded.as_bytes()).unwrap(), bytes);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = decode("quoted-printable", &bytes);
            let _ = decode("base64", &bytes);
        }
    }
}
