//! The site without a socket: who may see and change what, what the pages hold, what the JSON is.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in tests a panic is the report"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine as _;
use serde_json::{Value, json};

use super::access::{Rules, Users, hash_line};
use super::answer::{Ask, Method, Reply};
use super::site::{House, Site};
use crate::gateway::api::{Failure, PeerAction, QueueAction, Request, Response};
use crate::message::UnixTime;

const ID: &str = "0123456789abcdef";
const EVIL: &str = "<script>alert(1)</script>\u{202e}\u{1b}[31m\" onclick=\"x";

/// A gateway of one message, whose every text is hostile.
#[derive(Default)]
struct Doll {
    asked: Mutex<Vec<Request>>,
    now: AtomicI64,
}

fn found() -> Value {
    json!({
        "id": ID, "gain_bits": 20.0, "one_sided_bits": 60.0, "distance_raw": 90.0, "from": EVIL,
        "time": "2026/11/22 10:00:00.123", "excerpt": format!("Jupiter is the LARGEST planet {EVIL}"),
        "shared": {"why": EVIL, "passage": "largest", "words": [{"word": "largest", "bits": 9.0, "messages": 1,
                   "in_x": [], "in_y": []}], "more_words": 1, "more_bits": 0.5},
    })
}

impl House for &'static Doll {
    fn ask(&self, request: Request) -> Response {
        let answer = match &request {
            Request::Search { .. } => {
                json!({"query_bytes": 1, "candidates": 7, "micros": 1500, "matches": [found()]})
            }
            Request::Show { id } if id == ID => json!([{
                "id": ID, "scope": "local", "conflicts": 0, "hops": [{"time": "2026/11/22 10:00:00.5", "address": EVIL}],
                "body_utf8": EVIL, "bytes": 3, "received": "2026-11-22T10:00:00Z", "via": "smtp", "state": "routed",
                "author": EVIL, "authenticity": EVIL}]),
            Request::Explain { id } if id == ID => json!({
                "id": ID, "authenticity": EVIL, "verdict": EVIL, "reasons": [EVIL],
                "peers": [{"address": EVIL, "bits": 12.5, "rank": 1, "chosen": true, "why": EVIL}],
                "matches": [found()], "forwards": [{"to": EVIL, "transport": "mailto", "state": "sent", "why": EVIL}]}),
            Request::Trace { id } if id == ID => json!({"id": ID, "events": [
                {"time": "2026-11-22T10:00:00Z", "what": "queued", "delivery": 12, "said": EVIL}]}),
            Request::Peers { action: PeerAction::List | PeerAction::Show { .. } } => json!([{
                "address": EVIL, "messages": 1, "bytes": 2, "reputation": 0.5, "key": "hmac", "last_seen": "",
                "blocked": true, "pinned": true, "bounces": 2, "suppressed": "2026-11-22T10:00:00Z"}]),
            Request::Peers { action: PeerAction::History { .. } } => json!([{
                "time": "2026-11-22T10:00:00Z", "cause": "gain", "number": 3, "change": 0.25, "reputation": 0.5}]),
            Request::Queue { action: QueueAction::List { .. } } => json!([delivery()]),
            Request::Queue { action: QueueAction::Show { delivery: 12 } } => {
                let mut it = delivery();
                it["tried"] = json!([{"time": "2026-11-22T10:00:00Z", "ended": "again", "said": EVIL, "transcript": EVIL}]);
                it
            }
            Request::Queue { action: QueueAction::Show { .. } } => {
                return Err(Failure { exit: 69, sentence: "there is no delivery".into() });
            }
            Request::Queue { .. } => json!({"changed": 1, "done": "done"}),
            Request::Asides { .. } => json!([{
                "id": 7, "received": "2026-11-22T10:00:00Z", "via": "pipe", "place": EVIL, "reason": EVIL, "bytes": 9,
                "raw": base64::engine::general_purpose::STANDARD.encode(EVIL)}]),
            Request::Status => json!({
                "version": "0.1.0", "messages": 1, "bytes": 2, "peers": 1, "queued": 1, "oldest_queued_seconds": 90,
                "uptime_seconds": 7200, "unrouted": 0, "failed": 0, "asides": 1, "trouble": EVIL, "free_bytes": 5_000_000_000_u64,
                "daemon": true, "mailboxes": [{"account": "inbox", "folder": EVIL, "state": "failing", "last_success": "",
                "next_try": "", "lag_milliseconds": 2500, "behind": 3, "too_large": 1, "error": EVIL, "error_since": "x"}]}),
            _ => return Err(Failure { exit: 69, sentence: format!("nothing of that name {EVIL}") }),
        };
        self.asked.lock().unwrap().push(request);
        Ok(answer)
    }

    fn scrape(&self) -> Result<String, Failure> {
        Ok("# EOF\n".into())
    }

    fn answered(&self, _: u16) {}

    fn now(&self) -> UnixTime {
        UnixTime::from_secs(1_790_000_000 + self.now.load(Ordering::Relaxed))
    }
}

fn delivery() -> Value {
    json!({"delivery": 12, "id": ID, "to": EVIL, "transport": "mailto", "kind": "forward", "state": "ready",
           "attempts": 2, "next_try": "2026-11-22T10:05:00Z", "last_error": EVIL})
}

fn rules() -> Rules {
    Rules {
        listen: "127.0.0.1:8027".parse().unwrap(),
        hosts: vec!["mx.example.org".into()],
        proxies: Vec::new(),
        reads_openly: true,
    }
}

fn site_with(rules: Rules) -> (Site<&'static Doll>, &'static Doll) {
    let doll: &'static Doll = Box::leak(Box::default());
    let users = Users::parse(&hash_line("anna", "a long password").unwrap()).unwrap();
    (Site::new(doll, rules, users), doll)
}

fn site() -> (Site<&'static Doll>, &'static Doll) {
    site_with(rules())
}

fn body(reply: &Reply) -> String {
    String::from_utf8(reply.body.clone()).unwrap()
}

fn post(path: &str, form: &[(&str, &str)]) -> Ask {
    let form = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Ask { method: Method::Post, form, ..Ask::get(path) }
}

/// Logs in and gives the cookie and what forms have to hold.
fn log_in(site: &Site<&'static Doll>) -> (String, String) {
    let reply = site.answer(&post("/login", &[("name", "anna"), ("password", "a long password")]));
    assert_eq!(reply.status, 303, "{}", body(&reply));
    let cookie = reply.field("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page = body(&site.answer(&Ask { cookie: Some(cookie.clone()), ..Ask::get("/queue") }));
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    (cookie, csrf)
}

const PAGES: [&str; 13] = [
    "/",
    "/search?q=largest",
    "/now",
    "/queue",
    "/queue?all=1",
    "/queue/12",
    "/peers",
    "/peer?address=mailto:x@y",
    "/asides",
    "/asides/7",
    "/mailboxes",
    "/m/0123456789abcdef",
    "/login",
];

#[test]
fn every_page_is_whole_and_what_came_by_mail_is_text() {
    let (site, _) = site();
    let (cookie, _) = log_in(&site);
    for path in PAGES {
        for cookie in [None, Some(cookie.clone())] {
            let reply = site.answer(&Ask { cookie, ..Ask::get(path) });
            let page = body(&reply);
            assert_eq!(reply.status, 200, "{path}: {page}");
            assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"), "{path}");
            assert!(page.len() < 100_000, "{path}");
            assert!(!page.contains("<script>") && !page.contains("onclick=\"x"), "{path}: {page}");
            assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'), "{path}");
            assert!(
                page.contains("<main id=\"main\"") && page.contains("<h1>") && page.contains("lang=\"en\"")
            );
            assert!(
                !page.contains("style=\"") && !page.contains("http://") && !page.contains("https://"),
                "{path}"
            );
            let policy = reply.field("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            assert_eq!(reply.field("x-content-type-options"), Some("nosniff"));
            assert_eq!(reply.field("cache-control"), Some("no-store"));
            // With "no-referrer" a browser sends the forms of these very pages with the origin "null".
            assert_eq!(reply.field("referrer-policy"), Some("same-origin"));
        }
    }
    let page = body(&site.answer(&Ask::get("/search?q=largest")));
    assert!(page.contains("Jupiter is the <mark>LARGEST</mark> planet &lt;script&gt;"), "{page}");
    assert!(page.contains("25 % of your text"), "{page}");
    let part = body(&site.answer(&Ask::get("/search?q=largest&part=1")));
    assert!(!part.contains("<html") && part.contains("<mark>LARGEST</mark>"), "{part}");
    for (path, status) in
        [("/nowhere", 404), ("/queue/99", 404), ("/m/fedcba9876543210", 404), ("/static/x", 404)]
    {
        let reply = site.answer(&Ask::get(path));
        assert_eq!(reply.status, status, "{path}");
        assert!(!body(&reply).contains("<script>"), "{path}");
    }
    for (path, media_type) in [
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/page.js", "text/javascript; charset=utf-8"),
    ] {
        assert_eq!(site.answer(&Ask::get(path)).media_type, media_type);
    }
}

#[test]
fn changes_need_a_login_and_a_form_of_this_session() {
    let (site, doll) = site();
    let changes = || {
        let asked = doll.asked.lock().unwrap();
        asked
            .iter()
            .filter(|it| matches!(it, Request::Queue { action: QueueAction::Drop { delivery: 12 } }))
            .count()
    };
    let (cookie, csrf) = log_in(&site);
    let (_, other) = log_in(&site);
    let with = |cookie: Option<&String>, form: &[(&str, &str)]| Ask {
        cookie: cookie.cloned(),
        ..post("/queue/12/drop", form)
    };
    let cookie = Some(&cookie);
    for (why, ask, status) in [
        ("nobody", with(None, &[]), 401),
        ("a made-up session", with(Some(&"cmr_mail_session=x".to_owned()), &[("csrf", "")]), 401),
        ("no token", with(cookie, &[]), 403),
        ("an empty token", with(cookie, &[("csrf", "")]), 403),
        ("another session's token", with(cookie, &[("csrf", &other)]), 403),
        (
            "another site",
            Ask { origin: Some("https://evil.example".into()), ..with(cookie, &[("csrf", &csrf)]) },
            403,
        ),
        (
            "a page without an origin",
            Ask { origin: Some("null".into()), ..with(cookie, &[("csrf", &csrf)]) },
            403,
        ),
        (
            "another site, says the browser",
            Ask { fetch_site: Some("cross-site".into()), ..with(cookie, &[("csrf", &csrf)]) },
            403,
        ),
        ("GET", Ask { cookie: cookie.cloned(), ..Ask::get("/queue/12/drop") }, 404),
        ("another host", Ask { host: Some("evil.example".into()), ..with(cookie, &[("csrf", &csrf)]) }, 421),
    ] {
        assert_eq!(site.answer(&ask).status, status, "{why}");
        assert_eq!(changes(), 0, "{why}");
    }
    let ours = Ask {
        origin: Some("http://localhost".into()),
        fetch_site: Some("same-origin".into()),
        ..with(cookie, &[("csrf", &csrf)])
    };
    let reply = site.answer(&ours);
    assert_eq!((reply.status, reply.field("location")), (303, Some("/queue?done=drop")));
    assert_eq!(changes(), 1);
    for unknown in ["/queue/12/remove", "/queue/x/drop", "/queue/hold", "/queue/drop"] {
        assert_eq!(site.answer(&Ask { path: unknown.into(), ..ours.clone() }).status, 404, "{unknown}");
    }
    // After the log-out the cookie is worth nothing.
    let out = site.answer(&Ask { path: "/logout".into(), ..ours.clone() });
    assert!(out.field("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(site.answer(&ours).status, 401);
    // And after eight idle hours.
    let (cookie, csrf) = log_in(&site);
    doll.now.store(9 * 3600, Ordering::Relaxed);
    assert_eq!(site.answer(&with(Some(&cookie), &[("csrf", &csrf)])).status, 401);
    assert_eq!(changes(), 1);
}

#[test]
fn a_change_of_the_users_ends_the_sessions_of_those_who_are_gone() {
    let (site, _) = site();
    let (cookie, _) = log_in(&site);
    let logged_in =
        || body(&site.answer(&Ask { cookie: Some(cookie.clone()), ..Ask::get("/queue") })).contains("csrf");
    let line = hash_line("anna", "a long password").unwrap();
    let basic = || {
        let authorization = Some(format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode("anna:a long password")
        ));
        site.answer(&Ask { authorization, ..Ask::get("/api/status") }).status
    };
    assert!(logged_in() && basic() == 200);
    let with = |lines: &str| Users::parse(lines).unwrap();
    let bob = hash_line("bob", "another password").unwrap();
    // The same line of hers as before is no reason to log in again; another hash of the password is.
    let kept = format!("{bob}{line}");
    site.change(rules(), with(&kept));
    assert!(!logged_in(), "the hash of her password is another one than at the beginning");
    let (cookie, _) = log_in(&site);
    site.change(Rules { hosts: vec!["new.example.org".into()], ..rules() }, with(&kept));
    let asked = |host: &str| {
        let ask = Ask { cookie: Some(cookie.clone()), host: Some(host.into()), ..Ask::get("/queue") };
        body(&site.answer(&ask))
    };
    assert!(asked("new.example.org").contains("csrf"));
    assert!(asked("mx.example.org").contains("not asked for by that name"));
    assert_eq!(basic(), 200);
    site.change(rules(), with(&bob));
    assert!(!asked("mx.example.org").contains("csrf"));
    assert_eq!(basic(), 401, "what was remembered of her password is forgotten");
}

#[test]
fn the_configuration_decides_who_reads_and_not_the_address_that_asks() {
    let proxies = Rules { proxies: vec!["127.0.0.1/32".parse().unwrap()], reads_openly: false, ..rules() };
    let open = Rules { listen: "192.0.2.1:443".parse().unwrap(), reads_openly: false, ..rules() };
    let from = |peer: &str, ask: Ask| Ask { peer: peer.parse().unwrap(), ..ask };
    let https = |ask: Ask| Ask { forwarded_proto: Some("https".into()), ..ask };
    let asked = |host: &str, path: &str| Ask { host: Some(host.into()), ..Ask::get(path) };
    let local = rules;
    for (rules, ask, status) in [
        (local(), Ask::get("/now"), 200),
        (local(), asked("127.0.0.1:8027", "/now"), 200),
        (local(), asked("[::1]:8027", "/now"), 200),
        (local(), asked("MX.example.org", "/now"), 200),
        (local(), asked("evil.example", "/now"), 421),
        (local(), asked("localhost.evil.example", "/now"), 421),
        (local(), asked("[::1]", "/now"), 200),
        (local(), asked("[::1]:8027", "/now"), 200),
        (local(), asked("[127.0.0.1]evil.example", "/now"), 421),
        (local(), asked("[::1]evil.example", "/now"), 421),
        (local(), asked("[::1].evil.example:8027", "/now"), 421),
        (local(), asked("[localhost]", "/now"), 421),
        (local(), asked("localhost:evil.example", "/now"), 421),
        (local(), asked("127.0.0.1:8027:x", "/now"), 421),
        (local(), Ask { host: None, ..Ask::get("/now") }, 421),
        // What a client says of itself counts for nothing without a proxy that is listed.
        (local(), https(Ask { forwarded_for: Some("203.0.113.9".into()), ..Ask::get("/now") }), 200),
        // Behind a proxy everybody comes from loopback.
        (proxies.clone(), Ask::get("/now"), 403),
        (proxies.clone(), https(Ask::get("/now")), 303),
        (proxies.clone(), https(Ask::get("/login")), 200),
        (proxies.clone(), https(Ask::get("/api/status")), 401),
        (proxies.clone(), https(Ask::get("/metrics")), 401),
        (proxies.clone(), from("127.0.0.2", https(Ask::get("/now"))), 403),
        (proxies.clone(), from("::ffff:127.0.0.1", https(Ask::get("/now"))), 303),
        (open.clone(), asked("192.0.2.1", "/now"), 403),
        (open.clone(), Ask { tls: true, ..asked("192.0.2.1", "/now") }, 303),
        (open.clone(), Ask { tls: true, ..asked("localhost", "/now") }, 421),
    ] {
        let (site, _) = site_with(rules.clone());
        let reply = site.answer(&ask);
        assert_eq!(reply.status, status, "{ask:?} with {rules:?}: {}", body(&reply));
    }
    // Over TLS the cookie is for TLS alone.
    let (site, _) = site_with(open);
    let login = post("/login", &[("name", "anna"), ("password", "a long password")]);
    let reply = site.answer(&Ask { tls: true, host: Some("192.0.2.1".into()), ..login });
    assert!(reply.field("set-cookie").unwrap().ends_with("; Secure"));
}

#[test]
fn passwords_are_not_guessed_by_the_thousand() {
    let (site, doll) = site();
    let attempt = |name: &str, password: &str| {
        site.answer(&post("/login", &[("name", name), ("password", password)])).status
    };
    let mut answers: Vec<u16> = (0..9).map(|n| attempt("anna", &format!("guess {n}"))).collect();
    answers.push(attempt("nobody", "a long password"));
    assert_eq!(answers, [401; 10]);
    assert_eq!(attempt("anna", "a long password"), 429, "a right one has to wait, too");
    doll.now.store(61, Ordering::Relaxed);
    assert_eq!(attempt("anna", "a long password"), 303);
    // What is typed comes back as text, the password not at all.
    let reply = site.answer(&post("/login", &[("name", EVIL), ("password", "my dog's name")]));
    assert!(!body(&reply).contains("my dog") && !body(&reply).contains("<script>alert"));
}

#[test]
fn programs_get_json_and_show_a_password() {
    let (site, doll) = site();
    let openapi: Value = serde_json::from_slice(&site.answer(&Ask::get("/api/openapi.json")).body).unwrap();
    let paths = openapi["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 12);
    for (path, what) in paths {
        let path = path.replace("{id}", ID).replace("{number}", "12").replace("{action}", "retry");
        if what.get("post").is_some() {
            continue;
        }
        let reply = site.answer(&Ask::get(&format!("{path}?q=x&address=mailto:x@y")));
        assert_eq!((reply.status, reply.media_type), (200, "application/json"), "{path}");
        let shown: Value = serde_json::from_slice(&reply.body).unwrap();
        // Each field that is shown is described.
        let schema = &what["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let (schema, shown) = match schema.get("items") {
            Some(items) => (items, &shown[0]),
            None => (schema, &shown),
        };
        let name = schema["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        let described = openapi["components"]["schemas"][name]["properties"].as_object().unwrap();
        let shown = if shown.is_array() { &shown[0] } else { shown };
        for field in shown.as_object().unwrap().keys().filter(|field| *field != "raw") {
            assert!(described.contains_key(field), "{path}: {field} is not described");
        }
    }
    assert_eq!(site.answer(&Ask::get("/api/messages/fedcba9876543210")).status, 404);
    let basic = |user: &str, password: &str, ask: Ask| {
        let shown = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Ask { authorization: Some(format!("Basic {shown}")), ..ask }
    };
    let retry = || post("/api/queue/12/retry", &[]);
    assert_eq!(site.answer(&retry()).status, 401);
    assert_eq!(site.answer(&basic("anna", "wrong password", retry())).status, 401);
    assert_eq!(site.answer(&basic("anna", "a long password", retry())).status, 200);
    let asked =
        |it: &Request| matches!(it, Request::Queue { action: QueueAction::Retry { delivery: Some(12) } });
    assert_eq!(doll.asked.lock().unwrap().iter().filter(|it| asked(it)).count(), 1);
    let metrics = site.answer(&Ask::get("/metrics"));
    assert_eq!((metrics.status, metrics.body.as_slice()), (200, &b"# EOF\n"[..]));
    assert!(metrics.media_type.starts_with("application/openmetrics-text"));
    // No search is longer than a page can hold.
    let long = format!("/search?q={}", "x".repeat(20_000));
    assert_eq!(site.answer(&Ask::get(&long)).status, 400);
}

#[test]
fn the_file_of_users_is_read_strictly() {
    assert!(hash_line("anna", "short").is_err() && hash_line("an:na", "a long password").is_err());
    let line = hash_line("anna", "a long password").unwrap();
    assert!(line.starts_with("anna:$argon2id$"), "{line}");
    assert!(Users::parse(&format!("# who\n\n{line}")).is_ok());
    for wrong in ["anna", "anna:", "anna:secret", ":$argon2id$x"] {
        assert!(
            Users::parse(wrong).unwrap_err().to_string().starts_with("line 1 is not NAME:HASH"),
            "{wrong}"
        );
    }
}
