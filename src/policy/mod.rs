//! Who may post, who may be answered, who may be written to, how often, and what is public.
//!
//! Pure functions over facts that others have established: this room decides, it never finds out.
//! It knows addresses and times as values. It must never know sockets, DNS, the clock, the
//! database or the configuration file.
//!
//! Every refusal is a [`Refusal`]: a sentence for the person who is refused, with what to do.

mod block;
pub mod bounce;
pub mod budget;
mod evidence;
pub mod exchange;
pub mod human;
pub mod junk;
mod network;
mod posting;
mod rate;
mod refusal;
pub mod reputation;
mod scope;
mod sending;

pub use block::Block;
pub use evidence::{By, Ended, Evidence, Facts, SignatureFact, SpfFact, judge};
pub use network::{is_globally_routable, is_trusted};
pub use posting::{
    DKIM_MAX_AGE, DkimFacts, WhoMayPost, dkim_authorises, may_be_answered, may_post, same_mailbox,
};
pub use rate::{Rate, RateWindow};
pub use refusal::Refusal;
pub use scope::{Authenticity, FirstPost, Origin, Provenance, Scope, scope_of};
pub use sending::{
    LATER_PER_AUTHOR, LATER_PER_DAY, LEARNED_PER_GROUP, LaterMatch, Standing, contact_group, is_key_exchange,
    is_web_port, may_connect, may_learn, may_send_later, may_send_to,
};
