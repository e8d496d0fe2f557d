//! `cmr-mail web-user`: a line for the file of those who may log in to the pages.

use super::exit::{BAD_DATA, Outcome, fail};
use super::out;
use crate::web;

/// Make the line of a user for the pages, with the hash of a password
///
/// Reads the password from standard input and prints NAME:HASH (argon2id). A name has letters,
/// digits, dots and dashes, a password at least ten characters. The file that the lines belong into is
/// named by [web] users.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  printf 'a long password' | cmr-mail web-user anna >> /etc/cmr-mail/web-users
  systemctl restart cmr-mail")]
pub(super) struct Args {
    /// The name to log in with
    #[arg(value_name = "NAME")]
    name: String,
}

/// The longest password.
const LONGEST: usize = 4096;

pub(super) fn run(args: &Args) -> Outcome {
    let typed = out::stdin(LONGEST)?;
    let Ok(text) = std::str::from_utf8(&typed) else {
        return fail(BAD_DATA, "the password is not UTF-8 text");
    };
    let password = text.lines().next().unwrap_or_default();
    match web::hash_line(&args.name, password) {
        Ok(line) => out::text(&line),
        Err(error) => fail(BAD_DATA, error.to_string()),
    }
}
