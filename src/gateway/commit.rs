//! What happens to an arrival inside the transaction: everything that depends on what is stored
//! already, and every write.
//!
//! It knows the store and the plan. It must never know transports or replies: it gives an
//! [`Outcome`].

use rusqlite::Connection;

use super::admit::{Candidate, Content, NotTaken, Plan, PostPlan};
use super::brake::{Brake, Known};
use super::refused::Refused;
use super::signed::Signed;
use super::{aliases, bounce, budget, clock, commands, exchange, notice, origin, people as names, ways};
use crate::config::Config;
use crate::keys::exchange::Body;
use crate::keys::{self, SignatureError};
use crate::mail::Header;
use crate::message::{Address, Hop, Message, MessageId, UnixTime};
use crate::policy::reputation::Cause;
use crate::policy::{self, Authenticity, Origin, Provenance, Refusal};
use crate::store::asides::{self, NewAside, NewRaw};
use crate::store::counters::{self, Counter};
use crate::store::exchanges;
use crate::store::keys::{self as stored_keys, KeyState};
use crate::store::limits::{self, Counted};
use crate::store::messages::{self, Admitted, Kind, NewMessage};
use crate::store::people::{self, NewPerson, NewThread, Person};
use crate::store::{StoreError, bounces, peers, reputation};

/// What is kept aside, at most, in bytes; the oldest go first.
pub(super) const ASIDES_MAX: u64 = 256 << 20;

/// Raw mails that are kept, at most, in bytes; the oldest go first.
const RAW_MAX: u64 = 1 << 30;

/// A part of a mail that was not taken.
#[derive(Debug)]
pub(super) struct Part {
    /// Where it was in the mail.
    pub(super) place: String,
    pub(super) why: Refused,
    /// It is kept aside for the operator.
    pub(super) kept: bool,
}

impl Part {
    /// The whole mail, of which nothing is kept.
    pub(super) fn mail(why: Refused) -> Self {
        Part { place: "the mail".to_owned(), why, kept: false }
    }
}

/// What became of an arrival, for the reply and the log.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Stored now.
    pub(super) taken: Vec<MessageId>,
    /// Known before, with the same bytes.
    pub(super) known: Vec<MessageId>,
    /// What was not taken.
    pub(super) refused: Vec<Part>,
    /// Another sentence for the reply.
    pub(super) note: Option<String>,
    /// It was found in a mailbox and is not for us: it is to be left as it is.
    pub(super) left: bool,
    /// Something waits for the router.
    pub(super) wakes_router: bool,
    /// Something was put into the queue.
    pub(super) wakes_sender: bool,
    /// A key exchange is to be worked on.
    pub(super) wakes_exchange: bool,
    /// Something was promised that a restore must not undo.
    pub(super) promises: bool,
}

impl Plan {
    /// The transaction. What depends on what is stored is decided here, by the one thread that
    /// writes, so that of two copies of a mail only one can be new.
    ///
    /// Crash argument: messages, thread, raw mail and counts are within one savepoint of one
    /// transaction. Before its commit the sender has had no 250 and sends again; the ids in the
    /// header, and a post's id out of its Message-ID, make the repetition a duplicate.
    ///
    /// # Errors
    /// Those of any write.
    pub(super) fn commit(
        &self,
        config: &Config,
        transport: Option<&str>,
        tx: &Connection,
    ) -> Result<Outcome, StoreError> {
        let mut outcome = Outcome::default();
        let in_dialogue = self.is_in_dialogue();
        let Plan { arrival, header, tags, authenticity, once, content, mailbox, .. } = self;
        let (now, provenance, may_hold_key) = (self.now, self.provenance, self.may_hold_key);
        let via = transport.unwrap_or(arrival.via.as_str());
        let forget_after = now.saturating_add(config.pool.keep_raw);
        let whole = &arrival.raw;
        let source = origin::source(arrival, via);
        let signed = Signed::new(tx, header, once)?;
        let replayed = signed.as_ref().is_some_and(|it| it.seen);
        let mut seqs = Vec::new();
        let mut not_taken = Vec::new();
        let mut authorised = false;
        let known = header.from.as_ref().filter(|_| authenticity.is_authenticated() && !replayed);
        let known = known.map(|from| from.address.as_str());
        let asking = commands::Asking { config, header, known, raw: whole, now };
        let addressees = aliases::behind(tx, tags)?;
        let brings = match &content {
            Content::Messages(candidates, _) => candidates.len(),
            Content::Post(_) => 1,
            _ => 0,
        };
        // A mailbox is read at our own pace, and what waits there is nobody's burden.
        let own_network = matches!(authenticity, Authenticity::TrustedNetwork { .. });
        let brake = if brings == 0 || own_network || mailbox.is_some() {
            None
        } else {
            // Anybody can write a sender into a datagram: it uses up nothing of those who connect.
            let spoofable = if via == "udp" { "udp " } else { "" };
            let network = arrival.peer.map(|_| format!("{spoofable}{source}"));
            Some(Brake::new(tx, network, config.policy.unproven_at_most, brings, now)?)
        };
        let raw = NewRaw { raw: whole, received: arrival.received, via, forget_after };
        let came = Came {
            config,
            received: arrival.received,
            now,
            via,
            authenticity,
            author: header.from.as_ref().map(|from| from.address.as_str()),
            provenance,
            replayed,
            addressees: &addressees,
            proof: arrival.proof.as_ref(),
            secret: arrival.tls,
            ours: ways::own_at(config, arrival.via, transport),
            brake: brake.as_ref(),
            raw: (!may_hold_key && arrival.kept.is_none()).then_some(&raw),
        };
        match content {
            Content::NotOurs => outcome.left = true,
            Content::Absorbed(why) => outcome.note = Some(format!("{why}; nothing was stored")),
            Content::Own => {
                counters::note(tx, Counter::CameBack)?;
                outcome.note = Some("a mail of our own came back; nothing was stored".to_owned());
            }
            Content::Bounce(token, report) => {
                let what = bounce::reported(tx, config, (token, report.as_ref()), now)?;
                outcome.note = Some(format!("{what}; nothing was stored"));
            }
            Content::Probe(relay, token) => {
                let mailbox = origin::Back::Mailbox(mailbox.as_deref().unwrap_or_default());
                let back = relay.map_or(mailbox, origin::Back::Relay);
                let known = origin::probed(tx, config, (back, token), whole, now)?;
                let what = if known { "the probe came back" } else { "nobody waits for this probe" };
                outcome.note = Some(what.to_owned());
            }
            Content::Confirmation(token) => {
                asking.confirm(tx, token, &mut outcome)?;
            }
            Content::Stop(None) | Content::Errand(_) if replayed => {
                outcome.note = Some("this mail was here before; nothing was done".to_owned());
            }
            Content::Stop(token) => {
                let author = header.from.as_ref().filter(|_| authenticity.is_authenticated());
                asking.stop(tx, token.as_deref(), author.map(|from| from.address.as_str()), &mut outcome)?;
                authorised = outcome.refused.is_empty();
            }
            Content::Ticket(ticket) => {
                asking.ticket(tx, ticket, &mut outcome)?;
            }
            Content::Errand(errand) => {
                asking.errand(tx, errand, &mut outcome)?;
                authorised = true;
            }
            Content::ForPostmaster => {
                notice::for_postmaster(tx, config, (whole, via, &source), now, forget_after, &mut outcome)?;
            }
            Content::Messages(candidates, rest) => {
                not_taken.clone_from(rest);
                for candidate in candidates {
                    match admit_message(tx, config, candidate, &came, &mut outcome)? {
                        Ok(Some(seq)) => seqs.push(seq),
                        Ok(None) => {}
                        Err(refused) => not_taken.push(refused),
                    }
                }
            }
            Content::Post(post) => match admit_post(tx, config, post, header, &came, &mut outcome)? {
                Ok(()) => {}
                Err(why) => {
                    not_taken.push(NotTaken { place: "the mail".to_owned(), why, bytes: None, id: None })
                }
            },
        }
        if let Some(signed) = signed.as_ref().filter(|_| authorised || !outcome.taken.is_empty()) {
            signed.note(tx, now)?;
        }
        let author = header.from.as_ref().map(|from| people::canonical(&from.address));
        let author = author.and_then(|author| Address::new(format!("mailto:{author}")).ok());
        // A key in transit is never kept, and what was removed is not kept again, not even inside a
        // mail with something else.
        let keeps_whole = !may_hold_key && !not_taken.iter().any(|it| matches!(it.why, Refused::Removed(_)));
        if !keeps_whole || arrival.kept.is_some() {
            seqs.clear();
        }
        asides::keep_raw(tx, &seqs, &raw, RAW_MAX)?;
        let conflicts = not_taken.iter().any(|it| matches!(it.why, Refused::Conflict(_)));
        let keeps_something = !outcome.taken.is_empty() || !outcome.known.is_empty() || conflicts;
        // The sender keeps such a mail and brings it again: what is good in it is known then.
        let comes_again = not_taken.iter().any(|it| it.why.is_temporary());
        let not_ours = outcome.is_not_ours(provenance);
        for it in not_taken {
            // What is refused in the dialogue leaves no trace here. Beside something good, from a
            // relay, or in conflict with what is here, it is kept for the operator to look at.
            let keep = !not_ours
                && (it.bytes.is_some() || keeps_whole)
                && (keeps_something || !in_dialogue)
                && !comes_again
                && !it.why.may_hold_key()
                && !matches!(it.why, Refused::Removed(_));
            if keep {
                let reason = it.why.to_string();
                let aside = NewAside {
                    reason: &reason,
                    place: &it.place,
                    raw: it.bytes.as_deref().unwrap_or(whole),
                    kept: arrival.kept.as_deref().filter(|_| it.bytes.is_none()),
                    author: author.as_ref(),
                    id: it.id,
                    received: arrival.received,
                    via,
                    forget_after,
                    source: &source,
                };
                asides::put(tx, &aside, ASIDES_MAX)?;
            }
            outcome.refused.push(Part { place: it.place, why: it.why, kept: keep });
        }
        outcome.left |= not_ours && !outcome.is_put_off();
        Ok(outcome)
    }
}

/// The facts of an arrival that every message in it shares.
struct Came<'a> {
    config: &'a Config,
    received: UnixTime,
    now: UnixTime,
    via: &'a str,
    authenticity: &'a Authenticity,
    /// The mail address in From.
    author: Option<&'a str>,
    /// Where messages are from.
    provenance: Provenance,
    /// A signature alone shows who wrote it, and it was here before: it may be a copy that somebody
    /// else sends.
    replayed: bool,
    /// The persons whose aliases it came to.
    addressees: &'a [i64],
    /// The address that the transport itself has shown it to come from.
    proof: Option<&'a Address>,
    /// Nobody on the way could read it.
    secret: bool,
    /// The address of ours that it was sent to.
    ours: &'a Address,
    /// What holds back what too little is known of; none for our own networks and mailboxes.
    brake: Option<&'a Brake>,
    /// The mail, if it is to be kept beside a post.
    raw: Option<&'a NewRaw<'a>>,
}

impl Came<'_> {
    /// Why a message is not taken now.
    fn held_back(
        &self,
        tx: &Connection,
        known: Known,
        new: &NewMessage,
    ) -> Result<Option<Refusal>, StoreError> {
        let Some(brake) = self.brake else { return Ok(None) };
        let refusal = match (brake.refusal(known), known) {
            (Some(refusal), _) => Some(refusal.clone()),
            (None, _) if known == Known::Not || new.kind == Kind::Post => None,
            // What nobody proved uses up nothing of the neighbour that it names.
            (None, _) => budget::refusal(tx, self.config, &new.message().sender().address, self.now)?,
        };
        let Some(refusal) = refusal else { return Ok(None) };
        // Whoever never heard our 250 sends it again, and hears it now.
        Ok((!messages::is_known(tx, new)?).then_some(refusal))
    }

    /// It was taken.
    fn counts(&self, tx: &Connection, known: Known) -> Result<(), StoreError> {
        self.brake.map_or(Ok(()), |brake| brake.note(tx, known))
    }
}

/// A CMR message: verified, and stored unless it is known. `Ok(None)`: known.
fn admit_message(
    tx: &Connection,
    config: &Config,
    candidate: &Candidate,
    came: &Came<'_>,
    outcome: &mut Outcome,
) -> Result<Result<Option<i64>, NotTaken>, StoreError> {
    let Candidate { place, new, alternatives, held_until } = candidate;
    let (place, new) = (place.clone(), new.clone());
    let neighbour = new.message().sender().address.clone();
    let refuse = |place: String, why: Refused, message: &Message| {
        Ok(Err(NotTaken { place, why, bytes: Some(message.write()), id: Some(message.id()) }))
    };
    let keys = stored_keys::for_verifying(tx, &neighbour)?;
    // A key that an exchange made counts from the first message that verifies under it. Until then
    // what was valid stays valid.
    let keyed = keys.iter().any(|key| key.state != KeyState::Pending);
    let signed = new.message().signature.is_signed();
    // The operator lets a peer that lost its key ask for a new one, and such a peer can't sign.
    let may_be_unsigned = !keyed
        || (policy::is_key_exchange(&new.message().body)
            && exchanges::allowance(tx, &neighbour, came.now)?.is_some());
    let (mut new, under) = if keys.is_empty() || (!signed && may_be_unsigned) {
        if signed {
            return refuse(place, Refused::NoKey(neighbour), new.message());
        }
        // Another spelling of a neighbour with a key is no way to speak unsigned in its name.
        if stored_keys::is_spelled_otherwise(tx, &neighbour)? {
            return refuse(place, SignatureError::Missing.into(), new.message());
        }
        (new, None)
    } else {
        let mut first_error = None;
        let mut found = None;
        'readings: for reading in std::iter::once(None).chain(alternatives.iter().map(Some)) {
            for key in &keys {
                match keys::verify(&key.key, reading.unwrap_or(new.message()), key.scheme, key.scheme_pinned)
                {
                    Ok(scheme) => {
                        found = Some((reading.cloned(), key, scheme));
                        break 'readings;
                    }
                    Err(error) => first_error = first_error.or(Some(error)),
                }
            }
        }
        match found {
            Some((reading, key, scheme)) => {
                stored_keys::verified(tx, key.id, scheme, came.now)?;
                // `None`: the first reading, whose hashes are there already.
                (reading.map_or(new, |other| NewMessage::new(other, came.received, came.via)), Some(key))
            }
            None => return refuse(place, first_error.unwrap_or(SignatureError::Wrong).into(), new.message()),
        }
    };
    let verified = under.is_some();
    // The mail's author is the neighbour itself, and is known for sure.
    let by_neighbour = came.authenticity.is_authenticated()
        && !came.replayed
        && neighbour
            .mail_address()
            .is_some_and(|mailbox| came.author.is_some_and(|author| policy::same_mailbox(author, mailbox)));
    let by_channel = came.proof == Some(&neighbour);
    let proven = verified || by_neighbour || by_channel;
    if let Ok(body) = Body::parse(&new.message().body) {
        let heard = exchange::Heard {
            neighbour: &neighbour,
            ours: came.ours,
            by_secret_channel: came.secret && by_channel,
            bytes: &new.message().body,
            keyed,
            proven,
            now: came.now,
        };
        return Ok(match exchange::hear(tx, came.config, &body, &heard)? {
            Ok(said) => {
                outcome.note = Some(said);
                outcome.wakes_exchange = true;
                Ok(None)
            }
            Err(no) => Err(NotTaken { place, why: no.into(), bytes: None, id: None }),
        });
    }
    new.scope = policy::scope_of(came.provenance, false, policy::FirstPost::Ask);
    new.via = came.via.to_owned();
    new.verified = verified;
    new.held_until = *held_until;
    new.authenticity = if verified {
        Authenticity::CmrKey { neighbour: neighbour.clone() }
    } else if by_neighbour {
        came.authenticity.clone()
    } else if by_channel {
        Authenticity::Channel { address: neighbour.clone() }
    } else {
        Authenticity::Unknown
    };
    let sure = match (verified, by_neighbour || by_channel) {
        (true, _) => Known::Well,
        (false, true) => Known::ByMail,
        (false, false) => Known::Not,
    };
    if let Some(refusal) = came.held_back(tx, sure, &new)? {
        return refuse(place, refusal.into(), new.message());
    }
    let id = new.id();
    let bytes = new.message().body.len();
    let knew = proven && messages::holds(tx, id, &neighbour)?;
    match messages::admit(tx, &new)? {
        Admitted::New(seq) | Admitted::Conflict { seq, .. } => {
            peers::received(tx, &neighbour, bytes, came.now)?;
            came.counts(tx, sure)?;
            // A copy of what is here could come from anybody.
            if let Some(key) = under {
                ways::note_use(tx, config, key, came.via)?;
            }
            if proven {
                budget::brought(tx, &neighbour, came.now)?;
                peers::authenticated(tx, &neighbour, came.now)?;
                bounces::forgive(tx, &neighbour)?;
                for person in came.addressees {
                    people::address_to(tx, seq, *person)?;
                }
            }
            outcome.taken.push(id);
            outcome.wakes_router = true;
            Ok(Ok(Some(seq)))
        }
        Admitted::Duplicate { seq } => {
            if let Some(seq) = seq.filter(|_| proven) {
                outcome.wakes_sender |= aliases::known_again(tx, config, seq, came.addressees, came.now)?;
            }
            if knew && budget::is_sent_again(tx, &new, came.now)? {
                reputation::note(tx, &neighbour, Cause::Duplicate, 1.0, came.now)?;
            }
            // Its own spelling of the same time may give another id: named is the one that is here.
            let stored = seq.map(|seq| messages::head(tx, seq)).transpose()?.flatten();
            outcome.known.push(stored.map_or(id, |stored| stored.id));
            Ok(Ok(None))
        }
        Admitted::ConflictAside { .. } => refuse(place, Refused::Conflict(id), new.message()),
        Admitted::Removed => refuse(place, Refused::Removed(id), new.message()),
    }
}

/// A person's text: made a message on the person's behalf, unless it is known.
fn admit_post(
    tx: &Connection,
    config: &Config,
    plan: &PostPlan,
    header: &Header,
    came: &Came<'_>,
    outcome: &mut Outcome,
) -> Result<Result<(), Refused>, StoreError> {
    let PostPlan { author, display_name, body, language, time, dated, ignored, answerable } = plan;
    let (mut time, dated) = (time.clone(), *dated);
    let authenticated = came.authenticity.is_authenticated();
    let who = people::canonical(author);
    let bad = |_| StoreError::Misuse("an address of ours holds a line end");
    let author_address = Address::new(format!("mailto:{who}")).map_err(bad)?;
    let rate = config.policy.post_at_most;
    let window = rate.window_start(came.now);
    // Another case of the letters is the same mailbox nearly everywhere, and no way around a limit.
    // A forged From uses up what forged Froms may, and nothing of the author it names.
    let counted = format!("{}{}", if authenticated { "" } else { "unproven " }, who.to_ascii_lowercase());
    let count = limits::count(tx, Counted::Post, counted.as_bytes())?;
    let allowed = rate.allows(count.since(tx, window)?);
    if !dated || !allowed {
        // Whoever never heard our 250 sends the mail again. That is no second post, so it does
        // not count; and without a date it would have the time of its second receipt, and so
        // another id.
        let since = clock::sent_after(came.received);
        match messages::post_again(tx, &author_address, &time, since)? {
            Some(earlier) if !dated || earlier == time => time = earlier,
            _ if !allowed => return Ok(Err(Refusal::TooFast { rate, retry: rate.per }.into())),
            _ => {}
        }
    }
    let posting = config.posting_address();
    let name = names::alias_name(display_name.as_deref());
    let person = if authenticated { Some(person(tx, author, &name, came.now)?) } else { None };
    let origin = match (config.people.origin, &person) {
        (Origin::Address, Some(_)) => author_address.clone(),
        (Origin::Alias, Some(person)) => names::alias(posting, &person.name, &person.token).map_err(bad)?,
        // Nobody knows who it is: an alias that stands for this one mail, so that a forged From
        // can't speak under somebody's name.
        (_, None) => {
            let token = names::token(&clock::digest(header.message_id.as_deref(), body.as_bytes()));
            names::alias(posting, "someone", &token).map_err(bad)?
        }
    };
    let confirmed = person.as_ref().is_some_and(|person| person.confirmed_at.is_some());
    let reached = time.reached_at();
    let mut new = NewMessage::of_one_line(Hop::new(time, origin), body, came.received, came.via);
    new.author = author_address;
    new.kind = Kind::Post;
    new.scope = policy::scope_of(Provenance::Post { confirmed }, false, config.people.first_post);
    new.authenticity = came.authenticity.clone();
    new.held_until = (reached > came.now).then_some(reached);
    new.person = person.as_ref().map(|person| person.id);
    let id = new.id();
    // Whoever never heard our 250 sends the same mail again, and that is the same post. Anything
    // else under a signature that was here before is somebody's copy.
    if came.replayed && !messages::is_known(tx, &new)? {
        return Ok(Err(Refusal::Replayed.into()));
    }
    let sure = match &person {
        Some(_) if confirmed => Known::Well,
        Some(_) => Known::ByMail,
        None => Known::Not,
    };
    if let Some(refusal) = came.held_back(tx, sure, &new)? {
        return Ok(Err(refusal.into()));
    }
    match messages::admit_in(tx, &new, came.raw.map(|raw| (raw, RAW_MAX)))? {
        Admitted::New(seq) | Admitted::Conflict { seq, .. } => {
            came.counts(tx, sure)?;
            if let Some(person) = person.as_ref().filter(|person| person.stopped_at.is_some()) {
                people::resume(tx, person.id)?;
                outcome.promises = true;
            }
            count.one_more(tx, came.now)?;
            if let Some(person) = person {
                // Whose mail came back is there after all.
                bounces::forgive(tx, &new.author)?;
                let thread = NewThread {
                    seq: Some(seq),
                    language: language.clone(),
                    ignored: ignored.iter().map(commands::kept).collect(),
                    authenticated: answerable.is_ok(),
                    until: came.now.saturating_add(config.people.later_matches),
                    ..commands::new_thread(&person, header, came.now)
                };
                people::open_thread(tx, &thread)?;
                for person in came.addressees.iter().filter(|_| answerable.is_ok()) {
                    people::address_to(tx, seq, *person)?;
                }
            }
            outcome.taken.push(id);
            outcome.wakes_router = true;
            Ok(Ok(()))
        }
        Admitted::Duplicate { .. } => {
            outcome.known.push(id);
            Ok(Ok(()))
        }
        Admitted::ConflictAside { .. } => Ok(Err(Refused::Conflict(id))),
        Admitted::Removed => Ok(Err(Refused::Removed(id))),
    }
}

/// The person behind a mail address, made known with fresh tokens at the first time.
pub(super) fn person(
    tx: &Connection,
    address: &str,
    name: &str,
    now: UnixTime,
) -> Result<Person, StoreError> {
    if let Some(known) = people::by_address(tx, address)? {
        return Ok(known);
    }
    let token = |bytes: [u8; 16]| names::token(&bytes);
    let random = || clock::random().map_err(|error| StoreError::Io(format!("no random numbers: {error}")));
    let (token, confirm_token) = (token(random()?), token(random()?));
    people::ensure(tx, &NewPerson { address, name, token: &token, confirm_token: &confirm_token }, now)
}
