//! Each verb against a daemon that answers what the test wants: what it asks for, and what it
//! makes of the answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod cli_support;

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cli_support::{Ended, FakeDaemon, House, limits};
use cmr_mail::gateway::api::{Failure, Response};
use serde_json::{Value, json};

/// Runs a verb against an answer; returns what was asked and how it ended.
#[track_caller]
fn asked(args: &str, input: &[u8], answer: Response) -> (Value, Ended) {
    let house = House::new();
    let question = Arc::new(Mutex::new(Value::Null));
    let heard = Arc::clone(&question);
    let _daemon = FakeDaemon::start(&house.data(), None, limits(), move |request, _| {
        *heard.lock().unwrap() = serde_json::to_value(&request).unwrap();
        answer.clone()
    });
    let ended = house.run(args, input);
    let question = question.lock().unwrap().clone();
    (question, ended)
}

fn found() -> Value {
    json!({"id": "fedcba9876543210", "gain_bits": 40.5, "one_sided_bits": 59.5,
           "distance_raw": 130.25, "from": "mailto:b@example.org", "time": "2026/11/21 09:00:00",
           "excerpt": "Jupiter is the largest planet"})
}

fn shown() -> Value {
    json!({"id": "0123456789abcdef", "scope": "public", "conflicts": 0,
           "hops": [{"time": "2026/11/22 10:00:00.5", "address": "mailto:a@example.org"}],
           "body_utf8": "Which planet?\n", "bytes": 14, "received": "2026-11-22T10:00:01Z",
           "via": "smtp", "state": "routed", "author": "mailto:a@example.org", "authenticity": "nobody knows"})
}

fn aside(raw: bool) -> Value {
    let mut aside = json!({"id": 7, "received": "2026-11-22T10:00:01Z", "via": "smtp",
                           "place": "the body", "reason": "no header", "bytes": 3});
    if raw {
        aside["raw"] = json!(STANDARD.encode(b"\xff\x00\n"));
    }
    aside
}

fn changed() -> Response {
    Ok(json!({"changed": 1, "done": "done \u{1b}[31m it"}))
}

#[test]
fn every_verb_asks_for_what_was_typed() {
    let anything = || Ok(json!({"changed": 0, "done": ""}));
    for (args, expected) in [
        ("post Which planet?", json!({"verb": "post", "text": "Which planet?", "from": null})),
        (
            "post --from anna@example.org x",
            json!({"verb": "post", "text": "x", "from": "mailto:anna@example.org"}),
        ),
        ("post -", json!({"verb": "post", "text": "from\r\nstdin\n", "from": null})),
        ("post - -", json!({"verb": "post", "text": "- -", "from": null})),
        ("search -n 7 a b", json!({"verb": "search", "text": "a b", "limit": 7, "shared": false})),
        ("search -", json!({"verb": "search", "text": "from\r\nstdin\n", "limit": 5, "shared": false})),
        ("show 0123456789ABCDEF", json!({"verb": "show", "id": "0123456789abcdef"})),
        ("show --raw 0123456789abcdef", json!({"verb": "show-raw", "id": "0123456789abcdef"})),
        ("show --aside", json!({"verb": "asides", "id": null})),
        ("show --aside 7", json!({"verb": "asides", "id": 7})),
        ("explain 0123456789abcdef", json!({"verb": "explain", "id": "0123456789abcdef"})),
        ("status", json!({"verb": "status"})),
        ("peers", json!({"verb": "peers", "action": {"action": "list"}})),
        ("peers list --json", json!({"verb": "peers", "action": {"action": "list"}})),
        ("peers show a@b", json!({"verb": "peers", "action": {"action": "show", "address": "mailto:a@b"}})),
        (
            "peers pin mailto:a@b",
            json!({"verb": "peers", "action": {"action": "pin", "address": "mailto:a@b"}}),
        ),
        ("peers unpin a@b", json!({"verb": "peers", "action": {"action": "unpin", "address": "mailto:a@b"}})),
        (
            "peers forget a@b",
            json!({"verb": "peers", "action": {"action": "forget", "address": "mailto:a@b"}}),
        ),
        (
            "peers unsuppress a@b",
            json!({"verb": "peers", "action": {"action": "unsuppress", "address": "mailto:a@b"}}),
        ),
        (
            "peers history a@b",
            json!({"verb": "peers", "action": {"action": "history", "address": "mailto:a@b"}}),
        ),
        ("peers bounced", json!({"verb": "peers", "action": {"action": "bounced"}})),
        ("peers block a@b", json!({"verb": "peers", "action": {"action": "block", "address": "mailto:a@b"}})),
        (
            "peers unblock http://a@b/cmr",
            json!({"verb": "peers", "action": {"action": "unblock", "address": "http://a@b/cmr"}}),
        ),
        ("keys show", json!({"verb": "keys", "action": {"action": "show"}})),
        ("keys forget a@b", json!({"verb": "keys", "action": {"action": "forget", "address": "mailto:a@b"}})),
        (
            "keys set a@b --hex 00Ff",
            json!({"verb": "keys", "action":
                   {"action": "set", "address": "mailto:a@b", "hex": "00ff", "scheme": null}}),
        ),
        (
            "keys set a@b --text foo --scheme sha256",
            json!({"verb": "keys", "action":
                   {"action": "set", "address": "mailto:a@b", "hex": "666f6f", "scheme": "sha256"}}),
        ),
        (
            "keys set a@b --text - --scheme hmac",
            json!({"verb": "keys", "action":
                   {"action": "set", "address": "mailto:a@b", "hex": "66726f6d", "scheme": "hmac"}}),
        ),
        ("queue", json!({"verb": "queue", "action": {"action": "list", "all": false}})),
        ("queue list --all", json!({"verb": "queue", "action": {"action": "list", "all": true}})),
        ("queue show 3", json!({"verb": "queue", "action": {"action": "show", "delivery": 3}})),
        ("queue retry", json!({"verb": "queue", "action": {"action": "retry", "delivery": null}})),
        ("queue retry 3", json!({"verb": "queue", "action": {"action": "retry", "delivery": 3}})),
        ("queue hold 3", json!({"verb": "queue", "action": {"action": "hold", "delivery": 3}})),
        ("queue release", json!({"verb": "queue", "action": {"action": "release", "delivery": null}})),
        ("queue drop 3", json!({"verb": "queue", "action": {"action": "drop", "delivery": 3}})),
        ("remove 0123456789abcdef", json!({"verb": "remove", "id": "0123456789abcdef"})),
        ("remove --author a@b", json!({"verb": "remove-author", "author": "mailto:a@b"})),
        ("block 192.0.2.7", json!({"verb": "block", "value": "192.0.2.7", "undo": false})),
        ("block --undo a@b", json!({"verb": "block", "value": "a@b", "undo": true})),
        (
            "deliver",
            json!({"verb": "deliver", "sender": null, "recipient": null,
                   "mail": STANDARD.encode("from\r\nstdin\n"), "cut_from": null}),
        ),
        (
            "deliver -f <a@b> -r cmr+x@example.org",
            json!({"verb": "deliver", "sender": "a@b", "recipient": "cmr+x@example.org",
                   "mail": STANDARD.encode("from\r\nstdin\n"), "cut_from": null}),
        ),
        (
            "receive --transport ssh",
            json!({"verb": "receive", "transport": "ssh", "bound": null, "message": STANDARD.encode("from\r\nstdin\n")}),
        ),
    ] {
        let (question, _) = asked(args, b"from\r\nstdin\n", anything());
        assert_eq!(question, expected, "{args}");
    }
}

#[test]
fn results_are_shown_to_people_and_to_programs() {
    let posted = json!({"id": "0123456789abcdef", "time": "2026/11/22 10:00:00.5",
                        "from": "mailto:a@example.org", "matches": [found()]});
    let search = json!({"query_bytes": 6, "candidates": 2, "micros": 1500, "matches": [found()]});
    let explained = json!({"id": "0123456789abcdef", "authenticity": "it is signed by b.org (DKIM)", "verdict": "sent to one peer",
        "reasons": ["a post of ours"],
        "peers": [{"address": "mailto:b@example.org", "bits": 812.5, "rank": 1, "chosen": true,
                   "why": "the cheapest"}],
        "matches": [found()],
        "forwards": [{"to": "mailto:b@example.org", "transport": "mailto", "state": "sent",
                      "why": "first walk"}]});
    let peer = json!({"address": "mailto:b@example.org", "messages": 2, "bytes": 300,
        "reputation": 0.5, "key": "hmac", "last_seen": "2026-11-22T10:00:00Z", "blocked": false,
        "pinned": true, "bounces": 0, "suppressed": ""});
    let key = json!({"address": "mailto:b@example.org", "state": "current", "scheme": "hmac",
        "scheme_pinned": false, "origin": "manual", "fingerprint": "ab12", "created": "2026"});
    let delivery = json!({"delivery": 3, "id": "0123456789abcdef", "to": "mailto:b@example.org",
        "transport": "mailto", "kind": "forward", "state": "ready", "attempts": 2,
        "next_try": "2026-11-22T10:05:00Z", "last_error": "451 later"});
    let status = json!({"version": "0.1.0", "messages": 2, "bytes": 300, "peers": 1, "queued": 1,
        "oldest_queued_seconds": 60, "uptime_seconds": 61, "unrouted": 0, "failed": 0, "asides": 1,
        "silenced": 2, "came_back": 3, "unsent": 4, "trouble": "", "free_bytes": 5_000_000_000_u64, "mailboxes": [],
        "daemon": true});
    for (args, answer, printed, words) in [
        ("post x", posted.clone(), posted, "Posted 0123456789abcdef"),
        ("search x", search.clone(), search, "saves 40.5 bits of 100.0"),
        ("show 0123456789abcdef", json!([shown()]), shown(), "Which planet?"),
        ("show --aside", json!([aside(false)]), json!([aside(false)]), "no header"),
        ("explain 0123456789abcdef", explained.clone(), explained, "812.5 bits"),
        ("peers", json!([peer]), json!([peer]), "2 messages, 300 bytes"),
        ("peers show b@example.org", json!([peer]), peer.clone(), "pinned, key: hmac"),
        ("peers show b@example.org", peer.clone(), peer, "reputation +0.50"),
        ("keys show", json!([key]), json!([key]), "ab12"),
        ("queue", json!([delivery]), json!([delivery]), "2 attempts, next 2026"),
        ("queue show 3", delivery.clone(), delivery, "451 later"),
        ("status", status.clone(), status, "running for 1 min 1 s"),
    ] {
        let (_, text) = asked(args, b"", Ok(answer.clone()));
        let text = text.code(0);
        assert!(text.out.contains(words), "{args}: {}", text.out);
        assert_eq!(text.err, "", "{args}");
        let (_, document) = asked(&format!("{args} --json"), b"", Ok(answer));
        let document = document.code(0);
        assert_eq!(document.json(), printed, "{args}");
        assert_eq!(document.out.lines().count(), 1, "{args}");
    }
    for args in ["peers pin a@b", "keys forget a@b", "queue hold 1", "block a@b", "remove --author a@b"] {
        assert_eq!(asked(args, b"", changed()).1.code(0).out, "done \\x1b[31m it\n", "{args}");
        let document = asked(&format!("{args} --json"), b"", changed()).1.code(0);
        assert_eq!(document.json(), changed().unwrap(), "{args}");
    }
}

#[test]
fn nothing_found_is_said_so() {
    for (args, answer, code, words) in [
        ("peers", json!([]), 0, "No peers yet"),
        ("keys show", json!([]), 0, "No keys"),
        ("queue", json!([]), 0, "Nothing waits"),
        ("show --aside", json!([]), 0, "Nothing is kept aside"),
        ("search x", json!({"query_bytes": 1, "candidates": 0, "micros": 1, "matches": []}), 0, "nothing"),
        ("show 0123456789abcdef", json!([]), 69, "no message"),
        ("show --aside 9", json!([]), 69, "no number 9"),
        ("show --aside 9 --raw", json!([aside(false)]), 69, "not kept any more"),
        ("peers show a@b", json!([]), 69, "no such peer"),
    ] {
        let ended = asked(args, b"", Ok(answer)).1.code(code);
        let said = if code == 0 { &ended.out } else { &ended.err };
        assert!(said.contains(words), "{args}: {said}");
    }
}

#[test]
fn raw_is_the_exact_bytes_and_nothing_else() {
    let bytes = b"0\r\n2026/11/22 10:00:00 mailto:a@b\r\n\r\n4\r\n\x00\xff\x1b\n";
    let answer = Ok(json!({"message": STANDARD.encode(bytes)}));
    assert_eq!(asked("show 0123456789abcdef --raw", b"", answer).1.code(0).raw, bytes);
    let answer = Ok(json!([aside(true)]));
    assert_eq!(asked("show --aside 7 --raw", b"", answer).1.code(0).raw, b"\xff\x00\n");
    asked("show --aside --raw", b"", Ok(json!([]))).1.code(64);
}

#[test]
fn a_conflict_is_one_document_with_the_other_versions_inside() {
    let mut other = shown();
    other["body_utf8"] = json!("Another text");
    let both = json!([shown(), other]);
    let document = asked("show 0123456789abcdef --json", b"", Ok(both.clone())).1.code(0).json();
    assert_eq!(document["body_utf8"], "Which planet?\n");
    assert_eq!(document["others"][0]["body_utf8"], "Another text");
    let text = asked("show 0123456789abcdef", b"", Ok(both)).1.code(0).out;
    assert!(text.contains("Which planet?") && text.contains("Another text"), "{text}");
}

#[test]
fn a_failure_is_its_sentence_and_its_exit_code() {
    for exit in [65, 69, 73, 75, 78] {
        let failure = Failure { exit, sentence: "why \u{1b}[31m not".into() };
        let ended = asked("status", b"", Err(failure)).1.code(exit.into());
        assert_eq!(ended.out, "");
        assert_eq!(ended.err, "cmr-mail: why \\x1b[31m not\n");
    }
    // An answer of another shape is not a crash.
    let ended = asked("status", b"", Ok(json!(["x"]))).1.code(75);
    assert!(ended.err.contains("another version"), "{}", ended.err);
}

#[test]
fn what_is_handed_in_ends_as_mail_systems_expect() {
    for (code, deliver, receive) in
        [(250, 0, 0), (450, 75, 75), (451, 75, 75), (452, 75, 75), (550, 0, 65), (552, 0, 65), (554, 0, 65)]
    {
        let answer = || Ok(json!({"code": code, "text": "x.y.z why", "ids": []}));
        for (verb, exit) in [("deliver", deliver), ("receive", receive)] {
            let ended = asked(verb, b"x", answer()).1.code(exit);
            assert!(ended.err.contains(&format!("{code} x.y.z why")), "{verb}: {}", ended.err);
            assert_eq!(ended.out, "", "a mail system would put it into a bounce");
        }
    }
    for exit in [64, 65, 69, 70, 73, 75, 78, 1, 255] {
        let failure = || Err(Failure { exit, sentence: "why".into() });
        asked("deliver", b"x", failure()).1.code(75);
        asked("receive", b"x", failure()).1.code(if exit == 65 { 65 } else { 75 });
    }
    for odd in [json!(null), json!({}), json!({"code": 70000, "text": "", "ids": []})] {
        asked("deliver", b"x", Ok(odd.clone())).1.code(75);
        asked("receive", b"x", Ok(odd)).1.code(75);
    }
}

#[test]
fn input_that_is_no_text_or_too_long_is_65_and_not_asked() {
    for (args, input) in [
        ("post -", &b"\xff"[..]),
        ("search -", b"ok\xc3"),
        ("post -", &vec![b'x'; (10 << 20) + 1]),
        ("keys set a@b --text -", b"\xff"),
        ("keys set a@b --hex 0g", b""),
        ("keys set a@b --hex -", b"xyz"),
    ] {
        let (question, ended) = asked(args, input, changed());
        assert_eq!((question, ended.code), (Value::Null, 65), "{args}: {}", ended.err);
        assert!(!ended.err.contains("0g") && !ended.err.contains("xyz"), "{}", ended.err);
    }
    let (question, ended) = asked("post -", b" \n", changed());
    assert_eq!((question, ended.code), (Value::Null, 64));
}
