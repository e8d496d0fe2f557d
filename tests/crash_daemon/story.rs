//! The story: a handful of mails that between them make every kind of transaction, in steps that
//! can each be repeated.

use std::sync::LazyLock;

use cmr_mail::gateway::api::{KeyAction, Request};
use cmr_mail::keys::Scheme;
use cmr_mail::message::{Message, UnixTime};

use crate::support::daemon::Config;
use crate::support::messages::{Mail, in_seconds, message, signed};
use crate::support::sink::Sink;

pub(crate) const ONE: &str = "mailto:cmr@one.test";
pub(crate) const TWO: &str = "mailto:cmr@two.test";
/// A pinned peer whose host refuses everything for good.
pub(crate) const GONE: &str = "mailto:cmr@gone.test";
/// The names of two steps.
pub(crate) const KEY_SET: &str = "a key is set";
pub(crate) const REMOVED: &str = "moons are removed";
/// Where posts and messages go.
pub(crate) const CMR: &str = "cmr@home.test";
const ANNA: &str = "anna@people.test";
const BEN: &str = "ben@people.test";
const CARL: &str = "carl@people.test";
const KEY: &str = "a secret that only two of them share";

/// Messages that the pool holds: full when the first part of the story is over.
const POOL: &str = "8";

/// Something that happens. Each can be done again if nobody knows whether it was done.
pub(crate) enum Step {
    /// A mail comes.
    Mail { name: &'static str, from: &'static str, to: &'static str, raw: Vec<u8> },
    /// A person agrees to being published, with the token that the database holds.
    Confirm { name: &'static str, person: &'static str },
    /// The operator types this.
    Verb { name: &'static str, args: Vec<String>, request: Request },
    /// Everything is left to settle.
    Rest,
}

impl Step {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Step::Mail { name, .. } | Step::Confirm { name, .. } | Step::Verb { name, .. } => name,
            Step::Rest => "rest",
        }
    }
}

pub(crate) struct Story {
    pub(crate) steps: Vec<Step>,
    /// The id of the message that the operator removes.
    pub(crate) removed: String,
}

/// The house of the story.
pub(crate) fn config(sink: &Sink) -> Config {
    // Such a refusal says nothing about the address, so all that is for it is tried. One that does
    // ends the mail to it after some, and how many of those had left depends on the time.
    sink.refuse("cmr@gone.test", &["550 5.7.1 not from you"; 1000]);
    // One mail goes there: its refusal counts once, however often it comes.
    sink.refuse(CARL, &["550 5.1.1 nobody of that name is here"; 1000]);
    // Once only: the next try succeeds.
    sink.refuse("cmr@two.test", &["451 4.3.0 not now, please"]);
    Config::new()
        .trusting_loopback()
        .smarthost(sink.address())
        // Each person of the story posts once. Sending that once more is no second post.
        .text("policy", "post_at_most", "1/d")
        .text("policy", "answer_at_most", "1000/h")
        .set("pool", "max_messages", POOL)
        .set("routing", "pinned", format!("{:?}", [ONE, TWO, GONE]))
}

/// The story of this process: the same mails whenever it is told.
pub(crate) fn story() -> Story {
    static START: LazyLock<UnixTime> = LazyLock::new(|| in_seconds(-60));
    // With one header line each: the first router sends a message to every other peer, so that
    // nothing is drawn by lot.
    let cmr = |n: i64, peer: &str, body: &str| -> Message {
        let message = message(&[(UnixTime(START.0 + n * 1_000_000), peer)], body);
        if peer == ONE { signed(message, Scheme::Hmac, KEY) } else { message }
    };
    let jupiter = cmr(1, ONE, JUPITER);
    let harbour = cmr(2, TWO, HARBOUR);
    let bread = cmr(3, TWO, BREAD);
    let looms = cmr(4, TWO, LOOMS);
    let moons = cmr(5, ONE, MOONS);
    let chess = cmr(6, ONE, CHESS);
    let snow = cmr(7, TWO, SNOW);
    let dough = cmr(8, ONE, DOUGH);
    let removed = moons.id().to_string();

    let mail = |name: &'static str, from: &'static str, parts: &[&[u8]]| {
        let parts: Vec<(&str, &str, &[u8])> = parts.iter().map(|part| ("x.cmr", "base64", *part)).collect();
        Step::Mail { name, from, to: CMR, raw: Mail::from(from).attachments(&parts).write() }
    };
    let one = |name: &'static str, message: &Message| mail(name, "cmr@one.test", &[&message.write()]);
    let two = |name: &'static str, message: &Message| mail(name, "cmr@two.test", &[&message.write()]);
    let post = |name: &'static str, from: &'static str, subject: &str, text: &str| {
        let mail = Mail::from(from)
            .field("Message-ID", &format!("<{}@people.test>", name.replace(' ', ".")))
            .field("Subject", subject)
            .text(text);
        Step::Mail { name, from, to: CMR, raw: mail.write() }
    };
    let verb = |name: &'static str, args: &[&str], request: Request| Step::Verb {
        name,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        request,
    };
    let set = KeyAction::Set {
        address: ONE.to_owned(),
        hex: KEY.bytes().map(|byte| format!("{byte:02x}")).collect(),
        scheme: Some("hmac".to_owned()),
    };

    // A mail without a date would have another id at each receipt.
    let mut undated = Mail::from(CARL).field("Message-ID", "<tides@people.test>").text(TIDES);
    undated.fields.retain(|(name, _)| name != "Date");
    let undated = Step::Mail { name: "carl writes", from: CARL, to: CMR, raw: undated.write() };
    let word = Mail::from(BEN).field("Subject", "help").text("Who is there?").write();

    let steps = vec![
        verb(
            KEY_SET,
            &["keys", "set", ONE, "--text", KEY, "--scheme", "hmac"],
            Request::Keys { action: set },
        ),
        one("jupiter", &jupiter),
        post("anna asks", ANNA, "Planets", ASKED),
        Step::Rest,
        Step::Confirm { name: "anna confirms", person: ANNA },
        two("harbour", &harbour),
        mail("two and a bad one", "cmr@two.test", &[&bread.write(), b"no message\r\n", &looms.write()]),
        one("jupiter again", &jupiter),
        one("moons", &moons),
        post("ben asks", BEN, "Moons", ASKED_TOO),
        undated,
        Step::Mail { name: "a word to the postmaster", from: BEN, to: "postmaster@mx.home.test", raw: word },
        Step::Rest,
        // From here on each new message costs an old one of its sender.
        one("chess", &chess),
        two("snow", &snow),
        Step::Rest,
        verb(REMOVED, &["remove", &removed], Request::Remove { id: removed.clone() }),
        one("dough", &dough),
        Step::Rest,
    ];
    Story { steps, removed }
}

const TIDES: &str = "Tides follow the moon with a delay that each coast has for itself.";
const JUPITER: &str = "Jupiter is the largest planet of the solar system; its great red spot is a storm \
    that is older than any letter about it.";
const ASKED: &str = "Which one is the largest planet of the solar system? Is its great red spot a storm?";
const MOONS: &str = "The largest planet of the solar system has a great red spot and ninety moons besides; \
    Ganymede is the largest moon of all and Callisto the oldest one.";
const ASKED_TOO: &str = "How many moons has the largest planet of the solar system? Ganymede is one and \
    Callisto another.";
const HARBOUR: &str = "The harbour of the old town silts up faster than the dredgers can clear it, and the \
    pilots complain every spring.";
const BREAD: &str = "Sourdough bread wants a wet dough, a long night in the cold, and an oven as hot as it \
    gets; steam gives the crust.";
const LOOMS: &str = "A floor loom with eight shafts weaves twill and damask; warp it with linen and beat it \
    gently.";
const CHESS: &str = "In the endgame the king is a strong piece: march it to the centre before the pawns \
    begin to run.";
const SNOW: &str = "Powder avalanches start on leeward slopes after storms; dig a pit and look for weak \
    layers of hoar.";
const DOUGH: &str = "My sourdough bread never rises: I give it a wet dough, a long night in the cold, and \
    an oven as hot as it gets, and steam.";
