//! Where the configuration comes from, and what becomes of a wrong one.

use std::path::{Path, PathBuf};

use super::exit::{CONFIG, Outcome, fail};
use crate::config::{Config, ConfigError};

/// What is read from standard input at most when no configuration says more or less.
pub(super) const MAX_MESSAGE: usize = 10 << 20;

/// Reads the configuration that was named, or the first that is found.
///
/// # Errors
/// 78 with every mistake in it.
pub(super) fn load(named: Option<&Path>) -> Outcome<Config> {
    Config::find(named).and_then(Config::load).or_else(|error| fail(CONFIG, sentence(&error)))
}

/// The mistakes on lines of their own, so that an editor can jump to them.
pub(super) fn sentence(error: &ConfigError) -> String {
    match error {
        ConfigError::Wrong(_) => format!("the configuration is wrong:\n{error}"),
        _ => error.to_string(),
    }
}

/// The intake socket of a configuration that this user can read but not use (because it names a
/// key that only the daemon's user may read, say), so that mail can still be handed in.
pub(super) fn intake_socket(named: Option<&Path>) -> Option<PathBuf> {
    let path = Config::find(named).ok()?;
    let table: toml::Table = std::fs::read_to_string(&path).ok()?.parse().ok()?;
    let socket = Path::new(table.get("gateway")?.get("intake_socket")?.as_str()?);
    let beside = std::path::absolute(&path).ok()?;
    Some(beside.parent()?.join(socket))
}
