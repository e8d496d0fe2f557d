//! The texts that are made from the table of keys: the configuration that `init` writes, and
//! the reference in `docs/configuration.md`. They cannot be out of date; a test sees to the file.

use super::keys::{self, Absent, Key, Kind};
use crate::policy::human::{show_duration, show_size};
use std::time::Duration;

/// What only the operator can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example<'a> {
    /// The CMR address, like `mailto:cmr@example.org`.
    pub address: &'a str,
    /// The full name of the host.
    pub hostname: &'a str,
    /// `Name <address>` of a human.
    pub operator: &'a str,
    /// The directory of the database; none for the default, beside the file.
    pub data_dir: Option<&'a str>,
}

/// Columns of a comment.
const WIDTH: usize = 92;

/// The commented configuration: every key with its default, those that an operator has to
/// decide as settings and the others as comments.
pub(super) fn example(of: &Example<'_>) -> String {
    let mut out = String::from(
        "# The configuration of cmr-mail.\n\
         # A line that begins with \"#key = value\" shows the default (or an example, where\n\
         # nothing is the default); remove the # to change it.\n\
         # Relative paths are relative to this file. Times are written like \"30s\", \"5m\", \"4h\" or\n\
         # \"5d\", amounts like \"10 MiB\", rates like \"20/h\". After a change: cmr-mail check\n",
    );
    for section in keys::SECTIONS {
        // A section that there can be several of is shown, and none is there.
        let repeated = keys::REPEATED.contains(&section.name);
        let hash = if repeated { "#" } else { "" };
        out.push_str(&format!("\n# {}\n{hash}{}\n", section.help, keys::brackets(section.name)));
        for key in keys::ALL.iter().filter(|key| key.section == section.name) {
            out.push('\n');
            for line in comment(key) {
                out.push_str(&format!("# {line}\n"));
            }
            let value = match key.name {
                "address" if key.section == "gateway" => quoted(of.address),
                "hostname" => quoted(of.hostname),
                "operator" => quoted(of.operator),
                "data_dir" => of.data_dir.map_or_else(|| key.sample().to_owned(), quoted),
                // What is derived is shown as the value that it will have.
                "recipients" | "from" => {
                    let (_, mail) = of.address.split_once(':').unwrap_or(("", of.address));
                    if key.name == "from" { quoted(mail) } else { format!("[{}]", quoted(mail)) }
                }
                "authserv_id" => quoted(of.hostname),
                _ => key.sample().to_owned(),
            };
            let mark = if key.decide && !repeated { "" } else { "#" };
            out.push_str(&format!("{mark}{} = {value}\n", key.name));
        }
    }
    out
}

/// A TOML text.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn comment(key: &Key) -> Vec<String> {
    let mut lines = wrapped(key.help);
    if let Kind::Choice(choices) | Kind::WordOrList(choices, _) = key.kind {
        let width = choices.iter().map(|(word, _)| word.len() + 2).max().unwrap_or(0);
        lines.extend(choices.iter().map(|(word, help)| format!("  {:width$}  {help}", quoted(word))));
    }
    lines
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The text of `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         One TOML file. `cmr-mail init` writes it with every key and its meaning; `cmr-mail check` says what is\n\
         wrong with it, a line for each mistake. Without `--config` the first of these is read: `./cmr-mail.toml`,\n\
         `$XDG_CONFIG_HOME/cmr-mail/cmr-mail.toml`, `/etc/cmr-mail/cmr-mail.toml`.\n\n\
         Relative paths are relative to the file. Times are written like `\"30s\"`, `\"5m\"`, `\"4h\"` or `\"5d\"`, amounts\n\
         like `\"10 MiB\"`, rates like `\"20/h\"`. An unknown key is an error that names the nearest known one.\n\n\
         This page is made from the program's own table of keys.\n",
    );
    for section in keys::SECTIONS {
        out.push_str(&format!(
            "\n## {}\n\n{}\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
            keys::brackets(section.name),
            section.help
        ));
        for key in keys::ALL.iter().filter(|key| key.section == section.name) {
            let absent = match key.absent {
                Absent::Required => "required".to_owned(),
                Absent::Default(text) => format!("`{text}`"),
                Absent::Derived(from) => from.to_owned(),
                Absent::Off => "none".to_owned(),
            };
            out.push_str(&format!("| `{}` | {} | {absent} | {} |\n", key.name, kind(&key.kind), cell(key)));
        }
    }
    out
}

fn cell(key: &Key) -> String {
    let mut text = key.help.to_owned();
    if let Kind::Choice(choices) | Kind::WordOrList(choices, _) = key.kind {
        let choices: Vec<_> = choices.iter().map(|(word, help)| format!("`{word}`: {help}")).collect();
        text = format!("{text} {}", choices.join("; "));
    }
    text.replace('|', "\\|")
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Text(what) => (*what).to_owned(),
        Kind::List(what) => format!("list of {what}"),
        Kind::Choice(_) => "word".to_owned(),
        Kind::WordOrList(_, what) => format!("word, or list of {what}"),
        Kind::Integer { min, max } => format!("number, {min} to {max}"),
        Kind::Number { min, max } => format!("number, {min} to {max}"),
        Kind::Duration { min, max } => {
            let show = |millis| show_duration(Duration::from_millis(millis));
            format!("time, {} to {}", show(*min), show(*max))
        }
        Kind::Size { min, max } => format!("bytes, {} to {}", show_size(*min), show_size(*max)),
        Kind::Rate => "rate".to_owned(),
        Kind::Truth => "true or false".to_owned(),
        Kind::Tls => "two files".to_owned(),
    }
}
