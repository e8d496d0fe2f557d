//! Stands in for the gateway: the same functions, and nothing behind them.

use crate::config::Config;
use crate::gateway::api::{Failure, Request, Response};
use crate::receive::{Arrival, Handler, Verdict};
use crate::smtp::Reply;

/// What carries requests out.
#[derive(Clone)]
pub(super) struct Gateway;

impl Gateway {
    /// Opens the database of this configuration.
    pub(super) fn open(_: &Config) -> Result<Gateway, std::io::Error> {
        Ok(Gateway)
    }

    /// Carries a request out; blocks.
    pub(super) fn handle(&self, _: Request) -> Response {
        Err(Failure { exit: 69, sentence: "this part is not there yet".into() })
    }

    /// Finishes what is under way and closes the database; blocks.
    pub(super) fn close(&self) {}
}

impl Handler for Gateway {
    async fn admit(&self, _: Arrival) -> Verdict {
        Reply::trouble("this part is not there yet").into()
    }
}
