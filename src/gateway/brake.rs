//! The brake on what nothing proves: an address in an unsigned message or a forged From costs
//! nothing, so limits by author hold nobody back who invents authors. What a stranger can't invent
//! is the network that the mail comes from, and nobody can hide how much waits for the router.
//!
//! It knows counts and the client's network. It must never know what is in a message.

use rusqlite::Connection;

use crate::message::UnixTime;
use crate::policy::{Rate, Refusal};
use crate::store::StoreError;
use crate::store::limits::{self, Counted};
use crate::store::messages;

/// While so many messages wait for the router, nothing more is taken that nothing proves: the
/// router works in the order of arrival, and people who can be told apart from a flood would wait
/// behind it. It decides on hundreds a second, so that this is a wait of seconds.
const BACKLOG: usize = 1000;

/// What an arrival that nothing proves counts for.
pub(super) struct Brake {
    /// What its client belongs to; none where the client is unknown (a relay that does not say it,
    /// a pipe, a mailbox): it has a mail system in front of it, and one count for all of them
    /// would let one stranger silence the others.
    network: Option<String>,
    now: UnixTime,
    refusal: Option<Refusal>,
}

impl Brake {
    /// Looks at the counts once for the whole mail: what is in one mail is taken together or
    /// comes again together. `network`: that of the client, if it is known.
    ///
    /// # Errors
    /// Those of any read.
    pub(super) fn new(
        tx: &Connection,
        network: Option<String>,
        rate: Rate,
        now: UnixTime,
    ) -> Result<Brake, StoreError> {
        let waiting = messages::unrouted_up_to(tx, BACKLOG)?;
        if waiting >= BACKLOG {
            return Ok(Brake { network, now, refusal: Some(Refusal::Backlog { waiting }) });
        }
        let refusal = match &network {
            Some(network) => {
                let since = rate.window_start(now);
                let number = limits::number_since(tx, Counted::Unproven, network.as_bytes(), since)?;
                let refusal = Refusal::TooFastFrom { network: network.clone(), rate, retry: rate.per };
                (!rate.allows(number)).then_some(refusal)
            }
            None => None,
        };
        Ok(Brake { network, now, refusal })
    }

    /// Why a message of this mail that is new and unproven is not taken now.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Such a message was taken.
    ///
    /// # Errors
    /// Those of any write.
    pub(super) fn note(&self, tx: &Connection) -> Result<(), StoreError> {
        let Some(network) = &self.network else { return Ok(()) };
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
        let (network, rate) = (network.map(str::to_owned), rate.parse().unwrap());
        let look = move |tx: &Connection| {
            let brake = Brake::new(tx, network, rate, NOW)?;
            brake.note(tx)?;
            Ok(brake.refusal().cloned())
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
