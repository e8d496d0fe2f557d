//! Makes the mail of a delivery at the moment it is sent: text is read by its number, so that
//! what was removed meanwhile is not sent; the signature is made now, under the present key; T,
//! recipient and Message-ID are those that were queued.
//!
//! It knows the store and how mails are written. It must never know how they travel.

use rusqlite::Connection;

use super::{Gateway, bounce, people as names, read};
use crate::config::Config;
use crate::distance;
use crate::keys;
use crate::mail::compose::{
    self, AnswerMail, ComposeError, ForwardMail, Match, NoticeMail, Occasion, Publication, Robot,
};
use crate::mail::{Ignored, Mailbox};
use crate::message::{Address, Hop};
use crate::policy::{Block, FirstPost, Scope};
use crate::store::bounces::{self, Bounced};
use crate::store::keys as stored_keys;
use crate::store::messages::{self, Stored};
use crate::store::people::{self, Person, Thread};
use crate::store::queue::{Delivery, DeliveryKind};
use crate::store::{StoreError, asides, decisions};

/// Longest passage of a match in an answer, in characters.
const EXCERPT: usize = 400;

/// Larger messages are not attached to an answer, in bytes; the text says how to get them.
const ATTACH_MAX: usize = 256 << 10;

/// A mail, ready to be handed to the smarthost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The envelope's sender: never answered, and not the null sender, which some hosts refuse.
    pub sender: String,
    /// The envelope's one recipient.
    pub recipient: String,
    /// The mail, lines ended by CRLF.
    pub mail: Vec<u8>,
}

/// What composing comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Composed {
    /// Send this.
    Mail(Outgoing),
    /// There is nothing to send any more, for this reason: the delivery is given up.
    Gone(String),
}

impl Gateway {
    /// The mail of a delivery, as it has to be now.
    ///
    /// # Errors
    /// The database can't be read: the delivery is tried again.
    pub fn compose(&self, delivery: &Delivery) -> Result<Composed, StoreError> {
        let config = self.config();
        self.store().read(|conn| {
            let Some(recipient) = delivery.to.mail_address() else {
                return Ok(Composed::Gone("it is no mail address".to_owned()));
            };
            // Who was blocked after it was queued gets it no more than who was blocked before.
            if let Err(no) = Block::check(&read(&self.0.blocks), &delivery.to) {
                return Ok(Composed::Gone(no.to_string()));
            }
            if let Some(no) = bounces::get(conn, &delivery.to)?.and_then(|it| suppressed(&it)) {
                return Ok(Composed::Gone(no));
            }
            let mail = match delivery.kind {
                DeliveryKind::Forward => forward(conn, &config, delivery, recipient)?,
                DeliveryKind::Answer | DeliveryKind::LaterMatch => answer(conn, &config, delivery)?,
                DeliveryKind::Notice => notice(conn, &config, delivery)?,
            };
            Ok(match mail {
                Made::Mail(Ok(mail)) => Composed::Mail(Outgoing {
                    sender: bounce_address(&config, delivery),
                    recipient: recipient.to_owned(),
                    mail,
                }),
                Made::Mail(Err(error)) => Composed::Gone(error.to_string()),
                Made::Gone(why) => Composed::Gone(why.to_owned()),
            })
        })
    }
}

/// Why nothing goes to an address whose mail came back.
pub(super) fn suppressed(bounced: &Bounced) -> Option<String> {
    let since = bounced.suppressed?;
    Some(format!(
        "{} mails to it came back ({}), and nothing goes there since {}; to try again: cmr-mail peers \
         unsuppress {}",
        bounced.failures,
        bounced.status,
        since.rfc3339(),
        bounced.address
    ))
}

enum Made {
    Mail(Result<Vec<u8>, ComposeError>),
    Gone(&'static str),
}

/// `cmr+bounce-NUMBER-CHECK@host`: a report that comes back names its delivery.
fn bounce_address(config: &Config, delivery: &Delivery) -> String {
    // An address that our receiver takes: reports come to it.
    let ours = |address: &&String| crate::mail::is_ours(&config.smtp.recipients, address);
    let own = Some(&config.gateway.mail_address).filter(ours).or(config.smtp.recipients.first());
    let address = own.unwrap_or(&config.gateway.mail_address);
    names::tagged(address, &format!("{}{}", names::BOUNCE_TAG, bounce::token(delivery)))
}

fn robot(config: &Config) -> Robot<'_> {
    Robot {
        address: &config.send.from,
        operator: &config.gateway.operator.text,
        hostname: &config.gateway.hostname,
        loop_marker: &config.gateway.hostname,
    }
}

/// Section A3, steps 1 to 4: the neighbour's signature goes, our line comes on top, signed if we
/// share a key with the recipient.
fn forward(conn: &Connection, config: &Config, delivery: &Delivery, to: &str) -> Result<Made, StoreError> {
    let (Some(seq), Some(stamp)) = (delivery.seq, &delivery.stamp) else {
        return Ok(Made::Gone("a forward without a message or a time"));
    };
    let Some(text) = messages::text(conn, seq)? else {
        return Ok(Made::Gone("the message is no longer here"));
    };
    let hop = Hop::new(stamp.clone(), config.gateway.address.clone());
    let mut message = text.message()?.stamped(hop);
    if let Some(key) = stored_keys::for_signing(conn, &delivery.to)? {
        message = keys::sign_message(key.scheme, &key.key, message);
    }
    let wire = message.write();
    Ok(Made::Mail(compose::forward(&ForwardMail {
        from: &config.gateway.mail_address,
        to,
        message_id: &delivery.message_id,
        date: delivery.created,
        loop_marker: &config.gateway.hostname,
        message: &wire,
    })))
}

/// A match, with what the answer shows of it.
struct Shown {
    stored: Stored,
    author: String,
    gain_bits: f64,
    share: f64,
    excerpt: String,
    shared: Vec<String>,
    wire: Vec<u8>,
}

fn answer(conn: &Connection, config: &Config, delivery: &Delivery) -> Result<Made, StoreError> {
    let (Some(seq), Some(thread)) = (delivery.seq, delivery.thread) else {
        return Ok(Made::Gone("an answer without a question"));
    };
    let Some(thread) = people::get_thread(conn, thread)? else { return Ok(Made::Gone("the thread is gone")) };
    let Some(person) = people::get(conn, thread.person)? else { return Ok(Made::Gone("the person is gone")) };
    let Some(question) = thread.seq.map(|seq| messages::get(conn, seq)).transpose()?.flatten() else {
        return Ok(Made::Gone("the question is gone"));
    };
    let Some(body) = question.text.as_ref().map(|text| text.body.clone()) else {
        return Ok(Made::Gone("the question is no longer here"));
    };
    let later = delivery.kind == DeliveryKind::LaterMatch;
    let found = if later { later_match(conn, seq, question.seq)? } else { matches(conn, seq)? };
    let shown: Vec<Shown> = found
        .into_iter()
        .filter_map(|(other, gain, one_sided)| show(conn, &body, other, gain, one_sided).transpose())
        .collect::<Result<_, _>>()?;
    if later && shown.is_empty() {
        return Ok(Made::Gone("the match is gone"));
    }
    let sent: Vec<Match<'_>> = shown
        .iter()
        .map(|it| Match {
            id: it.stored.id,
            author: &it.author,
            time: it.stored.origin_time,
            gain_bits: it.gain_bits,
            share: it.share,
            excerpt: &it.excerpt,
            shared: &it.shared,
            message: (it.wire.len() <= ATTACH_MAX).then_some(it.wire.as_slice()),
        })
        .collect();
    Ok(Made::Mail(compose_answer(config, delivery, &person, &thread, &question, &sent)))
}

fn compose_answer(
    config: &Config,
    delivery: &Delivery,
    person: &Person,
    thread: &Thread,
    question: &Stored,
    matches: &[Match<'_>],
) -> Result<Vec<u8>, ComposeError> {
    let later = delivery.kind == DeliveryKind::LaterMatch;
    let posting = &config.gateway.mail_address;
    let confirm = names::tagged(posting, &format!("{}{}", names::CONFIRM_TAG, person.confirm_token));
    let stop_token = names::stop_token(person.id, &person.confirm_token);
    let stop = names::tagged(posting, &format!("{}-{}", names::STOP_TAG, stop_token));
    let publication = match question.scope {
        Scope::Local if config.people.first_post == FirstPost::Ask => {
            Publication::Local { confirm: &confirm }
        }
        Scope::Public if !later => Publication::Public,
        _ => Publication::Silent,
    };
    let ignored: Vec<Ignored> = thread.ignored.iter().filter_map(|text| ignored(text)).collect();
    let days = config.people.later_matches.as_secs() / 86_400;
    compose::answer(&AnswerMail {
        robot: robot(config),
        to: &Mailbox { name: None, address: person.address.clone() },
        message_id: &delivery.message_id,
        date: delivery.created,
        subject: Some(&thread.subject),
        in_reply_to: thread.message_id.as_deref(),
        references: &thread.references,
        occasion: if later { Occasion::Later } else { Occasion::Posted },
        matches,
        ignored: if later { &[] } else { &ignored },
        faults: &[],
        publication,
        later_days: u32::try_from(days).unwrap_or(u32::MAX),
        stop: &stop,
    })
}

/// Reads what was ignored back from the thread: `what`, a line end, `why`.
fn ignored(text: &str) -> Option<Ignored> {
    let (what, why) = text.split_once('\n')?;
    Some(Ignored { what: what.to_owned(), why: why.to_owned().into() })
}

/// The matches of a question, as they were found: (number, gain, C(X|Y)).
fn matches(conn: &Connection, seq: i64) -> Result<Vec<(i64, f64, f64)>, StoreError> {
    let Some(decision) = decisions::get(conn, seq)? else { return Ok(Vec::new()) };
    Ok(decision.matches.iter().map(|found| (found.other, found.gain_bits, found.one_sided_bits)).collect())
}

/// The newcomer `seq`, if it was found close to the `question`.
fn later_match(conn: &Connection, seq: i64, question: i64) -> Result<Vec<(i64, f64, f64)>, StoreError> {
    let Some(decision) = decisions::get(conn, seq)? else { return Ok(Vec::new()) };
    let found = decision.matches.iter().find(|found| found.other == question);
    Ok(found.map(|found| (seq, found.gain_bits, found.one_sided_bits)).into_iter().collect())
}

fn show(
    conn: &Connection,
    question: &[u8],
    seq: i64,
    gain_bits: f64,
    one_sided_bits: f64,
) -> Result<Option<Shown>, StoreError> {
    let Some(stored) = messages::get(conn, seq)? else { return Ok(None) };
    // Made local again, or evicted, since it was found.
    if stored.scope != Scope::Public {
        return Ok(None);
    }
    let Some(text) = &stored.text else { return Ok(None) };
    let cost = gain_bits + one_sided_bits;
    // As it came, without a line of ours: the person's reader sees the way it took to us.
    let wire = text.wire();
    Ok(Some(Shown {
        author: author_shown(&stored.origin),
        gain_bits,
        share: if cost > 0.0 { (gain_bits / cost).clamp(0.0, 1.0) } else { 0.0 },
        excerpt: distance::excerpt(&text.body, question, EXCERPT),
        shared: distance::shared_words(question, &text.body),
        wire,
        stored,
    }))
}

/// An author as people see one: the mail address in a `mailto:`, else the address.
fn author_shown(origin: &Address) -> String {
    origin.mail_address().map_or_else(|| origin.to_string(), str::to_owned)
}

fn notice(conn: &Connection, config: &Config, delivery: &Delivery) -> Result<Made, StoreError> {
    let detail = delivery.detail.as_ref();
    let number = |name: &str| detail.and_then(|detail| detail.get(name)).and_then(serde_json::Value::as_i64);
    let mut paragraphs = vec![format!("On {} {}.", config.gateway.hostname, delivery.why)];
    let mut subject = "cmr-mail: a notice".to_owned();
    if let Some(id) = number("aside") {
        subject = "cmr-mail: mail for the postmaster".to_owned();
        let Some(aside) = asides::get(conn, id)? else { return Ok(Made::Gone("what it was about is gone")) };
        paragraphs.push(format!(
            "It is {} bytes long and can be read with: cmr-mail show --aside {id}. It is kept until {}. \
             Others that came in the same hour: cmr-mail show --aside.",
            aside.bytes,
            aside.forget_after.rfc3339()
        ));
    }
    if number("delivery").is_some() {
        subject = "cmr-mail: a mail was given up".to_owned();
        paragraphs.push(
            "See it with: cmr-mail queue list --all. To try it once more: cmr-mail queue retry NUMBER."
                .to_owned(),
        );
    }
    Ok(Made::Mail(compose::notice(&NoticeMail {
        robot: robot(config),
        message_id: &delivery.message_id,
        date: delivery.created,
        subject: &subject,
        paragraphs: &paragraphs,
    })))
}
