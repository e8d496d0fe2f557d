//! `cmr-mail check`: what is wrong, in one line each, and how to mend it.
//!
//! Looks and tries out; changes nothing. Every look has a deadline, so that a check of a broken
//! machine ends, too.

mod believed;
mod clock;
mod expiry;
mod files;
mod names;
mod net;
mod pages;
mod postfix;
mod transports;

use serde::Serialize;

use super::exit::{CONFIG, Outcome, UNAVAILABLE, fail};
use super::layout::{Paint, paragraph};
use super::{Context, escape, out, settings};
use crate::config::{Config, ConfigError};
use crate::policy::WhoMayPost;
use crate::process::raise_descriptor_limit;

/// Descriptors that are needed beside those of the receiver: the database and its readers, the other
/// listeners, the queue, the pages.
const OTHERS: u64 = 512;

/// Say what is wrong, and how to mend it
///
/// Looks at the configuration, the database, the disk, the clock, certificates, the addresses to
/// listen on, the smarthost, the mailboxes that are read, the name servers, the records of our own
/// names (address, PTR, MX, SPF, DKIM, DMARC), what is known of the relay and, if there is a content
/// filter, how Postfix is wired to it. Changes nothing, and sends nothing but the probe that you ask
/// for.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail check
  cmr-mail check --dkim mail2026
  cmr-mail check --json | jq -r '.lines[] | select(.state == \"fail\") | .mend'

Exit codes: 0 nothing is wrong (there may be warnings), 78 the configuration or
what it names is wrong, 69 something else is.")]
pub(super) struct Args {
    /// Send a mail with forged Authentication-Results by way of the relay at this address, and see
    /// whether it removes them; needs a running daemon
    #[arg(long, value_name = "HOST[:PORT]")]
    probe_relay: Option<String>,
    /// Look at the DKIM key that our mail is signed with under this selector (s= in its signature)
    #[arg(long, value_name = "SELECTOR")]
    dkim: Option<String>,
    #[command(flatten)]
    format: super::Format,
}

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// It works, but is worth a look.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Line {
    /// What was looked at, in a word or two.
    name: &'static str,
    state: State,
    /// What was found.
    says: String,
    /// What to do about it; empty when there is nothing to do.
    mend: String,
    /// What a failure ends in.
    #[serde(skip)]
    exit: u8,
}

impl Line {
    fn ok(name: &'static str, says: impl Into<String>) -> Line {
        Line { name, state: State::Ok, says: says.into(), mend: String::new(), exit: 0 }
    }

    fn warn(name: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Line {
        Line { state: State::Warn, mend: mend.into(), ..Line::ok(name, says) }
    }

    /// Something outside of the configuration.
    fn fail(name: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Line {
        Line { state: State::Fail, exit: UNAVAILABLE, ..Line::warn(name, says, mend) }
    }

    /// The configuration, or a file that it names.
    fn wrong(name: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Line {
        Line { exit: CONFIG, ..Line::fail(name, says, mend) }
    }
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    /// Whether nothing fails.
    ok: bool,
    lines: Vec<Line>,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let report = match &args.probe_relay {
        None => report(context, args.dkim.as_deref()),
        Some(at) => {
            let line = believed::probe(context, at)?;
            Report { ok: line.state != State::Fail, lines: vec![line] }
        }
    };
    if args.format.json {
        out::json(&report)?;
    } else {
        let paint = out::paint();
        out::text(&report.lines.iter().map(|line| render(line, paint)).collect::<String>())?;
    }
    let failed: Vec<&Line> = report.lines.iter().filter(|l| l.state == State::Fail).collect();
    match failed.iter().map(|line| line.exit).max() {
        None => Ok(()),
        Some(exit) => {
            let things = if failed.len() == 1 { "thing fails" } else { "things fail" };
            fail(exit, format!("{} {things}", failed.len()))
        }
    }
}

fn report(context: &Context, dkim: Option<&str>) -> Report {
    let path = Config::find(context.named.as_deref());
    let lines = match path.and_then(Config::load) {
        Ok(config) => {
            let mut lines = configuration(&config);
            let daemon = files::daemon(&config);
            let running = daemon.running;
            lines.push(files::data_dir(&config));
            lines.push(daemon.line);
            lines.push(files::database(&config, running));
            lines.extend(files::intake(&config));
            lines.extend(net::tls(&config));
            lines.extend(net::listen(&config, running));
            lines.extend(pages::pages(&config, running));
            lines.extend(transports::ours(&config, running));
            lines.extend(transports::peers(&config));
            lines.push(net::smarthost(&config));
            lines.extend(net::mailboxes(&config));
            lines.push(clock::clock(&config));
            let (dns, answered) = believed::dns(&config);
            lines.push(dns);
            lines.extend(names::names(&config, dkim, answered));
            lines.extend(believed::relay(&config));
            lines.extend(postfix::wiring(&config));
            lines.extend(believed::mailboxes(&config));
            lines
        }
        Err(error) => unusable(&error),
    };
    Report { ok: lines.iter().all(|line| line.state != State::Fail), lines }
}

fn configuration(config: &Config) -> Vec<Line> {
    let mut lines = vec![Line::ok("configuration", config.path.display().to_string())];
    lines.extend(
        config.warnings.iter().map(|problem| Line::warn("configuration", problem.to_string(), String::new())),
    );
    if let Some((says, mend)) = nobody_can_post(config) {
        lines.push(Line::warn("policy", says, mend));
    }
    if let Some((says, mend)) = too_few_descriptors(config, raise_descriptor_limit()) {
        lines.push(Line::warn("descriptors", says, mend));
    }
    lines
}

/// Whether there is nobody who is believed about the author of a mail.
pub(super) fn nobody_can_post(config: &Config) -> Option<(&'static str, &'static str)> {
    let nobody = config.policy.who_may_post != WhoMayPost::Anyone
        && config.smtp.trusted_networks.is_empty()
        && !config.authentication.verify;
    nobody.then_some((
        "no person can post by mail: nobody is believed about who wrote a mail",
        "set [authentication] verify = true, or name the networks of your own users in [smtp] trusted_networks",
    ))
}

/// Whether fewer files and sockets may be open at a time than the configuration can need.
pub(super) fn too_few_descriptors(config: &Config, limit: Option<u64>) -> Option<(String, &'static str)> {
    let limit = limit?;
    let needed = u64::try_from(config.smtp.max_connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    (limit < needed).then(|| {
        let says = format!("{limit} descriptors may be open, and [smtp] max_connections can need {needed}");
        (says, "raise the limit (systemd: LimitNOFILE=65536, shell: ulimit -n), or lower max_connections")
    })
}

/// Without a configuration there is nothing else to look at. The sentences say how to mend it.
fn unusable(error: &ConfigError) -> Vec<Line> {
    let wrong = |says| Line::wrong("configuration", says, String::new());
    match error {
        ConfigError::Wrong(problems) => problems.iter().map(|p| wrong(p.to_string())).collect(),
        error => vec![wrong(settings::sentence(error))],
    }
}

fn render(line: &Line, paint: Paint) -> String {
    let mark = match line.state {
        State::Ok => paint.green("ok  "),
        State::Warn => paint.yellow("warn"),
        State::Fail => paint.red("FAIL"),
    };
    let says = paragraph(&escape::flat(&line.says), 20);
    let mut text = format!("{mark}  {:<13} ", line.name);
    text.push_str(says.get(20..).unwrap_or("\n"));
    if !line.mend.is_empty() {
        text.push_str(&paragraph(&format!("-> {}", escape::flat(&line.mend)), 20));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_and_how_to_mend_it() {
        let line = Line::fail("smarthost", "smtp://[::1]:25 refuses\u{1b}", "start it");
        assert_eq!(
            render(&line, Paint::default()),
            "FAIL  smarthost     smtp://[::1]:25 refuses\\x1b\n                    -> start it\n"
        );
        let line = Line::ok("configuration", "x ".repeat(60));
        let text = render(&line, Paint::default());
        assert!(text.lines().all(|l| l.len() <= 80), "{text}");
        assert!(text.starts_with("ok    configuration x x"), "{text}");
    }

    #[test]
    fn the_limit_of_descriptors_is_held_against_what_can_be_needed() {
        let text = "[gateway]\naddress = \"mailto:cmr@example.org\"\nhostname = \"mx.example.org\"\n\
                    operator = \"operator@example.org\"\n[smtp]\nmax_connections = 1000\n";
        let config = Config::parse(text, "/nowhere/cmr-mail.toml").unwrap();
        for (limit, enough) in [(None, true), (Some(1512), true), (Some(1511), false), (Some(0), false)] {
            assert_eq!(too_few_descriptors(&config, limit).is_none(), enough, "{limit:?}");
        }
    }

    #[test]
    fn the_worst_failure_decides_the_exit_code() {
        assert_eq!(Line::fail("a", "", "").exit, 69);
        assert_eq!(Line::wrong("a", "", "").exit, 78);
        assert_eq!(Line::warn("a", "", "").exit, 0);
    }

    #[test]
    fn the_json_of_a_line() {
        let json = serde_json::to_value(Line::wrong("tls", "expired", "renew it")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"name": "tls", "state": "fail", "says": "expired", "mend": "renew it"})
        );
    }
}
