//! The text of a mail on its way through: dots undone piece by piece, and put in again, so that
//! what leaves is byte for byte what came, of whatever length, and never whole in memory.
//!
//! Only CRLF.CRLF ends it. A bare CR or LF, a NUL and anything else is text and is passed.

/// Where in a line the decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Behind CRLF, or at the very start.
    LineStart,
    /// Inside a line.
    Text,
    /// Behind a CR that has been given out.
    Cr,
    /// Behind a dot at the start of a line, not given out.
    Dot,
    /// Behind that dot and a CR, not given out.
    DotCr,
    /// Behind an LF without its CR.
    Lf,
    /// Behind that and a dot.
    LfDot,
}

/// Undoes the dots of a text behind DATA.
#[derive(Debug)]
pub struct Unstuff {
    at: At,
    doubtful: bool,
}

impl Default for Unstuff {
    fn default() -> Self {
        Unstuff { at: At::LineStart, doubtful: false }
    }
}

impl Unstuff {
    /// A text that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and appends what they mean to `out`. `Some(n)`: the text ended, and
    /// the first `n` bytes belonged to it.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let mut rest = input;
        while let Some((&byte, tail)) = rest.split_first() {
            if self.at == At::Text && !matches!(byte, b'\r' | b'\n') {
                // The common case, a run of text.
                let run = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
                let (text, behind) = rest.split_at_checked(run).unwrap_or((rest, &[]));
                out.extend_from_slice(text);
                rest = behind;
                continue;
            }
            rest = tail;
            self.at = match (self.at, byte) {
                (At::DotCr, b'\n') => return Some(input.len().saturating_sub(rest.len())),
                (At::LineStart, b'.') => At::Dot,
                (At::Dot, b'\r') => At::DotCr,
                (At::DotCr, b'\r') => {
                    out.extend_from_slice(b"\r\r");
                    At::Cr
                }
                (At::DotCr, byte) => {
                    out.extend_from_slice(&[b'\r', byte]);
                    At::Text
                }
                (at, byte) => {
                    self.doubtful |= at == At::LfDot && matches!(byte, b'\r' | b'\n');
                    out.push(byte);
                    match (at, byte) {
                        (At::Cr, b'\n') => At::LineStart,
                        (_, b'\r') => At::Cr,
                        (_, b'\n') => At::Lf,
                        (At::Lf, b'.') => At::LfDot,
                        _ => At::Text,
                    }
                }
            };
        }
        None
    }

    /// Whether a lone dot stood behind a bare LF: a server that takes LF for a line end would see
    /// the end of the mail there, and commands in what follows. No mail server sends that.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }
}

/// Puts the dots in again.
///
/// There is no end without [`Stuff::end`], which takes the encoder away: whoever holds a text that
/// is not whole drops it instead, and the server on the other side throws away what it has.
#[derive(Debug)]
pub struct Stuff {
    at: At,
}

impl Default for Stuff {
    fn default() -> Self {
        Stuff { at: At::LineStart }
    }
}

impl Stuff {
    /// A text that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the next bytes of the text to `out`, as they stand on the wire.
    pub fn push(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let mut rest = text;
        while let Some(&first) = rest.first() {
            if self.at == At::LineStart && first == b'.' {
                out.push(b'.');
            }
            // To the end of this line, or of the piece.
            let end = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1);
            let (line, behind) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            out.extend_from_slice(line);
            self.at = match line {
                [.., b'\r', b'\n'] => At::LineStart,
                [b'\n'] if self.at == At::Cr => At::LineStart,
                [.., b'\r'] => At::Cr,
                _ => At::Text,
            };
            rest = behind;
        }
    }

    /// Appends the end of a text that is whole to `out`: a CRLF if its last line has none, and the
    /// lone dot.
    pub fn end(self, out: &mut Vec<u8>) {
        if self.at != At::LineStart {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn undone(wire: &[u8]) -> (Vec<u8>, Option<usize>, bool) {
        let (mut text, mut unstuff) = (Vec::new(), Unstuff::new());
        let end = unstuff.push(wire, &mut text);
        (text, end, unstuff.is_doubtful())
    }

    #[test]
    fn the_text_ends_at_the_lone_dot_and_nowhere_else() {
        for (wire, text) in [
            (".\r\n", ""),
            ("a\r\n.\r\n", "a\r\n"),
            ("a\r\n..\r\n.\r\n", "a\r\n.\r\n"),
            ("..\r\n.\r\n", ".\r\n"),
            (".a\r\n.\r\n", "a\r\n"),
            ("a\rb\r\n.\r\n", "a\rb\r\n"),
            ("a\r.\r\n.\r\n", "a\r.\r\n"),
            ("a\r\n.\rb\r\n.\r\n", "a\r\n\rb\r\n"),
            ("a\r\n.\r\r\n.\r\n", "a\r\n\r\r\n"),
            ("a\nb\r\n.\r\n", "a\nb\r\n"),
            ("a\n.b\r\n.\r\n", "a\n.b\r\n"),
            ("a\0\u{ff}\r\n.\r\n", "a\0\u{ff}\r\n"),
        ] {
            assert_eq!(undone(wire.as_bytes()), (text.into(), Some(wire.len()), false), "{wire:?}");
        }
        assert_eq!(undone(b"a\r\n.\r\nQUIT\r\n"), (b"a\r\n".to_vec(), Some(6), false));
        for open in ["", "a", "\r\n", "a\r\n.", "a\r\n.\r", "a\r.\r\n"] {
            assert_eq!(undone(open.as_bytes()).1, None, "{open:?}");
        }
    }

    #[test]
    fn a_dot_that_others_could_take_for_the_end_is_noticed() {
        for (wire, doubtful) in [
            ("a\n.\r\nb\r\n.\r\n", true),
            ("a\n.\nb\r\n.\r\n", true),
            ("\n.\r\n.\r\n", true),
            ("a\n..\r\nb\r\n.\r\n", false),
            ("a\n.b\nc\r\n.\r\n", false),
            ("a\r\n..\nb\r\n.\r\n", false),
        ] {
            let (_, end, found) = undone(wire.as_bytes());
            assert_eq!((end, found), (Some(wire.len()), doubtful), "{wire:?}");
        }
    }

    fn stuffed(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut out, mut stuff) = (Vec::new(), Stuff::new());
        for piece in pieces {
            stuff.push(piece, &mut out);
        }
        stuff.end(&mut out);
        out
    }

    #[test]
    fn dots_are_doubled_behind_crlf_alone() {
        for (text, wire) in [
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r", "a\r\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            (".a\r\n.\r\n", "..a\r\n..\r\n.\r\n"),
            ("a\n.b\r\n", "a\n.b\r\n.\r\n"),
            ("a\r.b\r\n", "a\r.b\r\n.\r\n"),
        ] {
            assert_eq!(stuffed(&[text.as_bytes()]), wire.as_bytes(), "{text:?}");
        }
        assert_eq!(stuffed(&[b"a\r", b"\n", b".", b"\r\n"]), b"a\r\n..\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn what_leaves_is_what_came(
            lines in proptest::collection::vec("[.a\\r\\n\\x00]{0,5}", 0..20),
            cuts in proptest::collection::vec(0usize..6, 0..80),
        ) {
            let text: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
            let wire = stuffed(&[&text]);
            let mut pieces = Vec::new();
            let mut rest = wire.as_slice();
            for cut in cuts {
                let (piece, tail) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            pieces.push(rest);
            let (mut out, mut unstuff) = (Vec::new(), Unstuff::new());
            let ends: Vec<_> = pieces.iter().map(|piece| unstuff.push(piece, &mut out)).collect();
            prop_assert!(ends.iter().rev().skip(1).all(|end| end.is_none()) || ends.iter().flatten().count() == 1);
            prop_assert_eq!(ends.iter().flatten().count(), 1);
            prop_assert_eq!(&out, &text);
            let mut stuff = Stuff::new();
            let mut again = Vec::new();
            for piece in text.chunks(3) {
                stuff.push(piece, &mut again);
            }
            stuff.end(&mut again);
            prop_assert_eq!(again, wire);
        }
    }
}
