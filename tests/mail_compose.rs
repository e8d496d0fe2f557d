//! The mails that we write, read by two parsers that did not write them: Python's email package
//! and mail-parser. Python 3 has to be installed.
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
use cmr_mail::mail::compose::{
    AnswerMail, ComposeError, ForwardMail, Match, NoticeMail, Occasion, Publication, Robot, answer,
    answer_text, forward, notice,
};
use cmr_mail::mail::{Caps, Fault, Ignored, Mailbox, Reading, extract, may_autoreply};
use cmr_mail::message::{Limits, MessageId, UnixTime};
use proptest::prelude::*;
use std::io::Write as _;
use std::process::{Command, Stdio};

const DATE: UnixTime = UnixTime(1_795_290_567_000_000);
const HELLO: &[u8] = b"0\r\n2026/11/21 10:00:00.5 mailto:alice@cmr.test\r\n\r\n14\r\nHello World!\r\n";

/// What Python says about a mail, which also has to have proper lines.
fn python(mail: &[u8]) -> serde_json::Value {
    let lines = mail.split_inclusive(|byte| *byte == b'\n');
    assert!(mail.is_ascii(), "7 bits");
    for line in lines {
        assert!(
            line.ends_with(b"\r\n") && !line[..line.len() - 2].contains(&b'\r'),
            "CR LF: {}",
            line.escape_ascii()
        );
        assert!(line.len() <= 998, "RFC 5322, section 2.1.1: {}", line.escape_ascii());
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/read_mail.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 reads the mails that we write: please install it");
    child.stdin.take().unwrap().write_all(mail).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["defects"], serde_json::json!([]), "{}", mail.escape_ascii());
    for part in found["parts"].as_array().unwrap() {
        assert_eq!(part["defects"], serde_json::json!([]));
        for line in part["text"].as_str().unwrap_or_default().lines() {
            assert!(line.chars().count() <= 78, "item 14: 78 columns: {line}");
        }
    }
    found
}

fn headers<'a>(found: &'a serde_json::Value, name: &str) -> Vec<&'a str> {
    let all = found["headers"].as_array().unwrap();
    let named = all.iter().filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|pair| pair[1].as_str().unwrap()).collect()
}

fn reading(posting: &[String]) -> Reading<'_> {
    Reading {
        posting,
        envelope_recipients: &[],
        hostname: "mx.example.org",
        loop_marker: "mx.example.org",
        limits: Limits::default(),
        caps: Caps::default(),
        forwarded: true,
    }
}

const ROBOT: Robot<'static> = Robot {
    address: "cmr@example.org",
    operator: "Ada Lovelace <ada@example.org>",
    hostname: "mx.example.org",
    loop_marker: "mx.example.org",
};

fn person() -> Mailbox {
    Mailbox { name: Some("Jürgen \"J\" Müller, Dr.".to_owned()), address: "jm@example.com".to_owned() }
}

fn bare<'a>(to: &'a Mailbox) -> AnswerMail<'a> {
    AnswerMail {
        robot: ROBOT,
        to,
        message_id: "cmr-mail.a1@mx.example.org",
        date: DATE,
        subject: Some("Planets"),
        in_reply_to: Some("question@example.com"),
        references: &[],
        occasion: Occasion::Posted,
        matches: &[],
        alone: false,
        ignored: &[],
        faults: &[],
        publication: Publication::Silent,
        handing: None,
        later_days: 0,
        stop: "cmr+stop@example.org",
        list: None,
    }
}

#[test]
fn a_forward_is_a_mail_whose_only_part_is_the_message() {
    let mail = forward(&ForwardMail {
        from: "cmr@example.org",
        to: "peer@example.com",
        message_id: "cmr-mail.f1@mx.example.org",
        date: DATE,
        loop_marker: "mx.example.org",
        message: HELLO,
    })
    .unwrap();
    let found = python(&mail);
    assert_eq!(found["from"], serde_json::json!([["", "cmr@example.org"]]));
    assert_eq!(found["to"], serde_json::json!([["", "peer@example.com"]]));
    assert_eq!(found["date"].as_f64(), Some(1_795_290_567.0));
    for (name, value) in [
        ("Subject", "cmr"),
        ("Message-ID", "<cmr-mail.f1@mx.example.org>"),
        ("MIME-Version", "1.0"),
        ("Content-Type", "application/octet-stream"),
        ("Content-Transfer-Encoding", "base64"),
        ("X-CMR-Loop", "mx.example.org"),
    ] {
        assert_eq!(headers(&found, name), [value], "{name}");
    }
    assert_eq!(found["parts"].as_array().unwrap().len(), 1);
    assert_eq!(found["parts"][0]["base64"], STANDARD.encode(HELLO));
    let posting = ["cmr@example.org".to_owned()];
    let header = extract(&mail, &reading(&posting)).header;
    assert!(header.our_loop, "we know our own mail when it comes back");
}

#[test]
fn an_answer_stands_in_the_thread_with_the_messages_attached() {
    let to = person();
    let references: Vec<String> =
        (0..60).map(|n| format!("message-{n}.with.a.long.name@lists.example.com")).collect();
    let shared = ["largest planet".to_owned(), "größte".to_owned()];
    let found_text = "Jupiter is the largest planet — bigger than all the others taken together, and \
                      \u{202e}that\u{1b}[31m is a long line.\n\n\n\n木星是太阳系中最大的行星。";
    let long = format!("word {} end", "木".repeat(300));
    let matches = [
        Match {
            id: "0123456789abcdef".parse::<MessageId>().unwrap(),
            author: "mailto:dave@example.com\r\nBcc: victim@example.com",
            time: UnixTime(1_763_719_200_000_000),
            gain_bits: 127.6,
            share: 0.414,
            excerpt: found_text,
            shared: &shared,
            bytes: HELLO.len(),
            message: Some(HELLO),
            votes: Some((
                "cmr+good-0123456789abcdef-7.abc@example.org",
                "cmr+bad-0123456789abcdef-7.abd@example.org",
            )),
            whole: "cmr+get-0123456789abcdef-7.abe@example.org",
        },
        Match {
            id: "fedcba9876543210".parse::<MessageId>().unwrap(),
            author: "mailto:eve@example.com",
            time: UnixTime(0),
            gain_bits: f64::NAN,
            share: 2.0,
            excerpt: &long,
            shared: &[],
            bytes: 12,
            message: Some(b"\0\xff\r\n--=_cmr\r\n"),
            votes: None,
            whole: "",
        },
    ];
    let ignored = [Ignored {
        what: "attachment 1 (photo.png, image/png, 34 kB)".into(),
        why: "only text is read".into(),
    }];
    let faults = [Fault { place: "attachment 2 (x.cmr)".into(), reason: "it is too short".into() }];
    let mail = AnswerMail {
        subject: Some("Re: AW: Plänet\r\nBcc: victim@example.com\r\n\r\nand more"),
        references: &references,
        matches: &matches,
        ignored: &ignored,
        faults: &faults,
        publication: Publication::Local { confirm: "cmr+yes.3fA9xQ@example.org" },
        later_days: 30,
        ..bare(&to)
    };
    let bytes = answer(&mail).unwrap();
    assert_eq!(bytes, answer(&mail).unwrap(), "a repeated delivery is the same mail");
    let found = python(&bytes);
    assert_eq!(found["from"], serde_json::json!([["CMR gateway run by Ada Lovelace", "cmr@example.org"]]));
    assert_eq!(found["to"], serde_json::json!([[to.name.as_deref().unwrap(), "jm@example.com"]]));
    assert_eq!(headers(&found, "Subject"), ["Re: Plänet Bcc: victim@example.com and more"]);
    assert_eq!(headers(&found, "Auto-Submitted"), ["auto-replied"]);
    assert_eq!(headers(&found, "In-Reply-To"), ["<question@example.com>"]);
    assert!(headers(&found, "Bcc").is_empty() && headers(&found, "Reply-To").is_empty());
    let thread: Vec<&str> = headers(&found, "References")[0].split_whitespace().collect();
    assert_eq!(thread.len(), 20);
    let named = |n: usize| format!("<message-{n}.with.a.long.name@lists.example.com>");
    assert_eq!(
        (thread[0], thread[2], thread[3], thread[18], thread[19]),
        (
            named(0).as_str(),
            named(2).as_str(),
            named(44).as_str(),
            named(59).as_str(),
            "<question@example.com>"
        )
    );
    let parts = found["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 3);
    for (part, (name, message)) in parts[1..]
        .iter()
        .zip([("0123456789abcdef.cmr", HELLO), ("fedcba9876543210.cmr", b"\0\xff\r\n--=_cmr\r\n")])
    {
        assert_eq!(part["disposition"], "attachment");
        assert_eq!(part["filename"], name);
        assert_eq!(part["encoding"], "base64");
        assert_eq!(part["base64"], STANDARD.encode(message));
    }
    let text = parts[0]["text"].as_str().unwrap();
    assert_eq!(text.replace("\r\n", "\n") + "\n", answer_text(&mail));
    for wanted in [
        "1. mailto:dave@example.com Bcc: victim@example.com, 2025-11-21 10:00 UTC",
        "41 % of your text is known from it (128 bits), id 0123456789abcdef",
        "木星是太阳系中最大的行星。",
        "In common: largest planet, größte",
        "100 % of your text is known from it (0 bits)",
        "- attachment 2 (x.cmr): it is too short.",
        "- attachment 1 (photo.png, image/png, 34 kB): only text is read.",
        "   cmr+yes.3fA9xQ@example.org",
        "within 30 days",
        "\n-- \nWritten by a program: the CMR gateway at mx.example.org.",
        "It is run by Ada Lovelace <ada@example.org>.",
        "write to\ncmr+stop@example.org",
        "   Good? cmr+good-0123456789abcdef-7.abc@example.org\n   Bad?  cmr+bad-",
        "Once it is public, other gateways get copies",
    ] {
        assert!(text.replace("\r\n", "\n").contains(wanted), "{wanted}\n in \n{text}");
    }
    assert!(!text.contains(['\u{1b}', '\u{202e}']));
    // Another gateway takes the messages out again and does not answer the answer.
    let posting = ["other@example.com".to_owned()];
    let other = Reading { hostname: "other", loop_marker: "other", ..reading(&posting) };
    let taken = extract(&bytes, &other);
    assert_eq!(taken.messages.len(), 1);
    assert_eq!(taken.messages[0].bytes, HELLO);
    assert_eq!(taken.faults.len(), 1, "the second was no message: {:?}", taken.faults);
    assert!(may_autoreply(&taken.header, None, &posting).is_err());
}

#[test]
fn each_occasion_has_its_words() {
    let to = Mailbox { name: None, address: "alice@example.com".to_owned() };
    for (occasion, publication, wanted, automatic) in [
        (
            Occasion::Posted,
            Publication::Public,
            "Your message is stored. Nothing that is known here is close enough to it.",
            "auto-replied",
        ),
        (Occasion::Taken(1), Publication::Silent, "The CMR message in your mail is stored.", "auto-replied"),
        (
            Occasion::Taken(2),
            Publication::Silent,
            "The 2 CMR messages in your mail are stored.",
            "auto-replied",
        ),
        (
            Occasion::Searched,
            Publication::Silent,
            "was compared with what is known here and not stored",
            "auto-replied",
        ),
        (
            Occasion::NotPosted("the mail is empty"),
            Publication::Silent,
            "Nothing was stored: the mail is empty.",
            "auto-replied",
        ),
        (
            Occasion::Later,
            Publication::Silent,
            "Something similar to your message has arrived:",
            "auto-generated",
        ),
    ] {
        let mail = AnswerMail { occasion, publication, subject: None, in_reply_to: None, ..bare(&to) };
        let found = python(&answer(&mail).unwrap());
        let text = found["parts"][0]["text"].as_str().unwrap();
        assert!(text.replace(['\r', '\n'], " ").replace("  ", " ").contains(wanted), "{text}");
        assert_eq!(text.contains("Your message is public:"), publication == Publication::Public);
        assert_eq!(headers(&found, "Auto-Submitted"), [automatic]);
        assert_eq!(headers(&found, "Subject"), ["Re: (no subject)"]);
        assert!(headers(&found, "In-Reply-To").is_empty() && headers(&found, "References").is_empty());
    }
}

#[test]
fn a_notice_goes_to_the_operator() {
    let paragraphs = ["A message for peer@example.com was given up after 5 days and 31 attempts.\nIts id is 0123456789abcdef."
        .to_owned(), "The last answer was: 550 5.1.1\u{7} no such user".to_owned()];
    let mail = notice(&NoticeMail {
        robot: ROBOT,
        message_id: "cmr-mail.n1@mx.example.org",
        date: DATE,
        subject: "Delivery to peer@example.com given up",
        paragraphs: &paragraphs,
    });
    let found = python(&mail.unwrap());
    assert_eq!(found["to"], serde_json::json!([["Ada Lovelace", "ada@example.org"]]));
    assert_eq!(headers(&found, "Auto-Submitted"), ["auto-generated"]);
    assert_eq!(headers(&found, "Subject"), ["Delivery to peer@example.com given up"]);
    let text = found["parts"][0]["text"].as_str().unwrap().replace("\r\n", "\n");
    assert_eq!(
        text,
        concat!(
            "A message for peer@example.com was given up after 5 days and 31\nattempts. Its id is 0123456789abcdef.\n\n",
            "The last answer was: 550 5.1.1 no such user\n",
        )
    );
}

#[test]
fn what_would_forge_a_header_is_refused() {
    for to in [
        "a@b.c\r\nBcc: x@y.z",
        "a@b.c, d@e.f",
        "a@[127.0.0.1]",
        "",
        "a",
        "a b@c.d",
        "\"a\"@b.c",
        "ü@example.org",
        "a%b@c.d",
    ] {
        let mail = ForwardMail {
            from: "cmr@example.org",
            to,
            message_id: "a@b",
            date: DATE,
            loop_marker: "x",
            message: HELLO,
        };
        assert!(matches!(forward(&mail), Err(ComposeError::Address(_))), "{to:?}");
    }
    for message_id in ["", "a b@c", "a@b>\r\nBcc: <x@y.z", "ü@c"] {
        let mail = ForwardMail {
            from: "cmr@example.org",
            to: "a@b.c",
            message_id,
            date: DATE,
            loop_marker: "x",
            message: HELLO,
        };
        assert!(matches!(forward(&mail), Err(ComposeError::MessageId(_))), "{message_id:?}");
    }
    // Message-IDs of others are repeated only if they are proper; the answer is sent all the same.
    let to = person();
    let references = ["good@example.com".to_owned(), "bad\r\nBcc: x@y.z".to_owned(), "b d@x".to_owned()];
    let mail = answer(&AnswerMail { references: &references, ..bare(&to) }).unwrap();
    assert_eq!(headers(&python(&mail), "References"), ["<good@example.com> <question@example.com>"]);
    let mail = answer(&AnswerMail { in_reply_to: Some("x>\r\nBcc: <a@b.c"), ..bare(&to) }).unwrap();
    assert!(headers(&python(&mail), "In-Reply-To").is_empty());
}

#[test]
fn dates_outside_the_calendar_of_mail_are_moved_into_it() {
    for (date, wanted) in
        [(UnixTime(i64::MIN), 0.0), (UnixTime(i64::MAX), 253_402_300_799.0), (UnixTime(-1), 0.0)]
    {
        let mail = forward(&ForwardMail {
            from: "cmr@example.org",
            to: "a@b.c",
            message_id: "a@b",
            date,
            loop_marker: "x",
            message: HELLO,
        });
        assert_eq!(python(&mail.unwrap())["date"].as_f64(), Some(wanted));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_forward_is_extracted_exactly(body: Vec<u8>) {
        let mut message = format!("0\r\n2026/11/21 10:00:00.5 mailto:a@x\r\n\r\n{}\r\n", body.len()).into_bytes();
        message.extend_from_slice(&body);
        let mail = forward(&ForwardMail {
            from: "cmr@example.org", to: "peer@example.com", message_id: "a@b", date: DATE, loop_marker: "x",
            message: &message,
        }).unwrap();
        let posting = ["peer@example.com".to_owned()];
        for mail in [mail.clone(), String::from_utf8(mail).unwrap().replace("\r\n", "\n").into_bytes()] {
            let found = extract(&mail, &reading(&posting));
            prop_assert_eq!(found.messages.len(), 1, "{:?}", &found.faults);
            prop_assert_eq!(&found.messages[0].bytes, &message);
            prop_assert_eq!(found.messages[0].place.as_str(), "the body");
        }
    }

    #[test]
    fn no_foreign_text_breaks_an_answer(subject in "\\PC{0,80}|[\r\n\t\0-~ü木 ]{0,200}", name in "\\PC{0,40}", excerpt in "[\\PC\r\n\t]{0,300}") {
        let to = Mailbox { name: Some(name), address: "alice@example.com".to_owned() };
        let shared = [excerpt.clone()];
        let matches = [Match {
            id: "0123456789abcdef".parse::<MessageId>().unwrap(), author: &subject, time: DATE, gain_bits: 1.0,
            share: 0.5, excerpt: &excerpt, shared: &shared, bytes: HELLO.len(), message: Some(HELLO), votes: None,
            whole: "cmr+get@example.org",
        }];
        let mail = AnswerMail { subject: Some(&subject), matches: &matches, ..bare(&to) };
        let bytes = answer(&mail).unwrap();
        prop_assert!(answer_text(&mail).lines().all(|line| line.chars().count() <= 78));
        prop_assert!(bytes.is_ascii());
        prop_assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() <= 998));
        let posting = ["alice@example.com".to_owned()];
        let found = extract(&bytes, &reading(&posting));
        prop_assert_eq!(found.messages.len(), 1, "{:?}", &found.faults);
        prop_assert_eq!(found.header.to, ["alice@example.com"]);
        prop_assert_eq!(found.header.in_reply_to, ["question@example.com"]);
        prop_assert_eq!(found.header.auto_submitted.as_deref(), Some("auto-replied"));
    }
}
