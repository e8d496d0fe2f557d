//! The requests of the control socket and their results, the documented JSON of `--json`.
//!
//! This file knows values only. It must never know sockets, the store or how a result is shown.

mod handed;
mod mailboxes;
mod matched;
mod probe;
mod status;
mod traced;

use serde::{Deserialize, Serialize};

pub use handed::{Delivered, Filtered};
pub use mailboxes::{MailboxView, PolledView};
pub use matched::{MatchView, SharedView, SharedWordView};
pub use probe::RelayProbe;
pub use status::Status;
pub use traced::{AttemptView, TraceEvent, Traced};

use crate::policy::reputation::Cause;

/// One question of a verb to the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Request {
    /// Add a message on behalf of `from`, an address such as `mailto:x@y` (default: the operator).
    Post {
        /// The body, as it will stand in the message.
        text: String,
        /// The author; `None` is the gateway's operator.
        from: Option<String>,
    },
    /// Look for similar messages without posting.
    Search {
        /// What to look for.
        text: String,
        /// How many results at most.
        limit: usize,
        /// Whether to tell what each of them shares with the text.
        #[serde(default)]
        shared: bool,
    },
    /// One message (all versions of a conflict).
    Show {
        /// The public id, 16 hexadecimal digits.
        id: String,
    },
    /// The exact bytes of a message, as base64 in [`RawMessage`].
    ShowRaw {
        /// The public id.
        id: String,
    },
    /// What is kept aside and why; with `id` one of them with its bytes.
    Asides {
        /// The number of one aside.
        id: Option<i64>,
    },
    /// Why a message went where it went.
    Explain {
        /// The public id.
        id: String,
    },
    /// Everything that happened to a message.
    Trace {
        /// The public id.
        id: String,
    },
    /// The peers, or a change to one of them.
    Peers {
        /// What to do.
        action: PeerAction,
    },
    /// The keys, or a change to one of them.
    Keys {
        /// What to do.
        action: KeyAction,
    },
    /// The outbound queue, or a change to one delivery.
    Queue {
        /// What to do.
        action: QueueAction,
    },
    /// Erase a message here for good.
    Remove {
        /// The public id.
        id: String,
    },
    /// Erase everything of an author here for good.
    RemoveAuthor {
        /// The author's address (`mailto:…`, or a plain mail address).
        author: String,
    },
    /// Refuse an author, peer or host from now on.
    Block {
        /// An address, a mail address, a host name or an IP address.
        value: String,
        /// Undo the block instead.
        undo: bool,
    },
    /// Look into every mailbox now. Carried out by whoever reads them.
    Poll,
    /// Figures of the whole gateway.
    Status,
    /// Mails out of an archive; the answer says what became of each.
    Import(Box<super::import::BatchView>),
    /// Does the relay remove forged Authentication-Results? A new probe, or how one is doing.
    ProbeRelay {
        /// The token of a probe that was sent.
        token: Option<String>,
    },
    /// A mail from `deliver`: the same door as SMTP. Allowed on the intake socket.
    Deliver {
        /// Envelope sender; `None` when unknown or null.
        sender: Option<String>,
        /// Envelope recipient; `None`: whatever posting address is ours.
        recipient: Option<String>,
        /// The mail, base64.
        mail: String,
        /// Its size in bytes if it is larger than `max_message` allows: `mail` is its beginning.
        #[serde(default)]
        cut_from: Option<u64>,
    },
    /// A mail from `filter`, which hands it on itself by what it is told. Allowed on the intake
    /// socket.
    Filter {
        /// Envelope sender; `None` is the null sender.
        sender: Option<String>,
        /// All envelope recipients.
        recipients: Vec<String>,
        /// The mail, base64; `None`: it is too long to be looked into.
        mail: Option<String>,
    },
    /// A bare CMR message from `receive`. Allowed on the intake socket.
    Receive {
        /// Name of the transport that it came by, for the record (for example `ssh`).
        transport: String,
        /// The message, base64.
        message: String,
        /// The CMR address that the caller's account is bound to: what it brings is known to come from
        /// there. Not allowed on the intake socket, where every user of the machine could say so.
        #[serde(default)]
        bound: Option<String>,
    },
}

/// What to do with the peers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum PeerAction {
    /// All of them.
    List,
    /// One of them.
    Show {
        /// Its CMR address.
        address: String,
    },
    /// List it: we may send to it, and it is never replaced by a learned contact.
    Pin {
        /// Its CMR address.
        address: String,
    },
    /// What moved its reputation.
    History {
        /// Its CMR address.
        address: String,
    },
    /// Whose mail came back, people included.
    Bounced,
    /// Write to an address again whose mail came back.
    Unsuppress {
        /// The address.
        address: String,
    },
    /// Forget it, and what is thought of it.
    Forget {
        /// Its CMR address.
        address: String,
    },
    /// Undo `Pin`.
    Unpin {
        /// Its CMR address.
        address: String,
    },
    /// Refuse what it sends and send nothing to it.
    Block {
        /// Its CMR address.
        address: String,
    },
    /// Undo `Block`.
    Unblock {
        /// Its CMR address.
        address: String,
    },
}

/// What to do with the keys.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum KeyAction {
    /// Fingerprints, never secrets.
    Show,
    /// Use this secret with a peer.
    Set {
        /// The peer's CMR address.
        address: String,
        /// The secret in hexadecimal.
        hex: String,
        /// `hmac` or `sha256`: pinned; `None`: learned from what the peer sends.
        scheme: Option<String>,
    },
    /// Forget the key shared with a peer.
    Forget {
        /// The peer's CMR address.
        address: String,
    },
    /// Ask a peer for a key, by messages (A5).
    Exchange {
        /// The peer's CMR address.
        address: String,
        /// `rsa` or `dh`.
        method: String,
        /// `hkdf` or `raw`.
        derivation: String,
    },
    /// Let a peer with whom a key is shared ask for a new one, once.
    Allow {
        /// The peer's CMR address.
        address: String,
        /// `hkdf` or `raw`.
        derivation: String,
    },
    /// The digits that both operators compare.
    Verify {
        /// The peer's CMR address.
        address: String,
    },
}

impl std::fmt::Debug for KeyAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyAction::Show => f.write_str("Show"),
            KeyAction::Set { address, .. } => write!(f, "Set({address}, ..)"),
            KeyAction::Forget { address } => write!(f, "Forget({address})"),
            KeyAction::Exchange { address, .. } => write!(f, "Exchange({address})"),
            KeyAction::Allow { address, .. } => write!(f, "Allow({address})"),
            KeyAction::Verify { address } => write!(f, "Verify({address})"),
        }
    }
}

/// What to do with the queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum QueueAction {
    /// Everything that has not left yet; with `all` what has left or failed, too.
    List {
        /// Finished ones as well.
        all: bool,
    },
    /// One delivery, with the attempts at it.
    Show {
        /// Its number.
        delivery: i64,
    },
    /// Try now. `None`: all that wait.
    Retry {
        /// Number of the delivery.
        delivery: Option<i64>,
    },
    /// Do not try until released.
    Hold {
        /// Number of the delivery.
        delivery: i64,
    },
    /// Undo `Hold`. `None`: all that are held.
    Release {
        /// Number of the delivery.
        delivery: Option<i64>,
    },
    /// Give up.
    Drop {
        /// Number of the delivery.
        delivery: i64,
    },
}

/// Why a request got no result: the sentence for a person and the exit code (sysexits).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// 64 usage, 65 bad data, 69 unavailable, 73 can't create, 75 try again later, 78 configuration.
    pub exit: u8,
    /// What is wrong and what to do.
    pub sentence: String,
}

/// The result of a request. `Ok` holds the JSON of the matching struct below.
pub type Response = Result<serde_json::Value, Failure>;

/// Result of [`Request::Post`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Posted {
    /// Public id of the new message.
    pub id: String,
    /// Its timestamp.
    pub time: String,
    /// Its origin address.
    pub from: String,
    /// What the pool holds that is closest, best first.
    pub matches: Vec<MatchView>,
}

/// Result of [`Request::Search`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// Length of the query in bytes.
    pub query_bytes: usize,
    /// How many messages were compared.
    pub candidates: usize,
    /// Time of the search in microseconds.
    pub micros: u64,
    /// Best first.
    pub matches: Vec<MatchView>,
}

/// One header line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HopView {
    /// Timestamp as it stands in the header.
    pub time: String,
    /// Address as it stands in the header.
    pub address: String,
}

/// One message of [`Request::Show`], which gives a list: one element, or several in conflict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// Public id.
    pub id: String,
    /// `public` or `local`.
    pub scope: String,
    /// Ids are unique; this says how many other bodies came under this one.
    pub conflicts: usize,
    /// Newest first, as in the header.
    pub hops: Vec<HopView>,
    /// The body if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body_utf8: Option<String>,
    /// The body if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body_base64: Option<String>,
    /// Length of the body in bytes.
    pub bytes: usize,
    /// When it was received, RFC 3339.
    pub received: String,
    /// How it came: `smtp`, `pipe` (`deliver`), `post`, or the name that `receive` was given.
    pub via: String,
    /// `held`, `unrouted`, `routed` or `failed`.
    pub state: String,
    /// Who wrote it, as its mail said, or its origin's address: for the operator's eyes.
    #[serde(default)]
    pub author: String,
    /// What is known about who wrote or brought it, as a sentence.
    pub authenticity: String,
}

/// Result of [`Request::ShowRaw`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RawMessage {
    /// The exact bytes of the CMR message, base64.
    pub message: String,
}

/// One element of [`Request::Asides`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AsideView {
    /// Its number.
    pub id: i64,
    /// When it came, RFC 3339.
    pub received: String,
    /// How it came.
    pub via: String,
    /// Which part of the mail it is.
    pub place: String,
    /// Why it was kept aside.
    pub reason: String,
    /// Length in bytes.
    pub bytes: usize,
    /// Where the mail lies, if it was left there and not copied.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kept: Option<String>,
    /// The bytes, base64, when one was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub raw: Option<String>,
}

/// One peer that was considered for a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExplainedPeer {
    /// CMR address.
    pub address: String,
    /// The metric's value in bits; `null` when it was not computed.
    pub bits: Option<f64>,
    /// 1 is the best.
    pub rank: usize,
    /// Whether the message goes there.
    pub chosen: bool,
    /// Why, or why not.
    pub why: String,
}

/// One thing that was sent, or waits, because of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExplainedForward {
    /// Where to.
    pub to: String,
    /// `mailto`.
    pub transport: String,
    /// `ready`, `leased`, `sent`, `failed` or `held`; `gone` if it was never queued (no room) or is
    /// over and forgotten.
    pub state: String,
    /// Why.
    pub why: String,
}

/// Result of [`Request::Explain`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explained {
    /// Public id.
    pub id: String,
    /// What is known about who wrote or brought it, as a sentence.
    #[serde(default)]
    pub authenticity: String,
    /// The decision in a sentence.
    pub verdict: String,
    /// Its reasons in order, with numbers.
    pub reasons: Vec<String>,
    /// Every peer considered.
    pub peers: Vec<ExplainedPeer>,
    /// The matches found.
    pub matches: Vec<MatchView>,
    /// What was put into the queue.
    pub forwards: Vec<ExplainedForward>,
    /// C(X) by the coder itself, in bits, by what is known about words now. What gains are measured
    /// against (`gain_bits` and `one_sided_bits` of a match) is summed up faster and less exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_bits: Option<f64>,
}

/// One element of [`Request::Peers`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerView {
    /// CMR address.
    pub address: String,
    /// Messages received from it.
    pub messages: u64,
    /// Their bodies, in bytes.
    pub bytes: u64,
    /// From −1 to 1; 0 is unknown.
    pub reputation: f64,
    /// `none`, `pending`, `hmac` or `sha256`.
    pub key: String,
    /// RFC 3339, or empty.
    pub last_seen: String,
    /// Whether it is blocked.
    pub blocked: bool,
    /// Whether the operator pinned it.
    pub pinned: bool,
    /// Mails in a row that came back because nobody is there.
    #[serde(default)]
    pub bounces: u32,
    /// Since when nothing goes there because of that, RFC 3339, or empty.
    #[serde(default)]
    pub suppressed: String,
}

/// One element of [`PeerAction::History`]: what happened again and again within a day is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReputationView {
    /// The last time, RFC 3339.
    pub time: String,
    /// `gain`, `duplicate`, `junk`, `good` or `bad`.
    pub cause: Cause,
    /// How often.
    pub number: u64,
    /// How much the reputation moved.
    pub change: f64,
    /// What it was afterwards.
    pub reputation: f64,
}

/// One element of [`PeerAction::Bounced`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BounceView {
    /// Where our mail went.
    pub address: String,
    /// Mails in a row that came back because nobody is there.
    pub bounces: u32,
    /// The last of them, RFC 3339.
    pub last: String,
    /// What it said, such as `5.1.1`.
    pub status: String,
    /// Since when nothing goes there, RFC 3339, or empty.
    pub suppressed: String,
}

/// One element of [`KeyAction::Show`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyView {
    /// The peer's CMR address.
    pub address: String,
    /// `current`, `pending` or `previous`; of an exchange that has made no key yet `wanted`, `sent`,
    /// `heard` or `allowed`.
    pub state: String,
    /// `hmac` or `sha256`; empty if there is no key yet.
    pub scheme: String,
    /// Whether the operator pinned the scheme.
    pub scheme_pinned: bool,
    /// `manual`, `rsa`, `dh` or `clear`.
    pub origin: String,
    /// To compare with the other operator; says nothing about the key. Empty if there is none yet.
    pub fingerprint: String,
    /// RFC 3339.
    pub created: String,
}

/// One element of [`KeyAction::Verify`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyPhrase {
    /// The peer's CMR address.
    pub address: String,
    /// `current`, `pending` or `previous`.
    pub state: String,
    /// Twenty digits in groups of five, the same on both sides.
    pub phrase: String,
}

/// One element of [`QueueAction::List`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Number of the delivery, for `retry`, `hold` and `drop`.
    pub delivery: i64,
    /// Public id of the message it is about, or empty.
    pub id: String,
    /// Where to.
    pub to: String,
    /// `mailto`.
    pub transport: String,
    /// `forward`, `answer`, `later-match` or `notice`.
    pub kind: String,
    /// `ready`, `leased`, `sent`, `failed` or `held`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// RFC 3339, or empty.
    pub next_try: String,
    /// Why the last attempt failed, or empty.
    pub last_error: String,
    /// The attempts at it, the first and the last ones; told of one delivery only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<AttemptView>,
}

/// Result of a change (`pin`, `set`, `drop`, `remove`, `block` …).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Changed {
    /// How many things were changed.
    pub changed: u64,
    /// What was done, as a sentence.
    pub done: String,
}
