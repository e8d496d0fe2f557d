//! Deflate (RFC 1951, by flate2) as a measure of information.

use super::{Coder, newest};
use flate2::{Compress, Compression, FlushCompress, Status};
use std::cell::RefCell;

/// What deflate can point back to: 32 KiB (RFC 1951 section 2). Of a longer Y only its newest
/// 32 KiB count; of a long X the part beyond 32 KiB is coded from X alone.
pub const WINDOW: usize = 32 * 1024;

/// The text that [`Deflate::primed`] has seen before anything else.
///
/// Plain deflate codes a short text with RFC 1951's fixed code at 8 bits a letter, and the same
/// text behind any page of prose at 4 or 5: so every long Y "helps", whatever it says, and " is
/// the " helps as much as a name. Coding this page first takes both away from the gain: letters
/// already have their code lengths and the common phrases are already known, so what Y still
/// saves is wording that X shares with Y and not with everybody.
pub const PRIMER: &[u8] = include_bytes!("primer.txt");

/// Size of the output buffer; what is written there is only counted.
const OUT: usize = 4096;

/// The deflate coder. Lengths are whole bytes, so they come in steps of 8 bits.
#[derive(Clone, Debug)]
pub struct Deflate {
    level: u32,
    primer: &'static [u8],
    primer_bits: f64,
}

struct Scratch {
    level: u32,
    state: Compress,
    out: Vec<u8>,
}

thread_local! {
    /// A deflate state is some 300 KiB; one per thread is kept and reset.
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

impl Default for Deflate {
    fn default() -> Self {
        Deflate::primed(6)
    }
}

impl Deflate {
    /// Plain deflate: C(X) is the size that `X` compresses to, in bits. `level` is 0 to 9.
    #[must_use]
    pub fn plain(level: u32) -> Self {
        Deflate { level: level.min(9), primer: b"", primer_bits: 0.0 }
    }

    /// Deflate that has coded [`PRIMER`] before: C(X) is what X adds to it. `level` is 0 to 9.
    #[must_use]
    pub fn primed(level: u32) -> Self {
        let level = level.min(9);
        Deflate { level, primer: PRIMER, primer_bits: size(level, &[PRIMER]) }
    }

    /// The level, 0 to 9.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.level
    }
}

impl Coder for Deflate {
    fn bits(&self, x: &[u8]) -> f64 {
        (size(self.level, &[self.primer, x]) - self.primer_bits).max(0.0)
    }

    fn bits_given(&self, x: &[u8], y: &[u8]) -> f64 {
        let seen = newest(y, WINDOW);
        self.bits_after(x, seen, self.bits(seen))
    }

    fn bits_after(&self, x: &[u8], y: &[u8], y_bits: f64) -> f64 {
        let both = size(self.level, &[self.primer, newest(y, WINDOW), x]);
        (both - self.primer_bits - y_bits).max(0.0)
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

/// The deflated size of the parts one after another, in bits.
fn size(level: u32, parts: &[&[u8]]) -> f64 {
    let counted = SCRATCH.with_borrow_mut(|kept| {
        let fits = matches!(kept, Some(s) if s.level == level);
        if !fits {
            *kept = None;
        }
        let scratch = kept.get_or_insert_with(|| Scratch {
            level,
            state: Compress::new(Compression::new(level), false),
            out: vec![0; OUT],
        });
        scratch.state.reset();
        count(scratch, parts)
    });
    // Compressing into memory has no way to fail that depends on the data. Should the library
    // report one nevertheless, "not compressible" is the safe answer: it never makes a match.
    let bytes = counted.unwrap_or_else(|| parts.iter().map(|p| p.len() as u64).sum());
    bytes as f64 * 8.0
}

fn count(scratch: &mut Scratch, parts: &[&[u8]]) -> Option<u64> {
    let Scratch { state, out, .. } = scratch;
    for part in parts {
        let mut rest: &[u8] = part;
        while !rest.is_empty() {
            let before = (state.total_in(), state.total_out());
            state.compress(rest, out, FlushCompress::None).ok()?;
            let taken = usize::try_from(state.total_in() - before.0).ok()?;
            rest = rest.get(taken..)?;
            if (state.total_in(), state.total_out()) == before {
                return None;
            }
        }
    }
    loop {
        let before = state.total_out();
        match state.compress(&[], out, FlushCompress::Finish).ok()? {
            Status::StreamEnd => return Some(state.total_out()),
            _ if state.total_out() == before => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Measured, Metric};
    use super::*;
    use flate2::read::DeflateDecoder;
    use flate2::write::DeflateEncoder;
    use std::io::{Read, Write};

    fn pseudo_random(n: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        (0..n)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect()
    }

    #[test]
    fn the_size_is_that_of_a_stream_which_decodes() {
        for len in [0, 1, 5, 300, 40_000, 200_000] {
            let mut text = pseudo_random(len / 2);
            text.extend(b"what is the largest planet? ".iter().cycle().take(len - len / 2));
            for level in [1, 6, 9] {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
                encoder.write_all(&text).unwrap();
                let packed = encoder.finish().unwrap();
                let mut back = Vec::new();
                DeflateDecoder::new(packed.as_slice()).read_to_end(&mut back).unwrap();
                assert_eq!(back, text);
                assert_eq!(Deflate::plain(level).bits(&text), packed.len() as f64 * 8.0);
                // However the text is cut into parts, it is one stream.
                let (a, b) = text.split_at(len / 3);
                assert_eq!(size(level, &[a, b]), packed.len() as f64 * 8.0, "{len} {level}");
            }
        }
    }

    #[test]
    fn conditional_length_is_the_difference() {
        let (x, y) = (b"Jupiter is the largest planet.\n", b"What is the largest planet?\n");
        for coder in [Deflate::plain(6), Deflate::default()] {
            let mut yx = y.to_vec();
            yx.extend(x);
            assert_eq!(coder.bits_given(x, y), coder.bits(&yx) - coder.bits(y));
            let m = coder.measure(x, y);
            assert_eq!(m.x_given_y, coder.bits_given(x, y));
            assert_eq!(m.y_given_x, coder.bits_given(y, x));
            assert!(m.gain() > 0.0);
        }
    }

    #[test]
    fn a_text_says_nearly_all_about_itself() {
        let x = b"The committee will meet on Thursday at nine in the small hall, bring your badge.";
        let coder = Deflate::default();
        let m = coder.measure(x, x);
        assert!(m.gain_share() > 0.8, "{m:?}");
        assert!(Metric::Normalised.distance(&m) < 0.2, "{m:?}");
    }

    #[test]
    fn only_the_newest_32_kib_of_y_are_seen() {
        let coder = Deflate::default();
        let x = b"xylophones quarrel behind the lighthouse";
        let mut near = pseudo_random(WINDOW - 1000);
        near.splice(0..0, *x);
        let mut far = pseudo_random(WINDOW + 1000);
        far.splice(0..0, *x);
        let alone = coder.bits(x);
        assert!(coder.bits_given(x, &near) < alone / 2.0);
        assert!(coder.bits_given(x, &far) > alone * 0.9);
        // Bytes before the window change nothing at all.
        assert_eq!(coder.bits_given(x, &far), coder.bits_given(x, newest(&far, WINDOW)));
    }

    #[test]
    fn a_page_of_prose_does_not_help_by_its_letters_alone() {
        let x = b"What is the largest planet?\n";
        let prose = b"Dear all, the bakery on the corner will be closed during the first week of \
            August. Orders for birthday cakes that were placed before can be picked up at our \
            other shop in the market street, where you will also find the usual rolls and bread.";
        let gain = |c: &Deflate| c.measure(x, prose).gain_share();
        let (plain, primed) = (gain(&Deflate::plain(6)), gain(&Deflate::default()));
        assert!(plain > 0.25, "plain deflate is fooled: {plain}");
        assert!(primed < 0.1, "the primed one is not: {primed}");
    }

    #[test]
    fn nothing_costs_next_to_nothing() {
        let coder = Deflate::default();
        assert!(coder.bits(b"") <= 8.0);
        let m: Measured = coder.measure(b"", b"");
        assert!(m.raw() <= 16.0);
    }
}
