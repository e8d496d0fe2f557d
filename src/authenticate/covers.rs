//! What a signature covers: which fields, of which there may be unsigned twins, and since when.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::AuthenticatedMessage;
use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;

use super::Question;
use crate::mail;
use crate::policy::DkimFacts;

/// How far ahead of our clock a signature may be dated.
const SKEW: u64 = 300;

/// What is needed of a signature, DKIM or ARC.
pub(super) struct Signed<'a> {
    /// The names of the signed fields (`h=`).
    pub(super) fields: &'a [String],
    /// When it was made (`t=`), 0 if it does not say.
    pub(super) made: u64,
    /// The signature itself (`b=`).
    pub(super) value: &'a [u8],
}

impl Signed<'_> {
    /// How many fields of this name are signed: the last ones of the mail (RFC 6376, 5.4.2).
    fn count(&self, name: &str) -> usize {
        self.fields.iter().filter(|field| field.eq_ignore_ascii_case(name)).count()
    }

    /// Whether every field of this name is signed, in any spelling that some reader takes for it.
    fn covers(&self, message: &AuthenticatedMessage<'_>, name: &str) -> bool {
        let all = message.headers.iter().filter(|(found, _)| is(found, name)).count();
        let exact =
            message.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).count();
        all == exact && all <= self.count(name)
    }
}

/// Whether a field has this name, in lower case, with or without blanks before the colon.
pub(super) fn is(field: &[u8], name: &str) -> bool {
    field.trim_ascii().eq_ignore_ascii_case(name.as_bytes())
}

/// Whether nobody can have added what we read a post or a command from.
pub(super) fn whole(message: &AuthenticatedMessage<'_>, signed: &Signed<'_>) -> Result<(), String> {
    match ["from", "subject"].into_iter().find(|name| !signed.covers(message, name)) {
        Some(name) => Err(format!("it does not cover every {name} field, so anybody may have added one")),
        None => Ok(()),
    }
}

/// What the signature covers; `aligned` and `seen_before` are for others to say.
pub(super) fn facts(message: &AuthenticatedMessage<'_>, signed: &Signed<'_>, q: &Question<'_>) -> DkimFacts {
    let now = u64::try_from(q.now.as_secs()).unwrap_or(0);
    let made = if signed.made > 0 { Some(signed.made) } else { dated(message, signed) };
    let age = match made {
        Some(made) if made <= now.saturating_add(SKEW) => Duration::from_secs(now.saturating_sub(made)),
        // Without a date, or with one that can't be, it is as old as can be.
        _ => Duration::MAX,
    };
    DkimFacts {
        aligned: false,
        recipient_signed: names_us(message, signed, q),
        age,
        // A signature with `l=` is refused by the parser.
        partial: false,
        from_mailboxes: message.from.len(),
        seen_before: false,
    }
}

/// The signed Date.
fn dated(message: &AuthenticatedMessage<'_>, signed: &Signed<'_>) -> Option<u64> {
    if signed.count("date") == 0 || !signed.covers(message, "date") {
        return None;
    }
    let (_, value) = message.headers.iter().find(|(name, _)| is(name, "date"))?;
    let parsed = MessageStream::new(value).parse_date();
    let date = parsed.as_datetime().filter(|date| date.is_valid())?;
    u64::try_from(date.to_timestamp()).ok()
}

/// Whether every recipient of ours stands, with its tag, in a signed To or Cc, and nobody can have
/// added one: a copy of a mail to somebody else, or to another address of ours, is no order.
fn names_us(message: &AuthenticatedMessage<'_>, signed: &Signed<'_>, q: &Question<'_>) -> bool {
    if !signed.covers(message, "to") || !signed.covers(message, "cc") {
        return false;
    }
    let fields = message.headers.iter().filter(|(name, _)| is(name, "to") || is(name, "cc"));
    let mut named = Vec::new();
    for (_, value) in fields {
        if let HeaderValue::Address(list) = MessageStream::new(value).parse_address() {
            let ours = list.iter().filter_map(|one| mail::posting_tag(q.posting, one.address()?));
            named.extend(ours);
        }
    }
    if q.recipients.is_empty() {
        return !named.is_empty();
    }
    let mut ours = q.recipients.iter().filter_map(|to| mail::posting_tag(q.posting, to)).peekable();
    ours.peek().is_some() && ours.all(|tag| named.contains(&tag))
}

/// What names the mail under this signature: the Message-ID that is signed, if there is one, else
/// the signature. What somebody adds to a copy does not change it.
pub(super) fn once(message: &AuthenticatedMessage<'_>, signed: &Signed<'_>) -> String {
    let id = message.headers.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(b"message-id"));
    match id {
        Some((_, id)) if signed.count("message-id") > 0 => String::from_utf8_lossy(id).trim().to_owned(),
        _ => format!("signature {}", STANDARD.encode(signed.value)),
    }
}
