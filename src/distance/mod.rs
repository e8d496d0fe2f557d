//! Compression distance: how well one text helps to code another.
//!
//! This room knows byte strings and code lengths, nothing else. It must never know what a
//! message, a peer, an address or a pool is.
//!
//! A [`Coder`] gives C(X), the length of X in bits, and C(X|Y), its length when Y has been coded
//! before it. Everything the rest of the program calls "close" is one of the four [`Metric`]s
//! made of those two (specification section 3.2). The measure in use is the word coder's: the bits
//! that the words of Y save on X ([`word_gain_of`]), summed from counts ([`word_counts`]); that it
//! is a coder, [`WordCoder`] shows by writing and reading it. The other coders are for comparison;
//! [`Deflate`] also tells what no text is ([`density()`]). The older [`words()`] find the passage
//! that people are shown ([`excerpt()`]) and serve as the words of what we compare ourselves with.

mod bytes;
mod codebook;
mod counts;
mod deflate;
mod density;
mod excerpt;
mod marks;
mod parse;
mod range;
mod shared;
mod spelling;
mod tokens;
mod word_coder;
mod words;
mod zstd;

pub use bytes::{BYTES_SEEN, ByteCoder};
pub use codebook::{Lexicon, Vocabulary};
pub use counts::{
    COUNTED_BYTES, COUNTED_WORDS, LAMBDA, WordCounts, WordModel, distinct, word_counts, word_counts_with,
    word_gain_bits, word_gain_of,
};
pub use deflate::{Deflate, PRIMER, WINDOW};
pub use density::{DENSITY_MIN, DENSITY_SEEN, density};
pub use excerpt::{excerpt, excerpt_by, passage};
pub use marks::marks;
pub use parse::{LzText, PARSED_BYTES};
pub use shared::{PLACES, SharedWord, shared_passage, shared_wording};
pub use tokens::{Kind, PIECE_BYTES, RUN_BYTES, Token, WORD_BYTES, each_token, fold, tokens, word_hash};
pub use word_coder::{CodeError, WordCoder};
pub use words::{Word, common_words, shared_words, words};
pub use zstd::{ZSTD_SEEN, Zstd};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A compressor, seen as a measure of information.
///
/// All lengths are in bits, finite and not negative. The same arguments always give the same
/// length, on every machine.
pub trait Coder: Send + Sync {
    /// C(X): the length of `x` alone.
    fn bits(&self, x: &[u8]) -> f64;

    /// C(X|Y): the length of `x` for one who has `y`.
    fn bits_given(&self, x: &[u8], y: &[u8]) -> f64;

    /// How many bytes of Y the coder can see at most; which ones, each coder says.
    fn window(&self) -> usize;

    /// C(X|Y), when C(Y) of the newest [`Coder::window`] bytes of `y` is known already.
    fn bits_after(&self, x: &[u8], y: &[u8], _y_bits: f64) -> f64 {
        self.bits_given(x, y)
    }

    /// Everything the metrics are made of, for one pair.
    fn measure(&self, x: &[u8], y: &[u8]) -> Measured {
        Measured {
            x: self.bits(x),
            y: self.bits(y),
            x_given_y: self.bits_given(x, y),
            y_given_x: self.bits_given(y, x),
        }
    }
}

/// The last `n` bytes of `bytes`, or all of them.
#[must_use]
pub fn newest(bytes: &[u8], n: usize) -> &[u8] {
    bytes.get(bytes.len().saturating_sub(n)..).unwrap_or(bytes)
}

/// The first `n` bytes of `bytes`, or all of them.
#[must_use]
pub fn oldest(bytes: &[u8], n: usize) -> &[u8] {
    bytes.get(..n).unwrap_or(bytes)
}

/// The four code lengths of a pair, in bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// C(X)
    pub x: f64,
    /// C(Y)
    pub y: f64,
    /// C(X|Y)
    pub x_given_y: f64,
    /// C(Y|X)
    pub y_given_x: f64,
}

impl Measured {
    /// C(X) − C(X|Y): the bits that Y saves when X is coded. At least 0: a coder that does not
    /// profit from Y could ignore it.
    #[must_use]
    pub fn gain(&self) -> f64 {
        (self.x - self.x_given_y).max(0.0)
    }

    /// The gain as a share of C(X), 0 to 1.
    #[must_use]
    pub fn gain_share(&self) -> f64 {
        if self.x > 0.0 { (self.gain() / self.x).min(1.0) } else { 0.0 }
    }

    /// D(X,Y) = C(Y|X) + C(X|Y), as section 3.2 writes it.
    #[must_use]
    pub fn raw(&self) -> f64 {
        self.y_given_x + self.x_given_y
    }

    /// D(X,Y) / (C(X) + C(Y)): 0 for two that determine each other, about 1 for strangers.
    #[must_use]
    pub fn normalised(&self) -> f64 {
        let whole = self.x + self.y;
        if whole > 0.0 { self.raw() / whole } else { 0.0 }
    }
}

/// What "closest" means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Most bits saved, C(X) − C(X|Y).
    #[default]
    Gain,
    /// Fewest bits left, C(X|Y). For one X the same order as `Gain`.
    OneSided,
    /// D(X,Y) / (C(X) + C(Y)).
    Normalised,
    /// D(X,Y) = C(Y|X) + C(X|Y). It measures mostly the length of Y.
    Raw,
}

impl Metric {
    /// All of them, in the order of the documentation.
    pub const ALL: [Metric; 4] = [Metric::Gain, Metric::OneSided, Metric::Normalised, Metric::Raw];

    /// A distance under this metric: smaller is closer. Bits, except for `Normalised`; `Gain` is
    /// the negative of the bits saved.
    #[must_use]
    pub fn distance(self, m: &Measured) -> f64 {
        match self {
            Metric::Gain => -m.gain(),
            Metric::OneSided => m.x_given_y,
            Metric::Normalised => m.normalised(),
            Metric::Raw => m.raw(),
        }
    }

    /// Whether the metric needs C(Y|X) as well, the dearer half.
    #[must_use]
    pub fn is_symmetric(self) -> bool {
        matches!(self, Metric::Normalised | Metric::Raw)
    }

    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Metric::Gain => "gain",
            Metric::OneSided => "one-sided",
            Metric::Normalised => "normalised",
            Metric::Raw => "raw",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a metric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no metric; there are gain, one-sided, normalised and raw")]
pub struct UnknownMetric(String);

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(s: &str) -> Result<Self, UnknownMetric> {
        Metric::ALL.into_iter().find(|m| m.name() == s).ok_or_else(|| UnknownMetric(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_are_those_of_the_configuration() {
        for m in Metric::ALL {
            assert_eq!(m.name().parse::<Metric>(), Ok(m));
            assert_eq!(serde_json::to_string(&m).unwrap(), format!("{:?}", m.name()));
        }
        let wrong = "euclid".parse::<Metric>().unwrap_err().to_string();
        assert!(wrong.contains("euclid") && wrong.contains("one-sided"), "{wrong}");
    }

    #[test]
    fn the_metrics_are_made_of_the_four_lengths() {
        let m = Measured { x: 100.0, y: 300.0, x_given_y: 60.0, y_given_x: 260.0 };
        assert_eq!(Metric::Gain.distance(&m), -40.0);
        assert_eq!(Metric::OneSided.distance(&m), 60.0);
        assert_eq!(Metric::Raw.distance(&m), 320.0);
        assert_eq!(Metric::Normalised.distance(&m), 0.8);
        assert_eq!(m.gain_share(), 0.4);
    }

    #[test]
    fn nothing_is_at_no_distance_from_nothing() {
        let m = Measured::default();
        for metric in Metric::ALL {
            assert_eq!(metric.distance(&m), 0.0, "{metric}");
        }
        assert_eq!(m.gain_share(), 0.0);
    }
}
