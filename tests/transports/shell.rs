//! SSH: through a real sshd to `cmr-mail receive` at the far end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use crate::gate::{Gate, free, own_ip};
use crate::support::daemon::{Config, House, PROGRAM, until};

const ONE: &str = "ssh://cmr@one.example/";
const TWO: &str = "ssh://cmr@two.example/";

/// An sshd on loopback whose one key may do one thing only.
pub(crate) struct Sshd {
    child: Child,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) ip: String,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keygen(path: &std::path::Path) -> String {
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(made.success());
    fs::read_to_string(path.with_extension("pub")).unwrap()
}

impl Sshd {
    /// `command`: what the one key in authorized_keys is bound to.
    pub(crate) fn start(command: &str) -> Sshd {
        Sshd::start_at(free(own_ip()), command)
    }

    /// The same at this place.
    pub(crate) fn start_at(at: std::net::SocketAddr, command: &str) -> Sshd {
        let dir = tempfile::Builder::new().prefix("cmr-sshd-").tempdir().unwrap();
        let host = keygen(&dir.path().join("host"));
        let client = keygen(&dir.path().join("id"));
        let keys = dir.path().join("authorized_keys");
        fs::write(&keys, format!("command={command:?},restrict {client}")).unwrap();
        let known = host.split(' ').take(2).collect::<Vec<_>>().join(" ");
        fs::write(dir.path().join("known_hosts"), format!("[{}]:{} {known}\n", at.ip(), at.port())).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let config = format!(
            "ListenAddress {}\nPort {}\nHostKey {host}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nPermitRootLogin yes\n",
            at.ip(),
            at.port(),
            keys.display(),
            host = dir.path().join("host").display(),
        );
        fs::write(dir.path().join("sshd_config"), config).unwrap();
        // Its privileges are separated in there.
        let _ = fs::create_dir_all("/run/sshd");
        let child = Command::new("/usr/sbin/sshd")
            .arg("-D")
            .arg("-e")
            .arg("-f")
            .arg(dir.path().join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        until("sshd listens", || std::net::TcpStream::connect(at).ok());
        Sshd { child, dir, port: at.port(), ip: at.ip().to_string() }
    }
}

/// The sending side, with a peer behind this sshd.
pub(crate) fn sender(name: &'static str, own: &str, peer: &str, sshd: &Sshd) -> Gate {
    let (dir, user) = (sshd.dir.path().display(), whoami());
    Gate::new(name, |config: Config| {
        config
            .text("ssh", "address", own)
            .text("ssh", "identity_file", format!("{dir}/id"))
            .text("ssh", "known_hosts", format!("{dir}/known_hosts"))
            .repeated(&format!(
                "[[ssh_peer]]\naddress = {peer:?}\ndestination = \"{user}@{}\"\nport = {}\ncommand = \"ignored\"\n",
                sshd.ip, sshd.port
            ))
    })
}

pub(crate) fn whoami() -> String {
    let id = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(id.stdout).unwrap().trim().to_owned()
}

pub(crate) fn receives(house: &House, from: &str) -> String {
    let config = house.dir().join("cmr-mail.toml");
    format!("{PROGRAM} --config {} receive --transport ssh --bound-to {from}", config.display())
}

#[test]
fn by_ssh() {
    // The far end's house has to exist before the sshd that leads into it, and the other way round:
    // so the house of the sender is made in two steps.
    let two = Gate::new("two", |config: Config| config.text("ssh", "address", TWO));
    two.start();
    let to_two = Sshd::start(&receives(&two.house, ONE));
    let one = sender("one", ONE, TWO, &to_two);
    one.start();
    let to_one = Sshd::start(&receives(&one.house, TWO));
    let back = sender("two", TWO, ONE, &to_one);
    two.daemon.take().unwrap().stop();
    two.house.configure(&back.config);
    two.start();

    let id = one.posts("Pluto is no planet any more.");
    let got = two.gets(&id);
    assert_eq!(got["via"], "ssh");
    assert_eq!(got["hops"][0]["address"], ONE);
    assert_eq!(got["authenticity"], format!("the way it came by shows that it is from {ONE}"));
    assert_eq!(one.queued(TWO)[0]["transport"], "ssh");
    for method in ["rsa", "dh", "clear"] {
        for (gate, peer) in [(&one, TWO), (&two, ONE)] {
            gate.house.verb(&["keys", "forget", peer]);
        }
        one.house.verb(&["keys", "exchange", TWO, "--method", method]);
        until("the key is made", || one.key(TWO, "pending"));
        until("the key is there", || two.key(ONE, "pending"));
        until("all was handed over", || {
            one.queued(TWO).iter().all(|row| row["state"] == "sent").then_some(())
        });
        let id = one.posts(&format!("Under a key by {method}, from one."));
        assert_eq!(two.proof(&id), format!("it is signed with the key that we share with {ONE}"), "{method}");
        let id = two.posts(&format!("Under a key by {method}, from two."));
        assert_eq!(one.proof(&id), format!("it is signed with the key that we share with {TWO}"), "{method}");
        assert_eq!(one.key(TWO, "current"), two.key(ONE, "current"));
    }
    // The account is bound to one address: another one in the header is nobody's.
    let forged = crate::support::messages::message(
        &[(crate::support::messages::in_seconds(-5), ONE)],
        "Clear key exchange=666f6f626172313233666f6f62617231.",
    );
    two.house.verb(&["keys", "forget", ONE]);
    let third = ["receive", "--transport", "ssh", "--bound-to", "ssh://cmr@third.example/"];
    let refused = two.house.run(&third, &forged.write());
    assert_eq!(refused.status.code(), Some(65));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("only over a channel that proves"),
        "{refused:?}"
    );

    // A host whose key is another one is not spoken to, and nothing is asked.
    fs::write(to_two.dir.path().join("known_hosts"), "").unwrap();
    one.posts("Nobody gets this one.");
    let failed = until("ssh refuses", || {
        one.queued(TWO)
            .into_iter()
            .find(|row| row["last_error"].as_str().is_some_and(|it| it.contains("ssh failed")))
    });
    assert!(failed["last_error"].as_str().unwrap().contains("Host key verification failed"), "{failed}");
}
