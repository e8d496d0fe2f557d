//! The tags of our addresses that ask for something: `help` of `cmr+help@host`, and those with a
//! token that only its person can have, because it stood in a mail to that person alone.
//!
//! It knows how tags are written and read. It must never know what is done about one.

use super::clock;
use super::people::{STOP_TAG, tagged, token};
use crate::mail::Command;
use crate::message::MessageId;
use crate::store::people::Person;

/// Letters of a check that stands beside an id: 80 bits. Longer ones would not fit into the 64
/// bytes of a local part (RFC 5321, section 4.5.3.1.1).
const CHECK: usize = 16;

/// What a token allows its person to do to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Say that it is good.
    Good,
    /// Say that it is bad.
    Bad,
    /// Get it whole.
    Get,
}

impl Act {
    const ALL: [Act; 3] = [Act::Good, Act::Bad, Act::Get];

    fn word(self) -> &'static str {
        match self {
            Act::Good => "good",
            Act::Bad => "bad",
            Act::Get => "get",
        }
    }
}

/// A tag that asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// A command in words.
    Command(Command),
    /// No more mail, says who has the token.
    Stop(String),
    /// Something about one message, says who has the token.
    Act(Ticket),
    /// A command that this version does not know, or one that is not whole.
    Unknown,
}

/// A person's token for one message, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) act: Act,
    pub(super) id: MessageId,
    pub(super) person: i64,
    check: String,
}

impl Ticket {
    /// Whether this person got it from us.
    pub(super) fn is_of(&self, person: &Person) -> bool {
        self.person == person.id && self.check == check(self.act, self.id, person)
    }
}

fn check(act: Act, id: MessageId, person: &Person) -> String {
    let digest = clock::digest(Some(&person.confirm_token), format!("{} {id}", act.word()).as_bytes());
    token(&digest).chars().take(CHECK).collect()
}

/// The address by which a person does something about a message: `cmr+good-ID-PERSON.CHECK@host`.
pub(super) fn ticket(posting: &str, act: Act, id: MessageId, person: &Person) -> String {
    tagged(posting, &format!("{}-{id}-{}.{}", act.word(), person.id, check(act, id, person)))
}

/// What a tag asks for; `None` for one that asks for nothing, such as an alias. Case does not
/// count: some mail systems change it.
pub(super) fn read(tag: &str) -> Option<Tag> {
    let tag = tag.to_ascii_lowercase();
    let (word, rest) = match tag.split_once('-') {
        Some((word, rest)) => (word, Some(rest)),
        None => (tag.as_str(), None),
    };
    let Some(rest) = rest else {
        return Command::of_word(word).map(Tag::Command);
    };
    if word == STOP_TAG {
        return Some(Tag::Stop(rest.to_owned()));
    }
    if let Some(act) = Act::ALL.into_iter().find(|act| act.word() == word) {
        return Some(ticket_of(act, rest).map_or(Tag::Unknown, Tag::Act));
    }
    Command::of_word(word).map(|_| Tag::Unknown)
}

/// What stands behind this beginning of one of the tags, in lower case.
pub(super) fn behind(tags: &[String], beginning: &str) -> Option<String> {
    tags.iter().find_map(|tag| Some(tag.to_ascii_lowercase().strip_prefix(beginning)?.to_owned()))
}

fn ticket_of(act: Act, rest: &str) -> Option<Ticket> {
    let (id, rest) = rest.split_once('-')?;
    let (person, check) = rest.split_once('.')?;
    Some(Ticket { act, id: id.parse().ok()?, person: person.parse().ok()?, check: check.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::UnixTime;

    fn person(id: i64, confirm_token: &str) -> Person {
        Person {
            id,
            address: "ann@example.net".to_owned(),
            name: "ann".to_owned(),
            token: "t".to_owned(),
            confirm_token: confirm_token.to_owned(),
            created: UnixTime(0),
            confirmed_at: None,
            stopped_at: None,
        }
    }

    #[test]
    fn a_ticket_is_good_for_one_act_one_message_one_person() {
        let (id, other): (MessageId, MessageId) =
            ("0123456789abcdef".parse().unwrap(), "fedcba9876543210".parse().unwrap());
        let ann = person(7, "secret");
        let address = ticket("cmr@example.org", Act::Good, id, &ann);
        let (local, _) = address.split_once('@').unwrap();
        assert!(local.len() <= 64, "{local}");
        let tag = local.strip_prefix("cmr+").unwrap();
        for tag in [tag.to_owned(), tag.to_ascii_uppercase()] {
            let Some(Tag::Act(ticket)) = read(&tag) else { panic!("{tag}") };
            assert_eq!((ticket.act, ticket.id, ticket.person), (Act::Good, id, 7));
            assert!(ticket.is_of(&ann));
            assert!(!ticket.is_of(&person(8, "secret")) && !ticket.is_of(&person(7, "other")));
            assert!(!Ticket { act: Act::Bad, ..ticket.clone() }.is_of(&ann));
            assert!(!Ticket { id: other, ..ticket }.is_of(&ann));
        }
    }

    #[test]
    fn some_mail_systems_write_addresses_in_capitals() {
        let tags = ["x".to_owned(), "YES-B7KQ".to_owned()];
        assert_eq!(behind(&tags, "yes-").as_deref(), Some("b7kq"));
        assert_eq!(behind(&tags, "bounce-"), None);
    }

    #[test]
    fn tags_are_read() {
        for (tag, wanted) in [
            ("help", Some(Tag::Command(Command::Help))),
            ("Search", Some(Tag::Command(Command::Search))),
            ("unsubscribe", Some(Tag::Command(Command::Stop))),
            ("stop-7.abc", Some(Tag::Stop("7.abc".to_owned()))),
            ("good", None),
            ("good-", Some(Tag::Unknown)),
            ("bad-0123456789abcdef", Some(Tag::Unknown)),
            (
                "bad-0123456789abcdef-1.",
                Some(Tag::Act(Ticket {
                    act: Act::Bad,
                    id: "0123456789abcdef".parse().unwrap(),
                    person: 1,
                    check: String::new(),
                })),
            ),
            ("get-x-1.a", Some(Tag::Unknown)),
            ("help-me", Some(Tag::Unknown)),
            ("ann.3fa9", None),
            ("helper.3fa9", None),
            ("yes-abc", None),
            ("", None),
        ] {
            assert_eq!(read(tag), wanted, "{tag}");
        }
    }
}
