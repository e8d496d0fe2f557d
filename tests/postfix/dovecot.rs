//! Dovecot between Postfix and us: it hands mail on by LMTP, and its Sieve pipes mail into `deliver`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::mails::numbered;
use crate::server::{Postfix, Setup, can_run, free_port};
use crate::support::client::Client;
use crate::support::daemon::{Config, House, PROGRAM, until};

struct Dovecot(Child);

impl Dovecot {
    /// One in this directory that takes mail by LMTP. What is for `cmr` it hands on to `next`; all
    /// other mail meets this Sieve script, which may start the programs in `bin`.
    fn start(dir: &Path, lmtp: SocketAddr, next: SocketAddr, sieve: &str) -> Dovecot {
        let at = dir.display();
        for sub in ["run", "state", "mail", "bin"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let owned = Command::new("chown").arg("nobody").arg(dir.join("mail")).status();
        assert!(owned.unwrap().success());
        fs::write(dir.join("pipe.sieve"), sieve).unwrap();
        fs::write(
            dir.join("users"),
            format!(
                "cmr:::::::nopassword=y proxy=y protocol=lmtp host={} port={}\nbob:{{PLAIN}}x\n",
                next.ip(),
                next.port()
            ),
        )
        .unwrap();
        fs::write(
            dir.join("dovecot.conf"),
            format!(
                "base_dir = {at}/run\nstate_dir = {at}/state\nlog_path = {at}/dovecot.log\nprotocols = lmtp\n\
                 ssl = no\nmail_location = maildir:{at}/mail/%n\nmail_uid = nobody\nmail_gid = nogroup\n\
                 first_valid_uid = 1\nlast_valid_uid = 0\nfirst_valid_gid = 1\nlmtp_proxy = yes\n\
                 passdb {{\n  driver = passwd-file\n  args = username_format=%n {at}/users\n}}\n\
                 userdb {{\n  driver = static\n  args = uid=nobody gid=nogroup home={at}/mail/%n\n}}\n\
                 service lmtp {{\n  inet_listener lmtp {{\n    address = {}\n    port = {}\n  }}\n}}\n\
                 service anvil {{\n  chroot =\n}}\n\
                 protocol lmtp {{\n  mail_plugins = sieve\n}}\n\
                 plugin {{\n  sieve_plugins = sieve_extprograms\n  sieve_before = {at}/pipe.sieve\n  \
                 sieve_global_extensions = +vnd.dovecot.pipe\n  sieve_pipe_bin_dir = {at}/bin\n}}\n",
                lmtp.ip(),
                lmtp.port()
            ),
        )
        .unwrap();
        let child = Command::new("/usr/sbin/dovecot")
            .arg("-F")
            .arg("-c")
            .arg(dir.join("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("stderr")).unwrap())
            .spawn()
            .expect("dovecot can't be run: apt-get install dovecot-lmtpd dovecot-sieve");
        let mut dovecot = Dovecot(child);
        until("Dovecot greets", || {
            let ended = dovecot.0.try_wait().unwrap();
            let said = || fs::read_to_string(dir.join("stderr")).unwrap_or_default();
            assert!(ended.is_none(), "{ended:?}: {}", said());
            Client::greeted(lmtp).ok().filter(|(_, greeting)| greeting.code == 220)
        });
        dovecot
    }
}

impl Drop for Dovecot {
    /// With everything that belongs to it.
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn dovecot_hands_on_by_lmtp_and_by_sieve() {
    if !can_run() {
        return;
    }
    let dir = tempfile::Builder::new().prefix("cmr-dovecot-").tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (ours, lmtp) = (free_port(), free_port());
    let intake = dir.path().join("intake.sock");
    let house = House::new(
        &Config::new()
            .set("smtp", "listen", format!(r#"["lmtp://{ours}"]"#))
            .set("smtp", "recipients", r#"["cmr@cmr.test"]"#)
            .text("gateway", "address", "mailto:cmr@cmr.test")
            .text("gateway", "intake_socket", intake.to_str().unwrap())
            .text("policy", "who_may_post", "anyone"),
    );
    fs::set_permissions(house.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = house.start();
    // The script of docs/postfix.md, and the program where Dovecot looks for it.
    let script = "require [\"vnd.dovecot.pipe\"];\npipe \"cmr-mail\" [\"deliver\"];\n";
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/postfix.md")).unwrap();
    assert!(page.contains(script), "docs/postfix.md shows another script");
    let program = dir.path().join("program");
    fs::copy(PROGRAM, &program).unwrap();
    let _dovecot = Dovecot::start(dir.path(), lmtp, ours, script);
    let starts = dir.path().join("bin/cmr-mail");
    let settings = house.dir().join("cmr-mail.toml");
    let text = format!("#!/bin/sh\nexec {} --config {} \"$@\"\n", program.display(), settings.display());
    fs::write(&starts, text).unwrap();
    fs::set_permissions(&starts, fs::Permissions::from_mode(0o755)).unwrap();
    let delivery = format!("lmtp:inet:{lmtp}");
    let postfix = Postfix::start(&Setup { delivery: Some(delivery), ..Setup::default() }, None);
    let log = || fs::read_to_string(dir.path().join("dovecot.log")).unwrap_or_default();
    let mut client = Client::connect(postfix.entrance).unwrap();
    for (at, to) in ["cmr@cmr.test", "bob@cmr.test"].into_iter().enumerate() {
        let mail = numbered(at, 500);
        assert_eq!(client.send("anna@people.test", &[to], &mail).unwrap().code, 250);
        postfix.wait_until_empty();
        let messages = house.json(&["status"])["messages"].as_u64();
        assert_eq!(messages, Some(at as u64 + 1), "{to}: {}\n{}", log(), postfix.log());
    }
    assert!(!postfix.log().contains("status=bounced"), "{}", postfix.log());
    // While we are away Dovecot's word is that Postfix is to keep it.
    assert!(daemon.stop().success());
    let mail = numbered(2, 500);
    client.send("anna@people.test", &["cmr@cmr.test"], &mail).unwrap();
    until("it has been tried", || postfix.log().contains("status=deferred").then_some(()));
    let daemon = house.start();
    postfix.wait_until_empty();
    assert_eq!(house.json(&["status"])["messages"], 3, "{}", log());
    assert!(daemon.stop().success());
}
