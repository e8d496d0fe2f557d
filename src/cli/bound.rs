//! What the daemon listens on by the network: bound while it may still do that, and handed to the
//! runtime afterwards.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::exit::{Outcome, SOFTWARE, UNAVAILABLE, fail};
use crate::config::Config;
use crate::listen;
use crate::receive::{ListenError, udp};

/// Bound, and not yet served: clients that connect wait.
pub(super) struct Bound {
    pub(super) smtp: Vec<TcpListener>,
    pub(super) lmtp: Vec<TcpListener>,
    pub(super) filter: Vec<TcpListener>,
    pub(super) http: Option<TcpListener>,
    pub(super) udp: Option<UdpSocket>,
    pub(super) web: Option<TcpListener>,
}

impl Bound {
    /// Binds everything that the configuration names.
    ///
    /// # Errors
    /// 69: which address can't be had, and why; none is bound then.
    pub(super) fn new(config: &Config) -> Outcome<Bound> {
        Ok(Bound {
            smtp: listeners(&config.smtp.listen)?,
            lmtp: listeners(&config.smtp.lmtp)?,
            filter: listeners(config.filter.listen.as_slice())?,
            http: listeners(config.http.listen.as_slice())?.pop(),
            udp: config.udp.listen.map(udp::bind).transpose().or_else(unavailable)?,
            web: listeners(config.web.listen.as_slice())?.pop(),
        })
    }

    /// Each address with the name of what listens there, in the order of the lines on standard output.
    pub(super) fn addresses(&self) -> Outcome<Vec<(&'static str, SocketAddr)>> {
        let tcp = [
            ("smtp", self.smtp.as_slice()),
            ("lmtp", self.lmtp.as_slice()),
            ("filter", self.filter.as_slice()),
            ("web", self.web.as_slice()),
            ("http", self.http.as_slice()),
        ];
        let tcp = tcp.iter().flat_map(|(name, all)| all.iter().map(|it| (*name, it.local_addr())));
        let udp = self.udp.iter().map(|socket| ("udp", socket.local_addr()));
        let named = |(name, address): (_, std::io::Result<SocketAddr>)| Ok((name, address?));
        let all: std::io::Result<Vec<_>> = tcp.chain(udp).map(named).collect();
        all.or_else(|e| fail(UNAVAILABLE, e.to_string()))
    }
}

fn unavailable<T>(error: ListenError) -> Outcome<T> {
    fail(UNAVAILABLE, error.to_string())
}

fn listeners(addresses: &[SocketAddr]) -> Outcome<Vec<TcpListener>> {
    let listeners: Result<_, _> = addresses.iter().copied().map(listen::at).collect();
    listeners.or_else(unavailable)
}

/// Hands listeners to the runtime that this is called in.
pub(super) fn hand_over(
    listeners: impl IntoIterator<Item = TcpListener>,
) -> Outcome<Vec<tokio::net::TcpListener>> {
    let all: Result<_, _> = listeners.into_iter().map(tokio::net::TcpListener::from_std).collect();
    all.or_else(|e| fail(SOFTWARE, format!("cannot start: {e}")))
}
