//! `cmr-mail receive`: one bare CMR message on standard input, from SSH or a script.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::exit::{BAD_DATA, Outcome, TRY_LATER, fail};
use super::{Context, out};
use crate::gateway::api::{Delivered, Failure, Request};

/// Take one CMR message from standard input, for SSH and scripts
///
/// Exit code 0: it is stored (or was known already). 65: it is refused, and why stands on standard
/// error. 75: try again later.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail receive < message.cmr
  cmr-mail show 0123456789abcdef --raw | ssh peer.example cmr-mail receive
  command=\"cmr-mail receive --transport ssh --bound-to ssh://cmr@peer.example/\",restrict ssh-ed25519 AAAA...
                                               (a line in authorized_keys)")]
pub(super) struct Args {
    /// Name of what brought it, for the record
    #[arg(long, value_name = "NAME", default_value = "receive", value_parser = transport)]
    transport: String,
    /// The peer that the account which brings it is bound to, by its CMR address: what comes in here
    /// is then known to be from there. Only for the user of the daemon
    #[arg(long, value_name = "ADDRESS")]
    bound_to: Option<String>,
}

/// A word: it is stored and shown.
fn transport(typed: &str) -> Result<String, String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=32).contains(&typed.len()) && typed.chars().all(word) {
        Ok(typed.to_owned())
    } else {
        Err("a name is 1 to 32 letters, digits, - or _".to_owned())
    }
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    receive(context, args).map_err(|failure| match failure.exit {
        BAD_DATA => failure,
        _ => Failure { exit: TRY_LATER, ..failure },
    })
}

fn receive(context: &Context, args: Args) -> Outcome {
    let message = out::stdin(context.max_message())?;
    if message.is_empty() {
        return fail(BAD_DATA, "there is no message on standard input");
    }
    let delivered: Delivered = context.ask(Request::Receive {
        transport: args.transport,
        message: STANDARD.encode(message),
        bound: args.bound_to,
    })?;
    verdict(&delivered)
}

fn verdict(delivered: &Delivered) -> Outcome {
    let said = format!("{} {}", delivered.code, delivered.text);
    match delivered.code {
        200..=299 => {
            out::note(&said);
            Ok(())
        }
        500..=599 => fail(BAD_DATA, said),
        _ => fail(TRY_LATER, said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_65_and_trouble_is_75() {
        let exit = |code| verdict(&Delivered { code, text: "why".into(), ids: vec![] }).err().map(|f| f.exit);
        for (code, expected) in
            [(250, None), (550, Some(65)), (554, Some(65)), (451, Some(75)), (0, Some(75))]
        {
            assert_eq!(exit(code), expected, "{code}");
        }
    }

    #[test]
    fn a_transport_is_a_word() {
        assert!(transport("ssh-2_x").is_ok());
        for typed in ["", "a b", "a\u{1b}", "ä", "123456789012345678901234567890123"] {
            assert!(transport(typed).is_err(), "{typed:?}");
        }
    }
}
