//! CMR over UDP, inwards (A4.4): datagrams with our tag.
//!
//! Nothing is ever answered to a datagram: nobody knows who sent it, and an answer could hit a victim.
//! So whoever sends learns nothing, neither that it came nor why it was not taken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{Arrival, Handler, ListenError, Via};
use crate::message::UnixTime;
use crate::wire::datagram;

/// Messages that are being taken at the same time; what comes beyond waits in the system's buffer,
/// which drops what does not fit.
const AT_ONCE: usize = 16;

/// Listens on `address`; port 0 takes a free one. The socket does not block, and is handed to a runtime
/// later.
///
/// # Errors
/// The system's word.
pub fn bind(address: SocketAddr) -> Result<std::net::UdpSocket, ListenError> {
    let bind = || {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    bind().map_err(|source| ListenError { address, source })
}

/// Receives datagrams with this tag until `stop` is true, or its sender is gone.
pub async fn serve<H: Handler>(
    socket: UdpSocket,
    service: String,
    handler: Arc<H>,
    mut stop: watch::Receiver<bool>,
) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut under_way = JoinSet::new();
    // One byte more than any datagram has.
    let mut buffer = vec![0_u8; datagram::MOST.saturating_add(1)];
    loop {
        let turn = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            turn = Arc::clone(&turns).acquire_owned() => turn,
        };
        // It is never closed.
        let Ok(turn) = turn else { break };
        let received = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            received = socket.recv_from(&mut buffer) => received,
        };
        while under_way.try_join_next().is_some() {}
        let (length, from) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "cannot receive a datagram");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(message) = buffer.get(..length).and_then(|bytes| datagram::read(&service, bytes)) else {
            tracing::debug!(%from, length, "a datagram for somebody else");
            continue;
        };
        let arrival = Arrival {
            // Written by whoever sent it: good for limits, for nothing else.
            peer: Some(from.ip().to_canonical()),
            ..Arrival::new(Via::Udp, message.to_vec(), UnixTime::from(SystemTime::now()))
        };
        let handler = Arc::clone(&handler);
        under_way.spawn(async move {
            let _turn = turn;
            let reply = handler.admit(arrival).await.reply;
            if reply.code() >= 300 {
                tracing::info!(%from, why = reply.text(), "a datagram was not taken");
            }
        });
    }
    while under_way.join_next().await.is_some() {}
}
