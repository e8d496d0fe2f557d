//! Pages, JSON and metrics for the operator: what the verbs show, in a browser.
//!
//! It knows HTTP, who may see and change what, and how the results of requests look as pages. It asks
//! the gateway as the verbs do. It must never know how a request is carried out, the pool or the
//! database; and nothing that came in a mail is ever markup: the templates escape all of it.
//!
//! [`Site`] is the whole of it without a socket; [`serve`] puts it on one.

mod access;
mod answer;
mod api;
mod pages;
mod serve;
mod site;
#[cfg(test)]
mod tests;

pub use access::{Rules, Users, UsersError, hash_line};
pub use answer::{Ask, Method, Reply};
pub use serve::{Options, serve};
pub use site::{House, Site};
