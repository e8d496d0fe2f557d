//! The wire format and its signatures against the reference implementation (`cmr-core`), in
//! process: what we write it reads and verifies, what it writes we read and verify.
//!
//! Messages are random but the same in every run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

use cmr_core::protocol as theirs;
use cmr_mail::keys::{self, Key, Scheme, SignatureError};
use cmr_mail::message::{
    self, Acceptance, Address, Hop, Hops, Limits, Message, Recipient, Signature, Timestamp, UnixTime,
};
use std::collections::BTreeSet;

const MESSAGES: usize = 1_000;

/// SplitMix64: enough to vary messages, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least `least`, less than `end`.
    fn between(&mut self, least: usize, end: usize) -> usize {
        let span = u64::try_from(end - least).unwrap();
        least + usize::try_from(self.next() % span).unwrap()
    }

    fn bytes(&mut self, number: usize) -> Vec<u8> {
        (0..number).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Mostly small, now and then some tens of kilobytes; all byte values, or line ends and
    /// digits, which look like other parts of a message.
    fn body(&mut self) -> Vec<u8> {
        let length = match self.between(0, 20) {
            0 => 0,
            1 => self.between(10_000, 70_000),
            _ => self.between(1, 600),
        };
        if self.between(0, 3) == 0 {
            (0..length).map(|_| b"\r\n0 1/:."[self.between(0, 8)]).collect()
        } else {
            self.bytes(length)
        }
    }

    /// Shorter than a block of the hash, exactly one, and longer.
    fn key(&mut self) -> Vec<u8> {
        let length = [1, 3, 16, 32, 63, 64, 65, 200][self.between(0, 8)];
        self.bytes(length)
    }

    /// Addresses of each transport and some that are no URL, none of them twice.
    fn addresses(&mut self, number: usize) -> Vec<String> {
        let mut all = BTreeSet::new();
        while all.len() < number {
            let n = self.next() % 100_000;
            all.insert(match self.between(0, 7) {
                0 => format!("http://h{n}.example/cmr"),
                1 => format!("https://h{n}.example:8443/a/b.pl?x={n}"),
                2 => format!("mailto:cmr+p{n}.x@h.example"),
                3 => format!("udp://192.0.2.{}:53/dns-{n}", n % 256),
                4 => format!("ssh://cmr@h{n}.example:22/run"),
                5 => format!("box {n}, third floor"),
                _ => format!("Stra\u{df}e {n} \u{65e5}\u{672c}"),
            });
        }
        let mut all: Vec<String> = all.into_iter().collect();
        // Not in alphabetical order.
        for last in (1..all.len()).rev() {
            let other = self.between(0, last + 1);
            all.swap(last, other);
        }
        all
    }

    /// Strictly descending timestamps as text, at distances from a day to a 10^-20th second.
    fn times(&mut self, number: usize) -> Vec<String> {
        let mut micros = 1_000_000_000_000_000 + i64::try_from(self.next() % 700_000_000_000_000).unwrap();
        let mut all = Vec::new();
        while all.len() < number {
            let time = Timestamp::from_unix(UnixTime(micros), "");
            let seconds = time.as_str().get(..19).unwrap().to_owned();
            match self.between(0, 4) {
                0 => all.push(seconds),
                1 => all.push(time.as_str().to_owned()),
                2 => all.push(format!("{}{}", time.as_str(), self.next())),
                _ => {
                    // Two that differ far beyond nanoseconds.
                    let zeros = "0".repeat(self.between(0, 13));
                    all.push(format!("{}{zeros}2", time.as_str()));
                    all.push(format!("{}{zeros}1", time.as_str()));
                }
            }
            micros -= [1_000_000, 1_500_000, 60_000_000, 86_400_000_000][self.between(0, 4)];
        }
        all.truncate(number);
        all
    }
}

fn their_context(recipient: Option<&str>) -> theirs::ParseContext<'_> {
    let now = theirs::CmrTimestamp::parse("2030/01/01 00:00:00").unwrap();
    theirs::ParseContext::secure(now, recipient)
}

fn our_now() -> UnixTime {
    Timestamp::parse(b"2030/01/01 00:00:00").unwrap().to_unix()
}

fn hop(time: &str, address: &str) -> Hop {
    Hop::new(Timestamp::parse(time.as_bytes()).unwrap(), Address::try_from(address).unwrap())
}

#[test]
fn the_reference_reads_and_verifies_what_we_write() {
    let mut random = Random(1);
    let (mut signed, mut unsigned, mut hops, mut bytes, mut refused) = (0, 0, 0, 0, 0);
    for _ in 0..MESSAGES {
        let number = random.between(1, 33);
        let header = random
            .times(number)
            .iter()
            .zip(random.addresses(number))
            .map(|(time, address)| hop(time, &address))
            .collect();
        let secret = random.key();
        let mut ours =
            Message { signature: Signature::Unsigned, hops: Hops::new(header).unwrap(), body: random.body() };
        if random.between(0, 10) > 0 {
            ours = keys::sign_message(Scheme::Hmac, &Key::from_bytes(secret.clone()).unwrap(), ours);
        }
        let wire = ours.write();
        let read = theirs::parse_message(&wire, &their_context(Some("http://recipient.example/")))
            .unwrap_or_else(|error| panic!("{error}: {}", wire.escape_ascii()));
        assert_eq!(read.to_bytes(), wire);
        assert_eq!(read.payload_without_signature_line(), ours.signed_bytes());
        assert_eq!(read.body, ours.body);
        let lines: Vec<String> = read.header.iter().map(theirs::MessageId::line_without_crlf).collect();
        let our_lines: Vec<String> =
            ours.hops.iter().map(|hop| format!("{} {}", hop.time, hop.address)).collect();
        assert_eq!(lines, our_lines);
        let payload = read.payload_without_signature_line();
        if ours.signature.is_signed() {
            assert!(read.signature.verifies(&payload, Some(&secret)));
            let mut other = secret.clone();
            other[0] ^= 1;
            assert!(!read.signature.verifies(&payload, Some(&other)));
            signed += 1;
        } else {
            assert_eq!(read.signature, theirs::Signature::Unsigned);
            unsigned += 1;
        }
        // Both refuse it where one of its addresses is the recipient's.
        let own = ours.hops.iter().nth(random.between(0, number)).unwrap().address.clone();
        let context = their_context(own.as_str());
        assert!(theirs::parse_message(&wire, &context).is_err());
        let owned = [own];
        assert!(ours.accept(&Recipient::new(our_now(), &owned)).is_err());
        refused += 1;
        hops += number;
        bytes += wire.len();
    }
    println!(
        "the reference read {MESSAGES} of our messages ({hops} header lines, {bytes} bytes), \
         verified {signed}, took {unsigned} unsigned, refused {refused} as its own"
    );
    assert!(signed > 800 && unsigned > 50);
}

#[test]
fn we_read_and_verify_what_the_reference_writes() {
    let mut random = Random(2);
    let (mut signed, mut unsigned, mut hops, mut bytes) = (0, 0, 0, 0);
    for _ in 0..MESSAGES {
        let number = random.between(1, 33);
        let mut written = theirs::CmrMessage {
            signature: theirs::Signature::Unsigned,
            header: Vec::new(),
            body: random.body(),
        };
        let times = random.times(number);
        let addresses = random.addresses(number);
        // Oldest first, as a message grows on its way.
        for (time, address) in times.iter().zip(&addresses).rev() {
            let id = theirs::MessageId::parse(&format!("{time} {address}")).unwrap();
            written.prepend_hop(id);
        }
        let secret = random.key();
        if random.between(0, 10) > 0 {
            written.sign_with_key(&secret);
        }
        let wire = written.to_bytes();
        let read = message::parse(&wire, &Limits::default())
            .unwrap_or_else(|error| panic!("{error}: {}", wire.escape_ascii()));
        assert_eq!(read.write(), wire);
        assert_eq!(read.signed_bytes(), written.payload_without_signature_line());
        assert_eq!(read.body, written.body);
        assert_eq!(read.hops.len(), number);
        assert_eq!(read.sender().address.as_str(), Some(written.immediate_sender()));
        assert_eq!(read.accept(&Recipient::new(our_now(), &[])), Ok(Acceptance::Now));
        let key = Key::from_bytes(secret.clone()).unwrap();
        if written.signature == theirs::Signature::Unsigned {
            assert_eq!(keys::verify(&key, &read, Scheme::Hmac, false), Err(SignatureError::Missing));
            unsigned += 1;
        } else {
            for preferred in [Scheme::Hmac, Scheme::Sha256] {
                assert_eq!(keys::verify(&key, &read, preferred, false), Ok(Scheme::Hmac));
            }
            let mut other = secret;
            other[0] ^= 1;
            let other = Key::from_bytes(other).unwrap();
            assert_eq!(keys::verify(&other, &read, Scheme::Hmac, false), Err(SignatureError::Wrong));
            signed += 1;
        }
        hops += number;
        bytes += wire.len();
    }
    println!(
        "we read {MESSAGES} of the reference's messages ({hops} header lines, {bytes} bytes), \
         verified {signed}, took {unsigned} unsigned"
    );
    assert!(signed > 800 && unsigned > 50);
}

#[test]
fn a_message_goes_back_and_forth_and_stays_itself() {
    let mut random = Random(3);
    let mut forwards = 0;
    for _ in 0..100 {
        let steps = 2 * random.between(1, 12);
        let mut times = random.times(steps + 1);
        let mut addresses = random.addresses(steps + 1);
        let origin = hop(&times.pop().unwrap(), &addresses.pop().unwrap());
        let first = Message::new(origin, random.body());
        let (secret, id) = (random.key(), first.id());
        let key = Key::from_bytes(secret.clone()).unwrap();
        let mut wire = first.write();
        while let (Some(time), Some(address)) = (times.pop(), addresses.pop()) {
            if times.len() % 2 == 1 {
                let read = message::parse(&wire, &Limits::default()).unwrap();
                let stamped = read.stamped(hop(&time, &address));
                wire = keys::sign_message(Scheme::Hmac, &key, stamped).write();
            } else {
                let mut read = theirs::parse_message(&wire, &their_context(None)).unwrap();
                let payload = read.payload_without_signature_line();
                assert!(read.signature.verifies(&payload, Some(&secret)));
                read.make_unsigned();
                read.prepend_hop(theirs::MessageId::parse(&format!("{time} {address}")).unwrap());
                read.sign_with_key(&secret);
                wire = read.to_bytes();
            }
            forwards += 1;
        }
        let last = message::parse(&wire, &Limits::default()).unwrap();
        assert_eq!(keys::verify(&key, &last, Scheme::Hmac, true), Ok(Scheme::Hmac));
        assert_eq!((last.hops.len(), last.id()), (steps + 1, id));
        assert_eq!(last.body, first.body);
        // What the first hop had below it is below it still.
        assert_eq!(last.hop_ids().last(), first.hop_ids().last());
    }
    println!("100 messages were forwarded {forwards} times in turn");
}

#[test]
fn a_damaged_message_verifies_nowhere() {
    let mut random = Random(4);
    let (mut read_by_us, mut read_by_them) = (0, 0);
    for _ in 0..MESSAGES {
        let number = random.between(1, 6);
        let header = random
            .times(number)
            .iter()
            .zip(random.addresses(number))
            .map(|(time, address)| hop(time, &address))
            .collect();
        let secret = random.key();
        let key = Key::from_bytes(secret.clone()).unwrap();
        let length = random.between(1, 60);
        let message = Message {
            signature: Signature::Unsigned,
            hops: Hops::new(header).unwrap(),
            body: random.bytes(length),
        };
        let mut wire = keys::sign_message(Scheme::Hmac, &key, message).write();
        let at = random.between(0, wire.len());
        // ASCII stays ASCII: a wide character inside a timestamp stops the reference for good.
        wire[at] ^= 1 << random.between(0, 7);
        if let Ok(read) = message::parse(&wire, &Limits::default()) {
            assert_eq!(keys::verify(&key, &read, Scheme::Hmac, false), Err(SignatureError::Wrong));
            read_by_us += 1;
        }
        if let Ok(read) = theirs::parse_message(&wire, &their_context(None)) {
            let payload = read.payload_without_signature_line();
            assert!(!read.signature.verifies(&payload, Some(&secret)));
            read_by_them += 1;
        }
    }
    println!(
        "of {MESSAGES} damaged messages we could read {read_by_us}, the reference {read_by_them}; none verified"
    );
    assert!(read_by_us > 500);
}

/// Where both differ on purpose: each row says who reads it.
#[test]
fn the_known_differences_are_these() {
    let line = "2008/09/01 00:00:53 http://a.example/";
    let rows: [(&str, Vec<u8>, bool, bool); 5] = [
        ("plain", format!("0\r\n{line}\r\n\r\n2\r\nhi").into(), true, true),
        (
            "a trailing point is a time by A2",
            "0\r\n2008/09/01 00:00:53. http://a.example/\r\n\r\n2\r\nhi".into(),
            true,
            false,
        ),
        (
            "an address is bytes by A2",
            b"0\r\n2008/09/01 00:00:53 caf\xe9\r\n\r\n2\r\nhi".to_vec(),
            true,
            false,
        ),
        (
            "nor need it be a good URL",
            "0\r\n2008/09/01 00:00:53 http://[/\r\n\r\n2\r\nhi".into(),
            true,
            false,
        ),
        ("a length with zeros has two spellings", format!("0\r\n{line}\r\n\r\n02\r\nhi").into(), false, true),
    ];
    for (name, wire, we, they) in rows {
        assert_eq!(message::parse(&wire, &Limits::default()).is_ok(), we, "{name}: we");
        assert_eq!(theirs::parse_message(&wire, &their_context(None)).is_ok(), they, "{name}: they");
    }
}
