//! The memory of this process: keys, passwords and mails are in it.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// From now on no core dump is written when the process crashes, and other processes of the same user
/// can neither trace it nor read its memory. To be called again after the user has changed.
///
/// # Errors
/// The system's word.
pub fn keep_memory_private() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A core pattern that is a pipe does not ask for the limit, but it does ask for this.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
