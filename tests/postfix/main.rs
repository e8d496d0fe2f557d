//! Behind a real Postfix, as its content filter: what passes comes out as it went in, and whatever
//! breaks, Postfix keeps the mail and delivers it once.
//!
//! Each test has a Postfix of its own, in a directory of its own, on loopback. Postfix starts as
//! root only: without root these tests fail, unless `CMR_MAIL_WITHOUT_POSTFIX` is set, and then say
//! so. With `CMR_MAIL_FULL` they send as many mails as they can be asked for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "in tests a panic is the report"
)]

#[path = "../support/mod.rs"]
mod support;

mod direct;
mod dovecot;
mod envelope;
mod faults;
mod hopper;
mod identity;
mod loops;
mod mails;
mod pipe;
mod second_mta;
mod server;
mod take;
mod wiring;

/// Whether everything is to be sent.
fn full() -> bool {
    std::env::var_os("CMR_MAIL_FULL").is_some()
}
