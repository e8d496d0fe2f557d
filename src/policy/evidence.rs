//! What the checks of a mail amount to: who wrote it, or why that is not known.

use super::posting::{DkimFacts, dkim_authorises};
use super::{Authenticity, Refusal};
use std::fmt::Write as _;
use std::net::IpAddr;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It holds.
    Passed,
    /// It does not, for this reason.
    Failed(String),
    /// The DNS did not answer: nothing can be said now.
    Silent,
}

/// Who made a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// This program.
    Us,
    /// A listed relay, with this authserv-id (RFC 8601).
    Relay(String),
    /// A listed sealer of ARC, by its domain (RFC 8617).
    Sealer(String),
}

/// The sender's domain lets this client send its mail (SPF, RFC 7208), or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpfFact {
    /// The domain of the envelope sender.
    pub domain: String,
    /// What came of it.
    pub ended: Ended,
    /// That domain is the author's (RFC 7489, section 3.1.2).
    pub aligned: bool,
    /// Who looked.
    pub by: By,
}

/// A signature over the mail: DKIM (RFC 6376), or that of an ARC sealer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureFact {
    /// The signing domain.
    pub domain: String,
    /// What came of it.
    pub ended: Ended,
    /// What it covers; `seen_before` is left to the store.
    pub covers: DkimFacts,
    /// What names the mail for good under this signature: it authorises once.
    pub once: String,
    /// Who looked.
    pub by: By,
}

/// Everything that was found out about where a mail is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The original client, if it is in a network that the operator trusts.
    pub trusted: Option<IpAddr>,
    /// A listed relay, by its authserv-id, says that the author logged in there under the very
    /// address in From.
    pub login: Option<String>,
    /// What the envelope sender's domain says.
    pub spf: Vec<SpfFact>,
    /// The signatures.
    pub signatures: Vec<SignatureFact>,
    /// What else is worth knowing when nothing holds.
    pub remarks: Vec<String>,
}

/// Who wrote a mail, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The verdict.
    pub authenticity: Authenticity,
    /// It rests on signatures alone, which a copy of the mail has too: so it counts once, and all of
    /// these have to be new (with the author). Empty: nothing has to be.
    pub once: Vec<String>,
}

impl Evidence {
    /// Nobody looked.
    #[must_use]
    pub fn none() -> Self {
        Evidence { authenticity: Authenticity::Unknown, once: Vec::new() }
    }
}

/// Longest account of what was tried, in characters.
const WHY_MAX: usize = 600;

/// The strongest thing that the facts show about the mail's `author`: the operator's word first,
/// then what no copy of the mail can have, then signatures.
#[must_use]
pub fn judge(author: &str, facts: &Facts) -> Evidence {
    let sure = |authenticity| Evidence { authenticity, once: Vec::new() };
    if let Some(client) = facts.trusted {
        return sure(Authenticity::TrustedNetwork { client });
    }
    if let Some(id) = &facts.login {
        return sure(Authenticity::Relay { authserv_id: id.clone(), method: "auth".to_owned() });
    }
    if let Some(found) = facts.spf.iter().find(|it| it.aligned && it.ended == Ended::Passed) {
        return sure(named(&found.by, "spf", &found.domain));
    }
    let mut why = Vec::new();
    let mut temporary = false;
    for spf in &facts.spf {
        let domain = spf.domain.escape_debug();
        match &spf.ended {
            Ended::Silent => why.push(format!("the DNS did not answer about SPF of {domain}")),
            Ended::Failed(reason) => why.push(format!("SPF of {domain}: {reason}")),
            Ended::Passed => why.push(format!("SPF holds for {domain}, which is not the domain in From")),
        }
        temporary |= spf.ended == Ended::Silent;
    }
    for signature in &facts.signatures {
        let domain = signature.domain.escape_debug();
        let reason = match (&signature.ended, dkim_authorises(author, &signature.covers)) {
            (Ended::Passed, Ok(())) => {
                let authenticity = named(&signature.by, "dkim", &signature.domain);
                // Whoever takes this signature off a copy must not get another try by the next one.
                let once = facts.signatures.iter().filter(|it| it.ended == Ended::Passed);
                return Evidence { authenticity, once: once.map(|it| it.once.clone()).collect() };
            }
            (Ended::Passed, Err(no)) => no.to_string(),
            (Ended::Failed(reason), _) => reason.clone(),
            (Ended::Silent, covers) => {
                temporary |= covers.is_ok() || covers == Err(Refusal::DkimUnaligned);
                "the DNS did not answer".to_owned()
            }
        };
        why.push(format!("DKIM of {domain}: {reason}"));
    }
    why.extend(facts.remarks.iter().cloned());
    if why.is_empty() {
        return Evidence::none();
    }
    let mut text = String::new();
    for (n, one) in why.iter().enumerate() {
        let _ = write!(text, "{}{one}", if n == 0 { "" } else { "; " });
    }
    if text.chars().nth(WHY_MAX).is_some() {
        text = text.chars().take(WHY_MAX).chain(['…']).collect();
    }
    sure(Authenticity::Unproven { why: text, temporary })
}

fn named(by: &By, method: &str, domain: &str) -> Authenticity {
    let domain = domain.to_owned();
    match by {
        By::Us if method == "spf" => Authenticity::Spf { domain },
        By::Us => Authenticity::Dkim { domain },
        By::Relay(id) => Authenticity::Relay { authserv_id: id.clone(), method: method.to_owned() },
        By::Sealer(sealer) => Authenticity::Arc { sealer: sealer.clone(), method: method.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn covers() -> DkimFacts {
        DkimFacts {
            aligned: true,
            recipient_signed: true,
            age: Duration::from_secs(60),
            partial: false,
            from_mailboxes: 1,
            seen_before: false,
        }
    }

    fn signature(ended: Ended, covers: DkimFacts) -> SignatureFact {
        SignatureFact { domain: "example.net".into(), ended, covers, once: "id".into(), by: By::Us }
    }

    fn spf(ended: Ended, aligned: bool) -> SpfFact {
        SpfFact { domain: "example.net".into(), ended, aligned, by: By::Us }
    }

    /// The facts; whether they authenticate, whether once only, whether it may be known later, and
    /// words of the evidence.
    #[test]
    fn what_the_facts_amount_to() {
        use Ended::{Failed, Passed, Silent};
        let to_another = DkimFacts { recipient_signed: false, ..covers() };
        let old = DkimFacts { age: Duration::from_secs(6 * 86_400), ..covers() };
        let unaligned = DkimFacts { aligned: false, ..covers() };
        let facts =
            |spf: Vec<SpfFact>, signatures: Vec<SignatureFact>| Facts { spf, signatures, ..Facts::default() };
        let fail = || Failed("it does not allow 192.0.2.7".into());
        #[rustfmt::skip]
        let table = [
            (Facts::default(), (false, false, false), "nothing shows"),
            (Facts { trusted: Some("10.0.0.1".parse().unwrap()), ..facts(vec![spf(fail(), true)], vec![]) }, (true, false, false), "10.0.0.1"),
            (Facts { login: Some("mx".into()), ..Facts::default() }, (true, false, false), "mx vouches for the author by auth"),
            (facts(vec![spf(Passed, true)], vec![]), (true, false, false), "example.net"),
            // What no copy can have is preferred to what every copy has.
            (facts(vec![spf(Passed, true)], vec![signature(Passed, covers())]), (true, false, false), "SPF"),
            (facts(vec![spf(Passed, false)], vec![signature(Passed, covers())]), (true, true, false), "DKIM"),
            (facts(vec![spf(Passed, false)], vec![]), (false, false, false), "not the domain in From"),
            (facts(vec![spf(fail(), true)], vec![]), (false, false, false), "does not allow 192.0.2.7"),
            (facts(vec![spf(Silent, true)], vec![]), (false, false, true), "did not answer"),
            (facts(vec![], vec![signature(Silent, covers())]), (false, false, true), "did not answer"),
            // Later it would be no better.
            (facts(vec![], vec![signature(Silent, old)]), (false, false, false), "did not answer"),
            (facts(vec![], vec![signature(Passed, to_another)]), (false, false, false), "does not cover a To or Cc"),
            (facts(vec![], vec![signature(Passed, old)]), (false, false, false), "6d old"),
            (facts(vec![], vec![signature(Passed, unaligned)]), (false, false, false), "not by the domain"),
            (facts(vec![], vec![signature(Failed("the body was changed".into()), covers())]), (false, false, false), "body was changed"),
            // One that holds is enough.
            (facts(vec![], vec![signature(Passed, old), signature(Passed, covers())]), (true, true, false), "DKIM"),
        ];
        for (facts, (sure, once, temporary), words) in table {
            let found = judge("ann@example.net", &facts);
            assert_eq!(found.authenticity.is_authenticated(), sure, "{facts:?}");
            assert_eq!(!found.once.is_empty(), once, "{facts:?}");
            assert_eq!(found.authenticity.is_temporary(), temporary, "{facts:?}");
            let said = found.authenticity.to_string();
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_relay_and_a_sealer_are_named() {
        let by = |by| {
            judge(
                "ann@example.net",
                &Facts {
                    signatures: vec![SignatureFact { by, ..signature(Ended::Passed, covers()) }],
                    ..Facts::default()
                },
            )
        };
        assert!(by(By::Relay("mx.example.org".into())).authenticity.to_string().contains("mx.example.org"));
        let sealed = by(By::Sealer("lists.example".into()));
        assert!(sealed.authenticity.to_string().contains("lists.example"), "{sealed:?}");
        assert_eq!(sealed.once, ["id"]);
    }

    #[test]
    fn the_account_is_bounded() {
        let many = vec![spf(Ended::Failed("x".repeat(200)), true); 50];
        let said = judge("a@example.net", &Facts { spf: many, ..Facts::default() }).authenticity.to_string();
        assert!(said.chars().count() < WHY_MAX + 100, "{}", said.len());
    }
}
