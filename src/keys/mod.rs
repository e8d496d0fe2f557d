//! Signatures of CMR messages.
