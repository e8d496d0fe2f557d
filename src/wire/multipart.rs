//! The file upload of RFC 1867 (multipart/form-data, RFC 7578): how a message is sent over HTTP (A4.2).

/// Why an upload holds no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// multipart/form-data without the parameter that takes it apart.
    #[error("the Content-Type multipart/form-data has no boundary of 1 to 70 characters")]
    Boundary,
    /// The boundary is nowhere in the body.
    #[error("the body has no part: the boundary of its Content-Type does not begin a line in it")]
    NoPart,
    /// A part without the empty line after its header.
    #[error("the first part of the body has no empty line after its header")]
    NoHeader,
    /// The part does not end.
    #[error("the first part of the body does not end with the boundary")]
    NoEnd,
}

/// An upload of `message`, and its Content-Type. `token`: some 30 letters and digits that nobody can
/// guess.
#[must_use]
pub fn write(token: &str, message: &[u8]) -> (String, Vec<u8>) {
    let mut boundary = format!("cmr-{token}");
    while find(message, boundary.as_bytes()).is_some() {
        boundary.push('x');
    }
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"cmr.msg\"\r\n\
         Content-Type: text/plain\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(message);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// The message in a body: its first part, whatever its name, if it is multipart/form-data; else the
/// body itself.
///
/// # Errors
/// Why there is none.
pub fn read<'a>(content_type: Option<&str>, body: &'a [u8]) -> Result<&'a [u8], UploadError> {
    let Some(parameters) = content_type.and_then(form_data) else {
        return Ok(body);
    };
    let boundary = boundary(parameters).ok_or(UploadError::Boundary)?;
    let delimiter = format!("--{boundary}");
    let first = after_delimiter(body, &delimiter, true).ok_or(UploadError::NoPart)?.1;
    // The header begins with the line end of the delimiter: it may be empty.
    let blank = find(first, b"\r\n\r\n").ok_or(UploadError::NoHeader)?;
    let content = first.get(blank.saturating_add(4)..).ok_or(UploadError::NoHeader)?;
    let (content, _) = after_delimiter(content, &delimiter, false).ok_or(UploadError::NoEnd)?;
    Ok(content)
}

/// What stands before and after the first line that is this delimiter: what goes on behind it belongs to
/// another boundary, but for blanks (RFC 2046, section 5.1.1) and, behind the last part, two dashes. The
/// line end before it is its own. `at_start`: it may stand at the very beginning, and has to begin a part.
fn after_delimiter<'a>(bytes: &'a [u8], delimiter: &str, at_start: bool) -> Option<(&'a [u8], &'a [u8])> {
    let line = format!("\r\n{delimiter}");
    let ends = |rest: &[u8]| {
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        rest.get(blanks..).is_some_and(|rest| rest.starts_with(b"\r\n") || (!at_start && rest.is_empty()))
            || (!at_start && rest.starts_with(b"--"))
    };
    if at_start
        && let Some(rest) = bytes.strip_prefix(delimiter.as_bytes())
        && ends(rest)
    {
        return Some((&[], rest));
    }
    let mut from = 0_usize;
    loop {
        let at = from.saturating_add(find(bytes.get(from..)?, line.as_bytes())?);
        let (before, rest) = (bytes.get(..at)?, bytes.get(at.saturating_add(line.len())..)?);
        if ends(rest) {
            return Some((before, rest));
        }
        from = at.saturating_add(2);
    }
}

/// The parameters of a Content-Type, if it is multipart/form-data.
fn form_data(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    kind.trim().eq_ignore_ascii_case("multipart/form-data").then_some(parameters)
}

fn boundary(parameters: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at_checked(after.find(';').unwrap_or(after.len()))?,
        };
        if name.trim().eq_ignore_ascii_case("boundary") {
            let value = value.trim_end();
            let good = (1..=70).contains(&value.len()) && value.bytes().all(|b| (0x20..0x7f).contains(&b));
            return good.then(|| value.to_owned());
        }
        rest = next.trim_start().strip_prefix(';')?;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let messages: [&[u8]; 4] = [
            b"",
            b"0\r\n2008/09/01 00:00:53 a\r\n\r\n0\r\n",
            b"--cmr-token--\r\n\r\n--cmr-token",
            b"\r\n\r\n\xff\0",
        ];
        for message in messages {
            let (content_type, body) = write("token", message);
            assert_eq!(read(Some(&content_type), &body), Ok(message));
        }
    }

    #[test]
    fn other_ways_to_write_it() {
        let body =
            b"preamble\r\n--b: c \t\r\nContent-Disposition: form-data; name=x\r\n\r\nhello\r\n\r\n--b: c\r\n\
                     \r\nsecond\r\n--b: c--";
        for content_type in [
            "multipart/form-data; boundary=\"b: c\"",
            "Multipart/Form-Data;charset=utf-8; Boundary=\"b: c\"; x=y",
        ] {
            assert_eq!(read(Some(content_type), body), Ok(&b"hello\r\n"[..]), "{content_type}");
        }
        for content_type in
            [None, Some("text/plain"), Some("application/octet-stream"), Some("multipart/mixed; boundary=x")]
        {
            assert_eq!(read(content_type, body), Ok(&body[..]), "{content_type:?}");
        }
    }

    /// A line of the message that begins like the boundary is a line of the message.
    #[test]
    fn a_longer_boundary_is_another_one() {
        let body = b"--bb\r\n\r\nnot this\r\n--b\r\nA: b\r\n\r\nhello\r\n--bb\r\n--b-x\r\nthere\r\n--b--\r\n";
        let read = read(Some("multipart/form-data; boundary=b"), body).unwrap();
        assert_eq!(read, b"hello\r\n--bb\r\n--b-x\r\nthere");
    }

    #[test]
    fn what_is_no_upload() {
        let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
        let table: [(&str, &[u8], UploadError); 10] = [
            ("multipart/form-data", b"", UploadError::Boundary),
            ("multipart/form-data; boundary=", b"", UploadError::Boundary),
            ("multipart/form-data; boundary=\"", b"", UploadError::Boundary),
            (&long, b"", UploadError::Boundary),
            ("multipart/form-data; boundary=b", b"hello", UploadError::NoPart),
            ("multipart/form-data; boundary=b", b"--b", UploadError::NoPart),
            ("multipart/form-data; boundary=b", b"--b\r\nA: b", UploadError::NoHeader),
            // Another boundary that begins like it.
            ("multipart/form-data; boundary=b", b"--bb\r\n\r\nhello\r\n--bb--", UploadError::NoPart),
            ("multipart/form-data; boundary=b", b"--b\r\nA: b\r\n", UploadError::NoHeader),
            ("multipart/form-data; boundary=b", b"--b\r\nA: b\r\n\r\nhello", UploadError::NoEnd),
        ];
        for (content_type, body, error) in table {
            assert_eq!(read(Some(content_type), body), Err(error), "{content_type} {body:?}");
        }
    }
}
