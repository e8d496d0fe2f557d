//! An mbox, mail by mail.
//!
//! Four dialects are in use (mbox(5), RFC 4155 and its references): *mboxo* puts `>` before lines
//! `From `, *mboxrd* also before `>From `, `>>From ` and so on, *mboxcl* quotes as mboxo and writes
//! a Content-Length, *mboxcl2* writes a Content-Length and quotes nothing. What is read here:
//!
//! - A `From ` line separates if it stands first or after an empty line and ends like a time of
//!   day and a year, so that an unquoted sentence that begins with "From " separates nothing.
//! - A Content-Length is believed if the file ends, or an empty line and a separator follow,
//!   exactly where it says. Lines `From ` in such a body separate nothing. In a file where several
//!   were wrong none is believed any more.
//! - One `>` is taken from lines `>From `, `>>From ` … That is mboxrd, and the best reading of mboxo.
//!   In a body that holds a bare `From ` line nothing was quoted (mboxcl2), so nothing is taken.

use super::{ArchiveError, Place, Stored};
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// How lines of the mails were quoted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quoting {
    /// As this module's head says.
    #[default]
    Guess,
    /// mboxrd: every line of `>`s and `From ` has one `>` too many.
    Rd,
    /// mboxo, mboxcl: only a line `>From ` has.
    O,
    /// mboxcl2: none.
    None,
}

/// The mails of an mbox.
#[derive(Debug)]
pub struct Mbox<R> {
    input: R,
    path: PathBuf,
    quoting: Quoting,
    most: usize,
    /// Bytes consumed.
    at: u64,
    /// Where the `From ` line of the next mail began, which is consumed already.
    next: Option<u64>,
    /// How many Content-Lengths were wrong.
    lies: u8,
}

/// After so many wrong ones no Content-Length is looked after any more: to find out about one costs
/// as much reading as it names, twice.
const LIES: u8 = 8;

/// A Content-Length is looked for in so many bytes of a header.
const HEADER: usize = 256 * 1024;

/// A line is read in pieces of this length at most, so that a file without line ends costs no
/// memory.
const PIECE: u64 = 64 * 1024;

/// A mail as far as it was read.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    too_long: bool,
    /// A line `From ` stands in the body, so that nothing can have been quoted.
    bare: bool,
}

impl Body {
    fn push(&mut self, piece: &[u8], most: usize) {
        // Two bytes more: the empty line before a separator is read before it is known.
        if self.too_long || self.bytes.len() + piece.len() > most.saturating_add(2) {
            self.too_long = true;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(piece);
        }
    }
}

impl<R: BufRead + Seek> Mbox<R> {
    /// The mails of `input`, which is called `path` in errors; none longer than `most` bytes.
    ///
    /// # Errors
    /// The input can't be read, or does not begin with a `From ` line (an empty one holds no mails).
    pub fn new(input: R, path: PathBuf, quoting: Quoting, most: usize) -> Result<Self, ArchiveError> {
        let mut mbox = Mbox { input, path, quoting, most, at: 0, next: None, lies: 0 };
        let mut line = Vec::new();
        mbox.piece(&mut line).map_err(|source| mbox.unreadable(0, source))?;
        if line.starts_with(b"From ") {
            mbox.end_line(&line).map_err(|source| mbox.unreadable(0, source))?;
            mbox.next = Some(0);
        } else if !line.is_empty() {
            return Err(ArchiveError::NoMail(mbox.path));
        }
        Ok(mbox)
    }

    /// Goes on at byte `at`, where a `From ` line begins or the file ends. Whether that is so; if
    /// not, the mails from there on are those that were there before.
    ///
    /// # Errors
    /// The input can't be read.
    pub fn resume(&mut self, at: u64) -> Result<bool, ArchiveError> {
        let next = self.next;
        let found = self.separator_at(at).map_err(|source| self.unreadable(at, source))?;
        if !found {
            self.input.seek(SeekFrom::Start(0)).map_err(|source| self.unreadable(0, source))?;
            self.at = 0;
            let mut line = Vec::new();
            self.piece(&mut line)
                .and_then(|()| self.end_line(&line))
                .map_err(|source| self.unreadable(0, source))?;
            self.next = next;
        }
        Ok(found)
    }

    fn separator_at(&mut self, at: u64) -> io::Result<bool> {
        let before = at.saturating_sub(1);
        self.at = self.input.seek(SeekFrom::Start(before))?;
        // A place behind the end can be sought; there is nothing before it.
        self.at += self.input.by_ref().take(at - before).read_to_end(&mut Vec::new())? as u64;
        let mut line = Vec::new();
        let here = self.at;
        self.piece(&mut line)?;
        if here < at || (!line.is_empty() && !is_separator(&line)) {
            return Ok(false);
        }
        self.end_line(&line)?;
        self.next = (!line.is_empty()).then_some(at);
        Ok(true)
    }

    /// Where the mail begins that comes next; at the end, where the file ends.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next.unwrap_or(self.at)
    }

    fn unreadable(&self, at: u64, source: io::Error) -> ArchiveError {
        ArchiveError::Unreadable { place: Place { path: self.path.clone(), at: Some(at) }, source }
    }

    /// The next line into `line`, or a piece of it without line end. Nothing at the end.
    fn piece(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        line.clear();
        let read = self.input.by_ref().take(PIECE).read_until(b'\n', line)?;
        self.at += read as u64;
        Ok(())
    }

    /// Passes over the rest of a line of which `read` was the first piece.
    fn end_line(&mut self, read: &[u8]) -> io::Result<()> {
        let mut rest = read.to_vec();
        while !rest.is_empty() && !rest.ends_with(b"\n") {
            self.piece(&mut rest)?;
        }
        Ok(())
    }

    /// Reads from behind one `From ` line to behind the next.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut mail = Body::default();
        let (mut in_header, mut after_blank, mut starts) = (true, false, true);
        let mut line = Vec::new();
        loop {
            let before = self.at;
            self.piece(&mut line)?;
            if line.is_empty() {
                break;
            }
            if starts && after_blank && is_separator(&line) {
                self.end_line(&line)?;
                self.next = Some(before);
                break;
            }
            let blank = starts && is_blank(&line);
            mail.bare |= starts && !in_header && line.starts_with(b"From ");
            mail.push(&line, self.most);
            if in_header && (blank || mail.bytes.len() > HEADER) {
                in_header = false;
                if self.lies < LIES
                    && let Some(length) = content_length(&mail.bytes)
                {
                    if self.read_counted(length, &mut mail)? {
                        return Ok(self.finished(mail));
                    }
                    self.lies += 1;
                }
            }
            (after_blank, starts) = (blank, line.ends_with(b"\n"));
        }
        // The empty line before a separator belongs to the mbox, and some writers end it so too.
        let crlf = if mail.bytes.ends_with(b"\r\n\r\n") { 2 } else { 0 };
        let end = if mail.bytes.ends_with(b"\n\n") { 1 } else { crlf };
        mail.bytes.truncate(mail.bytes.len() - end);
        Ok(self.finished(mail))
    }

    /// Reads a body of a declared length, if what follows says that it is right; else nothing is
    /// consumed.
    fn read_counted(&mut self, length: u64, mail: &mut Body) -> io::Result<bool> {
        let begin = self.at;
        let mut body = Body { bytes: mail.bytes.clone(), ..Body::default() };
        let (mut piece, mut starts) = (Vec::new(), true);
        while self.at - begin < length {
            piece.clear();
            let left = length - (self.at - begin);
            let read = self.input.by_ref().take(left.min(PIECE)).read_until(b'\n', &mut piece)?;
            if read == 0 {
                break;
            }
            self.at += read as u64;
            body.bare |= starts && piece.starts_with(b"From ");
            starts = piece.ends_with(b"\n");
            body.push(&piece, self.most);
        }
        let complete = self.at - begin == length;
        let mut from = self.at;
        self.piece(&mut piece)?;
        while !piece.is_empty() && is_blank(&piece) {
            from = self.at;
            self.piece(&mut piece)?;
        }
        if complete && (piece.is_empty() || is_separator(&piece)) {
            if !piece.is_empty() {
                self.end_line(&piece)?;
                self.next = Some(from);
            }
            *mail = body;
            return Ok(true);
        }
        self.input.seek(SeekFrom::Start(begin))?;
        self.at = begin;
        Ok(false)
    }

    fn finished(&self, mail: Body) -> Option<Vec<u8>> {
        if mail.too_long || mail.bytes.len() > self.most {
            return None;
        }
        let quoting = match self.quoting {
            Quoting::Guess if mail.bare => Quoting::None,
            Quoting::Guess => Quoting::Rd,
            known => known,
        };
        Some(unquoted(mail.bytes, quoting))
    }
}

impl<R: BufRead + Seek> Iterator for Mbox<R> {
    type Item = Result<Stored, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.next.take()?;
        let place = Place { path: self.path.clone(), at: Some(at) };
        Some(match self.read() {
            Ok(Some(bytes)) => Ok(Stored { bytes, place }),
            Ok(None) => Err(ArchiveError::TooLong { place, most: self.most }),
            // What follows is unknown: it ends here.
            Err(source) => Err(ArchiveError::Unreadable { place, source }),
        })
    }
}

fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// `From ` and, somewhere behind it, a time of day and a year.
fn is_separator(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"From ") else { return false };
    let digits = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let time = |word: &[u8]| word.contains(&b':') && word.split(|b| *b == b':').all(digits);
    let year = |word: &[u8]| word.len() == 4 && digits(word);
    // The sender may look like anything, so it is not looked at.
    words.next().is_some() && words.clone().any(time) && words.any(year)
}

/// The Content-Length of a header, if it has exactly one and it is a number.
fn content_length(header: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"content-length:";
    let mut values = header.split(|byte| *byte == b'\n').filter_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value)
    });
    let value = values.next().filter(|_| values.next().is_none())?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Takes the quoting off the `From ` lines of a body.
fn unquoted(mail: Vec<u8>, quoting: Quoting) -> Vec<u8> {
    let is_quoted = |line: &[u8]| {
        let marks = line.iter().take_while(|byte| **byte == b'>').count();
        let deep = match quoting {
            Quoting::None => false,
            Quoting::O => marks == 1,
            Quoting::Rd | Quoting::Guess => marks > 0,
        };
        deep && line.get(marks..).is_some_and(|rest| rest.starts_with(b"From "))
    };
    if !mail.windows(6).any(|six| six == b">From ") {
        return mail;
    }
    let mut out = Vec::with_capacity(mail.len());
    let mut in_header = true;
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        in_header &= !is_blank(line);
        let quoted = !in_header && is_quoted(line);
        out.extend_from_slice(line.get(usize::from(quoted)..).unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    const LINE: &str = "From a@b.example Mon Jan  5 10:00:00 2026\n";

    fn read_as(text: &str, quoting: Quoting, most: usize) -> Vec<Result<String, String>> {
        Mbox::new(Cursor::new(text.as_bytes()), "box".into(), quoting, most)
            .unwrap()
            .map(|mail| match mail {
                Ok(mail) => Ok(String::from_utf8(mail.bytes).unwrap()),
                Err(error) => Err(error.to_string()),
            })
            .collect()
    }

    fn read(text: &str) -> Vec<String> {
        read_as(text, Quoting::Guess, 1 << 20).into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn what_separates() {
        for (line, separates) in [
            (LINE, true),
            ("From mboxrd@z Thu Jan  1 00:00:00 1970\n", true),
            ("From MAILER-DAEMON Fri Jul  8 12:08:34 2011\r\n", true),
            ("From a b c@d Fri Jul  8 12:08:34 +0200 2011 remote from x\n", true),
            ("From here we went on at 10:00:00 in 2026\n", true), // nothing tells it from one
            ("From here we went on\n", false),
            ("From: a@b.example\n", false),
            ("From  \n", false),
            (">From a@b.example Mon Jan  5 10:00:00 2026\n", false),
        ] {
            assert_eq!(is_separator(line.as_bytes()), separates, "{line}");
        }
    }

    #[test]
    fn mails_of_every_dialect() {
        let h = "A: b\n\n";
        let table: &[(String, &[&str])] = &[
            (String::new(), &[]),
            (LINE.to_owned(), &[""]),
            (format!("{LINE}{h}one\n\n{LINE}{h}two\n\n"), &["A: b\n\none\n", "A: b\n\ntwo\n"]),
            // Without a line end at the end, and without an empty line there.
            (format!("{LINE}{h}one\n\n{LINE}{h}two"), &["A: b\n\none\n", "A: b\n\ntwo"]),
            // CR LF.
            (
                format!("{LINE}{h}one\n\n{LINE}{h}two\n").replace('\n', "\r\n"),
                &["A: b\r\n\r\none\r\n", "A: b\r\n\r\ntwo\r\n"],
            ),
            // mboxrd; a header is not quoted.
            (
                format!("{LINE}>From x\n{h}>From a\n>>From b\n> From c\n"),
                &[">From x\nA: b\n\nFrom a\n>From b\n> From c\n"],
            ),
            // A sentence that begins so, in a file that quotes nothing.
            (format!("{LINE}{h}x\n\nFrom here on\n>From b\n"), &["A: b\n\nx\n\nFrom here on\n>From b\n"]),
            // A separator needs an empty line before it.
            (format!("{LINE}{h}x\n{LINE}y\n"), &[&format!("A: b\n\nx\n{LINE}y\n")]),
            // mboxcl2: the length is right.
            (
                format!("{LINE}Content-Length: 45\n\nx\n\n{LINE}\n{LINE}{h}two\n"),
                &[&format!("Content-Length: 45\n\nx\n\n{LINE}"), "A: b\n\ntwo\n"],
            ),
            // The length is wrong: one too many, far too many, no number, two of them.
            (
                format!("{LINE}Content-Length: 4\n\nx\n\n{LINE}{h}two\n"),
                &["Content-Length: 4\n\nx\n", "A: b\n\ntwo\n"],
            ),
            (
                format!("{LINE}content-length: 99999\n\nx\n\n{LINE}{h}two\n"),
                &["content-length: 99999\n\nx\n", "A: b\n\ntwo\n"],
            ),
            (
                format!("{LINE}Content-Length: x\n\nx\n\n{LINE}{h}two\n"),
                &["Content-Length: x\n\nx\n", "A: b\n\ntwo\n"],
            ),
        ];
        for (text, expected) in table {
            assert_eq!(&read(text), expected, "{text}");
        }
    }

    /// Counts what is read.
    struct Counted<'a>(Cursor<&'a [u8]>, std::rc::Rc<std::cell::Cell<usize>>);

    impl Read for Counted<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(to)?;
            self.1.set(self.1.get() + read);
            Ok(read)
        }
    }

    impl BufRead for Counted<'_> {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            self.0.fill_buf()
        }

        fn consume(&mut self, read: usize) {
            self.1.set(self.1.get() + read);
            self.0.consume(read);
        }
    }

    impl Seek for Counted<'_> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn wrong_lengths_cost_little_however_many_they_are() {
        let text = format!("{LINE}Content-Length: 9999999\n\nx\n\n").repeat(500);
        let read = std::rc::Rc::default();
        let input = Counted(Cursor::new(text.as_bytes()), std::rc::Rc::clone(&read));
        let mails = Mbox::new(input, "box".into(), Quoting::Guess, 1000).unwrap();
        assert_eq!(mails.filter(|mail| mail.is_ok()).count(), 500);
        let times = read.get() / text.len();
        assert!(times <= 2 * usize::from(LIES), "read {times} times");
        // A few wrong ones don't spoil the right ones.
        let wrong = format!("{LINE}Content-Length: 9999\n\nx\n\n").repeat(usize::from(LIES) - 1);
        let found =
            read_as(&format!("{wrong}{LINE}Content-Length: 45\n\nx\n\n{LINE}\n"), Quoting::Guess, 1000);
        assert_eq!(found.len(), usize::from(LIES));
    }

    #[test]
    fn a_dialect_that_is_named_is_not_guessed() {
        let text = format!("{LINE}A: b\n\n>From a\n>>From b\n");
        for (quoting, expected) in [
            (Quoting::Rd, "From a\n>From b\n"),
            (Quoting::O, "From a\n>>From b\n"),
            (Quoting::None, ">From a\n>>From b\n"),
        ] {
            assert_eq!(read_as(&text, quoting, 1000), [Ok(format!("A: b\n\n{expected}"))]);
        }
    }

    #[test]
    fn a_mail_that_is_too_long_is_passed_over() {
        let text = format!("{LINE}A: b\n\n{}\n\n{LINE}A: b\n\ntwo\n", "x".repeat(300_000));
        let found = read_as(&text, Quoting::Guess, 10);
        assert_eq!(found.len(), 2);
        assert!(found[0].as_ref().unwrap_err().contains("box:0: the mail has more than 10 bytes"));
        assert_eq!(found[1], Ok("A: b\n\ntwo\n".to_owned()), "exactly 10 bytes");
        assert!(read_as(&text, Quoting::Guess, 9)[1].is_err());
        let counted = format!("{LINE}Content-Length: 30\n\n{}\n\n{LINE}A: b\n\ntwo\n", "x".repeat(29));
        let found = read_as(&counted, Quoting::Guess, 40);
        assert!(found[0].is_err() && found[1].is_ok(), "{found:?}");
    }

    #[test]
    fn reading_goes_on_where_it_was() {
        let text = format!("{LINE}A: 1\n\none\n\n{LINE}A: 2\n\ntwo\n\n{LINE}A: 3\n\nthree\n");
        let open = || Mbox::new(Cursor::new(text.as_bytes()), "box".into(), Quoting::Guess, 99).unwrap();
        let mut first = open();
        let mut places = vec![first.position()];
        while first.next().is_some() {
            places.push(first.position());
        }
        assert_eq!(*places.last().unwrap(), text.len() as u64);
        for (read, at) in places.iter().enumerate() {
            let mut again = open();
            assert!(again.resume(*at).unwrap());
            assert_eq!(again.count(), 3 - read, "from byte {at}");
        }
        for at in [1, 40, text.len() as u64 + 1] {
            let mut again = open();
            assert!(!again.resume(at).unwrap(), "{at}");
            assert_eq!(again.count(), 3, "all of it");
        }
    }

    #[test]
    fn a_file_that_is_no_mbox_is_an_error() {
        let wrong = Mbox::new(Cursor::new(b"hello\n"), "x".into(), Quoting::Guess, 10).unwrap_err();
        assert!(matches!(wrong, ArchiveError::NoMail(_)), "{wrong}");
    }

    fn written(mails: &[String]) -> String {
        let mut text = String::new();
        for mail in mails {
            text.push_str(LINE);
            let (header, body) = mail.split_once("\n\n").unwrap();
            text.push_str(header);
            text.push_str("\n\n");
            for line in body.split_inclusive('\n') {
                if line.trim_start_matches('>').starts_with("From ") {
                    text.push('>');
                }
                text.push_str(line);
            }
            text.push('\n');
        }
        text
    }

    proptest! {
        #[test]
        fn what_was_written_as_mboxrd_is_read(
            bodies in proptest::collection::vec("(>{0,2}(From a 1:1 2026|From |x|)\n){0,6}", 0..5)
        ) {
            let mails: Vec<String> = bodies.iter().map(|body| format!("A: b\n\n{body}")).collect();
            let text = written(&mails);
            let found: Vec<String> = read_as(&text, Quoting::Rd, 1 << 20).into_iter().map(Result::unwrap).collect();
            prop_assert_eq!(found, mails);
        }

        #[test]
        fn any_bytes_are_read_to_their_end(
            bytes in "(From |[\n\r>:]|Content-Length: [0-9]|From a 1:1 2026\n|x){0,60}", most in 0_usize..40
        ) {
            let text = format!("{LINE}{bytes}");
            for mail in read_as(&text, Quoting::Guess, most).into_iter().flatten() {
                prop_assert!(mail.len() <= most);
            }
        }
    }
}
