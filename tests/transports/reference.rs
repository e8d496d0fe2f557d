//! The reference implementation as a partner: its daemon and its compressor as real processes, every
//! transport, both directions, unsigned and under each kind of key. The table that
//! `docs/protocol.md` shows is printed at the end.
//!
//! Building them takes about five minutes, so this runs where `CMR_MAIL_FULL` is set; they are kept
//! beside what cargo builds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::gate::{Gate, ask, free, free_udp, own_ip};
use crate::shell;
use crate::support::daemon::{Config, until};

const VERSION: &str = "0.2.0";

/// Texts that have nothing in common, and are prose: theirs drops what is not.
const TEXTS: [&str; 14] = [
    "Sourdough bread needs flour, water, salt and a starter that was fed the evening before; the dough rests for hours.",
    "The old lighthouse keeper climbed every stair twice each night, because the lamp would not turn without being wound.",
    "Violins are tuned in fifths, and their players spend years in learning where the fingers have to stop the strings.",
    "Glaciers move slowly downhill, grind the rock beneath them to powder, and leave long lakes behind when they melt.",
    "A good locksmith listens more than he looks: each pin makes a small sound when it settles at the shear line.",
    "In spring the beekeeper counts the frames with brood and decides which of the colonies is strong enough to divide.",
    "The parliament debated the harbour tax until midnight, and then sent the whole proposal back to its committee.",
    "Marathon runners drink little sips at every station, since a full stomach slows the legs more than thirst does.",
    "Paper was made of rags for centuries; only when rags became scarce did the mills try to make it out of wood.",
    "Chess engines evaluate millions of positions in a second, and still the endgame tables know some answers better.",
    "Tailors of wedding dresses work with muslin first, pin it on the bride, and cut the silk only after the third fitting.",
    "Migrating storks circle above warm fields to gain height, and then glide for many kilometres without a wing beat.",
    "The electrician labelled all fuses in the cellar, yet nobody could say which of them belonged to the attic lights.",
    "Submarine cables carry nearly everything that continents say to one another, and fishing anchors cut them every week.",
];

/// Where the two programs are, built if they are not there yet, by one test for both.
fn programs() -> PathBuf {
    static BUILD: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = BUILD.lock();
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    // Optimised: in a build for debugging it makes the numbers of its own requests for minutes.
    let root = target.join("reference-release");
    let bin = root.join("bin");
    if !bin.join("cmr-peer").exists() || !bin.join("cmr-compressor").exists() {
        println!("the reference {VERSION} is built once, into {}", root.display());
        let built = Command::new("cargo")
            .args(["install", "--quiet", "--locked", "--version", VERSION, "--root"])
            .arg(&root)
            .args(["cmr-compressor", "cmr-peer"])
            .env("CXXFLAGS", "-ffat-lto-objects")
            .env("CARGO_TARGET_DIR", root.join("target"))
            .status()
            .unwrap();
        assert!(built.success(), "cargo install cmr-compressor cmr-peer: {built}");
        let _ = fs::remove_dir_all(root.join("target"));
    }
    bin
}

/// A daemon of the reference.
struct Theirs {
    child: Child,
    dir: tempfile::TempDir,
    address: String,
    page: std::net::SocketAddr,
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!(
                "--- theirs ---\n{}",
                fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
            );
        }
    }
}

/// The luck that a request by Diffie-Hellman of theirs needs. It draws odd numbers of 2,047 bits until one is a prime,
/// and that again until twice the prime and one is a prime as well, which one in 1,075 is: 50 minutes of a processor, and
/// after 256 of them it gives up, as four times out of five. So its generator of random numbers is begun with a number
/// that was looked for: the 113th that it then draws is the first prime, and is one of those. What the program does with
/// what it draws is its own.
struct Chance {
    _dir: tempfile::TempDir,
    library: PathBuf,
}

impl Chance {
    /// In the place of the system's source, for who wants 32 bytes: the number as the crate `rand` wants it.
    const SOURCE: &str = "
        #define _GNU_SOURCE
        #include <string.h>
        #include <sys/syscall.h>
        #include <sys/types.h>
        #include <unistd.h>
        ssize_t getrandom(void *to, size_t length, unsigned int flags) {
            if (length != 32) return syscall(SYS_getrandom, to, length, flags);
            memset(to, 0, length);
            ((unsigned char *)to)[0] = 2968 & 0xff;
            ((unsigned char *)to)[1] = 2968 >> 8;
            return (ssize_t)length;
        }
    ";

    fn new() -> Chance {
        let dir = tempfile::Builder::new().prefix("cmr-chance-").tempdir().unwrap();
        let (source, library) = (dir.path().join("chance.c"), dir.path().join("chance.so"));
        fs::write(&source, Self::SOURCE).unwrap();
        let made =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
        assert!(made.success(), "cc: {made}");
        Chance { _dir: dir, library }
    }
}

/// What there is to know before either side is started.
struct Plan {
    transport: &'static str,
    ours: String,
    theirs: String,
    their_http: std::net::SocketAddr,
    their_place: std::net::SocketAddr,
    our_place: std::net::SocketAddr,
}

impl Plan {
    fn new(transport: &'static str) -> Plan {
        // Theirs connects from this address, and looks whether a handshake does.
        let loopback: std::net::IpAddr = [127, 0, 0, 1].into();
        let (our_place, their_place) = match transport {
            "udp" => (free_udp(own_ip()), free_udp(own_ip())),
            _ => (free(loopback), free(loopback)),
        };
        let url = |place, path| match transport {
            "mailto" => None,
            "handshake" => Some(format!("http://{place}{path}")),
            _ => Some(format!("{transport}://{place}{path}")),
        };
        let path = if transport == "udp" { "/cmr" } else { "/" };
        Plan {
            transport,
            ours: url(our_place, if path == "/" { "/cmr" } else { path })
                .unwrap_or_else(|| "mailto:cmr@ours.test".to_owned()),
            theirs: url(their_place, path).unwrap_or_else(|| "mailto:cmr@theirs.test".to_owned()),
            their_http: if matches!(transport, "http" | "handshake") { their_place } else { free(loopback) },
            their_place,
            our_place,
        }
    }

    fn start_theirs(&self) -> Theirs {
        self.start_theirs_with(None)
    }

    fn start_theirs_with(&self, chance: Option<&Chance>) -> Theirs {
        let bin = programs();
        let dir = tempfile::Builder::new().prefix("cmr-theirs-").tempdir().unwrap();
        let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");
        let listener = match self.transport {
            "https" => format!(
                "[listen.https]\nbind = \"{}\"\npath = \"/\"\ncert_path = \"{tls}/server.pem\"\nkey_path = \"{tls}/server.key\"\n",
                self.their_place
            ),
            "udp" => format!("[listen.udp]\nbind = \"{}\"\nservice = \"cmr\"\n", self.their_place),
            "mailto" => format!(
                "[listen.smtp]\nbind = \"{}\"\n[smtp]\nrelay = \"127.0.0.1\"\nport = {}\nallow_insecure = true\nfrom = \"cmr@theirs.test\"\n",
                self.their_place,
                self.our_place.port()
            ),
            _ => String::new(),
        };
        let config = format!(
            "local_address = \"{}\"\nsecurity_level = \"strict\"\nprefer_http_handshake = {}\n\
             [listen]\n[listen.http]\nbind = \"{}\"\npath = \"/\"\n{listener}\
             [compressor]\ncommand = \"{}\"\n\
             [dashboard]\nenabled = true\npath = \"/_cmr\"\nauth_username = \"a\"\nauth_password = \"b\"\n",
            self.theirs,
            self.transport == "handshake",
            self.their_http,
            bin.join("cmr-compressor").display(),
        );
        fs::write(dir.path().join("cmr-peer.toml"), config).unwrap();
        let child = Command::new(bin.join("cmr-peer"))
            .args(["run", "--config", "cmr-peer.toml"])
            .current_dir(dir.path())
            .env("SSL_CERT_FILE", format!("{tls}/ca.pem"))
            .envs(chance.map(|chance| ("LD_PRELOAD", &chance.library)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let theirs = Theirs { child, dir, address: self.theirs.clone(), page: self.their_http };
        until("theirs listens", || std::net::TcpStream::connect(self.their_http).ok());
        theirs
    }

    fn start_ours(&self) -> Gate {
        let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");
        let gate = Gate::new("ours", |config: Config| {
            let config = config.set("routing", "pinned", format!("[{:?}]", self.theirs));
            let place = self.our_place.to_string();
            match self.transport {
                "mailto" => {
                    config.set("smtp", "listen", format!("[\"{place}\"]")).smarthost(self.their_place)
                }
                "udp" => config.text("udp", "listen", place).text("udp", "address", &self.ours),
                "https" => config
                    .text("http", "listen", place)
                    .text("http", "address", &self.ours)
                    .text("http", "ca_file", format!("{tls}/ca.pem"))
                    .set(
                        "http",
                        "tls",
                        format!("{{ certificate = \"{tls}/server.pem\", key = \"{tls}/server.key\" }}"),
                    ),
                _ => config.text("http", "listen", place).text("http", "address", &self.ours).set(
                    "http",
                    "handshake",
                    (self.transport == "handshake").to_string(),
                ),
            }
        });
        gate.start();
        gate
    }
}

impl Theirs {
    fn page(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = format!(
            "{method} /_cmr{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.page,
            STANDARD.encode("a:b"),
            body.len()
        );
        let answer = ask(self.page, request.as_bytes());
        (answer.status, answer.text())
    }

    fn got(&self, text: &str) {
        let quoted = serde_json::Value::from(text).to_string();
        until("theirs has it", || {
            self.page("GET", "/api/inbox?limit=500", "").1.contains(&quoted).then_some(())
        });
    }

    fn sends(&self, to: &str, text: &str) {
        let body = json!({ "destination": to, "body_text": text, "sign": true }).to_string();
        let (status, said) = self.page("POST", "/api/send", &body);
        assert_eq!(status, 200, "{} sends: {said}", self.address);
    }

    fn forgets(&self, peer: &str) {
        let name: String = peer
            .bytes()
            .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect();
        self.page("DELETE", &format!("/api/peers/{name}"), "");
    }

    fn begins(&self, peer: &str, mode: &str) -> (u16, String) {
        self.page("POST", "/api/key-exchange", &json!({ "peer": peer, "mode": mode }).to_string())
    }
}

/// What came from theirs, by its text: how it was proven.
fn proof(gate: &Gate, text: &str) -> String {
    until("ours has it", || {
        let found = gate.house.json(&["search", text, "-n", "1"]);
        let id = found["matches"][0]["id"].as_str()?.to_owned();
        let shown = gate.house.show(&id)?;
        (shown["body_utf8"] == text).then(|| shown["authenticity"].as_str().unwrap().to_owned())
    })
}

/// A message each way, and what it was proven by where it came.
fn both(gate: &Gate, theirs: &Theirs, ours: &str, texts: &mut impl Iterator<Item = &'static str>) -> String {
    let text = texts.next().unwrap();
    gate.posts(text);
    theirs.got(text);
    let text = texts.next().unwrap();
    theirs.sends(ours, text);
    proof(gate, text)
}

fn sent(gate: &Gate, to: &str) {
    until("all has left", || gate.queued(to).iter().all(|row| row["state"] == "sent").then_some(()));
}

fn row(transport: &'static str) -> Vec<(&'static str, &'static str)> {
    let plan = Plan::new(transport);
    let theirs = plan.start_theirs();
    let gate = plan.start_ours();
    let mut texts = TEXTS.into_iter();
    let mut cells = Vec::new();
    let proven = both(&gate, &theirs, &plan.ours, &mut texts);
    let by_channel = format!("the way it came by shows that it is from {}", plan.theirs);
    let expected = if transport == "handshake" { &by_channel } else { "nothing shows who wrote it" };
    assert_eq!(proven, expected, "{transport}");
    cells.push(("unsigned", "both"));
    if transport == "handshake" {
        // It is for pairs without a key (A4.5), and theirs takes every signature away before it.
        return cells;
    }
    let signed = format!("it is signed with the key that we share with {}", plan.theirs);
    let methods =
        if transport == "https" { ["rsa", "dh", "clear"].as_slice() } else { ["rsa", "dh"].as_slice() };
    for method in methods {
        gate.house.verb(&["keys", "forget", &plan.theirs]);
        theirs.forgets(&plan.ours);
        gate.house.verb(&["keys", "exchange", &plan.theirs, "--method", method]);
        until("the key is made", || gate.key(&plan.theirs, "pending"));
        sent(&gate, &plan.theirs);
        assert_eq!(both(&gate, &theirs, &plan.ours, &mut texts), signed, "{transport} {method}");
        assert!(gate.key(&plan.theirs, "current").is_some());
        cells.push((method, "both"));
    }
    // Our restart is survived; theirs forgets its keys, and what heals it is to agree anew.
    gate.restart();
    assert_eq!(both(&gate, &theirs, &plan.ours, &mut texts), signed, "{transport} after our restart");
    cells.push(("our restart", "survived"));
    if transport == "https" {
        // Nothing shows that an upload is theirs: a key in clear is not taken, and the pair goes on.
        gate.house.verb(&["keys", "forget", &plan.theirs]);
        theirs.forgets(&plan.ours);
        let (status, said) = theirs.begins(&plan.ours, "clear");
        assert!(status != 200 && said.contains("403"), "{status} {said}");
        assert!(gate.keys(&plan.theirs).is_empty());
        cells.push(("clear, begun by theirs", "refused"));
    }
    drop(theirs);
    let theirs = plan.start_theirs();
    gate.house.verb(&["keys", "forget", &plan.theirs]);
    gate.house.verb(&["keys", "exchange", &plan.theirs, "--method", "dh"]);
    until("the key is made", || gate.key(&plan.theirs, "pending"));
    let text = texts.next().unwrap();
    gate.posts(text);
    theirs.got(text);
    cells.push(("their restart", "healed by agreeing anew"));
    cells
}

/// By SSH theirs receives with a process for each message, which knows what its configuration says and
/// forgets everything else; its daemon sends.
fn ssh_row() -> Vec<(&'static str, &'static str)> {
    let bin = programs();
    let dir = tempfile::Builder::new().prefix("cmr-theirs-ssh-").tempdir().unwrap();
    let (page, their_place, our_place) = (free([127, 0, 0, 1].into()), free(own_ip()), free(own_ip()));
    let user = shell::whoami();
    let theirs_address = format!("ssh://{user}@{their_place}/");
    let ours = format!("ssh://{user}@{our_place}/");
    let configured = |key: bool| {
        let key = match key {
            true => format!("[[static_keys]]\npeer = \"{ours}\"\nhex_key = \"{}\"\n", "5a".repeat(32)),
            false => String::new(),
        };
        let config = format!(
            "local_address = \"{theirs_address}\"\nsecurity_level = \"strict\"\n{key}\
             [listen]\n[listen.http]\nbind = \"{page}\"\npath = \"/\"\n[compressor]\ncommand = \"{}\"\n\
             [ssh]\nbinary = \"{}\"\ndefault_remote_command = \"receive\"\n\
             [dashboard]\nenabled = true\npath = \"/_cmr\"\nauth_username = \"a\"\nauth_password = \"b\"\n",
            bin.join("cmr-compressor").display(),
            dir.path().join("ssh").display(),
        );
        fs::write(dir.path().join("cmr-peer.toml"), config).unwrap();
    };
    configured(false);
    let command = format!(
        "{} receive-stdin --config {}/cmr-peer.toml",
        bin.join("cmr-peer").display(),
        dir.path().display()
    );
    let to_theirs = shell::Sshd::start_at(their_place, &command);
    let gate = shell::sender("ours", &ours, &theirs_address, &to_theirs);
    gate.start();
    let to_ours = shell::Sshd::start_at(our_place, &shell::receives(&gate.house, &theirs_address));
    // Its ssh, with what it can't be told: the key and the host keys.
    let wrapper = format!(
        "#!/bin/sh\nexec ssh -i {0}/id -o UserKnownHostsFile={0}/known_hosts -o BatchMode=yes -o IdentitiesOnly=yes \"$@\"\n",
        to_ours.dir.path().display()
    );
    fs::write(dir.path().join("ssh"), wrapper).unwrap();
    fs::set_permissions(dir.path().join("ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let start = || {
        let child = Command::new(bin.join("cmr-peer"))
            .args(["run", "--config", "cmr-peer.toml"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        until("theirs listens", || std::net::TcpStream::connect(page).ok());
        // Its own directory goes with it; the configuration is in the other one.
        let own = tempfile::tempdir().unwrap();
        Theirs { child, dir: own, address: theirs_address.clone(), page }
    };
    let mut texts = TEXTS.into_iter();
    let mut cells = Vec::new();
    // Exit code 0 of its process is all that is seen of what it received.
    let to_theirs = |text: &str| {
        let id = gate.posts(text);
        until("it was tried", || {
            let rows = gate.queued(&theirs_address);
            let row = rows.into_iter().find(|row| row["id"] == id.as_str())?;
            (row["state"] == "sent" || row["last_error"].as_str().is_some_and(|said| !said.is_empty()))
                .then_some(row)
        })
    };
    let theirs = start();
    let row = to_theirs(texts.next().unwrap());
    assert_eq!(row["state"], "sent", "{row}");
    let text = texts.next().unwrap();
    theirs.sends(&ours, text);
    assert_eq!(proof(&gate, text), format!("the way it came by shows that it is from {theirs_address}"));
    cells.push(("unsigned", "both"));
    // A key in clear by the bound account: its daemon knows it, its receiving processes do not.
    let signed = format!("it is signed with the key that we share with {theirs_address}");
    let (status, said) = theirs.begins(&ours, "clear");
    assert_eq!(status, 200, "{said}");
    until("the key is there", || gate.key(&theirs_address, "pending"));
    let text = texts.next().unwrap();
    theirs.sends(&ours, text);
    assert_eq!(proof(&gate, text), signed);
    let row = to_theirs(texts.next().unwrap());
    assert_ne!(row["state"], "sent", "{row}");
    cells.push(("clear, begun by theirs", "theirs to ours"));
    // A key in the configuration of both.
    gate.house.verb(&["keys", "forget", &theirs_address]);
    gate.house.verb(&["keys", "set", &theirs_address, "--hex", &"5a".repeat(32)]);
    drop(theirs);
    configured(true);
    let theirs = start();
    let row = to_theirs(texts.next().unwrap());
    assert_eq!(row["state"], "sent", "{row}");
    let text = texts.next().unwrap();
    theirs.sends(&ours, text);
    assert_eq!(proof(&gate, text), signed);
    cells.push(("a key set by hand", "both"));
    gate.restart();
    let text = texts.next().unwrap();
    theirs.sends(&ours, text);
    assert_eq!(proof(&gate, text), signed);
    cells.push(("our restart", "survived"));
    cells
}

/// What theirs asks for: its request, our reply, and a message each way under the key. Gives what its request took.
fn begun_by_theirs(transport: &'static str, method: &str, chance: Option<&Chance>) -> std::time::Duration {
    let plan = Plan::new(transport);
    let theirs = plan.start_theirs_with(chance);
    let gate = plan.start_ours();
    let mut texts = TEXTS.into_iter();
    let began = std::time::Instant::now();
    let (status, said) = theirs.begins(&plan.ours, method);
    let took = began.elapsed();
    assert_eq!(status, 200, "{transport} {method}: {said}");
    until("the key is made", || gate.key(&plan.theirs, "pending"));
    sent(&gate, &plan.theirs);
    // Its first message makes us sign with it, too.
    let signed = format!("it is signed with the key that we share with {}", plan.theirs);
    let text = texts.next().unwrap();
    theirs.sends(&plan.ours, text);
    assert_eq!(proof(&gate, text), signed, "{transport} {method}");
    assert_eq!(both(&gate, &theirs, &plan.ours, &mut texts), signed, "{transport} {method}");
    took
}

#[test]
fn exchanges_that_the_reference_daemon_begins() {
    if std::env::var_os("CMR_MAIL_FULL").is_none() {
        println!("not run: the reference daemon is built under CMR_MAIL_FULL=1 only");
        return;
    }
    let chance = Chance::new();
    for transport in ["http", "https", "udp", "mailto"] {
        for (method, chance) in [("rsa", None), ("dh", Some(&chance))] {
            let took = begun_by_theirs(transport, method, chance);
            println!("{transport}: it made its request by {method} in {took:.1?}");
        }
    }
}

#[test]
fn every_transport_with_the_reference_daemon() {
    if std::env::var_os("CMR_MAIL_FULL").is_none() {
        println!("not run: the reference daemon is built under CMR_MAIL_FULL=1 only");
        return;
    }
    for transport in ["http", "handshake", "https", "udp", "mailto"] {
        let began = std::time::Instant::now();
        let cells = row(transport);
        println!("{transport} ({:.0?}): {cells:?}", began.elapsed());
    }
}

#[test]
fn ssh_with_the_reference_daemon() {
    if std::env::var_os("CMR_MAIL_FULL").is_none() {
        println!("not run: the reference daemon is built under CMR_MAIL_FULL=1 only");
        return;
    }
    println!("ssh: {:?}", ssh_row());
}
