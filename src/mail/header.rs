//! The facts of a mail's header: who, when, in which thread, and whether a program sent it.

use super::structure::{StructureError, check_bounds, fields, header_end, parse_header, strip_comments};
use super::text::printable;
use super::{LOOP_HEADER, Reading, robot};
use crate::message::UnixTime;
use mail_parser::{Address, HeaderName, HeaderValue, Message, MessagePart, MimeHeaders};

/// A name and an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The display name, decoded, as one line without control characters.
    pub name: Option<String>,
    /// The address: one `@`, no white space, no control characters.
    pub address: String,
}

/// The facts of a mail's header. Texts are decoded and hold no control characters; Message-IDs
/// stand without angle brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The author, if there is exactly one From field with exactly one mailbox.
    pub from: Option<Mailbox>,
    /// How many mailboxes all From fields hold together.
    pub from_count: usize,
    /// The Sender field's mailbox.
    pub sender: Option<Mailbox>,
    /// The topmost Return-Path, written by the last mail system; empty for the null sender.
    pub return_path: Option<String>,
    /// The Message-ID; absent also if there are two.
    pub message_id: Option<String>,
    /// The References, oldest first.
    pub references: Vec<String>,
    /// In-Reply-To; more than one is rare but legal.
    pub in_reply_to: Vec<String>,
    /// The subject, with its `Re:`.
    pub subject: Option<String>,
    /// The Date, if it is a valid one.
    pub date: Option<UnixTime>,
    /// The keyword of Auto-Submitted (RFC 3834, section 5) in lower case, without parameters and
    /// comments; empty if it can't be read; of several fields the first that is not `no`.
    pub auto_submitted: Option<String>,
    /// Precedence in lower case.
    pub precedence: Option<String>,
    /// A field whose name begins with `List-` is there.
    pub is_list: bool,
    /// The addresses in To.
    pub to: Vec<String>,
    /// The addresses in Cc.
    pub cc: Vec<String>,
    /// The addresses in Delivered-To, where the mail system that stored the mail wrote them.
    pub delivered_to: Vec<String>,
    /// How many Received fields there are.
    pub received: usize,
    /// The mail is one of ours: it has our loop marker or a Message-ID of ours.
    pub our_loop: bool,
    /// The mail is a report about another (RFC 6522) other than a read receipt.
    pub is_dsn: bool,
    /// The mail is a read receipt (RFC 8098).
    pub is_mdn: bool,
    /// The first tag of Content-Language.
    pub content_language: Option<String>,
}

impl Header {
    /// Reads the header of the mail `raw`.
    pub(crate) fn read(raw: &[u8], reading: &Reading<'_>) -> Result<Header, StructureError> {
        let end = header_end(raw, &(0..raw.len())).unwrap_or(raw.len());
        let header = raw.get(..end).unwrap_or_default();
        check_bounds(header, &reading.caps)?;
        let parsed = parse_header(header)?;
        let part = parsed.as_ref().map(Message::root_part).ok_or(StructureError::NoHeader)?;
        let froms: Vec<_> = fields(part, &HeaderName::From).collect();
        let from_count = froms.iter().map(|value| addresses(value).count()).sum();
        let listed = |name| fields(part, name).flat_map(|value| addresses(value));
        let all = [HeaderName::From, HeaderName::Sender, HeaderName::To, HeaderName::Cc];
        if all.iter().map(|name| listed(name).count()).sum::<usize>() > reading.caps.addresses {
            return Err(StructureError::Addresses(reading.caps.addresses));
        }
        let plain = |name| listed(name).filter_map(mailbox).map(|found| found.address).collect::<Vec<_>>();
        let message_id = only(ids(part, &HeaderName::MessageId));
        let marker = |value: &HeaderValue<'_>| {
            value.as_text().is_some_and(|text| text.trim().eq_ignore_ascii_case(reading.loop_marker))
        };
        let loop_header = HeaderName::Other(LOOP_HEADER.into());
        let our_loop = fields(part, &loop_header).any(marker)
            || message_id.as_deref().is_some_and(|id| robot::is_own_message_id(id, reading.hostname));
        let report = report_type(part);
        Ok(Header {
            from: (froms.len() == 1 && from_count == 1)
                .then(|| froms.first().and_then(|value| addresses(value).next()).and_then(mailbox))
                .flatten(),
            from_count,
            sender: listed(&HeaderName::Sender).next().and_then(mailbox),
            return_path: return_path(part),
            message_id,
            references: ids(part, &HeaderName::References),
            in_reply_to: ids(part, &HeaderName::InReplyTo),
            subject: first_text(part, &HeaderName::Subject),
            date: fields(part, &HeaderName::Date)
                .next()
                .and_then(HeaderValue::as_datetime)
                .filter(|date| date.is_valid())
                .map(|date| UnixTime::from_secs(date.to_timestamp())),
            auto_submitted: auto_submitted(part).or_else(|| says_so_otherwise(part)),
            precedence: first_text(part, &HeaderName::Other("Precedence".into()))
                .map(|value| strip_comments(&value).to_ascii_lowercase()),
            is_list: part.headers.iter().any(|field| {
                field.name.as_str().get(..5).is_some_and(|name| name.eq_ignore_ascii_case("list-"))
            }),
            to: plain(&HeaderName::To),
            cc: plain(&HeaderName::Cc),
            delivered_to: delivered_to(part),
            received: fields(part, &HeaderName::Received).count(),
            our_loop,
            is_dsn: report.as_deref().is_some_and(|kind| kind != "disposition-notification"),
            is_mdn: report.as_deref() == Some("disposition-notification"),
            content_language: first_text_of_list(part.content_language()),
        })
    }
}

/// The mailboxes of an address field, those in groups too.
fn addresses<'a>(value: &'a HeaderValue<'a>) -> impl Iterator<Item = &'a mail_parser::Addr<'a>> {
    let (list, groups): (&[_], &[_]) = match value.as_address() {
        Some(Address::List(list)) => (list, &[]),
        Some(Address::Group(groups)) => (&[], groups),
        None => (&[], &[]),
    };
    list.iter().chain(groups.iter().flat_map(|group: &mail_parser::Group<'_>| group.addresses.iter()))
}

/// The topmost ones; each forwarding adds one.
fn delivered_to(part: &MessagePart<'_>) -> Vec<String> {
    const MOST: usize = 10;
    let name = HeaderName::Other("Delivered-To".into());
    let texts = fields(part, &name).filter_map(|value| value.as_text()).take(MOST);
    let bare = |text: &str| text.trim().trim_start_matches('<').trim_end_matches('>').to_owned();
    texts.map(bare).filter(|address| is_address(address)).collect()
}

fn mailbox(address: &mail_parser::Addr<'_>) -> Option<Mailbox> {
    let found = address.address.as_deref().filter(|text| is_address(text))?;
    let name = address.name.as_deref().map(printable).filter(|name| !name.is_empty());
    Some(Mailbox { name, address: found.to_owned() })
}

/// An address that can be shown and compared: a local part, one `@`, a domain, and no character
/// that could end or widen it anywhere.
fn is_address(text: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || super::text::is_control(c) || "<>,;:()\"\\".contains(c);
    text.len() <= 320
        && !text.contains(odd)
        && text
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
}

fn ids(part: &MessagePart<'_>, name: &HeaderName<'static>) -> Vec<String> {
    fields(part, name)
        .flat_map(|value| match value {
            HeaderValue::Text(id) => vec![id.to_string()],
            HeaderValue::TextList(list) => list.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        })
        .filter(|id| is_message_id(id))
        .collect()
}

/// A Message-ID that can be repeated in a header of ours: visible ASCII without angle brackets.
pub(crate) fn is_message_id(id: &str) -> bool {
    (1..=250).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>'))
}

fn only(list: Vec<String>) -> Option<String> {
    match <[String; 1]>::try_from(list) {
        Ok([id]) => Some(id),
        Err(_) => None,
    }
}

fn first_text(part: &MessagePart<'_>, name: &HeaderName<'static>) -> Option<String> {
    fields(part, name).next().and_then(HeaderValue::as_text).map(printable).filter(|text| !text.is_empty())
}

pub(crate) fn first_text_of_list(value: &HeaderValue<'_>) -> Option<String> {
    let first = match value {
        HeaderValue::Text(text) => Some(text.as_ref()),
        HeaderValue::TextList(list) => list.first().map(AsRef::as_ref),
        _ => None,
    };
    first.map(printable).filter(|text| !text.is_empty())
}

/// The Return-Path as an address, empty for `<>`.
fn return_path(part: &MessagePart<'_>) -> Option<String> {
    let value = fields(part, &HeaderName::ReturnPath).next()?;
    Some(match value {
        HeaderValue::Text(text) => printable(text),
        HeaderValue::TextList(list) => list.first().map(|text| printable(text)).unwrap_or_default(),
        _ => String::new(),
    })
}

/// RFC 3834, section 5: a keyword, then parameters after `;`, comments anywhere.
fn auto_submitted(part: &MessagePart<'_>) -> Option<String> {
    let keywords = fields(part, &HeaderName::AutoSubmitted).map(|value| {
        let text = strip_comments(value.as_text().unwrap_or_default());
        let keyword = text.split(|c: char| c == ';' || c.is_whitespace()).next().unwrap_or_default();
        keyword.to_ascii_lowercase()
    });
    let mut keywords: Vec<String> = keywords.collect();
    let telling = keywords.iter().position(|keyword| keyword != "no").unwrap_or(0);
    (telling < keywords.len()).then(|| keywords.swap_remove(telling))
}

/// What programs that answer wrote into their mail before there was Auto-Submitted, and some still do.
fn says_so_otherwise(part: &MessagePart<'_>) -> Option<String> {
    let is_one = part.headers.iter().any(|field| {
        let name = field.name.as_str();
        ["x-autoreply", "x-autorespond"].iter().any(|one| name.eq_ignore_ascii_case(one))
            || (name.eq_ignore_ascii_case("precedence")
                && field.value.as_text().is_some_and(|value| {
                    let value = strip_comments(value).to_ascii_lowercase();
                    matches!(value.trim(), "auto_reply" | "auto-reply")
                }))
    });
    is_one.then(|| "auto-replied".to_owned())
}

/// The report type of a multipart/report, empty if it names none; also of a mail that is nothing
/// but a bare delivery status.
fn report_type(part: &MessagePart<'_>) -> Option<String> {
    let found = part.content_type()?;
    let subtype = found.subtype().unwrap_or_default();
    if found.ctype().eq_ignore_ascii_case("multipart") && subtype.eq_ignore_ascii_case("report") {
        return Some(found.attribute("report-type").unwrap_or_default().to_ascii_lowercase());
    }
    let report = ["delivery-status", "global-delivery-status", "disposition-notification", "feedback-report"];
    (found.ctype().eq_ignore_ascii_case("message"))
        .then(|| report.iter().find(|kind| subtype.eq_ignore_ascii_case(kind)))
        .flatten()
        .map(|kind| (*kind).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Caps;
    use crate::message::Limits;

    fn read(header: &str) -> Header {
        let posting = ["cmr@example.org".to_owned()];
        let reading = Reading {
            posting: &posting,
            envelope_recipients: &[],
            hostname: "mx.example.org",
            loop_marker: "mx.example.org",
            limits: Limits::default(),
            caps: Caps::default(),
            forwarded: true,
        };
        Header::read(header.as_bytes(), &reading).expect("a header")
    }

    #[test]
    fn nothing_hides_auto_submitted() {
        for (value, wanted) in [
            ("Auto-Submitted: no\r\n", Some("no")),
            ("Auto-Submitted: No (really; auto-replied)\r\n", Some("no")),
            ("auto-submitted: (a comment) auto-replied; owner=\"x\"\r\n", Some("auto-replied")),
            ("AUTO-SUBMITTED:\r\n Auto-Generated\r\n ;type=x\r\n", Some("auto-generated")),
            ("Auto-Submitted: ((no) no) auto-notified\r\n", Some("auto-notified")),
            ("Auto-Submitted: no\r\nAuto-Submitted: auto-replied\r\n", Some("auto-replied")),
            ("Auto-Submitted:\r\n", Some("")),
            ("Auto-Submitted: (no)\r\n", Some("")),
            ("X-Auto-Submitted: auto-replied\r\n", None),
            ("X-Autoreply: yes\r\n", Some("auto-replied")),
            ("X-Autorespond: Re: whales\r\n", Some("auto-replied")),
            ("Precedence: auto_reply (vacation)\r\n", Some("auto-replied")),
            ("Precedence: first-class\r\n", None),
        ] {
            assert_eq!(
                read(&format!("{value}From: a@b.c\r\n\r\n")).auto_submitted.as_deref(),
                wanted,
                "{value}"
            );
        }
    }

    #[test]
    fn an_author_is_one_mailbox_in_one_field() {
        for (from, count, address) in [
            ("From: Alice <alice@example.org>\r\n", 1, Some("alice@example.org")),
            ("From: alice@example.org, bob@example.org\r\n", 2, None),
            ("From: alice@example.org\r\nFROM: bob@example.org\r\n", 2, None),
            ("From: friends: alice@example.org;\r\n", 1, Some("alice@example.org")),
            ("From: <a@b@c>\r\n", 1, None),
            ("From: Alice\r\n", 1, None),
            ("Sender: bob@example.org\r\n", 0, None),
        ] {
            let header = read(&format!("{from}Subject: x\r\n\r\n"));
            assert_eq!(header.from_count, count, "{from}");
            assert_eq!(header.from.map(|from| from.address).as_deref(), address, "{from}");
        }
    }

    #[test]
    fn the_facts_are_told() {
        let header = read(concat!(
            "Return-Path: <>\r\nReceived: from a\r\nReceived: from b\r\n",
            "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTo: cmr@example.org, Bob <b@example.org>\r\n",
            "Cc: c@example.org\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\r\n =?utf-8?q?_x=07?=\r\n",
            "Message-ID: <one@example.org>\r\nIn-Reply-To: <zero@example.org>\r\n",
            "References: <a@example.org>\r\n <b@example.org>\r\nDate: Sat, 21 Nov 2026 19:49:29 +0100\r\n",
            "Precedence: Bulk (x)\r\nList-Unsubscribe: <mailto:x@example.org>\r\nContent-Language: de-DE, en\r\n",
            "X-CMR-LOOP: MX.example.org\r\nDelivered-To: <d@example.org>\r\nDelivered-To: two words\r\n",
            "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n",
        ));
        assert_eq!(header.return_path.as_deref(), Some(""));
        assert_eq!(header.received, 2);
        assert_eq!(header.from.and_then(|from| from.name).as_deref(), Some("Jürgen"));
        assert_eq!(header.to, ["cmr@example.org", "b@example.org"]);
        assert_eq!(header.cc, ["c@example.org"]);
        assert_eq!(header.delivered_to, ["d@example.org"]);
        assert_eq!(header.subject.as_deref(), Some("Grüße x"));
        assert_eq!(header.message_id.as_deref(), Some("one@example.org"));
        assert_eq!(header.in_reply_to, ["zero@example.org"]);
        assert_eq!(header.references, ["a@example.org", "b@example.org"]);
        assert_eq!(header.date, Some(UnixTime::from_secs(1_795_286_969)));
        assert_eq!(header.precedence.as_deref(), Some("bulk"));
        assert_eq!(header.content_language.as_deref(), Some("de-DE"));
        assert!(header.is_list && header.our_loop && header.is_dsn && !header.is_mdn);
    }
}
