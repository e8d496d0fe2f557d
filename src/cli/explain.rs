//! `cmr-mail explain`: why a message went where it went.

use super::layout::{Paint, paragraph};
use super::{Context, escape, exit::Outcome, matches, out, words};
use crate::gateway::api::{Explained, ExplainedForward, ExplainedPeer, Request};

/// Say why a message went where it went, with every number
///
/// Prints the decision of the router about one message: its reasons in order, each peer that was
/// considered and what it would have cost, the matches with the words that they share marked and
/// the bits that each word saves, and what was put into the queue.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail explain 0123456789abcdef
  cmr-mail explain --json 0123456789abcdef | jq -r .verdict")]
pub(super) struct Args {
    /// The message's id, 16 hexadecimal digits
    #[arg(value_name = "ID", value_parser = words::id)]
    id: String,
    #[command(flatten)]
    format: super::Format,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let explained: Explained = context.ask(Request::Explain { id: args.id })?;
    if args.format.json { out::json(&explained) } else { out::text(&render(&explained, out::paint())) }
}

/// The text of `explain`, which `demo` shows too.
pub(super) fn render(explained: &Explained, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.bold(&escape::line(&explained.id)));
    text.push_str(&paragraph(&escape::flat(&explained.verdict), 0));
    if !explained.authenticity.is_empty() {
        text.push_str(&paragraph(&format!("Who wrote it: {}", escape::flat(&explained.authenticity)), 0));
    }
    for reason in &explained.reasons {
        let lines = paragraph(&escape::flat(reason), 4);
        text.push_str("  - ");
        text.push_str(lines.strip_prefix("    ").unwrap_or("\n"));
    }
    if let Some(bits) = explained.code_bits {
        text.push_str(&paragraph(
            &format!(
                "Written down by the word coder, with what is known here now, it takes {bits:.0} bits.{}",
                // Without any there are no figures to tell apart from this one.
                if explained.peers.is_empty() && explained.matches.is_empty() {
                    ""
                } else {
                    " The decision summed up its words faster and less exactly; its figures are those below."
                }
            ),
            0,
        ));
    }
    section(&mut text, "Peers, best first", &explained.peers, paint, peer);
    if !explained.matches.is_empty() {
        text.push_str(&format!("\n{}\n", paint.bold("Matches, best first")));
        text.push_str(&matches::render(&explained.matches, paint));
    }
    section(&mut text, "Sent or waiting", &explained.forwards, paint, forward);
    text
}

fn section<T>(
    text: &mut String,
    title: &str,
    rows: &[T],
    paint: Paint,
    render: impl Fn(&T, Paint) -> String,
) {
    if !rows.is_empty() {
        text.push_str(&format!("\n{}\n", paint.bold(title)));
        text.extend(rows.iter().map(|row| render(row, paint)));
    }
}

/// `->` marks the ones that were chosen.
fn peer(peer: &ExplainedPeer, paint: Paint) -> String {
    let mark = if peer.chosen { paint.green("->") } else { "  ".to_owned() };
    let bits = peer.bits.map_or_else(|| "-".to_owned(), |bits| format!("{bits:.1}"));
    let mut text = format!("{:>4} {mark} {bits:>12} bits  {}\n", peer.rank, escape::line(&peer.address));
    text.push_str(&paragraph(&escape::flat(&peer.why), 8));
    text
}

fn forward(forward: &ExplainedForward, _: Paint) -> String {
    let mut text = format!(
        "  {}  {} by {}\n",
        escape::line(&forward.to),
        escape::line(&forward.state),
        escape::line(&forward.transport)
    );
    text.push_str(&paragraph(&escape::flat(&forward.why), 8));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::layout::{WIDTH, columns};

    #[test]
    fn every_number_is_shown_within_the_width() {
        let explained = Explained {
            id: "0123456789abcdef".into(),
            authenticity: "it is signed by example.org (DKIM)".into(),
            verdict: "sent to 1 of 2 peers, because it resembles what they sent".into(),
            reasons: vec!["it is a post of ours".into(), "a long reason ".repeat(10)],
            peers: vec![
                ExplainedPeer {
                    address: "mailto:b@example.org".into(),
                    bits: Some(812.5),
                    rank: 1,
                    chosen: true,
                    why: "the cheapest".into(),
                },
                ExplainedPeer {
                    address: "mailto:c@example.org".into(),
                    bits: None,
                    rank: 2,
                    chosen: false,
                    why: "it stands in the header \u{1b}[0m".into(),
                },
            ],
            matches: vec![matches::sample(), matches::explained_sample()],
            forwards: vec![ExplainedForward {
                to: "mailto:b@example.org".into(),
                transport: "mailto".into(),
                state: "sent".into(),
                why: "first walk 1 of 3".into(),
            }],
            code_bits: Some(812.0),
        };
        let text = render(&explained, Paint::default());
        assert!(text.lines().all(|line| columns(line) <= WIDTH), "{text}");
        for part in [
            "it takes 812 bits",
            "*LARGEST*",
            "Who wrote it: it is signed by example.org (DKIM)\n",
            "  - it is a post of ours\n",
            "   1 ->        812.5 bits  mailto:b@example.org\n        the cheapest\n",
            "   2               - bits  mailto:c@example.org\n        it stands in the header \\x1b[0m\n",
            "Matches, best first\n  1. fedcba9876543210",
            "  mailto:b@example.org  sent by mailto\n        first walk 1 of 3\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }
}
