//! How mail goes out: the durable queue's worker and the adapters of each transport.
//!
//! It knows SMTP submission, HTTP, UDP, ssh, deadlines, retries and what a reply means for a delivery.
//! It must never know why a message goes to somebody (the router decided that), nor how its
//! bytes are made (the gateway composes and signs them when they are about to leave).

pub mod backoff;
pub mod hop;
pub mod http;
pub mod mailto;
pub mod outcome;
pub mod queue;
pub mod resolve;
pub mod ssh;
pub mod udp;
