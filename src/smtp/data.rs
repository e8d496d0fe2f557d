//! The text behind DATA: only CRLF.CRLF ends it, and the stuffed dots are undone.
//!
//! A bare LF is never a line end, so what follows one can't be the final dot; it condemns the
//! whole mail, which is read to its true end and thrown away. A bare CR is data.

/// Where in a line the decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Behind CRLF, or at the very start.
    LineStart,
    /// Inside a line.
    Text,
    /// Behind a CR that has been kept.
    Cr,
    /// Behind a dot at the start of a line, not kept.
    Dot,
    /// Behind that dot and a CR, not kept.
    DotCr,
}

/// What became of the text at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The message, dots undone, every line with its CRLF.
    Message(Vec<u8>),
    /// It held a bare LF.
    BareLf,
    /// It was bigger than allowed.
    TooBig,
    /// There was no room for it.
    NoRoom,
}

/// What came of one piece of input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All of it was taken, the end is still to come.
    More,
    /// The text ended; so many bytes of the input belonged to it.
    Ended(usize, End),
    /// So much came beyond the limit that waiting for the end makes no sense.
    Overrun,
}

/// The decoder of one mail's text.
#[derive(Debug)]
pub(super) struct Data {
    raw: Vec<u8>,
    at: At,
    max: usize,
    seen: usize,
    lost: Option<End>,
}

impl Data {
    /// `max`: bytes of a message.
    pub(super) fn new(max: usize) -> Self {
        Data { raw: Vec::new(), at: At::LineStart, max, seen: 0, lost: None }
    }

    /// Bytes of memory this holds.
    pub(super) fn buffered(&self) -> usize {
        self.raw.capacity()
    }

    /// Throws away what came so far and what will come: there is no room for it.
    pub(super) fn no_room(&mut self) {
        self.lose(End::NoRoom);
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, input: &[u8]) -> Progress {
        let mut rest = input;
        while let Some((&byte, tail)) = rest.split_first() {
            if self.at == At::Text && !matches!(byte, b'\r' | b'\n') {
                // The common case, a run of text.
                let run = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
                let (text, behind) = rest.split_at_checked(run).unwrap_or((rest, &[]));
                self.keep(text);
                rest = behind;
                continue;
            }
            rest = tail;
            self.at = match (self.at, byte) {
                (At::DotCr, b'\n') => {
                    let used = input.len().saturating_sub(rest.len());
                    if self.count(used) {
                        return Progress::Overrun;
                    }
                    let raw = std::mem::take(&mut self.raw);
                    return Progress::Ended(used, self.lost.take().unwrap_or(End::Message(raw)));
                }
                (At::Cr, b'\n') => {
                    self.keep(b"\n");
                    At::LineStart
                }
                (_, b'\n') => {
                    self.lose(End::BareLf);
                    At::Text
                }
                (At::LineStart, b'.') => At::Dot,
                (At::Dot, b'\r') => At::DotCr,
                (At::DotCr, b'\r') => {
                    self.keep(b"\r\r");
                    At::Cr
                }
                (At::DotCr, byte) => {
                    self.keep(&[b'\r', byte]);
                    At::Text
                }
                (_, b'\r') => {
                    self.keep(b"\r");
                    At::Cr
                }
                (_, byte) => {
                    self.keep(&[byte]);
                    At::Text
                }
            };
        }
        if self.count(input.len()) { Progress::Overrun } else { Progress::More }
    }

    /// Counts bytes on the wire; true when they are past all sense: twice the limit and
    /// 1 MiB.
    fn count(&mut self, bytes: usize) -> bool {
        self.seen = self.seen.saturating_add(bytes);
        self.seen > self.max.saturating_mul(2).saturating_add(1024 * 1024)
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.lost.is_some() {
            return;
        }
        if self.raw.len().saturating_add(bytes.len()) > self.max {
            self.lose(End::TooBig);
        } else {
            self.raw.extend_from_slice(bytes);
        }
    }

    /// The first reason is the one that is told, except that a bare LF outdoes the others:
    /// nobody shall try such a mail again.
    fn lose(&mut self, why: End) {
        self.raw = Vec::new();
        if self.lost.is_none() || why == End::BareLf {
            self.lost = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(input: &[u8]) -> Progress {
        Data::new(1_000).push(input)
    }

    #[test]
    fn the_text_ends_at_the_lone_dot_and_nowhere_else() {
        let message = |raw: &str| End::Message(raw.as_bytes().to_vec());
        let rows = [
            (".\r\n", message("")),
            ("a\r\n.\r\n", message("a\r\n")),
            ("a\r\n..\r\n.\r\n", message("a\r\n.\r\n")),
            ("..\r\n.\r\n", message(".\r\n")),
            (".a\r\n.\r\n", message("a\r\n")),
            ("a\rb\r\n.\r\n", message("a\rb\r\n")),
            ("a\r.\r\n.\r\n", message("a\r.\r\n")),
            ("a\r\n.\rb\r\n.\r\n", message("a\r\n\rb\r\n")),
            ("a\r\n.\r\r\n.\r\n", message("a\r\n\r\r\n")),
            ("a\r\r\n.\r\n", message("a\r\r\n")),
            ("a\0\u{ff}\r\n.\r\n", message("a\0\u{ff}\r\n")),
            ("a\n.\n\r\n.\r\n", End::BareLf),
            ("a\n.\r\nb\r\n.\r\n", End::BareLf),
            ("a\r\n.\nb\r\n.\r\n", End::BareLf),
            ("\n.\r\n.\r\n", End::BareLf),
            (".\n\r\n.\r\n", End::BareLf),
        ];
        for (input, want) in rows {
            let bytes = input.as_bytes();
            assert_eq!(whole(bytes), Progress::Ended(bytes.len(), want), "{input:?}");
        }
        assert_eq!(whole(b"a\r\n.\r\nQUIT\r\n"), Progress::Ended(6, message("a\r\n")));
        for open in ["", "a", "\r\n", "a\r\n.", "a\r\n.\r", "a\n.\r\n", "a\n.\n", "a\r.\r\n"] {
            assert_eq!(whole(open.as_bytes()), Progress::More, "{open:?}");
        }
    }

    #[test]
    fn the_limit_is_exact_and_what_is_beyond_it_is_not_kept() {
        let exact = [vec![b'x'; 998], b"\r\n.\r\n".to_vec()].concat();
        assert!(matches!(whole(&exact), Progress::Ended(_, End::Message(raw)) if raw.len() == 1_000));
        let more = [vec![b'x'; 999], b"\r\n.\r\n".to_vec()].concat();
        assert_eq!(whole(&more), Progress::Ended(1_004, End::TooBig));
        let mut data = Data::new(1_000);
        assert_eq!(data.push(&[b'x'; 100_000]), Progress::More);
        assert_eq!(data.buffered(), 0);
        assert_eq!(data.push(&vec![b'x'; 1024 * 1024]), Progress::Overrun);
    }

    #[test]
    fn a_mail_without_room_is_read_to_its_end() {
        let mut data = Data::new(1_000);
        assert_eq!(data.push(b"abc\r\n"), Progress::More);
        data.no_room();
        assert_eq!(data.buffered(), 0);
        assert_eq!(data.push(b"def\r\n.\r\n"), Progress::Ended(8, End::NoRoom));
    }

    proptest! {
        #[test]
        fn any_text_comes_back_and_any_cut_gives_the_same(
            lines in proptest::collection::vec("[.a\\r]{0,5}", 0..20),
            cuts in proptest::collection::vec(0usize..6, 0..80),
        ) {
            let mut message = Vec::new();
            let mut wire = Vec::new();
            for line in &lines {
                if line.starts_with('.') {
                    wire.push(b'.');
                }
                for out in [&mut wire, &mut message] {
                    out.extend_from_slice(line.as_bytes());
                    out.extend_from_slice(b"\r\n");
                }
            }
            wire.extend_from_slice(b".\r\n");
            let mut data = Data::new(1_000);
            let mut rest = wire.as_slice();
            let mut cuts = cuts.into_iter();
            let end = loop {
                let (piece, tail) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
                rest = tail;
                match data.push(piece) {
                    Progress::More => prop_assert!(!rest.is_empty()),
                    other => break other,
                }
            };
            prop_assert!(rest.is_empty());
            let Progress::Ended(_, end) = end else { panic!("{end:?}") };
            prop_assert_eq!(end, End::Message(message));
        }
    }
}
