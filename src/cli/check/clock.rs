//! The clock: messages are dated by it, and a wrong one makes them come from the future or the past.

use std::process::{Command, Stdio};

use rusqlite::{Connection, OpenFlags};

use super::Line;
use crate::cli::layout::count;
use crate::config::Config;
use crate::gateway::clock;
use crate::message::UnixTime;
use crate::store;

/// A clock this far behind its own past is wrong, in seconds: adjusting it by hand is less.
const BEHIND: i64 = 60;

/// What is known about it.
struct Seen {
    now: UnixTime,
    /// The last time that a message bears which was written here.
    last: Option<UnixTime>,
    /// Whether the system says that it is set by others; none if it does not say.
    set_by_others: Option<bool>,
}

/// Whether the clock can be right.
pub(super) fn clock(config: &Config) -> Line {
    let path = config.gateway.data_dir.join(store::FILE_NAME);
    let last = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .ok()
        .and_then(|conn| store::meta::last_time(&conn).ok().flatten());
    judge(&Seen { now: clock::now(), last, set_by_others: set_by_others() })
}

/// What systemd knows of it; other systems have other ways, which are not asked.
fn set_by_others() -> Option<bool> {
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    match String::from_utf8_lossy(&asked.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn judge(seen: &Seen) -> Line {
    const NAME: &str = "clock";
    const SET: &str = "let it be set: timedatectl set-ntp true, or chrony";
    let shown = seen.now.rfc3339();
    let behind = seen.last.map_or(0, |last| last.as_secs().saturating_sub(seen.now.as_secs()));
    if behind > BEHIND {
        let by = count(behind.unsigned_abs(), "second");
        let says = format!("{shown} is {by} before the last message that was written here");
        return Line::fail(
            NAME,
            says,
            format!("{SET}; new messages bear the time of the last one until then"),
        );
    }
    match seen.set_by_others {
        Some(true) => Line::ok(NAME, format!("{shown}, set by a time server")),
        Some(false) => Line::warn(NAME, format!("{shown}, and nobody sets it"), SET),
        None => Line::ok(NAME, format!("{shown}; the system does not say who sets it")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_clock_is_held_against_its_own_past_and_the_system() {
        let now = UnixTime::from_secs(1_790_000_000);
        let at = |seconds: i64| Some(UnixTime::from_secs(1_790_000_000 + seconds));
        for (last, set_by_others, state, words) in [
            (None, None, State::Ok, "does not say"),
            (at(-5), Some(true), State::Ok, "set by a time server"),
            (at(60), Some(true), State::Ok, "set by a time server"),
            (at(61), Some(true), State::Fail, "61 seconds before the last message"),
            (at(-5), Some(false), State::Warn, "nobody sets it"),
        ] {
            let line = judge(&Seen { now, last, set_by_others });
            assert!(line.state == state && line.says.contains(words), "{}", line.says);
        }
    }
}
