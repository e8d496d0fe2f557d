//! A mail taken apart.

use super::header::Header;
use super::reading::{self, ReadError, lf_to_crlf};
use super::structure::{self, Kind, Leaf, Structure, StructureError};
use super::{Fault, Found, Ignored, NoPost, Reading, Submission, post, posting_tag, transfer};
use crate::message::Rule;
use std::borrow::Cow;

/// What a person can do about a message that arrived damaged.
const ADVICE: &str = "please send it as an attachment (a file), which mail programs leave as it is";

/// What a person can do if it was such a file.
const FILE_ADVICE: &str = "the file has to hold the message to the last byte and nothing else";

/// Takes a mail apart: CMR messages, or a person's post, or why neither.
///
/// `raw` is the whole mail. Mail that was stored with LF line ends is brought to CR LF first, as
/// it travelled. Whatever the bytes are, this returns; time and memory are bounded by the length
/// of the mail and by [`Caps`](super::Caps).
#[must_use]
pub fn extract(raw: &[u8], reading: &Reading<'_>) -> Submission {
    let raw = as_it_travelled(raw);
    let mut submission = Submission::default();
    if let Err(error) = take_apart(&raw, reading, &mut submission) {
        submission.messages.clear();
        submission.post = None;
        submission.no_post = Some(NoPost::Unreadable);
        submission.faults = vec![Fault {
            place: "the mail".to_owned(),
            reason: format!(
                "it can't be read for certain, because {error}; nothing was taken from it: please send plain text, or a CMR \
                 message as an attachment"
            ),
        }];
    }
    submission
}

/// What [`extract`] finds of CMR messages, and who wrote the mail. A mail without any messages, as most are, costs less,
/// because its text is not read.
#[must_use]
pub fn extract_messages(raw: &[u8], reading: &Reading<'_>) -> (Header, Vec<Found>) {
    let travelled = as_it_travelled(raw);
    let header = Header::read(&travelled, reading).unwrap_or_default();
    let is_report = header.is_dsn || header.is_mdn;
    match Structure::scan(&travelled, &reading.caps) {
        Ok(structure) if !is_report && may_hold_messages(&structure, &travelled, reading) => {
            let Submission { header, messages, .. } = extract(raw, reading);
            (header, messages)
        }
        _ => (header, Vec::new()),
    }
}

fn may_hold_messages(structure: &Structure, raw: &[u8], reading: &Reading<'_>) -> bool {
    structure.leaves.iter().any(|leaf| match leaf.kind {
        Kind::Mail => reading.forwarded,
        _ => look_into(leaf, raw.get(leaf.body.clone()).unwrap_or_default(), "", reading).is_some(),
    })
}

pub(super) fn as_it_travelled(raw: &[u8]) -> Cow<'_, [u8]> {
    let first = raw.iter().position(|byte| *byte == b'\n');
    let stored_with_lf = first.is_some_and(|at| raw.get(..at).is_none_or(|line| !line.ends_with(b"\r")));
    if stored_with_lf { Cow::Owned(lf_to_crlf(raw)) } else { Cow::Borrowed(raw) }
}

fn take_apart(raw: &[u8], reading: &Reading<'_>, submission: &mut Submission) -> Result<(), StructureError> {
    submission.header = Header::read(raw, reading)?;
    (submission.addressed, submission.tags) = addressing(&submission.header, reading);
    if submission.header.is_dsn || submission.header.is_mdn {
        submission.no_post = Some(NoPost::Report);
        return Ok(());
    }
    // The scan comes before mail-parser, which has no bounds.
    let structure = Structure::scan(raw, &reading.caps)?;
    if structure.leaves.iter().any(|leaf| leaf.media_type == "message/delivery-status") {
        submission.header.is_dsn = true;
        submission.no_post = Some(NoPost::Report);
        return Ok(());
    }
    let mail = structure::parse(raw)?;
    structure.agrees(&mail)?;
    let mut text = post::find(&structure, &mail, &submission.header, reading.posting);
    let places = places(&structure, &text.leaves);
    let mut taken = Vec::new();
    for (number, (leaf, place)) in structure.leaves.iter().zip(&places).enumerate() {
        let encoded = raw.get(leaf.body.clone()).unwrap_or_default();
        if leaf.kind == Kind::Mail {
            let before = submission.messages.len() + submission.faults.len();
            if reading.forwarded {
                look_inside(encoded, place, reading, submission);
            }
            if submission.messages.len() + submission.faults.len() > before {
                taken.push(number);
            }
            continue;
        }
        match look_into(leaf, encoded, place, reading) {
            Some(Ok(found)) => submission.messages.push(found),
            Some(Err(reason)) => submission.faults.push(Fault { place: place.clone(), reason }),
            None => continue,
        }
        taken.push(number);
    }
    if text.damaged && !text.leaves.iter().any(|leaf| taken.contains(leaf)) {
        // The message became HTML, or its charset was changed: no reading leads back.
        let reason = format!("a mail program has changed the CMR message in it beyond reading; {ADVICE}");
        submission.faults.push(Fault { place: "the body".to_owned(), reason });
    }
    if !text.leaves.iter().any(|leaf| taken.contains(leaf)) {
        submission.ignored.append(&mut text.ignored);
    }
    for (number, (leaf, place)) in structure.leaves.iter().zip(&places).enumerate() {
        let is_text =
            text.leaves.contains(&number) || (!leaf.attachment && leaf.name.is_none() && is_words(leaf));
        if !taken.contains(&number) && !is_text {
            let what = format!(
                "{} {}",
                attachment_number(place),
                post::describe(leaf.name.as_deref(), &leaf.media_type, leaf.body.len())
            );
            submission.ignored.push(Ignored { what, why: why_ignored(leaf).into() });
        }
    }
    match text.post {
        _ if !submission.messages.is_empty() => submission.no_post = Some(NoPost::Messages),
        _ if !submission.faults.is_empty() => submission.no_post = Some(NoPost::Faults),
        Ok(post) => submission.post = Some(post),
        Err(reason) => submission.no_post = Some(reason),
    }
    Ok(())
}

/// Takes the CMR messages out of a mail inside the mail. Its text is somebody's whom the sender
/// only quotes: it is never a post. What returns to us, or reports about another mail, is left
/// alone, and so is what can't be read for certain. The bounds on parts and depth were kept by the
/// scan of the whole mail.
fn look_inside(inner: &[u8], place: &str, reading: &Reading<'_>, submission: &mut Submission) {
    let Ok(header) = Header::read(inner, reading) else { return };
    if header.our_loop || header.is_dsn || header.is_mdn {
        return;
    }
    let Ok(structure) = Structure::scan(inner, &reading.caps) else { return };
    if structure::parse(inner).and_then(|mail| structure.agrees(&mail)).is_err() {
        return;
    }
    for (leaf, within) in structure.leaves.iter().zip(places(&structure, &[])) {
        let encoded = inner.get(leaf.body.clone()).unwrap_or_default();
        let place = format!("{within} of the mail in {place}");
        if leaf.kind == Kind::Mail {
            look_inside(encoded, &place, reading, submission);
            continue;
        }
        match look_into(leaf, encoded, &place, reading) {
            Some(Ok(found)) => submission.messages.push(found),
            Some(Err(reason)) => submission.faults.push(Fault { place, reason }),
            None => {}
        }
    }
}

fn is_words(leaf: &Leaf) -> bool {
    matches!(leaf.kind, Kind::Plain | Kind::Html)
}

fn why_ignored(leaf: &Leaf) -> &'static str {
    match leaf.kind {
        Kind::Mail => "of mails inside a mail only CMR messages are taken",
        _ if leaf.media_type.ends_with("-signature") => "signatures of mails are not needed",
        _ => "only text and CMR messages are read",
    }
}

/// Whether a posting address is among the recipients, and the tags.
fn addressing(header: &Header, reading: &Reading<'_>) -> (bool, Vec<String>) {
    let named: Vec<&String> = header.to.iter().chain(&header.cc).chain(&header.delivered_to).collect();
    let envelope: Vec<&String> = reading.envelope_recipients.iter().collect();
    let recipients = if envelope.is_empty() { named } else { envelope };
    let found: Vec<Option<String>> =
        recipients.iter().filter_map(|recipient| posting_tag(reading.posting, recipient)).collect();
    (!found.is_empty(), found.into_iter().flatten().collect())
}

/// A CMR message in this part, or why it is none although it should be; `None` for a part that
/// is not meant to be one.
fn look_into(
    leaf: &Leaf,
    encoded: &[u8],
    place: &str,
    reading: &Reading<'_>,
) -> Option<Result<Found, String>> {
    if matches!(leaf.kind, Kind::Mail | Kind::Html) {
        return None;
    }
    let named = leaf.name.as_deref().is_some_and(|name| name.to_ascii_lowercase().ends_with(".cmr"))
        || leaf.media_type == "application/cmr"
        || leaf.media_type == "application/x-cmr";
    let is_file = leaf.encoding == "base64" && (leaf.attachment || leaf.name.is_some());
    let advice = if is_file { FILE_ADVICE } else { ADVICE };
    let content = match transfer::decode(&leaf.encoding, encoded) {
        Ok(content) => content,
        Err(error) if named => {
            return Some(Err(format!(
                "{error}, so the CMR message in it can't be read; please send it again"
            )));
        }
        Err(_) => return None,
    };
    if !reading::is_attempt(&content) {
        return named.then(|| {
            Err("it is named as a CMR message but does not begin like one: a signature line, then lines of time and address".to_owned())
        });
    }
    if leaf.cut_short {
        return Some(Err(
            "the mail ends in the middle of it, so it was cut short on the way; please send it again"
                .to_owned(),
        ));
    }
    Some(match reading::read(&content, leaf.declared(), &reading.limits) {
        Ok(mut candidates) => {
            let (read_as, bytes) = candidates.remove(0);
            Ok(Found {
                bytes,
                place: place.to_owned(),
                encoding: leaf.encoding.clone(),
                read_as,
                alternatives: candidates,
            })
        }
        // What no mail program does to a text is a mistake of whoever wrote the message.
        Err(ReadError::Format(error))
            if matches!(error.rule, Rule::TimeValid | Rule::TimeOrder | Rule::AddressTwice) =>
        {
            Err(error.to_string())
        }
        Err(error) => Err(format!("{error}; {advice}")),
    })
}

/// The name of each leaf's place: `the body` for the text and for a mail's only part, else
/// `attachment 2 (hello.cmr)`.
fn places(structure: &Structure, text: &[usize]) -> Vec<String> {
    let mut attachments = 0;
    let only = structure.leaves.len() == 1;
    structure
        .leaves
        .iter()
        .enumerate()
        .map(|(number, leaf)| {
            let inline = !leaf.attachment && leaf.name.is_none() && is_words(leaf);
            if only || text.contains(&number) || inline {
                return "the body".to_owned();
            }
            attachments += 1;
            match &leaf.name {
                Some(name) => format!("attachment {attachments} ({name})"),
                None => format!("attachment {attachments}"),
            }
        })
        .collect()
}

/// `attachment 2` of `attachment 2 (hello.cmr)`.
fn attachment_number(place: &str) -> &str {
    place.split(" (").next().unwrap_or(place)
}
