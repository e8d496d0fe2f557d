//! The small world that `demo` plays in.

pub mod host;
