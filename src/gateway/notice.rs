//! Mails to the operator, and what they are about.
//!
//! It knows the store. It must never know how a mail is written or sent.

use rusqlite::Connection;

use super::commit::{ASIDES_MAX, Outcome, Part};
use super::refused::Refused;
use crate::config::Config;
use crate::message::{Address, UnixTime};
use crate::store::StoreError;
use crate::store::asides::{self, NewAside};
use crate::store::queue::{self, DeliveryKind, NewDelivery};

/// Mail to the humans behind the gateway: kept aside, and they are told where.
pub(super) fn for_postmaster(
    tx: &Connection,
    config: &Config,
    (raw, via, source): (&[u8], &str, &str),
    now: UnixTime,
    forget_after: UnixTime,
    outcome: &mut Outcome,
) -> Result<(), StoreError> {
    let reason = "for the postmaster";
    let aside = NewAside {
        reason,
        place: "the mail",
        raw,
        kept: None,
        author: None,
        id: None,
        received: now,
        via,
        forget_after,
        source,
    };
    let Some(id) = asides::put(tx, &aside, ASIDES_MAX)? else {
        outcome.refused.push(Part::mail(Refused::NoRoom));
        return Ok(());
    };
    let why = format!("a mail for the postmaster is kept aside as number {id}");
    // One notice an hour, whatever comes: else anybody could make us send mail.
    let hour = now.as_secs().div_euclid(3600);
    to_operator(tx, config, &format!("postmaster-{hour}"), &why, serde_json::json!({ "aside": id }), now)?;
    outcome.note = Some("kept for the postmaster".to_owned());
    outcome.wakes_sender = true;
    Ok(())
}

/// Queues a mail to the operator. `unique` makes a repetition the same mail.
pub(super) fn to_operator(
    tx: &Connection,
    config: &Config,
    unique: &str,
    why: &str,
    detail: serde_json::Value,
    now: UnixTime,
) -> Result<(), StoreError> {
    let operator = &config.gateway.operator.address;
    let bad = |_| StoreError::Misuse("the operator's address holds a line end");
    let delivery = NewDelivery {
        kind: DeliveryKind::Notice,
        seq: None,
        thread: None,
        to: Address::new(format!("mailto:{operator}")).map_err(bad)?,
        transport: "mailto".to_owned(),
        destination: destination(operator),
        stamp: None,
        message_id: crate::mail::message_id(unique, &config.gateway.hostname),
        detail: Some(detail),
        why: why.to_owned(),
        next_try: now,
    };
    queue::enqueue(tx, &delivery, now)?;
    Ok(())
}

/// What shares a limit of parallel deliveries: the domain.
pub(super) fn destination(mailbox: &str) -> String {
    mailbox.rsplit_once('@').map_or(mailbox, |(_, domain)| domain).to_ascii_lowercase()
}
