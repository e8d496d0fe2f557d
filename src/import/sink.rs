//! Where batches go: into the gateway of this process, to the daemon, or nowhere.

use crate::gateway::api::{Failure, Request};
use crate::gateway::control::call;
use crate::gateway::import::{Batch, BatchView, Content, Ended, Stored, refusal};
use crate::gateway::{self, Gateway};
use crate::message::MessageId;
use crate::policy::Block;
use crate::store::imports::Fate;
use crate::store::messages::{Kind, NewMessage};
use crate::store::{Snapshot, StoreError, messages};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Takes batches.
pub trait Sink {
    /// Takes a batch: what it says became of each mail is durable.
    ///
    /// # Errors
    /// Nothing of the batch was taken, or that is unknown; doing it again is harmless.
    fn take(&mut self, batch: Batch) -> Result<Vec<Ended>, Failure>;

    /// All was taken.
    ///
    /// # Errors
    /// Something that was stored could not be finished; it is at the next start.
    fn end(&mut self) -> Result<(), Failure>;

    /// How many mails one batch holds.
    fn mails(&self) -> usize;
}

/// Batches of which the pool has not got the messages yet.
const AHEAD: usize = 2;

/// The thread that fills the pool, and the way to it.
type Filler = (SyncSender<Stored>, JoinHandle<Result<(), StoreError>>);

/// The gateway of this process. The pool is filled on a thread of its own, while the next batch is
/// written.
#[derive(Debug)]
pub struct Here {
    gateway: Gateway,
    filler: Option<Filler>,
}

impl Here {
    /// Puts what is taken into this gateway.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(gateway: Gateway) -> std::io::Result<Here> {
        let (sender, receiver) = sync_channel::<Stored>(AHEAD);
        let pool = gateway.clone();
        let filler = thread::Builder::new()
            .name("pool".to_owned())
            .spawn(move || receiver.into_iter().try_for_each(|stored| pool.pool_imported(&stored)))?;
        Ok(Here { gateway, filler: Some((sender, filler)) })
    }
}

impl Sink for Here {
    fn take(&mut self, batch: Batch) -> Result<Vec<Ended>, Failure> {
        let (ended, stored) = self.gateway.import(batch)?;
        // If it is gone, its reason comes at the end.
        if let Some((sender, _)) = &self.filler {
            let _ = sender.send(stored);
        }
        Ok(ended)
    }

    fn end(&mut self) -> Result<(), Failure> {
        let Some((sender, filler)) = self.filler.take() else { return Ok(()) };
        drop(sender);
        filler.join().map_err(|_| StoreError::Panicked("filling the pool".to_owned()))??;
        self.gateway.end_import()?;
        self.gateway.route_pending()?;
        self.gateway.close();
        Ok(())
    }

    fn mails(&self) -> usize {
        512
    }
}

/// The daemon, by its control socket.
#[derive(Debug)]
pub struct Daemon(pub PathBuf);

/// How long the daemon may take for a batch.
const ANSWER: Duration = Duration::from_secs(180);

/// How often a daemon that is busy is asked again, a second apart.
const AGAIN: u32 = 60;

impl Sink for Daemon {
    fn take(&mut self, batch: Batch) -> Result<Vec<Ended>, Failure> {
        const TRY_LATER: u8 = 75;
        let fail = |sentence: String| Failure { exit: TRY_LATER, sentence };
        let request = Request::Import(Box::new(BatchView::from(&batch)));
        let mut tries = 0;
        let answer = loop {
            match call(&self.0, &request, ANSWER).map_err(|error| fail(error.to_string()))? {
                Err(failure) if failure.exit == TRY_LATER && tries < AGAIN => {
                    tries += 1;
                    thread::sleep(Duration::from_secs(1));
                }
                answer => break answer?,
            }
        };
        serde_json::from_value(answer)
            .map_err(|_| fail("the daemon's answer is not understood: is it of another version?".to_owned()))
    }

    fn end(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    // The daemon's other writers wait for a batch.
    fn mails(&self) -> usize {
        64
    }
}

/// Nowhere: says what would become of each mail.
#[derive(Debug)]
pub struct Dry {
    snapshot: Option<Snapshot>,
    blocks: Vec<Block>,
    seen: HashSet<MessageId>,
}

impl Dry {
    /// Beside what is stored now.
    ///
    /// # Errors
    /// It can't be read.
    pub fn new(snapshot: Option<Snapshot>) -> Result<Dry, StoreError> {
        let blocks = snapshot.as_ref().map(|it| gateway::blocks_of(it.conn())).transpose()?;
        Ok(Dry { snapshot, blocks: blocks.unwrap_or_default(), seen: HashSet::new() })
    }

    /// What would become of a message, and why it would not be taken.
    fn look(&mut self, new: &NewMessage) -> Result<(Fate, Option<String>), StoreError> {
        if let Some(reason) = refusal(self.snapshot.as_ref().map(Snapshot::conn), &self.blocks, new)? {
            return Ok((Fate::Skipped, Some(reason)));
        }
        let known = match &self.snapshot {
            Some(snapshot) => messages::is_known(snapshot.conn(), new)?,
            None => false,
        };
        if known || !self.seen.insert(new.id()) {
            return Ok((Fate::Duplicate, None));
        }
        Ok((if new.kind == Kind::Learned { Fate::Post } else { Fate::Message }, None))
    }
}

impl Sink for Dry {
    fn take(&mut self, batch: Batch) -> Result<Vec<Ended>, Failure> {
        let mut all = Vec::new();
        for mail in &batch.mails {
            let mut ended = Ended { fate: Fate::Duplicate, reason: None, stored: 0 };
            match &mail.content {
                Content::Skipped(reason) => {
                    (ended.fate, ended.reason) = (Fate::Skipped, Some(reason.clone()))
                }
                Content::Failed(reason) => (ended.fate, ended.reason) = (Fate::Failed, Some(reason.clone())),
                Content::Messages(messages) => {
                    for (part, new) in messages.iter().enumerate() {
                        let (fate, reason) = self.look(new)?;
                        ended.stored += usize::from(matches!(fate, Fate::Message | Fate::Post));
                        ended.part(part, fate, reason);
                    }
                }
            }
            all.push(ended);
        }
        Ok(all)
    }

    fn end(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn mails(&self) -> usize {
        512
    }
}
