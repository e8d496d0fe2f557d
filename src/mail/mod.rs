//! Mail to CMR and back: what a mail holds, and the mails that we write.
//!
//! Everything here is a function of its arguments: bytes in, values out ([`extract`]), values in,
//! bytes out ([`compose`]). The room knows the formats of mail (RFC 5322, MIME, RFC 3676,
//! RFC 3834) and, from `message`, how to tell a CMR message. It must never know sockets, the
//! clock, the database, who is believed, or where a message is routed: dates, Message-IDs and
//! addresses are passed in.

mod command;
pub mod compose;
mod extract;
mod header;
mod history;
mod html;
mod post;
mod reading;
mod report;
mod results;
mod robot;
mod structure;
mod text;
mod tokens;
mod transfer;
mod whole;

pub use command::{Command, command};
pub use extract::{extract, extract_messages};
pub use header::{Header, Mailbox};
pub use post::{NoPost, Post};
pub use reading::{Change, Lines, ReadAs, lf_to_crlf};
pub use report::{Bounce, Status, read_bounce};
pub use results::{AuthResults, MethodResult, header_fields, received_at};
pub(crate) use robot::is_own_message_id;
pub use robot::{is_ours, may_autoreply, message_id, posting_tag};
pub use structure::Caps;
pub use whole::{Whole, whole};

use crate::message::Limits;

/// The header field that marks mail of ours. Its value is the gateway's
/// [`Reading::loop_marker`]; a mail that comes back with it has gone round in a circle.
pub const LOOP_HEADER: &str = "X-CMR-Loop";

/// What has to be known about this gateway to read a mail.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    /// The posting addresses, such as `cmr@example.org`, without tags.
    pub posting: &'a [String],
    /// The recipients of the envelope that are to be served; empty if they are unknown.
    pub envelope_recipients: &'a [String],
    /// This gateway's host name: the right side of our own Message-IDs.
    pub hostname: &'a str,
    /// The value of [`LOOP_HEADER`] in mails of ours.
    pub loop_marker: &'a str,
    /// The bounds on a CMR message.
    pub limits: Limits,
    /// The bounds on a mail.
    pub caps: Caps,
    /// Whether CMR messages are taken out of mails inside the mail (message/rfc822).
    pub forwarded: bool,
}

/// What is in a mail.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Submission {
    /// The facts of its header.
    pub header: Header,
    /// The tags of the posting addresses that it came to (`x` of `cmr+x@example.org`), from the
    /// envelope, or from To and Cc where the envelope is unknown.
    pub tags: Vec<String>,
    /// Whether a posting address, with or without a tag, is among the recipients.
    pub addressed: bool,
    /// The CMR messages, in the order of the mail.
    pub messages: Vec<Found>,
    /// What should have been a CMR message and is none, or the mail itself if it can't be read.
    pub faults: Vec<Fault>,
    /// The text that its author wrote; none if the mail holds CMR messages or faults.
    pub post: Option<Post>,
    /// Why there is no post. Present exactly if `post` is absent.
    pub no_post: Option<NoPost>,
    /// Parts and passages that were not taken, to be named in the answer.
    pub ignored: Vec<Ignored>,
}

/// A CMR message found in a mail. Its bytes are well-formed within [`Reading::limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The message, byte for byte.
    pub bytes: Vec<u8>,
    /// Where it was: `the body`, `attachment 2 (hello.cmr)`.
    pub place: String,
    /// The content transfer encoding of that part, in lower case.
    pub encoding: String,
    /// What a mail program had done to it and how that was undone.
    pub read_as: ReadAs,
    /// Other messages of which the declared length could speak as well, less likely ones. A
    /// reader that holds the sender's key may let the signature choose among `bytes` and these.
    pub alternatives: Vec<(ReadAs, Vec<u8>)>,
}

/// A part that should have held a CMR message, or a mail that can't be read for certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: `the mail`, `the body`, `attachment 2 (hello.cmr)`.
    pub place: String,
    /// What is wrong and what to do about it, in a sentence for a person.
    pub reason: String,
}

/// Something in the mail that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// `attachment 1 (photo.jpg, image/jpeg, 34 kB)`, `9 quoted lines`.
    pub what: String,
    /// Why, as the end of a sentence: `only text and CMR messages are read`.
    pub why: std::borrow::Cow<'static, str>,
}
