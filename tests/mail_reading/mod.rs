//! How the tests of the mail reader read a mail: as the gateway at cmr@example.org would.

use cmr_mail::mail::{Caps, Reading, Submission, extract};
use cmr_mail::message::Limits;

/// What is in a mail whose envelope is unknown.
pub(crate) fn read(raw: &[u8]) -> Submission {
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
    extract(raw, &reading)
}
