//! A second mail server of another make, Exim: by SMTP, by LMTP, and through the filter.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::identity::world;
use crate::mails::numbered;
use crate::server::{can_run, free_port};
use crate::support::daemon::{Config, House};

struct Exim {
    unpacked: PathBuf,
    dir: tempfile::TempDir,
}

impl Exim {
    /// One that hands all mail on there.
    fn before(server: SocketAddr, protocol: &str) -> Exim {
        // Two tests want it, and only one may unpack it.
        static FETCH: Mutex<()> = Mutex::new(());
        let _one_at_a_time = FETCH.lock().unwrap_or_else(PoisonError::into_inner);
        let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exim");
        let status = script().arg("fetch").arg(&unpacked).status().unwrap();
        assert!(status.success(), "Exim can't be fetched: apt-get download exim4-daemon-light");
        let dir = tempfile::Builder::new().prefix("cmr-exim-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let at = dir.path().display();
        let config = format!(
            "spool_directory = {at}/spool\nlog_file_path = {at}/%slog\nprimary_hostname = exim.test\n\
             qualify_domain = exim.test\nkeep_environment = LD_LIBRARY_PATH\nexim_path = {}\ntrusted_users = root\nsmtputf8_advertise_hosts =\n\
             begin routers\nall:\n  driver = manualroute\n  route_list = * {}\n  transport = out\n  self = send\n\
             begin transports\nout:\n  driver = smtp\n  port = {}\n  protocol = {protocol}\n  allow_localhost\n  \
             hosts_try_chunking =\n  hosts_avoid_tls = *\n\
             begin retry\n* * F,1h,1m\n",
            unpacked.join("root/usr/sbin/exim4").display(),
            server.ip(),
            server.port()
        );
        fs::write(dir.path().join("exim.conf"), config).unwrap();
        Exim { unpacked, dir }
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut child = script()
            .arg("run")
            .arg(&self.unpacked)
            .arg("-C")
            .arg(self.dir.path().join("exim.conf"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stderr), self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Delivers one mail, and is left with none.
    fn deliver(&self, from: &str, to: &str, mail: &[u8]) {
        self.run(&["-odf", "-oi", "-f", from, to], mail);
        assert_eq!(self.run(&["-bpc"], b"").trim(), "0", "{}", self.log());
        let log = self.log();
        assert!(log.contains(" => ") && !log.contains(" ** "), "{log}");
    }

    fn log(&self) -> String {
        ["mainlog", "paniclog"]
            .map(|name| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default())
            .concat()
    }
}

fn script() -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postfix/exim.sh"));
    command
}

#[test]
fn exim_delivers_by_smtp_and_by_lmtp() {
    if !can_run() {
        return;
    }
    let lmtp = free_port();
    let house = House::new(
        &Config::new().set("smtp", "listen", format!(r#"["127.0.0.1:0", "lmtp://{lmtp}"]"#)).text(
            "policy",
            "who_may_post",
            "anyone",
        ),
    );
    let daemon = house.start();
    for (at, (name, server)) in
        [("smtp", daemon.smtp()), ("lmtp", daemon.address("lmtp"))].into_iter().enumerate()
    {
        let exim = Exim::before(server, name);
        exim.deliver("anna@people.test", "cmr@home.test", &numbered(at, 500));
        assert_eq!(house.json(&["status"])["messages"].as_u64(), Some(at as u64 + 1), "{name}");
    }
    assert!(daemon.stop().success());
}

#[test]
fn exim_delivers_through_the_filter() {
    if !can_run() {
        return;
    }
    let (postfix, _house, daemon) = world("copy");
    let exim = Exim::before(daemon.address("filter"), "smtp");
    let mail = numbered(1, 500);
    let text = String::from_utf8(mail.clone()).unwrap().replace("\r\n", "\n");
    exim.deliver("anna@people.test", "bob@cmr.test", text.as_bytes());
    postfix.wait_until_empty();
    let found = postfix.maildir();
    let delivered = String::from_utf8_lossy(&found["bob@cmr.test"][0]).into_owned();
    // Exim adds a Received and a Date of its own below the fields that it got.
    let body = |text: &str| text.split_once("\n\n").unwrap().1.to_owned();
    assert_eq!(body(&delivered), body(&text));
    assert!(daemon.stop().success());
}
