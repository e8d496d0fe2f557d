//! The same as JSON, with the fields that the verbs print. `openapi.json` describes it.

use serde_json::Value;

use super::access::Visitor;
use super::answer::{Ask, Method, Reply};
use super::site::{House, Site, not_found, queue_action, status};
use crate::gateway::api::{Failure, PeerAction, QueueAction, Request};

const OPENAPI: &str = include_str!("openapi.json");

/// Results that a search gives without being asked for a number, and at most.
const RESULTS: (usize, usize) = (10, 100);

pub(super) fn answer<H: House>(
    site: &Site<H>,
    ask: &Ask,
    visitor: &Visitor,
    steps: &[&str],
) -> Result<Reply, Reply> {
    let request = match (ask.method, steps) {
        (Method::Get, ["openapi.json"]) => return Ok(Reply::new(200, "application/json", OPENAPI)),
        (Method::Post, ["queue", rest @ ..]) => {
            site.access.may_change(ask, visitor)?;
            let (action, name) = queue_action(rest).ok_or_else(not_found)?;
            tracing::info!(user = visitor.user.as_deref(), action = name, "changed by the pages");
            Request::Queue { action }
        }
        (Method::Get, steps) => read(ask, steps).ok_or_else(not_found)?,
        _ => return Err(not_found()),
    };
    match site.house.ask(request) {
        Ok(value) => Ok(json(200, &picked(steps, value))),
        Err(failure) => Err(failed(&failure)),
    }
}

fn read(ask: &Ask, steps: &[&str]) -> Option<Request> {
    Some(match steps {
        ["status" | "mailboxes"] => Request::Status,
        ["search"] => Request::Search {
            text: ask.parameter("q").unwrap_or_default().to_owned(),
            limit: ask.parameter("n").and_then(|n| n.parse().ok()).unwrap_or(RESULTS.0).min(RESULTS.1),
            shared: true,
        },
        ["messages", id] => Request::Show { id: (*id).to_owned() },
        ["messages", id, "explain"] => Request::Explain { id: (*id).to_owned() },
        ["messages", id, "trace"] => Request::Trace { id: (*id).to_owned() },
        ["peers"] => Request::Peers { action: PeerAction::List },
        ["peers", "history"] => {
            let address = ask.parameter("address").unwrap_or_default().to_owned();
            Request::Peers { action: PeerAction::History { address } }
        }
        ["queue"] => Request::Queue { action: QueueAction::List { all: ask.parameter("all").is_some() } },
        ["queue", number] => Request::Queue { action: QueueAction::Show { delivery: number.parse().ok()? } },
        ["asides"] => Request::Asides { id: None },
        _ => return None,
    })
}

/// The part of the result that was asked for.
fn picked(steps: &[&str], value: Value) -> Value {
    match steps {
        ["mailboxes"] => value.get("mailboxes").cloned().unwrap_or(Value::Array(Vec::new())),
        _ => value,
    }
}

fn json(status: u16, value: &Value) -> Reply {
    Reply::new(status, "application/json", value.to_string())
}

fn failed(failure: &Failure) -> Reply {
    json(status(failure), &serde_json::json!({ "error": failure.sentence }))
}
