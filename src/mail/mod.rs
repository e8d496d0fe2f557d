//! Mail to CMR and back.
