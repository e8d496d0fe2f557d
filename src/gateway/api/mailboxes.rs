//! What the verbs are told about mailboxes that are read.

use serde::{Deserialize, Serialize};

/// One mailbox of [`Status`](super::Status).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxView {
    /// What it is called in the configuration.
    pub account: String,
    /// The folder.
    pub folder: String,
    /// `new`: never looked at; `idle`: the server tells when mail comes; `polled`; `failing`.
    pub state: String,
    /// When the folder was looked through for the last time, RFC 3339, or empty.
    pub last_success: String,
    /// When it is looked at again at the latest, RFC 3339, or empty.
    pub next_try: String,
    /// How long the last mail that was taken had been in the mailbox; mails have whole seconds.
    pub lag_milliseconds: Option<u64>,
    /// Mails, at most, that have not been looked at.
    pub behind: u64,
    /// Mails that were left because they are larger than max_message.
    pub too_large: u64,
    /// What is wrong, or empty.
    pub error: String,
    /// Since when, RFC 3339, or empty.
    pub error_since: String,
}

/// Result of [`Request::Poll`](super::Request::Poll), a list: one for each mailbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolledView {
    /// What it is called in the configuration.
    pub account: String,
    /// Mails that were taken.
    pub taken: u64,
    /// Mails that are not for us.
    pub left: u64,
    /// Mails that are put off.
    pub put_off: u64,
    /// What is wrong, or empty.
    pub error: String,
}
