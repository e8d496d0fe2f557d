//! `cmr-mail queue`: what waits to leave.

use super::exit::Outcome;
use super::layout::{Paint, count, paragraph};
use super::{Context, change, escape, out};
use crate::gateway::api::{AttemptView, DeliveryView, QueueAction, Request};

/// Show what waits to be sent; retry, hold or drop it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail queue                 what waits, and why
  cmr-mail queue list --all      what has left or failed, too
  cmr-mail queue retry           try everything now
  cmr-mail queue hold 12 && cmr-mail queue release 12
  cmr-mail queue drop 12         give up number 12")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// What waits (the default)
    List {
        /// What has left or failed, too
        #[arg(long)]
        all: bool,
    },
    /// One delivery, and what the next hop said at each attempt
    Show {
        /// Its number
        #[arg(value_name = "N")]
        delivery: i64,
    },
    /// Try now: one delivery, or all that wait
    Retry {
        /// Its number
        #[arg(value_name = "N")]
        delivery: Option<i64>,
    },
    /// Do not try until it is released
    Hold {
        /// Its number
        #[arg(value_name = "N")]
        delivery: i64,
    },
    /// Undo hold: for one delivery, or for all that are held
    Release {
        /// Its number
        #[arg(value_name = "N")]
        delivery: Option<i64>,
    },
    /// Give up: it is never sent
    Drop {
        /// Its number
        #[arg(value_name = "N")]
        delivery: i64,
    },
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let json = args.json;
    let action = match args.action.unwrap_or(Action::List { all: false }) {
        Action::List { all } => return list(context, all, json),
        Action::Show { delivery } => return show(context, delivery, json),
        Action::Retry { delivery } => QueueAction::Retry { delivery },
        Action::Hold { delivery } => QueueAction::Hold { delivery },
        Action::Release { delivery } => QueueAction::Release { delivery },
        Action::Drop { delivery } => QueueAction::Drop { delivery },
    };
    change(context, Request::Queue { action }, json)
}

fn fetch(context: &Context, all: bool) -> Outcome<Vec<DeliveryView>> {
    context.ask(Request::Queue { action: QueueAction::List { all } })
}

fn list(context: &Context, all: bool, json: bool) -> Outcome {
    let queue = fetch(context, all)?;
    if json {
        out::json(&queue)
    } else if queue.is_empty() {
        out::text(if all { "The queue is empty.\n" } else { "Nothing waits to be sent.\n" })
    } else {
        out::text(&queue.iter().map(|d| render(d, out::paint())).collect::<String>())
    }
}

fn show(context: &Context, delivery: i64, json: bool) -> Outcome {
    let found: DeliveryView = context.ask(Request::Queue { action: QueueAction::Show { delivery } })?;
    if json {
        return out::json(&found);
    }
    let paint = out::paint();
    let tried: String = found.tried.iter().map(|it| attempt(it, paint)).collect();
    out::text(&format!("{}{tried}", render(&found, paint)))
}

fn render(delivery: &DeliveryView, paint: Paint) -> String {
    let state = escape::line(&delivery.state);
    let state = match delivery.state.as_str() {
        "sent" => paint.green(&state),
        "failed" => paint.red(&state),
        "held" => paint.yellow(&state),
        _ => state,
    };
    let mut about = escape::line(&delivery.kind);
    if !delivery.id.is_empty() {
        about.push_str(&format!(" of {}", escape::line(&delivery.id)));
    }
    about.push_str(&format!(", {}", count(delivery.attempts.into(), "attempt")));
    if !delivery.next_try.is_empty() {
        about.push_str(&format!(", next {}", escape::line(&delivery.next_try)));
    }
    let mut text = format!(
        "{:>6}  {}  {state}\n        {about}\n",
        paint.bold(&delivery.delivery.to_string()),
        escape::line(&delivery.to)
    );
    text.push_str(&paragraph(&escape::flat(&delivery.last_error), 8));
    text
}

/// An attempt: when, how it ended, and what was said.
fn attempt(attempt: &AttemptView, paint: Paint) -> String {
    let ended = match attempt.ended.as_str() {
        "sent" => paint.green("sent"),
        "again" => paint.yellow("not sent yet"),
        _ => paint.red("given up"),
    };
    let mut text = format!("\n{}  {ended}\n", escape::line(&attempt.time));
    text.push_str(&paragraph(&escape::flat(&attempt.said), 4));
    for line in attempt.transcript.lines() {
        text.push_str(&format!("    {}\n", paint.dim(&escape::line(line))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_says_what_it_waits_for() {
        let mut delivery = DeliveryView {
            delivery: 12,
            id: "0123456789abcdef".into(),
            to: "mailto:b@example.org".into(),
            transport: "mailto".into(),
            kind: "forward".into(),
            state: "ready".into(),
            attempts: 1,
            next_try: "2026-11-22T10:05:00Z".into(),
            last_error: "451 4.3.0 not\r\nnow \u{1b}[1m".into(),
            tried: Vec::new(),
        };
        assert_eq!(
            render(&delivery, Paint::default()),
            "    12  mailto:b@example.org  ready\n        \
             forward of 0123456789abcdef, 1 attempt, next 2026-11-22T10:05:00Z\n        \
             451 4.3.0 not now \\x1b[1m\n"
        );
        delivery.id = String::new();
        delivery.kind = "notice".into();
        delivery.next_try = String::new();
        delivery.last_error = String::new();
        assert_eq!(
            render(&delivery, Paint::default()),
            "    12  mailto:b@example.org  ready\n        notice, 1 attempt\n"
        );
    }
}
