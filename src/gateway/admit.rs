//! The one door in: reads what came, judges it, and stores it in one transaction. Only after
//! the commit does anybody say 250.
//!
//! [`plan`] is a function of bytes, configuration and time: everything that can be said about an
//! arrival without the database. What needs the database is in `commit`, inside the transaction.
//! Neither knows how the mail came, beyond the facts in its [`Arrival`].

use std::net::IpAddr;

use crate::authenticate::Finding;
use crate::config::Config;
use crate::keys::exchange::Body;
use crate::mail::{self, Command, Header, Ignored, NoPost, Reading, Submission};
use crate::message::{
    self, Acceptance, Address, HashedBody, Limits, Message, MessageId, Recipient, Timestamp, UnixTime,
};
use crate::policy::{self, Authenticity, Block, Provenance, Refusal};
use crate::receive::{Arrival, Via};
use crate::store::messages::NewMessage;

use super::clock;
use super::keys_within::may_hold_key;
use super::refused::Refused;
use super::say::Hit;
use super::tags::{self, Tag, Ticket};

/// Why a mail that was found in a mailbox gets no answer.
const TOO_OLD: &str = "it came too long ago to be answered";

/// One CMR message that is good by itself.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) place: String,
    /// With its hashes, which are computed here: the thread that writes is shared by all.
    pub(super) new: NewMessage,
    /// Other readings of the same part; the signature may choose among them.
    pub(super) alternatives: Vec<Message>,
    pub(super) held_until: Option<UnixTime>,
}

/// A person's post that is good by itself.
#[derive(Debug)]
pub(super) struct PostPlan {
    pub(super) author: String,
    pub(super) display_name: Option<String>,
    /// With its hash, which is computed here: the thread that writes is shared by all.
    pub(super) body: HashedBody,
    pub(super) language: Option<String>,
    /// The time of the message.
    pub(super) time: Timestamp,
    /// It is made of the mail's own date.
    pub(super) dated: bool,
    pub(super) ignored: Vec<Ignored>,
    /// Whether an answer may go to the author, else why not.
    pub(super) answerable: Result<(), String>,
}

/// What a person wants of the robot, by a mail that is good by itself.
#[derive(Debug)]
pub(super) struct Errand {
    /// To whom the answer goes, and nowhere else.
    pub(super) author: String,
    pub(super) display_name: Option<String>,
    pub(super) what: Wanted,
}

/// What is wanted.
#[derive(Debug)]
pub(super) enum Wanted {
    Help,
    Status,
    /// To know what is close to a text, which is not stored.
    Search {
        query: Vec<u8>,
        /// Filled in before the transaction, by the pool.
        hits: Vec<Hit>,
    },
    /// To post, but there is nothing to post; or to search, but for nothing.
    Nothing {
        why: String,
        ignored: Vec<Ignored>,
    },
}

/// What should have been a message, or a post, and is not taken.
#[derive(Debug, Clone)]
pub(super) struct NotTaken {
    /// Where it was in the mail.
    pub(super) place: String,
    pub(super) why: Refused,
    /// The bytes to keep aside; `None`: the whole mail.
    pub(super) bytes: Option<Vec<u8>>,
    /// The public id that it bears, if it could be read: what is removed goes from the asides, too.
    pub(super) id: Option<MessageId>,
}

/// What an arrival is, as far as it can be said without the database.
#[derive(Debug)]
pub(super) enum Content {
    /// It stood in a mailbox that is read here, and is for somebody else.
    NotOurs,
    /// Nothing is stored of it, for this reason; it is a success all the same.
    Absorbed(&'static str),
    /// A mail of our own came back: it is dropped and counted.
    Own,
    /// A person confirms, with this token, that posts may be published.
    Confirmation(String),
    /// A report, to the envelope sender with this token, and what it says for certain.
    Bounce(String, Option<mail::Bounce>),
    /// A probe, with this token, came back by this relay.
    Probe(Option<IpAddr>, String),
    /// A person wants no more mail; with the token, if there is one.
    Stop(Option<String>),
    /// A person uses a token for a message.
    Ticket(Ticket),
    /// A person asks the robot for something else than to post.
    Errand(Box<Errand>),
    /// For the humans behind the gateway (RFC 5321, section 4.5.1; RFC 2142).
    ForPostmaster,
    /// CMR messages, and what should have been some.
    Messages(Vec<Candidate>, Vec<NotTaken>),
    /// A person's text.
    Post(Box<PostPlan>),
}

/// An arrival that was read.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) arrival: Arrival,
    pub(super) now: UnixTime,
    pub(super) header: Header,
    /// The tags of our addresses that it came to.
    pub(super) tags: Vec<String>,
    pub(super) authenticity: Authenticity,
    /// The authenticity rests on signatures alone, which every copy of the mail has, too: all of these
    /// have to be new with the author.
    pub(super) once: Vec<String>,
    pub(super) content: Content,
    /// Where messages in it are from, as far as their scope is concerned.
    pub(super) provenance: Provenance,
    /// The account in whose folder it was found.
    pub(super) mailbox: Option<String>,
    /// The mail as it is must not be kept: in some encoding there may be a key in transit in it.
    pub(super) may_hold_key: bool,
}

impl Plan {
    /// Whether a refusal reaches the sender itself, in the dialogue. A relay has accepted the mail
    /// already, and of a pipe's exit code its mail system makes a bounce: both would go to
    /// somebody whose address may be forged.
    pub(super) fn is_in_dialogue(&self) -> bool {
        is_in_dialogue(&self.arrival)
    }

    /// What is to be looked for in the pool before the transaction, and by whom.
    pub(super) fn search(&mut self) -> Option<(&str, &[u8], &mut Vec<Hit>)> {
        let Content::Errand(errand) = &mut self.content else { return None };
        let Errand { author, what: Wanted::Search { query, hits }, .. } = errand.as_mut() else {
            return None;
        };
        Some((author, query, hits))
    }
}

fn is_in_dialogue(arrival: &Arrival) -> bool {
    !arrival.through_relay
        && arrival.kept.is_none()
        && !matches!(arrival.via, Via::Pipe | Via::Lmtp | Via::Imap)
}

/// Reads an arrival: what is in it, who wrote it, and whether each part is good by itself.
pub(super) fn plan(
    config: &Config,
    own: &[Address],
    blocks: &[Block],
    arrival: Arrival,
    finding: Finding,
    now: UnixTime,
) -> Plan {
    let limits = Limits { max_body: config.smtp.max_message, ..Limits::default() };
    let submission = if is_bare(arrival.via) {
        Submission { messages: vec![bare(&arrival.raw)], addressed: true, ..Submission::default() }
    } else {
        let reading = Reading {
            posting: &config.smtp.recipients,
            envelope_recipients: &arrival.recipients,
            hostname: &config.gateway.hostname,
            loop_marker: &config.gateway.hostname,
            limits,
            caps: mail::Caps::default(),
            forwarded: config.policy.read_forwarded,
        };
        mail::extract(&arrival.raw, &reading)
    };
    let (authenticity, once) = authenticity(config, &arrival, &submission.header, finding);
    let content = content(config, own, blocks, &arrival, &authenticity, &submission, now, &limits);
    // Only what could not be read needs the search: what was read is known to be a key or none.
    let may_hold_key = match &content {
        Content::Messages(candidates, not_taken) => {
            candidates.iter().any(|it| policy::is_key_exchange(&it.new.message().body))
                || not_taken.iter().any(|it| it.why.may_hold_key())
                || (not_taken.iter().any(|it| it.bytes.is_none()) && may_hold_key(&arrival.raw))
        }
        _ => false,
    };
    // Nobody chose to publish what was found in a mail to somebody else.
    let polled = Provenance::Polled { addressed: false, confirmed: false };
    let is_ours = submission.addressed || arrival.via != Via::Imap;
    let provenance = if is_ours { Provenance::Peer } else { polled };
    let Submission { header, tags, .. } = submission;
    let mailbox = None;
    Plan { now, header, tags, authenticity, once, content, provenance, mailbox, arrival, may_hold_key }
}

#[allow(clippy::too_many_arguments)] // One caller; the arguments are the facts it has gathered.
fn content(
    config: &Config,
    own: &[Address],
    blocks: &[Block],
    arrival: &Arrival,
    authenticity: &Authenticity,
    submission: &Submission,
    now: UnixTime,
    limits: &Limits,
) -> Content {
    let Submission { header, tags, addressed, messages, faults, post, no_post, ignored } = submission;
    let is_ours = |from: &mail::Mailbox| mail::is_ours(&config.smtp.recipients, &from.address);
    let polled = arrival.via == Via::Imap;
    if header.our_loop || header.from.as_ref().is_some_and(is_ours) {
        // In a mailbox our own mails are where they belong.
        return if polled { Content::NotOurs } else { Content::Own };
    }
    if let Some((relay, token)) = super::origin::probe_token(config, arrival, tags) {
        return Content::Probe(relay, token);
    }
    if let Some(token) = tags::behind(tags, super::people::CONFIRM_TAG) {
        if is_by_program(header, arrival) {
            return Content::Absorbed("only a person can confirm, and a program sent this");
        }
        return Content::Confirmation(token);
    }
    if let Some(token) = tags::behind(tags, super::people::BOUNCE_TAG) {
        return Content::Bounce(token, mail::read_bounce(&arrival.raw));
    }
    let refuse = |place: &str, why: Refused| {
        Content::Messages(Vec::new(), vec![NotTaken { place: place.to_owned(), why, bytes: None, id: None }])
    };
    let asked: Vec<Tag> = tags.iter().filter_map(|tag| tags::read(tag)).collect();
    for tag in &asked {
        match tag {
            Tag::Stop(token) => return Content::Stop(Some(token.clone())),
            Tag::Command(Command::Stop) => return Content::Stop(None),
            Tag::Act(_) if is_by_program(header, arrival) => {
                return Content::Absorbed("only a person can ask for this, and a program did");
            }
            Tag::Act(ticket) => return Content::Ticket(ticket.clone()),
            Tag::Unknown => {
                let all = tags.iter().map(|tag| format!("+{tag}")).collect::<Vec<_>>().join(" ");
                return refuse("the mail", Refused::UnknownCommand(all));
            }
            Tag::Command(_) => {}
        }
    }
    if let Some(client) = arrival.peer
        && let Some(block) = blocks.iter().find(|block| is_host(block, client))
    {
        return refuse("the mail", Refusal::Blocked { what: block.to_string() }.into());
    }
    let is_own = |address: &Address| {
        address.mail_address().is_some_and(|mailbox| mail::is_ours(&config.smtp.recipients, mailbox))
    };
    let recipient = Recipient { now, skew: config.policy.clock_skew, own, is_own: Some(&is_own) };
    let mut candidates = Vec::new();
    let mut not_taken: Vec<NotTaken> = faults
        .iter()
        .map(|fault| NotTaken {
            place: fault.place.clone(),
            why: Refused::Unreadable(fault.reason.clone()),
            bytes: None,
            id: None,
        })
        .collect();
    for found in messages {
        match candidate(&found.bytes, limits, &recipient, blocks) {
            Ok((message, held_until)) => candidates.push(Candidate {
                place: found.place.clone(),
                new: NewMessage::new(message, arrival.received, arrival.via.as_str()),
                alternatives: found
                    .alternatives
                    .iter()
                    .filter_map(|(_, bytes)| candidate(bytes, limits, &recipient, blocks).ok())
                    .map(|(message, _)| message)
                    .collect(),
                held_until,
            }),
            Err(why) => {
                let id = message::parse(&found.bytes, limits).ok().map(|message| message.id());
                let (place, bytes) = (found.place.clone(), Some(found.bytes.clone()));
                not_taken.push(NotTaken { place, why, bytes, id });
            }
        }
    }
    if polled && !addressed && candidates.is_empty() {
        return Content::NotOurs;
    }
    if !candidates.is_empty() || !not_taken.is_empty() {
        return Content::Messages(candidates, not_taken);
    }
    if !addressed && !arrival.recipients.is_empty() {
        // The receiver lets nothing else through without a posting address.
        return Content::ForPostmaster;
    }
    let by_tag = asked.iter().find_map(|tag| match tag {
        Tag::Command(command) => Some((*command, post.clone().unwrap_or_default())),
        _ => None,
    });
    let (post, command) = match by_tag.or_else(|| mail::command(header.subject.as_deref(), post.as_ref())) {
        Some((Command::Stop, _)) => return Content::Stop(None),
        Some((Command::Post, rest)) => (Some(rest).filter(|rest| !rest.body().is_empty()), None),
        Some((command, rest)) => (Some(rest), Some(command)),
        None => (post.clone(), None),
    };
    // A folder that is read for the first time may hold mails of many years.
    let stale = polled && now.since(arrival.received) > config.people.later_matches;
    let nothing = |why: String| Wanted::Nothing { why, ignored: ignored.clone() };
    let wanted = match (command, &post) {
        (Some(Command::Search), Some(post)) if policy::is_key_exchange(&post.body()) => {
            return refuse("the mail", Refused::KeyInPost);
        }
        (Some(Command::Search), Some(post)) if !post.body().is_empty() => {
            Some(Wanted::Search { query: post.body(), hits: Vec::new() })
        }
        (Some(Command::Search), _) => Some(nothing("there was nothing to look for".to_owned())),
        (Some(Command::Status), _) => Some(Wanted::Status),
        (Some(_), _) => Some(Wanted::Help),
        (None, _) => None,
    };
    if stale && (wanted.is_some() || post.is_none()) {
        return Content::Absorbed(TOO_OLD);
    }
    if let Some(wanted) = wanted {
        return match errand(config, blocks, arrival, authenticity, header, wanted) {
            Ok(errand) => errand,
            Err(why) => refuse("the mail", why),
        };
    }
    let Some(post) = post else {
        let why = no_post.unwrap_or(NoPost::Empty);
        if why == NoPost::Report {
            return Content::Absorbed("a report about another mail");
        }
        // Whoever speaks to us hears it at once; who sent it by a relay is told, if that is known.
        let told = errand(config, blocks, arrival, authenticity, header, nothing(why.to_string()));
        return match told {
            Ok(told) if !is_in_dialogue(arrival) => told,
            _ => refuse("the mail", Refused::NothingToPost(why)),
        };
    };
    if policy::is_key_exchange(&post.body()) {
        return refuse("the mail", Refused::KeyInPost);
    }
    let Some(from) = &header.from else {
        return refuse("the mail", no_author(header).into());
    };
    if let Err(why) = may_write(config, blocks, &from.address, authenticity) {
        return refuse("the mail", why.into());
    }
    let recent = if stale { Err(TOO_OLD) } else { autoreply(config, arrival, header) };
    let answerable = recent.map_err(str::to_owned).and_then(|()| {
        policy::may_be_answered(&from.address, &from.address, authenticity).map_err(|no| no.to_string())
    });
    let body = post.body();
    let (received, skew) = (arrival.received, config.policy.clock_skew);
    Content::Post(Box::new(PostPlan {
        author: from.address.clone(),
        display_name: from.name.clone(),
        time: clock::post_stamp(header.date, received, skew, header.message_id.as_deref(), &body),
        dated: clock::sane(header.date, received, skew).is_some(),
        body: HashedBody::new(body),
        language: post.language,
        ignored: ignored.clone(),
        answerable,
    }))
}

/// Whether this author may post, and so may ask for anything here.
fn may_write(
    config: &Config,
    blocks: &[Block],
    author: &str,
    authenticity: &Authenticity,
) -> Result<(), Refusal> {
    policy::may_post(config.policy.who_may_post, &config.policy.listed, author, authenticity)?;
    match Address::new(format!("mailto:{author}")) {
        Ok(address) => Block::check(blocks, &address),
        Err(_) => Err(Refusal::NotOneMailbox { author: author.to_owned() }),
    }
}

/// Why nobody can be told from this header to have written the mail.
fn no_author(header: &Header) -> Refusal {
    let author = match header.from_count {
        0 => "an empty From",
        1 => "what stands in From",
        _ => "a From of several",
    };
    Refusal::NotOneMailbox { author: author.to_owned() }
}

/// Whether a robot may answer this mail.
fn autoreply(config: &Config, arrival: &Arrival, header: &Header) -> Result<(), &'static str> {
    let sender = arrival.sender.as_deref().unwrap_or_default();
    // By a pipe the envelope may be unknown; the mail's own Return-Path counts then.
    let envelope = (arrival.sender.is_some() || arrival.via.knows_the_sender()).then_some(sender);
    mail::may_autoreply(header, envelope, &config.smtp.recipients)
}

/// What a person wants of the robot. All there is to it is an answer, so it is for those alone who
/// may be answered.
fn errand(
    config: &Config,
    blocks: &[Block],
    arrival: &Arrival,
    authenticity: &Authenticity,
    header: &Header,
    what: Wanted,
) -> Result<Content, Refused> {
    if let Err(why) = autoreply(config, arrival, header) {
        return Ok(Content::Absorbed(why));
    }
    let Some(from) = &header.from else { return Err(no_author(header).into()) };
    may_write(config, blocks, &from.address, authenticity)?;
    policy::may_be_answered(&from.address, &from.address, authenticity)?;
    let (author, display_name) = (from.address.clone(), from.name.clone());
    Ok(Content::Errand(Box::new(Errand { author, display_name, what })))
}

/// Whether a mail shows that no person has sent it: reports, and what programs answer by
/// themselves (RFC 3834, section 2).
fn is_by_program(header: &Header, arrival: &Arrival) -> bool {
    let null_sender = match &arrival.sender {
        Some(sender) => sender.is_empty(),
        None => arrival.via.knows_the_sender() || header.return_path.as_deref() == Some(""),
    };
    let automatic = header.auto_submitted.as_deref().is_some_and(|value| value != "no");
    null_sender || automatic || header.is_dsn || header.is_mdn
}

/// Whether a transport brings CMR messages as they are, without a mail around them.
fn is_bare(via: Via) -> bool {
    matches!(via, Via::Bare | Via::Http | Via::Udp)
}

fn bare(raw: &[u8]) -> mail::Found {
    mail::Found {
        bytes: raw.to_vec(),
        place: "the message".to_owned(),
        encoding: "binary".to_owned(),
        read_as: mail::ReadAs::AS_SENT,
        alternatives: Vec::new(),
    }
}

fn candidate(
    bytes: &[u8],
    limits: &Limits,
    recipient: &Recipient<'_>,
    blocks: &[Block],
) -> Result<(Message, Option<UnixTime>), Refused> {
    let message = message::parse(bytes, limits)?;
    if policy::is_key_exchange(&message.body) {
        Body::parse(&message.body)?;
    }
    let held_until = match message.accept(recipient)? {
        Acceptance::Now => None,
        Acceptance::HeldUntil(time) => Some(time),
    };
    Block::check(blocks, &message.sender().address)?;
    Block::check(blocks, &message.origin().address)?;
    Ok((message, held_until))
}

pub(super) fn is_host(block: &Block, client: IpAddr) -> bool {
    matches!(block, Block::Host(host) if host.parse() == Ok(client))
}

/// What shows who wrote it, and what has to be new if that is a signature alone. Only the ORIGINAL
/// client counts, never the relay that handed the mail over: behind a mail server everything comes
/// from loopback.
fn authenticity(
    config: &Config,
    arrival: &Arrival,
    header: &Header,
    finding: Finding,
) -> (Authenticity, Vec<String>) {
    if let Some(client) = arrival.peer
        && policy::is_trusted(Some(client), &config.smtp.trusted_networks)
    {
        return (Authenticity::TrustedNetwork { client }, Vec::new());
    }
    // What was found out is about one address: that of the author as it is read here.
    match &header.from {
        Some(from) if from.address.eq_ignore_ascii_case(&finding.author) => {
            (finding.evidence.authenticity, finding.evidence.once)
        }
        _ => (Authenticity::Unknown, Vec::new()),
    }
}
