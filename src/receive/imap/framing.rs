//! What a server may send in answer to one command: how long a line, how large a literal, how many
//! lines, how many bytes in all.
//!
//! A pure guard in front of the parser, which has no bounds, and calls itself for each parenthesis
//! within another one. It knows where lines and literals (RFC 9051, section 4.3) begin and end, and
//! counts what opens; it must never know what stands in them.

/// The bounds of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Bytes of a line outside of literals.
    pub(super) line: u64,
    /// Bytes of a literal, refused when it is announced.
    pub(super) literal: u64,
    /// Lines outside of literals.
    pub(super) lines: u64,
    /// Bytes of everything.
    pub(super) bytes: u64,
}

impl Bounds {
    /// For answers that are short by nature. Many lines are possible: another client may have
    /// deleted a whole folder.
    pub(super) const SHORT: Bounds =
        Bounds { line: 64 << 10, literal: 64 << 10, lines: 50_000, bytes: 2 << 20 };

    /// For lists of UIDs in one line.
    pub(super) const LIST: Bounds =
        Bounds { line: 4 << 20, literal: 64 << 10, lines: 50_000, bytes: 6 << 20 };

    /// For one mail that may be so long.
    pub(super) fn mail(longest: usize) -> Bounds {
        let literal = u64::try_from(longest).unwrap_or(u64::MAX);
        Bounds { literal, bytes: literal.saturating_add(Bounds::SHORT.bytes), ..Bounds::SHORT }
    }
}

/// Which bound was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMuch {
    #[error("the server sent a line of more than {0} bytes")]
    Line(u64),
    #[error("the server announced {announced} bytes where at most {allowed} are expected")]
    Literal { announced: u64, allowed: u64 },
    #[error("the server sent more than {0} lines in one answer")]
    Lines(u64),
    #[error("the server sent more than {0} bytes in one answer")]
    Bytes(u64),
    #[error("the server opened more than {MOST_OPEN} parentheses in one line")]
    Nested,
}

/// The longest end of a line that can announce a literal: `{`, 20 digits, `+}` and CR.
const ANNOUNCEMENT: usize = 24;

/// Parentheses that open in one line and the lines that go on after its literals, whether they are
/// closed or not: what is asked for here has a handful. The parser takes a kilobyte of stack for each
/// that is open, or eight, as it happens to be compiled, and a stack (2 MiB) that overflows ends the process.
const MOST_OPEN: u64 = 64;

/// Follows the stream of one connection.
#[derive(Debug)]
pub(super) struct Framing {
    bounds: Bounds,
    line: u64,
    lines: u64,
    bytes: u64,
    /// Bytes of the present literal that are still to come.
    literal: u64,
    /// Parentheses that opened since the last line end that no literal follows.
    open: u64,
    /// The last bytes of the present line.
    tail: Vec<u8>,
    /// The first bytes of it.
    head: Vec<u8>,
    /// What the server said when it said goodbye: the parser forgets it with the answer that never
    /// came.
    goodbye: Option<String>,
}

/// The bytes of a line that are looked at for a goodbye.
const HEAD: usize = 200;

impl Framing {
    pub(super) fn new(bounds: Bounds) -> Framing {
        Framing {
            bounds,
            line: 0,
            lines: 0,
            bytes: 0,
            literal: 0,
            open: 0,
            tail: Vec::new(),
            head: Vec::new(),
            goodbye: None,
        }
    }

    /// A new answer is expected.
    pub(super) fn expect(&mut self, bounds: Bounds) {
        (self.bounds, self.line, self.lines, self.bytes, self.open) = (bounds, 0, 0, 0, 0);
    }

    /// What the server said when it said goodbye, if it did.
    pub(super) fn goodbye(&self) -> Option<&str> {
        self.goodbye.as_deref()
    }

    /// These bytes came.
    ///
    /// # Errors
    /// The bound that they break. Nothing after it may be read.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), TooMuch> {
        self.bytes = self.bytes.saturating_add(length(bytes));
        if self.bytes > self.bounds.bytes {
            return Err(TooMuch::Bytes(self.bounds.bytes));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.literal > 0 {
                let inside = usize::try_from(self.literal).unwrap_or(usize::MAX).min(rest.len());
                self.literal = self.literal.saturating_sub(length(rest.get(..inside).unwrap_or_default()));
                rest = rest.get(inside..).unwrap_or_default();
                continue;
            }
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            self.line = self.line.saturating_add(length(part));
            if self.line > self.bounds.line {
                return Err(TooMuch::Line(self.bounds.line));
            }
            self.open = self.open.saturating_add(count(part, b'('));
            if self.open > MOST_OPEN {
                return Err(TooMuch::Nested);
            }
            let wanted = HEAD.saturating_sub(self.head.len()).min(part.len());
            self.head.extend_from_slice(part.get(..wanted).unwrap_or_default());
            self.tail
                .extend_from_slice(part.get(part.len().saturating_sub(ANNOUNCEMENT)..).unwrap_or_default());
            let surplus = self.tail.len().saturating_sub(ANNOUNCEMENT);
            self.tail.drain(..surplus);
            rest = after.get(1..).unwrap_or_default();
            if end.is_some() {
                self.end_of_line()?;
            }
        }
        Ok(())
    }

    fn end_of_line(&mut self) -> Result<(), TooMuch> {
        self.line = 0;
        self.lines = self.lines.saturating_add(1);
        if self.lines > self.bounds.lines {
            return Err(TooMuch::Lines(self.bounds.lines));
        }
        if let Some((word, said)) = self.head.split_at_checked(5)
            && word.eq_ignore_ascii_case(b"* BYE")
        {
            self.goodbye = Some(String::from_utf8_lossy(said).trim().to_owned());
        }
        self.head.clear();
        let announced = announced(&self.tail);
        self.tail.clear();
        match announced {
            None => self.open = 0,
            Some(announced) if announced > self.bounds.literal => {
                return Err(TooMuch::Literal { announced, allowed: self.bounds.literal });
            }
            Some(announced) => self.literal = announced,
        }
        Ok(())
    }
}

/// The length of the literal that the end of a line announces.
fn announced(tail: &[u8]) -> Option<u64> {
    let line = tail.strip_suffix(b"\r").unwrap_or(tail);
    let inside = line.strip_suffix(b"}")?;
    let inside = inside.strip_suffix(b"+").unwrap_or(inside);
    let open = inside.iter().rposition(|byte| *byte == b'{')?;
    let digits = std::str::from_utf8(inside.get(open.saturating_add(1)..)?).ok()?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than fit are more bytes than are allowed.
    Some(digits.parse().unwrap_or(u64::MAX))
}

fn count(bytes: &[u8], wanted: u8) -> u64 {
    bytes.iter().fold(0, |found, byte| found.saturating_add(u64::from(*byte == wanted)))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds { line: 40, literal: 100, lines: 4, bytes: 200 };

    #[test]
    fn each_bound_is_kept_however_the_bytes_come() {
        let long = "x".repeat(41);
        let literals = "* a {60}\r\n".to_owned() + &"y".repeat(60);
        #[rustfmt::skip]
        let table: [(&str, String, Option<TooMuch>); 12] = [
            ("a line at the bound", format!("{}\n", "x".repeat(40)), None),
            ("an endless line", long, Some(TooMuch::Line(40))),
            ("a literal is no line", format!("* 1 FETCH (BODY[] {{100}}\r\n{})\r\n", "z\n".repeat(50)), None),
            ("a literal that is too large", "* 1 FETCH (BODY[] {101}\r\n".into(), Some(TooMuch::Literal { announced: 101, allowed: 100 })),
            ("of 4 GB", "* 1 FETCH (BODY[] {4294967296}\r\n".into(), Some(TooMuch::Literal { announced: 4_294_967_296, allowed: 100 })),
            ("of more than there is", "* 1 FETCH {99999999999999999999}\r\n".into(), Some(TooMuch::Literal { announced: u64::MAX, allowed: 100 })),
            ("not synchronised", "* 1 FETCH {101+}\r\n".into(), Some(TooMuch::Literal { announced: 101, allowed: 100 })),
            ("without CR", "* 1 FETCH {101}\n".into(), Some(TooMuch::Literal { announced: 101, allowed: 100 })),
            ("as many lines as may be", "a\r\nb\r\nc\r\nd\r\n".into(), None),
            ("one more", "a\r\nb\r\nc\r\nd\r\ne\r\n".into(), Some(TooMuch::Lines(4))),
            ("bytes in all", literals.repeat(3), Some(TooMuch::Bytes(200))),
            ("braces that announce nothing", "* OK {x} {} {1}}\r\n".into(), None),
        ];
        for (what, bytes, broken) in table {
            for step in [1, 2, 7, bytes.len()] {
                let mut framing = Framing::new(SMALL);
                let result = bytes.as_bytes().chunks(step).try_for_each(|part| framing.take(part));
                assert_eq!(result.err(), broken, "{what}, {step} at a time");
            }
        }
    }

    #[test]
    fn what_opens_in_one_line_is_counted_across_its_literals() {
        let open = |n: usize| "(".repeat(n);
        for (what, text, good) in [
            ("as many as may be", format!("{}\r\n", open(64)), true),
            ("one more", open(65), false),
            ("closed ones count, too", "()".repeat(257), false),
            ("each line for itself", format!("{0}\r\n{0}\r\n", open(50)), true),
            ("a literal ends no line", format!("{0} {{1}}\r\nx{0}", open(50)), false),
            ("what a literal holds is not read", format!("( {{300}}\r\n{})\r\n", open(300)), true),
        ] {
            for step in [1, 7, text.len()] {
                let mut framing = Framing::new(Bounds::SHORT);
                let result = text.as_bytes().chunks(step).try_for_each(|part| framing.take(part));
                assert_eq!(
                    result,
                    if good { Ok(()) } else { Err(TooMuch::Nested) },
                    "{what}, {step} at a time"
                );
            }
        }
        let mut framing = Framing::new(Bounds::SHORT);
        framing.take(open(50).as_bytes()).unwrap();
        framing.expect(Bounds::SHORT);
        assert_eq!(framing.take(open(50).as_bytes()), Ok(()), "a new answer");
    }

    #[test]
    fn a_goodbye_is_heard_outside_of_literals() {
        let hear = |text: &str| {
            let mut framing = Framing::new(Bounds::SHORT);
            text.as_bytes().chunks(3).for_each(|part| framing.take(part).unwrap());
            framing.goodbye().map(str::to_owned)
        };
        assert_eq!(hear("* OK\r\n* bye  too late\r\n").as_deref(), Some("too late"));
        assert_eq!(hear("* 1 FETCH (BODY[] {8}\r\n\r\n* BYE\r\n)\r\n"), None);
        assert_eq!(hear("* BYE not complete"), None);
    }

    #[test]
    fn a_new_answer_has_its_own_bounds() {
        let mut framing = Framing::new(SMALL);
        for _ in 0..100 {
            framing.expect(SMALL);
            framing.take(b"* OK\r\na1 OK\r\n").unwrap();
        }
        framing.expect(Bounds { literal: 0, ..SMALL });
        assert!(framing.take(b"{1}\r\n").is_err());
    }
}
