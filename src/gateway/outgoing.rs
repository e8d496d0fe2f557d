//! Makes the mail, or the message, of a delivery at the moment it is sent: text is read by its number, so that
//! what was removed meanwhile is not sent; the signature is made now, under the present key; T,
//! recipient and Message-ID are those that were queued.
//!
//! It knows the store and how mails are written. It must never know how they travel.

use rusqlite::Connection;

use super::{Gateway, bounce, people as names, read, reply, steps, ways};
use crate::config::Config;
use crate::keys;
use crate::mail::compose::{self, ComposeError, ForwardMail, NoticeMail, Robot};
use crate::message::{Address, Hop, HopKey, Message, TailHash};
use crate::policy::{Block, Standing};
use crate::store::bounces::{self, Bounced};
use crate::store::keys as stored_keys;
use crate::store::messages;
use crate::store::queue::{Delivery, DeliveryKind};
use crate::store::{StoreError, asides, exchanges, peers};
use crate::wire::{Scheme, scheme};

/// A mail, ready to be handed to the smarthost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The envelope's sender: never answered, and not the null sender, which some hosts refuse.
    pub sender: String,
    /// The envelope's one recipient.
    pub recipient: String,
    /// The mail, lines ended by CRLF.
    pub mail: Vec<u8>,
    /// The operator named the recipient, or is it: its mail host may be in any network.
    pub configured: bool,
}

/// A message for a peer, ready to be sent by another transport than mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Where to.
    pub to: Address,
    /// The operator named the address, so that it may be in any network.
    pub configured: bool,
    /// The message is signed.
    pub signed: bool,
    /// The ids of each message because of which the peer is to get this one; none for a step of a walk.
    pub because: Vec<Vec<(HopKey, TailHash)>>,
    /// The ids that tell whether the peer has it; none if it is not to be asked.
    pub ids: Vec<(HopKey, TailHash)>,
    /// The message.
    pub message: Vec<u8>,
}

/// What composing comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Composed {
    /// Send this.
    Mail(Outgoing),
    /// Send this.
    Parcel(Parcel),
    /// There is nothing to send any more, for this reason: the delivery is given up.
    Gone(String),
}

impl Gateway {
    /// The mail of a delivery, as it has to be now.
    ///
    /// # Errors
    /// The database can't be read: the delivery is tried again.
    pub fn compose(&self, delivery: &Delivery) -> Result<Composed, StoreError> {
        let config = self.config();
        self.store().read(|conn| {
            let Some(recipient) = delivery.to.mail_address() else {
                return self.parcel(conn, &config, delivery);
            };
            // Who was blocked after it was queued gets it no more than who was blocked before.
            if let Err(no) = Block::check(&read(&self.0.blocks), &delivery.to) {
                return Ok(Composed::Gone(no.to_string()));
            }
            if let Some(no) = bounces::get(conn, &delivery.to)?.and_then(|it| suppressed(&it)) {
                return Ok(Composed::Gone(no));
            }
            let mail = match delivery.kind {
                DeliveryKind::Forward | DeliveryKind::KeyExchange => {
                    match message(conn, &config, delivery)? {
                        Ok(message) => Made::Mail(carrying(&message, &config, delivery, recipient)),
                        Err(gone) => Made::Gone(gone),
                    }
                }
                DeliveryKind::Answer | DeliveryKind::LaterMatch => reply::mail(conn, &config, delivery)?,
                DeliveryKind::Notice => notice(conn, &config, delivery)?,
            };
            Ok(match mail {
                Made::Mail(Ok(mail)) => {
                    let named = ways::standing(peers::get(conn, &delivery.to)?.as_ref()).configured();
                    Composed::Mail(Outgoing {
                        sender: bounce_address(&config, delivery),
                        configured: named || recipient.eq_ignore_ascii_case(&config.gateway.operator.address),
                        recipient: recipient.to_owned(),
                        mail,
                    })
                }
                Made::Mail(Err(error)) => Composed::Gone(error.to_string()),
                Made::Gone(why) => Composed::Gone(why.to_owned()),
            })
        })
    }

    /// What goes to a peer by another transport: the bare message. Whether it may is asked once more:
    /// what was allowed when it was queued may not be now.
    fn parcel(
        &self,
        conn: &Connection,
        config: &Config,
        delivery: &Delivery,
    ) -> Result<Composed, StoreError> {
        let peer = peers::get(conn, &delivery.to)?;
        let standing = match ways::may_send(conn, config, &read(&self.0.blocks), &delivery.to, peer.as_ref())?
        {
            Ok(standing) => standing,
            // The operator names an address by asking it for a key.
            Err(_) if delivery.kind == DeliveryKind::KeyExchange && asked_for(conn, delivery)? => {
                Standing { listed: true, ..Standing::default() }
            }
            Err(no) => return Ok(Composed::Gone(no)),
        };
        Ok(match message(conn, config, delivery)? {
            Ok(message) => Composed::Parcel(Parcel {
                to: delivery.to.clone(),
                configured: standing.configured(),
                signed: message.signature.is_signed(),
                because: because(conn, delivery)?,
                ids: inquiry(delivery, &message),
                message: message.write(),
            }),
            Err(gone) => Composed::Gone(gone.to_owned()),
        })
    }
}

/// What a peer is asked about before a message is sent to it. Never about a key exchange: nobody has
/// it, and what is in it is a secret.
fn inquiry(delivery: &Delivery, message: &Message) -> Vec<(HopKey, TailHash)> {
    match (delivery.kind, scheme(&delivery.to)) {
        (DeliveryKind::Forward, Some(Scheme::Http | Scheme::Https)) => message.hop_ids(),
        _ => Vec::new(),
    }
}

/// The ids of the messages because of which the peer is to get this one; evicted ones have them, too.
fn because(conn: &Connection, delivery: &Delivery) -> Result<Vec<Vec<(HopKey, TailHash)>>, StoreError> {
    let ids = |seq: i64| -> Result<Vec<(HopKey, TailHash)>, StoreError> {
        Ok(messages::hops(conn, seq)?.into_iter().map(|hop| (hop.key, hop.tail)).collect())
    };
    steps::because(delivery)
        .into_iter()
        .map(ids)
        .filter(|ids| !ids.as_ref().is_ok_and(Vec::is_empty))
        .collect()
}

/// Whether this is a request for a key that the operator asked for.
fn asked_for(conn: &Connection, delivery: &Delivery) -> Result<bool, StoreError> {
    let exchange = exchange_of(delivery).map(|number| exchanges::get(conn, number)).transpose()?.flatten();
    Ok(exchange.is_some_and(|it| it.role == exchanges::Role::Asked))
}

fn exchange_of(delivery: &Delivery) -> Option<i64> {
    delivery.detail.as_ref()?.get("exchange")?.as_i64()
}

/// The message of a delivery to a peer; inside, why there is none.
fn message(
    conn: &Connection,
    config: &Config,
    delivery: &Delivery,
) -> Result<Result<Message, &'static str>, StoreError> {
    match delivery.kind {
        DeliveryKind::Forward
            if because(conn, delivery)?.is_empty() && !steps::because(delivery).is_empty() =>
        {
            Ok(Err("the message because of which it was to be sent is not here any more"))
        }
        DeliveryKind::Forward => forward(conn, config, delivery),
        DeliveryKind::KeyExchange => key_exchange(conn, delivery),
        DeliveryKind::Answer | DeliveryKind::LaterMatch | DeliveryKind::Notice => {
            Ok(Err("a mail for a person goes by mail alone"))
        }
    }
}

/// Why nothing goes to an address whose mail came back.
pub(super) fn suppressed(bounced: &Bounced) -> Option<String> {
    let since = bounced.suppressed?;
    Some(format!(
        "{} mails to it came back ({}), and nothing goes there since {}; to try again: cmr-mail peers \
         unsuppress {}",
        bounced.failures,
        bounced.status,
        since.rfc3339(),
        bounced.address
    ))
}

/// What was made of a delivery.
pub(super) enum Made {
    Mail(Result<Vec<u8>, ComposeError>),
    Gone(&'static str),
}

/// `cmr+bounce-NUMBER-CHECK@host`: a report that comes back names its delivery.
fn bounce_address(config: &Config, delivery: &Delivery) -> String {
    // An address that our receiver takes: reports come to it.
    let ours = |address: &&String| crate::mail::is_ours(&config.smtp.recipients, address);
    let own = Some(&config.gateway.mail_address).filter(ours).or(config.smtp.recipients.first());
    let address = own.unwrap_or(&config.gateway.mail_address);
    names::tagged(address, &format!("{}{}", names::BOUNCE_TAG, bounce::token(delivery)))
}

pub(super) fn robot(config: &Config) -> Robot<'_> {
    Robot {
        address: &config.send.from,
        operator: &config.gateway.operator.text,
        hostname: &config.gateway.hostname,
        loop_marker: &config.gateway.hostname,
    }
}

/// Section A3, steps 1 to 4: the neighbour's signature goes, our line comes on top, signed if we
/// share a key with the recipient.
fn forward(
    conn: &Connection,
    config: &Config,
    delivery: &Delivery,
) -> Result<Result<Message, &'static str>, StoreError> {
    let (Some(seq), Some(stamp)) = (delivery.seq, &delivery.stamp) else {
        return Ok(Err("a forward without a message or a time"));
    };
    let Some(text) = messages::text(conn, seq)? else {
        return Ok(Err("the message is no longer here"));
    };
    let key = stored_keys::for_signing(conn, &delivery.to)?;
    let ours = ways::own_above(config, &delivery.to, key.as_ref());
    let message = text.message()?.stamped(Hop::new(stamp.clone(), ours));
    Ok(Ok(match key {
        Some(key) => keys::sign_message(key.scheme, &key.key, message),
        None => message,
    }))
}

/// A message of our own with a key exchange (A5): unsigned, or signed with the old key.
fn key_exchange(conn: &Connection, delivery: &Delivery) -> Result<Result<Message, &'static str>, StoreError> {
    let (Some(number), Some(stamp)) = (exchange_of(delivery), &delivery.stamp) else {
        return Ok(Err("a key exchange without a number or a time"));
    };
    let open = exchanges::get(conn, number)?.and_then(|it| Some((it.ours, it.body?)));
    let Some((ours, body)) = open else {
        return Ok(Err("the key exchange is over, or was taken back"));
    };
    let message = Message::new(Hop::new(stamp.clone(), ours), body.to_vec());
    Ok(Ok(match stored_keys::current(conn, &delivery.to)? {
        Some(key) => keys::sign_message(key.scheme, &key.key, message),
        None => message,
    }))
}

/// The mail around a message to a peer.
fn carrying(
    message: &Message,
    config: &Config,
    delivery: &Delivery,
    to: &str,
) -> Result<Vec<u8>, ComposeError> {
    compose::forward(&ForwardMail {
        from: &config.gateway.mail_address,
        to,
        message_id: &delivery.message_id,
        date: delivery.created,
        loop_marker: &config.gateway.hostname,
        message: &message.write(),
    })
}

fn notice(conn: &Connection, config: &Config, delivery: &Delivery) -> Result<Made, StoreError> {
    let detail = delivery.detail.as_ref();
    let number = |name: &str| detail.and_then(|detail| detail.get(name)).and_then(serde_json::Value::as_i64);
    let mut paragraphs = vec![format!("On {} {}.", config.gateway.hostname, delivery.why)];
    let mut subject = "cmr-mail: a notice".to_owned();
    if let Some(id) = number("aside") {
        subject = "cmr-mail: mail for the postmaster".to_owned();
        let Some(aside) = asides::get(conn, id)? else { return Ok(Made::Gone("what it was about is gone")) };
        paragraphs.push(format!(
            "It is {} bytes long and can be read with: cmr-mail show --aside {id}. It is kept until {}. \
             Others that came in the same hour: cmr-mail show --aside.",
            aside.bytes,
            aside.forget_after.rfc3339()
        ));
    }
    if number("delivery").is_some() {
        subject = "cmr-mail: a mail was given up".to_owned();
        paragraphs.push(
            "See it with: cmr-mail queue list --all. To try it once more: cmr-mail queue retry NUMBER."
                .to_owned(),
        );
    }
    Ok(Made::Mail(compose::notice(&NoticeMail {
        robot: robot(config),
        message_id: &delivery.message_id,
        date: delivery.created,
        subject: &subject,
        paragraphs: &paragraphs,
    })))
}
