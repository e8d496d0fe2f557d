//! Time as this gateway writes it: the wall clock, the decimals of our own T, and the times of posts.
//!
//! It knows how a timestamp that nobody can guess is made. It must never know what is stamped.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::message::{Timestamp, UnixTime};

/// A post's Date is believed if it is at most this much before its receipt: longer than any
/// mail server keeps trying (5 days), so that a late mail keeps its time and a client whose
/// clock stands in another decade does not.
const SANE_DATE: Duration = Duration::from_secs(10 * 86_400);

/// Decimals appended to the microseconds: 16 decimals are 53 bits, above the 50 that keep a
/// stranger from planting a message under an id that is about to come.
const SECRET_DECIMALS: usize = 16;

/// How far the gateways of this process are ahead of the wall clock, in microseconds.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// The gateway's clock, in microseconds: the wall clock, unless somebody has moved it.
pub fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    UnixTime(wall.saturating_add(AHEAD.load(Ordering::Relaxed)))
}

/// From now on it is so much later for every gateway of this process: for who wants to live through a
/// day in a minute. What sleeps until a moment is not woken by it.
pub fn move_ahead(by: Duration) {
    AHEAD.fetch_add(micros(by), Ordering::Relaxed);
}

/// A header line's time: `time`, with decimals that nobody can guess.
pub fn stamp(time: UnixTime, random: [u8; 8]) -> Timestamp {
    Timestamp::from_unix(time, &decimals(random))
}

/// The timestamp of a person's post: the mail's Date if it is sane, else its receipt, minus a
/// second, plus a fraction out of Message-ID and body.
///
/// The same mail gives the same timestamp by whatever way it comes. The second is subtracted
/// because a Date has no fraction: with one added it could lie ahead of our clock, and the post
/// would have to wait for no reason that its author understands.
pub fn post_stamp(
    date: Option<UnixTime>,
    received: UnixTime,
    skew: Duration,
    message_id: Option<&str>,
    body: &[u8],
) -> Timestamp {
    mail_stamp(sane(date, received, skew).unwrap_or(received), message_id, body)
}

/// The timestamp of a mail of this Date: the second before it, with a fraction out of Message-ID
/// and body.
pub fn mail_stamp(whole: UnixTime, message_id: Option<&str>, body: &[u8]) -> Timestamp {
    let digest = digest(message_id, body);
    let mut first = [0u8; 8];
    let mut second = [0u8; 8];
    for (to, from) in first.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    for (to, from) in second.iter_mut().zip(digest.iter().skip(8)) {
        *to = *from;
    }
    let fraction = i64::try_from(u64::from_be_bytes(first) % 1_000_000).unwrap_or(0);
    let second_start = whole.0.div_euclid(1_000_000).saturating_sub(1).saturating_mul(1_000_000);
    Timestamp::from_unix(UnixTime(second_start.saturating_add(fraction)), &decimals(second))
}

/// The Date of a post if it can be true.
pub fn sane(date: Option<UnixTime>, received: UnixTime, skew: Duration) -> Option<UnixTime> {
    let latest = UnixTime(received.0.saturating_add(micros(skew)));
    date.filter(|date| (sent_after(received)..=latest).contains(date))
}

/// A mail that comes now was sent after this time, or its date is wrong.
pub fn sent_after(received: UnixTime) -> UnixTime {
    UnixTime(received.0.saturating_sub(micros(SANE_DATE)))
}

/// What names a mail by whatever way it comes: SHA-256 of its Message-ID and the post in it.
pub fn digest(message_id: Option<&str>, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(message_id.unwrap_or_default().as_bytes());
    hash.update([0]);
    hash.update(body);
    hash.finalize().into()
}

/// Bytes that nobody can guess.
///
/// # Errors
/// The system's random source does not answer.
pub fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

fn decimals(bytes: [u8; 8]) -> String {
    let modulus = 10u64.pow(u32::try_from(SECRET_DECIMALS).unwrap_or(16));
    format!("{:0width$}", u64::from_be_bytes(bytes) % modulus, width = SECRET_DECIMALS)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: UnixTime = UnixTime(1_700_000_000_000_000);

    /// By no more than what no other test of this program notices.
    #[test]
    fn it_can_be_moved_ahead() {
        let wall =
            || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
        let before = now().0 - wall();
        move_ahead(Duration::from_millis(50));
        let gained = now().0 - wall() - before;
        assert!((49_000..60_000).contains(&gained), "{gained}");
    }

    #[test]
    fn stamps_of_the_same_moment_differ_in_sixteen_decimals() {
        let (a, b) = (stamp(NOON, [1; 8]), stamp(NOON, [2; 8]));
        assert_ne!(a, b);
        assert_eq!(a.to_string().len(), "2023/11/14 22:13:20.000000".len() + SECRET_DECIMALS);
    }

    #[test]
    fn a_post_keeps_its_time_by_whatever_way_it_comes() {
        let date = Some(UnixTime(NOON.0 - 3_600_000_000));
        let skew = Duration::from_secs(60);
        let smtp = post_stamp(date, NOON, skew, Some("<a@b>"), b"text");
        let imap = post_stamp(date, UnixTime(NOON.0 + 86_400_000_000), skew, Some("<a@b>"), b"text");
        assert_eq!(smtp, imap);
        assert_ne!(smtp, post_stamp(date, NOON, skew, Some("<c@b>"), b"text"));
    }

    #[test]
    fn a_date_that_cannot_be_true_gives_way_to_the_receipt() {
        let skew = Duration::from_secs(60);
        for date in [None, Some(UnixTime(0)), Some(UnixTime(NOON.0 + 61_000_000))] {
            let stamp = post_stamp(date, NOON, skew, None, b"text");
            let age = NOON.0 - stamp.to_unix().0;
            assert!((0..=2_000_000).contains(&age), "{date:?} gave an age of {age}");
        }
    }

    #[test]
    fn a_post_of_this_second_is_not_ahead_of_the_clock() {
        for i in 0..100u8 {
            let stamp = post_stamp(Some(NOON), NOON, Duration::ZERO, None, &[i]);
            assert!(stamp.to_unix() < NOON);
        }
    }
}
