//! Mail of any kind: nothing panics, every bound holds, and what is certain is exact.
// In tests a panic is the report.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cmr_mail::mail::{Caps, NoPost, Reading, Submission, extract, extract_messages};
use cmr_mail::message::{Limits, parse};
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn read_with(raw: &[u8], caps: Caps) -> Submission {
    let posting = ["cmr@example.org".to_owned()];
    let reading = Reading {
        posting: &posting,
        envelope_recipients: &[],
        hostname: "mx.example.org",
        loop_marker: "mx.example.org",
        limits: Limits::default(),
        caps,
        forwarded: true,
    };
    let found = extract(raw, &reading);
    // Who asks for messages alone gets them, and whose mail it is.
    let (header, messages) = extract_messages(raw, &reading);
    assert_eq!(messages, found.messages);
    assert_eq!((header.from, header.our_loop), (found.header.from.clone(), found.header.our_loop));
    found
}

fn read(raw: &[u8]) -> Submission {
    read_with(raw, Caps::default())
}

fn message(body: &[u8]) -> Vec<u8> {
    let mut message = format!("0\r\n2026/11/21 10:00:00.5 mailto:a@x\r\n\r\n{}\r\n", body.len()).into_bytes();
    message.extend_from_slice(body);
    message
}

/// Pieces of which mails, and malformed mails, are made.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "From: a@b.c\r\n",
        "Subject: =?utf-8?q?x=FF?=\r\n",
        "Subject: cmr\n",
        "\r\n",
        "\n",
        " \r\n",
        "--b\r\n",
        "--b--\r\n",
        "--b",
        "--bb\r\n",
        "x --b\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n",
        "Content-Type: multipart/alternative;\r\n boundary=\"bb\"\r\n",
        "Content-Type: multipart/digest; boundary=b\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Type: text/html; charset=utf-7\r\n",
        "Content-Type: text/plain; charset=\"iso-2022-jp\"; format=flowed; delsp=yes\r\n",
        "Content-Type: text/plain; name*0*=utf-8''%; name*1=x\r\n",
        "Content-Type: ;;;\r\n",
        "Content-Type: \"\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\n",
        "Content-Disposition: attachment; filename=x.cmr\r\n",
        "Date: 31 Feb 99999 99:99:99 +9999\r\n",
        "Message-ID: <<a@b>>\r\n",
        "References: <a> <b@c> d\r\n",
        "Auto-Submitted: (((\r\n",
        "To: x:;, <@>, \"\r\n",
        "0\r\n2026/11/21 10:00:00.5 mailto:a@x\r\n\r\n2\r\nab",
        "MA0KMjAyNi8xMS8yMSAxMDowMDowMCBtYWlsdG86YUB4DQoNCjINCmFi",
        "=0D=0A=",
        "> quoted\r\nOn 1 x wrote:\r\n>> y\r\n",
        "-- \r\n",
        "-----BEGIN PGP SIGNED MESSAGE-----\r\n",
        "<blockquote><p>&#x110000;&amp",
        "\r",
        "\u{1f468}\u{200d}",
        "cmr+t@example.org",
    ])
    .prop_map(|text| text.as_bytes().to_vec());
    prop_oneof![12 => text, 1 => prop::collection::vec(any::<u8>(), 0..12)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_is_told_and_nothing_panics(pieces in prop::collection::vec(piece(), 0..30)) {
        let raw = pieces.concat();
        let found = read(&raw);
        // Exactly one of a post and a reason, and no post beside messages or faults.
        prop_assert_eq!(found.post.is_some(), found.no_post.is_none());
        prop_assert!(found.post.is_none() || (found.messages.is_empty() && found.faults.is_empty()));
        for message in &found.messages {
            prop_assert!(parse(&message.bytes, &Limits::default()).is_ok());
            prop_assert!(message.alternatives.iter().all(|(_, bytes)| parse(bytes, &Limits::default()).is_ok()));
        }
        if let Some(post) = &found.post {
            let body = String::from_utf8(post.body()).unwrap();
            prop_assert!(!body.is_empty() && !body.contains(['\r', '\0']), "{body:?}");
            prop_assert!(!body.contains("cmr+t@example.org"), "{body:?}");
        }
    }

    #[test]
    fn any_bytes_at_all(raw: Vec<u8>) {
        let _ = read(&raw);
    }

    #[test]
    fn any_body_in_a_base64_attachment_is_exact(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4),
        width in 4usize..100,
        unix: bool,
    ) {
        let mut raw = String::from(
            "From: a@b.c\r\nContent-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n--=_b\r\n\r\nSee the attachments.\r\n",
        );
        for (number, body) in bodies.iter().enumerate() {
            raw.push_str("--=_b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n");
            raw.push_str(&format!("Content-Disposition: attachment; filename=m{number}.cmr\r\n\r\n"));
            for line in STANDARD.encode(message(body)).as_bytes().chunks(width) {
                raw.push_str(std::str::from_utf8(line).unwrap());
                raw.push_str("\r\n");
            }
        }
        raw.push_str("--=_b--\r\n");
        if unix {
            raw = raw.replace("\r\n", "\n");
        }
        let found = read(raw.as_bytes());
        prop_assert_eq!(&found.faults, &[]);
        let messages: Vec<_> = found.messages.into_iter().map(|found| (found.place, found.bytes)).collect();
        let wanted: Vec<_> = bodies
            .iter()
            .enumerate()
            .map(|(number, body)| (format!("attachment {} (m{number}.cmr)", number + 1), message(body)))
            .collect();
        prop_assert_eq!(messages, wanted);
    }

    #[test]
    fn a_body_as_it_travels_by_smtp_is_exact_or_refused(
        lines in prop::collection::vec("[ -~]{0,100}", 0..6),
        appended in 0usize..3,
    ) {
        // A CMR message as the text of a mail; a client or a mail system appends line ends.
        let wanted = message(lines.join("\r\n").as_bytes());
        let mut raw = b"From: a@b.c\r\n\r\n".to_vec();
        raw.extend_from_slice(&wanted);
        raw.extend_from_slice("\r\n".repeat(appended).as_bytes());
        let found = read(&raw);
        prop_assert_eq!(found.messages.len(), 1, "{:?}", &found.faults);
        prop_assert_eq!(&found.messages[0].bytes, &wanted);
    }
}

fn fault(raw: &str, caps: Caps) -> Option<String> {
    let found = read_with(raw.as_bytes(), caps);
    assert_eq!(found.faults.is_empty(), found.no_post != Some(NoPost::Unreadable));
    found.faults.first().map(|fault| fault.reason.split(';').next().unwrap_or_default().to_owned())
}

#[test]
fn every_bound_is_reached_and_named() {
    let caps =
        Caps { parts: 5, depth: 3, header_bytes: 400, header_fields: 6, encoded_words: 3, addresses: 4 };
    let refused = |what: &str| Some(format!("it can't be read for certain, because {what}"));
    let parts = |count: usize| {
        format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n",
            "--b\r\n\r\nx\r\n".repeat(count)
        )
    };
    assert_eq!(fault(&parts(4), caps), None);
    assert_eq!(fault(&parts(5), caps), refused("it has more than 5 parts"));
    let nested = |depth: usize| {
        let open = |n| format!("Content-Type: multipart/mixed; boundary=b{n}.\r\n\r\n--b{n}.\r\n");
        let close = |n| format!("\r\n--b{n}.--");
        (0..depth)
            .map(open)
            .chain(["\r\nx".to_owned()])
            .chain((0..depth).rev().map(close))
            .collect::<String>()
    };
    assert_eq!(fault(&nested(3), caps), None);
    assert_eq!(fault(&nested(4), caps), refused("its parts are nested more than 3 deep"));
    let mails =
        |depth: usize| format!("{}Subject: x\r\n\r\nx", "Content-Type: message/rfc822\r\n\r\n".repeat(depth));
    assert_eq!(fault(&mails(3), caps), None);
    assert_eq!(fault(&mails(4), caps), refused("its parts are nested more than 3 deep"));
    let long = |bytes: usize| format!("Subject: {}\r\n\r\nx", "x".repeat(bytes - 13));
    assert_eq!(fault(&long(400), caps), None);
    assert_eq!(fault(&long(401), caps), refused("a header in it is longer than 400 bytes"));
    let many = |fields: usize| format!("{}\r\nx", "X: y\r\n".repeat(fields));
    assert_eq!(fault(&many(6), caps), None);
    assert_eq!(fault(&many(7), caps), refused("a header in it has more than 6 fields"));
    let encoded = |words: usize| format!("Subject: {}\r\n\r\nx", "=?utf-8?q?x?= ".repeat(words));
    assert_eq!(fault(&encoded(3), caps), None);
    assert_eq!(fault(&encoded(4), caps), refused("a header in it has more than 3 encoded words"));
    let listed =
        |addresses: usize| format!("From: a@b\r\nTo: {}\r\n\r\nx", vec!["c@d"; addresses - 1].join(", "));
    assert_eq!(fault(&listed(4), caps), None);
    assert_eq!(fault(&listed(5), caps), refused("it has more than 4 addresses"));
}

#[test]
fn a_hostile_mail_takes_little_time() {
    let size = 2 << 20;
    let boundary = "-".repeat(69);
    let multipart = format!("Content-Type: multipart/mixed; boundary=\"{boundary}x\"\r\n\r\n");
    let comments = format!("From: {}\r\n\r\n", "(".repeat(200_000));
    for (name, raw) in [
        (
            "a hundred thousand parts",
            format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\n".repeat(size / 7)),
        ),
        (
            "boundaries in one line",
            format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b".repeat(size / 3)),
        ),
        ("near misses of a boundary", format!("{multipart}{}", "-".repeat(size))),
        ("nested quotes", format!("From: a@b\r\n\r\n{}", ">".repeat(size))),
        (
            "a line of spaces",
            format!(
                "From: a@b\r\nContent-Type: text/plain; format=flowed\r\n\r\n{}",
                "a \r\n".repeat(size / 4)
            ),
        ),
        ("tags that never end", format!("From: a@b\r\nContent-Type: text/html\r\n\r\n{}", "<".repeat(size))),
        (
            "comments that never end",
            format!("From: a@b\r\nContent-Type: text/html\r\n\r\n{}", "<!--".repeat(size / 4)),
        ),
        ("addresses of ours", format!("From: a@b\r\n\r\n{}", "cmr+x@example.org ".repeat(size / 18))),
        ("our domain without a space", format!("From: a@b\r\n\r\n{}", "a@example.org".repeat(size / 13))),
        ("local parts without end", format!("From: a@b\r\n\r\n{}", "a@".repeat(size / 2))),
        ("comments in a header", comments),
        ("rules", format!("From: a@b\r\n\r\n{}", "----------\r\n".repeat(size / 12))),
        ("marks of signatures", format!("From: a@b\r\n\r\n{}", "--\r\n".repeat(size / 4))),
        (
            "attributions",
            format!("From: a@b\r\n\r\n{}", "On 2 Nov 2026, at 10:00, <a@b>\r\n".repeat(size / 32)),
        ),
        ("lines from phones", format!("From: a@b\r\n\r\n{}x", "Sent from my x\r\n".repeat(size / 16))),
        ("dense HTML", format!("From: a@b\r\nContent-Type: text/html\r\n\r\n{}", "<p>x".repeat(20_000))),
        (
            "nested HTML",
            format!(
                "From: a@b\r\nContent-Type: text/html\r\n\r\n{}{}",
                "<blockquote><div>".repeat(99),
                "<p>x".repeat(19_000)
            ),
        ),
        (
            "encoded words",
            format!("From: a@b\r\nSubject: {}\r\n\r\nx", "=?iso-2022-jp?b?GyRCT0daMRsoQg==?= ".repeat(3900)),
        ),
        (
            "a message that may be changed in many ways",
            format!(
                "From: a@b\r\nContent-Type: text/plain; format=flowed; delsp=yes\r\n\r\n{}{}",
                "0\r\n2026/11/21 10:00:00.5 mailto:a@x\r\n\r\n1000000\r\n",
                " From a \r\n>From b\r\n".repeat(size / 18)
            ),
        ),
        (
            "one long message",
            String::from_utf8([b"From: a@b\r\n\r\n".to_vec(), message(&vec![b'\n'; size - 200])].concat())
                .unwrap(),
        ),
    ] {
        let start = Instant::now();
        let _ = read(raw.as_bytes());
        let took = start.elapsed();
        println!("{name}: {took:?}");
        // Half a second a megabyte when optimised; a debug build on a busy machine is given far more.
        let most = Duration::from_millis(if cfg!(debug_assertions) { 20_000 } else { 1_000 });
        assert!(took < most, "{name}: {took:?}");
    }
}

#[test]
fn a_mail_that_the_library_gives_up_on_is_not_interpreted() {
    // A mail in a mail in a digest: mail-parser 0.11.9 loses count of its messages.
    let raw = "From: a@b.c\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n\
               Content-Type: message/rfc822\r\n\r\n\r\n--b--\r\n";
    let found = read(raw.as_bytes());
    assert_eq!(found.header.from.unwrap().address, "a@b.c");
    assert_eq!((found.post, found.no_post), (None, Some(NoPost::Unreadable)));
}
