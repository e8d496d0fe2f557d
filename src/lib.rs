//! A Competitive Message Routing (CMR) peer whose native transport is e-mail.
//!
//! Each module is a room with one noun; imports run one way, from the adapters at the top
//! down to the rooms that stand on the ground (`message`, `keys`, `distance`, `smtp`, `mail`).
//! `docs/architecture.md` has the picture; `tests/architecture.rs` holds the arrows.
#![forbid(unsafe_code)]

pub mod archive;
pub mod authenticate;
pub mod cli;
pub mod config;
pub mod distance;
pub mod dns;
pub mod evaluate;
pub mod export;
pub mod filter;
pub mod gateway;
pub mod import;
pub mod keys;
pub mod listen;
pub mod mail;
pub mod message;
pub mod metrics;
pub mod policy;
pub mod pool;
pub mod process;
pub mod receive;
pub mod report;
pub mod router;
pub mod send;
pub mod simulate;
pub mod smtp;
pub mod store;
pub mod web;
pub mod wire;
