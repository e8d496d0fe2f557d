//! What goes over the network: certificates, addresses to listen on, the smarthost, the mailboxes.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::super::layout::count;
use super::{Line, expiry};
use crate::config::{COMMAND_TIMEOUT, Config, Imap, Login, Secret, Security, TlsFiles};
use crate::gateway::sender::{self, SendingError};
use crate::policy::human::show_duration;
use crate::receive::imap;
use crate::send::mailto::Mailto;

/// How long anything outside of this machine may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long a mailbox may take: its password command has half a minute of its own.
const MAILBOX: Duration = Duration::from_secs(45);

/// A certificate that ends within this time is worth a warning.
const SOON: i64 = 14 * 86_400;

/// Whether sessions can be encrypted, and for how long.
pub(super) fn tls(config: &Config) -> Vec<Line> {
    let all = [&config.smtp.tls, &config.http.tls, &config.web.tls];
    all.into_iter().flatten().filter_map(certificate).collect()
}

fn certificate(files: &TlsFiles) -> Option<Line> {
    const NAME: &str = "tls";
    if let Err(error) = files.acceptor() {
        return Some(Line::wrong(NAME, error.to_string(), ""));
    }
    let shown = files.certificate.display();
    let ends = std::fs::read(&files.certificate).ok().and_then(|pem| expiry::of_pem(&pem));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let renew = "renew it, then: systemctl reload cmr-mail";
    Some(match ends.map(|ends| ends.saturating_sub(now)) {
        Some(left) if left < 0 => {
            Line::wrong(NAME, format!("{shown} expired {} days ago", left.saturating_neg() / 86_400), renew)
        }
        Some(left) if left < SOON => {
            Line::warn(NAME, format!("{shown} expires in {} days", left / 86_400), renew)
        }
        Some(left) => Line::ok(NAME, format!("{shown} and its key fit, {} days left", left / 86_400)),
        None => Line::ok(NAME, format!("{shown} and its key fit")),
    })
}

/// Whether each address is free, or ours already.
pub(super) fn listen(config: &Config, running: bool) -> Vec<Line> {
    let all = config.smtp.listen.iter().chain(&config.smtp.lmtp).chain(&config.filter.listen);
    let all = all.chain(&config.http.listen);
    let lines: Vec<Line> = all.map(|address| bind(*address, running)).collect();
    if lines.is_empty() {
        return vec![match config.imap.len() {
            0 => {
                let says = "no address to listen on: mail comes in by deliver, filter and receive only";
                Line::warn("listen", says, "set [smtp] listen, or name a mailbox in [[imap]]")
            }
            mailboxes => {
                let mailboxes = count(mailboxes as u64, "mailbox");
                Line::ok("listen", format!("no address to listen on: mail comes in out of {mailboxes}"))
            }
        }];
    }
    lines
}

pub(super) fn bind(address: SocketAddr, running: bool) -> Line {
    const NAME: &str = "listen";
    let error = match TcpListener::bind(address) {
        Ok(_) if running && address.port() != 0 => {
            return Line::warn(
                NAME,
                format!("{address} is free, although the daemon runs"),
                "it reads the addresses when it starts: restart it",
            );
        }
        Ok(_) => return Line::ok(NAME, format!("{address} is free")),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::AddrInUse if running => Line::ok(NAME, format!("{address} (the daemon)")),
        ErrorKind::AddrInUse => Line::fail(
            NAME,
            format!("{address} is taken by another program"),
            format!("find it: ss -ltnp 'sport = :{}'", address.port()),
        ),
        ErrorKind::PermissionDenied => Line::fail(
            NAME,
            format!("{address}: this user may not listen there"),
            "ports below 1024 need CAP_NET_BIND_SERVICE; or let a mail server relay to a higher one",
        ),
        ErrorKind::AddrNotAvailable => {
            Line::wrong(NAME, format!("{address} is no address of this machine"), "see them with: ip address")
        }
        _ => Line::fail(NAME, format!("{address}: {error}"), ""),
    }
}

/// Whether mail can leave: the smarthost greets, encrypts and lets us log in; or the operator's own mail
/// host greets, where mail finds its own way.
pub(super) fn smarthost(config: &Config) -> Line {
    const NAME: &str = "smarthost";
    if config.send.direct.is_some() {
        return direct(config);
    }
    let smarthost = &config.send.smarthost;
    let shown = smarthost.to_string();
    let mailto = match connection(config) {
        Ok(mailto) => mailto,
        Err(why) => return Line::wrong(NAME, format!("{shown}: {why}"), ""),
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Line::warn(NAME, "not looked at: no more descriptors", "");
    };
    let deadline = match &config.send.login {
        Some(Login { secret: Secret::Token(_), .. }) => DEADLINE + COMMAND_TIMEOUT,
        _ => DEADLINE,
    };
    let answer = runtime.block_on(async { tokio::time::timeout(deadline, mailto.probe()).await });
    // A name that takes for ever to resolve must not hold the check up.
    runtime.shutdown_background();
    let how = match (smarthost.security, config.send.login.is_some()) {
        (Security::None, false) => "greets",
        (Security::None, true) => "greets, and lets us log in (the password goes unencrypted)",
        (_, false) => "greets, encrypted",
        (_, true) => "greets, encrypted, and lets us log in",
    };
    match answer {
        Ok(Ok(())) => Line::ok(NAME, format!("{shown} {how}")),
        Ok(Err(error)) => Line::fail(
            NAME,
            format!("{shown}: {}", error.chain()),
            "until it is mended, mail waits in the queue; the setting is [send] smarthost",
        ),
        Err(_) => Line::fail(
            NAME,
            format!("{shown} does not answer within {} s", deadline.as_secs()),
            "is the port right, and not blocked by a firewall or the provider?",
        ),
    }
}

fn direct(config: &Config) -> Line {
    const NAME: &str = "direct";
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Line::warn(NAME, "not looked at: no more descriptors", "");
    };
    let to = &config.gateway.operator.address;
    let asked = async {
        let mailto = connection(config).map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(DEADLINE.saturating_mul(2), mailto.probe_for(to)).await;
        answer
            .map_err(|_| "no answer in time; is port 25 open outwards?".to_owned())?
            .map_err(|error| error.chain())
    };
    let answer = runtime.block_on(asked);
    runtime.shutdown_background();
    match answer {
        Ok(Some(host)) => Line::ok(NAME, format!("mail to {to} would go to {} ({})", host.name, host.at)),
        Ok(None) => Line::ok(NAME, "nothing to try".to_owned()),
        Err(why) => Line::fail(
            NAME,
            format!("{to}: {why}"),
            "look at port 25 (many providers block it), the MX record of that domain and [authentication] dns; or use a smarthost",
        ),
    }
}

/// Whether each mailbox can be read: the server greets, lets us log in, and the folders are there.
pub(super) fn mailboxes(config: &Config) -> Vec<Line> {
    const NAME: &str = "mailbox";
    // Each on a thread of its own: a server that does not answer holds up no other.
    let asked: Vec<_> = config
        .imap
        .iter()
        .map(|account| {
            let (to_us, answer) = mpsc::channel();
            let trying = account.clone();
            std::thread::spawn(move || to_us.send(imap::try_out(&trying)));
            (account, answer)
        })
        .collect();
    let until = Instant::now() + MAILBOX;
    let said = |(account, answer): (&Imap, mpsc::Receiver<Result<imap::Tried, String>>)| {
        let at = format!("{} ({}@{}:{})", account.name, account.user, account.host, account.port);
        match answer.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Ok(imap::Tried { doubt: Some(doubt), .. })) => Line::warn(
                NAME,
                format!("{at}: {doubt}"),
                "set after = \"keep\", or give the account the right to write",
            ),
            Ok(Ok(tried)) => {
                let how = match (tried.idle, account.idle) {
                    (true, true) => "the server tells when mail comes".to_owned(),
                    (false, true) => {
                        format!("no IDLE there: looked at every {}", show_duration(account.poll))
                    }
                    (_, false) => format!("looked at every {}", show_duration(account.poll)),
                };
                Line::ok(NAME, format!("{at}: {} holds {} mails; {how}", account.folder, tried.mails))
            }
            Ok(Err(why)) => {
                let mend = if why.starts_with("the folder ") {
                    "make it in the mailbox, or write its name as the server has it (INBOX.Done, INBOX/Done)"
                } else {
                    "docs/imap.md has a section for each of the usual providers"
                };
                Line::fail(NAME, format!("{at}: {why}"), mend)
            }
            Err(_) => Line::fail(
                NAME,
                format!("{at} does not answer within {} s", MAILBOX.as_secs()),
                "is the port right, and not blocked by a firewall?",
            ),
        }
    };
    asked.into_iter().map(said).collect()
}

/// The smarthost as `serve` speaks to it.
fn connection(config: &Config) -> Result<Mailto, SendingError> {
    sender::mailto(config)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn config(lines: &str) -> Config {
        let text = format!(
            "[gateway]\naddress = \"mailto:cmr@example.org\"\nhostname = \"mx.example.org\"\n\
             operator = \"operator@example.org\"\n{lines}"
        );
        Config::parse(&text, "/nowhere/cmr-mail.toml").unwrap()
    }

    #[test]
    fn an_address_is_free_taken_or_not_ours() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let line = bind(address, false);
        assert_eq!((line.state, line.exit), (State::Fail, 69));
        assert!(line.mend.contains(&address.port().to_string()), "{}", line.mend);
        assert_eq!(bind(address, true).state, State::Ok, "the daemon has it");
        drop(taken);
        assert_eq!(bind("127.0.0.1:0".parse().unwrap(), false).state, State::Ok);
        // TEST-NET-1 is nobody's.
        let line = bind("192.0.2.1:2525".parse().unwrap(), false);
        assert_eq!((line.state, line.exit), (State::Fail, 78));
    }

    #[test]
    fn who_listens_nowhere_reads_mailboxes_or_gets_mail_by_hand() {
        let none = "[smtp]\nlisten = []\n";
        let lines = listen(&config(none), false);
        assert!(lines.iter().all(|line| line.state == State::Warn), "{lines:?}");
        let account = |n| {
            format!(
                "[[imap]]\nname = \"{n}\"\nhost = \"h{n}.test\"\nuser = \"u\"\npassword_command = \"x\"\n"
            )
        };
        let lines = listen(&config(&format!("{none}{}{}", account(1), account(2))), false);
        assert_eq!((lines.len(), lines[0].state), (1, State::Ok));
        assert!(lines[0].says.ends_with("out of 2 mailboxes"), "{}", lines[0].says);
    }

    #[test]
    fn a_smarthost_that_is_not_there_is_said_so() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let line = smarthost(&config(&format!("[send]\nsmarthost = \"smtp://{address}\"\n")));
        assert_eq!((line.state, line.exit), (State::Fail, 69));
        assert!(line.says.starts_with(&format!("smtp://{address}: ")), "{}", line.says);
    }
}
