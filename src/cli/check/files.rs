//! What lies on the disk: the data directory, its lock, the database, the intake socket.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::Line;
use crate::cli::ask;
use crate::cli::layout::bytes;
use crate::cli::status::ROOM;
use crate::config::Config;
use crate::gateway::api::Request;
use crate::gateway::control::{call, control_path};
use crate::gateway::lock::{Lock, LockError};
use crate::store;

/// How long the daemon may take to say that it lives.
const ANSWER: Duration = Duration::from_secs(10);

/// How long SQLite may look through the database.
const QUICK_CHECK: Duration = Duration::from_secs(30);

/// Below this much room the database can refuse to grow at any moment, in bytes.
const NO_ROOM: u64 = 64 << 20;

/// Who may enter, and how much room there is.
pub(super) fn data_dir(config: &Config) -> Line {
    const NAME: &str = "data_dir";
    let dir = &config.gateway.data_dir;
    let shown = dir.display();
    let there = match std::fs::metadata(dir) {
        Ok(there) => there,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Line::warn(NAME, format!("{shown} does not exist yet"), "cmr-mail serve creates it");
        }
        Err(e) => return Line::wrong(NAME, format!("{shown}: {e}"), "run check as the daemon's user"),
    };
    let mode = there.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Line::wrong(
            NAME,
            format!("{shown} is open to other users (mode {mode:04o})"),
            format!("chmod 700 {shown}"),
        );
    }
    let user = rustix::process::geteuid();
    if !user.is_root() && there.uid() != user.as_raw() {
        return Line::wrong(
            NAME,
            format!("{shown} belongs to user {}, and this is user {}", there.uid(), user.as_raw()),
            "run check as the daemon's user",
        );
    }
    match rustix::fs::statvfs(dir) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let says = format!("{shown}, {} free", bytes(free));
            const MEND: &str = "make room, or lower [pool] max_bytes: without room mail gets 452";
            if free < NO_ROOM {
                Line::fail(NAME, says, MEND)
            } else if free < ROOM {
                Line::warn(NAME, says, MEND)
            } else {
                Line::ok(NAME, says)
            }
        }
        Err(_) => Line::ok(NAME, shown.to_string()),
    }
}

/// What is known about a daemon of this data directory.
pub(super) struct Daemon {
    /// Whether one has the lock.
    pub(super) running: bool,
    /// What to say about it.
    pub(super) line: Line,
}

/// Whether a daemon runs, and answers.
pub(super) fn daemon(config: &Config) -> Daemon {
    const NAME: &str = "daemon";
    let dir = &config.gateway.data_dir;
    let idle = |line| Daemon { running: false, line };
    let holder = match Lock::holder(dir) {
        Ok(None) => {
            return idle(Line::ok(NAME, "none is running: `cmr-mail serve` starts one"));
        }
        Ok(Some(holder)) => holder,
        Err(error @ LockError::Forbidden { .. }) => {
            return idle(Line::wrong(NAME, error.to_string(), "run check as the daemon's user"));
        }
        Err(error) => return idle(Line::fail(NAME, error.to_string(), "")),
    };
    let (who, serves) = match holder {
        Some(holder) => (holder.to_string(), holder.role == "serve"),
        None => ("another process".to_owned(), false),
    };
    if !serves {
        return idle(Line::warn(NAME, format!("{who} is at work on the database"), "look again later"));
    }
    let line = match call(&control_path(dir), &Request::Status, ANSWER) {
        Ok(Err(failure)) => {
            Line::fail(NAME, format!("{who} has trouble: {}", failure.sentence), "its log says more")
        }
        Ok(Ok(status)) => {
            match status.get("trouble").and_then(|it| it.as_str()).filter(|it| !it.is_empty()) {
                None => Line::ok(NAME, who),
                Some(trouble) => Line::fail(
                    NAME,
                    format!("{who}; its last attempt to write failed: {trouble}"),
                    "senders keep their mail meanwhile; the next write that succeeds ends this",
                ),
            }
        }
        Err(error) => Line::fail(NAME, format!("{who} does not answer: {error}"), "its log says more"),
    };
    Daemon { running: true, line }
}

/// Whether the database can be read, is of our version and in one piece.
pub(super) fn database(config: &Config, running: bool) -> Line {
    const NAME: &str = "database";
    let dir = &config.gateway.data_dir;
    let path = dir.join(store::FILE_NAME);
    if !path.exists() {
        return Line::warn(
            NAME,
            format!("{} does not exist yet", path.display()),
            "cmr-mail serve creates it",
        );
    }
    // Reading a database leaves files beside it, and root's would lock the daemon out.
    if !running && let Err(failure) = ask::not_as_root(dir) {
        return Line::warn(NAME, "not looked at", failure.sentence);
    }
    match look(&path) {
        Ok(Look { version, .. }) if version > store::schema_version() => Line::wrong(
            NAME,
            format!("{} is of a newer version of cmr-mail (schema {version})", path.display()),
            "install that version again",
        ),
        Ok(Look { fault: Some(fault), .. }) => Line::fail(
            NAME,
            format!("{} is damaged: {fault}", path.display()),
            "stop the daemon, keep a copy, and bring back a backup",
        ),
        Ok(Look { version, complete, .. }) => {
            let size = bytes(std::fs::metadata(&path).map_or(0, |m| m.len()));
            let looked = if complete {
                "in one piece".to_owned()
            } else {
                format!("too large to look through in {} s", QUICK_CHECK.as_secs())
            };
            Line::ok(NAME, format!("{}, {size}, schema {version}, {looked}", path.display()))
        }
        Err(error) => Line::fail(
            NAME,
            format!("{} cannot be read: {error}", path.display()),
            "check its owner and mode (0600); if it is no database, move it away",
        ),
    }
}

struct Look {
    version: i64,
    fault: Option<String>,
    /// False when time was up before SQLite had looked at everything.
    complete: bool,
}

fn look(path: &Path) -> rusqlite::Result<Look> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(Duration::from_secs(5))?;
    let version = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let interrupt = conn.get_interrupt_handle();
    std::thread::spawn(move || {
        if waiting.recv_timeout(QUICK_CHECK) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    let says = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    drop(done);
    match says {
        Ok(says) if says == "ok" => Ok(Look { version, fault: None, complete: true }),
        Ok(says) => Ok(Look { version, fault: Some(says), complete: true }),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {
            Ok(Look { version, fault: None, complete: false })
        }
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            Ok(Look { version, fault: Some(error.to_string()), complete: true })
        }
        Err(error) => Err(error),
    }
}

/// Whether other users can reach the socket that is meant for them.
pub(super) fn intake(config: &Config) -> Option<Line> {
    const NAME: &str = "intake";
    let path = config.gateway.intake_socket.as_ref()?;
    let shown = path.display();
    let dir = path.parent().unwrap_or(Path::new("/"));
    Some(match std::fs::metadata(dir) {
        Err(e) => Line::wrong(
            NAME,
            format!("{}: {e}", dir.display()),
            "create it (systemd: RuntimeDirectory=cmr-mail)",
        ),
        Ok(there) if there.permissions().mode() & 0o001 == 0 => Line::warn(
            NAME,
            format!("{} cannot be entered by other users", dir.display()),
            format!("chmod 755 {}", dir.display()),
        ),
        Ok(_) => Line::ok(NAME, shown.to_string()),
    })
}
