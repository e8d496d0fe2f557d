//! `cmr-mail import`: an archive of mail into the pool.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::exit::{BAD_DATA, CONFIG, Outcome, TRY_LATER, UNAVAILABLE, fail};
use super::{Context, ask, escape, out, report};
use crate::config::Config;
use crate::export;
use crate::gateway::api::{Failure, Request};
use crate::gateway::control::{CallError, call, control_path};
use crate::gateway::import::{Batch, Ended};
use crate::gateway::lock::{Lock, LockError};
use crate::gateway::{Gateway, clock};
use crate::import::{
    Counts, Daemon, Dry, Event, Here, House, ImportError, Known, Restored, Run, Sink, Summary, View, Wish,
    day,
};
use crate::store::{Snapshot, StoreError, imports};

/// Take an archive of mail into the pool
///
/// CMR messages are taken as they are. An ordinary mail becomes a local message of this gateway's
/// archive, with its author, date and subject in the first lines; nobody is ever written to
/// because of it. The archive is only read. The same command again goes on where it was, and
/// looks only at what is new or has changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
PATH is a Maildir, a tree of Maildirs, a folder of mails, an mbox, or one mail;
mboxes and mails may be compressed (gzip, zstd). Folders that hold a file
.noindex are passed over, symbolic links are not followed.

Examples:
  cmr-mail import ~/Maildir
  cmr-mail import --dry-run --json list-2019.mbox.gz
  cmr-mail import --since 2020-01-01 --folder Sent --view full ~/Mail")]
pub(super) struct Args {
    /// Maildirs, trees of them, mboxes or mails
    #[arg(required = true, value_name = "PATH")]
    path: Vec<PathBuf>,
    /// Say what would be done; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Take CMR messages only
    #[arg(long)]
    no_posts: bool,
    /// Make public what is imported: everybody who asks can be answered with it
    #[arg(long)]
    publish: bool,
    /// Let the router send on what is imported and public (else the pool is filled, nothing is sent)
    #[arg(long)]
    forward: bool,
    /// PATH is an export: who may see a message, what it is and who wrote it, is as it was there
    #[arg(long, conflicts_with_all = ["publish", "no_posts"])]
    restore: bool,
    /// What of a mail becomes its message: what is new in it, or all its text with quotes
    #[arg(long, value_enum, default_value = "new")]
    view: ViewArg,
    /// Mails of this day and later
    #[arg(long, value_name = "YYYY-MM-DD")]
    since: Option<String>,
    /// Mails before this day
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: Option<String>,
    /// From folders of this name only (may be repeated)
    #[arg(long, value_name = "NAME")]
    folder: Vec<String>,
    /// By or to this address only, or @DOMAIN for all of a domain (may be repeated)
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<String>,
    /// Write a page about what is in the archive: a map, groups, duplicates, junk, open questions
    #[arg(long, value_name = "FILE.html", conflicts_with = "dry_run")]
    report: Option<PathBuf>,
    #[command(flatten)]
    format: super::Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ViewArg {
    New,
    Full,
}

/// The last line of `--json`.
#[derive(Debug, Serialize)]
struct Last {
    mails: u64,
    messages: u64,
    posts: u64,
    duplicates: u64,
    skipped: u64,
    failed: u64,
    seconds: f64,
    mails_per_second: f64,
    stored: u64,
    unchanged: u64,
    stopped: bool,
}

/// A failure of `--json`.
#[derive(Debug, Serialize)]
struct Failed<'a> {
    path: &'a str,
    reason: &'a str,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let config = context.config()?;
    let wish = wish(args)?;
    ask::not_as_root(&config.gateway.data_dir)?;
    let started = Instant::now();
    // From wherever it is said again, it is the same file.
    let paths: Vec<PathBuf> =
        args.path.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect();
    let house = House::new(config, clock::now()).or_else(|error| fail(CONFIG, error.to_string()))?;
    let snapshot = match Snapshot::open(&config.gateway.data_dir) {
        // Who imports opens it for writing, and that brings it up to date. Until then nothing of it is known.
        Err(StoreError::Older { .. }) if !args.dry_run => None,
        opened => opened?,
    };
    // What an export says about its messages is looked for in all of it.
    let known = match snapshot.as_ref().filter(|_| !args.dry_run && !args.restore) {
        Some(snapshot) => imports::files(snapshot.conn())?,
        None => Default::default(),
    };
    let restored = if args.restore { restored(&paths)? } else { Restored::new() };
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let run = Run { paths: &paths, house: &house, wish: &wish, restored: &restored, known: &known, threads };
    let stop = Arc::new(AtomicBool::new(false));
    on_interrupt(Arc::clone(&stop));
    let bar = Bar::new(started);
    let said = RefCell::new(Said { json: args.format.json, failures: 0 });
    let mut watch = |event: &Event<'_>| match event {
        Event::Failed { path, reason } => said.borrow_mut().failed(&bar, path, reason),
        Event::Progress(counts, total) => bar.show(counts, *total),
    };
    let summary = if args.dry_run {
        run.run(&mut Dry::new(snapshot)?, &stop, &mut watch)
    } else {
        // What it keeps open would keep the log of a daemon from being emptied.
        drop(snapshot);
        run.run(&mut Door { config, open: None }, &stop, &mut watch)
    };
    bar.end();
    let summary = summary.or_else(|error| match error {
        ImportError::Path(error) => fail(BAD_DATA, error.to_string()),
        ImportError::Sink(failure) => Err(failure),
        error @ ImportError::Thread(_) => fail(TRY_LATER, error.to_string()),
    })?;
    let elapsed = started.elapsed();
    if let Some(to) = args.report.as_ref().filter(|_| !summary.stopped) {
        report::write(config, &paths, to, threads)?;
    }
    finish(args, &summary, elapsed)
}

/// What exports say about their messages.
fn restored(paths: &[PathBuf]) -> Outcome<Restored> {
    let mut restored = Restored::new();
    for path in paths {
        let lines = export::read_list(path).or_else(|error| {
            let said = format!("{error}: --restore needs what `cmr-mail export` wrote, with its list");
            fail(BAD_DATA, said)
        })?;
        for line in lines {
            let Some(author) = line.author() else { continue };
            let known = Known { scope: line.scope, kind: line.kind, author };
            restored.insert((line.id, line.sha256), known);
        }
    }
    Ok(restored)
}

fn wish(args: &Args) -> Outcome<Wish> {
    let date = |text: &Option<String>| match text {
        Some(text) => day(text).map(Some).or_else(|error| fail(super::exit::USAGE, error.to_string())),
        None => Ok(None),
    };
    Ok(Wish {
        view: match args.view {
            ViewArg::New => View::New,
            ViewArg::Full => View::Full,
        },
        no_posts: args.no_posts,
        publish: args.publish,
        forward: args.forward,
        since: date(&args.since)?,
        until: date(&args.until)?,
        folders: args.folder.clone(),
        addresses: args.address.clone(),
    })
}

/// Says how it ended.
fn finish(args: &Args, summary: &Summary, elapsed: Duration) -> Outcome {
    let Summary { counts, stopped, empty } = summary;
    let seconds = elapsed.as_secs_f64();
    let result = Last {
        mails: counts.mails,
        messages: counts.messages,
        posts: counts.posts,
        duplicates: counts.duplicates,
        skipped: counts.skipped,
        failed: counts.failed,
        seconds: (seconds * 1000.0).round() / 1000.0,
        mails_per_second: (counts.mails as f64 / seconds.max(0.001) * 10.0).round() / 10.0,
        stored: counts.stored,
        unchanged: counts.unchanged,
        stopped: *stopped,
    };
    if args.format.json {
        out::json(&result)?
    } else {
        out::text(&render(&result, args.dry_run))?
    }
    if args.forward && !args.publish {
        out::note("cmr-mail: what is imported without --publish is local, so that nothing of it is sent on");
    }
    if *stopped {
        return fail(
            TRY_LATER,
            "stopped; what is counted above is stored, and the same command goes on from there",
        );
    }
    if let Some(path) = empty.first() {
        return fail(
            BAD_DATA,
            format!(
                "there is no mail in {}: expected is a Maildir (a folder with cur and new), a tree of \
                 Maildirs, or mails and mboxes as files",
                path.display()
            ),
        );
    }
    match counts.failed {
        0 => Ok(()),
        1 => fail(BAD_DATA, "one mail could not be taken; the others were"),
        n => fail(BAD_DATA, format!("{n} mails could not be taken; the others were")),
    }
}

fn render(result: &Last, dry: bool) -> String {
    if result.mails == 0 && result.unchanged == 0 {
        return String::new();
    }
    let mut text = format!(
        "{}{} mails in {:.1} s ({:.0} a second):\n",
        if dry { "Nothing was written. " } else { "" },
        result.mails,
        result.seconds,
        result.mails_per_second
    );
    for (number, what) in [
        (result.messages, "with CMR messages, taken as they are"),
        (result.posts, "taken as messages of the archive"),
        (result.duplicates, "known already"),
        (result.skipped, "passed over"),
        (result.failed, "failed"),
    ] {
        if number > 0 {
            text.push_str(&format!("{number:>9} {what}\n"));
        }
    }
    if result.unchanged > 0 {
        text.push_str(&format!("{:>9} files that have not changed since they were read\n", result.unchanged));
    }
    text
}

/// Names failures: all of them as JSON, the first ones for people.
struct Said {
    json: bool,
    failures: usize,
}

impl Said {
    fn failed(&mut self, bar: &Bar, path: &str, reason: &str) {
        const NAMED: usize = 20;
        self.failures += 1;
        if self.json {
            let line = serde_json::to_string(&Failed { path, reason }).unwrap_or_default();
            // That the result can't be written is said with the last line.
            bar.bar.suspend(|| drop(out::text(&format!("{}\n", escape::json(&line)))));
        } else if self.failures <= NAMED {
            bar.bar.suspend(|| out::note(&format!("cmr-mail: {path}: {reason}")));
        } else if self.failures == NAMED + 1 {
            bar.bar.suspend(|| out::note("cmr-mail: and more, which --json names"));
        }
    }
}

/// How far it is: a bar on a terminal, else a line now and then.
struct Bar {
    bar: ProgressBar,
    terminal: bool,
    started: Instant,
    said: RefCell<Instant>,
}

impl Bar {
    fn new(started: Instant) -> Bar {
        let terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::new(0);
        if !terminal {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = "{msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Bar { bar, terminal, started, said: RefCell::new(started) }
    }

    fn show(&self, counts: &Counts, total: Option<u64>) {
        const SAY: Duration = Duration::from_secs(10);
        if self.terminal {
            self.bar.set_message(format!("{} mails", counts.mails));
            self.bar.set_length(total.unwrap_or(counts.bytes).max(counts.bytes));
            self.bar.set_position(counts.bytes);
        } else if self.said.borrow().elapsed() >= SAY {
            *self.said.borrow_mut() = Instant::now();
            let seconds = self.started.elapsed().as_secs_f64();
            let rate = counts.bytes as f64 / seconds;
            let left = total.map(|total| total.saturating_sub(counts.bytes) as f64 / rate.max(1.0));
            let left = left.map_or_else(String::new, |left| format!(", {left:.0} s left"));
            out::note(&format!(
                "cmr-mail: {} mails, {} in {seconds:.0} s, {:.0} mails a second{left}",
                counts.mails,
                HumanBytes(counts.bytes),
                counts.mails as f64 / seconds,
            ));
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// The first interrupt ends it in good order, the second one at once.
fn on_interrupt(stop: Arc<AtomicBool>) {
    let wait = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let Ok(mut end) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            else {
                return;
            };
            loop {
                tokio::select! {
                    pressed = tokio::signal::ctrl_c() => if pressed.is_err() { return },
                    _ = end.recv() => {}
                }
                if stop.swap(true, Ordering::Relaxed) {
                    // What was committed is there; what is under way is not, and is read again.
                    std::process::exit(i32::from(TRY_LATER));
                }
                out::note("cmr-mail: stopping; once more stops at once");
            }
        });
    };
    // Without it an interrupt ends the program at once, which loses nothing either.
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
}

/// The gateway, found when there is something for it: a run that finds nothing new opens nothing.
struct Door<'a> {
    config: &'a Config,
    open: Option<(Box<dyn Sink>, Option<Lock>)>,
}

/// How long to wait for a lock that another verb, or a daemon that is starting, holds.
const LOCK: Duration = Duration::from_secs(10);

/// How often to look again meanwhile.
const POLL: Duration = Duration::from_millis(50);

impl Door<'_> {
    fn sink(&mut self) -> Outcome<&mut dyn Sink> {
        let (sink, _) = match &mut self.open {
            Some(open) => open,
            none => none.insert(open(self.config)?),
        };
        Ok(sink.as_mut())
    }
}

/// The daemon if one runs, else the gateway in this process.
fn open(config: &Config) -> Outcome<(Box<dyn Sink>, Option<Lock>)> {
    let dir = &config.gateway.data_dir;
    let socket = control_path(dir);
    let start = Instant::now();
    loop {
        match call(&socket, &Request::Status, LOCK) {
            Ok(_) => return Ok((Box::new(Daemon(socket)), None)),
            Err(CallError::NoDaemon { .. }) => {}
            Err(error @ CallError::Forbidden { .. }) => {
                let text = format!("{error}: run this as the user who owns {}", dir.display());
                return fail(UNAVAILABLE, text);
            }
            Err(error @ CallError::TooLong { .. }) => return fail(CONFIG, error.to_string()),
            Err(error) => return fail(TRY_LATER, error.to_string()),
        }
        match Lock::try_acquire(dir, "import") {
            Ok(lock) => {
                let gateway = Gateway::open(config).or_else(|error| fail(TRY_LATER, error.to_string()))?;
                let here = Here::new(gateway);
                let here =
                    here.or_else(|error| fail(TRY_LATER, format!("no thread can be started: {error}")))?;
                return Ok((Box::new(here), Some(lock)));
            }
            Err(LockError::Held { .. }) if start.elapsed() < LOCK => std::thread::sleep(POLL),
            Err(error @ LockError::Missing { .. }) => return fail(CONFIG, error.to_string()),
            Err(error @ LockError::Forbidden { .. }) => return fail(UNAVAILABLE, error.to_string()),
            Err(error @ (LockError::Held { .. } | LockError::Io { .. })) => {
                return fail(TRY_LATER, error.to_string());
            }
        }
    }
}

impl Sink for Door<'_> {
    fn take(&mut self, batch: Batch) -> Result<Vec<Ended>, Failure> {
        self.sink()?.take(batch)
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.open.as_mut().map_or(Ok(()), |(sink, _)| sink.end())
    }

    fn mails(&self) -> usize {
        self.open.as_ref().map_or(64, |(sink, _)| sink.mails())
    }
}
