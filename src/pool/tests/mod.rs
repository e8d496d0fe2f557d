//! Tests of the pool as a whole.

mod bounds;
mod hostile;
mod near;
mod peers;
mod written;

use super::*;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

/// A message with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mail {
    pub(super) entry: Entry,
    pub(super) body: Vec<u8>,
}

/// A pool, and the bodies that somebody else keeps for it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) pool: Pool,
    pub(super) bodies: HashMap<i64, Vec<u8>>,
}

impl Deref for Kept {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

impl DerefMut for Kept {
    fn deref_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }
}

impl Kept {
    pub(super) fn new(limits: Limits) -> Self {
        Kept { pool: Pool::new(limits), bodies: HashMap::new() }
    }

    pub(super) fn insert(&mut self, mail: Mail) -> Vec<i64> {
        let gone = self.pool.insert(&mail.entry, &mail.body);
        self.bodies.insert(mail.entry.seq, mail.body);
        gone
    }

    pub(super) fn restore(&mut self, mail: Mail) -> Vec<i64> {
        let gone = self.pool.restore(&mail.entry, &mail.body);
        self.bodies.insert(mail.entry.seq, mail.body);
        gone
    }

    pub(super) fn search(&self, query: &Query<'_>, n: usize) -> Vec<Scored> {
        self.pool.search(query, n, &|seq| self.bodies.get(&seq).cloned())
    }

    pub(super) fn nearest(&self, body: &[u8], audience: Audience<'_>, n: usize) -> Vec<Scored> {
        self.search(&Query::new(body, audience), n)
    }

    pub(super) fn excerpt(&self, seq: i64, x: &[u8], audience: Audience<'_>, max_chars: usize) -> String {
        self.pool.excerpt(seq, &self.bodies[&seq], x, audience, max_chars)
    }

    /// Removes all that is left of messages that are gone.
    pub(super) fn sweep_all(&mut self) {
        while self.pool.sweep() {}
    }
}

pub(super) fn address(text: &str) -> Address {
    Address::try_from(text).unwrap()
}

/// A public message of `author` that came through `sender`.
pub(super) fn entry(seq: i64, author: &str, sender: &str, body: &str) -> Mail {
    let (author, sender) = (address(author), address(sender));
    let mut hops = vec![sender.clone()];
    if author != sender {
        hops.push(author.clone());
    }
    let id = MessageId::from(seq.to_be_bytes());
    let entry = Entry { seq, id, sender, hops, author, scope: Scope::Public };
    Mail { entry, body: body.as_bytes().to_vec() }
}

pub(super) fn local(mut e: Mail) -> Mail {
    e.entry.scope = Scope::Local;
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
