//! CMR messages and the mails that carry them.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cmr_mail::keys::{self, Key, Scheme};
use cmr_mail::message::{Address, Hop, Hops, Message, Signature, Timestamp, UnixTime};

/// The present.
pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixTime(i64::try_from(since.as_micros()).unwrap())
}

/// So many seconds from now, or ago.
pub(crate) fn in_seconds(seconds: i64) -> UnixTime {
    UnixTime(now().0 + seconds * 1_000_000)
}

/// A message with these header lines, newest first.
pub(crate) fn message(hops: &[(UnixTime, &str)], body: impl Into<Vec<u8>>) -> Message {
    let hops = hops
        .iter()
        .map(|(time, address)| Hop {
            time: Timestamp::from_unix(*time, ""),
            address: Address::new(address.as_bytes().to_vec()).unwrap(),
        })
        .collect();
    Message { signature: Signature::Unsigned, hops: Hops::new(hops).unwrap(), body: body.into() }
}

/// The message under a signature with this key.
pub(crate) fn signed(message: Message, scheme: Scheme, key: &str) -> Message {
    keys::sign_message(scheme, &Key::from_text(key).unwrap(), message)
}

/// The Date of all mails of a test: a mail that is sent again is the same one, byte for byte.
static DATE: LazyLock<String> = LazyLock::new(|| rfc2822(now()));

/// A mail in the making.
#[derive(Clone)]
pub(crate) struct Mail {
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Mail {
    /// From this person to the posting address.
    pub(crate) fn from(author: &str) -> Mail {
        Mail { fields: Vec::new(), body: Vec::new() }
            .field("From", author)
            .field("To", "cmr@home.test")
            .field("Date", &DATE)
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Mail {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A text of a person. Lines end with LF here and with CRLF in the mail.
    pub(crate) fn text(self, text: &str) -> Mail {
        let mut mail = self
            .field("MIME-Version", "1.0")
            .field("Content-Type", "text/plain; charset=utf-8")
            .field("Content-Transfer-Encoding", "8bit");
        mail.body = text.replace('\n', "\r\n").into_bytes();
        mail
    }

    /// These bytes as the whole body.
    pub(crate) fn bytes(mut self, bytes: impl Into<Vec<u8>>) -> Mail {
        self.body = bytes.into();
        self
    }

    /// A covering letter with these attachments: name, transfer encoding, content.
    pub(crate) fn attachments(self, parts: &[(&str, &str, &[u8])]) -> Mail {
        let mut mail =
            self.field("MIME-Version", "1.0").field("Content-Type", "multipart/mixed; boundary=\"=_edge\"");
        let mut body = b"--=_edge\r\nContent-Type: text/plain\r\n\r\nSee the attachment.\r\n".to_vec();
        for (name, encoding, content) in parts {
            body.extend_from_slice(
                format!(
                    "--=_edge\r\nContent-Type: application/octet-stream\r\n\
                     Content-Disposition: attachment; filename=\"{name}\"\r\n\
                     Content-Transfer-Encoding: {encoding}\r\n\r\n"
                )
                .as_bytes(),
            );
            match *encoding {
                "base64" => body.extend_from_slice(base64_lines(content).as_bytes()),
                "quoted-printable" => body.extend_from_slice(quoted_printable(content).as_bytes()),
                _ => body.extend_from_slice(content),
            }
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--=_edge--\r\n");
        mail.body = body;
        mail
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in &self.fields {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        if !out.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
        out
    }
}

/// The lines of the first part of a mail as they travelled.
pub(crate) fn quoted_printable_lines(raw: &[u8]) -> Vec<String> {
    let text = String::from_utf8(raw.to_vec()).unwrap();
    let after = text.split_once("quoted-printable\r\n").unwrap().1;
    let body = after.split_once("\r\n\r\n").unwrap().1;
    body.lines().take_while(|line| !line.starts_with("--=_")).map(str::to_owned).collect()
}

/// What stands in a Date field.
pub(crate) fn rfc2822(time: UnixTime) -> String {
    mail_parser::DateTime::from_timestamp(time.as_secs()).to_rfc822()
}

fn base64_lines(content: &[u8]) -> String {
    let text = STANDARD.encode(content);
    let lines: Vec<&str> = text.as_bytes().chunks(76).map(|l| std::str::from_utf8(l).unwrap()).collect();
    lines.join("\r\n")
}

/// Every byte that is not a plain letter is escaped, line ends among them.
fn quoted_printable(content: &[u8]) -> String {
    let mut out = String::new();
    let mut column = 0;
    for byte in content {
        let piece = match byte {
            b'!'..=b'<' | b'>'..=b'~' => char::from(*byte).to_string(),
            _ => format!("={byte:02X}"),
        };
        if column + piece.len() > 72 {
            out.push_str("=\r\n");
            column = 0;
        }
        column += piece.len();
        out.push_str(&piece);
    }
    out
}
