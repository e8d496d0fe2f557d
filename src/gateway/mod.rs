//! Ties the rooms together.
