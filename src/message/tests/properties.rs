//! What holds for any bytes, tried on arbitrary ones, on messages and on damaged messages.

use super::EXAMPLE;
use crate::message::{Address, Hops};
use crate::message::{Hop, Limits, Message, Signature, Timestamp, UnixTime, parse, parse_and_write_agree};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::cmp::Ordering;

fn any_signature() -> impl Strategy<Value = Signature> {
    any::<Option<[u8; 32]>>().prop_map(|digest| digest.map_or(Signature::Unsigned, Signature::Signed))
}

/// A timestamp of any spelling that the format allows, near enough to others to be equal at times.
fn any_time() -> impl Strategy<Value = String> {
    (0..10_000_i64, 0..3_u8, "(\\.[0-9]{0,3}0{0,3})?|\\.[0-9]{0,30}")
        .prop_map(|(year, second, fraction)| format!("{year:04}/02/28 23:59:0{second}{fraction}"))
}

fn any_address() -> impl Strategy<Value = Vec<u8>> {
    let bytes = vec(any::<u8>().prop_filter("no line end", |b| !matches!(b, b'\r' | b'\n')), 1..40);
    prop_oneof![
        bytes,
        "(http|https|udp|mailto):(//)?[a-z]{1,5}(@[a-z]{1,5}\\.example)?/?".prop_map(String::into_bytes),
    ]
}

fn any_message() -> impl Strategy<Value = Message> {
    let addresses = btree_set(any_address(), 1..8);
    let times = vec(any_time(), 8);
    (any_signature(), addresses, times, vec(any::<u8>(), 0..200)).prop_map(
        |(signature, addresses, times, body)| {
            let mut times: Vec<Timestamp> =
                times.iter().map(|time| Timestamp::parse(time.as_bytes()).unwrap()).collect();
            times.sort_by(|a, b| b.cmp(a));
            times.dedup();
            let hops = times
                .into_iter()
                .zip(addresses)
                .map(|(time, address)| Hop::new(time, Address::new(address).unwrap()))
                .collect();
            Message { signature, hops: Hops::new(hops).unwrap(), body }
        },
    )
}

/// One way of damaging bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Double(prop::sample::Index, usize),
    Cut(prop::sample::Index),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    // What means something in the format is tried more often than other bytes.
    let bytes = prop_oneof![
        vec(any::<u8>(), 1..4),
        prop::sample::select(vec![
            b"\r".to_vec(),
            b"\n".to_vec(),
            b"\r\n".to_vec(),
            b"0".to_vec(),
            b".".to_vec(),
            b" ".to_vec(),
            b"\r\n\r\n".to_vec(),
            b"9999/12/31 00:00:00".to_vec(),
            "\u{65e5}".into(),
        ]),
    ];
    prop_oneof![
        (at(), 1..=255_u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        (at(), bytes).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (at(), 1..30_usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        (at(), 1..60_usize).prop_map(|(at, length)| Damage::Double(at, length)),
        at().prop_map(Damage::Cut),
    ]
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let span = |at: &prop::sample::Index, length: usize| {
        let start = at.index(bytes.len());
        start..(start + length).min(bytes.len())
    };
    match damage {
        Damage::Flip(at, bits) => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Damage::Insert(at, more) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, more.iter().copied());
        }
        Damage::Remove(at, length) => {
            let span = span(at, *length);
            bytes.drain(span);
        }
        Damage::Double(at, length) => {
            let span = span(at, *length);
            let copy = bytes[span.clone()].to_vec();
            bytes.splice(span.start..span.start, copy);
        }
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
    }
}

/// Fractions compared digit by digit, filled up with zeros: slow and plain.
fn compare(a: &str, b: &str) -> Ordering {
    let digits = |text: &str| {
        let mut digits = text.replace('.', "");
        digits.push_str(&"0".repeat(80 - digits.len()));
        digits
    };
    digits(a).cmp(&digits(b))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_hold_the_property(bytes in vec(any::<u8>(), 0..300)) {
        parse_and_write_agree(&bytes).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn any_bytes_behind_a_good_beginning_hold_the_property(
        cut in 0..EXAMPLE.len(),
        rest in vec(any::<u8>(), 0..100),
    ) {
        let mut bytes = EXAMPLE[..cut].to_vec();
        bytes.extend(rest);
        parse_and_write_agree(&bytes).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn messages_write_and_read_back(message in any_message()) {
        let bytes = message.write();
        prop_assert_eq!(parse_and_write_agree(&bytes), Ok(true));
        let read = parse(&bytes, &Limits::default()).unwrap();
        let texts = |message: &Message| {
            message.hops.iter().map(|hop| hop.time.as_str().to_owned()).collect::<Vec<_>>()
        };
        prop_assert_eq!(texts(&read), texts(&message));
        prop_assert_eq!(read, message);
    }

    #[test]
    fn damaged_messages_read_exactly_or_say_where(
        message in any_message(),
        damages in vec(any_damage(), 1..4),
    ) {
        let mut bytes = message.write();
        for damage in &damages {
            apply(damage, &mut bytes);
        }
        parse_and_write_agree(&bytes).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn cut_short_no_message_is_one(message in any_message(), at in any::<prop::sample::Index>()) {
        let bytes = message.write();
        let cut = &bytes[..at.index(bytes.len())];
        let error = parse(cut, &Limits::default()).unwrap_err();
        prop_assert_eq!(error.at, cut.len());
    }

    #[test]
    fn stamped_messages_read_back(message in any_message()) {
        let top = Timestamp::parse(b"9999/12/31 23:59:59.9").unwrap();
        let hop = Hop::new(top, Address::new(*b"the newest one of all, longer than those above").unwrap());
        let stamped = message.stamped(hop);
        prop_assert_eq!(parse_and_write_agree(&stamped.write()), Ok(true));
        prop_assert_eq!(&stamped.hop_ids()[1..], &message.hop_ids()[..]);
    }

    #[test]
    fn times_compare_as_their_digits_do(a in any_time(), b in any_time()) {
        let parse = |text: &str| Timestamp::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(parse(&a).cmp(&parse(&b)), compare(&a, &b));
        let (x, y) = (parse(&a), parse(&b));
        prop_assert_eq!(x == y, x.canonical() == y.canonical());
        prop_assert!(x.to_unix() <= x.reached_at());
        prop_assert!(x.reached_at().0 - x.to_unix().0 <= 1);
    }

    #[test]
    fn times_keep_their_microseconds(micros in -62_167_219_200_000_000..=253_402_300_799_999_999_i64, extra in "[0-9]{0,20}") {
        let made = Timestamp::from_unix(UnixTime(micros), &extra);
        prop_assert_eq!(made.to_unix(), UnixTime(micros));
        let read = Timestamp::parse(made.as_str().as_bytes()).unwrap();
        prop_assert_eq!(read.to_unix(), UnixTime(micros));
        prop_assert_eq!(read, made);
    }
}
