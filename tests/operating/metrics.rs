//! Metrics: their page, what they add up to, and whether Prometheus takes them, the alerts and the
//! dashboard.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use cmr_mail::metrics;

use super::post;
use super::support::daemon::{Config, Daemon, House};
use super::support::sink::Sink;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_page_is_made_from_the_table() {
    let page = root().join("docs/metrics.md");
    let text = metrics::page();
    if std::env::var_os("CMR_MAIL_WRITE_EXPECTED").is_some() {
        std::fs::write(&page, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(page).unwrap(),
        text,
        "docs/metrics.md is old; CMR_MAIL_WRITE_EXPECTED=1 cargo test --test operating metrics writes it"
    );
}

/// The names of ours in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("cmr_mail_")).map(str::to_owned).collect()
}

fn promtool(args: &[&str], dir: &Path) {
    let done = Command::new("promtool").args(args).current_dir(dir).output();
    let done = done.expect("promtool is there: Debian package prometheus");
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "promtool {args:?}: {}", String::from_utf8_lossy(&said));
}

/// Each expression of the dashboard.
fn expressions(dashboard: &serde_json::Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().replace("$instance", ".*")).collect()
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let described: BTreeSet<String> = metrics::ALL.iter().map(|what| what.name.to_owned()).collect();
    let deploy = root().join("deploy");
    let rules = std::fs::read_to_string(deploy.join("prometheus/cmr-mail.rules.yml")).unwrap();
    let dashboard = std::fs::read_to_string(deploy.join("grafana/cmr-mail.json")).unwrap();
    let mut asked = names(&rules);
    asked.extend(names(&dashboard));
    for name in &asked {
        let base = name.strip_suffix("_bucket").unwrap_or(name);
        assert!(described.contains(base), "{name} is no metric");
    }
    for name in described.iter().filter(|name| {
        !matches!(
            name.as_str(),
            "cmr_mail_disk_free_bytes" | "cmr_mail_database_trouble" | "cmr_mail_uptime_seconds"
        )
    }) {
        assert!(
            names(&dashboard).iter().any(|asked| asked.starts_with(name.as_str())),
            "the dashboard leaves out {name}"
        );
    }
    promtool(&["check", "rules", "cmr-mail.rules.yml"], &deploy.join("prometheus"));
    promtool(&["test", "rules", "cmr-mail.rules.test.yml"], &deploy.join("prometheus"));
    // The dashboard's expressions, as rules of their own.
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let rules: Vec<_> = expressions(&dashboard)
        .iter()
        .enumerate()
        .map(|(n, expression)| serde_json::json!({"record": format!("panel:{n}"), "expr": expression}))
        .collect();
    assert!(rules.len() > 20);
    let dir = tempfile::tempdir().unwrap();
    let file = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(dir.path().join("dashboard.yml"), file.to_string()).unwrap();
    promtool(&["check", "rules", "dashboard.yml"], dir.path());
}

fn scrape(daemon: &Daemon) -> String {
    let web = daemon.address("web");
    let mut stream = TcpStream::connect(web).unwrap();
    stream
        .write_all(format!("GET /metrics HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    body.to_owned()
}

/// The sum of all lines of this metric whose labels hold these words.
pub(crate) fn sum(text: &str, name: &str, labels: &[&str]) -> u64 {
    let lines = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    let whole = |number: &str| number.trim_end_matches(".0").parse::<u64>().unwrap();
    lines.map(|line| whole(line.rsplit(' ').next().unwrap())).sum()
}

#[test]
fn they_add_up_to_what_came_and_went() {
    let sink = Sink::start();
    let config =
        Config::new().trusting_loopback().smarthost(sink.address()).text("web", "listen", "127.0.0.1:0");
    let house = House::new(&config);
    let daemon = house.start();
    sink.refuse("ann3@a.test", &["451 4.3.0 not now", "451 4.3.0 not now"]);
    sink.refuse("ann4@a.test", &["550 5.1.1 nobody"]);
    let words = ["jupiter", "saturn", "bread", "apples", "violins", "rivers"];
    for (n, word) in words.iter().enumerate() {
        post(
            &daemon,
            &format!("ann{n}@a.test"),
            word,
            &format!("What {word} {word}s are, that I should like to know."),
        );
    }
    // The same once more, and a mail with nothing in it for us.
    post(&daemon, "ann0@a.test", "jupiter", "What jupiter jupiters are, that I should like to know.");
    house.run(&["deliver"], b"From: x@y.test\nTo: cmr@home.test\nMessage-ID: <9@y.test>\n\nWho am I?\n");
    house.until_idle();
    let text = scrape(&daemon);
    let total = |name, labels: &[&str]| sum(&text, name, labels);
    assert_eq!(total("cmr_mail_arrivals_total", &["via=\"smtp\"", "reply=\"2xx\""]), 7, "{text}");
    assert_eq!(total("cmr_mail_messages_total", &["fate=\"new\""]), 6);
    assert_eq!(total("cmr_mail_messages_total", &["fate=\"known\""]), 1);
    assert_eq!(total("cmr_mail_refusals_total", &["reason=\"author\""]), 1);
    assert_eq!(total("cmr_mail_routed_total", &[]), 6);
    assert_eq!(total("cmr_mail_decision_seconds_count", &[]), 6);
    assert_eq!(total("cmr_mail_pool_messages", &[]), 6);
    // What was sent is what arrived at the other end.
    assert_eq!(total("cmr_mail_delivery_attempts_total", &["ended=\"sent\""]), sink.count() as u64, "{text}");
    assert_eq!(total("cmr_mail_delivery_attempts_total", &["ended=\"again\""]), 2);
    assert_eq!(total("cmr_mail_delivery_attempts_total", &["ended=\"failed\""]), 1);
    assert_eq!(total("cmr_mail_queue_deliveries", &[]), 0);
    assert!(total("cmr_mail_resident_memory_bytes", &[]) > 1 << 20);
    assert!(!text.contains("jupiter") && !text.contains("a.test"), "no word and no address of anybody");

    // Prometheus's own reader of the format takes it; it wants a time with each value there.
    let dir = tempfile::tempdir().unwrap();
    let dated: String = text
        .lines()
        .map(|line| if line.starts_with('#') { format!("{line}\n") } else { format!("{line} 1790000000\n") })
        .collect();
    std::fs::write(dir.path().join("scraped"), dated).unwrap();
    promtool(&["tsdb", "create-blocks-from", "openmetrics", "scraped", "blocks"], dir.path());
    assert!(daemon.stop().success());
}
