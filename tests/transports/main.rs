//! CMR by every transport: gateways that speak HTTP, HTTPS, UDP and SSH with each other and with the
//! reference implementation, and what enemies try there.
//!
//! The reference's own daemon takes minutes to build, so it takes part only where `CMR_MAIL_FULL` is
//! set (`./test full`); its router takes part everywhere, in process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "in tests a panic is the report"
)]

mod budgets;
mod busy;
mod client;
mod contacts;
mod datagrams;
mod flood;
mod gate;
mod handshake;
mod hostile;
mod inquiry;
mod keys;
mod listener;
mod network;
mod planted;
mod reference;
mod router;
mod shell;
#[path = "../support/mod.rs"]
mod support;
mod vectors;
