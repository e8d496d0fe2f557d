//! A private Dovecot on loopback, in a directory of its own, ended by its own id.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::daemon::{Config, PATIENCE, until};

/// The certificate of the tests: for localhost and 127.0.0.1, signed by itself.
pub(crate) const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/cert.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/key.pem");

/// Another user and group than root, for mailboxes, where the tests run as root.
const NOBODY: &str = "nobody";

pub(crate) struct Dovecot {
    dir: tempfile::TempDir,
    pub(crate) imap: u16,
    pub(crate) imaps: u16,
    child: Option<Child>,
    /// Lines of the configuration beside those that all have.
    extra: String,
    password: String,
    certificate: (PathBuf, PathBuf),
    mails: AtomicU64,
}

/// A port that is free at this moment.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Dovecot {
    pub(crate) fn start() -> Dovecot {
        Dovecot::with("")
    }

    /// With these lines in its configuration; `$DIR` in them is its directory.
    pub(crate) fn with(extra: &str) -> Dovecot {
        Dovecot::with_files(extra, &[])
    }

    /// As [`Dovecot::with`], and with these files in its directory.
    pub(crate) fn with_files(extra: &str, files: &[(&str, &str)]) -> Dovecot {
        let dir = tempfile::Builder::new().prefix("cmr-dovecot-").tempdir().unwrap();
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.path(), open.clone()).unwrap();
        for part in ["run", "state", "mail"] {
            fs::create_dir(dir.path().join(part)).unwrap();
            fs::set_permissions(dir.path().join(part), open.clone()).unwrap();
        }
        let mut dovecot = Dovecot {
            imap: free_port(),
            imaps: free_port(),
            child: None,
            extra: extra.replace("$DIR", &dir.path().display().to_string()),
            password: "secret".to_owned(),
            certificate: (CERTIFICATE.into(), KEY.into()),
            dir,
            mails: AtomicU64::new(0),
        };
        dovecot.own(&dovecot.mail());
        for (name, text) in files {
            dovecot.write(name, &text.replace("$DIR", &dovecot.dir.path().display().to_string()));
        }
        dovecot.run();
        dovecot
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn mail(&self) -> PathBuf {
        self.path("mail")
    }

    /// Who owns the mailboxes.
    fn user() -> (String, String) {
        let id = |flag: &str, of: &[&str]| {
            let output = Command::new("id").arg(flag).args(of).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        if rustix::process::geteuid().is_root() {
            (NOBODY.to_owned(), id("-gn", &[NOBODY]))
        } else {
            (id("-un", &[]), id("-gn", &[]))
        }
    }

    /// Gives a file to the owner of the mailboxes.
    fn own(&self, path: &Path) {
        if rustix::process::geteuid().is_root() {
            static IDS: LazyLock<(u32, u32)> = LazyLock::new(|| (id_of(NOBODY, "-u"), id_of(NOBODY, "-g")));
            let (uid, gid) = *IDS;
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    fn configuration(&self) -> String {
        let dir = self.dir.path().display();
        let (user, group) = Dovecot::user();
        let mut text = format!(
            "base_dir = {dir}/run\nstate_dir = {dir}/state\nlog_path = {dir}/dovecot.log\n\
             protocols = imap\nlisten = 127.0.0.1\nssl = yes\nssl_min_protocol = TLSv1.2\n\
             ssl_cert = <{}\nssl_key = <{}\n\
             disable_plaintext_auth = no\nauth_mechanisms = plain login\n\
             mail_location = maildir:{dir}/mail/%n\nfirst_valid_uid = 1\nlast_valid_uid = 0\n\
             first_valid_gid = 1\nmail_uid = {user}\nmail_gid = {group}\nmail_fsync = never\n\
             passdb {{\n  driver = passwd-file\n  args = username_format=%n {dir}/users\n}}\n\
             userdb {{\n  driver = static\n  args = uid={user} gid={group} home={dir}/mail/%n\n}}\n\
             namespace inbox {{\n  inbox = yes\n}}\n\
             service imap-login {{\n  chroot =\n  inet_listener imap {{\n    port = {}\n  }}\n\
             \x20 inet_listener imaps {{\n    port = {}\n    ssl = yes\n  }}\n}}\n\
             service anvil {{\n  chroot =\n}}\n\
             protocol imap {{\n  mail_max_userip_connections = 100\n}}\n",
            self.certificate.0.display(),
            self.certificate.1.display(),
            self.imap,
            self.imaps,
        );
        if !rustix::process::geteuid().is_root() {
            writeln!(text, "default_internal_user = {user}\ndefault_login_user = {user}").unwrap();
            writeln!(text, "default_internal_group = {group}").unwrap();
        }
        text + &self.extra
    }

    /// Starts it, and waits until it greets.
    pub(crate) fn run(&mut self) {
        let users = ["cmr", "inbox", "alice", "bob"];
        let lines: String = users.iter().map(|user| format!("{user}:{{PLAIN}}{}\n", self.password)).collect();
        fs::write(self.path("users"), lines).unwrap();
        fs::write(self.path("dovecot.conf"), self.configuration()).unwrap();
        let child = Command::new("/usr/sbin/dovecot")
            .arg("-F")
            .arg("-c")
            .arg(self.path("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path("stderr")).unwrap())
            .spawn()
            .expect("dovecot can't be run: apt-get install dovecot-imapd");
        self.child = Some(child);
        let start = Instant::now();
        while !self.greets() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "Dovecot does not greet:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn greets(&self) -> bool {
        let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.imap)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).is_ok_and(|_| line.starts_with("* OK"))
    }

    /// Ends it with everything that belongs to it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let start = Instant::now();
            while child.try_wait().unwrap().is_none() {
                assert!(start.elapsed() < PATIENCE, "Dovecot does not end");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// From the next start on this is everybody's password.
    pub(crate) fn set_password(&mut self, password: &str) {
        self.password = password.to_owned();
    }

    /// From the next start on it shows this certificate.
    pub(crate) fn set_certificate(&mut self, certificate: &Path, key: &Path) {
        self.certificate = (certificate.to_owned(), key.to_owned());
    }

    /// From the next start on these are the further lines.
    pub(crate) fn set_extra(&mut self, extra: &str) {
        self.extra = extra.replace("$DIR", &self.dir.path().display().to_string());
    }

    /// A file in its directory, for everybody to read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub(crate) fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.path(name)).unwrap_or_default();
        read("stderr") + &read("dovecot.log")
    }

    /// The Maildir of a folder.
    pub(crate) fn folder(&self, user: &str, folder: &str) -> PathBuf {
        let root = self.mail().join(user);
        if folder == "INBOX" { root } else { root.join(format!(".{folder}")) }
    }

    /// Makes a folder.
    pub(crate) fn make(&self, user: &str, folder: &str) -> PathBuf {
        let path = self.folder(user, folder);
        for dir in [self.folder(user, "INBOX"), path.clone()] {
            for part in ["", "tmp", "new", "cur"] {
                let part = dir.join(part);
                if !part.exists() {
                    fs::create_dir(&part).unwrap();
                    self.own(&part);
                }
            }
        }
        path
    }

    /// Puts a mail into a folder, as a delivery agent does.
    pub(crate) fn deliver(&self, user: &str, folder: &str, mail: &[u8]) {
        let path = self.make(user, folder);
        let number = self.mails.fetch_add(1, Ordering::SeqCst);
        let name = format!("{}.{number:06}.test", 1_700_000_000 + number);
        let mut file = fs::File::create(path.join("tmp").join(&name)).unwrap();
        file.write_all(mail).unwrap();
        self.own(&path.join("tmp").join(&name));
        fs::rename(path.join("tmp").join(&name), path.join("new").join(&name)).unwrap();
    }

    /// The mails of a folder: their flags (letters of Maildir), and their bytes with CRLF.
    pub(crate) fn mails(&self, user: &str, folder: &str) -> Vec<(String, Vec<u8>)> {
        let path = self.folder(user, folder);
        let mut found = Vec::new();
        for part in ["new", "cur"] {
            let Ok(entries) = fs::read_dir(path.join(part)) else { continue };
            for entry in entries {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let flags = name.split_once(":2,").map_or(String::new(), |(_, flags)| flags.to_owned());
                // It may have got another name meanwhile.
                let Ok(bytes) = fs::read(path.join(part).join(&name)) else {
                    return self.mails(user, folder);
                };
                found.push((name, flags, bytes));
            }
        }
        found.sort();
        found.into_iter().map(|(_, flags, bytes)| (flags, bytes)).collect()
    }

    /// How many mails of a folder have this flag (a letter of Maildir), and how many there are.
    pub(crate) fn flagged(&self, user: &str, folder: &str, flag: char) -> (usize, usize) {
        let path = self.folder(user, folder);
        let mut all: Vec<String> = Vec::new();
        for part in ["new", "cur"] {
            let Ok(entries) = fs::read_dir(path.join(part)) else { continue };
            all.extend(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()));
        }
        let has = |name: &&String| name.split_once(":2,").is_some_and(|(_, flags)| flags.contains(flag));
        (all.iter().filter(has).count(), all.len())
    }

    /// Waits until so many mails of a folder have this flag.
    pub(crate) fn until_flagged(&self, user: &str, folder: &str, flag: char, number: usize) {
        until(&format!("{number} mails of {folder} have the flag {flag}"), || {
            (self.flagged(user, folder, flag).0 >= number).then_some(())
        });
    }

    /// A section for the mailbox of `user`, without encryption, with further lines.
    pub(crate) fn account(&self, user: &str, more: &str) -> String {
        format!(
            "[[imap]]\nname = \"{user}\"\nhost = \"127.0.0.1\"\nport = {}\nsecurity = \"none\"\nuser = \"{user}\"\n\
             password_command = \"cat password\"\n{more}\n",
            self.imap
        )
    }

    /// A configuration that reads the mailbox of `user`; the password stands in the house.
    pub(crate) fn config(&self, user: &str, more: &str) -> Config {
        Config::new().text("policy", "who_may_post", "anyone").repeated(&self.account(user, more))
    }

    /// A dialogue of a client: logs in, sends these commands, returns everything that came.
    pub(crate) fn dialogue(&self, user: &str, commands: &[&str]) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.imap)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut all = String::new();
        reader.read_line(&mut all).unwrap();
        let login = format!("LOGIN {user} {}", self.password);
        for (number, command) in [login.as_str()].iter().chain(commands).enumerate() {
            write!(stream, "t{number} {command}\r\n").unwrap();
            loop {
                let mut line = Vec::new();
                reader.read_until(b'\n', &mut line).unwrap();
                let line = String::from_utf8_lossy(&line).into_owned();
                assert!(!line.is_empty(), "the server hung up: {all}");
                all.push_str(&line);
                if line.starts_with(&format!("t{number} ")) {
                    break;
                }
            }
        }
        all
    }
}

fn id_of(user: &str, flag: &str) -> u32 {
    let output = Command::new("id").arg(flag).arg(user).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
            println!("--- Dovecot's last words ---\n{}\n---", last.join("\n"));
        }
        self.stop();
    }
}
