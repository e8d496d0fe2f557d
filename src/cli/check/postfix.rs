//! Whether the Postfix of this machine hands mail to the filter and takes it back, and whether it
//! leaves it as it is on the way: by what `postconf` says.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use super::Line;
use crate::config::Config;
use crate::filter::Mode;

const NAME: &str = "postfix";
const DOCS: &str = "docs/postfix.md and deploy/postfix say how";

/// What of main.cf is looked at; what is not asked for here looks as if it were not set.
const ASKED: [&str; 10] = [
    "content_filter",
    "disable_mime_output_conversion",
    "lmtp_line_length_limit",
    "lmtp_send_xforward_command",
    "local_header_rewrite_clients",
    "myhostname",
    "recipient_delimiter",
    "smtp_line_length_limit",
    "smtp_send_xforward_command",
    "soft_bounce",
];

/// A service of master.cf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Service {
    name: String,
    kind: String,
    command: String,
    /// The command with its arguments.
    line: String,
    options: BTreeMap<String, String>,
}

impl Service {
    /// Whether it runs `cmr-mail filter` for each mail.
    fn is_our_pipe(&self) -> bool {
        self.command == "pipe" && runs_filter(&self.line)
    }
}

/// What Postfix is set up to do.
#[derive(Debug, Default)]
struct Wiring {
    main: BTreeMap<String, String>,
    services: Vec<Service>,
}

/// The lines about Postfix; none where there is no filter or no Postfix.
pub(super) fn wiring(config: &Config) -> Vec<Line> {
    let listen = config.filter.listen;
    let (Some(main), Some(services), Some(options)) =
        (postconf(&ASKED), postconf(&["-M"]), postconf(&["-P"]))
    else {
        if listen.is_none() {
            return Vec::new();
        }
        let says = "no postconf here: whether a mail server hands mail to the filter was not looked at";
        return vec![Line::warn(NAME, says, DOCS)];
    };
    let wiring = Wiring::read(&main, &services, &options);
    look(&wiring, config)
}

/// `cmr-mail filter`, with options of its own in between or not.
fn runs_filter(line: &str) -> bool {
    line.contains("cmr-mail") && line.split_whitespace().any(|word| word == "filter")
}

fn postconf(arguments: &[&str]) -> Option<String> {
    let output = Command::new("postconf").args(arguments).stdin(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Wiring {
    /// Out of the output of `postconf NAME…`, `postconf -M` and `postconf -P`.
    fn read(main: &str, services: &str, options: &str) -> Wiring {
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        let mut wiring = Wiring { main: main.lines().filter_map(pair).collect(), services: Vec::new() };
        for line in services.lines() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(kind)) = (words.next(), words.next()) else { continue };
            let rest: Vec<&str> = words.skip(5).collect();
            wiring.services.push(Service {
                name: name.to_owned(),
                kind: kind.to_owned(),
                command: rest.first().copied().unwrap_or_default().to_owned(),
                line: rest.join(" "),
                options: BTreeMap::new(),
            });
        }
        for (name, value) in options.lines().filter_map(pair) {
            let mut parts = name.rsplitn(3, '/');
            let (Some(option), Some(kind), Some(service)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            for found in wiring.services.iter_mut().filter(|it| it.name == service && it.kind == kind) {
                found.options.insert(option.to_owned(), value.clone());
            }
        }
        wiring
    }

    fn main(&self, name: &str) -> &str {
        debug_assert!(ASKED.contains(&name), "postconf is never asked for {name}");
        self.main.get(name).map_or("", String::as_str)
    }

    /// What holds for a service.
    fn of<'a>(&'a self, service: &'a Service, name: &str) -> &'a str {
        service.options.get(name).map_or_else(|| self.main(name), String::as_str)
    }

    /// Every filter that is set, with where it is set.
    fn filters(&self) -> Vec<(String, &str)> {
        let mut found = vec![("main.cf".to_owned(), self.main("content_filter"))];
        for service in self.services.iter().filter(|service| service.command == "smtpd") {
            if let Some(filter) = service.options.get("content_filter") {
                found.push((format!("{} in master.cf", service.name), filter));
            }
        }
        found.retain(|(_, filter)| !filter.is_empty());
        found
    }
}

/// Whether this text of Postfix's (`[127.0.0.1]:10025`, `localhost:10025`, `10025`) means this address.
fn means(text: &str, address: SocketAddr) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => ("", text),
    };
    let host = host.trim_start_matches("inet:").trim_start_matches('[').trim_end_matches(']');
    let here = match host.parse::<IpAddr>() {
        Ok(ip) => ip == address.ip() || address.ip().is_unspecified() || ip.is_unspecified(),
        Err(_) => host.is_empty() || (host.eq_ignore_ascii_case("localhost") && address.ip().is_loopback()),
    };
    here && port.parse() == Ok(address.port())
}

fn look(wiring: &Wiring, config: &Config) -> Vec<Line> {
    let listen = config.filter.listen;
    let mut lines = Vec::new();
    // By a pipe there is nothing to listen on: then only master.cf tells that there is a filter.
    if listen.is_none() && !wiring.services.iter().any(Service::is_our_pipe) {
        return lines;
    }
    let hostname = wiring.main("myhostname");
    if hostname.eq_ignore_ascii_case(&config.gateway.hostname) {
        lines.push(Line::fail(
            NAME,
            format!("Postfix has the name of the gateway, {hostname}: it takes the filter for itself"),
            "give [gateway] hostname another name, such as cmr.example.org",
        ));
    }
    let filters = wiring.filters();
    let transport = |filter: &str| filter.split(':').next().unwrap_or_default().to_owned();
    let to_us = |filter: &str| {
        listen.is_some_and(|listen| filter.split_once(':').is_some_and(|(_, hop)| means(hop, listen)))
    };
    let pipe = |filter: &str| {
        let name = transport(filter);
        wiring.services.iter().any(|it| it.name == name && it.is_our_pipe())
    };
    let Some((place, filter)) = filters.iter().find(|(_, filter)| to_us(filter) || pipe(filter)) else {
        let (ours, mend) = match listen {
            Some(at) => {
                let mend = format!("add to main.cf: content_filter = cmrfilter:[{}]:{}", at.ip(), at.port());
                (at.to_string(), mend)
            }
            None => ("the pipe of master.cf".to_owned(), DOCS.to_owned()),
        };
        let says = match filters.first() {
            Some((place, filter)) => {
                format!(
                    "content_filter is {filter} ({place}), which is not {ours}: no mail comes to the filter"
                )
            }
            None => format!("no content_filter is set: no mail comes to the filter at {ours}"),
        };
        lines.push(Line::warn(NAME, says, mend));
        return lines;
    };
    let name = transport(filter);
    let Some(service) = wiring.services.iter().find(|it| it.name == name && it.kind == "unix") else {
        let says = format!(
            "content_filter names the transport {name}, which master.cf does not have: all mail waits"
        );
        lines.push(Line::fail(NAME, says, DOCS));
        return lines;
    };
    if config.filter.mode != Mode::Shadow && !wiring.main("recipient_delimiter").contains('+') {
        lines.push(Line::warn(
            NAME,
            "recipient_delimiter of main.cf has no +: Postfix refuses what people write to the addresses in our \
             answers (stop, publish, votes)",
            "add to main.cf: recipient_delimiter = +",
        ));
    }
    if service.command == "pipe" {
        lines.extend(look_at_pipe(service));
    } else {
        lines.extend(look_at_transport(wiring, service));
        lines.extend(look_at_way_back(wiring, config));
    }
    if lines.is_empty() {
        let mode = match config.filter.mode {
            Mode::Shadow => "which only watches (mode = \"shadow\")",
            Mode::Copy => "which copies (mode = \"copy\")",
            Mode::Take => "which takes (mode = \"take\")",
        };
        lines.push(Line::ok(
            NAME,
            format!("hands mail to the filter by {name} ({place}), {mode}, and takes it back"),
        ));
    }
    lines
}

/// The way to the filter: nothing may be changed on it.
fn look_at_transport(wiring: &Wiring, service: &Service) -> Vec<Line> {
    let mut lines = Vec::new();
    let name = &service.name;
    let limit = if service.command == "lmtp" { "lmtp_line_length_limit" } else { "smtp_line_length_limit" };
    let forward =
        if service.command == "lmtp" { "lmtp_send_xforward_command" } else { "smtp_send_xforward_command" };
    if !matches!(service.command.as_str(), "smtp" | "lmtp") {
        let says = format!("the transport {name} is no smtp and no lmtp but {}", service.command);
        return vec![Line::fail(NAME, says, DOCS)];
    }
    let mut want = |option: &str, good: bool, why: &str, value: &str| {
        if !good {
            let mend = format!("add to {name} in master.cf: -o {option}={value}");
            lines.push(Line::warn(NAME, format!("{name} has no {option}={value}: {why}"), mend));
        }
    };
    let is = |option: &str, value: &str| wiring.of(service, option) == value;
    let mime = "disable_mime_output_conversion";
    want(mime, is(mime, "yes"), "8-bit mails would be changed, and signatures break", "yes");
    want(limit, is(limit, "0"), "lines over 998 bytes would be broken, and signatures with them", "0");
    want(forward, is(forward, "yes"), "the filter does not learn who the original client was", "yes");
    want(
        "soft_bounce",
        is("soft_bounce", "yes"),
        "a refusal by the filter returns the mail to its sender",
        "yes",
    );
    lines
}

/// The way back from the filter: no filter a second time, and nothing changed.
fn look_at_way_back(wiring: &Wiring, config: &Config) -> Vec<Line> {
    let next_hop = config.filter.next_hop;
    let service = wiring
        .services
        .iter()
        .find(|it| it.kind == "inet" && it.command == "smtpd" && means(&it.name, next_hop));
    let Some(service) = service else {
        let says = format!(
            "no smtpd of master.cf listens on {next_hop}, where the filter hands mail back: all mail waits"
        );
        return vec![Line::fail(NAME, says, DOCS)];
    };
    let mut lines = Vec::new();
    let name = &service.name;
    let filter = wiring.of(service, "content_filter");
    if !filter.is_empty() {
        let says = format!("{name} has the filter {filter} again: every mail goes round in a circle");
        lines.push(Line::fail(NAME, says, format!("add to {name} in master.cf: -o content_filter=")));
    }
    let overrides = service.options.get("receive_override_options").map_or("", String::as_str);
    for (option, why) in [
        ("no_unknown_recipient_checks", "recipients are looked up twice"),
        ("no_header_body_checks", "header and body checks are done twice"),
    ] {
        if !overrides.contains(option) {
            let mend = format!("add {option} to -o receive_override_options of {name} in master.cf");
            lines.push(Line::warn(NAME, format!("{name} has no {option}: {why}"), mend));
        }
    }
    if !wiring.of(service, "local_header_rewrite_clients").is_empty() {
        let says = format!("{name} rewrites headers of mail that comes back: signatures break");
        lines.push(Line::warn(
            NAME,
            says,
            format!("add to {name} in master.cf: -o local_header_rewrite_clients="),
        ));
    }
    if service.options.get("smtpd_authorized_xforward_hosts").is_none_or(String::is_empty) {
        let says =
            format!("{name} takes no XFORWARD: its log shows the filter in place of the original client");
        let mend = format!("add to {name} in master.cf: -o smtpd_authorized_xforward_hosts=127.0.0.0/8");
        lines.push(Line::warn(NAME, says, mend));
    }
    lines
}

fn look_at_pipe(service: &Service) -> Vec<Line> {
    let has = |word: &str| service.line.split_whitespace().any(|it| it.starts_with(word));
    let mut lines = Vec::new();
    if !has("null_sender=") {
        let says =
            format!("{} has no null_sender=: notices would get the sender MAILER-DAEMON", service.name);
        lines.push(Line::warn(NAME, says, format!("add null_sender= to {} in master.cf", service.name)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    const MAIN: &str = "content_filter = cmrfilter:[127.0.0.1]:10025\nmyhostname = mx.example.org\nsoft_bounce = no\n\
                        disable_mime_output_conversion = no\nsmtp_line_length_limit = 998\n\
                        local_header_rewrite_clients = permit_inet_interfaces\n";
    const MASTER: &str = "smtp       inet  n       -       y       -       -       smtpd\n\
                          cmrfilter  unix  -       -       n       -       20      smtp -o x=y\n\
                          127.0.0.1:10026 inet n   -       n       -       30      smtpd -o content_filter=\n";
    const OPTIONS: &str = "cmrfilter/unix/smtp_send_xforward_command = yes\n\
                           cmrfilter/unix/disable_mime_output_conversion = yes\n\
                           cmrfilter/unix/smtp_line_length_limit = 0\ncmrfilter/unix/soft_bounce = yes\n\
                           127.0.0.1:10026/inet/content_filter =\n\
                           127.0.0.1:10026/inet/receive_override_options = no_unknown_recipient_checks,no_header_body_checks\n\
                           127.0.0.1:10026/inet/local_header_rewrite_clients =\n\
                           127.0.0.1:10026/inet/smtpd_authorized_xforward_hosts = 127.0.0.0/8\n";

    fn seen(main: &str, master: &str, options: &str) -> Vec<(State, String)> {
        seen_with("listen = \"127.0.0.1:10025\"\n", main, master, options)
    }

    fn seen_with(listen: &str, main: &str, master: &str, options: &str) -> Vec<(State, String)> {
        let text = "[gateway]\naddress = \"mailto:cmr@example.org\"\nhostname = \"cmr.example.org\"\n\
                    operator = \"operator@example.org\"\n[filter]\n";
        let config = Config::parse(&format!("{text}{listen}"), "/nowhere/cmr-mail.toml").unwrap();
        let lines = look(&Wiring::read(main, master, options), &config);
        lines.into_iter().map(|line| (line.state, line.says)).collect()
    }

    #[test]
    fn a_wiring_that_is_right_is_one_line() {
        let lines = seen(MAIN, MASTER, OPTIONS);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0].0, State::Ok, "{lines:?}");
        assert!(lines[0].1.contains("shadow"), "{lines:?}");
        let by_service = MAIN.replace("cmrfilter:[127.0.0.1]:10025", "");
        let options = format!("smtp/inet/content_filter = cmrfilter:localhost:10025\n{OPTIONS}");
        assert_eq!(seen(&by_service, MASTER, &options)[0].0, State::Ok);
    }

    #[test]
    fn addresses_with_tags_have_to_arrive() {
        let take = "listen = \"127.0.0.1:10025\"\nmode = \"take\"\n";
        let lines = seen_with(take, MAIN, MASTER, OPTIONS);
        assert!(lines.len() == 1 && lines[0].1.contains("recipient_delimiter"), "{lines:?}");
        let main = format!("{MAIN}recipient_delimiter = +-\n");
        let lines = seen_with(take, &main, MASTER, OPTIONS);
        assert!(lines.len() == 1 && lines[0].0 == State::Ok, "{lines:?}");
    }

    #[test]
    fn each_thing_that_is_missing_is_named() {
        let main = |from: &str, to: &str| (MAIN.replace(from, to), MASTER.to_owned(), OPTIONS.to_owned());
        let without = |line: &str| {
            let kept: Vec<&str> = OPTIONS.lines().filter(|it| !it.contains(line)).collect();
            (MAIN.to_owned(), MASTER.to_owned(), kept.join("\n"))
        };
        let no_service = |name: &str| {
            let kept: Vec<&str> = MASTER.lines().filter(|it| !it.starts_with(name)).collect();
            (MAIN.to_owned(), kept.join("\n"), OPTIONS.to_owned())
        };
        for ((main, master, options), state, word) in [
            (main("cmrfilter:[127.0.0.1]:10025", ""), State::Warn, "no content_filter is set"),
            (main("10025", "10024"), State::Warn, "which is not 127.0.0.1:10025"),
            (main("mx.example.org", "cmr.example.org"), State::Fail, "name of the gateway"),
            (no_service("cmrfilter"), State::Fail, "which master.cf does not have"),
            (no_service("127"), State::Fail, "no smtpd of master.cf listens on 127.0.0.1:10026"),
            (without("content_filter"), State::Fail, "round in a circle"),
            (without("disable_mime"), State::Warn, "8-bit mails"),
            (without("line_length"), State::Warn, "998"),
            (without("send_xforward"), State::Warn, "original client"),
            (without("soft_bounce"), State::Warn, "returns the mail"),
            (without("receive_override"), State::Warn, "looked up twice"),
            (without("local_header"), State::Warn, "rewrites headers"),
            (without("authorized_xforward"), State::Warn, "takes no XFORWARD"),
        ] {
            let lines = seen(&main, &master, &options);
            let found = lines.iter().find(|(_, says)| says.contains(word));
            assert_eq!(found.map(|(state, _)| *state), Some(state), "{word}: {lines:?}");
            assert!(!lines.iter().any(|(state, _)| *state == State::Ok) || lines.len() == 1, "{lines:?}");
        }
    }

    #[test]
    fn the_pipe_is_seen() {
        let master = "cmrpipe unix - n n - 10 pipe flags=Rq user=cmr null_sender= argv=/usr/bin/cmr-mail filter -f ${sender} -- ${recipient}\n\
                      smtp inet n - y - - smtpd\n";
        let options = "smtp/inet/content_filter = cmrpipe:dummy\n";
        assert_eq!(seen("myhostname = mx.example.org\n", master, options)[0].0, State::Ok);
        assert_eq!(seen_with("", "myhostname = mx.example.org\n", master, options)[0].0, State::Ok);
        assert!(seen_with("", MAIN, MASTER, OPTIONS).is_empty());
        let lines = seen_with("", "myhostname = mx.example.org\n", master, "");
        assert!(lines[0].1.contains("no mail comes to the filter at the pipe"), "{lines:?}");
        let lines = seen("myhostname = mx.example.org\n", &master.replace("null_sender= ", ""), options);
        assert!(lines[0].1.contains("null_sender"), "{lines:?}");
    }

    #[test]
    fn addresses_as_postfix_writes_them() {
        let address = "127.0.0.1:25".parse().unwrap();
        for (text, same) in [
            ("[127.0.0.1]:25", true),
            ("127.0.0.1:25", true),
            ("localhost:25", true),
            ("25", true),
            ("[127.0.0.2]:25", false),
            ("127.0.0.1:26", false),
            ("mx.example.org:25", false),
            ("dummy", false),
        ] {
            assert_eq!(means(text, address), same, "{text}");
        }
    }
}
