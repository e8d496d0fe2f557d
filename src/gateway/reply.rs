//! The mails to people: what waits in the queue as numbers, put together as it has to be when it
//! is sent.
//!
//! It knows the store and the composer. It must never know how many mails are allowed, nor how
//! they travel.

use rusqlite::Connection;

use super::outgoing::{Made, robot};
use super::say::{Hit, Say};
use super::tags::{Act, ticket};
use super::{people as names, words};
use crate::config::Config;
use crate::distance;
use crate::mail::compose::{
    self, AnswerMail, ComposeError, Handing, List, Match, Occasion, Publication, WordMail,
};
use crate::mail::{Ignored, Mailbox};
use crate::message::{Address, UnixTime};
use crate::policy::{FirstPost, Scope};
use crate::store::messages::{self, Stored};
use crate::store::people::{self, Person, Thread};
use crate::store::queue::{self, Delivery, DeliveryKind};
use crate::store::{StoreError, decisions};

/// Longest passage of a match in an answer, in characters.
const EXCERPT: usize = 400;

/// What is attached to an answer, at most, in bytes; beside what is left out stands how to get it.
const ATTACH_MAX: usize = 256 << 10;

/// A match, with what the answer shows of it.
struct Shown {
    stored: Stored,
    author: String,
    gain_bits: f64,
    share: f64,
    excerpt: String,
    shared: Vec<String>,
    wire: Vec<u8>,
    attached: bool,
    good: String,
    bad: String,
    whole: String,
}

/// Everything that a mail to a person is made from.
struct Letter<'a> {
    conn: &'a Connection,
    config: &'a Config,
    delivery: &'a Delivery,
    thread: Thread,
    person: Person,
    /// The posting address that its tokens belong to.
    posting: &'a str,
}

/// The mail of an answer or a later match.
///
/// # Errors
/// The database can't be read.
pub(super) fn mail(conn: &Connection, config: &Config, delivery: &Delivery) -> Result<Made, StoreError> {
    let Some(thread) = delivery.thread.map(|thread| people::get_thread(conn, thread)).transpose()?.flatten()
    else {
        return Ok(Made::Gone("the thread is gone"));
    };
    let Some(person) = people::get(conn, thread.person)? else { return Ok(Made::Gone("the person is gone")) };
    let posting = config.posting_address();
    let letter = Letter { conn, config, delivery, thread, person, posting };
    match Say::of(delivery) {
        Some(Say::Posted { .. }) => letter.posted(),
        Some(Say::Later { seqs }) => letter.later(&seqs),
        Some(Say::Published { posts }) => letter.published(&posts),
        Some(Say::Found { query, hits }) => letter.found(&query, &hits),
        Some(Say::Whole { seq }) => letter.whole(seq),
        Some(Say::NotPosted { why, ignored }) => {
            let ignored: Vec<Ignored> = ignored.iter().filter_map(|text| read_ignored(text)).collect();
            Ok(Made::Mail(letter.write(Occasion::NotPosted(&why), &[], &ignored, Publication::Silent, None)))
        }
        Some(Say::Help) => Ok(letter.words(&words::help(config, letter.posting))),
        Some(Say::Status) => {
            Ok(letter.words(&words::status(conn, config, letter.posting, &letter.person, delivery.created)?))
        }
        Some(Say::Stopped { open }) => Ok(letter.words(&words::stopped(open, letter.posting))),
        Some(Say::SlowDown) => Ok(letter.words(&words::slow_down(config.policy.answer_at_most))),
        None => Ok(Made::Gone("nobody knows what it was to say")),
    }
}

impl Letter<'_> {
    fn posted(&self) -> Result<Made, StoreError> {
        let Some((question, body)) = self.question(self.thread.seq)? else {
            return Ok(Made::Gone("the question is no longer here"));
        };
        let shown = self.show_all(&body, &matches(self.conn, question.seq)?)?;
        let ignored: Vec<Ignored> =
            self.thread.ignored.iter().filter_map(|text| read_ignored(text)).collect();
        let confirm =
            names::tagged(self.posting, &format!("{}{}", names::CONFIRM_TAG, self.person.confirm_token));
        let publication = match question.scope {
            Scope::Local if self.config.people.first_post == FirstPost::Ask => {
                Publication::Local { confirm: &confirm }
            }
            Scope::Public => Publication::Public,
            Scope::Local => Publication::Silent,
        };
        let handing = self.handing(publication)?;
        Ok(Made::Mail(self.write(Occasion::Posted, &shown, &ignored, publication, handing)))
    }

    fn later(&self, seqs: &[i64]) -> Result<Made, StoreError> {
        let Some((question, body)) = self.question(self.thread.seq)? else {
            return Ok(Made::Gone("the question is no longer here"));
        };
        let (mut hits, mut handed) = (Vec::new(), 0);
        for seq in seqs {
            let mut addressees = people::addressees(self.conn, *seq)?.into_iter();
            let to_them = addressees.any(|(person, _)| person == self.person.id);
            handed += usize::from(to_them);
            match later_match(self.conn, *seq, question.seq)? {
                Some(hit) => hits.push(hit),
                None if to_them => hits.push(Hit { seq: *seq, gain: 0.0, one_sided: 0.0 }),
                None => {}
            }
        }
        let occasion = if handed == seqs.len() { Occasion::Handed } else { Occasion::Later };
        let shown = self.show_all(&body, &hits)?;
        if shown.is_empty() {
            return Ok(Made::Gone("the match is gone"));
        }
        Ok(Made::Mail(self.write(occasion, &shown, &[], Publication::Silent, None)))
    }

    /// What is public now, with what was hidden from the first answers: who had not confirmed
    /// then, or what came meanwhile.
    fn published(&self, posts: &[i64]) -> Result<Made, StoreError> {
        let most = self.config.routing.policy.matches;
        let mut shown: Vec<Shown> = Vec::new();
        let mut public = 0;
        for seq in posts.iter().rev() {
            let Some((_, body)) = self.question(Some(*seq))? else { continue };
            public += 1;
            let mut told = Vec::new();
            for delivery in queue::of_message(self.conn, *seq)? {
                if let (DeliveryKind::Answer, Some(Say::Posted { shown })) =
                    (delivery.kind, Say::of(&delivery))
                {
                    told.extend(shown);
                }
            }
            told.extend(shown.iter().map(|it| it.stored.seq));
            let mut new = matches(self.conn, *seq)?;
            new.retain(|hit| !told.contains(&hit.seq) && !posts.contains(&hit.seq));
            new.truncate(most.saturating_sub(shown.len()));
            shown.extend(self.show_all(&body, &new)?);
        }
        Ok(Made::Mail(self.write(Occasion::Published(public), &shown, &[], Publication::Silent, None)))
    }

    fn found(&self, query: &str, hits: &[Hit]) -> Result<Made, StoreError> {
        let shown = self.show_all(query.as_bytes(), hits)?;
        Ok(Made::Mail(self.write(Occasion::Searched, &shown, &[], Publication::Silent, None)))
    }

    fn whole(&self, seq: i64) -> Result<Made, StoreError> {
        let Some(mut shown) = self.show(&[], Hit { seq, gain: 0.0, one_sided: 0.0 })? else {
            return Ok(Made::Gone("the message is no longer here"));
        };
        // As large as a mail may be.
        shown.attached = true;
        Ok(Made::Mail(self.write(Occasion::Whole, &[shown], &[], Publication::Silent, None)))
    }

    /// A post of the thread's person, with its text.
    fn question(&self, seq: Option<i64>) -> Result<Option<(Stored, Vec<u8>)>, StoreError> {
        let Some(stored) = seq.map(|seq| messages::get(self.conn, seq)).transpose()?.flatten() else {
            return Ok(None);
        };
        let body = stored.text.as_ref().map(|text| text.body.clone());
        Ok(body.map(|body| (stored, body)))
    }

    fn show_all(&self, question: &[u8], hits: &[Hit]) -> Result<Vec<Shown>, StoreError> {
        let mut room = if self.thread.authenticated { ATTACH_MAX } else { 0 };
        let mut all = Vec::new();
        for hit in hits {
            if let Some(mut shown) = self.show(question, *hit)? {
                shown.attached = shown.wire.len() <= room;
                room = room.saturating_sub(if shown.attached { shown.wire.len() } else { 0 });
                all.push(shown);
            }
        }
        Ok(all)
    }

    fn show(&self, question: &[u8], hit: Hit) -> Result<Option<Shown>, StoreError> {
        let Some(stored) = messages::get(self.conn, hit.seq)? else { return Ok(None) };
        // Made local again, or evicted, since it was found. And nobody is sent what he wrote himself
        // (RFC 3834, section 3.2).
        if stored.scope != Scope::Public || stored.person == Some(self.person.id) {
            return Ok(None);
        }
        let Some(text) = &stored.text else { return Ok(None) };
        let cost = hit.gain + hit.one_sided;
        // As it came, without a line of ours: the person's reader sees the way it took to us.
        let wire = text.wire();
        let address = |act| ticket(self.posting, act, stored.id, &self.person);
        Ok(Some(Shown {
            author: author_shown(&stored.origin),
            gain_bits: hit.gain,
            share: if cost > 0.0 { (hit.gain / cost).clamp(0.0, 1.0) } else { 0.0 },
            excerpt: distance::excerpt(&text.body, question, EXCERPT),
            shared: distance::shared_words(question, &text.body),
            wire,
            attached: false,
            good: address(Act::Good),
            bad: address(Act::Bad),
            whole: address(Act::Get),
            stored,
        }))
    }

    fn write(
        &self,
        occasion: Occasion<'_>,
        shown: &[Shown],
        ignored: &[Ignored],
        publication: Publication<'_>,
        handing: Option<Handing>,
    ) -> Result<Vec<u8>, ComposeError> {
        let matches: Vec<Match<'_>> = shown
            .iter()
            .map(|it| Match {
                id: it.stored.id,
                author: &it.author,
                time: it.stored.origin_time,
                gain_bits: it.gain_bits,
                share: it.share,
                excerpt: &it.excerpt,
                shared: &it.shared,
                bytes: it.wire.len(),
                message: it.attached.then_some(it.wire.as_slice()),
                votes: Some((&it.good, &it.bad)),
                whole: &it.whole,
            })
            .collect();
        let own = u64::from(self.thread.seq.is_some());
        let alone = messages::number(self.conn).is_ok_and(|number| number <= own);
        let open = self.thread.until > self.delivery.created && self.person.stopped_at.is_none();
        let days = self.thread.until.since(self.thread.opened).as_secs() / 86_400;
        let later_days = if open { u32::try_from(days).unwrap_or(u32::MAX) } else { 0 };
        let stop = self.stop();
        let help = names::tagged(self.posting, "help");
        let list_id = format!("matches.{}", self.config.gateway.hostname);
        let list = List { id: &list_id, help: &help };
        compose::answer(&AnswerMail {
            robot: robot(self.config),
            to: &Mailbox { name: None, address: self.person.address.clone() },
            message_id: &self.delivery.message_id,
            date: self.delivery.created,
            subject: Some(&self.thread.subject),
            in_reply_to: self.thread.message_id.as_deref(),
            references: &self.thread.references,
            occasion,
            matches: &matches,
            alone,
            ignored,
            faults: &[],
            publication,
            handing,
            later_days,
            stop: &stop,
            list: (self.delivery.kind == DeliveryKind::LaterMatch).then_some(list),
        })
    }

    /// What became of a post that was written to somebody's alias.
    fn handing(&self, publication: Publication<'_>) -> Result<Option<Handing>, StoreError> {
        let Some(seq) = self.thread.seq else { return Ok(None) };
        let to = people::addressees(self.conn, seq)?;
        Ok(match (to.is_empty(), publication) {
            (true, _) => None,
            (false, Publication::Local { .. }) => Some(Handing::Waits),
            (false, _) if to.iter().any(|(_, handed)| *handed) => Some(Handing::Done),
            (false, _) => Some(Handing::Not),
        })
    }

    fn words(&self, paragraphs: &[String]) -> Made {
        let stop = self.stop();
        Made::Mail(compose::word(&WordMail {
            robot: robot(self.config),
            to: &Mailbox { name: None, address: self.person.address.clone() },
            message_id: &self.delivery.message_id,
            date: self.delivery.created,
            subject: Some(&self.thread.subject),
            in_reply_to: self.thread.message_id.as_deref(),
            references: &self.thread.references,
            paragraphs,
            stop: &stop,
        }))
    }

    fn stop(&self) -> String {
        let token = names::stop_token(self.person.id, &self.person.confirm_token);
        names::tagged(self.posting, &format!("{}-{token}", names::STOP_TAG))
    }
}

/// Reads what was ignored back: `what`, a line end, `why`.
fn read_ignored(text: &str) -> Option<Ignored> {
    let (what, why) = text.split_once('\n')?;
    Some(Ignored { what: what.to_owned(), why: why.to_owned().into() })
}

/// The matches of a post, as they were found.
fn matches(conn: &Connection, seq: i64) -> Result<Vec<Hit>, StoreError> {
    let Some(decision) = decisions::get(conn, seq)? else { return Ok(Vec::new()) };
    Ok(decision
        .matches
        .iter()
        .map(|it| Hit { seq: it.other, gain: it.gain_bits, one_sided: it.one_sided_bits })
        .collect())
}

/// The newcomer `seq`, if it was found close to the `question`.
fn later_match(conn: &Connection, seq: i64, question: i64) -> Result<Option<Hit>, StoreError> {
    Ok(matches(conn, seq)?.into_iter().find(|hit| hit.seq == question).map(|hit| Hit { seq, ..hit }))
}

/// An author as people see one: the mail address in a `mailto:`, else the address.
fn author_shown(origin: &Address) -> String {
    origin.mail_address().map_or_else(|| origin.to_string(), str::to_owned)
}

/// A time for people, to the minute.
pub(super) fn minute(time: UnixTime) -> String {
    time.rfc3339().get(..16).unwrap_or_default().replace('T', " ")
}
