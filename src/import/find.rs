//! Finding files, and opening those that hold many mails.

use super::run::{Counts, LONGEST_MAIL, Run, UNDER_WAY};
use crate::archive::{self, ArchiveError, Content as Opened, Unit, tree};
use crate::gateway::import::Content;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A mail costs at least so many bytes of what may be under way.
const EACH: usize = 4 << 10;

/// One mail on its way.
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) file: Arc<FileOf>,
    /// What was known of its file is to be forgotten.
    pub(super) anew: bool,
    pub(super) at: u64,
    /// How far its file is read with it, and whether that is the end; `None`: nothing is noted.
    pub(super) read: Option<(u64, bool)>,
    pub(super) source: Source,
    pub(super) cost: usize,
}

impl Job {
    /// It holds so many bytes.
    pub(super) fn costs(&mut self, bytes: usize, budget: &Budget) {
        if let Some(more) = bytes.checked_sub(self.cost).filter(|more| *more > 0) {
            budget.more(self.number, more);
            self.cost = bytes;
        }
    }
}

pub(super) enum Source {
    /// A file to be read.
    Unit(Box<Unit>),
    Bytes(Vec<u8>),
    Ended(Content),
    /// The end of an mbox.
    Nothing,
}

pub(super) struct FileOf {
    pub(super) path: PathBuf,
    pub(super) name: PathBuf,
    pub(super) size: u64,
    pub(super) modified: i64,
}

/// Bounds what is under way.
#[derive(Default)]
pub(super) struct Budget {
    now: Mutex<Used>,
    changed: Condvar,
}

#[derive(Default)]
struct Used {
    bytes: usize,
    /// The mail that is to be handed on next.
    next: u64,
    /// Nothing is handed on any more.
    over: bool,
}

impl Budget {
    /// For a mail that is found; waits for room.
    pub(super) fn take(&self, cost: usize) {
        self.wait(cost, |used| used.bytes > 0);
    }

    /// For a mail that turned out to be longer than it looked. The one that all others wait for
    /// never waits itself.
    pub(super) fn more(&self, number: u64, cost: usize) {
        self.wait(cost, |used| used.next < number);
    }

    fn wait(&self, cost: usize, may_wait: impl Fn(&Used) -> bool) {
        let used = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let full =
            |used: &mut Used| !used.over && may_wait(used) && used.bytes.saturating_add(cost) > UNDER_WAY;
        let mut used = self.changed.wait_while(used, full).unwrap_or_else(PoisonError::into_inner);
        used.bytes = used.bytes.saturating_add(cost);
    }

    pub(super) fn free(&self, cost: usize) {
        self.change(|used| used.bytes = used.bytes.saturating_sub(cost));
    }

    /// All mails before this one were handed on.
    pub(super) fn reached(&self, next: u64) {
        self.change(|used| used.next = next);
    }

    /// Nobody waits any more.
    pub(super) fn end(&self) {
        self.change(|used| used.over = true);
    }

    fn change(&self, change: impl FnOnce(&mut Used)) {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

/// Finds files and opens those that hold many mails.
pub(super) struct Finder<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) budget: &'a Budget,
    pub(super) jobs: SyncSender<Job>,
    pub(super) stop: [&'a AtomicBool; 2],
    pub(super) number: u64,
    pub(super) passed: Counts,
}

/// Nobody takes jobs any more.
struct Over;

impl Finder<'_> {
    pub(super) fn find(mut self) -> (Counts, Vec<PathBuf>) {
        let mut empty = Vec::new();
        for path in self.run.paths {
            let (mut any, mut over) = (false, false);
            // It was there a moment ago; what is wrong now is said.
            let found: Box<dyn Iterator<Item = Result<Unit, ArchiveError>>> = match tree(path) {
                Ok(tree) => Box::new(tree),
                Err(error) => Box::new(std::iter::once(Err(error))),
            };
            for found in found {
                over = self.stopped();
                if over {
                    break;
                }
                any |= found.is_ok();
                let sent = match found {
                    Ok(unit) if !self.run.wish.wants_file(&unit) => Ok(()),
                    Ok(unit) => self.unit(unit),
                    Err(fault) => self.fault(&fault),
                };
                if sent.is_err() {
                    over = true;
                    break;
                }
            }
            if !any && !over {
                empty.push(path.clone());
            }
        }
        (self.passed, empty)
    }

    fn stopped(&self) -> bool {
        self.stop.iter().any(|stop| stop.load(Ordering::Relaxed))
    }

    fn send(&mut self, mut job: Job) -> Result<(), Over> {
        self.budget.take(job.cost);
        job.number = self.number;
        self.number += 1;
        self.jobs.send(job).map_err(|_| Over)
    }

    fn fault(&mut self, fault: &ArchiveError) -> Result<(), Over> {
        let path = fault.place().path;
        let file = Arc::new(FileOf { name: path.clone(), path, size: 0, modified: 0 });
        // Links and other programs' files are none of ours; they are said, and not a failure.
        let content = match fault {
            ArchiveError::Link(_) | ArchiveError::Beside(_) => Content::Skipped(reason(fault)),
            _ => Content::Failed(reason(fault)),
        };
        let source = Source::Ended(content);
        self.send(Job { number: 0, file, anew: false, at: 0, read: None, source, cost: EACH })
    }

    fn unit(&mut self, unit: Unit) -> Result<(), Over> {
        let options = self.run.wish.options();
        let known = self.run.known.get(unit.name.as_os_str().as_bytes()).filter(|it| it.options == options);
        let same = known.is_some_and(|it| it.size == unit.size && it.modified == unit.modified);
        if same && known.is_some_and(|it| it.complete) {
            self.passed.unchanged += 1;
            self.passed.bytes = self.passed.bytes.saturating_add(unit.size);
            return Ok(());
        }
        let file = Arc::new(FileOf {
            path: unit.path.clone(),
            name: unit.name.clone(),
            size: unit.size,
            modified: unit.modified,
        });
        let size = usize::try_from(unit.size).unwrap_or(usize::MAX).min(LONGEST_MAIL);
        let (cost, whole) = (size.max(EACH), Some((unit.size, true)));
        let job =
            |source| Job { number: 0, file: Arc::clone(&file), anew: true, at: 0, read: whole, source, cost };
        if unit.in_maildir {
            return self.send(job(Source::Unit(Box::new(unit))));
        }
        match unit.open(LONGEST_MAIL) {
            Ok(Opened::Mail(mail)) => {
                // Unpacked it may be far longer than its file.
                let cost = mail.bytes.len().max(EACH);
                self.send(Job { cost, ..job(Source::Bytes(mail.bytes)) })
            }
            Ok(Opened::Mails(mut mbox)) => {
                // Shorter than it was, it is another file.
                let from = known.filter(|it| same || it.size < unit.size).map(|it| it.done);
                let from = from.filter(|from| *from > 0 && mbox.resume(*from).unwrap_or(false));
                self.mbox(&file, mbox, from.is_none())
            }
            Err(ArchiveError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let gone = Content::Skipped("it was gone before it could be read".to_owned());
                self.send(Job { read: None, ..job(Source::Ended(gone)) })
            }
            Err(error) => {
                let complete = !matches!(error, ArchiveError::Unreadable { .. });
                let content = Content::Failed(reason(&error));
                self.send(Job { read: Some((0, complete)), ..job(Source::Ended(content)) })
            }
        }
    }

    fn mbox(
        &mut self,
        file: &Arc<FileOf>,
        mut mbox: archive::Mbox<Box<dyn archive::Input>>,
        mut anew: bool,
    ) -> Result<(), Over> {
        let mut broken = false;
        while let Some(found) = mbox.next() {
            if self.stopped() {
                return Err(Over);
            }
            let read = mbox.position();
            let job = |at: Option<u64>, read, source, cost: usize| Job {
                number: 0,
                file: Arc::clone(file),
                anew,
                at: at.unwrap_or(0),
                read: Some((read, false)),
                source,
                cost: cost.max(EACH),
            };
            let job = match found {
                Ok(mail) => {
                    let cost = mail.bytes.len();
                    job(mail.place.at, read, Source::Bytes(mail.bytes), cost)
                }
                Err(error) => {
                    // Where nothing can be read, the next run has to try again.
                    broken = matches!(error, ArchiveError::Unreadable { .. });
                    let at = error.place().at;
                    let read = if broken { at.unwrap_or(0) } else { read };
                    job(at, read, Source::Ended(Content::Failed(reason(&error))), EACH)
                }
            };
            self.send(job)?;
            anew = false;
        }
        let read = Some((mbox.position(), true)).filter(|_| !broken);
        let end =
            Job { number: 0, file: Arc::clone(file), anew, at: 0, read, source: Source::Nothing, cost: EACH };
        self.send(end)
    }
}

/// What is wrong, without the path before it, which stands beside it.
pub(super) fn reason(error: &ArchiveError) -> String {
    match error {
        ArchiveError::Unreadable { source, .. } => source.to_string(),
        _ => error.to_string().rsplit_once(": ").map_or_else(|| error.to_string(), |(_, why)| why.to_owned()),
    }
}
