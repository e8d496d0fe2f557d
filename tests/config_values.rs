//! What a configuration that is right becomes, and that every example is right.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use cmr_mail::config::{Config, ConfigError, Example, LogFormat, LogLevel, Security, keys};
use cmr_mail::filter::{Learn, Mode, OnError};
use cmr_mail::policy::{FirstPost, Origin, WhoMayPost};
use cmr_mail::router::RoutingPolicy;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const GATEWAY: &str = "[gateway]\naddress = \"mailto:cmr@example.org\"\nhostname = \"mx.example.org\"\noperator = \"The Operator <operator@example.org>\"\n";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn parse(text: &str) -> Config {
    Config::parse(text, "/srv/gateway/cmr-mail.toml").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The section of a key with this line, and with what such a section can't be without.
fn section(key: &keys::Key, line: &str) -> String {
    let needed = match key.section {
        "imap" => {
            ["name = \"a\"", "host = \"127.0.0.1\"", "user = \"b\"", "password_command = \"c\""].as_slice()
        }
        "ssh_peer" => ["address = \"ssh://a.example/\"", "destination = \"b\""].as_slice(),
        _ => &[],
    };
    let others = needed.iter().filter(|needed| !needed.starts_with(&format!("{} ", key.name)));
    let others: String = others.map(|needed| format!("{needed}\n")).collect();
    format!("{}\n{others}{line}\n", keys::brackets(key.section))
}

fn with(text: &str) -> Config {
    parse(&format!("{GATEWAY}{text}"))
}

#[test]
fn three_lines_are_enough() {
    let c = parse(GATEWAY);
    assert_eq!(c.warnings, []);
    assert_eq!(c.path, Path::new("/srv/gateway/cmr-mail.toml"));
    assert_eq!(c.gateway.address.as_str(), Some("mailto:cmr@example.org"));
    assert_eq!(c.gateway.mail_address, "cmr@example.org");
    assert_eq!(c.gateway.hostname, "mx.example.org");
    assert_eq!(c.gateway.operator.name.as_deref(), Some("The Operator"));
    assert_eq!(c.gateway.operator.address, "operator@example.org");
    assert_eq!(c.gateway.data_dir, Path::new("/srv/gateway/data"));
    assert_eq!(c.smtp.listen, ["127.0.0.1:2525".parse().unwrap()]);
    assert_eq!(c.smtp.recipients, ["cmr@example.org"]);
    assert_eq!((c.smtp.trusted_networks.len(), c.smtp.relays.len()), (0, 0));
    assert_eq!(c.smtp.authserv_id, "mx.example.org");
    assert_eq!(c.smtp.max_message, 10 << 20);
    assert_eq!((c.smtp.max_connections, c.smtp.max_connections_per_ip), (1000, 50));
    assert_eq!(c.smtp.tls, None);
    assert_eq!(c.send.smarthost.security, Security::None);
    assert_eq!((c.send.smarthost.host.as_str(), c.send.smarthost.port), ("127.0.0.1", 25));
    assert_eq!(c.send.from, "cmr@example.org");
    assert_eq!((&c.send.ca_file, &c.send.login), (&None, &None));
    assert_eq!(c.send.retry_first, Duration::from_secs(300));
    assert_eq!(c.send.retry_max, Duration::from_secs(4 * 3600));
    assert_eq!(c.send.give_up, Duration::from_secs(5 * 86_400));
    assert_eq!(c.policy.who_may_post, WhoMayPost::Authenticated);
    assert_eq!(c.policy.answer_at_most.to_string(), "20/h");
    assert_eq!(c.policy.post_at_most.to_string(), "60/h");
    assert_eq!(c.policy.clock_skew, Duration::from_secs(60));
    assert_eq!((c.people.first_post, c.people.origin), (FirstPost::Ask, Origin::Alias));
    assert_eq!(c.people.later_matches, Duration::from_secs(30 * 86_400));
    assert_eq!(c.routing.pinned, []);
    assert_eq!(c.routing.policy, RoutingPolicy::default());
    assert_eq!((c.pool.max_messages, c.pool.max_bytes), (1_000_000, 8 << 30));
    assert_eq!(c.pool.remember_ids, Duration::from_secs(90 * 86_400));
    assert_eq!(c.pool.keep_raw, Duration::from_secs(7 * 86_400));
    assert_eq!((c.log.format, c.log.level), (LogFormat::Text, LogLevel::Info));
}

#[test]
fn the_filter_is_off_and_would_only_watch() {
    let filter = parse(GATEWAY).filter;
    assert_eq!(filter.listen, None);
    assert_eq!(filter.next_hop, "127.0.0.1:10026".parse().unwrap());
    assert_eq!(filter.clients, ["127.0.0.0/8".parse().unwrap()]);
    assert_eq!((filter.mode, filter.on_error, filter.learn), (Mode::Shadow, OnError::Defer, Learn::Nothing));
    assert!(!filter.pass_refusals);
    let c = with(concat!(
        "[smtp]\nlisten = [\"127.0.0.1:2525\", \"lmtp://127.0.0.1:2424\", \"smtp://[::1]:25\"]\n",
        "[filter]\nlisten = \"127.0.0.1:10025\"\nmode = \"take\"\non_error = \"pass\"\nrefusals = \"pass\"\n",
        "learn = [\"Users.Lists.example\", \"The list <b.example>\"]\n",
    ));
    assert_eq!(c.smtp.listen.len(), 2);
    assert_eq!(c.smtp.lmtp, ["127.0.0.1:2424".parse().unwrap()]);
    assert_eq!((c.filter.mode, c.filter.on_error, c.filter.pass_refusals), (Mode::Take, OnError::Pass, true));
    let lists = ["users.lists.example", "b.example"].map(str::to_owned).to_vec();
    assert_eq!(c.filter.learn, Learn::Lists(lists));
    let all = with("[filter]\nmode = \"copy\"\nlearn = \"all\"\n");
    assert_eq!(all.filter.learn, Learn::All);
    assert_eq!(all.warnings, []);
}

#[test]
fn values_are_taken() {
    let c = with(concat!(
        "[smtp]\nlisten = [\"127.0.0.1:0\", \"[::1]:25\"]\nrecipients = [\"Post@Example.ORG\"]\n",
        "relays = [\"127.0.0.1\", \"2001:db8::/32\"]\ntrusted_networks = [\"192.0.2.0/24\"]\nmax_message = 65_536\n",
        "[send]\nsmarthost = \"smtps://[2001:db8::25]:4465\"\nretry_first = \"200ms\"\n",
        "[policy]\nwho_may_post = \"listed\"\nlisted = [\"Anna@Example.NET\", \"@EXAMPLE.com\"]\nclock_skew = \"0s\"\n",
        "[people]\nlater_matches = \"2w\"\n[routing]\npinned = [\"mailto:cmr@peer.example\"]\nage = 3\n",
        "[pool]\nmax_bytes = \"1 GiB\"\n[log]\nformat = \"json\"\nlevel = \"trace\"\n",
    ));
    assert_eq!(c.warnings, []);
    assert_eq!(c.smtp.listen, ["127.0.0.1:0".parse().unwrap(), "[::1]:25".parse().unwrap()]);
    // Only its own host may say whether case matters before the @ (RFC 5321, section 2.4).
    assert_eq!(c.smtp.recipients, ["Post@example.org"]);
    assert_eq!(c.smtp.relays, ["127.0.0.1/32".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
    assert_eq!(c.smtp.max_message, 65_536);
    assert_eq!(c.send.smarthost.security, Security::Tls);
    assert_eq!((c.send.smarthost.host.as_str(), c.send.smarthost.port), ("2001:db8::25", 4465));
    assert_eq!(c.send.retry_first, Duration::from_millis(200));
    assert_eq!(c.policy.listed, ["Anna@example.net", "@example.com"]);
    assert_eq!(c.policy.clock_skew, Duration::ZERO);
    assert_eq!(c.people.later_matches, Duration::from_secs(14 * 86_400));
    assert_eq!(c.routing.pinned.len(), 1);
    assert_eq!(c.pool.max_bytes, 1 << 30);
    assert_eq!((c.log.format, c.log.level), (LogFormat::Json, LogLevel::Trace));
}

#[test]
fn each_smarthost_has_its_usual_port() {
    for (url, security, port) in [
        ("smtp://mail.example.org", Security::None, 25),
        ("SMTP+StartTLS://Mail.Example.org/", Security::StartTls, 587),
        ("smtps://mail.example.org", Security::Tls, 465),
    ] {
        let smarthost = with(&format!("[send]\nsmarthost = \"{url}\"\n")).send.smarthost;
        assert_eq!((smarthost.security, smarthost.port), (security, port), "{url}");
        assert_eq!(smarthost.host, "mail.example.org");
    }
}

#[test]
fn every_word_of_a_choice_is_understood() {
    let mut words = 0;
    for key in keys::ALL {
        let keys::Kind::Choice(choices) = key.kind else {
            continue;
        };
        let mut seen = Vec::new();
        for (word, _) in choices {
            let listed = if *word == "listed" { "listed = [\"a@example.org\"]\n" } else { "" };
            let config = with(&section(key, &format!("{} = \"{word}\"\n{listed}", key.name)));
            assert_eq!(config.warnings, [], "{} {word}", key.title());
            // Each word means something of its own.
            let debug = format!("{config:?}");
            assert!(!seen.contains(&debug), "{} {word}", key.title());
            seen.push(debug);
            words += 1;
        }
    }
    assert!(words > 20, "only {words} words");
}

/// What `init` writes holds the defaults, also where a comment only shows them.
#[test]
fn the_example_loads_and_shows_the_defaults() {
    let of = Example {
        address: "mailto:cmr@example.org",
        hostname: "mx.example.org",
        operator: "The \"Op\" <operator@example.org>",
        data_dir: None,
    };
    let text = Config::example(&of);
    let as_written = parse(&text);
    assert_eq!(as_written.warnings, []);
    let plain = parse(&GATEWAY.replace("The Operator", "The \\\"Op\\\""));
    assert_eq!(as_written, plain);

    // All that is commented out but for what has no default (those need files).
    let shown = |key: &&&keys::Key| {
        text.lines().any(|line| line.trim_start_matches('#').starts_with(&format!("{} = ", key.name)))
    };
    assert_eq!(keys::ALL.iter().filter(shown).count(), keys::ALL.len());
    let off: Vec<_> = keys::ALL
        .iter()
        .filter(|k| k.absent == keys::Absent::Off)
        .map(|k| format!("#{} = ", k.name))
        .collect();
    // A mailbox is shown, and none is there: it is looked at apart.
    let (before, after) = text.split_once("#[[imap]]\n").unwrap();
    let (mailbox, after) = after.split_once("\n# How mail goes out.").unwrap();
    let mailbox: String = mailbox
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')))
        .filter(|line| {
            !["password_file", "oauth2_command", "ca_file"].iter().any(|off| line.starts_with(off))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let mailbox = with(&format!("[[imap]]\n{mailbox}"));
    assert_eq!((mailbox.imap.len(), &mailbox.warnings), (1, &Vec::new()));
    assert_eq!((mailbox.imap[0].port, mailbox.imap[0].poll), (993, Duration::from_secs(300)));
    let rest = format!("{before}\n# How mail goes out.{after}");
    // The same of a peer that is reached by SSH.
    let (before, after) = rest.split_once("#[[ssh_peer]]\n").unwrap();
    let (peer, after) = after.split_once("\n# Who may post").unwrap();
    let peer = peer.lines().filter_map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')));
    let peer = with(&format!("[[ssh_peer]]\n{}", peer.map(|line| format!("{line}\n")).collect::<String>()));
    assert_eq!((peer.ssh.peers.len(), &peer.warnings), (1, &Vec::new()));
    assert_eq!(peer.listed(), [cmr_mail::message::Address::try_from("ssh://cmr@peer.example/").unwrap()]);
    let rest = format!("{before}\n# Who may post{after}");
    let all: String = rest
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !off.iter().any(|o| line.starts_with(o.as_str())) => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(all.matches("\nretry_first = ").count() == 1, "{all}");
    let mut all = parse(&all);
    // Written out it is set; without it the policy says the same.
    assert_eq!(all.routing.policy.compensation, Some(plain.routing.policy.compensates()));
    all.routing.policy.compensation = None;
    assert_eq!(all, plain);

    let of = Example { data_dir: Some("/var/lib/cmr-mail"), ..of };
    assert_eq!(parse(&Config::example(&of)).gateway.data_dir, Path::new("/var/lib/cmr-mail"));
}

#[test]
fn the_shipped_examples_load() {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("config")).unwrap() {
        let path = entry.unwrap().path();
        // Folders hold what other verbs read: the scenarios of simulate.
        if path.is_dir() {
            continue;
        }
        let config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.warnings, [], "{}", path.display());
        names.push(path.file_name().unwrap().to_owned());
    }
    assert!(names.len() >= 3, "{names:?}");
}

#[test]
fn the_page_about_the_configuration_is_current() {
    let page = root().join("docs/configuration.md");
    let text = cmr_mail::config::example::reference();
    if std::env::var_os("CMR_MAIL_WRITE_EXPECTED").is_some() {
        fs::write(&page, &text).unwrap();
    }
    assert!(
        fs::read_to_string(&page).unwrap_or_default() == text,
        "docs/configuration.md is old; CMR_MAIL_WRITE_EXPECTED=1 cargo test --test config_values writes it"
    );
}

#[test]
fn tls_files_that_belong_together_make_an_acceptor() {
    let directory = tempfile::tempdir().unwrap();
    let from = root().join("tests/configurations/tls-files-swapped");
    for name in ["cert.pem", "key.pem"] {
        fs::copy(from.join(name), directory.path().join(name)).unwrap();
    }
    let key = directory.path().join("key.pem");
    let path = directory.path().join("cmr-mail.toml");
    fs::write(&path, format!("{GATEWAY}[smtp]\ntls = {{ certificate = \"cert.pem\", key = \"key.pem\" }}\n"))
        .unwrap();

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let config = Config::load(&path).unwrap();
    let said: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].ends_with("key.pem can be read by others (mode 0644); chmod 600 it"), "{said:?}");

    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.warnings, []);
    assert!(config.smtp.tls.unwrap().acceptor().is_ok());
}

#[test]
fn a_login_takes_its_password_from_a_command_or_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cmr-mail.toml");
    let secret = directory.path().join("secret");
    fs::write(&secret, "hunter2\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    for source in ["password_command = \"cat secret\"", "password_file = \"secret\""] {
        fs::write(
            &path,
            format!("{GATEWAY}[send]\nsmarthost = \"smtps://mail.example.org\"\nuser = \"cmr\"\n{source}\n"),
        )
        .unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.warnings, []);
        assert!(!format!("{config:?}").contains("hunter2"), "the password is kept");
        let login = config.send.login.unwrap();
        assert_eq!(login.user, "cmr");
        let cmr_mail::config::Secret::Password(password) = login.secret else { panic!("a password") };
        assert_eq!(password.read().unwrap().as_str(), "hunter2");
    }
}

#[test]
fn what_needs_a_restart_is_said() {
    let old = with("");
    assert_eq!(old.needs_restart(&with("[policy]\nanswer_at_most = \"1/h\"\n")), Vec::<String>::new());
    let moved = with("data_dir = \"elsewhere\"\n[smtp]\nlisten = [\"127.0.0.1:2526\"]\n");
    assert_eq!(old.needs_restart(&moved), ["[gateway] data_dir", "[smtp] listen"]);
    let other =
        with("intake_socket = \"/run/x.sock\"\n[send]\nretry_max = \"5h\"\n[pool]\nmax_messages = 5\n");
    let keys = ["[gateway] intake_socket", "[send] retry_max", "[pool] max_messages"];
    assert_eq!(old.needs_restart(&other), keys);
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_do_no_harm() {
    let text = format!("\u{feff}{}", GATEWAY.replace('\n', "\r\n"));
    assert_eq!(parse(&text), parse(GATEWAY));
    let wrong = format!("{text}[log]\r\ncolour = 1\r\n");
    let Err(ConfigError::Wrong(problems)) = Config::parse(&wrong, "cmr-mail.toml") else {
        panic!("it was taken")
    };
    assert_eq!(problems[0].line, Some(6));
}

proptest! {
    /// Whatever stands in the file, there is an answer, and a refusal says at least one thing.
    #[test]
    fn any_text_is_an_answer(text in "\\PC{0,200}") {
        if let Err(error) = Config::parse(&text, "cmr-mail.toml") {
            prop_assert!(error.to_string().starts_with("cmr-mail.toml:"));
        }
    }

    /// Any value at any key: taken, or refused with the name of the key.
    #[test]
    fn any_value_is_an_answer(key in 0..keys::ALL.len(), text in "[ -~]{0,30}", number in any::<i64>(), list in any::<bool>()) {
        let key = keys::ALL[key];
        let text = toml::Value::String(text).to_string();
        let text = if list { format!("[{text}]") } else { text };
        for value in [text, number.to_string(), "inf".to_owned(), "{ a = 1 }".to_owned()] {
            let mut lines: Vec<_> = GATEWAY.lines().filter(|l| key.section != "gateway" || !l.starts_with(&format!("{} =", key.name))).collect();
            let line = format!("{} = {value}", key.name);
            let section = section(key, &line);
            lines.push(if key.section == "gateway" { &line } else { &section });
            if let Err(error) = Config::parse(&lines.join("\n"), "cmr-mail.toml") {
                prop_assert!(error.to_string().contains(&key.title()) || error.to_string().contains("[gateway]"), "{} {error}", line);
            }
        }
    }
}
