//! The gateway as the house that the queue's workers work for: it composes, hands over to the
//! smarthost or to a transport of its own, and tells the operator what was given up.
//!
//! It knows the composer and the configuration of sending. It must never know how a message travels.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{Composed, Gateway, Outgoing, Parcel, bounce, clock, notice, steps, ways};
use crate::config::{self, Config, SecretError};
use crate::dns::{Resolver, ResolverError};
use crate::message::{Address, UnixTime};
use crate::receive::http::Handshakes;
use crate::send::backoff::Schedule;
use crate::send::http::{self, Announced, Client, ClientError, Offers, Proxies, ProxyError};
use crate::send::mailto::{
    Deadlines, Direct, Login, Mailto, Reuse, Secret, Smarthost, SmarthostError, Submission, Tokens,
};
use crate::send::outcome::{Outcome, Trouble};
use crate::send::queue::{ComposeFault, End, Event, House, MailCarrier, Next, Settings};
use crate::send::resolve::System;
use crate::send::{ssh, udp};
use crate::store::queue::{Delivery, DeliveryKind, Lane};
use crate::store::{StoreError, peers};
use crate::wire::{Scheme, scheme};

/// Why mail can't be sent as configured.
#[derive(Debug, thiserror::Error)]
pub enum SendingError {
    /// The smarthost, its TLS or its login can't be used like this.
    #[error("[send] smarthost: {0}")]
    Smarthost(#[from] SmarthostError),
    /// The name servers can't be told.
    #[error("[send] direct: {0}")]
    NameServers(#[from] ResolverError),
    /// The password can't be had.
    #[error("[send] password: {0}")]
    Password(#[from] SecretError),
    /// The certificate file can't be read.
    #[error("[send] ca_file: {0}")]
    Authorities(std::io::Error),
    /// The certificate file of `[http]` can't be read.
    #[error("[http] ca_file: {0}")]
    HttpAuthorities(std::io::Error),
    /// TLS can't be set up as `[http]` says.
    #[error("[http] {0}")]
    Http(#[from] ClientError),
    /// The environment names something that is no proxy.
    #[error("[http] proxy = \"environment\": {0}")]
    Proxy(#[from] ProxyError),
}

/// Peers whose announcements are read at a start, at most.
const ANNOUNCED: usize = 4096;

/// How long the DNS may take for one question about a mail host.
const LOOK_UP: Duration = Duration::from_secs(15);

type Carrier = MailCarrier<Box<dyn Fn(&Delivery) -> Result<Submission, ComposeFault> + Send + Sync>>;

/// What carries, as the present configuration says.
struct Carriers {
    mail: Carrier,
    http: Client,
    resolver: System,
}

/// Tells the workers that something was queued. Each lane has a bell of its own: one that both wait for
/// would wake only one of them.
#[derive(Debug, Default)]
pub(super) struct Bells {
    mail: Arc<Notify>,
    direct: Arc<Notify>,
}

impl Bells {
    /// Something was queued.
    pub(super) fn notify_one(&self) {
        self.mail.notify_one();
        self.direct.notify_one();
    }

    pub(super) fn of(&self, lane: Lane) -> Arc<Notify> {
        match lane {
            Lane::Mail => Arc::clone(&self.mail),
            Lane::Direct => Arc::clone(&self.direct),
        }
    }
}

/// The gateway's sending side, for [`crate::send::queue::run`].
pub struct Sender {
    gateway: Gateway,
    offers: Offers,
    carriers: RwLock<Arc<Carriers>>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Sender {
    /// The sending side of this gateway, as its configuration says; runs the password command.
    ///
    /// # Errors
    /// What is wrong with `[send]`.
    pub fn new(gateway: Gateway) -> Result<Self, SendingError> {
        let offers = Offers::default();
        let carriers = Arc::new(carriers(&gateway, &gateway.config(), &offers)?);
        Ok(Sender { gateway, offers, carriers: RwLock::new(carriers) })
    }

    /// Takes up the present configuration of the gateway for the next mails.
    ///
    /// # Errors
    /// What is wrong with `[send]`; the old one stays.
    pub fn reload(&self) -> Result<(), SendingError> {
        let carriers = Arc::new(carriers(&self.gateway, &self.gateway.config(), &self.offers)?);
        *self.carriers.write().unwrap_or_else(PoisonError::into_inner) = carriers;
        Ok(())
    }

    /// What the worker of a lane is told about schedules and limits. What goes directly is soon done
    /// or not: its leases are as long as the longest attempt of HTTP or SSH, and more is under way at a
    /// time, since each has a peer of its own to wait for.
    pub fn settings(&self, lane: Lane) -> Settings {
        let config = self.gateway.config();
        let send = &config.send;
        let schedule = Schedule { first: send.retry_first, max: send.retry_max, give_up: send.give_up };
        let settings = Settings { lane, schedule, ..Settings::default() };
        match lane {
            Lane::Mail => settings,
            Lane::Direct => {
                let http = self.carriers().http.deadlines().attempt(config.smtp.max_message);
                let lease = http.max(config.ssh.timeout).saturating_add(Duration::from_secs(120));
                Settings { total: 32, lease, ..settings }
            }
        }
    }

    /// What the HTTP listener needs for the handshake.
    pub fn handshakes(&self) -> Handshakes {
        Handshakes { client: self.carriers().http.clone(), offers: self.offers.clone() }
    }

    /// Says goodbye to the smarthost.
    pub async fn close(&self) {
        let carriers = self.carriers();
        carriers.mail.mailto().close().await;
    }

    fn carriers(&self) -> Arc<Carriers> {
        Arc::clone(&self.carriers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// One attempt by another transport than mail. The message is made for each anew, because only
    /// then the signature is.
    async fn carry_parcel(&self, delivery: &Delivery) -> Outcome {
        let (gateway, subject) = (self.gateway.clone(), delivery.clone());
        let composed = tokio::task::spawn_blocking(move || gateway.compose(&subject)).await;
        let later = |reason: String| Outcome::Retry { trouble: Trouble::Later, reason };
        let parcel = match composed {
            Ok(Ok(Composed::Parcel(parcel))) => parcel,
            Ok(Ok(Composed::Gone(reason))) => return Outcome::Fail { reason, reply: None },
            Ok(Ok(Composed::Mail(_))) => return later("a mail among what goes directly".to_owned()),
            Ok(Err(error)) => return later(error.to_string()),
            Err(error) => return later(format!("an error in the program while composing: {error}")),
        };
        let (carriers, config) = (self.carriers(), self.gateway.config());
        let Parcel { to, configured, signed, because, ids, message } = &parcel;
        match scheme(to) {
            Some(Scheme::Http | Scheme::Https) => {
                let offered = config.http.address.as_ref().filter(|_| config.http.handshake && !signed);
                let parcel = http::Parcel { to, configured: *configured, message };
                if let Some(outcome) = carriers.http.relates(&parcel, because).await {
                    return outcome.unwrap_or_else(|| Outcome::Unrelated { reason: unrelated(to) });
                }
                if let Some(outcome) = carriers.http.inquire(&parcel, ids).await {
                    return outcome;
                }
                match offered {
                    Some(ours) => carriers.http.offer(&parcel, ours).await,
                    None => carriers.http.upload(&parcel).await,
                }
            }
            Some(Scheme::Udp) => udp::send(&carriers.resolver, to, *configured, message).await,
            Some(Scheme::Ssh) => match ssh_way(&config, to) {
                Some(way) => ssh::send(&way, message).await,
                None => Outcome::Fail { reason: format!("{to} is no [[ssh_peer]] any more"), reply: None },
            },
            _ => {
                Outcome::Fail { reason: format!("{to} is for no transport that is known here"), reply: None }
            }
        }
    }
}

fn unrelated(to: &Address) -> String {
    format!(
        "{to} does not know the message because of which it was to get this one, though a header names it there: that \
         line may be made up, so nothing was sent"
    )
}

/// How ssh reaches a peer: by the configuration alone.
fn ssh_way(config: &Config, to: &Address) -> Option<ssh::Way> {
    let peer = config.ssh.peers.iter().find(|peer| peer.address == *to)?;
    Some(ssh::Way {
        program: config.ssh.program.clone(),
        destination: peer.destination.clone(),
        port: peer.port,
        command: peer.command.clone(),
        identity: config.ssh.identity_file.clone(),
        known_hosts: config.ssh.known_hosts.clone(),
        limit: config.ssh.timeout,
    })
}

fn carriers(gateway: &Gateway, config: &Config, offers: &Offers) -> Result<Carriers, SendingError> {
    Ok(Carriers {
        mail: carrier(gateway, config)?,
        http: http_client(gateway, config, offers)?,
        resolver: System,
    })
}

fn http_client(gateway: &Gateway, config: &Config, offers: &Offers) -> Result<Client, SendingError> {
    let settings = &config.http;
    let authorities =
        settings.ca_file.as_ref().map(std::fs::read).transpose().map_err(SendingError::HttpAuthorities)?;
    let proxies = match settings.proxy_of_environment {
        true => Proxies::read(|name| std::env::var(name).ok())?,
        false => Proxies::default(),
    };
    let deadlines = http::Deadlines { answer: settings.timeout, ..http::Deadlines::default() };
    Ok(Client::new(
        http::Options { authorities, proxies, deadlines, announced: announced(gateway) },
        offers.clone(),
    )?)
}

/// What peers have announced, out of the database and into it. It only saves work, so that a database that does
/// not answer is no reason not to start.
fn announced(gateway: &Gateway) -> Announced {
    let now = clock::now();
    let before = gateway.store().read(|conn| peers::askable(conn, now, ANNOUNCED)).unwrap_or_else(|error| {
        warn!(%error, "what peers have announced is not known any more");
        Vec::new()
    });
    let store = gateway.store().clone();
    let keep = move |peer: &Address, until: Option<UnixTime>| {
        let (store, peer) = (store.clone(), peer.clone());
        tokio::spawn(async move {
            let kept = store.write_async(move |tx| peers::set_askable(tx, &peer, until)).await;
            if let Err(error) = kept {
                warn!(%error, "what a peer has announced is not kept");
            }
        });
    };
    Announced { before, keep: Some(Arc::new(keep)) }
}

fn carrier(gateway: &Gateway, config: &Config) -> Result<Carrier, SendingError> {
    let mailto = mailto(config)?;
    let gateway = gateway.clone();
    let compose = move |delivery: &Delivery| match gateway.compose(delivery) {
        Ok(Composed::Mail(mail)) => {
            let Outgoing { sender, recipient, mail, configured } = mail;
            Ok(Submission { envelope_sender: Some(sender), recipient, mail, configured })
        }
        Ok(Composed::Gone(why)) => Err(ComposeFault::Never(why)),
        Ok(Composed::Parcel(_)) => Err(ComposeFault::Never("it does not go by mail".to_owned())),
        Err(error) => Err(ComposeFault::Later(error.to_string())),
    };
    Ok(MailCarrier::new(mailto, Box::new(compose)))
}

/// How mail leaves: by the smarthost, or to the hosts of its recipients.
///
/// # Errors
/// What is wrong with `[send]`.
pub fn mailto(config: &Config) -> Result<Mailto, SendingError> {
    let hostname = &config.gateway.hostname;
    let Some(direct) = &config.send.direct else {
        return Ok(Mailto::new(smarthost(&config.send)?, hostname)?);
    };
    let resolver = Resolver::new(&config.authentication.dns, LOOK_UP)?;
    let (port, networks) = (direct.port, direct.networks.clone());
    let direct = Direct { hosts: Arc::new(resolver), port, networks };
    Ok(Mailto::direct(direct, hostname, Deadlines::default(), Reuse::default())?)
}

/// The smarthost of a configuration, with its password read.
///
/// # Errors
/// What is wrong with `[send]`.
pub fn smarthost(send: &config::Send) -> Result<Smarthost, SendingError> {
    let mut smarthost = Smarthost::parse(&send.smarthost.to_string())?;
    if let Some(path) = &send.ca_file {
        let pem = std::fs::read(path).map_err(SendingError::Authorities)?;
        smarthost = smarthost.with_authorities(&pem)?;
    }
    if let Some(login) = &send.login {
        let secret = match &login.secret {
            config::Secret::Password(password) => Secret::Password(password.read()?),
            config::Secret::Token(command) => Secret::Tokens(Tokens::of(command.clone())),
        };
        smarthost = smarthost.with_login(Login { user: login.user.clone(), secret })?;
    }
    Ok(smarthost)
}

impl House for Sender {
    fn now(&self) -> UnixTime {
        clock::now()
    }

    async fn sleep_until(&self, at: UnixTime) {
        let wait = at.since(clock::now()).max(Duration::from_millis(1));
        tokio::time::sleep(wait).await;
    }

    async fn carry(&self, delivery: &Delivery) -> Outcome {
        if delivery.to.mail_address().is_some() {
            self.carriers().mail.carry(delivery).await
        } else {
            self.carry_parcel(delivery).await
        }
    }

    fn transcript(&self, delivery: &Delivery) -> Option<String> {
        self.carriers().mail.transcript(delivery)
    }

    /// One notice to the operator for what was given up after days, in the transaction that ends
    /// it. What was refused at once, and notices themselves, only show in the queue: a notice for
    /// each would be a way to make us send mail.
    fn ended(
        &self,
        tx: &Connection,
        delivery: &Delivery,
        end: &End,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let reason = match end {
            End::GivenUp { reason, .. } => reason,
            // The next hop says at once what another server says in a report.
            End::Refused { reply: Some(reply), .. } => {
                let config = self.gateway.config();
                let Some(status) = reply.enhanced() else {
                    return ways::note_refusal(tx, &config, delivery, None);
                };
                let parts = (status.class, status.subject, status.detail);
                bounce::failed(tx, &config, delivery, (parts, &status.to_string()), now)?;
                return Ok(());
            }
            End::Unrelated { .. } => return steps::unrelated(tx, delivery),
            End::Refused { reply: None, .. } | End::Elsewhere { .. } => return Ok(()),
        };
        if delivery.kind == DeliveryKind::Notice {
            return Ok(());
        }
        let why = format!(
            "the mail to {} was given up after {} attempts: {reason}",
            delivery.to, delivery.attempts
        );
        let unique = format!("given-up-{}", delivery.id);
        notice::to_operator(
            tx,
            &self.gateway.config(),
            &unique,
            &why,
            serde_json::json!({ "delivery": delivery.id }),
            now,
        )
    }

    fn elsewhere(
        &self,
        tx: &Connection,
        delivery: &Delivery,
        now: UnixTime,
    ) -> Result<Option<Address>, StoreError> {
        steps::elsewhere(tx, &self.gateway, delivery, now)
    }

    fn tell(&self, event: &Event<'_>) {
        match event {
            Event::Attempt { delivery, next } => {
                let (number, to, kind) = (delivery.id, delivery.to.to_string(), delivery.kind.as_str());
                let id = delivery.about.map(|id| id.to_string());
                let ended = match next {
                    Next::Sent(_) => "sent",
                    Next::Again { .. } => "again",
                    Next::Over(End::Elsewhere { .. }) => "elsewhere",
                    Next::Over(End::Unrelated { .. }) => "unrelated",
                    Next::Over(_) => "failed",
                };
                self.gateway.metrics().attempt(&delivery.transport, kind, ended);
                match next {
                    Next::Sent(_) => info!(id, delivery = number, to, kind, "sent"),
                    Next::Again { at, trouble, reason } => {
                        let at = at.rfc3339();
                        match trouble {
                            Trouble::Configuration => {
                                warn!(
                                    id,
                                    delivery = number,
                                    to,
                                    kind,
                                    at,
                                    reason,
                                    "not sent: see [send]; it will be tried again"
                                );
                            }
                            _ => {
                                info!(
                                    id,
                                    delivery = number,
                                    to,
                                    kind,
                                    at,
                                    reason,
                                    "not sent; it will be tried again"
                                )
                            }
                        }
                    }
                    Next::Over(End::Elsewhere { to: other, reason }) => {
                        let other = other.to_string();
                        info!(id, delivery = number, to, kind, other, reason, "busy; another peer is asked");
                        // Its way may be that of the other worker.
                        self.gateway.0.queued.notify_one();
                    }
                    Next::Over(End::Unrelated { reason }) => {
                        info!(id, delivery = number, to, kind, reason, "of no use there, over")
                    }
                    Next::Over(end) => {
                        warn!(id, delivery = number, to, kind, reason = end.sentence(), "not sent, over")
                    }
                }
            }
            Event::StoreTrouble { error } => warn!(%error, "the queue waits for the database"),
        }
    }
}
