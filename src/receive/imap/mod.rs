//! The IMAP poller: reads folders of mailboxes, hands on what is new in them, and does with a mail
//! what its owner wants once it is stored.
//!
//! Each account has a thread of its own, so that a server that is slow or broken delays nobody
//! else. [`folder`](self) decides the steps of a look and [`schedule`](self) the times, both
//! without I/O; this adapter carries them out. It knows accounts and UIDs. What was read is
//! remembered by the [`Office`], in one transaction with what was in it; this room must never know
//! what a mail means, or where anything is stored.

mod account;
mod after;
mod folder;
mod framing;
mod login;
mod names;
mod schedule;
mod session;
mod trouble;
mod wake;
mod wire;

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

pub use folder::{Counts, Fate, Known};

use crate::config::{After, Imap};
use account::{Board, Worker};
use session::Session;
use wake::Waker;

/// A folder, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the account is called.
    pub account: String,
    /// Its user and server: another one under the same name is another mailbox.
    pub server: String,
    /// The folder.
    pub folder: String,
}

/// A mail that was found in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polled {
    /// What the account is called.
    pub account: String,
    /// The number of the folder, as [`Known::folder`] says.
    pub folder: i64,
    /// Its UID there.
    pub uid: u32,
    /// The mail.
    pub raw: Vec<u8>,
    /// Whether something happens to it afterwards.
    pub changes: bool,
    /// Where it can be found later, if it stays there.
    pub stays: Option<String>,
    /// Whether it came encrypted.
    pub tls: bool,
}

/// A mail of ours that was sent, and of which a copy is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentCopy {
    /// Its number, for [`Office::copied`].
    pub number: i64,
    /// Its Message-ID, without angle brackets.
    pub message_id: String,
    /// The mail.
    pub mail: Vec<u8>,
}

/// How an account is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What is wrong, as a sentence.
    pub error: Option<String>,
    /// The folder was looked through.
    pub looked: bool,
    /// What the look has come to.
    pub counts: Counts,
    /// How long the last mail that was taken had been in the mailbox before it was stored.
    pub lag: Option<Duration>,
    /// Whether the server tells when mail comes.
    pub idle: bool,
    /// When the account is spoken to again, at the latest.
    pub next: Duration,
}

/// Who remembers what was read, and takes what was found. The sentences of its errors are for the
/// operator.
pub trait Office: Send + Sync + 'static {
    /// What is known of a folder. With another UIDVALIDITY than before that is nothing.
    ///
    /// # Errors
    /// The database can't be used.
    fn open(&self, place: &Place, validity: u32) -> Result<Known, String>;

    /// Forgets how far a folder was read.
    ///
    /// # Errors
    /// As [`Office::open`].
    fn forget(&self, place: &Place) -> Result<(), String>;

    /// Takes a mail, or leaves it; which of the two is remembered in the same transaction.
    fn admit(&self, mail: Polled) -> impl Future<Output = Fate> + Send;

    /// Handing this mail over failed in a way that it would fail again: it is left.
    ///
    /// # Errors
    /// As [`Office::open`].
    fn skip(&self, folder: i64, uid: u32) -> Result<(), String>;

    /// All mails below `next` are settled, and so many have not been looked at.
    ///
    /// # Errors
    /// As [`Office::open`].
    fn settle(&self, folder: i64, next: u32, behind: u64) -> Result<(), String>;

    /// What is configured has happened to these mails.
    ///
    /// # Errors
    /// As [`Office::open`].
    fn done(&self, folder: i64, uids: &[u32]) -> Result<(), String>;

    /// Mails to people that were sent and of which no copy was made for this account.
    ///
    /// # Errors
    /// As [`Office::open`].
    fn copies(&self, account: &str) -> Result<Vec<SentCopy>, String>;

    /// A copy was made.
    ///
    /// # Errors
    /// As [`Office::open`].
    fn copied(&self, account: &str, number: i64) -> Result<(), String>;

    /// How an account is doing, for whoever asks.
    fn report(&self, place: &Place, health: &Health);
}

/// What one look at one account has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The account.
    pub account: String,
    /// What was found, or what is wrong.
    pub result: Result<Counts, String>,
}

/// The running accounts.
#[derive(Debug)]
pub struct Poller {
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: String,
    waker: Waker,
    board: Arc<Board>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Poller {
    /// Starts a thread for each account. Mails are taken by tasks of `runtime`; `largest` is the
    /// largest mail that is.
    ///
    /// # Errors
    /// There are no more threads or descriptors.
    pub fn start<O: Office>(
        accounts: &[Imap],
        office: &Arc<O>,
        largest: usize,
        runtime: &Handle,
    ) -> io::Result<Poller> {
        let mut running = Vec::new();
        for account in accounts {
            let (waker, worker) = Worker::new(account.clone(), Arc::clone(office), largest, runtime.clone())?;
            let board = worker.board();
            let thread =
                thread::Builder::new().name(format!("imap {}", account.name)).spawn(move || worker.run())?;
            let thread = Mutex::new(Some(thread));
            running.push(Running { name: account.name.clone(), waker, board, thread });
        }
        Ok(Poller { running })
    }

    /// Looks into every folder now, and says what came of it. Blocks, for so long at most.
    #[must_use]
    pub fn look_now(&self, within: Duration) -> Vec<Looked> {
        let until = Instant::now() + within;
        let asked: Vec<u64> = self.running.iter().map(|one| one.waker.ask()).collect();
        let answers = self.running.iter().zip(asked).map(|(one, asked)| {
            let result = one.board.answer(asked, until);
            let result = result.unwrap_or_else(|| Err("it is still being read".to_owned()));
            Looked { account: one.name.clone(), result }
        });
        answers.collect()
    }

    /// Tells every account to stop: what is under way has two seconds to end, and is broken off then,
    /// which loses nothing.
    pub fn begin_to_stop(&self) {
        for one in &self.running {
            one.waker.stop();
            one.board.close();
        }
    }

    /// Waits for the threads to end. Blocks.
    pub fn join(&self) {
        for one in &self.running {
            let thread = one.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!(account = one.name, "the thread of an account ended in a panic");
            }
        }
    }
}

/// Looks into every folder once. Blocks until all are done.
///
/// # Errors
/// There are no more threads or descriptors.
pub fn once<O: Office>(
    accounts: &[Imap],
    office: &Arc<O>,
    largest: usize,
    runtime: &Handle,
) -> io::Result<Vec<Looked>> {
    let mut threads = Vec::new();
    for account in accounts {
        let (_, worker) = Worker::new(account.clone(), Arc::clone(office), largest, runtime.clone())?;
        let thread =
            thread::Builder::new().name(format!("imap {}", account.name)).spawn(move || worker.once())?;
        threads.push((account.name.clone(), thread));
    }
    let looked = threads.into_iter().map(|(account, thread)| {
        let result = thread.join().unwrap_or_else(|_| Err("reading the folder failed".to_owned()));
        Looked { account, result }
    });
    Ok(looked.collect())
}

/// What a try has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// How many mails the folder holds.
    pub mails: u32,
    /// Whether the server can tell when mail comes.
    pub idle: bool,
    /// What will not work as configured, as a sentence.
    pub doubt: Option<String>,
}

/// Logs in, opens the folder and leaves again, without changing anything.
///
/// # Errors
/// What is in the way, as a sentence.
pub fn try_out(account: &Imap) -> Result<Tried, String> {
    let tried = || -> Result<Tried, trouble::Trouble> {
        let (_waker, sleeper) = wake::pair().map_err(trouble::Trouble::Io)?;
        let mut session = Session::open(account, &Arc::new(sleeper))?;
        let mut doubt = None;
        if let After::Move(to) = &account.after {
            session.examine(to)?;
        }
        if let Some(sent) = &account.sent {
            session.examine(sent)?;
        }
        let facts = session.select(&account.folder)?;
        if facts.read_only && account.after != After::Keep {
            doubt = Some(trouble::Trouble::ReadOnly(account.folder.clone()).to_string());
        }
        let idle = session.skills().idle;
        session.close();
        Ok(Tried { mails: facts.exists, idle, doubt })
    };
    tried().map_err(|trouble| trouble.to_string())
}
