//! `cmr-mail keys`: the secrets shared with peers. They go in; only fingerprints come out.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::exit::{BAD_DATA, Outcome, fail};
use super::layout::Paint;
use super::{Context, change, escape, out, words};
use crate::gateway::api::{KeyAction, KeyPhrase, KeyView, Request};
use crate::keys::{Key, Scheme};

/// Longest key that is read from standard input, in bytes of its text.
const MAX_KEY_TEXT: usize = 64 << 10;

/// Set, exchange, forget and list the keys shared with peers
///
/// A key makes sure that a message comes from the peer that it claims to come from. Both sides set
/// the same key, each under the other's address, and compare fingerprints; or one side asks the
/// other for a key by messages, and both operators compare the digits of `keys verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail keys set mailto:cmr@peer.example --text 'a long shared secret'
  openssl rand -hex 32 | cmr-mail keys set mailto:cmr@peer.example --hex -
  cmr-mail keys exchange mailto:cmr@peer.example
  cmr-mail keys verify mailto:cmr@peer.example
  cmr-mail keys show
  cmr-mail keys forget mailto:cmr@peer.example

What stands on a command line can be seen by other users of this machine while
the command runs: a single - reads the key from standard input instead.")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Use this key with a peer from now on
    Set(Set),
    /// Forget the key shared with a peer
    Forget {
        /// The peer's CMR address
        address: String,
    },
    /// Ask a peer for a key, by the transport of its address; it takes effect once a message verifies
    /// under it. In clear only to https:// and ssh:// addresses
    Exchange {
        /// The peer's CMR address
        address: String,
        /// How
        #[arg(long, value_name = "rsa|dh|clear", value_parser = ["rsa", "dh", "clear"], default_value = "rsa")]
        method: String,
        #[command(flatten)]
        derivation: DerivationArg,
    },
    /// Let a peer with which a key is shared ask for a new one, once, within 7 days
    ///
    /// For a peer that lost its key. Nothing else lets a shared key be changed from outside.
    Allow {
        /// The peer's CMR address
        address: String,
        #[command(flatten)]
        derivation: DerivationArg,
    },
    /// Show the digits that both operators read to each other to see that nobody sits in between
    Verify {
        /// The peer's CMR address
        address: String,
    },
    /// List the keys: fingerprints, never the keys themselves
    Show,
}

#[derive(Debug, clap::Args)]
struct DerivationArg {
    /// How the key comes out of what is exchanged; both sides must agree
    #[arg(long, value_name = "hkdf|raw", value_parser = ["hkdf", "raw"], default_value = "hkdf")]
    derivation: String,
}

#[derive(clap::Args)]
struct Set {
    /// The peer's CMR address, such as mailto:cmr@peer.example
    address: String,
    #[command(flatten)]
    key: Secret,
    /// Sign by this scheme only (default: the one that the peer uses)
    #[arg(long, value_name = "hmac|sha256", value_parser = ["hmac", "sha256"])]
    scheme: Option<String>,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Secret {
    /// The key in hexadecimal digits; - reads them from standard input
    #[arg(long, value_name = "HEX")]
    hex: Option<String>,
    /// The key as text, its bytes are the key; - reads one line of standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Set({}, ..)", self.address)
    }
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let action = match args.action {
        Action::Show => {
            let keys: Vec<KeyView> = context.ask(Request::Keys { action: KeyAction::Show })?;
            return if args.json {
                out::json(&keys)
            } else if keys.is_empty() {
                out::text(
                    "No keys: `cmr-mail keys exchange ADDRESS` asks a peer for one, `cmr-mail keys set` sets one.\n",
                )
            } else {
                let paint = out::paint();
                out::text(&keys.iter().map(|key| render(key, paint)).collect::<String>())
            };
        }
        Action::Verify { address } => {
            let action = KeyAction::Verify { address: words::address(address) };
            let phrases: Vec<KeyPhrase> = context.ask(Request::Keys { action })?;
            return if args.json {
                out::json(&phrases)
            } else {
                let paint = out::paint();
                out::text(&phrases.iter().map(|it| render_phrase(it, paint)).collect::<String>())
            };
        }
        Action::Exchange { address, method, derivation } => KeyAction::Exchange {
            address: words::address(address),
            method,
            derivation: derivation.derivation,
        },
        Action::Allow { address, derivation } => {
            KeyAction::Allow { address: words::address(address), derivation: derivation.derivation }
        }
        Action::Forget { address } => KeyAction::Forget { address: words::address(address) },
        Action::Set(set) => {
            let key = read(set.key)?;
            KeyAction::Set {
                address: words::address(set.address),
                hex: hex(&key),
                scheme: set.scheme.map(|name| {
                    // Only these two get past the command line.
                    if name == "sha256" { Scheme::Sha256 } else { Scheme::Hmac }.name().to_owned()
                }),
            }
        }
    };
    change(context, Request::Keys { action }, args.json)
}

fn read(secret: Secret) -> Outcome<Key> {
    let key = match (secret.hex, secret.text) {
        (Some(hex), _) if hex == "-" => Key::from_hex(&input()?),
        (Some(hex), _) => Key::from_hex(&Zeroizing::new(hex)),
        (None, Some(text)) if text == "-" => Key::from_text(line_of(&input()?)),
        (None, Some(text)) => Key::from_text(&Zeroizing::new(text)),
        (None, None) => return fail(super::exit::USAGE, "name the key with --hex or --text"),
    };
    key.or_else(|e| fail(BAD_DATA, e.to_string()))
}

fn input() -> Outcome<Zeroizing<String>> {
    let bytes = Zeroizing::new(out::stdin(MAX_KEY_TEXT)?);
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => fail(BAD_DATA, "the key on standard input is not UTF-8 text; use --hex"),
    }
}

/// The first line, without its end: what `echo` adds is not part of a key.
fn line_of(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn hex(key: &Key) -> String {
    let bytes = key.as_bytes();
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn render_phrase(phrase: &KeyPhrase, paint: Paint) -> String {
    let state = escape::line(&phrase.state);
    format!("{}  {}  {state}\n", escape::line(&phrase.address), paint.bold(&escape::line(&phrase.phrase)))
}

fn render(key: &KeyView, paint: Paint) -> String {
    if key.fingerprint.is_empty() {
        let what = match key.state.as_str() {
            "allowed" => "may ask for a new key once".to_owned(),
            "heard" => format!("its key exchange by {} is being worked on", escape::line(&key.origin)),
            _ => format!("asked for a key by {}, no reply yet", escape::line(&key.origin)),
        };
        let (address, since) = (paint.bold(&escape::line(&key.address)), escape::line(&key.created));
        return format!("{address}\n    {what}, since {since}\n");
    }
    let pinned = if key.scheme_pinned { " only" } else { "" };
    format!(
        "{}  {}\n    {}{pinned}, {}, {}, since {}\n",
        paint.bold(&escape::line(&key.address)),
        escape::line(&key.fingerprint),
        escape::line(&key.scheme),
        escape::line(&key.state),
        escape::line(&key.origin),
        escape::line(&key.created),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_and_never_shown() {
        let secret = |hex: Option<&str>, text: Option<&str>| Secret {
            hex: hex.map(Into::into),
            text: text.map(Into::into),
        };
        assert_eq!(hex(&read(secret(None, Some("foo"))).unwrap()), "666f6f");
        assert_eq!(hex(&read(secret(Some("00fF"), None)).unwrap()), "00ff");
        for wrong in ["", "0", "0g"] {
            let failure = read(secret(Some(wrong), None)).unwrap_err();
            assert_eq!(failure.exit, 65, "{wrong}");
        }
        let set =
            Set { address: "mailto:b@example.org".into(), key: secret(None, Some("foo")), scheme: None };
        assert!(!format!("{set:?}").contains("foo"));
        assert_eq!(line_of("foo\r\nbar"), "foo");
        assert_eq!(line_of(""), "");
    }

    #[test]
    fn a_key_is_two_lines() {
        let key = KeyView {
            address: "mailto:b@example.org".into(),
            state: "current".into(),
            scheme: "hmac".into(),
            scheme_pinned: true,
            origin: "manual".into(),
            fingerprint: "ab12-cd34".into(),
            created: "2026-11-22T10:00:00Z".into(),
        };
        assert_eq!(
            render(&key, Paint::default()),
            "mailto:b@example.org  ab12-cd34\n    \
             hmac only, current, manual, since 2026-11-22T10:00:00Z\n"
        );
    }
}
