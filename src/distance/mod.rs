//! Compression distance.
