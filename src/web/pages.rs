//! What stands on each page: the results of requests, made into what the templates show.
//!
//! It knows how values look to people. It must never know who may see them.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Environment, context};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::access::Visitor;
use super::site::House;
use crate::distance::{marks, tokens};
use crate::gateway::api::{
    AsideView, DeliveryView, Explained, Failure, Found, MatchView, PeerAction, PeerView, QueueAction,
    ReputationView, Request, Shown, Status, Traced,
};

/// Results of a search.
const RESULTS: usize = 10;
/// Rows of a list.
const ROWS: usize = 500;
/// Of a text, at most so much is shown, in characters.
const SHOWN: usize = 64 << 10;

/// Something to be shown: a template and what it is given.
#[derive(Debug)]
pub(super) struct Page {
    template: &'static str,
    /// What stands in the navigation, marked as the place where one is.
    here: &'static str,
    title: String,
    data: Value,
}

type Made = Result<Page, Failure>;

/// The templates.
#[derive(Debug)]
pub(super) struct Pages(Environment<'static>);

const TEMPLATES: &[(&str, &str)] = &[
    ("frame.html", include_str!("templates/frame.html")),
    ("search.html", include_str!("templates/search.html")),
    ("message.html", include_str!("templates/message.html")),
    ("peers.html", include_str!("templates/peers.html")),
    ("peer.html", include_str!("templates/peer.html")),
    ("queue.html", include_str!("templates/queue.html")),
    ("delivery.html", include_str!("templates/delivery.html")),
    ("asides.html", include_str!("templates/asides.html")),
    ("aside.html", include_str!("templates/aside.html")),
    ("mailboxes.html", include_str!("templates/mailboxes.html")),
    ("now.html", include_str!("templates/now.html")),
    ("login.html", include_str!("templates/login.html")),
    ("failed.html", include_str!("templates/failed.html")),
];

impl Pages {
    pub(super) fn new() -> Pages {
        let mut environment = Environment::new();
        for (name, source) in TEMPLATES {
            // They are part of the program; a test renders each of them.
            if let Err(error) = environment.add_template(name, source) {
                tracing::error!(name, %error, "a template of the pages is wrong");
            }
        }
        Pages(environment)
    }

    /// The whole page, or (`part`) what changes on it while one looks.
    pub(super) fn render(&self, page: &Page, visitor: &Visitor, has_users: bool, part: bool) -> String {
        let context = context! {
            here => page.here,
            title => page.title.clone(),
            user => visitor.user.clone(),
            csrf => visitor.csrf.clone(),
            has_users => has_users,
            part => part,
            page => minijinja::value::Serde(&page.data),
        };
        let rendered = self.0.get_template(page.template).and_then(|template| template.render(context));
        rendered.unwrap_or_else(|error| {
            tracing::error!(template = page.template, %error, "a page can't be made");
            "<!doctype html><title>cmr-mail</title><p>This page can't be made; the log says why.".to_owned()
        })
    }
}

fn page(template: &'static str, here: &'static str, title: impl Into<String>, data: &impl Serialize) -> Made {
    let data = serde_json::to_value(data)
        .map_err(|error| Failure { exit: 70, sentence: format!("the page can't be made: {error}") })?;
    Ok(Page { template, here, title: title.into(), data })
}

fn ask<T: DeserializeOwned>(house: &impl House, request: Request) -> Result<T, Failure> {
    serde_json::from_value(house.ask(request)?).map_err(|error| Failure {
        exit: 70,
        sentence: format!("the gateway's answer is not understood: {error}"),
    })
}

/// A text for eyes: without characters that turn the direction of writing or are no text, and not
/// longer than can be looked at.
fn clean(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}' => {
            '\u{fffd}'
        }
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.replace("\r\n", "\n").chars().take(SHOWN).map(shown).collect()
}

fn line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A time to the second, as people read it: of RFC 3339, or of a header line.
fn when(time: &str) -> String {
    let seconds = time.split(['.', 'Z']).next().unwrap_or_default();
    if seconds.is_empty() {
        String::new()
    } else {
        format!("{} UTC", seconds.replace('T', " ").replace('/', "-"))
    }
}

/// A piece of text, marked or not.
#[derive(Serialize)]
struct Piece {
    text: String,
    mark: bool,
}

fn pieces(text: &str, words: &HashSet<u64>) -> Vec<Piece> {
    let text = line(text);
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut put = |from: usize, to: usize, mark: bool| {
        if let Some(text) = text.get(from..to).filter(|text| !text.is_empty()) {
            pieces.push(Piece { text: text.to_owned(), mark });
        }
    };
    for place in marks(&text, words) {
        put(at, place.start, false);
        put(place.start, place.end, true);
        at = place.end;
    }
    put(at, text.len(), false);
    pieces
}

/// A similar message, as it is shown.
#[derive(Serialize)]
struct Near {
    id: String,
    from: String,
    time: String,
    gain: String,
    share: u64,
    distance: String,
    pieces: Vec<Piece>,
    words: Vec<(String, String)>,
    more: usize,
    why: String,
}

fn near(found: &MatchView) -> Near {
    let words = found.shared.as_ref().map(|shared| shared.words.as_slice()).unwrap_or_default();
    let hashes: HashSet<u64> =
        words.iter().flat_map(|it| tokens(it.word.as_bytes())).map(|token| token.hash).collect();
    let whole = found.gain_bits + found.one_sided_bits;
    let share = if whole > 0.0 { (100.0 * found.gain_bits / whole).clamp(0.0, 100.0) } else { 0.0 };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
    let share = share.round() as u64;
    Near {
        id: found.id.clone(),
        from: line(&found.from),
        time: when(&found.time),
        gain: format!("{:.1}", found.gain_bits),
        share,
        distance: format!("{:.0}", found.distance_raw),
        pieces: pieces(&found.excerpt, &hashes),
        words: words.iter().map(|it| (line(&it.word), format!("{:.1}", it.bits))).collect(),
        more: found.shared.as_ref().map_or(0, |shared| shared.more_words),
        why: found.shared.as_ref().map(|shared| line(&shared.why)).unwrap_or_default(),
    }
}

fn nears(all: &[MatchView]) -> Vec<Near> {
    all.iter().map(near).collect()
}

pub(super) fn search(house: &impl House, text: &str) -> Made {
    if text.trim().is_empty() {
        return page("search.html", "search", "Search", &serde_json::json!({ "query": "", "asked": false }));
    }
    let request = Request::Search { text: text.to_owned(), limit: RESULTS, shared: true };
    let found: Found = ask(house, request)?;
    let data = serde_json::json!({
        "query": clean(text),
        "asked": true,
        "candidates": found.candidates,
        "milliseconds": format!("{:.1}", std::time::Duration::from_micros(found.micros).as_secs_f64() * 1e3),
        "found": nears(&found.matches),
    });
    page("search.html", "search", format!("Search: {}", line(text)), &data)
}

pub(super) fn message(house: &impl House, id: &str) -> Made {
    let all: Vec<Shown> = ask(house, Request::Show { id: id.to_owned() })?;
    let explained: Option<Explained> = ask(house, Request::Explain { id: id.to_owned() }).ok();
    let traced: Option<Traced> = ask(house, Request::Trace { id: id.to_owned() }).ok();
    let versions: Vec<Value> = all
        .iter()
        .map(|shown| {
            serde_json::json!({
                "scope": shown.scope, "state": shown.state, "received": when(&shown.received), "via": line(&shown.via),
                "author": line(&shown.author), "authenticity": line(&shown.authenticity), "bytes": shown.bytes,
                "conflicts": shown.conflicts,
                "hops": shown.hops.iter().map(|hop| (when(&hop.time), line(&hop.address)))
                    .collect::<Vec<_>>(),
                "body": shown.body_utf8.as_deref().map(clean),
                "base64": shown.body_base64.as_deref().map(clean),
            })
        })
        .collect();
    let decision = explained.as_ref().map(|it| {
        serde_json::json!({
            "verdict": line(&it.verdict),
            "reasons": it.reasons.iter().map(|reason| line(reason)).collect::<Vec<_>>(),
            "code_bits": it.code_bits.map(|bits| format!("{bits:.0}")),
            "peers": it.peers.iter().map(|peer| serde_json::json!({
                "rank": peer.rank, "address": line(&peer.address), "href": peer_href(&peer.address),
                "bits": peer.bits.map(|bits| format!("{bits:.1}")), "chosen": peer.chosen, "why": line(&peer.why),
            })).collect::<Vec<_>>(),
            "forwards": it.forwards.iter().map(|to| serde_json::json!({
                "to": line(&to.to), "transport": to.transport, "state": to.state, "why": line(&to.why),
            })).collect::<Vec<_>>(),
        })
    });
    let events = traced.map(|traced| {
        let event = |it: &crate::gateway::api::TraceEvent| {
            serde_json::json!({ "time": when(&it.time), "what": it.what, "delivery": it.delivery, "said": line(&it.said) })
        };
        traced.events.iter().map(event).collect::<Vec<_>>()
    });
    let data = serde_json::json!({
        "id": id,
        "versions": versions,
        "decision": decision,
        "near": explained.as_ref().map(|it| nears(&it.matches)).unwrap_or_default(),
        "events": events,
    });
    page("message.html", "", format!("Message {id}"), &data)
}

fn peer_href(address: &str) -> String {
    form_urlencoded::Serializer::new("/peer?".to_owned()).append_pair("address", address).finish()
}

fn peer_row(peer: &PeerView) -> Value {
    serde_json::json!({
        "address": line(&peer.address), "href": peer_href(&peer.address), "messages": peer.messages,
        "bytes": peer.bytes, "reputation": format!("{:+.2}", peer.reputation), "key": peer.key,
        "last_seen": when(&peer.last_seen), "pinned": peer.pinned, "blocked": peer.blocked, "bounces": peer.bounces,
        "suppressed": when(&peer.suppressed),
    })
}

pub(super) fn peers(house: &impl House) -> Made {
    let peers: Vec<PeerView> = ask(house, Request::Peers { action: PeerAction::List })?;
    let rows: Vec<Value> = peers.iter().take(ROWS).map(peer_row).collect();
    let data = serde_json::json!({ "all": peers.len(), "peers": rows });
    page("peers.html", "peers", "Peers", &data)
}

pub(super) fn peer(house: &impl House, address: &str) -> Made {
    let of = |action| Request::Peers { action };
    let shown: Value = ask(house, of(PeerAction::Show { address: address.to_owned() }))?;
    let peer: PeerView = one(shown)?;
    let history: Vec<ReputationView> = ask(house, of(PeerAction::History { address: address.to_owned() }))?;
    let moved = |it: &ReputationView| {
        serde_json::json!({
            "time": when(&it.time), "cause": it.cause, "number": it.number, "change": format!("{:+.3}", it.change),
            "after": format!("{:+.3}", it.reputation),
        })
    };
    let data = serde_json::json!({ "peer": peer_row(&peer), "history": history.iter().map(moved).collect::<Vec<_>>() });
    page("peer.html", "peers", line(&peer.address), &data)
}

/// A result that is a list of one, or the one.
fn one<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    let value = match value {
        Value::Array(all) => all.into_iter().next().unwrap_or(Value::Null),
        other => other,
    };
    serde_json::from_value(value)
        .map_err(|_| Failure { exit: 69, sentence: "There is no such thing.".to_owned() })
}

fn delivery_row(it: &DeliveryView) -> Value {
    serde_json::json!({
        "number": it.delivery, "id": it.id, "to": line(&it.to), "transport": it.transport, "kind": it.kind,
        "state": it.state, "attempts": it.attempts, "next_try": when(&it.next_try), "error": line(&it.last_error),
        "finished": matches!(it.state.as_str(), "sent" | "failed"),
    })
}

pub(super) fn queue(house: &impl House, all: bool, done: Option<&str>) -> Made {
    let queue: Vec<DeliveryView> = ask(house, Request::Queue { action: QueueAction::List { all } })?;
    let done = match done {
        Some("retry") => "It is tried now.",
        Some("hold") => "It is held back.",
        Some("release") => "It is released.",
        Some("drop") => "It is given up.",
        _ => "",
    };
    let newest_first = queue.iter().rev().take(ROWS).map(delivery_row).collect::<Vec<_>>();
    let data = serde_json::json!({ "all": all, "done": done, "count": queue.len(), "queue": newest_first });
    page("queue.html", "queue", "Queue", &data)
}

pub(super) fn delivery(house: &impl House, delivery: i64) -> Made {
    let found: DeliveryView = ask(house, Request::Queue { action: QueueAction::Show { delivery } })?;
    let tried = |it: &crate::gateway::api::AttemptView| serde_json::json!({ "time": when(&it.time), "ended": it.ended, "said": line(&it.said), "transcript": clean(&it.transcript) });
    let data = serde_json::json!({
        "it": delivery_row(&found), "tried": found.tried.iter().map(tried).collect::<Vec<_>>(),
    });
    page("delivery.html", "queue", format!("Delivery {delivery}"), &data)
}

fn aside_row(it: &AsideView) -> Value {
    serde_json::json!({
        "number": it.id, "received": when(&it.received), "via": it.via, "place": line(&it.place),
        "reason": line(&it.reason), "bytes": it.bytes, "kept": it.kept.as_deref().map(line),
    })
}

pub(super) fn asides(house: &impl House) -> Made {
    let asides: Vec<AsideView> = ask(house, Request::Asides { id: None })?;
    let rows: Vec<Value> = asides.iter().rev().take(ROWS).map(aside_row).collect();
    page("asides.html", "asides", "Kept aside", &serde_json::json!({ "count": asides.len(), "asides": rows }))
}

pub(super) fn aside(house: &impl House, number: i64) -> Made {
    let found: Value = ask(house, Request::Asides { id: Some(number) })?;
    let aside: AsideView = one(found)?;
    let raw = aside.raw.as_deref().and_then(|raw| STANDARD.decode(raw).ok()).unwrap_or_default();
    let data = serde_json::json!({ "it": aside_row(&aside), "raw": clean(&String::from_utf8_lossy(&raw)) });
    page("aside.html", "asides", format!("Kept aside: {number}"), &data)
}

fn mailbox_rows(status: &Status) -> Vec<Value> {
    let row = |it: &crate::gateway::api::MailboxView| {
        serde_json::json!({
            "account": it.account, "folder": line(&it.folder), "state": it.state, "last_success": when(&it.last_success),
            "next_try": when(&it.next_try), "lag": it.lag_milliseconds.map(|ms| format!("{:.1} s", std::time::Duration::from_millis(ms).as_secs_f64())),
            "behind": it.behind, "too_large": it.too_large, "error": line(&it.error), "error_since": when(&it.error_since),
        })
    };
    status.mailboxes.iter().map(row).collect()
}

pub(super) fn mailboxes(house: &impl House) -> Made {
    let status: Status = ask(house, Request::Status)?;
    page(
        "mailboxes.html",
        "mailboxes",
        "Mailboxes",
        &serde_json::json!({ "mailboxes": mailbox_rows(&status) }),
    )
}

pub(super) fn now(house: &impl House) -> Made {
    let status: Status = ask(house, Request::Status)?;
    let queue: Vec<DeliveryView> = ask(house, Request::Queue { action: QueueAction::List { all: true } })?;
    let latest: Vec<Value> = queue.iter().rev().take(10).map(delivery_row).collect();
    let data = serde_json::json!({
        "time": when(&house.now().rfc3339()),
        "version": status.version,
        "uptime": span(status.uptime_seconds),
        "messages": status.messages,
        "bytes": size(status.bytes),
        "peers": status.peers,
        "queued": status.queued,
        "oldest": span(status.oldest_queued_seconds),
        "unrouted": status.unrouted,
        "failed": status.failed,
        "asides": status.asides,
        "silenced": status.silenced,
        "came_back": status.came_back,
        "unsent": status.unsent,
        "trouble": line(&status.trouble),
        "free": status.free_bytes.map(size),
        "mailboxes": mailbox_rows(&status),
        "latest": latest,
    });
    page("now.html", "now", "What is happening now", &data)
}

/// A length of time, roughly.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// An amount of bytes, roughly.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

pub(super) fn login(wrong: &str, has_users: bool, name: &str) -> Page {
    let data = serde_json::json!({ "wrong": wrong, "has_users": has_users, "name": line(name) });
    Page { template: "login.html", here: "login", title: "Log in".to_owned(), data }
}

pub(super) fn failed(status: u16, sentence: &str) -> Page {
    let title = match status {
        404 => "Not found",
        400 => "Not understood",
        503 => "Not now",
        _ => "It failed",
    };
    let data = serde_json::json!({ "sentence": clean(sentence) });
    Page { template: "failed.html", here: "", title: title.to_owned(), data }
}
