//! The resolver: which name servers are asked, and for how long.

use std::net::SocketAddr;
use std::time::Duration;

use mail_auth::MessageAuthenticator;
use mail_auth::hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use mail_auth::hickory_resolver::net::NetError;
use mail_auth::hickory_resolver::system_conf::read_system_conf;
use tokio::time::timeout;

/// Answers that are remembered, within their time to live.
const CACHED: u64 = 4096;

/// The longest time that an answer is remembered, whatever it says.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
#[error("the name servers of this system can't be told: {0}; name them in [authentication] dns")]
pub struct ResolverError(#[from] NetError);

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
        let (config, mut options) = if servers.is_empty() {
            read_system_conf()?
        } else {
            let servers = servers.iter().map(|at| {
                let [mut udp, mut tcp] = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                (udp.port, tcp.port) = (at.port(), at.port());
                NameServerConfig::new(at.ip(), true, vec![udp, tcp])
            });
            (ResolverConfig::from_name_servers(servers.collect()), ResolverOpts::default())
        };
        // One lost datagram shall not cost the answer.
        options.timeout = deadline / 3;
        options.attempts = 2;
        options.cache_size = CACHED;
        options.positive_max_ttl = Some(REMEMBERED);
        options.negative_max_ttl = Some(REMEMBERED);
        // A name means what the DNS says, not what this machine's files say.
        options.use_hosts_file = mail_auth::hickory_resolver::config::ResolveHosts::Never;
        let whole = ResolverConfig::from_parts(None, Vec::new(), config.name_servers().to_vec());
        Ok(Authenticator(MessageAuthenticator::new(whole, options)?))
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
