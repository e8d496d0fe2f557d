//! The ways beside mail: our addresses on them, the program for SSH, and the hosts of listed peers.

use std::net::{ToSocketAddrs, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::Line;
use crate::config::Config;
use crate::message::Address;
use crate::wire::{HttpTarget, Scheme, UdpTarget, scheme};

/// How long a look-up may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Whether our addresses on the other transports fit what listens there.
pub(super) fn ours(config: &Config, running: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    if config.http.listen.is_some() {
        lines.push(http(config));
    }
    if let Some(listen) = config.udp.listen {
        let taken = UdpSocket::bind(listen).err();
        lines.push(match (taken, &config.udp.address) {
            (Some(error), _) if !running => Line::fail(
                "udp",
                format!("{listen}: {error}"),
                "stop what listens there, or change [udp] listen",
            ),
            (_, None) => Line::warn(
                "udp",
                format!("{listen}, but no [udp] address: peers answer by mail"),
                "set [udp] address to what they reach",
            ),
            (_, Some(address)) => of_one_domain(config, "udp", address)
                .unwrap_or_else(|| Line::ok("udp", format!("{listen}, as {address}"))),
        });
    }
    if !config.ssh.peers.is_empty() {
        lines.push(ssh(config));
    }
    lines
}

fn http(config: &Config) -> Line {
    const NAME: &str = "http";
    let settings = &config.http;
    let Some(address) = &settings.address else {
        let mend = "set [http] address to the URL that they reach";
        return Line::warn(NAME, "a listener, but no [http] address: peers answer by mail", mend);
    };
    let secure = scheme(address) == Some(Scheme::Https);
    match (secure, settings.tls.is_some(), settings.proxies.is_empty()) {
        (true, false, true) => Line::warn(
            NAME,
            format!("{address} is https, but the listener speaks http, and no proxy is listed"),
            "set [http] tls, or name the web server in front in [http] proxies",
        ),
        (false, true, _) => Line::warn(
            NAME,
            format!("{address} is http, but the listener speaks https"),
            "write https:// in [http] address",
        ),
        _ => of_one_domain(config, NAME, address)
            .unwrap_or_else(|| Line::ok(NAME, format!("we are {address}"))),
    }
}

/// Others take a gateway that they do not know for the home of authors of its own domain alone.
fn of_one_domain(config: &Config, name: &'static str, address: &Address) -> Option<Line> {
    let posting = config.posting_address();
    let author = Address::new(format!("mailto:{posting}")).ok()?;
    (!author.shares_domain(address)).then(|| {
        Line::warn(
            name,
            format!("{address} is of another domain than {posting}"),
            "gateways whose operators neither list this one nor set a key for it will not believe that it took its people's \
             messages, and answer less: give both one domain, for example cmr.example.org beside cmr@example.org",
        )
    })
}

fn ssh(config: &Config) -> Line {
    let program = &config.ssh.program;
    let ran = Command::new(program)
        .arg("-V")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match ran {
        Ok(status) if status.success() => {
            Line::ok("ssh", format!("{} for {} peers", program.display(), config.ssh.peers.len()))
        }
        Ok(status) => Line::warn("ssh", format!("{} -V: {status}", program.display()), "see [ssh] program"),
        Err(error) => Line::fail(
            "ssh",
            format!("{} can't be run: {error}", program.display()),
            "install OpenSSH's client, or set [ssh] program",
        ),
    }
}

/// Whether the hosts of the listed peers can be found.
pub(super) fn peers(config: &Config) -> Vec<Line> {
    let listed = config.listed();
    let hosts = listed.iter().filter_map(|peer| {
        let http = HttpTarget::parse(peer).map(|target| (target.host, target.port));
        let place = http.or_else(|_| UdpTarget::parse(peer).map(|target| (target.host, target.port)));
        Some((peer.to_string(), place.ok()?))
    });
    // All at once: each may take its time.
    let looks: Vec<_> = hosts
        .map(|(peer, place)| {
            let (send, found) = mpsc::channel();
            std::thread::spawn(move || {
                let looked = (place.0.as_str(), place.1).to_socket_addrs();
                // The check may have stopped waiting.
                let _ = send.send(looked.map(|all| all.map(|it| it.ip().to_string()).collect::<Vec<_>>()));
            });
            (peer, found)
        })
        .collect();
    let line = |(peer, found): (String, mpsc::Receiver<std::io::Result<Vec<String>>>)| {
        let mend = "see [routing] pinned and the DNS";
        match found.recv_timeout(DEADLINE) {
            Ok(Ok(ips)) => Line::ok("peer", format!("{peer} is at {}", ips.join(", "))),
            Ok(Err(error)) => Line::warn("peer", format!("the host of {peer} is not found: {error}"), mend),
            Err(_) => Line::warn("peer", format!("the host of {peer} is not found in time"), mend),
        }
    };
    looks.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn lines(text: &str) -> Vec<(&'static str, State, String)> {
        let head = "[gateway]\naddress = \"mailto:cmr@home.test\"\nhostname = \"mx.home.test\"\n\
                    operator = \"Olga <olga@home.test>\"\n";
        let config = Config::parse(&format!("{head}{text}"), "/tmp/cmr-mail.toml").unwrap();
        let all = ours(&config, false).into_iter().chain(peers(&config));
        all.map(|line| (line.name, line.state, line.says)).collect()
    }

    #[test]
    fn each_way_has_its_line() {
        let table = [
            ("", vec![]),
            ("[http]\nlisten = \"127.0.0.1:0\"\n", vec![("http", State::Warn, "no [http] address")]),
            (
                "[http]\nlisten = \"127.0.0.1:0\"\naddress = \"https://home.test/\"\n",
                vec![("http", State::Warn, "no proxy is listed")],
            ),
            (
                "[http]\nlisten = \"127.0.0.1:0\"\naddress = \"https://home.test/\"\nproxies = [\"127.0.0.1\"]\n",
                vec![("http", State::Ok, "we are https://home.test/")],
            ),
            (
                "[http]\nlisten = \"127.0.0.1:0\"\naddress = \"http://home.hosting.test/\"\n",
                vec![("http", State::Warn, "of another domain than cmr@home.test")],
            ),
            ("[udp]\nlisten = \"127.0.0.1:0\"\n", vec![("udp", State::Warn, "no [udp] address")]),
            ("[udp]\nlisten = \"192.0.2.1:9\"\n", vec![("udp", State::Fail, "192.0.2.1:9")]),
            (
                "[ssh]\nprogram = \"/nowhere/ssh\"\n[[ssh_peer]]\naddress = \"ssh://a.example/\"\ndestination = \"a\"\n",
                vec![("ssh", State::Fail, "can't be run")],
            ),
            (
                "[routing]\npinned = [\"http://127.0.0.1:80/\", \"udp://nowhere.invalid:9/x\", \"mailto:a@b.example\"]\n",
                vec![("peer", State::Ok, "is at 127.0.0.1"), ("peer", State::Warn, "is not found")],
            ),
        ];
        for (text, expected) in table {
            let got = lines(text);
            assert_eq!(got.len(), expected.len(), "{text}: {got:?}");
            for ((name, state, says), (wanted, how, words)) in got.iter().zip(expected) {
                assert!((*name, *state) == (wanted, how) && says.contains(words), "{text}: {got:?}");
            }
        }
    }
}
