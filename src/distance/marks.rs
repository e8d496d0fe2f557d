//! Where words of a set stand in a text, for showing them.

use std::collections::HashSet;
use std::ops::Range;

use super::tokens::tokens;

/// The places of these words (by their hashes, see [`super::tokens()`]) in a text, in order;
/// neighbours that touch are one.
#[must_use]
pub fn marks(text: &str, words: &HashSet<u64>) -> Vec<Range<usize>> {
    let mut places: Vec<Range<usize>> = Vec::new();
    for token in tokens(text.as_bytes()).into_iter().filter(|token| words.contains(&token.hash)) {
        match places.last_mut() {
            Some(last) if token.start <= last.end => last.end = last.end.max(token.end),
            _ => places.push(token.start..token.end),
        }
    }
    places
}
