//! What a network of real gateways did, in a form that can be replayed: one JSON object in each line.
//!
//! `{"network":…}` says with which numbers it ran, `{"gateway":…}` who was there, `{"post":…}` who wrote
//! what where and when, `{"transfer":…}` who sent what to whom and what came of it, `{"reached":…}` which
//! post reached which author. Gateways, authors and posts are numbered from 0, in the order of their
//! lines.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::scenario::{Routing, Scenario};
use super::score::{Row, Score};
use super::traffic::{Post, Traffic};
use crate::message::UnixTime;

/// With which numbers a network ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// Most messages in a gateway's pool.
    pub cache: usize,
    /// How long a transfer took, in milliseconds: at least and at most.
    pub latency_ms: [u64; 2],
    /// The `[routing]` section.
    pub routing: Routing,
}

/// A gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// The transport that others reach it by.
    pub transport: String,
    /// Whether it can be asked what it has before something is sent.
    pub asked: bool,
    /// Whom it knows from the start.
    pub knows: Vec<u32>,
}

/// A post.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posted {
    /// When, in microseconds since 1970.
    pub at: i64,
    /// Who wrote it.
    pub author: u32,
    /// The gateway that took it from its author.
    pub home: u32,
    /// Its thread; none for spam.
    pub thread: Option<u32>,
    /// What was posted.
    pub text: String,
}

/// Why something was sent to another gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// A step of a walk.
    Walk,
    /// A match of a message, to the gateway that took the message from its author.
    Match,
    /// A message, to the gateway that took a match of it from its author.
    Matched,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// It was taken.
    Taken,
    /// It was sent, and was there already.
    Known,
    /// It was there already, and so was not sent.
    Asked,
    /// It did not get there.
    Lost,
}

/// One message on its way to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// When it was over, in microseconds since 1970.
    pub at: i64,
    /// From this gateway.
    pub from: u32,
    /// To that one.
    pub to: u32,
    /// Which post.
    pub post: u32,
    /// Why.
    pub cause: Cause,
    /// What came of it.
    pub ended: Ended,
    /// How often it was tried.
    pub attempts: u32,
}

/// A post that an author got: in the answer to a post, or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    /// The author.
    pub author: u32,
    /// The post of somebody else.
    pub post: u32,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Network(Numbers),
    Gateway(Seat),
    Post(Posted),
    Transfer(Sent),
    Reached(Reached),
}

/// What a network did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// With which numbers.
    pub numbers: Numbers,
    /// Who was there.
    pub gateways: Vec<Seat>,
    /// What was posted.
    pub posts: Vec<Posted>,
    /// What was sent.
    pub transfers: Vec<Sent>,
    /// What reached whom.
    pub reached: Vec<Reached>,
}

/// Why a text is no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A line that is not one of the objects.
    #[error("line {0}: {1}")]
    Line(usize, String),
    /// There is nothing to replay.
    #[error("there is no gateway, or no post")]
    Empty,
    /// Something names a gateway or a post that there is not.
    #[error("a {0} names a gateway or a post that there is not")]
    Unknown(&'static str),
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Trace, TraceError> {
        let mut trace = Trace::default();
        for (number, line) in text.lines().enumerate() {
            let line = serde_json::from_str(line).map_err(|e| TraceError::Line(number + 1, e.to_string()))?;
            match line {
                Line::Network(numbers) => trace.numbers = numbers,
                Line::Gateway(seat) => trace.gateways.push(seat),
                Line::Post(post) => trace.posts.push(post),
                Line::Transfer(sent) => trace.transfers.push(sent),
                Line::Reached(reached) => trace.reached.push(reached),
            }
        }
        trace.check()?;
        Ok(trace)
    }

    fn check(&self) -> Result<(), TraceError> {
        if self.gateways.is_empty() || self.posts.is_empty() {
            return Err(TraceError::Empty);
        }
        let gateway = |number: &u32| (*number as usize) < self.gateways.len();
        let post = |number: u32| (number as usize) < self.posts.len();
        let sure = |good: bool, what| if good { Ok(()) } else { Err(TraceError::Unknown(what)) };
        sure(self.gateways.iter().all(|seat| seat.knows.iter().all(gateway)), "gateway")?;
        // No more authors than posts: each has written one.
        sure(self.posts.iter().all(|it| gateway(&it.home) && post(it.author)), "post")?;
        let known = |it: &Sent| gateway(&it.from) && gateway(&it.to) && post(it.post);
        sure(self.transfers.iter().all(known), "transfer")?;
        sure(self.reached.iter().all(|it| post(it.author) && post(it.post)), "line about what reached whom")
    }

    /// The trace as text.
    ///
    /// # Errors
    /// Never in practice: every value of it is JSON.
    pub fn write(&self) -> serde_json::Result<String> {
        let mut text = String::new();
        let network = std::iter::once(Line::Network(self.numbers.clone()));
        let gateways = self.gateways.iter().cloned().map(Line::Gateway);
        let posts = self.posts.iter().cloned().map(Line::Post);
        let transfers = self.transfers.iter().copied().map(Line::Transfer);
        let reached = self.reached.iter().copied().map(Line::Reached);
        for line in network.chain(gateways).chain(posts).chain(transfers).chain(reached) {
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
        }
        Ok(text)
    }

    /// What people posted.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let authors = self.posts.iter().map(|post| post.author as usize + 1).max().unwrap_or(0);
        let post = |it: &Posted| Post {
            author: it.author,
            at: UnixTime(it.at),
            thread: it.thread,
            text: Arc::from(it.text.as_bytes()),
        };
        Traffic { posts: self.posts.iter().map(post).collect(), authors }
    }

    /// A network like the one that was traced. A gateway asks nobody else if a peer has a
    /// message already or does not answer, its limits are not simulated, and its clock is that of its machine.
    pub(super) fn scenario(&self, seed: u64) -> Scenario {
        Scenario {
            gateways: self.gateways.len(),
            seed,
            cache: self.numbers.cache.max(1),
            latency_ms: self.numbers.latency_ms,
            skew_s: 0,
            alternatives: 0,
            routing: self.numbers.routing.clone(),
            ..Scenario::default()
        }
    }

    /// The figures of the network itself.
    pub(super) fn row(&self, traffic: &Traffic) -> Row {
        let mut score = Score::default();
        for reached in &self.reached {
            score.deliver(reached.author, reached.post);
        }
        let mut visited: Vec<usize> = vec![0; self.gateways.len()];
        let mut visits = |gateway: u32| {
            if let Some(number) = visited.get_mut(gateway as usize) {
                *number += 1;
            }
        };
        self.posts.iter().for_each(|post| visits(post.home));
        for sent in &self.transfers {
            match sent.ended {
                Ended::Taken => {
                    visits(sent.to);
                    score.bodies += 1;
                }
                Ended::Known => score.bodies += 1,
                Ended::Asked => score.offers += 1,
                Ended::Lost => {}
            }
        }
        let mut row = Row { policy: "trace".to_owned(), ..Row::default() };
        score.judge(traffic, &mut row);
        row.loads(visited, self.posts.len());
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Trace {
        let seat = |knows| Seat { transport: "http".to_owned(), asked: true, knows };
        let post =
            |author, home| Posted { at: 5, author, home, thread: Some(0), text: "a\n\"b\"".to_owned() };
        let sent =
            |to, post, ended| Sent { at: 6, from: 0, to, post, cause: Cause::Walk, ended, attempts: 1 };
        Trace {
            numbers: Numbers { cache: 10, latency_ms: [1, 9], routing: Routing::default() },
            gateways: vec![seat(vec![1]), seat(vec![0])],
            posts: vec![post(0, 0), post(1, 1)],
            transfers: vec![sent(1, 0, Ended::Taken), sent(1, 0, Ended::Asked), sent(1, 1, Ended::Known)],
            reached: vec![Reached { author: 1, post: 0 }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let trace = small();
        let text = trace.write().unwrap();
        assert_eq!(text.lines().count(), 9);
        assert_eq!(Trace::parse(&text), Ok(trace));
    }

    #[test]
    fn the_figures_of_a_trace() {
        let trace = small();
        let row = trace.row(&trace.traffic());
        assert_eq!((row.recall, row.precision), (0.5, 1.0));
        assert_eq!((row.bodies_per_post, row.offers_per_post), (1.0, 0.5));
        assert_eq!(row.load, [2, 1]);
    }

    #[test]
    fn what_is_no_trace() {
        let text = small().write().unwrap();
        for (text, said) in [
            (String::new(), "no gateway"),
            ("{}".to_owned(), "line 1: "),
            (text.replace("\"walk\"", "\"run\""), "line 6: "),
            (text.replace("\"to\":1", "\"to\":2"), "a transfer names"),
            (text.replace("\"home\":1", "\"home\":2"), "a post names"),
            (text.replace("\"knows\":[1]", "\"knows\":[7]"), "a gateway names"),
            (text.replace("\"author\":1,\"post\":0", "\"author\":1,\"post\":2"), "what reached whom names"),
        ] {
            let error = Trace::parse(&text).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
