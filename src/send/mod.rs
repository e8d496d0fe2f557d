//! How mail goes out.
