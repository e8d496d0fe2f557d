//! Whose word is taken about the author of a mail: the DNS, and a relay that removes forgeries.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OpenFlags};

use super::Line;
use crate::authenticate::Authenticator;
use crate::cli::Context;
use crate::cli::exit::{Outcome, UNAVAILABLE, USAGE, fail};
use crate::config::{Config, Imap, Security, Smarthost};
use crate::gateway::api::{RelayProbe, Request};
use crate::gateway::origin::{Probed, ProbedMailbox};
use crate::gateway::sender;
use crate::send::mailto::{Mailto, Submission};

/// How long a probe may be on its way.
const JOURNEY: Duration = Duration::from_secs(60);

/// Whether the name servers answer: what to say of it, and whether it is worth asking them more.
pub(super) fn dns(config: &Config) -> (Line, bool) {
    const NAME: &str = "author";
    let line = name_servers(config);
    if config.authentication.verify {
        let answer = line.state == super::State::Ok;
        return (line, answer);
    }
    let says = "SPF and DKIM are not looked up: authors are known by trusted networks and keys only";
    (Line::warn(NAME, says, "set [authentication] verify = true"), line.state == super::State::Ok)
}

fn name_servers(config: &Config) -> Line {
    const NAME: &str = "author";
    let asked = &config.authentication;
    let servers = match asked.dns.as_slice() {
        [] => "the system's name servers".to_owned(),
        list => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let authenticator = match Authenticator::new(&asked.dns, asked.deadline) {
        Ok(authenticator) => authenticator,
        Err(error) => return Line::wrong(NAME, error.to_string(), ""),
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Line::warn(NAME, "not looked at: no more descriptors", "");
    };
    let answer = runtime.block_on(authenticator.answers(&config.gateway.hostname, asked.deadline));
    runtime.shutdown_background();
    match answer {
        Ok(()) => Line::ok(NAME, format!("{servers} answer: SPF and DKIM can be looked up")),
        Err(why) => Line::warn(
            NAME,
            format!("{servers} do not answer ({why}): authors can't be verified, and their mail gets 451"),
            "name a resolver in [authentication] dns, or trust networks in [smtp] trusted_networks",
        ),
    }
}

/// Whether the relay's Authentication-Results are believed, and if not, how they can be.
pub(super) fn relay(config: &Config) -> Option<Line> {
    const NAME: &str = "relay";
    if config.smtp.relays.is_empty() || !config.authentication.verify {
        return None;
    }
    let id = &config.smtp.authserv_id;
    let how = "cmr-mail check --probe-relay HOST:PORT, where HOST:PORT is where the relay takes mail from \
               strangers, shows whether it removes forged ones; without that, authors are known by SPF (where \
               the relay sends XFORWARD) and DKIM";
    let path = config.gateway.data_dir.join("cmr-mail.db");
    let probed = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .ok()
        .and_then(|conn| Probed::all(&conn, config).ok())
        .unwrap_or_default();
    let named = |removed: bool| {
        let these = probed.iter().filter(|it| it.removed == removed);
        these.map(|it| format!("{} (probed {})", it.relay, it.at.rfc3339())).collect::<Vec<_>>().join(", ")
    };
    Some(match (named(true), named(false)) {
        (good, bad) if good.is_empty() && bad.is_empty() => {
            Line::ok(NAME, format!("the Authentication-Results of {id} are not believed: {how}"))
        }
        (good, bad) if bad.is_empty() => Line::ok(
            NAME,
            format!("the Authentication-Results of {id} are believed from {good}, and from no other relay"),
        ),
        (_, bad) => Line::warn(
            NAME,
            format!("forged Authentication-Results of {id} come through {bad}"),
            "let it remove them (RFC 8601, section 5), and probe again; until then they are not believed",
        ),
    })
}

/// Whether what the server of each mailbox says is believed.
pub(super) fn mailboxes(config: &Config) -> Vec<Line> {
    const NAME: &str = "mailbox";
    let path = config.gateway.data_dir.join("cmr-mail.db");
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok();
    let line = |account: &Imap| {
        let id = account.authserv_id.as_ref().filter(|_| config.authentication.verify)?;
        let probed = conn.as_ref().and_then(|conn| ProbedMailbox::last(conn, account).ok().flatten());
        let results = format!("{}: the Authentication-Results of {id}", account.name);
        Some(match probed {
            Some(ProbedMailbox { removed: true, at, .. }) => {
                Line::ok(NAME, format!("{results} are believed: probed {}", at.rfc3339()))
            }
            Some(ProbedMailbox { at, .. }) => Line::warn(
                NAME,
                format!("{results} are not believed: forged ones come through (probed {})", at.rfc3339()),
                "remove authserv_id; DKIM shows who wrote a mail",
            ),
            None => Line::warn(
                NAME,
                format!("{results} are not believed yet"),
                "cmr-mail check --probe-relay HOST:PORT, where HOST:PORT is where its mail server takes mail \
                 from strangers, shows whether it removes forged ones",
            ),
        })
    };
    config.imap.iter().filter_map(line).collect()
}

/// Sends a mail with forged Authentication-Results by way of the relay, and waits until the daemon
/// says what became of them.
pub(super) fn probe(context: &Context, at: &str) -> Outcome<Line> {
    const NAME: &str = "relay";
    let config = context.config()?;
    let no_mailbox = config.imap.iter().all(|account| account.authserv_id.is_none());
    if config.smtp.relays.is_empty() && no_mailbox {
        return fail(
            USAGE,
            "there is no relay to probe: [smtp] relays is empty, and no [[imap]] has an authserv_id",
        );
    }
    let (host, port) = match at.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.starts_with('[') => (host, port.parse().ok()),
        _ => (at, Some(25)),
    };
    let Some(port) = port else { return fail(USAGE, format!("{at}: write HOST or HOST:PORT")) };
    let host = host.trim_matches(['[', ']']).to_owned();
    let asked: RelayProbe = context.ask(Request::ProbeRelay { token: None })?;
    let mail = STANDARD.decode(&asked.mail).or_else(|_| fail(UNAVAILABLE, "the daemon made no mail"))?;
    let plain = crate::config::Send {
        smarthost: Smarthost { security: Security::None, host, port },
        login: None,
        ca_file: None,
        ..config.send.clone()
    };
    let relay = sender::smarthost(&plain).or_else(|e| fail(UNAVAILABLE, e.to_string()))?;
    let relay = Mailto::new(relay, &config.gateway.hostname).or_else(|e| fail(UNAVAILABLE, e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.or_else(|e| fail(UNAVAILABLE, e.to_string()))?;
    let mail =
        Submission { envelope_sender: Some(asked.from), recipient: asked.to.clone(), mail, configured: true };
    let sent = runtime.block_on(async { tokio::time::timeout(JOURNEY, relay.submit(&mail)).await });
    runtime.shutdown_background();
    match sent {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            let says = format!("{at} does not take the probe: {}", error.chain());
            return Ok(Line::warn(NAME, says, by_hand(&asked.to)));
        }
        Err(_) => return Ok(Line::warn(NAME, format!("{at} does not answer"), by_hand(&asked.to))),
    }
    let since = Instant::now();
    loop {
        let now: RelayProbe = context.ask(Request::ProbeRelay { token: Some(asked.token.clone()) })?;
        match now.state.as_str() {
            "waiting" if since.elapsed() < JOURNEY => std::thread::sleep(Duration::from_millis(200)),
            "waiting" => {
                let says = format!("the probe went to {at}, and has not come here by a listed relay");
                return Ok(Line::warn(NAME, says, "see the relay's queue and log"));
            }
            _ if no_mailbox => return relay_line(config),
            "removed" => return Ok(Line::ok(NAME, format!("{at} removes forged Authentication-Results"))),
            _ => {
                let says = format!("{at} lets forged Authentication-Results through");
                let mend = "let it remove them (RFC 8601, section 5), and probe again";
                return Ok(Line::warn(NAME, says, mend));
            }
        }
    }
}

fn relay_line(config: &Config) -> Outcome<Line> {
    relay(config).map_or_else(|| fail(UNAVAILABLE, "the relay is not listed any more"), Ok)
}

/// A relay that takes nothing from here can be probed from outside.
fn by_hand(to: &str) -> String {
    format!(
        "send a mail from outside to {to} within the hour, with a header field Authentication-Results: that \
         begins with our authserv_id and holds the token of that address"
    )
}
