//! Messages that are refused: `refusals.txt` has a row for each way to break a rule, with the
//! byte at which it is reported; bounds and recipients are tried here.

use super::{EXAMPLE, address, read};
use crate::message::{Acceptance, Limits, Recipient, Rule, Timestamp, UnixTime, parse};
use std::collections::BTreeSet;
use std::time::Duration;

const LINE: &str = "2008/09/01 00:00:53 http://alice.com/cmr\r\n";

/// The bytes that the escapes of the table stand for, and where its mark was.
fn unescape(text: &str) -> (Vec<u8>, usize) {
    let text = text
        .replace("{hex}", &"0123456789abcdef".repeat(4))
        .replace("{line}", LINE)
        .replace("{body}", "\r\n2\r\nhi");
    let mut bytes = Vec::new();
    let mut mark = None;
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'^' => assert_eq!(mark.replace(bytes.len()), None, "two marks: {text}"),
            b'\\' => match rest.next() {
                Some(b'r') => bytes.push(b'\r'),
                Some(b'n') => bytes.push(b'\n'),
                Some(b't') => bytes.push(b'\t'),
                Some(b'x') => {
                    let digits: String = rest.by_ref().take(2).map(char::from).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                other => panic!("an escape {other:?} in {text}"),
            },
            other => bytes.push(other),
        }
    }
    (bytes, mark.expect("a mark"))
}

#[test]
fn each_fault_is_named_with_its_rule_and_its_byte() {
    let mut lines =
        include_str!("refusals.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut rows = 0;
    let mut rules = BTreeSet::new();
    while let Some(name) = lines.next() {
        let (bytes, at) = unescape(lines.next().unwrap().trim_start());
        let (rule, words) = lines.next().unwrap().trim().split_once(": ").unwrap();
        let error = parse(&bytes, &Limits::default()).expect_err(name);
        assert_eq!((error.rule.name(), error.at), (rule, at), "{name}: {error}");
        let text = error.to_string();
        assert!(text.contains(words), "{name}: {text}");
        assert!(text.ends_with(&format!(" (byte {at}, rule {rule})")), "{name}: {text}");
        assert!(text.len() <= 400, "{name}: {text}");
        assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{name}: {text}");
        rows += 1;
        rules.insert(error.rule);
    }
    assert!(rows >= 80, "only {rows} rows were read");
    // The other rules have tests of their own below.
    let elsewhere = [Rule::LineLength, Rule::HeaderLines, Rule::TimeFuture, Rule::AddressOwn];
    rules.extend(elsewhere);
    assert_eq!(rules, BTreeSet::from(Rule::ALL), "a rule without a row");
}

#[test]
fn what_is_only_unusual_is_read() {
    let body = "\r\n2\r\nhi";
    let signed = format!("1{}", "00".repeat(32));
    let deep = format!("2008/09/01 00:00:53.{}1", "0".repeat(4000));
    let cases = [
        ("a digest of zeros", format!("{signed}\r\n{LINE}{body}")),
        ("the first moment", format!("0\r\n0000/01/01 00:00:00 a{}{body}", "\r\n")),
        ("the last moment", format!("0\r\n9999/12/31 23:59:59.999999999 a\r\n{body}")),
        ("February 29 of the year 0", format!("0\r\n0000/02/29 00:00:00 a\r\n{body}")),
        ("a trailing point", format!("0\r\n2008/09/01 00:00:53. a\r\n{body}")),
        ("4001 decimals", format!("0\r\n{deep} a\r\n{LINE}{body}")),
        ("an address that is a space", format!("0\r\n2008/09/01 00:00:53  \r\n{body}")),
        ("an address with spaces", format!("0\r\n2008/09/01 00:00:53 box 12, third floor\r\n{body}")),
        ("an address like a timestamp", format!("0\r\n2008/09/01 00:00:53 2008/09/01 00:00:53\r\n{body}")),
        (
            "addresses that differ in case",
            format!("0\r\n{LINE}2008/01/01 00:00:00 HTTP://alice.com/cmr\r\n{body}"),
        ),
        ("no body", format!("0\r\n{LINE}\r\n0\r\n")),
        ("a body of line ends", format!("0\r\n{LINE}\r\n6\r\n\r\n\r\r\n\n")),
        ("a body that is a message", format!("0\r\n{LINE}\r\n52\r\n0\r\n{LINE}\r\n2\r\nhi")),
    ];
    for (name, text) in cases {
        let message =
            parse(text.as_bytes(), &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(message.write(), text.as_bytes(), "{name}");
    }
    // Bytes that are not UTF-8, in an address and in a body.
    let mut bytes = b"0\r\n2008/09/01 00:00:53 \xff\xfe\0\xc3\r\n\r\n256\r\n".to_vec();
    bytes.extend(0..=255);
    assert_eq!(read(&bytes).write(), bytes);
    assert_eq!(read(&bytes).body, (0..=255).collect::<Vec<u8>>());
}

/// A header of so many lines.
fn lines(number: usize) -> String {
    (0..number)
        .map(|i| format!("2008/09/01 00:{:02}:{:02} http://r{i}/\r\n", 59 - i / 60, 59 - i % 60))
        .collect()
}

#[test]
fn bounds_hold_at_the_last_good_value_and_one_beyond() {
    let default = Limits::default();
    let full = format!("0\r\n{}\r\n0\r\n", lines(32));
    assert_eq!(parse(full.as_bytes(), &default).unwrap().hops.len(), 32);
    let over = format!("0\r\n{}\r\n0\r\n", lines(33));
    let error = parse(over.as_bytes(), &default).unwrap_err();
    assert_eq!((error.rule, error.at), (Rule::HeaderLines, 3 + lines(32).len()));
    assert!(error.detail.contains("more than 32 lines"), "{error}");

    let with_line = |length: usize| {
        let start = "2008/09/01 00:00:53 ";
        format!("0\r\n{start}{}\r\n\r\n0\r\n", "a".repeat(length - start.len()))
    };
    assert!(parse(with_line(4096).as_bytes(), &default).is_ok());
    let error = parse(with_line(4097).as_bytes(), &default).unwrap_err();
    assert_eq!((error.rule, error.at), (Rule::LineLength, 3 + 4096));
    assert!(error.detail.contains("header line 1 is longer than 4096 bytes"), "{error}");
    // Cut off at the bound it is a line that ends early, one byte later it is too long.
    let cut = |length: usize| {
        let mut text = with_line(length);
        text.truncate(3 + length);
        parse(text.as_bytes(), &default).unwrap_err()
    };
    assert_eq!((cut(4096).rule, cut(4096).at), (Rule::Truncated, 3 + 4096));
    assert_eq!((cut(4097).rule, cut(4097).at), (Rule::LineLength, 3 + 4096));
    // A line that never ends is not looked for beyond the bound.
    let endless = vec![b'0'; 1 << 20];
    let error = parse(&endless, &default).unwrap_err();
    assert_eq!((error.rule, error.at), (Rule::LineLength, 4096));

    let small = Limits { max_body: 3, ..default };
    let with_body = |body: &str| format!("0\r\n{LINE}\r\n{}\r\n{body}", body.len());
    assert!(parse(with_body("abc").as_bytes(), &small).is_ok());
    let error = parse(with_body("abcd").as_bytes(), &small).unwrap_err();
    assert_eq!((error.rule, error.at), (Rule::LengthLimit, 3 + LINE.len() + 2));
    // No number that fits the machine overflows what comes after it.
    let most = format!("0\r\n{LINE}\r\n{}\r\n", usize::MAX);
    let endless = Limits { max_body: usize::MAX, ..default };
    assert_eq!(parse(most.as_bytes(), &endless).unwrap_err().rule, Rule::BodyShort);
}

fn at(text: &str) -> UnixTime {
    Timestamp::parse(text.as_bytes()).unwrap().to_unix()
}

#[test]
fn the_future_is_refused_beyond_the_skew_and_held_within_it() {
    let message = read(EXAMPLE); // 2008/09/01 00:00:53.42
    let minute = Duration::from_secs(60);
    let exact = at("2008/09/01 00:00:53.42");
    let rows = [
        ("2008/09/01 00:00:54", Duration::ZERO, Ok(Acceptance::Now)),
        ("2008/09/01 00:00:53.42", Duration::ZERO, Ok(Acceptance::Now)),
        ("2008/09/01 00:00:53.419999", Duration::ZERO, Err(Rule::TimeFuture)),
        ("2008/09/01 00:00:53.419999", minute, Ok(Acceptance::HeldUntil(exact))),
        ("2008/08/31 23:59:53.42", minute, Ok(Acceptance::HeldUntil(exact))),
        ("2008/08/31 23:59:53.419999", minute, Err(Rule::TimeFuture)),
    ];
    for (now, skew, expected) in rows {
        let recipient = Recipient { skew, ..Recipient::new(at(now), &[]) };
        let accepted = message.accept(&recipient).map_err(|error| {
            assert_eq!(error.at, 67, "where the first header line begins");
            error.rule
        });
        assert_eq!(accepted, expected, "now {now}, skew {skew:?}");
    }
    let error = message.accept(&Recipient::new(at("2008/08/30 00:00:53.42"), &[])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "header line 1 is dated \"2008/09/01 00:00:53.42\", 2 days ahead of our clock \
         (0 s are allowed) (byte 67, rule time-future)"
    );
}

#[test]
fn a_time_between_two_microseconds_is_held_until_the_later_one() {
    let text = "0\r\n2008/09/01 00:00:53.4200000000000000001 a\r\n\r\n0\r\n";
    let message = read(text.as_bytes());
    let below = at("2008/09/01 00:00:53.42");
    let above = UnixTime(below.0 + 1);
    assert_eq!(message.accept(&Recipient::new(below, &[])).unwrap_err().rule, Rule::TimeFuture);
    assert_eq!(message.accept(&Recipient::new(above, &[])), Ok(Acceptance::Now));
    let skew = Duration::from_micros(1);
    assert_eq!(
        message.accept(&Recipient { skew, ..Recipient::new(below, &[]) }),
        Ok(Acceptance::HeldUntil(above))
    );
    // Zeros beyond the sixth decimal are nothing.
    let even = read(b"0\r\n2008/09/01 00:00:53.42000000000000 a\r\n\r\n0\r\n");
    assert_eq!(even.accept(&Recipient::new(below, &[])), Ok(Acceptance::Now));
}

#[test]
fn our_own_address_is_refused_wherever_it_stands() {
    let message = read(EXAMPLE);
    let now = at("2009/01/01 00:00:00");
    for (index, own) in
        ["http://alice.com/cmr", "udp://192.168.0.102:53/dns-tunnel", "https://www.charlie.com/messages.pl"]
            .into_iter()
            .enumerate()
    {
        let owned = [address("http://elsewhere.example/"), address(own)];
        let error = message.accept(&Recipient::new(now, &owned)).unwrap_err();
        let place = EXAMPLE.windows(own.len()).position(|window| window == own.as_bytes());
        assert_eq!((error.rule, Some(error.at)), (Rule::AddressOwn, place));
        let words = format!("{own}\" of header line {} is the recipient's own", index + 1);
        assert!(error.detail.contains(&words), "{error}");
    }
    // Another spelling of it is it, a longer address is not.
    for (own, ours) in [
        ("HTTP://Alice.COM/cmr/", true),
        ("http://alice.com/cm", false),
        ("http://alice.com/cmr/x", false),
        ("https://alice.com/cmr", false),
    ] {
        let owned = [address(own)];
        let refused = message.accept(&Recipient::new(now, &owned)).is_err();
        assert_eq!(refused, ours, "{own}");
    }
}

#[test]
fn the_caller_decides_about_aliases() {
    let text = "0\r\n2008/09/01 00:00:53 mailto:bob@b.example\r\n\
                2008/09/01 00:00:52 mailto:cmr+ann.k3f9@a.example\r\n\r\n0\r\n";
    let message = read(text.as_bytes());
    let owned = [address("mailto:cmr@a.example")];
    let plain = Recipient::new(at("2009/01/01 00:00:00"), &owned);
    assert_eq!(message.accept(&plain), Ok(Acceptance::Now));
    let alias = |address: &crate::message::Address| {
        address.mail_address().is_some_and(|mail| mail.starts_with("cmr+") && mail.ends_with("@a.example"))
    };
    let strict = Recipient { is_own: Some(&alias), ..plain };
    let error = message.accept(&strict).unwrap_err();
    assert_eq!(error.rule, Rule::AddressOwn);
    assert!(text.get(error.at..).unwrap().starts_with("mailto:cmr+ann"));
}
