//! Sockets that accept: the loop that lets clients in, how many of them there may be, in all and
//! from one network, and how many bytes they may hold.
//!
//! It knows connections and where they come from. It must never know what is said on them.

mod budget;
mod error;
mod places;

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use budget::{Budget, Share};
pub use error::ListenError;
pub use places::{Most, Place, Places};

/// Connections that the system may keep waiting for us.
const BACKLOG: i32 = 1_024;

/// Waits between attempts to accept when the system has no descriptors or memory left.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Listens on `address`; port 0 takes a free one.
///
/// To be called inside a tokio runtime; [`at`] needs none.
///
/// # Errors
/// The system's word: the address is taken, not ours, or needs a privilege.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::from_std(at(address)?).map_err(|source| ListenError { address, source })
}

/// As [`bind`], for a listener that is handed to a runtime later (it does not block).
///
/// # Errors
/// As [`bind`].
pub fn at(address: SocketAddr) -> Result<std::net::TcpListener, ListenError> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    listen().map_err(|source| ListenError { address, source })
}

/// Accepts connections until `stop` is true, or its sender is gone. `admit` says what is to be done
/// with each, if anything; the number is that of those under way. Then the listener is closed, so
/// that the system refuses new clients, and what is under way is waited for, for `drain` at most;
/// gives how many were cut off.
pub async fn accept<F>(
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    mut admit: impl FnMut(TcpStream, SocketAddr, usize) -> Option<F>,
    drain: impl FnOnce() -> Duration,
) -> usize
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut pause = PAUSE.0;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = PAUSE.0;
                if let Some(connection) = admit(stream, peer, connections.len()) {
                    connections.spawn(connection);
                }
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(%error, ?pause, "cannot accept a connection");
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => break,
                    () = sleep(pause) => {}
                }
                pause = pause.saturating_mul(2).min(PAUSE.1);
            }
        }
    }
    let drain = drain();
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(drain, finish).await;
    connections.len()
}

/// Errors of accept that concern one connection only and say nothing about the next one.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Says this to a client and closes, without waiting for anything: the socket's buffer is empty and
/// takes a few bytes, or they are lost.
pub fn dismiss(stream: TcpStream, words: &[u8]) {
    use std::io::Write as _;
    let written = stream.into_std().and_then(|mut stream| stream.write(words));
    if let Err(error) = written {
        tracing::debug!(%error, "refusal not sent");
    }
}

/// What one client can have many of counts as one: an IPv4 address; of IPv6 the /64, which one
/// customer has whole.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_error_it_is() {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, OutOfMemory};
        for kind in [ConnectionAborted, ConnectionReset, Interrupted] {
            assert!(is_the_clients(&kind.into()), "{kind}");
        }
        // No descriptors left: the next attempt would fail as well.
        for error in [io::Error::from_raw_os_error(24), OutOfMemory.into()] {
            assert!(!is_the_clients(&error), "{error}");
        }
    }

    #[tokio::test]
    async fn who_is_under_way_is_waited_for_and_then_cut_off() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let (entered, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let admit = move |stream: TcpStream, _, under_way| {
            let _ = entered.send(under_way);
            (under_way < 1).then_some(async move {
                let _held = stream;
                std::future::pending::<()>().await;
            })
        };
        let door = tokio::spawn(accept(listener, stopping, admit, || Duration::from_millis(20)));
        let _first = TcpStream::connect(at).await.unwrap();
        assert_eq!(seen.recv().await, Some(0));
        let _second = TcpStream::connect(at).await.unwrap();
        assert_eq!(seen.recv().await, Some(1), "it is told how many there are, and lets nobody in");
        stop.send_replace(true);
        assert_eq!(door.await.unwrap(), 1, "one was cut off");
        assert!(TcpStream::connect(at).await.is_err(), "the listener is closed");
    }

    #[test]
    fn networks() {
        for (ip, network) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            assert_eq!(network_of(ip.parse().unwrap()), network.parse::<IpAddr>().unwrap(), "{ip}");
        }
    }
}
