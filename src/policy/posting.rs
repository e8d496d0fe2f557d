//! Who may post, and who may be answered.

use super::{Authenticity, Refusal};
use crate::message::Address;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Who may post.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhoMayPost {
    /// Everybody, even those whose From may be forged. They are not answered by mail.
    Anyone,
    /// Who is authenticated.
    #[default]
    Authenticated,
    /// Who is authenticated and listed.
    Listed,
}

/// A DKIM signature authorises a post or a command for this long (RFC 6376 `t=`).
pub const DKIM_MAX_AGE: Duration = Duration::from_secs(5 * 86_400);

/// Whether `author` (a mail address without `mailto:`) may post. `listed` has mail addresses,
/// with or without `mailto:`, and whole domains as `@example.org`; case does not matter there.
///
/// # Errors
/// [`Refusal::NotOneMailbox`], [`Refusal::NotAuthenticated`] (or [`Refusal::NotKnownYet`]), or
/// [`Refusal::NotListed`].
pub fn may_post(
    who: WhoMayPost,
    listed: &[String],
    author: &str,
    authenticity: &Authenticity,
) -> Result<(), Refusal> {
    let one = || plain(author).ok_or_else(|| Refusal::NotOneMailbox { author: author.to_owned() });
    if *authenticity == Authenticity::Operator {
        return Ok(());
    }
    // A listing is worth nothing without proof: anybody can write a From.
    if who != WhoMayPost::Anyone && !authenticity.is_authenticated() {
        one()?;
        return Err(not_authenticated(author, authenticity));
    }
    let mailbox = one()?;
    if who == WhoMayPost::Listed && !listed.iter().any(|entry| is_listed(entry, &mailbox)) {
        return Err(Refusal::NotListed { author: author.to_owned() });
    }
    Ok(())
}

/// Whether an automatic mail may go to `wanted`, when `authenticated` is the address that the
/// evidence is about. Both are mail addresses without `mailto:`.
///
/// # Errors
/// [`Refusal::NotAuthenticated`] without evidence, [`Refusal::OtherAddress`] if they are not the
/// same mailbox, [`Refusal::NotOneMailbox`] if it is not one plain address.
pub fn may_be_answered(
    wanted: &str,
    authenticated: &str,
    authenticity: &Authenticity,
) -> Result<(), Refusal> {
    if plain(wanted).is_none() {
        return Err(Refusal::NotOneMailbox { author: wanted.to_owned() });
    }
    if !authenticity.is_authenticated() {
        return Err(not_authenticated(wanted, authenticity));
    }
    if !same_mailbox(wanted, authenticated) {
        return Err(Refusal::OtherAddress {
            wanted: wanted.to_owned(),
            authenticated: authenticated.to_owned(),
        });
    }
    Ok(())
}

/// Whether two mail addresses are the same mailbox: equal local parts, domains without regard to
/// case (RFC 5321 section 2.4: only the receiving host knows whether case matters before the @).
#[must_use]
pub fn same_mailbox(one: &str, other: &str) -> bool {
    match (one.rsplit_once('@'), other.rsplit_once('@')) {
        (Some((a, at)), Some((b, bt))) => a == b && at.eq_ignore_ascii_case(bt),
        _ => false,
    }
}

/// What is known of the DKIM signature of a mail that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DkimFacts {
    /// The signing domain is that of the From address (RFC 7489 section 3.1.1).
    pub aligned: bool,
    /// Our receiving address, with its tag, stands in a To or Cc that is signed.
    pub recipient_signed: bool,
    /// Time since the signature was made.
    pub age: Duration,
    /// It has an `l=` tag.
    pub partial: bool,
    /// How many mailboxes all From fields together have.
    pub from_mailboxes: usize,
    /// (author, Message-ID) was seen before.
    pub seen_before: bool,
}

/// Whether a verified DKIM signature authorises a post or a command.
///
/// # Errors
/// The first of the conditions that fails.
pub fn dkim_authorises(author: &str, facts: &DkimFacts) -> Result<(), Refusal> {
    if facts.from_mailboxes != 1 || plain(author).is_none() {
        return Err(Refusal::NotOneMailbox { author: author.to_owned() });
    }
    if !facts.aligned {
        return Err(Refusal::DkimUnaligned);
    }
    if facts.partial {
        return Err(Refusal::DkimPartial);
    }
    if !facts.recipient_signed {
        return Err(Refusal::DkimRecipient);
    }
    if facts.age >= DKIM_MAX_AGE {
        return Err(Refusal::DkimOld { age: facts.age });
    }
    if facts.seen_before {
        return Err(Refusal::Replayed);
    }
    Ok(())
}

fn not_authenticated(author: &str, authenticity: &Authenticity) -> Refusal {
    let author = author.to_owned();
    match authenticity {
        Authenticity::Unproven { temporary: true, .. } => Refusal::NotKnownYet { author },
        Authenticity::Unproven { why, .. } => Refusal::NotAuthenticated { author, why: why.clone() },
        _ => Refusal::NotAuthenticated { author, why: String::new() },
    }
}

/// The address, if it is one plain addr-spec.
fn plain(author: &str) -> Option<String> {
    let address = Address::new(format!("mailto:{author}")).ok()?;
    address.mail_address().map(str::to_owned)
}

fn is_listed(entry: &str, mailbox: &str) -> bool {
    let entry = entry.trim();
    let entry = entry.strip_prefix("mailto:").unwrap_or(entry);
    match (entry.strip_prefix('@'), mailbox.rsplit_once('@')) {
        (Some(domain), Some((_, of))) => of.eq_ignore_ascii_case(domain),
        _ => entry.eq_ignore_ascii_case(mailbox),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dkim() -> Authenticity {
        Authenticity::Dkim { domain: "example.net".into() }
    }

    #[test]
    fn who_may_post() {
        use WhoMayPost::*;
        let listed = ["ann@example.net".to_owned(), "mailto:Bob@Example.NET".into(), "@house.example".into()];
        let unknown = Authenticity::Unknown;
        #[rustfmt::skip]
        let table: &[(WhoMayPost, &str, &Authenticity, Result<(), &str>)] = &[
            (Anyone, "eve@example.com", &unknown, Ok(())),
            (Anyone, "eve", &unknown, Err("one plain")),
            (Authenticated, "eve@example.com", &unknown, Err("nothing shows")),
            (Authenticated, "eve@example.com", &dkim(), Ok(())),
            (Authenticated, "eve@example.com,bob@example.net", &dkim(), Err("one plain")),
            (Authenticated, "\"eve @\"@example.com", &dkim(), Err("one plain")),
            (Listed, "ann@example.net", &dkim(), Ok(())),
            (Listed, "ANN@EXAMPLE.net", &dkim(), Ok(())),
            (Listed, "bob@example.net", &dkim(), Ok(())),
            (Listed, "anybody@House.Example", &dkim(), Ok(())),
            (Listed, "anybody@not.house.example", &dkim(), Err("not among them")),
            (Listed, "eve@example.net", &dkim(), Err("not among them")),
            // A forged From earns nothing, listed or not.
            (Listed, "ann@example.net", &unknown, Err("nothing shows")),
            (Listed, "whoever", &Authenticity::Operator, Ok(())),
        ];
        for (who, author, authenticity, expected) in table {
            let got = may_post(*who, &listed, author, authenticity);
            match (got, expected) {
                (Ok(()), Ok(())) => {}
                (Err(refusal), Err(words)) => {
                    assert!(refusal.to_string().contains(words), "{author}: {refusal}");
                }
                (got, expected) => panic!("{who:?} {author}: {got:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn answers_go_to_the_very_address() {
        let ok = |wanted: &str, authenticated: &str| may_be_answered(wanted, authenticated, &dkim());
        assert_eq!(ok("ann@example.net", "ann@example.net"), Ok(()));
        assert_eq!(ok("ann@EXAMPLE.net", "ann@example.NET"), Ok(()));
        assert!(matches!(ok("Ann@example.net", "ann@example.net"), Err(Refusal::OtherAddress { .. })));
        assert!(matches!(ok("eve@example.net", "ann@example.net"), Err(Refusal::OtherAddress { .. })));
        assert!(matches!(
            ok("ann@example.net?bcc=eve@x.example", "ann@example.net"),
            Err(Refusal::NotOneMailbox { .. })
        ));
        let forged = may_be_answered("ann@example.net", "ann@example.net", &Authenticity::Unknown);
        assert!(matches!(forged, Err(Refusal::NotAuthenticated { .. })));
    }

    #[test]
    fn dkim_authorises_only_with_every_condition() {
        let good = DkimFacts {
            aligned: true,
            recipient_signed: true,
            age: Duration::from_secs(3600),
            partial: false,
            from_mailboxes: 1,
            seen_before: false,
        };
        assert_eq!(dkim_authorises("ann@example.net", &good), Ok(()));
        let just = DkimFacts { age: DKIM_MAX_AGE - Duration::from_secs(1), ..good };
        assert_eq!(dkim_authorises("ann@example.net", &just), Ok(()));
        #[rustfmt::skip]
        let bad = [
            (DkimFacts { aligned: false, ..good }, Refusal::DkimUnaligned),
            (DkimFacts { recipient_signed: false, ..good }, Refusal::DkimRecipient),
            (DkimFacts { age: DKIM_MAX_AGE, ..good }, Refusal::DkimOld { age: DKIM_MAX_AGE }),
            (DkimFacts { partial: true, ..good }, Refusal::DkimPartial),
            (DkimFacts { from_mailboxes: 2, ..good }, Refusal::NotOneMailbox { author: "ann@example.net".into() }),
            (DkimFacts { from_mailboxes: 0, ..good }, Refusal::NotOneMailbox { author: "ann@example.net".into() }),
            (DkimFacts { seen_before: true, ..good }, Refusal::Replayed),
        ];
        for (facts, refusal) in bad {
            assert_eq!(dkim_authorises("ann@example.net", &facts), Err(refusal));
        }
    }

    #[test]
    fn configuration_names() {
        for (who, name) in [
            (WhoMayPost::Anyone, "anyone"),
            (WhoMayPost::Authenticated, "authenticated"),
            (WhoMayPost::Listed, "listed"),
        ] {
            assert_eq!(serde_json::to_value(who).unwrap(), name);
        }
    }
}
