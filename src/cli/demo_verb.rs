//! `cmr-mail demo`: the arguments; what it does stands elsewhere.

use super::demo;
use super::exit::Outcome;

/// See it work: a small world on this machine, by real mail
///
/// Starts three gateways and the mailboxes of four people on loopback, plays a conversation and
/// shows each mail as it travels and why. Nothing is left behind and nobody else is spoken to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail demo
  cmr-mail demo --stay     keep it running, to try by hand")]
pub(super) struct Args {
    /// Keep the small world running until Ctrl-C, and say how to write to it
    #[arg(long)]
    stay: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    demo::run(args.stay)
}
