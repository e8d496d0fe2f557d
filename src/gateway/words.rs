//! What the robot says about itself and about a person, in paragraphs.
//!
//! It knows the configuration and people. It must never know mails: these are sentences.

use rusqlite::Connection;

use super::people as names;
use super::reply::minute;
use crate::config::Config;
use crate::message::UnixTime;
use crate::policy::{FirstPost, Rate, Scope, human};
use crate::store::limits::{self, Counted};
use crate::store::people::{self, Person};
use crate::store::{StoreError, messages};

/// Threads that `status` names.
const THREADS: usize = 20;

/// The commands, and what each does.
const COMMANDS: [(&str, &str); 5] = [
    ("help", "this text"),
    ("search", "compares the rest of the mail with what is known, and does not store it"),
    ("post", "stores the rest of the mail, whatever its subject or first line is"),
    ("status", "what is known here of you: your posts, and whether they are public"),
    ("stop", "no more mail about what you wrote"),
];

/// How this works.
pub(super) fn help(config: &Config, posting: &str) -> Vec<String> {
    let days = config.people.later_matches.as_secs() / 86_400;
    let mut told = vec![
        "Here is a mail address with a memory. Write to it as you would write to somebody who knows things: \
         a question, an answer, a note, in your own words and your own language."
            .to_owned(),
        format!("  {posting}"),
        format!(
            "It answers with what is closest to your mail, and for {days} days sends you what comes later and is \
             close to it. Closeness is how much shorter your text becomes for somebody who knows the other one."
        ),
    ];
    told.push(match config.people.first_post {
        FirstPost::Ask => "What you write stays here until you have agreed, once, that it is public. Public means: \
             other gateways get copies, show them to people who write something similar, and keep them; nobody can \
             take them all back."
            .to_owned(),
        FirstPost::Publish => "What you write is public at once: other gateways get copies, show them to people who \
             write something similar, and keep them; nobody can take them all back."
            .to_owned(),
    });
    told.push(
        "Commands are a word that is the whole subject, or the whole first line, or in the address. Everything else \
         is a text to be stored:"
            .to_owned(),
    );
    let lines = COMMANDS
        .iter()
        .map(|(word, does)| format!("  {word}\n      {does}\n      {}", names::tagged(posting, word)));
    told.push(lines.collect::<Vec<_>>().join("\n"));
    told.push(
        "Beside each text that we send stand addresses to say that it was good or bad. An empty mail to one of them \
         is enough."
            .to_owned(),
    );
    told
}

/// How a person stands.
///
/// # Errors
/// The database can't be read.
pub(super) fn status(
    conn: &Connection,
    config: &Config,
    posting: &str,
    person: &Person,
    now: UnixTime,
) -> Result<Vec<String>, StoreError> {
    let mut told = Vec::new();
    told.push(match (person.confirmed_at, config.people.first_post) {
        (Some(since), _) => {
            format!("What you post is public; you agreed to that on {} UTC.", minute(since))
        }
        (None, FirstPost::Publish) => "What you post is public at once.".to_owned(),
        (None, FirstPost::Ask) => {
            "What you post is not public, because you have not agreed to it yet. To agree, \
             send a mail with any text to"
                .to_owned()
        }
    });
    if person.confirmed_at.is_none() && config.people.first_post == FirstPost::Ask {
        let tag = format!("{}{}", names::CONFIRM_TAG, person.confirm_token);
        told.push(format!("  {}", names::tagged(posting, &tag)));
    }
    told.push("In public you are".to_owned());
    told.push(format!("  {}", names::tagged(posting, &format!("{}.{}", person.name, person.token))));
    if let Some(since) = person.stopped_at {
        told.push(format!(
            "You asked for no more mail on {} UTC. When you post again you get answers again.",
            minute(since)
        ));
    }
    let open: Vec<_> =
        people::open_threads_of(conn, person.id, now)?.into_iter().filter(|it| it.seq.is_some()).collect();
    if open.is_empty() {
        told.push("None of your posts waits for later matches.".to_owned());
    } else {
        told.push("Later matches are sent for:".to_owned());
    }
    let mut lines = Vec::new();
    for thread in open.iter().take(THREADS) {
        let post = thread.seq.map(|seq| messages::head(conn, seq)).transpose()?.flatten();
        let scope = match post.map(|post| post.scope) {
            Some(Scope::Public) => "public",
            Some(Scope::Local) => "not public",
            None => "no longer here",
        };
        let subject = if thread.subject.is_empty() { "(no subject)" } else { &thread.subject };
        let subject: String = subject.chars().take(50).collect();
        lines.push(format!(
            "  {subject}\n      of {} UTC, {scope}, until {} UTC",
            minute(thread.opened),
            minute(thread.until)
        ));
    }
    if open.len() > THREADS {
        lines.push(format!("  and {} more", open.len() - THREADS));
    }
    if !lines.is_empty() {
        told.push(lines.join("\n"));
    }
    let rate = config.policy.answer_at_most;
    let who = person.address.to_ascii_lowercase();
    let sent = limits::number_since(conn, Counted::Answer, who.as_bytes(), rate.window_start(now))?;
    told.push(format!(
        "You got {sent} mails from here within {}, this one included; {} are the limit.",
        human::show_duration(rate.per),
        rate.count
    ));
    Ok(told)
}

/// No more mail.
pub(super) fn stopped(open: usize, posting: &str) -> Vec<String> {
    let what = match open {
        0 => "You get no more mail from here about what you wrote.".to_owned(),
        1 => "You get no more mail from here about what you wrote; one post waited for later matches."
            .to_owned(),
        n => format!(
            "You get no more mail from here about what you wrote; {n} posts waited for later matches."
        ),
    };
    vec![
        what,
        "This is the last one. What you posted stays where it is. If you post again, you get answers again."
            .to_owned(),
        format!("  {posting}"),
    ]
}

/// The only mail that says that there were too many.
pub(super) fn slow_down(rate: Rate) -> Vec<String> {
    vec![format!(
        "Your last mail was taken, but there were too many within a short time: the limit is {rate}, less within \
         one conversation and for answers to our answers. Further mails are taken and not answered, until it is \
         quieter; this is not said again today."
    )]
}
