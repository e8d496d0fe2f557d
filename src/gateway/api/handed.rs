//! What is said about something that was handed in.

use serde::{Deserialize, Serialize};

/// Result of [`Request::Deliver`](super::Request::Deliver) and
/// [`Request::Receive`](super::Request::Receive).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivered {
    /// SMTP reply code: 2xx taken, 4xx try again, 5xx refused.
    pub code: u16,
    /// The reply's text, with the enhanced status code.
    pub text: String,
    /// Public ids of the messages taken.
    pub ids: Vec<String>,
}

/// Result of [`Request::Filter`](super::Request::Filter).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Filtered {
    /// SMTP reply code: 2xx go on as said here, else nothing was done and the mail server keeps the
    /// mail.
    pub code: u16,
    /// The reply's text, with the enhanced status code.
    pub text: String,
    /// A header line to put above all others.
    pub stamp: Option<String>,
    /// The recipients to whom the mail is handed on.
    pub pass: Vec<String>,
}
