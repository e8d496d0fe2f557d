//! What came out, as values; `docs/evaluate.md` explains the fields.

use super::Thresholds;
use serde::Serialize;
use std::time::Duration;

/// All that came out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Mails that were learned before the first question.
    pub train: usize,
    /// Mails that could be asked about.
    pub test: usize,
    /// Labels, or threads in the pool.
    pub labels: usize,
    /// Mails that could not be read and are in no figure.
    pub skipped: usize,
    /// Mails whose structure can't be told for certain, which were taken as they lie.
    pub as_they_lie: usize,
    /// Exhaustive deflate-6 scan of everything that was learned for one question, microseconds.
    pub deflate_scan_micros: f64,
    /// From how many pairs that figure is extrapolated.
    pub deflate_scan_pairs: usize,
    /// The configured method first.
    pub rows: Vec<Row>,
    /// What thresholds of a match would do, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
}

/// One method.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// Its name.
    pub method: String,
    /// The metric, where it has one.
    pub metric: Option<String>,
    /// Whether it is the configured one.
    pub default: bool,
    /// How many questions it was asked.
    pub questions: usize,
    /// Whether there were more, which its time did not allow or the caller did not want.
    pub sampled: bool,
    /// Share of questions whose right answer came first.
    pub accuracy: f64,
    /// Share of questions with a right answer among the first 10.
    pub top10: f64,
    /// Share of questions with a right answer among the first 32.
    pub top32: f64,
    /// CPU time of a question: mean.
    pub micros_mean: f64,
    /// Median.
    pub micros_p50: f64,
    /// 99th percentile.
    pub micros_p99: f64,
    /// CPU time to learn a kilobyte, batch training included.
    pub insert_micros_per_kb: f64,
    /// Memory of a learned message beside its text, where that is known.
    pub bytes_per_message: Option<f64>,
    /// How many times faster than the exhaustive deflate scan.
    pub ratio_to_deflate_scan: f64,
    /// With mixed-in messages that were made to attract: the share of first answers that they take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attracted: Option<f64>,
    /// The share of the first ten answers that they take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attracted_top10: Option<f64>,
}

/// Times of many questions.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// One more.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The mean in microseconds; 0 of none.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let sum: f64 = self.0.iter().map(micros).sum();
        sum / (self.0.len().max(1)) as f64
    }

    /// The time that this share of them (0 to 1) does not exceed, in microseconds; 0 of none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let mut all: Vec<f64> = self.0.iter().map(micros).collect();
        all.sort_by(f64::total_cmp);
        let place = (share.clamp(0.0, 1.0) * all.len() as f64).ceil();
        // The share of a length is no longer than the length.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the length")]
        let at = (place as usize).saturating_sub(1);
        all.get(at).copied().unwrap_or(0.0)
    }
}

fn micros(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_seen() {
        let mut times = Times::default();
        assert_eq!((times.mean(), times.quantile(0.5)), (0.0, 0.0));
        for n in (1..=200).rev() {
            times.push(Duration::from_micros(n));
        }
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(close(times.mean(), 100.5));
        for (share, expected) in [(0.0, 1.0), (0.5, 100.0), (0.99, 198.0), (1.0, 200.0)] {
            assert!(close(times.quantile(share), expected), "{share}");
        }
    }
}
