//! The brake on what nothing proves: an address in an unsigned message or a forged From costs
//! nothing, so limits by author hold nobody back who invents authors. What a stranger can't invent
//! is the network that the mail comes from, and nobody can hide how much waits for the router. A
//! proof of a mail's author is worth little more: whoever has a domain has as many authors as names.
//!
//! It knows counts and the client's network. It must never know what is in a message.

use rusqlite::Connection;

use crate::message::UnixTime;
use crate::policy::{Rate, Refusal};
use crate::store::StoreError;
use crate::store::limits::{self, Counted};
use crate::store::messages;

/// While so many messages wait for the router, only those are taken whose key is known, or whose
/// author has confirmed before: the router works in the order of arrival, and people who can be told apart from a flood would wait
/// behind it. It decides on hundreds a second, so that this is a wait of seconds.
const BACKLOG: usize = 1000;

/// What holds back an arrival that is not from a network of our own.
pub(super) struct Brake {
    /// What its client belongs to; none where the client is unknown (a relay that does not say it,
    /// a pipe): it has a mail system in front of it, and one count for all of them would let one
    /// stranger silence the others.
    network: Option<String>,
    now: UnixTime,
    backlog: Option<Refusal>,
    rate: Option<Refusal>,
}

/// How much is known of who a message is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// A key, or an author who has confirmed: never held back.
    Well,
    /// The mail's author is known for sure, and nothing else: whoever has a domain has as many of
    /// them as there are names.
    ByMail,
    /// Not at all.
    Not,
}

impl Brake {
    /// Looks at the counts once for the whole mail, in which there are `messages`: they are taken
    /// together or come again together. `network`: that of the client, if it is known.
    ///
    /// # Errors
    /// Those of any read.
    pub(super) fn new(
        tx: &Connection,
        network: Option<String>,
        rate: Rate,
        messages: usize,
        now: UnixTime,
    ) -> Result<Brake, StoreError> {
        let waiting = messages::unrouted_up_to(tx, BACKLOG)?;
        let backlog = (waiting >= BACKLOG).then_some(Refusal::Backlog { waiting });
        let rate = match &network {
            Some(network) => {
                let since = rate.window_start(now);
                let before = limits::number_since(tx, Counted::Unproven, network.as_bytes(), since)?;
                // A mail with more messages than are allowed could never come in otherwise.
                let with_these = if before == 0 {
                    0
                } else {
                    u32::try_from(messages).unwrap_or(u32::MAX).saturating_sub(1)
                };
                let allowed = rate.allows(before.saturating_add(with_these));
                let network = network.clone();
                (!allowed).then_some(Refusal::TooFastFrom { network, rate, retry: rate.per })
            }
            None => None,
        };
        Ok(Brake { network, now, backlog, rate })
    }

    /// Why a message of this mail that is new is not taken now.
    pub(super) fn refusal(&self, known: Known) -> Option<&Refusal> {
        match known {
            Known::Well => None,
            Known::ByMail => self.backlog.as_ref(),
            Known::Not => self.backlog.as_ref().or(self.rate.as_ref()),
        }
    }

    /// Such a message was taken.
    ///
    /// # Errors
    /// Those of any write.
    pub(super) fn note(&self, tx: &Connection, known: Known) -> Result<(), StoreError> {
        let Some(network) = self.network.as_ref().filter(|_| known == Known::Not) else { return Ok(()) };
        limits::note(tx, Counted::Unproven, network.as_bytes(), self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Address, Hop, Message, Timestamp};
    use crate::store::Store;
    use crate::store::messages::NewMessage;

    const NOW: UnixTime = UnixTime(1_700_000_000_000_000);

    fn refusal(store: &Store, network: Option<&str>, rate: &str) -> Option<Refusal> {
        refusal_of(store, network, rate, 1)
    }

    fn refusal_of(store: &Store, network: Option<&str>, rate: &str, messages: usize) -> Option<Refusal> {
        let (network, rate) = (network.map(str::to_owned), rate.parse().unwrap());
        let look = move |tx: &Connection| {
            let brake = Brake::new(tx, network, rate, messages, NOW)?;
            if brake.refusal(Known::Not).is_none() {
                brake.note(tx, Known::Not)?;
            }
            assert_eq!(brake.refusal(Known::Well), None);
            assert_eq!(brake.refusal(Known::ByMail), brake.backlog.as_ref());
            Ok(brake.refusal(Known::Not).cloned())
        };
        store.write(look).unwrap()
    }

    #[test]
    fn strangers_wait_while_the_router_catches_up() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(refusal(&store, None, "1/h"), None);
        assert_eq!(refusal(&store, None, "1/h"), None, "an unknown client is counted with nobody");
        assert_eq!(refusal(&store, Some("net"), "1/h"), None);
        assert!(matches!(refusal(&store, Some("net"), "1/h"), Some(Refusal::TooFastFrom { .. })));
        // A mail with many is taken whole by itself, and never on top of others.
        assert_eq!(refusal_of(&store, Some("far"), "3/h", 100), None);
        assert!(refusal_of(&store, Some("far"), "3/h", 3).is_some());
        assert_eq!(refusal_of(&store, Some("far"), "3/h", 2), None);
        store
            .write(|tx| {
                for number in 0..BACKLOG {
                    let time =
                        Timestamp::parse(format!("2023/11/14 12:00:00.{number:04}").as_bytes()).unwrap();
                    let origin = Address::try_from("mailto:a@flood.test").unwrap();
                    let message = Message::new(Hop::new(time, origin), number.to_string().into_bytes());
                    messages::admit(tx, &NewMessage::new(message, NOW, "smtp"))?;
                }
                Ok(())
            })
            .unwrap();
        let refused = refusal(&store, None, "1000/h");
        assert_eq!(refused, Some(Refusal::Backlog { waiting: BACKLOG }));
        assert!(refused.unwrap().is_temporary());
    }
}
