//! Mail of ours that came back: which delivery is meant, and what follows for its address.
//!
//! A report never causes a mail, and one that does not name a delivery of ours for certain changes
//! nothing: anybody can write one.

use rusqlite::Connection;

use super::{clock, people as names, ways};
use crate::config::Config;
use crate::mail::Bounce;
use crate::message::UnixTime;
use crate::policy::bounce::{Meaning, SUPPRESS_AFTER, meaning};
use crate::store::limits::{self, Counted};
use crate::store::queue::{self, Delivery};
use crate::store::{StoreError, bounces};

/// What stands behind the tag of a delivery's envelope sender: `NUMBER-CHECK`.
pub(super) fn token(delivery: &Delivery) -> String {
    let check = names::token(&clock::digest(Some(&delivery.message_id), b"bounce"));
    format!("{}-{}", delivery.id, check.chars().take(8).collect::<String>())
}

/// A report came to the envelope sender with this token. Gives a sentence for the log.
///
/// # Errors
/// Those of any write.
pub(super) fn reported(
    tx: &Connection,
    config: &Config,
    (told, report): (&str, Option<&Bounce>),
    now: UnixTime,
) -> Result<&'static str, StoreError> {
    let number = told.split_once('-').and_then(|(number, _)| number.parse().ok());
    let delivery = number.map(|number| queue::get(tx, number)).transpose()?.flatten();
    let Some(delivery) = delivery.filter(|delivery| token(delivery).eq_ignore_ascii_case(told)) else {
        limits::note(tx, Counted::ForgedReport, b"", now)?;
        return Ok("a report about no mail of ours");
    };
    let Some(report) = report else { return Ok("a report that says nothing for certain") };
    let Some(status) = report.status.filter(|_| report.failed) else {
        return Ok("a report about a mail that is late, or was delivered");
    };
    let parts = (status.class, status.subject, status.detail);
    failed(tx, config, &delivery, (parts, &status.to_string()), now)
}

/// A delivery failed, as the next hop or a report says, with class, subject and detail of RFC 3463; each counts once.
///
/// # Errors
/// Those of any write.
pub(super) fn failed(
    tx: &Connection,
    config: &Config,
    delivery: &Delivery,
    ((class, subject, detail), status): ((u8, u16, u16), &str),
    now: UnixTime,
) -> Result<&'static str, StoreError> {
    match meaning(class, subject, detail) {
        Meaning::Passing => return Ok("a report about trouble that passes"),
        Meaning::Refused => {
            ways::note_refusal(tx, config, delivery, Some((class, subject)))?;
            return Ok("a report about a mail that was not wanted");
        }
        Meaning::Dead => {}
    }
    if !bounces::came_back(tx, delivery.id, now)? {
        return Ok("a report that was here before");
    }
    if bounces::failed(tx, &delivery.to, status, SUPPRESS_AFTER, now)? {
        tracing::warn!(to = %delivery.to, status, "nothing goes there any more: its mail came back");
        return Ok("a report; nothing goes to that address any more");
    }
    Ok("a report about an address that takes no mail")
}
