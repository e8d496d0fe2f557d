//! The field names of every result, which scripts rely on: more may be added, none is renamed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use cmr_mail::evaluate::{Report, Row};
use cmr_mail::gateway::api::{
    AsideView, Changed, Delivered, DeliveryView, Explained, ExplainedForward, ExplainedPeer, Failure, Found,
    HopView, KeyView, MailboxView, MatchView, PeerView, PolledView, Posted, RawMessage, Response, SharedView,
    SharedWordView, Shown, Status,
};
use serde::Serialize;
use serde_json::{Value, json};

fn found() -> MatchView {
    MatchView {
        id: "0123456789abcdef".into(),
        gain_bits: 1.5,
        one_sided_bits: 2.5,
        distance_raw: 3.5,
        from: "mailto:a@b".into(),
        time: "2026/11/22 10:00:00".into(),
        excerpt: "x".into(),
        shared: None,
    }
}

fn shown(text: Option<&str>, base64: Option<&str>) -> Shown {
    Shown {
        id: String::new(),
        scope: "local".into(),
        conflicts: 0,
        hops: vec![HopView { time: String::new(), address: String::new() }],
        body_utf8: text.map(Into::into),
        body_base64: base64.map(Into::into),
        bytes: 0,
        received: String::new(),
        via: String::new(),
        state: String::new(),
        author: String::new(),
        authenticity: String::new(),
    }
}

fn aside(raw: Option<&str>) -> AsideView {
    AsideView {
        id: 1,
        received: String::new(),
        via: String::new(),
        place: String::new(),
        reason: String::new(),
        bytes: 0,
        kept: None,
        raw: raw.map(Into::into),
    }
}

/// The names in the order in which they are printed.
#[track_caller]
fn names(value: &impl Serialize, expected: &str) {
    let text = serde_json::to_string(value).unwrap();
    let object: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    let mut expected: Vec<&str> = expected.split_whitespace().collect();
    let places: Vec<usize> =
        expected.iter().map(|name| text.find(&format!("\"{name}\":")).expect(name)).collect();
    assert!(places.is_sorted(), "{text}");
    expected.sort_unstable();
    let mut found: Vec<&str> = object.keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn post_search_show() {
    let matches = "id gain_bits one_sided_bits distance_raw from time excerpt";
    names(&found(), matches);
    let posted =
        Posted { id: String::new(), time: String::new(), from: String::new(), matches: vec![found()] };
    names(&posted, "id time from matches");
    let found = Found { query_bytes: 1, candidates: 2, micros: 3, matches: vec![found()] };
    names(&found, "query_bytes candidates micros matches");
    let all = "id scope conflicts hops BODY bytes received via state author authenticity";
    names(&shown(Some("x"), None), &all.replace("BODY", "body_utf8"));
    names(&shown(None, Some("eA==")), &all.replace("BODY", "body_base64"));
    names(&HopView { time: String::new(), address: String::new() }, "time address");
    names(&RawMessage { message: String::new() }, "message");
    names(&aside(None), "id received via place reason bytes");
    names(&aside(Some("eA==")), "id received via place reason bytes raw");
}

#[test]
fn explain() {
    let peer =
        ExplainedPeer { address: String::new(), bits: None, rank: 1, chosen: true, why: String::new() };
    names(&peer, "address bits rank chosen why");
    assert_eq!(serde_json::to_value(&peer).unwrap()["bits"], Value::Null, "there, but not computed");
    let forward = ExplainedForward {
        to: String::new(),
        transport: String::new(),
        state: String::new(),
        why: String::new(),
    };
    names(&forward, "to transport state why");
    let explained = Explained {
        id: String::new(),
        authenticity: String::new(),
        verdict: String::new(),
        reasons: vec![],
        peers: vec![peer],
        matches: vec![found()],
        forwards: vec![forward],
        code_bits: Some(812.0),
    };
    names(&explained, "id authenticity verdict reasons peers matches forwards code_bits");
    let word = SharedWordView { word: "planet".into(), ..SharedWordView::default() };
    names(&word, "word bits messages in_x in_y");
    let shared = SharedView { words: vec![word], ..SharedView::default() };
    names(&shared, "why passage words more_words more_bits");
    let matches = "id gain_bits one_sided_bits distance_raw from time excerpt shared";
    names(&MatchView { shared: Some(shared), ..found() }, matches);
}

#[test]
fn peers_keys_queue_status() {
    let peer = PeerView {
        address: String::new(),
        messages: 0,
        bytes: 0,
        reputation: 0.0,
        key: "none".into(),
        last_seen: String::new(),
        blocked: false,
        pinned: false,
        bounces: 0,
        suppressed: String::new(),
    };
    names(&peer, "address messages bytes reputation key last_seen blocked pinned bounces suppressed");
    let key = KeyView {
        address: String::new(),
        state: String::new(),
        scheme: String::new(),
        scheme_pinned: false,
        origin: String::new(),
        fingerprint: String::new(),
        created: String::new(),
    };
    names(&key, "address state scheme scheme_pinned origin fingerprint created");
    let delivery = DeliveryView {
        delivery: 1,
        id: String::new(),
        to: String::new(),
        transport: String::new(),
        kind: String::new(),
        state: String::new(),
        attempts: 0,
        next_try: String::new(),
        last_error: String::new(),
        tried: Vec::new(),
    };
    names(&delivery, "delivery id to transport kind state attempts next_try last_error");
    let status = Status {
        version: String::new(),
        messages: 0,
        bytes: 0,
        peers: 0,
        queued: 0,
        oldest_queued_seconds: 0,
        uptime_seconds: 0,
        unrouted: 0,
        failed: 0,
        asides: 0,
        silenced: 0,
        came_back: 0,
        unsent: 0,
        trouble: String::new(),
        free_bytes: None,
        daemon: false,
        mailboxes: Vec::new(),
    };
    let before = "version messages bytes peers queued oldest_queued_seconds uptime_seconds";
    names(
        &status,
        &format!(
            "{before} unrouted failed asides silenced came_back unsent trouble free_bytes daemon mailboxes"
        ),
    );
    names(
        &MailboxView::default(),
        "account folder state last_success next_try lag_milliseconds behind too_large error error_since",
    );
    let polled = PolledView { account: String::new(), taken: 0, left: 0, put_off: 0, error: String::new() };
    names(&polled, "account taken left put_off error");
}

#[test]
fn what_is_evaluated() {
    let mut report = Report { rows: vec![Row::default()], ..Report::default() };
    names(&report, "train test labels skipped as_they_lie deflate_scan_micros deflate_scan_pairs rows");
    let row = "method metric default questions sampled accuracy top10 top32 micros_mean micros_p50 micros_p99 \
               insert_micros_per_kb bytes_per_message ratio_to_deflate_scan";
    names(&report.rows[0], row);
    (report.rows[0].attracted, report.rows[0].attracted_top10) = (Some(0.0), Some(0.0));
    names(&report.rows[0], &format!("{row} attracted attracted_top10"));
}

#[test]
fn changes_and_what_is_handed_in() {
    names(&Changed { changed: 1, done: String::new() }, "changed done");
    names(&Delivered { code: 250, text: String::new(), ids: vec![] }, "code text ids");
    names(&Failure { exit: 75, sentence: String::new() }, "exit sentence");
}

/// An older program must understand a newer daemon's answer, and the other way round.
#[test]
fn the_envelope_of_an_answer() {
    let good: Response = Ok(json!({"id": "x"}));
    assert_eq!(serde_json::to_value(good).unwrap(), json!({"Ok": {"id": "x"}}));
    let bad: Response = Err(Failure { exit: 75, sentence: "why".into() });
    assert_eq!(serde_json::to_value(bad).unwrap(), json!({"Err": {"exit": 75, "sentence": "why"}}));
    let mut newer = serde_json::to_value(found()).unwrap();
    newer["added_later"] = json!(1);
    assert_eq!(serde_json::from_value::<MatchView>(newer).unwrap(), found());
    assert!(serde_json::from_value::<Shown>(serde_json::to_value(shown(None, None)).unwrap()).is_ok());
}
