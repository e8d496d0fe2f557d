//! How a CMR message travels where it is not a mail: what an address says about the way (A4), the
//! upload of RFC 1867, the questions of the HTTP handshake (A4.5), asking before sending, and datagrams
//! with a tag.
//!
//! Bytes in, values out. It knows the forms on the wire. It must never know sockets, the clock, the
//! database, nor who may be sent to.

pub mod datagram;
pub mod handshake;
pub mod inquiry;
pub mod multipart;
mod target;

pub(crate) use target::bracketed;
pub use target::{HttpTarget, Scheme, TargetError, UdpTarget, scheme};
