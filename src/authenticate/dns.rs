//! The authenticator: whom it asks about signatures and senders.

use std::net::SocketAddr;
use std::time::Duration;

use mail_auth::MessageAuthenticator;
use tokio::time::timeout;

pub use crate::dns::ResolverError;

/// Looks into the DNS, and remembers what it was told. Clones share what they remember.
#[derive(Clone)]
pub struct Authenticator(pub(super) MessageAuthenticator);

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Asks these name servers, or those of the system if there are none here. Nothing is sent yet.
    ///
    /// # Errors
    /// The system's name servers can't be told.
    pub fn new(servers: &[SocketAddr], deadline: Duration) -> Result<Self, ResolverError> {
        let (config, options) = crate::dns::settings(servers, deadline)?;
        Ok(Authenticator(MessageAuthenticator::new(config, options)?))
    }

    /// Whether a name server answers, about whatever name.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn answers(&self, name: &str, deadline: Duration) -> Result<(), String> {
        let asked = format!("{}.", name.trim_end_matches('.'));
        match timeout(deadline, self.0.resolver().txt_lookup(asked)).await {
            Ok(Ok(_)) => Ok(()),
            // "There is no such record" is an answer.
            Ok(Err(error)) if error.is_no_records_found() || error.is_nx_domain() => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", deadline.as_millis())),
        }
    }
}
