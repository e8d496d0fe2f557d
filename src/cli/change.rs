//! Verbs that change something end in one sentence.

use super::exit::Outcome;
use super::{Context, escape, out};
use crate::gateway::api::{Changed, Request};

/// Asks for a change and shows what was done.
pub(super) fn change(context: &Context, request: Request, json: bool) -> Outcome {
    let changed: Changed = context.ask(request)?;
    if json { out::json(&changed) } else { out::text(&format!("{}\n", escape::text(&changed.done))) }
}
