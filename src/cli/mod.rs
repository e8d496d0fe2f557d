//! One file per verb.
pub mod escape;
pub mod exit;
pub mod layout;
pub mod out;
