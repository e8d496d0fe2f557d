//! Messages made to attract: to be the best match of everybody's messages without saying anything.

use super::Chance;
use crate::distance::words;
use std::collections::HashMap;
use std::sync::Arc;

/// How long such a message is made, bytes: that of a long mail.
const LENGTH: usize = 16 * 1024;

/// What is made from a pool.
pub struct Attractors<'a> {
    texts: &'a [&'a [u8]],
    chance: Chance,
    /// The distinct words, in any order.
    dictionary: Vec<Vec<u8>>,
    /// The lines that stand in most messages.
    common: Vec<&'a [u8]>,
}

impl<'a> Attractors<'a> {
    /// Knows what an attacker knows: everything that is in the pool.
    #[must_use]
    pub fn new(texts: &'a [&'a [u8]], seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut known: HashMap<u64, Vec<u8>> = HashMap::new();
        let mut lines: HashMap<&[u8], usize> = HashMap::new();
        for text in texts {
            for word in words(text) {
                if let Some(bytes) = text.get(word.at) {
                    known.entry(word.hash).or_insert_with(|| bytes.to_vec());
                }
            }
            for line in text.split(|byte| *byte == b'\n').filter(|line| line.len() > 3) {
                *lines.entry(line).or_default() += 1;
            }
        }
        let mut dictionary: Vec<Vec<u8>> = known.into_values().collect();
        dictionary.sort();
        chance.shuffle(&mut dictionary);
        let mut common: Vec<(usize, &[u8])> = lines.into_iter().map(|(line, n)| (n, line)).collect();
        common.sort_by(|a, b| b.cmp(a));
        common.truncate(2000);
        let common = common.into_iter().map(|(_, line)| line).collect();
        Attractors { texts, chance, dictionary, common }
    }

    /// As many as are this percentage of the pool, of three kinds in turns: a piece of the
    /// dictionary of all words, the most common lines, and lines copied from the newest messages.
    #[must_use]
    pub fn share(mut self, percent: f64) -> Vec<Arc<[u8]>> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let number = (self.texts.len() as f64 * percent.clamp(0.0, 100.0) / 100.0).ceil() as usize;
        let mut next_word = 0;
        (0..number)
            .map(|n| match n % 3 {
                0 => self.dictionary(&mut next_word),
                1 => self.common(),
                _ => self.copies(),
            })
            .collect()
    }

    fn dictionary(&self, next: &mut usize) -> Arc<[u8]> {
        let mut text = Vec::new();
        for word in self.dictionary.iter().cycle().skip(*next % self.dictionary.len().max(1)) {
            text.extend_from_slice(word);
            text.push(b' ');
            *next += 1;
            if text.len() >= LENGTH {
                break;
            }
        }
        text.into()
    }

    fn common(&mut self) -> Arc<[u8]> {
        let mut lines = self.common.clone();
        self.chance.shuffle(&mut lines);
        joined(&lines)
    }

    fn copies(&mut self) -> Arc<[u8]> {
        let newest = self.texts.len() - self.texts.len() / 10;
        let recent = self.texts.get(newest.min(self.texts.len().saturating_sub(1))..).unwrap_or_default();
        let mut lines: Vec<&[u8]> = Vec::new();
        let mut length = 0;
        for _ in 0..10_000 {
            let Some(text) = self.chance.one(recent) else { break };
            let all: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
            if let Some(line) = self.chance.one(&all) {
                length += line.len() + 1;
                lines.push(line);
            }
            if length >= LENGTH {
                break;
            }
        }
        joined(&lines)
    }
}

fn joined(lines: &[&[u8]]) -> Arc<[u8]> {
    let mut text = Vec::new();
    for line in lines {
        if text.len() >= LENGTH {
            break;
        }
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_asked_for_and_they_hold_what_the_pool_holds() {
        let texts: Vec<Vec<u8>> =
            (0..100).map(|n| format!("word{n} thing\nkind regards\nline {n}\n").into_bytes()).collect();
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        let made = Attractors::new(&texts, 1).share(6.0);
        assert_eq!(made.len(), 6);
        let text = |n: usize| String::from_utf8_lossy(&made[n]).into_owned();
        assert!((0..100).all(|n| text(0).contains(&format!("word{n} "))), "{}", text(0));
        assert!(text(1).contains("kind regards\n"));
        assert!(text(2).contains("word9"), "{}", text(2));
        assert_eq!(made, Attractors::new(&texts, 1).share(6.0));
        assert!(made.iter().all(|text| text.len() < LENGTH + 100));
        assert!(Attractors::new(&[], 1).share(50.0).is_empty());
    }
}
