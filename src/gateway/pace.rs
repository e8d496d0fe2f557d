//! How routing and receiving share a small machine.
//!
//! Pure arithmetic over counts and times that are passed in. It must never know threads or clocks.

use std::time::Duration;

/// While more comes than is decided, routing rests so many times as long as it worked: receiving
/// gets the processors, because somebody waits for the 250, and nobody for a decision.
const RESTS: u32 = 9;

/// So many messages a second are a rush, however fast routing is: whoever brings that many is not
/// reading the answers meanwhile. Below it routing has all the time that it needs.
const RUSH: u128 = 500;

/// The longest rest. Also what a burst may delay an answer by.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// How long routing rests after a batch that took `worked`, in which `accepted` messages came in
/// and `decided` were decided. Zero as soon as routing keeps up with fewer than [`RUSH`] a second, so
/// that what waits is worked off at full speed once the rush is over. It never stops altogether: under any load it works a tenth
/// of the time, or begins a batch each [`LONGEST_REST`], whichever is more.
pub(super) fn rest_after(worked: Duration, accepted: u64, decided: u64) -> Duration {
    let a_rush = u128::from(accepted).saturating_mul(1000) > worked.as_millis().saturating_mul(RUSH);
    if accepted > decided || (a_rush && accepted > 1) {
        worked.saturating_mul(RESTS).min(LONGEST_REST)
    } else {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_while_more_comes_than_is_decided() {
        let ms = Duration::from_millis;
        for (worked, accepted, decided, rest) in [
            (ms(50), 0, 32, ms(0)),
            (ms(80), 32, 32, ms(0)),
            // It keeps up, and takes the processors from a rush.
            (ms(50), 32, 32, ms(450)),
            (ms(1), 1, 32, ms(0)),
            (ms(5), 33, 32, ms(45)),
            (ms(50), 33, 32, ms(450)),
            (ms(2_000), 9_000, 1, LONGEST_REST),
            (Duration::MAX, u64::MAX, 0, LONGEST_REST),
            (ms(0), 1, 0, ms(0)),
        ] {
            assert_eq!(rest_after(worked, accepted, decided), rest, "{worked:?} {accepted} {decided}");
        }
    }
}
