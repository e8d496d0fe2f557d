//! SMTP, the client's side, without sockets: what a server said, and what it offers.
//!
//! The owner of the socket writes command lines and gives what came back to [`Client::receive`].

use std::collections::VecDeque;

use thiserror::Error;

use super::Reply;

/// Bytes of one reply line that are kept.
const KEPT: usize = 1_000;
/// Bytes of one reply line before the connection is given up.
const LONGEST: usize = 16 * 1024;
/// Lines of one reply before the connection is given up.
const MOST_LINES: usize = 200;

/// What a server sent that can't be a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// A line that does not begin with a code from 200 to 599.
    #[error("a line that is no reply")]
    NoReply,
    /// A line without an end.
    #[error("a reply line of more than {LONGEST} bytes")]
    LineTooLong,
    /// A reply without an end.
    #[error("a reply of more than {MOST_LINES} lines")]
    TooManyLines,
}

/// What a server said: its code, and the text of each line behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// 200 to 599.
    pub code: u16,
    /// The text of each line, what is no UTF-8 replaced; at least one.
    pub lines: Vec<String>,
}

impl Heard {
    /// The same reply in our mouth, with the server's own enhanced status code.
    #[must_use]
    pub fn reply(&self) -> Reply {
        Reply::heard(self.code, &self.lines)
    }

    /// In one line, for people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" "))
    }
}

/// The extensions that a server offered to EHLO, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered(Vec<(String, String)>);

impl Offered {
    /// Out of the reply to EHLO.
    #[must_use]
    pub fn of(hello: &Heard) -> Self {
        let lines = hello.lines.iter().skip(1).map(|line| {
            let (name, parameters) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            (name.to_ascii_uppercase(), parameters.trim().to_owned())
        });
        Offered(lines.collect())
    }

    /// The parameters of an extension, if it is offered; `name` in upper case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(offered, _)| offered == name).map(|(_, parameters)| parameters.as_str())
    }
}

/// One connection's replies.
#[derive(Debug, Default)]
pub struct Client {
    /// The line under way, as far as it is kept, and its whole length.
    partial: Vec<u8>,
    length: usize,
    /// The lines of the reply under way.
    lines: Vec<String>,
    heard: VecDeque<Heard>,
}

impl Client {
    /// A connection on which nothing has been said yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes that came from the server, cut anywhere.
    ///
    /// # Errors
    /// They are no replies; the connection is of no more use.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        for &byte in bytes {
            if byte == b'\n' {
                self.line()?;
                continue;
            }
            self.length += 1;
            if self.length > LONGEST {
                return Err(ClientError::LineTooLong);
            }
            if self.partial.len() < KEPT {
                self.partial.push(byte);
            }
        }
        Ok(())
    }

    /// The next whole reply.
    pub fn heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    /// Whether nothing was said that was not looked at.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.heard.is_empty() && self.lines.is_empty() && self.length == 0
    }

    fn line(&mut self) -> Result<(), ClientError> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).trim_end().to_owned();
        self.length = 0;
        let (code, rest) = line.split_at_checked(3).ok_or(ClientError::NoReply)?;
        if !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ClientError::NoReply);
        }
        let code: u16 = code.parse().map_err(|_| ClientError::NoReply)?;
        if !(200..=599).contains(&code) {
            return Err(ClientError::NoReply);
        }
        if self.lines.len() >= MOST_LINES {
            return Err(ClientError::TooManyLines);
        }
        let (text, last) = match rest.strip_prefix('-') {
            Some(text) => (text, false),
            None => (rest.strip_prefix(' ').unwrap_or(rest), true),
        };
        self.lines.push(text.to_owned());
        if last {
            self.heard.push_back(Heard { code, lines: std::mem::take(&mut self.lines) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<String>, ClientError> {
        let mut client = Client::new();
        client.receive(bytes)?;
        Ok(std::iter::from_fn(|| client.heard()).map(|heard| heard.text()).collect())
    }

    #[test]
    fn replies_are_read() {
        for (bytes, heard) in [
            (&b"250 ok\r\n"[..], &["250 ok"][..]),
            (b"250\r\n", &["250 "]),
            (b"250-a\r\n250 b\r\n354 go\n", &["250 a b", "354 go"]),
            (b"550 5.1.1 <x\xff>\r\n", &["550 5.1.1 <x\u{fffd}>"]),
            (b"250 unfinished", &[]),
        ] {
            assert_eq!(all(bytes).unwrap(), heard);
        }
        for wrong in [&b"hello\r\n"[..], b"\r\n", b"25\r\n", b"000 x\r\n", b"999 x\r\n", b"2\xc3\xbc0 x\r\n"]
        {
            assert_eq!(all(wrong), Err(ClientError::NoReply), "{wrong:?}");
        }
    }

    #[test]
    fn the_bounds_are_kept() {
        assert_eq!(all(&vec![b'2'; LONGEST + 1]), Err(ClientError::LineTooLong));
        assert_eq!(all(&vec![b'2'; LONGEST]), Ok(vec![]));
        assert_eq!(all(&b"250-x\r\n".repeat(MOST_LINES)), Ok(vec![]));
        assert_eq!(all(&b"250-x\r\n".repeat(MOST_LINES + 1)), Err(ClientError::TooManyLines));
        let long = [b"250 ".to_vec(), vec![b'x'; LONGEST - 5], b"\r\n".to_vec()].concat();
        assert_eq!(all(&long).unwrap()[0].len(), KEPT);
    }

    #[test]
    fn what_is_offered_is_found() {
        let lines = ["mx.example", "size 1000", "8BITMIME", "XFORWARD NAME ADDR"];
        let heard = Heard { code: 250, lines: lines.map(str::to_owned).to_vec() };
        let offered = Offered::of(&heard);
        assert_eq!(offered.get("SIZE"), Some("1000"));
        assert_eq!(offered.get("8BITMIME"), Some(""));
        assert_eq!(offered.get("XFORWARD"), Some("NAME ADDR"));
        assert_eq!(offered.get("MX.EXAMPLE"), None);
    }

    #[test]
    fn a_reply_is_passed_on_with_its_own_codes() {
        for (line, passed) in [
            ("550 5.1.1 <x>: no such user", "550 5.1.1 <x>: no such user\r\n"),
            ("550 no such user", "550 no such user\r\n"),
            ("450 5.1.1 contradictory", "450 5.1.1 contradictory\r\n"),
            ("550 5.7.1", "550 5.7.1 \r\n"),
            ("452-4.3.1 no\r\n452 4.3.1 room", "452-4.3.1 no\r\n452 4.3.1 room\r\n"),
        ] {
            let mut client = Client::new();
            client.receive(format!("{line}\r\n").as_bytes()).unwrap();
            let reply = client.heard().unwrap().reply().to_bytes();
            assert_eq!(String::from_utf8(reply).unwrap(), passed);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'2'), Just(b'-'), Just(b' '), any::<u8>()], 0..300)) {
            if let Ok(all) = all(&bytes) {
                prop_assert!(all.iter().all(|text| text.len() >= 3));
            }
        }
    }
}
