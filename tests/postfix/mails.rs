//! Mails of every kind that is seen and of some that is not, and a sender for many of them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::Random;
use crate::support::client::{Client, dotted};

/// So many at the same time.
const SENDERS: usize = 8;

/// Every mail of `maildir-fixtures`, made ones, and variations of both: `number` in all.
pub(crate) fn mails(number: usize) -> Vec<Vec<u8>> {
    let mut found = fixtures();
    found.extend(made());
    let basis = found.len();
    let mut random = Random(7);
    while found.len() < number {
        let which = usize::try_from(random.below(basis as u64)).unwrap();
        // The large ones are there once.
        if found[which].len() < 20_000 {
            let mail = varied(&found[which], found.len(), &mut random);
            found.push(mail);
        }
    }
    found.truncate(number);
    found
}

fn fixtures() -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("maildir-fixtures")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_none_or(|end| end != "md") => paths.push(path),
                false => {}
            }
        }
    }
    paths.sort();
    assert!(paths.len() > 200, "where are the fixtures?");
    paths
        .iter()
        .map(|path| fs::read(path).unwrap())
        .filter(|mail| is_mail(mail))
        .map(|mail| crlf(&mail))
        .collect()
}

/// Whether it begins with a header: what does not gets a blank line from Postfix.
fn is_mail(mail: &[u8]) -> bool {
    let line = mail.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let name = line.iter().position(|&byte| byte == b':').unwrap_or(0);
    name > 0 && line[..name].iter().all(|byte| byte.is_ascii_graphic())
}

/// Line ends as they travel; a final one is left out if there is none.
pub(crate) fn crlf(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + mail.len() / 30);
    for &byte in mail {
        if byte == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}

/// As it lies in a maildir: LF for CRLF, the last line ended. Postfix drops every CR in front of a
/// line's end when it takes a mail in, so those never come to the filter.
pub(crate) fn stored(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len());
    for line in mail.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                let end = text.iter().rposition(|&byte| byte != b'\r').map_or(0, |at| at + 1);
                out.extend_from_slice(&text[..end]);
                out.push(b'\n');
            }
            None => out.extend_from_slice(line),
        }
    }
    if out.last() != Some(&b'\n') {
        out.push(b'\n');
    }
    out
}

fn made() -> Vec<Vec<u8>> {
    let head = "From: Anna <anna@people.test>\r\nTo: bob@cmr.test\r\nSubject: made\r\nMessage-ID: <made@people.test>\r\n\r\n";
    let with = |body: &[u8]| [head.as_bytes(), body].concat();
    let long = |length: usize| [b"x".repeat(length), b"\r\nend\r\n".to_vec()].concat();
    let mut random = Random(11);
    let noise: Vec<u8> = (0..300_000)
        .map(|_| u8::try_from(random.below(256)).unwrap())
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    let noisy = noise.chunks(900).map(|line| [line, b"\r\n"].concat()).collect::<Vec<_>>().concat();
    let ten_mb = with(
        &b"Zehn Megabyte: \xe4\xf6\xfc, ten megabytes of lines like this one.\r\n".repeat(10_485_760 / 63),
    );
    vec![
        with(b""),
        head.trim_end().as_bytes().to_vec(),
        [head.trim_end().as_bytes(), b"\r\n"].concat(),
        with(b"no final newline"),
        with("8 bit: \u{e4}\u{f6}\u{fc} \u{4f60}\u{597d}\r\n".as_bytes()),
        with(b"latin: \xe4\xf6\xfc\xff\xfe\r\n"),
        with(b"NUL \0 and \0\0\r\n\0\r\n"),
        with(b"bare \r CR \r\r\n\r\r\n"),
        with(b".\r\n..\r\n...\r\n.a\r\n .\r\n.\r\n"),
        with(b".\r\n"),
        with(b".."),
        with(b"\r\n\r\n\r\n"),
        with(b"trailing blanks   \r\n\t\r\n "),
        with(b"From here on\r\n>From there on\r\n"),
        with(b"tab\tvertical\x0bform\x0cbell\x07escape\x1b[1mdel\x7f\r\n"),
        with(&long(998)),
        with(&long(999)),
        with(&long(2_048)),
        with(&long(100_000)),
        with(&noisy),
        format!("Subject: {}\r\n{head}text\r\n", "folded \r\n ".repeat(300)).into_bytes(),
        format!("Subject: {}\r\n{head}text\r\n", "x".repeat(1_500)).into_bytes(),
        format!("X-Odd:\r\nX-Tab:\t\tx\r\nX-Space: x \r\n{head}text\r\n").into_bytes(),
        format!("X-CMR: not ours\r\n{head}text\r\n").into_bytes(),
        ["Subject: \u{e4} raw\r\n".as_bytes(), head.as_bytes(), b"text\r\n"].concat(),
        ten_mb,
    ]
}

/// The same with another body: a few bytes changed, and a line that says which one it is. No NUL: it
/// may come to stand in the header of a part, which Postfix cuts there.
fn varied(mail: &[u8], number: usize, random: &mut Random) -> Vec<u8> {
    let mut mail = mail.to_vec();
    let body = mail.windows(4).position(|four| four == b"\r\n\r\n").map_or(mail.len(), |at| at + 4);
    for _ in 0..4 {
        let left = mail.len().saturating_sub(body) as u64;
        if left == 0 {
            break;
        }
        let at = body + usize::try_from(random.below(left)).unwrap();
        if !matches!(mail[at], b'\r' | b'\n') {
            mail[at] = [b'.', 0xe4, b'='][usize::try_from(random.below(3)).unwrap()];
        }
    }
    if !mail.ends_with(b"\r\n") {
        mail.extend_from_slice(b"\r\n");
    }
    if body <= mail.len() && mail.windows(4).any(|four| four == b"\r\n\r\n") {
        mail.extend_from_slice(format!(".{number}").as_bytes());
    }
    mail
}

/// Sends each mail to its own recipient, `m00007@cmr.test` for the eighth, many at a time.
pub(crate) fn send_all(server: SocketAddr, mails: &[Vec<u8>]) {
    send_from(server, mails, 0);
}

/// The same without the first ones.
pub(crate) fn send_from(server: SocketAddr, mails: &[Vec<u8>], first: usize) {
    let next = AtomicUsize::new(first);
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let mut client = Client::connect(server).unwrap();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(mail) = mails.get(number) else { break };
                    send(&mut client, "sender@cmr.test", &recipient(number), mail);
                }
            });
        }
    });
}

pub(crate) fn recipient(number: usize) -> String {
    format!("m{number:05}@cmr.test")
}

/// One mail, without waiting for each reply.
pub(crate) fn send(client: &mut Client, from: &str, to: &str, mail: &[u8]) {
    client
        .write(format!("MAIL FROM:<{from}> BODY=8BITMIME\r\nRCPT TO:<{to}>\r\nDATA\r\n").as_bytes())
        .unwrap();
    for want in [250, 250, 354] {
        let reply = client.reply().unwrap();
        assert_eq!(reply.code, want, "{reply:?}");
    }
    client.write(&dotted(mail)).unwrap();
    let reply = client.reply().unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

/// A small mail with its number in it.
pub(crate) fn numbered(number: usize, bytes: usize) -> Vec<u8> {
    format!(
        "From: anna@people.test\r\nTo: bob@cmr.test\r\nSubject: number {number}\r\nMessage-ID: <{number}@people.test>\r\n\r\n{}\r\n",
        format!("{number} and so on\r\n").repeat(1 + bytes / 16)
    )
    .into_bytes()
}

/// The header lines that a mail got on its way, and whether the rest is the mail as it was sent.
pub(crate) fn added(delivered: &[u8], sent: &[u8]) -> Result<String, String> {
    let sent = stored(sent);
    let Some(top) = delivered.len().checked_sub(sent.len()) else {
        return Err(format!("{} bytes of {}", delivered.len(), sent.len()));
    };
    let (top, rest) = delivered.split_at(top);
    if rest != sent {
        let at = rest.iter().zip(&sent).position(|(a, b)| a != b).unwrap_or(0);
        let shown = |bytes: &[u8]| {
            String::from_utf8_lossy(&bytes[at.saturating_sub(40)..bytes.len().min(at + 40)]).into_owned()
        };
        return Err(format!(
            "differs at byte {at} of {}: {:?} for {:?}",
            sent.len(),
            shown(rest),
            shown(&sent)
        ));
    }
    Ok(String::from_utf8(top.to_vec()).unwrap())
}

/// The names of header fields.
pub(crate) fn names(top: &str) -> Vec<&str> {
    top.lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split(':').next().unwrap())
        .collect()
}

/// Where DKIM-signed samples lie.
pub(crate) fn signed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dkim")
}
