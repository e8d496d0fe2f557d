//! `cmr-mail post`: put a text into the pool and see what is closest to it.

use super::layout::Paint;
use super::{Context, escape, exit::Outcome, matches, out, words};
use crate::gateway::api::{Posted, Request};

/// Put a text into the pool; prints what the pool holds that is closest to it
///
/// The text is posted as it is, as a message of the gateway's operator or of --from. It is routed
/// like any other post: closely related messages are answered with, and peers get a copy.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail post Which planet is the largest?
  cmr-mail post --from mailto:anna@example.org - < note.txt
  cmr-mail post --json Jupiter is the largest planet | jq -r .id")]
pub(super) struct Args {
    /// The words of the text; a single - reads it from standard input
    #[arg(required = true, value_name = "TEXT")]
    text: Vec<String>,
    /// Whose message it is, as mailto:NAME@DOMAIN (default: the gateway's operator). This address
    /// stands in the message as it is, for everybody to see: no alias takes its place
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    #[command(flatten)]
    format: super::Format,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let text = words::text(args.text, context.config()?.smtp.max_message)?;
    let from = args.from.map(words::address);
    let posted: Posted = context.ask(Request::Post { text, from })?;
    if args.format.json { out::json(&posted) } else { out::text(&render(&posted, out::paint())) }
}

fn render(posted: &Posted, paint: Paint) -> String {
    let mut text =
        format!("Posted {} as {}\n", paint.bold(&escape::line(&posted.id)), escape::line(&posted.from));
    if posted.matches.is_empty() {
        text.push_str("The pool holds nothing that is like it.\n");
    } else {
        text.push_str("\nClosest in the pool:\n\n");
        text.push_str(&matches::render(&posted.matches, paint));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_is_shown_with_what_is_closest() {
        let mut posted = Posted {
            id: "0123456789abcdef".into(),
            time: "2026/11/22 10:00:00.5".into(),
            from: "mailto:o\u{1b}@example.org".into(),
            matches: Vec::new(),
        };
        let alone = render(&posted, Paint::default());
        assert_eq!(
            alone,
            "Posted 0123456789abcdef as mailto:o\\x1b@example.org\n\
             The pool holds nothing that is like it.\n"
        );
        posted.matches.push(matches::sample());
        assert!(render(&posted, Paint::default()).contains("Closest in the pool:\n\n  1. fedcba"));
    }
}
