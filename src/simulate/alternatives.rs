//! Whom a message could go to instead, if its receiver does not want it.

use std::collections::VecDeque;

/// The peers that were not chosen, best first. Bounded, because each refusal costs a question.
#[derive(Clone, Debug, Default)]
pub(super) struct Alternatives(VecDeque<u32>);

impl Alternatives {
    /// At most so many of those.
    pub(super) fn new(ranked: impl IntoIterator<Item = u32>, most: usize) -> Self {
        Alternatives(ranked.into_iter().take(most).collect())
    }

    /// The next best one.
    pub(super) fn next(&mut self) -> Option<u32> {
        self.0.pop_front()
    }
}
