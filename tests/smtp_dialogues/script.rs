//! Reads a dialogue and plays it against a world.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use cmr_mail::smtp::{Limits, Mode, Recipients, Reply, SessionConfig};

/// What a dialogue is played against.
pub(crate) trait World {
    /// The client sends.
    fn send(&mut self, bytes: &[u8]) -> Result<(), String>;
    /// The server's next line without CR LF.
    fn line(&mut self) -> Result<String, String>;
    /// The mail handed over.
    fn mail(&mut self) -> Result<Mail, String>;
    /// The verdict about it.
    fn answer(&mut self, replies: Vec<Reply>) -> Result<(), String>;
    /// Time passes.
    fn pass(&mut self, _time: Duration) {}
    /// There is no room for the coming mail.
    fn full(&mut self) {}
    /// The service stops.
    fn stop(&mut self) {}
    /// The handshake.
    fn tls(&mut self) -> Result<(), String>;
    /// The server must have closed.
    fn closed(&mut self) -> Result<(), String>;
    /// Nothing may be left.
    fn end(&mut self) -> Result<(), String>;
}

/// A mail as either world hands it over.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) sender: Option<String>,
    pub(crate) recipients: Vec<String>,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) relay: bool,
    pub(crate) helo: Option<String>,
    pub(crate) tls: bool,
    pub(crate) raw: Vec<u8>,
}

#[derive(Debug)]
enum Step {
    Server(String),
    Client(Vec<u8>),
    Mail(Vec<(String, String)>),
    Bytes(Vec<u8>),
    Answer(Vec<Reply>),
    Time(Duration),
    Full,
    Stop,
    Tls,
    Closed,
}

/// A dialogue that was read.
pub(crate) struct Script {
    pub(crate) config: SessionConfig,
    pub(crate) client: IpAddr,
    steps: Vec<(usize, Step)>,
    memory: bool,
}

impl Script {
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut script = Script {
            config: config(),
            client: "127.0.0.1".parse().unwrap(),
            steps: Vec::new(),
            memory: false,
        };
        for (at, line) in text.lines().enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                script.take(at + 1, line).unwrap_or_else(|error| {
                    panic!("{}:{}: {error}", path.display(), at + 1);
                });
            }
        }
        script
    }

    fn take(&mut self, at: usize, line: &str) -> Result<(), String> {
        if let Some(setting) = line.strip_prefix('@') {
            return self.set(setting.trim());
        }
        let (kind, text) = line.split_once(':').ok_or("no colon")?;
        let text = text.strip_prefix(' ').unwrap_or(text);
        let last = self.steps.last_mut().map(|(_, step)| step);
        let step = match (kind, last) {
            ("S", _) => Step::Server(text.to_owned()),
            ("C" | "c", last) => {
                let mut bytes = unescape(text)?;
                if kind == "C" {
                    bytes.extend_from_slice(b"\r\n");
                }
                if let Some(Step::Client(before)) = last {
                    before.extend_from_slice(&bytes);
                    return Ok(());
                }
                Step::Client(bytes)
            }
            ("D", _) => Step::Mail(text.split_whitespace().map(fact).collect::<Result<_, _>>()?),
            ("B", _) => Step::Bytes(unescape(text)?),
            ("A", Some(Step::Answer(replies))) => {
                replies.push(reply(text)?);
                return Ok(());
            }
            ("A", _) => Step::Answer(vec![reply(text)?]),
            ("T", _) => Step::Time(time(text).ok_or("no time")?),
            ("FULL", _) => Step::Full,
            ("STOP", _) => Step::Stop,
            ("TLS", _) => Step::Tls,
            ("X", _) => Step::Closed,
            _ => return Err(format!("unknown line {kind}:")),
        };
        self.steps.push((at, step));
        Ok(())
    }

    fn set(&mut self, setting: &str) -> Result<(), String> {
        let (name, value) = setting.split_once(' ').unwrap_or((setting, ""));
        let limits = &mut self.config.limits;
        let bad = |_| format!("{setting}: no number");
        let number = || value.parse::<usize>().map_err(bad);
        let small = || value.parse::<u32>().map_err(bad);
        match name {
            "client" => self.client = value.parse().map_err(|_| "no address")?,
            "relays" => {
                self.config.relays = value
                    .split(',')
                    .map(|net| net.parse().map_err(|_| "no network"))
                    .collect::<Result<_, _>>()?;
            }
            "starttls" => self.config.starttls = true,
            "lmtp" => self.config.mode = Mode::Lmtp,
            "memory" => self.memory = true,
            "max_message" => limits.max_message = number()?,
            "max_command" => limits.max_command = number()?,
            "max_endless_line" => limits.max_endless_line = number()?,
            "max_recipients" => limits.max_recipients = number()?,
            "max_waiting" => limits.max_waiting = number()?,
            "max_errors" => limits.max_errors = small()?,
            "max_commands" => limits.max_commands = small()?,
            _ => return Err(format!("unknown setting {name}")),
        }
        Ok(())
    }

    /// True when the script has steps that only the session without a socket can take.
    pub(crate) fn needs_the_session_alone(&self) -> bool {
        self.memory
            || self.steps.iter().any(|(_, step)| matches!(step, Step::Time(_) | Step::Full | Step::Stop))
    }

    pub(crate) fn play(&self, world: &mut impl World) -> Result<(), String> {
        let mut mail = None;
        for (at, step) in &self.steps {
            let done = match step {
                Step::Server(want) => world.line().and_then(|line| fits(want, &line)),
                Step::Client(bytes) => world.send(bytes),
                Step::Mail(facts) => world.mail().and_then(|got| {
                    check(facts, &got)?;
                    mail = Some(got);
                    Ok(())
                }),
                Step::Bytes(want) => match &mail {
                    Some(mail) if mail.raw == *want => Ok(()),
                    Some(mail) => Err(format!("the mail is {:?}", mail.raw.escape_ascii().to_string())),
                    None => Err("no mail".to_owned()),
                },
                Step::Answer(replies) => world.answer(replies.clone()),
                Step::Time(time) => {
                    world.pass(*time);
                    Ok(())
                }
                Step::Full => {
                    world.full();
                    Ok(())
                }
                Step::Stop => {
                    world.stop();
                    Ok(())
                }
                Step::Tls => world.tls(),
                Step::Closed => world.closed(),
            };
            done.map_err(|error| format!("line {at}: {error}"))?;
        }
        world.end().map_err(|error| format!("at the end: {error}"))
    }
}

/// What the dialogues start from.
pub(crate) fn config() -> SessionConfig {
    SessionConfig {
        hostname: "mx.example.org".to_owned(),
        mode: Mode::Smtp,
        recipients: Recipients::new(&["cmr@example.org".to_owned()], "mx.example.org").unwrap(),
        relays: Vec::new(),
        starttls: false,
        limits: Limits::default(),
    }
}

fn fact(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("D: takes name=value")?;
    let value = String::from_utf8(unescape(value)?).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), value))
}

fn fits(want: &str, line: &str) -> Result<(), String> {
    let fits = match want.strip_suffix("...") {
        Some(start) => line.starts_with(start),
        None => line == want,
    };
    if fits { Ok(()) } else { Err(format!("expected {want:?}, the server said {line:?}")) }
}

fn check(facts: &[(String, String)], mail: &Mail) -> Result<(), String> {
    for (name, want) in facts {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let got = match name.as_str() {
            "sender" => mail.sender.clone().unwrap_or_else(|| "<>".to_owned()),
            "recipients" => mail.recipients.join(","),
            "peer" => mail.peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string()),
            "relay" => yes(mail.relay),
            "helo" => text(&mail.helo),
            "tls" => yes(mail.tls),
            "size" => mail.raw.len().to_string(),
            _ => return Err(format!("unknown fact {name}")),
        };
        if got != *want {
            return Err(format!("{name} is {got:?}, not {want:?}"));
        }
    }
    Ok(())
}

fn time(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+')?;
    if let Some(number) = text.strip_suffix("ms") {
        return number.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

fn reply(text: &str) -> Result<Reply, String> {
    let text = String::from_utf8(unescape(text)?).map_err(|error| error.to_string())?;
    let mut words = text.splitn(3, ' ');
    let mut word = || words.next().ok_or("A: code status text");
    let (code, status, text) = (word()?, word()?, word()?);
    let numbers: Vec<u16> = status.split('.').filter_map(|part| part.parse().ok()).collect();
    let [_, subject, detail] = numbers[..] else {
        return Err("no status code".to_owned());
    };
    let code = code.parse().map_err(|_| "no code")?;
    Ok(Reply::new(code, subject, detail, text))
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let (bytes, used) = match escape.chars().next() {
            Some('r') => (vec![b'\r'], 1),
            Some('n') => (vec![b'\n'], 1),
            Some('t') => (vec![b'\t'], 1),
            Some('0') => (vec![0], 1),
            Some('\\') => (vec![b'\\'], 1),
            Some('x') => {
                let digits = escape.get(1..3).ok_or("\\x needs two digits")?;
                (vec![u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?], 3)
            }
            Some('(') => {
                let end = escape.find(')').ok_or("\\( has no )")?;
                let (piece, times) = escape[1..end].rsplit_once('*').ok_or("\\( has no *")?;
                let times = times.parse().map_err(|_| "no number behind *")?;
                (unescape(piece)?.repeat(times), end + 1)
            }
            _ => return Err("unknown escape".to_owned()),
        };
        out.extend_from_slice(&bytes);
        rest = &escape[used..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}
