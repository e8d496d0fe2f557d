//! What happened to a message, and to a delivery.

use serde::{Deserialize, Serialize};

/// Result of [`Request::Trace`](super::Request::Trace).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// Public id of the message.
    pub id: String,
    /// Oldest first.
    pub events: Vec<TraceEvent>,
}

/// One thing that happened to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEvent {
    /// When, RFC 3339.
    pub time: String,
    /// `received`, `held`, `decided`, `not decided`, `held by`, `dropped`; of a delivery `queued`,
    /// `sent`, `not sent yet`, `given up`, `over`.
    pub what: String,
    /// The number of the delivery that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<i64>,
    /// In a sentence.
    pub said: String,
}

/// One attempt at a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// When it ended, RFC 3339.
    pub time: String,
    /// `sent`, `again` or `failed`.
    pub ended: String,
    /// The next hop's reply, or what went wrong.
    pub said: String,
    /// What was said on the connection, a line each, without what a login or the mail holds; empty
    /// if it was sent, or nothing was said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub transcript: String,
}
