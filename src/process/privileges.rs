//! What root and its capabilities allow, and programs that give privileges when they are started.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

/// Gives up every capability (the right to listen on ports below 1024 as well), for this thread, those
/// that it starts, and every program that they run. Even user 0 is then bound by the owners and modes of
/// files like anybody else. Whether there was anything to give up.
///
/// # Errors
/// The system's word.
pub fn give_up_privileges() -> std::io::Result<bool> {
    set_no_new_privs(true)?;
    let held = capabilities(None)?;
    let none = CapabilitySet::empty();
    // Kernels without it have none.
    let _ = clear_ambient_capability_set();
    if held.effective.is_empty() && held.permitted.is_empty() && held.inheritable.is_empty() {
        return Ok(false);
    }
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own: the others of this test program keep what they have.
    #[test]
    fn nothing_is_left_and_programs_get_nothing_back() {
        let run = || {
            give_up_privileges().unwrap();
            assert!(!give_up_privileges().unwrap(), "there is nothing more to give up");
            let held = capabilities(None).unwrap();
            assert!(held.effective.is_empty() && held.permitted.is_empty() && held.inheritable.is_empty());
            assert!(rustix::thread::no_new_privs().unwrap());
            let shown = std::process::Command::new("cat").arg("/proc/self/status").output().unwrap();
            String::from_utf8(shown.stdout).unwrap()
        };
        let status = std::thread::spawn(run).join().unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            assert!(line.ends_with("\t0000000000000000"), "{line}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
}
