//! What the field uses for the same purpose, as published, to be compared with.
//!
//! All work on the words of [`crate::distance::words()`] of two characters and more, so that what
//! is compared is the method. None of them is used for routing.

mod bayes;
mod neighbours;
mod svm;
mod vectors;

pub(super) use bayes::Bayes;
pub(super) use neighbours::{Neighbours, Weighting};
pub(super) use svm::Svm;
