//! The way from files to batches: one thread finds and opens, several take mails apart, one hands
//! on in the order of the archive.

use super::find::{Budget, FileOf, Finder, Job, Source, reason};
use super::sink::Sink;
use super::{House, Restored, Wish, take};
use crate::archive::{ArchiveError, Content as Opened, Unit, tree};
use crate::gateway::api::Failure;
use crate::gateway::import::{Batch, Content, Mail};
use crate::store::imports::{Fate, File};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The longest mail that is read, in bytes.
pub const LONGEST_MAIL: usize = 64 << 20;

/// So many bytes of mails are under way at a time, about; one that is longer goes alone.
pub const UNDER_WAY: usize = 64 << 20;

/// Messages in one batch, in bytes, about.
const BATCH_BYTES: usize = 2 << 20;

/// A batch is handed on after so long, full or not.
const BATCH_TIME: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Debug)]
pub struct Run<'a> {
    /// Maildirs, trees of them, mboxes, mails.
    pub paths: &'a [PathBuf],
    /// What this gateway is to a mail.
    pub house: &'a House,
    /// What is wanted.
    pub wish: &'a Wish,
    /// What an export says about its messages.
    pub restored: &'a Restored,
    /// What was read before.
    pub known: &'a HashMap<Vec<u8>, File>,
    /// How many threads take mails apart.
    pub threads: usize,
}

/// How many mails ended how. The sum of all but `unchanged` and `stored` is `mails`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Mails that were looked at.
    pub mails: u64,
    /// Mails that held CMR messages, taken as they are.
    pub messages: u64,
    /// Mails taken as local messages.
    pub posts: u64,
    /// Mails that were here before.
    pub duplicates: u64,
    /// Mails that were not wanted, and files that are none.
    pub skipped: u64,
    /// Mails that could not be taken.
    pub failed: u64,
    /// Messages stored.
    pub stored: u64,
    /// Files that were read before and have not changed since.
    pub unchanged: u64,
    /// Bytes of files that were read or passed over.
    pub bytes: u64,
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// In numbers.
    pub counts: Counts,
    /// It was stopped before the end.
    pub stopped: bool,
    /// Paths under which there is no mail at all.
    pub empty: Vec<PathBuf>,
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Event<'a> {
    /// A mail could not be taken.
    Failed {
        /// Its file, and its byte in an mbox.
        path: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// So far; the bytes in all once they are known.
    Progress(&'a Counts, Option<u64>),
}

/// Why an archive could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A path that was named is wrong: nothing was done.
    #[error("{0}")]
    Path(#[from] ArchiveError),
    /// The gateway did not take a batch. What it took before is there.
    #[error("{}", .0.sentence)]
    Sink(Failure),
    /// No thread can be started.
    #[error("no thread can be started: {0}")]
    Thread(io::Error),
}

/// A job that is done.
struct Done {
    job: Job,
    content: Option<Content>,
    thread: Option<i64>,
    bytes: u64,
}

impl Run<'_> {
    /// Does it. `stop` ends it early: what was read by then is handed on.
    ///
    /// # Errors
    /// A path is wrong (nothing was done then), or the sink did not take a batch.
    pub fn run(
        &self,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Summary, ImportError> {
        for path in self.paths {
            tree(path)?;
        }
        let budget = Budget::default();
        let total = OnceLock::new();
        // Set when the gateway takes nothing any more, too.
        let end = AtomicBool::new(false);
        thread::scope(|scope| {
            let (jobs, to_do) = sync_channel::<Job>(256);
            let (done, finished) = channel::<Done>();
            let to_do = Arc::new(Mutex::new(to_do));
            let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
            for _ in 0..self.threads.max(1) {
                let (to_do, done) = (Arc::clone(&to_do), done.clone());
                let budget = &budget;
                let work = move || self.work(&to_do, &done, budget);
                spawn("parse").spawn_scoped(scope, work).map_err(ImportError::Thread)?;
            }
            drop((done, to_do));
            spawn("measure")
                .spawn_scoped(scope, || {
                    let files = self.paths.iter().filter_map(|path| tree(path).ok()).flatten().flatten();
                    let wanted = files.filter(|unit| self.wish.wants_file(unit));
                    let mut sum = 0_u64;
                    for unit in wanted {
                        if end.load(Ordering::Relaxed) {
                            return;
                        }
                        sum = sum.saturating_add(unit.size);
                    }
                    let _ = total.set(sum);
                })
                .map_err(ImportError::Thread)?;
            let finder = Finder {
                run: self,
                budget: &budget,
                jobs,
                stop: [stop, &end],
                number: 0,
                passed: Counts::default(),
            };
            let finding =
                spawn("find").spawn_scoped(scope, move || finder.find()).map_err(ImportError::Thread)?;
            let handed = self.hand_on(&finished, &budget, sink, &total, watch);
            end.store(true, Ordering::Relaxed);
            // Whoever waits for room, or to hand something on, goes on and finds that it is over.
            budget.end();
            drop(finished);
            let found =
                finding.join().map_err(|_| ImportError::Thread(io::Error::other("a panic while reading")));
            let mut counts = handed?;
            let (passed, empty) = found?;
            counts.unchanged = passed.unchanged;
            counts.bytes = counts.bytes.saturating_add(passed.bytes);
            Ok(Summary { counts, stopped: stop.load(Ordering::Relaxed), empty })
        })
    }

    /// Takes mails apart until there are no more.
    fn work(&self, to_do: &Mutex<Receiver<Job>>, done: &Sender<Done>, budget: &Budget) {
        loop {
            let next = to_do.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(mut job) = next else { return };
            let source = std::mem::replace(&mut job.source, Source::Nothing);
            // A fault of ours over one mail must not end the run: all others are handed on after it.
            let looked = catch_unwind(AssertUnwindSafe(|| self.look(source, &mut job, budget)));
            let (content, thread, bytes) = looked.unwrap_or_else(|_| {
                (Some(Content::Failed("a fault of this program while reading it".to_owned())), None, 0)
            });
            if done.send(Done { job, content, thread, bytes }).is_err() {
                return;
            }
        }
    }

    /// What a mail holds, what its thread began with, and its length.
    fn look(&self, source: Source, job: &mut Job, budget: &Budget) -> (Option<Content>, Option<i64>, u64) {
        let raw = match source {
            Source::Nothing => return (None, None, 0),
            Source::Ended(content) => return (Some(content), None, 0),
            Source::Bytes(raw) => raw,
            Source::Unit(unit) => match read_again(&unit) {
                Ok(Some(raw)) => raw,
                Ok(None) => {
                    job.read = None;
                    let gone = "it was gone before it could be read".to_owned();
                    return (Some(Content::Skipped(gone)), None, 0);
                }
                Err(error) => {
                    let complete = !matches!(error, ArchiveError::Unreadable { .. });
                    job.read = Some((0, complete));
                    return (Some(Content::Failed(reason(&error))), None, unit.size);
                }
            },
        };
        // Unpacked it may be far longer than its file, and what is made of it longer than it.
        job.costs(raw.len(), budget);
        #[cfg(test)]
        assert!(!raw.starts_with(b"X-Fault:"), "a test wants a fault of this program");
        let (content, thread) = take(&raw, self.house, self.wish, self.restored);
        job.costs(wire(&content), budget);
        (Some(content), thread, raw.len() as u64)
    }

    /// Hands on what is done, in order.
    fn hand_on(
        &self,
        finished: &Receiver<Done>,
        budget: &Budget,
        sink: &mut dyn Sink,
        total: &OnceLock<u64>,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Counts, ImportError> {
        let mut waiting: BTreeMap<u64, Done> = BTreeMap::new();
        let mut next = 0;
        let mut counts = Counts::default();
        let mut open = Open::new();
        loop {
            let left = BATCH_TIME.saturating_sub(open.since.elapsed());
            match finished.recv_timeout(left.max(Duration::from_millis(1))) {
                Ok(done) => {
                    waiting.insert(done.job.number, done);
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            }
            while let Some(done) = waiting.remove(&next) {
                next += 1;
                budget.reached(next);
                open.add(done, self.wish);
                if open.is_full(sink.mails()) {
                    open.flush(sink, budget, &mut counts, watch)?;
                    watch(&Event::Progress(&counts, total.get().copied()));
                }
            }
            if open.since.elapsed() >= BATCH_TIME {
                open.flush(sink, budget, &mut counts, watch)?;
                watch(&Event::Progress(&counts, total.get().copied()));
            }
        }
        open.flush(sink, budget, &mut counts, watch)?;
        sink.end().map_err(ImportError::Sink)?;
        watch(&Event::Progress(&counts, total.get().copied()));
        Ok(counts)
    }
}

/// A batch that is being filled.
struct Open {
    batch: Batch,
    bytes: usize,
    /// Of each mail: its file, and what it holds of the budget.
    files: Vec<Arc<FileOf>>,
    cost: usize,
    since: Instant,
}

impl Open {
    fn new() -> Open {
        Open { batch: Batch::default(), bytes: 0, files: Vec::new(), cost: 0, since: Instant::now() }
    }

    fn is_full(&self, mails: usize) -> bool {
        self.batch.mails.len() >= mails || self.bytes >= BATCH_BYTES || self.cost >= UNDER_WAY / 4
    }

    fn add(&mut self, done: Done, wish: &Wish) {
        let Done { job, content, thread, bytes } = done;
        self.cost = self.cost.saturating_add(job.cost);
        let file = job.read.map(|(read, complete)| {
            let name = job.file.name.as_os_str().as_bytes();
            let same = self.batch.files.last().is_some_and(|(last, _)| last.name == name);
            if !same {
                let file = File {
                    name: name.to_vec(),
                    size: job.file.size,
                    modified: job.file.modified,
                    options: wish.options(),
                    done: 0,
                    complete: false,
                };
                self.batch.files.push((file, job.anew));
            }
            if let Some((file, _)) = self.batch.files.last_mut() {
                (file.done, file.complete) = (read, complete);
            }
            self.batch.files.len() - 1
        });
        let Some(content) = content else { return };
        self.bytes = self.bytes.saturating_add(wire(&content));
        self.batch.mails.push(Mail { file, at: job.at, bytes, thread, content });
        self.files.push(job.file);
    }

    fn flush(
        &mut self,
        sink: &mut dyn Sink,
        budget: &Budget,
        counts: &mut Counts,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Result<(), ImportError> {
        let open = std::mem::replace(self, Open::new());
        if open.batch.mails.is_empty() && open.batch.files.is_empty() {
            budget.free(open.cost);
            return Ok(());
        }
        let places: Vec<(u64, u64)> = open.batch.mails.iter().map(|mail| (mail.at, mail.bytes)).collect();
        let taken = sink.take(open.batch);
        budget.free(open.cost);
        let taken = taken.map_err(ImportError::Sink)?;
        for ((ended, file), (at, bytes)) in taken.iter().zip(&open.files).zip(places) {
            counts.mails += 1;
            counts.bytes = counts.bytes.saturating_add(bytes);
            counts.stored += ended.stored as u64;
            match ended.fate {
                Fate::Message => counts.messages += 1,
                Fate::Post => counts.posts += 1,
                Fate::Duplicate => counts.duplicates += 1,
                Fate::Skipped => counts.skipped += 1,
                Fate::Failed => {
                    counts.failed += 1;
                    let path = place(&file.path, at);
                    watch(&Event::Failed {
                        path: &path,
                        reason: ended.reason.as_deref().unwrap_or_default(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// The bytes of the messages in a mail.
fn wire(content: &Content) -> usize {
    match content {
        Content::Messages(all) => all.iter().map(|new| new.message().wire_len()).sum(),
        Content::Skipped(_) | Content::Failed(_) => 0,
    }
}

/// A path as a line of text; bytes that are no text as `\xff`.
fn place(path: &Path, at: u64) -> String {
    let mut text = match path.to_str() {
        Some(text) => text.to_owned(),
        None => path.as_os_str().as_bytes().escape_ascii().to_string(),
    };
    if at > 0 {
        text.push_str(&format!(":{at}"));
    }
    text
}

/// The bytes of a file that is one mail; `None`: it is gone. A program may have renamed it.
fn read_again(unit: &Unit) -> Result<Option<Vec<u8>>, ArchiveError> {
    let gone = |error: &ArchiveError| match error {
        ArchiveError::Unreadable { source, .. } => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    };
    let mut opened = unit.open(LONGEST_MAIL);
    for _ in 0..3 {
        match &opened {
            Err(error) if gone(error) => match unit.found_again() {
                Some(path) => opened = unit.open_at(&path, LONGEST_MAIL),
                None => return Ok(None),
            },
            _ => break,
        }
    }
    match opened? {
        Opened::Mail(mail) => Ok(Some(mail.bytes)),
        Opened::Mails(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
