//! Where this process may write: Landlock, which a process puts upon itself.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The newest rights that are known here; older kernels hold those that they know.
const NEWEST: ABI = ABI::V6;

/// The kernel has Landlock and did not take the rules.
#[derive(Debug, thiserror::Error)]
#[error("the rules of Landlock are not taken: {0}")]
pub struct SandboxError(#[from] RulesetError);

/// How much of it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confined {
    /// All of it.
    Wholly,
    /// What this kernel knows of it.
    Partly,
    /// Nothing: this kernel has no Landlock, or it is switched off.
    Not,
}

/// From now on this thread, those that it starts and the programs that they run change nothing but what
/// lies below these places (and devices that are there for everybody), bind no TCP port, and signal
/// nobody else. Reading is not restricted. Places that do not exist are left out.
///
/// # Errors
/// [`SandboxError`]; nothing has changed then.
pub fn confine(writable: &[PathBuf]) -> Result<Confined, SandboxError> {
    let changes = AccessFs::from_write(NEWEST);
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(changes)?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal)?
        .create()?;
    let devices = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let mut rules = allow(rules, Path::new("/dev"), devices)?;
    for place in writable {
        rules = allow(rules, place, changes)?;
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Confined::Wholly,
        RulesetStatus::PartiallyEnforced => Confined::Partly,
        RulesetStatus::NotEnforced => Confined::Not,
    })
}

fn allow(
    rules: landlock::RulesetCreated,
    place: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, RulesetError> {
    match PathFd::new(place) {
        Ok(opened) => rules.add_rule(PathBeneath::new(opened, rights)),
        Err(_) => Ok(rules),
    }
}

/// Where SQLite, and programs in general, put files that they need for a moment.
#[must_use]
pub fn temporary_places() -> Vec<PathBuf> {
    let named = ["SQLITE_TMPDIR", "TMPDIR"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    named.chain(["/var/tmp", "/tmp"].map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    /// In a thread of its own: the others of this test program stay free.
    #[test]
    fn nothing_is_changed_but_below_the_places_and_no_port_is_bound() {
        let (open, closed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(closed.path().join("old"), "old").unwrap();
        let (inside, outside) = (open.path().to_owned(), closed.path().to_owned());
        let run = move || {
            let places = [inside.clone(), PathBuf::from("/nowhere/at/all")];
            if confine(&places).unwrap() == Confined::Not {
                println!("this kernel has no Landlock: what it does is not tried");
                return;
            }
            fs::write(inside.join("new"), "new").unwrap();
            fs::rename(inside.join("new"), inside.join("other")).unwrap();
            fs::remove_file(inside.join("other")).unwrap();
            fs::write("/dev/null", "nothing").unwrap();
            assert_eq!(fs::read_to_string(outside.join("old")).unwrap(), "old", "reading is free");
            assert!(fs::write(outside.join("new"), "").is_err());
            assert!(fs::write(outside.join("old"), "").is_err());
            assert!(fs::remove_file(outside.join("old")).is_err());
            assert!(fs::create_dir(outside.join("dir")).is_err());
            let touch = |path: PathBuf| Command::new("touch").arg(path).output().unwrap().status.success();
            assert!(touch(inside.join("by a program")) && !touch(outside.join("by a program")));
            assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
            let mut child = Command::new("sleep").arg("60").spawn().unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
        };
        std::thread::spawn(run).join().unwrap();
        fs::write(closed.path().join("new"), "").unwrap();
    }
}
