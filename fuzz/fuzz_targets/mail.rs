//! Any bytes as a mail: nothing panics, and the mail ends in exactly one of three ways (CMR
//! messages, a post, or a reason why neither). Whatever is taken is well-formed.
//!
//! `cargo +nightly fuzz run mail tests/mails maildir-fixtures/families`, from the top.
#![no_main]

use cmr_mail::mail::{Caps, Reading, extract};
use cmr_mail::message::{Limits, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let posting = ["cmr@example.net".to_owned()];
    let reading = Reading {
        posting: &posting,
        envelope_recipients: &[],
        hostname: "mx.example.net",
        loop_marker: "mx.example.net",
        limits: Limits::default(),
        caps: Caps::default(),
        forwarded: true,
    };
    let found = extract(data, &reading);
    assert_eq!(found.post.is_some(), found.no_post.is_none());
    assert!(found.post.is_none() || (found.messages.is_empty() && found.faults.is_empty()));
    for message in &found.messages {
        assert!(parse(&message.bytes, &Limits::default()).is_ok());
        assert!(message.alternatives.iter().all(|(_, bytes)| parse(bytes, &Limits::default()).is_ok()));
    }
});
