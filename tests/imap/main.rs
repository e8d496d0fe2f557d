//! The IMAP poller against a real Dovecot, and against servers that were never honest.
//!
//! - `reading`: what is taken out of a folder, and what is left alone;
//! - `news`: IDLE, polling, the answer in the person's thread;
//! - `afterwards`: marked, moved, deleted; interrupted; without the extensions; a full mailbox;
//! - `logins`: TLS, STARTTLS, passwords, OAuth 2; and at the smarthost;
//! - `faults`: servers that stop, are cut off, change their certificate or refuse the password;
//! - `bulk`: many mails, and a daemon that is killed on the way;
//! - `hostile`: scripted dialogues out of `dialogues/`, and mutations of them;
//! - `orders`: what a scripted server is asked for where a real one can't be brought to it;
//! - `page`: the blocks of docs/imap.md.
//!
//! Smaller numbers by default; `CMR_MAIL_FULL=1` asks for all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

#[path = "../support/scripted.rs"]
mod scripted;
#[path = "../support/mod.rs"]
mod support;

mod afterwards;
mod bulk;
mod dialogue;
mod dovecot;
mod faults;
mod hostile;
mod logins;
mod news;
mod orders;
mod page;
mod reading;

/// Whether everything is asked for.
fn is_full() -> bool {
    std::env::var_os("CMR_MAIL_FULL").is_some_and(|value| value == "1")
}
