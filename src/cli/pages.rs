//! The pages of the running daemon: where they are and who may see them, by the configuration.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_native_tls::TlsAcceptor;

use super::daemon::listeners;
use super::exit::{CONFIG, Outcome, UNAVAILABLE, fail};
use crate::config::Config;
use crate::gateway::api::{Failure, Request, Response};
use crate::gateway::{Gateway, clock};
use crate::message::UnixTime;
use crate::web::{House, Options, Rules, Site, Users, serve};

/// Everything that can go wrong is tried when this is made.
pub(super) struct Pages {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    rules: Rules,
    users: Users,
}

impl Pages {
    /// `None`: the configuration wants none.
    pub(super) fn prepare(config: &Config) -> Outcome<Option<Pages>> {
        let web = &config.web;
        let Some(listen) = web.listen else { return Ok(None) };
        let users = match &web.users {
            None => Users::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .or_else(|e| fail(CONFIG, format!("[web] users: {}: {e}", path.display())))?;
                let users = Users::parse(&text);
                users.or_else(|e| fail(CONFIG, format!("[web] users: {}: {e}", path.display())))?
            }
        };
        let tls = match &web.tls {
            None => None,
            Some(files) => Some(files.acceptor().or_else(|e| fail(CONFIG, e.to_string()))?.into()),
        };
        let Some(listener) = listeners(&[listen])?.pop() else {
            return fail(UNAVAILABLE, "[web] listen: nothing to listen on");
        };
        let rules = Rules {
            listen,
            hosts: web.hosts.clone(),
            proxies: web.proxies.clone(),
            reads_openly: web.reads_openly(),
        };
        Ok(Some(Pages { listener, tls, rules, users }))
    }

    pub(super) fn address(&self) -> Outcome<SocketAddr> {
        self.listener.local_addr().or_else(|e| fail(UNAVAILABLE, e.to_string()))
    }

    /// Until told to stop.
    pub(super) async fn serve(self, gateway: Gateway, stop: watch::Receiver<bool>) {
        let site = Site::new(Asked(gateway), self.rules, self.users);
        serve(self.listener, self.tls, site, Options::default(), stop).await;
    }
}

/// The gateway, asked by the pages.
struct Asked(Gateway);

impl House for Asked {
    fn ask(&self, request: Request) -> Response {
        self.0.handle(request)
    }

    fn scrape(&self) -> Result<String, Failure> {
        self.0.scrape()
    }

    fn answered(&self, status: u16) {
        self.0.metrics().requested(status);
    }

    fn now(&self) -> UnixTime {
        clock::now()
    }
}
