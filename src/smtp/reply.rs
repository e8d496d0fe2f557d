//! Replies: a code, an enhanced status code and a text that can't break the dialogue.

use std::fmt::Write as _;

/// Characters of text in one reply; what is longer is cut and ends in `...`.
const MAX_TEXT: usize = 1_500;
/// Characters of text in one reply line (RFC 5321 section 4.5.3.1.5 allows 512 octets with
/// the code and CRLF).
const MAX_LINE: usize = 480;
/// Lines of another server's reply that are passed on.
const MAX_HEARD: usize = 8;

/// What a reply means to the client (RFC 5321 section 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// 2xx: done.
    Success,
    /// 3xx: go on.
    Intermediate,
    /// 4xx: not now, try again later.
    Transient,
    /// 5xx: not like this, don't try again.
    Permanent,
}

/// One reply, of one line or several.
///
/// The text is printable ASCII whatever it was made from: control characters become spaces
/// and what is not ASCII becomes `?`, so that nothing a client sent can start a line of its
/// own when it is quoted back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    status: Option<(u16, u16)>,
    lines: Vec<String>,
}

impl Reply {
    /// A reply with an enhanced status code (RFC 3463) `c.subject.detail`, where c is the
    /// first digit of `code`.
    ///
    /// A code outside 200..=599 is a mistake of the caller; the client is told 451 4.3.0,
    /// which loses no mail.
    pub fn new(code: u16, subject: u16, detail: u16, text: &str) -> Self {
        let (code, subject, detail) = match code {
            200..=599 => (code, subject.min(999), detail.min(999)),
            _ => (451, 3, 0),
        };
        Reply { code, status: Some((subject, detail)), lines: wrap(text) }
    }

    /// A reply without an enhanced status code: the greeting, EHLO's and 354 (RFC 2034
    /// section 4). Each item is a line.
    pub(crate) fn plain(code: u16, lines: Vec<String>) -> Self {
        let mut lines: Vec<String> = lines.iter().map(|line| clean(line)).collect();
        if lines.is_empty() {
            lines.push(String::new());
        }
        Reply { code, status: None, lines }
    }

    /// What another server said, in its lines and with its own enhanced status code, if that
    /// fits the code. A code outside 200..=599 is a mistake of the caller and becomes 451.
    pub fn heard(code: u16, lines: &[String]) -> Self {
        let code = if (200..=599).contains(&code) { code } else { 451 };
        let status = lines.first().and_then(|line| split_status(code, line)).map(|(status, _)| status);
        let bare = |line: &String| match split_status(code, line) {
            Some((_, rest)) if status.is_some() => rest.to_owned(),
            _ => line.clone(),
        };
        // Cut like any text of ours: what another server says has no end by itself.
        let lines = lines.iter().flat_map(|line| wrap(&bare(line))).take(MAX_HEARD).collect();
        Reply { status, ..Reply::plain(code, lines) }
    }

    /// The same, with this enhanced status code if it has none. A status of another class in the
    /// text stays there, for people.
    pub(crate) fn or_status(self, subject: u16, detail: u16) -> Self {
        Reply { status: self.status.or(Some((subject, detail))), ..self }
    }

    /// 250 2.0.0: stored, or known already with the same bytes.
    pub fn stored(text: &str) -> Self {
        Reply::new(250, 0, 0, text)
    }

    /// 450 4.7.1: this client or author sends too fast.
    pub fn too_fast(text: &str) -> Self {
        Reply::new(450, 7, 1, text)
    }

    /// 451 4.3.0: trouble on our side; the mail may come again.
    pub fn trouble(text: &str) -> Self {
        Reply::new(451, 3, 0, text)
    }

    /// 452 4.3.1: no room here at present.
    pub fn no_room(text: &str) -> Self {
        Reply::new(452, 3, 1, text)
    }

    /// 421 4.3.2: too many connections, or the service is stopping.
    pub fn unavailable(text: &str) -> Self {
        Reply::new(421, 3, 2, text)
    }

    /// 421 4.7.0: this client has too many connections, or made too many mistakes.
    pub fn enough(text: &str) -> Self {
        Reply::new(421, 7, 0, text)
    }

    /// 550 5.1.1: no such address here.
    pub fn no_such_address(text: &str) -> Self {
        Reply::new(550, 1, 1, text)
    }

    /// 550 5.7.1: not allowed to post.
    pub fn not_allowed(text: &str) -> Self {
        Reply::new(550, 7, 1, text)
    }

    /// 550 5.7.7: the signature is wrong.
    pub fn wrong_signature(text: &str) -> Self {
        Reply::new(550, 7, 7, text)
    }

    /// 550 5.6.0: the mail's bytes break the protocol (a bare LF).
    pub fn malformed_mail(text: &str) -> Self {
        Reply::new(550, 6, 0, text)
    }

    /// 552 5.3.4: too big.
    pub fn too_big(text: &str) -> Self {
        Reply::new(552, 3, 4, text)
    }

    /// 554 5.6.0: not a well-formed CMR message; the text says which rule, with the numbers.
    pub fn not_well_formed(text: &str) -> Self {
        Reply::new(554, 6, 0, text)
    }

    /// The three-digit code, 200 to 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code, `5.1.1`; none for the greeting, EHLO's reply and 354.
    pub fn enhanced(&self) -> Option<String> {
        let (subject, detail) = self.status?;
        Some(format!("{}.{subject}.{detail}", self.code / 100))
    }

    /// The text in one line, without the codes.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }

    /// What the first digit of the code means.
    pub fn severity(&self) -> Severity {
        match self.code {
            ..=299 => Severity::Success,
            300..=399 => Severity::Intermediate,
            400..=499 => Severity::Transient,
            500.. => Severity::Permanent,
        }
    }

    /// The bytes on the wire: every line but the last with `-` after the code (RFC 5321
    /// section 4.2.1), the enhanced status code on each (RFC 2034 section 4).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = String::new();
        let status = self.enhanced();
        let last = self.lines.len().saturating_sub(1);
        for (at, line) in self.lines.iter().enumerate() {
            let mark = if at == last { ' ' } else { '-' };
            // Writing to a String can't fail.
            let _ = match &status {
                Some(status) => write!(out, "{}{mark}{status} {line}\r\n", self.code),
                None => write!(out, "{}{mark}{line}\r\n", self.code),
            };
        }
        out.into_bytes()
    }
}

impl std::fmt::Display for Reply {
    /// `550 5.1.1 No such address here`, in one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(status) = self.enhanced() {
            write!(f, "{status} ")?;
        }
        f.write_str(&self.text())
    }
}

/// The subject and detail of the enhanced status code at the start of a line, and what is behind
/// it. None if it is not of the code's class.
fn split_status(code: u16, line: &str) -> Option<((u16, u16), &str)> {
    let (status, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut parts = status.split('.');
    let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |part: &str| {
        let sound = (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if sound { part.parse::<u16>().ok() } else { None }
    };
    if parts.next().is_some() || number(class)? != code / 100 {
        return None;
    }
    Some(((number(subject)?, number(detail)?), rest))
}

/// Printable ASCII only.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            ' '..='~' => c,
            c if c.is_control() => ' ',
            _ => '?',
        })
        .collect()
}

/// Cleans, cuts at [`MAX_TEXT`] and breaks at spaces into lines of at most [`MAX_LINE`].
fn wrap(text: &str) -> Vec<String> {
    let mut text = clean(text);
    if text.len() > MAX_TEXT {
        // All ASCII, so every index is a character boundary.
        text.truncate(MAX_TEXT - 3);
        text.push_str("...");
    }
    let mut lines = Vec::new();
    let mut rest = text.trim();
    while let Some((head, _)) = rest.split_at_checked(MAX_LINE) {
        if head.len() == rest.len() {
            break;
        }
        let cut = head.rfind(' ').filter(|&at| at > 0).unwrap_or(MAX_LINE);
        let Some((line, tail)) = rest.split_at_checked(cut) else {
            break;
        };
        lines.push(line.trim_end().to_owned());
        rest = tail.trim_start();
    }
    lines.push(rest.to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reply_is_its_code_its_status_and_its_text() {
        let reply = Reply::no_such_address("No such address here");
        assert_eq!(reply.to_bytes(), b"550 5.1.1 No such address here\r\n");
        assert_eq!(reply.to_string(), "550 5.1.1 No such address here");
        assert_eq!(reply.severity(), Severity::Permanent);
        assert_eq!(Reply::too_fast("x").severity(), Severity::Transient);
        assert_eq!(Reply::stored("x").severity(), Severity::Success);
    }

    #[test]
    fn quoted_input_cannot_start_a_line() {
        let reply = Reply::not_allowed("you said a\r\n250 2.0.0 ok\0\x1b[2J \u{85}\u{2028}é");
        let bytes = reply.to_bytes();
        assert_eq!(bytes, b"550 5.7.1 you said a  250 2.0.0 ok  [2J  ??\r\n");
    }

    #[test]
    fn a_code_that_is_none_becomes_451() {
        assert_eq!(Reply::new(0, 1, 1, "x").to_bytes(), b"451 4.3.0 x\r\n");
        assert_eq!(Reply::new(999, 1, 1, "x").to_bytes(), b"451 4.3.0 x\r\n");
    }

    #[test]
    fn several_lines_carry_the_codes_on_each() {
        let word = "word ".repeat(150);
        let text = String::from_utf8(Reply::not_well_formed(&word).to_bytes()).unwrap();
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("554-5.6.0 word"));
        assert!(lines[1].starts_with("554 5.6.0 word"));
    }

    proptest! {
        #[test]
        fn every_reply_is_well_formed_and_bounded(code in any::<u16>(), text in any::<String>(),
                                                  times in 1usize..400) {
            let bytes = Reply::new(code, 1, 2, &text.repeat(times)).to_bytes();
            prop_assert!(bytes.len() < 2_000);
            prop_assert!(bytes.ends_with(b"\r\n"));
            let text = String::from_utf8(bytes).unwrap();
            let lines: Vec<&str> = text.split_terminator("\r\n").collect();
            for (at, line) in lines.iter().enumerate() {
                prop_assert!(line.len() <= 510);
                prop_assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)));
                let mark = if at + 1 == lines.len() { ' ' } else { '-' };
                prop_assert_eq!(line.chars().nth(3), Some(mark));
            }
        }
    }
}
