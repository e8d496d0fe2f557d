//! Scripted servers, and an office that remembers nothing: what a dialogue out of `dialogues/` or a
//! test says is played word by word, to a poller within the test or to a daemon.

use std::fs;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use cmr_mail::config::Imap;
use cmr_mail::receive::imap::{Fate, Health, Known, Office, Place, Polled, SentCopy};

use super::support::daemon::PATIENCE;

/// The steps of a dialogue: a word, and what belongs to it.
pub(crate) type Steps = Vec<(String, String)>;

/// A dialogue: what the trouble is called, and the steps.
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) error: String,
    pub(crate) steps: Steps,
}

pub(crate) fn scripts() -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imap/dialogues");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| script(path)).collect()
}

fn script(path: &Path) -> Script {
    let (mut error, mut steps) = (String::new(), Vec::new());
    for line in fs::read_to_string(path).unwrap().lines().filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "#" => {}
            "error" => error = rest.to_owned(),
            "login" => steps.extend(login()),
            "select" => steps.extend(select("1")),
            _ => steps.push((word.to_owned(), rest.to_owned())),
        }
    }
    assert!(!error.is_empty(), "{}: what error is expected?", path.display());
    Script { name: path.file_stem().unwrap().to_str().unwrap().to_owned(), error, steps }
}

pub(crate) fn steps(text: &str) -> Steps {
    let pair = |line: &str| {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        (word.to_owned(), rest.to_owned())
    };
    text.lines().map(pair).collect()
}

/// An honest beginning.
pub(crate) fn login() -> Steps {
    steps(
        "S * OK hello\nC CAPABILITY\nS * CAPABILITY IMAP4rev1 IDLE UIDPLUS MOVE\nOK\nC LOGIN\nOK\nC CAPABILITY\n\
         S * CAPABILITY IMAP4rev1 IDLE UIDPLUS MOVE\nOK",
    )
}

/// An honest folder with so many mails.
pub(crate) fn select(mails: &str) -> Steps {
    steps(&format!(
        "C SELECT\nS * {mails} EXISTS\nS * 0 RECENT\nS * OK [UIDVALIDITY 7] x\nS * OK [UIDNEXT 2] x\nOK"
    ))
}

/// Plays the steps to one client. A command that is not expected is invalid data.
fn play(steps: &[(String, String)], stream: TcpStream, reach: &SyncSender<()>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    let mut tag = "a1".to_owned();
    for (word, rest) in steps {
        let unescaped =
            rest.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0").replace("{tag}", &tag);
        match word.as_str() {
            "S" => write!(out, "{unescaped}\r\n")?,
            "raw" => out.write_all(unescaped.as_bytes())?,
            "OK" => write!(out, "{tag} OK done\r\n")?,
            "C" => {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                let (found, command) = line.split_once(' ').unwrap_or((line.as_str(), ""));
                if !line.contains(rest.as_str()) {
                    let wrong = format!("{rest:?} is expected, {line:?} came");
                    return Err(Error::new(ErrorKind::InvalidData, wrong));
                }
                if !command.is_empty() {
                    tag = found.to_owned();
                }
            }
            // So often this line.
            "repeat" => {
                let (number, text) = unescaped.split_once(' ').unwrap();
                let many = format!("{text}\r\n").repeat(1000);
                for _ in 0..number.parse::<usize>().unwrap() / 1000 {
                    out.write_all(many.as_bytes())?;
                }
            }
            // The structure of a mail, with so many parts in parts.
            "open" => {
                let open = "(".repeat(rest.parse().unwrap());
                write!(out, "* 1 FETCH (BODYSTRUCTURE {open}")?;
            }
            // So many bytes without a line end.
            "flood" => {
                let bytes = vec![b'x'; 64 << 10];
                for _ in 0..rest.parse::<usize>().unwrap() / bytes.len() {
                    out.write_all(&bytes)?;
                }
            }
            // One byte at a time, with a pause that is shorter than any deadline.
            "drip" => {
                for byte in format!("{unescaped}\r\n").bytes() {
                    out.write_all(&[byte])?;
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            "silence" => {
                let mut all = Vec::new();
                let _ = reader.read_to_end(&mut all);
            }
            "reached" => drop(reach.try_send(())),
            "close" => return Ok(()),
            other => panic!("no such step: {other}"),
        }
        out.flush()?;
    }
    Ok(())
}

/// A server that plays this to whoever comes.
pub(crate) struct Server {
    pub(crate) port: u16,
    first: Receiver<std::io::Result<()>>,
    reached: Receiver<()>,
}

impl Server {
    pub(crate) fn start(steps: Steps) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let ((tell, first), (reach, reached)) = (sync_channel(1), sync_channel(1));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (steps, tell, reach) = (steps.clone(), tell.clone(), reach.clone());
                std::thread::spawn(move || {
                    // Only the first one is asked about.
                    let _ = tell.try_send(play(&steps, stream, &reach));
                });
            }
        });
        Server { port, first, reached }
    }

    /// Waits until the step `reached` is.
    pub(crate) fn reached(&self) {
        self.reached.recv_timeout(PATIENCE).expect("the dialogue gets so far");
    }

    /// How the first dialogue ended: the client may hang up when it has had enough, but what it said
    /// was what is expected.
    pub(crate) fn first(&self) -> std::io::Result<()> {
        let ended = self.first.recv_timeout(PATIENCE).expect("the first dialogue ends");
        match ended {
            Err(wrong) if wrong.kind() == ErrorKind::InvalidData => panic!("{wrong}"),
            other => other,
        }
    }
}

/// An office that takes everything, and says of a folder what it was told to.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) known: Known,
    pub(crate) taken: AtomicU64,
    /// To which mails has happened what is configured, or nothing can any more.
    pub(crate) done: Mutex<Vec<u32>>,
    pub(crate) reported: Mutex<Option<String>>,
}

impl Office for Notes {
    fn open(&self, _: &Place, _: u32) -> Result<Known, String> {
        Ok(Known { folder: 1, ..self.known.clone() })
    }
    fn forget(&self, _: &Place) -> Result<(), String> {
        Ok(())
    }
    async fn admit(&self, _: Polled) -> Fate {
        self.taken.fetch_add(1, Ordering::SeqCst);
        Fate::Taken
    }
    fn skip(&self, _: i64, _: u32) -> Result<(), String> {
        Ok(())
    }
    fn settle(&self, _: i64, _: u32, _: u64) -> Result<(), String> {
        Ok(())
    }
    fn done(&self, _: i64, uids: &[u32]) -> Result<(), String> {
        self.done.lock().unwrap().extend(uids);
        Ok(())
    }
    fn copies(&self, _: &str) -> Result<Vec<SentCopy>, String> {
        Ok(Vec::new())
    }
    fn copied(&self, _: &str, _: i64) -> Result<(), String> {
        Ok(())
    }
    fn report(&self, _: &Place, health: &Health) {
        *self.reported.lock().unwrap() = health.error.clone();
    }
}

pub(crate) fn account(port: u16) -> Imap {
    let text = format!(
        "[gateway]\naddress = \"mailto:cmr@home.test\"\nhostname = \"mx.home.test\"\noperator = \"o@home.test\"\n\
         [[imap]]\nname = \"x\"\nhost = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"\nuser = \"u\"\n\
         password_command = \"echo secret\"\ntimeout = \"1s\"\n"
    );
    let file = std::env::temp_dir().join("cmr-mail.toml");
    cmr_mail::config::Config::parse(&text, file).unwrap().imap.remove(0)
}
