//! A mail server that takes everything and remembers it: the smarthost of the tests, and so the
//! place where all correspondents have their mailboxes.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::daemon::PATIENCE;

/// A mail that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// Dots undone, without the final one.
    pub(crate) raw: Vec<u8>,
}

impl Mail {
    /// The parsed mail.
    pub(crate) fn parsed(&self) -> mail_parser::Message<'_> {
        mail_parser::MessageParser::default().parse(&self.raw).expect("a mail")
    }

    /// The Message-ID without angle brackets.
    pub(crate) fn message_id(&self) -> String {
        self.parsed().message_id().expect("a mail of ours has a Message-ID").to_owned()
    }

    /// The text of a header field, with folding undone.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let raw = self.parsed().header_raw(name)?.to_owned();
        Some(raw.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// What the part at this place holds, its transfer encoding undone.
    pub(crate) fn part(&self, index: u32) -> Option<Vec<u8>> {
        Some(self.parsed().part(index)?.contents().to_vec())
    }

    /// All attachments.
    pub(crate) fn attachments(&self) -> Vec<Vec<u8>> {
        self.parsed().attachments().map(|part| part.contents().to_vec()).collect()
    }

    /// The text that a person reads.
    pub(crate) fn text(&self) -> String {
        self.parsed().body_text(0).unwrap_or_default().into_owned()
    }

    /// That text in one line, as words.
    pub(crate) fn flat(&self) -> String {
        self.text().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The first address in the text that begins so.
    pub(crate) fn address(&self, beginning: &str) -> String {
        let text = self.text();
        let at = text.find(beginning).unwrap_or_else(|| panic!("no {beginning} in {text}"));
        text[at..].split_whitespace().next().unwrap().to_owned()
    }
}

#[derive(Default)]
struct State {
    mails: Vec<Mail>,
    /// Replies to give to a recipient instead of 250, until they are used up.
    refusals: HashMap<String, Vec<&'static str>>,
    /// How long a mail that was taken waits for its reply.
    hesitation: Duration,
}

/// Told of each mail before its sender is.
type Told = Arc<dyn Fn(&Mail) + Send + Sync>;

/// A running sink; its threads end with the process.
#[derive(Clone)]
pub(crate) struct Sink {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
    told: Told,
}

impl Sink {
    pub(crate) fn start() -> Sink {
        Sink::telling(|_| {})
    }

    /// A sink that tells of each mail, before its sender hears that it was taken.
    pub(crate) fn telling(told: impl Fn(&Mail) + Send + Sync + 'static) -> Sink {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let sink = Sink { address, state, told: Arc::new(told) };
        let serving = sink.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sink = serving.clone();
                std::thread::spawn(move || {
                    // Clients may break off; that is their right.
                    let _ = sink.serve(stream);
                });
            }
        });
        sink
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything so far.
    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.state.0.lock().unwrap().mails.clone()
    }

    /// Forgets what has come so far.
    pub(crate) fn forget(&self) {
        self.state.0.lock().unwrap().mails.clear();
    }

    pub(crate) fn count(&self) -> usize {
        self.state.0.lock().unwrap().mails.len()
    }

    /// Answers the next mails to this recipient so, one after the other, before it is taken.
    pub(crate) fn refuse(&self, recipient: &str, replies: &[&'static str]) {
        self.state.0.lock().unwrap().refusals.insert(recipient.to_owned(), replies.to_vec());
    }

    /// Takes mails at once, but says so only after this time: for senders to be killed meanwhile.
    pub(crate) fn hesitate(&self, time: Duration) {
        self.state.0.lock().unwrap().hesitation = time;
    }

    /// Waits for a mail to this recipient that also pleases `pick`.
    pub(crate) fn wait_for(&self, to: &str, pick: impl Fn(&Mail) -> bool) -> Mail {
        let start = Instant::now();
        let mut state = self.state.0.lock().unwrap();
        loop {
            let found = state.mails.iter().find(|mail| mail.to.iter().any(|t| t == to) && pick(mail));
            if let Some(mail) = found {
                return mail.clone();
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            assert!(
                !left.is_zero(),
                "no such mail to {to} has come; these have: {:#?}",
                state.mails.iter().map(|m| (&m.to, String::from_utf8_lossy(&m.raw))).collect::<Vec<_>>()
            );
            state = self.state.1.wait_timeout(state, left).unwrap().0;
        }
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        stream.write_all(b"220 sink.test ESMTP\r\n")?;
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let upper = line.to_ascii_uppercase();
            let reply = if upper.starts_with("EHLO") {
                "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES"
            } else if upper.starts_with("MAIL FROM:") {
                from = path(&line);
                to = Vec::new();
                "250 2.1.0 ok"
            } else if upper.starts_with("RCPT TO:") {
                let recipient = path(&line);
                match self.refusal(&recipient) {
                    Some(refusal) => refusal,
                    None => {
                        to.push(recipient);
                        "250 2.1.5 ok"
                    }
                }
            } else if upper == "DATA" && to.is_empty() {
                "503 5.5.1 no recipients"
            } else if upper == "DATA" {
                stream.write_all(b"354 go on\r\n")?;
                let raw = data(&mut reader)?;
                let mail = Mail { from: from.clone(), to: std::mem::take(&mut to), raw };
                (self.told)(&mail);
                let mut state = self.state.0.lock().unwrap();
                state.mails.push(mail);
                let hesitation = state.hesitation;
                drop(state);
                self.state.1.notify_all();
                std::thread::sleep(hesitation);
                "250 2.0.0 taken"
            } else if upper == "QUIT" {
                stream.write_all(b"221 2.0.0 bye\r\n")?;
                return Ok(());
            } else {
                "250 2.0.0 ok"
            };
            stream.write_all(reply.as_bytes())?;
            stream.write_all(b"\r\n")?;
        }
    }

    fn refusal(&self, recipient: &str) -> Option<&'static str> {
        let mut state = self.state.0.lock().unwrap();
        let replies = state.refusals.get_mut(recipient)?;
        if replies.is_empty() { None } else { Some(replies.remove(0)) }
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map(|(path, _)| path.to_owned()).unwrap_or_default()
}

fn data(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(raw);
        }
        raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
