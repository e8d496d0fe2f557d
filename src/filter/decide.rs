//! What is in a mail that passes, what is to be done about it, and what came of that.

use super::{Learn, Mode, OnError};
use crate::mail::{self, Reading};
use crate::message;
use crate::smtp::{Reply, Severity};

/// Ids that are named in a mail's mark.
const MOST_IDS: usize = 8;

/// What concerns the gateway in a mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// A posting address is among the recipients of the envelope.
    pub addressed: bool,
    /// The public ids of the CMR messages in it.
    pub ids: Vec<String>,
    /// It is a mail that this gateway wrote: it passes here on its way out.
    pub own: bool,
    /// Its List-Id, if there is one that can be read.
    pub list: Option<String>,
}

/// What is to be done with a mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// It concerns the gateway, whatever the mode makes of that.
    pub concerns: bool,
    /// It goes through the door.
    pub admit: bool,
    /// It is put into the pool as ordinary mail.
    pub learn: bool,
}

/// What becomes of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It goes on to everybody whose copy does not end here.
    Go {
        /// A header line to put above all others, without CRLF.
        stamp: Option<String>,
        /// For the copies that end here.
        taken: Reply,
    },
    /// The copies that end here get this reply; if there are none, the whole mail does. Nothing
    /// was stored.
    Hold(Reply),
    /// It could not be processed and goes on as it is, to everybody, also to whom it was meant to
    /// end here; with the reason.
    Unprocessed(Reply),
}

/// Reads a mail. `reading.envelope_recipients` are all of its recipients.
#[must_use]
pub fn look(raw: &[u8], reading: &Reading<'_>) -> Look {
    let (header, messages) = mail::extract_messages(raw, reading);
    let id = |found: &mail::Found| {
        message::parse(&found.bytes, &reading.limits).ok().map(|it| it.id().to_string())
    };
    let from_us = header.from.as_ref().is_some_and(|from| mail::is_ours(reading.posting, &from.address));
    Look {
        addressed: reading.envelope_recipients.iter().any(|to| mail::is_ours(reading.posting, to)),
        ids: messages.iter().filter_map(id).collect(),
        own: header.our_loop || from_us,
        list: mail::header_fields(raw, "list-id").first().and_then(|value| list_id(value)),
    }
}

/// `lists.example.org` of `The list <lists.example.org>` (RFC 2919), in lower case.
fn list_id(value: &str) -> Option<String> {
    let (_, rest) = value.rsplit_once('<')?;
    let (id, _) = rest.split_once('>')?;
    Some(id.trim().to_ascii_lowercase())
}

/// What is to be done with a mail in which this was seen.
#[must_use]
pub fn intend(mode: Mode, learn: &Learn, look: &Look) -> Intent {
    // Our own answers and forwards pass the filter on their way out. They are not news to us,
    // unless somebody sends them back to us.
    let concerns = look.addressed || (!look.ids.is_empty() && !look.own);
    let wanted = match learn {
        Learn::Nothing => false,
        Learn::All => true,
        Learn::Lists(lists) => look
            .list
            .as_ref()
            .is_some_and(|list| lists.iter().any(|wanted| wanted.eq_ignore_ascii_case(list))),
    };
    Intent {
        concerns,
        admit: concerns && mode != Mode::Shadow,
        learn: wanted && !concerns && !look.own && mode != Mode::Shadow,
    }
}

/// What becomes of a mail about which the door said `reply`. `ends_here`: a copy of it was to end
/// here.
#[must_use]
pub fn settle(on_error: OnError, ends_here: bool, hostname: &str, reply: Reply, ids: &[String]) -> Judgement {
    match reply.severity() {
        Severity::Transient if is_trouble(&reply) => match on_error {
            OnError::Defer => Judgement::Hold(reply),
            OnError::Pass => Judgement::Unprocessed(reply),
        },
        // A limit that somebody has reached here is no reason to hold up mail for others.
        Severity::Transient if ends_here => Judgement::Hold(reply),
        // A refusal must not become a bounce to a sender that may be forged: the mail server in
        // front has accepted the mail.
        _ => {
            let stamp = Some(stamp(hostname, ids, &reply));
            let taken = match reply.severity() {
                Severity::Success => reply,
                _ => Reply::stored(&format!("not taken: {reply}")),
            };
            Judgement::Go { stamp, taken }
        }
    }
}

/// Whether something is wrong here, or with what is asked from here, and not with the mail: system,
/// routing or network status (RFC 3463).
fn is_trouble(reply: &Reply) -> bool {
    reply.enhanced().is_none_or(|status| matches!(status.as_bytes(), [b'4', b'.', b'3' | b'4', b'.', ..]))
}

/// The mark of a mail that was processed: whose, which messages, and what was said of it.
#[must_use]
pub fn stamp(hostname: &str, ids: &[String], reply: &Reply) -> String {
    let mut shown = ids.iter().take(MOST_IDS).map(String::as_str).collect::<Vec<_>>().join(",");
    if ids.len() > MOST_IDS {
        shown.push_str(&format!(" and {} more", ids.len() - MOST_IDS));
    }
    if shown.is_empty() {
        shown.push_str("none");
    }
    let status = reply.enhanced().unwrap_or_default();
    let verdict = if reply.severity() == Severity::Success && !ids.is_empty() { "taken" } else { "seen" };
    let verdict = if reply.severity() > Severity::Success { "refused" } else { verdict };
    format!("X-CMR: {hostname}; id={shown}; verdict={verdict} ({} {status})", reply.code())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Caps;
    use crate::message::Limits;

    fn see(raw: &str, recipients: &[&str]) -> Look {
        let to: Vec<String> = recipients.iter().map(|to| (*to).to_owned()).collect();
        look(
            raw.as_bytes(),
            &Reading {
                posting: &["cmr@home.test".to_owned()],
                envelope_recipients: &to,
                hostname: "mx.home.test",
                loop_marker: "mx.home.test",
                limits: Limits::default(),
                caps: Caps::default(),
                forwarded: true,
            },
        )
    }

    const PLAIN: &str = "From: a@b.test\r\nTo: bob@home.test\r\nSubject: x\r\n\r\ntext\r\n";
    const CMR: &str = "From: cmr@peer.test\r\nTo: bob@home.test\r\n\r\n0\r\n2026/01/02 03:04:05 mailto:cmr@peer.test\r\n\r\n5\r\nhello\r\n";

    #[test]
    fn a_mail_concerns_us_by_its_envelope_or_by_what_it_holds() {
        assert_eq!(see(PLAIN, &["bob@home.test"]), Look::default());
        assert!(see(PLAIN, &["bob@home.test", "CMR+tag@home.test"]).addressed);
        // To and Cc are no envelope: a copy for cmr@ comes by itself.
        assert!(!see(&PLAIN.replace("bob@home", "cmr@home"), &["bob@home.test"]).addressed);
        let seen = see(CMR, &["bob@home.test"]);
        assert_eq!((seen.ids.len(), seen.own, seen.addressed), (1, false, false));
        assert_eq!(seen.ids[0].len(), 16);
        assert!(see(&CMR.replacen("cmr@peer", "cmr@home", 1), &["bob@home.test"]).own);
        let marked = format!("X-CMR-Loop: mx.home.test\r\n{PLAIN}");
        assert!(see(&marked, &["bob@home.test"]).own);
        let list = format!("List-Id: The List\r\n <Lists.Example.ORG>\r\n{PLAIN}");
        assert_eq!(see(&list, &["bob@home.test"]).list.as_deref(), Some("lists.example.org"));
    }

    #[test]
    fn what_is_to_be_done() {
        let looks = [
            ("ordinary", Look::default()),
            ("addressed", Look { addressed: true, ..Look::default() }),
            ("holds", Look { ids: vec!["x".to_owned()], ..Look::default() }),
            ("our own", Look { ids: vec!["x".to_owned()], own: true, ..Look::default() }),
            ("own, back", Look { ids: vec!["x".to_owned()], own: true, addressed: true, ..Look::default() }),
        ];
        let concerns = [false, true, true, false, true];
        for ((what, look), concerns) in looks.iter().zip(concerns) {
            for mode in [Mode::Shadow, Mode::Copy, Mode::Take] {
                let intent = intend(mode, &Learn::Nothing, look);
                let admit = concerns && mode != Mode::Shadow;
                assert_eq!(intent, Intent { concerns, admit, learn: false }, "{what} {mode:?}");
            }
        }
        let list = |id: &str| Look { list: Some(id.to_owned()), ..Look::default() };
        let lists = Learn::Lists(vec!["A.example".to_owned()]);
        for (mode, learn, look, learned) in [
            (Mode::Copy, &Learn::All, &Look::default(), true),
            (Mode::Take, &Learn::All, &Look::default(), true),
            (Mode::Shadow, &Learn::All, &Look::default(), false),
            (Mode::Copy, &Learn::All, &looks[1].1, false),
            (Mode::Copy, &Learn::All, &looks[3].1, false),
            (Mode::Copy, &lists, &Look::default(), false),
            (Mode::Copy, &lists, &list("a.example"), true),
            (Mode::Copy, &lists, &list("b.example"), false),
        ] {
            assert_eq!(intend(mode, learn, look).learn, learned, "{mode:?} {learn:?} {look:?}");
        }
    }

    #[test]
    fn trouble_here_goes_by_on_error_and_limits_hold_only_what_ends_here() {
        let kind = |judgement: &Judgement| match judgement {
            Judgement::Go { taken, .. } => format!("go {}", taken.code()),
            Judgement::Hold(reply) => format!("hold {}", reply.code()),
            Judgement::Unprocessed(_) => "unprocessed".to_owned(),
        };
        for (reply, on_error, ends_here, want) in [
            (Reply::stored("x"), OnError::Defer, true, "go 250"),
            (Reply::trouble("x"), OnError::Defer, false, "hold 451"),
            (Reply::no_room("x"), OnError::Defer, true, "hold 452"),
            (Reply::trouble("x"), OnError::Pass, true, "unprocessed"),
            (Reply::new(451, 4, 3, "dns"), OnError::Pass, false, "unprocessed"),
            (Reply::too_fast("x"), OnError::Pass, true, "hold 450"),
            (Reply::too_fast("x"), OnError::Defer, false, "go 250"),
            (Reply::not_allowed("x"), OnError::Defer, true, "go 250"),
            (Reply::not_allowed("x"), OnError::Defer, false, "go 250"),
        ] {
            let text = reply.to_string();
            let judgement = settle(on_error, ends_here, "mx", reply, &[]);
            assert_eq!(kind(&judgement), want, "{text} {on_error:?} {ends_here}");
        }
    }

    #[test]
    fn the_mark_is_one_short_line() {
        let ids = |number: usize| vec!["0123456789abcdef".to_owned(); number];
        for (ids, reply, want) in [
            (ids(1), Reply::stored("x"), "X-CMR: mx; id=0123456789abcdef; verdict=taken (250 2.0.0)"),
            (ids(0), Reply::stored("x"), "X-CMR: mx; id=none; verdict=seen (250 2.0.0)"),
            (ids(0), Reply::too_fast("x"), "X-CMR: mx; id=none; verdict=refused (450 4.7.1)"),
        ] {
            assert_eq!(stamp("mx", &ids, &reply), want);
        }
        let long = stamp(&"m".repeat(253), &ids(1000), &Reply::stored("x"));
        assert!(long.len() < 500 && long.contains("and 992 more"), "{long}");
    }
}
