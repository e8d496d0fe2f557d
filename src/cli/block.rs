//! `cmr-mail block`: refuse from now on.

use super::{Context, change, exit::Outcome};
use crate::gateway::api::Request;

/// Refuse an author, a peer or a host from now on
///
/// Nothing of it is taken any more and nothing is sent to it. What is here already stays:
/// `cmr-mail remove --author` erases it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail block spammer@example.org       an author
  cmr-mail block mailto:cmr@junk.example   a peer
  cmr-mail block junk.example              a host and all below it
  cmr-mail block 192.0.2.7                 a client, by its IP address
  cmr-mail block --undo spammer@example.org")]
pub(super) struct Args {
    /// A mail address, a CMR address, a host name or an IP address
    value: String,
    /// Take the block back
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    format: super::Format,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    change(context, Request::Block { value: args.value, undo: args.undo }, args.format.json)
}
