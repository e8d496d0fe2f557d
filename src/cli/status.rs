//! `cmr-mail status`: figures of the whole gateway.

use super::layout::{Paint, bytes, count, duration, pairs};
use super::{Context, escape, exit::Outcome, out};
use crate::gateway::api::{MailboxView, Request, Status};

/// Below this much room it is said, in bytes.
pub(super) const ROOM: u64 = 1 << 30;

/// Show how the gateway is doing
///
/// Says whether the daemon runs, how much the pool holds, and what waits or went wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail status
  cmr-mail status --json | jq .queued")]
pub(super) struct Args {
    #[command(flatten)]
    format: super::Format,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let status: Status = context.ask(Request::Status)?;
    if args.format.json { out::json(&status) } else { out::text(&render(&status, out::paint())) }
}

fn render(status: &Status, paint: Paint) -> String {
    let daemon = if status.daemon {
        paint.green(&format!("running for {}", duration(status.uptime_seconds)))
    } else {
        paint.yellow("not running: `cmr-mail serve` starts it")
    };
    let queue = if status.queued == 0 {
        "empty".to_owned()
    } else {
        format!("{}, the oldest for {}", count(status.queued, "mail"), duration(status.oldest_queued_seconds))
    };
    let mut rows = vec![
        ("version", escape::line(&status.version)),
        ("daemon", daemon),
        ("pool", format!("{}, {}", count(status.messages, "message"), bytes(status.bytes))),
        ("peers", status.peers.to_string()),
        ("queue", queue),
        ("unrouted", count(status.unrouted, "message")),
    ];
    if !status.trouble.is_empty() {
        let trouble = format!("the last write failed: {}", escape::flat(&status.trouble));
        rows.push(("database", paint.red(&trouble)));
    }
    if let Some(free) = status.free_bytes.filter(|free| *free < ROOM) {
        let room = format!("{} free: without room mail gets 452", bytes(free));
        rows.push(("disk", paint.red(&room)));
    }
    if status.failed > 0 {
        let failed = format!("{} (the log says why)", count(status.failed, "message"));
        rows.push(("failed", paint.red(&failed)));
    }
    if status.asides > 0 {
        rows.push(("aside", format!("{}: cmr-mail show --aside", status.asides)));
    }
    if status.silenced > 0 {
        rows.push((
            "silenced",
            format!("{} kept back by a limit of [policy] or [people]", count(status.silenced, "mail")),
        ));
    }
    if status.came_back > 0 {
        rows.push(("came back", format!("{} of our own", count(status.came_back, "mail"))));
    }
    if status.unsent > 0 {
        let unsent = format!(
            "{}: the queue was full, and their authors got no answer",
            count(status.unsent, "message")
        );
        rows.push(("unsent", paint.red(&unsent)));
    }
    let mailboxes: Vec<String> = status.mailboxes.iter().map(|one| mailbox(one, paint)).collect();
    rows.extend(mailboxes.into_iter().map(|line| ("mailbox", line)));
    pairs(&rows, paint)
}

/// One mailbox in a line.
fn mailbox(one: &MailboxView, paint: Paint) -> String {
    let mut parts = vec![format!("{} ({})", escape::line(&one.account), escape::line(&one.folder))];
    match one.state.as_str() {
        "new" if one.behind > 0 => parts.push("not read to its end yet".to_owned()),
        "new" => parts.push("not read yet".to_owned()),
        "failing" => {
            parts.push(paint.red(&format!("since {}: {}", one.error_since, escape::flat(&one.error))))
        }
        "idle" => parts.push(paint.green("the server tells when mail comes")),
        state => parts.push(paint.green(&escape::line(state))),
    }
    if !one.last_success.is_empty() {
        parts.push(format!("read {}", escape::line(&one.last_success)));
    } else if one.state == "failing" {
        parts.push("never read".to_owned());
    }
    if let Some(lag) = one.lag_milliseconds {
        parts.push(format!("the last mail waited {}", duration(lag / 1000)));
    }
    if one.behind > 0 {
        parts.push(format!("{} to be looked at", count(one.behind, "mail")));
    }
    if one.too_large > 0 {
        parts.push(format!("{} too large", count(one.too_large, "mail")));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_gateway_is_short_and_a_troubled_one_says_so() {
        let mut status = Status {
            version: "0.1.0".into(),
            messages: 2,
            bytes: 300,
            peers: 1,
            queued: 0,
            oldest_queued_seconds: 0,
            uptime_seconds: 61,
            unrouted: 0,
            failed: 0,
            asides: 0,
            silenced: 0,
            came_back: 0,
            unsent: 0,
            trouble: String::new(),
            free_bytes: Some(5 << 30),
            daemon: true,
            mailboxes: Vec::new(),
        };
        assert_eq!(
            render(&status, Paint::default()),
            "version   0.1.0\n\
             daemon    running for 1 min 1 s\n\
             pool      2 messages, 300 bytes\n\
             peers     1\n\
             queue     empty\n\
             unrouted  0 messages\n"
        );
        status.daemon = false;
        status.queued = 1;
        status.oldest_queued_seconds = 3600;
        status.failed = 1;
        status.asides = 4;
        status.silenced = 2;
        status.unsent = 1;
        status.trouble = "no room left for the database: disk full".into();
        status.free_bytes = Some(4096);
        status.mailboxes = vec![
            MailboxView {
                account: "inbox".into(),
                folder: "INBOX".into(),
                state: "failing".into(),
                last_success: "2026-11-22T08:00:00Z".into(),
                lag_milliseconds: Some(2500),
                behind: 7,
                error: "the login is refused: no\u{1b}".into(),
                error_since: "2026-11-22T08:30:00Z".into(),
                ..MailboxView::default()
            },
            MailboxView {
                account: "a".into(),
                folder: "F".into(),
                state: "new".into(),
                behind: 99_750,
                ..MailboxView::default()
            },
            MailboxView {
                account: "b".into(),
                folder: "F".into(),
                state: "idle".into(),
                ..MailboxView::default()
            },
        ];
        let text = render(&status, Paint::default());
        for part in [
            "not running: `cmr-mail serve` starts it\n",
            "queue     1 mail, the oldest for 1 h 0 min\n",
            "database  the last write failed: no room left for the database: disk full\n",
            "disk      4.0 KiB free: without room mail gets 452\n",
            "failed    1 message (the log says why)\n",
            "aside     4: cmr-mail show --aside\n",
            "silenced  2 mails kept back by a limit of [policy] or [people]\n",
            "unsent    1 message: the queue was full, and their authors got no answer\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        // Long lines are broken.
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "inbox (INBOX), since 2026-11-22T08:30:00Z: the login is refused: no\\x1b, read 2026-11-22T08:00:00Z, \
             the last mail waited 2 s, 7 mails to be looked at",
            "a (F), not read to its end yet, 99750 mails to be looked at",
            "b (F), the server tells when mail comes",
        ] {
            assert!(flat.contains(part), "{part:?} in\n{text}");
        }
    }
}
