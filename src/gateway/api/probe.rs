//! How a probe of the relay is doing.

use serde::{Deserialize, Serialize};

/// Result of [`Request::ProbeRelay`](super::Request::ProbeRelay).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RelayProbe {
    /// What names the probe.
    pub token: String,
    /// Where to send it, by way of the relay.
    pub to: String,
    /// The envelope's sender.
    pub from: String,
    /// The mail, base64.
    pub mail: String,
    /// `sent`; `waiting`: it has not come yet; `removed`, `kept`: what the relay did; `gone`.
    pub state: String,
}
