//! Zstandard (RFC 8878, by the reference library) as a measure of information.

use super::{Coder, PRIMER, newest};
use std::cell::RefCell;
use zstd::bulk::Compressor;

/// Of a longer Y only its newest 128 KiB are seen.
pub const ZSTD_SEEN: usize = 128 * 1024;

/// The zstd coder: Y, behind the primer, is the dictionary. Lengths are whole bytes.
#[derive(Clone, Copy, Debug)]
pub struct Zstd {
    level: i32,
}

impl Default for Zstd {
    fn default() -> Self {
        Zstd::new(3)
    }
}

impl Zstd {
    /// `level` is 1 to 19.
    #[must_use]
    pub fn new(level: i32) -> Self {
        Zstd { level: level.clamp(1, 19) }
    }

    fn size(self, x: &[u8], dictionary: &[u8]) -> Option<usize> {
        thread_local! {
            static CONTEXT: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
        }
        CONTEXT.with_borrow_mut(|context| {
            if context.is_none() {
                let mut new = Compressor::new(self.level).ok()?;
                new.include_contentsize(false).ok()?;
                new.include_dictid(false).ok()?;
                *context = Some(new);
            }
            let context = context.as_mut()?;
            context.set_dictionary(self.level, dictionary).ok()?;
            Some(context.compress(x).ok()?.len())
        })
    }
}

impl Coder for Zstd {
    fn bits(&self, x: &[u8]) -> f64 {
        self.bits_given(x, b"")
    }

    fn bits_given(&self, x: &[u8], y: &[u8]) -> f64 {
        let mut dictionary = PRIMER.to_vec();
        dictionary.extend_from_slice(newest(y, ZSTD_SEEN));
        // Compressing into memory doesn't fail by what the data are; if it did, "not
        // compressible" is the answer that never makes a match.
        self.size(x, &dictionary).unwrap_or(x.len()) as f64 * 8.0
    }

    fn window(&self) -> usize {
        ZSTD_SEEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = include_bytes!("../../LICENSE-APACHE");

    #[test]
    fn the_length_is_that_of_a_frame_which_decodes() {
        let (y, x) = TEXT.split_at(TEXT.len() / 2);
        let mut dictionary = PRIMER.to_vec();
        dictionary.extend(y);
        let mut context = Compressor::with_dictionary(3, &dictionary).unwrap();
        let frame = context.compress(x).unwrap();
        let back = zstd::bulk::Decompressor::with_dictionary(&dictionary)
            .unwrap()
            .decompress(&frame, x.len())
            .unwrap();
        assert_eq!(back, x);
        let computed = Zstd::default().bits_given(x, y) / 8.0;
        assert!(computed <= frame.len() as f64 && computed + 16.0 > frame.len() as f64);
    }

    #[test]
    fn what_y_says_is_saved() {
        let coder = Zstd::default();
        let (y, x) = TEXT.split_at(TEXT.len() / 2);
        let alone = coder.bits(x);
        assert!(coder.bits_given(x, y) < alone);
        assert!(coder.bits_given(x, x) < 0.1 * alone);
        // Nothing stays of what was coded before.
        assert_eq!(coder.bits(x), alone);
        assert!(Zstd::new(19).bits(x) <= alone);
    }

    #[test]
    fn only_the_newest_of_y_is_seen() {
        let mut y = TEXT.to_vec();
        y.resize(TEXT.len() + ZSTD_SEEN, b' ');
        let coder = Zstd::default();
        let gone = coder.bits_given(TEXT, &y);
        assert!(gone > 0.9 * coder.bits(TEXT), "{gone} {}", coder.bits(TEXT));
    }
}
