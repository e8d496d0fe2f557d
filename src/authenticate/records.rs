//! Records about our own names, as others see them: what `check` looks at.

use std::net::IpAddr;
use std::time::Duration;

use mail_auth::SpfResult;
use mail_auth::hickory_resolver::net::NetError;
use mail_auth::hickory_resolver::proto::rr::{RData, RecordType};
use mail_auth::spf::verify::SpfParameters;
use tokio::time::timeout;

use super::Authenticator;

/// What a question came to: the records (none is an answer, too), or why there is no answer.
pub type Answer<T> = Result<Vec<T>, String>;

/// What SPF says of a client (RFC 7208, section 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfWord {
    /// It may send.
    Pass,
    /// It may not, or probably not.
    Fail,
    /// The record says nothing of it.
    Neutral,
    /// There is no record.
    None,
    /// The record can't be used.
    Broken,
    /// The DNS did not answer.
    Unknown,
}

impl Authenticator {
    /// The TXT records of a name, each in one piece.
    pub async fn texts(&self, name: &str, within: Duration) -> Answer<String> {
        self.records(name, RecordType::TXT, within, |data| match data {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        })
        .await
    }

    /// The MX records of a domain, the first choice first: preference and host, without the last dot.
    /// An empty host is the null MX of RFC 7505.
    pub async fn exchangers(&self, domain: &str, within: Duration) -> Answer<(u16, String)> {
        let found = self.records(domain, RecordType::MX, within, |data| match data {
            RData::MX(mx) => Some((mx.preference, plain(&mx.exchange.to_utf8()))),
            _ => None,
        });
        let mut found = found.await?;
        found.sort();
        Ok(found)
    }

    /// The addresses of a host.
    pub async fn addresses(&self, host: &str, within: Duration) -> Answer<IpAddr> {
        let take = |data: &RData| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        };
        let four = self.records(host, RecordType::A, within, take);
        let six = self.records(host, RecordType::AAAA, within, take);
        let (four, six) = tokio::join!(four, six);
        match (four, six) {
            (Err(why), Err(_)) => Err(why),
            (four, six) => Ok(four.unwrap_or_default().into_iter().chain(six.unwrap_or_default()).collect()),
        }
    }

    /// The names that an address has (PTR), without the last dot.
    pub async fn names_of(&self, address: IpAddr, within: Duration) -> Answer<String> {
        self.records(&reverse(address), RecordType::PTR, within, |data| match data {
            RData::PTR(name) => Some(plain(&name.0.to_utf8())),
            _ => None,
        })
        .await
    }

    /// Whether this client may send for this sender, who greets as `host`.
    pub async fn spf_word(&self, client: IpAddr, host: &str, sender: &str, within: Duration) -> SpfWord {
        let asked = self.0.verify_spf(SpfParameters::verify_mail_from(client, host, host, sender));
        match timeout(within, asked).await.map(|output| output.result()) {
            Ok(SpfResult::Pass) => SpfWord::Pass,
            Ok(SpfResult::Fail | SpfResult::SoftFail) => SpfWord::Fail,
            Ok(SpfResult::Neutral) => SpfWord::Neutral,
            Ok(SpfResult::None) => SpfWord::None,
            Ok(SpfResult::PermError) => SpfWord::Broken,
            Ok(SpfResult::TempError) | Err(_) => SpfWord::Unknown,
        }
    }

    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        within: Duration,
        take: impl Fn(&RData) -> Option<T>,
    ) -> Answer<T> {
        let asked = format!("{}.", name.trim_end_matches('.'));
        match timeout(within, self.0.resolver().lookup(asked, kind)).await {
            Ok(Ok(found)) => Ok(found.answers().iter().filter_map(|record| take(&record.data)).collect()),
            Ok(Err(error)) if is_none(&error) => Ok(Vec::new()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", within.as_millis())),
        }
    }
}

/// "There is no such record" is an answer.
fn is_none(error: &NetError) -> bool {
    error.is_no_records_found() || error.is_nx_domain()
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The name under which the names of an address stand (RFC 1035, section 3.5; RFC 3596, section 2.5).
pub fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(four) => {
            let [a, b, c, d] = four.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(six) => {
            let nibbles = six.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_backwards() {
        let of = |text: &str| reverse(text.parse().unwrap());
        assert_eq!(of("192.0.2.7"), "7.2.0.192.in-addr.arpa");
        assert_eq!(
            of("2001:db8::1"),
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}
