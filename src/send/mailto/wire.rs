//! The stream beneath the SMTP dialogue: TCP without delay, TLS or not, replies in order.

use super::replies::{Replies, ReplyFault};
use super::transcript::Transcript;
use lettre::transport::smtp::client::AsyncTokioStream;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_native_tls::TlsStream;

/// TCP, or TLS over it.
#[derive(Debug)]
pub(super) enum Carrier {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection whose reading side hands out replies as [`Replies`] orders them.
#[derive(Debug)]
pub(super) struct Wire {
    carrier: Carrier,
    replies: Replies,
    /// The rest of a line that did not fit into the reader's buffer.
    rest: Vec<u8>,
    transcript: Transcript,
}

impl Wire {
    pub(super) fn new(carrier: Carrier, transcript: Transcript) -> Self {
        Self { carrier, replies: Replies::default(), rest: Vec::new(), transcript }
    }

    /// A connection whose greeting was read already: it greets once more.
    ///
    /// # Errors
    /// Never, for the line is short; the signature is that of [`Replies::push`].
    pub(super) fn greeted(carrier: Carrier, transcript: Transcript) -> Result<Self, ReplyFault> {
        let mut wire = Self::new(carrier, transcript);
        wire.replies.push(b"220 from here on\r\n")?;
        Ok(wire)
    }

    /// The next line of a reply, CRLF included; `None` at the end of the stream.
    ///
    /// # Errors
    /// What the stream says; `InvalidData` when the replies pass their bounds.
    pub(super) async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        std::future::poll_fn(|cx| self.poll_line(cx)).await
    }

    /// Whether everything that arrived was read.
    pub(super) fn is_drained(&self) -> bool {
        self.replies.is_empty() && self.rest.is_empty()
    }

    /// The TCP stream, if this is not TLS yet.
    pub(super) fn into_plain(self) -> Option<TcpStream> {
        match self.carrier {
            Carrier::Plain(stream) => Some(stream),
            Carrier::Tls(_) => None,
        }
    }

    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        loop {
            if let Some(line) = self.replies.pop() {
                self.transcript.server(&line);
                return Poll::Ready(Ok(Some(line)));
            }
            let mut space = [0_u8; 2048];
            let mut buffer = ReadBuf::new(&mut space);
            ready!(match &mut self.carrier {
                Carrier::Plain(s) => Pin::new(s).poll_read(cx, &mut buffer),
                Carrier::Tls(s) => Pin::new(s.as_mut()).poll_read(cx, &mut buffer),
            })?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(None));
            }
            self.replies
                .push(buffer.filled())
                .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        }
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.carrier {
            Carrier::Plain(s) => s.peer_addr(),
            Carrier::Tls(s) => s.get_ref().get_ref().get_ref().peer_addr(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match ready!(self.poll_line(cx))? {
                Some(line) => self.rest = line,
                None => return Poll::Ready(Ok(())),
            }
        }
        let take = self.rest.len().min(buffer.remaining());
        let kept = self.rest.split_off(take);
        buffer.put_slice(&self.rest);
        self.rest = kept;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(match &mut self.carrier {
            Carrier::Plain(s) => Pin::new(s).poll_write(cx, bytes),
            Carrier::Tls(s) => Pin::new(s.as_mut()).poll_write(cx, bytes),
        })?;
        self.transcript.client(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Plain(s) => Pin::new(s).poll_flush(cx),
            Carrier::Tls(s) => Pin::new(s.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Carrier::Tls(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
        }
    }
}
