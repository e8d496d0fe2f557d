//! What keeps a listener from starting.

use std::net::SocketAddr;

use thiserror::Error;

/// Why an address can't be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: std::io::Error,
}
