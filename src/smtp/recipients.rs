//! Which recipients a receiver takes mail for: a fixed list, so that it is never a relay.

use thiserror::Error;

use super::path::{Mailbox, PathError};

/// The recipients that are accepted: the posting addresses, each with `+anything`, and
/// `postmaster` and `abuse` of their domains and of the host itself.
///
/// Upper and lower case are the same, in the local part too: people type addresses.
#[derive(Clone, Debug, Default)]
pub struct Recipients {
    posting: Vec<(String, String)>,
    domains: Vec<String>,
}

/// A posting address that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the posting address {address:?} is not a mail address: {reason}")]
pub struct RecipientsError {
    /// The address as it was given.
    pub address: String,
    /// What is wrong with it.
    pub reason: PathError,
}

impl Recipients {
    /// `posting` are plain addresses, `cmr@example.org`; `hostname` is the receiver's name.
    pub fn new(posting: &[String], hostname: &str) -> Result<Self, RecipientsError> {
        let mut recipients = Recipients { posting: Vec::new(), domains: vec![fold(hostname)] };
        for address in posting {
            let mailbox = Mailbox::parse(address)
                .map_err(|reason| RecipientsError { address: address.clone(), reason })?;
            let (local, domain) = (fold(mailbox.local()), fold(mailbox.domain()));
            if !recipients.domains.contains(&domain) {
                recipients.domains.push(domain.clone());
            }
            recipients.posting.push((local, domain));
        }
        Ok(recipients)
    }

    /// True when mail to this address is accepted. Pure and quick.
    pub fn accepts(&self, mailbox: &Mailbox) -> bool {
        let (local, domain) = (fold(mailbox.local()), fold(mailbox.domain()));
        if matches!(local.as_str(), "postmaster" | "abuse") && self.domains.contains(&domain) {
            return true;
        }
        self.posting.iter().any(|(ours, at)| {
            *at == domain
                && local.strip_prefix(ours.as_str()).is_some_and(|tag| tag.is_empty() || tag.starts_with('+'))
        })
    }
}

fn fold(text: &str) -> String {
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_addresses_are_accepted() {
        let posting = ["cmr@example.org".to_owned(), "Grün@lists.example".to_owned()];
        let recipients = Recipients::new(&posting, "mx.example.org").unwrap();
        let rows = [
            ("cmr@example.org", true),
            ("CMR@Example.ORG", true),
            ("cmr+help@example.org", true),
            ("cmr+NAME.t0k3n+x@example.org", true),
            ("\"cmr+a b\"@example.org", true),
            ("cmr+@example.org", true),
            ("grün@lists.example", true),
            ("GRÜN+x@LISTS.example", true),
            ("postmaster@example.org", true),
            ("Postmaster@mx.example.org", true),
            ("abuse@lists.example", true),
            ("cmrx@example.org", false),
            ("cmr-x@example.org", false),
            ("xcmr@example.org", false),
            ("cmr@mx.example.org", false),
            ("cmr@sub.example.org", false),
            ("cmr@example.org.evil.example", false),
            ("cmr%evil.example@example.org", false),
            ("evil.example!cmr@example.org", false),
            ("\"cmr@evil.example\"@example.org", false),
            ("cmr@[127.0.0.1]", false),
            ("postmaster@evil.example", false),
        ];
        for (address, want) in rows {
            let mailbox = Mailbox::parse(address).unwrap();
            assert_eq!(recipients.accepts(&mailbox), want, "{address}");
        }
    }

    #[test]
    fn a_wrong_posting_address_is_named() {
        let error = Recipients::new(&["cmr".to_owned()], "mx").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the posting address \"cmr\" is not a mail address: the address has no domain"
        );
    }
}
