//! What verbs ask of the gateway: each request is one function of the store and the pool.
//!
//! It knows the requests and their results. It must never know the socket they came by.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tokio::runtime;

use super::api::{
    Changed, Delivered, Failure, Found, Posted, QueueAction, RawMessage, Request, Response, Status,
};
use super::keys_within::may_hold_key;
use super::texts::StoredTexts;
use super::{Gateway, clock, commit, people as names, read_blocks, trace, view, write};
use crate::mail;
use crate::message::{Address, Hop, Message, MessageId};
use crate::policy::{self, Authenticity, Block, Origin, Provenance};
use crate::pool::{Audience, Query};
use crate::receive::{Arrival, Via};
use crate::smtp::{Reply, Severity};
use crate::store::asides::NewAside;
use crate::store::blocks::BlockKind;
use crate::store::counters::{self, Counter};
use crate::store::messages::{self, Admitted, Kind, NewMessage, Stored};
use crate::store::queue;
use crate::store::{Erased, StoreError, What, asides, blocks, peers, people};
use crate::wire::Scheme;

/// Most rows in one result.
pub(super) const ROWS: usize = 10_000;

pub(super) const USAGE: u8 = 64;
pub(super) const BAD_DATA: u8 = 65;
pub(super) const UNAVAILABLE: u8 = 69;
const TRY_LATER: u8 = 75;

pub(super) type Outcome<T> = Result<T, Failure>;

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = if error.is_transient() { TRY_LATER } else { UNAVAILABLE };
        Failure { exit, sentence: error.to_string() }
    }
}

impl Gateway {
    /// Carries out what a verb asks. Blocks; not for a thread of the runtime.
    ///
    /// # Errors
    /// The sentence for the person who asked, and the exit code.
    pub fn handle(&self, request: Request) -> Response {
        match request {
            Request::Post { text, from } => json(&self.post(&text, from.as_deref())?),
            Request::Search { text, limit, shared } => json(&self.search(&text, limit, shared)?),
            Request::Show { id } => {
                let id = message_id(&id)?;
                let all = self.store().read(|conn| {
                    let found = messages::by_id(conn, id)?;
                    let conflicts = found.len().saturating_sub(1);
                    found
                        .iter()
                        .map(|stored| view::shown(conn, stored, conflicts))
                        .collect::<Result<Vec<_>, _>>()
                })?;
                if all.is_empty() { Err(unknown(id)) } else { json(&all) }
            }
            Request::ShowRaw { id } => {
                let stored = self.one(message_id(&id)?)?;
                let Some(text) = stored.text else {
                    return Err(fail(
                        UNAVAILABLE,
                        "the message was dropped from the pool; only its ids are remembered",
                    ));
                };
                json(&RawMessage { message: STANDARD.encode(text.wire()) })
            }
            Request::Asides { id: None } => {
                let list = self.store().read(|conn| asides::list(conn, ROWS))?;
                json(&list.iter().map(view::aside).collect::<Vec<_>>())
            }
            Request::Asides { id: Some(id) } => match self.store().read(|conn| asides::get(conn, id))? {
                Some(aside) => json(&[view::aside(&aside)]),
                None => Err(fail(UNAVAILABLE, format!("nothing is kept aside under number {id}"))),
            },
            Request::Explain { id } => {
                let stored = self.one(message_id(&id)?)?;
                json(&self.store().read(|conn| view::explained(conn, &self.0.pool(), &stored))?)
            }
            Request::Trace { id } => {
                let id = message_id(&id)?;
                let traced = self.store().read(|conn| trace::traced(conn, &messages::by_id(conn, id)?))?;
                if traced.events.is_empty() { Err(unknown(id)) } else { json(&traced) }
            }
            Request::Peers { action } => self.peers(action),
            Request::Keys { action } => self.keys(action),
            Request::Queue { action } => self.queue(action),
            Request::Remove { id } => self.remove(&id),
            Request::RemoveAuthor { author } => self.remove_author(&author),
            Request::Block { value, undo } => self.block(&value, undo),
            Request::Poll => Err(fail(UNAVAILABLE, "no mailbox is read here")),
            Request::Status => json(&self.status()?),
            Request::Import(batch) => {
                let most = self.config().smtp.max_message;
                let batch = batch.read(most, clock::now());
                let batch = batch.map_err(|error| fail(BAD_DATA, error.to_string()))?;
                let (ended, stored) = self.import(batch)?;
                self.pool_imported(&stored)?;
                json(&ended)
            }
            Request::ProbeRelay { token } => json(&self.probe_relay(token)?),
            Request::Deliver { sender, recipient, mail: text, cut_from } => {
                // On standard input lines end with LF; inside, mails have CRLF.
                let raw = mail::lf_to_crlf(&decode(&text)?);
                if let Some(bytes) = cut_from {
                    return self.too_large(raw, bytes);
                }
                let recipients = recipient.into_iter().collect();
                self.take(Arrival { sender, recipients, ..by_hand(Via::Pipe, raw) }, None)
            }
            Request::Filter { sender, recipients, mail } => {
                let raw = mail.map(|text| decode(&text).map(|raw| mail::lf_to_crlf(&raw))).transpose()?;
                json(&self.filtered(sender, recipients, raw)?)
            }
            Request::Receive { transport, message, bound } => {
                let proof = bound.as_deref().map(address).transpose()?;
                let (raw, tls) = (decode(&message)?, transport == Scheme::Ssh.name());
                let arrival = Arrival { proof, tls, ..by_hand(Via::Bare, raw) };
                self.take(arrival, Some(transport))
            }
        }
    }

    fn one(&self, id: MessageId) -> Outcome<Stored> {
        self.store().read(|conn| messages::by_id(conn, id))?.into_iter().next().ok_or_else(|| unknown(id))
    }

    /// A message by the operator, or on behalf of the address that the operator names: public,
    /// because posting it here is choosing to publish it.
    fn post(&self, text: &str, from: Option<&str>) -> Outcome<Posted> {
        let config = self.config();
        if text.trim().is_empty() {
            return Err(fail(BAD_DATA, "there is nothing to post: the text is empty"));
        }
        let body = text.as_bytes().to_vec();
        if body.len() > config.smtp.max_message {
            return Err(fail(BAD_DATA, "the text is larger than max_message allows"));
        }
        if policy::is_key_exchange(&body) {
            return Err(fail(BAD_DATA, "a text that begins like a key exchange is never pooled"));
        }
        let named = from.map(address).transpose()?;
        let now = clock::now();
        let random =
            clock::random().map_err(|error| fail(UNAVAILABLE, format!("no random numbers: {error}")))?;
        let (seq, id, time, origin) = {
            let config = Arc::clone(&config);
            self.store().write(move |tx| {
                let operator = people::canonical(&config.gateway.operator.address);
                let bad = |_| StoreError::Misuse("the operator's address holds a line end");
                let author = match &named {
                    Some(named) => named.clone(),
                    None => Address::new(format!("mailto:{operator}")).map_err(bad)?,
                };
                let origin = match (&named, config.people.origin) {
                    (Some(named), _) => named.clone(),
                    (None, Origin::Address) => author.clone(),
                    (None, Origin::Alias) => {
                        let name = names::alias_name(config.gateway.operator.name.as_deref());
                        let person = commit::person(tx, &operator, &name, now)?;
                        let posting = config
                            .smtp
                            .recipients
                            .first()
                            .map_or(config.gateway.mail_address.as_str(), String::as_str);
                        names::alias(posting, &person.name, &person.token).map_err(bad)?
                    }
                };
                let time = clock::stamp(crate::store::meta::take_time(tx, now)?, random);
                let mut new =
                    NewMessage::new(Message::new(Hop::new(time.clone(), origin.clone()), body), now, "post");
                new.author = author;
                new.kind = Kind::Post;
                new.scope = policy::scope_of(Provenance::Operator, false, policy::FirstPost::Ask);
                new.authenticity = Authenticity::Operator;
                let id = new.id();
                match messages::admit(tx, &new)? {
                    Admitted::New(seq) | Admitted::Conflict { seq, .. } => Ok((seq, id, time, origin)),
                    _ => Err(StoreError::Misuse("a new time is not new")),
                }
            })?
        };
        self.0.wake_router();
        let query = Query {
            except: Some(id),
            matches: true,
            age: config.routing.policy.age,
            ..Query::new(text.as_bytes(), Audience::Operator)
        };
        let matches = self.store().read(|conn| {
            let texts = StoredTexts::new(conn);
            let found = self.0.pool().search(&query, config.routing.policy.matches, &texts);
            texts.answered()?;
            found
                .iter()
                .filter(|it| it.seq != seq)
                .filter_map(|it| {
                    let numbers = (it.gain_bits, it.one_sided_bits, it.distance_raw);
                    view::matched(conn, &self.0.pool(), text.as_bytes(), it.seq, numbers).transpose()
                })
                .collect::<Result<Vec<_>, _>>()
        })?;
        if self.0.started.is_none() {
            self.route_pending()?;
        }
        Ok(Posted { id: id.to_string(), time: time.to_string(), from: origin.to_string(), matches })
    }

    fn search(&self, text: &str, limit: usize, shared: bool) -> Outcome<Found> {
        let (matches, candidates, micros) = self.store().read(|conn| {
            let start = Instant::now();
            let texts = StoredTexts::new(conn);
            let (found, candidates) = {
                let pool = self.0.pool();
                (pool.nearest(text.as_bytes(), Audience::Operator, limit.min(ROWS), &texts), pool.len())
            };
            let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            texts.answered()?;
            let matches: Vec<_> = found
                .iter()
                .filter_map(|it| {
                    let numbers = (it.gain_bits, it.one_sided_bits, it.distance_raw);
                    let tell = if shared { view::with_shared } else { view::matched };
                    tell(conn, &self.0.pool(), text.as_bytes(), it.seq, numbers).transpose()
                })
                .collect::<Result<_, _>>()?;
            Ok((matches, candidates, micros))
        })?;
        Ok(Found { query_bytes: text.len(), candidates, micros, matches })
    }

    fn queue(&self, action: QueueAction) -> Response {
        let now = clock::now();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        match action {
            QueueAction::List { all } => {
                let rows = self.store().read(|conn| {
                    Ok(queue::list(conn, all, ROWS)?.iter().map(view::delivery).collect::<Vec<_>>())
                })?;
                json(&rows)
            }
            QueueAction::Show { delivery } => {
                let shown = self.store().read(|conn| {
                    let Some(found) = queue::get(conn, delivery)? else { return Ok(None) };
                    let tried = trace::attempts(conn, delivery)?;
                    Ok(Some(super::api::DeliveryView { tried, ..view::delivery(&found) }))
                })?;
                let shown =
                    shown.ok_or_else(|| fail(UNAVAILABLE, format!("there is no delivery {delivery}")))?;
                json(&shown)
            }
            QueueAction::Retry { delivery } => {
                let changed = self.store().write(move |tx| queue::retry_now(tx, delivery, now))?;
                self.0.queued.notify_one();
                if let Some(delivery) = delivery {
                    waits(changed > 0, delivery)?;
                }
                done(count(changed), format!("deliveries that are tried now: {changed}"))
            }
            QueueAction::Hold { delivery } => {
                let changed = self.store().write(move |tx| queue::hold(tx, delivery))?;
                waits(changed, delivery)?;
                done(1, format!("delivery {delivery} is held back"))
            }
            QueueAction::Release { delivery } => {
                let changed = self.store().write(move |tx| queue::release(tx, delivery, now))?;
                self.0.queued.notify_one();
                if let Some(delivery) = delivery {
                    waits(changed > 0, delivery)?;
                }
                done(count(changed), format!("deliveries that are released: {changed}"))
            }
            QueueAction::Drop { delivery } => {
                let changed = self.store().write(move |tx| queue::drop_delivery(tx, delivery, now))?;
                waits(changed, delivery)?;
                done(1, format!("delivery {delivery} is given up"))
            }
        }
    }

    fn remove(&self, id: &str) -> Response {
        let id = message_id(id)?;
        let erasing = self.0.snapshot.erasing();
        self.0.unlearn(&What::Message(id))?;
        let erased = self.store().remove(What::Message(id), clock::now())?;
        let n = erased.removal.seqs.len();
        self.forget(&erased.removal.seqs);
        erasing.done();
        let done_text = if n == 0 && erased.removal.asides == 0 {
            format!("{id} was not here; it is refused from now on")
        } else {
            format!("{id} is erased here, and refused from now on{}", left(&erased))
        };
        done(u64::try_from(n).unwrap_or(u64::MAX), done_text)
    }

    fn remove_author(&self, author: &str) -> Response {
        let author = address(author)?;
        let erasing = self.0.snapshot.erasing();
        self.0.unlearn(&What::Author(author.clone()))?;
        let erased = self.store().remove(What::Author(author.clone()), clock::now())?;
        let n = erased.removal.seqs.len();
        self.forget(&erased.removal.seqs);
        self.0.pool_mut().erase_author(&author);
        erasing.done();
        let what = match (n, erased.removal.asides) {
            (0, 0) => format!("nothing of {author} is here: nothing was erased"),
            _ => format!("{n} messages of {author} are erased here{}", left(&erased)),
        };
        let text = format!("{what}; to refuse new ones: cmr-mail block {author}");
        done(u64::try_from(n).unwrap_or(u64::MAX), text)
    }

    fn forget(&self, seqs: &[i64]) {
        let mut pool = self.0.pool_mut();
        for seq in seqs {
            pool.remove(*seq);
        }
        drop(pool);
        // What is left of their words, a little at a time: others want the pool as well.
        while self.0.pool_mut().sweep() {}
    }

    fn block(&self, value: &str, undo: bool) -> Response {
        let Some(block) = Block::parse(value) else {
            return Err(fail(USAGE, format!("{value:?} is neither an address nor a host")));
        };
        let is_own = |address: &Address| self.0.is_own(&self.config(), address);
        let by_address = matches!(&block, Block::Address(address) if is_own(address));
        let host = Address::new(format!("mailto:postmaster@{}", self.config().gateway.hostname));
        let by_host = matches!(&block, Block::Host(_)) && host.is_ok_and(|host| block.covers(&host));
        if !undo && (by_address || by_host || self.0.own.iter().any(|own| block.covers(own))) {
            return Err(fail(USAGE, format!("{block} is this gateway itself")));
        }
        let kind = match &block {
            Block::Address(_) => BlockKind::Author,
            Block::Host(_) => BlockKind::Host,
        };
        let bytes = block.to_string().into_bytes();
        let now = clock::now();
        let changed = self.store().promise(move |tx| {
            if undo {
                blocks::remove(tx, kind, &bytes)
            } else {
                blocks::add(tx, kind, &bytes, "by the operator", now)
            }
        })?;
        self.read_blocks_again()?;
        let state = match (undo, changed) {
            (false, true) => "is refused from now on",
            (false, false) => "was refused already",
            (true, true) => "is no longer refused",
            (true, false) => "was not refused: nothing was changed",
        };
        done(u64::from(changed), format!("{block} {state}"))
    }

    pub(super) fn read_blocks_again(&self) -> Outcome<()> {
        let list = read_blocks(self.store())?;
        *write(&self.0.blocks) = Arc::new(list);
        Ok(())
    }

    pub(super) fn status(&self) -> Outcome<Status> {
        let now = clock::now();
        let stats = self.store().stats()?;
        let (peers, queue, states) = self
            .store()
            .read(|conn| Ok((peers::number(conn)?, queue::counts(conn)?, messages::counts(conn)?)))?;
        let counted = |what| self.store().read(|conn| counters::get(conn, what));
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            messages: stats.messages,
            bytes: stats.bytes,
            peers,
            queued: queue.queued(),
            oldest_queued_seconds: queue.oldest.map_or(0, |oldest| now.since(oldest).as_secs()),
            uptime_seconds: self.0.started.map_or(0, |started| started.elapsed().as_secs()),
            unrouted: states.unrouted,
            failed: states.failed,
            asides: stats.asides,
            silenced: counted(Counter::Silenced)?,
            came_back: counted(Counter::CameBack)?,
            unsent: counted(Counter::NoRoom)?,
            trouble: stats.trouble,
            free_bytes: rustix::fs::statvfs(&self.config().gateway.data_dir)
                .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
                .ok(),
            daemon: self.0.started.is_some(),
            mailboxes: self.mailboxes()?,
        })
    }

    /// A mail or message by another door than a socket: the same admission.
    fn take(&self, arrival: Arrival, transport: Option<String>) -> Response {
        let admitted = match runtime::Handle::try_current() {
            Ok(handle) => handle.block_on(self.admit_counted(arrival, transport)),
            Err(_) => runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| fail(TRY_LATER, format!("no runtime: {error}")))?
                .block_on(self.admit_counted(arrival, transport)),
        };
        let (verdict, ids) = admitted;
        if self.0.started.is_none() && verdict.reply.severity() == Severity::Success {
            self.route_pending()?;
        }
        json(&Delivered { code: verdict.reply.code(), text: verdict.reply.text(), ids })
    }

    /// A mail that its mail system accepted, and that is too large for us for ever: its beginning
    /// is kept aside, so that the operator can see whose it was. A refusal would make the mail
    /// system try for days, or send a bounce to a sender that may be forged.
    fn too_large(&self, beginning: Vec<u8>, bytes: u64) -> Response {
        let (now, keep) = (clock::now(), self.config().pool.keep_raw);
        let why = format!("larger than [smtp] max_message allows: {bytes} bytes");
        let kept = !may_hold_key(&beginning);
        if kept {
            let reason = format!("{why}; its first {} are here", beginning.len());
            self.store().write(move |tx| {
                let aside = NewAside {
                    reason: &reason,
                    place: "the mail",
                    raw: &beginning,
                    kept: None,
                    author: None,
                    id: None,
                    received: now,
                    via: Via::Pipe.as_str(),
                    forget_after: now.saturating_add(keep),
                    source: "deliver",
                };
                asides::put(tx, &aside, commit::ASIDES_MAX)
            })?;
        }
        let reply = Reply::too_big(&why);
        json(&Delivered { code: reply.code(), text: reply.text(), ids: Vec::new() })
    }
}

/// What was handed over on this machine, now.
fn by_hand(via: Via, raw: Vec<u8>) -> Arrival {
    Arrival::new(via, raw, clock::now())
}

pub(super) fn json<T: Serialize>(value: &T) -> Response {
    serde_json::to_value(value)
        .map_err(|error| fail(UNAVAILABLE, format!("the result can't be written: {error}")))
}

pub(super) fn done(changed: u64, done: String) -> Response {
    json(&Changed { changed, done })
}

pub(super) fn fail(exit: u8, sentence: impl Into<String>) -> Failure {
    Failure { exit, sentence: sentence.into() }
}

/// What the operator has to know after a removal whose words were looked for in the files.
fn left(erased: &Erased) -> &'static str {
    match (erased.still_found, erased.rewritten) {
        (false, _) => "",
        (true, true) => " (the same words stand in other messages)",
        (true, false) => {
            " (a trace may be left in the free space of the database, which is too large to be rewritten at once)"
        }
    }
}

/// A delivery that was named has to be there for something to be done with it.
fn waits(changed: bool, delivery: i64) -> Outcome<()> {
    if changed {
        return Ok(());
    }
    Err(fail(
        UNAVAILABLE,
        format!("no delivery {delivery} waits; cmr-mail queue list --all shows all that are known"),
    ))
}

fn unknown(id: MessageId) -> Failure {
    fail(UNAVAILABLE, format!("no message {id} is known here"))
}

fn message_id(text: &str) -> Outcome<MessageId> {
    text.parse().map_err(|_| fail(USAGE, format!("{text:?} is no id: an id is 16 hexadecimal digits")))
}

/// A CMR address; a plain mail address means `mailto:`.
pub(super) fn address(text: &str) -> Outcome<Address> {
    let text = text.trim();
    let whole =
        if text.contains('@') && !text.contains(':') { format!("mailto:{text}") } else { text.to_owned() };
    let address = Address::new(whole).map_err(|error| fail(USAGE, format!("{text:?}: {error}")))?;
    if address.scheme().is_none() {
        return Err(fail(
            USAGE,
            format!("{text:?} is no address: an address is like mailto:name@example.org"),
        ));
    }
    Ok(address)
}

fn decode(text: &str) -> Outcome<Vec<u8>> {
    STANDARD.decode(text).map_err(|error| fail(BAD_DATA, format!("not base64: {error}")))
}
