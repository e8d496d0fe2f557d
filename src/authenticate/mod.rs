//! Who wrote a mail: asks the DNS about SPF, DKIM, DMARC and ARC, and reads what a relay says.
//!
//! This room looks things up and checks signatures; what its [`Facts`] amount to is decided by
//! `policy`, purely. It knows mails, domains and name servers. It must never know the database,
//! the configuration file, or what happens to the mail.
//!
//! Every question has one deadline over everything that it needs from the DNS. What was not
//! answered until then counts as silent, which is neither yes nor no.

mod covers;
mod dns;
mod records;

use std::net::IpAddr;
use std::time::Duration;

use mail_auth::common::cache::NoCache;
use mail_auth::common::crypto::Algorithm;
use mail_auth::common::headers::Header;
use mail_auth::common::verify::{DomainKey, VerifySignature};
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcResult, Error, SpfOutput, SpfResult, Txt, dkim,
};
use tokio::time::{Instant, timeout_at};

pub use dns::{Authenticator, ResolverError};
pub use records::{Answer, SpfWord, reverse};

use crate::mail::{AuthResults, MethodResult};
use crate::message::UnixTime;
use crate::policy::{By, Ended, Evidence, Facts, SignatureFact, SpfFact, judge};

/// Signatures that are looked at in one mail, the topmost ones: each costs a look into the DNS.
const SIGNATURES: usize = 6;

/// The flag `t=y` of a key's record, as mail-auth counts it; a test holds it.
const TESTING: u64 = 0x10;

/// A mail, with what its transport knows about where it is from.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The mail as it came.
    pub raw: &'a [u8],
    /// The ORIGINAL client, if it is known; never a relay.
    pub client: Option<IpAddr>,
    /// The name in its hello.
    pub helo: Option<&'a str>,
    /// The envelope's sender; `None` for the null sender or an unknown one.
    pub sender: Option<&'a str>,
    /// The envelope's recipients; none if they are unknown.
    pub recipients: &'a [String],
    /// The posting addresses, without tags.
    pub posting: &'a [String],
    /// Our host name.
    pub hostname: &'a str,
    /// The authserv-id of a relay that handed the mail over and is believed.
    pub relay: Option<&'a str>,
    /// The domains whose ARC seals are believed.
    pub sealers: &'a [String],
    /// The present time.
    pub now: UnixTime,
    /// Everything has to be answered within this time.
    pub deadline: Duration,
}

/// What was found out about a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The address in From, in lower case, that the evidence is about; empty if there is not
    /// exactly one.
    pub author: String,
    /// Who wrote it.
    pub evidence: Evidence,
}

impl Finding {
    /// Nobody looked.
    #[must_use]
    pub fn none() -> Self {
        Finding { author: String::new(), evidence: Evidence::none() }
    }
}

impl Authenticator {
    /// Finds out who wrote a mail, within the deadline.
    pub async fn examine(&self, question: &Question<'_>) -> Finding {
        // A panic in the parser must not make every sight of such a mail "trouble here".
        let parsed = std::panic::catch_unwind(|| AuthenticatedMessage::parse(question.raw));
        let Ok(Some(mut message)) = parsed else {
            return Finding::none();
        };
        message.dkim_headers.truncate(SIGNATURES);
        message.errors.truncate(SIGNATURES);
        let froms = message.headers.iter().filter(|(name, _)| covers::is(name, "from")).count();
        let author = match (froms, message.from.as_slice()) {
            (1, [author]) => author.clone(),
            _ => return Finding::none(),
        };
        let facts = self.facts(question, &message, &author).await;
        Finding { evidence: judge(&author, &facts), author }
    }

    async fn facts(&self, q: &Question<'_>, message: &AuthenticatedMessage<'_>, author: &str) -> Facts {
        let until = Instant::now() + q.deadline;
        let said = q.relay.and_then(|id| relay_says(message, id));
        let results = said.as_ref().map_or(&[][..], |said| said.results.as_slice());
        let id = said.as_ref().map(|said| said.authserv_id.clone());
        let login = id.clone().filter(|_| results.iter().any(|one| logged_in(one, author)));
        if login.is_some() {
            return Facts { login, ..Facts::default() };
        }
        let (spf, dkim, arc) = tokio::join!(
            timeout_at(until, self.spf(q)),
            timeout_at(until, self.0.verify_dkim(message)),
            timeout_at(until, self.sealed(q, message, author)),
        );
        let mut facts = Facts::default();
        if let Some(domain) = envelope_domain(q) {
            let silent = SpfFact { domain, ended: Ended::Silent, aligned: true, by: By::Us };
            facts.spf.push(match spf {
                Ok(Some(output)) => self.spf_fact(q, message, author, &output, until).await,
                _ => silent,
            });
        }
        if let Some(id) = &id {
            facts.spf.extend(results.iter().filter_map(|one| relay_spf(one, results, author, id)));
        }
        let outputs = dkim.unwrap_or_else(|_| silent(message));
        for output in &outputs {
            let fact = self.signature_fact(q, message, author, output, until).await;
            let Some(mut fact) = fact else {
                if let Some(remark) = malformed(output) {
                    facts.remarks.push(remark);
                }
                continue;
            };
            if fact.ended != Ended::Passed
                && let (Some(id), Some(signature)) = (&id, output.signature())
                && results.iter().filter(|one| is_about(one, signature)).count() == 1
                && !matches!(self.in_earnest(signature, until).await, Ended::Failed(_))
            {
                fact.ended = Ended::Passed;
                fact.covers.aligned |= dmarc_passed(results, author);
                fact.by = By::Relay(id.clone());
            }
            facts.signatures.push(fact);
        }
        match arc {
            Ok(Some(fact)) => facts.signatures.push(fact),
            Ok(None) => {}
            Err(_) => facts.remarks.push("the DNS did not answer about the ARC seal".to_owned()),
        }
        facts
    }

    /// SPF of the envelope's sender. `None`: there is nothing to look at.
    async fn spf(&self, q: &Question<'_>) -> Option<SpfOutput> {
        let (client, sender) = (q.client?, q.sender?);
        envelope_domain(q)?;
        let helo = q.helo.unwrap_or_default();
        Some(self.0.verify_spf(SpfParameters::verify_mail_from(client, helo, q.hostname, sender)).await)
    }

    async fn spf_fact(
        &self,
        q: &Question<'_>,
        message: &AuthenticatedMessage<'_>,
        author: &str,
        output: &SpfOutput,
        until: Instant,
    ) -> SpfFact {
        let client = q.client.map(|ip| ip.to_string()).unwrap_or_default();
        let mut ended = match output.result() {
            SpfResult::Pass => Ended::Passed,
            SpfResult::Fail => Ended::Failed(format!("it does not allow {client}")),
            SpfResult::SoftFail => Ended::Failed(format!("it rather does not allow {client}")),
            SpfResult::Neutral => Ended::Failed(format!("it says nothing about {client}")),
            SpfResult::TempError => Ended::Silent,
            SpfResult::PermError => Ended::Failed("its record is wrong".to_owned()),
            SpfResult::None => Ended::Failed("it has no record".to_owned()),
        };
        let domain = output.domain().trim_end_matches('.').to_ascii_lowercase();
        let mut aligned = same_domain(&domain, domain_of(author));
        if !aligned && ended == Ended::Passed && are_related(&domain, domain_of(author)) {
            let parameters = DmarcParameters::new(message, &[], &domain, output);
            match timeout_at(until, self.0.verify_dmarc(parameters)).await.map(|out| out.spf_result().clone())
            {
                Ok(DmarcResult::Pass) => aligned = true,
                Ok(DmarcResult::TempError(_)) | Err(_) => ended = Ended::Silent,
                Ok(_) => {}
            }
        }
        SpfFact { domain, ended, aligned, by: By::Us }
    }

    /// What one DKIM signature shows. `None`: it can't be read.
    async fn signature_fact(
        &self,
        q: &Question<'_>,
        message: &AuthenticatedMessage<'_>,
        author: &str,
        output: &DkimOutput<'_>,
        until: Instant,
    ) -> Option<SignatureFact> {
        let signature = output.signature()?;
        let mut ended = match output.result() {
            DkimResult::Pass => Ended::Passed,
            DkimResult::TempError(_) => Ended::Silent,
            DkimResult::Neutral(error) | DkimResult::Fail(error) | DkimResult::PermError(error) => {
                Ended::Failed(reason(error))
            }
            DkimResult::None => Ended::Failed("it was not looked at".to_owned()),
        };
        if signature.a == Algorithm::RsaSha1 {
            ended = Ended::Failed("it is made with SHA-1".to_owned());
        }
        let signed = covers::Signed { fields: &signature.h, made: signature.t, value: &signature.b };
        if let Err(why) = covers::whole(message, &signed) {
            ended = Ended::Failed(why);
        }
        if ended == Ended::Passed {
            ended = self.in_earnest(signature, until).await;
        }
        let mut facts = covers::facts(message, &signed, q);
        let domain = signature.d.trim_end_matches('.').to_ascii_lowercase();
        facts.aligned = same_domain(&domain, domain_of(author));
        if !facts.aligned && ended == Ended::Passed && are_related(&domain, domain_of(author)) {
            let nothing = SpfOutput::default();
            let parameters = DmarcParameters::new(message, std::slice::from_ref(output), "", &nothing);
            match timeout_at(until, self.0.verify_dmarc(parameters)).await.map(|o| o.dkim_result().clone()) {
                Ok(DmarcResult::Pass) => facts.aligned = true,
                Ok(DmarcResult::TempError(_)) | Err(_) => ended = Ended::Silent,
                Ok(_) => {}
            }
        }
        let once = covers::once(message, &signed);
        Some(SignatureFact { domain, ended, covers: facts, once, by: By::Us })
    }

    /// A key that its domain only tries out (`t=y`) shows nothing: such a mail is as good as an
    /// unsigned one (RFC 6376, section 3.6.1). The record was asked for when the signature was
    /// verified, and is remembered since.
    async fn in_earnest(&self, signature: &impl VerifySignature, until: Instant) -> Ended {
        let name = signature.domain_key();
        let record = self.0.txt_lookup::<DomainKey>(name, None::<&NoCache<Box<str>, Txt>>);
        match timeout_at(until, record).await {
            Ok(Ok(key)) if key.has_flag(TESTING) => {
                Ended::Failed("its domain only tries the key out (t=y)".to_owned())
            }
            Ok(Ok(_)) => Ended::Passed,
            Ok(Err(_)) | Err(_) => Ended::Silent,
        }
    }

    /// What a listed sealer saw when the mail passed it, if its seal holds. A sealed mail can be
    /// copied like a signed one, so the same conditions hold for the seal's signature.
    async fn sealed(
        &self,
        q: &Question<'_>,
        message: &AuthenticatedMessage<'_>,
        author: &str,
    ) -> Option<SignatureFact> {
        let (last, signature) = (message.as_headers.last()?, message.ams_headers.last()?);
        let listed = |domain: &str| q.sealers.iter().any(|sealer| same_domain(sealer, domain));
        if !listed(&last.header.d) || !listed(&signature.header.d) {
            return None;
        }
        let output = self.0.verify_arc(message).await;
        let signature = &signature.header;
        let signed = covers::Signed { fields: &signature.h, made: signature.t, value: &signature.b };
        let mut ended = match output.result() {
            DkimResult::Pass => Ended::Passed,
            DkimResult::TempError(_) => Ended::Silent,
            DkimResult::Neutral(error) | DkimResult::Fail(error) | DkimResult::PermError(error) => {
                Ended::Failed(reason(error))
            }
            DkimResult::None => return None,
        };
        if let Err(why) = covers::whole(message, &signed) {
            ended = Ended::Failed(why);
        }
        if ended == Ended::Passed {
            ended = self.in_earnest(signature, Instant::now() + q.deadline).await;
        }
        let value = message.aar_headers.last().map(|it| String::from_utf8_lossy(it.value).into_owned())?;
        let said = AuthResults::parse_sealed(&value)?;
        let from = domain_of(author);
        let mut facts = covers::facts(message, &signed, q);
        facts.aligned = dmarc_passed(&said.results, author)
            || said.results.iter().any(|one| {
                let signer = one.property("header.d");
                let sender = one.property("smtp.mailfrom").map(domain_of);
                (one.passed("dkim") && signer.is_some_and(|domain| same_domain(domain, from)))
                    || (one.passed("spf") && sender.is_some_and(|domain| same_domain(domain, from)))
            });
        let sealer = last.header.d.to_ascii_lowercase();
        let once = covers::once(message, &signed);
        Some(SignatureFact { domain: sealer.clone(), ended, covers: facts, once, by: By::Sealer(sealer) })
    }
}

/// The topmost Authentication-Results with this authserv-id (RFC 8601, section 5): those below
/// may have come with the mail.
fn relay_says(message: &AuthenticatedMessage<'_>, authserv_id: &str) -> Option<AuthResults> {
    let fields = message.headers.iter().filter(|(name, _)| covers::is(name, "authentication-results"));
    for (_, value) in fields {
        // One that can't be read may be the relay's: nothing below it is believed.
        let said = AuthResults::parse(&String::from_utf8_lossy(value))?;
        if said.authserv_id.eq_ignore_ascii_case(authserv_id) {
            return Some(said);
        }
    }
    None
}

/// The author logged in at the relay (RFC 8601, section 2.7.4) as the very address in From.
fn logged_in(one: &MethodResult, author: &str) -> bool {
    one.passed("auth")
        && one
            .property("smtp.auth")
            .or_else(|| one.property("smtp.mailfrom"))
            .is_some_and(|who| who.eq_ignore_ascii_case(author))
}

fn relay_spf(one: &MethodResult, all: &[MethodResult], author: &str, id: &str) -> Option<SpfFact> {
    if one.method != "spf" {
        return None;
    }
    let domain = domain_of(one.property("smtp.mailfrom")?).to_ascii_lowercase();
    let from = domain_of(author);
    let aligned = same_domain(&domain, from) || (are_related(&domain, from) && dmarc_passed(all, author));
    let ended = if one.passed("spf") {
        Ended::Passed
    } else {
        Ended::Failed(format!("{id} says {}", one.result.escape_debug()))
    };
    Some(SpfFact { domain, ended, aligned, by: By::Relay(id.to_owned()) })
}

fn dmarc_passed(results: &[MethodResult], author: &str) -> bool {
    results.iter().any(|one| {
        one.passed("dmarc")
            && one.property("header.from").is_some_and(|from| same_domain(domain_of(from), domain_of(author)))
    })
}

/// Whether a `dkim=pass` of a relay is about this signature.
fn is_about(one: &MethodResult, signature: &dkim::Signature) -> bool {
    use base64::Engine as _;
    let value = base64::engine::general_purpose::STANDARD.encode(&signature.b);
    let is = |name: &str, test: &dyn Fn(&str) -> bool| one.property(name).is_none_or(test);
    one.passed("dkim")
        && one.property("header.d").is_some_and(|domain| same_domain(domain, &signature.d))
        && is("header.s", &|selector| selector.eq_ignore_ascii_case(&signature.s))
        // RFC 6008: at least the first eight characters.
        && one.property("header.b").is_some_and(|b| b.len() >= 8 && value.starts_with(b))
}

/// Every signature, unanswered.
fn silent<'x>(message: &'x AuthenticatedMessage<'x>) -> Vec<DkimOutput<'x>> {
    let of = |header: &'x Header<'x, dkim::Signature>| {
        let late = Error::Dns(mail_auth::DnsError::Resolver("no answer in time".to_owned()));
        DkimOutput::temp_err(late).with_signature(&header.header)
    };
    message.dkim_headers.iter().map(of).collect()
}

/// A signature that can't be read, in words.
fn malformed(output: &DkimOutput<'_>) -> Option<String> {
    match output.result() {
        DkimResult::Neutral(error) | DkimResult::Fail(error) | DkimResult::PermError(error) => {
            Some(format!("a DKIM signature is of no use: {}", reason(error)))
        }
        _ => None,
    }
}

fn reason(error: &Error) -> String {
    use mail_auth::dkim::DkimError;
    match error {
        Error::Dkim(DkimError::FailedBodyHashMatch) => "the body was changed after it was signed".to_owned(),
        Error::Dkim(DkimError::SignatureLength) => {
            "it covers only the first part of the mail (l=)".to_owned()
        }
        Error::Dns(_) => "its key is not in the DNS".to_owned(),
        Error::Crypto(_) => "the signature does not fit the mail".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

fn envelope_domain(q: &Question<'_>) -> Option<String> {
    q.client?;
    let (_, domain) = q.sender?.rsplit_once('@')?;
    Some(domain.trim_end_matches('.').to_ascii_lowercase())
}

fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or(address, |(_, domain)| domain).trim_end_matches('.')
}

fn same_domain(one: &str, other: &str) -> bool {
    !one.is_empty() && one.trim_end_matches('.').eq_ignore_ascii_case(other.trim_end_matches('.'))
}

/// Whether two domains can belong to the same organisation: their last two labels are equal.
/// Saves a look into the DNS where they are not; where they are, DMARC decides.
fn are_related(one: &str, other: &str) -> bool {
    let tail = |domain: &str| {
        let mut labels = domain.rsplit('.').map(str::to_ascii_lowercase);
        Some((labels.next()?, labels.next()?))
    };
    tail(one).is_some_and(|it| Some(it) == tail(other))
}
