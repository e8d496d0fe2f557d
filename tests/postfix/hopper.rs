//! A next hop that does as it is told: it hands connections through to the real one, or is broken
//! in one of the ways in which mail servers are.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::server::free_port;
use crate::support::daemon::until;

/// What it does with the connections that come in from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Hands everything through.
    Good,
    /// Refuses connections.
    Down,
    /// Answers this command with this reply; `.` is the end of the mail, `greeting` the connection.
    Says(&'static str, &'static str),
    /// Answers nothing, and closes after a while.
    Silent,
    /// Takes its time for the answer to a mail.
    Late,
    /// Closes in the middle of the text.
    ClosesInText,
}

pub(crate) struct Hopper {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    behind: SocketAddr,
    manner: Mutex<(Manner, Option<TcpListener>)>,
    /// How often it was down.
    round: AtomicU64,
    /// How often it did what is wrong.
    misdeeds: AtomicUsize,
    silence: Mutex<Duration>,
    /// Nothing is handed to the real next hop at present; and how often what was held was dropped.
    held: Mutex<(bool, u64)>,
    let_go: Condvar,
    /// Mails that were handed through and not answered yet.
    unanswered: AtomicUsize,
    /// Mails whose good answers were handed through.
    taken: AtomicUsize,
    /// Answers to mails are kept back; and how many were.
    mute: AtomicBool,
    muted: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Hopper {
    pub(crate) fn before(behind: SocketAddr) -> Hopper {
        let address = free_port();
        let listener = TcpListener::bind(address).unwrap();
        let shared = Arc::new(Shared {
            behind,
            manner: Mutex::new((Manner::Good, None)),
            round: AtomicU64::new(0),
            misdeeds: AtomicUsize::new(0),
            silence: Mutex::new(Duration::from_secs(3)),
            held: Mutex::default(),
            let_go: Condvar::new(),
            unanswered: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            mute: AtomicBool::new(false),
            muted: AtomicUsize::new(0),
            open: Mutex::default(),
        });
        let hopper = Hopper { address, shared };
        hopper.listen(listener);
        hopper
    }

    fn listen(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        let round = shared.round.load(Ordering::SeqCst);
        shared.manner.lock().unwrap().1 = Some(listener.try_clone().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.round.load(Ordering::SeqCst) != round {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let _ = shared.serve(stream);
                });
            }
        });
    }

    /// From now on. Connections that are open are cut.
    pub(crate) fn behave(&self, manner: Manner) {
        let before = std::mem::replace(&mut self.shared.manner.lock().unwrap().0, manner);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if manner == Manner::Down {
            self.shared.round.fetch_add(1, Ordering::SeqCst);
            let listener = self.shared.manner.lock().unwrap().1.take();
            // Wakes the thread that accepts, so that it lets go of the port.
            let _ = TcpStream::connect(self.address);
            drop(listener);
        } else if before == Manner::Down {
            let listener = until("the port is free again", || TcpListener::bind(self.address).ok());
            self.listen(listener);
        }
    }

    /// From the next answer on; nothing is cut.
    pub(crate) fn calm_down(&self) {
        self.shared.manner.lock().unwrap().0 = Manner::Good;
    }

    /// Hands nothing more to the real next hop, and waits until it has answered the mails it got;
    /// how many it has taken so far.
    pub(crate) fn hold(&self) -> usize {
        self.shared.held.lock().unwrap().0 = true;
        until("the next hop has answered", || (self.unanswered() == 0).then_some(()));
        self.shared.taken.load(Ordering::SeqCst)
    }

    /// Drops what was held, with its connections, and goes on. The connections are cut while all is still
    /// held: else one more mail could go to the real next hop on a connection that nobody hears it on.
    pub(crate) fn drop_held(&self) {
        let mut held = self.shared.held.lock().unwrap();
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        *held = (false, held.1 + 1);
        drop(held);
        self.shared.let_go.notify_all();
    }

    /// From now on mails are handed through, and what is said about them is not.
    pub(crate) fn mute(&self) {
        self.shared.mute.store(true, Ordering::SeqCst);
    }

    /// How many good words about mails were kept back.
    pub(crate) fn muted(&self) -> usize {
        self.shared.muted.load(Ordering::SeqCst)
    }

    /// Cuts all connections, with what was kept back on them, and goes on.
    pub(crate) fn cut_muted(&self) {
        self.shared.mute.store(false, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many mails the real next hop has and has not answered.
    pub(crate) fn unanswered(&self) -> usize {
        self.shared.unanswered.load(Ordering::SeqCst)
    }

    pub(crate) fn misdeeds(&self) -> usize {
        self.shared.misdeeds.load(Ordering::SeqCst)
    }

    /// How long [`Manner::Silent`] and [`Manner::Late`] are.
    pub(crate) fn silence(&self, time: Duration) {
        *self.shared.silence.lock().unwrap() = time;
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        self.open.lock().unwrap().push(stream.try_clone()?);
        let manner = self.manner.lock().unwrap().0;
        match manner {
            Manner::Good | Manner::Late => self.through(&stream),
            Manner::Down => Ok(()),
            Manner::Silent => {
                stream.set_read_timeout(Some(*self.silence.lock().unwrap()))?;
                let mut byte = [0];
                if (&stream).read(&mut byte).is_err() {
                    self.misdeeds.fetch_add(1, Ordering::SeqCst);
                }
                stream.shutdown(Shutdown::Both)
            }
            Manner::Says(command, reply) => self.speak(stream, command, reply, false),
            Manner::ClosesInText => self.speak(stream, "", "", true),
        }
    }

    fn through(&self, stream: &TcpStream) -> io::Result<()> {
        let Ok(behind) = TcpStream::connect(self.behind) else { return stream.shutdown(Shutdown::Both) };
        behind.set_nodelay(true)?;
        self.open.lock().unwrap().push(behind.try_clone()?);
        let waits = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = self.forth(stream, &behind, &waits);
                if waits.swap(false, Ordering::SeqCst) {
                    self.unanswered.fetch_sub(1, Ordering::SeqCst);
                }
                let _ = behind.shutdown(Shutdown::Write);
            });
            let mut chunk = [0; 8_192];
            while let Ok(length @ 1..) = (&behind).read(&mut chunk) {
                let about_a_mail = waits.load(Ordering::SeqCst);
                if about_a_mail && self.mute.load(Ordering::SeqCst) {
                    self.muted.fetch_add(usize::from(chunk[0] == b'2'), Ordering::SeqCst);
                    continue;
                }
                if about_a_mail && self.manner.lock().unwrap().0 == Manner::Late {
                    let silence = *self.silence.lock().unwrap();
                    std::thread::sleep(silence);
                    self.misdeeds.fetch_add(1, Ordering::SeqCst);
                }
                if (&*stream).write_all(&chunk[..length]).is_err() {
                    break;
                }
                if about_a_mail && waits.swap(false, Ordering::SeqCst) {
                    self.taken.fetch_add(usize::from(chunk[0] == b'2'), Ordering::SeqCst);
                    self.unanswered.fetch_sub(1, Ordering::SeqCst);
                }
            }
            let _ = stream.shutdown(Shutdown::Both);
        });
        behind.shutdown(Shutdown::Both)
    }

    /// From the filter to the real next hop. `waits`: a mail was handed through that is to be answered.
    fn forth(&self, mut from: &TcpStream, mut to: &TcpStream, waits: &AtomicBool) -> io::Result<()> {
        const END: &[u8] = b"\r\n.\r\n";
        let mut chunk = [0; 8_192];
        let mut seen = Vec::new();
        loop {
            let length = from.read(&mut chunk)?;
            if length == 0 {
                return Ok(());
            }
            let held = self.held.lock().unwrap();
            let (round, at_once) = (held.1, !held.0);
            // Whoever says that it was nothing is not held up.
            let forgets = chunk.starts_with(b"RSET\r\n");
            let held = self.let_go.wait_while(held, |held| held.0 && !forgets).unwrap();
            if !at_once && !forgets && held.1 != round {
                return Ok(());
            }
            seen.extend_from_slice(&chunk[..length]);
            let ends = seen.windows(END.len()).any(|five| five == END);
            seen.drain(..if ends { seen.len() } else { seen.len().saturating_sub(END.len() - 1) });
            if ends && !waits.swap(true, Ordering::SeqCst) {
                self.unanswered.fetch_add(1, Ordering::SeqCst);
            }
            drop(held);
            to.write_all(&chunk[..length])?;
        }
    }

    /// A mail server that takes everything but what it was told not to, and delivers nothing.
    fn speak(&self, mut stream: TcpStream, command: &str, reply: &str, closes: bool) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut say = |asked: &str, good: &str| {
            let reply = if asked == command { reply } else { good };
            if asked == command {
                self.misdeeds.fetch_add(1, Ordering::SeqCst);
            }
            stream.write_all(format!("{reply}\r\n").as_bytes())
        };
        say("greeting", "220 hopper.test ESMTP")?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => say(
                    "EHLO",
                    "250-hopper.test\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN",
                )?,
                "DATA" if command == "DATA" => say("DATA", "")?,
                "DATA" => {
                    say("", "354 go on")?;
                    if closes {
                        // Some of it, and then no more.
                        let mut some = [0; 100];
                        let _ = reader.read(&mut some)?;
                        self.misdeeds.fetch_add(1, Ordering::SeqCst);
                        return reader.get_ref().shutdown(Shutdown::Both);
                    }
                    let mut text = Vec::new();
                    while !text.ends_with(b"\r\n.\r\n") {
                        if reader.read_until(b'\n', &mut text)? == 0 {
                            return Ok(());
                        }
                    }
                    say(".", "451 4.3.0 nothing is delivered here")?;
                }
                "QUIT" => return say("QUIT", "221 2.0.0 bye"),
                other => say(other, "250 2.0.0 ok")?,
            }
        }
    }
}
