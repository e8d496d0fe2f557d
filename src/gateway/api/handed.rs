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
