//! How to go on by hand while the demo's world is kept: where everything is, and lines to copy.
//!
//! Values in, text out. Lines to be copied are never broken, however long they are.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::show;
use crate::cli::layout::Paint;

/// Where everything is.
#[derive(Clone, Debug)]
pub(super) struct Places<'a> {
    /// This program.
    pub(super) program: &'a Path,
    /// The people's mail server.
    pub(super) post: SocketAddr,
    /// The maildirs, one for each mailbox.
    pub(super) maildirs: &'a Path,
    /// The person to write as.
    pub(super) person: &'a str,
    /// The gateways: whose they are, address, port, configuration.
    pub(super) gateways: Vec<(&'a str, String, Option<SocketAddr>, &'a Path)>,
    /// A message that every gateway has seen.
    pub(super) id: &'a str,
}

/// What to say.
pub(super) fn by_hand(places: &Places<'_>, paint: Paint) -> String {
    let Places { program, post, maildirs, person, gateways, id } = places;
    let mut text = show::heading("Try it by hand, until Ctrl-C", paint);
    let _ = writeln!(text, "  {:<40} {post}", "the people's mail server");
    for (whose, address, smtp, _) in gateways {
        if let Some(smtp) = smtp {
            let _ = writeln!(text, "  {:<40} {smtp}", format!("{whose}'s gateway, {address}"));
        }
    }
    let mut lines = |words: &str, lines: &[String]| {
        text.push('\n');
        text.push_str(&show::words(words));
        for line in lines {
            let _ = writeln!(text, "    {line}");
        }
    };
    let (ip, port) = (post.ip(), post.port());
    let to = gateways.first().map_or("", |(_, address, ..)| address);
    lines(
        "Write to a gateway (what follows is shown here):",
        &[
            format!(
                "printf 'From: {person}\\nTo: {to}\\nSubject: Sowing tomatoes\\n\\nWhen are tomatoes sown indoors?\\n' |"
            ),
            format!("  curl -sS --crlf --url smtp://{ip}:{port} --mail-from {person} --mail-rcpt {to} -T -"),
        ],
    );
    lines(
        "Read what has come for somebody:",
        &[format!("tail -n +1 {}/new/*", word(&maildirs.join(person)))],
    );
    if let Some((_, _, _, config)) = gateways.first() {
        lines(
            "Ask a gateway itself (the last line says why Alice's question went where it went):",
            &[
                format!("ask() {{ {} --config {} \"$@\"; }}", word(program), word(config)),
                "ask search largest planet".to_owned(),
                "ask peers".to_owned(),
                format!("ask explain {id}"),
            ],
        );
    }
    text.push('\n');
    text
}

/// A path as one word of a shell.
fn word(path: &Path) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    let escape = |c: char| if plain(c) { c.to_string() } else { format!("\\{c}") };
    path.to_string_lossy().chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_can_be_copied() {
        let places = Places {
            program: Path::new("/it's here/cmr-mail"),
            post: SocketAddr::from(([127, 0, 0, 1], 25)),
            maildirs: Path::new("/tmp/x/mail"),
            person: "alice@post.example",
            gateways: vec![(
                "Bob",
                "cmr@bob.example".to_owned(),
                Some(SocketAddr::from(([127, 0, 0, 1], 26))),
                Path::new("/tmp/x/cmr-mail.toml"),
            )],
            id: "0123456789abcdef",
        };
        let text = by_hand(&places, Paint::default());
        for part in [
            "Bob's gateway, cmr@bob.example           127.0.0.1:26\n",
            "    printf 'From: alice@post.example\\nTo: cmr@bob.example\\nSubject: Sowing tomatoes\\n",
            "      curl -sS --crlf --url smtp://127.0.0.1:25 --mail-from alice@post.example --mail-rcpt cmr@bob.example -T -\n",
            "    tail -n +1 /tmp/x/mail/alice@post.example/new/*\n",
            r#"    ask() { /it\'s\ here/cmr-mail --config /tmp/x/cmr-mail.toml "$@"; }"#,
            "    ask explain 0123456789abcdef\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }
}
