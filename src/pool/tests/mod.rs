//! Tests of the pool as a whole.

mod bounds;
mod near;
mod peers;

use super::*;

pub(super) fn address(text: &str) -> Address {
    Address::try_from(text).unwrap()
}

/// A public message of `author` that came through `sender`.
pub(super) fn entry(seq: i64, author: &str, sender: &str, body: &str) -> Entry {
    let (author, sender) = (address(author), address(sender));
    let mut hops = vec![sender.clone()];
    if author != sender {
        hops.push(author.clone());
    }
    Entry {
        seq,
        id: MessageId::from(seq.to_be_bytes()),
        body: body.as_bytes().into(),
        sender,
        hops,
        author,
        origin_time: UnixTime(seq),
        scope: Scope::Public,
        received: UnixTime(seq),
    }
}

pub(super) fn local(mut e: Entry) -> Entry {
    e.scope = Scope::Local;
    e
}

pub(super) const QUESTION: &[u8] = b"What is the largest planet?\n";

/// Numbers that look random and are always the same.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    /// Text of common English words in no order.
    pub(super) fn prose(&mut self, n: usize) -> String {
        let primer = String::from_utf8_lossy(crate::distance::PRIMER);
        let english: Vec<&str> = primer.lines().skip(7).flat_map(str::split_whitespace).collect();
        let sides = u64::try_from(english.len()).unwrap();
        let pick = |_| english[usize::try_from(self.roll(sides)).unwrap()];
        (0..n).map(pick).collect::<Vec<_>>().join(" ")
    }

    /// Text of invented words, the frequent ones short, as in a language.
    pub(super) fn text(&mut self, words: usize) -> String {
        let mut out = String::new();
        for _ in 0..words {
            let (a, b) = (self.roll(4000) + 1, self.roll(4000) + 1);
            let mut n = a * b / 4000;
            loop {
                out.push(char::from(b"etaoinsrhldcumfp"[usize::try_from(n % 16).unwrap()]));
                n /= 16;
                if n == 0 {
                    break;
                }
            }
            out.push(' ');
        }
        out
    }
}
