//! Everything that happened to one message, from its receipt to the last delivery, in order.
//!
//! It reads what the database has; nothing is written down for it alone. It must never know who asks.

use rusqlite::Connection;

use super::api::{AttemptView, TraceEvent, Traced};
use crate::message::UnixTime;
use crate::store::messages::{self, State, Stored};
use crate::store::queue::{self, Attempt, Delivery};
use crate::store::{StoreError, decisions};

/// The attempts at a delivery, as `queue show` gives them.
pub(super) fn attempts(conn: &Connection, delivery: i64) -> Result<Vec<AttemptView>, StoreError> {
    Ok(queue::attempts(conn, delivery)?.into_iter().map(attempt).collect())
}

fn attempt(attempt: Attempt) -> AttemptView {
    AttemptView {
        time: attempt.at.rfc3339(),
        ended: attempt.ended.to_string(),
        said: attempt.said,
        transcript: attempt.transcript.unwrap_or_default(),
    }
}

/// What happened, each with its moment.
struct Events(Vec<(UnixTime, TraceEvent)>);

impl Events {
    fn add(&mut self, at: UnixTime, what: &str, delivery: Option<i64>, said: impl Into<String>) {
        let event = TraceEvent { time: at.rfc3339(), what: what.to_owned(), delivery, said: said.into() };
        self.0.push((at, event));
    }
}

/// All that is known about the versions of a message.
pub(super) fn traced(conn: &Connection, all: &[Stored]) -> Result<Traced, StoreError> {
    let mut events = Events(Vec::new());
    for stored in all {
        of_version(conn, stored, &mut events)?;
    }
    events.0.sort_by_key(|(at, _)| *at);
    let id = all.first().map(|stored| stored.id.to_string()).unwrap_or_default();
    Ok(Traced { id, events: events.0.into_iter().map(|(_, event)| event).collect() })
}

fn of_version(conn: &Connection, stored: &Stored, events: &mut Events) -> Result<(), StoreError> {
    let conflict = if stored.conflict { "; another message came under the same id" } else { "" };
    events.add(
        stored.received,
        "received",
        None,
        format!(
            "by {} from {}, {} bytes, {}; {}{conflict}",
            stored.via, stored.neighbour, stored.bytes, stored.scope, stored.authenticity
        ),
    );
    if let Some(until) = stored.held_until {
        events.add(
            stored.received,
            "held",
            None,
            format!("it is dated ahead, and waits until {}", until.rfc3339()),
        );
    }
    if let Some(decision) = decisions::get(conn, stored.seq)? {
        let near = match decision.matches.as_slice() {
            [] => String::new(),
            matches => format!("; near to {}", ids(matches)),
        };
        events.add(decision.decided, "decided", None, format!("{}{near}", decision.verdict));
    }
    if let Some(error) = &stored.last_error {
        let said = format!("after {} attempts: {error}", stored.attempts);
        events.add(stored.received, "not decided", None, said);
    }
    for (address, since) in messages::held_by(conn, stored.seq)? {
        events.add(since, "held by", None, format!("{address} has it, too"));
    }
    for delivery in queue::of_message(conn, stored.seq)? {
        of_delivery(conn, &delivery, events)?;
    }
    if stored.state == State::Evicted {
        let at = stored.received;
        events.add(at, "dropped", None, "since then its text has left the pool; only its ids are remembered");
    }
    Ok(())
}

fn ids(matches: &[decisions::Match]) -> String {
    matches.iter().map(|it| it.id.to_string()).collect::<Vec<_>>().join(" ")
}

fn of_delivery(conn: &Connection, delivery: &Delivery, events: &mut Events) -> Result<(), StoreError> {
    let id = Some(delivery.id);
    let what = delivery.kind.as_str().replace('_', " ");
    events.add(
        delivery.created,
        "queued",
        id,
        format!("{what} to {} as <{}>: {}", delivery.to, delivery.message_id, delivery.why),
    );
    let attempts = queue::attempts(conn, delivery.id)?;
    for attempt in &attempts {
        let what = match attempt.ended {
            queue::Ended::Sent => "sent",
            queue::Ended::Again => "not sent yet",
            queue::Ended::Failed => "given up",
        };
        events.add(attempt.at, what, id, attempt.said.clone());
    }
    // Over without an attempt: by the operator.
    if let Some(at) = delivery.finished
        && attempts.last().is_none_or(|last| last.at != at)
    {
        let said = delivery.last_error.clone().unwrap_or_else(|| delivery.state.to_string());
        events.add(at, "over", id, said);
    }
    Ok(())
}
