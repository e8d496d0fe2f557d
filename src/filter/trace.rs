//! How many mail servers a mail has passed, counted while it goes by.

/// Received fields after which a mail goes round in circles: Postfix's own limit.
pub const MOST_RECEIVED: usize = 50;

const FIELD: &[u8] = b"received:";

/// Counts the Received fields of a header that comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    received: usize,
    /// The beginning of the line under way, in lower case, as far as it matters.
    line: Vec<u8>,
    body: bool,
}

impl Trace {
    /// Takes the next bytes of the mail.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !self.body && !bytes.is_empty() {
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let (line, rest) =
                bytes.split_at_checked(end.map_or(bytes.len(), |at| at + 1)).unwrap_or((bytes, &[]));
            let room = FIELD.len().saturating_sub(self.line.len());
            self.line.extend(line.iter().take(room).map(u8::to_ascii_lowercase));
            if end.is_some() {
                self.received += usize::from(self.line == FIELD);
                self.body = matches!(self.line.as_slice(), b"\r\n" | b"\n");
                self.line.clear();
            }
            bytes = rest;
        }
    }

    /// Whether the mail has passed more than [`MOST_RECEIVED`] servers.
    #[must_use]
    pub fn is_loop(&self) -> bool {
        self.received > MOST_RECEIVED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_fields_of_the_header_are_counted_however_it_is_cut() {
        let mail = b"Received: a\r\n b\r\nRECEIVED:\r\nX-Received: c\r\nReceive: d\r\n Received: e\r\n\r\nReceived: f\r\n";
        for cut in 1..mail.len() {
            let mut trace = Trace::default();
            mail.chunks(cut).for_each(|piece| trace.push(piece));
            assert_eq!(trace.received, 2, "{cut}");
        }
    }

    #[test]
    fn the_limit_is_postfixs() {
        for (fields, is_loop) in [(50, false), (51, true)] {
            let mut trace = Trace::default();
            trace.push(&b"Received: x\r\n".repeat(fields));
            assert_eq!(trace.is_loop(), is_loop, "{fields}");
        }
    }
}
