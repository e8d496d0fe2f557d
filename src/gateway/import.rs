//! Mails out of an archive, in batches: stored, noted and put into the pool.
//!
//! It knows messages that are ready, and where they lay. It must never know how an archive is read,
//! nor what a mail is.
//!
//! Crash argument: the messages of a batch, what became of each mail and how far each file was read
//! are one transaction. The pool is filled after it; a process that dies in between fills it from
//! the database at its next start.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::{Gateway, Inner, clock, lock, read};
use crate::message::{self, Address, Limits, UnixTime};
use crate::policy::{self, Block, Scope};
use crate::pool::Entry;
use crate::store::StoreError;
use crate::store::asides::{self, NewAside};
use crate::store::imports::{self, Fate, File, Row};
use crate::store::messages::{self, Admitted, Kind, NewMessage};
use crate::store::removal;

/// What is kept aside, at most, in bytes; the oldest go first.
const ASIDES_MAX: u64 = 256 << 20;

/// Why what was removed is not taken.
const REMOVED: &str = "it was removed here by the operator";

/// What was found in some files, in their order.
#[derive(Debug, Default)]
pub struct Batch {
    /// The files, as far as they are read with this batch; `true` if what was known of one is to be
    /// forgotten.
    pub files: Vec<(File, bool)>,
    /// The mails. What is public in them becomes public here, too, if it was here before.
    pub mails: Vec<Mail>,
}

/// One mail.
#[derive(Debug)]
pub struct Mail {
    /// Which of the batch's files it lies in; `None` for what is not to be noted.
    pub file: Option<usize>,
    /// Its byte in the file.
    pub at: u64,
    /// Its length.
    pub bytes: u64,
    /// A hash of what its thread began with.
    pub thread: Option<i64>,
    /// What it holds.
    pub content: Content,
}

/// What a mail holds.
#[derive(Debug)]
pub enum Content {
    /// Messages: CMR messages as they are, or one that was made of the mail.
    Messages(Vec<NewMessage>),
    /// It is not wanted, and why.
    Skipped(String),
    /// It can't be taken, and why.
    Failed(String),
}

/// What became of a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// In one word.
    pub fate: Fate,
    /// Why it was not taken.
    pub reason: Option<String>,
    /// How many messages were stored.
    pub stored: usize,
}

impl Ended {
    /// What became of one of the mail's messages: one word for the mail, the best that happened to
    /// them.
    pub(crate) fn part(&mut self, part: usize, fate: Fate, reason: Option<String>) {
        if part == 0 || rank(fate) < rank(self.fate) {
            (self.fate, self.reason) = (fate, reason);
        }
    }
}

/// What is to go into the pool: message by number, with the batch it stands in.
#[derive(Debug)]
pub struct Stored {
    batch: Arc<Batch>,
    /// Mail, part, number.
    new: Vec<(usize, usize, i64)>,
    opened: Vec<i64>,
    unrouted: bool,
}

impl Gateway {
    /// Stores a batch; what it says of it is durable. [`Gateway::pool_imported`] has to follow.
    /// Blocks.
    ///
    /// # Errors
    /// The database can't be used; nothing of the batch is stored then.
    pub fn import(&self, batch: Batch) -> Result<(Vec<Ended>, Stored), StoreError> {
        let config = self.config();
        let (now, inner) = (clock::now(), &self.0);
        let blocks = Arc::clone(&read(&inner.blocks));
        let batch = Arc::new(batch);
        let evicted = lock(&inner.unevicted).clone();
        let evictions = evicted.len();
        let work = Arc::clone(&batch);
        let (keep_ids, keep_raw) = (config.pool.remember_ids, config.pool.keep_raw);
        let written = inner.store.write(move |tx| {
            let files: Vec<i64> = work
                .files
                .iter()
                .map(|(file, anew)| imports::note_file(tx, file, *anew))
                .collect::<Result<_, _>>()?;
            let mut written = Written::default();
            for (at, mail) in work.mails.iter().enumerate() {
                let file = mail.file.and_then(|at| files.get(at).copied());
                let path = mail.file.and_then(|at| work.files.get(at)).map(|(file, _)| file.name.as_slice());
                let forget_after = now.saturating_add(keep_raw);
                let ended = store_mail(tx, (at, mail), &blocks, file, &mut written.new, &mut written.opened)?;
                if let (Fate::Failed, Some(path), Some(reason)) = (ended.fate, path, &ended.reason) {
                    refer(tx, path, mail.at, reason, now, forget_after)?;
                }
                written.ended.push(ended);
            }
            for seq in evicted {
                messages::evict(tx, seq, now, now.saturating_add(keep_ids))?;
            }
            Ok(written)
        })?;
        let mut waiting = lock(&inner.unevicted);
        let done = evictions.min(waiting.len());
        waiting.drain(..done);
        drop(waiting);
        let unrouted = batch.mails.iter().any(|mail| match &mail.content {
            Content::Messages(all) => all.iter().any(|message| !message.settled),
            _ => false,
        });
        let Written { ended, new, opened } = written;
        Ok((ended, Stored { batch, new, opened, unrouted }))
    }

    /// Puts what was stored into the pool, or before the router.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn pool_imported(&self, stored: &Stored) -> Result<(), StoreError> {
        let inner = &self.0;
        if stored.unrouted {
            inner.wake_router();
        }
        let mut seqs: Vec<i64> = Vec::new();
        for (mail, part, seq) in &stored.new {
            let Some(Content::Messages(all)) = stored.batch.mails.get(*mail).map(|mail| &mail.content) else {
                continue;
            };
            let Some(new) = all.get(*part).filter(|new| new.settled) else { continue };
            let message = new.message();
            let entry = Entry {
                seq: *seq,
                id: new.id(),
                sender: message.sender().address.clone(),
                hops: message.hops.addresses().cloned().collect(),
                author: new.author.clone(),
                scope: new.scope,
            };
            inner.pool_in(&entry, &message.body);
            seqs.push(*seq);
        }
        for seq in &stored.opened {
            let Some(mut entry) = inner.pool().get(*seq) else { continue };
            entry.scope = Scope::Public;
            if let Some(body) = inner.store.read(|conn| messages::body(conn, *seq))? {
                inner.pool_in(&entry, &body);
                seqs.push(*seq);
            }
        }
        // What was removed meanwhile must not stay in the pool.
        let gone = inner.store.read(|conn| {
            let mut gone = Vec::new();
            for seq in seqs {
                if messages::head(conn, seq)?.is_none() {
                    gone.push(seq);
                }
            }
            Ok(gone)
        })?;
        for seq in gone {
            inner.pool_mut().remove(seq);
        }
        Ok(())
    }

    /// Writes down what left the pool for what was imported.
    ///
    /// # Errors
    /// The database can't be written.
    pub fn end_import(&self) -> Result<(), StoreError> {
        if lock(&self.0.unevicted).is_empty() { Ok(()) } else { self.import(Batch::default()).map(|_| ()) }
    }
}

impl Inner {
    fn pool_in(&self, entry: &Entry, body: &[u8]) {
        let evicted = self.pool_mut().insert(entry, body);
        if !evicted.is_empty() {
            let mut unevicted = lock(&self.unevicted);
            unevicted.retain(|seq| *seq != entry.seq);
            unevicted.extend(evicted);
        }
    }
}

#[derive(Debug, Default)]
struct Written {
    ended: Vec<Ended>,
    new: Vec<(usize, usize, i64)>,
    opened: Vec<i64>,
}

fn store_mail(
    tx: &Connection,
    (at, mail): (usize, &Mail),
    blocks: &[Block],
    file: Option<i64>,
    new: &mut Vec<(usize, usize, i64)>,
    opened: &mut Vec<i64>,
) -> Result<Ended, StoreError> {
    let row = |part, fate, seq, reason: Option<String>| Row {
        at: mail.at,
        part,
        fate,
        seq,
        thread: mail.thread,
        bytes: mail.bytes,
        reason,
    };
    let note = |row: &Row| file.map_or(Ok(()), |file| imports::note_mail(tx, file, row));
    let all = match &mail.content {
        Content::Messages(all) => all,
        Content::Skipped(reason) | Content::Failed(reason) => {
            let failed = matches!(mail.content, Content::Failed(_));
            let fate = if failed { Fate::Failed } else { Fate::Skipped };
            note(&row(0, fate, None, Some(reason.clone())))?;
            return Ok(Ended { fate, reason: Some(reason.clone()), stored: 0 });
        }
    };
    let mut ended = Ended { fate: Fate::Skipped, reason: None, stored: 0 };
    for (part, message) in all.iter().enumerate() {
        let (fate, seq, reason) = match judge(message, blocks) {
            Some(reason) => (Fate::Skipped, None, Some(reason)),
            None => match messages::admit(tx, message)? {
                Admitted::New(seq) | Admitted::Conflict { seq, .. } => {
                    new.push((at, part, seq));
                    ended.stored += 1;
                    let fate = if message.kind == Kind::Learned { Fate::Post } else { Fate::Message };
                    (fate, Some(seq), None)
                }
                Admitted::Duplicate { seq } => {
                    if let Some(seq) = seq.filter(|_| message.scope == Scope::Public)
                        && messages::open_up(tx, seq)?
                    {
                        opened.push(seq);
                    }
                    (Fate::Duplicate, seq, None)
                }
                Admitted::ConflictAside { .. } => (
                    Fate::Failed,
                    None,
                    Some(format!(
                        "another message has the id {} already, with other bytes below that header line",
                        message.id()
                    )),
                ),
                Admitted::Removed => (Fate::Skipped, None, Some(REMOVED.to_owned())),
            },
        };
        let mut row = row(part, fate, seq, reason.clone());
        if reason.as_deref() == Some(REMOVED) {
            // Nothing of what was removed is noted again.
            (row.thread, row.bytes) = (None, 0);
        }
        note(&row)?;
        ended.part(part, fate, reason);
    }
    Ok(ended)
}

fn rank(fate: Fate) -> u8 {
    match fate {
        Fate::Message => 0,
        Fate::Post => 1,
        Fate::Duplicate => 2,
        Fate::Failed => 3,
        Fate::Skipped => 4,
    }
}

/// Why a message would not be taken, as far as that is known before it is stored; without a database
/// nothing was removed.
///
/// # Errors
/// Those of any read.
pub fn refusal(
    conn: Option<&Connection>,
    blocks: &[Block],
    message: &NewMessage,
) -> Result<Option<String>, StoreError> {
    if let Some(reason) = judge(message, blocks) {
        return Ok(Some(reason));
    }
    let Some(conn) = conn else { return Ok(None) };
    let origin = message.message().origin().key();
    Ok(removal::is_removed(conn, &origin, message.id())?.then(|| REMOVED.to_owned()))
}

/// Why a message is not wanted here.
fn judge(message: &NewMessage, blocks: &[Block]) -> Option<String> {
    let wire = message.message();
    if policy::is_key_exchange(&wire.body) {
        return Some("a key exchange is never kept".to_owned());
    }
    [&message.author, &wire.origin().address, &wire.sender().address]
        .into_iter()
        .find_map(|address| Block::check(blocks, address).err().map(|refusal| refusal.to_string()))
}

/// Keeps aside what can't be taken: where it lies, not its bytes, which stay where they are.
fn refer(
    tx: &Connection,
    path: &[u8],
    at: u64,
    reason: &str,
    now: UnixTime,
    forget_after: UnixTime,
) -> Result<(), StoreError> {
    let lies = format!("byte {at} of {}", path.escape_ascii());
    let aside = NewAside {
        reason,
        place: "the mail",
        raw: &[],
        kept: Some(&lies),
        author: None,
        id: None,
        received: now,
        via: "import",
        forget_after,
        source: "import",
    };
    asides::put(tx, &aside, ASIDES_MAX)?;
    Ok(())
}

/// A batch as it goes through the control socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchView {
    files: Vec<FileView>,
    mails: Vec<MailView>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FileView {
    name: String,
    size: u64,
    modified: i64,
    options: String,
    done: u64,
    complete: bool,
    anew: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct MailView {
    file: Option<usize>,
    at: u64,
    bytes: u64,
    thread: Option<i64>,
    content: ContentView,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ContentView {
    Messages(Vec<MessageView>),
    Skipped(String),
    Failed(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct MessageView {
    wire: String,
    author: String,
    kind: Kind,
    scope: Scope,
    settled: bool,
}

/// Why a batch can't be read.
#[derive(Debug, thiserror::Error)]
#[error("a batch of mails is not understood: {0}")]
pub struct NoBatch(String);

impl From<&Batch> for BatchView {
    fn from(batch: &Batch) -> Self {
        let content = |content: &Content| match content {
            Content::Skipped(reason) => ContentView::Skipped(reason.clone()),
            Content::Failed(reason) => ContentView::Failed(reason.clone()),
            Content::Messages(all) => ContentView::Messages(
                all.iter()
                    .map(|new| MessageView {
                        wire: STANDARD.encode(new.message().write()),
                        author: STANDARD.encode(new.author.as_bytes()),
                        kind: new.kind,
                        scope: new.scope,
                        settled: new.settled,
                    })
                    .collect(),
            ),
        };
        BatchView {
            files: batch
                .files
                .iter()
                .map(|(file, anew)| FileView {
                    name: STANDARD.encode(&file.name),
                    size: file.size,
                    modified: file.modified,
                    options: file.options.clone(),
                    done: file.done,
                    complete: file.complete,
                    anew: *anew,
                })
                .collect(),
            mails: batch
                .mails
                .iter()
                .map(|mail| MailView {
                    file: mail.file,
                    at: mail.at,
                    bytes: mail.bytes,
                    thread: mail.thread,
                    content: content(&mail.content),
                })
                .collect(),
        }
    }
}

impl BatchView {
    /// The batch; `most` is the length of the longest body.
    ///
    /// # Errors
    /// It was not written by this version.
    pub(super) fn read(self, most: usize, now: UnixTime) -> Result<Batch, NoBatch> {
        let limits = Limits { max_body: most, ..Limits::default() };
        let bytes = |text: &str| STANDARD.decode(text).map_err(|error| NoBatch(error.to_string()));
        let message = |view: &MessageView| {
            let wire =
                message::parse(&bytes(&view.wire)?, &limits).map_err(|error| NoBatch(error.to_string()))?;
            let mut new = NewMessage::new(wire, now, "import");
            new.author = Address::new(bytes(&view.author)?).map_err(|error| NoBatch(error.to_string()))?;
            (new.kind, new.scope, new.settled) = (view.kind, view.scope, view.settled);
            Ok(new)
        };
        let mut batch = Batch::default();
        for file in self.files {
            let name = bytes(&file.name)?;
            let FileView { size, modified, options, done, complete, anew, .. } = file;
            batch.files.push((File { name, size, modified, options, done, complete }, anew));
        }
        for mail in self.mails {
            let content = match mail.content {
                ContentView::Messages(all) => {
                    Content::Messages(all.iter().map(message).collect::<Result<_, NoBatch>>()?)
                }
                ContentView::Skipped(reason) => Content::Skipped(reason),
                ContentView::Failed(reason) => Content::Failed(reason),
            };
            let MailView { file, at, bytes, thread, .. } = mail;
            batch.mails.push(Mail { file, at, bytes, thread, content });
        }
        Ok(batch)
    }
}
