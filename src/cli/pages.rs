//! The pages of the running daemon: who may see them, by the configuration as it is at present.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_native_tls::TlsAcceptor;

use super::exit::{CONFIG, Outcome, UNAVAILABLE, fail};
use crate::config::Config;
use crate::gateway::api::{Failure, Request, Response};
use crate::gateway::{Gateway, clock};
use crate::message::UnixTime;
use crate::web::{House, Options, Rules, Site, Users, serve};

/// The site, and what may change while it is served.
#[derive(Clone)]
pub(super) struct Pages {
    listen: SocketAddr,
    site: Arc<Site<Asked>>,
    tls: watch::Sender<Option<TlsAcceptor>>,
}

/// What the configuration says of them, read and found good.
pub(super) struct Settings {
    rules: Rules,
    users: Users,
    tls: Option<TlsAcceptor>,
}

impl Settings {
    /// For pages that listen on this address, whatever the configuration says of that.
    ///
    /// # Errors
    /// 78: a file that it names can't be used, or what it says does not go with that address.
    pub(super) fn read(config: &Config, listen: SocketAddr) -> Outcome<Settings> {
        let web = &config.web;
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
        let reads_openly = listen.ip().is_loopback() && web.proxies.is_empty();
        let rules = Rules { listen, hosts: web.hosts.clone(), proxies: web.proxies.clone(), reads_openly };
        Ok(Settings { rules, users, tls })
    }
}

impl Pages {
    pub(super) fn new(gateway: Gateway, listen: SocketAddr, settings: Settings) -> Pages {
        let site = Arc::new(Site::new(Asked(gateway), settings.rules, settings.users));
        Pages { listen, site, tls: watch::Sender::new(settings.tls) }
    }

    /// What this configuration would make of them.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub(super) fn settings(&self, config: &Config) -> Outcome<Settings> {
        Settings::read(config, self.listen)
    }

    /// From now on like this.
    pub(super) fn change(&self, settings: Settings) {
        self.site.change(settings.rules, settings.users);
        self.tls.send_replace(settings.tls);
    }

    /// Until told to stop.
    pub(super) async fn serve(&self, listener: TcpListener, stop: watch::Receiver<bool>) {
        let (site, tls) = (Arc::clone(&self.site), self.tls.subscribe());
        serve(listener, tls, site, Options::default(), stop).await;
    }
}

/// The address that a listener got.
pub(super) fn address(listener: &std::net::TcpListener) -> Outcome<SocketAddr> {
    listener.local_addr().or_else(|e| fail(UNAVAILABLE, e.to_string()))
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
