//! How mail comes in.
