//! `cmr-mail peers`: who is known, and what we make of them.

use super::exit::{Outcome, UNAVAILABLE, fail};
use super::layout::{Paint, bytes, count};
use super::{Context, OneOrMany, change, escape, out, words};
use crate::gateway::api::{BounceView, PeerAction, PeerView, ReputationView, Request};
use crate::policy::reputation::Cause;

/// List, show, pin and block other gateways
///
/// A pinned peer is one that you chose: it may be sent to, it is never replaced by a learned one,
/// and its word for others counts. A blocked one is neither heard nor sent to. An address whose mail came
/// back three times because nobody is there gets no more, until it writes or you say `unsuppress`.
/// A change that finds nothing to change says so, and exits with 0.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail peers
  cmr-mail peers pin mailto:cmr@peer.example
  cmr-mail peers block mailto:cmr@junk.example
  cmr-mail peers history mailto:cmr@peer.example
  cmr-mail peers --json | jq -r '.[] | select(.blocked) | .address'")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// All of them (the default)
    List,
    /// One of them
    Show(One),
    /// Choose a peer: it may be sent to and is never replaced by a learned one
    Pin(One),
    /// Undo pin
    Unpin(One),
    /// Refuse what it sends, and send nothing to it
    Block(One),
    /// Undo block
    Unblock(One),
    /// Forget it and what is thought of it; what it sent stays
    Forget(One),
    /// What moved its reputation, newest first
    History(One),
    /// Whose mail came back, and to whom nothing goes any more because of that; people included
    Bounced,
    /// Write again to an address whose mail came back
    Unsuppress(One),
}

#[derive(Debug, clap::Args)]
struct One {
    /// Its CMR address, such as mailto:cmr@peer.example
    address: String,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let action = match args.action.unwrap_or(Action::List) {
        Action::List => PeerAction::List,
        Action::Show(one) => PeerAction::Show { address: words::address(one.address) },
        Action::Pin(one) => PeerAction::Pin { address: words::address(one.address) },
        Action::Unpin(one) => PeerAction::Unpin { address: words::address(one.address) },
        Action::Block(one) => PeerAction::Block { address: words::address(one.address) },
        Action::Unblock(one) => PeerAction::Unblock { address: words::address(one.address) },
        Action::Forget(one) => PeerAction::Forget { address: words::address(one.address) },
        Action::Unsuppress(one) => PeerAction::Unsuppress { address: words::address(one.address) },
        Action::History(one) => return history(context, words::address(one.address), args.json),
        Action::Bounced => return bounced(context, args.json),
    };
    let single = matches!(action, PeerAction::Show { .. });
    if !single && !matches!(action, PeerAction::List) {
        return change(context, Request::Peers { action }, args.json);
    }
    let peers: OneOrMany<PeerView> = context.ask(Request::Peers { action })?;
    let peers = peers.into_vec();
    let text = match (single, peers.first()) {
        (true, None) => return fail(UNAVAILABLE, "there is no such peer"),
        (true, Some(peer)) if args.json => return out::json(peer),
        (false, _) if args.json => return out::json(&peers),
        (false, None) => "No peers yet: `cmr-mail peers pin ADDRESS` chooses one.\n".to_owned(),
        (_, Some(_)) => peers.iter().map(|peer| render(peer, out::paint())).collect(),
    };
    out::text(&text)
}

fn history(context: &Context, address: String, json: bool) -> Outcome {
    let action = PeerAction::History { address };
    let rows: Vec<ReputationView> = context.ask(Request::Peers { action })?;
    if json {
        return out::json(&rows);
    }
    let line = |row: &ReputationView| {
        let cause = match row.cause {
            Cause::Gain => "messages that were of use",
            Cause::Duplicate => "messages that it knew we have",
            Cause::Junk => "messages that look like junk",
            Cause::Good => "votes for its messages",
            Cause::Bad => "votes against its messages",
        };
        let time = escape::line(&row.time);
        format!("{time}  {:+.3} to {:+.3}  {} {cause}\n", row.change, row.reputation, row.number)
    };
    let text: String = rows.iter().map(line).collect();
    out::text(if text.is_empty() { "Nothing has moved its reputation yet.\n" } else { &text })
}

fn bounced(context: &Context, json: bool) -> Outcome {
    let rows: Vec<BounceView> = context.ask(Request::Peers { action: PeerAction::Bounced })?;
    if json {
        return out::json(&rows);
    }
    let line = |row: &BounceView| {
        let since = match row.suppressed.as_str() {
            "" => "still written to".to_owned(),
            time => format!("nothing goes there since {}", escape::line(time)),
        };
        let (address, status, last) =
            (escape::line(&row.address), escape::line(&row.status), escape::line(&row.last));
        format!(
            "{address}\n    {} came back, {status} on {last}; {since}\n",
            count(u64::from(row.bounces), "mail")
        )
    };
    let text: String = rows.iter().map(line).collect();
    out::text(if text.is_empty() { "No mail has come back.\n" } else { &text })
}

fn render(peer: &PeerView, paint: Paint) -> String {
    let mut marks = Vec::new();
    if !peer.suppressed.is_empty() {
        marks.push(paint.red("mail came back"));
    }
    if peer.blocked {
        marks.push(paint.red("blocked"));
    }
    if peer.pinned {
        marks.push(paint.green("pinned"));
    }
    marks.push(match peer.key.as_str() {
        "none" => "no key".to_owned(),
        key => format!("key: {}", escape::line(key)),
    });
    let seen = match peer.last_seen.as_str() {
        "" => "never heard of".to_owned(),
        time => format!("last seen {}", escape::line(time)),
    };
    format!(
        "{}  {}\n    {}, {}, reputation {:+.2}, {seen}\n",
        paint.bold(&escape::line(&peer.address)),
        marks.join(", "),
        count(peer.messages, "message"),
        bytes(peer.bytes),
        peer.reputation,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_two_lines() {
        let mut peer = PeerView {
            address: "mailto:b\u{7}@example.org".into(),
            messages: 12,
            bytes: 3500,
            reputation: 0.25,
            key: "hmac".into(),
            last_seen: "2026-11-22T10:00:00Z".into(),
            blocked: false,
            pinned: true,
            bounces: 0,
            suppressed: String::new(),
        };
        assert_eq!(
            render(&peer, Paint::default()),
            "mailto:b\\x07@example.org  pinned, key: hmac\n    \
             12 messages, 3.4 KiB, reputation +0.25, last seen 2026-11-22T10:00:00Z\n"
        );
        peer.blocked = true;
        peer.pinned = false;
        peer.key = "none".into();
        peer.last_seen = String::new();
        peer.reputation = -1.0;
        assert_eq!(
            render(&peer, Paint::default()),
            "mailto:b\\x07@example.org  blocked, no key\n    \
             12 messages, 3.4 KiB, reputation -1.00, never heard of\n"
        );
    }
}
