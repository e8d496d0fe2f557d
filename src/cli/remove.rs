//! `cmr-mail remove`: erase here for good.

use super::{Context, change, exit::Outcome, words};
use crate::gateway::api::Request;

/// Erase a message, or everything of an author, here for good
///
/// Text, raw mail and index entries are erased on this gateway; nothing brings them back, and the
/// message is not taken again when it comes once more. Copies that other gateways hold are theirs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail remove 0123456789abcdef
  cmr-mail remove --author anna@example.org")]
pub(super) struct Args {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    format: super::Format,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The message's id, 16 hexadecimal digits
    #[arg(value_name = "ID", value_parser = words::id)]
    id: Option<String>,
    /// The author whose messages are erased
    #[arg(long, value_name = "ADDRESS")]
    author: Option<String>,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let request = match (args.what.id, args.what.author) {
        (Some(id), _) => Request::Remove { id },
        (None, Some(author)) => Request::RemoveAuthor { author: words::address(author) },
        (None, None) => {
            return super::exit::fail(super::exit::USAGE, "name a message or an --author");
        }
    };
    change(context, request, args.format.json)
}
