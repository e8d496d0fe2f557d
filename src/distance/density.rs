//! How dense a text is: whether it depends on itself and on the language at all.
//!
//! What is random or encrypted has nothing that a coder could use, and costs about what it is
//! long; what repeats itself costs nearly nothing. People's texts lie between.

use super::{Coder, oldest};

/// A text shorter than this says too little about itself, in bytes.
pub const DENSITY_MIN: usize = 100;

/// As much of a text is looked at, in bytes.
pub const DENSITY_SEEN: usize = 16 * 1024;

/// C(X) as a share of the bits that X has: 0 for what says nothing new, about 1 for random bytes,
/// 0.75 for random letters of base64. `None` for a text that is too short to tell.
#[must_use]
pub fn density(coder: &dyn Coder, x: &[u8]) -> Option<f64> {
    let x = oldest(x, DENSITY_SEEN);
    if x.len() < DENSITY_MIN {
        return None;
    }
    Some(coder.bits(x) / (x.len() as f64 * 8.0))
}
