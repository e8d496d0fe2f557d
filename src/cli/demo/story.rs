//! What is played: the conversation about planets of the specification, section 3.1.
//!
//! It knows who writes what to whom, and what the asker has to hold at the end. It must never know
//! which way a mail goes: that is up to the gateways, and is told from what the mail servers saw
//! and what `explain` says.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::DemoError;
use super::gateway::Settings;
use super::hand::{self, Places};
use super::host::Step;
use super::letter::{self, Letter, Paper};
use super::show::{self, Candidate, Told};
use super::world::{Ears, Passage, World};
use crate::cli::layout::Paint;
use crate::cli::out;
use crate::gateway::api::Explained;
use crate::message::Message;

/// The domain of the people's mailboxes.
const POST: &str = "post.example";

/// The people: names and mailboxes.
const PEOPLE: [(&str, &str); 4] = [
    ("Alice", "alice@post.example"),
    ("Bob", "bob@post.example"),
    ("Charlie", "charlie@post.example"),
    ("Dave", "dave@post.example"),
];

/// The gateways: whose they are, and how they are set up.
const GATEWAYS: [(&str, Settings<'static>); 3] = [
    (
        "Bob",
        Settings {
            domain: "bob.example",
            operator: "Bob <bob@post.example>",
            listed: &["charlie.example", "dave.example"],
            first_walks: 1,
        },
    ),
    (
        "Charlie",
        Settings {
            domain: "charlie.example",
            operator: "Charlie <charlie@post.example>",
            listed: &["bob.example", "dave.example"],
            first_walks: 2,
        },
    ),
    (
        "Dave",
        Settings {
            domain: "dave.example",
            operator: "Dave <dave@post.example>",
            listed: &["bob.example"],
            first_walks: 1,
        },
    ),
];

/// A person writes, and whatever that leads to.
struct Scene {
    heading: &'static str,
    words: &'static str,
    mail: Paper<'static>,
}

/// What happened before the question.
const BEFORE: [Scene; 4] = [
    Scene {
        heading: "1. Dave writes about tomatoes",
        words: "Dave mails his gateway. It keeps the mail, answers Dave with what is similar, and passes the \
                mail on to a gateway that it knows: so far only Bob's, which Dave has put on its list.",
        mail: Paper {
            from: "Dave <dave@post.example>",
            to: "cmr@dave.example",
            subject: "Tomatoes",
            text: "Tomatoes are sown indoors in March.\n",
        },
    },
    Scene {
        heading: "2. Charlie writes about Mercury",
        words: "Charlie has put both others on the list of his gateway, and lets it ask two at a time.",
        mail: Paper {
            from: "Charlie <charlie@post.example>",
            to: "cmr@charlie.example",
            subject: "Mercury",
            text: "Mercury is the innermost planet.\n",
        },
    },
    Scene {
        heading: "3. Dave writes about Jupiter",
        words: "By now Dave's gateway knows two others, and it picks one: the one whose mails make Dave's \
                mail compress best. The fewer bits it takes for somebody who has read all of them, the \
                more they are about the same things. Nothing else counts: no topics, no keywords.",
        mail: Paper {
            from: "Dave <dave@post.example>",
            to: "cmr@dave.example",
            subject: "Jupiter",
            text: "Jupiter is the largest planet.\n",
        },
    },
    Scene {
        heading: "4. Bob says hello to Alice",
        words: "An ordinary mail from person to person. This is how Alice knows Bob.",
        mail: Paper {
            from: "Bob <bob@post.example>",
            to: "alice@post.example",
            subject: "Hello",
            text: "Hello Alice,\n\nif you wonder about something, ask my gateway: cmr@bob.example\n\nBob\n",
        },
    },
];

const QUESTION: Scene = Scene {
    heading: "5. Alice wants to know",
    words: "Alice has a mail client and nothing else. She does not know who could know, so she asks Bob's \
            gateway.",
    mail: Paper {
        from: "Alice <alice@post.example>",
        to: "cmr@bob.example",
        subject: "A question",
        text: "What is the largest planet?\n",
    },
};

const ASKER: &str = "alice@post.example";

/// What Alice has to hold at the end.
const ANSWER: &str = "Jupiter is the largest planet";

/// Plays it all. With `stay` the world goes on until Ctrl-C.
pub(super) fn play(stay: bool) -> Result<(), DemoError> {
    let paint = out::paint();
    let started = Instant::now();
    let ears = Ears::open()?;
    say(&show::words("Starting three gateways and their mail servers, all on this machine ..."))?;
    let mailboxes: Vec<&str> = PEOPLE.iter().map(|(_, mailbox)| *mailbox).collect();
    let cast: Vec<Settings<'_>> = GATEWAYS.iter().map(|(_, settings)| *settings).collect();
    let mut world = World::start(ears, POST, &mailboxes, &cast)?;
    say(&show::words(&format!("They are ready after {}.", seconds(started.elapsed()))))?;
    prologue(paint)?;
    let mut teller = Teller { paint, ..Teller::default() };
    for scene in &BEFORE {
        teller.play(&mut world, scene)?;
    }
    let asked = Instant::now();
    let (question, id) = teller.play(&mut world, &QUESTION)?;
    let asked = asked.elapsed();
    epilogue(&world, &question, &id, paint)?;
    say(&format!(
        "\n{}",
        show::words(&format!(
            "{} mails in {}, {} of it from the question to the last mail about it.",
            teller.number,
            seconds(started.elapsed()),
            seconds(asked)
        ))
    ))?;
    if stay {
        by_hand(&world, &id, paint)?;
        teller.lenient = true;
        world.until_stopped(|world, passage| teller.tell(world, passage))?;
        say("\n")?;
    }
    world.end()?;
    say(&show::words("Everything is stopped and removed."))
}

fn prologue(paint: Paint) -> Result<(), DemoError> {
    say(&show::heading("Who is who", paint))?;
    say("\n")?;
    say(&show::cast(paint))?;
    say("\n")?;
    say(&show::words(
        "A gateway is a mail address with a memory: it keeps what people mail to it, answers with what \
         is most similar, and passes each mail on to the gateways that seem to know about it. What \
         follows is what the mail servers see, every mail, each with its sender's own reasons.",
    ))
}

/// Shows the answer as Alice's mail client does and looks at it.
fn epilogue(world: &World, question: &Letter, id: &str, paint: Paint) -> Result<(), DemoError> {
    let mailbox: Vec<Letter> = world.mailbox(ASKER).iter().map(|raw| letter::read(raw)).collect();
    let mut thread: Vec<Letter> =
        mailbox.into_iter().filter(|letter| letter.references.contains(&question.message_id)).collect();
    // The last one that brings something; if there is none, the last one.
    let last = thread.iter().rposition(|letter| !letter.attachments.is_empty());
    thread.truncate(last.map_or(thread.len(), |last| last.saturating_add(1)));
    let Some(answer) = thread.pop() else {
        let what = "Alice got no answer in the thread of her question".to_owned();
        return Err(DemoError::Wrong {
            what: format!("{what}{}", reasons(world, id)),
            logs: world.last_words(),
        });
    };
    say(&show::heading("The answer, as Alice's mail client shows it", paint))?;
    thread.insert(0, question.clone());
    say(&show::opened(&answer, &thread, paint))?;
    let checks = [
        (format!("its text holds \"{ANSWER}\""), answer.text.contains(ANSWER)),
        (
            "In-Reply-To and References name the Message-ID of Alice's question, so it stands in her thread"
                .to_owned(),
            answer.in_reply_to == [question.message_id.clone()]
                && answer.references.last() == Some(&question.message_id),
        ),
        (
            "the complete message is attached, with the way it came".to_owned(),
            answer.messages().any(|message| gist(message).contains(ANSWER)),
        ),
    ];
    say(&show::checks(&checks, paint))?;
    for message in answer.messages() {
        let way: Vec<String> = message.hops.addresses().rev().map(|hop| author(&hop.to_string())).collect();
        say(&show::words(&format!("The way it came: {} -> Bob's gateway -> Alice.", way.join(" -> "))))?;
    }
    match checks.iter().find(|(_, good)| !good) {
        None => Ok(()),
        Some((what, _)) => {
            let what = format!("the answer is not as it should be ({what}){}", reasons(world, id));
            Err(DemoError::Wrong { what, logs: world.last_words() })
        }
    }
}

/// Says how to go on by hand.
fn by_hand(world: &World, id: &str, paint: Paint) -> Result<(), DemoError> {
    let program = std::env::current_exe().map_err(DemoError::Runtime)?;
    let gateways = GATEWAYS.iter().zip(world.gateways());
    let gateways = gateways.map(|((whose, _), gateway)| {
        (*whose, format!("cmr@{}", gateway.domain), gateway.smtp, gateway.config.as_path())
    });
    let places = Places {
        program: &program,
        post: world.submission(),
        maildirs: &world.maildirs(),
        person: ASKER,
        gateways: gateways.collect(),
        id,
    };
    say(&hand::by_hand(&places, paint))
}

/// What each gateway says about a message, for a story that went wrong.
fn reasons(world: &World, id: &str) -> String {
    let said = |explained: Explained| {
        let reasons: String = explained.reasons.iter().map(|reason| format!("\n  {reason}")).collect();
        format!("{}{reasons}", explained.verdict)
    };
    let all = world.gateways().iter().filter_map(|gateway| {
        let explained = gateway.explain(id).ok()?;
        Some(format!("\n {}: {}", gateway.domain, said(explained)))
    });
    all.collect()
}

/// Tells what happens, mail by mail.
#[derive(Default)]
struct Teller {
    paint: Paint,
    /// Mails so far.
    number: usize,
    /// What stands in the messages, by id.
    gists: HashMap<String, String>,
    /// The ids of the messages that mails have become, by Message-ID.
    posted: HashMap<String, String>,
    /// Whether a mail that can't be delivered is the end.
    lenient: bool,
}

impl Teller {
    /// Somebody writes; everything that follows is told. Gives that mail, and the id of the
    /// message that it became.
    fn play(&mut self, world: &mut World, scene: &Scene) -> Result<(Letter, String), DemoError> {
        say(&show::heading(scene.heading, self.paint))?;
        say(&show::words(scene.words))?;
        say("\n")?;
        let (mail, id) = letter::write(scene.mail)?;
        let letter = letter::read(&mail);
        let from = PEOPLE.iter().find(|(_, mailbox)| letter.from.contains(mailbox));
        let (_, mailbox) = from.ok_or_else(|| DemoError::Write(format!("nobody is {}", letter.from)))?;
        world.submit(mailbox, scene.mail.to, mail)?;
        world.until_quiet(|world, passage| self.tell(world, passage))?;
        Ok((letter, self.posted.get(&id).cloned().unwrap_or_default()))
    }

    fn tell(&mut self, world: &World, passage: &Passage) -> Result<(), DemoError> {
        let event = &passage.event;
        let mut remark = None;
        if let Step::Undelivered { reason } = &event.step {
            if !self.lenient {
                let (from, to) = (event.from.clone(), event.to.clone());
                return Err(DemoError::Undelivered { from, to, why: reason.clone() });
            }
            remark = Some(format!("not delivered: {reason}"));
        }
        if passage.reply().contains("already known") {
            remark = Some("it is known there".to_owned());
        }
        self.number += 1;
        let letter = letter::read(&event.mail);
        let mut told = Told {
            number: self.number,
            from: name(&event.from),
            to: name(&event.to),
            remark,
            ..Told::default()
        };
        match letter.carries() {
            Some(message) => {
                let id = message.id().to_string();
                self.gists.insert(id.clone(), gist(message));
                told.what =
                    format!("{} wrote: {}", author(&message.origin().address.to_string()), gist(message));
                self.forward(world, &id, &event.from, &event.to, &mut told);
            }
            None => {
                told.what = format!("{}: {}", letter.subject, first_words(&letter));
                self.mail(world, &letter, &event.from, &event.to, passage.reply(), &mut told);
            }
        }
        say(&show::told(&told, self.paint))
    }

    /// Why a gateway sent a message to another one.
    fn forward(&self, world: &World, id: &str, from: &str, to: &str, told: &mut Told) {
        let Some(explained) = explained(world, from, id) else { return };
        let to = format!("mailto:{to}");
        let forward = explained.forwards.iter().find(|forward| forward.to == to);
        told.why = forward.map(|forward| self.readable(&forward.why));
        let is_chosen = explained.peers.iter().any(|peer| peer.chosen && peer.address == to);
        let mut bits: Vec<f64> = explained.peers.iter().filter_map(|peer| peer.bits).collect();
        bits.dedup();
        if is_chosen && bits.len() > 1 {
            let candidate = |peer: &crate::gateway::api::ExplainedPeer| {
                let (name, why) = (name(&peer.address), self.readable(&peer.why));
                Some(Candidate { name, bits: peer.bits?, chosen: peer.address == to, why })
            };
            told.choice = explained.peers.iter().filter_map(candidate).collect();
        }
    }

    /// A mail by a person, or an answer of a gateway.
    fn mail(&mut self, world: &World, letter: &Letter, from: &str, to: &str, reply: &str, told: &mut Told) {
        if let Some(id) = reply.split_whitespace().find(|word| is_id(word)) {
            self.posted.insert(letter.message_id.clone(), id.to_owned());
            self.gists.insert(id.to_owned(), first_words(letter));
            if told.remark.is_none() {
                told.remark = Some(format!("kept as {id}"));
            }
        }
        if world.gateway_of(from).is_none() {
            return;
        }
        let to = format!("mailto:{to}");
        let asked = letter.in_reply_to.iter().find_map(|id| self.posted.get(id));
        for message in letter.messages() {
            self.gists.insert(message.id().to_string(), gist(message));
        }
        let attached: Vec<String> = letter.messages().map(|message| message.id().to_string()).collect();
        for message in letter.messages() {
            told.what.push_str(&format!(
                " {} wrote: {}",
                author(&message.origin().address.to_string()),
                gist(message)
            ));
        }
        // What an answer is about is the question, or what came later and is like it.
        for id in attached.iter().chain(asked) {
            let Some(explained) = explained(world, from, id) else { continue };
            let Some(forward) = explained.forwards.iter().find(|forward| forward.to == to) else { continue };
            let close = explained
                .matches
                .iter()
                .filter(|found| Some(&found.id) == asked || attached.contains(&found.id));
            let close: String =
                close.map(|found| format!("; they share {:.0} bits", found.gain_bits)).collect();
            told.why = Some(format!("{}{close}", self.readable(&forward.why)));
            return;
        }
    }

    /// Reasons as people read them: messages by what they say.
    fn readable(&self, why: &str) -> String {
        self.gists.iter().fold(why.to_owned(), |why, (id, gist)| why.replace(id, gist))
    }
}

fn explained(world: &World, gateway: &str, id: &str) -> Option<Explained> {
    world.gateway_of(gateway)?.explain(id).ok()
}

fn is_id(word: &str) -> bool {
    word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Who an address is, for the reader.
fn name(address: &str) -> String {
    let address = address.strip_prefix("mailto:").unwrap_or(address);
    if let Some((name, _)) = PEOPLE.iter().find(|(_, mailbox)| *mailbox == address) {
        return (*name).to_owned();
    }
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    match GATEWAYS.iter().find(|(_, settings)| settings.domain == domain) {
        Some((name, _)) => format!("{name}'s gateway"),
        None => address.to_owned(),
    }
}

/// Who stands in a header line: a gateway, or a person by the alias that a gateway made.
fn author(address: &str) -> String {
    let mailbox = address.strip_prefix("mailto:").unwrap_or(address);
    let alias = mailbox.split_once('@').and_then(|(local, _)| local.split_once('+')).map(|(_, tag)| tag);
    match alias.and_then(|tag| tag.split_once('.')) {
        Some((first, _)) => {
            let mut letters = first.chars();
            letters.next().map_or_else(String::new, |c| c.to_uppercase().chain(letters).collect())
        }
        None => name(address),
    }
}

/// What a message says, without its subject.
fn gist(message: &Message) -> String {
    let body = String::from_utf8_lossy(&message.body);
    let text = body.split_once("\n\n").map_or(body.as_ref(), |(_, text)| text);
    quoted(text)
}

/// The first paragraph of a mail.
fn first_words(letter: &Letter) -> String {
    let text = letter.text.replace("\r\n", "\n");
    quoted(text.trim().split("\n\n").find(|paragraph| !paragraph.ends_with(',')).unwrap_or_default())
}

fn quoted(text: &str) -> String {
    const MOST: usize = 160;
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(MOST) {
        Some((end, _)) => format!("\"{} ...\"", flat.get(..end).unwrap_or_default().trim_end()),
        None => format!("\"{flat}\""),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn say(text: &str) -> Result<(), DemoError> {
    Ok(out::text(text)?)
}
