//! What a mail to a person says, as it waits in the queue: numbers of messages, never their text,
//! so that what is removed meanwhile is not sent.
//!
//! It knows the forms. It must never know how they are put into words.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::StoreError;
use crate::store::queue::Delivery;

/// A message that was found: its number, and the bits it saves and leaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hit {
    pub(super) seq: i64,
    pub(super) gain: f64,
    pub(super) one_sided: f64,
}

/// What a mail to a person says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub(super) enum Say {
    /// What is close to the post that the delivery is about.
    Posted {
        /// What was found then: a second answer does not repeat it.
        shown: Vec<i64>,
    },
    /// What came later and is close to the thread's post.
    Later {
        /// The newcomers, in the order in which they came.
        seqs: Vec<i64>,
    },
    /// These posts are public now.
    Published {
        /// Oldest first; none if nothing was left to publish.
        posts: Vec<i64>,
    },
    /// What is close to a text that is not stored.
    Found {
        /// The text's beginning. It is the asker's own, goes when the asker is removed, and is
        /// dropped as soon as the answer is sent.
        query: String,
        /// What is close to it.
        hits: Vec<Hit>,
    },
    /// One whole message.
    Whole {
        /// Which.
        seq: i64,
    },
    /// Nothing was stored.
    NotPosted {
        /// A sentence of ours.
        why: String,
        /// What else was not taken: `what`, a line end, `why`.
        ignored: Vec<String>,
    },
    /// How this works.
    Help,
    /// How the person stands.
    Status,
    /// No more mail.
    Stopped {
        /// How many threads were open.
        open: usize,
    },
    /// The only mail that says that there were too many.
    SlowDown,
}

impl Say {
    /// As it stands in the queue.
    pub(super) fn detail(&self) -> Result<Value, StoreError> {
        serde_json::to_value(self).map_err(|error| StoreError::Row(error.to_string()))
    }

    /// What a delivery says.
    pub(super) fn of(delivery: &Delivery) -> Option<Self> {
        Self::deserialize(delivery.detail.as_ref()?).ok()
    }
}
