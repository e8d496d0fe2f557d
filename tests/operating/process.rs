//! What the daemon may do once it runs: it is nobody's root, leaves no image of its memory, and writes
//! where it has to.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::post;
use super::support::client::Client;
use super::support::daemon::{Config, Daemon, House};
use super::support::sink::Sink;

/// The line of this name in a file of `/proc/PID`.
fn line(daemon: &Daemon, file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{}/{file}", daemon.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

/// What holds for every daemon.
fn has_given_up_everything(daemon: &Daemon) {
    // Each thread has its own.
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let mut threads = 0;
    for task in tasks {
        let Ok(status) = std::fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            assert!(line.ends_with("\t0000000000000000"), "{line}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        threads += 1;
    }
    assert!(threads > 3, "{threads}");
    let cores = line(daemon, "limits", "Max core file size");
    assert!(cores.starts_with("0 "), "{cores}");
    let files = line(daemon, "limits", "Max open files");
    let mut limits = files.split_whitespace();
    assert_eq!(limits.next(), limits.next(), "the soft limit is the hard one");
}

#[test]
fn root_binds_and_is_the_owner_of_the_data_afterwards() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: that root becomes the owner of data_dir is not tried");
        return;
    }
    let sink = Sink::start();
    let house = House::new(&Config::new().trusting_loopback().smarthost(sink.address()));
    let data = house.dir().join("data");
    std::fs::set_permissions(house.dir(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
    chown(&data, Some(65534), Some(65534)).unwrap();
    let daemon = house.start();
    assert_eq!(line(&daemon, "status", "Uid:"), "65534\t65534\t65534\t65534");
    assert_eq!(line(&daemon, "status", "Gid:"), "65534\t65534\t65534\t65534");
    has_given_up_everything(&daemon);
    assert!(house.log().contains("root no longer"), "{}", house.log());
    // It works: mail comes in, the answer goes out, the configuration is read again.
    post(&daemon, "ann@a.test", "Planets", "Jupiter is the largest planet of all.");
    house.until("the answer is there", |_| (sink.count() > 0).then_some(()));
    daemon.reload();
    house.until("it was read again", |house| house.log().contains("read again").then_some(()));
    for file in super::files(&data) {
        assert_eq!(std::fs::metadata(&file).unwrap().uid(), 65534, "{}", file.display());
    }
    // Its memory is not its user's to read: keys are in it.
    let memory = format!("/proc/{}/environ", daemon.pid());
    let read = Command::new("cat").arg(memory).uid(65534).gid(65534).output().unwrap();
    assert!(!read.status.success() && read.stdout.is_empty(), "{read:?}");
    assert_eq!(house.run(&["status"], b"").status.code(), Some(0), "by the socket");
    assert!(daemon.stop().success());
    assert_eq!(house.run(&["status"], b"").status.code(), Some(0), "as the owner, too");
    for file in super::files(&data) {
        assert_eq!(std::fs::metadata(&file).unwrap().uid(), 65534, "{}", file.display());
    }
}

#[test]
fn it_is_confined_and_leaves_no_image_of_its_memory() {
    let sink = Sink::start();
    let house = House::new(&Config::new().trusting_loopback().smarthost(sink.address()));
    let daemon = house.start();
    has_given_up_everything(&daemon);
    let log = house.log();
    if log.contains("this kernel has no Landlock") {
        println!("this kernel has no Landlock: that the daemon is confined is not tried");
    } else {
        assert!(log.contains("confined by Landlock"), "{log}");
    }
    assert!(Client::connect(daemon.smtp()).is_ok());
    assert!(daemon.stop().success());
}
