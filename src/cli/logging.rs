//! The log of the daemon: standard error, as text or as one JSON object a line.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::exit::{Outcome, SOFTWARE, fail};
use crate::config::{Log, LogFormat, LogLevel};

/// Changes the level while the daemon runs.
pub(super) struct Logging(reload::Handle<EnvFilter, Registry>);

/// Starts logging for this process.
pub(super) fn start(log: Log) -> Outcome<Logging> {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A log that can't be written is no reason to say so in the same place.
    let lines = fmt::layer().with_writer(io::stderr).log_internal_errors(false);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(colours).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    match tracing_subscriber::registry().with(filter).with(lines).try_init() {
        Ok(()) => Ok(Logging(handle)),
        Err(e) => fail(SOFTWARE, format!("cannot start logging: {e}")),
    }
}

impl Logging {
    /// From now on at this level.
    pub(super) fn set_level(&self, level: LogLevel) {
        if let Err(error) = self.0.reload(filter(level)) {
            tracing::error!(%error, "the level of the log stays as it was");
        }
    }
}

/// Ours at the level that is asked for; the libraries' own words only when they matter.
fn filter(level: LogLevel) -> EnvFilter {
    let (ours, theirs) = match level {
        LogLevel::Error => ("error", "error"),
        LogLevel::Warn => ("warn", "warn"),
        LogLevel::Info => ("info", "warn"),
        LogLevel::Debug => ("debug", "warn"),
        LogLevel::Trace => ("trace", "info"),
    };
    EnvFilter::new(format!("{theirs},cmr_mail={ours}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quieter_than_we_are() {
        assert_eq!(filter(LogLevel::Debug).to_string(), "cmr_mail=debug,warn");
        assert_eq!(filter(LogLevel::Error).to_string(), "cmr_mail=error,error");
    }
}
