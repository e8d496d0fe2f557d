//! `cmr-mail init`: a commented configuration and an empty database.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exit::{CANT_CREATE, Outcome, TRY_LATER, USAGE, fail};
use super::{Context, escape, out};
use crate::config::{Config, ConfigError, Example};
use crate::gateway::lock::{Lock, LockError};
use crate::process::Owner;
use crate::store::{self, Store};

/// Write a commented configuration and create the database
///
/// Every setting stands in the file with its meaning and its default. An existing file is never
/// overwritten; an existing database is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail init
  cmr-mail init --address cmr@example.org --operator 'Anna <anna@example.org>'
  cmr-mail init --hostname mx.example.org --data-dir /var/lib/cmr-mail \\
      /etc/cmr-mail/cmr-mail.toml")]
pub(super) struct Args {
    /// The full name of this host (default: what the system says)
    #[arg(long, value_name = "HOST")]
    hostname: Option<String>,
    /// The address that people write to (default: cmr@HOST)
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// The human behind it, as 'NAME <ADDRESS>' (default: postmaster@HOST)
    #[arg(long, value_name = "OPERATOR")]
    operator: Option<String>,
    /// Where the database lives (default: data, beside the file)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The file to write (default: that of --config, or cmr-mail.toml here)
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let path = args.path.as_deref().or(context.named.as_deref());
    let mut path = path.unwrap_or(Path::new("cmr-mail.toml")).to_owned();
    if path.is_dir() {
        path.push("cmr-mail.toml");
    }
    if path.symlink_metadata().is_ok() {
        return fail(CANT_CREATE, format!("{} exists already and is left as it is", path.display()));
    }
    let (text, config) = configuration(&args, &path)?;
    let dir = &config.gateway.data_dir;
    let failed = |e: io::Error| fail(CANT_CREATE, format!("cannot write {}: {e}", path.display()));
    // The directory of a package belongs to the daemon's user already: root writes the file, which that
    // user may read, and is nobody else but that user from then on.
    let foreign = Owner::of(dir);
    if let Some(owner) = &foreign {
        write(&path, &text, Some(owner.group())).or_else(failed)?;
        super::ask::as_owner(dir)?;
        let database = database(dir)?;
        return out::text(&farewell(&path, &config, database));
    }
    let database = database(dir)?;
    write(&path, &text, None).or_else(failed)?;
    out::text(&farewell(&path, &config, database))
}

/// The text of the configuration, and what it means: it is read before it is written.
fn configuration(args: &Args, path: &Path) -> Outcome<(String, Config)> {
    let hostname = match &args.hostname {
        Some(hostname) => hostname.clone(),
        None => system_hostname(),
    };
    let address = args.address.clone().unwrap_or_else(|| format!("cmr@{hostname}"));
    let address = super::words::address(address);
    let operator = args.operator.clone().unwrap_or_else(|| format!("postmaster@{hostname}"));
    let data_dir = match &args.data_dir {
        None => None,
        // On the command line a relative path is relative to here, in the file to the file.
        Some(dir) => match std::path::absolute(dir).ok().as_deref().map(Path::to_str) {
            Some(Some(dir)) => Some(dir.to_owned()),
            _ => return fail(USAGE, format!("{} cannot be written into the file", dir.display())),
        },
    };
    let text = Config::example(&Example {
        address: &address,
        hostname: &hostname,
        operator: &operator,
        data_dir: data_dir.as_deref(),
    });
    match Config::parse(&text, path) {
        Ok(config) => Ok((text, config)),
        Err(ConfigError::Wrong(problems)) => {
            // The file does not exist yet: its lines would mean nothing.
            let lines = problems.iter().map(|p| match p.key {
                Some(key) => format!("{} {}", key.title(), p.fault),
                None => p.fault.to_string(),
            });
            fail(USAGE, lines.collect::<Vec<_>>().join("\n"))
        }
        Err(error) => fail(USAGE, error.to_string()),
    }
}

/// What the system calls itself, or a name that has to be replaced.
fn system_hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .unwrap_or_default();
    match name.trim() {
        "" | "(none)" => "localhost".to_owned(),
        name => name.to_lowercase(),
    }
}

/// Creates the database; says whether there was none.
fn database(dir: &Path) -> Outcome<bool> {
    store::prepare_dir(dir).or_else(|e| fail(CANT_CREATE, e.to_string()))?;
    let new = !dir.join(store::FILE_NAME).exists();
    let _lock = Lock::acquire(dir, "init", Duration::ZERO).or_else(|e| match e {
        LockError::Held { .. } => fail(TRY_LATER, e.to_string()),
        _ => fail(CANT_CREATE, e.to_string()),
    })?;
    let store = Store::open(dir).or_else(|e| fail(CANT_CREATE, e.to_string()))?;
    store.close();
    Ok(new)
}

/// Never over another file, not even over one that appeared a moment ago. For a group that is to read it
/// the file is for nobody else.
fn write(path: &Path, text: &str, group: Option<u32>) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    if let Some(group) = group {
        std::os::unix::fs::fchown(&file, None, Some(group))?;
        file.set_permissions(Permissions::from_mode(0o640))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn farewell(path: &Path, config: &Config, new: bool) -> String {
    let file = escape::line(&path.display().to_string());
    let dir = escape::line(&config.gateway.data_dir.display().to_string());
    let database = if new { "Created the database in" } else { "Kept the database that was in" };
    // The first place that is looked at needs not be named.
    let named = match path == Path::new("cmr-mail.toml") {
        true => String::new(),
        false => format!(" --config {file}"),
    };
    let mut text = format!(
        "Wrote {file}\n{database} {dir}\n\n\
         Next:\n  \
         1. Look through {file}: it says what each setting does. Two of them nobody\n     \
         can guess: [smtp] trusted_networks, the networks of the people who may post,\n     \
         and [send] smarthost, the mail server that takes our answers.\n  \
         2. cmr-mail{named} check    says what is wrong and how to mend it\n  \
         3. cmr-mail{named} serve    runs the gateway\n"
    );
    if rustix::process::geteuid().is_root() {
        text.push_str(&format!(
            "\nThe database belongs to root now. If the daemon is to run as another user:\n  \
             chown -R USER {dir}\n"
        ));
    }
    for warning in &config.warnings {
        text.push_str(&format!("\nwarning: {}\n", escape::text(&warning.to_string())));
    }
    text
}
