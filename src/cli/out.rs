//! The one place that writes to standard output and standard error, and reads standard input.
//!
//! Results go to standard output, everything else to standard error. A reader that goes away
//! (`cmr-mail peers | head`) is no fault; an output that is full is.

use std::io::{self, IsTerminal, Read, Write};

use serde::Serialize;

use super::escape;
use super::exit::{self, Outcome, fail};
use super::layout::Paint;
use crate::gateway::api::Failure;

/// Colours for standard output: on a terminal, unless `NO_COLOR` is set (to anything but nothing)
/// or the terminal is a dumb one.
#[must_use]
pub(super) fn paint() -> Paint {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    Paint { on: io::stdout().is_terminal() && !set("NO_COLOR") && !dumb }
}

/// Writes a result as it is.
///
/// # Errors
/// When it can't be written, except that nobody reads it any more.
pub(super) fn bytes(result: &[u8]) -> Outcome {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(result).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            fail(exit::CANT_CREATE, format!("cannot write the result: {e}"))
        }
        _ => Ok(()),
    }
}

/// Writes a result for a person.
///
/// # Errors
/// As [`bytes`].
pub(super) fn text(result: &str) -> Outcome {
    bytes(result.as_bytes())
}

/// Writes a result as one JSON document: over several lines on a terminal, else in one.
///
/// # Errors
/// As [`bytes`].
pub(super) fn json(result: &impl Serialize) -> Outcome {
    let document = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(result)
    } else {
        serde_json::to_string(result)
    };
    match document {
        Ok(document) => text(&format!("{}\n", escape::json(&document))),
        Err(e) => fail(exit::SOFTWARE, format!("cannot write the result as JSON: {e}")),
    }
}

/// A line to standard error. That nobody reads it is no fault.
pub(super) fn note(sentence: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", escape::text(sentence));
}

/// Reads standard input to its end.
///
/// # Errors
/// More than `at_most` bytes: 65; a read error: 75.
pub(super) fn stdin(at_most: usize) -> Result<Vec<u8>, Failure> {
    bounded(io::stdin().lock(), at_most)
}

/// Reads standard input to its end. Of more than `at_most` bytes only the first `beginning` are
/// given, with how many there were; the rest is read and dropped, so that whoever writes there gets
/// rid of it.
///
/// # Errors
/// A read error: 75.
pub(super) fn stdin_beginning(at_most: usize, beginning: usize) -> Result<(Vec<u8>, Option<u64>), Failure> {
    whole_or_beginning(&mut io::stdin().lock(), at_most, beginning)
}

fn whole_or_beginning(
    input: &mut impl Read,
    at_most: usize,
    beginning: usize,
) -> Result<(Vec<u8>, Option<u64>), Failure> {
    let failed = |e: io::Error| Failure {
        exit: exit::TRY_LATER,
        sentence: format!("cannot read standard input: {e}"),
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(at_most).unwrap_or(u64::MAX).saturating_add(1);
    let read = input.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() <= at_most {
        return Ok((bytes, None));
    }
    bytes.truncate(beginning);
    let rest = io::copy(input, &mut io::sink()).map_err(failed)?;
    Ok((bytes, Some(u64::try_from(read).unwrap_or(u64::MAX).saturating_add(rest))))
}

fn bounded(input: impl Read, at_most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(at_most).unwrap_or(u64::MAX).saturating_add(1);
    input.take(limit).read_to_end(&mut bytes).map_err(|e| Failure {
        exit: exit::TRY_LATER,
        sentence: format!("cannot read standard input: {e}"),
    })?;
    if bytes.len() > at_most {
        return fail(
            exit::BAD_DATA,
            format!("standard input is longer than {at_most} bytes (smtp.max_message)"),
        );
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_too_long_there_is_a_beginning_and_a_size() {
        let read = |text: &[u8]| whole_or_beginning(&mut &text[..], 5, 2).unwrap();
        assert_eq!(read(b"12345"), (b"12345".to_vec(), None));
        assert_eq!(read(b"123456"), (b"12".to_vec(), Some(6)));
        assert_eq!(read(&[b'x'; 100_000]), (b"xx".to_vec(), Some(100_000)));
    }

    #[test]
    fn input_is_bounded() {
        assert_eq!(bounded(&b"12345"[..], 5).unwrap(), b"12345");
        let failure = bounded(&b"123456"[..], 5).unwrap_err();
        assert_eq!(failure.exit, 65);
        assert!(failure.sentence.contains("5 bytes"), "{}", failure.sentence);
        assert_eq!(bounded(io::repeat(b'x'), 1 << 16).unwrap_err().exit, 65);
    }

    #[test]
    fn an_input_that_fails_is_tried_again() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        assert_eq!(bounded(Broken, 5).unwrap_err().exit, 75);
    }
}
