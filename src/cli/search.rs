//! `cmr-mail search`: look without posting.

use super::layout::{Paint, count, duration};
use super::{Context, exit::Outcome, matches, out, words};
use crate::gateway::api::{Found, Request};

/// Look for messages that are like a text, without posting it
///
/// Nothing is stored and nobody is told. Messages are compared by how many bits their words save
/// when the text is written down. Best first, where older ones count a little less: they pay a bit
/// for each doubling of the messages that came since, so the numbers need not fall from line to line.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail search largest planet
  cmr-mail search -n 20 - < draft.txt
  cmr-mail search --json largest planet | jq '.matches[0].excerpt'")]
pub(super) struct Args {
    /// The words to look for; a single - reads them from standard input
    #[arg(required = true, value_name = "TEXT")]
    text: Vec<String>,
    /// How many results at most
    #[arg(short = 'n', long = "limit", value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    format: super::Format,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let text = words::text(args.text, context.config()?.smtp.max_message)?;
    let found: Found = context.ask(Request::Search { text, limit: args.limit.into(), shared: false })?;
    if args.format.json { out::json(&found) } else { out::text(&render(&found, out::paint())) }
}

fn render(found: &Found, paint: Paint) -> String {
    let mut text = if found.matches.is_empty() {
        "The pool holds nothing that is like it.\n".to_owned()
    } else {
        matches::render(&found.matches, paint)
    };
    let time = if found.micros < 1000 {
        format!("{} µs", found.micros)
    } else if found.micros < 10_000_000 {
        format!("{}.{} ms", found.micros / 1000, found.micros / 100 % 10)
    } else {
        duration(found.micros / 1_000_000)
    };
    let candidates = u64::try_from(found.candidates).unwrap_or(u64::MAX);
    let foot = format!("{} compared in {time}", count(candidates, "message"));
    text.push_str(&paint.dim(&foot));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_end_with_what_was_compared() {
        let mut found =
            Found { query_bytes: 3, candidates: 1, micros: 1234, matches: vec![matches::sample()] };
        let text = render(&found, Paint::default());
        assert!(text.starts_with("  1. fedcba"), "{text}");
        assert!(text.ends_with("1 message compared in 1.2 ms\n"), "{text}");
        found.matches.clear();
        assert!(render(&found, Paint::default()).starts_with("The pool holds nothing"));
    }
}
