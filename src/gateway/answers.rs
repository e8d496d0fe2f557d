//! The mails to people, as they enter the queue: to whom, how many, how soon.
//!
//! Every one goes to an address that was authenticated, or that proved by a token that it reads
//! its mail. It knows the limits and the queue. It must never know what the mails say in words.

use std::time::Duration;

use rusqlite::Connection;

use super::notice::destination;
use super::say::Say;
use crate::config::Config;
use crate::mail;
use crate::message::{Address, UnixTime};
use crate::policy::{self, LaterMatch, Rate};
use crate::router::Decision;
use crate::store::StoreError;
use crate::store::counters::{self, Counter};
use crate::store::limits::{self, Counted};
use crate::store::messages::{Kind, Stored};
use crate::store::people::{self, Person, Thread};
use crate::store::queue::{self, DeliveryKind, Enqueued, NewDelivery};

/// Answers an hour to mails that answer mails of ours. An autoresponder that does not say what it
/// is answers each answer.
const TO_ANSWERS: Rate = Rate { count: 3, per: HOUR };

/// Answers an hour in one conversation.
const IN_CONVERSATION: Rate = Rate { count: 10, per: HOUR };

/// The notice that says "slow down" comes once in this time; between, there is silence.
const SLOW_DOWN: Duration = Duration::from_secs(86_400);

/// What one mail about later matches holds at most.
const DIGEST: usize = 10;

/// How long the answer to a confirmation waits, at most, for the decisions about what is public now.
const DECISIONS: Duration = Duration::from_secs(45);

const HOUR: Duration = Duration::from_secs(3600);

/// The answer to a person whose post this is, once: in the thread of the question, to the very
/// address that was authenticated. And what waited for this decision need not wait any more.
pub(super) fn to_author(
    tx: &Connection,
    config: &Config,
    stored: &Stored,
    decision: &Decision,
    now: UnixTime,
) -> Result<bool, StoreError> {
    if stored.kind != Kind::Post {
        return Ok(false);
    }
    let hastened = match stored.person {
        Some(person) => queue::hasten(tx, person, now)? > 0,
        None => false,
    };
    let Some(thread) = people::thread_of_message(tx, stored.seq)?.filter(|thread| thread.authenticated)
    else {
        return Ok(hastened);
    };
    let text = stored.text.as_ref().map_or(&[][..], |text| below_subject(&text.body, &thread.subject));
    let say = Say::Posted { shown: decision.matches.iter().map(|found| found.seq).collect() };
    let unique = format!("answer-{}-{}", stored.id, thread.id);
    let seq = Some(stored.seq);
    let mail = Mail { thread: &thread, seq, text, unique, why: "the answer to its author", say };
    Ok(answer(tx, config, mail, now)? || hastened)
}

/// A mail to a person that was asked for.
pub(super) struct Mail<'a> {
    pub(super) thread: &'a Thread,
    pub(super) seq: Option<i64>,
    /// What the person wrote, if it is a post.
    pub(super) text: &'a [u8],
    /// Makes a repetition the same mail.
    pub(super) unique: String,
    pub(super) why: &'a str,
    pub(super) say: Say,
}

/// Queues an answer within the limits: beyond them one notice says so, then there is silence.
pub(super) fn answer(
    tx: &Connection,
    config: &Config,
    mail: Mail<'_>,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let Mail { thread, seq, text, unique, why, say } = mail;
    let Some(person) = people::get(tx, thread.person)? else { return Ok(false) };
    let Some(new) = delivery(config, &person, DeliveryKind::Answer, seq, thread, &unique, why, &say, now)?
    else {
        return Ok(false);
    };
    if queue::by_message_id(tx, &new.message_id)?.is_some() {
        return Ok(false);
    }
    let who = who(&person);
    let talk = [who.as_slice(), b"\n", conversation(thread).as_bytes()].concat();
    let converses = thread.references.iter().any(|id| mail::is_own_message_id(id, &config.gateway.hostname));
    let within = |what, who: &[u8], rate: Rate| -> Result<bool, StoreError> {
        Ok(rate.allows(limits::number_since(tx, what, who, rate.window_start(now))?))
    };
    let allowed = within(Counted::Answer, &who, config.policy.answer_at_most)?
        && within(Counted::AnswerInThread, &talk, IN_CONVERSATION)?
        && (!converses || within(Counted::AnswerToAnswer, &who, TO_ANSWERS)?);
    // Who says the same to each answer is a program that does not say so. It is told nothing more.
    let same = [who.as_slice(), b"\n", wording(text).as_bytes()].concat();
    let says_something = converses && !text.is_empty();
    if says_something && limits::number_since(tx, Counted::Text, &same, now.saturating_sub(SLOW_DOWN))? > 0 {
        counters::note(tx, Counter::Silenced)?;
        return Ok(false);
    }
    if !allowed {
        counters::note(tx, Counter::Silenced)?;
        if limits::number_since(tx, Counted::SlowDown, &who, now.saturating_sub(SLOW_DOWN))? > 0 {
            return Ok(false);
        }
        let unique = format!("slow-{unique}");
        let say = Say::SlowDown;
        let why = "there were too many mails";
        let notice = delivery(config, &person, DeliveryKind::Answer, None, thread, &unique, why, &say, now)?;
        let Some(notice) = notice else { return Ok(false) };
        limits::note(tx, Counted::SlowDown, &who, now)?;
        return Ok(matches!(queue::enqueue(tx, &notice, now)?, Enqueued::New(_)));
    }
    let queued = matches!(queue::enqueue(tx, &new, now)?, Enqueued::New(_));
    if queued {
        limits::note(tx, Counted::Answer, &who, now)?;
        limits::note(tx, Counted::AnswerInThread, &talk, now)?;
        if converses {
            limits::note(tx, Counted::AnswerToAnswer, &who, now)?;
        }
        if says_something {
            limits::note(tx, Counted::Text, &same, now)?;
        }
    }
    Ok(queued)
}

/// What became of a later match.
pub(super) enum Later {
    /// It is in the queue.
    Queued,
    /// A limit kept it back, in words.
    KeptBack(String),
    /// There was nothing to send, or it waits there already.
    Nothing,
}

impl From<bool> for Later {
    fn from(queued: bool) -> Self {
        if queued { Later::Queued } else { Later::Nothing }
    }
}

/// A later match: X came, and is close to what a person asked before. What is due in the same
/// thread at the same time is one mail.
pub(super) fn later(
    tx: &Connection,
    config: &Config,
    stored: &Stored,
    question: i64,
    now: UnixTime,
) -> Result<Later, StoreError> {
    let Some(thread) = people::thread_of_message(tx, question)? else { return Ok(Later::Nothing) };
    if !thread.authenticated || thread.until <= now || stored.person == Some(thread.person) {
        return Ok(Later::Nothing);
    }
    let Some(person) = people::get(tx, thread.person)? else { return Ok(Later::Nothing) };
    let day = now.saturating_sub(Duration::from_secs(86_400));
    let who = who(&person);
    let pair = [stored.author.as_bytes(), b"\n", &who].concat();
    let facts = LaterMatch {
        age: now.since(thread.opened),
        window: config.people.later_matches,
        sent_today: limits::number_since(tx, Counted::LaterMatch, &who, day)?,
        of_author_today: limits::number_since(tx, Counted::LaterMatchBy, &pair, day)?,
        stopped: person.stopped_at.is_some(),
    };
    let rate = config.policy.answer_at_most;
    let in_rate = rate.allows(limits::number_since(tx, Counted::Answer, &who, rate.window_start(now))?);
    let kept_back = match policy::may_send_later(&facts) {
        Err(refusal) => Some(refusal.to_string()),
        Ok(()) if !in_rate => Some(format!("{rate} automatic mails have gone to that person")),
        Ok(()) => None,
    };
    if let Some(why) = kept_back {
        counters::note(tx, Counter::Silenced)?;
        return Ok(Later::KeptBack(why));
    }
    let queued = match queue::waiting_later(tx, thread.id)? {
        Some(waiting) => {
            let Some(Say::Later { mut seqs }) = Say::of(&waiting) else { return Ok(Later::Nothing) };
            if seqs.contains(&stored.seq) || seqs.len() >= DIGEST {
                return Ok(Later::Nothing);
            }
            seqs.push(stored.seq);
            queue::join_later(tx, waiting.id, &Say::Later { seqs }.detail()?)?
        }
        None => {
            let say = Say::Later { seqs: vec![stored.seq] };
            let why = "it is close to what this person asked before";
            let unique = format!("later_match-{}-{}", stored.id, thread.id);
            let kind = DeliveryKind::LaterMatch;
            let new = delivery(config, &person, kind, Some(stored.seq), &thread, &unique, why, &say, now)?;
            let Some(mut new) = new else { return Ok(Later::Nothing) };
            if let Some(last) = queue::last_later(tx, thread.id)? {
                new.next_try = now.max(last.saturating_add(config.people.digest));
            }
            let queued = matches!(queue::enqueue(tx, &new, now)?, Enqueued::New(_));
            if queued {
                limits::note(tx, Counted::Answer, &who, now)?;
            }
            queued
        }
    };
    if queued {
        limits::note(tx, Counted::LaterMatch, &who, now)?;
        limits::note(tx, Counted::LaterMatchBy, &pair, now)?;
    }
    Ok(queued.into())
}

/// A person under whom mails are counted. Another case of the letters is no way around a limit.
fn who(person: &Person) -> Vec<u8> {
    person.address.to_ascii_lowercase().into_bytes()
}

/// A post's text without its subject, to which each program and each of our answers adds something; the
/// subject if there is nothing else.
fn below_subject<'a>(body: &'a [u8], subject: &str) -> &'a [u8] {
    let end = body.windows(2).position(|pair| pair == b"\n\n").filter(|_| !subject.is_empty());
    end.and_then(|end| body.get(end..)).unwrap_or(body)
}

/// The letters of a text: what is left where a program counts its answers or names the time. All
/// of it if it has none.
fn wording(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let letters: String = text.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect();
    if letters.is_empty() { text.into_owned() } else { letters }
}

/// What names the conversation that a mail belongs to: the Message-ID at its root.
fn conversation(thread: &Thread) -> &str {
    thread.references.first().or(thread.message_id.as_ref()).map_or("", String::as_str)
}

#[allow(clippy::too_many_arguments)] // The columns of a row.
fn delivery(
    config: &Config,
    person: &Person,
    kind: DeliveryKind,
    seq: Option<i64>,
    thread: &Thread,
    unique: &str,
    why: &str,
    say: &Say,
    now: UnixTime,
) -> Result<Option<NewDelivery>, StoreError> {
    let Ok(to) = Address::new(format!("mailto:{}", person.address)) else { return Ok(None) };
    let waits = matches!(say, Say::Published { posts } if !posts.is_empty());
    Ok(Some(NewDelivery {
        kind,
        seq,
        thread: Some(thread.id),
        to,
        transport: "mailto".to_owned(),
        destination: destination(&person.address),
        stamp: None,
        message_id: mail::message_id(unique, &config.gateway.hostname),
        detail: Some(say.detail()?),
        why: why.to_owned(),
        next_try: if waits { now.saturating_add(DECISIONS) } else { now },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_the_same_under_other_subjects_and_numbers() {
        let said = |body: &'static str, subject| wording(below_subject(body.as_bytes(), subject));
        let first = said("Out of office: whales\n\nI am away until 3 May.", "Out of office: Re: whales");
        for (body, subject) in [
            (
                "Out of office: Out of office: whales\n\nI am away until 4 May",
                "Out of office: Re: Out of office",
            ),
            ("I am AWAY until\n\n3 May.", ""),
        ] {
            assert_eq!(said(body, subject), first, "{body}");
        }
        for (body, subject) in
            [("whales\n\nI am here until 3 May.", "whales"), ("whales", "whales"), ("", "")]
        {
            assert_ne!(said(body, subject), first, "{body}");
        }
        assert_ne!(said("42", ""), said("43", ""), "all of it where there are no letters");
    }
}
