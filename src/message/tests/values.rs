//! Ids, stamping, the helpers of the mail room, and times as values.

use super::{EXAMPLE, address, read};
use crate::message::{
    Hop, Hops, IdError, Message, MessageId, Signature, Timestamp, UnixTime, declared_end, looks_like,
};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};

fn hop(time: &str, at: &str) -> Hop {
    Hop::new(Timestamp::parse(time.as_bytes()).unwrap(), address(at))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[test]
fn the_public_id_is_of_the_oldest_line_as_it_is_spelled() {
    let message = read(EXAMPLE);
    let line = b"2008/08/31 23:59:01.0955 https://www.charlie.com/messages.pl";
    let id = message.id();
    assert_eq!(id.as_bytes().as_slice(), &sha256(line)[..8]);
    assert_eq!(id.to_string().len(), 16);
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    assert_eq!(MessageId::try_from(id.as_bytes().as_slice()), Ok(id));
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(json, format!("\"{id}\""));
    assert_eq!(serde_json::from_str::<MessageId>(&json).unwrap(), id);
    // It does not change on the way.
    let further = message.stamped(hop("2008/09/02 00:00:00", "http://d/"));
    assert_eq!(further.id(), id);
}

#[test]
fn other_texts_are_no_ids() {
    let rows = [
        ("", IdError::Length(0)),
        ("0123456789abcde", IdError::Length(15)),
        ("0123456789abcdef0", IdError::Length(17)),
        ("0123456789abcdeg", IdError::Digit(16)),
        ("+123456789abcdef", IdError::Digit(1)),
        ("012345678\u{0669}abcdef", IdError::Digit(10)),
    ];
    for (text, error) in rows {
        assert_eq!(text.parse::<MessageId>(), Err(error), "{text}");
    }
    assert_eq!(MessageId::try_from([0; 7].as_slice()), Err(IdError::Length(7)));
}

#[test]
fn a_header_line_is_known_by_the_value_of_its_time() {
    let key = hop("2008/09/01 00:00:53.1", "http://a/").key();
    assert_eq!(key.0, sha256(b"2008/09/01 00:00:53.1 http://a/"));
    for same in ["2008/09/01 00:00:53.10", "2008/09/01 00:00:53.1000000000000000000"] {
        assert_eq!(hop(same, "http://a/").key(), key, "{same}");
    }
    assert_ne!(hop("2008/09/01 00:00:53.10000000001", "http://a/").key(), key);
    assert_ne!(hop("2008/09/01 00:00:53.1", "http://a").key(), key);
    let whole = hop("2008/09/01 00:00:50", "a").key();
    assert_eq!(whole.0, sha256(b"2008/09/01 00:00:50 a"));
    assert_eq!(hop("2008/09/01 00:00:50.", "a").key(), whole);
    assert_eq!(hop("2008/09/01 00:00:50.000", "a").key(), whole);
}

#[test]
fn a_tail_covers_every_byte_below_and_none_above() {
    let message = read(EXAMPLE);
    let ids = message.hop_ids();
    assert_eq!(ids.len(), 3);
    for (id, hop) in ids.iter().zip(&message.hops) {
        assert_eq!(id.0, hop.key());
    }
    assert_eq!(ids[2].1.0, sha256(b"\r\n14\r\nHello World!\r\n"));
    // The same bytes below another newest line: the ids below stay what they were.
    let further = message.stamped(hop("2008/09/02 00:00:00", "http://d/"));
    assert_eq!(&further.hop_ids()[1..], &ids);
    // Each kind of change shows in the tails above it, and in those alone.
    let changes: [(&str, &str, [bool; 3]); 5] = [
        ("Hello World!", "Hello world!", [true, true, true]),
        ("messages.pl", "messages.pm", [true, true, false]),
        ("01.0955", "01.09550", [true, true, false]),
        ("dns-tunnel", "dns-channel", [true, false, false]),
        ("alice.com", "alice.org", [false, false, false]),
    ];
    let text = std::str::from_utf8(EXAMPLE).unwrap();
    for (from, to, changed) in changes {
        let other = read(text.replacen(from, to, 1).as_bytes()).hop_ids();
        let differs: Vec<bool> = ids.iter().zip(&other).map(|(a, b)| a.1 != b.1).collect();
        assert_eq!(differs, changed, "{from} to {to}");
    }
    // What moves from the header into the body is not the same message.
    let one = read(b"0\r\n2008/09/01 00:00:53 a\r\n\r\n3\r\n\r\n0");
    let two = read(b"0\r\n2008/09/01 00:00:53 a\r\n\r\n1\r\n0");
    assert_ne!(one.hop_ids(), two.hop_ids());
}

#[test]
fn stamping_is_steps_one_and_three_of_forwarding() {
    let message = read(EXAMPLE);
    let stamped = message.stamped(hop("2008/09/01 00:01:00.5", "mailto:cmr@d.example"));
    let below = EXAMPLE.get(67..).unwrap();
    let mut expected = b"0\r\n2008/09/01 00:01:00.5 mailto:cmr@d.example\r\n".to_vec();
    expected.extend_from_slice(below);
    assert_eq!(stamped.write(), expected);
    assert_eq!(read(&expected), stamped);
    assert_eq!(stamped.signed_bytes(), expected.get(3..).unwrap());
    assert_eq!(
        stamped.header_bytes(),
        stamped.hops.iter().fold(Vec::new(), |mut all, hop| {
            all.extend_from_slice(format!("{} {}\r\n", hop.time, hop.address).as_bytes());
            all
        })
    );
    assert_eq!(stamped.home_router(), message.home_router());
    assert_eq!(stamped.sender().address, address("mailto:cmr@d.example"));
    let signed = stamped.with_signature(Signature::Signed([0xa5; 32]));
    assert!(signed.write().starts_with(format!("1{}\r\n", "a5".repeat(32)).as_bytes()));
    assert!(!format!("{signed:?}").contains("a5a5"));
}

#[test]
fn a_header_of_one_line_is_its_own_sender_and_home() {
    let message = Message::new(hop("2008/09/01 00:00:53", "a"), b"x".to_vec());
    assert_eq!(message.write(), b"0\r\n2008/09/01 00:00:53 a\r\n\r\n1\r\nx");
    assert_eq!(message.sender(), message.origin());
    assert_eq!(message.home_router(), &address("a"));
    assert_eq!(message.hops.len(), 1);
    assert!(message.hops.contains(&address("a")) && !message.hops.contains(&address("b")));
    assert_eq!(Hops::new(Vec::new()), None);
    assert_eq!(Hops::new(vec![message.origin().clone()]).unwrap(), message.hops);
}

#[test]
fn the_end_of_a_message_is_where_its_length_says() {
    assert_eq!(declared_end(EXAMPLE), Some(EXAMPLE.len()));
    let mut longer = EXAMPLE.to_vec();
    longer.extend_from_slice(b"\r\n-- \r\nA footer of the list\r\n");
    assert_eq!(declared_end(&longer), Some(EXAMPLE.len()));
    let shorter = EXAMPLE.get(..EXAMPLE.len() - 5).unwrap();
    assert_eq!(declared_end(shorter), Some(EXAMPLE.len()));
    let head = "0\r\n2008/09/01 00:00:53 a\r\n\r\n";
    let end = |rest: &str| declared_end(format!("{head}{rest}").as_bytes());
    assert_eq!(end("0\r\n"), Some(head.len() + 3));
    assert_eq!(end("99999999999\r\nx"), Some(head.len() + 13 + 99_999_999_999));
    // An order that is wrong is for `parse` to say.
    let disorder = "0\r\n2008/09/01 00:00:53 a\r\n2009/09/01 00:00:53 a\r\n\r\n1\r\nx";
    assert_eq!(declared_end(disorder.as_bytes()), Some(disorder.len()));
    for none in ["", "x", "07\r\n", "18446744073709551615\r\n", "18446744073709551616\r\n"] {
        assert_eq!(end(none), None, "{none}");
    }
    assert_eq!(declared_end(b""), None);
    assert_eq!(declared_end(b"0\r\n\r\n1\r\nx"), None);
    assert_eq!(declared_end(&EXAMPLE.to_ascii_uppercase()), None);
}

#[test]
fn what_is_meant_to_be_a_message_is_recognised_though_it_is_damaged() {
    let digits = "0123456789abcdef".repeat(4);
    let yes = [
        "0\r\n2008/09/01 00:00:53 a\r\n".to_owned(),
        "0\n2008/09/01 00:00:53 a\n".to_owned(),
        "0 \t\r\n2008/09/01 00:00".to_owned(),
        format!("1{digits}\r\n2008/09/01 00:00:53 a"),
        format!("1{}\n2008/99/99 99:99", digits.to_uppercase()),
    ];
    for text in &yes {
        assert!(looks_like(text.as_bytes()), "{text:?}");
    }
    let no = [
        String::new(),
        "0".to_owned(),
        "0\r\n".to_owned(),
        "0\r\n\r\n2008/09/01 00:00:53 a".to_owned(),
        "0x\r\n2008/09/01 00:00:53 a".to_owned(),
        "2\r\n2008/09/01 00:00:53 a".to_owned(),
        "\r\n0\r\n2008/09/01 00:00:53 a".to_owned(),
        "0\r\n2008-09-01 00:00:53 a".to_owned(),
        "0\r\n2008/09/01 00:0".to_owned(),
        format!("1{}\r\n2008/09/01 00:00:53 a", digits.get(1..).unwrap()),
        format!("1{digits}0\r\n2008/09/01 00:00:53 a"),
        "0 people wrote, 1 answered\r\n2008/09/01 00:00:53".to_owned(),
    ];
    for text in &no {
        assert!(!looks_like(text.as_bytes()), "{text:?}");
    }
}

#[test]
fn times_are_plain_microseconds() {
    let time = UnixTime(1_220_227_253_420_000);
    assert_eq!(time.as_secs(), 1_220_227_253);
    assert_eq!(time.rfc3339(), "2008-09-01T00:00:53.420000Z");
    assert_eq!(UnixTime(-1).as_secs(), -1);
    assert_eq!(UnixTime(-1).rfc3339(), "1969-12-31T23:59:59.999999Z");
    assert_eq!(UnixTime(i64::MIN).rfc3339(), "0000-01-01T00:00:00.000000Z");
    assert_eq!(UnixTime(i64::MAX).rfc3339(), "9999-12-31T23:59:59.999999Z");
    let second = Duration::from_secs(1);
    assert_eq!(UnixTime::from_secs(7).saturating_add(second), UnixTime::from_secs(8));
    assert_eq!(UnixTime::from_secs(7).saturating_sub(second), UnixTime::from_secs(6));
    assert_eq!(UnixTime::from_secs(7).checked_add(second), Some(UnixTime(8_000_000)));
    assert_eq!(UnixTime(i64::MAX).checked_add(second), None);
    assert_eq!(UnixTime(0).checked_add(Duration::MAX), None);
    assert_eq!(UnixTime(0).saturating_add(Duration::MAX), UnixTime(i64::MAX));
    assert_eq!(UnixTime::from_secs(i64::MAX), UnixTime(i64::MAX));
    assert_eq!(UnixTime::from_secs(9).since(UnixTime::from_secs(7)), 2 * second);
    assert_eq!(UnixTime::from_secs(7).since(UnixTime::from_secs(9)), Duration::ZERO);
    assert_eq!(UnixTime(i64::MAX).since(UnixTime(i64::MIN)), Duration::from_micros(u64::MAX));
    assert_eq!(UnixTime::from(SystemTime::UNIX_EPOCH + second), UnixTime::from_secs(1));
    assert_eq!(UnixTime::from(SystemTime::UNIX_EPOCH - second), UnixTime::from_secs(-1));
    assert_eq!(serde_json::to_string(&time).unwrap(), "1220227253420000");
}

#[test]
fn timestamps_are_made_with_the_decimals_that_nobody_can_guess() {
    let time = UnixTime(1_220_227_253_420_000);
    let rows = [
        (time, "", "2008/09/01 00:00:53.420000"),
        (time, "0123456789", "2008/09/01 00:00:53.4200000123456789"),
        (time, "1 2\r\n3-x\u{0664}", "2008/09/01 00:00:53.420000123"),
        (UnixTime(0), "", "1970/01/01 00:00:00.000000"),
        (UnixTime(-1), "9", "1969/12/31 23:59:59.9999999"),
        (UnixTime(i64::MIN), "", "0000/01/01 00:00:00.000000"),
        (UnixTime(i64::MAX), "5", "9999/12/31 23:59:59.9999995"),
    ];
    for (time, extra, text) in rows {
        let made = Timestamp::from_unix(time, extra);
        assert_eq!(made.as_str(), text);
        let parsed = Timestamp::parse(text.as_bytes()).unwrap();
        assert_eq!((parsed.to_unix(), &parsed), (made.to_unix(), &made));
    }
    let known = [
        ("0000/01/01 00:00:00", -62_167_219_200),
        ("0000/02/29 00:00:00", -62_162_121_600),
        ("1970/01/01 00:00:00", 0),
        ("2000/02/29 12:00:00", 951_825_600),
        ("9999/12/31 23:59:59", 253_402_300_799),
    ];
    for (text, seconds) in known {
        let parsed = Timestamp::parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.to_unix(), UnixTime::from_secs(seconds), "{text}");
    }
}

#[test]
fn a_time_is_reached_at_the_first_microsecond_not_before_it() {
    let rows = [
        ("", 0),
        (".", 0),
        (".5", 500_000),
        (".000001", 1),
        (".0000010000", 1),
        (".0000011", 2),
        (".0000001", 1),
        (".00000000000000000001", 1),
        (".999999", 999_999),
        (".9999999", 1_000_000),
    ];
    for (fraction, micros) in rows {
        let time = Timestamp::parse(format!("1970/01/01 00:00:00{fraction}").as_bytes()).unwrap();
        assert_eq!(time.reached_at(), UnixTime(micros), "{fraction}");
    }
}

#[test]
fn timestamps_are_compared_exactly() {
    // Each is earlier than the next; those of one row are equal.
    let rows: [&[&str]; 8] = [
        &["1999/12/31 23:59:59.99999999999999999999999999"],
        &["2000/01/01 00:00:00", "2000/01/01 00:00:00.", "2000/01/01 00:00:00.000"],
        &["2000/01/01 00:00:00.0000000000000000001"],
        &["2000/01/01 00:00:00.09"],
        &["2000/01/01 00:00:00.1", "2000/01/01 00:00:00.10"],
        &["2000/01/01 00:00:00.10000000000000000001"],
        &["2000/01/01 00:00:00.2"],
        &["2000/01/01 00:00:10", "2000/01/01 00:00:10."],
    ];
    let parse = |text: &str| Timestamp::parse(text.as_bytes()).unwrap();
    for (i, row) in rows.iter().enumerate() {
        for (j, other) in rows.iter().enumerate() {
            for (a, b) in row.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
                assert_eq!(parse(a).cmp(&parse(b)), i.cmp(&j), "{a} and {b}");
                assert_eq!(parse(a) == parse(b), i == j, "{a} and {b}");
            }
        }
        let canonical = parse(row[0]).canonical();
        assert!(row.iter().all(|text| parse(text).canonical() == canonical));
        assert!(row.iter().all(|text| parse(text).as_str() == *text));
    }
    let set: std::collections::HashSet<Timestamp> =
        rows.iter().flat_map(|row| row.iter().map(|text| parse(text))).collect();
    assert_eq!(set.len(), rows.len());
}
