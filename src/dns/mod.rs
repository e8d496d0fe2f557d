//! Name servers: which are asked and for how long, and what they say about the hosts of a mail domain.
//!
//! It knows the DNS. It must never know what an answer is good for: who is believed, and who may be
//! connected to, others decide.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, Record};
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::timeout;

/// Answers that are remembered, within their time to live.
const CACHED: u64 = 4096;

/// The longest time that an answer is remembered, whatever it says.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
#[error("the name servers of this system can't be told: {0}; name them in [authentication] dns")]
pub struct ResolverError(#[from] NetError);

/// Who is asked, and how.
///
/// # Errors
/// The system's name servers can't be told.
pub fn settings(
    servers: &[SocketAddr],
    deadline: Duration,
) -> Result<(ResolverConfig, ResolverOpts), ResolverError> {
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
    options.use_hosts_file = ResolveHosts::Never;
    let whole = ResolverConfig::from_parts(None, Vec::new(), config.name_servers().to_vec());
    Ok((whole, options))
}

/// Why the DNS says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookUpError {
    /// There is no such name.
    #[error("there is no such domain")]
    NoName,
    /// No name server answered, or not to the question.
    #[error("no answer from the DNS: {0}")]
    Trouble(String),
}

/// Asks about the hosts of mail domains. Clones share what they remember.
#[derive(Clone)]
pub struct Resolver {
    asked: TokioResolver,
    deadline: Duration,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// Asks these name servers, or those of the system if there are none here. Nothing is sent yet.
    /// `deadline`: for one question.
    ///
    /// # Errors
    /// The system's name servers can't be told.
    pub fn new(servers: &[SocketAddr], deadline: Duration) -> Result<Self, ResolverError> {
        let (config, options) = settings(servers, deadline)?;
        let asked = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()?;
        Ok(Resolver { asked, deadline })
    }

    /// The MX records of a domain (RFC 5321, section 5.1) as preference and host, without dots at the
    /// end; none if it has none.
    ///
    /// # Errors
    /// The domain does not exist, or nobody says.
    pub async fn mail_hosts(&self, domain: &str) -> Result<Vec<(u16, String)>, LookUpError> {
        let found = self.within(self.asked.mx_lookup(whole(domain))).await?;
        let host = |record: &Record| match &record.data {
            RData::MX(mx) => {
                Some((mx.preference, mx.exchange.to_ascii().trim_end_matches('.').to_ascii_lowercase()))
            }
            _ => None,
        };
        Ok(found.iter().filter_map(host).collect())
    }

    /// The IP addresses of a host, IPv4 first; none if it has none, or does not exist.
    ///
    /// # Errors
    /// Nobody says.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookUpError> {
        let (v4, v6) = tokio::join!(
            self.within(self.asked.ipv4_lookup(whole(host))),
            self.within(self.asked.ipv6_lookup(whole(host)))
        );
        let mut found = Vec::new();
        let mut trouble = None;
        for answer in [v4, v6] {
            match answer {
                Ok(records) => found.extend(records.iter().filter_map(|record| match &record.data {
                    RData::A(ip) => Some(IpAddr::V4(ip.0)),
                    RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
                    _ => None,
                })),
                Err(LookUpError::NoName) => {}
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    async fn within(
        &self,
        look_up: impl Future<Output = Result<hickory_resolver::lookup::Lookup, NetError>>,
    ) -> Result<Vec<Record>, LookUpError> {
        match timeout(self.deadline, look_up).await {
            Ok(Ok(found)) => Ok(found.answers().to_vec()),
            Ok(Err(error)) if error.is_nx_domain() => Err(LookUpError::NoName),
            Ok(Err(error)) if error.is_no_records_found() && !is_trouble(&error) => Ok(Vec::new()),
            Ok(Err(error)) => Err(LookUpError::Trouble(error.to_string())),
            Err(_) => Err(LookUpError::Trouble(format!("nothing within {} s", self.deadline.as_secs_f32()))),
        }
    }
}

/// Whether "no records" is a name server's word that it can't tell.
fn is_trouble(error: &NetError) -> bool {
    use hickory_resolver::net::DnsError;
    use hickory_resolver::proto::op::ResponseCode;
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => none.response_code != ResponseCode::NoError,
        _ => false,
    }
}

/// A name that no search list is added to.
fn whole(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}
