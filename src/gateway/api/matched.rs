//! Messages that are similar, and what two texts share.
//!
//! It knows values only. It must never know how nearness is measured.

use serde::{Deserialize, Serialize};

/// A message that is similar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchView {
    /// Public id.
    pub id: String,
    /// C(X) − C(X|Y), in bits.
    pub gain_bits: f64,
    /// C(X|Y), in bits.
    pub one_sided_bits: f64,
    /// D(X, Y) = C(Y|X) + C(X|Y), in bits.
    pub distance_raw: f64,
    /// The origin address of Y.
    pub from: String,
    /// The origin time of Y.
    pub time: String,
    /// The passage of Y that shares most with X.
    pub excerpt: String,
    /// What they share; told by `explain` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedView>,
}

/// The wording that X and Y share, by what is known about words now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SharedView {
    /// In a sentence.
    pub why: String,
    /// The passage of X that shares most with Y.
    pub passage: String,
    /// The words that save most, best first.
    pub words: Vec<SharedWordView>,
    /// How many more there are.
    pub more_words: usize,
    /// What these save, in bits.
    pub more_bits: f64,
}

/// One word that X and Y share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SharedWordView {
    /// As X writes it first.
    pub word: String,
    /// What it saves when X is coded for one who has Y, in bits.
    pub bits: f64,
    /// How many messages have it; long ones count more than once.
    pub messages: usize,
    /// Its first places in the body of X: first byte, and one after the last.
    pub in_x: Vec<[usize; 2]>,
    /// The same in Y.
    pub in_y: Vec<[usize; 2]>,
}
