//! `cmr-mail export`: everything out again.

use std::path::PathBuf;

use super::exit::{CANT_CREATE, Outcome, UNAVAILABLE, fail};
use super::{Context, ask, layout, out};
use crate::export::{self, ExportError, Exported, Format, Gateway};
use crate::store::Snapshot;

/// Write every message of the pool to files, each byte for byte
///
/// A running daemon is not disturbed. `cmr-mail import --restore PATH` makes the same pool of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Formats: maildir and mbox hold a mail for each message, its text to be read and
the message itself attached; cmr is a folder with a file for each message.

Examples:
  cmr-mail export --format maildir ~/pool
  cmr-mail export --format cmr /backup/pool")]
pub(super) struct Args {
    /// Where to: a folder that does not exist or is empty, or for mbox a new file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// In which form
    #[arg(long, value_enum, value_name = "maildir|mbox|cmr")]
    format: FormatArg,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FormatArg {
    Maildir,
    Mbox,
    Cmr,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let config = context.config()?;
    ask::not_as_root(&config.gateway.data_dir)?;
    let Some(snapshot) = Snapshot::open(&config.gateway.data_dir)? else {
        return fail(UNAVAILABLE, "there is no database yet: nothing to export");
    };
    let format = match args.format {
        FormatArg::Maildir => Format::Maildir,
        FormatArg::Mbox => Format::Mbox,
        FormatArg::Cmr => Format::Cmr,
    };
    let gateway = Gateway { address: &config.gateway.mail_address, hostname: &config.gateway.hostname };
    let done = export::export(&snapshot, &args.path, format, &gateway, &mut |_| {});
    let done = done.or_else(|error| match error {
        ExportError::Store(error) => Err(error.into()),
        error => fail(CANT_CREATE, error.to_string()),
    })?;
    if args.json { out::json(&done) } else { out::text(&render(&done, args)) }
}

fn render(done: &Exported, args: &Args) -> String {
    format!("{} written to {}\n", layout::count(done.messages, "message"), args.path.display())
}
