//! Every "no" of this program, as a sentence for the person who gets it.

use super::{Rate, human};
use std::net::IpAddr;
use std::time::Duration;

/// Why something is not allowed, and what can be done about it.
///
/// The texts that came from outside are shown with control characters escaped and cut short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The author is not one plain mail address.
    #[error("{} is not one plain mail address; write from an address like name@example.org, with exactly one From", shown(.author))]
    NotOneMailbox {
        /// What stood there.
        author: String,
    },
    /// Nothing proves who wrote it.
    #[error("nothing shows that this really comes from {}{}; send it through the mail server of your own provider, with our address in To, or ask the operator how you can post", shown(.author), because(.why))]
    NotAuthenticated {
        /// Who it claims to be from.
        author: String,
        /// What was looked at, if anything was.
        why: String,
    },
    /// Whether somebody wrote it can't be looked up at present.
    #[error("the DNS did not answer, so nothing shows yet that this really comes from {}; please try again later", shown(.author))]
    NotKnownYet {
        /// Who it claims to be from.
        author: String,
    },
    /// Only listed authors may post.
    #[error("only listed authors may post here and {} is not among them; ask the operator to list you", shown(.author))]
    NotListed {
        /// Who it is from.
        author: String,
    },
    /// The answer would go to somebody else.
    #[error("an answer to {} was wanted, but it is {} who was authenticated; answers go to no other address, so leave out Reply-To or write from the address that is to be answered", shown(.wanted), shown(.authenticated))]
    OtherAddress {
        /// Where the answer was wanted.
        wanted: String,
        /// Who was authenticated.
        authenticated: String,
    },
    /// The DKIM signature does not name us as the recipient.
    #[error(
        "the DKIM signature does not cover a To or Cc with our address, so the mail may be a copy meant for somebody else; write to us directly, with our address in To"
    )]
    DkimRecipient,
    /// The DKIM signature leaves room for text that was added later.
    #[error(
        "the DKIM signature covers only the first part of the mail (l=), so anybody may have added to it; have your mail signed whole"
    )]
    DkimPartial,
    /// The DKIM signature is too old.
    #[error("the DKIM signature is {} old; at most {} are accepted, so please send the mail again", human::show_duration(*.age), human::show_duration(super::DKIM_MAX_AGE))]
    DkimOld {
        /// Its age.
        age: Duration,
    },
    /// The DKIM signature is not that of the author's domain.
    #[error(
        "the DKIM signature is not by the domain of the From address; send through the mail server of your own provider"
    )]
    DkimUnaligned,
    /// This mail was here before.
    #[error(
        "a mail of this author with this Message-ID was taken before; if it is not a copy, send it as a new mail"
    )]
    Replayed,
    /// Too often.
    #[error("more than {rate} is too fast; try again in {}", human::show_duration(*.retry))]
    TooFast {
        /// The limit.
        rate: Rate,
        /// How long until there is room again.
        retry: Duration,
    },
    /// Too much that nothing proves, from one network.
    #[error("more than {rate} that nothing proves came from {}; sign with a key that is known here, or try again in {}", shown(.network), human::show_duration(*.retry))]
    TooFastFrom {
        /// The network.
        network: String,
        /// The limit.
        rate: Rate,
        /// How long until there is room again, at most.
        retry: Duration,
    },
    /// The router has to catch up first.
    #[error(
        "{waiting} messages wait for routing here, and authors and gateways that are not known well are heard when they are done; please try again later"
    )]
    Backlog {
        /// How many wait, at least.
        waiting: usize,
    },
    /// On the block list.
    #[error("{} is blocked here; the operator can lift it", shown(.what))]
    Blocked {
        /// What is blocked: an address or a host.
        what: String,
    },
    /// Not an address that anything can be sent to.
    #[error("{} is not an address that can be sent to: it must be mailto: with one plain mail address, or a http, https, udp or ssh URL with a host", shown(.address))]
    NoRecipient {
        /// The address.
        address: String,
    },
    /// Never heard from, never told about.
    #[error("{} has not been listed and has never sent anything authenticated; list it as a peer, or wait until it writes first", shown(.address))]
    Stranger {
        /// The address.
        address: String,
    },
    /// A mailbox of our own house.
    #[error("{} is in a domain of this house, where nothing goes unless the operator lists the address", shown(.address))]
    LocalDomain {
        /// The address.
        address: String,
    },
    /// An address inside somebody's network.
    #[error("{} is not reachable from everywhere ({ip}); list it as a peer if it is meant", shown(.address))]
    NotRoutable {
        /// The address.
        address: String,
        /// What its host is.
        ip: IpAddr,
    },
    /// A host name that means something else on every machine.
    #[error("the host of {} is a name for a local network; list it as a peer if it is meant", shown(.address))]
    LocalName {
        /// The address.
        address: String,
    },
    /// Enough was learned from that corner.
    #[error("{} other contacts at {} are known already, more are not learned; list {} as a peer if it is meant", super::LEARNED_PER_GROUP, shown(.group), shown(.address))]
    TooManyAlike {
        /// The address.
        address: String,
        /// Its domain or network.
        group: String,
    },
    /// Too many addresses that have shown nothing.
    #[error(
        "{rate} addresses that nobody listed and that have shown nothing are sent to for the first time at most; list it as a peer if it is meant"
    )]
    Strangers {
        /// The limit.
        rate: Rate,
    },
    /// That address was sent enough.
    #[error("{} was sent {rate}, which is the limit", shown(.address))]
    EnoughTo {
        /// The address.
        address: String,
        /// The limit.
        rate: Rate,
    },
    /// Another service than the web.
    #[error("port {port} of {} is not one of the web (80, 443, 1024 or more); list it as a peer if it is meant", shown(.address))]
    NoWebPort {
        /// The address.
        address: String,
        /// Its port.
        port: u16,
    },
    /// The person wants no more.
    #[error("the person asked for no more mail about this")]
    Stopped,
    /// The post is too old for later matches.
    #[error("the post is {} old; later matches are sent for {}", human::show_duration(*.age), human::show_duration(*.window))]
    PostTooOld {
        /// Age of the post.
        age: Duration,
        /// For how long later matches are sent.
        window: Duration,
    },
    /// The person got enough today.
    #[error("the person got {sent} later matches today; {} are the limit", super::LATER_PER_DAY)]
    EnoughToday {
        /// How many.
        sent: u32,
    },
    /// This author caused enough of them.
    #[error(
        "this author caused {sent} of the later matches of the person today; {} are the limit",
        super::LATER_PER_AUTHOR
    )]
    EnoughOfAuthor {
        /// How many.
        sent: u32,
    },
}

impl Refusal {
    /// Whether the same thing may be allowed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Refusal::TooFast { .. }
                | Refusal::TooFastFrom { .. }
                | Refusal::Backlog { .. }
                | Refusal::NotKnownYet { .. }
        )
    }
}

/// What was looked at, in parentheses.
fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({})", why.escape_debug()) }
}

/// Text from outside, safe in a mail, a log and on a terminal.
fn shown(text: &str) -> String {
    const MOST: usize = 120;
    let mut out: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_tamed() {
        let author = format!("a\x1b[2J\r\n@{}", "x".repeat(500));
        let sentence = Refusal::NotListed { author }.to_string();
        assert!(!sentence.chars().any(char::is_control), "{sentence}");
        assert!(sentence.chars().count() < 300);
        assert!(sentence.contains("ask the operator"));
    }

    #[test]
    fn says_numbers() {
        let refusal = Refusal::TooFast { rate: "20/h".parse().unwrap(), retry: Duration::from_secs(90) };
        assert_eq!(refusal.to_string(), "more than 20/h is too fast; try again in 1m30s");
        let refusal = Refusal::DkimOld { age: Duration::from_secs(6 * 86_400) };
        assert!(refusal.to_string().contains("6d old; at most 5d"), "{refusal}");
    }
}
