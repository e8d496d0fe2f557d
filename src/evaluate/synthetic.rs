//! More mails than there are: recombined ones, for measuring time and memory at sizes for which
//! no real mails are at hand. They say nothing about accuracy.

use super::{Chance, Doc};
use std::sync::Arc;

/// Mails made of runs of lines of different real mails.
pub struct Recombined<'a> {
    real: &'a [Doc],
    chance: Chance,
}

impl<'a> Recombined<'a> {
    /// From these.
    #[must_use]
    pub fn new(real: &'a [Doc], seed: u64) -> Self {
        Recombined { real, chance: Chance::new(seed) }
    }
}

impl Iterator for Recombined<'_> {
    type Item = Doc;

    /// As long as one real mail, by the author of a second, in runs of one to four lines of others.
    /// After every third line stands a word that is new, because real mails never stop bringing such
    /// (names, numbers, identifiers).
    fn next(&mut self) -> Option<Doc> {
        let length = self.chance.one(self.real)?.text.len();
        let author = self.chance.one(self.real)?.author.clone();
        let mut text = Vec::with_capacity(length + 200);
        while text.len() < length {
            let from = self.chance.one(self.real)?;
            let lines: Vec<&[u8]> = from.text.split_inclusive(|byte| *byte == b'\n').collect();
            let start = self.chance.below(lines.len());
            let run = 1 + self.chance.below(4);
            for line in lines.into_iter().skip(start).take(run) {
                text.extend_from_slice(line);
                if self.chance.below(3) == 0 {
                    let number = self.chance.number() % 100_000_000;
                    text.extend_from_slice(format!("q{number:x}\n").as_bytes());
                }
            }
            text.push(b'\n');
        }
        Some(Doc { text: Arc::from(text), author, readable: true, ..Doc::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_like_the_real_ones_and_can_be_repeated() {
        let real: Vec<Doc> = (0..50)
            .map(|n| {
                let text: String = (0..n + 5).map(|line| format!("mail {n} line {line}\n")).collect();
                Doc { text: Arc::from(text.into_bytes()), author: n.to_string(), ..Doc::default() }
            })
            .collect();
        let made: Vec<Doc> = Recombined::new(&real, 1).take(200).collect();
        assert_eq!(made.len(), 200);
        let mean = |docs: &[Doc]| docs.iter().map(|doc| doc.text.len()).sum::<usize>() / docs.len();
        let (a, b) = (mean(&real), mean(&made));
        assert!(b > a / 2 && b < a * 2, "{a} {b}");
        let again: Vec<Doc> = Recombined::new(&real, 1).take(200).collect();
        assert!(
            made.iter().zip(&again).all(|(one, other)| one.text == other.text && one.author == other.author)
        );
        assert!(Recombined::new(&[], 1).next().is_none());
    }
}
