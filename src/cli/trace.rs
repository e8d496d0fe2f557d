//! `cmr-mail trace`: what happened to a message.

use super::layout::{Paint, paragraph};
use super::{Context, escape, exit::Outcome, out, words};
use crate::gateway::api::{Request, TraceEvent, Traced};

/// Show everything that happened to a message, from its receipt to the last delivery
///
/// The same id stands in every line of the log that is about the message.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail trace 0123456789abcdef
  journalctl -u cmr-mail --grep 0123456789abcdef      the log's word on it
  cmr-mail queue show 12                              what the next hop said")]
pub(super) struct Args {
    /// The message's id, 16 hexadecimal digits
    #[arg(value_name = "ID", value_parser = words::id)]
    id: String,
    #[command(flatten)]
    format: super::Format,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let traced: Traced = context.ask(Request::Trace { id: args.id })?;
    if args.format.json { out::json(&traced) } else { out::text(&render(&traced, out::paint())) }
}

fn render(traced: &Traced, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.bold(&escape::line(&traced.id)));
    text.extend(traced.events.iter().map(|it| event(it, paint)));
    text
}

fn event(event: &TraceEvent, paint: Paint) -> String {
    let what = escape::line(&event.what);
    let what = match event.what.as_str() {
        "sent" => paint.green(&what),
        "given up" | "not decided" => paint.red(&what),
        "not sent yet" | "held" => paint.yellow(&what),
        _ => what,
    };
    let number = event.delivery.map_or_else(String::new, |number| format!("  (delivery {number})"));
    let mut text = format!("{}  {what}{number}\n", paint.dim(&escape::line(&event.time)));
    text.push_str(&paragraph(&escape::flat(&event.said), 4));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_its_time_and_what_was_said() {
        let traced = Traced {
            id: "0123456789abcdef".into(),
            events: vec![
                TraceEvent {
                    time: "2026-11-22T10:05:00Z".into(),
                    what: "received".into(),
                    delivery: None,
                    said: "by smtp from mailto:a@example.org\u{1b}".into(),
                },
                TraceEvent {
                    time: "2026-11-22T10:05:01Z".into(),
                    what: "sent".into(),
                    delivery: Some(12),
                    said: "250 ok".into(),
                },
            ],
        };
        assert_eq!(
            render(&traced, Paint::default()),
            "0123456789abcdef\n2026-11-22T10:05:00Z  received\n    by smtp from mailto:a@example.org\\x1b\n\
             2026-11-22T10:05:01Z  sent  (delivery 12)\n    250 ok\n"
        );
    }
}
