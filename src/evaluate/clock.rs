//! The clock of this room.

use std::time::Duration;

/// CPU time of this thread so far: what else the machine does costs a measurement little.
#[must_use]
pub fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}
