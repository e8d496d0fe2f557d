//! What keeps a listener from starting.

use std::net::SocketAddr;
use std::path::PathBuf;

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

/// Why certificate and key can't be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key is in another format.
    #[error(
        "{path} holds no PKCS#8 key (-----BEGIN PRIVATE KEY-----); convert it with: \
         openssl pkcs8 -topk8 -nocrypt -in {path} -out NEW"
    )]
    NotPkcs8 {
        /// The key's file.
        path: PathBuf,
    },
    /// The TLS library refuses them.
    #[error("cannot use {certificate} with {key}: {source}")]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the TLS library said.
        source: native_tls::Error,
    },
    /// They do not belong together, or the certificate is of no use to a server.
    #[error("a handshake with {certificate} and {key} fails: does the key belong to it?")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}
