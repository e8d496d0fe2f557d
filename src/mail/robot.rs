//! The rules of a robot that answers mail (RFC 3834), and our own addresses.

use super::Header;

/// Whether a robot may answer this mail, else why not.
///
/// `envelope_sender` is the address of MAIL FROM, empty for the null sender; `None` if it is
/// unknown, and then the mail's Return-Path counts. `ours` are the gateway's addresses, such as
/// the posting addresses, without tags.
///
/// An answer goes to the address in From (RFC 3834, section 4), never to Reply-To.
///
/// # Errors
/// The reason, as a sentence without a full stop.
pub fn may_autoreply(
    header: &Header,
    envelope_sender: Option<&str>,
    ours: &[String],
) -> Result<(), &'static str> {
    if header.our_loop {
        return Err("the mail is one of our own");
    }
    if header.is_dsn || header.is_mdn {
        return Err("the mail is a report about another mail");
    }
    // RFC 3834, section 2: any value but "no", and what can't be read is not "no".
    if header.auto_submitted.as_deref().is_some_and(|value| value != "no") {
        return Err("the mail was sent by a program (Auto-Submitted)");
    }
    let sender = envelope_sender
        .or(header.return_path.as_deref())
        .map(|sender| sender.trim().trim_matches(['<', '>']));
    if sender.is_some_and(str::is_empty) {
        return Err("the envelope sender is empty: the mail wants no answer");
    }
    let from = match &header.from {
        Some(from) => from.address.as_str(),
        None if header.from_count > 1 => return Err("the mail has more than one author"),
        None => return Err("the mail has no usable From address"),
    };
    if sender.into_iter().chain([from]).any(is_robot) {
        return Err("the sender is a mail system or a list, not a person");
    }
    if is_ours(ours, from) || sender.is_some_and(|sender| is_ours(ours, sender)) {
        return Err("the mail comes from one of our own addresses");
    }
    let bulk = matches!(header.precedence.as_deref(), Some("list" | "bulk" | "junk"));
    let named = header.to.iter().chain(&header.cc).any(|address| is_ours(ours, address));
    if (header.is_list || bulk) && !named {
        return Err("the mail came over a list and does not name us in To or Cc");
    }
    Ok(())
}

/// Addresses behind which there is a program (RFC 3834, section 2).
fn is_robot(address: &str) -> bool {
    let local = address.rsplit_once('@').map_or(address, |(local, _)| local).to_ascii_lowercase();
    local == "mailer-daemon" || local.starts_with("owner-") || local.ends_with("-request")
}

/// The tag of a posting address: `Some(None)` for `cmr@example.org` itself, `Some(Some("x"))`
/// for `cmr+x@example.org`, `None` for an address that is none of `posting`. Case counts in tags
/// alone.
#[must_use]
pub fn posting_tag(posting: &[String], recipient: &str) -> Option<Option<String>> {
    let recipient = recipient.trim().trim_start_matches('<').trim_end_matches('>');
    let (local, domain) = recipient.rsplit_once('@')?;
    posting.iter().find_map(|address| {
        let (ours, our_domain) = address.rsplit_once('@')?;
        if !domain.eq_ignore_ascii_case(our_domain) {
            return None;
        }
        let (name, rest) = local.split_at_checked(ours.len())?;
        if !name.eq_ignore_ascii_case(ours) {
            return None;
        }
        match rest.strip_prefix('+') {
            Some("") => Some(None),
            Some(tag) => Some(Some(tag.to_owned())),
            None => rest.is_empty().then_some(None),
        }
    })
}

/// Whether `address` is one of `ours`, with or without a tag.
#[must_use]
pub fn is_ours(ours: &[String], address: &str) -> bool {
    posting_tag(ours, address).is_some()
}

/// A Message-ID of ours, without angle brackets. The same `unique` always gives the same one:
/// that is what makes a repeated delivery harmless. Characters that have no place in a
/// Message-ID become `-`.
#[must_use]
pub fn message_id(unique: &str, hostname: &str) -> String {
    let atom = |text: &str| -> String {
        text.chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' })
            .collect()
    };
    format!("{OWN}{}@{}", atom(unique), atom(hostname))
}

/// How our Message-IDs begin. The host name alone would not tell: the mail system beside us
/// writes Message-IDs with the same one.
const OWN: &str = "cmr-mail.";

/// Whether [`message_id`] wrote this one.
pub(crate) fn is_own_message_id(id: &str, hostname: &str) -> bool {
    id.starts_with(OWN) && id.rsplit_once('@').is_some_and(|(_, host)| host.eq_ignore_ascii_case(hostname))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Mailbox;

    /// A change to a person's mail, the envelope sender, and a word of the outcome.
    type Row<'a> = (&'a dyn Fn(&mut Header), Option<&'a str>, &'a str);

    fn ours() -> Vec<String> {
        vec!["cmr@example.org".to_owned(), "notes@example.org".to_owned()]
    }

    #[test]
    fn tags_are_told() {
        for (recipient, wanted) in [
            ("cmr@example.org", Some(None)),
            ("<CMR@Example.ORG>", Some(None)),
            ("cmr+@example.org", Some(None)),
            ("cmr+stop@example.org", Some(Some("stop".to_owned()))),
            ("notes+aB.c@example.org", Some(Some("aB.c".to_owned()))),
            ("cmrx@example.org", None),
            ("cmr-stop@example.org", None),
            ("cmr+stop@example.com", None),
            ("cm\u{fc}@example.org", None),
            ("cmr", None),
            ("", None),
        ] {
            assert_eq!(posting_tag(&ours(), recipient), wanted, "{recipient}");
        }
    }

    #[test]
    fn a_person_is_answered_and_a_program_is_not() {
        let person = Header {
            from: Some(Mailbox { name: None, address: "alice@example.com".to_owned() }),
            from_count: 1,
            to: vec!["cmr@example.org".to_owned()],
            ..Header::default()
        };
        let refusal = |change: &dyn Fn(&mut Header), sender: Option<&str>| {
            let mut header = person.clone();
            change(&mut header);
            may_autoreply(&header, sender, &ours()).err().unwrap_or("answered")
        };
        let set = |value: &str| Some(value.to_owned());
        let table: [Row<'_>; 20] = [
            (&|_| {}, Some("alice@example.com"), "answered"),
            (&|_| {}, None, "answered"),
            (&|h| h.auto_submitted = set("no"), None, "answered"),
            (&|h| h.precedence = set("first-class"), None, "answered"),
            (&|h| h.is_list = true, None, "answered"),
            (
                &|h| {
                    h.is_list = true;
                    h.to = vec!["list@example.com".to_owned()]
                },
                None,
                "over a list",
            ),
            (
                &|h| {
                    h.is_list = true;
                    h.to.clear();
                    h.cc = vec!["cmr+x@example.org".to_owned()]
                },
                None,
                "answered",
            ),
            (
                &|h| {
                    h.precedence = set("bulk");
                    h.to.clear()
                },
                None,
                "over a list",
            ),
            (&|h| h.auto_submitted = set("auto-replied"), None, "Auto-Submitted"),
            (&|h| h.auto_submitted = set(""), None, "Auto-Submitted"),
            (&|_| {}, Some(""), "envelope sender is empty"),
            (&|_| {}, Some("<>"), "envelope sender is empty"),
            (&|h| h.return_path = set(""), None, "envelope sender is empty"),
            (&|_| {}, Some("MAILER-DAEMON@example.com"), "not a person"),
            (&|_| {}, Some("owner-list@example.com"), "not a person"),
            (
                &|h| h.from = Some(Mailbox { name: None, address: "list-request@example.com".to_owned() }),
                None,
                "not a person",
            ),
            (
                &|h| h.from = Some(Mailbox { name: None, address: "cmr+x@example.org".to_owned() }),
                None,
                "our own addresses",
            ),
            (&|h| h.our_loop = true, None, "one of our own"),
            (&|h| h.is_dsn = true, None, "a report"),
            (
                &|h| {
                    h.from = None;
                    h.from_count = 2
                },
                None,
                "more than one author",
            ),
        ];
        for (number, (change, sender, wanted)) in table.into_iter().enumerate() {
            let found = refusal(change, sender);
            assert!(found.contains(wanted), "row {number}: {found}");
        }
    }

    #[test]
    fn our_message_ids_are_known_again() {
        let id = message_id("0123abcd <x>\r\n@", "mx.example.org");
        assert_eq!(id, "cmr-mail.0123abcd--x----@mx.example.org");
        assert!(is_own_message_id(&id, "MX.example.org"));
        assert!(!is_own_message_id("20261121.4ABC@mx.example.org", "mx.example.org"));
        assert!(!is_own_message_id(&id, "other.example.org"));
    }
}
