//! The configuration: one TOML file becomes typed values, or sentences about what is wrong.
//!
//! It knows every key, its default and its limits (described once, in `keys`), and the words of
//! the rooms whose settings it carries. It looks at the files that a configuration names, so
//! that a mistake shows at the start and not in the first session.
//! It must never know sockets, the database, or what is done with a setting; a password goes
//! through it without being kept, logged or shown.

mod build;
pub mod example;
mod fault;
mod files;
mod imap;
pub mod keys;
mod login;
mod names;
mod reader;
mod secret;
mod sections;
mod transports;
mod web;

pub use example::Example;
pub use fault::{ConfigError, Fault, Problem};
pub use files::FileError;
pub use imap::{After, Imap};
pub use login::Secret;
pub use secret::{COMMAND_TIMEOUT, Password, SecretError};
pub use sections::{
    Authentication, Filter, Gateway, Log, LogFormat, LogLevel, Login, Operator, People, Policy, Pool,
    Routing, Security, Send, Smarthost, Smtp, TlsFiles,
};
pub use transports::{Http, Ssh, SshPeer, Udp};

pub use web::Web;

use reader::Reader;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A whole configuration. Every value is within the limits of its key, every file that it names
/// could be read, and every path is absolute.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it was read from, absolute.
    pub path: PathBuf,
    /// Who this gateway is.
    pub gateway: Gateway,
    /// The receiver.
    pub smtp: Smtp,
    /// The content filter.
    pub filter: Filter,
    /// `[authentication]`.
    pub authentication: Authentication,
    /// `[[imap]]`: the mailboxes that are read.
    pub imap: Vec<Imap>,
    /// The smarthost and its queue.
    pub send: Send,
    /// CMR over HTTP.
    pub http: Http,
    /// CMR over UDP.
    pub udp: Udp,
    /// CMR over SSH.
    pub ssh: Ssh,
    /// Who may post, and how much.
    pub policy: Policy,
    /// What people can expect.
    pub people: People,
    /// Where messages go.
    pub routing: Routing,
    /// What is kept.
    pub pool: Pool,
    /// The pages.
    pub web: Web,
    /// What is logged.
    pub log: Log,
    /// What is possible but looks like a mistake; for the log and for `check`.
    pub warnings: Vec<Problem>,
}

/// The longest configuration, in bytes.
const LONGEST: u64 = 1 << 20;

/// The bytes of a file that may be anything, a device too.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LONGEST) {
        return Err(std::io::Error::other("it is longer than 1 MiB, and so no configuration"));
    }
    Ok(bytes)
}

impl Config {
    /// The mail address that people write to and that their aliases are made of: the first of `[smtp] recipients`,
    /// else the gateway's own.
    #[must_use]
    pub fn posting_address(&self) -> &str {
        self.smtp.recipients.first().unwrap_or(&self.gateway.mail_address)
    }

    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], or [`ConfigError::Wrong`] with all mistakes at once. Each is
    /// for exit code 78.
    pub fn load(path: impl AsRef<Path>) -> Result<Config, ConfigError> {
        let path = path.as_ref();
        let bytes = read_bounded(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
        match String::from_utf8(bytes) {
            Ok(text) => Config::parse(&text, path),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let line = 1 + error.as_bytes().iter().take(at).filter(|b| **b == b'\n').count();
                let fault = Fault::NotText(at);
                Err(ConfigError::Wrong(vec![Problem {
                    path: path.to_path_buf(),
                    line: Some(line),
                    key: None,
                    fault,
                }]))
            }
        }
    }

    /// Checks `text` as if it stood in the file `path`, which need not exist: relative paths
    /// are seen from its directory.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`] with all mistakes at once, in the order of their lines.
    pub fn parse(text: &str, path: impl AsRef<Path>) -> Result<Config, ConfigError> {
        let path = path.as_ref();
        let mut reader = Reader::new(path, text);
        let sections = if reader.is_toml { Some(build::build(&mut reader)) } else { None };
        let Reader { mut errors, mut warnings, .. } = reader;
        errors.sort_by_key(|problem| problem.line);
        warnings.sort_by_key(|problem| problem.line);
        let whole = sections.and_then(|s| {
            Some(Config {
                path: std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
                gateway: s.gateway?,
                smtp: s.smtp?,
                filter: s.filter?,
                authentication: s.authentication?,
                imap: s.imap?,
                send: s.send?,
                http: s.http?,
                udp: s.udp?,
                ssh: s.ssh?,
                policy: s.policy?,
                people: s.people?,
                routing: s.routing?,
                pool: s.pool?,
                web: s.web?,
                log: s.log?,
                warnings,
            })
        });
        match whole {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(ConfigError::Wrong(errors)),
        }
    }

    /// The file to read: `named` if the user named one, else the first that exists of
    /// `./cmr-mail.toml`, `$XDG_CONFIG_HOME/cmr-mail/cmr-mail.toml` (`~/.config` without that
    /// variable) and `/etc/cmr-mail/cmr-mail.toml`.
    ///
    /// # Errors
    /// [`ConfigError::NotFound`] with the paths that were tried.
    pub fn find(named: Option<&Path>) -> Result<PathBuf, ConfigError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        find_among(named, variable("XDG_CONFIG_HOME"), variable("HOME"), Path::new("/etc"))
    }

    /// Whom this file names as a peer: `[routing] pinned`, and who is reached by ssh.
    #[must_use]
    pub fn listed(&self) -> Vec<crate::message::Address> {
        transports::listed(&self.routing.pinned, &self.ssh)
    }

    /// Our own addresses, one for each transport that has one; the gateway's own comes first.
    #[must_use]
    pub fn own_addresses(&self) -> Vec<crate::message::Address> {
        let others = [&self.http.address, &self.udp.address, &self.ssh.address];
        std::iter::once(&self.gateway.address).chain(others.into_iter().flatten()).cloned().collect()
    }

    /// A commented configuration, for `init`.
    #[must_use]
    pub fn example(of: &Example<'_>) -> String {
        example::example(of)
    }

    /// The keys that differ from `new` and take effect at the next start only: who we are, where
    /// we listen, where the database lives, how much is kept and when sending is tried again.
    #[must_use]
    pub fn needs_restart(&self, new: &Config) -> Vec<String> {
        let changed = [
            (&keys::GATEWAY_ADDRESS, self.gateway.address != new.gateway.address),
            (&keys::GATEWAY_HOSTNAME, self.gateway.hostname != new.gateway.hostname),
            (&keys::GATEWAY_OPERATOR, self.gateway.operator != new.gateway.operator),
            (&keys::GATEWAY_DATA_DIR, self.gateway.data_dir != new.gateway.data_dir),
            (&keys::GATEWAY_INTAKE, self.gateway.intake_socket != new.gateway.intake_socket),
            (&keys::GATEWAY_WRITABLE, self.gateway.writable != new.gateway.writable),
            (&keys::SMTP_LISTEN, (&self.smtp.listen, &self.smtp.lmtp) != (&new.smtp.listen, &new.smtp.lmtp)),
            (&keys::FILTER_LISTEN, self.filter.listen != new.filter.listen),
            (&keys::AUTH_DNS, self.authentication.dns != new.authentication.dns),
            (&keys::IMAP_NAME, self.imap != new.imap),
            (&keys::SEND_RETRY_FIRST, self.send.retry_first != new.send.retry_first),
            (&keys::SEND_RETRY_MAX, self.send.retry_max != new.send.retry_max),
            (&keys::SEND_GIVE_UP, self.send.give_up != new.send.give_up),
            (&keys::HTTP_LISTEN, self.http.listen != new.http.listen),
            (&keys::HTTP_ADDRESS, self.http.address != new.http.address),
            (&keys::UDP_LISTEN, (&self.udp.listen, &self.udp.service) != (&new.udp.listen, &new.udp.service)),
            (&keys::UDP_ADDRESS, self.udp.address != new.udp.address),
            (&keys::SSH_ADDRESS, self.ssh.address != new.ssh.address),
            (&keys::POOL_MAX_MESSAGES, self.pool.max_messages != new.pool.max_messages),
            (&keys::POOL_MAX_BYTES, self.pool.max_bytes != new.pool.max_bytes),
            (&keys::WEB_LISTEN, self.web.listen != new.web.listen),
            (&keys::LOG_FORMAT, self.log.format != new.log.format),
        ];
        changed.iter().filter(|(_, changed)| *changed).map(|(key, _)| key.title()).collect()
    }
}

/// [`Config::find`] with the environment passed in.
fn find_among(
    named: Option<&Path>,
    xdg_config_home: Option<PathBuf>,
    home: Option<PathBuf>,
    etc: &Path,
) -> Result<PathBuf, ConfigError> {
    if let Some(path) = named {
        return Ok(path.to_path_buf());
    }
    let user =
        xdg_config_home.filter(|dir| dir.is_absolute()).or_else(|| home.map(|home| home.join(".config")));
    let mut tried = vec![PathBuf::from("cmr-mail.toml")];
    tried.extend(user.into_iter().chain([etc.to_path_buf()]).map(|dir| dir.join("cmr-mail/cmr-mail.toml")));
    match tried.iter().find(|path| path.exists()) {
        Some(path) => Ok(path.clone()),
        None => Err(ConfigError::NotFound { tried }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_table_is_read_and_has_a_default_that_fits() {
        let mut reader = Reader::new(Path::new("cmr-mail.toml"), "");
        build::build(&mut reader);
        let mut one_of_each = Reader::new(Path::new("cmr-mail.toml"), "[[imap]]\n[[ssh_peer]]\n");
        build::build(&mut one_of_each);
        reader.asked.append(&mut one_of_each.asked);
        let asked: Vec<_> = reader.asked.iter().map(|key| key.title()).collect();
        for key in keys::ALL {
            assert!(asked.contains(&key.title()), "{} is not read", key.title());
            assert!(keys::SECTIONS.iter().any(|s| s.name == key.section), "{}", key.title());
            assert!(!key.model().is_empty(), "{} has nothing to show", key.title());
        }
        let missing: Vec<_> = reader.errors.iter().map(|problem| problem.key.map(keys::Key::title)).collect();
        let required: Vec<_> = keys::ALL
            .iter()
            .filter(|k| k.absent == keys::Absent::Required && !keys::REPEATED.contains(&k.section))
            .map(|k| Some(k.title()))
            .collect();
        assert_eq!(missing, required, "and nothing else is wrong with an empty file");
    }

    #[test]
    fn the_file_is_looked_for_where_the_manual_says() {
        let root = tempfile::tempdir().unwrap();
        let (home, xdg, etc) = (root.path().join("home"), root.path().join("xdg"), root.path().join("etc"));
        let find = |named, xdg: Option<&PathBuf>| find_among(named, xdg.cloned(), Some(home.clone()), &etc);
        let Err(ConfigError::NotFound { tried }) = find(None, None) else { panic!("found one") };
        assert_eq!(tried.len(), 3, "{tried:?}");
        let write = |dir: &Path| {
            let path = dir.join("cmr-mail/cmr-mail.toml");
            std::fs::create_dir_all(dir.join("cmr-mail")).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let in_etc = write(&etc);
        assert_eq!(find(None, None).unwrap(), in_etc);
        let in_home = write(&home.join(".config"));
        assert_eq!(find(None, None).unwrap(), in_home);
        let in_xdg = write(&xdg);
        assert_eq!(find(None, Some(&xdg)).unwrap(), in_xdg);
        // A relative one counts as none (XDG base directory specification).
        assert_eq!(find(None, Some(&PathBuf::from("xdg"))).unwrap(), in_home);
        let named = Path::new("/nowhere/at-all.toml");
        assert_eq!(find(Some(named), Some(&xdg)).unwrap(), named);
        let said = find_among(None, None, None, &xdg.join("none")).unwrap_err().to_string();
        assert!(said.starts_with("no configuration found: looked for cmr-mail.toml, "), "{said}");
    }
}
