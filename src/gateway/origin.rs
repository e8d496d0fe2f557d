//! Where a mail is from: what the DNS, its signatures and its relay say about its author, asked
//! before the mail is judged; and the probe that shows whether a relay may be believed.
//!
//! It knows the configuration, the arrival and what a probe has shown. It must never know what is
//! in a mail beyond its header.

use std::collections::BTreeSet;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::api::RelayProbe;
use super::{Gateway, LONG_MAIL, clock, people as names, tags};
use crate::authenticate::{Authenticator, Finding, Question};
use crate::config::{Config, Imap};
use crate::mail::{self, AuthResults};
use crate::message::UnixTime;
use crate::policy;
use crate::receive::{Arrival, Via};
use crate::store::{StoreError, meta};

/// What begins the tag of the address that a probe is sent to.
const PROBE_TAG: &str = "probe-";

/// A probe is waited for this long.
const PROBE_GOOD: std::time::Duration = std::time::Duration::from_secs(3600);

/// Where the token of the present probe is kept, and when it was made or what it has shown.
const PROBE: &str = "relay_probe";

/// What a probe has shown: the forged results were taken away, or not.
const REMOVED: &str = "removed";
const KEPT: &str = "kept";

/// Where it is kept what the last probe of a mailbox has shown, before the name of its account.
const PROBED_MAILBOX: &str = "mailbox_probed ";

/// Where it is kept what the probes have shown.
const PROBED: &str = "relay_probed";

/// Relays whose probes are remembered, the latest ones.
const PROBED_RELAYS: usize = 64;

/// What the last probe that came back by one relay has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// When.
    pub at: UnixTime,
    /// The authserv-id whose forgeries were tried.
    pub authserv_id: String,
    /// The relay, by the address that it connects from.
    pub relay: IpAddr,
    /// What was tried is gone.
    pub removed: bool,
}

impl Probed {
    /// What the probes have shown about each relay that this configuration lists, the latest first.
    ///
    /// # Errors
    /// Those of any read.
    pub fn all(conn: &Connection, config: &Config) -> Result<Vec<Probed>, StoreError> {
        let mut probed = remembered(conn)?;
        probed.retain(|it| {
            let listed = config.smtp.relays.iter().any(|relay| relay.contains(&it.relay));
            listed && it.authserv_id == config.smtp.authserv_id
        });
        Ok(probed)
    }
}

/// What the last probe of a mailbox has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedMailbox {
    /// When.
    pub at: UnixTime,
    /// The authserv-id whose forgeries were tried.
    pub authserv_id: String,
    /// The mailbox's server.
    pub host: String,
    /// What was tried is gone.
    pub removed: bool,
}

impl ProbedMailbox {
    /// What the last probe has shown, if it is the same mailbox still.
    ///
    /// # Errors
    /// Those of any read.
    pub fn last(conn: &Connection, account: &Imap) -> Result<Option<Self>, StoreError> {
        let text: Option<String> = meta::get(conn, &format!("{PROBED_MAILBOX}{}", account.name))?;
        let probed: Option<Self> = text.and_then(|text| serde_json::from_str(&text).ok());
        let same =
            |it: &Self| account.authserv_id.as_ref() == Some(&it.authserv_id) && it.host == account.host;
        Ok(probed.filter(same))
    }
}

fn remembered(conn: &Connection) -> Result<Vec<Probed>, StoreError> {
    let text: Option<String> = meta::get(conn, PROBED)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// The resolver that this configuration asks for.
pub(super) fn authenticator(config: &Config) -> Option<Authenticator> {
    let asked = &config.authentication;
    if !asked.verify {
        return None;
    }
    Authenticator::new(&asked.dns, asked.deadline)
        .inspect_err(|error| warn!("nobody's mail can be verified: {error}"))
        .ok()
}

impl Gateway {
    /// Finds out who wrote a mail, where more than a look at its client is needed.
    /// `mailbox`: the account in whose folder the mail was found.
    pub(super) async fn examine(&self, config: &Config, arrival: &Arrival, mailbox: Option<&str>) -> Finding {
        let bare = matches!(arrival.via, Via::Bare | Via::Http | Via::Udp);
        let Some(authenticator) = self.0.authenticator.clone().filter(|_| !bare) else {
            return Finding::none();
        };
        if policy::is_trusted(arrival.peer, &config.smtp.trusted_networks) {
            return Finding::none();
        }
        let believed = arrival.relay.is_some_and(|relay| {
            let probed = self.store().read(|conn| Probed::all(conn, config));
            probed.is_ok_and(|all| all.iter().any(|it| it.relay == relay && it.removed))
        });
        let relay = believed.then(|| config.smtp.authserv_id.clone());
        let relay = relay.or_else(|| self.believed_in(config, mailbox?));
        if arrival.raw.len() <= LONG_MAIL {
            return authenticator.examine(&question(config, arrival, relay.as_deref())).await;
        }
        // Hashing a long mail would hold up the others of this thread.
        let (config, arrival) = (config.clone(), arrival.clone());
        let here = tokio::runtime::Handle::current();
        let work =
            move || here.block_on(authenticator.examine(&question(&config, &arrival, relay.as_deref())));
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Finding::none())
    }

    /// The authserv-id that is believed in mails of this mailbox: a probe has shown that its server
    /// removes forged results.
    fn believed_in(&self, config: &Config, mailbox: &str) -> Option<String> {
        let account = config.imap.iter().find(|account| account.name == mailbox)?;
        let id = account.authserv_id.clone()?;
        let probed = self.store().read(|conn| ProbedMailbox::last(conn, account)).ok()??;
        probed.removed.then_some(id)
    }

    /// Begins a probe, or says how the one with this token is doing.
    ///
    /// # Errors
    /// The database can't be used, or there are no random numbers.
    pub(super) fn probe_relay(&self, token: Option<String>) -> Result<RelayProbe, StoreError> {
        let (config, now) = (self.config(), clock::now());
        let posting = config.posting_address().to_owned();
        let Some(token) = token else {
            let random: [u8; 16] =
                clock::random().map_err(|error| StoreError::Io(format!("no random numbers: {error}")))?;
            let token = names::token(&random);
            let to = names::tagged(&posting, &format!("{PROBE_TAG}{token}"));
            let from = config.gateway.operator.address.clone();
            let mail = STANDARD.encode(forged(&config, &from, &to, &token));
            let kept = format!("{token} {}", now.0);
            self.store().write(move |tx| meta::set(tx, PROBE, kept))?;
            return Ok(RelayProbe { token, to, from, mail, state: "sent".to_owned() });
        };
        let present: Option<String> = self.store().read(|conn| meta::get(conn, PROBE))?;
        let present = present.unwrap_or_default();
        let state = match present.strip_prefix(&token).map(str::trim) {
            Some(state @ (REMOVED | KEPT)) => state,
            Some(_) => "waiting",
            None => "gone",
        };
        Ok(RelayProbe { token, state: state.to_owned(), ..RelayProbe::default() })
    }
}

fn question<'a>(config: &'a Config, arrival: &'a Arrival, relay: Option<&'a str>) -> Question<'a> {
    Question {
        raw: &arrival.raw,
        client: arrival.peer,
        helo: arrival.helo.as_deref(),
        sender: arrival.sender.as_deref(),
        recipients: &arrival.recipients,
        posting: &config.smtp.recipients,
        hostname: &config.gateway.hostname,
        relay,
        sealers: &config.authentication.arc_sealers,
        now: arrival.received,
        deadline: config.authentication.deadline,
    }
}

/// A mail with forged Authentication-Results, in several spellings, of everybody who is to be
/// believed.
fn forged(config: &Config, from: &str, to: &str, token: &str) -> Vec<u8> {
    let host = &config.gateway.hostname;
    let claim =
        format!("auth=pass smtp.auth={token}@forged.invalid;\r\n spf=pass smtp.mailfrom=forged.invalid");
    let mailboxes = config.imap.iter().filter_map(|account| account.authserv_id.as_ref());
    let ids: BTreeSet<&String> = mailboxes.chain([&config.smtp.authserv_id]).collect();
    let mut mail = String::new();
    for id in ids {
        let upper = id.to_ascii_uppercase();
        mail.push_str(&format!(
            "Authentication-Results: {id};\r\n {claim}\r\n\
             AUTHENTICATION-RESULTS: {upper} 1; {claim}\r\n\
             authentication-results:\r\n (a comment) {id} (another)\r\n ; {claim}\r\n"
        ));
    }
    mail.push_str(&format!(
        "From: {from}\r\nTo: {to}\r\nSubject: a probe of the relay\r\n\
         Message-ID: <probe.{token}@{host}>\r\nAuto-Submitted: auto-generated\r\n\r\n\
         Forged Authentication-Results stand above. A relay removes them.\r\n"
    ));
    mail.into_bytes()
}

/// Where a probe came back, and its token: by a relay, or (none) in a mailbox that is read. `tags`:
/// those of the addresses in the mail.
pub(super) fn probe_token(
    config: &Config,
    arrival: &Arrival,
    tags: &[String],
) -> Option<(Option<IpAddr>, String)> {
    if arrival.via == Via::Imap {
        return Some((None, tags::behind(tags, PROBE_TAG)?));
    }
    let relay = arrival.relay?;
    let to_us = arrival.recipients.iter().filter_map(|to| mail::posting_tag(&config.smtp.recipients, to));
    let to_us: Vec<String> = to_us.flatten().collect();
    Some((Some(relay), tags::behind(&to_us, PROBE_TAG)?))
}

/// By which way a probe came back.
pub(super) enum Back<'a> {
    /// By this relay.
    Relay(IpAddr),
    /// In the folder of this account.
    Mailbox(&'a str),
}

/// A probe came back: what became of its forged fields is remembered of that relay or mailbox, and
/// says nothing about others. A token that nobody waits for changes nothing.
///
/// # Errors
/// Those of any write.
pub(super) fn probed(
    tx: &Connection,
    config: &Config,
    (back, token): (Back<'_>, &str),
    raw: &[u8],
    now: UnixTime,
) -> Result<bool, StoreError> {
    let waits: Option<String> = meta::get(tx, PROBE)?;
    let good = waits.as_deref().and_then(|waits| waits.split_once(' ')).is_some_and(|(waits, since)| {
        let since = since.parse().map_or(UnixTime(0), UnixTime);
        waits == token && now.since(since) < PROBE_GOOD
    });
    if !good {
        return Ok(false);
    }
    let removed_of = |id: &str| {
        !mail::header_fields(raw, "authentication-results").iter().any(|value| {
            let ours = AuthResults::parse(value).is_none_or(|said| said.authserv_id.eq_ignore_ascii_case(id));
            ours && value.contains(token)
        })
    };
    let (place, text, removed) = match back {
        Back::Relay(relay) => {
            let authserv_id = config.smtp.authserv_id.clone();
            let removed = removed_of(&authserv_id);
            let seen = Probed { at: now, authserv_id, relay, removed };
            let mut probed = remembered(tx)?;
            probed.retain(|it| it.relay != seen.relay || it.authserv_id != seen.authserv_id);
            probed.insert(0, seen);
            probed.truncate(PROBED_RELAYS);
            (PROBED.to_owned(), serde_json::to_string(&probed), removed)
        }
        Back::Mailbox(name) => {
            let Some(account) = config.imap.iter().find(|account| account.name == name) else {
                return Ok(false);
            };
            let Some(authserv_id) = account.authserv_id.clone() else { return Ok(false) };
            let removed = removed_of(&authserv_id);
            let seen = ProbedMailbox { at: now, authserv_id, host: account.host.clone(), removed };
            (format!("{PROBED_MAILBOX}{name}"), serde_json::to_string(&seen), removed)
        }
    };
    meta::set(tx, &place, text.map_err(|error| StoreError::Row(error.to_string()))?)?;
    meta::set(tx, PROBE, format!("{token} {}", if removed { REMOVED } else { KEPT }))?;
    Ok(true)
}

/// Where an arrival came from, as far as nobody can make it up: the network of the original client
/// (/24, /48), else the transport.
pub(super) fn source(arrival: &Arrival, via: &str) -> String {
    match arrival.peer.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
        None => via.to_owned(),
    }
}
