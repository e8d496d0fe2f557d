//! The server's replies, brought into order before the client library reads them.
//!
//! Pure: bytes in, lines out. The library reads lines without a bound, takes no bare LF, no
//! code without text and no byte outside UTF-8, and panics at an EHLO line of spaces. A reply
//! that it can't read after the final dot is a mail delivered twice, so whatever can be
//! understood is rewritten into what it takes; everything is bounded.

use std::collections::VecDeque;
use thiserror::Error;

/// A reply line is kept up to here; RFC 5321 section 4.5.3.1.5 allows 512 bytes.
const KEPT: usize = 512;
/// A line that is longer than this ends the connection.
const LONGEST_LINE: usize = 16 * 1024;
/// A reply of more lines than this ends the connection.
const MOST_LINES: usize = 100;

/// What a server sent that can't be a reply.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReplyFault {
    /// A line without an end.
    #[error("a reply line of more than {LONGEST_LINE} bytes")]
    LineTooLong,
    /// A reply without an end.
    #[error("a reply of more than {MOST_LINES} lines")]
    TooManyLines,
}

/// Collects bytes and hands out lines of the form `ddd-text` CRLF or `ddd text` CRLF.
#[derive(Debug, Default)]
pub struct Replies {
    partial: Vec<u8>,
    /// Bytes of the line under way, those not kept included.
    length: usize,
    /// Lines of the reply under way.
    lines: usize,
    ready: VecDeque<Vec<u8>>,
}

impl Replies {
    /// Takes what arrived.
    ///
    /// # Errors
    /// When a bound is passed; the connection is of no more use then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ReplyFault> {
        for &byte in bytes {
            if byte == b'\n' {
                self.finish_line()?;
                continue;
            }
            self.length += 1;
            if self.length > LONGEST_LINE {
                return Err(ReplyFault::LineTooLong);
            }
            if self.partial.len() < KEPT {
                self.partial.push(byte);
            }
        }
        Ok(())
    }

    /// The next line, its CRLF included.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// Whether nothing has arrived that was not handed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.length == 0
    }

    fn finish_line(&mut self) -> Result<(), ReplyFault> {
        let raw = std::mem::take(&mut self.partial);
        self.length = 0;
        self.lines += 1;
        if self.lines > MOST_LINES {
            return Err(ReplyFault::TooManyLines);
        }
        let (line, last) = in_order(&raw);
        if last {
            self.lines = 0;
        }
        self.ready.push_back(line);
        Ok(())
    }
}

/// One line in the form that the library takes, and whether it ends its reply.
///
/// What does not start with three digits is passed on as it is: the library refuses it, which
/// is right, for nobody can know what was meant.
fn in_order(raw: &[u8]) -> (Vec<u8>, bool) {
    let text = String::from_utf8_lossy(raw);
    let clean: String = text.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let coded = clean.split_at_checked(3).filter(|(code, _)| code.bytes().all(|b| b.is_ascii_digit()));
    let (line, last) = match coded {
        Some((code, rest)) => match rest.strip_prefix('-') {
            Some(text) => (format!("{code}-{}\r\n", text.trim()), false),
            None => (format!("{code} {}\r\n", rest.trim()), true),
        },
        None => (format!("{clean}\r\n"), true),
    };
    (line.into_bytes(), last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut replies = Replies::default();
        replies.push(bytes).expect("within bounds");
        std::iter::from_fn(|| replies.pop()).map(|l| String::from_utf8(l).expect("utf-8")).collect()
    }

    #[test]
    fn odd_servers() {
        for (bytes, expected) in [
            (&b"250 ok\r\n"[..], &["250 ok\r\n"][..]),
            (b"250\r\n", &["250 \r\n"]),
            (b"250 ok\n", &["250 ok\r\n"]),
            (b"250ok\r\n", &["250 ok\r\n"]),
            (b"250-\r\n250 \r\n", &["250-\r\n", "250 \r\n"]),
            (b"250-   \r\n250 x  \r\n", &["250-\r\n", "250 x\r\n"]),
            (b"550 gel\xf6scht\r\n", &["550 gel\u{fffd}scht\r\n"]),
            (b"550 na\xc3\xafve\r\n", &["550 na\u{ef}ve\r\n"]),
            (b"250 a\rb\0c\x1b[1m\r\n", &["250 a?b?c?[1m\r\n"]),
            (b"hello\r\n", &["hello\r\n"]),
            (b"\r\n", &["\r\n"]),
            (b"2\xc3\xaf5\r\n", &["2\u{ef}5\r\n"]),
            (b"250 unfinished", &[]),
        ] {
            assert_eq!(lines(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_long_line_is_cut_and_an_endless_one_refused() {
        let mut line = b"250 ".to_vec();
        line.resize(LONGEST_LINE, b'x');
        line.extend_from_slice(b"\r\n");
        // The CR counts, so one byte less is the most.
        line.remove(10);
        let cut = lines(&line);
        assert_eq!(cut[0].len(), KEPT + 2);
        let mut replies = Replies::default();
        assert_eq!(replies.push(&vec![b'2'; LONGEST_LINE]), Ok(()));
        assert_eq!(replies.push(b"2"), Err(ReplyFault::LineTooLong));
        assert!(replies.partial.len() <= KEPT);
    }

    #[test]
    fn an_endless_reply_is_refused_but_many_replies_are_not() {
        let mut replies = Replies::default();
        for _ in 0..MOST_LINES {
            assert_eq!(replies.push(b"250-x\r\n"), Ok(()));
        }
        assert_eq!(replies.push(b"250 x\r\n"), Err(ReplyFault::TooManyLines));
        let mut replies = Replies::default();
        for _ in 0..10 * MOST_LINES {
            assert_eq!(replies.push(b"250 x\r\n"), Ok(()));
            assert!(replies.pop().is_some());
        }
        assert!(replies.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_clean_lines(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'2'), Just(b'-'), Just(b' '), any::<u8>()],
                0..300),
            cut in 0..300_usize,
        ) {
            let mut whole = Replies::default();
            let mut pieces = Replies::default();
            let at = cut.min(bytes.len());
            let a = whole.push(&bytes);
            let b = pieces.push(&bytes[..at]).and_then(|()| pieces.push(&bytes[at..]));
            prop_assert_eq!(a, b);
            loop {
                let (a, b) = (whole.pop(), pieces.pop());
                prop_assert_eq!(&a, &b);
                let Some(line) = a else { break };
                let text = String::from_utf8(line).expect("utf-8");
                prop_assert!(text.ends_with("\r\n"));
                prop_assert!(!text.trim_end_matches("\r\n").chars().any(char::is_control));
            }
        }
    }
}
