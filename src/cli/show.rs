//! `cmr-mail show`: one message, its exact bytes, or what was kept aside.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::exit::{Outcome, SOFTWARE, UNAVAILABLE, fail};
use super::layout::{Paint, bytes, indented, pairs, paragraph};
use super::{Context, escape, out, words};
use crate::gateway::api::{AsideView, RawMessage, Request, Shown};

/// Show a message, its exact bytes, or what was kept aside
///
/// Control characters in the text are shown as escapes; --raw writes the CMR message byte for byte
/// as it lies in the pool, with the header in front.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail show 0123456789abcdef
  cmr-mail show 0123456789abcdef --raw > message.cmr
  cmr-mail show --aside           what was refused or not understood, and why
  cmr-mail show --aside 7 --raw   the bytes of number 7")]
pub(super) struct Args {
    /// The message's id, 16 hexadecimal digits
    #[arg(value_name = "ID", value_parser = words::id, required_unless_present = "aside")]
    id: Option<String>,
    /// What was kept aside and why; with a number, that one
    #[arg(long, value_name = "N", num_args = 0..=1, conflicts_with = "id")]
    aside: Option<Option<i64>>,
    /// Write the exact bytes and nothing else
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    format: super::Format,
}

/// The document of `--json`: the first version of a message, and the others if there is a conflict.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    first: &'a Shown,
    #[serde(skip_serializing_if = "<[Shown]>::is_empty")]
    others: &'a [Shown],
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let paint = out::paint();
    match (args.aside, args.id) {
        (Some(number), _) => asides(context, number, args.raw, args.format.json, paint),
        (None, Some(id)) if args.raw => {
            let raw: RawMessage = context.ask(Request::ShowRaw { id })?;
            out::bytes(&decode(&raw.message)?)
        }
        (None, Some(id)) => {
            let shown: Vec<Shown> = context.ask(Request::Show { id: id.clone() })?;
            let Some((first, others)) = shown.split_first() else {
                return fail(UNAVAILABLE, format!("there is no message {id}"));
            };
            if args.format.json {
                out::json(&Document { first, others })
            } else {
                out::text(&shown.iter().map(|s| render(s, paint)).collect::<Vec<_>>().join("\n"))
            }
        }
        (None, None) => fail(super::exit::USAGE, "name a message, or ask for --aside"),
    }
}

fn asides(context: &Context, id: Option<i64>, raw: bool, json: bool, paint: Paint) -> Outcome {
    if raw && id.is_none() {
        return fail(super::exit::USAGE, "say which one: show --aside N --raw");
    }
    let asides: Vec<AsideView> = context.ask(Request::Asides { id })?;
    if let (Some(id), []) = (id, asides.as_slice()) {
        return fail(UNAVAILABLE, format!("there is no number {id} kept aside"));
    }
    if raw {
        let first = asides.first();
        if let Some(place) = first.and_then(|aside| aside.kept.as_deref()) {
            return fail(
                UNAVAILABLE,
                format!("its bytes were not copied: they are in {}", escape::line(place)),
            );
        }
        let Some(text) = first.and_then(|aside| aside.raw.as_deref()) else {
            return fail(UNAVAILABLE, "its bytes are not kept any more");
        };
        return out::bytes(&decode(text)?);
    }
    if json {
        return out::json(&asides);
    }
    if asides.is_empty() {
        return out::text("Nothing is kept aside.\n");
    }
    out::text(&asides.iter().map(|a| render_aside(a, paint)).collect::<String>())
}

fn decode(base64: &str) -> Outcome<Vec<u8>> {
    match STANDARD.decode(base64) {
        Ok(bytes) => Ok(bytes),
        Err(e) => fail(SOFTWARE, format!("the answer holds broken base64: {e}")),
    }
}

fn render(shown: &Shown, paint: Paint) -> String {
    let length = bytes(u64::try_from(shown.bytes).unwrap_or(u64::MAX));
    let mut rows = vec![
        ("id", paint.bold(&escape::line(&shown.id))),
        ("state", format!("{}, {}", escape::line(&shown.state), escape::line(&shown.scope))),
        ("received", format!("{} by {}", escape::line(&shown.received), escape::line(&shown.via))),
        ("author", escape::line(&shown.author)),
        ("evidence", escape::line(&shown.authenticity)),
        ("length", length),
    ];
    if shown.conflicts > 0 {
        let others = format!("{} other bodies came under this id", shown.conflicts);
        rows.push(("conflict", paint.yellow(&others)));
    }
    let mut text = pairs(&rows, paint);
    text.push_str(&paint.dim("way, newest first"));
    text.push('\n');
    for hop in &shown.hops {
        text.push_str(&format!("  {}  {}\n", escape::line(&hop.time), escape::line(&hop.address)));
    }
    text.push('\n');
    match (&shown.body_utf8, &shown.body_base64) {
        (Some(body), _) => {
            text.push_str(&escape::text(body));
            if !body.ends_with('\n') {
                text.push('\n');
            }
        }
        (None, Some(base64)) => {
            text.push_str("The body is not UTF-8 text; in base64:\n");
            let mut rest = base64.as_str();
            while !rest.is_empty() {
                let (line, after) = rest.split_at_checked(76).unwrap_or((rest, ""));
                text.push_str(&escape::line(line));
                text.push('\n');
                rest = after;
            }
        }
        (None, None) => {}
    }
    text
}

fn render_aside(aside: &AsideView, paint: Paint) -> String {
    let length = bytes(u64::try_from(aside.bytes).unwrap_or(u64::MAX));
    let mut text = format!(
        "{:>5}  {}  {} by {}, {length}\n",
        paint.bold(&aside.id.to_string()),
        escape::line(&aside.place),
        escape::line(&aside.received),
        escape::line(&aside.via),
    );
    text.push_str(&paragraph(&escape::flat(&aside.reason), 7));
    if let Some(place) = &aside.kept {
        text.push_str(&format!("       in {}\n", escape::line(place)));
    }
    if let Some(raw) = aside.raw.as_deref().and_then(|raw| STANDARD.decode(raw).ok()) {
        text.push('\n');
        text.push_str(&indented(&escape::text(&String::from_utf8_lossy(&raw)), 7));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::api::HopView;

    fn sample() -> Shown {
        Shown {
            id: "0123456789abcdef".into(),
            scope: "local".into(),
            conflicts: 1,
            hops: vec![HopView {
                time: "2026/11/22 10:00:00.5".into(),
                address: "mailto:a\u{9b}@example.org".into(),
            }],
            body_utf8: Some("Which planet?\r\n\u{1b}[2Jgone".into()),
            body_base64: None,
            bytes: 24,
            received: "2026-11-22T10:00:01Z".into(),
            via: "smtp".into(),
            state: "routed".into(),
            author: "mailto:bob@example.net".into(),
            authenticity: "nobody knows who wrote it".into(),
        }
    }

    #[test]
    fn a_message_is_shown_without_obeying_it() {
        let text = render(&sample(), Paint::default());
        assert_eq!(
            text,
            "id        0123456789abcdef\n\
             state     routed, local\n\
             received  2026-11-22T10:00:01Z by smtp\n\
             author    mailto:bob@example.net\n\
             evidence  nobody knows who wrote it\n\
             length    24 bytes\n\
             conflict  1 other bodies came under this id\n\
             way, newest first\n  \
             2026/11/22 10:00:00.5  mailto:a\\u{9b}@example.org\n\n\
             Which planet?\n\\x1b[2Jgone\n"
        );
    }

    #[test]
    fn a_body_of_bytes_is_shown_in_base64() {
        let shown = Shown { body_utf8: None, body_base64: Some("A".repeat(80)), ..sample() };
        let text = render(&shown, Paint::default());
        assert!(text.ends_with(&format!("\n{}\nAAAA\n", "A".repeat(76))), "{text}");
    }

    #[test]
    fn the_document_is_one_object_even_in_a_conflict() {
        let shown = [sample(), sample()];
        let alone = serde_json::to_value(Document { first: &shown[0], others: &[] }).unwrap();
        assert_eq!(alone, serde_json::to_value(&shown[0]).unwrap());
        let both = serde_json::to_value(Document { first: &shown[0], others: &shown[1..] }).unwrap();
        assert_eq!(both["id"], "0123456789abcdef");
        assert_eq!(both["others"][0]["id"], "0123456789abcdef");
    }

    #[test]
    fn an_aside_says_why() {
        let aside = AsideView {
            id: 7,
            received: "2026-11-22T10:00:01Z".into(),
            via: "smtp".into(),
            place: "attachment 2 (a\u{1b}.cmr)".into(),
            reason: "the times are not descending".into(),
            bytes: 3,
            kept: None,
            raw: Some(STANDARD.encode("a\u{7}b")),
        };
        let elsewhere = AsideView { kept: Some("/mail/cur/a\u{1b}b".into()), raw: None, ..aside.clone() };
        assert!(render_aside(&elsewhere, Paint::default()).ends_with("\n       in /mail/cur/a\\x1bb\n"));
        let text = render_aside(&aside, Paint::default());
        assert_eq!(
            text,
            "    7  attachment 2 (a\\x1b.cmr)  2026-11-22T10:00:01Z by smtp, 3 bytes\n       \
             the times are not descending\n\n       a\\x07b\n"
        );
    }
}
