//! The filter as Postfix's pipe: the same mails come through, and it never exits but with 0 or 75.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};

use crate::identity::config;
use crate::mails::{added, mails, names, numbered, recipient, send_all, stored};
use crate::server::{Postfix, Setup, can_run, free_port};
use crate::support::client::Client;
use crate::support::daemon::{Config, House, PROGRAM, until};
use crate::wiring::{fragment, settings, warnings};

/// Postfix's setgid commands take another directory than /etc/postfix only if it stands in there.
struct Known {
    dir: PathBuf,
    /// There was no main.cf before.
    made: bool,
    _one_at_a_time: MutexGuard<'static, ()>,
}

static MAIN_CF: Mutex<()> = Mutex::new(());

impl Known {
    fn new(dir: &Path) -> Known {
        let guard = MAIN_CF.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let made = !Path::new("/etc/postfix/main.cf").exists();
        if made {
            fs::copy("/usr/share/postfix/main.cf.debian", "/etc/postfix/main.cf").unwrap();
        }
        let known = Known { dir: dir.to_owned(), made, _one_at_a_time: guard };
        let others = known.others();
        known.set(format!("{others} {}", dir.display()).trim());
        known
    }

    fn others(&self) -> String {
        let output = Command::new("postconf").args(["-h", "alternate_config_directories"]).output().unwrap();
        let all = String::from_utf8_lossy(&output.stdout).into_owned();
        let mine = self.dir.display().to_string();
        all.split([' ', ',', '\n']).filter(|it| !it.is_empty() && *it != mine).collect::<Vec<_>>().join(" ")
    }

    fn set(&self, all: &str) {
        let name = "alternate_config_directories";
        let change = if all.is_empty() {
            ["-X".to_owned(), name.to_owned()]
        } else {
            ["-e".to_owned(), format!("{name} = {all}")]
        };
        assert!(Command::new("postconf").args(change).status().unwrap().success());
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.set(&self.others());
        if self.made {
            let _ = fs::remove_file("/etc/postfix/main.cf");
        }
    }
}

/// A Postfix whose entrance pipes mail to `cmr-mail filter`, run as nobody.
pub(crate) fn world(
    mode: &str,
    by: &str,
    change: impl FnOnce(Config) -> Config,
) -> (Postfix, House, tempfile::TempDir) {
    let back = free_port();
    // Where nobody may go: the program, and the socket for its mail.
    let dir = tempfile::Builder::new().prefix("cmr-pipe-").tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let intake = dir.path().join("intake.sock");
    let config = config(mode, free_port(), back)
        .text("gateway", "intake_socket", intake.to_str().unwrap())
        .set("smtp", "recipients", r#"["cmr@cmr.test"]"#)
        .text("gateway", "address", "mailto:cmr@cmr.test")
        .text("policy", "who_may_post", "anyone");
    let house = House::new(&change(config));
    // Another user reads the configuration, and nothing else of ours.
    fs::set_permissions(house.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("cmr-mail");
    fs::copy(PROGRAM, &program).unwrap();
    // The fragments as they are, but for the port, the user and where the program lies.
    let entrance = free_port();
    let settings_file = house.dir().join("cmr-mail.toml");
    let call = format!("argv={} --config {} filter --by {by} ", program.display(), settings_file.display());
    let master = fragment("pipe.master.cf")
        .replace("smtp      inet", &format!("{entrance} inet"))
        .replace("user=cmr-mail", "user=nobody")
        .replace("argv=/usr/bin/cmr-mail filter ", &call);
    assert!(master.contains(&call) && master.contains(&entrance.to_string()), "{master}");
    let setup = Setup { main: settings("pipe.main.cf", &[]), master, ..Setup::default() };
    let mut postfix = Postfix::start(&setup, Some(back));
    until("Postfix answers", || Client::connect(entrance).ok());
    postfix.entrance = entrance;
    (postfix, house, dir)
}

fn filtered(by: &str) {
    let (postfix, house, _dir) = world("take", by, |config| config);
    let _known = (by == "sendmail").then(|| Known::new(&postfix.etc()));
    let daemon = house.start();
    let mut mails = mails(if crate::full() { 600 } else { 310 });
    // sendmail(1) and pickup(8) take text: no NUL and no CR come through them, with or without us.
    mails.retain(|mail| by == "smtp" || is_text(mail));
    mails.truncate(if crate::full() { 600 } else { 60 });
    send_all(postfix.entrance, &mails);
    let mut client = Client::connect(postfix.entrance).unwrap();
    let post = numbered(4711, 100);
    let to = ["bob@cmr.test", "cmr@cmr.test"];
    assert_eq!(client.send("", &to, &post).unwrap().code, 250);
    postfix.wait_until_empty();
    let found = postfix.maildir();
    for (at, sent) in mails.iter().enumerate() {
        let copies = found.get(&recipient(at)).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(copies.len(), 1, "{at}");
        let top = added(&copies[0], sent).unwrap_or_else(|why| panic!("{at}: {why}"));
        assert!(names(&top).iter().filter(|name| **name == "X-CMR").count() <= 1, "{top}");
        assert!(top.starts_with("Return-Path: <sender@cmr.test>"), "{top}");
    }
    assert_eq!(found["bob@cmr.test"].len(), 1);
    assert!(!found.contains_key("cmr@cmr.test"), "its copy ends here");
    let top = String::from_utf8_lossy(&found["bob@cmr.test"][0]).into_owned();
    assert!(top.starts_with("Return-Path: <>"), "{top}");
    assert!(!postfix.log().contains("status=bounced"));
    assert_eq!(warnings(&postfix), "");
    // Without the daemon it waits, and is delivered afterwards.
    assert!(daemon.stop().success());
    assert_eq!(client.send("a@people.test", &["late@cmr.test"], &numbered(1, 10)).unwrap().code, 250);
    until("it has been tried", || postfix.log().contains("status=deferred").then_some(()));
    let daemon = house.start();
    postfix.wait_until_empty();
    assert_eq!(postfix.maildir()["late@cmr.test"].len(), 1);
    assert!(daemon.stop().success());
}

fn is_text(mail: &[u8]) -> bool {
    !mail.contains(&0) && !stored(mail).contains(&b'\r')
}

#[test]
fn mail_comes_through_the_pipe_and_back_by_sendmail() {
    if can_run() {
        filtered("sendmail");
    }
}

#[test]
fn mail_comes_through_the_pipe_and_back_by_smtp() {
    if can_run() {
        filtered("smtp");
    }
}

/// Anything but 0 and 75 would make Postfix return the mail.
#[test]
fn it_exits_with_0_or_75_and_nothing_else() {
    let house = House::new(&config("copy", free_port(), free_port()));
    fs::create_dir(house.dir().join("data")).unwrap();
    fs::set_permissions(house.dir().join("data"), fs::Permissions::from_mode(0o700)).unwrap();
    let takes = house.dir().join("sendmail");
    fs::write(&takes, "#!/bin/sh\nexec cat >/dev/null\n").unwrap();
    fs::set_permissions(&takes, fs::Permissions::from_mode(0o755)).unwrap();
    let takes = takes.to_str().unwrap();
    let broken = House::new(&Config::new().set("nonsense", "x", "1"));
    let run = |house: &House, args: &[&str], input: &[u8]| {
        let output = house.run(&[&["filter"], args].concat(), input);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let mail = numbered(1, 10);
    let loops = [b"Received: x\r\n".repeat(60), mail.clone()].concat();
    type Row<'a> = (&'a str, &'a House, &'a [&'a str], &'a [u8], i32);
    let rows: [Row<'_>; 10] = [
        ("no next hop", &house, &["--by", "smtp", "-f", "a@b.test", "--", "c@d.test"], &mail, 75),
        ("no sendmail", &house, &["--sendmail", "/nowhere/sendmail", "--", "c@d.test"], &mail, 75),
        ("a sendmail that fails", &house, &["--sendmail", "/bin/false", "--", "c@d.test"], &mail, 75),
        ("a sendmail that takes it", &house, &["--sendmail", takes, "-f", "", "--", "c@d.test"], &mail, 0),
        ("no recipient", &house, &["-f", "a@b.test", "--"], &mail, 75),
        ("no arguments", &house, &[], &mail, 75),
        ("nonsense", &house, &["--nonsense"], &mail, 75),
        ("no mail", &house, &["--", "c@d.test"], b"", 75),
        ("a loop", &house, &["--sendmail", takes, "--", "c@d.test"], &loops, 75),
        ("a broken configuration", &broken, &["--sendmail", takes, "--", "c@d.test"], &mail, 75),
    ];
    for (what, house, args, input, wanted) in rows {
        let (code, said) = run(house, args, input);
        assert_eq!(code, Some(wanted), "{what}: {said}");
    }
    let missing = Command::new(PROGRAM)
        .args(["--config", "/nowhere.toml", "filter", "--", "c@d.test"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(75));
}

/// A mail that is too long to be looked into is passed, and does not lie in memory.
#[test]
fn a_large_mail_passes_the_pipe() {
    if !can_run() {
        return;
    }
    let (postfix, house, _dir) = world("copy", "smtp", |config| config.text("smtp", "max_message", "1 MiB"));
    let daemon = house.start();
    let mail = numbered(1, 20_000_000);
    let mut client = Client::connect(postfix.entrance).unwrap();
    assert_eq!(client.send("a@people.test", &["bob@cmr.test"], &mail).unwrap().code, 250);
    postfix.wait_until_empty();
    assert!(added(&postfix.maildir()["bob@cmr.test"][0], &mail).is_ok());
    assert!(daemon.stop().success());
}
