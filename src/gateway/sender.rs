//! The gateway as the house that the queue's worker works for: it composes, hands over to the
//! smarthost, and tells the operator what was given up.
//!
//! It knows the composer and the configuration of sending. It must never know how a mail travels.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::Connection;
use tracing::{info, warn};

use super::{Composed, Gateway, bounce, clock, notice};
use crate::config::{self, Config, SecretError};
use crate::message::UnixTime;
use crate::policy::bounce::meaning;
use crate::send::backoff::Schedule;
use crate::send::mailto::{Login, Mailto, Secret, Smarthost, SmarthostError, Submission, Tokens};
use crate::send::outcome::{Outcome, Trouble};
use crate::send::queue::{ComposeFault, End, Event, House, MailCarrier, Next, Settings};
use crate::store::StoreError;
use crate::store::queue::{Delivery, DeliveryKind};

/// Why mail can't be sent as configured.
#[derive(Debug, thiserror::Error)]
pub enum SendingError {
    /// The smarthost, its TLS or its login can't be used like this.
    #[error("[send] smarthost: {0}")]
    Smarthost(#[from] SmarthostError),
    /// The password can't be had.
    #[error("[send] password: {0}")]
    Password(#[from] SecretError),
    /// The certificate file can't be read.
    #[error("[send] ca_file: {0}")]
    Authorities(std::io::Error),
}

type Carrier = MailCarrier<Box<dyn Fn(&Delivery) -> Result<Submission, ComposeFault> + Send + Sync>>;

/// The gateway's sending side, for [`crate::send::queue::run`].
pub struct Sender {
    gateway: Gateway,
    carrier: RwLock<Arc<Carrier>>,
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
        let carrier = Arc::new(carrier(&gateway, &gateway.config())?);
        Ok(Sender { gateway, carrier: RwLock::new(carrier) })
    }

    /// Takes up the present configuration of the gateway for the next mails.
    ///
    /// # Errors
    /// What is wrong with `[send]`; the old one stays.
    pub fn reload(&self) -> Result<(), SendingError> {
        let carrier = Arc::new(carrier(&self.gateway, &self.gateway.config())?);
        *self.carrier.write().unwrap_or_else(PoisonError::into_inner) = carrier;
        Ok(())
    }

    /// What the worker is told about schedules.
    pub fn settings(&self) -> Settings {
        let send = &self.gateway.config().send;
        let schedule = Schedule { first: send.retry_first, max: send.retry_max, give_up: send.give_up };
        Settings { schedule, ..Settings::default() }
    }

    /// Says goodbye to the smarthost.
    pub async fn close(&self) {
        let carrier = self.carrier();
        carrier.mailto().close().await;
    }

    fn carrier(&self) -> Arc<Carrier> {
        Arc::clone(&self.carrier.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn carrier(gateway: &Gateway, config: &Config) -> Result<Carrier, SendingError> {
    let mailto = Mailto::new(smarthost(&config.send)?, &config.gateway.hostname)?;
    let gateway = gateway.clone();
    let compose = move |delivery: &Delivery| match gateway.compose(delivery) {
        Ok(Composed::Mail(mail)) => {
            Ok(Submission { envelope_sender: Some(mail.sender), recipient: mail.recipient, mail: mail.mail })
        }
        Ok(Composed::Gone(why)) => Err(ComposeFault::Never(why)),
        Err(error) => Err(ComposeFault::Later(error.to_string())),
    };
    Ok(MailCarrier::new(mailto, Box::new(compose)))
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
        self.carrier().carry(delivery).await
    }

    fn transcript(&self, delivery: &Delivery) -> Option<String> {
        self.carrier().transcript(delivery)
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
                if let Some(status) = reply.enhanced() {
                    let said = meaning(status.class, status.subject, status.detail);
                    bounce::failed(tx, delivery, said, &status.to_string(), now)?;
                }
                return Ok(());
            }
            End::Refused { reply: None, .. } => return Ok(()),
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

    fn tell(&self, event: &Event<'_>) {
        match event {
            Event::Attempt { delivery, next } => {
                let (number, to, kind) = (delivery.id, delivery.to.to_string(), delivery.kind.as_str());
                let id = delivery.about.map(|id| id.to_string());
                let ended = match next {
                    Next::Sent(_) => "sent",
                    Next::Again { .. } => "again",
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
                    Next::Over(end) => {
                        warn!(id, delivery = number, to, kind, reason = end.sentence(), "not sent, over")
                    }
                }
            }
            Event::StoreTrouble { error } => warn!(%error, "the queue waits for the database"),
        }
    }
}
