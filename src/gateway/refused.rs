//! Why something that came is not taken, and what its sender hears.
//!
//! It knows causes and replies. It must never know what was in the mail, or what is stored.

use crate::keys::SignatureError;
use crate::keys::exchange::BodyError;
use crate::mail::NoPost;
use crate::message::{Address, FormatError, MessageId};
use crate::policy::Refusal;
use crate::policy::exchange::NoExchange;
use crate::smtp::Reply;

/// Why something was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Refused {
    /// The sender's bytes break a rule of the wire format (A2).
    #[error("not a well-formed CMR message: {0}")]
    Format(#[from] FormatError),
    /// What the mail holds can't be read as a message for certain.
    #[error("{0}")]
    Unreadable(String),
    /// The neighbour's signature is missing or wrong.
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// A signature by somebody with whom we share no key.
    #[error(
        "the message is signed, but no key is shared with {0}; send it unsigned, or agree on a key with the operator first"
    )]
    NoKey(Address),
    /// Policy says no.
    #[error("{0}")]
    Policy(#[from] Refusal),
    /// The mail has nothing to post.
    #[error("{0}")]
    NothingToPost(NoPost),
    /// It begins like a key exchange (A5), and is none.
    #[error("{0}")]
    KeyExchange(#[from] BodyError),
    /// A person's text that begins like a key exchange.
    #[error("a text that begins like a key exchange is never posted")]
    KeyInPost,
    /// A key exchange that is not wanted.
    #[error("{0}")]
    NoExchange(#[from] NoExchange),
    /// The same id came with other bytes, from nobody who is known for sure.
    #[error("another message has the id {0} already, with other bytes below that header line")]
    Conflict(MessageId),
    /// A confirmation that nobody asked for.
    #[error("nobody is waiting for this confirmation; write to the posting address itself")]
    NoSuchToken,
    /// A command by mail that this version does not know.
    #[error(
        "{0} is a command that is not understood here; write to the posting address with the subject help to learn what is"
    )]
    UnknownCommand(String),
    /// A token that was never given out for this, or to somebody else.
    #[error(
        "this address was not made here, or not for this; take it unchanged from a mail that you got from here"
    )]
    NoSuchTicket,
    /// A person who is not known, or not known for sure, wants no more mail.
    #[error(
        "nothing shows that this really comes from you; write to the stop address that stands at the end of our mails"
    )]
    NotYours,
    /// What others have sent fills the place where it would be kept.
    #[error("there is no room to keep this at present; please try again later")]
    NoRoom,
    /// Erased here for good.
    #[error("the message {0} was removed here by the operator")]
    Removed(MessageId),
}

impl Refused {
    /// The reply to a direct client, with `text` (this sentence and where it happened).
    pub(super) fn reply(&self, text: &str) -> Reply {
        match self {
            Refused::Format(_)
            | Refused::Unreadable(_)
            | Refused::NothingToPost(_)
            | Refused::KeyExchange(_)
            | Refused::KeyInPost
            | Refused::Conflict(_) => Reply::not_well_formed(text),
            Refused::UnknownCommand(_) => Reply::no_such_address(text),
            Refused::Signature(_) | Refused::NoKey(_) => Reply::wrong_signature(text),
            // RFC 7372 has no code for it; RFC 3463: 4.4.3, directory server failure.
            Refused::Policy(Refusal::NotKnownYet { .. }) => Reply::new(451, 4, 3, text),
            Refused::NoRoom => Reply::new(452, 3, 1, text),
            _ if self.is_temporary() => Reply::too_fast(text),
            Refused::Policy(_)
            | Refused::NoExchange(_)
            | Refused::Removed(_)
            | Refused::NoSuchToken
            | Refused::NoSuchTicket
            | Refused::NotYours => Reply::not_allowed(text),
        }
    }

    /// Whether there may be a key in what was refused: then nothing of it is kept.
    pub(super) fn may_hold_key(&self) -> bool {
        matches!(self, Refused::KeyExchange(_) | Refused::KeyInPost | Refused::NoExchange(_))
    }

    /// Whether the same mail may be taken later: then even a relay is told to keep it.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Refused::Policy(refusal) => refusal.is_temporary(),
            refused => matches!(refused, Refused::NoRoom | Refused::NoExchange(NoExchange::TooMany)),
        }
    }
}
