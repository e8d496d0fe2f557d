//! Compiles the recorder `tests/crash/shim.c` and runs programs under it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The exit status of a process that ended itself at a chosen sync.
pub(crate) const CRASHED: i32 = 134;

/// When a program shall end itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrashAt {
    /// Not at all.
    Never,
    /// Immediately before the k-th fsync of the directory, counted from 1.
    Before(u64),
    /// Right after it.
    After(u64),
}

/// The compiled recorder.
///
/// # Panics
/// Without a C compiler: this test must not pass by not being run.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/shim.c");
        // A name for each process: test programs run side by side.
        let library =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-shim-{}.so", std::process::id()));
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o"])
            .arg(&library)
            .arg(source)
            .args(["-ldl", "-lpthread"])
            .output()
            .expect("a C compiler (cc) is needed for the crash tests");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "cc: {said}");
        library
    })
}

/// Lets the command run under the recorder: what it does below `directory` goes to `trace`.
pub(crate) fn record(command: &mut Command, directory: &Path, trace: &Path, crash: CrashAt) {
    command
        .env("LD_PRELOAD", library())
        .env("CMR_CRASH_DIR", directory)
        .env("CMR_CRASH_TRACE", trace)
        .env_remove("CMR_CRASH_AT")
        .env_remove("CMR_CRASH_AFTER");
    match crash {
        CrashAt::Never => {}
        CrashAt::Before(k) => {
            command.env("CMR_CRASH_AT", k.to_string());
        }
        CrashAt::After(k) => {
            command.env("CMR_CRASH_AFTER", k.to_string());
        }
    }
}
