//! A message in one datagram (A4.4): the tag, a line feed, the message.

/// The largest payload of a UDP datagram over IPv4: 65,535 bytes without the headers of IP and UDP.
pub const MOST: usize = 65_507;

/// A message that fits in no datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("with its tag the message has {0} bytes, and a datagram takes {MOST} at most")]
pub struct TooLong(pub usize);

/// The datagram that brings `message` to the server with this tag.
///
/// # Errors
/// When it does not fit.
pub fn write(tag: &str, message: &[u8]) -> Result<Vec<u8>, TooLong> {
    let length = tag.len().saturating_add(1).saturating_add(message.len());
    if length > MOST {
        return Err(TooLong(length));
    }
    let mut datagram = Vec::with_capacity(length);
    datagram.extend_from_slice(tag.as_bytes());
    datagram.push(b'\n');
    datagram.extend_from_slice(message);
    Ok(datagram)
}

/// The message in a datagram for the server with this tag; none if it is for another one.
#[must_use]
pub fn read<'a>(tag: &str, datagram: &'a [u8]) -> Option<&'a [u8]> {
    datagram.strip_prefix(tag.as_bytes())?.strip_prefix(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_tag_is_read() {
        let datagram = write("cmr", b"0\r\nmessage").unwrap();
        assert_eq!(datagram, b"cmr\n0\r\nmessage");
        assert_eq!(read("cmr", &datagram), Some(&b"0\r\nmessage"[..]));
        for other in ["cm", "cmr2", "CMR", "", "cmr\n0"] {
            assert_eq!(read(other, &datagram), None, "{other}");
        }
        assert_eq!(read("cmr", b"cmr"), None);
        assert_eq!(read("cmr", b""), None);
    }

    #[test]
    fn the_size_rule() {
        let fits = vec![b'x'; MOST - 4];
        assert_eq!(write("cmr", &fits).unwrap().len(), MOST);
        assert_eq!(write("cmrs", &fits), Err(TooLong(MOST + 1)));
    }
}
