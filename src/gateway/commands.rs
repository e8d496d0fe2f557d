//! What people ask the robot for, inside the transaction: to publish what they wrote, to hear no
//! more, to vote, to get a message whole, to search, to be told how they stand.
//!
//! It knows people and threads. It must never know how answers are put into words.

use rusqlite::Connection;

use super::admit::{Errand, Wanted};
use super::answers::{self, Mail};
use super::commit::{self, Outcome, Part};
use super::refused::Refused;
use super::say::{Hit, Say};
use super::tags::{Act, Ticket};
use super::texts::StoredTexts;
use super::{Inner, blocks_of, clock, people as names, worth};
use crate::config::Config;
use crate::mail::{self, Header, Ignored};
use crate::message::{Address, UnixTime};
use crate::policy::{self, Block, Refusal, Scope};
use crate::pool::{Audience, Query};
use crate::store::StoreError;
use crate::store::limits::{self, Counted};
use crate::store::messages;
use crate::store::people::{self, NewThread, Person};

/// How much of a text is looked for and remembered until its answer is sent, in bytes.
const QUERY: usize = 8 << 10;

/// How much of a subject is remembered for answers, in characters.
const SUBJECT: usize = 400;

/// A whole message is sent once in this time to who has its token and nothing else to show.
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

impl Inner {
    /// What the pool holds for everybody that is close to a text. Nothing for a person who gets no
    /// answer any more: looking costs more than saying no.
    ///
    /// # Errors
    /// The database can't be read.
    pub(super) fn search_for(&self, author: &str, text: &[u8]) -> Result<Vec<Hit>, StoreError> {
        let config = self.config();
        let rate = config.policy.answer_at_most;
        let who = people::canonical(author).to_ascii_lowercase();
        let since = rate.window_start(clock::now());
        let sent =
            self.store.read(|conn| limits::number_since(conn, Counted::Answer, who.as_bytes(), since))?;
        if !rate.allows(sent) {
            return Ok(Vec::new());
        }
        let query = Query { matches: true, ..Query::new(beginning(text), Audience::Public) };
        let found = self.store.read(|conn| {
            let texts = StoredTexts::new(conn);
            let found = self.pool().search(&query, config.routing.policy.matches, &texts);
            texts.answered().map(|()| found)
        })?;
        Ok(found
            .iter()
            .map(|it| Hit { seq: it.seq, gain: it.gain_bits, one_sided: it.one_sided_bits })
            .collect())
    }
}

fn beginning(text: &[u8]) -> &[u8] {
    text.get(..QUERY).unwrap_or(text)
}

/// A mail in which a person asks for something.
pub(super) struct Asking<'a> {
    pub(super) config: &'a Config,
    pub(super) header: &'a Header,
    /// The author, if that is known for sure, and the mail is no copy.
    pub(super) known: Option<&'a str>,
    pub(super) raw: &'a [u8],
    pub(super) now: UnixTime,
}

impl Asking<'_> {
    /// A person agrees to publishing: what was local becomes public and is routed again. The answer
    /// has what is close to it now, so it waits for these decisions.
    pub(super) fn confirm(
        &self,
        tx: &Connection,
        token: &str,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let Some(person) = people::by_confirm_token(tx, token)? else {
            outcome.refused.push(Part::mail(Refused::NoSuchToken));
            return Ok(());
        };
        if let Some(no) = blocked(tx, &person)? {
            outcome.refused.push(Part::mail(no.into()));
            return Ok(());
        }
        let before = person.confirmed_at.is_some();
        people::confirm(tx, token, self.now)?;
        if before && !self.is_of(&person) {
            // Who has somebody's token and uses it again and again must not reach that somebody.
            outcome.note = Some("confirmed before; there was nothing left to publish".to_owned());
            return Ok(());
        }
        let posts = messages::publish_posts_of(tx, person.id)?;
        outcome.wakes_router = !posts.is_empty();
        outcome.note = Some(match posts.len() {
            0 => "confirmed before; there was nothing left to publish".to_owned(),
            1 => "confirmed: one post is public now, and the next ones are at once".to_owned(),
            n => format!("confirmed: {n} posts are public now, and the next ones are at once"),
        });
        self.answer(tx, &person, "it confirms that posts are public", Say::Published { posts }, outcome)
    }

    /// A person wants no more mail: by the private token, or by being known for sure. Takes effect
    /// at once, and is confirmed.
    pub(super) fn stop(
        &self,
        tx: &Connection,
        token: Option<&str>,
        author: Option<&str>,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let person = match (token, author) {
            (Some(token), _) => {
                let number = token.split_once('.').and_then(|(number, _)| number.parse().ok());
                let person = number.map(|number| people::get(tx, number)).transpose()?.flatten();
                let token = token.to_ascii_lowercase();
                person.filter(|person| names::stop_token(person.id, &person.confirm_token) == token)
            }
            (None, Some(author)) => people::by_address(tx, author)?,
            (None, None) => None,
        };
        let Some(person) = person else {
            outcome.refused.push(Part::mail(Refused::NotYours));
            return Ok(());
        };
        let own = author.is_some_and(|author| policy::same_mailbox(author, &person.address));
        let again = person.stopped_at.is_some() && !own;
        let open = people::stop(tx, person.id, self.now)?;
        outcome.promises = true;
        outcome.note = Some("stopped: you get no more mail about what you wrote".to_owned());
        // Who sends the address of somebody's footer again and again must not reach that somebody.
        if again {
            return Ok(());
        }
        self.answer(tx, &person, "it confirms that no more mail comes", Say::Stopped { open }, outcome)
    }

    /// A person uses a token that stood beside a match.
    pub(super) fn ticket(
        &self,
        tx: &Connection,
        ticket: &Ticket,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let person = people::get(tx, ticket.person)?.filter(|person| ticket.is_of(person));
        let Some(person) = person else {
            outcome.refused.push(Part::mail(Refused::NoSuchTicket));
            return Ok(());
        };
        if let Some(no) = blocked(tx, &person)? {
            outcome.refused.push(Part::mail(no.into()));
            return Ok(());
        }
        match ticket.act {
            Act::Good | Act::Bad => {
                let counted = worth::vote(tx, &person, ticket.id, ticket.act == Act::Good, self.now)?;
                outcome.note = Some(match counted {
                    Ok(()) => "thank you; your vote counts".to_owned(),
                    Err(why) => format!("your vote does not count: {why}"),
                });
                Ok(())
            }
            Act::Get => {
                let asked = [
                    names::stop_token(person.id, &person.confirm_token).as_bytes(),
                    b"\n",
                    ticket.id.as_bytes(),
                ]
                .concat();
                let since = self.now.saturating_sub(DAY);
                if !self.is_of(&person) && limits::number_since(tx, Counted::Whole, &asked, since)? > 0 {
                    outcome.note = Some("this was sent today already".to_owned());
                    return Ok(());
                }
                limits::note(tx, Counted::Whole, &asked, self.now)?;
                let found = messages::by_id(tx, ticket.id)?;
                match found.iter().find(|stored| stored.scope == Scope::Public && stored.text.is_some()) {
                    Some(stored) => {
                        let say = Say::Whole { seq: stored.seq };
                        self.answer(tx, &person, "the person asked for it whole", say, outcome)
                    }
                    None => {
                        let why = "the message is no longer here".to_owned();
                        let say = Say::NotPosted { why, ignored: Vec::new() };
                        self.answer(tx, &person, "what was asked for is gone", say, outcome)
                    }
                }
            }
        }
    }

    /// A person asks for something, and is known for sure.
    pub(super) fn errand(
        &self,
        tx: &Connection,
        errand: &Errand,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let Errand { author, display_name, what } = errand;
        let name = names::alias_name(display_name.as_deref());
        let person = commit::person(tx, author, &name, self.now)?;
        let say = match what {
            Wanted::Help => Say::Help,
            Wanted::Status => Say::Status,
            Wanted::Search { query, hits } => Say::Found {
                query: String::from_utf8_lossy(beginning(query)).into_owned(),
                hits: hits.clone(),
            },
            Wanted::Nothing { why, ignored } => {
                Say::NotPosted { why: why.clone(), ignored: ignored.iter().map(kept).collect() }
            }
        };
        outcome.note = Some("answered by mail; nothing was stored".to_owned());
        self.answer(tx, &person, "the person asked for it", say, outcome)
    }

    /// Whether it is known for sure that this person wrote the mail, and not only that whoever wrote
    /// it has the person's token.
    fn is_of(&self, person: &Person) -> bool {
        self.known.is_some_and(|known| people::canonical(known).eq_ignore_ascii_case(&person.address))
    }

    /// Queues the answer, to the person and in the thread of this mail.
    fn answer(
        &self,
        tx: &Connection,
        person: &Person,
        why: &str,
        say: Say,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let (header, now) = (self.header, self.now);
        // A mail that somebody else sent with the token has no thread of the person's.
        let theirs = header
            .from
            .as_ref()
            .is_some_and(|from| people::canonical(&from.address).eq_ignore_ascii_case(&person.address));
        let none = Header::default();
        let header = if theirs { header } else { &none };
        // Whoever has only a token gets a summary, and more by another token (RFC 3834, section 2).
        let new = NewThread { authenticated: self.is_of(person), ..new_thread(person, header, now) };
        let number = people::open_thread(tx, &new)?;
        let Some(thread) = people::get_thread(tx, number)? else { return Ok(()) };
        // The same mail, once more: whoever never heard our 250 sends it again.
        let digest = match self.header.message_id.as_deref() {
            Some(id) => clock::digest(Some(id), b""),
            None => clock::digest(None, self.raw),
        };
        let unique = format!("word-{}-{}", person.id, names::token(&digest));
        let mail = Mail { thread: &thread, seq: None, text: &[], unique, why, say };
        if answers::answer(tx, self.config, mail, now)? {
            outcome.wakes_sender = true;
        } else {
            people::drop_thread(tx, number)?;
        }
        Ok(())
    }
}

/// Why the operator refuses this person, if so. Tokens that were given out before change nothing.
fn blocked(tx: &Connection, person: &Person) -> Result<Option<Refusal>, StoreError> {
    let Ok(address) = Address::new(format!("mailto:{}", person.address)) else { return Ok(None) };
    Ok(Block::check(&blocks_of(tx)?, &address).err())
}

/// A thread that a mail of a person opens, with nothing to wait for.
pub(super) fn new_thread(person: &Person, header: &Header, now: UnixTime) -> NewThread {
    // RFC 5322, section 3.6.4: without References the only In-Reply-To takes their place.
    let references = match (header.references.as_slice(), header.in_reply_to.as_slice()) {
        ([], [only]) => vec![only.clone()],
        (references, _) => mail::compose::kept_references(references).cloned().collect(),
    };
    let subject = header.subject.as_deref().unwrap_or_default();
    NewThread {
        person: person.id,
        seq: None,
        message_id: header.message_id.clone(),
        references,
        subject: subject.chars().take(SUBJECT).collect(),
        language: None,
        ignored: Vec::new(),
        authenticated: true,
        opened: now,
        until: now,
    }
}

/// What was not taken from a mail, as it is kept for the answer: `what`, a line end, `why`.
pub(super) fn kept(ignored: &Ignored) -> String {
    format!("{}\n{}", ignored.what, ignored.why)
}
