//! `cmr-mail deliver`: one mail on standard input, from a mail system.
//!
//! Exits 0 or 75 and nothing else, whatever happens: any other code would make the mail system
//! send a bounce, and to a sender that may be forged. (`super::main` holds that for command lines
//! that can't be read and for panics.)

use std::ffi::OsString;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::exit::{Outcome, TRY_LATER, fail};
use super::{Context, out};
use crate::gateway::api::{Delivered, Failure, Request};

/// What is shown of a mail that is too large, in bytes.
const BEGINNING: usize = 64 << 10;

/// Take one mail from standard input, for mail systems
///
/// For alias files, Sieve and procmail. Exit code 0: the mail is taken care of (stored, or refused
/// for good, which is logged). 75: keep it and try again later. Never anything else.
///
/// Works for every user of the machine if [gateway] intake_socket is set and the daemon runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail deliver < mail.eml
  cmr: \"|/usr/bin/cmr-mail --config /etc/cmr-mail/cmr-mail.toml deliver\"
                                                         (a line in /etc/aliases)")]
pub(super) struct Args {
    /// Envelope sender; empty or <> for the null sender
    #[arg(short = 'f', value_name = "SENDER", allow_hyphen_values = true)]
    sender: Option<OsString>,
    /// Envelope recipient (default: the posting address)
    #[arg(short = 'r', value_name = "RECIPIENT", allow_hyphen_values = true)]
    recipient: Option<OsString>,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    later(deliver(context, args))
}

/// Whatever went wrong, it is not the fault of whoever wrote the mail.
pub(super) fn later<T>(outcome: Outcome<T>) -> Outcome<T> {
    outcome.map_err(|failure| Failure { exit: TRY_LATER, ..failure })
}

fn deliver(context: &Context, args: Args) -> Outcome {
    let (mail, bytes) = out::stdin_beginning(context.max_message(), BEGINNING)?;
    if mail.is_empty() {
        return fail(TRY_LATER, "there is no mail on standard input");
    }
    let delivered: Delivered = context.ask(Request::Deliver {
        sender: address(args.sender),
        recipient: address(args.recipient),
        mail: STANDARD.encode(mail),
        cut_from: bytes,
    })?;
    out::note(&format!("{} {}", delivered.code, delivered.text));
    verdict(&delivered)
}

/// A refusal for good ends here: the mail system must not make a bounce of it.
fn verdict(delivered: &Delivered) -> Outcome {
    match delivered.code {
        200..=299 | 500..=599 => Ok(()),
        _ => fail(TRY_LATER, "not taken yet"),
    }
}

/// `<a@b>` and `a@b` are the same; nothing and `<>` are the null sender.
pub(super) fn address(given: Option<OsString>) -> Option<String> {
    let given = given?.to_string_lossy().trim().to_owned();
    let bare = given.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(&given);
    (!bare.is_empty()).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_null_sender_is_nobody() {
        for (given, meant) in [
            ("", None),
            ("<>", None),
            (" ", None),
            ("<a@b>", Some("a@b")),
            ("a@b", Some("a@b")),
            ("-a@b", Some("-a@b")),
        ] {
            assert_eq!(address(Some(given.into())).as_deref(), meant, "{given:?}");
        }
    }

    #[test]
    fn only_4xx_comes_again() {
        let exit =
            |code| verdict(&Delivered { code, text: String::new(), ids: vec![] }).err().map(|f| f.exit);
        for (code, expected) in
            [(250, None), (550, None), (554, None), (450, Some(75)), (452, Some(75)), (0, Some(75))]
        {
            assert_eq!(exit(code), expected, "{code}");
        }
    }

    #[test]
    fn every_failure_becomes_75() {
        for exit in [64, 65, 69, 70, 73, 78] {
            let outcome: Outcome = fail(exit, "why");
            assert_eq!(later(outcome).unwrap_err(), Failure { exit: 75, sentence: "why".into() });
        }
    }
}
