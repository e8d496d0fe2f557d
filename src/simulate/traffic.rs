//! What people post, and when.

use std::collections::HashMap;
use std::sync::Arc;

use crate::evaluate::{Chance, Doc};
use crate::message::UnixTime;

/// A post.
#[derive(Clone, Debug)]
pub struct Post {
    /// Who wrote it: a number below [`Traffic::authors`].
    pub author: u32,
    /// When.
    pub at: UnixTime,
    /// Its thread; none for spam.
    pub thread: Option<u32>,
    /// The body of its message.
    pub text: Arc<[u8]>,
}

/// Posts in the order of their time.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// All of them.
    pub posts: Vec<Post>,
    /// How many people write.
    pub authors: usize,
}

impl Traffic {
    /// Of mails in the order of their dates, and the thread of each. A mail without a date comes
    /// with the one before it; one without an author is by somebody of its own.
    #[must_use]
    pub fn new(mails: &[Doc], threads: &[u32]) -> Traffic {
        let mut known: HashMap<&str, u32> = HashMap::new();
        let mut authors = 0_u32;
        let mut last = UnixTime(0);
        let posts = mails
            .iter()
            .zip(threads)
            .filter(|(mail, _)| !mail.text.is_empty())
            .map(|(mail, thread)| {
                last = mail.date.unwrap_or(last).max(last);
                let mut somebody = || {
                    authors += 1;
                    authors - 1
                };
                let author = if mail.author.is_empty() {
                    somebody()
                } else {
                    *known.entry(&mail.author).or_insert_with(somebody)
                };
                Post { author, at: last, thread: Some(*thread), text: Arc::clone(&mail.text) }
            })
            .collect();
        Traffic { posts, authors: authors as usize }
    }

    /// The same traffic with spam in it: so large a share of all posts, each by somebody new, made
    /// of lines of the last posts (`copies`) or of any.
    #[must_use]
    pub fn with_spam(&self, share: f64, copies: bool, seed: u64) -> Traffic {
        const LATEST: usize = 50;
        if share <= 0.0 {
            return self.clone();
        }
        let mut chance = Chance::new(seed ^ 0x5bd1_e995);
        let mut mixed = Traffic { posts: Vec::with_capacity(self.posts.len() * 2), authors: self.authors };
        let mut owed = 0.0;
        for (at, post) in self.posts.iter().enumerate() {
            mixed.posts.push(post.clone());
            owed += share / (1.0 - share);
            while owed >= 1.0 {
                owed -= 1.0;
                let from = if copies { (at + 1).saturating_sub(LATEST) } else { 0 };
                let latest = self.posts.get(from..=at).unwrap_or_default();
                let author = u32::try_from(mixed.authors).unwrap_or(u32::MAX);
                mixed.authors += 1;
                let text = pieced(latest, post.text.len(), &mut chance);
                mixed.posts.push(Post { author, at: post.at, thread: None, text });
            }
        }
        mixed
    }

    /// The first `most` posts.
    #[must_use]
    pub fn first(mut self, most: usize) -> Traffic {
        self.posts.truncate(most);
        self
    }
}

/// A text of so many bytes, of lines of these.
fn pieced(of: &[Post], length: usize, chance: &mut Chance) -> Arc<[u8]> {
    let mut text = Vec::with_capacity(length + 200);
    while text.len() < length {
        let Some(post) = chance.one(of) else { break };
        let lines: Vec<&[u8]> = post.text.split_inclusive(|byte| *byte == b'\n').collect();
        let Some(line) = chance.one(&lines) else { break };
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    Arc::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(author: &str, seconds: Option<i64>) -> Doc {
        Doc {
            text: Arc::from(&b"one line\nanother line\n"[..]),
            author: author.to_owned(),
            date: seconds.map(UnixTime::from_secs),
            ..Doc::default()
        }
    }

    #[test]
    fn people_and_times() {
        let mails =
            [mail("a", Some(5)), mail("b", None), mail("", Some(9)), mail("a", Some(7)), mail("", Some(11))];
        let traffic = Traffic::new(&mails, &[0, 0, 2, 2, 4]);
        let found: Vec<_> =
            traffic.posts.iter().map(|post| (post.author, post.at.as_secs(), post.thread)).collect();
        assert_eq!(
            found,
            [(0, 5, Some(0)), (1, 5, Some(0)), (2, 9, Some(2)), (0, 9, Some(2)), (3, 11, Some(4))]
        );
        assert_eq!(traffic.authors, 4);
    }

    #[test]
    fn spam_has_its_share_and_nobody_s_name() {
        let mails: Vec<Doc> = (0..800).map(|at| mail("a", Some(at))).collect();
        let threads: Vec<u32> = (0..800).collect();
        let traffic = Traffic::new(&mails, &threads);
        for copies in [false, true] {
            let mixed = traffic.with_spam(0.2, copies, 7);
            let spam = mixed.posts.iter().filter(|post| post.thread.is_none()).count();
            assert!((195..=200).contains(&spam), "{spam}");
            assert_eq!(mixed.posts.len(), 800 + spam);
            assert_eq!(mixed.authors, 1 + spam);
            assert!(mixed.posts.is_sorted_by_key(|post| post.at));
        }
        assert_eq!(traffic.with_spam(0.0, true, 7).posts.len(), 800);
    }
}
