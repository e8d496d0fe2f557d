//! Forwards on their way into the queue: what the router decided, and the steps of walks that go to another peer
//! because the first one is busy.
//!
//! It knows decisions, budgets and the queue. It must never know how a message travels, nor how peers are ranked:
//! who is next was decided together with who was first.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::{Gateway, budget, clock, people as names, read, ways};
use crate::config::Config;
use crate::mail;
use crate::message::{Address, UnixTime};
use crate::policy::Refusal;
use crate::router::{Decision, Forward, RoutingPolicy, What};
use crate::store::messages::{self, Stored};
use crate::store::queue::{self, Delivery, DeliveryKind, DeliveryState, Enqueued, NewDelivery};
use crate::store::{StoreError, decisions, keys, meta, peers};

/// Where a step of a walk says how many others may still be asked in its place.
const OTHERS: &str = "others";

/// Where an exchange says because of which messages it is made: their numbers.
const BECAUSE: &str = "because";

/// Such numbers of one delivery, at most.
const REASONS: usize = 8;

/// The numbers of the messages because of which a delivery is of use to its receiver; none for a step.
pub(super) fn because(delivery: &Delivery) -> Vec<i64> {
    let listed = delivery.detail.as_ref().and_then(|detail| detail.get(BECAUSE)).and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(Value::as_i64).take(REASONS).collect()
}

/// How many others may be asked if this one is busy. Matches that are exchanged belong to where they go, so for
/// them there is nobody else.
pub(super) fn others(decision: &Decision, forward: &Forward, policy: &RoutingPolicy) -> usize {
    let chosen = |to: &Address| decision.peers.iter().any(|peer| peer.chosen && peer.address == *to);
    let is_step = forward.what == What::This && chosen(&forward.to);
    if is_step && decision.peers.iter().any(|peer| peer.spare) { policy.alternatives } else { 0 }
}

/// Queues a forward because of `stored`, and counts it. `false`: it was queued before, or there is no way there.
///
/// # Errors
/// Those of any write; inside, why nothing goes there now.
pub(super) fn enqueue(
    tx: &Connection,
    config: &Config,
    stored: &Stored,
    forward: &Forward,
    others: usize,
    now: UnixTime,
) -> Result<Result<bool, Refusal>, StoreError> {
    let number = |what: What| match what {
        What::This => stored.seq,
        What::Match(seq) => seq,
    };
    let seq = number(forward.what);
    let to = &ways::where_it_can_be_asked(tx, config, &forward.to)?;
    let because: Vec<i64> = forward.because.iter().map(|what| number(*what)).collect();
    // First, because a reason more costs nothing where something waits already.
    if !join(tx, seq, to, &because)? {
        return Ok(Ok(false));
    }
    let account = match budget::account(tx, config, to, now)? {
        Ok(account) => account,
        Err(no) => return Ok(Err(no)),
    };
    let Ok(way) = ways::way(config, to) else { return Ok(Ok(false)) };
    let random = clock::random().map_err(|error| StoreError::Io(format!("no random numbers: {error}")))?;
    let stamp = clock::stamp(meta::take_time(tx, now)?, random);
    // T is in the Message-ID: another forward of the same message is another mail, the same
    // forward sent twice is not.
    let unique =
        format!("f-{}-{}", stored.id, names::token(&clock::digest(Some(stamp.as_str()), to.as_bytes())));
    let delivery = NewDelivery {
        kind: DeliveryKind::Forward,
        seq: Some(seq),
        thread: None,
        to: to.clone(),
        transport: way.transport.to_owned(),
        destination: way.destination,
        stamp: Some(stamp),
        message_id: mail::message_id(&unique, &config.gateway.hostname),
        detail: match others {
            0 => reasons(&because),
            _ => Some(json!({ OTHERS: others })),
        },
        why: forward.why.clone(),
        next_try: now,
    };
    let new = matches!(queue::enqueue(tx, &delivery, now)?, Enqueued::New(_));
    if new {
        account.note(tx, now)?;
    }
    Ok(Ok(new))
}

fn reasons(because: &[i64]) -> Option<Value> {
    (!because.is_empty()).then(|| json!({ BECAUSE: because }))
}

/// The same message may have a row for the same peer. If it waits there for other reasons, it has this one as well; if it
/// ended because those were none, it is forgotten. Gives whether it is to be queued.
fn join(tx: &Connection, seq: i64, to: &Address, because: &[i64]) -> Result<bool, StoreError> {
    let waits = |row: &Delivery| {
        matches!(row.state, DeliveryState::Ready | DeliveryState::Leased | DeliveryState::Held)
    };
    // The row may stand under another address of the same neighbour: what is sent to by HTTP now waited for mail before.
    let same = keys::neighbour(tx, to)?;
    let mut rows = queue::of_message(tx, seq)?;
    rows.retain(|row| row.kind == DeliveryKind::Forward && same.contains(&row.to));
    let (over, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(was_unrelated);
    let Some(known) = rows.iter().find(|row| waits(row)).or(rows.first()) else {
        for row in &over {
            if !queue::forget(tx, row.id)? {
                return Ok(false);
            }
        }
        return Ok(true);
    };
    let mut all = self::because(known);
    if waits(known) && !all.is_empty() {
        all.extend(because);
        all.truncate(REASONS);
        // A step goes there whatever the peer has.
        let detail = if because.is_empty() { None } else { reasons(&all) };
        queue::set_detail(tx, known.id, detail.as_ref())?;
    }
    Ok(false)
}

/// What a row that ended because the peer had nothing that it was for is known by.
const UNRELATED: &str = "unrelated";

/// The peer has none of the messages because of which it was to get this one. Another one may come.
///
/// # Errors
/// Those of any write.
pub(super) fn unrelated(tx: &Connection, delivery: &Delivery) -> Result<(), StoreError> {
    let detail = json!({ BECAUSE: because(delivery), UNRELATED: true });
    queue::set_detail(tx, delivery.id, Some(&detail)).map(drop)
}

/// Whether a row ended by [`unrelated`], and not by a refusal or by the operator.
fn was_unrelated(row: &Delivery) -> bool {
    let marked = row.detail.as_ref().is_some_and(|detail| detail.get(UNRELATED).is_some());
    marked && row.state == DeliveryState::Failed
}

/// A peer has no time for a step of a walk: the next best one of the same decision gets it, if it may get it
/// now, and if so many were not asked yet.
///
/// Crash argument: the new row, and the end of the old one, are one transaction with the mark of the attempt.
/// Before its commit the old delivery is still under way and goes to the same peer again; afterwards the new one
/// waits in the queue. A peer that has a row already gets none, so that two walks never meet, unless that row ended because the
/// peer had nothing that an exchange was for.
///
/// # Errors
/// Those of any write.
pub(super) fn elsewhere(
    tx: &Connection,
    gateway: &Gateway,
    delivery: &Delivery,
    now: UnixTime,
) -> Result<Option<Address>, StoreError> {
    let detail = delivery.detail.as_ref().and_then(|detail| detail.get(OTHERS)).and_then(Value::as_u64);
    let left = detail.and_then(|left| usize::try_from(left).ok()).and_then(|left| left.checked_sub(1));
    let (Some(left), Some(seq)) = (left, delivery.seq) else { return Ok(None) };
    let (Some(stored), Some(made)) = (messages::get(tx, seq)?, decisions::get(tx, seq)?) else {
        return Ok(None);
    };
    let Some(text) = &stored.text else { return Ok(None) };
    let message = text.message()?;
    let config = gateway.config();
    if now.since(message.origin().time.to_unix()) > config.routing.policy.walk_age {
        return Ok(None);
    }
    let decision: Decision = serde_json::from_value(made.detail)
        .map_err(|error| StoreError::Row(format!("a decision: {error}")))?;
    let blocks = std::sync::Arc::clone(&read(&gateway.0.blocks));
    let given = queue::of_message(tx, seq)?;
    for next in decision.peers.into_iter().filter(|peer| peer.spare) {
        let to = next.address;
        let Some(peer) = peers::get(tx, &to)? else { continue };
        let same = keys::neighbour(tx, &to)?;
        let has = |one: &Address| {
            message.hops.addresses().any(|hop| hop.same_place(one))
                || given.iter().any(|row| {
                    row.kind == DeliveryKind::Forward && row.to.same_place(one) && !was_unrelated(row)
                })
        };
        if gateway.0.is_own(&config, &to)
            || same.iter().any(has)
            || same.iter().try_fold(false, |any, one| {
                Ok::<_, StoreError>(any || messages::holds(tx, stored.id, one)?)
            })?
            || ways::may_send(tx, &config, &blocks, &to, Some(&peer))?.is_err()
        {
            continue;
        }
        let known = next.why.strip_prefix("not needed: ").unwrap_or(&next.why);
        let why = format!("in the place of {}, which is busy: {known}", delivery.to);
        let forward = Forward { to, what: What::This, because: Vec::new(), why };
        if let Ok(true) = enqueue(tx, &config, &stored, &forward, left, now)? {
            return Ok(Some(forward.to));
        }
    }
    Ok(None)
}
