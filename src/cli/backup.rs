//! `cmr-mail backup`, `restore` and `verify`: a copy of the database, the way back, and whether
//! they are sound.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::exit::{BAD_DATA, CANT_CREATE, Outcome, TRY_LATER, UNAVAILABLE, fail};
use super::layout::{bytes, count};
use super::{Context, Failure, ask, escape, out};
use crate::gateway::lock::Lock;
use crate::message::UnixTime;
use crate::store::{self, Contents, Settled, Snapshot, StoreError};

/// Copy the database into a file while the daemon runs
///
/// The copy is whole, of one moment, and for its owner alone (0600): it holds the mails and the keys
/// of this gateway. An earlier copy of the same name is replaced once the new one is complete.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail backup /backup/cmr-mail.copy
  cmr-mail verify /backup/cmr-mail.copy

Keep the configuration and data_dir/removals beside it: with that file what was
removed or blocked after the copy was made, and who said stop, stays so when it
is restored.")]
pub(super) struct BackupArgs {
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    format: super::Format,
}

/// Put a copy into the place of the database
///
/// The daemon must not run. What was removed or blocked since the copy was made is done to it again.
/// Afterwards the queue is held, because some of it may have been sent since (cmr-mail queue
/// release), and keys that were agreed upon by messages are agreed upon anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  systemctl stop cmr-mail
  cmr-mail restore /backup/cmr-mail.copy
  systemctl start cmr-mail")]
pub(super) struct RestoreArgs {
    /// The file that backup wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    format: super::Format,
}

/// Check whether the database, or a copy of it, is sound
///
/// Reads all of it: each page and row, each message against the ids that are remembered of it,
/// what refers to what, the counts, that nothing removed is there, and who may read it. A
/// running daemon is not disturbed. Exit code 65 if anything is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail verify
  cmr-mail verify /backup/cmr-mail.copy --json")]
pub(super) struct VerifyArgs {
    /// A copy that backup wrote; without it the database itself
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    format: super::Format,
}

#[derive(Serialize)]
struct Verified {
    sound: bool,
    wrong: Vec<String>,
    #[serde(flatten)]
    contents: Contents,
}

#[derive(Serialize)]
struct Restored {
    removed: usize,
    held: usize,
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn failed(error: StoreError) -> Failure {
    match &error {
        StoreError::Place(_) => Failure { exit: CANT_CREATE, sentence: error.to_string() },
        StoreError::Corrupt(_) | StoreError::NoCopy(_) => {
            Failure { exit: BAD_DATA, sentence: error.to_string() }
        }
        _ => error.into(),
    }
}

pub(super) fn backup(context: &Context, args: &BackupArgs) -> Outcome {
    let dir = &context.config()?.gateway.data_dir;
    ask::not_as_root(dir)?;
    let Some(copied) = store::backup(dir, &args.file, now()).map_err(failed)? else {
        return fail(UNAVAILABLE, "there is no database yet: nothing to copy");
    };
    if args.format.json {
        return out::json(&copied);
    }
    out::text(&format!(
        "{} with {} copied to {}\n",
        bytes(copied.bytes),
        count(copied.messages, "message"),
        escape::line(&args.file.display().to_string())
    ))
}

pub(super) fn restore(context: &Context, args: &RestoreArgs) -> Outcome {
    let dir = &context.config()?.gateway.data_dir;
    ask::not_as_root(dir)?;
    store::prepare_dir(dir).map_err(failed)?;
    let lock = Lock::try_acquire(dir, "restore").or_else(|error| {
        fail(TRY_LATER, format!("{error}: stop the daemon first, for it has the database open"))
    })?;
    let Settled { removed, held, .. } = store::restore(dir, &args.file).map_err(failed)?;
    drop(lock);
    if args.format.json {
        return out::json(&Restored { removed, held });
    }
    let mut text = "The copy is in place.\n".to_owned();
    if removed > 0 {
        let messages = count(u64::try_from(removed).unwrap_or(u64::MAX), "message");
        text.push_str(&format!("{messages} that had been removed since it was made: removed again.\n"));
    }
    if held > 0 {
        let mails = count(u64::try_from(held).unwrap_or(u64::MAX), "mail");
        text.push_str(&format!(
            "{mails} in the queue: held, for they may have been sent since. When they may go:\n  cmr-mail queue release\n"
        ));
    }
    out::text(&text)
}

pub(super) fn verify(context: &Context, args: &VerifyArgs) -> Outcome {
    let (wrong, contents) = match &args.file {
        Some(file) => store::verify_copy(file).map_err(failed)?,
        None => {
            let dir = &context.config()?.gateway.data_dir;
            ask::not_as_root(dir)?;
            let Some(snapshot) = Snapshot::open(dir)? else {
                return fail(UNAVAILABLE, "there is no database yet: nothing to verify");
            };
            let conn = snapshot.conn();
            let mut wrong = store::verify(conn, true).map_err(failed)?;
            wrong.extend(store::verify_place(dir, conn).map_err(failed)?);
            (wrong, store::contents(conn)?)
        }
    };
    let verified = Verified { sound: wrong.is_empty(), wrong, contents };
    if args.format.json {
        out::json(&verified)?;
    } else {
        out::text(&render(&verified))?;
    }
    if verified.sound { Ok(()) } else { fail(BAD_DATA, "it is not sound") }
}

fn render(verified: &Verified) -> String {
    let Contents { messages, bytes: size, remembered, peers, queued, removed, blocked } = verified.contents;
    let known = match remembered {
        0 => String::new(),
        number => format!(" (and the ids of {number} that were dropped)"),
    };
    let mut text = format!(
        "{}{known}, {}; {}; {} in the queue; {} remembered; {}\n",
        count(messages, "message"),
        bytes(size),
        count(peers, "peer"),
        count(queued, "mail"),
        count(removed, "removal"),
        count(blocked, "block"),
    );
    for sentence in &verified.wrong {
        text.push_str(&format!("wrong: {}\n", escape::text(sentence)));
    }
    if verified.sound {
        text.push_str("sound\n");
    }
    text
}
